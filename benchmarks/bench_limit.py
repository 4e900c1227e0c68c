"""Networks of infinite width against those without weights at N = 10^4: the same attack in the same run, the sampling
included on both sides.

Eight steps from the optimum of the linearised network, p = q = 2, L = 10, d = 64, K = 10. ``ratio`` is networks of
infinite width per second over networks without weights per second. The cost at infinite width does not depend on any N.
Seconds are those of one thread's processor, so that other work on the machine matters less; with a process for each
core, rates add up.
"""

import time

import pytest
import torch

import advmf as mf

L, D, K, STEPS = 10, 64, 10, 8


def point():
    x = torch.randn(D, generator=torch.Generator().manual_seed(1))
    return x / x.norm() * D**0.5


RELU = (mf.vanilla(1, 0), 2**0.5)
"""A net with the deviation of its weights."""

pytestmark = pytest.mark.usefixtures("one_thread")


def attacked(N, nets, eps, net):
    """The processor's seconds to sample and attack ``nets`` networks, and the attack's mean value."""
    start = time.process_time()
    networks = mf.simulate.sample(
        net[0], N=N, L=L, d=D, K=K, nets=nets, sigma_w=net[1], sigma_b=0.0, keep=False, queries=30,
        sampler="limit" if N == "inf" else "conditioned", generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    found = mf.simulate.attack(networks, point(), eps=eps, p=2, q=2, steps=STEPS, directions=1)
    return time.process_time() - start, float(found.value.mean())


def compared(benchmark, net, nets, finite_nets, eps):
    found = []
    benchmark.pedantic(lambda: found.append(attacked("inf", nets, eps, net)), rounds=3, warmup_rounds=1)
    seconds = min(found)[0] / nets
    finite, finite_value = min(attacked(10**4, finite_nets, eps, net) for _ in range(2))
    benchmark.extra_info["ratio"] = round(finite / finite_nets / seconds, 1)
    benchmark.extra_info["networks per second"] = round(1 / seconds)
    benchmark.extra_info["values"] = (round(found[0][1], 4), round(finite_value, 4))


@pytest.mark.parametrize("eps", [0.01, 0.8])
def test_networks_per_second(benchmark, eps):
    compared(benchmark, RELU, 512, 8, eps)


@pytest.mark.parametrize("phi", ["tanh", "hard_tanh", "elu"])
def test_other_activations(benchmark, phi):
    compared(benchmark, (mf.vanilla(phi=phi), 1.2), 192, 4, 0.8)


def on_images(N, nets):
    """The same on images of 8 x 8 positions, of networks of three convolutions."""
    start = time.process_time()
    networks = mf.simulate.sample(
        mf.conv(1, 0), N=N, L=3, d=64, K=4, nets=nets, sigma_w=2**0.5, sigma_b=0.3, keep=False, queries=30,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    found = mf.simulate.attack(networks, point(), eps=0.8, p=2, q=2, steps=STEPS, directions=1)
    return time.process_time() - start, float(found.value.mean())


def test_images(benchmark):
    """Against 512 channels with weights."""
    found = []
    benchmark.pedantic(lambda: found.append(on_images("inf", 32)), rounds=2, warmup_rounds=1)
    seconds, (finite, finite_value) = min(found)[0] / 32, min(on_images(512, 2) for _ in range(2))
    benchmark.extra_info["ratio"] = round(finite / 2 / seconds, 1)
    benchmark.extra_info["networks per second"] = round(1 / seconds)
    benchmark.extra_info["values"] = (round(found[0][1], 4), round(finite_value, 4))
