"""What a convolution makes of numbers of pairs of positions: a mean over its taps at both.

A mean over taps is one along each axis of the image after the other, which takes fewer sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

import torch
from torch import Tensor

from advmf.nets import Sizes, Windows


@dataclass(frozen=True)
class Taps:
    """What the taps of a convolution meet at two positions, one axis of the image after the other. For each tap along
    an axis and pair of positions after it (taps, pairs), ``met`` has the pair of positions before it, or their number
    where either is beyond an edge; ``one`` and ``other`` (pairs, positions) are the shares of taps that meet a position
    of the first or the second input alone."""

    met: tuple[tuple[int, Tensor], ...]
    one: Tensor
    other: Tensor

    @staticmethod
    @lru_cache(maxsize=64)
    def of(windows: Windows, sizes: Sizes, device: str) -> Taps:
        """Of an image of these sizes."""
        n = prod(sizes)
        first, second, inside = _pairs_met(torch.tensor(windows.sources(sizes), dtype=torch.int64, device=device), n)
        alone = []
        for own, beyond in ((first, second), (second, first)):
            share = torch.zeros(own.shape[1], n + 1, dtype=torch.float64, device=device)
            share.scatter_add_(1, own.mT, (beyond == n).mT.to(share) / len(own))
            alone.append(share[:, :n].contiguous())
        stages = []
        for axis in range(len(sizes)):
            n, sources = prod(sizes), _along(windows, sizes, axis, device)
            first, second, inside = _pairs_met(sources, n)
            stages.append((n**2, torch.where(inside, first * n + second, n * n)))
            sizes = (*sizes[:axis], *windows.after(sizes[axis : axis + 1]), *sizes[axis + 1 :])
        return Taps(tuple(stages), *alone)

    def over(self, values: Tensor) -> Tensor:
        """The means over the taps of numbers of pairs (..., pairs, columns), with zeros beyond edges."""
        for pairs, met in self.met:
            if bool((met == pairs).any()):
                values = torch.cat((values, torch.zeros_like(values[..., :1, :])), -2)
            total = values.index_select(-2, met[0])
            for tap in met[1:]:
                total += values.index_select(-2, tap)
            values = total.div_(len(met))
        return values

    def back(self, weights: Tensor) -> Tensor:
        """The weights (..., pairs) of numbers before the taps, from those of their means."""
        for pairs, met in reversed(self.met):
            before = weights.new_zeros(*weights.shape[:-1], pairs + 1)
            for tap in met:
                before.index_add_(-1, tap, weights, alpha=1 / len(met))
            weights = before[..., :pairs]
        return weights


def _pairs_met(sources: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """The positions that the taps meet (positions, taps), of n, as those of the first and of the second in all pairs
    (taps, pairs), and whether both are within the image."""
    sources = sources.mT
    first, second = (each.flatten(1) for each in torch.broadcast_tensors(sources[:, :, None], sources[:, None]))
    return first, second, (first < n) & (second < n)


def _along(windows: Windows, sizes: Sizes, axis: int, device: str) -> Tensor:
    """The positions that windows along one axis meet (positions after, taps), or their number beyond an edge."""
    before, after, inner = prod(sizes[:axis]), windows.sources(sizes[axis : axis + 1]), prod(sizes[axis + 1 :])
    met = torch.tensor(after, dtype=torch.int64, device=device)[None, :, None]
    outer, last = (torch.arange(n, dtype=torch.int64, device=device) for n in (before, inner))
    found = (outer[:, None, None, None] * sizes[axis] + met) * inner + last[:, None]
    return torch.where(met == sizes[axis], prod(sizes), found).flatten(0, 2)
