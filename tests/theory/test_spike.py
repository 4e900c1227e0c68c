"""The growth along the input of streams that carry a mean: Λ against propagated moments, the bound against attacked
networks, and what is refused."""

import numpy as np
import pytest

import advmf as mf
from advmf.errors import ArgumentError, DeclarationError
from advmf.observables import AdversarialLoss
from advmf.theory.propagation import moments
from advmf.theory.spike import LAMBDA, Aligned, carries_mean, spike
from advmf.verify.controls import controls
from advmf.verify.verdict import Verdict

PLAIN = mf.plain_residual(1, 0)
ONE_SIGN = {
    "relu": PLAIN,
    "leaky": mf.plain_residual("1/5", 1),
    "abs": mf.plain_residual(1, -1),
    "symbols": mf.plain_residual(),
    "scaled": mf.Net(mf.Residual(mf.Dense(), mf.ReLULike(1, 0), scale="-3/10")),
    "in two layers": mf.Net(mf.Residual(mf.Dense(), mf.ReLULike(1, 0), mf.Dense(), mf.ReLULike(1, "1/2"))),
}
"""Means of one sign: Λ is reached."""
CARRYING = {
    **ONE_SIGN,
    "alternating": mf.Net(
        mf.Serial(mf.Residual(mf.Dense(), mf.ReLULike(1, 0)), mf.Residual(mf.Dense(), mf.ReLULike(0, 1), scale="1/2"))
    ),
    "opposed paths": mf.Net(
        mf.Residual(mf.Dense(), mf.ReLULike(1, 0), shortcut=mf.Serial(mf.Dense(), mf.ReLULike("1/4", 1)))
    ),
}
POINT = {"sigma_w": 1.1, "u": 1.0, "v": 0.25}


def numbers(expr, **at):
    f = mf.kernel(expr)
    return np.asarray(f(**{name: value for name, value in {**POINT, **at}.items() if name in f.arguments}))


@pytest.mark.parametrize("name", CARRYING)
def test_no_direction_at_any_radius_and_for_any_biases_grows_faster(name):
    """V/x_sq and j of the propagated moments, against Λ; reached without biases, or far out, if all means have one
    sign."""
    net, radii = CARRYING[name], np.logspace(-4, 6, 41)
    state = moments(net)
    assert carries_mean(net)
    for depth in (1, 2, 5, 12):
        most = numbers(spike(net), L=depth)
        assert numbers(state.j, L=depth) <= most * (1 + 1e-12)
        for sigma_b in (0.0, 0.3, 2.0):
            along = numbers(state.along / mf.symbols.x_sq, L=depth, sigma_b=sigma_b, x_sq=radii)
            assert (along <= most * (1 + 1e-9)).all()
            if name in ONE_SIGN:
                assert along[-1] == pytest.approx(most, rel=1e-2)
                assert sigma_b or along == pytest.approx(np.full(41, most), rel=1e-10)
                assert (np.diff(along) >= -1e-9 * most).all(), "larger the farther out"
    across = numbers(state.j, L=12)
    assert most > 1.05 * across, "the control: the growth across the input is no bound"


def test_the_kind_of_net():
    for net in (mf.vanilla(), mf.residual(), mf.preactivation(), mf.plain_residual(1, 1)):
        assert not carries_mean(net) and LAMBDA not in mf.loss_bound(net, 2, 2).where
        assert mf.loss_bound(net, 2, 2) == mf.loss_bound(net, 2, 2, paper=True)
    apart = mf.Net(mf.Residual(mf.Dense(), mf.ReLULike(1, 0), shortcut=mf.Mix()))
    assert not carries_mean(apart), "the shortcut is mixed, and its mean with it"


@pytest.mark.parametrize(("L", "sigma_b", "eps"), [(5, 0.3, 2.0), (10, 0.0, 0.1), (16, 0.3, 0.1)])
def test_the_bound_stands_and_the_paper_s_does_not_where_the_mean_has_grown(L, sigma_b, eps):
    """Attacked networks, judged at the declared rates; a bound of half the growth across x is refuted at
    every depth."""
    claim, paper = mf.loss_bound(PLAIN, 2, 2), mf.loss_bound(PLAIN, 2, 2, paper=True)
    at = {"L": L, "d": 64, "K": 10, "sigma_w": 1.0, "sigma_b": sigma_b, "eps": eps}
    stands, old, *wrong = mf.check_all(
        [claim, paper, *controls(claim)], at, nets=48, widths=(64, 256, 1024, 4096), directions=1, steps=4
    )
    assert stands.verdict is Verdict.NOT_REFUTED, str(stands)
    assert (old.verdict is Verdict.REFUTED) == (L >= 10), str(old)
    assert len(wrong) == 2 and {report.verdict for report in wrong} == {Verdict.REFUTED}


@pytest.mark.parametrize(
    "claim",
    [
        mf.variance_slope,
        mf.weight_variance,
        mf.half_life,
        mf.escape_time,
        mf.capacity_ratio,
        mf.euler_identity,
        mf.loss_decay,
    ],
)
@pytest.mark.parametrize("name", CARRYING)
def test_what_takes_one_law_in_all_directions_is_refused(name, claim):
    with pytest.raises(ArgumentError, match="carries a mean"):
        claim(CARRYING[name], 2, 2)
    claim(mf.plain_residual(1, 1), 2, 2)


def test_what_holds_all_the_same():
    """A matrix that every path runs through, the capacity, and the order of the bound in the dimensions."""
    through = mf.Net(
        mf.Serial(
            mf.Dense(),
            mf.Residual(mf.Mix(), mf.ReLULike(1, 0), shortcut=mf.Serial(mf.Mix(), mf.ReLULike(1, 0))),
        )
    )
    assert carries_mean(through) and mf.euler_identity(through, 2, 2).formula == -2
    assert mf.capacity(PLAIN).net is PLAIN
    for symbol in ("d", "K"):
        assert mf.growth(mf.loss_bound(PLAIN, "inf", 2), symbol).rhs == mf.growth(mf.norm_factor("inf", 2), symbol).rhs


def test_the_claim_travels():
    claim = mf.loss_bound(mf.plain_residual(), 2, "inf")
    assert mf.from_json(mf.to_json(claim)) == claim
    assert r"\sqrt{\Lambda}" in mf.latex(claim, where=False) and "omega" not in str(claim.formula)
    values = {"L": 6, "d": 20, "K": 5, "sigma_w": 1.2, "u": 1, "v": 0.5, "eps": 0.1}
    space: dict[str, object] = {}
    exec(mf.export(claim, "python"), space)
    (exported,) = (value for name, value in space.items() if name.startswith("T2") and callable(value))
    expected = [float(mf.kernel(claim, backend)(**values)) for backend in ("numpy", "torch")]
    assert [*expected, exported(**values)] == pytest.approx([expected[0]] * 3, rel=1e-12)
    assert claim.lhs.has(AdversarialLoss)


def test_an_unknown_block_is_refused_by_name():
    with pytest.raises(DeclarationError, match="Block has no rule"):
        mf.nets.Block().apply(Aligned(), ())
