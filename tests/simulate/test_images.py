"""Networks on images against plain torch: F.conv1d and F.conv2d with autograd, which share nothing with the package but
the weights that were drawn."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import advmf as mf
from advmf.errors import ArgumentError
from advmf.nets import Windows
from advmf.simulate.dense import DenseMatrix
from advmf.simulate.networks import layers
from advmf.simulate.positions import Patches

RELU, LEAKY = mf.ReLULike(1, 0), mf.ReLULike(1, 0.2)
VALUES = {"sigma_w": 1.3, "sigma_b": 0.4}


def strided(padding, head="flatten"):
    """Two channels of 6 x 4 positions; a strided convolution, and two blocks with a shortcut."""
    first = mf.Serial(mf.Conv(3, padding, 2), RELU)
    rest = mf.Residual(mf.Conv(1, padding), LEAKY, mf.Mix(), scale=0.5)
    return mf.Net(mf.Stage(first, 1), mf.Stage(rest, 2), image=(2, 6, 4), head=head)


NETS = {
    "circular": mf.conv(1, 0, image=(2, 5, 4)),
    "zero": mf.Net(mf.Serial(mf.Conv(padding="zero"), LEAKY), image=(2, 5, 4)),
    "five taps": mf.Net(mf.Serial(mf.Conv(5), mf.Activation("tanh")), image=(1, 6, 7)),
    "one axis": mf.conv(1, 0.2, image=(3, 7)),
    "pooled": mf.conv(1, 0, image=(2, 5, 4), head="pool"),
    "averaged": mf.Net(
        mf.Stage(mf.Serial(mf.Conv(padding="zero"), LEAKY, mf.AvgPool(2)), 1),
        mf.Stage(mf.Serial(mf.Conv(), RELU), 1),
        image=(2, 6, 8),
        head="pool",
    ),
    "averaged, one axis": mf.Net(mf.Serial(mf.Conv(), RELU, mf.AvgPool(1)), image=(2, 5)),
    "strided": strided("circular"),
    "even taps, a stride that leaves a rest": mf.Net(mf.Stage(mf.Serial(mf.Conv(4, 1, 2), LEAKY), 2), image=(2, 7, 5)),
    "unpadded, then dense": mf.Net(
        mf.Stage(mf.Serial(mf.Conv(3, "valid"), LEAKY), 1, 2),
        mf.Stage(mf.Serial(mf.Conv(4, "valid", 4), RELU), 1, "3/2"),
        mf.Stage(mf.Residual(mf.Dense(), RELU, mf.Mix(), scale=0.5), 1, "3/2"),
        image=(2, 6, 6),
    ),
    "unpadded, one axis": mf.Net(mf.Stage(mf.Serial(mf.Conv(2, "valid", 2), RELU), 1), image=(3, 6)),
    "strided, zeros, pooled": strided("zero", "pool"),
}
every_net = pytest.mark.parametrize("net", NETS.values(), ids=NETS)


def sampled(net, nets=3, **given):
    sizes = {"N": 6, "L": None if net.depth.is_Integer else 2, "d": net.inputs, "K": 4, "nets": nets}
    options = {"dtype": torch.float64, "generator": torch.Generator().manual_seed(3), **sizes, **VALUES, **given}
    return mf.simulate.sample(net, **options)


def plain(net, networks, i):
    """Network i as a function of one image, in plain torch."""
    weights = iter([(layer.weight.values[i], layer.bias) for layer in layers(networks.map)])
    axes = len(net.image) - 1
    convolve = F.conv1d if axes == 1 else F.conv2d

    def apply(block, h):
        match block:
            case mf.nets.Serial(blocks):
                for each in blocks:
                    h = apply(each, h)
                return h
            case mf.nets.Residual():
                return h + float(block.scale) * apply(block.branch, h)
            case mf.nets.GaussianLayer():
                w, b = next(weights)
                k = block.kernel if isinstance(block, mf.Conv) else 1
                w = w.unflatten(1, (h.shape[1], *[k] * axes))
                padding = getattr(block, "padding", "zero")
                around = {"circular": k // 2, "zero": k // 2, "valid": 0}.get(padding, padding)
                h = F.pad(h, [around] * 2 * axes, mode="circular" if padding == "circular" else "constant")
                return convolve(h, w, None if b is None else b[i], stride=getattr(block, "stride", 1))
            case mf.AvgPool():
                return (F.avg_pool1d if axes == 1 else F.avg_pool2d)(h, block.size)
            case mf.ReLULike():
                return torch.where(h >= 0, float(block.u) * h, float(block.v) * h)
            case _:
                return torch.tanh(h)

    def f(x):
        nonlocal weights
        weights = iter([(layer.weight.values[i], layer.bias) for layer in layers(networks.map)])
        w, _ = next(weights)
        h = convolve(x.reshape(1, *net.image), w.unflatten(1, (net.image[0], *[1] * axes)))
        for run in net.runs:
            for _ in range(2 if run.copies == mf.symbols.L else int(run.copies)):
                h = apply(run.block, h)
        w, _ = next(weights)
        return w @ (h.flatten() if net.head == "flatten" else h.flatten(2).mean(2)[0])

    return f


def columns(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@every_net
def test_networks_are_those_of_plain_torch(net):
    """Outputs, Jacobians, differences and gradients of the weights."""
    ensemble, x = sampled(net), columns(net.inputs)
    (networks,) = ensemble.chunks()
    eta = 0.3 * columns(3, net.inputs, 1, 1, seed=4)
    trace = networks.trace(ensemble.inputs(x))
    moved, J = trace.shift(eta).output[:, :, 0, 0], ensemble.jacobian(x)
    cotangent = columns(3, 4, 1, 1, seed=5)
    found = {id(weight): delta @ v.mT for weight, delta, v in trace.gradients(cotangent)}
    for i in range(3):
        f = plain(net, networks, i)
        torch.testing.assert_close(ensemble(x)[i], f(x))
        torch.testing.assert_close(moved[i], f(x + eta[i, :, 0, 0]) - f(x))
        torch.testing.assert_close(J[i], torch.autograd.functional.jacobian(f, x))
        own = [layer.weight for layer in layers(networks.map) if layer.trained]
        for weight in own:
            weight.values.requires_grad_()
        slopes = torch.autograd.grad((f(x) * cotangent[i, :, 0, 0]).sum(), [weight.values for weight in own])
        for weight, slope in zip(own, slopes):
            weight.values.requires_grad_(False)
            torch.testing.assert_close(found[id(weight)][i], slope[i])
    assert (ensemble(x)[0] - plain(net, networks, 1)(x)).abs().max() > 1e-3, "the control: another network"


@pytest.mark.parametrize("sizes", [(8, 8), (6,), (4, 6), (9, 3)], ids=str)
@pytest.mark.parametrize("circular", [True, False], ids=["circular", "zero"])
@pytest.mark.parametrize("taps", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_patches_are_the_listed_positions_and_their_transpose(sizes, circular, taps, stride):
    if taps > min(sizes) or any(size % stride for size in sizes):
        return  # no convolution of such an image
    windows, count = Windows(taps, stride, -(taps // 2), circular), math.prod(sizes)
    patches, sources = Patches(windows, sizes), torch.tensor(windows.sources(sizes)).mT
    x = torch.randn(2, 3, 2 * count, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    images = torch.cat((x.unflatten(2, (2, count)), torch.zeros(2, 3, 2, 1, 2, dtype=x.dtype)), 3)
    met = images[:, :, :, sources].transpose(2, 3).flatten(1, 2).flatten(2, 3)
    assert torch.equal(patches.push(x, None), met)
    c = torch.randn(met.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    small = 100 * torch.finfo(torch.float64).eps * c.norm() * met.norm()
    assert abs((c * met).sum() - (patches.pull(c, None) * x).sum()) <= small
    if taps > 1:  # the control: the positions in another order
        assert abs((c * met).sum() - (patches.pull(c.flip(2), None) * x).sum()) > small


def test_weights_have_the_declared_law():
    net = mf.Net(mf.Serial(mf.Conv(3, sigma_w=3, sigma_b=0.5), RELU, mf.Mix()), image=(4, 5, 5))
    first, dense, mix, last = layers(next(sampled(net, N=60, L=1, K=20).chunks()).map)
    for values, std in [
        (first.weight.values, 1 / 2),
        (dense.weight.values, 3 / math.sqrt(9 * 60)),
        (dense.bias, 0.5),
        (mix.weight.values, 1 / math.sqrt(60)),
        (last.weight.values, 1 / math.sqrt(60 * 25)),
    ]:
        assert float(values.var()) == pytest.approx(std**2, rel=5 * math.sqrt(2 / values.numel()))
    assert [tuple(layer.weight.values.shape[1:]) for layer in (first, dense, mix, last)] == [
        (60, 4), (60, 540), (60, 60), (20, 1500),
    ]  # fmt: skip


@every_net
def test_conditioned_networks_have_the_law_of_dense_ones(net):
    """Means of |f|²/K, its square, |Jt|²/K and ⟨f, Jt⟩/K in 4.9 standard errors; the control has other weights."""
    x, t = columns(net.inputs, seed=2).float(), columns(net.inputs, seed=3).float()

    def means(sampler, seed, **given):
        ensemble = sampled(
            net, nets=1500, N=10, sampler=sampler, queries=2, generator=torch.Generator().manual_seed(seed),
            dtype=torch.float32, **given,
        )  # fmt: skip
        f, J = ensemble(x), ensemble.jvp(x, t)
        size = f.square().mean(1)
        values = torch.stack([size, size**2, J.square().mean(1), (f * J).mean(1)])
        return values.mean(1), values.std(1) / math.sqrt(values.shape[1])

    (one, a), (two, b), (wider, c) = means("dense", 5), means("conditioned", 6), means("conditioned", 6, sigma_w=2.0)
    assert ((one - two).abs() < 4.9 * torch.hypot(a, b)).all(), (one, two)
    assert ((one - wider).abs() > 4.9 * torch.hypot(a, c)).any(), "the control"


def test_an_output_layer_of_many_outputs_is_conditioned_where_square_matrices_do_not_pay():
    """The automatic sampler against explicit weights: the same law, and fewer numbers of each network."""
    net, x = mf.conv(1, 0, image=(1, 8)), columns(8, seed=2)

    def means(sampler, seed, **given):
        ensemble = mf.simulate.sample(
            net, nets=1500, N=24, L=1, d=8, K=128, sampler=sampler, queries=3, sigma_w=1.3, sigma_b=0.4, keep=False,
            generator=torch.Generator().manual_seed(seed), **given,
        )  # fmt: skip
        f = torch.cat([trace.output[:, :, 0, 0] for trace in ensemble.traces(x)])
        size = f.square().mean(1)
        values = torch.stack([size, size**2, f.pow(4).mean(1), f.mean(1) ** 2])
        return ensemble, values.mean(1), values.std(1) / math.sqrt(values.shape[1])

    (mixed, one, a), (dense, two, b) = means("auto", 5), means("dense", 6)
    assert (mixed.sampler, dense.sampler) == ("conditioned", "dense")
    assert mixed.bytes_per_network < dense.bytes_per_network / 2
    (networks,) = mixed.part(0, 1).chunks()
    explicit = [isinstance(layer.weight, DenseMatrix) for layer in layers(networks.map)]
    assert explicit == [True, True, False], "all but the output layer"
    assert ((one - two).abs() < 4.9 * torch.hypot(a, b)).all(), (one, two)
    half = replace(mixed, values={**mixed.values, "sigma_w": 1.2}, _kept=[])
    f = torch.cat([trace.output[:, :, 0, 0] for trace in half.traces(x)])
    size = f.square().mean(1)
    assert abs(size.mean() - two[0]) > 4.9 * b[0], "the control: other weights"


def test_a_step_of_training_is_that_of_the_gradient():
    net = NETS["strided"]
    ensemble, x = sampled(net, keep=True), columns(net.inputs)
    (networks,) = ensemble.chunks()
    before = [layer.weight.values.clone() for layer in layers(networks.map) if layer.trained]
    trace = networks.trace(ensemble.inputs(x))
    gradients = [delta @ v.mT for _, delta, v in trace.gradients(trace.output)]
    trace.descend(trace.output, rate=0.1)
    after = [layer.weight.values for layer in layers(networks.map) if layer.trained]
    for one, slope, other in zip(before, gradients, after):
        torch.testing.assert_close(other, one - 0.1 * slope)


def test_attacks_stay_in_the_ball_and_reach_the_linear_optimum():
    net = NETS["circular"]
    ensemble, x = sampled(net, nets=4), columns(2, net.inputs)
    for p, q in ((2, 2), ("inf", 1), (1, 2)):
        found = mf.simulate.attack(ensemble, x, eps=1e-6, p=p, q=q)
        size = torch.linalg.vector_norm(found.eta, ord=float(p), dim=-1)
        assert (size <= 1e-6 * (1 + 1e-9)).all()
        best = mf.simulate.operator_norm(ensemble.jacobian(x), p, q).value
        torch.testing.assert_close(found.value, 1e-6 * best, rtol=1e-4, atol=0)


def test_sizes_are_those_of_the_image():
    with pytest.raises(ArgumentError, match=r"takes images of \(2, 5, 4\), which have d = 40 numbers; got d=39"):
        sampled(NETS["circular"], d=39)


def test_large_images_fit_without_weights():
    """28 x 28 positions, ten layers of 4,096 channels: 16 GiB are enough, and without them the need is told."""
    net = mf.conv(1, 0, image=(1, 28, 28))
    sizes = {"N": 4096, "L": 10, "d": 784, "K": 10, "sampler": "conditioned", "queries": 2}
    assert 1e9 < sampled(net, nets=1, dtype=torch.float32, memory=2**34, **sizes).bytes_at_once < 2**34
    with pytest.raises(mf.errors.MemoryBudgetError, match=r"and 2 vectors at each matrix takes .* bytes"):
        sampled(net, nets=1, dtype=torch.float32, memory=2**30, **sizes)
