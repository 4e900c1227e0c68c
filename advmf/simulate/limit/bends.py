"""What exponentials on pieces of the line add to the covariance of an activation, by integrals over that of its input.

Let φ = L + E, where L is piecewise linear and E'' a sum of f_t, each ``c exp(λ_t z)`` on its piece. For Gaussians a and
b of the covariance P, Price's theorem gives the derivative of F = E f_t(a)f_u(b) in P as ``Λ F + S`` with Λ = λ_t λ_u,
since the derivative of f_t is λ_t f_t and a jump at either end of its piece. S has means of one Gaussian given the
other and joint densities at the jumps, all in closed form. So F is ``exp(-Λ (P1 - P)) F(P1)`` less the integral of
``exp(-Λ (P' - P)) S(P')`` over P' from P to P1. Its first and second integral over P are sums over the same nodes. They
give E φ'(a)φ'(b) and E (φ(a) - φ(b))², and the other means follow in the same way.

P1 is that of multiples of one Gaussian, or zero for an obtuse angle. Nothing cancels for close streams, and nothing
grows where Λ is positive.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from advmf.simulate.limit.jets import Jets, Pair
from advmf.simulate.limit.piecewise import normal, rule

LAYERS = (0.0, *(4.0**-k for k in range(14, 0, -1)))
"""Panels near P1, in units of the root of P1 - P: a kink away from zero makes a layer of any width there."""


class Curve(NamedTuple):
    """``size`` exp(``rate`` z) on a piece."""

    piece: int
    rate: float
    size: float


class Start(NamedTuple):
    """Means at P1, less those of L: E (φ(a) - φ(b))², E φ'(a)φ'(b), E φ'(a)(φ'(a) - φ'(b)) and the same for b, and E
    φ''(a)(φ(a) - φ(b)) for either (2, ...); E f_t(a)φ'(b) for either (2, curves, ...), and E f_t(a)f_u(b) (curves,
    curves, ...)."""

    rest: Tensor
    both: Tensor
    first: Tensor
    second: Tensor
    pulls: Tensor
    crossed: Tensor
    curved: Tensor

    def where(self, condition: Tensor, other: Start) -> Start:
        """This start where the condition holds, else the other."""
        return Start(*(torch.where(condition, a, b) for a, b in zip(self, other)))


class Path(NamedTuple):
    """The way of P' from P1 to P at nodes (..., nodes), of which the last is P itself and has no weight: ``x`` = P' -
    P, the weights of an integral over P', the same times a joint density without its exponential, 1 - ρ', and its sine.
    ``whole`` is P1 - P."""

    whole: Tensor
    x: Tensor
    weight: Tensor
    joint: Tensor
    bend: Tensor
    sine: Tensor

    @staticmethod
    def of(pair: Pair, bend: Tensor, fastest: float, layers: bool) -> Path:
        """The way for the largest of Λ, ``fastest``; ``layers`` where a kink is not at zero."""
        acute, whole = bend <= 1, length_of(pair, bend)
        nodes, weights = _way(count(fastest * float(whole.max())), layers, str(bend.device))
        length = torch.where(acute, (bend / 2).sqrt(), torch.asin((bend - 1).clamp(0, 1)))[..., None]
        s, ds, acute = length * nodes, length * weights, acute[..., None]
        cosine = torch.where(acute, (1 - s * s).clamp(min=0).sqrt(), torch.cos(s))
        at = torch.where(acute, 2 * s * s, 1 + torch.sin(s))
        sine = torch.where(acute, 2 * s * cosine, cosine)
        deviation = pair.deviation[..., None]
        x = deviation * torch.where(acute, bend[..., None] * (1 - nodes * nodes), bend[..., None] - at)
        weight = deviation * ds * torch.where(acute, 4 * s, cosine)
        return Path(whole, x, weight, ds / (2 * math.pi) * torch.where(acute, 2 / cosine, 1.0), at, sine)


def length_of(pair: Pair, bend: Tensor) -> Tensor:
    """P1 - P."""
    return pair.deviation * torch.where(bend <= 1, bend, bend - 1)


class Side(NamedTuple):
    """Means of one stream given that the other is at a kink, times its density there, at the nodes of a path: of f_t
    (kinks, curves, ...), and of L' and φ' (kinks, ...)."""

    bent: Tensor
    line: Tensor
    slope: Tensor


@dataclass(frozen=True)
class Bends:
    """The ``curves`` between ``kinks``, the jumps of the slope there, and the slopes of L and of the lines of φ."""

    kinks: tuple[float, ...]
    jumps: tuple[float, ...]
    slopes: tuple[float, ...]
    lines: tuple[float, ...]
    curves: tuple[Curve, ...]

    @property
    def rates(self) -> list[float]:
        return [c.rate for c in self.curves]

    @property
    def sizes(self) -> list[float]:
        """Those of f_t."""
        return [c.size * c.rate**2 for c in self.curves]

    @property
    def steps(self) -> list[list[float]]:
        """The jump of each f_t at each kink."""
        found = [[0.0] * len(self.kinks) for _ in self.curves]
        for steps, c, size in zip(found, self.curves, self.sizes):
            for k, sign in ((c.piece - 1, 1), (c.piece, -1)):
                if 0 <= k < len(self.kinks):
                    steps[k] += sign * size * math.exp(c.rate * self.kinks[k])
        return found

    def jets(self, pair: Pair, bend: Tensor, start: Start) -> Jets:
        """E (φ(a) - φ(b))² - E (L(a) - L(b))² with its derivatives in Q, R and D."""
        path = Path.of(pair, bend, max(map(abs, self.rates)) ** 2, any(self.kinks))
        sides = [self._side(pair, path, swapped) for swapped in (False, True)]
        joint, jumps = self._joint(pair, path), pair.D.new_tensor(self.jumps)
        curved = self._curved(path, start, sides, joint)
        density, short, moment = (each.sum((0, 1)) for each in curved)
        if any(self.jumps):
            both = torch.tensordot(jumps, sides[0].bent.sum(1) + sides[1].bent.sum(1), 1)
            density = density + both[..., -1]
            short, moment = short + (path.weight * both).sum(-1), moment + (path.weight * path.x * both).sum(-1)
        P = pair.deviation * (1 - bend)
        one = self._by_size(P / pair.Q, pair.Q, path, start, 0, sides, joint, curved)
        turned = [each.transpose(0, 1) for each in (joint, *curved)]
        other = self._by_size(P / pair.R, pair.R, path, start, 1, sides[::-1], turned[0], turned[1:])
        by_q, by_r = (one[0] + density) / 2, (other[0] + density) / 2
        return Jets(
            start.rest + 2 * path.whole * start.both - 2 * moment,
            start.first + short + one[1],
            start.second + short + other[1],
            start.both - short,
            -by_q - by_r,
            by_q,
            by_r,
            -density / 2,
        )

    def _side(self, pair: Pair, path: Path, swapped: bool) -> Side:
        """Of b given a, or of a given b if ``swapped``."""
        own, other, gap = pair.sigma[..., None], pair.tau[..., None], pair.root_gap[..., None]
        if swapped:
            own, other, gap = other, own, -gap
        spread = (other * path.sine).clamp(min=1e-200)
        found = []
        for k, place in enumerate(self.kinks):
            mean, weight = place * other / own * (1 - path.bend), normal(place / own) / own
            away = [
                place / own * (gap + other * path.bend) if i == k else end - mean for i, end in enumerate(self.kinks)
            ]
            below = [torch.special.ndtr(end / spread) for end in away]
            masses = [below[0], *(y - x for x, y in pairwise(below)), 1 - below[-1]]
            bent = torch.stack(
                [size * weight * _tail(c, mean, spread, away) for c, size in zip(self.curves, self.sizes)]
            )
            line, slope = (weight * sum(s * m for s, m in zip(each, masses)) for each in (self.slopes, self.lines))
            found.append((bent, line, slope + torch.tensordot(1 / bent.new_tensor(self.rates), bent, 1)))
        return Side(*(torch.stack(each) for each in zip(*found)))

    def _joint(self, pair: Pair, path: Path) -> Tensor:
        """The joint density of a at one kink and b at another, times the weights, (kinks, kinks, ...)."""
        safe, found = (path.sine**2).clamp(min=1e-300), []
        for one in self.kinks:
            for other in self.kinks:
                u, v = (one / pair.sigma)[..., None], (other / pair.tau)[..., None]
                delta = -one * (pair.root_gap / pair.deviation)[..., None] if one == other else u - v
                found.append(path.joint * torch.exp(-(delta**2 + 2 * u * v * path.bend) / (2 * safe)))
        return torch.stack(found).unflatten(0, (len(self.kinks), len(self.kinks)))

    def _curved(self, path: Path, start: Start, sides: list[Side], joint: Tensor) -> list[Tensor]:
        """E f_t(a)f_u(b) at P (curves, curves, ...), its integral over P' from P to P1, and that of its product with P'
        - P."""
        rates, steps = (path.x.new_tensor(each) for each in (self.rates, self.steps))
        by_rate = rates.view(-1, *(1 for _ in path.x.shape))
        one, other = (torch.tensordot(steps, side.bent, 1) for side in sides)
        ends = torch.tensordot(steps, torch.tensordot(steps, joint, 1).transpose(0, 1), 1)
        source = path.weight * (by_rate * one + (by_rate * other).transpose(0, 1)) + ends.transpose(0, 1)
        found = []
        pairs = rates[:, None] * rates
        for at_node, at_end in zip(_decays(pairs, path.x), _decays(pairs, path.whole)):
            found.append(at_end * start.curved - (at_node * source).sum(-1))
        return found

    def _by_size(
        self, share: Tensor, Q: Tensor, path: Path, start: Start, which: int, sides: list[Side], joint: Tensor,
        curved: list[Tensor],
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """E φ'''(a)φ'(b) and E φ''(a)(φ(a) - φ(b)), less those of L, where ``share`` is P/Q."""
        rates, steps, jumps = (path.x.new_tensor(each) for each in (self.rates, self.steps, self.jumps))
        given, opposite = sides
        of_bends = rates @ steps
        across = torch.tensordot(rates, start.crossed[which], 1)
        own = torch.tensordot(of_bends, given.bent.sum(1), 1)
        here = torch.tensordot(steps.sum(0), given.slope, 1)
        if any(self.jumps):
            own = own + torch.tensordot(jumps, torch.tensordot(rates**2, opposite.bent.transpose(0, 1), 1), 1)
            places = path.x.new_tensor(self.kinks)
            here = here + torch.tensordot(jumps * places, given.slope - given.line, 1) / Q[..., None]
            here = here - (share[..., None] + path.x / Q[..., None]) * torch.tensordot(jumps, given.bent.sum(1), 1)
        weighted = path.weight * own + torch.tensordot(of_bends, torch.tensordot(jumps, joint.transpose(0, 1), 1), 1)
        change, moment = (torch.tensordot(rates**2, each.sum(1), 1) for each in curved[1:])
        change, moment = change + weighted.sum(-1), moment + (path.x * weighted).sum(-1)
        pull = start.pulls[which] + path.whole * across - moment + (path.weight * here).sum(-1)
        return here[..., -1] + across - change, pull


def _tail(c: Curve, mean: Tensor, spread: Tensor, away: list[Tensor]) -> Tensor:
    """E exp(λ b) on a curve's piece, for b of this mean and spread; ``away`` are the kinks less the mean. It is what
    lies below an end for a positive λ, above one for a negative λ, so that nothing overflows."""
    sign, power = math.copysign(1.0, c.rate), c.rate * mean + (c.rate * spread) ** 2 / 2
    near, beyond = (c.piece, c.piece - 1) if sign > 0 else (c.piece - 1, c.piece)
    found = [
        torch.exp(power + torch.special.log_ndtr(sign * away[k] / spread - abs(c.rate) * spread))
        for k in (near, beyond)
        if 0 <= k < len(away)
    ]
    return found[0] if len(found) == 1 else found[0] - found[1]


def count(exponent: float) -> int:
    """The nodes of a rule for exponentials of this range of exponents, a multiple of eight; few where it is NaN."""
    exponent = 0.0 if math.isnan(exponent) else exponent
    return 8 * math.ceil(1.5 + 0.45 * math.sqrt(exponent))


@lru_cache(maxsize=64)
def _way(nodes: int, layers: bool, device: str) -> tuple[Tensor, Tensor]:
    """Nodes in (0, 1), and 1 with the weight 0."""
    places, weights = rule(nodes, (LAYERS[-1], 1.0) if layers else (0.0, 1.0), device)
    if layers:
        inner = rule(14, LAYERS, device)
        places, weights = torch.cat((inner[0], places)), torch.cat((inner[1], weights))
    return torch.cat((places, torch.ones_like(places[:1]))), torch.cat((weights, torch.zeros_like(places[:1])))


_DECAY = [(-1.0) ** k / math.factorial(k + 2) for k in range(14)]


def _decays(rates: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """exp(-rate x), its integral from 0 to x, and the integral of that, (curves, curves, ...)."""
    rates = rates.view(*rates.shape, *(1 for _ in x.shape))
    y = rates * x
    once = -torch.expm1(-y)
    near = y.abs() < 0.5
    small, series = torch.where(near, y, 0.0), torch.full_like(y, _DECAY[-1])
    for coefficient in reversed(_DECAY[:-1]):
        series = series * small + coefficient
    return 1 - once, once / rates, torch.where(near, x * x * series, (y - once) / rates**2)
