"""Progress in a log and on a terminal."""

import io
import os
import pty
import re
import sys
import time
from contextlib import suppress

import pytest

from advmf import progress as module
from advmf.progress import TAKEN_OVER, Lines, progress


class Clock:
    """A clock that is set by hand."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def lines_of(count, clock, unit="cases"):
    told = []
    return Lines(count, unit, told.append, clock), told


def test_a_short_run_says_nothing(clock):
    lines, told = lines_of(20, clock)
    for _ in range(20):
        clock.now += 0.4
        lines.advance(1.0, "T2 finished")
    assert told == []


def test_a_line_for_each_tenth_and_one_a_minute_between(clock):
    lines, told = lines_of(20, clock)
    lines.advance(0.0, "T2 vanilla relu")
    for _ in range(10):  # of a tenth of a case each, which is no tenth of all
        clock.now += 15
        lines.advance(0.1, "N=512")
    assert told == [
        "advmf: 0 of 20 cases, 2 %, after 0:01:00, about 0:49:00 left; T2 vanilla relu N=512",
        "advmf: 0 of 20 cases, 4 %, after 0:02:00, about 0:48:00 left; T2 vanilla relu N=512",
    ]
    told.clear()
    for i in range(19):
        clock.now += 12
        lines.advance(1.0, f"case {i} finished")
    assert [re.search(r"(\d+) of 20 cases, (\d+) %", line).groups() for line in told] == [
        (f"{n}", f"{5 * n}") for n in range(2, 21, 2)
    ]
    assert told[-1].startswith("advmf: 20 of 20 cases, 100 %, after 0:06:18, about 0:00:00 left")


def test_a_minute_in_which_nothing_finishes_is_told_too(clock):
    lines, told = lines_of(3, clock)
    for _ in range(150):
        clock.now += 1
        lines.tell()
    assert told == ["advmf: 0 of 3 cases, 0 %, after 0:01:00", "advmf: 0 of 3 cases, 0 %, after 0:02:00"]


def test_what_was_taken_over_says_nothing_of_the_pace(clock):
    lines, told = lines_of(10, clock)
    for _ in range(8):
        lines.advance(1.0, TAKEN_OVER)
    clock.now += 600
    lines.advance(1.0, "F1 vanilla relu finished")
    assert told == ["advmf: 9 of 10 cases, 90 %, after 0:10:00, about 0:10:00 left; F1 vanilla relu finished"]


def test_a_single_piece_of_work_is_not_counted(clock):
    lines, told = lines_of(1, clock, "norms")
    clock.now += 20
    lines.advance(0.25, "norms of 784 x 10")
    assert told == ["advmf: 25 %, after 0:00:20, about 0:01:00 left; norms of 784 x 10"]


def test_shares_that_do_not_add_up_by_rounding_are_a_case(clock):
    lines, told = lines_of(3, clock)
    clock.now += 60
    for _ in range(10):
        lines.advance(0.1, "")
    assert sum([0.1] * 10) < 1
    clock.now += 60
    lines.tell()
    assert "1 of 3 cases" in told[-1]


class Heard(io.StringIO):
    """A stream that is no terminal, and that may be gone."""

    gone = False

    def write(self, text):
        if self.gone:
            raise BrokenPipeError
        return super().write(text)


@pytest.mark.parametrize("gone", [False, True])
def test_a_log_gets_plain_lines_though_colours_are_forced(gone, clock, monkeypatch):
    """A line comes from the clock alone, while the work is in a long call; and a log that is gone ends no run."""
    stream = Heard()
    stream.gone = gone
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(module.Lines.__init__, "__defaults__", (clock,))
    with progress(4) as advance:
        advance(1.0, "T5 vanilla relu finished")
        clock.now += 61
        deadline = time.monotonic() + 60
        while not gone and not stream.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
        clock.now += 61
        advance(1.0, "T5 residual relu finished")
    shown = [] if gone else ["1 of 4 cases, 25 %, after 0:01:01", "2 of 4 cases, 50 %, after 0:02:02"]
    assert re.findall(r"^advmf: (.*?), about .* left; T5 \w+ relu finished$", stream.getvalue(), re.M) == shown
    assert not set(stream.getvalue()) & {"\r", "\x1b"}


def on_a_terminal(terminal, work):
    """What a terminal gets while ``work`` is done."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as stream, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        patch.setenv("TERM", terminal)
        for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
            patch.delenv(name, raising=False)
        with progress(4) as advance:
            work(advance)
    shown = b""
    with suppress(OSError):  # which is how Linux says that no more will come
        while some := os.read(ours, 10**6):
            shown += some
    os.close(ours)
    return shown.decode()


def test_a_terminal_gets_a_bar():
    def work(advance):
        advance(1.0, TAKEN_OVER)
        advance(0.0, "T2 vanilla relu")
        advance(0.5, "N=512")

    shown = on_a_terminal("xterm", work)
    assert "T2 vanilla relu N=512" in shown and "\x1b[" in shown and "advmf: " not in shown


def test_a_terminal_that_cannot_move_its_cursor_gets_none():
    assert on_a_terminal("dumb", lambda advance: advance(0.5, "N=512")) == ""
