"""``advmf train``: trained networks beside what the claims say of the course of training."""

from __future__ import annotations

import sys
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advmf.cli.exits import Exit
from advmf.cli.figures import ACTIVATION, NET, P, Q
from advmf.cli.shared import (
    Terminated,
    console,
    declared,
    main,
    point,
    require_figure,
    terminable,
    usage_errors,
    writing,
)
from advmf.cli.types import CSV, PLOT, SEED, SIZE
from advmf.errors import ArgumentError
from advmf.outputs import Output
from advmf.progress import progress

if TYPE_CHECKING:
    from rich.console import Console

    from advmf.experiments.training_curve import TrainingCurve


@main.command()
@NET
@ACTIVATION
@P
@Q
@click.option(
    "--N", "N", type=click.IntRange(min=4), multiple=True, help="Width (default: 250 and 1000); may be repeated."
)
@click.option("--at", "at", multiple=True, metavar="NAME=VALUE", help="L, d, K, eps, sigma_w; may be repeated.")
@click.option("--networks", type=click.IntRange(min=2), default=8, show_default=True, help="Networks of each width.")
@click.option("--steps", type=click.IntRange(min=1), default=50, show_default=True, help="Steps of gradient descent.")
@click.option(
    "--until",
    type=click.FloatRange(min=0, min_open=True),
    help="Train until this time N t, in steps of the same size.  [default: as far as --steps of a safe size reach]",
)
@click.option(
    "--images",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Images to train on, the first of the data; D1 and D2 are about one.",
)
@SEED
@click.option("--data", default="digits", show_default=True, help="Images: see 'advmf check --help'.")
@click.option(
    "--store", type=click.Path(file_okay=False, path_type=Path), help="Keep the state of each run in this folder."
)
@click.option("--resume", is_flag=True, help="Go on from what --store holds.")
@PLOT
@SIZE
@CSV
def train(
    net: str, activation: str, p: str, q: str, N: tuple[int, ...], at: tuple[str, ...], networks: int, steps: int,
    until: float | None, images: int, seed: int, data: str,
    store: Path | None, resume: bool, plot: Output | None, size: str | None, csv_path: Output | None,
) -> None:  # fmt: skip
    """Train networks on the adversarial loss of an image, and compare loss, capacity and weight variance with the
    theory.

    T3 and T5 are the paper's, and about the first instant. D1 is the rate of the capacity, D2 the course of training
    (docs/training.md). The step size is the largest at which a step follows the gradient flow up to 1 % of the change,
    unless --until says how far to go.

    Ctrl-C ends the run with the widths that are finished; --store keeps the others too.
    """
    widths = tuple(dict.fromkeys(N)) or (250, 1000)
    curves: list[TrainingCurve] = []
    interrupted: Exit | None = None
    with usage_errors(), progress(len(widths), "widths") as advance, terminable():
        from advmf.experiments.training_curve import training_curve
        from advmf.experiments.training_figure import TrainingCurves
        from advmf.symbols import x_sq
        from advmf.theory.propagation import omega
        from advmf.verify.suite import SHORTCUT_GAIN

        require_figure(plot, size)
        if resume and store is None:
            raise ArgumentError("--resume needs --store, the folder of the run to go on with.")
        if until is not None and not isfinite(until):
            raise ArgumentError(f"--until is a time N t, a positive finite number; got {until}.")
        network = declared(net, activation)
        omega(network)
        gain = 1.0 if network.name == "vanilla" else SHORTCUT_GAIN
        values: dict[str, Any] = {"L": 4, "d": 64, "K": 10, "eps": 0.1, "sigma_b": 0.0}
        values |= {"sigma_w": (gain / float(network.activations[0].gain(x_sq))) ** 0.5, **point(at)}
        options: dict[str, Any] = {"nets": networks, "steps": steps, "images": images, "seed": seed, "data": data}
        try:
            for width in widths:
                done = 0

                def step(count: int, total: int, width: int = width) -> None:
                    nonlocal done
                    advance((count - done) / total, f"N={width}")
                    done = count

                if store is not None:
                    options |= {"checkpoint": store / f"N-{width}", "resume": resume}
                if until is not None:
                    options["rate"] = until / (width * steps)
                curves.append(training_curve(network, p, q, values, N=width, progress=step, **options))
        except KeyboardInterrupt as error:
            interrupted = Exit.TERMINATED if isinstance(error, Terminated) else Exit.INTERRUPTED
    if curves:
        _show(console(csv_path), curves)
        found = TrainingCurves(tuple(curves))
        with writing() as outputs:
            if csv_path:
                outputs.callback(found.csv, csv_path)
            if plot:
                title = f"{net} {activation}, $(p, q) = ({_tex(p)}, {_tex(q)})$"
                outputs.callback(found.plot, plot, title, size or "two")
    if interrupted:
        kept = f"; go on with --store {store} --resume" if store else ""
        click.echo(f"interrupted: {len(curves)} of {len(widths)} widths finished{kept}", err=True)
        sys.exit(interrupted)


def _tex(exponent: str) -> str:
    return r"\infty" if exponent in ("inf", "oo") else exponent


def _show(out: Console, curves: list[TrainingCurve]) -> None:
    """The course, and below it the numbers of the claims."""
    from rich.table import Table

    table = Table("N", "N t", "change of sigma_w^2", "/T3", "/D2", "loss/start", "D2", "C/start", "D2", box=None)
    for curve in curves:
        count = len(curve.time)
        for i in sorted({0, count // 8, count // 4, count // 2, count - 1}):
            error = abs(curve.stderr[i] / curve.predicted[i])
            change = None if curve.theory.change is None else curve.change / curve.theory.change
            table.add_row(
                f"{curve.N}",
                f"{curve.N * curve.time[i]:.3g}",
                f"{curve.change[i]:.3g}",
                f"{curve.ratio[i]:.2f} ± {error:.2f}",
                _at(change, i, 2),
                _at(curve.loss, i),
                _at(curve.theory.loss, i),
                _at(curve.capacity, i),
                _at(curve.theory.capacity, i),
            )
    out.print(table)
    out.print()
    claims = Table("N", "", "measured", "claimed", "claim", box=None)
    for curve in curves:
        for row in _rows(curve):
            claims.add_row(f"{curve.N}", *row)
    out.print(claims)
    for curve in curves:
        out.print(f"N={curve.N}: within 10 % of T3 until N t = {curve.N * curve.holds_until():.3g}")


def _at(values: Any, i: int, digits: int = 3) -> str:
    return "" if values is None else f"{values[i]:.{digits}f}"


def _rows(curve: TrainingCurve) -> list[tuple[str, str, str, str]]:
    """What is measured at the start and over the whole run, each beside its claim, on the clock N t."""
    theory, N = curve.theory, curve.N
    rows = [
        ("-d ln loss/d(N t) at 0", f"{curve.decay[0] / N:.3g} ± {curve.decay[1] / N:.1g}", theory.decay, "T3.decay")
    ]
    if curve.capacity is not None and curve.capacity_stderr is not None:
        fall, error = (curve.capacity[0] - 1) / curve.time[0] / N, curve.capacity_stderr[0] / curve.time[0] / N
        rows.append(("d ln C/d(N t), first step", f"{fall:.3g} ± {error:.1g}", theory.rate, "D1"))
        rows.append(("", "", theory.paper, "T5"))
    shown = [(what, found, f"{claim / N:.3g}", name) for what, found, claim, name in rows if claim is not None]
    if theory.life is not None:
        bound = "<= " if theory.bound else ""
        shown.append(("N × area under loss/start", f"{N * curve.life:.3g}", f"{bound}{N * theory.life:.3g}", "D2.life"))
    if theory.end is not None:
        shown.append(("N t at which the loss is 0", "", f"{N * theory.end:.3g}", "D2.end"))
    return shown
