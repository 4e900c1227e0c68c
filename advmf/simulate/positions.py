"""Images in column blocks: every position of an image is one more base point of the same stream.

Inside a network on images a column block is (nets, channels, inputs times positions, columns). So a layer that acts at
each position is a layer like any other, and a convolution is one that meets *patches*: the channels of all positions
that its taps meet, one below the other. What changes the positions is linear, and stands here.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from advmf.nets import AvgPool, Sizes, Windows
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

    ``windows`` says which these are, in an image of the sizes ``before``. The image is continued beyond its edges, and
    each tap then meets a regular grid of it. So all that is moved are views, which are faster than lists of positions.
    """

    windows: Windows
    before: Sizes

    @property
    def after(self) -> Sizes:
        """The sizes of the image after it."""
        return self.windows.after(self.before)

    @property
    def _beyond(self) -> list[tuple[int, int]]:
        """For each axis, the positions that are met below the first and above the last."""
        taps, stride, first = self.windows.taps, self.windows.stride, self.windows.first
        return [(-first, max(0, (n - 1) * stride + first + taps - size)) for size, n in zip(self.before, self.after)]

    def push(self, x: Stream, tape: AnyTape) -> Stream:
        axes = len(self.before)
        x = x.unflatten(2, (-1, *self.before))
        for axis, (low, high) in enumerate(self._beyond, 3):
            size = x.shape[axis]
            ends = x.narrow(axis, size - low, low), x.narrow(axis, 0, high)
            low_end, high_end = ends if self.windows.circular else map(torch.zeros_like, ends)
            x = torch.cat((low_end, x, high_end), axis)
        for axis in range(3, 3 + axes):
            x = x.unfold(axis, self.windows.taps, self.windows.stride)
        taps = range(4 + axes, 4 + 2 * axes)
        met = x.permute(0, 1, *taps, 2, *range(3, 4 + axes))
        return met.flatten(1, 1 + axes).flatten(2, 2 + axes)

    def pull(self, c: Stream, tape: Tape) -> Stream:
        axes, taps, stride = len(self.before), self.windows.taps, self.windows.stride
        met = c.unflatten(2, (-1, *self.after)).unflatten(1, (-1, *axes * (taps,)))
        whole = [low + size + high for size, (low, high) in zip(self.before, self._beyond)]
        inputs, columns = met.shape[2 + axes], met.shape[-1]
        out = torch.zeros(*met.shape[:2], inputs, *whole, columns, dtype=c.dtype, device=c.device)
        for tap in product(range(taps), repeat=axes):
            grid = [slice(t, t + (n - 1) * stride + 1, stride) for t, n in zip(tap, self.after)]
            out[:, :, :, *grid] += met[:, :, *tap]
        for axis, ((low, high), size) in enumerate(zip(self._beyond, self.before), 3):
            own = out.narrow(axis, low, size)
            if self.windows.circular:
                own.narrow(axis, size - low, low).add_(out.narrow(axis, 0, low))
                own.narrow(axis, 0, high).add_(out.narrow(axis, low + size, high))
            out = own
        return out.flatten(2, 2 + axes)


def _places(windows: Windows, sizes: Sizes, device: torch.device) -> Tensor:
    """The positions that windows meet, (positions in a window, windows)."""
    return torch.tensor(windows.sources(sizes), dtype=torch.int64, device=device).mT.contiguous()
