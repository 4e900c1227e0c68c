"""The covariance of a net on images of infinite width, as the process needs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import sympy as sp
import torch
from torch import Tensor

from advmf.nets import Net
from advmf.simulate.limit.image_pairs import Every
from advmf.simulate.limit.images import Diagonal
from advmf.simulate.limit.jets import Layout, S
from advmf.simulate.limit.kernel import Kernel, blocks_of, kept, through


@dataclass(frozen=True)
class Covariance:
    """What the process needs of the kernel (Q + R - D)/2 with D = Σ_i metric_i (x_i - x'_i)² + t: Q of the points, its
    excess over that of the anchor, half of its derivatives (nets, points, d) and the ``metric`` (nets, d); and the
    ``blocks`` of the pairs (nets, rows, points, 1 + d, 1 + d), the part of -t/2 in the covariance of values and
    gradients."""

    Q: Tensor
    gap: Tensor
    metric: Tensor
    halves: Tensor
    blocks: Tensor


class ImageKernel:
    """The covariance of a net on images of depth ``L``, between inputs and by their pixels; ``number`` gives the value
    of an expression. ``averages`` says whether positions are averaged, by an AvgPool or by the head "pool".

    Raises DeclarationError for a block or an activation that has no rule.
    """

    def __init__(self, net: Net, L: int, number: Callable[[sp.Expr], float]) -> None:
        assert net.image is not None
        self.image, self.averages, self._pool = net.image, net.averages, net.head == "pool"
        self._blocks = blocks_of(net, L, number)

    @property
    def kept(self) -> int:
        """The numbers that are remembered of a point."""
        return prod(self.image[1:]) * sum(map(kept, self._blocks))

    @property
    def held(self) -> int:
        """The numbers that the pairs of a point take while they are computed, beside those of the process."""
        d, positions, blocks = prod(self.image), prod(self.image[1:]), len(self._blocks)
        return (12 * (blocks + 1) * positions**2 if self.averages else (4 * blocks + 8) * positions) * d + 2 * d**2

    def spread(self, x: Tensor, moves: Tensor) -> Tensor:
        """E (f(x + y) - f(x))² of one input x (d,) and moves y (points, d), of which the first is zero."""
        if not self.averages:
            layout = Layout.around(moves)
            state = self._end(Diagonal.start((x + moves)[None], moves[None], self.image, layout, False), layout)
            return state.between(state.apart()).mean(3)[0, 0]
        here = torch.zeros(2, dtype=torch.int64, device=x.device)
        layout = Layout.of(torch.arange(2, dtype=torch.int64, device=x.device), here)
        pairs = torch.stack((torch.zeros_like(moves), moves), 1)
        return torch.cat([self.between((x + y)[None], y[None], layout, False)[0, 1, 1] for y in pairs])[:, 0]

    def __call__(self, x: Tensor, y: Tensor, layout: Layout) -> Covariance:
        """The covariance of points (nets, points, d), given with their differences y from their anchors (zero for an
        anchor itself), of a net that does not average positions."""
        state = self._end(Diagonal.start(x, y, self.image, layout, True), layout)
        rest, p, found = state.between(state.rest), state.points, state.slopes
        assert found is not None
        found.back(torch.full_like(rest, 1 / rest.shape[3]))
        first = torch.cat((rest.mean(3)[..., None], found.other.mean(3)), 3)[..., None, :]
        blocks = torch.cat((first, torch.cat((found.own.mean(3)[..., None], found.pixels.mixed), 4)), 3)
        return Covariance(
            state.at(p.Q).mean(2), state.at(p.gap).mean(2), state.metric, found.Q.mean(2) / 2, -blocks / 2
        )

    def between(self, x: Tensor, y: Tensor, layout: Layout, slopes: bool = True) -> Tensor:
        """The covariances of values and gradients (nets, rows, points, 1 + d, 1 + d), or of values alone, where a point
        near an anchor stands for the difference of the values."""
        return self._end(Every.start(x, y, self.image, layout, slopes), layout).covariance(self._pool)

    def _end(self, state: S, layout: Layout) -> S:
        """The state of the last layer."""
        for rules in self._blocks:
            state = through(rules, state, layout)
        return state


def kernel_of(net: Net, L: int, number: Callable[[sp.Expr], float]) -> Kernel | ImageKernel:
    """The covariance of a net of depth ``L``, on vectors or on images.

    Raises DeclarationError for a block or an activation that has no rule.
    """
    return (Kernel if net.image is None else ImageKernel)(net, L, number)
