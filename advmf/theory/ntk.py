"""The neural tangent kernel of the trained matrices of any declared network, and how fast gradient flow lowers the
adversarial loss itself.

Take two copies of the network that differ in one trained matrix: W in the first, W' = ρ W + (1 - ρ²)^{1/2} W~ in the
second. W has n columns and entries of variance σ²/n; W~ is an independent copy of it. Integration by parts gives, at ρ
= 1, ∂_ρ E f(x) f'(x') = (σ²/n) E⟨∂f(x)/∂W, ∂f(x')/∂W⟩: so the kernel follows from the rules for a pair of inputs, with
the cross moment times ρ before each Dense (A. Jacot, F. Gabriel, C. Hongler, NeurIPS 2018, for the kernel; the
derivation is ours).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import sympy as sp

from advmf.boundary import public
from advmf.nets import Block, Conv, GaussianLayer, Net, Residual, Run
from advmf.symbols import N, c, x_sq, y_sq
from advmf.theory.pair import DISTANCE, PAIR, ClosePair, Pair, Pairs, distributed
from advmf.theory.recurrence import Recurrence
from advmf.theory.trained import require_trained

TANGENT = sp.Symbol("T", real=True)
"""The kernel divided by N, of the network so far."""


class DecorrelatedPairs(Pairs):
    """A pair of streams in two networks, whose m-th trained matrices have correlation rho_m entry by entry.

    ``width`` is the number of a Gaussian layer's outputs, as a multiple of N, and ``axes`` the number of axes of its
    images.
    """

    def __init__(self, width: sp.Expr, axes: int = 0) -> None:
        self._width, self._axes = width, axes
        self.rhos: dict[sp.Symbol, sp.Expr] = {}
        """The correlations, each with N times the variance of its matrix's entries."""

    def gaussian(self, layer: GaussianLayer, state: Pair) -> Pair:
        return self._decorrelated(layer, state, state.width)

    def convolution(self, layer: Conv, state: Pair) -> Pair:
        return self._decorrelated(layer, state, layer.taps(self._axes) * state.width)

    def _decorrelated(self, layer: GaussianLayer, state: Pair, columns: sp.Expr) -> Pair:
        """The pair after a layer of so many columns, as a multiple of N."""
        inner = state
        if layer.trained:
            rho = sp.Symbol(f"rho_{len(self.rhos)}", positive=True)
            self.rhos[rho] = layer.variance / columns
            inner = replace(state, P=rho * state.P)
        return replace(super().gaussian(layer, inner), width=self._width)

    def add(self, block: Residual, shortcut: Pair, branch: Pair, before: Pair) -> Pair:
        return replace(super().add(block, shortcut, branch, before), width=shortcut.width)


@public
@cache
def ntk(net: Net) -> sp.Expr:
    """Θ(x, x') = Σ_W E⟨∂f_k(x)/∂W, ∂f_k(x')/∂W⟩ over the trained matrices, as N → ∞: |x|²/d = x_sq, |x'|²/d = y_sq,
    correlation c. Each matrix counts in proportion to the width that it maps from, and a convolution with all its taps.

    A recursion over depth, in proportion to N. Raises ArgumentError for a net without a trained matrix.

    >>> import advmf as mf
    >>> f = mf.kernel(mf.ntk(mf.vanilla(u=1, v=1)))
    >>> float(f(L=3, N=100, c=0.5, x_sq=1, y_sq=1, sigma_w=1, sigma_b=0))  # deep linear: L N c
    150.0
    """
    require_trained(net)
    product, axes = sp.sqrt(x_sq * y_sq), len(net.image or (1,)) - 1
    gap = (x_sq - y_sq) / (sp.sqrt(x_sq) + sp.sqrt(y_sq))

    def updates(run: Run) -> dict[sp.Symbol, sp.Expr]:
        after = _tangent_step(run.block, run.before, run.after, axes)
        return {**after.moments, TANGENT: after.between(TANGENT)}

    return N * _last(net, x_sq, y_sq, gap**2 + 2 * product * (1 - c), updates, TANGENT)


@dataclass(frozen=True)
class _Step:
    """One block acting on a pair of streams and their kernel: the moments after it, the kernel that its own matrices
    add, and the factor of the kernel before it."""

    moments: dict[sp.Symbol, sp.Expr]
    own: sp.Expr
    factor: sp.Expr

    def between(self, kernel: sp.Expr) -> sp.Expr:
        """The kernel of the two inputs after the block."""
        return self.own + self.factor * kernel

    def equal(self, moment: sp.Symbol, mean: sp.Symbol) -> dict[sp.Symbol, sp.Expr]:
        """The substitution that makes both inputs equal, with this moment and mean."""
        first, second = PAIR.first, PAIR.second
        return {first.Q: moment, second.Q: moment, first.mu: mean, second.mu: mean, DISTANCE: sp.S.Zero}


@cache
def _tangent_step(block: Block, width: sp.Expr, after_it: sp.Expr, axes: int, spread: bool = False) -> _Step:
    pairs = DecorrelatedPairs(after_it, axes)
    before = ClosePair(PAIR.first, PAIR.second, (PAIR.first.Q + PAIR.second.Q - DISTANCE) / 2, width, spread)
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
    """One component of the state after all blocks. The state starts with these moments and zero elsewhere; it holds
    means only where something depends on them."""
    begin, means = {PAIR.first.Q: Q, PAIR.second.Q: R, DISTANCE: distance}, {PAIR.first.mu, PAIR.second.mu}
    state = Recurrence.of(net, {s: begin.get(s, sp.S.Zero) for s in updates(net.runs[0])}, updates)
    kept = [s for s in state.start if s not in means]
    if means & set().union(*map(state.needed, kept)):
        kept = list(state.start)
    return state.recursion(wanted, kept)


@cache
def difference(net: Net, moved: sp.Expr, square: sp.Expr) -> sp.Expr:
    """Θ(x, x) - 2Θ(x, x') + Θ(x', x') over N, with |x'|²/d = moved and |x' - x|²/d = square.

    It has a recursion of its own, because the three kernels of close inputs are nearly equal and would cancel. A
    kernel's step is T ↦ own + factor T. The step of the difference is E ↦ own(x, x) - 2 own(x, x') + own(x', x') +
    factor(x, x') E + (factor(x, x) - factor(x, x')) T(x, x) + (factor(x', x') - factor(x, x')) T(x', x').
    """
    require_trained(net)
    between, axes = sp.Symbol("E", real=True), len(net.image or (1,)) - 1

    def updates(run: Run) -> dict[sp.Symbol, sp.Expr]:
        return _difference_step(_tangent_step(run.block, run.before, run.after, axes, spread=True), between)

    return _last(net, x_sq, moved, square, updates, between)


def _difference_step(step: _Step, between: sp.Symbol) -> dict[sp.Symbol, sp.Expr]:
    """The updates of one block: of the moments, of the kernel of each input with itself, and of :func:`difference`."""
    first, second = sp.symbols("T_1 T_2", real=True)
    ends = [(kernel, step.equal(end.Q, end.mu)) for kernel, end in ((first, PAIR.first), (second, PAIR.second))]
    updates, change = dict(step.moments), step.factor * between - 2 * step.own
    for kernel, equal in ends:
        own, factor = (distributed(e.subs(equal, simultaneous=True)) for e in (step.own, step.factor))
        updates[kernel] = own + factor * kernel
        change += own + (factor - step.factor) * kernel
    updates[between] = by_gaps(distributed(change), {first: second, second: first})
    return updates


def by_gaps(expr: sp.Expr, others: dict[sp.Symbol, sp.Symbol]) -> sp.Expr:
    """An expression in which each quantity of one input, and that of the other input, are written by their mean and
    their gap, so that what is small is a product of small numbers. ``others`` has pairs of symbols beside the moments.
    """
    a, b = PAIR.first, PAIR.second
    swap = {a.Q: b.Q, b.Q: a.Q, a.mu: b.mu, b.mu: a.mu, **others}
    parts = [
        e for e in sp.preorder_traversal(expr) if e in swap or e.is_Function or (e.is_Pow and not e.exp.is_Integer)
    ]
    inner: dict[sp.Basic, sp.Expr] = {}
    outer: dict[sp.Basic, sp.Expr] = {}
    for part in dict.fromkeys(parts):
        other = part.xreplace(swap)
        if part in inner or other == part or other not in parts:
            continue
        middle, gap = sp.symbols("m g", cls=sp.Dummy)
        inner |= {part: middle + gap, other: middle - gap}
        outer |= {middle: (part + other) / 2, gap: (part - other) / 2}
    return distributed(expr.xreplace(inner)).xreplace(outer)
