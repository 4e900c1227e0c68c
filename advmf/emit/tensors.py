"""Kernels on torch tensors: scaled arithmetic that torch differentiates, or on the CPU the array engines with SymPy's derivatives."""

from __future__ import annotations

import math
from typing import Any

import torch

from advmf.emit.grid import FEW
from advmf.emit.rules import run
from advmf.emit.scaled import Value
from advmf.errors import ArgumentError

GRADIENTS = 1 << 17
"""Elements from which on gradients come from compiled derivatives: below, deriving them takes longer."""


def evaluate(
    kernel: Any, program: Any, arrays: Any, inputs: list[torch.Tensor], shape: tuple[int, ...], out: Any, dtype: Any
) -> list[torch.Tensor]:
    """The outputs of a program as tensors of the common shape."""
    if not torch.compiler.is_compiling():
        for domain, tensor in zip(kernel._domains.values(), inputs):
            domain.check(tensor.detach())
    tracked = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
    size = math.prod(shape)
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise ArgumentError(f"dtype is a floating torch type, such as torch.float32; got {dtype!r}.")
    if arrays.device.type == "cpu" and not tracked and size >= FEW and not torch.compiler.is_compiling():
        results = _numbers(kernel, program, inputs, shape)
    else:
        results = graph(program, arrays, inputs)
    results = [torch.broadcast_to(x, shape).to(dtype or arrays.dtype, copy=True) for x in results]
    return results if out is None else _written(results, out)


def graph(program: Any, arrays: Any, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    """The outputs in scaled arithmetic, through which torch differentiates."""
    logs = any(i.head == "log abs" for i in program.instructions)
    values = [arrays.deep(Value(x)) if logs else Value(x) for x in inputs]
    return [arrays.linear(value) for value in run(program, arrays, values)]


def _numbers(kernel: Any, program: Any, inputs: list[torch.Tensor], shape: tuple[int, ...]) -> list[torch.Tensor]:
    """The outputs by the engines for arrays, on the tensors' own memory."""
    outs = [torch.empty(shape, dtype=torch.float64) for _ in program.outputs]
    kernel.fill(program, [x.detach().numpy() for x in inputs], shape, [x.numpy() for x in outs])
    return outs


def _written(results: list[torch.Tensor], out: Any) -> list[torch.Tensor]:
    given = [out] if isinstance(out, torch.Tensor) else list(out)
    if len(given) != len(results) or any(not isinstance(x, torch.Tensor) or x.shape != results[0].shape for x in given):
        raise ArgumentError(f"out takes {len(results)} tensor(s) of shape {tuple(results[0].shape)}.")
    for to, numbers in zip(given, results):
        to.copy_(numbers)
    return given
