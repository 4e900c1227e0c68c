"""The C source of a stage.

A value that a logarithm or an exponential needs to more than double precision is a pair of numbers (``dd`` in native.h), so that a power over
depth keeps its last digit.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

from advmf.emit.grid import Bounds, Stage

PLAIN = {
    "add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "div": "{0} / {1}", "neg": "-{0}", "inv": "1.0 / {0}",
    "sqrt": "sqrt({0})", "abs": "fabs({0})", "max": "{0} >= {1} ? {0} : {1}", "min": "{0} <= {1} ? {0} : {1}",
    "sign": "({0} > 0.0 ? 1.0 : 0.0) - ({0} < 0.0 ? 1.0 : 0.0)", "select": "{0} ? {1} : {2}",
}  # fmt: skip
TESTS = {
    "lt": "{0} < {1}", "le": "{0} <= {1}", "gt": "{0} > {1}", "ge": "{0} >= {1}", "eq": "{0} == {1}", "ne": "{0} != {1}",
    "and": "{0} & {1}", "or": "{0} | {1}", "not": "!{0}",
}  # fmt: skip
PAIRED = {
    "add": "dd_add({0}, {1})", "sub": "dd_sub({0}, {1})", "mul": "dd_mul({0}, {1})", "div": "dd_mul({0}, dd_inverse({1}))",
    "neg": "dd_neg({0})", "inv": "dd_inverse({0})", "sqrt": "dd_sqrt({0})", "select": "dd_if({0}, {1}, {2})",
    "max": "dd_if({0}.h >= {1}.h, {0}, {1})", "min": "dd_if({0}.h <= {1}.h, {0}, {1})",
    "ln": "dd_ln({0}, &bad)", "ln1p": "dd_ln1p({0}, &bad)", "expm1": "dd_expm1({0}, &bad)",
}  # fmt: skip
EXACT = ("ln", "ln1p", "exp", "expm1")
"""Operations whose operands are pairs."""


def supported(stage: Stage) -> bool:
    """Whether all operations of a stage have a C form."""
    known = {*PLAIN, *TESTS, *PAIRED, *EXACT, "lgamma", "const", "truth"}
    return all(stage.ops[i].name in known for i in stage.order)


def _pairs(stage: Stage, bounds: Bounds) -> set[int]:
    """The operations that are carried as pairs: logarithms, and what logarithms and exponentials are taken of.

    Arithmetic with an infinite exponent is not: infinity has no remainder.
    """
    ops, logs = stage.ops, ("ln", "ln1p", "expm1", "lgamma")
    deep: set[int] = set()
    wild = {i for i, (_, high) in zip(stage.inputs, bounds) if high == math.inf and ops[i].name == "input"}
    for i in stage.order:
        if ops[i].name in logs or deep.intersection(ops[i].args):
            deep.add(i)
        elif wild.intersection(ops[i].args):
            wild.add(i)
    pairs = {arg for i in stage.order if ops[i].name in EXACT for arg in ops[i].args}
    for i in reversed(stage.order):
        if i in pairs and i not in wild and ops[i].name in PAIRED and ops[i].name not in EXACT:
            pairs.update(ops[i].args[ops[i].name == "select" :])
    able = {i for i in stage.order if ops[i].name in PAIRED or ops[i].name == "const"}
    return (pairs & able - wild) | {i for i in stage.order if ops[i].name in logs}


def source(stage: Stage, bounds: Bounds) -> str:
    """The C source of a stage."""
    ops, order = stage.ops, stage.order
    pairs = _pairs(stage, bounds)
    name = {i: f"x{j}" for j, i in enumerate(stage.inputs)} | {i: f"t{j}" for j, i in enumerate(order)}

    def as_pair(i: int) -> str:
        return name[i] if i in pairs else f"pair({name[i]})"

    def as_double(i: int) -> str:
        return f"{name[i]}.h" if i in pairs else name[i]

    def as_truth(i: int) -> str:
        return f"({name[i]} != 0.0)" if i in stage.inputs else name[i]

    lines = [f"const double x{j} = in{j}[i];" for j in range(len(stage.inputs))] + ["double bad = 0.0;"]
    for j, (low, high) in enumerate(bounds):
        if (low, high) != (-math.inf, math.inf):
            lines.append(f"bad += unless((x{j} >= {_c(low)}) & (x{j} <= {_c(high)}));")
    for i in order:
        verb, args, data, _ = ops[i]
        if verb == "const":
            value = f"{{{_c(data[0])}, {_c(data[1])}}}" if i in pairs else _c(data[0])
        elif verb == "truth":
            value = str(int(data))
        elif verb in TESTS:
            value = TESTS[verb].format(*map(as_truth if verb in ("and", "or", "not") else as_double, args))
        elif verb == "exp":
            value = f"dd_exp({as_pair(args[0])}, &bad)"
        elif verb == "lgamma":
            value = f"ln_gamma({as_double(args[0])}, &bad)"
        elif i in pairs and verb in PAIRED:
            first = as_truth(args[0]) if verb == "select" else as_pair(args[0])
            value = PAIRED[verb].format(first, *map(as_pair, args[1:]))
        else:
            first = as_truth(args[0]) if verb == "select" else as_double(args[0])
            value = PLAIN[verb].format(first, *map(as_double, args[1:]))
            value = f"pair({value})" if i in pairs else value
        kind = "int" if verb in TESTS or verb == "truth" else "dd" if i in pairs else "double"
        lines.append(f"const {kind} {name[i]} = {value};")
    lines += [f"out{j}[i] = {as_double(i)} + bad;" for j, i in enumerate(stage.outputs)] + ["alarm += bad;"]
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


def _c(value: float) -> str:
    if math.isfinite(value):
        return float(value).hex()
    return "NAN" if value != value else "INFINITY" if value > 0 else "-INFINITY"


@cache
def _text(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
