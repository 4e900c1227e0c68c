"""The base of observables: random quantities of one sampled network, with name, LaTeX and measurement."""

from __future__ import annotations

from string import Formatter
from typing import Any

import sympy as sp
from sympy.core.function import Function
from sympy.printing.str import StrPrinter

from advmf.boundary import whole
from advmf.errors import ArgumentError, DomainError
from advmf.expressions import expression
from advmf.notebook import Shown
from advmf.symbols import SYMBOLS, exponent

JACOBIAN, ATTACK, GRADIENTS, SEARCH = "jacobian", "attack", "gradients", "search"
OUTPUT_MEANS = "output means"
"""What an observable may need from a probe: the Jacobian at its input; the best attack at the (p, q) given by its first
two arguments; the gradients of the loss at that attack; a search of its own; means over the output layer, given all
other weights."""


class Observable(Shown, Function):
    """Base of every observable, the package's and users'; an :class:`Expectation` may hold any of them.

    ``tex`` is its LaTeX, with a place ``{}`` or ``{0}`` for each index. Without it the class's name is typeset, with
    the arguments. Raises ArgumentError if the number of indices differs from the number of places in ``tex``, and for
    an argument that is no expression (:func:`advmf.expressions.expression`).

    An observable is a real number, of either sign unless its class says ``is_nonnegative = True``. It depends on the
    network's letters, so its derivative with respect to one of these is not zero; ``letters`` restricts them.

    >>> from advmf.observables import Observable
    >>> class LargestOutput(Observable):
    ...     tex = r"\\lVert f\\rVert_\\infty"
    ...     def measure(self, probe):
    ...         return probe.output.abs().amax((1, 2))
    >>> LargestOutput()
    LargestOutput()
    """

    is_commutative = True
    is_number = False
    tex = ""
    letters = frozenset(quantity.symbol for quantity in SYMBOLS.values())
    needs = frozenset({JACOBIAN, SEARCH})
    """What :meth:`measure` uses of a probe: :data:`JACOBIAN`, :data:`ATTACK`, :data:`GRADIENTS`, :data:`OUTPUT_MEANS`,
    and :data:`SEARCH` for a search of its own."""
    exponents = 0
    """How many of the first arguments are exponents of norms, p or p and q. These may be numbers, "inf" or symbols. An
    observable that needs an attack has two."""
    maximum = False
    """Whether :meth:`measure` searches for a maximum, as an attack does. Its value is then a lower bound."""
    polynomial = False
    """Whether its moments are polynomials in 1/N, which follows by recursion over the layers."""
    may_vanish = True
    """Whether an exact zero is possible; otherwise a zero means underflow."""
    weights = False
    """Whether :meth:`measure` uses the weights or the stream, which networks of infinite width do not have."""

    def __new__(cls, *args: Any, **options: Any) -> Any:
        norms = dict(zip("pq"[: 2 if ATTACK in cls.needs else cls.exponents], args))
        norms = {name: exponent(value, name) for name, value in norms.items()}
        made = super().__new__(cls, *norms.values(), *map(expression, args[len(norms) :]), **options)
        if cls.tex and isinstance(made, cls):
            _require_places(made)
        return made

    @property
    def nearby(self) -> sp.Expr | None:
        """An expression in observables that need no attack, close to this one in most networks. It may hold eps and N.
        None if there is none.

        Its mean over many networks, and the mean difference over few that are attacked, add up to the mean of this one,
        whatever it is. The closer it is, the fewer attacks are needed.
        """
        return None

    def measure(self, probe: Any) -> Any:
        """Its value for each network of a probe: a tensor of shape (nets,)."""
        raise ArgumentError(
            f"{type(self).__name__} has no measure(probe); define it, to return one number for each network. A probe has trace, output, "
            "jacobian, attack(p, q), settings, generator and more: see advmf.simulate.Probe."
        )

    def queries(self, settings: Any, K: int, d: int) -> int:
        """The number of vectors that :meth:`measure` sends through each matrix, beyond the trace, its Jacobian and the
        attacks that it shares with others. A search of its own counts as much as an attack."""
        return int(settings.queries(K, d)) if SEARCH in self.needs else 0

    def _eval_is_real(self) -> bool | None:
        return True

    @property
    def free_symbols(self) -> set[sp.Basic]:
        return super().free_symbols | self.letters

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        return derivative(self, symbol)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        given = self.indices(printer)
        text = (
            self.tex.format(*given)
            if self.tex
            else rf"\mathrm{{{type(self).__name__}}}" + (f"({', '.join(given)})" if given else "")
        )
        return text if exp is None else rf"{{{text}}}^{{{exp}}}"

    def indices(self, printer: Any) -> list[str]:
        return [printer._print(arg) for arg in self.args]


def _require_places(made: Observable) -> None:
    """Raise ArgumentError unless every index of an observable has its place in ``tex``, and every place its index."""
    name = type(made).__name__
    try:
        count = len(made.indices(StrPrinter()))
    except (ValueError, IndexError) as error:
        raise ArgumentError(f"{name} has other arguments than {made.args}: {error}.") from None
    try:
        fields = [field for _, field, _, _ in Formatter().parse(made.tex) if field is not None]
    except ValueError as error:
        raise ArgumentError(
            f"{name}.tex is no format: {error}; double the braces of LaTeX. Got {made.tex!r}."
        ) from None
    automatic = all(field == "" for field in fields)
    places = {str(i) for i in range(len(fields))} if automatic else set(fields)
    if places != {str(i) for i in range(count)}:
        raise ArgumentError(
            f"{name}.tex has places {{{'}, {'.join(fields)}}} for {count} arguments; give it one {{}} for each, and double the other "
            f"braces of LaTeX. Got {made.tex!r} for {made.func.__name__}{made.args}."
        )


def derivative(expr: sp.Expr, symbol: sp.Symbol) -> sp.Expr:
    """The derivative of a quantity that depends on a letter in an unknown way, left unevaluated."""
    return sp.Derivative(expr, symbol, evaluate=False) if symbol in expr.free_symbols else sp.S.Zero


class UnitObservable(Observable):
    """An observable of an output unit and, where it has one, of a direction. It is measured for all of them at once, as
    an array (nets, units, directions).

    Raises ArgumentError or DomainError for numbers of units and directions that are not whole, from 0 to 999.
    """

    needs = frozenset({JACOBIAN})
    polynomial, may_vanish = True, False

    def __new__(cls, *args: Any, **options: Any) -> Any:
        for name, number in zip(("unit", "direction"), args):
            if whole(f"{name} of {cls.__name__}", number, 0) > 999:
                raise DomainError(f"{name} of {cls.__name__} must be at most 999; got {number}.")
        return super().__new__(cls, *args, **options)

    def indices(self, printer: Any) -> list[str]:
        return [letter + "'" * int(arg) for letter, arg in zip("ij", self.args)]
