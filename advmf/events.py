"""Events and quantiles for the numbers of one network: which polynomial in observables is compared, and with which
threshold."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from advmf.errors import ArgumentError
from advmf.observables import Expectation, Observable, Probability, Quantile
from advmf.symbols import N

RELATIONS = {sp.Gt: (True, False), sp.Ge: (True, True), sp.Lt: (False, False), sp.Le: (False, True)}
"""For each relation: whether the left side is the larger, and whether equality is allowed."""


@dataclass(frozen=True)
class Event:
    """The event that ``product`` is above the ``threshold``, or below it; if ``closed``, equality is included.

    ``product`` has only the terms and factors with observables. Both sides were divided by ``factor``; where it is
    negative, above and below are exchanged.

    >>> from advmf.observables import MatrixNorm
    >>> from advmf.symbols import d
    >>> event = event_of(Probability(3 + sp.sqrt(d)*MatrixNorm(2, 2) > 5))
    >>> event.product, event.threshold, event.above, event.closed
    (MatrixNorm(2, 2), 2/sqrt(d), True, False)
    """

    product: sp.Expr
    threshold: sp.Expr
    factor: sp.Expr
    above: bool
    closed: bool

    def at(self, threshold: sp.Expr) -> Probability:
        """The probability of the event with another threshold."""
        larger, smaller = (self.product, threshold) if self.upper else (threshold, self.product)
        return Probability(sp.Ge(larger, smaller) if self.closed else sp.Gt(larger, smaller))

    @property
    def upper(self) -> bool:
        """Whether the event is that the product is large; the sign of a symbolic factor follows from the registry's
        domains."""
        return self.above is not bool(self.factor.is_negative)


def event_of(probability: Probability) -> Event:
    """The event of a probability, in a form that can be decided for one network.

    Raises ArgumentError for anything but a single inequality, for one that holds always or never, for sides without
    observables, or with a mean over networks, and for sides that are no polynomial in observables.
    """
    (said,) = probability.args
    if said in (sp.true, sp.false):
        raise ArgumentError(
            f"{probability} is about an event that holds {'always' if said == sp.true else 'never'}; give one that a "
            "network decides, such as SecondMoment() > 2."
        )
    if type(said) not in RELATIONS:
        raise ArgumentError(
            f"The event of a probability that is checked is one inequality (<, <=, >, >=) between expressions; got {said}."
        )
    difference = said.lhs - said.rhs
    _require_polynomial(difference, said)
    product, threshold, factor = _parted(difference)
    if N in bare(product).free_symbols:
        product, threshold, factor = _parted(sp.expand(difference))
    _require_one_width(product, said)
    return Event(product, threshold, factor, *RELATIONS[type(said)])


def bare(expr: sp.Basic) -> sp.Basic:
    """The expression with a plain symbol in place of every observable, since an observable depends on all letters of a
    network."""
    return expr.xreplace({o: sp.Dummy(real=True) for o in expr.atoms(Observable)})


def letters(lhs: sp.Expr) -> set[sp.Symbol]:
    """The symbols whose values a probability or a quantile needs, besides those of its observables.

    >>> from advmf.observables import SecondMoment
    >>> from advmf.symbols import sigma_w
    >>> letters(Probability(SecondMoment() > 2*sigma_w))
    {sigma_w}
    """
    return {s for s in bare(lhs).free_symbols if not isinstance(s, sp.Dummy)}


def quantity(quantile: Quantile) -> sp.Expr:
    """The polynomial in observables that a quantile is about; raises ArgumentError if it is no such polynomial."""
    (found, _) = quantile.args
    _require_polynomial(found, found)
    _require_one_width(found, found)
    return found


def _parted(difference: sp.Expr) -> tuple[sp.Expr, sp.Expr, sp.Expr]:
    """The difference of the sides as factor*(product - threshold)."""
    terms = sp.Add.make_args(difference)
    speaking = [term for term in terms if term.has(Observable)]
    constant = sp.Add(*(term for term in terms if not term.has(Observable)))
    factor, product = sp.S.One, sp.Add(*speaking)
    if len(speaking) == 1:
        parts = sp.Mul.make_args(product)
        factor = sp.Mul(*(part for part in parts if not part.has(Observable)))
        product = sp.Mul(*(part for part in parts if part.has(Observable)))
    return product, -constant / factor, factor


def _require_polynomial(expr: sp.Expr, said: sp.Basic) -> None:
    if expr.has(Expectation, Probability, Quantile):
        raise ArgumentError(
            f"{said} holds a mean, a probability or a quantile over networks, which no network has by itself; put in its value, or "
            "a bound of it, as advmf.beta_quantile does."
        )
    if not expr.has(Observable):
        raise ArgumentError(f"{said} speaks of no observable; give one of advmf.observables, such as SecondMoment().")
    if odd := _odd(expr):
        raise ArgumentError(
            f"{odd} in {said} is no polynomial in observables; what is measured are sums, products and powers of them."
        )


def _require_one_width(product: sp.Expr, said: sp.Basic) -> None:
    if N in bare(product).free_symbols:
        raise ArgumentError(
            f"{said} has N within a sum of observables; write it with N in a factor of all, or on the side without observables."
        )


def _odd(expr: sp.Expr) -> sp.Expr | None:
    """A part with observables that is no sum, product, numeric power or absolute value of such."""
    if isinstance(expr, Observable) or not expr.has(Observable):
        return None
    if isinstance(expr, sp.Pow) and not expr.exp.is_number:
        return expr
    if not isinstance(expr, sp.Add | sp.Mul | sp.Pow | sp.Abs):
        return expr
    return next((odd for part in expr.args if (odd := _odd(part)) is not None), None)
