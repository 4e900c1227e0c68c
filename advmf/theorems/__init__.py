"""The theorems, each in a file of its own: claims, wrong versions, scale, derivation, captions.

>>> list(THEOREMS)
['T1', 'T2', 'T3', 'T4', 'T5', 'T6', 'F1', 'F2', 'D1', 'D2', 'beta', 'T6.d', 'T6.K']
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from advmf.boundary import public
from advmf.claim import Claim
from advmf.errors import ArgumentError
from advmf.theorems.d1_capacity_rate import D1
from advmf.theorems.d2_water_filling import D2
from advmf.theorems.f1_stream_fluctuation import F1
from advmf.theorems.f2_jacobian_norm import F2
from advmf.theorems.norm_factor import BETA_PQ
from advmf.theorems.t1_linear_form import T1
from advmf.theorems.t2_adversarial_loss import T2
from advmf.theorems.t3_weight_variance import T3
from advmf.theorems.t4_trainability import T4
from advmf.theorems.t5_capacity import T5
from advmf.theorems.t6_dimensions import T6
from advmf.theorems.theorem import SIMULATED, Caption, Theorem, family
from advmf.theorems.wrong import by_form

SHIPPED = (T1, T2, T3, T4, T5, T6, F1, F2, D1, D2, BETA_PQ)

THEOREMS: dict[str, Theorem] = {
    theorem.name: theorem for theorem in (*SHIPPED, *(part for whole in SHIPPED for part in whole.parts))
}
"""All theorems and their parts, by name."""


@public
def register_theorem(new: Theorem) -> Theorem:
    """Register a user's theorem, so that suites (``advmf.verify.suite.cases(["my_bound"])``), mutation and reports know
    it by name.

    A theorem without its own net is checked on the networks of the suite. Raises ArgumentError for a name that the
    package uses or that is no identifier, and for a theorem without ``tests``.
    """
    if not new.name.isidentifier() or any(new.name == theorem.name for theorem in SHIPPED):
        raise ArgumentError(f"A theorem of your own needs a name of its own, such as my_bound; got {new.name!r}.")
    if new.tests is None:
        raise ArgumentError(f"Theorem {new.name} has no tests, which give the claims that a check measures.")
    THEOREMS[new.name] = new
    return new


def theorem_of(name: str) -> Theorem | None:
    """The theorem to which a claim of this name belongs, if it is one of the package's or a registered one.

    >>> theorem_of("T3.Euler").name, theorem_of("my_bound")
    ('T3', None)
    """
    return THEOREMS.get(family(name))


def caption(table: str) -> Caption:
    """The caption of the numbers beside the verdicts of a table, which is named after its theorem or claim.

    >>> caption("T3.Euler").text, caption("T1").text
    ('d|W|^2/dt + 2 share L_adv = 0', 'simulated/predicted')
    """
    theorem = THEOREMS.get(table) or theorem_of(table)
    return theorem.caption(table) if theorem else SIMULATED


def wrong_versions(name: str) -> Callable[[Claim], Sequence[Claim]]:
    """The function that gives the wrong versions of a claim of this name: that of its theorem, or by the claim's form
    if it has no theorem."""
    theorem = theorem_of(name)
    return theorem.wrong if theorem else by_form
