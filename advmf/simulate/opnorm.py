"""Operator norms of given matrices, ``||J||_{p->q} = max ||J e||_q over ||e||_p <= 1``, batched, with a maximiser.

A convex function is largest at a vertex of a polytope. So the norm is exact by enumeration where the lp ball (p = 1, or p = inf
and few columns) or the dual ball of the output (q = inf, or q = 1 and few rows) has few vertices, and for p = q = 2 by the first
singular vector. The rest is NP-hard in general, and a nonlinear power iteration bounds it from below.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from advmf.errors import ArgumentError, DomainError
from advmf.simulate.geometry import conjugate, maximiser, norm, order

SIGNS = 12
"""All signs of at most so many coordinates are tried."""
_ENTRIES = 2**22
"""Entries of the largest intermediate tensor."""
_ROUNDS, _SCREEN, _FINALISTS = 100, 4, 4


@dataclass(frozen=True)
class OperatorNorm:
    """``value`` (...,) of ``||J||_{p->q}``, attained at ``vector`` (..., d) of lp norm 1; a lower bound unless ``exact``."""

    value: Tensor
    vector: Tensor
    exact: bool


def operator_norm(
    J: Float[Tensor, "*batch K d"], p: Any, q: Any, *, starts: int = 16, generator: torch.Generator | None = None
) -> OperatorNorm:
    """The operator norm ``||J||_{p->q}`` of every matrix of a batch, with an ``e`` that attains it.

    Where no exact rule applies (see the module), the power iteration ``e <- D_p(J^T D_{q*}(J e))`` (Boyd, 1974) from rows,
    singular vectors and ``starts`` random directions gives a lower bound. ``generator`` is one of seed 0 if None.

    Raises ArgumentError if ``J`` is no floating-point tensor of at least two axes or ``starts`` no integer >= 0, DomainError
    for entries that are not finite or exponents that are no numbers in [1, oo].

    >>> found = operator_norm(torch.tensor([[3.0, 0.0], [0.0, 4.0]]), "inf", 1)
    >>> found.value, found.vector, found.exact
    (tensor(7.), tensor([1., 1.]), True)
    """
    if not isinstance(J, Tensor) or not J.is_floating_point() or J.ndim < 2 or 0 in J.shape:
        given = f"one of shape {tuple(J.shape)} and {J.dtype}" if isinstance(J, Tensor) else repr(J)
        raise ArgumentError(f"J must be a floating-point tensor of shape (..., K, d), none of them 0; got {given}.")
    if not torch.isfinite(J).all():
        raise DomainError("J holds NaN or infinite entries; an operator norm needs finite ones.")
    if isinstance(starts, bool) or not isinstance(starts, int) or starts < 0:
        raise ArgumentError(f"starts must be an integer >= 0; got {starts!r}.")
    p, q = order(p, "p"), order(q, "q")
    *batch, K, d = J.shape
    flat = J.reshape(-1, K, d)
    primal, dual = _vertices(d, p, J), _vertices(K, conjugate(q), J)
    exact = primal is not None or dual is not None or p == q == 2
    random = torch.empty(K, 0, dtype=J.dtype, device=J.device)
    if not exact:
        generator = generator or torch.Generator().manual_seed(0)
        random = torch.randn(K, starts, generator=generator, device=generator.device).to(J)
    columns = max(v.shape[1] for v in (primal, dual, random) if v is not None) + 2 * min(K, d)
    found = []
    for part in flat.split(max(1, _ENTRIES // (columns * max(K, d)))):
        scaled = part / part.abs().amax((-2, -1), keepdim=True).clamp(min=torch.finfo(J.dtype).tiny)
        if primal is not None and (dual is None or primal.shape[1] <= dual.shape[1]):
            found.append(_best(primal.expand(len(part), -1, -1), scaled @ primal, q))
        elif dual is not None:
            t = _best(dual.expand(len(part), -1, -1), scaled.mT @ dual, conjugate(p))
            found.append(maximiser((scaled.mT @ t[..., None])[..., 0], p))
        else:
            found.append(_singular(scaled)[..., 0] if exact else _power(scaled, p, q, random))
    vector = torch.cat(found)
    value = norm((flat @ vector[..., None])[..., 0], q)
    return OperatorNorm(value.reshape(batch), vector.reshape(*batch, d), exact)


def _vertices(n: int, r: float, like: Tensor) -> Tensor | None:
    """The vertices of the unit ball of ||.||_r in n dimensions, one of each pair of opposites, as columns; None if too many."""
    if r == 1 or n == 1:
        return torch.eye(n).to(like)
    if math.isinf(r) and n <= SIGNS:
        bits = torch.arange(2 ** (n - 1), device=like.device) >> torch.arange(n, device=like.device)[:, None] & 1
        return 1 - 2 * bits.to(like)
    return None


def _best(candidates: Tensor, images: Tensor, r: float) -> Tensor:
    """Of the columns (..., n, candidates), the one whose image has the largest lr norm: (..., n)."""
    at = norm(images, r, -2).argmax(-1)[..., None, None]
    return candidates.gather(-1, at.expand(*candidates.shape[:-1], 1))[..., 0]


def _singular(J: Tensor) -> Tensor:
    """The right singular vectors (..., d, min(K, d)) of J, largest singular value first."""
    if J.shape[-2] >= J.shape[-1]:
        return torch.linalg.eigh(J.mT @ J).eigenvectors.flip(-1)
    return maximiser(J.mT @ torch.linalg.eigh(J @ J.mT).eigenvectors.flip(-1), 2, -2)


def _power(J: Tensor, p: float, q: float, random: Tensor) -> Tensor:
    """The best end of the power iterations from the largest rows, the singular vectors, the best signs and random cotangents."""
    rows = norm(J, conjugate(p), -1).topk(min(J.shape[-2:]), -1).indices
    starts = [J.gather(-2, rows[..., None].expand(-1, -1, J.shape[-1])).mT, _singular(J), J.mT @ random]
    if (signs := _vertices(J.shape[-2], math.inf, J)) is not None:
        t = _best(signs.expand(len(J), -1, -1), J.mT @ signs, conjugate(p))
        starts.append(J.mT @ t[..., None])
    e = maximiser(torch.cat(starts, -1), p, -2)
    value = torch.zeros_like(e[:, 0])
    for rounds in range(_ROUNDS):
        image = J @ e
        new = norm(image, q, -2)
        if bool((new <= value * (1 + 1e-6)).all()):
            break
        value = torch.maximum(value, new)
        if rounds == _SCREEN:
            value, best = value.topk(min(_FINALISTS, value.shape[-1]), -1)
            image = image.gather(-1, best[:, None].expand(-1, J.shape[-2], -1))
        e = maximiser(J.mT @ maximiser(image, conjugate(q), -2), p, -2)
    return _best(e, J @ e, q)
