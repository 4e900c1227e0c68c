"""The arrays that kernels write to: their shape, their memory limit, and checks of arrays that a caller supplies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from advmf.budget import allow, machine_memory
from advmf.errors import ArgumentError

WORTH_A_LOOK = 1 << 17
"""New arrays of at least this many elements are compared with the machine's memory."""


def common_shape(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The common shape, even if it has more elements than an array can have; raises ValueError where there is none."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        rank = max(map(len, shapes))
        columns = [{1, *sizes} - {1} for sizes in zip(*((1,) * (rank - len(shape)) + shape for shape in shapes))]
        if any(len(sizes) > 1 for sizes in columns):
            raise
        return tuple(sizes.pop() if sizes else 1 for sizes in columns)


def afford(shape: tuple[int, ...], count: int, dtype: Any) -> None:
    """Raise MemoryBudgetError where the new arrays outgrow the memory of the machine."""
    if (size := math.prod(shape)) > WORTH_A_LOOK:
        each = 4 if "float32" in str(dtype) else 2 if "float16" in str(dtype) else 8
        what = f"{count} array(s) of results of shape {shape}"
        allow(size * count * each, machine_memory(), what, "Take a smaller grid, or evaluate it in parts")


def outputs(out: Any, dtype: Any, shape: tuple[int, ...], count: int) -> list[np.ndarray]:
    """The arrays to fill: those given, if they fit, or new ones."""
    if dtype is not None and not np.issubdtype(np.dtype(dtype), np.floating):
        raise ArgumentError(f"dtype is a floating NumPy type, such as numpy.float32; got {dtype!r}.")
    if out is None:
        return [np.empty(shape, float if dtype is None else dtype) for _ in range(count)]
    arrays = [out] if isinstance(out, np.ndarray) else list(out)
    for array in arrays:
        if (
            not isinstance(array, np.ndarray)
            or array.shape != shape
            or array.dtype.kind != "f"
            or not array.flags.writeable
        ):
            given = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
            raise ArgumentError(f"out takes writable floating arrays of shape {shape}; got {given}.")
        if dtype is not None and array.dtype != np.dtype(dtype):
            raise ArgumentError(
                f"out is of dtype {array.dtype}, but dtype={np.dtype(dtype)} was asked for; give one of them."
            )
    if len(arrays) != count:
        raise ArgumentError(f"out takes {count} array(s), for the values and then the derivatives; got {len(arrays)}.")
    return arrays


def apart(out: np.ndarray, inputs: Sequence[np.ndarray]) -> bool:
    """Whether results can be written straight to an array: it is in C order, and no argument."""
    return bool(out.flags.c_contiguous) and not any(np.may_share_memory(out, x) for x in inputs)


def precision(value: Any) -> float:
    """The precision of a user's numbers."""
    digits = str(getattr(value, "dtype", "")).rpartition("float")
    return {"32": 2.0**-23, "16": 2.0**-10}.get(digits[2], 2.0**-52) if digits[1] else 2.0**-52
