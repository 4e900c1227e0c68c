"""ReLU and its kin: two slopes, one on either side of zero."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from advmf import symbols
from advmf.boundary import public
from advmf.errors import DeclarationError
from advmf.nets.algebra import Algebra, S
from advmf.nets.block import Block, number


@public
@dataclass(frozen=True)
class ReLULike(Block):
    """The activation ``u*z`` for ``z >= 0`` and ``v*z`` for ``z < 0``: ReLU (1, 0), leaky ReLU (1, a), |z| (1, -1), linear (1, 1)."""

    u: sp.Expr = symbols.u
    v: sp.Expr = symbols.v

    def __post_init__(self) -> None:
        for name in ("u", "v"):
            object.__setattr__(self, name, number("ReLULike", name, getattr(self, name)))
        if self.u == 0 and self.v == 0:
            raise DeclarationError("ReLULike(0, 0) maps everything to zero; give at least one non-zero slope.")

    @property
    def linear(self) -> bool:
        """Whether both slopes are the same, so that the activation is linear."""
        return self.u == self.v

    def apply(self, algebra: Algebra[S], state: S) -> S:
        return algebra.pointwise(self, state)
