"""D2.life for ReLU: whether the loss stays below water-filling depends on the number of steps.

A unit that switches between x and x + eta changes the gradient by a finite amount, however small the ball, and the step
size is in proportion to 1/eps. The gradient flow stops at such a kink; a step that is too long jumps over it.
docs/training.md has the table. Run with ``pytest -m paper paper_checks/test_d2_relu.py``; ``python
paper_checks/test_d2_relu.py`` prints it.
"""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch

import advmf as mf
from advmf.special import proximal_map

pytestmark = pytest.mark.paper

RELU = mf.Net(mf.Serial(mf.Dense(sigma_b=0), mf.ReLULike(1, 0)))
LINEAR = mf.Net(mf.Serial(mf.Dense(sigma_b=0), mf.ReLULike(1, 1)))
SIZES = {"L": 2, "d": 6, "K": 3}
HALF = 0.5
"""The share of the time at which water-filling ends."""


@functools.cache
def halfway(eps, steps, N=200, nets=8):
    """The loss at half of the end over its start, its standard error over networks, and what water-filling gives for
    the same Jacobians."""
    end = 2 * float(mf.kernel(mf.training_flow(LINEAR, 2, 2).end)(N=N, eps=eps, sigma_w=1.0, **SIZES))  # alpha = 1/2
    generator = torch.Generator().manual_seed(3)
    networks = mf.simulate.sample(
        RELU, N=N, nets=nets, sigma_w=2**0.5, keep=True, sampler="dense", generator=generator, **SIZES
    )
    image = mf.simulate.load("digits").resampled(6).scaled(1.0)
    image = replace(image, x=image.x[:1], labels=None)
    J = networks.jacobian(torch.as_tensor(image.x))[:, 0].double().numpy()
    options = {"loss": "adversarial", "batch": 1, "log_every": steps, "generator": torch.Generator().manual_seed(1)}
    run = mf.simulate.train(networks, image, eps=eps, rate=HALF * end / steps, steps=steps, **options)
    loss = run.adversarial.numpy()
    tau = eps * N * HALF * end / 6  # eps kappa omega^L t/d, with kappa = L N alpha/omega = N
    level = np.mean([np.linalg.norm(proximal_map(j, tau, 2, 2), 2) for j in J]) / np.linalg.norm(J, 2, (1, 2)).mean()
    return loss[-1].mean() / loss[0].mean(), (loss[-1] / loss[0]).std(ddof=1) / nets**0.5, level


def test_finer_steps_lower_the_loss():
    coarse, fine = halfway(1e-3, 100), halfway(1e-3, 1600)
    assert fine[0] < coarse[0] and abs(fine[0] - fine[2]) < 3 * fine[1]


if __name__ == "__main__":
    for steps in (100, 400, 1600, 6400, 25_600):
        for eps in (1e-2, 1e-3, 1e-4):
            found, error, level = halfway(eps, steps)
            print(f"eps {eps:g}, {steps} steps: {found:.3f} ± {error:.3f}; water-filling {level:.3f}", flush=True)
