"""The figure of a finding, as SVG: measured and predicted values against the width, and their differences in standard
errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

import numpy as np

from advmf.report.ticks import ticks
from advmf.report.tree import node
from advmf.verify.verdict import Finding, Report

WIDTH, HEIGHT = 464, 300
_LEFT, _RIGHT, _LIMIT = 98, 374, 424
"""The edges of the axis of widths, and the position of the joint estimate from all widths."""
_EDGE = 6
"""Where the headings of both panels begin. They are long, and letters are larger on a phone."""
_UPPER, _LOWER = (18, 158), (196, 262)
"""Top and bottom of both panels."""
INTERVAL = 2.0
"""Half the length of an interval, in standard errors."""

Scale = Callable[[float], float]


@dataclass(frozen=True)
class Point:
    """A measured value at a size, with its standard error and the prediction."""

    size: float
    value: float
    stderr: float
    predicted: float

    @property
    def departure(self) -> float:
        """The difference from the prediction in standard errors; NaN where there is none."""
        return (self.value - self.predicted) / self.stderr if self.stderr else math.nan


def points(report: Report, finding: Finding) -> list[Point]:
    """The measured values at each size. Where a slope was predicted, the prediction at each size is the line of that
    slope through the middle of the measured logarithms."""
    rungs = finding.rungs
    if not is_slope(report):
        return [Point(r.N, r.mean, r.stderr, finding.predicted) for r in rungs]
    middle = sum(math.log(r.N) for r in rungs) / len(rungs)
    sizes = [abs(r.mean) for r in rungs]
    level = sum(map(math.log, sizes)) / len(rungs) if all(sizes) else math.nan
    lines = [math.exp(level + finding.predicted * (math.log(r.N) - middle)) for r in rungs]
    return [Point(r.N, size, r.stderr, line) for r, size, line in zip(rungs, sizes, lines)]


def is_slope(report: Report) -> bool:
    """Whether the report is about an order of growth; its findings are then slopes."""
    return "along" in report.settings


def along(report: Report) -> str:
    """The symbol of the size that varies along the ladder."""
    return str(report.settings.get("along", "N" if "widths" in report.settings else "d"))


def figure(report: Report, finding: Finding, name: str) -> Element | None:
    """The figure of a finding, with ``name`` as the start of its ids; None where nothing finite was measured."""
    measured = [p for p in points(report, finding) if all(map(math.isfinite, (p.value, p.stderr, p.predicted)))]
    if not measured:
        return None
    slope = is_slope(report)
    shown = measured if slope else [*measured, *_joint(finding)]
    x = _along([p.size for p in measured])
    places = [*(x(p.size) for p in measured), *([_LIMIT] * (len(shown) - len(measured)))]
    low = min(min(p.value - INTERVAL * p.stderr, p.predicted) for p in shown)
    high = max(max(p.value + INTERVAL * p.stderr, p.predicted) for p in shown)
    y = _up(low, high, _UPPER, log=slope and low > 0)
    most = max([3.0, *(abs(p.departure) for p in shown if math.isfinite(p.departure))])
    z = _up(-most, most, _LOWER)
    symbol = along(report)
    return node(
        "svg",
        node("title", f"{finding.label}: estimate and prediction", id=f"{name}-t"),
        node("desc", _told(symbol, shown, finding), id=f"{name}-d"),
        *_frame(_UPPER, y, ticks(low, high)),
        *_frame(_LOWER, z, ticks(-most, most, 3)),
        node("rect", x=_LEFT, y=_at(z(2)), width=_LIMIT + 20 - _LEFT, height=_at(z(-2) - z(2)), class_="band"),
        node("path", d=_path([(_LEFT, z(0)), (_LIMIT + 20, z(0))]), class_="prediction"),
        node("path", d=_path(_line(measured, x, y, slope)), class_="prediction"),
        *_fitted(measured, finding, x, y),
        *(mark for place, p in zip(places, shown) for mark in _mark(place, p, y, z, place == _LIMIT)),
        *_sizes(measured, x, symbol, len(shown) > len(measured)),
        _text(_EDGE, _UPPER[0] - 4, "estimate ± 2 standard errors; dashed: predicted" + ("; line: fit" if _fit(measured, finding) else ""), "start"),
        _text(_EDGE, _LOWER[0] - 6, "departure from the prediction, in standard errors", "start"),
        viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_labelledby=f"{name}-t {name}-d", class_="figure",
    )  # fmt: skip


def _joint(finding: Finding) -> list[Point]:
    joint = Point(math.inf, finding.estimate, finding.stderr, finding.predicted)
    return [joint] if len(finding.rungs) > 1 and math.isfinite(joint.value) and math.isfinite(joint.stderr) else []


def _told(symbol: str, shown: Sequence[Point], finding: Finding) -> str:
    """The text alternative of the figure."""
    joint = len(finding.rungs) > 1
    where = ("all together" if joint and math.isinf(p.size) else f"{symbol} = {p.size:,.0f}" for p in shown)
    values = "; ".join(f"{place}: {p.value:.4g} ± {p.stderr:.2g}" for place, p in zip(where, shown))
    return f"Predicted: {finding.predicted:.4g}. Measured, with standard errors: {values}."


def _along(sizes: Sequence[float]) -> Scale:
    low, high = math.log(min(sizes)), math.log(max(sizes))
    span = _RIGHT - _LEFT - 40
    return lambda size: _LEFT + 20 + span * ((math.log(size) - low) / (high - low) if high > low else 0.5)


def _up(low: float, high: float, panel: tuple[int, int], log: bool = False) -> Scale:
    """A map from values to heights, with room above and below."""
    bend = math.log if log else float
    bottom, top = bend(low), bend(high)
    room = 0.08 * (top - bottom) or 0.1 * abs(top) or 1.0
    height = (panel[1] - panel[0]) / (top - bottom + 2 * room)
    return lambda value: panel[1] - (bend(value) - bottom + room) * height


AGREE = 1e-4
"""The relative difference from the joint estimate up to which a curve is that of the fit."""


def _fit(measured: Sequence[Point], finding: Finding) -> Callable[[float], float] | None:
    """The law that the joint estimate is the limit of, a + b/N + c/N² or a constant, fitted to the means with the
    numbers of networks as weights. None where the estimate is of another kind."""
    rungs = [r for r in finding.rungs if any(p.size == r.N for p in measured)]
    if len(rungs) < 3 or not all(math.isfinite(r.N) and math.isfinite(r.mean) for r in rungs):
        return None
    inverse, mean, weight = (np.array(column, float) for column in zip(*((1 / r.N, r.mean, r.nets) for r in rungs)))
    for degree in (2, 0):
        powers = np.vander(inverse, degree + 1, increasing=True)
        root = np.sqrt(weight)
        found, *_ = np.linalg.lstsq(powers * root[:, None], mean * root, rcond=None)
        if abs(found[0] - finding.estimate) <= AGREE * abs(finding.estimate):
            return lambda N, c=found: float(sum(a / N**k for k, a in enumerate(c)))  # type: ignore[misc]
    return None


def _fitted(measured: Sequence[Point], finding: Finding, x: Scale, y: Scale) -> list[Element]:
    """The curve of the fit between the smallest and the largest size."""
    law = _fit(measured, finding)
    if law is None:
        return []
    low, high = measured[0].size, measured[-1].size
    sizes = [low * (high / low) ** (i / 40) for i in range(41)]
    return [node("path", d=_path([(x(n), y(law(n))) for n in sizes]), class_="fit")]


def _line(measured: Sequence[Point], x: Scale, y: Scale, slope: bool) -> list[tuple[float, float]]:
    if slope:
        return [(x(p.size), y(p.predicted)) for p in measured]
    return [(_LEFT, y(measured[0].predicted)), (_LIMIT + 20, y(measured[0].predicted))]


def _frame(panel: tuple[int, int], scale: Scale, values: Sequence[float]) -> list[Element]:
    """The axis on the left, with its ticks."""
    parts = [node("path", d=_path([(_LEFT, panel[0]), (_LEFT, panel[1]), (_LIMIT + 20, panel[1])]), class_="axis")]
    for value in values:
        height = scale(value)
        parts.append(node("path", d=_path([(_LEFT - 4, height), (_LEFT, height)]), class_="axis"))
        parts.append(_text(_LEFT - 7, height + 4, f"{value:.6g}", "end"))
    return parts


def _sizes(measured: Sequence[Point], x: Scale, symbol: str, joint: bool) -> list[Element]:
    """The ticks below, and the label of their axis."""
    labels = [_text(x(p.size), _LOWER[1] + 15, _short(p.size)) for p in measured]
    if joint:
        labels.append(_text(_LIMIT, _LOWER[1] + 15, "together"))
    return [*labels, _text((_LEFT + _RIGHT) / 2, HEIGHT - 6, symbol)]


def _mark(place: float, p: Point, y: Scale, z: Scale, joint: bool) -> list[Element]:
    """A value with its interval, and its difference from the prediction; the joint estimate is drawn as a diamond."""
    ends = [(place, y(p.value + side * INTERVAL * p.stderr)) for side in (-1, 1)]
    values = [y(p.value), *([z(p.departure)] if math.isfinite(p.departure) else [])]
    return [
        node("path", d=_path(ends), class_="interval"),
        *(node("path", d=_shape(place, height, joint), class_="mark") for height in values),
    ]


def _shape(x: float, y: float, diamond: bool) -> str:
    if diamond:
        return f"M{_at(x - 5)} {_at(y)}l5 -5l5 5l-5 5z"
    return f"M{_at(x - 3.5)} {_at(y)}a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0z"


def _path(corners: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{_at(x)} {_at(y)}" for x, y in corners)


def _text(x: float, y: float, text: str, anchor: str = "middle") -> Element:
    return node("text", text, x=_at(x), y=_at(y), text_anchor=anchor)


def _at(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _short(size: float) -> str:
    """A size in few characters.

    >>> [_short(size) for size in (512, 2048, 100_000, 1_000_000, math.inf)]
    ['512', '2048', '100k', '1M', '∞']
    """
    if math.isinf(size):
        return "∞"
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if size >= 10 * unit or size == unit:
            return f"{size / unit:g}{letter}"
    return f"{size:g}"
