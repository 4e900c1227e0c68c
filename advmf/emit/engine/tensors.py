"""Kernels on torch tensors: scaled arithmetic that torch differentiates, or on the CPU the array engines with SymPy's derivatives."""

from __future__ import annotations

import math
import os
from typing import Any

import torch

from advmf.emit.engine.grid import FEW
from advmf.emit.engine.rules import run
from advmf.emit.engine.scaled import Value
from advmf.errors import ArgumentError, UnsupportedFunctionError

if hasattr(
    os, "register_at_fork"
):  # torch's own threads are not there in a forked child, which would wait for them for ever
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))

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
    if arrays.device.type != "cpu" or size < FEW or torch.compiler.is_compiling():
        results = graph(program, arrays, inputs)
    elif not tracked:
        results = _numbers(kernel, program, inputs, shape)
    elif size >= GRADIENTS and program is kernel.program and not kernel.grad:
        results = list(_Compiled.apply(kernel, arrays, shape, *inputs))
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
    kernel.fill(program, [x.detach().numpy() for x in inputs], shape, [x.numpy() for x in outs], fresh=True)
    return outs


class _Compiled(torch.autograd.Function):
    """The outputs by the engines for arrays, with SymPy's derivatives; where these fail, and for derivatives of them, by :func:`graph`."""

    @staticmethod
    def forward(ctx: Any, kernel: Any, arrays: Any, shape: tuple[int, ...], *inputs: torch.Tensor) -> Any:
        ctx.save_for_backward(*inputs)
        ctx.kernel, ctx.arrays, ctx.shape = kernel, arrays, shape
        return tuple(_numbers(kernel, kernel.program, list(inputs), shape))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        inputs, wanted = ctx.saved_tensors, ctx.needs_input_grad[3:]
        create = torch.is_grad_enabled()  # which it is where derivatives of the gradients are wanted
        found = None if create else _by_formula(ctx.kernel, inputs, wanted, gradients)
        if found is None:
            again = [x if create else x.detach().requires_grad_(w) for x, w in zip(inputs, wanted)]
            with torch.enable_grad():
                outputs = [torch.broadcast_to(x, ctx.shape) for x in graph(ctx.kernel.program, ctx.arrays, again)]
                taken = [x for x, w in zip(again, wanted) if w]
                slopes = iter(torch.autograd.grad(outputs, taken, gradients, create_graph=create, allow_unused=True))
            found = [next(slopes) if w else None for w in wanted]
        return None, None, None, *found


def _by_formula(kernel: Any, inputs: Any, wanted: Any, gradients: Any) -> list[torch.Tensor | None] | None:
    """The gradients by compiled derivatives, or None where there is no formula or it is not finite."""
    names = tuple(name for name, w in zip(kernel.arguments, wanted) if w)
    try:
        slopes = kernel.derivatives(names)
    except UnsupportedFunctionError:
        return None
    at = dict(zip(kernel.arguments, (x.detach().numpy() for x in inputs)))
    values = iter(slopes(**{name: at[name] for name in slopes.arguments}))
    found: list[torch.Tensor | None] = []
    for x, w in zip(inputs, wanted):
        total = torch.zeros((), dtype=torch.float64)
        for gradient in gradients if w else ():
            total = total + gradient * torch.as_tensor(next(values))
        if not bool(torch.isfinite(total).all()):
            return None
        found.append(total.sum_to_size(x.shape) if w else None)
    return found


def _written(results: list[torch.Tensor], out: Any) -> list[torch.Tensor]:
    given = [out] if isinstance(out, torch.Tensor) else list(out)
    if len(given) != len(results) or any(not isinstance(x, torch.Tensor) or x.shape != results[0].shape for x in given):
        raise ArgumentError(f"out takes {len(results)} tensor(s) of shape {tuple(results[0].shape)}.")
    for to, numbers in zip(given, results):
        to.copy_(numbers)
    return given
