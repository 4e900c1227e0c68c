"""Verdicts as tables on the console."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from advmf.report.document import Document

_STYLE = {"SUPPORTED": "green", "NOT_REFUTED": "green", "REFUTED": "bold red", "UNDERPOWERED": "yellow"}


def print_tables(console: Console, document: Document) -> None:
    """One table per theorem: a row per network, a column per claim; then the reasons, the controls and the totals."""
    from rich.table import Table
    from rich.text import Text

    from advmf.report.overview import cell, tables

    for each in tables(document.claims, document.errors):
        console.print(f"{each.title}: {each.numbers}", style="italic")
        table = Table("net", "activation", *each.heads, "within", box=None)
        for row in each.rows:
            found = [row.claims[head].report if head in row.claims else None for head in each.heads]
            cells = (Text("") if report is None else Text(cell(report), _STYLE[report.verdict]) for report in found)
            table.add_row(row.net, row.activation, *cells, Text(row.margin, _STYLE["REFUTED"] if row.error else ""))
        console.print(table, "")
    for claim in document.claims:
        for f in claim.report.findings:
            if f.verdict in ("REFUTED", "UNDERPOWERED"):
                line = f"{claim.title}: {f.label}: {f.verdict}: {f.reason}"
                console.print(line, style=_STYLE[f.verdict], markup=False)
    for failed in document.errors:
        console.print(f"{failed.title}: {failed.kind}: {failed.text}", style=_STYLE["REFUTED"], markup=False)
    if document.claims or document.errors:
        counts = ", ".join([*(f"{n} {v}" for v, n in document.counts.items() if n), *filter(None, [document.told])])
        refuted = document.controls - len(document.missed)
        console.print(f"{counts}; negative controls refuted: {refuted} of {document.controls}")
        for missed in document.missed:
            console.print(f"negative control not refuted: {missed}", style="yellow", markup=False)
        reports = [claim.report for claim in document.claims]
        images = dict.fromkeys(r.settings["data"] for r in reports if "data" in r.settings)
        console.print(f"{document.seconds:.0f} s of computing" + "".join(f"; images: {name}" for name in images))
