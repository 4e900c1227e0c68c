"""Verdicts as tables on the console."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    from advmf.report.document import Document
    from advmf.report.overview import Table

_STYLE = {"SUPPORTED": "green", "NOT_REFUTED": "green", "REFUTED": "bold red", "UNDERPOWERED": "yellow"}


def _print_table(console: Console, table: Table) -> None:
    """A table of verdicts. Columns that do not fit beside each other follow below, with the rows' names again, so that
    nothing is cut."""
    from rich.text import Text

    from advmf.report.overview import cell, legend

    told = legend(table)
    console.print(f"{table.title}: {table.numbers}" + (f"; {told}" if told else ""), style="italic", markup=False)
    places = any(row.place for row in table.rows)
    names = [
        ("net", [Text(row.net) for row in table.rows]),
        ("activation", [Text(row.activation) for row in table.rows]),
    ]
    if not any(row.activation for row in table.rows):
        names.pop()
    if places:
        names.append(("at", [Text(row.place) for row in table.rows]))
    columns = []
    for head in table.heads:
        found = [row.claims[head].report if head in row.claims else None for row in table.rows]
        columns.append((head, [Text(cell(r), _STYLE[r.verdict]) if r else Text("") for r in found]))
    margins = [Text(row.margin, _STYLE["REFUTED"] if row.error else "") for row in table.rows]
    columns.append(("within", margins))
    for part in _fitting(columns, console.width - sum(map(_width, names))):
        console.print(_grid([*names, *part]), "")


Column = tuple[str, "list[Text]"]
"""A column: its head, and its cells."""


def _width(column: Column) -> int:
    """The width of a column with the spaces beside it."""
    head, cells = column
    return max(len(head), *(len(cell.plain) for cell in cells)) + 2


def _fitting(columns: Sequence[Column], room: int) -> Iterator[list[Column]]:
    """The columns in groups that are not wider than ``room``, if a column is not wider by itself."""
    group: list[Column] = []
    for column in columns:
        if group and sum(map(_width, [*group, column])) > room:
            yield group
            group = []
        group.append(column)
    yield group


def _grid(columns: Sequence[Column]) -> RichTable:
    from rich.table import Table

    grid = Table(box=None, padding=(0, 1))
    for head, _ in columns:
        grid.add_column(head, no_wrap=True, overflow="fold")
    for cells in zip(*(cells for _, cells in columns)):
        grid.add_row(*cells)
    return grid


def print_tables(console: Console, document: Document) -> None:
    """One table per theorem: a row per network, a column per claim; then the reasons, the controls and the totals."""
    from advmf.report.overview import tables

    for each in tables(document.claims, document.errors):
        _print_table(console, each)
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
        images = _images(dict.fromkeys(r.settings["data"] for r in reports if "data" in r.settings))
        console.print(f"{document.seconds:.0f} s of computing" + "".join(f"; images: {name}" for name in images))


def _images(names: Iterable[str]) -> list[str]:
    """The data sets by name, each with the sizes that it is resampled to.

    >>> _images(["digits, scaled", "digits, resampled from 64 to 16 pixels, scaled"])
    ['digits, scaled; also resampled to 16 pixels']
    """
    found: dict[str, set[int]] = {}
    for name in names:
        whole, *size = re.split(r", resampled from \d+ to (\d+) pixels", name)
        sizes = found.setdefault("".join([whole, *size[1:]]), set())
        sizes.update(map(int, size[:1]))
    return [
        name + (f"; also resampled to {', '.join(map(str, sorted(sizes)))} pixels" if sizes else "")
        for name, sizes in found.items()
    ]
