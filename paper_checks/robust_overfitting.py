"""Robust overfitting of wide networks: the kernel regime predicts by how much the held-out loss rises.

    E[R(600) - R(150)] = the same of the kernel regime,  R(N t) the held-out cross-entropy + adversarial loss of f - f_0

A few digits are trained on, with their labels and an adversary, and a hundred others are held out. From N t = 150 to
600 the loss on the trained digits falls, and R rises. As N -> oo at fixed N t the tangent kernel stays as it is at the
start. So f - f_0 is the same for all networks, and :func:`advmf.kernel_flow` computes it. The claim is about one draw
of the digits, a ``split``, and about gradient descent of so many steps.

``advmf check paper_checks/robust_overfitting.py`` trains networks of three widths, in minutes of CPU. docs/training.md
has the outcome.
"""

import numpy as np
import sympy as sp
import torch

import advmf as mf
from advmf.claim import RHS
from advmf.emit.kernels import register
from advmf.observables import Expectation, Observable
from advmf.symbols import K, L, d, eps, sigma_b, sigma_w
from advmf.theorems.wrong import mutant

ERF, RELU = mf.vanilla(phi=mf.Activation("erf")), mf.vanilla(1, 0)
COUNT, OTHERS = 12, 100
"""How many digits are trained on, and how many are held out."""
SPLITS = {ERF: 1, RELU: 0}
"""The draw of the digits: of the first three, that with the largest rise in the kernel regime."""
TIME, STEPS, LOGS = 600.0, 64, 8
EARLY = 2
"""The log at N t = 150."""
SIZES = {"L": 2, "d": 16, "K": 3}
POINTS = {net: {"sigma_w": deviation, "sigma_b": 0.1, "eps": 0.3} for net, deviation in ((ERF, 1.5), (RELU, 2**0.5))}
LOSS = {"loss": "both", "steps": STEPS, "attack_steps": 1, "log_every": STEPS // LOGS}


def data(split: int, count: int, classes: int, pixels: int) -> tuple[mf.simulate.Images, mf.simulate.Images]:
    """Trained and held-out digits."""
    found = mf.simulate.load("digits").resampled(pixels).scaled(1.0)
    order = np.random.default_rng(split).permutation(np.flatnonzero(found.labels < classes))
    parts = order[:count], order[count : count + OTHERS]
    few, others = (mf.simulate.Images(f"digits {split}", found.x[at], found.labels[at]) for at in parts)
    return few, others


def course(run) -> dict[str, np.ndarray]:
    """The logs of a run, each (logs, networks): the loss on the trained digits and on those that are held out, the
    latter's two parts, and robust accuracy."""
    names = ("standard", "adversarial", "held_standard", "held_adversarial", "robust")
    clean, adversarial, *parts, robust = (torch.as_tensor(getattr(run, name)).numpy(force=True) for name in names)
    logs = {"trained": clean + adversarial, "held": parts[0] + parts[1]}
    return {**logs, "held_standard": parts[0], "held_adversarial": parts[1], "robust": robust}


def rises(run) -> dict[str, np.ndarray]:
    """By how much each log rises from N t = 150 to 600, for each network."""
    return {name: log[-1] - log[EARLY] for name, log in course(run).items()}


def descent(networks, split: int, count: int, radius: float):
    """Networks trained, f - f_0, on ``count`` digits of a split."""
    few, others = data(split, count, networks.K, networks.d)
    options = {**LOSS, "eps": radius, "rate": TIME / networks.N / STEPS, "held_out": others}
    return mf.simulate.train(networks, few, batch="all", centred=True, **options)


class HeldOutRise(Observable):
    """By how much the held-out loss of f - f_0 rises from N t = 150 to 600, for a network trained on ``count`` digits
    of a split: ``HeldOutRise(split, count)``."""

    tex = r"\Delta R_{{{},{}}}"
    needs = frozenset()
    weights = True

    def measure(self, probe: mf.simulate.Probe) -> torch.Tensor:
        return torch.as_tensor(rises(descent(probe.ensemble, *map(int, self.args), probe.settings.eps))["held"])

    def queries(self, settings, K, d):
        count = int(self.args[1])
        return mf.simulate.training_queries(K, d, batch=count, held_out=OTHERS, **LOSS)


FOUND: dict[tuple, mf.KernelFlow] = {}
"""The courses of the kernel regime that were computed already."""


def flow(net: mf.Net, split: int, count: int, **at: float) -> mf.KernelFlow:
    """The course of the kernel regime from f_0 = 0."""
    key = (net, split, count, *at.values())
    if key not in FOUND:
        sizes, radius = {name: int(at.pop(name)) for name in ("L", "d", "K")}, at.pop("eps")
        few, others = data(split, count, sizes["K"], sizes["d"])
        networks = mf.simulate.sample(net, N=8, nets=1, keep=True, **sizes, **at)  # for their net and values alone
        options = {**LOSS, "eps": radius, "rate": TIME / STEPS, "held_out": others, "memory": 2**33}
        FOUND[key] = mf.kernel_flow(networks, few, centred=True, N=1, **options)
    return FOUND[key]


class KernelRise(sp.Function):
    """A rise of the kernel regime: ``KernelRise(split, count, log, L, d, K, sigma_w, sigma_b, eps)``, of the log with
    this number in RISES."""

    is_real = True
    net: mf.Net

    def _latex(self, printer, exp=None):
        split, count, log = self.args[:3]
        text = rf"\Delta R_{{{split},{count}}}^{{\Theta, \text{{{RISES[int(log)].replace('_', ' ')}}}}}"
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"

    @classmethod
    def numbers(cls, split, count, log, *point):
        at = dict(zip(("L", "d", "K", "sigma_w", "sigma_b", "eps"), map(float, point)))
        return float(rises(flow(cls.net, int(split), int(count), **at))[RISES[int(log)]][0])


class ErfRise(KernelRise):
    """That of erf networks."""

    net = ERF


class ReluRise(KernelRise):
    """That of ReLU networks."""

    net = RELU


RISES = ("held", "held_standard")
HELD, CROSS_ENTROPY = range(2)
RISE = {ERF: ErfRise, RELU: ReluRise}
for head in RISE.values():
    register(head, numpy=np.vectorize(head.numbers, otypes=[float]))


def rise(net: mf.Net, split: int, count: int, log: int = HELD) -> sp.Expr:
    """A rise of the kernel regime, in the letters of the point."""
    return RISE[net](split, count, log, L, d, K, sigma_w, sigma_b, eps)


def claim(net: mf.Net, split: int, count: int = COUNT) -> mf.Claim:
    """The rise of the held-out loss, judged in units of what is claimed."""
    lhs, kernel = Expectation(HeldOutRise(split, count)), rise(net, split, count)
    return mf.Claim.of(
        lhs,
        "==",
        kernel,
        net,
        equations=(mf.Equation("rise of the held-out loss", lhs, RHS, kernel),),
        name="robust_overfitting",
        source="derived here; linearised adversarial training: S. Fu and D. Wang, ICLR 2024, arXiv:2310.06112",
        assumptions=(
            "the network as declared, at initialisation; f - f_0 is trained",
            f"gradient descent of {STEPS} steps to N t = {TIME:g}, which stays fixed as N -> oo: the tangent kernel does not move",
            "the inner maximum is what an attack finds, in the networks and in the kernel regime",
        ),
        p=2,
        q=2,
    )


def wrong(claim: mf.Claim) -> list[mf.Claim]:
    """No robust overfitting, that of the cross-entropy alone, and that with thirty digits to train on."""
    net, (split, count) = claim.net, next(iter(claim.lhs.atoms(HeldOutRise))).args
    return [
        mutant(claim, "no robust overfitting", lambda e: sp.S.Zero),
        mutant(claim, "cross-entropy alone", lambda e: rise(net, split, count, CROSS_ENTROPY)),
        mutant(claim, "thirty digits", lambda e: rise(net, split, 30)),
    ]


def theorem(net: mf.Net) -> mf.Theorem:
    """The theorem about a net, at its split."""
    return mf.Theorem(
        name="robust_overfitting",
        title="robust overfitting: the rise of the held-out loss of f - f_0 from N t = 150 to 600",
        source="derived here",
        net=net,
        tests=lambda net, pairs: [claim(net, SPLITS[net])],
        wrong=wrong,
        scales={
            "quick": mf.Scale(
                **SIZES, widths=(256, 512, 1024), nets=(32, 40, 20), at=POINTS[net], effects={"effect": 0.75}
            )
        },
    )


THEOREM = theorem(ERF)

if __name__ == "__main__":
    for report in mf.check_theorem(THEOREM):
        print(report)
