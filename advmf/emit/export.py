"""A claim in other forms: plain text, SymPy's srepr, functions in Python and JavaScript, JSON, LaTeX."""

from __future__ import annotations

from collections.abc import Callable

import sympy as sp

from advmf.boundary import public
from advmf.claim import Claim
from advmf.emit.formats.javascript import javascript_source
from advmf.emit.formats.json_form import to_json
from advmf.emit.formats.python_source import python_source
from advmf.emit.latex import latex
from advmf.errors import ArgumentError

FORMATS = ("text", "latex", "sympy", "srepr", "python", "javascript", "json")
"""The formats that :func:`export` writes."""


@public
def export(claim: Claim, form: str) -> str:
    """A claim as text of another form.

    ``text``: statement, abbreviations, regime, assumptions and source, for people. ``latex``: as :func:`advmf.latex`.
    ``sympy`` and ``srepr``: the right-hand side, as SymPy prints it and as SymPy's ``srepr``, which keeps the
    assumptions of symbols. ``python``: a function that needs no advmf
    (:func:`advmf.emit.formats.python_source.python_source`). ``javascript``: a module that needs nothing else
    (:func:`advmf.emit.formats.javascript.javascript_source`). ``json``: the whole claim, which :func:`advmf.from_json`
    reads back.

    Raises ArgumentError for a value that is no claim and for an unknown format, UnsupportedFunctionError where a claim
    has no such form.

    >>> import advmf as mf
    >>> claim = mf.loss_bound(mf.vanilla(u=1, v=0), 2, 2, route="leading")
    >>> mf.export(claim, "sympy")
    'eps*(sigma_w**2/2)**(L/2)*(sqrt(K)/sqrt(d) + 1)'
    >>> print(mf.export(claim, "text").splitlines()[0])
    T2: Expectation(AdversarialLoss(2, 2)) <= beta*eps*omega**(L/2)
    """
    if not isinstance(claim, Claim):
        raise ArgumentError(f"export takes a Claim; got {claim!r} of type {type(claim).__name__}.")
    writers: dict[str, Callable[[Claim], str]] = {
        "text": text, "latex": latex, "sympy": lambda c: str(c.rhs), "srepr": lambda c: sp.srepr(c.rhs), "python": python_source,
        "javascript": javascript_source, "json": to_json,
    }  # fmt: skip
    if form not in writers:
        raise ArgumentError(f"export writes {', '.join(FORMATS)}; got {form!r}.")
    return str(writers[form](claim))


def text(claim: Claim) -> str:
    """The claim in plain text: a line for the statement, then a line for each abbreviation, the regime, the assumptions
    and the source."""
    rows = [str(claim)]
    if claim.where:
        rows.append("  where       " + "; ".join(f"{k} = {v}" for k, v in claim.where.items()))
    rows.append(f"  regime      {str(claim.regime).removeprefix('Regime.')}")
    if claim.heuristic:
        rows.append(f"  heuristic   {claim.heuristic}")
    rows += [f"  assumes     {assumption}" for assumption in claim.assumptions]
    rows += [f"  implies     {equation.label} = {equation.rhs}" for equation in claim.implied]
    return "\n".join([*rows, f"  source      {claim.source}"])
