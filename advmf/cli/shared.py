"""Shared parts of the commands: the group, errors of usage, the console."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advmf import __version__
from advmf.cli.exits import Commands, Exit

if TYPE_CHECKING:
    from rich.console import Console

    from advmf.nets import Net
    from advmf.outputs import Output


@contextmanager
def usage_errors() -> Iterator[None]:
    """An error that advmf raises on purpose becomes one line and exit code 2."""
    from advmf.errors import AdvmfError

    try:
        yield
    except AdvmfError as error:
        raise click.UsageError(str(error)) from None


@contextmanager
def writing() -> Iterator[ExitStack]:
    """A stack of calls that each write an output. They run when the block ends: each of them, though another fails."""
    with usage_errors(), ExitStack() as stack:
        yield stack


class Terminated(KeyboardInterrupt):
    """SIGTERM: a run ends in an orderly way, as by Ctrl-C."""


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM raise Terminated, so that a run ends in an orderly way when a batch system's time is up."""

    def stop(number: int, frame: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def told_interrupt(stop: KeyboardInterrupt, finished: int, count: int, unit: str, store: Path | None) -> Exit:
    """The exit code of a run that was interrupted, after a line on standard error that says how to go on."""
    kept = f"; go on with --store {store} --resume" if store else ""
    click.echo(f"interrupted: {finished} of {count} {unit} finished{kept}", err=True)
    return Exit.TERMINATED if isinstance(stop, Terminated) else Exit.INTERRUPTED


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="advmf")
def main() -> None:
    """Derive, typeset, compile and check the mean-field theory of adversarial training (arXiv:2505.14021)."""


PIPED = 260
"""The columns of a table that no terminal shows."""


def console(*outputs: Output | None) -> Console:
    """A console that is plain in pipes and under NO_COLOR. Where one of the outputs is standard output, tables go to
    standard error.

    A terminal has its own width, or that of the variable COLUMNS. Elsewhere tables have :data:`PIPED` columns, whatever
    COLUMNS says. A process inherits that variable from any Python that uses readline, and its output would depend on
    where it was started.
    """
    from rich.console import Console

    class Ours(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would exit by 1, which means refuted

    aside = any(output.standard for output in outputs if output)
    stream = sys.stderr if aside else sys.stdout
    return Ours(highlight=False, stderr=aside, width=None if stream.isatty() else PIPED)


def point(at: Sequence[str]) -> dict[str, float]:
    """The values of ``--at NAME=VALUE``."""
    point = {}
    for item in at:
        name, equals, value = item.partition("=")
        if name in point:
            raise click.UsageError(f"--at gives {name} twice; give it once.")
        try:
            point[name] = float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise click.UsageError(f"--at takes NAME=VALUE with a number, e.g. --at L=10; got {item!r}.")
    return point


POINTS = 6
"""The points of a range that is given without their number."""


def values_over(given: str, count: int = POINTS) -> tuple[str, list[float]]:
    """The name and the values of ``--over NAME=LOW:HIGH``, ``NAME=LOW:HIGH:COUNT`` or ``NAME=VALUE,VALUE,…``.

    The values of a range are in geometric progression, or equally far apart if it starts at 0 or below. Those of a
    count are whole numbers, each once.

    >>> values_over("L=2:64"), values_over("eps=0:0.4:3")
    (('L', [2.0, 4.0, 8.0, 16.0, 32.0, 64.0]), ('eps', [0.0, 0.2, 0.4]))
    """
    import numpy as np

    from advmf.symbols import SYMBOLS

    name, equals, values = given.partition("=")
    whole = name in SYMBOLS and SYMBOLS[name].integer
    try:
        parts = [float(part) for part in values.split(":" if ":" in values else ",")]
        if ":" in values:
            low, high, number = (*parts, count)[:3]
            if len(parts) > 3 or not low < high < float("inf") or number != int(number) or not 2 <= number <= 10_000:
                raise ValueError
            parts = [float(v) for v in (np.geomspace if low > 0 else np.linspace)(low, high, int(number)).round(12)]
            parts = [float(v) for v in dict.fromkeys(np.round(parts))] if whole else parts
    except ValueError:
        equals = ""
    if not equals:
        raise click.UsageError(
            f"--over takes NAME=LOW:HIGH, NAME=LOW:HIGH:COUNT (2 points or more) or NAME=VALUE,VALUE, e.g. --over L=2:64; got {given!r}."
        )
    return name, parts


def require_figure(plot: Output | None, size: str | None) -> None:
    """Raise, before any work, for a figure that cannot be drawn, and for a size without one."""
    from advmf.drawing import check_target
    from advmf.errors import ArgumentError

    if plot:
        check_target(plot, size or "one")
    elif size is not None:
        raise ArgumentError("--size is the width of a figure; give its file with --plot.")


def require_page(output: Output | None) -> None:
    """Raise UsageError for a page that would have another ending than .html."""
    if output and not output.standard and output.path.suffix != ".html":
        raise click.UsageError(f"A page's file must end in .html; got {output.path.name!r}.")


def alone(context: click.Context, file: Path, *allowed: str) -> None:
    """Raise UsageError for an option that was given with a user's file, which determines everything else itself.
    ``allowed`` are the names of options that may be given."""
    for option in context.command.params:
        given = context.get_parameter_source(str(option.name)) is click.core.ParameterSource.COMMANDLINE
        if given and isinstance(option, click.Option) and option.name not in allowed:
            raise click.UsageError(
                f"{option.opts[0]} does not go with a file: {file} says itself what it checks, and where."
            )


def unused(context: click.Context, why: str, *names: str) -> None:
    """Raise UsageError for an option that was given and has no effect."""
    for option in context.command.params:
        given = context.get_parameter_source(str(option.name)) is click.core.ParameterSource.COMMANDLINE
        if given and option.name in names and context.params[str(option.name)] != "pilot":
            raise click.UsageError(f"{option.opts[0]} has no effect here: {why}.")


def own_file(names: Sequence[str]) -> Path | None:
    """The file with a user's bound that was given in place of theorems, or none."""
    files = [name for name in names if name.endswith(".py")]
    if files and len(names) > 1:
        raise click.UsageError(f"A file stands alone; got {' '.join(names)}.")
    return Path(files[0]) if files else None


def declared(net: str, activation: str | None) -> Net:
    """A preset network by name, with an activation, or with symbols for its slopes."""
    from advmf.nets import PRESETS
    from advmf.verify.catalogue import ACTIVATIONS, choose

    (net,) = choose("net", [net], PRESETS, ())
    chosen = () if activation is None else choose("activation", [activation], ACTIVATIONS, ())
    return PRESETS[net](phi=ACTIVATIONS[chosen[0]] if chosen else None)


def statement_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that select a statement: network, slopes, exponents, route."""
    options = (
        click.option("--net", default="residual", show_default=True, help="Network: see 'advmf list'."),
        click.option("--activation", help="Activation by name; its slopes stay symbols if not given."),
        click.option("--p", "p", default="2", show_default=True, help="lp ball of the perturbation: a number or inf."),
        click.option("--q", "q", default="2", show_default=True, help="lq norm of the output: a number or inf."),
        click.option("--route", default="chevet", show_default=True, help="The route to beta: see 'advmf list'."),
    )
    for option in reversed(options):
        command = option(command)
    return command
