"""What an activation makes of the increments of streams, without cancellation.

Let u be the stream of an anchor at a position, and u + δ that of a point near it. For two such streams at different
positions the covariance of δ and δ' is the second difference of a kernel over (u + s δ, v + t δ') for s, t = 0, 1.
Where δ and δ' are small, a difference of four numbers has no digits left. It is the integral of the kernel's mixed
derivative over s and t instead, by Simpson's rule with the streams half way. The derivative grows without bound where
streams become parallel. There the kernel's rest is as small as the increments, and its differences lose nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from advmf.simulate.limit.jets import Layout

SIMPSON = ((0.0, 1 / 6), (0.5, 2 / 3), (1.0, 1 / 6))
"""The nodes of Simpson's rule and their weights: the anchor, the stream half way, and the point."""
SMALL = 0.03
"""The largest move of an input, as a share of the input, for which streams half way are carried."""
_SWAPPED = {"value": "value", "q": "r", "r": "q", "D": "D", "qr": "qr", "qD": "rD", "rD": "qD", "DD": "DD"}


@dataclass(frozen=True)
class Side:
    """One input of the pairs. Its members have the numbers ``own`` among the rules' points. Members are ``still`` or
    ``moved``. Of the latter ``base`` are the anchors among the members, ``half`` the rules' points half way, and
    ``halved`` tells who has one."""

    own: Tensor
    still: Tensor
    moved: Tensor
    base: Tensor
    half: Tensor
    halved: Tensor

    @property
    def nodes(self) -> tuple[Tensor, Tensor, Tensor]:
        """The rules' points at the nodes of Simpson's rule, for the moved members."""
        return self.own[self.base], self.half, self.own[self.moved]

    def filled(self, values: Tensor, axis: int, square: Tensor) -> None:
        """Put second moments at the points half way: ``values`` has the rules' points along an axis, and ``square`` are
        the mean squares of the increments of the moved members."""
        if bool(self.halved.any()):
            base, half, own = (node[self.halved] for node in self.nodes)
            values.index_copy_(
                axis, half, (values.index_select(axis, base) + values.index_select(axis, own)) / 2 - square / 4
            )

    def add_bases(self, found: Tensor, axis: int, values: Tensor, factor: Tensor | float = 1.0) -> None:
        """Add to numbers of the moved members, along an axis, those ``values`` of their anchors times a factor."""
        if not len(self.moved):
            return
        one = bool((self.base == self.base[0]).all())
        base = values.narrow(axis, int(self.base[0]), 1) if one else values.index_select(axis, self.base)
        shape = list(base.shape)
        shape[axis] = len(self.moved)
        found.index_add_(axis, self.moved, (factor * base).expand(shape))


@dataclass(frozen=True)
class Grid:
    """The pairs that are carried: rows, of which the first ``fresh`` were asked for and the others are their anchors,
    with all points. ``layout`` is that of the rules, which have points half way too. ``inputs`` are the rows' numbers
    among the points, and ``at`` the rows of the anchors of moved points, among the rules' rows."""

    layout: Layout
    inputs: Tensor
    fresh: int
    rows: Side
    points: Side
    at: Tensor

    @staticmethod
    def of(layout: Layout, small: Sequence[bool]) -> Grid:
        """Of the inputs' layout; ``small`` tells which points have streams half way."""
        device = layout.rows.device

        def index(values: Sequence[int]) -> Tensor:
            return torch.tensor(values, dtype=torch.int64, device=device)

        anchor, asked = layout.anchor.tolist(), layout.rows.tolist()
        moved = [j for j, b in enumerate(anchor) if b != j]
        members = asked + [b for b in dict.fromkeys(anchor[j] for j in moved) if b not in asked]
        own, half, count = [], {}, 0
        for j in range(len(anchor)):
            own.append(count)
            count += 1
            if anchor[j] != j and small[j]:
                half[j] = count
                count += 1
        places = sorted((*own, *half.values()))
        bases = dict(zip(own, anchor)) | {at: anchor[j] for j, at in half.items()}
        rules = [at for r in members for at in (own[r], *([half[r]] if r in half else []))]

        def side(points: list[int], numbers: dict[int, int]) -> Side:
            first = [k for k, j in enumerate(points) if anchor[j] != j]
            return Side(
                index([numbers[own[j]] for j in points]),
                index([k for k, j in enumerate(points) if anchor[j] == j]),
                index(first),
                index([points.index(anchor[points[k]]) for k in first]),
                index([numbers[half.get(points[k], own[points[k]])] for k in first]),
                torch.tensor([points[k] in half for k in first], dtype=torch.bool, device=device),
            )

        in_rows = {at: k for k, at in enumerate(rules)}
        rows, rule_anchor = index(rules), index([own[bases[at]] for at in places])
        same = rule_anchor[rows][:, None] == rule_anchor[None]
        return Grid(
            Layout(rows, rule_anchor, same, bool(same.all()), layout.memory),
            index(members),
            len(asked),
            side(members, in_rows),
            side(list(range(len(anchor))), dict(zip(places, places))),
            index([in_rows[own[anchor[j]]] for j in moved]),
        )

    def positions(self, n: int) -> Layout:
        """The layout of the positions of points. Pairs at one position have the accuracy of their points, and others
        none beyond that of their values."""
        of = self.layout
        each = torch.arange(n, dtype=torch.int64, device=of.rows.device)
        rows, anchor = ((index[:, None] * n + each).flatten() for index in (of.rows, of.anchor))
        alike = (each[:, None] == each)[None, :, None]
        close = (of.same[:, None, :, None] & alike).flatten(2).flatten(0, 1)
        return Layout(rows, anchor, close, n == 1 and of.alike, of.memory)


class Moves(NamedTuple):
    """Of the members of a side at each position: the second moment's excess over that of the anchor (nets, members, n),
    and the mean square of the increment (nets, moved, n)."""

    gap: Tensor
    square: Tensor

    def pace(self, side: Side, s: float) -> Tensor:
        """The derivative of E (u + s δ)² by s, for the moved members."""
        return self.gap[:, side.moved] - (1 - 2 * s) * self.square


class Change(NamedTuple):
    """Of first members with moved second ones (nets, first, moved, n, n): the difference of the rest between the point
    and its anchor. In the derivative of that by the first input, ``own`` is the factor of that of the first's second
    moment, and ``base`` that of the distance from the anchor."""

    value: Tensor
    own: Tensor
    base: Tensor

    def turned(self) -> Change:
        return Change(*(each.permute(0, 2, 1, 4, 3) for each in self))


def better(ends: Sequence[Tensor], integrand: Sequence[Tensor], allowed: Tensor) -> Tensor:
    """A difference of numbers, whose plain sum is that of ``ends``, or its integral by Simpson's rule where that is
    more exact and ``allowed``; the integrand is given at the nodes, or at the pairs of nodes row by row."""
    weights = torch.tensor([w for _, w in SIMPSON], dtype=torch.float64, device=allowed.device)
    ways = (weights, torch.tensor([0.5, 0.0, 0.5], dtype=torch.float64, device=allowed.device))
    if len(integrand) > len(SIMPSON):
        ways = tuple(torch.outer(w, w).flatten() for w in ways)
    total, coarse, size = (torch.zeros_like(integrand[0]) for _ in range(3))
    for each, fine, rough in zip(integrand, ways[0].tolist(), ways[1].tolist()):
        total.add_(each, alpha=fine)
        coarse.add_(each, alpha=rough)
        size.add_(each.abs(), alpha=fine)
    # The trapezoidal rule is off by the second derivative, and Simpson's by less than the square of that share. Where
    # that happens to vanish, the fourth power of the whole change tells.
    every = torch.stack(list(integrand))
    size = size.clamp(min=1e-70)
    off = (coarse - total).square() / size + ((every.amax(0) - every.amin(0)) / size) ** 4 * size / 1000
    lost = torch.finfo(torch.float64).eps * torch.stack([each.abs() for each in ends]).amax(0)
    return torch.where(allowed & (off <= lost), total, sum(ends[1:], ends[0]))


@dataclass(frozen=True)
class Bent:
    """What an activation adds to the squared distances: jets at the rules' pairs, as (nets, first, second, n, n), and
    the covariances ``inner`` of increments before it (nets, first, second, n, n)."""

    jets: Mapping[str, Tensor]
    inner: Tensor
    first: Side
    second: Side
    one: Moves
    other: Moves

    def turned(self) -> Bent:
        """The same with the two inputs exchanged."""
        jets = {name: self.jets[swapped].permute(0, 2, 1, 4, 3) for name, swapped in _SWAPPED.items()}
        return Bent(jets, self.inner.permute(0, 2, 1, 4, 3), self.second, self.first, self.other, self.one)

    def along(self) -> Change:
        """The differences by the second input."""
        a, nodes, side = self.first.own[:, None], self.second.nodes, self.second

        def ends(name: str) -> tuple[Tensor, Tensor]:
            return self.jets[name][:, a, nodes[2]], -self.jets[name][:, a, nodes[0]]

        value, by_Q, by_D = (ends(name) for name in ("value", "q", "D"))
        if not bool(side.halved.any()):
            return Change(value[0] + value[1], by_Q[0] + by_Q[1], by_D[0] + by_D[1])
        # The covariance of the first stream with the increment of the second.
        full = self.inner[:, :, side.moved]
        full[:, self.first.moved] += self.inner[:, self.first.base][:, :, side.moved]
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        for (t, _), at in zip(SIMPSON, nodes):
            r, D, qr, qD, rD, DD = (self.jets[name][:, a, at] for name in ("r", "D", "qr", "qD", "rD", "DD"))
            R_t = self.other.pace(side, t)[:, None, :, None]
            D_t = R_t - 2 * full
            found.append((r * R_t + D * D_t, qr * R_t + qD * D_t, rD * R_t + DD * D_t))
        allowed = side.halved[:, None, None]
        return Change(*(better(of, at, allowed) for of, at in zip((value, by_Q, by_D), zip(*found))))

    def crossed(self) -> Tensor:
        """The second differences of the rest, of moved members on both sides (nets, moved, moved, n, n)."""
        one, other = self.first, self.second
        b, c = one.nodes, other.nodes

        def at(name: str, i: int, j: int) -> Tensor:
            return self.jets[name][:, b[i][:, None], c[j]]

        ends = [at("value", 2, 2), -at("value", 2, 0), -at("value", 0, 2), at("value", 0, 0)]
        if not bool(one.halved.any() and other.halved.any()):
            return (ends[0] + ends[1]) + (ends[2] + ends[3])
        inner, by_one, by_other = (
            self.inner[:, i][:, :, j]
            for i, j in ((one.moved, other.moved), (one.moved, other.base), (one.base, other.moved))
        )
        found = []
        for i, (s, _) in enumerate(SIMPSON):
            Q_s = self.one.pace(one, s)[:, :, None, :, None]
            for j, (t, _) in enumerate(SIMPSON):
                R_t = self.other.pace(other, t)[:, None, :, None]
                D_s, D_t = Q_s - 2 * by_one - 2 * t * inner, R_t - 2 * by_other - 2 * s * inner
                each = Q_s * (at("qr", i, j) * R_t + at("qD", i, j) * D_t)
                each += D_s * (at("rD", i, j) * R_t + at("DD", i, j) * D_t) - 2 * at("D", i, j) * inner
                found.append(each)
        return better(ends, found, one.halved[:, None, None, None] & other.halved[:, None, None])
