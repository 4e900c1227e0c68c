"""The parts of a simulation: products of observables that are measured together on one set of networks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from typing import Any

import numpy as np
import sympy as sp
import torch

from advmf.errors import MemoryBudgetError, NonFiniteError
from advmf.observables import Observable
from advmf.progress import TAKEN_OVER
from advmf.simulate.data import Images
from advmf.simulate.ensemble import Ensemble
from advmf.simulate.estimate import Single, measure
from advmf.simulate.probe import AttackSettings
from advmf.simulate.state import draw_seed, source
from advmf.verify.moments import Running
from advmf.verify.soundness import sized
from advmf.verify.sources.arguments import attacked
from advmf.verify.statistics import Rung
from advmf.verify.verdict import jsonable


def plan(
    products: list[sp.Expr], draw: Callable[[list[sp.Expr]], Ensemble], apart: bool = False
) -> list[tuple[list[sp.Expr], Ensemble]]:
    """Which products are measured on which ensemble (a set of networks). It is one ensemble for all. Where its attacks
    do not fit into memory, the attacked products are halved. With ``apart`` each attack has an ensemble of its own, for
    asking about more points makes each of them dearer.

    Raises MemoryBudgetError where a single attack does not fit.
    """
    costly = list(filter(attacked, products))
    try:
        if not apart or len(costly) < 2:
            return [(products, draw(products))]
    except MemoryBudgetError:
        if len(costly) < 2:
            raise
    later = costly[len(costly) // 2 :]
    return plan([product for product in products if product not in later], draw, apart) + plan(later, draw, apart)


class Part:
    """Products that are measured on one ensemble, each network with its own image, and the outcome so far. The outcome
    is kept in ``finished`` by ``name``."""

    def __init__(
        self,
        products: Sequence[sp.Expr],
        ensemble: Ensemble,
        images: Images,
        generator: torch.Generator,
        settings: AttackSettings,
        name: str,
        finished: MutableMapping[str, Any],
    ) -> None:
        self.products, self.ensemble = products, ensemble
        self._observables = sized(products)
        self._columns = [*products, *map(sp.Abs, self._observables)]
        self._images, self._generator, self._settings = images, generator, settings
        self._name, self._finished = name, finished
        self._x: torch.Tensor | None = None
        self._seed = 0
        self._running = Running(len(self._columns))
        self._counted = [i for i, product in enumerate(products) if isinstance(product, Single)]
        self._numbers = np.empty((0, len(self._counted)))

    def advance(self, count: int, done: Callable[[Ensemble, int, str], None]) -> None:
        """Measure on until there are ``count`` networks, or take over finished ones. ``done`` is told of every
        chunk."""
        # The parts of a width draw from one generator, one after the other. So each part draws also where it simulates
        # no network.
        if self._x is None:
            drawn = self._images.draw(self.ensemble.nets, self._generator)[:, None, :]
            self._x = drawn.to(self.ensemble.dtype)
            # Every chunk draws the same random directions, so that the numbers do not depend on what shares a chunk.
            self._seed = draw_seed(self._generator)
        start, name = self._running.count, f"{self._name}:{count}"
        if count <= start:
            return
        if name in self._finished:
            state = self._finished[name]
            self._running = Running.of(state)
            self._numbers = np.array(state.get("numbers", []), dtype=float).reshape(count, len(self._counted))
            done(self.ensemble, count - start, TAKEN_OVER)
        else:
            started = time.perf_counter()
            self._measure(start, count, done)
            self._finished[name] = {**self._state(), "seconds": time.perf_counter() - started}
        if count == self.ensemble.nets:
            self._x = self._x[:0].clone()  # the images of wide ladders need not be kept together

    def _state(self) -> dict[str, Any]:
        """The state to go on from, JSON-ready: the moments, and where networks are counted the number of each
        network."""
        return {**self._running.state, **({"numbers": jsonable(self._numbers.tolist())} if self._counted else {})}

    def _add(self, block: np.ndarray) -> None:
        self._running.add(block)
        self._numbers = np.concatenate([self._numbers, block[:, self._counted]])

    def _measure(self, start: int, count: int, done: Callable[[Ensemble, int, str], None]) -> None:
        """The networks from ``start`` to before ``count``."""
        assert self._x is not None
        batch, x = self.ensemble.part(start, count), self._x[start:count]
        columns = batch.inputs(x)
        try:
            for trace in batch.traces(x):
                first = self._running.count - start
                own = columns[first : first + trace.networks.nets]
                draws = source(None, self._seed)
                drawn = batch.part(first, first + trace.networks.nets)
                self._add(measure(trace, own, self._columns, self._settings, draws, drawn).cpu().numpy())
                done(self.ensemble, trace.networks.nets, f"N={self.ensemble.N}")
        except NonFiniteError:  # networks without weights cannot go on beside one that overflows
            rest = count - self._running.count
            self._add(np.full((rest, len(self._columns)), math.nan))
            done(self.ensemble, rest, f"N={self.ensemble.N}")

    def rungs(self) -> Iterator[tuple[sp.Expr, Rung]]:
        """The mean of each product, so far."""
        for i, product in enumerate(self.products):
            yield product, self._running.rung(self.ensemble.N, i)

    def sizes(self) -> Iterator[tuple[Observable, Rung]]:
        """The mean size of each observable in the products, so far."""
        for i, o in enumerate(self._observables, len(self.products)):
            yield o, self._running.rung(self.ensemble.N, i)

    def numbers(self) -> Iterator[tuple[sp.Expr, np.ndarray]]:
        """For products that are counted: the number of each network, so far."""
        for place, i in enumerate(self._counted):
            yield self.products[i], self._numbers[:, place]
