"""Sampling networks of a declared net: with weights, without them, or of infinite width."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch

from advmf.boundary import public, whole
from advmf.errors import ArgumentError
from advmf.nets import Net
from advmf.simulate.budget import MEMORY
from advmf.simulate.ensemble import QUERIES, Ensemble
from advmf.simulate.limit.ensemble import limit_of
from advmf.simulate.state import lasting, source
from advmf.simulate.values import depth_of, require_whole, values_of

PAYS = 4
"""Conditioning is faster than explicit weights if the width is at least about this many times the number of vectors."""
SAMPLERS = ("auto", "dense", "conditioned", "limit")
"""Ways to sample: "auto" chooses."""


@public
@lasting
def sample(
    net: Net,
    *,
    N: int | float | str,
    L: int | None = None,
    d: int,
    K: int,
    nets: int = 1,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    memory: int = MEMORY,
    sampler: str = "auto",
    queries: int = QUERIES,
    keep: bool = True,
    **values: float,
) -> Ensemble:
    """Sample ``nets`` independent networks.

    ``N, L, d, K`` are width, depth, input and output dimension. Stages with a numeric ``repeat`` have their own depth,
    and their widths are multiples of ``N``. ``values`` gives the net's symbols (``sigma_w``, ``sigma_b``, ``u``, ``v``
    and any of your own). All randomness comes from ``generator`` (seeded from the system if None). ``memory`` bounds
    the bytes of weights held at once.

    ``sampler`` "dense" draws every weight. "conditioned" draws only what products with the weights reveal; it has the
    same law at every N and takes O(N) memory for each vector that meets a matrix (:mod:`advmf.simulate.conditioned`).
    "auto" takes the faster one that fits the budget, for ``queries`` vectors expected to meet each matrix; an attack
    sets that number itself. ``.sampler`` of the result tells which was taken. Conditioned networks must be kept between
    calls; ``keep=False`` drops them, for networks that are used once. ``N="inf"`` gives networks of infinite width,
    Gaussian processes that are drawn at the points where they are evaluated (:mod:`advmf.simulate.limit`). They have
    outputs, derivatives and attacks, but no weights.

    Raises ArgumentError for missing or unknown values, a depth that is not that of the stages, and an ``N`` that gives
    a stage no whole width, DomainError for values outside their domain, DeclarationError for a net whose covariance at
    N = inf is not known, and MemoryBudgetError where one network, the seeds of all or the objects of so many layers do
    not fit, all before anything is sampled.

    >>> import torch, advmf as mf
    >>> networks = mf.simulate.sample(mf.vanilla(u=1, v=0), N=50, L=3, d=8, K=2, nets=5, sigma_w=1.4, sigma_b=0.0,
    ...                               generator=torch.Generator().manual_seed(0))
    >>> networks.forward(torch.ones(8)).shape, networks.jacobian(torch.ones(4, 8)).shape
    (torch.Size([5, 2]), torch.Size([5, 4, 2, 8]))
    """
    if not isinstance(net, Net):
        raise ArgumentError(f"sample takes a Net, such as advmf.residual(u=1, v=0); got {net!r}.")
    infinite = _is_infinite(N, sampler)
    given: dict[str, Any] = {"L": depth_of(net, L), "d": d, "K": K, "nets": nets} | ({} if infinite else {"N": N})
    sizes = {name: whole(name, size, 0 if name == "L" else 1) for name, size in given.items()}
    if dtype not in (torch.float32, torch.float64):
        raise ArgumentError(f"dtype must be torch.float32 or torch.float64; got {dtype}.")
    if sampler not in SAMPLERS:
        raise ArgumentError(f"sampler must be one of {', '.join(SAMPLERS)}; got {sampler!r}.")
    if net.inputs not in (None, sizes["d"]):
        raise ArgumentError(
            f"{net.name} takes images of {net.image}, which have d = {net.inputs} numbers; got d={sizes['d']}. Give d={net.inputs}, or declare "
            "another image."
        )
    if not infinite:
        require_whole(net, sizes["N"], sizes["L"])
    queries = whole("queries", queries)
    generator = source(generator, None)
    own = {k: float(v) for k, v in sizes.items() if k != "nets"} | ({"N": math.inf} if infinite else {})
    common: dict[str, Any] = {
        "net": net, **sizes, "values": values_of(net, {**values, **own}, set(values)), "dtype": dtype,
        "seeds": torch.empty(0, dtype=torch.int64, device="cpu"), "device": torch.device(device),
        "memory": memory, "queries": queries, "keep": keep,
    }  # fmt: skip
    if infinite:
        return seeded(limit_of(**common), generator)
    ensemble = Ensemble(**common, sampler="conditioned" if sampler == "auto" else sampler)
    few = ensemble.N < PAYS * queries * (1 if net.image is None else math.prod(net.image[1:]))
    if sampler == "auto" and few:  # where square matrices do not pay, an output layer of many outputs still may
        ensemble.pays = PAYS / 2
    if sampler == "auto" and (not ensemble.conditions or ensemble.bytes_at_once > memory):
        dense = replace(ensemble, sampler="dense")
        if few or dense.bytes_at_once <= memory:
            ensemble = dense
    ensemble.check_memory()
    return seeded(ensemble, generator)


def seeded(ensemble: Ensemble, generator: torch.Generator) -> Ensemble:
    """The ensemble with a seed for each network."""
    shape = (ensemble.nets,)
    seeds = torch.randint(2**63 - 1, shape, generator=generator, device=generator.device, dtype=torch.int64)
    ensemble.seeds = seeds.cpu()
    return ensemble


def _is_infinite(N: object, sampler: str) -> bool:
    """Whether networks of infinite width are requested; raises ArgumentError where the sampler is for finite widths
    only."""
    infinite = str(N).lower() in ("inf", "oo", "infinity")
    if isinstance(N, str) and not infinite:
        raise ArgumentError(f'N is a whole number, or "inf" for networks of infinite width; got {N!r}.')
    if infinite != (sampler == "limit") and sampler != "auto":
        raise ArgumentError(
            f'sampler="limit" is the one of N="inf", and the only one; got sampler={sampler!r} and N={N!r}. Leave sampler out.'
        )
    return infinite
