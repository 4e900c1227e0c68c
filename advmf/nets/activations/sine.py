"""The sine, whose means follow from the means of exponentials."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from advmf.boundary import public
from advmf.nets.activations.activation import ClosedForm


@public
@dataclass(frozen=True)
class Sine(ClosedForm):
    """The activation sin(z): E sin(a) sin(b) = (E cos(a - b) - E cos(a + b))/2, with E cos(c) = exp(-E c²/2).

    >>> import advmf as mf
    >>> from sympy import Symbol
    >>> mf.Sine().second(Symbol("Q", positive=True))
    1/2 - exp(-2*Q)/2
    """

    def phi(self, z: sp.Expr) -> sp.Expr:
        return sp.sin(z)

    def mean(self, Q: sp.Expr) -> sp.Expr:
        return sp.S.Zero

    def product(self, Q: sp.Expr, R: sp.Expr, P: sp.Expr) -> sp.Expr:
        return (sp.exp(P - (Q + R) / 2) - sp.exp(-P - (Q + R) / 2)) / 2
