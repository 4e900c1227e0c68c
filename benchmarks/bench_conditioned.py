"""Networks without weights against networks with them: the same attack in the same run, the sampling included on both
sides.

An attack of 12 steps from the optimum of the linearised network; L = 10, d = 784, K = 10, one input, all cores.
``ratio`` is networks per second without weights over networks per second with them. Allocating new memory is included,
because every new network needs it.
"""

import math
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import advmf as mf
from advmf.simulate.conditioned import ConditionedMatrix
from advmf.simulate.race import attack_queries

L, D, K, STEPS = 10, 784, 10, 12
QUERIES = attack_queries(K, D, 1, STEPS, directions=1)


def point():
    x = torch.randn(D, generator=torch.Generator().manual_seed(1))
    return x / x.norm() * D**0.5


def attacked(sampler, N, nets, seed=0):
    """The seconds to sample and attack ``nets`` networks, and the attack's mean value."""
    start = time.perf_counter()
    networks = mf.simulate.sample(
        mf.vanilla(1, 0), N=N, L=L, d=D, K=K, nets=nets, sampler=sampler, queries=QUERIES, sigma_w=2**0.5, sigma_b=0.0,
        generator=torch.Generator().manual_seed(seed), memory=14 * 2**30,
    )  # fmt: skip
    found = mf.simulate.attack(networks, point(), eps=0.1, p=2, q=2, steps=STEPS, directions=1)
    return time.perf_counter() - start, float(found.value.mean())


@pytest.mark.parametrize(("N", "nets", "dense_nets"), [(1000, 96, 16), (4000, 32, 4)])
def test_networks_per_second(benchmark, N, nets, dense_nets):
    _, value = benchmark.pedantic(lambda: attacked("conditioned", N, nets), rounds=3, warmup_rounds=1)
    seconds = benchmark.stats.stats.min / nets
    dense, dense_value = min(attacked("dense", N, dense_nets) for _ in range(2))
    benchmark.extra_info["ratio"] = round(dense / dense_nets / seconds, 1)
    benchmark.extra_info["milliseconds per network"] = round(1e3 * seconds, 2)
    benchmark.extra_info["values"] = (round(value, 4), round(dense_value, 4))


@pytest.mark.parametrize(("N", "nets", "dense_nets"), [(1000, 80, 8), (4000, 20, 2)])
def test_what_limits_networks_per_second(benchmark, monkeypatch, one_thread, N, nets, dense_nets):
    """CPU time on one thread, and the part of it that no order of the same operations can save.

    That part is the draws, the first access to the memory of the factors, and one read of a layer's factors for each
    block of vectors: the factors of all layers do not fit the cache between two passes through the layers. ``ratio at
    the floor`` is that of networks which take this time and no other.
    """
    attacked("conditioned", N, nets)
    ours = benchmark.pedantic(lambda: cpu(lambda: attacked("conditioned", N, nets), 3), rounds=1) / nets
    dense = cpu(lambda: attacked("dense", N, dense_nets), 2) / dense_nets
    answer, stored, read = ConditionedMatrix.answer, {}, []

    def counted(matrix, x, side):
        found = answer(matrix, x, side)
        stored[matrix] = sum(matrix._counts) * sum(matrix._sizes) * matrix._nets
        read.append(stored[matrix])
        return found

    monkeypatch.setattr(ConditionedMatrix, "answer", counted)
    attacked("conditioned", N, nets)
    numbers = sum(stored.values()) / nets
    lengths = sum(sum(matrix._sizes) * matrix._nets for matrix in stored) / nets
    new, again, memory = torch.empty(2**25), torch.randn(2**20), torch.ones(2**27)
    first, second = cpu(lambda: new.zero_(), 1), cpu(lambda: new.zero_())
    floor = {
        "draws": cpu(lambda: again.normal_(generator=torch.Generator())) / again.numel() * numbers / 2,
        "first access": (first - second) / new.numel() * numbers,
        "reads": cpu(lambda: memory.sum()) / memory.numel() * sum(read) / nets,
    }
    benchmark.extra_info["milliseconds per network"] = {
        name: round(1e3 * seconds, 2) for name, seconds in {"all": ours, **floor, "with weights": dense}.items()
    }
    benchmark.extra_info["directions per matrix"] = round(numbers / lengths, 1)
    benchmark.extra_info["ratio"] = round(dense / ours, 1)
    benchmark.extra_info["ratio at the floor"] = round(dense / sum(floor.values()), 1)


def cpu(run, times=5):
    """The least CPU time of ``run``, in seconds."""
    found = []
    for _ in range(times):
        start = time.process_time()
        run()
        found.append(time.process_time() - start)
    return min(found)


def test_cost_against_width(benchmark):
    """The slope of log(time) over log(N) from 10^3 to 10^6."""
    nets = {10**3: 64, 10**4: 8, 10**5: 2, 10**6: 1}
    seconds = {N: min(attacked("conditioned", N, count)[0] for _ in range(2)) / count for N, count in nets.items()}
    benchmark.pedantic(lambda: attacked("conditioned", 10**4, 8), rounds=1)
    slope = np.polyfit(np.log(list(seconds)), np.log(list(seconds.values())), 1)[0]
    benchmark.extra_info["slope"] = round(float(slope), 3)
    benchmark.extra_info["seconds per network"] = {N: round(s, 4) for N, s in seconds.items()}


MEMORY_SCRIPT = """
import torch
import advmf as mf
def peak():
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))
networks = mf.simulate.sample(mf.vanilla(1, 0), N=10**6, L={L}, d={D}, K={K}, sampler="conditioned", queries={QUERIES},
                              sigma_w=2**0.5, sigma_b=0.0, memory=14 * 2**30, generator=torch.Generator().manual_seed(0))
before = peak()
print(networks.bytes_per_network, flush=True)
mf.simulate.attack(networks, torch.ones({D}), eps=0.1, p=2, q=2, steps={STEPS}, directions=1)
print(peak() - before)
"""


def test_peak_memory_against_the_estimate(benchmark):
    """N = 10^6 in a process of its own: the estimate is printed before anything is sampled. Linux only."""
    script = MEMORY_SCRIPT.format(L=L, D=D, K=K, QUERIES=QUERIES, STEPS=STEPS)

    def run():
        return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    estimate, peak = map(int, benchmark.pedantic(run, rounds=1).split())
    benchmark.extra_info["estimate GiB"] = round(estimate / 2**30, 2)
    benchmark.extra_info["peak/estimate"] = round(peak / estimate, 2)


@pytest.mark.parametrize("times", [2, 4, 8])
@pytest.mark.parametrize(("pairs", "directions", "steps"), [(1, 1, 12), (1, 16, 10), (9, 4, 10)])
def test_where_conditioning_pays(benchmark, pairs, directions, steps, times):
    """N = ``times`` the vectors that meet each matrix; L = 5, d = 64. ``auto`` takes conditioning from 4 times."""
    queries = attack_queries(K, 64, pairs, steps, directions=directions)
    nets = max(2, min(64, 3 * 10**7 // (times * queries**2)))

    def run(sampler, nets):
        start = time.perf_counter()
        networks = mf.simulate.sample(
            mf.vanilla(1, 0), N=times * queries, L=5, d=64, K=K, nets=nets, sampler=sampler, queries=queries, sigma_w=2**0.5,
            sigma_b=0.0, generator=torch.Generator().manual_seed(0), memory=14 * 2**30,
        )  # fmt: skip
        qs = [1, 2, math.inf, 3, 4, 5, 6, 7, 8][:pairs]
        mf.simulate.attack(networks, torch.ones(64), eps=0.1, p=[2] * pairs, q=qs, steps=steps, directions=directions)
        return (time.perf_counter() - start) / nets

    benchmark.pedantic(lambda: run("conditioned", nets), rounds=2)
    ours = benchmark.stats.stats.min / nets
    benchmark.extra_info["ratio"] = round(min(run("dense", min(nets, 16)) for _ in range(2)) / ours, 1)


@pytest.mark.parametrize(("N", "count"), [(10**5, 1), (10**6, 1), (10**6, 4)])
def test_bandwidth_of_the_long_passes(benchmark, N, count):
    """Bytes of factors that a question to a matrix with 80 answers must read per second, over the bytes per second that
    a copy moves.

    The question was asked before, so nothing is drawn. It reads ``[Q; H]`` for the coordinates, ``Q`` for the new part,
    and ``[G; P]``.
    """
    W = ConditionedMatrix(1, N, N, 1 / math.sqrt(N), generator=torch.Generator().manual_seed(0), queries=40)
    for ask in (W.rmatmul, W.matmul):
        ask(x := torch.randn(1, N, 40))
    benchmark.pedantic(W.matmul, args=(x[..., :count],), rounds=10, warmup_rounds=1)
    read = 4 * N * (80 + 40 + 80)
    source, target = torch.randn(10 * N), torch.randn(10 * N)
    copies = []
    for _ in range(10):
        start = time.perf_counter()
        target.copy_(source)
        copies.append(time.perf_counter() - start)
    copy = 80 * N / min(copies)
    benchmark.extra_info["of a copy"] = f"{read / benchmark.stats.stats.median / copy:.0%} of {copy / 1e9:.0f} GB/s"
