"""Which departures contradict a claim: those that its relation rules out, on the side on which the measured numbers can
be trusted.

An attack, or any other search for a maximum, finds too little and never too much. So "at most" is contradicted by the
large values that a search finds. "At least" is never contradicted: the search may have missed larger values.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from advmf.claim import Relation
from advmf.verify.judge import Consequence, Decide, Decision, decide_bound, decide_equality
from advmf.verify.statistics import Estimate
from advmf.verify.verdict import Finding, Verdict


def deciding(relation: Relation, tolerance: float) -> Decide:
    """How an estimated departure is decided upon. A bound has a one-sided test, to the side that breaks it; an equality
    a two-sided one."""
    if not relation.below:
        return partial(_at_most, tolerance=tolerance) if tolerance else decide_bound
    if not relation.above:
        return partial(_at_least, tolerance=tolerance)
    return partial(decide_equality, tolerance=tolerance)


def _at_most(estimate: Estimate, alpha: float, beta: float, effect: float, tolerance: float) -> Decision:
    return decide_bound(estimate.shifted(-tolerance), alpha, beta, effect)


def _at_least(estimate: Estimate, alpha: float, beta: float, effect: float, tolerance: float) -> Decision:
    """The decision on a lower bound. A value far above the bound scatters widely in units of it, and may exclude a
    departure of ``effect`` all the same."""
    turned = estimate.mirrored
    found = _at_most(turned, alpha, beta, effect, tolerance)
    if found.verdict is Verdict.UNDERPOWERED and turned.p_below(effect + tolerance) < beta:
        return found._replace(verdict=Verdict.NOT_REFUTED, reason="")
    return found._replace(reason=found.reason.replace("above", "below"))


def sound(finding: Finding, test: Consequence) -> Finding:
    """The finding, as far as it contradicts the claim. On a side on which a search may have missed the maximum, no
    departure refutes, however large it is."""
    if test.high if finding.departure > 0 else test.low:
        return finding
    found = replace(finding, p_value=1.0)
    if finding.verdict is not Verdict.REFUTED:
        return found
    reason = f"{finding.reason}; but this is about the best that a search found of a maximum, and refutes nothing on that side"
    return replace(found, verdict=Verdict.UNDERPOWERED, reason=reason)
