"""A program in ordinary floating-point numbers: the elementary operations that NumPy and native code print.

Powers, exponentials and gamma functions are taken in the log domain: a product of powers is one exponential of a sum.
Where plain numbers do not suffice (overflow, a base that is not positive), an operation raises IEEE's flags or reports
it explicitly. These elements are computed again in the arithmetic of :mod:`advmf.emit.engine.scaled`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any, NamedTuple

import mpmath
import sympy as sp

from advmf.emit.engine.lower import Program
from advmf.functions.columns import COLUMNS, NONE


class Op(NamedTuple):
    """The operation ``name`` on the results of the operations ``args``; the bit mask ``axes`` has the axes over which
    it varies."""

    name: str
    args: tuple[int, ...]
    data: Any
    axes: int


COMPARISONS = {sp.Lt: "lt", sp.Le: "le", sp.Gt: "gt", sp.Ge: "ge", sp.Eq: "eq", sp.Ne: "ne"}
_DIRECT = {**COMPARISONS, sp.Abs: "abs", sp.sign: "sign", sp.Not: "not"}
_FOLDED = {sp.Max: "max", sp.Min: "min", sp.And: "and", sp.Or: "or"}


class Plain:
    """The operations that compute the outputs of a program from inputs that vary over the given axes.

    ``elementwise`` says which functions of the backend may be called on parts of arrays. All others, and operations
    that share work between elements, become operations ``"whole"``. These are computed in advance, and their datum is
    their slot in the program. ``truth`` gives the value of a condition that depends on no axis, so that only the branch
    needed is computed.
    """

    def __init__(
        self, program: Program, axes: Sequence[int], elementwise: Callable[[Any], bool], truth: Callable[[int], bool]
    ) -> None:
        self.program, self.input_axes, self.elementwise, self.truth = program, axes, elementwise, truth
        self.ops: list[Op] = []
        self.found: dict[Op, int] = {}
        self.values: dict[int, int] = {}
        self.logs: dict[int, int] = {}
        self.shared: set[int] = set()
        self.slot_axes: list[int] = []
        self.uses = Counter(arg for _, args, _ in program.instructions for arg in args)
        for _, args, _ in program.instructions:
            self.slot_axes.append(reduce(int.__or__, map(self.axes, args), 0))
        self.outputs = tuple(map(self.value, program.outputs))

    def axes(self, slot: int) -> int:
        return self.input_axes[-1 - slot] if slot < 0 else self.slot_axes[slot]

    def op(self, name: str, *args: int, data: Any = None, axes: int | None = None) -> int:
        spread = reduce(int.__or__, (self.ops[arg].axes for arg in args), 0) if axes is None else axes
        simpler = self.simpler(name, args, spread)
        if simpler is not None:
            return simpler
        new = Op(name, args, data, spread)
        if new not in self.found:
            self.found[new] = len(self.ops)
            self.ops.append(new)
        return self.found[new]

    def simpler(self, name: str, args: Sequence[int], axes: int) -> int | None:
        """Simplifications that save an operation: minus for a product with -1, and one root of a quotient for two roots
        over the same axes."""
        ops = [self.ops[arg] for arg in args]
        if name == "mul" and ops[0].name == "const" and ops[0].data == (-1.0, 0.0):
            return self.op("neg", args[1])
        if name == "div" and ops[0].name == ops[1].name == "sqrt" and ops[0].axes == ops[1].axes == axes:
            return self.op("sqrt", self.op("div", *ops[0].args, *ops[1].args))
        if name == "neg" and ops[0].name == "neg":
            return ops[0].args[0]
        if name == "neg" and ops[0].name == "sub":
            return self.op("sub", *ops[0].args[::-1])
        return None

    def const(self, value: float, low: float = 0.0) -> int:
        return self.op("const", data=(float(value), float(low)))

    def fold(self, name: str, args: Sequence[int]) -> int:
        """The operation on many operands; those over the fewest axes come first, so that little is computed at full
        size."""
        union = reduce(int.__or__, (self.ops[arg].axes for arg in args), 0)
        inverted: list[int] = []
        rest: list[int] = []
        for arg in args:
            undo = self.ops[arg].name == {"add": "neg", "mul": "inv"}.get(name) and self.ops[arg].axes == union
            undo = undo and arg not in self.shared
            (inverted if undo else rest).append(self.ops[arg].args[0] if undo else arg)
        if inverted and rest:
            return self.op({"add": "sub", "mul": "div"}[name], self.fold(name, rest), self.fold(name, inverted))
        ordered = sorted(args, key=lambda arg: (self.ops[arg].axes.bit_count(), self.ops[arg].axes, arg))
        return reduce(lambda x, y: self.op(name, x, y), ordered)

    def select(self, condition: int, x: int, y: int) -> int:
        return self.op("select", condition, x, y)

    def value(self, slot: int) -> int:
        """The operation that computes a slot of the program."""
        if slot not in self.values:
            self.values[slot] = self._value(slot)
            if self.uses[slot] > 1:
                self.shared.add(self.values[slot])
        return self.values[slot]

    def _value(self, slot: int) -> int:
        if slot < 0:
            return self.op("input", data=-1 - slot, axes=self.axes(slot))
        head, args, data = self.program.instructions[slot]
        if head in _DIRECT:
            return self.op(_DIRECT[head], *map(self.value, args))
        if head in _FOLDED:
            return self.fold(_FOLDED[head], list(map(self.value, args)))
        rule = _RULES.get(head)
        result = rule(self, slot, args, data) if rule else None
        return self.op("whole", data=slot, axes=self.axes(slot)) if result is None else result

    def log(self, slot: int) -> int:
        """The operation that computes the logarithm of a slot; a power or a gamma function is not computed itself for
        that."""
        if slot not in self.logs:
            self.logs[slot] = self._log(slot)
        return self.logs[slot]

    def _log(self, slot: int) -> int:
        if slot >= 0:
            head, args, data = self.program.instructions[slot]
            if head is sp.Pow:
                return self.op("mul", self.value(args[1]), self.base(args[0], data[1]))
            if head is sp.exp:
                return self.value(args[0])
            if head is sp.gamma:
                return self.op("lgamma", self.value(args[0]))
            if head == "gamma ratio":
                quotient, rest = self.gamma_ratio(args[0], data[0])
                return self.op("add", self.op("ln", quotient), rest)
            if head == "number power" and self.is_power(args[0]):
                return self.op("mul", self.const(data), self.log(args[0]))
            if head is sp.Mul and self.is_power(slot) and not any(map(self.negative, args)):
                return self.fold("add", list(map(self.log, args)))
            if head == "number" and data[0] > 0 and data[1] is None:
                exact = mpmath.log(mpmath.mpf(data[0]))
                return self.const(float(exact), float(exact - float(exact)))
        return self.op("ln", self.value(slot))

    def base(self, slot: int, plus_one: bool) -> int:
        """The logarithm of 1 + w, or of the slot itself."""
        return self.op("ln1p", self.value(slot)) if plus_one else self.log(slot)

    def is_power(self, slot: int) -> bool:
        """Whether a slot is an exponential, so that its logarithm is more accurate than its value."""
        if slot < 0:
            return False
        head, args, _ = self.program.instructions[slot]
        if head in (sp.Mul, "number power"):
            return any(map(self.is_power, args))
        return head in (sp.Pow, sp.exp, sp.gamma)

    def negative(self, slot: int) -> bool:
        if slot < 0:
            return False
        head, _, data = self.program.instructions[slot]
        return bool(head == "number" and data[0] <= 0)

    def gamma_ratio(self, slot: int, step: float) -> tuple[int, int]:
        """Q and S of Gamma(x + h)/Gamma(x) = Q exp(S). Q is a quotient of products that leads from x to x + 8 where x
        is small, and S the difference of two Stirling series."""
        x, h, one = self.value(slot), self.const(step), self.const(1.0)
        start = max(1.0, 1.0 - step)
        near = self.op("lt", x, self.const(8.0 + start))
        low = self.select(near, x, self.const(8.0 + start))
        y = self.select(near, self.op("add", x, self.const(8.0)), x)
        end = self.op("add", y, h)
        products = []
        for first in (low, self.op("add", low, h)):
            # x (x + 7), and so on: the sum of both factors is the same in every pair.
            a = self.op("mul", first, self.op("add", first, self.const(7.0)))
            products.append(self.fold("mul", [a, *(self.op("add", a, self.const(c)) for c in (6.0, 10.0, 12.0))]))
        terms = [
            self.op("mul", h, self.op("ln", y)),
            self.op("mul", self.op("add", end, self.const(-0.5)), self.op("ln1p", self.op("div", h, y))),
            self.op("sub", self._stirling(end), self._stirling(y)), self.const(-step),
        ]  # fmt: skip
        return self.select(near, self.op("div", *products), one), self.fold("add", terms)

    def _stirling(self, x: int) -> int:
        """ln Gamma(x) - (x - 1/2) ln x + x - ln sqrt(2 pi) for x >= 8."""
        v = self.op("inv", x)
        i = self.op("mul", v, v)
        total = self.const(0.0)
        for k in range(8, 0, -1):
            c = sp.bernoulli(2 * k) / (2 * k * (2 * k - 1))
            total = self.op("add", self.const(float(c)), self.op("mul", i, total)) if k < 8 else self.const(float(c))
        return self.op("mul", v, total)

    def power(self, x: int, exponent: float) -> int | None:
        """x**exponent for a small whole or half-integer exponent."""
        whole = int(abs(exponent))
        if 2 * exponent != int(2 * exponent):
            return None
        factors = [self.op("sqrt", x)] if whole != abs(exponent) else []
        square = x
        while whole:
            if whole & 1:
                factors.append(square)
            square, whole = self.op("mul", square, square) if whole > 1 else square, whole >> 1
        result = self.fold("mul", factors) if factors else self.const(1.0)
        return self.op("inv", result) if exponent < 0 else result


def _number(a: Plain, slot: int, args: Any, data: Any) -> int | None:
    return a.const(data[0], data[2]) if data[1] is None else None


def _product(a: Plain, slot: int, args: Any, _: Any) -> int:
    """Powers over the same axes are one exponential of a sum; the other factors are multiplied."""
    powers: dict[int, list[int]] = {}
    others = []
    for arg in args:
        if a.is_power(arg):
            powers.setdefault(a.axes(arg), []).append(arg)
        else:
            others.append(a.value(arg))
    return a.fold("mul", others + [a.op("exp", a.fold("add", list(map(a.log, group)))) for group in powers.values()])


def _gamma_quotient(a: Plain, slot: int, args: Any, data: Any) -> int:
    quotient, rest = a.gamma_ratio(args[0], data[0])
    return a.op("mul", quotient, a.op("exp", rest))


def _number_power(a: Plain, slot: int, args: Any, exponent: float) -> int | None:
    if a.is_power(args[0]):
        return a.op("exp", a.log(slot))
    direct = a.power(a.value(args[0]), exponent)
    return a.op("exp", a.op("mul", a.const(exponent), a.log(args[0]))) if direct is None else direct


def _log_abs(a: Plain, slot: int, args: Any, plus_one: bool) -> int:
    if plus_one or a.is_power(args[0]):
        return a.base(args[0], plus_one)
    return a.op("ln", a.op("abs", a.value(args[0])))


def _piecewise(a: Plain, slot: int, args: Any, _: Any) -> int:
    """The conditions exclude each other; one that depends on no axis is decided at once."""
    out = a.const(float("nan"))
    for live, value in reversed(list(zip(args[::2], args[1::2]))):
        if a.axes(live):
            out = a.select(a.value(live), a.value(value), out)
        elif a.truth(live):
            return a.value(value)
    return out


def _call(a: Plain, slot: int, args: Any, head: Any, plus_one: bool = False) -> int | None:
    columns = COLUMNS.get(head, NONE)
    if columns.plain is not None:
        return columns.plain(a, *args, **({"plus_one": plus_one} if columns.near_one else {}))
    return a.op("call", *map(a.value, args), data=head) if a.elementwise(head) and not plus_one else None


_RULES: dict[Any, Callable[[Plain, int, Any, Any], int | None]] = {
    "number": _number,
    "truth": lambda a, slot, args, data: a.op("truth", data=bool(data)),
    "guard": lambda a, slot, args, data: a.value(args[0]),
    "call": _call,
    "call near one": partial(_call, plus_one=True),
    "one plus": lambda a, slot, args, data: a.op("add", a.const(1.0), a.value(args[0])),
    "log abs": _log_abs,
    "number power": _number_power,
    "power minus one": lambda a, slot, args, plus_one: a.op("expm1", a.op("mul", a.value(args[1]), a.base(args[0], plus_one))),
    "gamma ratio": _gamma_quotient,
    sp.Add: lambda a, slot, args, data: a.fold("add", list(map(a.value, args))),
    sp.Mul: _product,
    sp.Pow: lambda a, slot, args, data: a.op("exp", a.log(slot)),
    sp.exp: lambda a, slot, args, data: a.op("exp", a.log(slot)),
    sp.gamma: lambda a, slot, args, data: a.op("exp", a.log(slot)),
    sp.log: lambda a, slot, args, plus_one: a.base(args[0], plus_one),
    sp.Piecewise: _piecewise,
}  # fmt: skip
