"""Dense layers after an image, as layers on an image of one position.

A dense layer on a flattened image is a convolution whose taps meet all positions: the same matrix, in the same order.
After it, and after an average over all positions, the image has one position, and a dense layer is a convolution of one
tap. So a declared net on images holds them, and its head flattens one position.
"""

from __future__ import annotations

from dataclasses import replace

from advmf.errors import DeclarationError
from advmf.modules.items import Added, Averaged, Flat, Item, Masked, Path, Pointwise, Pooled, Weights
from advmf.nets import Sizes


def with_one_position(path: Path, sizes: Sizes) -> Path:
    """A path in which an image is flattened, or averaged, right before the last layer and nowhere else.

    ``sizes`` are those of the input; without them there is no image. Raises DeclarationError where other items than
    layers follow an image that is flattened, and for an image that is not as long as it is wide.
    """
    ends = [place for place, item in enumerate(path) if isinstance(item, Flat | Pooled)]
    if not sizes or not ends:
        return path
    end, before, rest = path[ends[0]], list(path[: ends[0]]), list(path[ends[0] + 1 :])
    while isinstance(end, Flat) and rest and isinstance(rest[0], Pointwise):
        before.append(rest.pop(0))  # it acts on each number, whatever their order
    if len(rest) < 2:
        return (*before, end, *rest)
    for item in before:
        sizes = item.windows.sizes(sizes, item.conv) if isinstance(item, Weights) else sizes
        sizes = tuple(size // item.size for size in sizes) if isinstance(item, Averaged) else sizes
    if len(set(sizes)) > 1:
        raise DeclarationError(
            f"{end.node}: several layers follow an image of {' x '.join(map(str, sizes))} positions; supported is the same size along all "
            "axes. One layer alone may follow any image."
        )
    first = rest[0]
    if isinstance(end, Pooled):
        before.append(Averaged(end.node, sizes[0]))
        if len(ends) > 1:  # what follows is on images already, up to the next end
            return (*before, *rest)
    elif isinstance(first, Weights):
        rest[0] = replace(first, axes=len(sizes), kernel=sizes[0], stride=sizes[0], padding="valid", flattened=True)
    else:
        raise DeclarationError(
            f"{first.node}: it follows an image that is flattened, all channels and positions together. A Linear layer comes first there."
        )
    *inner, last = (_on_images(item, len(sizes)) for item in rest)
    return (*before, *inner, Flat(end.node), rest[-1] if isinstance(rest[-1], Weights) else last)


def _on_images(item: Item, axes: int) -> Item:
    """An item on vectors as one on images of one position."""
    match item:
        case Weights():
            return replace(item, axes=axes)
        case Masked(mask=mask):
            return replace(item, mask=mask.reshape(-1, *[1] * axes))
        case Added(shortcut=shortcut, branch=branch):
            first, second = (tuple(_on_images(each, axes) for each in path) for path in (shortcut, branch))
            return replace(item, shortcut=first, branch=second)
    return item
