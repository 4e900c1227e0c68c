"""The meaning of a program's instructions in the arithmetic of :mod:`advmf.emit.engine.scaled`."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import sympy as sp

from advmf.budget import allow_seconds
from advmf.emit.engine.backends import BACKENDS
from advmf.emit.engine.integrate import integrate
from advmf.emit.engine.lower import Program
from advmf.emit.engine.scaled import Arrays, Value
from advmf.emit.engine.wide import call
from advmf.errors import DomainError
from advmf.functions import Flow, Recursion
from advmf.functions.columns import RESERVED

INSTRUCTION, ELEMENT = 2e-5, 2e-8
"""Seconds that a step of a recursion takes for each instruction, and for each element of its arrays, on an ordinary
machine."""


def run(program: Program, arrays: Arrays, inputs: list[Any]) -> list[Any]:
    """The outputs of a program; each intermediate array is released after its last use."""
    slots = [*[None] * len(program.instructions), *reversed(inputs)]
    for i, ((head, args, data), spent) in enumerate(zip(program.instructions, program.spent)):
        slots[i] = RULES[head](arrays, data, *[slots[j] for j in args])
        for j in spent:
            slots[j] = None
    return [slots[j] for j in program.outputs]


def _base(arrays: Any, x: Value, plus_one: bool) -> Value:
    return arrays.one_plus(x) if plus_one else x


def _piecewise(arrays: Arrays, _: Any, *args: Value) -> Value:
    out = Value(arrays.array(math.nan))
    for live, value in zip(args[::2], args[1::2]):
        out = arrays.select(live.m, value, out)
    return out


def _loop(arrays: Any, data: tuple[Program, int, str], depth: Value, *operands: Value) -> list[Value]:
    """The state of a recursion at every requested depth, from one run up to the largest."""
    body, size, name = data
    depths = arrays.linear(depth)
    stops = np.unique(arrays.numpy(depths))
    for stop in stops:
        if not (stop >= 0 and stop == math.floor(stop)):
            raise DomainError(f"A recursion takes whole numbers of steps; got {name} = {stop:g}.")
    steps, elements = float(stops[-1]) if len(stops) else 0.0, max(math.prod(np.shape(x.m)) for x in (depth, *operands))
    allow_seconds(
        steps * len(body.instructions) * (INSTRUCTION + ELEMENT * elements),
        f"A recursion of {steps:,.0f} steps for {elements:,} elements",
        f"Lower {name}, or take a net whose recursion has a closed form",
    )
    inner, values = arrays.in_loop([arrays.deep(value) for value in operands], body.functions)
    state, fixed = values[:size], values[size:]
    out: list[Value] = []
    done = 0
    for stop in map(int, stops):
        for _ in range(stop - done):
            state = run(body, inner, [*state, *fixed])
        done = stop
        reached = [Value(arrays.array(x.m), arrays.array(x.k)) for x in map(inner.deep, state)]
        out = [arrays.select(depths == stop, new, old) for new, old in zip(reached, out)] if out else reached
    return out


def _solve(arrays: Any, data: tuple[Program, tuple[bool, ...]], time: Value, *operands: Value) -> list[Value]:
    """The state of a system of differential equations at the requested times, without derivatives."""
    body, positive = data
    given = [arrays.linear(x) for x in (time, *operands)]
    numbers = np.broadcast_arrays(*(np.asarray(arrays.numpy(x), float) for x in given))
    end, *values = (array.ravel() for array in numbers)
    plain, size = BACKENDS["numpy"]().read({})[0], len(positive)

    def rates(state: np.ndarray, fixed: np.ndarray) -> np.ndarray:
        slopes = run(body, plain, [*map(Value, state), *map(Value, fixed)])
        return np.stack([np.broadcast_to(plain.linear(slope), state[0].shape) for slope in slopes])

    start, fixed = np.stack(values[:size]), np.reshape(values[size:], (-1, end.size))
    solved = integrate(rates, end, start, fixed, positive)
    return [Value(arrays.known(row.reshape(numbers[0].shape), "A flow", given)) for row in solved]


RULES: dict[Any, Callable[..., Any]] = {
    "number": lambda a, data: Value(a.array(data[0]), None if data[1] is None else a.array(float(data[1]))),
    "truth": lambda a, data: Value(a.array(1.0) == float(data)),
    "guard": lambda a, _, x, condition: a.guard(x, condition.m),
    "call": call,
    "call near one": lambda a, head, less_one, *x: call(a, head, a.one_plus(less_one), *x),
    "one plus": lambda a, _, rest: a.one_plus(rest),
    "log abs": lambda a, plus_one, x: Value(a.log_abs(_base(a, x, plus_one))),
    "number power": lambda a, exponent, x: a.number_power(x, exponent),
    "power minus one": lambda a, plus_one, x, y: a.power_minus_one(_base(a, x, plus_one), y),
    "gamma ratio": lambda a, data, x: a.gamma_ratio(x, *data),
    "component": lambda a, index, state: state[index],
    sp.Add: lambda a, _, *x: a.add(*x),
    sp.Mul: lambda a, _, *x: a.multiply(*x),
    sp.Pow: lambda a, data, x, y: a.power(_base(a, x, data[1]), y, data[0]),
    sp.exp: lambda a, _, x: a.exponential(a.linear(x)),
    sp.log: lambda a, plus_one, x: a.logarithm(_base(a, x, plus_one)),
    sp.Abs: lambda a, _, x: Value(a.abs(x.m), x.k),
    sp.sign: lambda a, _, x: Value(a.sign(x.m)),
    sp.Max: lambda a, _, *x: a.extreme(operator.ge, *x),
    sp.Min: lambda a, _, *x: a.extreme(operator.le, *x),
    sp.gamma: lambda a, _, x: a.gamma(x),
    sp.loggamma: lambda a, _, x: a.loggamma(x),
    sp.Eq: lambda a, _, x, y: a.compare(operator.eq, x, y),
    sp.Ne: lambda a, _, x, y: a.compare(operator.ne, x, y),
    sp.Lt: lambda a, _, x, y: a.compare(operator.lt, x, y),
    sp.Le: lambda a, _, x, y: a.compare(operator.le, x, y),
    sp.Gt: lambda a, _, x, y: a.compare(operator.gt, x, y),
    sp.Ge: lambda a, _, x, y: a.compare(operator.ge, x, y),
    sp.And: lambda a, _, *x: Value(reduce(operator.and_, (y.m for y in x))),
    sp.Or: lambda a, _, *x: Value(reduce(operator.or_, (y.m for y in x))),
    sp.Not: lambda a, _, x: Value(x.m ^ True),
    sp.Piecewise: _piecewise,
    Recursion: _loop,
    Flow: _solve,
}
"""The function of each instruction; its arguments are the backend's arrays, the instruction's data and its operands.
Recursions and flows are here too, because they are loops over whole programs."""

RESERVED.update(RULES)
