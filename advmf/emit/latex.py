"""LaTeX with the paper's symbols, from a claim or from any SymPy expression."""

from __future__ import annotations

from typing import Any

import sympy as sp
from sympy.printing.latex import LatexPrinter

from advmf.claim import RELATIONS, Claim
from advmf.errors import ArgumentError
from advmf.symbols import SYMBOLS
from advmf.theory.flow_functions import Flow
from advmf.theory.functions import Recursion
from advmf.theory.propagation import OMEGA


class _Printer(LatexPrinter):
    """SymPy's printer with the registry's names; a symbol whose LaTeX is a fraction gets brackets under a power."""

    def _print_Symbol(self, expr: sp.Symbol, style: str = "plain") -> str:
        quantity = SYMBOLS.get(expr.name)
        return quantity.latex if quantity else super()._print_Symbol(expr, style=style)

    def _print_Pow(self, expr: sp.Pow) -> str:
        base = expr.base
        if isinstance(base, sp.Symbol) and base.name in SYMBOLS and "frac" in SYMBOLS[base.name].latex:
            if expr.exp == sp.Rational(1, 2):
                return rf"\sqrt{{{self._print(base)}}}"
            return rf"\left({self._print(base)}\right)^{{{self._print(expr.exp)}}}"
        return super()._print_Pow(expr)


_PRINTER = _Printer({"ln_notation": True, "fold_short_frac": False, "mul_symbol": r" \, "})


def latex(obj: Claim | sp.Basic | Any, where: bool = True) -> str:
    """LaTeX of a claim, or of a SymPy expression.

    A claim is set as ``lhs relation formula`` in the paper's abbreviations, followed by what they stand for unless ``where`` is
    False, and by the recursion of a quantity that has no closed form. Raises ArgumentError for anything else.

    >>> import advmf as mf
    >>> print(mf.latex(mf.loss_bound(mf.residual(u=1, v=0), 2, 2, route="leading"), where=False))
    \\mathbb{E}\\left[\\mathcal{L}_{\\mathrm{adv}}^{2,2}\\right] \\le \\beta_{2,2} \\, \\epsilon \\, \\omega^{\\frac{L}{2}}
    """
    if isinstance(obj, Claim):
        return _claim(obj, where)
    try:
        return str(_PRINTER.doprint(sp.sympify(obj)))
    except (sp.SympifyError, TypeError):
        raise ArgumentError(
            f"latex takes a Claim or a SymPy expression; got {obj!r} of type {type(obj).__name__}."
        ) from None


def _claim(claim: Claim, where: bool) -> str:
    names = {sp.Symbol("beta", positive=True): sp.Symbol(rf"\beta_{{{_exponent(claim.p)},{_exponent(claim.q)}}}")}
    formula = claim.formula.xreplace(names)
    right = rf"\mathcal{{N}}\left(0, {latex(formula)}\right)" if claim.relation == "~" else latex(formula)
    parts = [f"{latex(claim.lhs)} {RELATIONS[claim.relation]} {right}"]
    if where:
        used = _used(claim)
        alpha = {meaning.as_numer_denom()[0]: 2 * s for s, meaning in claim.where.items() if s.name == "alpha"}
        for symbol in used:
            meaning = claim.where[symbol].xreplace(alpha if symbol == OMEGA else names)
            parts.append(f"{latex(symbol.xreplace(names))} = {latex(meaning)}")
        for recursion in sorted(claim.formula.atoms(Recursion), key=lambda r: len(r.args[1]), reverse=True)[:1]:
            parts.append(_recursion(recursion))
        shown = [claim.formula, *(claim.where[symbol] for symbol in used)]
        for flow in sorted(set().union(*(expr.atoms(Flow) for expr in shown)), key=sp.default_sort_key)[:1]:
            parts.append(_flow(flow, alpha))
    return r", \quad ".join(parts)


def _used(claim: Claim) -> list[sp.Symbol]:
    """The abbreviations that the formula uses, directly or through another (α in ω)."""
    seen = set(claim.formula.free_symbols)
    while more := {x for s in seen & set(claim.where) for x in claim.where[s].free_symbols} - seen:
        seen |= more
    used = [s for s in claim.where if s in seen]
    alpha = [s for s, meaning in claim.where.items() if s.name == "alpha" and OMEGA in used]
    return used + [s for s in alpha if s not in used]


def _recursion(recursion: Recursion) -> str:
    """The steps of a recursion, with its start."""
    _, variables, updates, start, _ = recursion.args
    steps = [rf"{latex(v)} \leftarrow {latex(update)}" for v, update in zip(variables, updates)]
    begins = [f"{latex(v)} = {latex(value)}" for v, value in zip(variables, start)]
    return r"\text{where } " + r",\; ".join(steps) + r"\text{ from } " + r",\; ".join(begins)


def _flow(flow: Flow, alpha: dict[sp.Expr, sp.Expr]) -> str:
    """The differential equations of a flow, with their start."""
    _, variables, rates, start, _ = flow.args
    steps = [rf"\dot{{{latex(z)}}} = {latex(rate.xreplace(alpha))}" for z, rate in zip(variables, rates)]
    begins = [f"{latex(z)}(0) = {latex(value)}" for z, value in zip(variables, start)]
    return r"\text{where } " + r",\; ".join([*steps, *begins])


def _exponent(value: sp.Expr | None) -> str:
    return "" if value is None else latex(value)
