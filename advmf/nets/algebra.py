"""Readings of a network: what a random layer, an activation and a sum of two paths do to a state.

A reading is an *algebra*: a value with a rule for each primitive block. A composed block says once how it is made of
primitives (:meth:`advmf.nets.Block.apply`). All readings follow from that: moments, kernels, fluctuations, LaTeX and
the maps of a simulation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from advmf.errors import DeclarationError

if TYPE_CHECKING:
    from advmf.nets import AvgPool, Block, Conv, Dropout, GaussianLayer, Norm, Pointwise, Residual

S = TypeVar("S")
Rule = TypeVar("Rule", bound=Callable[..., Any])


class Algebra(Generic[S]):
    """A rule for each primitive: how it changes a state. A primitive without a rule is refused by name, with
    DeclarationError.

    >>> import advmf as mf
    >>> class Depth(Algebra[int]):
    ...     def gaussian(self, layer, state): return state + 1
    ...     def pointwise(self, activation, state): return state
    ...     def add(self, block, shortcut, branch, before): return max(shortcut, branch)
    >>> mf.residual().block.apply(Depth(), 0)
    2
    """

    _rules: ClassVar[dict[type, Callable[..., Any]]] = {}

    def gaussian(self, layer: GaussianLayer, state: S) -> S:
        """The state after a layer of independent Gaussian weights, and biases. On images it acts at each position, with
        the same weights."""
        raise self.refusal(layer)

    def convolution(self, layer: Conv, state: S) -> S:
        """The state after a convolution."""
        raise self.refusal(layer)

    def average(self, pool: AvgPool, state: S) -> S:
        """The state after averages over windows of an image."""
        raise self.refusal(pool)

    def pointwise(self, activation: Pointwise, state: S) -> S:
        """The state after an activation."""
        raise self.refusal(activation)

    def norm(self, norm: Norm, state: S) -> S:
        """The state after a norm."""
        raise self.refusal(norm)

    def dropout(self, dropout: Dropout, state: S) -> S:
        """The state after coordinates have been dropped at random."""
        raise self.refusal(dropout)

    def fork(self, state: S) -> S:
        """The state with which each of two paths begins."""
        return state

    def add(self, block: Residual, shortcut: S, branch: S, before: S) -> S:
        """The state of shortcut + scale * branch, from the states at the ends of both paths and the state ``before``
        them."""
        raise self.refusal(block)

    def other(self, block: Block, state: S) -> S:
        """The state after a primitive of another kind, by the rule registered with :meth:`rule`."""
        for reading in type(self).__mro__:
            if found := vars(reading).get("_rules", {}).get(type(block)):
                after: S = found(self, block, state)
                return after
        raise self.refusal(block)

    @classmethod
    def rule(cls, kind: type[Block]) -> Callable[[Rule], Rule]:
        """A decorator that registers ``rule(algebra, block, state)`` for a primitive of one's own."""

        def registered(rule: Rule) -> Rule:
            if "_rules" not in vars(cls):
                cls._rules = {}
            cls._rules[kind] = rule
            return rule

        return registered

    def refusal(self, block: Block) -> DeclarationError:
        """The error for a block that the algebra has no rule for."""
        where = f"{type(self).__module__}.{type(self).__name__}"
        return DeclarationError(
            f"{type(block).__name__} has no rule in {where}. Define its apply(algebra, state) by blocks that have one, or register a rule: "
            f"@{type(self).__name__}.rule({type(block).__name__})."
        )
