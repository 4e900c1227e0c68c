"""Formulas for a page: from the LaTeX that results carry to MathML."""

from __future__ import annotations

import html
import re
from xml.etree.ElementTree import Element

from advmf.report.tree import clean, node

_LAYOUT = set("width stretchy fence form columnalign displaystyle scriptlevel mathvariant".split())
_TAGS = set(
    "math mrow mi mn mo mtext mspace mfrac msqrt mroot msub msup msubsup munder mover munderover mtable mtr mtd mstyle".split()
)


def formula(latex: str) -> Element:
    """A formula as MathML, one line for each of the parts that LaTeX sets apart by ``\\quad``; what is no LaTeX is shown as it is.

    Results may come from anywhere: of MathML only what lays out a formula is taken over, no link and no style.
    """
    return node("div", *map(_part, latex.split(r", \quad ")), class_="formula")


def _part(latex: str) -> Element:
    from latex2mathml.converter import convert_to_element

    try:
        math = _plain(convert_to_element(latex, display="block"))
    except Exception:  # what it refuses has no common base, and on some input it fails by IndexError and the like
        return node("div", node("code", latex))
    bars = [element for element in math.iter("mo") if element.text == "\N{DOUBLE VERTICAL LINE}"]
    for bar, side in zip(bars, re.findall(r"\\([lr])Vert", latex)):
        # Else norms are as high as the indices beside them, and stand off from what they hold.
        bar.attrib |= {"stretchy": "false", "form": "prefix" if side == "l" else "postfix"}
    return node("div", math)


def _plain(element: Element) -> Element:
    if element.tag not in _TAGS:
        raise ValueError(f"{element.tag} is no part of a formula")
    plain = node(element.tag, html.unescape(element.text or ""), *map(_plain, element))
    plain.attrib |= {name: clean(value) for name, value in element.attrib.items() if name in _LAYOUT}
    if element.tag == "math":
        plain.set("display", "block")
    return plain
