"""Round numbers for the ticks of an axis."""

from __future__ import annotations

import math


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Up to ``most`` round numbers from ``low`` to ``high``: multiples of 1, 2, 2.5 or 5 times a power of ten.

    >>> ticks(2.346, 11.61), ticks(0.9231, 1.0104), ticks(-3.2, 3.2)
    ([4.0, 6.0, 8.0, 10.0], [0.94, 0.96, 0.98, 1.0], [-2.0, 0.0, 2.0])
    >>> ticks(1.0, 1.0)
    [1.0]
    """
    if not math.isfinite(high - low) or not high > low:
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    for factor in (1, 2, 2.5, 5, 10, 20, 25, 50):
        step = factor * power
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            digits = max(0, 2 - math.floor(math.log10(step)))
            return [round(number * step, digits) + 0.0 for number in range(first, last + 1)] or [low, high]
    return [low, high]
