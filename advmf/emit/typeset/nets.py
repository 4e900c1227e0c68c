"""A declared network as the formulas of its layers."""

from __future__ import annotations

from math import prod
from typing import TypeVar

import sympy as sp

from advmf.emit.typeset.lines import Line, Lines
from advmf.nets import AvgPool, Block, Conv, Dropout, GaussianLayer, Leaves, Net, Norm, Pointwise, Residual
from advmf.nets.algebra import Algebra
from advmf.symbols import N, d, z

T = TypeVar("T")


INPUTS = sp.Symbol("N_in", positive=True)
"""The number of columns of a matrix, in a net of several widths."""


class Layers(Algebra[tuple[str, bool]]):
    """The state is the text of a stream, and whether that text is a sum. Matrices and activations are named in order,
    with an index where there are several of a kind."""

    def __init__(self, net: Net, lines: Lines) -> None:
        self.lines = lines
        self._axes = len(net.image or ()) - 1
        self._inputs = N if all(stage.width == 1 for stage in net.stages) else INPUTS
        leaves = [leaf for block in net.blocks for leaf in block.apply(Leaves(), ())]
        letters = [self._letter(leaf) for leaf in leaves if isinstance(leaf, GaussianLayer | Dropout)]
        self._total = {letter: letters.count(letter) for letter in letters}
        self._seen = dict.fromkeys(letters, 0)
        self.laws: list[Line] = []
        self.activations: list[Pointwise] = []
        self.norms: list[Norm] = []
        self.windows: list[int] = []

    @staticmethod
    def _letter(layer: GaussianLayer | Dropout) -> str:
        return "m" if isinstance(layer, Dropout) else "W" if layer.trained else "V"

    def matrix(self, letter: str) -> tuple[str, str]:
        """The letter of a layer's matrix or of a mask, and its index."""
        self._seen[letter] += 1
        index = f"_{self._seen[letter]}" if self._total[letter] > 1 else ""
        return f"{letter}{index}^l", index.replace("_", ",")

    def gaussian(self, layer: GaussianLayer, state: tuple[str, bool]) -> tuple[str, bool]:
        return self._layer(layer, state, "ij", self._inputs, "")

    def convolution(self, layer: Conv, state: tuple[str, bool]) -> tuple[str, bool]:
        return self._layer(layer, state, "ijt", layer.taps(self._axes) * self._inputs, r"\ast ")

    def _layer(
        self, layer: GaussianLayer, state: tuple[str, bool], places: str, inputs: sp.Expr, product: str
    ) -> tuple[str, bool]:
        """A layer whose weights have the indices ``places``, and which meets so many inputs."""
        letter = self._letter(layer)
        matrix, index = self.matrix(letter)
        self.law(f"{letter}_{{{places}{index}}}^l", layer.variance / inputs)
        x, is_sum = state
        product = f"{matrix} {product}({x})" if is_sum else f"{matrix} {product}{x}"
        if layer.bias_deviation == 0:
            return product, False
        self.law(f"b_{{i{index}}}^l", layer.bias_variance)
        return f"{product} + {matrix.replace(letter, 'b')}", True

    def average(self, pool: AvgPool, state: tuple[str, bool]) -> tuple[str, bool]:
        if pool.size not in self.windows:
            self.windows.append(pool.size)
        return rf"{_averaged(pool.size)}({state[0]})", False

    def pointwise(self, activation: Pointwise, state: tuple[str, bool]) -> tuple[str, bool]:
        return f"{self.activation(activation)}({state[0]})", False

    def dropout(self, dropout: Dropout, state: tuple[str, bool]) -> tuple[str, bool]:
        letter = self._letter(dropout)
        mask, index = self.matrix(letter)
        kept, gain = (self.lines.text(e) for e in (1 - dropout.rate, dropout.gain))
        law = rf"{gain}\,\mathrm{{Bernoulli}}\left({kept}\right)"
        self.laws.append(Line(rf"{letter}_{{i{index}}}^l", r"\sim", law))
        x, is_sum = state
        return rf"{mask} \odot {f'({x})' if is_sum else x}", False

    def norm(self, norm: Norm, state: tuple[str, bool]) -> tuple[str, bool]:
        if norm not in self.norms:
            self.norms.append(norm)
        return f"{_named(norm)}({state[0]})", False

    def add(
        self, block: Residual, shortcut: tuple[str, bool], branch: tuple[str, bool], before: tuple[str, bool]
    ) -> tuple[str, bool]:
        text, is_sum = branch
        if block.scale != 1:
            text = rf"{self.lines.text(block.scale)}\,{f'({text})' if is_sum else text}"
        return f"{shortcut[0]} + {text}", True

    def law(self, left: str, variance: sp.Expr) -> None:
        self.laws.append(Line(left, r"\sim", variance, law=True))

    def activation(self, block: Pointwise) -> str:
        if block not in self.activations:
            self.activations.append(block)
        several = len(self.activations) > 1
        return rf"\phi_{self.activations.index(block) + 1}" if several else r"\phi"


def _averaged(size: int) -> str:
    return rf"\mathrm{{avg}}_{{{size}}}"


def _named(norm: Norm) -> str:
    return rf"\mathrm{{{type(norm).__name__}}}"


def net_lines(net: Net, lines: Lines, where: bool = True) -> list[Line]:
    """The map of the block, or of each stage's block. With ``where`` the laws of its matrices, the activation, and the
    layers of input and output follow."""
    layers, n = Layers(net, lines), lines.text
    texts = {block: block.apply(layers, ("x^{l-1}", False))[0] for block in net.blocks}
    out = [Line("x^l", "=", texts[block] + span) for block, span in _spans(net, lines)]
    if not where:
        return out
    if not net.repeated:
        out += [Line("x^l", r"\in", rf"\mathbb{{R}}^{{{n(w * N)}}}{span}") for w, span in _widths(net, lines)]
    if INPUTS in {s for line in layers.laws if isinstance(line.right, sp.Basic) for s in line.right.free_symbols}:
        out.append(Line(n(INPUTS), "=", r"\text{the width that a matrix maps from}"))
    for i, block in enumerate(layers.activations):
        phi = r"\phi" if i == 0 else rf"\phi_{i + 1}"
        out.append(Line(rf"{phi}(z)", "=", block.phi(z)))
    for norm in layers.norms:
        x = r"(x - \bar{x})" if norm.centred else "x"
        out.append(Line(rf"{_named(norm)}(x)", "=", rf"\frac{{\sqrt{{N}}\,{x}}}{{\lVert {x.strip('()')}\rVert}}"))
        if norm.centred:
            out.append(Line(r"\bar{x}", "=", r"\frac{1}{N} \sum_i x_i"))
    for size in layers.windows:
        window = rf"{size} \times {size}" if len(net.image or ()) == 3 else f"{size}"
        out.append(
            Line(rf"{_averaged(size)}(x)", "=", rf"\text{{the means of }} x \text{{ over windows of }} {window}")
        )
    out += layers.laws
    return out + _ends(net, n(net.depth))


def _ends(net: Net, depth: str) -> list[Line]:
    """The layers of input and output. On images the former acts at each position."""
    last, end = net.stages[-1].width * N, f"x^{{{depth}}}"
    first, at, pooled = 1 / d, "", []
    if net.image is not None:
        first, at = sp.Rational(1, net.image[0]), r"\quad \text{at each position}"
        if net.head == "pool":
            pooled = [Line(r"\bar{x}", "=", rf"\text{{the mean of }} {end} \text{{ over positions}}")]
            end = r"\bar{x}"
        else:
            end, last = rf"\mathrm{{vec}}\, {end}", last * prod(net.sizes)
    return [
        Line("x^0", "=", r"P^{\mathrm{in}} x" + at),
        Line(r"P^{\mathrm{in}}_{ij}", r"\sim", first, law=True),
        Line("f(x)", "=", rf"P^{{\mathrm{{out}}}} {end}"),
        *pooled,
        Line(r"P^{\mathrm{out}}_{ij}", r"\sim", 1 / last, law=True),
    ]


def _spans(net: Net, lines: Lines) -> list[tuple[Block, str]]:
    """The blocks, with the layer numbers l where there are several stages; adjacent equal blocks are set once."""
    return _grouped([(stage.block, stage.repeat) for stage in net.stages], sp.S.One, net, lines)


def _widths(net: Net, lines: Lines) -> list[tuple[sp.Expr, str]]:
    """The widths of the streams, with their layer numbers l."""
    first, *others = ((stage.width, stage.repeat) for stage in net.stages)
    return _grouped([(first[0], first[1] + 1), *others], sp.S.Zero, net, lines)


def _grouped(values: list[tuple[T, sp.Expr]], start: sp.Expr, net: Net, lines: Lines) -> list[tuple[T, str]]:
    """Each value with its range of l from ``start`` on, in words of LaTeX; adjacent equal values share a range."""
    counts: list[tuple[T, sp.Expr]] = []
    for value, count in values:
        same = counts and counts[-1][0] == value
        counts[-1:] = [(value, counts[-1][1] + count)] if same else [*counts[-1:], (value, count)]
    if net.repeated:
        return [(value, "") for value, _ in counts]
    found = []
    for value, count in counts:
        low, high = lines.text(start), lines.text(start + count - 1)
        span = f"l = {low}" if low == high else rf"{low} \le l \le {high}"
        found.append((value, rf"\;\; ({span})"))
        start += count
    return found
