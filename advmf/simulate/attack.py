"""Attacks on sampled networks: the largest ``||f(x + eta) - f(x)||_q`` found over ``||eta||_p <= eps``.

:func:`attack` starts at the optimum of the linearised network and at random directions near it, ascends from all of them for a few
steps and goes on with the best. :func:`pgd` is the standard method, many steps from random points, and serves as a comparison.
Both are lower bounds of the maximum. All starts, signs, inputs and pairs (p, q) are columns of the same matrix products.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, SupportsFloat

import torch
from jaxtyping import Float
from torch import Tensor

from advmf.errors import ArgumentError, DomainError
from advmf.simulate.ensemble import Ensemble
from advmf.simulate.geometry import conjugate, maximiser, norm, order, project, uniform
from advmf.simulate.networks import Trace
from advmf.simulate.opnorm import operator_norm

DIRECTIONS, SCREEN, FINALISTS = 16, 3, 3
"""A race: it starts from so many directions, both signs of each; after so many steps, so many columns go on."""
MOMENTUM = 0.5
"""Share of the last direction that a step of :func:`attack` keeps."""
TAPE = 2**30
"""Bytes of activations kept by one pass; more columns than that go in several passes."""

Pairs = Sequence[tuple[float, float]]
Objective = Callable[[Tensor, bool], tuple[Tensor, Tensor | None]]
"""The value of changes of the output (nets, inputs, pairs, starts, K) and, if asked for, its gradient in them."""


@dataclass(frozen=True)
class Attack:
    """The best perturbations found, ``eta`` (nets, [inputs,] [pairs,] d), and the ``value`` (nets, [inputs,] [pairs]) of each.

    The inputs axis is absent for an input of shape (d,), the pairs axis for a single (p, q).
    """

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
    directions: int = DIRECTIONS,
    generator: torch.Generator | None = None,
) -> Attack:
    """Maximise ``||f(x + eta) - f(x)||_q`` over ``||eta||_p <= eps`` for every network and input.

    A race of ``restarts * directions``, both signs of each: the optimum of the linearised network (:func:`operator_norm`) and
    ``D_p(J^T t)`` for random ``t``. They take steps ``eta <- P(eta + 2 eps (1 - k/steps) D_p(m))``, ``m`` the gradient with
    momentum and ``P`` the projection on the ball; the best ``restarts * 3`` go on after three steps. The best point seen counts. Fewer
    ``directions`` make a cheaper race, which small balls do not notice; a single one is the optimum of the linearised network.
    Ten steps match :func:`pgd` where ``||eta||_2`` is at most about ``||x||_2 / 10``; on larger balls, which hold many linear
    regions, a vanilla network needs 30 to 50.

    ``x`` has shape (d,), (inputs, d) or (nets, inputs, d). ``p`` and ``q`` are exponents in [1, oo], or sequences of equal length
    for several pairs at the price of little more than one. The random directions are the same for every network and input, so
    that numbers do not depend on chunks; ``generator`` is one of seed 0 if None.

    Raises DomainError for an eps that is not positive and finite or leaves the range of the networks' dtype, exponents that are
    no numbers in [1, oo], negative steps, no restarts or no directions; ArgumentError for arguments of the wrong kind or shape;
    MemoryBudgetError where conditioned networks would outgrow their budget. All before any work.

    >>> import torch, advmf as mf
    >>> networks = mf.simulate.sample(mf.vanilla(u=1, v=0), N=50, L=3, d=8, K=2, nets=5, sigma_w=1.4, sigma_b=0.0,
    ...                               generator=torch.Generator().manual_seed(0))
    >>> found = attack(networks, torch.ones(8), eps=0.1, p="inf", q=2)
    >>> found.eta.shape, found.value.shape, bool((found.eta.abs() <= 0.1).all())
    (torch.Size([5, 8]), torch.Size([5]), True)
    >>> attack(networks, torch.ones(3, 8), eps=0.1, p=[1, 2, "inf"], q=[2, 2, 2]).value.shape
    torch.Size([5, 3, 3])
    """
    directions = _count("directions", directions, 1)

    def queries(networks: Ensemble, pairs: int, steps: int, restarts: int) -> int:
        return attack_queries(networks.K, networks.d, pairs, steps, restarts, directions)

    method = partial(attack_trace, directions=directions)
    return _attack(method, queries, networks, x, eps, p, q, steps, restarts, generator)


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
    """Projected gradient ascent (Madry et al., 2018) from random points of the ball; arguments, result and errors as :func:`attack`.

    The steps ``eta <- P(eta + eps (1 - k/steps) D_p(gradient))`` are the steepest in the lp norm. The linear decay from eps beats
    constant steps of 2.5 eps/steps, by a fifth on balls that hold many linear regions.

    >>> import torch, advmf as mf
    >>> networks = mf.simulate.sample(mf.vanilla(u=1, v=1), N=50, L=3, d=8, K=2, nets=5, sigma_w=1.0, sigma_b=0.0,
    ...                               generator=torch.Generator().manual_seed(0))
    >>> x = torch.ones(8)
    >>> bool((pgd(networks, x, eps=0.1, p=2, q=2).value <= 1.00001 * attack(networks, x, eps=0.1, p=2, q=2).value).all())
    True
    """

    def queries(networks: Ensemble, pairs: int, steps: int, restarts: int) -> int:
        return 1 + pairs * restarts * (2 * steps + 1)

    return _attack(pgd_trace, queries, networks, x, eps, p, q, steps, restarts, generator)


def attack_trace(
    trace: Trace,
    *,
    eps: float,
    pairs: Pairs,
    steps: int = 10,
    restarts: int = 1,
    generator: torch.Generator,
    directions: int = DIRECTIONS,
    jacobian: Float[Tensor, "nets inputs K d"] | None = None,
) -> Attack:
    """:func:`attack` on a forward trace, with ``eta`` (nets, inputs, pairs, d); ``jacobian`` is the trace's own, if known already.
    Fewer ``directions`` make a cheaper race, which small balls do not notice.

    Arguments are taken as they are: floats in [1, inf] as exponents, a positive eps, counts in range.
    """
    J = trace.jacobian() if jacobian is None else jacobian
    t = torch.randn(restarts * directions - 1, J.shape[2], generator=generator, device=generator.device).to(J)
    random, seed = t @ J, _seed(generator)

    def unit(p: float, q: float) -> Tensor:
        best = operator_norm(J, p, q, generator=torch.Generator().manual_seed(seed)).vector[..., None, :]
        e = torch.cat((best, maximiser(random, p)), -2)
        return torch.cat((e, -e), -2)

    starts = torch.stack([unit(p, q) for p, q in pairs], 2)
    return _race(trace, starts, [p for p, _ in pairs], _norms([q for _, q in pairs]), eps, steps, restarts, directions)


def attack_loss(
    trace: Trace,
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    eps: float,
    p: float,
    steps: int = 10,
    restarts: int = 1,
    generator: torch.Generator,
    directions: int = DIRECTIONS,
) -> Attack:
    """Maximise any loss over ``||eta||_p <= eps`` on a forward trace: ``eta`` (nets, inputs, d) and ``value`` (nets, inputs).

    ``loss(output, change)`` takes f(x) and f(x + eta) - f(x), which broadcast and whose last axis is that of the K outputs, and gives one
    number for each change, differentiable by torch. The race is that of :func:`attack`, from ``D_p(J^T t)`` for random ``t``. A loss that
    is small for a small change keeps its digits if it is written in terms of the change.

    Arguments are taken as they are, as by :func:`attack_trace`.

    >>> import torch, advmf as mf
    >>> networks = mf.simulate.sample(mf.vanilla(u=1, v=0), N=50, L=3, d=8, K=2, nets=5, sigma_w=1.4, sigma_b=0.0,
    ...                               generator=torch.Generator().manual_seed(0))
    >>> (trace,) = networks.traces(torch.ones(8))
    >>> first = attack_loss(trace, lambda output, change: change[..., 0], eps=0.1, p=2, generator=torch.Generator().manual_seed(0))
    >>> bool((first.value <= attack(networks, torch.ones(1, 8), eps=0.1, p=2, q=2).value).all())
    True
    """
    J = trace.jacobian()
    t = torch.randn(restarts * directions, J.shape[2], generator=generator, device=generator.device).to(J)
    e = maximiser(t @ J, p)
    starts = torch.cat((e, -e), -2)[:, :, None]
    output = trace.output[..., 0].mT[:, :, None, None]

    def objective(change: Tensor, gradient: bool) -> tuple[Tensor, Tensor | None]:
        with torch.enable_grad():
            change = change.detach().requires_grad_()
            value = loss(output, change)
            slope = torch.autograd.grad(value.sum(), change)[0] if gradient else None
        return value.detach(), slope

    found = _race(trace, starts, [p], objective, eps, steps, restarts, directions)
    return Attack(found.eta[:, :, 0], found.value[:, :, 0])


def _screen(directions: int) -> int:
    """Steps before the screening; of a single direction the better sign is known after one."""
    return SCREEN if directions > 1 else 1


def attack_queries(K: int, d: int, pairs: int, steps: int, restarts: int = 1, directions: int = DIRECTIONS) -> int:
    """How many vectors :func:`attack_trace` sends through each matrix, forwards and back, the trace and its Jacobian included."""
    screened = min(_screen(directions), steps)
    columns = 2 * directions * screened + min(FINALISTS, directions) * (steps - screened)
    return 1 + min(K, d) + pairs * restarts * (2 * columns + min(FINALISTS, directions))


def pgd_trace(
    trace: Trace, *, eps: float, pairs: Pairs, steps: int = 100, restarts: int = 8, generator: torch.Generator
) -> Attack:
    """:func:`pgd` on a forward trace, with ``eta`` (nets, inputs, pairs, d), as :func:`attack_trace`."""
    nets, _, inputs, _ = trace.output.shape
    seed, shape = _seed(generator), (restarts, trace.networks.d)
    points = torch.stack([uniform(shape, p, torch.Generator().manual_seed(seed)) for p, _ in pairs])
    starts = points.to(trace.output).expand(nets, inputs, *points.shape)
    ps, objective = [p for p, _ in pairs], _norms([q for _, q in pairs])
    return _ascend(trace, starts, ps, objective, eps, [1 - k / steps for k in range(steps)], 0.0, SCREEN, restarts)


def _norms(qs: Sequence[float]) -> Objective:
    """``||change||_q``, each pair's own."""
    duals = [conjugate(q) for q in qs]
    return lambda change, gradient: (_each(norm, change, qs), _each(maximiser, change, duals) if gradient else None)


def _race(
    trace: Trace,
    starts: Float[Tensor, "nets inputs pairs starts d"],
    ps: Sequence[float],
    objective: Objective,
    eps: float,
    steps: int,
    restarts: int,
    directions: int,
) -> Attack:
    """The ascent of :func:`attack` from both signs of its directions."""
    sizes = [2 * (1 - k / steps) for k in range(steps)]
    finalists = restarts * min(FINALISTS, directions)
    return _ascend(trace, starts, ps, objective, eps, sizes, MOMENTUM, _screen(directions), finalists)


def _ascend(
    trace: Trace,
    starts: Float[Tensor, "nets inputs pairs starts d"],
    ps: Sequence[float],
    objective: Objective,
    eps: float,
    sizes: Sequence[float],
    momentum: float,
    screen: int,
    finalists: int,
) -> Attack:
    """Ascent from points of the unit balls by steps of ``sizes * eps``, on the best ``finalists`` alone after the screening."""
    duals = [conjugate(p) for p in ps]
    radius = eps * (1 - 8 * torch.finfo(starts.dtype).eps)  # so that rounding leaves every point in the ball
    eta, m = radius * starts, torch.zeros_like(starts)
    where, best, seen = eta[..., 0, :], eta.new_full(eta.shape[:3], -math.inf), eta.new_full(eta.shape[:4], -math.inf)
    for step in range(len(sizes) + 1):
        value, gradient = _passes(trace, eta, objective, gradient=step < len(sizes))
        top, at = value.max(-1)
        where = torch.where((top > best)[..., None], _take(eta, at[..., None])[..., 0, :], where)
        best, seen = torch.maximum(best, top), torch.maximum(seen, value)
        if gradient is None:
            break
        length = _each(norm, gradient, duals)[..., None]
        m = momentum * m + gradient / length.clamp(min=torch.finfo(eta.dtype).tiny)
        if step + 1 == screen and finalists < seen.shape[-1]:
            seen, kept = seen.topk(finalists, -1)
            eta, m = _take(eta, kept), _take(m, kept)
        moved = eta + sizes[step] * radius * _each(maximiser, m, ps)
        eta = _each(lambda z, p: project(z, p, radius), moved, ps)
    return Attack(where, best)


def _passes(
    trace: Trace, eta: Float[Tensor, "nets inputs pairs starts d"], objective: Objective, gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """The objective of ``f(x + eta) - f(x)`` (nets, inputs, pairs, starts) and, if asked for, its gradient in ``eta``."""
    tape = sum(kept.nbytes for kept in trace.tape.kept) * eta.shape[2]
    values, gradients = [], []
    for part in eta.split(max(1, TAPE // max(1, tape)), 3):
        shape = part.shape[2:4]
        shifted = trace.shift(part.flatten(2, 3).permute(0, 3, 1, 2))
        delta = shifted.output.permute(0, 2, 3, 1).unflatten(2, shape)
        value, slope = objective(delta, gradient)
        values.append(value)
        if slope is not None:
            t = slope.flatten(2, 3).permute(0, 3, 1, 2)
            gradients.append(shifted.pull(t).permute(0, 2, 3, 1).unflatten(2, shape))
    return torch.cat(values, 3), torch.cat(gradients, 3) if gradient else None


def _each(function: Callable[[Tensor, float], Tensor], z: Tensor, exponents: Sequence[float]) -> Tensor:
    """``function`` of every pair's part of ``z`` (nets, inputs, pairs, ...) and its exponent."""
    return torch.stack([function(part, r) for part, r in zip(z.unbind(2), exponents)], 2)


def _take(z: Tensor, at: Tensor) -> Tensor:
    """The starts ``at`` (nets, inputs, pairs, n) of ``z`` (nets, inputs, pairs, starts, d)."""
    return z.gather(3, at[..., None].expand(*at.shape, z.shape[-1]))


def _attack(
    method: Callable[..., Attack],
    queries: Callable[[Ensemble, int, int, int], int],
    networks: Ensemble,
    x: Any,
    eps: float,
    p: Any,
    q: Any,
    steps: int,
    restarts: int,
    generator: torch.Generator | None,
) -> Attack:
    """Check the arguments and run ``method`` on the trace of every chunk, with the same draws."""
    if not isinstance(networks, Ensemble):
        raise ArgumentError(f"networks must be an Ensemble, as advmf.simulate.sample gives; got {networks!r}.")
    radius = _radius(eps, networks.dtype)
    pairs, several = _pairs(p, q)
    counts = {"steps": _count("steps", steps, 0), "restarts": _count("restarts", restarts, 1)}
    if generator is not None and not isinstance(generator, torch.Generator):
        raise ArgumentError(f"generator must be a torch.Generator or None; got {generator!r}.")
    x = torch.as_tensor(x)
    inputs = networks.inputs(x).shape[2]
    networks.expect(inputs * queries(networks, len(pairs), counts["steps"], counts["restarts"]))
    seed = _seed(generator or torch.Generator().manual_seed(0))
    found = [
        method(trace, eps=radius, pairs=pairs, generator=torch.Generator().manual_seed(seed), **counts)
        for trace in networks.traces(x)
    ]
    eta, value = torch.cat([f.eta for f in found]), torch.cat([f.value for f in found])
    if not bool(torch.isfinite(value).all()):
        raise DomainError(
            f"At eps = {radius:g} outputs or their norms leave the range of {networks.dtype}; take networks of float64, or a smaller eps."
        )
    if not several:
        eta, value = eta[:, :, 0], value[:, :, 0]
    return Attack(eta[:, 0], value[:, 0]) if x.ndim == 1 else Attack(eta, value)


def _radius(eps: Any, dtype: torch.dtype) -> float:
    """The radius of the ball, whose steps have to stay numbers of the networks' dtype."""
    if getattr(eps, "ndim", 0) or isinstance(eps, list | tuple):
        raise ArgumentError(
            f"eps is one number for all inputs; got {eps!r:.80}. Attack the inputs of each radius by themselves, or scale them: "
            "without biases and carried means f(s x) = s f(x), so that the loss at (s x, s eps) is s times the loss at (x, eps)."
        )
    if isinstance(eps, bool) or not isinstance(eps, SupportsFloat):
        raise ArgumentError(f"eps must be a number; got {eps!r}.")
    radius = float(eps)
    if not (math.isfinite(radius) and radius > 0):
        raise DomainError(f"eps must be positive and finite; got {eps!r}.")
    least, largest = math.sqrt(torch.finfo(dtype).tiny), math.sqrt(torch.finfo(dtype).max)
    if not least <= radius <= largest:
        raise DomainError(
            f"eps = {radius:g} is outside [{least:.1e}, {largest:.1e}], where the squares of steps are numbers of {dtype}; "
            "take networks of float64, or inputs and eps in another unit."
        )
    return radius


def _pairs(p: Any, q: Any) -> tuple[list[tuple[float, float]], bool]:
    """The pairs (p, q) as floats, and whether they were given as sequences."""
    several = [isinstance(r, Sequence) and not isinstance(r, str) for r in (p, q)]
    if not any(several):
        return [(order(p, "p"), order(q, "q"))], False
    if not all(several) or len(p) != len(q) or not p:
        raise ArgumentError(
            f"p and q must be two exponents or two sequences of the same length, paired; got {p!r} and {q!r}."
        )
    return [(order(a, "p"), order(b, "q")) for a, b in zip(p, q)], True


def _count(name: str, value: object, least: int) -> int:
    try:
        count = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ArgumentError(f"{name} must be an integer; got {value!r}.") from None
    if count < least:
        raise DomainError(f"{name} must be at least {least}; got {count}.")
    return count


def _seed(generator: torch.Generator) -> int:
    return int(torch.randint(2**63 - 1, (), generator=generator, device=generator.device))
