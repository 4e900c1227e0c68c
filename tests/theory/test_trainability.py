"""T4: escape times against the solution of T3 itself, limits, verdicts and phase diagrams."""

import math

import numpy as np
import pytest
import sympy as sp

import advmf as mf
from advmf.errors import ArgumentError, DomainError
from advmf.theorems.t4_trainability import floor
from advmf.theory.dynamics import evolve, system
from advmf.theory.trained import trained

TWO_LAYER = mf.Net(mf.Residual(mf.Dense(), mf.ReLULike(1, 0), mf.Dense(sigma_b=0), scale="1/2"))
UNEQUAL = mf.Net(mf.Residual(mf.Residual(mf.Dense(), mf.ReLULike(1, 0), mf.Mix()), mf.Dense(), scale="1/2"))
SHORTCUTS = {
    "residual": mf.residual(1, 0),
    "plain linear": mf.plain_residual(1, 1),
    "preactivation": mf.preactivation(1, 0),
    "two layers": TWO_LAYER,
    "unequal": UNEQUAL,
}
POINT = {"N": 200, "d": 100, "K": 25, "eps": 0.5, "sigma_w": 1.1, "M": 1e9}
BETA, ALPHA = 1.5, 0.5


def critical(**change):
    return {**POINT, "sigma_w": math.sqrt(2), "m": 0.5, "M": 2.0, **change}


def test_vanilla_is_the_formula_of_the_theory():
    f = mf.kernel(mf.escape_time(mf.vanilla(1, 0), 2, 2, "leading"))
    for depth in (1, 3, 10, 300):
        h = depth / 2 - 1
        expected = POINT["N"] * (0.5 ** (-h / depth) - 1) / (h * 2 * ALPHA * POINT["eps"] * BETA)
        assert f(L=depth, **critical()) == pytest.approx(expected, rel=1e-12)
        assert f(L=depth, **critical()) != pytest.approx(2 * expected, rel=0.1)
    at_two = POINT["N"] * math.log(2) / 2 / (2 * ALPHA * POINT["eps"] * BETA)
    assert f(L=[2 - 1e-9, 2, 2 + 1e-9], **critical()) == pytest.approx([at_two] * 3, rel=1e-8)


@pytest.mark.parametrize("depth", [1, 2, 5, 30])
def test_vanilla_leaves_when_the_solution_says(depth):
    values = critical(sigma_w=1.45, M=1e9)
    stop = mf.kernel(mf.escape_time(mf.vanilla(1, 0), 2, 2, "leading"))(L=depth, **values)
    variance = mf.kernel(mf.weight_variance(mf.vanilla(1, 0), 2, 2, "leading"))(L=depth, t=stop, **values)
    assert (variance / 2) ** depth == pytest.approx(0.5, rel=1e-10)


@pytest.mark.parametrize("net", SHORTCUTS.values(), ids=SHORTCUTS)
@pytest.mark.parametrize("depth", [1, 2, 6])
def test_shortcuts_leave_at_a_lower_edge_above_one(net, depth):
    start = float(mf.omega(net).subs(mf.symbols.sigma_w, POINT["sigma_w"]))
    f = mf.kernel(mf.escape_time(net, 2, 2, "leading"))
    edges = np.array([0.3, 1.0, (1 + 0.5 * (start - 1)) ** depth, 1.0001 * start**depth])
    found = f(L=depth, m=edges, **POINT)
    assert found[[0, 1]].tolist() == [math.inf] * 2
    assert found[3] == 0
    flow, paths = system(net), evolve(net, 2 * mf.symbols.eps * BETA * mf.symbols.t / mf.symbols.N)
    assert flow.omega != 1
    level = trained(net).omega.subs(paths, simultaneous=True)
    reached = mf.kernel(level)(t=found[2], L=depth, **POINT)
    assert reached**depth == pytest.approx(edges[2], rel=1e-9)


def test_residual_starts_in_the_band_up_to_the_stated_variance():
    """omega^L <= M at t = 0 is alpha sigma_w^2 <= M^{1/L} - 1, about (ln M)/L."""
    f = mf.kernel(mf.escape_time(mf.residual(1, 0), 2, 2, "leading"))
    limit = (2 ** (1 / 20) - 1) / ALPHA
    values = {**POINT, "L": 20, "m": 0.5, "M": 2.0, "sigma_w": np.sqrt(limit * np.array([0.999, 1.001]))}
    assert f(**values).tolist() == [math.inf, 0.0]
    assert limit == pytest.approx(math.log(2) / 20 / ALPHA, rel=0.02)


def test_floor():
    assert floor(mf.vanilla()) == 0
    assert all(floor(net) == 1 for net in SHORTCUTS.values())
    mixed = mf.Net(mf.Residual(mf.Dense(), mf.ReLULike(1, 0), scale=1, shortcut=mf.Serial(mf.Mix(), mf.ReLULike(2, 0))))
    assert floor(mixed) == 2


def test_width_and_depth():
    f = mf.kernel(mf.escape_time(mf.vanilla(1, 0), 2, 2, "leading"))
    assert f(L=9, **critical(N=[100, 1000])) == pytest.approx(f(L=9, **critical(N=100)) * np.array([1, 10]))
    deep = f(L=np.array([1000, 2000]), **critical())
    assert deep[0] / deep[1] == pytest.approx(2, rel=0.01)


def test_phase_diagram():
    found = mf.phase_diagram(
        mf.residual(1, 0), 2, 2, ("sigma_w_sq", "L"), "leading", sigma_w_sq=[0.01, 0.5, 2.0], L=[2, 10, 50],
        **{k: v for k, v in critical().items() if k != "sigma_w"},
    )  # fmt: skip
    start = (1 + 0.5 * np.array([[0.01], [0.5], [2.0]])) ** np.array([2, 10, 50])
    assert (found.trainable == (start <= 2)).all()
    assert (found.escape == np.where(found.trainable, math.inf, 0)).all()
    grid = mf.phase_diagram(
        mf.vanilla(1, 0), 2, 2, L=[2, 4, 8], N=[50, 100], **{k: v for k, v in critical().items() if k != "N"}
    )
    assert grid.axes == ("L", "N") and grid.escape.shape == (3, 2) and grid.trainable.all()
    assert grid.escape[:, 1] == pytest.approx(2 * grid.escape[:, 0])
    edged = mf.phase_diagram(TWO_LAYER, 2, 2, L=[2, 3, 4], **{**POINT, "N": [50, 100], "m": 1.05})
    assert np.isfinite(edged.escape).all() and (edged.escape > 0).all()


def test_errors():
    with pytest.raises(ArgumentError, match="axes names two quantities"):
        mf.phase_diagram(mf.vanilla(1, 0), 2, 2, ("L", "N"), **critical(L=3))
    with pytest.raises(ArgumentError, match="no quantity of the theory"):
        mf.phase_diagram(mf.vanilla(1, 0), 2, 2, **critical(L=[1], N=[2], depth=3))
    f = mf.kernel(mf.escape_time(mf.residual(1, 0), 2, 2))
    for bad in ({"eps": 0}, {"N": 0}, {"m": 0}):
        with pytest.raises(DomainError, match="outside its domain"):
            f(**critical(L=3, **bad))
    with pytest.raises(ArgumentError, match="no trained matrix"):
        mf.escape_time(mf.Net(mf.Mix()), 2, 2)


@pytest.mark.parametrize("net", [mf.vanilla(), *SHORTCUTS.values()])
def test_claims_typeset(net):
    text = mf.latex(mf.escape_time(net, 2, 2))
    assert text.startswith("t^* = ") and text.count("{") == text.count("}")
    assert not any(name in text for name in ("Flow", "QLog", "Piecewise", "QExp"))
    assert sp.oo in mf.escape_time(net, 2, 2).formula.atoms() or floor(net) == 0
