"""The mean of a function of standard Gaussians, as a SymPy function that stays unevaluated until ``doit`` or
``evalf``."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import mpmath
import numpy as np
import sympy as sp
from sympy.core.function import Function

from advmf.errors import ArgumentError
from advmf.functions.columns import register
from advmf.special.elementary import gauss_legendre

_FAR = 16.0
"""The radius at which a quadrature in the plane ends: the density there is e**-128."""

KINKED = (sp.Max, sp.Min, sp.Abs, sp.sign, sp.Heaviside, sp.Piecewise)
"""Functions with a kink or a jump where an argument, or the difference of two, changes sign."""


class GaussianMean(Function):
    """E f(z, z', ...) over independent standard Gaussians: ``GaussianMean(f, z, ...)``.

    ``doit`` integrates one variable after the other. A function that is a polynomial on either side of zero is
    integrated by the half moments ``E z**k 1(z > 0) = 2**(k/2 - 1) Gamma((k+1)/2)/sqrt(pi)``, any other by SymPy's
    integral. ``evalf`` uses quadrature for one variable or, to double precision, two. It integrates between the kinks
    of f, which must lie at zero or on lines through zero.

    >>> import sympy as sp
    >>> from advmf.functions import GaussianMean
    >>> z, a = sp.Symbol("z", real=True), sp.Symbol("a", positive=True)
    >>> GaussianMean(sp.Max(0, a * z) ** 2, z).doit(), GaussianMean(sp.exp(a * z), z).doit()
    (a**2/2, exp(a**2/2))
    >>> GaussianMean(sp.Abs(z), z).evalf(20) - sp.sqrt(2 / sp.pi).evalf(20)
    0
    """

    @classmethod
    def eval(cls, f: sp.Expr, *variables: sp.Expr) -> sp.Expr | None:
        if not variables or len(set(variables)) != len(variables) or not all(map(_is_variable, variables)):
            raise ArgumentError(
                f"GaussianMean takes a function and the distinct real symbols of its Gaussians; got {(f, *variables)}."
            )
        return None

    @property
    def bound_symbols(self) -> list[sp.Symbol]:
        return list(self.args[1:])

    @property
    def free_symbols(self) -> set[sp.Basic]:
        return set(self.args[0].free_symbols) - set(self.args[1:])

    def _eval_is_real(self) -> bool | None:
        return True if self.args[0].is_extended_real else None

    def _eval_subs(self, old: sp.Basic, new: sp.Basic) -> sp.Expr | None:
        return self if old in self.args[1:] else None

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        return self.func(self.args[0].diff(symbol), *self.args[1:]) if symbol in self.free_symbols else sp.S.Zero

    def doit(self, **hints: Any) -> sp.Expr:
        f = self.args[0].doit(**hints) if hints.get("deep", True) else self.args[0]
        for z in self.args[1:]:
            f = sum((_half(f.subs(z, side * _X), _X) for side in (1, -1)), sp.S.Zero)
        return sp.expand(f)

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        if self.free_symbols or len(self.args) > 3:
            return None
        digits = int(prec / math.log2(10)) + 2
        with mpmath.workdps(digits):
            value = _line(*self.args) if len(self.args) == 2 else _plane(*self.args)
        return sp.Float(value, precision=prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        names = ", ".join(map(printer._print, self.args[1:]))
        text = rf"\mathbb{{E}}_{{{names}}}\left[{printer._print(self.args[0])}\right]"
        return text if exp is None else rf"{text}^{{{exp}}}"


_X = sp.Dummy("x", positive=True)


def _is_variable(z: object) -> bool:
    return isinstance(z, sp.Symbol) and bool(z.is_real) and not z.is_nonnegative and not z.is_nonpositive


def _half(f: sp.Expr, x: sp.Symbol) -> sp.Expr:
    """The integral of f against the standard density over x > 0."""
    f = sp.expand(sp.piecewise_fold(f) if f.has(sp.Piecewise) else f)
    total = sp.S.Zero
    for term in sp.Add.make_args(f):
        factor, rest = term.as_independent(x, as_Add=False)
        power = rest.as_base_exp()[1] if rest.as_base_exp()[0] == x else sp.S.Zero if rest == 1 else None
        if power is not None and power.is_nonnegative:
            total += factor * 2 ** (power / 2 - 1) * sp.gamma((power + 1) / 2) / sp.sqrt(sp.pi)
        else:
            total += factor * _integral(rest, x)
    return total


@lru_cache(1000)
def _integral(f: sp.Expr, x: sp.Symbol) -> sp.Expr:
    return sp.integrate(f * sp.exp(-(x**2) / 2) / sp.sqrt(2 * sp.pi), (x, 0, sp.oo))


def _line(f: sp.Expr, z: sp.Symbol) -> Any:
    """E f(z) by tanh-sinh quadrature on either side of zero."""
    numbers = sp.lambdify(z, f, "mpmath")
    return mpmath.quad(lambda x: numbers(x) * mpmath.npdf(x), [-mpmath.inf, 0, mpmath.inf])


def _plane(f: sp.Expr, z: sp.Symbol, w: sp.Symbol) -> float:
    """E f(z, w) in polar coordinates, between the lines through zero on which f has kinks; to double precision."""
    numbers = sp.lambdify((z, w), f, "numpy")
    nodes, weights = gauss_legendre(120)
    r, radial = _FAR * (nodes + 1) / 2, _FAR / 2 * weights
    radial = radial * r * np.exp(-(r**2) / 2)
    cuts = {k * math.pi / 2 for k in range(5)}
    for line in _lines(f):
        a, b = (float(sp.expand(line).coeff(x)) for x in (z, w))
        angle = math.atan2(-a, b) % math.pi
        cuts |= {angle, angle + math.pi}
    total = 0.0
    for low, high in itertools.pairwise(sorted(cuts)):
        angle = low + (high - low) * (nodes + 1) / 2
        x, y = r[:, None] * np.cos(angle), r[:, None] * np.sin(angle)
        total += (high - low) / 2 * float(np.sum(numbers(x, y) * radial[:, None] * weights))
    return total / (2 * math.pi)


def _lines(f: sp.Expr) -> Iterator[sp.Expr]:
    """Expressions that change sign where f has a kink."""
    for atom in f.atoms(*KINKED):
        if isinstance(atom, sp.Piecewise):
            for condition in atom.atoms(sp.core.relational.Relational):
                yield condition.lhs - condition.rhs
        elif isinstance(atom, (sp.Max, sp.Min)):
            yield from (x - y for i, x in enumerate(atom.args) for y in atom.args[:i])
        else:
            yield atom.args[0]


register(GaussianMean, json=True)  # kernels cannot compute it: take doit(), or NormalMean
