"""The law of networks of infinite width against networks of a million units, by Kolmogorov and Smirnov's test.

``mf.simulate.sample(net, N="inf")`` draws outputs, Jacobians and attacks from the limit's Gaussian process. The other
sample is of conditioned networks, whose law is that of explicit Gaussian matrices of N columns. Their departure from
the limit is of order L sqrt(K d)/N = 7e-6, far below what the test resolves. With n networks on one side and many on
the other, that is a distance of distribution functions of 2.2/sqrt(n) = 0.16.

Errors: nine numbers of a network are compared in five nets, each at a level of 1e-4, so a true law fails once in 220
runs; the seeds are fixed. The controls are the limit of another sigma_w, and of another depth. Each must be refuted.

``python paper_checks/test_limit_law.py`` prints the p-values. ``pytest -m paper paper_checks/test_limit_law.py`` runs
the tests, in an hour on one core of a busy machine.
"""

import functools
import math
import time

import pytest
import torch
from scipy import stats

import advmf as mf

pytestmark = pytest.mark.paper

N, L, D, K, EPS = 10**6, 2, 6, 2, 1.5
WIDE, ENDLESS, BATCH = 200, 10_000, 2
"""Networks of each sample, and conditioned networks that are held in memory at a time."""
ALPHA = 1e-4
NETS = {
    "vanilla relu": (mf.vanilla(1, 0), 1.7),
    "residual relu": (mf.residual(1, 0), 1.0),
    "pre_norm gelu": (mf.pre_norm(phi="gelu"), 1.5),
    "vanilla elu": (mf.vanilla(phi="elu"), 1.4),
    "plain_residual selu": (mf.plain_residual(phi="selu"), 0.9),
}
"""A network and its sigma_w."""
CONTROLS = {"sigma_w": {"factor": 1.3}, "depth": {"L": L + 1}}
POINTS = torch.randn(2, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
X, OTHER = POINTS / POINTS.norm(dim=1, keepdim=True) * math.sqrt(D)


def observed(networks):
    """Numbers of each network: values at two inputs, the Jacobian, and an attack."""
    f, other, J = networks.forward(X), networks.forward(OTHER), networks.jacobian(X)
    loss = mf.simulate.attack(networks, X, eps=EPS, p=2, q=2, steps=2, directions=1).value
    norm, along = torch.linalg.matrix_norm(J, 2), J[:, 1] @ X.to(J)
    return {
        "f": f[:, 0],
        "f of another": other[:, 1],
        "product": f[:, 0] * other[:, 0],
        "entry": J[:, 0, 1],
        "along": along,
        "offset": f[:, 1] - along,
        "norm": norm,
        "attack": loss,
        "gain": loss / norm,
    }


def sample(name, width, nets, seed, L=L, factor=1.0, **options):
    net, sigma_w = NETS[name]
    return mf.simulate.sample(
        net, N=width, L=L, d=D, K=K, nets=nets, sigma_w=factor * sigma_w, sigma_b=0.4,
        generator=torch.Generator().manual_seed(seed), **options,
    )  # fmt: skip


@functools.cache
def wide(name):
    """The conditioned networks, a few at a time: a network of a million units takes 230 MB."""
    parts = [
        observed(sample(name, N, BATCH, seed, sampler="conditioned", queries=12, dtype=torch.float32))
        for seed in range(WIDE // BATCH)
    ]
    return {key: torch.cat([part[key] for part in parts]).double().numpy() for key in parts[0]}


def endless(name, **wrong):
    networks = sample(name, "inf", ENDLESS, 10**6, dtype=torch.float64, **wrong)
    return {key: value.double().numpy() for key, value in observed(networks).items()}


def p_values(name, **wrong):
    """Of each number, that both samples have one law."""
    one, two = wide(name), endless(name, **wrong)
    return {key: float(stats.ks_2samp(one[key], two[key], method="asymp").pvalue) for key in one}


@pytest.mark.parametrize("name", NETS)
def test_the_limit_has_the_law_of_a_million_units(name):
    found = p_values(name)
    assert min(found.values()) > ALPHA, found


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("name", NETS)
def test_another_limit_has_not(name, control):
    found = p_values(name, **CONTROLS[control])
    assert min(found[key] for key in ("norm", "attack")) < ALPHA, found


if __name__ == "__main__":
    torch.set_num_threads(1)
    keys = ["f", "f of another", "product", "entry", "along", "offset", "norm", "attack", "gain"]
    print("| net | limit |", " | ".join(keys), "|")
    print("| --- " * (2 + len(keys)) + "|")
    for name in NETS:
        start = time.perf_counter()
        for words, wrong in {"right": {}, **{f"wrong {key}": values for key, values in CONTROLS.items()}}.items():
            found = p_values(name, **wrong)
            print("|", " | ".join([name, words, *(f"{found[key]:.2g}" for key in keys)]), "|", flush=True)
        print(f"{time.perf_counter() - start:.0f} s", flush=True)
