"""The declared law of a module, layer by layer, and networks drawn from it in the module's own shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sympy as sp
import torch
from torch import Tensor

from advmf.errors import ArgumentError, DeclarationError
from advmf.expressions import expression
from advmf.modules.follow import Functions, PathModule, drawn
from advmf.modules.items import Added, Path, Pointwise, Weights, walk
from advmf.modules.read import Read
from advmf.nets import GaussianLayer, Net, Residual
from advmf.nets import Pointwise as Function
from advmf.nets.readings import Leaves
from advmf.symbols import z as _Z


@dataclass(frozen=True)
class Declared:
    """A net, its point, and the law of each layer of a module: the variances of weights and biases by node, and the
    activations by the identity of their items in ``path``."""

    net: Net
    at: Mapping[str, float]
    law: Mapping[str, tuple[float, float]]
    functions: Functions
    entries: Mapping[str, Tensor]
    """The weights of each layer about their mean, in units of their deviation, in any order. Those of networks of the
    law are drawn from them, because at a finite width the spectrum depends on their distribution."""
    path: Path
    flat: bool
    given: bool
    """Whether the law was given, and not measured."""
    open: frozenset[str]
    """The nodes of layers whose variance is measured by themselves: the last one."""
    notes: tuple[str, ...]

    def functions_of(self, path: Path) -> Functions:
        """The activations for another path of the same items."""
        own = [item for item in walk(path) if isinstance(item, Pointwise)]
        return {id(b): self.functions[id(a)] for a, b in zip(_pointwise(self.path), own)}

    def draw(self, generator: torch.Generator) -> tuple[PathModule, Path, Functions]:
        """A network of the law, with the module's own widths."""

        def fresh(item: Weights) -> tuple[Tensor, Tensor | None]:
            variance, shift = self.law[item.node]
            rows, columns = item.matrix.shape
            own = self.entries[item.node]
            chosen = own[torch.randint(len(own), (rows, columns), generator=generator, dtype=torch.int64, device="cpu")]
            matrix = (chosen * (variance / columns) ** 0.5).to(item.matrix)
            biases = torch.randn(rows, generator=generator, dtype=own.dtype, device="cpu") * shift**0.5
            return matrix, biases.to(item.matrix) if shift else None

        path, functions = drawn(self.path, self.functions, fresh)
        return PathModule(path, functions, self.flat), path, functions


def declared_law(
    read: Read, flat: bool, given: tuple[Net, Mapping[str, float]] | None, entries: Mapping[str, Tensor]
) -> Declared:
    """The law that a module is compared with: the given one, or one variance for the weights of all layers, with the
    biases' and the last layer's as measured. Raises DeclarationError where a given net has other layers."""
    net, at = _common(read) if given is None else (given[0], _sized(given[1], read))
    blocks = [
        leaf
        for stage in net.stages
        for _ in range(_copies(stage.repeat, at))
        for leaf in stage.block.apply(Leaves(), ())
    ]
    gain = 1.0
    if blocks and blocks[-1] == net.stages[-1].block and isinstance(blocks[-1], Function) and blocks[-1].linear:
        gain = _number(blocks.pop().phi(sp.S.One), at)  # type: ignore[attr-defined]
    items = walk(read.path)
    weights = [item for item in items if isinstance(item, Weights)]
    layers = [leaf for leaf in blocks if isinstance(leaf, GaussianLayer)]
    _require("layers with weights", len(weights) - 1 - read.inputs, len(layers))
    _require("sums", sum(isinstance(item, Added) for item in items), sum(isinstance(leaf, Residual) for leaf in blocks))
    variances = [(1.0, 0.0)] * read.inputs
    variances += [(_number(leaf.variance, at), _number(leaf.bias_variance, at)) for leaf in layers]
    biases = {layer.node: layer.bias_variance for layer in read.layers}
    last = read.layers[-1]
    law = {item.node: own for item, own in zip(weights, [*variances, (gain**2, last.bias_variance)])}
    own, activations = _pointwise(read.path), [leaf for leaf in blocks if isinstance(leaf, Function)]
    _require("activations", len(own), len(activations))
    if given is None:
        law = {node: (variance, biases[node]) for node, (variance, _) in law.items()}
    functions = {id(item): _valued(leaf, at) for item, leaf in zip(own, activations)}
    ends = frozenset((weights[-1].node,))
    return Declared(net, at, law, functions, entries, read.path, flat, given is not None, ends, read.notes)


def _sized(at: Mapping[str, float], read: Read) -> Mapping[str, float]:
    """The point, with the module's own d and K."""
    own = {name: read.at[name] for name in ("d", "K")}
    for name, size in own.items():
        if name in at and at[name] != size:
            raise ArgumentError(
                f"The declared point has {name} = {at[name]:g}, and the module {name} = {size:g}; leave {name} out."
            )
    return {**own, **at}


def _pointwise(path: Path) -> list[Pointwise]:
    return [item for item in walk(path) if isinstance(item, Pointwise)]


def _common(read: Read) -> tuple[Net, Mapping[str, float]]:
    """The net as it was read, with the common variance in place of those of layers that depart."""
    return read.net, {
        name: read.at["sigma_w"] if name.startswith("sigma_w_") and "sigma_w" in read.at else value
        for name, value in read.at.items()
    }


def _require(what: str, found: int, declared: int) -> None:
    if found != declared:
        raise DeclarationError(
            f"The module has {found} {what} between its ends, and the declared net {declared}; declare a net of the module's shape, as "
            "from_torch(module, x) does."
        )


def _copies(repeat: sp.Expr, at: Mapping[str, float]) -> int:
    return round(_number(repeat, at))


def _number(expr: Any, at: Mapping[str, float]) -> float:
    number = expression(expr)
    if missing := sorted(s.name for s in number.free_symbols if s.name not in at):
        raise ArgumentError(f"The point of the declared net has no {', '.join(missing)}; give it in at.")
    return float(number.subs({s: at[s.name] for s in number.free_symbols}))


def _valued(leaf: Function, at: Mapping[str, float]) -> Function:
    """An activation with numbers for its symbols."""
    return leaf.of(*(part if not part.free_symbols - {_Z} else sp.Float(_number(part, at)) for part in leaf.parts))  # type: ignore[return-value]
