"""The parts of written modules that torch lacks, and the module itself."""

from __future__ import annotations

from typing import Any

import sympy as sp
import torch
from torch import Tensor, nn

from advmf.nets import Erf, Gelu, Pointwise, ReLULike, Sine
from advmf.nets.activations.formula import NAMED, Activation
from advmf.simulate.pointwise import Function


class Sum(nn.Module):
    """``shortcut(x) + scale * branch(x)``."""

    def __init__(self, shortcut: nn.Module, branch: nn.Module, scale: float) -> None:
        super().__init__()
        self.shortcut, self.branch, self.scale = shortcut, branch, scale

    def forward(self, x: Tensor) -> Tensor:
        branch = self.branch(x)
        return self.shortcut(x) + (branch if self.scale == 1 else self.scale * branch)

    def extra_repr(self) -> str:
        return "" if self.scale == 1 else f"scale={self.scale:g}"


class Mask(nn.Module):
    """``m x``, with a fixed mask for coordinates, or for the channels of an image."""

    mask: Tensor

    def __init__(self, values: Tensor, axes: int) -> None:
        super().__init__()
        self.register_buffer("mask", values.reshape(-1, *[1] * axes))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.mask


class Channels(nn.Module):
    """A norm over the channels of an image, at each position."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.movedim(1, -1)).movedim(-1, 1)


class Slopes(nn.Module):
    """``u z`` for z >= 0, ``v z`` for z < 0."""

    def __init__(self, u: float, v: float) -> None:
        super().__init__()
        self.u, self.v = u, v

    def forward(self, z: Tensor) -> Tensor:
        return self.v * z + (self.u - self.v) * torch.relu(z)

    def extra_repr(self) -> str:
        return f"u={self.u:g}, v={self.v:g}"


class Elementwise(nn.Module):
    """A function of each coordinate."""

    def __init__(self, function: Any, name: str) -> None:
        super().__init__()
        self.function, self.name = function, name

    def forward(self, z: Tensor) -> Tensor:
        found: Tensor = self.function(z)
        return found

    def extra_repr(self) -> str:
        return self.name


TORCH: dict[Any, Any] = {
    Erf(): lambda: Elementwise(torch.erf, "erf"),
    Gelu(): nn.GELU,
    Sine(): lambda: Elementwise(torch.sin, "sin"),
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "hard_tanh": nn.Hardtanh,
}
"""Torch's modules for activations, by the activation or by its name."""


def activation(phi: Pointwise, function: Function, number: Any) -> nn.Module:
    """The module of an activation: torch's own where it has one. ``function`` is its simulation, ``number`` the value
    of an expression."""
    if isinstance(phi, ReLULike):
        u, v = number(phi.u), number(phi.v)
        if u == 1:
            return nn.ReLU() if v == 0 else nn.LeakyReLU(v)
        return Slopes(u, v)
    if phi in TORCH:
        return TORCH[phi]()
    for name, formula in NAMED.items():
        if name in TORCH and isinstance(phi, Activation) and isinstance(formula, sp.Expr) and phi.formula == formula:
            return TORCH[name]()
    return Elementwise(function.value, str(phi))
