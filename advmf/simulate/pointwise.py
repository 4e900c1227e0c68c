"""An activation on tensors: its values, its slopes, and its exact differences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import sympy as sp
import torch
from sympy.printing.codeprinter import PrintMethodNotImplementedError
from sympy.printing.pytorch import TorchPrinter
from torch import Tensor

from advmf.errors import UnsupportedFunctionError
from advmf.functions.curves import LogOnePlusExp, kinks, slope, stable
from advmf.symbols import z as Z


@runtime_checkable
class Function(Protocol):
    """The operations that a pass through a network needs from an activation. A user's activation may supply them by
    :meth:`advmf.nets.Pointwise.tensors`."""

    def value(self, z: Tensor) -> Tensor:
        """phi(z)."""

    def tangent(self, at: Tensor, t: Tensor) -> Tensor:
        """phi'(at) t, for ``at`` from a forward pass or from :meth:`moved`."""

    def prepared(self, z: Tensor) -> Any:
        """The data that all differences from z share."""

    def difference(self, prepared: Any, delta: Tensor) -> tuple[Tensor, Tensor]:
        """phi(z + delta) - phi(z), to the precision of the difference itself, and the data for :meth:`moved`."""

    def moved(self, prepared: Any, kept: Tensor) -> Tensor:
        """The point at which :meth:`tangent` takes the slopes at z + delta."""


WIDEST = 1 / 16
"""For a delta above this, differences are computed directly; below, as integrals of the slope."""
_NODES = ((0.8611363115940526, 0.3478548451374538), (0.3399810435848563, 0.6521451548625461))
"""Half of the four-point Gauss-Legendre rule. Its error is 6e-10 (delta/2)**8 times the eighth derivative of the
slope."""


@dataclass(frozen=True)
class Smooth:
    """A function given by its formula. Differences for a delta up to ``near`` are integrals of the slope from kink to
    kink, so nothing cancels.

    ``near`` is the widest delta for which four points integrate the slope to rounding precision. A function a hundred
    times as steep has a hundredth of it. A kink away from zero is located up to rounding.
    """

    function: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    kinks: tuple[float, ...] = ()
    near: float = WIDEST

    @staticmethod
    def of(phi: sp.Expr, number: Callable[[sp.Expr], float]) -> Smooth:
        """The function ``phi`` in :data:`advmf.symbols.z`, with numbers for its other symbols."""
        values = {symbol: sp.Float(number(symbol)) for symbol in phi.free_symbols - {Z}}
        f = sp.Lambda(Z, phi.xreplace(values))
        places = tuple(sorted(float(place) for place in kinks(f) if place.is_real))
        return Smooth(_tensors(f), _tensors(slope(f)), places, _reach(f, places))

    def value(self, z: Tensor) -> Tensor:
        return self.function(z)

    def tangent(self, at: Tensor, t: Tensor) -> Tensor:
        return self.slope(at) * t

    def prepared(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z, self.function(z)

    def difference(self, prepared: tuple[Tensor, Tensor], delta: Tensor) -> tuple[Tensor, Tensor]:
        z, value = prepared
        far = self.function(z + delta) - value
        near = torch.where(delta.abs() <= self.near, delta, 0.0)
        return torch.where(delta.abs() <= self.near, self._along(z, near), far), delta

    def moved(self, prepared: tuple[Tensor, Tensor], kept: Tensor) -> Tensor:
        return prepared[0] + kept

    def _along(self, z: Tensor, delta: Tensor) -> Tensor:
        """The integral of the slope from z to z + delta, cut at the kinks."""
        # Each kink is expressed as a distance from z; distances outside [0, delta] are ignored.
        low, high = delta.clamp(max=0), delta.clamp(min=0)
        ways = [torch.zeros_like(delta), *((kink - z).clamp(min=low, max=high) for kink in self.kinks), delta]
        ends = torch.stack(torch.broadcast_tensors(*ways)).sort(0).values if self.kinks else torch.stack(ways)
        total = torch.zeros_like(delta)
        for start, end in pairwise(ends):
            total = total + _integral(self.slope, z + start, z + end, end - start)
        return torch.where(delta < 0, -total, total) if self.kinks else total


def _integral(slope: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, width: Tensor) -> Tensor:
    """The integral of a slope from ``low`` to ``high``; ``width`` is high - low to more digits than the difference
    has."""
    middle, total = (low + high) / 2, torch.zeros_like(width)
    for node, weight in _NODES:
        total = total + weight * width / 2 * (slope(middle - node * width / 2) + slope(middle + node * width / 2))
    return total


@lru_cache(maxsize=1024)
def _reach(f: sp.Lambda, places: tuple[float, ...]) -> float:
    """The widest delta that four points integrate to rounding precision, on a grid that is fine near zero and at
    kinks."""
    change = _tensors(slope(f))
    away = torch.logspace(-7, 1, 1601, dtype=torch.float64, device="cpu")
    grid = torch.cat([place + sign * away for place in (0.0, *places) for sign in (1, -1)])
    edges = torch.tensor(places, dtype=torch.float64, device="cpu")
    width, size = WIDEST, change(grid).abs().max()
    while width > 1e-9:
        step = torch.full_like(grid, width)
        halves = [_integral(change, grid + k * step / 2, grid + (k + 1) * step / 2, step / 2) for k in (0, 1)]
        error = (_integral(change, grid, grid + step, step) - sum(halves)).abs()
        crosses = ((grid[:, None] <= edges) & (edges <= grid[:, None] + width)).any(1)
        if float(error.masked_fill(crosses, 0.0).max()) <= 4e-15 * width * float(size):
            break
        width /= 2
    return width


@lru_cache(maxsize=1024)
def _tensors(f: sp.Lambda) -> Callable[[Tensor], Tensor]:
    """A function of tensors, of the shape and dtype of its argument also where it is constant."""
    library, printer = (
        [_LIBRARY, "torch"],
        _Printer({"fully_qualified_modules": False}),
    )
    try:
        made = sp.lambdify(
            f.variables, _written(stable(f.expr, f.variables[0]), f.variables[0]), library, printer=printer
        )
    except PrintMethodNotImplementedError as error:
        raise UnsupportedFunctionError(
            f"Torch has no form of a function in {f.expr} ({str(error).splitlines()[0]}). Give the activation tensors(number) of its own."
        ) from None

    def function(z: Tensor) -> Tensor:
        found: Tensor = made(z)
        return found

    return function


_LIBRARY = {
    "filled": lambda value, z: torch.full_like(z, value),
    "log_one_plus_exp": lambda w: torch.logaddexp(w, torch.zeros_like(w)),
}


class Filled(sp.Function):
    """A number as a tensor of the shape and dtype of another."""


class _Printer(TorchPrinter):
    def _print_Filled(self, expr: Filled) -> str:
        return f"filled({', '.join(map(self._print, expr.args))})"

    def _print_LogOnePlusExp(self, expr: LogOnePlusExp) -> str:
        return f"log_one_plus_exp({self._print(expr.args[0])})"


def _written(expr: sp.Expr, z: sp.Symbol, whole: bool = True) -> sp.Expr:
    """The expression in a form for torch: floats for irrational numbers, cases for maxima, and a tensor if the
    ``whole`` is constant."""
    if not expr.has(z):
        value = expr.evalf(17) if isinstance(expr, sp.Expr) and not expr.is_Rational else expr
        return Filled(value, z) if whole else value
    if isinstance(expr, (sp.Max, sp.Min, sp.Heaviside)):
        return _written(expr.rewrite(sp.Piecewise), z, whole)
    if isinstance(expr, sp.Piecewise):
        return sp.Piecewise(
            *((_written(value, z), _written(condition, z, False)) for value, condition in expr.args), evaluate=False
        )
    return expr.func(*(_written(arg, z, False) for arg in expr.args)) if expr.args else expr
