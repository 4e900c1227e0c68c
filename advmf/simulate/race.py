"""The race of an attack: gradient ascent from many starts at once, of which only the best continue.

All starts, signs, inputs and pairs (p, q) are columns of the same matrix products.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from advmf.simulate.geometry import conjugate, maximiser, norm, project
from advmf.simulate.module import ModuleTrace
from advmf.simulate.networks import Trace
from advmf.simulate.tapes import ShiftTape

DIRECTIONS, STEPS = 16, 14
"""The default race: the number of its directions, each with both signs, and the number of its steps."""
LEAN = 8
"""The default steps on networks of infinite width, where there is a single direction."""
ROUNDS = ((2, 4), (5, 10))
"""Pairs (step, n): after this step one in n columns continues, and never fewer than FINALISTS of them."""
FINALISTS = 3
MOMENTUM = 0.5
"""The share of the previous direction that a step of :func:`attack` keeps."""
TAPE = 2**30
"""Bytes of activations kept by one pass; more columns take several passes."""

Objective = Callable[[Tensor, bool], tuple[Tensor, Tensor | None]]
"""The value of changes of the output (nets, inputs, pairs, starts, K) and, if requested, its gradient with respect to
them."""


@dataclass(frozen=True)
class Attack:
    """The best perturbations found, ``eta`` (nets, [inputs,] [pairs,] d), and the ``value`` (nets, [inputs,] [pairs])
    of each.

    The inputs axis is absent for an input of shape (d,), the pairs axis for a single (p, q).
    """

    eta: Tensor
    value: Tensor


def columns(directions: int, step: int) -> int:
    """The number of columns of a restart in a step of a race. Of a single direction only the better sign continues
    after one step."""
    if directions == 1:
        return 1 if step else 2
    share = next((share for after, share in reversed(ROUNDS) if step >= after), 1)
    return max(min(FINALISTS, directions), 2 * directions // share)


def attack_queries(K: int, d: int, pairs: int, steps: int, restarts: int = 1, directions: int = DIRECTIONS) -> int:
    """The most vectors that :func:`attack_trace` sends through each matrix, forwards and back, the trace and its
    Jacobian included. They are fewer where only the starts that continue are sent back."""
    last = ROUNDS[-1][0]  # the number is constant from this step on
    total = sum(columns(directions, step) for step in range(min(last, steps)))
    total += max(0, steps - last) * columns(directions, last)
    return 1 + min(K, d) + pairs * restarts * (2 * total + columns(directions, steps))


def norms(qs: Sequence[float]) -> Objective:
    """The objective ``||change||_q``, with the q of each pair."""
    duals = [conjugate(q) for q in qs]
    return lambda change, gradient: (_each(norm, change, qs), _each(maximiser, change, duals) if gradient else None)


def race(
    trace: Trace | ModuleTrace,
    starts: Float[Tensor, "nets inputs pairs starts d"],
    ps: Sequence[float],
    objective: Objective,
    eps: float,
    steps: int,
    restarts: int,
    directions: int,
) -> Attack:
    """The ascent of :func:`attack` from both signs of its directions."""

    def going(step: int) -> int:
        return restarts * columns(directions, step)

    return ascend(trace, starts, ps, objective, eps, steps, _size, MOMENTUM, going, _shortened)


def _size(p: float) -> float:
    """The first step divided by the radius. Longer steps cross more linear regions, but for p = 1 they keep only one
    coordinate."""
    return 1.0 if p == 1 else 2.0


def _shortened(z: Tensor, p: float, radius: float) -> Tensor:
    """``z`` with points outside the ball brought back: to the nearest point for p = 1 and p = inf, and by shortening in
    between. There the nearest point would lose its small coordinates (p < 2) or its large ones (p > 2), and its value
    is some percent lower."""
    if math.isinf(p):
        return z.clamp(-radius, radius)
    if p == 1:
        return project(z, p, radius)
    return z * (radius / norm(z.double(), p, keepdim=True).clamp(min=radius)).to(z)


def ascend(
    trace: Trace | ModuleTrace,
    starts: Float[Tensor, "nets inputs pairs starts d"],
    ps: Sequence[float],
    objective: Objective,
    eps: float,
    steps: int,
    size: Callable[[float], float],
    momentum: float,
    going: Callable[[int], int],
    back: Callable[..., Tensor],
) -> Attack:
    """Ascent from points of the unit balls. Steps start at ``size(p) * eps`` and fall to 0. Only the best
    ``going(step)`` points continue, and after each step ``back`` returns them to the balls."""
    duals = [conjugate(p) for p in ps]
    radius = eps * (1 - 8 * torch.finfo(starts.dtype).eps)  # so that rounding leaves every point in the ball
    eta, m = _each(partial(back, radius=radius), radius * starts, ps), torch.zeros_like(starts)
    where, best, seen = eta[..., 0, :], eta.new_full(eta.shape[:3], -math.inf), eta.new_full(eta.shape[:4], -math.inf)
    for step in range(steps + 1):
        value, kept, gradient = passes(trace, eta, objective, seen, going(step + 1) if step < steps else 0)
        top, at = value.max(-1)
        where = torch.where((top > best)[..., None], _take(eta, at[..., None])[..., 0, :], where)
        best, seen = torch.maximum(best, top), torch.maximum(seen, value)
        if gradient is None:
            break
        if kept is not None:
            seen, eta, m = seen.gather(3, kept), _take(eta, kept), _take(m, kept)
        length = _each(norm, gradient, duals)[..., None]
        m = momentum * m + gradient / length.clamp(min=torch.finfo(eta.dtype).tiny)
        moved = eta + (1 - step / steps) * radius * _each(lambda z, p: size(p) * maximiser(z, p), m, ps)
        eta = _each(partial(back, radius=radius), moved, ps)
    return Attack(where, best)


def passes(
    trace: Trace | ModuleTrace,
    eta: Float[Tensor, "nets inputs pairs starts d"],
    objective: Objective,
    seen: Float[Tensor, "nets inputs pairs starts"],
    count: int,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The objective of ``f(x + eta) - f(x)`` (nets, inputs, pairs, starts), the ``count`` starts that are best by it or
    by what was ``seen`` before (None if all are), and the gradients at these with respect to ``eta`` (None for a count
    of 0). Columns that no gradient is needed for are not sent back, where the trace can tell them apart."""
    tape = sum(kept.nbytes for kept in trace.tape.kept) * eta.shape[2]
    parts = eta.split(max(1, TAPE // max(1, tape)), 3)
    values, gradients, best = [], [], None
    for part in parts:
        shape = part.shape[2:4]
        shifted = trace.shift(part.flatten(2, 3).permute(0, 3, 1, 2))
        delta = shifted.output.permute(0, 2, 3, 1).unflatten(2, shape)
        value, slope = objective(delta, count > 0)
        values.append(value)
        if slope is None:
            continue
        if len(parts) == 1 and count < shape[1] and isinstance(shifted, Trace) and isinstance(shifted.tape, ShiftTape):
            best = torch.maximum(seen, value).topk(count, -1).indices
            pair = torch.arange(shape[0], dtype=best.dtype, device=best.device)[:, None]
            shifted, slope = shifted.at((shape[1] * pair + best).flatten(2)), _take(slope, best)
        t = slope.flatten(2, 3).permute(0, 3, 1, 2)
        gradients.append(shifted.pull(t).permute(0, 2, 3, 1).unflatten(2, slope.shape[2:4]))
    found, gradient = torch.cat(values, 3), torch.cat(gradients, 3) if gradients else None
    if gradient is not None and count < gradient.shape[3]:
        best = torch.maximum(seen, found).topk(count, -1).indices
        gradient = _take(gradient, best)
    return found, best, gradient


def _each(function: Callable[[Tensor, float], Tensor], z: Tensor, exponents: Sequence[float]) -> Tensor:
    """``function`` applied to every pair's part of ``z`` (nets, inputs, pairs, ...) with its exponent."""
    return torch.stack([function(part, r) for part, r in zip(z.unbind(2), exponents)], 2)


def _take(z: Tensor, at: Tensor) -> Tensor:
    """The starts ``at`` (nets, inputs, pairs, n) of ``z`` (nets, inputs, pairs, starts, d)."""
    return z.gather(3, at[..., None].expand(*at.shape, z.shape[-1]))
