"""A theorem of one's own, in a file: its derivation is verified, its claims checked, and wrong versions of them
refuted.

The file defines ``THEOREM``, an :class:`advmf.Theorem` about a declared network, as the package's own files do; ``advmf
new`` writes such a file. From then on it goes the way of every theorem: suites, stores, workers, mutation, reports.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from advmf.boundary import public
from advmf.claim import Claim
from advmf.errors import AdvmfError, ArgumentError
from advmf.inputs import is_file, reading
from advmf.theorems import register_theorem
from advmf.theorems.selection import PAIRS
from advmf.theorems.theorem import Theorem
from advmf.theory.proof import Derivation
from advmf.verify.runs import run
from advmf.verify.suite import Case, own_case
from advmf.verify.verdict import Reports


@dataclass(frozen=True)
class OwnTheorem:
    """A loaded file with a theorem of one's own.

    >>> import advmf.cli.template
    >>> own = load(advmf.cli.template.__file__)
    >>> str(own.claims[0]), [proof.name for proof in own.proofs]
    ('my_bound: Expectation(AdversarialLoss(oo, 2)) <= beta*eps*omega**(L/2)', ['my_bound'])
    """

    path: Path
    theorem: Theorem
    sha256: str

    @cached_property
    def claims(self) -> tuple[Claim, ...]:
        """What a check tests."""
        found = self.theorem.tested(self.theorem.net, PAIRS)
        if not found:
            raise ArgumentError(f"{self.path}: tests returns no claim for THEOREM.net; let it return a list of claims.")
        return found

    @cached_property
    def proofs(self) -> list[Derivation]:
        """The verified derivations, if the theorem has any: one for each claim, which ends in it, in the order of the
        claims.

        Raises StepError, which names the step, if one is refused or does not end in its claim.
        """
        if self.theorem.derive is None:
            return []
        proofs: list[Derivation] = self.theorem.derive(self.theorem.net)
        if len(proofs) != len(self.claims):
            raise ArgumentError(
                f"{self.path}: derive must return a derivation for each of {len(self.claims)} claims, in their order; got {len(proofs)}."
            )
        for proof, claim in zip(proofs, self.claims):
            proof.concludes(claim)
        return proofs

    def case(self, at: Mapping[str, Any] | None = None) -> Case:
        """The case of the theorem, at its point, with the values of ``at`` in place of the point's."""
        text = "\n\n".join(map(str, self.proofs))
        return replace(own_case(self.theorem, self.claims, at), derivation=text, code=self.sha256)


def load(path: str | Path) -> OwnTheorem:
    """Run the file and take its theorem; raises ArgumentError if it is no such file, does not run, or lacks something,
    before any work.

    >>> load("no_such_bound.py")
    Traceback (most recent call last):
        ...
    advmf.errors.ArgumentError: There is no file no_such_bound.py. 'advmf new no_such_bound' writes one to begin with.
    """
    path = Path(path)
    if path.suffix != ".py":
        raise ArgumentError(
            f"FILE is a Python file with a theorem of one's own, such as my_bound.py; got {path}. A theorem of the package is chosen by --theorem."
        )
    if not is_file(path, ArgumentError):
        raise ArgumentError(f"There is no file {path}. 'advmf new {path.stem}' writes one to begin with.")
    with reading(path, ArgumentError) as file:
        code = hashlib.sha256(file.read()).hexdigest()
    module = ran(path)
    theorem = getattr(module, "THEOREM", None)
    if not isinstance(theorem, Theorem):
        given = f"; got {theorem!r:.80}" if hasattr(module, "THEOREM") else ""
        raise ArgumentError(
            f"{path} does not define THEOREM, an advmf.Theorem with the name, the net, the claims and the wrong versions of what is "
            f"checked{given}: see 'advmf new'."
        )
    _require_net(theorem)
    theorem = replace(
        theorem,
        tests=_watched(path, "tests", theorem.tests, Claim),
        wrong=_watched(path, "wrong", theorem.wrong, Claim),
        derive=theorem.derive and _watched(path, "derive", theorem.derive, Derivation),
    )
    register_theorem(theorem)
    return OwnTheorem(path, theorem, code)


def ran(path: Path) -> ModuleType:
    """The module of a Python file, which is run; raises ArgumentError, with the line, where it does not run."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent.resolve()))  # as for a script: it may import what lies beside it
    try:
        with _blamed(path, "it does not run"):
            spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module


@public
def check_theorem(
    theorem: Theorem,
    *,
    at: Mapping[str, float] | None = None,
    seed: int = 0,
    nets: int | str | None = None,
    sequential: bool = False,
    workers: int = 1,
) -> Reports:
    """Check a theorem of one's own on sampled networks: the reports of its claims, then those of their wrong versions,
    which must be REFUTED.

    ``at`` overrides its point; ``nets`` are the networks of the smallest width, or "pilot", and ``sequential`` stops as
    soon as all is decided, as in :func:`advmf.check_all`. ``workers`` are processes. The derivation is not checked
    here; ``theorem.derive`` verifies it. 'advmf check FILE' keeps results in a store, and tells by the file's hash
    whether they still belong to its code.

    Raises ArgumentError for a theorem without a net or under the name of one of the package's, and as
    :func:`advmf.check_all` does.

    >>> import advmf as mf
    >>> from advmf.cli.template import THEOREM
    >>> [str(report.verdict) for report in mf.check_theorem(THEOREM)]
    ['NOT_REFUTED', 'REFUTED', 'REFUTED']
    """
    _require_net(theorem)
    register_theorem(theorem)
    case = own_case(theorem, theorem.tested(theorem.net, PAIRS), at)
    options: dict[str, Any] = {"nets": nets, "sequential": sequential or None}
    (outcome,) = run([case], seed=seed, workers=workers, **options)
    if outcome.error:
        raise outcome.error
    return Reports([*outcome.reports, *outcome.controls])


def _require_net(theorem: Theorem) -> None:
    if (theorem.net is None) != theorem.matrices:
        raise ArgumentError(
            f"Theorem {theorem.name} takes net, the network that it is about, or matrices=True if it is about Gaussian matrices alone; got "
            f"net={theorem.net!r}, matrices={theorem.matrices}."
        )


def _watched(path: Path, name: str, function: Any, kind: type) -> Callable[..., Any]:
    """A function of a file, wrapped so that its errors name the file and the line. It must return a list of a kind, or
    one of that kind."""

    def called(*args: Any) -> list[Any]:
        with _blamed(path, f"{name} fails"):
            found = function(*args)
        several = [found] if isinstance(found, kind) else found
        if (
            not isinstance(several, Sequence)
            or isinstance(several, str)
            or not all(isinstance(one, kind) for one in several)
        ):
            raise ArgumentError(f"{path}: {name} must return a list of {kind.__name__}s; got {found!r}.")
        return list(several)

    return called


@contextmanager
def _blamed(path: Path, what: str) -> Iterator[None]:
    """An error of the file's code as an ArgumentError that names the file and the line; the package's own
    errors pass."""
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
