"""The sizes of sampled networks, and the values of the symbols in their declaration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from advmf import symbols
from advmf.errors import ArgumentError, DomainError
from advmf.nets import Net
from advmf.symbols import SYMBOLS


def depth_of(net: Net, L: int | None) -> int:
    """L as given; without it, the number of blocks of stages that all have a numeric ``repeat``."""
    depth = net.depth
    if not depth.is_Integer:
        if L is None:
            raise ArgumentError("sample needs the depth: L, the number of blocks, e.g. L=4.")
        return L
    if L is not None and L != int(depth):
        raise ArgumentError(
            f"The stages of {net.name} have {depth} blocks together, which is its depth; got L={L!r}. Leave L out."
        )
    return int(depth)


def require_whole(net: Net, N: int, L: int) -> None:
    """Raise ArgumentError where a stage has no whole width, and DomainError where one of several stages has no
    block."""
    if strange := [stage.width for stage in net.stages if not (stage.width * N).is_Integer]:
        least = math.lcm(*(int(stage.width.q) for stage in net.stages))
        raise ArgumentError(
            f"A stage of {net.name} has the width {strange[0]} N, which must be whole; got N={N}. Take a multiple of {least}."
        )
    if net.repeated:
        return
    for stage in net.stages:
        repeat = stage.repeat.subs(symbols.L, L)
        if not repeat.free_symbols and not (repeat.is_Integer and repeat >= 1):
            raise DomainError(
                f"A stage of {net.name} has {stage.repeat} blocks, which must be a whole number >= 1; at L={L} it is {repeat}."
            )


def values_of(net: Net, given: Mapping[str, Any], own: set[str]) -> dict[str, float]:
    """The net's symbols with their values; raises ArgumentError for a missing or an unknown symbol."""
    needed = {s.name for _, expr in net.parameters for s in expr.free_symbols}
    if missing := sorted(needed - set(given)):
        raise ArgumentError(f"sample needs a value for {', '.join(missing)}, e.g. {missing[0]}=1.0.")
    if unknown := sorted(own - needed - set(SYMBOLS)):
        raise ArgumentError(
            f"sample got {', '.join(unknown)}, which this net does not use; its symbols are {', '.join(sorted(needed)) or 'none'}."
        )
    values = {}
    for name in needed:
        try:
            value = float(given[name])
        except (TypeError, ValueError):
            raise ArgumentError(f"{name} must be a number; got {given[name]!r}.") from None
        quantity = SYMBOLS.get(name)
        if not math.isfinite(value) or (quantity and not quantity.contains(value)):
            domain = f"{quantity.domain} ({quantity.meaning})" if quantity else "the finite real numbers"
            raise DomainError(f"{name} must be in {domain}; got {value}.")
        values[name] = value
    for name, expr in net.parameters:
        result = complex(expr.subs({s: values[s.name] for s in expr.free_symbols}))
        if result.imag or not math.isfinite(result.real):
            raise DomainError(f"{name} = {expr} is {result} at these values; it must be a finite real number.")
    return values
