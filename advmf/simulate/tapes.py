"""Tapes: what a pass through a network records, and computes at activations and norms, for forward passes, exact
differences and tangents.

A map of :mod:`advmf.simulate.networks` gets a tape and calls it wherever the map is not linear.
"""

from __future__ import annotations

import math
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from advmf.simulate.pointwise import Function

Columns = Float[Tensor, "nets _ inputs columns"]
Stream = Float[Tensor, "nets _ _ columns"]
"""Columns within a network, where every position of an image counts as an input."""


@runtime_checkable
class Matrix(Protocol):
    """A batch of random matrices that answer products, whether their entries are stored or not."""

    def matmul(self, x: Tensor) -> Tensor:
        """``W @ x`` for x of shape (nets, columns in, any)."""

    def rmatmul(self, z: Tensor) -> Tensor:
        """``W.mT @ z`` for z of shape (nets, rows, any)."""

    def add(self, u: Tensor, v: Tensor) -> None:
        """``W += u @ v.mT`` for u of shape (nets, rows, any) and v (nets, columns, any)."""

    def squared_norm(self) -> Tensor:
        """``||W||_F²`` (nets,), in float64."""

    def norm_change(self) -> Tensor:
        """The change of ``||W||_F²`` by :meth:`add`, (nets,), in float64; not computed as a difference of large
        numbers."""

    def state(self) -> dict[str, Any]:
        """Tensors and numbers from which :meth:`restore` makes a matrix with the same answers and future draws."""

    def restore(self, state: dict[str, Any]) -> None:
        """Become the matrix whose :meth:`state` this is."""


@runtime_checkable
class Layer(Protocol):
    """The attributes of a linear layer that a tape uses."""

    @property
    def weight(self) -> Matrix:
        """W of ``x -> W x + b``."""

    @property
    def bias(self) -> Tensor | None:
        """b of ``x -> W x + b``."""

    @property
    def trained(self) -> bool:
        """Whether gradient steps change W."""


class Tape:
    """The base of tapes, for linear passes: at an activation it applies the slopes recorded by another pass."""

    affine = False
    """Whether biases are added: only a forward pass is affine."""

    def __init__(self, met: ForwardTape | ShiftTape) -> None:
        self._gate, self._norms = met.gate, met.norms
        self._forwards, self._backwards = 0, len(met.kept)
        self._normalised, self._denormalised = 0, len(met.norms)

    def meet(self, layer: Layer, z: Columns) -> Columns:
        """Called with the vectors that a linear layer gets, forwards or backwards; returns what the layer takes. This
        tape records nothing."""
        return z

    def activate(self, function: Function, z: Columns) -> Columns:
        self._forwards += 1
        return function.tangent(self._gate(self._forwards - 1), z)

    def deactivate(self, function: Function, c: Columns) -> Columns:
        """Apply the transpose of the last activation that has not been reversed yet."""
        self._backwards -= 1
        return function.tangent(self._gate(self._backwards), c)

    def normalise(self, x: Columns) -> Columns:
        self._normalised += 1
        return self._across(x, *self._norms[self._normalised - 1])

    def denormalise(self, c: Columns) -> Columns:
        """Apply the transpose of the last norm that has not been reversed yet; the derivative of a norm is
        symmetric."""
        self._denormalised -= 1
        return self._across(c, *self._norms[self._denormalised])

    @staticmethod
    def _across(x: Columns, unit: Tensor, size: Tensor) -> Columns:
        """The part of ``x`` orthogonal to the stream, in units of the stream's size."""
        return (x - unit * (unit * x).mean(1, keepdim=True)) / size


class GradientTape(Tape):
    """A backward pass that records the cotangents of the trained layers' outputs, the last layer first."""

    def __init__(self, met: ForwardTape) -> None:
        super().__init__(met)
        self.met: list[tuple[Layer, Columns]] = []

    def meet(self, layer: Layer, z: Columns) -> Columns:
        if layer.trained:
            self.met.append((layer, z))
        return z


class TangentTape(Tape):
    """A push that records the tangents that the trained layers get, the first layer first."""

    def __init__(self, met: ForwardTape) -> None:
        super().__init__(met)
        self.met: list[Columns] = []

    def meet(self, layer: Layer, z: Columns) -> Columns:
        if layer.trained:
            self.met.append(z)
        return z


class ScalingTape(TangentTape):
    """A push of how everything changes when all trained matrices grow in proportion to themselves: each adds W h to its
    output, for its input h, by taking the tangent and h together. What they take is recorded."""

    def __init__(self, met: ForwardTape) -> None:
        super().__init__(met)
        self._inputs = iter(met.met)

    def meet(self, layer: Layer, z: Columns) -> Columns:
        _, own = next(self._inputs)
        return super().meet(layer, z + own if layer.trained else z)


class ScalingGradientTape(GradientTape):
    """A pull of how the cotangents of another pull change when all trained matrices grow in proportion to themselves.
    Slopes stay as they are, as inside a linear region. The changes are recorded."""

    def __init__(self, met: ForwardTape, other: GradientTape) -> None:
        super().__init__(met)
        self._cotangents = iter(other.met)

    def meet(self, layer: Layer, z: Columns) -> Columns:
        super().meet(layer, z)
        return z + next(self._cotangents)[1] if layer.trained else z


class ForwardTape:
    """A forward pass, which records the pre-activations and the inputs of the linear layers. It starts at ``x``, if
    there are maps."""

    affine = True

    def __init__(self, x: Columns | None = None) -> None:
        self.x = x
        self.kept: list[Tensor] = []
        self.met: list[tuple[Layer, Columns]] = []
        self.answers: list[Columns] = []
        """The outputs of the linear layers, their biases included."""
        self._prepared: dict[int, Any] = {}
        self.norms: list[tuple[Tensor, Tensor]] = []
        """The unit stream after each norm, and the size by which the stream was divided."""

    def meet(self, layer: Layer, z: Columns) -> Columns:
        self.met.append((layer, z))
        return z

    def activate(self, function: Function, z: Columns) -> Columns:
        self.kept.append(z)
        return function.value(z)

    def normalise(self, x: Columns) -> Columns:
        size = torch.linalg.vector_norm(x, dim=1, keepdim=True) / math.sqrt(x.shape[1])
        self.norms.append((x / size, size))
        return self.norms[-1][0]

    def prepared(self, at: int, function: Function) -> Any:
        """The data for differences from a pre-activation; cached, because every shift needs it."""
        if at not in self._prepared:
            self._prepared[at] = function.prepared(self.kept[at])
        return self._prepared[at]

    def gate(self, at: int) -> Tensor:
        """The point at which the slopes of an activation are taken."""
        return self.kept[at]


class ShiftTape:
    """The exact difference f(x + eta) - f(x), propagated as a difference so that nothing cancels for small eta."""

    affine = False

    def __init__(self, base: ForwardTape) -> None:
        self._base = base
        self.kept: list[Tensor] = []
        self._functions: list[Function] = []
        self.norms: list[tuple[Tensor, Tensor]] = []

    def meet(self, layer: Layer, z: Columns) -> Columns:
        """Record nothing."""
        return z

    def activate(self, function: Function, z: Columns) -> Columns:
        difference, kept = function.difference(self._base.prepared(len(self.kept), function), z)
        self._functions.append(function)
        self.kept.append(kept)
        return difference

    def normalise(self, x: Columns) -> Columns:
        """(X + x)/r' - X/r, with r' - r computed from the difference of their squares."""
        unit, size = self._base.norms[len(self.norms)]
        squares = (x * (2 * size * unit + x)).mean(1, keepdim=True)
        moved = torch.sqrt((size**2 + squares).clamp(min=0))
        difference = (x - unit * (squares / (moved + size))) / moved
        self.norms.append((unit + difference, moved))
        return difference

    def at(self, columns: Int[Tensor, "nets inputs n"]) -> ShiftTape:
        """The tape of some of the columns."""
        tape = ShiftTape(self._base)
        tape._functions = self._functions
        tape.kept = [taken(kept, columns) for kept in self.kept]
        tape.norms = [(taken(unit, columns), taken(size, columns)) for unit, size in self.norms]
        return tape

    def gate(self, at: int) -> Tensor:
        """The point at which the slopes of an activation at x + eta are taken."""
        function = self._functions[at]
        return function.moved(self._base.prepared(at, function), self.kept[at])


AnyTape = Tape | ForwardTape | ShiftTape


def taken(z: Tensor, columns: Int[Tensor, "nets inputs n"]) -> Tensor:
    """The columns of a block (nets, size, inputs or their positions, any) that are named for each input."""
    index = columns.repeat_interleave(z.shape[2] // columns.shape[1], 1)[:, None]
    return z.gather(3, index.expand(-1, z.shape[1], -1, -1))
