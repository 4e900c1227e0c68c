"""Trees of HTML, SVG and XML: text is escaped when a tree is written, so that nothing in the results becomes markup."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML file may contain, not even escaped."""


def node(tag: str, *children: Element | str | None, **attributes: object) -> Element:
    """An element. A child or attribute that is ``None`` is left out; ``class_`` and ``aria_label`` stand for class and
    aria-label.

    >>> from xml.etree.ElementTree import tostring
    >>> tostring(node("p", "a < b, ", node("em", "c"), class_="x", hidden=None), encoding="unicode")
    '<p class="x">a &lt; b, <em>c</em></p>'
    """
    given = {name.rstrip("_").replace("_", "-"): v for name, v in attributes.items() if v is not None}
    element = Element(tag, {name: clean(str(v)) for name, v in given.items()})
    for child in children:
        if isinstance(child, Element):
            element.append(child)
        elif child is not None and len(element):
            element[-1].tail = (element[-1].tail or "") + clean(child)
        elif child is not None:
            element.text = (element.text or "") + clean(child)
    return element


def clean(text: str) -> str:
    """The text without the characters that XML forbids."""
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
