"""From the items of a module to a declared net and its point."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sympy as sp

from advmf.errors import DeclarationError
from advmf.modules.items import Added, Averaged, Flat, Item, Masked, Normed, Path, Pointwise, Pooled, Weights, walk
from advmf.modules.measure import Layer, common, measured
from advmf.modules.tidy import function
from advmf.nets import (
    AvgPool,
    Block,
    Conv,
    Coordinates,
    Dense,
    Dropout,
    Grid,
    LayerNorm,
    Mix,
    Net,
    ReLULike,
    Residual,
    RMSNorm,
    Serial,
    Stage,
    Stream,
)
from advmf.symbols import sigma_b, sigma_w

GAIN = sp.Symbol("gain", positive=True)
"""The deviation of the output layer's weights, where it is not 1/sqrt(N)."""


@dataclass(frozen=True)
class Step:
    """One of the blocks of a stream in a row, the node that it begins with, whether that is a layer, and the width
    after it."""

    block: Block
    node: str
    layer: bool
    width: int


@dataclass
class Declarer:
    """The blocks of items, with symbols for their layers' deviations, and the values of these."""

    layers: dict[int, Layer]
    untrained: set[int]
    images: bool
    at: dict[str, float] = field(default_factory=dict)
    symbols: dict[int, tuple[Any, Any]] = field(default_factory=dict)

    def choose(self, items: Sequence[Weights]) -> None:
        """Choose the symbols of the trained layers: one for those that agree, and one for each other layer."""
        own = [item for item in items if id(item) not in self.untrained]
        layers = [self.layers[id(item)] for item in own]
        if not own:
            return
        value, near = common([e.variance for e in layers], [e.variance_error for e in layers])
        self.at["sigma_w"] = value**0.5
        biased = [e for e in layers if e.bias_variance > 0]
        shift, fits = (
            common([e.bias_variance for e in biased], [e.bias_variance_error for e in biased]) if biased else (0.0, [])
        )
        self.at["sigma_b"] = shift**0.5
        agreeing = dict(zip([id(e) for e in biased], fits))
        for number, (item, layer, fit) in enumerate(zip(own, layers, near), 1):
            w, b = sigma_w, sigma_b
            if not fit:
                w = sp.Symbol(f"sigma_w_{number}", positive=True)
                self.at[str(w)] = layer.sigma_w
            if biased and not layer.bias_variance:
                b = sp.S.Zero
            elif not agreeing.get(id(layer), True):
                b = sp.Symbol(f"sigma_b_{number}", nonnegative=True)
                self.at[str(b)] = layer.sigma_b
            self.symbols[id(item)] = w, b
        used = {symbol for pair in self.symbols.values() for symbol in pair}
        for name, symbol in (("sigma_w", sigma_w), ("sigma_b", sigma_b)):
            if symbol not in used:
                del self.at[name]

    def block(self, item: Item) -> Block:
        """The block of an item. Raises DeclarationError, with the node, where there is none."""
        match item:
            case Weights():
                return self.layer(item)
            case Pointwise():
                return function(item)
            case Normed(centred=centred):
                return LayerNorm() if centred else RMSNorm()
            case Masked(rate=rate):
                return Dropout(rate)
            case Averaged(size=size):
                return AvgPool(size)
            case Added(shortcut=shortcut, branch=branch, scale=scale):
                before = in_turn([*map(self.block, shortcut)]) if shortcut else None
                return Residual(*map(self.block, branch), scale=scale, shortcut=before)
        raise DeclarationError(
            f"{item.node}: an image is flattened, or averaged over all positions, once, and not within a sum."
        )

    def layer(self, item: Weights) -> Block:
        if id(item) in self.untrained:
            return Mix()
        w, b = self.symbols[id(item)]
        if item.kernel == 1 and item.stride == 1:
            if self.images and not item.axes:
                raise DeclarationError(
                    f"{item.node}: a Linear on an image; use Conv2d with kernel 1, or flatten before the last layer."
                )
            return Dense(w, b)
        return Conv(item.kernel, item.padding, item.stride, w, b)


@dataclass(frozen=True)
class Parts:
    """A module's items as those before the head, the ``head`` of a network on images, and the last layer."""

    inner: Path
    last: Weights
    head: str | None


def parts_of(path: Path, image: tuple[int, ...] | None) -> Parts:
    """The parts of a module. Raises DeclarationError where it does not begin and end as a declared net does."""
    items = list(path)
    if not items or not isinstance(items[-1], Weights):
        end = items[-1].node if items else "the input"
        raise DeclarationError(
            f"The module must end with a Linear layer, and ends with {end}. Leave out a softmax or another function of the outputs."
        )
    last = items.pop()
    assert isinstance(last, Weights)
    head = None
    if image is not None:
        if not items or not isinstance(items[-1], Flat | Pooled):
            where = items[-1].node if items else last.node
            raise DeclarationError(
                f"{where}: a network on images ends with Flatten or an average over all positions, and then one Linear layer."
            )
        head = "flatten" if isinstance(items.pop(), Flat) else "pool"
    return Parts(tuple(items), last, head)


@dataclass(frozen=True)
class Declared:
    """The declared net, its point, the measured layers in order, notes, and whether the first layer is ``P_in``."""

    net: Net
    at: dict[str, float]
    layers: list[Layer]
    notes: list[str]
    inputs: bool


def net_of(
    parts: Parts,
    image: tuple[int, ...] | None,
    name: str,
    N: int | None,
    measure: Callable[[Weights], Layer] = measured,
) -> Declared:
    """The declaration of a module's parts, by the measurements of its layers."""
    weights = [item for item in walk((*parts.inner, parts.last)) if isinstance(item, Weights)]
    layers = {id(item): measure(item) for item in weights}
    notes = list[str]()
    if zero := [item.node for item in weights if not layers[id(item)].variance]:
        raise DeclarationError(f"{zero[0]}: all its weights are zero, so no law describes them.")
    frozen = {id(item) for item in weights if not item.trained}
    plain = {
        id(item)
        for item in weights[:-1]
        if item.kernel == item.stride == 1 and not layers[id(item)].bias_variance and layers[id(item)].agrees(1.0)
    }
    untrained = plain & frozen if len(frozen) < len(weights) else set[int]()
    inner = parts.inner
    if inner and id(inner[0]) in untrained and len(inner) > 1:
        inner = inner[1:]
    elif inner and isinstance(inner[0], Weights):
        notes.append(
            f"{inner[0].node} is declared as a layer after P_in: its outputs have the same law as N -> oo, since P_in keeps the angles of inputs."
        )
    declarer = Declarer(layers, untrained, image is not None)
    declarer.choose([item for item in walk(inner) if isinstance(item, Weights)])
    steps, width = (
        list[Step](),
        layers[id(parts.inner[0])].rows if parts.inner and isinstance(parts.inner[0], Weights) else 0,
    )
    for item in inner:
        width = _width((item,), layers, width)
        block = declarer.block(item)
        follows = steps and not isinstance(item, Weights | Added) and steps[-1].layer and isinstance(inner[0], Weights)
        if follows:  # a layer takes what follows it into its block
            steps[-1] = replace(steps[-1], block=Serial(*_parts(steps[-1].block), block))
        else:
            steps.append(Step(block, item.node, isinstance(item, Weights), width))
    _require_carried(steps)
    if not steps:
        raise DeclarationError(
            "The module has one or two linear layers and nothing between them; a declared net has blocks."
        )
    notes += [
        f"{item.node} acts on a flattened image. It is declared as a convolution whose taps meet all positions, which is the same map."
        for item in walk(inner)
        if isinstance(item, Weights) and item.flattened and item.kernel > 1
    ]
    notes += [
        f"{item.node}: the widths within its branch are left out: they do not change the law as N -> oo."
        for item in walk(inner)
        if isinstance(item, Added) and len({layers[id(e)].rows for e in walk((item,)) if isinstance(e, Weights)}) > 1
    ]
    base = N or _base([step.width for step in steps])
    stages, at = _stages(steps, base), declarer.at
    out = layers[id(parts.last)]
    if not out.agrees(1.0):
        stages.append(Stage(ReLULike(GAIN, GAIN), 1, stages[-1].width))
        at["gain"] = out.sigma_w
    if out.bias_variance:
        notes.append(f"The biases of {parts.last.node} are left out: they do not change differences of outputs.")
    sizes = image[1:] if image else ()
    if len(stages) == 1 and stages[0].width == 1 and (not sizes or stages[0].block.apply(Grid(), sizes) == sizes):
        at["L"] = int(stages[0].repeat)
        stages = [Stage(stages[0].block)]
    net = Net(*stages, name=name, image=image, head=parts.head)
    found = [layers[id(item)] for item in weights]
    return Declared(net, {"N": base, "K": out.rows, **at}, found, notes, len(inner) < len(parts.inner))


def _require_carried(steps: Sequence[Step]) -> None:
    """Raise DeclarationError, with the node, for a block whose moments the theory cannot carry."""
    stream = Stream()
    for step in steps:
        try:
            stream = step.block.apply(Coordinates(), stream)
        except DeclarationError as error:
            raise DeclarationError(f"{step.node}: {error}") from None


def _width(path: Path, layers: dict[int, Layer], before: int) -> int:
    """The width after a path; both paths of a sum have the same."""
    for item in path:
        if isinstance(item, Weights):
            before = layers[id(item)].rows
        elif isinstance(item, Added):
            before = _width(item.branch, layers, before)
    return before


def _base(widths: Sequence[int]) -> int:
    """The width that counts as N: the most common one; of several, the middle one."""
    return statistics.median_low(sorted(set(statistics.multimode(widths))))


def _stages(steps: Sequence[Step], base: int) -> list[Stage]:
    """Blocks in a row as stages: adjacent blocks of one width, with repetitions found."""
    stages = list[Stage]()
    start = 0
    for end in range(1, len(steps) + 1):
        if end == len(steps) or steps[end].width != steps[start].width:
            width = sp.Rational(steps[start].width, base)
            for block, count in repetitions([step.block for step in steps[start:end]]):
                stages.append(Stage(block, count, width))
            start = end
    return stages


def _parts(block: Block) -> tuple[Block, ...]:
    return block.blocks if isinstance(block, Serial) else (block,)


def in_turn(blocks: Sequence[Block]) -> Block:
    """Blocks one after the other; a single one as it is."""
    return blocks[0] if len(blocks) == 1 else Serial(*(part for block in blocks for part in _parts(block)))


def repetitions(blocks: Sequence[Block]) -> list[tuple[Block, int]]:
    """A row of blocks as repeated ones.

    >>> import advmf as mf
    >>> dense, relu = mf.Dense(), mf.ReLULike(1, 0)
    >>> [(len(block.parts), count) for block, count in repetitions([dense, relu] * 3 + [dense])]
    [(2, 3), (2, 1)]
    """
    found, at, single = list[tuple[Block, int]](), 0, list[Block]()

    def close() -> None:
        if single:
            found.append((in_turn(single), 1))
            single.clear()

    while at < len(blocks):
        covered, size = max(
            ((_repeats(blocks, at, size) * size, -size) for size in range(1, (len(blocks) - at) // 2 + 1)),
            default=(0, -1),
        )
        if covered > -size:
            close()
            found.append((in_turn(blocks[at : at - size]), covered // -size))
            at += covered
        else:
            single.append(blocks[at])
            at += 1
    close()
    return found


def _repeats(blocks: Sequence[Block], at: int, size: int) -> int:
    """How often the next ``size`` blocks follow one another, if more than once."""
    count = 1
    while list(blocks[at + count * size : at + (count + 1) * size]) == list(blocks[at : at + size]):
        count += 1
    return count if count > 1 else 0
