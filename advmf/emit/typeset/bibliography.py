"""The works that sources name: found in typeset text, cited by a key, listed at the end of a document, in BibTeX."""

from __future__ import annotations

import re

from advmf.emit.typeset.works import WORKS, Work


def cited(text: str) -> tuple[str, list[Work]]:
    """Typeset text with every known work as a citation, and these works in the order of their first mention.

    >>> from advmf.theorems.theorem import PAPER
    >>> text, works = cited(f"Source: {PAPER}, capacity")
    >>> text, [work.key for work in works]
    ('Source: \\\\cite{kumano2023adversarial}, capacity', ['kumano2023adversarial'])
    """
    for work in WORKS:
        text = re.sub(work.pattern, rf"\\cite{{{work.key}}}", text)
    order = dict.fromkeys(re.findall(r"\\cite\{(\w+)\}", text))
    by_key = {work.key: work for work in WORKS}
    return text, [by_key[key] for key in order if key in by_key]


def listed(works: list[Work]) -> str:
    """The list of references; nothing for none."""
    if not works:
        return ""
    items = "\n".join(work.item for work in works)
    return f"\\begin{{thebibliography}}{{{'9' * len(str(len(works)))}}}\n{items}\n\\end{{thebibliography}}"


def bibtex(text: str) -> str:
    """The BibTeX entries of the works that a typeset text cites.

    >>> print(bibtex(r"see \\cite{cho2009kernel}").splitlines()[0])
    @inproceedings{cho2009kernel,
    """
    return "\n\n".join(work.bibtex for work in cited(text)[1]) + "\n"
