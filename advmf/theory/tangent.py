"""The neural tangent kernel of the trained matrices of any declared network, and how fast gradient flow lowers the adversarial loss itself.

Let the second of two copies have W' = ρ W + (1 - ρ²)^{1/2} W~ for one trained matrix W with entries of variance σ²/N, W~ independent. Integration by
parts gives, at ρ = 1, ∂_ρ E f(x) f'(x') = (σ²/N) E⟨∂f(x)/∂W, ∂f(x')/∂W⟩: the kernel follows from the rules for a pair of inputs, with the
cross moment times ρ before each Dense (A. Jacot, F. Gabriel, C. Hongler, NeurIPS 2018, for the kernel; the derivation is ours).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import sympy as sp

from advmf.claim import Claim, Regime
from advmf.errors import ArgumentError
from advmf.net import Block, Dense, Net, Serial
from advmf.observables import Expectation, LossDecay
from advmf.symbols import K, L, N, c, d, eps, exponent, x_sq, y_sq
from advmf.theory.bound import RANDOM_NETWORK, loss_bound
from advmf.theory.correlation import PAIR, Pair, propagate_pair
from advmf.theory.functions import Recursion
from advmf.theory.spike import require_uniform
from advmf.theory.trained import replace_dense, trained

TANGENT = sp.Symbol("T", real=True)
"""The kernel over N, of a network so far."""


@dataclass(frozen=True)
class Decorrelated(Block):
    """What the next Dense does to a pair of streams if its weights in the two networks have the correlation rho."""

    rho: sp.Expr


@propagate_pair.register(Decorrelated)
def _(block: Decorrelated, pair: Pair) -> Pair:
    return replace(pair, P=block.rho * pair.P)


@cache
def ntk(net: Net) -> sp.Expr:
    """Θ(x, x') = Σ_W E⟨∂f_k(x)/∂W, ∂f_k(x')/∂W⟩ over the trained matrices, as N → ∞: |x|²/d = x_sq, |x'|²/d = y_sq, correlation c.

    A recursion over depth, in proportion to N. Raises ArgumentError for a net without a trained matrix.

    >>> import advmf as mf
    >>> f = mf.kernel(mf.ntk(mf.vanilla(u=1, v=1)))
    >>> float(f(L=3, N=100, c=0.5, x_sq=1, y_sq=1, sigma_w=1, sigma_b=0))  # deep linear: L N c
    150.0
    """
    trained(net)
    rhos: list[sp.Symbol] = []
    variances: list[sp.Expr] = []

    def decorrelate(dense: Dense) -> Block:
        rhos.append(sp.Symbol(f"rho_{len(rhos)}", positive=True))
        variances.append(dense.sigma_w**2)
        return Serial(Decorrelated(rhos[-1]), dense)

    after = propagate_pair(replace_dense(net.block, decorrelate), PAIR)
    equal = dict.fromkeys(rhos, sp.S.One)
    own = sum((sp.diff(after.P, rho).subs(equal) / variance for rho, variance in zip(rhos, variances)), sp.S.Zero)
    passed = sp.diff(after.P, PAIR.P).subs(equal) * TANGENT
    names = ["Q", "R", "P"]
    if any(m in expr.free_symbols for expr in (after.Q, after.P, own, passed) for m in (PAIR.mu, PAIR.nu)):
        names += ["mu", "nu"]
    start = {"Q": x_sq, "R": y_sq, "P": c * sp.sqrt(x_sq * y_sq), "mu": sp.S.Zero, "nu": sp.S.Zero}
    state = sp.Tuple(*(getattr(PAIR, n) for n in names), TANGENT)
    updates = sp.Tuple(*(getattr(after, n).subs(equal) for n in names), own + passed)
    return N * Recursion(L, state, updates, sp.Tuple(*(start[n] for n in names), 0), TANGENT)


def loss_decay(net: Net, p: object, q: object) -> Claim:
    """The rate -d L_adv/dt = Σ_W ‖∂L_adv/∂W‖² at which gradient flow on one input lowers its adversarial loss, at t = 0.

    With t and η the maximisers, ∂L_adv/∂W is that of ⟨t, f(x + η) - f(x)⟩, so that the rate is

        ‖t‖² (Θ(x, x) - 2Θ(x, x + η) + Θ(x + η, x + η)).

    It is in proportion to N, while the variance moves at a rate 1/N: T3 is about times well below L_adv over this rate. For ReLU-like
    activations most of it is due to units that switch between x and x + η: it falls as ‖η‖, not as its square.

    For p and q in {1, 2, oo}, where the lengths of η and t are those of the vertices or spheres that they lie on; ArgumentError for others,
    DomainError outside [1, oo].

    >>> import advmf as mf
    >>> f = mf.kernel(mf.loss_decay(mf.vanilla(u=1, v=1), 2, 2))
    >>> round(float(f(L=3, N=100, eps=0.1, d=25, K=10, x_sq=1, sigma_w=1, sigma_b=0)), 9)  # deep linear: L N eps²/d
    0.12
    """
    p, q = exponent(p, "p"), exponent(q, "q")
    if p not in (1, 2, sp.oo) or q not in (1, 2, sp.oo):
        raise ArgumentError(f"The lengths of eta and t are known for p, q in 1, 2 and oo alone; got p = {p}, q = {q}.")
    ball = eps**2 * (d if p is sp.oo else 1)
    require_uniform(net, "The decay of the loss")
    pull = K if q == 1 else sp.S.One
    bound, kernel, moved = loss_bound(net, p, q), ntk(net), x_sq + ball / d
    at = {c: sp.sqrt(x_sq / moved), y_sq: moved}
    return replace(
        bound,
        name="T3.decay",
        lhs=Expectation(LossDecay(p, q)),
        relation="==",
        formula=pull
        * (
            kernel.subs({c: 1, y_sq: x_sq}, simultaneous=True)
            - 2 * kernel.subs(at, simultaneous=True)
            + kernel.subs({c: 1, x_sq: moved, y_sq: moved}, simultaneous=True)
        ),
        where={},
        regime=Regime.LARGE_WIDTH | Regime.HEURISTIC,
        heuristic="eta and t depend on the network through J alone, and are taken as independent of its hidden layers; eta is orthogonal to x",
        assumptions=(*RANDOM_NETWORK, "gradient flow dW/dt = -dL_adv/dW on a single input"),
        source="derived here; the kernel of A. Jacot, F. Gabriel and C. Hongler, Neural Tangent Kernel, NeurIPS 2018",
    )
