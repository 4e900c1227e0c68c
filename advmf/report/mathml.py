"""Formulas for a page as MathML, from the LaTeX in the results and from plain sentences that contain formulas."""

from __future__ import annotations

import html
import re
from xml.etree.ElementTree import Element

from advmf.emit.typeset.prose import spans
from advmf.report.tree import clean, node

LONG = 500
"""The most characters of a sentence that is searched for formulas."""
_LAYOUT = set("width stretchy fence form columnalign displaystyle scriptlevel mathvariant".split())
_TAGS = set(
    "math mrow mi mn mo mtext mspace mfrac msqrt mroot msub msup msubsup munder mover munderover mtable mtr mtd mstyle".split()
)


def formula(latex: str) -> Element:
    """A formula as MathML, with one line for each of the parts that LaTeX separates by ``\\quad``. Text that is no
    LaTeX is shown unchanged.

    Results may come from anywhere, so only layout elements of MathML are kept, and no links or styles.
    """
    return node("div", *map(_part, latex.split(r", \quad ")), class_="formula")


def inline(latex: str) -> Element:
    """A formula within a line; text that is no LaTeX is shown unchanged."""
    try:
        return _math(latex)
    except Exception:  # see _part
        return node("code", latex)


def words(text: str) -> list[Element | str]:
    """A sentence with its formulas in MathML, as an argument of :func:`advmf.report.tree.node`; long text is shown
    unchanged.

    >>> from xml.etree.ElementTree import tostring
    >>> from advmf.report.tree import node
    >>> tostring(node("p", *words("a departure at N -> oo, and more")), encoding="unicode")
    '<p>a departure at <span class="whole"><math><mrow><mi>N</mi><mo>→</mo><mi>∞</mi></mrow></math>,</span> and
    more</p>'
    """
    if len(text) > LONG:
        return [text]
    found: list[Element | str] = []
    for formula_, rest in spans(text):
        try:
            found += [" ", node("span", _math(formula_), rest, class_="whole") if formula_ else rest]
        except Exception:  # see _part
            return [text]
    return found[1:]


def _part(latex: str) -> Element:
    try:
        return node("div", _math(latex, "block"))
    except (
        Exception
    ):  # the errors of latex2mathml have no common base, and on some input it raises IndexError and the like
        return node("div", node("code", latex))


def _math(latex: str, display: str | None = None) -> Element:
    from latex2mathml.converter import convert_to_element

    math = _plain(convert_to_element(latex))
    if display:
        math.set("display", display)
    bars = [element for element in math.iter("mo") if element.text == "\N{DOUBLE VERTICAL LINE}"]
    sides = re.findall(r"\\([lr]?)Vert", latex)
    for i, (bar, side) in enumerate(zip(bars, sides)):
        # Otherwise norm bars are as high as the indices beside them, with a gap before their content.
        opens = side == "l" or (not side and i % 2 == 0)
        bar.attrib |= {"stretchy": "false", "form": "prefix" if opens else "postfix"}
    return math


def _plain(element: Element) -> Element:
    if element.tag not in _TAGS:
        raise ValueError(f"{element.tag} is no part of a formula")
    tag = "mi" if element.text == "&#x0221E;" else element.tag  # as an operator, ∞ would have gaps around it
    plain = node(tag, html.unescape(element.text or ""), *map(_plain, element))
    plain.attrib |= {name: clean(value) for name, value in element.attrib.items() if name in _LAYOUT}
    return plain
