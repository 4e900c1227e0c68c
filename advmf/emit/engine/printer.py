"""The C source of a stage.

A power over depth whose base and exponent are exact functions of the arguments keeps its last digit: its logarithm is carried as a pair of
numbers (``dd`` in native.h), for an exponential turns an absolute error into a relative one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from sys import float_info

from advmf.emit.engine.grid import Bounds, Stage
from advmf.emit.engine.plain import Op

PLAIN = {
    "add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "div": "{0} / {1}", "neg": "-{0}", "inv": "1.0 / {0}",
    "sqrt": "sqrt({0})", "abs": "fabs({0})", "max": "{0} >= {1} ? {0} : {1}", "min": "{0} <= {1} ? {0} : {1}",
    "sign": "({0} > 0.0 ? 1.0 : 0.0) - ({0} < 0.0 ? 1.0 : 0.0)", "select": "{0} ? {1} : {2}",
    "ln": "ln({0}, &bad)", "ln1p": "ln1p({0}, &bad)", "exp": "expo({0}, &bad)", "expm1": "expo_minus_one({0}, &bad)",
    "lgamma": "ln_gamma({0}, &bad)",
}  # fmt: skip
TESTS = {
    "lt": "{0} < {1}", "le": "{0} <= {1}", "gt": "{0} > {1}", "ge": "{0} >= {1}", "eq": "{0} == {1}", "ne": "{0} != {1}",
    "and": "{0} & {1}", "or": "{0} | {1}", "not": "!{0}",
}  # fmt: skip
PAIRED = {
    "add": ("two_sum({0}, {1})", "dd_plus({0}, {1})", "dd_add({0}, {1})"),
    "mul": ("two_prod({0}, {1})", "dd_times({0}, {1})", "dd_mul({0}, {1})"),
    "neg": ("pair(-{0})", "dd_neg({0})"),
    "ln": ("dd_ln(pair({0}), &bad)", "dd_ln({0}, &bad)"),
    "ln1p": ("dd_ln1p(pair({0}), &bad)", "dd_ln1p({0}, &bad)"),
    "exp": ("expo({0}, &bad)", "dd_exp({0}, &bad)"),
    "expm1": ("expo_minus_one({0}, &bad)", "dd_expm1({0}, &bad)"),
}
"""The forms of an operation for none, one and two operands that are pairs; a pair comes first."""


def supported(stage: Stage) -> bool:
    """Whether all operations of a stage have a C form."""
    return all(stage.ops[i].name in {*PLAIN, *TESTS, "const", "truth"} for i in stage.order)


def pairs(stage: Stage, bounds: Bounds) -> set[int]:
    """The operations to carry as pairs: what is computed of inputs, for an exponential, by operations that can be exact.

    One rounded operand, or one that may be infinite, would make the remainder worthless.
    """
    ops, exact = stage.ops, {"add", "sub", "mul", "neg", "ln", "ln1p"}
    given = {i for i, (_, high) in zip(stage.inputs, bounds) if ops[i].name == "input" and high < math.inf}
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
    """The C source of a stage whose inputs are to lie within bounds."""
    ops, order, paired = stage.ops, stage.order, pairs(stage, bounds)
    name = {i: f"x{j}" for j, i in enumerate(stage.inputs)} | {i: f"t{j}" for j, i in enumerate(order)}

    def double(i: int) -> str:
        return f"{name[i]}.h" if i in paired else name[i]

    def truth(i: int) -> str:
        return f"({name[i]} != 0.0)" if i in stage.inputs else name[i]

    def value(i: int) -> str:
        verb, args, data, _ = ops[i]
        if verb == "const":
            return f"{{{_c(data[0])}, {_c(data[1])}}}" if i in paired else _c(data[0])
        if verb == "truth":
            return str(int(data))
        if verb in TESTS:
            return TESTS[verb].format(*map(truth if verb in ("and", "or", "not") else double, args))
        if i in paired or (verb in ("exp", "expm1") and args[0] in paired):
            if verb == "mul" and (scale := [arg for arg in args if _power_of_two(ops, arg)]):
                (other,) = [arg for arg in args if arg != scale[0]] or scale
                return f"dd_scale({name[other]}, {name[scale[0]]})"
            if verb == "sub":
                minus = f"dd_neg({name[args[1]]})" if args[1] in paired else f"-{name[args[1]]}"
                both = [(args[0] in paired, name[args[0]]), (args[1] in paired, minus)]
                verb = "add"
            else:
                both = [(arg in paired, name[arg]) for arg in args]
            both.sort(key=lambda operand: not operand[0])
            return PAIRED[verb][sum(pair for pair, _ in both)].format(*(text for _, text in both))
        first = truth(args[0]) if verb == "select" else double(args[0])
        return PLAIN[verb].format(first, *map(double, args[1:]))

    lines = [f"const double x{j} = in{j}[i];" for j in range(len(stage.inputs))]
    lines += ["double bad = 0.0, least = 0.0;", *_within(bounds)]
    for i in order:
        kind = "int" if ops[i].name in (*TESTS, "truth") else "dd" if i in paired else "double"
        lines.append(f"const {kind} {name[i]} = {value(i)};")
    lines += [f"out{j}[i] = {double(i)} + bad;" for j, i in enumerate(stage.outputs)] + ["alarm += bad;"]
    heads = [f"const double *restrict in{j} = in[{j}];" for j in range(len(stage.inputs))]
    heads += [f"double *restrict out{j} = out[{j}];" for j in range(len(stage.outputs))]
    body = "\n        ".join(lines)
    return f"""{_text("native.h")}
enum {{ INPUTS = {len(stage.inputs)}, OUTPUTS = {len(stage.outputs)} }};
static __attribute__((noinline)) int block(long n, const double *const *in, double *const *out) {{
    {" ".join(heads)}
    double alarm = 0.0;
    #pragma omp simd reduction(+:alarm)
    for (long i = 0; i < n; i++) {{
        {body}
    }}
    return alarm == alarm;
}}
{_text("native.c")}"""


def _within(bounds: Bounds) -> Iterator[str]:
    """Make ``bad`` NaN where an input leaves its bounds: the least distance to them is negative, or zero times the input is no zero."""
    largest, one_sided = float_info.max, False
    for j, (low, high) in enumerate(bounds):
        if high == math.inf and low > -math.inf:
            yield f"bad = x{j} >= {_c(low)} ? bad : NAN;"
        elif (low, high) != (-math.inf, math.inf):
            distances = ([f"x{j} - {_c(low)}"] if low > -largest else []) + (
                [f"{_c(high)} - x{j}"] if high < largest else []
            )
            for distance in distances:
                yield f"{{ double room = {distance}; least = room < least ? room : least; }}"
            yield f"bad = fma(x{j}, 0.0, bad);"
            one_sided = True
    if one_sided:
        yield "bad = least >= 0.0 ? bad : NAN;"


def _c(value: float) -> str:
    if math.isfinite(value):
        return float(value).hex()
    return "NAN" if value != value else "INFINITY" if value > 0 else "-INFINITY"


@cache
def _text(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
