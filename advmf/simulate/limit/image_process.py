"""The Gaussian processes of networks on images of infinite width, with their gradients by all pixels.

Pixels at different positions are not alike, so gradients have no direction in which they are independent of the rest.
All d pixels of a gradient are conditioned jointly. An attack that takes m gradients needs a Cholesky factor of m (1 +
d) numbers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from advmf.simulate.limit.image_kernel import ImageKernel
from advmf.simulate.limit.jets import Layout
from advmf.simulate.limit.kernel import Kernel
from advmf.simulate.limit.process import Process
from advmf.simulate.limit.span import Whole

AVERAGED = 1.0
"""The smallest unit of a number's variance where positions are averaged, as a share of the linear function's. What is
below 3e-4 of the linear function's deviation counts as known: increments have eleven digits there, and not all."""


class ImageProcess(Process):
    """A :class:`~advmf.simulate.limit.process.Process` of networks on images."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._span = Whole(torch.eye(self._d, dtype=self.x.dtype, device=self.x.device).expand(self._nets, -1, -1))
        self._blocks: dict[tuple[int, int], Tensor] = {}

    def _graded(self, new: list[int], draws: Tensor) -> None:
        entries = [(i, k) for i in new for k in range(self._d)]
        found = self._drawn(new, entries, draws.transpose(2, 3).flatten(1, 2)).unflatten(1, (len(new), self._d))
        for at, i in enumerate(new):
            self._changes[i] = found[:, at].mT

    def _measure(self, new: list[int]) -> None:
        layout = Layout.of(self._indices(new), self._indices(self.anchor), self._remembered)
        blocks = self._found(layout)
        self._require_finite(blocks)
        for at, i in enumerate(new):
            for j in range(i + 1):
                self._blocks[i, j] = blocks[:, at, j]
        self._coordinates, self._remembered = (self.x, self.y), layout.memory
        squares = self._metric + self._blocks[0, 0].diagonal(dim1=1, dim2=2)[:, 1:]
        self._units = squares.clamp(min=1e-16 * float(squares.max())).sqrt()

    def _found(self, layout: Layout) -> Tensor:
        """The blocks of the layout's pairs."""
        assert isinstance(self._kernel, ImageKernel)
        found = self._kernel(self.x, self.y, layout)
        self._Q, self._gap, self._halves, self._metric = found.Q, found.gap, found.halves, found.metric
        return found.blocks

    def _rows(self, points: list[int]) -> Tensor:
        """The blocks of values and gradients between points and all, (nets, points, points, 1 + d, 1 + d)."""
        rows = [
            torch.stack([self._blocks[i, j] if j <= i else self._blocks[j, i].mT for j in range(len(self.anchor))], 1)
            for i in points
        ]
        return torch.stack(rows, 1)

    def _values_with(self, points: list[int], y: Tensor | None) -> Tensor:
        rows = self._rows(points)
        values = rows[..., :1, :]
        if y is not None:
            values = self._whole * values + y[:, :, None, None] @ rows[..., 1:, :]
        return values.transpose(2, 3).contiguous()

    def _gradients_with(self, points: list[int]) -> Tensor:
        return self._rows(points)[..., 1:, :].transpose(2, 3).contiguous()


class AveragedProcess(ImageProcess):
    """The process of networks that average positions. Its blocks are the whole covariances, in which points near an
    anchor stand for differences from it."""

    _least = AVERAGED
    _whole = 0.0

    def _found(self, layout: Layout) -> Tensor:
        assert isinstance(self._kernel, ImageKernel)
        blocks = self._kernel.between(self.x, self.y, layout)
        own = torch.arange(len(layout.rows), dtype=torch.int64, device=blocks.device)
        Q = blocks[:, own, layout.rows, 0, 0]
        self._Q = Q if not len(self._blocks) else torch.cat((self._Q, Q), 1)
        self._metric = torch.zeros_like(self.x[:, 0])
        return blocks

    def _with_linear(self, rows: Tensor, points: list[int], value: bool) -> Tensor:
        return rows


def process_of(kernel: Kernel | ImageKernel, *given: Any) -> Process:
    """The process of a kernel."""
    if not isinstance(kernel, ImageKernel):
        return Process(kernel, *given)
    return (AveragedProcess if kernel.averages else ImageProcess)(kernel, *given)
