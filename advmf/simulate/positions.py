"""Images in column blocks: every position of an image is one more base point of the same stream.

Inside a network on images a column block is (nets, channels, inputs times positions, columns). So a layer that acts at
each position is a layer like any other, and a convolution is one that meets *patches*: the channels of all positions
that its taps meet, one below the other. What changes the positions is linear, and stands here.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from advmf.nets import AvgPool, Conv, Sizes, Windows
from advmf.simulate.tapes import AnyTape, Stream, Tape


@dataclass(frozen=True)
class Spread:
    """Vectors of channels times positions as positions with channels."""

    positions: int

    def push(self, x: Stream, tape: AnyTape) -> Stream:
        return x.unflatten(1, (-1, self.positions)).transpose(2, 3).flatten(2, 3)

    def pull(self, c: Stream, tape: Tape) -> Stream:
        return c.unflatten(2, (-1, self.positions)).transpose(2, 3).flatten(1, 2)


@dataclass(frozen=True)
class Flatten:
    """All channels at all positions as one vector."""

    positions: int

    def push(self, x: Stream, tape: AnyTape) -> Stream:
        return x.unflatten(2, (-1, self.positions)).transpose(2, 3).flatten(1, 2)

    def pull(self, c: Stream, tape: Tape) -> Stream:
        return c.unflatten(1, (-1, self.positions)).transpose(2, 3).flatten(2, 3)


@dataclass(frozen=True)
class Average:
    """The averages over windows that share no position. ``sources`` (positions in a window, windows) are the positions
    before."""

    sources: Tensor

    @classmethod
    def of(cls, pool: AvgPool, sizes: Sizes, device: torch.device) -> Average:
        """The averages that a block takes of an image of these sizes."""
        return cls(_places(pool.windows, sizes, device))

    @classmethod
    def whole(cls, positions: int, device: torch.device) -> Average:
        """The average over all positions."""
        return cls(torch.arange(positions, dtype=torch.int64, device=device)[:, None])

    def push(self, x: Stream, tape: AnyTape) -> Stream:
        x = x.unflatten(2, (-1, self.sources.numel()))
        met = x.index_select(3, self.sources.flatten()).unflatten(3, tuple(self.sources.shape))
        return met.mean(3).flatten(2, 3)

    def pull(self, c: Stream, tape: Tape) -> Stream:
        count, windows = self.sources.shape
        every = (c / count).unflatten(2, (-1, 1, windows)).expand(-1, -1, -1, count, -1, -1).flatten(3, 4)
        return every.index_select(3, self.sources.flatten().argsort()).flatten(2, 3)


@dataclass(frozen=True)
class Patches:
    """The channels at the positions that the taps of a convolution meet, for each position after it.

    ``sources`` (taps, positions after) are the positions before. Where ``padded``, the number of positions before
    stands for a position of zeros.
    """

    sources: Tensor
    before: int
    padded: bool

    @classmethod
    def of(cls, layer: Conv, sizes: Sizes, device: torch.device) -> Patches:
        """The patches of a convolution of an image of these sizes."""
        places = _places(layer.windows, sizes, device)
        return cls(places, prod(sizes), bool((places == prod(sizes)).any()))

    def push(self, x: Stream, tape: AnyTape) -> Stream:
        x = x.unflatten(2, (-1, self.before))
        if self.padded:
            x = torch.cat((x, torch.zeros_like(x[:, :, :, :1])), 3)
        met = x.index_select(3, self.sources.flatten()).unflatten(3, tuple(self.sources.shape))
        return met.transpose(2, 3).flatten(1, 2).flatten(2, 3)

    def pull(self, c: Stream, tape: Tape) -> Stream:
        taps, after = self.sources.shape
        met = c.unflatten(2, (-1, after)).unflatten(1, (-1, taps))
        shape = (*met.shape[:2], met.shape[3], self.before + self.padded, met.shape[5])
        out = torch.zeros(shape, dtype=c.dtype, device=c.device)
        for tap in range(taps):
            out.index_add_(3, self.sources[tap], met[:, :, tap])
        return out[:, :, :, : self.before].flatten(2, 3)


def _places(windows: Windows, sizes: Sizes, device: torch.device) -> Tensor:
    """The positions that windows meet, (positions in a window, windows)."""
    return torch.tensor(windows.sources(sizes), dtype=torch.int64, device=device).mT.contiguous()
