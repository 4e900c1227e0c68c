"""Means over Gaussians in native code: C for the functions of a mean, around the quadrature of gaussian_means.c.

The rules and the tests of accuracy are those of NumPy (:mod:`advmf.special.gaussian_means`). An element that fails a
test is computed by NumPy, which succeeds or says what was reached. So is a mean of a function without a C form.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial
from typing import Any, ClassVar

import numpy as np
import sympy as sp

from advmf.emit.engine import cores, native
from advmf.emit.engine.arrays_numpy import NumPy
from advmf.emit.engine.c_source import CONSTANT, PLAIN, TESTS, Writer, text
from advmf.emit.engine.grid import Stage
from advmf.emit.engine.lower import lower
from advmf.emit.engine.plain import Plain
from advmf.functions.columns import COLUMNS
from advmf.functions.curves import LogOnePlusExp, kinks, stable
from advmf.functions.normal_mean import Integrand

OPERATIONS = 1 << 15
"""The approximate number of processor operations of a mean, which decides whether cores share the work."""
COUNTS = (16, 24, 32, 48, 96, 192, 768)
"""The numbers of points of the rules, as in gaussian_means.c."""
TERMS = 96
"""The number of terms of a Hermite series there."""
CALLS = {
    sp.tanh: "wide_tanh", LogOnePlusExp: "ln_one_plus_exp", sp.erf: "erf", sp.erfc: "erfc", sp.sin: "sin", sp.cos: "cos",
    sp.sinh: "sinh", sp.cosh: "cosh", sp.atan: "atan", sp.asinh: "asinh",
}  # fmt: skip
"""Functions of one variable, and their names in C."""


class Native(NumPy):
    """NumPy arrays whose means over Gaussians are native code."""

    @staticmethod
    def integral(head: Any) -> Callable[..., Any] | None:
        native_code = isinstance(head, Integrand) and COLUMNS[head.kind].native
        return _mean(head) if native_code else NumPy.integral(head)


@lru_cache(maxsize=1024)
def _mean(head: Integrand) -> Callable[..., Any]:
    """A mean as a function of arrays: the moments, then the parameters."""
    code = source(head) if native.available() else None
    run = native.built(code, [ctypes.c_long] * 2 + [ctypes.c_void_p] * 3) if code else None
    return head.numbers if run is None else partial(_numbers, head, run)


def _numbers(head: Integrand, run: Any, *arrays: Any) -> np.ndarray:
    full = np.broadcast_arrays(*(np.asarray(x, float) for x in arrays))
    flat = [np.ascontiguousarray(x).ravel() for x in full]
    size, rules = full[0].size, _rules()
    out = np.empty(size)
    pointers = (ctypes.c_void_p * len(flat))(*(x.ctypes.data for x in flat))
    count = cores.workers(OPERATIONS * size)
    ends = [size * i // count for i in range(count + 1)]

    def share(i: int) -> int:
        return int(run(ends[i], ends[i + 1], rules.ctypes.data, pointers, out.ctypes.data))

    if sum(cores.at_once(share, range(count))):
        left = out.view(np.uint64) == native.REDO
        out[left] = head.numbers(*(x[left] for x in flat))
    return out.reshape(full[0].shape)


@cache
def _rules() -> np.ndarray:
    """Nodes and weights of the Gauss-Legendre rules that gaussian_means.c lists, one rule after the other; then the
    roots of 0, 1, 2, ..., and one over them."""
    roots = np.sqrt(np.arange(TERMS + 1.0))
    inverse = 1 / np.maximum(roots, 1.0)
    return np.concatenate([*(array for n in COUNTS for array in np.polynomial.legendre.leggauss(n)), roots, inverse])


def source(head: Integrand) -> str | None:
    """The C source of a mean, or None where one of its functions has no C form."""
    parts, places = [], [0, 0]
    for i, function in enumerate(head.functions):
        (z,), name = function.variables, "fg"[i]
        curve = _statements([stable(function.expr, z)], {z: "z"}, head.parameters)
        found = _statements(kinks(function), {}, head.parameters)
        if curve is None or found is None:
            return None
        places[i] = len(found[1])
        parts.append(CURVE.format(name=name, body="\n    ".join(curve[0]), value=curve[1][0]))
        stored = [f"to[{k}] = {value};" for k, value in enumerate(found[1])]
        parts.append(KINKS.format(name=name, body="\n    ".join([*found[0], *stored])))
    sizes = f"PARAMETERS = {len(head.parameters)}, KINKS_F = {places[0]}, KINKS_G = {places[1]}"
    head_lines = [f"#define PAIR {int(len(head.functions) == 2)}", f"enum {{ {sizes} }};"]
    return "\n".join([text("native.h"), *head_lines, *parts, text("gaussian_means.c")])


CURVE = """INLINE double {name}(double z, const double *a, uint64_t *farthest) {{
    uint64_t far = 0;
    {body}
    *farthest = larger(*farthest, far);
    return {value};
}}"""
KINKS = """static void kinks_{name}(const double *a, double *to) {{
    uint64_t far = 0;
    {body}
}}"""


class _Inline(Writer):
    """Writes operations on one element, with elementary functions that take any argument."""

    forms: ClassVar = {**PLAIN, "exp": "wide_exp({0})", "expm1": "wide_expm1({0})"}

    def value(self, i: int) -> str:
        name, args, data, _ = self.ops[i]
        return f"{CALLS[data]}({self.double(args[0])})" if name == "call" else super().value(i)


def _statements(
    exprs: Sequence[sp.Expr], variables: dict[sp.Symbol, str], parameters: Sequence[sp.Symbol]
) -> tuple[list[str], list[str]] | None:
    """The C statements that compute expressions, and the expressions' values; None where one has no C form.
    ``variables`` has the C names of symbols, beside those of the parameters."""
    names = variables | {symbol: f"a[{j}]" for j, symbol in enumerate(parameters)}
    program = lower(exprs, [symbol.name for symbol in names], lambda _: None)
    plain = Plain(program, [1] * len(names), CALLS.__contains__, lambda _: False)
    needed, todo = set[int](), list(plain.outputs)
    while todo:
        if (i := todo.pop()) not in needed:
            needed.add(i)
            todo += plain.ops[i].args
    inputs = {i: plain.ops[i].data for i in needed if plain.ops[i].name == "input"}
    order = tuple(sorted(needed - set(inputs)))
    if not {plain.ops[i].name for i in order} <= {*PLAIN, *TESTS, *CONSTANT, "call"}:
        return None
    writer = _Inline(Stage(plain.ops, order, tuple(inputs), plain.outputs, 1), {})
    writer.names |= {i: list(names.values())[j] for i, j in inputs.items()}
    lines = [f"const {writer.kinds[i]} {writer.names[i]} = {writer.value(i)};" for i in writer.order]
    return lines, [writer.double(i) for i in plain.outputs]
