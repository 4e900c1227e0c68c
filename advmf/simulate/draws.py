"""The random parts of networks: drawing them, or only listing their sizes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import sympy as sp
import torch
from torch import Tensor

from advmf.nets import GaussianLayer
from advmf.simulate.dense import DenseMatrix
from advmf.simulate.networks import Linear, Mask
from advmf.simulate.tapes import Matrix

Fill = Callable[[Tensor, torch.Generator], Tensor]
"""Fills a tensor with random numbers, in place."""
Fresh = Callable[..., Tensor]
"""``fresh(fill, *shape)``: a new tensor that ``fill`` fills, at once or later."""


def normal(std: float) -> Fill:
    """Independent N(0, std²) numbers."""
    return lambda values, generator: values.normal_(0.0, std, generator=generator)


def dropped(rate: float) -> Fill:
    """0 with probability ``rate``, else 1/(1 - rate)."""
    return lambda values, generator: values.bernoulli_(1 - rate, generator=generator).div_(1 - rate)


class Shape(NamedTuple):
    """The size of a random part of a network: a matrix, perhaps with a bias for each row, or a mask, which has no
    columns."""

    rows: int
    columns: int
    vector: bool = False
    trained: bool = False
    positions: int = 1
    """The number of positions of an image at which a matrix acts."""


class Shapes:
    """Draws nothing, and records the sizes of what would be drawn."""

    def __init__(self, number: Callable[[sp.Expr], float]) -> None:
        self.number, self.found, self.device = number, list[Shape](), NOTHING.device

    def layer(self, layer: GaussianLayer, rows: int, columns: int, positions: int) -> Linear:
        self.found.append(Shape(rows, columns, bool(self.number(layer.bias_deviation)), layer.trained, positions))
        return Linear(DenseMatrix(NOTHING), None)

    def mask(self, rate: float, size: int) -> Mask:
        self.found.append(Shape(size, 0, True))
        return Mask(NOTHING)


NOTHING = torch.empty(0, dtype=torch.float32, device="cpu")


@dataclass(frozen=True)
class Drawn:
    """Random parts of ``count`` networks, by ``matrix(rows, columns, std, positions)`` and ``fresh(fill, count,
    n)``."""

    count: int
    matrix: Callable[[int, int, float, int], Matrix]
    fresh: Fresh
    number: Callable[[sp.Expr], float]
    device: torch.device

    def layer(self, layer: GaussianLayer, rows: int, columns: int, positions: int) -> Linear:
        bias = self.number(layer.bias_deviation)
        deviation = self.number(layer.deviation) / math.sqrt(columns)
        weights = self.matrix(rows, columns, deviation, positions)  # drawn first
        return Linear(weights, self.fresh(normal(bias), self.count, rows) if bias else None, layer.trained)

    def mask(self, rate: float, size: int) -> Mask:
        return Mask(self.fresh(dropped(rate), self.count, size))
