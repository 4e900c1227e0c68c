"""D2 against training: linear networks trained for 0.9 of the time at which the loss ends, at (2, 2).

Against the claims, which are means over networks; and at widths to 100,000 (without weights) each network beside the
proximal map of its own Jacobian, so that the scatter of J(0) drops out. docs/training.md has both tables. Run
with ``pytest -m paper paper_checks/test_d2_water_filling.py``; ``python paper_checks/test_d2_water_filling.py`` prints
them.
"""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch

import advmf as mf
from advmf.special import proximal_map
from advmf.theorems import THEOREMS

pytestmark = pytest.mark.paper

UNBIASED, LINEAR = mf.Dense(sigma_b=0), mf.ReLULike(1, 1)
NETS = {
    "vanilla": mf.Net(mf.Serial(UNBIASED, LINEAR), name="vanilla"),
    "residual": mf.Net(mf.Residual(UNBIASED, LINEAR, mf.Mix()), name="residual"),
}
POINT = {"L": 2, "d": 4, "K": 2, "eps": 1.0, "sigma_w": 1.2}
STEPS = 60
WIDTHS = {64: 64, 256: 32, 1024: 16, 4096: 16, 16_384: 8, 100_000: 4}
"""Networks of each width."""


def number(claim, **at):
    f = mf.kernel(claim)
    return f(**{name: value for name, value in {**POINT, **at}.items() if name in f.arguments})


@functools.cache
def trained(name, N, nets, L=2):
    """The claims and a run of training, logged at 0, 0.3, 0.6 and 0.9 of the end."""
    flow = mf.training_flow(NETS[name], 2, 2)
    options = {"loss": "adversarial", "steps": STEPS, "batch": 1, "attack_steps": 0, "log_every": STEPS // 3}
    vectors = mf.simulate.training_queries(POINT["K"], POINT["d"], capacity=True, **options)
    sizes = {k: v for k, v in {**POINT, "L": L}.items() if k != "eps"}
    generator = torch.Generator().manual_seed(0)
    networks = mf.simulate.sample(NETS[name], N=N, nets=nets, queries=vectors, keep=False, generator=generator, **sizes)
    images = mf.simulate.load("digits").resampled(POINT["d"]).scaled(1.0)
    rate = 0.9 * float(number(flow.end, N=N, L=L)) / STEPS
    return flow, mf.simulate.train(networks, images, eps=POINT["eps"], rate=rate, capacity=True, **options)


@pytest.mark.parametrize(("name", "N", "nets"), [("vanilla", 256, 100), ("residual", 256, 100)])
def test_networks_follow_and_not_the_wrong_versions(name, N, nets):
    """At L = 4, for at L = 2 a power of omega drops out of the clock."""
    L = 4
    flow, run = trained(name, N, nets, L)
    loss, error = run.adversarial.mean(1).numpy(), run.adversarial.std(1).numpy() / nets**0.5
    time = run.time.numpy()
    claimed = number(flow.loss, N=N, L=L, t=time)
    slack = 5 * error + claimed[0] / 20  # finite width, and a step
    assert (abs(loss - claimed) < slack).all(), (loss, claimed)
    for wrong in THEOREMS["D2"].wrong(flow.loss):
        assert (abs(loss - number(wrong, N=N, L=L, t=time)) > slack).any(), wrong.name


@functools.cache
def beside(N, nets, steps=STEPS):
    """Networks on one image, and the proximal maps of their own Jacobians: the loss and N² times the relative change of
    the variance at 0, 0.3, 0.6 and 0.9 of the end, and what the maps give; each (4, networks)."""
    options = {"loss": "adversarial", "steps": steps, "batch": 1, "attack_steps": 0, "log_every": steps // 3}
    vectors = mf.simulate.training_queries(POINT["K"], POINT["d"], **options) + POINT["K"] + POINT["d"]
    sizes = {k: v for k, v in POINT.items() if k != "eps"}
    drawn = {"nets": nets, "queries": vectors, "keep": True, "sampler": "conditioned", "memory": 2**33}
    networks = mf.simulate.sample(NETS["vanilla"], N=N, generator=torch.Generator().manual_seed(N), **sizes, **drawn)
    image = mf.simulate.load("digits").resampled(POINT["d"]).scaled(1.0)
    image = replace(image, x=image.x[:1], labels=None)
    J = networks.jacobian(torch.as_tensor(image.x))[:, 0].double().numpy()
    end = float(number(mf.training_flow(NETS["vanilla"], 2, 2).end, N=N))
    run = mf.simulate.train(networks, image, eps=POINT["eps"], rate=0.9 * end / steps, **options)
    omega, L, d = POINT["sigma_w"] ** 2, POINT["L"], POINT["d"]
    taus = run.time.numpy() * POINT["eps"] * L * N * omega ** (L - 1) / d
    left = np.array([[proximal_map(j, tau, 2, 2) for j in J] for tau in taus])
    level, square = np.linalg.norm(left, 2, (2, 3)), (left**2).sum((2, 3))
    moved = run.change.mean(2).numpy() * N**2 / omega
    return run.adversarial.numpy(), level, moved, (square - square[0]) * d / L / omega**L


def test_wide_networks_follow_the_proximal_maps_of_their_own_jacobians():
    """At N = 100,000, 24 steps: the loss within 6 % of its start and the variance within 4 %, and not the wrong
    versions of the variance, nor the loss without the threshold."""
    N, flow = 100_000, mf.training_flow(NETS["vanilla"], 2, 2)
    loss, level, moved, claimed = (each.mean(1) for each in beside(N, 2, 24))
    slack = 0.06 * loss[0]
    assert (abs(loss - level) < slack).all(), (loss, level)
    assert abs(moved[1:] / claimed[1:] - 1).max() < 0.04, (moved, claimed)
    alone = np.maximum(loss[0] - (loss[0] - level[1]) * np.arange(4), 0)
    assert abs(loss - alone).max() > 2 * slack, "without the threshold"
    wrong = {each.name: each for each in THEOREMS["D2"].wrong(flow.total)}
    for name in ("D2.total [N for N^2]", "D2.total [d K dropped]"):
        assert abs(moved[3] / N**2 / (float(number(wrong[name], N=N)) - 1) - 1) > 0.5, name


if __name__ == "__main__":
    for N, nets in WIDTHS.items():
        loss, level, moved, claimed = beside(N, nets)
        for what, found, own in (("L_adv", loss, level), ("N^2 change", moved, claimed)):
            ratio, error = found.mean(1)[1:] / own.mean(1)[1:], (found - own).std(1, ddof=1)[1:] / nets**0.5
            print(N, nets, what, ratio.round(3), "±", abs(error / own.mean(1)[1:]).round(3), flush=True)
    for name, N, nets in (("vanilla", 64, 200), ("vanilla", 4096, 20), ("residual", 512, 200)):
        flow, run = trained(name, N, nets)
        time, own = run.time.numpy(), POINT["sigma_w"] ** 2 / N**2
        ratio = run.capacity.mean(1) / run.capacity[0].mean()
        change = run.change.mean(2)
        for what, found, error, claimed in (
            ("L_adv", run.adversarial.mean(1), run.adversarial.std(1) / nets**0.5, number(flow.loss, N=N, t=time)),
            ("C", ratio, 0 * ratio, number(flow.capacity, N=N, t=time)),
            ("N^2 change", change.mean(1) / own, change.std(1) / own / nets**0.5,
             (number(flow.variance, N=N, t=time) - POINT["sigma_w"] ** 2) / own),
        ):  # fmt: skip
            print(
                name,
                N,
                what,
                found.numpy().round(3),
                "±",
                error.numpy().round(3),
                "claimed",
                claimed.round(3),
                flush=True,
            )
