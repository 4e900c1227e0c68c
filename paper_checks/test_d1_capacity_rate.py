"""D1 at scale: the rate of the capacity at t = 0, measured over claimed, for N -> oo.

L = 3, d = 9, K = 3, sigma_b = 0, omega = 1.5, ladders of conditioned networks, extrapolated in 1/N: nine pairs and one
with p = 1.3, for linear, leaky ReLU, ReLU and residual ReLU networks. Convolutions at (2, 2), with other depths and
kernels. docs/training.md has the tables.

The rate is measured inside a linear region, and averaged over output layers. Networks that are attacked in a finite
ball give the same mean, and scatter more, most where the ball is so small that few units switch between x and x + eta.
Inputs are random signs. Images have empty patches, where a convolution without biases has no linear region.

Run with ``pytest -m paper paper_checks/test_d1_capacity_rate.py``; ``python paper_checks/test_d1_capacity_rate.py``
prints the tables.
"""

import functools
import sys

import numpy as np
import pytest
import torch

import advmf as mf
from advmf.observables import MeanCapacitySlope
from advmf.simulate.estimate import measure
from advmf.simulate.probe import AttackSettings
from advmf.theorems import THEOREMS
from advmf.theory.norms import closest
from advmf.theory.propagation import slopes
from advmf.verify.statistics import Design
from advmf.verify.verdict import Verdict

pytestmark = pytest.mark.paper

PAIRS = [*((p, q) for p in (1, 2, "inf") for q in (1, 2, "inf")), ("13/10", 4)]
WIDTHS, NETS = (512, 1024, 4096, 8192), (1200, 240, 90, 600)
SIGNS = {d: mf.simulate.Images("signs", np.random.default_rng(0).choice([-1.0, 1.0], (512, d))) for d in (6, 9)}
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
    found = mf.check_all(
        [*claims, *wrong], at=at, data=SIGNS[9], widths=WIDTHS, nets=NETS, design=Design(effect=0.1), progress=False
    )
    return found[: len(claims)], found[len(claims) :]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_rate_is_as_claimed(name):
    own, wrong = reports(name)
    assert all(report.verdict is Verdict.SUPPORTED for report in own), [str(report) for report in own]
    assert all(report.verdict is Verdict.REFUTED for report in wrong), [str(report) for report in wrong]


CONVOLUTIONS = {
    "kernel 3, L = 1": (mf.conv(1, 0, image=(1, 6)), 1),
    "kernel 3, L = 2": (mf.conv(1, 0, image=(1, 6)), 2),
    "kernel 3, L = 3": (mf.conv(1, 0, image=(1, 6)), 3),
    "kernel 5, L = 2": (mf.conv(1, 0, kernel=5, image=(1, 6)), 2),
    "residual, L = 2": (mf.conv_residual(1, 0, image=(1, 6)), 2),
}


@functools.cache
def convolution(name):
    """The report on the claim at (2, 2), without biases."""
    net, L = CONVOLUTIONS[name]
    gain = 0.5 if "residual" in name else 1.5
    at = {"L": L, "d": 6, "K": 2, "sigma_w": (2 * gain) ** 0.5, "sigma_b": 0.0, "eps": 0.1}
    options = {"widths": (96, 192, 1024, 2048), "nets": (900, 120, 30, 160), "design": Design(effect=0.15)}
    return mf.check(mf.capacity_rate(net, 2, 2, "spectral"), at, data=SIGNS[6], progress=False, **options)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name):
    assert convolution(name).verdict is Verdict.SUPPORTED, str(convolution(name))


PATCHES = {"1, 1, 1, 1": False, "1, -1, 1, -1": False, "1, 2, 3, -1": False, "1, 0, 0, 0": True}
"""Images of one axis, and whether all pixels of a patch of three are zero."""


def at_image(image, N, nets):
    """Measured over claimed for `conv` without biases at one image, and its standard error."""
    net, at = mf.conv(1, 0, image=(1, 4)), {"L": 2, "d": 4, "K": 2, "sigma_w": 2.0, "sigma_b": 0.0}
    x = torch.tensor([float(pixel) for pixel in image.split(",")])
    networks = mf.simulate.sample(
        net, N=N, nets=nets, keep=False, queries=20, generator=torch.Generator().manual_seed(0), **at
    )
    columns = networks.inputs(x / x.norm() * 2)
    settings = AttackSettings(eps=0.1)
    found = [
        measure(chunk.trace(columns), columns, [MeanCapacitySlope(2, 2)], settings, torch.Generator())[:, 0]
        for chunk in networks.chunks()
    ]
    point = {**at, "N": N, "x_sq": 1.0, "eps": 0.1}
    claims = [mf.kernel(claim) for claim in (mf.capacity_rate(net, 2, 2, "spectral"), mf.capacity(net))]
    rate, C = (float(f(**{k: value for k, value in point.items() if k in f.arguments})) for f in claims)
    ratio = torch.cat(found) / (rate * C)
    return float(ratio.mean()), float(ratio.std()) / nets**0.5


@pytest.mark.parametrize("image", PATCHES)
def test_at_an_empty_patch_the_rate_is_another(image):
    value, error = at_image(image, 1024, 150)
    assert (abs(value - 1.2) if PATCHES[image] else abs(value - 1.02)) < 0.05 + 4 * error
    assert (value - 4 * error > 1.05) == PATCHES[image]


@functools.cache
def excess(name, L, d, K, nets=600):
    """How much higher the rate is at finite width, in units of L K d/N, and its standard error: at (2, 2), where N is
    some four times L K d."""
    net, N = NETWORKS[name], 4 * L * d * K
    u, v = map(float, slopes(net))
    at = {"L": L, "N": N, "d": d, "K": K, "sigma_b": 0.0, "x_sq": 1.0, "eps": 0.1}
    at["sigma_w"] = (2 * (1.5 if net.name == "vanilla" else 0.5) / (u**2 + v**2)) ** 0.5
    generator, sizes = torch.Generator().manual_seed(0), {k: at[k] for k in ("L", "N", "d", "K", "sigma_w", "sigma_b")}
    networks = mf.simulate.sample(net, nets=nets, queries=3 * d + 8, keep=False, generator=generator, **sizes)
    x, found, first = torch.randint(0, 2, (nets, d, 1, 1), generator=generator) * 2.0 - 1, [], 0
    for chunk in networks.chunks():
        own = x[first : first + chunk.nets]
        found.append(
            measure(chunk.trace(own), own, [MeanCapacitySlope(2, 2)], AttackSettings(eps=0.1), generator)[:, 0]
        )
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
    for name in sys.argv[1:] or (*NETWORKS, *CONVOLUTIONS, *PATCHES):
        if name in PATCHES:
            rows = [at_image(name, N, nets) for N, nets in ((64, 400), (256, 300), (1024, 150), (4096, 20))]
            print(f"{name:16s} ", *(f"{value:.3f} ± {error:.3f}" for value, error in rows), flush=True)
            continue
        own, wrong = reports(name) if name in NETWORKS else ([convolution(name)], [])
        for report in own:
            (finding,) = report.findings
            print(
                f"{name:16s} {report.p!s:>6s} {report.q!s:>4s}  {finding.estimate:.3f} ± {finding.stderr:.3f} {report.verdict}",
                flush=True,
            )
        refuted = sum(r.verdict is Verdict.REFUTED for r in wrong)
        print(f"{name}: wrong versions refuted: {refuted} of {len(wrong)}", flush=True)
