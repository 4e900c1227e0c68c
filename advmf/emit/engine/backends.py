"""The array libraries behind kernels: the operations and functions of each, and how it takes and gives arrays."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping
from functools import cache, reduce
from typing import Any, ClassVar

import numpy as np
import sympy as sp

from advmf import special
from advmf.emit.engine.scaled import Arrays, Value
from advmf.errors import ArgumentError, DomainError
from advmf.theory.functions import ArcCosineSlope
from advmf.theory.norm_functions import NumericNorm

_SNAP = 1 + 2.0**-51
"""Correlations within rounding of 1 count as 1: that of two equal inputs, of which a missing ulp would cost the slope eight digits."""

_NUMBERS: dict[Any, Callable[..., Any]] = {head: head.numbers for head in NumericNorm.__subclasses__()}
"""Functions that NumPy evaluates for both libraries, without derivatives."""


def reals(name: str, value: object) -> np.ndarray:
    """A user's value as an array of float64; DomainError if it is not made of real numbers."""
    if isinstance(value, str) and value.strip().lower() in ("inf", "oo"):
        return np.asarray(math.inf)
    if type(value).__module__.partition(".")[0] == "torch":
        raise ArgumentError(f'{name} is a torch tensor; compile the kernel with backend="torch" to use it.')
    kind = ""
    try:
        array = np.asarray(value)
        kind = array.dtype.kind
        if kind in "iuf":
            return array.astype(float, copy=False)
        if kind == "O":
            return np.vectorize(_real, otypes=[float])(array) if array.size else array.astype(float)
    except (TypeError, ValueError, OverflowError):
        pass
    what = "complex" if kind == "c" else "not numeric"
    raise DomainError(f"{name} takes real numbers; got {reprlib.repr(value)}, which is {what}.")


def _real(value: Any) -> float:
    if isinstance(value, (bool, np.bool_, str)):
        raise TypeError
    return float(value)


@cache
def _numpy() -> type[Arrays]:
    from scipy import special as scipy

    class NumPy(Arrays):
        """NumPy arrays of float64."""

        name = "numpy"
        functions: ClassVar = {
            sp.sin: np.sin, sp.cos: np.cos, sp.tan: np.tan, sp.asin: np.arcsin, sp.acos: np.arccos, sp.atan: np.arctan,
            sp.atan2: np.arctan2, sp.sinh: np.sinh, sp.cosh: np.cosh, sp.tanh: np.tanh, sp.asinh: np.arcsinh,
            sp.acosh: np.arccosh, sp.atanh: np.arctanh, sp.erf: scipy.erf, sp.erfc: scipy.erfc, sp.erfinv: scipy.erfinv,
            sp.polygamma: scipy.polygamma, sp.floor: np.floor, sp.ceiling: np.ceil,
            ArcCosineSlope: lambda c: 1 - np.arccos(np.clip(c * _SNAP, -1.0, 1.0)) / math.pi, **_NUMBERS,
        }  # fmt: skip

        def __init__(self) -> None:
            vars(self).update(
                vars(special.numpy_ops()), maximum=np.maximum, sign=np.sign, floor=np.floor, expm1=np.expm1,
                exp2=np.exp2, array=np.asarray, detach=np.asarray,
            )  # fmt: skip

        @staticmethod
        def split(m: Any, k: Any) -> tuple[Any, Any]:
            m, shift = np.frexp(m)
            return m, k + shift.astype(float)

        def guard(self, x: Value, _: Any) -> Value:
            return x

        def in_loop(self, values: list[Value], _: set[Any]) -> tuple[Arrays, list[Value]]:
            if any(np.ndim(x.m) for x in values):
                return self, values
            return Scalars(), [Value(np.float64(m), float(k)) for m, k, _ in values]

        @classmethod
        def read(cls, values: Mapping[str, object]) -> tuple[Arrays, list[Any]]:
            return shared, [reals(name, value) for name, value in values.items()]

    class Scalars(NumPy):
        """The same on single numbers, at a tenth of the cost of arrays without dimensions."""

        def __init__(self) -> None:
            super().__init__()
            self.where = lambda condition, x, y: np.float64(x if condition else y)
            self.clip = lambda x, low, high: x if low <= x <= high else high if x > high else low
            self.maximum, self.exp2, self.detach = max, lambda k: 2.0**k, lambda x: x

        @staticmethod
        def split(m: Any, k: Any) -> tuple[Any, Any]:
            m, shift = math.frexp(m)
            return np.float64(m), k + shift

        def add(self, *terms: Value) -> Value:
            top = max((x.k or 0.0 for x in terms if x.m), default=0.0)
            total = 0.0
            for m, k, _ in terms:
                if m:
                    total += math.ldexp(m, max(int((k or 0.0) - top), -2000))
            return Value(*self.split(total, top))

        def multiply(self, *factors: Value) -> Value:
            m, k = 1.0, 0.0
            for x in factors:
                m, k = m * x.m, k + (x.k or 0.0)
            return Value(*self.split(m, k))

    shared = NumPy()
    return NumPy


@cache
def _torch() -> type[Arrays]:
    import torch

    def polygamma(order: Any, x: Any) -> Any:
        n = int(order)
        # torch.polygamma(1, x) has no more than nine digits.
        return torch.digamma(x) if n == 0 else (-1) ** (n + 1) * math.factorial(n) * torch.special.zeta(n + 1.0, x)

    def without_derivatives(function: Callable[..., Any]) -> Callable[..., Any]:
        def numbers(*arrays: Any) -> Any:
            values = function(*(x.detach().cpu().numpy() for x in arrays))
            return torch.as_tensor(values, dtype=torch.float64, device=arrays[0].device)

        return numbers

    def root(x: Any) -> Any:
        # A slope of 1e150 instead of infinity at zero: times a vanishing inner derivative it is zero, not NaN.
        zero = x == 0
        return torch.where(zero, x * 1e150, torch.sqrt(torch.where(zero, 1.0, x)))

    class ArcCosineFunction(torch.autograd.Function):
        """The arc-cosine kernel with its derivative 1 - acos(c)/pi, which is finite at c = 1."""

        @staticmethod
        def forward(ctx: Any, c: Any, arrays: Any) -> Any:
            ctx.save_for_backward(c)
            return special.arc_cosine(c, arrays)

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            (c,) = ctx.saved_tensors
            return gradient * (1 - torch.acos(c.clamp(-1.0, 1.0)) / math.pi), None

    class Torch(Arrays):
        """Tensors of float64 on one device; results in the dtype of the arguments."""

        name = "torch"
        functions: ClassVar = {
            sp.sin: torch.sin, sp.cos: torch.cos, sp.tan: torch.tan, sp.asin: torch.asin, sp.acos: torch.acos,
            sp.atan: torch.atan, sp.atan2: torch.atan2, sp.sinh: torch.sinh, sp.cosh: torch.cosh, sp.tanh: torch.tanh,
            sp.asinh: torch.asinh, sp.acosh: torch.acosh, sp.atanh: torch.atanh, sp.erf: torch.erf, sp.erfc: torch.erfc,
            sp.erfinv: torch.erfinv, sp.polygamma: polygamma, sp.floor: torch.floor, sp.ceiling: torch.ceil,
            ArcCosineSlope: lambda c: 1 - torch.acos((c * _SNAP).clamp(-1.0, 1.0)) / math.pi,
            **{head: without_derivatives(function) for head, function in _NUMBERS.items()},
        }  # fmt: skip

        def __init__(self, device: Any, dtype: Any) -> None:
            self.device, self.dtype = device, dtype
            vars(self).update(
                where=torch.where, maximum=torch.maximum, clip=torch.clamp, abs=torch.abs, sign=torch.sign,
                floor=torch.floor, sqrt=root, exp=torch.exp, expm1=torch.expm1, log=torch.log, log1p=torch.log1p,
                exp2=torch.exp2, erfc=torch.erfc, lgamma=torch.lgamma, asin=torch.asin,
            )  # fmt: skip

        def array(self, x: Any) -> Any:
            return torch.as_tensor(x, dtype=torch.float64, device=self.device)

        def like(self, x: Any, _: Any) -> Any:
            return self.array(x)

        def broadcast(self, *arrays: Any) -> Any:
            return torch.broadcast_tensors(*map(self.array, arrays))

        def arc_cosine(self, c: Value) -> Value:
            return Value(ArcCosineFunction.apply(self.linear(c), self))

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
            shift = torch.frexp(m.detach()).exponent.to(m.dtype).clamp(-1000.0, 1000.0)
            return m * torch.exp2(-shift), k + shift

        def guard(self, x: Value, condition: Any) -> Value:
            return x._replace(m=torch.where(condition, x.m, x.m.detach()))

        def in_loop(self, values: list[Value], functions: set[Any]) -> tuple[Arrays, list[Value]]:
            known = all(function("numpy", head) for head in functions)
            if not known or self.device.type != "cpu" or any(self.tracked(x.m) for x in values):
                return self, values
            # NumPy takes a third of the time.
            return _numpy()().in_loop([Value(self.numpy(m), self.numpy(k)) for m, k, _ in values], functions)

        @classmethod
        def read(cls, values: Mapping[str, object]) -> tuple[Arrays, list[Any]]:
            tensors = {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}
            for name, tensor in tensors.items():
                if tensor.is_complex() or tensor.dtype == torch.bool:
                    raise DomainError(f"{name} takes real numbers; got a tensor of dtype {tensor.dtype}.")
            # As in torch itself, a tensor without dimensions gives way to the others.
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

    return Torch


BACKENDS: dict[str, Callable[[], type[Arrays]]] = {"numpy": _numpy, "torch": _torch}
"""The array libraries by name; each is imported when it is first called for."""

REGISTERED: dict[str, dict[Any, Callable[..., Any]]] = {name: {} for name in BACKENDS}
"""The array functions that :func:`advmf.emit.kernels.register` added, by backend and SymPy head."""


def function(backend: str, head: Any) -> Any:
    """The array function of a SymPy head, or None."""
    return REGISTERED[backend].get(head) or BACKENDS[backend]().functions.get(head)
