"""Following the items of a module: their values at inputs, with the points between steps."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advmf.modules.items import Added, Averaged, Flat, Item, Masked, Normed, Path, Pointwise, Pooled, Weights, walk
from advmf.modules.tidy import function
from advmf.nets import Pointwise as Function
from advmf.simulate.pointwise import Function as Tensors
from advmf.simulate.pointwise import Smooth
from advmf.symbols import z

CONVOLVE = (F.conv1d, F.conv2d)
AVERAGE = (F.avg_pool1d, F.avg_pool2d)


@dataclass(frozen=True)
class Step:
    """A layer or a sum with the items that follow it up to the next one, or up to an average over positions. It has the
    ``items``, the values ``before`` it (two for a sum, at the ends of its paths) and the value ``after`` it."""

    items: tuple[Item, ...]
    before: tuple[Tensor, ...]
    after: Tensor

    @property
    def name(self) -> str:
        """The node of its first item."""
        return self.items[0].node


Functions = Mapping[int, Function]
"""Activations in place of those of items, by the identity of the item."""


def follow(path: Path, x: Tensor, functions: Functions, seen: Callable[[Step], None] | None = None) -> Tensor:
    """The value of a path at inputs; ``seen`` is called with each step."""
    at = 0
    while at < len(path):
        group = [path[at]]
        at += 1
        while (
            at < len(path)
            and not isinstance(path[at], Weights | Added | Averaged | Flat | Pooled)
            and not isinstance(group[0], Averaged)
        ):
            group.append(path[at])
            at += 1
        first, before = group[0], (x,)
        if isinstance(first, Added):
            before = tuple(follow(own, x, functions, seen) for own in (first.shortcut, first.branch))
            x = before[0] + float(first.scale) * before[1]
        for item in group[isinstance(first, Added) :]:
            x = applied(item, x, functions)
        if seen is not None and not isinstance(first, Averaged | Flat | Pooled):
            seen(Step(tuple(group), before, x))
    return x


def within(step: Step, functions: Functions) -> Iterator[tuple[Item, Tensor]]:
    """The items of a step after its sum, each with the value before it."""
    x, items = step.before[0], step.items
    if isinstance(items[0], Added):
        x, items = x + float(items[0].scale) * step.before[1], items[1:]
    for item in items:
        yield item, x
        x = applied(item, x, functions)


def tensors(phi: Function) -> Tensors:
    """An activation on tensors."""
    return phi.tensors(float) or Smooth.of(phi.phi(z), float)


def applied(item: Item, x: Tensor, functions: Functions) -> Tensor:
    """The value after one item."""
    match item:
        case Weights():
            return linear(item, x, item.matrix, item.bias)
        case Pointwise():
            return tensors(functions.get(id(item)) or function(item)).value(x)
        case Normed(centred=centred):
            x = x - x.mean(1, keepdim=True) if centred else x
            return x / (x**2).mean(1, keepdim=True).sqrt()
        case Masked(mask=mask):
            return x * mask.to(x)
        case Averaged(size=size):
            return AVERAGE[x.ndim - 3](x, size)
        case Flat():
            return x.flatten(1)
        case Pooled():
            return x.flatten(2).mean(2)
    raise AssertionError(f"{item!r} stands in no tidy path")


def linear(item: Weights, x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    """The outputs of a layer with a matrix in place of its own."""
    if not item.axes:
        return F.linear(x, matrix, bias)
    windows = item.windows
    x = F.pad(x, [-windows.first] * 2 * item.axes, "circular" if windows.circular else "constant")
    return CONVOLVE[item.axes - 1](x, matrix.reshape(len(matrix), -1, *[item.kernel] * item.axes), bias, item.stride)


class PathModule(nn.Module):
    """A path as a module, with the weights of its layers as buffers."""

    def __init__(self, path: Path, functions: Functions, flat: bool) -> None:
        super().__init__()
        self.path, self.functions, self.flat = path, functions, flat
        for number, item in enumerate(walk(path)):
            if isinstance(item, Weights):
                self.register_buffer(f"weight_{number}", item.matrix)

    def forward(self, x: Tensor) -> Tensor:
        return follow(self.path, x.flatten(1) if self.flat else x, self.functions)


def drawn(
    path: Path, functions: Functions, draw: Callable[[Weights], tuple[Tensor, Tensor | None]]
) -> tuple[Path, dict[int, Function]]:
    """The path with other weights and biases, by ``draw``, and the functions by the items of the new path."""
    found, own = list[Item](), dict[int, Function]()
    for item in path:
        made: Any = item
        if isinstance(item, Weights):
            matrix, bias = draw(item)
            made = replace(item, matrix=matrix, bias=bias)
        elif isinstance(item, Added):
            (shortcut, a), (branch, b) = (drawn(each, functions, draw) for each in (item.shortcut, item.branch))
            made = replace(item, shortcut=shortcut, branch=branch)
            own |= a | b
        elif id(item) in functions:
            own[id(item)] = functions[id(item)]
        found.append(made)
    return tuple(found), own


def steps_along(path: Path, functions: Functions, x: Tensor, direction: Tensor) -> tuple[list[Step], list[Step]]:
    """The steps at inputs, and the derivatives of their values along a direction of the inputs."""
    names = list[Step]()

    def values(x: Tensor) -> tuple[Tensor, ...]:
        names.clear()
        follow(path, x, functions, names.append)
        return tuple(value for step in names for value in (*step.before, step.after))

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, at the first use
        both: Any = torch.func.jvp(values, (x,), (direction,))
    found, tangents = both
    at, kept = 0, (list[Step](), list[Step]())
    for step in list(names):
        count = len(step.before)
        for steps, values_of in zip(kept, (found, tangents)):
            steps.append(Step(step.items, tuple(values_of[at : at + count]), values_of[at + count]))
        at += count + 1
    return kept
