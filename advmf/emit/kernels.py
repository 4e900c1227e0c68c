"""Compiling a formula to an array function, for NumPy or torch.

:func:`kernel` lowers a SymPy expression to a list of instructions (:mod:`advmf.emit.lower`), which a :class:`Kernel`
runs with the operations of its backend (:mod:`advmf.emit.backends`) on numbers of any size (:mod:`advmf.emit.scaled`).
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sympy as sp

from advmf.emit.backends import BACKENDS, REGISTERED, function
from advmf.emit.lower import Program, lower
from advmf.emit.rules import RULES, run
from advmf.emit.scaled import Value
from advmf.errors import ArgumentError, DomainError, UnsupportedFunctionError
from advmf.symbols import SYMBOLS

__all__ = ["Kernel", "kernel", "register"]


def kernel(claim: Any, backend: str = "numpy") -> Kernel:
    """Compile the right-hand side of a claim, or any real SymPy expression, to a :class:`Kernel`.

    ``backend`` is ``"numpy"`` or ``"torch"``. Raises ArgumentError for what is no real scalar expression and
    UnsupportedFunctionError for a function without an array form, which :func:`register` can give it.

    >>> from advmf.emit.kernels import kernel
    >>> from advmf.symbols import L, eps, sigma_w
    >>> f = kernel(eps * (1 + sigma_w**2 / 2) ** (L / 2))
    >>> f
    <numpy kernel f(L, sigma_w, eps) = eps*(sigma_w**2/2 + 1)**(L/2)>
    >>> f(L=[2, 4], sigma_w=2.0, eps=0.5)
    array([1.5, 4.5])
    >>> float(f.log(L=100_000, sigma_w=2.0, eps=0.5).round(6))
    54929.921286
    """
    if backend not in BACKENDS:
        raise ArgumentError(f"The backends are {', '.join(map(repr, BACKENDS))}; got {backend!r}.")
    expr = claim if isinstance(claim, (sp.Basic, str)) else getattr(claim, "rhs", claim)
    try:
        expr = sp.sympify(expr, locals={name: quantity.symbol for name, quantity in SYMBOLS.items()})
    except (sp.SympifyError, TypeError, ValueError, AttributeError, SyntaxError) as error:
        raise ArgumentError(f"kernel takes a Claim or a SymPy expression; got {claim!r} ({error}).") from None
    if not isinstance(expr, sp.Expr) or getattr(expr, "is_Matrix", False):
        hint = " Pass one of its sides." if isinstance(expr, sp.core.relational.Relational) else ""
        kind = type(expr).__name__
        raise ArgumentError(f"kernel takes a Claim or a scalar SymPy expression; got {expr!r} ({kind}).{hint}")
    return Kernel(expr, backend)


def register(head: Any, *, numpy: Callable[..., Any] | None = None, torch: Callable[..., Any] | None = None) -> None:
    """Give kernels an array function for a SymPy function, for one backend or both; it takes one array per argument.

    Raises ArgumentError for what is no class of SymPy functions, or has a rule of its own.

    >>> import sympy as sp
    >>> from scipy.special import zeta
    >>> from advmf.emit.kernels import kernel, register
    >>> register(sp.zeta, numpy=zeta)
    >>> kernel(sp.zeta(sp.Symbol("s")))(s=[2.0, 4.0]).round(6).tolist()
    [1.644934, 1.082323]
    """
    if not (isinstance(head, type) and issubclass(head, sp.Basic)):
        raise ArgumentError(f"register takes a class of SymPy functions (sympy.zeta, Function('f')); got {head!r}.")
    if head in RULES:
        raise ArgumentError(f"{head.__name__} is part of the arithmetic of kernels and cannot be replaced.")
    given = {name: array_form for name, array_form in (("numpy", numpy), ("torch", torch)) if array_form is not None}
    if not given or not all(map(callable, given.values())):
        raise ArgumentError(
            f"register({head.__name__}) takes functions as numpy=, torch= or both; got {given or None}."
        )
    for backend, array_form in given.items():
        REGISTERED[backend][head] = array_form


@dataclass(frozen=True, repr=False)
class Kernel:
    """A formula as a vectorised function of its symbols, by keyword: ``f(L=10, sigma_w=[1.0, 1.2])``.

    Arguments are numbers or arrays, broadcast against each other; integer symbols (L, N, d, K) take any real number of
    their domain, and ``"inf"`` or ``"oo"`` stands for infinity. A symbol of the theory that this formula does not hold is
    ignored, so that one set of values serves many formulas. NumPy computes in float64 and gives an array, or a
    float64 for scalars. Torch computes in float64 with gradients and gives a tensor on the device and of the dtype of
    the tensors given (float64 if none is floating). A result too large for a float is inf; :meth:`log` has its log.

    Raises ArgumentError for a missing or unknown argument and for shapes that do not broadcast, DomainError for a value
    that is NaN, complex, not numeric, or outside its symbol's domain.

    >>> from advmf.emit.kernels import kernel
    >>> from advmf.symbols import d
    >>> kernel(1 / d)(d=0.5)
    Traceback (most recent call last):
        ...
    advmf.errors.DomainError: d = 0.5 is outside its domain [1, oo) (input dimension).
    """

    expr: sp.Expr
    backend: str
    arguments: tuple[str, ...] = field(init=False, compare=False)
    program: Program = field(init=False, compare=False)
    _symbols: Mapping[str, sp.Symbol] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        symbols: dict[str, sp.Symbol] = {}
        for symbol in sorted(self.expr.free_symbols, key=_rank):
            if symbols.setdefault(symbol.name, symbol) != symbol:
                raise ArgumentError(
                    f"The expression holds two different symbols called {symbol.name}; their assumptions differ. "
                    "Take the symbols of the theory from advmf.symbols."
                )
        object.__setattr__(self, "_symbols", symbols)
        object.__setattr__(self, "arguments", tuple(symbols))
        object.__setattr__(self, "program", lower([self.expr], self.arguments, self._check_head))
        lines = [f"    {name}: {_meaning(symbol)}in {_Domain.of(symbol)}" for name, symbol in symbols.items()]
        object.__setattr__(self, "__doc__", "\n".join([f"{self.expr}", "", *lines]))

    def __call__(self, /, *args: Any, **values: Any) -> Any:
        """The value of the formula; see :class:`Kernel`."""
        arrays, inputs, shape = self._read(args, values)
        with np.errstate(all="ignore"):
            (result,) = run(self.program, arrays, [Value(x) for x in inputs])
            return arrays.give(arrays.linear(result), shape)

    def log(self, /, *args: Any, **values: Any) -> Any:
        """The natural logarithm of the value's magnitude, also where that is too large or too small for a float."""
        arrays, inputs, shape = self._read(args, values)
        with np.errstate(all="ignore"):
            program = lower([self.expr], self.arguments, self._check_head, logs=True)
            (result,) = run(program, arrays, [arrays.deep(Value(x)) for x in inputs])
            return arrays.give(result.m, shape)

    def __repr__(self) -> str:
        text = str(self.expr)
        text = text if len(text) <= 160 else f"{text[:157]}..."
        return f"<{self.backend} kernel f({', '.join(self.arguments)}) = {text}>"

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.Signature([inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in self.arguments])

    def _check_head(self, expr: sp.Expr) -> None:
        head = expr.func.__name__
        if function(self.backend, expr.func) is None:
            raise UnsupportedFunctionError(
                f"The {self.backend} backend has no array function for {head}, which occurs in {expr}. "
                f"Evaluate or rewrite it, or register one: advmf.emit.kernels.register({head}, {self.backend}=...)."
            )

    def _read(self, args: tuple[Any, ...], values: dict[str, Any]) -> tuple[Any, list[Any], tuple[int, ...]]:
        """The arguments, checked, as arrays in order, with their common shape."""
        call = f"f({', '.join(f'{name}=...' for name in self.arguments)})"
        if args:
            raise ArgumentError(f"A kernel takes keyword arguments only, {call}; got {len(args)} positional.")
        for name in values:
            if name not in self.arguments and name not in SYMBOLS:
                close = difflib.get_close_matches(name, self.arguments, n=1)
                hint = f" Did you mean {close[0]!r}?" if close else ""
                raise ArgumentError(f"{name!r} is not an argument of this kernel.{hint} It takes {call}.")
        missing = [name for name in self.arguments if name not in values]
        if missing:
            raise ArgumentError(f"Missing {', '.join(missing)}: the kernel takes {call}.")
        arrays, inputs = BACKENDS[self.backend]().read({name: values[name] for name in self.arguments})
        for (name, symbol), array in zip(self._symbols.items(), inputs):
            _Domain.of(symbol).check(name, arrays.detach(array), _meaning(symbol))
        shapes = [tuple(array.shape) for array in inputs]
        try:
            return arrays, inputs, np.broadcast_shapes(*shapes)
        except ValueError:
            listed = ", ".join(f"{name}: {shape}" for name, shape in zip(self.arguments, shapes))
            raise ArgumentError(f"The shapes of the arguments do not broadcast to a common one: {listed}.") from None


def _rank(symbol: sp.Symbol) -> tuple[int, str]:
    names = list(SYMBOLS)
    return (names.index(symbol.name) if symbol.name in SYMBOLS else len(names), symbol.name)


def _meaning(symbol: sp.Symbol) -> str:
    return f"{SYMBOLS[symbol.name].meaning}, " if symbol.name in SYMBOLS else ""


@dataclass(frozen=True)
class _Domain:
    """An interval, with which of its ends belong to it."""

    low: float
    high: float
    low_closed: bool
    high_closed: bool

    @staticmethod
    def of(symbol: sp.Symbol) -> _Domain:
        """The domain of the registry, or that of the symbol's assumptions."""
        quantity = SYMBOLS.get(symbol.name)
        if quantity is not None:
            high_closed = math.isfinite(quantity.high) or not quantity.high_open
            return _Domain(quantity.low, quantity.high, quantity.closed and math.isfinite(quantity.low), high_closed)
        low = 0.0 if symbol.is_extended_nonnegative else -math.inf
        high = 0.0 if symbol.is_extended_nonpositive else math.inf
        zero, infinity = not symbol.is_extended_nonzero, not symbol.is_finite
        return _Domain(low, high, zero if low == 0 else infinity, zero if high == 0 else infinity)

    def __str__(self) -> str:
        low, high = (f"{end:g}".replace("inf", "oo") for end in (self.low, self.high))
        return f"{'[' if self.low_closed else '('}{low}, {high}{']' if self.high_closed else ')'}"

    def check(self, name: str, array: Any, meaning: str) -> None:
        above = array >= self.low if self.low_closed else array > self.low
        below = array <= self.high if self.high_closed else array < self.high
        bad = ~(above & below)
        if bool(bad.any()):
            worst = repr(float(array[bad].reshape(-1)[0])).removesuffix(".0")
            count = f", the first of {int(bad.sum())} such values," if int(bad.sum()) > 1 else ""
            note = f" ({meaning.removesuffix(', ')})" if meaning else ""
            raise DomainError(f"{name} = {worst}{count} is outside its domain {self}{note}.")
