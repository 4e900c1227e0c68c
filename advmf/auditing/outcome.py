"""The outcome of an audit: its findings, as a table, as text, and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from advmf.auditing.judge import POWER, Finding
from advmf.nets import Net
from advmf.tabled import Records, Tabled

FORMAT = 1
"""The version of the JSON form."""

HEADS = {
    "sigma_w_sq": "weight variance x fan-in",
    "sigma_b_sq": "bias variance",
    "kurtosis": "kurtosis of the weights",
    "edge": "largest singular value², over Marchenko-Pastur's edge",
    "spectrum": "distance of the spectrum from Marchenko-Pastur's",
    "activation": "distance of the activation from the declared one, at the module's own pre-activations",
    "slope": "mean square slope of the activation, over the declared one's",
    "stream": "growth of the stream in a step, over the law's",
    "jacobian": "growth of a tangent in a step, over the law's",
    "norm": "norm of the Jacobian, p to q",
    "attack": "attacked loss",
}
"""What each quantity is."""
COLUMNS = ("node", "value", "law", "score", "finds", "")
"""The columns of a table; ``finds`` is the least detectable departure, in per cent of the law's value."""


def cells(f: Finding) -> tuple[str, str, str, str, str]:
    """A finding as text: its node, value, expected value, score and least detectable departure, the last in brackets
    where it is only reported."""
    least = _percent(f.least) if math.isfinite(f.least) else ""
    return (
        f.where or "output",
        f"{f.value:.4g}" + (f" ± {f.error:.2g}" if math.isfinite(f.error) else ""),
        f"{f.expected:.4g}",
        "" if not f.tested else "certain" if math.isinf(f.score) else f"{f.score:+.1f}",
        f"({least})" if least and not f.tested else least,
    )


@dataclass(frozen=True)
class Audit(Tabled):
    """A module against its declared law, as :func:`advmf.audit` gives it.

    ``findings`` are in the order of the network. ``bounds`` has T2's bound for ``attack`` and ``norm`` as N -> oo, if
    there is one, and ``reference`` the means of both in networks of the law, of the module's own widths.
    """

    name: str
    net: Net
    at: Mapping[str, float]
    single: bool
    alpha: float
    initialisations: int
    twins: int
    inputs: int
    eps: float
    p: float
    q: float
    seed: int
    findings: tuple[Finding, ...]
    reference: Mapping[str, float]
    bounds: Mapping[str, float]
    notes: tuple[str, ...]
    seconds: float

    @property
    def departures(self) -> tuple[Finding, ...]:
        """The findings that depart from the law, the most significant one first."""
        found = [finding for finding in self.findings if finding.departs]
        return tuple(sorted(found, key=lambda finding: -abs(finding.score)))

    @property
    def verdict(self) -> str:
        """ "stands" or "departs" for initialisations, "measured" for a single module."""
        return "measured" if self.single else "departs" if self.departures else "stands"

    @property
    def tests(self) -> int:
        """The number of quantities that were tested together."""
        return sum(finding.tested for finding in self.findings)

    def first(self, quantity: str) -> Finding | None:
        """The first departure of a quantity on the way from the input to the output."""
        return next((f for f in self.findings if f.departs and f.quantity == quantity), None)

    @property
    def summary(self) -> str:
        """The outcome in a sentence or two."""
        about = f"{self.name}, one module" if self.single else f"{self.name}, {self.initialisations} initialisations"
        rate = f"{self.tests} quantities tested together at the error rate {self.alpha:g}"
        if not self.departures:
            stands = "no departure from the law" if self.single else "stands"
            return f"{about}: {stands} ({rate})."
        kinds = dict.fromkeys(finding.quantity for finding in self.departures)
        firsts = [
            f"{found.quantity} at {found.where or 'the output'} ({_against(found)})"
            for found in map(self.first, kinds)
            if found
        ]
        return f"{about}: departs ({rate}). First in depth: {'; '.join(firsts)}."

    @property
    def groups(self) -> dict[str, list[Finding]]:
        """The findings by quantity, in the order of :data:`HEADS`."""
        found = {kind: [f for f in self.findings if f.quantity == kind] for kind in HEADS}
        return {kind: own for kind, own in found.items() if own}

    def records(self) -> Records:
        """A row for each finding; a score and a least detectable departure that there is not are NaN."""
        return [
            {
                "name": self.name, "quantity": f.quantity, "where": f.where or "output", "value": f.value, "stderr": f.error,
                "expected": f.expected, "ratio": f.ratio, "score": f.score, "least": f.least, "tested": f.tested, "departs": f.departs,
            }
            for f in self.findings
        ]  # fmt: skip

    def table(self) -> list[tuple[str, bool]]:
        """The findings as lines of text, each with whether it departs: a heading for each quantity, and its places."""
        rows = {kind: [(*cells(f), "departs" if f.departs else "") for f in own] for kind, own in self.groups.items()}
        every = [COLUMNS, *(row for own in rows.values() for row in own)]
        widths = [max(map(len, column)) for column in zip(*every)]

        def line(row: tuple[str, ...]) -> str:
            node, value, *others = (cell.ljust(width) for cell, width in zip(row, widths))
            return f"  {node}  {value}  {' '.join(others)}".rstrip()

        found = [(line(COLUMNS), False)]
        for kind, own in rows.items():
            found.append((f"{kind}: {HEADS[kind]}", False))
            found += [(line(row), bool(row[-1])) for row in own]
        return found

    @property
    def law(self) -> str:
        """The declared point, in a line."""
        return ", ".join(f"{name}={value:.4g}" for name, value in self.at.items())

    def bound_lines(self) -> list[str]:
        """The ends against T2, in lines."""
        lines = []
        for quantity, what in (("attack", "eps beta sqrt(Lambda), T2's bound"), ("norm", "beta sqrt(Lambda)")):
            (found,) = (f for f in self.findings if f.quantity == quantity)
            if quantity in self.bounds:
                own, twin = (value / self.bounds[quantity] for value in (found.value, self.reference[quantity]))
                lines.append(
                    f"{quantity}/bound {own:.3f}, of the law's networks {twin:.3f} ({what} = {self.bounds[quantity]:.4g} as N -> oo)"
                )
        return lines

    @property
    def resolution(self) -> str:
        """The least detectable departure of each quantity, the largest over its places, in a line."""
        least = {
            kind: [f.least for f in own if f.tested and math.isfinite(f.least)] for kind, own in self.groups.items()
        }
        each = ", ".join(f"{kind} {_percent(max(own))}" for kind, own in least.items() if own)
        return (
            f"With probability {POWER:g} such an audit finds, at any place, a departure of {each} from the law's value."
        )

    @property
    def ends(self) -> tuple[str, ...]:
        """What is said after the table, in lines."""
        return (*self.bound_lines(), self.resolution, *self.notes)

    def __str__(self) -> str:
        return "\n".join([self.summary, f"law: {self.law}", *(line for line, _ in self.table()), *self.ends])

    def to_json(self) -> str:
        """All numbers, as JSON."""
        return json.dumps(self.record(), indent=1, allow_nan=False) + "\n"

    def record(self) -> dict[str, Any]:
        """All numbers, as plain values; what is not finite is null."""
        return {
            "format": FORMAT,
            "kind": "audit",
            "name": self.name,
            "verdict": self.verdict,
            "summary": self.summary,
            "net": repr(self.net),
            "at": dict(self.at),
            "power": POWER,
            **{
                name: getattr(self, name)
                for name in ("alpha", "tests", "initialisations", "twins", "inputs", "eps", "seed", "seconds")
            },
            "p": _plain(self.p),
            "q": _plain(self.q),
            "findings": [
                {
                    "quantity": f.quantity,
                    "where": f.where,
                    **{name: _plain(getattr(f, name)) for name in ("value", "error", "expected", "score", "least")},
                    "departs": f.departs,
                }
                for f in self.findings
            ],
            "reference": dict(self.reference),
            "bounds": dict(self.bounds),
            "notes": list(self.notes),
        }


def _against(found: Finding) -> str:
    """The value of a finding beside the law's."""
    return f"{found.ratio:.3g} of the law's" if found.expected else f"{found.value:.3g}, by the law 0"


def _percent(share: float) -> str:
    """A share in per cent, with two digits."""
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.0f} %"


def _plain(value: float) -> float | str | None:
    """A number for JSON, with an infinite one by its name."""
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")
