"""Verdicts side by side: a table for each theorem, a row for each network, a column for each claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from advmf.report.document import Checked, Failed
from advmf.theorems import caption
from advmf.verify.verdict import Report

SHORT = {"SUPPORTED": "supported", "NOT_REFUTED": "stands", "REFUTED": "REFUTED", "UNDERPOWERED": "underpowered"}
"""The names of verdicts in a table."""
SIGNS = {"SUPPORTED": "✓", "NOT_REFUTED": "✓", "REFUTED": "✗", "UNDERPOWERED": "?"}
"""The signs of verdicts in a table."""

PAIR_ORDER = ("1", "2", "inf")


@dataclass(frozen=True)
class Row:
    """The claims about one network, by the heads of their columns."""

    net: str
    activation: str
    claims: Mapping[str, Checked]
    place: str = ""
    """The values that tell the row's point from those of the same network's other rows."""
    error: str = ""
    """The kind of the error that the case ended in, in place of claims."""

    @property
    def margin(self) -> str:
        """The margin of the verdicts: a departure of this size would have been found in any of them. The error of a
        case that ended in one."""
        if self.error:
            return self.error
        stand = [claim.report for claim in self.claims.values() if claim.report.margin]
        return max(stand, key=lambda report: report.within).margin.removeprefix("within ") if stand else ""


@dataclass(frozen=True)
class Table:
    """The verdicts of one theorem; ``numbers`` is the caption of the number beside each."""

    title: str
    numbers: str
    heads: tuple[str, ...]
    rows: tuple[Row, ...]


def tables(claims: Sequence[Checked], errors: Sequence[Failed] = ()) -> list[Table]:
    """The verdicts of a run. Laws stand side by side; claims for each (p, q) have a separate table. A case that ended
    in an error has a row in the last table of its theorem."""
    found = []
    for case in dict.fromkeys([*(claim.case for claim in claims), *(error.case for error in errors)]):
        failed = tuple(Row(e.net, e.activation, {}, error=e.kind) for e in errors if e.case == case)
        found += _with(_tables(case, [claim for claim in claims if claim.case == case]), case, failed)
    return found


def _with(found: list[Table], case: str, failed: tuple[Row, ...]) -> list[Table]:
    if not failed:
        return found
    *others, last = found or [Table(case, caption(case).text, (), ())]
    return [*others, replace(last, rows=(*last.rows, *failed))]


def _tables(case: str, own: Sequence[Checked]) -> list[Table]:
    found = []
    if own:
        names = list(dict.fromkeys(c.report.theorem for c in own if c.report.p)) or [case]
        for name in names:
            for given in dict.fromkeys(c.report.given for c in own):
                shown = [c for c in own if c.report.given == given and (not c.report.p or c.report.theorem == name)]
                found.append(_table(case if len(names) == 1 else name, shown, given))
    return found


def _table(title: str, shown: Sequence[Checked], given: str) -> Table:
    """The table of claims that were judged by the same kind of networks."""
    rows: dict[tuple[str, str, str], dict[str, Checked]] = {(c.report.net, c.activation, c.place): {} for c in shown}
    for c in shown:
        rows[c.report.net, c.activation, c.place][_head(c.report)] = c
    heads = sorted(dict.fromkeys(_head(c.report) for c in shown), key=_place)
    lines = tuple(Row(net, phi, row, place) for (net, phi, place), row in rows.items())
    return Table(title, caption(title).text + (f"; {given}" if given else ""), tuple(heads), lines)


def number(report: Report) -> str:
    """The number beside a verdict: the ratio, or for an order of growth the slopes; empty where the prediction is zero
    and there is no ratio."""
    if "along" in report.settings:
        return f"{report.estimate:.3f}/{report.predicted:.3f}"
    return f"{report.ratio:.3f}" if report.predicted else ""


def cell(report: Report) -> str:
    """A verdict in a table: its sign and its number."""
    return f"{SIGNS[report.verdict]} {number(report)}".rstrip()


def legend(table: Table) -> str:
    """The meanings of a table's signs, in words.

    >>> legend(Table("T2", "", (), ()))
    ''
    """
    found = {str(claim.report.verdict) for row in table.rows for claim in row.claims.values()}
    words: dict[str, list[str]] = {}
    for verdict in (verdict for verdict in SIGNS if verdict in found):
        words.setdefault(SIGNS[verdict], []).append(SHORT[verdict])
    return ", ".join(f"{sign} {' or '.join(names)}" for sign, names in words.items())


def _head(report: Report) -> str:
    return f"{report.p},{report.q}" if report.p else report.theorem


def _place(head: str) -> tuple[int, ...]:
    """Pairs in the order of the (p, q) square; other columns keep their order."""
    pair = tuple(PAIR_ORDER.index(r) for r in head.split(",") if r in PAIR_ORDER)
    return pair if len(pair) == 2 else ()
