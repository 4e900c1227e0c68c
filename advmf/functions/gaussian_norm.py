"""Norms of Gaussian vectors."""

from __future__ import annotations

from typing import Any

import sympy as sp
from sympy.core.function import Function

from advmf import special
from advmf.functions.columns import register, script
from advmf.functions.conjugate import Conjugate, positive_number

LARGE = 64
"""For every n that can be a dimension, 2 ln n is below this."""


def _jensen(n: sp.Expr, r: sp.Expr) -> sp.Expr:
    """(n E|g|^r)^(1/r)."""
    return n ** (1 / r) * sp.sqrt(2) * (sp.gamma((r + 1) / 2) / sp.sqrt(sp.pi)) ** (1 / r)


class GaussianNorm(Function):
    """E‖g‖_r for ``n`` independent standard Gaussians: ``GaussianNorm(n, r)``, r in [1, oo].

    ``n*sqrt(2/pi)`` at r = 1, ``sqrt(2)*gamma((n+1)/2)/gamma(n/2)`` at r = 2 (by ``doit``), and for every r > 1

        E‖g‖_r = 1/Gamma(1 - 1/r) * Integral_0^oo 1 - F_r(z)**n dz,   F_r(z) = E erf(z*X**(1/r)/sqrt(2)),  X ~ Exp(1),

    which at r = oo is the mean of the largest of n half-normals. (Write S**a = a/Gamma(1-a) * Integral (1 - exp(-s*S))
    s**(-a-1) ds with a = 1/r, S = sum |g_i|**r; then s = z**-r, and exp(-s*|g|**r) = P(X > s*|g|**r).) ``evalf`` is
    good to double precision.

    >>> from advmf.functions import GaussianNorm
    >>> GaussianNorm(5, 1), GaussianNorm(3, 2).doit()
    (5*sqrt(2)/sqrt(pi), 2*sqrt(2)/sqrt(pi))
    """

    @classmethod
    def eval(cls, n: sp.Expr, r: sp.Expr) -> sp.Expr | None:
        if r == 1 or n == 1:
            return n * sp.sqrt(2 / sp.pi)
        return None

    def doit(self, **hints: Any) -> sp.Expr:
        n, r = (arg.doit(**hints) if hints.get("deep", True) else arg for arg in self.args)
        if r == 2:
            return sp.sqrt(2) * sp.gamma((n + 1) / 2) / sp.gamma(n / 2)
        return self.func(n, r)

    def bound(self) -> sp.Expr:
        """The leading term, which is an upper bound: Jensen for r < oo, sqrt(2 ln 2n) for r = oo.

        A norm falls with r, while Jensen's bound rises again beyond about 2 ln n. Where r is larger than r' = max(2, 2
        ln n), the bound at r' is taken.
        """
        n, r = self.args
        at_infinity = sp.sqrt(2 * sp.log(2 * n))
        if r is sp.oo:
            return at_infinity
        if r.is_number and r <= 2:
            return _jensen(n, r)
        # Where n is so large that LARGE < 2 ln n, r' is used for every larger r.
        last = sp.Min(r, LARGE)
        parts = [
            (_jensen(n, last), sp.Or(r <= 2, 2 * sp.log(n) >= last)),
            (sp.sqrt(n), sp.log(n) <= 1),
            (_jensen(n, 2 * sp.log(n)), True),
        ]
        return sp.Piecewise(*([] if r.is_number else [(at_infinity, sp.Eq(r, sp.oo))]), *parts)

    def jensen(self) -> sp.Expr:
        """Jensen's bound alone, in one piece for a given r < oo; sqrt(2 ln 2n) for r = oo."""
        n, r = self.args
        at_infinity = sp.sqrt(2 * sp.log(2 * n))
        if r.is_number:
            return at_infinity if r is sp.oo else _jensen(n, r)
        return sp.Piecewise((at_infinity, sp.Eq(r, sp.oo)), (_jensen(n, r), True))

    def _eval_is_extended_positive(self) -> bool:
        return True

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        n, r = self.args
        if not (positive_number(n) and positive_number(r)):
            return None
        if r == 2:
            return self.doit()._eval_evalf(prec)
        return sp.Float(float(special.gaussian_norm(float(n), float(r))), precision=prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        n, r = map(printer._print, self.args)
        text = rf"\mathbb{{E}}\lVert g_{{{n}}}\rVert_{{{r}}}"
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"


def _applied(norm: GaussianNorm) -> Any:
    """The norm as a function of n and 1/r; at r = 2, for a symbol that is a dimension, the closed form."""
    n, r = norm.args
    if r == 2 and n.is_integer and n.is_positive:
        return norm.doit(deep=False)
    return GaussianNorm, (n, 1 - 1 / r.args[0] if isinstance(r, Conjugate) else 1 / r)


register(
    GaussianNorm,
    scaled=lambda a, n, inverse: a.value(special.gaussian_norm_of_inverse(a.linear(n), a.linear(inverse), a)),
    applied=_applied,
    differentiated=lambda e: e.doit(deep=False),
    python=special.gaussian_norm,
    javascript=script("gaussian_norm"),
    json=True,
    notation=lambda e: None,
)
