"""Robust overfitting in the kernel regime over several splits of the data, and in trained networks.

The numbers are those of robust_overfitting.py: cross-entropy + adversarial loss, eps = 0.3, (2, 2), to N t = 600, from
f_0 = 0. Twelve digits of three classes (d = 16, L = 2) are trained on and a hundred others are held out; every split is
another draw of both. docs/training.md has the table. Run with ``pytest -m paper
paper_checks/test_robust_overfitting.py``; ``python paper_checks/test_robust_overfitting.py`` prints it.
"""

import numpy as np
import pytest
import robust_overfitting as own
import torch

import advmf as mf
from advmf.verify.verdict import Verdict

pytestmark = pytest.mark.paper

NETS = {"erf": own.ERF, "relu": own.RELU}
ROWS = [("erf", range(6), 12), ("relu", range(3), 12), ("erf", range(1, 4), 30)]
TIMES = (1, 2, 4, 8)
"""The logs at N t = 75, 150, 300 and 600."""


def courses(name, splits, count):
    """The logs of the kernel regime, each (splits, logs)."""
    net = NETS[name]
    runs = [own.course(own.flow(net, split, count, **own.SIZES, **own.POINTS[net])) for split in splits]
    return {log: np.array([run[log][:, 0] for run in runs]) for log in runs[0]}


def rise(log):
    """By how much a log rises from N t = 150 to 600: the mean over splits, and its standard error."""
    late = log[:, -1] - log[:, own.EARLY]
    return late.mean(), late.std(ddof=1) / len(late) ** 0.5


@pytest.mark.parametrize(("name", "splits", "count"), ROWS[:2])
def test_the_held_out_loss_rises_while_the_trained_loss_falls(name, splits, count):
    logs = courses(name, splits, count)
    (trained, error), (held, wide) = rise(logs["trained"]), rise(logs["held"])
    assert trained < -3 * error and held > 3 * wide


def test_with_more_digits_it_does_not_rise():
    """The control: thirty digits in place of twelve."""
    assert rise(courses(*ROWS[2])["held"])[0] < 0.01


def test_trained_networks_rise_as_the_kernel_regime_does():
    """And not as without overfitting, as the cross-entropy alone, or as with thirty digits."""
    report, *controls = mf.check_theorem(own.theorem(own.ERF))
    assert report.verdict is Verdict.SUPPORTED
    assert [each.verdict for each in controls] == [Verdict.REFUTED] * 3


WIDE = ((256, 16), (1024, 8), (4096, 3))
"""Widths of ReLU networks, and how many are trained."""


def trained(net, N, nets):
    """The logs of networks that are trained on the digits of their split, each (logs, nets)."""
    point, generator = dict(own.POINTS[net]), torch.Generator().manual_seed(N)
    radius = point.pop("eps")
    options = {"keep": True, "sampler": "dense", "generator": generator}
    networks = mf.simulate.sample(net, N=N, nets=nets, **own.SIZES, **point, **options)
    return own.course(own.descent(networks, own.SPLITS[net], own.COUNT, radius))


def far(held, kernel):
    """Whether a held-out loss rises by less than two thirds of that of the kernel regime, by four standard errors."""
    rises = held[-1] - held[own.EARLY]
    return rises.mean() + 4 * rises.std(ddof=1) / len(rises) ** 0.5 < (kernel[-1] - kernel[own.EARLY]) / 1.5


def test_relu_networks_of_a_thousand_units_are_far_from_the_kernel_regime_and_wider_ones_nearer():
    """They learn more slowly, and their held-out loss rises less. The loss that is left in the end, above that of the
    kernel regime, is less than 3/4 at four times the width."""
    kernel = {log: values[0] for log, values in courses("relu", [own.SPLITS[own.RELU]], own.COUNT).items()}
    logs = {N: trained(own.RELU, N, nets) for N, nets in WIDE}
    assert far(logs[1024]["held"], kernel["held"])
    left = {N: (log["trained"][-1] - kernel["trained"][-1]).mean() for N, log in logs.items()}
    assert 0 < left[4096] < 0.75 * left[1024] < 0.75**2 * left[256]


def test_erf_networks_of_a_thousand_units_are_not_far():
    """The control."""
    kernel = courses("erf", [own.SPLITS[own.ERF]], own.COUNT)["held"][0]
    assert not far(trained(own.ERF, 1024, 8)["held"], kernel)


if __name__ == "__main__":
    for name, splits, count in ROWS:
        for what, log in courses(name, splits, count).items():
            value, error = rise(log)
            print(f"{name}, {count} digits, {what}:", log.mean(0)[list(TIMES)].round(3), f"{value:.3f} ± {error:.3f}")
            print("    of each split", (log[:, -1] - log[:, own.EARLY]).round(3), flush=True)
    for N, nets in WIDE:
        for what, log in trained(own.RELU, N, nets).items():
            late = log[-1] - log[own.EARLY]
            error = late.std(ddof=1) / nets**0.5
            print(f"relu, {nets} networks of N = {N}, {what}:", log.mean(1)[list(TIMES)].round(3), end="")
            print(f" {late.mean():.4f} ± {error:.4f}", flush=True)
