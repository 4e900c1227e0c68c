"""The network: copies of a block between two random layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import sympy as sp

from advmf.boundary import public
from advmf.errors import DeclarationError
from advmf.nets.activations.activation import Pointwise
from advmf.nets.block import Block, require_block
from advmf.nets.gaussian import GaussianLayer
from advmf.nets.readings import Coordinates, Leaves, Stream
from advmf.notebook import Shown
from advmf.symbols import z


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
        require_block("Net", self.block)
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
        """The primitives of the block in the order in which they act, and each sum before the primitives of
        its paths."""
        return self.block.apply(Leaves(), ())

    @property
    def trained(self) -> tuple[GaussianLayer, ...]:
        """The layers whose weights training changes."""
        return tuple(leaf for leaf in self.leaves if isinstance(leaf, GaussianLayer) and leaf.trained)

    @property
    def activations(self) -> tuple[Pointwise, ...]:
        """The activations."""
        return tuple(leaf for leaf in self.leaves if isinstance(leaf, Pointwise))

    @property
    def parameters(self) -> Iterator[tuple[str, sp.Expr]]:
        """Every number or expression that the block declares, with its name; of a function of z the other symbols in
        it.

        >>> import advmf as mf
        >>> list(mf.residual(1, 0).parameters)
        [('scale', 1), ('sigma_w', sigma_w), ('sigma_b', sigma_b), ('u', 1), ('v', 0)]
        """
        for leaf in self.leaves:
            for name, value in vars(leaf).items():
                if isinstance(value, sp.Expr) and value.has(z):
                    yield from ((s.name, s) for s in sorted(value.free_symbols - {z}, key=str))
                elif isinstance(value, sp.Expr):
                    yield name, value
