"""Figures of curves with error bars, in the style of :mod:`advmf.drawing`. Each function takes ``size``, "one" or "two"
columns or millimetres, returns the :class:`~advmf.drawing.Drawing`, and writes it if a ``path`` is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from advmf.drawing import BARS, COLOURS, MARKS, Drawing, check_target, drawing, logarithmic, note, written
from advmf.outputs import Output

__all__ = ["check_target", "lines"]


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
    """Curves over a common axis, each with bars of two standard errors and its own colour and marker. The axis is
    logarithmic where x spans a decade."""
    with drawing(size, 0.8) as (drawn, axis):
        for (label, (values, errors)), colour, mark in zip(series.items(), COLOURS, MARKS):
            axis.errorbar(x, values, [BARS * error for error in errors], color=colour, marker=mark, label=label)
        logarithmic(axis, "x", x)
        axis.set(xlabel=xlabel, ylabel=ylabel, title=title)
        drawn.figure.legend(loc="outside upper center", ncols=2)
        note(axis, f"bars: ± {BARS:g} standard errors")
    return written(drawn, path)
