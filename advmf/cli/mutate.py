"""``advmf mutate``: how many wrong versions of the theorems the checks refute."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advmf.cli.progress import progress
from advmf.cli.shared import console, main, point, replace, usage_errors

if TYPE_CHECKING:
    from rich.console import Console

    from advmf.verify.mutation import Mutant


@main.command()
@click.option("--theorem", "theorems", multiple=True, help="Mutate only this theorem; may be repeated.")
@click.option("--net", "nets", multiple=True, help="Of this network only; may be repeated.")
@click.option("--activation", "activations", multiple=True, help="Activation (default: relu); may be repeated.")
@click.option("--p", "p", help="Exponent of the perturbation's ball (default: 1, 2 and inf).")
@click.option("--q", "q", help="Exponent of the output's norm (default: 1, 2 and inf).")
@click.option(
    "--at", "at", multiple=True, metavar="NAME=VALUE", help="Override a value of the point, e.g. L=10; may be repeated."
)
@click.option("--networks", type=click.IntRange(min=2), help="Networks of the smallest width; wider ones get fewer.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same numbers.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes, of one thread each.  [default: cores]")
@click.option("--survivors", type=click.IntRange(min=0), default=20, show_default=True, help="Survivors to print.")
@click.option(
    "--json",
    "json_path",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write all mutants here.",
)
def mutate(
    theorems: tuple[str, ...], nets: tuple[str, ...], activations: tuple[str, ...], p: str | None, q: str | None, at: tuple[str, ...],
    networks: int | None, seed: int, workers: int | None, survivors: int, json_path: Path | None,
) -> None:  # fmt: skip
    """Judge the checks: perturb every claim systematically, and count which mutants are refuted.

    The score is the share caught of the mutants that change the value by 5 % or more; a bound that is raised, or lowered to what attacks do not
    reach, cannot be caught and is listed with this reason.
    """
    with usage_errors():
        from advmf.simulate.ensemble import MEMORY
        from advmf.verify.catalogue import DEFAULT_ACTIVATIONS, pairs_of
        from advmf.verify.mutation import mutate, score
        from advmf.verify.suite import QUICK, cases
        from advmf.verify.workers import default_workers

        suite = cases(theorems, nets, activations, pairs_of(p, q), QUICK, point(at))
        suite = [case for case in suite if activations or case.activation in ("", *DEFAULT_ACTIVATIONS[:1])]
    found: list[Mutant] = []
    with usage_errors(), progress(len(suite)) as advance:
        judged = mutate(suite, seed=seed, workers=workers or default_workers(MEMORY), progress=advance, nets=networks)
        with closing(judged):
            for mutants in judged:
                found += mutants
    result = score(sorted(found, key=lambda m: (m.theorem, m.net, m.activation, m.p or "", m.q or "")))
    if json_path:
        replace(json_path, json.dumps(result, indent=1) + "\n")
    _print(console(), result, survivors)


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
