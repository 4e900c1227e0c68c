"""How commands end: exit codes that cannot be mistaken for verdicts, and outputs that are tested before the work."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields
from typing import ClassVar

import pytest
from click.testing import CliRunner

from advmf import cli
from advmf.auditing import audit
from advmf.cli.exits import Exit
from advmf.errors import OutputError
from advmf.experiments import norm_table, phase, training_curve
from advmf.nets import PRESETS, STEPS
from advmf.outputs import Output
from advmf.verify import suite
from advmf.verify.store import read

SMALL = suite.replace(
    suite.QUICK,
    scales={
        "T2": suite.Scale(L=1, d=8, K=2, widths=(8, 16), nets=(8, 8), directions=1, steps=1),
        "beta": suite.MatrixScale(d=8, K=2, samples=8),
    },
)

AUDIT = "model.py:factory --eps 0.1 --initialisations 2 --twins 4 --inputs 1".split()
MODEL = """
from torch import nn

def factory():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 3))
"""
TRAIN = "train --N 16 --at L=1 --at d=16 --at K=2 --networks 2 --steps 2".split()
NORMS = "norms --d 4 --K 2 --samples 2 --exponent 2".split()
SWEEP = ("sweep", "beta", "--over", "d=4,8", "--at", "K=2")
WRITING = {
    "check": (("check", "--theorem", "beta", "--p", "2", "--q", "2"), "--json"),
    "mutate": (("mutate", "--theorem", "beta", "--p", "2", "--q", "2", "--quick"), "--json"),
    "norms": (NORMS, "--json"),
    "norms table": (NORMS, "--csv"),
    "norms plot": (NORMS, "--plot"),
    "phase": (("phase",), "--plot"),
    "phase table": (("phase",), "--csv"),
    "train plot": (TRAIN, "--plot"),
    "train table": (TRAIN, "--csv"),
    "sweep": (SWEEP, "--json"),
    "sweep table": (SWEEP, "--csv"),
    "sweep page": (SWEEP, "-o"),
    "sweep plot": (SWEEP, "--plot"),
    "latex": (("latex", "beta", "--no-derivations"), "-o"),
    "latex works": (("latex", "beta", "--no-derivations", "-o", "a.tex"), "--bib"),
    "report": (("report", "results.json"), "-o"),
    "audit": (("audit", *AUDIT), "--json"),
    "audit table": (("audit", *AUDIT), "--csv"),
    "audit page": (("audit", *AUDIT), "-o"),
    "audit plot": (("audit", *AUDIT), "--plot"),
}
"""Every command that writes a file, and the option that names it."""


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The commands on small suites, in a folder of their own with results to report."""
    monkeypatch.setattr(suite, "QUICK", SMALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(MODEL)

    def run(*args):
        return CliRunner().invoke(cli.main, args)

    run("check", "--theorem", "beta", "--p", "2", "--q", "2", "--json", "results.json")
    return run


def ending(option, command):
    page = "tex" if command[0] == "latex" else "html"
    return {"--plot": "png", "--csv": "csv", "--bib": "bib", "-o": page}.get(option, "json")


@pytest.mark.parametrize("name", WRITING)
def test_every_command_follows_links_and_keeps_modes(name, small, tmp_path):
    command, option = WRITING[name]
    real, link = tmp_path / f"real.{ending(option, command)}", tmp_path / f"link.{ending(option, command)}"
    real.touch(mode=0o600)
    link.symlink_to(real.name)
    (tmp_path / f"{link.name}.part").write_text("mine")
    result = small(*command, option, link.name)
    assert result.exit_code in (Exit.NOTHING_REFUTED, Exit.UNDERPOWERED), result.output
    assert link.is_symlink() and real.stat().st_size and oct(real.stat().st_mode)[-3:] == "600"
    assert (tmp_path / f"{link.name}.part").read_text() == "mine"


@pytest.mark.parametrize("name", WRITING)
@pytest.mark.parametrize("where", ["no/folder/", "results.json/", "."])
def test_every_output_is_tested_before_the_work(name, where, small, monkeypatch):
    started = []
    for module, function in (
        (norm_table, "norm_table"),
        (suite, "checked"),
        (suite, "cases"),
        (phase, "phase_diagram"),
        (training_curve, "training_curve"),
        (audit, "audit"),
    ):
        monkeypatch.setattr(module, function, lambda *_, **__: started.append(1))
    command, option = WRITING[name]
    result = small(*command, option, where if where == "." else f"{where}a.{ending(option, command)}")
    assert result.exit_code == Exit.USAGE, result.output
    assert not started and result.output.splitlines()[-1].startswith("Error: ")


@pytest.mark.parametrize("name", ["check", "mutate", "norms", "audit", "sweep"])
def test_json_on_standard_output_is_one_document_and_tables_stand_aside(name, small, tmp_path):
    command, option = WRITING[name]
    before = os.listdir(tmp_path)
    result = small(*command, option, "-")
    assert json.loads(result.stdout) and result.stderr
    assert {*os.listdir(tmp_path)} - {"__pycache__"} == {*before}


def test_documents_on_standard_output_are_utf_8_in_any_locale(small):
    poor = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    for command in (["report", "results.json", "--markdown", "-o", "a.md"], ["list"]):
        done = subprocess.run([sys.executable, "-m", "advmf.cli", *command], capture_output=True, env=poor, timeout=120)
        assert done.returncode == 0, done.stderr
    shown = small("report", "results.json", "-o", "-").stdout
    with open("a.md", encoding="utf-8") as file:
        assert file.read() == shown and "±" in shown


def test_an_output_is_none_of_the_files_that_are_read(small):
    for args in (
        ("report", "results.json", "-o", "results.json"),
        ("check", "--store", "a.db", "--json", "a.db"),
        ("latex", "beta", "--results", "results.json", "-o", "results.json"),
        ("norms", "--d", "4", "--K", "2", "--json", "a.png", "--plot", "a.png"),
        ("audit", *AUDIT, "--json", "model.py"),
        ("audit", *AUDIT, "--json", "a.html", "-o", "a.html"),
        ("audit", *AUDIT, "--json", "a.png", "--plot", "a.png"),
    ):
        result = small(*args)
        assert (result.exit_code == Exit.USAGE and "another file" in result.output) or "of its own" in result.output


@pytest.mark.parametrize(
    "error", [RuntimeError("why"), MemoryError(), AssertionError(), RecursionError(), SystemError()]
)
def test_a_crash_is_no_verdict(error, small, monkeypatch):
    def crash(*_, **__):
        raise error

    monkeypatch.setattr(suite, "cases", crash)
    monkeypatch.setattr(audit, "audit", crash)
    for args in (("check", "--workers", "1"), ("audit", *AUDIT)):
        result = small(*args)
        assert result.exit_code == Exit.CRASHED and "Traceback" in result.output


def test_a_file_that_exits_is_no_verdict(small, tmp_path):
    for text in ("import sys; sys.exit(0)", "import sys; sys.exit('no')", "raise SystemExit"):
        (tmp_path / "mine.py").write_text(text)
        for args in (("check", "mine.py"), ("audit", "mine.py:factory", "--eps", "0.1")):
            result = small(*args)
            assert result.exit_code == Exit.USAGE and "SystemExit" in result.output


def test_what_was_found_is_shown_though_it_cannot_be_written(small):
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full, the device that is always full")
    result = small("check", "--theorem", "beta", "--p", "2", "--q", "2", "--json", "/dev/full")
    assert result.exit_code == Exit.USAGE
    assert "negative controls refuted" in result.output and "No space left" in result.output


SEVERAL = {
    "audit": (("audit", *AUDIT), "--json a.json -o a.html --plot a.png --csv a.csv", "attack/bound"),
    "sweep": (SWEEP, "--json a.json -o a.html --plot a.png --csv a.csv", "negative controls refuted"),
    "norms": (NORMS, "--json a.json --plot a.png --csv a.csv", "bracket"),
    "phase": (("phase",), "--plot a.png --csv a.csv", "omega^L"),
    "train": (TRAIN, "--plot a.png --csv a.csv", "of T3"),
    "latex": (("latex", "beta", "--no-derivations"), "-o a.tex --bib a.bib", ""),
    "report": (("report", "results.json"), "-o a.html -o a.md -o a.xml", ""),
}
"""Every command that writes several files: its words, the files, and what is printed anyway."""


@pytest.mark.parametrize("name", SEVERAL)
def test_every_other_file_is_written_though_one_cannot_be(name, small, tmp_path, monkeypatch):
    command, outputs, printed = SEVERAL[name]
    files = sorted(word for word in outputs.split() if word.startswith("a."))
    write, failing = Output.write, [""]

    def full(self, content):
        if self.path.name in failing:
            raise OutputError(f"{self} cannot be written: the disk is full.")
        write(self, content)

    monkeypatch.setattr(Output, "write", full)
    for file in files:
        failing[:] = [file]
        result = small(*command, *outputs.split())
        assert result.exit_code == Exit.USAGE and "Traceback" not in result.output, result.output
        assert printed in result.output and f"{file} cannot be written" in result.output
        found = sorted(path.name for path in tmp_path.glob("a.*") if path.stat().st_size)
        assert found == [other for other in files if other != file]
        for other in found:
            (tmp_path / other).unlink()


RUN = "import sys; from advmf.cli import main; main(sys.argv[1:], prog_name='advmf')"


def process(*args, program=RUN, **options):
    return subprocess.Popen([sys.executable, "-c", program, *args], stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.parametrize("after", [0.3, 0.8, 1.6])
def test_ctrl_c_in_the_first_seconds_is_an_interrupt(after):
    """While modules are imported, too; what is measured from is the first line of the program."""
    program = f"import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); sys.stderr.write('go\\n'); sys.stderr.flush(); {RUN}"
    going = process("check", "--full", "--theorem", "T2", program=program, stdout=subprocess.DEVNULL)
    assert going.stderr.readline() == "go\n"
    time.sleep(after)
    going.send_signal(signal.SIGINT)
    _, err = going.communicate(timeout=120)
    assert going.returncode in (Exit.INTERRUPTED, -signal.SIGINT), err


def test_an_import_that_makes_another_error_of_an_interrupt():
    program = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from advmf import cli\nfrom advmf.verify import suite\n"
        "def broken(*_, **__):\n"
        "    try: os.kill(os.getpid(), signal.SIGINT)\n"
        "    except KeyboardInterrupt: raise ImportError('half a module') from None\n"
        "suite.cases = broken\ncli.main(['check'])"
    )
    going = process(program=program, stdout=subprocess.DEVNULL)
    _, err = going.communicate(timeout=120)
    assert going.returncode == Exit.INTERRUPTED and "Traceback" not in err


@pytest.mark.parametrize(
    ("args", "code"),
    [(["list"], 0), (["show", "T2"], 0), (["phase"], 0), (["latex", "T2"], 2), (["norms", "--d", "x", "--K", "2"], 2)],
)
def test_a_closed_standard_output_is_no_crash(args, code):
    going = process(*args, preexec_fn=lambda: os.close(1))
    _, err = going.communicate(timeout=120)
    assert going.returncode == code and "Traceback" not in err


def test_closed_standard_streams_are_no_results_file(tmp_path):
    """A store that got the number of a closed stream would hold what is printed."""
    done = subprocess.run(
        ["sh", "-c", f'exec "{sys.executable}" -m advmf.cli check --theorem beta --p 2 --q 2 --at d=64 --store run.db <&- >&- 2>&-'],
        cwd=tmp_path, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0
    assert read(tmp_path / "run.db").complete


@pytest.mark.parametrize("args", [["list"], ["latex", "beta", "--no-derivations"], ["show", "T2"]])
def test_a_reader_that_is_gone_is_no_verdict(args):
    read, write = os.pipe()
    os.close(read)
    going = process(*args, stdout=write)
    os.close(write)
    _, err = going.communicate(timeout=120)
    assert going.returncode == Exit.READER_GONE and "Traceback" not in err and "Exception" not in err


@pytest.mark.skipif(
    not os.path.exists("/dev/full"), reason="this system has no /dev/full, the device that is always full"
)
@pytest.mark.parametrize("args", [["list"], ["latex", "beta", "--no-derivations"], ["show", "T2"]])
def test_a_full_disk_under_standard_output_is_one_line(args):
    with open("/dev/full", "w") as full:
        going = process(*args, stdout=full)
        _, err = going.communicate(timeout=120)
    assert going.returncode == Exit.USAGE and "No space left" in err and "Traceback" not in err


def test_commands_without_docstrings_and_assertions():
    """Under python -OO."""
    program = (
        "import sys; from click.testing import CliRunner; from advmf import cli\n"
        "for line in sys.argv[1:]:\n"
        "    found = CliRunner().invoke(cli.main, line.split())\n"
        "    if found.exit_code: sys.exit(line + found.output)"
    )
    lines = [
        "--help",
        "list",
        "show T1",
        "show T2 --latex",
        "latex beta --no-derivations",
        "norms --d 3 --K 2 --samples 2 --exponent 2",
    ]
    lines += ["check --theorem beta --p 2 --q 2 --at d=30 --workers 1"]
    done = subprocess.run([sys.executable, "-OO", "-c", program, *lines], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "line",
    [
        "check --theorem beta --at d=1e9",
        "check --theorem T2 --net residual --activation relu --at d=1e9",
        "check --theorem T2 --net residual --activation relu --at d=1e9 --sampler conditioned",
        "norms --d 1000000000 --K 10",
        "norms --d 4 --K 2 --samples 100000000000000000000",
        "train --at d=1000000000",
        "train --N 1000000000",
    ],
)
def test_what_does_not_fit_is_refused_with_bytes(line):
    result = CliRunner().invoke(cli.main, line.split())
    assert result.exit_code == Exit.USAGE and "bytes" in result.output, result.output


class Starving(suite.Case):
    error: ClassVar[Exception]

    def check(self, mutants, options):
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 80 bytes"),
        RuntimeError("CUDA out of memory."),
    ],
)
def test_a_lack_of_memory_is_told_and_no_crash(error, monkeypatch):
    (case,) = suite.cases(["beta"])
    Starving.error = error
    monkeypatch.setattr(
        suite, "cases", lambda *_, **__: [Starving(*(getattr(case, field.name) for field in fields(case)))]
    )
    result = CliRunner().invoke(cli.main, ["check", "--workers", "1"])
    assert result.exit_code == Exit.FAILED and "not enough memory for beta" in " ".join(result.output.split())


def test_the_steps_of_presets_are_those_of_their_docstrings():
    assert {
        name: f"``{step}``" in preset.__doc__ for (name, preset), step in zip(PRESETS.items(), STEPS.values())
    } == dict.fromkeys(STEPS, True)
