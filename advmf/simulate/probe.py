"""Access to sampled networks for the measurement of observables: outputs, Jacobians, attacks, and gradients of the
loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from advmf.errors import ArgumentError
from advmf.nets import Norm, require_repeated
from advmf.simulate.attack import attack_counts, attack_trace
from advmf.simulate.descent import Gradient, capacity, capacity_slope
from advmf.simulate.ensemble import Ensemble
from advmf.simulate.geometry import conjugate, maximiser, order
from advmf.simulate.networks import Trace
from advmf.simulate.opnorm import operator_norm
from advmf.simulate.output_means import OutputMeans
from advmf.simulate.race import DIRECTIONS, STEPS, Attack, attack_queries


@dataclass(frozen=True)
class AttackSettings:
    """The attack that measures :class:`~advmf.observables.AdversarialLoss`: radius, ascent steps, restarts, directions
    of each."""

    eps: float | None = None
    steps: int = STEPS
    restarts: int = 1
    directions: int = DIRECTIONS

    def __post_init__(self) -> None:
        counts = attack_counts(self.steps, self.restarts, self.directions)
        for name, value in zip(("steps", "restarts", "directions"), counts):
            object.__setattr__(self, name, value)

    def queries(self, K: int, d: int) -> int:
        """The number of vectors that an attack at one (p, q) sends through each matrix."""
        return attack_queries(K, d, 1, self.steps, self.restarts, self.directions)


class Probe:
    """Access to sampled networks, each at its own input; observables are measured by it.

    ``trace`` is the forward trace, ``x`` the inputs (nets or 1, d, 1, 1), ``settings`` those of attacks, and
    ``generator`` the source of random numbers. The ``pairs`` (p, q) are attacked together, and the derivatives of the
    ``slopes`` are taken together. ``drawn`` is the ensemble that the networks are of. Numbers are in float64, and
    computed at first use. A network whose Jacobian overflows gets zeros for it, and no value of an observable that
    needs it.
    """

    def __init__(
        self,
        trace: Trace,
        x: Tensor,
        settings: AttackSettings,
        generator: torch.Generator,
        pairs: Sequence[tuple[float, float]] = (),
        slopes: Sequence[tuple[float, float]] = (),
        drawn: Ensemble | None = None,
    ) -> None:
        self.trace, self.x, self.settings, self.generator = trace, x, settings, generator
        self._drawn = drawn
        self.nets: int = trace.networks.nets
        self._pairs, self._slopes = list(pairs), list(slopes)

    @property
    def ensemble(self) -> Ensemble:
        """The networks as an ensemble, which :func:`advmf.simulate.train` may train. It draws them again from their
        seeds, so that the networks of the probe stay as they are.

        Raises ArgumentError for networks without weights, which are not drawn twice.
        """
        if self._drawn is None or self._drawn.sampler != "dense":
            raise ArgumentError(
                'The networks of this probe cannot be drawn again: they have no weights, or no seeds. Check with sampler="dense".'
            )
        return self._drawn

    @cached_property
    def output(self) -> Float[Tensor, "nets K 1"]:
        """f(x)."""
        return self.trace.output[:, :, 0, :].double()

    @cached_property
    def stream(self) -> Float[Tensor, "nets N"]:
        """The last stream."""
        return self.trace.stream()[:, :, 0, 0].double()

    @property
    def width(self) -> int:
        """N, the number of channels on images."""
        net = self.trace.networks.net
        return int(self.trace.stream().shape[1]) // (prod(net.sizes) if net.head == "flatten" else 1)

    @cached_property
    def jacobian(self) -> Float[Tensor, "nets K d"]:
        """J(x), in the networks' own type of number."""
        return self._jacobian.where(self.sound, torch.zeros_like(self._jacobian))

    @cached_property
    def _jacobian(self) -> Tensor:
        return self.trace.jacobian()[:, 0]

    @cached_property
    def sound(self) -> Bool[Tensor, "nets 1 1"]:
        """Which networks have a finite Jacobian; the others get NaN for observables that need it."""
        return self._jacobian.isfinite().all(-1).all(-1)[:, None, None]

    @property
    def across(self) -> Float[Tensor, "nets K directions"]:
        """J(x) in an orthonormal basis of the d - 1 directions orthogonal to x."""
        return self._split[0]

    @property
    def along(self) -> Float[Tensor, "nets K 1"]:
        """J(x) x."""
        return self._split[1]

    @cached_property
    def _split(self) -> tuple[Tensor, Tensor]:
        return _split(self.jacobian.double(), self.x[:, :, 0, 0].double())

    def numbered(self, array: Tensor, indices: Sequence[Any]) -> Tensor:
        """An array over units and directions, shifted by the given numbers, so that different numbers stand for
        different units and directions."""
        shifts = [-int(index) for index in indices]
        return torch.roll(array, shifts, dims=list(range(1, 1 + len(shifts))))

    def norm(self, p: object, q: object) -> Float[Tensor, " nets"]:
        """‖J(x)‖_{p -> q}."""
        return operator_norm(self.jacobian, p, q).value.double()

    def capacity(self) -> Float[Tensor, " nets"]:
        """Σ_k (Σ_l ⟨W^l, ∂f_k/∂W^l⟩)²."""
        return capacity(self.trace)

    def attack(self, p: object, q: object) -> Found:
        """The best change ‖f(x + η) - f(x)‖_q that an attack found over ‖η‖_p <= eps, and its η.

        All pairs that the measured observables need are attacked together. Raises ArgumentError without
        ``settings.eps``, and for another pair.
        """
        place = self._place(p, q)
        return Found(self._attacks.value[:, 0, place].double(), self._attacks.eta[:, 0, place])

    def gradients(self, p: object, q: object) -> list[Gradient]:
        """The derivative of ``‖f(x + η) - f(x)‖_q`` at the η of :meth:`attack` with respect to every trained matrix."""
        place, needed = self._place(p, q), self._pairs[self._place(p, q)]
        return self._gradients[needed] if needed in self._slopes else self._derivatives([place])[0]

    @cached_property
    def _gradients(self) -> dict[tuple[float, float], list[Gradient]]:
        """Those of all pairs at which measured observables need them."""
        return dict(zip(self._slopes, self._derivatives([self._pairs.index(pair) for pair in self._slopes])))

    def _derivatives(self, places: list[int]) -> list[list[Gradient]]:
        eta, qs = self._attacks.eta[:, 0, places], [self._pairs[place][1] for place in places]
        return _gradients(self.trace, self.x, eta, qs)

    def pairing(self, p: object, q: object, number: object = 1) -> Float[Tensor, " nets"]:
        """⟨W, ∂L_adv/∂W⟩, the mean over blocks, for the trained matrix with this ``number`` in its block, counted from
        1."""
        require_repeated(self.trace.networks.net)
        count, number = len(self.trace.networks.net.trained), int(number)  # type: ignore[call-overload]
        if number > count:
            raise ArgumentError(f"Trained matrix {number} of a block is asked for, and there are {count}.")
        pairings = torch.stack([g.pairing() for g in self.gradients(p, q)], 1)
        return pairings[:, number - 1 :: count].mean(1)

    def gradient_square(self, p: object, q: object) -> Float[Tensor, " nets"]:
        """Σ_W ‖∂L_adv/∂W‖_F² over all trained matrices."""
        return torch.stack([g.squared_norm() for g in self.gradients(p, q)]).sum(0)

    def capacity_slope(self, p: object, q: object) -> Float[Tensor, " nets"]:
        """d/dt of :meth:`capacity` under gradient flow of ε ‖J(x)‖_{p -> q}, the adversarial loss in a ball within one
        linear region.

        Raises ArgumentError for a net whose slopes are not constant in such a region, and without ``settings.eps``.
        """
        self._require_linear_region()
        e = operator_norm(self.jacobian, p, q).vector
        t = maximiser((self.jacobian @ e[..., None])[..., 0], conjugate(order(q, "q")))
        return self._radius * capacity_slope(self.trace, e, t)

    def mean_capacity_slope(self, p: object, q: object) -> Float[Tensor, " nets"]:
        """The mean of :meth:`capacity_slope` over output layers, given all other weights of a network.

        Raises as :meth:`capacity_slope` does.
        """
        self._require_linear_region()
        return self._radius * self._output_means.capacity_slope(order(p, "p"), order(q, "q"))

    @cached_property
    def _output_means(self) -> OutputMeans:
        """What all means over output layers need of the other weights."""
        return OutputMeans.of(self.trace)

    def _require_linear_region(self) -> None:
        net = self.trace.networks.net
        if not all(phi.homogeneous for phi in net.activations) or any(isinstance(b, Norm) for b in net.leaves):
            raise ArgumentError(
                f"The slope of the capacity is measured inside a linear region, which takes activations as ReLULike and no norms; got {net!r}."
            )

    @property
    def _radius(self) -> float:
        if self.settings.eps is None:
            raise ArgumentError("The adversarial loss needs eps, the radius of the ball; give it in at=dict(eps=...).")
        return self.settings.eps

    def _place(self, p: object, q: object) -> int:
        pair = order(p, "p"), order(q, "q")
        if pair not in self._pairs:
            raise ArgumentError(
                f"No attack at (p, q) = {pair} was asked for; an observable whose needs hold 'attack' has p and q as its first two arguments."
            )
        return self._pairs.index(pair)

    @cached_property
    def _attacks(self) -> Attack:
        settings = self.settings
        return attack_trace(
            self.trace,
            eps=self._radius,
            pairs=self._pairs,
            steps=settings.steps,
            restarts=settings.restarts,
            directions=settings.directions,
            generator=self.generator,
            jacobian=self.jacobian[:, None],
        )


class Found(NamedTuple):
    """The result of an attack: the value of each network, and its perturbation."""

    value: Float[Tensor, " nets"]
    eta: Float[Tensor, "nets d"]


def _gradients(trace: Trace, x: Tensor, eta: Tensor, qs: Sequence[float]) -> list[list[Gradient]]:
    """The derivative of ``||f(x + eta) - f(x)||_q`` at a fixed eta with respect to every trained matrix, for each pair
    (p, q). eta is (nets, pairs, d). All pairs share their products with the matrices."""
    pairs, moved = len(qs), x + eta.mT[..., None]
    both = trace.networks.trace(torch.cat((x.expand_as(moved), moved), 2))
    change = both.output[:, :, pairs:] - both.output[:, :, :pairs]
    pull = torch.stack([maximiser(change[:, :, i], conjugate(q), 1) for i, q in enumerate(qs)], 2)
    found = both.gradients(torch.cat((-pull, pull), 2))
    answers = [answer.flatten(2) for answer in both.answers()]

    def own(z: Tensor, pair: int) -> Tensor:
        """The columns of a pair: those of x and of x + eta, at all positions of an image."""
        return z.unflatten(2, (2, pairs, -1))[:, :, :, pair].flatten(2)

    return [
        [
            Gradient(weight, *(own(z, i) for z in (delta, y, answer)))
            for (weight, delta, y), answer in zip(found, answers)
        ]
        for i in range(pairs)
    ]


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
