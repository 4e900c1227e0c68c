"""The special functions of the theory, as SymPy functions that stay exact until numbers are asked for.

Each knows its closed forms, its LaTeX and how to evaluate itself; ``advmf.emit`` holds the array versions. Norms are in
:mod:`advmf.theory.norm_functions`.
"""

from __future__ import annotations

from typing import Any

import sympy as sp
from sympy.core.function import Function

from advmf.budget import allow_seconds


def positive_number(expr: sp.Expr) -> bool:
    """Whether ``expr`` is a positive number, or oo."""
    return bool(expr.is_number and expr.is_extended_positive)


class Conjugate(Function):
    """The Hölder conjugate r* with 1/r + 1/r* = 1; it is its own inverse.

    >>> import sympy as sp
    >>> from advmf.theory.functions import Conjugate
    >>> Conjugate(1), Conjugate(3), Conjugate(sp.oo)
    (oo, 3/2, 1)
    """

    @classmethod
    def eval(cls, r: sp.Expr) -> sp.Expr | None:
        if r == 1:
            return sp.oo
        if r is sp.oo:
            return sp.S.One
        if positive_number(r):
            return r / (r - 1)
        if isinstance(r, Conjugate):
            return r.args[0]
        return None

    def _eval_is_extended_real(self) -> bool:
        return True  # not extended_positive: SymPy then takes Eq(r*, oo) for true

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return -1 / (self.args[0] - 1) ** 2

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        text = f"{printer._print(self.args[0])}^{{*}}"
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"


class GeometricSum(Function):
    """``1 + z + ... + z**(n-1)`` for real ``n >= 0``: ``(z**n - 1)/(z - 1)``, and ``n`` at ``z = 1``.

    >>> from advmf.theory.functions import GeometricSum
    >>> GeometricSum(2, 5), GeometricSum(1, 7)
    (31, 7)
    """

    @classmethod
    def eval(cls, z: sp.Expr, n: sp.Expr) -> sp.Expr | None:
        if z == 1:
            return n
        if n == 0 or (z == 0 and n.is_positive):
            return sp.S.Zero if n == 0 else sp.S.One
        if z.is_number and n.is_Integer and n < 1000:
            return (z**n - 1) / (z - 1)
        return None

    def _eval_is_extended_nonnegative(self) -> bool | None:
        return True if all(arg.is_nonnegative for arg in self.args) else None

    def _eval_rewrite_as_Pow(self, z: sp.Expr, n: sp.Expr, **hints: Any) -> sp.Expr:
        """The quotient ``(z**n - 1)/(z - 1)``, valid for z != 1."""
        return (z**n - 1) / (z - 1)

    def doit(self, **hints: Any) -> sp.Expr:
        z, n = (arg.doit(**hints) if hints.get("deep", True) else arg for arg in self.args)
        if n.is_Integer and 0 <= n <= 64:
            return sp.Add(*(z**k for k in range(int(n))))
        return sp.Piecewise((n, sp.Eq(z, 1)), ((z**n - 1) / (z - 1), True))

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        z, n = self.args
        if argindex == 2:
            return z**n * sp.log(z) / (z - 1)
        return sp.Piecewise((n * (n - 1) / 2, sp.Eq(z, 1)), ((n * z ** (n - 1) - self) / (z - 1), True))

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        z, n = (arg._eval_evalf(prec) for arg in self.args)
        if z is None or n is None or not (z.is_number and n.is_number):
            return None
        return n if z == 1 else ((z**n - 1) / (z - 1))._eval_evalf(prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        z, n = self.args
        base = printer.parenthesize(z, sp.printing.precedence.PRECEDENCE["Pow"])
        text = rf"\sum_{{k=1}}^{{{printer._print(n)}}} {base}^{{k-1}}"
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"


class ArcCosine(Function):
    """The arc-cosine kernel of degree one, κ₁(c) = (√(1 - c²) + (π - arccos c) c)/π; E ReLU(z)ReLU(z') = κ₁(c)/2.

    Source: Y. Cho and L. Saul, Kernel Methods for Deep Learning, NeurIPS 2009.

    >>> from advmf.theory.functions import ArcCosine
    >>> ArcCosine(1), ArcCosine(0), ArcCosine(-1)
    (1, 1/pi, 0)
    """

    @classmethod
    def eval(cls, c: sp.Expr) -> sp.Expr | None:
        if c in (-1, 0, 1):
            return {-1: sp.S.Zero, 0: 1 / sp.pi, 1: sp.S.One}[int(c)]
        return None

    def doit(self, **hints: Any) -> sp.Expr:
        c = self.args[0].doit(**hints) if hints.get("deep", True) else self.args[0]
        return (sp.sqrt(1 - c**2) + (sp.pi - sp.acos(c)) * c) / sp.pi

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return ArcCosineSlope(self.args[0])

    def _eval_is_real(self) -> bool:
        return True

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        return self.doit()._eval_evalf(prec)

    @property
    def correlation(self) -> sp.Expr:
        """What stands in the bracket of κ."""
        return self.args[0]

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        text = rf"\kappa_1\left({printer._print(self.args[0])}\right)"
        return text if exp is None else rf"{text}^{{{exp}}}"


class ArcCosineSlope(Function):
    """The arc-cosine kernel of degree zero, κ₀(c) = κ₁'(c) = 1 - arccos(c)/π: the probability that units at correlation c are both on or off.

    >>> from advmf.theory.functions import ArcCosineSlope
    >>> ArcCosineSlope(1), ArcCosineSlope(0), ArcCosineSlope(-1)
    (1, 1/2, 0)
    """

    @classmethod
    def eval(cls, c: sp.Expr) -> sp.Expr | None:
        if c in (-1, 0, 1):
            return sp.Rational(1 + int(c), 2)
        return None

    def doit(self, **hints: Any) -> sp.Expr:
        c = self.args[0].doit(**hints) if hints.get("deep", True) else self.args[0]
        return 1 - sp.acos(c) / sp.pi

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return 1 / (sp.pi * sp.sqrt(1 - self.args[0] ** 2))

    def _eval_is_real(self) -> bool:
        return True

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        return self.doit()._eval_evalf(prec)

    @property
    def correlation(self) -> sp.Expr:
        """What stands in the bracket of κ."""
        return self.args[0]

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        text = rf"\kappa_0\left({printer._print(self.args[0])}\right)"
        return text if exp is None else rf"{text}^{{{exp}}}"


class ArcCosineRest(Function):
    """What :class:`ArcCosine` has above its tangent at c = 1, ``ArcCosineRest(a, b)`` = κ₁(c) - c with 1 - c = a - b and a ≥ b ≥ 0.

    It is κ₁(a - b - 1) as well. Next to c = 1 it falls as (1 - c)^{3/2}, and 1 - c has digits that c has not. A difference a - b within
    rounding of b counts as 0.

    >>> from advmf.theory.functions import ArcCosineRest
    >>> ArcCosineRest(0, 0), ArcCosineRest(1, 0), ArcCosineRest(2, 0)
    (0, 1/pi, 1)
    """

    @classmethod
    def eval(cls, a: sp.Expr, b: sp.Expr) -> sp.Expr | None:
        return ArcCosine.eval(a - b - 1)

    def doit(self, **hints: Any) -> sp.Expr:
        a, b = (arg.doit(**hints) if hints.get("deep", True) else arg for arg in self.args)
        return ArcCosine(a - b - 1).doit()

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return (3 - 2 * argindex) * ArcCosineRestSlope(*self.args)

    def _eval_is_real(self) -> bool:
        return True

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        return _within(self, prec).doit()._eval_evalf(prec)

    @property
    def correlation(self) -> sp.Expr:
        """What stands in the bracket of κ."""
        return self.args[0] - self.args[1] - 1

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        return str(ArcCosine(self.correlation, evaluate=False)._latex(printer, exp))


class ArcCosineRestSlope(Function):
    """The slope of :class:`ArcCosineRest`, ``ArcCosineRestSlope(a, b)`` = arccos(1 - a + b)/π.

    It is the probability that a unit is on for one of two inputs and off for the other.

    >>> from advmf.theory.functions import ArcCosineRestSlope
    >>> ArcCosineRestSlope(0, 0), ArcCosineRestSlope(1, 0), ArcCosineRestSlope(2, 0)
    (0, 1/2, 1)
    """

    @classmethod
    def eval(cls, a: sp.Expr, b: sp.Expr) -> sp.Expr | None:
        return ArcCosineSlope.eval(a - b - 1)

    def doit(self, **hints: Any) -> sp.Expr:
        a, b = (arg.doit(**hints) if hints.get("deep", True) else arg for arg in self.args)
        return sp.acos(1 - a + b) / sp.pi

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        a, b = self.args
        return (3 - 2 * argindex) / (sp.pi * sp.sqrt((a - b) * (2 - a + b)))

    def _eval_is_real(self) -> bool:
        return True

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        return _within(self, prec).doit()._eval_evalf(prec)

    @property
    def correlation(self) -> sp.Expr:
        """What stands in the bracket of κ."""
        return self.args[0] - self.args[1] - 1

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        return str(ArcCosineSlope(self.correlation, evaluate=False)._latex(printer, exp))


def _within(expr: sp.Expr, prec: int) -> sp.Expr:
    """A function of a - b in [0, 2], to which a difference of numbers that rounding has put beyond is taken back."""
    a, b = (arg._eval_evalf(prec) for arg in expr.args)
    return expr.func(sp.Min(2, sp.Max(0, a - b)), 0) if a.is_Float or b.is_Float else expr


DEEPEST, LONGEST = 10_000, 100_000
"""The most steps of a recursion that become a rational number, and the bits of one beyond which it is left as it stands."""

STEP = 1e-4
"""Seconds that SymPy takes for one variable of a step of a recursion, at least."""


class Recursion(Function):
    """One component of a state after ``L`` steps: ``Recursion(L, variables, updates, start, variable)``.

    ``variables`` are the symbols of the state, ``updates`` their next values in terms of them, ``start`` their values at
    depth 0. It is exact: it stands where the recursion has no elementary solution in symbolic ``L``. Rational numbers become a number for
    up to 10,000 steps, as long as it has no more than 100,000 bits; ``evalf`` raises BudgetError for steps that would take more than an hour.

    >>> import sympy as sp
    >>> from advmf.theory.functions import Recursion
    >>> F, G, L = sp.symbols("F G L")
    >>> fibonacci = Recursion(L, (F, G), (G, F + G), (0, 1), F)
    >>> fibonacci.subs(L, 10)
    55
    """

    @classmethod
    def eval(
        cls, depth: sp.Expr, variables: sp.Tuple, updates: sp.Tuple, start: sp.Tuple, variable: sp.Symbol
    ) -> sp.Expr | None:
        if not (depth.is_Integer and 0 <= depth <= DEEPEST):
            return None
        state = list(start)
        for _ in range(int(depth)):
            if not all(
                value.is_Rational and value.q.bit_length() + abs(value.p).bit_length() < LONGEST for value in state
            ):
                return None
            now = dict(zip(variables, state))
            state = [update.xreplace(now) for update in updates]
        value = state[list(variables).index(variable)]
        return value if depth == 0 or value.is_Rational else None

    @property
    def free_symbols(self) -> set[sp.Basic]:
        depth, variables, updates, start, _ = self.args
        return (updates.free_symbols - set(variables)) | start.free_symbols | depth.free_symbols

    @property
    def bound_symbols(self) -> list[sp.Symbol]:
        return list(self.args[1])

    def _eval_subs(self, old: sp.Basic, new: sp.Basic) -> sp.Basic | None:
        depth, variables, updates, start, variable = self.args
        if old in set(variables):
            return self
        return self.func(depth._subs(old, new), variables, updates._subs(old, new), start._subs(old, new), variable)

    def _eval_derivative(self, s: sp.Symbol) -> sp.Expr:
        """The derivative by a letter of the updates or of the start is one more variable of the recursion."""
        depth, variables, updates, start, variable = self.args
        if s not in self.free_symbols:
            return sp.S.Zero
        if s in depth.free_symbols:
            return sp.Derivative(self, s, evaluate=False)
        tangents = {z: sp.Symbol(f"{z.name}_{s.name}", real=True) for z in variables}
        if set(tangents.values()) & (set(variables) | self.free_symbols):
            return sp.Derivative(self, s, evaluate=False)
        moved = [
            update.diff(s) + sum((update.diff(z) * dz for z, dz in tangents.items()), sp.S.Zero) for update in updates
        ]
        state, first = (*variables, *tangents.values()), (*start, *(value.diff(s) for value in start))
        return self.func(depth, sp.Tuple(*state), sp.Tuple(*updates, *moved), sp.Tuple(*first), tangents[variable])

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        depth, variables, updates, start, variable = self.args
        if self.free_symbols or not depth.is_Integer:
            return None
        cost = STEP * int(depth) * len(variables)
        allow_seconds(cost, f"A recursion of {int(depth):,} steps in SymPy", "Lower the depth, or take advmf.kernel")
        digits = max(15, int(prec / 3.3) + 5)
        state = [value.evalf(digits) for value in start]
        for _ in range(int(depth)):
            now = dict(zip(variables, state))
            state = [update.xreplace(now).evalf(digits) for update in updates]
        return state[list(variables).index(variable)]

    def _eval_is_real(self) -> bool:
        return True

    def _eval_is_extended_nonnegative(self) -> bool | None:
        return self.args[4].is_nonnegative

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        depth, _, _, _, variable = self.args
        name = printer._print(variable)
        name = rf"{{{name}}}" if "_" in name else name
        text = rf"{name}_{{{printer._print(depth)}}}"
        return text if exp is None else rf"{{{text}}}^{{{exp}}}"
