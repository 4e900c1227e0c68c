"""The covariance of a net on images of infinite width, as the process needs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import sympy as sp
import torch
from torch import Tensor

from advmf.errors import DeclarationError
from advmf.nets import AvgPool, Net
from advmf.simulate.limit.image_pairs import Every
from advmf.simulate.limit.images import Diagonal
from advmf.simulate.limit.jets import Layout
from advmf.simulate.limit.kernel import Kernel, blocks_of, kept, through


@dataclass(frozen=True)
class Covariance:
    """What the process needs of the kernel (Q + R - D)/2 with D = Σ_i metric_i (x_i - x'_i)² + t: Q of the points, its
    excess over that of the anchor, half of its derivatives (nets, points, d) and the ``metric`` (nets, d); and of the
    pairs D itself, t, its derivatives by either input, and its mixed second ones."""

    Q: Tensor
    gap: Tensor
    distance: Tensor
    rest: Tensor
    metric: Tensor
    halves: Tensor
    own: Tensor
    other: Tensor
    mixed: Tensor


class ImageKernel:
    """The covariance of a net on images of depth ``L``, between inputs and by their pixels; ``number`` gives the value
    of an expression. ``averages`` says whether the head is "pool".

    Raises DeclarationError for a block or an activation that has no rule, and for an AvgPool.
    """

    def __init__(self, net: Net, L: int, number: Callable[[sp.Expr], float]) -> None:
        assert net.image is not None
        if any(isinstance(leaf, AvgPool) for leaf in net.leaves):
            raise DeclarationError(
                f"{net.name} averages positions within the network, by an AvgPool, and the covariance at N = inf is not known behind it. "
                "Take a net without one (the head 'pool' is known), or networks of a finite N."
            )
        self.image, self.averages = net.image, net.head == "pool"
        self._blocks = blocks_of(net, L, number)

    @property
    def kept(self) -> int:
        """The numbers that are remembered of a point."""
        return prod(self.image[1:]) * sum(map(kept, self._blocks))

    @property
    def held(self) -> int:
        """The numbers that the pairs of a point take while they are computed, beside those of the process."""
        d, positions = prod(self.image), prod(self.image[1:]) ** (2 if self.averages else 1)
        return (4 * len(self._blocks) + 8) * positions * d + 2 * d**2

    def spread(self, x: Tensor, moves: Tensor) -> Tensor:
        """E (f(x + y) - f(x))² of one input x (d,) and moves y (points, d), of which the first is zero. Raises
        DeclarationError for the head "pool"."""
        if self.averages:
            raise DeclarationError(
                "spread keeps the digits of differences, and with the head 'pool' they are lost. Take differences of advmf.image_kernel, "
                "or the head 'flatten'."
            )
        return self((x + moves)[None], moves[None], Layout.around(moves), slopes=False).distance[0, 0]

    def __call__(self, x: Tensor, y: Tensor, layout: Layout, slopes: bool = True) -> Covariance:
        """The covariance of points (nets, points, d), given with their differences y from their anchors (zero for an
        anchor itself). Without ``slopes`` the derivatives are left empty."""
        start = Every.start if self.averages else Diagonal.start
        state = start(x, y, self.image, layout, slopes)
        for rules in self._blocks:
            state = through(rules, state, layout)
        rest, p, metric = state.between(state.rest), state.points, state.metric.expand(-1, x.shape[2])
        moments = state.at(p.Q).mean(2), state.at(p.gap).mean(2), state.between(state.apart()).mean(3), rest.mean(3)
        found = state.slopes
        if found is None:
            none = rest.new_empty(0)
            return Covariance(*moments, metric, none, none, none, none)
        found.back(torch.full_like(rest, 1 / rest.shape[3]))
        by_pixels = found.Q.mean(2) / 2, found.own.mean(3), found.other.mean(3), found.pixels.mixed
        return Covariance(*moments, metric, *by_pixels)


def kernel_of(net: Net, L: int, number: Callable[[sp.Expr], float]) -> Kernel | ImageKernel:
    """The covariance of a net of depth ``L``, on vectors or on images.

    Raises DeclarationError for a block or an activation that has no rule, and for an AvgPool.
    """
    return (Kernel if net.image is None else ImageKernel)(net, L, number)
