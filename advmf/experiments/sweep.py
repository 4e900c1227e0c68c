"""A claim along a quantity: theory as a curve, simulation as points with error bars, a verdict at every point.

Every point is a case of a suite, and so has its negative controls, its share of the error rate, its entry in a store.
"""

from __future__ import annotations

import itertools
import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from advmf.boundary import public, whole
from advmf.claim import Claim, Regime, Relation
from advmf.drawing import Drawing
from advmf.errors import ArgumentError, refuse_unused
from advmf.experiments.sweep_plot import plotted
from advmf.outputs import Output
from advmf.progress import Progress, shown
from advmf.report.document import Document, of_outcomes
from advmf.report.html import html
from advmf.symbols import SYMBOLS
from advmf.tabled import Records, Tabled, html_table
from advmf.theorems.theorem import MatrixScale, Scale, family
from advmf.verify.runs import Outcome, run
from advmf.verify.runs import family as together
from advmf.verify.sources.arguments import NETS, ladder_of, validated
from advmf.verify.suite import Case, Profile
from advmf.verify.verdict import Finding, Report, Reports, Verdict

SAMPLES = 400
"""Gaussian matrices of each point, unless told otherwise."""
OPTIONS = ("directions", "restarts", "steps", "dtype", "device", "memory", "sampler", "design")
"""Further arguments of :func:`advmf.check_all` that a sweep takes."""


@dataclass(frozen=True)
class Place:
    """One point of a sweep: the claim, its report, those of its negative controls, and the swept ``values``."""

    claim: Claim
    activation: str
    values: Mapping[str, float]
    report: Report
    controls: tuple[Report, ...]


@dataclass(frozen=True)
class Sweep(Tabled):
    """A claim, or several, along a quantity. ``axes`` names the swept quantities, the first of which is the horizontal
    axis of a figure. ``places`` has the points in order, ``errors`` those that ended in an error, as text.

    A sweep that was interrupted is not ``complete``, and has the points that were finished. ``document`` is what
    reports are made of.
    """

    axes: tuple[str, ...]
    places: tuple[Place, ...]
    document: Document
    errors: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every point came to an end."""
        return self.document.complete

    @property
    def reports(self) -> Reports:
        """The report of each point."""
        return Reports(place.report for place in self.places)

    def records(self) -> Records:
        """A row for each point and each finding, and along N for each width."""
        return [row for place in self.places for row in _rows(place, self.axes)]

    def json(self, path: Path | str | Output | None = None) -> str:
        """The results as JSON, as ``advmf check --json`` writes them, also written to ``path`` if one is given."""
        return _written(json.dumps(self.document.to_dict(), indent=1, allow_nan=False) + "\n", path)

    def html(self, path: Path | str | Output | None = None) -> str:
        """The report as a page (docs/reports.md), also written to ``path`` if one is given."""
        return _written(html(self.document), path)

    def plot(self, path: Path | str | Output | None = None, size: str | float = "one") -> Drawing:
        """The curve of the theory with the simulated points, and their ratio below. Raises ArgumentError where no point
        is finished."""
        return plotted(self, path, size)

    def _texts(self) -> list[list[str]]:
        """The table of the points, as texts; the first row has the heads."""
        heads = [*self.axes, "simulated", "predicted", "ratio", "verdict"]
        several = len({_name(place) for place in self.places}) > 1
        rows = [[*([_name(place)] if several else []), *_cells(place, self.axes)] for place in self.places]
        return [["claim", *heads] if several else heads, *rows]

    def _repr_html_(self) -> str:
        heads, *rows = self._texts()
        return html_table(rows, heads) + ("" if self.complete else "<p>not complete: some points are not finished</p>")

    def __str__(self) -> str:
        texts = self._texts()
        several = texts[0][0] == "claim"
        widths = [max(map(len, column)) for column in zip(*texts)]
        lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in texts]
        if not several and self.places:
            lines.insert(0, _name(self.places[0]))
        controls = [report for place in self.places for report in place.controls]
        refuted = sum(report.verdict is Verdict.REFUTED for report in controls)
        lines += [*self.errors, f"negative controls refuted: {refuted} of {len(controls)}"]
        lines += [f"negative control not refuted: {name}" for name in self.document.missed]
        return "\n".join([*lines, *([] if self.complete else ["not complete: some points are not finished"])])


@public
def sweep(
    claims: Claim | Sequence[Claim],
    over: Mapping[str, Any],
    at: Mapping[str, Any] | None = None,
    *,
    nets: int = NETS,
    samples: int = SAMPLES,
    widths: Sequence[int] | str | None = None,
    data: str = "digits",
    seed: int = 0,
    store: Path | str | None = None,
    resume: bool = False,
    workers: int = 1,
    progress: Progress | bool | None = None,
    **options: Any,
) -> Sweep:
    """Check a claim at every value of a quantity: the theory's curve, simulated points with errors, and verdicts.

    ``over`` has the values of one quantity by name, such as ``dict(L=[2, 4, 8])``; with a second one every value of it
    has a curve of its own. ``at`` has all other values, as for :func:`advmf.check`. Several claims are curves of one
    figure; those about the same net are measured on the same networks. ``nets`` are the networks of each width,
    ``widths`` the ladder of a point, or "limit" for infinite width, and ``samples`` the matrices of a claim about
    matrices. Over N, the values are the widths of one check, with one verdict. ``data``, ``directions``, ``restarts``,
    ``steps``, ``dtype``, ``device``, ``memory``, ``sampler`` and ``design`` are those of :func:`advmf.check_all`.

    The false-refute rate of 1 % is shared among all points, and each has its negative controls. Finished points are
    kept in the file ``store``, from which ``resume`` goes on. Where the sweep is interrupted (Ctrl-C, or the stop
    button of a notebook), the finished points are returned, with a warning. A point that ends in an error is told, and
    the others are checked. ``workers`` are processes.

    Raises ArgumentError and DomainError for claims, quantities and values that cannot be checked, before any work, and
    what :func:`advmf.check_all` raises.

    >>> import advmf as mf
    >>> found = mf.sweep(mf.norm_factor(2, 2), over=dict(d=[20, 40, 80]), at=dict(K=5), samples=1000)
    >>> [str(report.verdict) for report in found.reports]
    ['SUPPORTED', 'SUPPORTED', 'SUPPORTED']
    >>> found.csv().splitlines()[0]
    'theorem,net,activation,p,q,d,finding,estimate,stderr,predicted,ratio,verdict,within,samples'
    """
    several = [claims] if isinstance(claims, Claim) else list(claims)
    _require(several, options)
    chosen = {"nets": nets, "samples": samples, "widths": widths, "data": data}
    return swept(
        lambda point: _cases(several, {**(at or {}), **point}, chosen),
        over,
        seed=seed,
        store=store,
        resume=resume,
        workers=workers,
        progress=progress,
        **options,
    )


def swept(
    cases: Callable[[Mapping[str, Any]], Sequence[Case]],
    over: Mapping[str, Any],
    *,
    seed: int = 0,
    progress: Progress | bool | None = None,
    command: str = "",
    said: Callable[[Outcome, Mapping[str, float]], None] = lambda outcome, values: None,
    **options: Any,
) -> Sweep:
    """The sweep of the cases that a function gives at each point. ``options`` go to :func:`advmf.verify.runs.run`;
    ``said`` is told of every finished case, with the swept values."""
    axes = _axes(over)
    widths = axes.get("N")
    names = [name for name in axes if name != "N"]
    points = [dict(zip(names, values)) for values in itertools.product(*(axes[name] for name in names))]
    pairs = [(point, case) for point in points for case in cases(point)]
    values, suite = [point for point, _ in pairs], [case for _, case in pairs]
    if widths is not None:
        suite = [_along_widths(case, [int(width) for width in widths], options.get("nets")) for case in suite]
    for case in suite:
        case.require()
        refuse_unused("over", set(names), case.uses)
    claims, found = sum(len(case.claims) for case in suite), list[Outcome]()
    with shown(progress, len(suite)) as told:
        try:
            with closing(run(suite, seed=seed, progress=told, command=command, **options)) as finished:
                for outcome in finished:
                    found.append(outcome)
                    said(outcome, values[outcome.position])
        except KeyboardInterrupt:
            kept = f", and {options['store']} keeps them" if options.get("store") else ""
            message = f"interrupted: {len(found)} of {len(suite)} points are finished{kept}"
            warnings.warn(message, stacklevel=3)
    outcomes = together(sorted(found, key=lambda outcome: outcome.position), claims)
    errors = [outcome.error for outcome in outcomes if outcome.error]
    if errors and len(errors) == len(suite):
        raise errors[0]
    document = of_outcomes(outcomes, seed, command, complete=len(outcomes) == len(suite))
    places = tuple(place for outcome in outcomes for place in _placed(outcome, values[outcome.position]))
    told_errors = tuple(_told(outcome, values[outcome.position]) for outcome in outcomes if outcome.error)
    return Sweep(tuple(axes), places, document, told_errors)


def _require(claims: Sequence[Claim], options: Mapping[str, Any]) -> None:
    for claim in claims:
        if not isinstance(claim, Claim):
            raise ArgumentError(
                f"sweep takes a Claim, such as advmf.loss_bound(net, p, q), or several; got {claim!r:.80}."
            )
        if claim.relation is Relation.ORDER:
            raise ArgumentError(
                f"{claim.name} is an order of growth, which is checked along a ladder at once: advmf.check(claim, at). Sweep the claim "
                "that it was made from."
            )
    if not claims:
        raise ArgumentError("sweep takes one claim at least; got none.")
    if unknown := sorted(set(options) - set(OPTIONS)):
        known = "nets, samples, widths, data, seed, store, resume, workers, progress"
        raise ArgumentError(f"sweep has no argument {unknown[0]}; its options are {known}, {', '.join(OPTIONS)}.")


def _axes(over: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    """The swept quantities with their values; raises ArgumentError for anything but one or two of the theory's."""
    if not isinstance(over, Mapping) or not 1 <= len(over) <= 2:
        raise ArgumentError(f"over has the values of one quantity, or of two, as dict(L=[2, 4, 8]); got {over!r:.80}.")
    found = {}
    for name, values in over.items():
        if name not in SYMBOLS:
            raise ArgumentError(f"{name!r} is no quantity of the theory; choose from {', '.join(SYMBOLS)}.")
        try:
            own = tuple(float(value) for value in values)
        except (TypeError, ValueError):
            own = ()
        if not own or len(set(own)) < len(own) or not all(map(math.isfinite, own)):
            raise ArgumentError(f"over[{name!r}] takes different finite numbers, as [2, 4, 8]; got {values!r:.80}.")
        if SYMBOLS[name].integer:
            own = tuple(whole(f"each value of {name}", int(v) if v == int(v) else v, 0) for v in own)
        found[name] = own
    return found


def _cases(claims: Sequence[Claim], at: Mapping[str, Any], chosen: Mapping[str, Any]) -> list[Case]:
    """The cases of the claims at a point: one for each net, and one for all claims about matrices."""
    found = []
    for net in dict.fromkeys(claim.net for claim in claims):
        own = tuple(claim for claim in claims if claim.net == net)
        name = family(own[0].name)
        scale: Scale | MatrixScale
        if net is None:
            sizes = {key: whole(key, at[key]) if key in at else None for key in ("d", "K")}
            if missing := [key for key, size in sizes.items() if size is None]:
                raise ArgumentError(f"at lacks {', '.join(missing)}; claims about matrices need d, K.")
            if other := sorted(set(at) - set(sizes)):
                raise ArgumentError(f"Claims about matrices are at d and K; got {other[0]!r}.")
            scale = MatrixScale(sizes["d"], sizes["K"], chosen["samples"])  # type: ignore[arg-type]
            point: dict[str, Any] = dict(sizes)
        else:
            _, valid = validated(own, at)
            point = {key: value for key, value in valid.items() if key != "N"}
            widths = ladder_of(own, valid, chosen["widths"], chosen["nets"])
            ladder: Any = "limit" if isinstance(chosen["widths"], str) else tuple(widths)
            scale = Scale(point["L"], point["d"], point["K"], ladder, tuple(widths.values()))
        profile = Profile("own", chosen["data"], {name: scale})
        found.append(Case(name, net, "", own, point, profile, own=scale))
    return found


def _along_widths(case: Case, widths: Sequence[int], nets: Any) -> Case:
    """The case on these widths."""
    if not isinstance(case.scale, Scale):
        raise ArgumentError(f"{case.theorem} is about matrices, which have no width N; sweep d or K.")
    large = any(Regime.LARGE_WIDTH in claim.regime for claim in case.claims)
    if large and (len(widths) < 3 or min(widths) < 4):
        raise ArgumentError(
            f"A claim about N -> oo is extrapolated from at least three widths of 4 and more; got {list(widths)}."
        )
    count = nets if isinstance(nets, int) else max(case.scale.nets)
    scale = replace(case.scale, widths=tuple(sorted(widths)), nets=(count,) * len(widths))
    return replace(case, own=scale)


def _placed(outcome: Outcome, values: Mapping[str, float]) -> list[Place]:
    """The points of a finished case, with the controls of each claim."""
    found = []
    for claim, report in zip(outcome.case.claims, outcome.reports):
        own = tuple(
            control
            for control in outcome.controls
            if control.theorem.startswith(claim.name) and (control.p, control.q) == (report.p, report.q)
        )
        found.append(Place(claim, outcome.case.activation, values, report, own))
    return found


def _told(outcome: Outcome, values: Mapping[str, float]) -> str:
    where = ", ".join(f"{name} = {value:g}" for name, value in values.items())
    return f"{outcome.case.theorem} {outcome.case.name} at {where}: {type(outcome.error).__name__}: {outcome.error}"


def _name(place: Place) -> str:
    """The claim of a point in words: theorem, net, activation and exponents."""
    pair = f"({place.report.p}, {place.report.q})" if place.report.p else ""
    return " ".join(filter(None, (place.report.theorem, place.report.net, place.activation, pair)))


def _measured(place: Place, finding: Finding, axes: Sequence[str]) -> list[tuple[dict[str, float], float, float, int]]:
    """What was measured at a point: the swept values, the mean, its standard error, the number of networks. Along N it
    is that of every width."""
    if "N" in axes:
        return [({**place.values, "N": r.N}, r.mean, r.stderr, r.nets) for r in finding.rungs]
    count = sum(rung.nets for rung in finding.rungs)
    return [(dict(place.values), finding.estimate, finding.stderr, count)]


def _rows(place: Place, axes: Sequence[str]) -> Records:
    report = place.report
    return [
        {
            "theorem": report.theorem, "net": report.net, "activation": place.activation, "p": report.p, "q": report.q,
            **{name: values[name] for name in axes},
            "finding": f.label, "estimate": mean, "stderr": stderr, "predicted": f.predicted,
            "ratio": mean / f.predicted if f.predicted else math.nan, "verdict": str(f.verdict),
            "within": f.resolution, "samples": count,
        }
        for f in report.findings
        for values, mean, stderr, count in _measured(place, f, axes)
    ]  # fmt: skip


def _cells(place: Place, axes: Sequence[str]) -> list[str]:
    """The cells of a point in a table of text, by its first finding."""
    f, report = place.report.findings[0], place.report
    values = [f"{place.values[name]:g}" if name in place.values else "all" for name in axes]
    ratio = f"{f.ratio:.3f}" if f.predicted else ""
    verdict = " ".join(filter(None, (report.verdict.lower().replace("_", " "), report.margin)))
    return [*values, f"{f.estimate:.5g} ± {f.stderr:.1g}", f"{f.predicted:.5g}", ratio, verdict]


def _written(text: str, path: Path | str | Output | None) -> str:
    if path is not None:
        (path if isinstance(path, Output) else Output(path)).write(text)
    return text
