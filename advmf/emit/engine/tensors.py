"""Kernels on torch tensors: scaled arithmetic that torch differentiates, or on the CPU the array engines with SymPy's
derivatives."""

from __future__ import annotations

import math
import os
from typing import Any

import torch
from torch.autograd import forward_ad

from advmf.emit.engine.grid import FEW
from advmf.emit.engine.rules import run
from advmf.emit.engine.scaled import Value
from advmf.errors import ArgumentError, UnsupportedFunctionError

if hasattr(os, "register_at_fork"):  # torch's threads do not exist in a forked child, which would wait for them forever
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))

GRADIENTS = 1 << 17
"""Gradients come from compiled derivatives from this many elements on; for fewer, deriving them takes longer."""


def evaluate(
    kernel: Any, program: Any, arrays: Any, inputs: list[torch.Tensor], shape: tuple[int, ...], out: Any, dtype: Any
) -> list[torch.Tensor]:
    """The outputs of a program as tensors of the common shape."""
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise ArgumentError(f"dtype is a floating torch type, such as torch.float32; got {dtype!r}.")
    given = None if out is None else _writable(out, shape, len(program.outputs))
    if torch.compiler.is_compiling():
        results = graph(program, arrays, inputs)
    elif any(map(_transformed, inputs)):
        results = list(_Elementwise.apply(kernel, program, arrays, (), *inputs))
    else:
        results = _plain(kernel, program, arrays, inputs, shape)
    results = [torch.broadcast_to(x, shape).to(dtype or arrays.dtype, copy=True) for x in results]
    return results if given is None else _written(results, given)


def _transformed(x: torch.Tensor) -> bool:
    """Whether a tensor is tracked by forward-mode differentiation or a transform of torch.func: it has a tangent, or no
    memory of its own."""
    return torch._C._functorch.is_functorch_wrapped_tensor(x) or forward_ad.unpack_dual(x).tangent is not None


def _plain(
    kernel: Any, program: Any, arrays: Any, inputs: list[torch.Tensor], shape: tuple[int, ...]
) -> list[torch.Tensor]:
    """The outputs for tensors that have memory, with gradients where they are required."""
    for domain, tensor in zip(kernel._domains.values(), inputs):
        domain.check(tensor.detach())
    tracked = torch.is_grad_enabled() and any(x.requires_grad for x in inputs)
    size = math.prod(shape)
    if arrays.device.type != "cpu" or size < FEW:
        return graph(program, arrays, inputs)
    if not tracked:
        return _numbers(kernel, program, inputs, shape)
    if size >= GRADIENTS and program is kernel.program and not kernel.grad:
        return list(_Compiled.apply(kernel, arrays, shape, *inputs))
    return graph(program, arrays, inputs)


def graph(program: Any, arrays: Any, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    """The outputs in scaled arithmetic, through which torch differentiates."""
    logs = any(i.head == "log abs" for i in program.instructions)
    values = [arrays.deep(Value(x)) if logs else Value(x) for x in inputs]
    return [arrays.linear(value) for value in run(program, arrays, values)]


def _numbers(kernel: Any, program: Any, inputs: list[torch.Tensor], shape: tuple[int, ...]) -> list[torch.Tensor]:
    """The outputs by the engines for arrays, on the tensors' own memory."""
    outs = [torch.empty(shape, dtype=torch.float64, device="cpu") for _ in program.outputs]
    kernel.fill(program, [x.detach().numpy() for x in inputs], shape, [x.numpy() for x in outs], fresh=True)
    return outs


class _Elementwise(torch.autograd.Function):
    """The outputs, or their derivatives by the inputs numbered ``by``, elementwise: closed under every transform of
    torch.func.

    A derivative is the same function with one more number in ``by``, and a batch of examples is treated element by
    element. So a transform never looks inside, where loops and checks depend on numbers.
    """

    @staticmethod
    def forward(kernel: Any, program: Any, arrays: Any, by: tuple[int, ...], *inputs: torch.Tensor) -> Any:
        shape = torch.broadcast_shapes(*(x.shape for x in inputs))
        if not by:
            return tuple(torch.broadcast_to(x, shape) for x in _plain(kernel, program, arrays, list(inputs), shape))
        with torch.inference_mode(False), torch.enable_grad():
            leaves = [torch.broadcast_to(x, shape).detach().clone().requires_grad_() for x in inputs]
            found = [torch.broadcast_to(x, shape) for x in graph(program, arrays, leaves)]
            for at in by:
                found = [_slope(x, leaves[at]) for x in found]
        return tuple(x.detach() for x in found)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        *ctx.call, ctx.by = inputs[:4]
        ctx.save_for_backward(*inputs[4:])
        ctx.save_for_forward(*inputs[4:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        inputs = ctx.saved_tensors
        found: list[Any] = [None] * len(inputs)
        for at, x in enumerate(inputs):
            if ctx.needs_input_grad[4 + at]:
                slopes = _Elementwise.apply(*ctx.call, (*ctx.by, at), *inputs)
                terms = [gradient * slope for gradient, slope in zip(gradients, slopes) if gradient is not None]
                found[at] = sum(terms).sum_to_size(x.shape) if terms else None
        return None, None, None, None, *found

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        inputs, total = ctx.saved_tensors, None
        for at, tangent in enumerate(tangents[4:]):
            if tangent is not None:
                slopes = _Elementwise.apply(*ctx.call, (*ctx.by, at), *inputs)
                terms = [slope * tangent for slope in slopes]
                total = terms if total is None else [x + y for x, y in zip(total, terms)]
        return None if total is None else tuple(total)

    @staticmethod
    def vmap(info: Any, in_dims: Any, kernel: Any, program: Any, arrays: Any, by: Any, *inputs: torch.Tensor) -> Any:
        dims = in_dims[4:]
        rank = max(x.ndim - (at is not None) for x, at in zip(inputs, dims))
        moved = [x if at is None else x.movedim(at, 0) for x, at in zip(inputs, dims)]
        aligned = [
            x if at is None else x.reshape(len(x), *(1,) * (rank + 1 - x.ndim), *x.shape[1:])
            for x, at in zip(moved, dims)
        ]
        found = _Elementwise.apply(kernel, program, arrays, by, *aligned)
        return found, (0,) * len(found)


def _slope(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The derivative of each element of ``y`` with respect to that of ``x``, which torch can differentiate again."""
    if not y.requires_grad:
        return torch.zeros_like(y)
    (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True, allow_unused=True)
    return torch.zeros_like(y) if slope is None else slope


class _Compiled(torch.autograd.Function):
    """The outputs by the engines for arrays, with SymPy's derivatives. Where these fail, and for higher derivatives, by
    :func:`graph`."""

    @staticmethod
    def forward(ctx: Any, kernel: Any, arrays: Any, shape: tuple[int, ...], *inputs: torch.Tensor) -> Any:
        ctx.save_for_backward(*inputs)
        ctx.kernel, ctx.arrays, ctx.shape = kernel, arrays, shape
        return tuple(_numbers(kernel, kernel.program, list(inputs), shape))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        inputs, wanted = ctx.saved_tensors, ctx.needs_input_grad[3:]
        create = torch.is_grad_enabled()  # true where derivatives of the gradients are wanted
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
        total = torch.zeros((), dtype=torch.float64, device="cpu")
        for gradient in gradients if w else ():
            total = total + gradient * torch.as_tensor(next(values), dtype=torch.float64, device="cpu")
        if not bool(torch.isfinite(total).all()):
            return None
        found.append(total.sum_to_size(x.shape) if w else None)
    return found


def _writable(out: Any, shape: tuple[int, ...], count: int) -> list[torch.Tensor]:
    """The tensors to write to; raises ArgumentError unless they are this many floating-point tensors of that shape
    without gradients."""
    given = [out] if isinstance(out, torch.Tensor) else list(out) if isinstance(out, (list, tuple)) else [out]
    if len(given) != count or any(
        not isinstance(x, torch.Tensor) or x.shape != shape or not x.is_floating_point() for x in given
    ):
        raise ArgumentError(f"out takes {count} floating tensor(s) of shape {tuple(shape)}.")
    if torch.is_grad_enabled() and any(x.requires_grad and x.is_leaf for x in given):
        raise ArgumentError(
            "out is a leaf that requires gradients, which cannot be overwritten; detach it, or use torch.no_grad()."
        )
    return given


def _written(results: list[torch.Tensor], given: list[torch.Tensor]) -> list[torch.Tensor]:
    for to, numbers in zip(given, results):
        try:
            to.copy_(numbers)
        except (
            RuntimeError
        ) as error:  # elements that share memory, a tensor of inference mode, or a transform that does not track it
            raise ArgumentError(f"out cannot be written to here ({error}); leave it out.") from None
    return given
