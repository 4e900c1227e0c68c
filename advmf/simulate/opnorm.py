"""Operator norms of given matrices, ``||J||_{p->q} = max ||J e||_q over ||e||_p <= 1``, batched, with a maximiser.

A convex function is largest at a vertex of a polytope. So enumeration gives the exact norm where the lp ball (p = 1, or
p = inf and few columns) or the dual ball of the output (q = inf, or q = 1 and few rows) has few vertices. For p = q = 2
the first singular vector gives it. All other norms are NP-hard in general; a nonlinear power iteration bounds them from
below.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from advmf.boundary import public, whole
from advmf.errors import ArgumentError, DomainError
from advmf.simulate.budget import MEMORY, allow
from advmf.simulate.geometry import conjugate, maximiser, norm, order
from advmf.simulate.signs import SIGNS, best_signs, check
from advmf.simulate.state import lasting, source, without_gradients

_ENTRIES = 2**20
"""Entries of the largest intermediate tensor."""
_ROUNDS, _SCREEN, _FINALISTS = 100, 5, 4
COOLING = 100
"""Rounds of the cooled iteration for a norm itself; an attack uses none."""
_HEAT = 0.1
"""The noise of the cooled iteration, as a share of the reaction term."""


@dataclass(frozen=True)
class OperatorNorm:
    """``value`` (...,) of ``||J||_{p->q}``, attained at ``vector`` (..., d) of lp norm 1; a lower bound unless
    ``exact``."""

    value: Tensor
    vector: Tensor
    exact: bool


@public
@lasting
def operator_norm(
    J: Float[Tensor, "*batch K d"],
    p: Any,
    q: Any,
    *,
    starts: int = 16,
    cooling: int = 0,
    signs: int = SIGNS,
    generator: torch.Generator | None = None,
) -> OperatorNorm:
    """The operator norm ``||J||_{p->q}`` of every matrix of a batch, with an ``e`` that attains it.

    Where no exact rule applies (see the module), the power iteration ``e <- D_p(J^T D_{q*}(J e))`` (Boyd, 1974) from
    rows, singular vectors and ``starts`` random directions gives a lower bound. At each fixed point the image J e is
    correlated with the t = D_{q*}(J e) that produced it. Because of this reaction a large matrix has many poor fixed
    points. ``cooling`` rounds remove the reaction at first and restore it gradually, as approximate message passing
    does (A. Montanari, FOCS 2019). From ``starts`` random directions they iterate t <- D_{q*}(f - c (<t, f>/<t, t>) t +
    noise) with f = J D_p(J^T t), while c falls from 1 to 0; then the power iteration continues. A hundred rounds find
    at least 99.8 % of the best known value, at 100 x 784 too.

    ``signs``: the signs of up to this many columns (p = inf) or rows (q = 1) are enumerated, at 2^{signs-1} norms a
    matrix. ``generator`` is one of seed 0 if None.

    Matrices of less than 32 bits are searched in float32, and so are the results. The search is without gradients; if
    ``J`` requires them, ``value`` has the gradient of the norm, D_{q*}(J e) e^T.

    Raises ArgumentError if ``J`` is no floating-point tensor of at least two axes, ``starts``, ``cooling`` or ``signs``
    no integer, or ``generator`` none; DomainError for ``starts`` or ``cooling`` below 0, ``signs`` outside [0, 24],
    entries that are not finite or exponents that are no numbers in [1, oo]; MemoryBudgetError where the starts take
    more than 4 GiB. All are raised before any work.

    >>> found = operator_norm(torch.tensor([[3.0, 0.0], [0.0, 4.0]]), "inf", 1)
    >>> found.value, found.vector, found.exact
    (tensor(7.), tensor([1., 1.]), True)
    """
    J = matrices(J)
    starts, cooling = whole("starts", starts, 0), whole("cooling", cooling, 0)
    p, q, generator = order(p, "p"), order(q, "q"), source(generator)
    *batch, K, d = J.shape
    allow(search_bytes(K, d, starts, cooling, J.dtype), MEMORY, f"starts={starts} and cooling={cooling}", "Lower them")
    vector, exact = _search(J.reshape(-1, K, d), p, q, starts, cooling, check(signs), generator)
    vector = vector.reshape(*batch, d)
    return OperatorNorm(norm((J @ vector[..., None])[..., 0], q), vector, exact)


def search_bytes(K: int, d: int, starts: int, cooling: int, dtype: torch.dtype) -> int:
    """Bytes that the search for the norm of one matrix takes besides the matrix."""
    columns = starts + 2 * min(K, d) + 1
    return dtype.itemsize * (K * starts + cooling * min(K, d) * max(1, starts) + 3 * columns * (K + d))


@without_gradients
def _search(
    flat: Tensor, p: float, q: float, starts: int, cooling: int, signs: int, generator: torch.Generator
) -> tuple[Tensor, bool]:
    """The best vectors (n, d) found for matrices (n, K, d), and whether they are proved best."""
    _, K, d = flat.shape
    primal, dual = _vertices(d, p, signs), _vertices(K, conjugate(q), signs)
    exact = enumerable(K, d, p, q, signs)
    random, noise = flat.new_empty(K, 0), flat.new_empty(0, min(K, d), 0)
    if not exact:
        draw = partial(torch.randn, generator=generator, dtype=torch.float32, device=generator.device)
        random = draw((K, starts)).to(flat)
        if cooling:
            noise = draw((cooling, min(K, d), max(1, starts))).to(flat)
    found = []
    for part in flat.split(max(1, _ENTRIES // ((random.shape[1] + 2 * min(K, d) + 1) * max(K, d)))):
        scaled = part / part.abs().amax((-2, -1), keepdim=True).clamp(min=torch.finfo(flat.dtype).tiny)
        if not exact:
            found.append(_power(scaled, p, q, random, noise))
        elif primal <= dual and primal < math.inf:
            found.append(_vertex(scaled, p, q))
        elif dual < math.inf:
            t = _vertex(scaled.mT, conjugate(q), conjugate(p))
            found.append(maximiser((scaled.mT @ t[..., None])[..., 0], p))
        else:
            found.append(_singular(scaled)[..., 0])
    return torch.cat(found), exact


def matrices(J: object) -> Tensor:
    """``J``, in float32 if it has less digits. Raises ArgumentError unless it is a floating-point tensor (..., K, d)
    that is not empty, DomainError unless it is finite."""
    if not isinstance(J, Tensor) or not J.is_floating_point() or J.ndim < 2 or 0 in J.shape:
        given = f"one of shape {tuple(J.shape)} and {J.dtype}" if isinstance(J, Tensor) else repr(J)
        raise ArgumentError(f"J must be a floating-point tensor of shape (..., K, d), none of them 0; got {given}.")
    J = J.to(torch.promote_types(J.dtype, torch.float32)) if J.dtype.itemsize < 4 else J
    if not torch.stack(J.aminmax()).isfinite().all():  # many times as fast as a test of each entry
        raise DomainError("J holds NaN or infinite entries; an operator norm needs finite ones.")
    return J


def enumerable(K: int, d: int, p: float, q: float, signs: int = SIGNS) -> bool:
    """Whether the norm of K x d matrices is found exactly: by few vertices, or by singular values."""
    return min(_vertices(d, p, signs), _vertices(K, conjugate(q), signs)) < math.inf or p == q == 2


def _vertices(n: int, r: float, signs: int) -> float:
    """The number of vertices of the unit ball of ||.||_r in n dimensions, counting one of each opposite pair; inf if
    too many."""
    return n if r == 1 or n == 1 else 2 ** (n - 1) if math.isinf(r) and n <= signs else math.inf


def _vertex(A: Tensor, p: float, q: float) -> Tensor:
    """The vertex (b, n) of the unit ball of ||.||_p, a polytope, at which ||A e||_q is largest, for matrices (b, rows,
    n)."""
    if math.isinf(p):
        return best_signs(A, q)
    at = norm(A, q, -2).argmax(-1, keepdim=True)
    return torch.zeros_like(A[:, 0]).scatter_(-1, at, 1)


def _singular(J: Tensor) -> Tensor:
    """The right singular vectors (..., d, min(K, d)) of J, largest singular value first."""
    if J.shape[-2] >= J.shape[-1]:
        return torch.linalg.eigh(J.mT @ J).eigenvectors.flip(-1)
    return maximiser(J.mT @ torch.linalg.eigh(J @ J.mT).eigenvectors.flip(-1), 2, -2)


def _power(J: Tensor, p: float, q: float, random: Tensor, noise: Tensor) -> Tensor:
    """The best result of power iterations from the largest rows, the singular vectors, the best signs and random
    cotangents."""
    rows = norm(J, conjugate(p), -1).topk(min(J.shape[-2:]), -1).indices
    starts = [J.gather(-2, rows[..., None].expand(-1, -1, J.shape[-1])).mT, _singular(J), J.mT @ random]
    if J.shape[-2] <= SIGNS:
        starts.append(J.mT @ best_signs(J.mT, conjugate(p))[..., None])
    e = maximiser(torch.cat(starts, -1), p, -2)
    if len(noise):
        e = torch.cat([e, _cooled(J, p, q, noise)], -1)
    e = _climb(J, p, q, e, _SCREEN)
    best = norm(J @ e, q, -2).topk(min(_FINALISTS, e.shape[-1]), -1).indices
    e = _climb(J, p, q, e.gather(-1, best[:, None].expand(-1, e.shape[-2], -1)), _ROUNDS)
    at = norm(J @ e, q, -2).argmax(-1)[:, None, None]
    return e.gather(-1, at.expand(-1, e.shape[-2], 1))[..., 0]


def _cooled(J: Tensor, p: float, q: float, noise: Tensor) -> Tensor:
    """The best vectors (b, d, columns) met by the cooled iteration, which runs on the shorter side of J; ``noise`` is
    (rounds, K, columns)."""
    if J.shape[-2] > J.shape[-1]:
        return maximiser(J.mT @ _cooled(J.mT, conjugate(q), conjugate(p), noise), p, -2)
    t = maximiser(noise[0].expand(len(J), -1, -1), conjugate(q), -2)
    best, value = t, torch.zeros_like(t[:, 0])
    for round_, heat in enumerate(noise):
        f = J @ maximiser(J.mT @ t, p, -2)
        new = norm(f, q, -2)
        best, value = torch.where((new > value)[:, None], t, best), torch.maximum(value, new)
        reaction = (1 - round_ / len(noise)) * (t * f).sum(1, keepdim=True) / (t * t).sum(1, keepdim=True)
        t = maximiser(f + reaction * (_HEAT * heat - t), conjugate(q), -2)
    return maximiser(J.mT @ best, p, -2)


def _climb(J: Tensor, p: float, q: float, e: Tensor, rounds: int) -> Tensor:
    """The columns of ``e`` (b, d, columns) after at most ``rounds`` power iterations; each column stops once it gains
    no more."""
    value = torch.zeros_like(e[:, 0])
    for _ in range(rounds):
        image = J @ e
        new = norm(image, q, -2)
        gains = new > value * (1 + 1e-6)
        if not gains.any():
            break
        value = torch.maximum(value, new)
        e = torch.where(gains[:, None], maximiser(J.mT @ maximiser(image, conjugate(q), -2), p, -2), e)
    return e
