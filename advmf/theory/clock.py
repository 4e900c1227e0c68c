"""Work that may take only so much processor time, as SymPy's proofs and limits may take for ever."""

from __future__ import annotations

import _weakrefset
import gc
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


def within(seconds: float, work: Callable[[], Any]) -> Any:
    """What ``work`` returns, or None if it takes more than ``seconds`` of processor time, or SymPy has no answer and
    raises one of its errors."""
    try:
        with _limit(seconds):
            return work()
    except (
        _OutOfTime,
        NotImplementedError,
        ValueError,
        TypeError,
        AttributeError,
        RecursionError,
        ArithmeticError,
        LookupError,
    ):
        return None


class _OutOfTime(BaseException):
    """Raised when the processor time is spent. It derives from BaseException, so that no ``except Exception`` on the
    way catches it."""


AGAIN = 0.25
"""Seconds of processor time between two attempts to stop a computation that takes too long."""


def _freeing(frame: FrameType | None) -> bool:
    """Whether an object is being freed, or garbage collected: an exception raised there reaches nobody, and Python
    warns of it."""
    called = {getattr(callback, "__code__", None) for callback in gc.callbacks}
    while frame is not None:
        code = frame.f_code
        if code.co_name == "__del__" or code.co_filename in _FREEING or code in called:
            return True
        frame = frame.f_back
    return False


_FREEING = {weakref.__file__, _weakrefset.__file__}
"""The files whose functions Python calls when an object that is referred to weakly is freed."""


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """Stop the enclosed work after ``seconds`` of processor time, where the system allows it: in the main thread, on
    POSIX."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    running = [True]

    def stop(_: int, frame: FrameType | None) -> None:
        if running and not _freeing(frame):
            raise _OutOfTime

    before = signal.signal(signal.SIGVTALRM, stop)
    # The signal repeats, because an exception is lost if Python is freeing an object or a bare except catches it.
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds, AGAIN)
    try:
        yield
    finally:
        try:
            running.clear()
        finally:  # also if it was interrupted once more
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)
