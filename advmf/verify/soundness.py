"""Whether simulated numbers say anything. They do if they are finite, and not too small for their type of number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import sympy as sp
import torch

from advmf.observables import Observable, Offset, Output, UnitObservable
from advmf.verify.statistics import Rung

TINIEST = 1e3
"""An observable has to be at least this many times the smallest normal number. It is a sum of numbers that are smaller
by the root of the width."""
CANCELLED = 1e2
"""An offset has to be at least this many units in the last digit of the output. It is the difference of two numbers of
the output's size."""


def overflown(rungs: Iterable[Rung], dtype: str, what: str = "networks") -> str:
    """Why no verdict can be given, where some numbers are not finite. Empty where all are."""
    if all(r.finite for r in rungs):
        return ""
    told = ", ".join(f"{r.lost} of {r.nets} at {r.N}" for r in rungs if r.lost)
    if not told:
        return "the numbers are too large, or too small beside what is claimed, to be compared with it: overflow; take a smaller L or sigma_w"
    return f"{what} without a finite number, {told}: overflow, or an observable that is undefined there; {_advice(dtype, 'a smaller L or sigma_w')}"


def _advice(dtype: str, other: str) -> str:
    return f"take {other}" if dtype == "float64" else f'use dtype="float64" (--dtype float64), or {other}'


def sized(products: Iterable[sp.Expr]) -> list[Observable]:
    """The observables in the products, whose sizes are measured. Those that differ only in units and directions count
    as one."""
    found = {_representative(o) for product in products for o in product.atoms(Observable)}
    return sorted(found, key=sp.default_sort_key)


def _representative(o: Observable) -> Observable:
    return o.func(*[0] * len(o.args)) if isinstance(o, UnitObservable) else o


def underflown(
    product: sp.Expr, sizes: Mapping[Observable, Sequence[Rung]], scales: Sequence[float], dtype: str
) -> str:
    """Why no verdict can be given on a product of observables, where a mean size is below what the numbers carry. Empty
    where all are above.

    ``sizes`` has the mean size of each observable at every width, ``scales`` the claimed size of the product there. An
    observable that may vanish counts as too small only where the claimed size is as small.
    """
    info = torch.finfo(getattr(torch, dtype))
    for o in sized([product]):
        for rung, output, scale in zip(sizes[o], sizes[Output(0)], scales):
            floor = TINIEST * info.tiny
            if isinstance(o, Offset):
                floor = max(floor, CANCELLED * info.eps * output.mean)
            size = max(rung.mean, abs(scale)) if o.may_vanish else rung.mean
            if size < floor:
                cause = "cancellation" if floor > TINIEST * info.tiny else "underflow"
                return (
                    f"{cause}: {o} is {rung.mean:.1g} on average at N = {rung.N}, and {dtype} carries nothing below {floor:.1g} there; "
                    + _advice(dtype, "a smaller L, or a larger sigma_w or sigma_b")
                )
    return ""
