"""Tables of verdicts on a terminal of 80 columns: nothing is cut, and no column is lost."""

import io
import itertools
import os
import re
import subprocess
import sys

import pytest
from rich.console import Console

from advmf.cli.shared import console
from advmf.cli.tables import print_tables
from advmf.report.document import Checked, Document
from advmf.verify.verdict import Finding, Report, Verdict

PAIRS = list(itertools.product(("1", "2", "inf"), repeat=2))


def document(verdicts):
    claims = []
    for net, activation in (("vanilla_growing", "leaky_relu"), ("plain_residual", "relu")):
        for i, (p, q) in enumerate(PAIRS):
            verdict = verdicts[i % len(verdicts)]
            finding = Finding("E", verdict, 0.5 + i / 100, 0.01, 1.0, -0.1, 0.031, (), "too few", 0.5, 0.01, 0.05)
            claims.append(Checked("T2", activation, {}, Report("T2", net, p, q, (finding,), {"L": 2}, 0, 1.0)))
    return Document("0", 0, "", True, tuple(claims), 0, (), 1.0)


def shown(width, *verdicts):
    console = Console(width=width, highlight=False, record=True, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115
    with console.file:
        print_tables(console, document(verdicts or (Verdict.NOT_REFUTED,)))
        return console.export_text()


def test_nothing_is_cut_at_80_columns():
    text = shown(80)
    assert "…" not in text and max(map(len, text.splitlines())) <= 80
    rows = [line for line in text.splitlines() if "vanilla_growing" in line]
    assert all("leaky_relu" in row for row in rows) and len(rows) > 1
    assert re.findall(r"0\.5\d\d", " ".join(rows)) == [f"{0.5 + i / 100:.3f}" for i in range(9)]
    heads = " ".join(line for line in text.splitlines() if line.startswith(" net"))
    assert [h for h in heads.split() if "," in h] == [f"{p},{q}" for p, q in PAIRS] and "within" in heads


def test_a_wide_terminal_has_one_table():
    assert sum("vanilla_growing" in line for line in shown(200).splitlines()) == 1


def test_the_sign_of_each_verdict_is_explained_once():
    text = shown(200, Verdict.REFUTED, Verdict.NOT_REFUTED, Verdict.UNDERPOWERED)
    title = text.splitlines()[0]
    assert title.endswith("✓ stands, ✗ REFUTED, ? underpowered")
    assert "✗ 0.500" in text and "✓ 0.510" in text and "? 0.520" in text and text.count("stands") == 1


@pytest.mark.parametrize("line", ["--help", "check --help", "list", "bogus", "show T2 --bogus"])
def test_what_a_pipe_gets_does_not_depend_on_columns(line):
    def printed(columns):
        env = {**os.environ, "COLUMNS": columns}
        done = subprocess.run(
            [sys.executable, "-m", "advmf.cli", *line.split()], capture_output=True, env=env, timeout=120
        )
        return done.stdout, done.stderr

    assert printed("40") == printed("300") != (b"", b"")


@pytest.mark.parametrize(("terminal", "columns", "width"), [(False, "80", 260), (False, "", 260), (True, "80", 80)])
def test_the_width_of_a_pipe_does_not_depend_on_where_it_was_started(terminal, columns, width, monkeypatch):
    """Python with readline gives COLUMNS to its children."""
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", columns)
    assert console().width == width
