"""Attacks on sampled networks: the largest ``||f(x + eta) - f(x)||_q`` found over ``||eta||_p <= eps``.

:func:`attack` starts at the optimum of the linearised network and at random directions near it. It ascends from all of
them for a few steps and continues with the best. :func:`pgd` is the standard method, many steps from random points, and
serves as a comparison. Both give lower bounds of the maximum. All starts, signs, inputs and pairs (p, q) are columns of
the same matrix products.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, SupportsFloat

import torch
from jaxtyping import Float
from torch import Tensor, nn

from advmf.boundary import public, whole
from advmf.budget import machine_memory
from advmf.errors import ArgumentError, DomainError
from advmf.simulate.budget import allow
from advmf.simulate.ensemble import Ensemble
from advmf.simulate.geometry import maximiser, norm, order, project, uniform
from advmf.simulate.module import ModuleNetwork, ModuleTrace
from advmf.simulate.networks import Trace
from advmf.simulate.opnorm import operator_norm
from advmf.simulate.race import DIRECTIONS, LEAN, STEPS, Attack, ascend, attack_queries, norms, race
from advmf.simulate.state import draw_seed, source, tensor, without_gradients

SPREAD = 1.5
"""Half of the random starts are steepest directions in the lr norm with r at least this: those of the l1 norm are just
the few unit vectors."""
TENSORS = 8
"""The number of tensors of all starts that are held at once: points, momenta, gradients and temporaries of steps and
projections, in float64."""
MOST = {"steps": 10**8, "starts": 10**15}
"""The largest numbers accepted: of steps, each of which takes at least a tenth of a millisecond, and of restarts or
directions."""

Pairs = Sequence[tuple[float, float]]


@public
def attack(
    networks: Ensemble | nn.Module,
    x: Any,
    *,
    eps: float,
    p: Any,
    q: Any,
    steps: int | None = None,
    restarts: int = 1,
    directions: int | None = None,
    generator: torch.Generator | None = None,
) -> Attack:
    """Maximise ``||f(x + eta) - f(x)||_q`` over ``||eta||_p <= eps`` for every network and input.

    It is a race of ``restarts * directions`` starts, with both signs of each: the optimum of the linearised network
    (:func:`operator_norm`) and ``D_p(J^T t)`` for random ``t``. The steps are ``eta <- P(eta + 2 eps (1 - k/steps)
    D_p(m))``, where ``m`` is the gradient with momentum; for p = 1 they are half as long. ``P`` brings a point outside
    the ball back, by shortening it or, for p = 1 and inf, to the nearest point. A quarter of the starts continues after
    two steps, and the best ``restarts * 3`` after five. The result is the best point seen, so the value is never below
    that of the linearised network's optimum. Fewer ``directions`` make a cheaper race, with no loss on small balls. A
    single direction is the optimum of the linearised network. The default finds the best known value where
    ``||eta||_2`` is at most about ``||x||_2 / 10``. Larger balls hold many linear regions: there ``steps=50,
    restarts=3`` find some hundredths more (docs/simulation.md).

    By default 16 directions take 14 steps. For networks of N = inf one direction takes 8 steps, because every point
    evaluated makes the next ones more expensive: both signs of the optimum of the linearised network are tried, and the
    better one ascends.

    ``networks`` is an ensemble, or an ``nn.Module`` that maps batches to (B, K). ``x`` has shape (d,), (inputs, d) or
    (nets, inputs, d); for a module it is a batch. The results for a module have no axis for networks, and ``eta`` has
    the shape of its inputs. The module is one network, and its differences are computed by subtraction: in float32 a
    small eps loses digits. ``p`` and ``q`` are exponents in [1, oo], or sequences of equal length; several pairs cost
    little more than one. The random directions are the same for every network and input, so that numbers do not depend
    on chunks. ``generator`` has seed 0 if None. The results carry no gradients. The gradient of the value with respect
    to ``x`` is that of ``||f(x + eta) - f(x)||_q`` at the eta found.

    Raises DomainError for an eps that is not positive and finite or leaves the range of the networks' dtype, exponents
    that are no numbers in [1, oo], negative steps, no restarts or no directions; ArgumentError for arguments of the
    wrong kind or shape; MemoryBudgetError where conditioned networks would outgrow their budget, or the starts take
    more than it and 4 GiB. These are raised before any work. Raises DomainError also for outputs that are not finite.

    >>> import torch, advmf as mf
    >>> networks = mf.simulate.sample(mf.vanilla(u=1, v=0), N=50, L=3, d=8, K=2, nets=5, sigma_w=1.4, sigma_b=0.0,
    ...                               generator=torch.Generator().manual_seed(0))
    >>> found = attack(networks, torch.ones(8), eps=0.1, p="inf", q=2)
    >>> found.eta.shape, found.value.shape, bool((found.eta.abs() <= 0.1).all())
    (torch.Size([5, 8]), torch.Size([5]), True)
    >>> attack(networks, torch.ones(3, 8), eps=0.1, p=[1, 2, "inf"], q=[2, 2, 2]).value.shape
    torch.Size([5, 3, 3])
    """
    steps, directions = _strength(getattr(networks, "lean", False), steps, directions)
    directions = whole("directions", directions, 1, MOST["starts"])

    def queries(networks: Ensemble | ModuleNetwork, pairs: int, steps: int, restarts: int) -> int:
        return attack_queries(networks.K, networks.d, pairs, steps, restarts, directions)

    method = partial(attack_trace, directions=directions)
    return _attack(method, queries, 2 * directions, networks, x, eps, p, q, steps, restarts, generator)


@public
def pgd(
    networks: Ensemble | nn.Module,
    x: Any,
    *,
    eps: float,
    p: Any,
    q: Any,
    steps: int | None = None,
    restarts: int | None = None,
    generator: torch.Generator | None = None,
) -> Attack:
    """Projected gradient ascent (Madry et al., 2018) from random points of the ball.

    By default it takes 100 steps from 8 points, and for networks of N = inf 16 steps from one point. Arguments, result
    and errors are those of :func:`attack`.

    The steps ``eta <- P(eta + eps (1 - k/steps) D_p(gradient))`` are the steepest in the lp norm. The linear decay from
    eps beats constant steps of 2.5 eps/steps, by a fifth on balls that hold many linear regions.

    >>> import torch, advmf as mf
    >>> networks = mf.simulate.sample(mf.vanilla(u=1, v=1), N=50, L=3, d=8, K=2, nets=5, sigma_w=1.0, sigma_b=0.0,
    ...                               generator=torch.Generator().manual_seed(0))
    >>> x = torch.ones(8)
    >>> found = attack(networks, x, eps=0.1, p=2, q=2).value
    >>> bool((pgd(networks, x, eps=0.1, p=2, q=2).value <= 1.00001 * found).all())
    True
    """
    lean = getattr(networks, "lean", False)
    steps = (2 * LEAN if lean else 100) if steps is None else steps
    restarts = (1 if lean else 8) if restarts is None else restarts

    def queries(networks: Ensemble | ModuleNetwork, pairs: int, steps: int, restarts: int) -> int:
        return 1 + pairs * restarts * (2 * steps + 1)

    return _attack(pgd_trace, queries, 1, networks, x, eps, p, q, steps, restarts, generator)


@public
@without_gradients
def attack_trace(
    trace: Trace | ModuleTrace,
    *,
    eps: float,
    pairs: Pairs,
    steps: int | None = None,
    restarts: int = 1,
    generator: torch.Generator,
    directions: int | None = None,
    jacobian: Float[Tensor, "nets inputs K d"] | None = None,
) -> Attack:
    """:func:`attack` on a forward trace, with ``eta`` (nets, inputs, pairs, d); ``jacobian`` is the trace's own, if
    known already. Fewer ``directions`` make a cheaper race, with no loss on small balls.

    Exponents must be floats in [1, inf] and are not checked. Raises DomainError for an eps or counts out of range,
    MemoryBudgetError where the starts take more memory than the machine has.
    """
    steps, directions = _strength(trace.lean, steps, directions)
    eps, (steps, restarts, directions) = _radius(eps, trace.output.dtype), attack_counts(steps, restarts, directions)
    _fit(trace, 2 * restarts * directions * len(pairs))
    J = trace.jacobian() if jacobian is None else jacobian
    random, seed = _directions(restarts * directions - 1, J, generator), draw_seed(generator)

    def unit(p: float, q: float) -> Tensor:
        best = operator_norm(J, p, q, generator=source(None, seed)).vector[..., None, :]
        if trace.lean:  # the order of questions affects the numbers, and the sign depends on rounding
            weights = torch.arange(1, best.shape[-1] + 1, dtype=best.dtype, device=best.device).cos()
            best = torch.where((best * weights).sum(-1, keepdim=True) < 0, -best, best)
        e = torch.cat((best, _steepest(random, p)), -2)
        return torch.cat((e, -e), -2)

    starts = torch.stack([unit(p, q) for p, q in pairs], 2)
    return race(trace, starts, [p for p, _ in pairs], norms([q for _, q in pairs]), eps, steps, restarts, directions)


@public
@without_gradients
def attack_loss(
    trace: Trace | ModuleTrace,
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    eps: float,
    p: float,
    steps: int | None = None,
    restarts: int = 1,
    generator: torch.Generator,
    directions: int | None = None,
) -> Attack:
    """Maximise any loss over ``||eta||_p <= eps`` on a forward trace: ``eta`` (nets, inputs, d) and ``value`` (nets,
    inputs).

    ``loss(output, change)`` takes f(x) and f(x + eta) - f(x), which broadcast and have the K outputs as their last
    axis. It returns one number for each change, differentiable by torch. The race is that of :func:`attack`, from
    ``D_p(J^T t)`` for random ``t``. A loss that is small for a small change keeps its digits if it is written in terms
    of the change.

    Exponents, eps, counts and errors are those of :func:`attack_trace`.

    >>> import torch, advmf as mf
    >>> networks = mf.simulate.sample(mf.vanilla(u=1, v=0), N=50, L=3, d=8, K=2, nets=5, sigma_w=1.4, sigma_b=0.0,
    ...                               generator=torch.Generator().manual_seed(0))
    >>> (trace,) = networks.traces(torch.ones(8))
    >>> generator = torch.Generator().manual_seed(0)
    >>> first = attack_loss(trace, lambda output, change: change[..., 0], eps=0.1, p=2, generator=generator)
    >>> bool((first.value <= attack(networks, torch.ones(1, 8), eps=0.1, p=2, q=2).value).all())
    True
    """
    steps, directions = _strength(trace.lean, steps, directions)
    eps, (steps, restarts, directions) = _radius(eps, trace.output.dtype), attack_counts(steps, restarts, directions)
    _fit(trace, 2 * restarts * directions)
    J = trace.jacobian()
    e = _steepest(_directions(restarts * directions, J, generator), p)
    starts = torch.cat((e, -e), -2)[:, :, None]
    output = trace.output[..., 0].mT[:, :, None, None]

    def objective(change: Tensor, gradient: bool) -> tuple[Tensor, Tensor | None]:
        with torch.enable_grad():
            change = change.detach().requires_grad_()
            value = loss(output, change)
            slope = torch.autograd.grad(value.sum(), change)[0] if gradient else None
        return value.detach(), slope

    found = race(trace, starts, [p], objective, eps, steps, restarts, directions)
    return Attack(found.eta[:, :, 0], found.value[:, :, 0])


def _strength(lean: bool, steps: int | None, directions: int | None) -> tuple[int, int]:
    """The steps and directions of an attack, with defaults where they are None. They are few where every point makes
    the next ones more expensive."""
    default = (LEAN, 1) if lean else (STEPS, DIRECTIONS)
    return default[0] if steps is None else steps, default[1] if directions is None else directions


def _fit(trace: Trace | ModuleTrace, starts: int) -> None:
    """Raise MemoryBudgetError where this many starts, in each network and at each input, take more memory than the
    machine has."""
    nets, _, inputs, _ = trace.output.shape
    size = TENSORS * trace.output.dtype.itemsize * nets * inputs * starts * trace.networks.d
    allow(size, machine_memory(), f"An attack from {starts:,} starts", "Lower restarts or directions")


def _directions(count: int, J: Tensor, generator: torch.Generator) -> Float[Tensor, "nets inputs count d"]:
    """``J^T t`` for random ``t``, the same for every network and input."""
    t = torch.randn(count, J.shape[2], generator=generator, dtype=torch.float32, device=generator.device)
    return t.to(J) @ J


def _steepest(z: Tensor, p: float) -> Tensor:
    """Varied steepest directions of lp norm 1, for each row of ``z``."""
    if p >= SPREAD:
        return maximiser(z, p)
    spread = maximiser(z[..., 1::2, :], SPREAD)
    return torch.cat((maximiser(z[..., ::2, :], p), spread / norm(spread, p, keepdim=True)), -2)


@without_gradients
def pgd_trace(
    trace: Trace | ModuleTrace,
    *,
    eps: float,
    pairs: Pairs,
    steps: int = 100,
    restarts: int = 8,
    generator: torch.Generator,
) -> Attack:
    """:func:`pgd` on a forward trace, with ``eta`` (nets, inputs, pairs, d), as :func:`attack_trace`."""
    _fit(trace, restarts * len(pairs))
    nets, _, inputs, _ = trace.output.shape
    seed, shape = draw_seed(generator), (restarts, trace.networks.d)
    points = torch.stack([uniform(shape, p, source(None, seed)) for p, _ in pairs])
    starts = points.to(trace.output).expand(nets, inputs, *points.shape)
    ps, objective = [p for p, _ in pairs], norms([q for _, q in pairs])
    return ascend(trace, starts, ps, objective, eps, steps, lambda _: 1.0, 0.0, lambda _: restarts, project)


def _attack(
    method: Callable[..., Attack],
    queries: Callable[[Ensemble | ModuleNetwork, int, int, int], int],
    starts: int,
    networks: Ensemble | nn.Module,
    x: Any,
    eps: float,
    p: Any,
    q: Any,
    steps: int,
    restarts: int,
    generator: torch.Generator | None,
) -> Attack:
    """Check the arguments and run ``method`` on the trace of every chunk, with the same draws."""
    asked = ModuleNetwork.at(networks, x) if isinstance(networks, nn.Module) else networks
    if not isinstance(asked, Ensemble | ModuleNetwork):
        raise ArgumentError(
            f"networks must be an Ensemble, as advmf.simulate.sample gives, or an nn.Module; got {networks!r:.80}."
        )
    radius, (pairs, several) = _radius(eps, asked.dtype), _pairs(p, q)
    counts = {
        "steps": whole("steps", steps, 0, MOST["steps"]),
        "restarts": whole("restarts", restarts, 1, MOST["starts"]),
    }
    generator, x = source(generator), tensor(x, "x").detach()
    inputs = asked.inputs(x).shape[2]
    columns = inputs * len(pairs) * starts * counts["restarts"]
    size = TENSORS * asked.dtype.itemsize * asked.at_once * columns * asked.d
    what = f"An attack from {columns:,} starts in each network"
    allow(size, asked.workspace, what, "Lower restarts or directions, attack fewer inputs at a time, or raise memory=")
    asked.expect(inputs * queries(asked, len(pairs), counts["steps"], counts["restarts"]))
    seed = draw_seed(generator)
    found = [
        method(trace, eps=radius, pairs=pairs, generator=source(None, seed), **counts) for trace in asked.traces(x)
    ]
    eta, value = torch.cat([f.eta for f in found]), torch.cat([f.value for f in found])
    if not bool(torch.isfinite(value).all()):
        raise DomainError(
            f"At eps = {radius:g} outputs or their norms leave the range of {asked.dtype}; take networks of float64, or a smaller eps."
        )
    if not several:
        eta, value = eta[:, :, 0], value[:, :, 0]
    if isinstance(asked, ModuleNetwork):
        return Attack(eta[0].unflatten(-1, asked.shape), value[0])
    return Attack(eta[:, 0], value[:, 0]) if x.ndim == 1 else Attack(eta, value)


def _radius(eps: Any, dtype: torch.dtype) -> float:
    """The radius of the ball; raises DomainError where its steps would leave the range of the networks' dtype."""
    if getattr(eps, "ndim", 0) or isinstance(eps, list | tuple):
        raise ArgumentError(
            f"eps is one number for all inputs; got {eps!r:.80}. Attack the inputs of each radius by themselves, or scale them: "
            "without biases and carried means f(s x) = s f(x), so that the loss at (s x, s eps) is s times the loss at (x, eps)."
        )
    if isinstance(eps, bool) or not isinstance(eps, SupportsFloat):
        raise ArgumentError(f"eps must be a number; got {eps!r}.")
    try:
        radius = float(eps)
    except OverflowError:  # a whole number beyond all floats
        radius = math.inf
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


def attack_counts(steps: object, restarts: object, directions: object) -> tuple[int, int, int]:
    """The counts of an attack as Python's integers.

    Raises ArgumentError for a value that is no integer, DomainError for too few or too many."""
    return (
        whole("steps", steps, 0, MOST["steps"]),
        whole("restarts", restarts, 1, MOST["starts"]),
        whole("directions", directions, 1, MOST["starts"]),
    )
