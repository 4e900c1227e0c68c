"""Layers of independent Gaussian weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import sympy as sp

from advmf import symbols
from advmf.boundary import public
from advmf.errors import DeclarationError
from advmf.nets.algebra import Algebra, S
from advmf.nets.block import Block, number


class GaussianLayer(Block, ABC):
    """A layer ``x -> W x + b`` with entries of W from N(0, deviation²/N) and of b from N(0, bias_deviation²)."""

    trained: ClassVar[bool] = False
    """Whether training changes W."""

    @property
    @abstractmethod
    def deviation(self) -> sp.Expr:
        """The standard deviation of the weights, times sqrt(N)."""

    @property
    def bias_deviation(self) -> sp.Expr:
        """The standard deviation of the biases."""
        return sp.S.Zero

    @property
    def variance(self) -> sp.Expr:
        """The variance of the weights, times N."""
        return self.deviation**2

    @property
    def bias_variance(self) -> sp.Expr:
        """The variance of the biases."""
        return self.bias_deviation**2

    def apply(self, algebra: Algebra[S], state: S) -> S:
        return algebra.gaussian(self, state)


class TrainedLayer(GaussianLayer):
    """A trained layer, a dataclass that declares the deviations ``sigma_w`` and ``sigma_b``."""

    trained: ClassVar[bool] = True

    @property
    @abstractmethod
    def sigma_w(self) -> sp.Expr:
        """The standard deviation of the weights, times sqrt(N)."""

    @property
    @abstractmethod
    def sigma_b(self) -> sp.Expr:
        """The standard deviation of the biases."""

    def __post_init__(self) -> None:
        for name in ("sigma_w", "sigma_b"):
            expr = number(type(self).__name__, name, getattr(self, name))
            if expr.is_negative:
                raise DeclarationError(
                    f"{type(self).__name__}: {name} is a standard deviation and must be >= 0; got {expr}."
                )
            object.__setattr__(self, name, expr)

    @property
    def deviation(self) -> sp.Expr:
        return self.sigma_w

    @property
    def bias_deviation(self) -> sp.Expr:
        return self.sigma_b


@public
@dataclass(frozen=True)
class Dense(TrainedLayer):
    """A trained layer ``x -> W x + b``; ``W`` has entries N(0, sigma_w**2/N) and ``b`` has entries N(0, sigma_b**2).

    >>> import advmf as mf
    >>> mf.Dense()
    Dense(sigma_w=sigma_w, sigma_b=sigma_b)
    """

    sigma_w: sp.Expr = symbols.sigma_w
    sigma_b: sp.Expr = symbols.sigma_b


@dataclass(frozen=True)
class Mix(GaussianLayer):
    """An untrained Gaussian layer ``x -> V x`` with ``V`` of entries N(0, 1/N)."""

    @property
    def deviation(self) -> sp.Expr:
        return sp.S.One
