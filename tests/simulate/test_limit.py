"""Networks of infinite width: their covariance to rounding, and the law of wide networks.

The covariance is held against that of the theory (``mf.nngp``, twice differentiated by torch), which shares no code with
it, and against mpmath for points that are close. Statistical tests compare samples at a stated false-fail rate of
``ALPHA`` for every comparison, some eighty of them (seeds are fixed: none has failed by chance); a wrong variance and a
wrong memory must be caught by the same comparisons.
"""

import math

import mpmath
import pytest
import torch
from scipy import stats

import advmf as mf
from advmf.errors import (
    AccuracyError,
    ArgumentError,
    DeclarationError,
    DomainError,
    MemoryBudgetError,
)
from advmf.simulate import limit
from advmf.simulate.limit_jets import Layout
from advmf.simulate.limit_kernel import Kernel
from advmf.simulate.limit_process import Process
from advmf.simulate.limit_span import factored

ALPHA = 1e-5
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
    "scaled": mf.Net(mf.Residual(mf.Dense(), mf.Activation("silu"), scale=0.5)),
    "mixed": mf.Net(mf.Serial(mf.Dense(), mf.Activation("tanh"), mf.Dense(), mf.ReLULike(1, "1/5"), mf.RMSNorm())),
}
SMOOTH = {"erf", "tanh", "plain gelu", "scaled"}


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
    return float(state.gain), [float(each[0, 0, 1]) for each in state.jets.all]


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
        assert abs(jets[0] - float(exact)) < 2e-13 * scale
        orders = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (0, 0, 2)]
        for order, ours in zip(orders, jets[1:]):
            step = mpmath.mpf(distance) * mpmath.mpf(10) ** -12
            theirs = float(mpmath.diff(less, at, order, h=step))
            small = a * size ** (2 - 2 * order[2] - order[0] - order[1] + (order == (1, 1, 0)))
            assert abs(ours - theirs) < 1e-7 * abs(theirs) + 1e-12 * max(small, 1 if name == "erf" else 0), order


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


def theory(net, L, d):
    """The kernel of two inputs by mf.nngp, with the derivatives that torch finds."""
    kernel = mf.kernel(mf.nngp(net), backend="torch")

    def value(x, y):
        x_sq, y_sq = (x @ x) / d, (y @ y) / d
        c = (x @ y) / d / torch.sqrt(x_sq * y_sq)
        needed = {n: v for n, v in VALUES.items() if n in {s.name for _, e in net.parameters for s in e.free_symbols}}
        return kernel(L=torch.tensor(L), c=c, x_sq=x_sq, y_sq=y_sq, **needed)

    return value


def block(value, x, y):
    """Cov((f, grad f)(x), (f, grad f)(y)), (1 + d, 1 + d)."""
    x, y = x.clone().requires_grad_(), y.clone().requires_grad_()
    k = value(x, y)
    by_x, by_y = torch.autograd.grad(k, (x, y), create_graph=True)
    both = torch.stack([torch.autograd.grad(g, y, retain_graph=True)[0] for g in by_x])
    top = torch.cat((k.detach().reshape(1, 1), by_y.detach()[None]), 1)
    return torch.cat((top, torch.cat((by_x.detach()[:, None], both), 1)), 0)


@pytest.mark.parametrize("name", NETS)
def test_answers_have_the_joint_law_of_the_process_and_its_gradient(name):
    """All covariances of a dialogue, between different points, and all variances of values."""
    d, L, net = 4, 3, NETS[name]
    process = Process(Kernel(net, L, number), 1, d, 90, one_by_one(1, 90))
    dialogue(process, d)
    labels, vectors = answers(process)
    ours = torch.stack(vectors) @ torch.stack(vectors).mT
    value = theory(net, L, d)
    x = process.x[0]
    small = 1e-9 if name in SMOOTH else 1e-11
    compared = 0
    for p, (i, e) in enumerate(labels):
        for q, (j, f) in enumerate(labels[: p + 1]):
            if i == j and not (p == q and e is None):
                continue
            theirs = value(x[i], x[i]) if i == j else block(value, x[i], x[j])[(e or 0) + (e is not None), (f or 0) + (f is not None)]
            assert abs(float(ours[p, q] - theirs)) < small * float((ours[p, p] * ours[q, q]).sqrt()), (i, e, j, f)
            compared += 1
    assert compared > 400


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
    "pre_norm": {},
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
        "along": J[:, 1] @ x,
        "offset": first[:, 1] - J[:, 1] @ x,
        "norm": torch.linalg.matrix_norm(J, 2),
        "attack": found.value,
        "gain": found.value / torch.linalg.matrix_norm(J, 2),
    }
    assert moved is None or bool(((moved - first).norm(dim=1) - found.value).abs().max() < 1e-6)
    return {name: value.double().numpy() for name, value in out.items()}


def departures(one, two):
    """The comparisons of two samples that fail."""
    return [name for name in one if stats.ks_2samp(one[name], two[name], method="asymp").pvalue < ALPHA]


@pytest.fixture(scope="module")
def wide():
    """What is observed of networks of a thousand units and more without weights, by net, once each."""
    kept = {}

    def of(name, N, nets):
        if (name, N, nets) not in kept:
            networks = sample(
                NETS[name], N=N, L=LAYERS, d=D, nets=nets, seed=5, sampler="conditioned", queries=12, **WIDE[name]
            )
            kept[name, N, nets] = observed(networks)
        return kept[name, N, nets]

    return of


def endless(name, nets=3000, **values):
    return observed(sample(NETS[name], L=LAYERS, d=D, nets=nets, seed=6, **WIDE[name] | values))
