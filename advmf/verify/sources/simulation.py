"""Check claims against simulated networks.

Networks of several widths are sampled, run on real images and attacked. Each claim's consequences are estimated,
extrapolated to 1/N = 0 where the claim is about large width, and decided at the declared error rates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import sympy as sp
import torch

from advmf.boundary import public, share_of, whole
from advmf.claim import Claim
from advmf.errors import one_of
from advmf.observables import Observable, Output
from advmf.progress import Progress, shown
from advmf.simulate.data import Images, load
from advmf.simulate.ensemble import MEMORY, Ensemble
from advmf.simulate.estimate import queries
from advmf.simulate.probe import AttackSettings
from advmf.simulate.sampling import sample
from advmf.verify.check import Run, checked, named
from advmf.verify.counted import Sample, effect_of, judge_counts
from advmf.verify.judge import Test, consequences, judge
from advmf.verify.provenance import provenance
from advmf.verify.relations import deciding, sound
from advmf.verify.sequential import Look, looks, told
from advmf.verify.soundness import overflown, underflown
from advmf.verify.sources.arguments import (
    FLOATS,
    LEAST_SEED,
    NETS,
    Sampling,
    arranged,
    generator_of,
    ladder_of,
    require_stated,
    validated,
)
from advmf.verify.sources.kinks import require_slopes
from advmf.verify.sources.limit import GIVEN, INFINITE
from advmf.verify.sources.parts import Column, Part, plan, terms
from advmf.verify.sources.parts import whole as whole_of
from advmf.verify.statistics import Design, Rung
from advmf.verify.tails import Tail
from advmf.verify.verdict import Finding, Reports


@public
def check_all(
    claims: Sequence[Claim],
    at: Mapping[str, Any],
    *,
    seed: int = 0,
    widths: Sequence[int] | str | None = None,
    nets: int | Sequence[int] | str = NETS,
    data: str | Images = "digits",
    design: Design | None = None,
    steps: int | None = None,
    restarts: int = 1,
    directions: int | None = None,
    dtype: str = "float32",
    device: str = "cpu",
    memory: int = MEMORY,
    sampler: str = "auto",
    attacked: float = 1.0,
    sequential: bool = False,
    progress: Progress | bool | None = None,
    parts: MutableMapping[str, Any] | None = None,
) -> Reports:
    """Check claims about one net on the same sampled networks. There is one report per claim, in order; together they
    have a table, a page and a figure (:class:`advmf.Reports`).

    ``at`` gives ``L``, ``d``, ``K``, the net's symbols, ``eps`` for adversarial losses, and optionally ``x_sq`` (1 if
    not given: every image is scaled to |x|²/d = x_sq) and ``N``. Claims about large width are simulated at ``widths``,
    by default N/8, N/4, N/2 and N (1024 if not given), and extrapolated by a polynomial of degree 2 in 1/N. Claims that
    hold at every width are averaged over the widths. ``nets`` is the number of networks of each width, or has a number
    for each width. With ``"pilot"``, pilots on other networks find how many resolve what ``design`` declares. A claim
    about a ``Probability`` or a ``Quantile`` (:mod:`advmf.observables`) is judged by exact counts at each width by
    itself, and one about large width at the widest. With ``widths="limit"`` claims about large width are judged on
    networks of infinite width, without a ladder or an extrapolation. The report then says that its numbers are given
    the limit kernel. ``sampler`` and ``memory`` are those of :func:`advmf.simulate.sample`. Wide networks are simulated
    without their weights. Where the attacks on one network would outgrow ``memory``, the pairs (p, q) are shared among
    several networks. Every network sees its own image, drawn from ``data`` (a name or path for
    :func:`advmf.simulate.load`) and resampled to ``d`` pixels if need be.

    ``steps``, ``restarts`` and ``directions`` are those of the attack, with its defaults
    (:func:`advmf.simulate.attack`). ``attacked`` is the share of the networks that are attacked. Of the others eps
    ‖J(x)‖ is measured, which an attack is close to, and of those that are attacked the difference. The two means add up
    to that of the attacks. In small balls this takes far less time for the same standard error. ``design`` declares the
    error rates. With ``sequential`` the simulation stops as soon as every consequence is decided, within the same
    rates. It may stop after 1/2, 1/4, 1/8, … of the networks (:mod:`advmf.verify.sequential`), and the report's
    ``settings`` say when. A terminal or a notebook shows a bar meanwhile, unless ``progress`` is False or a function,
    which is called as ``progress(share, what)``. ``parts`` holds the finished parts of this very check: pilots, and
    each width up to each look. It gets the other parts as they finish, so that an interrupted check can go on. The same
    seed gives the same numbers on the same type of processor, with the same versions of the libraries and as many
    threads. Elsewhere they agree within their standard errors.

    All errors come before anything is simulated. Raises ArgumentError or DomainError for missing, unknown or
    inadmissible values, and for claims that the limit does not judge. Raises DeclarationError for a net whose limit is
    not known, and MemoryBudgetError and DataError.
    """
    sampling = Sampling(widths, data, dtype, device, memory, sampler, attacked)
    attack = sampling.attack(steps=steps, restarts=restarts, directions=directions)
    with shown(progress) as told:
        run = Run(nets, whole("seed", seed, LEAST_SEED), sequential, told, parts)
        return Reports(checked(claims, networks(at, sampling, attack), run, "nets", design))


def networks(
    at: Mapping[str, Any], sampling: Sampling, attack: AttackSettings
) -> Callable[[Sequence[Claim], Run], Simulation]:
    """A function that makes the networks of a run at a point."""
    return lambda claims, run: Simulation(claims, at, sampling, attack, run)


def measured(
    claims: Sequence[Claim], at: Mapping[str, Any], options: Mapping[str, Any]
) -> tuple[Measured, list[list[Test]]]:
    """The numbers by which :func:`check_all` judges the claims, and the consequences of each claim. The options are its
    arguments."""
    found = Simulation(claims, at, *arranged(options))
    return found.upto(found.schedule[-1]), found.groups


@dataclass(frozen=True)
class Measured:
    """The measured numbers: the mean of every product of observables at every width, at the point ``at``."""

    at: Mapping[str, float]
    tables: Mapping[sp.Expr, tuple[Rung, ...]]
    sizes: Mapping[Observable, tuple[Rung, ...]]
    """The mean size of every observable in the products."""
    noise: float
    """The size that rounding may leave of a quantity that vanishes."""
    rounding: float
    """The same, relative to the size of the terms that cancel."""
    dtype: str
    numbers: Mapping[sp.Expr, tuple[np.ndarray, ...]] = field(default_factory=dict)
    """For products that are counted: the number of every network, at every width."""

    def findings(self, claim: Claim, group: Sequence[Test], design: Design, alpha: float) -> tuple[Finding, ...]:
        """The findings on the consequences of a claim, at the rate ``alpha`` for each."""
        return tuple(self._finding(claim, test, design, alpha) for test in group)

    def _finding(self, claim: Claim, test: Test, design: Design, alpha: float) -> Finding:
        tolerance = claim.allowed(self.at)
        if isinstance(test, Tail):
            rungs, effect = zip(self.tables[test.product], self.numbers[test.product]), effect_of(test, design)
            samples = [Sample.of(test, rung.N, numbers) for rung, numbers in rungs if rung.N in test.widths]
            rates = alpha, design.beta
            return judge_counts(test, samples, claim.relation, tolerance, rates, effect, self.doubt(test))
        decide, rungs = deciding(claim.relation, tolerance), self.tables[test.product]
        found = judge(test, rungs, alpha, design, decide, self.noise, self.rounding, self.doubt(test))
        return sound(found, test)

    def doubt(self, test: Test) -> str:
        """Why the numbers say nothing of a consequence, if they do not."""
        sizes, dtype = test.sizes if isinstance(test, Tail) else test.scale, self.dtype
        rungs = [r for r in self.tables[test.product] if r.N in sizes]
        own = {o: [r for r in found if r.N in sizes] for o, found in self.sizes.items()}
        return overflown(rungs, dtype) or underflown(test.product, own, [sizes[r.N] for r in rungs], dtype)


class Simulation:
    """The networks of a check. They are simulated only as far as a look asks for them.

    ``attack`` says how they are attacked, at the radius of the point. ``groups`` has the consequences of each claim,
    ``ladder`` the declared number of networks of each width, ``schedule`` the looks. Wrong arguments are refused at
    once, before anything is simulated.
    """

    def __init__(
        self, claims: Sequence[Claim], at: Mapping[str, Any], sampling: Sampling, attack: AttackSettings, run: Run
    ) -> None:
        net, at = validated(claims, at)
        self.at, self.ladder = at, ladder_of(claims, at, sampling.widths, run.count)
        self.schedule, self._sequential = looks(self.ladder.values(), run.sequential), run.sequential
        self._claims = claims
        self.groups = [consequences(claim, at, tuple(self.ladder)) for claim in claims]
        for claim, group in zip(claims, self.groups):
            require_stated(claim, group)
        products = list(dict.fromkeys([t.product for group in self.groups for t in group] + [Output(0) ** 2]))
        settings = replace(attack, eps=at.get("eps"))
        precision, data = FLOATS[one_of("dtype", sampling.dtype, FLOATS)], sampling.data
        images = (load(data) if isinstance(data, str) else data).resampled(int(at["d"])).scaled(at["x_sq"])
        needed = {s.name for _, expr in net.parameters for s in expr.free_symbols} - {"N", "L", "d", "K"}
        generators = {N: generator_of(run.seed, net, at, N) for N in self.ladder}
        given: dict[str, Any] = {name: at[name] for name in ("L", "d", "K", *needed)}
        require_slopes(products, net, given, images)

        def draw(N: int, nets: int, own: list[sp.Expr]) -> Ensemble:
            vectors = queries(own, settings, int(at["K"]), int(at["d"]))
            return sample(
                net, N=N, nets=nets, generator=generators[N], dtype=precision, device=sampling.device,
                memory=sampling.memory, sampler=sampling.sampler, queries=vectors, keep=False, **given,
            )  # fmt: skip

        self.attacked = {N: _attacked(nets, share_of("attacked", sampling.attacked)) for N, nets in self.ladder.items()}

        def planned(N: int, nets: int) -> list[tuple[list[Column], Ensemble]]:
            few, apart = self.attacked[N], N == INFINITE
            split = terms(products, {**at, "N": N}) if few < nets else None
            if split is None:
                self.attacked[N] = nets
                return plan(whole_of(products), partial(draw, N, nets), apart)
            return plan(split[0], partial(draw, N, nets - few)) + plan(split[1], partial(draw, N, few), apart)

        plans = {N: planned(N, nets) for N, nets in self.ladder.items()}
        finished = {} if run.parts is None else run.parts
        self._parts = [
            Part(own, ensemble, images, generators[N], settings, f"N={N}/{share}", finished)
            for N, shares in plans.items()
            for share, (own, ensemble) in enumerate(shares)
        ]
        self._total = sum(part.ensemble.bytes_per_network * part.ensemble.nets for part in self._parts)
        self._done, self._progress = 0, run.progress
        self._rounding = 1e3 * torch.finfo(precision).eps
        self._origin: dict[str, Any] = {
            "widths": [N if math.isfinite(N) else str(N) for N in self.ladder],
            "samplers": [shares[0][1].sampler for shares in plans.values()],
            **({"given": GIVEN} if INFINITE in self.ladder else {}),
            "data": images.name, "data_sha256": images.sha256,
            "attack": {"steps": attack.steps, "restarts": attack.restarts, "directions": attack.directions},
            **({"attacked": list(self.attacked.values())} if self.attacked != self.ladder else {}),
            **provenance(sampling.dtype, sampling.device),
        }  # fmt: skip

    def upto(self, look: Look) -> Measured:
        """The measured numbers of a look's networks. Networks of earlier looks are not simulated again."""
        tables: dict[sp.Expr, tuple[Rung, ...]] = {}
        sizes: dict[Observable, dict[int, Rung]] = {}
        numbers: dict[sp.Expr, tuple[np.ndarray, ...]] = {}
        for part in self._parts:
            part.advance(look.count(part.ensemble.nets), self._advanced)
            for product, rung in part.rungs():
                tables[product] = _joined(tables.get(product, ()), rung)
            for o, rung in part.sizes():
                sizes.setdefault(o, {})[rung.N] = rung
            for product, own in part.numbers():
                numbers[product] = (*numbers.get(product, ()), own)
        noise = self._rounding * tables[Output(0) ** 2][-1].mean
        return Measured(
            self.at,
            tables,
            {o: tuple(by.values()) for o, by in sizes.items()},
            noise,
            self._rounding,
            self._origin["dtype"],
            numbers,
        )

    def judged(self, look: Look, design: Design) -> list[tuple[Finding, ...]]:
        """The findings on each claim."""
        found = self.upto(look)
        return [
            found.findings(c, group, design, design.alpha / len(group)) for c, group in zip(self._claims, self.groups)
        ]

    def named(self, claim: Claim) -> tuple[str, str, str | None, str | None]:
        return named(claim)

    def settings(self, claim: Claim, look: Look) -> dict[str, Any]:
        """Where the numbers of a look come from."""
        nets = [look.count(count) for count in self.ladder.values()]
        stopped = told(look, list(self.ladder.values())) if self._sequential else {}
        return {**self._origin, "nets": nets, **stopped}

    def finish(self) -> None:
        """No more networks are wanted. The rest of the work counts as done."""
        if self._progress and self._done < self._total:
            self._progress(1 - self._done / self._total, "decided")

    def _advanced(self, ensemble: Ensemble, nets: int, what: str) -> None:
        if self._progress:
            self._done += nets * ensemble.bytes_per_network
            self._progress(nets * ensemble.bytes_per_network / self._total, what)


def _attacked(nets: int, share: float) -> int:
    """How many of the networks are attacked: all, or two at least, where two others are left."""
    few = max(2, math.ceil(share * nets))
    return nets if share == 1 or few > nets - 2 else few


def _joined(rungs: tuple[Rung, ...], rung: Rung) -> tuple[Rung, ...]:
    """The rungs of a product with one more. Where it is of the last one's width, it is that of another term."""
    if rungs and rungs[-1].N == rung.N:
        return (*rungs[:-1], rungs[-1].plus(rung))
    return (*rungs, rung)
