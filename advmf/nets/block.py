"""The base of all blocks, and the two ways to compose them: in series, and as a residual sum."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar

import sympy as sp

from advmf.errors import ArgumentError, DeclarationError
from advmf.expressions import expression
from advmf.nets.algebra import Algebra, S
from advmf.symbols import fraction


class Block:
    """Base of every block: a random map of the width-``N`` stream to itself.

    A block made of others defines :meth:`apply` by theirs. A new kind of primitive registers a rule in each
    :class:`~advmf.nets.algebra.Algebra` that is to read it.
    """

    kinds: ClassVar[dict[str, type[Block]]] = {}
    """Every kind of block by name, users' kinds included; JSON files are read with it. A user's kind cannot take the
    name of one of the package's."""

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        known = Block.kinds.get(cls.__name__)
        if known is None or not known.__module__.startswith("advmf."):
            Block.kinds[cls.__name__] = cls

    def apply(self, algebra: Algebra[S], state: S) -> S:
        """The state after the block; raises DeclarationError, with the block's name, where the algebra has no rule for
        it."""
        return algebra.other(self, state)

    @property
    def parts(self) -> tuple[Any, ...]:
        """The blocks and expressions from which :meth:`of` makes an equal block; for a dataclass, its fields."""
        return tuple(getattr(self, f.name) for f in fields(self)) if is_dataclass(self) else ()

    @classmethod
    def of(cls, *parts: Any) -> Block:
        """The block of these parts."""
        return cls(*parts)


@dataclass(frozen=True, init=False)
class Serial(Block):
    """Blocks applied one after the other; ``Serial()`` is the identity."""

    blocks: tuple[Block, ...]

    def __init__(self, *blocks: Block) -> None:
        for block in blocks:
            require_block("Serial", block)
        object.__setattr__(self, "blocks", tuple(blocks))

    def apply(self, algebra: Algebra[S], state: S) -> S:
        for block in self.blocks:
            state = block.apply(algebra, state)
        return state

    @property
    def parts(self) -> tuple[Block, ...]:
        return self.blocks

    def __repr__(self) -> str:
        return f"Serial({', '.join(map(repr, self.blocks))})"


@dataclass(frozen=True, init=False)
class Residual(Block):
    """``x -> shortcut(x) + scale * branch(x)``, the branch being the given blocks in series.

    ``shortcut`` is a block, the identity unless given; ``scale`` a number or an expression (``1/sqrt(L)``, say).
    """

    branch: Block
    scale: sp.Expr
    shortcut: Block

    def __init__(self, *blocks: Block, scale: object = 1, shortcut: Block | None = None) -> None:
        if not blocks:
            raise DeclarationError(
                "Residual needs at least one block in its branch, e.g. Residual(Dense(), ReLULike(1, 0))."
            )
        branch = blocks[0] if len(blocks) == 1 else Serial(*blocks)
        require_block("Residual", branch)
        shortcut = Serial() if shortcut is None else shortcut
        require_block("Residual's shortcut", shortcut)
        object.__setattr__(self, "branch", branch)
        object.__setattr__(self, "scale", number("Residual", "scale", scale))
        object.__setattr__(self, "shortcut", shortcut)

    def apply(self, algebra: Algebra[S], state: S) -> S:
        entry = algebra.fork(state)
        shortcut, branch = self.shortcut.apply(algebra, entry), self.branch.apply(algebra, entry)
        return algebra.add(self, shortcut, branch, state)

    @property
    def parts(self) -> tuple[sp.Expr, Block, Block]:
        return self.scale, self.shortcut, self.branch

    @classmethod
    def of(cls, scale: sp.Expr, shortcut: Block, branch: Block) -> Block:
        return cls(branch, scale=scale, shortcut=shortcut)

    def __repr__(self) -> str:
        parts = [repr(self.branch)]
        if self.scale != 1:
            parts.append(f"scale={self.scale}")
        if self.shortcut != Serial():
            parts.append(f"shortcut={self.shortcut!r}")
        return f"Residual({', '.join(parts)})"


def require_block(owner: str, block: object) -> None:
    if not isinstance(block, Block):
        hint = " (an instance is needed: write Dense(), not Dense)" if isinstance(block, type) else ""
        raise DeclarationError(f"{owner} takes blocks, such as Dense(), Mix() or an activation; got {block!r}{hint}.")


def number(owner: str, name: str, value: object) -> sp.Expr:
    """``value`` as a finite real SymPy expression, or a DeclarationError."""
    try:
        expr = fraction(value) if isinstance(value, float) else expression(value)
    except (ArgumentError, ValueError) as error:
        raise DeclarationError(
            f"{owner}: {name} must be a finite real number or a SymPy expression; got {value!r:.80} ({error})"
        ) from None
    if not isinstance(expr, sp.Expr) or expr.is_finite is False or expr.is_real is False or expr is sp.nan:
        raise DeclarationError(f"{owner}: {name} must be a finite real number or a SymPy expression; got {value!r}.")
    return expr
