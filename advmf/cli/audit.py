"""``advmf audit``: a PyTorch module against its mean-field law."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advmf.cli.exits import Exit
from advmf.cli.shared import console, main, usage_errors
from advmf.cli.types import SEED, OutputFile
from advmf.outputs import Output, apart
from advmf.progress import progress

if TYPE_CHECKING:
    from rich.console import Console

    from advmf.auditing.outcome import Audit


@main.command()
@click.argument("factory", metavar="FILE.py:NAME")
@click.option("--data", default="digits", show_default=True, help="Images: see 'advmf check --help'.")
@click.option(
    "--x-sq", "x_sq", type=float, help="Scale every image to this mean square; by default they stay in [0, 1]."
)
@click.option("--eps", type=float, required=True, help="Radius of the ball of perturbations.")
@click.option("--p", "p", default="2", show_default=True, help="lp ball of the perturbation: a number or inf.")
@click.option("--q", "q", default="2", show_default=True, help="lq norm of the output: a number or inf.")
@click.option("--single", is_flag=True, help="Audit one module as it is (a trained one): quantities, and no verdict.")
@click.option("--initialisations", type=click.IntRange(min=2), default=10, show_default=True, help="Modules to make.")
@click.option(
    "--twins", type=click.IntRange(min=4), default=24, show_default=True, help="Networks to draw from the law."
)
@click.option("--inputs", type=click.IntRange(min=1), default=8, show_default=True, help="Images to draw.")
@click.option("--alpha", type=float, default=0.01, show_default=True, help="Error rate of all tests together.")
@SEED
@click.option("--json", "json_path", type=OutputFile(), help="Write all numbers here; - is standard output.")
@click.option("-o", "--output", type=OutputFile(), help="Write a page here (.html).")
@click.option("--plot", type=OutputFile(), help="Draw the growth along the depth here (png, pdf, svg).")
def audit(
    factory: str, data: str, x_sq: float | None, eps: float, p: str, q: str, single: bool, initialisations: int, twins: int, inputs: int,
    alpha: float, seed: int, json_path: Output | None, output: Output | None, plot: Output | None,
) -> None:  # fmt: skip
    """Compare a PyTorch module with its mean-field law. NAME in FILE.py is a function without arguments that makes the
    module, initialised anew at each call; or a module, which is audited as it is.

    The file is run, as any Python file is: give only files that you trust. Saved models (.pt2, pickles) are not loaded;
    load yours in the file.

    Exit code: 0 the module stands, or was measured as it is; 1 it departs; 2 usage, or a file that cannot be read or
    written.
    """
    if output and not output.standard and output.path.suffix != ".html":
        raise click.UsageError(f"A page's file must end in .html; got {output.path.name!r}.")
    path, _, name = factory.rpartition(":")
    if not path.endswith(".py") or not name.isidentifier():
        raise click.UsageError(
            f"FILE.py:NAME is a Python file and the name of a function in it, such as model.py:factory; got {factory!r}. "
            "Saved models are not loaded: load yours in such a file."
        )
    outputs = [each for each in (json_path, output, plot) if each]
    with usage_errors(), progress(1, "networks") as advance:
        from torch import nn

        from advmf.auditing.audit import audit as audited
        from advmf.auditing.audit import made
        from advmf.errors import ArgumentError
        from advmf.experiments import figures
        from advmf.inputs import is_file
        from advmf.simulate import load
        from advmf.verify.own import ran

        apart(outputs, [Path(path)])
        if plot:
            figures.check_target(plot)
        images = load(data) if x_sq is None else load(data).scaled(x_sq)
        if not is_file(path, ArgumentError):
            raise ArgumentError(f"There is no file {path}.")
        own = ran(Path(path))
        if not hasattr(own, name):
            raise ArgumentError(f"{path} defines no {name}.")
        module: Any = getattr(own, name)
        if single and callable(module) and not isinstance(module, nn.Module):
            module = made(module, seed)
        done = 0

        def step(count: int, total: int) -> None:
            nonlocal done
            advance((count - done) / total, name)
            done = count

        found = audited(
            module, images, eps=eps, p=p, q=q, initialisations=initialisations, twins=twins, inputs=inputs, alpha=alpha, seed=seed, progress=step,
        )  # fmt: skip
    _print(console(json_path, output), found)
    with usage_errors(), ExitStack() as writing:  # each is written, though another cannot be
        if plot:
            writing.callback(_plot, found, plot)
        if output:
            from advmf.auditing.page import html

            writing.callback(output.write, html(found))
        if json_path:
            writing.callback(json_path.write, found.to_json())
    sys.exit(Exit.REFUTED if found.verdict == "departs" else Exit.NOTHING_REFUTED)


def _plot(found: Audit, plot: Output) -> None:
    from advmf.experiments import figures

    kinds = {kind: found.groups[kind] for kind in ("stream", "jacobian")}
    series = {kind: ([f.value for f in own], [f.error for f in own]) for kind, own in kinds.items()}
    x = [float(number) for number in range(1, len(kinds["stream"]) + 1)]
    figures.lines(x, series, plot, "step, from the input to the output", "growth over the law's", found.name)


def _print(out: Console, found: Audit) -> None:
    from rich.text import Text

    style = {"stands": "green", "departs": "bold red", "measured": "yellow"}[found.verdict]
    out.print(Text(found.summary, style))
    out.print(Text(f"law: {found.law}"))
    for line, departs in found.table():
        out.print(Text(line, "bold red" if departs else ""))
    for line in found.ends:
        out.print(Text(line))
