"""How notebooks show values. Values know nothing of LaTeX, pages and figures; what makes them registers here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


class Shown:
    """Base of values that a notebook shows as LaTeX.

    >>> import advmf as mf
    >>> print(mf.omega(mf.vanilla()), mf.loss_bound(mf.vanilla(), 2, 2)._repr_latex_()[:14])
    sigma_w**2*(u**2 + v**2)/2 $\\displaystyle
    """

    def _repr_latex_(self) -> str:
        return str(presented("latex", self))


_PRESENTERS: dict[str, Callable[..., Any]] = {"latex": repr}


def presented(form: str, *values: Any) -> Any:
    """Values in a form: their "latex", a "table" for a notebook, a "page", or a "plot"."""
    return _PRESENTERS[form](*values)


def presented_by(form: str, presenter: Callable[..., Any]) -> None:
    """Register what gives a form of values; the package registers its own when it is imported."""
    _PRESENTERS[form] = presenter


def formulas_in_notebooks() -> None:
    """Within IPython, show SymPy expressions in the letters of the theory with its own LaTeX: ``eps`` as ε. All others
    are shown as before."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None
    if shell is not None and (formatter := getattr(shell, "display_formatter", None)):
        formatter.formatters["text/latex"].for_type_by_name("sympy.core.basic", "Basic", _formula)


def _formula(expr: Any) -> str | None:
    """The LaTeX of an expression in the letters of the theory; else what SymPy itself gives."""
    try:
        return str(presented("latex", expr)) if presented("known", expr) else expr._repr_latex_()
    except Exception:  # a display must not fail where SymPy's own does not
        return None
