"""D2: the whole course of adversarial training, for wide networks with linear activations.

As N → ∞ the kernel of J is constant in training, so that J itself obeys a gradient flow, dJ/dt = -ε (κ/d) T with T in
the subgradient of ‖J‖_{p→q}, and κ/d = Θ(x, x)/‖x‖². For the pairs (p, q) below the flow has arrived at the proximal
map of the norm, J(t) = argmin ½‖J - J(0)‖_F² + (ε κ t/d)‖J‖_{p→q}: it lowers the top singular values for p = q = 2, the
longest columns for p = 1 and the longest rows for q = ∞, together, as water fills a vessel. Four quantities follow:

* the loss, ε times the level;
* the capacity, as ḟ moves in the direction in which J moves, by a kernel of its own (:mod:`advmf.theory.scaling`);
* the variance of the weights, as d‖W‖_F²/dt = -2 ⟨W, ∂L_adv/∂W⟩;
* the time at which the loss is zero, by the dual norm of J(0).

T3 to T5 leave this out: the loss is gone after a time of order 1/N, by when σ_w² has moved by a share of order 1/N².
The claims are new, and derived here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import sympy as sp

from advmf.boundary import public
from advmf.claim import Claim, Regime, Relation
from advmf.errors import ArgumentError
from advmf.functions import GaussianNorm, NuclearNorm, ProxNorm, ProxSquare
from advmf.nets import Net, require_repeated
from advmf.notebook import Shown
from advmf.observables import Capacity, Expectation, LossAfter, LossLife, TrainingEnd, WeightVariance
from advmf.special.proximal import TRACTABLE
from advmf.symbols import K, L, N, d, eps, exponent, t, x_sq
from advmf.theorems.d1_capacity_rate import SCALES, unbiased
from advmf.theorems.scripted import OfLinear
from advmf.theorems.t5_capacity import capacity
from advmf.theorems.theorem import ALIKE, GROWTH, REPEATED, UNIFORM, Need, Theorem, random_network
from advmf.theorems.wrong import equality, mutant
from advmf.theory.norms import BETA, beta
from advmf.theory.propagation import OMEGA, abbreviations, omega, with_alpha
from advmf.theory.scaling import loss_life_of, require_linear_like, scaling

PAIRS = tuple((exponent(p), exponent(q)) for p, q in TRACTABLE)
SINGLE = Need(lambda net: len(net.trained) == 1, "its block has several trained matrices, or none")
LINEAR = Need(lambda net: all(phi.linear for phi in net.activations), "its activations are not linear")


@public
@dataclass(frozen=True)
class TrainingFlow(Shown):
    """The claims about the course of training: the loss, the capacity over its start and the weight variance at time t,
    the time ``end`` at which the loss is zero, and the ``total`` change of the weight variance, over its start."""

    loss: Claim
    capacity: Claim
    variance: Claim
    end: Claim
    total: Claim

    def __iter__(self) -> Iterator[Claim]:
        return iter((self.loss, self.capacity, self.variance, self.end, self.total))


@public
def training_flow(net: Net, p: object, q: object) -> TrainingFlow:
    """D2: the course of gradient flow on the adversarial loss, as N → ∞, for a net with linear activations.

    With κ = Θ(x, x)/(E(J x)_k²), which is L N α/ω, and G_s the proximal map of s ‖·‖_{p→q} at a standard Gaussian
    matrix, s = ε κ ω^{L/2} t/√d:

        E L_adv(t) = (ε ω^{L/2}/√d) E‖G_s‖_{p→q},   C(t)/C(0) = E‖G_s‖_F²/(K d) for the vanilla net,

    σ_w²(t) = σ_w² - (1/(N κ)) (K d - E‖G_s‖_F²) there, so that σ_w² falls by the share d K/(L N²) in all. The loss is
    zero from the time √d E‖G‖_*/(ε κ ω^{L/2}) on, where ‖·‖_* is the dual norm: for p = q = 2 the sum of the singular
    values. Means over G are numbers of kernels.

    The pairs are (2, 2), (1, 1), (1, 2), (1, oo), (2, oo) and (oo, oo). Raises ArgumentError for other pairs, whose
    norms are NP-hard or whose flow is no proximal map, for activations that are not linear, for a carried mean, for
    norms, and unless each block has one trained matrix; DeclarationError for stages.

    >>> import advmf as mf
    >>> flow = mf.training_flow(mf.Net(mf.Serial(mf.Dense(sigma_b=0), mf.ReLULike(1, 1))), 2, 2)
    >>> flow.total.formula
    -K*d/(L*N**2) + 1
    >>> f = mf.kernel(flow.loss)
    >>> f(t=[0, 0.01, 0.1], N=256, L=2, d=8, K=3, eps=1, sigma_w=1).round(2)
    array([1.31, 0.8 , 0.  ])
    """
    require_repeated(net)
    require_linear_like(net, "The course of training")
    for need in (LINEAR, SINGLE):
        if not need.holds(net):
            raise ArgumentError(
                f"The course of training is known of nets with linear activations, such as ReLULike(1, 1), and one trained matrix in each block; of "
                f"{net!r} it is not: {need.reason}. Its first instant is capacity_rate and variance_slope."
            )
    p, q = exponent(p, "p"), exponent(q, "q")
    if (p, q) not in PAIRS:
        raise ArgumentError(
            f"The course of training is known for (p, q) = (2, 2), (1, 1), (1, 2), (1, oo), (2, oo) and (oo, oo); got ({p}, {q}). Other norms are "
            "NP-hard, or gradient flow turns their columns or rows, so that it is no proximal map."
        )
    return _claims(net, p, q)


@public
def loss_life(net: Net, p: object, q: object, route: str = "chevet") -> Claim:
    """The life of the adversarial loss under gradient flow, E ∫ L_adv dt / E L_adv(0), for every pair (p, q).

    ‖J‖ is homogeneous, so that d‖J‖_F²/dt = -2 (κ ω^L/d) L_adv, with κ as in :func:`training_flow`. The integral
    follows without the course itself, and the life is K d/(2 ε β κ ω^{L/2}). For the vanilla net it is one over the
    rate of :func:`capacity_rate`. T3 and T4 hold for times well below it. At the rate of T3 σ_w² falls within it by as
    much as in all of training.

    It is of order K d/N: the loss is gone long before σ_w² has halved, where N² is well above K d. For activations that
    are not linear it is an upper bound for small balls. In the kernel regime it follows as ε → 0, for the integral up
    to a fixed number of lives (derivations/loss_life.py). In large balls a part of the loss lasts longer, and the
    integral exceeds it (docs/training.md). ``route`` is that of :func:`advmf.beta`. Raises ArgumentError as
    :func:`capacity_rate`.

    >>> import advmf as mf
    >>> mf.loss_life(mf.vanilla(), 2, 2).formula
    K*d*omega**(1 - L/2)/(2*L*N*alpha*beta*eps)
    """
    require_linear_like(net, "The life of the loss")
    p, q = exponent(p, "p"), exponent(q, "q")
    linear = LINEAR.holds(net)
    return Claim(
        name="D2.life",
        lhs=Expectation(LossLife(p, q)),
        relation=Relation.EQUAL if linear else Relation.AT_MOST,
        formula=loss_life_of(net),
        where={**abbreviations(net), BETA: beta(p, q, route)},
        regime=Regime.LARGE_WIDTH if linear else Regime.LARGE_WIDTH | Regime.SMALL_BALL | Regime.HEURISTIC,
        heuristic=""
        if linear
        else "it follows as N -> oo at fixed N t and then eps -> 0, up to a fixed number of lives (derivations/loss_life.py), else not",
        assumptions=(*random_network(net), "gradient flow dW/dt = -dL_adv/dW on the input x alone"),
        source="derived here",
        net=net,
        p=p,
        q=q,
        depth=1,
    )


@dataclass(frozen=True)
class _Course:
    """The means over Gaussian matrices G that the claims hold: the level and the square of G_s."""

    net: Net
    p: sp.Expr
    q: sp.Expr

    @property
    def pace(self) -> sp.Expr:
        """s/t."""
        return sp.powsimp(eps * scaling(self.net).kernel * OMEGA ** (self.net.depth / 2) / sp.sqrt(d))

    @property
    def level(self) -> sp.Expr:
        """E‖G_s‖_{p→q}."""
        return ProxNorm(self.pace * t, K, d, self.p, self.q)

    def left(self, whole: sp.Expr, fallen: sp.Expr, apart: sp.Expr) -> sp.Expr:
        """What is left of ``whole`` minus a combination of (E‖G‖² - E‖G_s‖²)/(K d) and E‖G - G_s‖²/(K d), with these
        coefficients.

        G - G_s is s times a subgradient at G_s, so that ⟨G - G_s, G_s⟩ = s ‖G_s‖_{p→q}.
        """
        square = ProxSquare(self.pace * t, K, d, self.p, self.q)
        both, twice = sp.factor(fallen + apart), sp.powsimp(2 * sp.factor(apart) * self.pace)
        return sp.factor(whole - both) + both * square / (K * d) + twice * t * self.level / (K * d)


def _claims(net: Net, p: sp.Expr, q: sp.Expr) -> TrainingFlow:
    answer, depth, course = scaling(net), net.depth, _Course(net, p, q)
    turn = sp.cancel(answer.kernel_share / answer.kernel)
    gone = turn * answer.share, turn * (answer.share - turn)
    if unbiased(net):
        left = course.left(sp.S.One, *(sp.cancel(part / answer.square) for part in gone))
    else:
        left = 1 + K * x_sq * OMEGA**depth * course.left(sp.S.Zero, *gone) / capacity(net).formula
    (matrix,) = net.trained
    share, rate = sp.cancel(answer.share / depth), K * d / (N * answer.kernel)
    variance = rate * share, rate * sp.cancel(share - turn / depth)
    total = with_alpha(sp.factor((sum(variance) / matrix.variance).subs(OMEGA, omega(net))), net)
    base = Claim(
        name="D2",
        lhs=Expectation(LossAfter(p, q, t)),
        relation=Relation.EQUAL,
        formula=eps * OMEGA ** (depth / 2) / sp.sqrt(d) * course.level,
        where=abbreviations(net),
        regime=Regime.LARGE_WIDTH,
        assumptions=(*random_network(net), "gradient flow dW/dt = -dL_adv/dW for a time of order 1/N"),
        source="derived here",
        net=net,
        p=p,
        q=q,
        depth=1,
    )
    capacities, weights = Expectation(Capacity(t)) / Expectation(Capacity()), Expectation(WeightVariance(t))
    return TrainingFlow(
        loss=base,
        capacity=replace(base, name="D2.C", lhs=capacities, formula=left),
        variance=replace(base, name="D2.w", lhs=weights, formula=course.left(matrix.variance, *variance)),
        end=replace(base, name="D2.end", lhs=Expectation(TrainingEnd(p, q)), formula=dual(p, q) / course.pace),
        total=replace(
            base, name="D2.total", lhs=Expectation(WeightVariance(sp.oo)) / matrix.variance, formula=1 - total
        ),
    )


def dual(p: sp.Expr, q: sp.Expr) -> sp.Expr:
    """The mean of the dual of ‖·‖_{p→q} at a K x d standard Gaussian matrix.

    >>> from advmf.theorems.d2_water_filling import dual
    >>> import sympy as sp
    >>> dual(sp.S(1), sp.S(2)), dual(sp.oo, sp.oo)
    (d*GaussianNorm(K, 2), K*GaussianNorm(d, oo))
    """
    if p == 1:
        return d * GaussianNorm(K, sp.oo if q == 1 else q / (q - 1) if q != sp.oo else sp.S.One)
    return K * GaussianNorm(d, p) if q == sp.oo else NuclearNorm(K, d)


def _wrong(claim: Claim) -> list[Claim]:
    wrong = []
    if claim.name in ("D2.w", "D2.total"):
        start = claim.rhs.subs(t, 0) if claim.name == "D2.w" else sp.S.One
        wrong = [
            mutant(claim, "N for N^2", lambda e: start - N * (start - e)),
            mutant(claim, "d K dropped", lambda e: start - (start - e) / (d * K)),
        ]
    if claim.formula.has(t):
        wrong += [
            mutant(claim, "omega^(L/2) for omega^(L - 1)", lambda e: e.subs(t, t * claim.put_in(OMEGA ** (1 - L / 2)))),
            mutant(claim, "the clock of T3, t/N for t N/d", lambda e: e.subs(t, t * d / N**2)),
            mutant(claim, "without the threshold", _without_threshold),
        ]
    return [found for found in wrong if found.rhs != claim.rhs] or equality(claim)


def _without_threshold(expr: sp.Expr) -> sp.Expr:
    """The largest part falls alone, and no others join it."""

    def square(s: sp.Expr, *rest: sp.Expr) -> sp.Expr:
        top = ProxNorm(0, *rest)
        return K * d - top**2 + sp.Max(top - s, 0) ** 2

    return expr.replace(ProxSquare, square).replace(ProxNorm, lambda s, *rest: sp.Max(ProxNorm(0, *rest) - s, 0))


def _states(net: Net, p: str, q: str, route: str) -> list[Claim]:
    known = all(need.holds(net) for need in (REPEATED, LINEAR, SINGLE)) and (exponent(p), exponent(q)) in PAIRS
    return [*(training_flow(net, p, q) if known else ()), loss_life(net, p, q, route)]


D2 = Theorem(
    name="D2",
    title="course of training: the life of the loss, and water-filling where activations are linear",
    source="derived here",
    states=_states,
    wrong=_wrong,
    derive=OfLinear("d2_water_filling"),
    needs=(ALIKE, GROWTH, UNIFORM, SCALES),
    unchecked=(
        "it is about the course of training, and a check measures networks at t = 0. 'advmf show D2' gives its formulas, and "
        "docs/training.md compares trained networks with them."
    ),
)
