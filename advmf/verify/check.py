"""The one loop of a check: pilots, looks, reports. A pilot is a small first run that finds the sample size. A look is a
test of the numbers so far. The numbers come from a source (:mod:`advmf.verify.sources`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from advmf.claim import Claim
from advmf.progress import Progress
from advmf.verify.pilot import piloted
from advmf.verify.sequential import Look, last, require, watch
from advmf.verify.statistics import Design
from advmf.verify.verdict import Finding, Report


@dataclass(frozen=True)
class Run:
    """How a check is run. ``count`` is the number of networks or matrices, or ``"pilot"``. ``sequential`` lets it stop
    early.

    ``progress`` is told of the work done. ``parts`` holds the finished parts of the check, and gets the others as they
    finish.
    """

    count: Any
    seed: int = 0
    sequential: bool = False
    progress: Progress | None = None
    parts: MutableMapping[str, Any] | None = None


class Source(Protocol):
    """Numbers for a check: of networks, of Gaussian matrices, or of a ladder of dimensions."""

    @property
    def at(self) -> Mapping[str, Any]:
        """The point of the reports."""

    @property
    def schedule(self) -> Sequence[Look]:
        """The looks that may be taken."""

    def judged(self, look: Look, design: Design) -> Sequence[Sequence[Finding]]:
        """The findings on each claim, from the numbers of a look and at its error rates."""

    def finish(self) -> None:
        """No more numbers are wanted."""

    def settings(self, claim: Claim, look: Look) -> Mapping[str, Any]:
        """Where the numbers on a claim come from."""

    def named(self, claim: Claim) -> tuple[str, str, str | None, str | None]:
        """What a report calls a claim: its name, the name of its net, p and q."""


Sourced = Callable[[Sequence[Claim], Run], Source]
"""A function that makes the source of a run. It raises for everything that can be wrong, before any work."""


def checked(
    claims: Sequence[Claim],
    sourced: Sourced,
    run: Run,
    size: str,
    design: Design | None = None,
    *,
    piloted_by: Sequence[Claim] | None = None,
    spread: Callable[[int], Any] = lambda count: count,
) -> list[Report]:
    """One report for each claim, in order, by numbers from a source.

    ``size`` is the argument's name by which users know the ``count`` of the run. Pilots are about the claims in
    ``piloted_by``, by default all. ``spread`` turns the number that pilots find into the count that the source takes.
    """
    started, earlier = time.perf_counter(), sum(part["seconds"] for part in (run.parts or {}).values())
    require(run.sequential)
    design = design or Design()
    pilots: dict[str, Any] = {}
    if isinstance(run.count, str):
        chosen, rates = claims if piloted_by is None else piloted_by, last(design, run.sequential)

        def pilot(count: int, seed: int) -> list[Report]:
            return checked(chosen, sourced, Run(spread(count), seed), size, rates)

        pilots["pilot"] = piloted(size, run.count, pilot, run.seed, run.parts)
        run = replace(run, count=spread(int(pilots["pilot"]["chosen"])))
    source = sourced(claims, run)
    stands = watch(source.schedule, design, source.judged)
    source.finish()
    seconds = (earlier + time.perf_counter() - started) / len(claims)
    reports = []
    for claim, (findings, look) in zip(claims, stands):
        origin = {"regime": str(claim.regime), "heuristic": claim.heuristic, **source.settings(claim, look), **pilots}
        shared = {"together": len(claims)} if len(claims) > 1 else {}
        settings = {**origin, **shared, "design": asdict(design)}
        reports.append(Report(*source.named(claim), findings, dict(source.at), run.seed, seconds, settings, claim))
    return reports


def named(claim: Claim) -> tuple[str, str, str | None, str | None]:
    """What a report calls a claim about a net."""
    p, q = (None if e is None else str(e).replace("oo", "inf") for e in (claim.p, claim.q))
    return claim.name, str(claim.net.name if claim.net else ""), p, q
