"""The covariance of networks on images of infinite width, and its derivatives by all pixels.

With the head "flatten" every position has output weights of its own, so only the moments of two inputs at the same
position matter: Q[a], R[a] and the mean square D[a] of the difference of the streams at position a. A convolution
averages them over its taps. All else acts at each position, by the rules of :mod:`advmf.simulate.limit_kernel`, for
which a position is one more network.

As without images, D is propagated as a linear part and a rest, so that close inputs lose no digits. The linear part at
position a is the sum ``Σ_b G[a, b] D0[b]`` over the positions b of the input.

The rest t at a position depends on q, r and D0 at all positions that its taps meet. Its first derivatives by the pixels
of either input are carried forwards. Its mixed second derivatives would be d² numbers for each position, of which only
the mean over the positions at the end is needed. So weights are carried back instead, and each activation adds products
of matrices, of positions times pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from typing import Self

import sympy as sp
import torch
from torch import Tensor

from advmf.errors import DeclarationError
from advmf.nets import Conv, Net, Sizes, Windows
from advmf.simulate.limit_jets import Jets, Layout, Points, Streams
from advmf.simulate.limit_kernel import Kernel, blocks_of, kept, through

Back = Callable[[Tensor], Tensor]
"""From the weights (nets, rows, points, n) of the rests after a path to those before it."""


@dataclass(frozen=True)
class Pixels:
    """The inputs of a pass: for each pixel its position (d,), 2 (x - x')/channels (nets, rows, points, d), and the
    number of channels. Ways back add to ``mixed`` (nets, rows, points, d, d), second derivatives of the mean of the
    rests by a pixel of either input, and to its ``diagonal``."""

    place: Tensor
    moves: Tensor
    channels: int
    mixed: Tensor
    diagonal: Tensor

    @staticmethod
    def of(apart: Tensor, channels: int, positions: int) -> Pixels:
        d = apart.shape[3]
        place = torch.arange(d, dtype=torch.int64, device=apart.device) % positions
        mixed = apart.new_zeros(*apart.shape, d)
        return Pixels(place, 2 / channels * apart, channels, mixed, torch.zeros_like(apart))

    def add(self, first: Tensor, second: Tensor) -> None:
        """Add the products of derivatives by either input (..., n, d), summed over the positions."""
        self.mixed.add_(first.mT @ second)


@dataclass(frozen=True)
class Slopes:
    """Derivatives by the pixels: of Q and of the mean at each position (nets, points, n, d), and of the rests by
    either input (nets, rows, points, n, d); and the way ``back`` to the start of the path."""

    pixels: Pixels
    Q: Tensor
    mean: Tensor | None
    own: Tensor
    other: Tensor
    back: Back

    def mapped(self, change: Callable[[Tensor], Tensor], back: Back, means: float = 0.0) -> Slopes:
        """After the same linear map of all second moments, and of the means by a factor."""
        mean = None if self.mean is None or not means else means * self.mean
        own, other = change(self.own), change(self.other)
        return Slopes(self.pixels, change(self.Q), mean, own, other, lambda w: self.back(back(w)))


@dataclass(frozen=True)
class ImageState(Streams):
    """The streams at the positions of images of some ``sizes``. Networks and positions are one axis: ``points`` has
    (nets·n, points), and the linear part of the squared ``distance`` and its ``rest`` are (nets·n, rows, points).
    ``gain`` is G (nets, n, positions of the input). Without ``slopes`` there are no derivatives."""

    points: Points
    sizes: Sizes
    distance: Tensor
    rest: Tensor
    gain: Tensor
    slopes: Slopes | None

    def apart(self) -> Tensor:
        return self.distance + self.rest

    def times(self, factor: float, means: float = 1.0, bias: float = 0.0) -> Self:
        slopes = self.slopes and self.slopes.mapped(lambda v: factor * v, lambda w: factor * w, means)
        return self._with(
            self.points.times(factor, means, bias),
            distance=factor * self.distance,
            rest=factor * self.rest,
            gain=factor * self.gain,
            slopes=slopes,
        )

    def averaged(self, layer: Conv) -> Self:
        taps = averages(layer.windows, self.sizes, str(self.rest.device))
        nets = len(self.gain)

        def over(values: Tensor) -> Tensor:
            each = values.unflatten(0, (nets, -1)).flatten(2)
            return (taps @ each).unflatten(2, values.shape[1:]).flatten(0, 1)

        points = replace(self.points.centred, Q=over(self.points.Q), gap=over(self.points.gap))
        return self._with(
            points,
            sizes=layer.sizes(self.sizes),
            distance=over(self.distance),
            rest=over(self.rest),
            gain=taps @ self.gain,
            slopes=self.slopes and self.slopes.mapped(lambda v: taps @ v, lambda w: w @ taps),
        )

    def after(
        self, points: Points, gain: float | Tensor, rest: Jets, layout: Layout, kept: float | Tensor = 0.0
    ) -> Self:
        whole = gain.reshape(len(self.gain), -1, 1) if isinstance(gain, Tensor) else gain
        return self._with(
            points,
            distance=gain * self.distance,
            rest=gain * self.rest + rest.value,
            gain=whole * self.gain,
            slopes=self.slopes and self._bent(self.slopes, points, gain, rest, layout, kept),
        )

    def _bent(
        self, slopes: Slopes, points: Points, gain: float | Tensor, rest: Jets, layout: Layout, kept: float | Tensor
    ) -> Slopes:
        """The derivatives after an activation, by those of its own rest."""
        pixels, G = slopes.pixels, self.gain
        first, second = slopes.Q[:, layout.rows, None], slopes.Q[:, None]
        linear = G[:, None, None, :, pixels.place] * pixels.moves[..., None, :]
        own, other = slopes.own + linear, slopes.other - linear
        q, r, D, qr, qD, rD, DD = (
            self._each(value)[..., None] for value in (rest.q, rest.r, rest.D, rest.qr, rest.qD, rest.rD, rest.DD)
        )
        keep = self._each(gain)[..., None] if isinstance(gain, Tensor) else gain

        def back(w: Tensor) -> Tensor:
            weights = w[..., None]
            pixels.add(weights * (qr * first + rD * own), second)
            pixels.add(weights * (qD * first + DD * own), other)
            change = w * D[..., 0]
            pixels.diagonal.sub_((change @ G[:, None])[..., pixels.place], alpha=2 / pixels.channels)
            before = keep * weights
            return slopes.back(before[..., 0] + change)

        mean = None
        if points.mean_slope is not None:
            mean = self._each(points.mean_slope)[..., None] * slopes.Q
            if slopes.mean is not None:
                mean = mean + (self._each(kept)[..., None] if isinstance(kept, Tensor) else kept) * slopes.mean
        return Slopes(
            pixels,
            self._each(points.slope)[..., None] * slopes.Q,
            mean,
            torch.addcmul(q * first, D, own) + keep * slopes.own,
            torch.addcmul(r * second, D, other) + keep * slopes.other,
            back,
        )

    def plus(self, other: Self, s: float, layout: Layout) -> Self:
        a, b, square, slopes = self.slopes, other.slopes, s**2, None
        if a is not None and b is not None:
            means = [m for m in (a.mean, None if b.mean is None else s * b.mean) if m is not None]
            Q = a.Q + square * b.Q
            for p, m in ((self.points, b.mean), (other.points, a.mean)):
                if p.mean is not None and m is not None:
                    Q = Q + 2 * s * self._each(p.mean)[..., None] * m
            slopes = Slopes(
                a.pixels,
                Q,
                sum(means[1:], means[0]) if means else None,
                a.own + square * b.own,
                a.other + square * b.other,
                lambda w: a.back(w) + b.back(square * w),
            )
        out = self._with(
            self.points.plus(other.points, s, layout),
            distance=self.distance + square * other.distance,
            rest=self.rest + square * other.rest,
            gain=self.gain + square * other.gain,
            slopes=slopes,
        )
        return (
            out if self.points.mean is None or other.points.mean is None else out._crossed(self, other, 2 * s, layout)
        )

    def without_mean(self, layout: Layout) -> Self:
        p, slopes = self.points, self.slopes
        if p.mean is None:
            return self
        if slopes is not None and slopes.mean is not None:
            slopes = replace(slopes, Q=slopes.Q - 2 * self._each(p.mean)[..., None] * slopes.mean, mean=None)
        return self._with(p.about_mean(layout), slopes=slopes)._crossed(self, self, -1.0, layout)

    def _crossed(self, a: Self, b: Self, factor: float, layout: Layout) -> Self:
        """With ``factor`` (m - m')(n - n') added to the squared distance, for the means m of a and n of b."""
        one, other = layout.between(*a.points.means[:2]), layout.between(*b.points.means[:2])  # type: ignore[index]
        out = replace(self, rest=self.rest + factor * one * other)
        slopes = self.slopes
        if slopes is None or a.slopes is None or b.slopes is None or a.slopes.mean is None or b.slopes.mean is None:
            return out
        m, n, before = a.slopes.mean, b.slopes.mean, slopes.back
        (m_q, n_q), (m_r, n_r) = ((e[:, layout.rows, None] for e in (m, n)), (e[:, None] for e in (m, n)))
        one, other = self._each(one)[..., None], self._each(other)[..., None]

        def back(w: Tensor) -> Tensor:
            weights = -factor * w[..., None]
            slopes.pixels.add(weights * m_q, n_r)
            slopes.pixels.add(weights * n_q, m_r)
            return before(w)

        return replace(
            out,
            slopes=replace(
                slopes,
                own=slopes.own + factor * (m_q * other + one * n_q),
                other=slopes.other - factor * (m_r * other + one * n_r),
                back=back,
            ),
        )

    def begin(self) -> Self:
        return replace(self, slopes=self.slopes and replace(self.slopes, back=_same))

    def follow(self, before: Self) -> Self:
        if self.slopes is None or before.slopes is None:
            return self
        own, earlier = self.slopes.back, before.slopes.back
        return replace(self, slopes=replace(self.slopes, back=lambda w: earlier(own(w))))

    def _with(self, points: Points, **new: object) -> Self:
        """With other points, whose derivatives by pixels are in ``slopes``."""
        points = replace(points, slope=torch.ones_like(points.Q))
        if points.mean is not None:
            points = replace(points, mean_slope=torch.zeros_like(points.Q))
        return replace(self, points=points, **new)  # type: ignore[arg-type]

    def _each(self, values: Tensor) -> Tensor:
        """Numbers (nets·n, ...) as (nets, ..., n)."""
        return values.unflatten(0, (len(self.gain), -1)).movedim(1, -1)


def _same(weights: Tensor) -> Tensor:
    return weights


@dataclass(frozen=True)
class Covariance:
    """What the process needs of the kernel (Q + R - D)/2 with D = Σ_i metric_i (x_i - x'_i)² + t: Q of the points, its
    excess over that of the anchor, half of its derivatives (nets, points, d) and the ``metric`` (nets, d); and of the
    pairs D itself, t, its derivatives by either input, and its mixed second ones."""

    Q: Tensor
    gap: Tensor
    distance: Tensor
    rest: Tensor
    metric: Tensor
    halves: Tensor
    own: Tensor
    other: Tensor
    mixed: Tensor


class ImageKernel:
    """The covariance of a net on images of depth ``L``, between inputs and by their pixels; ``number`` gives the value
    of an expression.

    Raises DeclarationError for a block or an activation that has no rule, and for a net that averages positions.
    """

    def __init__(self, net: Net, L: int, number: Callable[[sp.Expr], float]) -> None:
        assert net.image is not None
        if net.averages:
            raise DeclarationError(
                f"{net.name} averages positions of images, by an AvgPool or the head 'pool', and the covariance at N = inf is known of "
                "networks that do not: it takes the moments of all pairs of positions. Take head='flatten' without an AvgPool, or "
                "networks of a finite N."
            )
        self.channels, self.sizes = net.image[0], net.image[1:]
        self._blocks = blocks_of(net, L, number)

    @property
    def kept(self) -> int:
        """The numbers that are remembered of a point."""
        return prod(self.sizes) * sum(map(kept, self._blocks))

    @property
    def held(self) -> int:
        """The numbers that the pairs of a point take while they are computed, beside those of the process."""
        d = self.channels * prod(self.sizes)
        return (4 * len(self._blocks) + 8) * prod(self.sizes) * d + 2 * d**2

    def spread(self, x: Tensor, moves: Tensor) -> Tensor:
        """E (f(x + y) - f(x))² of one input x (d,) and moves y (points, d), of which the first is zero."""
        return self((x + moves)[None], moves[None], Layout.around(moves), slopes=False).distance[0, 0]

    def __call__(self, x: Tensor, y: Tensor, layout: Layout, slopes: bool = True) -> Covariance:
        """The covariance of points (nets, points, d), given with their differences y from their anchors (zero for an
        anchor itself). Without ``slopes`` the derivatives are left empty."""
        positions = prod(self.sizes)
        apart = torch.where(
            layout.same[None, :, :, None], y[:, layout.rows, None] - y[:, None], x[:, layout.rows, None] - x[:, None]
        )

        def moment(first: Tensor, second: Tensor) -> Tensor:
            """The mean over channels at each position, (nets·n, ...)."""
            means = (first * second).unflatten(-1, (self.channels, positions)).mean(-2)
            return means.movedim(-1, 1).flatten(0, 1)

        Q, gap = moment(x, x), moment(2 * x[:, layout.anchor] + y, y)
        points = Points(Q, gap, torch.ones_like(Q), None, None, None)
        distance = moment(apart, apart)
        eye = torch.eye(positions, dtype=x.dtype, device=x.device).expand(len(x), -1, -1)
        start = ImageState(points, self.sizes, distance, torch.zeros_like(distance), eye, None)
        if slopes:
            pixels = Pixels.of(apart, self.channels, positions)
            at = torch.nn.functional.one_hot(pixels.place, positions).mT.to(x)
            nought = apart.new_zeros(*apart.shape[:3], positions, apart.shape[3])
            by_Q = 2 / self.channels * at * x[:, :, None]
            start = replace(start, slopes=Slopes(pixels, by_Q, None, nought, nought, _same))
        state = start
        for rules in self._blocks:
            state = through(rules, state, layout)
        return self._found(state)

    def _found(self, state: ImageState) -> Covariance:
        def mean(values: Tensor) -> Tensor:
            return state._each(values).mean(-1)

        p, slopes = state.points, state.slopes
        moments = mean(p.Q), mean(p.gap), mean(state.apart()), mean(state.rest)
        metric = state.gain.mean(1).repeat(1, self.channels) / self.channels
        if slopes is None:
            none = metric.new_empty(0)
            return Covariance(*moments, metric, none, none, none, none)
        weights = torch.full_like(state._each(state.rest), 1 / state.gain.shape[1])
        slopes.back(weights)
        mixed = slopes.pixels.mixed + torch.diag_embed(slopes.pixels.diagonal)
        own, other = slopes.own.mean(3), slopes.other.mean(3)
        return Covariance(*moments, metric, slopes.Q.mean(2) / 2, own, other, mixed)


def kernel_of(net: Net, L: int, number: Callable[[sp.Expr], float]) -> Kernel | ImageKernel:
    """The covariance of a net of depth ``L``, on vectors or on images.

    Raises DeclarationError for a block or an activation that has no rule, and for averages over positions.
    """
    return (Kernel if net.image is None else ImageKernel)(net, L, number)


@lru_cache(maxsize=64)
def averages(windows: Windows, sizes: Sizes, device: str) -> Tensor:
    """The matrix (positions after, positions before) of the averages over taps; beyond an edge with zeros there is
    nothing to average."""
    sources = torch.tensor(windows.sources(sizes), dtype=torch.int64, device=device)
    positions = prod(sizes)
    found = torch.zeros(len(sources), positions + 1, dtype=torch.float64, device=device)
    found.scatter_add_(1, sources, torch.full(sources.shape, 1 / sources.shape[1], dtype=torch.float64, device=device))
    return found[:, :positions].contiguous()
