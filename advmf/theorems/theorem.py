"""A theorem: its claims, its wrong versions, how it is simulated, derived and presented.

Each theorem is one value in a file of its own. Listing, typesetting, checking, mutating and reporting read it and know
no theorem by name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from advmf.boundary import public, share_of, whole
from advmf.claim import Claim
from advmf.errors import ArgumentError, one_of
from advmf.nets import Net
from advmf.theorems.selection import ALL, PAIRS, Rows
from advmf.theory.finite_width import drops
from advmf.theory.profile import has_profile
from advmf.theory.propagation import averages_follow, grows_alike
from advmf.theory.spike import carries_mean

PAPER = "Kumano, Kera and Yamasaki, Adversarial Training from Mean Field Perspective, NeurIPS 2023, arXiv:2505.14021"

PAPER_POINT: dict[str, Any] = {"L": 10, "d": 784, "K": 10}
"""Depth and dimensions of the suite at the paper's scale: ten blocks, the pixels and the classes of MNIST."""

RANDOM_NETWORK = (
    "x^0 = P_in x with entries N(0, 1/d); f(x) = P_out x^L with entries N(0, 1/N)",
    "weights and biases independent, Gaussian, as declared; the input x is fixed",
)

STAGES = (
    "x^0 = P_in x with entries N(0, 1/d); f(x) = P_out x^L of the last stream x^L, with entries N(0, 1/n), n its width",
    "weights over their number of columns and biases independent, Gaussian, as declared; the input x is fixed",
)


ON_IMAGES = (
    "x^0 = P_in x at each position, with entries N(0, 1/c), c the channels of the image; f(x) = P_out x^L with entries N(0, 1/n), n the "
    "channels times the positions of x^L",
    "weights over their number of columns and biases independent, Gaussian, as declared, and the same at all positions; the input x is fixed",
)


def random_network(net: Net) -> tuple[str, ...]:
    """The assumptions about the law of a net, in words."""
    if net.image is not None:
        return ON_IMAGES
    return RANDOM_NETWORK if net.repeated else STAGES


EFFECTS = ("effect", "effect_fourth", "effect_probability")
"""The departures that a suite declares, as :class:`advmf.Design` names them."""

SELECTIONS = ("quick", "finite", "brief", "paper", "paper finite")
"""The suites, or parts of a suite, for which a theorem may select rows."""

LIMIT = "limit"
"""What stands for widths where networks are of infinite width."""


@public
@dataclass(frozen=True)
class Scale:
    """How a theorem is simulated: depth, dimensions, ladder of widths, networks of each width, directions and steps of
    an attack.

    ``widths="limit"`` stands for networks of infinite width, with one number of ``nets``. The defaults of directions
    and steps are those of :func:`advmf.check_all`. ``effects`` are the departures that a suite has to resolve, by their
    names in :class:`advmf.Design`, whose defaults hold for the others. ``attacked`` is the share of the networks that
    are attacked (:func:`advmf.check_all`).
    """

    L: int
    d: int
    K: int
    widths: tuple[int, ...] | str
    nets: tuple[int, ...]
    directions: int | None = None
    steps: int | None = None
    at: Mapping[str, float] = field(default_factory=dict)
    """Values that this theorem needs at its point: T3, for example, is about small balls without biases."""
    effects: Mapping[str, float] = field(default_factory=dict)
    attacked: float = 1.0

    def __post_init__(self) -> None:
        for name in ("L", "d", "K"):
            object.__setattr__(self, name, whole(name, getattr(self, name), 0 if name == "L" else 1))
        if self.widths != LIMIT:
            object.__setattr__(self, "widths", _counts("widths", self.widths, 1))
        object.__setattr__(self, "nets", _counts("nets", self.nets, 2))
        if (1 if self.widths == LIMIT else len(self.widths)) != len(self.nets):
            raise ArgumentError(f"nets has a number of networks for each of the widths {self.widths}; got {self.nets}.")
        object.__setattr__(self, "attacked", share_of("attacked", self.attacked))
        for name, size in self.effects.items():
            one_of("effect", name, EFFECTS)
            if isinstance(size, bool) or not isinstance(size, int | float) or not 0 < size < math.inf:
                raise ArgumentError(
                    f"effects[{name!r}] is a relative departure, positive and finite; got {size!r:.80}."
                )
        for name, value in self.at.items():
            try:
                float(value)
            except (TypeError, ValueError):
                raise ArgumentError(f"at[{name!r}] must be a number; got {value!r:.80}.") from None


@public
@dataclass(frozen=True)
class MatrixScale:
    """How a statement about Gaussian matrices is simulated: dimensions, samples, and a ladder along one of the
    dimensions.

    Of norms that no rule gives exactly, and a search of each matrix brackets, there are ``searched`` samples, and so
    there are of those that take all signs of more than six coordinates. The search takes long, and these norms scatter
    little.
    """

    d: int
    K: int
    samples: int
    along: str = "d"
    ladder: tuple[int, ...] = ()
    searched: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("d", 1), ("K", 1), ("samples", 2)):
            object.__setattr__(self, name, whole(name, getattr(self, name), least))
        if self.searched is not None:
            object.__setattr__(self, "searched", whole("searched", self.searched, 2))
        object.__setattr__(self, "ladder", _counts("ladder", self.ladder, 1))


def _counts(name: str, values: object, least: int) -> tuple[int, ...]:
    """Several whole numbers, each ``least`` or more; raises ArgumentError or DomainError for anything else."""
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ArgumentError(f"{name} takes several whole numbers, such as (64, 256, 1024); got {values!r:.80}.")
    return tuple(whole(name, value, least) for value in values)


@dataclass(frozen=True)
class Need:
    """A property that a theorem requires of a net, and the reason why it says nothing about a net without it."""

    holds: Callable[[Net], bool]
    reason: str


REPEATED = Need(lambda net: net.repeated, "it is made of stages, and no one block repeated L times at the width N")
MASKLESS = Need(
    lambda net: not drops(net),
    "it drops coordinates, and what masks add to the fluctuations of J(x) is not carried",
)
VECTORS = Need(
    lambda net: net.image is None,
    "it is a net on images, and how their positions fluctuate together at finite width is not carried",
)
ALIKE = Need(
    averages_follow, "the positions of its images have moments of their own, which do not follow from their averages"
)
BOUNDED = Need(
    lambda net: averages_follow(net) or has_profile(net),
    "what a pixel can change depends on the image: its activations do not scale with their input, or its sums carry a mean",
)
EXACT = Need(lambda net: net.exact, "its moment rules are not exact at finite width")
GROWTH = Need(grows_alike, "its Jacobian has no growth omega that is the same in every block of a stage")
UNIFORM = Need(
    lambda net: not carries_mean(net), "the stream carries a mean, and J(x) is larger along x than across it"
)


@dataclass(frozen=True)
class Caption:
    """The caption of the numbers beside the verdicts of a table, as plain text and as LaTeX; and a title of the table
    if its name is not used."""

    text: str
    tex: str
    title: str = ""


SIMULATED = Caption("simulated/predicted", "Simulated/predicted")
"""The default caption."""


@public
@dataclass(frozen=True)
class Theorem:
    """A theorem of the package or of a user, with everything that is known about it.

    ``states(net, p, q, route)`` gives all its claims about a net. ``tests(net, pairs)`` gives the claims that a check
    measures at t = 0. Both are empty where the theorem says nothing about the net. Without ``states``, the claims of
    ``tests`` are all. ``derive(net)`` gives a derivation, or a list of them, that end in its claims; the package's
    theorems take theirs from scripts (:class:`advmf.theorems.scripted.Scripted`). A user's theorem is about ``net``, a
    declared network.

    ``tests`` is left out in two cases: where a check measures nothing, with the reason in ``unchecked``, and where the
    theorem is checked by its ``parts``. ``wrong(claim)`` gives the wrong versions of a claim, which a check must
    refute. ``scales`` has an entry for each profile of a suite; a profile without one takes that of "quick".

    Raises ArgumentError for a theorem that is to be checked and has no wrong versions or no "quick" scale, and for one
    that is neither checked nor gives a reason.

    >>> from advmf.theorems.t5_capacity import T5
    >>> T5.head, T5.text
    ('capacity', 'E sum_k (sum_l <W^l, d f_k/d W^l>)^2')
    """

    name: str
    title: str
    source: str
    wrong: Callable[[Claim], Sequence[Claim]]
    tests: Callable[[Any, Sequence[tuple[str, str]]], Sequence[Claim]] | None = None
    states: Callable[[Any, str, str, str], Sequence[Claim]] | None = None
    net: Net | None = None
    """The network that it is about; None if it is about any network, as the package's theorems are."""
    derive: Callable[[Any], Any] | None = None
    data: str = "digits"
    """The images of its check, for a user's theorem."""
    matrices: bool = False
    """Whether it is about Gaussian matrices alone, and no net."""
    scales: Mapping[str, Scale | MatrixScale] = field(default_factory=dict)
    captions: Mapping[str, Caption] = field(default_factory=dict)
    """Captions by the name of the claim where each claim has its own table, else by that of the theorem."""
    parts: tuple[Theorem, ...] = ()
    selected: Mapping[str, Rows] = field(default_factory=dict)
    """By the name of a scale, the networks and pairs that say most: "quick" for the default suite, which has all
    networks without it; "finite" for those that it checks on a ladder beside N = oo; "brief" for the briefest suite;
    "paper" and "paper finite" for that at the paper's scale, which without "paper" has the rows of "quick"."""
    scatters: Callable[[Net], bool] = lambda net: False
    """Of which networks the numbers scatter so much that a suite takes the scale "scattered" for them."""
    needs: tuple[Need, ...] = ()
    """The properties that it requires of a net; about a net without one of them, it states and tests nothing."""
    unchecked: str = ""

    def __post_init__(self) -> None:
        if not callable(self.wrong):
            raise ArgumentError(
                f"Theorem {self.name}: wrong must be a function from a claim to wrong versions of it; got {self.wrong!r}."
            )
        if not callable(self.scatters):
            raise ArgumentError(
                f"Theorem {self.name}: scatters must be a function from a network to True or False; got {self.scatters!r:.80}."
            )
        for scale, rows in self.selected.items():
            one_of("selection", scale, SELECTIONS)
            for row, pairs in rows.items():
                if not (len(row) == 2 and pairs and all(len(pair) == 2 for pair in pairs)):
                    raise ArgumentError(
                        f"Theorem {self.name}: selected[{scale!r}] maps a network and its activation to pairs (p, q), as "
                        f"('residual', 'relu') to (('2', '2'),); got {row!r:.80}: {pairs!r:.80}."
                    )
        if self.net is not None and not isinstance(self.net, Net):
            raise ArgumentError(f"Theorem {self.name}: net must be an advmf.Net, or left out; got {self.net!r:.80}.")
        if self.tests is not None and "quick" not in self.scales:
            raise ArgumentError(f"Theorem {self.name} is to be checked; give it a scale: scales={{'quick': Scale(…)}}.")
        if (self.tests is None) != bool(self.parts or self.unchecked):
            raise ArgumentError(
                f"Theorem {self.name} has either tests, to be checked, or parts that have, or unchecked, the reason why it has none."
            )

    def tested(self, net: Net | None, pairs: Sequence[tuple[str, str]]) -> tuple[Claim, ...]:
        """The claims that a check measures. A claim made by another theorem's function, such as a bound by that of T2,
        gets this theorem's name and source."""
        return tuple(map(self._named, self.tests(net, pairs))) if self.tests and not self.silent(net) else ()

    def silent(self, net: Net | None) -> str:
        """The reason why it says nothing about a net; empty where it says something."""
        return "" if net is None else next((need.reason for need in self.needs if not need.holds(net)), "")

    def stated(self, net: Net | None, p: str, q: str, route: str) -> tuple[Claim, ...]:
        """All claims that it states about a net."""
        if self.silent(net):
            return ()
        return tuple(self.states(net, p, q, route)) if self.states else self.tested(net, [(p, q)])

    def _named(self, claim: Claim) -> Claim:
        if family(claim.name) == family(self.name):
            return claim
        return replace(claim, name=self.name, source=f"{self.source}; of the form of {claim.name}: {claim.source}")

    @property
    def head(self) -> str:
        """Its short name: the title up to the colon."""
        return self.title.partition(": ")[0]

    @property
    def text(self) -> str:
        """Its statement in words: the title after the colon."""
        return self.title.partition(": ")[2]

    def scale(self, profile: str) -> Scale | MatrixScale:
        """The scale at which it is simulated in a suite of this profile."""
        return self.scales.get(profile, self.scales["quick"])

    def variant(self, profile: str, kind: str) -> str:
        """The name of its scale, and of its rows, of a kind ("finite", "scattered") for a profile. A profile for which
        it has a scale has variants of its own, such as "paper finite"."""
        return f"{profile} {kind}" if profile != "quick" and profile in self.scales else kind

    def rows(self, profile: str) -> Rows:
        """The networks, and the pairs of each, that a suite of this profile checks if none is named."""
        return self.selected.get(profile, self.selected.get("quick", dict.fromkeys(ALL, PAIRS)))

    def caption(self, table: str) -> Caption:
        """The caption of the numbers beside the verdicts of one of its tables."""
        return self.captions.get(table, SIMULATED)


def family(name: str) -> str:
    """The name of the theorem, from the name of a claim, a part or a wrong version.

    >>> [family(name) for name in ("T3.Euler", "T2 [half the bound]", "my_bound x 1/2")]
    ['T3', 'T2', 'my_bound']
    """
    return re.match(r"\w*", name)[0]  # type: ignore[index]


def mutant(claim: Claim, mistake: str, change: Callable[[Any], Any]) -> Claim:
    """The claim with its right-hand side changed, and the mistake added to its name."""
    return replace(claim, name=f"{claim.name} [{mistake}]", formula=change(claim.rhs), where={})
