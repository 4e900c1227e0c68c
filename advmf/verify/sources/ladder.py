"""Check how the adversarial loss, and what inherits it, grows with a dimension: attacked networks over a ladder, and
the slope of ln against ln."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import sympy as sp

from advmf.boundary import public
from advmf.claim import Claim, Relation
from advmf.errors import ArgumentError
from advmf.progress import Progress, shown
from advmf.simulate.probe import AttackSettings
from advmf.verify.check import Run, checked, named
from advmf.verify.norms import Rungs, slope
from advmf.verify.sequential import Look
from advmf.verify.sources.arguments import NETS, Sampling, arranged
from advmf.verify.sources.matrices import portion
from advmf.verify.sources.simulation import Simulation
from advmf.verify.statistics import Design
from advmf.verify.tails import require_level
from advmf.verify.verdict import Finding, Report


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
    progress: Progress | bool | None = None,
    **options: Any,
) -> list[Report]:
    """Check claims of growth (:func:`advmf.growth` of :func:`advmf.loss_bound` or :func:`advmf.variance_slope`) on
    attacked networks.

    The ``ladder`` has several dimensions, ``along`` d or K. At each, the mean adversarial loss, or slope, is measured
    as by :func:`advmf.check_all`, at the largest of its widths. ``at`` and the other options are those of that
    function; pilots and early stops are about the exponent here. The exponent is judged as in
    :func:`advmf.verify.sources.matrices.check_matrices`. An attack bounds the loss from below, so the measured order is
    that of the losses that attacks find.

    Raises ArgumentError as they do.

    >>> import advmf as mf
    >>> claim = mf.growth(mf.loss_bound(mf.vanilla(u=1, v=0), 2, 2), "d")
    >>> at = dict(L=1, K=2, sigma_w=2**0.5, sigma_b=0, eps=0.1, N=64)
    >>> report = mf.check(claim, at=at, ladder=(128, 512, 2048), along="d", nets=100, directions=1, steps=4)
    >>> report.verdict, abs(report.estimate) < 0.05
    (<Verdict.SUPPORTED: 'SUPPORTED'>, True)
    """
    if "parts" in options:
        raise ArgumentError(
            "A check of growth always starts afresh: parts go by width, which is the same at all dimensions; leave parts out."
        )
    sampling, attack, run = arranged({**options, "nets": nets, "seed": seed, "sequential": sequential})

    def sourced(claims: Sequence[Claim], run: Run) -> Ladder:
        return Ladder(claims, at, (along, ladder), (sampling, attack), run)

    with shown(progress) as told:
        return checked(claims, sourced, replace(run, progress=told), "nets", design)


class Ladder:
    """The networks of a check of growth, at each dimension of its ladder."""

    def __init__(
        self,
        claims: Sequence[Claim],
        at: Mapping[str, Any],
        over: tuple[str, Sequence[int]],
        how: tuple[Sampling, AttackSettings],
        run: Run,
    ) -> None:
        along, ladder = over
        if along not in ("d", "K") or len(set(ladder)) < 3:
            raise ArgumentError(
                f"A slope takes along='d' or 'K' and three dimensions at least; got {along!r}, {list(ladder)}."
            )
        for claim in claims:
            require_level(claim)
        self.at, self._claims, self._along, self._ladder = at, claims, along, list(ladder)
        measured = [
            replace(claim, relation=Relation.AT_MOST, formula=sp.S.One, equations=(), tolerance=0.0) for claim in claims
        ]
        self._parts = []
        for value in sorted(ladder):
            own = replace(run, progress=portion(run.progress, len(ladder), f"{along}={value}"))
            self._parts.append(Simulation(measured, {**at, along: value}, *how, own))

    @property
    def schedule(self) -> Sequence[Look]:
        return self._parts[-1].schedule

    def judged(self, look: Look, design: Design) -> list[tuple[Finding]]:
        """The finding on each claim."""
        found = [part.upto(look) for part in self._parts]
        points, along, findings = [part.at for part in self._parts], self._along, []
        for i, claim in enumerate(self._claims):
            tests = [part.groups[i][0] for part in self._parts]
            tops = [each.tables[test.product][-1] for each, test in zip(found, tests)]
            means = [replace(top, N=int(point[along])) for top, point in zip(tops, points)]
            doubts = (
                f"at {along} = {r.N}: {why}" for each, test, r in zip(found, tests, means) if (why := each.doubt(test))
            )
            findings.append((slope(claim, Rungs(means, means), points, along, design, next(doubts, "")),))
        return findings

    def finish(self) -> None:
        """No more networks are wanted."""
        for part in self._parts:
            part.finish()

    def settings(self, claim: Claim, look: Look) -> dict[str, Any]:
        """Where the numbers on a claim come from."""
        return {**self._parts[-1].settings(claim, look), "along": self._along, "ladder": self._ladder}

    def named(self, claim: Claim) -> tuple[str, str, str | None, str | None]:
        return named(claim)
