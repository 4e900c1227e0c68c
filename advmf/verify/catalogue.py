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
    """The message that a theorem says nothing about a net, with the reason."""
    return f"{theorem.name} says nothing of {net.name}: {theorem.silent(net)}"


def choose(kind: str, wanted: Sequence[str], known: Mapping[str, Any], default: tuple[str, ...]) -> tuple[str, ...]:
    """The names in ``wanted``, or the default if there are none. Raises ArgumentError for an unknown name."""
    return tuple(dict.fromkeys(one_of(kind, name, known) for name in wanted)) or default


def checkable(theorems: Sequence[str]) -> tuple[str, ...]:
    """The names that a check of these theorems checks. If none is given, all that can be checked. T6 is replaced by its
    parts.

    Raises ArgumentError for an unknown name, and for a theorem that can be shown but not checked.

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
    """The pairs (p, q) that --p and --q choose. An exponent that is not given takes each of the paper's values.

    >>> pairs_of("3", None)
    [('3', '1'), ('3', '2'), ('3', 'inf')]
    """
    return [(a, b) for a in ([p] if p else ["1", "2", "inf"]) for b in ([q] if q else ["1", "2", "inf"])]
