"""Compiling formulas to array functions, for NumPy, native code or torch.

:func:`kernel` lowers SymPy expressions to one list of instructions (:mod:`~advmf.emit.engine.lower`). A :class:`Kernel`
evaluates it in plain floating-point numbers (:mod:`~advmf.emit.engine.plain`), each operation at the size of the axes
it depends on (:mod:`~advmf.emit.engine.grid`). This is done by NumPy (:mod:`~advmf.emit.engine.blocks`) or by generated
C (:mod:`~advmf.emit.engine.native`). Elements where these overflow are computed again on numbers of any size
(:mod:`~advmf.emit.engine.rules`, :mod:`~advmf.emit.engine.scaled`). Torch uses such numbers throughout.
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, lru_cache
from typing import Any

import numpy as np
import sympy as sp

from advmf.boundary import public
from advmf.claim import Claim
from advmf.emit.engine import door
from advmf.emit.engine.backends import BACKENDS, function
from advmf.emit.engine.blocks import numpy_engine
from advmf.emit.engine.buffers import afford, apart, common_shape, outputs, precision
from advmf.emit.engine.derivatives import derivatives
from advmf.emit.engine.domains import Domain, meaning, rank
from advmf.emit.engine.grid import CHUNK, FEW, Engine, Grid, Plan, scaled, scaled_arrays
from advmf.emit.engine.lower import Program, lower
from advmf.emit.engine.native import available, native_engine
from advmf.errors import ArgumentError, DomainError, UnsupportedFunctionError
from advmf.expressions import expression
from advmf.functions.columns import COLUMNS, NONE, register
from advmf.notebook import Shown
from advmf.symbols import SYMBOLS
from advmf.symbols import L as DEPTH

__all__ = ["Kernel", "kernel", "register"]

LIBRARY = {"auto": "numpy", "numpy": "numpy", "native": "numpy", "torch": "torch"}
"""The backends, and the array library of each."""
_FLOAT = np.dtype(float)
LARGE = 1 << 17
"""The backend "auto" is native from this many elements on. A build, once per machine, costs as much as a few such calls
of NumPy."""


@public
def kernel(claim: Any, backend: str = "auto", *, grad: str | Sequence[str] = ()) -> Kernel:
    """Compile the right-hand side of a claim, or any real SymPy expression, to a :class:`Kernel`. A list of several is
    compiled together.

    ``grad`` names symbols: the kernel then gives the value and a dict of its derivatives by name. Backends:

    * ``"auto"``: NumPy arrays; native code for 131,072 elements and more where there is a C compiler, else NumPy alone
    * ``"numpy"``: NumPy alone
    * ``"native"``: native code from 1,024 elements on; NumPy where there is no compiler, which
      :func:`advmf.emit.engine.native.native_support` says
    * ``"torch"``: tensors on any device, with gradients of any order

    Raises ArgumentError for a value that is no real scalar expression, and UnsupportedFunctionError for a function
    without an array form; :func:`register` adds one.

    >>> from advmf.emit.kernels import kernel
    >>> from advmf.symbols import L, eps, sigma_w
    >>> growth = (1 + sigma_w**2 / 2) ** (L / 2)
    >>> f = kernel(eps * growth)
    >>> f
    <numpy kernel f(L, sigma_w, eps) = eps*(sigma_w**2/2 + 1)**(L/2)>
    >>> f(L=[2, 4], sigma_w=2.0, eps=0.5)
    array([1.5, 4.5])
    >>> float(f.log(L=100_000, sigma_w=2.0, eps=0.5).round(6))
    54929.921286
    >>> bound, size = kernel([eps * growth, growth])(L=[2, 4], sigma_w=2.0, eps=0.5)
    >>> value, slope = kernel(eps * growth, grad="eps")(L=[2, 4], sigma_w=2.0, eps=0.5)
    >>> bool((bound == value).all() and (slope["eps"] == size).all())
    True
    """
    if backend not in LIBRARY:
        raise ArgumentError(f"The backends are {', '.join(map(repr, LIBRARY))}; got {backend!r}.")
    several = isinstance(claim, (list, tuple)) and len(claim) > 0
    claims = claim if several else [claim]
    exprs = [_expression(each) for each in claims]
    depth = max(each.depth if isinstance(each, Claim) else 0 for each in claims)
    names = (grad,) if isinstance(grad, str) else tuple(grad)
    formulas = sp.Tuple(*exprs) if several else exprs[0]
    return _kernel(formulas, backend, names, depth, tuple(COLUMNS.values()))


door.register(kernel)


@lru_cache(maxsize=256)
def _kernel(expr: sp.Basic, backend: str, grad: tuple[str, ...], depth: int, _: Any) -> Kernel:
    return Kernel(expr, backend, grad, depth)


def _expression(claim: Any) -> sp.Expr:
    expr = claim if isinstance(claim, (sp.Basic, str)) else getattr(claim, "rhs", claim)
    try:
        expr = expression(expr)
    except ArgumentError as error:
        raise ArgumentError(f"kernel takes a Claim or a SymPy expression; got {claim!r:.80} ({error}).") from None
    if not isinstance(expr, sp.Expr) or getattr(expr, "is_Matrix", False):
        hint = " Pass one of its sides." if isinstance(expr, sp.core.relational.Relational) else ""
        kind = type(expr).__name__
        raise ArgumentError(f"kernel takes a Claim or a scalar SymPy expression; got {expr!r} ({kind}).{hint}")
    return expr


class _Text:
    """The docstring of a class, and of each of its values a text of its own."""

    def __init__(self, text: str | None) -> None:
        self._text = text

    def __get__(self, kernel: Kernel | None, owner: type | None = None) -> str | None:
        return self._text if kernel is None else kernel._described


class _Signature:
    """The signature of a kernel, of its own arguments. The class has none: ``inspect`` takes that of ``__init__``."""

    def __get__(self, kernel: Kernel | None, owner: type | None = None) -> inspect.Signature:
        if kernel is None:
            raise AttributeError("__signature__")
        return inspect.Signature([inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in kernel.arguments])


@dataclass(frozen=True, repr=False)
class Kernel(Shown):
    """Formulas as a vectorised function of their symbols, by keyword: ``f(L=10, sigma_w=[1.0, 1.2])``.

    Arguments are numbers or arrays, broadcast against each other; integer symbols (L, N, d, K) take any real number of
    their domain, and ``"inf"`` or ``"oo"`` stands for infinity. A symbol of the theory that does not occur in the
    formula is ignored, so that one set of values serves many formulas. One formula gives an array (a float64 for
    scalars), several give a tuple. With ``grad`` the result is a pair: the values, and a dict from each symbol to the
    derivatives. A result too large for a float is inf; :meth:`log` gives its logarithm. NumPy and native code compute
    in float64. ``dtype=`` converts the results, and ``out=`` is the array to write to, or for several formulas or
    derivatives a list in this order. Besides the results a large grid needs little memory. Torch computes in float64
    with gradients and gives tensors on the device and of the dtype of the tensors given (float64 if none is floating).

    Raises ArgumentError for a missing or unknown argument, for shapes that do not broadcast and for an unfit ``out`` or
    ``dtype``, DomainError for a value that is NaN, complex, not numeric, or outside its symbol's domain. Before
    anything is computed it raises MemoryBudgetError where the results outgrow the machine's memory, and BudgetError
    where a recursion would take more than an hour. The L of a claim's kernel starts at the claim's ``depth``.

    >>> from advmf.emit.kernels import kernel
    >>> from advmf.symbols import d
    >>> kernel(1 / d)(d=0.5)
    Traceback (most recent call last):
        ...
    advmf.errors.DomainError: d = 0.5 is outside its domain [1, oo) (input dimension).
    """

    __doc__ = _Text(__doc__)
    __signature__ = _Signature()

    expr: sp.Expr
    backend: str
    grad: tuple[str, ...] = ()
    depth: int = 0
    arguments: tuple[str, ...] = field(init=False, compare=False)
    program: Program = field(init=False, compare=False)
    _domains: dict[str, Domain] = field(init=False, compare=False)
    _plans: dict[Any, Plan] = field(init=False, compare=False)
    _direct: dict[bool, tuple[Any, Engine]] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        symbols: dict[str, sp.Symbol] = {}
        for symbol in sorted(self.expr.free_symbols, key=rank):
            if symbols.setdefault(symbol.name, symbol) != symbol:
                raise ArgumentError(
                    f"The expression holds two different symbols called {symbol.name}; their assumptions differ. "
                    "Take the symbols of the theory from advmf.symbols."
                )
        for name in ("out", "dtype"):
            if name in symbols:
                raise ArgumentError(f"A kernel's own keyword is {name}=; give the symbol {name} another name.")
        for name in self.grad:
            if name not in symbols:
                raise ArgumentError(
                    f"grad names symbols of the formula, {', '.join(symbols) or 'of which there are none'}; got {name!r}."
                )
        set_ = object.__setattr__
        set_(self, "_domains", {name: self._domain(symbol) for name, symbol in symbols.items()})
        set_(self, "_plans", {})
        set_(self, "_direct", {})
        set_(self, "arguments", tuple(symbols))
        formulas = [*self._values, *derivatives(self.expr, self.grad)]
        set_(self, "program", lower(formulas, self.arguments, self._check_head))

    @cached_property
    def _described(self) -> str:
        """The formula, and its symbols. Long formulas take long to print, and so it is made when it is asked for."""
        symbols = {symbol.name: symbol for symbol in self.expr.free_symbols}
        lines = [
            f"    {name}: {meaning(symbols[name]) + ', ' if meaning(symbols[name]) else ''}in {self._domains[name]}"
            for name in self.arguments
        ]
        return "\n".join([f"{self.expr}", "", *lines])

    def __call__(self, /, *args: Any, out: Any = None, dtype: Any = None, **values: Any) -> Any:
        """The value of the formula; see :class:`Kernel`."""
        plain = not args and out is None and dtype is None
        results = (self._directly(values) if plain else None) or self._evaluate(self.program, args, values, out, dtype)
        if not self.grad and not isinstance(self.expr, sp.Tuple):
            return results[0]
        size = len(self._values)
        groups = [results[i : i + size] for i in range(0, len(results), size)]
        shaped = [tuple(group) if isinstance(self.expr, sp.Tuple) else group[0] for group in groups]
        return (shaped[0], dict(zip(self.grad, shaped[1:]))) if self.grad else shaped[0]

    def log(self, /, *args: Any, out: Any = None, dtype: Any = None, **values: Any) -> Any:
        """The natural logarithm of the value's magnitude, without derivatives; valid also where the value is too large
        or too small for a float."""
        results = self._evaluate(self._log_program, args, values, out, dtype)
        return tuple(results) if isinstance(self.expr, sp.Tuple) else results[0]

    def derivatives(self, names: tuple[str, ...]) -> Kernel:
        """A kernel for arrays of the derivatives of all outputs in the symbols of these names, symbol by symbol."""
        return _derivatives(self.expr, names)

    def __repr__(self) -> str:
        text = str(self.expr)
        text = text if len(text) <= 160 else f"{text[:157]}..."
        grad = f", with derivatives in {', '.join(self.grad)}" if self.grad else ""
        name = self.backend if self.backend in ("native", "torch") else "numpy"
        return f"<{name} kernel f({', '.join(self.arguments)}) = {text}{grad}>"

    def __reduce__(self) -> Any:
        return Kernel, (self.expr, self.backend, self.grad, self.depth)

    def _domain(self, symbol: sp.Symbol) -> Domain:
        domain = Domain.of(symbol)
        return replace(domain, low=max(domain.low, float(self.depth))) if symbol == DEPTH else domain

    @property
    def _values(self) -> tuple[sp.Expr, ...]:
        return tuple(self.expr) if isinstance(self.expr, sp.Tuple) else (self.expr,)

    @cached_property
    def _log_program(self) -> Program:
        return lower(self._values, self.arguments, self._check_head, logs=True)

    def _check_head(self, expr: sp.Expr) -> None:
        head, library = expr.func.__name__, LIBRARY[self.backend]
        if COLUMNS.get(expr.func, NONE).scaled is None and function(library, expr.func) is None:
            raise UnsupportedFunctionError(
                f"The {library} backend has no array function for {head}, which occurs in {expr}. "
                f"Evaluate or rewrite it, or register one: advmf.emit.kernels.register({head}, {library}=...)."
            )

    def _evaluate(self, program: Program, args: Any, values: dict[str, Any], out: Any, dtype: Any) -> list[Any]:
        masked = LIBRARY[self.backend] == "numpy" and any(map(np.ma.isMaskedArray, values.values()))
        if masked:
            return self._evaluate_unmasked(program, args, values, out, dtype)
        arrays, inputs, shape = self._read(args, values)
        if out is None:
            afford(shape, len(program.outputs), dtype)
        try:
            return self._computed(program, arrays, inputs, shape, out, dtype)
        except DomainError:
            units = (precision(values[name]) for name in self.arguments)
            settled = [d.settled(x, unit) for d, x, unit in zip(self._domains.values(), inputs, units)]
            if all(x is y for x, y in zip(settled, inputs)):
                raise
            return self._computed(program, arrays, settled, shape, out, dtype)

    def _evaluate_unmasked(
        self, program: Program, args: Any, values: dict[str, Any], out: Any, dtype: Any
    ) -> list[np.ma.MaskedArray]:
        """The outputs where no argument is masked, as masked arrays."""
        if out is not None:
            raise ArgumentError(
                "out= takes no results of masked arrays; leave it out, or fill the masked values and drop the mask."
            )
        _, _, shape = self._read(args, {name: np.ma.getdata(x) for name, x in values.items()})
        afford(shape, len(program.outputs), dtype)
        used = [name for name in self.arguments if np.ndim(values[name])]
        mask = np.zeros(shape, bool)
        for name in self.arguments:
            mask |= np.ma.getmaskarray(values[name]) if np.ma.isMaskedArray(values[name]) else False
        given = {name: np.broadcast_to(np.ma.getdata(values[name]), shape)[~mask] for name in used}
        found = self._evaluate(program, (), {**values, **given}, None, dtype)
        outs = [np.ma.masked_all(shape, x.dtype) for x in found]
        for masked, numbers in zip(outs, found):
            masked[~mask] = numbers
        return outs

    def _computed(
        self, program: Program, arrays: Any, inputs: list[Any], shape: tuple[int, ...], out: Any, dtype: Any
    ) -> list[Any]:
        if arrays.name == "torch":
            from advmf.emit.engine.tensors import evaluate

            return evaluate(self, program, arrays, inputs, shape, out, dtype)
        outs = outputs(out, dtype, shape, len(program.outputs))
        self.fill(program, inputs, shape, outs, fresh=out is None)
        return outs if out is not None or shape else [array[()] for array in outs]

    def _directly(self, values: dict[str, Any]) -> list[np.ndarray] | None:
        """The outputs for float64 arrays of one shape if a single stage computes them; None in all other cases, and
        where the stage fails.

        It is a fast version of :meth:`_evaluate`, without preparations that take as long as some thousand elements.
        """
        inputs: list[Any] = [values.get(name) for name in self.arguments]
        first = inputs[0] if len(inputs) == len(values) > 0 else None
        if not isinstance(first, np.ndarray) or not FEW <= first.size <= CHUNK:
            return None
        for x in inputs:
            if type(x) is not np.ndarray or x.dtype is not _FLOAT or x.shape != first.shape or not x.flags.c_contiguous:
                return None
        found = self._direct.get(self._native(first.size))
        if found is None:
            return None
        (stage, bounds, places), engine = found
        outs = [np.empty(first.shape) for _ in stage.outputs]
        return outs if engine(stage, bounds, [inputs[j] for j in places], outs) is None else None

    def _native(self, size: int) -> bool:
        """Whether native code evaluates this many elements."""
        return self.backend != "numpy" and (self.backend == "native" or size >= LARGE) and available()

    def fill(
        self, program: Program, inputs: list[np.ndarray], shape: tuple[int, ...], outs: list[np.ndarray], fresh: bool
    ) -> None:
        """Write the outputs of a program to arrays with the common shape of the inputs; ``fresh`` says whether the
        arrays are new. The engine is the backend's."""
        size = math.prod(shape)
        if size < FEW:
            self._check(inputs)
            for to, numbers in zip(outs, scaled(program, inputs) if size else ()):
                np.copyto(to, numbers, casting="same_kind")
            return
        native = self._native(size)
        engine = native_engine if native else numpy_engine
        grid = _grid(tuple(x.shape for x in inputs), shape)
        laid = grid.lay(inputs)
        truths = self._truths(program, grid, laid) if program.branches else ()
        key = (program is self.program, grid.axes, native, truths)
        plan = self._plans.get(key)
        if plan is None:
            bounds = tuple(domain.bounds for domain in self._domains.values())
            arrays = native_arrays() if native else scaled_arrays()
            plan = self._plans[key] = Plan(program, grid.axes, bounds, dict(truths).__getitem__, not native, arrays)
            if plan.single and set(grid.axes) == {1} and len(plan.checked) == len(inputs) and program is self.program:
                self._direct[native] = plan.single, engine
        for j, domain in enumerate(self._domains.values()):
            if j not in plan.checked or inputs[j].size < FEW:
                domain.check(inputs[j])
        whole = [y.reshape(grid.shape) if fresh or apart(y, inputs) else np.empty(grid.shape) for y in outs]
        plan.run(grid.shape, laid, whole, engine, cache(lambda: self._check(inputs)))
        for array, filled in zip(outs, whole) if not fresh else ():
            if not np.may_share_memory(array, filled):
                np.copyto(array, filled.reshape(shape), casting="same_kind")

    def _truths(self, program: Program, grid: Grid, laid: list[np.ndarray]) -> tuple[tuple[int, bool], ...]:
        """The conditions of branches that depend on no axis, with their values."""
        conditions = {slot: program.only([slot]) for slot in program.branches}
        fixed = {slot: only for slot, only in conditions.items() if not any(grid.axes[j] for j in only.reads)}
        one = [array[(slice(0, 1),) * array.ndim] for array in laid]
        return tuple((slot, bool(np.all(scaled(only, one)[0]))) for slot, only in fixed.items())

    def _check(self, inputs: list[Any]) -> None:
        for domain, array in zip(self._domains.values(), inputs):
            domain.check(array)

    def _read(self, args: tuple[Any, ...], values: dict[str, Any]) -> tuple[Any, list[Any], tuple[int, ...]]:
        """The arguments as arrays in order, with their common shape."""
        call = f"f({', '.join(f'{name}=...' for name in self.arguments)})"
        if args:
            raise ArgumentError(f"A kernel takes keyword arguments only, {call}; got {len(args)} positional.")
        for name in values:
            if name not in self.arguments and name not in SYMBOLS:
                close = difflib.get_close_matches(name, self.arguments, n=1)
                hint = f" Did you mean {close[0]!r}?" if close else ""
                raise ArgumentError(f"{name!r} is not an argument of this kernel.{hint} It takes {call}.")
        if self.depth and DEPTH.name in values and DEPTH.name not in self.arguments:
            depth = values[DEPTH.name]
            self._domain(DEPTH).check(depth.detach() if hasattr(depth, "detach") else np.asarray(depth, float))
        missing = [name for name in self.arguments if name not in values]
        if missing:
            raise ArgumentError(f"Missing {', '.join(missing)}: the kernel takes {call}.")
        arrays, inputs = BACKENDS[LIBRARY[self.backend]]().read({name: values[name] for name in self.arguments})
        shapes = [tuple(array.shape) for array in inputs]
        if shapes and shapes.count(shapes[0]) == len(shapes):
            return arrays, inputs, shapes[0]
        try:
            return arrays, inputs, common_shape(shapes)
        except ValueError:
            listed = ", ".join(f"{name}: {shape}" for name, shape in zip(self.arguments, shapes))
            raise ArgumentError(f"The shapes of the arguments do not broadcast to a common one: {listed}.") from None


@cache
def native_arrays() -> Any:
    """NumPy with native means, imported at first use as the array libraries are."""
    from advmf.emit.engine.native_means import Native

    return Native()


@lru_cache(maxsize=1024)
def _grid(shapes: tuple[tuple[int, ...], ...], shape: tuple[int, ...]) -> Grid:
    return Grid(shapes, shape)


@lru_cache(maxsize=256)
def _derivatives(expr: sp.Basic, names: tuple[str, ...]) -> Kernel:
    return Kernel(sp.Tuple(*derivatives(expr, names)), "auto")
