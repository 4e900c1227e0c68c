"""Adversarial training in the kernel regime: networks that stay linear in their weights.

As N → ∞ the tangent kernel Θ does not change in training, and gradient descent on the weights is a descent in function
space. A step of size η on the loss ℓ moves every output by -η Θ(·, z) ∂ℓ/∂f(z), summed over the inputs z that the loss
depends on: an image x and its perturbed version x + δ. So after some steps

    f(·) = f_0(·) - Σ_j Θ(·, z_j) c_j,

a kernel machine with two points for each image and step. The inner maximum is solved again at every step, by ascent on
this predictor, whose gradient in x comes from the derivative of Θ. With several images and cross-entropy these are the
linearised dynamics of S. Fu and D. Wang (Theoretical Analysis of Robust Overfitting for Wide DNNs, ICLR 2024); the
losses here are those of :func:`advmf.simulate.train`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from advmf.boundary import public, whole
from advmf.budget import allow
from advmf.emit.kernels import Kernel, kernel
from advmf.errors import ArgumentError, DataError
from advmf.simulate import Ensemble, Images
from advmf.simulate.budget import MEMORY
from advmf.simulate.descent import Objective
from advmf.simulate.geometry import conjugate, maximiser, norm
from advmf.simulate.limit.ensemble import LimitEnsemble
from advmf.simulate.state import differentiating
from advmf.simulate.training_arguments import data_of, objective_of, positive, require_ensemble, require_moving
from advmf.tabled import Records, Tabled
from advmf.theory.ntk import ntk

HELD = 40
"""Arrays of all pairs of an input and a point that are held at once, with their derivatives."""


HELD_OUT = ("accuracy", "robust", "held_standard", "held_adversarial")
"""What is logged about held-out images."""


@public
@dataclass(frozen=True)
class KernelFlow(Tabled):
    """The course of training in the kernel regime; the names are those of :class:`advmf.simulate.Training`.

    ``time`` (logs,) is the step size times the steps. ``adversarial`` and ``standard`` are the losses, ``accuracy`` and
    ``robust`` the shares of held-out images classified correctly, without and also under the perturbation found, and
    ``held_standard`` and ``held_adversarial`` the losses on them, each (logs, nets); ``standard`` is None without
    labels, and the last four without held-out images. ``N`` is the width
    that the clock is of.
    """

    N: int
    rate: float
    step: np.ndarray
    adversarial: np.ndarray
    standard: np.ndarray | None
    accuracy: np.ndarray | None
    robust: np.ndarray | None
    held_standard: np.ndarray | None = None
    held_adversarial: np.ndarray | None = None

    @property
    def time(self) -> np.ndarray:
        """Training time t."""
        return self.rate * self.step

    def records(self) -> Records:
        """A row for each logged step: means over the networks, and their standard errors (NaN for a single one)."""
        rows = []
        for i, step in enumerate(self.step.tolist()):
            row = {"N": self.N, "step": step, "t": self.rate * step, "Nt": self.N * self.rate * step}
            for name in ("adversarial", "standard", *HELD_OUT):
                values = getattr(self, name)
                if values is not None:
                    own = values[i]
                    error = own.std(ddof=1) / len(own) ** 0.5 if len(own) > 1 else float("nan")
                    row |= {name: float(own.mean()), f"{name}_stderr": float(error)}
            rows.append(row)
        return rows


@public
@differentiating
def kernel_flow(
    ensemble: Ensemble,
    images: Images,
    *,
    loss: str,
    rate: float,
    steps: int,
    p: Any = 2,
    q: Any = 2,
    eps: float = 0.1,
    weight: float = 1.0,
    attack_steps: int = 3,
    held_out: Images | None = None,
    log_every: int = 1,
    centred: bool = False,
    N: int | None = None,
    memory: int = MEMORY,
    progress: Callable[[int, int], None] | None = None,
) -> KernelFlow:
    """What :func:`advmf.simulate.train` with ``batch="all"`` gives as N → ∞ at fixed N · rate: training of the
    networks' first order in their weights, by the tangent kernel (:func:`advmf.ntk`).

    The networks of ``ensemble`` give f_0, with their net, L and values; they are not changed. Take it from networks
    that ``sample`` keeps, before they are trained. ``centred`` leaves f_0 out: one predictor that starts at zero. ``N``
    is the width of the clock, by default the ensemble's. Other arguments are those of ``train``, and so are the losses;
    there are no batches. The inner maximum is found by ``attack_steps`` steps of steepest ascent, from the last
    maximum and from that of the linear part, so it is a lower bound. Nets on images are refused: their kernels are not
    functions of two norms and an angle.

    Raises ArgumentError, DomainError and DataError for arguments that make no run, DeclarationError for nets without a
    tangent kernel, and MemoryBudgetError where the pairs of inputs take more than ``memory`` bytes, before any work.

    >>> import advmf as mf
    >>> net = mf.vanilla(phi=mf.Activation("erf"))
    >>> networks = mf.simulate.sample(net, N=50, L=1, d=64, K=10, nets=2, sigma_w=1.5, sigma_b=0.1, keep=True)
    >>> images = mf.simulate.load("digits").scaled(1.0)
    >>> few = mf.simulate.Images("twenty digits", images.x[:20], images.labels[:20])
    >>> flow = kernel_flow(networks, few, loss="both", rate=0.02, steps=5)
    >>> flow.adversarial.shape, bool((flow.standard[-1] < flow.standard[0]).all())
    ((6, 2), True)
    """
    goal = objective_of(loss, p, q, eps, weight, attack_steps, 1)
    require_ensemble(ensemble)
    steps, log_every = whole("steps", steps), whole("log_every", log_every)
    require_moving(centred, loss)
    if N is None and isinstance(ensemble, LimitEnsemble):
        raise ArgumentError(
            "Networks of infinite width have no clock of their own; give N, as N · rate is what counts."
        )
    width = ensemble.N if N is None else whole("N", N)
    rate = positive("rate", rate)
    x, labels, held = data_of(ensemble, images, held_out, goal)
    for name, given in (("images", x), ("held_out", None if held is None else held[0])):
        if given is not None and not bool((given.square().sum(1) > 0).all()):
            raise DataError(
                f"{name}: an image of zeros has no angle to others, which the kernel is a function of. Take images.scaled(1.0)."
            )
    nets = 1 if centred else ensemble.nets
    most = max(len(x), 0 if held is None else len(held[0])) * (1 + steps * goal.attacks) * len(x)
    allow(
        8 * HELD * nets * most,
        memory,
        f"The kernel at {len(x)} images after {steps} steps",
        "Take fewer, or raise memory=",
    )
    machine = Machine(_kernel(ensemble, width), None if centred else ensemble, nets, ensemble.K)
    run = _Run(goal, x.double(), labels, held, rate)
    return run(machine, steps, log_every, width, progress)


def _kernel(ensemble: Ensemble, width: int) -> Callable[..., Tensor]:
    """Θ of the squared lengths over d and the cosine, of the ensemble's net and values, at this width."""
    net = ensemble.net
    if net.image is not None:
        raise ArgumentError(
            "The kernel of images depends on more than two lengths and an angle; kernel_flow takes nets without image=."
        )
    found: Kernel = kernel(ntk(net), "torch")
    at = {**ensemble.values, "L": ensemble.L, "N": width}
    at = {name: value for name, value in at.items() if name in found.arguments}
    return lambda **pair: found(**at, **{name: value for name, value in pair.items() if name in found.arguments})


@dataclass
class Machine:
    """f(x) = f_0(x) - Σ_j Θ(x, z_j) c_j for each of ``nets`` networks, with z (nets, points, d) and c (nets, points,
    K)."""

    theta: Callable[..., Tensor]
    start: Ensemble | None
    nets: int
    K: int
    z: Tensor = field(init=False, repr=False)
    c: Tensor = field(init=False, repr=False)

    def add(self, z: Tensor, c: Tensor) -> None:
        """More points."""
        first = not hasattr(self, "z")
        self.z = z if first else torch.cat((self.z, z), 1)
        self.c = c if first else torch.cat((self.c, c), 1)

    def __call__(self, x: Tensor) -> Tensor:
        """f(x), (nets, inputs, K), for x (nets, inputs, d)."""
        return self._start(x) - self._sum(x)

    def jacobian(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """f(x) and J(x), (nets, inputs, K, d)."""
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            moved = self._sum(x)
        rows = [torch.autograd.grad(moved[..., k].sum(), x, retain_graph=True)[0] for k in range(self.K)]
        own = 0.0 if self.start is None else self.start.jacobian(self._cast(x.detach())).double()
        return self._start(x.detach()) - moved.detach(), own - torch.stack(rows, 2)

    def pulled(self, x: Tensor, t: Callable[[Tensor], Tensor]) -> Tensor:
        """Σ_k t_k ∂f_k/∂x, (nets, inputs, d), with the cotangent t a function of f(x)."""
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            moved = self._sum(x)
        cotangent = t(self._start(x.detach()) - moved.detach())
        (slope,) = torch.autograd.grad((cotangent * moved).sum(), x)
        own = 0.0 if self.start is None else self.start.vjp(self._cast(x.detach()), self._cast(cotangent)).double()
        return own - slope

    def _start(self, x: Tensor) -> Tensor:
        if self.start is None:
            return x.new_zeros(*x.shape[:2], self.K)
        return self.start.forward(self._cast(x)).double()

    def _cast(self, x: Tensor) -> Tensor:
        assert self.start is not None
        return x.to(self.start.dtype)

    def _sum(self, x: Tensor) -> Tensor:
        d = x.shape[2]
        length, other = x.square().sum(2), self.z.square().sum(2)
        cosine = torch.bmm(x, self.z.mT) / torch.sqrt(length[:, :, None] * other[:, None])
        gram = self.theta(x_sq=length[:, :, None] / d, y_sq=other[:, None] / d, c=cosine.clamp(-1, 1))
        return torch.bmm(gram.broadcast_to(cosine.shape), self.c)


def linear_maximum(J: Tensor, p: float, q: float, rounds: int = 20) -> Tensor:
    """A perturbation η of p-norm 1 for which ‖J η‖_q is large, (..., d) for J (..., K, d): exact for p = q = 2, and
    else the best of K power iterations, which begin at the outputs.

    >>> linear_maximum(torch.tensor([[3.0, 0.0], [0.0, 4.0]]), 1.0, 2.0)
    tensor([0., 1.])
    """
    if p == q == 2:
        return torch.linalg.svd(J, full_matrices=False).Vh[..., 0, :]
    t = torch.eye(J.shape[-2], dtype=J.dtype, device=J.device).expand(*J.shape[:-1], -1)  # (..., starts, K)
    for _ in range(rounds):
        eta = maximiser(t @ J, p)
        t = maximiser(eta @ J.mT, conjugate(q))
    best = norm(eta @ J.mT, q).argmax(-1)[..., None, None]
    return eta.take_along_dim(best, -2)[..., 0, :]


@dataclass(frozen=True)
class _Run:
    """A run: its images x (n, d), labels and held-out images with theirs."""

    goal: Objective
    x: Tensor
    labels: Tensor | None
    held: tuple[Tensor, Tensor] | None
    rate: float

    def __call__(
        self, f: Machine, steps: int, log_every: int, width: int, progress: Callable[[int, int], None] | None
    ) -> KernelFlow:
        n, x = len(self.x), self.x.expand(f.nets, -1, -1)
        held = x if self.held is None else self.held[0].double().expand(f.nets, -1, -1)
        eta: Tensor | None = None
        held_eta: Tensor | None = None
        rows: list[dict[str, Tensor]] = []
        logged: list[int] = []
        f.add(x, x.new_zeros(f.nets, n, f.K))
        for step in range(steps + 1):
            logs = step % log_every == 0 or step == steps
            if logs or self.goal.attacks:
                eta, before, change = self.maximum(f, x, eta)
            else:
                before = f(x)
            own, standard = torch.zeros_like(before), None
            if self.labels is not None:
                standard, off = self.goal.standard(before.mT, self.labels.expand(f.nets, -1))
                own = off.mT
            if logs:
                logged.append(step)
                row = {"adversarial": norm(change, self.goal.q, 2).mean(1)}
                if standard is not None:
                    row["standard"] = standard
                if self.held is not None:
                    held_eta, clean, moved = self.maximum(f, held, held_eta)
                    right, still = (torch.eq(each.argmax(2), self.held[1]) for each in (clean, clean + moved))
                    row |= {
                        "accuracy": right.double().mean(1),
                        "robust": (right & still).double().mean(1),
                        "held_standard": self.goal.standard(clean.mT, self.held[1].expand(f.nets, -1))[0],
                        "held_adversarial": norm(moved, self.goal.q, 2).mean(1),
                    }
                rows.append(row)
            if step < steps:
                f.c[:, :n] += self.rate * own
                if self.goal.attacks:
                    assert eta is not None
                    pull = self.rate / n * self.goal.push(change, 2)
                    f.c[:, :n] -= pull
                    f.add(x + eta, pull)
                if progress is not None:
                    progress(step + 1, steps)
        found = {name: torch.stack([row[name] for row in rows]).numpy() for name in rows[0]}
        return KernelFlow(
            N=width,
            rate=self.rate,
            step=np.array(logged),
            adversarial=found["adversarial"],
            standard=found.get("standard"),
            **{name: found.get(name) for name in HELD_OUT},
        )

    def maximum(self, f: Machine, x: Tensor, last: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """The best perturbation found, f(x), and f(x + eta) - f(x) there. Ascent starts at the maximum of the linear
        part of f, with either sign, and at the ``last`` maximum."""
        goal, n = self.goal, x.shape[1]
        before, J = f.jacobian(x)
        linear = goal.eps * linear_maximum(J, goal.p, goal.q)
        starts = [linear, -linear, *([] if last is None else [last])]
        eta, many, center = torch.cat(starts, 1), x.repeat(1, len(starts), 1), before.repeat(1, len(starts), 1)
        found: list[tuple[Tensor, Tensor]] = []
        for step in range(goal.steps + 1):
            if step:
                slope = f.pulled(many + eta, lambda value: maximiser(value - center, conjugate(goal.q), 2))
                eta = goal.eps * maximiser(slope, goal.p, 2)
            found += zip(eta.split(n, 1), (f(many + eta) - center).split(n, 1))
        etas, changes = (torch.stack(each) for each in zip(*found))
        best = norm(changes, goal.q, 3).argmax(0)[None, ..., None]
        return etas.take_along_dim(best, 0)[0], before, changes.take_along_dim(best, 0)[0]
