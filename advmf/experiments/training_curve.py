"""Trained networks over time, and what the claims say: weight variance, adversarial loss, capacity."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from advmf.boundary import public, whole
from advmf.emit.kernels import kernel
from advmf.errors import ArgumentError, DataError, DomainError, refuse_unused
from advmf.experiments.predictions import UNKNOWN, Predictions, predictions
from advmf.nets import Net
from advmf.simulate.budget import MEMORY
from advmf.simulate.course import folder_of
from advmf.simulate.data import Images, load
from advmf.simulate.sampling import sample
from advmf.simulate.training import suggest_rate, train, training_queries
from advmf.tabled import Records, Tabled
from advmf.theorems.t3_weight_variance import weight_variance
from advmf.theory.dynamics import share

BATCH = 8
"""Images of a step, where nothing else is asked for."""
RESOLUTION = 0.01
"""The share of a step's change of the variance that may come from its finite size."""


@dataclass(frozen=True)
class TrainingCurve(Tabled):
    """Networks of width ``N`` at each ``time``, simulated and predicted: arrays (logs,), from the first step on.

    ``change`` of the weight variance (negative) is a mean over the trained matrices and the networks, with its standard
    error over networks; ``predicted`` is T3's. ``loss`` is the mean adversarial loss over that of the first batch, and
    ``capacity`` C(t)/C(0), with standard errors over networks. ``decay`` is -d ln L_adv/dt at t = 0, from the gradients
    of the first step, and its standard error. ``rate`` is the step size; ``images`` and ``nets`` are the numbers of
    images trained on and of networks.

    ``theory`` has the claims about training on one image. With several images it says nothing: each image also moves
    the others.
    """

    N: int
    rate: float
    time: np.ndarray
    change: np.ndarray
    stderr: np.ndarray
    predicted: np.ndarray
    loss: np.ndarray
    loss_stderr: np.ndarray | None = None
    capacity: np.ndarray | None = None
    capacity_stderr: np.ndarray | None = None
    decay: tuple[float, float] = (float("nan"), float("nan"))
    images: int = 0
    nets: int = 0
    theory: Predictions = UNKNOWN

    @property
    def life(self) -> float:
        """∫ L_adv dt/L_adv(0) over the time of the run, by the trapezoidal rule."""
        return float(np.trapezoid(np.append(1.0, self.loss), np.append(0.0, self.time)))

    def records(self) -> Records:
        """A row for each time; None where there is no such claim, or nothing was measured."""
        theory, scale = self.theory, len(self.time) * [self.N]
        columns = {
            "N": scale,
            "t": self.time,
            "Nt": self.N * self.time,
            "loss": self.loss,
            "loss_stderr": self.loss_stderr,
            "loss_D2": theory.loss,
            "capacity": self.capacity,
            "capacity_stderr": self.capacity_stderr,
            "capacity_D1": None if theory.rate is None else 1 + theory.rate * self.time,
            "capacity_D2": theory.capacity,
            "change": self.change,
            "change_stderr": self.stderr,
            "change_T3": self.predicted,
            "change_D2": theory.change,
        }
        nothing = [None] * len(self.time)
        rows = [nothing if values is None else np.asarray(values).tolist() for values in columns.values()]
        return [dict(zip(columns, row)) for row in zip(*rows)]

    @property
    def ratio(self) -> np.ndarray:
        """Simulated over predicted change."""
        return self.change / self.predicted

    def holds_until(self, tolerance: float = 0.1) -> float:
        """The last time up to which the ratio stays within ``tolerance`` of 1; 0 if there is none. Noise makes it
        earlier."""
        off = ~(np.abs(self.ratio - 1) <= tolerance)  # also where there is no ratio
        return float(self.time[-1] if not off.any() else self.time[off.argmax() - 1] if off.argmax() else 0.0)


@public
def training_curve(
    net: Net,
    p: Any,
    q: Any,
    at: Mapping[str, Any],
    *,
    N: int,
    nets: int = 8,
    steps: int = 50,
    rate: float | None = None,
    resolution: float = RESOLUTION,
    images: int | None = None,
    batch: int | None = None,
    seed: int = 0,
    data: str = "digits",
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    sampler: str = "auto",
    memory: int = MEMORY,
    progress: Callable[[int, int], None] | None = None,
) -> TrainingCurve:
    """Train networks on the adversarial loss alone, on real images, and compare σ_w²(t) with T3 by β's route
    ``estimate``.

    ``images`` is the number of images, the first of the data; all, if it is None. On one image the loss and the
    capacity are compared with the claims D1 and D2 too (:class:`~advmf.experiments.predictions.Predictions`).
    ``batch`` images of them are drawn for each step, by default 8, and at most ``images``.

    ``at`` gives L, d, K, eps and the net's symbols; images are scaled to |x|²/d = 1. The step size is the largest at
    which a step follows the gradient flow up to ``resolution`` in σ_w² (:func:`advmf.simulate.suggest_rate`), unless
    ``rate`` is given. ``checkpoint`` and ``resume`` are those of :func:`advmf.simulate.train`. Raises ArgumentError and
    DomainError for missing or inadmissible values, and what :func:`advmf.simulate.train` raises.

    >>> import advmf as mf
    >>> at = dict(L=2, d=64, K=10, sigma_w=2**0.5, sigma_b=0.0, eps=0.05)
    >>> curve = training_curve(mf.vanilla(u=1, v=0), 2, 2, at, N=200, nets=4, steps=4)
    >>> bool((curve.change < 0).all()), bool(0.7 < curve.ratio[0] < 1.4)
    (True, True)
    """
    needed = {"L", "d", "K", "eps"} | {s.name for _, expr in net.parameters for s in expr.free_symbols} - {"N"}
    if missing := sorted(needed - set(at)):
        raise ArgumentError(f"at lacks {', '.join(missing)}; training needs {', '.join(sorted(needed))}.")
    refuse_unused("at", set(at) - {"sigma_w", "sigma_b"}, needed)
    nets = whole("nets", nets, 2)
    at = {name: _whole(value) if name in ("L", "d", "K") else value for name, value in at.items()}
    given = {name: value for name, value in at.items() if name != "eps"}
    laws = [kernel(weight_variance(net, p, q, "estimate", layer=i)) for i in range(len(share(net)))]
    chosen = _chosen(load(data).resampled(int(at["d"])).scaled(1.0), images)
    batch = min(BATCH, len(chosen.x)) if batch is None else batch
    options: dict[str, Any] = {"loss": "adversarial", "batch": batch}
    queries = training_queries(int(at["K"]), int(at["d"]), steps=steps + 1, capacity=True, **options)
    networks = sample(
        net,
        N=N,
        nets=nets,
        generator=torch.Generator().manual_seed(seed),
        sampler=sampler,
        queries=queries,
        keep=True,
        memory=memory,
        **given,
    )
    options |= {"p": p, "q": q, "eps": at["eps"]}
    folder_of(checkpoint, resume)
    if rate is None:
        rate = suggest_rate(networks, chosen, resolution=resolution, **options)
    elif not rate > 0:
        raise DomainError(f"rate is a step size and must be positive; got {rate!r}.")
    kept: dict[str, Any] = {"checkpoint": checkpoint, "resume": resume, "progress": progress}
    run = train(networks, chosen, rate=rate, steps=steps, capacity=True, **kept, **options)
    assert run.capacity is not None
    time, change = run.time.numpy()[1:], run.change.mean(2).numpy()[1:]
    loss, C = run.adversarial.numpy(), run.capacity.numpy()
    (losses, loss_stderr), (capacity, capacity_stderr) = (_quotient(of[1:], of[0]) for of in (loss, C))
    decay, decay_stderr = _quotient(run.gradient[0].sum(1).numpy()[None], loss[0])
    predicted = np.zeros_like(time)
    for law in laws:
        point = {name: value for name, value in {**at, "N": N}.items() if name in law.arguments}
        predicted += (law(t=time, **point) - law(t=0.0, **point)) / len(laws)
    single = len(chosen.x) == 1
    return TrainingCurve(
        N=N,
        rate=rate,
        time=time,
        change=change.mean(1),
        stderr=change.std(1, ddof=1) / nets**0.5,
        predicted=predicted,
        loss=losses,
        loss_stderr=loss_stderr,
        capacity=capacity,
        capacity_stderr=capacity_stderr,
        decay=(float(decay[0]), float(decay_stderr[0])),
        images=len(chosen.x),
        nets=nets,
        theory=predictions(net, p, q, {**at, "N": N, "x_sq": 1.0}, time) if single else UNKNOWN,
    )


def _chosen(data: Images, images: int | None) -> Images:
    """The first ``images`` of the data, without labels."""
    count = len(data.x) if images is None else whole("images", images, 1)
    if count > len(data.x):
        raise DataError(f"images asks for {count} images, and {data.name} has {len(data.x)}.")
    name = data.name if images is None else f"{data.name}, the first {count}"
    return replace(data, name=name, x=data.x[:count], labels=None)


def _quotient(values: np.ndarray, unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The means of ``values`` (logs, nets) over the mean of ``unit`` (nets,), of the same networks, and the standard
    errors of these quotients."""
    ratio = values.mean(1) / unit.mean()
    residue = (values - ratio[:, None] * unit).std(1, ddof=1)
    return ratio, residue / unit.mean() / len(unit) ** 0.5


def _whole(value: Any) -> Any:
    """A whole number of any type as an integer; anything else is returned unchanged, and refused where it is used."""
    try:
        return int(value) if value == int(value) else value
    except (TypeError, ValueError, OverflowError):
        return value
