"""``advmf check``: verdicts as tables and as JSON."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advmf.budget import MEMORY
from advmf.cli.exits import Exit
from advmf.cli.shared import alone, console, main, point, terminable, told_interrupt, unused, usage_errors
from advmf.cli.tables import print_tables
from advmf.cli.types import DEVICE, SEED, Networks, OutputFile
from advmf.errors import AdvmfError, ArgumentError, CaseError, OutputError, of_input
from advmf.outputs import Output
from advmf.progress import progress

if TYPE_CHECKING:
    from rich.console import Console

    from advmf.report.document import Document
    from advmf.verify.runs import Outcome
    from advmf.verify.suite import Case

WRITES = 20
"""Of the time of a run, one part in this many at most is spent on writing the results so far."""


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
@click.option(
    "--networks",
    type=Networks(),
    metavar="N|pilot",
    help="Networks of the smallest width; wider ones get fewer. 'pilot': as many networks, and matrices, as pilots ask for.",
)
@click.option(
    "--sequential",
    is_flag=True,
    help="Simulate in growing batches, and stop at the first that decides, at the same error rates.",
)
@click.option(
    "--widths",
    type=click.Choice(["ladder", "limit"]),
    help="A ladder of widths, extrapolated; or networks of infinite width, which judge claims given the limit. "
    "Default: as each theorem has it.",
)
@click.option("--data", help="digits, mnist, fashion-mnist, or the path of an IDX or npz file.")
@SEED
@DEVICE
@click.option(
    "--sampler",
    type=click.Choice(["auto", "dense", "conditioned"]),
    default="auto",
    show_default=True,
    help="With weights, or without.",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float64"]),
    default="float32",
    show_default=True,
    help="Numbers of the simulation: float64 where networks overflow or underflow.",
)
@click.option(
    "--memory",
    type=click.FloatRange(min=0, min_open=True),
    help="Budget for the networks of a worker in GiB.  [default: 4]",
)
@click.option("--quick", is_flag=True, help="One network alone, at nine pairs (p, q): some ten seconds.")
@click.option(
    "--full",
    is_flag=True,
    help="At the paper's scale: MNIST, L = 10, T2 at N = oo and widths to 1,000,000; some 20 minutes on two cores.",
)
@click.option(
    "--store",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep every finished case in this file; nothing finished is lost, whatever happens.",
)
@click.option("--resume", is_flag=True, help="Take over what --store holds, and compute the rest.")
@click.option(
    "--workers", type=click.IntRange(min=1), help="Processes, of one thread each.  [default: cores, as memory allows]"
)
@click.option(
    "--backend",
    type=click.Choice(["loky", "dask"]),
    default="loky",
    show_default=True,
    help="Where the workers are: on this machine, or on a dask cluster.",
)
@click.option("--scheduler", metavar="ADDRESS", help="The cluster's scheduler, e.g. tcp://host:8786.")
@click.option(
    "--json",
    "json_path",
    type=OutputFile(),
    help="Write the results here; - is standard output, and the tables go to standard error.",
)
@click.pass_context
def check(
    context: click.Context, file: Path | None,
    theorems: tuple[str, ...], nets: tuple[str, ...], activations: tuple[str, ...], p: str | None, q: str | None,
    at: tuple[str, ...], networks: int | str | None, sequential: bool, widths: str | None, data: str | None, seed: int, device: str,
    sampler: str, dtype: str, memory: float | None, quick: bool, full: bool,
    store: Path | None, resume: bool, workers: int | None, backend: str, scheduler: str | None, json_path: Output | None,
) -> None:  # fmt: skip
    """Check theorems against simulated networks. With FILE, check your own bound and its derivation; 'advmf new' writes
    such a file.

    Every claim comes with negative controls: wrong versions of it that the same check must refute.

    Exit code: 0 nothing refuted, 1 something refuted, 2 usage, or a file that cannot be read or written, 3 nothing
    refuted but something underpowered (a negative control that was not refuted counts as that), 4 a crash, 5 nothing
    refuted but a case ended in an error, 130 Ctrl-C, 141 the reader of the output is gone, 143 SIGTERM.
    """
    out = console(json_path)
    budget = MEMORY if memory is None else int(memory * 2**30)
    with usage_errors():
        from advmf.verify.workers import default_workers, processes

        if quick and full:
            raise ArgumentError("--quick and --full are two scales; give one of them.")
        pool = None
        if backend == "loky" and device == "cpu" and not (file or theorems or nets or activations or p or q):
            workers = workers or default_workers(budget)
            # The processes of a whole suite import what they need while this one does, and while it derives the claims.
            pool = context.with_resource(processes(workers, ahead=True)) if workers > 1 else None
        from advmf.report.document import of_outcomes
        from advmf.verify.catalogue import pairs_of
        from advmf.verify.runs import family, run
        from advmf.verify.suite import PAPER, QUICK, cases

        if file:
            suite = [_loaded(context, file, out, point(at))]
        else:
            pairs = pairs_of(p, q) if p or q else ()
            finite = widths == "ladder" or sampler != "auto"
            profile = PAPER if full else QUICK
            suite = cases(theorems, nets, activations, pairs, profile, point(at), ladder=finite, brief=quick)
    if all(case.net is None for case in suite):
        unused(
            context, "matrices have no networks, images or device", "networks", "widths", "data", "device", "sampler"
        )
    options: dict[str, Any] = {"nets": networks, "data": data, "device": device, "sampler": sampler, "memory": budget}
    options["widths"] = "limit" if widths == "limit" else None
    options["sequential"], options["dtype"] = sequential or None, None if dtype == "float32" else dtype
    command = shlex.join(["advmf", *sys.argv[1:]])
    options |= {"store": store, "resume": resume, "command": command}
    options |= {"workers": workers or default_workers(budget, device), "backend": backend, "scheduler": scheduler}
    options["pool"] = pool
    claims = sum(len(case.claims) for case in suite)
    found: list[Outcome] = []
    document = of_outcomes([], seed, command, complete=False)
    errors: list[AdvmfError] = []
    interrupted: KeyboardInterrupt | None = None
    failure: AdvmfError | None = None
    due = 0.0
    with progress(len(suite)) as advance, terminable():
        try:
            with closing(run(suite, seed=seed, progress=advance, **options)) as finished:
                for outcome in finished:
                    found.append(outcome)
                    errors += [outcome.error] if outcome.error else []
                    advance.say(told_of(outcome))
                    outcomes = family(sorted(found, key=lambda o: o.position), claims)
                    document = of_outcomes(outcomes, seed, command, complete=len(outcomes) == len(suite))
                    if json_path and json_path.replaced and (begun := time.monotonic()) >= due:
                        _write(json_path, document)
                        due = time.monotonic() + WRITES * (time.monotonic() - begun)
        except KeyboardInterrupt as stop:
            interrupted = stop
        except AdvmfError as error:  # the results so far are shown anyway
            failure = error
    nothing = len(errors) == len(found) and all(map(of_input, errors))
    if errors and nothing:  # could be checked as it was asked for
        failure, found = failure or errors[0], []
    if found or interrupted:
        refuted = [name for name in document.names if name not in document.missed] if file else ()
        failure = _show(out, document, json_path, refuted) or failure
    if failure:
        raise click.UsageError(str(failure))
    if interrupted:
        sys.exit(told_interrupt(interrupted, len(found), len(suite), "cases", store))
    sys.exit(exit_code(document, tell_errors(errors)))


def tell_errors(errors: Sequence[AdvmfError]) -> bool:
    """Print the tracebacks of cases that ended in an unexpected error; gives whether there is any."""
    for error in errors:
        for note in getattr(error, "__notes__", ()):
            click.echo(f"{note}advmf: {error} (exit code {Exit.CRASHED:d})", err=True)
    return any(isinstance(error, CaseError) for error in errors)


def told_of(outcome: Outcome) -> str:
    """A line on a case that has finished."""
    case = outcome.case
    if outcome.error:
        return f"{' '.join(filter(None, (case.theorem, case.name, case.activation)))}: {type(outcome.error).__name__}: {outcome.error}"
    first = outcome.reports[0]
    counts = Counter(str(report.verdict) for report in outcome.reports)
    refuted = sum(report.verdict == "REFUTED" for report in outcome.controls)
    seconds = sum(report.seconds for report in (*outcome.reports, *outcome.controls))
    name = " ".join(filter(None, (case.theorem, case.name, case.activation, "N=inf" if first.given else "")))
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    return f"{name}: {verdicts}; controls refuted: {refuted} of {len(outcome.controls)} ({seconds:.1f} s)"


def _show(out: Console, document: Document, json_path: Output | None, refuted: Sequence[str] = ()) -> AdvmfError | None:
    """Write and print all results; an error in writing one is raised after the others are out."""
    failure = None
    if json_path:
        try:
            _write(json_path, document)
        except OutputError as error:
            failure = error
    print_tables(out, document)
    for name in refuted:
        out.print(f"negative control refuted: {name}", markup=False)
    _summarise(document)
    return failure


def _write(output: Output, document: Document) -> None:
    output.write(json.dumps(document.to_dict(), indent=1, allow_nan=False) + "\n")


def _loaded(context: click.Context, file: Path, out: Console, at: Mapping[str, float]) -> Case:
    """The case of a file, after its derivation is verified and summarised; a refused step ends the check as refuted."""
    taken = "at networks sequential widths data seed device sampler dtype memory store resume workers backend scheduler json_path"
    alone(context, file, *taken.split())
    from advmf.errors import StepError
    from advmf.verify.own import load

    try:
        own = load(file)
        case, proofs = own.case(at), own.proofs
    except StepError as error:
        click.echo(f"{file}: refused: {error}", err=True)
        sys.exit(Exit.REFUTED)
    for proof in proofs:
        counts = ", ".join(f"{len(items)} {status}" for status, items in proof.rests_on().items())
        out.print(f"{proof.name}: {len(proof.steps)} steps; {counts}", markup=False)
    if not proofs:
        out.print(f"{own.theorem.name}: no derivation", markup=False)
    for claim in own.claims:
        out.print(str(claim), f"source: {claim.source}", sep="\n", markup=False)
    if own.theorem.net is not None:
        out.print(f"network: {own.theorem.net.name}: {own.theorem.net.block}", markup=False)
    out.print()
    return case


def _summarise(document: Document) -> None:
    """Append the results to the job summary if this runs as a GitHub job."""
    from advmf.report.markdown import markdown

    if path := os.environ.get("GITHUB_STEP_SUMMARY"):
        try:
            with open(path, "a", encoding="utf-8") as file:
                file.write(markdown(document) + "\n")
        except OSError as error:
            click.echo(f"$GITHUB_STEP_SUMMARY cannot be written: {error}", err=True)


def exit_code(document: Document, crashed: bool) -> Exit:
    """The exit code of a run with these results."""
    if document.counts["REFUTED"]:
        return Exit.REFUTED
    if document.errors:
        return Exit.CRASHED if crashed else Exit.FAILED
    return Exit.UNDERPOWERED if document.counts["UNDERPOWERED"] or document.missed else Exit.NOTHING_REFUTED
