"""The tables of a document: notation, closed forms of the norm factor, verdicts of a check run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sympy as sp

from advmf.emit.kernels import kernel
from advmf.emit.typeset.inert import literal
from advmf.emit.typeset.lines import Lines
from advmf.emit.typeset.printer import ABBREVIATIONS
from advmf.emit.typeset.prose import prose
from advmf.functions import (
    ArcCosine,
    ArcCosineRest,
    ArcCosineRestSlope,
    ArcCosineSlope,
    EstimatedNorm,
    ExtremeNorm,
    GaussianNorm,
    QExponential,
    QLogarithm,
    SpectralNorm,
)
from advmf.observables import Observable, UnitObservable
from advmf.symbols import SYMBOLS, Quantity, exponent
from advmf.theorems import THEOREMS, caption
from advmf.theory.norms import beta, routes

CLASSIC = tuple((p, q) for p in ("1", "2", "inf") for q in ("1", "2", "inf"))
"""The pairs (p, q) of the paper."""


def notation(exprs: Iterable[sp.Basic], lines: Lines) -> str:
    """The letters, observables and functions that stand in ``exprs``, with domains and meanings."""
    names, found = set(), set()
    for expr in exprs:
        for node in sp.preorder_traversal(expr):
            if isinstance(node, sp.Symbol):
                names.add(node.name)
            elif isinstance(node, Observable) or type(node) in _FUNCTIONS:
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
        closed = _FUNCTIONS.get(type(node), lambda node: None)(node)
        meaning = rf"$\displaystyle {lines.text(closed)}$" if closed is not None else text(_meaning(type(node)))
        rows.append((f"${lines.text(node)}$", "", meaning))
    return _table("lll", ("symbol", "domain", "meaning"), rows, widths=("", "", r"p{0.6\linewidth}"))


def domain(quantity: Quantity) -> str:
    """The interval of a quantity, or the whole numbers in it."""
    if quantity.integer:
        return rf"\{{{int(quantity.low)}, {int(quantity.low) + 1}, \dots\}}"
    return quantity.domain.replace("oo", r"\infty ").replace(" ]", "]").replace(r"\infty )", r"\infty)")


def _letters(*names: str) -> list[sp.Symbol]:
    return [sp.Symbol(name, positive=True) for name in names]


_FUNCTIONS: dict[Any, Any] = {
    ArcCosine: lambda e: e.doit(),
    ArcCosineSlope: lambda e: e.doit(),
    ArcCosineRest: lambda e: e.doit(),
    ArcCosineRestSlope: lambda e: e.doit(),
    QExponential: lambda e: e.rewrite(sp.Pow),
    QLogarithm: lambda e: e.rewrite(sp.Pow),
    GaussianNorm: lambda e: None,
    SpectralNorm: lambda e: None,
    ExtremeNorm: lambda e: None,
    EstimatedNorm: lambda e: None,
}
"""The functions that a table of notation explains: by the closed form that the function itself has, or in its own words."""


def _generic(node: sp.Basic) -> sp.Basic:
    """The function at letters, as its docstring writes it; an observable of a unit and a direction for the first ones."""
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
    """The first sentence of a docstring, without the call; another class by its name in words."""
    first = (head.__doc__ or "").strip().partition("\n")[0]
    first = re.split(r"[:,]? ``[A-Z]\w+\(|\. | \(Write", first)[0].rstrip(".:,")
    return re.sub(r":class:`(\w+)`", lambda m: "the " + re.sub(r"(?<!^)(?=[A-Z])", " ", m[1]).lower(), first)


def norm_factors(dimensions: tuple[int, int], lines: Lines) -> str:
    """The closed forms of the norm factor for the classic pairs, and their numbers at (d, K) by Chevet, leading order and the best route."""
    forms, numbers = [], []
    at = {"d": dimensions[0], "K": dimensions[1]}
    for p, q in CLASSIC:
        pair = f"${lines.text(exponent(p))}$ & ${lines.text(exponent(q))}$"
        cells = [lines.text(beta(p, q, route)) for route in ("chevet", "leading")]
        forms.append((pair, *(rf"$\displaystyle {cell}$" for cell in cells)))
        best = next(route for route in routes(p, q) if route.upper)
        values = [_number(beta(p, q, name), at) for name in ("leading", "chevet", best.name, "lower")]
        numbers.append((pair, *values[:3], best.name, values[3]))
    closed = _table("ccll", ("$p$ & $q$", "Chevet", "leading order"), forms, skip=r"\addlinespace[4pt] ")
    size = f"$d = {dimensions[0]}$, $K = {dimensions[1]}$"
    table = _table(
        "cccccll", ("$p$ & $q$", "leading order", "Chevet", "best upper route", "its name", "lower bound"), numbers
    )
    return f"Upper bounds on $\\beta_{{p,q}}$ for every $d$ and $K$:\n{closed}\nThe numbers at {size}:\n{table}"


def _number(expr: sp.Expr, at: Mapping[str, int]) -> str:
    return f"{float(kernel(expr)(**at)):.4g}"


def verdicts(record: Mapping[str, Any], lines: Lines) -> str:
    """One table per theorem of a check run: a row per network, a column per claim; then what was refuted, and the totals."""
    rows: list[Mapping[str, Any]] = record["results"]
    tables = []
    for name in dict.fromkeys(_table_name(row) for row in rows):
        own = [row for row in rows if _table_name(row) == name]
        heads = sorted({_head(row) for row in own}, key=_place)
        nets = dict.fromkeys((row["net"], row["activation"]) for row in own)
        cells = {(row["net"], row["activation"], _head(row)): _cell(row) for row in own}
        body = [
            (
                prose(net.replace("_", " ")),
                prose(activation.replace("_", " ")),
                *(cells.get((net, activation, head), "") for head in heads),
            )
            for net, activation in nets
        ]
        if all(row[1] == "" for row in body):
            body = [(row[0], *row[2:]) for row in body]
        names = ("net", "activation")[: len(body[0]) - len(heads)]
        titles = [_title(head) for head in heads]
        table = _table("l" * len(names) + "c" * len(heads), (*names, *titles), body)
        shown = caption(name)
        tables.append(rf"\paragraph{{{shown.title or literal(name)}}} {shown.tex}." + "\n" + table)
    return "\n".join([_legend(), *tables, _findings(rows, lines), _totals(record)])


_SIGNS = {"SUPPORTED": "s", "NOT_REFUTED": "n", "REFUTED": "R", "UNDERPOWERED": "u"}


def _legend() -> str:
    return (
        r"Every number is what was simulated over what was predicted, extrapolated to infinite width where the claim is about that. "
        r"Verdicts: \textsuperscript{s}~supported, \textsuperscript{n}~not refuted (a bound that was attacked and stood), "
        r"\textbf{\textsuperscript{R}}~refuted, \textsuperscript{u}~underpowered."
    )


def _table_name(row: Mapping[str, Any]) -> str:
    """Laws stand side by side in the table of their theorem; what is stated for each (p, q) has one of its own."""
    along, name = _settings(row).get("along"), str(row["theorem"])
    if along and (part := f"{name}.{along}") in THEOREMS:
        return part
    return name if row.get("p") else name.partition(".")[0]


def _settings(row: Mapping[str, Any]) -> Mapping[str, Any]:
    settings = row.get("settings")
    return settings if isinstance(settings, Mapping) else {}


def _head(row: Mapping[str, Any]) -> str:
    return f"{row['p']},{row['q']}" if row.get("p") else str(row["theorem"])


def _title(head: str) -> str:
    """A pair of exponents as a formula; whatever else a file calls a claim, as text."""
    p, comma, q = head.partition(",")
    return f"${_exponent(p)},{_exponent(q)}$" if comma else literal(head)


def _exponent(value: str) -> str:
    """An exponent in a formula; what is none, as text."""
    if value in ("inf", "oo"):
        return r"\infty"
    return value if re.fullmatch(r"[\d./]+|[pq]", value) else rf"\text{{{literal(value)}}}"


def _place(head: str) -> tuple[Any, ...]:
    order = ("1", "2", "inf")
    pair = tuple(order.index(r) for r in head.split(",") if r in order)
    return (0, *pair) if len(pair) == 2 else (1, head)


def _cell(row: Mapping[str, Any]) -> str:
    mark = rf"\textsuperscript{{{_SIGNS[row['verdict']]}}}"
    if "along" in _settings(row):
        number = f"{row['estimate']:.2f}/{row['predicted']:.2f}".replace("-", "$-$")
    else:
        number = f"{row['ratio']:.3f}" if row["predicted"] and row["ratio"] is not None else "--"
    return rf"\textbf{{{number}{mark}}}" if row["verdict"] == "REFUTED" else f"{number}{mark}"


def _findings(rows: Sequence[Mapping[str, Any]], lines: Lines) -> str:
    out = []
    for row in rows:
        for finding in row["findings"]:
            if finding.get("verdict") in ("REFUTED", "UNDERPOWERED"):
                pair = f" ($p = {_exponent(str(row['p']))}$, $q = {_exponent(str(row['q']))}$)" if row.get("p") else ""
                words = prose(f"{finding.get('reason') or finding['verdict'].lower()}", lines.printer.names)
                label = prose(str(finding.get("label", "")), lines.printer.names)
                who = prose(f"{row['theorem']}, {row['net']}, {row['activation']}".replace("_", " "))
                out.append(rf"\item {who}{pair}: {label}: {finding['verdict'].lower().replace('_', ' ')}: {words}.")
    return "\\begin{itemize}\n" + "\n".join(out) + "\n\\end{itemize}" if out else ""


def _totals(record: Mapping[str, Any]) -> str:
    summary = record["summary"]
    counts = ", ".join(
        f"{literal(str(summary.get(v, 0)))} {v.lower().replace('_', ' ')}" for v in _SIGNS if summary.get(v)
    )
    controls = summary.get("controls", {})
    refuted = (
        f"; {literal(str(controls['refuted']))} of {literal(str(controls['total']))} negative controls refuted"
        if controls
        else ""
    )
    return f"In total {counts}{refuted}; seed {literal(str(record['seed']))}, advmf {literal(str(record['version']))}."


def _table(
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
