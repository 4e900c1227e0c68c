"""One claim, checked in the way that it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from advmf.boundary import public
from advmf.claim import Claim, Relation
from advmf.verify.sources.ladder import check_growth
from advmf.verify.sources.matrices import check_matrices
from advmf.verify.sources.simulation import check_all
from advmf.verify.verdict import Report


@public
def check(claim: Claim, at: Mapping[str, Any], **options: Any) -> Report:
    """Check one claim by simulation. The arguments are those of :func:`check_all`. For a claim about Gaussian matrices
    they are those of :func:`advmf.verify.sources.matrices.check_matrices`. For one about the growth of the loss they
    are those of :func:`advmf.verify.sources.ladder.check_growth`.

    >>> import advmf as mf
    >>> claim = mf.loss_bound(mf.residual(u=1, v=0), p=2, q=2)
    >>> report = mf.check(claim, at=dict(L=2, d=64, K=10, sigma_w=1.0, sigma_b=0.0, eps=0.1, N=1024), nets=80, seed=0)
    >>> report.verdict, 0.9 < report.ratio < 1.05
    (<Verdict.NOT_REFUTED: 'NOT_REFUTED'>, True)
    """
    if isinstance(claim, Claim) and claim.net is None:
        return check_matrices([claim], at, **options)[0]
    if isinstance(claim, Claim) and claim.relation is Relation.ORDER:
        return check_growth([claim], at, **options)[0]
    return check_all([claim], at, **options)[0]
