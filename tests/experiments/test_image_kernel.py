"""Kernels of networks on images: against plain torch, which shares nothing with them, and against what is known of
networks without images."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import advmf as mf
from advmf.errors import ArgumentError, DeclarationError, DomainError

RELU, TANH = mf.ReLULike(1, 0), mf.Activation("tanh")
VALUES = {"sigma_w": 1.3, "sigma_b": 0.4}
IMAGE = (2, 6, 6)


def images(count=2, image=IMAGE, seed=0):
    x = np.random.default_rng(seed).normal(size=(count, *image))
    return x / np.sqrt((x**2).mean(axis=(1, 2, 3), keepdims=True))


def wide(weights, h, padding="circular", stride=1):
    """A convolution of every network in one call."""
    if padding != "valid":
        h = F.pad(h, [1, 1, 1, 1], mode="circular" if padding == "circular" else "constant")
    return F.conv2d(h, weights, stride=stride)


def sampled(phi, padding, stride, pool, averaged=False, nets=300, N=96, K=40):
    """The mean and the standard error of f f' and of Σ_W ⟨∂f/∂W, ∂f'/∂W⟩/N for two images, from plain torch with
    autograd: two convolutions, the first with a stride, behind a layer at each position."""
    generator = torch.Generator().manual_seed(1)

    def normal(*shape, variance):
        return torch.randn(*shape, generator=generator) * math.sqrt(variance)

    x, found, slopes = torch.tensor(images(), dtype=torch.float32), [], []
    for _ in range(nets):
        first = normal(N, 2, 1, 1, variance=1 / 2)
        weights = [normal(N, N, 3, 3, variance=1.3**2 / (9 * N)).requires_grad_() for _ in range(2)]
        biases = [normal(N, 1, 1, variance=0.4**2) for _ in range(2)]
        h = F.conv2d(x, first)
        for step, w, b in zip((stride, 1), weights, biases):
            h = phi(wide(w, h, padding, step) + b)
            h = F.avg_pool2d(h, 2) if averaged and w is weights[0] else h
        h = h.mean((2, 3)) if pool else h.flatten(1)
        f = h @ normal(h.shape[1], K, variance=1 / h.shape[1])
        found.append((f @ f.T / K).detach().double())
        ends = [torch.autograd.grad(f[i, 0], weights, retain_graph=True) for i in range(2)]
        slopes.append(torch.tensor([[float(sum((a * b).sum() for a, b in zip(p, q))) / N for q in ends] for p in ends]))
    return [(torch.stack(v).mean(0).numpy(), torch.stack(v).std(0).numpy() / math.sqrt(nets)) for v in (found, slopes)]


def declared(phi, padding, stride, pool, averaged=False):
    first, rest = (mf.Serial(mf.Conv(3, padding, s), phi) for s in (stride, 1))
    first = mf.Serial(first, mf.AvgPool(2)) if averaged else first
    return mf.Net(mf.Stage(first, 1), mf.Stage(rest, 1), image=IMAGE, head="pool" if pool else "flatten")


@pytest.mark.parametrize(
    ("phi", "function", "given"),
    [
        (RELU, torch.relu, ("circular", 1, False)),
        (RELU, torch.relu, ("zero", 2, True)),
        (TANH, torch.tanh, ("zero", 1, False)),
        (TANH, torch.tanh, ("circular", 2, True)),
        (RELU, torch.relu, ("zero", 1, False, True)),
        (TANH, torch.tanh, ("valid", 1, False)),
    ],
)
def test_kernels_are_those_of_plain_torch(phi, function, given):
    """In 4.9 standard errors (1e-6 of seeds), plus 2/N of the kernel, for both are limits."""
    net, x = declared(phi, *given), images()
    for kind, (mean, error) in zip(("nngp", "ntk"), sampled(function, *given)):
        predicted = mf.image_kernel(net, x, kind=kind, **VALUES)
        allowance = 4.9 * error + 2 / 96 * np.abs(predicted)
        assert (np.abs(mean - predicted) < allowance).all(), (kind, mean, predicted, error)
        off = mf.image_kernel(net, x, kind=kind, sigma_w=1.6, sigma_b=0.4)
        assert (np.abs(mean - off) > allowance).any(), "the control"


ORACLE = json.loads((Path(__file__).parent / "neural_tangents.json").read_text())


@pytest.mark.parametrize("given", ORACLE["kernels"], ids=lambda given: "-".join(map(str, list(given.values())[:4])))
def test_kernels_are_those_of_neural_tangents(given):
    """The numbers are by another package (``paper_checks/neural_tangents_kernels.py`` wrote them). The control is the
    other padding."""
    phi = RELU if given["phi"] == "relu" else mf.Erf()
    x, at = np.array(ORACLE["images"]), {"L": 2, "sigma_w": ORACLE["sigma_w"], "sigma_b": ORACLE["sigma_b"]}

    def ours(padding):
        conv = mf.Conv(padding=padding)
        block = mf.Residual(phi, conv) if given["shortcut"] else mf.Serial(conv, phi)
        return mf.image_kernel(mf.Net(block, image=x.shape[1:], head=given["head"]), x, **at)

    wanted = np.array(given["nngp"])
    np.testing.assert_allclose(ours(given["padding"]), wanted, rtol=1e-12)
    assert np.abs(ours("zero" if given["padding"] == "circular" else "circular") - wanted).max() > 1e-3 * wanted.max()


@pytest.mark.parametrize("name", ["vanilla", "residual", "plain_residual", "pre_norm", "post_norm"])
def test_of_one_position_they_are_those_without_images(name):
    block = mf.PRESETS[name](1, "1/5").block
    x, y = np.random.default_rng(2).normal(size=(2, 6))
    x_sq, y_sq = x @ x / 6, y @ y / 6
    at = {"c": x @ y / 6 / math.sqrt(x_sq * y_sq), "x_sq": x_sq, "y_sq": y_sq, "L": 3, **VALUES}
    for head in ("flatten", "pool"):
        net = mf.Net(block, image=(6, 1), head=head)
        for kind, known, more in (("nngp", mf.nngp, {}), ("ntk", mf.ntk, {"N": 1})):
            wanted = mf.kernel(known(mf.Net(block)))(**at, **more)
            assert mf.image_kernel(net, x, y, kind=kind, L=3, **VALUES) == pytest.approx(wanted, rel=1e-12)


def test_dropout_and_layer_norm_act_at_each_position():
    block = mf.Serial(mf.Residual(mf.Dense(), mf.Activation("gelu"), mf.Dropout("1/4"), mf.Mix()), mf.LayerNorm())
    x, y = np.random.default_rng(3).normal(size=(2, 6))
    x_sq, y_sq = x @ x / 6, y @ y / 6
    at = {"c": x @ y / 6 / math.sqrt(x_sq * y_sq), "x_sq": x_sq, "y_sq": y_sq, "L": 2, **VALUES}
    wanted = mf.kernel(mf.nngp(mf.Net(block)))(**at)
    assert mf.image_kernel(mf.Net(block, image=(6, 1)), x, y, L=2, **VALUES) == pytest.approx(wanted, rel=1e-12)


def test_a_shifted_image_is_the_same_to_a_pooled_network_and_another_to_a_flat_one():
    x = images(1)
    shifted = np.roll(x, (1, 2), axis=(2, 3))
    flat, pooled = (
        mf.image_kernel(mf.conv(1, 0, image=IMAGE, head=head), x, np.concatenate([x, shifted]), L=2, **VALUES)[0]
        for head in ("flatten", "pool")
    )
    assert pooled[0] == pytest.approx(pooled[1], rel=1e-12) and abs(flat[0] - flat[1]) > 0.1 * flat[0]
    assert pooled[0] < flat[0], "an average over positions is smaller"


def test_positions_of_zeros_have_the_value_at_zero():
    """Black pixels, far from all others and without biases, have no variance."""
    x = np.zeros((2, 1, 9))
    x[0, 0, 0], x[1, 0, 1] = 3.0, 2.0
    at = {"L": 1, "sigma_w": 1.3, "sigma_b": 0.0}
    for phi in (RELU, TANH, mf.Activation("softplus")):
        net = mf.Net(mf.Serial(mf.Conv(), phi), image=(1, 9))
        found = mf.image_kernel(net, x, **at)
        near = mf.image_kernel(net, x, L=1, sigma_w=1.3, sigma_b=1e-7)
        np.testing.assert_allclose(found, near, rtol=1e-5, atol=1e-12)


def test_an_average_over_all_positions_is_the_head_pool():
    block, x = mf.Serial(mf.Conv(padding="zero"), TANH), images()
    averaged = mf.Net(mf.Stage(block, 1), mf.Stage(mf.Serial(block, mf.AvgPool(6)), 1), image=IMAGE)
    pooled = mf.Net(mf.Stage(block, 2), image=IMAGE, head="pool")
    for kind in ("nngp", "ntk"):
        found, wanted = (mf.image_kernel(net, x[0], x, kind=kind, **VALUES) for net in (averaged, pooled))
        np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_shapes_follow_the_images():
    net, x = mf.conv(1, 0, image=IMAGE), images(3)
    at = {"L": 1, **VALUES}
    full = mf.image_kernel(net, x, x[:2], **at)
    assert full.shape == (3, 2)
    assert mf.image_kernel(net, x[0], x[1], **at) == pytest.approx(full[0, 1], rel=1e-14)
    np.testing.assert_allclose(mf.image_kernel(net, x.reshape(3, -1), x[1], **at), full[:, 1], rtol=1e-14)
    np.testing.assert_allclose(mf.image_kernel(net, x, **at), mf.image_kernel(net, x, **at).T, rtol=1e-14)


@pytest.mark.parametrize(
    ("net", "x", "given", "error", "message"),
    [
        (mf.vanilla(1, 0), np.ones((1, 4)), {}, ArgumentError, "takes a Net on images, such as advmf.conv(1, 0)"),
        (
            mf.conv(1, 0),
            np.ones((2, 63)),
            {},
            ArgumentError,
            "of shape (1, 8, 8), or of 64 numbers, one or several; got",
        ),
        (mf.conv(1, 0), np.full(64, np.nan), {}, DomainError, "x holds NaN or infinite values"),
        (mf.conv(1, 0), 1j, {}, ArgumentError, "x must be an array of real numbers; got 1j (complex)"),
        (mf.conv(1, 0), np.ones(64), {"kind": "ntp"}, ArgumentError, "ntk"),
        (mf.conv(1, 0), np.ones(64), {"L": None}, ArgumentError, "needs the depth: L"),
        (mf.conv(1, 0), np.ones(64), {"sigma_b": None}, ArgumentError, "sigma_b must be a number"),
        (mf.conv(1, 0), np.ones(64), {"eps_w": 1.0}, ArgumentError, "eps_w, which this net does not use"),
        (mf.conv(1, 0, image=(1, 900, 900), head="pool"), np.ones(810_000), {}, mf.errors.MemoryBudgetError, "bytes"),
        (
            mf.Net(mf.Residual(mf.RMSNorm(), RELU, mf.Conv()), image=(1, 9)),
            np.eye(1, 9),
            {},
            DomainError,
            "is zero at a position of the images",
        ),
    ],
)
def test_bad_requests(net, x, given, error, message):
    with pytest.raises(error, match=re.escape(message)):
        mf.image_kernel(net, x, **{"L": 2, **VALUES, **given})


def test_a_block_without_a_rule_is_refused_by_name():
    class Odd(mf.nets.Block):
        def apply(self, algebra, state):
            return algebra.other(self, state)

    with pytest.raises(DeclarationError, match="Odd has no rule"):
        mf.image_kernel(mf.Net(mf.Serial(mf.Conv(), Odd()), image=(1, 9)), np.ones(9), L=1, **VALUES)
