"""Check claims against simulated networks.

Networks of several widths are sampled, run on real images and attacked; each claim's consequences are estimated, extrapolated
to 1/N = 0 where the claim is about large width, and decided at the declared error rates.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from advmf.boundary import public
from advmf.claim import Claim
from advmf.simulate.data import Images
from advmf.simulate.ensemble import MEMORY
from advmf.simulate.race import DIRECTIONS, STEPS
from advmf.verify.judge import Consequence
from advmf.verify.pilot import piloted
from advmf.verify.report import Finding, Report
from advmf.verify.sequential import Look, last, require, watch
from advmf.verify.simulation import NETS, Measured, Simulation
from advmf.verify.statistics import Design
from advmf.verify.workers import Progress


@public
def check_all(
    claims: Sequence[Claim],
    at: Mapping[str, Any],
    *,
    seed: int = 0,
    widths: Sequence[int] | None = None,
    nets: int | Sequence[int] | str = NETS,
    data: str | Images = "digits",
    design: Design | None = None,
    steps: int = STEPS,
    restarts: int = 1,
    directions: int = DIRECTIONS,
    dtype: str = "float32",
    device: str = "cpu",
    memory: int = MEMORY,
    sampler: str = "auto",
    sequential: bool = False,
    progress: Progress | None = None,
    parts: MutableMapping[str, Any] | None = None,
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
    error rates. With ``sequential`` the simulation stops as soon as every consequence is decided, within the same rates: after
    1/2, 1/4, 1/8, … of the networks (:mod:`advmf.verify.sequential`); ``settings`` say when. ``progress`` is called as
    ``progress(share, what)``. ``parts`` holds what is finished of this very check, pilots, and each width up to each look, and gets the
    rest: a check that was broken off goes on by it. The same seed gives the same numbers on the same type of processor,
    with the same versions of the libraries and as many threads; elsewhere they agree within their standard errors.

    Raises ArgumentError or DomainError for missing, unknown or inadmissible values, MemoryBudgetError and DataError, all
    before anything is simulated.
    """
    started, earlier = time.perf_counter(), sum(part["seconds"] for part in (parts or {}).values())
    require(sequential)
    design = design or Design()
    options: dict[str, Any] = {
        "widths": widths, "data": data, "steps": steps, "restarts": restarts, "directions": directions, "dtype": dtype,
        "device": device, "memory": memory, "sampler": sampler,
    }  # fmt: skip
    pilots = {}
    if isinstance(nets, str):
        again = partial(check_all, claims, at, design=last(design, sequential), **options)
        pilots["pilot"] = piloted("nets", nets, lambda count, own: again(nets=count, seed=own), seed, parts)
        nets = int(pilots["pilot"]["chosen"])
    options |= {"sequential": sequential, "progress": progress, "parts": parts}
    simulation = Simulation(claims, at, seed=seed, nets=nets, **options)

    def judged(look: Look, design: Design) -> list[tuple[Finding, ...]]:
        found = simulation.upto(look)
        return [
            found.findings(c, group, design, design.alpha / len(group)) for c, group in zip(claims, simulation.groups)
        ]

    stands = watch(simulation.schedule, design, judged)
    simulation.finish()
    seconds = (earlier + time.perf_counter() - started) / len(claims)
    reports = []
    for claim, (findings, look) in zip(claims, stands):
        origin = {"regime": str(claim.regime), "heuristic": claim.heuristic, **simulation.settings(look), **pilots}
        settings = {**origin, "design": asdict(design)}
        reports.append(Report(*named(claim), findings, simulation.at, seed, seconds, settings))
    return reports


def named(claim: Claim) -> tuple[str, str, str | None, str | None]:
    """What a report calls a claim: its name, its net's, p and q."""
    p, q = (None if e is None else str(e).replace("oo", "inf") for e in (claim.p, claim.q))
    return claim.name, str(claim.net.name if claim.net else ""), p, q


def measured(
    claims: Sequence[Claim], at: Mapping[str, Any], **options: Any
) -> tuple[Measured, list[list[Consequence]]]:
    """What :func:`check_all` judges the claims by, and the consequences of each claim; the arguments are its own."""
    simulation = Simulation(claims, at, **options)
    return simulation.upto(simulation.schedule[-1]), simulation.groups
