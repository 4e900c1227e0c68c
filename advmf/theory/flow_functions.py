"""Solutions of autonomous differential equations, as SymPy functions that stay exact until numbers are asked for.

:class:`QExponential` and :class:`QLogarithm` solve ``y' = y**r`` in closed form (C. Tsallis, J. Stat. Phys. 52, 1988), :class:`Flow` stands for
the solution of any other system; ``advmf.emit`` holds the array versions.
"""

from __future__ import annotations

from typing import Any

import mpmath
import sympy as sp
from sympy.core.function import Function


class QExponential(Function):
    """The solution of y' = y**r, y(0) = 1: ``QExponential(x, r) = (1 + (1 - r)*x)**(1/(1 - r))``, and exp(x) at r = 1.

    For r < 1 it is zero where the base is negative, having reached zero at a finite x; for r > 1 it decays like a power of -x.

    >>> import sympy as sp
    >>> from advmf.theory.flow_functions import QExponential
    >>> x = sp.Symbol("x", positive=True)
    >>> QExponential(-x, 2), QExponential(-x, 1), QExponential(-3, sp.Rational(1, 2))
    (1/(x + 1), exp(-x), 0)
    """

    @classmethod
    def eval(cls, x: sp.Expr, r: sp.Expr) -> sp.Expr | None:
        if x == 0:
            return sp.S.One
        if (r - 1).is_zero:
            return sp.exp(x)
        base = 1 + (1 - r) * x
        if not r.is_number:
            return None
        if base.is_extended_nonpositive:
            return sp.S.Zero if (1 - r).is_positive else sp.oo
        return base ** (1 / (1 - r)) if base.is_positive else None

    def _eval_rewrite_as_Pow(self, x: sp.Expr, r: sp.Expr, **hints: Any) -> sp.Expr:
        """The power, valid for r != 1 where its base is positive."""
        return (1 + (1 - r) * x) ** (1 / (1 - r))

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        x, r = self.args
        if argindex == 1:
            return self**r
        base = 1 + (1 - r) * x
        smooth = self * (sp.log(base) / (1 - r) ** 2 - x / (base * (1 - r)))
        return sp.Piecewise((-(x**2) * self / 2, sp.Eq(r, 1)), (smooth, True))

    def _eval_is_extended_nonnegative(self) -> bool:
        return True

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        x, r = (arg._eval_evalf(prec) for arg in self.args)
        if x is None or r is None or not (x.is_number and r.is_number):
            return None
        base = 1 + (1 - r) * x
        if base <= 0:
            return sp.S.Zero if r < 1 else sp.oo
        return sp.exp(x if (r - 1).is_zero else sp.log(base) / (1 - r))._eval_evalf(prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        x, r = map(printer._print, self.args)
        power = "" if exp is None else f"^{{{exp}}}"
        return rf"\exp_{{{r}}}{power}\left({x}\right)"


class QLogarithm(Function):
    """The inverse of :class:`QExponential`: ``QLogarithm(y, r) = (y**(1 - r) - 1)/(1 - r)``, and ln(y) at r = 1.

    >>> from advmf.theory.flow_functions import QExponential, QLogarithm
    >>> QLogarithm(3, 2), QExponential(QLogarithm(3, 2), 2), QLogarithm(3, 1)
    (2/3, 3, log(3))
    """

    @classmethod
    def eval(cls, y: sp.Expr, r: sp.Expr) -> sp.Expr | None:
        if y == 1:
            return sp.S.Zero
        if (r - 1).is_zero:
            return sp.log(y)
        return (y ** (1 - r) - 1) / (1 - r) if r.is_number else None

    def _eval_rewrite_as_Pow(self, y: sp.Expr, r: sp.Expr, **hints: Any) -> sp.Expr:
        """The quotient, valid for r != 1."""
        return (y ** (1 - r) - 1) / (1 - r)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        y, r = self.args
        if argindex == 1:
            return y ** (-r)
        smooth = (self - y ** (1 - r) * sp.log(y)) / (1 - r)
        return sp.Piecewise((-(sp.log(y) ** 2) / 2, sp.Eq(r, 1)), (smooth, True))

    def _eval_is_real(self) -> bool | None:
        return True if self.args[0].is_positive else None

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        y, r = (arg._eval_evalf(prec) for arg in self.args)
        if y is None or r is None or not (y.is_number and r.is_number):
            return None
        return (sp.log(y) if (r - 1).is_zero else (y ** (1 - r) - 1) / (1 - r))._eval_evalf(prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        y, r = map(printer._print, self.args)
        power = "" if exp is None else f"^{{{exp}}}"
        return rf"\ln_{{{r}}}{power}\left({y}\right)"


class Flow(Function):
    """One component of the solution of a system: ``Flow(t, variables, rates, start, variable)``.

    The ``variables``, whose derivatives in t are ``rates`` in terms of them, have the values ``start`` at t = 0. It is exact: it stands
    where the system has no elementary solution. Variables declared positive are integrated by their logarithms, and so stay
    positive. ``doit`` gives the closed form of a single power law.

    >>> import sympy as sp
    >>> from advmf.theory.flow_functions import Flow
    >>> t, y = sp.symbols("t y", positive=True)
    >>> logistic = Flow(t, (y,), (-y * (1 + y),), (1,), y)
    >>> logistic.diff(t) == -logistic * (1 + logistic), logistic.subs(t, 0)
    (True, 1)
    >>> Flow(t, (y,), (-3 * y**2,), (2,), y).doit()
    2/(6*t + 1)
    """

    @classmethod
    def eval(
        cls, t: sp.Expr, variables: sp.Tuple, rates: sp.Tuple, start: sp.Tuple, variable: sp.Symbol
    ) -> sp.Expr | None:
        return start[list(variables).index(variable)] if t == 0 else None

    @property
    def free_symbols(self) -> set[sp.Basic]:
        t, variables, rates, start, _ = self.args
        return (rates.free_symbols - set(variables)) | start.free_symbols | t.free_symbols

    @property
    def bound_symbols(self) -> list[sp.Symbol]:
        return list(self.args[1])

    def _eval_subs(self, old: sp.Basic, new: sp.Basic) -> sp.Basic | None:
        t, variables, rates, start, variable = self.args
        if old in set(variables):
            return self
        return self.func(t._subs(old, new), variables, rates._subs(old, new), start._subs(old, new), variable)

    def _eval_derivative(self, s: sp.Symbol) -> sp.Expr:
        t, variables, rates, start, variable = self.args
        if (rates.free_symbols - set(variables) | start.free_symbols) & {s}:
            return sp.Derivative(self, s)
        now = {z: self.func(t, variables, rates, start, z) for z in variables}
        return rates[list(variables).index(variable)].xreplace(now) * sp.diff(t, s)

    def doit(self, **hints: Any) -> sp.Expr:
        t, variables, rates, start, variable = self.args
        closed = power_law(rates[0], variable, start[0], t) if len(variables) == 1 else None
        return self if closed is None else closed

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        t, variables, rates, start, variable = self.args
        if self.free_symbols:
            return None
        logs = {z: sp.exp(z) for z in variables if z.is_positive}
        slopes = [(rate / z if z in logs else rate).xreplace(logs) for z, rate in zip(variables, rates)]
        begin = [sp.log(value) if z in logs else value for z, value in zip(variables, start)]
        with mpmath.workprec(prec + 20):
            slope = sp.lambdify([list(variables)], [rate.evalf(mpmath.mp.dps) for rate in slopes], "mpmath")
            end = mpmath.mpf(t.evalf(mpmath.mp.dps))
            first = [mpmath.mpf(value.evalf(mpmath.mp.dps)) for value in begin]
            state = mpmath.odefun(lambda _, y: slope(y), 0, first)(end)
            value = state[list(variables).index(variable)]
            return sp.Float(mpmath.exp(value) if variable in logs else value, precision=prec)

    def _eval_is_real(self) -> bool:
        return True

    def _eval_is_extended_positive(self) -> bool | None:
        return self.args[4].is_positive

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        t, _, _, _, variable = self.args
        power = "" if exp is None else f"^{{{exp}}}"
        return rf"{printer._print(variable)}{power}\left({printer._print(t)}\right)"


def power_law(rate: sp.Expr, z: sp.Symbol, start: sp.Expr, t: sp.Expr) -> sp.Expr | None:
    """The solution of z' = rate from ``start`` if the rate is a power of z, verified by substitution; else None.

    >>> import sympy as sp
    >>> from advmf.theory.flow_functions import power_law
    >>> t, z = sp.symbols("t z", positive=True)
    >>> power_law(-z * (1 + z), z, sp.S.One, t) is None
    True
    """
    r = power_of(rate, z)
    if r is None:
        return None
    first, clock = rate.xreplace({z: start}), sp.Dummy("t")
    solution = start * QExponential(sp.simplify(first / start) * clock, r)
    # The solution is start*w with dw/dt = (first/start) w**r; put into the equation, that asks rate(start*w) = first*w**r.
    w = sp.Dummy("w", positive=True)
    if sp.simplify(rate.xreplace({z: start * w}) / first / w**r) != 1 or solution.subs(clock, 0) != start:
        raise ArithmeticError(f"{solution} does not solve {z}' = {rate} from {start}.")
    return solution.subs(clock, t)


def power_of(rate: sp.Expr, z: sp.Symbol) -> sp.Expr | None:
    """r if ``rate`` is proportional to z**r, else None."""
    r = sp.simplify(z * sp.diff(rate, z) / rate)
    return None if r.has(z) else r
