"""Means of functions of one and of two centred Gaussians, closed under differentiation.

Source: R. Price, A useful theorem for nonlinear devices having Gaussian inputs, IRE Trans. Inf. Theory 4, 1958.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import sympy as sp
from sympy.core.function import Function

from advmf import special
from advmf.errors import ArgumentError
from advmf.functions.columns import register
from advmf.functions.curves import compiled, slope, smooth


@dataclass(frozen=True)
class Integrand:
    """The functions of a mean and their parameters. Engines call it as a function of numbers; it can also be
    differentiated."""

    kind: type[OverGaussians]
    functions: tuple[sp.Lambda, ...]
    parameters: tuple[sp.Symbol, ...]

    @property
    def __name__(self) -> str:
        return self.kind.__name__

    def numbers(self, *arrays: Any) -> Any:
        """The mean for arrays of the moments, followed by arrays of the parameters."""
        return self.kind.arrays(self.functions, self.parameters)(*arrays)

    def slope(self, number: int) -> tuple[sp.Expr, tuple[sp.Symbol, ...]]:
        """The derivative with respect to one argument, and the symbols that stand for all arguments."""
        moments = _LETTERS[: 2 * self.kind.places - 1]
        symbols = (*moments, *self.parameters)
        return self.kind(*self.functions, *moments).diff(symbols[number]), symbols


_LETTERS = (sp.Symbol("Q_1", positive=True), sp.Symbol("Q_2", positive=True), sp.Symbol("P_12", real=True))
"""The symbols that stand for the moments in a derivative."""


class OverGaussians(Function):
    """Base of means whose first arguments are functions (SymPy Lambdas of one variable) and whose last arguments are
    moments."""

    places: int
    """How many functions come first."""
    closed: ClassVar[Callable[..., sp.Expr | None]]
    """The elementary value for given arguments, or None."""
    arrays: ClassVar[Callable[..., Callable[..., Any]]]
    """Makes a function of arrays (the moments, then the parameters) from the functions and the parameter symbols."""

    @classmethod
    def eval(cls, *args: sp.Expr) -> sp.Expr | None:
        for f in args[: cls.places]:
            if not isinstance(f, sp.Lambda) or len(f.variables) != 1:
                raise ArgumentError(f"{cls.__name__} takes functions of one variable, as sp.Lambda(z, z**2); got {f}.")
        return cls.closed(*args)

    @property
    def functions(self) -> tuple[sp.Lambda, ...]:
        """The functions."""
        return tuple(self.args[: self.places])

    @property
    def moments(self) -> tuple[sp.Expr, ...]:
        """The variances and covariances."""
        return tuple(self.args[self.places :])

    @property
    def parameters(self) -> tuple[sp.Symbol, ...]:
        """The symbols within the functions."""
        return tuple(sorted(set().union(*(f.free_symbols for f in self.functions)), key=lambda s: s.name))

    @property
    def head(self) -> Integrand:
        """The mean without its moments, as engines call it."""
        return Integrand(self.func, self.functions, self.parameters)

    @property
    def bound_symbols(self) -> list[sp.Symbol]:
        return [z for f in self.functions for z in f.variables]

    def _eval_subs(self, old: sp.Basic, new: sp.Basic) -> sp.Expr | None:
        inner = [
            sp.Lambda(f.variables, f.expr if old in f.variables else f.expr._subs(old, new)) for f in self.functions
        ]
        return self.func(*inner, *(moment._subs(old, new) for moment in self.moments))

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        total = sp.S.Zero
        for i, f in enumerate(self.functions):
            if symbol in f.free_symbols:
                args = list(self.args)
                args[i] = sp.Lambda(f.variables, f.expr.diff(symbol))
                total += self.func(*args)
        for i, moment in enumerate(self.moments, self.places + 1):
            if moment.has(symbol):
                total += self.fdiff(i) * moment.diff(symbol)
        return total

    def _eval_is_real(self) -> bool:
        return True

    def _eval_is_extended_nonnegative(self) -> bool | None:
        return True if len(self.functions) == 1 and self.functions[0].expr.is_nonnegative else None

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        if self.free_symbols:
            return None
        values = self.head.numbers(*(float(moment) for moment in self.moments))
        return sp.Float(float(values), precision=prec)


class NormalMean(OverGaussians):
    """E f(a) of a ~ N(0, Q): ``NormalMean(f, Q)`` with f a SymPy Lambda.

    Polynomials are integrated, and odd functions have mean zero. Other means get their numbers from
    :func:`advmf.special.normal_mean`, to twelve digits. Its derivative in Q is E f''(a)/2, or E a f'(a)/(2Q) where f
    has kinks.

    >>> import sympy as sp
    >>> from advmf.functions import NormalMean
    >>> z, Q = sp.Symbol("z", real=True), sp.Symbol("Q", positive=True)
    >>> NormalMean(sp.Lambda(z, z**4), Q), NormalMean(sp.Lambda(z, sp.cos(z)), Q).diff(Q)
    (3*Q**2, NormalMean(Lambda(z, -cos(z)), Q)/2)
    >>> NormalMean(sp.Lambda(z, sp.exp(-z**2)), sp.Integer(1)).evalf(10) - 1 / sp.sqrt(3).evalf(10)
    0
    """

    places = 1

    @classmethod
    def closed(cls, f: sp.Lambda, Q: sp.Expr) -> sp.Expr | None:
        (z,), expr = f.variables, f.expr
        if expr.is_polynomial(z):
            terms = sp.Poly(expr, z).terms()
            return sp.Add(*(c * sp.factorial2(k - 1) * Q ** sp.Rational(k, 2) for (k,), c in terms if k % 2 == 0))
        if (expr + expr.subs(z, -z)).expand() == 0:
            return sp.S.Zero
        return f(sp.S.Zero) if Q == 0 else None

    def fdiff(self, argindex: int = 2) -> sp.Expr:
        f, Q = self.args
        (z,) = f.variables
        if not smooth(f):
            return NormalMean(sp.Lambda(z, z * slope(f).expr), Q) / (2 * Q)
        return NormalMean(slope(slope(f)), Q) / 2

    @classmethod
    def arrays(cls, functions: tuple[sp.Lambda, ...], parameters: tuple[sp.Symbol, ...]) -> Callable[..., Any]:
        f, kinks = compiled(functions[0], parameters)
        return lambda Q, *given: special.normal_mean(f, kinks, Q, *given)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        f, Q = self.args
        text = (
            rf"\mathbb{{E}}_{{z \sim \mathcal{{N}}(0, {printer._print(Q)})}}\left[{printer._print(_of(f, 'z'))}\right]"
        )
        return text if exp is None else rf"{text}^{{{exp}}}"


class PairMean(OverGaussians):
    """E f(a) g(b) of centred Gaussians of variances Q and R and covariance P: ``PairMean(f, g, Q, R, P)`` with f and g
    SymPy Lambdas.

    Its derivatives are of the same kind, by Price's theorem: E f'(a)g'(b) in P, E f''(a)g(b)/2 in Q. Where f has kinks
    the latter is (E a f'(a) g(b) - P E f'(a)g'(b))/(2Q). Its numbers come from :func:`advmf.special.pair_mean`, to
    twelve digits.

    >>> import sympy as sp
    >>> from advmf.functions import PairMean
    >>> z, (Q, R, P) = sp.Symbol("z", real=True), sp.symbols("Q R P", positive=True)
    >>> f = sp.Lambda(z, sp.cos(z))
    >>> PairMean(f, sp.Lambda(z, 2), Q, R, P), PairMean(f, f, Q, Q, Q)
    (2*NormalMean(Lambda(z, cos(z)), Q), NormalMean(Lambda(z, cos(z)**2), Q))
    """

    places = 2

    @classmethod
    def closed(cls, f: sp.Lambda, g: sp.Lambda, Q: sp.Expr, R: sp.Expr, P: sp.Expr) -> sp.Expr | None:
        if not f.expr.has(f.variables[0]):
            return f.expr * NormalMean(g, R)
        if not g.expr.has(g.variables[0]):
            return g.expr * NormalMean(f, Q)
        if Q == R == P:
            (z,) = f.variables
            return NormalMean(sp.Lambda(z, f.expr * g(z)), Q)
        return NormalMean(f, Q) * NormalMean(g, R) if P == 0 else None

    def fdiff(self, argindex: int = 3) -> sp.Expr:
        f, g, Q, R, P = self.args
        if argindex == 5:
            return PairMean(slope(f), slope(g), Q, R, P)
        if argindex == 4:
            return PairMean(g, f, R, Q, P).fdiff(3)
        if smooth(f):
            return PairMean(slope(slope(f)), g, Q, R, P) / 2
        (z,) = f.variables
        tilted = PairMean(sp.Lambda(z, z * slope(f).expr), g, Q, R, P)
        return (tilted - P * PairMean(slope(f), slope(g), Q, R, P)) / (2 * Q)

    @classmethod
    def arrays(cls, functions: tuple[sp.Lambda, ...], parameters: tuple[sp.Symbol, ...]) -> Callable[..., Any]:
        (f, at), (g, to) = (compiled(h, parameters) for h in functions)
        return lambda Q, R, P, *given: special.pair_mean(f, g, (at, to), Q, R, P, *given)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        f, g, Q, R, P = self.args
        inner = rf"{printer._print(_of(f, 'a'))}\, {printer._print(_of(g, 'b'))}"
        law = r", ".join(map(printer._print, (Q, R, P)))
        text = rf"\mathbb{{E}}_{{a, b \sim {law}}}\left[{inner}\right]"
        return text if exp is None else rf"{text}^{{{exp}}}"


def _of(f: sp.Lambda, letter: str) -> sp.Expr:
    return f(sp.Symbol(letter, real=True))


def applied(mean: OverGaussians) -> tuple[Integrand, tuple[sp.Expr, ...]]:
    """What engines call in place of a mean."""
    return mean.head, (*mean.moments, *mean.parameters)


register(NormalMean, applied=applied, native=True, python=special.normal_mean, json=True)
register(PairMean, applied=applied, native=True, python=special.pair_mean, json=True)
