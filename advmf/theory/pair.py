"""Two inputs through one network: the rules of a single stream, and one more for the cross moment of two."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import sympy as sp

from advmf.nets import Algebra, Block, Conv, Dropout, GaussianLayer, Norm, Pointwise, Residual
from advmf.theory.stream import Stream, Streams


@dataclass(frozen=True)
class Pair:
    """Two streams x and x', and their cross moment P = E⟨x, x'⟩/N; In readings that follow the width, ``width`` times N
    is the number of coordinates."""

    first: Stream
    second: Stream
    P: sp.Expr
    width: sp.Expr = sp.S.One

    @classmethod
    def of(cls, Q: sp.Expr, R: sp.Expr, P: sp.Expr, mu: sp.Expr = sp.S.Zero, nu: sp.Expr = sp.S.Zero) -> Self:
        """The pair of streams of second moments Q and R, and means mu and nu."""
        return cls(Stream(Q, mu), Stream(R, nu), P)

    def moments(self) -> dict[str, sp.Expr]:
        """The moments of both streams, as :meth:`of` takes them."""
        return {"Q": self.first.Q, "R": self.second.Q, "P": self.P, "mu": self.first.mu, "nu": self.second.mu}

    def activated(self, activation: Pointwise) -> sp.Expr:
        """E φ(z) φ(z') of Gaussian z and z' with these moments."""
        return activation.product(self.first.Q, self.second.Q, self.P)

    def cosine(self) -> sp.Expr:
        """The cosine of the angle between the streams."""
        return self.P / sp.sqrt(self.first.Q * self.second.Q)


@dataclass(frozen=True)
class ClosePair(Pair):
    """A pair whose P is written as (Q + R - D)/2, with the squared distance D = Q + R - 2P of the streams.

    The correlation of close streams is 1 up to a small difference that rounding loses; D keeps all its digits. With
    ``spread`` an activation keeps them too where it is smooth, by a quadrature.
    """

    spread: bool = False

    @property
    def distance(self) -> sp.Expr:
        """D, simplified so that Q and R cancel where they can."""
        return distributed(self.first.Q + self.second.Q - 2 * self.P)

    def cosine(self) -> sp.Expr:
        Q, R = self.first.Q, self.second.Q
        gap = distributed(Q - R) / (sp.sqrt(Q) + sp.sqrt(R))
        return 1 - (self.distance - gap**2) / (2 * sp.sqrt(Q * R))

    def activated(self, activation: Pointwise) -> sp.Expr:
        Q, R = self.first.Q, self.second.Q
        product = activation.spread_product if self.spread else activation.close_product
        return product(Q, R, self.P, self.distance, distributed(Q - R))


PAIR = Pair.of(
    Q=sp.Symbol("Q", positive=True),
    R=sp.Symbol("R", positive=True),
    P=sp.Symbol("P", real=True),
    mu=sp.Symbol("mu", real=True),
    nu=sp.Symbol("nu", real=True),
)
"""A pair as symbols."""

DISTANCE = sp.Symbol("D", nonnegative=True)
"""The squared distance Q + R - 2P of two streams, over N; where the streams are close, rounding of P would lose it.
"""


def distributed(expr: sp.Expr) -> sp.Expr:
    """The expression multiplied out, except inside functions and roots and in powers of quantities that do not change
    with depth."""
    moving = {*PAIR.moments().values(), DISTANCE}
    inner = {
        e: sp.Dummy()
        for e in sp.preorder_traversal(expr)
        if e.is_Function or (e.is_Pow and not (e.exp.is_Integer and e.free_symbols & moving))
    }
    return sp.expand(expr.xreplace(inner)).xreplace({symbol: e for e, symbol in inner.items()})


class Pairs(Algebra[Pair]):
    """The pair after each primitive. Each stream follows :class:`~advmf.theory.stream.Streams`."""

    def gaussian(self, layer: GaussianLayer, state: Pair) -> Pair:
        return self._after(layer, state, layer.variance * state.P + layer.bias_variance)

    def convolution(self, layer: Conv, state: Pair) -> Pair:
        return self.gaussian(layer, state)

    def pointwise(self, activation: Pointwise, state: Pair) -> Pair:
        if activation.linear:
            return self._after(activation, state, activation.phi(sp.S.One) ** 2 * state.P)
        return self._after(activation, state, state.activated(activation))

    def dropout(self, dropout: Dropout, state: Pair) -> Pair:
        return self._after(dropout, state, dropout.gain * state.P)

    def norm(self, norm: Norm, state: Pair) -> Pair:
        first, second, P = state.first, state.second, state.P
        if norm.centred:
            P = P - first.mu * second.mu
            first, second = (Stream(each.Q - each.mu**2, sp.S.Zero) for each in (first, second))
        return self._after(norm, state, replace(state, first=first, second=second, P=P).cosine())

    def add(self, block: Residual, shortcut: Pair, branch: Pair, before: Pair) -> Pair:
        a, b, s = shortcut, branch, block.scale
        first, second = (
            Streams().add(block, getattr(a, side), getattr(b, side), getattr(before, side))
            for side in ("first", "second")
        )
        P = a.P + s**2 * b.P + s * (a.first.mu * b.second.mu + a.second.mu * b.first.mu)
        return replace(before, first=first, second=second, P=P)

    @staticmethod
    def _after(primitive: Block, state: Pair, P: sp.Expr) -> Pair:
        first, second = (primitive.apply(Streams(), each) for each in (state.first, state.second))
        return replace(state, first=first, second=second, P=P)


def propagate_pair(block: Block, pair: Pair) -> Pair:
    """The pair of streams after ``block``."""
    return block.apply(Pairs(), pair)
