"""Upper bounds on operator norms that hold for every given matrix, and brackets: an upper bound with a lower bound that
is attained.

With a = 1/p and b = 1/q, ``||J||_{p->q}`` is a function on the unit square. All the bounds hold for complex vectors
too:

- rows and columns: ``|(J x)_k| <= ||J_k||_{p*} ||x||_p``, so the lq norm of the rows' norms bounds it, and so does
  the l_{p*} norm of the columns' lq norms. They are exact, also over the complex numbers, on the sides b = 0 and a = 1;
- the largest singular value, exact at a = b = 1/2, with the factors by which the norms of x and J x can differ from l2
  norms;
- weighted singular values for a <= 1/2 <= b. For weights pi (d,) and rho (K,) on the simplices, Hoelder's inequality
  gives ``sum pi_i^{1-2a} x_i^2 <= ||x||_p^2``, and likewise for rho and the dual vector, so the largest singular value
  of ``diag(rho)^{1/2-b} J diag(pi)^{a-1/2}`` is a bound for any weights. The best weights are the dual of the
  semidefinite relaxation (Y. Nesterov, 1998; Grothendieck's inequality for p = inf, q = 1);
- interpolation (M. Riesz, 1927; G. O. Thorin, 1948): the logarithm of the complex norm is convex on the square, so a
  bound anywhere follows from bounds at the corners of a triangle around it. For real norms that is false where p > q.
  The bounds here are on the complex norms, which are never below the real ones.

Everything is computed in float64, and an allowance of (8 + K)(8 + d) roundings is part of every bound. It does not
cover underflow: norms must be normal numbers, or 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from advmf.boundary import public
from advmf.simulate.geometry import conjugate, norm, order
from advmf.simulate.opnorm import COOLING, matrices, operator_norm
from advmf.simulate.signs import SIGNS
from advmf.simulate.state import without_gradients

_EPS = torch.finfo(torch.float64).eps
_ENTRIES = 2**22
_STEPS, _SHARPEST, _NODES = 40, 500.0, 17


@dataclass(frozen=True)
class Bracket:
    """``lower <= ||J||_{p->q} <= upper``, both (...,) in float64, with a ``vector`` (..., d) of lp norm 1 that attains
    ``lower``.

    Where the norm is ``exact``, they differ only by the allowance for rounding errors.
    """

    lower: Tensor
    upper: Tensor
    vector: Tensor
    exact: bool


@public
@without_gradients
def bracket(
    J: Float[Tensor, "*batch K d"],
    p: Any,
    q: Any,
    *,
    starts: int = 16,
    cooling: int = COOLING,
    signs: int = SIGNS,
    generator: torch.Generator | None = None,
) -> Bracket:
    """The operator norm ``||J||_{p->q}`` of every matrix of a batch, between two bounds.

    The lower bound is :func:`advmf.simulate.operator_norm` with ``starts``, ``cooling``, ``signs`` and ``generator``.
    The upper one is :func:`upper_bound`, or the norm itself where it is exact. None carries gradients. The errors are
    those of both functions.

    >>> found = bracket(torch.eye(16), 4, 4)
    >>> found.lower, found.upper, found.exact
    (tensor(1.0000, dtype=torch.float64), tensor(1.0000, dtype=torch.float64), False)
    """
    J = matrices(J).double()
    found = operator_norm(J, p, q, starts=starts, cooling=cooling, signs=signs, generator=generator)
    spare = _allowance(J)
    lower, upper = found.value / spare, found.value * spare
    if not found.exact:
        upper = upper_bound(J, p, q)
    return Bracket(lower, upper, found.vector, found.exact)


@public
@without_gradients
def upper_bound(J: Float[Tensor, "*batch K d"], p: Any, q: Any) -> Tensor:
    """An upper bound (...,), in float64, on the operator norm ``||J||_{p->q}`` of every matrix of a batch: the least of
    the module's bounds.

    For p = 1, for q = inf and for p = q = 2 it is the norm, up to the allowance for rounding errors.

    Raises ArgumentError if ``J`` is no floating-point tensor of at least two axes, DomainError for entries that are not
    finite or exponents that are no numbers in [1, oo].

    >>> upper_bound(torch.eye(16), "inf", 1), upper_bound(torch.ones(2, 3), 3, 3)
    (tensor(16.0000, dtype=torch.float64), tensor(2.6207, dtype=torch.float64))
    """
    J = matrices(J).double()
    p, q = order(p, "p"), order(q, "q")
    *batch, K, d = J.shape
    flat = J.reshape(-1, K, d)
    found = []
    for part in flat.split(max(1, _ENTRIES // max(K * d, 4 * _NODES**3))):
        top = part.abs().amax((-2, -1), keepdim=True)
        scaled = torch.where(top > 0, part / torch.where(top > 0, top, 1), 1)
        found.append(_log_bound(scaled, 1 / p, 1 / q).exp() * top[:, 0, 0])
    return (torch.cat(found) * _allowance(J)).reshape(batch)


def _allowance(J: Tensor) -> float:
    """The factor between a computed bound and a true one."""
    return 1 + _EPS * (8 + J.shape[-2]) * (8 + J.shape[-1])


def _log_bound(J: Tensor, a: float, b: float) -> Tensor:
    """The logarithm (n,) of the least bound at p = 1/a, q = 1/b for matrices (n, K, d)."""
    if a > 0.5 and b > 0.5:
        return _log_bound(J.mT, 1 - b, 1 - a)
    K, d = J.shape[-2:]
    centre = _spectral(J).log()
    bounds = [
        _rows(J, a, b).log(),
        _rows(J.mT, 1 - b, 1 - a).log(),
        centre + max(0.0, 0.5 - a) * math.log(d) + max(0.0, b - 0.5) * math.log(K),
    ]
    if a <= 0.5 <= b:
        if a < b:
            bounds.append(_weighted(J, a, b).log())
    elif 0 < b and a < 1:
        grid = torch.linspace(0, 1, _NODES, dtype=torch.float64, device="cpu").tolist()
        nodes = [(0.5, 0.5, centre)]
        nodes += [(x, 0.0, _rows(J, x, 0.0).log()) for x in {*grid, a}]
        nodes += [(1.0, x, _rows(J.mT, 1 - x, 0.0).log()) for x in {*grid, b}]
        if a < 0.5:
            nodes += [(x, 0.5, _weighted(J, x, 0.5).log()) for x in {0.0, 0.125, 0.25, 0.375, a}]
        bounds.append(_interpolated(nodes, a, b))
    return torch.stack(bounds).amin(0)


def _rows(J: Tensor, a: float, b: float) -> Tensor:
    """The l_{1/b} norm (n,) of the rows' norms, each in the norm conjugate to l_{1/a}."""
    return norm(norm(J, conjugate(_inverse(a)), -1), _inverse(b), -1)


def _inverse(a: float) -> float:
    return 1 / a if a > 0 else math.inf


def _spectral(J: Tensor) -> Tensor:
    """The largest singular values (n,)."""
    return torch.linalg.eigvalsh(J @ J.mT if J.shape[-2] <= J.shape[-1] else J.mT @ J)[..., -1].sqrt()


def _weighted(J: Tensor, a: float, b: float) -> Tensor:
    """The largest singular value (n,) of ``diag(rho)^{1/2-b} J diag(pi)^{a-1/2}``, at the best weights found, for a <=
    1/2 <= b.

    The best weights are the squared entries of the singular vectors, averaged over the space of the largest singular
    value. The steps move towards such weights, averaging over all singular values to a growing power. The best value on
    the way is returned.
    """
    K, d = J.shape[-2:]
    if K > d:
        return _weighted(J.mT, 1 - b, 1 - a)
    log_rho, log_pi = (torch.full_like(axis, -math.log(axis.shape[-1])) for axis in (J[..., 0], J[..., 0, :]))
    best = torch.full_like(J[..., 0, 0], math.inf)
    for step in range(_STEPS):
        power = _SHARPEST ** (step / (_STEPS - 1))
        M = J * ((0.5 - b) * log_rho).exp()[..., None] * ((a - 0.5) * log_pi).exp()[..., None, :]
        squares, U = torch.linalg.eigh(M @ M.mT)
        best = torch.minimum(best, squares[..., -1].sqrt())
        share = (squares / squares[..., -1:]).clamp(min=0)[..., None]
        log_rho = _towards(log_rho, U**2 @ share**power, power)
        log_pi = _towards(log_pi, (M.mT @ U) ** 2 @ share ** (power - 1), power)
    return best


def _towards(log_w: Tensor, goal: Tensor, power: float) -> Tensor:
    """Logarithms of weights on the simplex, a damped step nearer to ``goal`` (..., 1), which need not be normalised."""
    goal = goal[..., 0] / goal.sum((-2, -1))[..., None]
    return torch.log_softmax(log_w + (goal.clamp(min=_EPS).log() - log_w) / (1 + power), -1)


def _interpolated(nodes: list[tuple[float, float, Tensor]], a: float, b: float) -> Tensor:
    """The least value (n,) at (a, b) of the linear functions through three of the ``nodes`` (a, b, values)
    around it."""
    points = torch.tensor([node[:2] for node in nodes], dtype=torch.float64, device="cpu")
    triples = torch.combinations(torch.arange(len(points), dtype=torch.int64, device="cpu"), 3)
    corners, target = points[triples], points.new_tensor([a, b])
    halves = torch.stack([_area(target, corners[:, i - 2], corners[:, i - 1]) for i in range(3)], -1)
    parts = (halves / halves.sum(-1, keepdim=True)).clamp(min=0)
    missed = torch.cat([(parts[..., None] * corners).sum(1) - target, parts.sum(-1, keepdim=True) - 1], -1)
    around = (missed.abs() <= 4 * _EPS).all(-1)
    values = torch.stack([node[2] for node in nodes], -1)
    return (values[:, triples[around]] * parts[around].to(values)).sum(-1).amin(-1)


def _area(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Twice the signed area of the triangle of three points (..., 2)."""
    y, z = y - x, z - x
    return y[..., 0] * z[..., 1] - y[..., 1] * z[..., 0]
