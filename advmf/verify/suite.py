"""The main job: every shipped theorem for every preset network and every pair of exponents, with its
negative controls."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import sympy as sp

from advmf.claim import Claim
from advmf.emit.engine.domains import Domain
from advmf.errors import ArgumentError, refuse_unused
from advmf.nets import PRESETS, Net, ReLULike
from advmf.symbols import exponent
from advmf.theorems import THEOREMS
from advmf.theorems.selection import ALL, DEFAULT_ACTIVATIONS, DEFAULT_NETS, GROWING, PAIRS
from advmf.theorems.theorem import MatrixScale, Scale, Theorem
from advmf.theory.propagation import averages_follow
from advmf.verify.catalogue import ACTIVATIONS, CHECKED, checkable, choose
from advmf.verify.check import Run, checked
from advmf.verify.pilot import PILOT, require_pilot
from advmf.verify.records import statement
from advmf.verify.sequential import require
from advmf.verify.sources.arguments import arranged, requirements, validated
from advmf.verify.sources.limit import LIMIT, has_limit
from advmf.verify.sources.matrices import matrices
from advmf.verify.sources.simulation import networks
from advmf.verify.statistics import Design
from advmf.verify.verdict import Report


@dataclass(frozen=True)
class Profile:
    """A scale for each theorem, and what they share."""

    name: str
    data: str
    scales: Mapping[str, Scale | MatrixScale]
    sigma_b: float = 0.3
    eps: float = 0.1


def _profile(name: str, data: str) -> Profile:
    return Profile(name, data, {theorem: THEOREMS[theorem].scale(name) for theorem in CHECKED})


QUICK = _profile("quick", "digits")
"""The default: digits, about a minute on two cores."""

PAPER = _profile("paper", "mnist")
"""MNIST, L = 10, T2 at N = oo and widths to 1,000,000: some 20 minutes on two cores."""

SHARP = _profile("sharp", "digits")
"""The points of the quick suite, with the networks where a limit N -> oo is estimated best for the seconds that they
cost."""

SHORTCUT_GAIN = 0.5
"""alpha*sigma_w**2 of the residual networks, so that omega = 1.5."""


class Named(NamedTuple):
    """A network of a suite: its preset, with the options that differ from the preset's defaults. ``gain`` is sigma_w**2
    times E phi'^2 at a second moment of one, which is omega of the vanilla ones of homogeneous activations."""

    preset: str
    gain: float
    options: Mapping[str, Any] = MappingProxyType({})


NETS = {
    "vanilla": Named("vanilla", 1.0),
    GROWING: Named("vanilla", 1 + SHORTCUT_GAIN),
    **{name: Named(name, SHORTCUT_GAIN) for name in PRESETS if name != "vanilla"},
    "pre_norm": Named("pre_norm", 2.0),
    "pyramid": Named("pyramid", 1 + SHORTCUT_GAIN),
    "conv": Named("conv", 2.0),
    "conv_zero": Named("conv", 2.0, {"padding": "zero"}),
    "conv_pool": Named("conv", 2.0, {"head": "pool"}),
    "conv_residual_pool": Named("conv_residual", SHORTCUT_GAIN, {"head": "pool"}),
}
"""The networks of a suite by name."""

MATRIX = "matrix"
"""What stands for a net where there is none."""

IMAGES_SCALE = "images"
"""What a theorem calls its scale for networks on images."""
AVERAGED_SCALE = "averaged"
"""What a theorem calls its scale for networks that average positions of images."""
PIXELS_SCALE = "pixels"
"""What a theorem calls its scale for networks on images whose pixels differ."""
SMOOTH_SCALE = "smooth"
"""What a theorem calls its scale for networks with a smooth activation."""
SCATTERED_SCALE = "scattered"
"""What a theorem calls its scale for networks whose numbers scatter more."""
BRIEF = "brief"
"""What a theorem calls the rows of the briefest suite."""
FINITE_SCALE = "finite"
"""What a theorem that is checked at N = oo calls its scale of finite widths."""

LEAST_SIDE = 3
"""The side of the smallest square images: three taps fit."""

FAMILY_ALPHA = 0.01
"""Probability that a suite of true claims shows any REFUTED; shared equally among its claims."""


@dataclass(frozen=True)
class Case:
    """Claims about one network, or about Gaussian matrices, at one point."""

    theorem: str
    net: Net | None
    activation: str
    claims: tuple[Claim, ...]
    at: Mapping[str, float]
    profile: Profile
    derivation: str = ""
    """The text of the derivation of a theorem of one's own."""
    code: str = ""
    """The hash of its file: its numbers depend on it."""
    own: Scale | MatrixScale | None = None
    """How it is simulated, if not by the profile."""

    @property
    def name(self) -> str:
        return self.net.name if self.net else MATRIX

    @property
    def scale(self) -> Scale | MatrixScale:
        """How it is simulated."""
        return self.own or self.profile.scales[self.theorem]

    @cached_property
    def statements(self) -> tuple[dict[str, Any], ...]:
        """What a reader is told of each claim."""
        derived = {"derivation": self.derivation} if self.derivation else {}
        return tuple({**statement(claim), **derived} for claim in self.claims)

    @property
    def point(self) -> Mapping[str, float]:
        """A single point of the case: its smallest width, if that is finite, or its largest dimension."""
        scale = self.scale
        if isinstance(scale, MatrixScale):
            return {**self.at, **({scale.along: scale.ladder[-1]} if scale.ladder else {})}
        return dict(self.at) if isinstance(scale.widths, str) else {**self.at, "N": scale.widths[0]}

    @property
    def uses(self) -> set[str]:
        """The names of the values that can be set at the case's point; those of a ladder are the profile's."""
        scale = self.scale
        if isinstance(scale, MatrixScale):
            return {"d", "K"} - ({scale.along} if scale.ladder else set())
        return requirements(self.claims) | {"x_sq"}

    def design(self, alpha: float) -> Design:
        """The error rates of its check, and the departures that it has to resolve."""
        return Design(alpha=alpha, **(self.scale.effects if isinstance(self.scale, Scale) else {}))

    def require(self) -> None:
        """Raise ArgumentError or DomainError for a point at which the claims cannot be checked."""
        if self.net is not None:
            validated(self.claims, self.at)
        for symbol in set[sp.Symbol]().union(*(claim.rhs.free_symbols for claim in self.claims)):
            if symbol.name in self.at:
                Domain.of(symbol).check(np.float64(self.at[symbol.name]))

    def settings(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of the check: the profile's, and ``options`` that are not None in their place. Pilots size
        matrices as well as networks, and keep to the proportions of the profile's ladder of networks. Of infinite width
        there are as many networks as at all widths of the profile."""
        chosen = {k: v for k, v in options.items() if v is not None}
        require(chosen.get("sequential", False))
        require_pilot("nets", chosen.get("nets"))
        scale = self.scale
        if isinstance(scale, MatrixScale):
            common = {k: v for k, v in chosen.items() if k in ("seed", "design", "sequential", "progress", "samples")}
            piloted = chosen.get("nets") == PILOT
            samples = {"samples": PILOT} if piloted else {"samples": scale.samples, "searched": scale.searched}
            return {"along": scale.along, "ladder": scale.ladder, **samples, **common}
        attack = {k: v for k, v in (("directions", scale.directions), ("steps", scale.steps)) if v is not None}
        settings: dict[str, Any] = {
            "widths": scale.widths,
            "nets": scale.nets,
            "data": self.profile.data,
            **attack,
            **({"attacked": scale.attacked} if scale.attacked != 1 else {}),
            **chosen,
        }
        if settings["widths"] == LIMIT and "nets" not in chosen:
            settings["nets"] = sum(scale.nets)
        if isinstance(nets := settings["nets"], int):
            settings["nets"] = self._ladder(nets, settings["widths"])
        return settings

    @property
    def proportions(self) -> tuple[int, ...]:
        """The networks of each width of the profile; none of matrices."""
        return () if isinstance(self.scale, MatrixScale) else self.scale.nets

    def _ladder(self, nets: int, widths: Sequence[int] | str) -> tuple[int, ...]:
        """The networks of each width where the smallest has ``nets``; of infinite width there is one."""
        counts = (1,) if widths == LIMIT else self.proportions
        return tuple(max(2, -(-nets * count // counts[0])) for count in counts)

    def check(self, mutants: Sequence[Claim], options: Mapping[str, Any]) -> list[Report]:
        """The reports of the claims and of their mutants, on the same samples. Pilots are about the claims alone."""
        settings = self.settings(options)
        design, claims = settings.pop("design", None), [*self.claims, *mutants]
        if self.net is None:
            run = Run(
                settings["samples"],
                settings["seed"],
                settings.get("sequential", False),
                settings.get("progress"),
                options.get("parts"),
            )
            return checked(
                claims,
                matrices(self.at, settings["ladder"], settings["along"], settings.get("searched")),
                run,
                "samples",
                design,
                piloted_by=self.claims,
            )
        sampling, attack, run = arranged(settings)
        sourced = networks(self.at, sampling, attack)
        spread = partial(self._ladder, widths=settings["widths"])
        return checked(claims, sourced, run, "nets", design, piloted_by=self.claims, spread=spread)


def cases(
    theorems: Sequence[str] = (),
    nets: Sequence[str] = (),
    activations: Sequence[str] = (),
    pairs: Sequence[tuple[object, object]] = (),
    profile: Profile = QUICK,
    at: Mapping[str, float] | None = None,
    ladder: bool = False,
    brief: bool = False,
) -> list[Case]:
    """The cases of a suite. Where theorems alone are chosen, or nothing, a profile has the rows that each theorem
    selects for it (:attr:`~advmf.theorems.theorem.Theorem.selected`), or with ``brief`` the fewest. With nets,
    activations or pairs it has all nine pairs, the default nets and both default activations of what is not named.
    ``at`` overrides the profile's point. With ``ladder`` a theorem that is checked at N = oo is checked at finite
    widths alone, and so it is for a net of which no limit is known.

    The vanilla network is checked at two points, omega = 1 and 1.5, unless ``at`` has its sigma_w.

    Raises ArgumentError for an unknown theorem, net or activation, where a theorem that was asked for speaks of none of
    the nets, and for a value of ``at`` that no case uses.
    """
    wanted = checkable(theorems)
    if brief:
        _require_brief(theorems, (*nets, *activations, *pairs))
        wanted = tuple(name for name in wanted if BRIEF in THEOREMS[name].selected)
    lacking = {name: THEOREMS[name].scale(profile.name) for name in wanted if name not in profile.scales}
    profile = replace(profile, scales={**profile.scales, **lacking}) if lacking else profile
    names = list(choose("net", nets, NETS, DEFAULT_NETS))
    if "vanilla" in names:  # and GROWING after it, where that is another point
        names = [name for name in names if name != GROWING]
        if "sigma_w" not in (at or {}):
            names.insert(names.index("vanilla") + 1, GROWING)
    exponents = tuple((str(exponent(p, "p")), str(exponent(q, "q"))) for p, q in pairs) or PAIRS
    kinds = choose("activation", activations, ACTIVATIONS, DEFAULT_ACTIVATIONS)
    known = [(name, kind) for kind in kinds for name in names]
    named = bool(nets or activations or pairs)
    found, why = [], dict[str, str]()
    for theorem in map(THEOREMS.__getitem__, wanted):
        if isinstance(profile.scales[theorem.name], MatrixScale) or theorem.net:
            continue
        selected = theorem.rows(profile.name)
        if brief:
            rows = theorem.selected[BRIEF]
        elif named:  # what is named, of all networks that the theorem is checked for
            rows = dict.fromkeys((*known, *(() if nets or activations else selected)), exponents)
        else:
            rows = {row: own for row, own in selected.items() if row in known or row not in ALL}
        for (name, activation), own in rows.items():
            own_net = NETS[name]
            net = replace(PRESETS[own_net.preset](phi=ACTIVATIONS[activation], **own_net.options), name=name)
            finite = theorem.selected.get(theorem.variant(profile.name, FINITE_SCALE), {})
            also = () if named or brief else finite.get((name, activation), ())
            for scale, chosen in _scales(theorem, net, profile, ladder, own, also):
                point = _point(net, scale, profile, own_net.gain, at)
                net = _imaged(net, point["d"])
                if claims := theorem.tested(net, chosen):
                    found.append(Case(theorem.name, net, activation, claims, point, profile, own=scale))
                else:
                    why[theorem.name] = theorem.silent(net) or "none of its claims is about such a net"
    for theorem in () if nets or activations else wanted:
        scale = profile.scales[theorem]
        if THEOREMS[theorem].net:
            found.append(own_case(THEOREMS[theorem], THEOREMS[theorem].tested(THEOREMS[theorem].net, exponents), at))
        elif isinstance(scale, MatrixScale):
            size = {"d": scale.d, "K": scale.K, **{k: v for k, v in (at or {}).items() if k in ("d", "K")}}
            found.append(Case(theorem, None, "", THEOREMS[theorem].tested(None, exponents), size, profile))
    silent = [theorem for theorem in wanted if theorem not in {case.theorem for case in found}]
    if silent and (theorems or not found):
        reasons = {name: why.get(name, "it is about Gaussian matrices, and no net") for name in silent}
        told = "; ".join(
            f"{', '.join(n for n in silent if reasons[n] == r)}: {r}" for r in dict.fromkeys(reasons.values())
        )
        raise ArgumentError(
            f"{', '.join(silent)} {'says' if len(silent) == 1 else 'say'} nothing of {', '.join([*nets, *activations])} ({told})."
        )
    refuse_unused("at", at or {}, set().union(*(case.uses for case in found)))
    return found


def _require_brief(theorems: Sequence[str], named: Sequence[Any]) -> None:
    """Raise ArgumentError for what the briefest suite does not have."""
    having = [name for name, theorem in THEOREMS.items() if BRIEF in theorem.selected]
    if named:
        raise ArgumentError(
            "The briefest suite has networks and pairs of its own; leave --quick out, or what else is chosen."
        )
    if others := [name for name in checkable(theorems) if name not in having] if theorems else []:
        raise ArgumentError(
            f"The briefest suite has {', '.join(having)}; it has no {', '.join(others)}. Leave --quick out."
        )


Pairs = Sequence[tuple[str, str]]


def _scales(
    theorem: Theorem, net: Net, profile: Profile, ladder: bool, pairs: Pairs, also: Pairs
) -> Iterator[tuple[Scale, Pairs]]:
    """How a theorem is simulated for a network, at which pairs; at N = oo, and ``also`` at finite widths."""
    scale = profile.scales[theorem.name]
    assert isinstance(scale, Scale)
    if scale is theorem.scale(profile.name):
        has = {
            AVERAGED_SCALE: net.averages,
            PIXELS_SCALE: not averages_follow(net),
            f"{SCATTERED_SCALE} {IMAGES_SCALE}": net.image is not None and theorem.scatters(net),
            IMAGES_SCALE: net.image is not None,
            SMOOTH_SCALE: not all(isinstance(phi, ReLULike) for phi in net.activations),
            SCATTERED_SCALE: theorem.scatters(net),
        }
        names = [theorem.variant(profile.name, kind) for kind, is_so in has.items() if is_so]
        own = next((theorem.scales[name] for name in names if name in theorem.scales), scale)
        assert isinstance(own, Scale)
        scale = own
    kinds = [f"{FINITE_SCALE} {IMAGES_SCALE}"] * (net.image is not None) + [FINITE_SCALE]
    finite = next(filter(None, (theorem.scales.get(theorem.variant(profile.name, kind)) for kind in kinds)), None)
    if scale.widths != LIMIT or not isinstance(finite, Scale):
        yield scale, pairs
    elif ladder or not has_limit(net):
        yield finite, pairs
    else:
        yield scale, pairs
        if also:
            yield finite, also


def _imaged(net: Net, d: float) -> Net:
    """The net on images of d positions: square ones where d is a square, else of one axis."""
    if net.image is None:
        return net
    side = math.isqrt(int(d))
    return replace(net, image=(1, side, side) if side**2 == d and side >= LEAST_SIDE else (1, int(d)))


def _point(net: Net, scale: Scale, profile: Profile, gain: float, at: Mapping[str, float] | None) -> dict[str, float]:
    """Where a network is checked: ``gain`` is sigma_w**2 times E phi'^2 at a second moment of one."""
    (phi,) = dict.fromkeys(net.activations)
    slopes = {"u": float(phi.u), "v": float(phi.v)} if isinstance(phi, ReLULike) else {}
    return {
        "L": int(net.depth) if net.depth.is_Integer else scale.L, "d": scale.d, "K": scale.K,
        "sigma_w": (gain / float(phi.gain(sp.S.One))) ** 0.5,
        "sigma_b": profile.sigma_b, "eps": profile.eps, "x_sq": 1.0, **slopes, **scale.at, **(at or {}),
    }  # fmt: skip


def own_case(theorem: Theorem, claims: Sequence[Claim], at: Mapping[str, Any] | None = None) -> Case:
    """The case of a theorem of one's own about its net, at the point of its scale but for what ``at`` has.

    Raises ArgumentError for a value of ``at`` that it does not use.
    """
    scale = theorem.scale("quick")
    own = scale.at if isinstance(scale, Scale) else {}
    point = {**({"L": scale.L} if isinstance(scale, Scale) else {}), "d": scale.d, "K": scale.K, **own, **(at or {})}
    point = {name: value if isinstance(value, int) else float(value) for name, value in point.items()}
    profile = Profile("own", theorem.data, {theorem.name: scale})
    case = Case(theorem.name, theorem.net, "", tuple(claims), point, profile)
    refuse_unused("at", at or {}, case.uses)
    return case
