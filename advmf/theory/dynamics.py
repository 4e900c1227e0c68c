"""How the variances of the weights evolve under adversarial training: gradient flow on the bound of the adversarial
loss.

With B = ε β ∏_l ω_l^{1/2} and σ_m² = ‖W_m‖_F²/N for each trained matrix W_m, ∂B/∂W_m = (2/N) W_m ∂B/∂σ_m², so that the
flow dW/dt = -∂B/∂W gives

    dσ_m²/dt = -(4/N) σ_m² ∂B/∂σ_m² = -(2/N) share_m B,   share_m = σ_m² ∂ln ω/∂σ_m².

All blocks start alike and stay alike, so the system has one variance per trained matrix of a block. It describes early
times: the flow of the loss itself moves J at a rate in proportion to N, and the loss is gone after a time of order K
d/N, while σ_w² takes a time of order N.

Source: S. Kumano, H. Kera, T. Yamasaki, NeurIPS 2023, arXiv:2505.14021, time evolution of the weight variance; blocks
other than the paper's are derived here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import sympy as sp

from advmf.boundary import public
from advmf.errors import ArgumentError, DomainError
from advmf.expressions import expression
from advmf.functions import Flow, QExponential, QLogarithm, power_law, power_of
from advmf.nets import Net
from advmf.symbols import L, N, eps, t
from advmf.theory.norms import BETA
from advmf.theory.propagation import OMEGA, with_alpha
from advmf.theory.spike import require_uniform
from advmf.theory.trained import Trained, trained

CLOCK = sp.Symbol("s", nonnegative=True)
"""Time in units of N/(2 λ ε β), λ the weight of the adversarial loss. In these units the flow is free of N, λ, ε and
β."""


@public
def share(net: Net) -> tuple[sp.Expr, ...]:
    """The Euler share of each trained matrix of the block, σ_m² ∂ln ω/∂σ_m²: the part of the Jacobian's variance that
    runs through it.

    Raises ArgumentError for a block without a trained matrix.

    >>> import advmf as mf
    >>> mf.share(mf.vanilla()), mf.share(mf.residual(u=1, v=0))
    ((1,), (sigma_w**2/(sigma_w**2 + 2),))
    """
    found = trained(net)
    return tuple(sp.factor(sp.cancel(found.declared(reach / found.omega))) for reach in found.reaches)


def layer_of(net: Net, layer: int) -> tuple[Trained, tuple[Any, ...]]:
    """The trained matrices, and the number of the chosen one as arguments of observables: empty if it is the only
    one."""
    found = trained(net)
    if layer not in range(len(found.variables)):
        raise ArgumentError(
            f"layer counts the trained matrices of a block, 0 to {len(found.variables) - 1} here; got {layer!r}."
        )
    return found, (layer + 1,) if len(found.variables) > 1 else ()


def weight_of(weight: object) -> sp.Expr:
    """The weight of the adversarial loss; raises DomainError unless it can be positive."""
    expr = expression(weight)
    if not isinstance(expr, sp.Expr) or expr.is_positive is False or expr.is_real is False or expr is sp.nan:
        raise DomainError(f"weight is the factor of the adversarial loss and must be > 0; got {weight!r}.")
    return expr


@cache
def reduced(net: Net) -> dict[sp.Symbol, sp.Symbol]:
    """A map from each variance to the variance that it stays equal to.

    Two variances stay equal if they start equal and have equal rates as long as they are equal.

    >>> import advmf as mf
    >>> from advmf.theory.dynamics import reduced
    >>> set(reduced(mf.Net(mf.Residual(mf.Dense(), mf.ReLULike(1, 0), mf.Dense()))).values())
    {z_1}
    """
    found = trained(net)
    key: dict[sp.Symbol, tuple[sp.Expr, ...]] = {z: (z0,) for z, z0 in zip(found.variables, found.start)}
    while True:
        first: dict[tuple[sp.Expr, ...], sp.Symbol] = {}
        merged = {z: first.setdefault(key[z], z) for z in found.variables}
        finer = {z: (merged[z], sp.expand(reach.xreplace(merged))) for z, reach in zip(found.variables, found.reaches)}
        if len(set(finer.values())) == len(first):
            return merged
        key = finer


@dataclass(frozen=True)
class System:
    """The flow in :data:`CLOCK` time: dz_m/ds = -reach_m ω^{L/2 - 1}, with ω in terms of the variances z_m and α.
    Variances that stay equal share one z_m."""

    net: Net
    variables: tuple[sp.Symbol, ...]
    reaches: tuple[sp.Expr, ...]
    start: tuple[sp.Expr, ...]
    omega: sp.Expr

    @property
    def rates(self) -> tuple[sp.Expr, ...]:
        return tuple(-reach * self.omega ** (L / 2 - 1) for reach in self.reaches)

    @property
    def first(self) -> sp.Expr:
        """-d ln z/ds of the first variance at the start, in ω and α."""
        (z, reach), z0 = (self.variables[0], self.reaches[0]), self.start[0]
        return sp.powsimp(sp.factor((reach / z).xreplace({z: z0})) * OMEGA ** (L / 2 - 1))

    def evolve(self, clock: sp.Expr) -> dict[sp.Symbol, sp.Expr]:
        """The variances at a time: in closed form for a power law (verified by substitution), else as a Flow."""
        (z, *more), rates = self.variables, self.rates
        if not more and power_law(rates[0], z, self.start[0], clock) is not None:
            return {z: self.start[0] * QExponential(-self.first * clock, power_of(rates[0], z))}
        return {z: Flow(clock, self.variables, rates, self.start, z) for z in self.variables}


@cache
def system(net: Net) -> System:
    """The flow of the variances of ``net``.

    >>> import advmf as mf
    >>> from advmf.theory.dynamics import system
    >>> system(mf.residual(u=1, v=0)).rates
    (-z*(z/2 + 1)**(L/2 - 1)/2,)
    """
    require_uniform(net, "T3")
    found, merged = trained(net), reduced(net)
    constant, rest = found.omega.xreplace(merged).as_independent(*merged.values(), as_Add=True)
    kept = [i for i, z in enumerate(found.variables) if merged[z] == z]
    return System(
        net,
        tuple(found.variables[i] for i in kept),
        tuple(with_alpha(sp.factor(found.reaches[i].xreplace(merged)), net) for i in kept),
        tuple(found.start[i] for i in kept),
        constant + with_alpha(sp.factor(rest), net),
    )


def evolve(net: Net, clock: sp.Expr) -> dict[sp.Symbol, sp.Expr]:
    """The variance of every trained matrix at a time in :data:`CLOCK` units."""
    paths = system(net).evolve(clock)
    return {z: paths[kept] for z, kept in reduced(net).items()}


def clock(weight: object = 1) -> sp.Expr:
    """The training time t in :data:`CLOCK` units, 2 λ ε β t/N."""
    return 2 * weight_of(weight) * eps * BETA * t / N


def passage(net: Net, level: sp.Expr, fall: sp.Expr) -> sp.Expr:
    """The time, in :data:`CLOCK` units, at which ``level``, positive and falling, has fallen by the factor exp(-fall).

    With s = -ln(level/level_0) as the independent variable, the time is one more variable of the system, and so a Flow
    itself. With one variance, and a level proportional to a power of it, the time has a closed form if the flow has
    one.

    >>> import sympy as sp
    >>> import advmf as mf
    >>> from advmf.theory.dynamics import passage, system
    >>> vanilla = mf.vanilla(u=1, v=0)
    >>> passage(vanilla, system(vanilla).variables[0], sp.log(2)).subs(mf.symbols.L, 2)
    2*log(2)
    """
    flow = system(net)
    z = flow.variables[0]
    if len(flow.variables) == 1:
        power, r = power_of(level, z), power_of(flow.rates[0], z)
        if power is not None and r is not None:
            # z0 exp(-fall/power) = z0 QExponential(-first s, r).
            return -QLogarithm(sp.exp(-fall / power), r) / flow.first
    time = sp.Symbol("tau", real=True)
    # -d ln(level)/ds divided by omega**(L/2 - 1); that factor cancels in the paths.
    speed = sp.together(
        sum((sp.diff(level, z) * reach for z, reach in zip(flow.variables, flow.reaches)), sp.S.Zero) / level
    )
    paths = tuple(sp.factor(-reach / speed) for reach in flow.reaches)
    pace = sp.powsimp(sp.factor(1 / speed) * flow.omega ** (1 - L / 2))
    return Flow(fall, (*flow.variables, time), (*paths, pace), (*flow.start, sp.S.Zero), time)
