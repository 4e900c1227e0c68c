"""Phase diagrams of trainability, as plain arrays for a figure or a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from advmf.boundary import public
from advmf.drawing import Drawing, drawing, written
from advmf.emit.kernels import kernel
from advmf.errors import ArgumentError
from advmf.nets import Net
from advmf.outputs import Output
from advmf.symbols import SYMBOLS, L, M, m
from advmf.tabled import Records, Tabled
from advmf.theorems.d2_water_filling import loss_life
from advmf.theorems.t4_trainability import escape_time
from advmf.theory.propagation import omega


@dataclass(frozen=True)
class PhaseDiagram(Tabled):
    """For each point of a grid of two quantities: whether omega**L starts in the band [m, M], and when training takes
    it out.

    ``trainable[i, j]`` and ``escape[i, j]`` are at ``rows[i]`` and ``columns[j]`` of the quantities named in ``axes``.
    An escape time is zero where the start is outside the band and infinite where omega**L never leaves it. ``lasting``
    says where the adversarial loss lives as long (:func:`advmf.loss_life`). Elsewhere the loss, which drives omega, is
    gone before, and the networks stay in the band. ``start`` is omega**L before training, and ``point`` has the values
    of all other quantities.
    """

    axes: tuple[str, str]
    rows: np.ndarray
    columns: np.ndarray
    trainable: np.ndarray
    escape: np.ndarray
    lasting: np.ndarray
    start: np.ndarray
    title: str = ""
    point: Mapping[str, Any] = field(default_factory=dict)

    def records(self) -> Records:
        """A row for each point of the grid."""
        return [
            {
                self.axes[0]: float(row), self.axes[1]: float(column), "omega_to_L": float(self.start[i, j]),
                "trainable": bool(self.trainable[i, j]), "escape_time": float(self.escape[i, j]), "loss_lasts": bool(self.lasting[i, j]),
            }
            for i, row in enumerate(self.rows)
            for j, column in enumerate(self.columns)
        ]  # fmt: skip

    def plot(self, path: Path | str | Output | None = None, title: str = "", size: str | float = "one") -> Drawing:
        """When training takes a network out of the band: escape times by colour, grey where it starts outside, pale
        where it never leaves. Lines of equal omega**L before training are labelled."""
        with drawing(size, 0.86) as (drawn, axis):
            handles = _regions(axis, self)
            for name, values, side in zip(self.axes, (self.rows, self.columns), ("y", "x")):
                _axis(axis, side, name, values)
            _growth(axis, self)
            shown = ", ".join(f"{_LETTERS.get(name, f'${name}$')} = {value:.4g}" for name, value in self.point.items())
            axis.set_title("\n".join(filter(None, (title or self.title, *_folded(shown)))), fontsize=7)
            if handles:
                drawn.figure.legend(handles=handles, loc="outside lower center", ncols=2)
        return written(drawn, path)


_LETTERS = {"sigma_w": r"$\sigma_w$", "sigma_w_sq": r"$\sigma_w^2$", "eps": r"$\epsilon$", "sigma_b": r"$\sigma_b$"}
_NAMES = {"L": "depth $L$", "N": "width $N$"}
GROWTHS = (0.1, 0.5, 1.0, 2.0, 10.0, 100.0, 1e4)
"""The values of omega**L that a figure has lines of."""


def _folded(text: str, most: int = 76) -> list[str]:
    """A list of quantities in lines; TeX counts about two thirds of its characters."""
    found = [""]
    for part in text.split(", ") if text else ():
        longer = f"{found[-1]}, {part}" if found[-1] else part
        found = [*found[:-1], longer] if len(longer) <= most else [*found, part]
    return found if text else []


def _regions(axis: Any, diagram: PhaseDiagram) -> list[Any]:
    """Colours of the cells; gives the legend's handles."""
    from matplotlib.colors import ListedColormap, LogNorm
    from matplotlib.patches import Patch

    grid, handles = (diagram.columns, diagram.rows), []
    cells: dict[str, Any] = {"shading": "nearest", "rasterized": True}
    timed = np.where(diagram.trainable & np.isfinite(diagram.escape), diagram.escape, np.nan)
    if np.isfinite(timed).any():
        limits = LogNorm(vmin=np.nanmin(timed), vmax=np.nanmax(timed))
        image = axis.pcolormesh(*grid, timed, norm=limits, cmap="viridis", **cells)
        axis.figure.colorbar(image, ax=axis, label="escape time $t^*$ (rate × steps)")
    regions = {
        "starts outside the band": (~diagram.trainable, "#bbbbbb"),
        "never leaves it": (diagram.trainable & np.isinf(diagram.escape), "#fff7d6"),
    }
    for label, (where, colour) in regions.items():
        if where.any():
            axis.pcolormesh(*grid, np.where(where, 0.0, np.nan), cmap=ListedColormap([colour]), **cells)
            handles.append(Patch(facecolor=colour, edgecolor="black", lw=0.4, label=label))
    return handles


def _growth(axis: Any, diagram: PhaseDiagram) -> None:
    """Lines of equal omega**L before training, with labels."""
    found = np.asarray(diagram.start, float)
    levels = [level for level in GROWTHS if np.nanmin(found) < level < np.nanmax(found)]
    if not levels or min(found.shape) < 2:
        return
    drawn = axis.contour(diagram.columns, diagram.rows, found, levels=levels, colors="black", linewidths=0.6)
    axis.clabel(
        drawn, fmt={level: rf"$\omega^L={_power(level)}$" for level in levels}, fontsize=6, manual=_middles(axis, drawn)
    )


def _middles(axis: Any, contours: Any) -> list[tuple[float, float]]:
    """The middle of each contour that is long enough for a label, away from the edges."""
    axis.figure.draw_without_rendering()  # which settles the limits
    to_axes, found = axis.transData + axis.transAxes.inverted(), []
    for path in contours.get_paths():
        if len(path.vertices) < 2:
            continue
        places = to_axes.transform(path.vertices)
        if max(np.ptp(places, axis=0)) > LONG:
            middle = (places.min(0) + places.max(0)) / 2
            found.append(tuple(path.vertices[np.abs(places - middle).sum(1).argmin()]))
    return found


LONG = 0.22
"""Contours that span less of the axes have no label."""


def _power(level: float) -> str:
    """A round number in TeX.

    >>> _power(0.5), _power(1e4)
    ('0.5', '10^{4}')
    """
    return f"{level:g}" if level < 1000 else f"10^{{{np.log10(level):.0f}}}"


def _axis(axis: Any, side: str, name: str, values: np.ndarray) -> None:
    from matplotlib.ticker import NullLocator, ScalarFormatter

    getattr(axis, f"set_{side}label")(_NAMES.get(name, _LETTERS.get(name, name)))
    if values.max() > 20 * values.min() > 0:
        getattr(axis, f"set_{side}scale")("log", base=2 if name == "L" else 10)
        if name == "L":
            own = getattr(axis, f"{side}axis")
            own.set_major_formatter(ScalarFormatter())
            own.set_minor_locator(NullLocator())


@public
def phase_diagram(
    net: Net, p: object, q: object, axes: tuple[str, str] = ("L", "N"), route: str = "chevet", **values: Any
) -> PhaseDiagram:
    """T4 over a grid: the initial verdict and the escape time of every network on it.

    ``axes`` name the two quantities whose values are sequences, for instance ``("L", "N")`` or ``("sigma_w", "L")``;
    ``sigma_w_sq`` stands for the square of ``sigma_w``. All others are numbers: eps, d, K, m, M and whatever else the
    net's kernel needs. Raises ArgumentError for axes that are not two sequences, and the errors of kernels and of
    :func:`advmf.escape_time`.

    >>> import advmf as mf
    >>> found = mf.phase_diagram(mf.vanilla(1, 0), 2, 2, ("sigma_w_sq", "L"), sigma_w_sq=[1, 2, 3], L=[2, 8],
    ...                          N=1000, d=100, K=25, eps=0.1, m=0.5, M=2)
    >>> found.trainable.tolist()
    [[False, False], [True, True], [False, False]]
    >>> found.escape.round(1).tolist()
    [[0.0, 0.0], [2322.1, 662.9], [0.0, 0.0]]
    >>> found.lasting[1].tolist()  # the loss is gone before
    [False, False]
    """
    if len(axes) != 2 or any(_rank(values.get(axis, 0)) != 1 for axis in axes):
        raise ArgumentError(
            f"axes names two quantities whose values are sequences, as axes=('L', 'N'), L=[...], N=[...]; got {axes!r}."
        )
    grids = dict(zip(axes, np.meshgrid(*(values[axis] for axis in axes), indexing="ij", sparse=True)))
    point = {**values, **grids}
    if "sigma_w_sq" in point:
        point["sigma_w"] = np.sqrt(point.pop("sigma_w_sq"))
    if unknown := sorted(set(point) - set(SYMBOLS)):
        raise ArgumentError(f"{unknown[0]!r} is no quantity of the theory; choose from {', '.join(SYMBOLS)}.")
    escape = kernel(escape_time(net, p, q, route))(**point)
    shape = np.broadcast_shapes(*(grid.shape for grid in grids.values()))
    start = kernel(omega(net) ** L)(**point)
    band = (kernel(m)(**point) <= start) & (start <= kernel(M)(**point))
    rows, columns = (np.asarray(values[axis], float) for axis in axes)
    lasting = escape <= kernel(loss_life(net, p, q, route))(**point)
    others = {name: values[name] for name in values if name not in axes}
    band, escape, lasting, start = (np.broadcast_to(grid, shape) for grid in (band, escape, lasting, start))
    title = f"{net.name}, $(p, q) = ({p}, {q})$"
    return PhaseDiagram(axes, rows, columns, band, escape, lasting, start, title, others)


def _rank(values: object) -> int:
    """The number of axes of any value; 0 for a value that is no array of numbers."""
    try:
        return np.asarray(values, float).ndim
    except (TypeError, ValueError):
        return 0
