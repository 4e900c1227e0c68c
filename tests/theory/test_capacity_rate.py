"""D1, the rate of the capacity: its means against the tangent kernel, its measurement against autograd, its check."""

import numpy as np
import pytest
import sympy as sp
import torch

import advmf as mf
from advmf.errors import ArgumentError, DeclarationError, DomainError
from advmf.observables import Capacity, CapacitySlope
from advmf.simulate.estimate import measure
from advmf.simulate.geometry import conjugate, maximiser, order
from advmf.simulate.networks import layers
from advmf.simulate.probe import AttackSettings
from advmf.symbols import K, L, N, d, eps
from advmf.theorems import THEOREMS
from advmf.theory.norms import BETA
from advmf.theory.propagation import ALPHA, OMEGA, grows_uniformly, moments, omega
from advmf.theory.scaling import linear_like, scaling
from advmf.verify.verdict import Verdict

UNBIASED, RELU = mf.Dense(sigma_b=0), mf.ReLULike()
TWO = mf.Net(mf.Residual(mf.Dense(), RELU, mf.Dense(sigma_b=0), scale=sp.Rational(7, 10)))
STAGES = mf.Net(
    mf.Stage(mf.vanilla(1, 0).block, repeat=2, width=2),
    mf.Stage(mf.Residual(mf.Dense(), mf.ReLULike(1, 0), mf.Mix(), shortcut=mf.Mix()), repeat=3),
)
NETS = {"vanilla": mf.vanilla(), "residual": mf.residual(), "preactivation": mf.preactivation(),
        "two layers": TWO, "pyramid": mf.pyramid(), "stages": STAGES}  # fmt: skip
POINT = {"N": 64, "x_sq": 1.3, "sigma_w": 1.2, "sigma_b": 0.0, "L": 4, "u": 1.0, "v": 0.25}
DOUBLE = {"dtype": torch.float64}


def number(net, expr):
    """An answer to a factor of the weights times E (J x)_k², at the point."""
    meanings = {ALPHA: sp.Rational(17, 32), **({OMEGA: omega(net)} if grows_uniformly(net) else {})}
    value = (expr * POINT["x_sq"] * moments(net).j).subs(meanings)
    return float(value.subs({mf.symbols.SYMBOLS[name].symbol: sp.nsimplify(v) for name, v in POINT.items()}))


@pytest.mark.parametrize("name", NETS)
def test_the_kernels_are_the_tangent_kernel_and_its_scaling_derivative(name):
    net, answer = NETS[name], scaling(NETS[name])
    kernel = mf.ntk(net)
    letters = {s.name for s in kernel.free_symbols}
    f = mf.kernel(kernel)

    def tangent(sigma_w):
        at = {**POINT, "sigma_w": sigma_w, "c": 1.0, "y_sq": POINT["x_sq"]}
        return float(f(**{k: v for k, v in at.items() if k in letters}))

    assert np.isclose(number(net, answer.kernel), tangent(1.2), rtol=1e-13)
    h = 1e-3
    slope = (8 * (tangent(1.2 + h) - tangent(1.2 - h)) - tangent(1.2 + 2 * h) + tangent(1.2 - 2 * h)) / (12 * h)
    assert np.isclose(number(net, answer.kernel_share), tangent(1.2) + 0.6 * slope, rtol=1e-9)


@pytest.mark.parametrize("name", NETS)
def test_the_square_is_the_capacity_without_biases(name):
    net = NETS[name]
    letters = {s.name for s in mf.capacity(net).rhs.free_symbols}
    C = mf.kernel(mf.capacity(net))(**{k: v for k, v in {**POINT, "K": 1}.items() if k in letters})
    assert np.isclose(number(net, scaling(net).square), float(C), rtol=1e-12)


def test_closed_forms_of_the_presets():
    expected = -2 * N * L * ALPHA * eps * BETA * OMEGA ** (L / 2 - 1) / (K * d)
    for block in (mf.Serial(UNBIASED, RELU), mf.Residual(UNBIASED, RELU, mf.Mix()), mf.Residual(RELU, UNBIASED)):
        assert sp.simplify(mf.capacity_rate(mf.Net(block), "p", "q").formula / expected) == 1
    vanilla = mf.Net(mf.Serial(UNBIASED, RELU))
    fall = sp.diff(mf.first_order(mf.capacity_ratio(vanilla, 2, 2)).rhs, mf.symbols.t)
    ratio = mf.capacity_rate(vanilla, 2, 2).rhs / fall
    assert sp.simplify(ratio - N**2 / (K * d)) == 0, "T5 leaves out the greatest part"


def test_biases_change_the_capacity_alone():
    """The claim of a net with biases is that without them at sigma_b = 0, and proportional to 1/C."""
    at = {"L": 3, "N": 100, "d": 16, "K": 4, "sigma_w": 1.3, "eps": 0.1, "x_sq": 1.0}
    for name in ("vanilla", "residual", "preactivation"):
        net = mf.PRESETS[name](1, 0)
        rate, C = mf.kernel(mf.capacity_rate(net, 2, 2)), mf.kernel(mf.capacity(net))
        own = {k: v for k, v in at.items() if k not in ("N", "d", "eps")}
        product = [float(rate(sigma_b=b, **at) * C(sigma_b=b, **own)) for b in (0.0, 0.7)]
        assert np.isclose(*product, rtol=1e-12)
    unbiased = mf.capacity_rate(mf.Net(mf.Serial(UNBIASED, mf.ReLULike(1, 0))), 2, 2)
    at = {**at, "x_sq": 1.0}
    plain = float(mf.kernel(unbiased)(**{k: v for k, v in at.items() if k != "x_sq"}))
    assert np.isclose(plain, float(mf.kernel(mf.capacity_rate(mf.vanilla(1, 0), 2, 2))(sigma_b=0, **at)), rtol=1e-12)


# -- the measurement ---------------------------------------------------------------------------------------------------


def sampled(net, *, width=12, nets=3, **given):
    given = {"L": 2, "sigma_w": 1.3, "sigma_b": 0.4, **given}
    generator = torch.Generator().manual_seed(3)
    dims = {"d": 6, "K": 3} if net.image is None else {"d": net.inputs, "K": 3}
    if not net.repeated:
        del given["L"]
    ensemble = mf.simulate.sample(net, N=width, nets=nets, generator=generator, **DOUBLE, **given, **dims)
    x = ensemble.inputs(torch.randn(nets, 1, dims["d"], generator=generator, **DOUBLE))
    (chunk,) = ensemble.chunks()
    return chunk, x


def measured(chunk, x, *observables):
    settings = AttackSettings(eps=0.5)
    return measure(chunk.trace(x), x, observables, settings, torch.Generator().manual_seed(2)).unbind(1)


@pytest.mark.parametrize(
    "net",
    [mf.vanilla(1, 0), mf.residual(1, "1/5"), mf.preactivation(1, -1), mf.pyramid(1, 0), mf.conv(1, 0, image=(1, 6))],
)
@pytest.mark.parametrize(("p", "q"), [(2, 2), ("inf", "inf"), (1, 2)])
def test_the_slope_is_that_of_networks_moved_along_the_gradient(net, p, q):
    """A step along the gradient of |f(x + eta) - f(x)| in a tiny ball, forwards and back."""
    chunk, x = sampled(net)
    p, q = mf.symbols.exponent(p), mf.symbols.exponent(q)
    (slope,) = measured(chunk, x, CapacitySlope(p, q))
    J = chunk.trace(x).jacobian()[:, 0]
    eta = 1e-7 * mf.simulate.operator_norm(J, p, q).vector
    moved = torch.cat((x, x + eta[..., None, None]), 2)
    trace = chunk.trace(moved)
    t = maximiser(trace.output[:, :, 1] - trace.output[:, :, 0], conjugate(order(q, "q")), 1)
    gradients = trace.gradients(torch.stack((-t, t), 2))
    step, found = 1e-7, []  # small enough that no unit switches
    for rate in (-step / 1e-7, 2 * step / 1e-7):
        for weight, delta, inputs in gradients:
            weight.add(rate * delta, inputs)
        found.append(measured(chunk, x, Capacity())[0])
    difference = 0.5 * (found[0] - found[1]) / (2 * step)
    torch.testing.assert_close(slope, difference, rtol=1e-4, atol=1e-5 * float(slope.abs().max()))


def test_the_slope_is_that_of_autograd():
    """Plain torch, with the weights read off: a residual network with biases, by two derivatives."""
    chunk, x = sampled(mf.residual(1, 0))
    maps = list(layers(chunk.map))
    W = [m.weight.matmul(torch.eye(n, **DOUBLE).expand(3, n, n)) for m, n in zip(maps, [6] + 5 * [12])]
    biases = [m.bias for m in maps]

    def f(x, own, i):
        stream = W[0][i] @ x
        for place, weight in zip((1, 3), own):
            stream = stream + W[place + 1][i] @ torch.relu(weight @ stream + biases[place][i])
        return W[5][i] @ stream

    expected = []
    for i in range(3):
        own, point = (W[1][i], W[3][i]), x[i, :, 0, 0]
        J = torch.autograd.functional.jacobian(lambda z, i=i, own=own: f(z, own, i), point)
        left, _, right = torch.linalg.svd(J)

        def loss(*weights, i=i, point=point, left=left, right=right):
            push = torch.autograd.functional.jvp(lambda z: f(z, weights, i), point, right[0], create_graph=True)[1]
            return left[:, 0] @ push

        def square(*weights, i=i, point=point):
            push = torch.autograd.functional.jvp(lambda *w: f(point, w, i), weights, weights, create_graph=True)[1]
            return push.square().sum()

        flow, rise = (torch.autograd.functional.jacobian(g, own) for g in (loss, square))
        expected.append(-0.5 * sum((a * b).sum() for a, b in zip(flow, rise)))
    torch.testing.assert_close(measured(chunk, x, CapacitySlope(2, 2))[0], torch.stack(expected), rtol=1e-9, atol=0)


# -- the check ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("net", [mf.vanilla(1, 1), mf.residual(1, 0)])
def test_the_rate_is_supported_and_its_wrong_versions_refuted(net):
    at = {"L": 3, "d": 4, "K": 2, "sigma_w": 1.6, "sigma_b": 0.3, "eps": 0.1}
    claim = mf.capacity_rate(net, 2, 2, "spectral")
    wrong = THEOREMS["D1"].wrong(claim)
    assert len(wrong) >= 5
    options = {"widths": (128, 256, 1024, 4096), "nets": (300, 60, 24, 150)}
    options["design"] = mf.verify.statistics.Design(effect=0.3)
    true, *controls = mf.check_all([claim, *wrong], at=at, seed=1, progress=False, **options)
    assert true.verdict is Verdict.SUPPORTED, str(true)
    assert all(report.verdict is Verdict.REFUTED for report in controls), [str(report) for report in controls]


# -- bad input ---------------------------------------------------------------------------------------------------------


def test_nets_without_one_law_of_the_jacobian_are_refused():
    with pytest.raises(ArgumentError, match="without a carried mean"):
        mf.capacity_rate(mf.plain_residual(), 2, 2)
    with pytest.raises((ArgumentError, DeclarationError), match="ReLULike"):
        mf.capacity_rate(mf.vanilla(phi="tanh"), 2, 2)
    with pytest.raises((ArgumentError, DeclarationError)):
        mf.capacity_rate(mf.pre_norm(1, 0), 2, 2)
    with pytest.raises(ArgumentError, match="trained matrix"):
        mf.capacity_rate(mf.Net(mf.Mix()), 2, 2)
    with pytest.raises(DomainError, match="p must be"):
        mf.capacity_rate(mf.vanilla(), 0.5, 2)
    assert not linear_like(mf.post_norm(1, 0)) and linear_like(mf.conv(1, 0))
    for net in (mf.plain_residual(1, 0), mf.pre_norm(1, 0), mf.vanilla(phi="tanh")):
        assert THEOREMS["D1"].silent(net) and not THEOREMS["D1"].tested(net, [("2", "2")])


def test_the_slope_is_not_measured_where_slopes_of_activations_change():
    chunk, x = sampled(mf.vanilla(phi="tanh"))
    with pytest.raises(ArgumentError, match="inside a linear region"):
        measured(chunk, x, CapacitySlope(2, 2))
    chunk, x = sampled(mf.vanilla(1, 0))
    with pytest.raises(ArgumentError, match="needs eps"):
        measure(chunk.trace(x), x, [CapacitySlope(2, 2)], AttackSettings(), torch.Generator())
