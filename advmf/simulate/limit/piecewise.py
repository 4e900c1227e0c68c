"""The covariance of a piecewise linear activation, such as hard_tanh.

Let φ have the slopes s_0, s_1, ... between its kinks, and at each kink κ the jump j of the slope. For Gaussians a and b
of deviations σ and τ and angle θ, M = E φ(a)φ(b) has by Price's theorem M_P = E φ'(a)φ'(b), and M_PP is a sum over
pairs of kinks of ``j j'`` times the joint density of (a, b) there. So M and M_P follow by integrating M_PP over the
angle, from θ = 0, where a and b are multiples of one Gaussian. An obtuse angle starts at θ = π.

Nothing cancels for close streams: what remains at θ = 0 is a sum over the intervals in which a and b are on different
sides of a kink, and the integrals over the angle are small. They are ``∫ exp(-δ²/(8 s²)) h(s²) ds`` in s = sin(t/2),
with δ the difference of the kinks in units of the deviations. The first terms of h are integrated in closed form, as A.
Genz does for the normal distribution of two variables (Statistics and Computing 14, 2004), the rest by Gauss-Legendre
rules on panels that grow by the factor two.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import sympy as sp
import torch
from torch import Tensor

from advmf.functions.curves import kinks, slope, smooth
from advmf.simulate.limit.jets import Jets, Layout, Pair, Points, S
from advmf.symbols import z as Z

TERMS = 4
"""The terms of h that are integrated in closed form."""
NARROW = 0.5
"""Below this width, Gaussian masses of an interval are computed by quadrature, not as differences."""
_ROOT = math.sqrt(2 * math.pi)


def normal(z: Tensor) -> Tensor:
    """The density of a standard Gaussian."""
    return torch.exp(-z * z / 2) / _ROOT


def _loss(x: Tensor) -> Tensor:
    """E max(z - x, 0) of a standard Gaussian."""
    return normal(x) - x * torch.special.ndtr(-x)


@lru_cache(maxsize=8)
def rule(count: int, edges: tuple[float, ...], device: str) -> tuple[Tensor, Tensor]:
    """The nodes and the weights of Gauss-Legendre rules on the panels between ``edges``."""
    import numpy as np

    nodes, weights = np.polynomial.legendre.leggauss(count)
    low, half = np.array(edges[:-1])[:, None], np.diff(edges)[:, None] / 2
    found = (low + half * (nodes + 1)).ravel(), (half * weights).ravel()
    return torch.from_numpy(found[0]).to(device), torch.from_numpy(found[1]).to(device)


PANELS = (0.0, 0.125, 0.25, 0.5, 1.0)


class Cuts(NamedTuple):
    """The intervals between the kinks of two multiples of one standard Gaussian (..., intervals): their ends and
    widths, and the pieces on which either stream is."""

    low: Tensor
    high: Tensor
    width: Tensor
    one: Tensor
    other: Tensor


class Ends(NamedTuple):
    """Means at the angle where the streams are multiples of one Gaussian: E (φ(a) - φ(b))² less ``gain`` (a - b)²,
    E φ'(a)φ'(b), E φ'(a)(φ'(a) - φ'(b)) and the same for b."""

    rest: Tensor
    both: Tensor
    first: Tensor
    second: Tensor


@dataclass(frozen=True)
class Piecewise:
    """A piecewise linear activation: its ``values`` at the ``kinks``, and its ``slopes`` between them, one more."""

    kinks: tuple[float, ...]
    slopes: tuple[float, ...]
    values: tuple[float, ...]

    @staticmethod
    def of(phi: sp.Expr, number: Callable[[sp.Expr], float]) -> Piecewise | None:
        """The activation ``phi`` in :data:`advmf.symbols.z`, or None where it is not piecewise linear."""
        return _lines(sp.Lambda(Z, phi.xreplace({s: sp.Float(number(s)) for s in phi.free_symbols - {Z}})))

    @property
    def jumps(self) -> tuple[float, ...]:
        return tuple(b - a for a, b in zip(self.slopes, self.slopes[1:]))

    def __call__(self, state: S, layout: Layout) -> S:
        p, pair = state.points, state.pair(layout)
        base = self._gain(p.Q[:, :1])[..., None]
        points = self._remembered(p, layout)
        rest = self._rest(pair, base)
        return state.after(points, base, rest, layout)

    # -- one Gaussian --------------------------------------------------------------------------------------------------

    def _masses(self, Q: Tensor) -> tuple[Tensor, Tensor]:
        """The probabilities of the pieces (..., pieces), and the densities of a at the kinks (..., kinks)."""
        root, places = Q.sqrt()[..., None], Q.new_tensor(self.kinks)
        below = torch.special.ndtr(places / root)
        ends = torch.cat((torch.zeros_like(root), below, torch.ones_like(root)), -1)
        return ends.diff(dim=-1), normal(places / root) / root

    def _gain(self, Q: Tensor) -> Tensor:
        """E φ'(a)²."""
        return (self._masses(Q)[0] * Q.new_tensor(self.slopes) ** 2).sum(-1)

    def _square_slope(self, Q: Tensor) -> Tensor:
        """The derivative of E φ(a)² in Q, E φ'² + E φφ''."""
        weights = Q.new_tensor([j * value for j, value in zip(self.jumps, self.values)])
        return self._gain(Q) + (self._masses(Q)[1] * weights).sum(-1)

    def _mean_slope(self, Q: Tensor) -> Tensor:
        """The derivative of E φ(a) in Q."""
        return (self._masses(Q)[1] * Q.new_tensor(self.jumps)).sum(-1) / 2

    def _moments(self, Q: Tensor) -> tuple[Tensor, Tensor]:
        """E φ(a) and E φ(a)²."""
        root, places = Q.sqrt()[..., None], Q.new_tensor(self.kinks)
        far = torch.full_like(root, math.inf)
        low, high = (torch.cat(ends, -1) for ends in ((-far, places / root), (places / root, far)))
        zero, one, two = _closed(low, high)
        slopes, offsets = Q.new_tensor(self.slopes), Q.new_tensor(self._offsets)
        mean = slopes * root * one + offsets * zero
        square = (slopes * root) ** 2 * two + 2 * slopes * offsets * root * one + offsets**2 * zero
        return mean.sum(-1), square.sum(-1)

    @property
    def _offsets(self) -> tuple[float, ...]:
        """The c of φ(z) = s z + c on each piece."""
        first = self.values[0] - self.slopes[0] * self.kinks[0]
        return (first, *(value - s * place for place, value, s in zip(self.kinks, self.values, self.slopes[1:])))

    def _remembered(self, p: Points, layout: Layout) -> Points:
        """The points after the activation. Those of an earlier pass are kept."""
        known = layout.memory.last()
        found = self._points(p, layout.anchor, len(known.Q.mT) if known else 0)
        if known:
            each = [each.name for each in fields(Points)]
            found = Points(*(torch.cat((getattr(known, name), getattr(found, name)), 1) for name in each))
        layout.memory.keep(found)
        mean = found.mean
        assert mean is not None
        return found if bool((mean.abs() > 1e-14 * found.Q.sqrt()).any()) else found.centred

    def _points(self, p: Points, anchor: Tensor, first: int) -> Points:
        """The points from ``first`` on, after the activation."""
        mean, square = self._moments(p.Q)
        other_mean, other_square = (x[:, anchor[first:]] for x in (mean, square))
        nodes, weights = rule(12, (0.0, 1.0), str(p.Q.device))
        Q, gap, slope = (x[:, first:] for x in (p.Q, p.gap, p.slope))
        near = gap.abs() < 0.25 * Q
        between = p.Q[:, anchor[first:], None] + torch.where(near, gap, 0.0)[..., None] * nodes
        mean, square = mean[:, first:], square[:, first:]
        moved = torch.where(near, gap * (self._square_slope(between) @ weights), square - other_square)
        mean_gap = torch.where(near, gap * (self._mean_slope(between) @ weights), mean - other_mean)
        return Points(square, moved, self._square_slope(Q) * slope, mean, mean_gap, self._mean_slope(Q) * slope)

    # -- two Gaussians -------------------------------------------------------------------------------------------------

    def _rest(self, pair: Pair, gain: Tensor) -> Jets:
        """E (φ(a) - φ(b))² - gain D with its derivatives in Q, R and D."""
        pair = Pair(*torch.broadcast_tensors(*(getattr(pair, each.name) for each in fields(Pair))))
        bend = pair.bend().clamp(0, 2)
        acute = bend <= 1
        side = torch.where(acute, torch.ones_like(bend), -1.0)
        turn = torch.where(acute, bend, 2 - bend)
        ends = self._ends(pair, side, gain)
        short, moment = self._angles(pair, side, turn)
        sine = (bend * (2 - bend)).sqrt()
        density = self._density(pair, bend, sine)
        first, second = (pair.gap + pair.D) / (2 * pair.Q), (pair.D - pair.gap) / (2 * pair.R)
        tilt_q, pull_q = self._given(pair.Q, pair.sigma, first, pair.tau * sine)
        tilt_r, pull_r = self._given(pair.R, pair.tau, second, pair.sigma * sine)
        moved = 2 * side * pair.deviation * turn
        # D is that at the end of the angle, plus ``moved``.
        value = ends.rest + moved * (ends.both - gain) - 2 * moment
        half = density / 2
        return Jets(
            value,
            ends.first + side * short + pull_q,
            ends.second + side * short + pull_r,
            ends.both - side * short - gain,
            -(tilt_q + tilt_r) / 2 - half * (first + second),
            tilt_q / 2 + half * first,
            tilt_r / 2 + half * second,
            -half,
        )

    def _ends(self, pair: Pair, side: Tensor, gain: Tensor) -> Ends:
        sigma, tau = pair.sigma, side * pair.tau
        apart = torch.where(side > 0, pair.root_gap, pair.sigma + pair.tau)[..., None]
        low, high, width, one, other = self._cuts(pair, side)
        slopes, offsets = sigma.new_tensor(self.slopes), sigma.new_tensor(self._offsets)
        same, a, b = one == other, slopes[one], slopes[other]
        slant, shift = a * sigma[..., None] - b * tau[..., None], offsets[one] - offsets[other]
        zero, first, second = _closed(low, high)
        square = slant**2 * second + 2 * slant * shift * first + shift**2 * zero
        narrow = high - low < NARROW
        mass, small = _narrow(low, torch.where(narrow, width, 0.0), slant, shift)
        zero = torch.where(narrow, mass, zero)
        square = torch.where(same, (a * apart) ** 2 * second, torch.where(narrow, small, square))
        nought = torch.zeros_like(zero)
        return Ends(
            square.sum(-1) - gain * apart[..., 0] ** 2,
            (a * b * zero).sum(-1),
            torch.where(same, nought, a * (a - b) * zero).sum(-1),
            torch.where(same, nought, b * (b - a) * zero).sum(-1),
        )

    def _cuts(self, pair: Pair, side: Tensor) -> Cuts:
        """The intervals between the kinks of a = σz and b = side τz.

        A kink cuts z once for each stream. Which of the two cuts comes first, and how far they are apart, is known to
        the digits of the gap of the deviations, also where both cuts are the same number.
        """
        places, acute = pair.sigma.new_tensor(self.kinks), side[..., None] > 0
        own, others = places / pair.sigma[..., None], places / (side * pair.tau)[..., None]
        apart = torch.where(acute, places * (pair.root_gap / pair.deviation)[..., None], 0.0)
        far = torch.full_like(own[..., :1], math.inf)
        others = torch.where(apart > 0, torch.maximum(others, torch.nextafter(own, far)), others)
        others = torch.where(apart < 0, torch.minimum(others, torch.nextafter(own, -far)), others)
        cuts = own if self.kinks == (0.0,) else torch.cat((own, others), -1).sort(-1).values
        low, high = torch.cat((-far, cuts), -1), torch.cat((cuts, far), -1)
        below, above = low[..., None], high[..., None]
        own, others, acute = own[..., None, :], others[..., None, :], acute[..., None]
        one, other = (own <= below).sum(-1), torch.where(acute, others <= below, others >= above).sum(-1)
        of_kink = torch.minimum(own, others) == below
        of_kink &= torch.maximum(own, others) == above
        of_kink &= acute
        known = torch.where(of_kink, apart[..., None, :].abs(), 0.0).sum(-1)
        return Cuts(low, high, torch.where(of_kink.any(-1), known, high - low), one, other)

    def _angles(self, pair: Pair, side: Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
        """The integrals of M_PP and of its product with the distance from P, over P from its end on."""
        half = turn / 2
        S, tau = half.sqrt(), side * pair.tau
        nodes, weights = rule(12, PANELS, str(S.device))
        short, moment = torch.zeros_like(S), torch.zeros_like(S)
        for j, one in zip(self.jumps, self.kinks):
            for k, other in zip(self.jumps, self.kinks):
                u, v = one / pair.sigma, other / tau
                delta = -one * pair.root_gap / pair.deviation if one == other else u - v
                delta = torch.where(side > 0, delta, u - v)
                zero, first = _angle(S, half, delta, (u + v) ** 2 / 8, nodes, weights)
                short += j * k * zero
                moment += j * k * first
        return short / (2 * math.pi), moment / (2 * math.pi) * pair.deviation

    def _density(self, pair: Pair, bend: Tensor, sine: Tensor) -> Tensor:
        """M_PP, zero where the streams are parallel."""
        total, safe = torch.zeros_like(sine), torch.where(sine > 0, sine, 1.0)
        for j, one in zip(self.jumps, self.kinks):
            for k, other in zip(self.jumps, self.kinks):
                u, v = one / pair.sigma, other / pair.tau
                delta = -one * pair.root_gap / pair.deviation if one == other else u - v
                total += j * k * torch.exp(-(delta**2 + 2 * u * v * bend) / (2 * safe**2))
        return torch.where(sine > 0, total / (2 * math.pi * pair.deviation * safe), 0.0)

    def _given(self, Q: Tensor, sigma: Tensor, turned: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
        """Sums over the kinks of a: ``j κ n(κ) E[φ'(b) | a = κ]/Q`` and ``j n(κ) (φ(κ) - E[φ(b) | a = κ])``. Given a =
        κ, b has the mean κ (1 - turned) and the deviation ``spread``."""
        tilt, pull = torch.zeros_like(sigma), torch.zeros_like(sigma)
        s = spread.clamp(min=1e-200)
        for j, place in zip(self.jumps, self.kinks):
            mean = -place * turned
            slope, change = torch.full_like(sigma, self.slopes[0]), self.slopes[0] * mean
            for k, other in zip(self.jumps, self.kinks):
                w = (place - other + mean) / s
                slope = slope + k * torch.special.ndtr(w)
                change = change + k * (mean + s * _loss(w) if other < place else s * _loss(-w))
            weight = j * normal(place / sigma) / sigma
            tilt += weight * place / Q * slope
            pull -= weight * change
        return tilt, pull


@lru_cache(maxsize=1024)
def _lines(f: sp.Lambda) -> Piecewise | None:
    """A function as a piecewise linear activation, or None."""
    if smooth(f) or sp.simplify(slope(slope(f)).expr) != 0:
        return None
    places = sorted(float(place) for place in kinks(f) if place.is_real)
    inner = [(a + b) / 2 for a, b in pairwise(places)]
    slopes = tuple(float(slope(f)(sp.Float(x))) for x in (places[0] - 1, *inner, places[-1] + 1))
    return Piecewise(tuple(places), slopes, tuple(float(f(sp.Float(x))) for x in places))


def _closed(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The integrals of 1, z and z² against the standard density over an interval."""

    def ends(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        below, at = torch.special.ndtr(z), normal(z)
        return below, -at, below - torch.where(z.isinf(), 0.0, z) * at

    zero, first, second = (b - a for a, b in zip(ends(low), ends(high)))
    # Above zero, the difference of the complements has more digits.
    upper = torch.special.ndtr(-low) - torch.special.ndtr(-high)
    return torch.where(low > 0, upper, zero), first, second


def _narrow(low: Tensor, width: Tensor, slant: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """The integrals of 1 and of (slant z + shift)² against the standard density, by a rule."""
    nodes, weights = rule(12, (0.0, 1.0), str(low.device))
    at = torch.where(width > 0, low, 0.0)[..., None] + width[..., None] * nodes
    weighted = normal(at) * weights
    change = slant[..., None] * at + shift[..., None]
    return width * weighted.sum(-1), width * (change**2 * weighted).sum(-1)


def _angle(S: Tensor, half: Tensor, delta: Tensor, g: Tensor, nodes: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """``∫ exp(-δ²/(8 s²)) h(s²) ds`` over s from 0 to S, with h(y) = 2 exp(-g/(1 - y))/sqrt(1 - y), and the same with
    the factor 2 (S² - s²)."""
    size = delta.abs() / (2 * S.clamp(min=1e-200))
    size = torch.where(S > 0, size, torch.where(delta == 0, 0.0, 1e3)).clamp(max=1e3)
    top = torch.exp(-(size**2) / 2)
    moment = top - size * _ROOT * torch.special.ndtr(-size)
    before, term, power = torch.zeros_like(g), 2 * torch.exp(-g), torch.ones_like(S)
    zero, first = torch.zeros_like(S), torch.zeros_like(S)
    squares = nodes**2
    series = torch.zeros((*S.shape, len(nodes)), dtype=S.dtype, device=S.device)
    for n in range(TERMS):
        above = (top - size**2 * moment) / (2 * n + 3)
        zero += term * power * moment
        first += term * power * (moment - above)
        series += (term * power)[..., None] * squares**n
        before, term = term, ((2 * n + 0.5 - g) * term - (n - 0.5) * before) / (n + 1)
        power, moment = power * half, above
    left = 1 - half[..., None] * squares
    rest = 2 * torch.exp(-g[..., None] / left) / left.sqrt() - series
    rest *= torch.exp(-(size[..., None] ** 2) / (2 * squares))
    zero += rest @ weights
    first += rest @ (weights * (1 - squares))
    return S * zero, 2 * S * half * first
