"""Ensembles of random networks: sampled in chunks, with explicit weights or with matrices that answer products only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, ClassVar

import sympy as sp
import torch
from jaxtyping import Float
from torch import Tensor

from advmf import symbols
from advmf.boundary import public, whole
from advmf.errors import ArgumentError, DomainError, MemoryBudgetError
from advmf.nets import Block, Net
from advmf.simulate.budget import MEMORY, Budget, allow
from advmf.simulate.conditioned import ConditionedMatrix
from advmf.simulate.dense import DenseMatrix
from advmf.simulate.draws import Drawn, Fill, Fresh, Shape, Shapes, normal
from advmf.simulate.networks import Chain, Linear, Map, Networks, Trace, realise
from advmf.simulate.state import lasting, source, tensor, without_gradients
from advmf.simulate.tapes import Matrix
from advmf.simulate.values import depth_of, require_whole, values_of

CHUNK = {"dense": 64 * 2**20, "conditioned": 512 * 2**20}
"""Bytes of networks that are run together on a CPU: enough weights to fill it while columns stay in its cache, and
enough networks for the many small operations of conditioning."""
QUERIES = 256
"""Vectors that are expected to meet each matrix: as many as an attack of the default strength sends."""
PAYS = 4
"""Conditioning is faster than explicit weights from about so many times the vectors upwards in width."""
SAMPLERS = ("auto", "dense", "conditioned", "limit")


SEED, LAYER = 8, 4096
"""Bytes of a network's seed, and of the objects that a layer of one chunk consists of, measured."""
LANES = 4
"""Independent streams of random numbers per network, which can be drawn side by side."""


@dataclass
class Ensemble:
    """``nets`` independent networks, each from its own seed.

    ``sampler`` is "dense" or "conditioned". Dense networks are kept in memory if all of them fit the budget, and
    sampled anew at each use if not; how many share a chunk does not change the numbers. Conditioned networks hold what
    they have answered, and have to be kept, unless ``keep`` is False: then every use meets networks of its own. Their
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
    _kept: list[Networks] = field(default_factory=list, repr=False)
    _budget: Budget = field(init=False, repr=False)

    lean: ClassVar[bool] = False
    """Whether attacks should ask for few points (:class:`advmf.simulate.networks.Trace`)."""

    def __post_init__(self) -> None:
        self._budget = Budget(self.memory)

    @property
    def bytes_per_network(self) -> int:
        """Bytes of weights, biases and masks of one network, or of the answers to ``queries`` vectors that stand for
        weights."""
        count = 0
        for (rows, columns, vector, _), copies in self._shapes():
            answers = self.queries * (rows + columns) if self.sampler == "conditioned" else rows * columns
            count += copies * (min(rows * columns, answers) + rows * vector)
        return self.dtype.itemsize * count

    def expect(self, queries: int) -> None:
        """Prepare for ``queries`` vectors to meet each matrix. Raises MemoryBudgetError where the networks would
        outgrow the budget."""
        self.queries = max(self.queries, queries)
        self.check_memory()

    @property
    def bytes_at_once(self) -> int:
        """Bytes that the budget has to allow: of one network, or of all conditioned ones if they are kept."""
        return self.bytes_per_network * (self.nets if self.keep and self.sampler == "conditioned" else 1)

    @property
    def workspace(self) -> int:
        """Bytes that a call may take besides the networks: as many as these may, or as they may by default."""
        return max(self.memory, MEMORY)

    def check_memory(self) -> None:
        """Raises MemoryBudgetError where the networks would outgrow the budget, or there are too many of them or of
        their layers to list."""
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

    def _runs(self) -> list[tuple[Block, int, int, int]]:
        """The blocks, how many copies there are of each, and the widths that they map from and to."""
        depth = {symbols.L: self.L}
        return [
            (run.block, round(self.number(run.copies.subs(depth))), int(run.before * self.N), int(run.after * self.N))
            for run in self.net.runs
        ]

    def _shapes(self) -> list[tuple[Shape, int]]:
        """The random parts, with how many there are of each: first the layers of the input and the output."""
        runs = self._runs()
        found = [(Shape(runs[0][2], self.d), 1), (Shape(self.K, runs[-1][3]), 1)]
        for block, copies, before, after in runs:
            shapes = Shapes(self.number)
            realise(block, shapes, before, after)
            found += [(shape, copies) for shape in shapes.found]
        return found

    @property
    def trained_rows(self) -> list[int]:
        """The number of rows of each trained matrix, in the order of the layers."""
        rows: list[int] = []
        for block, copies, before, after in self._runs():
            shapes = Shapes(self.number)
            realise(block, shapes, before, after)
            rows += copies * [shape.rows for shape in shapes.found if shape.trained]
        return rows

    def number(self, expr: sp.Expr) -> float:
        """The value of one of the net's expressions."""
        return float(expr.subs({s: self.values[s.name] for s in expr.free_symbols}))

    def part(self, start: int, stop: int) -> Ensemble:
        """The networks from ``start`` to before ``stop``, as an ensemble of their own."""
        return replace(self, nets=stop - start, seeds=self.seeds[start:stop], _kept=[])

    @property
    def at_once(self) -> int:
        """How many networks are run together."""
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

    def _networks(self, count: int, matrix: Callable[[int, int, float], Matrix], fresh: Fresh) -> Networks:
        """``count`` networks of matrices with ``matrix(rows, columns, std)``, and of biases and masks by ``fresh(fill,
        count, n)``."""
        draws, runs = Drawn(count, matrix, fresh, cache(self.number)), self._runs()
        first: Map = Linear(matrix(runs[0][2], self.d, 1 / math.sqrt(self.d)), None)
        blocks = [realise(block, draws, *widths) for block, copies, *widths in runs for _ in range(copies)]
        last: Map = Linear(matrix(self.K, runs[-1][3], 1 / math.sqrt(runs[-1][3])), None)
        return Networks(self.net, count, self.d, self.K, Chain((first, *blocks, last)), self.dtype, self.device)

    @without_gradients
    def _dense(self, seeds: Tensor) -> Networks:
        # Each network has LANES generators, and each lane fills its share of the network's matrices in order: the lanes
        # run side by side, and the numbers depend neither on how many do nor on which networks share a chunk.
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
            for network, lane in jobs:
                generator = torch.Generator(self.device).manual_seed(int(lane_seeds[network, lane]))
                for values, fill in lanes[lane]:
                    fill(values[network], generator)

        networks = self._networks(
            count, lambda rows, columns, std: DenseMatrix(fresh(normal(std), count, rows, columns)), fresh
        )
        jobs = [(network, lane) for network in range(count) for lane in range(LANES)]
        lane_seeds = torch.stack(
            [
                torch.randint(2**63 - 1, (LANES,), generator=source(None, s), dtype=torch.int64, device="cpu")
                for s in seeds.tolist()
            ]
        )
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

        def matrix(rows: int, columns: int, std: float) -> Matrix:
            if self.queries * (rows + columns) > rows * columns:  # it would become explicit on the way
                return DenseMatrix(fresh(normal(std), count, rows, columns))
            return ConditionedMatrix(
                count,
                rows,
                columns,
                std,
                generator=generator,
                queries=self.queries,
                dtype=self.dtype,
                device=self.device,
                budget=budget,
            )

        return self._networks(count, matrix, fresh)

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
        return self._linear(x, tangent, self.d, "tangent", Trace.push)

    @public
    def vjp(self, x: Tensor, cotangent: Tensor) -> Tensor:
        """J(x)^T c for one cotangent of shape (K,), or one per input and network: (nets, [inputs,] d)."""
        return self._linear(x, cotangent, self.K, "cotangent", Trace.pull)

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


@public
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

    ``N, L, d, K`` are width, depth, input and output dimension; stages of a number of blocks have their own depth, and
    their widths are multiples of ``N``. ``values`` gives the net's symbols (``sigma_w``,
    ``sigma_b``, ``u``, ``v`` and any of your own). All randomness comes from ``generator`` (seeded from the system if
    None). ``memory`` bounds the bytes of weights held at once.

    ``sampler`` "dense" draws every weight; "conditioned" draws only what products with the weights reveal, which has
    the same law at every N and takes O(N) memory for each vector that meets a matrix
    (:mod:`advmf.simulate.conditioned`); "auto" takes the faster one for ``queries``, the number of vectors expected to
    meet each matrix (an attack tells by itself), if it fits the budget, and ``.sampler`` of the result says which.
    Conditioned networks have to be kept between calls; ``keep=False`` forgets them, for networks that are used once.
    ``N="inf"`` gives networks of infinite width, Gaussian processes that are drawn where they are asked about
    (:mod:`advmf.simulate.limit`): they have outputs, derivatives and attacks, and no weights.

    Raises ArgumentError for missing or unknown values, a depth that is not that of the stages, and an ``N`` of which
    their widths are no whole multiples, DomainError for values outside their domain, DeclarationError for a net whose
    covariance at N = inf is not known, and MemoryBudgetError where one network, the seeds of all or the objects of so
    many layers do not fit, all before anything is sampled.

    >>> import torch, advmf as mf
    >>> networks = mf.simulate.sample(mf.vanilla(u=1, v=0), N=50, L=3, d=8, K=2, nets=5, sigma_w=1.4, sigma_b=0.0,
    ...                               generator=torch.Generator().manual_seed(0))
    >>> networks.forward(torch.ones(8)).shape, networks.jacobian(torch.ones(4, 8)).shape
    (torch.Size([5, 2]), torch.Size([5, 4, 2, 8]))
    """
    if not isinstance(net, Net):
        raise ArgumentError(f"sample takes a Net, such as advmf.residual(u=1, v=0); got {net!r}.")
    endless = _endless(N, sampler)
    given: dict[str, Any] = {"L": depth_of(net, L), "d": d, "K": K, "nets": nets} | ({} if endless else {"N": N})
    sizes = {name: whole(name, size, 0 if name == "L" else 1) for name, size in given.items()}
    if dtype not in (torch.float32, torch.float64):
        raise ArgumentError(f"dtype must be torch.float32 or torch.float64; got {dtype}.")
    if sampler not in SAMPLERS:
        raise ArgumentError(f"sampler must be one of {', '.join(SAMPLERS)}; got {sampler!r}.")
    if not endless:
        require_whole(net, sizes["N"], sizes["L"])
    queries = whole("queries", queries)
    generator = source(generator, None)
    own = {k: float(v) for k, v in sizes.items() if k != "nets"} | ({"N": math.inf} if endless else {})
    common: dict[str, Any] = {
        "net": net, **sizes, "values": values_of(net, {**values, **own}, set(values)), "dtype": dtype,
        "seeds": torch.empty(0, dtype=torch.int64, device="cpu"), "device": torch.device(device),
        "memory": memory, "queries": queries, "keep": keep,
    }  # fmt: skip
    if endless:
        from advmf.simulate.limit import limit_of  # which imports this module

        return seeded(limit_of(**common), generator)
    ensemble = Ensemble(**common, sampler="conditioned" if sampler == "auto" else sampler)
    if sampler == "auto" and (ensemble.N < PAYS * queries or ensemble.bytes_at_once > memory):
        dense = replace(ensemble, sampler="dense")
        if ensemble.N < PAYS * queries or dense.bytes_at_once <= memory:
            ensemble = dense
    ensemble.check_memory()
    return seeded(ensemble, generator)


def seeded(ensemble: Ensemble, generator: torch.Generator) -> Ensemble:
    """The ensemble with a seed for each network."""
    shape = (ensemble.nets,)
    seeds = torch.randint(2**63 - 1, shape, generator=generator, device=generator.device, dtype=torch.int64)
    ensemble.seeds = seeds.cpu()
    return ensemble


def _endless(N: object, sampler: str) -> bool:
    """Whether networks of infinite width are asked for; raises ArgumentError where the sampler is one of other
    widths."""
    endless = str(N).lower() in ("inf", "oo", "infinity")
    if endless != (sampler == "limit") and sampler != "auto":
        raise ArgumentError(
            f'sampler="limit" is the one of N="inf", and the only one; got sampler={sampler!r} and N={N!r}. Leave sampler out.'
        )
    return endless
