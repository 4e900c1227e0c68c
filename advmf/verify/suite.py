"""The main job: every shipped theorem for every preset network and every pair of exponents, with its negative controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

from advmf.claim import Claim
from advmf.errors import ArgumentError, refuse_unused
from advmf.net import PRESETS, Net
from advmf.simulate.race import DIRECTIONS, STEPS
from advmf.symbols import exponent
from advmf.verify.catalogue import ACTIVATIONS, DEFAULT_ACTIVATIONS, MATRICES, PAIRS, THEOREMS, checkable, choose
from advmf.verify.check import check_all
from advmf.verify.matrices import check_matrices
from advmf.verify.pilot import PILOT, piloted
from advmf.verify.records import statement
from advmf.verify.report import Report
from advmf.verify.sequential import last, require
from advmf.verify.simulation import requirements


@dataclass(frozen=True)
class Scale:
    """How one theorem is simulated: depth, dimensions, ladder of widths, networks of each width, directions and steps of an attack."""

    L: int
    d: int
    K: int
    widths: tuple[int, ...]
    nets: tuple[int, ...]
    directions: int = DIRECTIONS
    steps: int = STEPS
    at: Mapping[str, float] = field(default_factory=dict)
    """Values of this theorem's own point: T3 is about small balls without biases, T5 without biases here."""


@dataclass(frozen=True)
class MatrixScale:
    """How a statement about Gaussian matrices is simulated: dimensions, samples, and a ladder along one of the dimensions."""

    d: int
    K: int
    samples: int
    along: str = "d"
    ladder: tuple[int, ...] = ()


@dataclass(frozen=True)
class Profile:
    """A scale for each theorem, and what they share."""

    name: str
    data: str
    scales: Mapping[str, Scale]
    matrices: Mapping[str, MatrixScale]
    sigma_b: float = 0.3
    eps: float = 0.1


QUICK = Profile(
    "quick",
    data="digits",
    scales={
        "T1": Scale(L=4, d=64, K=32, widths=(32, 64, 256, 512), nets=(2400, 3600, 1200, 1800)),
        "T2": Scale(L=5, d=64, K=10, widths=(512, 2048, 10_000, 100_000), nets=(48, 48, 56, 16), directions=1, steps=5),
        "T3": Scale(
            2,
            64,
            10,
            (128, 512, 2048, 8192),
            (320, 320, 650, 800),
            directions=1,
            steps=2,
            at={"sigma_b": 0.0, "eps": 0.02},
        ),
        "T5": Scale(2, 64, 8, (24, 48, 96, 192), (3600,) * 4, at={"sigma_b": 0.0}),
        "F1": Scale(L=4, d=64, K=2, widths=(24, 48, 96, 192), nets=(40_000,) * 4),
        "F2": Scale(L=2, d=64, K=10, widths=(250, 500, 1000, 2000), nets=(4000, 9000, 9000, 1500)),
    },
    matrices={
        "beta": MatrixScale(d=784, K=10, samples=1000),
        "T6.d": MatrixScale(d=1, K=2, samples=100, along="d", ladder=(500, 2000, 8000)),
        "T6.K": MatrixScale(d=2, K=1, samples=120, along="K", ladder=(500, 2000, 8000)),
    },
)
"""The default: digits, some eleven minutes on two cores."""

PAPER = Profile(
    "paper",
    data="mnist",
    scales={
        "T1": Scale(L=10, d=784, K=10, widths=(128, 256, 512, 1024), nets=(2000,) * 4),
        "T2": Scale(L=10, d=784, K=10, widths=(2000, 10_000, 100_000, 1_000_000), nets=(64, 32, 12, 6), directions=1),
        "T3": Scale(
            L=2,
            d=64,
            K=10,
            widths=(1000, 10_000, 100_000, 1_000_000),
            nets=(120, 60, 24, 4),
            directions=1,
            steps=2,
            at={"sigma_b": 0.0, "eps": 0.02},
        ),
        "T5": Scale(4, 784, 10, (64, 128, 256, 512), (20_000,) * 4, at={"sigma_b": 0.0}),
        "F1": Scale(L=10, d=784, K=2, widths=(64, 128, 256, 512), nets=(20_000,) * 4),
        "F2": Scale(L=10, d=784, K=10, widths=(4000, 8000, 16_000, 32_000), nets=(3000, 3000, 1500, 750)),
    },
    matrices={
        "beta": MatrixScale(d=3072, K=100, samples=400),
        "T6.d": MatrixScale(d=1, K=2, samples=200, along="d", ladder=(1000, 10_000, 100_000)),
        "T6.K": MatrixScale(d=2, K=1, samples=200, along="K", ladder=(1000, 10_000, 100_000)),
    },
)
"""MNIST, L = 10, T2 at widths to 1,000,000: hours on two cores."""

SHARP = replace(
    QUICK,
    name="sharp",
    scales={
        **QUICK.scales,
        "T1": replace(QUICK.scales["T1"], widths=(32, 64, 128, 512), nets=(3000, 6000, 3000, 6000)),
        "T2": replace(QUICK.scales["T2"], widths=(256, 512, 2048, 4096), nets=(40, 160, 40, 160)),
        "F2": replace(QUICK.scales["F2"], nets=(2000, 8000, 16_000, 2000)),
    },
)
"""The points of the quick suite, with the networks where a limit N -> oo is estimated best for the seconds that they cost."""

SHORTCUT_GAIN = 0.5
"""alpha*sigma_w**2 of the residual networks, so that omega = 1.5."""

GROWING = "vanilla_growing"
"""The vanilla network off its critical point: where omega = 1 any power of omega, and any depth in it, would pass."""

NETS = {
    "vanilla": ("vanilla", 1.0),
    GROWING: ("vanilla", 1 + SHORTCUT_GAIN),
    **{name: (name, SHORTCUT_GAIN) for name in PRESETS if name != "vanilla"},
}
"""The networks of a suite: the preset and alpha*sigma_w**2 of each, which is omega of the vanilla ones."""

MATRIX = "matrix"
"""What stands for a net where there is none."""

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

    @property
    def name(self) -> str:
        return self.net.name if self.net else MATRIX

    @cached_property
    def statements(self) -> tuple[dict[str, Any], ...]:
        """What a reader is told of each claim."""
        return tuple(map(statement, self.claims))

    @property
    def point(self) -> Mapping[str, float]:
        """A single point of the case: its smallest width, or its largest dimension."""
        if self.net is None:
            matrices = self.profile.matrices[self.theorem]
            return {**self.at, **({matrices.along: matrices.ladder[-1]} if matrices.ladder else {})}
        return {**self.at, "N": self.profile.scales[self.theorem].widths[0]}

    @property
    def uses(self) -> set[str]:
        """The names of the values that can be set at the case's point; those of a ladder are the profile's."""
        if self.net is None:
            matrices = self.profile.matrices[self.theorem]
            return {"d", "K"} - ({matrices.along} if matrices.ladder else set())
        return requirements(self.claims) | {"x_sq"}

    def settings(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of the check: the profile's, and ``options`` that are not None in their place. Pilots size matrices as well as
        networks, and keep to the proportions of the profile's ladder of networks."""
        chosen = {k: v for k, v in options.items() if v is not None}
        require(chosen.get("sequential", False))
        if self.net is None:
            matrices = self.profile.matrices[self.theorem]
            common = {k: v for k, v in chosen.items() if k in ("seed", "design", "sequential", "progress", "samples")}
            samples = PILOT if chosen.get("nets") == PILOT else matrices.samples
            return {"along": matrices.along, "ladder": matrices.ladder, "samples": samples, **common}
        scale = self.profile.scales[self.theorem]
        settings: dict[str, Any] = {
            "widths": scale.widths,
            "nets": scale.nets,
            "directions": scale.directions,
            "steps": scale.steps,
            "data": self.profile.data,
        } | chosen
        if isinstance(nets := settings["nets"], int):
            settings["nets"] = self._ladder(nets)
        return settings

    @property
    def proportions(self) -> tuple[int, ...]:
        """The networks of each width of the profile; none of matrices."""
        return () if self.net is None else self.profile.scales[self.theorem].nets

    def _ladder(self, nets: int) -> tuple[int, ...]:
        """The networks of each width where the smallest has ``nets``."""
        counts = self.proportions
        return tuple(max(2, -(-nets * count // counts[0])) for count in counts)

    def check(self, mutants: Sequence[Claim], options: Mapping[str, Any]) -> list[Report]:
        """The reports of the claims and of their mutants, on the same samples. Pilots are about the claims alone."""
        judge, size = (check_matrices, "samples") if self.net is None else (check_all, "nets")
        settings, outcome = self.settings(options), {}
        if isinstance(wanted := settings[size], str):
            sizes = (lambda count: count) if self.net is None else self._ladder
            own = {k: v for k, v in settings.items() if k not in ("sequential", "progress", "parts")}
            own["design"] = last(settings["design"], settings.get("sequential", False))
            again = partial(judge, self.claims, self.at)
            found = piloted(
                size,
                wanted,
                lambda count, seed: again(**{**own, size: sizes(count), "seed": seed}),
                own["seed"],
                options.get("parts"),
            )
            settings[size], outcome = sizes(found["chosen"]), {"pilot": found}
        reports = judge([*self.claims, *mutants], self.at, **settings)
        return [replace(report, settings={**report.settings, **outcome}) for report in reports] if outcome else reports


def cases(
    theorems: Sequence[str] = (),
    nets: Sequence[str] = (),
    activations: Sequence[str] = (),
    pairs: Sequence[tuple[object, object]] = (),
    profile: Profile = QUICK,
    at: Mapping[str, float] | None = None,
) -> list[Case]:
    """The cases of a suite; an empty selection means all. ``at`` overrides the profile's point.

    The vanilla network is checked at two points, omega = 1 and 1.5, unless ``at`` has its sigma_w.

    Raises ArgumentError for an unknown theorem, net or activation, where a theorem that was asked for speaks of none of the nets, and for
    a value of ``at`` that no case uses.
    """
    wanted = checkable(theorems)
    names = list(choose("net", nets, NETS, tuple(NETS)))
    if "vanilla" in names:  # and GROWING after it, where that is another point
        names = [name for name in names if name != GROWING]
        if "sigma_w" not in (at or {}):
            names.insert(names.index("vanilla") + 1, GROWING)
    exponents = [(str(exponent(p, "p")), str(exponent(q, "q"))) for p, q in pairs] or list(PAIRS)
    found = []
    for activation in choose("activation", activations, ACTIVATIONS, DEFAULT_ACTIVATIONS):
        u, v = (float(slope) for slope in ACTIVATIONS[activation])
        for name in names:
            preset, gain = NETS[name]
            net = replace(PRESETS[preset](*(str(s) for s in ACTIVATIONS[activation])), name=name)
            for theorem in filter(THEOREMS.__contains__, wanted):
                scale = profile.scales[theorem]
                point = {
                    "L": scale.L, "d": scale.d, "K": scale.K, "sigma_w": (2 * gain / (u**2 + v**2)) ** 0.5,
                    "sigma_b": profile.sigma_b, "eps": profile.eps, "x_sq": 1.0, "u": u, "v": v, **scale.at, **(at or {}),
                }  # fmt: skip
                if claims := tuple(THEOREMS[theorem](net, exponents)):
                    found.append(Case(theorem, net, activation, claims, point, profile))
    for theorem in () if nets or activations else filter(MATRICES.__contains__, wanted):
        matrices = profile.matrices[theorem]
        size = {"d": matrices.d, "K": matrices.K, **{k: v for k, v in (at or {}).items() if k in ("d", "K")}}
        found.append(Case(theorem, None, "", tuple(MATRICES[theorem](exponents)), size, profile))
    silent = [theorem for theorem in wanted if theorem not in {case.theorem for case in found}]
    if silent and (theorems or not found):
        raise ArgumentError(
            f"{', '.join(silent)} says nothing of {', '.join([*nets, *activations])}: moment rules that are not exact, a carried mean, or no net."
        )
    refuse_unused("at", at or {}, set().union(*(case.uses for case in found)))
    return found
