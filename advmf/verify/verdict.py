"""The outcome of a check: the verdict, the numbers, and all that is needed to repeat it."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from advmf.boundary import all_of, public
from advmf.claim import Claim
from advmf.notebook import presented
from advmf.tabled import Records, Tabled
from advmf.verify.statistics import Rung


class Verdict(enum.StrEnum):
    """What the numbers say of a claim.

    ``SUPPORTED``: an equality, or a bound of a probability or a quantile, holds within the declared effect size.
    ``NOT_REFUTED``: a bound was put to the test and stood. Attacks bound a maximum from below, so they can refute an
    upper bound and never prove it. ``REFUTED``: the numbers contradict the claim at the declared error rate.
    ``UNDERPOWERED``: the numbers could not have told.
    """

    SUPPORTED = "SUPPORTED"
    NOT_REFUTED = "NOT_REFUTED"
    REFUTED = "REFUTED"
    UNDERPOWERED = "UNDERPOWERED"

    @staticmethod
    def worst(verdicts: Sequence[Verdict]) -> Verdict:
        """The verdict of a claim with several consequences."""
        order = (Verdict.REFUTED, Verdict.UNDERPOWERED, Verdict.NOT_REFUTED, Verdict.SUPPORTED)
        return next(v for v in order if v in verdicts)


@dataclass(frozen=True)
class Finding:
    """One tested equality or bound. ``departure`` is (estimate - predicted)/scale, at N -> oo for large-width claims.

    Where the prediction depends on N, ``estimate`` and the rungs are simulated over predicted values, and ``predicted``
    is 1. ``alpha`` is the declared probability of refuting a true claim here. ``effect`` is the departure that has to
    be resolved. ``p_value`` is the least alpha at which these numbers refute.
    """

    label: str
    verdict: Verdict
    estimate: float
    stderr: float
    predicted: float
    departure: float
    resolution: float
    rungs: tuple[Rung, ...]
    reason: str = ""
    p_value: float = 1.0
    alpha: float = 0.0
    effect: float = 0.0

    @property
    def ratio(self) -> float:
        """Estimate over prediction; NaN where the prediction is zero."""
        return self.estimate / self.predicted if self.predicted else math.nan


@dataclass(frozen=True)
class Report(Tabled):
    """A checked claim.

    ``estimate``, ``stderr``, ``predicted`` and ``ratio`` are those of the first of ``findings``; ``verdict`` is the
    worst of all. ``seconds`` are its share of the seconds of all claims that were checked on the same samples.
    """

    theorem: str
    net: str
    p: str | None
    q: str | None
    findings: tuple[Finding, ...]
    at: Mapping[str, float]
    seed: int
    seconds: float
    settings: Mapping[str, Any] = field(default_factory=dict)
    claim: Claim | None = field(default=None, compare=False, repr=False)
    """The claim itself, if the report was not read from a file."""

    @property
    def verdict(self) -> Verdict:
        return Verdict.worst([finding.verdict for finding in self.findings])

    @property
    def given(self) -> str:
        """What the verdict takes for granted: the kernel, if the networks have infinite width. Else empty."""
        return f"at N = oo, given {given}" if (given := self.settings.get("given")) else ""

    @property
    def within(self) -> float:
        """The margin of a verdict: a departure of this size, of any number that was tested, would have been found.

        It is relative to the predicted size, and absolute for an exponent. It is infinite for a claim that is
        UNDERPOWERED, where nothing is resolved, and for one that is REFUTED.
        """
        stands = self.verdict in (Verdict.SUPPORTED, Verdict.NOT_REFUTED)
        return max(f.resolution for f in self.findings) if stands else math.inf

    @property
    def margin(self) -> str:
        """The margin in words, "within 4 %"; empty where there is none.

        >>> import advmf as mf
        >>> mf.check(mf.norm_factor(2, 2), at=dict(d=30, K=5), samples=400).margin
        'within 1.9 %'
        """
        if not math.isfinite(self.within):
            return ""
        if "along" in self.settings:
            return f"within {self.within:.2g}"
        return f"within {100 * self.within:.2g} %" if self.within > 0 else "exactly"

    @property
    def controls(self) -> Mapping[str, str]:
        """The verdicts of the negative controls that were checked along (:func:`advmf.check`), by name."""
        found: Mapping[str, str] = self.settings.get("controls", {})
        return found

    @property
    def took(self) -> str:
        """The seconds of the check in words. Claims that were checked on the same samples share them."""
        count = int(self.settings.get("together", 1))
        shared = f" for {count} claims together" if count > 1 else ""
        return f"{self.seconds * count:.1f} s{shared}"

    @property
    def estimate(self) -> float:
        return self.findings[0].estimate

    @property
    def stderr(self) -> float:
        return self.findings[0].stderr

    @property
    def predicted(self) -> float:
        return self.findings[0].predicted

    @property
    def ratio(self) -> float:
        return self.findings[0].ratio

    @property
    def p_value(self) -> float:
        """The p-value of the claim: the smallest p-value of its findings, times their number."""
        return min(1.0, len(self.findings) * min(finding.p_value for finding in self.findings))

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready values; NaN and infinity become None."""
        record = {
            "theorem": self.theorem,
            "net": self.net,
            "p": self.p,
            "q": self.q,
            "verdict": str(self.verdict),
            "estimate": self.estimate,
            "stderr": self.stderr,
            "predicted": self.predicted,
            "ratio": self.ratio,
            "within": self.within,
            "at": {name: value if math.isfinite(value) else str(value) for name, value in self.at.items()},
            "seconds": self.seconds,
            "seed": self.seed,
            "settings": dict(self.settings),
            "findings": [
                {
                    "label": f.label,
                    "verdict": str(f.verdict),
                    "estimate": f.estimate,
                    "stderr": f.stderr,
                    "predicted": f.predicted,
                    "departure": f.departure,
                    "resolution": f.resolution,
                    "reason": f.reason,
                    "p_value": f.p_value,
                    "alpha": f.alpha,
                    "effect": f.effect,
                    "rungs": [_written(r) for r in f.rungs],
                }
                for f in self.findings
            ],
        }
        found: dict[str, Any] = jsonable(record)
        return found

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> Report:
        """The report that :meth:`to_dict` wrote. Numbers that were not finite come back as infinity if they are errors,
        and as NaN otherwise.

        A rung without ``lost`` or ``spread`` is from a version that did not know them. Only shares and quantiles have
        an ``interval``.

        >>> import advmf as mf
        >>> report = mf.check(mf.norm_factor(2, 2), at=dict(d=30, K=5), samples=40)
        >>> Report.from_dict(report.to_dict()) == report
        True
        """
        findings = tuple(
            Finding(
                f["label"],
                Verdict(f["verdict"]),
                _number(f["estimate"], math.nan),
                _number(f["stderr"], math.inf),
                _number(f["predicted"], math.nan),
                _number(f["departure"], math.nan),
                _number(f["resolution"], math.inf),
                tuple(
                    Rung(
                        _width(r["N"]),
                        r["nets"],
                        _number(r["mean"], math.nan),
                        _number(r["stderr"], math.inf),
                        _number(r["skew"], math.nan),
                        r.get("lost", 0),
                        _number(r.get("spread", 0.0), math.nan),
                        _interval(r.get("interval")),
                        r.get("dof"),
                    )
                    for r in f["rungs"]
                ),
                **{name: f[name] for name in ("reason", "p_value", "alpha")},
                effect=_number(f["effect"], math.inf),
            )
            for f in record["findings"]
        )
        of = {name: record[name] for name in ("theorem", "net", "p", "q", "seed", "seconds", "settings")}
        at = {name: float(value) if isinstance(value, str) else value for name, value in record["at"].items()}
        return Report(findings=findings, at=at, **of)

    def records(self) -> Records:
        """A row for each finding."""
        return [
            {
                "theorem": self.theorem, "net": self.net, "p": self.p, "q": self.q, "finding": f.label, "estimate": f.estimate,
                "stderr": f.stderr, "predicted": f.predicted, "ratio": f.ratio, "verdict": str(f.verdict), "departure": f.departure,
                "resolution": f.resolution, "effect": f.effect, "p_value": f.p_value, "alpha": f.alpha, "reason": f.reason,
                **{f"at_{name}": value for name, value in self.at.items()}, "seed": self.seed,
            }
            for f in self.findings
        ]  # fmt: skip

    def plot(self, path: Any = None, size: str | float = "one", finding: int = 0) -> Any:
        """The figure of a finding: the simulated means at every width, their joint estimate, and the prediction. It is
        also written to ``path`` if one is given. ``size`` is "one" or "two" columns, or millimetres. Raises
        ArgumentError for a finding that there is not, and where nothing finite was measured."""
        return presented("plot", [self], path, size, finding)

    def html(self, path: Any = None) -> str:
        """The report as a page (docs/reports.md), also written to ``path`` if one is given."""
        return str(presented("page", [self], path))

    def _repr_html_(self) -> str:
        return str(presented("table", [self]))

    def __str__(self) -> str:
        pair = f" p={self.p} q={self.q}" if self.p else ""
        given = f", {self.given}" if self.given else ""
        margin = f" {self.margin}" if self.margin else ""
        lines = [f"{self.theorem} {self.net}{pair}: {self.verdict}{margin} ({self.took}){given}"]
        for f in self.findings:
            lines.append(
                f"  {f.label}: {f.estimate:.5g} ± {f.stderr:.2g}, predicted {f.predicted:.5g}"
                + (f", ratio {f.ratio:.3f}" if f.predicted else "")
                + f": {f.verdict}"
                + (f" ({f.reason})" if f.reason else "")
            )
        if self.controls:
            refuted = sum(verdict == Verdict.REFUTED for verdict in self.controls.values())
            told = "; ".join(f"{name}: {verdict}" for name, verdict in self.controls.items())
            lines.append(f"  negative controls refuted: {refuted} of {len(self.controls)} ({told})")
        return "\n".join(lines)


@public
class Reports(list[Report], Tabled):
    """Several reports. It is a list with a table, a page and a figure.

    >>> import advmf as mf
    >>> found = Reports([mf.check(mf.norm_factor(p, 2), at=dict(d=30, K=5), samples=40) for p in (1, 2)])
    >>> len(found), len(found.records()), "<table>" in found._repr_html_()
    (2, 2, True)

    Raises ArgumentError for what is no sequence of reports.
    """

    def __init__(self, reports: Iterable[Report] = ()) -> None:
        super().__init__(all_of(Report, "Reports", reports))

    def records(self) -> Records:
        """A row for each finding of each report."""
        return [row for report in self for row in report.records()]

    def plot(self, path: Any = None, size: str | float = "one") -> Any:
        """Simulated over predicted values of all reports, with their errors and verdicts. Arguments as for
        :meth:`Report.plot`."""
        return presented("plot", list(self), path, size, None)

    def html(self, path: Any = None) -> str:
        """The reports as a page (docs/reports.md), also written to ``path`` if one is given."""
        return str(presented("page", list(self), path))

    def _repr_html_(self) -> str:
        return str(presented("table", list(self)))

    def __str__(self) -> str:
        return "\n".join(map(str, self))


def jsonable(value: Any) -> Any:
    """Values in dictionaries and lists, with None for every number that is NaN or infinite. JSON has no words for
    these.

    >>> jsonable({"pilot": [1, math.inf], "at": (0.5, math.nan)})
    {'pilot': [1, None], 'at': [0.5, None]}
    """
    if isinstance(value, Mapping):
        return {name: jsonable(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _written(rung: Rung) -> dict[str, Any]:
    """A rung's fields for JSON. The interval and degrees of freedom of its own are left out where there are none, and
    an infinite width is "inf"."""
    optional = ("interval", "dof")
    found = {name: value for name, value in asdict(rung).items() if name not in optional or value is not None}
    return found if math.isfinite(rung.N) else {**found, "N": str(rung.N)}


def _width(written: Any) -> Any:
    """The width of a rung from JSON, where an infinite one is text."""
    return float(written) if isinstance(written, str) else written


def _interval(ends: Sequence[float | None] | None) -> tuple[float, float] | None:
    if ends is None:
        return None
    low, high = ends
    return _number(low, -math.inf), _number(high, math.inf)


def _number(value: float | None, missing: float) -> float:
    return missing if value is None else value
