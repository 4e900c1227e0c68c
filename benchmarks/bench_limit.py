"""Networks of infinite width against those without weights at N = 10^4: the same attack in the same run, the sampling
included on both sides.

Eight steps from the optimum of the linearised network, p = q = 2, L = 10, d = 64, K = 10. ``ratio`` is networks of
infinite width per second over networks without weights per second. The cost at infinite width does not depend on any N.
"""

import time

import pytest
import torch

import advmf as mf

L, D, K, STEPS = 10, 64, 10, 8


def point():
    x = torch.randn(D, generator=torch.Generator().manual_seed(1))
    return x / x.norm() * D**0.5


RELU, TANH = (mf.vanilla(1, 0), 2**0.5), (mf.vanilla(phi="tanh"), 1.2)
"""Nets, each with the deviation of its weights."""


def attacked(N, nets, eps, net):
    """The seconds to sample and attack ``nets`` networks, and the attack's mean value."""
    start = time.perf_counter()
    networks = mf.simulate.sample(
        net[0], N=N, L=L, d=D, K=K, nets=nets, sigma_w=net[1], sigma_b=0.0, keep=False, queries=30,
        sampler="limit" if N == "inf" else "conditioned", generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    found = mf.simulate.attack(networks, point(), eps=eps, p=2, q=2, steps=STEPS, directions=1)
    return time.perf_counter() - start, float(found.value.mean())


@pytest.mark.parametrize("eps", [0.01, 0.8])
def test_networks_per_second(benchmark, eps):
    nets = 512
    _, value = benchmark.pedantic(lambda: attacked("inf", nets, eps, RELU), rounds=3, warmup_rounds=1)
    seconds = benchmark.stats.stats.min / nets
    finite, finite_value = min(attacked(10**4, 8, eps, RELU) for _ in range(2))
    benchmark.extra_info["ratio"] = round(finite / 8 / seconds, 1)
    benchmark.extra_info["networks per second"] = round(1 / seconds)
    benchmark.extra_info["values"] = (round(value, 4), round(finite_value, 4))


def test_a_smooth_activation(benchmark):
    nets = 32
    benchmark.pedantic(lambda: attacked("inf", nets, 0.8, TANH), rounds=1, warmup_rounds=1)
    seconds = benchmark.stats.stats.min / nets
    finite, _ = attacked(10**4, 4, 0.8, TANH)
    benchmark.extra_info["ratio"] = round(finite / 4 / seconds, 1)
    benchmark.extra_info["networks per second"] = round(1 / seconds)
