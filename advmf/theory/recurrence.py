"""How the blocks of a net change a state, one after the other. Stages are composed here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import sympy as sp

from advmf.errors import DeclarationError
from advmf.functions import Recursion
from advmf.nets import AvgPool, Conv, Net, Run

COUNT = sp.Symbol("n", integer=True, nonnegative=True)
"""How many blocks the stream has passed."""


@dataclass(frozen=True)
class Piece:
    """``copies`` blocks that change a state by the same ``updates``."""

    copies: sp.Expr
    updates: Mapping[sp.Symbol, sp.Expr]


@dataclass(frozen=True)
class Recurrence:
    """A state that starts as ``start`` and is changed by the pieces of a net in turn."""

    start: Mapping[sp.Symbol, sp.Expr]
    pieces: tuple[Piece, ...]
    images: Net | None = None
    """The net, if its states are averages over the positions of images."""

    @classmethod
    def of(
        cls, net: Net, start: Mapping[sp.Symbol, sp.Expr], updates: Callable[[Run], Mapping[sp.Symbol, sp.Expr]]
    ) -> Recurrence:
        """The state through ``net``; ``updates`` gives the updates by a block of a run. Adjacent runs with the same
        updates form one piece. Raises DeclarationError as :func:`require_even`."""
        require_even(net)
        pieces: list[Piece] = []
        for run in net.runs:
            after = updates(run)
            if pieces and pieces[-1].updates == after:
                after, copies = pieces[-1].updates, pieces.pop().copies + run.copies
            else:
                copies = run.copies
            pieces.append(Piece(copies, after))
        return cls(start, tuple(pieces), None if net.image is None else net)

    @property
    def depth(self) -> sp.Expr:
        """The number of blocks."""
        return sp.Add(*(piece.copies for piece in self.pieces))

    def needed(self, symbol: sp.Symbol) -> set[sp.Symbol]:
        """The components on which the recursion of one depends, possibly itself."""
        found: set[sp.Symbol] = set()
        frontier = self._read(symbol)
        while frontier - found:
            found |= frontier
            frontier = set().union(*map(self._read, frontier))
        return found

    def _read(self, symbol: sp.Symbol) -> set[sp.Symbol]:
        return {s for piece in self.pieces for s in piece.updates[symbol].free_symbols} & set(self.start)

    def course(self, symbol: sp.Symbol) -> list[tuple[sp.Expr, sp.Expr]]:
        """The updates of one component, each with the number of consecutive blocks that have it."""
        found: list[tuple[sp.Expr, sp.Expr]] = []
        for piece in self.pieces:
            update, copies = piece.updates[symbol], piece.copies
            if found and found[-1][0] == update:
                copies += found.pop()[1]
            found.append((update, copies))
        return found

    def recursion(self, symbol: sp.Symbol, kept: Sequence[sp.Symbol] | None = None) -> sp.Expr:
        """The last value of a component, as a recursion of the components ``kept``, by default of those that it needs.

        Where pieces differ, one more component counts the blocks. Raises DeclarationError on images, where an update is
        not affine in the components.
        """
        if kept is None:
            kept = [s for s in self.start if s == symbol or s in self.needed(symbol)]
        if self.images is not None and not self.affine(symbol):
            raise DeclarationError(
                f"The positions of an image have moments of their own, and what {self.images.name} does to them is not affine, so it does "
                "not follow for their averages. On images take activations that scale with their input, as ReLULike does, and no norm "
                "or carried mean. advmf.image_kernel(net, x, y) has the kernel of any net on images."
            )
        updates, first = [self._update(s) for s in kept], [self.start[s] for s in kept]
        if any(COUNT in update.free_symbols for update in updates):
            kept, updates, first = [*kept, COUNT], [*updates, COUNT + 1], [*first, sp.S.Zero]
        return Recursion(self.depth, sp.Tuple(*kept), sp.Tuple(*updates), sp.Tuple(*first), symbol)

    def affine(self, symbol: sp.Symbol) -> bool:
        """Whether every update of a component, and of those that it needs, is affine in the components."""
        read = [s for s in self.start if s == symbol or s in self.needed(symbol)]
        return all(_affine(piece.updates[s], read) for piece in self.pieces for s in read)

    def _update(self, symbol: sp.Symbol) -> sp.Expr:
        *before, (last, _) = self.course(symbol)
        passed, cases = sp.S.Zero, []
        for update, copies in before:
            passed += copies
            cases.append((update, COUNT < passed))
        return sp.Piecewise(*cases, (last, True)) if cases else last


def _affine(update: sp.Expr, state: Sequence[sp.Symbol]) -> bool:
    expanded = sp.expand(update)
    return expanded.is_polynomial(*state) and sp.Poly(expanded, *state).total_degree() <= 1


def require_even(net: Net) -> None:
    """Raise DeclarationError for a net on images whose averages over positions do not follow: where positions differ in
    their weight, or are added up before the output."""
    if net.image is None:
        return
    known = "advmf.loss_bound holds by advmf.profile(net), and advmf.image_kernel(net, x, y) has the kernel of any net on images."
    if net.head == "pool":
        raise DeclarationError(
            f"{net.name} ends with an average over positions, whose moments depend on how positions are correlated: on the image, not on its "
            f"size alone. Take head='flatten'; {known}"
        )
    if pooled := [leaf for leaf in net.leaves if isinstance(leaf, AvgPool)]:
        raise DeclarationError(
            f"{pooled[0]!r} averages positions, whose moments then depend on how they are correlated: on the image, not on its size alone. "
            f"Leave it out; {known}"
        )
    if uneven := [leaf for leaf in net.leaves if isinstance(leaf, Conv) and not leaf.even]:
        raise DeclarationError(
            f"{uneven[0]!r} gives the positions of its image different weights, by padding with zeros or by a stride that does not divide "
            "the kernel, so that moments depend on the image, not on its size alone. Take padding='circular'; advmf.pixel_law(net) is T1 at "
            f"each pixel, {known}"
        )
