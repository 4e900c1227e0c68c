"""Two inputs through one network: the NNGP kernel, the correlation map and its depth scale.

The kernel is the covariance of f_k(x) and f_k(x') over networks, as N -> oo. For a ReLU-like activation it rests on the
arc-cosine kernel of degree one (Y. Cho and L. Saul, Kernel Methods for Deep Learning, NeurIPS 2009).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Self

import sympy as sp

from advmf.boundary import public
from advmf.errors import DeclarationError
from advmf.functions import ArcCosine, ArcCosineRest, Recursion
from advmf.nets import Block, GaussianLayer, Net, Norm, Pointwise, Residual
from advmf.nets.algebra import Algebra
from advmf.symbols import L, c, x_sq, y_sq
from advmf.theory.propagation import STATE, step


@dataclass(frozen=True)
class Pair:
    """Second moments of two streams, their cross moment E⟨x, x'⟩/N and the means of their coordinates."""

    Q: sp.Expr
    R: sp.Expr
    P: sp.Expr
    mu: sp.Expr
    nu: sp.Expr

    def activated(self, activation: Pointwise) -> sp.Expr:
        """E φ(z) φ(z') of Gaussian z and z' with these moments."""
        return activation.product(self.Q, self.R, self.P)

    def centred(self) -> Self:
        """The pair less its means."""
        Q, R, P = self.Q - self.mu**2, self.R - self.nu**2, self.P - self.mu * self.nu
        return replace(self, Q=Q, R=R, P=P, mu=sp.S.Zero, nu=sp.S.Zero)

    def normalised(self, norm: Norm) -> Self:
        """The pair after a norm."""
        pair = self.centred() if norm.centred else self
        roots = sp.sqrt(pair.Q), sp.sqrt(pair.R)
        one = sp.S.One
        return replace(pair, Q=one, R=one, P=pair.cosine(), mu=pair.mu / roots[0], nu=pair.nu / roots[1])

    def cosine(self) -> sp.Expr:
        """The cosine of the angle between the streams."""
        return self.P / sp.sqrt(self.Q * self.R)


@dataclass(frozen=True)
class ClosePair(Pair):
    """A pair whose P is written as (Q + R - D)/2, with the squared distance D = Q + R - 2P of the streams.

    The correlation of close streams differs from 1 by what its rounding loses; D has all digits of it.
    """

    @property
    def distance(self) -> sp.Expr:
        """D, in which Q and R have cancelled where they can."""
        return distributed(self.Q + self.R - 2 * self.P)

    def cosine(self) -> sp.Expr:
        gap = distributed(self.Q - self.R) / (sp.sqrt(self.Q) + sp.sqrt(self.R))
        return 1 - (self.distance - gap**2) / (2 * sp.sqrt(self.Q * self.R))

    def activated(self, activation: Pointwise) -> sp.Expr:
        return activation.close_product(self.Q, self.R, self.P, self.distance, distributed(self.Q - self.R))


def distributed(expr: sp.Expr) -> sp.Expr:
    """The expression multiplied out, but for what stands within functions and roots, and for powers of what does not
    change with depth."""
    moving = {*(getattr(PAIR, f.name) for f in fields(PAIR)), DISTANCE}
    inner = {
        e: sp.Dummy()
        for e in sp.preorder_traversal(expr)
        if e.is_Function or (e.is_Pow and not (e.exp.is_Integer and e.free_symbols & moving))
    }
    return sp.expand(expr.xreplace(inner)).xreplace({symbol: e for e, symbol in inner.items()})


PAIR = Pair(
    Q=sp.Symbol("Q", positive=True),
    R=sp.Symbol("R", positive=True),
    P=sp.Symbol("P", real=True),
    mu=sp.Symbol("mu", real=True),
    nu=sp.Symbol("nu", real=True),
)

DISTANCE = sp.Symbol("D", nonnegative=True)
"""The squared distance Q + R - 2P of two streams, over N: P itself has lost it to rounding where the streams are close.
"""


class Pairs(Algebra[Pair]):
    """The pair of streams after each primitive."""

    def gaussian(self, layer: GaussianLayer, state: Pair) -> Pair:
        Q, R, P = (layer.variance * moment + layer.bias_variance for moment in (state.Q, state.R, state.P))
        return replace(state, Q=Q, R=R, P=P, mu=sp.S.Zero, nu=sp.S.Zero)

    def pointwise(self, activation: Pointwise, state: Pair) -> Pair:
        if activation.linear:
            s = activation.phi(sp.S.One)
            return replace(
                state, Q=s**2 * state.Q, R=s**2 * state.R, P=s**2 * state.P, mu=s * state.mu, nu=s * state.nu
            )
        (Q, mu), (R, nu) = ((activation.second(moment), activation.mean(moment)) for moment in (state.Q, state.R))
        return replace(state, Q=Q, R=R, P=state.activated(activation), mu=mu, nu=nu)

    def norm(self, norm: Norm, state: Pair) -> Pair:
        return state.normalised(norm)

    def add(self, block: Residual, shortcut: Pair, branch: Pair, before: Pair) -> Pair:
        a, b, s = shortcut, branch, block.scale
        return replace(
            before,
            Q=a.Q + s**2 * b.Q + 2 * s * a.mu * b.mu,
            R=a.R + s**2 * b.R + 2 * s * a.nu * b.nu,
            P=a.P + s**2 * b.P + s * (a.mu * b.nu + a.nu * b.mu),
            mu=a.mu + s * b.mu,
            nu=a.nu + s * b.nu,
        )


def propagate_pair(block: Block, pair: Pair) -> Pair:
    """The pair of streams after ``block``."""
    return block.apply(Pairs(), pair)


@public
@cache
def nngp(net: Net) -> sp.Expr:
    """The NNGP kernel E f_k(x) f_k(x'), as N -> oo, of two inputs with |x|²/d = x_sq, |x'|²/d = y_sq and correlation c.

    An exact recursion over depth, for :func:`advmf.kernel` to evaluate. Arguments: ``L``, ``c``, ``x_sq``, ``y_sq`` and
    the net's.

    >>> import advmf as mf
    >>> K = mf.kernel(mf.nngp(mf.vanilla(u=1, v=0)))
    >>> bool(abs(K(L=3, c=1.0, x_sq=1.0, y_sq=1.0, sigma_w=2**0.5, sigma_b=0.0) - 1) < 1e-12)
    True
    """
    after = propagate_pair(net.block, PAIR)
    names = ["Q", "R", "P"]
    if any(symbol in getattr(after, n).free_symbols for n in names for symbol in (PAIR.mu, PAIR.nu)):
        names += ["mu", "nu"]
    start = {"Q": x_sq, "R": y_sq, "P": c * sp.sqrt(x_sq * y_sq), "mu": sp.S.Zero, "nu": sp.S.Zero}
    state, updates = (sp.Tuple(*(getattr(pair, n) for n in names)) for pair in (PAIR, after))
    return Recursion(L, state, updates, sp.Tuple(*(start[n] for n in names)), PAIR.P)


@public
@cache
def correlation_map(net: Net) -> sp.Expr:
    """The correlation after one block, of two inputs with correlation ``c`` and the same second moment ``x_sq`` before
    it.

    c = 1 is always a fixed point, since equal inputs stay equal. Raises DeclarationError for a net whose stream carries
    a mean: its map depends on the mean too, so use :func:`nngp`.

    >>> import advmf as mf
    >>> mf.correlation_map(mf.vanilla(u=1, v=1)).subs(mf.symbols.sigma_b, 0)
    c
    """
    if STATE.mu in step(net).Q.free_symbols:
        raise DeclarationError(
            f"The stream of {net.name} carries a mean, so its correlation is no map of c alone; use nngp(net)."
        )
    after = propagate_pair(net.block, Pair(x_sq, x_sq, c * x_sq, sp.S.Zero, sp.S.Zero))
    above = sp.Dummy("1 + c", positive=True)

    def near_opposite(value: sp.Expr) -> sp.Expr:
        """κ₁ of a correlation by what it is above -1, which has all its digits next to its zero there."""
        over, under = sp.fraction(sp.together(value.subs(c, above - 1)))
        return ArcCosineRest(distributed(over + under) / under, 0).subs(above, 1 + c)

    return after.P.replace(ArcCosine, near_opposite) / after.Q


@cache
def correlation_slope(net: Net) -> sp.Expr:
    """χ, the slope of :func:`correlation_map` at its fixed point c = 1: a deviation 1 - c shrinks by χ per block."""
    return sp.simplify(sp.diff(correlation_map(net), c).subs(c, 1))


@public
def depth_scale(net: Net) -> sp.Expr:
    """ξ = -1/ln χ: the number of blocks over which 1 - c falls by e, at second moment ``x_sq``; infinite without
    biases."""
    return -1 / sp.log(correlation_slope(net))
