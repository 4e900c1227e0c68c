"""Torch as the array library of kernels: tensors on any device, with gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial, reduce
from typing import Any, ClassVar

import sympy as sp
import torch

from advmf.emit.engine.arrays_numpy import NumPy, reals
from advmf.emit.engine.door import compiled
from advmf.emit.engine.scaled import Arrays, Value
from advmf.errors import ArgumentError, DomainError, UnsupportedFunctionError
from advmf.functions.columns import COLUMNS, NONE
from advmf.functions.normal_mean import Integrand


def polygamma(order: Any, x: Any) -> Any:
    n = int(order)
    # torch.polygamma(1, x) has no more than nine digits.
    return torch.digamma(x) if n == 0 else (-1) ** (n + 1) * math.factorial(n) * torch.special.zeta(n + 1.0, x)


class Numbers(torch.autograd.Function):
    """A function, by name, that NumPy evaluates; a derivative of it raises an error instead of being zero."""

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Any], name: str, *arrays: Any) -> Any:
        ctx.name = name
        values = function(*(x.detach().cpu().numpy() for x in arrays))
        return torch.as_tensor(values, dtype=torch.float64, device=arrays[0].device)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise UnsupportedFunctionError(
            f"{ctx.name} has no derivative in torch; detach the arguments that it depends on, or take them as numbers."
        )


class Integral(torch.autograd.Function):
    """A mean over Gaussians, by NumPy; its derivatives are kernels of means."""

    @staticmethod
    def forward(ctx: Any, head: Integrand, *arrays: Any) -> Any:
        ctx.head = head
        ctx.save_for_backward(*arrays)
        values = head.numbers(*(x.detach().cpu().numpy() for x in arrays))
        return torch.as_tensor(values, dtype=torch.float64, device=arrays[0].device)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        given = ctx.saved_tensors
        out: list[Any] = [None]
        for i, needed in enumerate(ctx.needs_input_grad[1:]):
            if not needed:
                out.append(None)
                continue
            slope, symbols = ctx.head.slope(i)
            compute = compiled(slope, "torch")
            at = {symbol.name: x for symbol, x in zip(symbols, given)}
            found = gradient * compute(**{name: at[name] for name in compute.arguments})
            out.append(found.sum_to_size(given[i].shape))
        return tuple(out)


def root(x: Any) -> Any:
    # At zero the slope is 1e150 instead of infinity, so that times a vanishing inner derivative it is zero, not NaN.
    zero = x == 0
    return torch.where(zero, x * 1e150, torch.sqrt(torch.where(zero, 1.0, x)))


class Sloped(torch.autograd.Function):
    """A function of tensors and of the operations on them, whose derivatives are given by another such function."""

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Any], slopes: Callable[..., Any], ops: Any, *arrays: Any) -> Any:
        ctx.save_for_backward(*arrays)
        ctx.slopes, ctx.ops = slopes, ops
        return function(*arrays, ops)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        return None, None, None, *(gradient * slope for slope in ctx.slopes(*ctx.saved_tensors, ctx.ops))


class Torch(Arrays):
    """Tensors of float64 on one device; results in the dtype of the arguments."""

    name = "torch"
    functions: ClassVar = {
        sp.sin: torch.sin, sp.cos: torch.cos, sp.tan: torch.tan, sp.asin: torch.asin, sp.acos: torch.acos,
        sp.atan: torch.atan, sp.atan2: torch.atan2, sp.sinh: torch.sinh, sp.cosh: torch.cosh, sp.tanh: torch.tanh,
        sp.asinh: torch.asinh, sp.acosh: torch.acosh, sp.atanh: torch.atanh, sp.erf: torch.erf, sp.erfc: torch.erfc,
        sp.erfinv: torch.erfinv, sp.polygamma: polygamma, sp.floor: torch.floor, sp.ceiling: torch.ceil,
    }  # fmt: skip

    def __init__(self, device: Any, dtype: Any) -> None:
        self.device, self.dtype = device, dtype
        vars(self).update(
            where=torch.where, maximum=torch.maximum, clip=torch.clamp, abs=torch.abs, sign=torch.sign,
            floor=torch.floor, sqrt=root, exp=torch.exp, expm1=torch.expm1, log=torch.log, log1p=torch.log1p,
            exp2=torch.exp2, erfc=torch.erfc, lgamma=torch.lgamma, asin=torch.asin,
            acos=torch.acos,
        )  # fmt: skip

    def array(self, x: Any) -> Any:
        return torch.as_tensor(x, dtype=torch.float64, device=self.device)

    @staticmethod
    def integral(head: Any) -> Callable[..., Any] | None:
        """The array function of a mean over Gaussians, None for any other head."""
        return partial(Integral.apply, head) if isinstance(head, Integrand) else None

    def like(self, x: Any, _: Any) -> Any:
        return self.array(x)

    def broadcast(self, *arrays: Any) -> Any:
        return torch.broadcast_tensors(*map(self.array, arrays))

    @staticmethod
    def borrowed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        return partial(Numbers.apply, function, name)

    def sloped(self, function: Callable[..., Any], slopes: Callable[..., Any], *arrays: Any) -> Any:
        return Sloped.apply(function, slopes, self, *torch.broadcast_tensors(*arrays))

    def known(self, numbers: Any, name: str, given: list[Any]) -> Any:
        return Numbers.apply(lambda *_: numbers, name, *given)

    @staticmethod
    def tracked(x: Any) -> bool:
        return bool(x.requires_grad) and torch.is_grad_enabled()

    @staticmethod
    def numpy(x: Any) -> Any:
        return x.detach().cpu().numpy()

    @staticmethod
    def detach(x: Any) -> Any:
        return x.detach()

    @staticmethod
    def split(m: Any, k: Any) -> tuple[Any, Any]:
        size = m.detach()
        if torch.compiler.is_compiling():
            # Torch 2.13 writes C++ for frexp of doubles that does not compile. This may be off by one, which does not
            # matter.
            shift = torch.where(size == 0, 0.0, torch.floor(torch.log2(size.abs())) + 1.0)
        else:
            shift = torch.frexp(size).exponent.to(m.dtype)
        shift = shift.clamp(-1000.0, 1000.0)
        return m * torch.exp2(-shift), k + shift

    def guard(self, x: Value, condition: Any) -> Value:
        return x._replace(m=torch.where(condition, x.m, x.m.detach()))

    def in_loop(self, values: list[Value], functions: set[Any]) -> tuple[Arrays, list[Value]]:
        columns = {head: COLUMNS.get(head, NONE) for head in functions}
        known = all(own.numpy or own.scaled or head in NumPy.functions for head, own in columns.items())
        if not known or self.device.type != "cpu" or any(self.tracked(x.m) for x in values):
            return self, values
        # NumPy takes a third of the time.
        return NumPy().in_loop([Value(self.numpy(m), self.numpy(k)) for m, k, _ in values], functions)

    @classmethod
    def read(cls, values: Mapping[str, object]) -> tuple[Arrays, list[Any]]:
        tensors = {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}
        for name, tensor in tensors.items():
            if tensor.is_complex() or tensor.dtype == torch.bool:
                raise DomainError(f"{name} takes real numbers; got a tensor of dtype {tensor.dtype}.")
        # As in torch itself, the dtype of a zero-dimensional tensor gives way to that of the others.
        leading = [tensor for tensor in tensors.values() if tensor.ndim] or list(tensors.values())
        devices = {tensor.device for tensor in leading}
        if len(devices) > 1:
            places = ", ".join(f"{name}: {tensor.device}" for name, tensor in tensors.items())
            raise ArgumentError(f"The tensors lie on different devices ({places}); move them to one.")
        dtypes = [tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()]
        dtype = reduce(torch.promote_types, dtypes) if dtypes else torch.float64
        arrays = cls(devices.pop() if devices else torch.device("cpu"), dtype)
        return arrays, [
            arrays.array(tensors[name] if name in tensors else reals(name, value)) for name, value in values.items()
        ]

    def give(self, result: Any, shape: tuple[int, ...]) -> Any:
        return torch.broadcast_to(result, shape).to(self.dtype, copy=True)
