"""Memory budgets: the size of a request is compared with its limit before anything is allocated."""

from __future__ import annotations

from dataclasses import dataclass

from advmf.budget import MEMORY, allow
from advmf.errors import MemoryBudgetError

__all__ = ["MEMORY", "Budget", "allow"]


@dataclass
class Budget:
    """Bytes that may still be allocated; every matrix of an ensemble draws on the same one."""

    left: int

    def take(self, size: int, what: str) -> None:
        """Take ``size`` bytes; raises MemoryBudgetError, and takes nothing, where fewer are left."""
        if size > self.left:
            raise MemoryBudgetError(
                f"{what} takes {size:,} bytes, and {max(self.left, 0):,} of the budget are left. "
                "Lower N, L or the number of vectors, use dtype=torch.float32, or raise memory=."
            )
        self.left -= size
