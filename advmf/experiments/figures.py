"""Figures of curves with error bars, in the style of :mod:`advmf.drawing`. Each function takes ``size``, "one" or "two"
columns or millimetres, returns the :class:`~advmf.drawing.Drawing`, and writes it if a ``path`` is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from advmf.drawing import COLOURS, MARKS, Drawing, check_target, drawing, logarithmic, note, written
from advmf.experiments.training_curve import TrainingCurve
from advmf.outputs import Output

__all__ = ["check_target", "lines", "training_curves"]


def training_curves(
    curves: Sequence[TrainingCurve], path: Path | str | Output | None = None, title: str = "", size: str | float = "one"
) -> Drawing:
    """Change of the weight variance, simulated over T3, and the adversarial loss over its start, against time."""
    with drawing(size, 1.0, nrows=2, sharex=True) as (drawn, (upper, lower)):
        for curve, colour, mark in zip(curves, COLOURS, MARKS):
            error = abs(curve.stderr / curve.predicted)
            label = f"$N={curve.N}$"
            upper.errorbar(curve.time, curve.ratio, error, color=colour, marker=mark, label=label)
            lower.plot(curve.time, curve.loss, color=colour, marker=mark, label=label)
        upper.axhline(1, color="black", lw=0.8, ls="--")
        upper.set(ylabel=r"$\Delta\sigma_w^2$ simulated / T3", title=title)
        lower.set(
            xlabel="time $t$ (rate x steps)", ylabel=r"$\mathcal{L}_{adv}(t)/\mathcal{L}_{adv}(0)$", ylim=(0, None)
        )
        upper.legend()
    return written(drawn, path)


Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]
"""Curves by name: values, and their standard errors."""


def lines(
    x: Sequence[float],
    series: Series,
    path: Path | str | Output | None,
    xlabel: str,
    ylabel: str,
    title: str = "",
    size: str | float = "one",
) -> Drawing:
    """Curves over a common axis, each with bars of one standard error and its own colour and marker. The axis is
    logarithmic where x spans a decade."""
    with drawing(size, 0.8) as (drawn, axis):
        for (label, (values, errors)), colour, mark in zip(series.items(), COLOURS, MARKS):
            axis.errorbar(x, values, errors, color=colour, marker=mark, label=label)
        logarithmic(axis, "x", x)
        axis.set(xlabel=xlabel, ylabel=ylabel, title=title)
        drawn.figure.legend(loc="outside upper center", ncols=2)
        note(axis, "bars: ± 1 standard error")
    return written(drawn, path)
