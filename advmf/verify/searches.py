"""What is known of a quantity that contains a maximum found by a search. An attack, or any other search, finds too
little and never too much."""

from __future__ import annotations

from functools import lru_cache

import sympy as sp

from advmf.observables import CapacitySlope, LossDecay, Observable, WeightVarianceSlope
from advmf.simulate.estimate import searched

OF_THE_ATTACK = (WeightVarianceSlope, LossDecay, CapacitySlope)
"""Slopes under training. They are about the perturbation that the search finds, whatever larger ones there are."""


@lru_cache(maxsize=1024)
def trusted(product: sp.Expr, d: int, K: int) -> tuple[bool, bool]:
    """Whether the mean of a product of observables is known not to be measured too high, and not too low.

    >>> from advmf.observables import AdversarialLoss, Output
    >>> trusted(Output(0) ** 2, 9, 3), trusted(AdversarialLoss(2, 2) ** 2, 9, 3), trusted(-AdversarialLoss(2, 2), 9, 3)
    ((True, True), (True, False), (False, True))
    """
    found = product.atoms(Observable)
    sought = [o for o in found if searched(o, d, K)]
    if any(isinstance(o, OF_THE_ATTACK) for o in found):
        return True, True
    known = product.xreplace({o: sp.Dummy(positive=True) if o in sought else sp.Dummy(real=True) for o in found})
    rates = [sp.diff(known, s) for s in known.free_symbols if s.is_positive] if sought else []
    return all(r.is_nonnegative for r in rates), all(r.is_nonpositive for r in rates)
