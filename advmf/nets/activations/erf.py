"""The error function, a smooth activation whose kernel is an arcsine."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from advmf.boundary import public
from advmf.nets.activations.activation import ClosedForm


@public
@dataclass(frozen=True)
class Erf(ClosedForm):
    """The activation erf(z).

    Source of its kernel: C. K. I. Williams, Computing with Infinite Networks, NeurIPS 1996.

    >>> import advmf as mf
    >>> mf.moments(mf.Net(mf.Serial(mf.Dense(), mf.Erf()))).Q.args[2][0]
    2*asin((2*Q*sigma_w**2 + 2*sigma_b**2)/(2*Q*sigma_w**2 + 2*sigma_b**2 + 1))/pi
    """

    def phi(self, z: sp.Expr) -> sp.Expr:
        return sp.erf(z)

    def mean(self, Q: sp.Expr) -> sp.Expr:
        return sp.S.Zero

    def product(self, Q: sp.Expr, R: sp.Expr, P: sp.Expr) -> sp.Expr:
        return 2 / sp.pi * sp.asin(2 * P / sp.sqrt((1 + 2 * Q) * (1 + 2 * R)))
