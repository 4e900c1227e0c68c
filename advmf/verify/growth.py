"""Check how the adversarial loss, and what inherits it, grows with a dimension: attacked networks over a ladder, and the slope of ln against ln."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import sympy as sp

from advmf.claim import Claim
from advmf.errors import ArgumentError
from advmf.verify.check import check_all
from advmf.verify.matrices import Rungs, slope
from advmf.verify.report import Report
from advmf.verify.statistics import Design
from advmf.verify.workers import Progress


def check_growth(
    claims: Sequence[Claim],
    at: Mapping[str, Any],
    *,
    ladder: Sequence[int],
    along: str = "d",
    seed: int = 0,
    design: Design | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> list[Report]:
    """Check claims of growth (:func:`advmf.growth` of :func:`advmf.loss_bound` or :func:`advmf.variance_slope`) on attacked networks.

    At each dimension of the ``ladder``, ``along`` d or K, the mean adversarial loss, or slope, is measured as by :func:`advmf.check_all`, which takes
    ``at`` and the other options, at the largest of its widths; the exponent is judged as in :func:`advmf.verify.matrices.check_matrices`. An
    attack bounds the loss from below, so what is measured is the order of what attacks find.

    Raises ArgumentError as they do.

    >>> import advmf as mf
    >>> claim = mf.growth(mf.loss_bound(mf.vanilla(u=1, v=0), 2, 2), "d")
    >>> at = dict(L=1, K=2, sigma_w=2**0.5, sigma_b=0, eps=0.1, N=64)
    >>> report = mf.check(claim, at=at, ladder=(256, 1024, 4096), along="d", nets=60)
    >>> report.verdict, abs(report.estimate) < 0.05
    (<Verdict.SUPPORTED: 'SUPPORTED'>, True)
    """
    started = time.perf_counter()
    design = design or Design()
    if along not in ("d", "K") or len(set(ladder)) < 3:
        raise ArgumentError(
            f"A slope takes along='d' or 'K' and three dimensions at least; got {along!r}, {list(ladder)}."
        )
    measured = [replace(claim, relation="<=", formula=sp.S.One, regime=claim.regime, tolerance=0.0) for claim in claims]
    found: list[list[Report]] = []
    for value in sorted(ladder):
        step = None if progress is None else _share(progress, len(ladder), f"{along}={value}")
        found.append(check_all(measured, {**at, along: value}, seed=seed, progress=step, **options))
    seconds = (time.perf_counter() - started) / len(claims)
    reports = []
    for i, claim in enumerate(claims):
        tops = [each[i].findings[0].rungs[-1] for each in found]
        means = [replace(top, N=int(each[i].at[along])) for each, top in zip(found, tops)]
        points = [each[i].at for each in found]
        finding = slope(claim, Rungs(means, means), points, along, design)
        settings = {**found[-1][i].settings, "along": along, "ladder": list(ladder), "design": asdict(design)}
        last = found[-1][i]
        reports.append(Report(claim.name, last.net, last.p, last.q, (finding,), dict(at), seed, seconds, settings))
    return reports


def _share(progress: Progress, parts: int, what: str) -> Progress:
    return lambda share, inner: progress(share / parts, f"{what} {inner}")
