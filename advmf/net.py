"""Declaring a random network: frozen blocks that compose, checked when they are declared.

A network is ``x^0 = P_in x``, then ``L`` copies of one block of width ``N``, then ``f(x) = P_out x^L``; ``P_in`` has entries
N(0, 1/d), ``P_out`` entries N(0, 1/N), and neither is trained. The block is built from :class:`Dense`,
:class:`ReLULike`, :class:`Mix`, :class:`Serial` and :class:`Residual`.

The same value gives the theory, the formulas, the kernels and the simulated network. What the theory cannot carry is
refused here, with the reason:

>>> import advmf as mf
>>> mf.Net(mf.Serial(mf.ReLULike(1, 0), mf.ReLULike(1, 0)))
Traceback (most recent call last):
    ...
advmf.errors.DeclarationError: ReLULike(u=1, v=0) acts on a stream whose coordinates are not centred Gaussian ...
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

import sympy as sp

from advmf import symbols
from advmf.algebra import Algebra, S
from advmf.boundary import public
from advmf.errors import ArgumentError, DeclarationError
from advmf.expressions import expression
from advmf.notebook import Shown
from advmf.symbols import fraction


class Block:
    """Base of every block: a random map of the width-``N`` stream to itself.

    A block made of others defines :meth:`apply` by theirs; a primitive of another kind registers its rule in each
    :class:`~advmf.algebra.Algebra` that is to read it.
    """

    def apply(self, algebra: Algebra[S], state: S) -> S:
        """What the block does to a state; raises DeclarationError, with the block's name, where the algebra has no rule for it."""
        return algebra.other(self, state)


class GaussianLayer(Block, ABC):
    """A layer ``x -> W x + b`` with entries of W from N(0, deviation²/N) and of b from N(0, bias_deviation²)."""

    trained: ClassVar[bool] = False
    """Whether training changes W."""

    @property
    @abstractmethod
    def deviation(self) -> sp.Expr:
        """The standard deviation of the weights, times sqrt(N)."""

    @property
    def bias_deviation(self) -> sp.Expr:
        """The standard deviation of the biases."""
        return sp.S.Zero

    @property
    def variance(self) -> sp.Expr:
        """The variance of the weights, times N."""
        return self.deviation**2

    @property
    def bias_variance(self) -> sp.Expr:
        """The variance of the biases."""
        return self.bias_deviation**2

    def apply(self, algebra: Algebra[S], state: S) -> S:
        return algebra.gaussian(self, state)


def _number(owner: str, name: str, value: object) -> sp.Expr:
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


@public
@dataclass(frozen=True)
class Dense(GaussianLayer):
    """A trained layer ``x -> W x + b`` with ``W`` of entries N(0, sigma_w**2/N) and ``b`` of entries N(0, sigma_b**2).

    >>> import advmf as mf
    >>> mf.Dense()
    Dense(sigma_w=sigma_w, sigma_b=sigma_b)
    """

    sigma_w: sp.Expr = symbols.sigma_w
    sigma_b: sp.Expr = symbols.sigma_b

    trained: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("sigma_w", "sigma_b"):
            expr = _number("Dense", name, getattr(self, name))
            if expr.is_negative:
                raise DeclarationError(f"Dense: {name} is a standard deviation and must be >= 0; got {expr}.")
            object.__setattr__(self, name, expr)

    @property
    def deviation(self) -> sp.Expr:
        return self.sigma_w

    @property
    def bias_deviation(self) -> sp.Expr:
        return self.sigma_b


@public
@dataclass(frozen=True)
class ReLULike(Block):
    """The activation ``u*z`` for ``z >= 0`` and ``v*z`` for ``z < 0``: ReLU (1, 0), leaky ReLU (1, a), |z| (1, -1), linear (1, 1)."""

    u: sp.Expr = symbols.u
    v: sp.Expr = symbols.v

    def __post_init__(self) -> None:
        for name in ("u", "v"):
            object.__setattr__(self, name, _number("ReLULike", name, getattr(self, name)))
        if self.u == 0 and self.v == 0:
            raise DeclarationError("ReLULike(0, 0) maps everything to zero; give at least one non-zero slope.")

    @property
    def linear(self) -> bool:
        """Whether both slopes are the same, so that the activation is linear."""
        return self.u == self.v

    def apply(self, algebra: Algebra[S], state: S) -> S:
        return algebra.pointwise(self, state)


@dataclass(frozen=True)
class Mix(GaussianLayer):
    """An untrained Gaussian layer ``x -> V x`` with ``V`` of entries N(0, 1/N)."""

    @property
    def deviation(self) -> sp.Expr:
        return sp.S.One


@dataclass(frozen=True, init=False)
class Serial(Block):
    """Blocks applied one after the other; ``Serial()`` is the identity."""

    blocks: tuple[Block, ...]

    def __init__(self, *blocks: Block) -> None:
        for block in blocks:
            _require_block("Serial", block)
        object.__setattr__(self, "blocks", tuple(blocks))

    def apply(self, algebra: Algebra[S], state: S) -> S:
        for block in self.blocks:
            state = block.apply(algebra, state)
        return state

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
        _require_block("Residual", branch)
        shortcut = Serial() if shortcut is None else shortcut
        _require_block("Residual's shortcut", shortcut)
        object.__setattr__(self, "branch", branch)
        object.__setattr__(self, "scale", _number("Residual", "scale", scale))
        object.__setattr__(self, "shortcut", shortcut)

    def apply(self, algebra: Algebra[S], state: S) -> S:
        entry = algebra.fork(state)
        shortcut, branch = self.shortcut.apply(algebra, entry), self.branch.apply(algebra, entry)
        return algebra.add(self, shortcut, branch, state)

    def __repr__(self) -> str:
        parts = [repr(self.branch)]
        if self.scale != 1:
            parts.append(f"scale={self.scale}")
        if self.shortcut != Serial():
            parts.append(f"shortcut={self.shortcut!r}")
        return f"Residual({', '.join(parts)})"


def _require_block(owner: str, block: object) -> None:
    if not isinstance(block, Block):
        hint = " (an instance is needed: write Dense(), not Dense)" if isinstance(block, type) else ""
        raise DeclarationError(f"{owner} takes blocks (Dense, ReLULike, Mix, Serial, Residual); got {block!r}{hint}.")


@dataclass(frozen=True)
class Stream:
    """What is known of the coordinates of a stream, from the declaration alone."""

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

    def pointwise(self, activation: ReLULike, state: Stream) -> Stream:
        if activation.linear:
            return state
        if not state.gaussian:
            raise DeclarationError(
                f"{activation!r} acts on a stream whose coordinates are not centred Gaussian (it follows another activation, or a "
                "residual sum that holds one), so its moments do not follow from the stream's variance. "
                "Put a Dense() or a Mix() before it."
            )
        return replace(state, gaussian=False, symmetric=False, exact=state.exact and state.symmetric)

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


class InTurn(Algebra[tuple[Block, ...]]):
    """The primitives so far, each path beginning with none."""

    def gaussian(self, layer: GaussianLayer, state: tuple[Block, ...]) -> tuple[Block, ...]:
        return (*state, layer)

    def pointwise(self, activation: ReLULike, state: tuple[Block, ...]) -> tuple[Block, ...]:
        return (*state, activation)

    def fork(self, state: tuple[Block, ...]) -> tuple[Block, ...]:
        return ()


class Leaves(InTurn):
    """The primitives of a block in the order in which they act, of any kind, and each sum before the primitives of its paths."""

    def add(
        self, block: Residual, shortcut: tuple[Block, ...], branch: tuple[Block, ...], before: tuple[Block, ...]
    ) -> tuple[Block, ...]:
        return (*before, block, *shortcut, *branch)

    def other(self, block: Block, state: tuple[Block, ...]) -> tuple[Block, ...]:
        return (*state, block)


class Rebuilt(InTurn):
    """The block again, of primitives that a subclass may change: ``Serial(*block.apply(Rebuilt(), ()))``."""

    def scale(self, scale: sp.Expr) -> sp.Expr:
        """The scale of a sum's branch."""
        return scale

    def add(
        self, block: Residual, shortcut: tuple[Block, ...], branch: tuple[Block, ...], before: tuple[Block, ...]
    ) -> tuple[Block, ...]:
        branch = branch or (Serial(),)
        return (*before, Residual(*branch, scale=self.scale(block.scale), shortcut=Serial(*shortcut)))


@public
@dataclass(frozen=True)
class Net(Shown):
    """A random network: ``P_out``, ``L`` copies of ``block`` and ``P_in``; ``name`` appears in reports.

    Raises DeclarationError if the theory cannot carry the block's moments through ``L`` repetitions.

    >>> import advmf as mf
    >>> mf.Net(mf.Residual(mf.Dense(), mf.ReLULike(), mf.Mix())) == mf.residual()
    True
    """

    block: Block
    name: str = field(default="custom", compare=False)
    _exact: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _require_block("Net", self.block)
        object.__setattr__(self, "_exact", self._check())

    def _check(self) -> bool:
        stream = self.block.apply(Coordinates(), Stream())
        try:
            # A second pass reaches the fixed point, because every property but freshness can only be lost.
            stream = self.block.apply(Coordinates(), stream)
        except DeclarationError as error:
            raise DeclarationError(f"The block cannot be repeated: on its second use, {error}") from None
        return stream.exact

    @property
    def exact(self) -> bool:
        """Whether the mean of squares propagates exactly at every finite width, not only as N -> oo."""
        return bool(self._exact)

    @property
    def leaves(self) -> tuple[Block, ...]:
        """The primitives of the block in the order in which they act, and each sum before the primitives of its paths."""
        return self.block.apply(Leaves(), ())

    @property
    def trained(self) -> tuple[GaussianLayer, ...]:
        """The layers whose weights training changes."""
        return tuple(leaf for leaf in self.leaves if isinstance(leaf, GaussianLayer) and leaf.trained)

    @property
    def activations(self) -> tuple[ReLULike, ...]:
        """The activations."""
        return tuple(leaf for leaf in self.leaves if isinstance(leaf, ReLULike))

    @property
    def parameters(self) -> Iterator[tuple[str, sp.Expr]]:
        """Every number or expression that the block declares, with its name.

        >>> import advmf as mf
        >>> list(mf.residual(1, 0).parameters)
        [('scale', 1), ('sigma_w', sigma_w), ('sigma_b', sigma_b), ('u', 1), ('v', 0)]
        """
        for leaf in self.leaves:
            yield from ((name, value) for name, value in vars(leaf).items() if isinstance(value, sp.Expr))


@public
def vanilla(u: object = symbols.u, v: object = symbols.v) -> Net:
    """``x <- phi(W x + b)``: no shortcut.

    >>> import advmf as mf
    >>> mf.omega(mf.vanilla(u=1, v=0))
    sigma_w**2/2
    """
    return Net(Serial(Dense(), ReLULike(u, v)), name="vanilla")


@public
def residual(u: object = symbols.u, v: object = symbols.v) -> Net:
    """``x <- x + V phi(W x + b)`` with ``V`` untrained, of entries N(0, 1/N): the residual net of the paper's moments.

    >>> import advmf as mf
    >>> mf.omega(mf.residual())
    sigma_w**2*(u**2 + v**2)/2 + 1
    """
    return Net(Residual(Dense(), ReLULike(u, v), Mix()), name="residual")


@public
def plain_residual(u: object = symbols.u, v: object = symbols.v) -> Net:
    """``x <- x + phi(W x + b)``: the shortcut of practice; its stream carries a mean where ``u != v``."""
    return Net(Residual(Dense(), ReLULike(u, v)), name="plain_residual")


@public
def preactivation(u: object = symbols.u, v: object = symbols.v) -> Net:
    """``x <- x + W phi(x) + b``: activation before the weights."""
    return Net(Residual(ReLULike(u, v), Dense()), name="preactivation")


PRESETS = {"vanilla": vanilla, "residual": residual, "plain_residual": plain_residual, "preactivation": preactivation}
"""The preset networks by name."""

STEPS = {
    "vanilla": "x <- phi(W x + b)",
    "residual": "x <- x + V phi(W x + b)",
    "plain_residual": "x <- x + phi(W x + b)",
    "preactivation": "x <- x + W phi(x) + b",
}
"""What the block of each preset does."""
