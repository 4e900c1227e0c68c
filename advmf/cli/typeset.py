"""``advmf latex``: theorems, derivations, norm factors and verdicts as a LaTeX document."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from advmf.cli.shared import alone, declared, main, own_file, statement_options, usage_errors, writing
from advmf.cli.types import OutputFile
from advmf.outputs import Output

if TYPE_CHECKING:
    from advmf.claim import Claim
    from advmf.nets import Net
    from advmf.report.paper import Section


@main.command(name="latex")
@click.argument("theorems", nargs=-1)
@click.option(
    "-o",
    "--output",
    type=OutputFile(),
    default="-",
    help="Write it here.  [default: -, standard output]",
)
@statement_options
@click.option(
    "--d",
    "d",
    type=click.IntRange(min=1),
    default=784,
    show_default=True,
    help="Input dimension of the table of norm factors.",
)
@click.option(
    "--K", "K", type=click.IntRange(min=1), default=10, show_default=True, help="Output dimension of that table."
)
@click.option(
    "--results",
    "results",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Set the verdicts of this run of 'advmf check --json'.",
)
@click.option("--bib", "bib", type=OutputFile(), help="Write the BibTeX entries of the cited works here.")
@click.option("--fragment", is_flag=True, help="Without a preamble, to be read by \\input.")
@click.option("--macros", is_flag=True, help="Define a command for every letter, so that it is renamed in one place.")
@click.option(
    "--derivations/--no-derivations", default=True, show_default=True, help="With the steps of the derivations."
)
@click.pass_context
def latex_(
    context: click.Context,
    theorems: tuple[str, ...], output: Output, net: str, activation: str | None, p: str, q: str, route: str, d: int, K: int,
    results: Path | None, bib: Output | None, fragment: bool, macros: bool, derivations: bool,
) -> None:  # fmt: skip
    """Set THEOREMS (all of them if none is given), or your own bound in a file, as a LaTeX document that compiles
    without changes.

    The document has the notation, the network, every claim with its assumptions, regime and source, the derivations
    step by step, and the table of norm factors. With --results it has the verdicts of a check on these theorems and
    this network.
    """
    with usage_errors():
        from advmf.emit.typeset.bibliography import bibtex
        from advmf.report.paper import document
        from advmf.report.results import about, read_results
        from advmf.theorems import THEOREMS
        from advmf.verify.catalogue import ACTIVATIONS, choose

        record = read_results(results) if results else None
        if file := own_file(theorems):
            alone(context, file, "output", "d", "K", "results", "bib", "fragment", "macros", "derivations")
            network, section = _own(file, derivations)
            sections, title = [section], f"A bound of one's own: {section.title}"
            names, activations = {section.title}, None
        else:
            chosen = choose("theorem", theorems, THEOREMS, tuple(THEOREMS))
            network = declared(net, activation)
            sections = _sections(chosen, network, (p, q, route), bool(theorems), derivations)
            title = f"Mean-field theory of adversarial training: the {network.name.replace('_', ' ')} network"
            names = {part for name in chosen for part in (name, *(part.name for part in THEOREMS[name].parts))}
            activations = choose("activation", [activation], ACTIVATIONS, ()) if activation else None
        if record is not None:
            record = about(record, names, "" if network is None else network.name, activations)
        text = document(
            sections, net=network, title=title, dimensions=(d, K), results=record, macros=macros, fragment=fragment,
        )  # fmt: skip
    with writing() as outputs:
        if bib:
            outputs.callback(bib.write, bibtex(text))
        outputs.callback(output.write, text)


def _own(file: Path, derivations: bool) -> tuple[Net | None, Section]:
    """The net of a file, and the section of its bound."""
    from advmf.report.paper import Section
    from advmf.verify.own import load

    own = load(file)
    return own.theorem.net, Section(own.theorem.name, list(own.claims), own.proofs if derivations else [])


def _sections(
    chosen: tuple[str, ...], net: Net, at: tuple[str, str, str], asked: bool, derivations: bool
) -> list[Section]:
    """One section per theorem, and one for all claims about Gaussian matrices; raises ArgumentError where a requested
    theorem says nothing."""
    from advmf.errors import ArgumentError
    from advmf.report.paper import Section
    from advmf.theorems import THEOREMS
    from advmf.theorems import derivations as scripts
    from advmf.verify.catalogue import silence

    sections: list[Section] = []
    matrices: list[Claim] = []
    for name in chosen:
        theorem = THEOREMS[name]
        claims = theorem.stated(net, *at)
        if not claims and asked:
            raise ArgumentError(f"{silence(theorem, net)}.")
        if theorem.matrices:  # these stand together
            matrices += claims
        elif claims:
            proofs = scripts.derivations(name, net) if derivations and scripts.derived(name, net) else []
            sections.append(Section(f"{name}: {theorem.head}", claims, proofs, f"{_sentence(theorem.text)}."))
    if matrices:
        own = (
            [name for name in chosen if THEOREMS[name].matrices and scripts.derived(name, None)] if derivations else []
        )
        proofs = [proof for name in own for proof in scripts.derivations(name)]
        sections.append(Section("Norm factor and dimensions", matrices, proofs))
    return sections


def _sentence(text: str) -> str:
    """The text with a capital first letter, unless it begins with a formula."""
    return text[:1].upper() + text[1:] if text[:2].isalpha() else text
