"""``advmf check``: verdicts as tables and as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from advmf.cli.shared import console, main, point, progress, replace, usage_errors
from advmf.cli.tables import print_tables, record

if TYPE_CHECKING:
    from advmf.verify.suite import Outcome

EXIT_REFUTED, EXIT_USAGE, EXIT_UNDERPOWERED, EXIT_INTERRUPTED = 1, 2, 3, 130


@main.command()
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
def check(
    theorems: tuple[str, ...], nets: tuple[str, ...], activations: tuple[str, ...], p: str | None, q: str | None,
    at: tuple[str, ...], networks: int | None, data: str | None, seed: int, device: str, sampler: str, memory: float | None, full: bool,
    json_path: Path | None,
) -> None:  # fmt: skip
    """Check theorems against simulated networks.

    Every claim comes with negative controls: wrong versions of it that the same check must refute.

    Exit code: 0 nothing refuted, 1 something refuted, 2 usage, 3 nothing refuted but something underpowered (a negative control
    that was not refuted counts as that).
    """
    out = console()
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
    print_tables(out, outcomes)
    if interrupted:
        click.echo(f"interrupted: {len(outcomes)} of {len(suite)} cases finished", err=True)
        sys.exit(EXIT_INTERRUPTED)
    sys.exit(_exit_code(outcomes))


def _write(path: Path, outcomes: Sequence[Outcome], seed: int, complete: bool) -> None:
    replace(path, json.dumps(record(outcomes, seed, complete), indent=1) + "\n")


def _exit_code(outcomes: Sequence[Outcome]) -> int:
    verdicts = {report.verdict for outcome in outcomes for report in outcome.reports}
    if "REFUTED" in verdicts:
        return EXIT_REFUTED
    missed = any(report.verdict != "REFUTED" for outcome in outcomes for report in outcome.controls)
    return EXIT_UNDERPOWERED if "UNDERPOWERED" in verdicts or missed else 0
