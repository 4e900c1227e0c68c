"""Verdicts as tables, and as the record that ``--json`` writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from advmf import __version__

if TYPE_CHECKING:
    from rich.console import Console

    from advmf.verify.report import Report
    from advmf.verify.runs import Outcome


def record(outcomes: Sequence[Outcome], seed: int, complete: bool) -> dict[str, Any]:
    reports = [report for outcome in outcomes for report in outcome.reports]
    controls = [report for outcome in outcomes for report in outcome.controls]
    counts = {v: sum(r.verdict == v for r in reports) for v in ("SUPPORTED", "NOT_REFUTED", "REFUTED", "UNDERPOWERED")}
    return {
        "version": __version__,
        "seed": seed,
        "results": [
            {**report.to_dict(), "activation": outcome.case.activation}
            for outcome in outcomes
            for report in outcome.reports
        ],
        "summary": {
            **counts,
            "complete": complete,
            "seconds": round(sum(r.seconds for r in reports + controls), 2),
            "controls": {
                "total": len(controls),
                "refuted": sum(r.verdict == "REFUTED" for r in controls),
                "missed": [
                    f"{r.theorem} {r.net} {r.p or ''} {r.q or ''}".strip() for r in controls if r.verdict != "REFUTED"
                ],
            },
        },
    }


_STYLE = {"SUPPORTED": "green", "NOT_REFUTED": "green", "REFUTED": "bold red", "UNDERPOWERED": "yellow"}
_NUMBERS = {
    "T2": "attack/bound at N -> oo",
    "T3.Euler": "d|W|^2/dt + 2 share L_adv = 0",
    "T3": "slope of the weight variance at N -> oo, simulated/predicted",
    "T6.d": "slope in ln d, simulated/predicted",
    "T6.K": "slope in ln K, simulated/predicted",
    "F2": "coefficient of 1/N, simulated/predicted",
}
PAIR_ORDER = ("1", "2", "inf")
_SHORT = {"SUPPORTED": "supported", "NOT_REFUTED": "stands", "REFUTED": "REFUTED", "UNDERPOWERED": "underpowered"}


def _head(report: Report) -> str:
    return f"{report.p},{report.q}" if report.p else report.theorem


def _place(head: str) -> tuple[int, ...]:
    """Pairs in the order of the (p, q) square; others stay as they are."""
    pair = tuple(PAIR_ORDER.index(r) for r in head.split(",") if r in PAIR_ORDER)
    return pair if len(pair) == 2 else ()


def _cell(report: Report | None) -> Any:
    from rich.text import Text

    if report is None:
        return ""
    number = f"{report.ratio:.3f} " if report.predicted else ""
    if report.theorem == "T6":
        number = f"{report.estimate:.3f}/{report.predicted:.3f} "
    return Text(f"{number}{_SHORT[report.verdict]}", style=_STYLE[report.verdict])


def print_tables(console: Console, outcomes: Sequence[Outcome]) -> None:
    """One table per theorem: a row per network, a column per claim; then the reasons, the controls and the totals."""
    from rich.table import Table

    for theorem in dict.fromkeys(outcome.case.theorem for outcome in outcomes):
        rows = [outcome for outcome in outcomes if outcome.case.theorem == theorem]
        # Laws stand side by side, and what is stated for each (p, q) has a table of its own.
        names = dict.fromkeys(r.theorem for outcome in rows for r in outcome.reports if r.p) or [theorem]
        for name in names:
            cells = [{_head(r): r for r in outcome.reports if not r.p or r.theorem == name} for outcome in rows]
            heads = list(dict.fromkeys(head for row in cells for head in row))
            title = theorem if len(names) == 1 else name
            console.print(f"{title}: {_NUMBERS.get(title, 'simulated/predicted')}", style="italic")
            table = Table("net", "activation", *sorted(heads, key=_place), box=None)
            for outcome, row in zip(rows, cells):
                found = (row.get(head) for head in sorted(heads, key=_place))
                table.add_row(outcome.case.name, outcome.case.activation, *map(_cell, found))
            console.print(table, "")
    for outcome in outcomes:
        for report in outcome.reports:
            for finding in report.findings:
                if finding.verdict in ("REFUTED", "UNDERPOWERED"):
                    pair = f" p={report.p} q={report.q}" if report.p else ""
                    where = f"{report.theorem} {report.net} {outcome.case.activation}{pair}"
                    console.print(
                        f"{where}: {finding.label}: {finding.verdict}: {finding.reason}", style=_STYLE[finding.verdict]
                    )
    if outcomes:
        summary = record(outcomes, 0, True)["summary"]
        counts = ", ".join(f"{n} {v}" for v, n in summary.items() if v in _STYLE and n)
        controls = summary["controls"]
        console.print(f"{counts}; negative controls refuted: {controls['refuted']} of {controls['total']}")
        for missed in controls["missed"]:
            console.print(f"negative control not refuted: {missed}", style="yellow")
        images = dict.fromkeys(r.settings["data"] for o in outcomes for r in o.reports if "data" in r.settings)
        console.print(f"{summary['seconds']:.0f} s" + "".join(f"; images: {name}" for name in images))
