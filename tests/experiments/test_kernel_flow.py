"""Training in the kernel regime, against explicit linearised networks in plain torch, and against trained networks."""

import numpy as np
import pytest
import torch

import advmf as mf
from advmf.errors import ArgumentError, DataError, DomainError, MemoryBudgetError
from advmf.experiments import kernel_flow as module
from advmf.experiments.kernel_flow import Machine, linear_maximum

ERF, RELU = mf.vanilla(phi=mf.Activation("erf")), mf.vanilla(1, 0)
d, K, L = 9, 3, 2
VALUES = {"sigma_w": 1.4, "sigma_b": 0.2}


def networks(net=ERF, N=60, nets=3, **options):
    values = {"L": L, "d": d, "K": K, "keep": True, "sampler": "dense", "dtype": torch.float64, **VALUES}
    return mf.simulate.sample(net, N=N, nets=nets, generator=torch.Generator().manual_seed(0), **{**values, **options})


def images(count=8, skip=0):
    found = mf.simulate.load("digits").resampled(d).scaled(1.0)
    at = np.flatnonzero(found.labels < K)[skip : skip + count]
    return mf.simulate.Images("three digits", found.x[at], found.labels[at])


OPTIONS = {"loss": "both", "rate": 0.02, "steps": 10, "eps": 0.3}


def one_hot(labels):
    return np.eye(K)[labels]


def explicit(J, data, labels, loss, rate, steps, eps, weight=1.0, clock=1.0):
    """A linear model f(x) = J x in plain NumPy: its gradient steps, times the number that Θ(x, z)/⟨x, z⟩ is."""
    course = []
    for _ in range(steps + 1):
        u, s, v = np.linalg.svd(J)
        f = data @ J.T
        below = f - f.max(1, keepdims=True)
        logs = below - np.log(np.exp(below).sum(1, keepdims=True))
        squared = loss.endswith("squared")
        standard = ((f - one_hot(labels)) ** 2).sum(1) / 2 if squared else -(one_hot(labels) * logs).sum(1)
        course.append((eps * s[0], standard.mean()))
        off = f - one_hot(labels) if squared else np.exp(logs) - one_hot(labels)
        slope = np.zeros_like(J) if loss == "adversarial" else off.T @ data / len(data)
        slope += (
            {"adversarial": 1.0, "both": weight, "both-squared": weight}.get(loss, 0.0) * eps * np.outer(u[:, 0], v[0])
        )
        J = J - rate * clock * slope
    return np.array(course).T


@pytest.mark.parametrize("loss", ["adversarial", "cross-entropy", "squared", "both", "both-squared"])
def test_a_deep_linear_net_is_a_linear_model(loss):
    """Θ(x, z) = L N ω^(L - 1) ⟨x, z⟩/d exactly, so the course is that of a linear model, to rounding."""
    ensemble, data = networks(mf.Net(mf.Serial(mf.Dense(sigma_b=0), mf.ReLULike(1, 1))), sigma_w=1.4), images()
    options = {"loss": loss, "rate": 0.003, "steps": 8, "eps": 0.3, "weight": 2.0}
    flow = mf.kernel_flow(ensemble, data, **options)
    J = ensemble.jacobian(torch.as_tensor(data.x[:1]))[:, 0].numpy()
    clock = L * 60 * 1.4**2 / d
    for factor, close in ((1.0, True), (1.4**2, False)):  # the control: omega^L
        found = np.array([explicit(j, data.x, data.labels, **options, clock=factor * clock) for j in J])
        same = np.allclose(flow.adversarial, found[:, 0].T, rtol=1e-6)
        if loss != "adversarial":
            same &= np.allclose(flow.standard, found[:, 1].T, rtol=1e-6)
        assert same == close
    assert (flow.standard is None) == (loss == "adversarial")


@pytest.mark.parametrize("net", [ERF, RELU])
def test_gradients_of_the_predictor_are_those_of_differences(net):
    ensemble = networks(net)
    f = Machine(module._kernel(ensemble, 60), ensemble, 3, K)
    draw = torch.Generator().manual_seed(2)
    f.add(
        torch.randn(3, 5, d, generator=draw, dtype=torch.float64),
        0.01 * torch.randn(3, 5, K, generator=draw, dtype=torch.float64),
    )
    x, t = (torch.randn(3, 4, n, generator=draw, dtype=torch.float64) for n in (d, K))
    h, way = 1e-6, torch.randn(3, 4, d, generator=draw, dtype=torch.float64)
    slope = (f(x + h * way) - f(x - h * way)) / (2 * h)
    value, J = f.jacobian(x)
    torch.testing.assert_close(value, f(x))
    torch.testing.assert_close((J @ way[..., None])[..., 0], slope, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(f.pulled(x, lambda _: t), (t[..., None, :] @ J)[..., 0, :])


@pytest.mark.parametrize("net", [ERF, RELU])
def test_wide_networks_follow(net):
    """N = 500, cross-entropy + adversarial loss to N t = 12. Features have moved by 4 % or less, and the kernels of the
    networks scatter about that of the limit: three standard errors are allowed for it. The clock of another width is
    beyond."""
    options = {"loss": "both", "rate": 12 / 500 / 12, "steps": 12, "eps": 0.3, "log_every": 6, "attack_steps": 1}
    data, test = images(), images(12, 8)
    ensemble = networks(net, N=500, nets=4, dtype=torch.float32)
    flow = mf.kernel_flow(ensemble, data, held_out=test, **options)
    late = mf.kernel_flow(ensemble, data, N=1000, **options)
    run = mf.simulate.train(ensemble, data, batch="all", held_out=test, **options)
    for name in ("adversarial", "standard"):
        found, claimed = getattr(run, name).numpy(), getattr(flow, name)
        slack = 0.04 * claimed.mean(1) + 3 * (found - claimed).std(1, ddof=1) / len(found[0]) ** 0.5
        assert np.allclose(found[0], claimed[0], rtol=0.02)
        assert (abs((found - claimed).mean(1)) < slack).all()
    assert abs((found - late.standard).mean(1))[-1] > 1.5 * slack[-1], "the control"
    for share in ("accuracy", "robust"):
        assert abs(getattr(run, share).numpy() - getattr(flow, share)).mean(1).max() <= 0.15
    for loss in ("held_standard", "held_adversarial"):
        assert np.allclose(getattr(run, loss).mean(1), getattr(flow, loss).mean(1), rtol=0.08)


def test_a_centred_predictor_starts_at_zero():
    flow = mf.kernel_flow(networks(), images(), **OPTIONS, centred=True)
    assert flow.adversarial.shape == (11, 1)
    assert flow.standard[0, 0] == pytest.approx(np.log(K)) and flow.adversarial[0, 0] == 0
    assert flow.standard[-1, 0] < 0.9 * np.log(K) and flow.adversarial[-1, 0] > 0


def test_the_table_and_the_clock():
    flow = mf.kernel_flow(networks(), images(), **{**OPTIONS, "steps": 5}, log_every=2, held_out=images(5, 8))
    rows = flow.records()
    assert [row["step"] for row in rows] == [0, 2, 4, 5]
    assert rows[-1]["Nt"] == pytest.approx(60 * 5 * 0.02) and flow.time[-1] == pytest.approx(0.1)
    assert rows[0]["adversarial"] == pytest.approx(flow.adversarial[0].mean())
    assert 0 <= rows[-1]["robust"] <= rows[-1]["accuracy"] <= 1
    assert rows[-1]["held_standard"] == pytest.approx(flow.held_standard[-1].mean())


def test_the_losses_of_held_out_images_that_are_those_of_training_are_those_of_training():
    """The same images on both sides; the perturbations start from different last ones, so that the adversarial losses
    agree to the accuracy of the ascent."""
    options = {**OPTIONS, "loss": "both", "steps": 4}
    flow = mf.kernel_flow(networks(), images(), held_out=images(), **options)
    run = mf.simulate.train(networks(), images(), batch="all", held_out=images(), **options)
    for found in (flow, run):
        own, held = (np.asarray(getattr(found, name)) for name in ("standard", "held_standard"))
        assert np.allclose(own, held, rtol=1e-5)
        own, held = (np.asarray(getattr(found, name)) for name in ("adversarial", "held_adversarial"))
        assert np.allclose(own, held, rtol=0.01)


@pytest.mark.parametrize("loss", ["cross-entropy", "both"])
def test_a_sparse_log_is_part_of_a_dense_one(loss):
    dense, sparse = (
        mf.kernel_flow(networks(), images(), **{**OPTIONS, "loss": loss, "steps": 4}, log_every=n) for n in (1, 3)
    )
    assert sparse.step.tolist() == [0, 3, 4]
    np.testing.assert_allclose(sparse.standard, dense.standard[[0, 3, 4]], rtol=1e-12)
    assert (abs(dense.standard[1] / dense.standard[0] - 1) > 1e-3).all(), "the control: steps move it"


@pytest.mark.parametrize(("p", "q"), [(2.0, 2.0), (float("inf"), 2.0), (1.0, float("inf"))])
def test_the_linear_maximum_is_the_operator_norm(p, q):
    J = torch.randn(5, 3, 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    eta = linear_maximum(J, p, q, 200)
    found = torch.linalg.vector_norm((J @ eta[..., None])[..., 0], q, dim=1)
    assert (torch.linalg.vector_norm(eta, p, dim=1) <= 1 + 1e-12).all()
    exact = torch.stack([torch.as_tensor(mf.simulate.operator_norm(j, p, q).value) for j in J])
    assert (found <= exact * (1 + 1e-6)).all() and (found > 0.9 * exact).all()


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"loss": "hinge"}, ArgumentError, "loss must be one of"),
        ({"loss": "adversarial", "centred": True}, ArgumentError, "nothing moves"),
        ({"rate": 0.0}, DomainError, "rate must be positive"),
        ({"eps": -1.0}, DomainError, "eps must be positive"),
        ({"steps": 0}, DomainError, "steps must be at least 1"),
        ({"N": 0}, DomainError, "N must be at least 1"),
        ({"memory": 1000}, MemoryBudgetError, "Take fewer, or raise memory="),
    ],
)
def test_bad_input_is_refused_before_any_work(given, error, message, monkeypatch):
    monkeypatch.setattr(module._Run, "__call__", lambda *_: pytest.fail("work had started"))
    with pytest.raises(error, match=message):
        mf.kernel_flow(networks(), images(), **{**OPTIONS, **given})


def test_other_networks_and_images_are_refused():
    labels = images().labels
    with pytest.raises(DataError, match="has 2 classes and the networks K=3"):
        mf.kernel_flow(networks(), mf.simulate.Images("two classes", images().x, labels % 2), **OPTIONS)
    with pytest.raises(DataError, match="held_out: an image of zeros has no angle"):
        mf.kernel_flow(networks(), images(), **OPTIONS, held_out=mf.simulate.Images("dark", 0 * images().x, labels))
    with pytest.raises(ArgumentError, match="Networks of infinite width have no clock"):
        mf.kernel_flow(mf.simulate.sample(ERF, N="inf", L=L, d=d, K=K, nets=1, **VALUES), images(), **OPTIONS)
    pixels = mf.simulate.sample(mf.conv(1, 0), N=8, L=1, d=64, K=K, nets=1, keep=True, **VALUES)
    big = mf.simulate.load("digits").scaled(1.0)
    with pytest.raises(ArgumentError, match="kernel_flow takes nets without image="):
        mf.kernel_flow(pixels, mf.simulate.Images("digits", big.x[:9], np.arange(9) % K), **OPTIONS)


def test_every_image_in_each_step():
    """Training on all images does not depend on the seed, and its first gradient is the mean of those on one."""
    data, options = images(4), {"loss": "squared", "rate": 1e-3, "steps": 2}
    runs = [
        mf.simulate.train(networks(), data, batch="all", **options, generator=torch.Generator().manual_seed(s))
        for s in (0, 1)
    ]
    assert torch.equal(runs[0].standard, runs[1].standard)
    f = networks().forward(torch.as_tensor(data.x)).numpy()
    assert runs[0].standard[0].numpy() == pytest.approx(((f - one_hot(data.labels)) ** 2).sum(2).mean(1) / 2)
    with pytest.raises(ArgumentError, match='batch is a number of images, or "all"'):
        mf.simulate.train(networks(), data, batch="each", **options)
