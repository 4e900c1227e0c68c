"""Norms of Gaussian matrices: the cooled power iteration against the plain one from as many starts as the same time
allows, signs by enumeration against trying them all with one product, and the sharp routes to the norm factor against
simulating it.

``found`` is the mean of the value found over the best value that either method found; ``time ratio`` is the peer's time
over ours, in the same run.
"""

import math
import time
from functools import partial

import pytest
import torch

import advmf as mf
from advmf.simulate import gaussian_norms, operator_norm

pytestmark = pytest.mark.usefixtures("one_thread")


def matrices(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def timed(function):
    start = time.perf_counter()
    value = function()
    return value, time.perf_counter() - start


@pytest.mark.parametrize(("p", "q"), [(math.inf, 1), (4, 1), (math.inf, 1.5), (3, 1.5)])
@pytest.mark.parametrize("shape", [(50, 50), (100, 784)])
def test_cooling_against_more_starts(benchmark, shape, p, q):
    J = matrices(8, *shape)
    cooled = benchmark.pedantic(lambda: operator_norm(J, p, q, cooling=100).value, rounds=2, warmup_rounds=1)
    starts, seconds = 16, 0.0
    while seconds < benchmark.stats.stats.min and starts < 4096:
        starts *= 2
        plain, seconds = timed(partial(operator_norm, J, p, q, starts=starts))
    best = torch.maximum(cooled, plain.value)
    benchmark.extra_info.update(
        {
            "found": float((cooled / best).mean()),
            "found by the peer": float((plain.value / best).mean()),
            "its starts": starts,
        }
        | {"time ratio": seconds / benchmark.stats.stats.min}
    )


@pytest.mark.parametrize("q", [1, 1.5, 2])
def test_signs_against_one_product(benchmark, q):
    J = matrices(2, 50, 16)
    bits = (torch.arange(2**15) >> torch.arange(16)[:, None]) & 1
    signs = 1.0 - 2.0 * bits
    ours = benchmark(lambda: operator_norm(J, "inf", q, signs=16).value)
    all_at_once, seconds = timed(lambda: torch.linalg.vector_norm(J @ signs, q, dim=-2).amax(-1))
    torch.testing.assert_close(ours, all_at_once)
    benchmark.extra_info["time ratio"] = seconds / benchmark.stats.stats.min


@pytest.mark.parametrize(("route", "p", "q"), [("tilted", math.inf, 1), ("extremal", 1, 3), ("estimate", 1.5, 3)])
def test_routes_against_simulation(benchmark, route, p, q):
    """The routes compute a law of norms for each new pair of dimensions; a simulation to 1 % takes some tens of
    matrices."""
    kernel = mf.kernel(mf.beta(p, q, route))
    sizes = iter(range(400, 10_000, 7))
    benchmark.pedantic(lambda: kernel(d=next(sizes), K=10), rounds=5, warmup_rounds=1)
    _, seconds = timed(lambda: gaussian_norms(784, 10, [(p, q)], samples=40))
    benchmark.extra_info["time ratio"] = seconds / benchmark.stats.stats.min
