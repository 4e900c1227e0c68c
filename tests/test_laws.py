"""Laws that every block and every activation must obey: one line for each here, and all of them run on it.

Theory and simulation are two readings of the same declaration; the laws compare each with itself (linearity, adjoints,
exact differences) and with the other (moments of sampled networks against propagated ones).
"""

import math
import re
from dataclasses import fields, replace
from functools import cache

import mpmath
import numpy as np
import pytest
import sympy as sp
import torch

import advmf as mf
from advmf.errors import DeclarationError
from advmf.nets import Norm
from advmf.nets.activations.formula import NAMED
from advmf.simulate.tapes import ForwardTape
from advmf.symbols import SYMBOLS, z
from advmf.theorems.f1_stream_fluctuation import F1
from advmf.theorems.f2_jacobian_norm import F2
from advmf.theory.finite_width import perturb
from advmf.theory.pair import Pair, propagate_pair
from advmf.theory.propagation import START, averages_follow, grows_alike, moments, omega, propagate

BLOCKS = {
    "dense": mf.Dense(),
    "vanilla": mf.vanilla(1, 0).block,
    "leaky": mf.vanilla(1, 0.2).block,
    "abs": mf.vanilla(1, -1).block,
    "linear": mf.vanilla(0.8, 0.8).block,
    "two activations": mf.Serial(mf.Dense(), mf.ReLULike(1, 0), mf.Mix(), mf.ReLULike(1, 0.5)),
    "residual": mf.residual(1, 0).block,
    "plain": mf.plain_residual(1, 0.1).block,
    "preactivation": mf.preactivation(1, 0).block,
    "two layers": mf.Residual(mf.Dense(), mf.ReLULike(1, 0), mf.Dense(sigma_b=0), scale=0.7),
    "mixed shortcut": mf.Residual(mf.Dense(), mf.ReLULike(1, 0), scale=-0.5, shortcut=mf.Mix()),
    "nested": mf.Residual(mf.Residual(mf.Dense(), mf.ReLULike(1, 0), mf.Mix()), mf.Dense(), scale="1/2"),
    "erf": mf.vanilla(phi=mf.Erf()).block,
    "gelu": mf.plain_residual(phi=mf.Gelu()).block,
    "tanh": mf.residual(phi=mf.Activation(sp.tanh(z))).block,
    "softplus": mf.plain_residual(phi=mf.Activation(sp.log(1 + sp.exp(z)))).block,
    "elu": mf.preactivation(phi=mf.Activation(sp.Piecewise((z, z > 0), (sp.exp(z) - 1, True)))).block,
    "pre norm": mf.pre_norm(1, 0).block,
    "post norm": mf.post_norm(1, 0.2).block,
    "layer norm": mf.Residual(mf.Dense(), mf.Activation("softplus"), mf.LayerNorm(), mf.Mix()),
    "dropout": mf.Serial(mf.Dense(), mf.ReLULike(1, 0), mf.Dropout("1/4")),
    "dropout in a branch": mf.Residual(mf.Dense(), mf.ReLULike(1, 0.3), mf.Dropout(0.2), mf.Mix()),
    "dropout of a mean": mf.Residual(mf.Dense(), mf.ReLULike(1, 0), mf.Dropout(0.1), shortcut=mf.Dropout("1/8")),
    "dropout and norm": mf.Residual(mf.LayerNorm(), mf.Dropout(0.3), mf.Dense(), mf.Erf()),
    "norm of a mean": mf.Serial(mf.Residual(mf.Dense(), mf.ReLULike(1, 0)), mf.LayerNorm(), mf.Dense()),
}
every_block = pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
MIXED = mf.Residual(mf.Dense(), mf.ReLULike(1, 0), mf.Mix(), shortcut=mf.Mix())
STAGES = {
    "pyramid": mf.pyramid(1, 0),
    "wider residual": mf.Net(
        mf.Stage(BLOCKS["residual"], 2), mf.Stage(MIXED, 1, 2), mf.Stage(BLOCKS["residual"], 1, 2)
    ),
    "plain, then narrow": mf.Net(mf.Stage(BLOCKS["plain"], 2, "3/2"), mf.Stage(BLOCKS["leaky"], 1, "1/2")),
    "of several kinds": mf.Net(
        mf.Stage(BLOCKS["preactivation"], 1, 2),
        mf.Stage(mf.Serial(mf.RMSNorm(), BLOCKS["erf"]), 1),
        mf.Stage(BLOCKS["dropout"], 2, "1/2"),
    ),
}
IMAGES = {
    "conv": mf.conv(1, 0.2, image=(2, 3)),
    "conv residual": mf.conv_residual(1, 0, image=(1, 6)),
    "padded conv": mf.conv(1, 0.2, image=(1, 6), padding="zero"),
    "averaged conv": mf.Net(
        mf.Stage(mf.Serial(mf.Conv(), mf.ReLULike(1, 0), mf.AvgPool(2)), 1),
        mf.Stage(MIXED, 2),
        image=(1, 6),
        head="pool",
    ),
    "unpadded conv": mf.Net(
        mf.Stage(mf.Serial(mf.Conv(2, "valid"), mf.ReLULike(1, 0.2)), 1),
        mf.Stage(mf.Serial(mf.Conv(5, "valid", 5), mf.ReLULike(1, 0.2)), 1, 2),
        mf.Stage(mf.Residual(mf.Dense(), mf.ReLULike(1, 0), mf.Mix()), 1, 2),
        image=(1, 6),
    ),
    "strided conv": mf.Net(
        mf.Stage(mf.Serial(mf.Conv(3, stride=3), mf.ReLULike(1, 0)), 1, 2),
        mf.Stage(mf.Residual(mf.Conv(1), mf.ReLULike(1, 0), mf.Mix(), shortcut=mf.Mix()), 2),
        image=(1, 6),
    ),
}
"""Networks on images of six numbers."""
STAGES |= IMAGES
every_net = pytest.mark.parametrize("net", [*map(mf.Net, BLOCKS.values()), *STAGES.values()], ids=[*BLOCKS, *STAGES])
SCALELESS = {mf.LayerNorm(), mf.RMSNorm()}
"""Norms hide the size of the weights before them."""
SIGMA = {"sigma_w": 1.1, "sigma_b": 0.4}


def sampled(net, nets=3, N=24, L=3, d=6, K=4, **options):
    generator = torch.Generator().manual_seed(7)
    return mf.simulate.sample(
        net, N=N, L=depth(net, L), d=d, K=K, nets=nets, generator=generator, dtype=torch.float64, **SIGMA, **options
    )


def depth(net, L):
    """The depth of a net of stages, else L."""
    return int(net.depth) if net.depth.is_Integer else L


def columns(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@every_block
def test_equal_declarations_are_equal_values(block):
    assert mf.Net(block) == mf.Net(block)
    assert hash(block) == hash(block)


NAMES = {**vars(sp), "z": z, **vars(mf.nets), **{name: letter.symbol for name, letter in SYMBOLS.items()}}


@every_block
def test_a_declaration_is_what_it_prints(block):
    again = eval(repr(block), {**NAMES, **mf.nets.Block.kinds})
    assert again == block and hash(again) == hash(block) and repr(again) == repr(block)
    assert eval(repr(mf.Net(block)), {**NAMES, **mf.nets.Block.kinds}) == mf.Net(block)
    wider = eval(repr(block).replace("sigma_w=sigma_w", "sigma_w=2*sigma_w"), {**NAMES, **mf.nets.Block.kinds})
    assert (wider == block) is ("sigma_w" not in repr(block)), "the control: another block is not equal"


@cache
def claims(net):
    """What is claimed of every net; of images whose pixels differ it is the bound, and T1 at each pixel."""
    if not averages_follow(net):
        return [mf.pixel_law(net), mf.loss_bound(net, "p", "q"), mf.loss_bound(net, 2, 1)]
    return [*mf.linear_form(net), mf.capacity(net), mf.loss_bound(net, "p", "q"), mf.loss_bound(net, 2, 1)]


@every_net
def test_claims_about_a_net_go_through_files(net):
    """JSON gives back the claim and its net; the Python source gives the kernel's numbers."""
    for claim in claims(net):
        again = mf.from_json(mf.to_json(claim))
        assert again == claim and again.net == net and repr(again.net) == repr(net)
    claim = claims(net)[-1]
    room: dict = {}
    exec(mf.export(claim, "python"), room)
    function = room[claim.name]
    point = {"L": 4, "d": 9, "K": 3, "eps": 0.1, "sigma_w": 1.1, "sigma_b": 0.4, "x_sq": 1.0, "N": 50}
    f = mf.kernel(claim)
    assert function(**point) == pytest.approx(float(f(**{name: point[name] for name in f.arguments})), rel=1e-12)


@every_net
def test_latex_has_no_stray_symbol(net):
    """Every letter stands alone, in a command, or in upright text; all letters of a claim are the registry's or
    explained."""
    for claim in claims(net):
        letters = {s.name for s in claim.rhs.free_symbols}
        assert letters <= {*SYMBOLS, *(symbol.name for symbol in claim.where)}, letters
        for text in (mf.latex(claim), mf.latex(claim.net)):
            assert stray(text) == [] and text.count("{") == text.count("}"), text
    assert stray(r"\omega + sigma_w + \text{if } ab") == ["sigma", "ab"], "the control"


def stray(text):
    upright = r"\\(?:text|mathrm|operatorname|begin|end)\{[^{}]*\}|\\[A-Za-z]+|_\{[^{}]*\}|Jx"
    return re.findall("[A-Za-z]{2,}", re.sub(upright, " ", text))


@every_block
def test_kernels_give_the_recursion_of_forty_digits(block):
    """Moments of five blocks, one after the other in numbers of 40 digits, against the kernel of the
    expression in L."""
    point = {mf.symbols.sigma_w: sp.Rational(11, 10), mf.symbols.sigma_b: sp.Rational(2, 5), mf.symbols.x_sq: 1}

    def numbers(state):
        return replace(state, **{f.name: sp.N(getattr(state, f.name).subs(point), 40) for f in fields(state)})

    state = numbers(START)
    for _ in range(5):
        state = numbers(propagate(block, state))
    f = mf.kernel(moments(mf.Net(block)).Q)
    arguments = {"L": 5, "x_sq": 1, **SIGMA}
    found = float(f(**{name: arguments[name] for name in f.arguments}))
    assert found == pytest.approx(float(state.Q), rel=1e-14)


@every_net
def test_conditioned_networks_are_as_dense_ones(net):
    """Means of |f|²/K, (|f|²/K)², |Jt|²/K and ⟨f, Jt⟩/K of both samplers, at N = 16, in 4.9 standard errors (1e-6 of
    seeds each)."""
    x, t = columns(6, seed=2).float(), columns(6, seed=3).float()

    def means(sampler, seed, sigma_w=1.1):
        ensemble = mf.simulate.sample(
            net, N=16, L=depth(net, 2), d=6, K=4, nets=1500, sampler=sampler, dtype=torch.float32, queries=2,
            generator=torch.Generator().manual_seed(seed), sigma_w=sigma_w, sigma_b=0.4,
        )  # fmt: skip
        found = []
        for trace in ensemble.traces(x):
            f, J = trace.output[..., 0], trace.push(t.expand(trace.output.shape[0], 6)[:, :, None, None])[:, :, 0, 0]
            f = f.reshape(len(f), -1)
            size = f.square().mean(1)
            found.append(torch.stack([size, size**2, J.square().mean(1), (f * J).mean(1)]))
        values = torch.cat(found, 1)
        return values.mean(1), values.std(1) / math.sqrt(values.shape[1])

    (one, a), (two, b) = means("dense", 5), means("conditioned", 6)
    assert ((one - two).abs() < 4.9 * torch.hypot(a, b)).all(), (one, two)
    if "sigma_w" in repr(net) and not SCALELESS & {leaf for leaf in net.leaves if isinstance(leaf, Norm)}:
        wider, b = means("conditioned", 6, sigma_w=1.8)
        assert ((one - wider).abs() > 4.9 * torch.hypot(a, b)).any(), "the control"


@every_net
def test_conditioned_tangents_and_cotangents_are_adjoint(net):
    trace = next(sampled(net, sampler="conditioned").traces(columns(2, 6)))
    t, c = columns(3, 6, 2, 5), columns(3, 4, 2, 5, seed=1)
    torch.testing.assert_close((trace.push(t) * c).sum((1, 3)), (t * trace.pull(c)).sum((1, 3)))


@every_net
def test_tangent_and_cotangent_are_adjoint(net):
    trace = next(sampled(net).traces(columns(2, 6)))
    t, c = columns(3, 6, 2, 5), columns(3, 4, 2, 5, seed=1)
    left, right = (trace.push(t) * c).sum((1, 3)), (t * trace.pull(c)).sum((1, 3))
    torch.testing.assert_close(left, right)


@every_net
def test_tangent_is_the_derivative(net):
    ensemble = sampled(net)
    x, t = columns(6), columns(6, seed=3)
    step = 1e-7
    numeric = (ensemble.forward(x + step * t) - ensemble.forward(x - step * t)) / (2 * step)
    torch.testing.assert_close(ensemble.jvp(x, t), numeric, rtol=1e-6, atol=1e-6)


@every_net
@pytest.mark.parametrize("size", [1e-12, 1e-3, 3.0])
def test_shift_is_the_exact_difference(net, size):
    """f(x + eta) - f(x) to the precision of the difference itself: for a tiny eta against J eta."""
    ensemble = sampled(net)
    x, eta = columns(6), size * columns(3, 6, 1, 2, seed=5)
    trace = next(ensemble.traces(x))
    shifted = trace.shift(eta)
    if size < 1e-6:
        torch.testing.assert_close(shifted.output, trace.push(eta), rtol=1e-9, atol=1e-24)
    for column in range(2):
        moved = next(ensemble.traces((x + eta[:, :, 0, column])[:, None, :]))
        torch.testing.assert_close(
            shifted.output[..., column], (moved.output - trace.output)[..., 0], rtol=1e-9, atol=1e-13
        )
        c = columns(3, 4, 1, 2, seed=6)
        torch.testing.assert_close(shifted.pull(c)[..., column], moved.pull(c[..., column : column + 1])[..., 0])


@every_net
def test_jacobian_both_ways(net):
    x = columns(2, 6)
    wide, tall = sampled(net, d=6, K=4), sampled(net, d=6, K=9)
    for ensemble in (wide, tall):
        J = ensemble.jacobian(x)
        t = columns(6, seed=8)
        torch.testing.assert_close(J @ t, ensemble.jvp(x, t))


@every_net
def test_chunks_do_not_change_the_numbers(net):
    x = columns(6)
    whole = sampled(net, nets=5)
    parts = sampled(net, nets=5, memory=2 * whole.bytes_per_network)
    torch.testing.assert_close(whole.forward(x), parts.forward(x), rtol=1e-12, atol=1e-12)
    assert [n.nets for n in parts.chunks()] == [2, 2, 1]
    assert [n.nets for n in whole.chunks()] == [5]


@every_net
def test_moments_of_sampled_networks(net):
    """E|x^L|²/N, E J_ij² and E (Jx)_i² against propagation, in 4.5 standard errors plus O(1/N) for nets that are not
    exact."""
    N, nets, d, K = 128, 500, net.inputs or 40, 24
    ensemble = mf.simulate.sample(
        net,
        N=N,
        L=depth(net, 2),
        d=d,
        K=K,
        nets=nets,
        generator=torch.Generator().manual_seed(1),
        dtype=torch.float32,
        keep=True,
        **SIGMA,
    )
    x = columns(d)
    x = x / x.norm() * math.sqrt(d)
    J, f = (values.double() for values in (ensemble.jacobian(x.float()), ensemble.forward(x.float())))
    along = J @ x
    across = J - along[..., None] * x / d
    if not averages_follow(net):
        own = mf.image_kernel(net, x.numpy(), L=depth(net, 2), **SIGMA)
        near(f.square().mean(1), own, net, nets, N)
        pixels = mf.profile(net)
        names = {s.name for number in pixels.code for s in number.free_symbols}
        size = pixels.at(**{k: v for k, v in {**SIGMA, "L": 2}.items() if k in names})
        near(J.square().sum((1, 2)) / K, net.image[0] * size.sum() / d, net, nets, N, bound=not pixels.exact)
        return
    state = moments(net)
    observed = {
        state.Q: (f**2).mean(1),
        state.j / mf.symbols.d: (across**2).sum((1, 2)) / (K * (d - 1)),
        state.along: (along**2).mean(1),
        state.A: ((f - along) ** 2).mean(1),
    }
    point = {**SIGMA, "L": 2, "x_sq": 1.0, "d": d}
    for expr, values in observed.items():
        kernel = mf.kernel(expr)
        near(values, float(kernel(**{k: point[k] for k in kernel.arguments})), net, nets, N)


def near(values, predicted, net, nets, N, bound=False):
    """The mean of values is the predicted one, or is at most that."""
    allowance = 4.5 * float(values.std()) / math.sqrt(nets) + (0 if net.exact else 10 * predicted / N)
    away = float(values.mean()) - predicted
    assert (away if bound else abs(away)) < allowance, (predicted, float(values.mean()), allowance)


@every_block
def test_a_pair_of_equal_inputs_has_the_moments_of_one(block):
    point = {mf.symbols.sigma_w: sp.Rational(11, 10), mf.symbols.sigma_b: sp.Rational(2, 5), mf.symbols.x_sq: 1}
    one = propagate(block, START)
    two = propagate_pair(block, Pair.of(START.Q, START.Q, START.Q, START.mu, START.mu))
    for name, moment in two.moments().items():
        assert float((moment - (one.mu if name in ("mu", "nu") else one.Q)).subs(point)) == pytest.approx(0, abs=1e-12)


@every_block
def test_the_jacobian_grows_by_omega_or_refuses_to_have_one(block):
    net = mf.Net(block)
    if not grows_alike(net):
        assert not all(phi.homogeneous for phi in net.activations) or "Norm" in repr(block)
        for derive in (
            omega,
            lambda n: mf.loss_value(n, 2, 2),
            lambda n: mf.variance_slope(n, 2, 2),
            mf.stream_fluctuation,
            mf.share,
        ):
            with pytest.raises(DeclarationError, match=r"there is no omega|net\.exact is False|drops coordinates"):
                derive(net)
        return
    assert sp.simplify(moments(mf.Net(block)).j.subs(mf.symbols.L, 2) - omega(mf.Net(block)) ** 2) == 0


PHIS = {
    **{name: mf.Activation(name) for name in NAMED if name != "linear"},
    "of another slope": mf.Activation(sp.sin(2 * z) + z / 2),
}
every_activation = pytest.mark.parametrize("phi", PHIS.values(), ids=PHIS)


def quadrature(f, Q):
    """E f(a) by mpmath, in 20 digits, between whole numbers, at which these activations have their kinks."""
    with mpmath.workdps(20):
        s = mpmath.sqrt(Q)
        cuts = sorted({-1, 0, 1, *(s * c for c in (-14, -6, -3, 3, 6, 14) if abs(s * c) > 1)})
        return mpmath.quad(lambda a: f(a) * mpmath.npdf(a, 0, s), cuts)


def curves(phi):
    """phi and its slope as functions of mpmath, the slope by differences of mpmath; quadratures share their nodes."""
    f = sp.lambdify(z, phi.phi(z), "mpmath")
    return f, cache(lambda a: mpmath.diff(f, a, direction=1 if a > 0 else -1))


@every_activation
@pytest.mark.parametrize("Q", [0.3, 2.0])
def test_means_of_an_activation_are_those_of_a_quadrature(phi, Q):
    f, slope = curves(phi)
    wanted = {
        "mean": f,
        "second": lambda a: f(a) ** 2,
        "gain": lambda a: slope(a) ** 2,
        "tilt": lambda a: a * slope(a),
        "overlap": lambda a: a * f(a) * slope(a),
        "stretch": lambda a: a**2 * slope(a) ** 2,
    }
    letter = sp.Symbol("Q", positive=True)
    for name, function in wanted.items():
        kernel = mf.kernel(getattr(phi, name)(letter))
        found = kernel(**dict.fromkeys(kernel.arguments, Q))
        assert float(found) == pytest.approx(float(quadrature(function, Q)), rel=1e-10, abs=1e-12), name
        if name == "second":
            assert float(kernel(Q=1.1 * Q)) != pytest.approx(float(found), rel=1e-5), "the control"


@every_activation
@pytest.mark.parametrize("c", [0.6, -0.3, 0.999])
def test_the_pair_kernel_of_an_activation_is_that_of_a_quadrature(phi, c):
    """And its derivatives are the kernels of the slopes (Price), by differences."""
    Q, R, P = *sp.symbols("Q R", positive=True), sp.Symbol("P", real=True)
    f, at = sp.lambdify(z, phi.phi(z), ["scipy", "numpy"]), {"Q": 0.7, "R": 1.9, "P": c * math.sqrt(0.7 * 1.9)}
    # Midpoints of a fine grid in polar coordinates: kinks cost its square, and nothing here is shared with the package.
    r, angle = (np.arange(1500) + 0.5) * 10 / 1500, (np.arange(3000) + 0.5) * 2 * math.pi / 3000
    x, y = r[:, None] * np.cos(angle), r[:, None] * np.sin(angle)
    a, b = math.sqrt(0.7) * x, math.sqrt(1.9) * (c * x + math.sqrt(1 - c * c) * y)
    wanted = float((f(a) * f(b) * (r * np.exp(-(r**2) / 2))[:, None]).sum() * 10 / 1500 / 3000)
    expr = phi.product(Q, R, P)
    kernel = mf.kernel(expr, grad=("Q", "R", "P"))
    found, slopes = kernel(**at)
    assert float(found) == pytest.approx(wanted, rel=2e-5, abs=2e-6)
    for name, slope in slopes.items():
        h = 1e-6
        ends = [float(mf.kernel(expr)(**{**at, name: at[name] * (1 + sign * h)})) for sign in (1, -1)]
        assert float(slope) == pytest.approx((ends[0] - ends[1]) / (2 * h * at[name]), rel=1e-5, abs=1e-7), name
    tensors = {name: torch.tensor(x, dtype=torch.float64, requires_grad=True) for name, x in at.items()}
    value = mf.kernel(expr, backend="torch")(**tensors)
    value.backward()
    assert float(value.detach()) == pytest.approx(float(found), rel=1e-12)
    for name, tensor in tensors.items():
        assert float(tensor.grad) == pytest.approx(float(slopes[name]), rel=1e-10), name


def test_the_laws_can_fail():
    """The control: a tape with one slope wrong breaks adjointness and the derivative."""
    trace = next(sampled(mf.Net(BLOCKS["vanilla"])).traces(columns(6)))
    assert isinstance(trace.tape, ForwardTape)
    t, c = columns(3, 6, 1, 1), columns(3, 4, 1, 1, seed=1)
    right = (t * trace.pull(c)).sum()
    trace.tape.kept[1].neg_()
    assert abs((trace.push(t) * c).sum() - right) > 1e-3 * abs(right)


@every_block
def test_fluctuations_of_sampled_networks(block):
    """E Q_L² at N = 8, through E (|f|²/K)² = E Q_L² (1 + 2/K), against F1: exact, in 4.5 standard errors (7e-6 of
    seeds)."""
    net, N, nets, K = mf.Net(block), 8, 20_000, 6
    if why := F1.silent(net):
        with pytest.raises(mf.errors.DeclarationError, match=r"net\.exact is False"):
            mf.stream_fluctuation(net)
        assert "not exact at finite width" in why
        return
    ensemble = mf.simulate.sample(
        net, N=N, L=2, d=3, K=K, nets=nets, generator=torch.Generator().manual_seed(2), dtype=torch.float32, **SIGMA
    )
    values = (ensemble.forward(torch.ones(3)).double() ** 2).mean(1) ** 2 / (1 + 2 / K)
    predicted = mf.kernel(mf.stream_fluctuation(net))(N=N, L=2, x_sq=1, **SIGMA)
    allowance = 4.5 * float(values.std()) / math.sqrt(nets)
    assert abs(float(values.mean()) - predicted) < allowance
    certain = mf.kernel(moments(net).Q)(L=2, x_sq=1, **SIGMA) ** 2
    assert abs(float(values.mean()) - certain) > allowance  # the control: a stream that does not fluctuate


@every_block
def test_perturbations_of_sampled_jacobians(block):
    """Var (J J^T)_ij of sampled Jacobians against F2's factors: off-diagonal and diagonal, up to 4.5 standard errors
    and O(1/N²)."""
    net, N, nets, d, K, L = mf.Net(block), 192, 250, 512, 12, 2
    if F2.silent(net):
        with pytest.raises(mf.errors.DeclarationError, match=r"net\.exact is False|drops coordinates"):
            mf.jacobian_norm(net)
        return
    ensemble = mf.simulate.sample(
        net, N=N, L=L, d=d, K=K, nets=nets, generator=torch.Generator().manual_seed(4), dtype=torch.float32, **SIGMA
    )
    J = ensemble.jacobian(columns(d).to(torch.float32)).double()
    gram = J @ J.mT / float(omega(net).subs({mf.symbols.sigma_w: SIGMA["sigma_w"]})) ** L
    diagonal = gram.diagonal(dim1=1, dim2=2)
    off = ((gram**2).sum((1, 2)) - (diagonal**2).sum(1)) / (K * (K - 1))
    diag = ((diagonal - 1) ** 2).mean(1)
    factor = perturb(block)
    for values, of_block, of_matrix in ((off, factor.off, 1), (diag, factor.diag, 2)):
        first = (of_matrix + L * float(of_block.subs({mf.symbols.sigma_w: SIGMA["sigma_w"]}))) / N
        predicted = of_matrix / d + first
        # The products of the factors' variances are of second order.
        allowance = 4.5 * float(values.std()) / math.sqrt(nets) + first * (first + 2 / d)
        assert abs(float(values.mean()) - predicted) < allowance
        one_block = float(of_block.subs({mf.symbols.sigma_w: SIGMA["sigma_w"]})) / N
        assert abs(float(values.mean()) - (predicted - one_block)) > allowance  # the control: one block less


@every_block
def test_shares_and_capacity_of_every_block(block):
    """The Euler shares are those of the sampled Jacobian's variance: at most one, and all matrices together scale ω by
    their sum."""
    net, h = mf.Net(block), 1e-5
    if grows_alike(net):
        shares = [float(part.subs(mf.symbols.sigma_w, SIGMA["sigma_w"])) for part in mf.share(net)]
        assert all(0 < part <= 1 for part in shares)
        log = sp.log(omega(net)).subs(mf.symbols.sigma_w, sp.Symbol("w"))
        numeric = sum(sign * float(log.subs("w", SIGMA["sigma_w"] * math.exp(sign * h))) for sign in (1, -1)) / (4 * h)
        assert sum(shares) == pytest.approx(numeric, rel=1e-6)
    # C = |d f|^2 along the weights: at least the square of (d/dr) of the mean square over four, by Cauchy and Schwarz.
    point = {**SIGMA, "L": 3, "K": 1, "x_sq": 1.0}
    C, Q = mf.kernel(mf.capacity(net)), mf.kernel(moments(net).Q)
    up, down = (float(Q(**{**point, "sigma_w": SIGMA["sigma_w"] * (1 + s)})) for s in (h, -h))
    least = ((up - down) / (4 * h)) ** 2 / float(Q(**point))
    assert float(C(**point)) >= least * (1 - 1e-9)
