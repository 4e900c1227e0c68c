"""T3: solutions put back into the derived equations, closed forms against integration, shares against explicit
networks."""

import math

import numpy as np
import pytest
import sympy as sp
import torch
from scipy.integrate import solve_ivp

import advmf as mf
from advmf.claim import Regime
from advmf.errors import ArgumentError, DomainError
from advmf.functions import Flow, QExponential, QLogarithm, power_law
from advmf.symbols import L, N, d, eps, lam, pull, sigma_w, t, u, v
from advmf.theory.dynamics import passage, reduced, system
from advmf.theory.trained import trained
from advmf.verify.verdict import Verdict

TWO_LAYER = mf.Net(mf.Residual(mf.Dense(), mf.ReLULike(1, 0), mf.Dense(sigma_b=0), scale="1/2"), name="two layers")
UNEQUAL = mf.Net(
    mf.Residual(mf.Residual(mf.Dense(), mf.ReLULike(1, 0), mf.Mix()), mf.Dense(), scale="1/2"), name="unequal"
)
NETS = {
    **{name: mf.PRESETS[name](1, 0.2) for name in ("vanilla", "residual", "preactivation")},
    "two layers": TWO_LAYER,
    "unequal": UNEQUAL,
}
every_net = pytest.mark.parametrize("net", NETS.values(), ids=NETS)
POINT = {"N": 300, "d": 100, "K": 25, "eps": 0.7, "sigma_w": 1.3, "u": 1, "v": 0.2, "m": 0.1, "M": 1e9}
BETA = 1.5
ALPHA = (u**2 + v**2) / 2


def hand_written_slope(name, variances, depth, scale=0.5, a=1.0, b=0.2):
    """d(sigma_m^2)/dt = -(4/N) sigma_m^2 dB/d sigma_m^2 with B = eps beta prod_l sqrt(omega_l), one layer's variance
    moved by hand."""
    alpha = (a * a + b * b) / 2

    def omega(z):
        if name == "two layers":
            return 1 + scale**2 * z[0] * z[1] / 2
        if name == "unequal":
            return 1 + scale**2 * (1 + z[0] / 2) * z[1]
        return alpha * z[0] if name == "vanilla" else 1 + alpha * z[0]

    out, h = [], 1e-6
    for i in range(len(variances)):
        up, down = list(variances), list(variances)
        up[i] += h
        down[i] -= h
        others = omega(variances) ** ((depth - 1) / 2)
        slope = POINT["eps"] * BETA * others * (math.sqrt(omega(up)) - math.sqrt(omega(down))) / (2 * h)
        out.append(-4 / POINT["N"] * variances[i] * slope)
    return np.array(out)


@every_net
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_slope_against_a_derivative_of_the_bound_by_hand(net, depth):
    start = [POINT["sigma_w"] ** 2] * len(mf.share(net))
    expected = hand_written_slope(net.name, start, depth)
    for layer, value in enumerate(expected):
        found = mf.kernel(mf.variance_slope(net, 2, 2, "leading", layer=layer))(L=depth, **POINT)
        assert found == pytest.approx(value, rel=1e-8)
        assert found < 0
        assert found != pytest.approx(2 * value, rel=0.1)  # the control: -(2/N) sigma^2 dB/d sigma^2 would be half


@every_net
@pytest.mark.parametrize("depth", [1, 2, 3, 6])
def test_weight_variance_against_a_solver_on_the_hand_written_slope(net, depth):
    times = np.array([0.0, 10.0, 80.0, 300.0])
    start = [POINT["sigma_w"] ** 2] * len(mf.share(net))
    solved = solve_ivp(
        lambda _, z: hand_written_slope(net.name, z, depth), (0, 300), start, "DOP853", times, rtol=1e-11, atol=1e-13
    )
    for layer in range(len(start)):
        found = mf.kernel(mf.weight_variance(net, 2, 2, "leading", layer=layer))(t=times, L=depth, **POINT)
        assert found == pytest.approx(solved.y[layer], rel=1e-7)
        assert (np.diff(found) < 0).all()


@every_net
def test_weight_variance_solves_the_derived_equation(net):
    """By finite differences of order eight in t, of the kernel, against the package's own slope at the variances of
    that time."""
    times, h = np.array([5.0, 40.0, 150.0]), 0.25
    weights = {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}
    layers = range(len(mf.share(net)))
    kernels = [mf.kernel(mf.weight_variance(net, 2, 2, "leading", layer=i)) for i in layers]
    variances = [k(t=times, L=4, **POINT) for k in kernels]
    merged = reduced(net)
    flow = system(net)
    for i, k in zip(layers, kernels):
        numeric = sum(
            w * (k(t=times + j * h, L=4, **POINT) - k(t=times - j * h, L=4, **POINT)) / h for j, w in weights.items()
        )
        z = trained(net).variables[i]
        rate = mf.kernel(flow.rates[flow.variables.index(merged[z])])
        at = {w.name: value for w, value in zip(trained(net).variables, variances)}
        alpha = {"alpha": (1 + 0.2**2) / 2}
        known = {n: x for n, x in {**at, **alpha, "L": 4}.items() if n in rate.arguments}
        assert numeric == pytest.approx(2 * POINT["eps"] * BETA / POINT["N"] * rate(**known), rel=1e-9)


def test_vanilla_in_closed_form_solves_the_equation_symbolically():
    claim = mf.weight_variance(mf.vanilla(), 2, 2)
    k, z0, r, s = sp.symbols("k z0 r s", positive=True)
    (found,) = claim.formula.atoms(QExponential)
    assert found.args[1] == L / 2
    path = z0 * QExponential(-k * z0 ** (r - 1) * s, r)
    residue = sp.diff(path, s) + k * path**r
    assert sp.simplify(residue.rewrite(sp.Pow).subs({r: sp.Rational(7, 2)})) == 0
    wrong = sp.diff(path, s) + 2 * k * path**r
    assert sp.simplify(wrong.rewrite(sp.Pow).subs({r: sp.Rational(7, 2)})) != 0


def test_vanilla_is_the_formula_of_the_theory():
    """omega(t) = [omega_0^{1-L/2} + (L/2-1)(2 alpha eps beta/N) t]^{-1/(L/2-1)}, and an exponential at L = 2."""
    f = mf.kernel(mf.weight_variance(mf.vanilla(), 2, 2, "leading"))
    alpha, z0 = (1 + 0.2**2) / 2, 1.3**2
    rate = 2 * alpha * POINT["eps"] * BETA / POINT["N"]
    times = np.array([0.0, 20.0, 500.0])
    for depth in (3, 5, 40):
        h = depth / 2 - 1
        expected = ((alpha * z0) ** -h + h * rate * times) ** (-1 / h) / alpha
        assert f(t=times, L=depth, **POINT) == pytest.approx(expected, rel=1e-12)
    assert f(t=times, L=2, **POINT) == pytest.approx(z0 * np.exp(-rate * times), rel=1e-13)
    near = f(t=times, L=[[2 - 1e-9], [2], [2 + 1e-9]], **POINT)
    assert near[0] == pytest.approx(near[1], rel=1e-7) and near[2] == pytest.approx(near[1], rel=1e-7)
    assert f(t=5.0, L=2 + 1e-5, **POINT) != f(t=5.0, L=2, **POINT)


def test_one_layer_reaches_zero_at_a_finite_time():
    f = mf.kernel(mf.weight_variance(mf.vanilla(1, 0), 2, 2, "leading"))
    extinct = 2 * POINT["N"] / (2 * 0.5 * POINT["eps"] * BETA) * math.sqrt(0.5) * POINT["sigma_w"]
    found = f(t=[0.999 * extinct, extinct, 1.001 * extinct, 1e6], L=1, **POINT)
    assert found[0] > 0
    assert found[1:] == pytest.approx(0, abs=1e-25)


@pytest.mark.parametrize("depth", [4, 6])
def test_residual_against_partial_fractions(depth):
    """The integral of dy/(y(1+y)^{L/2-1}) by SymPy falls at the rate 2 alpha eps beta/N."""
    y = sp.Symbol("y", positive=True)
    implicit = sp.lambdify(y, sp.integrate(sp.apart(1 / (y * (1 + y) ** (depth // 2 - 1)), y), y))
    times = np.array([0.0, 7.0, 90.0, 1500.0])
    variances = mf.kernel(mf.weight_variance(mf.residual(1, 0), 2, 2, "leading"))(t=times, L=depth, **POINT)
    falls = implicit(variances / 2) - implicit(variances[0] / 2)
    assert falls == pytest.approx(-2 * 0.5 * POINT["eps"] * BETA / POINT["N"] * times, rel=1e-10, abs=1e-12)


def test_residual_of_two_blocks_is_an_exponential():
    claim = mf.weight_variance(mf.residual(1, 0), 2, 2, "leading")
    found = claim.rhs.subs(L, 2).doit()
    assert not found.has(Flow)
    expected = sigma_w**2 * sp.exp(-eps * t * (1 + sp.sqrt(mf.symbols.K / d)) / N)
    assert sp.simplify(sp.log(found / expected).expand(force=True)) == 0


def test_flow_against_high_precision():
    y, a = sp.symbols("y a", positive=True)
    flow = Flow(t, (y,), (-y * (1 + y) ** 2,), (a,), y)
    exact = float(flow.subs({t: 3, a: 2}).evalf())
    assert mf.kernel(flow)(t=3.0, a=2.0) == pytest.approx(exact, rel=1e-11)
    assert flow.diff(t) == -flow * (1 + flow) ** 2
    assert flow.subs(y, 5) == flow  # bound
    assert flow.free_symbols == {t, a}


def test_flows_of_many_systems_at_once_and_of_hopeless_ones():
    y, k = sp.symbols("y k", real=True)
    f = mf.kernel(Flow(t, (y,), (y**2 + 0 * k,), (k,), y))
    found = f(t=[0.5, 1.5, 0.5], k=[1.0, 1.0, 0.5])
    assert found == pytest.approx([2.0, math.inf, 2 / 3], rel=1e-10)
    many = np.linspace(0.1, 3, 9000)
    z, a = sp.symbols("z a", positive=True)
    f = mf.kernel(Flow(t, (z,), (-z * (1 + z),), (a,), z))
    ratio = many / (1 + many) * math.exp(-2)
    assert f(t=2.0, a=many) == pytest.approx(ratio / (1 - ratio), rel=1e-10)


def test_power_law_needs_a_power():
    z = sp.Symbol("z", positive=True)
    assert power_law(-z - z**2, z, sp.S(2), t) is None
    assert power_law(-3 * z**2, z, sp.S(2), t) == 2 / (6 * t + 1)


@pytest.mark.parametrize("r", [0.3, 0.999999999, 1, 1.000000001, 1.5, 4, 300])
def test_deformed_exponentials_and_logarithms(r):
    x = np.array([-5.0, -0.4, -1e-7, 0.0, 1e-7])
    a, b = sp.symbols("a b", real=True)
    z = sp.Symbol("z", positive=True)
    f, g = mf.kernel(QExponential(a, b)), mf.kernel(QLogarithm(z, b))
    exact = [float(QExponential(sp.Float(value, 40), sp.Float(r, 40)).evalf(30)) for value in x]
    assert f(a=x, b=r) == pytest.approx(exact, rel=1e-13, abs=1e-300)
    for value in (0.2, 0.999, 1.0, 1.7):
        exact = float(sp.N(QLogarithm(sp.Float(value, 40), sp.Float(r, 40)), 30))
        assert g(z=value, b=r) == pytest.approx(exact, rel=1e-12)


@every_net
def test_first_order_and_its_remainder(net):
    claim = mf.weight_variance(net, 2, 2, "leading")
    line, full = mf.kernel(mf.first_order(claim)), mf.kernel(claim)
    slope = mf.kernel(mf.variance_slope(net, 2, 2, "leading"))(L=6, **POINT)
    h = np.array([0.1, 0.2])
    assert line(t=h, L=6, **POINT) == pytest.approx(POINT["sigma_w"] ** 2 + slope * h, rel=1e-12)
    remainder = full(t=h, L=6, **POINT) - line(t=h, L=6, **POINT)
    assert remainder[1] / remainder[0] == pytest.approx(4, rel=0.02)
    with pytest.raises(ArgumentError, match="does not depend on it"):
        mf.first_order(mf.loss_bound(net, 2, 2))


@every_net
@pytest.mark.parametrize("depth", [1, 2, 7])
def test_half_life(net, depth):
    for layer in range(len(mf.share(net))):
        half = mf.kernel(mf.half_life(net, 2, 2, "leading", layer=layer))(L=depth, **POINT)
        f = mf.kernel(mf.weight_variance(net, 2, 2, "leading", layer=layer))
        if math.isinf(half):
            assert (net.name, layer) == ("unequal", 0)
            assert f(t=1e8, L=depth, **POINT) > POINT["sigma_w"] ** 2 / 2
        else:
            assert f(t=half, L=depth, **POINT) == pytest.approx(POINT["sigma_w"] ** 2 / 2, rel=1e-9)


def test_shares_add_up_along_a_path():
    assert mf.share(mf.vanilla()) == (1,)
    y = ALPHA * sigma_w**2
    for preset in (mf.residual, mf.plain_residual, mf.preactivation):
        assert sp.simplify(mf.share(preset())[0] - y / (1 + y)) == 0
    assert mf.share(TWO_LAYER)[0] == mf.share(TWO_LAYER)[1]
    through_inner, through_outer = mf.share(UNEQUAL)
    assert sp.simplify(through_inner - through_outer) != 0
    scaled = mf.Net(mf.Serial(mf.Dense(2), mf.ReLULike(1, 0), mf.Dense(3)))
    assert mf.share(scaled) == (1, 1)


def test_equal_matrices_are_taken_together_and_unequal_ones_are_not():
    assert set(reduced(TWO_LAYER).values()) == {trained(TWO_LAYER).variables[0]}
    assert len(set(reduced(UNEQUAL).values())) == 2
    different = mf.Net(mf.Residual(mf.Dense(1), mf.ReLULike(1, 0), mf.Dense(2)))
    assert len(set(reduced(different).values())) == 2
    f = [mf.kernel(mf.weight_variance(different, 2, 2, "leading", layer=i)) for i in (0, 1)]
    low, high = (k(t=[0.0, 3.0, 50.0], L=3, **POINT) for k in f)
    assert high - low == pytest.approx([3.0] * 3, rel=1e-10)  # conserved, as the two shares are equal


def test_standard_loss_and_weight():
    claim = mf.variance_slope(mf.residual(), 2, 2, weight=lam, pull=pull)
    part = mf.share(mf.residual())[0]
    bound = mf.loss_bound(mf.residual(), 2, 2).rhs
    values = {sigma_w: 1.2, u: 1, v: 0.5, L: 5, N: 40, eps: 0.3, d: 30, mf.symbols.K: 4, lam: 0.4, pull: -0.7}
    expected = -2 / N * part * (lam * bound + pull)
    assert float(claim.rhs.subs(values)) == pytest.approx(float(expected.subs(values)), rel=1e-12)
    assert any("no biases" in text for text in claim.assumptions)
    plain, half = (
        mf.kernel(mf.weight_variance(mf.residual(1, 0), 2, 2, weight=w))(t=s, L=5, **POINT)
        for w, s in ((1, 10.0), (sp.Rational(1, 2), 20.0))
    )
    assert plain == pytest.approx(half, rel=1e-12)


@pytest.mark.parametrize("name", ["vanilla", "residual", "plain_residual", "preactivation"])
def test_euler_identity_on_explicit_networks(name):
    """<W^l, dL/dW^l>/L for L = |J eta| with the optimal eta at (2, 2): one for vanilla, y/(1+y) for the others, in
    explicit networks."""
    rng = np.random.default_rng(3)
    width, depth, inputs, outputs, nets, s = 120, 3, 8, 4, 60, 1.5
    ratios = []
    for _ in range(nets):
        x = rng.standard_normal((inputs, 1))
        streams = rng.standard_normal((width, inputs)) / math.sqrt(inputs)
        z, blocks = streams @ x, []
        for _ in range(depth):
            W = rng.standard_normal((width, width)) * s / math.sqrt(width)
            V = rng.standard_normal((width, width)) / math.sqrt(width)
            gate = (W @ z > 0) if name != "preactivation" else (z > 0)
            part = {"residual": V @ (gate * W), "preactivation": W * gate.T}.get(name, gate * W)
            around = 0 if name == "vanilla" else np.eye(width)
            blocks.append((around + part, part))
            z = (around + part) @ z
        last = rng.standard_normal((outputs, width)) / math.sqrt(width)

        def jacobian(change=None, blocks=blocks, last=last, first=streams):
            J = first
            for i, (whole, part) in enumerate(blocks):
                J = (part if i == change else whole) @ J
            return last @ J

        left, values, right = np.linalg.svd(jacobian())
        ratios.append(np.mean([left[:, 0] @ jacobian(i) @ right[0] / values[0] for i in range(depth)]))
    y = s * s / 2
    predicted = float(mf.share(mf.PRESETS[name](1, 0))[0].subs(sigma_w, s))
    assert predicted == pytest.approx(1 if name == "vanilla" else y / (1 + y))
    mean, stderr = np.mean(ratios), np.std(ratios) / math.sqrt(nets)
    assert abs(mean - predicted) < 4.5 * stderr + (1e-12 if name == "vanilla" else 2 / width)
    if name != "vanilla":
        assert abs(mean - 1) > 10 * stderr  # the control: the whole Jacobian does not run through W


def test_the_identity_as_a_claim():
    claim = mf.euler_identity(mf.vanilla(), "inf", 2)
    assert claim.formula == -2 and claim.equations[0].exact
    assert mf.kernel(claim)() == -2
    assert not mf.euler_identity(mf.residual(), 2, 2).equations[0].exact
    assert r"\lVert W\rVert_F^2" in mf.latex(claim)


UNBIASED = mf.Net(mf.Serial(mf.Dense(sigma_b=0), mf.ReLULike(1, 0)))


@pytest.mark.parametrize(
    ("net", "regime"),
    [
        (UNBIASED, Regime.EXACT),
        (mf.vanilla(1, 0), Regime.EXACT | Regime.SMALL_BALL),
        (mf.vanilla(), Regime.EXACT | Regime.SMALL_BALL),
        (mf.vanilla(1, 1), Regime.EXACT),
        (mf.residual(1, 0), Regime.LARGE_WIDTH | Regime.SMALL_BALL),
        (mf.Net(mf.Residual(mf.Dense(sigma_b=0), mf.ReLULike(1, 0), mf.Mix())), Regime.LARGE_WIDTH | Regime.SMALL_BALL),
        (mf.residual(1, 1), Regime.LARGE_WIDTH),
    ],
)
def test_the_regime_of_the_identity_says_where_units_may_switch(net, regime):
    claim = mf.euler_identity(net, 2, 2)
    assert claim.regime == regime
    local = Regime.SMALL_BALL in regime
    assert local == any("one linear region" in text for text in claim.assumptions)
    assert local == ("small balls" in mf.document([claim]))
    assert Regime.SMALL_BALL in mf.variance_slope(net, 2, 2).regime  # the loss is below its bound in larger balls


def test_biases_break_the_identity_in_large_balls_alone():
    """In attacked networks: to rounding without biases; with them by some 6 % where ‖η‖ is near ‖x‖, and not where it
    is small."""
    found = {}
    for bias, radius in ((0.0, 5.0), (2.0, 5.0), (2.0, 0.2)):
        at = {"L": 3, "d": 32, "K": 10, "sigma_w": 2**0.5, "sigma_b": bias, "eps": radius}
        claim = mf.euler_identity(mf.vanilla(1, 0), 2, 2)
        found[bias, radius] = mf.check(claim, at, nets=300, widths=(128, 256), directions=1, steps=4)
    assert found[0.0, 5.0].verdict is Verdict.SUPPORTED and abs(found[0.0, 5.0].findings[0].departure) < 1e-5
    assert found[2.0, 5.0].verdict is Verdict.REFUTED and Regime.SMALL_BALL in claim.regime
    assert found[2.0, 0.2].verdict is Verdict.SUPPORTED


@every_net
def test_claims_typeset_and_growth_reads_them(net):
    for make in (mf.variance_slope, mf.weight_variance, mf.half_life):
        text = mf.latex(make(net, "inf", 2))
        assert text.count("{") == text.count("}")
        assert not any(name in text for name in ("Flow", "QExp", "QLog", "Expectation", "Slope", "HalfLife"))
    assert mf.growth(mf.variance_slope(net, "inf", 2), "d").formula == sp.sqrt(d)
    f, g = (mf.kernel(mf.weight_variance(net, 2, 2, "leading"), b) for b in ("numpy", "torch"))
    times = [0.0, 5.0, 50.0]
    assert g(t=torch.tensor(times, dtype=torch.float64), L=4, **POINT).numpy() == pytest.approx(
        f(t=times, L=4, **POINT)
    )


def test_errors():
    with pytest.raises(ArgumentError, match="no trained matrix"):
        mf.weight_variance(mf.Net(mf.Serial(mf.Mix(), mf.ReLULike(1, 0))), 2, 2)
    with pytest.raises(ArgumentError, match="layer counts the trained matrices"):
        mf.half_life(mf.vanilla(), 2, 2, layer=1)
    for bad in (0, -1, sp.nan):
        with pytest.raises(DomainError, match="must be > 0"):
            mf.weight_variance(mf.vanilla(), 2, 2, weight=bad)
    with pytest.raises(ArgumentError, match="route must be"):
        mf.variance_slope(mf.vanilla(), 2, 2, "gauss")
    f = mf.kernel(mf.weight_variance(mf.residual(1, 0), 2, 2))
    for bad in ({"eps": 0}, {"N": 0.5}, {"t": -1}, {"sigma_w": 0}):
        with pytest.raises(DomainError, match="outside its domain"):
            f(**{"t": 1, "L": 3, **POINT, **bad})


def test_a_passage_that_never_happens_is_infinite():
    first = trained(UNEQUAL).variables[0]
    assert mf.kernel(passage(UNEQUAL, first, sp.log(2)))(L=3, sigma_w=1.3) == math.inf
    assert mf.kernel(passage(UNEQUAL, first, sp.log(1.001)))(L=3, sigma_w=1.3) < 1
