"""Norms of Gaussian matrices, and the largest of several norms, which have numbers but no closed form. The numbers come
from :mod:`advmf.special`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import sympy as sp
from sympy.core.function import Function

from advmf import special
from advmf.functions.columns import register, script
from advmf.functions.conjugate import Conjugate, positive_number
from advmf.functions.gaussian_norm import GaussianNorm


class NumericNorm(Function):
    """Base of the functions without a closed form: ``numbers`` computes them, ``tex`` is LaTeX with ``{}`` for each
    argument."""

    numbers: ClassVar[Callable[..., Any]]
    tex: ClassVar[str]

    def _eval_is_extended_positive(self) -> bool | None:
        return True

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        if not all(map(positive_number, self.args)):
            return None
        return sp.Float(float(type(self).numbers(*map(float, self.args))), precision=prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        text = self.tex.format(*map(printer._print, self.args))
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"


class SpectralNorm(NumericNorm):
    """E s_1**r for the largest singular value of a ``K x d`` standard Gaussian matrix: ``SpectralNorm(K, d, r)``, r >
    0.

    It is symmetric in K and d, and a matrix of one row has chi moments. Its numbers, for whole K and d, come from
    :func:`advmf.special.spectral_norm`.

    >>> from advmf.functions import SpectralNorm
    >>> SpectralNorm(3, 1, 1), SpectralNorm(7, 2, 1)
    (2*sqrt(2)/sqrt(pi), SpectralNorm(2, 7, 1))
    """

    numbers = staticmethod(special.spectral_norm)

    @classmethod
    def eval(cls, K: sp.Expr, d: sp.Expr, r: sp.Expr) -> sp.Expr | None:
        if K == 1 or d == 1:
            n = K * d
            return 2 ** (r / 2) * sp.gamma((n + r) / 2) / sp.gamma(n / 2)
        ordered = sorted((K, d), key=sp.default_sort_key)
        return None if ordered == [K, d] else cls(*ordered, r)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        K, d, r = map(printer._print, self.args)
        power = "" if self.args[2] == 1 else f"^{{{r}}}"
        text = rf"\mathbb{{E}}\lVert G_{{{K} \times {d}}}\rVert_{{2 \to 2}}{power}"
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"


class ExtremeNorm(NumericNorm):
    """E max_{j<=n} ‖g_m^{(j)}‖_r over ``n`` independent standard Gaussian vectors of length ``m``: ``ExtremeNorm(n, m,
    r)``, r in [1, oo].

    Its numbers, for whole m, come from :func:`advmf.special.extreme_norm`.

    >>> import sympy as sp
    >>> from advmf.functions import ExtremeNorm
    >>> ExtremeNorm(1, 7, 3), ExtremeNorm(5, 7, sp.oo), ExtremeNorm(5, 1, 3)
    (GaussianNorm(7, 3), GaussianNorm(35, oo), GaussianNorm(5, oo))
    """

    numbers = staticmethod(special.extreme_norm)
    tex = r"\mathbb{{E}}\max_{{j\le {0}}}\lVert g_{{{1}}}^{{(j)}}\rVert_{{{2}}}"

    @classmethod
    def eval(cls, n: sp.Expr, m: sp.Expr, r: sp.Expr) -> sp.Expr | None:
        if n == 1:
            return GaussianNorm(m, r)
        return GaussianNorm(n * m, sp.oo) if r is sp.oo or m == 1 else None


class ExtremeNormQuantile(NumericNorm):
    """The number that max_{j<=n} ‖g_m^{(j)}‖_r exceeds with probability ``delta``: ``ExtremeNormQuantile(n, m, r,
    delta)``.

    Its numbers come from :func:`advmf.special.extreme_norm_quantile`.

    >>> from advmf.functions import ExtremeNormQuantile
    >>> ExtremeNormQuantile(1, 2, 2, 0.5).evalf(7)  # sqrt(2 ln 2)
    1.177410
    """

    numbers = staticmethod(special.extreme_norm_quantile)
    tex = r"Q_{{1-{3}}}\left(\max_{{j\le {0}}}\lVert g_{{{1}}}^{{(j)}}\rVert_{{{2}}}\right)"


class TiltedNorm(NumericNorm):
    """The bound on E‖G‖_{p -> q} of a ``K x d`` standard Gaussian matrix by exponential moments: ``TiltedNorm(K, d, p,
    q)``.

    For p in {2, oo} and q in {1, 2} it is the least value over m > 0 of :meth:`at`. Its numbers come from
    :func:`advmf.special.tilted_norm`, which also explains the bound.

    >>> from advmf.functions import TiltedNorm
    >>> TiltedNorm(50, 50, 2, 2).evalf(6)
    14.0715
    """

    numbers = staticmethod(special.tilted_norm)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        K, d, p, q = self.args
        a, b = (printer._print(n) if big else "1" for n, big in ((d, p is sp.oo), (K, q == 1)))
        lengths = (rf"\sqrt{{{n}}}\," if n != "1" else "" for n in (b, a))
        norms = (
            rf"\lVert g_{{{printer._print(n)}}}\rVert_{{{printer._print(r)}}}" for n, r in ((d, Conjugate(p)), (K, q))
        )
        moments = (rf"\tfrac{{1}}{{m}}\ln\mathbb{{E}}\,e^{{m\,{length}{norm}}}" for length, norm in zip(lengths, norms))
        square = " ".join(n for n in (a, b) if n != "1")
        text = rf"\min_{{m>0}}\left[{' + '.join(moments)} - \tfrac{{m}}{{2}} {square}\right]"
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"

    def at(self, m: sp.Expr) -> sp.Expr:
        """The bound for one m, in closed form.

        >>> import sympy as sp
        >>> from advmf.functions import TiltedNorm
        >>> norm, m = TiltedNorm(50, 50, sp.oo, 1), sp.Symbol("m", positive=True)
        >>> min(norm.at(m).subs(m, sp.Rational(k, 100)).evalf(6) for k in range(5, 20)) - norm.evalf(6) < 0.1
        True
        """
        K, d, p, q = self.args
        a, b = sp.sqrt(d) if p is sp.oo else sp.S.One, sp.sqrt(K) if q == 1 else sp.S.One
        from_input = _log_moment_of_sum if p is sp.oo else _log_moment_of_chi
        from_output = _log_moment_of_sum if q == 1 else _log_moment_of_chi
        return (from_input(d, m * b) + from_output(K, m * a)) / m - m * a**2 * b**2 / 2


def _log_moment_of_sum(n: sp.Expr, s: sp.Expr) -> sp.Expr:
    """ln E exp(s S) for the sum S of n half-normals."""
    return n * (s**2 / 2 + sp.log(1 + sp.erf(s / sp.sqrt(2))))


def _log_moment_of_chi(n: sp.Expr, s: sp.Expr) -> sp.Expr:
    """ln E exp(s R) for R of the chi law with n degrees of freedom, by confluent hypergeometric series for even and odd
    powers of s."""
    half = sp.Rational(1, 2)
    even = sp.hyper([n * half], [half], s**2 / 2)
    odd = sp.hyper([(n + 1) * half], [3 * half], s**2 / 2)
    return sp.log(even + s * sp.sqrt(2) * sp.gamma((n + 1) * half) / sp.gamma(n * half) * odd)


class EstimatedNorm(NumericNorm):
    """An estimate of E‖G‖_{p -> q} of a ``K x d`` standard Gaussian matrix: ``EstimatedNorm(K, d, p, q)``, p, q in [1,
    oo].

    Its numbers, for whole K and d, come from :func:`advmf.special.estimated_norm`, which also explains the method.

    >>> import sympy as sp
    >>> from advmf.functions import EstimatedNorm
    >>> EstimatedNorm(50, 50, sp.oo, 1).evalf(5)
    528.23
    """

    numbers = staticmethod(special.estimated_norm)
    tex = r"\widehat{{\mathbb{{E}}}}\lVert G_{{{0}\times {1}}}\rVert_{{{2}\to {3}}}"


def _known_by_numbers(head: type[NumericNorm], **more: Any) -> None:
    register(head, numpy=head.numbers, torch="numpy", python=head.numbers, json=True, **more)


_SLOW = "the laws of norms that this takes are tabulated by convolution, in about a second for each size"
_known_by_numbers(EstimatedNorm, notation=lambda e: None, no_javascript=_SLOW)
_known_by_numbers(ExtremeNorm, notation=lambda e: None, no_javascript=_SLOW)
_known_by_numbers(ExtremeNormQuantile, no_javascript=_SLOW)
_known_by_numbers(SpectralNorm, notation=lambda e: None, javascript=script("spectral_norm"))
_known_by_numbers(TiltedNorm, javascript=script("tilted_norm"))
