"""Tables of norm factors on a square of exponents: simulated values, and their ratios to the routes' values."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sympy as sp

from advmf import __version__
from advmf.boundary import public
from advmf.drawing import Drawing, drawing, width_of, written
from advmf.emit.kernels import kernel
from advmf.errors import ArgumentError
from advmf.outputs import Output
from advmf.simulate.matrices import gaussian_norms
from advmf.symbols import exponent
from advmf.tabled import Records, Tabled
from advmf.theory.norms import BEST, ROUTES, beta, routes
from advmf.verify.sources.matrices import SIGNS
from advmf.verify.verdict import jsonable

EXPONENTS = ("1", "3/2", "2", "3", "4", "oo")
WIDE = 120.0
"""From this width on, in mm, a figure has the squares of all routes beside each other."""


@dataclass(frozen=True)
class Cell:
    """One pair: the simulated mean of ‖G‖_{p->q} with its standard error, its certified upper bound, and β by each
    route."""

    p: sp.Expr
    q: sp.Expr
    mean: float
    stderr: float
    upper: float
    exact: bool
    beta: dict[str, float | None]

    def ratio(self, route: str) -> float | None:
        """Simulated over the route's value; None where the route does not apply."""
        value = self.beta[route]
        return None if value is None else self.mean / value


@dataclass(frozen=True)
class NormTable(Tabled):
    """The cells for all pairs of ``exponents``, p by rows and q by columns, of ``samples`` matrices K x d."""

    d: int
    K: int
    samples: int
    seed: int
    exponents: tuple[sp.Expr, ...]
    routes: tuple[str, ...]
    cells: tuple[tuple[Cell, ...], ...]

    def to_json(self) -> str:
        """The table as JSON: the numbers, and the settings that reproduce them. The standard error is null for a single
        matrix, which has none."""
        head = {"version": __version__, "d": self.d, "K": self.K, "samples": self.samples, "seed": self.seed}
        pairs = [
            {"p": _name(c.p), "q": _name(c.q), "mean": c.mean, "stderr": c.stderr, "upper": c.upper, "exact": c.exact, "beta": c.beta}
            for row in self.cells
            for c in row
        ]  # fmt: skip
        table = jsonable({**head, "routes": list(self.routes), "pairs": pairs})
        return json.dumps(table, indent=1, allow_nan=False) + "\n"

    def records(self) -> Records:
        """A row for each pair: the simulated mean of ‖G‖ with its standard error and certified upper bound, β by each
        route, and the simulated mean over it."""
        return [
            {
                "p": _name(c.p), "q": _name(c.q), "d": self.d, "K": self.K, "samples": self.samples,
                "mean": c.mean, "stderr": c.stderr, "upper": c.upper, "exact": c.exact,
                **{f"beta_{route}": c.beta[route] for route in self.routes},
                **{f"ratio_{route}": c.ratio(route) for route in self.routes},
            }
            for row in self.cells
            for c in row
        ]  # fmt: skip

    def plot(self, path: Path | str | Output | None = None, size: str | float = "two") -> Drawing:
        """Simulated over predicted norm factors, with a square of exponents for each route; 1 is white, and loose
        bounds are purple. Narrow figures have the squares below each other."""
        labels = [r"$\infty$" if r.is_infinite else f"{float(r):g}" for r in self.exponents]
        count, wide = len(self.routes), width_of(size) >= WIDE
        shape = (1, count) if wide else (count, 1)
        side = (width_of(size) - 24) / shape[1] / 1.12
        spread = max(abs(r - 1) for row in self.cells for c in row for r in map(c.ratio, self.routes) if r is not None)
        limits = {"vmin": 1 - spread, "vmax": 1 + spread, "cmap": "PuOr_r"}
        letters = min(6.5, 0.8 * side / len(labels))
        with drawing(size, (side + 12) * shape[0] / width_of(size), nrows=shape[0], ncols=shape[1], squeeze=False) as (
            drawn,
            axes,
        ):
            for axis, route in zip(axes.flat, self.routes):
                ratios = [[c.ratio(route) for c in row] for row in self.cells]
                image = axis.imshow([[math.nan if r is None else r for r in row] for row in ratios], **limits)
                for i, row in enumerate(ratios):
                    for j, r in enumerate(row):
                        if r is not None:
                            ink = "white" if abs(r - 1) > 0.6 * spread else "black"
                            axis.text(j, i, f"{r:.3f}", ha="center", va="center", fontsize=letters, color=ink)
                axis.set(title=route, xlabel="$q$", ylabel="$p$")
                axis.set_xticks(range(len(labels)), labels)
                axis.set_yticks(range(len(labels)), labels)
            drawn.figure.colorbar(image, ax=list(axes.flat), label=r"simulated / predicted $\beta_{p,q}$", shrink=0.9)
            drawn.figure.suptitle(f"$d={self.d}$, $K={self.K}$, {self.samples} matrices", fontsize=8)
        return written(drawn, path)


@public
def norm_table(
    d: int,
    K: int,
    *,
    exponents: Sequence[Any] = EXPONENTS,
    routes_: Sequence[str] = ("chevet", BEST, "estimate"),
    samples: int = 100,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> NormTable:
    """Simulate the norm factor for all pairs of ``exponents``, and give its value by each of the routes.

    Raises ArgumentError for an unknown route and for sizes and counts that :func:`advmf.simulate.gaussian_norms`
    refuses, DomainError for exponents outside [1, oo].

    >>> table = norm_table(20, 4, exponents=(1, 2), samples=200)
    >>> [[round(cell.ratio("best"), 1) for cell in row] for row in table.cells]
    [[1.0, 1.0], [0.9, 1.0]]
    """
    for route in routes_:
        if route not in ROUTES and route != BEST:
            raise ArgumentError(f"route must be {BEST} or one of {', '.join(ROUTES)}; got {route!r}.")
    grid = tuple(dict.fromkeys(exponent(r, "p") for r in exponents))
    if not grid or not all(r.is_number for r in grid):
        raise ArgumentError(f"exponents must be numbers in [1, oo], at least one; got {list(exponents)}.")
    pairs = [(p, q) for p in grid for q in grid]
    found = gaussian_norms(d, K, pairs, samples=samples, seed=seed, signs=SIGNS, certify=True, progress=progress)

    def cell(p: sp.Expr, q: sp.Expr) -> Cell:
        norms, applicable = found[p, q], {BEST, *(route.name for route in routes(p, q))}
        values = {r: float(kernel(beta(p, q, r))(d=d, K=K)) if r in applicable else None for r in routes_}
        stderr = float(norms.lower.std()) / math.sqrt(samples) if samples > 1 else math.inf
        upper = norms.lower if norms.upper is None else norms.upper
        return Cell(p, q, float(norms.lower.mean()), stderr, float(upper.mean()), norms.exact, values)

    cells = tuple(tuple(cell(p, q) for q in grid) for p in grid)
    return NormTable(d, K, samples, seed, grid, tuple(routes_), cells)


def _name(r: sp.Expr) -> str:
    return str(r).replace("oo", "inf")
