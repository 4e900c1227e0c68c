"""The explorer: one page on which a person moves the quantities of the theory and sees formulas, values, curves and the
verdicts of a run.

The page holds every formula as MathML, as LaTeX and as JavaScript (:mod:`advmf.emit.formats.javascript`). It loads
nothing, and a content security policy forbids every request. What is not JavaScript is compressed.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, tostring

from advmf import __version__
from advmf.boundary import public
from advmf.claim import Claim
from advmf.emit.formats.javascript import runtime
from advmf.errors import ArgumentError, one_of
from advmf.nets import PRESETS
from advmf.progress import Progress, shown
from advmf.report.document import Document, read
from advmf.report.explorer_data import ROUTE, Data, verdicts
from advmf.report.mathml import inline, words
from advmf.report.page import fingerprint, head, section
from advmf.report.tree import node
from advmf.symbols import SYMBOLS
from advmf.theorems.selection import PAIRS
from advmf.verify.catalogue import ACTIVATIONS

NETS = ("vanilla", "residual", "plain_residual", "preactivation", "pre_norm")
"""The networks of the page if none are named."""

PHIS = ("relu", "leaky_relu", "abs", "linear", "erf", "gelu", "tanh", "silu")
"""The activations of the page if none are named."""


@dataclass(frozen=True)
class Range:
    """A slider from ``low`` to ``high`` that starts at ``start``; the field beside it takes values from ``least`` to
    ``most``."""

    low: float
    high: float
    start: float
    log: bool = True
    whole: bool = False
    least: float = 0.0
    most: float = 1e9


RANGES = {
    "L": Range(1, 200, 10, whole=True, least=1, most=100_000),
    "N": Range(10, 100_000, 1000, whole=True, least=1),
    "d": Range(1, 4096, 784, whole=True, least=1, most=1_000_000),
    "K": Range(1, 200, 10, whole=True, least=1, most=1_000_000),
    "sigma_w": Range(0.1, 4, 1.414, log=False, least=1e-6, most=1e6),
    "sigma_b": Range(0, 2, 0.0, log=False, most=1e6),
    "eps": Range(1e-4, 10, 0.1, least=1e-300),
    "x_sq": Range(0.01, 100, 1.0, least=1e-300),
    "t": Range(0.1, 1e6, 100.0),
    "m": Range(0.01, 0.99, 0.5, log=False, least=1e-300, most=1e300),
    "M": Range(1.01, 100, 2.0, least=1e-300, most=1e300),
}
"""The sliders, by symbol."""

MAIN = ("L", "N", "d", "K", "sigma_w", "sigma_b", "eps")
"""The sliders that are always shown; the others are folded."""

GRIDS = {
    "L": ("depth L", sorted({round(2 * 32 ** (i / 23)) for i in range(24)})),
    "N": ("width N", [64 * 1024 ** (i / 32) for i in range(33)]),
    "sigma_w": ("standard deviation σ_w", [0.3 * 10 ** (i / 36) for i in range(37)]),
}
"""The values along the axes of phase diagrams."""


CHARTS = (
    ("bound", "The bound against ε", "Bold: by the route chosen. Thin: by the other routes; dotted is a lower bound."),
    (
        "variance",
        "Weight variance in training",
        "Gradient flow on the bound. An early-time statement: the loss itself falls faster.",
    ),
)
"""The charts of curves, with their titles and notes."""


@public
def explorer(
    claims: Sequence[Claim] | None = None,
    results: Any = None,
    *,
    nets: Sequence[str] = NETS,
    activations: Sequence[str] = PHIS,
    progress: Progress | bool | None = None,
) -> str:
    """The explorer as the text of an HTML page: formulas, sliders, curves, and beside them the verdicts of a run.

    ``claims`` are those to explore. Without them it is every theorem about the preset networks ``nets`` with the
    ``activations``. ``results`` is what ``advmf check`` wrote with ``--store`` or ``--json``, as a path. The page has
    the paper's nine pairs (p, q), and those of ``claims``. Where a function has no JavaScript form, the page names the
    function in place of the value. ``progress`` is called with shares of the work and a text; None shows a bar on a
    terminal, False nothing.

    Raises ArgumentError for anything but a list of claims and for an unknown network or activation, and the errors of
    the readers for results that cannot be read.

    >>> import advmf as mf
    >>> page = mf.explorer([mf.loss_bound(mf.residual(phi="relu"), "inf", 2)])
    >>> page.startswith("<!DOCTYPE html>"), len(page) < 1_000_000
    (True, True)
    """
    if claims is not None and not (
        isinstance(claims, list | tuple) and claims and all(isinstance(claim, Claim) for claim in claims)
    ):
        raise ArgumentError(f"explorer takes a list of claims, such as [mf.loss_bound(net, 2, 2)]; got {claims!r:.80}.")
    nets = [one_of("network", name, PRESETS) for name in nets]
    activations = [one_of("activation", name, ACTIVATIONS) for name in activations]
    if not (claims or (nets and activations)):
        raise ArgumentError(
            f"explorer needs a network and an activation; got nets={nets!r}, activations={activations!r}."
        )
    if results is not None and not isinstance(results, str | Path | Document):
        raise ArgumentError(
            f"results is the path of what 'advmf check' wrote with --store or --json; got {results!r:.80}."
        )
    document = read(Path(results)) if isinstance(results, str | Path) else results
    data = Data()
    rows = [(name, phi) for name in nets for phi in activations] if claims is None else []
    with shown(progress) as advance:
        for name, phi in rows:
            data.preset(name, phi)
            if advance:
                advance(1 / len(rows), f"{name} {phi}")
    for claim in claims or ():
        data.claim(claim)
    own = [(_name(c.p), _name(c.q)) for c in claims or () if c.p is not None and c.p.is_number]
    for p, q in dict.fromkeys([*own, *PAIRS]):
        data.pair(p, q)
    return _page(data, document)


def _name(value: Any) -> str:
    return "inf" if math.isinf(value) else str(value)


def _page(data: Data, document: Document | None) -> str:
    """The page. Its script and style are allowed by their hashes, and nothing else is."""
    style = "\n".join(_file(name) for name in ("style.css", "explorer.css"))
    formulas = "const FORMULAS = [\n" + ",\n".join(data.formulas) + "\n];"
    script = "\n".join(
        [
            '(async () => {\n"use strict";',
            runtime(),
            data.script.helpers(),
            formulas,
            _file("charts.js"),
            _file("explorer.js"),
            "})();",
        ]
    )
    if "</script" in script:
        raise ArgumentError("A formula's JavaScript contains </script; rename the symbol that brings it in.")
    policy = (
        f"default-src 'none'; style-src '{fingerprint(style)}'; script-src '{fingerprint(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    top = head("advmf explorer: adversarial training by mean-field theory", policy, node("style", style))
    values = json.dumps(_values(data, document), separators=(",", ":")).encode()
    packed = base64.b64encode(gzip.compress(values, mtime=0)).decode()
    body = node(
        "body",
        *_body(data),
        node("script", packed, type="application/gzip", id="data"),
        node("script", script),
    )
    text = tostring(node("html", top, body, lang="en"), encoding="unicode", method="html")
    return f"<!DOCTYPE html>\n{text}\n"


def _file(name: str) -> str:
    return files("advmf.report").joinpath(name).read_text(encoding="utf-8")


def _ranges(data: Data) -> dict[str, Range]:
    """The sliders that the formulas need; a letter of the user's has a range of its own."""
    letters = data.letters - {"beta", "p", "q"}
    known = {name: value for name, value in RANGES.items() if name in letters or name in MAIN}
    return known | {name: Range(1e-3, 1e3, 1.0, least=-1e300, most=1e300) for name in sorted(letters - set(RANGES))}


def _values(data: Data, document: Document | None) -> dict[str, Any]:
    """What the script reads."""
    ranges = _ranges(data)
    first = next(key for key, found in data.statements.items() if found)
    p, q = next((s["pair"] for s in data.statements[first] if s["pair"]), ("2", "2"))
    if any(s["pair"] is None for s in data.statements[first]):
        p, q = "2", "2"
    net, phi = first.split("|")
    start = {"net": net, "phi": phi, "p": p, "q": q, "route": ROUTE}
    grids = {name: {"label": label, "values": values} for name, (label, values) in GRIDS.items()}
    return {
        "start": {**start, "values": {name: value.start for name, value in ranges.items()}},
        "ranges": {name: asdict(value) for name, value in ranges.items()},
        "grids": grids,
        "nets": data.nets,
        "activations": data.activations,
        "statements": data.statements,
        "routes": data.routes,
        "shown": list(data.shown),
        "verdicts": verdicts(document) if document else [],
    }


def _body(data: Data) -> list[Element]:
    about = "Formulas are derived from the declared networks. They are computed in this page, which loads nothing."
    return [
        node("a", "Skip to the results", href="#results", class_="skip"),
        node("header", node("h1", "Adversarial training by mean-field theory"), node("p", about)),
        node("div", _controls(data), _results(data), class_="explorer"),
        node("footer", node("p", f"Written by advmf {__version__}.")),
    ]


def _controls(data: Data) -> Element:
    exponents = [list(dict.fromkeys(pair.split("|")[i] for pair in data.routes)) for i in (0, 1)]
    choices = (
        ("net", "Network", data.nets),
        ("phi", "Activation", data.activations),
        ("p", "p, of the ball of perturbations", exponents[0]),
        ("q", "q, of the output's norm", exponents[1]),
    )
    ranges = _ranges(data)
    sliders = {name: _slider(name, value) for name, value in ranges.items()}
    folded = [slider for name, slider in sliders.items() if name not in MAIN]
    more = node("details", node("summary", "More quantities"), node("div", *folded)) if folded else None
    return node(
        "form",
        node("h2", "Network and quantities", class_="aside"),
        node("div", *(_choice(*choice) for choice in choices), class_="choices"),
        node("p", id="step", class_="step"),
        *(slider for name, slider in sliders.items() if name in MAIN),
        more,
        node("button", "Reset", type="button", id="reset"),
        aria_label="Network and quantities",
        class_="controls",
    )


def _choice(name: str, label: str, values: Any) -> Element:
    options = [node("option", value.replace("_", " ").replace("inf", "∞"), value=value) for value in values]
    return node("div", node("label", *words(label), for_=name), node("select", *options, id=name), class_="choice")


def _slider(name: str, value: Range) -> Element:
    known = SYMBOLS.get(name)
    letter, meaning = inline(known.latex if known else name), known.meaning if known else ""
    slider = node(
        "input", type="range", id=f"slider-{name}", min="0", max="1000", step="1", aria_label=f"{name}: {meaning}"
    )
    field = node(
        "input",
        type="number",
        id=f"field-{name}",
        step="1" if value.whole else "any",
        min=f"{value.least:g}",
        max=f"{value.most:g}",
        inputmode="numeric" if value.whole else "decimal",
    )
    label = node("label", letter, " ", node("small", *words(meaning)), for_=f"field-{name}")
    return node("div", label, slider, field, class_="slider")


def _results(data: Data) -> Element:
    heads = {
        "routes": ("route", "what it is", "value", "formula"),
        "verdicts": ("statement", "p, q", "verdict", "number", "margin", "given", ""),
    }
    tables = {
        name: node(
            "div",
            node(
                "table",
                node("caption", node("span", caption)),
                node("thead", node("tr", *(node("th", text, scope="col") for text in heads[name]))),
                node("tbody", id=name),
            ),
            class_="scroll",
            tabindex="0",
            role="group",
            aria_label=caption,
        )
        for name, caption in (
            ("routes", "Routes to the norm factor; the chosen one is used in every formula"),
            ("verdicts", "Verdicts of the run on this network, at the points of the run"),
        )
    }
    axes = node(
        "select",
        node("option", "depth and width", value="N,L"),
        node("option", "weights and depth", value="L,sigma_w"),
        id="phase-axes",
    )
    key = node(
        "p",
        node("span", id="phase-key"),
        node("span", class_="swatch outside"),
        " outside the band at the start; ",
        node("span", class_="swatch never"),
        " never leaves it; the ring is this point.",
        class_="note",
    )
    return node(
        "main",
        node("p", id="said", role="status", aria_live="polite", class_="aside"),
        node("p", "No theorem says anything about this network at these exponents.", id="none", hidden="hidden"),
        node("div", id="headline"),
        node("div", *(_chart(*chart) for chart in CHARTS), class_="charts"),
        section("beta", "The norm factor β", tables["routes"], _missing(data)),
        section(
            "t4", "How long networks stay trainable", node("p", node("label", "Axes ", for_="phase-axes"), axes), _figure("phase"), key
        ),
        section(
            "run", "Verdicts of a run", node("p", "The run has no verdict on this network.", id="unchecked"), tables["verdicts"]
        ),
        section("all", "All statements about this network", node("div", id="statements")),
        node("label", "Copied last", for_="copied"),
        node("textarea", id="copied", readonly="readonly", rows="4", spellcheck="false"),
        id="results",
        tabindex="-1",
    )  # fmt: skip


def _missing(data: Data) -> Element | None:
    """Which functions have no number on the page, and why."""
    told = "; ".join(data.missing)
    return (
        node("p", f"Not available in the browser: {told}. advmf.kernel computes these.", class_="note")
        if told
        else None
    )


def _chart(name: str, title: str, note: str) -> Element:
    head, told = node("h2", title, id=f"{name}-title"), node("p", note, class_="note")
    return node("section", head, _figure(name), told, aria_labelledby=f"{name}-title")


def _figure(name: str) -> Element:
    return node("div", node("p", class_="why"), id=name, class_="box")
