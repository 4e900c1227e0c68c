"""Check claims against simulated networks.

Networks of several widths are sampled, run on real images and attacked; each claim's consequences are estimated, extrapolated
to 1/N = 0 where the claim is about large width, and decided at the declared error rates.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from advmf.claim import Claim
from advmf.errors import ArgumentError
from advmf.simulate.data import Images
from advmf.simulate.ensemble import MEMORY
from advmf.verify.judge import Consequence
from advmf.verify.report import Report
from advmf.verify.simulation import NETS, Measured, Simulation
from advmf.verify.statistics import Design
from advmf.verify.workers import Progress

PILOT = 64
"""Networks of each width in the first pilot."""
ROOM = 1.5
"""How many more networks are taken than a pilot asks for, whose own scatter is uncertain."""
LARGEST = 1000.0
"""The most that the first pilot grows by; what would need more comes out UNDERPOWERED."""


def check_all(
    claims: Sequence[Claim],
    at: Mapping[str, Any],
    *,
    seed: int = 0,
    widths: Sequence[int] | None = None,
    nets: int | Sequence[int] | str = NETS,
    data: str | Images = "digits",
    design: Design | None = None,
    steps: int = 10,
    restarts: int = 1,
    directions: int = 16,
    dtype: str = "float32",
    device: str = "cpu",
    memory: int = MEMORY,
    sampler: str = "auto",
    progress: Progress | None = None,
) -> list[Report]:
    """Check claims about one net on the same sampled networks; one report per claim, in order.

    ``at`` gives ``L``, ``d``, ``K``, the net's symbols, ``eps`` for adversarial losses, and optionally ``x_sq`` (1 if not given:
    every image is scaled to |x|²/d = x_sq) and ``N``. Claims about large width are simulated at ``widths``, by default
    N/8, N/4, N/2 and N (1024 if not given), with ``nets`` networks each (or a number for each width; by ``"pilot"`` as many as
    pilots with other networks ask for, to resolve what ``design`` declares), and extrapolated by a polynomial of degree 2 in 1/N; claims that
    hold at every width are averaged over the widths. ``sampler`` and ``memory`` are those of
    :func:`advmf.simulate.sample`: wide networks are simulated without their weights, and where the attacks of one network would
    outgrow ``memory``, the pairs (p, q) are shared among several. Every network sees its own image, drawn from ``data`` (a name
    or path for :func:`advmf.simulate.load`) and resampled to ``d`` pixels if need be.

    ``steps``, ``restarts`` and ``directions`` are those of the attack (:func:`advmf.simulate.attack_trace`). ``design`` declares the
    error rates. ``progress`` is called as ``progress(share, what)``. The same seed gives the same
    numbers.

    Raises ArgumentError or DomainError for missing, unknown or inadmissible values, MemoryBudgetError and DataError, all
    before anything is simulated.
    """
    started = time.perf_counter()
    design = design or Design()
    options: dict[str, Any] = {
        "widths": widths, "data": data, "steps": steps, "restarts": restarts, "directions": directions, "dtype": dtype,
        "device": device, "memory": memory, "sampler": sampler, "progress": progress,
    }  # fmt: skip
    if isinstance(nets, str):
        nets = _piloted(claims, at, nets, design, seed, options)
    found, groups = measured(claims, at, seed=seed, nets=nets, **options)
    seconds = (time.perf_counter() - started) / len(claims)
    reports = []
    for claim, group in zip(claims, groups):
        findings = found.findings(claim, group, design, design.alpha / len(group))
        p, q = (None if e is None else str(e).replace("oo", "inf") for e in (claim.p, claim.q))
        settings = {
            "regime": str(claim.regime),
            "heuristic": claim.heuristic,
            **found.settings,
            "design": asdict(design),
        }
        name = str(claim.net.name if claim.net else "")
        reports.append(Report(claim.name, name, p, q, findings, found.at, seed, seconds, settings))
    return reports


def _piloted(
    claims: Sequence[Claim], at: Mapping[str, Any], nets: str, design: Design, seed: int, options: Mapping[str, Any]
) -> int:
    """The networks of each width that resolve every consequence: pilots grow until one does, for the scatter of heavy tails shows late.

    Their networks are not used again.
    """
    if nets != "pilot":
        raise ArgumentError(f"nets is a number of networks, one for each width, or 'pilot'; got {nets!r}.")
    count, most = PILOT, int(PILOT * LARGEST)
    while True:
        pilot = check_all(claims, at, seed=-count - seed * most, nets=count, design=design, **options)
        found = [f.resolution / f.effect for report in pilot for f in report.findings if math.isfinite(f.resolution)]
        needed = ROOM * max(found, default=1.0) ** 2
        if needed <= ROOM or count == most:
            return math.ceil(count * min(max(needed, 0.25), ROOM))
        count = min(math.ceil(count * min(needed, 4.0)), most)


def measured(
    claims: Sequence[Claim], at: Mapping[str, Any], **options: Any
) -> tuple[Measured, list[list[Consequence]]]:
    """What :func:`check_all` judges the claims by, and the consequences of each claim; the arguments are its own."""
    simulation = Simulation(claims, at, **options)
    return simulation.upto(simulation.ladder), simulation.groups
