"""The covariance of an activation made of lines and exponentials, such as ELU and SELU.

Between its kinks φ is a line, to which some pieces add exponentials ``m exp(λ z)``. Write φ = L + E, where L is
piecewise linear and has all jumps of the slope. What L has with itself is in :mod:`advmf.simulate.limit.piecewise`, and
what E adds in :mod:`advmf.simulate.limit.bends`: integrals over the covariance of the streams, from one where the means
are simple. These are here. Where the streams are multiples of one Gaussian, they are integrals over one variable, in
which differences of φ are taken first. Where the streams are independent, they are products.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import NamedTuple

import sympy as sp
import torch
from torch import Tensor

from advmf.errors import AccuracyError
from advmf.functions.curves import kinks, pieces
from advmf.simulate.limit.bends import Bends, Curve, Start, count, length_of
from advmf.simulate.limit.jets import Jets, Pair, Points
from advmf.simulate.limit.piecewise import Piecewise, normal, rule
from advmf.symbols import z as Z

FAR = 9.0
"""A standard Gaussian is beyond this with a probability of 2e-19."""
LARGEST = 1e4
"""The largest exponent of an integral. Its nodes are as many as the root of that."""
GROWTH = 12.0
"""The largest exponent by which rounding errors may grow, where Λ is negative."""
ROUNDING = 1e-14
"""A jump of the slope below this is none."""


class Values(NamedTuple):
    """φ and L with their slopes at nodes, and the f_t (curves, ...)."""

    phi: Tensor
    slope: Tensor
    line: Tensor
    line_slope: Tensor
    bends: Tensor


class Change(NamedTuple):
    """Two streams at nodes of one Gaussian, with weights, and the differences of φ, φ', L and L'."""

    weight: Tensor
    a: Values
    b: Values
    phi: Tensor
    slope: Tensor
    line: Tensor
    line_slope: Tensor

    def mean(self, *values: Tensor) -> Tensor:
        """Their means over the Gaussian, (values, ...)."""
        return (self.weight * torch.stack(values)).sum((-2, -1))


class Means(NamedTuple):
    """Means of one Gaussian: those of the values, of the squares of the first four, and of E''φ."""

    phi: Tensor
    slope: Tensor
    line: Tensor
    line_slope: Tensor
    bends: Tensor
    square: Tensor
    gain: Tensor
    line_square: Tensor
    line_gain: Tensor
    bent: Tensor


@dataclass(frozen=True)
class Exponential(Piecewise):
    """An activation of lines and exponentials: as a piecewise linear one it is L; ``lines`` are slope and offset of φ
    on each piece, to which the ``curves`` are added."""

    lines: tuple[tuple[float, float], ...]
    curves: tuple[Curve, ...]
    name: str

    @staticmethod
    def of(phi: sp.Expr, number: Callable[[sp.Expr], float]) -> Exponential | None:
        """The activation ``phi`` in :data:`advmf.symbols.z`, or None where it is of another kind."""
        return _read(sp.Lambda(Z, phi.xreplace({s: sp.Float(number(s)) for s in phi.free_symbols - {Z}})))

    @cached_property
    def bends(self) -> Bends:
        """What E adds to the covariance."""
        return Bends(self.kinks, self.jumps, self.slopes, tuple(s for s, _ in self.lines), self.curves)

    @property
    def _at_kinks(self) -> list[float]:
        """φ at the kinks."""
        return [_at(line, self._on(i), place) for i, (line, place) in enumerate(zip(self.lines, self.kinks))]

    def _on(self, piece: int) -> list[Curve]:
        return [c for c in self.curves if c.piece == piece]

    # -- one Gaussian --------------------------------------------------------------------------------------------------

    def _gain(self, Q: Tensor) -> Tensor:
        return self._means(Q).gain

    def _points(self, p: Points, anchor: Tensor, first: int) -> Points:
        others = anchor[first:]
        Q, gap, slope, root, other = (
            p.Q[:, first:],
            p.gap[:, first:],
            p.slope[:, first:],
            *(p.Q[:, each].sqrt() for each in (slice(first, None), others)),
        )
        means = self._means(Q)
        kinked = [(j * normal(k / root) / root, value) for k, j, value in zip(self.kinks, self.jumps, self._at_kinks)]
        by_mean = (means.bends.sum(0) + sum(n for n, _ in kinked)) / 2
        by_square = means.gain + means.bent + sum(n * value for n, value in kinked)
        pair = Pair(Q, p.Q[:, others], gap, gap, root, other, root * other, gap / (root + other))
        change = self._change(pair, whole=True)
        moved, mean_gap = change.mean(change.phi * (change.a.phi + change.b.phi), change.phi)
        return Points(means.square, moved, by_square * slope, means.phi, mean_gap, by_mean * slope)

    def _means(self, Q: Tensor) -> Means:
        root, nought = Q.sqrt(), torch.zeros_like(Q)
        z, weight, piece, _ = self._nodes(Pair(Q, Q, nought, nought, root, root, Q, nought), whole=True)
        v = self._values(z * root[..., None, None], piece)
        each = torch.stack((*v[:4], *(value * value for value in v[:4]), v.bends.sum(0) * v.phi, *v.bends))
        found = (weight * each).sum((-2, -1))
        return Means(*found[:4], found[9:], *found[4:9])  # type: ignore[call-arg]

    def _nodes(self, pair: Pair, whole: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Nodes z (..., intervals, nodes) of a standard Gaussian with their weights, and the pieces (..., intervals) in
        which σz and τz are. Intervals at the ends are left out if E is zero there, but for the ``whole`` line."""
        sigma, tau = pair.sigma, pair.tau
        low, high, width, one, other = self._cuts(pair, torch.ones_like(sigma))
        ends = low.clamp(-FAR, FAR), high.clamp(-FAR, FAR)
        clipped = (ends[0] != low) | (ends[1] != high)
        low, width = ends[0], torch.where(clipped, ends[1] - ends[0], width)
        if not whole:
            kept = slice(int(self._plain(0)), low.shape[-1] - int(self._plain(len(self.kinks))))
            low, width, one, other = (each[..., kept] for each in (low, width, one, other))
        largest = float(torch.maximum(sigma.max(), tau.max()))
        exponent = FAR * max(map(abs, self.bends.rates)) * largest
        self._require(exponent, 0.0, largest)
        nodes, weights = rule(count(exponent) + 16, (0.0, 1.0), str(sigma.device))
        z = low[..., None] + width[..., None] * nodes
        return z, width[..., None] * weights * normal(z), one, other

    def _plain(self, piece: int) -> bool:
        """Whether E is zero on a piece."""
        return self.lines[piece] == (self.slopes[piece], self._offsets[piece]) and not self._on(piece)

    def _values(self, x: Tensor, piece: Tensor) -> Values:
        slopes, offsets, own, shift = (
            x.new_tensor(each)[piece][..., None] for each in (*zip(*self.lines), self.slopes, self._offsets)
        )
        powers, (sizes, rates) = self._powers(x, piece), self._factors(x)
        phi = slopes * x + offsets + torch.tensordot(sizes, powers, 1)
        slope = slopes + torch.tensordot(sizes * rates, powers, 1)
        return Values(
            phi,
            slope,
            own * x + shift,
            own.expand_as(x),
            torch.stack([s * e for s, e in zip(self.bends.sizes, powers)]),
        )

    def _factors(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.new_tensor([c.size for c in self.curves]), x.new_tensor(self.bends.rates)

    def _powers(self, x: Tensor, piece: Tensor) -> Tensor:
        """exp(λ x) for each curve, zero outside its piece."""
        return torch.stack(
            [torch.where((piece == c.piece)[..., None], torch.exp(c.rate * x), 0.0) for c in self.curves]
        )

    # -- two Gaussians -------------------------------------------------------------------------------------------------

    def _rest(self, pair: Pair, gain: Tensor) -> Jets:
        given, pair = pair, Pair(*torch.broadcast_tensors(*(getattr(pair, each.name) for each in fields(Pair))))
        bend = pair.bend().clamp(0, 2)
        products = [float(length_of(pair, bend).max()) * a * b for a in self.bends.rates for b in self.bends.rates]
        self._require(max(products), -min(products), float(pair.deviation.max()) ** 0.5)
        start, acute = self._parallel(pair), bend <= 1
        if not bool(acute.all()):
            start = start.where(acute, self._independent(given))
        beyond = self.bends.jets(pair, bend, start)
        if any(self.jumps):
            return super()._rest(pair, gain).plus(beyond, 1.0)
        change = (self.slopes[0] ** 2 - gain).expand_as(pair.D)
        nought = torch.zeros_like(pair.D)
        straight = Jets(change * pair.D, nought, nought, change, nought, nought, nought, nought)
        return straight.plus(beyond, 1.0)

    def _require(self, exponent: float, growth: float, deviation: float) -> None:
        """Raise AccuracyError where exponentials fall by too much for a rule, or rounding errors grow."""
        if exponent > LARGEST or growth > GROWTH:
            raise AccuracyError(
                f"The covariance of {self.name} at N = inf is not known to rounding at deviations up to {deviation:.3g}. "
                "Lower sigma_w, sigma_b or the inputs, or take networks of a finite N."
            )

    def _parallel(self, pair: Pair) -> Start:
        """The start where the streams are multiples of one Gaussian."""
        change = self._change(pair)
        a, b, phi, tilt = change.a, change.b, change.phi, change.slope
        line, line_tilt, mean = change.line, change.line_slope, change.mean
        rest, both, first, second, pull, push = mean(
            phi**2 - line**2,
            a.slope * b.slope - a.line_slope * b.line_slope,
            a.slope * tilt - a.line_slope * line_tilt,
            b.line_slope * line_tilt - b.slope * tilt,
            a.bends.sum(0) * phi,
            -b.bends.sum(0) * phi,
        )
        pull = pull + self._at_jumps(pair.sigma, pair.tau, pair.root_gap)
        push = push + self._at_jumps(pair.tau, pair.sigma, -pair.root_gap)
        crossed = torch.stack((mean(*a.bends * b.slope), mean(*b.bends * a.slope)))
        curved = torch.stack([mean(*f * b.bends) for f in a.bends])
        return Start(rest, both, first, second, torch.stack((pull, push)), crossed, curved)

    def _change(self, pair: Pair, whole: bool = False) -> Change:
        """a = σz and b = τz at nodes, on the ``whole`` line or where E is not zero."""
        z, weight, one, other = self._nodes(pair, whole)
        at_a, at_b = (z * root[..., None, None] for root in (pair.sigma, pair.tau))
        a, b = self._values(at_a, one), self._values(at_b, other)
        same, change = (one == other)[..., None], pair.root_gap[..., None, None] * z
        powers, (sizes, rates) = self._powers(at_b, other), self._factors(z)
        grown = torch.stack([_grown(c.rate, e, change, at_b) for c, e in zip(self.curves, powers)])
        slope = z.new_tensor(self.bends.lines)[one][..., None]
        return Change(
            weight,
            a,
            b,
            torch.where(same, slope * change + torch.tensordot(sizes, grown, 1), a.phi - b.phi),
            torch.where(same, torch.tensordot(sizes * rates, grown, 1), a.slope - b.slope),
            torch.where(same, a.line_slope * change, a.line - b.line),
            torch.where(same, 0.0, a.line_slope - b.line_slope),
        )

    def _at_jumps(self, own: Tensor, other: Tensor, gap: Tensor) -> Tensor:
        """The sum over the jumps of ``j n(κ) (E(κ) - E(y))``, where y is the other stream at κ."""
        total = torch.zeros_like(own)
        for k, (place, j) in enumerate(zip(self.kinks, self.jumps)):
            y, step, change = place * other / own, place * gap / own, torch.zeros_like(own)
            above = y[..., None] > y.new_tensor(self.kinks)
            above[..., k] = step < 0
            inside = above.sum(-1)
            for i, ((slope, offset), s, c) in enumerate(zip(self.lines, self.slopes, self._offsets)):
                if i in (k, k + 1):
                    moved = (slope - s) * step
                    for e in self._on(i):
                        moved = moved - e.size * math.exp(e.rate * place) * torch.expm1(-e.rate * step)
                else:
                    moved = self._at_kinks[k] - self.values[k] - (slope - s) * y - offset + c
                    for e in self._on(i):
                        moved = moved - e.size * torch.exp(e.rate * y)
                change = torch.where(inside == i, moved, change)
            total = total + j * normal(place / own) / own * change
        return total

    def _independent(self, pair: Pair) -> Start:
        """The start where the streams are independent."""
        a, b = self._means(pair.Q), self._means(pair.R)
        both = a.slope * b.slope - a.line_slope * b.line_slope
        squares = a.square - a.line_square + b.square - b.line_square
        pulls = self._pull(pair.sigma, a, b), self._pull(pair.tau, b, a)
        return Start(
            squares - 2 * (a.phi * b.phi - a.line * b.line),
            both,
            a.gain - a.line_gain - both,
            b.gain - b.line_gain - both,
            torch.stack(pulls),
            torch.stack((a.bends * b.slope, b.bends * a.slope)),
            a.bends[:, None] * b.bends,
        )

    def _pull(self, sigma: Tensor, a: Means, b: Means) -> Tensor:
        """E φ''(a)(φ(a) - φ(b)) of independent streams, less that of L."""
        total = a.bent - a.bends.sum(0) * b.phi
        for place, j, value, line in zip(self.kinks, self.jumps, self._at_kinks, self.values):
            total = total + j * normal(place / sigma) / sigma * (value - line - b.phi + b.line)
        return total


def _grown(rate: float, power: Tensor, change: Tensor, x: Tensor) -> Tensor:
    """exp(rate (x + change)) less ``power``, which is exp(rate x) or zero."""
    near = (rate * change).abs() < 1
    moved = torch.where(power > 0, torch.exp(rate * (x + change)), 0.0) - power
    return torch.where(near, power * torch.expm1(rate * torch.where(near, change, 0.0)), moved)


def _at(line: tuple[float, float], curves: Sequence[Curve], z: float) -> float:
    """φ at z, on a piece of this line and these curves."""
    return line[0] * z + line[1] + sum(c.size * math.exp(c.rate * z) for c in curves)


@lru_cache(maxsize=1024)
def _read(f: sp.Lambda) -> Exponential | None:
    """A function as an activation of lines and exponentials, or None."""
    places = tuple(sorted(float(place) for place in kinks(f) if place.is_real))
    found = [_terms(piece) for piece in pieces(f, places)] if places else [None]
    if None in found or not any(terms[2] for terms in found if terms):
        return None
    # SymPy may name a place at which nothing changes.
    changes = [k for k, both in enumerate(pairwise(found)) if both[0] != both[1]]
    places, found = tuple(places[k] for k in changes), [found[k] for k in (*changes, -1)]
    lines, curves = [], []
    for i, terms in enumerate(terms for terms in found if terms):
        lines.append((terms[0], terms[1]))
        curves += [Curve(i, rate, size) for rate, size in terms[2].items()]
    slopes = [lines[-1][0]]
    for k, place in reversed([*enumerate(places)]):
        below, above = (
            lines[i][0] + sum(c.size * c.rate * math.exp(c.rate * place) for c in curves if c.piece == i)
            for i in (k, k + 1)
        )
        slopes.insert(0, slopes[0] - (above - below if abs(above - below) > ROUNDING else 0.0))
    values = [float(f(sp.Float(places[-1])))]
    for (low, high), slope in reversed([*zip(pairwise(places), slopes[1:])]):
        values.insert(0, values[0] - slope * (high - low))
    return Exponential(places, tuple(slopes), tuple(values), tuple(lines), tuple(curves), str(f.expr))


def _terms(piece: sp.Lambda) -> tuple[float, float, dict[float, float]] | None:
    """Slope, offset and the sizes of exponentials by their rates, of one piece; or None."""
    (z,) = piece.variables
    slope = offset = 0.0
    sizes: dict[float, float] = {}
    for term in sp.Add.make_args(sp.expand(piece.expr.rewrite(sp.exp))):
        factor, rest = term.as_independent(z, as_Add=False)
        power = rest.args[0].as_poly(z) if isinstance(rest, sp.exp) else None
        if rest == 1:
            offset += float(factor)
        elif rest == z:
            slope += float(factor)
        elif power is not None and power.degree() == 1:
            rate, shift = (float(c) for c in power.all_coeffs())
            sizes[rate] = sizes.get(rate, 0.0) + float(factor) * math.exp(shift)
        else:
            return None
    return slope, offset, sizes
