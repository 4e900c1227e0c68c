"""Piecewise linear activations with two slopes, one on either side of zero."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sympy as sp

from advmf import symbols
from advmf.boundary import public
from advmf.errors import DeclarationError
from advmf.functions import ArcCosine, ArcCosineRest
from advmf.nets.activations.activation import Pointwise
from advmf.nets.block import number


@public
@dataclass(frozen=True)
class ReLULike(Pointwise):
    """The activation ``u*z`` for ``z >= 0`` and ``v*z`` for ``z < 0``: ReLU (1, 0), leaky ReLU (1, a), |z| (1, -1),
    linear (1, 1)."""

    u: sp.Expr = symbols.u
    v: sp.Expr = symbols.v

    def __post_init__(self) -> None:
        for name in ("u", "v"):
            object.__setattr__(self, name, number("ReLULike", name, getattr(self, name)))
        if self.u == 0 and self.v == 0:
            raise DeclarationError("ReLULike(0, 0) maps everything to zero; give at least one non-zero slope.")

    @property
    def linear(self) -> bool:
        """Whether both slopes are the same, so that the activation is linear."""
        return self.u == self.v

    @property
    def homogeneous(self) -> bool:
        return True

    @property
    def alpha(self) -> sp.Expr:
        """α = (u² + v²)/2, so that E φ(z)² = α E z² for symmetric z."""
        return (self.u**2 + self.v**2) / 2

    def phi(self, z: sp.Expr) -> sp.Expr:
        return sp.Piecewise((self.u * z, z >= 0), (self.v * z, True))

    def mean(self, Q: sp.Expr) -> sp.Expr:
        return (self.u - self.v) * sp.sqrt(Q / (2 * sp.pi))

    def second(self, Q: sp.Expr) -> sp.Expr:
        return self.alpha * Q

    def gain(self, Q: sp.Expr) -> sp.Expr:
        return self.alpha

    def tilt(self, Q: sp.Expr) -> sp.Expr:
        return self.mean(Q)

    def overlap(self, Q: sp.Expr) -> sp.Expr:
        return self.second(Q)

    def stretch(self, Q: sp.Expr) -> sp.Expr:
        return self.second(Q)

    def product(self, Q: sp.Expr, R: sp.Expr, P: sp.Expr) -> sp.Expr:
        """By φ(z) = v z + (u - v) ReLU(z), the arc-cosine kernel and E a ReLU(b) = P/2."""
        u, v, deviation = self.u, self.v, sp.sqrt(Q * R)
        return (u - v) ** 2 / 2 * deviation * ArcCosine(P / deviation) + u * v * P

    def close_product(self, Q: sp.Expr, R: sp.Expr, P: sp.Expr, D: sp.Expr, gap: sp.Expr) -> sp.Expr:
        u, v, deviation = self.u, self.v, sp.sqrt(Q * R)
        # 1 - c = (D - (sqrt Q - sqrt R)²)/(2 deviation); sqrt Q - sqrt R is computed from the gap Q - R.
        difference = gap / (sp.sqrt(Q) + sp.sqrt(R))
        rest = deviation * ArcCosineRest(D / (2 * deviation), difference**2 / (2 * deviation))
        return self.alpha * P + (u - v) ** 2 / 2 * rest

    def tensors(self, number: Callable[[sp.Expr], float]) -> Rectifier:
        return Rectifier(number(self.u), number(self.v))


@dataclass(frozen=True)
class Rectifier:
    """The activation on tensors, as ``v z + (u - v) max(z, 0)``."""

    u: float
    v: float

    def value(self, z: Any) -> Any:
        return self._combined(z, z.relu())

    def tangent(self, at: Any, t: Any) -> Any:
        """Computed in one pass over memory; a product with a boolean mask takes three times as long."""
        import torch

        return self._combined(t, torch.ops.aten.threshold_backward(t, at, 0))

    def prepared(self, z: Any) -> tuple[Any, Any]:
        return z.clamp(max=0), -z.clamp(min=0)

    def difference(self, prepared: tuple[Any, Any], delta: Any) -> tuple[Any, Any]:
        """max(z + δ, 0) - max(z, 0) = max(δ + min(z, 0), -max(z, 0)) holds without rounding errors of the size of z."""
        negative, floor = prepared
        rectified = delta.add(negative)
        rectified.clamp_(min=floor)
        return self._combined(delta, rectified), rectified

    def moved(self, prepared: tuple[Any, Any], kept: Any) -> Any:
        """Positive exactly where z + δ is positive, because the sign of a floating-point difference is exact."""
        return kept - prepared[1]

    def _combined(self, z: Any, rectified: Any) -> Any:
        if self.v == 0.0:
            return rectified if self.u == 1.0 else self.u * rectified
        return (self.v * z).add(rectified, alpha=self.u - self.v)
