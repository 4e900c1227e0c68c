"""What changes shapes, or nothing."""

from __future__ import annotations

from typing import Any

import torch

from advmf.modules.graph import where
from advmf.modules.items import (
    Averaged,
    Flat,
    Moved,
    Normed,
    Path,
    Pooled,
)
from advmf.modules.operations.table import refuse, rule


@rule("flatten", "view", "reshape", "squeeze", "unflatten", "unsqueeze", "_unsafe_view")
def _reshape(node: Any, x: Path, *how: Any) -> Path:
    before, after = (tuple(each.meta["val"].shape) for each in (node.args[0], node))
    if before == after or (x and isinstance(x[-1], Pooled) and len(after) == 2):
        return x
    if after != (before[0], *[node.meta["val"][0].numel()]):
        raise refuse(
            node,
            f"it turns {before[1:]} into {after[1:]}; supported is to flatten an image with its channels. Positions in a row are for matrices "
            "over positions, as in an MLP-Mixer or in attention. All channels share such a matrix, so the network's kernel stays random as "
            "channels grow in number, and no law of this theory describes it.",
        )
    return (*x, Flat(where(node)))


@rule("alias", "clone", "contiguous", "detach", "lift_fresh_copy", "positive", "identity")
@rule("_assert_tensor_metadata")  # torch.export puts it before a change of dtype or device
def _same(node: Any, x: Path, *how: Any, **more: Any) -> Path:
    return x


@rule("to", "_to_copy")
def _cast(node: Any, x: Path, *how: Any, **more: Any) -> Path:
    before, after = (each.meta["val"].dtype for each in (node.args[0], node))
    if before != after and not (before == torch.bool and after.is_floating_point):
        raise refuse(
            node,
            f"it turns numbers of {before} into {after}; take one dtype, float32 or float64, for the whole module.",
        )
    return x


@rule("adaptive_avg_pool1d", "adaptive_avg_pool2d")
def _adaptive(node: Any, x: Path, size: Any) -> Path:
    if set(size) != {1}:
        raise refuse(
            node,
            f"an average over parts of the image (to {list(size)}); supported is the average over all positions, at the end.",
        )
    return (*x, Pooled(where(node)))


@rule("avg_pool1d", "avg_pool2d")
def _average(
    node: Any,
    x: Path,
    size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil: bool = False,
    include: bool = True,
    divisor: int | None = None,
) -> Path:
    before, after = (tuple(each.meta["val"].shape[2:]) for each in (node.args[0], node))
    padded = any(padding) if isinstance(padding, list | tuple) else bool(padding)
    plain = not padded and divisor is None
    if plain and set(after) == {1} and tuple(size) in (before, before[:1]):
        return (*x, Pooled(where(node)))
    widths = {*size, *(stride or size)}
    whole = all(total == parts * min(widths) for total, parts in zip(before, after))
    if not (plain and len(widths) == 1 and whole):
        raise refuse(
            node,
            f"an average over windows of {list(size)} positions with stride {list(stride or size)}, from {before} to {after}; supported are "
            "windows of the same size along all axes that share no position and cover the image, without padding.",
        )
    return (*x, Averaged(where(node), min(widths)))


@rule("mean")
def _mean(node: Any, x: Path, axes: Any = None, keep: bool = False, **how: Any) -> Path:
    count = len(node.args[0].meta["val"].shape)
    if axes is None or sorted(axis % count for axis in axes) != list(range(2, count)):
        raise refuse(node, "a mean; supported is that over all positions of an image, at the end.")
    return (*x, Pooled(where(node)))


@rule("movedim", "moveaxis")
def _move(node: Any, x: Path, source: Any, target: Any) -> Path:
    count = len(node.meta["val"].shape)
    return _moved(node, x, source % count, target % count)


@rule("permute")
def _permute(node: Any, x: Path, order: Any) -> Path:
    count = len(node.meta["val"].shape)
    own = [axis % count for axis in order]
    for pair in ((1, count - 1), (count - 1, 1)):
        expected = [axis for axis in range(count) if axis != pair[0]]
        expected.insert(pair[1], pair[0])
        if own == expected:
            return _moved(node, x, *pair)
    raise refuse(
        node, f"it orders the axes as {own}; inputs are channels first, and a norm may take the channels last and back."
    )


@rule("transpose")
def _transpose(node: Any, x: Path, a: int, b: int) -> Path:
    if len(node.meta["val"].shape) != 3:
        raise refuse(node, f"it exchanges the axes {a} and {b}; inputs are channels first.")
    return _moved(node, x, 1, 2)


def _moved(node: Any, x: Path, source: int, target: int) -> Path:
    """The channels taken last for a norm, and back; together that is the norm alone."""
    last = len(node.meta["val"].shape) - 1
    if (
        len(x) > 1
        and isinstance(x[-2], Moved)
        and isinstance(x[-1], Normed)
        and (source, target) in {(last, 1), (1, last)}
    ):
        return (*x[:-2], x[-1])
    if (source, target) != (1, last) or not x:
        raise refuse(
            node, "it moves the axes of an image; supported is to take the channels last for a norm, and back."
        )
    return (*x, Moved(where(node), source, target))
