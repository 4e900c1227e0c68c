"""How a stream that carries a mean stretches the input: more along x than across it.

As N -> oo the rows of J(x) are N(0, Σ(x)), Σ(x) = [j (I - x̂x̂ᵀ) + (V/x_sq) x̂x̂ᵀ]/d, where j = ω^L is the Jacobian
factor and V the second moment of the tangent along the input. If no sum of paths adds up means, V = j x_sq. Otherwise
the coordinates of the tangent have a mean τ, and

    Dense: V -> σ_w² V, τ -> 0;  activation: V -> α V, τ -> (C/h)(u - v)√(h/2π);  sum: V -> V_a + s² V_b + 2 s τ_a τ_b,
    τ -> τ_a + s τ_b,

where h is the variance of the activation's arguments z, and C the cross moment of z and its tangent.

Λ is the least upper bound of V/x_sq that holds at every radius and for all biases. By the Cauchy-Schwarz inequality C²
<= h V, so after an activation |τ| <= |u - v| √(V/2π). The two are equal where z is proportional to its tangent, which
it is without biases. With |τ| in place of τ at the sums, the recursion of V is that of a second moment: of the network
without biases, with slopes of the same α and |u - v|, with scales |s|, from x_sq = 1. The bound is attained without
biases, or as |x| -> oo, if all means have one sign, as in x <- x + φ(Wx + b).
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import sympy as sp

from advmf.errors import ArgumentError
from advmf.functions import Recursion
from advmf.nets import Block, Conv, Dense, GaussianLayer, Net, Pointwise, Rebuilt, ReLULike, rebuilt
from advmf.symbols import x_sq
from advmf.theory.propagation import STATE, grown, grows_alike, growths, moments, omega, step

LAMBDA = sp.Symbol("Lambda", positive=True)
"""d times the largest variance of a direction of J(x) over all inputs; a claim's ``where`` has its value."""

_NAMES = {STATE.Q: sp.Symbol("V", positive=True), STATE.mu: sp.Symbol("tau", real=True)}


@cache
def carries_mean(net: Net) -> bool:
    """Whether sums add up means, so that J(x) has another variance along x than across it.

    >>> import advmf as mf
    >>> from advmf.theory.spike import carries_mean
    >>> nets = (mf.residual(1, 0), mf.plain_residual(1, 0), mf.plain_residual(1, 1))
    >>> [carries_mean(net) for net in nets]
    [False, True, False]
    """
    if not grows_alike(net):
        return any(STATE.mu in step(block).Q.free_symbols for block in net.blocks)
    return any(
        sp.cancel(sp.expand(step(block).along - growth * STATE.along)) != 0
        for block, growth in zip(net.blocks, growths(net))
    )


@cache
def spike(net: Net) -> sp.Expr:
    """Λ, the largest variance of J(x) e √d over unit vectors e and inputs x, as N -> oo.

    Where no mean is carried it is ω^L, or for stages the product of their growths.

    Raises DeclarationError for a block without a rule in :class:`Aligned`, if a mean is carried.

    >>> import advmf as mf
    >>> from advmf.theory.spike import spike
    >>> f = mf.kernel(spike(mf.plain_residual(1, 0)))
    >>> f(L=[1, 10, 16], sigma_w=1).round(1)  # across the input 1.5, 57.7, 656.8
    array([1.500000e+00, 1.023900e+03, 1.073193e+05])
    """
    if not carries_mean(net):
        return grown(net)
    second = moments(rebuilt(net, Aligned())).Q.subs(x_sq, 1)
    if not isinstance(second, Recursion):
        return second
    depth, names, updates, start, variable = (arg.xreplace(_NAMES) for arg in second.args)
    return Recursion(depth, names, sp.Tuple(*map(sp.expand, updates)), start, variable)


class Aligned(Rebuilt):
    """The block without biases, with all means of one sign and as large as before."""

    def gaussian(self, layer: GaussianLayer, state: tuple[Block, ...]) -> tuple[Block, ...]:
        return (*state, Dense(layer.deviation, 0))

    def convolution(self, layer: Conv, state: tuple[Block, ...]) -> tuple[Block, ...]:
        return (*state, replace(layer, sigma_b=sp.S.Zero))

    def pointwise(self, activation: Pointwise, state: tuple[Block, ...]) -> tuple[Block, ...]:
        if not isinstance(activation, ReLULike):
            raise self.refusal(activation)
        u, v = activation.u, activation.v
        if activation.linear:
            return (*state, ReLULike(abs(u), abs(v)))
        if (u - v).is_nonnegative:
            return (*state, activation)
        # Slopes with the same α, and with |u - v| in place of u - v.
        middle, half = (u + v) / 2, sp.Abs(u - v) / 2
        return (*state, ReLULike(middle + half, middle - half))

    def scale(self, scale: sp.Expr) -> sp.Expr:
        return abs(scale)


def require_uniform(net: Net, what: str) -> None:
    """Raise ArgumentError for a net that carries a mean, for which ``what`` does not hold, and DeclarationError for a
    net without ω."""
    omega(net)
    if carries_mean(net):
        blocks = ", ".join(map(repr, net.blocks))
        raise ArgumentError(
            f"{what} takes one law of J(x) in all directions, but the stream of {blocks} carries a mean: J(x) is larger along x than across it, "
            "by a share of each matrix that is not that of omega, and the loss that training lowers lies between those of omega^L and of the bound "
            "Lambda. Put a Mix() behind the activation of the branch, or take advmf.loss_bound and advmf.linear_form, which hold."
        )
