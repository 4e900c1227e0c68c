"""Networks of infinite width: their covariance to rounding, and the law of wide networks.

The covariance is held against that of the theory (``mf.nngp``, twice differentiated), which shares no code with it, and
against mpmath for points that are close. Statistical tests compare samples at a stated false-fail rate of
``limit_laws.ALPHA`` for every comparison, some eighty of them (seeds are fixed: none has failed by chance); a wrong
variance and a wrong memory must be caught by the same comparisons.
"""

import math
from itertools import pairwise

import mpmath
import numpy as np
import pytest
import sympy as sp
import torch
from limit_laws import block, departures, maps_agree, mixtures

import advmf as mf
from advmf.errors import (
    AccuracyError,
    ArgumentError,
    DeclarationError,
    DomainError,
    MemoryBudgetError,
)
from advmf.functions import NormalMean, PairMean
from advmf.nets.activations.formula import NAMED
from advmf.simulate.limit import ensemble
from advmf.simulate.limit import jets as limit_jets
from advmf.simulate.limit import kernel as limit_kernel
from advmf.simulate.limit import span as limit_span
from advmf.simulate.limit.jets import Layout, Pair
from advmf.simulate.limit.kernel import Kernel, rectified_rest
from advmf.simulate.limit.piecewise import Piecewise
from advmf.simulate.limit.process import Process
from advmf.simulate.limit.span import factored

VALUES = {"sigma_w": 1.3, "sigma_b": 0.4}
NETS = {
    "vanilla": mf.vanilla(1, 0),
    "residual": mf.residual(1, 0),
    "preactivation": mf.preactivation(1, 0),
    "plain_residual": mf.plain_residual(1, 0),
    "abs": mf.vanilla(1, -1),
    "erf": mf.vanilla(phi=mf.Erf()),
    "tanh": mf.vanilla(phi="tanh"),
    "plain gelu": mf.plain_residual(phi="gelu"),
    "pre_norm": mf.pre_norm(1, 0),
    "post_norm": mf.post_norm(1, 0),
    "layer norm": mf.Net(mf.Serial(mf.Dense(), mf.ReLULike(1, 0), mf.LayerNorm())),
    "dropped": mf.Net(mf.Residual(mf.Dense(), mf.ReLULike(1, 0), mf.Dropout("1/5"))),
    "scaled": mf.Net(mf.Residual(mf.Dense(), mf.Activation("silu"), scale=0.5)),
    "hard_tanh": mf.vanilla(phi="hard_tanh"),
    "elu": mf.vanilla(phi="elu"),
    "plain selu": mf.plain_residual(phi="selu"),
    "shifted selu": mf.vanilla(
        phi=mf.Activation(NAMED["selu"].xreplace({mf.symbols.z: mf.symbols.z - sp.Rational(1, 2)}))
    ),
    "clipped": mf.plain_residual(phi=mf.Activation(sp.Max(0, sp.Min(sp.Rational(3, 2), mf.symbols.z)))),
    "mixed": mf.Net(mf.Serial(mf.Dense(), mf.Activation("tanh"), mf.Dense(), mf.ReLULike(1, "1/5"), mf.RMSNorm())),
}
QUADRATURE = ["tanh", "scaled", "mixed", "hard_tanh", "clipped", "elu", "plain selu", "shifted selu"]
"""Nets whose theory has no closed form, of which few pairs are compared, with derivatives by differences."""


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def number(expr):
    return float(expr.subs({s: VALUES[s.name] for s in expr.free_symbols}))


def point(d, seed=1, size=None):
    x = torch.randn(d, generator=generator(seed), dtype=torch.float64)
    return x / x.norm() * (math.sqrt(d) if size is None else size)


def sample(net, *, N="inf", L=3, d=6, K=2, nets=1, seed=0, **options):
    options = {"dtype": torch.float64, **VALUES, **options}
    return mf.simulate.sample(net, N=N, L=L, d=d, K=K, nets=nets, generator=generator(seed), **options)


# -- the covariance ----------------------------------------------------------------------------------------------------


def rest(net, q, r, distance, gap, L=3):
    """The gain a and the rest t with its derivatives, for two inputs of the moments q and r."""
    moments = torch.tensor([[q, r]], dtype=torch.float64)
    gaps = torch.tensor([[0.0, -gap]], dtype=torch.float64)
    pairs = torch.tensor([[[0.0, distance]]], dtype=torch.float64)
    layout = Layout.of(torch.tensor([0]), torch.tensor([0, 0]))
    state = Kernel(net, L, number)(moments, gaps, pairs, layout)
    return float(state.gain), state.jets.stacked[:, 0, 0, 1].tolist()


def arc_cosine(Q, R, D):
    """E (max(a, 0) - max(b, 0))² by the arc-cosine kernel, with mpmath's digits."""
    P, root = (Q + R - D) / 2, mpmath.sqrt(Q * R)
    c = P / root
    inner = root * (mpmath.sqrt(1 - c**2) + (mpmath.pi - mpmath.acos(c)) * c) / (2 * mpmath.pi)
    return Q / 2 + R / 2 - 2 * inner


def arc_sine(Q, R, D):
    """E (erf(a) - erf(b))²."""

    def inner(Q, R, P):
        return 2 / mpmath.pi * mpmath.asin(2 * P / mpmath.sqrt((1 + 2 * Q) * (1 + 2 * R)))

    return inner(Q, Q, Q) + inner(R, R, R) - 2 * inner(Q, R, (Q + R - D) / 2)


def by_mpmath(name, q, r, distance, L=3):
    """The squared distance of the last streams of a vanilla or a residual net."""
    w, b = (mpmath.mpf(VALUES[s]) ** 2 for s in ("sigma_w", "sigma_b"))
    square = {"vanilla": lambda Q: Q / 2, "residual": lambda Q: Q / 2, "erf": lambda Q: arc_sine(0 * Q, Q, Q)}[name]
    apart = arc_sine if name == "erf" else arc_cosine
    for _ in range(L):
        moved = apart(w * q + b, w * r + b, w * distance)
        keep = 1 if name == "residual" else 0
        q, r = keep * q + square(w * q + b), keep * r + square(w * r + b)
        distance = keep * distance + moved
    return distance


@pytest.mark.parametrize("size", [1e-9, 1e-6, 1e-3, 0.3, 1.2])
def test_a_piecewise_linear_activation_has_the_covariance_of_a_leaky_relu(size):
    """Where its one kink is at zero: to rounding of what each number is compared with. A kink elsewhere is told."""
    slopes, q, gap, distance = (0.2, 1.0), 0.9, 0.5 * size, 0.9 * size**2
    sigma, tau = math.sqrt(q), math.sqrt(q - gap)
    moments = (q, q - gap, gap, distance, sigma, tau, sigma * tau, gap / (sigma + tau))
    pair = Pair(*(torch.tensor([[[value]]], dtype=torch.float64) for value in moments))
    wanted = rectified_rest(pair, -((slopes[1] - slopes[0]) ** 2) / math.pi).stacked
    gain = torch.tensor(sum(s**2 for s in slopes) / 2, dtype=torch.float64)
    units = torch.tensor([size**2, size, size, 1, 1, 1, 1, 1])[:, None, None, None]
    found = Piecewise((0.0,), slopes, (0.0,))._rest(pair, gain).stacked
    assert ((found - wanted).abs() <= 1e-14 * (wanted.abs() + units)).all()
    other = Piecewise((0.05,), slopes, (0.01,))._rest(pair, gain).stacked
    assert not ((other - wanted).abs() <= 1e-6 * (wanted.abs() + units)).all()


@pytest.mark.parametrize("distance", [1e-6, 1e-3, 0.4, 1.9, 3.5])
def test_the_covariance_of_kinks_anywhere_is_that_of_the_plane(distance):
    """The value and its first derivatives by quadrature; second ones by differences of these."""
    q, r, h = 1.1, 0.9, 1e-4 * distance
    gap = (q - r) * min(1, math.sqrt(distance))
    r, f = q - gap, sp.Lambda(mf.symbols.z, sp.Max(-1, sp.Min(mf.symbols.z, sp.Rational(1, 2) + mf.symbols.z / 4)))
    lines = Piecewise.of(f(mf.symbols.z), float)
    Q, R, D = sp.symbols("Q R D", positive=True)
    apart = NormalMean(sp.Lambda(mf.symbols.z, f(mf.symbols.z) ** 2), Q)
    apart = apart + apart.subs(Q, R) - 2 * PairMean(f, f, Q, R, (Q + R - D) / 2)
    kernel = mf.kernel(apart - 0.4 * D, grad=["Q", "R", "D"])

    def ours(q, r, D):
        moments = (q, r, q - r, D, q**0.5, r**0.5, (q * r) ** 0.5, (q - r) / (q**0.5 + r**0.5))
        pair = Pair(*(torch.tensor([[[value]]], dtype=torch.float64) for value in moments))
        return lines._rest(pair, torch.tensor(0.4, dtype=torch.float64)).stacked[:, 0, 0, 0].numpy()

    found, (value, slopes) = ours(q, r, distance), kernel(Q=q, R=r, D=distance)
    theirs = np.array([value, *slopes.values()])
    assert (np.abs(found[:4] - theirs) < 1e-11 * (1 + np.abs(theirs))).all()
    by_r = (ours(q, r + h, distance) - ours(q, r - h, distance)) / (2 * h)
    by_D = (ours(q, r, distance + h) - ours(q, r, distance - h)) / (2 * h)
    second = [by_r[1], by_D[1], by_D[2], by_D[3]]
    np.testing.assert_allclose(found[4:], second, rtol=1e-5, atol=1e-8 / distance)


@pytest.mark.parametrize("name", ["vanilla", "residual", "erf"])
@pytest.mark.parametrize("size", [1e-9, 1e-6, 1e-3, 0.3])
def test_the_distance_has_all_digits_and_its_derivatives_are_right(name, size):
    """Also where inner products have lost theirs. The derivatives by mpmath, at forty digits."""
    q, gap, distance = 0.9, 1.7 * size, size**2 * 3.1
    a, jets = rest(NETS[name], q, q - gap, distance, gap)
    with mpmath.workdps(60):
        at = tuple(map(mpmath.mpf, (q, q, distance)))
        at = (at[0], at[0] - mpmath.mpf(gap), at[2])

        half = mpmath.mpf(VALUES["sigma_w"]) ** 2 / 2
        gain = {"vanilla": half**3, "residual": (1 + half) ** 3, "erf": mpmath.mpf(a)}[name]
        assert abs(a - float(gain)) < 1e-15 * a

        def less(q_, r_, D_):
            return by_mpmath(name, q_, r_, D_) - gain * D_

        exact = less(*at)
        # Smooth activations are known to the digits of D alone, a kinked one to those of the rest.
        scale = a * distance if name == "erf" else abs(float(exact))
        close = 1e-10 if name == "erf" else 2e-13  # a series of Hermite polynomials is cut
        assert abs(jets[0] - float(exact)) < close * scale
        orders = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (0, 0, 2)]
        for order, ours in zip(orders, jets[1:]):
            step = mpmath.mpf(distance) * mpmath.mpf(10) ** -12
            theirs = float(mpmath.diff(less, at, order, h=step))
            small = a * size ** (2 - 2 * order[2] - order[0] - order[1] + (order == (1, 1, 0)))
            assert abs(ours - theirs) < 1e-7 * abs(theirs) + (1e-7 if name == "erf" else 1e-12 * small), order


def one_by_one(nets, count):
    """Normals of which each copy of a network has another one alone: products of answers are covariances."""
    taken = 0

    def normals(*shape):
        nonlocal taken
        out = torch.zeros(nets, *shape, dtype=torch.float64)
        for i in range(shape[0]):
            for e in range(shape[2] if len(shape) == 3 else 1):
                assert taken < count
                out[(slice(None), i, taken, e) if len(shape) == 3 else (slice(None), i, taken)] = 1
                taken += 1
        return out

    return normals


def dialogue(process, d):
    """Two inputs, and points around each, some with both signs, some without gradients."""
    source = generator(2)

    def draw(*shape):
        return torch.randn(1, *shape, d, generator=source, dtype=torch.float64)

    (first,) = process.ask(draw(1), [None])
    process.differentiate([first])
    y = draw(1) * 0.3
    process.differentiate(process.ask(torch.cat((y, -y), 1), [first, first]))
    process.differentiate(process.ask(0.5 * draw(1), [first]))
    (second,) = process.ask(draw(1), [None])
    process.differentiate([second])
    process.ask(0.3 * draw(2), [second, first])


def answers(process):
    """Every number that was answered with its point and coordinate, (numbers, copies)."""
    points = range(len(process.anchor))
    found = [((i, None), process.output(i)[0]) for i in points]
    for i in process._changes:
        found += [((i, e), column) for e, column in enumerate(process.gradient(i)[0].mT)]
    return zip(*found)


def answered(net, L, d):
    """A process after a dialogue, the labels of its answers, and their covariance."""
    process = Process(Kernel(net, L, number), 1, d, 90, one_by_one(1, 90))
    dialogue(process, d)
    labels, vectors = answers(process)
    return process, labels, torch.stack(vectors) @ torch.stack(vectors).mT


def theory(net, L, d):
    """The kernel of two inputs by mf.nngp, with the derivatives that torch finds."""
    kernel = mf.kernel(mf.nngp(net), backend="torch")

    def value(x, y):
        x_sq, y_sq = (x @ x) / d, (y @ y) / d
        c = (x @ y) / d / torch.sqrt(x_sq * y_sq)
        needed = {n: v for n, v in VALUES.items() if n in {s.name for _, e in net.parameters for s in e.free_symbols}}
        return kernel(L=torch.tensor(L), c=c, x_sq=x_sq, y_sq=y_sq, **needed)

    return value


@pytest.mark.parametrize("name", ["vanilla", "residual", "erf"])
def test_the_spread_of_close_inputs_keeps_its_digits(name):
    """𝒦(x, x) + 𝒦(x', x') - 2𝒦(x, x') against mpmath, to rounding or to the cut of the series; the control is that
    difference of ``mf.nngp``."""
    d, net, sizes = 5, NETS[name], (1e-12, 1e-6, 1e-3, 0.7)
    x, y = point(d), point(d, seed=2, size=1)
    eta = torch.tensor(sizes, dtype=torch.float64)[:, None] * y
    found = sample(net, d=d).spread(x, eta)
    assert found.shape == (4,) and found.dtype == torch.float64
    close = 1e-10 if name == "erf" else 1e-14
    with mpmath.workdps(60):
        for move, value in zip(eta, found.tolist()):
            one, other = (list(map(mpmath.mpf, z.tolist())) for z in (x, move))
            moved = [a + b for a, b in zip(one, other)]
            q, r, distance = (mpmath.fdot(z, z) / d for z in (one, moved, other))
            assert abs(value - by_mpmath(name, q, r, distance)) < close * value
    moved = x + eta[1]
    x_sq, y_sq, c = float(x @ x) / d, float(moved @ moved) / d, float(x @ moved / (x.norm() * moved.norm()))
    kernel = mf.kernel(mf.nngp(net))
    ends = [(x_sq, x_sq, 1.0), (y_sq, y_sq, 1.0), (x_sq, y_sq, min(1.0, c))]
    one, two, both = (float(kernel(L=3, x_sq=a, y_sq=b, c=c, **VALUES)) for a, b, c in ends)
    assert one + two - 2 * both != pytest.approx(float(found[1]), rel=1e-5, abs=0)


def test_the_spread_is_the_variance_of_the_answers():
    """Also of a carried mean and of a norm, where eta is large; and one eta, or many of any shape."""
    d, nets = 4, 20_000
    for name in ("plain_residual", "pre_norm"):
        networks = sample(NETS[name], d=d, K=1, nets=nets)
        x, eta = point(d), point(d, seed=2)
        change = networks.forward(torch.stack((x, x + eta)))[..., 0].diff(dim=1)[:, 0]
        spread, error = float(networks.spread(x, eta)), float((change**2).std()) / math.sqrt(nets)
        assert abs(float((change**2).mean()) - spread) < 4.5 * error
        assert abs(float((change**2).mean()) - 1.1 * spread) > 4.5 * error, "the control"
        assert networks.spread(x, eta.expand(2, 3, d)).shape == (2, 3) and float(networks.spread(x, 0 * eta)) == 0
    with pytest.raises(ArgumentError, match=r"changes eta of shape \(\.\.\., d\), with d=4; got \(4,\) and \(3,\)"):
        networks.spread(x, eta[:3])
    with pytest.raises(DomainError, match="x or eta holds NaN"):
        networks.spread(x, eta / 0)


@pytest.mark.parametrize("name", [name for name in NETS if name not in QUADRATURE])
def test_answers_have_the_joint_law_of_the_process_and_its_gradient(name):
    """All covariances of a dialogue, between different points, and all variances of values."""
    d, L, net = 4, 3, NETS[name]
    process, labels, ours = answered(net, L, d)
    value = theory(net, L, d)
    x = process.x[0]
    small = 1e-9 if name == "erf" else 1e-11
    compared, blocks = 0, {}
    for p, (i, e) in enumerate(labels):
        for q, (j, f) in enumerate(labels[: p + 1]):
            if i == j and not (p == q and e is None):
                continue
            if (i, j) not in blocks:
                blocks[i, j] = value(x[i], x[i])[None, None] if i == j else block(value, x[i], x[j])
            theirs = blocks[i, j][0 if e is None else e + 1, 0 if f is None else f + 1]
            assert abs(float(ours[p, q] - theirs)) < small * float((ours[p, p] * ours[q, q]).sqrt()), (i, e, j, f)
            compared += 1
    assert compared > 300


@pytest.mark.parametrize("name", QUADRATURE)
def test_answers_have_the_law_of_a_quadrature(name):
    d, L, net = 2, 2, NETS[name]
    process, labels, ours = answered(net, L, d)
    kernel, x, h = mf.kernel(mf.nngp(net)), process.x[0], 1e-3
    steps = torch.eye(d, dtype=torch.float64) * h
    for i, j in ((1, 0), (2, 1), (4, 2)):
        grid = [(x[i] + s, x[j] + t) for s in (0 * steps[0], *steps, *-steps) for t in (0 * steps[0], *steps, *-steps)]
        u, v = (torch.stack(each) for each in zip(*grid))
        x_sq, y_sq = (u**2).sum(1) / d, (v**2).sum(1) / d
        at = {"c": (u * v).sum(1) / d / (x_sq * y_sq).sqrt(), "x_sq": x_sq, "y_sq": y_sq}
        found = torch.as_tensor(kernel(L=L, **{n: z.numpy() for n, z in at.items()}, **VALUES)).reshape(2 * d + 1, -1)
        plus, minus = slice(1, d + 1), slice(d + 1, None)
        by_x = (found[plus] - found[minus]) / (2 * h)
        theirs = torch.zeros(d + 1, d + 1, dtype=torch.float64)
        theirs[0, 0], theirs[1:, 0] = found[0, 0], by_x[:, 0]
        theirs[0, 1:] = (found[0, plus] - found[0, minus]) / (2 * h)
        theirs[1:, 1:] = (by_x[:, plus] - by_x[:, minus]) / (2 * h)
        for e in range(d + 1):
            for f in range(d + 1):
                p, q = (list(labels).index((k, None if c == 0 else c - 1)) for k, c in ((i, e), (j, f)))
                near = 1e-11 if e == f == 0 else 3e-5
                assert abs(float(ours[p, q] - theirs[e, f])) < near * float((ours[p, p] * ours[q, q]).sqrt()), (e, f)


@pytest.mark.parametrize("name", ["vanilla", "residual", "preactivation"])
def test_entries_of_a_jacobian_have_the_variance_of_t1(name):
    """And f, J x are jointly Gaussian with the offset independent of J: E f (J x) = E (J x)²."""
    d, L, net = 4, 3, NETS[name]
    process = Process(Kernel(net, L, number), 1, d, 10, one_by_one(1, 10))
    x = point(d)[None, None]
    process.differentiate(process.ask(x, [None]))
    J, f = process.gradient(0)[0], process.output(0)[0]
    growth = float(mf.kernel(mf.omega(net))(**{"sigma_w": VALUES["sigma_w"]})) ** L
    torch.testing.assert_close(J.mT @ J, growth / d * torch.eye(d, dtype=torch.float64), rtol=0, atol=1e-12 * growth)
    along = J @ x[0, 0]
    assert abs(float(f @ along - along @ along)) < 1e-12 * growth


# -- the law of wide networks ------------------------------------------------------------------------------------------

WIDE = {
    "vanilla": {},
    "residual": {},
    "preactivation": {},
    "plain_residual": {"sigma_w": 0.9},
    "abs": {},
    "tanh": {},
    "hard_tanh": {"dtype": torch.float64},
    "elu": {},
    "plain selu": {"sigma_w": 0.7},
    "pre_norm": {},
    "dropped": {},
}
D, LAYERS, EPS = 6, 2, 1.5


def observed(networks, steps=2):
    """Numbers of each network whose laws are compared."""
    x = point(D)
    first = networks.forward(x)
    J = networks.jacobian(x)
    other = networks.forward(point(D, seed=3))
    found = mf.simulate.attack(networks, x, eps=EPS, p=2, q=2, steps=steps, directions=1)
    moved = networks.forward((x + found.eta)[:, None])[:, 0] if networks.sampler != "limit" else None
    out = {
        "f": first[:, 0],
        "f of another": other[:, 1],
        "product": first[:, 0] * other[:, 0],
        "entry": J[:, 0, 1],
        "along": J[:, 1] @ x.to(J),
        "offset": first[:, 1] - J[:, 1] @ x.to(J),
        "norm": torch.linalg.matrix_norm(J, 2),
        "attack": found.value,
        "gain": found.value / torch.linalg.matrix_norm(J, 2),
    }
    # A difference of two outputs has their rounding.
    rounding = 64 * torch.finfo(first.dtype).eps * float(first.abs().max())
    assert moved is None or bool(((moved - first).norm(dim=1) - found.value).abs().max() < rounding)
    return {name: value.double().numpy() for name, value in out.items()}


def endless(name, nets=2000, **values):
    return observed(sample(NETS[name], L=LAYERS, d=D, nets=nets, seed=6, **WIDE[name] | values))


def wide(name, nets=120):
    options = {"sampler": "conditioned", "queries": 12, "dtype": torch.float32, "keep": True} | WIDE[name]
    return observed(sample(NETS[name], N=3000, L=LAYERS, d=D, nets=nets, seed=5, **options))


@pytest.mark.parametrize("name", WIDE)
def test_the_law_is_that_of_wide_networks(name):
    """Of 3,000 units, whose departure from the limit, L sqrt(K d)/N = 0.2 %, so few networks do not show."""
    nets = 400 if name in ("tanh", "elu", "plain selu") else 2000
    assert departures(wide(name), endless(name, nets)) == []


def test_another_variance_is_caught():
    found = departures(wide("vanilla"), endless("vanilla", sigma_w=1.6))
    assert {"norm", "attack"} <= set(found)


def test_networks_that_forget_are_caught(monkeypatch):
    """Numbers that are drawn as if nothing was asked before have another law."""
    right = endless("residual")
    extend = limit_span.Factor.extend
    monkeypatch.setattr(limit_span.Factor, "extend", lambda f, rows, own, z: extend(f, 0 * rows, own, z))
    found = departures(right, endless("residual"))
    assert {"offset", "gain"} <= set(found), found


# -- the law of explicit draws -----------------------------------------------------------------------------------------

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def relu_mean(Q, R, P):
    """E relu(a) relu(b), by the arc-cosine kernel."""
    root = np.sqrt(Q * R)
    c = np.clip(P / root, -1, 1)
    return root * (np.sqrt(1 - c**2) + (np.pi - np.arccos(c)) * c) / (2 * np.pi)


def tanh_mean(Q, R, P):
    """E tanh(a) tanh(b), by a rule in the plane."""
    c = np.clip(P / np.sqrt(Q * R), -1, 1)[..., None, None]
    half, rest = np.sqrt((1 + c) / 2) * NODES[:, None], np.sqrt((1 - c) / 2) * NODES
    first, second = (np.tanh(np.sqrt(q)[..., None, None] * e) for q, e in ((Q, half + rest), (R, half - rest)))
    return (first * second * WEIGHTS[:, None] * WEIGHTS).sum((-2, -1))


BY_HAND = {"vanilla": (relu_mean, 0), "residual": (relu_mean, 1), "tanh": (tanh_mean, 0)}
"""The mean over a pair, and whether a shortcut keeps the stream."""


def by_hand(name, x, L=LAYERS):
    """The covariance of a net's output at points (points, d), by NumPy alone."""
    mean, kept = BY_HAND[name]
    w, b = VALUES["sigma_w"] ** 2, VALUES["sigma_b"] ** 2
    P = x @ x.T / x.shape[1]
    for _ in range(L):
        h = w * P + b
        Q = np.broadcast_to(np.diag(h)[:, None], h.shape)
        P = kept * P + mean(Q, Q.T, h)
    return P


def asked(name, nets, explicit=False, blind=False, h=1e-3):
    """Three values and two directional derivatives of networks at random points, as columns: the networks' own, or
    drawn with the covariance by hand, of which derivatives are differences. ``blind`` draws forget what they have in
    common."""
    x, v = np.random.default_rng(5).standard_normal((2, 3, D))
    x[1] = x[0] + 0.3 * x[1]
    if explicit:
        points = np.concatenate([x, x[:2] + h * v[:2], x[:2] - h * v[:2]])
        to = np.zeros((5, 7))
        to[:3, :3] = np.eye(3)
        for i in (0, 1):
            to[3 + i, 3 + i], to[3 + i, 5 + i] = 0.5 / h, -0.5 / h
        covariance = to @ by_hand(name, points) @ to.T
        covariance = np.diag(np.diag(covariance)) if blind else covariance
        return np.random.default_rng(6).multivariate_normal(np.zeros(5), covariance, 2 * nets)
    networks = sample(NETS[name], L=LAYERS, d=D, nets=nets, seed=8)
    x, v = torch.from_numpy(x), torch.from_numpy(v)
    first, slope = networks.forward(x[0]), networks.jvp(x[0], v[0])
    rest = [networks.forward(x[1]), networks.jvp(x[1], v[1]), networks.forward(x[2])]
    columns = [first, rest[0], rest[2], slope, rest[1]]
    return torch.stack([each.double().flatten() for each in columns], 1).numpy()


@pytest.mark.parametrize("name", BY_HAND)
def test_the_law_is_that_of_explicit_draws(name):
    """Values and derivatives, asked for one after the other, against draws of all at once from a multivariate normal
    whose covariance NumPy computes. Draws that forget what they share are told apart."""
    nets = 500 if name == "tanh" else 2000
    found = mixtures(asked(name, nets))
    assert departures(found, mixtures(asked(name, 4000, explicit=True))) == []
    told = departures(found, mixtures(asked(name, 4000, explicit=True, blind=True)))
    assert {"0*1", "0-1", "1-2"} & set(told) and len(told) >= 4, told


# -- answers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["vanilla", "residual", "plain_residual", "erf", "pre_norm", "hard_tanh", "elu", "plain selu"]
)
def test_small_balls_follow_the_linear_law(name):
    """The attack over eps tends to ||J||: for a smooth activation as eps, for a kinked one as its root. And it grows
    with eps. Networks of the same seed have the same J."""
    x, nets = point(D), 6
    size = float(x.norm())

    def networks():
        return sample(NETS[name], L=LAYERS, d=D, nets=nets, sigma_b=0.0)

    norm = torch.linalg.matrix_norm(networks().jacobian(x), 2)
    radii = [1e-13, 1e-6, 1e-4, 1e-2, 0.3, 1.0] + ([3.0, 10.0] if name not in ("erf", "hard_tanh") else [])
    values = [mf.simulate.attack(networks(), x, eps=r * size, p=2, q=2, steps=3).value for r in radii]
    assert ((values[0] / (radii[0] * size * norm) - 1).abs() < 1e-6).all()
    for value, r in zip(values[1:4], radii[1:4]):
        off = (value / (r * size * norm) - 1).abs()
        assert (off < (3 * r if name == "erf" else 3 * math.sqrt(r))).all(), r
        assert name == "erf" or bool((off > 0).any())
    assert all((b > a).all() for a, b in pairwise(values))


@pytest.mark.parametrize("name", ["hard_tanh", "shifted selu"])
def test_balls_that_move_deviations_by_few_digits_follow_the_linear_law(name):
    """Kinks away from zero, and biases. Points of one ball then have streams whose deviations are the same number."""
    x = point(D)
    for r in (1e-7, 1e-8, 1e-9, 1e-10, 1e-12):
        networks = sample(NETS[name], L=LAYERS, d=D, nets=20)
        norm = torch.linalg.matrix_norm(networks.jacobian(x), 2)
        value = mf.simulate.attack(networks, x, eps=r * float(x.norm()), p=2, q=2).value
        assert ((value / (r * x.norm() * norm) - 1).abs() < 3 * math.sqrt(r)).all(), r


@pytest.mark.parametrize(
    "name", ["vanilla", "pre_norm", "tanh", "hard_tanh", "clipped", "elu", "plain selu", "shifted selu"]
)
def test_a_point_may_come_again_in_some_of_the_networks(name):
    """As the corners of a ball do in an attack at p = inf. The answer is the same there, and another at other points.
    By rounding the moments of such points differ in the last digit, as they are computed with others each time."""
    networks, corners = sample(NETS[name], nets=16, sigma_b=0.0, L=3), 4
    (trace,) = networks.traces(point(6))
    places = 0.1 * torch.randn(16, 6, 1, corners, generator=generator(3), dtype=torch.float64).sign()
    chosen = torch.randint(corners, (10, 16), generator=generator(4))
    found = torch.full((16, corners, 12), math.nan, dtype=torch.float64)
    for at in chosen:
        eta = places[torch.arange(16), :, :, at][..., None]
        shifted = trace.shift(eta)
        answer = torch.cat((shifted.output, shifted.push(eta)), 1).flatten(1)
        before = found[torch.arange(16), at, : answer.shape[1]]
        same = (before - answer).abs() / answer.abs().amax(0)
        assert float(same.nan_to_num(0.0).max()) < 1e-3
        found[torch.arange(16), at, : answer.shape[1]] = answer
    seen = found[:, :, : answer.shape[1]]
    assert float((seen[:, 0] - seen[:, 1]).abs().nanmean()) > 1e-2


def test_differences_are_those_of_the_values():
    """f(x + eta) by a pass of its own, J by differences, and push, pull and Jacobian of one another."""
    eta = torch.randn(3, 6, 2, 2, generator=generator(7), dtype=torch.float64)
    trace, near, c = maps_agree(sample(NETS["residual"], nets=3), torch.stack((point(6), point(6, seed=4))), eta)
    pulled = near.pull(c.expand(-1, -1, -1, 2)) - trace.pull(c)
    assert 0 < float(pulled.abs().max()) < 0.2 * float(trace.pull(c).abs().max())


@pytest.mark.parametrize("name", ["vanilla", "tanh", "hard_tanh"])
def test_products_with_the_jacobian_are_those_of_its_entries(name):
    """Whichever is asked for first."""
    x, t, c = torch.stack([point(6, seed=i) for i in (1, 2)]), point(6, seed=3), point(2, seed=4)
    for early in (True, False):
        networks = sample(NETS[name], nets=3, seed=4)
        J = networks.jacobian(x) if early else None
        along, back = networks.jvp(x, t), networks.vjp(x, c)
        J = networks.jacobian(x) if J is None else J
        assert along.shape == (3, 2, 2) and back.shape == (3, 2, 6)
        torch.testing.assert_close(along, J @ t, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(back, J.mT @ c, rtol=1e-12, atol=1e-12)
    assert networks.jvp(x[0], t).shape == (3, 2) and networks.vjp(x[0], c).shape == (3, 6)


def test_what_was_answered_is_answered_again():
    networks, x = sample(NETS["vanilla"], nets=4), point(6)
    first, J = networks.forward(x), networks.jacobian(x)
    found = mf.simulate.attack(networks, x, eps=0.5, p=2, q=2)
    assert torch.equal(networks.forward(x), first) and torch.equal(networks.jacobian(x), J)
    (trace,) = networks.traces(x)
    again = trace.shift(found.eta[..., None, None]).output[..., 0, 0].norm(dim=1)
    torch.testing.assert_close(again, found.value, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["residual", "tanh"])
def test_the_same_seed_gives_the_same_numbers_whatever_the_chunks(name, monkeypatch):
    x = point(6)

    def found():
        networks = sample(NETS[name], nets=7)
        pairs = {"p": [2, "inf", 1], "q": [2, 1, 2]}
        return mf.simulate.attack(networks, torch.stack((x, 2 * x)), eps=0.4, steps=3, **pairs).value

    whole = found()
    monkeypatch.setattr(ensemble, "CHUNK", 1)
    # How many terms a series of a smooth activation needs depends on the chunk, and rounding does.
    torch.testing.assert_close(found(), whole, rtol=1e-5 if name == "tanh" else 1e-7, atol=0)
    assert not torch.equal(sample(NETS[name], nets=7, seed=1).forward(x), sample(NETS[name], nets=7).forward(x))


def test_a_series_is_computed_once_for_each_point(monkeypatch):
    """And gives the numbers that it gives when nothing is remembered."""
    x, points, value = point(6), [], limit_kernel.Smooth.value
    monkeypatch.setattr(limit_kernel.Smooth, "value", lambda f, z: points.append(z.shape[1]) or value(f, z))

    def found():
        networks = sample(NETS["tanh"], nets=3, queries=12)
        return mf.simulate.attack(networks, x, eps=0.7, p=2, q=2, steps=4, directions=1).value

    remembered, once = found(), len(points)
    assert set(points[3:]) <= {1, 2} and sum(points) < 60
    monkeypatch.setattr(limit_jets.Memory, "last", lambda memory: None)
    torch.testing.assert_close(found(), remembered, rtol=1e-7, atol=0)
    assert sum(points[once:]) > 2 * sum(points[:once])


def test_linear_networks_have_no_rest():
    networks, x = sample(mf.vanilla(1, 1), nets=3), point(6)
    J = networks.jacobian(x)
    for eps in (1e-6, 1.0, 50.0):
        found = mf.simulate.attack(networks, x, eps=eps, p=2, q=2, steps=2)
        torch.testing.assert_close(found.value, eps * torch.linalg.matrix_norm(J, 2), rtol=1e-9, atol=0)


def test_other_attacks_work_on_them():
    networks, x = sample(NETS["residual"], nets=3), point(6)
    best = mf.simulate.attack(networks, x, eps=0.3, p=2, q=2).value
    assert (mf.simulate.pgd(networks, x, eps=0.3, p=2, q=2, steps=6, restarts=2).value <= 1.1 * best).all()
    (trace,) = networks.traces(x)
    first = mf.simulate.attack_loss(
        trace, lambda output, change: change[..., 0], eps=0.3, p=2, generator=generator(), steps=3
    )
    assert (0 < first.value).all() and (first.value[:, 0] <= 1.1 * best).all()


# -- failures ----------------------------------------------------------------------------------------------------------


def conversation(networks):
    """All numbers of a dialogue with an ensemble."""
    x, (chunk,) = torch.stack((point(6), point(6, seed=4))), networks.chunks()
    trace = chunk.trace(networks.inputs(x))
    eta = 0.3 * torch.randn(1, 6, 2, 2, generator=generator(7), dtype=torch.float64).expand(chunk.nets, -1, -1, -1)
    shifted = trace.shift(eta)
    found = trace.output, trace.jacobian(), shifted.output, shifted.push(eta)
    return torch.cat([each.flatten() for each in found])


def failing(networks, monkeypatch, name):
    """Ask a question that ends in an error: by its input, or at one of the draws of a shift."""
    (trace,), factors, taken = networks.traces(point(6, seed=9)), limit_span.factored, []

    def factored(S):
        taken.append(S)
        if len(taken) == {"first draw": 1, "last draw": 3}.get(name, 0):
            raise KeyboardInterrupt
        return factors(S)

    def question():
        factor = {"zero": 0.0, "far": 1e4}.get(name)
        return trace.shift(0.1 * trace.inputs) if factor is None else networks.forward(factor * point(6))

    with monkeypatch.context() as patched:
        patched.setattr(limit_span, "factored", factored)
        with pytest.raises((AccuracyError, DomainError, KeyboardInterrupt)):
            question()


@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
@pytest.mark.parametrize("name", ["zero", "far", "first draw", "last draw"])
def test_a_question_that_fails_changes_nothing(name, first, monkeypatch):
    """The answers and the draws to come are those of networks that were not asked; a question that succeeds changes the
    draws."""
    net, values = NETS["tanh" if name == "far" else "plain_residual"], {"sigma_b": 0.0, "sigma_w": 2.0, "nets": 3}

    def dialogue(between):
        networks = sample(net, **values)
        before = [] if first else [conversation(networks)]
        networks.forward(point(6, seed=9))
        between(networks)
        return torch.cat([*before, conversation(networks), networks.forward(-point(6, seed=3)).flatten()])

    wanted = dialogue(lambda networks: None)
    assert torch.equal(dialogue(lambda networks: failing(networks, monkeypatch, name)), wanted)
    assert not torch.equal(dialogue(lambda networks: networks.forward(point(6, seed=5))), wanted)


def test_a_refused_attack_changes_no_expectation():
    """A smaller one is answered after it, at finite widths as well."""
    for options in ({"memory": 2**28}, {"N": 3000, "sampler": "conditioned", "memory": 2**28, "queries": 20}):
        networks = sample(NETS["vanilla"], d=64, nets=20, **options)
        expected = networks.queries
        with pytest.raises(MemoryBudgetError):
            mf.simulate.attack(networks, point(64), eps=0.1, p=2, q=2, directions=64, steps=200)
        assert networks.queries == expected
        mf.simulate.attack(networks, point(64), eps=0.1, p=2, q=2, directions=1, steps=2)


def test_networks_that_are_used_once_are_asked_as_often_as_one_likes():
    networks = sample(NETS["vanilla"], d=64, nets=4, keep=False, memory=2**24)
    for _ in range(3):
        mf.simulate.attack(networks, point(64), eps=0.1, p=2, q=2, directions=1, steps=8)


# -- refusals ----------------------------------------------------------------------------------------------------------


class Odd(mf.nets.Block):
    """A primitive without rules."""


def test_what_has_no_limit_is_refused_by_name():
    with pytest.raises(DeclarationError, match="kinks"):
        sample(mf.vanilla(phi=mf.Activation(sp.Max(0, sp.tanh(mf.symbols.z)))))
    with pytest.raises(ArgumentError, match='N is a whole number, or "inf"'):
        sample(NETS["vanilla"], N="infty")
    with pytest.raises(ArgumentError, match="sampler"):
        sample(NETS["vanilla"], sampler="dense")
    with pytest.raises(ArgumentError, match="sampler"):
        sample(NETS["vanilla"], N=50, sampler="limit")
    with pytest.raises(DeclarationError, match=r"Odd has no rule in .*limit\.kernel\.Rules"):
        Odd().apply(limit_kernel.Rules(number), ())
    scaled = mf.Net(mf.Residual(mf.Dense(), mf.ReLULike(1, 0), mf.Mix(), scale=mf.symbols.N**-0.5))
    with pytest.raises(DomainError, match="N must be"):
        sample(scaled)


def test_weights_and_streams_are_refused_by_name():
    networks = sample(NETS["vanilla"], nets=2)
    (trace,) = networks.traces(point(6))
    for call in (trace.stream, lambda: trace.descend(trace.output, 0.1), lambda: trace.gradients(trace.output)):
        with pytest.raises(ArgumentError, match="neither weights nor a stream"):
            call()
    images = mf.simulate.load("digits").resampled(6)
    with pytest.raises(ArgumentError, match="Training is asked for"):
        mf.simulate.train(networks, images, loss="adversarial", eps=0.1, p=2, q=2, rate=1e-3, steps=1)


def test_an_attack_that_outgrows_its_budget_is_refused_before_any_work():
    networks = sample(NETS["vanilla"], d=64, nets=100, memory=2**28)
    with pytest.raises(MemoryBudgetError, match="points"):
        mf.simulate.attack(networks, point(64), eps=0.1, p=2, q=2, directions=16)
    assert networks._kept == []


def test_an_input_without_a_derivative_is_an_error():
    with pytest.raises(DomainError, match="not finite"):
        sample(NETS["vanilla"], sigma_b=0.0).forward(torch.zeros(6))


def test_what_is_no_covariance_is_an_error():
    S = torch.eye(3, dtype=torch.float64)[None].clone()
    assert bool(factored(S)[1].all())
    S[0, 2, 2] = 1e-9
    assert factored(S)[1].tolist() == [[True, True, False]]
    S[0, 2, 2] = -1e-6
    with pytest.raises(AccuracyError, match="given what was answered"):
        factored(S)


def test_a_deviation_that_no_series_reaches_is_an_error():
    with pytest.raises(AccuracyError, match="Hermite series of Activation"):
        sample(NETS["tanh"], sigma_w=30.0).forward(point(6))


def test_small_balls_around_several_inputs_are_an_error_and_no_wrong_answer():
    """One input of an ensemble at a time is what small balls take."""
    inputs = torch.stack((point(6), point(6, seed=4)))
    with pytest.raises(AccuracyError, match="too close together"):
        mf.simulate.attack(sample(NETS["residual"], nets=20), inputs, eps=1e-6, p=2, q=2)
    for x in inputs:
        networks = sample(NETS["residual"], nets=20)
        ratio = mf.simulate.attack(networks, x, eps=1e-6, p=2, q=2).value / torch.linalg.matrix_norm(
            networks.jacobian(x), 2
        )
        assert ((ratio / 1e-6 - 1).abs() < 3e-3).all()
