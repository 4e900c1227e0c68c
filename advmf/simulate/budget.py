"""Memory: what a request will take is compared with what it may take before anything is allocated."""

from __future__ import annotations

from dataclasses import dataclass

from advmf.budget import allow
from advmf.errors import MemoryBudgetError

__all__ = ["MEMORY", "Budget", "allow"]

MEMORY = 4 * 2**30
"""Default budget in bytes for the weights, or the answers that stand for them, held at once; and for what else a call
takes."""


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
