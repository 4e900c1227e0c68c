"""The mean square of the difference of a function at two Gaussians, which keeps its digits where they are close."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy as sp

from advmf import special
from advmf.functions.columns import register
from advmf.functions.curves import compiled, slope, smooth
from advmf.functions.normal_mean import NormalMean, OverGaussians, PairMean, applied


class SpreadMean(OverGaussians):
    """E (f(a) - f(b))² of centred Gaussians a and b of variances Q and R, with D = E (a - b)². ``SpreadMean(f, g, Q, R,
    D)`` takes a smooth f and its slope g, both SymPy Lambdas; :meth:`of` finds the slope.

    It is E f(a)² + E f(b)² - 2 E f(a)f(b), whose digits cancel where D is small. Its derivative in D is E g(a)g(b), by
    Price's theorem, again in terms of a SpreadMean. Its numbers come from :func:`advmf.special.spread_mean`.

    >>> import sympy as sp
    >>> from advmf.functions.spread_mean import SpreadMean
    >>> z, (Q, R, D) = sp.Symbol("z", real=True), sp.symbols("Q R D", positive=True)
    >>> SpreadMean.of(sp.Lambda(z, 3 * z), Q, R, D)
    9*D
    >>> float(SpreadMean.of(sp.Lambda(z, sp.sin(z)), 1, 1, sp.Float(1e-12)).evalf() * 1e12)
    0.5676676416...
    """

    places = 2

    @classmethod
    def of(cls, f: sp.Lambda, Q: sp.Expr, R: sp.Expr, D: sp.Expr) -> sp.Expr:
        """The mean of a function alone. A function with kinks gives the difference of means."""
        if not smooth(f):
            square = sp.Lambda(f.variables, f.expr**2)
            return NormalMean(square, Q) + NormalMean(square, R) - 2 * PairMean(f, f, Q, R, (Q + R - D) / 2)
        return cls(f, slope(f), Q, R, D)

    @classmethod
    def closed(cls, f: sp.Lambda, g: sp.Lambda, Q: sp.Expr, R: sp.Expr, D: sp.Expr) -> sp.Expr | None:
        if not g.expr.has(*g.variables):
            return g.expr**2 * D
        return sp.S.Zero if D == 0 and Q == R else None

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        f, _, *moments = self.args
        total = sp.S.Zero
        if symbol in f.free_symbols:
            change = f.expr.diff(symbol)
            more, less = (self.of(sp.Lambda(f.variables, f.expr + s * change), *moments) for s in (1, -1))
            total += (more - less) / 2
        return total + sum(self.fdiff(i) * moment.diff(symbol) for i, moment in enumerate(moments, 3))

    def fdiff(self, argindex: int = 5) -> sp.Expr:
        f, g, Q, R, D = self.args
        if argindex == 4:
            return SpreadMean(f, g, R, Q, D).fdiff(3)
        square = sp.Lambda(g.variables, g.expr**2)
        own, other, apart = NormalMean(square, Q), NormalMean(square, R), self.of(g, Q, R, D)
        if argindex == 5:
            return (own + other - apart) / 2
        bend = slope(g)
        pulled = NormalMean(sp.Lambda(f.variables, f.expr * bend(*f.variables)), Q)
        return (own - other + apart) / 2 + pulled - PairMean(bend, f, Q, R, (Q + R - D) / 2)

    @classmethod
    def arrays(cls, functions: tuple[sp.Lambda, ...], parameters: tuple[sp.Symbol, ...]) -> Callable[..., Any]:
        (f, at), (g, to) = (compiled(h, parameters) for h in functions)
        return lambda Q, R, D, *given: special.spread_mean(f, g, (at, to), Q, R, D, *given)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        f, _, Q, R, D = self.args
        a, b = (printer._print(f(sp.Symbol(letter, real=True))) for letter in "ab")
        law = r", ".join(map(printer._print, (Q, R, D)))
        text = rf"\mathbb{{E}}_{{a, b \sim {law}}}\left[\left({a} - {b}\right)^{{2}}\right]"
        return text if exp is None else rf"{text}^{{{exp}}}"


register(SpreadMean, applied=applied, python=special.spread_mean, json=True)
