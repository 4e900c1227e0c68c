"""Explicit matrices: every entry is stored."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class DenseMatrix:
    """A batch of stored matrices, (nets, rows, columns)."""

    values: Tensor

    def matmul(self, x: Tensor) -> Tensor:
        return torch.bmm(x.mT.contiguous(), self.values.mT).mT

    def rmatmul(self, z: Tensor) -> Tensor:
        return torch.bmm(z.mT.contiguous(), self.values).mT
