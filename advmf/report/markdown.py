"""Results as Markdown: for a pull request, and for the summary of a GitHub job."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence

from advmf.report.document import Checked, Document, reproduction
from advmf.report.overview import Table, cell, legend, tables


def markdown(document: Document) -> str:
    """The verdicts, and the numbers of each claim that was refuted or undecided; all other numbers are in tables that
    open on a click.

    It is GitHub's Markdown, and text from the results is escaped.
    """
    found = [*(f"{n} {verdict}" for verdict, n in document.counts.items() if n), *filter(None, [document.told])]
    counts = ", ".join(found) or "nothing finished"
    state = "" if document.complete else " (not all cases are finished)"
    refuted = document.controls - len(document.missed)
    parts = [
        f"### advmf: {counts}{state}".replace("_", r"\_"),
        f"Negative controls refuted: {refuted} of {document.controls}. advmf {_escape(document.version)}, "
        f"seed {document.seed}, {document.seconds:.0f} s.",
    ]
    if bad := [claim for claim in document.claims if claim.report.verdict in ("REFUTED", "UNDERPOWERED")]:
        parts.append("\n".join(_grid(("claim", "what", "verdict", "estimate", "predicted", "reason"), _findings(bad))))
    if document.errors:
        parts.append("\n".join(f"* {_escape(f'{e.title}: {e.kind}: {e.text}')}" for e in document.errors))
    if document.missed:
        parts.append("\n".join(f"* negative control not refuted: {_escape(missed)}" for missed in document.missed))
    parts += map(_folded, tables(document.claims, document.errors))
    if document.names:
        listed = "\n".join(f"* {_escape(name)}" for name in document.names)
        parts.append(f"<details><summary>The negative controls</summary>\n\n{listed}\n\n</details>")
    if command := reproduction(document.command):
        parts.append(f"To repeat it:\n\n{_fenced(command)}")
    return "\n\n".join(parts) + "\n"


def _findings(claims: Sequence[Checked]) -> Iterator[Sequence[str]]:
    for claim in claims:
        for f in claim.report.findings:
            if f.verdict in ("REFUTED", "UNDERPOWERED"):
                estimate = f"{f.estimate:.5g} ± {f.stderr:.2g}"
                yield claim.title, f.label, f"{f.verdict}", estimate, f"{f.predicted:.5g}", f.reason


def _folded(table: Table) -> str:
    rows = [
        (
            " ".join(filter(None, (row.net, row.place))),
            row.activation,
            *(cell(row.claims[head].report) if head in row.claims else "" for head in table.heads),
            row.margin,
        )
        for row in table.rows
    ]
    grid = "\n".join(_grid(("net", "activation", *table.heads, "within"), rows))
    # Markdown begins after the first empty line, so there must be none before.
    summary = html.escape(" ".join(f"{table.title}: {table.numbers}; {legend(table)}".split()))
    return f"<details><summary>{summary}</summary>\n\n{grid}\n\n</details>"


def _grid(heads: Sequence[str], rows: Iterator[Sequence[str]] | Sequence[Sequence[str]]) -> Iterator[str]:
    for row in (heads, ("---",) * len(heads), *rows):
        yield f"| {' | '.join(value if value == '---' else _escape(value) for value in row)} |"


def _escape(text: str) -> str:
    """Text escaped for Markdown, and for HTML inside it.

    >>> print(_escape("a_b|<i>"))
    a\\_b\\|&lt;i&gt;
    """
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#@!$])", r"\\\1", text)


def _fenced(text: str) -> str:
    """A block of code, with a fence that the text itself cannot close."""
    fence = "`" * max([3, *(len(ticks) + 1 for ticks in re.findall("`+", text))])
    return f"{fence}sh\n{text}\n{fence}"
