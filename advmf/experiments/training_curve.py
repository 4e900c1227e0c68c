"""The weight variance of trained networks against T3, over time: how long the theory holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from advmf.boundary import whole
from advmf.emit.kernels import kernel
from advmf.errors import ArgumentError, DomainError, refuse_unused
from advmf.nets import Net
from advmf.simulate.budget import MEMORY
from advmf.simulate.data import load
from advmf.simulate.sampling import sample
from advmf.simulate.training import suggest_rate, train, training_queries
from advmf.theorems.t3_weight_variance import weight_variance
from advmf.theory.dynamics import share

RESOLUTION = 0.01
"""The share of a step's change of the variance that may come from its finite size."""


@dataclass(frozen=True)
class TrainingCurve:
    """The change of the weight variance at each ``time``, simulated and predicted, and the adversarial loss relative to
    its start.

    The variance is its mean over the trained matrices. All arrays are (logs,), from the first step on: ``change``
    (negative) with its standard error over networks, ``predicted`` by T3, ``loss`` relative to the first batch's.
    ``rate`` is the step size.
    """

    N: int
    rate: float
    time: np.ndarray
    change: np.ndarray
    stderr: np.ndarray
    predicted: np.ndarray
    loss: np.ndarray

    @property
    def ratio(self) -> np.ndarray:
        """Simulated over predicted change."""
        return self.change / self.predicted

    def holds_until(self, tolerance: float = 0.1) -> float:
        """The last time up to which the ratio stays within ``tolerance`` of 1; 0 if there is none. Noise makes it
        earlier."""
        off = ~(np.abs(self.ratio - 1) <= tolerance)  # also where there is no ratio
        return float(self.time[-1] if not off.any() else self.time[off.argmax() - 1] if off.argmax() else 0.0)


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
    batch: int = 8,
    seed: int = 0,
    data: str = "digits",
    sampler: str = "auto",
    memory: int = MEMORY,
    progress: Callable[[int, int], None] | None = None,
) -> TrainingCurve:
    """Train networks on the adversarial loss alone, on real images, and compare σ_w²(t) with T3 by β's route
    ``estimate``.

    ``at`` gives L, d, K, eps and the net's symbols; images are scaled to |x|²/d = 1. The step size is the largest at
    which a step follows the gradient flow up to ``resolution`` in σ_w² (:func:`advmf.simulate.suggest_rate`), unless
    ``rate`` is given. Raises ArgumentError and DomainError for missing or inadmissible values, and what
    :func:`advmf.simulate.train` raises.

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
    queries = training_queries(int(at["K"]), int(at["d"]), loss="adversarial", steps=steps + 1, batch=batch)
    laws = [kernel(weight_variance(net, p, q, "estimate", layer=i)) for i in range(len(share(net)))]
    generator = torch.Generator().manual_seed(seed)
    networks = sample(
        net, N=N, nets=nets, generator=generator, sampler=sampler, queries=queries, keep=True, memory=memory, **given
    )
    images = load(data).resampled(int(at["d"])).scaled(1.0)
    options: dict[str, Any] = {"loss": "adversarial", "p": p, "q": q, "eps": at["eps"], "batch": batch}
    if rate is None:
        rate = suggest_rate(networks, images, resolution=resolution, **options)
    elif not rate > 0:
        raise DomainError(f"rate is a step size and must be positive; got {rate!r}.")
    run = train(networks, images, rate=rate, steps=steps, progress=progress, **options)
    time = run.time.numpy()[1:]
    change = run.change.mean(2).numpy()[1:]
    loss = run.adversarial.mean(1).numpy()
    predicted = np.zeros_like(time)
    for law in laws:
        point = {name: value for name, value in {**at, "N": N}.items() if name in law.arguments}
        predicted += (law(t=time, **point) - law(t=0.0, **point)) / len(laws)
    return TrainingCurve(
        N=N,
        rate=rate,
        time=time,
        change=change.mean(1),
        stderr=change.std(1, ddof=1) / nets**0.5,
        predicted=predicted,
        loss=loss[1:] / loss[0],
    )


def _whole(value: Any) -> Any:
    """A whole number of any type as an integer; anything else is returned unchanged, and refused where it is used."""
    try:
        return int(value) if value == int(value) else value
    except (TypeError, ValueError, OverflowError):
        return value
