"""``advmf explore``: formulas, sliders, curves and verdicts on one page."""

from __future__ import annotations

from pathlib import Path

import click

from advmf.cli.shared import main, require_page, usage_errors
from advmf.cli.types import OutputFile
from advmf.outputs import Output, apart
from advmf.progress import progress


@main.command()
@click.option("-o", "--output", type=OutputFile(), required=True, help="The page, such as explorer.html; - prints it.")
@click.option(
    "--store", "--results", "results", type=click.Path(dir_okay=False, path_type=Path),
    help="Show the verdicts of a run: what 'advmf check' wrote with --store or --json.",
)  # fmt: skip
@click.option("--net", "nets", multiple=True, help="Network: see 'advmf list'; may be repeated.")
@click.option("--activation", "activations", multiple=True, help="Activation: see 'advmf list'; may be repeated.")
def explore(
    output: Output, results: Path | None, nets: tuple[str, ...], activations: tuple[str, ...]
) -> None:  # fmt: skip
    """Write a page to explore the theory by sliders. It works offline, in any browser of the last years.

    It shows formulas, their values, the routes to the norm factor, the bound against eps, the weight variance over
    training time, and how long networks stay trainable. It copies LaTeX and Python of what it shows, and its address
    holds its state. Making it takes half a minute.
    """
    require_page(output)
    with usage_errors():
        from advmf.report.explorer import NETS, PHIS, explorer

        apart([output], [results] if results else [])
        chosen, phis = nets or NETS, activations or PHIS
        with progress(1, "pages") as advance:
            page = explorer(results=results, nets=chosen, activations=phis, progress=advance)
        output.write(page)
