"""Linear algebra for numbers that are drawn one after the other: the span of points, and growing Cholesky factors."""

from __future__ import annotations

import torch
from torch import Tensor

from advmf.errors import AccuracyError

NEW = 1e-10
"""A vector adds no direction if less than this share of it lies outside the span."""
FLOOR = 1e-7
"""A remaining share of a variance below this counts as zero, and one below its negative is an error. It is a hundred
times the rounding error of a variance."""
_ROOM = 16
"""The initial capacity of a factor."""
_NEVER = 1e150
"""The pivot of a number that is known already, so large that it does not affect others."""


class Span:
    """Orthonormal directions (nets, r, d), separate for each network; where a network has fewer than the others, the
    rest are zero."""

    def __init__(self, none: Tensor) -> None:
        self.basis = none
        """Directions, at first none: (nets, 0, d)."""

    def new(self, y: Tensor) -> Tensor | None:
        """The normalised part of a vector (nets, d) outside the span, which is added to it, zero for networks without
        one; None if it is inside for all networks."""
        size, rest = y.norm(dim=1, keepdim=True), y
        for _ in range(2):
            rest = rest - torch.bmm(torch.bmm(rest[:, None], self.basis.mT), self.basis)[:, 0]
        share = rest.norm(dim=1, keepdim=True)
        kept = share > NEW * size
        if not bool(kept.any()):
            return None
        e = torch.where(kept, rest / torch.where(kept, share, 1.0), 0.0)
        e = e - torch.bmm(torch.bmm(e[:, None], self.basis.mT), self.basis)[:, 0]
        e = torch.where(kept, e / torch.where(kept, e.norm(dim=1, keepdim=True), 1.0), 0.0)
        self.basis = torch.cat((self.basis, e[:, None]), 1)
        return e


class Whole(Span):
    """All directions: the ``basis`` is the identity, and no vector is outside."""

    def new(self, y: Tensor) -> Tensor | None:
        return None


class Factor:
    """A Cholesky factor (nets, n, n) of numbers of unit scale, and the standard normals (nets, n, copies) that it
    multiplies. A copy has the same numbers as long as only one of the two is extended."""

    def __init__(self, like: Tensor, copies: int) -> None:
        self._lower = like.new_zeros(len(like), _ROOM, _ROOM)
        self._normals = like.new_zeros(len(like), _ROOM, copies)
        self._count = 0

    @property
    def lower(self) -> Tensor:
        return self._lower[:, : self._count, : self._count]

    @property
    def normals(self) -> Tensor:
        return self._normals[:, : self._count]

    def extend(self, rows: Tensor, own: Tensor, normals: Tensor) -> Tensor:
        """New numbers (nets, p, copies) from new normals. ``rows`` (nets, p, n) are their covariances with earlier
        numbers, ``own`` (nets, p, p) those among themselves."""
        known = torch.linalg.solve_triangular(self.lower, rows.mT, upper=False).mT
        new, fresh = factored(own - torch.bmm(known, known.mT))
        normals = normals * fresh[..., None]
        out = torch.bmm(known, self.normals)
        out.baddbmm_(new, normals)
        self.append(known, new + torch.diag_embed((~fresh).to(new) * _NEVER), normals)
        return out

    def append(self, known: Tensor | None, new: Tensor, normals: Tensor) -> None:
        """Append rows to the factor; None for numbers that are independent of the earlier ones."""
        n, p = self._count, new.shape[1]
        if n + p > self._lower.shape[1]:
            self._grow(n + p)
        self._lower[:, n : n + p, n : n + p] = new
        self._lower[:, n : n + p, :n] = 0.0 if known is None else known
        self._normals[:, n : n + p] = normals
        self._count += p

    def _grow(self, least: int) -> None:
        room, (nets, _, copies), n = max(least, 2 * self._lower.shape[1]), self._normals.shape, self._count
        lower, normals = self._lower.new_zeros(nets, room, room), self._normals.new_zeros(nets, room, copies)
        lower[:, :n, :n], normals[:, :n] = self.lower, self.normals
        self._lower, self._normals = lower, normals


def factored(S: Tensor) -> tuple[Tensor, Tensor]:
    """The Cholesky factor of (nets, p, p), and which columns hold something new; the other columns are zero.

    Raises AccuracyError where a pivot is below minus FLOOR, since the matrix is then no covariance.
    """
    found, info = torch.linalg.cholesky_ex(S)
    pivots = found.diagonal(dim1=1, dim2=2)
    if not bool(info.any()) and bool((pivots**2 > FLOOR).all()):
        return found, torch.ones_like(pivots, dtype=torch.bool)
    lower, fresh = torch.zeros_like(S), torch.zeros_like(pivots, dtype=torch.bool)
    for k in range(S.shape[1]):
        column = S[:, k:, k] - torch.bmm(lower[:, k:, :k], lower[:, k, :k, None])[..., 0]
        pivot = column[:, :1]
        if not bool((pivot >= -FLOOR).all()):
            raise AccuracyError(
                f"A variance given what was answered before is {float(pivot.min()):.1e} of its unit, and rounding leaves no less "
                f"than -{FLOOR:.0e}: the points lie too close together, or too far apart, for the digits of float64. Ask for fewer points, or for "
                "points at distances that are less different."
            )
        fresh[:, k] = pivot[:, 0] > FLOOR
        lower[:, k:, k] = torch.where(fresh[:, k, None], column / pivot.clamp(min=FLOOR).sqrt(), 0.0)
    return lower, fresh
