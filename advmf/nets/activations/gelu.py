"""GELU, z times the normal distribution function, whose kernel follows from that of the distribution function."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import sympy as sp

from advmf.boundary import public
from advmf.nets.activations.activation import ClosedForm, times_inputs
from advmf.symbols import z


@public
@dataclass(frozen=True)
class Gelu(ClosedForm):
    """The activation z F(z), with F the distribution function of N(0, 1) (D. Hendrycks and K. Gimpel,
    arXiv:1606.08415).

    F(a) is the probability that a Gaussian falls below a. So E F(a)F(b) is the probability that two Gaussians of
    correlation P/√((1 + Q)(1 + R)) are both negative. That is 1/4 + asin(P/√((1 + Q)(1 + R)))/(2π) (W. F. Sheppard,
    Phil. Trans. R. Soc. A 192, 1899). The kernel of z F(z) follows by :func:`times_inputs`, and E a F(a) = Q E F'(a) by
    Stein's identity.

    >>> import advmf as mf
    >>> from sympy import Symbol
    >>> mf.Gelu().mean(Symbol("Q", positive=True))
    sqrt(2)*Q/(2*sqrt(pi)*sqrt(Q + 1))
    """

    def phi(self, z: sp.Expr) -> sp.Expr:
        return z * (1 + sp.erf(z / sp.sqrt(2))) / 2

    def mean(self, Q: sp.Expr) -> sp.Expr:
        return Q * _slope().subs(_Q, Q)

    def product(self, Q: sp.Expr, R: sp.Expr, P: sp.Expr) -> sp.Expr:
        return _kernel().xreplace({_Q: Q, _R: R, _P: P})


_Q, _R = sp.symbols("Q R", nonnegative=True, cls=sp.Dummy)
_P = sp.Dummy("P", real=True)
_BOTH = sp.Rational(1, 4) + sp.asin(_P / sp.sqrt((1 + _Q) * (1 + _R))) / (2 * sp.pi)
"""E F(a)F(b)."""


@lru_cache(maxsize=1)
def _slope() -> sp.Expr:
    """E F'(a), as E F'(a)F'(b) is the derivative in P, and b is zero where R is."""
    return _BOTH.diff(_P).subs({_R: 0, _P: 0}) / sp.diff(sp.erf(z / sp.sqrt(2)) / 2, z).subs(z, 0)


@lru_cache(maxsize=1)
def _kernel() -> sp.Expr:
    above, below = sp.factor(times_inputs(_BOTH, _Q, _R, _P) - _P * _BOTH).as_numer_denom()
    # A division by the determinant of the two correlated Gaussians leaves a sum of positive terms, so nothing cancels.
    determinant = sp.expand((1 + _Q) * (1 + _R) - _P**2)
    (quotient,), rest = sp.reduced(above, [determinant], _Q, _R, _P)
    return _P * _BOTH + (quotient * determinant + rest) / below
