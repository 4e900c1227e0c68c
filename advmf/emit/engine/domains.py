"""The domains of a kernel's arguments."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sympy as sp

from advmf.errors import DomainError
from advmf.symbols import SYMBOLS


def rank(symbol: sp.Symbol) -> tuple[int, str]:
    names = list(SYMBOLS)
    return (names.index(symbol.name) if symbol.name in SYMBOLS else len(names), symbol.name)


def meaning(symbol: sp.Symbol) -> str:
    return SYMBOLS[symbol.name].meaning if symbol.name in SYMBOLS else ""


@dataclass(frozen=True)
class Domain:
    """The interval of a symbol, and which of its ends belong to it."""

    name: str
    meaning: str
    low: float
    high: float
    low_closed: bool
    high_closed: bool

    @staticmethod
    def of(symbol: sp.Symbol) -> Domain:
        """The domain of the registry, or that of the symbol's assumptions."""
        name, note = symbol.name, meaning(symbol)
        quantity = SYMBOLS.get(name)
        if quantity is not None:
            high_closed = math.isfinite(quantity.high) or not quantity.high_open
            low_closed = quantity.closed and math.isfinite(quantity.low)
            return Domain(name, note, quantity.low, quantity.high, low_closed, high_closed)
        low = 0.0 if symbol.is_extended_nonnegative else -math.inf
        high = 0.0 if symbol.is_extended_nonpositive else math.inf
        zero, infinity = not symbol.is_extended_nonzero, not symbol.is_finite
        return Domain(name, note, low, high, zero if low == 0 else infinity, zero if high == 0 else infinity)

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """The least and the greatest number in the domain."""
        low = self.low if self.low_closed else math.nextafter(self.low, math.inf)
        return low, self.high if self.high_closed else math.nextafter(self.high, -math.inf)

    def __str__(self) -> str:
        low, high = (f"{end:g}".replace("inf", "oo") for end in (self.low, self.high))
        return f"{'[' if self.low_closed else '('}{low}, {high}{']' if self.high_closed else ')'}"

    def settled(self, array: Any, unit: float) -> Any:
        """The array, with elements that rounding has put beyond a closed end moved to that end; the same array if there
        are none.

        ``unit`` is the precision of the numbers given: a correlation of two equal inputs may be 1 + 2**-52. Only the
        numbers change, no gradient.
        """
        for end, closed, outward in ((self.low, self.low_closed, -1.0), (self.high, self.high_closed, 1.0)):
            if not (closed and math.isfinite(end) and end):
                continue
            beyond = (array - end) * outward
            near = (beyond > 0) & (beyond <= 8 * unit * abs(end))
            if bool(near.any()):
                shift = (end - array) * near
                array = array + (shift.detach() if hasattr(shift, "detach") else shift)
        return array

    def check(self, array: Any) -> None:
        """Raise DomainError if an element of an array, of any library, is outside."""
        low, high = self.bounds
        if array.ndim == 0 and low <= float(array) <= high:
            return
        inside = (array >= low) & (array <= high)
        if not bool(inside.all()):
            bad = array[~inside].reshape(-1)
            worst = repr(float(bad[0])).removesuffix(".0")
            count = f", the first of {len(bad)} such values," if len(bad) > 1 else ""
            note = f" ({self.meaning})" if self.meaning else ""
            raise DomainError(f"{self.name} = {worst}{count} is outside its domain {self}{note}.")
