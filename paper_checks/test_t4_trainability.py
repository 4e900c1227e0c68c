"""T4 against training: when the variance leaves its band, and whether deep networks learn under adversarial training.

On the adversarial loss alone, vanilla ReLU, N = 32, eps = 1, m = 0.5, L = 2, 4, 6: T4's t* is 8.4, 4.6, 3.1; the median
of 24 networks has not left the band by 4 t*. At t* the median of prod_l alpha sigma_l² is 0.69, 0.79, 0.86 in place of
0.5, and the loss is at 0.12, 0.05, 0.03 of its start: what drives the variance is gone by then.

With cross-entropy, 150 steps of 0.02, N = 128, 3 networks, eps = 1 (images have the norm 8), held-out accuracy
(robust):

    L   vanilla, standard   vanilla, adversarial   residual, standard   residual, adversarial
    4   0.93 (0.68)         0.83 (0.58)            0.94 (0.74)          0.90 (0.71)
    12  0.73 (0.25)         0.26 (0.12)            0.96 (0.72)          0.91 (0.69)
    24  0.39 (0.18)         0.10 (0.05)            0.97 (0.74)          0.94 (0.72)

Deep vanilla networks do worse under standard training too, and adversarial training stops them: their outputs collapse,
cross-entropy at ln 10, while sigma_w² stays within 1 % of its start. So the verdict is T4's, but not by the fall of the
variance.

Errors: a gap between means of three networks scatters by about 0.07 (seeds and 200 images), so one of 0.47 or more is
below 0.3 in some 1 % of seeds.

Run with ``pytest -m paper paper_checks/test_t4_trainability.py``; ``python paper_checks/test_t4_trainability.py
[accuracy.png]`` prints the tables, and draws the second.
"""

import functools
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import advmf as mf
from advmf.experiments import figures

pytestmark = pytest.mark.paper

N, EDGE, NETS = 32, 0.5, 24
"""Narrow networks, in which T4's time is short, and the lower edge of the band."""
STEPS, EPS = 40, 1.0
"""Steps to T4's time; eps where images have the norm 8."""
RATE = 0.02


@functools.cache
def escape(L):
    """T4's time; the median over networks of the time outside the band over T4's, up to 4; and at T4's time the median
    of the product of alpha sigma_l² and the loss over its start."""
    net = mf.vanilla(1, 0)
    law = mf.kernel(mf.escape_time(net, 2, 2, "estimate"))
    point = {"N": N, "L": L, "d": 64, "K": 10, "sigma_w": 2**0.5, "eps": EPS, "m": EDGE, "M": 2.0}
    time = float(law(**{k: v for k, v in point.items() if k in law.arguments}))
    networks = mf.simulate.sample(
        net, N=N, L=L, d=64, K=10, nets=NETS, sigma_w=2**0.5, sigma_b=0.0, sampler="dense",
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    run = mf.simulate.train(
        networks,
        mf.simulate.load("digits").scaled(1.0),
        loss="adversarial",
        eps=EPS,
        rate=time / STEPS,
        steps=4 * STEPS,
    )
    product = (run.variance / 2).prod(2).numpy()
    left = [np.argmax(p < EDGE) / STEPS if (p < EDGE).any() else math.inf for p in product.T]
    loss = run.adversarial.mean(1)
    return time, float(np.median(left)), float(np.median(product[STEPS])), float(loss[STEPS] / loss[0])


@functools.cache
def accuracy(name, L, loss):
    """Plain and robust accuracy on 200 held-out digits of three networks of width 128, after 150 steps of 16 images,
    and their cross-entropy."""
    images, held = mf.simulate.load("digits").scaled(1.0).split(200, torch.Generator().manual_seed(0))
    net, sigma_w = (mf.vanilla(1, 0), 2**0.5) if name == "vanilla" else (mf.residual(1, 0), (2 / L) ** 0.5)
    networks = mf.simulate.sample(
        net, N=128, L=L, d=64, K=10, nets=3, sigma_w=sigma_w, sigma_b=0.0, sampler="dense",
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    run = mf.simulate.train(
        networks, images, loss=loss, eps=EPS, rate=RATE, steps=150, log_every=150, held_out=held, batch=16
    )
    variance = run.variance[-1] / run.variance[0]
    return run.accuracy[-1].numpy(), run.robust[-1].numpy(), float(run.standard[-1].mean()), float(variance.mean())


@pytest.mark.parametrize("L", [2, 4, 6])
def test_the_loss_is_gone_before_the_variance_leaves_the_band(L):
    _, left, product, loss = escape(L)
    assert left > 1.5
    assert product > EDGE
    assert loss < 0.5 * EDGE**0.5


def test_deep_networks_learn_with_shortcuts_only():
    assert (accuracy("residual", 24, "both")[0].min() - accuracy("vanilla", 24, "both")[0].max()) > 0.3
    assert (accuracy("residual", 12, "both")[0].min() - accuracy("vanilla", 12, "both")[0].max()) > 0.3


def test_shallow_networks_learn_without():
    assert accuracy("vanilla", 4, "both")[0].min() > 0.5


def test_the_adversarial_loss_is_what_stops_them():
    assert (accuracy("vanilla", 12, "cross-entropy")[0].mean() - accuracy("vanilla", 12, "both")[0].mean()) > 0.3
    assert accuracy("vanilla", 12, "both")[3] > 0.95


if __name__ == "__main__":
    print("L, t*, median time outside the band/t*, at t*: product of alpha sigma_l², loss/start")
    for L in (2, 4, 6):
        print(f"{L} {{:.2f}} {{:.2f}} {{:.2f}} {{:.3f}}".format(*escape(L)), flush=True)
    curves = {}
    for name in ("vanilla", "residual"):
        for loss in ("cross-entropy", "both"):
            values, errors = [], []
            for L in (4, 12, 24):
                plain, robust, entropy, variance = accuracy(name, L, loss)
                print(L, name, loss, f"accuracy {plain.mean():.2f} ({plain.min():.2f}-{plain.max():.2f}), robust {robust.mean():.2f}, "
                      f"cross-entropy {entropy:.2f}, sigma_w²/start {variance:.3f}", flush=True)  # fmt: skip
                values.append(float(plain.mean()))
                errors.append(float(plain.std(ddof=1) / len(plain) ** 0.5))
            training = "standard" if loss == "cross-entropy" else "adversarial"
            curves[f"{name}, {training} training"] = (values, errors)
    if sys.argv[1:]:
        figures.lines(
            (4, 12, 24), curves, Path(sys.argv[1]), "depth $L$", "held-out accuracy", "digits, $N=128$, 150 steps"
        )
