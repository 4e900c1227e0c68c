"""Progress on standard error: a bar on a terminal; elsewhere, as in the log of a job, occasional plain lines."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from advmf.errors import ArgumentError

Progress = Callable[[float, str], None]
"""Called with the share of the work done since the last call, and what is being done."""
TAKEN_OVER = "taken over"
"""The words for a finished job, or finished parts of one, that are taken over from an earlier run."""

LEAST, MOST = 10.0, 60.0
"""The least and the most seconds between two lines. LEAST holds even if a tenth of the work was done meanwhile, MOST
even if nothing was.
"""


class Advance:
    """A function that is told of progress. It is called with the share of a piece of work that was done since the last
    call, and with words for what is being done. A share of 0 names a piece that begins, and the words of later calls
    are about it. ``say`` writes a line beside the progress."""

    def __init__(self, advance: Callable[[float, str], None], say: Callable[[str], None]) -> None:
        self._advance, self.say = advance, say

    def __call__(self, share: float, what: str) -> None:
        self._advance(share, what)


@contextmanager
def progress(count: int, unit: str = "cases") -> Iterator[Advance]:
    """Progress of ``count`` pieces of work."""
    with _bar(count) if _visible() else _lines(count, unit) as advance:
        yield advance


@contextmanager
def shown(progress: Progress | bool | None, count: int = 1) -> Iterator[Progress | None]:
    """The function that the progress of one check goes to, or of ``count`` pieces of work. A given function is taken.
    None, and True, mean a bar, if there is a terminal or a notebook that shows one. False means nothing. Raises
    ArgumentError for anything else."""
    if not callable(progress) and progress not in (None, False, True):
        raise ArgumentError(f"progress is a function of a share and a text, True, False or None; got {progress!r:.80}.")
    if callable(progress):
        yield progress
    elif progress is False or not _visible():
        yield None
    else:
        with _bar(count) as advance:
            yield advance


def _in_notebook() -> bool:
    from rich.console import Console

    return Console(stderr=True).is_jupyter


def _visible() -> bool:
    """Whether a bar can be seen: on a terminal, or in a notebook."""
    from rich.console import Console

    # FORCE_COLOR, which many CI systems set, makes a pipe a terminal for rich.
    console = Console(stderr=True)
    return console.is_jupyter or (sys.stderr.isatty() and not console.is_dumb_terminal)


@contextmanager
def _bar(count: int) -> Iterator[Advance]:
    with _notebook_bar(count) if _in_notebook() else _terminal_bar(count) as advance:
        yield advance


OFTEN = 0.2
"""The least seconds between two changes of a bar in a notebook."""


@contextmanager
def _notebook_bar(count: int) -> Iterator[Advance]:
    """A bar that needs no widgets: HTML that is replaced. It goes when the work ends."""
    import html

    from IPython.display import HTML, display

    start, told, done, case = time.monotonic(), 0.0, 0.0, ""
    handle = display(HTML("<progress></progress>"), display_id=True)

    def advance(share: float, what: str) -> None:
        nonlocal told, done, case
        done, now = done + share, time.monotonic()
        case = what if share == 0.0 else case
        if now - told >= OFTEN:
            told, part = now, min(done / count, 1.0)
            left = f", about {_time((now - start) * (1 - part) / part)} left" if part > 0 else ""
            words = html.escape(f"{part:.0%} after {_time(now - start)}{left}; {case} {what if what != case else ''}")
            handle.update(HTML(f'<progress max="1" value="{part:.4f}"></progress> {words}'))

    try:
        yield Advance(advance, print)
    finally:
        handle.update(HTML(""))


@contextmanager
def _terminal_bar(count: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    # Time left is estimated from the last ten minutes, because cases on workers finish in bursts.
    with Progress(*columns, console=Console(stderr=True), transient=True, speed_estimate_period=600) as bar:
        task = bar.add_task("", total=count)
        case = ""

        def advance(share: float, what: str) -> None:
            nonlocal case
            if what == TAKEN_OVER:  # which says nothing of the pace
                bar.reset(task, completed=bar.tasks[0].completed + share, description=f"{case} {what}")  # type: ignore[arg-type]
                return
            if share == 0.0:
                case = what
            bar.update(task, advance=share, description=case if share == 0.0 else f"{case} {what}")

        yield Advance(advance, lambda line: bar.console.print(line, markup=False, highlight=False))


@contextmanager
def _lines(count: int, unit: str) -> Iterator[Advance]:
    lines, done = Lines(count, unit, _print), threading.Event()

    def watch() -> None:
        while not done.wait(1.0):
            lines.tell()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield Advance(lines.advance, _print)
    finally:
        done.set()
        watcher.join()


def _print(line: str) -> None:
    with suppress(OSError, ValueError):  # a lost log must not end a run
        print(line, file=sys.stderr, flush=True)


class Lines:
    """Progress as lines: one for every tenth of the work, and one a minute while nothing finishes. Work of a few
    seconds has none.

    ``write`` gets each line, and ``clock`` gives the time in seconds.

    >>> now = iter(range(0, 1000, 30))
    >>> lines = Lines(4, "cases", print, clock=lambda: next(now))
    >>> lines.advance(1.0, "T2 vanilla relu finished")
    advmf: 1 of 4 cases, 25 %, after 0:00:30, about 0:01:30 left; T2 vanilla relu finished
    """

    def __init__(self, count: int, unit: str, write: Callable[[str], Any], clock: Callable[[], float] = time.monotonic):
        self._count, self._unit, self._write, self._clock = count, unit, write, clock
        self._lock = threading.Lock()
        self._done = self._taken = 0.0
        self._case = self._what = ""
        self._start = self._told = self._paced = clock()
        self._tenth = 0

    def advance(self, share: float, what: str) -> None:
        """Count a share of a piece of work, and write a line if one is due."""
        with self._lock:
            self._done += share
            self._case, self._what = (what, "") if share == 0.0 else (self._case, what)
            if what == TAKEN_OVER:  # which says nothing of the pace
                self._taken, self._paced = self._done, self._clock()
        self.tell()

    def tell(self) -> None:
        """Write a line if one is due."""
        with self._lock:
            now, done = self._clock(), round(self._done, 6)
            tenth, silent = int(10 * done / self._count), now - self._told
            if silent >= MOST or (silent >= LEAST and tenth > self._tenth):
                self._told, self._tenth = now, tenth
                self._write(self._line(now, done))

    def _line(self, now: float, done: float) -> str:
        parts = [f"{done / self._count:.0%}".replace("%", " %"), f"after {_time(now - self._start)}"]
        if self._count > 1:
            parts.insert(0, f"{int(done)} of {self._count} {self._unit}")
        if done > self._taken:
            left = (now - self._paced) * max(self._count - done, 0.0) / (done - self._taken)
            parts.append(f"about {_time(left)} left")
        what = f"{self._case} {self._what}".strip()
        return f"advmf: {', '.join(parts)}" + (f"; {what}" if what else "")


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
