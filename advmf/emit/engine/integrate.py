"""Numerical solution of many autonomous systems of differential equations at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

RTOL = 1e-15
"""The target relative error per system and step. Over many steps errors add up to some 1e-13."""
CHUNK = 4096
"""The number of systems that share their steps."""


def integrate(
    rates: Callable[[np.ndarray, np.ndarray], np.ndarray],
    end: np.ndarray,
    start: np.ndarray,
    fixed: np.ndarray,
    positive: tuple[bool, ...],
) -> np.ndarray:
    """The states at the times ``end``: one system per column of ``start``, of shape (variables, systems).

    ``rates(state, fixed)`` are the time derivatives; for ``positive`` variables they are those of the logarithms. The
    state is NaN for a system without a solution up to its time, or with arguments or rates that are not finite. A
    variable that is not integrated by its logarithm and diverges before is infinite.

    >>> import numpy as np
    >>> from advmf.emit.engine.integrate import integrate
    >>> decay = lambda z, k: -k
    >>> integrate(decay, np.array([0.0, 1.0]), np.ones((1, 2)), np.full((1, 2), 2.0), (True,)).round(12)
    array([[1.        , 0.13533528]])
    """
    logs = np.array(positive)[:, None]
    solved = np.full(start.shape, np.nan)
    good = np.isfinite(end) & np.isfinite(start).all(0) & np.isfinite(fixed).all(0) & ((start > 0) | ~logs).all(0)
    still = good & (end == 0)
    solved[:, still] = start[:, still]
    moving = np.flatnonzero(good & (end != 0))
    for part in np.array_split(moving, max(1, -(-moving.size // CHUNK))):
        if part.size:
            solved[:, part] = _together(rates, end[part], start[:, part], fixed[:, part], logs)
    return solved


def _together(
    rates: Callable[[np.ndarray, np.ndarray], np.ndarray],
    end: np.ndarray,
    start: np.ndarray,
    fixed: np.ndarray,
    logs: np.ndarray,
) -> np.ndarray:
    """Integrate all systems together in the time s in [0, 1] with t = (exp(s u) - 1)/v, v being the rate at the start.
    If that fails, each half is integrated by itself."""
    from scipy.integrate import solve_ivp

    def natural(state: np.ndarray) -> np.ndarray:
        return np.where(logs, np.exp(np.where(logs, state, 0.0)), state)

    rate = np.abs(rates(start, fixed)) / np.where(logs, 1.0, 1.0 + np.abs(start))
    v = np.maximum(rate.max(0), 1e-300)
    u = np.log1p(np.abs(end) * v)
    pace = np.sign(end) * u / v

    def slope(s: float, flat: np.ndarray) -> np.ndarray:
        return (pace * np.exp(s * u) * rates(natural(flat.reshape(start.shape)), fixed)).ravel()

    first = np.where(logs, np.log(np.where(logs, start, 1.0)), start)
    speed = np.abs(slope(0.0, first.ravel()))
    if np.isfinite(speed).all():
        scale = np.where(np.broadcast_to(logs, start.shape).ravel(), 1.0, speed + 1e-300)
        found = solve_ivp(slope, (0.0, 1.0), first.ravel(), _method(), variables=len(start), scale=scale)
        if found.success and np.isfinite(found.y[:, -1]).all():
            return natural(found.y[:, -1].reshape(start.shape))
        if end.size == 1:
            # The solver stops where a variable diverges at a finite time.
            last = found.y[:, -1]
            blown = ~logs.ravel() & (np.abs(slope(1.0, last)) > 1e8 * (np.abs(last) + scale))
            return np.where(blown, np.sign(slope(1.0, last)) * np.inf, np.nan)[:, None]
    if end.size == 1:
        return np.full(start.shape, np.nan)
    halves = np.array_split(np.arange(end.size), 2)
    parts = [_together(rates, end[half], start[:, half], fixed[:, half], logs) for half in halves]
    return np.concatenate(parts, axis=1)


def _method() -> Any:
    """The Runge-Kutta method of order 8 by Dormand and Prince, where every system is accurate by itself.

    SciPy's own takes the mean error over all systems, and no tolerance below 2e-14.
    """
    from scipy.integrate import DOP853

    class Each(DOP853):
        def __init__(self, *args: Any, variables: int, scale: np.ndarray, **options: Any) -> None:
            super().__init__(*args, **options)
            self.rtol, self.atol, self.variables = RTOL, RTOL * scale, variables

        def _estimate_error_norm(self, K: np.ndarray, h: float, scale: np.ndarray) -> float:
            square5, square3 = (
                ((K.T @ weights / scale).reshape(self.variables, -1) ** 2).sum(0) for weights in (self.E5, self.E3)
            )
            mixed = np.sqrt((square5 + 0.01 * square3) * self.variables)
            return float((abs(h) * square5 / np.where(mixed > 0, mixed, 1.0)).max())

    return Each
