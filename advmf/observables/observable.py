"""What an observable is: a random quantity of one sampled network, with its name, its LaTeX and how it is measured."""

from __future__ import annotations

from string import Formatter
from typing import Any

import sympy as sp
from sympy.core.function import Function
from sympy.printing.str import StrPrinter

from advmf.errors import ArgumentError
from advmf.notebook import Shown
from advmf.symbols import SYMBOLS

JACOBIAN, ATTACK, GRADIENTS, SEARCH = "jacobian", "attack", "gradients", "search"
"""What an observable may need of a probe: the Jacobian at its input; the best attack at the (p, q) of its first two
arguments; the gradients of the loss there; a search of its own."""


class Observable(Shown, Function):
    """Base of every observable, the package's and your own; an :class:`Expectation` may hold any of them.

    ``tex`` is its LaTeX, with one ``{}`` for each index, or numbers, ``{0}``; without it the name of the class is set,
    with its arguments. Raises ArgumentError for other numbers of indices than ``tex`` has places.

    An observable is a real number, of either sign unless its class says ``is_nonnegative = True``; and it depends on
    the network's letters (``letters``: all of them unless its class says less), so that its derivative by one of these
    is not zero.

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
    """What :meth:`measure` uses of a probe: :data:`JACOBIAN`, :data:`ATTACK`, :data:`GRADIENTS`, and :data:`SEARCH` for
    a search of its own."""
    maximum = False
    """Whether :meth:`measure` searches for a maximum, as an attack does, and so may find too little, but never too
    much."""
    polynomial = False
    """Whether its moments are polynomials in 1/N, by recursion over the layers."""
    may_vanish = True
    """Whether it may be zero without having underflowed."""
    weights = False
    """Whether :meth:`measure` uses the weights or the stream, which networks of infinite width do not have."""

    def __new__(cls, *args: Any, **options: Any) -> Any:
        made = super().__new__(cls, *args, **options)
        if cls.tex and isinstance(made, cls):
            _require_places(made)
        return made

    def measure(self, probe: Any) -> Any:
        """Its value for each network of a probe: a tensor of shape (nets,)."""
        raise ArgumentError(
            f"{type(self).__name__} has no measure(probe); define it, to return one number for each network. A probe has trace, output, "
            "jacobian, attack(p, q), settings, generator and more: see advmf.simulate.Probe."
        )

    def queries(self, settings: Any, K: int, d: int) -> int:
        """How many vectors :meth:`measure` sends through each matrix beside the trace, its Jacobian and the attacks
        that it shares with others; for a search of its own as many as an attack."""
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
    """Raises ArgumentError unless every index of an observable has its place in ``tex``, and every place its index."""
    name, count = type(made).__name__, len(made.indices(StrPrinter()))
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
    """The derivative of what depends on a letter in a way that nothing here knows."""
    return sp.Derivative(expr, symbol, evaluate=False) if symbol in expr.free_symbols else sp.S.Zero


class UnitObservable(Observable):
    """An observable of an output unit, and of a direction where it has one; measured for all of them, (nets, units,
    directions)."""

    needs = frozenset({JACOBIAN})
    polynomial, may_vanish = True, False

    def indices(self, printer: Any) -> list[str]:
        return [letter + "'" * int(arg) for letter, arg in zip("ij", self.args)]
