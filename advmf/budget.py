"""Limits of bytes and seconds: the estimated cost of a request is compared with its limit before anything is allocated
or begun."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from advmf.errors import BudgetError, MemoryBudgetError

MEMORY = 4 * 2**30
"""Default budget in bytes for the weights held at once, or the answers stored in their place, and again for the rest of
a call."""

SECONDS = 3600.0
"""The most seconds, by estimate, that one evaluation of a formula may take; a recursion of ordinary length takes
milliseconds."""


def allow(size: int, limit: int, what: str, advice: str) -> None:
    """Raise MemoryBudgetError where ``what`` takes more than ``limit`` bytes; ``advice`` says how to use less.

    >>> allow(2**20, 2**30, "A matrix", "Lower N")
    """
    if size > limit:
        raise MemoryBudgetError(f"{what}: {size:,} bytes, and the budget is {limit:,}. {advice}.")


def allow_seconds(seconds: float, what: str, advice: str) -> None:
    """Raise BudgetError where ``what`` takes more than :data:`SECONDS` by estimate; ``advice`` says how to use less.

    >>> allow_seconds(1e6, "A long loop", "Lower L")
    Traceback (most recent call last):
        ...
    advmf.errors.BudgetError: A long loop: about 1,000,000 seconds, and the budget is 3,600. Lower L.
    """
    if seconds > SECONDS:
        raise BudgetError(f"{what}: about {seconds:,.0f} seconds, and the budget is {SECONDS:,.0f}. {advice}.")


@cache
def machine_memory() -> int:
    """The most bytes of memory that this process may use: the machine's, or less where its control group has a
    limit."""
    found = [2**63 - 1]
    try:
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    except (AttributeError, OSError, ValueError):  # no such figure on this system, or "max", which is no limit
        pass
    return min(size for size in found if size > 0)
