"""Geometry of the lp balls: norms, their duals, steepest directions, projections and random points.

Every function works along one axis ``dim`` of a tensor, so that all columns of a batch are treated at once, and takes
the exponent as a float in [1, inf]. Vectors are scaled by their largest entry first, so no power overflows for any
exponent.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from advmf.errors import DomainError
from advmf.symbols import exponent

_TINY = 1e-300
_ROUNDS = 100


def order(value: object, name: str = "p") -> float:
    """An exponent, as :func:`advmf.symbols.exponent` reads it, as a float in [1, inf].

    Raises DomainError for a value that is below 1, no number, or a symbol without a value.

    >>> order("inf"), order("3/2"), order(2)
    (inf, 1.5, 2.0)
    """
    if type(value) is float and value >= 1:
        return value
    expr = exponent(value, name)
    if not expr.is_number:
        raise DomainError(
            f"{name} must be a number in [1, oo] or 'inf' for a simulation; got the symbol {expr}. Give it a value."
        )
    return float(expr)


def conjugate(r: float) -> float:
    """The Hoelder conjugate ``r*``, with ``1/r + 1/r* = 1``.

    >>> conjugate(1.0), conjugate(2.0), conjugate(math.inf), conjugate(4.0)
    (inf, 2.0, 1.0, 1.3333333333333333)
    """
    return math.inf if r == 1 else 1.0 if math.isinf(r) else r / (r - 1)


def norm(z: Tensor, r: float, dim: int = -1, *, keepdim: bool = False) -> Tensor:
    """The lr norm of ``z`` along ``dim``.

    >>> norm(torch.tensor([3e30, 4e30]), 2)
    tensor(5.0000e+30)
    """
    z = z.abs()
    if math.isinf(r):
        return z.amax(dim, keepdim=keepdim)
    if r == 1:
        return z.sum(dim, keepdim=keepdim)
    top = _top(z, dim)
    value = torch.linalg.vector_norm(z / top, r, dim, keepdim=True) * top
    return value if keepdim else value.squeeze(dim)


def maximiser(z: Tensor, r: float, dim: int = -1) -> Tensor:
    """``D_r(z)``: an ``e`` of lr norm 1 that maximises ``<z, e>``, so that ``<z, D_r(z)> = ||z||_{r*}``.

    It is the signed unit vector at the largest entry for r = 1, ``z/||z||`` for r = 2, the signs for r = inf, and
    ``sign(z) |z|^{r*-1}``, normalised, in between. A zero vector is treated as a vector of ones.

    >>> x = torch.tensor([3.0, -4.0])
    >>> maximiser(x, 1), maximiser(x, 2), maximiser(torch.zeros(2), math.inf)
    (tensor([ 0., -1.]), tensor([ 0.6000, -0.8000]), tensor([1., 1.]))
    """
    if math.isinf(r):
        return torch.ones_like(z).copysign(z)
    size = z.abs()
    top = size.amax(dim, keepdim=True)
    if r == 1:
        at = size.argmax(dim, keepdim=True)
        return torch.zeros_like(z).scatter_(dim, at, torch.ones_like(top).copysign(z.gather(dim, at)))
    size = torch.where(top > 0, size / _top(size, dim), 1)
    power = size if r == 2 else size ** (1 / (r - 1))
    return (power / torch.linalg.vector_norm(power, r, dim, keepdim=True)).copysign(z)


def project(z: Tensor, r: float, radius: float, dim: int = -1) -> Tensor:
    """The Euclidean projection of ``z`` onto the ball ``||.||_r <= radius``, to the precision of its dtype, for any r
    in [1, inf].

    Points of the ball stay as they are. For r = 1 by sorting; for other r by Newton's method on the optimality
    condition ``a x^{r-1} + x = |z|`` in the logarithms, safeguarded by bisection, in float64.

    Raises DomainError if ``radius`` is not a positive finite number.

    >>> project(torch.tensor([3.0, 1.0]), 1, 1.0), project(torch.tensor([3.0, 0.5]), math.inf, 1.0)
    (tensor([1., 0.]), tensor([1.0000, 0.5000]))
    """
    if not (math.isfinite(radius) and radius > 0):
        raise DomainError(f"radius must be a positive finite number; got {radius!r}.")
    if math.isinf(r):
        return z.clamp(-radius, radius)
    wide = z.double() / radius
    size = norm(wide, r, dim, keepdim=True)
    wide = torch.where(size > 1, wide, 2.0)  # points inside need no search
    if r == 2:
        inner = wide / size
    else:
        last = wide.abs().movedim(dim, -1)
        inner = (_simplex(last) if r == 1 else _sphere(last, r)).movedim(-1, dim).copysign(wide)
        inner = inner / norm(inner, r, dim, keepdim=True)
    return torch.where(size > 1, (inner * radius).to(z.dtype), z)


def uniform(shape: tuple[int, ...], r: float, generator: torch.Generator) -> Tensor:
    """Points drawn uniformly from the unit ball of ||.||_r, along the last axis, in float64 on the generator's device.

    With |g_i|^r ~ Gamma(1/r) and E ~ Exp(1), g / (sum |g_i|^r + E)^{1/r} is uniform in the ball (Barthe et al., 2005).

    >>> points = uniform((1000, 3), 1.5, torch.Generator().manual_seed(0))
    >>> bool((norm(points, 1.5) <= 1).all())
    True
    """
    device = generator.device
    cube = 2 * torch.rand(shape, generator=generator, device=device, dtype=torch.float64) - 1
    if math.isinf(r):
        return cube
    # Gamma(1/r) = Gamma(1 + 1/r) U^r in law, which does not underflow for large r.
    gamma = torch._standard_gamma(torch.full_like(cube, 1 + 1 / r), generator=generator)
    extra = torch.empty(*shape[:-1], 1, device=device, dtype=torch.float64).exponential_(generator=generator)
    g = torch.cat((cube * gamma ** (1 / r), extra ** (1 / r)), -1)
    return g[..., :-1] / norm(g, r, keepdim=True)


def _top(size: Tensor, dim: int) -> Tensor:
    """The largest entry, or 1 where all are zero."""
    top = size.amax(dim, keepdim=True)
    return torch.where(top > 0, top, 1)


def _simplex(a: Tensor) -> Tensor:
    """The point of the unit simplex nearest to ``a`` >= 0, along the last axis (Duchi et al., 2008)."""
    a = a - a.amax(-1, keepdim=True)  # the result is the same, and large entries do not cancel
    falling = a.sort(-1, descending=True).values
    shifts = (falling.cumsum(-1) - 1) / torch.arange(1, a.shape[-1] + 1, dtype=a.dtype, device=a.device)
    support = (falling > shifts).sum(-1, keepdim=True).clamp(min=1)
    return (a - shifts.gather(-1, support - 1)).clamp(min=0)


def _sphere(a: Tensor, r: float) -> Tensor:
    """The x >= 0 with ``||x||_r = 1`` and ``x + mu x^{r-1} = a``, for ``a`` >= 0 of lr norm above 1, along the last
    axis."""
    log_a, dual = a.clamp(min=_TINY).log(), conjugate(r)
    excess = (norm(a, r, keepdim=True) - 1).clamp(min=_TINY)
    # On the sphere ||a - x||_{r*} = mu. It lies between these two, by the triangle inequality and by x >= 0; both can
    # be attained.
    low = (excess * min(1.0, a.shape[-1] ** (1 / dual - 1 / r))).log() - 1e-3
    high = norm(a, dual, keepdim=True).log() + 1e-3
    log_mu, w, close = high, None, False
    for _ in range(_ROUNDS):
        w = _odds(log_mu + (r - 2) * log_a, r, w)
        log_x = log_a + torch.nn.functional.logsigmoid(w)
        value = torch.logsumexp(r * log_x, -1, keepdim=True) / r
        if close:
            break
        close = bool((value.abs() <= 1e-9).all())  # the next step is exact to rounding: errors are squared
        low, high = torch.where(value > 0, log_mu, low), torch.where(value > 0, high, log_mu)
        rest = torch.sigmoid(-w)
        slope = -(torch.softmax(r * log_x, -1) * rest / (1 + (r - 2) * rest)).sum(-1, keepdim=True)
        newton = log_mu - value / slope
        log_mu = torch.where((newton >= low) & (newton <= high), newton, (low + high) / 2)
    return log_x.exp()


def _odds(log_m: Tensor, r: float, w: Tensor | None) -> Tensor:
    """The w with ``s + m s^{r-1} = 1`` for s = sigmoid(w): Newton's method on a monotone function without inflection.

    It converges from every start. From the default start, a root of the function's asymptotes, it converges
    monotonically, since the function is convex for r > 2 and concave for r < 2.
    """
    w = -log_m / torch.where(log_m > 0, log_m.new_tensor(r - 1), 1.0) if w is None else w
    for _ in range(_ROUNDS):
        value = (r - 1) * torch.nn.functional.softplus(-w) - torch.nn.functional.softplus(w) - log_m
        step = value / (1 + (r - 2) * torch.sigmoid(-w))
        w = w + step
        if bool((step.abs() <= 1e-15 * (1 + w.abs())).all()):
            break
    return w
