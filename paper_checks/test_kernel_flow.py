"""The kernel regime against training: cross-entropy and adversarial loss on twelve digits, over widths.

docs/training.md has the table. Run with ``pytest -m paper paper_checks/test_kernel_flow.py``; ``python
paper_checks/test_kernel_flow.py`` prints its rows, and with ``relu:4000`` or others after it only those.
"""

import functools
import sys

import numpy as np
import pytest
import torch

import advmf as mf

pytestmark = pytest.mark.paper

NETS = {"relu": (mf.vanilla(1, 0), 2**0.5), "erf": (mf.vanilla(phi=mf.Activation("erf")), 1.5)}
SIZES = {"L": 2, "d": 16, "K": 3, "sigma_b": 0.1}
TIME, STEPS, NETWORKS = 20.0, 20, 4
CURVES = ("adversarial", "standard", "accuracy", "robust")


@functools.cache
def images():
    """Twelve images of three classes, and thirty others."""
    found = mf.simulate.load("digits").resampled(SIZES["d"]).scaled(1.0)
    at = np.flatnonzero(found.labels < SIZES["K"])
    return [
        mf.simulate.Images(f"digits {part}", found.x[at[part]], found.labels[at[part]])
        for part in (slice(12), slice(12, 42))
    ]


@functools.cache
def curves(name, N, loss="both"):
    """Trained networks, and the kernel regime from the same f_0, at five times: each (5, networks)."""
    net, sigma_w = NETS[name]
    generator = torch.Generator().manual_seed(0)
    options = {"nets": NETWORKS, "sigma_w": sigma_w, "keep": True, "sampler": "dense", "generator": generator}
    networks = mf.simulate.sample(net, N=N, **SIZES, **options)
    few, others = images()
    course = {
        "loss": loss,
        "rate": TIME / N / STEPS,
        "steps": STEPS,
        "eps": 0.3,
        "held_out": others,
        "log_every": STEPS // 4,
    }
    claimed = mf.kernel_flow(networks, few, **course)
    trained = mf.simulate.train(networks, few, batch="all", **course)
    return [(name, getattr(trained, name).numpy(), getattr(claimed, name)) for name in CURVES]


@pytest.mark.parametrize("name", NETS)
def test_features_move_less_in_wider_networks(name):
    """The departure of the cross-entropy at the end falls with width, and is below 6 % at N = 1000."""
    off = [
        np.mean(abs(found[-1] / claimed[-1] - 1))
        for N in (125, 1000)
        for what, found, claimed in curves(name, N)
        if what == "standard"
    ]
    assert off[1] < 0.06 and off[1] < 0.6 * off[0]


def row(name, N, loss="both"):
    """A row of the table: trained/kernel regime at N t = 0, 5, 10 and 20, or at the end, and the standard error of the
    difference at the end."""
    cells = [f"{name}, {N:,}" + ("" if loss == "both" else f", {loss}")]
    by_name = {what: (found, claimed) for what, found, claimed in curves(name, N, loss)}
    for what, times in (("standard", TIMES), ("adversarial", TIMES), ("accuracy", [-1]), ("robust", [-1])):
        found, claimed = by_name[what]
        error = (found - claimed)[-1].std(ddof=1) / NETWORKS**0.5
        both = ", ".join(f"{found[i].mean():.3f}/{claimed[i].mean():.3f}" for i in times)
        cells.append(f"{both} (± {error:.3f})")
    return f"| {' | '.join(cells)} |"


TIMES = (0, 1, 2, 4)
ROWS = [(name, N, "both") for name in NETS for N in (125, 250, 1000, 4000)] + [("erf", 250, "both-squared")]

if __name__ == "__main__":
    asked = [tuple(each.split(":")) for each in sys.argv[1:]]
    for name, N, loss in ROWS:
        if not asked or (name, str(N)) in asked:
            print(row(name, N, loss), flush=True)
