"""One component of a state after L steps."""

from __future__ import annotations

from typing import Any

import sympy as sp
from sympy.core.function import Function

from advmf.budget import allow_seconds
from advmf.functions.columns import register

DEEPEST, LONGEST = 10_000, 100_000
"""Limits of exact evaluation: the largest number of steps, and the largest number of bits of a rational value. Beyond
either, a recursion stays unevaluated."""

STEP = 1e-4
"""A lower bound on the seconds that SymPy takes for one variable in one step of a recursion."""


class Recursion(Function):
    """One component of a state after ``L`` steps: ``Recursion(L, variables, updates, start, variable)``.

    ``variables`` are the symbols of the state, ``updates`` their next values in terms of them, ``start`` their values
    at depth 0. A Recursion is exact and is used where there is no elementary solution in symbolic ``L``. With rational
    arguments it evaluates to a number, for up to 10,000 steps and results of up to 100,000 bits. ``evalf`` raises
    BudgetError where the steps would take more than an hour.

    >>> import sympy as sp
    >>> from advmf.functions import Recursion
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
        """The derivative with respect to a symbol in the updates or the start, as one more variable of the
        recursion."""
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


register(Recursion, json=True)  # a loop: the engines run and write it
