"""Readings of a declaration itself: the laws and widths of the stream, and the primitives of a block."""

from __future__ import annotations

from dataclasses import dataclass, replace

import sympy as sp

from advmf.errors import DeclarationError
from advmf.nets.activations.activation import Pointwise
from advmf.nets.algebra import Algebra
from advmf.nets.block import Block, Residual, Serial
from advmf.nets.conv import Conv
from advmf.nets.dropout import Dropout
from advmf.nets.gaussian import GaussianLayer
from advmf.nets.norms import Norm
from advmf.nets.pooling import AvgPool
from advmf.nets.windows import Sizes


@dataclass(frozen=True)
class Stream:
    """Properties of a stream's coordinates that follow from the declaration alone."""

    gaussian: bool = True
    """Coordinates are centred Gaussian given the norms, as N -> oo."""
    symmetric: bool = True
    """The law is unchanged by a flip of all signs given everything before, at every N."""
    fresh: bool = True
    """The coordinates depend on the reference stream only through its norm."""
    exact: bool = True
    """The moment rules used so far hold at every N."""


class Coordinates(Algebra[Stream]):
    """The stream after a block; raises DeclarationError where the theory cannot carry it."""

    def gaussian(self, layer: GaussianLayer, state: Stream) -> Stream:
        return Stream(exact=state.exact)

    def convolution(self, layer: Conv, state: Stream) -> Stream:
        return self.gaussian(layer, state)

    def average(self, pool: AvgPool, state: Stream) -> Stream:
        return replace(state, exact=False)

    def pointwise(self, activation: Pointwise, state: Stream) -> Stream:
        activation.require()
        if activation.linear:
            return state
        if not state.gaussian:
            raise DeclarationError(
                f"{activation!r} acts on a stream whose coordinates are not centred Gaussian (it follows another activation, "
                "a Dropout(), or a residual sum that holds one), so its moments do not follow from the stream's variance. "
                "Put a Dense() or a Mix() before it."
            )
        return replace(
            state, gaussian=False, symmetric=False, exact=state.exact and state.symmetric and activation.homogeneous
        )

    def dropout(self, dropout: Dropout, state: Stream) -> Stream:
        return state if dropout.rate == 0 else replace(state, gaussian=False)

    def norm(self, norm: Norm, state: Stream) -> Stream:
        # The fluctuations of a norm vanish as N -> oo, so Gaussian coordinates stay Gaussian.
        return replace(state, exact=False)

    def fork(self, state: Stream) -> Stream:
        return replace(state, fresh=False)

    def add(self, block: Residual, shortcut: Stream, branch: Stream, before: Stream) -> Stream:
        if not (shortcut.fresh or branch.fresh):
            raise DeclarationError(
                f"In {block!r} both paths keep the coordinates of the stream, so their sum has cross terms that the theory "
                "does not carry. Give the branch or the shortcut a random matrix: a Dense() or a Mix()."
            )
        # The cross term has mean zero at every N only if a fresh path is symmetric given the stream.
        uncorrelated = (branch.fresh and branch.symmetric) or (shortcut.fresh and shortcut.symmetric)
        both_fresh = shortcut.fresh and branch.fresh
        return Stream(
            gaussian=shortcut.gaussian and branch.gaussian,
            symmetric=both_fresh and shortcut.symmetric and branch.symmetric,
            fresh=before.fresh or both_fresh,
            exact=shortcut.exact and branch.exact and uncorrelated,
        )


class Widths(Algebra[sp.Expr]):
    """The width of a stream, as a multiple of N: a Gaussian layer maps to ``after``, and every other primitive keeps
    the width.

    Raises DeclarationError for a sum of paths of two widths.
    """

    def __init__(self, after: sp.Expr) -> None:
        self._after = after

    def gaussian(self, layer: GaussianLayer, state: sp.Expr) -> sp.Expr:
        return self._after

    def convolution(self, layer: Conv, state: sp.Expr) -> sp.Expr:
        return self._after

    def average(self, pool: AvgPool, state: sp.Expr) -> sp.Expr:
        return state

    def pointwise(self, activation: Pointwise, state: sp.Expr) -> sp.Expr:
        return state

    def norm(self, norm: Norm, state: sp.Expr) -> sp.Expr:
        return state

    def dropout(self, dropout: Dropout, state: sp.Expr) -> sp.Expr:
        return state

    def add(self, block: Residual, shortcut: sp.Expr, branch: sp.Expr, before: sp.Expr) -> sp.Expr:
        if shortcut != branch:
            path = "branch" if shortcut == self._after else "shortcut"
            raise DeclarationError(
                f"{block!r} cannot change the width from {before} N to {self._after} N: its {path} keeps the coordinates of the stream. "
                f"Give the {path} a Gaussian layer, a Mix() or a Dense(): {_remedy(path)}."
            )
        return shortcut


def _remedy(path: str) -> str:
    return "Residual(…, shortcut=Mix())" if path == "shortcut" else "Residual(…, Mix())"


class Grid(Algebra[Sizes]):
    """The sizes of an image after each primitive. Convolutions and averages change them, and nothing else does.

    Raises DeclarationError for a sum of paths of two sizes, and for a map that cannot take its image.
    """

    def gaussian(self, layer: GaussianLayer, state: Sizes) -> Sizes:
        return state

    def convolution(self, layer: Conv, state: Sizes) -> Sizes:
        return layer.sizes(state)

    def average(self, pool: AvgPool, state: Sizes) -> Sizes:
        return pool.sizes(state)

    def pointwise(self, activation: Pointwise, state: Sizes) -> Sizes:
        return state

    def norm(self, norm: Norm, state: Sizes) -> Sizes:
        return state

    def dropout(self, dropout: Dropout, state: Sizes) -> Sizes:
        return state

    def add(self, block: Residual, shortcut: Sizes, branch: Sizes, before: Sizes) -> Sizes:
        if shortcut != branch:
            raise DeclarationError(
                f"{block!r} adds images of {shortcut} and of {branch} positions. Give both paths the same stride: "
                f"Residual(…, shortcut=Conv(kernel=1, stride=…))."
            )
        return shortcut


class InTurn(Algebra[tuple[Block, ...]]):
    """The primitives so far, in order; each path of a sum begins with an empty list."""

    def gaussian(self, layer: GaussianLayer, state: tuple[Block, ...]) -> tuple[Block, ...]:
        return (*state, layer)

    def convolution(self, layer: Conv, state: tuple[Block, ...]) -> tuple[Block, ...]:
        return (*state, layer)

    def average(self, pool: AvgPool, state: tuple[Block, ...]) -> tuple[Block, ...]:
        return (*state, pool)

    def pointwise(self, activation: Pointwise, state: tuple[Block, ...]) -> tuple[Block, ...]:
        return (*state, activation)

    def norm(self, norm: Norm, state: tuple[Block, ...]) -> tuple[Block, ...]:
        return (*state, norm)

    def dropout(self, dropout: Dropout, state: tuple[Block, ...]) -> tuple[Block, ...]:
        return (*state, dropout)

    def fork(self, state: tuple[Block, ...]) -> tuple[Block, ...]:
        return ()


class Leaves(InTurn):
    """The primitives of a block, of any kind, in the order in which they act; a sum stands before the primitives of its
    paths."""

    def add(
        self, block: Residual, shortcut: tuple[Block, ...], branch: tuple[Block, ...], before: tuple[Block, ...]
    ) -> tuple[Block, ...]:
        return (*before, block, *shortcut, *branch)

    def other(self, block: Block, state: tuple[Block, ...]) -> tuple[Block, ...]:
        return (*state, block)


class Rebuilt(InTurn):
    """Rebuilds a block from its primitives, which a subclass may change: ``Serial(*block.apply(Rebuilt(), ()))``."""

    def scale(self, scale: sp.Expr) -> sp.Expr:
        """The scale of a sum's branch."""
        return scale

    def add(
        self, block: Residual, shortcut: tuple[Block, ...], branch: tuple[Block, ...], before: tuple[Block, ...]
    ) -> tuple[Block, ...]:
        branch = branch or (Serial(),)
        return (*before, Residual(*branch, scale=self.scale(block.scale), shortcut=Serial(*shortcut)))
