"""Explicit matrices: every entry is stored."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from advmf.simulate.state import without_gradients

MANY = 64
"""From this many vectors on, as positions of images make them, a product takes them as they are: 1.1 to 4 times as fast
as rows. Few vectors are faster as rows."""


class DenseMatrix:
    """A batch of stored matrices, ``values`` (nets, rows, columns)."""

    def __init__(self, values: Tensor, change: Tensor | None = None) -> None:
        self.values = values
        self._change = change

    def matmul(self, x: Tensor) -> Tensor:
        if x.shape[2] >= MANY:
            return torch.bmm(self.values, x)
        return torch.bmm(x.mT.contiguous(), self.values.mT).mT

    def rmatmul(self, z: Tensor) -> Tensor:
        if z.shape[2] >= MANY:
            return torch.bmm(self.values.mT, z)
        return torch.bmm(z.mT.contiguous(), self.values).mT

    @without_gradients
    def add(self, u: Tensor, v: Tensor) -> None:
        wide = [z.double() for z in (u, v, self.matmul(v))]
        gram = torch.bmm(wide[0].mT, wide[0]) * torch.bmm(wide[1].mT, wide[1])
        self._change = self.norm_change() + 2 * (wide[0] * wide[2]).sum((1, 2)) + gram.sum((1, 2))
        self.values.baddbmm_(u, v.mT)

    def squared_norm(self) -> Tensor:
        return torch.linalg.vector_norm(self.values, dim=(1, 2), dtype=torch.float64) ** 2

    def norm_change(self) -> Tensor:
        if self._change is None:
            return torch.zeros(len(self.values), dtype=torch.float64, device=self.values.device)
        return self._change

    def state(self) -> dict[str, Any]:
        """The data from which :meth:`restore` turns a matrix of the same shape into this one."""
        return {"values": self.values, "change": self._change}

    @without_gradients
    def restore(self, state: dict[str, Any]) -> None:
        """Become the matrix whose :meth:`state` this is."""
        self.values.copy_(state["values"])
        self._change = state["change"]
