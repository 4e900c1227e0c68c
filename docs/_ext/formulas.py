"""Formulas of the site as MathML, which browsers set by themselves: pages load no script and no font for them."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, tostring

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

from advmf.report.mathml import formula, inline, words
from advmf.report.tree import node

log = logging.getLogger(__name__)


def bare(latex: str) -> str:
    """LaTeX without what a notebook wraps around it."""
    return re.sub(r"^\$+|\$+$", "", latex.strip()).replace(r"\displaystyle ", "", 1).strip()


def markup(element: Element, latex: str, where: object = None) -> str:
    """The element as HTML; a formula that could not be set is shown as its LaTeX, with a warning."""
    if element.tag == "code" or element.find(".//code") is not None:
        log.warning("a formula that cannot be set as MathML: %s", latex, location=where)
    return tostring(element, encoding="unicode", method="html")


def visit_inline(self: HTML5Translator, found: nodes.math) -> None:
    latex = bare(found.astext())
    self.body.append(markup(inline(latex), latex, found))
    raise nodes.SkipNode


def visit_block(self: HTML5Translator, found: nodes.math_block) -> None:
    latex = bare(found.astext())
    self.body.append(f'<div class="math">{markup(formula(latex), latex, found)}</div>')
    raise nodes.SkipNode


def sentence(text: str) -> str:
    """Words with their formulas, as HTML."""
    return tostring(node("span", *words(text)), encoding="unicode", method="html")


def display(latex: str) -> str:
    """A formula in lines of its own, as HTML."""
    return f'<div class="math">{markup(formula(latex), latex)}</div>'


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", inline_renderers=(visit_inline, None), block_renderers=(visit_block, None))
    app.config.html_math_renderer = "mathml"
    return {"parallel_read_safe": True, "parallel_write_safe": True}
