"""Layers and norms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from advmf.modules.graph import where
from advmf.modules.items import (
    Moved,
    Normed,
    Padded,
    Path,
    Values,
    Weights,
)
from advmf.modules.operations.sums import affine
from advmf.modules.operations.table import refuse, rule
from advmf.nets import Conv


@rule("linear")
def _linear(node: Any, x: Path, weight: Any, bias: Any = None) -> Path:
    weight, bias = _parameters(node, weight, bias)
    return (*x, _weights(node, weight, bias, weight.tensor))


@rule("conv1d", "conv2d")
def _convolve(
    node: Any,
    x: Path,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Path:
    weight, bias = _parameters(node, weight, bias)
    axes = weight.tensor.ndim - 2
    kernels = set(weight.tensor.shape[2:])
    steps, gaps, pads = (
        set(value) if isinstance(value, list | tuple) else {value} for value in (stride, dilation, padding)
    )
    kernel, circular, before = max(kernels), False, 0
    if x and isinstance(x[-1], Padded):
        *rest, padded = x
        x, before, circular = tuple(rest), padded.width, padded.padding == "circular"  # type: ignore[attr-defined]
    if pads <= {"same", "valid"}:
        pads = {(kernel - 1) / 2 if "same" in pads else 0}
    pads = {size + before for size in pads}
    around = min(pads)
    whole = around == kernel // 2 and kernel % 2 == 1 if circular else around < kernel and around == int(around)
    if not (len(kernels) == len(steps) == len(pads) == 1 and whole and gaps == {1} and groups == 1):
        raise refuse(
            node,
            f"a convolution with kernel {sorted(kernels)}, stride {sorted(steps)}, padding {sorted(pads)}, dilation {sorted(gaps)} and groups "
            f"{groups}. Supported are kernels that are the same along all axes, with less zeros than taps at each side, or circular with the padding "
            "kernel//2 of an odd kernel; dilation 1 and groups 1.",
        )
    matrix = weight.tensor.flatten(1)
    found = _weights(node, weight, bias, matrix)
    how = Conv(kernel, "circular" if circular else int(around), int(max(steps)))
    return (*x, replace(found, axes=axes, kernel=kernel, stride=how.stride, padding=how.padding))


def _parameters(node: Any, weight: Any, bias: Any) -> tuple[Values, Values | None]:
    for each in (weight, bias):
        if isinstance(each, tuple):
            raise refuse(node, "its weights are computed; only parameters have a law (remove parametrisations first).")
    return weight, bias


def _weights(node: Any, weight: Values, bias: Values | None, matrix: Tensor) -> Weights:
    return Weights(where(node), weight.name, matrix, None if bias is None else bias.tensor, weight.trained)


@rule("pad")
def _pad(node: Any, x: Path, widths: Any, mode: str = "constant", value: Any = None) -> Path:
    axes = len(node.meta["val"].shape) - 2
    if (
        len(set(widths)) != 1
        or len(widths) != 2 * axes
        or mode not in ("circular", "constant")
        or value not in (None, 0)
    ):
        raise refuse(
            node, f"padding {list(widths)} in mode {mode!r}; supported are zeros and circular, the same at all sides."
        )
    return (*x, Padded(where(node), int(widths[0]), "circular" if mode == "circular" else "zero"))


@rule("batch_norm")
def _batch_norm(
    node: Any,
    x: Path,
    weight: Any,
    bias: Any,
    mean: Any,
    var: Any,
    training: bool,
    momentum: Any,
    eps: float,
    *rest: Any,
) -> Path:
    if training or mean is None or var is None:
        raise refuse(
            node,
            "a batch norm that uses the batch's own statistics; call module.eval() first, with running statistics.",
        )
    factor = (var.tensor + eps).rsqrt() * (1 if weight is None else weight.tensor)
    return affine(node, x, factor, -mean.tensor * factor + (0 if bias is None else bias.tensor))


@rule("layer_norm")
def _layer_norm(node: Any, x: Path, shape: Any, weight: Any = None, bias: Any = None, *rest: Any) -> Path:
    return _norm(node, x, shape, weight, bias, True)


@rule("rms_norm")
def _rms_norm(node: Any, x: Path, shape: Any, weight: Any = None, *rest: Any) -> Path:
    return _norm(node, x, shape, weight, None, False)


def _norm(node: Any, x: Path, shape: Any, weight: Any, bias: Any, centred: bool) -> Path:
    sizes = node.meta["val"].shape
    if len(shape) != 1 or not (len(sizes) == 2 or (x and isinstance(x[-1], Moved))):
        raise refuse(
            node,
            f"a norm over the axes of sizes {list(shape)}; a declared norm is over the channels, at each position.",
        )
    after = (*x, Normed(where(node), centred))
    return affine(node, after, *(None if each is None else each.tensor for each in (weight, bias)))


@rule("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")
def _dropout(node: Any, x: Path, rate: float = 0.5, training: bool = False) -> Path:
    if training and rate:
        raise refuse(node, "dropout in the mode of training; call module.eval() first.")
    return x
