"""Measuring observables of sampled networks: one number per network for each polynomial in observables.

Each observable defines its own measurement, by a :class:`~advmf.simulate.probe.Probe` (:mod:`advmf.observables`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sympy as sp
import torch
from jaxtyping import Float
from sympy.core.function import Function
from torch import Tensor

from advmf.errors import ArgumentError
from advmf.observables import ATTACK, GRADIENTS, JACOBIAN, OUTPUT_MEANS, Observable, OperatorNorm, UnitObservable
from advmf.simulate.ensemble import Ensemble
from advmf.simulate.geometry import order
from advmf.simulate.networks import Trace
from advmf.simulate.opnorm import enumerable
from advmf.simulate.output_means import vectors
from advmf.simulate.probe import AttackSettings, Probe
from advmf.simulate.race import attack_queries
from advmf.simulate.state import without_gradients

_GRADIENT = 4
"""The number of vectors that the derivative of a loss sends through a matrix: x, x + eta and a cotangent for each."""


class Single(Function):
    """A product of observables at exactly the units and directions that it names, not averaged over all:
    ``Single(product)``.

    Events need this: an event holds or fails in one network, while a mean over its units would lie in between.
    """


def least_sizes(product: sp.Expr) -> tuple[int, int]:
    """The fewest inputs and outputs (d, K) that have the distinct units and directions which ``product`` names.

    >>> from advmf.observables import JacobianEntry, Output
    >>> least_sizes(Output(0) * Output(3)), least_sizes(JacobianEntry(0, 1) ** 2)
    ((1, 4), (3, 1))
    """
    named = [tuple(map(int, o.args)) for o in product.atoms(UnitObservable)]
    return max((n[1] + 2 for n in named if len(n) > 1), default=1), max((n[0] + 1 for n in named if n), default=1)


def measurable(product: sp.Expr, d: int, K: int) -> bool:
    """Whether the distinct units and directions that ``product`` names exist for ``d`` inputs and ``K`` outputs."""
    least_d, least_K = least_sizes(product)
    return d >= least_d and K >= least_K


def searched(observable: sp.Basic, d: int, K: int) -> bool:
    """Whether an observable is measured by a search for a maximum, for ``d`` inputs and ``K`` outputs, so that the
    measured value is a lower bound.

    >>> from advmf.observables import AdversarialLoss
    >>> searched(AdversarialLoss(2, 2), 9, 3), searched(OperatorNorm(2, 2), 9, 3), searched(OperatorNorm(3, 4), 9, 3)
    (True, False, True)
    """
    if isinstance(observable, OperatorNorm):
        p, q = (order(arg, name) for arg, name in zip(observable.args, "pq"))
        return not enumerable(K, d, p, q)
    return bool(getattr(observable, "maximum", False))


def attacked(observables: Iterable[Observable], need: str = ATTACK) -> list[tuple[float, float]]:
    """The pairs (p, q) at which observables need an attack, or another ``need``, such as the gradients of the loss
    there."""
    named = [o.args[:2] for o in observables if need in o.needs and len(o.args) >= 2]
    return list(dict.fromkeys((order(p, "p"), order(q, "q")) for p, q in named))


def queries(products: Sequence[sp.Expr], settings: AttackSettings, K: int, d: int) -> int:
    """The number of vectors that :func:`measure` sends through each matrix of a network.

    Raises ArgumentError for an observable that has no measurement.
    """
    observables = _observables(products)
    more = sum(o.queries(settings, K, d) for o in observables)
    more += vectors(d) if any(OUTPUT_MEANS in o.needs for o in observables) else 0
    if not any(o.needs - {OUTPUT_MEANS} for o in observables):
        return 1 + more
    pairs, slopes = attacked(observables), attacked(observables, GRADIENTS)
    attacks = attack_queries(K, d, len(pairs), settings.steps, settings.restarts, settings.directions)
    return attacks + _GRADIENT * len(slopes) + more


def _observables(products: Sequence[sp.Expr]) -> list[Observable]:
    """The observables in products, in order; raises ArgumentError for one that has no measurement."""
    found = sorted({o for product in products for o in product.atoms(Observable)}, key=sp.default_sort_key)
    for o in found:
        if type(o).measure is Observable.measure:
            o.measure(None)
        if ATTACK in o.needs and len(o.args) < 2:
            raise ArgumentError(f"{o} is not measured without p and q; give them as its first two arguments.")
    return found


@without_gradients
def measure(
    trace: Trace,
    x: Float[Tensor, "nets_or_1 d 1 1"],
    products: Sequence[sp.Expr],
    settings: AttackSettings,
    generator: torch.Generator,
    drawn: Ensemble | None = None,
) -> Float[Tensor, "nets products"]:
    """The value of each product for each network, averaged over output units and directions, in float64.

    ``trace`` is the forward trace at one input per network, ``x``. A product is a polynomial in observables, or a
    :class:`Single` of one, which is not averaged. ``drawn`` is the ensemble that the networks are of, for observables
    that train them.
    Raises ArgumentError for an observable that has no measurement, and where an attack has no ``eps``.
    """
    observables = _observables(products)
    pairs, slopes = attacked(observables), attacked(observables, GRADIENTS)
    probe = Probe(trace, x, settings, generator, pairs, slopes, drawn)
    arrays = _arrays(probe, observables)
    averages = _Averages(arrays, probe.nets)
    return torch.stack([averages.of(p) for p in products], dim=1)


class _Averages:
    """The number of each network for a product: the mean over its units and directions, or of a :class:`Single` the
    first. The mean of a sum is that of its terms, and each term is averaged once for all products that have it."""

    def __init__(self, arrays: dict[sp.Basic, Tensor], nets: int) -> None:
        self._arrays, self._nets = arrays, nets
        self._device = next(iter(arrays.values())).device
        self._known: dict[sp.Expr, Tensor] = {}

    def of(self, product: sp.Expr) -> Float[Tensor, " nets"]:
        """The number of each network."""
        if isinstance(product, Single):
            return self._values(product.args[0])[:, 0, 0]
        terms = [term.as_coeff_Mul() for term in sp.Add.make_args(product)]
        return torch.stack([float(number) * self._mean(term) for number, term in terms]).sum(0)

    def _mean(self, term: sp.Expr) -> Tensor:
        if term not in self._known:
            one = torch.ones(self._nets, 1, 1, dtype=torch.float64, device=self._device)
            values = self._values(term) if term.has(Observable) else one
            self._known[term] = values.mean((1, 2))
        return self._known[term]

    def _values(self, expr: sp.Expr) -> Float[Tensor, "nets units directions"]:
        found: Tensor = _evaluate(expr, self._arrays).double().broadcast_to(self._nets, -1, -1)
        return found


def _arrays(probe: Probe, observables: Sequence[Observable]) -> dict[sp.Basic, Tensor]:
    """Each observable as (nets, units, directions)."""
    # The numbers of networks without weights depend on earlier questions. So the Jacobian always comes first, and
    # attacks come last.
    sound = not any(JACOBIAN in o.needs for o in observables) or bool(probe.sound.all())
    arrays = {o: _measured(o, probe) for o in sorted(observables, key=lambda o: ATTACK in o.needs)}
    if not sound:
        for o, value in arrays.items():
            if JACOBIAN in o.needs:
                arrays[o] = value.where(probe.sound, torch.full_like(value, torch.nan))
    return arrays


def _measured(o: Observable, probe: Probe) -> Tensor:
    """The measurement of an observable; raises ArgumentError unless it is a number for each network, and for each unit
    and direction if it has these."""
    found = o.measure(probe)
    real = isinstance(found, Tensor) and not found.is_complex()
    if real and isinstance(o, UnitObservable) and found.ndim == 3 and len(found) == probe.nets:
        return found.double()
    if not (real and found.shape == (probe.nets,)):
        got = f"shape {tuple(found.shape)}, {found.dtype}" if isinstance(found, Tensor) else repr(found)
        raise ArgumentError(
            f"{type(o).__name__}.measure must return a tensor with a real number for each network, of shape ({probe.nets},); got {got}."
        )
    return found.double()[:, None, None]


def _evaluate(expr: sp.Expr, arrays: dict[sp.Basic, Tensor]) -> Any:
    """The value of an expression on arrays: a polynomial in observables, its powers and its absolute value."""
    if expr in arrays:
        return arrays[expr]
    if expr.is_number:
        return torch.tensor(float(expr), dtype=torch.float64, device="cpu")
    if isinstance(expr, sp.Abs):
        return _evaluate(expr.args[0], arrays).abs()
    if isinstance(expr, sp.Pow) and expr.exp.is_number:
        base, halves = _evaluate(expr.base, arrays), expr.exp / 2
        if expr.base in arrays and halves.is_Integer and halves > 0:
            # Even powers are products of squares, which many terms have in common.
            square = arrays.setdefault(expr.base**2, base * base)
            return square if halves == 1 else square ** int(halves)
        return base ** float(expr.exp)
    if isinstance(expr, sp.Add | sp.Mul):
        first, *rest = (_evaluate(arg, arrays) for arg in expr.args)
        for value in rest:
            first = first + value if isinstance(expr, sp.Add) else first * value
        return first
    raise ArgumentError(
        f"{expr} is no polynomial in observables; an expectation holds sums, products and powers of them."
    )
