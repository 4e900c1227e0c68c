"""The network: stages of copies of a block, between two random layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import sympy as sp

from advmf.boundary import public
from advmf.errors import DeclarationError
from advmf.nets.activations.activation import Pointwise
from advmf.nets.block import Block, Serial, number, require_block
from advmf.nets.conv import Conv
from advmf.nets.gaussian import GaussianLayer
from advmf.nets.pooling import AvgPool
from advmf.nets.readings import Coordinates, Grid, Leaves, Rebuilt, Stream, Widths
from advmf.nets.windows import Sizes
from advmf.notebook import Shown
from advmf.symbols import L, z

HEADS = ("flatten", "pool")
"""How a network on images ends: with an output layer on all positions, or on their average."""


@public
@dataclass(frozen=True)
class Stage:
    """``repeat`` copies of ``block``, one after the other, on a stream of ``width`` times ``N`` coordinates.

    ``repeat`` is a whole number or an expression, ``L`` unless given; ``width`` a positive fraction. The first Gaussian
    layer of the first copy maps from the width of the stage before; every other layer keeps the stage's own.

    Raises DeclarationError for a ``block`` that is none, a number of copies that is not whole or below one, and a width
    that is no positive fraction.

    >>> import advmf as mf
    >>> block = mf.Serial(mf.Dense(), mf.ReLULike(1, 0))
    >>> mf.moments(mf.Net(mf.Stage(block, repeat=2, width=2), mf.Stage(block, repeat=1))).j
    sigma_w**6/8
    """

    block: Block
    repeat: sp.Expr = L
    width: sp.Rational = sp.S.One

    def __post_init__(self) -> None:
        require_block("Stage", self.block)
        repeat, width = (number("Stage", name, getattr(self, name)) for name in ("repeat", "width"))
        if repeat.is_integer is False or (repeat.is_number and not (repeat.is_Integer and repeat >= 1)):
            raise DeclarationError(f"Stage: repeat counts copies and must be a whole number >= 1, or L; got {repeat}.")
        if not (width.is_Rational and width > 0):
            raise DeclarationError(f"Stage: width is a multiple of N and must be a positive fraction; got {width}.")
        object.__setattr__(self, "repeat", repeat)
        object.__setattr__(self, "width", width)

    def __repr__(self) -> str:
        repeat = "" if self.repeat == L else f", repeat={self.repeat}"
        width = self.width if self.width.is_Integer else f"'{self.width}'"
        return f"Stage({self.block!r}{repeat}{'' if self.width == 1 else f', width={width}'})"


@dataclass(frozen=True)
class Run:
    """Adjacent ``copies`` of a block that map from the width ``before`` to the width ``after``, as multiples of N."""

    block: Block
    copies: sp.Expr
    before: sp.Rational
    after: sp.Rational


@public
@dataclass(frozen=True, init=False, repr=False)
class Net(Shown):
    """A random network: ``P_in``, ``L`` copies of a block, and ``P_out``; or stages, ``Net(Stage(…), Stage(…))``.

    ``Net(block)`` is ``Net(Stage(block))``, of width N and depth L; ``name`` appears in reports.

    With ``image``, the channels and then one or two sizes, inputs are images, with d = channels times positions. The
    stream has N channels at every position. ``P_in`` and all layers but :class:`Conv` act at each position, with the
    same weights; norms are taken over the channels. ``head`` "flatten" ends with a layer on all channels at all
    positions, of entries N(0, 1/(N positions)); "pool" first averages over positions.

    Raises DeclarationError if the theory cannot carry a block's moments through its repetitions, for a block that
    cannot map from the width of the stage before to its own, and for another ``head``. Also for an ``image`` that is
    none or that a convolution cannot take, and for a convolution or an average without one.

    >>> import advmf as mf
    >>> mf.Net(mf.Residual(mf.Dense(), mf.ReLULike(), mf.Mix())) == mf.residual()
    True
    >>> block = mf.vanilla(u=1, v=0).block
    >>> mf.Net(mf.Stage(block, repeat=3, width=2), mf.Stage(block, repeat=3)).depth
    6
    """

    stages: tuple[Stage, ...]
    name: str = field(default="custom", compare=False)
    image: tuple[int, ...] | None = None
    head: str | None = None
    _exact: bool = field(init=False, repr=False, compare=False)

    def __init__(
        self,
        *blocks: Block | Stage,
        name: str = "custom",
        block: Block | None = None,
        stages: Sequence[Stage] = (),
        image: Sequence[int] | None = None,
        head: str | None = None,
    ) -> None:
        given = (*blocks, *(() if block is None else (block,)), *stages)
        for each in given:
            if not isinstance(each, Stage):
                require_block("Net", each)
        if len(given) != 1 and not (given and all(isinstance(each, Stage) for each in given)):
            raise DeclarationError(
                f"Net takes one block or several stages; got {len(given)} of them. Put blocks that follow one another into a "
                "Serial(…), or each into a Stage(block, repeat=…, width=…)."
            )
        object.__setattr__(self, "stages", tuple(e if isinstance(e, Stage) else Stage(e) for e in given))
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "image", None if image is None else _image(image))
        object.__setattr__(self, "head", _head(head, image))
        object.__setattr__(self, "_exact", self._check())

    def __repr__(self) -> str:
        parts = [f"block={self.block!r}"] if self.repeated else map(repr, self.stages)
        head = "" if self.head in (None, HEADS[0]) else f", head={self.head!r}"
        image = "" if self.image is None else f", image={self.image}{head}"
        return f"Net({', '.join(parts)}{image}, name={self.name!r})"

    def _check(self) -> bool:
        stream, width = Stream(), self.stages[0].width
        for i, stage in enumerate(self.stages):
            try:
                if stage.width != width:
                    width = stage.block.apply(Widths(stage.width), width)
                    _require_width(stage, width)
                stream = stage.block.apply(Coordinates(), stream)
            except DeclarationError as error:
                raise DeclarationError(f"Stage {i + 1}: {error}" if i else str(error)) from None
            if stage.repeat == 1:
                continue
            try:
                # A second pass reaches the fixed point: every property except freshness can be lost but not regained.
                stream = stage.block.apply(Coordinates(), stream)
            except DeclarationError as error:
                raise DeclarationError(f"The block cannot be repeated: on its second use, {error}") from None
        self._check_image()
        return stream.exact

    def _check_image(self) -> None:
        """Raise DeclarationError where the blocks cannot take the image, or hold a convolution without one."""
        convolutions = [leaf for leaf in self.leaves if isinstance(leaf, Conv | AvgPool)]
        if self.image is None and convolutions:
            raise DeclarationError(
                f"{convolutions[0]!r} acts on images: give the net the channels and sizes of its inputs, Net(…, image=(1, 28, 28))."
            )
        _ = self.sizes

    @property
    def sizes(self) -> Sizes:
        """The sizes of the image after all blocks; none of a net without images. Raises DeclarationError where a block
        cannot take its image, or changes its sizes in an unknown number of copies."""
        sizes = (self.image or (1,))[1:]
        for stage in self.stages if sizes else ():
            after = stage.block.apply(Grid(), sizes)
            if after != sizes and not stage.repeat.is_Integer:
                raise DeclarationError(
                    f"{stage.block!r} changes the sizes of its image from {sizes} to {after}, so the number of its copies must be "
                    f"known: put it into a stage of its own, Stage(…, repeat=1); got repeat={stage.repeat}."
                )
            for _ in range(int(stage.repeat)) if after != sizes else ():
                sizes = stage.block.apply(Grid(), sizes)
        return sizes

    @property
    def inputs(self) -> int | None:
        """The number d of inputs, where the net declares it: channels times positions of its images."""
        return None if self.image is None else prod(self.image)

    @property
    def averages(self) -> bool:
        """Whether it averages positions of images: by an AvgPool, or by the head "pool"."""
        return self.head == "pool" or any(isinstance(leaf, AvgPool) for leaf in self.leaves)

    @property
    def repeated(self) -> bool:
        """Whether the net is one block, repeated L times at the width N."""
        return self.stages == (Stage(self.stages[0].block),)

    @property
    def block(self) -> Block:
        """The block of a net that repeats one; raises DeclarationError for a net of stages."""
        require_repeated(self)
        return self.stages[0].block

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks of the stages, each once."""
        return tuple(dict.fromkeys(stage.block for stage in self.stages))

    @property
    def runs(self) -> tuple[Run, ...]:
        """The stages as runs; where a stage changes the width, its first copy is a run by itself.

        >>> import advmf as mf
        >>> [(run.copies, run.before, run.after) for run in mf.pyramid(widths=(2, 1), repeat=3).runs]
        [(3, 2, 2), (1, 2, 1), (2, 1, 1)]
        """
        found, width = [], self.stages[0].width
        for stage in self.stages:
            change = sp.Integer(stage.width != width)
            found += [Run(stage.block, change, width, stage.width)] if change else []
            width = stage.width
            found += [Run(stage.block, stage.repeat - change, width, width)] if stage.repeat != change else []
        return tuple(found)

    @property
    def depth(self) -> sp.Expr:
        """The number of blocks."""
        return sp.Add(*(stage.repeat for stage in self.stages))

    @property
    def exact(self) -> bool:
        """Whether the mean of squares propagates exactly at every finite width, not only as N -> oo."""
        return bool(self._exact)

    @property
    def leaves(self) -> tuple[Block, ...]:
        """The primitives of one copy of each stage's block, in the order in which they act; a sum stands before the
        primitives of its paths."""
        return tuple(leaf for stage in self.stages for leaf in stage.block.apply(Leaves(), ()))

    @property
    def trained(self) -> tuple[GaussianLayer, ...]:
        """The layers whose weights training changes."""
        return tuple(leaf for leaf in self.leaves if isinstance(leaf, GaussianLayer) and leaf.trained)

    @property
    def activations(self) -> tuple[Pointwise, ...]:
        """The activations."""
        return tuple(leaf for leaf in self.leaves if isinstance(leaf, Pointwise))

    @property
    def parameters(self) -> Iterator[tuple[str, sp.Expr]]:
        """Every number or expression that the net declares, with its name; for a function of z, the other symbols in
        it.

        >>> import advmf as mf
        >>> list(mf.residual(1, 0).parameters)
        [('scale', 1), ('sigma_w', sigma_w), ('sigma_b', sigma_b), ('u', 1), ('v', 0)]
        """
        if not self.repeated:
            yield from (("repeat", stage.repeat) for stage in self.stages)
        for leaf in self.leaves:
            for name, value in vars(leaf).items():
                if isinstance(value, sp.Expr) and value.has(z):
                    yield from ((s.name, s) for s in sorted(value.free_symbols - {z}, key=str))
                elif isinstance(value, sp.Expr):
                    yield name, value


def require_repeated(net: Net) -> None:
    """Raise DeclarationError for a net that is not one block, repeated L times at the width N."""
    if not net.repeated:
        raise DeclarationError(
            f"{net!r} is made of stages, and what is asked for is about one block that is repeated L times at the width N. "
            "Ask for it of Net(stage.block), for each of its .stages."
        )


def require_vectors(net: Net, what: str) -> None:
    """Raise DeclarationError for a net on images, for which ``what`` is not known."""
    if net.image is not None:
        raise DeclarationError(f"{what} is not known of networks on images; {net.name} has image={net.image}.")


def _image(given: object) -> tuple[int, ...]:
    """The channels and sizes of an image; DeclarationError for anything else."""
    found: tuple[Any, ...] = tuple(given) if isinstance(given, Iterable) else ()
    whole = all(isinstance(n, int | sp.Integer) and not isinstance(n, bool) and n >= 1 for n in found)
    if isinstance(given, str) or len(found) not in (2, 3) or not whole:
        raise DeclarationError(
            f"image has the channels of an input and then one or two sizes, as in image=(1, 28, 28); got {given!r:.80}."
        )
    return tuple(map(int, found))


def _head(given: object, image: object) -> str | None:
    """The head of a net on images, by default the first one; DeclarationError for anything else."""
    if image is None:
        if given is not None:
            raise DeclarationError(f"head says how a net on images ends; give image too. Got head={given!r}.")
        return None
    if given is not None and given not in HEADS:
        raise DeclarationError(f"head is one of {', '.join(HEADS)}; got {given!r:.80}.")
    return HEADS[0] if given is None else str(given)


def rebuilt(net: Net, reading: Rebuilt) -> Net:
    """The net with each block replaced by the block that ``reading`` makes of it."""
    stages = (replace(stage, block=Serial(*stage.block.apply(reading, ()))) for stage in net.stages)
    return Net(*stages, name=net.name, image=net.image, head=net.head)


def _require_width(stage: Stage, width: sp.Expr) -> None:
    """Raise DeclarationError for a block whose output width is not that of its stage."""
    if width != stage.width:
        raise DeclarationError(
            f"{stage.block!r} holds no Gaussian layer that maps from the width {width} N to {stage.width} N. Put a Mix() or a Dense() into it."
        )
