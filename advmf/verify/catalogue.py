"""What can be shown and checked: theorems, pairs of exponents, activations. No torch, so that listing is quick."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from advmf.errors import ArgumentError, one_of
from advmf.nets import Activation, Net, Pointwise
from advmf.nets.activations.formula import NAMED
from advmf.theorems import THEOREMS
from advmf.theorems.theorem import Theorem


class _Activations(Mapping[str, Pointwise]):
    """Activations by name, each made when it is asked for."""

    def __getitem__(self, name: str) -> Pointwise:
        if name not in NAMED:
            raise KeyError(name)
        found: Pointwise = Activation(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(NAMED)

    def __len__(self) -> int:
        return len(NAMED)


ACTIVATIONS = _Activations()
"""Activations by name."""

CHECKED = tuple(name for name, theorem in THEOREMS.items() if theorem.tests)
"""The theorems that a check measures."""


def silence(theorem: Theorem, net: Net) -> str:
    """Why a theorem says nothing of a net."""
    return f"{theorem.name} says nothing of {net.name}: {theorem.silent(net)}"


def choose(kind: str, wanted: Sequence[str], known: Mapping[str, Any], default: tuple[str, ...]) -> tuple[str, ...]:
    """The names that are wanted, or the default for none; raises ArgumentError for one that is not known."""
    return tuple(dict.fromkeys(one_of(kind, name, known) for name in wanted)) or default


def checkable(theorems: Sequence[str]) -> tuple[str, ...]:
    """What a check of these theorems checks, all that there is for none: T6 by its parts.

    Raises ArgumentError for a name that is not known, and for a theorem that can be shown but not checked.

    >>> checkable(["t2", "T6"])
    ('T2', 'T6.d', 'T6.K')
    """
    found: list[str] = []
    for name in choose("theorem", theorems, THEOREMS, CHECKED):
        theorem = THEOREMS[name]
        if theorem.unchecked:
            raise ArgumentError(f"{name} is not checked: {theorem.unchecked}")
        found += [part.name for part in theorem.parts] or [name]
    return tuple(dict.fromkeys(found))


def pairs_of(p: str | None, q: str | None) -> list[tuple[str, str]]:
    """The pairs that --p and --q choose: the paper's values for what is not given.

    >>> pairs_of("3", None)
    [('3', '1'), ('3', '2'), ('3', 'inf')]
    """
    return [(a, b) for a in ([p] if p else ["1", "2", "inf"]) for b in ([q] if q else ["1", "2", "inf"])]
