"""The covariance of networks on images of infinite width that average over all positions at their end.

With the head "pool" the streams of two inputs at any two positions a and b matter: their squared distance D[a, b]. For
the rules a position of a point is a point by itself, and all of them are paired. That takes positions² numbers for a
pair of inputs, and d times as many with derivatives.

At two positions streams are not close, however close the inputs are. So no linear part is kept apart, and increments
lose digits in small balls.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from typing import Self

import torch
from torch import Tensor

from advmf.nets import Conv, Sizes, Windows
from advmf.simulate.limit.images import Back, ImageState, Pixels, Slopes, averages
from advmf.simulate.limit.jets import Layout, Points


@dataclass(frozen=True)
class Taps:
    """What the taps of a convolution meet at two positions. For each tap and pair of positions after it (taps, pairs),
    ``met`` is the pair of positions before it, or their number where either is beyond an edge; ``one`` and ``other``
    (pairs, positions) are the shares of taps that meet a position of the first or the second input alone."""

    met: Tensor
    one: Tensor
    other: Tensor

    @staticmethod
    @lru_cache(maxsize=64)
    def of(windows: Windows, sizes: Sizes, device: str) -> Taps:
        """Of an image of these sizes."""
        n = prod(sizes)
        sources = torch.tensor(windows.sources(sizes), dtype=torch.int64, device=device).mT
        first, second = (each.flatten(1) for each in torch.broadcast_tensors(sources[:, :, None], sources[:, None]))
        inside = (first < n) & (second < n)
        alone = []
        for own, beyond in ((first, second), (second, first)):
            share = torch.zeros(own.shape[1], n + 1, dtype=torch.float64, device=device)
            share.scatter_add_(1, own.mT, (beyond == n).mT.to(share) / len(own))
            alone.append(share[:, :n].contiguous())
        return Taps(torch.where(inside, first * n + second, n * n), *alone)

    def over(self, values: Tensor) -> Tensor:
        """The means over the taps of numbers of pairs (..., pairs, columns), with zeros beyond edges."""
        padded = torch.cat((values, torch.zeros_like(values[..., :1, :])), -2)
        total = padded.index_select(-2, self.met[0])
        for tap in self.met[1:]:
            total += padded.index_select(-2, tap)
        return total / len(self.met)

    def back(self, weights: Tensor, pairs: int) -> Tensor:
        """The weights (..., pairs) of numbers before the taps, from those of their means."""
        before = weights.new_zeros(*weights.shape[:-1], pairs + 1)
        for tap in self.met:
            before.index_add_(-1, tap, weights, alpha=1 / len(self.met))
        return before[..., :pairs]


@dataclass(frozen=True)
class Every(ImageState):
    """The streams of two inputs at all pairs of positions: points are (nets, points·n) and pairs (nets, rows·n,
    points·n). ``inputs`` is the layout of the inputs, and ``positions`` that of all positions."""

    inputs: Layout
    positions: Layout

    @staticmethod
    def start(x: Tensor, y: Tensor, image: tuple[int, ...], layout: Layout, slopes: bool) -> Every:
        """Of inputs (nets, points, d) with their differences y from their anchors."""
        channels, sizes = image[0], image[1:]
        n, rows = prod(sizes), layout.rows
        u, v, close = (each.unflatten(-1, (channels, n)) for each in (x, y, layout.apart(x, y)))
        apart = u[:, rows, None, :, :, None] - u[:, None, :, :, None]  # (nets, rows, points, channels, n, n)
        apart = apart.contiguous()
        apart.diagonal(dim1=4, dim2=5).copy_(close)
        rest = (apart**2).mean(3).transpose(2, 3).flatten(3).flatten(1, 2)
        Q, gap = ((a * b).mean(2).flatten(1) for a, b in ((u, u), (2 * u[:, layout.anchor] + v, v)))
        points, found = Points(Q, gap, torch.ones_like(Q), None, None, None), None
        if slopes:
            pixels = Pixels.of(close.flatten(3), channels, n, rows)
            at = torch.eye(n, dtype=x.dtype, device=x.device)
            own, other = (
                (2 / channels * torch.einsum(form, apart, at)).flatten(5).flatten(3, 4)
                for form in ("zrpcab,as->zrpabcs", "zrpcab,bs->zrpabcs")
            )
            by_Q = 2 / channels * at[:, pixels.place] * x[:, :, None]
            found = Slopes(pixels, by_Q, None, own, -other, _ends(pixels, n))
        return Every(points, sizes, len(x), rest, found, layout, _positions(layout, n))

    @property
    def _n(self) -> int:
        return prod(self.sizes)

    def at(self, values: Tensor) -> Tensor:
        return values.unflatten(1, (-1, self._n))

    def between(self, values: Tensor) -> Tensor:
        if values.shape[1:] == (1, 1):
            return values[..., None]
        return values.unflatten(2, (-1, self._n)).unflatten(1, (-1, self._n)).transpose(2, 3).flatten(3)

    def first(self, values: Tensor) -> Tensor:
        values = values[:, self.inputs.rows, None, :, None]
        return values.expand(-1, -1, -1, -1, self._n, *values.shape[5:]).flatten(3, 4)

    def second(self, values: Tensor) -> Tensor:
        values = values[:, None, :, None]
        return values.expand(-1, -1, -1, self._n, *values.shape[4:]).flatten(3, 4)

    def laid(self, layout: Layout) -> Layout:
        return self.positions

    def averaged(self, layer: Conv) -> Self:
        device, before, after = str(self.rest.device), self._n, layer.sizes(self.sizes)
        means, taps = averages(layer.windows, self.sizes, device), Taps.of(layer.windows, self.sizes, device)
        p, slopes, n = self.points, self.slopes, prod(after)
        Q, gap = (means @ self.at(each)[..., None] for each in (p.Q, p.gap))
        edges = bool(taps.one.any())
        rest = taps.over(self.between(self.rest)[..., None])[..., 0]
        if edges:
            own = self.at(p.Q)
            rest = rest + own[:, self.inputs.rows, None] @ taps.one.mT + own[:, None] @ taps.other.mT
        if slopes is not None:
            back, first, second = slopes.back, taps.over(slopes.own), taps.over(slopes.other)
            if edges:
                first = first + taps.one @ slopes.Q[:, self.inputs.rows, None]
                second = second + taps.other @ slopes.Q[:, None]
            slopes = Slopes(
                slopes.pixels, means @ slopes.Q, None, first, second, lambda w: back(taps.back(w, before * before))
            )
        return self.followed(
            replace(p.centred, Q=Q.flatten(1), gap=gap.flatten(1)),
            sizes=after,
            positions=_positions(self.inputs, n),
            rest=rest.unflatten(3, (n, n)).transpose(2, 3).flatten(3).flatten(1, 2),
            slopes=slopes,
        )

    @property
    def metric(self) -> Tensor:
        """No linear part is kept apart."""
        return self.rest.new_zeros(self.nets, 1)


def _ends(pixels: Pixels, n: int) -> Back:
    """The way back to the squared distances of the inputs, which adds their own second derivatives."""

    def back(weights: Tensor) -> Tensor:
        each = weights.unflatten(3, (n, n))
        for c in range(pixels.channels):
            channel = slice(c * n, (c + 1) * n)
            pixels.mixed[..., channel, channel].sub_(each, alpha=2 / pixels.channels)
        return weights

    return back


def _positions(layout: Layout, n: int) -> Layout:
    """The layout of the positions of points. Pairs at one position have the accuracy of their points, and others none
    beyond that of their values."""
    each = torch.arange(n, dtype=torch.int64, device=layout.rows.device)
    rows, anchor = ((of[:, None] * n + each).flatten() for of in (layout.rows, layout.anchor))
    alike = (each[:, None] == each)[None, :, None]
    close = (layout.same[:, None, :, None] & alike).flatten(2).flatten(0, 1)
    return Layout(rows, anchor, close, n == 1 and layout.alike, layout.memory)
