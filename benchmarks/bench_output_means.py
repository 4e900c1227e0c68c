"""The mean of the slope of the capacity over output layers, against the slope of each network, at p = q = 2.

``scatter`` is the standard deviation of one network over the mean, ``ms`` the milliseconds of a network, ``networks``
how many fewer networks have the same error, ``work`` how much less time. One thread is used, so that ratios do not
depend on the load of the machine.
"""

import time

import pytest
import torch

import advmf as mf
from advmf.observables import CapacitySlope, MeanCapacitySlope
from advmf.simulate.estimate import measure, queries
from advmf.simulate.probe import AttackSettings

NETS = {
    "vanilla": (mf.vanilla(1, 0), 3**0.5),
    "residual": (mf.residual(1, 0), 1.0),
    "conv": (mf.conv(1, 0, image=(1, 4)), 2.0),
}
SETTINGS = AttackSettings(eps=1.0)

pytestmark = pytest.mark.usefixtures("one_thread")


def values(observable, net, sigma_w, N, count):
    """The number of each network."""
    networks = mf.simulate.sample(
        net, N=N, L=2, d=4, K=2, nets=count, sigma_w=sigma_w, sigma_b=0.0, keep=False,
        queries=queries([observable], SETTINGS, 2, 4), generator=torch.Generator().manual_seed(count),
    )  # fmt: skip
    x = networks.inputs(torch.randn(count, 1, 4, generator=torch.Generator().manual_seed(1)))
    found, first = [], 0
    for chunk in networks.chunks():
        own = x[first : first + chunk.nets] / x[first : first + chunk.nets].norm(dim=1, keepdim=True)
        found.append(measure(chunk.trace(own), own, [observable], SETTINGS, torch.Generator()))
        first += chunk.nets
    return torch.cat(found)[:, 0]


@pytest.mark.parametrize("N", [256, 1024])
@pytest.mark.parametrize("name", NETS)
def test_output_means(benchmark, name, N):
    net, sigma_w = NETS[name]
    plain, averaged = 400, 200
    mean = benchmark.pedantic(values, (MeanCapacitySlope(2, 2), net, sigma_w, N, averaged), rounds=2)
    start = time.perf_counter()
    single = values(CapacitySlope(2, 2), net, sigma_w, N, plain)
    seconds = time.perf_counter() - start
    scatter = [float(v.std() / v.mean().abs()) for v in (single, mean)]
    ms = [1e3 * seconds / plain, 1e3 * benchmark.stats.stats.min / averaged]
    fewer = (scatter[0] / scatter[1]) ** 2
    benchmark.extra_info.update(
        scatter=[round(s, 3) for s in scatter], ms=[round(m, 2) for m in ms], networks=round(fewer, 1),
        work=round(fewer * ms[0] / ms[1], 1),
    )  # fmt: skip
