"""The verdict on norms of matrices, which are found from below and bounded from above: on their means, on the slopes of
these over a ladder of dimensions, and on probabilities and quantiles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from advmf.claim import Claim, Relation
from advmf.verify.counted import Sample, judge_counts
from advmf.verify.judge import undecided
from advmf.verify.moments import Running
from advmf.verify.soundness import overflown
from advmf.verify.statistics import Design, Estimate, Rung, combine, resolution
from advmf.verify.tails import TAILS, of_matrices
from advmf.verify.values import value
from advmf.verify.verdict import Finding, Verdict

NORM_EFFECT, SLOPE_EFFECT = 0.02, 0.05
"""The relative departure of a mean norm, and the departure of an exponent, that a check must resolve."""


class Rungs(NamedTuple):
    """The means of what was found at each dimension, and of its certified upper bounds."""

    found: Sequence[Rung]
    certified: Sequence[Rung]


def judge_norms(
    claim: Claim,
    norms: Sequence[tuple[torch.Tensor, torch.Tensor]],
    rungs: Sequence[Mapping[str, Any]],
    along: str,
    design: Design,
) -> Finding:
    """The finding on a claim, from the norms at every rung."""
    if isinstance(claim.lhs, TAILS):
        return _counted(claim, norms[0], rungs[0], design)
    means = Rungs(*([_mean(rung[along], side) for rung, side in zip(rungs, sides)] for sides in zip(*norms)))
    if claim.relation is Relation.ORDER:
        return slope(
            claim, means, rungs, along, design, overflown([*means.found, *means.certified], "float64", "matrices")
        )
    return _level(claim, means, rungs[0], design)


def _counted(
    claim: Claim, norms: tuple[torch.Tensor, torch.Tensor], at: Mapping[str, float], design: Design
) -> Finding:
    """A probability or a quantile of norms, that were found and are bounded, against the claim's right-hand side."""
    (test,), width = of_matrices(claim, at), int(at["d"])
    lower, upper = (test.sign * side.numpy() for side in norms)
    least, most = (lower, upper) if test.sign > 0 else (upper, lower)
    sample = Sample(width, test.sign * norms[0].numpy(), least, most)
    doubt = overflown([_mean(width, side) for side in norms], "float64", "matrices")
    effect, rates = NORM_EFFECT if test.deltas else design.effect_probability, (design.alpha, design.beta)
    return judge_counts(test, [sample], claim.relation, claim.allowed(at), rates, effect, doubt, "samples")


def _level(claim: Claim, means: Rungs, at: Mapping[str, int], design: Design) -> Finding:
    """A mean norm against the claim's right-hand side."""
    (mean,), (upper,), predicted = *means, value(claim.rhs, at)
    if doubt := overflown((mean, upper), "float64", "matrices"):
        return undecided(str(claim.lhs), predicted, means.found, doubt, design.alpha, NORM_EFFECT)
    departures = [combine([m.scaled(1 / predicted, -1.0)], 0) for m in (mean, upper)]
    relation, tolerance = claim.relation, claim.allowed(at)
    return _finding(
        str(claim.lhs),
        relation,
        mean.mean,
        mean.stderr,
        predicted,
        departures,
        means.found,
        tolerance,
        NORM_EFFECT,
        design,
    )


def slope(
    claim: Claim, means: Rungs, rungs: Sequence[Mapping[str, float]], along: str, design: Design, doubt: str = ""
) -> Finding:
    """The slope of the logarithm of the means' sizes over a ladder against that of the claimed order; none where there
    is a ``doubt`` about them."""
    size = np.log([r.N for r in means.found])
    weight = (size - size.mean()) / ((size - size.mean()) ** 2).sum()
    predicted = float(weight @ np.log([value(claim.rhs, rung) for rung in rungs]))
    if not doubt and len({math.copysign(1.0, r.mean) for r in means.found}) > 1:
        doubt = "the mean changes its sign over the ladder; use more samples"
    if doubt:
        found = undecided(f"slope in ln {along}", predicted, means.found, doubt, design.alpha, SLOPE_EFFECT)
        return replace(found, estimate=math.nan, stderr=math.inf)
    steepest = [high if w > 0 else low for w, low, high in zip(weight, *means)]
    slopes, departures = [], []
    for chosen in (means.found, steepest):
        slopes.append(float(weight @ np.log([abs(r.mean) for r in chosen])))
        parts = weight * [r.stderr / r.mean for r in chosen]  # of the logarithms, to first order
        stderr = float(np.sqrt((parts**2).sum()))
        skew = float((parts**3 * [r.skew / math.sqrt(r.nets) for r in chosen]).sum()) / (stderr**3 or 1.0)
        departures.append(Estimate(slopes[-1] - predicted, stderr, chosen[0].nets - 1, skew=skew))
    label, error = f"slope in ln {along}", departures[0].stderr
    return _finding(
        label,
        Relation.APPROX,
        slopes[0],
        error,
        predicted,
        departures,
        means.found,
        claim.allowed(rungs[-1]),
        SLOPE_EFFECT,
        design,
    )


def _finding(
    label: str,
    relation: Relation,
    value: float,
    stderr: float,
    predicted: float,
    departures: Sequence[Estimate],
    means: Sequence[Rung],
    tolerance: float,
    effect: float,
    design: Design,
) -> Finding:
    """A departure must be <= 0, >= 0 or 0 within the tolerance. Above, the norms that were found refute; below, the
    certified bounds."""
    found, certified = departures
    sides = 1 if relation.bound else 2
    high = found.p_above(tolerance) if relation.above else 1.0
    low, lower = (each.p_below(-tolerance) if relation.below else 1.0 for each in (certified, found))
    alpha, p_value = design.alpha / sides, min(1.0, sides * min(high, low))
    verdict, reason = (Verdict.NOT_REFUTED if sides == 1 else Verdict.SUPPORTED), ""
    resolved = resolution(found, design.alpha, design.beta, sides)
    if high < alpha:
        verdict, reason = Verdict.REFUTED, f"off by {found.value:+.3f} ± {found.stderr:.3f}"
    elif low < alpha:
        verdict, reason = Verdict.REFUTED, f"off by {certified.value:+.3f} ± {certified.stderr:.3f} or more"
    elif lower < alpha:
        verdict, reason = Verdict.UNDERPOWERED, f"{found.value:+.3f}: too high, unless the search missed the norm"
    elif not resolved <= effect:
        verdict, reason = Verdict.UNDERPOWERED, f"resolves {resolved:.3f}, wanted {effect:g}; use more samples"
    return Finding(
        label,
        verdict,
        value,
        stderr,
        predicted,
        found.value,
        resolved,
        tuple(means),
        reason,
        p_value,
        design.alpha,
        effect,
    )


def _mean(size: int, values: torch.Tensor) -> Rung:
    running = Running(1)
    running.add(values.numpy()[:, None])
    return running.rung(size)
