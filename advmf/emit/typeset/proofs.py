"""Derivations and their steps as LaTeX: chains in ``align*``, the reason of a step as its tag."""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from advmf.claim import Relation
from advmf.emit.typeset.breaking import width
from advmf.emit.typeset.lines import Line, Lines, system_lines, systems_of
from advmf.emit.typeset.prose import prose
from advmf.theory.lemmas import find_lemma
from advmf.theory.proof import Derivation, Part, Status, Step
from advmf.theory.reasons import LemmaUse

ABOVE, BETWEEN = "&\\text{{{}}} \\\\\n", "\\shortintertext{{\\footnotesize {}}}\n"
"""The form of a remark before its step: a separate row in a notebook, a paragraph in a document."""

RELATIONS = {**{str(each): each.tex for each in Relation}, "->": r"\to"}

SHORT = 60
"""The most characters of a reason and remark beside a step; a longer remark stands above it."""


def step_line(step: Step, lines: Lines) -> str:
    """One step in a row, with its reason."""
    row = lines.inline([Line(lines.text(step.left), RELATIONS[step.relation], step.right)])
    return rf"{row} \qquad \text{{({prose(str(step.reason), lines.printer.names)})}}"


class Proof:
    """A derivation's parts as LaTeX: in sentences and displays for a document, or in one display for a notebook."""

    def __init__(self, derivation: Derivation, lines: Lines, limit: float) -> None:
        self.derivation, self.lines, self.limit = derivation, lines, limit
        self._known: list[tuple[object, ...]] = []

    def text(self, words: str) -> str:
        return prose(words, self.lines.printer.names)

    def display(self) -> str:
        """The whole derivation as one ``align*`` environment."""
        rows: list[str] = []
        for part in self.derivation.parts:
            title = self.text(part.title or part.fact.label)
            rows += [rf"&\text{{{title}:}}"] if title else []
            rows += self._chain(part, ABOVE) if part.steps else [*self._fact(part)]
        return _align(rows)

    def paragraphs(self) -> Iterator[str]:
        """Every part as a sentence and a display, then what the derivation rests on."""
        for part in self.derivation.parts:
            words = self.text(part.title)
            if part.steps:
                head = f"{words[:1].upper()}{words[1:]}:" if words else ""
                yield f"{head}\n{_align(self._chain(part, BETWEEN))}"
            else:
                kind = part.fact.label[:1].upper() + part.fact.label[1:]
                rows = [*self._fact(part)]
                end = f":\n{_align(rows)}" if rows else "."
                yield rf"\emph{{{self.text(kind)}}}{': ' if words else ''}{words}{end}"
        rests = self.derivation.rests_on()
        counts = [
            rf"{len(rests[status])} of {len(self.derivation.steps)} steps {status}"
            for status in (Status.PROVED, Status.CONFIRMED)
            if rests[status]
        ]
        assumed = "; ".join(self.text(words.partition(" (")[0]) for words in rests[Status.ASSUMED])
        yield rf"\emph{{Rests on}}: {', '.join(counts)}; {f'assumed: {assumed}' if assumed else 'nothing is assumed'}."
        used = dict.fromkeys(step.reason.name for step in self.derivation.steps if isinstance(step.reason, LemmaUse))
        if used:
            sources = [f"{name} ({find_lemma(name).source})" for name in used]
            yield rf"\emph{{Lemmas}}: {'; '.join(self.text(words) for words in sources)}."

    def _fact(self, part: Part) -> Iterator[str]:
        fact = part.fact
        if fact.left is None:
            return
        sides = [fact.left, fact.right if fact.right is not None else sp.S.Zero]
        found = [Line(self.lines.text(sides[0]), RELATIONS[fact.relation], sides[1]), *self._new_systems(sides)]
        yield self.lines.aligned(found, self.limit)

    def _new_systems(self, exprs: list[sp.Expr]) -> list[Line]:
        """The steps of recursions and flows that were not shown before."""
        new = [system for system in systems_of(exprs) if system not in self._known]
        self._known += new
        return system_lines(new, self.lines)

    def _chain(self, part: Part, remark: str) -> list[str]:
        """The rows of a chain; long remarks stand above their steps, in the given form."""
        start = self.lines.text(part.steps[0].left)
        short = [len(f"{step.number}. {step.reason}") + len(step.text) <= SHORT for step in part.steps]
        beside = width(start) < self.limit / 3 and (short[0] or not part.steps[0].text)
        margin = width(start) if beside else 0.0
        rows = (
            []
            if beside
            else [rf"&\mathrlap{{{piece}}}" for piece in self.lines.breaker.lines(part.steps[0].left, self.limit)]
        )
        for i, step in enumerate(part.steps):
            reason = self.text(f"{step.number}. {step.reason}{f': {step.text}' if short[i] and step.text else ''}")
            pieces = self.lines.breaker.lines(step.right, self.limit - margin - 2.5)
            new = [
                f"{start if beside and i == 0 else ''} &{RELATIONS[step.relation]} {pieces[0]}",
                *(rf"&\qquad {piece}" for piece in pieces[1:]),
            ]
            new[-1] += rf" \tag*{{\footnotesize {reason}}}"
            new[0] = (remark.format(self.text(step.text)) if step.text and not short[i] else "") + new[0]
            rows += new
        shown = [step.right for step in part.steps] + [part.steps[0].left]
        added = self._new_systems(shown)
        return rows + ([self.lines.aligned(added, self.limit)] if added else [])


def _align(rows: list[str]) -> str:
    body = " \\\\\n".join(rows)
    return f"\\begin{{align*}}\n{body}\n\\end{{align*}}"
