"""Trained networks of several widths over time: one table, and a figure beside what the claims say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from advmf.drawing import BARS, COLOURS, MARKS, Drawing, drawing, note, width_of, written
from advmf.experiments.training_curve import TrainingCurve
from advmf.outputs import Output
from advmf.tabled import Records, Tabled

NARROW = 120.0
"""Below this width in millimetres the panels are above one another."""
MARKED = 10
"""Times at which a curve has a marker and its error bar."""


@dataclass(frozen=True)
class TrainingCurves(Tabled):
    """Curves of several widths, as one table and one figure."""

    curves: tuple[TrainingCurve, ...]

    def records(self) -> Records:
        """The rows of all curves."""
        return [row for curve in self.curves for row in curve.records()]

    def plot(self, path: Path | str | Output | None = None, title: str = "", size: str | float = "two") -> Drawing:
        """Loss, capacity and weight variance against the clock N t, and the claims; written to ``path``, if given."""
        return written(training_figure(self.curves, title, size), path)


def training_figure(curves: Sequence[TrainingCurve], title: str = "", size: str | float = "two") -> Drawing:
    """Loss, capacity and weight variance against the clock N t, on which all widths run alike, and the claims."""
    stacked = width_of(size) < NARROW
    shape = {"nrows": 3, "sharex": True} if stacked else {"ncols": 3}
    with drawing(size, 1.75 if stacked else 0.4, **shape) as (drawn, axes):
        for i, (curve, colour, mark) in enumerate(zip(curves, cycle(COLOURS), cycle(MARKS))):
            every = max(len(curve.time) // MARKED, 1)
            some = (i * every // len(curves), every)
            for axis, (values, error) in zip(axes, _measured(curve)):
                axis.errorbar(
                    curve.N * curve.time, values, BARS * error, errorevery=some, markevery=some, color=colour, marker=mark, elinewidth=0.6,
                    label=f"$N={curve.N}$",
                )  # fmt: skip
        top = max(curves, key=lambda curve: curve.N)  # T5's rate falls with N on this clock; all else is alike
        time = np.append(0.0, top.time)
        for axis, lines in zip(axes, _claimed(top)):
            limits = axis.get_ylim()
            for name, values in lines.items():
                axis.plot(top.N * time, values(time), **_LINES[name], label=name, zorder=3)
            axis.set_ylim(limits)  # a first slope leaves the axes
        axes[0].set(ylabel=r"$\mathcal{L}_{adv}(t)/\mathcal{L}_{adv}(0)$")
        axes[1].set(ylabel="$C(t)/C(0)$")
        axes[2].set(ylabel=r"$N^2\,(\sigma_w^2(t)-\sigma_w^2)$")
        for axis in axes[:2]:
            axis.set_ylim(0, max(1.03, axis.get_ylim()[1]))
        for axis in axes:
            axis.set_xlim(0, max(curve.N * curve.time[-1] for curve in curves))
        for axis in axes[-1:] if stacked else axes:
            axis.set_xlabel("$N\\,t$ (width × rate × steps)")
        found = {label: line for axis in axes for line, label in zip(*axis.get_legend_handles_labels())}
        labels = sorted(found, key=lambda label: label in _LINES)  # networks first
        handles = [found[label] for label in labels]
        drawn.figure.legend(handles, labels, title=title, loc="outside upper center", ncols=3 if stacked else 7)
        note(axes[0], f"bars: ± {BARS:g} standard errors over {curves[0].nets} networks")
    return drawn


_LINES: dict[str, dict[str, Any]] = {
    "D2": {"color": "black", "ls": "--"},
    "slope at $t=0$": {"color": "black", "ls": ":"},
    "T3, T5": {"color": "0.55", "ls": "-."},
}
"""The claims and their lines."""


def _measured(curve: TrainingCurve) -> list[tuple[np.ndarray, np.ndarray]]:
    """The values and errors of the three panels."""
    nothing = np.full(len(curve.time), np.nan)
    scale = curve.N**2
    return [
        (curve.loss, nothing if curve.loss_stderr is None else curve.loss_stderr),
        (nothing, nothing) if curve.capacity is None or curve.capacity_stderr is None else (curve.capacity, curve.capacity_stderr),
        (scale * curve.change, scale * curve.stderr),
    ]  # fmt: skip


def _claimed(curve: TrainingCurve) -> list[dict[str, Callable[[np.ndarray], np.ndarray]]]:
    """The claims of the three panels, as functions of t."""
    theory, scale = curve.theory, curve.N**2

    def through(start: float, values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        return lambda t: np.interp(t, np.append(0.0, curve.time), np.append(start, values))

    def slope(rate: float) -> Callable[[np.ndarray], np.ndarray]:
        return lambda t: 1 + rate * t

    loss, capacity, change = {}, {}, {"T3, T5": through(0.0, scale * curve.predicted)}
    if theory.loss is not None:
        loss["D2"] = through(1.0, theory.loss)
    elif theory.decay is not None:
        loss["slope at $t=0$"] = slope(-theory.decay)
    if theory.capacity is not None:
        capacity["D2"] = through(1.0, theory.capacity)
    elif theory.rate is not None:
        capacity["slope at $t=0$"] = slope(theory.rate)
    if theory.paper is not None:
        capacity["T3, T5"] = slope(theory.paper)
    if theory.change is not None:
        change["D2"] = through(0.0, scale * theory.change)
    return [loss, capacity, change]
