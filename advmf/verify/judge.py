"""The consequences of a claim, in numbers, and the verdict on each at the declared error rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import sympy as sp

from advmf.claim import RHS, Claim, Equation, Regime, Relation
from advmf.errors import ArgumentError
from advmf.observables import Expectation, Observable
from advmf.simulate.estimate import least_sizes, measurable
from advmf.verify.searches import trusted
from advmf.verify.soundness import overflown
from advmf.verify.statistics import Design, Estimate, Rung, combine, quantile, resolution
from advmf.verify.tails import TAILS, Tail, at_widths, scale_of, tails
from advmf.verify.verdict import Finding, Verdict


class Decision(NamedTuple):
    """A verdict, its reason, the p-value of the claim, and the departure that would have been found."""

    verdict: Verdict
    reason: str
    p_value: float
    resolution: float


Decide = Callable[[Estimate, float, float, float], Decision]
"""Decides from an estimated departure, the rates alpha and beta, and the effect to resolve."""


@dataclass(frozen=True)
class Consequence:
    """One quantity to estimate, and what it should be at every width. In units of the scale, the two may differ by
    o(N^-order).

    ``states`` says whether it speaks of the claim's right-hand side. ``high`` says whether a value that is measured too
    high is truly too high, and ``low`` the same of too low. A search for a maximum finds too little, so that a low
    value proves nothing. ``crossover`` is the width from which on the difference falls as 1/N. Below it the difference
    may fall as slowly as 1/sqrt(N). A ``crossover`` of None stands for a polynomial in 1/N, and 0 for a law that the
    numbers alone must tell.
    """

    label: str
    product: sp.Expr
    predicted: Mapping[int, float]
    scale: Mapping[int, float]
    exact: bool
    order: int
    fourth: bool
    states: bool = True
    high: bool = True
    low: bool = True
    crossover: float | None = 0.0


Test = Consequence | Tail
"""What a check tests of a claim: a mean, or a count of networks."""


def consequences(claim: Claim, at: Mapping[str, float], widths: Sequence[int]) -> list[Test]:
    """The consequences of a claim, with the predictions as numbers. A probability or a quantile is tested at every
    width by itself.

    Raises ArgumentError for a claim that implies nothing that can be measured, or that has no scale.
    """
    if claim.relation is Relation.LAW and not claim.equations:
        raise ArgumentError(
            f"{claim.name} states a law without testable consequences; give the claim equations=(Equation(…), …)."
        )
    if not claim.equations and claim.rhs == 0 and not isinstance(claim.lhs, TAILS):
        raise ArgumentError(
            f"{claim.name} compares {claim.lhs} with 0, and does not say on which scale; "
            "give the claim equations=(Equation(label, lhs, RHS, scale),), of advmf.claim."
        )
    exact = Regime.LARGE_WIDTH not in claim.regime or math.isinf(max(widths))  # the limit is one width, by itself
    scale = RHS if isinstance(claim.lhs, Expectation) else scale_of(claim.lhs)
    own = Equation(str(claim.lhs), claim.subject, RHS, scale, exact)
    tests: list[Test] = []
    for stated in claim.equations or (own,):
        e = stated.of(claim.rhs)
        if isinstance(e.lhs, TAILS):
            tests += tails(claim, replace(e, lhs=claim.put_in(e.lhs)), at, widths, stated.states)
            continue
        if not isinstance(e.lhs, Expectation):
            raise ArgumentError(
                f"{claim.name}: the left-hand side must be an Expectation of observables to be measured, or a Probability or "
                f"a Quantile; got {e.lhs}."
            )
        product = numeric(e.lhs.args[0], at, widths)
        if measurable(product, int(at["d"]), int(at["K"])):
            predicted, scale = (at_widths(side, at, widths) for side in (e.rhs, e.scale))
            scale = {width: abs(size) for width, size in scale.items()}
            sides, slow = trusted(product, int(at["d"]), int(at["K"])), crossover(product, at)
            law = exact or e.exact, e.order, _degree(product) >= 4
            tests.append(Consequence(e.label, product, predicted, scale, *law, stated.states, *sides, slow))
    if not tests:
        d, K = min(least_sizes(stated.lhs) for stated in claim.equations or (own,))
        raise ArgumentError(
            f"{claim.name}: nothing it implies can be measured at d={at['d']}, K={at['K']}; take d >= {d} and K >= {K}."
        )
    if claim.relation.bound and any(value == 0 for test in tests for value in test.scale.values()):
        raise ArgumentError(
            f"{claim.name}: a bound of 0 at this point has no scale to resolve a departure on; give another point."
        )
    return tests


def numeric(expr: sp.Expr, at: Mapping[str, float], widths: Sequence[int]) -> sp.Expr:
    """An expression in which all but the observables is replaced by numbers, the same at every width.

    Raises ArgumentError for a coefficient that depends on the width, or is not finite.
    """
    return _numeric(expr, tuple(at.items()), tuple(widths))  # a claim and its wrong versions measure the same


@lru_cache(maxsize=1024)
def _numeric(expr: sp.Expr, point: tuple[tuple[str, float], ...], widths: tuple[int, ...]) -> sp.Expr:
    at, observables = dict(point), expr.atoms(Observable)
    letters = {s: sp.Float(at[s.name]) for s in expr.free_symbols if s.name in at}
    own = {o: o.func(*(arg.subs(letters) for arg in o.args)) for o in observables if o.free_symbols}
    expr = expr.xreplace(own)
    if not expr.is_polynomial(*map(own.get, observables, observables)):
        return expr.subs(letters)

    def measured(part: sp.Expr) -> sp.Expr:
        if part.has(Observable):
            return part if isinstance(part, Observable) else part.func(*map(measured, part.args))
        if not part.free_symbols:
            return part
        at_each = set(at_widths(part, at, widths).values())
        if len(at_each) > 1:
            raise ArgumentError(f"{part} depends on N, and is a factor of what is measured: {expr}.")
        return sp.Float(at_each.pop())

    # Multiplied out only now: long formulas among its factors have become numbers.
    return sp.expand(measured(expr))


@lru_cache(maxsize=1024)
def _degree(product: sp.Expr) -> int:
    """The total degree of a polynomial in observables, and 0 of what is none."""
    observables = sorted(product.atoms(Observable), key=str)
    return int(sp.Poly(product, *observables).total_degree()) if observables and product.is_polynomial() else 0


def crossover(product: sp.Expr, at: Mapping[str, float]) -> float | None:
    """The :attr:`Consequence.crossover` of a product. It is None for the capacity, and for moments of entries of
    outputs, Jacobians and streams.

    A norm of J, and what an attack finds, is that of a product of L random matrices K x d that N directions make up.
    Its first singular value is disturbed by others of size sqrt(K d) / N. These add up over the layers. The law in 1/N
    therefore begins at N = L sqrt(K d).

    >>> from advmf.observables import JacobianEntry, OperatorNorm
    >>> at = dict(L=10, d=784, K=10)
    >>> crossover(JacobianEntry(0, 0) ** 2, at), round(crossover(OperatorNorm(2, 2), at))
    (None, 885)
    """
    moment = product.is_polynomial() and all(o.polynomial for o in product.atoms(Observable))
    return None if moment else at["L"] * math.sqrt(at["K"] * at["d"])


def judge(
    test: Consequence,
    rungs: tuple[Rung, ...],
    alpha: float,
    design: Design,
    decide: Decide,
    noise: float,
    rounding: float = 0.0,
    doubt: str = "",
) -> Finding:
    """The finding on one consequence, from the means at every width. The departure, in units of the scale, is
    extrapolated and decided upon.

    Where a claim holds at every width, a departure below ``rounding``, relative to the scale, counts as none. Otherwise
    an identity would be refuted by its last digits, which scatter as little as they are off. Such a scatter has no tail
    either. A ``doubt`` about the means is a reason why there is no verdict.
    """
    top = rungs[-1].N
    predicted, scale = test.predicted[top], abs(test.scale[top])
    degree = 0 if test.exact else 2
    effect = design.effect_fourth if test.fourth or test.order else design.effect
    if not all(r.finite for r in rungs):
        return undecided(test.label, predicted, rungs, doubt, alpha, effect)
    if scale == 0:
        vanishes = max(abs(r.mean) for r in rungs) <= noise
        found = Verdict.SUPPORTED if vanishes else Verdict.REFUTED
        reason = f"identically zero up to rounding ({noise:.1g})" if vanishes else "not zero, and should be"
        mean = combine(rungs, degree)
        p_value = 1.0 if vanishes else 0.0
        return Finding(
            test.label, found, mean.value, mean.stderr, predicted, 0.0, noise, rungs, reason, p_value, alpha, effect
        )
    departures = []
    for r in rungs:
        unit = r.N**test.order / abs(test.scale[r.N])
        departure = r.scaled(unit, -test.predicted[r.N] * unit)
        departures.append(_unrounded(departure, rounding) if test.exact else departure)
    if doubt := doubt or overflown(departures, "float64"):
        return undecided(test.label, predicted, rungs, doubt, alpha, effect)
    estimate = extrapolated(test, departures, degree, alpha)
    decision = decide(estimate, alpha, design.beta, effect)
    if estimate.fit_p < alpha and not test.exact:
        decision = _without_law(departures, estimate, decision, test.order, alpha, design, effect, decide)
    value, stderr = predicted + scale * estimate.value, scale * estimate.error
    if len(set(test.predicted.values())) > 1:  # no common unit: simulated over predicted
        # A departure is in units of the scale without its sign; over a negative value, or coefficient of 1/N, it counts
        # the other way.
        sign = math.copysign(1.0, test.predicted[rungs[0].N] - predicted if test.order else predicted)
        value, stderr, predicted = 1 + sign * estimate.value, estimate.error, 1.0
        rungs = tuple(r.scaled(sign, 1.0) for r in departures)
    verdict, reason, p_value, resolved = decision
    return Finding(
        test.label, verdict, value, stderr, predicted, estimate.value, resolved, rungs, reason, p_value, alpha, effect
    )


def _unrounded(departure: Rung, rounding: float) -> Rung:
    """A departure without what rounding made of it. Where the networks scatter by rounding alone, it has no tail: the
    logarithms of such numbers say nothing of networks that were not seen."""
    if abs(departure.mean) > rounding:
        return departure
    scatter = departure.stderr * math.sqrt(departure.nets)
    return replace(departure, mean=0.0, spread=0.0 if scatter <= rounding else departure.spread)


def extrapolated(test: Consequence, departures: Sequence[Rung], degree: int, alpha: float) -> Estimate:
    """The departure at 1/N = 0 by a polynomial in 1/N. Beside it stands the departure by the slowest law a + b/N^s, 1/2
    <= s <= 1, that may be true.

    A ladder N, 2 N, 4 N, 8 N hardly tells the two laws apart. If s = 1/2 is true, the polynomial takes for the limit 61
    % of what is left at the widest networks. A slow law is ruled out in two cases. Either the ladder is above the
    crossover and a test of the law's fit, at half the rate, rejects it; or a coefficient of 1/N is claimed, and the
    claim itself says what the law is.
    """
    estimate = combine(departures, degree, test.order)
    if test.exact or test.order or test.crossover is None:
        return estimate
    for power in SLOW:
        slow = combine(departures, 1, power=power)
        if slow.fit_p >= alpha / 2 or departures[0].N < test.crossover:
            return replace(estimate, other=slow)
    return estimate


SLOW = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""The powers of 1/N by which a departure may fall."""


def undecided(label: str, predicted: float, rungs: Sequence[Rung], reason: str, alpha: float, effect: float) -> Finding:
    """The finding where the numbers say nothing."""
    last = rungs[-1]
    return Finding(
        label, Verdict.UNDERPOWERED, last.mean, last.stderr, predicted, math.nan, math.inf, tuple(rungs), reason, 1.0, alpha, effect
    )  # fmt: skip


def _without_law(
    departures: Sequence[Rung],
    estimate: Estimate,
    decision: Decision,
    order: int,
    alpha: float,
    design: Design,
    effect: float,
    decide: Decide,
) -> Decision:
    """The decision where the rungs follow no law in 1/N. There is no estimate of the limit, but the claimed limit may
    still be seen to be wrong."""
    reason = f"no 1/N law at these widths (p = {estimate.fit_p:.1g}); use larger N"
    found = decision._replace(verdict=Verdict.UNDERPOWERED, reason=reason, p_value=1.0)
    if _two_sided(decide) and (lasts := lasting(departures, alpha, effect)):
        found = found._replace(verdict=Verdict.REFUTED, reason=lasts, p_value=alpha)
    if order:  # N times a difference that does not vanish: is the limit itself wrong?
        limit = combine([r.scaled(1 / r.N**order) for r in departures], 2)
        lower = decide(limit, alpha, design.beta, effect)
        if lower.verdict is Verdict.REFUTED and limit.fit_p >= alpha:
            wrong = f"the limit is {lower.reason}, in units of the coefficient"
            found = found._replace(verdict=lower.verdict, reason=wrong, p_value=lower.p_value)
    return found


def _two_sided(decide: Decide) -> bool:
    return getattr(decide, "func", decide) is decide_equality


def lasting(departures: Sequence[Rung], alpha: float, effect: float) -> str:
    """Whether more than the effect would be left of a departure as N -> oo, even if it fell no faster than 1/sqrt(N)
    from the narrowest networks to the widest. A departure that grows, or hardly changes, does not vanish by any law."""
    first, last = departures[0], departures[-1]
    beyond = 1 / (math.sqrt(last.N / first.N) - 1)
    left = last.mean + beyond * (last.mean - first.mean)
    first_error, last_error = (r.stderr / math.sqrt(r.seen) if r.seen else math.inf for r in (first, last))
    stderr = math.hypot((1 + beyond) * last_error, beyond * first_error)
    reach = quantile(alpha / 2, min(first.freedom, last.freedom))
    if left * last.mean > 0 and abs(left) - effect > reach * stderr and abs(last.mean) - effect > reach * last_error:
        return f"the departure lasts: {first.mean:+.1%} at N = {first.N}, {last.mean:+.1%} at {last.N}"
    return ""


def decide_bound(estimate: Estimate, alpha: float, beta: float, effect: float) -> Decision:
    """One-sided: refuted if the departure is above 0; not refuted if one of ``effect`` would have been seen."""
    p_value, resolved = estimate.p_above(0.0), resolution(estimate, alpha, beta)
    if p_value < alpha:
        return Decision(
            Verdict.REFUTED, f"above the bound by {estimate.value:.1%} ± {estimate.error:.1%}", p_value, resolved
        )
    return _resolved(Verdict.NOT_REFUTED, p_value, resolved, effect, estimate)


def decide_equality(estimate: Estimate, alpha: float, beta: float, effect: float, tolerance: float = 0.0) -> Decision:
    """Two-sided: refuted if the departure is not 0, up to the tolerance.

    It is supported by an equivalence test of size ``beta``. That is passed where neither tail is refuted and a
    departure of ``effect`` would be. The departure's confidence bounds of level 1 - beta then lie within the effect and
    the tolerance on either side.
    """
    p_value = min(1.0, 2 * min(estimate.p_above(tolerance), estimate.p_below(-tolerance)))
    resolved = resolution(estimate, alpha, beta, sides=2)
    if p_value < alpha:
        return Decision(Verdict.REFUTED, f"off by {estimate.value:.1%} ± {estimate.error:.1%}", p_value, resolved)
    return _resolved(Verdict.SUPPORTED, p_value, resolved, effect, estimate)


def _resolved(verdict: Verdict, p_value: float, resolved: float, effect: float, estimate: Estimate) -> Decision:
    if resolved <= effect:
        return Decision(verdict, "", p_value, resolved)
    advice = []
    if resolved - estimate.apart > effect:
        laws = [estimate, estimate.other] if estimate.other else [estimate]
        rare = max(max(law.hidden) for law in laws) > RARE
        unseen = " (networks too rare to be seen may carry most of the variance)" if rare else ""
        advice.append(f"use more nets (nets=, or --networks){unseen}")
    if 2 * estimate.apart > effect or not advice:
        advice.append(f"use larger N: laws in 1/N and slower ones fit, {estimate.apart:.1%} apart")
    found = "resolves nothing" if math.isinf(resolved) else f"resolves {resolved:.1%}, wanted {effect:.0%}"
    return Decision(Verdict.UNDERPOWERED, f"{found}; {' and '.join(advice)}", p_value, resolved)


RARE = 2.0
"""From this factor on a standard error on, a reason names the networks that were not seen. Three quarters of the
variance are then theirs."""
