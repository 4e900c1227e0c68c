"""LaTeX with the paper's symbols, from a claim, a network, a derivation, or any SymPy expression."""

from __future__ import annotations

from typing import Any

import sympy as sp

from advmf.boundary import public
from advmf.claim import Claim, Equation
from advmf.emit.canonical import evaluating
from advmf.emit.typeset.lines import Line, Lines, claim_lines
from advmf.emit.typeset.nets import net_lines
from advmf.emit.typeset.proofs import Proof, step_line
from advmf.errors import ArgumentError
from advmf.expressions import expression
from advmf.nets import Net
from advmf.theory.proof import Derivation, Step

LINE = 41.0
"""The width of a line of a document, in ems."""


@public
@evaluating
def latex(obj: Claim | Equation | Net | sp.Basic | Any, where: bool = True) -> str:
    """LaTeX of a claim, one of its equations, a network, a derivation or one of its steps, a kernel, or a SymPy
    expression.

    A claim is set as ``lhs relation formula`` in the paper's abbreviations. Their meanings follow unless ``where`` is
    False, and then the recursion or flow of a quantity without a closed form. A network is set as its layers with their
    laws, a derivation as an ``align*`` environment. :func:`advmf.document` sets a whole paper. Raises ArgumentError for
    anything else.

    >>> import advmf as mf
    >>> print(mf.latex(mf.loss_bound(mf.residual(u=1, v=0), 2, 2, route="leading"), where=False))
    \\mathbb{E}[\\mathcal{L}_{\\mathrm{adv}}^{2,2}] \\le \\epsilon \\beta_{2,2} \\omega^{L/2}
    """
    if isinstance(obj, Claim):
        lines, rows = claim_lines(obj, where=where)
        return lines.inline(rows)
    plain = Lines()
    if isinstance(obj, Equation):
        return plain.inline([Line(plain.text(obj.lhs), "=", obj.rhs)])
    if isinstance(obj, Net):
        return plain.inline(net_lines(obj, plain, where))
    if isinstance(obj, Step):
        return step_line(obj, plain)
    if isinstance(obj, Derivation):
        return Proof(obj, plain, LINE).display()
    if type(obj).__name__ == "Kernel" and isinstance(getattr(obj, "expr", None), sp.Expr):
        names = ", ".join(plain.text(sp.Symbol(name)) for name in obj.arguments)
        return plain.inline([Line(f"f({names})", "=", obj.expr)])
    try:
        return plain.text(expression(obj, numbers_only=False))
    except (ArgumentError, AttributeError) as error:
        raise ArgumentError(
            "latex takes a Claim, one of its equations, a Net, a Derivation or one of its steps, a Kernel or a SymPy expression; "
            f"got {obj!r:.80} of type {type(obj).__name__} ({error})."
        ) from None


def displayed(value: Any) -> str:
    """The text by which a notebook shows a value: its LaTeX, as a displayed formula."""
    text = latex(value)
    return text if isinstance(value, Derivation) else f"$\\displaystyle {text}$"
