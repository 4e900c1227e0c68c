"""``advmf report``: results as a page, as Markdown, as JUnit XML, as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from advmf.cli.shared import main, usage_errors, writing
from advmf.cli.types import OutputFile
from advmf.outputs import Output, apart

if TYPE_CHECKING:
    from advmf.report.document import Document

ENDINGS = (".html", ".md", ".xml", ".json")


@main.command()
@click.argument("results", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "-o", "--output", "outputs", multiple=True, type=OutputFile(),
    help="Write here, in the form that the ending names: .html, .md, .xml (JUnit) or .json; - prints Markdown; may be repeated.",
)  # fmt: skip
@click.option("--markdown", "shown", is_flag=True, help="Print Markdown, for a pull request.")
def report(results: Path | None, outputs: tuple[Output, ...], shown: bool) -> None:
    """Report RESULTS, a file that 'advmf check' wrote with --store (also while it runs) or with --json. Without RESULTS
    the store in the current folder is taken: 'advmf report out.html' is enough where there is one.

    The page is standalone and loads nothing. It holds verdicts, formulas, numbers, figures, the origin of the numbers
    and the commands that repeat them.
    """
    if results is not None and results.suffix in ENDINGS[:3] and not outputs:
        outputs, results = (OutputFile().convert(results, None, None),), None
    if not outputs and not shown:
        raise click.UsageError("Say what to write: -o out.html (or .md, .xml, .json), or --markdown to print Markdown.")
    for output in outputs:
        if not output.standard and output.path.suffix not in ENDINGS:
            raise click.UsageError(
                f"A report's file must end in one of {', '.join(ENDINGS)}; got {output.path.name!r}."
            )
    source = results or _only_store()
    with usage_errors():
        from advmf.report.document import read

        outputs = (*outputs, Output("-")) if shown else outputs
        apart(outputs, [source])
        document = read(source)
    with writing() as each:
        for output in outputs:
            each.callback(_write, document, output)


def _only_store() -> Path:
    """The only store in the current folder, recognised by its first bytes."""
    from advmf.errors import StoreError
    from advmf.inputs import files
    from advmf.verify.store import is_store

    with usage_errors():
        found = list(filter(is_store, files(".", "*", StoreError)))
    if len(found) != 1:
        names = f"; this folder has {', '.join(map(str, found))}" if found else ", and this folder has none"
        raise click.UsageError(f"Give the results that 'advmf check' wrote with --store or --json{names}.")
    return found[0]


def _write(document: Document, output: Output) -> None:
    output.write(_written(document, ".md" if output.standard else output.path.suffix))


def _written(document: Document, ending: str) -> str:
    if ending == ".html":
        from advmf.report.html import html

        return html(document)
    if ending == ".md":
        from advmf.report.markdown import markdown

        return markdown(document)
    if ending == ".xml":
        from advmf.report.junit import junit

        return junit(document)
    import json

    return json.dumps(document.to_dict(), indent=1, allow_nan=False) + "\n"
