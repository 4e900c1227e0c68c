"""The positions of an image that a map meets: those of a convolution's taps, and those that are averaged."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from math import prod

from advmf.errors import DeclarationError
from advmf.special.profiles import positions_after

Sizes = tuple[int, ...]
"""The numbers of positions along each axis of an image, such as height and width."""


@dataclass(frozen=True)
class Windows:
    """Along each axis, the position j after a map meets ``taps`` positions before it, from ``j*stride + first`` on.

    Beyond an edge a ``circular`` image goes on at its other side. Another image has zeros there, as many positions at
    both sides.
    """

    taps: int
    stride: int
    first: int
    circular: bool

    @property
    def even(self) -> bool:
        """Whether all positions before the map are met equally often."""
        whole = self.first == 0 and self.taps == self.stride
        return whole or (self.circular and self.taps % self.stride == 0)

    def sizes(self, before: Sizes, owner: object) -> Sizes:
        """The sizes of the image after the map. Raises DeclarationError, about ``owner``, for an image that the map
        cannot take."""
        around = 0 if self.circular else -2 * self.first
        if self.taps > min(before) + around:
            zeros = f" and {around} zeros have" if around else " has"
            raise DeclarationError(
                f"{owner!r} meets {self.taps} positions along an axis, more than an image of {_written(before)} positions{zeros}."
            )
        beside = self.first == 0 and self.taps == self.stride
        if (self.circular or beside) and any(size % self.stride for size in before):
            raise DeclarationError(
                f"{owner!r}: its stride, or its window, must divide the sizes of the image, which has {_written(before)} positions here."
            )
        return self.after(before)

    def after(self, before: Sizes) -> Sizes:
        """The sizes of the image after the map, if it can take the image."""
        return tuple(positions_after(size, self.taps, self.stride, self.first, self.circular) for size in before)

    def sources(self, before: Sizes) -> list[list[int]]:
        """For each position after the map, the positions before it that are met, both in row-major order. One beyond an
        edge with zeros has the number of positions."""
        total = prod(before)
        found = []
        for position in itertools.product(*(range(size) for size in self.after(before))):
            met = []
            for offset in itertools.product(range(self.taps), repeat=len(before)):
                place = [a * self.stride + self.first + t for a, t in zip(position, offset)]
                inside = all(0 <= a < size for a, size in zip(place, before))
                met.append(_index(place, before) if inside or self.circular else total)
            found.append(met)
        return found


def _index(place: list[int], sizes: Sizes) -> int:
    """The number of a position in row-major order; positions beyond an edge are taken from the other side."""
    number = 0
    for at, size in zip(place, sizes):
        number = number * size + at % size
    return number


def _written(sizes: Sizes) -> str:
    return " x ".join(map(str, sizes))
