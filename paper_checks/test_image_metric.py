"""Pooled networks at a given image: attacks in small balls against norms of matrices with rows N(0, Σ(x)).

As ε -> 0 and N -> oo the mean adversarial loss at x is ε E‖J‖_{p -> q}, where J has K independent rows N(0, Σ(x))
(:func:`advmf.image_metric`). Attacked: networks of N = 128 channels, L = 2, σ_w = 2, σ_b = 0.3, K = 4, pooled head, at
three digits and ε = 1e-3. The bound for all images (:func:`advmf.loss_bound`) is five to ten times as large.

A ratio of attack to norm departs where it is more than 4.5 standard errors (7e-6 of seeds for each of nine pairs; seeds
are fixed) and 3 % from one: at finite width E‖J‖ is larger by a term of order 1/N. The controls are a norm by a wrong
Σ(x) and the bound for all images. For p = 1 the wrong Σ is that of an image of equal pixels. For other p it is that of
positions taken for independent: for these p a constant change is nearly the worst one, and images hardly differ in what
it does. With a digit's pixels in random order the norm changes by 6 to 9 % at all pairs, which is not resolved here.

``python paper_checks/test_image_metric.py`` prints the table of docs/images.md. ``pytest -m paper
paper_checks/test_image_metric.py`` runs the tests.
"""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch

import advmf as mf

pytestmark = pytest.mark.paper

NET, L, K, N, NETS, EPS = mf.conv(1, 0, head="pool"), 2, 4, 128, 60, 1e-3
AT = {"sigma_w": 2.0, "sigma_b": 0.3}
PAIRS = [(p, q) for p in (1, 2, "inf") for q in (1, 2, "inf")]
IMAGES = 3
ALLOWED, WITHIN = 4.5, 0.03


def digits():
    return mf.simulate.load("digits").scaled(1.0).x[:IMAGES]


@functools.cache
def attacked(p, q):
    """For each digit the mean attacked loss over ε, and its standard error."""
    found = []
    for i, x in enumerate(digits()):
        networks = mf.simulate.sample(
            NET, N=N, L=L, d=64, K=K, nets=NETS, generator=torch.Generator().manual_seed(i), keep=False, **AT
        )
        x = torch.tensor(x)
        value = mf.simulate.attack(networks, x, eps=EPS, p=p, q=q, directions=1, steps=5).value.double().ravel() / EPS
        found.append((float(value.mean()), float(value.std()) / NETS**0.5))
    return found


@functools.cache
def metrics(of="digit"):
    """Σ(x) for each digit; that of a constant image of the same mean square; or that of independent positions."""
    flat = mf.image_metric(mf.conv(1, 0), digits()[0], L=L, **AT)
    return {
        "digit": lambda: [mf.image_metric(NET, x, L=L, **AT) for x in digits()],
        "constant": lambda: [mf.image_metric(NET, np.ones(64), L=L, **AT)] * IMAGES,
        "independent": lambda: [replace(flat, diagonal=flat.diagonal / 64)] * IMAGES,
    }[of]()


def ratio(p, q, of="digit"):
    """Attack over norm, over all digits, and its standard error."""
    cells = [(a / m, a / m * np.hypot(e / a, s / m)) for (a, e), (m, s) in zip(attacked(p, q), norms(p, q, of))]
    return float(np.mean([r for r, _ in cells])), float(np.sqrt(sum(e**2 for _, e in cells)) / IMAGES)


@functools.cache
def norms(p, q, of="digit"):
    return [each.sampled(p, q, K, samples=400) for each in metrics(of)]


def departs(found, error):
    return abs(found - 1) > WITHIN + ALLOWED * error


@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_attacks_in_small_balls_have_the_norm_of_the_metric(p, q):
    assert not departs(*ratio(p, q)), ratio(p, q)
    every = float(mf.kernel(mf.loss_bound(NET, p, q))(L=L, sigma_w=2.0, d=64, K=K, eps=1.0))
    for (value, error), metric in zip(attacked(p, q), metrics()):
        assert value - ALLOWED * error < metric.beta(p, q, K) < every, "a bound, and sharper than that for all images"
        assert departs(value / every, error / every), "the control"
    wrong = ratio(p, q, "constant" if p == 1 else "independent")
    assert departs(*wrong), ("the control", wrong)


def main():
    print("| | " + " | ".join(f"{p},{q}".replace("inf", "∞") for p, q in PAIRS) + " |\n" + "| --- " * 10 + "|")
    rows = {
        "attack over norm with Σ(x)": [],
        "standard error": [],
        "attack over bound at x": [],
        "attack over bound for all images": [],
    }
    for p, q in PAIRS:
        mean, error = ratio(p, q)
        every = float(mf.kernel(mf.loss_bound(NET, p, q))(L=L, sigma_w=2.0, d=64, K=K, eps=1.0))
        values = [a for a, _ in attacked(p, q)]
        own = np.mean([a / metric.beta(p, q, K) for a, metric in zip(values, metrics())])
        for row, cell in zip(rows.values(), (mean, error, own, np.mean(values) / every)):
            row.append(f"{cell:.3f}")
    for name, cells in rows.items():
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
