"""Attacks on a module against those of torchattacks and foolbox, in the same run, on one thread.

Both maximise losses of classification. ``Distance`` turns the problem into one: with the outputs (0, |f(x') - f(x)|)
and the label 0 their cross-entropy grows with the distance. Each peer gets as many steps as it takes to use at least
the same time. The number is the mean value found, ours over the peer's. ``python3 -m pip install -c constraints.txt -e
'.[bench]'`` installs foolbox. torchattacks asks for an old version of requests, which it uses only to load models. So
it is installed by ``python3 -m pip install --no-deps torchattacks==3.5.1 torchvision==0.28.0``.
"""

import time

import pytest
import torch
from torch import nn

import advmf as mf

EPS, IMAGES = 0.1, 20

pytestmark = pytest.mark.usefixtures("one_thread")


class Distance(nn.Module):
    """(0, |f(x') - f(x)|_2) for a batch x' beside x. The cross-entropy of the label 0 grows with it also where it is
    large."""

    def __init__(self, module, x):
        super().__init__()
        self.module, self.base = module, module(x).detach()

    def forward(self, x):
        distance = (self.module(x) - self.base).square().sum(1).clamp(min=1e-20).sqrt()
        return torch.stack((torch.zeros_like(distance), distance), 1)


def torchattacks(distance, x, p, steps):
    peer = pytest.importorskip(
        "torchattacks",
        reason="torchattacks is not installed: pip install --no-deps torchattacks==3.5.1 torchvision==0.28.0",
    )
    step = 2.5 * EPS / steps
    made = peer.PGD(distance, EPS, step, steps) if p == "inf" else peer.PGDL2(distance, EPS, step, steps)
    return made(x, torch.zeros(len(x), dtype=torch.int64))


def foolbox(distance, x, p, steps):
    peer = pytest.importorskip("foolbox", reason="foolbox is not installed: pip install -e '.[bench]'")
    kind = peer.attacks.LinfPGD if p == "inf" else peer.attacks.L2PGD
    model = peer.PyTorchModel(distance, bounds=(-1e3, 1e3), device="cpu")
    criterion = peer.criteria.Misclassification(torch.zeros(len(x), dtype=torch.int64))
    _, found, _ = kind(steps=steps)(model, x, criterion, epsilons=EPS)
    return found


@pytest.mark.parametrize("p", ["inf", 2])
@pytest.mark.parametrize("peer", [torchattacks, foolbox])
def test_value_at_the_same_time(benchmark, peer, p):
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
    )
    for layer in module[1::2]:
        nn.init.kaiming_normal_(layer.weight)
    x = torch.as_tensor(mf.simulate.load("digits").x[:IMAGES], dtype=torch.float32).reshape(-1, 1, 8, 8)
    x = x / 2 + 0.2  # the ball is in [0, 1]
    distance = Distance(module, x).eval()

    def own():
        return mf.simulate.attack(module, x, eps=EPS, p=p, q=2).value

    value = float(own().mean())
    benchmark.pedantic(own, rounds=3, warmup_rounds=1)
    peer(distance, x, p, 2)  # what the first call loads
    steps, taken = 8, 0.0
    while taken < benchmark.stats.stats.min:
        steps *= 2
        start = time.perf_counter()
        found = peer(distance, x, p, steps)
        taken = time.perf_counter() - start
    assert float((found - x).flatten(1).norm(float(p), 1).max()) <= EPS * 1.0001
    benchmark.extra_info["value over the peer's"] = round(value / float(distance(found)[:, 1].detach().mean()), 4)
    benchmark.extra_info["its steps and time over ours"] = (steps, round(taken / benchmark.stats.stats.min, 2))
