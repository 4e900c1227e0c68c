"""The state of a kernel: pairs of streams of infinite width, with derivatives with respect to the two inputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

from advmf.nets import AvgPool, Conv

NOISE = 4 * torch.finfo(torch.float64).eps
"""Relative rounding error of a squared distance; streams whose angle is within it count as parallel."""


@dataclass(frozen=True)
class Jets:
    """A function of (q, r, D) with its derivatives: ``value``, the first derivatives in q, r and D, the second in qr,
    qD, rD and DD; each (nets, rows, points)."""

    value: Tensor
    q: Tensor
    r: Tensor
    D: Tensor
    qr: Tensor
    qD: Tensor
    rD: Tensor
    DD: Tensor
    whole: Tensor | None = None
    """The tensor that the fields are views of, if there is one."""

    @staticmethod
    def of(stacked: Tensor) -> Jets:
        """The jets from a tensor that holds the fields along its first axis."""
        value, q, r, D, qr, qD, rD, DD = stacked.unbind(0)
        return Jets(value, q, r, D, qr, qD, rD, DD, stacked)

    def times(self, factor: float) -> Jets:
        return self if factor == 1 else Jets.of(self.stacked * factor)

    def plus(self, other: Jets, factor: float) -> Jets:
        return Jets.of(torch.add(self.stacked, other.stacked, alpha=factor))

    @property
    def stacked(self) -> Tensor:
        """The fields along a new first axis."""
        return torch.stack([getattr(self, f.name) for f in fields(self)[:8]]) if self.whole is None else self.whole


@dataclass(frozen=True)
class Points:
    """Single streams (nets, points): second moment ``Q``, its excess over that of the point's anchor (``gap``), its
    derivative in q (``slope``). The mean of the coordinates has the same three numbers, or None for zero."""

    Q: Tensor
    gap: Tensor
    slope: Tensor
    mean: Tensor | None
    mean_gap: Tensor | None
    mean_slope: Tensor | None

    def times(self, factor: float, means: float = 1.0, bias: float = 0.0) -> Points:
        """The streams with second moments times a factor, and a bias added, and means times another, or no means."""
        mean, gap, slope = (
            None if m is None or not means else means * m for m in (self.mean, self.mean_gap, self.mean_slope)
        )
        return Points(factor * self.Q + bias, factor * self.gap, factor * self.slope, mean, gap, slope)

    def about_mean(self, layout: Layout) -> Points:
        """The streams less their means."""
        if self.mean is None or self.mean_gap is None or self.mean_slope is None:
            return self
        return Points(
            self.Q - self.mean**2,
            self.gap - self.mean_gap * (self.mean + self.mean[:, layout.anchor]),
            self.slope - 2 * self.mean * self.mean_slope,
            None,
            None,
            None,
        )

    def plus(self, other: Points, s: float, layout: Layout) -> Points:
        """The stream ``self + s * other``; the coordinates of the two are uncorrelated apart from their means."""
        out = replace(
            self,
            Q=self.Q + s**2 * other.Q,
            gap=self.gap + s**2 * other.gap,
            slope=self.slope + s**2 * other.slope,
        )
        a, b = self.means, other.means
        if a is None or b is None:
            kept = a or (b and tuple(s * each for each in b))
            return out if kept is None else replace(out, mean=kept[0], mean_gap=kept[1], mean_slope=kept[2])
        at = layout.anchor
        return Points(
            out.Q + 2 * s * a[0] * b[0],
            out.gap + 2 * s * (a[1] * b[0] + a[0][:, at] * b[1]),
            out.slope + 2 * s * (a[2] * b[0] + a[0] * b[2]),
            *(x + s * y for x, y in zip(a, b)),
        )

    @property
    def centred(self) -> Points:
        """The same second moments, of coordinates of mean zero."""
        return replace(self, mean=None, mean_gap=None, mean_slope=None)

    @property
    def means(self) -> tuple[Tensor, Tensor, Tensor] | None:
        if self.mean is None or self.mean_gap is None or self.mean_slope is None:
            return None
        return self.mean, self.mean_gap, self.mean_slope


@dataclass
class Memory:
    """What rules keep of the points of earlier passes, in the order in which rules ask for it."""

    kept: list[Any] = field(default_factory=list)
    _asked: int = 0

    def again(self) -> Memory:
        """The same memory for a pass that begins; what that keeps is not in this one."""
        return Memory([*self.kept])

    def last(self) -> Any:
        """What the rule kept in the pass before this, or None; :meth:`keep` follows."""
        return self.kept[self._asked] if self._asked < len(self.kept) else None

    def keep(self, value: Any) -> None:
        self.kept[self._asked : self._asked + 1] = [value]
        self._asked += 1


@dataclass(frozen=True)
class Layout:
    """Which points are paired: those of ``rows`` with all. ``anchor`` is the anchor of each point, and ``same`` (rows,
    points) marks pairs with the same anchor; their gaps are as accurate as their distance. The points of ``memory``,
    which an earlier pass has met, come first."""

    rows: Tensor
    anchor: Tensor
    same: Tensor
    alike: bool
    memory: Memory

    @staticmethod
    def of(rows: Tensor, anchor: Tensor, memory: Memory | None = None) -> Layout:
        same = anchor[rows][:, None] == anchor[None]
        return Layout(rows, anchor, same, bool(same.all()), (memory or Memory()).again())

    @staticmethod
    def around(moves: Tensor) -> Layout:
        """The first of points (points, d), an anchor, paired with all of them."""
        here = torch.zeros(len(moves), dtype=torch.int64, device=moves.device)
        return Layout.of(here[:1], here)

    def apart(self, x: Tensor, y: Tensor) -> Tensor:
        """x_i - x_j of all pairs of points (nets, points, d), by their differences y from their anchors."""
        close = y[:, self.rows, None] - y[:, None]
        return close if self.alike else torch.where(self.same[..., None], close, x[:, self.rows, None] - x[:, None])

    def between(self, value: Tensor, gap: Tensor) -> Tensor:
        """value_i - value_j of all pairs, computed from the gaps to the anchor."""
        close = gap[:, self.rows, None] - gap[:, None]
        if self.alike:
            return close
        same = self.same.reshape(*self.same.shape, *(1 for _ in value.shape[2:]))
        return torch.where(same, close, value[:, self.rows, None] - value[:, None])

    def crossed(self, a: Points, b: Points) -> Jets:
        """(m - m')(n - n') with the means m of a and n of b, and its derivatives."""
        first, second = a.means, b.means
        assert first is not None and second is not None
        one, other = self.between(*first[:2]), self.between(*second[:2])
        (m_q, m_r), (n_q, n_r) = ((slope[:, self.rows, None], slope[:, None]) for slope in (first[2], second[2]))
        nought = torch.zeros_like(one)
        return Jets(
            one * other,
            m_q * other + one * n_q,
            -(m_r * other + one * n_r),
            nought,
            -(m_q * n_r + m_r * n_q),
            nought,
            nought,
            nought,
        )


@dataclass(frozen=True)
class Pair:
    """Two streams: second moments Q and R, their gap Q - R and the squared distance D; (nets, rows, points)."""

    Q: Tensor
    R: Tensor
    gap: Tensor
    D: Tensor
    sigma: Tensor
    tau: Tensor
    deviation: Tensor
    root_gap: Tensor

    def bend(self) -> Tensor:
        """1 - cos θ, zero where that is within the rounding of D."""
        above = self.D - self.root_gap**2
        return torch.where(above > NOISE * self.D, above, 0.0) / (2 * self.deviation)


class Streams(ABC):
    """A layer's streams at points, and the squared distances of pairs of them. A rule for a primitive is written in
    terms of these operations."""

    points: Points

    @abstractmethod
    def apart(self) -> Tensor:
        """The squared distances of the pairs."""

    def pair(self, layout: Layout) -> Pair:
        """The pairs of streams."""
        p, root = self.points, self.points.Q.sqrt()
        sigma, tau = root[:, layout.rows, None], root[:, None]
        D, total = self.apart().clamp(min=0.0), sigma + tau
        # By rounding a gap can be larger than the distance, above all that of the same point twice.
        most = D.sqrt()
        root_gap = (layout.between(p.Q, p.gap) / total).clamp_(-most, most)
        return Pair(p.Q[:, layout.rows, None], p.Q[:, None], root_gap * total, D, sigma, tau, sigma * tau, root_gap)

    @abstractmethod
    def times(self, factor: float, means: float = 1.0, bias: float = 0.0) -> Self:
        """With second moments times a factor and a bias added, and means times another."""

    @abstractmethod
    def after(
        self, points: Points, gain: float | Tensor, rest: Jets, layout: Layout, kept: float | Tensor = 0.0
    ) -> Self:
        """The streams after a map that makes ``points`` of these, and ``gain`` D + ``rest`` of a squared distance D.
        The new means depend on Q, and on the earlier means by the factor ``kept``."""

    @abstractmethod
    def plus(self, other: Self, s: float, layout: Layout) -> Self:
        """The sum with ``s`` times streams that are uncorrelated with these apart from their means."""

    @abstractmethod
    def without_mean(self, layout: Layout) -> Self:
        """The streams less their means."""

    @abstractmethod
    def averaged(self, layer: Conv) -> Self:
        """With second moments averaged over the taps of a convolution, and no means."""

    @abstractmethod
    def pooled(self, layer: AvgPool) -> Self:
        """The averages of the streams over windows of positions."""

    def laid(self, layout: Layout) -> Layout:
        """The layout of the rules' points, from that of the inputs."""
        return layout

    def begin(self) -> Self:
        """The streams at the start of a path of their own."""
        return self

    def follow(self, before: Self) -> Self:
        """The streams at the end of paths that began at ``before``."""
        return self


S = TypeVar("S", bound=Streams)


@dataclass(frozen=True)
class State(Streams):
    """The streams of networks on vectors: the points, and the ``gain`` a and the rest t of ``D = a D0 + t``.
    ``distance`` is D0, the distance of the inputs."""

    distance: Tensor
    points: Points
    gain: Tensor
    jets: Jets

    def apart(self) -> Tensor:
        return self.gain * self.distance + self.jets.value

    def times(self, factor: float, means: float = 1.0, bias: float = 0.0) -> Self:
        points = self.points.times(factor, means, bias)
        return replace(self, points=points, gain=factor * self.gain, jets=self.jets.times(factor))

    def after(
        self, points: Points, gain: float | Tensor, rest: Jets, layout: Layout, kept: float | Tensor = 0.0
    ) -> Self:
        return replace(self, points=points, gain=gain * self.gain, jets=composed(self, layout, gain, rest))

    def plus(self, other: Self, s: float, layout: Layout) -> Self:
        jets = self.jets.plus(other.jets, s**2)
        if self.points.mean is not None and other.points.mean is not None:
            jets = jets.plus(layout.crossed(self.points, other.points), 2 * s)
        points = self.points.plus(other.points, s, layout)
        return replace(self, points=points, gain=self.gain + s**2 * other.gain, jets=jets)

    def without_mean(self, layout: Layout) -> Self:
        p = self.points
        if p.mean is None:
            return self
        return replace(self, points=p.about_mean(layout), jets=self.jets.plus(layout.crossed(p, p), -1.0))

    def averaged(self, layer: Conv) -> Self:
        raise TypeError("Vectors have no positions.")

    def pooled(self, layer: AvgPool) -> Self:
        raise TypeError("Vectors have no positions.")


def composed(state: State, layout: Layout, gain: float | Tensor, rest: Jets) -> Jets:
    """The rest of ``gain D + rest(Q, R, D)`` where D = a D0 + t, with its derivatives in q, r and D0."""
    t, slope = state.jets, state.points.slope
    q, r, D = slope[:, layout.rows, None], slope[:, None], state.gain + state.jets.D
    own = gain + rest.D
    by_q, by_r, by_D = rest.qD * q + rest.DD * t.q, rest.rD * r + rest.DD * t.r, rest.DD * D
    out = own * t.stacked
    out[0].copy_(gain * t.value).add_(rest.value)
    out[1].addcmul_(rest.q, q)
    out[2].addcmul_(rest.r, r)
    out[3].copy_(gain * t.D).addcmul_(rest.D, D)
    out[4].addcmul_(rest.qr * q, r).addcmul_(by_q, t.r).addcmul_(rest.rD * r, t.q)
    out[5].addcmul_(by_q, D)
    out[6].addcmul_(by_r, D)
    out[7].addcmul_(by_D, D)
    return Jets.of(out)
