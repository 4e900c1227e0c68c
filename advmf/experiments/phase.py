"""Phase diagrams of trainability, as plain arrays for a figure or a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from advmf.boundary import public
from advmf.emit.kernels import kernel
from advmf.errors import ArgumentError
from advmf.nets import Net
from advmf.symbols import SYMBOLS, L, M, m
from advmf.theorems.d2_water_filling import loss_life
from advmf.theorems.t4_trainability import escape_time
from advmf.theory.propagation import omega


@dataclass(frozen=True)
class PhaseDiagram:
    """For each point of a grid of two quantities: whether omega**L starts in the band [m, M], and when training takes
    it out.

    ``trainable[i, j]`` and ``escape[i, j]`` are at ``rows[i]`` and ``columns[j]`` of the quantities named in ``axes``.
    An escape time is zero where the start is outside the band and infinite where omega**L never leaves it. ``lasting``
    says where the adversarial loss lives as long (:func:`advmf.loss_life`). Elsewhere the loss, which drives omega, is
    gone before, and the networks stay in the band.
    """

    axes: tuple[str, str]
    rows: np.ndarray
    columns: np.ndarray
    trainable: np.ndarray
    escape: np.ndarray
    lasting: np.ndarray


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
    return PhaseDiagram(axes, rows, columns, *(np.broadcast_to(grid, shape) for grid in (band, escape, lasting)))


def _rank(values: object) -> int:
    """The number of axes of any value; 0 for a value that is no array of numbers."""
    try:
        return np.asarray(values, float).ndim
    except (TypeError, ValueError):
        return 0
