"""The tables of formulas: notation, and closed forms of the norm factor."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import sympy as sp

from advmf.emit.kernels import kernel
from advmf.emit.typeset.lines import Lines
from advmf.emit.typeset.printer import ABBREVIATIONS
from advmf.emit.typeset.prose import prose
from advmf.functions.columns import COLUMNS, NONE
from advmf.observables import Observable, UnitObservable
from advmf.symbols import SYMBOLS, Quantity, exponent
from advmf.theory.norms import beta, routes

CLASSIC = tuple((p, q) for p in ("1", "2", "inf") for q in ("1", "2", "inf"))
"""The pairs (p, q) of the paper."""


def notation(exprs: Iterable[sp.Basic], lines: Lines) -> str:
    """The table of the letters, observables and functions in ``exprs``, with domains and meanings."""
    names, found = set(), set()
    for expr in exprs:
        for node in sp.preorder_traversal(expr):
            if isinstance(node, sp.Symbol):
                names.add(node.name)
            elif isinstance(node, Observable) or COLUMNS.get(type(node), NONE).notation:
                found.add(_generic(node))
    text = lambda words: prose(words, lines.printer.names)  # noqa: E731
    rows = [
        (f"${lines.printer.names[name]}$", f"${domain(quantity)}$", text(quantity.meaning))
        for name, quantity in SYMBOLS.items()
        if name in names
    ]
    rows += [
        (f"${lines.printer.names[name]}$", r"$(0, \infty)$", text(meaning))
        for name, (_, meaning) in ABBREVIATIONS.items()
        if name in names
    ]
    for node in sorted(found, key=lambda e: (not isinstance(e, Observable), type(e).__name__, sp.default_sort_key(e))):
        form = COLUMNS.get(type(node), NONE).notation
        closed = form(node) if form else None
        meaning = rf"$\displaystyle {lines.text(closed)}$" if closed is not None else text(_meaning(type(node)))
        rows.append((f"${lines.text(node)}$", "", meaning))
    return table("lll", ("symbol", "domain", "meaning"), rows, widths=("", "", r"p{0.6\linewidth}"))


def domain(quantity: Quantity) -> str:
    """The interval of a quantity, or the whole numbers in it."""
    if quantity.integer:
        return rf"\{{{int(quantity.low)}, {int(quantity.low) + 1}, \dots\}}"
    return quantity.domain.replace("oo", r"\infty ").replace(" ]", "]").replace(r"\infty )", r"\infty)")


def _letters(*names: str) -> list[sp.Symbol]:
    return [sp.Symbol(name, positive=True) for name in names]


def _generic(node: sp.Basic) -> sp.Basic:
    """The function applied to the letters in its docstring; an observable of a unit and a direction, applied to the
    first ones."""
    head = type(node)
    if isinstance(node, UnitObservable):
        return head(*[sp.S.Zero] * len(node.args))
    written = re.search(rf"``{head.__name__}\(([a-zA-Z](?:, \w)*)\)", head.__doc__ or "")
    given = (
        written.group(1).split(", ")
        if written
        else ["c"]
        if len(node.args) == 1 and not isinstance(node, Observable)
        else []
    )
    return head(*_letters(*given)) if len(given) == len(node.args) and all(len(name) == 1 for name in given) else node


def _meaning(head: type) -> str:
    """The first sentence of a docstring, without the call; a reference to another class becomes that class's name in
    words."""
    first = " ".join((head.__doc__ or "").strip().partition("\n\n")[0].split())
    first = re.split(r"[:,]? ``[A-Z]\w+\(|\. | \(Write", first)[0].rstrip(".:,")
    return re.sub(r":class:`(\w+)`", lambda m: "the " + re.sub(r"(?<!^)(?=[A-Z])", " ", m[1]).lower(), first)


def norm_factors(dimensions: tuple[int, int], lines: Lines) -> str:
    """The closed forms of the norm factor for the classic pairs, and their numbers at (d, K) by Chevet, leading order
    and the best route."""
    forms, numbers = [], []
    at = {"d": dimensions[0], "K": dimensions[1]}
    for p, q in CLASSIC:
        pair = f"${lines.text(exponent(p))}$ & ${lines.text(exponent(q))}$"
        cells = [lines.text(beta(p, q, route)) for route in ("chevet", "leading")]
        forms.append((pair, *(rf"$\displaystyle {cell}$" for cell in cells)))
        best = next(route for route in routes(p, q) if route.upper)
        values = [_number(beta(p, q, name), at) for name in ("leading", "chevet", best.name, "lower")]
        numbers.append((pair, *values[:3], best.name, values[3]))
    closed = table("ccll", ("$p$ & $q$", "Chevet", "leading order"), forms, skip=r"\addlinespace[4pt] ")
    size = f"$d = {dimensions[0]}$, $K = {dimensions[1]}$"
    found = table(
        "cccccll", ("$p$ & $q$", "leading order", "Chevet", "best upper route", "its name", "lower bound"), numbers
    )
    return f"Upper bounds on $\\beta_{{p,q}}$ for every $d$ and $K$:\n{closed}\nThe numbers at {size}:\n{found}"


def _number(expr: sp.Expr, at: Mapping[str, int]) -> str:
    return f"{float(kernel(expr)(**at)):.4g}"


def table(
    columns: str, head: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[str] = (), skip: str = ""
) -> str:
    """A table that breaks between pages if it is long; ``skip`` stands before every row but the first."""
    spec = (
        columns
        if not widths
        else "".join(rf">{{\raggedright\arraybackslash}}{w}" if w else c for c, w in zip(columns, widths))
    )
    body = f" \\\\\n{skip}".join(" & ".join(row) for row in rows)
    top, title = f"@{{}}{spec}@{{}}", " & ".join(head)
    if len(rows) > 12:
        head_foot = f"\\toprule\n{title} \\\\\n\\midrule\n\\endhead\n\\bottomrule\n\\endfoot"
        table = f"\\begin{{longtable}}{{{top}}}\n{head_foot}\n{body} \\\\\n\\end{{longtable}}"
    else:
        inner = f"\\toprule\n{title} \\\\\n\\midrule\n{body} \\\\\n\\bottomrule"
        table = f"\\begin{{center}}\n\\begin{{tabular}}{{{top}}}\n{inner}\n\\end{{tabular}}\n\\end{{center}}"
    broad = (
        sum(max(len(re.sub(r"\\\w+|[{}$]", "", cell)) for cell in column) for column in zip(*rows)) > 95 and not widths
    )
    size, gap = (r"\scriptsize", "1.5pt") if broad else (r"\footnotesize", "3.5pt")
    return rf"{{{size}\setlength{{\tabcolsep}}{{{gap}}}\renewcommand{{\arraystretch}}{{1.15}}" + f"\n{table}}}"
