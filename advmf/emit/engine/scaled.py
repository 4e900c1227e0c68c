"""The arithmetic of kernels: arrays of numbers of any size.

A :class:`Value` is an array of numbers ``m * 2**k``. ``k is None`` marks an ordinary array, on which operations are the
library's own. A power over depth, an exponential or a gamma function has an exponent ``k``, an integer held as a float
and constant under differentiation. Values combined with it take the same form. So nothing overflows, zeros need no
logarithm, and gradients flow through ``m`` alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from operator import add, mul
from typing import Any, ClassVar, NamedTuple

from advmf import special

_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_FAR = 2.0**40
"""Larger than any exponent that occurs. Subtracted from the exponent of a zero, it puts that below all others."""


class Value(NamedTuple):
    """The numbers ``m * 2**k``; ``rest`` is their difference from 1 where it is known more accurately than by
    subtraction."""

    m: Any
    k: Any = None
    rest: Any = None


class Arrays:
    """Arithmetic on :class:`Value`, in terms of the elementwise operations that a subclass takes from its library.

    ``split(m, k)`` gives ``(m, k)`` of the same value with 1/2 <= abs(m) < 1, and ``detach`` the values without their
    gradient. ``functions`` is the table from SymPy head to array function, ``integral`` gives that of a mean over
    Gaussians, and ``borrowed`` that of a function which NumPy evaluates for the library, ``written`` that
    of a function given as source text. ``read`` takes a user's values
    and ``give`` returns a result; ``guard`` stops gradients where a condition fails; ``in_loop`` chooses the arrays for
    a long loop.
    """

    name: str
    value: ClassVar[type[Value]] = Value
    functions: ClassVar[dict[Any, Callable[..., Any]]]
    array: Any
    split: Any
    detach: Any
    read: Any
    give: Any
    guard: Any
    in_loop: Any
    where: Any
    exp: Any
    expm1: Any
    log: Any
    log1p: Any
    exp2: Any
    floor: Any
    sqrt: Any
    abs: Any
    sign: Any
    maximum: Any
    clip: Any
    erfc: Any
    lgamma: Any
    asin: Any
    acos: Any
    broadcast: Any
    like: Any
    numpy: Any
    tracked: Any
    integral: Any
    borrowed: Any
    written: Any

    def known(self, numbers: Any, name: str, given: list[Any]) -> Any:
        """Numbers computed elsewhere from ``given`` arrays, without derivatives."""
        return self.array(numbers)

    def sloped(self, function: Callable[..., Any], slopes: Callable[..., Any], *arrays: Any) -> Any:
        """``function(*arrays, self)``, whose derivatives are ``slopes(*arrays, self)``."""
        return function(*arrays, self)

    def linear(self, x: Value) -> Any:
        """The numbers as an ordinary array, infinite or zero where they do not fit."""
        if x.k is None:
            return x.m
        half = self.clip(self.floor(x.k / 2), -1022.0, 1023.0)
        return x.m * self.exp2(half) * self.exp2(self.clip(x.k - half, -1022.0, 1023.0))

    def deep(self, x: Value) -> Value:
        return x if x.k is not None else Value(*self.split(x.m, 0.0))._replace(rest=x.rest)

    def log_abs(self, x: Value) -> Any:
        """The natural logarithm of the magnitude, with a zero gradient at zero."""
        zero = x.m == 0
        size = self.abs(self.where(zero, 1.0, x.m))
        if x.k is None:
            out = self.log(size)
        else:
            # A number next to 1 may be 1/2 * 2**1, whose two logarithms would cancel.
            one = self.clip(x.k, 0.0, 1.0)
            out = self.log(size * self.exp2(one)) + (x.k - one) * _LN2_HIGH + (x.k - one) * _LN2_LOW
        out = self.where(zero, -math.inf, out)
        if x.rest is None:
            return out
        near = self.abs(x.rest) < 0.5
        return self.where(near, self.log1p(self.where(near, x.rest, 0.0)), out)

    def exponential(self, x: Any) -> Value:
        """exp of an ordinary array."""
        k = self.floor(self.clip(self.detach(x) / math.log(2), -_FAR, _FAR))
        return Value(self.exp((x - k * _LN2_HIGH) - k * _LN2_LOW), k)

    def add(self, *terms: Value) -> Value:
        if all(term.k is None for term in terms):
            return Value(reduce(add, (term.m for term in terms)))
        terms = tuple(map(self.deep, terms))
        # The largest exponent; that of a zero counts only if all are zero.
        top = reduce(self.maximum, (self.where(m == 0, k - _FAR, k) for m, k, _ in terms))
        top = self.where(top < -_FAR / 2, top + _FAR, top)
        total = reduce(add, (m * self.exp2(self.clip(k - top, -1022.0, 1000.0)) for m, k, _ in terms))
        return Value(*self.split(total, top))

    def one_plus(self, *terms: Value) -> Value:
        rest, one = self.add(*terms), self.add(Value(self.array(1.0)), *terms)
        return one._replace(rest=self.linear(rest))

    def multiply(self, *factors: Value) -> Value:
        if all(factor.k is None for factor in factors):
            return Value(reduce(mul, (factor.m for factor in factors)))
        factors = tuple(map(self.deep, factors))
        return Value(*self.split(reduce(mul, (x.m for x in factors)), reduce(add, (x.k for x in factors))))

    def power(self, x: Value, y: Value, positive: bool = False) -> Value:
        """``x**y``; ``positive`` says that x > 0. A negative ``x`` with a fractional ``y`` gives NaN."""
        exponent = self.linear(y)
        if positive:
            return self.exponential(exponent * self.log_abs(x))
        zero, negative = x.m == 0, x.m < 0
        log = self.log_abs(Value(self.where(zero, 1.0, x.m), x.k, x.rest))
        flat = zero | ((exponent == 0) & (self.abs(log) == math.inf)) | ((log == 0) & (self.abs(exponent) == math.inf))
        size = self.exponential(self.where(flat, 0.0, exponent) * self.where(flat, 0.0, log))
        odd = self.where(exponent == self.floor(exponent), 1 - 2 * (exponent - 2 * self.floor(exponent / 2)), math.nan)
        # The library's own power has the right value and derivatives at zero, and is 1 elsewhere.
        sign = self.where(negative, odd, 1.0) * self.where(zero, x.m, 1.0) ** self.where(zero, exponent, 1.0)
        return Value(size.m * sign, self.where(flat, 0.0, size.k))

    def number_power(self, x: Value, exponent: float) -> Value:
        """``x**exponent`` for a Python number."""
        if abs(exponent) > 16:
            return self.power(x, Value(self.array(exponent)))
        m, k, _ = x
        if k is not None:
            whole = self.floor(k * exponent)
            part, k = k * exponent - whole, whole
        if abs(exponent) == 0.5:
            m = self.sqrt(m)
        elif abs(exponent) != 1:
            m = m ** abs(exponent)
        m = 1 / m if exponent < 0 else m
        if k is None:
            return Value(m)
        return Value(*self.split(m if exponent.is_integer() else m * self.exp2(part), k))

    def power_minus_one(self, x: Value, y: Value) -> Value:
        exponent, log = self.linear(y), self.log_abs(x)
        near = (x.m > 0) & (self.abs(exponent * log) < 0.5)
        difference = Value(self.expm1(self.where(near, exponent, 0.0) * self.where(near, log, 0.0)))
        return self.select(near, difference, self.add(self.power(x, y), Value(self.array(-1.0))))

    def select(self, condition: Any, x: Value, y: Value) -> Value:
        if x.k is None and y.k is None:
            return Value(self.where(condition, x.m, y.m))
        x, y = self.deep(x), self.deep(y)
        return Value(self.where(condition, x.m, y.m), self.where(condition, x.k, y.k))

    def compare(self, operation: Callable[[Any, Any], Any], x: Value, y: Value) -> Value:
        if x.k is None and y.k is None:
            return Value(operation(x.m, y.m))
        difference = self.add(x, y._replace(m=-y.m)).m
        equal_infinities = (self.abs(x.m) == math.inf) & (x.m == y.m)
        return Value(operation(self.where(equal_infinities, 0.0, difference), 0.0))

    def extreme(self, operation: Callable[[Any, Any], Any], *values: Value) -> Value:
        """The first value that has the relation ``operation`` to all others; ``operator.ge`` gives the maximum."""
        return reduce(lambda x, y: self.select(self.compare(operation, x, y).m, x, y), values)

    def logarithm(self, x: Value) -> Value:
        return Value(self.where(x.m < 0, math.nan, self.log_abs(x)))

    def loggamma(self, x: Value) -> Value:
        z = self.linear(x)
        return Value(self.where(z < 0, math.nan, self.lgamma(z)))

    def gamma(self, x: Value) -> Value:
        z = self.linear(x)
        below = self.floor(z)
        size = self.exponential(self.lgamma(z))
        return size._replace(m=size.m * self.where(z < 0, 1 - 2 * (below - 2 * self.floor(below / 2)), 1.0))

    def gamma_ratio(self, x: Value, step: float, positive: bool) -> Value:
        """Gamma(x + step)/Gamma(x); ``positive`` says that x > 0 and x + step > 0."""
        z = self.linear(x)
        if positive:
            return self.exponential(special.log_gamma_ratio(z, step, self))
        holds = (z > 0) & (z + step > 0)
        stable = self.exponential(special.log_gamma_ratio(self.where(holds, z, 1.0 + abs(step)), step, self))
        quotient = self.multiply(self.gamma(Value(z + step)), self.number_power(self.gamma(Value(z)), -1.0))
        return self.select(holds, stable, quotient)

    def phi(self, x: Any) -> Value:
        """expm1(x)/x of an ordinary array, with all its derivatives at zero."""
        small = self.abs(x) < 0.02
        near, far = self.where(small, x, 0.0), self.where(small, 1.0, x)
        series = reduce(lambda total, j: 1 + total * near / j, range(8, 1, -1), 1.0)
        size = self.exponential(self.where(small | (x < 0), 0.0, x))
        return size._replace(m=size.m * self.where(small, series, -self.expm1(-self.abs(far)) / self.abs(far)))
