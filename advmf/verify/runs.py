"""A suite is run: on one process or many, into a file that survives interrupts."""

from __future__ import annotations

import math
import pickle
import re
import time
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import cloudpickle

from advmf import __version__
from advmf.boundary import whole
from advmf.claim import Claim
from advmf.errors import AdvmfError, ArgumentError, CaseError, WorkerError
from advmf.observables import ATTACK, Observable
from advmf.progress import TAKEN_OVER, Progress
from advmf.simulate.data import load
from advmf.theorems import SHIPPED
from advmf.verify.controls import controls, differs, weak
from advmf.verify.provenance import source_sha256
from advmf.verify.records import Record, Results, canonical, key
from advmf.verify.sources.arguments import LEAST_SEED
from advmf.verify.sources.limit import LIMIT, require_limit
from advmf.verify.statistics import Design, holm
from advmf.verify.store import Store, opened
from advmf.verify.suite import FAMILY_ALPHA, Case
from advmf.verify.verdict import Report, Verdict
from advmf.verify.workers import Pool, Unfinished, compute, one_thread

ALLOCATION = re.compile(r"out of memory|allocate memory|alloc_cpu|bad_alloc", re.IGNORECASE)
"""Matches the errors that torch raises where memory is short."""
PACKAGED = frozenset(theorem.name for whole in SHIPPED for theorem in (whole, *whole.parts))
"""The names of the package's own theorems."""
PATIENCE = 60.0
"""After this many seconds a worker hands in the finished parts of a case."""


@dataclass(frozen=True)
class Outcome:
    """The reports of a case, and those of its negative controls, or the ``error`` that it ended in; ``position`` is the
    case's in the suite."""

    position: int
    case: Case
    reports: tuple[Report, ...]
    controls: tuple[Report, ...]
    error: AdvmfError | None = None


@dataclass(frozen=True)
class Job:
    """A case, with ``settings``: all that its numbers depend on. ``beside`` are the suite's cases about the same
    network at other points. They decide which of the case's wrong versions are checked here, and which there."""

    position: int
    case: Case
    beside: tuple[Case, ...]
    settings: Mapping[str, Any]

    @cached_property
    def mutants(self) -> tuple[Claim, ...]:
        """The wrong versions of its claims. They take seconds to derive, and so a worker derives them."""
        return wrong_versions(self.case, self.beside)

    def packed(self, parts: Mapping[str, Any]) -> Packed:
        """The job as workers get it, with its finished parts."""
        name = f"{self.case.theorem} {self.case.name} {self.case.activation}".strip()
        try:
            content = cloudpickle.dumps((self.case, self.beside, self.settings))
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise ArgumentError(
                f"{name} cannot be sent to a worker: {error}. What its claims use of a file of one's own is sent by value; keep functools.cache, "
                "open files and locks out of it."
            ) from None
        return Packed(name, content, parts, PATIENCE)

    def keys(self, hashes: Mapping[str, str]) -> list[str]:
        """The key of each claim and mutant in a store. Data enter by the hash of their content."""
        at = {name: value if math.isfinite(value) else str(value) for name, value in self.case.at.items()}
        settings = {"at": at, "version": code_version(), **self.case.settings(self.settings)}
        settings["proportions"] = self.case.proportions  # of what pilots find
        settings |= {"file": self.case.code} if self.case.code else {}
        if "data" in settings:
            settings["data"] = hashes[_name(settings["data"])]
        settings["design"] = asdict(self.settings["design"])
        return [key(canonical(claim), settings) for claim in (*self.case.claims, *self.mutants)]

    def outcome(self, reports: Sequence[Report]) -> Outcome:
        count = len(self.case.claims)
        return Outcome(self.position, self.case, tuple(reports[:count]), tuple(reports[count:]))

    def records(self, keys: Sequence[str], reports: Sequence[Report]) -> list[Record]:
        """What the store keeps of the job's reports."""
        case, count = self.case, len(self.case.claims)
        found = []
        for i, (name, claim, report) in enumerate(zip(keys, (*case.claims, *self.mutants), reports)):
            said = canonical(claim) | (case.statements[i] if i < count else {})
            found.append(
                Record(name, self.position, i >= count, case.theorem, case.name, case.activation, said, report)
            )
        return found


@dataclass(frozen=True)
class Packed:
    """A job as bytes. Unpacking may rewrite formulas, so that values agree but not their last digits. So every process,
    the coordinator too, computes from the same bytes."""

    name: str
    content: bytes
    parts: Mapping[str, Any]
    patience: float

    def perform(
        self, progress: Progress | None = None, keep: Callable[[Mapping[str, Any]], None] | None = None
    ) -> list[dict[str, Any]] | Unfinished | AdvmfError:
        """The reports of the claims and of the mutants, as JSON-ready values, or the error that the case ends in. The
        other cases of a suite go on after it. ``keep`` gets the finished parts meanwhile. Without ``keep``, as on a
        worker, a long job stops and hands them in; it is then sent again with them."""
        case, beside, settings = pickle.loads(self.content)
        parts = Parts(self.parts, keep, self.patience)
        try:
            with one_thread():
                mutants = wrong_versions(case, beside)
                return [r.to_dict() for r in case.check(mutants, {**settings, "progress": progress, "parts": parts})]
        except HandedIn:
            return Unfinished(dict(parts), replace(self, parts=dict(parts)))
        except AdvmfError as error:
            return error
        except Exception as error:
            if _lacks_memory(error):
                return WorkerError(
                    f"There is not enough memory for {self.name} ({str(error).splitlines()[0] if str(error) else 'MemoryError'}). What was "
                    "finished is kept: give fewer workers (--workers) or less memory (--memory), and go on with resume=True (--resume)."
                )
            unexpected = CaseError(f"{type(error).__name__}: {error}")
            unexpected.add_note("".join(traceback.format_exception(error)))
            return unexpected


def _lacks_memory(error: Exception) -> bool:
    """Whether memory was short. Torch's allocator raises a RuntimeError."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(ALLOCATION.search(str(error))))


class HandedIn(Exception):
    """A job ends for now, so that its finished parts can be kept."""


class Parts(dict[str, Any]):
    """The finished parts of a job, by name. They are given to ``keep`` at once, or handed in after ``patience``
    seconds."""

    def __init__(
        self, found: Mapping[str, Any], keep: Callable[[Mapping[str, Any]], None] | None, patience: float
    ) -> None:
        super().__init__(found)
        self._keep, self._end = keep, time.monotonic() + patience

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        if self._keep:
            self._keep({name: value})
        elif time.monotonic() >= self._end:
            raise HandedIn


def run(
    suite: Sequence[Case],
    *,
    seed: int = 0,
    progress: Progress | None = None,
    store: Path | str | None = None,
    resume: bool = False,
    command: str = "",
    workers: int = 1,
    backend: str = "loky",
    scheduler: str | None = None,
    pool: Pool | None = None,
    **options: Any,
) -> Generator[Outcome]:
    """Check the cases of a suite; ``options`` go to :func:`advmf.check_all`. Each case is final, and in the ``store``,
    when it is yielded.

    ``nets`` is the number of networks of the smallest width; wider ones get fewer, in the proportions of the profile.
    Cases come as they finish, in this process or on ``workers`` (:func:`advmf.verify.workers.compute`), and their
    numbers are the same on any number of workers. Those of a single claim and no attack are begun first, so that the
    first verdict comes soon, and the attacks on wide networks next, so that no long case is left for the end. With
    ``resume``, the finished cases of the ``store`` come first, as they were. They are not computed again, nor are the
    finished widths of other cases. The device "cuda" stands for all GPUs: the cases are dealt out to them.

    An error within a case is the outcome of that case alone: it has the ``error`` and no reports, and all other cases
    are checked. The ``store`` keeps the error until ``resume`` tries the case again. What can be known to be wrong
    beforehand is raised before any work.

    Raises as :func:`advmf.check_all`, :func:`advmf.verify.store.opened` and :func:`advmf.verify.workers.compute` do.
    """
    whole("seed", seed, LEAST_SEED)
    if not isinstance(design := options.get("design"), Design | None):
        raise ArgumentError(f"design is a Design, such as advmf.Design(alpha=0.01); got {design!r:.80}.")
    if resume and store is None:
        raise ArgumentError("resume=True (--resume) goes on with a results file; give it with store= (--store FILE).")
    if scheduler is None:  # a cluster has devices of its own
        require_device(options.get("device", "cpu"))
    if isinstance(widths := options.get("widths"), str):
        for case in suite:
            require_limit(case.claims, case.at, widths)
    for case in suite:
        case.require()
    jobs = _jobs(suite, seed, options)
    hashes = _hashes(jobs)
    where: Any = nullcontext((None, Results({}, "", ())))
    keys: list[list[str]] = []
    for job in jobs:
        if job.case.theorem not in PACKAGED:  # somebody's own may have none, which is told before any work
            _ = job.mutants
    if store is not None:
        keys = [job.keys(hashes) for job in jobs]
        where = opened(store, _configuration(jobs, keys, hashes, seed), command=command, resume=resume)
    with where as (file, found):
        assert file is None or isinstance(file, Store)
        for job in (job for job in jobs if job.position in found.finished):
            if progress:
                progress(1.0, TAKEN_OVER)
            yield job.outcome([record.report for record in found.records if record.position == job.position])
        rest = [job for job in jobs if job.position not in found.finished]
        rest.sort(key=_turn)
        packed = [job.packed(found.finished_parts(job.position)) for job in rest]

        def keep(number: int, parts: Mapping[str, Any]) -> None:
            if isinstance(file, Store):
                file.keep(rest[number].position, parts)

        options = {"workers": workers, "backend": backend, "scheduler": scheduler, "pool": pool}
        computed = compute(packed, progress=progress, keep=keep, **options)
        with closing(computed):
            for number, values in computed:
                job = rest[number]
                if isinstance(values, AdvmfError):
                    if file is not None:
                        file.fail(job.position, type(values).__name__, str(values))
                    yield Outcome(job.position, job.case, (), (), values)
                    continue
                reports = [Report.from_dict(value) for value in values]
                if file is not None:
                    file.add(job.records(keys[job.position], reports))
                yield job.outcome(reports)


def _turn(job: Job) -> tuple[int, int]:
    """When a case is begun, and among those of the same turn those of few claims first."""
    case, claims = job.case, len(job.case.claims)
    attacked = any(ATTACK in o.needs for claim in case.claims for o in claim.lhs.atoms(Observable))
    limit = case.net is not None and case.settings(job.settings)["widths"] == LIMIT
    turn = (3 if limit else 1) if attacked else 0 if claims == 1 else 2
    return turn, claims


def family(outcomes: Sequence[Outcome], claims: int, rate: float = FAMILY_ALPHA) -> list[Outcome]:
    """The outcomes with the verdicts of Holm's rule over all ``claims`` of a suite, also those that are not checked
    yet.

    Each claim was judged at the rate that Bonferroni's rule gives it. Where some are refuted, fewer claims share
    ``rate``, and each of them gets more. A claim that is refuted at the larger rate becomes REFUTED. Negative controls
    are no part of the family.
    """
    judged = iter(together([report for outcome in outcomes for report in outcome.reports], claims, rate))
    return [replace(o, reports=tuple(islice(judged, len(o.reports)))) for o in outcomes]


def together(reports: Sequence[Report], claims: int, rate: float = FAMILY_ALPHA) -> list[Report]:
    """Reports of a suite of ``claims``, with the verdicts of :func:`family`."""
    missing = [1.0] * (claims - len(reports))
    rejected = holm([*(report.p_value for report in reports), *missing], rate)
    return [_refuted(report, claims) if no else report for report, no in zip(reports, rejected)]


def _refuted(report: Report, claims: int) -> Report:
    """The report with the verdict REFUTED, for its finding with the smallest p-value, unless it is REFUTED already."""
    if report.verdict is Verdict.REFUTED:
        return report
    worst = min(report.findings, key=lambda finding: finding.p_value)
    reason = f"off by {worst.departure:+.1%}: p = {worst.p_value:.1g}, by Holm's rule over {claims} claims"
    changed = replace(worst, verdict=Verdict.REFUTED, reason=reason)
    return replace(report, findings=tuple(changed if f is worst else f for f in report.findings))


def settings_of(suite: Sequence[Case], seed: int, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the numbers of each case depend on besides its claims: the options that are not None, the seed, the error
    rates, and its device."""
    alpha = FAMILY_ALPHA / sum(len(case.claims) for case in suite)
    chosen = {name: value for name, value in options.items() if value is not None}
    devices = _devices(chosen.get("device", "cpu"))
    return [
        {
            **chosen,
            "seed": seed,
            "design": chosen.get("design") or case.design(alpha),
            "device": devices[i % len(devices)],
        }
        for i, case in enumerate(suite)
    ]


def _jobs(suite: Sequence[Case], seed: int, options: Mapping[str, Any]) -> list[Job]:
    found = zip(suite, settings_of(suite, seed, options))
    return [Job(position, case, beside(case, suite), settings) for position, (case, settings) in enumerate(found)]


def beside(case: Case, suite: Sequence[Case]) -> tuple[Case, ...]:
    """The cases of a suite that are about the same network at another point."""
    same = case.theorem, case.activation, case.net
    return tuple(other for other in suite if other is not case and (other.theorem, other.activation, other.net) == same)


def wrong_versions(case: Case, beside: Sequence[Case] = ()) -> tuple[Claim, ...]:
    """The negative controls of a case.

    A control may change next to nothing at the point of its case, such as L + 1 for L at omega = 1. It is then left to
    one of the cases ``beside`` at whose point it differs. Where there is none, it is checked all the same, under the
    name that :func:`weak` gives it. Otherwise nobody would learn that the check cannot tell it from the claim.

    Raises ArgumentError for a claim of which no wrong version is known.
    """
    found = []
    for claim in case.claims:
        mutants = controls(claim)
        if not mutants:
            raise ArgumentError(
                f"{claim.name}: its theorem knows no wrong version of it, so that nothing shows that its check can fail. Let wrong(claim) return "
                "a list of wrong claims."
            )
        if len({each.name for each in (claim, *mutants)}) <= len(mutants):
            raise ArgumentError(
                f"{claim.name}: wrong must give each wrong version a name of its own, as Claim.scaled does."
            )
        for mutant in mutants:
            if differs(claim, mutant, case.point):
                found.append(mutant)
            elif not any(_told(claim, mutant, other) for other in beside):
                found.append(weak(mutant))
    return tuple(found)


def _told(claim: Claim, mutant: Claim, other: Case) -> bool:
    """Whether another case has the same claim, and its point tells the mutant from it."""
    same = any((own.name, own.p, own.q) == (claim.name, claim.p, claim.q) for own in other.claims)
    return same and differs(claim, mutant, other.point)


def require_device(device: str) -> None:
    """Raise ArgumentError for a device that is not there."""
    import torch

    try:
        torch.empty(0, dtype=torch.float32, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ArgumentError(f"Here there is no device {device!r} ({reason}); give cpu, cuda or cuda:0.") from None


def _devices(device: str) -> list[str]:
    import torch

    count = torch.cuda.device_count() if device == "cuda" else 0
    return [f"cuda:{number}" for number in range(count)] if count > 1 else [device]


def _name(data: Any) -> str:
    return data if isinstance(data, str) else str(data.name)


def _hashes(jobs: Sequence[Job]) -> dict[str, str]:
    """The hash of each data set. Raises DataError for one that cannot be read, before any work."""
    wanted = [settings["data"] for job in jobs if "data" in (settings := job.case.settings(job.settings))]
    named = {_name(data): data for data in wanted}
    return {name: (load(data) if isinstance(data, str) else data).sha256 for name, data in named.items()}


def code_version() -> str:
    """The version, with the hash of the package's files. It identifies the code that computed a result, with or without
    git."""
    return f"{__version__}+{source_sha256()[:12]}"


def _configuration(
    jobs: Sequence[Job], keys: Sequence[Sequence[str]], hashes: Mapping[str, str], seed: int
) -> dict[str, Any]:
    """The configuration of a run. Two runs with the same configuration have the same numbers."""
    options = {name: value for name, value in jobs[0].settings.items() if name not in ("seed", "design", "data")}
    return {
        "version": code_version(),
        "seed": seed,
        "data": dict(hashes),
        "options": options,
        "design": asdict(jobs[0].settings["design"]),
        "cases": [
            {
                "theorem": job.case.theorem,
                "net": job.case.name,
                "activation": job.case.activation,
                "claims": len(job.case.claims),
                "keys": list(own),
            }
            for job, own in zip(jobs, keys)
        ],
    }
