"""Figures, by matplotlib: ``pip install 'advmf[plot]'``. Colours are distinguishable for the colour-blind, and axes are
labelled with the symbols."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
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


def training_curves(curves: Sequence[TrainingCurve], path: Path | Output, title: str = "") -> None:
    """Change of the weight variance, simulated over T3, and the adversarial loss over its start, against time."""
    pyplot = _pyplot()
    figure, (upper, lower) = pyplot.subplots(2, 1, figsize=(5.2, 5.2), sharex=True, layout="constrained")
    for curve, colour, mark in zip(curves, _COLOURS, "os^Dv"):
        error = abs(curve.stderr / curve.predicted)
        label = f"$N={curve.N}$"
        upper.errorbar(curve.time, curve.ratio, error, color=colour, marker=mark, markersize=3, lw=1, label=label)
        lower.plot(curve.time, curve.loss, color=colour, marker=mark, markersize=3, lw=1, label=label)
    upper.axhline(1, color="black", lw=0.8, ls="--")
    upper.set(ylabel=r"$\Delta\sigma_w^2$ simulated / T3", title=title)
    lower.set(xlabel="time $t$ (rate x steps)", ylabel=r"$\mathcal{L}_{adv}(t)/\mathcal{L}_{adv}(0)$", ylim=(0, None))
    upper.legend()
    _save(pyplot, figure, path)


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
