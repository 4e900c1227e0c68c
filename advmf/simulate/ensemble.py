"""Ensembles of random networks, sampled in chunks: with explicit weights, or with matrices that only answer
products."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, ClassVar, NamedTuple

import sympy as sp
import torch
from jaxtyping import Float
from torch import Tensor

from advmf import symbols
from advmf.boundary import public
from advmf.errors import ArgumentError, DomainError, MemoryBudgetError
from advmf.nets import Block, Grid, Net, Sizes
from advmf.simulate.budget import MEMORY, Budget, allow
from advmf.simulate.conditioned import ConditionedMatrix
from advmf.simulate.dense import DenseMatrix
from advmf.simulate.draws import Drawn, Fill, Fresh, Shape, Shapes, normal
from advmf.simulate.networks import Chain, Linear, Map, Networks, Trace
from advmf.simulate.positions import Average, Flatten, Spread
from advmf.simulate.realisation import Draws, realise
from advmf.simulate.state import lasting, tensor, without_gradients
from advmf.simulate.tapes import Matrix

CHUNK = {"dense": 64 * 2**20, "conditioned": 128 * 2**20}
"""Bytes of networks that are run together on a CPU. Dense chunks have enough weights to keep it busy while columns stay
in its cache. Conditioned chunks have enough networks for the many small operations of conditioning, and arrays whose
memory is kept for the next ones: larger ones would be given back to the system and asked for each time."""
QUERIES = 256
"""The number of vectors expected to meet each matrix: that of an attack of the default strength."""
SEED, LAYER = 8, 4096
"""Measured bytes of a network's seed, and of the objects that make up a layer of one chunk."""
LANES = 4
"""Independent streams of random numbers per network, which can be drawn in parallel."""


class _Run(NamedTuple):
    """Copies of a block, the widths that the block maps from and to, and the sizes of the image before it."""

    block: Block
    copies: int
    before: int
    after: int
    sizes: Sizes

    def realised(self, draws: Draws) -> Map:
        """The map of one copy."""
        return realise(self.block, draws, self.before, self.after, self.sizes)


@dataclass
class Ensemble:
    """``nets`` independent networks, each from its own seed.

    ``sampler`` is "dense" or "conditioned". Dense networks are kept in memory if all of them fit the budget, and
    otherwise sampled anew at each use; the number that share a chunk does not change their numbers. Conditioned
    networks store their answers and must be kept, unless ``keep`` is False: then every use gets new networks. Their
    numbers depend on the order of the questions and on ``queries``, the vectors expected at each matrix.
    """

    net: Net
    N: int
    L: int
    d: int
    K: int
    nets: int
    values: Mapping[str, float]
    seeds: Tensor = field(repr=False)
    dtype: torch.dtype
    device: torch.device
    memory: int
    sampler: str
    queries: int
    keep: bool
    pays: float = 1.0
    """Of a conditioned ensemble, a matrix is explicit all the same unless it has this many times the numbers of its
    answers."""
    _kept: list[Networks] = field(default_factory=list, repr=False)
    _budget: Budget = field(init=False, repr=False)

    lean: ClassVar[bool] = False
    """Whether attacks should evaluate few points (:class:`advmf.simulate.networks.Trace`)."""

    def __post_init__(self) -> None:
        self._budget = Budget(self.memory)

    @property
    def bytes_per_network(self) -> int:
        """Bytes of weights, biases and masks of one network; without weights, of the answers to ``queries`` vectors in
        their place."""
        count = 0
        for (rows, columns, vector, _, positions), copies in self._shapes():
            asked = self._answers(rows, columns, positions)
            stored = asked if self.sampler == "conditioned" and asked else rows * columns
            count += copies * (stored + rows * vector)
        return self.dtype.itemsize * count

    def _answers(self, rows: int, columns: int, positions: int) -> int:
        """The numbers that the answers of a matrix take, or 0 where it is explicit all the same."""
        asked = self.queries * positions * (rows + columns)
        return asked if self.pays * asked <= rows * columns else 0

    @property
    def conditions(self) -> bool:
        """Whether conditioning pays for any matrix."""
        return any(self._answers(shape.rows, shape.columns, shape.positions) for shape, _ in self._shapes())

    def expect(self, queries: int) -> None:
        """Prepare for ``queries`` vectors to meet each matrix. Raises MemoryBudgetError where the networks would
        outgrow the budget."""
        before, self.queries = self.queries, max(self.queries, queries)
        try:
            self.check_memory()
        except MemoryBudgetError:
            self.queries = before
            raise

    @property
    def bytes_at_once(self) -> int:
        """Bytes that the budget must allow: those of one network, or of all networks if they are conditioned and
        kept."""
        return self.bytes_per_network * (self.nets if self.keep and self.sampler == "conditioned" else 1)

    @property
    def workspace(self) -> int:
        """Bytes that a call may take besides the networks: the networks' budget or the default budget, whichever is
        larger."""
        return max(self.memory, MEMORY)

    def check_memory(self) -> None:
        """Raise MemoryBudgetError where the networks would outgrow the budget, or where they or their layers are too
        many to list."""
        allow(
            SEED * self.nets, self.workspace, f"The seeds of nets={self.nets} networks", "Lower nets or raise memory="
        )
        layers = sum(copies for _, copies in self._shapes()[2:])
        allow(LAYER * layers, self.workspace, f"The objects of L={self.L} layers", "Lower L or raise memory=")
        if (size := self.bytes_at_once) > self.memory:
            some = "One network" if size == self.bytes_per_network else f"An ensemble of {self.nets} networks"
            answers = f" and {self.queries} vectors at each matrix" if self.sampler == "conditioned" else ""
            other = 'sampler="conditioned"' if self.sampler == "dense" else "fewer nets or queries"
            raise MemoryBudgetError(
                f"{some} of width N={self.N} and depth L={self.L}{answers} takes {size:,} bytes, and the budget is memory="
                f"{self.memory:,}. Lower N or L, use dtype=torch.float32, take {other}, or raise memory=."
            )

    @property
    def runs(self) -> list[_Run]:
        """The blocks, in order; a block that changes the sizes of an image has one copy at a time."""
        found, sizes = list[_Run](), (self.net.image or (1,))[1:]
        for run in self.net.runs:
            copies = round(self.number(run.copies.subs({symbols.L: self.L})))
            changes = bool(sizes) and run.block.apply(Grid(), sizes) != sizes
            for _ in range(copies if changes else 1):
                before, after = int(run.before * self.N), int(run.after * self.N)
                found.append(_Run(run.block, 1 if changes else copies, before, after, sizes))
                sizes = run.block.apply(Grid(), sizes) if changes else sizes
        return found

    @property
    def ends(self) -> tuple[Shape, Shape]:
        """The layers of the input and the output."""
        runs, image, last = self.runs, self.net.image, math.prod(self.net.sizes)
        inputs, positions = (image[0], math.prod(image[1:])) if image else (self.d, 1)
        flat = last if self.net.head == "flatten" else 1
        return Shape(runs[0].before, inputs, positions=positions), Shape(self.K, runs[-1].after * flat)

    def _shapes(self) -> list[tuple[Shape, int]]:
        """The random parts, each with its number: first the layers of the input and the output."""
        found = [(shape, 1) for shape in self.ends]
        for run in self.runs:
            shapes = Shapes(self.number)
            run.realised(shapes)
            found += [(shape, run.copies) for shape in shapes.found]
        return found

    @property
    def trained_rows(self) -> list[int]:
        """The number of rows of each trained matrix, in the order of the layers."""
        rows: list[int] = []
        for run in self.runs:
            shapes = Shapes(self.number)
            run.realised(shapes)
            rows += run.copies * [shape.rows for shape in shapes.found if shape.trained]
        return rows

    def number(self, expr: sp.Expr) -> float:
        """The value of one of the net's expressions."""
        return float(expr.subs({s: self.values[s.name] for s in expr.free_symbols}))

    def part(self, start: int, stop: int) -> Ensemble:
        """The networks from ``start`` to before ``stop``, as an ensemble of their own."""
        return replace(self, nets=stop - start, seeds=self.seeds[start:stop], _kept=[])

    @property
    def at_once(self) -> int:
        """The number of networks that are run together."""
        limit = self.memory if self.device.type == "cuda" else min(CHUNK[self.sampler], self.memory)
        return max(1, min(self.nets, limit // self.bytes_per_network))

    def chunks(self) -> Iterator[Networks]:
        """The networks, some at a time, in order."""
        yield from list(self._kept)
        keep, together = self.keep and self.bytes_per_network * self.nets <= self.memory, self.at_once
        for start in range(sum(chunk.nets for chunk in self._kept), self.nets, together):
            seeds = self.seeds[start : start + together]
            networks = self._conditioned(seeds) if self.sampler == "conditioned" else self._dense(seeds)
            if keep:
                self._kept.append(networks)
            yield networks

    def _networks(self, seeds: Tensor, matrix: Callable[[int, int, float, int], Matrix], fresh: Fresh) -> Networks:
        """Networks of matrices with ``matrix(rows, columns, std, positions)``, and of biases and masks by ``fresh(fill,
        count, n)``."""
        count = len(seeds)
        draws, (first, last) = Drawn(count, matrix, fresh, cache(self.number), self.device), self.ends

        def end(shape: Shape) -> Linear:
            return Linear(matrix(shape.rows, shape.columns, 1 / math.sqrt(shape.columns), shape.positions), None)

        maps: list[Map] = [end(first)]
        maps += [run.realised(draws) for run in self.runs for _ in range(run.copies)]
        maps.append(end(last))
        if self.net.image is not None:
            maps.insert(0, Spread(first.positions))
            last = math.prod(self.net.sizes)
            maps.insert(-1, Flatten(last) if self.net.head == "flatten" else Average.whole(last, self.device))
        return Networks(self.net, count, self.d, self.K, Chain(tuple(maps)), self.dtype, self.device, seeds)

    @without_gradients
    def _dense(self, seeds: Tensor) -> Networks:
        # Each network has LANES generators, and each lane fills its share of the network's matrices in order. The lanes
        # run in parallel. The numbers depend neither on how many run at once nor on which networks share a chunk.
        count = len(seeds)
        lanes: list[list[tuple[Tensor, Fill]]] = [[] for _ in range(LANES)]
        loads = [0] * LANES

        def fresh(fill: Fill, *shape: int) -> Tensor:
            values = torch.empty(*shape, dtype=self.dtype, device=self.device)
            least = loads.index(min(loads))
            lanes[least].append((values, fill))
            loads[least] += values[0].numel()
            return values

        def draw(jobs: list[tuple[int, int]]) -> None:
            generator = torch.Generator(self.device)
            for network, lane in jobs:
                generator.manual_seed(lane_seeds[network][lane])
                for values, fill in lanes[lane]:
                    fill(values[network], generator)

        networks = self._networks(
            seeds, lambda rows, columns, std, _: DenseMatrix(fresh(normal(std), count, rows, columns)), fresh
        )
        jobs = [(network, lane) for network in range(count) for lane in range(LANES)]
        of_seed = torch.Generator()
        lane_seeds = [
            torch.randint(
                2**63 - 1, (LANES,), generator=of_seed.manual_seed(s), dtype=torch.int64, device="cpu"
            ).tolist()
            for s in seeds.tolist()
        ]
        threads = torch.get_num_threads()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(draw, (jobs[i::threads] for i in range(threads))))
        return networks

    @without_gradients
    def _conditioned(self, seeds: Tensor) -> Networks:
        generator = torch.Generator(self.device).manual_seed(int(seeds[0]))
        count = len(seeds)
        budget = self._budget if self.keep else Budget(self.memory)

        def fresh(fill: Fill, *shape: int) -> Tensor:
            return fill(torch.empty(shape, dtype=self.dtype, device=self.device), generator)

        def matrix(rows: int, columns: int, std: float, positions: int) -> Matrix:
            queries = self.queries * positions
            if not self._answers(rows, columns, positions):  # it would become explicit on the way, or does not pay
                return DenseMatrix(fresh(normal(std), count, rows, columns))
            return ConditionedMatrix(
                count,
                rows,
                columns,
                std,
                generator=generator,
                queries=queries,
                dtype=self.dtype,
                device=self.device,
                budget=budget,
            )

        return self._networks(seeds, matrix, fresh)

    @lasting
    def inputs(self, x: Any) -> Float[Tensor, "nets_or_1 d inputs 1"]:
        """Inputs of shape (d,), (inputs, d) or (nets, inputs, d) as a column block."""
        x = tensor(x, "x", dtype=self.dtype, device=self.device)
        if x.ndim not in (1, 2, 3) or x.shape[-1] != self.d or (x.ndim == 3 and x.shape[0] not in (1, self.nets)):
            raise ArgumentError(
                f"x must have shape (d,), (inputs, d) or (nets, inputs, d) with d={self.d} and nets={self.nets}; "
                f"got {tuple(x.shape)}."
            )
        if not torch.isfinite(x).all():
            raise DomainError("x holds NaN or infinite values; inputs must be finite.")
        while x.ndim < 3:
            x = x[None]
        return x.mT[..., None]

    def traces(self, x: Tensor) -> Iterator[Trace]:
        """A forward trace per chunk, at inputs that :meth:`inputs` accepts."""
        columns, start = self.inputs(x), 0
        for networks in self.chunks():
            own = columns if columns.shape[0] == 1 else columns[start : start + networks.nets]
            start += networks.nets
            yield networks.trace(own)

    def _per_input(self, x: Tensor, value: Callable[[Trace], Tensor]) -> Tensor:
        """Concatenate (nets, inputs, …) values over chunks; a single input without an axis of its own loses it."""
        x = tensor(x, "x")
        out = torch.cat([value(trace) for trace in self.traces(x)])
        return out[:, 0] if x.ndim == 1 else out

    @public
    def forward(self, x: Tensor) -> Tensor:
        """f(x): (nets, K) for x of shape (d,), else (nets, inputs, K)."""
        return self._per_input(x, lambda trace: trace.output[..., 0].mT)

    __call__ = forward

    @public
    def jacobian(self, x: Tensor) -> Tensor:
        """J(x): (nets, K, d) for x of shape (d,), else (nets, inputs, K, d)."""
        return self._per_input(x, lambda trace: trace.jacobian())

    @public
    def jvp(self, x: Tensor, tangent: Tensor) -> Tensor:
        """J(x) t for one tangent of shape (d,), or one per input and network as for x: (nets, [inputs,] K)."""
        return self._linear(x, tangent, self.d, "tangent", lambda trace, own: trace.push(own))

    @public
    def vjp(self, x: Tensor, cotangent: Tensor) -> Tensor:
        """J(x)^T c for one cotangent of shape (K,), or one per input and network: (nets, [inputs,] d)."""
        return self._linear(x, cotangent, self.K, "cotangent", lambda trace, own: trace.pull(own))

    def _linear(self, x: Tensor, t: Tensor, n: int, name: str, apply: Callable[[Trace, Tensor], Tensor]) -> Tensor:
        t = tensor(t, name, dtype=self.dtype, device=self.device)
        inputs = self.inputs(x).shape[2]
        if not 0 < t.ndim <= 3 or t.shape[-1] != n:
            raise ArgumentError(f"{name} must have a last axis of length {n}; got shape {tuple(t.shape)}.")
        columns = t.broadcast_to(self.nets, inputs, n).mT[..., None]
        start = 0

        def value(trace: Trace) -> Tensor:
            nonlocal start
            own = columns[start : start + trace.networks.nets]
            start += trace.networks.nets
            return apply(trace, own)[..., 0].mT

        return self._per_input(x, value)
