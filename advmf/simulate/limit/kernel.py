"""The covariance of a network of infinite width and its derivatives, computed without cancellation.

As N -> oo the outputs are independent Gaussian processes. For two inputs let ``Q`` and ``R`` be the second moments of
their streams and ``D`` the mean square of the difference of the streams, each over N. The kernel is (Q + R - D)/2 at
the last layer, and each primitive of a block needs a rule for (Q, R, D). At the input they are q = |x|²/d, r = |x'|²/d
and ``D0 = |x - x'|²/d``.

Close points lose digits in the product of their streams, but not in the distance. So D is propagated, in the form ``D =
a D0 + t``: ``a`` is the gain of the layers at a reference input, and the rest ``t`` falls faster than D0. A linear
function has no rest. For slopes u, v the rest of a layer has the closed form -(u - v)² sqrt(QR) (sin θ - θ cos θ)/π,
where θ is the angle between the streams, computed from their distance.

The rest is propagated with its derivatives in q, r and D0, at most one for either input. The covariance of gradients
consists of these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

import sympy as sp
import torch
from torch import Tensor

from advmf.errors import DeclarationError
from advmf.nets import AvgPool, Conv, Dropout, GaussianLayer, Net, Norm, Pointwise, ReLULike, Residual, require_vectors
from advmf.nets.algebra import Algebra
from advmf.simulate.limit.exponential import Exponential
from advmf.simulate.limit.hermite import KEPT, Hermite
from advmf.simulate.limit.jets import Jets, Layout, Pair, Points, S, State
from advmf.simulate.limit.piecewise import Piecewise
from advmf.simulate.pointwise import Smooth
from advmf.symbols import z

SERIES = 0.5
"""Below this angle, differences of sines and angles are computed by power series."""


class Rule(Protocol):
    """What a primitive does to streams."""

    def __call__(self, state: S, layout: Layout) -> S: ...


@dataclass(frozen=True)
class Gaussian:
    """A random layer: it multiplies all moments by its variance and adds that of the biases."""

    variance: float
    bias: float

    def __call__(self, state: S, layout: Layout) -> S:
        return state.times(self.variance, 0.0, self.bias)


@dataclass(frozen=True)
class Averaged:
    """What the taps of a convolution meet."""

    layer: Conv

    def __call__(self, state: S, layout: Layout) -> S:
        return state.averaged(self.layer)


@dataclass(frozen=True)
class Pooled:
    """Averages over windows of positions."""

    layer: AvgPool

    def __call__(self, state: S, layout: Layout) -> S:
        return state.pooled(self.layer)


@dataclass(frozen=True)
class Scaled:
    """A linear activation."""

    factor: float

    def __call__(self, state: S, layout: Layout) -> S:
        return state.times(self.factor**2, self.factor)


@dataclass(frozen=True)
class Masked:
    """A dropout: it multiplies second moments by ``gain`` and keeps the means."""

    gain: float

    def __call__(self, state: S, layout: Layout) -> S:
        return state.times(self.gain)


@dataclass(frozen=True)
class Rectified:
    """The activation of slopes u and v."""

    u: float
    v: float

    def __call__(self, state: S, layout: Layout) -> S:
        alpha, jump = (self.u**2 + self.v**2) / 2, (self.u - self.v) / math.sqrt(2 * math.pi)
        p, pair = state.points, state.pair(layout)
        root = p.Q.sqrt()
        points = p.times(alpha)
        points = replace(
            points,
            mean=jump * root,
            mean_gap=jump * p.gap / (root + root[:, layout.anchor]),
            mean_slope=jump / 2 * p.slope / root,
        )
        rest = rectified_rest(pair, -((self.u - self.v) ** 2) / math.pi)
        return state.after(points, alpha, rest, layout)


def rectified_rest(pair: Pair, factor: float) -> Jets:
    """``factor`` sqrt(QR) (sin θ - θ cos θ) with its derivatives in Q, R and D.

    With the factor -1/π it is E (max(a, 0) - max(b, 0))² - E (a - b)²/2."""
    half = pair.bend().clamp(0, 2) / 2
    theta = 2 * half.sqrt().asin()
    sine = 2 * (half * (1 - half)).sqrt()
    short, full = _angle_less_sine(theta, sine)
    s = pair.deviation * sine
    over = torch.where(s > 0, factor / 4 / s, 0.0)
    sine, short = factor / 2 * sine, factor / 2 * short
    first, second = (pair.gap + pair.D) / (2 * pair.Q), (pair.D - pair.gap) / (2 * pair.R)
    return Jets(
        factor * pair.deviation * full,
        -pair.root_gap / pair.sigma * sine - short,
        pair.root_gap / pair.tau * sine - short,
        factor / 2 * theta,
        (first + second) * over,
        -first * over,
        -second * over,
        over,
    )


def _angle_less_sine(theta: Tensor, sine: Tensor) -> tuple[Tensor, Tensor]:
    """θ - sin θ and sin θ - θ cos θ."""
    near = theta < SERIES
    square = theta**2
    # All powers at once, as a product with a matrix: on few networks the number of operations is what takes time.
    powers = square[..., None].expand(*square.shape, len(_SERIES) - 1).cumprod(-1)
    coefficients = square.new_tensor(_SERIES)
    cube = square * theta
    one, other = (cube[..., None] * (coefficients[0] + powers @ coefficients[1:])).unbind(-1)
    if bool(near.all()):
        return one, other
    return torch.where(near, one, theta - sine), torch.where(near, other, sine - theta * theta.cos())


_SERIES = [[(-1.0) ** (n + 1) / math.factorial(2 * n + 1) * k for k in (1, 2 * n)] for n in range(1, 8)]
"""The coefficients of both functions over θ³, in powers of θ²."""


@dataclass(frozen=True)
class Normalised:
    """A norm: it divides the streams by their size, after subtracting their means where ``centred``."""

    centred: bool

    def __call__(self, state: S, layout: Layout) -> S:
        if self.centred:
            state = state.without_mean(layout)
        p, pair = state.points, state.pair(layout)
        root = p.Q.sqrt()
        gain = 1 / p.Q[:, :1, None]
        over = 1 / pair.deviation
        both_q, both_r = (pair.D + pair.gap) / (2 * pair.Q), (pair.D - pair.gap) / (2 * pair.R)
        rest = Jets(
            pair.D * (over - gain) - pair.root_gap**2 * over,
            -both_q * over,
            -both_r * over,
            over - gain,
            (1 + (pair.D + pair.gap) / (2 * pair.R)) * over / (2 * pair.Q),
            -over / (2 * pair.Q),
            -over / (2 * pair.R),
            torch.zeros_like(over),
        )
        mean = mean_gap = mean_slope = None
        if p.mean is not None and p.mean_gap is not None and p.mean_slope is not None:
            at = layout.anchor
            root_gap = p.gap / (root + root[:, at])
            mean = p.mean / root
            mean_gap = (p.mean_gap * root[:, at] - p.mean[:, at] * root_gap) / (root * root[:, at])
            mean_slope = p.mean_slope / root - p.mean * p.slope / (2 * root * p.Q)
        nought = torch.zeros_like(p.Q)
        points = Points(torch.ones_like(p.Q), nought, nought, mean, mean_gap, mean_slope)
        return state.after(points, gain, rest, layout, 1 / root)


@dataclass(frozen=True)
class Added:
    """``shortcut(x) + scale * branch(x)`` with one fresh path, so that the only cross term is that of the means."""

    shortcut: tuple[Rule, ...]
    branch: tuple[Rule, ...]
    scale: float

    def __call__(self, state: S, layout: Layout) -> S:
        start = state.begin()
        a, b = through(self.shortcut, start, layout), through(self.branch, start, layout)
        return a.plus(b, self.scale, a.laid(layout)).follow(state)


def through(rules: Iterable[Rule], state: S, layout: Layout) -> S:
    """The state after applying rules in turn."""
    for rule in rules:
        state = rule(state, state.laid(layout))
    return state


def kept(rules: Iterable[Rule]) -> int:
    """The numbers that rules remember of a point, for a series of the usual length."""
    inner = [(*rule.shortcut, *rule.branch) if isinstance(rule, Added) else rule for rule in rules]
    return sum(kept(each) if isinstance(each, tuple) else KEPT * isinstance(each, Hermite) for each in inner)


class Rules(Algebra[tuple[Rule, ...]]):
    """The rules of a block in the order in which they act; ``number`` gives the value of an expression."""

    def __init__(self, number: Callable[[sp.Expr], float]) -> None:
        self._number = number

    def gaussian(self, layer: GaussianLayer, state: tuple[Rule, ...]) -> tuple[Rule, ...]:
        return (*state, Gaussian(self._number(layer.deviation) ** 2, self._number(layer.bias_deviation) ** 2))

    def convolution(self, layer: Conv, state: tuple[Rule, ...]) -> tuple[Rule, ...]:
        return self.gaussian(layer, (*state, Averaged(layer)))

    def average(self, pool: AvgPool, state: tuple[Rule, ...]) -> tuple[Rule, ...]:
        return (*state, Pooled(pool))

    def pointwise(self, activation: Pointwise, state: tuple[Rule, ...]) -> tuple[Rule, ...]:
        if activation.linear:
            return (*state, Scaled(self._number(activation.phi(sp.S.One))))
        if isinstance(activation, ReLULike):
            return (*state, Rectified(self._number(activation.u), self._number(activation.v)))
        if (lines := Piecewise.of(activation.phi(z), self._number)) is not None:
            return (*state, lines)
        if (curved := Exponential.of(activation.phi(z), self._number)) is not None:
            return (*state, curved)
        function = Smooth.of(activation.phi(z), self._number)
        if function.kinks:
            raise DeclarationError(
                f"{activation!r} has kinks between curves, and the covariance at N = inf is known to rounding for smooth activations, and for "
                "those that are lines and exponentials between their kinks. Take one of these, or networks of a finite N."
            )
        return (*state, Hermite(function, str(activation)))

    def norm(self, norm: Norm, state: tuple[Rule, ...]) -> tuple[Rule, ...]:
        return (*state, Normalised(norm.centred))

    def dropout(self, dropout: Dropout, state: tuple[Rule, ...]) -> tuple[Rule, ...]:
        return (*state, Masked(self._number(dropout.gain)))

    def fork(self, state: tuple[Rule, ...]) -> tuple[Rule, ...]:
        return ()

    def add(
        self, block: Residual, shortcut: tuple[Rule, ...], branch: tuple[Rule, ...], before: tuple[Rule, ...]
    ) -> tuple[Rule, ...]:
        return (*before, Added(shortcut, branch, self._number(block.scale)))


def blocks_of(net: Net, L: int, number: Callable[[sp.Expr], float]) -> list[tuple[Rule, ...]]:
    """The rules of each of a net's blocks; raises DeclarationError for a block or an activation that has no rule."""
    return [
        rules
        for stage in net.stages
        for rules in [stage.block.apply(Rules(number), ())] * (L if net.repeated else int(number(stage.repeat)))
    ]


class Kernel:
    """The covariance of a net of depth ``L`` at pairs of points; ``number`` gives the value of an expression.

    Raises DeclarationError for a block or an activation that has no rule, and for a net on images.
    """

    def __init__(self, net: Net, L: int, number: Callable[[sp.Expr], float]) -> None:
        require_vectors(net, "The covariance at N = inf between an input and those near it")
        self._blocks = blocks_of(net, L, number)

    @property
    def kept(self) -> int:
        """The numbers that are remembered of a point."""
        return sum(map(kept, self._blocks))

    held = 0
    """The numbers that the pairs of a point take while they are computed, beside those of the process."""

    def spread(self, x: Tensor, moves: Tensor) -> Tensor:
        """E (f(x + y) - f(x))² of one input x (d,) and moves y (points, d), of which the first is zero."""
        layout, d = Layout.around(moves), x.shape[0]
        moved = x + moves
        q, gap, apart = ((y * z).sum(1)[None] / d for y, z in ((moved, moved), (x + moved, moves), (moves, moves)))
        return self(q, gap, apart[:, None], layout).apart()[0, 0]

    def __call__(self, q: Tensor, gap: Tensor, distance: Tensor, layout: Layout) -> State:
        """The state of the last layer: ``q`` (nets, points) are |x|²/d, ``gap`` is their excess over that of the
        point's anchor, and ``distance`` (nets, rows, points) are the |x - x'|²/d of the pairs of ``layout``."""
        nought = torch.zeros_like(distance)
        points = Points(q, gap, torch.ones_like(q), None, None, None)
        state = State(distance, points, torch.ones_like(q[:, :1, None]), Jets.of(nought.repeat(8, 1, 1, 1)))
        for rules in self._blocks:
            state = through(rules, state, layout)
        return state
