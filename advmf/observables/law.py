"""Statements about the law of observables over random networks: a mean, a probability, a quantile."""

from __future__ import annotations

from typing import Any

import sympy as sp
from sympy.core.function import Function
from sympy.logic.boolalg import Boolean

from advmf.errors import ArgumentError
from advmf.expressions import expression
from advmf.notebook import Shown
from advmf.observables.measured import AdversarialLoss
from advmf.observables.observable import Observable, derivative
from advmf.symbols import exponent


class Expectation(Shown, Function):
    """The mean over random networks. Raises ArgumentError for what is no expression, or more than one.

    >>> from advmf.observables import Expectation, Offset
    >>> Expectation(Offset(0)**2)
    Expectation(Offset(0)**2)
    """

    def __new__(cls, *args: Any, **options: Any) -> Any:
        if len(args) != 1:
            raise ArgumentError(f"Expectation takes one expression in observables; got {args}.")
        return super().__new__(cls, expression(args[0]), **options)

    def _eval_is_real(self) -> bool | None:
        return self.args[0].is_real

    def _eval_is_nonnegative(self) -> bool | None:
        return True if self.args[0].is_nonnegative else None

    def _eval_is_positive(self) -> bool | None:
        return True if self.args[0].is_positive else None

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        return derivative(self, symbol)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        text = rf"\mathbb{{E}}\left[{printer._print(self.args[0])}\right]"
        return text if exp is None else rf"{text}^{{{exp}}}"

    @property
    def observables(self) -> set[sp.Basic]:
        """Every observable inside."""
        return set(self.args[0].atoms(Observable))


class Probability(Function):
    """The probability of an event, a relation between observables. Raises ArgumentError for anything else.

    >>> from advmf.observables import MatrixNorm, Probability
    >>> Probability(MatrixNorm(2, 2) >= 3)
    Probability(MatrixNorm(2, 2) >= 3)
    """

    is_nonnegative = True

    def __new__(cls, *args: Any, **options: Any) -> Any:
        event = expression(args[0], numbers_only=False) if len(args) == 1 else None
        if not isinstance(event, Boolean):
            raise ArgumentError(f"Probability takes an event, such as AdversarialLoss(2, 2) > 3*eps; got {args}.")
        return super().__new__(cls, event, **options)

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        return derivative(self, symbol)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        text = rf"\mathbb{{P}}\left[{printer._print(self.args[0])}\right]"
        return text if exp is None else rf"{text}^{{{exp}}}"


class Quantile(Function):
    """The number that an observable exceeds with probability delta: ``Quantile(observable, delta)``.

    It is the least x with P(observable > x) <= delta, the (1 - delta)-quantile. ``delta`` is a number in (0, 1), or an
    expression in symbols. Raises ArgumentError for any other number, and for a wrong number of arguments.

    >>> from advmf.observables import MatrixNorm, Quantile
    >>> Quantile(MatrixNorm(2, 2), sp.Rational(1, 20))
    Quantile(MatrixNorm(2, 2), 1/20)
    """

    def __new__(cls, *args: Any, **options: Any) -> Any:
        if len(args) != 2:
            raise ArgumentError(
                f"Quantile takes an observable and delta, the probability that it is exceeded with; got {args}."
            )
        delta = expression(args[1])
        if delta.is_number and not (delta.is_real and 0 < delta < 1):
            raise ArgumentError(f"delta of a Quantile is a probability and must lie in (0, 1); got {delta}.")
        return super().__new__(cls, expression(args[0]), delta, **options)

    def _eval_is_real(self) -> bool | None:
        return self.args[0].is_real

    def _eval_is_nonnegative(self) -> bool | None:
        return True if self.args[0].is_nonnegative else None

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        return derivative(self, symbol)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        inside, delta = self.args
        text = rf"Q_{{{printer._print(1 - delta)}}}\left({printer._print(inside)}\right)"
        return text if exp is None else rf"{text}^{{{exp}}}"


def adversarial_loss(p: object, q: object) -> sp.Expr:
    """The mean adversarial loss, ``Expectation(AdversarialLoss(p, q))``."""
    return Expectation(AdversarialLoss(exponent(p, "p"), exponent(q, "q")))
