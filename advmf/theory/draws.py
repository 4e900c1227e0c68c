"""The points at which expressions are compared: random ones from the whole domain of every symbol, and rare places.

A rare place is where a formula can change its form: an end of a domain, a number that stands in the formula, a sign
change of a condition or of an argument of Abs, Max, Min or floor, or two equal symbols.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence

import sympy as sp
from sympy.core.relational import Relational

from advmf.expressions import expression
from advmf.functions import Flow, GaussianMean, NumericNorm, Recursion
from advmf.symbols import SYMBOLS

Point = Mapping[sp.Symbol, sp.Expr]

DIGITS = 50
"""The decimal digits of a comparison."""

FAR = 6
"""Positive numbers are drawn from 10**-FAR to 10**FAR."""

LARGEST = 10_000
"""The largest whole number that is drawn, except for neighbours of a number in the formula."""

LOOPS = 40
"""The largest whole number where values come from a loop of that length, or from matrices of that size."""

NUMBERS = 8
"""How many of the numbers of a formula count as rare places."""

_NEAR = (GaussianMean, NumericNorm, Flow, Recursion, sp.Integral)
"""Functions that are accurate for arguments of ordinary size only."""

_SWITCHES = (sp.Max, sp.Min, sp.Abs, sp.sign, sp.Heaviside, sp.floor, sp.ceiling, sp.frac, sp.Mod, sp.KroneckerDelta)


class Draws:
    """Random points for the symbols of expressions: :meth:`ordinary` ones, and the :meth:`rare` ones."""

    def __init__(self, exprs: Sequence[sp.Expr], where: Sequence[sp.Basic], random_: random.Random) -> None:
        self._random = random_
        self.symbols = sorted(set().union(*(e.free_symbols for e in exprs)), key=lambda s: s.name)
        self._largest = LOOPS if any(e.has(*_NEAR, sp.Sum, sp.Product) for e in exprs) else LARGEST
        self._near = any(e.has(*_NEAR) for e in exprs)
        self._switches = list(dict.fromkeys(itertools.chain.from_iterable(map(_switches, (*exprs, *where)))))
        found = set().union(*(e.atoms(sp.Number) for e in (*exprs, *where)))
        finite = (n for n in found if n.is_finite and n not in (0, 1, -1))
        self._numbers = sorted(finite, key=lambda n: (not n.is_Integer, abs(n)))[-NUMBERS:]

    def ordinary(self) -> Point:
        """A point whose numbers have ordinary size or, for each symbol with probability 1/2, any size."""
        return {s: self._one(s, wide=not self._near and self._random.random() < 0.5) for s in self.symbols}

    def rare(self, most: int) -> Iterator[Point]:
        """At most ``most`` points, each with one symbol at a rare place and the others anywhere."""
        places: list[tuple[sp.Symbol, sp.Expr, int | None]] = [
            (symbol, value, None) for symbol in self.symbols for value in self._edges(symbol)
        ]
        for symbol, other in itertools.permutations(self.symbols, 2):
            places += [(symbol, other, None), (symbol, -other, None)]
        for switch in self._switches:
            for symbol in sorted(switch.free_symbols & set(self.symbols), key=str):
                places += [(symbol, switch, side) for side in (-1, 0, 1, 2)]
        for symbol, place, side in places if len(places) <= most else self._random.sample(places, most):
            point = dict(self.ordinary())
            if side is None:
                value = place.xreplace(point)
            else:
                del point[symbol]
                value = _beside(symbol, _root(place.xreplace(point), symbol), side)
            if value is not None and value.is_number and _inside(symbol, value):
                yield {**point, symbol: value}

    def _one(self, symbol: sp.Symbol, wide: bool) -> sp.Expr:
        low, high = _ends(symbol)
        uniform = self._random.uniform
        if symbol.is_integer:
            least = 1 if symbol.is_positive else 0 if symbol.is_nonnegative else None
            top = round(min(self._largest, 10 ** uniform(0, math.log10(self._largest)))) if wide else 12
            value = self._random.randint(-top if least is None else least, max(top, 1))
            return sp.Integer(-value if symbol.is_nonpositive and value > 0 else value)
        if low == 1:
            return expression(
                self._random.choice(
                    [
                        1,
                        sp.Rational(4, 3),
                        2,
                        3,
                        sp.oo,
                        1 + (far(10 ** uniform(-3, 3)) if wide else rational(uniform(0.02, 5))),
                    ]
                )
            )
        if high is not None and high < math.inf:
            return rational(uniform(float(low or 0), high))
        # Floating point for numbers of any size, whose exact powers have millions of digits.
        size = far(10 ** uniform(-FAR, FAR)) if wide else rational(2 ** uniform(-2.5, 2.5))
        if symbol.is_extended_nonnegative:
            return size
        return -size if symbol.is_extended_nonpositive or self._random.random() < 0.5 else size

    def _edges(self, symbol: sp.Symbol) -> list[sp.Expr]:
        """The ends of the domain and the numbers that stand in the formula, each with its neighbours."""
        low, high = _ends(symbol)
        found = [expression(int(x)) for x in (low, high) if x is not None and abs(x) < math.inf]
        found += [sp.oo] if symbol.is_finite is None and low == 1 else []
        found += [sp.Integer(n) for n in (0, 1, 2, -1)]
        for n in self._numbers:
            found += [n, n + 1, n - 1, -n, 1 / n] if abs(n) < 10**9 else [n]
        if symbol.is_integer:
            found += [sp.Integer(3), sp.Integer(self._largest)]
        elif not self._near:
            found += [far(10.0**-FAR), far(10.0**FAR), -far(10.0**FAR)]
        return [n for n in dict.fromkeys(found) if _inside(symbol, n)]


def _beside(symbol: sp.Symbol, root: sp.Expr | None, side: int) -> sp.Expr | None:
    """The root itself (side 0), or a place next to it (side -1, 1, 2)."""
    if root is None or not root.is_number or not root.is_finite or not root.is_real:
        return None
    return sp.floor(root) + side if symbol.is_integer else root + side * (abs(root) or 1) / 64


def rational(value: float) -> sp.Rational:
    """The exact number of seven binary digits nearest to a value."""
    mantissa, exponent = math.frexp(value)
    return sp.Rational(round(mantissa * 128)) * sp.Integer(2) ** (exponent - 7)


def far(value: float) -> sp.Float:
    """The number of :func:`rational` in floating point, with more digits than any comparison asks for."""
    return sp.Float(rational(value), 2 * DIGITS)


def _ends(symbol: sp.Symbol) -> tuple[float | None, float | None]:
    quantity = SYMBOLS.get(symbol.name)
    return (quantity.low, quantity.high) if quantity and quantity.symbol == symbol else (None, None)


def _inside(symbol: sp.Symbol, value: sp.Expr) -> bool:
    """Whether a value is in the domain of a symbol, as the registry or the symbol's assumptions give it."""
    if not value.is_extended_real:
        return False
    low, high = _ends(symbol)
    if (low is not None and value < low) or (high is not None and value > high):
        return False
    asked = {name: wanted for name, wanted in symbol.assumptions0.items() if name != "commutative"}
    return all(getattr(value, f"is_{name}", None) in (wanted, None) for name, wanted in asked.items())


def _switches(expr: sp.Basic) -> Iterator[sp.Expr]:
    """Expressions whose change of sign can change the form of an expression or a condition."""
    for atom in sorted(expr.atoms(Relational), key=str):
        yield atom.lhs - atom.rhs
    for atom in sorted(expr.atoms(*_SWITCHES), key=str):
        if len(atom.args) > 1:
            yield from (a - b for a, b in itertools.combinations(atom.args, 2))
        else:
            yield atom.args[0]
            if isinstance(atom, (sp.floor, sp.ceiling, sp.frac)):
                yield from (atom.args[0] - 1, atom.args[0] + 1)


def _root(switch: sp.Expr, symbol: sp.Symbol) -> sp.Expr | None:
    """The zero of a function of one symbol: exact for a linear function, else by bisection between powers of two of
    either sign."""
    slope = sp.diff(switch, symbol)
    if not slope.free_symbols:
        return -switch.xreplace({symbol: sp.S.Zero}) / slope if slope.is_nonzero else None
    try:
        at = sp.lambdify(symbol, switch, "mpmath")
        sizes = [2.0**k for k in range(-20, 21)]
        grid = [
            (x, at(x))
            for x in ([] if symbol.is_nonnegative else [-x for x in reversed(sizes)])
            + [0.0] * (symbol.is_zero is None)
            + sizes
        ]
        low, high = next((x, y) for (x, f), (y, g) in itertools.pairwise(grid) if f * g <= 0)
        sign = at(low) > 0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if (at(middle) > 0) == sign else (low, middle)
    except (ArithmeticError, ValueError, TypeError, NameError, StopIteration, AttributeError):
        return None
    simple = sp.Rational(high).limit_denominator(1000)
    return simple if abs(float(simple) - high) <= 1e-12 * abs(high) else sp.Rational(high)
