"""Sample sizes from pilots."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

from advmf.errors import ArgumentError
from advmf.verify.verdict import Finding, Report, jsonable

PILOT = "pilot"
"""The word that users give in place of a number of networks, or of samples. Pilots then find the number."""

KINDS = {"nets": "a number of networks, one for each width", "samples": "an integer >= 2, for a standard error"}
"""The other values that the size arguments of a check take."""

FIRST = 64
"""Networks of each width, or matrices, in the first pilot."""
ROOM = 1.5
"""The factor on the number that a pilot asks for. A pilot's estimate of the scatter is uncertain itself."""
LARGEST = 1000
"""The largest factor by which the first pilot grows. A check that would need more comes out UNDERPOWERED."""


def require_pilot(name: str, wanted: object) -> None:
    """Raise ArgumentError where a text for the argument ``name`` is no pilot."""
    if isinstance(wanted, str) and wanted != PILOT:
        raise ArgumentError(f"{name} must be {KINDS[name]}, or {PILOT!r}; got {wanted!r}.")


def piloted(
    name: str,
    wanted: str,
    check: Callable[[int, int], Sequence[Report]],
    seed: int,
    parts: MutableMapping[str, Any] | None = None,
) -> dict[str, Any]:
    """How many networks, or matrices, resolve every consequence. Pilots grow until one of them does, for the scatter of
    heavy tails shows late.

    ``check(count, seed)`` checks with ``count`` networks of a seed of its own, which are not used again. The outcome
    has three entries. ``pilots`` has the sizes of the pilots. ``resolved`` has, for each pilot, the resolution of its
    least resolved consequence, in units of the effect to resolve (None where that is no number). ``chosen`` is the
    number that was chosen. The outcome is kept in ``parts``, and taken over from there. Raises ArgumentError where what
    is ``wanted`` for the argument ``name`` is no pilot.
    """
    require_pilot(name, wanted)
    parts = {} if parts is None else parts
    if PILOT not in parts:
        started = time.perf_counter()
        found = _grown(check, seed)
        parts[PILOT] = {"found": found, "seconds": time.perf_counter() - started}
    return dict(parts[PILOT]["found"])


def _grown(check: Callable[[int, int], Sequence[Report]], seed: int) -> dict[str, Any]:
    pilots: list[int] = []
    resolved: list[float] = []
    count, most = FIRST, FIRST * LARGEST
    while True:
        found = check(count, -count - seed * most)
        shares = [f.resolution / f.effect for report in found for f in report.findings if _tells(f)]
        pilots.append(count)
        resolved.append(max(shares, default=1.0))
        needed = ROOM * resolved[-1] * resolved[-1]  # which may be infinite
        if needed <= ROOM or count == most:
            return {
                "pilots": pilots,
                "resolved": jsonable(resolved),
                "chosen": math.ceil(count * min(max(needed, 0.25), ROOM)),
            }
        count = min(math.ceil(count * min(needed, 4.0)), most)


def _tells(finding: Finding) -> bool:
    """Whether a finding tells how many more networks it takes. It does if it resolves something, or would with a sample
    that reaches beyond its quantile, as more networks do."""
    interval = finding.rungs[-1].interval
    return math.isfinite(finding.resolution) or (interval is not None and not all(map(math.isfinite, interval)))
