"""Orthonormal bases of the spans of vectors, which are rows: (nets, count, length)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from advmf.errors import NonFiniteError

_CACHE, _PART = 2**17, 2**12
"""The numbers that a CPU's cache holds, and the part of each vector that is multiplied at a time."""


def sizes(y: Tensor) -> tuple[Tensor | None, Tensor]:
    """A scale to divide ``y`` by where its squares leave the dtype's range, else None, and the lengths (…, 1) of the
    scaled rows.

    Raises NonFiniteError for entries that are not finite.
    """
    size = torch.linalg.vector_norm(y, dim=-1, keepdim=True)
    small, large = (float(end) for end in size.aminmax()) if size.numel() else (1.0, 1.0)
    if small == 0 and not bool(y[(zero := size == 0)[..., 0]].any()):  # rows of zeros have no scale to divide by
        small = float(size.where(~zero, 1).min())
    if 1e-15 < small and large < 1e15:
        return None, size
    top = y.abs().amax(-1, keepdim=True)
    if not bool(torch.isfinite(top).all()):
        raise NonFiniteError("A product was asked for with NaN or infinite entries; vectors must be finite.")
    scale = torch.where(top > 0, top, 1)
    return scale, torch.linalg.vector_norm(y / scale, dim=-1, keepdim=True)


def directions(
    rows: Tensor, size: Tensor, tolerance: float
) -> tuple[Tensor, Tensor, Tensor | None, float, bool] | None:
    """Orthonormal directions that span ``rows`` (nets, count, length) up to ``tolerance`` times their ``size`` (nets,
    count, 1).

    They come from eigenvectors of the Gram matrix of the rows over their sizes. None where all rows are below the
    tolerance. Otherwise the result has five parts. The first is the matrix that maps the rows to the directions, with
    zeros where a network has fewer than another. Then follow the coordinates of the rows on the directions, which
    directions are not zero (None if none is zero), and the smallest share that any direction has of its vectors. The
    last is whether these are all. The Gram matrix cannot tell directions of a share below eps/tolerance from rounding,
    where that exceeds the tolerance. They are left for a next call, after the found directions have been taken out of
    the rows.
    """
    if rows.shape[1] == 1:
        length = torch.linalg.vector_norm(rows, dim=2, keepdim=True)
        share = length / size  # NaN for vectors of zeros
        least = float(share.min())
        if least > tolerance:
            return length.reciprocal(), length, None, least, True
        kept = share > tolerance
        if not bool(kept.any()):
            return None
        least = float(share.where(kept, math.inf).min())
        return torch.where(kept, length, math.inf).reciprocal(), length, kept[..., 0], least, True
    if not rows.shape[1]:
        return None
    kept, settled = None, True
    wide = torch.where(size > 0, size, 1).double()
    values, vectors = torch.linalg.eigh(_gram(rows) / (wide * wide.mT))
    least = float(values.min())
    blur = (torch.finfo(torch.float64).eps / tolerance) ** 2 if tolerance else 0.0
    least_kept = (values[:, -1:] * blur).clamp(min=tolerance**2)
    if bool((values <= least_kept).any()):
        kept, settled = values > least_kept, not bool((least_kept > tolerance**2).any())
        count = int(kept.sum(1).max())
        if count == 0:
            return None
        values, vectors, kept = values[:, -count:], vectors[..., -count:], kept[:, -count:]
        values = torch.where(kept, values, math.inf)
        least = float(values.min())
    length = values.sqrt()[:, None, :]
    turn = (vectors / (length * wide)).mT.to(rows)
    coordinates = (vectors * torch.where(length.isinf(), 0, length) * wide).to(rows)
    return turn, coordinates, kept, least**0.5, settled


def orthonormal(rows: Tensor) -> Tensor:
    """The matrix that makes almost orthonormal rows orthonormal and changes them least; rows of zeros stay zero."""
    if rows.shape[1] == 1:
        return torch.linalg.vector_norm(rows, dim=2, keepdim=True).clamp_(min=0.5).reciprocal_()
    values, vectors = torch.linalg.eigh(_gram(rows))
    turn = vectors * torch.where(values > 0.5, values, math.inf).rsqrt()[:, None, :]
    return torch.bmm(turn, vectors.mT).to(rows)


def onto_rows(vectors: Tensor, rows: Tensor) -> Tensor:
    """``vectors @ rows.mT``; long rows are multiplied in parts that stay in the cache while several vectors use
    them."""
    nets, count, length = vectors.shape
    parts = length // _PART
    if nets > 1 or count == 1 or parts < 8 or vectors.device.type == "cuda":
        return torch.bmm(vectors, rows.mT)
    one, other = (z[0, :, : parts * _PART].unflatten(1, (parts, _PART)).transpose(0, 1) for z in (vectors, rows))
    found = torch.bmm(one, other.mT).sum(0, keepdim=True)
    return found.baddbmm_(vectors[..., parts * _PART :], rows[..., parts * _PART :].mT)


def combine(turn: Tensor, rows: Tensor, out: Tensor) -> None:
    """``out = turn @ rows``."""
    if rows.shape[1] == 1:
        torch.mul(turn, rows, out=out)
    else:
        out.copy_(torch.bmm(turn, rows))


def _gram(rows: Tensor) -> Tensor:
    """``rows @ rows.mT`` in float64, in parts that stay in the cache: some networks at a time, and where one of them
    does not fit some coordinates at a time."""
    nets, count, length = rows.shape
    gram = torch.zeros(nets, count, count, dtype=torch.float64, device=rows.device)
    cache = rows.numel() if rows.device.type == "cuda" else _CACHE
    together = max(1, cache // max(1, count * length))
    for own, out in zip(rows.split(together), gram.split(together)):
        for part in own.split(max(1, cache // max(1, len(own) * count)), 2):
            wide = part.double()
            out.baddbmm_(wide, wide.mT)
    return gram
