"""Means over the proximal map of an operator norm of a Gaussian matrix. The numbers come from
:mod:`advmf.special.proximal`, which also explains the map."""

from __future__ import annotations

from typing import Any

import sympy as sp

from advmf import special
from advmf.functions.columns import register
from advmf.functions.numeric_norms import NumericNorm


class NuclearNorm(NumericNorm):
    """E‖G‖_* of a ``K x d`` standard Gaussian matrix, the mean sum of its singular values: ``NuclearNorm(K, d)``.

    Its numbers come from :func:`advmf.special.nuclear_norm`.

    >>> from advmf.functions import NuclearNorm
    >>> NuclearNorm(3, 8).evalf(3)
    7.94
    """

    numbers = staticmethod(special.nuclear_norm)
    tex = r"\mathbb{{E}}\lVert G_{{{0}\times {1}}}\rVert_*"


class OfProximalMap(NumericNorm):
    """The base of means that vanish where the proximal map does."""

    def _eval_is_extended_positive(self) -> bool | None:
        return None

    def _eval_is_extended_nonnegative(self) -> bool:
        return True

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        if not all(arg.is_number and arg.is_extended_nonnegative for arg in self.args):
            return None
        return sp.Float(float(type(self).numbers(*map(float, self.args))), precision=prec)


class ProxNorm(OfProximalMap):
    """E‖G_τ‖_{p -> q} of the proximal map G_τ = argmin ½‖J - G‖_F² + τ‖J‖_{p -> q} of a ``K x d`` standard Gaussian
    matrix: ``ProxNorm(tau, K, d, p, q)``.

    Its numbers come from :func:`advmf.special.prox_norm`.

    >>> from advmf.functions import ProxNorm
    >>> ProxNorm(0, 5, 20, 2, 2).evalf(3), ProxNorm(10, 5, 20, 2, 2).evalf(3)
    (5.99, 2.31)
    """

    numbers = staticmethod(special.prox_norm)
    tex = r"\mathbb{{E}}\lVert \mathrm{{prox}}_{{{0}}}\,G_{{{1}\times {2}}}\rVert_{{{3}\to {4}}}"


class ProxSquare(OfProximalMap):
    """E‖G_τ‖_F² of the proximal map of ``‖·‖_{p -> q}`` of a ``K x d`` standard Gaussian matrix: ``ProxSquare(tau, K,
    d, p, q)``.

    It is K d at τ = 0, and falls at the rate 2 ‖G_τ‖_{p -> q}. Its numbers come from
    :func:`advmf.special.prox_square`.

    >>> from advmf.functions import ProxSquare
    >>> ProxSquare(0, 5, 20, 2, 2), ProxSquare(10, 5, 20, 2, 2).evalf(3)
    (100, 27.0)
    """

    numbers = staticmethod(special.prox_square)
    tex = r"\mathbb{{E}}\lVert \mathrm{{prox}}_{{{0}}}^{{{3}\to {4}}}\,G_{{{1}\times {2}}}\rVert_F^2"

    @classmethod
    def eval(cls, tau: sp.Expr, K: sp.Expr, d: sp.Expr, p: sp.Expr, q: sp.Expr) -> sp.Expr | None:
        return K * d if tau == 0 else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        if argindex != 1:
            raise sp.core.function.ArgumentIndexError(self, argindex)
        return -2 * ProxNorm(*self.args)


def _known_by_numbers(head: type[NumericNorm], **more: Any) -> None:
    register(head, numpy=head.numbers, torch="numpy", python=head.numbers, json=True, **more)


_known_by_numbers(NuclearNorm, notation=lambda e: None)
_known_by_numbers(ProxNorm, notation=lambda e: None)
_known_by_numbers(ProxSquare, notation=lambda e: None)
