"""Averages over neighbouring positions of an image."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from advmf.boundary import public
from advmf.errors import DeclarationError
from advmf.nets.algebra import Algebra, S
from advmf.nets.block import Block
from advmf.nets.windows import Sizes, Windows


@public
@dataclass(frozen=True)
class AvgPool(Block):
    """The average over windows of ``size`` positions along each axis, one window beside the other, in each channel.

    The window must divide the sizes of the image. After an activation the averages are no longer Gaussian, so a
    Gaussian layer must stand between them and the next activation. An average depends on how positions are correlated,
    which :func:`advmf.image_kernel` follows; :func:`advmf.loss_bound` bounds an average by the worst case, that all
    positions of a window are equal.

    Raises DeclarationError for a size that is no whole number above zero.

    >>> import advmf as mf
    >>> block = mf.Serial(mf.Conv(), mf.ReLULike(1, 0), mf.AvgPool(2))
    >>> mf.Net(mf.Stage(block, repeat=2), image=(1, 8, 8)).sizes
    (2, 2)
    """

    size: int = 2

    def __post_init__(self) -> None:
        size = self.size
        if isinstance(size, bool) or not isinstance(size, int | sp.Integer) or size < 1:
            raise DeclarationError(f"AvgPool: size counts positions and must be a whole number >= 1; got {size!r}.")
        object.__setattr__(self, "size", int(size))

    @property
    def parts(self) -> tuple[sp.Expr]:
        return (sp.Integer(self.size),)

    @property
    def windows(self) -> Windows:
        """The positions that are averaged."""
        return Windows(self.size, self.size, 0, True)

    def apply(self, algebra: Algebra[S], state: S) -> S:
        return algebra.average(self, state)

    def sizes(self, before: Sizes) -> Sizes:
        """The sizes of the image after it. Raises DeclarationError for an image that it cannot take."""
        return self.windows.sizes(before, self)
