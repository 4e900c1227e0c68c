"""Sharing the evaluation of large arrays among cores, by Python threads. Native code runs without Python's lock.
(NumPy's functions are too short for this: threads that pass the lock between them take longer than one alone.)"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

SHARED = 1 << 23
"""All cores share a stage from this many operations on; passing work to a thread takes a tenth of a millisecond."""


@cache
def threads() -> int:
    """The cores that this process may use, at most OMP_NUM_THREADS where that is set."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return max(1, min(cores, int(limit))) if limit.isdigit() else cores


def workers(operations: int) -> int:
    """The number of threads that share this many operations."""
    return threads() if operations >= SHARED else 1


def at_once(work: Callable[[Any], Any], shares: Sequence[Any]) -> list[Any]:
    """The results of ``work`` for each share; the first runs in this thread, each other in a separate one."""
    others = [_pool().submit(work, share) for share in shares[1:]]
    return [work(shares[0]), *(other.result() for other in others)]


_pools: dict[int, ThreadPoolExecutor] = {}


def _pool() -> ThreadPoolExecutor:
    """The threads of this process; those of a parent process do not survive a fork."""
    if os.getpid() not in _pools:
        _pools.clear()
        _pools[os.getpid()] = ThreadPoolExecutor(max(1, threads() - 1), thread_name_prefix="advmf")
    return _pools[os.getpid()]
