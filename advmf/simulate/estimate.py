"""Observables of sampled networks, measured: one number per network for each polynomial in observables.

The names are those of :mod:`advmf.observables`; how each is measured is in :func:`_arrays`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any

import sympy as sp
import torch
from jaxtyping import Float
from sympy.printing.str import StrPrinter
from torch import Tensor

from advmf.errors import ArgumentError
from advmf.observables import (
    AdversarialLoss,
    Capacity,
    JacobianAlong,
    JacobianEntry,
    LossDecay,
    Observable,
    Offset,
    OperatorNorm,
    Output,
    SecondMoment,
    WeightNormSlope,
    WeightVarianceSlope,
)
from advmf.simulate.attack import attack_counts, attack_trace
from advmf.simulate.descent import Gradient, capacity
from advmf.simulate.geometry import conjugate, maximiser, order
from advmf.simulate.networks import Trace
from advmf.simulate.opnorm import enumerable, operator_norm
from advmf.simulate.race import DIRECTIONS, STEPS, attack_queries
from advmf.simulate.state import without_gradients

_GRADIENT = 4
"""Vectors that the derivative of a loss sends through a matrix: x and x + eta, and a cotangent for each."""


@dataclass(frozen=True)
class AttackSettings:
    """How :class:`~advmf.observables.AdversarialLoss` is attacked: radius, ascent steps, restarts, directions of each."""

    eps: float | None = None
    steps: int = STEPS
    restarts: int = 1
    directions: int = DIRECTIONS

    def __post_init__(self) -> None:
        counts = attack_counts(self.steps, self.restarts, self.directions)
        for name, value in zip(("steps", "restarts", "directions"), counts):
            object.__setattr__(self, name, value)


class OwnObservable(Observable):
    """Base of an observable of your own, which says how it is measured; an :class:`~advmf.observables.Expectation` may hold it like any other.

    ``tex`` has one ``{}`` for each argument, or numbers, ``{0}``; without it the name of the class is set, with its arguments. Raises
    ArgumentError for other numbers of arguments than ``tex`` has places.

    >>> from advmf.simulate import OwnObservable
    >>> class LargestOutput(OwnObservable):
    ...     tex = r"\\lVert f\\rVert_\\infty"
    ...     def measure(self, trace, settings, generator):
    ...         return trace.output[:, :, 0, 0].abs().amax(1)
    """

    maximum = False
    """Whether :meth:`measure` searches for a maximum, as an attack does, and so may find too little, but never too much."""

    def __new__(cls, *args: Any, **options: Any) -> Any:
        made = super().__new__(cls, *args, **options)
        if cls.tex and isinstance(made, cls):
            _require_places(made)
        return made

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        if self.tex:
            return super()._latex(printer, exp)
        given = ", ".join(printer._print(arg) for arg in self.args)
        text = rf"\mathrm{{{type(self).__name__}}}" + (f"({given})" if given else "")
        return text if exp is None else rf"{{{text}}}^{{{exp}}}"

    def measure(self, trace: Trace, settings: AttackSettings, generator: torch.Generator) -> Float[Tensor, " nets"]:
        """Its value for each network, given the forward trace at one input of each."""
        raise ArgumentError(
            f"{type(self).__name__} has no measure(trace, settings, generator); define it, to return one number for each network."
        )

    def queries(self, settings: AttackSettings, K: int, d: int) -> int:
        """How many vectors :meth:`measure` sends through each matrix beyond the trace and its Jacobian; by default as many as an attack."""
        return attack_queries(K, d, 1, settings.steps, settings.restarts, settings.directions)


def _require_places(own: OwnObservable) -> None:
    """Raises ArgumentError unless every index of an observable has its place in ``tex``, and every place its index."""
    name, count = type(own).__name__, len(own.indices(StrPrinter()))
    try:
        fields = [field for _, field, _, _ in Formatter().parse(own.tex) if field is not None]
    except ValueError as error:
        raise ArgumentError(f"{name}.tex is no format: {error}; double the braces of LaTeX. Got {own.tex!r}.") from None
    automatic = all(field == "" for field in fields)
    places = {str(i) for i in range(len(fields))} if automatic else set(fields)
    if places != {str(i) for i in range(count)}:
        raise ArgumentError(
            f"{name}.tex has places {{{'}, {'.join(fields)}}} for {count} arguments; give it one {{}} for each, and double the other "
            f"braces of LaTeX. Got {own.tex!r} for {own.func.__name__}{own.args}."
        )


def _measured(own: OwnObservable, trace: Trace, settings: AttackSettings, generator: torch.Generator) -> Tensor:
    """What an observable of one's own measures; raises ArgumentError unless that is a number for each network."""
    found, nets = own.measure(trace, settings, generator), trace.networks.nets
    if not isinstance(found, Tensor) or found.shape != (nets,) or found.is_complex():
        got = f"shape {tuple(found.shape)}, {found.dtype}" if isinstance(found, Tensor) else repr(found)
        raise ArgumentError(
            f"{type(own).__name__}.measure must return a tensor with a real number for each network, of shape ({nets},); got {got}."
        )
    return found.double()[:, None, None]


def measurable(product: sp.Expr, d: int, K: int) -> bool:
    """Whether the distinct units and directions that ``product`` names exist for ``d`` inputs and ``K`` outputs."""
    return all(
        (len(o.args) < 1 or K > int(o.args[0])) and (len(o.args) < 2 or d - 1 > int(o.args[1]))
        for o in product.atoms(JacobianEntry, JacobianAlong, Offset, Output)
    )


def searched(observable: sp.Basic, d: int, K: int) -> bool:
    """Whether what is measured is the best that a search found of a maximum, for ``d`` inputs and ``K`` outputs: its value or less.

    >>> searched(AdversarialLoss(2, 2), 9, 3), searched(OperatorNorm(2, 2), 9, 3), searched(OperatorNorm(3, 4), 9, 3)
    (True, False, True)
    """
    if isinstance(observable, OperatorNorm):
        p, q = (order(arg, name) for arg, name in zip(observable.args, "pq"))
        return not enumerable(K, d, p, q)
    return isinstance(observable, AdversarialLoss) or getattr(observable, "maximum", False)


def queries(products: Sequence[sp.Expr], settings: AttackSettings, K: int, d: int) -> int:
    """How many vectors :func:`measure` sends through each matrix of a network."""
    observables = {o for product in products for o in product.atoms(Observable)}
    if all(isinstance(o, Output | SecondMoment) for o in observables):
        return 1
    pulls = K * any(isinstance(o, Capacity) for o in observables)
    slopes = {o.args[:2] for o in observables if isinstance(o, WeightVarianceSlope | LossDecay)}
    pairs = {o.args for o in observables if isinstance(o, AdversarialLoss)} | slopes
    attacks = attack_queries(K, d, len(pairs), settings.steps, settings.restarts, settings.directions)
    own = sum(o.queries(settings, K, d) for o in observables if isinstance(o, OwnObservable))
    return attacks + pulls + _GRADIENT * len(slopes) + own


@without_gradients
def measure(
    trace: Trace,
    x: Float[Tensor, "nets_or_1 d 1 1"],
    products: Sequence[sp.Expr],
    settings: AttackSettings,
    generator: torch.Generator,
) -> Float[Tensor, "nets products"]:
    """The value of each product for each network, averaged over output units and directions, in float64.

    ``trace`` is the forward trace at one input per network, ``x``. A product is a polynomial in observables.
    Raises ArgumentError for an observable that has no measurement, and where an attack has no ``eps``.
    """
    observables = sorted({o for product in products for o in product.atoms(Observable)}, key=sp.default_sort_key)
    arrays = _arrays(trace, x, observables, settings, generator)
    nets = trace.networks.nets
    return torch.stack(
        [_evaluate(p, arrays).double().broadcast_to(nets, -1, -1).mean((1, 2)) for p in products],
        dim=1,
    )


def _arrays(
    trace: Trace, x: Tensor, observables: Sequence[Observable], settings: AttackSettings, generator: torch.Generator
) -> dict[sp.Basic, Tensor]:
    """Each observable as (nets, units, directions)."""
    kinds = {type(o) for o in observables}
    unknown = kinds - {JacobianEntry, JacobianAlong, Offset, Output, AdversarialLoss, OperatorNorm, SecondMoment}
    slopes = {type(o) for o in observables if isinstance(o, WeightVarianceSlope) and o.args}
    unknown -= {Capacity, LossDecay, *slopes, *(kind for kind in kinds if issubclass(kind, OwnObservable))}
    if unknown:
        names = ", ".join(sorted(kind.__name__ for kind in unknown))
        raise ArgumentError(
            f"No measurement is known for {names}; give them one by a subclass of advmf.simulate.OwnObservable."
        )
    output = trace.output[:, :, 0, :].double()  # (nets, K, 1)
    jacobian, sound = trace.jacobian()[:, 0] if kinds - {Output, SecondMoment} else None, None  # (nets, K, d)
    if jacobian is not None:  # a network whose Jacobian overflows has no numbers; the others are measured beside it
        sound = jacobian.isfinite().all(-1).all(-1)[:, None, None]
        jacobian = jacobian.where(sound, torch.zeros_like(jacobian))
    arrays: dict[sp.Basic, Tensor] = {}
    if jacobian is not None and kinds & {JacobianEntry, JacobianAlong, Offset}:
        across, along = _split(jacobian.double(), x[:, :, 0, 0].double())
        base = {JacobianEntry: across, JacobianAlong: along, Offset: output - along, Output: output}
    else:
        base = {Output: output}
    for o in observables:
        if type(o) in base:
            shifts = [-int(arg) for arg in o.args]
            arrays[o] = torch.roll(base[type(o)], shifts, dims=list(range(1, 1 + len(shifts))))
        elif isinstance(o, OperatorNorm):
            assert jacobian is not None
            arrays[o] = operator_norm(jacobian, *o.args).value.double()[:, None, None]
        elif isinstance(o, SecondMoment):
            arrays[o] = (trace.stream()[:, :, 0].double() ** 2).mean(1)[..., None]
        elif isinstance(o, Capacity):
            arrays[o] = capacity(trace)[:, None, None]
        elif isinstance(o, OwnObservable):
            arrays[o] = _measured(o, trace, settings, generator)
    attacked = [o for o in observables if isinstance(o, AdversarialLoss | WeightVarianceSlope | LossDecay)]
    pairs = list(dict.fromkeys((order(o.args[0], "p"), order(o.args[1], "q")) for o in attacked))
    if pairs:
        if settings.eps is None:
            raise ArgumentError("The adversarial loss needs eps, the radius of the ball; give it in at=dict(eps=...).")
        assert jacobian is not None
        found = attack_trace(
            trace,
            eps=settings.eps,
            pairs=pairs,
            steps=settings.steps,
            restarts=settings.restarts,
            directions=settings.directions,
            generator=generator,
            jacobian=jacobian[:, None],
        )
        gradients: dict[int, list[Gradient]] = {}
        for o in attacked:
            i = pairs.index((order(o.args[0], "p"), order(o.args[1], "q")))
            if isinstance(o, AdversarialLoss):
                arrays[o] = found.value[:, 0, i].double()[:, None, None]
                continue
            if i not in gradients:
                gradients[i] = _gradients(trace, x, found.eta[:, 0, i], pairs[i][1])
            if isinstance(o, LossDecay):
                arrays[o] = torch.stack([g.squared_norm() for g in gradients[i]]).sum(0)[:, None, None]
                continue
            arrays[o] = -2 * _own(torch.stack([g.pairing() for g in gradients[i]], 1), o, trace)
            if not isinstance(o, WeightNormSlope):
                arrays[o] = arrays[o] / trace.stream().shape[1]
    if sound is not None and not sound.all():
        free = (Output, SecondMoment)
        arrays = {
            o: v if isinstance(o, free) else v.where(sound, torch.full_like(v, torch.nan)) for o, v in arrays.items()
        }
    return arrays


def _gradients(trace: Trace, x: Tensor, eta: Tensor, q: float) -> list[Gradient]:
    """The derivative of ``||f(x + eta) - f(x)||_q`` at a fixed eta (nets, d) by every trained matrix."""
    moved = x + eta[..., None, None]
    both = trace.networks.trace(torch.cat((x.expand_as(moved), moved), 2))
    pull = maximiser(both.output[:, :, 1] - both.output[:, :, 0], conjugate(q), 1)
    return [Gradient(*found) for found in both.gradients(torch.stack((-pull, pull), 2))]


def _own(pairings: Tensor, o: Observable, trace: Trace) -> Tensor:
    """The mean over blocks of the pairings with the trained matrix that an observable names, (nets, 1, 1)."""
    count = len(trace.networks.net.trained)
    number = int(o.args[2]) if len(o.args) > 2 else 1
    if number > count:
        raise ArgumentError(f"{o} names trained matrix {number} of a block, and there are {count}.")
    return pairings[:, number - 1 :: count].mean(1)[:, None, None]


def _split(jacobian: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """J in an orthonormal basis of the directions orthogonal to x, (nets, K, d - 1), and J x, (nets, K, 1).

    The basis is all but the first column of the Householder reflection that takes x/|x| to the first axis.
    """
    norm = x.norm(dim=-1, keepdim=True)
    mirror = x / norm
    sign = torch.ones_like(mirror[:, :1]).copysign(mirror[:, :1] + 0.0)
    mirror = torch.cat([mirror[:, :1] + sign, mirror[:, 1:]], dim=1)
    mirror = mirror / mirror.norm(dim=-1, keepdim=True)
    reflected = jacobian - 2 * (jacobian @ mirror[..., None]) * mirror[:, None, :]
    return reflected[..., 1:], jacobian @ x[..., None]


def _evaluate(expr: sp.Expr, arrays: dict[sp.Basic, Tensor]) -> Any:
    """A polynomial in observables, powers of it and its size, on arrays."""
    if expr in arrays:
        return arrays[expr]
    if expr.is_number:
        return torch.tensor(float(expr), dtype=torch.float64, device="cpu")
    if isinstance(expr, sp.Abs):
        return _evaluate(expr.args[0], arrays).abs()
    if isinstance(expr, sp.Pow) and expr.exp.is_number:
        return _evaluate(expr.base, arrays) ** float(expr.exp)
    if isinstance(expr, sp.Add | sp.Mul):
        first, *rest = (_evaluate(arg, arrays) for arg in expr.args)
        for value in rest:
            first = first + value if isinstance(expr, sp.Add) else first * value
        return first
    raise ArgumentError(
        f"{expr} is no polynomial in observables; an expectation holds sums, products and powers of them."
    )
