"""A LaTeX document of claims and their derivations, with notation, norm factors and verdicts: ready for Overleaf."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sympy as sp

from advmf import __version__
from advmf.boundary import public
from advmf.claim import RHS, Claim, Equation, Regime, Relation
from advmf.emit.canonical import evaluating
from advmf.emit.latex import LINE
from advmf.emit.typeset.bibliography import Work, cited, listed
from advmf.emit.typeset.lines import Line, Lines, claim_lines, plain_form
from advmf.emit.typeset.nets import net_lines
from advmf.emit.typeset.printer import letters
from advmf.emit.typeset.proofs import Proof
from advmf.emit.typeset.prose import outlined, prose, regime
from advmf.emit.typeset.tables import norm_factors, notation
from advmf.errors import ArgumentError
from advmf.nets import Net
from advmf.report.results import checked
from advmf.report.verdict_tables import verdicts
from advmf.theory.proof import Derivation

PACKAGES = r"""\usepackage[a4paper, margin=25mm]{geometry}
\usepackage{amsmath, amssymb, amsthm, mathtools}
\usepackage{array, booktabs, longtable}
\usepackage{microtype}
\usepackage[hidelinks]{hyperref}"""
"""The packages used; all are in texlive-latex-recommended and its dependencies."""

THEOREMS = r"""\theoremstyle{definition}
\newtheorem{theorem}{Theorem}
\newtheorem{heuristic}[theorem]{Heuristic statement}"""


@public
@dataclass(frozen=True)
class Section:
    """The claims of one theorem, under a title, with their derivations; ``text`` comes first."""

    title: str
    claims: Sequence[Claim]
    derivations: Sequence[Derivation] = ()
    text: str = ""


@public
@evaluating
def document(
    sections: Sequence[Section | Claim],
    *,
    net: Net | None = None,
    title: str = "Mean-field theory of adversarial training",
    dimensions: tuple[int, int] | None = (784, 10),
    results: Mapping[str, Any] | None = None,
    macros: bool = False,
    fragment: bool = False,
) -> str:
    """A LaTeX document: notation, every claim as a theorem with its assumptions, regime and source, derivations, norm
    factors, verdicts.

    A claim in place of a section makes a section of its own. ``net`` is described at the beginning. The norm factors
    are given in numbers at ``dimensions`` (d, K), and left out for None. ``results`` is the record of a check run
    (:func:`advmf.report.results.read_results`). With ``macros`` every letter is a command, defined at the top, so that
    it can be renamed in one place. A ``fragment`` has no preamble, for use in another document by ``\\\\input``. The
    works that sources name are cited, and listed at the end. A fragment has their BibTeX entries in comments.

    The document compiles without warnings by pdflatex, with the packages of Debian's texlive-latex-recommended. Raises
    ArgumentError for what is neither section nor claim, DataError for results of another format.

    >>> import advmf as mf
    >>> text = mf.document([mf.loss_bound(mf.vanilla(), 2, 2)], net=mf.vanilla())
    >>> text.splitlines()[0], text.count(r"\\begin{theorem}"), text.rstrip().splitlines()[-1]
    ('\\\\documentclass[11pt]{article}', 1, '\\\\end{document}')
    """
    if dimensions is not None and not (isinstance(dimensions, Sequence) and len(dimensions) == 2):
        raise ArgumentError(f"dimensions are two numbers (d, K), or None; got {dimensions!r}.")
    parts = [_section(part) for part in sections]
    record = None if results is None else checked(results)
    names = {name: rf"\{macro(name)}" for name in letters()} if macros else letters()
    setter = _Setter(names, [claim for part in parts for claim in part.claims], net)
    body = [setter.notation(parts, net, dimensions)]
    body += [setter.section(part) for part in parts]
    if dimensions is not None:
        body.append("\\section{Norm factors}\n" + norm_factors(dimensions, setter.lines))
    if record is not None:
        body.append("\\section{Checks by simulation}\n" + verdicts(record, setter.lines))
    text, works = cited("\n\n".join(body))
    if fragment:
        return _fragment(text, macros, works)
    return _whole("\n\n".join(filter(None, [text, listed(works)])), title, macros)


def macro(name: str) -> str:
    """The LaTeX command of a letter of the registry.

    >>> from advmf.report.paper import macro
    >>> macro("sigma_w")
    'mfsigmaw'
    """
    return "mf" + name.replace("_", "")


def _section(part: Section | Claim) -> Section:
    if isinstance(part, Claim):
        return Section(part.name, (part,))
    if isinstance(part, Section):
        return part
    raise ArgumentError(f"document takes sections and claims; got {part!r} of type {type(part).__name__}.")


def _definitions(macros: bool, command: str) -> str:
    """A command for every letter; a letter that occurs in the LaTeX of another one is written as its command there."""
    if not macros:
        return ""
    lines = []
    for name, tex in letters().items():
        inner = re.sub(r"(?<=.)\{([A-Za-z])\}", lambda m: rf"{{\{macro(m[1])}}}" if m[1] in letters() else m[0], tex)
        lines.append(rf"{command}{{\{macro(name)}}}{{{inner}}}")
    return "\n".join(lines) + "\n"


def _whole(body: str, title: str, macros: bool) -> str:
    definitions = _definitions(macros, r"\newcommand")
    return (
        f"\\documentclass[11pt]{{article}}\n% Set by advmf {__version__}.\n{PACKAGES}\n{THEOREMS}\n{definitions}"
        "\\allowdisplaybreaks\n\\setlength{\\emergencystretch}{3em}\n"
        f"\\title{{{prose(title)}}}\n\\author{{}}\n\\date{{}}\n\n\\begin{{document}}\n\\maketitle\n\n{body}\n\n\\end{{document}}\n"
    )


def _fragment(body: str, macros: bool, works: Sequence[Work] = ()) -> str:
    entries = "\n".join(f"% {line}" for work in works for line in work.bibtex.splitlines())
    cites = f"% It cites these works; put them into the bibliography of the document:\n{entries}\n" if works else ""
    packages = ", ".join(re.findall(r"\{([\w, ]+)\}", "\n".join(PACKAGES.splitlines()[1:4])))
    guarded = "\n".join(rf"\ifcsname {env}\endcsname\else\newtheorem{{{env}}}{title}\fi" for env, title in (
        ("theorem", "{Theorem}"), ("heuristic", "[theorem]{Heuristic statement}")))  # fmt: skip
    definitions = _definitions(macros, r"\providecommand")
    return (
        f"% Set by advmf {__version__}, to be read by \\input. The document needs: \\usepackage{{{packages}}}\n{cites}"
        f"\\theoremstyle{{definition}}\n{guarded}\n\\providecommand{{\\href}}[2]{{#2}}\n{definitions}"
        f"{{\\allowdisplaybreaks\\setlength{{\\emergencystretch}}{{3em}}%\n{body}\n\\par}}\n"
    )


class _Setter:
    """Typesets the parts of a document with the same letters."""

    def __init__(self, names: Mapping[str, str], claims: Sequence[Claim], net: Net | None) -> None:
        self.names = names
        self.lines = Lines(names)
        own = [claim.assumptions for claim in claims if claim.net]
        self.standing = [a for a in own[0] if all(a in other for other in own)] if net and len(own) > 1 else []

    def text(self, words: str, link: bool = False) -> str:
        return prose(words, self.names, link)

    def notation(self, parts: Sequence[Section], net: Net | None, dimensions: tuple[int, int] | None) -> str:
        shown: list[sp.Basic] = []
        for part in parts:
            for claim in part.claims:
                shown += [claim.lhs, claim.formula, *claim.where, *claim.where.values()]
                shown += [side for equation in claim.implied for side in (equation.lhs, equation.rhs)]
            for derivation in part.derivations:
                shown += [side for step in derivation.steps for side in (step.left, step.right)]
        shown += [sp.Symbol("d"), sp.Symbol("K")] if dimensions else []
        out = "\\section{Notation}\n" + notation(shown, self.lines)
        if net is None:
            return out
        rows = self.lines.aligned(net_lines(net, self.lines), LINE)
        out += f"\nThe network ({self.text(net.name.replace('_', ' '))}): for $l = 1, \\dots, {self.lines.text(net.depth)}$,\n{_align(rows)}"
        standing = "; ".join(map(self.text, self.standing))
        return f"{out}\n\\emph{{Standing assumptions}}: {standing}." if standing else out

    def section(self, part: Section) -> str:
        out = [rf"\section{{{self._plain(part.title)}}}", *([self.text(part.text)] if part.text else [])]
        out += [self.theorem(claim) for claim in part.claims]
        for derivation in part.derivations:
            out.append(rf"\subsection*{{Derivation: {self._plain(derivation.title)}}}")
            out += Proof(derivation, self.lines, LINE).paragraphs()
        return "\n\n".join(out)

    def _plain(self, words: str) -> str:
        """A heading; its formulas are given in words for the bookmarks."""
        text = self.text(words)
        return rf"\texorpdfstring{{{text}}}{{{outlined(words)}}}" if "$" in text else text

    def theorem(self, claim: Claim) -> str:
        """A claim as a theorem; one that rests on an unproved step as a heuristic statement."""
        kind = "heuristic" if Regime.HEURISTIC in claim.regime else "theorem"
        lines, rows = claim_lines(claim, self.names)
        pair = ""
        if claim.p is not None and claim.q is not None:
            pair = f", $p = {lines.text(claim.p)}$, $q = {lines.text(claim.q)}$"
        net = f", {claim.net.name.replace('_', ' ')}" if claim.net else ""
        out = [rf"\begin{{{kind}}}[{prose(claim.name + net)}{pair}]", _align(lines.aligned(rows, LINE))]
        if told := [e for e in claim.equations if (e.lhs, e.rhs) != (claim.lhs, RHS)]:  # what says more than the claim
            out += ["It implies", _align(self._equations(claim, [e.of(claim.rhs) for e in told], lines))]
        out.append(rf"\emph{{Regime}}: {self.text(regime(claim))}.")
        if claim.tolerance:
            of = "of the exponent" if claim.relation is Relation.ORDER else "relative to the right-hand side"
            out.append(rf"\emph{{Tolerance}}: {_allowed(claim.tolerance, lines)}, {of}.")
        own = [self.text(a) for a in claim.assumptions if a not in self.standing]
        standing = ["the standing ones"] if len(own) < len(claim.assumptions) else []
        out.append(rf"\emph{{Assumptions}}: {'; '.join(standing + own)}.")
        if claim.heuristic:
            out.append(rf"\emph{{Heuristic step}}: {self.text(claim.heuristic)}.")
        out += [rf"\emph{{Source}}: {self.text(claim.source, link=True)}.", rf"\end{{{kind}}}"]
        return "\n".join(out)

    def _equations(self, claim: Claim, equations: Sequence[Equation], lines: Lines) -> str:
        """The testable consequences, in the claim's abbreviations."""
        short = {meaning: symbol for symbol, meaning in claim.where.items()}
        rows = []
        for equation in equations:
            left, right = (plain_form(side.xreplace(short), claim) for side in (equation.lhs, equation.rhs))
            rows.append(Line(lines.text(left), "=", right))
        return lines.aligned(rows, LINE)


def _allowed(tolerance: float | sp.Expr, lines: Lines) -> str:
    """A tolerance in a sentence, case by case."""
    if not isinstance(tolerance, sp.Piecewise):
        return f"${lines.text(tolerance)}$" if isinstance(tolerance, sp.Expr) else f"{tolerance:g}"
    cases = [(f"${lines.text(value.evalf(3) if value.is_number else value)}$", case) for value, case in tolerance.args]
    return ", ".join(
        f"{value} elsewhere" if case == sp.true else f"{value} where ${lines.text(case)}$" for value, case in cases
    )


def _align(rows: str) -> str:
    return f"\\begin{{align*}}\n{rows}\n\\end{{align*}}"
