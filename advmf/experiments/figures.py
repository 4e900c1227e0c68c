"""Figures, by matplotlib: ``pip install 'advmf[plot]'``. Colours are distinguishable for the colour-blind, and axes are
labelled with the symbols."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from advmf.errors import ArgumentError
from advmf.experiments.norm_table import NormTable
from advmf.experiments.phase import PhaseDiagram
from advmf.experiments.training_curve import TrainingCurve
from advmf.outputs import Output

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
"""M. Okabe and K. Ito's colours."""


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise ArgumentError("Figures need matplotlib; install it with: python3 -m pip install 'advmf[plot]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def check_target(target: Path | Output) -> None:
    """Raise ArgumentError or OutputError, before any long work, if matplotlib is missing or cannot write
    such a file."""
    known = _pyplot().figure().canvas.get_supported_filetypes()
    _pyplot().close("all")
    path = _output(target).path
    if path.suffix.lstrip(".") not in known:
        raise ArgumentError(f"A figure's file must end in one of {', '.join(sorted(known))}; got {path.name!r}.")


def _output(target: Path | Output) -> Output:
    return target if isinstance(target, Output) else Output(target)


def _save(pyplot: Any, figure: Any, target: Path | Output) -> None:
    output, content = _output(target), io.BytesIO()
    figure.savefig(content, dpi=160, format=output.path.suffix.lstrip("."))
    pyplot.close(figure)
    output.write(content.getvalue())


def norm_ratios(table: NormTable, path: Path | Output) -> None:
    """Simulated over predicted norm factors, with a square of exponents for each route; 1 is white, and loose bounds
    are purple."""
    pyplot = _pyplot()
    labels = ["$\\infty$" if r.is_infinite else f"{float(r):g}" for r in table.exponents]
    count = len(table.routes)
    figure, axes = pyplot.subplots(1, count, figsize=(3.1 * count + 0.9, 3.6), squeeze=False, layout="constrained")
    spread = max(abs(r - 1) for row in table.cells for c in row for r in map(c.ratio, table.routes) if r is not None)
    limits = {"vmin": 1 - spread, "vmax": 1 + spread, "cmap": "PuOr_r"}
    for axis, route in zip(axes[0], table.routes):
        ratios = [[c.ratio(route) for c in row] for row in table.cells]
        image = axis.imshow([[float("nan") if r is None else r for r in row] for row in ratios], **limits)
        for i, row in enumerate(ratios):
            for j, r in enumerate(row):
                if r is not None:
                    dark = abs(r - 1) > 0.6 * spread
                    axis.text(
                        j, i, f"{r:.3f}", ha="center", va="center", fontsize=7, color="white" if dark else "black"
                    )
        axis.set(title=route, xlabel="$q$", ylabel="$p$")
        axis.set_xticks(range(len(labels)), labels)
        axis.set_yticks(range(len(labels)), labels)
    figure.colorbar(image, ax=list(axes[0]), label=r"simulated / predicted $\beta_{p,q}$")
    figure.suptitle(f"$d={table.d}$, $K={table.K}$, {table.samples} matrices", fontsize=10)
    _save(pyplot, figure, path)


_AXES = {
    "L": "depth $L$",
    "N": "width $N$",
    "sigma_w_sq": r"$\sigma_w^2$",
    "sigma_w": r"$\sigma_w$",
    "eps": r"$\epsilon$",
}


def phase(diagram: PhaseDiagram, path: Path | Output, title: str = "") -> None:
    """When training takes a network out of the band: escape times by colour, grey where it starts outside, pale where
    it never leaves."""
    import numpy as np
    from matplotlib.colors import ListedColormap, LogNorm
    from matplotlib.patches import Patch
    from matplotlib.ticker import NullLocator, ScalarFormatter

    pyplot = _pyplot()
    figure, axis = pyplot.subplots(figsize=(5.4, 4.2), layout="constrained")
    grid, handles = (diagram.columns, diagram.rows), []
    timed = np.where(diagram.trainable & np.isfinite(diagram.escape), diagram.escape, np.nan)
    if np.isfinite(timed).any():
        limits = LogNorm(vmin=np.nanmin(timed), vmax=np.nanmax(timed))
        image = axis.pcolormesh(*grid, timed, norm=limits, cmap="viridis", shading="nearest")
        figure.colorbar(image, ax=axis, label="escape time $t^*$ (rate x steps)")
    regions = {
        "starts outside the band": (~diagram.trainable, "#bbbbbb"),
        "never leaves it": (diagram.trainable & np.isinf(diagram.escape), "#fff7d6"),
    }
    for label, (where, colour) in regions.items():
        if where.any():
            axis.pcolormesh(*grid, np.where(where, 0.0, np.nan), cmap=ListedColormap([colour]), shading="nearest")
            handles.append(Patch(facecolor=colour, edgecolor="black", label=label))
    for name, values, side in zip(diagram.axes, (diagram.rows, diagram.columns), ("y", "x")):
        getattr(axis, f"set_{side}label")(_AXES.get(name, name))
        if values.max() > 20 * values.min():
            getattr(axis, f"set_{side}scale")("log", base=2 if name == "L" else 10)
            if name == "L":
                own = getattr(axis, f"{side}axis")
                own.set_major_formatter(ScalarFormatter())
                own.set_minor_locator(NullLocator())
    axis.set_title(title)
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8)
    _save(pyplot, figure, path)


WIDTHS = {1: 3.3, 2: 6.9}
"""Inches of one column of a paper, and of two."""
STYLE = {
    "font.size": 8,
    "font.family": "serif",
    "mathtext.fontset": "cm",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 0.9,
    "lines.markersize": 3,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
}
"""Letters of 8 points, embedded as outlines that editors and publishers can read."""
MARKED = 10
"""Times at which a curve has a marker and its error bar."""


def training_curves(
    curves: Sequence[TrainingCurve], path: Path | Output, title: str = "", networks: int = 0, columns: int = 2
) -> None:
    """Loss, capacity and weight variance against the clock N t, on which all widths run alike, and the claims.

    Markers have bars of one standard error over the networks. Raises ArgumentError unless ``columns`` is 1 or 2.
    """
    if columns not in WIDTHS:
        raise ArgumentError(f"columns is the width of the figure in columns of a paper, 1 or 2; got {columns!r}.")
    pyplot = _pyplot()
    with pyplot.rc_context(STYLE):
        size = (WIDTHS[1], 5.6) if columns == 1 else (WIDTHS[2], 2.7)
        shape = (3, 1) if columns == 1 else (1, 3)
        figure, axes = pyplot.subplots(*shape, figsize=size, sharex=True, layout="constrained")
        for i, (curve, colour, mark) in enumerate(zip(curves, cycle(_COLOURS), cycle("os^Dvph"))):
            every = max(len(curve.time) // MARKED, 1)
            first = (i * every) // len(curves)
            for axis, (values, error) in zip(axes, _measured(curve)):
                axis.errorbar(
                    curve.N * curve.time, values, error, errorevery=(first, every), markevery=(first, every), color=colour, marker=mark,
                    capsize=1.5, elinewidth=0.6, label=f"$N={curve.N}$",
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
        for axis in axes[:2]:
            axis.set_ylim(0, max(1.03, axis.get_ylim()[1]))
        axes[2].set(
            ylabel=r"$N^2\,(\sigma_w^2(t)-\sigma_w^2)$", xlim=(0, max(curve.N * curve.time[-1] for curve in curves))
        )
        bars = f"bars: $\\pm$ one standard error, {networks} networks" if networks else "bars: one standard error"
        apart = "\n" if columns == 1 else "; "
        figure.supxlabel(f"clock $N\\,t$ = width $\\times$ rate $\\times$ steps{apart}{bars}", fontsize=8)
        found = {label: line for axis in axes for line, label in zip(*axis.get_legend_handles_labels())}
        labels = sorted(found, key=lambda label: label in _LINES)  # networks first
        handles = [found[label] for label in labels]
        figure.legend(handles, labels, title=title, loc="outside upper center", ncols=3 if columns == 1 else 7)
        _save(pyplot, figure, path)


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


Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]
"""Curves by name: values, and their standard errors."""


def lines(x: Sequence[float], series: Series, path: Path | Output, xlabel: str, ylabel: str, title: str = "") -> None:
    """Curves over a common axis, each with error bars and its own colour and marker. The axis is logarithmic where x
    spans a decade."""
    pyplot = _pyplot()
    figure, axis = pyplot.subplots(figsize=(5.2, 3.9), layout="constrained")
    for (label, (values, errors)), colour, mark in zip(series.items(), _COLOURS, "os^Dv"):
        axis.errorbar(x, values, errors, color=colour, marker=mark, markersize=4, lw=1, capsize=2, label=label)
    if min(x) > 0 and max(x) >= 10 * min(x):
        axis.set_xscale("log")
    axis.set(xlabel=xlabel, ylabel=ylabel, title=title)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    _save(pyplot, figure, path)
