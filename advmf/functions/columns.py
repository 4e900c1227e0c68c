"""The columns of special functions: how each is computed and written.

A function's own file registers its columns. Engines and printers read them and know no function by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from typing import Any, Literal

import sympy as sp

from advmf.boundary import public
from advmf.errors import ArgumentError


@dataclass(frozen=True, eq=False)
class Columns:
    """What is known of a special function besides its SymPy class.

    A use that needs a missing column is refused with the function's name, unless the column's text gives a default.

    ``arrays`` below is the arithmetic of numbers of any size in an array library,
    :class:`advmf.emit.engine.scaled.Arrays`. ``builder`` collects elementary operations for NumPy and native code,
    :class:`advmf.emit.engine.plain.Plain`.
    """

    numpy: Callable[..., Any] | None = None
    """A function of NumPy arrays, one for each operand."""
    torch: Callable[..., Any] | Literal["numpy"] | None = None
    """A function of tensors, or ``"numpy"`` for the numbers of NumPy without derivatives."""
    elementwise: bool = False
    """Whether ``numpy`` may be called on parts of arrays; otherwise it gets whole arrays."""
    scaled: Callable[..., Any] | None = None
    """``scaled(arrays, *values)``: the value for a library that has no column of its own."""
    plain: Callable[..., int] | None = None
    """``plain(builder, *slots)``: the function in elementary operations, for NumPy and native code. Without this column
    it is called as a whole."""
    native: bool = False
    """Whether native code computes the mean over Gaussians that stands in ``applied``
    (:mod:`advmf.emit.engine.native_means`)."""
    near_one: bool = False
    """Whether the first operand may be close to 1. ``plain`` then takes ``plus_one=True`` where its first slot holds
    the operand minus 1."""
    applied: Callable[[Any], Any] | None = None
    """Another expression that is computed, and written as source, in place of an application; or the function to call
    and a tuple of its operands. The default is the function itself with its arguments."""
    inverse: Callable[[Any], sp.Expr] | None = None
    """The reciprocal of an application, where it is known to more digits than the application."""
    differentiated: Callable[[Any], sp.Expr] | None = None
    """The expression to differentiate in place of the application."""
    python: str | Callable[..., Any] | None = None
    """The source of a function of numbers that uses ``math``, or a function of :mod:`advmf.special` whose source is
    copied."""
    javascript: str | None = None
    """The source of a JavaScript function of numbers. It may call ``erf``, ``erfc``, ``lgamma``, ``kept`` and what else
    the package's ``runtime.js`` has. The default is ``scaled``, written out."""
    no_javascript: str = ""
    """Why there is no JavaScript form, as the end of a sentence."""
    binds: Callable[[Any], tuple[sp.Lambda, Any]] | None = None
    """Of a function that binds a variable: the function of the variable, and the operands. ``javascript`` takes both,
    instead of what ``applied`` gives."""
    json: bool = False
    """Whether JSON knows the function, by the name of its class."""
    grows: bool = False
    """Whether SymPy writes out its value at whole numbers. JSON refuses large whole numbers then."""
    notation: Callable[[Any], sp.Expr | None] | None = None
    """The closed form in a table of notation; None for the first sentence of the docstring. Without this column the
    table has no row for the function."""
    bracket: Callable[[Any], sp.Expr] | None = None
    """The expression inside the brackets of its LaTeX, where a line may be broken."""
    large_operator: bool = False
    """Whether its LaTeX begins with a large operator, such as a sum. It then stands last in a product, and in no
    fraction."""

    @property
    def called(self) -> str:
        """The name of the function that Python source calls."""
        if isinstance(self.python, str):
            return self.python.removeprefix("def ").partition("(")[0]
        return self.python.__name__ if self.python else ""


COLUMNS: dict[Any, Columns] = {}
"""The columns of every special function, the package's and those of users."""

RESERVED: set[Any] = set()
"""The functions that belong to the arithmetic of kernels itself; :mod:`advmf.emit.engine.rules` lists them."""

NONE = Columns()
"""The columns of a function that is not registered."""


def script(name: str) -> str:
    """The JavaScript function of a file of this directory."""
    return files("advmf.functions").joinpath(f"{name}.js").read_text(encoding="utf-8").strip()


def having(column: str) -> tuple[Any, ...]:
    """The functions that have a column."""
    return tuple(head for head, columns in COLUMNS.items() if getattr(columns, column))


@public
def register(head: Any, **columns: Any) -> None:
    """Give a SymPy function its columns, which :class:`Columns` lists; columns of an earlier call stay.

    ``numpy=`` and ``torch=`` take one array for each argument, and suffice for kernels. Raises ArgumentError if
    ``head`` is no class of SymPy functions, for an unknown or empty column, and for a function that kernels already
    have a rule for.

    >>> import sympy as sp
    >>> from scipy.special import zeta
    >>> from advmf.emit.kernels import kernel, register
    >>> register(sp.zeta, numpy=zeta)
    >>> kernel(sp.zeta(sp.Symbol("s")))(s=[2.0, 4.0]).round(6).tolist()
    [1.644934, 1.082323]
    """
    if not (isinstance(head, type) and issubclass(head, sp.Basic)):
        raise ArgumentError(f"register takes a class of SymPy functions (sympy.zeta, Function('f')); got {head!r}.")
    known = COLUMNS.get(head, NONE)
    computed = known.numpy or known.scaled or known.applied
    if head in RESERVED or (computed and head.__module__.startswith("advmf.functions.")):
        raise ArgumentError(f"{head.__name__} is part of the arithmetic of kernels and cannot be replaced.")
    given = {name: value for name, value in columns.items() if value is not None}
    names = [field.name for field in fields(Columns)]
    if not given or not all(name in names and _fits(name, value) for name, value in given.items()):
        raise ArgumentError(
            f"register({head.__name__}) takes functions as numpy=, torch= or both, and the columns "
            f"{', '.join(names[2:])} of advmf.functions.columns.Columns; got {given or None}."
        )
    COLUMNS[head] = replace(known, **given)


def _fits(name: str, value: Any) -> bool:
    """Whether a value is of the kind that its column holds."""
    if isinstance(getattr(NONE, name), bool):
        return isinstance(value, bool)
    if name == "no_javascript":
        return isinstance(value, str)
    if name == "javascript":
        return _is_source(value, "function ")
    return callable(value) or (name == "torch" and value == "numpy") or (name == "python" and _is_source(value, "def "))


def _is_source(value: Any, begins: str) -> bool:
    return isinstance(value, str) and value.startswith(begins)
