"""T2: the bound on the adversarial loss, by metric domination.

Source: S. Kumano, H. Kera, T. Yamasaki, Adversarial Training from Mean Field Perspective, NeurIPS 2023,
arXiv:2505.14021, for the bound. The paper passes from J(x) at one input to the maximum over the ball; metric domination
(ours) proves this for Chevet's norm factor, and gives the replacement of omega^L in other networks.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import sympy as sp

from advmf.boundary import public
from advmf.claim import Claim, Regime, Relation
from advmf.errors import ArgumentError, DeclarationError
from advmf.expressions import expression
from advmf.functions import GaussianNorm
from advmf.nets import Net, Norm
from advmf.observables import AdversarialLoss, Probability, adversarial_loss
from advmf.symbols import K, d, eps, exponent, x_sq
from advmf.theorems.mistakes import WITHOUT_TAIL, WithoutTail, mistaken
from advmf.theorems.scripted import Scripted
from advmf.theorems.selection import DEFAULT_NETS, DIAGONAL, GROWING, IMAGES, PAIRS, PIXELS, POOLED, rows
from advmf.theorems.theorem import BOUNDED, PAPER, PAPER_POINT, Caption, Scale, Theorem, mutant, random_network
from advmf.theorems.wrong import bound
from advmf.theory.metric import largest, metric
from advmf.theory.norms import (
    BEST,
    BETA,
    ESTIMATE_TOLERANCE,
    ROUTES,
    beta,
    beta_quantile,
    choose,
    require_upper,
    routes,
)
from advmf.theory.profile import Profile, profile
from advmf.theory.propagation import abbreviations, averages_follow, grown, grows_alike, growths
from advmf.theory.spike import LAMBDA, carries_mean, require_uniform

ACROSS, ALONG = sp.Symbol("Lambda_across", positive=True), sp.Symbol("Lambda_along", positive=True)
"""The eigenvalues of Sigma(x) times d, across the input and along it."""

SPLIT = "split"
"""The route by which :func:`loss_bound` treats the parts of a perturbation across the input and along it separately."""

TIS = "the inequality of Borell, Tsirelson, Ibragimov and Sudakov"
DOMINATED = "metric domination (ours), with Chevet's inequality and that of Sudakov and Fernique"


@public
def loss_bound(net: Net, p: object, q: object, route: str = "chevet", *, paper: bool = False) -> Claim:
    """T2: the mean adversarial loss is at most ε β_{p,q} √Λ, with Λ/d the largest eigenvalue of Σ over the ball.

    Σ(x) is the covariance of a row of J(x) (:func:`advmf.metric`). Where activations are homogeneous and no mean is
    carried, Λ = ω^L at every input, and the bound is ε β_{p,q} ω^{L/2}: the paper's. By the routes ``chevet`` and
    ``leading`` it is a theorem as N → ∞, for every radius. Sharper routes are about one Gaussian matrix with the law of
    J(x), as ε → 0, and the claim calls them heuristic for a finite ball. On images whose pixels differ, or are
    averaged, the norm factor is that of :meth:`advmf.Profile.beta`, and the bound ε times it.

    The route ``split`` is heuristic too. It is for networks that stretch the input along x more than across it. With
    the eigenvalues Λ_∥ and Λ_⊥, Chevet's β and the Lipschitz constants of the norms, it is for p = 2

        E‖J‖_{2→q}² <= (Λ_∥ (E‖g_K‖_q)² + Λ_∥ K^{(2/q-1)₊})/d + Λ_⊥ (β² + K^{(2/q-1)₊}/d),

    and for other p it is the sum √(Λ_∥/d) d^{(1/2-1/p)₊} E‖g_K‖_q + √Λ_⊥ β.

    With ``paper`` the claim is the paper's ε β ω^{L/2} even where a mean is carried (``plain_residual`` with u != v);
    there it is false for deep networks. ``p``, ``q`` and ``route`` are those of :func:`advmf.beta`. Raises DomainError
    for exponents outside [1, oo], ArgumentError for a route that does not apply or is no upper bound, and with
    ``paper`` DeclarationError for a net whose Jacobian has no growth ω.

    Source: the bound of Kumano et al. (NeurIPS 2023); its proof by metric domination is ours
    (``derivations/t2_adversarial_loss.py``).

    >>> import advmf as mf
    >>> claim = mf.loss_bound(mf.residual(u=1, v=0), p="inf", q=2)
    >>> claim.formula, claim.regime
    (beta*eps*omega**(L/2), <Regime.LARGE_WIDTH: 2>)
    >>> claim = mf.loss_bound(mf.vanilla(phi="tanh"), 2, 2)
    >>> claim.formula, mf.kernel(claim)(L=5, sigma_w=1.5, sigma_b=0.3, x_sq=1, d=64, K=10, eps=1).round(3)
    (sqrt(Lambda)*beta*eps, np.float64(1.305))
    """
    p, q = exponent(p, "p"), exponent(q, "q")
    if route not in (SPLIT, BEST, *ROUTES):
        raise ArgumentError(f"route must be {SPLIT}, {BEST} or one of {', '.join(ROUTES)}; got {route!r}.")
    if route == SPLIT and not paper:
        return _split_bound(net, p, q)
    if not averages_follow(net) and not paper:
        return _profile_bound(net, p, q, route)
    factor = beta(p, q, route)
    require_upper(p, q, route)
    if paper:
        growths(net)
    uniform = paper or (grows_alike(net) and not carries_mean(net))
    proved = choose(p, q, route).processes and not (paper and carries_mean(net))
    return Claim(
        name="T2",
        lhs=adversarial_loss(p, q),
        relation=Relation.AT_MOST,
        formula=eps * BETA * sp.sqrt(grown(net) if uniform else LAMBDA),
        where={BETA: factor, **(abbreviations(net) if uniform else {LAMBDA: largest(net, p)})},
        regime=Regime.LARGE_WIDTH if proved else Regime.LARGE_WIDTH | Regime.HEURISTIC,
        heuristic="" if proved else _unproved(paper),
        assumptions=(*_limit(net), _of_sigma(net, uniform)),
        source=f"{PAPER}, upper bounds of the adversarial loss" + (f"; {DOMINATED}" if proved else ""),
        net=net,
        p=p,
        q=q,
    )


def _profile_bound(net: Net, p: sp.Expr, q: sp.Expr, route: str) -> Claim:
    """The bound for images whose pixels differ, or are averaged."""
    found = profile(net)
    factor = found.beta(p, q, route)
    require_upper(p, q, route, of_profiles=True)
    proved = choose(p, q, route, of_profiles=True).processes
    return Claim(
        name="T2",
        lhs=adversarial_loss(p, q),
        relation=Relation.AT_MOST,
        formula=eps * BETA,
        where={BETA: factor},
        regime=Regime.LARGE_WIDTH if proved else Regime.LARGE_WIDTH | Regime.HEURISTIC,
        heuristic="" if proved else _unproved(False),
        assumptions=(*_limit(net), "E (f_k(x) - f_k(y))^2 is at most sum_i s_i (x_i - y_i)^2/d, for all x and y"),
        source=f"the form of T2: {PAPER}; by a profile of pixels, ours" + (f"; {DOMINATED}" if proved else ""),
        net=net,
        p=p,
        q=q,
    )


def _limit(net: Net) -> tuple[str, ...]:
    means = "phi is Lipschitz, so that means converge"
    if any(isinstance(leaf, Norm) for leaf in net.leaves):
        means = "means converge too, though a norm is not Lipschitz where its stream vanishes"
    return (*random_network(net), f"as N -> oo the outputs are independent Gaussian processes of one kernel; {means}")


def _unproved(paper: bool) -> str:
    if paper:
        return "the law of J(x) across x is taken for its law in all directions, and at x for that of the whole ball"
    return "the norm factor is that of one Gaussian matrix, as J(x) is for eps -> 0, and is taken for a finite ball"


def _of_sigma(net: Net, uniform: bool) -> str:
    if uniform:
        return f"T1: the rows of J(x) are N(0, {'omega^L' if net.repeated else 'j'}/d I) at every x"
    if grows_alike(net):
        return "the rows of J(x) are N(0, Sigma(x)), and no eigenvalue of Sigma(x) is above Lambda/d at any x"
    return "the rows of J(x) are N(0, Sigma(x)), and no eigenvalue of Sigma is above Lambda/d at the inputs of the ball"


def _split_bound(net: Net, p: sp.Expr, q: sp.Expr) -> Claim:
    """The bound at x from the separate parts of a perturbation across x and along it: J = √(Λ_⊥/d) G(1 - x̂x̂ᵀ) +
    √(Λ_∥/d) g x̂ᵀ."""
    half = sp.Rational(1, 2)
    output, lipschitz = GaussianNorm(K, q), K ** sp.Max(0, 1 / q - half)
    if p == 2:
        along = ALONG * (output**2 + lipschitz**2) / d
        formula = eps * sp.sqrt(along + ACROSS * (BETA**2 + lipschitz**2 / d))
    else:
        reach = d ** sp.Max(0, half - 1 / p)
        formula = eps * (sp.sqrt(ALONG / d) * reach * output + sp.sqrt(ACROSS) * BETA)
    found = metric(net)
    return Claim(
        name="T2",
        lhs=adversarial_loss(p, q),
        relation=Relation.AT_MOST,
        formula=formula,
        where={BETA: beta(p, q), ACROSS: found.across, ALONG: found.along},
        regime=Regime.LARGE_WIDTH | Regime.HEURISTIC,
        heuristic="the bound is on the norm of J(x), which is the loss over eps as eps -> 0, and is taken for a finite ball",
        assumptions=(
            *_limit(net),
            "the rows of J(x) are N(0, Sigma(x)), with one eigenvalue across x and one along it",
        ),
        source=f"the form of T2: {PAPER}; the two parts by Chevet's inequality and Poincaré's, ours",
        net=net,
        p=p,
        q=q,
    )


@public
def loss_tail(net: Net, p: object, q: object, delta: object, route: str = "chevet") -> Claim:
    """The tail of T2: a value that the adversarial loss of a network exceeds with probability at most ``delta``.

    P(L_adv > ε √Λ (β + K^{(1/q-1/2)₊} d^{(1/2-1/p)₊} √(2 ln(1/δ)/d))) <= δ as N → ∞, by the inequality of Borell,
    Tsirelson, Ibragimov and Sudakov for the Gaussian process that the network becomes in the limit. ``delta`` is a
    number in (0, 1) or a symbol. The other arguments and the errors are those of :func:`loss_bound` and
    :func:`advmf.beta_quantile`.

    >>> import advmf as mf
    >>> claim = mf.loss_tail(mf.vanilla(1, 0), 2, 2, "1/100")
    >>> claim.relation, claim.formula
    ('<=', 1/100)
    """
    own, delta = loss_bound(net, p, q, route), expression(delta)
    if route == SPLIT:
        raise ArgumentError(f"A tail is that of a bound by one norm factor; {SPLIT!r} has two. Take 'chevet'.")
    growth = (own.formula / (eps * BETA)).subs(own.where)
    quantile = beta_quantile if averages_follow(net) else profile(net).beta_quantile
    factor = quantile(p, q, delta, route)
    return replace(
        own,
        name="T2.tail",
        lhs=Probability(AdversarialLoss(own.p, own.q) > eps * factor * growth),
        formula=delta,
        where={},
        source=f"{own.source}; {TIS}",
    )


@public
def loss_value(net: Net, p: object, q: object, route: str | None = None) -> Claim:
    """T2 for small balls, as an equality: the mean adversarial loss is ε β_{p,q} ω^{L/2} as N → ∞ and ε → 0.

    As ε → 0 the loss is ε‖J(x)‖_{p→q}, and J(x) has the law of ω^{L/2} times a Gaussian matrix (T1). On images whose
    pixels differ its columns have the sizes of the profile, and the norm factor is that of :meth:`advmf.Profile.beta`.
    By default ``route`` is an exact one where one applies, else ``estimate``, whose stated error the claim allows.
    Raises ArgumentError for a route that is a bound and for a net that carries a mean, and DeclarationError for a net
    without ω and for one that averages positions: its Σ(x) depends on the image. The other errors are those of
    :func:`advmf.beta`.

    Source: T1 of Kumano et al. (NeurIPS 2023), and :func:`advmf.beta`.

    >>> import advmf as mf
    >>> mf.loss_value(mf.vanilla(1, 0), 2, 2).relation, mf.loss_value(mf.vanilla(1, 0), "inf", 1).relation
    ('==', 'approx')
    """
    p, q = exponent(p, "p"), exponent(q, "q")
    found = None if averages_follow(net) else _exact_profile(net)
    if found is None:
        growths(net)
        if carries_mean(net):
            require_uniform(net, "The value of the adversarial loss for small balls")
    able = [other for other in routes(p, q) if other.profile or found is None]
    known = [other.name for other in able if other.rigour in ("exact", "estimate")]
    chosen = choose(p, q, route or known[0], of_profiles=found is not None)
    if chosen.name not in known:
        raise ArgumentError(f"A value takes a route that is no bound, here one of {', '.join(known)}; got {route!r}.")
    exact = chosen.rigour == "exact"
    if found is None:
        formula, where = eps * BETA * sp.sqrt(grown(net)), {BETA: chosen.formula(p, q), **abbreviations(net)}
        law, tolerance = _of_sigma(net, True), ESTIMATE_TOLERANCE
    else:
        formula, where = eps * BETA, {BETA: found.beta(p, q, chosen.name)}
        law = "T1 at pixels: the rows of J(x) are N(0, diag(s)/d) at every x"
        tolerance = ESTIMATE_TOLERANCE.subs(d, found.spread)
    return Claim(
        name="T2.value",
        lhs=adversarial_loss(p, q),
        relation=Relation.EQUAL if exact else Relation.APPROX,
        formula=formula,
        where=where,
        regime=Regime.LARGE_WIDTH | Regime.SMALL_BALL,
        assumptions=(*_limit(net), law),
        source=f"{PAPER}, linear-like form; ours as an equality",
        net=net,
        p=p,
        q=q,
        tolerance=0.0 if exact else tolerance,
    )


def _exact_profile(net: Net) -> Profile:
    """The profile of a network that averages no positions; raises DeclarationError for others."""
    if not (found := profile(net)).exact:
        raise DeclarationError(
            f"{net.name} averages positions, so that Sigma(x) depends on the image and its profile is only a bound. Take head='flatten' and no "
            "AvgPool, or advmf.loss_bound."
        )
    return found


def _wrong(claim: Claim) -> list[Claim]:
    """Those of a bound; where positions are averaged, the bound for independent positions; and where activations are
    odd, the bound by a pair kernel without the tail of its series.

    Of other networks Λ may be the eigenvalue along x. The linear term carries more of that one, and the bound has room
    for what is cut."""
    net = claim.net
    if net is not None and net.image is not None and not averages_follow(net) and not profile(net).exact:
        return [_independent(claim)]
    if LAMBDA not in claim.where or net is None or any(phi.mean(x_sq) != 0 for phi in net.activations):
        return bound(claim)
    cut = {**claim.where, LAMBDA: largest(mistaken(net, WithoutTail), exponent(claim.p, "p"))}
    return [*bound(claim), replace(claim, name=f"{claim.name} [{WITHOUT_TAIL}]", where=cut)]


def _independent(claim: Claim) -> Claim:
    """The bound over √n, for n independent positions, or over n for p < 2, where a perturbation is at few pixels. The
    bound itself may be loose by more than a factor of two."""
    assert claim.net is not None and claim.net.image is not None
    positions = sp.Integer(prod(claim.net.image[1:]))
    less = sp.sqrt(positions) if exponent(claim.p, "p") >= 2 else positions
    return mutant(claim, "positions taken for independent", lambda e: e / less)


IN_FULL = (
    (tuple((name, "relu") for name in (*DEFAULT_NETS, "pyramid")), PAIRS),
    (((GROWING, "leaky_relu"), ("plain_residual", "leaky_relu")), PAIRS),
)
"""The rows of networks that have all nine pairs."""

T2 = Theorem(
    name="T2",
    title="adversarial loss: at most eps beta omega^(L/2), or eps beta Lambda^(1/2)",
    source=PAPER,
    states=lambda net, p, q, route: [loss_bound(net, p, q, route)],
    tests=lambda net, pairs: [loss_bound(net, p, q) for p, q in pairs],
    wrong=_wrong,
    needs=(BOUNDED,),
    derive=Scripted("t2_adversarial_loss"),
    selected={
        "quick": rows(
            *IN_FULL,
            ((*IMAGES, *PIXELS), PAIRS),
            (((GROWING, "tanh"), (GROWING, "gelu"), ("pre_norm", "relu")), DIAGONAL[1:]),
            (POOLED, (("inf", "2"),)),
        ),
        "finite": rows(
            (((GROWING, "relu"),), DIAGONAL[1:]),
            ((("residual", "relu"),), DIAGONAL[2:]),
            (IMAGES[:1], DIAGONAL[1:2]),
        ),
        "brief": rows((((GROWING, "relu"),), PAIRS)),
        # Without GELU, whose series does not settle at the deviations that growing vanilla networks reach at L = 10.
        "paper": rows(*IN_FULL, (((GROWING, "tanh"), ("pre_norm", "relu")), DIAGONAL[1:])),
        "paper finite": rows((((GROWING, "relu"),), DIAGONAL[1:]), ((("residual", "relu"),), DIAGONAL[2:])),
    },
    scales={
        # An attack finds eps |J| and a little more or less, which scatters by a tenth to two thirds of what |J| does.
        "quick": Scale(
            L=5, d=64, K=10, widths="limit", nets=(420,), directions=1, steps=5, effects={"effect": 0.05}, attacked=0.18
        ),
        "finite": Scale(
            L=5,
            d=64,
            K=10,
            widths=(256, 512, 2048, 8192),
            nets=(50, 190, 36, 190),
            directions=1,
            steps=5,
            attacked=0.25,
        ),
        "images": Scale(
            L=2, d=16, K=4, widths="limit", nets=(250,), directions=1, steps=3, effects={"effect": 0.1}, attacked=0.2
        ),
        "finite images": Scale(
            L=2, d=64, K=4, widths=(32, 64, 128, 256), nets=(200, 250, 34, 165), directions=1, steps=3, attacked=0.12
        ),
        "averaged": Scale(
            L=2, d=64, K=4, widths=(32, 64, 256), nets=(380, 270, 140), directions=1, steps=3, attacked=0.12
        ),
        "sharp": Scale(L=5, d=64, K=10, widths=(256, 512, 2048, 4096), nets=(40, 160, 40, 160), directions=1, steps=5),
        "paper": Scale(**PAPER_POINT, widths="limit", nets=(200,), directions=1, effects={"effect": 0.05}),
        # L c_off sqrt(K d)/N is 0.22 at the narrowest (F2). What the fit to a + b/N + c/N² leaves of the excess of
        # |J|_{2->2} is 0.02 % by the edge of the free product.
        "paper finite": Scale(
            **PAPER_POINT,
            widths=(8192, 32_768, 131_072, 1_000_000),
            nets=(48, 32, 24, 8),
            directions=1,
            steps=5,
            effects={"effect": 0.1},
        ),
    },
    captions={"T2": Caption("attack/bound at N -> oo", r"Attacked loss over the bound, as $N \to \infty$")},
)
