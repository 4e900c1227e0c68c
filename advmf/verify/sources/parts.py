"""The parts of a simulation: products of observables that are measured together on one set of networks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import sympy as sp
import torch

from advmf.errors import MemoryBudgetError, NonFiniteError
from advmf.observables import ATTACK, Observable
from advmf.progress import TAKEN_OVER
from advmf.simulate.data import Images
from advmf.simulate.ensemble import Ensemble
from advmf.simulate.estimate import Single, measure
from advmf.simulate.probe import AttackSettings
from advmf.simulate.state import draw_seed, source
from advmf.symbols import N, eps
from advmf.verify.moments import Running
from advmf.verify.soundness import sized
from advmf.verify.sources.arguments import attacked
from advmf.verify.statistics import Rung
from advmf.verify.verdict import jsonable


class Column(NamedTuple):
    """A product of observables, and what is measured for it in a part: the product itself, or a term of it."""

    product: sp.Expr
    measured: sp.Expr


def whole(products: Sequence[sp.Expr]) -> list[Column]:
    """Products that are measured in one part."""
    return [Column(product, product) for product in products]


def terms(products: Sequence[sp.Expr], values: Mapping[str, float]) -> tuple[list[Column], list[Column]] | None:
    """The columns of two parts whose means add up to those of the products. The first part takes no attack: an attacked
    observable is replaced by one nearby (:attr:`~advmf.observables.Observable.nearby`) at the ``values`` of its
    letters. The second part is what the attacked products are more than that, on networks of its own.

    None where nothing is attacked, where an attacked observable has nothing nearby, and where networks are counted.
    """
    first, second = list[Column](), list[Column]()
    letters = {symbol: sp.Float(values[symbol.name]) for symbol in (eps, N) if symbol.name in values}
    for product in products:
        sought = [o for o in product.atoms(Observable) if ATTACK in o.needs]
        near = {o: o.nearby for o in sought}
        if None in near.values() or (sought and product.has(Single)):
            return None
        term = sp.expand(product.xreplace(near).xreplace(letters)) if sought else product
        first.append(Column(product, term))
        second += [Column(product, product - term)] if sought else []
    return (first, second) if second else None


def plan(
    columns: list[Column], draw: Callable[[list[sp.Expr]], Ensemble], apart: bool = False
) -> list[tuple[list[Column], Ensemble]]:
    """Which columns are measured on which ensemble (a set of networks). It is one ensemble for all. Where its attacks
    do not fit into memory, the attacked columns are halved. With ``apart`` each attack has an ensemble of its own, for
    asking about more points makes each of them dearer.

    Raises MemoryBudgetError where a single attack does not fit.
    """
    costly = [column for column in columns if attacked(column.measured)]
    try:
        if not apart or len(costly) < 2:
            return [(columns, draw([column.measured for column in columns]))]
    except MemoryBudgetError:
        if len(costly) < 2:
            raise
    later = costly[len(costly) // 2 :]
    return plan([column for column in columns if column not in later], draw, apart) + plan(later, draw, apart)


class Part:
    """Columns that are measured on one ensemble, each network with its own image, and the outcome so far. The outcome
    is kept in ``finished`` by ``name``."""

    def __init__(
        self,
        columns: Sequence[Column],
        ensemble: Ensemble,
        images: Images,
        generator: torch.Generator,
        settings: AttackSettings,
        name: str,
        finished: MutableMapping[str, Any],
    ) -> None:
        self.columns, self.ensemble = columns, ensemble
        measured = [column.measured for column in columns]
        self._observables = sized(measured)
        self._measured = [*measured, *map(sp.Abs, self._observables)]
        self._images, self._generator, self._settings = images, generator, settings
        self._name, self._finished = name, finished
        self._x: torch.Tensor | None = None
        self._seed = 0
        self._running = Running(len(self._measured))
        self._counted = [i for i, product in enumerate(measured) if isinstance(product, Single)]
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
                self._add(measure(trace, own, self._measured, self._settings, draws, drawn).cpu().numpy())
                done(self.ensemble, trace.networks.nets, f"N={self.ensemble.N}")
        except NonFiniteError:  # networks without weights cannot go on beside one that overflows
            rest = count - self._running.count
            self._add(np.full((rest, len(self._measured)), math.nan))
            done(self.ensemble, rest, f"N={self.ensemble.N}")

    def rungs(self) -> Iterator[tuple[sp.Expr, Rung]]:
        """The mean of each column, by its product, so far."""
        for i, column in enumerate(self.columns):
            yield column.product, self._running.rung(self.ensemble.N, i)

    def sizes(self) -> Iterator[tuple[Observable, Rung]]:
        """The mean size of each observable in the products, so far."""
        for i, o in enumerate(self._observables, len(self.columns)):
            yield o, self._running.rung(self.ensemble.N, i)

    def numbers(self) -> Iterator[tuple[sp.Expr, np.ndarray]]:
        """For products that are counted: the number of each network, so far."""
        for place, i in enumerate(self._counted):
            yield self.columns[i].product, self._numbers[:, place]
