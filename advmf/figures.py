"""Figures, by matplotlib: ``pip install 'advmf[plot]'``. Colours are told apart by the colour-blind, and axes carry the symbols."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from advmf.errors import ArgumentError
from advmf.verify.norm_table import NormTable


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise ArgumentError("Figures need matplotlib; install it with: python3 -m pip install 'advmf[plot]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def check_target(path: Path) -> None:
    """Raise ArgumentError, before any long work, if matplotlib is missing or cannot write such a file."""
    known = _pyplot().figure().canvas.get_supported_filetypes()
    _pyplot().close("all")
    if path.suffix.lstrip(".") not in known:
        raise ArgumentError(f"A figure's file must end in one of {', '.join(sorted(known))}; got {path.name!r}.")
    if not path.parent.is_dir():
        raise ArgumentError(f"There is no folder {str(path.parent)!r} to put the figure into.")


def norm_ratios(table: NormTable, path: Path) -> None:
    """Simulated over predicted norm factors, a square of exponents for each route; 1 is white, bounds that are loose are purple."""
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
    figure.savefig(path, dpi=160)
    pyplot.close(figure)
