"""The law of a layer's weights, measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from advmf.modules.items import Weights

AGREE = 4.0
"""Variances of a law that differ by up to so many standard errors are taken for one: a false alarm in 16,000."""


@dataclass(frozen=True)
class Layer:
    """The measured weights of a layer: rows, ``fan_in`` columns, and moments with standard errors.

    ``variance`` is sigma_w², the mean square of the entries times fan_in, and ``bias_variance`` sigma_b², the mean
    square of the biases. Errors are those of independent entries of the measured kurtosis.
    """

    name: str
    node: str
    rows: int
    fan_in: int
    variance: float
    variance_error: float
    bias_variance: float
    bias_variance_error: float
    kurtosis: float
    kurtosis_error: float
    trained: bool
    kernel: int
    singular: Tensor
    """The singular values, divided by sqrt(rows), largest first."""

    @property
    def sigma_w(self) -> float:
        """The standard deviation of the entries, times sqrt(fan_in)."""
        return math.sqrt(self.variance)

    @property
    def sigma_b(self) -> float:
        """The standard deviation of the biases."""
        return math.sqrt(self.bias_variance)

    def agrees(self, variance: float) -> bool:
        """Whether the weights may have this variance."""
        return abs(self.variance - variance) <= AGREE * self.variance_error


def measured(item: Weights) -> Layer:
    """The measurements of a layer."""
    matrix = item.matrix.double().cpu()
    rows, columns = matrix.shape
    square, fourth = float((matrix**2).mean()), float((matrix**4).mean())
    kurtosis = fourth / square**2 if square else math.nan
    count = rows * columns
    bias = matrix.new_zeros(rows) if item.bias is None else item.bias.double().cpu()
    own = float((bias**2).mean())
    spread = float((bias**4).mean()) - own**2
    return Layer(
        name=item.name,
        node=item.node,
        rows=rows,
        fan_in=columns,
        variance=square * columns,
        variance_error=columns * square * math.sqrt(max(kurtosis - 1, 0.0) / count) if square else 0.0,
        bias_variance=own,
        bias_variance_error=math.sqrt(max(spread, 0.0) / rows),
        kurtosis=kurtosis,
        kurtosis_error=math.sqrt(24 / count),
        trained=item.trained,
        kernel=item.kernel,
        singular=torch.linalg.svdvals(matrix) / math.sqrt(rows),
    )


def pooled(layers: Sequence[Layer]) -> Layer:
    """The measurements of one layer in several initialisations, as one."""
    first, count = layers[0], len(layers)

    def mean(name: str) -> float:
        return sum(getattr(layer, name) for layer in layers) / count

    def error(name: str) -> float:
        return math.sqrt(sum(getattr(layer, name) ** 2 for layer in layers)) / count

    return replace(
        first,
        variance=mean("variance"),
        variance_error=error("variance_error"),
        bias_variance=mean("bias_variance"),
        bias_variance_error=error("bias_variance_error"),
        kurtosis=mean("kurtosis"),
        kurtosis_error=error("kurtosis_error"),
    )


def common(values: Sequence[float], errors: Sequence[float]) -> tuple[float, list[bool]]:
    """The median of several measurements, and which of them agree with it. Where all do, their weighted mean.

    >>> common([1.0, 1.02, 1.7, 0.99], [0.01, 0.01, 0.01, 0.01])
    (1.003..., [True, True, False, True])
    """
    middle, own = sorted(zip(values, errors))[len(values) // 2]
    near = [abs(value - middle) <= AGREE * math.hypot(error, own) for value, error in zip(values, errors)]
    kept = [(value, error) for value, error, fits in zip(values, errors, near) if fits]
    if any(error == 0 for _, error in kept):
        return middle, near
    weight = sum(1 / error**2 for _, error in kept)
    return sum(value / error**2 for value, error in kept) / weight, near
