"""An ``nn.Module`` as a network that the attacks take.

A module is one network. Its differences f(x + eta) - f(x) are computed by subtraction, so a small ``eta`` loses digits
that sampled networks keep: take a module of float64 for a small eps.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from advmf.errors import ArgumentError, DomainError
from advmf.simulate.budget import MEMORY
from advmf.simulate.state import differentiating, lasting, tensor

DTYPES = (torch.float32, torch.float64)
RANDOM = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)
"""Modules whose outputs depend on chance, or on the other inputs of a batch, in the mode of training."""


@dataclass(frozen=True)
class ModuleNetwork:
    """A module with the operations of an ensemble of one network, at inputs of a given shape."""

    module: nn.Module
    shape: tuple[int, ...]
    K: int
    dtype: torch.dtype
    device: torch.device
    kept: int
    """Bytes of activations that a gradient keeps for each input."""

    lean: ClassVar[bool] = False
    nets: ClassVar[int] = 1
    at_once: ClassVar[int] = 1
    workspace: ClassVar[int] = MEMORY

    @classmethod
    @differentiating
    def at(cls, module: nn.Module, x: Any) -> ModuleNetwork:
        """The network of a module and a batch of its inputs.

        Raises ArgumentError and DomainError for a module or inputs that an attack cannot take.
        """
        dtype, device = require_module(module)
        x = require_batch(x, dtype, device)
        kept = 0

        def saved(found: Tensor) -> Tensor:
            nonlocal kept
            kept += found.nbytes
            return found

        probe = x[:1].clone().requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(saved, lambda found: found):
            output = _run(module, probe)
        if output.ndim != 2 or len(output) != 1 or not output.shape[1]:
            raise ArgumentError(
                f"The module must map a batch of inputs to (B, K), a vector for each; it maps {tuple(probe.shape)} to {tuple(output.shape)}."
            )
        if output.dtype != dtype:
            raise ArgumentError(
                f"The module has parameters of {dtype} and outputs of {output.dtype}; take one of them."
            )
        if not bool(torch.isfinite(output).all()):
            raise DomainError("The module's output is NaN or infinite at the first input.")
        with torch.no_grad():
            if not torch.equal(_run(module, probe), output):
                raise ArgumentError(
                    "The module gives two outputs for one input, so it draws random numbers; fix them, or leave that part out."
                )
        if not _depends(output, probe):
            raise ArgumentError(
                "The module's output does not depend on its input by functions that torch differentiates."
            )
        return cls(module, tuple(x.shape[1:]), output.shape[1], dtype, device, kept)

    @property
    def d(self) -> int:
        """The number of inputs."""
        return prod(self.shape)

    def inputs(self, x: Any) -> Float[Tensor, "1 d inputs 1"]:
        """A batch of inputs as a column block."""
        return require_batch(x, self.dtype, self.device).flatten(1).mT[None, ..., None]

    def expect(self, queries: int) -> None:
        """Nothing: a module has weights."""

    def traces(self, x: Tensor) -> Iterator[ModuleTrace]:
        """The module at a batch of inputs."""
        points = self.inputs(x)
        with torch.no_grad():
            yield ModuleTrace(self, points, self.run(points))

    @lasting
    def run(self, points: Float[Tensor, "1 d inputs columns"]) -> Float[Tensor, "1 K inputs columns"]:
        """The outputs at the columns of a block."""
        batch = points[0].permute(1, 2, 0)
        return _run(self.module, batch.reshape(-1, *self.shape)).unflatten(0, batch.shape[:2]).permute(2, 0, 1)[None]


@dataclass(frozen=True)
class Kept:
    """The size of the activations that a gradient keeps, in place of a tape."""

    nbytes: int

    @property
    def kept(self) -> tuple[Kept, ...]:
        return (self,)


@dataclass(frozen=True)
class ModuleTrace:
    """A module's ``output`` at ``points``; for a shifted trace, its change. The operations are those of
    :class:`advmf.simulate.networks.Trace`."""

    networks: ModuleNetwork
    points: Tensor
    output: Tensor

    lean: ClassVar[bool] = False

    @property
    def tape(self) -> Kept:
        return Kept(self.networks.kept * self.points.shape[2])

    @lasting
    def shift(self, eta: Float[Tensor, "1 d inputs columns"]) -> ModuleTrace:
        """The trace of f(x + eta) - f(x)."""
        points = (self.points + eta).detach().requires_grad_()
        with torch.enable_grad():
            change = self.networks.run(points) - self.output
        return ModuleTrace(self.networks, points, change)

    @lasting
    def pull(self, cotangents: Float[Tensor, "1 K inputs columns"]) -> Float[Tensor, "1 d inputs columns"]:
        """``J^T c`` at the points of a shifted trace."""
        (found,) = torch.autograd.grad(self.output, self.points, cotangents)
        return found

    @lasting
    def jacobian(self) -> Float[Tensor, "1 inputs K d"]:
        """The Jacobian at the points of a trace that is not shifted, by K pulls."""
        shifted = self.shift(torch.zeros_like(self.points))
        inputs = self.points.shape[2]
        rows = []
        for k in range(self.networks.K):
            seed = torch.zeros_like(shifted.output)
            seed[:, k] = 1
            (row,) = torch.autograd.grad(shifted.output, shifted.points, seed, retain_graph=True)
            rows.append(row[0, :, :, 0].mT)
        return torch.stack(rows, 1).reshape(1, inputs, self.networks.K, self.networks.d)


def require_module(module: object) -> tuple[torch.dtype, torch.device]:
    """The dtype and device of a module's floating-point numbers.

    Raises ArgumentError for anything that is no module of one dtype, float32 or float64, on one device. Also for
    parameters that have no values yet, and for parts in the mode of training that would be random. Raises DomainError
    for weights that are not finite.
    """
    if not isinstance(module, nn.Module):
        raise ArgumentError(f"An nn.Module is needed; got {module!r:.80}.")
    for name, part in module.named_modules():
        if part.training and isinstance(part, RANDOM):
            raise ArgumentError(
                f"{_named(name, part)} is in the mode of training, where outputs depend on chance or on the batch; call module.eval() first."
            )
    found = list(itertools.chain(module.named_parameters(), module.named_buffers()))
    for name, values in found:
        if nn.parameter.is_lazy(values):
            raise ArgumentError(f"{name} has no values yet (a lazy module): run the module once on an input.")
    numbers = [(name, values) for name, values in found if values.is_floating_point() or values.is_complex()]
    if not numbers:
        raise ArgumentError(f"{type(module).__name__} has no parameters, so its dtype and device are not known.")
    first, (dtype, device) = numbers[0][0], (numbers[0][1].dtype, numbers[0][1].device)
    for name, values in numbers:
        if values.dtype not in DTYPES:
            raise ArgumentError(f"{name} is of {values.dtype}; convert the module: module.float() or module.double().")
        if values.dtype != dtype:
            raise ArgumentError(
                f"{first} is of {dtype} and {name} of {values.dtype}; take one of them: module.float()."
            )
        if values.device != device:
            raise ArgumentError(
                f"{first} is on {device} and {name} on {values.device}; move the module to one of them."
            )
        if values.is_meta:
            raise ArgumentError(f"{name} is on the device meta and has no values; load them first.")
        if not bool(torch.isfinite(values).all()):
            raise DomainError(f"{name} holds NaN or infinite values.")
    return dtype, device


def require_batch(x: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A batch of inputs as a tensor of this dtype; raises ArgumentError and DomainError for anything else."""
    if isinstance(x, Tensor) and x.device != device:
        raise ArgumentError(f"The inputs are on {x.device} and the module on {device}; move one of them.")
    if isinstance(x, Tensor) and not (x.dtype == dtype or x.dtype in (*DTYPES, torch.uint8, torch.int64)):
        raise ArgumentError(f"The inputs are of {x.dtype} and the module of {dtype}; convert one of them.")
    found = tensor(x, "x", dtype=dtype, device=device)
    if found.ndim < 2 or not found.numel():
        raise ArgumentError(
            f"A module takes a batch of inputs, with an axis for the inputs first: x[None] for a single one; got shape {tuple(found.shape)}."
        )
    if not bool(torch.isfinite(found).all()):
        raise DomainError("The inputs hold NaN or infinite values; inputs must be finite.")
    return found.detach()


def _depends(output: Tensor, x: Tensor) -> bool:
    """Whether autograd follows an output to an input; raises ArgumentError where torch has no derivative."""
    try:
        return output.requires_grad and torch.autograd.grad(output.sum(), x, allow_unused=True)[0] is not None
    except (RuntimeError, NotImplementedError) as error:
        raise ArgumentError(f"torch cannot differentiate the module: {str(error).partition(chr(10))[0]}") from error


def _run(module: nn.Module, x: Tensor) -> Tensor:
    """The module at a batch; raises ArgumentError for whatever stops it."""
    try:
        output = module(x)
    except Exception as error:
        why = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise ArgumentError(f"{type(module).__name__} fails on inputs of shape {tuple(x.shape)}: {why}") from error
    if not isinstance(output, Tensor):
        raise ArgumentError(f"The module must give one tensor; it gives {type(output).__name__}.")
    return output


def _named(name: str, part: nn.Module) -> str:
    return f"{name} ({type(part).__name__})" if name else f"The module ({type(part).__name__})"
