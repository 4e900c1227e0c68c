"""Sampled operator norms of Gaussian matrices: by how much a random layer with d inputs and K outputs amplifies an
attack."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from advmf.boundary import public, whole
from advmf.errors import ArgumentError
from advmf.simulate.budget import MEMORY, allow
from advmf.simulate.certify import bracket
from advmf.simulate.geometry import order
from advmf.simulate.opnorm import COOLING, operator_norm, search_bytes
from advmf.simulate.signs import SIGNS, check
from advmf.simulate.state import source, without_gradients

BYTES = 2**26
"""The matrices held at a time take at most this many bytes, unless a single one takes more. Their norms need some tens
of tensors of at most 32 MiB besides."""


@dataclass(frozen=True)
class GaussianNorms:
    """Bounds on the norms of the samples: ``lower`` (samples,), the norms themselves where ``exact``, and ``upper``
    (samples,) if requested."""

    lower: Tensor
    upper: Tensor | None
    exact: bool


@public
@without_gradients
def gaussian_norms(
    d: int,
    K: int,
    pairs: Iterable[tuple[Any, Any]],
    *,
    samples: int,
    seed: int = 0,
    generator: torch.Generator | None = None,
    starts: int = 16,
    cooling: int = COOLING,
    signs: int = SIGNS,
    certify: bool = False,
    memory: int = MEMORY,
    progress: Callable[[int, int], object] | None = None,
) -> dict[tuple[Any, Any], GaussianNorms]:
    """The norms ``||J||_{p->q}`` of ``samples`` matrices J (K, d), Gaussian with entries of variance 1/d, for all
    ``pairs`` (p, q).

    All pairs use the same matrices, in float64, so differences between pairs are more precise than the norms
    themselves. The keys are the pairs as given. The numbers depend on the arguments alone. With a ``generator`` in
    place of the ``seed``, later calls continue where earlier ones stopped: samples drawn in parts equal those of one
    call. The norms are those of :func:`advmf.simulate.operator_norm` with ``starts``, ``cooling`` and ``signs``; with
    ``certify`` both ends are those of :func:`advmf.simulate.bracket`. ``memory`` bounds the bytes of one matrix with
    its search, and of the norms. ``progress`` is called with the number of norms done and their total.

    Raises ArgumentError for counts that are no integers, and if ``pairs`` are no pairs or none; DomainError for ``d``,
    ``K`` or ``samples`` below 1, ``seed``, ``starts`` or ``cooling`` below 0, ``signs`` outside [0, 24], and exponents
    that are no numbers in [1, oo]; MemoryBudgetError where ``memory`` is too small; all before any work.

    >>> norms = gaussian_norms(20, 3, [(2, 2), ("inf", 1)], samples=100)
    >>> norms[2, 2].exact, norms[2, 2].lower.shape, bool(norms["inf", 1].lower.mean() > norms[2, 2].lower.mean())
    (True, torch.Size([100]), True)
    """
    d, K, samples = whole("d", d), whole("K", K), whole("samples", samples)
    starts, cooling, seed = whole("starts", starts, 0), whole("cooling", cooling, 0), whole("seed", seed, 0, 2**63 - 1)
    signs = check(signs)
    wanted = {(p, q): (order(p, "p"), order(q, "q")) for p, q in _pairs(pairs)}
    kept: dict[tuple[Any, Any], list[tuple[Tensor, Tensor | None, bool]]] = {pair: [] for pair in wanted}
    generator = source(generator, seed)
    one = 8 * 4 * K * d + search_bytes(K, d, starts, cooling, torch.float64)
    allow(one, memory, f"The norm of a matrix of K={K} by d={d}", "Lower d, K, starts or cooling, or raise memory=")
    kept_bytes = 8 * (1 + certify) * samples * len(wanted)
    allow(kept_bytes, memory, f"The norms of samples={samples} matrices", "Lower samples or raise memory=")
    block, done = max(1, BYTES // (8 * K * d)), 0
    for first in range(0, samples, block):
        # One draw for each matrix, and the same search directions for all, so that blocks of any size give the same
        # numbers.
        count = min(block, samples - first)
        J = torch.empty(count, K, d, dtype=torch.float64, device=generator.device)
        for matrix in J:
            matrix.normal_(generator=generator)
        J /= d**0.5
        for pair, (p, q) in wanted.items():
            if certify:
                both = bracket(J, p, q, starts=starts, cooling=cooling, signs=signs)
                kept[pair].append((both.lower, both.upper, both.exact))
            else:
                found = operator_norm(J, p, q, starts=starts, cooling=cooling, signs=signs)
                kept[pair].append((found.value, None, found.exact))
            done += count
            if progress is not None:
                progress(done, samples * len(wanted))
    return {pair: _joined(blocks) for pair, blocks in kept.items()}


def _pairs(pairs: object) -> list[tuple[Any, Any]]:
    """The pairs as a list of tuples of two; ArgumentError if they are anything else."""
    found = list(pairs) if isinstance(pairs, Iterable) and not isinstance(pairs, str | Tensor) else []
    if not found or any(not isinstance(pair, tuple) or len(pair) != 2 for pair in found):
        raise ArgumentError(f"pairs must be tuples (p, q), at least one, such as [(2, 2), ('inf', 1)]; got {pairs!r}.")
    return found


def _joined(blocks: list[tuple[Tensor, Tensor | None, bool]]) -> GaussianNorms:
    """The norms of all blocks, concatenated."""
    upper = [high for _, high, _ in blocks if high is not None]
    return GaussianNorms(torch.cat([low for low, _, _ in blocks]), torch.cat(upper) if upper else None, blocks[0][2])
