"""Means over the output layer: against explicit output layers on the same other weights, and what they save."""

import math
from dataclasses import replace

import pytest
import torch

import advmf as mf
from advmf.errors import ArgumentError
from advmf.observables import CapacitySlope, MeanCapacitySlope
from advmf.simulate.dense import DenseMatrix
from advmf.simulate.descent import capacity_slope
from advmf.simulate.estimate import measure
from advmf.simulate.geometry import conjugate, maximiser
from advmf.simulate.networks import Activation, Chain, Linear, Sum
from advmf.simulate.output_means import OutputMeans
from advmf.simulate.probe import AttackSettings

DOUBLE = {"dtype": torch.float64}
NETS = {
    "vanilla": mf.vanilla(1, 0),
    "residual": mf.residual(1, "1/5"),
    "preactivation": mf.preactivation(1, 0),
    "pyramid": mf.pyramid(1, 0),
    "conv": mf.conv(1, 0, image=(1, 4)),
    "conv_residual": mf.conv_residual(1, 0, image=(1, 4)),
    "pooled": mf.conv(1, 0, image=(1, 4), head="pool"),
}


def sampled(net, N, nets=1, seed=0, **given):
    given = ({"L": 2} if net.repeated else {}) | DOUBLE | given
    return mf.simulate.sample(
        net, N=N, d=4, K=2, nets=nets, sigma_w=1.4, sigma_b=0.3, generator=torch.Generator().manual_seed(seed),
        **given,
    )  # fmt: skip


def copied(map, count):
    """A map of one network as that of ``count`` networks with the same weights."""
    match map:
        case Chain(parts):
            return Chain(tuple(copied(part, count) for part in parts))
        case Sum(shortcut, branch, scale):
            return Sum(copied(shortcut, count), copied(branch, count), scale)
        case Linear(weight, bias, trained):
            own = None if bias is None else bias.expand(count, -1)
            return Linear(DenseMatrix(weight.values.expand(count, -1, -1)), own, trained)
    assert not isinstance(map, Activation) or map.function
    return map


def headed(networks, P):
    """One network's weights with each of the output layers P (count, K, n) in turn."""
    count, K, _ = P.shape
    parts = (*copied(networks.map, count).parts[:-1], Linear(DenseMatrix(P), None))
    seeds = torch.arange(count)
    return replace(networks, nets=count, K=K, map=Chain(parts), seeds=seeds)


def plain(networks, x, p, q):
    """The slope of each network, by itself."""
    trace = networks.trace(x)
    J = trace.jacobian()[:, 0]
    e = mf.simulate.operator_norm(J, p, q).vector
    t = maximiser((J @ e[..., None])[..., 0], conjugate(float(q)))
    return capacity_slope(trace, e, t)


def network(name, N, seed=0):
    (chunk,) = sampled(NETS[name], N, seed=seed).chunks()
    x = torch.randn(1, 4, 1, 1, generator=torch.Generator().manual_seed(7), **DOUBLE)
    return chunk, x


@pytest.mark.parametrize(("name", "N"), [("residual", 5), ("preactivation", 5)])
@pytest.mark.parametrize(("p", "q"), [(2, 2), ("inf", "inf"), (1, 2)])
def test_where_nothing_lies_outside_the_span_it_is_the_mean_over_its_layers(name, N, p, q):
    """The frame spans streams of d + 1 numbers. So each layer that it takes has a slope, which is known exactly."""
    p, q = float(p), float(q)
    chunk, x = network(name, N)
    n = chunk.trace(x).stream().shape[1]
    means = OutputMeans.of(chunk.trace(x))
    every = headed(chunk, torch.eye(n, **DOUBLE)[None]).trace(x)
    met = torch.cat((every.jacobian()[:, 0] @ means.basis, every.scaling()[:, :, 0]), 2)
    P = means.layers()[0] @ means.stream @ torch.linalg.inv(met)[0] / n**0.5
    expected = plain(headed(chunk, P), x, p, q).mean()
    torch.testing.assert_close(means.capacity_slope(p, q)[0], expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", ["residual", "conv"])
def test_streams_shorter_than_the_frame(name):
    """Three numbers, or four, where there are four directions and the growth."""
    chunk, x = network(name, {"residual": 3, "conv": 1}[name])
    n, count = chunk.trace(x).stream().shape[1], 20_000
    P = torch.randn(count, 2, n, generator=torch.Generator().manual_seed(1), **DOUBLE) / n**0.5
    slopes, found = plain(headed(chunk, P), x, 2.0, 2.0), OutputMeans.of(headed(chunk, P[:600]).trace(x))
    right = found.capacity_slope(2.0, 2.0)
    assert abs(right.mean() - slopes.mean()) < 4 * (slopes.var() / count + right.var() / len(right)) ** 0.5


@pytest.mark.parametrize(
    ("name", "p", "q"),
    [*((name, 2.0, 2.0) for name in NETS), ("residual", math.inf, math.inf), ("conv", 1.0, math.inf)],
)
def test_the_mean_is_that_of_networks_with_other_output_layers(name, p, q):
    """Each part counts at such a width: without the trace outside the frame, or with another n, the mean is off."""
    chunk, x = network(name, 48 if name == "pyramid" else 12, seed=3)
    n, count = chunk.trace(x).stream().shape[1], 20_000
    P = torch.randn(count, 2, n, generator=torch.Generator().manual_seed(1), **DOUBLE) / n**0.5
    slopes = plain(headed(chunk, P), x, p, q)
    means = OutputMeans.of(headed(chunk, P[:600]).trace(x))
    right = means.capacity_slope(p, q)
    error = (slopes.var() / count + right.var() / len(right)) ** 0.5
    assert abs(right.mean() - slopes.mean()) < 4 * error
    for wrong in (replace(means, across=0 * means.across), replace(means, n=3 * n // 4)):
        assert abs(wrong.capacity_slope(p, q).mean() - slopes.mean()) > 6 * error


@pytest.mark.parametrize("name", ["vanilla", "conv"])
def test_it_saves_networks(name):
    """An eighth of the networks has no larger error at N = 256, and the same mean."""
    found = {}
    for observable, nets in ((CapacitySlope(2, 2), 400), (MeanCapacitySlope(2, 2), 50)):
        ensemble = sampled(NETS[name], 256, nets, seed=nets, dtype=torch.float32)
        x = ensemble.inputs(torch.randn(nets, 1, 4, generator=torch.Generator().manual_seed(nets)).sign())
        parts, first = [], 0
        for chunk in ensemble.chunks():
            own = x[first : first + chunk.nets]
            parts.append(measure(chunk.trace(own), own, [observable], AttackSettings(eps=1.0), torch.Generator()))
            first += chunk.nets
        values = torch.cat(parts)
        found[observable.func] = values.mean(), values.std() / nets**0.5
    (one, plain_error), (other, error) = found[CapacitySlope], found[MeanCapacitySlope]
    assert error < plain_error
    assert abs(one - other) < 4 * torch.hypot(error, plain_error)


def test_the_numbers_do_not_depend_on_what_shares_a_chunk():
    values = []
    for memory in (2**30, 3 * 2**10):
        ensemble = mf.simulate.sample(
            NETS["vanilla"], N=12, L=2, d=4, K=2, nets=9, sigma_w=1.4, sigma_b=0.0, memory=memory, keep=False, **DOUBLE,
            generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        x = torch.ones(4, **DOUBLE)
        values.append(torch.cat([OutputMeans.of(trace).capacity_slope(2, 2) for trace in ensemble.traces(x)]))
    assert len(set(values[0].tolist())) == 9
    torch.testing.assert_close(*values, rtol=1e-12, atol=0)


def test_a_network_that_overflows_has_no_number_and_does_not_disturb_others():
    chunk, x = network("vanilla", 12)
    two = headed(chunk, torch.randn(2, 2, 12, generator=torch.Generator().manual_seed(1), **DOUBLE))
    good = OutputMeans.of(two.trace(x)).capacity_slope(2, 2)
    first = two.map.parts[1].parts[0].weight
    first.values = first.values * torch.tensor([1e308, 1.0], **DOUBLE)[:, None, None]
    found = OutputMeans.of(two.trace(x)).capacity_slope(2, 2)
    assert found[0].isnan() and found[1] == good[1]


def test_bad_input():
    chunk, x = network("vanilla", 12)
    with pytest.raises(ArgumentError, match="one input"):
        OutputMeans.of(chunk.trace(torch.cat((x, x), 2)))
    (smooth,) = sampled(mf.vanilla(phi="tanh"), 12).chunks()
    with pytest.raises(ArgumentError, match="inside a linear region"):
        measure(smooth.trace(x), x, [MeanCapacitySlope(2, 2)], AttackSettings(eps=1.0), torch.Generator())
    with pytest.raises(ArgumentError, match="needs eps"):
        measure(chunk.trace(x), x, [MeanCapacitySlope(2, 2)], AttackSettings(), torch.Generator())
