"""Norms in the stream: networks written in plain torch, differentiated by autograd, against what is derived."""

import math

import pytest
import sympy as sp
import torch

import advmf as mf
from advmf.errors import DeclarationError
from advmf.theory.propagation import moments

D, N, NETS = 24, 200, 150
SIGMA_W, SIGMA_B = 1.3, 0.4


def rms(x):
    return x / x.square().mean(-1, keepdim=True).sqrt()


def layer(x):
    x = x - x.mean(-1, keepdim=True)
    return x / x.square().mean(-1, keepdim=True).sqrt()


def pre_norm(x, layers):
    for W, b, _ in layers:
        x = x + torch.relu(rms(x)) @ W.T + b
    return x


def post_norm(x, layers):
    for W, b, V in layers:
        x = rms(x + torch.relu(x @ W.T + b) @ V.T)
    return x


def layer_norm(x, layers):
    """A stream with a mean, which the norm takes off."""
    for W, b, _ in layers:
        x = layer(x + torch.nn.functional.softplus(x @ W.T + b))
    return x


CASES = {
    "pre_norm": (pre_norm, mf.pre_norm(1, 0)),
    "post_norm": (post_norm, mf.post_norm(1, 0)),
    "layer_norm": (
        layer_norm,
        mf.Net(mf.Serial(mf.Residual(mf.Dense(), mf.Activation("softplus")), mf.LayerNorm())),
    ),
}
every_case = pytest.mark.parametrize(("plain", "net"), CASES.values(), ids=CASES)


def inputs():
    """Two inputs of different lengths, with |x|²/d and their correlation."""
    x = torch.randn(2, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x = x / x.norm(dim=1, keepdim=True) * torch.tensor([[1.0], [0.8]], dtype=torch.float64) * math.sqrt(D)
    x[1] += 0.4 * x[0]
    first, second = x.square().mean(1).tolist()
    return x, first, second, float(torch.nn.functional.cosine_similarity(x[:1], x[1:]))


def sampled(plain, measure, L=2, outputs=24):
    """``measure(network, weights)`` of networks of explicit weights, as a row for each."""
    generator, rows = torch.Generator().manual_seed(2), []

    def gaussian(*shape, std):
        return torch.randn(*shape, dtype=torch.float64, generator=generator) * std

    for _ in range(NETS):
        P_in, P_out = gaussian(N, D, std=D**-0.5), gaussian(outputs, N, std=N**-0.5)
        layers = [
            (gaussian(N, N, std=SIGMA_W / math.sqrt(N)), gaussian(N, std=SIGMA_B), gaussian(N, N, std=N**-0.5))
            for _ in range(L)
        ]
        for W, _, _ in layers:
            W.requires_grad_(True)
        rows.append(measure(lambda x, l=layers, i=P_in, o=P_out: plain(x @ i.T, l) @ o.T, [W for W, _, _ in layers]))
    return torch.tensor(rows)


def near(found, predicted):
    """Within 4.9 standard errors and 4 % of finite width; and 30 % off would not be."""
    mean, error = float(found.mean()), float(found.std()) / math.sqrt(len(found))
    allowance = 4.9 * error + 0.04 * abs(predicted)
    assert abs(mean - predicted) < allowance, (mean, error, predicted)
    assert allowance < 0.3 * abs(predicted), "the control: a departure of 30 % would show"


def at(expr, **values):
    kernel = mf.kernel(expr)
    values = {"sigma_w": SIGMA_W, "sigma_b": SIGMA_B, **values}
    return float(kernel(**{name: values[name] for name in kernel.arguments}))


@every_case
def test_moments_jacobian_and_kernel(plain, net):
    x, first, second, c = inputs()

    def measure(network, _):
        f = network(x)
        J = torch.func.jacrev(lambda one: network(one[None])[0])(x[0])
        along = J @ x[0]
        across = J - along[:, None] * x[0] / x[0].square().sum()
        products = (f[0] ** 2, f[0] * f[1], along**2, (f[0] - along) ** 2)
        return [
            *(float(each.detach().mean()) for each in products),
            float(across.detach().square().sum()) / (len(J) * (D - 1)),
        ]

    found, state = sampled(plain, measure), moments(net)
    point = {"L": 2, "x_sq": first, "y_sq": second, "c": c, "d": D}
    wanted = (state.Q, mf.nngp(net), state.along, state.A, state.j / mf.symbols.d)
    for i, expr in enumerate(wanted):
        near(found[:, i], at(expr, **point))


@every_case
def test_the_capacity_and_the_tangent_kernel(plain, net):
    x, first, second, c = inputs()

    def measure(network, weights):
        f = network(x)
        slopes = [torch.autograd.grad(f[i, 0], weights, retain_graph=True) for i in (0, 1)]
        kernel = sum(float((a * b).sum()) for a, b in zip(*slopes))
        own = sum(float((a * W.detach()).sum()) for a, W in zip(slopes[0], weights)) ** 2
        return [kernel / N, own]

    found = sampled(plain, measure)
    point = {"L": 2, "N": 1, "K": 1, "x_sq": first, "y_sq": second, "c": c}
    near(found[:, 0], at(mf.ntk(net), **point))
    mean, error = float(found[:, 1].mean()), float(found[:, 1].std()) / math.sqrt(NETS)
    assert abs(mean - at(mf.capacity(net).rhs, **point)) < 4.9 * error, "one output: its square scatters widely"


def test_pre_norm_grows_by_the_same_amount_in_every_block_and_its_jacobian_as_a_power():
    net, L, sigma_w, sigma_b = mf.pre_norm(1, 0), mf.symbols.L, mf.symbols.sigma_w, mf.symbols.sigma_b
    state = moments(net)
    assert sp.simplify(state.Q - mf.symbols.x_sq - L * (sigma_w**2 / 2 + sigma_b**2)) == 0
    j = mf.kernel(state.j)
    size = [float(j(L=depth, x_sq=1.0, sigma_w=1.0, sigma_b=0.5)) for depth in (4000, 8000)]
    # Each block multiplies by 1 + (σ²/2)/Q_l with Q_l = l (σ²/2 + σ_b²): the exponent is σ²/(σ² + 2σ_b²).
    assert math.log2(size[1] / size[0]) == pytest.approx(1 / 1.5, abs=1e-3)
    assert float(j(L=10, x_sq=1.0, sigma_w=1.5, sigma_b=0.3)) == pytest.approx(
        math.prod(1 + 1.125 / (1 + l * 1.215) for l in range(10)), rel=1e-12
    )


def test_what_needs_a_growth_refuses_a_norm_by_name():
    for derive in (mf.omega, lambda net: mf.loss_value(net, 2, 2), mf.stream_fluctuation, mf.jacobian_norm):
        with pytest.raises(DeclarationError, match=r"there is no omega|net\.exact is False"):
            derive(mf.pre_norm(1, 0))
    assert mf.capacity(mf.post_norm(1, 0)).rhs.subs(L_IS_ZERO) == 0


L_IS_ZERO = {mf.symbols.L: 0}


def test_a_norm_in_latex_json_and_repr():
    for net in (mf.pre_norm(1, 0), CASES["layer_norm"][1]):
        text = mf.latex(net)
        assert r"\mathrm{RMSNorm}(x) = \frac{\sqrt{N}\,x}{\lVert x\rVert}" in text or r"\bar{x} = \frac{1}{N}" in text
        claim = mf.linear_form(net)[0]
        assert mf.from_json(mf.to_json(claim)) == claim
        assert eval(repr(net.block), {**vars(mf.nets), **vars(sp), "z": mf.symbols.z, "sigma_w": mf.symbols.sigma_w,
                                      "sigma_b": mf.symbols.sigma_b}) == net.block  # fmt: skip
