"""How notebooks show values as formulas. Values know nothing of LaTeX; the code that sets them registers here."""

from __future__ import annotations

from collections.abc import Callable


class Shown:
    """Base of values that a notebook shows as LaTeX.

    >>> import advmf as mf
    >>> print(mf.omega(mf.vanilla()), mf.vanilla()._repr_latex_()[:29])
    sigma_w**2*(u**2 + v**2)/2 $\\displaystyle x^l = \\phi(W^l
    """

    def _repr_latex_(self) -> str:
        return _setters[-1](self)


_setters: list[Callable[[object], str]] = [repr]


def shown_by(setter: Callable[[object], str]) -> None:
    """Register ``setter``, which gives the LaTeX of every :class:`Shown` value; the package registers its own when it
    is imported."""
    _setters.append(setter)
