"""``advmf mutate``: the share of wrong versions of the theorems that the checks refute."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advmf.budget import MEMORY
from advmf.cli.shared import alone, console, main, point, usage_errors
from advmf.cli.types import DEVICE, SEED, OutputFile
from advmf.outputs import Output
from advmf.progress import progress

if TYPE_CHECKING:
    from rich.console import Console

    from advmf.verify.mutation import Mutant


@main.command()
@click.argument("file", required=False)
@click.option("--theorem", "theorems", multiple=True, help="Mutate only this theorem; may be repeated.")
@click.option("--net", "nets", multiple=True, help="Of this network only; may be repeated.")
@click.option("--activation", "activations", multiple=True, help="Activation (default: relu); may be repeated.")
@click.option("--p", "p", help="Exponent of the perturbation's ball (default: 1, 2 and inf).")
@click.option("--q", "q", help="Exponent of the output's norm (default: 1, 2 and inf).")
@click.option(
    "--at", "at", multiple=True, metavar="NAME=VALUE", help="Override a value of the point, e.g. L=10; may be repeated."
)
@click.option(
    "--times",
    type=click.FloatRange(min=1),
    help="Take up to so many times the networks, or matrices, to resolve 5 %; 1 spares the pilots.  [default: 16]",
)
@click.option("--networks", type=click.IntRange(min=2), help="Networks of the smallest width, and no pilots.")
@click.option("--quick", is_flag=True, help="Score 'advmf check' as it is: its own widths and numbers of networks.")
@SEED
@DEVICE
@click.option("--workers", type=click.IntRange(min=1), help="Processes, of one thread each.  [default: cores]")
@click.option("--survivors", type=click.IntRange(min=0), default=20, show_default=True, help="Survivors to print.")
@click.option(
    "--json",
    "json_path",
    type=OutputFile(),
    help="Write all mutants here; - is standard output.",
)
@click.pass_context
def mutate(
    context: click.Context, file: str | None,
    theorems: tuple[str, ...], nets: tuple[str, ...], activations: tuple[str, ...], p: str | None, q: str | None, at: tuple[str, ...],
    times: float | None, networks: int | None, quick: bool, seed: int, device: str, workers: int | None, survivors: int, json_path: Output | None,
) -> None:  # fmt: skip
    """Judge the checks: perturb every claim systematically, or that of your own bound in FILE, and count the refuted
    mutants.

    The score is the share refuted of the mutants that change the value by 5 % or more, with enough networks to resolve
    that. A bound cannot be refuted if it is raised, or lowered to a value that attacks do not exceed by 5 %; it is
    listed with this reason. The JSON is written after every case.
    """
    if quick and (times or networks):
        raise click.UsageError("--quick takes the networks of 'advmf check'; leave out --times and --networks.")
    with usage_errors():
        from advmf.theorems.selection import DEFAULT_ACTIVATIONS
        from advmf.verify.catalogue import pairs_of
        from advmf.verify.mutation import TIMES, mutate, score
        from advmf.verify.own import load
        from advmf.verify.suite import QUICK, SHARP, cases
        from advmf.verify.workers import default_workers

        if file is not None:
            alone(
                context,
                Path(file),
                "at",
                "networks",
                "quick",
                "times",
                "seed",
                "survivors",
                "json_path",
                "workers",
                "device",
            )
            suite, times = [load(file).case(point(at))], times or 1
        else:
            suite = cases(theorems, nets, activations, pairs_of(p, q), QUICK if quick else SHARP, point(at))
            suite = [case for case in suite if activations or case.activation in ("", *DEFAULT_ACTIVATIONS[:1])]
    out = console(json_path)
    found: list[Mutant] = []
    result: dict[str, Any] = score(found)
    with usage_errors(), progress(len(suite)) as advance:
        workers = workers or default_workers(MEMORY, device)
        judged = mutate(
            suite, seed=seed, times=1 if quick else times or TIMES, workers=workers, progress=advance, nets=networks, device=device,
        )  # fmt: skip
        with closing(judged):
            for done, mutants in enumerate(judged, 1):
                found += mutants
                result = score(sorted(found, key=lambda m: (m.theorem, m.net, m.activation, m.p or "", m.q or "")))
                if json_path and json_path.replaced:
                    json_path.write(json.dumps(result, indent=1, allow_nan=False) + "\n")
                if mutants:
                    own, name = score(mutants), f"{mutants[0].theorem} {mutants[0].net} {mutants[0].activation}".strip()
                    out.print(
                        f"{name}: {own['caught']} of {own['expected']} ({done} of {len(suite)} cases)", markup=False
                    )
        if json_path:
            json_path.write(json.dumps(result, indent=1, allow_nan=False) + "\n")
    _print(out, result, survivors)


def _print(out: Console, result: dict[str, Any], survivors: int) -> None:
    from rich.table import Table

    for name in ("theorems", "kinds"):
        table = Table(name.removesuffix("s"), "caught", "of those to be caught", "score", box=None)
        for value, row in result[name].items():
            share = "" if row["score"] is None else f"{row['score']:.1%}"
            table.add_row(value, str(row["caught"]), str(row["expected"]), share)
        out.print(table, "")
    missed = [m for m in result["mutants"] if m["expected"] and not m["caught"]]
    for m in sorted(missed, key=lambda m: -abs(m["change"]))[:survivors]:
        pair = f"{m['p']},{m['q']}" if m["p"] else ""
        what = f"{' '.join(filter(None, (m['claim'], m['net'], m['activation'], pair)))} [{m['label']}]: {m['kind']}, {m['mutation']}"
        out.print(f"survived: {what} ({m['change']:+.1%}): {m['reason']}", style="yellow", markup=False)
    if len(missed) > survivors:
        out.print(f"... and {len(missed) - survivors} others; --survivors and --json tell all")
    value = "none" if result["score"] is None else f"{result['score']:.1%}"
    out.print(f"score {value}: {result['caught']} of {result['expected']}; {result['total']} mutants in all")
