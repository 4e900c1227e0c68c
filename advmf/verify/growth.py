"""Check how the adversarial loss, and what inherits it, grows with a dimension: attacked networks over a ladder, and the slope of ln against ln."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import sympy as sp

from advmf.boundary import public
from advmf.claim import Claim
from advmf.errors import ArgumentError
from advmf.verify.check import named
from advmf.verify.matrices import Rungs, portion, slope
from advmf.verify.pilot import piloted
from advmf.verify.report import Finding, Report
from advmf.verify.sequential import Look, last, require, watch
from advmf.verify.simulation import NETS, Simulation
from advmf.verify.statistics import Design
from advmf.verify.workers import Progress


@public
def check_growth(
    claims: Sequence[Claim],
    at: Mapping[str, Any],
    *,
    ladder: Sequence[int],
    along: str = "d",
    seed: int = 0,
    nets: int | Sequence[int] | str = NETS,
    design: Design | None = None,
    sequential: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> list[Report]:
    """Check claims of growth (:func:`advmf.growth` of :func:`advmf.loss_bound` or :func:`advmf.variance_slope`) on attacked networks.

    At each dimension of the ``ladder``, ``along`` d or K, the mean adversarial loss, or slope, is measured as by :func:`advmf.check_all`, which takes
    ``at`` and the other options (pilots and early stops are about the exponent here), at the largest of its widths; the exponent is judged
    as in :func:`advmf.verify.matrices.check_matrices`. An attack bounds the loss from below, so what is measured is the order of what attacks
    find.

    Raises ArgumentError as they do.

    >>> import advmf as mf
    >>> claim = mf.growth(mf.loss_bound(mf.vanilla(u=1, v=0), 2, 2), "d")
    >>> at = dict(L=1, K=2, sigma_w=2**0.5, sigma_b=0, eps=0.1, N=64)
    >>> report = mf.check(claim, at=at, ladder=(256, 1024, 4096), along="d", nets=60)
    >>> report.verdict, abs(report.estimate) < 0.05
    (<Verdict.SUPPORTED: 'SUPPORTED'>, True)
    """
    started = time.perf_counter()
    require(sequential)
    design = design or Design()
    if along not in ("d", "K") or len(set(ladder)) < 3:
        raise ArgumentError(
            f"A slope takes along='d' or 'K' and three dimensions at least; got {along!r}, {list(ladder)}."
        )
    if "parts" in options:
        raise ArgumentError(
            "A check of growth always starts afresh: parts go by width, which is the same at all dimensions; leave parts out."
        )
    pilots = {}
    if isinstance(nets, str):
        again = partial(
            check_growth, claims, at, ladder=ladder, along=along, design=last(design, sequential), **options
        )
        pilots["pilot"] = piloted("nets", nets, lambda count, own: again(nets=count, seed=own), seed)
        nets = int(pilots["pilot"]["chosen"])
    measured = [replace(claim, relation="<=", formula=sp.S.One, equations=(), tolerance=0.0) for claim in claims]
    options |= {"seed": seed, "nets": nets, "sequential": sequential}
    parts = []
    for value in sorted(ladder):
        step = portion(progress, len(ladder), f"{along}={value}")
        parts.append(Simulation(measured, {**at, along: value}, progress=step, **options))
    points = [part.at for part in parts]

    def judged(look: Look, design: Design) -> list[tuple[Finding]]:
        found = [part.upto(look) for part in parts]
        findings = []
        for i, claim in enumerate(claims):
            tests = [part.groups[i][0] for part in parts]
            tops = [each.tables[test.product][-1] for each, test in zip(found, tests)]
            means = [replace(top, N=int(point[along])) for top, point in zip(tops, points)]
            doubts = (
                f"at {along} = {r.N}: {why}" for each, test, r in zip(found, tests, means) if (why := each.doubt(test))
            )
            findings.append((slope(claim, Rungs(means, means), points, along, design, next(doubts, "")),))
        return findings

    stands = watch(parts[-1].schedule, design, judged)
    for part in parts:
        part.finish()
    seconds = (time.perf_counter() - started) / len(claims)
    reports = []
    for claim, (findings, look) in zip(claims, stands):
        origin = {"regime": str(claim.regime), "heuristic": claim.heuristic, **parts[-1].settings(look), **pilots}
        settings = {**origin, "along": along, "ladder": list(ladder), "design": asdict(design)}
        reports.append(Report(*named(claim), findings, dict(at), seed, seconds, settings))
    return reports
