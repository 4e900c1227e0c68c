"""Check claims about Gaussian matrices: norm factors against sampled norms, orders of growth against log-log slopes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sympy as sp
import torch

from advmf.boundary import public, whole
from advmf.claim import Claim, Relation
from advmf.errors import ArgumentError, refuse_unused
from advmf.events import event_of, letters, quantity
from advmf.observables import Expectation, MatrixNorm, Probability, Quantile
from advmf.progress import Progress, shown
from advmf.simulate.geometry import order
from advmf.simulate.matrices import GaussianNorms, gaussian_norms
from advmf.simulate.opnorm import enumerable
from advmf.symbols import SYMBOLS
from advmf.verify.check import Run, checked
from advmf.verify.norms import judge_norms
from advmf.verify.provenance import provenance
from advmf.verify.sequential import Look, looks, told
from advmf.verify.sources.arguments import LEAST_SEED
from advmf.verify.statistics import Design
from advmf.verify.tails import TAILS, of_matrices, require_level
from advmf.verify.values import value
from advmf.verify.verdict import Finding, Report

SAMPLES = 200
SIGNS = 16
"""Norms are exact where so many signs can all be tried: 65,536 products for each matrix, some milliseconds."""
FEW_SIGNS = 6
"""With more signs than these, trying them all counts as a search."""


@public
def check_matrices(
    claims: Sequence[Claim],
    at: Mapping[str, Any],
    *,
    samples: int | str = SAMPLES,
    ladder: Sequence[int] = (),
    along: str = "d",
    seed: int = 0,
    design: Design | None = None,
    sequential: bool = False,
    searched: int | None = None,
    progress: Progress | bool | None = None,
) -> list[Report]:
    """Check claims about the norms of Gaussian matrices (:func:`advmf.norm_factor` and :func:`advmf.growth` of it) on
    the same samples.

    A claim may also be about the ``Probability`` of an event of a ``MatrixNorm``, or a ``Quantile`` of it: these are
    judged by exact counts (:func:`advmf.verify.counted.judge_counts`).

    ``at`` gives d and K, and other letters of such an event. A claim of growth is checked over the ``ladder`` of
    dimensions ``along`` d or K, the other one as in ``at``: the slope of ln E‖G‖ against the logarithm of the
    dimension, less that of the claimed order, by least squares. It is about the limit, and what a finite ladder leaves
    of other terms must stay within ``tolerance`` of the claim: an equivalence test, as for "approx".

    The norms are exact for p = 1, for q = oo, at (2, 2), and where all signs of up to 16 coordinates can be tried;
    elsewhere they are bracketed. What is claimed to be less than the norms that were found is REFUTED, and what is
    claimed to be more than their certified upper bounds; in between, a claim that is too high is UNDERPOWERED.

    Of norms that are bracketed, or take all signs of more than six coordinates, ``searched`` are sampled, if given: a
    search takes long. ``samples`` may be "pilot", and ``sequential`` True, as the ``nets`` of :func:`advmf.check_all`.

    Raises ArgumentError for claims about anything else, for missing or unknown values, and for a ladder of fewer than
    three rungs or along the other dimension; DomainError for fewer than two samples; all before anything is sampled.

    >>> import advmf as mf
    >>> report = mf.check(mf.norm_factor(2, 2), at=dict(d=30, K=5), samples=400)
    >>> report.verdict, 0.99 < report.ratio < 1.01
    (<Verdict.SUPPORTED: 'SUPPORTED'>, True)
    """
    with shown(progress) as told:
        run = Run(samples, whole("seed", seed, LEAST_SEED), sequential, told)
        return checked(claims, matrices(at, ladder, along, searched), run, "samples", design)


def matrices(
    at: Mapping[str, Any], ladder: Sequence[int] = (), along: str = "d", searched: int | None = None
) -> Callable[[Sequence[Claim], Run], Matrices]:
    """What makes the matrices of a run at a point, or over a ladder of dimensions; of norms that are searched for
    ``searched`` are sampled, if given."""
    return lambda claims, run: Matrices(claims, at, ladder, along, run, searched)


class Matrices:
    """The Gaussian matrices of a check, of which as many are sampled as are asked for."""

    def __init__(
        self,
        claims: Sequence[Claim],
        at: Mapping[str, Any],
        ladder: Sequence[int],
        along: str,
        run: Run,
        searched: int | None = None,
    ) -> None:
        samples = whole("samples", run.count, 2)
        self.at, self._claims, self._along, self._ladder = _validated(claims, at, ladder, along), claims, along, ladder
        self._samples, self._sequential = samples, run.sequential
        self.schedule = looks([samples], run.sequential)
        self._rungs = [{**self.at, along: int(v)} for v in sorted(ladder)] or [self.at]
        pairs = list(dict.fromkeys(map(_pair, claims)))
        top = self._rungs[-1]
        fewer = samples if searched is None else min(samples, whole("searched", searched, 2))
        hard = [(p, q) for p, q in pairs if not enumerable(top["K"], top["d"], order(p), order(q), FEW_SIGNS)]
        self._counts = {pair: fewer if pair in hard else samples for pair in pairs}
        step = portion(run.progress, len(self._rungs))
        self._sampled = [_Sampled(rung, self._counts, run.seed, step) for rung in self._rungs]

    def judged(self, look: Look, design: Design) -> list[tuple[Finding]]:
        """The finding on each claim."""
        found = [each.upto(look) for each in self._sampled]
        norms = [[each[_pair(claim)] for each in found] for claim in self._claims]
        return [(judge_norms(claim, own, self._rungs, self._along, design),) for claim, own in zip(self._claims, norms)]

    def finish(self) -> None:
        """No more matrices are wanted."""
        for each in self._sampled:
            each.finish()

    def settings(self, claim: Claim, look: Look) -> dict[str, Any]:
        """Where the numbers on a claim come from."""
        exact = all(each.exact(_pair(claim)) for each in self._sampled)
        stopped = told(look, self._samples) if self._sequential else {}
        over = {"along": self._along, "ladder": list(self._ladder)} if self._ladder else {}
        samples = look.count(self._counts[_pair(claim)])
        return {"samples": samples, **stopped, "exact": exact, **provenance("float64", "cpu"), **over}

    def named(self, claim: Claim) -> tuple[str, str, str | None, str | None]:
        p, q = (str(e).replace("oo", "inf") for e in _pair(claim))
        return claim.name, "matrix", p, q


class _Sampled:
    """The norms of the matrices of one rung, of which as many are sampled for each pair (p, q) as are asked for.

    Pairs of as many samples share their matrices.
    """

    def __init__(
        self,
        rung: Mapping[str, int],
        counts: Mapping[tuple[sp.Expr, sp.Expr], int],
        seed: int,
        progress: Progress | None,
    ) -> None:
        totals = dict.fromkeys(counts.values())
        step = portion(progress, len(totals))
        self._groups = [
            _Group(rung, [pair for pair, count in counts.items() if count == total], total, seed, step)
            for total in totals
        ]

    def upto(self, look: Look) -> dict[tuple[Any, Any], tuple[torch.Tensor, torch.Tensor]]:
        """What was found of the norms of the matrices of a look, and their certified upper bounds."""
        return {pair: found for group in self._groups for pair, found in group.upto(look).items()}

    def exact(self, pair: tuple[sp.Expr, sp.Expr]) -> bool:
        return next(group for group in self._groups if pair in group.pairs).exact(pair)

    def finish(self) -> None:
        """No more matrices are wanted."""
        for group in self._groups:
            group.finish()


class _Group:
    """The matrices of one rung for some pairs."""

    def __init__(
        self,
        rung: Mapping[str, int],
        pairs: Sequence[tuple[sp.Expr, sp.Expr]],
        samples: int,
        seed: int,
        progress: Progress | None,
    ) -> None:
        self.pairs = pairs
        self._d, self._K, self._samples = rung["d"], rung["K"], samples
        own = hashlib.sha256(f"{seed}|{self._d}|{self._K}".encode()).digest()[:7]
        self._generator = torch.Generator().manual_seed(int.from_bytes(own, "big"))
        self._progress, self._reported = progress, 0.0
        self._blocks: list[dict[tuple[Any, Any], GaussianNorms]] = []
        self._count = 0

    def upto(self, look: Look) -> dict[tuple[Any, Any], tuple[torch.Tensor, torch.Tensor]]:
        samples = look.count(self._samples)
        if samples > self._count:
            before, more = self._count, samples - self._count
            options: dict[str, Any] = {"samples": more, "generator": self._generator, "signs": SIGNS, "certify": True}
            options["progress"] = lambda done, total: self._advanced((before + more * done / total) / self._samples)
            self._blocks.append(gaussian_norms(self._d, self._K, self.pairs, **options))
            self._count = samples
        return {pair: (self._joined(pair, "lower"), self._joined(pair, "upper")) for pair in self.pairs}

    def exact(self, pair: tuple[sp.Expr, sp.Expr]) -> bool:
        return self._blocks[0][pair].exact

    def finish(self) -> None:
        self._advanced(1.0)

    def _joined(self, pair: tuple[sp.Expr, sp.Expr], end: str) -> torch.Tensor:
        return torch.cat([getattr(block[pair], end) for block in self._blocks])

    def _advanced(self, done: float) -> None:
        """Pass on the work done, in steps of a twentieth or more."""
        if self._progress and done > self._reported and (done == 1.0 or done - self._reported >= 1 / 20):
            self._progress(done - self._reported, f"d={self._d} K={self._K}")
            self._reported = done


def portion(progress: Progress | None, parts: int, what: str = "") -> Progress | None:
    """The progress of one of so many parts, which is ``what``."""
    return None if progress is None else lambda share, inner: progress(share / parts, f"{what} {inner}".strip())


def _norm(claim: Claim) -> sp.Expr:
    """What a claim about matrices is the mean, the quantile or an event of."""
    if isinstance(claim.lhs, Probability):
        return event_of(claim.subject).product
    return quantity(claim.subject) if isinstance(claim.lhs, Quantile) else claim.lhs.args[0]


def _pair(claim: Claim) -> tuple[sp.Expr, sp.Expr]:
    """The p and q of the norm that a claim speaks of."""
    p, q = _norm(claim).args
    return p, q


def _validated(claims: Sequence[Claim], at: Mapping[str, Any], ladder: Sequence[int], along: str) -> dict[str, Any]:
    if not claims:
        raise ArgumentError("There is no claim to check.")
    for claim in claims:
        require_level(claim)
        if not (isinstance(claim.lhs, (Expectation, *TAILS)) and isinstance(_norm(claim), MatrixNorm)):
            raise ArgumentError(
                f"{claim.name}: the left-hand side must be the mean or a quantile of a MatrixNorm, or the probability of an event "
                f"about one; got {claim.lhs}."
            )
        if claim.equations:
            raise ArgumentError(
                f"{claim.name}: a claim about Gaussian matrices is judged by its two sides; it takes no equations."
            )
        if not all(exponent.is_number for exponent in _pair(claim)):
            raise ArgumentError(f"{claim.name}: give numbers for p and q; got {claim.lhs}.")
        if (claim.relation is Relation.ORDER) != bool(ladder):
            raise ArgumentError(
                "Claims of growth, and no others, take a ladder of dimensions; check them in a call of their own."
            )
    if along not in ("d", "K"):
        raise ArgumentError(f"along must be 'd' or 'K'; got {along!r}.")
    if ladder and len(set(ladder)) < 3:
        raise ArgumentError(f"A slope and its fit take a ladder of three dimensions at least; got {list(ladder)}.")
    for rung in ladder:
        _dimension("ladder", rung)
    if ladder and any(({"d", "K"} - {along}) & {s.name for s in claim.rhs.free_symbols} for claim in claims):
        raise ArgumentError(f"The ladder is along {along}, and a claim of growth speaks of the other dimension.")
    at = {along: 1, **at} if ladder else at
    own = set().union(*(_letters(claim) for claim in claims))
    if "N" in own:
        raise ArgumentError("A claim about Gaussian matrices speaks of d and K; there is no width N.")
    if missing := sorted(({"d", "K"} | own) - set(at)):
        raise ArgumentError(
            f"at lacks {', '.join(missing)}; norms of Gaussian matrices need d and K{''.join(f', {o}' for o in sorted(own))}."
        )
    refuse_unused("at", set(at) - set(SYMBOLS), ("d", "K", *own))
    values: dict[str, Any] = {name: _dimension(f"at[{name!r}]", at[name]) for name in ("d", "K")}
    values.update({name: _number(name, at[name]) for name in sorted(own)})
    for claim in claims:
        if isinstance(claim.lhs, TAILS):
            of_matrices(claim, values)
        elif not ladder and value(claim.rhs, values) == 0:
            raise ArgumentError(
                f"{claim.name} compares a norm with 0 at this point, on no scale; give it another right-hand side."
            )
    return values


def _letters(claim: Claim) -> set[str]:
    """The names of the letters of a probability or a quantile, and of what it is compared with, beside d and K."""
    if not isinstance(claim.lhs, TAILS):
        return set()
    return {s.name for s in letters(claim.subject) | claim.rhs.free_symbols} - {"d", "K"}


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | sp.Expr):
        raise ArgumentError(f"at[{name!r}] must be a number; got {value!r}.")
    return float(value)


def _dimension(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not float(value).is_integer() or value < 1:
        raise ArgumentError(f"{name} takes dimensions, each an integer >= 1; got {value!r}.")
    return int(value)
