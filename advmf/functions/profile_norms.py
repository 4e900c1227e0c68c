"""Norms of Gaussian vectors, and of balls, whose coordinates have sizes of their own, as the pixels of an image have.

The sizes are a *profile* s, and its *code* is a list of numbers and expressions (:mod:`advmf.special.profiles`).
"""

from __future__ import annotations

from typing import Any, ClassVar

import sympy as sp

from advmf import special
from advmf.errors import ArgumentError
from advmf.functions.columns import register
from advmf.functions.numeric_norms import NumericNorm


class OfProfile(NumericNorm):
    """Base of functions of one number, or of ``leading`` numbers, and the code of a profile."""

    leading: ClassVar[int] = 1

    @classmethod
    def eval(cls, *args: sp.Expr) -> None:
        if len(args) < cls.leading + 4:
            what = "a number" if cls.leading == 1 else f"{cls.leading} numbers"
            raise ArgumentError(
                f"{cls.__name__} takes {what} and the code of a profile; got {max(0, len(args) - cls.leading)} of a code."
            )

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        if not all(number.is_number for number in self.args):
            return None
        return sp.Float(float(type(self).numbers(*map(float, self.args))), precision=prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        text = self.tex.format(*map(printer._print, self.args[: self.leading]))
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"


class ProfileNorm(OfProfile):
    """E‖√s ∘ g‖_r for the profile s of an image and a standard Gaussian vector g: s_i/d is the largest variance of an
    entry of J(x) at pixel i.

    ``ProfileNorm(r, *code)``, r in [1, oo]. Its numbers come from :func:`advmf.special.profile_norm`.

    >>> from advmf.functions import ProfileNorm
    >>> ProfileNorm(1, 1, 1, 2, 0).evalf(6)  # two coordinates of size one
    1.59577
    """

    numbers = staticmethod(special.profile_norm)
    tex = r"\mathbb{{E}}\lVert \sqrt{{s}} \circ g_d\rVert_{{{0}}}"


class ProfileRadius(OfProfile):
    """The largest ‖√s ∘ η‖_2 over ‖η‖_p <= 1, for the profile s of an image: s_i/d is the largest variance of an entry
    of J(x) at pixel i.

    ``ProfileRadius(p, *code)``, p in [1, oo]. Its numbers come from :func:`advmf.special.profile_radius`.

    >>> import sympy as sp
    >>> from advmf.functions import ProfileRadius
    >>> ProfileRadius(sp.oo, 1, 1, 9, 0).evalf(6)  # nine coordinates of size one
    3.00000
    """

    numbers = staticmethod(special.profile_radius)
    tex = r"\lVert \mathrm{{diag}}\sqrt{{s}}\rVert_{{{0} \to 2}}"


class ProfileShare(OfProfile):
    """The profile s of an image at position i, counted from 0 in row-major order: the sum over all paths from there to
    the outputs.

    ``ProfileShare(i, *code)``. Its numbers come from :func:`advmf.special.profile_share`.

    >>> from advmf.functions import ProfileShare
    >>> ProfileShare(3, 1, 1, 9, 0).evalf(6)  # nine coordinates of size one
    1.00000
    """

    numbers = staticmethod(special.profile_share)
    tex = r"s_{{{0}}}"


class ProfileExtreme(OfProfile):
    """E‖G diag(√s)‖_{p -> q} for a standard Gaussian G of K rows and the profile s of an image, where p = 1 or q = oo:
    the largest of independent norms.

    ``ProfileExtreme(K, p, q, *code)``. Its numbers come from :func:`advmf.special.profile_extreme`.

    >>> import sympy as sp
    >>> from advmf.functions import ExtremeNorm, ProfileExtreme
    >>> ProfileExtreme(3, sp.oo, sp.oo, 1, 1, 9, 0).evalf(6), ExtremeNorm(3, 9, 1).evalf(6)  # nine equal columns
    (8.73620, 8.73620)
    """

    leading = 3
    numbers = staticmethod(special.profile_extreme)
    tex = r"\mathbb{{E}}\lVert G_{{{0}\times d}}\,\mathrm{{diag}}\sqrt{{s}}\rVert_{{{1} \to {2}}}"


class EstimatedProfileNorm(OfProfile):
    """An estimate of E‖G diag(√s)‖_{p -> q} for a standard Gaussian G of K rows and the profile s of an image, for all
    p, q in [1, oo].

    ``EstimatedProfileNorm(K, p, q, *code)``. Its numbers come from :func:`advmf.special.estimated_profile_norm`, which
    also explains the method.

    >>> from advmf.functions import EstimatedNorm, EstimatedProfileNorm
    >>> EstimatedProfileNorm(3, 2, 1, 1, 1, 9, 0).evalf(6), EstimatedNorm(3, 9, 2, 1).evalf(6)  # nine equal columns
    (6.37152, 6.37152)
    """

    leading = 3
    numbers = staticmethod(special.estimated_profile_norm)
    tex = r"\widehat{{\mathbb{{E}}}}\lVert G_{{{0}\times d}}\,\mathrm{{diag}}\sqrt{{s}}\rVert_{{{1} \to {2}}}"


def _known_by_numbers(head: type[OfProfile]) -> None:
    register(head, numpy=head.numbers, torch="numpy", python=head.numbers, json=True, notation=lambda e: None)


_known_by_numbers(EstimatedProfileNorm)
_known_by_numbers(ProfileExtreme)
_known_by_numbers(ProfileNorm)
_known_by_numbers(ProfileRadius)
_known_by_numbers(ProfileShare)
