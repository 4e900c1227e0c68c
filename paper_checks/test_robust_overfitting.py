"""Robust overfitting in the kernel regime over several splits of the data, and in trained networks.

The numbers are those of robust_overfitting.py: cross-entropy + adversarial loss, eps = 0.3, (2, 2), to N t = 600, from
f_0 = 0. Twelve digits of three classes (d = 16, L = 2) are trained on and a hundred others are held out; every split is
another draw of both. docs/training.md has the table. Run with ``pytest -m paper
paper_checks/test_robust_overfitting.py``; ``python paper_checks/test_robust_overfitting.py`` prints it.
"""

import numpy as np
import pytest
import robust_overfitting as own

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


@pytest.mark.parametrize("name", NETS)
def test_trained_networks_rise_as_the_kernel_regime_does(name):
    """And not as without overfitting, as the cross-entropy alone, or as with thirty digits."""
    report, *controls = mf.check_theorem(own.theorem(NETS[name]))
    assert report.verdict is Verdict.SUPPORTED
    assert [each.verdict for each in controls] == [Verdict.REFUTED] * 3


if __name__ == "__main__":
    for name, splits, count in ROWS:
        for what, log in courses(name, splits, count).items():
            value, error = rise(log)
            print(f"{name}, {count} digits, {what}:", log.mean(0)[list(TIMES)].round(3), f"{value:.3f} ± {error:.3f}")
            print("    of each split", (log[:, -1] - log[:, own.EARLY]).round(3), flush=True)
