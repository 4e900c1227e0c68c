"""Sampled networks as linear maps and activations: forward passes, differences, JVPs, VJPs and Jacobians of many
columns at once.

Inside this package a batch of vectors is a *column block* of shape (nets, n, inputs, columns): ``columns`` vectors for
each of ``inputs`` base points in each network. All columns of a network go through one batched matrix product.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from advmf.errors import ArgumentError, DomainError
from advmf.nets import Net
from advmf.simulate.pointwise import Function
from advmf.simulate.positions import Average, Flatten, Patches, Spread
from advmf.simulate.state import lasting, without_gradients
from advmf.simulate.tapes import (
    AnyTape,
    Columns,
    ForwardTape,
    GradientTape,
    Matrix,
    ScalingTape,
    ShiftTape,
    Stream,
    Tape,
    taken,
)


@dataclass(frozen=True)
class Linear:
    """``x -> W x + b``; gradient steps change W where it is ``trained``."""

    weight: Matrix
    bias: Tensor | None
    trained: bool = False

    def push(self, x: Columns, tape: AnyTape) -> Columns:
        x = tape.meet(self, x)
        y = self.weight.matmul(x.flatten(2)).unflatten(2, x.shape[2:])
        if self.bias is not None and tape.affine:
            y = y.add_(self.bias[..., None, None])
        if isinstance(tape, ForwardTape):
            tape.answers.append(y)
        return y

    def pull(self, c: Columns, tape: Tape) -> Columns:
        c = tape.meet(self, c)
        return self.weight.rmatmul(c.flatten(2)).unflatten(2, c.shape[2:])


@dataclass(frozen=True)
class Activation:
    """The same function of each coordinate."""

    function: Function

    def push(self, z: Columns, tape: AnyTape) -> Columns:
        return tape.activate(self.function, z)

    def pull(self, c: Columns, tape: Tape) -> Columns:
        return tape.deactivate(self.function, c)


@dataclass(frozen=True)
class Mask:
    """``x -> m x``, coordinate by coordinate, with ``values`` (nets, n) for m: dropout."""

    values: Tensor

    def push(self, x: Columns, tape: AnyTape) -> Columns:
        return x * self.values[..., None, None]

    def pull(self, c: Columns, tape: Tape) -> Columns:
        return c * self.values[..., None, None]


@dataclass(frozen=True)
class Normalisation:
    """``x/rms(x)`` over the coordinates; where ``centred``, the mean of the coordinates is subtracted first."""

    centred: bool

    def push(self, x: Columns, tape: AnyTape) -> Columns:
        return tape.normalise(self.centre(x))

    def pull(self, c: Columns, tape: Tape) -> Columns:
        return self.centre(tape.denormalise(c))

    def centre(self, x: Columns) -> Columns:
        return x - x.mean(1, keepdim=True) if self.centred else x


@dataclass(frozen=True)
class Chain:
    """Maps applied one after the other."""

    parts: tuple[Map, ...]

    def push(self, x: Stream, tape: AnyTape) -> Stream:
        for part in self.parts:
            x = part.push(x, tape)
        return x

    def pull(self, c: Stream, tape: Tape) -> Stream:
        for part in reversed(self.parts):
            c = part.pull(c, tape)
        return c


@dataclass(frozen=True)
class Sum:
    """``shortcut(x) + scale * branch(x)``."""

    shortcut: Map
    branch: Map
    scale: float

    def push(self, x: Stream, tape: AnyTape) -> Stream:
        return torch.add(self.shortcut.push(x, tape), self.branch.push(x, tape), alpha=self.scale)

    def pull(self, c: Stream, tape: Tape) -> Stream:
        # The reverse order of push, so that slopes come off the tape in order. The branch gets the cotangent times the
        # scale.
        branch = self.branch.pull(c if self.scale == 1 else self.scale * c, tape)
        return self.shortcut.pull(c, tape) + branch


Map = Linear | Activation | Mask | Normalisation | Spread | Patches | Average | Flatten | Chain | Sum


@dataclass(frozen=True)
class Trace:
    """A pass through the networks at given inputs: its ``output``, and the linear maps at these inputs.

    For a forward trace ``output`` is f(x); for a shifted one f(x + eta) - f(x). Shapes are (nets, n, inputs, columns).
    """

    networks: Networks
    output: Columns
    tape: ForwardTape | ShiftTape

    lean: ClassVar[bool] = False
    """Whether every point evaluated makes the next ones more expensive, so that attacks should evaluate few."""

    def _linear(self) -> Tape:
        return Tape(self.tape)

    @lasting
    def push(self, tangents: Columns) -> Columns:
        """``J t`` for tangents of shape (nets, d, inputs, columns): (nets, K, inputs, columns)."""
        return self.networks.map.push(tangents, self._linear())

    @lasting
    def pull(self, cotangents: Columns) -> Columns:
        """``J^T c`` for cotangents of shape (nets, K, inputs, columns): (nets, d, inputs, columns)."""
        return self.networks.map.pull(cotangents, self._linear())

    def at(self, columns: Int[Tensor, "nets inputs n"]) -> Trace:
        """The shifted trace with ``n`` of its columns, in each network and for each input; for pulls that the others do
        not need.

        Raises ArgumentError for a forward trace, which has a single column.
        """
        if not isinstance(self.tape, ShiftTape):
            raise ArgumentError(
                "Columns are those of a shifted trace, as trace.shift(eta) gives; this is a forward one."
            )
        return replace(self, output=taken(self.output, columns), tape=self.tape.at(columns))

    @lasting
    def shift(self, eta: Columns) -> Trace:
        """The trace of f(x + eta) - f(x), for eta of shape (nets, d, inputs, columns)."""
        tape = ShiftTape(self._forward("shift"))
        return Trace(self.networks, self.networks.map.push(eta, tape), tape)

    @property
    def inputs(self) -> Columns:
        """The inputs ``x`` of a forward trace: (nets, d, inputs, columns).

        Raises ArgumentError for a shifted one.

        >>> import advmf as mf
        >>> networks = mf.simulate.sample(mf.vanilla(u=1, v=0), N=50, L=3, d=8, K=2, nets=5, sigma_w=1.4, sigma_b=0.0)
        >>> (trace,) = networks.traces(torch.ones(3, 8))
        >>> trace.inputs.shape, bool((trace.inputs == 1).all())
        (torch.Size([5, 8, 3, 1]), True)
        """
        x = self._forward("inputs").x
        assert x is not None, "only traces without maps have none"
        return x

    def stream(self) -> Columns:
        """``x^L`` of a forward trace, the input of ``P_out``: (nets, width, inputs, columns)."""
        return self._forward("stream").met[-1][1]

    @without_gradients
    def descend(self, cotangents: Columns, rate: float) -> None:
        """A gradient step of the trained weights: ``W -= rate * (sum over inputs and columns of delta x^T)``.

        ``cotangents`` (nets, K, inputs, columns) are a loss's derivatives with respect to a forward trace's outputs,
        ``delta`` those with respect to a layer's outputs, and ``x`` the layer's inputs. The trace is valid for the
        weights before the step. The step is exact for networks without weights too.

        Raises ArgumentError for a shifted trace or cotangents of another shape, DomainError for values that are not
        finite; then nothing is changed.

        >>> import advmf as mf
        >>> networks = mf.simulate.sample(mf.vanilla(u=1, v=0), N=5000, L=2, d=8, K=2, sigma_w=1.4, sigma_b=0.0,
        ...                               queries=10, generator=torch.Generator().manual_seed(0))
        >>> x = networks.inputs(torch.ones(8))
        >>> (chunk,) = networks.chunks()
        >>> trace = chunk.trace(x)
        >>> trace.descend(trace.output, rate=1e-5)  # the loss |f|²/2, whose gradients grow with N
        >>> networks.sampler, bool(chunk.trace(x).output.norm() < trace.output.norm())
        ('conditioned', True)
        """
        if not math.isfinite(rate):
            raise DomainError(f"descend takes a finite rate; got {rate}.")
        for weight, delta, x in self.gradients(cotangents):
            weight.add(-rate * delta, x)

    @lasting
    def scaling(self) -> Columns:
        """How the outputs of a forward trace change when all trained matrices grow in proportion to themselves: ``sum_W
        <W, df_k/dW>``, (nets, K, inputs, 1), by one push."""
        forward = self._forward("scaling")
        still = torch.zeros_like(self.inputs)
        return self.networks.map.push(still, ScalingTape(forward))

    @lasting
    def gradients(self, cotangents: Columns) -> list[tuple[Matrix, Tensor, Tensor]]:
        """A loss's derivative ``delta @ x.mT`` with respect to every trained matrix W, as (W, delta, x), in the order
        of the layers.

        ``cotangents`` and errors are those of :meth:`descend`. delta is (nets, rows, m) and x (nets, columns, m), with
        a column for each input and cotangent. The pairing <W, derivative> is <delta, W x>.
        """
        forward, shape = self._forward("a gradient"), tuple(self.output.shape[:3])
        if cotangents.ndim != 4 or tuple(cotangents.shape[:3]) != shape or cotangents.dtype != self.output.dtype:
            raise ArgumentError(
                f"A gradient takes cotangents of shape {shape} + (any,) and {self.output.dtype}, as the trace's output; "
                f"got {tuple(cotangents.shape)} and {cotangents.dtype}."
            )
        if not bool(torch.isfinite(cotangents).all()):
            raise DomainError("A gradient takes finite cotangents; got NaN or infinite ones.")
        tape = GradientTape(forward)
        self.networks.map.pull(cotangents, tape)
        inputs = [x for layer, x in forward.met if layer.trained]
        return [
            (layer.weight, delta.flatten(2), x.expand(*x.shape[:3], delta.shape[3]).flatten(2))
            for (layer, delta), x in zip(reversed(tape.met), inputs)
        ]

    def answers(self) -> list[Columns]:
        """``W x`` of every trained matrix W in a forward trace, for its input x: (nets, rows, inputs, 1), in the order
        of the layers."""
        forward = self._forward("answers")
        return [
            answer if layer.bias is None else answer - layer.bias[..., None, None]
            for (layer, _), answer in zip(forward.met, forward.answers)
            if layer.trained
        ]

    def _forward(self, what: str) -> ForwardTape:
        if not isinstance(self.tape, ForwardTape):
            raise ArgumentError(
                f"{what} needs a forward trace, as networks.trace(x) gives; this one is shifted already."
            )
        return self.tape

    def jacobian(self) -> Float[Tensor, "nets inputs K d"]:
        """The exact Jacobian at a forward trace's inputs, by the cheaper of K pulls and d pushes."""
        nets, K, inputs, _ = self.output.shape
        d = self.networks.d
        size = min(K, d)
        eye = torch.eye(size, dtype=self.output.dtype, device=self.output.device)
        seeds = eye[None, :, None, :].expand(nets, size, inputs, size)
        if K <= d:
            return self.pull(seeds).permute(0, 2, 3, 1)
        return self.push(seeds).permute(0, 2, 1, 3)


@dataclass(frozen=True)
class Networks:
    """Networks in memory: ``P_in``, the blocks and ``P_out`` as one map from d to K dimensions. Each has its own seed,
    from which a measurement may draw what it needs besides the weights."""

    net: Net
    nets: int
    d: int
    K: int
    map: Chain
    dtype: torch.dtype
    device: torch.device
    seeds: Tensor

    @lasting
    def trace(self, x: Columns) -> Trace:
        """The forward trace at x of shape (nets, d, inputs, 1); ``nets`` may be 1 and then broadcasts."""
        x = x.expand(self.nets, -1, -1, -1)
        tape = ForwardTape(x)
        return Trace(self, self.map.push(x, tape), tape)


@dataclass(frozen=True)
class CentredTrace(Trace):
    """A pass through networks less the same pass through their ``start``: f(x) - f_0(x) and its linear maps.

    Gradients in the weights and the scaling are those of f, as f_0 does not move.
    """

    start: Trace

    def push(self, tangents: Columns) -> Columns:
        return super().push(tangents) - self.start.push(tangents)

    def pull(self, cotangents: Columns) -> Columns:
        return super().pull(cotangents) - self.start.pull(cotangents)

    def at(self, columns: Int[Tensor, "nets inputs n"]) -> CentredTrace:
        own = super().at(columns)
        return replace(self, output=own.output, tape=own.tape, start=self.start.at(columns))

    @lasting
    def shift(self, eta: Columns) -> CentredTrace:
        now, start = super().shift(eta), self.start.shift(eta)
        return CentredTrace(self.networks, now.output - start.output, now.tape, start)


@dataclass(frozen=True)
class Centred(Networks):
    """Networks less their ``start``, a copy of them that is not trained."""

    start: Networks

    @classmethod
    def of(cls, networks: Networks) -> Centred:
        """The networks, whose weights a step changes, less what they are now."""
        return cls(**vars(networks), start=copy.deepcopy(networks))

    @lasting
    def trace(self, x: Columns) -> CentredTrace:
        now, start = super().trace(x), self.start.trace(x)
        return CentredTrace(self, now.output - start.output, now.tape, start)


def leaves(map: Map) -> Iterator[Map]:
    """The maps that are not made of others, in the order in which a forward pass meets them."""
    match map:
        case Chain(parts):
            for part in parts:
                yield from leaves(part)
        case Sum(shortcut, branch):
            yield from leaves(shortcut)
            yield from leaves(branch)
        case _:
            yield map


def layers(map: Map) -> Iterator[Linear]:
    """The linear layers of a map, in the order in which a forward pass meets them."""
    return (leaf for leaf in leaves(map) if isinstance(leaf, Linear))
