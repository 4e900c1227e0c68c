"""T5: the propagated jets against the two-scaling kernel, against its closed forms and against explicit networks."""

import itertools
import math

import mpmath
import numpy as np
import pytest
import sympy as sp

import advmf as mf
from advmf.claim import Regime
from advmf.errors import ArgumentError
from advmf.functions import Recursion
from advmf.symbols import K, L, sigma_b, sigma_w, u, v, x_sq
from advmf.theory.capacity import curvature, jet_step
from advmf.theory.pair import PAIR, Pair, Pairs
from advmf.theory.propagation import ALPHA
from advmf.theory.spike import carries_mean

UNBIASED = mf.Dense(sigma_b=0)
NETS = {
    "vanilla": mf.Net(mf.Serial(UNBIASED, mf.ReLULike())),
    "residual": mf.Net(mf.Residual(UNBIASED, mf.ReLULike(), mf.Mix())),
    "plain_residual": mf.Net(mf.Residual(UNBIASED, mf.ReLULike())),
    "preactivation": mf.Net(mf.Residual(mf.ReLULike(), UNBIASED)),
    "two layers": mf.Net(mf.Residual(UNBIASED, mf.ReLULike(), UNBIASED, scale="7/10")),
}
SMOOTH = [mf.vanilla(phi=mf.Erf()), mf.plain_residual(phi=mf.Erf()), mf.preactivation(phi=mf.Erf())]
Y = (u**2 + v**2) / 2 * sigma_w**2


def test_vanilla_in_closed_form():
    claim = mf.capacity(NETS["vanilla"])
    assert sp.simplify(claim.rhs - K * x_sq * L**2 * Y**L) == 0
    assert (claim.name, claim.relation, claim.regime) == ("T5", "==", Regime.LARGE_WIDTH)


@pytest.mark.parametrize("name", ["residual", "preactivation"])
def test_residual_in_closed_form(name):
    expected = K * x_sq * L * Y * (1 + Y) ** (L - 2) * (1 + L * Y)
    assert sp.simplify(sp.powsimp(mf.capacity(NETS[name]).rhs / expected)) == 1


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_closed_forms_from_the_product_kernel(depth):
    """K = K Q_0 prod_l (1 + a_l b_l y), differentiated layer by layer; y s^2 sigma^2 with two scalings per block for
    the two-layer branch."""
    a, b = sp.symbols(f"a:{2 * depth}"), sp.symbols(f"b:{2 * depth}")
    ones = dict.fromkeys((*a, *b), 1)
    for name, around, pairs in (("vanilla", 0, 1), ("residual", 1, 1), ("two layers", 1, 2)):
        y = Y if pairs == 1 else Y * sigma_w**2 * sp.Rational(49, 100)
        used = [[(a[2 * l + i], b[2 * l + i]) for i in range(pairs)] for l in range(depth)]
        product = sp.prod([around + y * sp.prod([x * z for x, z in layer]) for layer in used])
        flat = [pair for layer in used for pair in layer]
        total = sum(sp.diff(product, left[0], right[1]) for left, right in itertools.product(flat, repeat=2)).subs(ones)
        assert sp.cancel(mf.capacity(NETS[name]).rhs.subs(L, depth) / (K * x_sq * total)) == 1


R, S = sp.symbols("r s", real=True)


class ScaledPairs(Pairs):
    """Two networks whose trained matrices, but not biases, are scaled by 1 + r and 1 + s: the definition of the
    capacity, beside its own rule."""

    def gaussian(self, layer, state):
        if layer.trained:
            a, b, first, second = 1 + R, 1 + S, state.first, state.second
            state = Pair.of(a**2 * first.Q, b**2 * second.Q, a * b * state.P, a * first.mu, b * second.mu)
        return super().gaussian(layer, state)


def two_scaling_kernel(net, r, s, depth, point):
    """P_L(r, s) with the arc-cosine kernel itself, in 60 digits."""
    pair = net.block.apply(ScaledPairs(), PAIR)
    state = list(PAIR.moments().values())
    updates = [expr.doit() for expr in pair.moments().values()]
    step = sp.lambdify([*state, R, S], [e.subs(point).doit() for e in updates], "mpmath")
    now = [mpmath.mpf(1)] * 3 + [mpmath.mpf(0)] * 2
    for _ in range(depth):
        now = [mpmath.re(value) for value in step(*now, r, s)]
    return now[2]


@pytest.mark.parametrize("net", [*NETS.values(), mf.vanilla(), mf.plain_residual(), mf.residual(), *SMOOTH])
@pytest.mark.parametrize("slopes", [(1, 0), (1, sp.Rational(-1, 2))])
def test_jets_are_the_derivatives_of_the_kernel_with_its_singular_part(net, slopes):
    """The mixed difference over h, whose error is of order h because of |r - s|^3; so it halves with h."""
    point = {sigma_w: sp.Rational(6, 5), sigma_b: sp.Rational(1, 3), u: slopes[0], v: slopes[1]}
    slopes_mean = (slopes[0] ** 2 + slopes[1] ** 2) / sp.Integer(2)
    exact = curvature(net).subs({**point, x_sq: 1, ALPHA: slopes_mean})
    exact = float(exact.subs(L, 3).evalf())
    with mpmath.workdps(60):
        found = []
        for h in (mpmath.mpf("1e-5"), mpmath.mpf("5e-6")):
            k = {(i, j): two_scaling_kernel(net, i * h, j * h, 3, point) for i in (-1, 1) for j in (-1, 1)}
            found.append(float((k[1, 1] - k[1, -1] - k[-1, 1] + k[-1, -1]) / (4 * h * h)))
    assert found[1] == pytest.approx(exact, rel=1e-4)
    assert abs(2 * found[1] - found[0] - exact) < 1e-7 * exact


def explicit_capacity(name, rng, slopes=(1.0, 0.0), nets=300, N=128, depth=3, outputs=6, s=1.2, sb=0.0):
    """Sum_k (d f_k/dr)^2 of networks whose trained matrices are times 1 + r, by forward differentiation in NumPy."""
    up, down = slopes
    phi = lambda z: np.where(z >= 0, up * z, down * z)  # noqa: E731
    slope = lambda z: np.where(z >= 0, up, down)  # noqa: E731
    weights = lambda std: rng.standard_normal((nets, N, N)) * std / math.sqrt(N)  # noqa: E731
    x, t = rng.standard_normal((nets, N, 1)), np.zeros((nets, N, 1))
    for _ in range(depth):
        W, V, b = weights(s), weights(s if name == "two layers" else 1.0), sb * rng.standard_normal((nets, N, 1))
        if name == "preactivation":
            x, t = x + W @ phi(x) + b, t + W @ (slope(x) * t + phi(x))
            continue
        z, dz = W @ x + b, W @ (t + x)
        y, dy = phi(z), slope(z) * dz
        if name == "vanilla":
            x, t = y, dy
        elif name == "residual":
            x, t = x + V @ y, t + V @ dy
        elif name == "two layers":
            x, t = x + 0.7 * V @ y, t + 0.7 * V @ (dy + y)
        else:
            x, t = x + y, t + dy
    last = rng.standard_normal((nets, outputs, N)) / math.sqrt(N)
    return ((last @ t) ** 2).sum((1, 2)) / outputs


@pytest.mark.parametrize("bias", [0.0, 0.5])
@pytest.mark.parametrize("name", NETS)
def test_capacity_of_explicit_networks(name, bias):
    """Within 4.5 standard errors, and 6/N for what finite width may add; and a mutant that is 30 % off is refused."""
    two_layers = mf.Net(mf.Residual(mf.Dense(), mf.ReLULike(), mf.Dense(sigma_b=0), scale="7/10"))
    net = {**{k: preset() for k, preset in mf.PRESETS.items()}, "two layers": two_layers}[name]
    values = explicit_capacity(name, np.random.default_rng(5), sb=bias)
    predicted = mf.kernel(mf.capacity(net))(K=1, L=3, sigma_w=1.2, sigma_b=bias, x_sq=1, u=1, v=0)
    mean, stderr = values.mean(), values.std() / math.sqrt(len(values))
    allowance = 4.5 * stderr + 6 / 128 * predicted
    assert abs(mean - predicted) < allowance, (mean, stderr, predicted)
    assert abs(mean - 1.6 * predicted) > allowance
    if name == "plain_residual":
        without_mean = mf.kernel(mf.capacity(mf.residual()))(K=1, L=3, sigma_w=1.2, sigma_b=bias, x_sq=1, u=1, v=0)
        assert abs(mean - without_mean) > allowance


def test_biases_and_means_leave_a_recursion_that_continues_the_closed_form():
    for name in ("vanilla", "residual", "preactivation"):
        biased, plain = mf.kernel(mf.capacity(mf.PRESETS[name]())), mf.kernel(mf.capacity(NETS[name]))
        point = {"K": 3, "L": [0, 1, 7], "sigma_w": 1.1, "x_sq": 0.8, "u": 1, "v": 0.3}
        assert mf.capacity(mf.PRESETS[name]()).rhs.has(Recursion) and not mf.capacity(NETS[name]).rhs.has(Recursion)
        assert biased(sigma_b=0.0, **point) == pytest.approx(plain(**point), rel=1e-12)
        assert biased(sigma_b=0.5, **point)[2] > plain(**point)[2]
    assert mf.capacity(NETS["plain_residual"]).rhs.has(Recursion)
    assert not mf.capacity(mf.Net(mf.Residual(UNBIASED, mf.ReLULike(1, 1)))).rhs.has(Recursion)


def test_the_activation_does_not_see_the_singularity():
    assert not any(value.has(sp.zoo, sp.nan) for value in jet_step(mf.plain_residual().block).items().values())


POINT = {"N": 300, "d": 100, "K": 25, "eps": 0.7, "sigma_w": 1.3, "u": 1, "v": 0.2, "x_sq": 1.0, "sigma_b": 0.3}


@pytest.mark.parametrize("net", [*(net for net in NETS.values() if not carries_mean(net)), mf.vanilla(), mf.residual()])
def test_capacity_falls_as_the_variance_does(net):
    ratio = mf.kernel(mf.capacity_ratio(net, 2, 2, "leading"))
    times = np.array([0.0, 10.0, 200.0])
    found = ratio(t=times, L=5, **POINT)
    assert found[0] == pytest.approx(1, abs=1e-14) and (np.diff(found) < 0).all()
    variance = mf.kernel(mf.weight_variance(net, 2, 2, "leading"))(t=times, L=5, **POINT)
    C = mf.kernel(mf.capacity(net))
    expected = C(L=5, **{**POINT, "sigma_w": np.sqrt(variance)}) / C(L=5, **POINT)
    assert found == pytest.approx(expected, rel=1e-11)
    assert ratio(t=200.0, L=5, **{**POINT, "N": 3000}) > found[2]  # width protects
    text = mf.latex(mf.capacity_ratio(net, 2, 2))
    assert text.count("{") == text.count("}") and "Flow" not in text and "Recursion" not in text
    assert r"\beta_{2,2} = " in text  # through the meaning of the variance at time t


@pytest.mark.parametrize("name", ["vanilla", "residual"])
def test_first_order_of_the_ratio(name):
    claim = mf.capacity_ratio(NETS[name], 2, 2, "leading")
    line, full = mf.kernel(mf.first_order(claim)), mf.kernel(claim)
    h = np.array([0.05, 0.1])
    remainder = full(t=h, L=6, **POINT) - line(t=h, L=6, **POINT)
    assert remainder[1] / remainder[0] == pytest.approx(4, rel=0.02)
    if name == "vanilla":  # C(t)/C(0) = (sigma^2(t)/sigma^2)^L: the slope is L times that of the variance
        slope = 2 * 0.7 * 1.5 * 0.52 / 300 * (0.52 * 1.69) ** 2
        assert line(t=1.0, L=6, **POINT) == pytest.approx(1 - 6 * slope, rel=1e-12)


def test_errors():
    with pytest.raises(ArgumentError, match="no trained matrix"):
        mf.capacity(mf.Net(mf.Mix()))
    assert mf.latex(mf.capacity(mf.plain_residual(1, 0)), where=False) == r"\mathbb{E}[C] = K P_{rs,L}"
