"""Check claims against simulated networks.

Networks of several widths are sampled, run on real images and attacked; each claim's consequences are estimated, extrapolated
to 1/N = 0 where the claim is about large width, and decided at the declared error rates.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import sympy as sp
import torch

from advmf.claim import Claim, Regime
from advmf.errors import ArgumentError, MemoryBudgetError
from advmf.observables import AdversarialLoss, LossDecay, Output, WeightNormSlope, WeightVarianceSlope
from advmf.simulate.data import Images, load
from advmf.simulate.ensemble import MEMORY, Ensemble, sample
from advmf.simulate.estimate import AttackSettings, measure, queries
from advmf.simulate.networks import expressions
from advmf.symbols import SYMBOLS
from advmf.verify.judge import Consequence, consequences, decide_bound, decide_equality, judge
from advmf.verify.provenance import provenance
from advmf.verify.report import Finding, Report
from advmf.verify.statistics import Design, Rung, Running
from advmf.verify.workers import TAKEN_OVER, Progress

ATTACKED = (AdversarialLoss, WeightVarianceSlope, WeightNormSlope, LossDecay)
"""Observables that need an attack."""

TOP_WIDTH = 1024
NETS = 128
PILOT = 64
"""Networks of each width in the first pilot."""
ROOM = 1.5
"""How many more networks are taken than a pilot asks for, whose own scatter is uncertain."""
LARGEST = 1000.0
"""The most that the first pilot grows by; what would need more comes out UNDERPOWERED."""


def check_all(
    claims: Sequence[Claim],
    at: Mapping[str, Any],
    *,
    seed: int = 0,
    widths: Sequence[int] | None = None,
    nets: int | Sequence[int] | str = NETS,
    data: str | Images = "digits",
    design: Design | None = None,
    steps: int = 10,
    restarts: int = 1,
    directions: int = 16,
    dtype: str = "float32",
    device: str = "cpu",
    memory: int = MEMORY,
    sampler: str = "auto",
    progress: Progress | None = None,
    parts: MutableMapping[str, Any] | None = None,
) -> list[Report]:
    """Check claims about one net on the same sampled networks; one report per claim, in order.

    ``at`` gives ``L``, ``d``, ``K``, the net's symbols, ``eps`` for adversarial losses, and optionally ``x_sq`` (1 if not given:
    every image is scaled to |x|²/d = x_sq) and ``N``. Claims about large width are simulated at ``widths``, by default
    N/8, N/4, N/2 and N (1024 if not given), with ``nets`` networks each (or a number for each width; by ``"pilot"`` as many as
    pilots with other networks ask for, to resolve what ``design`` declares), and extrapolated by a polynomial of degree 2 in 1/N; claims that
    hold at every width are averaged over the widths. ``sampler`` and ``memory`` are those of
    :func:`advmf.simulate.sample`: wide networks are simulated without their weights, and where the attacks of one network would
    outgrow ``memory``, the pairs (p, q) are shared among several. Every network sees its own image, drawn from ``data`` (a name
    or path for :func:`advmf.simulate.load`) and resampled to ``d`` pixels if need be.

    ``steps``, ``restarts`` and ``directions`` are those of the attack (:func:`advmf.simulate.attack_trace`). ``design`` declares the
    error rates. ``progress`` is called as ``progress(share, what)``. ``parts`` holds what is finished of this very check, and gets
    what each width gave: a check that was broken off goes on by it. The same seed gives the same numbers.

    Raises ArgumentError or DomainError for missing, unknown or inadmissible values, MemoryBudgetError and DataError, all
    before anything is simulated.
    """
    started = time.perf_counter()
    design = design or Design()
    options: dict[str, Any] = {
        "widths": widths, "data": data, "steps": steps, "restarts": restarts, "directions": directions, "dtype": dtype,
        "device": device, "memory": memory, "sampler": sampler, "progress": progress,
    }  # fmt: skip
    if isinstance(nets, str):
        nets = _piloted(claims, at, nets, design, seed, options)
    parts = {} if parts is None else parts
    earlier = sum(part["seconds"] for part in parts.values())
    found, groups = measured(claims, at, seed=seed, nets=nets, parts=parts, **options)
    seconds = (earlier + time.perf_counter() - started) / len(claims)
    reports = []
    for claim, group in zip(claims, groups):
        findings = found.findings(claim, group, design, design.alpha / len(group))
        p, q = (None if e is None else str(e).replace("oo", "inf") for e in (claim.p, claim.q))
        settings = {
            "regime": str(claim.regime),
            "heuristic": claim.heuristic,
            **found.settings,
            "design": asdict(design),
        }
        name = str(claim.net.name if claim.net else "")
        reports.append(Report(claim.name, name, p, q, findings, found.at, seed, seconds, settings))
    return reports


def _piloted(
    claims: Sequence[Claim], at: Mapping[str, Any], nets: str, design: Design, seed: int, options: Mapping[str, Any]
) -> int:
    """The networks of each width that resolve every consequence: pilots grow until one does, for the scatter of heavy tails shows late.

    Their networks are not used again.
    """
    if nets != "pilot":
        raise ArgumentError(f"nets is a number of networks, one for each width, or 'pilot'; got {nets!r}.")
    count, most = PILOT, int(PILOT * LARGEST)
    while True:
        pilot = check_all(claims, at, seed=-count - seed * most, nets=count, design=design, **options)
        found = [f.resolution / f.effect for report in pilot for f in report.findings if math.isfinite(f.resolution)]
        needed = ROOM * max(found, default=1.0) ** 2
        if needed <= ROOM or count == most:
            return math.ceil(count * min(max(needed, 0.25), ROOM))
        count = min(math.ceil(count * min(needed, 4.0)), most)


@dataclass(frozen=True)
class Measured:
    """What was measured: the mean of every product of observables at every width, at the point ``at``."""

    at: Mapping[str, float]
    tables: Mapping[sp.Expr, tuple[Rung, ...]]
    noise: float
    """What rounding may leave of a quantity that vanishes."""
    settings: Mapping[str, Any]

    def findings(self, claim: Claim, group: Sequence[Consequence], design: Design, alpha: float) -> tuple[Finding, ...]:
        """The findings on the consequences of a claim, at the rate ``alpha`` for each."""
        decide = decide_bound if claim.relation == "<=" else partial(decide_equality, tolerance=claim.tolerance)
        return tuple(judge(t, self.tables[t.product], alpha, design, decide, self.noise) for t in group)


def measured(
    claims: Sequence[Claim],
    at: Mapping[str, Any],
    *,
    seed: int = 0,
    widths: Sequence[int] | None = None,
    nets: int | Sequence[int] = NETS,
    data: str | Images = "digits",
    steps: int = 10,
    restarts: int = 1,
    directions: int = 16,
    dtype: str = "float32",
    device: str = "cpu",
    memory: int = MEMORY,
    sampler: str = "auto",
    progress: Progress | None = None,
    parts: MutableMapping[str, Any] | None = None,
) -> tuple[Measured, list[list[Consequence]]]:
    """What :func:`check_all` judges the claims by, and the consequences of each claim; the arguments are its own."""
    parts = {} if parts is None else parts
    net, at = _validated(claims, at)
    ladder = _ladder(claims, at, widths, nets)
    groups = [consequences(claim, at, tuple(ladder)) for claim in claims]
    products = list(dict.fromkeys([t.product for group in groups for t in group] + [Output(0) ** 2]))
    settings = AttackSettings(at.get("eps"), steps, restarts, directions)
    images = (load(data) if isinstance(data, str) else data).resampled(int(at["d"])).scaled(at["x_sq"])
    needed = {s.name for _, expr in expressions(net.block) for s in expr.free_symbols} - {"N", "L", "d", "K"}
    generators = {N: _generator(seed, net, at, N) for N in ladder}
    given: dict[str, Any] = {name: at[name] for name in ("L", "d", "K", *needed)}

    def draw(N: int, own: list[sp.Expr]) -> Ensemble:
        vectors = queries(own, settings, int(at["K"]), int(at["d"]))
        return sample(
            net, N=N, nets=ladder[N], generator=generators[N], dtype=getattr(torch, dtype), device=device, memory=memory,
            sampler=sampler, queries=vectors, keep=False, **given,
        )  # fmt: skip

    plan = {N: _plan(products, partial(draw, N)) for N in ladder}
    total = sum(e.bytes_per_network * e.nets for shares in plan.values() for _, e in shares)
    tables: dict[sp.Expr, tuple[Rung, ...]] = dict.fromkeys(products, ())
    for N, shares in plan.items():
        # A width is the least that can be taken over: its shares draw from one generator, one after the other.
        if f"N={N}" not in parts:
            started, rungs = time.perf_counter(), []
            for own, ensemble in shares:
                found = _measure(ensemble, images, own, settings, generators[N], total, progress)
                columns = (found.mean.tolist(), found.stderr.tolist(), found.skew.tolist())
                rungs += [[found.count, *row] for row in zip(*columns)]
            parts[f"N={N}"] = {"rungs": rungs, "seconds": time.perf_counter() - started}
        elif progress:
            progress(sum(e.bytes_per_network * e.nets for _, e in shares) / total, TAKEN_OVER)
        measured_at = [product for own, _ in shares for product in own]
        for product, row in zip(measured_at, parts[f"N={N}"]["rungs"], strict=True):
            tables[product] = (*tables[product], Rung(N, *row))
    noise = 1e3 * torch.finfo(getattr(torch, dtype)).eps * tables[Output(0) ** 2][-1].mean
    origin: dict[str, Any] = {
        "widths": list(ladder), "nets": list(ladder.values()), "samplers": [shares[0][1].sampler for shares in plan.values()],
        "data": images.name, "data_sha256": images.sha256, "attack": {"steps": steps, "restarts": restarts, "directions": directions},
        **provenance(dtype, device),
    }  # fmt: skip
    return Measured(at, tables, noise, origin), groups


def _plan(products: list[sp.Expr], draw: Callable[[list[sp.Expr]], Ensemble]) -> list[tuple[list[sp.Expr], Ensemble]]:
    """Which products are measured on which ensemble: on one, and where its attacks do not fit into memory, by halves.

    Raises MemoryBudgetError where a single attack does not fit.
    """
    try:
        return [(products, draw(products))]
    except MemoryBudgetError:
        attacked = [
            product for product in products if product.has(AdversarialLoss, WeightVarianceSlope, WeightNormSlope)
        ]
        if len(attacked) < 2:
            raise
        later = attacked[len(attacked) // 2 :]
        return _plan([product for product in products if product not in later], draw) + _plan(later, draw)


def _measure(
    ensemble: Ensemble,
    images: Images,
    products: Sequence[sp.Expr],
    settings: AttackSettings,
    generator: torch.Generator,
    total: float,
    progress: Progress | None,
) -> Running:
    """The products over an ensemble, each network with its own image."""
    running = Running(len(products))
    x = images.draw(ensemble.nets, generator)[:, None, :]
    columns = ensemble.inputs(x)
    # Every chunk draws the same random directions, so that the numbers do not depend on what shares a chunk.
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    for trace in ensemble.traces(x):
        own = columns[running.count : running.count + trace.networks.nets]
        draws = torch.Generator().manual_seed(seed)
        running.add(measure(trace, own, products, settings, draws).cpu().numpy())
        if progress:
            progress(trace.networks.nets * ensemble.bytes_per_network / total, f"N={ensemble.N}")
    return running


def _validated(claims: Sequence[Claim], at: Mapping[str, Any]) -> tuple[Any, dict[str, float]]:
    """The claims' one net, and ``at`` with its defaults; raises for anything missing, unknown or of the wrong kind."""
    for claim in claims:
        if not isinstance(claim, Claim):
            raise ArgumentError(f"check takes a Claim, such as advmf.loss_bound(net, p, q); got {claim!r}.")
    if len({claim.net for claim in claims}) != 1:
        raise ArgumentError("check_all takes claims about one net; check the others in calls of their own.")
    net = claims[0].net
    if net is None:
        raise ArgumentError("check_all takes claims about a net; those about Gaussian matrices go to check.")
    needed = {"L", "d", "K"} | {s.name for _, expr in expressions(net.block) for s in expr.free_symbols} - {"N"}
    for claim in claims:
        needed |= {s.name for s in claim.rhs.free_symbols} - {"x_sq", "N"}
        if any(side.atoms(*ATTACKED) for side in _sides(claim)):
            needed.add("eps")
    at = {"x_sq": 1.0, **at}
    if missing := sorted(needed - set(at)):
        raise ArgumentError(f"at lacks {', '.join(missing)}; this check needs {', '.join(sorted(needed))}.")
    if unknown := sorted(set(at) - needed - set(SYMBOLS)):
        raise ArgumentError(
            f"at holds {', '.join(unknown)}, which nothing here uses; this check needs {', '.join(sorted(needed))}."
        )
    values: dict[str, float] = {}
    for name, value in at.items():
        integer = name in SYMBOLS and SYMBOLS[name].integer
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise ArgumentError(f"at[{name!r}] must be a number; got {value!r}.") from None
        if integer and (not math.isfinite(number) or number != int(number)):
            raise ArgumentError(f"at[{name!r}] counts something and must be an integer; got {value!r}.")
        values[name] = int(number) if integer else number
    return net, values


def _sides(claim: Claim) -> list[sp.Expr]:
    return [claim.lhs, *(equation.lhs for equation in claim.equations)]


def _ladder(
    claims: Sequence[Claim], at: Mapping[str, float], widths: Sequence[int] | None, nets: int | Sequence[int]
) -> dict[int, int]:
    """The widths, rising, with the number of networks of each."""
    large = any(Regime.LARGE_WIDTH in claim.regime for claim in claims)
    if widths is None:
        top = int(at.get("N", TOP_WIDTH))
        widths = [top // 8, top // 4, top // 2, top] if large else [top]
    counts = [nets] * len(widths) if isinstance(nets, int) else list(nets)
    if len(counts) != len(widths):
        raise ArgumentError(f"nets must be one number, or one for each of the {len(widths)} widths; got {nets}.")
    if min(counts, default=0) < 2:
        raise ArgumentError(f"nets must be at least 2, or there is no standard error; got {nets}.")
    ladder = dict(sorted(zip(widths, counts)))
    if large and (len(ladder) < 3 or min(ladder) < 4):
        raise ArgumentError(
            f"A claim about N -> oo is extrapolated from at least three widths of 4 and more; got {list(ladder)}. "
            "Give N >= 32 in at, or widths=(…)."
        )
    return ladder


def _generator(seed: int, net: object, at: Mapping[str, float], N: int) -> torch.Generator:
    """A generator of its own for each net, point and width, so that a check does not depend on what else runs."""
    key = f"{seed}|{net!r}|{sorted((k, float(v)) for k, v in at.items() if k != 'N')}|{N}"
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big"))
