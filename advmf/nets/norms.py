"""Normalisation of the stream, over its coordinates."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import ClassVar

from advmf.boundary import public
from advmf.nets.algebra import Algebra, S
from advmf.nets.block import Block


class Norm(Block, ABC):
    """A map x -> x/rms(x), where rms(x)² is the mean of the squared coordinates; a centred norm first subtracts their
    mean."""

    centred: ClassVar[bool]
    """Whether the mean of the coordinates is subtracted first."""

    def apply(self, algebra: Algebra[S], state: S) -> S:
        return algebra.norm(self, state)


@public
@dataclass(frozen=True)
class RMSNorm(Norm):
    """The map ``x -> x/rms(x)`` with ``rms(x)**2 = |x|**2/N``.

    Source: B. Zhang and R. Sennrich, Root Mean Square Layer Normalization, NeurIPS 2019.

    >>> import advmf as mf
    >>> mf.moments(mf.pre_norm(u=1, v=0)).Q
    L*(2*sigma_b**2 + sigma_w**2)/2 + x_sq
    """

    centred: ClassVar[bool] = False


@public
@dataclass(frozen=True)
class LayerNorm(Norm):
    """The map ``x -> (x - m)/rms(x - m)`` with ``m`` the mean of the coordinates of ``x``.

    Source: J. L. Ba, J. R. Kiros and G. E. Hinton, Layer Normalization, arXiv:1607.06450.

    >>> import advmf as mf
    >>> mf.moments(mf.Net(mf.Serial(mf.Dense(), mf.Erf(), mf.LayerNorm()))).Q
    Piecewise((x_sq, Eq(L, 0)), (1, True))
    """

    centred: ClassVar[bool] = True
