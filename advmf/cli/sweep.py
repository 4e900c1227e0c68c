"""``advmf sweep``: a theorem along a quantity, as a table, a figure, CSV, JSON and a page."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advmf.cli.check import exit_code, tell_errors, told_of
from advmf.cli.shared import (
    console,
    main,
    own_file,
    point,
    require_figure,
    require_page,
    terminable,
    told_interrupt,
    unused,
    usage_errors,
    values_over,
    writing,
)
from advmf.cli.types import CSV, PLOT, SEED, SIZE, Networks, OutputFile
from advmf.errors import AdvmfError, of_input
from advmf.outputs import Output
from advmf.progress import progress

if TYPE_CHECKING:
    from advmf.cli.exits import Exit
    from advmf.experiments.sweep import Spot
    from advmf.verify.runs import Outcome
    from advmf.verify.suite import Case


@main.command()
@click.argument("theorem")
@click.option(
    "--over",
    "over",
    multiple=True,
    required=True,
    metavar="NAME=LOW:HIGH",
    help="The quantity and its values: L=2:64, L=2:64:11 (11 points) or L=2,4,8. A second one has a curve for each value.",
)
@click.option("--net", "nets", multiple=True, help="A network, see 'advmf list' (default: residual); may be repeated.")
@click.option("--activation", "activations", multiple=True, help="Activation (default: relu); may be repeated.")
@click.option("--p", "p", default="2", show_default=True, help="lp ball of the perturbation: a number or inf.")
@click.option("--q", "q", default="2", show_default=True, help="lq norm of the output: a number or inf.")
@click.option("--at", "at", multiple=True, metavar="NAME=VALUE", help="Another value of the point; may be repeated.")
@click.option("--networks", type=Networks(), metavar="N|pilot", help="Networks of the smallest width of each point.")
@click.option(
    "--widths",
    type=click.Choice(["ladder", "limit"]),
    help="Finite widths, or infinite.  [default: as the theorem has it]",
)
@click.option("--data", help="digits, mnist, fashion-mnist, or the path of an IDX or npz file.")
@SEED
@click.option(
    "--store", type=click.Path(dir_okay=False, path_type=Path), help="Keep every finished point in this file."
)
@click.option("--resume", is_flag=True, help="Take over what --store holds, and compute the rest.")
@click.option(
    "--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes, of one thread each."
)
@PLOT
@SIZE
@CSV
@click.option("--json", "json_path", type=OutputFile(), help="Write the results here as JSON, for 'advmf report'.")
@click.option("-o", "--report", "page", type=OutputFile(), help="Write the page (HTML) here.")
@click.pass_context
def sweep(
    context: click.Context,
    theorem: str, over: tuple[str, ...], nets: tuple[str, ...], activations: tuple[str, ...], p: str, q: str, at: tuple[str, ...],
    networks: int | str | None, widths: str | None, data: str | None, seed: int, store: Path | None, resume: bool, workers: int,
    plot: Output | None, size: str | None, csv_path: Output | None, json_path: Output | None, page: Output | None,
) -> None:  # fmt: skip
    """Check THEOREM, or your own bound in a file, at every value of a quantity: a curve of the theory, simulated points
    with errors, and a verdict on each.

    The other quantities have the values of 'advmf check'. Every point has its negative controls, and the points share
    the error rate of 1 %. Over N the values are the widths of one check, which has one verdict. Ctrl-C ends the sweep;
    what is finished is shown, drawn and kept, and --resume goes on.

    Exit codes are those of 'advmf check'.
    """
    errors: list[AdvmfError] = []
    code: Exit | None = None
    with usage_errors():
        given = dict[str, list[float]]()
        for each in over:
            name, values = values_over(each)
            if name in given:
                raise click.UsageError(f"--over gives {name} twice; give it once.")
            given[name] = values
        fixed = point(at)
        if both := sorted(set(given) & set(fixed)):
            raise click.UsageError(f"{both[0]} is swept and cannot be set by --at.")
        if "N" in given and widths == "limit":
            raise click.UsageError("Over N the values are the widths, which are finite; leave --widths limit out.")
        require_figure(plot, size)
        require_page(page)
        from advmf.experiments.sweep import axes_of, placed, swept
        from advmf.report.document import title

        def cases(values: Mapping[str, Any]) -> list[Case]:
            return _cases(theorem, nets, activations, (p, q), {**fixed, **values}, widths == "ladder" or "N" in axes)

        axes = axes_of(given)
        spots = placed(cases, axes, networks)
        if all(spot.case.net is None for spot in spots):
            unused(context, "matrices have no networks and no images", "networks", "widths", "data")
        out, command = console(json_path, csv_path, page), shlex.join(["advmf", *sys.argv[1:]])
        options: dict[str, Any] = {"nets": networks, "data": data, "widths": "limit" if widths == "limit" else None}
        with progress(len(spots), "points") as advance, terminable():

            def said(spot: Spot, outcome: Outcome) -> None:
                errors.extend(filter(None, [outcome.error]))
                advance.say(f"{spot.where}: {told_of(outcome)}")

            def interrupted(stop: KeyboardInterrupt, finished: int) -> None:
                nonlocal code
                code = told_interrupt(stop, finished, len(spots), "points", store)

            found = swept(
                axes, spots, seed=seed, progress=advance, command=command, said=said, interrupted=interrupted,
                store=store, resume=resume, workers=workers, **options,
            )  # fmt: skip
        if errors and len(errors) == len(spots) and all(map(of_input, errors)):
            raise errors[0]
    out.print(str(found), markup=False, soft_wrap=True)
    for place in found.places:
        for f in place.report.findings:
            if f.verdict in ("REFUTED", "UNDERPOWERED"):
                name = title(place.report.theorem, place.activation, place.report)
                where = ", ".join(f"{key} = {value:g}" for key, value in place.values.items())
                told = " at ".join(filter(None, (name, where)))
                out.print(f"{told}: {f.label}: {f.verdict}: {f.reason}", markup=False, soft_wrap=True)
    with writing() as outputs:
        if plot and found.places:
            outputs.callback(found.plot, plot, size or "one")
        for write, target in ((found.html, page), (found.json, json_path), (found.csv, csv_path)):
            if target:
                outputs.callback(write, target)
    if code is None:
        code = exit_code(found.document, tell_errors(errors))
    sys.exit(code)


def _cases(
    theorem: str,
    nets: Sequence[str],
    activations: Sequence[str],
    pair: tuple[str, str],
    at: Mapping[str, float],
    ladder: bool,
) -> list[Case]:
    """The cases of a theorem, or of a file, at a point."""
    from advmf.errors import ArgumentError
    from advmf.theorems import THEOREMS
    from advmf.verify.suite import cases

    if file := own_file([theorem]):
        from advmf.verify.own import load

        if nets or activations:
            raise ArgumentError(f"--net and --activation do not go with a file: {file} says itself what it checks.")
        return [load(file).case(at)]
    matrices = theorem in THEOREMS and THEOREMS[theorem].matrices
    wanted = nets or (() if matrices else ("residual",))
    kinds = activations or (() if matrices else ("relu",))
    found = cases([theorem], wanted, kinds, [pair], at=at, ladder=ladder)
    return [case for case in found if not wanted or case.name in wanted]
