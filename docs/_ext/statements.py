"""Directives that set claims, derivations and checks of a theorem from what the package derives at build time.

``{statement} T2`` has the claims, ``{derivation} T2`` the derivation, ``{verified} T2`` how the default check puts it
to the test. Each takes the options ``net`` (a preset with its slopes), ``p`` and ``q``.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence

from docutils import nodes
from docutils.parsers.rst import directives
from formulas import display, sentence
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import advmf as mf
from advmf.claim import Claim
from advmf.emit.typeset.proofs import RELATIONS
from advmf.emit.typeset.prose import regime
from advmf.theorems import THEOREMS
from advmf.theorems.selection import PAIRS
from advmf.theorems.theorem import Scale
from advmf.theory.proof import Derivation, Part, Status


def net_of(words: str) -> mf.Net | None:
    """A preset by its name, with slopes if any are given: "vanilla", or "residual 1 0"."""
    name, *slopes = words.split()
    return mf.nets.PRESETS[name](*slopes) if name != "none" else None


def pairs_of(pairs: Sequence[tuple[str, str]]) -> str:
    """The pairs (p, q) of a row, in words where there are all."""
    return "nine pairs (p, q)" if len(pairs) == 9 else "(p, q) = " + ", ".join(f"({p}, {q})" for p, q in pairs)


def row(head: str, body: str) -> str:
    return f"<dt>{head}</dt><dd>{body}</dd>"


def listed(items: Iterator[str] | list[str]) -> str:
    return "<ul>" + "".join(f"<li>{item}</li>" for item in items) + "</ul>"


def claim_box(claim: Claim) -> str:
    """A claim: its formula, what it implies, where it holds, on what it rests."""
    pair = f", p = {claim.p}, q = {claim.q}".replace("oo", "∞") if claim.p is not None else ""
    rows = [row("Regime", sentence(regime(claim)))]
    if claim.heuristic:
        rows.append(row("Heuristic step", sentence(claim.heuristic)))
    if claim.assumptions:
        rows.append(row("Assumptions", listed([sentence(each) for each in claim.assumptions])))
    if claim.equations:
        rows.append(row("What is tested", "".join(display(mf.latex(each)) for each in claim.implied)))
    rows.append(row("Source", sentence(claim.source)))
    kind = "Heuristic statement" if claim.heuristic else "Statement"
    return (
        f'<div class="claim"><p class="claim-title">{kind} {html.escape(claim.name + pair)}</p>{display(mf.latex(claim))}'
        f"<details><summary>Where it holds, and what it rests on</summary><dl>{''.join(rows)}</dl></details></div>"
    )


def step_rows(part: Part) -> Iterator[str]:
    title = sentence(f"{part.title or part.fact.label}")
    yield f'<tr class="part"><th colspan="3">{title}</th></tr>'
    if not part.steps:
        if part.fact.left is not None:
            fact = f"{mf.latex(part.fact.left)} {RELATIONS[part.fact.relation]} {mf.latex(part.fact.right if part.fact.right is not None else 0)}"
            yield f"<tr><td></td><td>{display(fact)}</td><td>{sentence(part.fact.label)}</td></tr>"
        return
    yield f"<tr><td></td><td>{display(mf.latex(part.steps[0].left))}</td><td></td></tr>"
    for step in part.steps:
        remark = f"<br>{sentence(step.text)}" if step.text else ""
        yield (
            f"<tr><td>{step.number}</td><td>{display(f'{RELATIONS[step.relation]} {mf.latex(step.right)}')}</td>"
            f'<td>{sentence(str(step.reason))}: <span class="{step.status}">{step.status}</span>{remark}</td></tr>'
        )


def derivation_box(proof: Derivation) -> str:
    rests = proof.rests_on()
    proved, confirmed = len(rests[Status.PROVED]), len(rests[Status.CONFIRMED])
    counts = f"{proved} of {len(proof.steps)} steps are proved" + (
        f", {confirmed} confirmed by numbers" if confirmed else ""
    )
    assumed = listed([sentence(each) for each in rests[Status.ASSUMED]]) if rests[Status.ASSUMED] else ""
    return (
        f'<div class="derivation"><p>{counts}; {"assumed:" if assumed else "nothing is assumed."}</p>{assumed}'
        f"<details><summary>Every step of “{sentence(proof.title)}”</summary><div class='scroll'><table><tbody>"
        f"{''.join(r for part in proof.parts for r in step_rows(part))}</tbody></table></div></details></div>"
    )


class FromTheorem(SphinxDirective):
    """A directive about a theorem, given by its name."""

    required_arguments = 1
    option_spec = {"net": directives.unchanged, "p": directives.unchanged, "q": directives.unchanged}  # noqa: RUF012

    @property
    def net(self) -> mf.Net | None:
        return net_of(self.options.get("net", "residual 1 0"))

    def run(self) -> list[nodes.Node]:
        return [nodes.raw("", self.markup(self.arguments[0]), format="html")]

    def markup(self, name: str) -> str:
        raise NotImplementedError


class Statement(FromTheorem):
    def markup(self, name: str) -> str:
        p, q = (self.options.get(each, "2") for each in "pq")
        claims = THEOREMS[name].stated(self.net, p, q, "leading" if name == "T2" else "best")
        if not claims:
            raise self.error(f"{name} says nothing about {self.net}.")
        return "".join(map(claim_box, claims))


class Steps(FromTheorem):
    def markup(self, name: str) -> str:
        return "".join(map(derivation_box, mf.derivations(name, self.net)))


class Verified(FromTheorem):
    """The networks, pairs, sizes and wrong versions of the default check."""

    def markup(self, name: str) -> str:
        theorem = THEOREMS[name]
        if theorem.unchecked:
            return f"<p>{sentence(theorem.unchecked)}</p>"
        rows = []
        for part in theorem.parts or (theorem,):
            scale = part.scales["quick"]
            of = f" ({part.name})" if theorem.parts else ""
            if isinstance(scale, Scale):
                paired = any(claim.p is not None for claim in part.tested(self.net, PAIRS))
                nets = [
                    f"{net}, {phi}" + (f": {pairs_of(pairs)}" if paired else "")
                    for (net, phi), pairs in part.rows("quick").items()
                ]
                widths = "N = ∞" if scale.widths == "limit" else f"N = {', '.join(map(str, scale.widths))}"
                rows.append(
                    row(
                        f"Networks{of}",
                        listed([html.escape(each.replace("_", " ").replace("inf", "∞")) for each in nets]),
                    )
                )
                size = f"L = {scale.L}, d = {scale.d}, K = {scale.K}, {widths}, with {', '.join(map(str, scale.nets))} networks"
            else:
                size = f"d = {scale.d}, K = {scale.K}, {scale.samples} matrices"
            rows.append(row(f"Sizes{of}", size))
            rows.append(row(f"Wrong versions that must be refuted{of}", listed(self.wrong(part))))
        command = "".join(f"<code>advmf check --theorem {part.name}</code> " for part in theorem.parts or (theorem,))
        return f"<dl class='verified'>{row('Command', command)}{''.join(rows)}</dl>"

    def wrong(self, theorem: mf.Theorem) -> list[str]:
        claims = theorem.tested(None if theorem.matrices else self.net, PAIRS)
        names = [mistake.name for claim in claims for mistake in theorem.wrong(claim)]
        found = [re.search(r"\[(.*)\]|( x .*)$", each) for each in names]
        return list(
            dict.fromkeys(sentence((m[1] or f"the formula{m[2]}") if m else each) for m, each in zip(found, names))
        )


def setup(app: Sphinx) -> dict[str, bool]:
    for name, directive in (("statement", Statement), ("derivation", Steps), ("verified", Verified)):
        app.add_directive(name, directive)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
