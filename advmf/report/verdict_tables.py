"""The verdicts of a check run as LaTeX: a table for each theorem, the refuted claims, and the totals."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from advmf.emit.typeset.inert import literal
from advmf.emit.typeset.lines import Lines
from advmf.emit.typeset.prose import prose
from advmf.emit.typeset.tables import table
from advmf.theorems import THEOREMS, caption


def verdicts(record: Mapping[str, Any], lines: Lines) -> str:
    """One table per theorem of a check run: a row per network, a column per claim; then the refuted claims, and the
    totals."""
    rows: list[Mapping[str, Any]] = record["results"]
    tables = []
    for name, given in dict.fromkeys((_table_name(row), _given(row)) for row in rows):
        own = [row for row in rows if (_table_name(row), _given(row)) == (name, given)]
        heads = sorted({_head(row) for row in own}, key=_place)
        nets = dict.fromkeys((row["net"], row["activation"]) for row in own)
        cells = {(row["net"], row["activation"], _head(row)): _cell(row) for row in own}
        body = [
            (
                prose(net.replace("_", " ")),
                prose(activation.replace("_", " ")),
                *(cells.get((net, activation, head), "") for head in heads),
                _margin([row for row in own if (row["net"], row["activation"]) == (net, activation)]),
            )
            for net, activation in nets
        ]
        if all(row[1] == "" for row in body):
            body = [(row[0], *row[2:]) for row in body]
        names = ("net", "activation")[: len(body[0]) - len(heads) - 1]
        titles = [_title(head) for head in heads]
        body_of = table("l" * len(names) + "c" * len(heads) + "r", (*names, *titles, "within"), body)
        shown = caption(name)
        limit = f", given {prose(given)}" if given else ""
        tables.append(rf"\paragraph{{{shown.title or literal(name)}}} {shown.tex}{limit}." + "\n" + body_of)
    return "\n".join([_legend(), *tables, _findings(rows, lines), _errors(record), _totals(record)])


_SIGNS = {"SUPPORTED": "s", "NOT_REFUTED": "n", "REFUTED": "R", "UNDERPOWERED": "u"}


def _legend() -> str:
    return (
        r"Every number is what was simulated over what was predicted, extrapolated to infinite width where the claim is about that. "
        r"Verdicts: \textsuperscript{s}~supported, \textsuperscript{n}~not refuted (a bound that was attacked and stood), "
        r"\textbf{\textsuperscript{R}}~refuted, \textsuperscript{u}~underpowered. "
        r"A departure of the size in the last column would have been found."
    )


def _table_name(row: Mapping[str, Any]) -> str:
    """Laws stand side by side in the table of their theorem; claims for each (p, q) have a separate table."""
    along, name = _settings(row).get("along"), str(row["theorem"])
    if along and (part := f"{name}.{along}") in THEOREMS:
        return part
    return name if row.get("p") else name.partition(".")[0]


def _settings(row: Mapping[str, Any]) -> Mapping[str, Any]:
    settings = row.get("settings")
    return settings if isinstance(settings, Mapping) else {}


def _given(row: Mapping[str, Any]) -> str:
    """A note on the assumptions behind numbers at infinite width."""
    return str(_settings(row).get("given", ""))


def _head(row: Mapping[str, Any]) -> str:
    return f"{row['p']},{row['q']}" if row.get("p") else str(row["theorem"])


def _title(head: str) -> str:
    """A pair of exponents as a formula; any other label of a claim in a file, as text."""
    p, comma, q = head.partition(",")
    return f"${_exponent(p)},{_exponent(q)}$" if comma else literal(head)


def _exponent(value: str) -> str:
    """An exponent in a formula; any other text, as text."""
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


def _margin(rows: Sequence[Mapping[str, Any]]) -> str:
    """The departure that was excluded in all of some verdicts; nothing where none is known, as in what older versions
    wrote."""
    found = [row["within"] for row in rows if isinstance(row.get("within"), float | int)]
    if not found:
        return ""
    return f"{max(found):.2g}" if "along" in _settings(rows[0]) else rf"{100 * max(found):.2g}\,\%"


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


def _errors(record: Mapping[str, Any]) -> str:
    """The cases that ended in an error, in place of rows."""
    told = [
        rf"\item {literal(' '.join(filter(None, map(str, (e['case'], e['net'], e['activation'])))))}: ended in an error, and nothing "
        rf"is known of its claims: {literal(str(e['kind']))}: {literal(str(e['text']))}"
        for e in record.get("errors", ())
    ]
    return "\\begin{itemize}\n" + "\n".join(told) + "\n\\end{itemize}" if told else ""


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
