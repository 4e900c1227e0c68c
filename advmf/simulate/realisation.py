"""Sampled networks from declared ones: the maps of a block, whose random parts come from a source of draws."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Protocol, runtime_checkable

import sympy as sp
import torch

from advmf.errors import DomainError
from advmf.nets import AvgPool, Block, Conv, Dropout, GaussianLayer, Norm, Pointwise, Residual, Sizes
from advmf.nets.algebra import Algebra
from advmf.simulate.networks import Activation, Chain, Linear, Map, Mask, Normalisation, Sum
from advmf.simulate.pointwise import Smooth
from advmf.simulate.positions import Average, Patches
from advmf.symbols import z


@runtime_checkable
class Draws(Protocol):
    """The source of the random parts of a network."""

    @property
    def device(self) -> torch.device:
        """Where they are."""

    def layer(self, layer: GaussianLayer, rows: int, columns: int, positions: int) -> Linear:
        """A random layer for a declared one, which acts at so many positions."""

    def mask(self, rate: float, size: int) -> Mask:
        """A random mask that drops coordinates at this rate."""

    def number(self, expr: sp.Expr) -> float:
        """The value of one of the net's expressions."""


@dataclass(frozen=True)
class Path:
    """The maps of a path so far, and the width of the stream after them, with the sizes of its image if it has one."""

    maps: tuple[Map, ...]
    width: int
    sizes: Sizes = ()

    def then(self, map: Map, width: int | None = None, sizes: Sizes | None = None) -> Path:
        """The path with one more map, which leads to another width or to other sizes if they are given."""
        return Path((*self.maps, map), width or self.width, self.sizes if sizes is None else sizes)


class Realisation(Algebra[Path]):
    """The maps of one copy of a block, in the order in which they act: Gaussian layers map to ``width`` coordinates.

    A user's rule gets the maps before the primitive, as a tuple, and returns them with its own added.
    """

    def __init__(self, draws: Draws, width: int) -> None:
        self._draws, self._width, self._number = draws, width, draws.number

    def gaussian(self, layer: GaussianLayer, state: Path) -> Path:
        return state.then(self._draws.layer(layer, self._width, state.width, prod(state.sizes)), self._width)

    def convolution(self, layer: Conv, state: Path) -> Path:
        sizes, columns = layer.sizes(state.sizes), layer.taps(len(state.sizes)) * state.width
        weights = self._draws.layer(layer, self._width, columns, prod(sizes))
        return state.then(Patches(layer.windows, state.sizes)).then(weights, self._width, sizes)

    def average(self, pool: AvgPool, state: Path) -> Path:
        map = Average.of(pool, state.sizes, self._draws.device)
        return state.then(map, sizes=pool.sizes(state.sizes))

    def pointwise(self, activation: Pointwise, state: Path) -> Path:
        function = activation.tensors(self._number) or Smooth.of(activation.phi(z), self._number)
        return state.then(Activation(function))

    def norm(self, norm: Norm, state: Path) -> Path:
        return state.then(Normalisation(norm.centred))

    def dropout(self, dropout: Dropout, state: Path) -> Path:
        rate = self._number(dropout.rate)
        if not 0 <= rate < 1:
            raise DomainError(f"{dropout!r}: the rate is a probability and must be in [0, 1); got {rate}.")
        return state.then(self._draws.mask(rate, state.width))

    def fork(self, state: Path) -> Path:
        return Path((), state.width, state.sizes)

    def add(self, block: Residual, shortcut: Path, branch: Path, before: Path) -> Path:
        total = Sum(in_turn(shortcut.maps), in_turn(branch.maps), self._number(block.scale))
        return before.then(total, shortcut.width, shortcut.sizes)

    def other(self, block: Block, state: Path) -> Path:
        return Path(super().other(block, state.maps), state.width, state.sizes)  # type: ignore[arg-type]


def in_turn(maps: tuple[Map, ...]) -> Map:
    """Maps one after the other; a single one as it is."""
    return maps[0] if len(maps) == 1 else Chain(maps)


def realise(block: Block, draws: Draws, before: int, after: int, sizes: Sizes = ()) -> Map:
    """The map of one copy of ``block``, from ``before`` coordinates to ``after``, or channels of an image of these
    sizes."""
    return in_turn(block.apply(Realisation(draws, after), Path((), before, sizes)).maps)
