"""What a run keeps of each checked claim: a record, the claim's canonical form and words, and a key by which it is
found again. The format of all this has a number."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sympy as sp

from advmf import __version__
from advmf.claim import Claim
from advmf.emit.latex import latex
from advmf.errors import StoreError
from advmf.verify.verdict import Report

FORMAT = 3
"""The form of results, in a store and in JSON. It rises with every change after which older results lack something that
is read. Format 1 had no count of claims. Format 2 had checksums of claims and reports alone."""


@dataclass(frozen=True)
class Record:
    """One checked claim and its report. ``position`` is that of its case in the suite. ``control`` tells whether the
    claim is a negative control.

    ``theorem`` is the catalogue's name of the case. ``claim`` states what was checked: see :func:`canonical` and
    :func:`statement`.
    """

    key: str
    position: int
    control: bool
    theorem: str
    net: str
    activation: str
    claim: Mapping[str, Any]
    report: Report


@dataclass(frozen=True)
class Results:
    """What a results file holds: the run's ``configuration``, the ``command`` that made it, and the records in the
    suite's order. ``parts`` has the finished parts of unfinished cases, by position. The part :data:`ERROR` of a case
    is the error that it ended in."""

    configuration: Mapping[str, Any]
    command: str
    records: tuple[Record, ...]
    parts: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def finished(self) -> frozenset[int]:
        """The positions of the finished cases."""
        return frozenset(record.position for record in self.records)

    @property
    def complete(self) -> bool:
        """Whether every case of the run came to an end."""
        return len(self.finished) + len(self.errors) == len(self.configuration["cases"])

    @property
    def errors(self) -> Mapping[int, tuple[str, str]]:
        """The kind and the text of the error of each case that ended in one, by position."""
        found = {position: parts[ERROR] for position, parts in self.parts.items() if ERROR in parts}
        return {position: (error["kind"], error["text"]) for position, error in found.items()}

    def finished_parts(self, position: int) -> Mapping[str, Any]:
        """The finished parts of a case, without its error: it is tried again from there."""
        return {name: part for name, part in self.parts.get(position, {}).items() if name != ERROR}


def canonical(claim: Claim) -> dict[str, Any]:
    """A claim's canonical form: SymPy's own representation of what it says, and of whom.

    >>> import advmf as mf
    >>> canonical(mf.norm_factor(2, "inf"))["lhs"]
    'Expectation(MatrixNorm(Integer(2), oo))'
    """
    return {
        "name": claim.name,
        "lhs": sp.srepr(claim.subject),
        "relation": claim.relation,
        "rhs": sp.srepr(claim.rhs),
        "p": None if claim.p is None else sp.srepr(claim.p),
        "q": None if claim.q is None else sp.srepr(claim.q),
        "net": None if claim.net is None else repr(claim.net),
        "tolerance": sp.srepr(claim.tolerance) if isinstance(claim.tolerance, sp.Expr) else claim.tolerance,
        "equations": [
            [e.label, sp.srepr(e.lhs), sp.srepr(e.rhs), sp.srepr(e.scale), e.exact, e.order] for e in claim.implied
        ],
    }


ERROR = "error"
"""What a store calls the error of a case among its parts."""

ADDED = ("network", "derivation")
"""Further keys that :func:`statement` has where there is something to say."""
STATED = ("latex", "subject", "where", "regime", "heuristic", "assumptions", "source")
"""The keys of :func:`statement`."""


def statement(claim: Claim) -> dict[str, Any]:
    """What a reader is told of a claim: its formula and its left-hand side as LaTeX, what its abbreviations stand for,
    where it holds, its source, and its network, block by block."""
    return {
        **({} if claim.net is None else {"network": latex(claim.net)}),
        "latex": latex(claim),
        "subject": latex(claim.lhs),
        "where": {str(symbol): str(meaning) for symbol, meaning in claim.where.items()},
        "regime": str(claim.regime),
        "heuristic": claim.heuristic,
        "assumptions": list(claim.assumptions),
        "source": claim.source,
    }


def key(form: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """The key of a result: a hash of the claim's canonical form and of all that its numbers depend on."""
    return hashlib.sha256(text({"claim": form, "settings": settings}).encode()).hexdigest()


def text(value: Any) -> str:
    """A value as the JSON text that hashes are of: with sorted keys, and without NaN."""
    return json.dumps(value, sort_keys=True, allow_nan=False)


def of_another_format(path: Path, number: int, writer: str = "", command: str = "") -> StoreError:
    """The error for results whose format is not this version's. ``writer`` is the version that wrote them, if they tell
    it."""
    wrote = f", written by advmf {writer}" if writer else ""
    again = f"; that run was: {command}" if command else ""
    advice = "read it with that version of advmf, or a newer one"
    if number < FORMAT:
        advice = f"run it again into another file, or read it with the version of advmf that wrote it{again}"
    return StoreError(
        f"{path} has format {number} of advmf's results{wrote}, and this version, {__version__}, reads format {FORMAT} alone. "
        f"It is left as it is: {advice}."
    )
