"""A bound of one's own, in a file: its derivation is verified, its claim checked, and wrong versions of it refuted.

The file defines ``NET``, ``derive(net)``, ``claim(net)`` and ``check(claims, seed)``; ``advmf new`` writes such a file.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from advmf.claim import Claim
from advmf.errors import AdvmfError, ArgumentError
from advmf.net import Net
from advmf.theory.proof import Derivation
from advmf.verify.controls import controls, differs
from advmf.verify.report import Report
from advmf.verify.runs import Outcome
from advmf.verify.suite import QUICK, Case

NEEDED = {
    "NET": "NET, the advmf.Net",
    "derive": "derive(net), which returns the Derivation",
    "claim": "claim(net), which returns the Claim that the derivation ends in",
    "check": "check(claims, seed=0), which returns a list of their Reports",
}
"""What a file has to define. ``wrong(claim)`` may list wrong versions of the claim; else they are those of advmf.verify.controls."""


@dataclass(frozen=True)
class Variant:
    """A loaded file with a bound of one's own.

    >>> import advmf.cli.template
    >>> variant = load(advmf.cli.template.__file__)
    >>> variant.derive().name, str(variant.claim())
    ('my_bound', 'T2: Expectation(AdversarialLoss(oo, 2)) <= beta*eps*omega**(L/2)')
    """

    path: Path
    module: ModuleType

    def derive(self) -> Derivation:
        """The verified derivation. Raises StepError, which names the step, if one is refused or it does not end in the claim."""
        claim = self.claim()
        proof: Derivation = self._call("derive", Derivation, self.module.NET)
        proof.concludes(claim)
        return proof

    def claim(self) -> Claim:
        """The claim of the file's net."""
        found: Claim = self._call("claim", Claim, self.module.NET)
        return found

    def check(self, seed: int = 0) -> Outcome:
        """The report on the claim, and those on its wrong versions by the same check."""
        claim = self.claim()
        own = hasattr(self.module, "wrong")
        mutants: list[Claim] = self._call("wrong", list, claim) if own else controls(claim)
        found = self._call("check", list, [claim, *mutants], seed=seed)
        if len(found) != 1 + len(mutants) or not all(isinstance(report, Report) for report in found):
            raise ArgumentError(
                f"{self.path}: check must return one Report for each of {1 + len(mutants)} claims; got {found!r}."
            )
        report, *others = found
        point = {**report.at, "N": max(rung.N for rung in report.findings[0].rungs)}
        counted = tuple(r for mutant, r in zip(mutants, others) if own or differs(claim, mutant, point))
        return Outcome(0, Case(claim.name, claim.net, "", (claim,), report.at, QUICK), (report,), counted)

    def _call(self, name: str, kind: type, *args: Any, **options: Any) -> Any:
        with _blamed(self.path, f"{name} fails"):
            found = getattr(self.module, name)(*args, **options)
        if not isinstance(found, kind):
            raise ArgumentError(f"{self.path}: {name} must return a {kind.__name__}; got {found!r}.")
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
    return Variant(path, module)


@contextmanager
def _blamed(path: Path, what: str) -> Iterator[None]:
    """An error of the file's code as an ArgumentError that names the file and the line; the package's own errors pass."""
    try:
        yield
    except AdvmfError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
        text, line = (error.msg, error.lineno) if isinstance(error, SyntaxError) else (error, [None, *lines][-1])
        where = f", line {line}" if line else ""
        raise ArgumentError(f"{path}{where}: {what}: {type(error).__name__}: {text}") from error
