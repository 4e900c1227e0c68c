"""The attack against projected gradient ascent of 100 steps from 8 starts: the values found and the time taken, in the
same run.

``value ratio`` is the attack's mean value over networks, divided by the ascent's; with so few networks it scatters by
about 0.03. ``time ratio`` is the ratio of their times. One thread is used, so that ratios do not depend on the load of
the machine.
"""

import math
import time

import pytest
import torch

import advmf as mf
from advmf.simulate import attack, pgd

N, L, D, K, NETS = 500, 10, 784, 10, 2
NETWORKS = {"vanilla": (mf.vanilla(1, 0), 2**0.5), "residual": (mf.residual(1, 0), 1.0)}
PAIRS = [(p, q) for p in (1, 2, math.inf) for q in (1, 2, math.inf)]
SIZES = {"small": 0.1, "large": 1.0}
"""The Euclidean norm of the perturbations in each ball."""


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module", params=NETWORKS)
def networks(request):
    net, sigma_w = NETWORKS[request.param]
    networks = mf.simulate.sample(
        net, N=N, L=L, d=D, K=K, nets=NETS, generator=torch.Generator().manual_seed(0), sigma_w=sigma_w, sigma_b=0.0
    )
    networks.forward(torch.ones(D))  # samples the weights
    return networks


def point():
    x = torch.randn(D, generator=torch.Generator().manual_seed(1))
    return x / x.norm() * D**0.5


def eps(p, size):
    return size / D**0.5 if math.isinf(p) else size


def compare(benchmark, networks, arguments):
    """Time the attack, then the ascent, on the same problems, given as a list of keyword arguments."""

    def run():
        return [attack(networks, point(), **own).value for own in arguments]

    found = torch.cat([value.flatten() for value in benchmark.pedantic(run, rounds=3, warmup_rounds=1)])
    return found, benchmark.stats.stats.min


def ascent(networks, arguments):
    start = time.perf_counter()
    found = [pgd(networks, point(), **own).value for own in arguments]
    return torch.cat([value.flatten() for value in found]), time.perf_counter() - start


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_one_pair(benchmark, networks, p, q, size):
    problem = [{"eps": eps(p, SIZES[size]), "p": p, "q": q}]
    found, seconds = compare(benchmark, networks, problem)
    long, long_seconds = ascent(networks, problem)
    benchmark.extra_info["value ratio"] = round(float(found.mean() / long.mean()), 3)
    benchmark.extra_info["time ratio"] = f"1/{long_seconds / seconds:.1f}"


def test_all_pairs_of_a_ball_at_once(benchmark, networks):
    """Three passes of three pairs, as eps depends on p, against nine runs of the ascent."""
    together = [{"eps": eps(p, 1.0), "p": [p] * 3, "q": [1, 2, math.inf]} for p in (1, 2, math.inf)]
    found, seconds = compare(benchmark, networks, together)
    long, long_seconds = ascent(networks, [{"eps": eps(p, 1.0), "p": p, "q": q} for p, q in PAIRS])
    benchmark.extra_info["value ratio"] = round(float(found.mean() / long.mean()), 3)
    benchmark.extra_info["time ratio"] = f"1/{long_seconds / seconds:.1f}"


def test_the_race_of_the_quick_suite(benchmark, networks):
    """One direction and 5 steps, on the nine pairs of ``advmf check``'s balls, against the default."""
    ps, qs = zip(*PAIRS)
    problem = {"eps": 0.1, "p": ps, "q": qs}
    small = mf.simulate.sample(
        networks.net, N=1000, L=5, d=64, K=K, nets=12, generator=torch.Generator().manual_seed(0), sigma_b=0.3,
        sampler="dense", sigma_w=networks.values["sigma_w"],
    )  # fmt: skip
    x = point()[:64] / point()[:64].norm() * 8
    found = benchmark.pedantic(lambda: attack(small, x, **problem, directions=1, steps=5).value, rounds=1)
    share = (found / attack(small, x, **problem).value).mean(0)
    benchmark.extra_info["mean share"], benchmark.extra_info["least"] = (
        round(float(share.mean()), 3),
        round(float(share.min()), 3),
    )


EXPONENTS = (1.0, 1.3, 2.0, 3.0, math.inf)
BALLS = {"|x|/10": 0.1, "|x|/2": 0.5}
"""Radius of a ball, as a share of the input's Euclidean length."""


@pytest.mark.parametrize("ball", BALLS)
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("p", EXPONENTS)
def test_share_of_the_best_found(benchmark, name, p, ball):
    """Mean and worst network for the table in docs/simulation.md, for q = 1, 2, oo. The methods are the default,
    ``steps=50, restarts=3``, and projected ascent of 100 steps from 8 points. Each value is divided by the best one
    found by any of them or by a race of 6 restarts with 100 steps."""
    net, sigma_w = NETWORKS[name]
    networks = mf.simulate.sample(
        net, N=150, L=5, d=64, K=K, nets=16, generator=torch.Generator().manual_seed(0), sigma_w=sigma_w, sigma_b=0.0
    )
    x = point()[:64] / point()[:64].norm() * 8
    radius = 8 * BALLS[ball] * 64 ** -max(0.0, 0.5 - 1 / p)
    problem = {"eps": radius, "p": [p] * 3, "q": [1, 2, math.inf]}
    found = {
        "default": benchmark.pedantic(lambda: attack(networks, x, **problem).value, rounds=1),
        "longer": attack(networks, x, **problem, steps=50, restarts=3).value,
        "projected ascent": pgd(networks, x, **problem).value,
        "longest": attack(
            networks, x, **problem, steps=100, restarts=6, generator=torch.Generator().manual_seed(1)
        ).value,
    }
    best = torch.stack(list(found.values())).amax(0)
    for method in ("default", "longer", "projected ascent"):
        share = found[method] / best
        means, worst = share.mean(0).tolist(), share.amin(0).tolist()
        benchmark.extra_info[method] = " ".join(f"{m:.3f} ({w:.2f})" for m, w in zip(means, worst))
