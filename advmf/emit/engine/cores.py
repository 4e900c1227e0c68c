"""The cores that share the evaluation of large arrays, by Python's threads, whose lock native code does not need.
(NumPy's functions are too short: threads that hand over the lock between them take longer than one alone.)"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

SHARED = 1 << 23
"""Operations from which on all cores share a stage: handing work to a thread takes a tenth of a millisecond."""


@cache
def threads() -> int:
    """The cores that this process may use, at most OMP_NUM_THREADS where that is set."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return max(1, min(cores, int(limit))) if limit.isdigit() else cores


def workers(operations: int) -> int:
    """How many threads share so many operations."""
    return threads() if operations >= SHARED else 1


def at_once(work: Callable[[Any], Any], shares: Sequence[Any]) -> list[Any]:
    """The results of ``work`` for each share: of the first in this thread, of each other in one of its own."""
    others = [_pool().submit(work, share) for share in shares[1:]]
    return [work(shares[0]), *(other.result() for other in others)]


_pools: dict[int, ThreadPoolExecutor] = {}


def _pool() -> ThreadPoolExecutor:
    """This process's threads: those of a parent do not survive a fork."""
    if os.getpid() not in _pools:
        _pools.clear()
        _pools[os.getpid()] = ThreadPoolExecutor(max(1, threads() - 1), thread_name_prefix="advmf")
    return _pools[os.getpid()]
