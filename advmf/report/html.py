"""Results as one standalone HTML page, without scripts or loaded resources. It can be read offline, on a phone, in dark
mode and by a screen reader."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from advmf.report.document import Checked, Document, reproduction
from advmf.report.figure import along, figure, is_slope, points
from advmf.report.mathml import formula, inline, words
from advmf.report.overview import SHORT, SIGNS, Table, number, tables
from advmf.report.page import badge, code, count, error, facts, page, section, sentence, table, verdict_name
from advmf.report.strip import strip
from advmf.report.tree import node
from advmf.symbols import SYMBOLS
from advmf.theorems import THEOREMS
from advmf.verify.verdict import Finding, Report

_MEANINGS = {
    "SUPPORTED": "an equality: not missed, and a departure of the declared effect would have been found",
    "NOT_REFUTED": "an upper bound that was attacked and stood; it is not thereby proved",
    "REFUTED": "the numbers contradict the claim at the declared error rate",
    "UNDERPOWERED": "the numbers could not have told",
}
_ENDED = "cases that ended in an error, so that nothing is known of their claims"
FEW = 3
"""Up to this many claims are shown open."""
MANY = 20
"""Lists longer than this are folded."""


def html(document: Document) -> str:
    """The page. Text from the results is escaped, and a content security policy forbids scripts and requests."""
    names = {id(claim): f"claim-{i}" for i, claim in enumerate(document.claims, 1)}
    content = (_overview(document, names), *_claims(document, names), _environment(document))
    return page(
        "Theorems against simulation",
        _told(document),
        node("nav", _contents(document), aria_label="Contents"),
        content,
        document.version,
    )


def _told(document: Document) -> str:
    """The result of the run in a sentence."""
    counts = ", ".join(f"{n} {verdict_name(verdict)}" for verdict, n in document.counts.items() if n)
    state = "" if document.complete else "; not all cases of the run are finished"
    refuted = document.controls - len(document.missed)
    controls = f"; negative controls refuted: {refuted} of {document.controls}"
    errors = f"; {document.told}" if document.errors else ""
    return (f"{counts}{controls}" if counts else "no case is finished") + errors + state


def _contents(document: Document) -> Element:
    entries = [("overview", "Verdicts"), *((_anchor(case), case) for case in _cases(document)), ("origin", "Origin")]
    return node("ul", *(node("li", node("a", *words(text), href=f"#{anchor}")) for anchor, text in entries))


def _cases(document: Document) -> list[str]:
    return list(dict.fromkeys(claim.case for claim in document.claims))


def _anchor(case: str) -> str:
    return "theorem-" + "".join(letter if letter.isalnum() else "-" for letter in case)


def _titled(title: str) -> list[Element | str]:
    """The title of a claim or of a negative control (:func:`advmf.report.document.title`), with formulas in its
    exponents and its mistake."""
    parts = re.fullmatch(r"(.*?)(?: \[(.*)\])?( [^\[\]]*?)?((?: \w+=\S+)*)", title, re.DOTALL)
    if parts is None:
        return [title]
    name, mistake, who, point = parts.groups(default="")
    wrong = [" [", *words(mistake), "]"] if mistake else []
    values = (_exponent(value).replace("=", " = ") for value in point.split())
    return [*words(name), *wrong, who, *(part for value in values for part in (", ", *words(value)))]


def _exponent(value: str) -> str:
    return value.replace("inf", "∞")


def _overview(document: Document, names: Mapping[int, str]) -> Element:
    counts = [
        node("li", node("strong", str(n)), " ", badge(verdict), node("small", _MEANINGS[verdict]))
        for verdict, n in document.counts.items()
        if n
    ]
    if n := len(document.errors):
        counts.append(node("li", node("strong", str(n)), " ", error("error"), node("small", _ENDED)))
    grids = [_grid(table, names) for table in tables(document.claims, document.errors)]
    listed = [_listed(document, names, verdict) for verdict in ("REFUTED", "UNDERPOWERED")]
    failed = [node("li", e.title, ": ", error(e.kind), ": ", e.text) for e in document.errors]
    errors = node("details", node("summary", node("h3", document.told)), node("ul", *failed), open="open")
    listed.append(errors if failed else None)
    missed = [node("li", *_titled(name)) for name in document.missed]
    controls = _folded("UNDERPOWERED", f"negative controls not refuted: {len(missed)}", missed)
    refuted = [node("li", *_titled(name)) for name in document.names if name not in document.missed]
    head = node("summary", node("h3", f"negative controls, refuted as they must be: {len(refuted)}"))
    passed = node("details", head, node("ul", *refuted), open="open" if len(refuted) <= FEW else None)
    summary = node("ul", *counts, class_="counts")
    return section(
        "overview",
        "Verdicts",
        summary,
        strip(document.claims, names),
        *listed,
        controls,
        *grids,
        passed if refuted else None,
        _reading(document),
    )


def _listed(document: Document, names: Mapping[int, str], verdict: str) -> Element | None:
    """The findings with a verdict, and why."""
    found = [
        node("li", node("a", *_titled(c.title), href=f"#{names[id(c)]}"), ": ", *_what(c, f), ": ", *words(f.reason))
        for c in document.claims
        for f in c.report.findings
        if f.verdict == verdict
    ]
    return _folded(verdict, f"{verdict_name(verdict)}: {count(len(found), 'finding')}", found)


def _folded(verdict: str, title: str, entries: Sequence[Element]) -> Element | None:
    """A list that is open unless it is long; None for an empty one."""
    if not entries:
        return None
    head = node("summary", node("h3", badge(verdict, title)))
    return node("details", head, node("ul", *entries), open="open" if len(entries) <= MANY else None)


def _reading(document: Document) -> Element:
    """How to read the page: explanations that are not beside the numbers, and the meanings of the letters."""
    used = {name for claim in document.claims for name in claim.report.at}
    letters = [(name, node("span", *words(quantity.meaning))) for name, quantity in SYMBOLS.items() if name in used]
    return node(
        "details",
        node("summary", node("h3", "How to read this")),
        node(
            "div",
            node(
                "p",
                "Networks are sampled at several widths and measured. The estimate that they give together is extrapolated to N → ∞ "
                "where a claim is about large width, and averaged where it holds at every width; where a prediction depends on N, "
                "estimates are simulated over predicted values, and 1 is predicted. An attack bounds the adversarial loss from below, "
                "so that an upper bound can be refuted and never proved. Every check is repeated on wrong versions of its claim, "
                "the negative controls, which must be refuted.",
            ),
            node(
                "p",
                "A departure is that of the estimate from the prediction, in units of the predicted size. What a check resolved is "
                "the departure that it would have found, with the declared probability; 'within' is the largest of a row. A "
                "claim is refuted where its P-value is below its rate, the probability that a true claim is refuted, which the claims of "
                "the run share. Intervals are two standard errors to either side. A curve through estimates is the law in 1/N whose "
                "limit is the joint estimate.",
            ),
            facts(letters),
        ),
    )


def _grid(own: Table, names: Mapping[int, str]) -> Element:
    shown = [_exponent(head).replace(",", ", ") for head in own.heads]
    heads = [node("th", text, scope="col") for text in ("network", *shown, "within")]
    pairs = ", by p, q" if any("," in head for head in own.heads) else ""
    rows = []
    for row in own.rows:
        cells = [node("td", _link(row.claims[head], names) if head in row.claims else None) for head in own.heads]
        name = node(
            "th", f"{row.net} ", node("small", " ".join(filter(None, (row.activation, row.place)))), scope="row"
        )
        margin = error(row.error) if row.error else row.margin
        rows.append(node("tr", name, *cells, node("td", margin)))
    return table(f"{own.title}: {own.numbers}{pairs}", heads, rows)


def _link(claim: Checked, names: Mapping[int, str]) -> Element:
    report = claim.report
    value = number(report)
    sign, told = node("span", SIGNS[report.verdict], aria_hidden="true"), SHORT[report.verdict]
    margin = f" {report.margin}" if report.margin else ""
    word = node("span", told, class_="aside" if value else None)
    mark = node("span", sign, f" {value} ", word, class_=f"badge {report.verdict.lower()}")
    return node("a", mark, href=f"#{names[id(claim)]}", title=f"{claim.title}: {verdict_name(report.verdict)}{margin}")


def _claims(document: Document, names: Mapping[int, str]) -> Iterator[Element]:
    for case in _cases(document):
        own = [claim for claim in document.claims if claim.case == case]
        shown = [_claim(c, names[id(c)], document, len(document.claims) <= FEW) for c in own]
        title = f"{case}: {THEOREMS[case].title}" if case in THEOREMS else case
        yield section(_anchor(case), title, *shown)


def _claim(claim: Checked, name: str, document: Document, opened: bool) -> Element:
    report, said = claim.report, claim.statement
    told: list[tuple[str, Element | str]] = [
        ("regime", verdict_name(said["regime"].removeprefix("Regime.")).replace("|", ", ")),
        ("heuristic step", sentence(said["heuristic"])),
        (
            "assumes",
            node("ul", *(node("li", *words(text)) for text in said["assumptions"])) if said["assumptions"] else "",
        ),
        ("source", sentence(said["source"])),
        ("network", formula(said["network"]) if said.get("network") else ""),
        ("derivation", code(said.get("derivation", "") or report.settings.get("derivation", ""))),
        ("negative controls", _controls(report)),
        ("LaTeX", code(said["latex"])),
        ("point", sentence(", ".join(f"{name} = {value:g}" for name, value in report.at.items()))),
        *_settings(report),
        ("to repeat it", code(reproduction(document.command, claim))),
    ]
    opened = opened or report.verdict in ("REFUTED", "UNDERPOWERED")
    return node(
        "details",
        node("summary", node("h3", *_titled(claim.title)), " ", _link_number(report)),
        node(
            "div",
            formula(said["latex"]),
            *(part for i, f in enumerate(report.findings, 1) for part in _finding(claim, f, f"{name}-{i}")),
            facts([(head, value) for head, value in told if isinstance(value, Element) or value]),
            id=name,
        ),
        open="open" if opened else None,
    )


def _controls(report: Report) -> Element | str:
    """The negative controls that were checked along with a claim, with their verdicts."""
    found = [
        node("li", *words(name), ": ", badge(verdict)) for name, verdict in report.controls.items() if verdict in SIGNS
    ]
    return node("ul", *found) if found else ""


def _what(claim: Checked, finding: Finding) -> list[Element | str]:
    """The label of a finding. A claim without separate consequences is labelled by its left-hand side in SymPy's
    notation."""
    if not finding.label.startswith(("Expectation(", "Probability(", "Quantile(")):
        return words(finding.label)
    _, at, width = finding.label.partition(" at N = ")
    return [inline(claim.statement["subject"]), *(words(at + width) if at else [])]


def _link_number(report: Report) -> Element:
    return badge(report.verdict, " ".join(filter(None, (verdict_name(report.verdict), number(report), report.margin))))


def _settings(report: Report) -> Iterator[tuple[str, Element | str]]:
    """How a claim was simulated."""
    settings, ladder = report.settings, report.settings
    if "along" in settings:
        yield "ladder", f"{settings['along']} = {', '.join(f'{n:,}' for n in ladder.get('ladder', ()))}"
    if "attack" in settings:
        yield "attack", ", ".join(count(value, name.removesuffix("s")) for name, value in settings["attack"].items())
    if report.given:
        yield "width", f"infinite, given {settings['given']}"
    if "samplers" in settings:
        yield "sampler", ", ".join(dict.fromkeys(settings["samplers"]))
    if pilot := settings.get("pilot"):
        yield "pilots", f"{', '.join(f'{n:,}' for n in pilot['pilots'])}: {pilot['chosen']:,} chosen"
    if early := settings.get("sequential"):
        yield "early stop", f"at look {early['stopped']} of {early['looks']}"
    if "data" in settings:
        yield "images", sentence(f"{settings['data']}, SHA-256 {settings.get('data_sha256', 'unknown')}")
    yield "seed", f"{report.seed}; {report.took}"


def _finding(claim: Checked, finding: Finding, name: str) -> Iterator[Element]:
    """A finding: its result, its figure, its numbers."""
    f, report = finding, claim.report
    resolved = f"{f.resolution:.2%}" if math.isfinite(f.resolution) else "nothing"
    outcome = (
        f"{f.estimate:.5g} ± {f.stderr:.2g}, predicted {f.predicted:.5g}; departure {f.departure:+.2%}, "
        f"resolved {resolved} (declared {f.effect:.0%}); P-value {f.p_value:.2g}, refuted below {f.alpha:.2g}"
    )
    yield node("h4", *_what(claim, f))
    yield node("p", badge(f.verdict), f" {outcome}", *([": ", *words(f.reason)] if f.reason else []))
    drawing = figure(report, f, name)
    if drawing is not None:
        yield node("figure", drawing)
    heads = [
        along(report),
        "samples",
        "estimate",
        "standard error",
        "predicted",
        "ratio",
        "departure in standard errors",
    ]
    rows = [
        _row(f"{p.size:,.0f}", f"{r.nets:,}", p.value, p.stderr, p.predicted)
        for p, r in zip(points(report, f), f.rungs)
    ]
    last = "slope" if is_slope(report) else "together"
    if len(f.rungs) > 1:
        rows.append(_row(last, f"{sum(r.nets for r in f.rungs):,}", f.estimate, f.stderr, f.predicted))
    end = "" if len(f.rungs) < 2 else "; the last row is the slope" if is_slope(report) else "; the last row joins all"
    yield table(f"The numbers{end}", [node("th", head, scope="col") for head in heads], rows)


def _row(head: str, samples: str, value: float, stderr: float, predicted: float) -> Element:
    ratio = f"{value / predicted:.4f}" if predicted else ""
    departure = f"{(value - predicted) / stderr:+.2f}" if stderr else ""
    cells = (samples, f"{value:.5g}", f"{stderr:.2g}", f"{predicted:.5g}", ratio, departure)
    return node("tr", node("th", head, scope="row"), *(node("td", text) for text in cells))


def _environment(document: Document) -> Element:
    """The provenance of the numbers."""
    origin: dict[str, list[str]] = {}
    for claim in document.claims:
        for name, value in _flat({key: claim.report.settings.get(key) for key in _ORIGIN}):
            if value not in origin.setdefault(name, []):
                origin[name].append(value)
    run: list[tuple[str, Element | str]] = [
        ("command", code(document.command)),
        ("to repeat it", code(reproduction(document.command))),
        ("seed", f"{document.seed}; every network, point and size has a generator of its own that starts from it"),
        ("seconds", f"{document.seconds:.1f}"),
        ("advmf", document.version),
    ]
    rows = [node("tr", node("th", name, scope="row"), node("td", "; ".join(values))) for name, values in origin.items()]
    heads = [node("th", text, scope="col") for text in ("what", "value")]
    return section(
        "origin", "Origin", facts([(name, value) for name, value in run if isinstance(value, Element) or value]),
        table("Environment of the simulation", heads, rows),
    )  # fmt: skip


_ORIGIN = ("versions", "environment", "device", "dtype", "threads", "design")


def _flat(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}: {inner}", text) for inner, text in _flat(value))
        elif value is not None:
            yield name, str(value)
