"""The C source of a stage.

A power over depth is accurate to its last digit if its base and exponent are exact functions of the arguments. Its
logarithm is carried as a pair of numbers (``dd`` in native.h), because an exponential turns an absolute error into a
relative one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import accumulate
from pathlib import Path
from typing import ClassVar

from advmf.emit.engine.grid import Bounds, Stage
from advmf.emit.engine.plain import Op

PLAIN = {
    "add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "div": "{0} / {1}", "neg": "-{0}", "inv": "1.0 / {0}",
    "sqrt": "sqrt({0})", "abs": "fabs({0})", "max": "{0} > {1} ? {0} : {1}", "min": "{0} < {1} ? {0} : {1}",
    "sign": "({0} > 0.0 ? 1.0 : 0.0) - ({0} < 0.0 ? 1.0 : 0.0)", "select": "{0} ? {1} : {2}",
    "ln": "ln({0}, &far)", "ln1p": "ln1p({0}, &far)", "exp": "expo({0}, &far)", "expm1": "expo_minus_one({0}, &far)",
    "lgamma": "ln_gamma({0}, &far)", "fma": "fma({0}, {1}, {2})", "fms": "fma({0}, {1}, -{2})", "fnma": "fma(-{0}, {1}, {2})",
}  # fmt: skip
TESTS = {
    "lt": "{0} < {1}", "le": "{0} <= {1}", "gt": "{0} > {1}", "ge": "{0} >= {1}", "eq": "{0} == {1}", "ne": "{0} != {1}",
    "and": "{0} & {1}", "or": "{0} | {1}", "not": "!{0}",
}  # fmt: skip
PAIRED = {
    "add": ("two_sum({0}, {1})", "dd_plus({0}, {1})", "dd_add({0}, {1})"),
    "mul": ("two_prod({0}, {1})", "dd_times({0}, {1})", "dd_mul({0}, {1})"),
    "neg": ("pair(-{0})", "dd_neg({0})"),
    "ln": ("dd_ln(pair({0}), &far)", "dd_ln({0}, &far)"),
    "ln1p": ("dd_ln1p(pair({0}), &far)", "dd_ln1p({0}, &far)"),
    "exp": ("expo({0}, &far)", "dd_exp({0}, &far)"),
    "expm1": ("expo_minus_one({0}, &far)", "dd_expm1({0}, &far)"),
}
"""The C forms of an operation with none, one and two operands that are pairs; a pair comes first."""
COSTS = {"ln": 36, "ln1p": 45, "exp": 24, "expm1": 34, "lgamma": 110, "div": 16, "inv": 16, "sqrt": 24}
"""The approximate cost of an operation in processor operations, where it is more than one. A division is a single
operation that takes this long."""
LOOP = 140
"""The most operations of one loop. With up to this many a processor works on several elements at once; with more it
waits for each result in turn."""


CONSTANT = ("const", "truth")


def supported(stage: Stage) -> bool:
    """Whether all operations of a stage have a C form."""
    return all(stage.ops[i].name in {*PLAIN, *TESTS, *CONSTANT} for i in stage.order)


def pairs(stage: Stage, bounds: Bounds) -> set[int]:
    """The operations to carry as pairs: those that lead from inputs to an exponential by operations that can be exact.

    A single rounded operand, or one that may be infinite, would make the remainder worthless.
    """
    ops, exact = stage.ops, {"add", "sub", "mul", "neg", "ln", "ln1p"}
    given = {stage.inputs[j] for j, (_, high) in bounds.items() if high < math.inf}
    sharp = set(given)
    for i in stage.order:
        if ops[i].name == "const" or (ops[i].name in exact and sharp.issuperset(ops[i].args)):
            sharp.add(i)
    wanted = {arg for i in stage.order if ops[i].name in ("exp", "expm1") for arg in ops[i].args}
    for i in reversed(stage.order):
        if i in wanted and i in sharp:
            wanted.update(ops[i].args)
    chosen: set[int] = set()
    for i in stage.order:
        name, args, data, _ = ops[i]
        if i not in wanted or i not in sharp:
            continue
        if name == "const":
            chosen.update([i] if data[1] else [])
        elif not (name == "mul" and any(map(partial(_power_of_two, ops), args)) and not chosen.intersection(args)):
            chosen.add(i)
    return chosen


def _power_of_two(ops: Sequence[Op], i: int) -> bool:
    return ops[i].name == "const" and math.frexp(ops[i].data[0])[0] in (0.5, -0.5) and not ops[i].data[1]


def source(stage: Stage, bounds: Bounds) -> str:
    """The C source of a stage whose inputs must lie within bounds."""
    return Writer(stage, bounds).source()


def operations(stage: Stage) -> int:
    """The approximate number of processor operations that a stage takes per element."""
    return sum(COSTS.get(stage.ops[i].name, 1) for i in stage.order)


class Writer:
    """Writes a stage as loops of bounded length. Results that later loops use are passed on in rows, one for all
    elements of a block."""

    forms: ClassVar[Mapping[str, str]] = PLAIN
    """The C form of each operation on ordinary numbers."""

    def __init__(self, stage: Stage, bounds: Bounds) -> None:
        self.stage, self.paired = stage, pairs(stage, bounds)
        self.ops, self.order = _fused(stage, self.paired)
        self.distances = list(_distances({f"x{j}": each for j, each in bounds.items()}))
        self.names = {i: f"x{j}" for j, i in enumerate(stage.inputs)} | {i: f"t{j}" for j, i in enumerate(self.order)}
        self.kinds = {
            i: "int" if self.ops[i].name in (*TESTS, "truth") else "dd" if i in self.paired else "double"
            for i in self.order
        }

    def source(self) -> str:
        limits = {"farthest": "FAR"} | {f"distance{i}": limit for i, (_, limit) in enumerate(self.distances)}
        heads = [f"const double *restrict in{j} = in[{j}];" for j in range(len(self.stage.inputs))]
        heads += [f"double *restrict out{j} = out[{j}];" for j in range(len(self.stage.outputs))]
        loops = self.loops()
        body = ""
        for part, here in enumerate(loops):
            later = {arg for other in loops[part + 1 :] for i in other for arg in self.ops[i].args}
            statements = "\n        ".join(self.statements(here, later, first=not part))
            for i in filter(later.__contains__, here):
                heads += [f"{'int' if self.kinds[i] == 'int' else 'double'} {row}[BLOCK];" for row, _ in self.rows(i)]
            body += f"""
    #pragma omp simd reduction(max:{"farthest" if part else ", ".join(limits)})
    for (long i = 0; i < n; i++) {{
        {statements}
    }}"""
        return f"""{text("native.h")}
enum {{ INPUTS = {len(self.stage.inputs)}, OUTPUTS = {len(self.stage.outputs)} }};
static __attribute__((noinline)) int block(long n, const double *const *in, double *const *out) {{
    {" ".join(heads)}
    uint64_t {" = 0, ".join(limits)} = 0;{body}
    return {" && ".join(f"{each} <= {limit}" for each, limit in limits.items())};
}}
{text("native.c")}"""

    def loops(self) -> list[list[int]]:
        """The operations of each loop, constants excluded. Loops have similar lengths, and few results to pass from one
        to the next."""
        steps = self.steps()
        reached = list(accumulate(map(self.cost, steps)))
        count = max(1, round(reached[-1] / LOOP)) if steps else 1
        place = {i: at for at, i in enumerate(steps)}
        last = {arg: place[i] for i in steps for arg in self.ops[i].args}

        def passed(cut: int) -> int:
            return sum(1 + (i in self.paired) for i in steps[:cut] if last.get(i, -1) >= cut)

        cuts = [0]
        for part in range(1, count):
            near = [at + 1 for at, cost in enumerate(reached) if abs(cost / reached[-1] * count - part) <= 0.3]
            cuts += [min(near, key=passed)] if near and near[0] > cuts[-1] else []
        return [steps[a:b] for a, b in zip(cuts, [*cuts[1:], None])]

    def cost(self, i: int) -> int:
        return COSTS.get(self.ops[i].name, 5 if i in self.paired else 1)

    def steps(self) -> list[int]:
        """The operations except constants, each placed where it is first needed."""
        found: dict[int, None] = {}
        todo = [(i, False) for i in reversed(self.stage.outputs)]
        while todo:
            i, ready = todo.pop()
            if ready:
                found[i] = None
            elif i not in found and not self.given(i):
                todo += [(i, True), *((arg, False) for arg in reversed(self.ops[i].args))]
        return list(found)

    def statements(self, here: list[int], later: set[int], first: bool) -> Iterator[str]:
        """The body of a loop: inputs and constants, results of earlier loops, the operations, and results for later
        loops."""
        outputs = [(j, i) for j, i in enumerate(self.stage.outputs) if i in here or (first and self.given(i))]
        needed = {arg for i in here for arg in self.ops[i].args} | {i for _, i in outputs}
        for j, i in enumerate(self.stage.inputs):
            if first or i in needed:
                yield f"const double x{j} = in{j}[i];"
        for i in sorted(needed - set(here) - set(self.stage.inputs)):
            left = ", ".join(f"{row}[i]" for row, _ in self.rows(i))
            value = self.value(i) if self.given(i) else f"{{{left}}}" if i in self.paired else left
            yield f"const {self.kinds[i]} {self.names[i]} = {value};"
        yield "uint64_t far = 0;"
        for i in here:
            yield f"const {self.kinds[i]} {self.names[i]} = {self.value(i)};"
            if i in later:
                yield from (f"{row}[i] = {self.names[i]}{member};" for row, member in self.rows(i))
        yield "farthest = larger(farthest, far);"
        yield from (f"out{j}[i] = {self.double(i)};" for j, i in outputs)
        for group, (texts, _) in enumerate(self.distances if first else ()):
            yield from (f"distance{group} = larger(distance{group}, {text});" for text in texts)

    def rows(self, i: int) -> list[tuple[str, str]]:
        """The rows that pass on an operation's result, each with the member of a pair that it holds."""
        return [
            (f"{self.names[i]}_{member}", f".{member}" if member else "")
            for member in ("hl" if i in self.paired else [""])
        ]

    def given(self, i: int) -> bool:
        return self.ops[i].name in CONSTANT or i in self.stage.inputs

    def double(self, i: int) -> str:
        return f"{self.names[i]}.h" if i in self.paired else self.names[i]

    def truth(self, i: int) -> str:
        return f"({self.names[i]} != 0.0)" if i in self.stage.inputs else self.names[i]

    def value(self, i: int) -> str:
        """An operation in C."""
        verb, args, data, _ = self.ops[i]
        if verb == "const":
            return f"{{{_c(data[0])}, {_c(data[1])}}}" if i in self.paired else _c(data[0])
        if verb == "truth":
            return str(int(data))
        if verb in TESTS:
            return TESTS[verb].format(*map(self.truth if verb in ("and", "or", "not") else self.double, args))
        if i in self.paired or (verb in ("exp", "expm1") and args[0] in self.paired):
            return self.pair(verb, args)
        first = self.truth(args[0]) if verb == "select" else self.double(args[0])
        return self.forms[verb].format(first, *map(self.double, args[1:]))

    def pair(self, verb: str, args: Sequence[int]) -> str:
        """An operation on pairs in C."""
        if verb == "mul" and (scale := [arg for arg in args if _power_of_two(self.ops, arg)]):
            (other,) = [arg for arg in args if arg != scale[0]] or scale
            return f"dd_scale({self.names[other]}, {self.names[scale[0]]})"
        both = [(arg in self.paired, self.names[arg]) for arg in args]
        if verb == "sub":
            verb, (pair, text) = "add", both[1]
            both[1] = (pair, f"dd_neg({text})" if pair else f"-{text}")
        both.sort(key=lambda operand: not operand[0])
        return PAIRED[verb][sum(pair for pair, _ in both)].format(*(text for _, text in both))


def _fused(stage: Stage, paired: set[int]) -> tuple[list[Op], list[int]]:
    """The operations, with each product that is used once, in a sum, fused with that sum; and the indices of those that
    remain."""
    ops, gone = list(stage.ops), set[int]()
    uses = Counter(arg for i in stage.order for arg in ops[i].args) + Counter(stage.outputs)
    for i in stage.order:
        name, args, _, axes = ops[i]
        if name not in ("add", "sub") or i in paired:
            continue
        for at in (0, 1):
            product, other = args[at], args[1 - at]
            once = ops[product].name == "mul" and uses[product] == 1 and product in stage.order
            if once and not paired.intersection((product, other)):
                verb = "fma" if name == "add" else ("fms", "fnma")[at]
                ops[i] = Op(verb, (*ops[product].args, other), None, axes)
                gone.add(product)
                break
    return ops, [i for i in stage.order if i not in gone]


def _distances(bounds: Mapping[str, tuple[float, float]]) -> Iterator[tuple[list[str], str]]:
    """The distance of arguments with the same bounds from the lower bound, and the largest distance allowed, in units
    of the last place. Read as integers, the bits of positive floats keep their order, and those of negative ones and of
    NaN lie above."""
    for low, high in dict.fromkeys(bounds.values()):
        same = [name for name, each in bounds.items() if each == (low, high)]
        if low > 0:
            yield [f"word({x}) - word({_c(low)})" for x in same], f"word({_c(high)}) - word({_c(low)})"
        elif low in (0, -high):
            turn = "fabs({})" if low else "{} + 0.0"  # turns -0 into 0
            yield [f"word({turn.format(x)})" for x in same], f"word({_c(high)})"
        else:
            yield [f"{x} >= {_c(low)} && {x} <= {_c(high)} ? 0 : 1" for x in same], "0"


def _c(value: float) -> str:
    if math.isfinite(value):
        return float(value).hex()
    return "NAN" if value != value else "INFINITY" if value > 0 else "-INFINITY"


@cache
def text(name: str) -> str:
    """A C file of this directory."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
