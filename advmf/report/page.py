"""The parts that standalone HTML pages are made of."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any
from xml.etree.ElementTree import Element, tostring

from advmf.report.mathml import words
from advmf.report.overview import SIGNS
from advmf.report.tree import node


def page(heading: str, told: str, nav: Element | None, content: Sequence[Element], version: str) -> str:
    """A standalone page with a heading and a sentence on the outcome; a content security policy forbids scripts and
    requests."""
    style = "\n" + files("advmf.report").joinpath("style.css").read_text(encoding="utf-8")
    policy = f"default-src 'none'; style-src '{fingerprint(style)}'; img-src data:; base-uri 'none'; form-action 'none'"
    top = head(f"advmf: {told}", policy, node("style", style))
    body = node(
        "body",
        node("a", "Skip to the results", href="#results", class_="skip"),
        node("header", node("h1", heading), node("p", told), nav),
        node("main", *content, id="results", tabindex="-1"),
        node("footer", node("p", f"Written by advmf. Results of version {version}.")),
    )
    text = tostring(node("html", top, body, lang="en"), encoding="unicode", method="html")
    return f"<!DOCTYPE html>\n{text}\n"


def head(title: str, policy: str, *more: Element) -> Element:
    """The head of a standalone page with a content security policy."""
    return node(
        "head",
        node("meta", charset="utf-8"),
        node("meta", http_equiv="Content-Security-Policy", content=policy),
        node("meta", name="viewport", content="width=device-width, initial-scale=1"),
        node("meta", name="color-scheme", content="light dark"),
        node("title", title),
        node("link", rel="icon", href="data:,"),
        *more,
    )


def fingerprint(text: str) -> str:
    """The hash by which a content security policy allows a style or a script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def section(anchor: str, title: str, *children: Element | None) -> Element:
    """A part of the page with a heading, to which ``#anchor`` leads."""
    return node("section", node("h2", *words(title), id=anchor), *children, aria_labelledby=anchor)


def table(caption: str, heads: Sequence[Element], rows: Sequence[Element]) -> Element:
    """A table in its own box, which scrolls, also by keyboard."""
    inner = node(
        "table", node("caption", node("span", *words(caption))), node("thead", node("tr", *heads)), node("tbody", *rows)
    )
    return node("div", inner, class_="scroll", tabindex="0", role="group", aria_label=caption)


def facts(entries: Sequence[tuple[str, Element | str]]) -> Element:
    """A list of names with their values."""
    return node("dl", *(part for name, value in entries for part in (node("dt", *words(name)), node("dd", value))))


def code(text: str) -> Element | str:
    """A box of source text, which scrolls; nothing for an empty text."""
    return node("pre", node("code", text), tabindex="0", class_="scroll") if text else ""


def badge(verdict: str, text: str | None = None) -> Element:
    """A verdict with its sign."""
    sign = node("span", SIGNS[verdict], aria_hidden="true")
    return node("span", sign, f" {text or verdict_name(verdict)}", class_=f"badge {verdict.lower()}")


def error(kind: str) -> Element:
    """What stands in place of a verdict for a case that ended in an error."""
    return node("span", node("span", SIGNS["REFUTED"], aria_hidden="true"), f" {kind}", class_="badge refuted")


def verdict_name(verdict: str) -> str:
    """A verdict in words."""
    return verdict.lower().replace("_", " ")


def count(number: Any, unit: str) -> str:
    """A number of things in words.

    >>> count(1, "finding"), count(2, "finding")
    ('1 finding', '2 findings')
    """
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def sentence(text: str) -> Element | str:
    """A text with formulas in it; nothing for an empty one."""
    return node("span", *words(text)) if text else ""
