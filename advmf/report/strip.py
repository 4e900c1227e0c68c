"""The overview of a run as SVG: simulated over predicted values, a row of marks for each theorem."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from xml.etree.ElementTree import Element

from advmf.report.document import Checked
from advmf.report.ticks import ticks
from advmf.report.tree import node

WIDTH, LEFT, RIGHT, STEP, TOP = 464, 70, 450, 20, 18
WORDS = {"SUPPORTED": "supported", "NOT_REFUTED": "not refuted", "REFUTED": "refuted", "UNDERPOWERED": "underpowered"}


def strip(claims: Sequence[Checked], names: Mapping[int, str]) -> Element | None:
    """A mark for each claim with a ratio, which leads to the claim; None where there are fewer than two."""
    rows: dict[str, list[tuple[Checked, float]]] = {}
    for claim in claims:
        ratio = claim.report.ratio
        if math.isfinite(ratio) and "along" not in claim.report.settings:
            rows.setdefault(claim.case, []).append((claim, ratio))
    values = [ratio for row in rows.values() for _, ratio in row]
    if len(values) < 2:
        return None
    low, high = min(1.0, *values), max(1.0, *values)
    room = 0.04 * (high - low) or 0.05
    low, high = low - room, high + room
    x = lambda value: LEFT + (RIGHT - LEFT) * (value - low) / (high - low)  # noqa: E731
    bottom = TOP + STEP * len(rows)
    parts: list[Element] = [
        node("path", d=f"M{x(1.0):.1f} {TOP - 6}V{bottom}", class_="prediction"),
        node("path", d=f"M{LEFT} {bottom}H{RIGHT}", class_="axis"),
    ]
    for value in ticks(low, high, 7):
        parts.append(node("path", d=f"M{x(value):.1f} {bottom}v4", class_="axis"))
        parts.append(node("text", f"{value:g}", x=f"{x(value):.1f}", y=bottom + 16, text_anchor="middle"))
    for i, (case, row) in enumerate(rows.items()):
        y = TOP + STEP * (i + 0.4)
        parts.append(node("text", "β" if case == "beta" else case, x=LEFT - 8, y=y + 4, text_anchor="end"))
        parts += [_mark(claim, names[id(claim)], x(ratio), y, ratio) for claim, ratio in row]
    told = "; ".join(
        f"{case}: {min(r for _, r in row):.3f} to {max(r for _, r in row):.3f}" for case, row in rows.items()
    )
    return node(
        "figure",
        node(
            "svg",
            node("title", "Simulated over predicted values of all claims", id="strip-t"),
            node("desc", f"Ranges by theorem: {told}.", id="strip-d"),
            *parts,
            viewBox=f"0 0 {WIDTH} {bottom + 24}", role="img", aria_labelledby="strip-t strip-d", class_="figure",
        ),
        node("figcaption", "Simulated over predicted: a mark for each claim. Filled: stands; open: underpowered; cross: refuted. Dashed: 1."),
    )  # fmt: skip


def _mark(claim: Checked, name: str, x: float, y: float, ratio: float) -> Element:
    verdict = str(claim.report.verdict)
    shape = (
        node("path", d=f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8", class_="cross")
        if verdict == "REFUTED"
        else node("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=3, class_="open" if verdict == "UNDERPOWERED" else "dot")
    )
    return node("a", node("title", f"{claim.title}: {ratio:.3f}, {WORDS[verdict]}"), shape, href=f"#{name}")
