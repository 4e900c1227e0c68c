"""Lowering: turns a SymPy expression into a linear list of array instructions, with each subexpression once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from typing import Any, NamedTuple

import mpmath
import sympy as sp

from advmf.emit.canonical import canonical
from advmf.errors import ArgumentError
from advmf.functions import Flow, Recursion
from advmf.functions.columns import COLUMNS, NONE, Columns

CALLS = ("call", "call near one")
"""The instructions that call a function, which is their datum. In the second one the first slot holds the operand minus
1."""


class Instruction(NamedTuple):
    """Apply ``head``, a key of :data:`advmf.emit.engine.rules.RULES`, to the values in the slots ``args``."""

    head: Any
    args: tuple[int, ...] = ()
    data: Any = None


@dataclass(frozen=True)
class Program:
    """Instructions in order. The i-th writes slot ``i``; the j-th input stands in slot ``-1 - j``.

    ``spent[i]`` are the slots that no instruction after the i-th reads.
    """

    instructions: tuple[Instruction, ...]
    outputs: tuple[int, ...]
    spent: tuple[tuple[int, ...], ...]

    def only(self, outputs: Sequence[int]) -> Program:
        """The part of the program that these slots need, with these slots as its outputs."""
        needed, todo = set(), list(outputs)
        while todo:
            slot = todo.pop()
            if slot >= 0 and slot not in needed:
                needed.add(slot)
                todo += self.instructions[slot].args
        place = {slot: i for i, slot in enumerate(sorted(needed))}
        instructions = [
            i._replace(args=tuple(place.get(arg, arg) for arg in i.args))
            for i in (self.instructions[slot] for slot in place)
        ]
        return assemble(instructions, [place.get(slot, slot) for slot in outputs])

    @property
    def reads(self) -> set[int]:
        """The inputs that are used."""
        slots = [*self.outputs, *(arg for _, args, _ in self.instructions for arg in args)]
        return {-1 - slot for slot in slots if slot < 0}

    @cached_property
    def branches(self) -> tuple[int, ...]:
        """The slots with the conditions of piecewise functions."""
        return tuple(dict.fromkeys(live for i in self.instructions if i.head is sp.Piecewise for live in i.args[::2]))

    @cached_property
    def loops(self) -> bool:
        """Whether there are recursions or differential equations to solve."""
        return any(i.head in (Recursion, Flow) for i in self.instructions)

    @property
    def functions(self) -> set[Any]:
        """The SymPy functions that are called, in loops as well."""
        inner = [data[0].functions for head, _, data in self.instructions if head in (Recursion, Flow)]
        return {data for head, _, data in self.instructions if head in CALLS}.union(*inner)


def assemble(instructions: Iterable[Instruction], outputs: Iterable[int]) -> Program:
    """The program of these instructions; for each, ``spent`` has the slots that it is the last to read."""
    instructions, outputs = tuple(instructions), tuple(outputs)
    last = {arg: i for i, (_, args, _) in enumerate(instructions) for arg in args}
    spent: list[list[int]] = [[] for _ in instructions]
    for arg, i in last.items():
        if arg >= 0 and arg not in outputs:
            spent[i].append(arg)
    return Program(instructions, outputs, tuple(map(tuple, spent)))


def lower(
    exprs: Sequence[sp.Expr], names: Sequence[str], check_head: Callable[[sp.Expr], None], logs: bool = False
) -> Program:
    """The program that computes ``exprs``, or the logarithms of their magnitudes, from the values of ``names``.

    ``check_head`` raises for an application of a function that has no array form.
    """
    lowering = _Lowering(lambda symbol: -1 - names.index(symbol.name), check_head)
    with sp.evaluate(True):
        outputs = [(lowering.log_abs if logs else lowering.slot)(canonical(e)) for e in exprs]
    return assemble(lowering.instructions, outputs)


SMALL_POWER = 16
"""The largest exponent for which a power is computed by a few products; these overflow no sooner than the power
itself."""
NEAR_GAMMAS = 20
"""A quotient of gamma functions whose arguments differ by less than this is one factor, because it is a product of this
few numbers."""

_PLAIN = (
    sp.exp, sp.Abs, sp.sign, sp.Max, sp.Min, sp.gamma, sp.loggamma, sp.Eq, sp.Ne, sp.Lt, sp.Le, sp.Gt, sp.Ge, sp.And,
    sp.Or, sp.Not,
)  # fmt: skip
"""The heads whose arguments are lowered without change."""


class _Lowering:
    """A list of instructions under construction, and the slot of each expression that was lowered."""

    def __init__(
        self,
        leaf: Callable[[sp.Symbol], int],
        check_head: Callable[[sp.Expr], None],
        instructions: dict[Instruction, int] | None = None,
    ) -> None:
        self.leaf, self.check_head = leaf, check_head
        self.instructions = {} if instructions is None else instructions
        self.slots: dict[sp.Basic, int] = {}

    def program(self, outputs: Iterable[sp.Expr]) -> Program:
        slots = tuple(map(self.slot, outputs))
        return assemble(self.instructions, slots)

    def emit(self, head: Any, *args: int, data: Any = None) -> int:
        return self.instructions.setdefault(Instruction(head, args, data), len(self.instructions))

    def slot(self, expr: sp.Basic) -> int:
        """The slot that holds ``expr``, lowered on first use."""
        if expr not in self.slots:
            self.slots[expr] = self._lower(expr)
        return self.slots[expr]

    def operands(self, expr: sp.Expr) -> list[sp.Expr]:
        """The terms of a sum or the factors of a product."""
        return list(expr.args)

    def base(self, expr: sp.Expr) -> tuple[int, bool]:
        """The slot of ``expr``, or of w if it is 1 + w, and which of the two: a number next to 1 keeps its digits in
        w."""
        if expr.is_Add and sp.S.One in expr.args and _power_less_one(expr.args) is None:
            return self.sum([term for term in self.operands(expr) if term != 1]), True
        number = self._number(expr) if expr.is_number and not expr.has(Recursion, Flow) else None
        if number and number[1] is None and 0 < abs(number[0] - 1) < 0.5:
            return self.slot(expr - 1), True
        return self.slot(expr), False

    def log_abs(self, expr: sp.Expr) -> int:
        base, plus_one = self.base(expr)
        return self.emit("log abs", base, data=plus_one)

    def _lower(self, expr: Any) -> int:
        if isinstance(expr, sp.Symbol):
            return self.leaf(expr)
        if isinstance(expr, sp.Expr) and expr.is_number and not expr.has(Recursion, Flow):
            number = self._number(expr)
            if number is not None:
                return self.emit("number", data=number)
        if expr in (sp.true, sp.false):
            return self.emit("truth", data=bool(expr))
        if isinstance(expr, sp.Add):
            return self.sum(self.operands(expr))
        if isinstance(expr, sp.Mul):
            return self._product(self.operands(expr))
        if isinstance(expr, sp.Pow):
            return self._power(expr)
        if isinstance(expr, sp.Piecewise):
            return self._piecewise(expr)
        if isinstance(expr, Recursion):
            return self._recursion(expr)
        if isinstance(expr, Flow):
            return self._flow(expr)
        if isinstance(expr, sp.log):
            base, plus_one = self.base(expr.args[0])
            return self.emit(sp.log, base, data=plus_one)
        if isinstance(expr, sp.Xor | sp.ITE | sp.Implies | sp.Equivalent):
            return self._logic(expr)
        if isinstance(expr, sp.Heaviside):
            x, at_zero = expr.args
            return self.slot(sp.Piecewise((0, x < 0), (at_zero, sp.Eq(x, 0)), (1, True)))
        if isinstance(expr, sp.factorial):
            return self.slot(sp.gamma(expr.args[0] + 1))
        if isinstance(expr, _PLAIN):
            return self.emit(expr.func, *map(self.slot, expr.args))
        return self._call(expr, COLUMNS.get(expr.func, NONE))

    def _call(self, expr: Any, columns: Columns) -> int:
        """A function outside the arithmetic, lowered by its columns."""
        if columns.applied is None:
            self.check_head(expr)
        applied = columns.applied(expr) if columns.applied else (expr.func, expr.args)
        if not isinstance(applied, tuple):
            return self.slot(applied)
        head, operands = applied
        if not columns.near_one:
            return self.emit("call", *map(self.slot, operands), data=head)
        first, plus_one = self.base(operands[0])
        return self.emit(CALLS[plus_one], first, *map(self.slot, operands[1:]), data=head)

    def _logic(self, expr: Any) -> int:
        """A logical function, by the operations and, or, not."""
        both, one, no = (partial(self.emit, head) for head in (sp.And, sp.Or, sp.Not))
        args = list(map(self.slot, expr.args))
        if isinstance(expr, sp.Xor):
            return reduce(lambda x, y: both(one(x, y), no(both(x, y))), args)
        if isinstance(expr, sp.ITE):
            return one(both(args[0], args[1]), both(no(args[0]), args[2]))
        if isinstance(expr, sp.Implies):
            return one(no(args[0]), args[1])
        return one(both(*args), no(one(*args)))

    @staticmethod
    def _number(expr: sp.Expr) -> tuple[float, int | None, float] | None:
        """A constant as (m, k, 0) for m*2**k or as (x, None, rounding error of x); None if SymPy has no number for
        it."""
        if expr in (sp.oo, -sp.oo):
            return float(expr), None, 0.0
        value = expr if expr.is_Rational else expr.evalf(40)
        if value.is_extended_real is False or expr.has(sp.I) or value in (sp.nan, sp.zoo):
            raise ArgumentError(f"A kernel computes real numbers, but the expression holds the constant {expr}.")
        if not isinstance(value, (sp.Float, sp.Integer, sp.Rational)):
            return None
        m, k = mpmath.frexp(mpmath.mpf(value))
        if value == 0 or abs(k) < 1000:
            return (
                float(value),
                None,
                float(value - sp.Float(float(value), 40)) if value.is_Float or value.q > 1 else 0.0,
            )
        return float(m), int(k), 0.0

    def sum(self, terms: list[sp.Expr]) -> int:
        """A sum. If it is next to 1, or is a power minus 1, a form is used that loses no digits where the sum is
        small."""
        power = _power_less_one(terms)
        if power is not None:
            base, plus_one = self.base(power.as_base_exp()[0])
            less_one = self.emit("power minus one", base, self.slot(power.as_base_exp()[1]), data=plus_one)
            return self.emit(sp.Mul, self.slot(-terms[0]), less_one)
        if sp.S.One in terms:
            return self.emit("one plus", self.sum([term for term in terms if term != 1]))
        if len(terms) == 1:
            return self.slot(terms[0])
        return self.emit(sp.Add, *map(self.slot, terms))

    def _product(self, factors: list[sp.Expr]) -> int:
        """A product, in which a quotient of gamma functions at a constant distance is one factor."""
        slots = []
        for under in [1 / factor for factor in factors if isinstance(1 / factor, sp.gamma)]:
            for over in [factor for factor in factors if isinstance(factor, sp.gamma)]:
                (x,), (y,) = under.args, over.args
                step = sp.expand(y - x)
                if step.is_number and abs(step) < NEAR_GAMMAS:
                    positive = bool(x.is_positive and y.is_positive)
                    slots.append(self.emit("gamma ratio", self.slot(x), data=(float(step), positive)))
                    factors = [factor for factor in factors if factor not in (1 / under, over)]
                    break
        constant = sp.Mul(*(factor for factor in factors if factor.is_number))
        moving = [self.slot(factor) for factor in factors if not factor.is_number]
        if constant != 1 or not moving + slots:
            moving.append(self.slot(constant))
        return self.emit(sp.Mul, *slots, *moving) if len(slots + moving) > 1 else (slots + moving)[0]

    def _power(self, expr: sp.Pow) -> int:
        base, exponent = expr.args
        inverse = COLUMNS.get(base.func, NONE).inverse
        if inverse is not None and exponent.could_extract_minus_sign():
            return self.slot(inverse(base) ** -exponent)
        if exponent.is_number and abs(exponent) <= SMALL_POWER:
            return self.emit("number power", self.slot(base), data=float(exponent))
        positive = bool(base.is_positive and exponent.is_finite)
        slot, plus_one = self.base(base)
        return self.emit(sp.Pow, slot, self.slot(exponent), data=(positive, plus_one))

    def _piecewise(self, expr: sp.Piecewise) -> int:
        """Each branch reads its symbols through a guard, so that elements to which it does not apply give no
        gradient."""
        args: list[int] = []
        taken: int | None = None
        for value, condition in expr.args:
            holds = self.slot(condition)
            live = holds if taken is None else self.emit(sp.And, holds, self.emit(sp.Not, taken))
            args += [live, _Branch(self, live).slot(value)]
            taken = holds if taken is None else self.emit(sp.Or, taken, holds)
        return self.emit(sp.Piecewise, *args)

    def _recursion(self, expr: Recursion) -> int:
        depth, variables, updates, start, variable = expr.args
        body = _Body(self, tuple(variables))
        program = body.program(updates)
        operands = [depth, *start]
        loop = self.emit(Recursion, *map(self.slot, operands), *body.fixed, data=(program, len(variables), str(depth)))
        return self.emit("component", loop, data=list(variables).index(variable))

    def _flow(self, expr: Flow) -> int:
        """The right-hand side is lowered once; for a positive variable it is the rate of the logarithm."""
        time, variables, rates, start, variable = expr.args
        body = _Body(self, tuple(variables))
        program = body.program(rate / z if z.is_positive else rate for z, rate in zip(variables, rates))
        positive = tuple(bool(z.is_positive) for z in variables)
        solved = self.emit(Flow, *map(self.slot, [time, *start]), *body.fixed, data=(program, positive))
        return self.emit("component", solved, data=list(variables).index(variable))


def _power_less_one(terms: Sequence[sp.Expr]) -> sp.Expr | None:
    """The power in the sum c - c*power, which is small where the power is next to 1."""
    if len(terms) == 2 and terms[0].is_Rational:
        power = -terms[1] / terms[0]
        if isinstance(power, (sp.Pow, sp.exp)) and not power.as_base_exp()[1].is_Integer:
            return power
    return None


class _Branch(_Lowering):
    """One branch of a Piecewise, within the instructions around it."""

    def __init__(self, outer: _Lowering, live: int) -> None:
        def guarded(symbol: sp.Symbol) -> int:
            return outer.emit("guard", outer.slot(symbol), live)

        super().__init__(guarded, outer.check_head, outer.instructions)


class _Body(_Lowering):
    """One step of a recursion. Subexpressions that do not depend on the state are computed once, outside, and are
    inputs."""

    def __init__(self, outer: _Lowering, state: tuple[sp.Symbol, ...]) -> None:
        super().__init__(lambda symbol: -1 - state.index(symbol), outer.check_head)
        self.outer, self.state = outer, state
        self.fixed: dict[int, int] = {}
        self._moving: dict[sp.Basic, bool] = {}

    def slot(self, expr: sp.Basic) -> int:
        if isinstance(expr, sp.Expr) and not self._moves(expr):
            return self.fixed.setdefault(self.outer.slot(expr), -1 - len(self.state) - len(self.fixed))
        return super().slot(expr)

    def operands(self, expr: sp.Expr) -> list[sp.Expr]:
        fixed = [arg for arg in expr.args if not self._moves(arg)]
        return [*([expr.func(*fixed)] if fixed else []), *filter(self._moves, expr.args)]

    def _moves(self, expr: sp.Basic) -> bool:
        """Whether an expression depends on the state. Each subexpression is looked at once: SymPy would go through all
        of it again at every level."""
        if expr not in self._moving:
            whole = type(expr).free_symbols is not sp.Basic.free_symbols  # a symbol, or what binds symbols
            self._moving[expr] = (
                bool(expr.free_symbols & set(self.state)) if whole else any(map(self._moves, expr.args))
            )
        return self._moving[expr]
