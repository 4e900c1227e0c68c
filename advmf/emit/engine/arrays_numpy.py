"""NumPy as the array library of kernels."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import sympy as sp
from scipy import special as scipy

from advmf import special
from advmf.emit.engine.scaled import Arrays, Value
from advmf.errors import ArgumentError, DomainError
from advmf.functions.normal_mean import Integrand


def reals(name: str, value: object) -> np.ndarray:
    """A user's value as an array of float64; DomainError if it is not made of real numbers."""
    if isinstance(value, str) and value.strip().lower() in ("inf", "oo"):
        return np.asarray(math.inf)
    if type(value).__module__.partition(".")[0] == "torch":
        raise ArgumentError(f'{name} is a torch tensor; compile the kernel with backend="torch" to use it.')
    if np.ma.isMaskedArray(value) and np.ma.is_masked(value):
        raise ArgumentError(
            f"{name} has masked values, for which torch has no form; use a NumPy backend, or fill them."
        )
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


class NumPy(Arrays):
    """NumPy arrays of float64."""

    name = "numpy"
    functions: ClassVar = {
        sp.sin: np.sin, sp.cos: np.cos, sp.tan: np.tan, sp.asin: np.arcsin, sp.acos: np.arccos, sp.atan: np.arctan,
        sp.atan2: np.arctan2, sp.sinh: np.sinh, sp.cosh: np.cosh, sp.tanh: np.tanh, sp.asinh: np.arcsinh,
        sp.acosh: np.arccosh, sp.atanh: np.arctanh, sp.erf: scipy.erf, sp.erfc: scipy.erfc, sp.erfinv: scipy.erfinv,
        sp.polygamma: scipy.polygamma, sp.floor: np.floor, sp.ceiling: np.ceil,
    }  # fmt: skip

    def __init__(self) -> None:
        vars(self).update(
            vars(special.numpy_ops()), maximum=np.maximum, sign=np.sign, floor=np.floor, expm1=np.expm1,
            exp2=np.exp2, array=np.asarray, detach=np.asarray,
        )  # fmt: skip

    @staticmethod
    def integral(head: Any) -> Callable[..., Any] | None:
        """The array function of a mean over Gaussians, None for any other head."""
        return head.numbers if isinstance(head, Integrand) else None

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
    """The same arithmetic on single numbers, at a tenth of the cost of zero-dimensional arrays."""

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
