"""The figure of a sweep: the theory as a curve, what was simulated as points with error bars, and their ratio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy as sp

from advmf.claim import Claim
from advmf.drawing import BARS, COLOURS, MARKS, Drawing, drawing, labelled, logarithmic, note, written
from advmf.emit.kernels import kernel
from advmf.emit.latex import latex
from advmf.errors import AdvmfError, ArgumentError
from advmf.outputs import Output
from advmf.symbols import SYMBOLS
from advmf.verify.verdict import Report, Verdict

if TYPE_CHECKING:
    from advmf.experiments.sweep import Place, Sweep

DENSE = 120
"""Points of a curve."""
AGREE = 1e-6
"""The relative difference from the reports' predictions up to which a curve is that of the claim."""
FAMILIAR = {
    "L": "depth $L$",
    "N": "width $N$",
    "d": "input dimension $d$",
    "K": "output dimension $K$",
    "eps": r"radius $\epsilon$",
}


@dataclass(frozen=True)
class Curve:
    """One curve of a figure: its label, and for each point the place on the axis, what was simulated, with its standard
    error, what was predicted, and the verdict."""

    label: str
    claim: Claim
    report: Report
    x: np.ndarray
    mean: np.ndarray
    stderr: np.ndarray
    predicted: np.ndarray
    verdicts: tuple[Verdict, ...]


def plotted(sweep: Sweep, path: Path | str | Output | None, size: str | float) -> Drawing:
    """The figure: values above, where all curves are of the same quantity, and simulated over predicted below."""
    curves = _curves(sweep)
    if not curves:
        raise ArgumentError("No point of this sweep is finished, so that there is nothing to draw.")
    axis_name = sweep.axes[0]
    values = len({curve.claim.lhs for curve in curves}) == 1
    ratios = all((curve.predicted != 0).all() for curve in curves)
    count = int(values) + int(ratios or not values)
    heights = {"height_ratios": [2, 1]} if count == 2 else {}
    with drawing(size, 0.62 + 0.3 * (count - 1), nrows=count, sharex=True, squeeze=False, gridspec_kw=heights) as (
        drawn,
        grid,
    ):
        panels = list(grid[:, 0])
        everything = [x for curve in curves for x in curve.x]
        for panel in panels:
            logarithmic(panel, "x", everything, 4 if axis_name in ("N", "d", "K") else 10)
        if values:
            _values(panels[0], curves, axis_name)
        if ratios or not values:
            _ratios(panels[-1], curves)
        panels[-1].set_xlabel(FAMILIAR.get(axis_name, f"${_tex(axis_name)}$"))
        _ticks(panels[-1], everything, axis_name in SYMBOLS and SYMBOLS[axis_name].integer)
        panels[0].set_title(_title(curves, len(curves) == 1), fontsize=7.5)
        note(panels[0], _notes(curves, sweep.axes))
        if len(curves) > 1:
            ends = [
                (c.x[-1], (c.mean if values else c.mean / c.predicted)[-1], c.label, colour)
                for c, colour in zip(curves, _cycle())
            ]
            labelled(panels[0], ends)
    return written(drawn, path)


def _curves(sweep: Sweep) -> list[Curve]:
    groups: dict[tuple[Any, ...], list[Place]] = {}
    for place in sweep.places:
        others = tuple((name, value) for name, value in place.values.items() if name != sweep.axes[0])
        groups.setdefault(
            (place.claim.name, place.claim.net, place.activation, place.claim.p, place.claim.q, others), []
        ).append(place)
    several = _labels(list(groups))
    return [_curve(places, label, sweep.axes) for places, label in zip(groups.values(), several)]


def _labels(keys: Sequence[tuple[Any, ...]]) -> list[str]:
    """What tells the curves apart, in words."""
    parts = list(zip(*keys))
    told = [len(set(part)) > 1 for part in parts]
    found = []
    for theorem, net, activation, p, q, others in keys:
        words = [theorem] if told[0] else []
        words += [(net.name if net else "matrix").replace("_", " ")] if told[1] else []
        words += [activation.replace("_", " ")] if told[2] else []
        words += [f"({_exponent(p)}, {_exponent(q)})"] if told[3] or told[4] else []
        words += [f"${_tex(name)} = {value:g}$" for name, value in others if told[5]]
        found.append(" ".join(words))
    return found


def _exponent(value: Any) -> str:
    return "$\\infty$" if value == sp.oo else str(value)


def _curve(places: Sequence[Place], label: str, axes: Sequence[str]) -> Curve:
    rows: list[tuple[float, float, float, float, Verdict]] = []
    for place in places:
        f = place.report.findings[0]
        if axes[0] == "N":
            rows += [(r.N, r.mean, r.stderr, f.predicted, place.report.verdict) for r in f.rungs]
        else:
            rows.append((place.values[axes[0]], f.estimate, f.stderr, f.predicted, place.report.verdict))
    rows.sort(key=lambda row: row[0])
    x, mean, stderr, predicted = (np.array(column, float) for column in list(zip(*rows))[:4])
    return Curve(label, places[0].claim, places[0].report, x, mean, stderr, predicted, tuple(row[4] for row in rows))


def theory(curve: Curve, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The prediction along the axis ``name``: the claim's formula between the points, if it gives the predictions of
    the reports at them, and else these predictions."""
    low, high = curve.x.min(), curve.x.max()
    dense = np.geomspace(low, high, DENSE) if low > 0 and high > 4 * low else np.linspace(low, high, DENSE)
    if name in SYMBOLS and SYMBOLS[name].integer:
        dense = np.unique(dense.round())
    rhs = curve.claim.rhs if not curve.claim.equations else curve.claim.implied[0].rhs
    fixed = {key: value for key, value in curve.report.at.items() if key != name}
    try:
        formula = kernel(rhs)
        values = {key: fixed[key] for key in formula.arguments if key in fixed}
        at_points, between = (
            np.broadcast_to(formula(**values, **{name: x} if name in formula.arguments else {}), x.shape)
            for x in (curve.x, dense)
        )
    except AdvmfError:
        return curve.x, curve.predicted
    return (
        (dense, between) if np.allclose(at_points, curve.predicted, rtol=AGREE, atol=0) else (curve.x, curve.predicted)
    )


def _cycle() -> list[str]:
    return list(COLOURS) * 4


def _values(panel: Any, curves: Sequence[Curve], name: str) -> None:
    for curve, colour, mark in zip(curves, _cycle(), MARKS * 4):
        panel.plot(*theory(curve, name), color=colour, lw=1.0)
        _points(panel, curve, curve.mean, curve.stderr, colour, mark)
    shown = np.concatenate([*(curve.mean for curve in curves), *(curve.predicted for curve in curves)])
    logarithmic(panel, "y", shown[np.isfinite(shown)].tolist())
    if panel.get_yscale() == "log" and 1e-3 <= shown.min() and shown.max() < 1e4:
        panel.yaxis.set_major_formatter(_plain)
        panel.yaxis.set_minor_formatter(lambda v, _: _plain(v) if f"{v:.0e}"[0] in "25" else "")
    panel.set_ylabel(_quantity(curves[0].claim))


def _ratios(panel: Any, curves: Sequence[Curve]) -> None:
    panel.axhline(1, color="0.4", lw=0.8, ls="--")
    for curve, colour, mark in zip(curves, _cycle(), MARKS * 4):
        size = np.abs(curve.predicted)
        _points(panel, curve, curve.mean / curve.predicted, curve.stderr / size, colour, mark)
    panel.set_ylabel("simulated /\npredicted")


def _points(panel: Any, curve: Curve, mean: np.ndarray, stderr: np.ndarray, colour: str, mark: str) -> None:
    """The points: filled where the claim stands, open where it is underpowered, crossed out where it is refuted."""
    for verdict in dict.fromkeys(curve.verdicts):
        own = np.array([each is verdict for each in curve.verdicts])
        look: dict[str, Any] = {"marker": mark, "mfc": "white" if verdict is Verdict.UNDERPOWERED else colour}
        if verdict is Verdict.REFUTED:
            look = {"marker": "X", "mfc": colour, "markersize": 6, "mec": "black", "mew": 0.6}
        bars = np.where(np.isfinite(stderr[own]), BARS * stderr[own], 0.0)
        panel.errorbar(curve.x[own], mean[own], bars, color=colour, ls="none", elinewidth=0.8, **look)


def _ticks(panel: Any, values: Sequence[float], integer: bool) -> None:
    """Ticks of a logarithmic axis at the values themselves, if they are few; those of a count are whole."""
    from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

    own = sorted(set(values))
    if panel.get_xscale() == "log" and len(own) <= 8:
        panel.xaxis.set_major_locator(FixedLocator(own))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.xaxis.set_major_formatter(_plain)
    elif integer and panel.get_xscale() == "linear":
        panel.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))


def _plain(value: float, _: object = None) -> str:
    return f"{value:g}"


def _tex(name: str) -> str:
    return str(latex(SYMBOLS[name].symbol)) if name in SYMBOLS else name


def _quantity(claim: Claim) -> str:
    """The left-hand side for an axis, as far as matplotlib's TeX can set it."""
    from matplotlib.mathtext import MathTextParser

    text = f"${latex(claim.implied[0].lhs if claim.equations else claim.lhs)}$".replace(r"\lVert", r"\Vert").replace(
        r"\rVert", r"\Vert"
    )
    try:
        MathTextParser("path").parse(text)
    except ValueError:
        return "estimate"
    return text


def _title(curves: Sequence[Curve], single: bool) -> str:
    report = curves[0].report
    same = len({(c.report.p, c.report.q) for c in curves}) == 1 and report.p
    pair = (
        f"$(p, q) = ({_exponent(curves[0].claim.p).strip('$')}, {_exponent(curves[0].claim.q).strip('$')})$"
        if same
        else ""
    )
    names = dict.fromkeys(f"{curve.report.theorem}" for curve in curves)
    nets = dict.fromkeys(curve.report.net.replace("_", " ") for curve in curves)
    words = [*names, *nets] if len(names) * len(nets) == 1 or single else ([*names] if len(names) == 1 else [])
    return ", ".join([" ".join(words), pair]).strip(", ")


def _notes(curves: Sequence[Curve], axes: Sequence[str]) -> str:
    """What error bars, markers and curves mean, and the rest of the point."""
    at: Mapping[str, float] = curves[0].report.at
    fixed = [
        f"${_tex(name)} = {value:.4g}$"
        for name, value in at.items()
        if name not in axes and not (name == "x_sq" and value == 1)
    ]
    seen = {verdict for curve in curves for verdict in curve.verdicts}
    marks = [
        word
        for verdict, word in ((Verdict.UNDERPOWERED, "open: underpowered"), (Verdict.REFUTED, "cross: refuted"))
        if verdict in seen
    ]
    words = ["line: theory", f"bars: ± {BARS:g} standard errors", *marks]
    limit = "; networks of infinite width" if curves[0].report.given else ""
    return ", ".join(fixed) + limit + "\n" + ", ".join(words)


__all__ = ["Curve", "plotted", "theory"]
