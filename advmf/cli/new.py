"""``advmf new``: a template file for a bound of your own."""

from __future__ import annotations

import importlib.util
import keyword
import sys
from importlib.resources import files
from pathlib import Path

import click

from advmf.cli.shared import main, usage_errors
from advmf.errors import OutputError
from advmf.inputs import is_file, status
from advmf.outputs import Output

TEMPLATE_NAME = "my_bound"
"""The name in the template, which is replaced by the chosen one."""


@main.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Replace a file of that name.")
def new(name: str, force: bool) -> None:
    """Write NAME.py into the current folder: a net, a claim, its derivation, and the theorem that is checked. It runs
    without changes."""
    path = Path(f"{name}.py")
    if not name.isidentifier() or keyword.iskeyword(name):
        hint = f"; write 'advmf new {name[:-3]}'" if name.endswith(".py") and name[:-3].isidentifier() else ""
        raise click.UsageError(f"NAME is a Python name, such as my_bound, without a folder or .py; got {name!r}{hint}.")
    with usage_errors():
        file, there = is_file(path, OutputError), status(path, OutputError) is not None
    if there and not (file and force):
        raise click.UsageError(f"{path} exists; choose another name{', or replace it by --force' if file else ''}.")
    if not there and (name in sys.modules or importlib.util.find_spec(name)):
        raise click.UsageError(f"A file {path} would hide the installed module {name!r}; choose another name.")
    text = (files("advmf.cli") / "template.py").read_text(encoding="utf-8").replace(TEMPLATE_NAME, name)
    with usage_errors():
        Output(path).write(text)
    click.echo(f"{path} is written: 'python {path}' shows what it derives, 'advmf check {path}' gives the verdicts.")
