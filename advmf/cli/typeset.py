"""``advmf latex``: theorems, derivations, norm factors and verdicts as a LaTeX document."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from advmf.cli.shared import declared, main, replace, statement_options, usage_errors

if TYPE_CHECKING:
    from advmf.emit.document import Section
    from advmf.net import Net

OF_MATRICES = ("beta", "T6.d", "T6.K")
"""Statements about Gaussian matrices, which stand together."""


@main.command(name="latex")
@click.argument("theorems", nargs=-1)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write it here.  [default: print it]",
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
@click.option("--fragment", is_flag=True, help="Without a preamble, to be read by \\input.")
@click.option("--macros", is_flag=True, help="Define a command for every letter, so that it is renamed in one place.")
@click.option(
    "--derivations/--no-derivations", default=True, show_default=True, help="With the steps of the derivations."
)
def latex_(
    theorems: tuple[str, ...], output: Path | None, net: str, activation: str | None, p: str, q: str, route: str, d: int, K: int,
    results: Path | None, fragment: bool, macros: bool, derivations: bool,
) -> None:  # fmt: skip
    """Set THEOREMS (all of them if none is given) as a LaTeX document that compiles as it is.

    The notation, the network, every claim with its assumptions, regime and source, the derivations step by step, the table of norm factors,
    and with --results the verdicts of a check.
    """
    with usage_errors():
        from advmf.emit.document import document
        from advmf.emit.typeset.results import read_results
        from advmf.errors import ArgumentError
        from advmf.verify.catalogue import STATEMENTS, choose

        if output and not output.parent.is_dir():
            raise ArgumentError(f"There is no folder {output.parent} for {output.name}; make it, or give another path.")
        chosen = choose("theorem", theorems, STATEMENTS, tuple(STATEMENTS))
        record = read_results(results) if results else None
        network = declared(net, activation)
        title = f"Mean-field theory of adversarial training: the {net.replace('_', ' ')} network"
        text = document(
            _sections(chosen, network, (p, q, route), bool(theorems), derivations),
            net=network, title=title, dimensions=(d, K), results=record, macros=macros, fragment=fragment,
        )  # fmt: skip
    if output:
        replace(output, text)
    else:
        click.echo(text, nl=False)


def _sections(
    chosen: tuple[str, ...], net: Net, at: tuple[str, str, str], asked: bool, derivations: bool
) -> list[Section]:
    """One section per theorem, and one for what is said of Gaussian matrices; raises ArgumentError where one asked for says nothing."""
    from advmf.emit.document import Section
    from advmf.emit.typeset import scripts
    from advmf.errors import ArgumentError
    from advmf.verify.catalogue import STATEMENTS, TITLES

    sections, matrices = [], []
    for name in chosen:
        claims = STATEMENTS[name](net, *at)
        if not claims and asked:
            raise ArgumentError(f"{name} says nothing of {net.name}: its moment rules are not exact at finite width.")
        if name in OF_MATRICES:
            matrices += claims
        elif claims:
            head, _, text = TITLES[name].partition(": ")
            proofs = scripts.derivations(name, net) if derivations and scripts.derived(name, net) else []
            sections.append(Section(f"{name}: {head}", claims, proofs, f"{_sentence(text)}."))
    if matrices:
        proofs = scripts.derivations("beta") if derivations and "beta" in chosen else []
        sections.append(Section("Norm factor and dimensions", matrices, proofs))
    return sections


def _sentence(text: str) -> str:
    """Its first letter large, unless a formula stands there."""
    return text[:1].upper() + text[1:] if text[:2].isalpha() else text
