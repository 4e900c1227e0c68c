"""``advmf check``: verdicts as tables and as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advmf import __version__
from advmf.cli.shared import console, main, point, progress, replace, usage_errors

if TYPE_CHECKING:
    from rich.console import Console

    from advmf.verify.report import Report
    from advmf.verify.suite import Outcome

EXIT_REFUTED, EXIT_USAGE, EXIT_UNDERPOWERED, EXIT_INTERRUPTED = 1, 2, 3, 130


@main.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--theorem", "theorems", multiple=True, help="Check only this theorem; may be repeated.")
@click.option("--net", "nets", multiple=True, help="Check only this network; may be repeated.")
@click.option(
    "--activation", "activations", multiple=True, help="Activation (default: relu and leaky_relu); may be repeated."
)
@click.option("--p", "p", help="Exponent of the perturbation's ball (default: 1, 2 and inf).")
@click.option("--q", "q", help="Exponent of the output's norm (default: 1, 2 and inf).")
@click.option(
    "--at", "at", multiple=True, metavar="NAME=VALUE", help="Override a value of the point, e.g. L=10; may be repeated."
)
@click.option("--networks", type=click.IntRange(min=2), help="Networks of the smallest width; wider ones get fewer.")
@click.option("--data", help="digits, mnist, fashion-mnist, or the path of an IDX or npz file.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same numbers.")
@click.option("--device", default="cpu", show_default=True, help="Where to simulate: cpu or cuda.")
@click.option(
    "--sampler",
    type=click.Choice(["auto", "dense", "conditioned"]),
    default="auto",
    show_default=True,
    help="With weights, or without.",
)
@click.option(
    "--memory", type=click.FloatRange(min=0, min_open=True), help="Budget for the networks in GiB.  [default: 4]"
)
@click.option(
    "--full", is_flag=True, help="At the paper's scale: MNIST, L = 10, T2 at widths to 1,000,000; hours on two cores."
)
@click.option(
    "--json",
    "json_path",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write the results here.",
)
@click.pass_context
def check(
    context: click.Context, file: Path | None,
    theorems: tuple[str, ...], nets: tuple[str, ...], activations: tuple[str, ...], p: str | None, q: str | None,
    at: tuple[str, ...], networks: int | None, data: str | None, seed: int, device: str, sampler: str, memory: float | None, full: bool,
    json_path: Path | None,
) -> None:  # fmt: skip
    """Check theorems against simulated networks, or the bound of your own in FILE, as 'advmf new' writes it, with its derivation.

    Every claim comes with negative controls: wrong versions of it that the same check must refute.

    Exit code: 0 nothing refuted, 1 something refuted, 2 usage, 3 nothing refuted but something underpowered (a negative control
    that was not refuted counts as that).
    """
    out = console()
    if file:
        sys.exit(_check_file(context, file, out, seed, json_path))
    with usage_errors():
        from advmf.verify.catalogue import PAIRS
        from advmf.verify.suite import PAPER, QUICK, cases, run

        pairs = [(a, b) for a, b in PAIRS if p is None and q is None] or [
            (a, b) for a in ([p] if p else ["1", "2", "inf"]) for b in ([q] if q else ["1", "2", "inf"])
        ]
        suite = cases(theorems, nets, activations, pairs, PAPER if full else QUICK, point(at))
    outcomes: list[Outcome] = []
    interrupted = False
    with usage_errors(), progress(len(suite)) as advance:
        try:
            options = {"nets": networks, "data": data, "device": device, "sampler": sampler}
            budget = None if memory is None else int(memory * 2**30)
            for outcome in run(suite, seed=seed, progress=advance, memory=budget, **options):
                outcomes.append(outcome)
                if json_path:
                    _write(json_path, outcomes, seed, complete=len(outcomes) == len(suite))
        except KeyboardInterrupt:
            interrupted = True
    _tables(out, outcomes)
    if interrupted:
        click.echo(f"interrupted: {len(outcomes)} of {len(suite)} cases finished", err=True)
        sys.exit(EXIT_INTERRUPTED)
    sys.exit(_exit_code(outcomes))


def _check_file(context: click.Context, file: Path, out: Console, seed: int, json_path: Path | None) -> int:
    """The derivation of a file, its check and the controls; the exit code. A refused step counts as refuted."""
    given = click.core.ParameterSource.COMMANDLINE
    for option in context.command.params:
        if option.name not in ("file", "seed", "json_path") and context.get_parameter_source(str(option.name)) is given:
            raise click.UsageError(
                f"{option.opts[0]} does not go with a file: {file} says itself what it checks, and where."
            )
    with usage_errors():
        from advmf.errors import StepError
        from advmf.verify.variant import load

        try:
            variant = load(file)
            proof = variant.derive()
        except StepError as error:
            click.echo(f"{file}: refused: {error}", err=True)
            return EXIT_REFUTED
        counts = ", ".join(f"{len(items)} {status}" for status, items in proof.rests_on().items())
        out.print(f"{proof.name}: {len(proof.steps)} steps; {counts}", str(variant.claim()), "", sep="\n", markup=False)
        outcome = variant.check(seed)
        if json_path:
            _write(json_path, [outcome], seed, complete=True)
    _tables(out, [outcome])
    return _exit_code([outcome])


def _results(outcomes: Sequence[Outcome], seed: int, complete: bool) -> dict[str, Any]:
    reports = [report for outcome in outcomes for report in outcome.reports]
    controls = [report for outcome in outcomes for report in outcome.controls]
    counts = {v: sum(r.verdict == v for r in reports) for v in ("SUPPORTED", "NOT_REFUTED", "REFUTED", "UNDERPOWERED")}
    return {
        "version": __version__,
        "seed": seed,
        "results": [
            {**report.to_dict(), "activation": outcome.case.activation}
            for outcome in outcomes
            for report in outcome.reports
        ],
        "summary": {
            **counts,
            "complete": complete,
            "seconds": round(sum(r.seconds for r in reports + controls), 2),
            "controls": {
                "total": len(controls),
                "refuted": sum(r.verdict == "REFUTED" for r in controls),
                "missed": [
                    f"{r.theorem} {r.net} {r.p or ''} {r.q or ''}".strip() for r in controls if r.verdict != "REFUTED"
                ],
            },
        },
    }


def _write(path: Path, outcomes: Sequence[Outcome], seed: int, complete: bool) -> None:
    replace(path, json.dumps(_results(outcomes, seed, complete), indent=1) + "\n")


def _exit_code(outcomes: Sequence[Outcome]) -> int:
    verdicts = {report.verdict for outcome in outcomes for report in outcome.reports}
    if "REFUTED" in verdicts:
        return EXIT_REFUTED
    missed = any(report.verdict != "REFUTED" for outcome in outcomes for report in outcome.controls)
    return EXIT_UNDERPOWERED if "UNDERPOWERED" in verdicts or missed else 0


_STYLE = {"SUPPORTED": "green", "NOT_REFUTED": "green", "REFUTED": "bold red", "UNDERPOWERED": "yellow"}
_NUMBERS = {
    "T2": "attack/bound at N -> oo",
    "T3.Euler": "d|W|^2/dt + 2 share L_adv = 0",
    "T3": "slope of the weight variance at N -> oo, simulated/predicted",
    "T6.d": "slope in ln d, simulated/predicted",
    "T6.K": "slope in ln K, simulated/predicted",
    "F2": "coefficient of 1/N, simulated/predicted",
}
PAIR_ORDER = ("1", "2", "inf")
_SHORT = {"SUPPORTED": "supported", "NOT_REFUTED": "stands", "REFUTED": "REFUTED", "UNDERPOWERED": "underpowered"}


def _head(report: Report) -> str:
    return f"{report.p},{report.q}" if report.p else report.theorem


def _place(head: str) -> tuple[int, ...]:
    """Pairs in the order of the (p, q) square; others stay as they are."""
    pair = tuple(PAIR_ORDER.index(r) for r in head.split(",") if r in PAIR_ORDER)
    return pair if len(pair) == 2 else ()


def _cell(report: Report | None) -> Any:
    from rich.text import Text

    if report is None:
        return ""
    number = f"{report.ratio:.3f} " if report.predicted else ""
    if report.theorem == "T6":
        number = f"{report.estimate:.3f}/{report.predicted:.3f} "
    return Text(f"{number}{_SHORT[report.verdict]}", style=_STYLE[report.verdict])


def _tables(console: Console, outcomes: Sequence[Outcome]) -> None:
    """One table per theorem: a row per network, a column per claim; then the reasons, the controls and the totals."""
    from rich.table import Table

    for theorem in dict.fromkeys(outcome.case.theorem for outcome in outcomes):
        rows = [outcome for outcome in outcomes if outcome.case.theorem == theorem]
        # Laws stand side by side, and what is stated for each (p, q) has a table of its own.
        names = dict.fromkeys(r.theorem for outcome in rows for r in outcome.reports if r.p) or [theorem]
        for name in names:
            cells = [{_head(r): r for r in outcome.reports if not r.p or r.theorem == name} for outcome in rows]
            heads = list(dict.fromkeys(head for row in cells for head in row))
            title = theorem if len(names) == 1 else name
            console.print(f"{title}: {_NUMBERS.get(title, 'simulated/predicted')}", style="italic")
            table = Table("net", "activation", *sorted(heads, key=_place), box=None)
            for outcome, row in zip(rows, cells):
                found = (row.get(head) for head in sorted(heads, key=_place))
                table.add_row(outcome.case.name, outcome.case.activation, *map(_cell, found))
            console.print(table, "")
    for outcome in outcomes:
        for report in outcome.reports:
            for finding in report.findings:
                if finding.verdict in ("REFUTED", "UNDERPOWERED"):
                    pair = f" p={report.p} q={report.q}" if report.p else ""
                    where = f"{report.theorem} {report.net} {outcome.case.activation}{pair}"
                    console.print(
                        f"{where}: {finding.label}: {finding.verdict}: {finding.reason}", style=_STYLE[finding.verdict]
                    )
    if outcomes:
        summary = _results(outcomes, 0, True)["summary"]
        counts = ", ".join(f"{n} {v}" for v, n in summary.items() if v in _STYLE and n)
        controls = summary["controls"]
        console.print(f"{counts}; negative controls refuted: {controls['refuted']} of {controls['total']}")
        for missed in controls["missed"]:
            console.print(f"negative control not refuted: {missed}", style="yellow")
        images = dict.fromkeys(r.settings["data"] for o in outcomes for r in o.reports if "data" in r.settings)
        console.print(f"{summary['seconds']:.0f} s" + "".join(f"; images: {name}" for name in images))
