"""Memory: what a request will take is compared with what it may take before anything is allocated."""

from __future__ import annotations

from dataclasses import dataclass

from advmf.errors import MemoryBudgetError

MEMORY = 4 * 2**30
"""Default budget in bytes for the weights, or the answers that stand for them, held at once; and for what else a call takes."""


def allow(size: int, limit: int, what: str, advice: str) -> None:
    """Raises MemoryBudgetError where ``what`` takes more than ``limit`` bytes; ``advice`` says what would take less.

    >>> allow(2**20, MEMORY, "A matrix", "Lower N")
    """
    if size > limit:
        raise MemoryBudgetError(f"{what}: {size:,} bytes, and the budget is {limit:,}. {advice}.")


@dataclass
class Budget:
    """Bytes that may still be allocated; every matrix of an ensemble draws on the same one."""

    left: int

    def take(self, size: int, what: str) -> None:
        """Raises MemoryBudgetError, and takes nothing, where ``size`` is more than is left."""
        if size > self.left:
            raise MemoryBudgetError(
                f"{what} takes {size:,} bytes, and {max(self.left, 0):,} of the budget are left. "
                "Lower N, L or the number of vectors, use dtype=torch.float32, or raise memory=."
            )
        self.left -= size
