"""D2 against training: linear networks trained for 0.9 of the time at which the loss ends, at (2, 2).

docs/training.md has the table. Run with ``pytest -m paper paper_checks/test_d2_water_filling.py``; ``python
paper_checks/test_d2_water_filling.py`` prints it.
"""

import functools

import pytest
import torch

import advmf as mf
from advmf.theorems import THEOREMS

pytestmark = pytest.mark.paper

UNBIASED, LINEAR = mf.Dense(sigma_b=0), mf.ReLULike(1, 1)
NETS = {
    "vanilla": mf.Net(mf.Serial(UNBIASED, LINEAR), name="vanilla"),
    "residual": mf.Net(mf.Residual(UNBIASED, LINEAR, mf.Mix()), name="residual"),
}
POINT = {"L": 2, "d": 4, "K": 2, "eps": 1.0, "sigma_w": 1.2}
STEPS = 60


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


if __name__ == "__main__":
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
