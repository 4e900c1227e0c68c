"""Exact maxima of ``||A s||_r`` over all sign vectors ``s``, batched. A convex function on a cube is largest at such a
vertex.

Half of the 2^n sign vectors suffice, since ``s`` and ``-s`` have the same norm. Their images are sums of two tables of
images, one for the low and one for the high coordinates. That takes 2^{n-1} additions of a column instead of as many
products, and rounding errors do not accumulate.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from advmf.boundary import whole
from advmf.errors import DomainError

SIGNS = 12
"""The default: all signs of at most this many coordinates are tried."""
LIMIT = 24
"""The largest number of coordinates whose signs can be enumerated."""
_LOW = 12
_ENTRIES = 2**19
"""The numbers of a table that stays in the cache: images are added, made positive and summed in turn."""


def check(signs: object) -> int:
    """``signs``, a number of coordinates that may be enumerated.

    Raises ArgumentError if it is no integer, DomainError if it is outside [0, LIMIT].

    >>> check(20)
    20
    """
    count = whole("signs", signs, 0)
    if count > LIMIT:
        raise DomainError(
            f"signs must be at most {LIMIT}; got {count}, which costs 2^{count - 1} evaluations of a norm for each "
            "matrix. Use a smaller one and `cooling` for a better lower bound."
        )
    return count


def best_signs(A: Tensor, r: float) -> Tensor:
    """The signs ``s`` (..., n) that maximise ``||A s||_r`` for every matrix of a batch (..., rows, n), the last of them
    +1.

    It takes 2^{n-1} norms of vectors of length ``rows`` (at most n for r = 2); no intermediate tensor has more than
    2^19 entries, unless the table of a single matrix does. Of equal maxima one is returned.

    >>> best_signs(torch.tensor([[1.0, -2.0, 3.0], [1.0, -1.0, 0.0]]), 1.0)
    tensor([ 1., -1.,  1.])
    """
    *batch, rows, n = A.shape
    flat = A.reshape(-1, rows, n)
    if r == 2 and rows > n:
        flat = torch.linalg.qr(flat, mode="r").R
    # In units of the largest row sum all images are <= 1 and the best norm is >= 1, so its power neither over- nor
    # underflows.
    flat = flat / flat.abs().sum(-1).amax(-1)[:, None, None].clamp(min=torch.finfo(A.dtype).tiny)
    low = min(n - 1, _LOW)
    below, above = cube(low, A), cube(n - low, A)[:, : 2 ** (n - low - 1)]
    found = []
    for part in flat.split(max(1, _ENTRIES // (flat.shape[-2] * 2**low))):
        table, bases = part[..., :low] @ below, part[..., low:] @ above
        best, at = torch.full_like(part[:, 0, 0], -1), part.new_zeros(len(part), dtype=torch.long)
        image = torch.empty_like(table)
        for high in range(bases.shape[-1]):
            value, column = power_sum(torch.add(table, bases[..., high, None], out=image), r).max(-1)
            at = torch.where(value > best, column + (high << low), at)
            best = torch.maximum(best, value)
        found.append(torch.cat([below[:, at % 2**low], above[:, at >> low]]).mT)
    return torch.cat(found).reshape(*batch, n)


def cube(n: int, like: Tensor) -> Tensor:
    """All signs of n coordinates as columns (n, 2^n); those of the first half end in +1.

    >>> cube(2, torch.ones(()))
    tensor([[ 1., -1.,  1., -1.],
            [ 1.,  1., -1., -1.]])
    """
    bits = torch.arange(2**n, dtype=torch.int64, device=like.device)
    bits = bits >> torch.arange(n, dtype=torch.int64, device=like.device)[:, None] & 1
    return 1 - 2 * bits.to(like)


def power_sum(z: Tensor, r: float) -> Tensor:
    """The r-th power of the lr norm of the columns of ``z`` (..., rows, columns), which it overwrites; for r = inf the
    norm.

    >>> power_sum(torch.tensor([[3.0, 1.0], [-4.0, 0.0]]), 2.0)
    tensor([25.,  1.])
    """
    z.abs_()
    if math.isinf(r):
        return z.amax(-2)
    return (z if r == 1 else z.pow_(r)).sum(-2)
