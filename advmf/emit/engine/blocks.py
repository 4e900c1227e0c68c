"""The NumPy engine: a stage as a function of array calls, run block by block on buffers that stay in the cache."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from advmf.emit.engine.backends import function
from advmf.emit.engine.grid import Bounds, Stage, part, parts

BLOCK = 1 << 14
"""Elements of a block, so many that a dozen buffers fit the second-level cache."""

_UFUNCS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "div": "divide", "neg": "negative", "sqrt": "sqrt",
    "ln": "log", "ln1p": "log1p", "exp": "exp", "expm1": "expm1", "abs": "absolute", "sign": "sign", "max": "maximum",
    "min": "minimum",
}  # fmt: skip
_TESTS = {
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal", "ne": "not_equal",
    "and": "logical_and", "or": "logical_or", "not": "logical_not",
}  # fmt: skip


def numpy_engine(stage: Stage, bounds: Bounds, inputs: list[np.ndarray], outs: list[np.ndarray]) -> np.ndarray | None:
    """Run a stage; a block in which IEEE's flags report an overflow, underflow or invalid operation is marked to be
    computed again."""
    if "numpy" not in stage.made:
        stage.made["numpy"] = (*_compiled(stage), {})
    call, count, checks = stage.made["numpy"]
    varying = tuple(x.size > 1 for x in inputs)
    if varying not in checks:
        checks[varying] = _Check([(j, *bounds[j]) for j, varies in enumerate(varying) if varies and j in bounds])
    check, work, shape, bad = checks[varying], _work(count), outs[0].shape, None
    laid: tuple[int, ...] | None = None
    limit = BLOCK if count else 8 * BLOCK  # without buffers the cache does not matter
    with np.errstate(all="raise"):
        for index in parts(shape, limit) if outs[0].size > limit else (...,):
            views = inputs if index is ... else [part(array, index) for array in inputs]
            results = outs if index is ... else [out[index] for out in outs]
            if laid != results[0].shape:
                laid = results[0].shape
                buffers = [row[: results[0].size].reshape(laid) for row in work]
            try:
                good = check(views)
                if good:
                    call(views, results, buffers)
            except FloatingPointError:
                good = False
            if not good:
                bad = np.zeros(shape, bool) if bad is None else bad
                bad[index] = True
    return bad


class _Check:
    """Checks whether all elements of blocks are in their bounds; NaN is never in bounds."""

    def __init__(self, bounds: list[tuple[int, float, float]]) -> None:
        # Read as unsigned integers, positive floats keep their order, and all negative ones and NaN lie above them.
        self.whole = [(j, np.float64(high).view(np.uint64)) for j, low, high in bounds if low >= 0]
        self.above = [(j, low) for j, low, _ in bounds if low != 0]
        self.below = [(j, high) for j, low, high in bounds if low < 0]

    def __call__(self, views: list[np.ndarray]) -> bool:
        return (
            all(np.maximum.reduce(views[j].view(np.uint64), axis=None) <= high for j, high in self.whole)
            and all(np.minimum.reduce(views[j], axis=None) >= low for j, low in self.above)
            and all(np.maximum.reduce(views[j], axis=None) <= high for j, high in self.below)
        )


def _compiled(stage: Stage) -> tuple[Callable[..., None], int]:
    """The function (inputs, outputs, buffers) of a stage, and how many buffers it takes."""
    last = {arg: i for i in stage.order for arg in stage.ops[i].args}
    names = {i: f"x{j}" for j, i in enumerate(stage.inputs)}
    places = {i: f"y{j}" for j, i in enumerate(stage.outputs)}
    scope: dict[str, Any] = {
        name: getattr(np, name) for name in {*_UFUNCS.values(), *_TESTS.values(), "where", "divide"}
    }
    scope |= {"ln_gamma": ln_gamma, "inf": math.inf, "nan": math.nan}
    lines, free, count = [], [], 0
    for i in stage.order:
        name, args, data, _ = stage.ops[i]
        operands = ", ".join(names[arg] for arg in args)
        free += [names[arg] for arg in dict.fromkeys(args) if last[arg] == i and names[arg].startswith("b")]
        if name in ("const", "truth"):
            names[i] = repr(data if name == "truth" else data[0])
        elif name in _TESTS or name in ("select", "call"):
            verb, names[i] = _TESTS.get(name) or {"select": "where", "call": f"f{i}"}[name], f"t{i}"
            if name == "call":
                scope[verb] = _flagged(function("numpy", data)) if data is sp.erfc else function("numpy", data)
            lines.append(f"{names[i]} = {verb}({operands})")
        else:
            if i in places:
                names[i] = places[i]
            elif free:
                names[i] = free.pop()
            else:
                names[i], count = f"b{count}", count + 1
            verb = {"inv": "divide(1.0, ", "lgamma": "ln_gamma("}.get(name) or f"{_UFUNCS[name]}("
            lines.append(f"{verb}{operands}, out={names[i]})")
        if i in places and names[i] != places[i]:
            lines.append(f"{places[i]}[...] = {names[i]}")

    def row(letter: str, size: int) -> str:
        return f"[{', '.join(f'{letter}{j}' for j in range(size))}]"

    sizes = {"x": len(stage.inputs), "y": len(stage.outputs), "b": count}
    unpack = [f"{row(letter, size)} = {letter}" for letter, size in sizes.items()]
    exec("\n    ".join(["def call(x, y, b):", *unpack, *lines]), scope)
    return scope["call"], count


def _flagged(call: Callable[..., Any]) -> Callable[..., Any]:
    """A function that falls to zero, made to report underflow as IEEE's flags would, because SciPy clears them."""

    def inside(*args: Any) -> Any:
        values = call(*args)
        if not np.all(values >= np.finfo(float).tiny):
            raise FloatingPointError
        return values

    return inside


STIRLING = tuple(map(float.fromhex, (
    "0x1.19b316dd154d5p-8", "-0x1.e3a7d2251545cp-10", "0x1.b8a296ee4c83cp-11", "-0x1.3811d8c21b009p-11",
    "0x1.a019ffb0c2950p-11", "-0x1.6c16c16be0245p-9", "0x1.5555555555553p-4",
)))  # fmt: skip
"""The minimax polynomial in 1/x**2, highest power first, for x times Stirling's remainder at x >= 6."""


def ln_gamma(x: np.ndarray, out: np.ndarray) -> None:
    """ln Gamma(x): Stirling's series at x, or at x + 6 minus the logarithm of x (x + 1) ... (x + 5)."""
    y, shift, i, a = (row[: x.size].reshape(x.shape) for row in _work(4, "gamma"))
    near = np.less(x, 6.0)
    np.minimum(x, 6.0, out=y)
    np.add(y, 5.0, out=a)
    a *= y
    np.add(a, 4.0, out=shift)
    shift *= a
    np.add(a, 6.0, out=i)
    shift *= i
    np.log(shift, out=shift)
    shift *= near
    np.multiply(near, 6.0, out=y)
    y += x
    np.divide(1.0, y, out=a)
    np.multiply(a, a, out=i)
    np.multiply(i, STIRLING[0], out=out)
    for c in STIRLING[1:-1]:
        out += c
        out *= i
    out += STIRLING[-1]
    out *= a
    out -= shift
    np.log(y, out=a)
    out -= y
    y -= 0.5
    a *= y
    out += 0.5 * math.log(2 * math.pi)
    out += a


_memory = threading.local()


def _work(count: int, name: str = "stage") -> np.ndarray:
    """Buffers of this thread, reused between calls, because new memory costs more than the arithmetic."""
    kept = getattr(_memory, name, None)
    if kept is None or len(kept) < count:
        kept = np.empty((count, BLOCK))
        setattr(_memory, name, kept)
    return kept[:count]
