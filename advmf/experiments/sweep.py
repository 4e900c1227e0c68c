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
from advmf.errors import AdvmfError, ArgumentError, refuse_unused
from advmf.experiments.sweep_plot import plotted
from advmf.outputs import Output, put
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
from advmf.verify.verdict import Finding, Report, Reports

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
        return put(json.dumps(self.document.to_dict(), indent=1, allow_nan=False) + "\n", path)

    def html(self, path: Path | str | Output | None = None) -> str:
        """The report as a page (docs/reports.md), also written to ``path`` if one is given."""
        return put(html(self.document), path)

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
        count = self.document.controls
        lines += [*self.errors, f"negative controls refuted: {count - len(self.document.missed)} of {count}"]
        lines += [f"negative control not refuted: {name}" for name in self.document.missed]
        return "\n".join([*lines, *([] if self.complete else ["not complete: some points are not finished"])])


@public
def sweep(
    claims: Claim | Sequence[Claim],
    over: Mapping[str, Any],
    at: Mapping[str, Any] | None = None,
    *,
    nets: int | None = None,
    samples: int | None = None,
    widths: Sequence[int] | str | None = None,
    data: str | None = None,
    seed: int = 0,
    store: Path | str | None = None,
    resume: bool = False,
    workers: int = 1,
    progress: Progress | bool | None = None,
    **options: Any,
) -> Sweep:
    """Check a claim at every value of a quantity: the theory's curve, simulated points with errors, and verdicts.

    ``over`` has the values of one quantity by name, such as ``dict(L=[2, 4, 8])``; with a second one every value of it
    has a curve of its own. ``at`` has all other values, as for :func:`advmf.check`; one of a swept quantity is not
    used. Several claims are curves of one figure; those about the same net are measured on the same networks. ``nets``
    are the networks of each width (128), ``widths`` the ladder of a point, or "limit" for infinite width, and
    ``samples`` the matrices of a claim about matrices (400). Over N, the values are the widths of one check, with one
    verdict. ``data`` ("digits"),
    ``directions``, ``restarts``, ``steps``, ``dtype``, ``device``, ``memory``, ``sampler`` and ``design`` are those of
    :func:`advmf.check_all`.

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
    simulated = {name: value for name, value in options.items() if name != "design"}
    _refuse_unused(several, {"nets": nets, "widths": widths, "data": data, **simulated}, {"samples": samples})
    whole("workers", workers)
    chosen = {
        "nets": NETS if nets is None else nets, "samples": SAMPLES if samples is None else samples, "widths": widths, "data": data or "digits",
    }  # fmt: skip
    axes = axes_of(over)
    if "N" in axes and widths is not None:
        raise ArgumentError(f"Over N the values are the widths; leave widths out. Got {widths!r:.80}.")
    spots = placed(lambda point: _cases(several, {**(at or {}), **point}, chosen), axes)
    failed = list[AdvmfError]()

    def interrupted(stop: KeyboardInterrupt, finished: int) -> None:
        kept = f", and {store} keeps them" if store else ""
        warnings.warn(f"interrupted: {finished} of {len(spots)} points are finished{kept}", stacklevel=4)

    with shown(progress, len(spots)) as told:
        found = swept(
            axes, spots, seed=seed, progress=told, said=lambda spot, outcome: failed.extend(filter(None, [outcome.error])),
            interrupted=interrupted, store=store, resume=resume, workers=workers, **options,
        )  # fmt: skip
    if failed and len(failed) == len(spots):
        raise failed[0]
    return found


@dataclass(frozen=True)
class Spot:
    """A case of a sweep, with the swept values at which it stands; along N these are without the width."""

    values: Mapping[str, float]
    case: Case

    @property
    def where(self) -> str:
        """The values in words."""
        return ", ".join(f"{name} = {value:g}" for name, value in self.values.items())


def placed(
    cases: Callable[[Mapping[str, Any]], Sequence[Case]],
    axes: Mapping[str, Sequence[float]],
    nets: int | str | None = None,
) -> list[Spot]:
    """The cases that a function gives at each point of the axes.

    Along N each has the widths for a ladder, with ``nets`` networks if that is a number. Raises ArgumentError and
    DomainError for what cannot be checked.
    """
    names = [name for name in axes if name != "N"]
    points = [dict(zip(names, values)) for values in itertools.product(*(axes[name] for name in names))]
    spots = [Spot(point, case) for point in points for case in cases(point)]
    if "N" in axes:
        widths = [int(width) for width in axes["N"]]
        spots = [replace(spot, case=_along_widths(spot.case, widths, nets)) for spot in spots]
    for spot in spots:
        spot.case.require()
        refuse_unused("over", set(names), spot.case.uses)
    return spots


def swept(
    axes: Mapping[str, Sequence[float]],
    spots: Sequence[Spot],
    *,
    seed: int = 0,
    command: str = "",
    said: Callable[[Spot, Outcome], object],
    interrupted: Callable[[KeyboardInterrupt, int], object],
    **options: Any,
) -> Sweep:
    """The sweep of cases. ``options`` go to :func:`advmf.verify.runs.run`. ``said`` is told of every finished case, and
    ``interrupted`` of an interrupt, with the number of finished ones."""
    suite, found = [spot.case for spot in spots], list[Outcome]()
    try:
        with closing(run(suite, seed=seed, command=command, **options)) as finished:
            for outcome in finished:
                found.append(outcome)
                said(spots[outcome.position], outcome)
    except KeyboardInterrupt as stop:
        interrupted(stop, len(found))
    claims = sum(len(case.claims) for case in suite)
    outcomes = together(sorted(found, key=lambda outcome: outcome.position), claims)
    document = of_outcomes(outcomes, seed, command, complete=len(outcomes) == len(suite))
    places = tuple(place for outcome in outcomes for place in _places(outcome, spots[outcome.position]))
    errors = tuple(_told(outcome, spots[outcome.position]) for outcome in outcomes if outcome.error)
    return Sweep(tuple(axes), places, document, errors)


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


def _refuse_unused(claims: Sequence[Claim], of_networks: Mapping[str, Any], of_matrices: Mapping[str, Any]) -> None:
    """Raise ArgumentError for an option of networks where all claims are about matrices, and the reverse."""
    matrices = {claim.net is None for claim in claims}
    for unused, absent, options in ((True, "networks", of_networks), (False, "matrices", of_matrices)):
        given = [name for name, value in options.items() if value is not None]
        if matrices == {unused} and given:
            raise ArgumentError(f"{given[0]} has no effect here: no claim is about {absent}. Leave it out.")


def axes_of(over: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    """The swept quantities with their values; raises ArgumentError for anything but one or two of the theory's."""
    if not isinstance(over, Mapping) or not 1 <= len(over) <= 2:
        raise ArgumentError(f"over has the values of one quantity, or of two, as dict(L=[2, 4, 8]); got {over!r:.80}.")
    found = {}
    for name, values in over.items():
        if name not in SYMBOLS:
            raise ArgumentError(f"{name!r} is no quantity of the theory; choose from {', '.join(SYMBOLS)}.")
        try:
            listed = list(values)
            own = () if isinstance(values, str) else tuple(float(v) for v in listed if not isinstance(v, bool))
        except (TypeError, ValueError):
            own = ()
        if not own or len(set(own)) < len(listed) or not all(map(math.isfinite, own)):
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


def _places(outcome: Outcome, spot: Spot) -> list[Place]:
    """The points of a finished case, with the controls of each claim. These are named after it, with the mistake in
    brackets."""
    found = []
    for claim, report in zip(outcome.case.claims, outcome.reports):
        own = tuple(
            control
            for control in outcome.controls
            if control.theorem.rpartition(" [")[0] == claim.name and (control.p, control.q) == (report.p, report.q)
        )
        found.append(Place(claim, outcome.case.activation, spot.values, replace(report, claim=claim), own))
    return found


def _told(outcome: Outcome, spot: Spot) -> str:
    case, error = outcome.case, outcome.error
    return f"{case.theorem} {case.name} at {spot.where}: {type(error).__name__}: {error}"


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
