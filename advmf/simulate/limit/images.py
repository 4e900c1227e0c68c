"""The covariance of networks on images of infinite width, and its derivatives by all pixels.

With the head "flatten" every position has output weights of its own, so only the moments of two inputs at the same
position matter: Q[a], R[a] and the mean square D[a] of the difference of the streams at position a. A convolution
averages them over its taps. All else acts at each position, by the rules of :mod:`advmf.simulate.limit.kernel`, for
which a position is one more network.

As without images, D is propagated as a linear part and a rest, so that close inputs lose no digits. The linear part at
position a is the sum ``Σ_b G[a, b] D0[b]`` over the positions b of the input.

The rest t at a position depends on q, r and D0 at all positions that its taps meet. Its first derivatives by the pixels
of either input are carried forwards. Its mixed second derivatives would be d² numbers for each position, of which only
the mean over the positions at the end is needed. So weights are carried back instead, and each activation adds products
of matrices, of positions times pixels.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from typing import Self

import torch
from torch import Tensor

from advmf.nets import AvgPool, Conv, Sizes, Windows
from advmf.simulate.limit.jets import Jets, Layout, Points, Streams

Back = Callable[[Tensor], Tensor]
"""From the weights (nets, rows, points, n) of the rests after a path to those before it."""


@dataclass(frozen=True)
class Pixels:
    """The inputs of a pass: the position of each pixel (d,), the number of channels, and the ``rows`` that are paired
    with all points. Ways back add to ``mixed`` (nets, rows, points, d, d), the second derivatives of the mean of the
    rests by a pixel of either input."""

    place: Tensor
    channels: int
    rows: Tensor
    mixed: Tensor

    @staticmethod
    def of(apart: Tensor, channels: int, positions: int, rows: Tensor) -> Pixels:
        """Of the differences of the inputs (nets, rows, points, d)."""
        d = apart.shape[3]
        place = torch.arange(d, dtype=torch.int64, device=apart.device) % positions
        return Pixels(place, channels, rows, apart.new_zeros(*apart.shape, d))

    def add(self, first: Tensor, second: Tensor) -> None:
        """Add the products of derivatives by either input (..., positions, d), summed over the positions."""
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

    def times(self, factor: float, means: float) -> Slopes:
        """With second moments times a factor, and means times another."""
        mean = None if self.mean is None or not means else means * self.mean
        own, other, back = factor * self.own, factor * self.other, self.back
        return Slopes(self.pixels, factor * self.Q, mean, own, other, lambda w: back(factor * w))


@dataclass(frozen=True)
class ImageState(Streams):
    """The streams at the positions of images of some ``sizes``, of a number of ``nets``: the rules' ``points``, and the
    ``rest`` of the squared distances. Without ``slopes`` there are no derivatives."""

    points: Points
    sizes: Sizes
    nets: int
    rest: Tensor
    slopes: Slopes | None

    @abstractmethod
    def at(self, values: Tensor) -> Tensor:
        """Numbers of the rules' points as (nets, points, positions)."""

    @abstractmethod
    def between(self, values: Tensor) -> Tensor:
        """Numbers of the rules' pairs as (nets, rows, points, positions)."""

    @abstractmethod
    def first(self, values: Tensor) -> Tensor:
        """Numbers (nets, points, positions, ...) at the first point of each pair."""

    @abstractmethod
    def second(self, values: Tensor) -> Tensor:
        """Numbers (nets, points, positions, ...) at the second point of each pair."""

    @property
    @abstractmethod
    def metric(self) -> Tensor:
        """The weights of the pixels in the part of the squared distance of outputs that is kept apart, (nets, d)."""

    def linear(self) -> Tensor | None:
        """The derivatives by the first input's pixels of what a distance is beyond its rest, if that is kept apart."""
        return None

    def linear_back(self, weights: Tensor) -> None:
        """Add that part's second derivatives, for weights of the distances."""

    def apart(self) -> Tensor:
        return self.rest

    def times(self, factor: float, means: float = 1.0, bias: float = 0.0) -> Self:
        points, slopes = self.points.times(factor, means, bias), self.slopes and self.slopes.times(factor, means)
        return self.followed(points, rest=factor * self.rest, slopes=slopes)

    def after(
        self, points: Points, gain: float | Tensor, rest: Jets, layout: Layout, kept: float | Tensor = 0.0
    ) -> Self:
        slopes = self.slopes and self._bent(self.slopes, points, gain, rest, kept)
        return self.followed(points, rest=gain * self.rest + rest.value, slopes=slopes)

    def _bent(self, slopes: Slopes, points: Points, gain: float | Tensor, rest: Jets, kept: float | Tensor) -> Slopes:
        """The derivatives after an activation, by those of its own rest."""
        own, other = slopes.own, slopes.other
        if (linear := self.linear()) is not None:
            own, other = own + linear, other - linear
        q, r, D = (self.between(value)[..., None] for value in (rest.q, rest.r, rest.D))
        keep = self.between(gain)[..., None] if isinstance(gain, Tensor) else gain
        return Slopes(
            slopes.pixels,
            self.at(points.slope)[..., None] * slopes.Q,
            self._mean_slopes(slopes, points, kept),
            torch.addcmul(q * self.first(slopes.Q), D, own) + keep * slopes.own,
            torch.addcmul(r * self.second(slopes.Q), D, other) + keep * slopes.other,
            lambda w: self._back(slopes, own, other, gain, rest, w),
        )

    def _mean_slopes(self, slopes: Slopes, points: Points, kept: float | Tensor) -> Tensor | None:
        """The derivatives of the means after an activation."""
        if points.mean_slope is None:
            return None
        mean = self.at(points.mean_slope)[..., None] * slopes.Q
        if slopes.mean is None:
            return mean
        return mean + (self.at(kept)[..., None] if isinstance(kept, Tensor) else kept) * slopes.mean

    def _back(
        self, slopes: Slopes, own: Tensor, other: Tensor, gain: float | Tensor, rest: Jets, weights: Tensor
    ) -> Tensor:
        """From the weights of the squared distances after an activation to the start of the path; ``own`` and ``other``
        are the derivatives of those before it."""
        first, second, w = self.first(slopes.Q), self.second(slopes.Q), weights[..., None]
        D, qr, qD, rD, DD = (self.between(each)[..., None] for each in (rest.D, rest.qr, rest.qD, rest.rD, rest.DD))
        slopes.pixels.add(w * (qr * first + rD * own), second)
        slopes.pixels.add(w * (qD * first + DD * own), other)
        self.linear_back((w * D)[..., 0])
        keep = self.between(gain)[..., None] if isinstance(gain, Tensor) else gain
        return slopes.back(((keep + D) * w)[..., 0])

    def plus(self, other: Self, s: float, layout: Layout) -> Self:
        a, b, square, slopes = self.slopes, other.slopes, s**2, None
        if a is not None and b is not None:
            means = [m for m in (a.mean, None if b.mean is None else s * b.mean) if m is not None]
            Q = a.Q + square * b.Q
            for p, m in ((self.points, b.mean), (other.points, a.mean)):
                if p.mean is not None and m is not None:
                    Q = Q + 2 * s * self.at(p.mean)[..., None] * m
            slopes = Slopes(
                a.pixels,
                Q,
                sum(means[1:], means[0]) if means else None,
                a.own + square * b.own,
                a.other + square * b.other,
                lambda w: a.back(w) + b.back(square * w),
            )
        points = self.points.plus(other.points, s, layout)
        out = self.followed(points, rest=self.rest + square * other.rest, slopes=slopes)
        return (
            out if self.points.mean is None or other.points.mean is None else out._crossed(self, other, 2 * s, layout)
        )

    def without_mean(self, layout: Layout) -> Self:
        p, slopes = self.points, self.slopes
        if p.mean is None:
            return self
        if slopes is not None and slopes.mean is not None:
            slopes = replace(slopes, Q=slopes.Q - 2 * self.at(p.mean)[..., None] * slopes.mean, mean=None)
        return self.followed(p.about_mean(layout), slopes=slopes)._crossed(self, self, -1.0, layout)

    def _crossed(self, a: Self, b: Self, factor: float, layout: Layout) -> Self:
        """With ``factor`` (m - m')(n - n') added to the squared distance, for the means m of a and n of b."""
        one, other = layout.between(*a.points.means[:2]), layout.between(*b.points.means[:2])  # type: ignore[index]
        out = replace(self, rest=self.rest + factor * one * other)
        slopes = self.slopes
        if slopes is None or a.slopes is None or b.slopes is None or a.slopes.mean is None or b.slopes.mean is None:
            return out
        before, means = slopes.back, (a.slopes.mean, b.slopes.mean)
        m_q, n_q, m_r, n_r = *map(self.first, means), *map(self.second, means)
        one, other = self.between(one)[..., None], self.between(other)[..., None]

        def back(w: Tensor) -> Tensor:
            weights = -factor * w[..., None]
            slopes.pixels.add(weights * m_q, n_r)
            slopes.pixels.add(weights * n_q, m_r)
            return before(w)

        by_own, by_other = m_q * other + one * n_q, m_r * other + one * n_r
        own, others = slopes.own + factor * by_own, slopes.other - factor * by_other
        return replace(out, slopes=replace(slopes, own=own, other=others, back=back))

    def begin(self) -> Self:
        return replace(self, slopes=self.slopes and replace(self.slopes, back=same))

    def follow(self, before: Self) -> Self:
        if self.slopes is None or before.slopes is None:
            return self
        own, earlier = self.slopes.back, before.slopes.back
        return replace(self, slopes=replace(self.slopes, back=lambda w: earlier(own(w))))

    def followed(self, points: Points, **new: object) -> Self:
        """With other points, whose derivatives by the pixels are in ``slopes``."""
        points = replace(points, slope=torch.ones_like(points.Q))
        if points.mean is not None:
            points = replace(points, mean_slope=torch.zeros_like(points.Q))
        return replace(self, points=points, **new)  # type: ignore[arg-type]


def same(weights: Tensor) -> Tensor:
    """The way back over nothing."""
    return weights


@dataclass(frozen=True)
class Diagonal(ImageState):
    """The streams of two inputs at the same position. For the rules, networks and positions are one axis: points are
    (nets·n, points) and pairs (nets·n, rows, points). ``distance`` is the linear part of the squared distances, and
    ``gain`` is G (nets, n, positions of the input). ``moves`` are 2 (x - x')/channels (nets, rows, points, d)."""

    distance: Tensor
    gain: Tensor
    moves: Tensor

    @staticmethod
    def start(x: Tensor, y: Tensor, image: tuple[int, ...], layout: Layout, slopes: bool) -> Diagonal:
        """Of inputs (nets, points, d) with their differences y from their anchors."""
        channels, sizes = image[0], image[1:]
        positions, apart = prod(sizes), layout.apart(x, y)

        def moment(one: Tensor, other: Tensor) -> Tensor:
            means = (one * other).unflatten(-1, (channels, positions)).mean(-2)
            return means.movedim(-1, 1).flatten(0, 1)

        Q, distance = moment(x, x), moment(apart, apart)
        points = Points(Q, moment(2 * x[:, layout.anchor] + y, y), torch.ones_like(Q), None, None, None)
        eye, rest = torch.eye(positions, dtype=x.dtype, device=x.device), torch.zeros_like(distance)
        found, moves = None, 2 / channels * apart
        if slopes:
            pixels = Pixels.of(apart, channels, positions, layout.rows)
            none = apart.new_zeros(*apart.shape[:3], positions, apart.shape[3])
            found = Slopes(pixels, 2 / channels * eye[:, pixels.place] * x[:, :, None], None, none, none, same)
        return Diagonal(points, sizes, len(x), rest, found, distance, eye.expand(len(x), -1, -1), moves)

    def at(self, values: Tensor) -> Tensor:
        return values.unflatten(0, (self.nets, -1)).movedim(1, -1)

    between = at

    def first(self, values: Tensor) -> Tensor:
        assert self.slopes is not None
        return values[:, self.slopes.pixels.rows, None]

    def second(self, values: Tensor) -> Tensor:
        return values[:, None]

    def linear(self) -> Tensor:
        assert self.slopes is not None
        return self.gain[:, None, None, :, self.slopes.pixels.place] * self.moves[..., None, :]

    def linear_back(self, weights: Tensor) -> None:
        assert self.slopes is not None
        pixels = self.slopes.pixels
        change = (weights @ self.gain[:, None])[..., pixels.place]
        pixels.mixed.diagonal(dim1=3, dim2=4).sub_(change, alpha=2 / pixels.channels)

    def apart(self) -> Tensor:
        return self.distance + self.rest

    def times(self, factor: float, means: float = 1.0, bias: float = 0.0) -> Self:
        out = super().times(factor, means, bias)
        return replace(out, distance=factor * self.distance, gain=factor * self.gain)

    def after(
        self, points: Points, gain: float | Tensor, rest: Jets, layout: Layout, kept: float | Tensor = 0.0
    ) -> Self:
        out = super().after(points, gain, rest, layout, kept)
        whole = gain.reshape(self.nets, -1, 1) if isinstance(gain, Tensor) else gain
        return replace(out, distance=gain * self.distance, gain=whole * self.gain)

    def plus(self, other: Self, s: float, layout: Layout) -> Self:
        out = super().plus(other, s, layout)
        return replace(out, distance=self.distance + s**2 * other.distance, gain=self.gain + s**2 * other.gain)

    def averaged(self, layer: Conv) -> Self:
        taps = averages(layer.windows, self.sizes, str(self.rest.device))

        def over(values: Tensor) -> Tensor:
            each = values.unflatten(0, (self.nets, -1)).flatten(2)
            return (taps @ each).unflatten(2, values.shape[1:]).flatten(0, 1)

        slopes = self.slopes
        if slopes is not None:
            back = slopes.back
            Q, own, other = taps @ slopes.Q, taps @ slopes.own, taps @ slopes.other
            slopes = Slopes(slopes.pixels, Q, None, own, other, lambda w: back(w @ taps))
        return self.followed(
            replace(self.points.centred, Q=over(self.points.Q), gap=over(self.points.gap)),
            sizes=layer.sizes(self.sizes),
            rest=over(self.rest),
            slopes=slopes,
            distance=over(self.distance),
            gain=taps @ self.gain,
        )

    def pooled(self, layer: AvgPool) -> Self:
        raise TypeError("Averages need the covariances between positions.")

    @property
    def metric(self) -> Tensor:
        channels = self.moves.shape[3] // self.gain.shape[2]
        return self.gain.mean(1).repeat(1, channels) / channels


@lru_cache(maxsize=64)
def averages(windows: Windows, sizes: Sizes, device: str) -> Tensor:
    """The matrix (positions after, positions before) of the averages over taps; beyond an edge with zeros there is
    nothing to average."""
    sources = torch.tensor(windows.sources(sizes), dtype=torch.int64, device=device)
    positions = prod(sizes)
    found = torch.zeros(len(sources), positions + 1, dtype=torch.float64, device=device)
    found.scatter_add_(1, sources, torch.full(sources.shape, 1 / sources.shape[1], dtype=torch.float64, device=device))
    return found[:, :positions].contiguous()
