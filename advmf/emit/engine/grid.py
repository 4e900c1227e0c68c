"""Evaluating a program on arrays that broadcast. Every operation runs at the size of the axes that it depends on, and
the result is computed in chunks.

The operations of :class:`advmf.emit.engine.plain.Plain` over the same axes are a :class:`Stage`, which an engine runs:
NumPy in blocks (:mod:`advmf.emit.engine.blocks`) or native code (:mod:`advmf.emit.engine.native`). The engine reports
the elements that plain numbers could not compute; :mod:`advmf.emit.engine.rules` computes them again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial, reduce
from typing import Any

import numpy as np

from advmf.emit.engine.backends import BACKENDS
from advmf.emit.engine.lower import Program
from advmf.emit.engine.plain import Op, Plain
from advmf.emit.engine.rules import run
from advmf.emit.engine.scaled import Value
from advmf.functions.columns import COLUMNS, NONE

CHUNK = 1 << 20
"""Elements of the result that are computed together."""
SCALED = 1 << 14
"""The number of elements on which scaled arithmetic works at once."""
FEW = 256
"""Up to this many elements, plain numbers save no time."""

Bounds = Mapping[int, tuple[float, float]]
"""The least and the greatest value in the domain of each input of a stage that is an argument, by its place."""


@dataclass(eq=False)
class Stage:
    """Operations over the same axes: those in ``order`` compute ``outputs`` from ``inputs``. All three hold indices
    into ``ops``.

    ``made`` is where an engine caches the compiled form of the stage.
    """

    ops: Sequence[Op]
    order: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    axes: int
    made: dict[Any, Any] = field(default_factory=dict)


Engine = Callable[[Stage, Bounds, list[np.ndarray], list[np.ndarray]], np.ndarray | None]
"""Runs a stage on inputs that broadcast to the contiguous outputs. Returns the mask of the elements to compute again,
or None."""


def stages(plain: Plain, scalars_apart: bool) -> list[Stage]:
    """The stages in order. Without ``scalars_apart``, operations that depend on no axis are computed where they are
    used."""
    stored: dict[int, list[int]] = {}
    wanted = [out for out in plain.outputs if plain.ops[out].name not in _GIVEN]
    found: list[Stage] = []

    def inline(i: int) -> bool:
        op = plain.ops[i]
        return op.name in ("const", "truth") or not (op.axes or scalars_apart or op.name in _GIVEN)

    for out in wanted:
        stored.setdefault(plain.ops[out].axes, []).append(out)
    while stored:
        # An operation over more axes may use one over fewer axes, but never the reverse.
        axes = max(stored, key=lambda mask: (mask.bit_count(), mask))
        outputs = tuple(dict.fromkeys(stored.pop(axes)))
        order, inputs, todo = set(), set(), list(outputs)
        while todo:
            i = todo.pop()
            if i in order or i in inputs:
                continue
            if i in outputs or inline(i) or (plain.ops[i].axes == axes and plain.ops[i].name not in _GIVEN):
                order.add(i)
                todo += plain.ops[i].args
            else:
                inputs.add(i)
                if plain.ops[i].name not in _GIVEN:
                    stored.setdefault(plain.ops[i].axes, []).append(i)
        found.append(Stage(plain.ops, tuple(sorted(order)), tuple(sorted(inputs)), outputs, axes))
    return found[::-1]


_GIVEN = ("input", "whole")


def elementwise(head: Any) -> bool:
    """Whether the array function of a SymPy head may be called on parts of arrays."""
    own = COLUMNS.get(head, NONE)
    return own.elementwise if own.numpy else head in BACKENDS["numpy"]().functions


class Grid:
    """How inputs of given shapes broadcast; axes on which all inputs have the same layout are merged."""

    def __init__(self, shapes: Sequence[tuple[int, ...]], shape: tuple[int, ...]) -> None:
        full = [(1,) * (len(shape) - len(each)) + each for each in shapes]
        groups: list[list[int]] = []
        last: Any = None
        for axis, size in enumerate(shape):
            if size == 1:
                continue
            pattern = [each[axis] > 1 for each in full]
            if pattern == last:
                groups[-1].append(axis)
            else:
                groups.append([axis])
            last = pattern
        self.shape = tuple(math.prod(shape[axis] for axis in group) for group in groups)
        self.size = math.prod(shape)
        self.shapes = [tuple(math.prod(each[axis] for axis in group) for group in groups) for each in full]
        self.axes = tuple(sum(1 << i for i, size in enumerate(each) if size > 1) for each in self.shapes)

    def lay(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The inputs in the shapes of the grid."""
        return [x if x.shape == shape else x.reshape(shape) for x, shape in zip(inputs, self.shapes)]


def parts(shape: tuple[int, ...], limit: int) -> Iterator[tuple[slice, ...]]:
    """Parts of a grid with at most ``limit`` elements each, complete along the last axes."""
    if not shape:
        yield ()
        return
    rest = math.prod(shape[1:])
    if rest <= limit:
        step = max(1, limit // rest)
        for start in range(0, shape[0], step):
            yield (slice(start, min(start + step, shape[0])), *(slice(0, size) for size in shape[1:]))
    else:
        for i in range(shape[0]):
            yield from ((slice(i, i + 1), *part) for part in parts(shape[1:], limit))


def part(array: np.ndarray, index: tuple[slice, ...]) -> np.ndarray:
    """The part of an array that a part of the grid needs."""
    return array[tuple(piece if size > 1 else slice(None) for piece, size in zip(index, array.shape))]


class Plan:
    """How to evaluate a program on grids whose inputs vary over the given axes. ``arrays`` computes the values that
    take whole arrays."""

    def __init__(
        self,
        program: Program,
        axes: Sequence[int],
        bounds: Sequence[tuple[float, float]],
        truth: Callable[[int], bool],
        scalars_apart: bool,
        arrays: Any,
    ) -> None:
        self.program, self.arrays = program, arrays
        self.plain = Plain(program, axes, elementwise, truth)
        self.stages = stages(self.plain, scalars_apart)
        needed = {i for stage in self.stages for i in stage.inputs} | set(self.plain.outputs)
        self.whole = {
            i: program.only([op.data]) for i, op in enumerate(self.plain.ops) if op.name == "whole" and i in needed
        }

        whole_inputs = {j for whole in self.whole.values() for j in whole.reads}
        self.inputs = {i: op.data for i, op in enumerate(self.plain.ops) if op.name == "input"}
        self.checked = {
            self.inputs[i] for stage in self.stages for i in stage.inputs if i in self.inputs
        } - whole_inputs
        """The inputs whose domains the engine checks."""
        self.steps = [(self.plain.ops[i].axes, partial(self._whole, i, p)) for i, p in self.whole.items()]
        for stage in self.stages:
            limits = {place: bounds[self.inputs[i]] for place, i in enumerate(stage.inputs) if i in self.inputs}
            self.steps.append((stage.axes, partial(self._stage, stage, limits)))
        self.single = None
        """The stage that computes everything, if there is one, with its inputs and their bounds."""
        if len(self.steps) == len(self.stages) == 1 and self.plain.outputs == self.stages[0].outputs:
            self.single = (self.stages[0], limits, [self.inputs[i] for i in self.stages[0].inputs])

    def run(
        self,
        shape: tuple[int, ...],
        inputs: list[np.ndarray],
        outs: list[np.ndarray],
        engine: Engine,
        check: Callable[[], None],
    ) -> None:
        """Fill ``outs``, contiguous arrays of the grid's shape; ``check`` raises if an input is outside its domain."""
        if self.single and outs[0].size <= CHUNK and all(out.dtype == float for out in outs):
            stage, limits, places = self.single
            bad = engine(stage, limits, [inputs[j] for j in places], outs)
            if bad is not None:
                check()
                redo(self.program, inputs, np.broadcast_to(bad, shape), outs)
        else:
            self._chunks(shape, inputs, outs, engine, check)

    def _chunks(
        self,
        whole: tuple[int, ...],
        all_inputs: list[np.ndarray],
        outs: list[np.ndarray],
        engine: Engine,
        check: Callable[[], None],
    ) -> None:
        known: dict[int, tuple[Any, dict[int, np.ndarray], np.ndarray | None]] = {}
        for index in parts(whole, CHUNK):
            inputs = [part(array, index) for array in all_inputs]
            shape = tuple(piece.stop - piece.start for piece in index)
            pieces = [out[index] for out in outs]
            plain = [piece if piece.dtype == float else np.empty(shape) for piece in pieces]
            chunk = _Chunk(shape, inputs, plain, engine)
            values = {i: inputs[j] for i, j in self.inputs.items()}
            bad: list[np.ndarray] = []
            for key, (axes, compute) in enumerate(self.steps):
                where = tuple(piece for i, piece in enumerate(index) if axes >> i & 1)
                if key not in known or known[key][0] != where:
                    known[key] = (where, *compute(chunk, values))
                values |= known[key][1]
                failed = known[key][2]
                if failed is not None:
                    bad.append(failed)
            for out, i in zip(chunk.outs, self.plain.outputs):
                if values[i] is not out:
                    np.copyto(out, values[i])
            if bad:
                check()
                redo(self.program, inputs, np.broadcast_to(reduce(np.logical_or, bad), shape), chunk.outs)
            with np.errstate(over="ignore", under="ignore"):
                for piece, numbers in zip(pieces, plain):
                    if piece is not numbers:
                        np.copyto(piece, numbers, casting="same_kind")

    def _whole(
        self, i: int, program: Program, chunk: _Chunk, _: Any
    ) -> tuple[dict[int, np.ndarray], np.ndarray | None]:
        """A value that is computed on whole arrays, in scaled arithmetic."""
        arrays = self.arrays
        (value,) = run(program, arrays, [Value(x) for x in chunk.inputs])
        numbers = arrays.linear(value)
        lost = np.False_
        if value.k is not None:
            lost = ~((abs(numbers) > 1e-300) & (abs(numbers) < 1e300)) & (value.m != 0)
        extent = chunk.extent(self.plain.ops[i].axes)
        return {i: np.broadcast_to(numbers, extent)}, np.broadcast_to(lost, extent) if np.any(lost) else None

    def _stage(
        self, stage: Stage, bounds: Bounds, chunk: _Chunk, values: dict[int, np.ndarray]
    ) -> tuple[dict[int, np.ndarray], np.ndarray | None]:
        extent = chunk.extent(stage.axes)
        outs = []
        for i in stage.outputs:
            direct = extent == chunk.shape and i in self.plain.outputs
            outs.append(chunk.outs[self.plain.outputs.index(i)] if direct else np.empty(extent))
        bad = chunk.engine(stage, bounds, [values[i] for i in stage.inputs], outs)
        return dict(zip(stage.outputs, outs)), bad


@dataclass
class _Chunk:
    """A part of a grid under computation."""

    shape: tuple[int, ...]
    inputs: list[np.ndarray]
    outs: list[np.ndarray]
    engine: Engine

    def extent(self, axes: int) -> tuple[int, ...]:
        return tuple(size if axes >> i & 1 else 1 for i, size in enumerate(self.shape))


@cache
def scaled_arrays() -> Any:
    return BACKENDS["numpy"]().read({})[0]


def redo(program: Program, inputs: Sequence[np.ndarray], bad: np.ndarray, outs: Sequence[np.ndarray]) -> None:
    """Compute the elements ``bad`` of the outputs in scaled arithmetic."""
    for index in parts(bad.shape, SCALED):
        failed, views = bad[index], [part(array, index) for array in inputs]
        count = np.count_nonzero(failed)
        if count and 4 * count < failed.size:
            views = [np.broadcast_to(view, failed.shape)[failed] for view in views]
        if count:
            for out, numbers in zip(outs, scaled(program, views, deep=True)):
                if 4 * count < failed.size:
                    out[index][failed] = numbers
                else:
                    np.copyto(out[index], numbers, where=failed)


def scaled(program: Program, inputs: Sequence[np.ndarray], deep: bool = False) -> list[np.ndarray]:
    """The outputs of a program in scaled arithmetic; ``deep`` scales the inputs as well, so that their products do not
    overflow."""
    arrays = scaled_arrays()
    deep = deep or any(i.head == "log abs" for i in program.instructions)
    values = [Value(x) for x in inputs]
    with np.errstate(all="ignore"):
        numbers = [arrays.linear(x) for x in run(program, arrays, list(map(arrays.deep, values)) if deep else values)]
        if not (deep or program.loops or all(np.all(np.isfinite(x) & (x != 0)) for x in numbers)):
            return scaled(program, inputs, deep=True)
    return numbers
