"""Two inputs through one network: the NNGP kernel, the correlation map and its depth scale.

The kernel is the covariance of f_k(x) and f_k(x') over networks, as N -> oo. For a ReLU-like activation it rests on the
arc-cosine kernel of degree one (Y. Cho and L. Saul, Kernel Methods for Deep Learning, NeurIPS 2009).
"""

from __future__ import annotations

from functools import cache

import sympy as sp

from advmf.boundary import public
from advmf.errors import DeclarationError
from advmf.functions import ArcCosine, ArcCosineRest
from advmf.nets import Net, require_vectors
from advmf.symbols import c, x_sq, y_sq
from advmf.theory.pair import PAIR, Pair, distributed, propagate_pair
from advmf.theory.propagation import STATE, step
from advmf.theory.recurrence import Recurrence


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
    start = Pair.of(x_sq, y_sq, c * sp.sqrt(x_sq * y_sq)).moments()
    pairs = Recurrence.of(net, _by_symbol(start), lambda run: _by_symbol(propagate_pair(run.block, PAIR).moments()))
    kept, means = [PAIR.first.Q, PAIR.second.Q, PAIR.P], [PAIR.first.mu, PAIR.second.mu]
    if set(means) & set().union(*map(pairs.needed, kept)):
        kept += means
    return pairs.recursion(PAIR.P, kept)


def _by_symbol(moments: dict[str, sp.Expr]) -> dict[sp.Symbol, sp.Expr]:
    return {symbol: moments[name] for name, symbol in PAIR.moments().items()}


@public
@cache
def correlation_map(net: Net) -> sp.Expr:
    """The correlation of two inputs after one block; before it they have correlation ``c`` and the same second moment
    ``x_sq``.

    c = 1 is always a fixed point, since equal inputs stay equal. Raises DeclarationError for a net whose stream carries
    a mean, because the map then depends on the mean too, and for a net of several blocks. Use :func:`nngp` for those.
    Raises DeclarationError for a net on images, whose positions have correlations of their own.

    >>> import advmf as mf
    >>> mf.correlation_map(mf.vanilla(u=1, v=1)).subs(mf.symbols.sigma_b, 0)
    c
    """
    require_vectors(net, "The correlation of two inputs after one block, a map of c alone,")
    if len(net.blocks) > 1:
        raise DeclarationError(
            f"{net.name} has stages of {len(net.blocks)} blocks, each with a correlation map of its own: take correlation_map(Net(stage.block)), "
            "or nngp(net)."
        )
    (block,) = net.blocks
    if STATE.mu in step(block).Q.free_symbols:
        raise DeclarationError(
            f"The stream of {net.name} carries a mean, so its correlation is no map of c alone; use nngp(net)."
        )
    after = propagate_pair(block, Pair.of(x_sq, x_sq, c * x_sq))
    above = sp.Dummy("1 + c", positive=True)

    def near_opposite(value: sp.Expr) -> sp.Expr:
        """κ₁ in terms of 1 + c: near c = -1, where κ₁ is zero, this form loses no digits."""
        over, under = sp.fraction(sp.together(value.subs(c, above - 1)))
        return ArcCosineRest(distributed(over + under) / under, 0).subs(above, 1 + c)

    return after.P.replace(ArcCosine, near_opposite) / after.first.Q


@cache
def correlation_slope(net: Net) -> sp.Expr:
    """χ, the slope of :func:`correlation_map` at its fixed point c = 1: a deviation 1 - c shrinks by χ per block."""
    return sp.simplify(sp.diff(correlation_map(net), c).subs(c, 1))


@public
def depth_scale(net: Net) -> sp.Expr:
    """ξ = -1/ln χ: the number of blocks over which 1 - c falls by e, at second moment ``x_sq``; infinite without
    biases."""
    return -1 / sp.log(correlation_slope(net))
