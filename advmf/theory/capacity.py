"""The capacity of a network, at second order in its weights.

C = E Σ_k (Σ_l ⟨W^l, ∂f_k/∂W^l⟩)² is the second moment of the derivative of f along its own weights. Scaling all trained matrices by 1 + r
and by 1 + s gives two networks with the kernel 𝒦(r, s) = E f_r·f_s, and C = ∂_r ∂_s 𝒦 at 0. It is the Fisher-Rao norm ⟨θ, I(θ)θ⟩ = E⟨θ, ∂_θ
ℓ⟩² of T. Liang, T. Poggio, A. Rakhlin and J. Stokes (Fisher-Rao Metric, Geometry, and Complexity of Neural Networks, AISTATS 2019) for the
trained matrices as θ and outputs with unit Gaussian noise, whose information is the identity; with a cross-entropy loss the outputs have
the metric of its distribution instead.

The two streams are propagated as a pair, by the rules of :mod:`advmf.theory.correlation`. An activation has the arc-cosine kernel κ₁(c),
whose second derivative is infinite at c = 1. It does not enter: as the streams are equal at r = s, 1 - c is of order (r - s)², and κ₁(c) -
c of order (1 - c)^{3/2}, that is |r - s|³, whose mixed second derivative vanishes at r = s. So κ₁ stands for its tangent.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache

import sympy as sp

from advmf.functions import ArcCosine, Recursion
from advmf.nets import GaussianLayer, Net
from advmf.symbols import L, x_sq
from advmf.theory.correlation import PAIR, Pair, Pairs
from advmf.theory.propagation import ALPHA, OMEGA, closure, omega, slope_squares

R, S = sp.symbols("r s", real=True)


class ScaledPairs(Pairs):
    """A pair of streams whose trained matrices, but not biases, are scaled by 1 + r and 1 + s."""

    def gaussian(self, layer: GaussianLayer, state: Pair) -> Pair:
        if layer.trained:
            a, b = 1 + R, 1 + S
            state = Pair(a**2 * state.Q, b**2 * state.R, a * b * state.P, a * state.mu, b * state.nu)
        return super().gaussian(layer, state)


@dataclass(frozen=True)
class Jet:
    """A stream under scaled weights: second moment Q, its derivative in the scale, the mixed derivative of P, the mean and its derivative."""

    Q: sp.Expr
    dQ: sp.Expr
    ddP: sp.Expr
    mu: sp.Expr
    dmu: sp.Expr

    def items(self) -> dict[str, sp.Expr]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def pair(self) -> Pair:
        """The pair of streams that has these derivatives; ∂_r P = ∂_s P = dQ/2, for P = Q on r = s."""
        cross = self.Q + (R + S) * self.dQ / 2 + R * S * self.ddP
        return Pair(self.Q + R * self.dQ, self.Q + S * self.dQ, cross, self.mu + R * self.dmu, self.mu + S * self.dmu)


JET = Jet(
    Q=sp.Symbol("Q", positive=True),
    dQ=sp.Symbol("Q_r", real=True),
    ddP=sp.Symbol("P_rs", real=True),
    mu=sp.Symbol("mu", real=True),
    dmu=sp.Symbol("mu_r", real=True),
)
"""The state as symbols."""

START = Jet(x_sq, *[sp.S.Zero] * 4)
"""The state of x^0, which no trained matrix has touched."""


def scaled_pair(net: Net) -> Pair:
    """One block on a pair of streams, with all trained matrices times 1 + r in one network and times 1 + s in the other.

    >>> import advmf as mf
    >>> from advmf.theory.capacity import scaled_pair
    >>> scaled_pair(mf.vanilla(u=1, v=1)).P
    P*sigma_w**2*(r + 1)*(s + 1) + sigma_b**2
    """
    return net.block.apply(ScaledPairs(), PAIR)


@cache
def jet_step(net: Net) -> Jet:
    """The jet after one block in terms of :data:`JET` before it, by differentiating :func:`scaled_pair`.

    >>> import advmf as mf
    >>> from advmf.theory.capacity import jet_step
    >>> jet_step(mf.vanilla(u=1, v=1)).ddP
    sigma_w**2*(P_rs + Q + Q_r)
    """
    c = sp.Dummy("c")
    tangent = ArcCosine(1) + ArcCosine(c).diff(c).subs(c, 1) * (c - 1)
    pair = scaled_pair(net)
    before = {getattr(PAIR, f.name): getattr(JET.pair, f.name) for f in fields(Pair)}

    def smooth(expr: sp.Expr) -> sp.Expr:
        return expr.replace(ArcCosine, lambda value: tangent.subs(c, value)).subs(before, simultaneous=True)

    def at_zero(expr: sp.Expr) -> sp.Expr:
        value = sp.simplify(expr.subs({R: 0, S: 0}))
        return sp.factor(value) if value.is_polynomial(*JET.items().values()) else value

    Q, P, mu = smooth(pair.Q), smooth(pair.P), smooth(pair.mu)
    return Jet(at_zero(Q), at_zero(sp.diff(Q, R)), at_zero(sp.diff(P, R, S)), at_zero(mu), at_zero(sp.diff(mu, R)))


@cache
def curvature(net: Net, abbreviate: bool = False) -> sp.Expr:
    """∂_r ∂_s of the cross moment after L blocks: in closed form, verified by substitution, where the recursion is homogeneous; else a Recursion.

    Without biases and carried means the state (Q, dQ, ddP) is multiplied by a triangular matrix ω(1 + n) with n nilpotent, whose power is
    ω^L Σ_k binomial(L, k) n^k; it is written in α, and with ``abbreviate`` in ω.
    """
    after, before, start = jet_step(net).items(), JET.items(), START.items()
    names = [n for n in before if n in closure("ddP", after, before)]
    state, updates, first = (sp.Tuple(*(of[n] for n in names)) for of in (before, after, start))
    growth, size = omega(net), len(names)
    linear = all(update.is_polynomial(*state) for update in updates)
    matrix = sp.Matrix(updates).jacobian(list(state)) if linear else sp.eye(size)
    rest = (matrix - growth * sp.eye(size)).applyfunc(lambda e: _in_alpha(e, net))
    remainder = (matrix * sp.Matrix(state) - sp.Matrix(updates)).expand()
    if remainder != sp.zeros(size, 1) or any(rest[i, j] != 0 for i in range(size) for j in range(i, size)):
        return Recursion(L, state, updates, first, JET.ddP)
    meaning = _in_alpha(growth, net)
    # A multiple of ω cancels, whatever ω is; else ω is kept as a symbol.
    nilpotent = rest.applyfunc(lambda e: m if (m := sp.cancel(e / meaning)).is_number else e / OMEGA)
    n = sp.Dummy("n", integer=True, nonnegative=True)  # counts the depth, for the block itself may depend on L
    binomials = [sp.prod([n - i for i in range(k)]) / sp.factorial(k) for k in range(size)]
    power = sum((b * nilpotent**k for k, b in enumerate(binomials)), sp.zeros(size))
    # At depth 0 it is one, and one step multiplies it by 1 + n.
    residue = (power.subs(n, n + 1) - (nilpotent + sp.eye(size)) * power).applyfunc(sp.simplify)
    if residue != sp.zeros(size) or power.subs(n, 0) != sp.eye(size):
        raise ArithmeticError(f"The power {power} does not solve the recursion of {net.name}.")
    over, under = sp.fraction(sp.together((power.subs(n, L) * sp.Matrix(first))[names.index("ddP")]))
    short = OMEGA**L * sp.factor(sp.expand(over.subs(OMEGA, meaning))) / under
    return short if abbreviate else short.subs(OMEGA, meaning)


def _in_alpha(expr: sp.Expr, net: Net) -> sp.Expr:
    """A polynomial in the slopes, of which only u² + v² = 2α matters, in α."""
    expr = sp.expand(expr)
    for squares in slope_squares(net):
        one, other = squares.args
        expr = sp.expand(expr.subs(other, 2 * ALPHA - one))
    constant, rest = expr.as_independent(*expr.free_symbols, as_Add=True) if expr.free_symbols else (expr, sp.S.Zero)
    return constant + sp.factor(rest)
