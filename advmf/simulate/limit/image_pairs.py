"""The covariance of networks on images of infinite width that average over positions.

With the head "pool", or an AvgPool, the streams of two inputs at any two positions a and b matter: their squared
distance D[a, b]. For the rules a position of a point is a point by itself, and all of them are paired. That takes
positions² numbers for a pair of inputs, and d times as many with derivatives.

At two positions streams are not close, however close the inputs are, and a network's increments are differences of
their covariances. So the covariances of the increments are carried beside D (:mod:`advmf.simulate.limit.increments`),
and derivatives by one input as differences from the other's anchor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Self

import torch
from torch import Tensor

from advmf.nets import AvgPool, Conv
from advmf.simulate.limit.images import Back, ImageState, Pixels, Slopes, averages
from advmf.simulate.limit.increments import SMALL, Bent, Change, Grid, Moves
from advmf.simulate.limit.jets import Jets, Layout, Points
from advmf.simulate.limit.taps import Taps


@dataclass(frozen=True)
class Every(ImageState):
    """The streams of two inputs at all pairs of positions: points are (nets, points·n) and pairs (nets, rows·n,
    points·n), with the points half way of the ``grid``. ``inner`` are the covariances of streams (nets, rows, points,
    n, n), where a moved input stands for its increment. Derivatives by either input are (nets, rows, points, n², d),
    those by the first of the fresh rows only; where the other input is moved they are differences from its anchor."""

    grid: Grid
    positions: Layout
    inner: Tensor

    @staticmethod
    def start(x: Tensor, y: Tensor, image: tuple[int, ...], layout: Layout, slopes: bool) -> Every:
        """Of inputs (nets, points, d) with their differences y from their anchors."""
        channels, sizes = image[0], image[1:]
        n = prod(sizes)
        small = y.norm(dim=2) <= SMALL * x[:, layout.anchor].norm(dim=2)
        grid = Grid.of(layout, small.all(0).tolist())
        rows = grid.inputs
        u, v = (each.unflatten(-1, (channels, n)) for each in (x, y))
        moved = (layout.anchor != torch.arange(len(layout.anchor), dtype=torch.int64, device=x.device))[:, None, None]
        step = torch.where(moved, v, u)
        inner = torch.einsum("zrca,zpcb->zrpab", step[:, rows], step) / channels
        close = replace(layout, rows=rows, same=layout.anchor[rows][:, None] == layout.anchor[None]).apart(x, y)
        apart = u[:, rows, None, :, :, None] - u[:, None, :, :, None]  # (nets, rows, points, channels, n, n)
        apart = apart.contiguous()
        apart.diagonal(dim1=4, dim2=5).copy_(close.unflatten(-1, (channels, n)))
        Q, gap = ((a * b).mean(2) for a, b in ((u, u), (2 * u[:, layout.anchor] + v, v)))
        found = None
        if slopes:
            fresh = grid.fresh
            pixels = Pixels.of(close[:, :fresh], channels, n, rows[:fresh])
            at = torch.eye(n, dtype=x.dtype, device=x.device)
            by_own = torch.where(moved[..., None], -v[:, None, ..., None, :], apart[:, :fresh])
            by_other = torch.where(moved[rows][:, None, ..., None], v[:, rows][:, :, None, ..., None], apart)
            own, other = (
                (2 / channels * torch.einsum(form, each, at)).flatten(5).flatten(3, 4)
                for form, each in (("zrpcab,as->zrpabcs", by_own), ("zrpcab,bs->zrpabcs", by_other))
            )
            by_Q = 2 / channels * at[:, pixels.place] * x[:, :, None]
            found = Slopes(pixels, by_Q, None, own, -other, _ends(pixels, n))
        empty = Points(Q, gap, Q, None, None, None)
        state = Every(empty, sizes, len(x), inner, found, grid, grid.positions(n), inner)
        return state._laid_out(empty, (apart**2).mean(3))

    @property
    def _n(self) -> int:
        return prod(self.sizes)

    def at(self, values: Tensor) -> Tensor:
        return values.unflatten(1, (-1, self._n))[:, self.grid.points.own]

    def _paired(self, values: Tensor) -> Tensor:
        """Numbers of the rules' pairs as (nets, rules' rows, rules' points, n, n)."""
        if values.shape[1:] == (1, 1):
            return values[..., None, None]
        return values.unflatten(2, (-1, self._n)).unflatten(1, (-1, self._n)).transpose(2, 3)

    def _asked(self, values: Tensor) -> Tensor:
        """Numbers of the rules' pairs as (nets, rows, points, n²)."""
        found = self._paired(values)
        if found.shape[1] == 1 == found.shape[3]:
            return found.flatten(3)
        return found[:, self.grid.rows.own[:, None], self.grid.points.own].flatten(3)

    def between(self, values: Tensor) -> Tensor:
        return self._asked(values)[:, : self.grid.fresh]

    def first(self, values: Tensor) -> Tensor:
        values = values[:, self.grid.inputs[: self.grid.fresh], None, :, None]
        return values.expand(-1, -1, -1, -1, self._n, *values.shape[5:]).flatten(3, 4)

    def second(self, values: Tensor) -> Tensor:
        values = values[:, None, :, None]
        return values.expand(-1, -1, -1, self._n, *values.shape[4:]).flatten(3, 4)

    def laid(self, layout: Layout) -> Layout:
        return self.positions

    @property
    def metric(self) -> Tensor:
        """No linear part is kept apart."""
        return self.rest.new_zeros(self.nets, 1)

    # -- points half way -----------------------------------------------------------------------------------------------

    def _laid_out(self, points: Points, D: Tensor) -> Self:
        """With other points, whose numbers are (nets, points, n), and their squared distances (nets, rows, points, n,
        n), at the rules' points."""
        grid, n = self.grid, D.shape[3]

        def spaced(values: Tensor | None) -> Tensor | None:
            if values is None:
                return None
            found = values.new_zeros(len(values), len(grid.layout.anchor), n)
            return found.index_copy_(1, grid.points.own, values)

        rest = D.new_zeros(len(D), len(grid.layout.rows), len(grid.layout.anchor), n, n)
        rest[:, grid.rows.own[:, None], grid.points.own] = D
        Q, gap, mean, mean_gap = (spaced(each) for each in (points.Q, points.gap, points.mean, points.mean_gap))
        assert Q is not None and gap is not None
        square = self._squares(rest)
        of_rows = self._of_rows(square)
        halved = square[:, grid.points.halved]
        for values, taken in ((Q, halved), (gap, halved), (mean, 0 * halved), (mean_gap, 0 * halved)):
            if values is not None:
                grid.points.filled(values, 1, taken)
        grid.points.filled(rest, 2, halved[:, None, :, None])
        grid.rows.filled(rest, 1, of_rows[:, grid.rows.halved][:, :, None, :, None])
        flat = [None if each is None else each.flatten(1) for each in (Q, gap, mean, mean_gap)]
        assert flat[0] is not None and flat[1] is not None
        laid = Points(flat[0], flat[1], flat[0], flat[2], flat[3], flat[3])
        return self.followed(laid, rest=rest.transpose(2, 3).flatten(3).flatten(1, 2))

    def _squares(self, rest: Tensor) -> Tensor:
        """The mean squares of the increments of moved points (nets, moved, n), from squared distances (nets, rules'
        rows, rules' points, n, n)."""
        side = self.grid.points
        return rest[:, self.grid.at, side.own[side.moved]].diagonal(dim1=2, dim2=3)

    def _of_rows(self, values: Tensor) -> Tensor:
        """Numbers of moved points (nets, moved, ...) at the moved rows."""
        rows, moved = self.grid.inputs[self.grid.rows.moved], self.grid.points.moved
        return values[:, (rows[:, None] == moved).to(torch.int64).argmax(1)] if len(rows) else values[:, :0]

    # -- rules ---------------------------------------------------------------------------------------------------------

    def times(self, factor: float, means: float = 1.0, bias: float = 0.0) -> Self:
        inner, grid = factor * self.inner, self.grid
        if bias:
            inner[:, grid.rows.still[:, None], grid.points.still] += bias
        return replace(super().times(factor, means, bias), inner=inner)

    def after(
        self, points: Points, gain: float | Tensor, rest: Jets, layout: Layout, kept: float | Tensor = 0.0
    ) -> Self:
        grid, n = self.grid, self._n
        factor = gain.reshape(-1, 1, 1, 1, 1) if isinstance(gain, Tensor) else gain
        bent = self._bent_by(rest)
        by_row, by_point = bent.turned().along().turned(), bent.along()
        D = self._asked(gain * self.rest + rest.value).unflatten(3, (n, n))
        inner = factor * self.inner
        old, new = self.at(self.points.gap), self.at(points.gap)
        more = (new - (gain.reshape(-1, 1, 1) if isinstance(gain, Tensor) else gain) * old) / 2
        rows, to = grid.rows, grid.points
        Q = self.at(points.Q)
        Q_r, more_r = Q[:, grid.inputs], more[:, grid.inputs]
        still, moved = rows.still[:, None], rows.moved[:, None]
        inner[:, still, to.still] = (Q_r[:, rows.still, None, :, None] + Q[:, None, to.still, None]) / 2 - D[
            :, still, to.still
        ] / 2
        inner[:, still, to.moved] += more[:, None, to.moved, None] - by_point.value[:, rows.still] / 2
        inner[:, moved, to.still] += more_r[:, rows.moved, None, :, None] - by_row.value[:, :, to.still] / 2
        inner[:, moved, to.moved] -= bent.crossed() / 2
        slopes = self.slopes and self._turned(self.slopes, points, gain, rest, kept, by_row, by_point)
        whole = [
            None if each is None else self.at(each) for each in (points.Q, points.gap, points.mean, points.mean_gap)
        ]
        assert whole[0] is not None and whole[1] is not None
        found = Points(whole[0], whole[1], whole[0], whole[2], whole[3], whole[3])
        return replace(self, inner=inner, slopes=slopes)._laid_out(found, D)

    def _bent_by(self, rest: Jets) -> Bent:
        grid = self.grid
        jets = {name: self._paired(getattr(rest, name)) for name in ("value", "q", "r", "D", "qr", "qD", "rD", "DD")}
        gap, square = self.at(self.points.gap), self._squares(self._paired(self.rest))
        one = Moves(gap[:, grid.inputs], self._of_rows(square))
        return Bent(jets, self.inner, grid.rows, grid.points, one, Moves(gap, square))

    def _turned(
        self,
        slopes: Slopes,
        points: Points,
        gain: float | Tensor,
        rest: Jets,
        kept: float | Tensor,
        by_row: Change,
        by_point: Change,
    ) -> Slopes:
        """The derivatives after an activation, by what it makes of increments."""
        fresh, rows, to = self.grid.fresh, self.grid.rows, self.grid.points
        keep = gain.reshape(-1, 1, 1, 1) if isinstance(gain, Tensor) else gain
        q, r, D = (self._asked(each) for each in (rest.q, rest.r, rest.D))
        of_own, of_other = q[:, :fresh].clone(), r.clone()
        if len(to.moved):
            of_own[:, :, to.moved] = by_point.own[:, :fresh].flatten(3)
        if len(rows.moved):
            of_other[:, rows.moved] = by_row.own.flatten(3)
        share = (D + keep)[..., None]
        by_own = torch.addcmul(of_own[..., None] * self.first(slopes.Q), share[:, :fresh], slopes.own)
        by_other = torch.addcmul(of_other[..., None] * self.second(slopes.Q), share, slopes.other)
        to.add_bases(by_own, 2, slopes.own, by_point.base[:, :fresh].flatten(3)[..., None])
        rows.add_bases(by_other, 1, slopes.other, by_row.base.flatten(3)[..., None])

        def back(weights: Tensor) -> Tensor:
            return self._back(slopes, *self._whole(slopes), gain, rest, weights)

        of_Q = self.at(points.slope)[..., None] * slopes.Q
        return Slopes(slopes.pixels, of_Q, self._mean_slopes(slopes, points, kept), by_own, by_other, back)

    def _whole(self, slopes: Slopes) -> tuple[Tensor, Tensor]:
        """The derivatives of the squared distances of the fresh rows by either input, and no differences."""
        fresh, rows, to = self.grid.fresh, self.grid.rows, self.grid.points
        own, other = slopes.own, slopes.other[:, :fresh]
        if len(to.moved):
            own = own.clone()
            to.add_bases(own, 2, slopes.own)
        here = rows.moved < fresh
        if bool(here.any()):
            other = other.index_add(1, rows.moved[here], slopes.other[:, rows.base[here]])
        return own, other

    def plus(self, other: Self, s: float, layout: Layout) -> Self:
        out = super().plus(other, s, layout)
        return replace(out, inner=out.inner + s**2 * other.inner)

    def _crossed(self, a: Self, b: Self, factor: float, layout: Layout) -> Self:
        grid, slopes = self.grid, self.slopes
        one, other = layout.between(*a.points.means[:2]), layout.between(*b.points.means[:2])  # type: ignore[index]
        steps, others = a._steps(), b._steps()
        inner = torch.einsum("zra,zpb->zrpab", steps[:, grid.inputs], others)
        inner += torch.einsum("zra,zpb->zrpab", others[:, grid.inputs], steps)
        out = replace(self, rest=self.rest + factor * one * other, inner=self.inner + factor / 2 * inner)
        if slopes is None or a.slopes is None or b.slopes is None or a.slopes.mean is None or b.slopes.mean is None:
            return out
        (m_q, n_q), (m_r, n_r) = (
            [way(each) for each in (a.slopes.mean, b.slopes.mean)] for way in (self.first, self.second)
        )
        apart = [self._asked(each) for each in (one, other)]
        by_own = [
            self._differences(each, of, 2)[:, : grid.fresh, ..., None] for each, of in zip(apart, (steps, others))
        ]
        by_other = [self._differences(each, of, 1)[..., None] for each, of in zip(apart, (steps, others))]

        def back(w: Tensor) -> Tensor:
            weights = -factor * w[..., None]
            slopes.pixels.add(weights * m_q, n_r)
            slopes.pixels.add(weights * n_q, m_r)
            return slopes.back(w)

        own = slopes.own + factor * (m_q * by_own[1] + by_own[0] * n_q)
        second = slopes.other - factor * (m_r * by_other[1] + by_other[0] * n_r)
        return replace(out, slopes=replace(slopes, own=own, other=second, back=back))

    def _steps(self) -> Tensor:
        """The means of the streams (nets, points, n), and of the increments of moved points."""
        assert self.points.mean is not None and self.points.mean_gap is not None
        mean, gap = self.at(self.points.mean), self.at(self.points.mean_gap)
        return mean.index_copy(1, self.grid.points.moved, gap[:, self.grid.points.moved])

    def _differences(self, apart: Tensor, steps: Tensor, axis: int) -> Tensor:
        """Differences of means (nets, rows, points, n²), less those at the anchors of what is moved along an axis."""
        n, side = self._n, (self.grid.rows, self.grid.points)[axis - 1]
        found = apart.unflatten(3, (n, n)).clone()
        if axis == 2:
            found[:, :, side.moved] = -steps[:, None, side.moved, None]
        else:
            found[:, side.moved] = steps[:, self.grid.inputs[side.moved], None, :, None].expand_as(found[:, side.moved])
        return found.flatten(3)

    def averaged(self, layer: Conv) -> Self:
        grid, sizes, device = self.grid, layer.sizes(self.sizes), str(self.rest.device)
        means, taps = averages(layer.windows, self.sizes, device), Taps.of(layer.windows, self.sizes, device)
        p, slopes, n = self.points, self.slopes, prod(sizes)
        Q, gap = self.at(p.Q), self.at(p.gap)
        D = taps.over(self._asked(self.rest)[..., None])[..., 0]
        edges = bool(taps.one.any())
        if edges:
            D = D + Q[:, grid.inputs, None] @ taps.one.mT + Q[:, None] @ taps.other.mT
        if slopes is not None:
            back, first, second = slopes.back, taps.over(slopes.own), taps.over(slopes.other)
            if edges:
                still, rows = grid.points.still, grid.rows.still
                first[:, :, still] += taps.one @ slopes.Q[:, grid.inputs[: grid.fresh], None]
                second[:, rows] += taps.other @ slopes.Q[:, None]
            slopes = Slopes(slopes.pixels, means @ slopes.Q, None, first, second, lambda w: back(taps.back(w)))
        inner = taps.over(self.inner.flatten(3)[..., None])[..., 0].unflatten(3, (n, n))
        after = replace(self, sizes=sizes, positions=grid.positions(n), inner=inner, slopes=slopes)
        Q, gap = Q @ means.mT, gap @ means.mT
        return after._laid_out(Points(Q, gap, Q, None, None, None), D.unflatten(3, (n, n)))

    def pooled(self, layer: AvgPool) -> Self:
        grid, before, sizes = self.grid, self._n, layer.sizes(self.sizes)
        means, n = averages(layer.windows, self.sizes, str(self.rest.device)), prod(sizes)
        p, slopes, rows, to, fresh = self.points, self.slopes, grid.rows, grid.points, grid.fresh
        inner, D = (
            means @ each @ means.mT for each in (self.inner, self._asked(self.rest).unflatten(3, (before, before)))
        )
        own_rows = grid.inputs[:fresh]
        # What a point alone has is remembered of earlier ones: half of the distances within windows, and the mean
        # square of an average, or of its increment.
        here = torch.arange(fresh, dtype=torch.int64, device=means.device)
        within = D[:, here, own_rows].diagonal(dim1=2, dim2=3) / 2
        square = inner[:, here, own_rows].diagonal(dim1=2, dim2=3)
        by_pixels = within.new_zeros(*within.shape, 0)
        if slopes is not None:
            own, other = self._whole(slopes)
            whole = (own[:, here, own_rows] + other[:, here, own_rows]).unflatten(2, (before, before))
            by_pixels = torch.einsum("Aa,zfabs,Ab->zfAs", means, whole, means) / 2
        found = [within, square, by_pixels]
        memory = grid.layout.memory
        if (known := memory.last()) is not None:
            found = [torch.cat(each, 1) for each in zip(known, found)]
        memory.keep(found)
        within, square, by_pixels = found
        base = (rows.own[:, None] == grid.at).to(torch.int64).argmax(0)
        Q, gap, step = square.clone(), torch.zeros_like(square), square.clone()
        gap[:, to.moved] = 2 * inner[:, base, to.moved].diagonal(dim1=2, dim2=3) + square[:, to.moved]
        Q[:, to.moved] = Q[:, to.base] + gap[:, to.moved]
        step[:, to.still] = 0
        # Averages at one position over inputs that are close are as close.
        both = inner.diagonal(dim1=3, dim2=4).clone()
        both[:, rows.still] = 0
        both[:, :, to.still] = 0
        close = (step[:, grid.inputs, None] + step[:, None] - 2 * both).clamp(min=0)
        close[:, torch.arange(len(grid.inputs), dtype=torch.int64, device=means.device), grid.inputs] = 0
        D = (D - within[:, grid.inputs, None, :, None] - within[:, None, :, None]).clamp(min=0)
        same = grid.layout.same[rows.own[:, None], to.own][..., None]
        at_one = D.diagonal(dim1=3, dim2=4)
        at_one.copy_(torch.where(same, close, at_one))
        after = replace(self, sizes=sizes, positions=grid.positions(n), inner=inner)
        if slopes is not None:
            after = replace(after, slopes=after._pooled(slopes, means, by_pixels))
        whole = [None if each is None else self.at(each) @ means.mT for each in (p.mean, p.mean_gap)]
        return after._laid_out(Points(Q, gap, Q, whole[0], whole[1], whole[1]), D)

    def _pooled(self, slopes: Slopes, means: Tensor, by_pixels: Tensor) -> Slopes:
        """The derivatives after averages over positions, from those before; ``by_pixels`` are those of what a point
        alone loses."""
        n, before = means.shape

        def over(values: Tensor) -> Tensor:
            half = means @ values.unflatten(3, (before, before)).flatten(4)
            return (means @ half.unflatten(4, (before, -1))).flatten(3, 4)

        def back(weights: Tensor) -> Tensor:
            return slopes.back((means.mT @ weights.unflatten(3, (n, n)) @ means).flatten(3))

        own, other = over(slopes.own), over(slopes.other)
        own[:, :, self.grid.points.still] -= self.first(by_pixels)
        other[:, self.grid.rows.still] -= self.second(by_pixels)
        mean = None if slopes.mean is None else means @ slopes.mean
        return Slopes(slopes.pixels, means @ slopes.Q - by_pixels, mean, own, other, back)

    def covariance(self, averages: bool) -> Tensor:
        """The covariances of the outputs and their derivatives by the pixels (nets, rows, points, 1 + d, 1 + d), where
        a moved input stands for its increment, of networks with an output layer on the ``averages`` over positions, or
        on all of them."""
        grid, n, fresh, slopes = self.grid, self._n, self.grid.fresh, self.slopes
        eye = torch.eye(n, dtype=self.rest.dtype, device=self.rest.device)
        weights = (torch.ones_like(eye) / n if averages else eye).flatten() / n
        value = (self.inner[:, :fresh].flatten(3) @ weights)[..., None, None]
        if slopes is None:
            return value
        slopes.back(weights.expand(*value.shape[:3], -1).contiguous())
        own, other = -(weights @ slopes.own) / 2, -(weights @ slopes.other[:, :fresh]) / 2
        halves = slopes.Q.mean(2) / 2
        own[:, :, grid.points.still] += halves[:, grid.inputs[:fresh], None]
        still = grid.rows.still[grid.rows.still < fresh]
        other[:, still] += halves[:, None]
        top = torch.cat((value, other[..., None, :]), 4)
        return torch.cat((top, torch.cat((own[..., None], -slopes.pixels.mixed / 2), 4)), 3)


def _ends(pixels: Pixels, n: int) -> Back:
    """The way back to the squared distances of the inputs, which adds their own second derivatives."""

    def back(weights: Tensor) -> Tensor:
        each = weights.unflatten(3, (n, n))
        for c in range(pixels.channels):
            channel = slice(c * n, (c + 1) * n)
            pixels.mixed[..., channel, channel].sub_(each, alpha=2 / pixels.channels)
        return weights

    return back
