"""Robust overfitting in the kernel regime: the loss on held-out digits rises while that on the trained ones falls.

Cross-entropy + adversarial loss, eps = 0.3, (2, 2), to N t = 600, from f_0 = 0. Twelve digits of three classes (d = 16,
L = 2) are trained on and a hundred others are held out; every split is another draw of both. docs/training.md has the
table. Run with ``pytest -m paper paper_checks/test_robust_overfitting.py``; ``python
paper_checks/test_robust_overfitting.py`` prints it.
"""

import functools

import numpy as np
import pytest
import torch

import advmf as mf

pytestmark = pytest.mark.paper

NETS = {"relu": (mf.vanilla(1, 0), 2**0.5), "erf": (mf.vanilla(phi=mf.Activation("erf")), 1.5)}
SIZES = {"N": 1000, "L": 2, "d": 16, "K": 3, "sigma_b": 0.1}
TIME, STEPS, LOGS = 600.0, 80, 8
EARLY = 2
"""The log at N t = 150."""
NAMES = ("standard", "adversarial", "held_standard", "held_adversarial", "robust")


def data(split, count):
    """Trained and held-out digits."""
    found = mf.simulate.load("digits").resampled(SIZES["d"]).scaled(1.0)
    order = np.random.default_rng(split).permutation(np.flatnonzero(found.labels < SIZES["K"]))
    return [
        mf.simulate.Images(f"digits {split}", found.x[at], found.labels[at])
        for at in (order[:count], order[count : count + 100])
    ]


@functools.cache
def course(name, split, count=12, steps=STEPS, trained=False):
    """The logs of NAMES, each (9,): in the kernel regime from f_0 = 0, or ``trained`` networks and the kernel regime
    from their f_0."""
    net, sigma_w = NETS[name]
    generator = torch.Generator().manual_seed(split)
    drawn = {"nets": 1, "keep": True, "sampler": "dense", "generator": generator}
    networks = mf.simulate.sample(net, sigma_w=sigma_w, **SIZES, **drawn)
    few, others = data(split, count)
    options = {"loss": "both", "eps": 0.3, "steps": steps, "rate": TIME / SIZES["N"] / steps, "attack_steps": 1}
    options |= {"held_out": others, "log_every": steps // LOGS}
    runs = [mf.kernel_flow(networks, few, centred=not trained, memory=2**33, **options)]
    if trained:
        runs.append(mf.simulate.train(networks, few, batch="all", **options))
    return np.array([[np.asarray(getattr(run, name))[:, 0] for name in NAMES] for run in runs])


def rises(name, splits, **options):
    """By how much the trained loss, the held-out loss and held-out robust accuracy rise from N t = 150 to 600: the
    means over splits, and their standard errors."""
    runs = np.array([course(name, split, **options)[0] for split in splits])
    totals = runs[:, 0] + runs[:, 1], runs[:, 2] + runs[:, 3], runs[:, 4]
    late = [each[:, -1] - each[:, EARLY] for each in totals]
    return [(each.mean(), each.std(ddof=1) / len(splits) ** 0.5) for each in late]


@pytest.mark.parametrize(("name", "splits"), [("erf", range(6)), ("relu", range(3))])
def test_the_held_out_loss_rises_while_the_trained_loss_falls(name, splits):
    (trained, error), (held, wide), _ = rises(name, splits)
    assert trained < -3 * error and held > 3 * wide


def test_with_more_digits_it_does_not_rise():
    """The control: thirty digits in place of twelve."""
    _, (held, _), _ = rises("erf", range(1, 4), count=30, steps=40)
    assert held < 0.01


if __name__ == "__main__":
    for name, splits, options in (
        ("erf", range(6), {}),
        ("relu", range(3), {}),
        ("erf", range(1, 4), {"count": 30, "steps": 40}),
    ):
        for what, (rise, error) in zip(("trained", "held out", "robust"), rises(name, splits, **options)):
            print(name, options, what, f"{rise:.4f} ± {error:.4f}", flush=True)
    for split, steps in ((1, 40), (4, 40), (0, 80)):
        for what, run in zip(("kernel regime", "trained"), course("erf", split, steps=steps, trained=True)):
            print("erf", what, split, (run[0] + run[1]).round(3), "held out", (run[2] + run[3]).round(3), flush=True)
