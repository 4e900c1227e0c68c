"""The neural tangent kernel of the trained matrices of any declared network, and how fast gradient flow lowers the
adversarial loss itself.

Let the second of two copies have W' = ρ W + (1 - ρ²)^{1/2} W~ for one trained matrix W with entries of variance σ²/n,
n its columns, W~ independent. Integration by parts gives, at ρ = 1, ∂_ρ E f(x) f'(x') = (σ²/n) E⟨∂f(x)/∂W, ∂f(x')/∂W⟩:
the kernel follows from the rules for a pair of inputs, with the cross moment times ρ before each Dense (A. Jacot, F.
Gabriel, C. Hongler, NeurIPS 2018, for the kernel; the derivation is ours).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import sympy as sp

from advmf.boundary import public
from advmf.nets import Block, GaussianLayer, Net, Residual, Run
from advmf.symbols import N, c, x_sq, y_sq
from advmf.theory.pair import DISTANCE, PAIR, ClosePair, Pair, Pairs, distributed
from advmf.theory.recurrence import Recurrence
from advmf.theory.trained import require_trained

TANGENT = sp.Symbol("T", real=True)
"""The kernel over N, of a network so far."""


class DecorrelatedPairs(Pairs):
    """A pair of streams, the m-th trained matrix of which has entries of the correlation rho_m in the two networks.

    ``width`` is that of a Gaussian layer's outputs, as a multiple of N.
    """

    def __init__(self, width: sp.Expr) -> None:
        self._width = width
        self.rhos: dict[sp.Symbol, sp.Expr] = {}
        """The correlations, each with the variance of the entries of its matrix, times N."""

    def gaussian(self, layer: GaussianLayer, state: Pair) -> Pair:
        inner = state
        if layer.trained:
            rho = sp.Symbol(f"rho_{len(self.rhos)}", positive=True)
            self.rhos[rho] = layer.variance / state.width
            inner = replace(state, P=rho * state.P)
        return replace(super().gaussian(layer, inner), width=self._width)

    def add(self, block: Residual, shortcut: Pair, branch: Pair, before: Pair) -> Pair:
        return replace(super().add(block, shortcut, branch, before), width=shortcut.width)


@public
@cache
def ntk(net: Net) -> sp.Expr:
    """Θ(x, x') = Σ_W E⟨∂f_k(x)/∂W, ∂f_k(x')/∂W⟩ over the trained matrices, as N → ∞: |x|²/d = x_sq, |x'|²/d = y_sq,
    correlation c. Each matrix counts in proportion to the width that it maps from.

    A recursion over depth, in proportion to N. Raises ArgumentError for a net without a trained matrix.

    >>> import advmf as mf
    >>> f = mf.kernel(mf.ntk(mf.vanilla(u=1, v=1)))
    >>> float(f(L=3, N=100, c=0.5, x_sq=1, y_sq=1, sigma_w=1, sigma_b=0))  # deep linear: L N c
    150.0
    """
    require_trained(net)
    product = sp.sqrt(x_sq * y_sq)
    gap = (x_sq - y_sq) / (sp.sqrt(x_sq) + sp.sqrt(y_sq))

    def updates(run: Run) -> dict[sp.Symbol, sp.Expr]:
        after = _tangent_step(run.block, run.before, run.after)
        return {**after.moments, TANGENT: after.between(TANGENT)}

    return N * _last(net, x_sq, y_sq, gap**2 + 2 * product * (1 - c), updates, TANGENT)


@dataclass(frozen=True)
class _Step:
    """One block on a pair of streams and its kernels: the moments after it, what its own matrices add, the factor of
    the kernel before it."""

    moments: dict[sp.Symbol, sp.Expr]
    own: sp.Expr
    factor: sp.Expr

    def between(self, kernel: sp.Expr) -> sp.Expr:
        """The kernel of the two inputs after the block."""
        return self.own + self.factor * kernel

    def equal(self, moment: sp.Symbol, mean: sp.Symbol) -> dict[sp.Symbol, sp.Expr]:
        """What makes both inputs the one with this moment and mean."""
        first, second = PAIR.first, PAIR.second
        return {first.Q: moment, second.Q: moment, first.mu: mean, second.mu: mean, DISTANCE: sp.S.Zero}


@cache
def _tangent_step(block: Block, width: sp.Expr, after_it: sp.Expr) -> _Step:
    pairs = DecorrelatedPairs(after_it)
    before = ClosePair(PAIR.first, PAIR.second, (PAIR.first.Q + PAIR.second.Q - DISTANCE) / 2, width)
    pair = block.apply(pairs, before)
    equal = dict.fromkeys(pairs.rhos, sp.S.One)
    own = sum((sp.diff(pair.P, rho).subs(equal) / variance for rho, variance in pairs.rhos.items()), sp.S.Zero)
    factor = (-2 * sp.diff(pair.P, DISTANCE)).subs(equal)
    after = pair.moments()
    moments = {symbol: after[n].subs(equal) for n, symbol in PAIR.moments().items() if n != "P"}
    moments[DISTANCE] = distributed((after["Q"] + after["R"] - 2 * pair.P).subs(equal))
    return _Step(moments, distributed(own), distributed(factor))


def _last(
    net: Net,
    Q: sp.Expr,
    R: sp.Expr,
    distance: sp.Expr,
    updates: Callable[[Run], dict[sp.Symbol, sp.Expr]],
    wanted: sp.Symbol,
) -> sp.Expr:
    """One component of the state behind all blocks, which starts with these moments and else at zero; means are in it
    only where something depends on them."""
    begin, means = {PAIR.first.Q: Q, PAIR.second.Q: R, DISTANCE: distance}, {PAIR.first.mu, PAIR.second.mu}
    state = Recurrence.of(net, {s: begin.get(s, sp.S.Zero) for s in updates(net.runs[0])}, updates)
    kept = [s for s in state.start if s not in means]
    if means & set().union(*map(state.needed, kept)):
        kept = list(state.start)
    return state.recursion(wanted, kept)


@cache
def difference(net: Net, moved: sp.Expr, square: sp.Expr) -> sp.Expr:
    """Θ(x, x) - 2Θ(x, x') + Θ(x', x') over N, with |x'|²/d = moved and |x' - x|²/d = square.

    A recursion of its own, for the three kernels of close inputs are nearly equal. With a kernel's step T ↦ own +
    factor T, E ↦ own(x, x) - 2 own(x, x') + own(x', x') + factor(x, x') E + the differences of factor(x, x) and
    factor(x', x') from it, times their kernels.
    """
    require_trained(net)
    between = sp.Symbol("E", real=True)

    def updates(run: Run) -> dict[sp.Symbol, sp.Expr]:
        return _difference_step(_tangent_step(run.block, run.before, run.after), between)

    return _last(net, x_sq, moved, square, updates, between)


def _difference_step(step: _Step, between: sp.Symbol) -> dict[sp.Symbol, sp.Expr]:
    """What a block does to the moments, the kernels of each input, and the difference of :func:`difference`."""
    first, second = sp.symbols("T_1 T_2", real=True)
    ends = [(kernel, step.equal(end.Q, end.mu)) for kernel, end in ((first, PAIR.first), (second, PAIR.second))]
    updates, change = dict(step.moments), step.factor * between - 2 * step.own
    for kernel, equal in ends:
        own, factor = (distributed(e.subs(equal, simultaneous=True)) for e in (step.own, step.factor))
        updates[kernel] = own + factor * kernel
        change += own + (factor - step.factor) * kernel
    updates[between] = distributed(change)
    return updates
