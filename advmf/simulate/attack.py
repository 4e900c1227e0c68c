"""Attacks on sampled networks: the largest change of the output over an lp ball, from below.

:func:`attack` starts from the linearised optimum, ``±eps argmax ‖J(x)e‖_q`` over ``‖e‖_p <= 1``, and takes a few ascent steps of
decaying size with exact projections. :func:`pgd`, plain projected gradient ascent from random points of the ball, is the
independent comparison. Whatever either finds is attained, so it bounds the maximum from below and never from above.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from advmf.errors import ArgumentError, DomainError
from advmf.simulate.dense import Ensemble
from advmf.simulate.geometry import conjugate, maximiser, norm, order, project, uniform
from advmf.simulate.networks import Trace
from advmf.simulate.opnorm import operator_norm

MOMENTUM = 0.5
"""Share of the last direction that an ascent step keeps: damps the oscillation between linear regions."""


@dataclass(frozen=True)
class Attack:
    """The best perturbation found, ``eta`` (nets, [inputs,] [pairs,] d), and the change it makes, ``value`` (nets, [inputs,] [pairs])."""

    eta: Tensor
    value: Tensor


def attack(
    networks: Ensemble,
    x: Any,
    *,
    eps: float,
    p: Any,
    q: Any,
    steps: int = 10,
    restarts: int = 1,
    generator: torch.Generator | None = None,
) -> Attack:
    """Maximise ``‖f(x + eta) - f(x)‖_q`` over ``‖eta‖_p <= eps`` for every network and input.

    ``x`` has shape (d,), (inputs, d) or (nets, inputs, d). ``p`` and ``q`` are exponents in [1, oo], or sequences of equal length:
    all pairs then share every pass through the networks. ``restarts`` further starts are random directions, improved on J(x)
    alone. Randomness comes from ``generator`` (seed 0 if None). Every ``eta`` lies in its ball.

    Raises DomainError for ``eps <= 0`` or exponents outside [1, oo], ArgumentError for counts or shapes that do not fit.

    >>> import torch, advmf as mf
    >>> networks = mf.simulate.sample(mf.vanilla(u=1, v=0), N=60, L=2, d=8, K=3, nets=4, sigma_w=1.4, sigma_b=0.1,
    ...                               generator=torch.Generator().manual_seed(0))
    >>> found = mf.simulate.attack(networks, torch.ones(8), eps=0.1, p="inf", q=2)
    >>> found.eta.shape, found.value.shape, bool((found.eta.abs() <= 0.1).all())
    (torch.Size([4, 8]), torch.Size([4]), True)
    """
    return _over_chunks(networks, x, p, q, eps, steps, restarts, generator, attack_trace)


def pgd(
    networks: Ensemble,
    x: Any,
    *,
    eps: float,
    p: Any,
    q: Any,
    steps: int = 100,
    restarts: int = 8,
    generator: torch.Generator | None = None,
) -> Attack:
    """Plain projected gradient ascent from ``restarts`` random points of the ball; arguments and errors of :func:`attack`.

    Steps go along the steepest direction of the lp ball, with sizes falling linearly from eps to 0, and the best point is kept.
    """
    return _over_chunks(networks, x, p, q, eps, steps, restarts, generator, _pgd_trace)


def attack_trace(
    trace: Trace,
    *,
    eps: float,
    pairs: Sequence[tuple[Any, Any]],
    steps: int,
    restarts: int,
    generator: torch.Generator | None,
    jacobian: Tensor | None = None,
) -> Attack:
    """:func:`attack` at a forward trace whose Jacobian may be known: eta (nets, inputs, pairs, d), value (nets, inputs, pairs)."""
    exponents = _exponents(pairs)
    generator = generator or torch.Generator().manual_seed(0)
    jacobian = trace.jacobian() if jacobian is None else jacobian
    starts = [_starts(jacobian, p, q, restarts, generator) for p, q in exponents]
    eta = eps * torch.cat([torch.cat([start, -start], dim=2) for start in starts], dim=2)
    return _ascend(trace, eta, eps, exponents, steps, lambda k: 2 * (1 - k / steps), MOMENTUM)


def _starts(jacobian: Tensor, p: float, q: float, restarts: int, generator: torch.Generator) -> Tensor:
    """Maximisers of ‖J e‖_q over the unit ball, (nets, inputs, restarts, d): the best known one, then local ones."""
    found = [operator_norm(jacobian, p, q, generator=generator).vector[:, :, None]]
    if restarts > 1:
        shape = (*jacobian.shape[:2], restarts - 1, jacobian.shape[2])
        t = torch.randn(shape, generator=generator, device=generator.device).to(jacobian)
        for _ in range(3):
            e = maximiser(t @ jacobian, p)
            t = maximiser(e @ jacobian.mT, conjugate(q))
        found.append(e)
    return torch.cat(found, dim=2)


def _pgd_trace(
    trace: Trace,
    *,
    eps: float,
    pairs: Sequence[tuple[Any, Any]],
    steps: int,
    restarts: int,
    generator: torch.Generator | None,
) -> Attack:
    exponents = _exponents(pairs)
    generator = generator or torch.Generator().manual_seed(0)
    nets, _, inputs, _ = trace.output.shape
    shape = (nets, inputs, restarts, trace.networks.d)
    eta = eps * torch.cat([uniform(shape, p, generator).to(trace.output) for p, _ in exponents], dim=2)
    return _ascend(trace, eta, eps, exponents, steps, lambda k: 1 - k / steps, 0.0)


def _ascend(
    trace: Trace,
    eta: Tensor,
    eps: float,
    exponents: Sequence[tuple[float, float]],
    steps: int,
    size: Callable[[int], float],
    momentum: float,
) -> Attack:
    """Ascent from eta (nets, inputs, columns, d), the columns of each pair side by side; the best point of each pair."""
    share = eta.shape[2] // len(exponents)
    own = [slice(i * share, (i + 1) * share) for i in range(len(exponents))]
    eta = torch.cat([project(eta[:, :, s], p, eps) for s, (p, _) in zip(own, exponents)], dim=2)
    best, record = torch.full(eta.shape[:3], -math.inf).to(eta), eta
    direction = torch.zeros_like(eta)
    for k in range(steps + 1):
        shifted = trace.shift(_columns(eta))
        change = _rows(shifted.output)
        value = torch.cat([norm(change[:, :, s], q) for s, (_, q) in zip(own, exponents)], dim=2)
        record = torch.where((value > best)[..., None], eta, record)
        best = torch.maximum(best, value)
        if k == steps:
            break
        cotangent = torch.cat([maximiser(change[:, :, s], conjugate(q)) for s, (_, q) in zip(own, exponents)], dim=2)
        gradient = _rows(shifted.pull(_columns(cotangent)))
        moved = []
        for s, (p, _) in zip(own, exponents):
            g = gradient[:, :, s]
            direction[:, :, s] = momentum * direction[:, :, s] + g / norm(g, conjugate(p), keepdim=True).clamp(min=1e-30)
            moved.append(project(eta[:, :, s] + size(k) * eps * maximiser(direction[:, :, s], p), p, eps))
        eta = torch.cat(moved, dim=2)
    top = best.unflatten(2, (len(exponents), share)).max(-1)
    chosen = record.unflatten(2, (len(exponents), share)).gather(3, top.indices[..., None, None].expand(-1, -1, -1, 1, eta.shape[-1]))
    return Attack(chosen[:, :, :, 0], top.values)


def _columns(rows: Tensor) -> Tensor:
    """(nets, inputs, columns, n) as a column block (nets, n, inputs, columns)."""
    return rows.permute(0, 3, 1, 2).contiguous()


def _rows(columns: Tensor) -> Tensor:
    return columns.permute(0, 2, 3, 1)


def _exponents(pairs: Sequence[tuple[Any, Any]]) -> list[tuple[float, float]]:
    return [(order(p, "p"), order(q, "q")) for p, q in pairs]


def _over_chunks(
    networks: Ensemble,
    x: Any,
    p: Any,
    q: Any,
    eps: float,
    steps: int,
    restarts: int,
    generator: torch.Generator | None,
    method: Callable[..., Attack],
) -> Attack:
    """Validate, attack chunk by chunk, and give the shapes that were asked for."""
    if not isinstance(networks, Ensemble):
        raise ArgumentError(f"networks must be an Ensemble, as advmf.simulate.sample gives; got {networks!r}.")
    if isinstance(eps, bool) or not isinstance(eps, int | float) or not (math.isfinite(eps) and eps > 0):
        raise DomainError(f"eps is the radius of a ball and must be a positive finite number; got {eps!r}.")
    for name, value, least in (("steps", steps, 0), ("restarts", restarts, 1)):
        try:
            count = operator.index(value)
        except TypeError:
            raise ArgumentError(f"{name} must be an integer; got {value!r}.") from None
        if count < least:
            raise DomainError(f"{name} must be at least {least}; got {count}.")
    many = isinstance(p, list | tuple) or isinstance(q, list | tuple)
    if many and not (isinstance(p, list | tuple) and isinstance(q, list | tuple) and len(p) == len(q) > 0):
        raise ArgumentError(f"p and q must be two exponents, or two sequences of the same length; got p={p!r}, q={q!r}.")
    pairs = _exponents(list(zip(p, q)) if many else [(p, q)])
    x = torch.as_tensor(x)
    generator = generator or torch.Generator().manual_seed(0)
    found = [
        method(trace, eps=float(eps), pairs=pairs, steps=steps, restarts=restarts, generator=generator)
        for trace in networks.traces(x)
    ]
    eta, value = torch.cat([a.eta for a in found]), torch.cat([a.value for a in found])
    if not many:
        eta, value = eta[:, :, 0], value[:, :, 0]
    return Attack(eta[:, 0], value[:, 0]) if x.ndim == 1 else Attack(eta, value)
