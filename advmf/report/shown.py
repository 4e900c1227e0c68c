"""Reports from Python: as a table in a notebook, as a page, and as a figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, tostring

from advmf.drawing import BARS, COLOURS, Drawing, drawing, logarithmic, note, written
from advmf.emit.latex import latex
from advmf.errors import ArgumentError
from advmf.outputs import Output, put
from advmf.report.document import Document, of_reports
from advmf.report.figure import along, is_slope, points
from advmf.report.html import html
from advmf.report.mathml import inline, words
from advmf.report.overview import SIGNS
from advmf.report.tree import node
from advmf.verify.verdict import Finding, Report, Verdict

INK = {"SUPPORTED": COLOURS[2], "NOT_REFUTED": COLOURS[2], "REFUTED": COLOURS[1], "UNDERPOWERED": "0.45"}
"""The colours of verdicts; their markers differ as well."""
MOST_ROWS = 60


def page(reports: Sequence[Report], path: Path | str | Output | None = None) -> str:
    """The page of reports, also written to ``path`` if one is given. Raises ArgumentError for none at all."""
    return put(html(_document(reports)), path)


def table(reports: Sequence[Report]) -> str:
    """Reports as an HTML table with formulas: a row for each finding."""
    several = len(reports) > 1
    rows = [_row(report, f, several) for report in reports for f in report.findings]
    heads = [*(["claim"] if several else []), "", "simulated", "predicted", "ratio", "verdict"]
    grid = node(
        "table",
        node("thead", node("tr", *(node("th", head) for head in heads))),
        node("tbody", *rows[:MOST_ROWS]),
    )
    more = node("p", f"{MOST_ROWS} of {len(rows)} findings") if len(rows) > MOST_ROWS else None
    title = None if several or not reports else _titled(reports[0])
    return tostring(node("div", title, grid, more), encoding="unicode", short_empty_elements=False)


def _titled(report: Report) -> Element:
    pair = f", p = {report.p}, q = {report.q}".replace("inf", "∞") if report.p else ""
    claim = inline(latex(report.claim, where=False)) if report.claim is not None else None
    margin = f", {report.margin}" if report.margin else ""
    given = f", {report.given}" if report.given else ""
    name = " ".join(filter(None, (report.theorem, report.net.replace("_", " "))))
    said = f": {_word(report.verdict)}{margin} ({report.took})"
    controls = [
        *(("; negative controls: ",) if report.controls else ()),
        "; ".join(f"{name}: {_word(Verdict(verdict))}" for name, verdict in report.controls.items()),
    ]
    formula = [] if claim is None else [node("br"), claim]
    return node("p", node("b", name), pair, said, given, *controls, *formula)


def _word(verdict: Verdict) -> str:
    return f"{SIGNS[verdict]} {verdict.lower().replace('_', ' ')}"


def _row(report: Report, f: Finding, named: bool) -> Element:
    pair = f" ({report.p}, {report.q})" if report.p else ""
    cells: list[Element] = [node("td", f"{report.theorem} {report.net}{pair}")] if named else []
    ratio = f"{f.ratio:.3f}" if f.predicted else ""
    cells += [
        node("td", *_label(report, f)),
        node("td", f"{f.estimate:.5g} ± {f.stderr:.2g}"),
        node("td", f"{f.predicted:.5g}"),
        node("td", ratio),
        node("td", _word(f.verdict), title=f.reason or None),
    ]
    return node("tr", *cells)


def _label(report: Report, f: Finding) -> list[Element | str]:
    """What was measured; a claim without consequences of its own is labelled by its left-hand side."""
    if report.claim is not None and f.label.partition(" at N = ")[0] == str(report.claim.lhs):
        return [inline(latex(report.claim.lhs)), f.label.removeprefix(str(report.claim.lhs))]
    return words(f.label)


def _document(reports: Sequence[Report]) -> Document:
    if not reports:
        raise ArgumentError("There are no reports to make a page of.")
    return of_reports(reports)


def plot(
    reports: Sequence[Report], path: Path | str | Output | None, size: str | float, finding: int | None
) -> Drawing:
    """The figure of one finding of a report, or of the ratios of several reports."""
    if not reports:
        raise ArgumentError("There are no reports to draw.")
    if finding is None:
        return written(_ratios(reports, size), path)
    (report,) = reports
    if isinstance(finding, bool) or not isinstance(finding, int) or not 0 <= finding < len(report.findings):
        raise ArgumentError(f"finding counts the findings from 0 to {len(report.findings) - 1}; got {finding!r}.")
    return written(_widths(report, report.findings[finding], size), path)


def _widths(report: Report, f: Finding, size: str | float) -> Drawing:
    """The means at each width, the joint estimate, and the prediction."""
    measured = [p for p in points(report, f) if math.isfinite(p.value) and math.isfinite(p.stderr)]
    if not measured:
        raise ArgumentError(f"Nothing finite was measured of {f.label}: {f.reason}.")
    with drawing(size, 0.7) as (drawn, axis):
        sizes = [p.size for p in measured]
        limit = math.isinf(sizes[-1])
        shown = [1.0] if limit else sizes
        bars = [BARS * p.stderr for p in measured]
        axis.errorbar(shown, [p.value for p in measured], bars, ls="none", marker="o", color=COLOURS[0])
        axis.plot(shown, [p.predicted for p in measured], color="black", lw=0.8, ls="--") if is_slope(
            report
        ) else axis.axhline(f.predicted, color="black", lw=0.8, ls="--")
        joint = len(measured) > 1 and not is_slope(report) and math.isfinite(f.estimate) and math.isfinite(f.stderr)
        ticks = list(zip(shown, [r"$\infty$" if limit else f"{n:g}" for n in sizes]))
        if joint:
            place = shown[-1] * (shown[-1] / shown[0]) ** (1 / max(1, len(shown) - 1))
            axis.errorbar([place], [f.estimate], [BARS * f.stderr], ls="none", marker="D", color=COLOURS[1])
            ticks.append((place, "all"))
        logarithmic(axis, "x", [x for x, _ in ticks], 1.5)
        if is_slope(report):
            logarithmic(axis, "y", [p.value for p in measured], 2.0)
        axis.set_xticks([x for x, _ in ticks], [text for _, text in ticks])
        axis.minorticks_off()
        axis.set_xlabel(f"${along(report)}$" if not limit else "width")
        axis.set_title(f"{_name(report)}: {f.verdict.lower().replace('_', ' ')}", fontsize=7.5)
        words = ["dashed: predicted", f"bars: ± {BARS:g} standard errors"]
        note(axis, "; ".join([*words, *(["diamond: all widths together"] if joint else [])]))
    return drawn


def _name(report: Report) -> str:
    pair = f" $({_exponent(report.p)}, {_exponent(report.q)})$" if report.p else ""
    return (
        f"{report.theorem} {report.net}{pair}".replace("_", " ")
        if not pair
        else f"{report.theorem} {report.net.replace('_', ' ')}{pair}"
    )


def _exponent(value: str | None) -> str:
    return str(value).replace("inf", r"\infty")


def _ratios(reports: Sequence[Report], size: str | float) -> Drawing:
    """A row for each report: simulated over predicted of its first finding; of a prediction of 0, the departure."""
    looks: Mapping[str, dict[str, Any]] = {
        "SUPPORTED": {"marker": "o"}, "NOT_REFUTED": {"marker": "o"}, "REFUTED": {"marker": "X", "markersize": 6, "mec": "black", "mew": 0.6},
        "UNDERPOWERED": {"marker": "o", "mfc": "white"},
    }  # fmt: skip
    rows = list(reports)
    with drawing(size, max(0.35, 0.16 + 0.055 * len(rows))) as (drawn, axis):
        axis.axvline(1, color="black", lw=0.8, ls="--")
        for i, report in enumerate(rows):
            f, verdict = report.findings[0], report.verdict
            value, error = (f.ratio, f.stderr / abs(f.predicted)) if f.predicted else (1 + f.departure, math.nan)
            bar = BARS * error if math.isfinite(error) else None
            axis.errorbar([value], [i], xerr=bar, ls="none", color=INK[verdict], **looks[verdict])
        axis.set_yticks(range(len(rows)), [_name(report) for report in rows])
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.set_xlabel("simulated / predicted")
        verdicts = {str(report.verdict) for report in rows}
        marks = [
            text for v, text in (("UNDERPOWERED", "open: underpowered"), ("REFUTED", "cross: refuted")) if v in verdicts
        ]
        note(axis, "; ".join([f"bars: ± {BARS:g} standard errors", *marks]))
    return drawn
