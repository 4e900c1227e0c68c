"""How commands end: a defined exit code in every case."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import Any

import click

from advmf.errors import OutputError
from advmf.outputs import Output, apart


class Exit(IntEnum):
    """The exit codes. Verdicts and failures have different ones: 1 means refuted, and nothing else."""

    NOTHING_REFUTED = 0
    REFUTED = 1
    USAGE = 2
    """Bad arguments, and files that cannot be read or written: one line says which."""
    UNDERPOWERED = 3
    """Nothing was refuted, but some claim was underpowered, or a negative control was not refuted."""
    FAILED = 5
    """Nothing was refuted, but a case ended in an error, so that nothing is known of its claims."""
    CRASHED = 4
    """An unexpected error: a bug of advmf."""
    INTERRUPTED = 130
    """Ctrl-C; 128 + the signal, by the convention of shells."""
    READER_GONE = 141
    """The reader of standard output has ended, as ``head`` does."""
    TERMINATED = 143


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""The errors of a disk on which an open file can no longer be written."""


class Command(click.Command):
    """A command that requires its outputs to be different files, and none of its inputs."""

    def invoke(self, context: click.Context) -> Any:
        values = [v for value in context.params.values() for v in (value if isinstance(value, tuple) else (value,))]
        try:
            read = [Path(v) for v in values if isinstance(v, Path) or (isinstance(v, str) and os.path.isfile(v))]
            apart([v for v in values if isinstance(v, Output)], read)
        except OutputError as error:
            raise click.UsageError(str(error), context) from None
        return super().invoke(context)


HELP = 78
"""The columns of a help text that no terminal shows."""


class Commands(click.Group):
    """The group of all commands. Click exits by 1 for every error; here the exit code says which kind it was. Click
    also takes the width of help from the variable COLUMNS. Here only a terminal has another width than :data:`HELP`."""

    command_class = Command

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        if sys.stdout is None or not sys.stdout.isatty():
            extra.setdefault("terminal_width", HELP)
        main = partial(super().main, *args, **extra, standalone_mode=False)
        if not standalone_mode:
            return main()
        _standard_streams()
        sys.exit(_flushed(_code_of(main)))


def _code_of(call: Callable[[], Any]) -> int:
    with _interrupts() as interrupted:
        try:
            code = call()
        except SystemExit as end:
            bare = end.code == 1 and not isinstance(end.code, Exit)  # so click reports a broken pipe
            code = Exit.READER_GONE if bare else end.code
        except click.ClickException as error:
            with suppress(OSError):
                error.show()
            return Exit.USAGE
        except BrokenPipeError:
            return Exit.READER_GONE
        except BaseException as error:  # libraries turn an interrupt during their import into other errors
            if interrupted or isinstance(error, KeyboardInterrupt | click.Abort):
                _say("interrupted")
                return Exit.INTERRUPTED
            if isinstance(error, OSError) and error.errno in FULL and error.filename is None:  # written, not opened
                _say(f"standard output cannot be written: {error.strerror}")
                return Exit.USAGE
            with suppress(OSError, ValueError):
                traceback.print_exc()
            _say(f"this is a fault of advmf; nothing was decided (exit code {Exit.CRASHED:d})")
            return Exit.CRASHED
    return code if isinstance(code, int) else Exit.NOTHING_REFUTED


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """A list that is filled when Ctrl-C comes."""
    came: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    # A process that ignores Ctrl-C, as one started in the background does, continues to ignore it.
    own = before is signal.default_int_handler and threading.current_thread() is threading.main_thread()

    def note(number: int, frame: object) -> None:
        came.append(number)
        raise KeyboardInterrupt

    if own:
        signal.signal(signal.SIGINT, note)
    try:
        yield came
    finally:
        if own:
            signal.signal(signal.SIGINT, before)


def _standard_streams() -> None:
    """Standard streams for a process that was started without them. Output is dropped, and no opened file gets their
    numbers."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Nowhere(io.FileIO(os.devnull, "w"), encoding="utf-8"))
        elif hasattr(stream := getattr(sys, name), "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a locale that lacks a letter must not end the command


class Nowhere(io.TextIOWrapper):
    """A stream in place of a closed one, for code that prints."""

    nowhere = True


def _flushed(code: int) -> int:
    """The exit code, after all printed text has been flushed."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = Exit.READER_GONE
    except OSError as error:
        _say(f"standard output cannot be written: {error.strerror}")
        code = Exit.USAGE
    else:
        return code
    with suppress(OSError, ValueError, AttributeError):  # otherwise Python tries again at exit, and exits by 120
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    return code


def _say(line: str) -> None:
    with suppress(OSError, ValueError):
        click.echo(f"advmf: {line}", err=True)
