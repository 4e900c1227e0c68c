"""Networks on images: which positions the outputs depend on, and T2 against the depth, with both heads.

Profile: E J² at every position of an image, over ω^L/d, for convolutions that pad with zeros. It is the share of paths
of taps that end in an output, counted here by explicit loops: with the head "flatten" only paths count. Depth: the
attacked loss over ε β ω^{L/2}, at (2, 2), digits with ‖x‖² = d, 3 x 3 taps, ReLU, N = 128 channels.

Errors: each mean is compared at 4.5 standard errors (7e-6 of seeds for each of 64 positions); the seeds are fixed.

``python paper_checks/test_images.py FIGURE.png`` prints the table of docs/images.md and draws its figure, in some
minutes. ``pytest -m paper paper_checks/test_images.py`` runs the tests.
"""

import functools
import math
import sys

import numpy as np
import pytest
import torch

import advmf as mf

pytestmark = pytest.mark.paper

SIDE, D, K, N = 8, 64, 10, 128
SIGMA = {"sigma_w": 3**0.5, "sigma_b": 0.3}
OMEGA = 1.5
DEPTHS = (1, 2, 3, 4, 6, 8)
ALLOWED = 4.5
"""Standard errors."""


def net(padding="circular", head="flatten"):
    return mf.Net(mf.Serial(mf.Conv(padding=padding), mf.ReLULike(1, 0)), image=(1, SIDE, SIDE), head=head)


def sampled(declared, L, nets):
    return mf.simulate.sample(
        declared, N=N, L=L, d=D, K=K, nets=nets, generator=torch.Generator().manual_seed(L), keep=False, **SIGMA
    )


def digits(nets):
    return mf.simulate.load("digits").scaled(1.0).draw(nets, torch.Generator().manual_seed(1))[:, None]


def paths(padding, L):
    """For each position, the share of the paths of L taps, from any position, that end there; one where all are
    alike."""
    weight = np.ones((SIDE, SIDE))
    for _ in range(L):
        after = np.zeros_like(weight)
        for i in range(SIDE):
            for j in range(SIDE):
                for a in (i - 1, i, i + 1):
                    for b in (j - 1, j, j + 1):
                        if padding == "circular":
                            after[a % SIDE, b % SIDE] += weight[i, j] / 9
                        elif 0 <= a < SIDE and 0 <= b < SIDE:
                            after[a, b] += weight[i, j] / 9
        weight = after
    return weight


@functools.cache
def profile(padding, L, nets=400):
    """The mean over networks and outputs of J² at every position, over ω^L/d, and its standard errors."""
    J = sampled(net(padding), L, nets).jacobian(digits(nets))[:, 0]
    found = J.double().square().mean(1) * D / OMEGA**L
    return found.mean(0).reshape(SIDE, SIDE).numpy(), (found.std(0) / math.sqrt(nets)).reshape(SIDE, SIDE).numpy()


@functools.cache
def ratio(head, L, nets=100):
    """The mean attacked loss over ε β ω^{L/2}, and its standard error."""
    found = mf.simulate.attack(sampled(net(head=head), L, nets), digits(nets), eps=0.1, p=2, q=2, directions=1, steps=5)
    law = mf.kernel(mf.loss_bound(net(), 2, 2))
    bound = float(law(**{k: v for k, v in {"L": L, "d": D, "K": K, "eps": 0.1, **SIGMA}.items() if k in law.arguments}))
    values = found.value[:, 0].double() / bound
    return float(values.mean()), float(values.std()) / math.sqrt(nets)


@pytest.mark.parametrize("padding", ["circular", "zero"])
def test_the_jacobian_counts_paths(padding):
    """The control: without the edges' loss the profile is flat, and does not fit zeros beyond the edges."""
    mean, error = profile(padding, 4)
    away = np.abs(mean - paths(padding, 4)) / error
    assert (away < ALLOWED).all(), away
    other = np.abs(mean - paths("zero" if padding == "circular" else "circular", 4)) / error
    assert (other > ALLOWED).any()


@pytest.mark.parametrize("L", DEPTHS)
def test_the_attacked_loss_of_both_heads(L):
    """The bound holds of the flat head, and the control, 0.6 of it, is exceeded. The two heads are told apart: the
    average over positions does not exceed the control."""
    flat, error = ratio("flatten", L)
    assert 0.6 + ALLOWED * error < flat < 1 + ALLOWED * error, (flat, error)
    pooled, error = ratio("pool", L)
    assert pooled < 0.6 - ALLOWED * error, (pooled, error)


WIDE, REFERENCE = 256, (1.316, 0.026)
"""Channels, and the attacked loss over ε at L = 4, ω = 1 and (2, 2) that an independent simulation found, without this
package. The bound is 1.382."""


@functools.cache
def wide(head, nets=100):
    """The mean attacked loss over ε at L = 4, ω = 1 and 256 channels, and its standard error."""
    networks = mf.simulate.sample(
        net(head=head), N=WIDE, L=4, d=D, K=K, nets=nets, generator=torch.Generator().manual_seed(0), keep=False,
        sigma_w=2**0.5, sigma_b=0.0,
    )  # fmt: skip
    found = mf.simulate.attack(networks, digits(nets), eps=0.1, p=2, q=2, directions=1, steps=5).value[:, 0] / 0.1
    return float(found.double().mean()), float(found.double().std()) / math.sqrt(nets)


def test_the_loss_at_256_channels():
    """It agrees with the independent one and stands below the bound; a pooled head, and a bound 0.6 of this, do not."""
    bound = float(mf.kernel(mf.loss_bound(net(), 2, 2))(L=4, d=D, K=K, eps=1.0, sigma_w=2**0.5))
    assert bound == pytest.approx(1.382, abs=1e-3)
    mean, error = wide("flatten")
    assert abs(mean - REFERENCE[0]) < ALLOWED * math.hypot(error, REFERENCE[1]), (mean, error)
    assert 0.6 * bound + ALLOWED * error < mean < bound + ALLOWED * error, (mean, error)
    pooled, error = wide("pool")
    assert pooled < REFERENCE[0] - ALLOWED * math.hypot(error, REFERENCE[1]), ("the control", pooled, error)


def main(path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    mean, error = profile("zero", 4)
    print("profile, simulated/paths - 1, largest in standard errors:", np.abs((mean - paths("zero", 4)) / error).max())
    print("attack/ε at L = 4, ω = 1, 256 channels:", "; ".join(map(str, map(wide, ("flatten", "pool")))))
    print("| L | flatten | pool |\n| --- | --- | --- |")
    rows = {L: (ratio("flatten", L), ratio("pool", L)) for L in DEPTHS}
    for L, cells in rows.items():
        print(f"| {L} | " + " | ".join(f"{m:.3f} ± {e:.3f}" for m, e in cells) + " |")
    figure, (one, two, three) = plt.subplots(1, 3, figsize=(10, 3.1), layout="constrained")
    top = float(mean.max())
    for axes, values, title in ((one, mean, "simulated"), (two, paths("zero", 4), "paths of taps")):
        shown = axes.imshow(values, vmin=0, vmax=top, cmap="viridis")
        axes.set(title=f"E J² · d/ω⁴, {title}", xticks=[], yticks=[])
    figure.colorbar(shown, ax=[one, two], shrink=0.8)
    for at, (head, mark) in enumerate((("flatten", "o"), ("pool", "s"))):
        means, errors = zip(*(rows[L][at] for L in DEPTHS))
        three.errorbar(DEPTHS, means, yerr=[2 * e for e in errors], fmt=f"{mark}-", label=head, capsize=2)
    three.axhline(1, color="grey", lw=0.8, ls="--")
    three.set(xlabel="depth L", ylabel="attack / (ε β ω$^{L/2}$)", ylim=(0, 1.2))
    three.legend()
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main(sys.argv[1])
