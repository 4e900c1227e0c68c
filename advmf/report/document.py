"""The results of a run, from the run itself, from its store, or from its JSON."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from advmf import __version__
from advmf.errors import StoreError, printable
from advmf.inputs import reading
from advmf.theorems import THEOREMS
from advmf.theorems.selection import PAIRS
from advmf.theorems.theorem import family
from advmf.verify.foreign import LARGEST, loads, valid
from advmf.verify.records import ADDED, FORMAT, STATED, Results, of_another_format, statement
from advmf.verify.runs import Outcome, together
from advmf.verify.store import read as read_store
from advmf.verify.suite import FAMILY_ALPHA, Case
from advmf.verify.verdict import Report, Verdict


@dataclass(frozen=True)
class Checked:
    """A checked claim: its ``case`` (a theorem of the catalogue), the activation, the statement, and the report.

    ``statement`` has the keys of :func:`advmf.verify.records.statement`.
    """

    case: str
    activation: str
    statement: Mapping[str, Any]
    report: Report
    place: str = ""
    """The values of its point that tell it from the same claim at other points of the run."""

    @property
    def title(self) -> str:
        """See :func:`title`; with the place."""
        return " ".join(filter(None, (title(self.case, self.activation, self.report), self.place)))


@dataclass(frozen=True)
class Failed:
    """A case that ended in an error, so that nothing is known of its claims. ``kind`` is the error's type."""

    case: str
    net: str
    activation: str
    kind: str
    text: str

    @property
    def title(self) -> str:
        """Theorem, network and activation."""
        return " ".join(filter(None, (self.case, self.net, self.activation)))


def title(case: str, activation: str, report: Report) -> str:
    """Theorem, network, activation and exponents, which identify a claim or a negative control within a run."""
    name, bracket, mistake = report.theorem.partition(" [")
    name = case if case.startswith(f"{name}.") else name  # T6.d and T6.K are both about T6
    pair = f"p={report.p} q={report.q}" if report.p else ""
    limit = "N=inf" if report.given else ""
    return " ".join(filter(None, (f"{name}{bracket}{mistake}", report.net, activation, pair, limit)))


def places(named: Sequence[tuple[str, Report]]) -> list[str]:
    """For each of the reports with their titles: the values of its point that differ among the reports of the same
    title, as "L=4"; empty where there is no other."""
    groups: dict[str, list[Report]] = {}
    for name, report in named:
        groups.setdefault(name, []).append(report)
    varied = {
        name: [key for key in reports[0].at if len({report.at.get(key) for report in reports}) > 1]
        for name, reports in groups.items()
    }
    return [" ".join(f"{key}={report.at[key]:.6g}" for key in varied[name]) for name, report in named]


def _placed(claims: Sequence[Checked]) -> tuple[Checked, ...]:
    found = places([(claim.title, claim.report) for claim in claims])
    return tuple(replace(claim, place=place) if place else claim for claim, place in zip(claims, found))


@dataclass(frozen=True)
class Document:
    """The results of a run. ``controls`` is the number of negative controls, ``names`` are their names, and ``missed``
    are those that were not refuted. JSON of older versions has only the names of the missed ones. ``errors`` are the
    cases that ended in an error; a run is ``complete`` when every case has come to its end, also to such a one."""

    version: str
    seed: int
    command: str
    complete: bool
    claims: tuple[Checked, ...]
    controls: int
    missed: tuple[str, ...]
    seconds: float
    names: tuple[str, ...] = ()
    errors: tuple[Failed, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """The number of claims with each verdict."""
        found = Counter(str(claim.report.verdict) for claim in self.claims)
        return {str(verdict): found[verdict] for verdict in Verdict}

    @property
    def told(self) -> str:
        """The number of cases that ended in an error, in words; empty if there are none."""
        return (
            f"{len(self.errors)} {'case' if len(self.errors) == 1 else 'cases'} ended in an error"
            if self.errors
            else ""
        )

    def to_dict(self) -> dict[str, Any]:
        """The results as JSON-ready values: what ``advmf check --json`` writes."""
        return {
            "format": FORMAT,
            "version": self.version,
            "seed": self.seed,
            "command": self.command,
            "results": [
                {**c.report.to_dict(), "activation": c.activation, "case": c.case, "statement": dict(c.statement)}
                for c in self.claims
            ],
            **({"errors": [asdict(failed) for failed in self.errors]} if self.errors else {}),
            "summary": {
                **self.counts,
                "complete": self.complete,
                "seconds": round(self.seconds, 2),
                "controls": {
                    "total": self.controls,
                    "refuted": self.controls - len(self.missed),
                    "missed": list(self.missed),
                    "names": list(self.names),
                },
            },
        }


@dataclass(frozen=True)
class _Statement(Mapping[str, Any]):
    """What a case states of one of its claims. It is typeset when it is asked for, as a table on a terminal never
    does."""

    case: Case
    number: int

    def __getitem__(self, name: str) -> Any:
        return self.case.statements[self.number][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.case.statements[self.number])

    def __len__(self) -> int:
        return len(self.case.statements[self.number])


def of_outcomes(outcomes: Sequence[Outcome], seed: int, command: str, complete: bool) -> Document:
    """The document of a run, from its outcomes so far."""
    claims = [
        Checked(o.case.theorem, o.case.activation, _Statement(o.case, number), report)
        for o in outcomes
        for number, report in enumerate(o.reports)
    ]
    controls = [(title(o.case.theorem, o.case.activation, r), r) for o in outcomes for r in o.controls]
    errors = [
        Failed(o.case.theorem, o.case.name, o.case.activation, type(o.error).__name__, str(o.error))
        for o in outcomes
        if o.error
    ]
    return _document(__version__, seed, command, complete, claims, controls, errors)


def of_reports(reports: Sequence[Report]) -> Document:
    """The document of reports that were made in Python, each with its own error rate."""
    claims = [Checked(family(r.theorem), "", _said(r), r) for r in reports]
    names = [f"{r.theorem} [{name}]" for r in reports for name in r.controls]
    verdicts = [verdict for r in reports for verdict in r.controls.values()]
    missed = tuple(name for name, verdict in zip(names, verdicts) if verdict != Verdict.REFUTED)
    seconds = sum(r.seconds for r in reports)
    return Document(__version__, reports[0].seed, "", True, _placed(claims), len(names), missed, seconds, tuple(names))


def _said(report: Report) -> Mapping[str, Any]:
    """What a report's claim states; of a report that was read from a file, only what it measured is known."""
    if report.claim is not None:
        return statement(report.claim)
    label = report.findings[0].label
    none = {
        "where": {},
        "regime": str(report.settings.get("regime", "")),
        "heuristic": "",
        "assumptions": [],
        "source": "",
    }
    return {"latex": label, "subject": label, **none}


def of_store(results: Results) -> Document:
    """The document of a store, with the verdicts of Holm's rule over the run's claims."""
    run, claims = results.configuration, [record for record in results.records if not record.control]
    reports = together(
        [record.report for record in claims],
        sum(case["claims"] for case in run["cases"]),
        run.get("rate", FAMILY_ALPHA),
    )
    checked = [
        Checked(r.theorem, r.activation, {name: r.claim[name] for name in (*STATED, *ADDED) if name in r.claim}, report)
        for r, report in zip(claims, reports)
    ]
    controls = [(title(r.theorem, r.activation, r.report), r.report) for r in results.records if r.control]
    errors = [_failed(run["cases"][position], kind, text) for position, (kind, text) in sorted(results.errors.items())]
    return _document(run["version"], run["seed"], results.command, results.complete, checked, controls, errors)


def _failed(case: Mapping[str, Any], kind: str, text: str) -> Failed:
    theorem, net, activation = (str(case[name]) for name in ("theorem", "net", "activation"))
    return Failed(theorem, net, activation, kind, printable(text))


def _document(
    version: str,
    seed: int,
    command: str,
    complete: bool,
    claims: Sequence[Checked],
    controls: Sequence[tuple[str, Report]],
    errors: Sequence[Failed],
) -> Document:
    """The document of these parts; ``controls`` are given with their names."""
    claims, names = _placed(claims), places(controls)
    controls = [(" ".join(filter(None, (name, place))), r) for (name, r), place in zip(controls, names)]
    missed = tuple(name for name, r in controls if r.verdict != "REFUTED")
    seconds = sum(r.seconds for r in (*(c.report for c in claims), *(r for _, r in controls)))
    return Document(
        version,
        seed,
        command,
        complete,
        tuple(claims),
        len(controls),
        missed,
        seconds,
        tuple(name for name, _ in controls),
        tuple(errors),
    )


def read(path: Path | str) -> Document:
    """The results in a file: the store of ``advmf check --store``, also while a run is writing it, or the JSON of
    ``--json``.

    Raises StoreError for a file that is missing, is of another format, or holds anything else.
    """
    path = Path(path)
    with reading(path, StoreError, "Give what 'advmf check' wrote with --store or --json") as file:
        if (content := file.read(16)) != b"SQLite format 3\0":
            content += file.read(LARGEST)
    if content == b"SQLite format 3\0":
        return of_store(read_store(path))
    if len(content) >= LARGEST:
        raise StoreError(f"{path} holds no results of advmf: it has {LARGEST >> 20} MiB and more.")
    try:
        record = loads(content)
        number = int(record.get("format", 1))  # the first format had no number
        if {"version", "results", "summary"} <= set(record) and number != FORMAT:
            raise of_another_format(path, number, str(record["version"]), str(record.get("command", "")))
        return _of_json(record)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise StoreError(
            f"{path} holds no results of advmf: neither the store that 'advmf check --store' writes, nor the JSON of --json."
        ) from None


def _of_json(record: Mapping[str, Any]) -> Document:
    summary, controls = record["summary"], record["summary"]["controls"]
    claims = tuple(
        Checked(_text(row["case"]), _text(row["activation"]), _statement(row["statement"]), valid(row))
        for row in record["results"]
    )
    return Document(
        _text(record["version"]), int(record["seed"]), _text(record["command"]), bool(summary["complete"]), _placed(claims),
        int(controls["total"]), tuple(map(_text, controls["missed"])), float(summary["seconds"]),
        tuple(map(_text, controls.get("names", ()))),
        tuple(Failed(*(_text(error[field.name]) for field in fields(Failed))) for error in record.get("errors", ())),
    )  # fmt: skip


def _statement(value: Mapping[str, Any]) -> Mapping[str, Any]:
    for text in (
        *(value[name] for name in ("latex", "subject", "regime", "heuristic", "source")),
        *(value[name] for name in ADDED if name in value),
        *value["assumptions"],
    ):
        _text(text)
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return printable(value)


_CHOICES = ("--theorem", "--net", "--activation")
_NAMED = (*_CHOICES[1:], "--p", "--q")
"""Options with which a theorem is checked for all networks at all pairs. Without them a network has its own pairs, and
numbers are those of all pairs that were asked for together."""
_ELSEWHERE = ("--store", "--workers", "--backend", "--scheduler", "--json")
"""Options that do not affect any number."""
_FILES = ("--plot", "--size", "--csv", "--report", "-o")
"""Options of a sweep about its output."""


def reproduction(command: str, claim: Checked | None = None) -> str:
    """The command that reproduces a run's numbers, or those of one claim and of everything checked on the same samples.

    Options about where results go and which processes compute them are left out. The command for one claim gives the
    numbers of the whole run, but shares the error rate among fewer claims. Where the rate affects the number of
    networks, by pilots or an early stop, the command is that of the whole run.

    >>> reproduction("advmf check --net residual --seed 1 --store=a.db --resume")
    'advmf check --net residual --seed 1'
    """
    if claim is not None and {"pilot", "sequential"} & set(claim.report.settings):
        claim = None
    drop = _ELSEWHERE if claim is None else (*_ELSEWHERE, *_CHOICES)
    try:
        words = list(_without(shlex.split(command), drop))
    except ValueError:
        return ""
    if words[:2] == ["advmf", "sweep"]:  # whose points share the error rate
        return shlex.join(_without(shlex.split(command), (*_ELSEWHERE, *_FILES)))
    if words[:2] != ["advmf", "check"]:
        return ""
    if claim is not None and not any(word.endswith(".py") for word in words):  # a file checks one claim
        chosen = "--quick" not in words  # whose networks are its own
        named = chosen and (any(word in command.split() for word in _NAMED) or _in_full(claim, "--full" in words))
        net = claim.report.net if claim.activation and named else ""
        for option, value in zip(_CHOICES, (claim.case, net, claim.activation if net else "")):
            words += [option, value] if value else []
    return shlex.join(words)


def _in_full(claim: Checked, full: bool) -> bool:
    """Whether a suite, or the one of --full, checks a claim's network as it does where the network is named: at all
    pairs, and by networks of one kind."""
    if claim.case not in THEOREMS:
        return True
    theorem, row, profile = THEOREMS[claim.case], (claim.report.net, claim.activation), "paper" if full else "quick"
    finite = theorem.selected.get(theorem.variant(profile, "finite"), {})
    return theorem.rows(profile).get(row, PAIRS) == PAIRS and (bool(claim.report.given) or row not in finite)


def _without(words: Sequence[str], options: Sequence[str]) -> Iterator[str]:
    rest = iter(words)
    for word in rest:
        name, equals, _ = word.partition("=")
        if name in options:
            if not equals:
                next(rest, None)
        elif word != "--resume":
            yield word
