"""The capacity of a network, at second order in its weights.

C = E Σ_k (Σ_l ⟨W^l, ∂f_k/∂W^l⟩)² is the second moment of the derivative of f along its own weights. Scaling all trained
matrices by 1 + r and by 1 + s gives two networks with the kernel 𝒦(r, s) = E f_r·f_s, and C = ∂_r ∂_s 𝒦 at 0. It is the
Fisher-Rao norm ⟨θ, I(θ)θ⟩ = E⟨θ, ∂_θ ℓ⟩² of T. Liang, T. Poggio, A. Rakhlin and J. Stokes (Fisher-Rao Metric, Geometry,
and Complexity of Neural Networks, AISTATS 2019) with θ the trained matrices and outputs with unit Gaussian noise, whose
information is the identity. With a cross-entropy loss the metric of the outputs is that of the predicted distribution
instead.

The derivative of a stream in the scale is a tangent (:class:`advmf.theory.stream.Scaled`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache

import sympy as sp

from advmf.nets import Block, Net
from advmf.symbols import x_sq
from advmf.theory.propagation import ALPHA, OMEGA, grows_alike, omega, slope_squares
from advmf.theory.recurrence import Recurrence
from advmf.theory.stream import Scaled, Stream, Streams


@dataclass(frozen=True)
class Jet:
    """A stream under scaled weights: second moment Q, its derivative in the scale, the mixed derivative of P, the mean
    and its derivative."""

    Q: sp.Expr
    dQ: sp.Expr
    ddP: sp.Expr
    mu: sp.Expr
    dmu: sp.Expr

    def items(self) -> dict[str, sp.Expr]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


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


@cache
def jet_step(block: Block) -> Jet:
    """The jet after one block in terms of :data:`JET` before it.

    >>> import advmf as mf
    >>> from advmf.theory.capacity import jet_step
    >>> jet_step(mf.vanilla(u=1, v=1).block).ddP
    sigma_w**2*(P_rs + Q + Q_r)
    """
    before = Scaled(JET.dQ / 2, JET.ddP, JET.dmu)
    stream = block.apply(Streams(), Stream(JET.Q, JET.mu, (before,)))
    (after,) = stream.tangents
    jet = Jet(stream.Q, 2 * after.C, after.V, stream.mu, after.tau)

    def tidy(expr: sp.Expr) -> sp.Expr:
        return sp.factor(expr) if expr.is_polynomial(*JET.items().values()) else expr

    return Jet(**{name: tidy(value) for name, value in jet.items().items()})


@cache
def curvature(net: Net, abbreviate: bool = False) -> sp.Expr:
    """∂_r ∂_s of the cross moment after all blocks. It has a closed form, verified by substitution, where the recursion
    is homogeneous; else it is a Recursion.

    Without biases and carried means the state (Q, dQ, ddP) is multiplied by a triangular matrix ω(1 + n) with n
    nilpotent. Its L-th power is ω^L Σ_k binomial(L, k) n^k. The result is written in α, and with ``abbreviate`` in ω.
    """
    jets = Recurrence.of(net, _by_symbol(START), lambda run: _by_symbol(jet_step(run.block)))
    piece, *others = jets.pieces
    state = [s for s in jets.start if s in jets.needed(JET.ddP)]
    updates, first = [piece.updates[s] for s in state], [jets.start[s] for s in state]
    if others or not (grows_alike(net) and all(update.is_polynomial(*state) for update in updates)):
        return jets.recursion(JET.ddP)
    growth, size, depth = omega(net), len(state), jets.depth
    matrix = sp.Matrix(updates).jacobian(state)
    rest = (matrix - growth * sp.eye(size)).applyfunc(lambda e: _in_alpha(sp.cancel(e), net))
    remainder = (matrix * sp.Matrix(state) - sp.Matrix(updates)).expand().applyfunc(sp.cancel)
    if remainder != sp.zeros(size, 1) or any(rest[i, j] != 0 for i in range(size) for j in range(i, size)):
        return jets.recursion(JET.ddP)
    meaning = _in_alpha(growth, net)
    # A multiple of ω cancels for every ω; anything else keeps ω as a symbol.
    nilpotent = rest.applyfunc(lambda e: m if (m := sp.cancel(e / meaning)).is_number else e / OMEGA)
    n = sp.Dummy("n", integer=True, nonnegative=True)  # counts the depth, for the block itself may depend on L
    binomials = [sp.prod([n - i for i in range(k)]) / sp.factorial(k) for k in range(size)]
    power = sum((b * nilpotent**k for k, b in enumerate(binomials)), sp.zeros(size))
    # The power is 1 at depth 0, and one step multiplies it by 1 + n.
    residue = (power.subs(n, n + 1) - (nilpotent + sp.eye(size)) * power).applyfunc(sp.simplify)
    if residue != sp.zeros(size) or power.subs(n, 0) != sp.eye(size):
        raise ArithmeticError(f"The power {power} does not solve the recursion of {net.name}.")
    over, under = sp.fraction(sp.together((power.subs(n, depth) * sp.Matrix(first))[state.index(JET.ddP)]))
    short = OMEGA**depth * sp.factor(sp.expand(over.subs(OMEGA, meaning))) / under
    return short if abbreviate else short.subs(OMEGA, meaning)


def _by_symbol(jet: Jet) -> dict[sp.Symbol, sp.Expr]:
    return dict(zip(JET.items().values(), jet.items().values()))


def _in_alpha(expr: sp.Expr, net: Net) -> sp.Expr:
    """A polynomial in the slopes, of which only u² + v² = 2α matters, in α."""
    expr = sp.expand(expr)
    for squares in slope_squares(net):
        one, other = squares.args
        expr = sp.expand(expr.subs(other, 2 * ALPHA - one))
    constant, rest = expr.as_independent(*expr.free_symbols, as_Add=True) if expr.free_symbols else (expr, sp.S.Zero)
    return constant + sp.factor(rest)
