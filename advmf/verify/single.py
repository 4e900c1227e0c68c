"""One claim, checked in the way that it asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from advmf.boundary import public
from advmf.claim import Claim, Relation
from advmf.errors import ArgumentError
from advmf.theory.proof import Derivation
from advmf.verify.controls import controls as known
from advmf.verify.sources.ladder import check_growth
from advmf.verify.sources.matrices import check_matrices
from advmf.verify.sources.simulation import check_all
from advmf.verify.verdict import Report


@public
def check(
    claim: Claim,
    at: Mapping[str, Any],
    *,
    controls: bool | Sequence[Claim] = False,
    derivation: Derivation | None = None,
    **options: Any,
) -> Report:
    """Check one claim by simulation. The arguments are those of :func:`check_all`. For a claim about Gaussian matrices
    they are those of :func:`advmf.verify.sources.matrices.check_matrices`. For one about the growth of the loss they
    are those of :func:`advmf.verify.sources.ladder.check_growth`.

    ``controls`` are wrong versions of the claim, checked on the same samples: your own, or with True those of the
    claim's theorem or form. Their verdicts are in the report by name, and each should be REFUTED. A ``derivation`` that
    ends in the claim is verified first, and the report has its text. Raises StepError where it does not end there.

    >>> import advmf as mf
    >>> claim = mf.loss_bound(mf.residual(u=1, v=0), p=2, q=2)
    >>> at = dict(L=2, d=64, K=10, sigma_w=1.0, sigma_b=0.0, eps=0.1, N=512)
    >>> report = mf.check(claim, at=at, nets=200, directions=2, steps=6, seed=0)
    >>> report.verdict, 0.9 < report.ratio < 1.05
    (<Verdict.NOT_REFUTED: 'NOT_REFUTED'>, True)
    """
    if not isinstance(claim, Claim):
        raise ArgumentError(f"check takes a Claim, such as advmf.loss_bound(net, p, q); got {claim!r:.80}.")
    if derivation is not None:
        derivation.concludes(claim)
    wrong = list(known(claim)) if controls is True else list(controls or ())
    if strange := [each for each in wrong if not isinstance(each, Claim)]:
        raise ArgumentError(f"controls are wrong versions of the claim, each a Claim, or True; got {strange[0]!r:.80}.")
    claims = [claim, *wrong]
    if claim.net is None:
        report, *others = check_matrices(claims, at, **options)
    elif claim.relation is Relation.ORDER:
        report, *others = check_growth(claims, at, **options)
    else:
        report, *others = check_all(claims, at, **options)
    own: dict[str, Any] = {"network": repr(claim.net)} if claim.net is not None else {}
    own |= {"derivation": str(derivation)} if derivation is not None else {}
    own |= (
        {"controls": {_mistake(claim, each): str(found.verdict) for each, found in zip(wrong, others)}} if wrong else {}
    )
    return replace(report, settings={**report.settings, **own})


def _mistake(claim: Claim, wrong: Claim) -> str:
    """The name of a wrong version within the report of its claim.

    >>> import advmf as mf
    >>> claim = mf.norm_factor(2, 2)
    >>> _mistake(claim, claim.scaled("1/2"))
    'x 1/2'
    """
    return wrong.name.removeprefix(claim.name).strip().removeprefix("[").removesuffix("]") or wrong.name
