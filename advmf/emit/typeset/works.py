"""The works that theorems, lemmas and routes rest on, with the forms in which their sources name them."""

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
        where = {"article": "journal", "book": "publisher"}.get(self.kind, "booktitle")
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
        "cho2009kernel", "inproceedings", (r"(?:Y\. )?Cho and (?:L\. (?:K\. )?)?Saul, Kernel Methods for Deep Learning, NeurIPS 2009",),
        "Y. Cho and L. K. Saul", "Kernel Methods for Deep Learning", "Advances in Neural Information Processing Systems", 2009,
    ),
    Work(
        "chevet1978series", "inproceedings", (r"(?:S\. )?Chevet(?: 1978|, Sem\. Maurey-Schwartz 1977-78)",),
        "S. Chevet", r"S{\'e}ries de variables al{\'e}atoires gaussiennes {\`a} valeurs dans $E \hat{\otimes}_\varepsilon F$. "
        r"Application aux produits d'espaces de Wiener abstraits",
        r"S{\'e}minaire sur la g{\'e}om{\'e}trie des espaces de Banach (Maurey--Schwartz), expos{\'e} 19", 1978,
    ),
    Work(
        "gordon1985some", "article", (r"(?:Y\. )?Gordon(?: 1985|, Israel J\. Math\. 50, 1985)",),
        "Y. Gordon", "Some Inequalities for {G}aussian Processes and Applications", "Israel Journal of Mathematics", 1985,
        pages="50:265--289",
    ),
    Work(
        "kahane1986inegalite", "article", (r"J\.-P\. Kahane, Israel J\. Math\. 55, 1986",),
        "J.-P. Kahane", r"Une in{\'e}galit{\'e} du type de {S}lepian et {G}ordon sur les processus gaussiens",
        "Israel Journal of Mathematics", 1986, pages="55:109--110",
    ),
    Work(
        "fernique1975regularite", "inproceedings", (r"(?:X\. )?Fernique 1975",),
        "X. Fernique", r"R{\'e}gularit{\'e} des trajectoires des fonctions al{\'e}atoires gaussiennes",
        r"{\'E}cole d'{\'E}t{\'e} de Probabilit{\'e}s de Saint-Flour IV, Lecture Notes in Mathematics 480", 1975, pages="1--96",
    ),
    Work(
        "vitale2000some", "article", (r"(?:R\. A\. )?Vitale, Proc\. Amer\. Math\. Soc\. 128, 2000",),
        "R. A. Vitale", "Some Comparisons for {G}aussian Processes", "Proceedings of the American Mathematical Society", 2000,
        pages="128:3043--3046",
    ),
    Work(
        "borell1975brunn", "article", (r"(?:C\. )?Borell, Invent\. Math\. 30, 1975",),
        "C. Borell", "The {B}runn--{M}inkowski Inequality in {G}auss Space", "Inventiones Mathematicae", 1975, pages="30:207--216",
    ),
    Work(
        "tsirelson1976norms", "inproceedings", (r"Tsirelson, Ibragimov and Sudakov 1976",),
        "B. S. Tsirelson and I. A. Ibragimov and V. N. Sudakov", "Norms of {G}aussian Sample Functions",
        "Proceedings of the Third Japan--USSR Symposium on Probability Theory, Lecture Notes in Mathematics 550", 1976, pages="20--41",
    ),
    Work(
        "boucheron2013concentration", "book", (r"Boucheron, Lugosi and Massart, Concentration Inequalities, 2013",),
        "S. Boucheron and G. Lugosi and P. Massart", "Concentration Inequalities: A Nonasymptotic Theory of Independence",
        "Oxford University Press", 2013,
    ),
    Work(
        "vershynin2018high", "book", (r"Vershynin, High-Dimensional Probability, 2018",),
        "R. Vershynin", "High-Dimensional Probability: An Introduction with Applications in Data Science", "Cambridge University Press", 2018,
    ),
    Work(
        "billingsley1999convergence", "book", (r"Billingsley, Convergence of Probability Measures, 1999",),
        "P. Billingsley", "Convergence of Probability Measures", "Wiley", 1999,
    ),
    Work(
        "debruijn1955some", "article", (r"N\. \$?G\$?\. de Bruijn, J\. Indian Math\. Soc\. 19, 1955",),
        "N. G. de Bruijn", "On Some Multiple Integrals Involving Determinants", "Journal of the Indian Mathematical Society", 1955,
        pages="19:133--151",
    ),
    Work(
        "chiani2014distribution", "article", (r"M\. Chiani, J\. Multivariate Anal\. 129, 2014",),
        "M. Chiani", "Distribution of the Largest Eigenvalue for Real {W}ishart and {G}aussian Random Matrices and a Simple Approximation "
        "for the {T}racy--{W}idom Distribution",
        "Journal of Multivariate Analysis", 2014, pages="129:69--81",
    ),
)  # fmt: skip
"""The works that the package's theorems, lemmas and routes rest on.

A source that names another one stays as it is written."""
