"""Solutions of autonomous differential equations."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import mpmath
import sympy as sp
from sympy.core.function import Function

from advmf.functions.columns import register
from advmf.functions.q_exponential import QExponential


class Flow(Function):
    """One component of the solution of a system: ``Flow(t, variables, rates, start, variable)``.

    The ``variables`` have the values ``start`` at t = 0 and the derivatives ``rates`` in t, which are expressions in
    the variables. A Flow is exact and is used where the system has no elementary solution. Variables declared positive
    are integrated by their logarithms, and so stay positive. ``doit`` gives the closed form of a single power law.

    >>> import sympy as sp
    >>> from advmf.functions import Flow
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
        index = list(variables).index(variable)
        solve = _double if prec <= _DOUBLE_PRECISION else _taylor
        with mpmath.workprec(prec + 20):
            value = solve(variables, [rate.evalf(mpmath.mp.dps) for rate in slopes], begin, t)[index]
            return sp.Float(mpmath.exp(value) if variable in logs else value, precision=prec)

    def _eval_is_real(self) -> bool:
        return True

    def _eval_is_extended_positive(self) -> bool | None:
        return self.args[4].is_positive

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        t, _, _, _, variable = self.args
        power = "" if exp is None else f"^{{{exp}}}"
        return rf"{printer._print(variable)}{power}\left({printer._print(t)}\right)"


_DOUBLE_PRECISION = 60
"""The precision, in bits, up to which double precision is used."""


def _double(variables: sp.Tuple, slopes: list[sp.Expr], start: list[sp.Expr], t: sp.Expr) -> Any:
    """The state at t, by a Runge-Kutta method of order eight."""
    from scipy import integrate  # a tenth of a second, which symbolic work does not need

    rates = sp.lambdify([list(variables)], slopes, "math")
    solved = integrate.solve_ivp(
        lambda _, y: rates(y), (0, float(t)), [float(x) for x in start], "DOP853", rtol=1e-13, atol=1e-14
    )
    return solved.y[:, -1] if solved.success else [math.nan] * len(start)


def _taylor(variables: sp.Tuple, slopes: list[sp.Expr], start: list[sp.Expr], t: sp.Expr) -> Any:
    """The state at t to the precision at hand, by Taylor series."""
    rates = sp.lambdify([list(variables)], slopes, "mpmath")
    end, first = (mpmath.mpf(t.evalf(mpmath.mp.dps)), [mpmath.mpf(x.evalf(mpmath.mp.dps)) for x in start])
    return mpmath.odefun(lambda _, y: rates(y), 0, first)(end)


def power_law(rate: sp.Expr, z: sp.Symbol, start: sp.Expr, t: sp.Expr) -> sp.Expr | None:
    """The solution of z' = rate from ``start`` if the rate is a power of z, verified by substitution; else None.

    >>> import sympy as sp
    >>> from advmf.functions import power_law
    >>> t, z = sp.symbols("t z", positive=True)
    >>> power_law(-z * (1 + z), z, sp.S.One, t) is None
    True
    """
    solution = _solution(rate, z, start)
    return None if solution is None else solution.subs(_CLOCK, t)


_CLOCK = sp.Dummy("t")


@lru_cache(1000)
def _solution(rate: sp.Expr, z: sp.Symbol, start: sp.Expr) -> sp.Expr | None:
    """The solution of a power law at the time ``_CLOCK``."""
    r = power_of(rate, z)
    if r is None:
        return None
    first = rate.xreplace({z: start})
    solution = start * QExponential(sp.simplify(first / start) * _CLOCK, r)
    # The solution is start*w with dw/dt = (first/start) w**r. The equation then requires rate(start*w) = first*w**r.
    w = sp.Dummy("w", positive=True)
    if sp.simplify(rate.xreplace({z: start * w}) / first / w**r) != 1 or solution.subs(_CLOCK, 0) != start:
        raise ArithmeticError(f"{solution} does not solve {z}' = {rate} from {start}.")
    return solution


@lru_cache(1000)
def power_of(rate: sp.Expr, z: sp.Symbol) -> sp.Expr | None:
    """r if ``rate`` is proportional to z**r, else None."""
    r = sp.simplify(z * sp.diff(rate, z) / rate)
    return None if r.has(z) else r


register(Flow, json=True, bracket=lambda e: e.args[0])  # the engines solve and write it
