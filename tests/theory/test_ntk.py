"""The neural tangent kernel and the decay of the adversarial loss, against closed forms and explicit networks."""

import math

import pytest
import torch

import advmf as mf
from advmf.errors import ArgumentError
from advmf.nets import PRESETS
from advmf.verify.verdict import Verdict

TWO_LAYERS = mf.Net(mf.Residual(mf.Dense(), mf.ReLULike(1, "1/5"), mf.Dense(sigma_b=0), scale="7/10"), name="two")
NETS = {
    **{name: PRESETS[name](1, "1/5") for name in ("vanilla", "residual", "plain_residual", "preactivation")},
    "two": TWO_LAYERS,
}


def explicit(net, N, nets, L, d, c, sigma_b):
    """The kernel of f_0 in explicit networks, by the factors of the gradients: (nets,)."""
    generator = torch.Generator().manual_seed(1)
    networks = mf.simulate.sample(
        net, N=N, L=L, d=d, K=1, nets=nets, sigma_w=1.2, sigma_b=sigma_b, generator=generator, dtype=torch.float64,
        sampler="dense",
    )  # fmt: skip
    x = torch.zeros(2, d, dtype=torch.float64)
    x[0, 0], x[1, 0], x[1, 1] = math.sqrt(d), c * math.sqrt(d), math.sqrt(d * (1 - c * c))
    found = []
    for chunk in networks.chunks():
        trace = chunk.trace(x.T[None, :, :, None])
        total = torch.zeros(chunk.nets, dtype=torch.float64)
        for _, delta, h in trace.gradients(torch.ones_like(trace.output)):
            (a, b), (g, k) = delta.unbind(2), h.unbind(2)
            total += (a * b).sum(1) * (g * k).sum(1)
        found.append(total)
    return torch.cat(found).numpy()


@pytest.mark.parametrize("sigma_b", [0.0, 0.5])
@pytest.mark.parametrize("name", NETS)
def test_the_kernel_is_that_of_explicit_networks(name, sigma_b):
    """At five standard errors and an allowance of 4/N for the finite width; the next depth is the control."""
    N, L, c = 256, 2, 0.3
    found = explicit(NETS[name], N, 150, L, 8, c, sigma_b) / N
    f = mf.kernel(mf.ntk(NETS[name]))
    at = {"N": 1, "c": c, "x_sq": 1, "y_sq": 1, "sigma_w": 1.2}
    if "sigma_b" in f.arguments:
        at["sigma_b"] = sigma_b
    predicted, deeper = (float(f(L=depth, **at)) for depth in (L, L + 1))
    error = 5 * found.std() / math.sqrt(len(found)) + 4 / N * predicted
    assert abs(found.mean() - predicted) < error
    assert abs(found.mean() - deeper) > error


@pytest.mark.parametrize("L", [1, 2, 7])
def test_deep_linear_networks(L):
    """Θ = L N c σ^{2(L-1)}, and the decay L N ‖t‖²‖η‖² σ^{2(L-1)}/d."""
    f = mf.kernel(mf.ntk(mf.vanilla(1, 1)))
    assert f(L=L, N=10, c=0.4, x_sq=1, y_sq=1, sigma_w=1.3, sigma_b=0) == pytest.approx(L * 4 * 1.3 ** (2 * L - 2))
    at = {"L": L, "N": 10, "x_sq": 1, "sigma_w": 1.3, "sigma_b": 0, "eps": 0.2, "d": 50, "K": 6}
    for p, q, factor in ((2, 2, 1), ("inf", 2, 50), (1, 1, 6), ("inf", "inf", 50)):
        g = mf.kernel(mf.loss_decay(mf.vanilla(1, 1), p, q))
        expected = L * 10 * factor * 0.04 / 50 * 1.3 ** (2 * L - 2)
        assert g(**at) == pytest.approx(expected, rel=1e-9)


def test_switching_units_make_the_decay_fall_as_the_radius():
    """ReLU: in proportion to eps for small balls; linear: to its square."""
    at = {"L": 3, "N": 10, "x_sq": 1, "sigma_w": 2**0.5, "sigma_b": 0, "d": 64, "K": 10}
    slopes = []
    for net in (mf.vanilla(1, 0), mf.vanilla(1, 1)):
        g = mf.kernel(mf.loss_decay(net, 2, 2))
        slopes.append(math.log2(float(g(eps=2e-3, **at)) / float(g(eps=1e-3, **at))))
    assert slopes == pytest.approx([1, 2], abs=0.01)


@pytest.mark.parametrize("name", ["vanilla", "residual"])
def test_the_decay_is_that_of_attacked_networks(name):
    """Checked at its error rates; that of a linear network with the same omega, which ignores switching, is refuted."""
    net = PRESETS[name](1, 0)
    claim = mf.loss_decay(net, "inf", 1)
    at = {"L": 2, "d": 36, "K": 4, "sigma_w": 2**0.5 if name == "vanilla" else 1.0, "sigma_b": 0.0, "eps": 0.1}
    report, mutant = mf.check_all(
        [claim, claim.scaled("1/3")],
        at,
        widths=(64, 256, 1024, 4096),
        nets=(4000, 4000, 1500, 400),
        directions=1,
        steps=2,
    )
    assert report.verdict is Verdict.SUPPORTED, str(report)
    assert mutant.verdict is Verdict.REFUTED


def test_other_exponents_are_refused():
    with pytest.raises(ArgumentError, match="p, q in 1, 2 and oo"):
        mf.loss_decay(mf.vanilla(), 3, 2)
    with pytest.raises(ArgumentError, match="trained matrix"):
        mf.ntk(mf.Net(mf.Serial(mf.Mix(), mf.ReLULike(1, 0))))
