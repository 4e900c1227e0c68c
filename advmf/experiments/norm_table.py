"""Tables of norm factors on a square of exponents: simulated values, and their ratios to the routes' values."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sympy as sp

from advmf import __version__
from advmf.emit.kernels import kernel
from advmf.errors import ArgumentError
from advmf.simulate.matrices import gaussian_norms
from advmf.symbols import exponent
from advmf.theory.norms import BEST, ROUTES, beta, routes
from advmf.verify.sources.matrices import SIGNS
from advmf.verify.verdict import jsonable

EXPONENTS = ("1", "3/2", "2", "3", "4", "oo")


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
class NormTable:
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
