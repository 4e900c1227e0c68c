"""Σ(x) of given images: against differences of kernels, Jacobians of plain torch, and norms of simulated matrices."""

import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import advmf as mf
from advmf.errors import ArgumentError, DeclarationError, DomainError
from advmf.experiments.image_kernel import Numbers
from advmf.experiments.image_metric import computed

RELU, TANH = mf.ReLULike(1, "1/5"), mf.Activation("tanh")
VALUES = {"sigma_w": 1.5, "sigma_b": 0.3}
IMAGE = (1, 6, 6)


def net(*blocks, head="pool"):
    return mf.Net(*(mf.Stage(block, 1) for block in blocks), image=IMAGE, head=head)


def conv(phi, **more):
    return mf.Serial(mf.Conv(**more), phi)


def residual(phi):
    return mf.Residual(mf.Conv(padding="zero"), phi, mf.Mix(), scale="1/2")


NETS = {
    "relu": net(conv(RELU), conv(RELU)),
    "erf": net(conv(mf.Erf()), conv(mf.Erf()), head="flatten"),
    "erf pooled": net(conv(mf.Erf()), residual(mf.Erf())),
    "zero and stride": net(conv(RELU, padding="zero", stride=2), conv(RELU)),
    "averaged": net(mf.Serial(conv(RELU), mf.AvgPool(2)), conv(RELU), head="flatten"),
    "residual": net(conv(RELU), residual(RELU), residual(RELU)),
    "norm": net(mf.Serial(conv(RELU), mf.Conv(), mf.RMSNorm(), RELU, mf.Dropout("1/4"))),
}


def image(seed=0):
    return np.random.default_rng(seed).normal(size=IMAGE)


@pytest.mark.parametrize("name", NETS)
def test_the_metric_is_the_mixed_derivative_of_the_kernel(name):
    """By central differences, which are right to the step; ReLU's third-order kink leaves an error of that order."""
    found = mf.image_metric(NETS[name], image(), **VALUES)
    matrix, x, step = found.dense(), image().ravel(), 1e-3
    assert found.kind == "dense" and np.linalg.eigvalsh(matrix)[0] > -1e-12
    at = [0, 5, 16, 31]
    moved = np.concatenate([x + sign * step * np.eye(36)[at] for sign in (1, -1)])
    k = mf.image_kernel(NETS[name], moved, **VALUES).reshape(2, 4, 2, 4)
    differences = (k[0, :, 0] - k[0, :, 1] - k[1, :, 0] + k[1, :, 1]) / (4 * step**2)
    assert np.abs(matrix[np.ix_(at, at)] - differences).max() < 1e-3 * matrix.diagonal().max()
    other = mf.image_metric(NETS[name], image(1), **VALUES).dense()
    assert np.abs(other[np.ix_(at, at)] - differences).max() > 3e-3 * matrix.diagonal().max(), "the control"


def test_of_one_position_it_is_the_metric_of_dense_networks():
    """Of tanh, by integrals: the part along x, and that across it. The control is their exchange."""
    at, x = {"L": 2, "sigma_w": 1.5, "sigma_b": 0.3}, np.array([1.0, -2.0, 0.5])
    found = mf.image_metric(mf.Net(mf.Serial(mf.Dense(), TANH), image=(3, 1)), x, **at).dense()
    known = mf.metric(mf.vanilla(phi="tanh"))
    across, along = (float(mf.kernel(e)(**at, x_sq=x @ x / 3)) / 3 for e in (known.across, known.along))
    part = np.outer(x, x) / (x @ x)
    np.testing.assert_allclose(found, across * (np.eye(3) - part) + along * part, rtol=1e-9, atol=1e-12)
    assert np.abs(found - along * (np.eye(3) - part) - across * part).max() > 0.01


def test_it_is_the_covariance_of_rows_of_plain_torch():
    """Two convolutions with a pooled head, 200 channels: within 4.9 standard errors, plus 3/N of the diagonal. The
    control is another image."""
    generator, N, K = torch.Generator().manual_seed(0), 200, 16
    x, found = torch.tensor(image()), []

    def normal(*shape, variance):
        return torch.randn(*shape, generator=generator, dtype=torch.float64) * math.sqrt(variance)

    for _ in range(50):
        first, last = normal(N, 1, 1, 1, variance=1), normal(N, K, variance=1 / N)
        weights = [normal(N, N, 3, 3, variance=1.5**2 / (9 * N)) for _ in range(2)]
        biases = [normal(N, 1, 1, variance=0.3**2) for _ in range(2)]

        def f(x, first=first, last=last, weights=weights, biases=biases):
            h = F.conv2d(x[None], first)
            for w, b in zip(weights, biases):
                h = F.leaky_relu(F.conv2d(F.pad(h, [1, 1, 1, 1], mode="circular"), w) + b, 0.2)
            return h.mean((2, 3))[0] @ last

        J = torch.autograd.functional.jacobian(f, x).reshape(K, -1)
        found.append((J.T @ J / K).numpy())
    mean, error = np.mean(found, 0), np.std(found, 0) / math.sqrt(len(found))
    right, wrong = (mf.image_metric(NETS["relu"], image(seed), **VALUES).dense() for seed in (0, 1))
    allowed = 4.9 * error + 3 / N * right.diagonal().max()
    assert (np.abs(mean - right) < allowed).all() and (np.abs(mean - wrong) > allowed).any()


def test_positions_that_carry_the_same_number():
    """On a constant image all positions do, so the pooled network has one gate for each channel: Σ = ω^L/d times the
    average over positions. Nearby images have nearly the same."""
    given = {"L": 3, "sigma_w": 1.5, "sigma_b": 0.3}
    pooled = mf.conv(1, 0, image=(1, 4, 4), head="pool")
    found = mf.image_metric(pooled, np.ones(16), **given).dense()
    np.testing.assert_allclose(found, np.full((16, 16), 1.125**3 / 16**2), rtol=1e-12)
    near = mf.image_metric(pooled, np.ones(16) + 1e-3 * np.random.default_rng(0).normal(size=16), **given).dense()
    assert np.abs(near - found).max() < 0.01 * found.max()
    assert np.abs(mf.image_metric(pooled, image()[:, :4, :4], **given).dense() - found).max() > 0.1 * found.max(), (
        "the control"
    )


CORRELATED = {
    "one tap": ([conv(RELU, kernel=1)], 0.0),
    "one tap of erf": ([conv(mf.Erf(), kernel=1)], 0.0),
    "before any layer": ([mf.Residual(RELU, mf.Conv()), conv(RELU)], 0.3),
    "before any layer, of erf": ([mf.Residual(mf.Erf(), mf.Conv()), conv(mf.Erf())], 0.3),
}


@pytest.mark.parametrize("name", CORRELATED)
@pytest.mark.parametrize("sizes", [np.array([0.4, 1.1, 2.0, 0.7]), np.array([0.4, -1.1, 2.0, -0.7])], ids=["+", "-"])
def test_positions_that_carry_multiples_of_one_number(name, sizes):
    """The stream of an image of one channel is the same vector at all positions, times the pixel. The control takes all
    pixels for equal ones of the same mean square."""
    blocks, sigma_b = CORRELATED[name]
    given, pooled = (
        {"sigma_w": 1.5, "sigma_b": sigma_b},
        mf.Net(*(mf.Stage(block, 1) for block in blocks), image=(1, 4), head="pool"),
    )
    found, step = mf.image_metric(pooled, sizes, **given).dense(), 1e-4
    moved = np.concatenate([sizes + sign * step * np.eye(4) for sign in (1, -1)])
    k = mf.image_kernel(pooled, moved, **given).reshape(2, 4, 2, 4)
    differences = (k[0, :, 0] - k[0, :, 1] - k[1, :, 0] + k[1, :, 1]) / (4 * step**2)
    assert np.abs(found - differences).max() < 1e-4 * differences.max()
    even = mf.image_metric(pooled, np.full(4, np.sqrt((sizes**2).mean())), **given).dense()
    if (sizes < 0).any() or "erf" in name:
        assert np.abs(even - differences).max() > 1e-2 * differences.max(), "the control"


@pytest.mark.parametrize("phi", [mf.ReLULike(1, 0), mf.Erf()], ids=repr)
def test_nearly_constant_images_have_nearly_the_metric_of_a_constant_one(phi):
    """The distance falls with that of the images, down to where positions are told apart by rounding."""
    pooled, noise = mf.Net(mf.Serial(mf.Conv(), phi), image=(1, 4, 4), head="pool"), image()[:, :4, :4]
    even, *others = (
        mf.image_metric(pooled, np.ones((1, 4, 4)) + e * noise, L=2, **VALUES).dense() for e in (0, 1e-3, 1e-5, 1e-7)
    )
    away = [np.abs(other - even).max() / even.max() for other in others]
    assert away[0] < 0.05 and away[1] < 0.02 * away[0] and away[2] < 0.02 * away[1], away


def test_structure_is_kept():
    """Σ is no matrix where a profile will do, and the profile is the one of the dense way."""
    flat, zero = mf.conv(1, 0, image=IMAGE), mf.conv(1, 0, image=IMAGE, padding="zero")
    kinds = [mf.image_metric(each, image(), L=2, **VALUES) for each in (flat, zero)]
    assert [each.kind for each in kinds] == ["identity", "profile"] and all(each.matrix is None for each in kinds)
    whole = computed(zero, image().reshape(1, 36), Numbers({"L": 2.0, **VALUES}))
    np.testing.assert_allclose(whole.dense(), kinds[1].dense(), atol=1e-15)
    assert kinds[0].beta(2, 2, 5) == pytest.approx(
        float(mf.kernel(mf.loss_bound(flat, 2, 2))(L=2, sigma_w=1.5, d=36, K=5, eps=1)), rel=1e-10
    )


@pytest.mark.parametrize(("p", "q"), [(1, 1), (1.5, 2), (2, 2), (3, 2), ("inf", 2), ("inf", "inf")])
def test_the_bound_holds_of_matrices(p, q):
    """The bound is above the simulated mean, and less than twice that."""
    for each in (NETS["relu"], NETS["erf"]):
        found = mf.image_metric(each, image(), **VALUES)
        mean, error = found.sampled(p, q, 4, samples=150)
        assert mean - 4 * error < found.beta(p, q, 4) < 2 * mean


def test_attacks_on_small_balls_of_a_digit_have_its_norm():
    """Mean attacked loss over ε at ε = 1e-3, N = 96, over the norm of matrices with rows N(0, Σ(x)): within 10 %, which
    is 3.5 standard errors. The bound for all images is five times as large."""
    pooled, x = mf.conv(1, 0, head="pool"), mf.simulate.load("digits").scaled(1.0).x[3]
    at = {"sigma_w": 2.0, "sigma_b": 0.3}
    networks = mf.simulate.sample(
        pooled, N=96, L=2, d=64, K=4, nets=150, generator=torch.Generator().manual_seed(0), keep=False, **at
    )
    attacked = mf.simulate.attack(networks, torch.tensor(x), eps=1e-3, p=2, q=2, directions=1, steps=5).value.double()
    found = mf.image_metric(pooled, x, L=2, **at)
    mean, _ = found.sampled(2, 2, 4, samples=600)
    assert abs(float(attacked.mean()) / 1e-3 / mean - 1) < 0.1
    assert mean < found.beta(2, 2, 4) < 1.5 * mean
    assert 4 * mean < float(mf.kernel(mf.loss_bound(pooled, 2, 2))(L=2, sigma_w=2.0, d=64, K=4, eps=1.0))


REFUSED = [
    (lambda: mf.image_metric(mf.vanilla(1, 0), np.ones(3)), ArgumentError, "takes a Net on images"),
    (lambda: mf.image_metric(NETS["relu"], np.ones((2, *IMAGE)), **VALUES), ArgumentError, "takes one image; got 2"),
    (lambda: mf.image_metric(NETS["relu"], np.ones(5), **VALUES), ArgumentError, "must have images of shape"),
    (
        lambda: mf.image_metric(NETS["relu"], np.zeros(36), sigma_w=1.5, sigma_b=0.0),
        DomainError,
        "stream is zero at a position",
    ),
    (
        lambda: mf.image_metric(net(conv(RELU), mf.Residual(mf.Conv(), RELU)), image(), **VALUES),
        DeclarationError,
        "carries a mean",
    ),
    (lambda: mf.image_metric(net(conv(mf.Activation("hard_tanh"))), image(), **VALUES), DeclarationError, "has kinks"),
    (lambda: mf.image_metric(NETS["relu"], image(), **VALUES).beta(0.5, 2, 3), DomainError, "p"),
    (lambda: mf.image_metric(NETS["relu"], image(), **VALUES).beta(2, 2, 0), DomainError, "K"),
    (lambda: mf.image_metric(NETS["relu"], image(), **VALUES).sampled(2, 2, 3, samples=1), DomainError, "samples"),
]


@pytest.mark.parametrize(("ask", "error", "message"), REFUSED)
def test_what_is_not_known_is_refused_by_name(ask, error, message):
    with pytest.raises(error, match=re.escape(message)):
        ask()


def test_more_than_the_machine_has_is_refused(monkeypatch):
    monkeypatch.setattr("advmf.experiments.image_metric.machine_memory", lambda: 10**4)
    with pytest.raises(mf.errors.MemoryBudgetError, match="The metric of an image of 36 numbers at 36 positions"):
        mf.image_metric(NETS["relu"], image(), **VALUES)
