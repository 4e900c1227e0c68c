"""Every relation is judged from the side that contradicts it, whatever a claim is scaled by is what is tested, and
nothing passes unseen."""

from dataclasses import replace

import pytest
import sympy as sp

import advmf as mf
from advmf.claim import RHS, Claim, Equation, Regime, Relation
from advmf.errors import ArgumentError
from advmf.observables import (
    AdversarialLoss,
    Expectation,
    JacobianAlong,
    LossDecay,
    Observable,
    OperatorNorm,
    Output,
    WeightNormSlope,
    WeightVarianceSlope,
)
from advmf.simulate import data as images
from advmf.simulate.estimate import searched
from advmf.symbols import L, N, eps, sigma_w
from advmf.theorems.t3_weight_variance import euler_identity
from advmf.verify.controls import controls
from advmf.verify.relations import deciding
from advmf.verify.searches import trusted
from advmf.verify.sources import parts
from advmf.verify.statistics import Design, Estimate
from advmf.verify.verdict import Verdict

NET = mf.residual(1, 0)
AT = {"L": 2, "d": 16, "K": 4, "sigma_w": 1.0, "sigma_b": 0.3, "eps": 0.1}
FEW = {"widths": (16, 32, 64), "nets": 400, "seed": 0, "design": Design(alpha=1e-4, effect=0.3, effect_fourth=1.0)}
PLAIN = Expectation(Output(0) ** 2)
LOSS = Expectation(AdversarialLoss(2, 2))


def claimed(lhs, relation, formula, **own):
    own = {"regime": Regime.EXACT, "equations": (), "net": NET, **own}
    return Claim("own", lhs, relation, sp.sympify(formula), {}, assumptions=(), source="", **own)


@pytest.fixture(scope="module")
def values():
    """Claims of each relation about a plain mean Q and an attacked one, at multiples of what is true."""
    Q, bound = mf.moments(NET).Q, mf.loss_bound(NET, 2, 2).rhs
    cases = {
        (kind, relation, factor): claimed(lhs, relation, factor * of, tolerance=tolerance)
        for kind, lhs, of in (("plain", PLAIN, Q), ("attacked", LOSS, bound))
        for relation, tolerance in (("<=", 0.0), (">=", 0.0), ("==", 0.0), ("approx", 0.1))
        for factor in (sp.Rational(1, 3), sp.S.One, sp.Integer(3))
    }
    cases["minus", "<=", 3] = claimed(Expectation(-AdversarialLoss(2, 2)), "<=", -3 * bound)
    cases["minus", ">=", 3] = claimed(Expectation(-AdversarialLoss(2, 2)), ">=", -3 * bound)
    cases["minus", ">=", 0] = claimed(Expectation(-AdversarialLoss(2, 2)), ">=", -bound / 3)
    cases["tolerant", "<="] = claimed(PLAIN, "<=", Q * sp.Rational(4, 5), tolerance=0.5)
    cases["tolerant", ">="] = claimed(PLAIN, ">=", Q * sp.Rational(6, 5), tolerance=0.5)
    return dict(zip(cases, mf.check_all(list(cases.values()), AT, **FEW)))


STANDS, OFF, OPEN = Verdict.NOT_REFUTED, Verdict.REFUTED, Verdict.UNDERPOWERED


@pytest.mark.parametrize(
    ("kind", "relation", "third", "thrice"),
    [
        ("plain", "<=", OFF, STANDS),
        ("plain", ">=", STANDS, OFF),
        ("plain", "==", OFF, OFF),
        ("plain", "approx", OFF, OFF),
        ("attacked", "<=", OFF, STANDS),
        ("attacked", ">=", STANDS, OPEN),  # the attack does not reach it, and may have missed it
        ("attacked", "==", OFF, OPEN),
        ("attacked", "approx", OFF, OPEN),
    ],
)
def test_a_relation_is_refuted_on_the_side_that_contradicts_it(values, kind, relation, third, thrice):
    found = [values[kind, relation, factor] for factor in (sp.Rational(1, 3), 3)]
    assert [report.verdict for report in found] == [third, thrice], "\n".join(map(str, found))
    for report in found:
        assert (report.p_value < 1e-4) == (report.verdict is OFF), "Holm's rule goes by the p-value"
    if OPEN in (third, thrice):
        assert "search found of a maximum" in found[1].findings[0].reason
    if kind == "plain":
        true = values[kind, relation, 1].verdict
        assert true is (STANDS if relation in ("<=", ">=") else Verdict.SUPPORTED)


def test_the_sign_and_the_tolerance_of_a_claim_count(values):
    """-E L_adv is measured too high, if anything; a bound with a tolerance may be missed by as much."""
    assert values["minus", "<=", 3].verdict is OPEN and values["minus", ">=", 3].verdict is STANDS
    assert values["minus", ">=", 0].verdict is OFF
    assert {values["tolerant", relation].verdict for relation in ("<=", ">=")} == {STANDS}


def test_bounds_are_decided_alike_from_either_side():
    for value in (-0.5, -0.01, 0.0, 0.01, 0.5):
        for stderr in (0.01, 0.2):
            estimate = Estimate(value, stderr, 50.0, skew=0.3)
            for tolerance in (0.0, 0.1):
                low = deciding(Relation(">="), tolerance)(estimate, 1e-3, 0.05, 0.15)
                high = deciding(Relation("<="), tolerance)(estimate.mirrored, 1e-3, 0.05, 0.15)
                assert (low.p_value, low.resolution) == (high.p_value, high.resolution)
                assert (low.verdict is OFF) == (high.verdict is OFF) and (low.verdict is OPEN) <= (high.verdict is OPEN)
    wide = deciding(Relation(">="), 0.0)(Estimate(2.0, 0.2, 50.0), 1e-3, 0.05, 0.15)
    assert wide.verdict is STANDS and wide.resolution > 0.15, "three times a lower bound is no doubt about it"
    assert deciding(Relation(">="), 0.0)(Estimate(0.1, 0.2, 50.0), 1e-3, 0.05, 0.15).verdict is OPEN


class Sought(Observable):
    """A maximum of one's own."""

    maximum = True


class Seen(Observable):
    """No maximum."""


@pytest.mark.parametrize(
    ("product", "expected"),
    [
        (Output(0) ** 2 * JacobianAlong(0), (True, True)),
        (AdversarialLoss(2, 2) ** 2 * Output(0) ** 2, (True, False)),
        (3 - AdversarialLoss(2, 2), (False, True)),
        (AdversarialLoss(2, 2) - AdversarialLoss(1, 2), (False, False)),
        (AdversarialLoss(2, 2) * Output(0), (False, False)),
        (WeightNormSlope(2, 2) + AdversarialLoss(2, 2), (True, True)),
        (LossDecay(2, 2), (True, True)),
        (OperatorNorm(2, 2), (True, True)),
        (OperatorNorm(3, 4), (True, False)),
        (Sought() ** 2, (True, False)),
        (Seen() ** 2, (True, True)),
    ],
)
def test_what_is_known_where_a_maximum_is_searched_for(product, expected):
    assert trusted(product, 64, 10) == expected


def test_norms_of_few_columns_are_no_search():
    infinite = OperatorNorm(sp.oo, 2)
    assert [searched(infinite, d, 40) for d in (8, 64)] == [False, True]


SCALED = {
    "T1.J": (mf.linear_form(NET)[0], {}),
    "T1.a": (mf.linear_form(NET)[1], {}),
    "T1.Ja": (mf.linear_form(mf.plain_residual(1, 0))[2], {"sigma_w": 1.5, "sigma_b": 1.0}),
    "T2": (mf.loss_bound(NET, 2, 2), {}),
    "Euler, share 1": (euler_identity(mf.vanilla(1, 0), 2, 2), {"sigma_b": 0.0, "eps": 0.02}),
    "Euler": (euler_identity(NET, "inf", 2), {"sigma_b": 0.0, "eps": 0.02}),
    "T3": (mf.variance_slope(NET, "inf", 2), {"sigma_b": 0.0, "eps": 0.02}),
    "T5": (mf.capacity(NET), {"sigma_b": 0.0}),
    "F1": (mf.stream_fluctuation(mf.vanilla(1, 0)), {"sigma_w": 1.2}),
    "F2": (mf.jacobian_norm(mf.vanilla(1, 0)), {}),
}


@pytest.mark.parametrize("name", SCALED)
def test_whatever_a_claim_is_scaled_by_is_what_is_tested(name):
    """F1 times 100 was SUPPORTED, for its equation had stayed as it was."""
    claim, own = SCALED[name]
    # An attack refutes no larger bound, and next to its scale that covariance is small.
    factors = {"T2": ["1/100"], "T1.Ja": [100]}.get(name, [100, "1/100"])
    wrong = [claim.scaled(factor) for factor in factors]
    replaced = replace(claim, formula=claim.rhs * sp.sympify(factors[0]), where={})
    reports = mf.check_all([claim, *wrong, replaced], {**AT, **own}, **FEW, steps=2, directions=1)
    assert reports[0].verdict is not Verdict.REFUTED, reports[0]
    assert {r.verdict for r in reports[1:]} == {Verdict.REFUTED}, "\n".join(map(str, reports))


def test_a_power_of_omega_is_seen_off_the_critical_point():
    claim = mf.variance_slope(mf.vanilla(1, 0), 2, 2, "spectral")
    wrong = claim.scaled(mf.omega(claim.net) ** (20 * L))
    at = {**AT, "sigma_b": 0.0, "eps": 0.02}
    critical, growing = (
        mf.check(wrong, {**at, "sigma_w": sw}, **FEW, steps=2, directions=1) for sw in (2**0.5, 3**0.5)
    )
    assert critical.verdict is not Verdict.REFUTED, "the blind point, which is why there is another"
    assert growing.verdict is Verdict.REFUTED, growing


@pytest.fixture
def unsimulated(monkeypatch):
    monkeypatch.setattr(images.Images, "draw", lambda *_: pytest.fail("work had started"))


def test_equations_that_say_nothing_of_the_claim_are_refused(unsimulated):
    parted = claimed(PLAIN, "==", 7, equations=(Equation("E f²", PLAIN, mf.moments(NET).Q, mf.moments(NET).Q),))
    with pytest.raises(ArgumentError, match=r"own: what is tested does not speak of its right-hand side 7.*RHS"):
        mf.check(parted, AT)
    law = mf.linear_form(NET)[0]
    products = tuple(e for e in law.equations if e.rhs == 0 and not e.lhs.has(RHS))  # their scale has it, nothing else
    with pytest.raises(ArgumentError, match="does not speak of its right-hand side"):
        mf.check(replace(law, equations=products), AT)


def test_claims_that_no_check_can_judge_are_refused(unsimulated):
    for relation in ("==", "<=", ">=", "approx"):
        with pytest.raises(ArgumentError, match="with 0, and does not say on which scale"):
            mf.check(claimed(Expectation(Output(0)), relation, 0), AT)
    with pytest.raises(ArgumentError, match="a bound of 0 at this point has no scale"):
        mf.check(claimed(PLAIN, "<=", sp.log(sigma_w)), AT)
    with pytest.raises(ArgumentError, match="order of growth, which takes a ladder"):
        mf.check_all([mf.growth(mf.loss_bound(NET, 2, 2), "d")], AT)
    factor = mf.norm_factor(2, 2)
    with pytest.raises(ArgumentError, match="takes no equations"):
        mf.check(replace(factor, equations=(Equation("x", factor.lhs, RHS, RHS),)), {"d": 9, "K": 3})


def test_what_vanishes_is_checked_on_the_scale_that_it_is_given():
    root = sp.sqrt(mf.moments(NET).Q)
    zero = claimed(Expectation(Output(0)), "==", 0, equations=(Equation("E f", Expectation(Output(0)), RHS, root),))
    (mutant,) = controls(zero)
    reports = mf.check_all([zero, mutant], AT, **FEW)
    assert [r.verdict for r in reports] == [Verdict.SUPPORTED, Verdict.REFUTED]
    assert mutant.name == "own [off by half the scale]"


OWN = {
    "<=": claimed(PLAIN, "<=", mf.moments(NET).Q),
    ">=": claimed(PLAIN, ">=", mf.moments(NET).Q),
    "==": claimed(PLAIN, "==", mf.moments(NET).Q),
    "approx": claimed(PLAIN, "approx", mf.moments(NET).Q, tolerance=0.02),
    "asymp": mf.growth(mf.loss_bound(NET, 2, 2), "K"),
    "~": mf.linear_form(NET)[1],
}


@pytest.mark.parametrize("relation", Relation)
def test_every_relation_has_controls_that_say_something_else(relation):
    claim = OWN[relation]
    found = controls(claim)
    assert found and all(m.rhs != claim.rhs and m.relation == relation for m in found)
    assert len({m.name for m in found} | {claim.name}) == len(found) + 1
    if relation != "asymp":
        reports = mf.check_all([claim, *found], AT, **FEW)
        assert reports[0].verdict is not Verdict.REFUTED, reports[0]
        assert {r.verdict for r in reports[1:]} == {Verdict.REFUTED}, "\n".join(map(str, reports))


def test_controls_of_an_attacked_quantity_are_on_the_side_that_an_attack_sees():
    for relation in ("==", "approx"):
        (mutant,) = controls(claimed(LOSS, relation, eps * sigma_w))
        assert mutant.rhs == eps * sigma_w / 2
    (negative,) = controls(claimed(LOSS, "<=", -eps))
    assert negative.rhs == -3 * eps / 2, "half of a negative bound would be a larger one"


def test_a_mistake_that_a_claim_cannot_have_is_no_control():
    names = [m.name for m in controls(mf.variance_slope(mf.vanilla(1, 0), 2, 2))]
    assert "T3 [alpha dropped]" in names and "T3 [share dropped]" not in names
    assert all(N not in m.rhs.free_symbols for m in controls(mf.loss_bound(NET, 2, 2)))


@pytest.mark.parametrize("observable", [AdversarialLoss, WeightVarianceSlope, WeightNormSlope, LossDecay])
def test_attacks_of_every_kind_are_shared_out_where_memory_is_short(observable):
    products = [Output(0) ** 2, *(observable(p, 2) for p in (1, 2, sp.oo, 3))]

    def draw(own):
        if sum(product.has(observable) for product in own) > 1:
            raise mf.errors.MemoryBudgetError("too large")
        return "ensemble"

    plan = parts.plan(parts.whole(products), draw)
    found = [column.product for own, _ in plan for column in own]
    assert len(plan) == 4 and sorted(found, key=str) == sorted(products, key=str)
