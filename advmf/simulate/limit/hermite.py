"""The covariance of a smooth activation, by its coefficients in Hermite polynomials (F. G. Mehler, 1866).

With c_k the coefficients of phi(sqrt(Q) z) and ρ the correlation, E (φ(a) - φ(b))² is the sum of (c_k - c_k')² + 2 c_k
c_k' (1 - ρ^k). Differences of coefficients are computed as means of differences of φ, and 1 - ρ^k as a sum of powers
times 1 - ρ, which follows from the distance. So nothing cancels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from advmf.errors import AccuracyError
from advmf.simulate.limit.jets import Jets, Layout, Pair, Points, S
from advmf.simulate.pointwise import Smooth

TERMS = (32, 64, 128, 256, 512, 1024)
"""The numbers of coefficients that are tried in turn."""
KEPT = 2 * TERMS[1]
"""The numbers that a layer usually remembers of a point."""
TAIL = 1e-8
"""The largest share of the last coefficients in the mean square of the second derivative. The truncated series is
itself a covariance, that of a polynomial."""
FAR = 13.0


@lru_cache(maxsize=8)
def _rule(terms: int, device: str) -> tuple[Tensor, Tensor]:
    """Nodes (n,) of a trapezoidal rule, and the weighted normalised polynomials there, (n, terms + 2)."""
    step = min(0.1, 2 * math.pi / (2 * math.sqrt(terms) + 45))
    nodes = torch.arange(-math.ceil(FAR / step), math.ceil(FAR / step) + 1, dtype=torch.float64, device="cpu") * step
    density = step * torch.exp(-(nodes**2) / 2) / math.sqrt(2 * math.pi)
    rows = [density, density * nodes]
    for k in range(1, terms + 1):
        rows.append((nodes * rows[k] - math.sqrt(k) * rows[k - 1]) / math.sqrt(k + 1))
    return nodes.to(device), torch.stack(rows, 1).to(device)


@dataclass(frozen=True)
class Hermite:
    """A smooth activation."""

    function: Smooth
    name: str

    def __call__(self, state: S, layout: Layout) -> S:
        p, pair = state.points, state.pair(layout)
        c, d, s = self._coefficients(p, layout)
        k = torch.arange(c.shape[2], dtype=c.dtype, device=c.device)
        base = (k * c[:, :1] ** 2).sum(2)[..., None] / p.Q[:, :1, None]
        at = layout.anchor
        points = Points(
            (c**2).sum(2),
            (d * (c + c[:, at])).sum(2),
            2 * (c * s).sum(2) * p.slope,
            c[..., 0],
            d[..., 0],
            s[..., 0] * p.slope,
        )
        if not bool((points.mean.abs() > 1e-14 * points.Q.sqrt()).any()):  # type: ignore[union-attr]
            points = Points(points.Q, points.gap, points.slope, None, None, None)
        rest = _rest(c, d, s, base, pair, layout)
        return state.after(points, base, rest, layout)

    def _coefficients(self, p: Points, layout: Layout) -> tuple[Tensor, Tensor, Tensor]:
        """The coefficients of every point, their excess over the anchor's, and their derivative with respect to Q.

        Those of points of an earlier pass are kept, as most of the time goes here."""
        known = layout.memory.last()
        first = known[0].shape[1] if known else 0
        found = self._of_points(p, layout.anchor, first, known)
        layout.memory.keep(found)
        c, d = found
        k = torch.arange(c.shape[2] - 2, dtype=c.dtype, device=c.device)
        up = ((k + 1) * (k + 2)).sqrt() * c[..., 2:]
        return c[..., :-2], d[..., :-2], (k * c[..., :-2] + up) / (2 * p.Q[..., None])

    def _of_points(
        self, p: Points, anchor: Tensor, first: int, known: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """The coefficients of points and their excess over the anchor's, with those of the ``first`` points known."""
        root = p.Q.sqrt()[..., None]
        least = known[0].shape[2] - 2 if known else 0
        for terms in (n for n in TERMS if n >= least):
            nodes, basis = _rule(terms, str(p.Q.device))
            c = self.function.value(root[:, first:] * nodes) @ basis
            if _settled(c):
                break
        else:
            raise AccuracyError(
                f"The Hermite series of {self.name} does not settle within {TERMS[-1]} terms at deviations up to {float(root.max()):.3g}, so "
                "that the covariance at N = inf is not known to rounding. Lower sigma_w, sigma_b or the inputs, or take networks of a finite N."
            )
        if known and terms > least:
            return self._of_points(p, anchor, 0, None)
        at, d = anchor[first:], torch.zeros_like(c)
        whole = torch.cat((known[0], c), 1) if known else c
        away = (at != torch.arange(first, len(anchor), dtype=at.dtype, device=at.device)).nonzero()[:, 0]
        if len(away):
            own, gap = root[:, at[away]], p.gap[:, first + away]
            moved = (gap / (root[:, first + away] + own)[..., 0])[..., None]
            d[:, away] = self.function.difference(self.function.prepared(own * nodes), moved * nodes)[0] @ basis
        c = whole[:, at] + d
        return (torch.cat((known[0], c), 1), torch.cat((known[1], d), 1)) if known else (c, d)


def _settled(c: Tensor) -> bool:
    """Whether the last of the coefficients are as small as rounding, at all points."""
    terms, k = c.shape[2] - 2, torch.arange(c.shape[2], dtype=c.dtype, device=c.device)
    return bool(((c[..., -8:] ** 2).sum(-1) * terms**2 <= TAIL * (k * c**2).sum(-1)).all())


def _rest(c: Tensor, d: Tensor, s: Tensor, gain: Tensor, pair: Pair, layout: Layout) -> Jets:
    """E (φ(a) - φ(b))² - gain D with its derivatives with respect to Q, R and D, computed first as a function of Q, R
    and w = 1 - ρ."""
    rows, terms = layout.rows, c.shape[2]
    w = pair.bend().clamp(0, 2)
    power = torch.ones((*w.shape, terms), dtype=c.dtype, device=c.device)
    power[..., 1:] = (1 - w)[..., None]
    power = power.cumprod(-1)
    short = torch.zeros_like(power)
    short[..., 1:] = w[..., None] * power[..., :-1].cumsum(-1)
    k = torch.arange(terms, dtype=c.dtype, device=c.device)
    low, lower = torch.zeros_like(power), torch.zeros_like(power)
    low[..., 1:], lower[..., 2:] = k[1:] * power[..., :-1], (k * (k - 1))[2:] * power[..., :-2]
    a, b, da, db = c[:, rows, None], c[:, None], s[:, rows, None], s[:, None]
    apart = layout.between(c, d)

    def total(*factors: Tensor) -> Tensor:
        out = factors[0]
        for factor in factors[1:]:
            out = out * factor
        return 2 * out.sum(-1)

    both, first, second = a * b, da * b, a * db
    value = total(both, short) + (apart**2).sum(-1)
    by_q, by_r, by_w = total(apart, da) + total(first, short), total(second, short) - total(apart, db), total(both, low)
    by_ww, by_qw, by_rw = -total(both, lower), total(first, low), total(second, low)
    by_qr = -total(da * db, power)
    over = 1 / (2 * pair.deviation)
    w_q, w_r = -(pair.D + pair.gap) / (2 * pair.Q) * over, -(pair.D - pair.gap) / (2 * pair.R) * over
    w_qd, w_rd = -over / (2 * pair.Q), -over / (2 * pair.R)
    w_qr = over / (2 * pair.Q) * (1 + (pair.D + pair.gap) / (2 * pair.R))
    return Jets(
        value - gain * pair.D,
        by_q + by_w * w_q,
        by_r + by_w * w_r,
        by_w * over - gain,
        by_qr + by_qw * w_r + by_rw * w_q + by_ww * w_q * w_r + by_w * w_qr,
        (by_qw + by_ww * w_q) * over + by_w * w_qd,
        (by_rw + by_ww * w_r) * over + by_w * w_rd,
        by_ww * over**2,
    )
