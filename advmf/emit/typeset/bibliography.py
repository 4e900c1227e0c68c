"""The works that sources name: found in typeset text, cited by a key, listed at the end of a document, in BibTeX."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """A cited work: its BibTeX ``key`` and ``kind``, the forms in which sources name it, and its entry's fields."""

    key: str
    kind: str
    forms: tuple[str, ...]
    author: str
    title: str
    venue: str
    year: int
    arxiv: str = ""
    pages: str = ""

    @property
    def item(self) -> str:
        """The work in a list of references."""
        link = rf", \href{{https://arxiv.org/abs/{self.arxiv}}}{{arXiv:{self.arxiv}}}" if self.arxiv else ""
        authors = self.author.replace(" and ", ", ")
        return rf"\bibitem{{{self.key}}} {authors}. {self.title}. \emph{{{self.venue}}}{self.pages and ', ' + self.pages}, {self.year}{link}."

    @property
    def bibtex(self) -> str:
        """The work's BibTeX entry."""
        where = "journal" if self.kind == "article" else "booktitle"
        fields = {
            "author": self.author,
            "title": f"{{{self.title}}}",
            where: self.venue,
            "pages": self.pages,
            "year": str(self.year),
        }
        fields |= {"eprint": self.arxiv, "archivePrefix": "arXiv"} if self.arxiv else {}
        body = "".join(f",\n  {name} = {{{value}}}" for name, value in fields.items() if value)
        return f"@{self.kind}{{{self.key}{body}\n}}"

    @property
    def pattern(self) -> str:
        """What matches the work in typeset text, with its arXiv number as a link or without."""
        number = (
            rf"(?:\\href\{{[^{{}}]*\}}\{{arXiv:{re.escape(self.arxiv)}\}}|arXiv:{re.escape(self.arxiv)})"
            if self.arxiv
            else ""
        )
        named = [form + (rf"(?:,? {number})?" if number else "") for form in self.forms]
        return "|".join([*named, *([number] if number else [])])


WORKS = (
    Work(
        "kumano2023adversarial", "inproceedings",
        (r"Kumano, Kera and Yamasaki, Adversarial Training from Mean Field Perspective, NeurIPS 2023,?",
         r"S\. Kumano, H\. Kera,? (?:and )?T\. Yamasaki, (?:Adversarial Training from Mean Field Perspective, )?NeurIPS 2023,?"),
        "S. Kumano and H. Kera and T. Yamasaki", "Adversarial Training from Mean Field Perspective",
        "Advances in Neural Information Processing Systems", 2023, "2505.14021",
    ),
    Work(
        "hanin2020products", "article",
        (r"B\. Hanin and M\. Nica, Commun\. Math\. Phys\. 376, 2020",),
        "B. Hanin and M. Nica", "Products of Many Large Random Matrices and Gradients in Deep Neural Networks",
        "Communications in Mathematical Physics", 2020, pages="376:287--322",
    ),
    Work(
        "hanin2023random", "article", (r"(?:B\. )?Hanin(?=, arXiv|, \\href\{https://arxiv.org/abs/2107)",),
        "B. Hanin", "Random Neural Networks in the Infinite Width Limit as Gaussian Processes",
        "The Annals of Applied Probability", 2023, "2107.01562",
    ),
    Work(
        "yang2019tensor", "inproceedings", (r"(?:G\. )?Yang(?:, Tensor Programs I)?(?=, arXiv|, \\href\{https://arxiv.org/abs/1910)",),
        "G. Yang", "Tensor Programs I: Wide Feedforward or Recurrent Neural Networks of Any Architecture are Gaussian Processes",
        "Advances in Neural Information Processing Systems", 2019, "1910.12478",
    ),
    Work(
        "jacot2018neural", "inproceedings", (r"A\. Jacot, F\. Gabriel(?: and|,) C\. Hongler, (?:Neural Tangent Kernel, )?NeurIPS 2018",),
        "A. Jacot and F. Gabriel and C. Hongler", "Neural Tangent Kernel: Convergence and Generalization in Neural Networks",
        "Advances in Neural Information Processing Systems", 2018, "1806.07572",
    ),
    Work(
        "cho2009kernel", "inproceedings", (r"Y\. Cho and L\. (?:K\. )?Saul, Kernel Methods for Deep Learning, NeurIPS 2009",),
        "Y. Cho and L. K. Saul", "Kernel Methods for Deep Learning", "Advances in Neural Information Processing Systems", 2009,
    ),
)  # fmt: skip
"""The works that the package's theorems and lemmas rest on. A source that names another one stays as it is written."""


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
