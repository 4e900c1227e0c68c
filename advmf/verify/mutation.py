"""The mutation score: how many wrong versions of the theorems the checks refute. It judges the checks themselves.

A claim's right-hand side is a SymPy tree, and the mistakes that a derivation may make are changes of the tree: a
constant off by 5 %, an exponent by one half, a term or factor dropped, two symbols exchanged, one taken for another,
the exponents of the dual norms. A changed claim is called a mutant. Every mutant is judged by the numbers that judge
the claim, at the same error rate. There are as many networks as resolve such a change.
"""

from __future__ import annotations

import itertools
import math
import pickle
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import cloudpickle
import numpy as np
import sympy as sp

from advmf.claim import RHS, Claim, Relation
from advmf.emit.kernels import Kernel, kernel
from advmf.errors import AdvmfError, ArgumentError
from advmf.functions import Conjugate
from advmf.progress import Progress
from advmf.symbols import N
from advmf.theorems import THEOREMS
from advmf.theorems.theorem import MatrixScale
from advmf.verify.judge import consequences
from advmf.verify.pilot import ROOM
from advmf.verify.runs import require_device, settings_of
from advmf.verify.sources.limit import INFINITE, LIMIT
from advmf.verify.sources.matrices import check_matrices
from advmf.verify.sources.simulation import measured
from advmf.verify.suite import Case
from advmf.verify.tree_changes import mutations
from advmf.verify.verdict import Finding, Verdict, jsonable
from advmf.verify.workers import compute, one_thread

CHANGE = 0.05
"""A mutant that changes the value by this much, relatively, should be caught. For an exponent it is the absolute
change."""
TIMES = 16.0
"""A case takes at most this many times the networks of its profile, to resolve CHANGE."""
UNBORN = (AdvmfError, ValueError, TypeError, AttributeError, ArithmeticError, NotImplementedError)
"""The errors that advmf or SymPy raises for a mutant without a value, such as a norm of a negative dimension or a root
of a negative number."""


@dataclass(frozen=True)
class Mutant:
    """A wrong version of a claim, and what became of it.

    ``label`` is the quantity whose value is wrong, ``kind`` and ``mutation`` the mistake, and ``change`` what it does
    to the value at the check's point, in units of its scale. ``expected`` says whether the check should refute it,
    ``caught`` whether it did, and ``reason`` why not.
    """

    theorem: str
    claim: str
    net: str
    activation: str
    p: str | None
    q: str | None
    label: str
    kind: str
    mutation: str
    change: float
    expected: bool
    caught: bool
    reason: str = ""


def _duals(case: Case, claim: Claim) -> Iterator[tuple[str, str, sp.Expr]]:
    """The right-hand sides that the theorem has for the dual exponents."""
    if claim.p is None or claim.q is None:
        return
    p, q = str(claim.p), str(claim.q)
    theorem = THEOREMS.get(case.theorem)
    if theorem is None or theorem.tests is None:  # a bound of somebody's own
        return
    dual = {p: str(Conjugate(claim.p)), q: str(Conjugate(claim.q))}
    for pair in {(dual[p], q), (p, dual[q]), (dual[p], dual[q]), (q, p)} - {(p, q)}:
        try:
            of = theorem.tested(case.net, [pair])
        except AdvmfError:  # the theorem has nothing to say there
            continue
        for other in of:
            if other.name == claim.name:
                yield "wrong norm", f"({', '.join(pair)})", other.rhs


def mutants(case: Case, claim: Claim) -> Iterator[tuple[str, str, str, Claim]]:
    """Wrong versions of a claim, each as four things: the label of what it changes, the kind of mistake, the mistake
    itself, and the claim reduced to what is changed.

    First the right-hand side is changed, and with it all equations that speak of it. A right-hand side of 0 is changed
    by a twentieth of the scale. Then each equation is changed in what it says besides. An equation that says that
    something vanishes is changed by a twentieth of its scale.
    """
    stating = tuple(e for e in claim.equations if e.states)
    label, changes = str(claim.lhs), itertools.chain(mutations(claim.rhs), _duals(case, claim))
    if stating:
        label = stating[0].label
        changes = changes if claim.rhs != 0 else _off_zero(stating[0].of(claim.rhs).scale)
    kept = {} if claim.subject == claim.lhs else claim.where
    for kind, what, wrong in changes:
        if wrong != claim.rhs:
            yield label, kind, what, replace(claim, formula=wrong, where=kept, equations=stating)
    for e in claim.equations:
        if e.rhs != RHS and not e.lhs.has(RHS):
            for kind, what, wrong in mutations(e.rhs) if e.rhs != 0 else _off_zero(e.scale):
                yield e.label, kind, what, replace(claim, equations=(replace(e, rhs=wrong),))


def _off_zero(scale: sp.Expr) -> Iterator[tuple[str, str, sp.Expr]]:
    for sign in (1, -1):
        yield "constant", f"0 {'+' if sign > 0 else '-'} 1/20 of the scale", sign * scale / 20


@dataclass(frozen=True)
class MutationJob:
    """All mutants of a case, judged on one simulation of it."""

    name: str
    content: bytes

    def perform(self, progress: Progress | None = None) -> list[dict[str, Any]]:
        case, settings, times = pickle.loads(self.content)
        judge = _judge_matrices if case.net is None else _judge_networks
        with one_thread():
            settings = resolving(case, settings, times)
            return [asdict(mutant) for mutant in judge(case, {**settings, "progress": progress})]


def mutate(
    suite: Sequence[Case],
    *,
    seed: int = 0,
    times: float = TIMES,
    workers: int = 1,
    progress: Progress | None = None,
    **options: Any,
) -> Generator[list[Mutant]]:
    """The mutants of every case of a suite, judged. Cases come as they finish.

    The numbers of networks, and of matrices, are those of the profile. They are raised, up to ``times`` as many, if
    that is needed to resolve a change of 5 %. Pilots of other networks tell. If ``nets`` is given, that number is
    taken. The other options are those of :func:`advmf.verify.runs.run`.

    Raises ArgumentError for ``times`` below 1, and as :func:`advmf.verify.runs.run` does.
    """
    if not times >= 1:
        raise ArgumentError(
            f"times is how many times the networks of the check may be taken, 1 or more; got {times!r}."
        )
    require_device(options.get("device", "cpu"))
    jobs = []
    for case, settings in zip(suite, settings_of(suite, seed, options)):
        name = f"{case.theorem} {case.name} {case.activation}".strip()
        jobs.append(MutationJob(name, cloudpickle.dumps((case, settings, times))))
    for _, found in compute(jobs, workers=workers, progress=progress):
        yield [Mutant(**each) for each in found]


def resolving(case: Case, options: Mapping[str, Any], times: float) -> dict[str, Any]:
    """The options with enough networks, or matrices, to resolve a change of CHANGE for every claim of the case. A pilot
    tells how many.

    The departure that a claim's tolerance allows uses up a part of CHANGE, and the rest has to be resolved. Where the
    tolerance is as large as CHANGE, no number of networks is enough.
    """
    if times == 1 or "nets" in options:
        return dict(options)
    reports = case.check((), {**options, "seed": -1 - options["seed"]})
    needed = 1.0
    for claim, report in zip(case.claims, reports):
        least = (CHANGE if claim.relation is Relation.ORDER else CHANGE / (1 + CHANGE)) - claim.allowed(case.point)
        found = [f.resolution for f in report.findings if math.isfinite(f.resolution)]
        if least > 0 and found:
            needed = max(needed, ROOM * (max(found) / least) ** 2)
    settings, factor = case.settings(options), min(needed, times)
    if case.net is None:
        return {**options, "samples": math.ceil(factor * settings["samples"])}
    return {**options, "nets": tuple(math.ceil(factor * count) for count in settings["nets"])}


def _judge_networks(case: Case, options: Mapping[str, Any]) -> Iterator[Mutant]:
    settings = case.settings(options)
    design, widths = settings.pop("design"), settings["widths"]
    widths = (INFINITE,) if widths == LIMIT else widths
    born = []
    for claim in case.claims:
        for *how, wrong in mutants(case, claim):
            try:
                born.append((claim, how, wrong, _change(claim, wrong, case), consequences(wrong, case.at, widths)))
            except UNBORN:
                continue
    # A wrong coefficient inside a mean asks for a mean of its own.
    others = [wrong for _, _, wrong, _, _ in born if any(e.lhs.has(RHS) for e in wrong.equations)]
    numbers, groups = measured([*case.claims, *others], case.at, settings)
    judged: dict[int, tuple[float, dict[str, Finding]]] = {}
    for claim, group in zip(case.claims, groups):
        alpha = design.alpha / len(group)
        judged[id(claim)] = alpha, {found.label: found for found in numbers.findings(claim, group, design, alpha)}
    for claim, (label, kind, what), wrong, change, group in born:
        alpha, own = judged[id(claim)]
        with np.errstate(over="ignore", invalid="ignore"):  # some mutants are off by many powers of ten
            found = numbers.findings(wrong, group, design, alpha)
        yield _mutant(case, claim, label, kind, what, change, found, [own[finding.label] for finding in found])


def _judge_matrices(case: Case, options: Mapping[str, Any]) -> Iterator[Mutant]:
    born = []
    for claim in case.claims:
        for *how, wrong in mutants(case, claim):
            try:
                born.append((claim, how, wrong, _change(claim, wrong, case)))
            except UNBORN:
                continue
    reports = check_matrices([*case.claims, *(wrong for _, _, wrong, _ in born)], case.at, **case.settings(options))
    own = {id(claim): report.findings[0] for claim, report in zip(case.claims, reports)}
    for (claim, how, _, change), report in zip(born, reports[len(case.claims) :]):
        label, kind, what = how
        yield _mutant(case, claim, label, kind, what, change, report.findings, [own[id(claim)]])


def _mutant(
    case: Case,
    claim: Claim,
    label: str,
    kind: str,
    what: str,
    change: float,
    found: Sequence[Finding],
    owns: Sequence[Finding],
) -> Mutant:
    """The mutant with its fate: whether it should be caught, and if it survived, why. Numbers that refute the claim too
    tell nothing about mutants."""
    bound = claim.relation is Relation.AT_MOST
    clean = [(f, o) for f, o in zip(found, owns) if o.verdict is not Verdict.REFUTED]
    finding, own = next((pair for pair in clean if pair[0].verdict is Verdict.REFUTED), next(zip(found, owns)))
    refuted, caught = not clean, bool(clean) and finding.verdict is Verdict.REFUTED
    expected, reason = abs(change) >= CHANGE * (1 - 1e-9), ""  # 21/20 is a twentieth, whatever its last digit
    if not expected:
        reason = "changes the value by less than 5 %"
    elif bound and change > 0:
        expected, reason = False, "a larger bound: an attack refutes from below"
    elif refuted:
        reason = f"the claim itself is {own.verdict}: {own.reason}"
    elif bound and own.ratio < (1 + change) * (1 + CHANGE):
        expected, reason = False, f"the attack reaches {own.ratio:.1%} of the bound, and this is {1 + change:.1%}"
    elif not caught and abs(finding.departure) <= claim.allowed(case.point):
        reason = (
            f"a departure of {finding.departure:+.1%}, within the {claim.allowed(case.point):g} that the claim allows"
        )
    elif not caught:
        allowed = f" beyond the {claim.allowed(case.point):g} allowed" if claim.tolerance else ""
        seen = f"a departure of {finding.departure:+.1%}, where {finding.resolution:.1%}{allowed} is resolved"
        reason = finding.reason or seen
    p, q = (None if e is None else str(e).replace("oo", "inf") for e in (claim.p, claim.q))
    return Mutant(
        case.theorem, claim.name, case.name, case.activation, p, q, label, kind, what, change, expected, caught,
        "" if caught else reason,
    )  # fmt: skip


def _change(claim: Claim, wrong: Claim, case: Case) -> float:
    """By how much the mutant changes the claim's value at the check's point, relative to the scale. For an order of
    growth, by how much it changes the exponent."""
    if claim.relation is Relation.ORDER:
        matrices = case.scale
        assert isinstance(matrices, MatrixScale)
        ends = [{**case.point, matrices.along: matrices.ladder[i]} for i in (0, -1)]
        low, high = (_value(wrong.rhs, end) / _value(claim.rhs, end) for end in ends)
        return math.log(high / low) / math.log(matrices.ladder[-1] / matrices.ladder[0])
    changed = wrong.implied[:1]
    (e,) = (e for e in claim.implied if e.label == changed[0].label) if changed else (None,)
    if e is None or e.rhs == changed[0].rhs:  # the coefficient of an identity
        own = _value(claim.rhs, case.point)
        return (_value(wrong.rhs, case.point) - own) / abs(own)
    return _value((changed[0].rhs - e.rhs) * N**e.order / e.scale, case.point)


@lru_cache(maxsize=4096)
def _compiled(expr: sp.Expr) -> Kernel:
    return kernel(expr)


def _value(expr: sp.Expr, at: Mapping[str, float]) -> float:
    compiled = _compiled(expr)
    value = float(compiled(**{name: at[name] for name in compiled.arguments}))
    if not math.isfinite(value):
        raise ValueError(f"{expr} is {value}")
    return value


def score(found: Sequence[Mutant]) -> dict[str, Any]:
    """What ``advmf mutate --json`` writes: the share caught of the mutants that should be caught, in all and for each
    theorem and kind, and every mutant."""

    def share(chosen: Sequence[Mutant]) -> dict[str, Any]:
        expected = [mutant for mutant in chosen if mutant.expected]
        caught = sum(mutant.caught for mutant in expected)
        return {"expected": len(expected), "caught": caught, "score": caught / len(expected) if expected else None}

    def by(name: str) -> dict[str, Any]:
        values = dict.fromkeys(getattr(mutant, name) for mutant in found)
        return {value: share([m for m in found if getattr(m, name) == value]) for value in values}

    return {
        **share(found),
        "total": len(found),
        "theorems": by("theorem"),
        "kinds": by("kind"),
        "mutants": [jsonable(asdict(mutant)) for mutant in found],
    }
