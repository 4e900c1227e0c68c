"""An audit as one standalone HTML page, without scripts or loaded resources."""

from __future__ import annotations

import math
from xml.etree.ElementTree import Element

from advmf import __version__
from advmf.auditing.judge import POWER, Finding
from advmf.auditing.outcome import COLUMNS, HEADS, Audit, cells
from advmf.report.page import page
from advmf.report.tree import node

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 520, 220, 60, 20, 20, 40
INTERVAL = 2.0
"""Half the length of an interval, in standard errors."""


def html(audit: Audit) -> str:
    """The page of an audit."""
    along = [(kind, audit.groups[kind]) for kind in ("stream", "jacobian")]
    content = [
        _section(
            "Against the bound", *(node("p", line) for line in audit.bound_lines() or ["T2 has no bound for this net."])
        ),
        _section("Growth along the depth, over the law's", *(_chart(kind, found) for kind, found in along)),
        *(_section(f"{HEADS[kind]} ({kind})", _table(own)) for kind, own in audit.groups.items()),
        _section("What such an audit finds", node("p", audit.resolution)),
        _section(
            "The declared law",
            node("p", node("code", repr(audit.net))),
            node("p", audit.law),
            *(node("p", each) for each in audit.notes),
        ),
        _section("Origin", node("p", _origin(audit))),
    ]
    return page("A module against its mean-field law", audit.summary, None, content, __version__)


def _origin(audit: Audit) -> str:
    return (
        f"{audit.initialisations} initialisations, {audit.twins} networks of the law, {audit.inputs} images, eps = {audit.eps:g}, "
        f"p = {audit.p:g}, q = {audit.q:g}, seed {audit.seed}, {audit.seconds:.1f} s. A score is a difference in standard errors. "
        f"{audit.tests} quantities are tested together: of modules that have the law, a share of at most {audit.alpha:g} departs anywhere. "
        f"A departure of the size in the column “finds”, in per cent of the law's value, is found with probability {POWER:g}; in brackets for "
        "what is only reported."
    )


def _section(title: str, *children: Element) -> Element:
    return node("section", node("h2", title[0].upper() + title[1:]), *children)


def _table(findings: list[Finding]) -> Element:
    heads = (*COLUMNS[:3], "over the law", *COLUMNS[3:])
    rows = []
    for f in findings:
        where, *before, score, least = cells(f)
        ratio = f"{f.ratio:.3f}" if math.isfinite(f.ratio) else ""
        own = [node("td", cell) for cell in (*before, ratio, score or "reported", least)]
        mark = node("span", "✗ departs", class_="badge refuted") if f.departs else ""
        rows.append(node("tr", node("th", where, scope="row"), *own, node("td", mark)))
    head = node("thead", node("tr", *(node("th", each, scope="col") for each in heads)))
    return node("div", node("table", head, node("tbody", *rows)), class_="scroll", tabindex="0")


def _chart(kind: str, findings: list[Finding]) -> Element:
    """The ratio of each step with its interval, as SVG."""
    spread = [abs(f.value - 1) + INTERVAL * (f.error if math.isfinite(f.error) else 0.0) for f in findings]
    reach = max(0.1, *spread) if spread else 0.1

    def x(number: int) -> float:
        return LEFT + (number + 0.5) * (WIDTH - LEFT - RIGHT) / max(1, len(findings))

    def y(value: float) -> float:
        return TOP + (1 + reach - value) / (2 * reach) * (HEIGHT - TOP - BOTTOM)

    def text(at: tuple[float, float], words: str, anchor: str) -> Element:
        return node("text", words, x=f"{at[0]:.1f}", y=f"{at[1]:.1f}", text_anchor=anchor)

    marks: list[Element] = [_line((LEFT, y(1)), (WIDTH - RIGHT, y(1)), dashed=True)]
    marks += [text((LEFT - 6, y(value) + 4), f"{value:.2f}", "end") for value in (1 - reach, 1, 1 + reach)]
    for number, f in enumerate(findings):
        half = INTERVAL * f.error if math.isfinite(f.error) else 0.0
        marks.append(_line((x(number), y(f.value - half)), (x(number), y(f.value + half))))
        colour = "var(--bad)" if f.departs else "var(--link)"
        title = node("title", f"{f.where}: {f.value:.3f}" + (", departs" if f.departs else ""))
        marks.append(node("circle", title, cx=f"{x(number):.1f}", cy=f"{y(f.value):.1f}", r="4.5", fill=colour))
    marks.append(text(((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10), "steps, from the input to the output", "middle"))
    label = f"{HEADS[kind]}, for each of {len(findings)} steps, with intervals of two standard errors; 1 is the law's"
    return node(
        "figure",
        node(
            "svg",
            *marks,
            viewBox=f"0 0 {WIDTH} {HEIGHT}",
            role="img",
            aria_label=label,
            class_="figure",
        ),
        node("figcaption", label),
    )


def _line(start: tuple[float, float], end: tuple[float, float], dashed: bool = False) -> Element:
    ends = {"x1": start[0], "y1": start[1], "x2": end[0], "y2": end[1]}
    shown = {name: f"{value:.1f}" for name, value in ends.items()}
    return node("line", **shown, stroke="currentColor", stroke_width="1.2", stroke_dasharray="4 4" if dashed else None)
