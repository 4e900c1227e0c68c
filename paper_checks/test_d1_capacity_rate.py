"""D1 at scale: the rate of the capacity at t = 0, measured over claimed, for N -> oo.

L = 3, d = 9, K = 3, sigma_b = 0, omega = 1.5, ladders of conditioned networks, extrapolated in 1/N.
docs/training.md has the tables of runs with fewer networks (linear: 8,000 of each width, on digits; ReLU: 5,000, on
random signs): 0.94 to 0.99 (± 0.015 to 0.04) and 0.96 to 1.03 (± 0.04 to 0.08).

The rate is measured inside a linear region. Networks that are attacked in a finite ball give the same mean, and scatter
more, most where the ball is so small that few units switch between x and x + eta.

At finite width the rate is higher, by c L K d/N with c = 0.61 ± 0.04 for linear networks (seven points, chi-square 6.2
at 6 degrees of freedom), 0.6 to 1.4 for ReLU and 0.7 to 1.3 for residual ReLU networks.

Run with ``pytest -m paper paper_checks/test_d1_capacity_rate.py``; ``python paper_checks/test_d1_capacity_rate.py``
prints the table.
"""

import functools
import subprocess
import sys

import numpy as np
import pytest
import torch

import advmf as mf
from advmf.observables import CapacitySlope
from advmf.simulate.estimate import measure
from advmf.simulate.probe import AttackSettings
from advmf.theorems import THEOREMS
from advmf.theory.norms import closest
from advmf.theory.propagation import slopes
from advmf.verify.statistics import Design
from advmf.verify.verdict import Verdict

pytestmark = pytest.mark.paper

PAIRS = [*((p, q) for p in (1, 2, "inf") for q in (1, 2, "inf")), ("13/10", 4)]
WIDTHS, NETS = (512, 1024, 4096, 8192), (10_000,) * 4
SIGNS = mf.simulate.Images("signs", np.random.default_rng(0).choice([-1.0, 1.0], (512, 9)))
"""Inputs of entries of one size: the rate is in proportion to ⟨x, eta⟩², which scatters less than for images."""
NETWORKS = {
    "linear": mf.vanilla(1, 1),
    "leaky": mf.vanilla(1, "1/10"),
    "relu": mf.vanilla(1, 0),
    "residual relu": mf.residual(1, 0),
}


@functools.cache
def reports(name):
    """The reports on the claim at each pair, and on its wrong versions at (2, 2)."""
    net = NETWORKS[name]
    u, v = map(float, slopes(net))
    gain = 1.5 if net.name == "vanilla" else 0.5
    at = {"L": 3, "d": 9, "K": 3, "sigma_w": (2 * gain / (u**2 + v**2)) ** 0.5, "sigma_b": 0.0, "eps": 0.1}
    claims = [mf.capacity_rate(net, p, q, closest(p, q)) for p, q in PAIRS]
    wrong = THEOREMS["D1"].wrong(claims[PAIRS.index((2, 2))])
    found = mf.check_all([*claims, *wrong], at=at, widths=WIDTHS, nets=NETS, design=Design(effect=0.15), progress=False)
    return found[: len(claims)], found[len(claims) :]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_rate_is_as_claimed(name):
    own, wrong = reports(name)
    assert all(report.verdict is Verdict.SUPPORTED for report in own), [str(report) for report in own]
    assert all(report.verdict is Verdict.REFUTED for report in wrong), [str(report) for report in wrong]


@pytest.mark.parametrize("name", ["vanilla", "residual", "preactivation", "pyramid", "conv", "conv_residual"])
def test_every_preset_that_it_speaks_of(name):
    """At (2, 2), as ``advmf check`` has it where a network is named: supported, and every control refuted."""
    words = ["check", "--theorem", "D1", "--net", name, "--activation", "relu", "--p", "2", "--q", "2"]
    assert subprocess.run([sys.executable, "-m", "advmf.cli", *words]).returncode == 0


@functools.cache
def excess(name, L, d, K, nets=4000):
    """How much higher the rate is at finite width, in units of L K d/N, and its standard error: at (2, 2), where N is
    some four times L K d."""
    net, N = NETWORKS[name], 4 * L * d * K
    u, v = map(float, slopes(net))
    at = {"L": L, "N": N, "d": d, "K": K, "sigma_b": 0.0, "x_sq": 1.0, "eps": 0.1}
    at["sigma_w"] = (2 * (1.5 if net.name == "vanilla" else 0.5) / (u**2 + v**2)) ** 0.5
    generator, sizes = torch.Generator().manual_seed(0), {k: at[k] for k in ("L", "N", "d", "K", "sigma_w", "sigma_b")}
    networks = mf.simulate.sample(net, nets=nets, queries=min(K, d) + 8, keep=False, generator=generator, **sizes)
    x, found, first = torch.randint(0, 2, (nets, d, 1, 1), generator=generator) * 2.0 - 1, [], 0
    for chunk in networks.chunks():
        own = x[first : first + chunk.nets]
        found.append(measure(chunk.trace(own), own, [CapacitySlope(2, 2)], AttackSettings(eps=0.1), generator)[:, 0])
        first += chunk.nets
    claims = [mf.kernel(claim) for claim in (mf.capacity_rate(net, 2, 2, "spectral"), mf.capacity(net))]
    rate, C = (float(f(**{k: value for k, value in at.items() if k in f.arguments})) for f in claims)
    ratio = torch.cat(found) / (rate * C)
    return (float(ratio.mean()) - 1) * 4, float(ratio.std()) / nets**0.5 * 4


@pytest.mark.parametrize("name", ["linear", "relu", "residual relu"])
def test_finite_width_adds_about_L_K_d_over_N(name):
    for L, d, K in ((2, 8, 4), (2, 4, 8), (6, 4, 2)):
        value, error = excess(name, L, d, K)
        assert 0.3 < value + 4 * error and value - 4 * error < 2, (name, L, d, K, value, error)


if __name__ == "__main__":
    for name in sys.argv[1:] or NETWORKS:
        own, wrong = reports(name)
        for (p, q), report in zip(PAIRS, own):
            (finding,) = report.findings
            print(
                f"{name:14s} {p!s:>6s} {q!s:>4s}  {finding.estimate:.3f} ± {finding.stderr:.3f} {report.verdict}",
                flush=True,
            )
        print(
            f"{name}: wrong versions refuted: {sum(r.verdict is Verdict.REFUTED for r in wrong)} of {len(wrong)}",
            flush=True,
        )
