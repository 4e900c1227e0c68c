"""Passes of many columns against the machine's own ``torch.bmm`` on the same shapes, in the same run, with cold
weights.

Both go through networks whose weights together exceed the last cache, on one thread, so that the ratio does not depend
on the load of the machine. ``torch.bmm`` runs in the better of its two layouts, on weights and columns alone.
"""

import time

import pytest
import torch

import advmf as mf

N, L, D, K = 1000, 10, 784, 10
NETWORKS = {"vanilla": (mf.vanilla(1, 0), 2**0.5, 1), "residual": (mf.residual(1, 0), 1.0, 2)}
COLD = 320 * 2**20
"""Bytes of weights that one round goes through."""


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module", params=NETWORKS)
def networks(request):
    net, sigma_w, matrices = NETWORKS[request.param]
    nets = COLD // (4 * N * N * L * matrices)
    return mf.simulate.sample(
        net, N=N, L=L, d=D, K=K, nets=nets, generator=torch.Generator().manual_seed(0), sigma_w=sigma_w, sigma_b=0.0
    )


def products(networks, columns, transposed):
    """The seconds that ``torch.bmm`` needs for the products of one pass, over all networks."""
    shapes = [(N, D), *[(N, N)] * (networks.bytes_per_network // (4 * N * N)), (K, N)]
    weights = [[torch.randn(1, *shape) for shape in shapes] for _ in range(networks.nets)]
    sides = {shape: torch.randn(1, shape[not transposed], columns) for shape in shapes}
    rows = {shape: side.mT.contiguous() for shape, side in sides.items()}

    def columns_first():
        for w in (w for own in weights for w in own):
            torch.bmm(w.mT if transposed else w, sides[tuple(w.shape[1:])])

    def rows_first():
        for w in (w for own in weights for w in own):
            torch.bmm(rows[tuple(w.shape[1:])], w if transposed else w.mT)

    return min(seconds(columns_first), seconds(rows_first))


def seconds(run, rounds=3):
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.mark.parametrize("columns", [2, 16, 128])
def test_shift_and_pull(benchmark, networks, columns):
    x = torch.randn(D, generator=torch.Generator().manual_seed(1))
    traces = list(networks.traces(x))
    eta = 0.01 * torch.randn(1, 1, columns, D).permute(0, 3, 1, 2)
    cotangents = torch.randn(1, 1, columns, K).permute(0, 3, 1, 2)

    def passes():
        for trace in traces:
            trace.shift(eta).pull(cotangents)

    benchmark.pedantic(passes, rounds=3, warmup_rounds=1)
    own = products(networks, columns, False) + products(networks, columns, True)
    report(benchmark, networks, columns, own, passes=2)


@pytest.mark.parametrize("columns", [128])
def test_forward(benchmark, networks, columns):
    x = torch.randn(columns, D, generator=torch.Generator().manual_seed(1))
    list(networks.traces(x[0]))  # samples the networks
    benchmark.pedantic(lambda: [trace.output for trace in networks.traces(x)], rounds=3, warmup_rounds=1)
    report(benchmark, networks, columns, products(networks, columns, False), passes=1)


def report(benchmark, networks, columns, own, passes):
    pace = benchmark.stats.stats.min
    flops = 2 * passes * columns * networks.nets * networks.bytes_per_network / 4
    benchmark.extra_info["share of torch.bmm's rate"] = round(own / pace, 2)
    benchmark.extra_info["Gflop/s"] = round(flops / pace / 1e9, 1)
    benchmark.extra_info["ms per network"] = round(1e3 * pace / networks.nets, 2)
