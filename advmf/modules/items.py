"""What a module does to its input, as items in a row: the value of a node of its graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import sympy as sp
from torch import Tensor

from advmf.errors import DeclarationError
from advmf.nets import Conv, Windows


@dataclass(frozen=True, eq=False)
class Item:
    """One step from the input to a node; ``node`` names the node, with the part of the module that it stands in."""

    node: str


@dataclass(frozen=True, eq=False)
class Weights(Item):
    """A layer ``W x + b``, with the maps of folded batch norms and scalar factors in it. ``matrix`` is (rows, columns),
    with all taps of a convolution in its columns. On images with ``axes`` it is a convolution; one that is
    ``flattened`` is a dense layer on all positions."""

    name: str
    matrix: Tensor
    bias: Tensor | None
    trained: bool
    axes: int = 0
    kernel: int = 1
    stride: int = 1
    padding: str | int = "zero"
    flattened: bool = False

    @property
    def conv(self) -> Conv:
        """The convolution."""
        return Conv(self.kernel, self.padding, self.stride)

    @property
    def windows(self) -> Windows:
        """The positions that its taps meet."""
        return self.conv.windows


@dataclass(frozen=True, eq=False)
class Pointwise(Item):
    """A function of each coordinate, in :data:`advmf.symbols.z`."""

    formula: sp.Basic


@dataclass(frozen=True, eq=False)
class Affine(Item):
    """The stream times a vector plus a vector, or plus nothing: a batch norm, or the constants after another norm."""

    factor: Tensor
    shift: Tensor | None


@dataclass(frozen=True, eq=False)
class Normed(Item):
    """A norm over the coordinates."""

    centred: bool


@dataclass(frozen=True, eq=False)
class Masked(Item):
    """A ``mask`` of zeros and 1/(1 - rate)."""

    rate: sp.Expr
    mask: Tensor


@dataclass(frozen=True, eq=False)
class Padded(Item):
    """An image with ``width`` more positions at all its sides."""

    width: int
    padding: str


@dataclass(frozen=True, eq=False)
class Moved(Item):
    """The axes of the channels taken from the place ``source`` to the place ``target``."""

    source: int
    target: int


@dataclass(frozen=True, eq=False)
class Flat(Item):
    """All channels at all positions as one vector."""


@dataclass(frozen=True, eq=False)
class Averaged(Item):
    """The averages over windows of ``size`` positions along each axis, one window beside the other."""

    size: int


@dataclass(frozen=True, eq=False)
class Pooled(Item):
    """The average over positions."""


@dataclass(frozen=True, eq=False)
class Added(Item):
    """``shortcut + scale * branch``, two paths from the same point."""

    shortcut: Path
    branch: Path
    scale: sp.Expr = sp.S.One


Path = tuple[Item, ...]
"""Items one after the other."""


@dataclass(frozen=True, eq=False)
class Values:
    """A constant tensor of the module, by its name: a parameter or a buffer."""

    name: str
    tensor: Tensor
    trained: bool = field(default=False)


def fork(a: Path, b: Path) -> tuple[Path, Path, Path]:
    """Two paths from the input as a common part, and the rests."""
    common = 0
    while common < min(len(a), len(b)) and a[common] is b[common]:
        common += 1
    return a[:common], a[common:], b[common:]


def walk(path: Sequence[Item]) -> list[Item]:
    """All items of a path, those of the paths of its sums included."""
    found = list[Item]()
    for item in path:
        if isinstance(item, Added):
            found += walk(item.shortcut) + walk(item.branch)
        found.append(item)
    return found


def require_once(path: Path) -> None:
    """Raise DeclarationError where a step stands on two paths, so that they are not independent."""
    seen = set[int]()
    for item in walk(path):
        if id(item) in seen:
            raise DeclarationError(
                f"{item.node} is used by two sums, so their paths share a part. A declared net has one branch and one shortcut "
                "from the same point."
            )
        seen.add(id(item))
