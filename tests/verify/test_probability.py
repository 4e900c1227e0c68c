"""Probabilities and quantiles are judged by exact counts: at the declared rates, at every width, and by nothing that an
attack may have missed."""

import json
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
import torch
from scipy import stats

import advmf as mf
from advmf.claim import RHS, Claim, Equation, Regime, Relation
from advmf.errors import AdvmfError, ArgumentError
from advmf.events import event_of
from advmf.observables import (
    AdversarialLoss,
    Expectation,
    JacobianEntry,
    MatrixNorm,
    Observable,
    OperatorNorm,
    Output,
    Probability,
    Quantile,
    SecondMoment,
)
from advmf.report.document import of_outcomes
from advmf.report.html import html
from advmf.simulate import data
from advmf.simulate.estimate import Single
from advmf.symbols import N, eps, sigma_w
from advmf.theorems.wrong import by_form
from advmf.verify import runs, suite
from advmf.verify.binomial import Ranks, Share, at_least, at_most
from advmf.verify.controls import controls, differs
from advmf.verify.counted import Sample, judge_counts
from advmf.verify.mutation import mutate
from advmf.verify.sequential import looks, watch
from advmf.verify.sources import matrices
from advmf.verify.statistics import Design
from advmf.verify.store import read
from advmf.verify.tails import Tail
from advmf.verify.verdict import Report, Verdict

DELTA = sp.Symbol("delta", positive=True)
LINEAR = mf.vanilla(u=1, v=1)
AT = {"L": 2, "d": 16, "K": 4, "sigma_w": 1.0, "sigma_b": 0.0}
S, R, U, NR = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.UNDERPOWERED, Verdict.NOT_REFUTED


def claim(lhs, relation, formula, net=LINEAR, regime=Regime.EXACT, **more):
    return Claim("tail", lhs, relation, formula, {}, regime, (), "a test", net, **more)


def norms(lhs, relation, formula, **more):
    return claim(lhs, relation, formula, None, **more)


# The numbers.


@pytest.mark.parametrize(("count", "of", "p"), [(0, 5, 0.2), (3, 5, 0.2), (5, 5, 0.9), (7, 40, 0.01), (40, 40, 0.5)])
def test_binomial_tails_are_those_of_fractions(count, of, p):
    """An oracle in exact arithmetic."""
    chance = Fraction(p)
    terms = [math.comb(of, k) * chance**k * (1 - chance) ** (of - k) for k in range(of + 1)]
    assert at_least(count, of, p) == pytest.approx(float(sum(terms[count:])), rel=1e-12)
    assert at_most(count, of, p) == pytest.approx(float(sum(terms[: count + 1])), rel=1e-12)


@pytest.mark.parametrize(("count", "of"), [(0, 30), (3, 30), (15, 30), (29, 30), (30, 30), (40, 10_000)])
def test_limits_of_a_share_are_those_of_another_library(count, of):
    theirs = stats.binomtest(count, of).proportion_ci(0.98, method="exact")
    assert Share(count, of).low(0.01) == pytest.approx(theirs.low, abs=1e-12)
    assert Share(count, of).high(0.01) == pytest.approx(theirs.high, abs=1e-12)


@pytest.mark.parametrize("delta", [0.02, 0.3, 0.9])
def test_limits_of_a_quantile_err_at_their_rate_and_no_others_do(delta):
    """The number k from below of n has a Beta(k, n + 1 - k) share of the law below it."""
    n, rate = 400, 0.01
    ranks = Ranks(np.arange(1.0, n + 1), delta)
    low, high = int(ranks.low(rate)), int(ranks.high(rate))
    errs = lambda k: stats.beta.sf(1 - delta, k, n + 1 - k)  # noqa: E731
    assert errs(low) <= rate < errs(low + 1), "the k-th is above the quantile"
    assert 1 - errs(high) <= rate < 1 - errs(high - 1)
    assert low < ranks.value < high
    assert (ranks.numbers > ranks.value).mean() <= delta < (ranks.numbers > ranks.value - 1).mean()


def test_limits_that_no_number_of_the_sample_can_be_are_infinite():
    few = Ranks(np.arange(1.0, 31.0), 0.05)
    assert few.high(0.01) == math.inf and few.low(0.01) > -math.inf and few.stderr == math.inf
    assert Ranks(few.numbers, 0.95).low(0.01) == -math.inf


# The verdicts: their rates are sums over all counts, not simulated.


def of_share(probability, states="test"):
    one = {8: probability}
    scale = {8: min(probability, 1 - probability)}
    return Tail(states, Single(SecondMoment()), one, scale, True, True, 1, {8: 0.5}, False, {})


def verdicts(relation, probability, nets, design, alpha=None, **trust):
    """The finding for every count."""
    test = replace(of_share(probability), **trust)
    for count in range(nets + 1):
        numbers = np.repeat([1.0, 0.0], [count, nets - count])
        sample = Sample.of(test, 8, numbers)
        rates = alpha or design.alpha, design.beta
        yield judge_counts(test, [sample], Relation(relation), 0.0, rates, design.effect_probability)


def rate_of(verdict, found, probability):
    """How often a verdict is given where the probability is this."""
    nets = len(found) - 1
    chances = stats.binom.pmf(range(nets + 1), nets, probability)
    return sum(chance for chance, finding in zip(chances, found) if finding.verdict is verdict)


CASES = [("<=", 0.05), (">=", 0.05), ("==", 0.05), ("<=", 0.9), (">=", 0.5), ("==", 0.5), ("approx", 0.99)]
DESIGN = Design(alpha=0.01, beta=0.05)


@pytest.mark.parametrize(("relation", "probability"), CASES)
@pytest.mark.parametrize("nets", [40, 700])
def test_true_claims_are_refuted_no_more_often_than_declared(relation, probability, nets):
    found = list(verdicts(relation, probability, nets, DESIGN))
    assert rate_of(R, found, probability) <= DESIGN.alpha
    for rate in (0.001, 0.02, 0.1):
        chances = stats.binom.pmf(range(nets + 1), nets, probability)
        assert sum(c for c, f in zip(chances, found) if f.p_value <= rate) <= rate * (1 + 1e-9)
    assert all((f.verdict is R) == (f.p_value < DESIGN.alpha) for f in found)
    if nets == 700:
        assert rate_of(R, found, probability) > DESIGN.alpha / 10, "the test is not idle"
        loose = list(verdicts(relation, probability, nets, DESIGN, alpha=5 * DESIGN.alpha))
        assert rate_of(R, loose, probability) > DESIGN.alpha, "the control: at five times the rate it is seen to err"


@pytest.mark.parametrize(("relation", "probability"), CASES)
@pytest.mark.parametrize("nets", [40, 700, 1500])
def test_departures_of_the_declared_effect_are_hardly_ever_supported(relation, probability, nets):
    found = list(verdicts(relation, probability, nets, DESIGN))
    margin = DESIGN.effect_probability * min(probability, 1 - probability)
    for side, breaks in ((1, Relation(relation).above), (-1, Relation(relation).below)):
        if breaks:
            assert rate_of(S, found, probability + side * margin) <= DESIGN.beta
    assert rate_of(NR, found, probability) == 0
    if nets == 1500 and probability in (0.05, 0.5, 0.9):
        assert rate_of(S, found, probability) > 0.9
        assert sum(rate_of(R, found, probability + s * margin) > 0.9 for s in (1, -1)) >= 1


def test_the_power_where_the_resolution_is_the_effect():
    """Of networks as many as a pilot would take, at least 1 - beta refute a departure of the effect."""
    found = list(verdicts("<=", 0.1, 700, DESIGN))
    at_the_claim = found[70]
    assert at_the_claim.resolution < DESIGN.effect_probability
    assert rate_of(R, found, 0.15) >= 1 - DESIGN.beta
    few = list(verdicts("<=", 0.1, 60, DESIGN))
    assert few[6].resolution > DESIGN.effect_probability and few[6].verdict is U
    assert "use more nets" in few[6].reason


def test_an_effect_that_reaches_one_excludes_nothing():
    """That a probability is at most 1 supports no bound of it."""
    found = list(verdicts("<=", 0.5, 50, Design(effect_probability=1.2)))
    assert {f.verdict for f in found} <= {U, R}


@pytest.mark.parametrize(("relation", "allowed"), [("<=", {R, NR, U}), (">=", {S, U}), ("==", {R, NR, U})])
def test_what_a_search_may_have_missed_refutes_nothing_and_supports_nothing(relation, allowed):
    """Found values are too low, if anything: so is the share of networks above a threshold."""
    found = list(verdicts(relation, 0.3, 60, DESIGN, low=False))
    assert {f.verdict for f in found} == allowed
    if relation != "<=":
        assert all(f.p_value == 1 and "refutes nothing on that side" in f.reason for f in found if f.estimate < 0.1)
    mirrored = {
        f.verdict for f in verdicts({"<=": ">=", ">=": "<=", "==": "=="}[relation], 0.3, 60, DESIGN, high=False)
    }
    assert mirrored == allowed


def rank_findings(rng, draw, value, relation, delta, nets, count, effect=0.1):
    test = Tail("q", Single(SecondMoment()), {8: value}, {8: abs(value)}, True, True, 1, {}, False, {8: delta})
    for _ in range(count):
        sample = Sample.of(test, 8, draw(rng, nets))
        yield judge_counts(test, [sample], Relation(relation), 0.0, (0.02, 0.05), effect)


def normal(rng, n):
    return rng.normal(3.0, 1.0, n)


def heavy(rng, n):
    """Without a mean: no t test would hold."""
    return stats.cauchy.rvs(size=n, random_state=rng) + 5


def counts(rng, n):
    """With atoms."""
    return rng.poisson(6, n).astype(float)


LAWS = [(normal, stats.norm(3.0, 1.0)), (heavy, stats.cauchy(5)), (counts, stats.poisson(6))]


def most(rate, runs):
    """What a count of that rate does not exceed, but once in 10,000 tests."""
    return stats.binom.ppf(1 - 1e-4, runs, rate)


@pytest.mark.parametrize(("draw", "law"), LAWS)
@pytest.mark.parametrize("relation", ["<=", ">=", "=="])
def test_true_quantiles_of_any_law_are_refuted_no_more_often_than_declared(draw, law, relation):
    rng, runs_, delta = np.random.default_rng(1), 1500, 0.1
    true = float(law.isf(delta))
    found = list(rank_findings(rng, draw, true, relation, delta, 300, runs_))
    assert sum(f.verdict is R for f in found) <= most(0.02, runs_)
    wrong = {"<=": 0.7, ">=": 1.6, "==": 0.7}[relation] * true
    assert sum(f.verdict is R for f in rank_findings(rng, draw, wrong, relation, delta, 300, 100)) > 80


@pytest.mark.parametrize(("draw", "law"), LAWS[:2])
def test_quantiles_off_by_the_effect_are_hardly_ever_supported(draw, law):
    rng, runs_, delta = np.random.default_rng(2), 1500, 0.1
    true = float(law.isf(delta))
    off = true / 1.1  # so that the true value is 10 % above what is claimed
    found = list(rank_findings(rng, draw, off, "<=", delta, 600, runs_))
    assert sum(f.verdict is S for f in found) <= most(0.05, runs_)
    if draw is normal:
        right = list(rank_findings(rng, draw, true, "==", delta, 2500, 100))
        assert sum(f.verdict is S for f in right) > 90


@pytest.mark.parametrize("relation", ["<=", "=="])
def test_looks_keep_the_rate(relation):
    """A sequential check of a true probability, which nothing stops but a refutation, refutes as often as declared."""
    rng, runs_, design = np.random.default_rng(3), 800, Design(alpha=0.05, effect_probability=1e-9)
    schedule, test, refuted, peeking = looks([512], True), of_share(0.2), 0, 0
    for _ in range(runs_):
        numbers = (rng.random(512) < 0.2).astype(float)

        def judged(look, own, numbers=numbers):
            sample = Sample.of(test, 8, numbers[: look.count(512)])
            return [
                [judge_counts(test, [sample], Relation(relation), 0.0, (own.alpha, own.beta), own.effect_probability)]
            ]

        ((((finding,), _)),) = watch(schedule, design, judged)
        refuted += finding.verdict is R
        peeking += any(judged(look, design)[0][0].verdict is R for look in schedule)
    assert 0 < refuted <= most(0.05, runs_)
    assert peeking > most(0.05, runs_), "the control: every look at the whole rate"


# Gaussian matrices.

SIZE = {"d": 40, "K": 5, "delta": 0.05}


def exceeded(pair, route, factor=1):
    return Probability(MatrixNorm(*pair) > factor * mf.beta_quantile(*pair, DELTA, route))


@pytest.mark.parametrize(
    ("pair", "route", "relation", "verdict"),
    [
        ((1, 2), "extremal", "==", S),
        ((1, 2), "extremal", "<=", S),
        ((2, "inf"), "extremal", "==", S),
        ((1, 2), "chevet", "<=", S),
        ((2, 2), "chevet", "<=", S),
        (("inf", 1), "chevet", "<=", S),
        ((3, 1.5), "chevet", "<=", S),
        ((1, 2), "chevet", "==", R),
    ],
)
def test_high_probability_bounds_of_norms(pair, route, relation, verdict):
    pair = tuple(mf.symbols.exponent(e) for e in pair)
    true = norms(exceeded(pair, route), relation, DELTA)
    samples = 2500 if route == "extremal" else 400
    report, *wrong = matrices.check_matrices([true, *controls(true)], SIZE, samples=samples)
    assert report.verdict is verdict, report
    assert len(wrong) == (1 if relation == "<=" else 2)
    if verdict is S:
        assert wrong[0].verdict is R, wrong[0]
        assert all(r.verdict is R for r in wrong) or route == "chevet"
    rung = report.findings[0].rungs[0]
    assert rung.interval[0] <= report.estimate <= rung.interval[1]
    assert Report.from_dict(json.loads(json.dumps(report.to_dict(), allow_nan=False))) == report


@pytest.mark.parametrize(
    ("route", "relation", "factor", "verdict"),
    [("extremal", "==", 1, S), ("extremal", "<=", 1, S), ("extremal", ">=", 1, S), ("chevet", "<=", 1, S),
     ("extremal", "==", sp.Rational(9, 10), R), ("extremal", "<=", sp.Rational(9, 10), R),
     ("extremal", ">=", sp.Rational(11, 10), R), ("chevet", "<=", sp.Rational(1, 2), R)],
)  # fmt: skip
def test_quantiles_of_norms(route, relation, factor, verdict):
    bound = factor * mf.beta_quantile(1, 2, DELTA, route)
    report = mf.check(norms(Quantile(MatrixNorm(1, 2), DELTA), relation, bound), SIZE, samples=6000)
    assert report.verdict is verdict, report
    assert report.estimate == pytest.approx(float(mf.kernel(bound / factor)(**SIZE)), rel=0.03) or route == "chevet"


def test_brackets_of_norms_decide_where_both_ends_do():
    """Norms that are bracketed: their lower ends refute what is too small, their upper ends support what is large."""
    at = {"d": 60, "K": 20}
    norm = Expectation(MatrixNorm(4, 3))
    mean = mf.check(norms(norm, "<=", 10), at, samples=100).estimate
    far, near = (Probability(MatrixNorm(4, 3) > factor * mean) for factor in (1.5, 0.9))
    reports = matrices.check_matrices([norms(each, "<=", sp.Rational(1, 10)) for each in (far, near)], at, samples=200)
    assert not reports[0].settings["exact"]
    assert [r.verdict for r in reports] == [S, R]
    below = Probability(MatrixNorm(4, 3) < 0.9 * mean)
    assert mf.check(norms(below, "<=", sp.Rational(1, 10)), at, samples=200).verdict is S


def test_samples_of_matrices_by_pilots_and_by_looks():
    true = norms(exceeded((1, 2), "extremal"), "==", DELTA)
    report = mf.check(true, SIZE, samples="pilot")
    assert report.verdict is S and report.settings["samples"] == report.settings["pilot"]["chosen"] > 500
    rare = norms(Quantile(MatrixNorm(1, 2), DELTA), "<=", mf.beta_quantile(1, 2, DELTA, "extremal"))
    report = mf.check(rare, {**SIZE, "delta": 0.002}, samples="pilot", design=Design(alpha=0.01))
    pilot = report.settings["pilot"]
    assert report.verdict is S and pilot["pilots"][0] == 64 and pilot["resolved"][0] is None, (
        "64 do not reach beyond it"
    )
    assert pilot["resolved"][-1] <= 1 and pilot["chosen"] > 500
    early = mf.check(true.scaled(8), SIZE, samples=4000, sequential=True)
    assert early.verdict is R and early.settings["sequential"]["stopped"] < early.settings["sequential"]["looks"]


# Networks.


def plain(width, nets, seed, depth=2, inputs=16):
    """Q_L of deep linear networks, by nothing but torch."""
    if nets > 20_000:
        parts = [plain(width, 20_000, seed + 100 * i, depth, inputs) for i in range(nets // 20_000)]
        return np.concatenate(parts)
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    x = torch.ones(inputs, dtype=torch.float64)
    stream = draw(nets, width, inputs) / inputs**0.5 @ x
    for _ in range(depth):
        stream = torch.einsum("nij,nj->ni", draw(nets, width, width) / width**0.5, stream)
    return (stream**2).mean(1).numpy()


@pytest.fixture(scope="module")
def oracle():
    return {width: plain(width, 200_000, width) for width in (8, 16)}


def test_a_probability_of_networks_is_that_of_plain_torch(oracle):
    values = {width: float((numbers > 1.5).mean()) for width, numbers in oracle.items()}
    for width, value in values.items():
        true = claim(Probability(SecondMoment() > 1.5), "==", sp.Float(value))
        reports = mf.check_all(
            [true, *controls(true)], AT, widths=(width,), nets=4000, design=Design(effect_probability=0.25)
        )
        assert [r.verdict for r in reports] == [S, R, R], "\n".join(map(str, reports))
        assert abs(reports[0].estimate - value) < 5 * math.hypot(reports[0].stderr, reports[0].stderr / 7)
        quantile = float(np.quantile(oracle[width], 0.9))
        claims = [
            claim(Quantile(SecondMoment(), sp.Rational(1, 10)), "==", f * sp.Float(quantile)) for f in (1, 0.5, 2)
        ]
        reports = mf.check_all(claims, AT, widths=(width,), nets=16_000)
        assert [r.verdict for r in reports] == [S, R, R], "\n".join(map(str, reports))
        assert reports[0].estimate == pytest.approx(quantile, rel=0.05)
    assert values[8] > 1.1 * values[16]


def test_what_holds_at_every_width_is_tested_at_each_and_a_limit_at_the_widest(oracle):
    """P(Q_L > 1.5) falls with N: a bound between its values at 8 and 16 is broken at 8 alone."""
    bound = sp.Float((oracle[8] > 1.5).mean() + (oracle[16] > 1.5).mean()) / 2
    event = Probability(SecondMoment() > 1.5)
    options = {"widths": (8, 16), "nets": 30_000, "design": Design(effect_probability=0.4)}
    exact = mf.check(claim(event, "<=", bound), AT, **options)
    assert [f.verdict for f in exact.findings] == [R, S] and exact.verdict is R
    assert [f.label.rpartition(" at ")[2] for f in exact.findings] == ["N = 8", "N = 16"]
    assert {f.alpha for f in exact.findings} == {5e-4}, "the rate is shared"
    limit = mf.check(claim(event, "<=", bound, regime=Regime.LARGE_WIDTH), AT, **options)
    (finding,) = limit.findings
    assert finding.verdict is S and finding.alpha == 1e-3
    assert finding.estimate == finding.rungs[-1].mean == exact.findings[1].estimate
    assert [r.N for r in finding.rungs] == [8, 16] and all(r.interval for r in finding.rungs)
    assert "at N = 8" in finding.reason and "at N = 16" in finding.reason and "the widest decide" in finding.reason


def test_a_departure_that_falls_with_the_width_refutes_no_limit():
    """As N -> oo Q_L is 1, and so no network has more than 1.2: a true limit, and one that is wrong at each width."""
    options = {"widths": (16, 32, 64, 128), "nets": 2000}
    true, wrong = (
        claim(Probability(SecondMoment() > c), "<=", sp.Rational(1, 20), regime=Regime.LARGE_WIDTH) for c in (1.2, 0.8)
    )
    reports = mf.check_all([true, wrong], AT, **options)
    assert [r.verdict for r in reports] == [U, R], "\n".join(map(str, reports))
    assert reports[0].findings[0].p_value == 1 and "use larger N" in reports[0].findings[0].reason
    assert mf.check(true, AT, widths=(128,), nets=2000).verdict is R, "of one width nothing falls"
    assert mf.check(replace(true, regime=Regime.EXACT), AT, **options).verdict is R


def test_thresholds_and_probabilities_that_depend_on_the_width(oracle):
    """A threshold that falls to 1 as 1/sqrt(N), and what is claimed of each width."""
    threshold, values = 1 + 1 / sp.sqrt(N), {}
    for width, numbers in oracle.items():
        values[width] = float((numbers > 1 + width**-0.5).mean())
    line = sp.Float(values[8]) + (values[16] - values[8]) * (N - 8) / 8
    for event in (
        SecondMoment() > threshold,
        sp.sqrt(N) * (SecondMoment() - 1) > 1,
        -sp.sqrt(N) * (SecondMoment() - 1) < -1,
    ):
        reports = mf.check_all(
            [claim(Probability(event), "==", line), claim(Probability(event), "==", line / 2)],
            AT,
            widths=(8, 16),
            nets=4000,
        )
        assert [f.verdict for f in reports[0].findings] == [S, S], reports[0]
        assert [f.verdict for f in reports[1].findings] == [R, R]
        assert reports[0].findings[1].predicted == pytest.approx(values[16])


def test_an_event_is_that_of_the_unit_it_names():
    """No mean over units and directions, whose events hold in part."""
    at, options = {**AT, "sigma_b": 0.3}, {"widths": (16,), "nets": 1500}
    half = mf.check(claim(Probability(Output(1) > 0), "==", sp.S.Half), at, **options)
    assert half.verdict is S and half.estimate * 1500 == pytest.approx(round(half.estimate * 1500), abs=1e-9)
    both = claim(Probability(JacobianEntry(0, 0) * JacobianEntry(1, 0) > 0), "==", sp.S.Half)
    assert mf.check(both, at, **options).verdict is S
    same = claim(Probability(JacobianEntry(0, 0) * JacobianEntry(0, 0) > 0), ">=", sp.Rational(9, 10))
    assert mf.check(same, at, **options).verdict is S


def test_an_attack_refutes_and_never_supports():
    at, options = {**AT, "eps": 0.1}, {"widths": (64,), "nets": 300, "steps": 2, "directions": 2}
    large, usual = 4 * eps, eps
    rare = claim(Probability(AdversarialLoss(2, 2) > large), "<=", sp.Rational(1, 10))
    common = claim(Probability(AdversarialLoss(2, 2) > usual), "<=", sp.Rational(1, 10))
    missed = claim(Probability(AdversarialLoss(2, 2) > large), ">=", sp.Rational(1, 10))
    reached = claim(Probability(AdversarialLoss(2, 2) > usual), ">=", sp.Rational(1, 10))
    small = claim(Probability(AdversarialLoss(2, 2) < large), "<=", sp.Rational(1, 10))
    exact = claim(Probability(OperatorNorm(2, 2) > 4), "<=", sp.Rational(1, 10))
    quantile = claim(Quantile(AdversarialLoss(2, 2), sp.Rational(1, 10)), "<=", large)
    found = mf.check_all([rare, common, missed, reached, small, exact, quantile, quantile.scaled("1/4")], at, **options)
    assert [r.verdict for r in found] == [NR, R, U, S, U, S, NR, R], "\n".join(map(str, found))
    for index in (2, 4):
        assert "refutes nothing on that side" in found[index].findings[0].reason
        assert found[index].findings[0].p_value == 1
    (wrong,) = controls(rare)
    assert mf.check(replace(wrong, lhs=event_of(wrong.lhs).at(usual)), at, **options).verdict is R


def test_an_equation_may_have_the_right_hand_side_as_its_threshold():
    """A bound with high probability, whose number is the threshold."""
    equation = Equation("share above", Probability(SecondMoment() > RHS), sp.Rational(1, 10), sp.Rational(1, 10))
    bound = claim(Quantile(SecondMoment(), sp.Rational(1, 10)), "<=", sp.S(3), equations=(equation,))
    reports = mf.check_all([bound, *controls(bound)], AT, widths=(16,), nets=1500)
    assert [r.verdict for r in reports] == [S, R], "\n".join(map(str, reports))
    assert controls(bound)[0].implied[0].lhs == Probability(SecondMoment() > sp.Rational(3, 2))


def test_abbreviations_stand_in_events_as_in_formulas():
    level = sp.Symbol("level", positive=True)
    short = Claim(
        "tail",
        Probability(SecondMoment() > level),
        "<=",
        DELTA,
        {level: 3 * sigma_w},
        Regime.EXACT,
        (),
        "",
        LINEAR,
    )
    assert "level" in mf.latex(short)
    at, options = {**AT, "delta": 0.1}, {"widths": (16,), "nets": 1500}
    spelled = replace(short, lhs=short.subject, where={})
    one, other = mf.check(short, at, **options), mf.check(spelled, at, **options)
    assert one.verdict is S and one.estimate == other.estimate
    reports = mf.check_all(controls(short), at, **options)
    assert [r.verdict for r in reports] == [R]
    assert runs.canonical(short) == runs.canonical(spelled) != runs.canonical(replace(short, where={level: sp.S(2)}))


def means(report):
    return [
        (f.verdict, f.estimate, f.p_value, [(r.nets, r.mean, r.interval) for r in f.rungs]) for f in report.findings
    ]


def test_looks_and_pilots_and_what_is_finished():
    claims = [
        claim(Probability(SecondMoment() > 3), "<=", sp.Rational(1, 5)),
        claim(Quantile(SecondMoment(), sp.Rational(1, 5)), "<=", 4),
    ]
    options = {"widths": (8, 16), "nets": 600, "sequential": True}
    parts = {}
    whole = mf.check_all(claims, AT, **options, parts=parts)
    assert [r.verdict for r in whole] == [S, S]
    assert whole[0].settings["sequential"]["stopped"] < whole[0].settings["sequential"]["looks"]
    json.dumps(parts, allow_nan=False)
    again = mf.check_all(claims, AT, **options, parts=json.loads(json.dumps(parts)))
    assert list(map(means, again)) == list(map(means, whole))
    half = dict(list(parts.items())[:1])
    assert list(map(means, mf.check_all(claims, AT, **options, parts=half))) == list(map(means, whole))
    tight = mf.check_all(claims, AT, **options, memory=60_000)
    assert list(map(means, tight)) == list(map(means, whole))
    report = mf.check(claims[0], AT, widths=(8, 16), nets="pilot")
    assert report.verdict is S and report.settings["pilot"]["chosen"] == report.settings["nets"][0]


def test_numbers_that_are_not_finite_give_no_verdict():
    deep, at = claim(Probability(SecondMoment() > 3), "<=", sp.Rational(1, 5)), {**AT, "L": 400, "sigma_w": 3.0}
    parts = {}
    report = mf.check(deep, at, widths=(8,), nets=20, parts=parts)
    assert report.verdict is U and "without a finite number" in report.findings[0].reason
    json.dumps(parts, allow_nan=False)
    assert mf.check(deep, at, widths=(8,), nets=20, parts=parts).verdict is U


def theorem(**more):
    claims = [
        claim(Probability(SecondMoment() > 3), "<=", sp.Rational(1, 10)),
        claim(Quantile(SecondMoment(), sp.Rational(1, 10)), "<=", 5 * sigma_w**2 / 2),
        claim(Probability(Output(0) > 0), "==", sp.S.Half),
    ]
    claims = [replace(each, name=f"tail.{i}") for i, each in enumerate(claims)]
    scale = mf.Scale(L=2, d=16, K=4, widths=(8, 16), nets=(700, 700), at={"sigma_w": 1.0, "sigma_b": 0.0})
    return mf.Theorem(
        name="tail", title="tails: of a stream", source="a test", wrong=by_form, tests=lambda net, pairs: claims, net=LINEAR,
        scales={"quick": scale}, **more,
    )  # fmt: skip


def test_a_suite_of_tails_in_a_store(tmp_path):
    own = theorem()
    case = suite.own_case(own, own.tested(LINEAR, []))
    design = Design(alpha=1e-3)
    (outcome,) = runs.run([case], design=design, store=tmp_path / "one.db")
    assert [r.verdict for r in outcome.reports] == [S, S, S], "\n".join(map(str, outcome.reports))
    assert len(outcome.controls) == 4 and {r.verdict for r in outcome.controls} == {R}
    (again,) = runs.run([case], design=design, store=tmp_path / "one.db", resume=True)
    assert again.reports == outcome.reports
    assert [record.report for record in read(tmp_path / "one.db").records] == [*outcome.reports, *outcome.controls]
    (early,) = runs.run([case], design=design, sequential=True)
    assert {r.verdict for r in early.reports} == {S}
    document = of_outcomes([outcome], 0, "advmf check", complete=True)
    page = html(document)
    assert "N = 8" in page and "more is excluded" in page
    assert r"\mathbb{P}" in mf.document([case.claims[0]], results=document.to_dict())
    (sized,) = runs.run([case], design=design, nets="pilot")
    assert {r.verdict for r in sized.reports} == {S}


def test_mutants_of_tails_are_judged():
    own = theorem()
    case = suite.own_case(own, own.tested(LINEAR, []))
    (found,) = mutate([case], times=1)
    assert {mutant.claim for mutant in found} == {"tail.0", "tail.1", "tail.2"}
    assert any(mutant.caught and mutant.mutation == "5/2" for mutant in found), "the factor dropped"
    assert all(mutant.caught or mutant.reason for mutant in found)


# Forms.


@pytest.mark.parametrize(
    ("event", "relation", "names"),
    [
        (SecondMoment() > 2, "<=", ["half the threshold"]),
        (SecondMoment() > 2, ">=", ["twice the threshold"]),
        (SecondMoment() < 2, "<=", ["twice the threshold"]),
        (SecondMoment() <= 2, ">=", ["half the threshold"]),
        (Output(0) > -2, "<=", ["twice the threshold"]),
        (-SecondMoment() < -2, "<=", ["half the threshold"]),
        (3 * SecondMoment() + 1 > 7, "==", ["half the threshold", "a quarter of the probability"]),
        (Output(0) > 0, "<=", ["half the probability"]),
        (Output(0) >= 0, ">=", ["half the complement"]),
        (Output(0) > 0, "==", ["half the probability", "a quarter of the probability"]),
    ],
)
def test_wrong_versions(event, relation, names):
    true = claim(Probability(event), relation, sp.Rational(1, 3))
    found = controls(true)
    assert [each.name for each in found] == [f"tail [{name}]" for name in names]
    assert all(differs(true, each, {**AT, "N": 8}) for each in found)
    for each in found:
        if "threshold" in each.name:
            assert event_of(each.lhs).threshold != event_of(true.lhs).threshold
            assert event_of(each.lhs).upper == event_of(true.lhs).upper
            assert event_of(each.lhs).closed == event_of(true.lhs).closed
        else:
            assert each.lhs == true.lhs and each.rhs != true.rhs


def test_a_quantile_is_typeset_and_read_back():
    value = Quantile(AdversarialLoss(2, 2), DELTA)
    own = claim(value, "<=", 3 * eps)
    assert r"Q_{1 - \delta}(\mathcal{L}" in mf.latex(own)
    assert mf.from_json(mf.to_json(own)) == own
    event = claim(Probability(AdversarialLoss(2, 2) > 3 * eps), "<=", sp.exp(-2))
    assert mf.from_json(mf.to_json(event)) == event
    assert value.is_nonnegative and Quantile(Output(0), DELTA).is_real and not Quantile(Output(0), DELTA).is_nonnegative
    assert sp.diff(value, eps) != 0


@pytest.mark.parametrize("delta", [0, 1, -0.5, 2, sp.I])
def test_a_quantile_of_no_probability(delta):
    with pytest.raises(ArgumentError, match=r"delta of a Quantile is a probability and must lie in \(0, 1\)"):
        Quantile(SecondMoment(), delta)


@pytest.mark.parametrize("delta", ["x(", None, object(), [1]])
def test_a_quantile_of_what_is_no_number(delta):
    with pytest.raises(ArgumentError):
        Quantile(SecondMoment(), delta)


def test_a_quantile_takes_two():
    with pytest.raises(ArgumentError, match="takes an observable and delta"):
        Quantile(SecondMoment())


class Unmeasured(Observable):
    pass


THIRD = sp.Rational(1, 3)
ABOVE = Equation("e", Probability(SecondMoment() > RHS), THIRD, THIRD)
BAD = [
    (claim(Probability(SecondMoment() > -1), "<=", THIRD), {}, "holds always"),
    (claim(Probability(SecondMoment() < -1), "<=", THIRD), {}, "holds never"),
    (claim(Probability(sp.And(SecondMoment() > 1, Output(0) > 1)), "<=", THIRD), {}, "one inequality"),
    (claim(Probability(sp.Eq(SecondMoment(), 1)), "<=", THIRD), {}, "one inequality"),
    (claim(Probability(SecondMoment() > Expectation(SecondMoment())), "<=", THIRD), {}, "holds a mean"),
    (claim(Probability(DELTA > 1), "<=", THIRD), {"at": {**AT, "delta": 2}}, "speaks of no observable"),
    (claim(Probability(sp.exp(SecondMoment()) > 1), "<=", THIRD), {}, "no polynomial"),
    (claim(Quantile(sp.log(SecondMoment()), THIRD), "<=", 1), {}, "no polynomial"),
    (claim(Probability(SecondMoment() + N * Output(0) > 1), "<=", THIRD), {}, "has N within a sum"),
    (claim(Probability(SecondMoment() > 2), "<=", 0), {}, "is 0 at a width of 8"),
    (claim(Probability(SecondMoment() > 2), "<=", sp.Rational(3, 2)), {}, "is 1.5 at a width of 8"),
    (claim(Probability(SecondMoment() > 2), "==", -1), {}, "is -1 at a width of 8"),
    (claim(Probability(SecondMoment() > 2), "<=", DELTA), {}, "at lacks delta"),
    (claim(Probability(SecondMoment() > DELTA), "<=", THIRD), {}, "at lacks delta"),
    (claim(Quantile(SecondMoment(), DELTA), "<=", 3), {}, "at lacks delta"),
    (claim(Quantile(SecondMoment(), DELTA), "<=", 3), {"at": {**AT, "delta": 1.5}}, "delta of .* is 1.5"),
    (claim(Quantile(SecondMoment(), THIRD), "<=", 0), {}, "no scale"),
    (claim(Probability(SecondMoment() > 2), "<=", THIRD), {"nets": "pilots"}, "or 'pilot'"),
    (claim(Probability(SecondMoment() > 2), "<=", THIRD), {"sequential": 1}, "sequential must be True"),
    (claim(Probability(SecondMoment() > 2), "~", THIRD, equations=(ABOVE,)), {}, "is checked by <="),
    (claim(Probability(SecondMoment() > 2), "asymp", THIRD), {"ladder": (8, 16, 32)}, "is checked by <="),
    (claim(Probability(SecondMoment() > 2), "<=", THIRD, equations=(replace(ABOVE, order=1),)), {}, "no equation of order 1"),
    (claim(Probability((N - 12) * SecondMoment() > 2), "<=", THIRD), {"widths": (8, 16)}, "must have one sign"),
    (claim(Probability(SecondMoment() > sp.exp(10**9 * sigma_w)), "<=", THIRD), {}, "no simulation can be compared"),
    (claim(Probability(Unmeasured() > 2), "<=", THIRD), {}, r"no measure\(probe\)"),
    (claim(Probability(MatrixNorm(2, 2) > 2), "<=", THIRD), {}, r"no measure\(probe\)"),
    (claim(Probability(AdversarialLoss(2, 2) > 2), "<=", THIRD), {}, "at lacks eps"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "options", "message"), BAD)
def test_bad_input_stops_before_any_work(wrong, options, message, monkeypatch):
    monkeypatch.setattr(data.Images, "draw", lambda *_: pytest.fail("work had started"))
    options = {**({} if "ladder" in options else {"widths": (8,)}), "nets": 10, **options}
    with pytest.raises(AdvmfError, match=message):
        mf.check(wrong, options.pop("at", AT), **options)


MATRIX = Probability(MatrixNorm(2, 2) > 2)
BAD_NORMS = [
    (norms(Probability(SecondMoment() > 2), "<=", THIRD), {}, "about one"),
    (norms(Probability(MatrixNorm(2, 2) + MatrixNorm(1, 2) > 2), "<=", THIRD), {}, "about one"),
    (norms(Probability(MatrixNorm(2, 2) > Expectation(MatrixNorm(2, 2))), "<=", THIRD), {}, "holds a mean"),
    (norms(MATRIX, "<=", DELTA), {}, "at lacks delta"),
    (norms(MATRIX, "<=", DELTA), {"at": {**SIZE, "delta": "small"}}, "must be a number"),
    (norms(MATRIX, "<=", DELTA), {"at": {**SIZE, "delta": 2.0}}, "strictly between 0 and 1"),
    (norms(MATRIX, "<=", 1 / N), {"at": SIZE}, "no width N"),
    (norms(MATRIX, "asymp", THIRD), {"ladder": (8, 16, 32)}, "is checked by <="),
    (norms(MATRIX, "<=", THIRD, equations=(Equation("e", MATRIX, RHS, THIRD),)), {}, "takes no equations"),
    (norms(MATRIX, "<=", THIRD), {"at": {"d": 8, "K": 2, "delta": 0.1}}, "nothing here uses 'delta'"),
]


@pytest.mark.parametrize(("wrong", "options", "message"), BAD_NORMS)
def test_bad_claims_about_matrices_stop_before_any_work(wrong, options, message, monkeypatch):
    monkeypatch.setattr(matrices, "gaussian_norms", lambda *_, **__: pytest.fail("work had started"))
    options = {"samples": 10, **options}
    with pytest.raises(AdvmfError, match=message):
        mf.check(wrong, options.pop("at", {"d": 8, "K": 2}), **options)
