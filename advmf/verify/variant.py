"""A bound of one's own, in a file: its derivation is verified, its claim checked, and wrong versions of it refuted.

The file defines ``NET``, ``derive(net)``, ``claim(net)`` and ``check(claims, seed)``; ``advmf new`` writes such a file. A claim that the
package derives from the net is called after the file, and its source is the derivation there.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from advmf.claim import Claim
from advmf.errors import AdvmfError, ArgumentError
from advmf.net import Net
from advmf.theorems import theorem_of
from advmf.theory.proof import Derivation
from advmf.verify.controls import controls, differs, weak
from advmf.verify.records import Record, canonical, key, statement
from advmf.verify.report import Report
from advmf.verify.runs import Outcome, code_version
from advmf.verify.store import opened
from advmf.verify.suite import MATRIX, QUICK, Case

NEEDED = {
    "NET": "NET, the advmf.Net",
    "derive": "derive(net), which returns the Derivation",
    "claim": "claim(net), which returns the Claim that the derivation ends in",
    "check": "check(claims, seed=0), which returns a list of their Reports",
}
"""What a file has to define. ``wrong(claim)`` may list wrong versions of the claim; else they are those of its form, or of the theorem that it
comes from."""


@dataclass(frozen=True)
class Variant:
    """A loaded file with a bound of one's own.

    >>> import advmf.cli.template
    >>> variant = load(advmf.cli.template.__file__)
    >>> variant.derive().name, str(variant.claim())
    ('my_bound', 'template: Expectation(AdversarialLoss(oo, 2)) <= beta*eps*omega**(L/2)')
    """

    path: Path
    module: ModuleType
    sha256: str

    def derive(self) -> Derivation:
        """The verified derivation. Raises StepError, which names the step, if one is refused or it does not end in the claim."""
        return self._proof

    @cached_property
    def _proof(self) -> Derivation:
        claim = self.claim()
        proof: Derivation = self._call("derive", Derivation, self.module.NET)
        proof.concludes(claim)
        return proof

    @cached_property
    def _declared(self) -> Claim:
        """The claim as the file gives it."""
        found: Claim = self._call("claim", Claim, self.module.NET)
        return found

    def claim(self) -> Claim:
        """The claim of the file's net, under a name and with a source of its own."""
        found = self._declared
        if theorem_of(found.name) is None:
            return found
        source = f"{self.path.name}, derived there; of the form of {found.name}: {found.source}"
        return replace(found, name=self.path.stem, source=source)

    def reports(self, claims: Sequence[Claim], seed: int = 0) -> list[Report]:
        """What the file's check says of claims; raises ArgumentError unless that is a report for each."""
        found = self._call("check", list, list(claims), seed=seed)
        if len(found) != len(claims) or not all(isinstance(report, Report) for report in found):
            raise ArgumentError(
                f"{self.path}: check must return one Report for each of {len(claims)} claims; got {found!r}."
            )
        return [replace(report, theorem=claim.name) for claim, report in zip(claims, found)]

    def case(self, claim: Claim, proof: Derivation, report: Report) -> Case:
        """The case of a claim, its derivation, and the point of its report."""
        return OwnCase(claim.name, claim.net, "", (claim,), report.at, QUICK, str(proof), _width(report))

    def check(self, seed: int = 0, store: Path | None = None, resume: bool = False, command: str = "") -> Outcome:
        """The report on the claim, and those on its wrong versions by the same check; kept in ``store``, and with ``resume`` taken from there.

        Raises as :meth:`derive` and :func:`advmf.verify.store.opened` do.
        """
        claim, proof = self.claim(), self.derive()
        own = hasattr(self.module, "wrong")
        mutants: list[Claim] = self._call("wrong", list, claim) if own else controls(claim, of=self._declared.name)
        if not mutants:
            raise ArgumentError(
                f"{self.path}: {'wrong(claim) returns none' if own else 'advmf knows no wrong version of this claim'}. Without one "
                "that is refuted nothing shows that the check can fail; let wrong(claim) return a list of wrong claims."
            )
        if len({each.name for each in (claim, *mutants)}) <= len(mutants):
            raise ArgumentError(
                f"{self.path}: wrong must give each wrong version a name of its own, as Claim.scaled does."
            )
        if store is None:
            return self._outcome(proof, claim, mutants, self.reports([claim, *mutants], seed), own)
        settings = {"version": code_version(), "seed": seed, "file": self.sha256}
        names = [key(canonical(each), settings) for each in (claim, *mutants)]
        case = {"theorem": claim.name, "net": claim.net.name if claim.net else MATRIX, "activation": "", "claims": 1}
        run = {**settings, "rate": 0.0, "cases": [{**case, "keys": names}]}
        with opened(store, run, command=command, resume=resume) as (file, found):
            if found.records:
                first, *others = (record.report for record in found.records)
                return Outcome(0, self.case(claim, proof, first), (first,), tuple(others))
            outcome = self._outcome(proof, claim, mutants, self.reports([claim, *mutants], seed), own)
            file.add(_records(outcome, claim, mutants, names))
        return outcome

    def _outcome(
        self, proof: Derivation, claim: Claim, mutants: Sequence[Claim], found: Sequence[Report], own: bool
    ) -> Outcome:
        """The reports; those of controls that say what the claim says at its point are named accordingly."""
        report, *others = found
        case = self.case(claim, proof, report)
        if not own:
            others = [
                r if differs(claim, mutant, case.point) else replace(r, theorem=weak(mutant).name)
                for mutant, r in zip(mutants, others)
            ]
        return Outcome(0, case, (report,), tuple(others))

    def _call(self, name: str, kind: type, *args: Any, **options: Any) -> Any:
        with _blamed(self.path, f"{name} fails"):
            found = getattr(self.module, name)(*args, **options)
        if not isinstance(found, kind):
            raise ArgumentError(f"{self.path}: {name} must return a {kind.__name__}; got {found!r}.")
        return found


@dataclass(frozen=True)
class OwnCase(Case):
    """The case of a bound of one's own: with the text of its derivation, and the widest network of its check."""

    derivation: str = ""
    width: int = 1

    @cached_property
    def statements(self) -> tuple[dict[str, Any], ...]:
        return tuple({**statement(claim), "derivation": self.derivation} for claim in self.claims)

    @property
    def point(self) -> Mapping[str, float]:
        return {**self.at, "N": self.width}


def _width(report: Report) -> int:
    return max(rung.N for rung in report.findings[0].rungs)


def _records(outcome: Outcome, claim: Claim, mutants: Sequence[Claim], names: Sequence[str]) -> list[Record]:
    """What a store keeps of an outcome."""
    case, (said,) = outcome.case, outcome.case.statements
    found = []
    for name, each, report in zip(names, (claim, *mutants), (*outcome.reports, *outcome.controls)):
        control = each is not claim
        stated = canonical(each) | ({} if control else said)
        found.append(Record(name, 0, control, case.theorem, case.name, "", stated, report))
    return found


def load(path: str | Path) -> Variant:
    """Run the file and take its bound; raises ArgumentError if it is no such file, does not run, or lacks something, before any work.

    >>> load("no_such_bound.py")
    Traceback (most recent call last):
        ...
    advmf.errors.ArgumentError: There is no file no_such_bound.py. 'advmf new no_such_bound' writes one to begin with.
    """
    path = Path(path)
    if path.suffix != ".py":
        raise ArgumentError(
            f"FILE is a Python file with a bound of one's own, such as my_bound.py; got {path}. A theorem is chosen by --theorem."
        )
    if not path.is_file():
        raise ArgumentError(f"There is no file {path}. 'advmf new {path.stem}' writes one to begin with.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent.resolve()))  # as for a script: it may import what lies beside it
    try:
        with _blamed(path, "it does not run"):
            spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    if lacking := [words for name, words in NEEDED.items() if not hasattr(module, name)]:
        raise ArgumentError(
            f"{path} does not define {'; nor '.join(lacking)}. A file to check defines {', '.join(NEEDED)}: see 'advmf new'."
        )
    if not isinstance(module.NET, Net | None):
        raise ArgumentError(
            f"{path}: NET must be an advmf.Net, or None for a claim about matrices alone; got {module.NET!r}."
        )
    if uncallable := [name for name in NEEDED if name != "NET" and not callable(getattr(module, name))]:
        raise ArgumentError(f"{path}: {uncallable[0]} must be a function: {NEEDED[uncallable[0]]}.")
    return Variant(path, module, hashlib.sha256(path.read_bytes()).hexdigest())


@contextmanager
def _blamed(path: Path, what: str) -> Iterator[None]:
    """An error of the file's code as an ArgumentError that names the file and the line; the package's own errors pass."""
    try:
        yield
    except AdvmfError:
        raise
    except (Exception, SystemExit) as error:  # sys.exit(0) is no verdict
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
        text, line = (error.msg, error.lineno) if isinstance(error, SyntaxError) else (error, [None, *lines][-1])
        where = f", line {line}" if line else ""
        raise ArgumentError(f"{path}{where}: {what}: {type(error).__name__}: {text}") from error
