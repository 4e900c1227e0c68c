"""Networks of infinite width: their outputs and gradients are drawn at the points where they are evaluated.

As N -> oo the outputs of a network become independent Gaussian processes of one covariance (B. Hanin, arXiv:2107.01562;
for general architectures G. Yang's tensor programs). Such a network has no weights and needs none. Forward passes,
differences, Jacobians and attacks are drawn from the law of the process and its gradient, given all earlier answers
(:mod:`advmf.simulate.limit.process`).

*Independence of the judge.* This sampler knows the limit's covariance, by an algebra of its own
(:mod:`advmf.simulate.limit.kernel`). So it tests what the theory says about a network *given* the limit. Whether wide
networks approach the limit is tested at finite widths.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NoReturn

import torch
from torch import Tensor

from advmf.boundary import public
from advmf.errors import ArgumentError, DomainError, MemoryBudgetError
from advmf.simulate.budget import allow
from advmf.simulate.ensemble import QUERIES, SEED, Ensemble
from advmf.simulate.limit.image_kernel import ImageKernel, kernel_of
from advmf.simulate.limit.image_process import process_of
from advmf.simulate.limit.kernel import Kernel
from advmf.simulate.limit.process import Process
from advmf.simulate.networks import Chain, Networks, Trace
from advmf.simulate.race import LEAN, attack_queries
from advmf.simulate.state import lasting, tensor, without_gradients
from advmf.simulate.tapes import Columns, ForwardTape, Matrix

CHUNK = 768 * 2**20
"""Bytes of networks that are run together on a CPU. Many small operations are done for a chunk, whatever its size."""
BLOCK = 2048
"""The number of normals drawn for a network at a time."""
CLOSE = 0.01
"""An input counts as close to another at a distance below this share of its length. The network there is then
represented by its deviation from the linear function at the other input."""


class Streams:
    """Standard normals from each network's own seed; they do not depend on which networks share a chunk."""

    def __init__(self, seeds: Tensor, dtype: torch.dtype, device: torch.device) -> None:
        self._seeds, self._dtype, self._device, self._blocks = seeds.tolist(), dtype, device, 0
        self._left = torch.empty(len(seeds), 0, dtype=dtype, device="cpu")

    def __call__(self, *shape: int) -> Tensor:
        """The next normals of each network, (nets, *shape)."""
        size = math.prod(shape)
        if (short := size - self._left.shape[1]) > 0:
            self._left = torch.cat((self._left, self._drawn(-(-short // BLOCK))), 1)
        taken, self._left = self._left[:, :size], self._left[:, size:]
        return taken.reshape(len(self._seeds), *shape).to(self._device, torch.float64)

    def _drawn(self, blocks: int) -> Tensor:
        out = torch.empty(len(self._seeds), blocks, BLOCK, dtype=self._dtype, device="cpu")
        first, self._blocks = self._blocks, self._blocks + blocks

        def fill(share: int) -> None:
            generator = torch.Generator()
            for network in range(share, len(self._seeds), threads):
                for block in range(blocks):
                    seed = self._seeds[network] + (first + block) * 0x9E3779B97F4A7C15
                    out[network, block].normal_(generator=generator.manual_seed(seed % 2**63))

        threads = torch.get_num_threads()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill, range(threads)))
        return out.flatten(1)


@dataclass
class LimitEnsemble(Ensemble):
    """``nets`` independent networks of infinite width, each from its own seed; ``sampler`` is "limit".

    Networks store their answers, and each answer makes the next more expensive: m points take about m² r² numbers,
    where r is the dimension of their span, or d on images. Operations that need weights or a stream are refused by
    name.
    """

    lean: ClassVar[bool] = True

    @property
    def bytes_per_network(self) -> int:
        points, images = self._points, isinstance(self.kernel, ImageKernel)
        numbers = points * (1 + (self.d if images else min(points + 1, self.d)))
        blocks = numbers**2 // 2 if images else 0
        each = 6 * self.K * self.d + self.kernel.kept + self.kernel.held
        return 8 * (4 * numbers**2 + blocks + points * each + 2 * BLOCK)

    @cached_property
    def kernel(self) -> Kernel | ImageKernel:
        """The covariance; raises DeclarationError where a block or an activation has no rule."""
        return kernel_of(self.net, self.L, self.number)

    @property
    def _points(self) -> int:
        """The number of points in the expected queries: a point takes one forwards and one back, and the input min(K,
        d) for J."""
        return max(0, self.queries - min(self.K, self.d)) // 2 + 2

    @public
    @without_gradients
    def spread(self, x: Tensor, eta: Tensor) -> Tensor:
        """E (f_k(x + eta) - f_k(x))² over networks, in float64: one number for each of ``eta``, of shape (..., d), at
        one input x of shape (d,).

        With the covariance 𝒦 of an output it is 𝒦(x, x) + 𝒦(x', x') - 2𝒦(x, x') at x' = x + eta. Where x' is close to
        x that difference of :func:`advmf.nngp` would lose its digits; the distance of the streams that this method
        carries loses none. A smooth activation is a series, whose cut leaves ten digits or more.

        >>> import torch
        >>> import advmf as mf
        >>> networks = mf.simulate.sample(mf.vanilla(u=1, v=0), N="inf", L=4, d=2, K=1, sigma_w=2**0.5, sigma_b=0)
        >>> networks.spread(torch.ones(2), torch.tensor([[1.0, 0.0], [1e-9, 0.0]], dtype=torch.float64)).tolist()
        [0.461..., 4.99...e-19]
        """
        x, eta = (tensor(value, name, dtype=torch.float64) for value, name in ((x, "x"), (eta, "eta")))
        if x.shape != (self.d,) or eta.shape[-1:] != (self.d,):
            raise ArgumentError(
                f"spread takes one input x of shape (d,) and changes eta of shape (..., d), with d={self.d}; got {tuple(x.shape)} and "
                f"{tuple(eta.shape)}."
            )
        if not bool(torch.isfinite(x).all() and torch.isfinite(eta).all()):
            raise DomainError("x or eta holds NaN or infinite values; inputs must be finite.")
        moves = torch.cat((torch.zeros_like(x)[None], eta.reshape(-1, self.d)))
        return self.kernel.spread(x, moves)[1:].reshape(eta.shape[:-1])

    def expect(self, queries: int) -> None:
        super().expect(self.answered + queries)

    @property
    def answered(self) -> int:
        """The number of vectors that the networks have already answered, two for each point."""
        return 2 * max(
            (len(chunk.process.anchor) for chunk in self._kept if isinstance(chunk, LimitNetworks)), default=0
        )

    @property
    def bytes_at_once(self) -> int:
        return self.bytes_per_network * (self.nets if self.keep else 1)

    def check_memory(self) -> None:
        allow(
            SEED * self.nets, self.workspace, f"The seeds of nets={self.nets} networks", "Lower nets or raise memory="
        )
        if (size := self.bytes_at_once) > self.memory:
            some = "One network" if size == self.bytes_per_network else f"An ensemble of {self.nets} networks"
            raise MemoryBudgetError(
                f"{some} of infinite width and {self._points} points takes {size:,} bytes, and the budget is memory={self.memory:,}. "
                "Ask for fewer points (an attack: directions=1 and fewer steps, restarts or inputs), lower nets, or raise memory=."
            )

    @property
    def at_once(self) -> int:
        limit = self.memory if self.device.type == "cuda" else min(CHUNK, self.memory)
        return max(1, min(self.nets, limit // self.bytes_per_network))

    def chunks(self) -> Iterator[Networks]:
        yield from list(self._kept)
        together = self.at_once
        for start in range(sum(chunk.nets for chunk in self._kept), self.nets, together):
            networks = self._drawn(self.seeds[start : start + together])
            if self.keep:
                self._kept.append(networks)
            yield networks

    @lasting
    def _drawn(self, seeds: Tensor) -> LimitNetworks:
        """The networks of these seeds, of which nothing is drawn yet."""
        draws = Streams(seeds, self.dtype, self.device)
        process = process_of(self.kernel, len(seeds), self.d, self.K, draws, self.workspace, self.device)
        return LimitNetworks(
            self.net, len(seeds), self.d, self.K, Chain(()), self.dtype, self.device, seeds, process=process
        )


@dataclass(frozen=True, kw_only=True)
class LimitNetworks(Networks):
    """Networks of infinite width in memory, with the answers given so far."""

    process: Process

    @without_gradients
    def trace(self, x: Columns) -> Trace:
        x = x.expand(self.nets, -1, -1, -1)[..., 0].mT.double()
        with self.process.transaction():
            return self._traced(x)

    def _traced(self, x: Tensor) -> Trace:
        """The trace at inputs (nets, inputs, d)."""
        process = self.process
        points = [self._point(x[:, i]) for i in range(x.shape[1])]
        new = [i for i, point in enumerate(points) if point is None]
        if new:
            anchors = [self._near(x[:, i]) for i in new]
            process.differentiate([a for a in anchors if a is not None])
            given = [x[:, i] - process.x[:, a] if a is not None else x[:, i] for i, a in zip(new, anchors)]
            for i, point in zip(new, process.ask(torch.stack(given, 1), anchors)):
                points[i] = point
        found: list[int] = [point for point in points if point is not None]
        output = torch.stack([process.output(point) for point in found], 2)
        return LimitTrace(
            self, output[..., None].to(self.dtype), ForwardTape(), process=process, points=[[p] for p in found]
        )

    def _point(self, x: Tensor) -> int | None:
        """The point at which all networks have the input x (nets, d)."""
        same = (self.process.x == x[:, None]).all(2).all(0)
        return int(same.nonzero()[0]) if bool(same.any()) else None

    def _near(self, x: Tensor) -> int | None:
        """The anchor to which x is close in all networks."""
        anchors = sorted(set(self.process.anchor))
        if not anchors:
            return None
        far = (self.process.x[:, anchors] - x[:, None]).norm(dim=2) / x.norm(dim=1, keepdim=True)
        worst, at = far.amax(0).min(0)
        return anchors[int(at)] if float(worst) < CLOSE else None


@dataclass(frozen=True, kw_only=True)
class LimitTrace(Trace):
    """A pass at points of networks of infinite width, ``points[input][column]``; gradients are drawn at first use."""

    process: Process
    points: list[list[int]]
    lean: ClassVar[bool] = True
    shifted: bool = False

    @without_gradients
    def push(self, tangents: Columns) -> Columns:
        t = tangents.double().permute(0, 2, 3, 1)[..., None]
        return (self._gradients(tangents) @ t)[..., 0].permute(0, 3, 1, 2).to(tangents)

    @without_gradients
    def pull(self, cotangents: Columns) -> Columns:
        c = cotangents.double().permute(0, 2, 3, 1)[..., None]
        return (self._gradients(cotangents).mT @ c)[..., 0].permute(0, 3, 1, 2).to(cotangents)

    @without_gradients
    def shift(self, eta: Columns) -> Trace:
        self._forward("shift")
        process, (_, _, inputs, columns) = self.process, eta.shape
        eta = eta.double().permute(0, 2, 3, 1)
        base = [point for (point,) in self.points]
        anchors = [process.anchor[point] for point in base]
        each = [a for a in anchors for _ in range(columns)]
        with process.transaction():
            process.differentiate(anchors)
            y = process.y[:, base][:, :, None] + eta
            new = process.ask(y.flatten(1, 2), each)
        beyond = torch.stack([process.beyond(point) for point in new], 1).unflatten(1, (inputs, columns))
        before = torch.stack([process.beyond(point) for point in base], 1)[:, :, None]
        linear = torch.stack([process.gradient(a) for a in anchors], 1)
        change = torch.matmul(eta, linear.mT) + beyond - before
        points = [new[i * columns : (i + 1) * columns] for i in range(inputs)]
        output = change.permute(0, 3, 1, 2).to(self.output.dtype)
        return LimitTrace(self.networks, output, ForwardTape(), process=process, points=points, shifted=True)

    def jacobian(self) -> Tensor:
        return self._gradients(self.output[..., :1])[:, :, 0].to(self.output.dtype)

    def _gradients(self, columns: Tensor) -> Tensor:
        """The Jacobians (nets, inputs, columns or 1, K, d)."""
        process, points = self.process, [p for row in self.points for p in row]
        with process.transaction():
            process.differentiate(points)
        found = torch.stack([process.gradient(p) for p in points], 1)
        found = found.unflatten(1, (len(self.points), len(self.points[0])))
        return found.expand(-1, -1, columns.shape[3], -1, -1)

    @property
    def inputs(self) -> Columns:
        self._forward("inputs")
        return torch.stack([self.process.x[:, point] for (point,) in self.points], 2)[..., None].to(self.output.dtype)

    def stream(self) -> Columns:
        refuse("The stream x^L")

    def descend(self, cotangents: Columns, rate: float) -> None:
        refuse("A gradient step")

    def gradients(self, cotangents: Columns) -> list[tuple[Matrix, Tensor, Tensor]]:
        refuse("A gradient by weights")

    def _forward(self, what: str) -> ForwardTape:
        if self.shifted:
            raise ArgumentError(
                f"{what} needs a forward trace, as networks.trace(x) gives; this one is shifted already."
            )
        return ForwardTape()


def refuse(what: str) -> NoReturn:
    """Raise ArgumentError for an operation that networks of infinite width do not have."""
    raise ArgumentError(
        f"{what} is asked for, and networks of N = inf have neither weights nor a stream, only outputs and their derivatives. "
        "Take a finite N, e.g. sample(net, N=10**5, ...)."
    )


def limit_of(*, queries: int, d: int, K: int, **given: Any) -> LimitEnsemble:
    """The ensemble at N = inf. Where ``queries`` are left at their default, one attack is expected.

    Raises DeclarationError where a block or an activation has no rule."""
    if queries == QUERIES:
        queries = attack_queries(K, d, 1, LEAN, directions=1)
    ensemble = LimitEnsemble(N=math.inf, sampler="limit", queries=queries, d=d, K=K, **given)  # type: ignore[arg-type]
    ensemble.check_memory()
    return ensemble
