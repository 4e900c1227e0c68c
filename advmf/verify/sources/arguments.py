"""The arguments of a check of networks and their defaults. They are tested before anything is simulated."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import sympy as sp
import torch

from advmf.boundary import whole
from advmf.claim import RHS, Claim, Regime, Relation
from advmf.errors import ArgumentError, DomainError, refuse_unused
from advmf.events import letters
from advmf.observables import ATTACK, Observable
from advmf.simulate.data import Images
from advmf.simulate.ensemble import MEMORY
from advmf.simulate.probe import AttackSettings
from advmf.simulate.race import LEAN
from advmf.symbols import SYMBOLS
from advmf.verify.check import Run
from advmf.verify.judge import Test, crossover
from advmf.verify.sources.limit import INFINITE, require_limit
from advmf.verify.tails import TAILS

FLOATS = {"float32": torch.float32, "float64": torch.float64}
"""The types of number that networks are simulated in, by name."""

TOP_WIDTH = 1024
ROOM = 2.0
"""By default the narrowest networks are this many times as wide as the width from which on a law is in 1/N."""
LEAST_SEED = -(2**63)
NETS = 128


@dataclass(frozen=True)
class Sampling:
    """How networks are sampled, in the words of :func:`check_all`."""

    widths: Sequence[int] | str | None = None
    data: str | Images = "digits"
    dtype: str = "float32"
    device: str = "cpu"
    memory: int = MEMORY
    sampler: str = "auto"
    attacked: float = 1.0

    def attack(self, **given: Any) -> AttackSettings:
        """How the networks are attacked: as is given. The default for networks of infinite width is a short race, as
        every point asked about makes the next ones dearer."""
        default: dict[str, Any] = {"steps": LEAN, "directions": 1} if isinstance(self.widths, str) else {}
        return AttackSettings(**default | {name: count for name, count in given.items() if count is not None})


def arranged(options: Mapping[str, Any]) -> tuple[Sampling, AttackSettings, Run]:
    """How to sample, how to attack and how to run, from the arguments of :func:`check_all`. Raises ArgumentError for an
    argument that is none of these."""
    run = {"count": options.get("nets", NETS), **{k: v for k, v in options.items() if k != "nets"}}
    run |= {"seed": whole("seed", options.get("seed", 0), LEAST_SEED)}
    kinds = {kind: {f.name for f in fields(kind)} - {"eps"} for kind in (Sampling, AttackSettings, Run)}
    refuse_unused("A check of networks", run, set().union(*kinds.values()))
    own = {kind: {name: run[name] for name in names if name in run} for kind, names in kinds.items()}
    sampling = Sampling(**own[Sampling])
    return sampling, sampling.attack(**own[AttackSettings]), Run(**own[Run])


def attacked(expr: sp.Expr) -> bool:
    """Whether an observable in a product needs an attack."""
    return any(ATTACK in o.needs for o in expr.atoms(Observable))


def validated(claims: Sequence[Claim], at: Mapping[str, Any]) -> tuple[Any, dict[str, float]]:
    """The claims' one net, and ``at`` with its defaults; raises for anything missing, unknown or of the wrong kind."""
    for claim in claims:
        if not isinstance(claim, Claim):
            raise ArgumentError(f"check takes a Claim, such as advmf.loss_bound(net, p, q); got {claim!r}.")
    if len({claim.net for claim in claims}) != 1:
        raise ArgumentError("check_all takes claims about one net; check the others in calls of their own.")
    net = claims[0].net
    if net is None:
        raise ArgumentError("check_all takes claims about a net; those about Gaussian matrices go to check.")
    for claim in claims:
        if claim.relation is Relation.ORDER:
            raise ArgumentError(
                f"{claim.name} is about an order of growth, which takes a ladder of dimensions: check(claim, at, ladder=(…), along=…)."
            )
    needed = requirements(claims)
    at = {"x_sq": 1.0, **({"L": net.depth} if net.depth.is_Integer else {}), **at}
    if missing := sorted(needed - set(at)):
        raise ArgumentError(f"at lacks {', '.join(missing)}; this check needs {', '.join(sorted(needed))}.")
    refuse_unused("at", set(at) - set(SYMBOLS), needed)
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
    for claim in claims:
        if values["L"] < claim.depth:
            raise DomainError(
                f"{claim.name} holds from L = {claim.depth} on; got at['L'] = {values['L']}. Take a deeper network."
            )
    return net, values


def requirements(claims: Sequence[Claim]) -> set[str]:
    """The names of all values that a check of claims about a net needs."""
    needed = {"L", "d", "K"}
    for claim in claims:
        assert claim.net is not None
        needed |= {s.name for _, expr in claim.net.parameters for s in expr.free_symbols} - {"N"}
        needed |= {s.name for s in claim.rhs.free_symbols} - {"x_sq", "N"}
        needed |= {s.name for side in _sides(claim) for s in _letters(claim.put_in(side))} - {"x_sq", "N"}
        if any(attacked(side) for side in _sides(claim)):
            needed.add("eps")
    return needed


def _letters(side: sp.Expr) -> set[sp.Symbol]:
    """The symbols in an event or a quantile, without the one that stands for the claim's right-hand side."""
    return letters(side) - {RHS} if isinstance(side, TAILS) else set()


def require_stated(claim: Claim, group: Sequence[Test]) -> None:
    if not any(test.states for test in group):
        raise ArgumentError(
            f"{claim.name}: what is tested does not speak of its right-hand side {claim.formula}, and would be the same for any other. "
            "Write it as advmf.claim.RHS in the claim's equations."
        )


def tested(claim: Claim) -> list[sp.Expr]:
    """The left-hand sides that a check tests: those of the claim's equations where there are any."""
    return [equation.lhs for equation in claim.equations] or [claim.lhs]


def _sides(claim: Claim) -> list[sp.Expr]:
    return [claim.lhs, *(equation.lhs for equation in claim.equations)]


def ladder_of(
    claims: Sequence[Claim], at: Mapping[str, float], widths: Sequence[int] | str | None, nets: int | Sequence[int]
) -> dict[int, int]:
    """The widths, rising, with the number of networks of each."""
    large = any(Regime.LARGE_WIDTH in claim.regime for claim in claims)
    endless = isinstance(widths, str)
    if isinstance(widths, str):
        require_limit(claims, at, widths)
        widths = [INFINITE]
    elif widths is None:
        top = int(at["N"]) if "N" in at else _top(claims, at)
        widths = [top // 8, top // 4, top // 2, top] if large else [top]
    single = getattr(nets, "ndim", 1) == 0 or not isinstance(nets, Iterable)
    given = [nets] * len(widths) if single else list(nets)  # type: ignore[arg-type]
    counts = [whole("nets", n, 2) for n in given]
    if len(counts) != len(widths):
        raise ArgumentError(f"nets must be one number, or one for each of the {len(widths)} widths; got {nets}.")
    ladder = dict(sorted(zip(widths, counts)))
    extrapolated = any(
        Regime.LARGE_WIDTH in c.regime and not all(isinstance(s, TAILS) for s in tested(c)) for c in claims
    )
    if extrapolated and not endless and (len(ladder) < 3 or min(ladder) < 4):
        raise ArgumentError(
            f"A claim about N -> oo is extrapolated from at least three widths of 4 and more; got {list(ladder)}. "
            "Give N >= 32 in at, or widths=(…)."
        )
    return ladder


def _top(claims: Sequence[Claim], at: Mapping[str, float]) -> int:
    """The largest width, if none is asked for: TOP_WIDTH, or a power of two times that. The narrowest of four rungs are
    then well above the width from which on the claims' laws are in 1/N."""
    products = [o for claim in claims for side in _sides(claim) for o in side.atoms(Observable)]
    least = max((crossover(o, at) or 0.0 for o in products), default=0.0)
    top = TOP_WIDTH
    while top < 8 * ROOM * least:
        top *= 2
    return top


def generator_of(seed: int, net: object, at: Mapping[str, float], N: int) -> torch.Generator:
    """A random generator for one net, point and width. Each has its own, so that a check does not depend on what else
    runs."""
    key = f"{seed}|{net!r}|{sorted((k, float(v)) for k, v in at.items() if k != 'N')}|{N}"
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big"))
