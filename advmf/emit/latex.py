"""LaTeX with the paper's symbols, from a claim, a network, a derivation, or any SymPy expression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import is_dataclass
from typing import Any

import sympy as sp

from advmf.boundary import public
from advmf.claim import Claim, Claims, Equation
from advmf.emit.canonical import evaluating
from advmf.emit.typeset.breaking import width
from advmf.emit.typeset.lines import Line, Lines, claim_lines, marked_systems, system_lines, systems_of
from advmf.emit.typeset.nets import net_lines
from advmf.emit.typeset.proofs import Proof, step_line
from advmf.errors import ArgumentError
from advmf.expressions import expression
from advmf.nets import Net
from advmf.symbols import SYMBOLS
from advmf.theory.norms import BETA
from advmf.theory.proof import Derivation, Step
from advmf.theory.propagation import ALPHA, OMEGA

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


SCREEN = 46.0
"""The width of a line in a notebook, in ems."""


def displayed(value: Any) -> str:
    """The text by which a notebook shows a value: its LaTeX, as a displayed formula. What is wider than a notebook is
    broken into aligned lines, and several formulas are below each other."""
    if isinstance(value, Derivation):
        return latex(value)
    if isinstance(value, Claims):
        return _aligned([rows for claim in value for rows in [claim_lines(claim)]])
    if _holds_formulas(value):
        plain, formulas = Lines(), {n: e.rhs if isinstance(e, Claim) else e for n, e in vars(value).items()}
        systems = systems_of(list(formulas.values()))
        rows = [_entry(n, marked_systems(e, systems, plain.printer), plain) for n, e in formulas.items()]
        return _aligned([(plain, [*rows, *system_lines(systems, plain)])])
    text = latex(value)
    if isinstance(value, Claim | Net) and width(text) > SCREEN:
        plain = Lines()
        return _aligned([claim_lines(value) if isinstance(value, Claim) else (plain, net_lines(value, plain))])
    return f"$\\displaystyle {text}$"


def known(expr: sp.Basic) -> bool:
    """Whether an expression is in letters of the theory."""
    letters = {quantity.symbol for quantity in SYMBOLS.values()} | {OMEGA, ALPHA, BETA}
    return bool(expr.free_symbols & letters)


def _holds_formulas(value: Any) -> bool:
    """Whether a value is a record of formulas, such as the moments of a net."""
    if not is_dataclass(value) or isinstance(value, type):
        return False
    if isinstance(value, Claim | Net | Equation | Step) or type(value).__name__ == "Kernel":
        return False
    return all(isinstance(each, sp.Expr | Claim) for each in vars(value).values())


def _entry(name: str, value: sp.Expr, lines: Lines) -> Line:
    short = len(name) <= 2
    left = lines.text(sp.Symbol(name)) if short else rf"\text{{{name.replace('_', ' ')}}}"
    return Line(left, "=", value)


def _aligned(groups: Sequence[tuple[Lines, Sequence[Line]]]) -> str:
    rows = " \\\\[1ex]\n".join(lines.aligned(own, SCREEN) for lines, own in groups)
    return f"$\\displaystyle \\begin{{aligned}}\n{rows}\n\\end{{aligned}}$"
