"""Dropout: random coordinates of the stream are set to zero."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from advmf.boundary import public
from advmf.errors import DeclarationError
from advmf.nets.algebra import Algebra, S
from advmf.nets.block import Block, number


@public
@dataclass(frozen=True)
class Dropout(Block):
    """The map ``x -> m x`` with a random mask m: a coordinate is 0 with probability ``rate``, else divided by
    ``1 - rate``.

    The mask is part of the random network, as a matrix is: independent in each copy of the block, and the same for all
    inputs. This is the mode of training. So the map is linear. It keeps the mean of the coordinates and divides all
    second moments by ``1 - rate``. ``rate`` is a number in [0, 1) or an expression.

    After it the coordinates are no longer Gaussian, so a Gaussian layer must stand between it and the next activation.

    Source: N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever, R. Salakhutdinov, JMLR 15, 2014; the mean-field
    theory is that of S. Schoenholz, J. Gilmer, S. Ganguli, J. Sohl-Dickstein, Deep Information Propagation, ICLR 2017,
    except that their masks are drawn anew for each input.

    Raises DeclarationError for a rate outside [0, 1).

    >>> import advmf as mf
    >>> mf.omega(mf.Net(mf.Serial(mf.Dense(), mf.ReLULike(1, 0), mf.Dropout("1/5"))))
    5*sigma_w**2/8
    """

    rate: sp.Expr

    def __post_init__(self) -> None:
        rate = number("Dropout", "rate", self.rate)
        if rate.is_negative or (1 - rate).is_nonpositive:
            raise DeclarationError(f"Dropout: rate is a probability and must be in [0, 1); got {rate}.")
        object.__setattr__(self, "rate", rate)

    @property
    def gain(self) -> sp.Expr:
        """The factor by which second moments grow, 1/(1 - rate)."""
        return 1 / (1 - self.rate)

    def apply(self, algebra: Algebra[S], state: S) -> S:
        return algebra.dropout(self, state)
