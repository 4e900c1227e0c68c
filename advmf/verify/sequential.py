"""Checks that may stop early: looks at samples that double, each with its share of the error rates.

The measured quantities are unbounded and skewed. Confidence sequences for bounded numbers do not apply to them.
Instead the test of a fixed sample is made at a few sizes that are known beforehand, as in a group-sequential trial.
Each of these tests is called a look. Together they stay within the declared rates by the union bound, whatever the
looks have in common and whoever decides to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from advmf.errors import ArgumentError
from advmf.verify.statistics import Design
from advmf.verify.verdict import Finding, Verdict

FIRST = 32
"""The least number of networks of each width, or of matrices, at the first look. Fewer say little about their own
skewness."""


@dataclass(frozen=True)
class Look:
    """Look ``number`` of ``looks``. Each look has twice as many networks as the one before. The last has all that are
    declared."""

    number: int
    looks: int

    @property
    def share(self) -> float:
        """The look's share of the error rates. The shares of all looks add up to 1.

        They are spent in proportion to the square of the networks seen so far (the power family of K. Kim and D.
        DeMets, *Biometrika* 74, 1987). The last look keeps 3/4 of them. The first ones have next to nothing: there
        Student's t is least to be trusted with heavy tails.

        >>> [look.share for look in looks([256], True)]
        [0.015625, 0.046875, 0.1875, 0.75]
        """
        seen = 4.0 ** (self.number - self.looks)
        return seen if self.number == 1 else 0.75 * seen

    def count(self, declared: int) -> int:
        """How many of the declared networks, or matrices, this look sees."""
        return -(-declared // 2 ** (self.looks - self.number))

    def design(self, design: Design) -> Design:
        """The error rates of this look's tests."""
        return replace(design, alpha=self.share * design.alpha, beta=self.share * design.beta)


def require(sequential: object) -> None:
    """Raise ArgumentError where ``sequential`` is neither True nor False."""
    if not isinstance(sequential, bool):
        raise ArgumentError(
            f"sequential must be True, to stop as soon as all is decided, or False; got {sequential!r}."
        )


def looks(declared: Iterable[int], sequential: bool) -> tuple[Look, ...]:
    """The looks of a check whose widths have the ``declared`` numbers of networks. Without ``sequential`` it is the
    last look alone. Else there are as many as leave the first look :data:`FIRST` networks."""
    most = max(1, (min(declared) // FIRST).bit_length()) if sequential else 1
    return tuple(Look(number, most) for number in range(1, most + 1))


def last(design: Design, sequential: bool) -> Design:
    """The error rates of the last look. Pilots have to resolve the effect at these."""
    return Look(2, 2).design(design) if sequential else design


class Stand(NamedTuple):
    """The finding on a consequence, and the look that it was made at."""

    finding: Finding
    look: Look


def watch(
    schedule: Sequence[Look], design: Design, judged: Callable[[Look, Design], Sequence[Sequence[Finding]]]
) -> list[tuple[tuple[Finding, ...], Look]]:
    """The findings on each claim, and the last look that any of them needed.

    ``judged`` gives the findings of a look, at the rates of its own design. A finding that is decided (not
    UNDERPOWERED) stays as it was, so that no claim depends on what is checked beside it. When all are decided, no
    further look is taken.
    """
    held: list[list[Stand]] = []
    for look in schedule:
        found = judged(look, look.design(design))
        earlier: Sequence[Sequence[Stand | None]] = held or [[None] * len(group) for group in found]
        held = [
            [_stand(old, new, look, design.alpha / len(group)) for old, new in zip(before, group)]
            for before, group in zip(earlier, found)
        ]
        if all(_decided(stand) for group in held for stand in group):
            break
    latest = [max((stand.look for stand in group), key=lambda look: look.number) for group in held]
    return [(tuple(stand.finding for stand in group), look) for group, look in zip(held, latest)]


def _decided(stand: Stand) -> bool:
    return stand.finding.verdict is not Verdict.UNDERPOWERED


def _stand(old: Stand | None, new: Finding, look: Look, alpha: float) -> Stand:
    """Where a consequence stands after a look. It has the rate ``alpha`` of all looks together, and a p-value that
    holds however many looks are taken."""
    if old and _decided(old):
        return old
    if look.looks == 1:
        return Stand(new, look)
    p_values = [1.0, new.p_value / look.share]
    if old:
        p_values.append(old.finding.p_value)
    if new.verdict is Verdict.REFUTED:
        p_values.append(alpha)
    return Stand(replace(new, alpha=alpha, p_value=min(p_values)), look)


def told(stopped: Look, declared: Any) -> dict[str, Any]:
    """What the settings of a report say of a sequential check: the number of looks, the look at which it stopped, and
    the networks of the last look."""
    return {"sequential": {"looks": stopped.looks, "stopped": stopped.number, "declared": declared}}
