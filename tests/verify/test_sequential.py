"""Checks that may stop early: within the declared rates whenever they stop, the same numbers however they run, and told
in the report."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy import stats

import advmf as mf
from advmf.errors import ArgumentError, StoreError
from advmf.simulate import data
from advmf.verify import suite
from advmf.verify.judge import Consequence, decide_bound, decide_equality, judge
from advmf.verify.runs import run
from advmf.verify.sequential import FIRST, Look, looks, watch
from advmf.verify.sources import matrices
from advmf.verify.statistics import Design, Rung
from advmf.verify.store import read
from advmf.verify.verdict import Verdict

WIDTHS = (64, 128, 256, 512)
NETS = 256
SCHEDULE = looks([NETS], True)
COUNTS = [look.count(NETS) for look in SCHEDULE]


class Peek(Look):
    """The negative control: every look tests at the whole rate."""

    share = 1.0


def normal(rng, shape):
    return rng.normal(0, 0.1, shape)


def heavy(rng, shape):
    """Log-normal, as attack maxima and products over depth nearly are: of a spread of 0.3 and a skewness of 2."""
    return (rng.lognormal(0, 0.55, shape) - math.exp(0.55**2 / 2)) * 0.42


def mirrored(rng, shape):
    return -heavy(rng, shape)


CLAIMS = [(normal, 0), (heavy, 0), (mirrored, 0), (normal, 2), (heavy, 2)]
"""The noise of a network's number, and the degree of the law in 1/N."""


def sequences(rng, noise, degree, runs, departure=0.0):
    """For each of so many checks, the rungs at every look: the first networks of the same draw."""
    widths = np.array(WIDTHS if degree else WIDTHS[:1])
    law = 1 + departure + (0.5 * WIDTHS[0] / widths if degree else 0.0 * widths)
    draws = noise(rng, (runs, len(widths), NETS))
    rungs = []
    for n in COUNTS:
        part = draws[..., :n]
        mean, centred = part.mean(-1), part - part.mean(-1, keepdims=True)
        error = np.sqrt((centred**2).sum(-1) / (n - 1) / n)
        skew = (centred**3).mean(-1) / (centred**2).mean(-1) ** 1.5
        rungs.append([(mean + law).tolist(), error.tolist(), skew.tolist()])
    for i in range(runs):
        yield [[Rung(N, n, m[i][k], e[i][k], s[i][k]) for k, N in enumerate(widths.tolist())]
               for n, (m, e, s) in zip(COUNTS, rungs)]  # fmt: skip


def outcomes(rng, noise, degree, runs, design, decide=decide_equality, schedule=SCHEDULE, departure=0.0):
    """The finding of each sequential check, and the look at which it stopped; all from the rungs on is the package's
    own."""
    ones = dict.fromkeys(WIDTHS, 1.0)
    test = Consequence("", None, ones, ones, degree == 0, 0, False)
    for rungs in sequences(rng, noise, degree, runs, departure):

        def judged(look, own, rungs=rungs):
            return [[judge(test, tuple(rungs[look.number - 1]), own.alpha, own, partial(decide), 0.0)]]

        ((((finding,), look)),) = watch(schedule, design, judged)
        yield finding, look


def most(rate, runs):
    """What a count of that rate does not exceed, but once in 10,000 tests."""
    return stats.binom.ppf(1 - 1e-4, runs, rate)


UNRESOLVED = 1e-9
"""An effect that no look resolves: nothing stops a check but a refutation, and so it has every chance to refute."""


@pytest.mark.parametrize(("noise", "degree"), CLAIMS)
@pytest.mark.parametrize("decide", [decide_equality, decide_bound])
def test_true_claims_are_refuted_no_more_often_than_declared_whenever_one_stops(noise, degree, decide):
    rng, runs, alpha = np.random.default_rng(0), 1000, 0.02
    found = list(outcomes(rng, noise, degree, runs, Design(alpha=alpha, effect=UNRESOLVED), decide))
    assert sum(f.verdict is Verdict.REFUTED for f, _ in found) <= most(alpha, runs)
    for rate in (0.01, 0.02, 0.05, 0.1):
        assert sum(f.p_value < rate for f, _ in found) <= most(rate, runs), "p-values hold for every number of looks"
    assert {f.alpha for f, _ in found} == {alpha}


def test_peeking_at_the_whole_rate_is_seen_to_refute_too_often():
    rng, runs, alpha = np.random.default_rng(0), 2000, 0.02
    schedule = [Peek(look.number, look.looks) for look in SCHEDULE]
    found = outcomes(rng, normal, 0, runs, Design(alpha=alpha, effect=UNRESOLVED), schedule=schedule)
    assert sum(f.verdict is Verdict.REFUTED for f, _ in found) > most(alpha, runs)


@pytest.mark.parametrize(("noise", "degree"), CLAIMS)
@pytest.mark.parametrize("early", [1, 2])
def test_departures_of_the_declared_effect_are_found_with_the_declared_power(noise, degree, early):
    """Where the last look alone resolves the effect, and where earlier ones do: misses are at most beta of those that
    tell."""
    rng, runs, design = np.random.default_rng(1), 500, Design(alpha=1e-3, beta=0.05, effect=UNRESOLVED)
    resolved = [f.resolution for f, _ in outcomes(rng, noise, degree, 100, design)]
    design = replace(design, effect=early * float(np.quantile(resolved, 0.9)))
    found = list(outcomes(rng, noise, degree, runs, design, departure=design.effect))
    told = [f.verdict for f, _ in found if f.verdict is not Verdict.UNDERPOWERED]
    assert len(told) > runs / 2
    assert sum(v is not Verdict.REFUTED for v in told) <= most(design.beta, len(told))
    if early > 1:
        assert np.mean([look.number for _, look in found]) < len(SCHEDULE) - 0.5


def test_the_shares_of_the_looks_are_the_whole_rate():
    for declared in (2, FIRST, 2 * FIRST, 2 * FIRST - 1, 1000, 24_000):
        schedule = looks([declared, 10**6], True)
        assert sum(look.share for look in schedule) == 1.0
        assert schedule[-1].count(declared) == declared
        assert len(schedule) == 1 or FIRST <= schedule[0].count(declared) <= 2 * FIRST
    assert looks([24_000], False) == (Look(1, 1),)


AT = {"L": 2, "d": 16, "K": 4, "sigma_w": 1.0, "sigma_b": 0.3}
LADDER = {"widths": (16, 32, 64), "nets": (600, 600, 300), "dtype": "float64", "sampler": "dense", "seed": 0}


@pytest.fixture(scope="module")
def law():
    claim = mf.linear_form(mf.vanilla(1, 0))[0]
    return replace(claim, equations=claim.equations[:2])


@pytest.fixture(scope="module")
def stopped(law):
    return mf.check(law, AT, **LADDER, sequential=True, design=Design(effect=0.5))


def means(finding):
    return [value for rung in finding.rungs for value in (rung.mean, rung.stderr, rung.skew)]


def test_a_check_stops_when_all_is_decided_and_says_so(law, stopped):
    assert stopped.verdict is Verdict.SUPPORTED
    told = stopped.settings["sequential"]
    assert told["looks"] == 4 and told["stopped"] < 4 and told["declared"] == [600, 600, 300]
    nets = stopped.settings["nets"]
    assert nets == [-(-n // 2 ** (4 - told["stopped"])) for n in (600, 600, 300)]
    assert nets == max(([r.nets for r in f.rungs] for f in stopped.findings), key=sum)
    assert stopped.settings["design"]["alpha"] == 1e-3 and {f.alpha for f in stopped.findings} == {5e-4}
    assert "sequential" not in mf.check(law, AT, **{**LADDER, "nets": 40}).settings


def test_what_was_simulated_are_the_first_networks_of_the_fixed_check(law):
    design = Design(effect=1e-3)
    fixed, last = (mf.check(law, AT, **LADDER, sequential=s, design=design) for s in (False, True))
    assert last.settings["sequential"]["stopped"] == 4 and last.settings["nets"] == fixed.settings["nets"]
    for one, other in zip(fixed.findings, last.findings):
        assert means(one) == pytest.approx(means(other), rel=1e-9)
    assert last.verdict is Verdict.UNDERPOWERED


def test_no_claim_depends_on_what_is_checked_beside_it_nor_on_memory(law, stopped):
    wrong = replace(law, equations=tuple(replace(e, rhs=3 * e.rhs) for e in law.equations))
    design = Design(effect=0.5)
    beside = mf.check_all([wrong, law], AT, **LADDER, sequential=True, design=design)
    assert beside[0].verdict is Verdict.REFUTED
    tight = mf.check(law, AT, **LADDER, sequential=True, design=design, memory=80_000)
    for other in (beside[1], tight):
        assert other.settings["nets"] == stopped.settings["nets"]
        for one, two in zip(stopped.findings, other.findings):
            assert means(one) == pytest.approx(means(two), rel=1e-9) and one.verdict == two.verdict


def test_progress_adds_up_though_there_is_less_to_do(law):
    shares = []
    report = mf.check(
        law, AT, **LADDER, sequential=True, design=Design(effect=0.9), progress=lambda s, what: shares.append(s)
    )
    assert report.settings["sequential"]["stopped"] < 4 and sum(shares) == pytest.approx(1)
    shares.clear()
    report = mf.check(
        mf.norm_factor(2, 2),
        {"d": 20, "K": 4},
        samples=9000,
        sequential=True,
        progress=lambda s, what: shares.append(s),
    )
    assert report.settings["sequential"]["stopped"] < 9 and sum(shares) == pytest.approx(1)


def test_matrices():
    at = {"d": 20, "K": 4}
    claims = [mf.norm_factor(2, 2), mf.norm_factor(1, 2), mf.norm_factor(2, 2).scaled(2)]
    reports = matrices.check_matrices(claims, at, samples=9000, sequential=True)
    assert [r.verdict for r in reports] == [Verdict.SUPPORTED, Verdict.SUPPORTED, Verdict.REFUTED]
    for claim, report in zip(claims, reports):
        told, samples = report.settings["sequential"], report.settings["samples"]
        assert (told["looks"], told["declared"]) == (9, 9000)
        assert samples == -(-9000 // 2 ** (9 - told["stopped"])) < 9000
        assert mf.check(claim, at, samples=samples).findings[0].rungs == report.findings[0].rungs
    assert reports[2].settings["samples"] < reports[0].settings["samples"]
    growth = mf.check(
        mf.growth(mf.norm_factor(2, 2), "d"), {"K": 2}, ladder=(100, 400, 1600), samples=400, sequential=True
    )
    assert growth.verdict is Verdict.SUPPORTED and growth.settings["samples"] < 400


def test_the_growth_of_the_loss():
    claim = mf.growth(mf.loss_bound(mf.vanilla(u=1, v=0), 2, 2), "d")
    at = {"L": 1, "K": 2, "sigma_w": 2**0.5, "sigma_b": 0, "eps": 0.1, "N": 64}
    report = mf.check(claim, at, ladder=(64, 256, 1024), nets=400, steps=2, directions=1, sequential=True)
    assert report.verdict is Verdict.SUPPORTED
    assert report.settings["sequential"]["stopped"] < report.settings["sequential"]["looks"] == 4
    assert {r.nets for r in report.findings[0].rungs} == {report.settings["nets"][-1]}


@pytest.mark.parametrize("bad", ["yes", 1, None])
def test_bad_values_are_refused_before_any_work(law, bad, monkeypatch):
    monkeypatch.setattr(data.Images, "draw", lambda *_: pytest.fail("work had started"))
    monkeypatch.setattr(matrices, "gaussian_norms", lambda *_, **__: pytest.fail("work had started"))
    for claim, at, options in (
        (law, AT, {"nets": "pilot"}),
        (mf.norm_factor(2, 2), {"d": 20, "K": 4}, {"samples": "pilot"}),
        (mf.growth(mf.loss_bound(mf.vanilla(1, 0), 2, 2), "d"), AT, {"ladder": (4, 8, 16), "nets": "pilot"}),
    ):
        with pytest.raises(ArgumentError, match="sequential must be True"):
            mf.check(claim, at, sequential=bad, **options)


TINY = replace(
    suite.QUICK,
    scales={
        "F1": suite.Scale(L=2, d=16, K=2, widths=(8, 16), nets=(3000, 1500)),
        "beta": suite.MatrixScale(d=20, K=4, samples=200),
    },
    name="tiny",
)


def tiny(**options):
    chosen = [
        *suite.cases(["F1"], ["vanilla_growing"], profile=TINY),
        *suite.cases(["beta"], pairs=[(1, 2)], profile=TINY),
    ]
    return run(chosen, **options)


def test_a_suite_that_goes_on_later_and_elsewhere_has_the_same_numbers(tmp_path):
    path, other = tmp_path / "run.db", tmp_path / "other.db"
    list(tiny(store=other, sequential=True))
    part = tiny(store=path, sequential=True)
    next(part)
    part.close()
    with pytest.raises(StoreError, match="sequential"):
        list(tiny(store=path, resume=True))
    list(tiny(store=path, resume=True, sequential=True, workers=2))
    one, two = (
        [(r.key, r.control, replace(r.report, seconds=0.0)) for r in read(each).records] for each in (path, other)
    )
    assert one == two
    told = [record.report.settings["sequential"] for record in read(path).records]
    assert any(each["stopped"] < each["looks"] for each in told)
    fixed = {r.key for r in read(path).records} & {
        r.key for o in [tmp_path / "fixed.db"] for _ in tiny(store=o) for r in read(o).records
    }
    assert not fixed
