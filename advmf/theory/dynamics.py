"""T3: the variance of the weights under adversarial training, by gradient flow on the bound of T2.

With B = ε β ∏_l ω_l^{1/2} and σ_m² = ‖W_m‖_F²/N for each trained matrix W_m, ∂B/∂W_m = (2/N) W_m ∂B/∂σ_m², so that the flow
dW/dt = -∂B/∂W gives

    dσ_m²/dt = -(4/N) σ_m² ∂B/∂σ_m² = -(2/N) share_m B,   share_m = σ_m² ∂ln ω/∂σ_m².

All blocks start alike and stay alike, hence a system with one variance per trained matrix of a block. It is a statement about early times:
the flow of the loss itself also moves a few singular directions of J in a time of order 1, while σ_w² takes a time of order N.

Source: S. Kumano, H. Kera, T. Yamasaki, NeurIPS 2023, arXiv:2505.14021, time evolution of the weight variance; blocks other than the
paper's are derived here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import sympy as sp

from advmf.boundary import public
from advmf.claim import RHS, Claim, Equation, Regime
from advmf.errors import ArgumentError, DomainError
from advmf.expressions import expression
from advmf.net import Net
from advmf.observables import (
    AdversarialLoss,
    Expectation,
    HalfLife,
    WeightNormSlope,
    WeightVariance,
    WeightVarianceSlope,
)
from advmf.symbols import L, N, eps, exponent, t
from advmf.theory.bound import PAPER, RANDOM_NETWORK, loss_bound
from advmf.theory.flow_functions import Flow, QExponential, QLogarithm, power_law, power_of
from advmf.theory.norms import BETA, ESTIMATE_TOLERANCE, beta
from advmf.theory.propagation import OMEGA, with_alpha
from advmf.theory.spike import require_uniform
from advmf.theory.trained import Trained, trained

CLOCK = sp.Symbol("s", nonnegative=True)
"""Time in units of N/(2 λ ε β), in which the flow does not depend on them."""


@public
def share(net: Net) -> tuple[sp.Expr, ...]:
    """The Euler share of each trained matrix of the block, σ_m² ∂ln ω/∂σ_m²: the part of the Jacobian's variance that runs through it.

    Raises ArgumentError for a block without a trained matrix.

    >>> import advmf as mf
    >>> mf.share(mf.vanilla()), mf.share(mf.residual(u=1, v=0))
    ((1,), (sigma_w**2/(sigma_w**2 + 2),))
    """
    found = trained(net)
    return tuple(sp.factor(sp.cancel(found.declared(reach / found.omega))) for reach in found.reaches)


def _layer(net: Net, layer: int) -> tuple[Trained, tuple[Any, ...]]:
    """The trained matrices, and the number of the chosen one as an argument of observables: none if it is the only one."""
    found = trained(net)
    if layer not in range(len(found.variables)):
        raise ArgumentError(
            f"layer counts the trained matrices of a block, 0 to {len(found.variables) - 1} here; got {layer!r}."
        )
    return found, (layer + 1,) if len(found.variables) > 1 else ()


def _weight(weight: object) -> sp.Expr:
    """The weight of the adversarial loss; raises DomainError unless it can be positive."""
    expr = expression(weight)
    if not isinstance(expr, sp.Expr) or expr.is_positive is False or expr.is_real is False or expr is sp.nan:
        raise DomainError(f"weight is the factor of the adversarial loss and must be > 0; got {weight!r}.")
    return expr


def training_claim(net: Net, p: object, q: object, route: str, *assumptions: str, **named: Any) -> Claim:
    """A claim about trained matrices that rests on the bound T2 of the same net, with any route to β: nothing here is a bound."""
    bound = loss_bound(net, p, q)
    named.setdefault("where", {**bound.where, BETA: beta(p, q, route)})
    named = {
        "regime": Regime.LARGE_WIDTH | Regime.SMALL_BALL | Regime.HEURISTIC,
        "heuristic": "the adversarial loss is replaced by its bound T2, whose flow moves nothing but the variances: at early times",
        "source": f"{PAPER}, time evolution of the weight variance",
        "depth": 1,
        **named,
    }
    return replace(bound, assumptions=(*RANDOM_NETWORK, "gradient flow dW/dt = -dL/dW", *assumptions), **named)


@public
def variance_slope(
    net: Net,
    p: object,
    q: object,
    route: str = "chevet",
    *,
    weight: object = 1,
    pull: object = 0,
    layer: int = 0,
) -> Claim:
    """T3 at t = 0: dσ_w²/dt = -(2/N) share (λ ε β ω^{L/2} + ⟨∂ℓ/∂f, f⟩).

    Training on λ L_adv + ℓ(f): ``weight`` is λ, ``pull`` the mean of ⟨∂ℓ/∂f, f⟩ over networks, 0 for the adversarial loss alone. By Euler's
    theorem ⟨W_m, ∂ℓ/∂W_m⟩ is the part of ⟨∂ℓ/∂f, f⟩ that runs through W_m; without biases and carried means its share is that of J.
    ``layer`` counts the trained matrices of a block; ``p``, ``q`` and ``route`` are those of :func:`advmf.beta`, and so are the errors. By
    the route ``estimate`` the slope is claimed up to what β is off by. ArgumentError for another layer and for a block without a
    trained matrix, DomainError for a weight that is not positive.

    >>> import advmf as mf
    >>> mf.variance_slope(mf.residual(), 2, 2).formula
    -2*alpha*beta*eps*omega**(L/2 - 1)*sigma_w**2/N
    """
    require_uniform(net, "T3")
    found, number = _layer(net, layer)
    reach = found.abbreviated(found.reaches[layer])
    weight, pull = _weight(weight), expression(pull)
    drives = (weight * eps * BETA * OMEGA ** (L / 2 - 1), pull / OMEGA)
    adversarial = weight == 1 and pull == 0
    own = (exponent(p, "p"), exponent(q, "q")) if adversarial else ()
    homogeneous = ("no biases and no carried mean, so that f has the share of J",) if pull != 0 else ()
    return training_claim(
        net,
        p,
        q,
        route,
        *homogeneous,
        name="T3",
        lhs=Expectation(WeightVarianceSlope(*own, *number)),
        relation="approx" if route == "estimate" else "==",
        tolerance=ESTIMATE_TOLERANCE if route == "estimate" else 0.0,
        formula=sp.Add(*(sp.powsimp(-2 / N * reach * drive) for drive in drives)),
    )


@cache
def reduced(net: Net) -> dict[sp.Symbol, sp.Symbol]:
    """Each variance and the one that it stays equal to: matrices that start equal and, as long as they are, have equal slopes.

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
    """The flow in :data:`CLOCK` time, equal matrices taken together: dz_m/ds = -reach_m ω^{L/2 - 1}, with ω in terms of the variances z_m and α."""

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
        """The variances at a time: for a power law in closed form (verified by substitution), else as a Flow."""
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
    return 2 * _weight(weight) * eps * BETA * t / N


@public
def weight_variance(
    net: Net, p: object, q: object, route: str = "chevet", *, weight: object = 1, layer: int = 0
) -> Claim:
    """T3: the variance σ_w²(t) of a trained matrix after training for a time t, by dσ_w²/dt = -(2/N) share λ ε β ω(t)^{L/2}.

    A power law where no path leads around the trained matrices: ω' is then proportional to ω^{L/2}, and for the vanilla net

        σ_w²(t) = σ_w² [1 + (L/2 - 1) k t]^{-1/(L/2 - 1)},  k = (2 α λ ε β/N) ω^{L/2 - 1},

    which is σ_w² exp(-kt) at L = 2 and reaches zero at a finite time at L = 1 (:class:`~advmf.theory.flow_functions.QExponential`).
    Any other net has a :class:`~advmf.theory.flow_functions.Flow`, which kernels integrate. The pull of a standard loss changes in a time of
    order 1, which is why only :func:`variance_slope` takes it. Arguments and errors are those of :func:`variance_slope`.

    >>> import advmf as mf
    >>> mf.weight_variance(mf.vanilla(u=1, v=0), 2, 2).formula.subs(mf.symbols.L, 2)
    sigma_w**2*exp(-beta*eps*t/N)
    >>> f = mf.kernel(mf.weight_variance(mf.residual(u=1, v=0), 2, 2, "leading"))
    >>> f(t=[0, 100], N=100, L=4, sigma_w=1, eps=0.5, d=100, K=25).round(6)
    array([1.      , 0.373762])
    """
    found, number = _layer(net, layer)
    path = evolve(net, clock(weight))[found.variables[layer]]
    return training_claim(
        net,
        p,
        q,
        route,
        "an early time: the loss is near its bound",
        name="T3",
        lhs=Expectation(WeightVariance(t, *number)),
        relation="==",
        formula=path,
    )


@public
def first_order(claim: Claim) -> Claim:
    """The claim to first order in the training time: its value at t = 0, and the slope there.

    For the weight variance it is σ_w² (1 - (2 α ε β/N) ω^{L/2 - 1} t). Raises ArgumentError for a claim that does not depend on t.

    >>> import advmf as mf
    >>> mf.first_order(mf.weight_variance(mf.vanilla(u=1, v=0), 2, 2)).formula.subs(mf.symbols.L, 2)
    sigma_w**2 - beta*eps*sigma_w**2*t/N
    """
    moving = {symbol: meaning for symbol, meaning in claim.where.items() if t in meaning.free_symbols}
    formula = claim.formula.subs(moving, simultaneous=True)
    if t not in formula.free_symbols:
        raise ArgumentError(f"first_order takes a claim about training time t; {claim.name} does not depend on it.")
    value, slope = (sp.simplify(sp.powsimp(part.subs(t, 0))) for part in (formula, sp.diff(formula, t)))
    where = {symbol: meaning for symbol, meaning in claim.where.items() if symbol not in moving}
    return replace(
        claim, name=f"{claim.name}.1", relation="approx", formula=value + slope * t, where=where, equations=()
    )


def passage(net: Net, level: sp.Expr, fall: sp.Expr) -> sp.Expr:
    """The time, in :data:`CLOCK` units, at which ``level``, positive and falling, has fallen by the factor exp(-fall).

    In s = -ln(level/level_0) as the independent variable the time is one more variable of the system, so that it is a Flow itself. With
    one variance and a level in proportion to a power of it the time has a closed form if the flow has.

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
    # -d ln(level)/ds over omega**(L/2 - 1), which drops out of the paths.
    speed = sp.together(
        sum((sp.diff(level, z) * reach for z, reach in zip(flow.variables, flow.reaches)), sp.S.Zero) / level
    )
    paths = tuple(sp.factor(-reach / speed) for reach in flow.reaches)
    pace = sp.powsimp(sp.factor(1 / speed) * flow.omega ** (1 - L / 2))
    return Flow(fall, (*flow.variables, time), (*paths, pace), (*flow.start, sp.S.Zero), time)


@public
def half_life(net: Net, p: object, q: object, route: str = "chevet", *, weight: object = 1, layer: int = 0) -> Claim:
    """The time at which the variance of a trained matrix has halved: (2^{L/2 - 1} - 1)/((L/2 - 1) k) for the vanilla net, with k as in T3.

    Arguments and errors are those of :func:`weight_variance`.

    >>> import advmf as mf
    >>> mf.half_life(mf.vanilla(u=1, v=0), 2, 2).formula.subs(mf.symbols.L, 2)
    N*log(2)/(beta*eps)
    """
    found, number = _layer(net, layer)
    z = reduced(net)[found.variables[layer]]
    time = passage(net, z, sp.log(2))
    return training_claim(
        net,
        p,
        q,
        route,
        "an early time: the loss is near its bound",
        name="T3.half",
        lhs=HalfLife(*number),
        relation="==",
        formula=time * t / clock(weight),
    )


@public
def euler_identity(net: Net, p: object, q: object, *, layer: int = 0) -> Claim:
    """The identity behind T3: E d‖W‖_F²/dt = -2 share E L_adv under gradient flow of the adversarial loss itself.

    ‖J η‖ is homogeneous of degree one in each matrix that every path runs through, so ⟨W, ∂L_adv/∂W⟩ = L_adv (Euler): share 1, exact in every network
    and at every width. So is f(x + η) - f(x) without biases, whatever the ball. With biases f(x) = J(x)x + a(x), and what the ball's units that
    switch change in a is no multiple of the matrices before these biases: the ball has to lie in one linear region, which it comes to as ε → 0.
    Where paths lead around the matrix, J is a sum of uncorrelated parts and, as N → ∞, the mean of the part through W given J is share·J; of
    f(x + η) - f(x) it is less, for switching lowers E(φ(z) - φ(z'))² below α E(z - z')², and again ε → 0 is needed. Linear activations need none
    of this. The regime says which of these it is.

    Errors are those of :func:`advmf.loss_bound` and :func:`variance_slope`.

    >>> import advmf as mf
    >>> print(mf.euler_identity(mf.residual(u=1, v=0), 2, 2).formula)
    -2*sigma_w**2/(sigma_w**2 + 2)
    """
    _, number = _layer(net, layer)
    part, bound = share(net)[layer], loss_bound(net, p, q)
    if part != 1:
        require_uniform(net, "The share of a matrix in Euler's identity")
    pair = exponent(p, "p"), exponent(q, "q")
    slope, loss = WeightNormSlope(*pair, *number), AdversarialLoss(*pair)
    exact, switching = part == 1, not all(phi.linear for phi in net.activations)
    local = switching and not (exact and all(layer.bias_deviation == 0 for layer in net.trained))
    return replace(
        bound,
        name="T3.Euler",
        lhs=Expectation(slope) / Expectation(loss),
        relation="==",
        formula=-2 * part,
        where={},
        regime=(Regime.EXACT if exact else Regime.LARGE_WIDTH) | (Regime.SMALL_BALL if local else Regime(0)),
        heuristic="",
        assumptions=(
            *RANDOM_NETWORK,
            "gradient flow dW/dt = -dL_adv/dW",
            *(["the ball lies in one linear region" + (", or there are no biases" if exact else "")] if local else []),
        ),
        source="Euler's theorem on homogeneous functions; the share is derived here from the declared blocks",
        depth=1,
        equations=(Equation("E d|W|²/dt", Expectation(slope - RHS * loss), sp.S.Zero, -RHS * bound.rhs, exact),),
    )
