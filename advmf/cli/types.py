"""The types of option values, and options that several commands share."""

from __future__ import annotations

from typing import Any

import click

from advmf.errors import OutputError
from advmf.outputs import Output


class Networks(click.ParamType):
    """A number of networks, or the word ``pilot`` for the number that pilot runs determine."""

    name = "n|pilot"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> int | str:
        if value == "pilot":
            return "pilot"
        try:
            return click.IntRange(min=2).convert(value, param, context)
        except click.BadParameter:
            self.fail(f"{value!r} is neither an integer >= 2 nor 'pilot'.", param, context)


class OutputFile(click.ParamType):
    """A file to write, or ``-`` for standard output, tested before any work."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Output:
        try:
            return value if isinstance(value, Output) else Output(value)
        except OutputError as error:
            self.fail(str(error), param, context)


SIZE = click.option(
    "--size",
    default=None,
    metavar="one|two|MM",
    help="Width of the figure: one column of a paper (84 mm), two (174 mm), or millimetres.",
)
PLOT = click.option("--plot", type=OutputFile(), help="Draw it here (pdf, svg, png).")
CSV = click.option("--csv", "csv_path", type=OutputFile(), help="Write the data here as CSV; - is standard output.")


DEVICE = click.option(
    "--device", default="cpu", show_default=True, help="Where to simulate: cpu, cuda:0, or cuda for all there are."
)
SEED = click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Same seed, same numbers on the same type of processor.",
)
