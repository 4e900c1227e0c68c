"""Wrong command lines end in a usage error or a verdict's code, never in a traceback."""

import random
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from advmf import cli
from advmf.cli import template
from advmf.cli.exits import Exit

LINES = (
    "check --theorem F1 --net vanilla --activation relu --networks 4 --seed 1 --workers 1 --json out.json",
    "check --theorem beta --p 2 --q 2 --at d=8 --at K=3 --workers 1",
    "check mine.py --seed 1 --store run.db",
    "mutate --theorem F1 --net vanilla --activation relu --networks 4 --workers 1 --device cpu --survivors 2 --json out.json",
    "show T2 --net residual --activation relu --p 2 --q inf --route chevet",
    "show mine.py",
    "latex T1 T2 --net residual --activation leaky_relu --p 1 --q 2 -o out.tex",
    "latex mine.py --fragment",
    "norms --d 8 --K 3 --exponent 2 --exponent inf --route chevet --samples 4 --seed 1 --json out.json",
    "train --net vanilla --p 2 --q 2 --N 16 --at L=1 --at d=16 --at K=2 --networks 2 --steps 1",
    "train --N 16 --at L=1 --at d=16 --at K=2 --networks 2 --steps 1 --until 0.1 --csv out.csv --plot out.pdf --size 84",
    "sweep F1 --over L=1,2 --net vanilla --activation relu --networks 4 --seed 1 --csv out.csv --json out.json -o out.html",
    "phase --net Residual --activation ReLU --p 2 --q 2 --axes L,N --at d=8 --at K=2",
    "report run.json -o out.md",
    "explore -o out.html --net vanilla --activation relu --store run.json",
    "report run.json --markdown",
    "audit model.py:factory --data digits --eps 0.1 --p inf --q 2 --initialisations 2 --twins 4 --inputs 1 --alpha 0.01 --seed 1 --json out.json",
    "audit model.py:factory --single --eps 0.1 --x-sq 1 --twins 4 --inputs 1 -o out.html --plot out.png",
    "new own --force",
    "list",
)
"""Right command lines of every command."""

MODEL = """
from torch import nn

def factory():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 3))

def failing():
    raise KeyError("gone")
"""
WORDS = (
    "", "x", "0", "1", "-1", "2.5", "1e999", "nan", "inf", "-inf", "1/0", "9" * 30, "d=1e9", "d=x", "L=-1", "=", "K", "sigma_w=0", "eps=-1", "\t",
    "é" * 99, "--", "-", "-x", "--no-such", "/", "/dev/null", "/nowhere/at/all", ".", "mine.py", "run.json", "broken.json", "broken.py", "empty.db",
    "folder", "a b", "T7", "t1", "T1,T2", "relu,abs", "__import__('os')", "\\input{x}", "$(ls)", "%s", "{0}", "1,2", "p", "pilot",
    "model.py:failing", "model.py:MODEL",
)  # fmt: skip
"""What a user may type, or a script insert, in the place of something else; no system passes NUL on."""


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A folder with files that are right, and some that are not."""
    folder = tmp_path_factory.mktemp("room")
    (folder / "folder").mkdir()
    sizes = r"nets=\(24,\) \* 4, widths=\(64, 256, 1024, 4096\), directions=2, steps=5"
    small, count = re.subn(
        sizes, "nets=(8,) * 3, widths=(8, 16, 32), directions=1, steps=1", Path(template.__file__).read_text()
    )
    assert count == 1
    (folder / "mine.py").write_text(small)
    (folder / "model.py").write_text(MODEL)
    for name, text in {"broken.json": '{"format": 3, "reports": [', "broken.py": "def f(:\n", "empty.db": ""}.items():
        (folder / name).write_text(text)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        result = CliRunner().invoke(cli.main, LINES[0].replace("out.json", "run.json").split())
        assert result.exit_code in (Exit.NOTHING_REFUTED, Exit.UNDERPOWERED), result.output
        yield folder


def wrong_line(draw):
    """A command line with one or two words changed, added or left out."""
    line = draw.choice(LINES).split()
    for _ in range(draw.choice((1, 1, 2))):
        place, word = draw.randrange(1, len(line) + 1), draw.choice(WORDS)
        heavy = {"--theorem", "--networks", "--samples", "--steps", "--N"}  # without them the line is right, and long
        heavy |= {"--initialisations", "--twins", "--inputs"}
        kind = draw.choice(("change", "change", "add", "drop"))
        if kind == "add" or place == len(line):
            line.insert(place, word)
        elif kind == "drop" and not heavy & {*line[place - 1 : place + 1]}:
            line.pop(place)
        elif line[place] not in heavy and word != "pilot":
            line[place] = word
    if line[0] in ("check", "mutate") and "--theorem" not in line and not any(word.endswith(".py") for word in line):
        line += LINES[0].split()[1:9]  # the whole suite takes minutes
    return line


def fault(line):
    """What is wrong with how a command line ended, or nothing."""
    result = CliRunner().invoke(cli.main, line)
    known = {Exit.NOTHING_REFUTED, Exit.REFUTED, Exit.USAGE, Exit.UNDERPOWERED}
    if result.exit_code not in known or "Traceback" in result.output:
        return f"exit code {result.exit_code}: {result.output[-500:]}"
    return "" if result.exit_code != Exit.USAGE or result.output.strip() else "a usage error without a word"


@pytest.mark.parametrize("line", LINES)
def test_right_lines_are_right(line, room):
    result = CliRunner().invoke(cli.main, line.split())
    assert result.exit_code in (Exit.NOTHING_REFUTED, Exit.REFUTED, Exit.UNDERPOWERED), result.output


def test_a_crash_is_seen(room, monkeypatch):
    monkeypatch.setattr(cli.main.commands["list"], "callback", lambda: {}["no"])
    assert "exit code 4" in fault(["list"])


def test_wrong_lines(room):
    draw = random.Random(0)
    for _ in range(60):
        line = wrong_line(draw)
        assert not fault(line), line


@pytest.mark.fuzz
@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(draw=st.randoms(use_true_random=False))
def test_five_hundred_wrong_lines(draw, room):
    line = wrong_line(draw)
    assert not fault(line), line
