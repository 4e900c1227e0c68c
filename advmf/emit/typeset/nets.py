"""A declared network as the formulas of its layers."""

from __future__ import annotations

import sympy as sp

from advmf.emit.typeset.lines import Line, Lines
from advmf.nets import GaussianLayer, Net, Norm, Pointwise, Residual
from advmf.nets.algebra import Algebra
from advmf.symbols import N, d, z


class Layers(Algebra[tuple[str, bool]]):
    """A block applied to a text, and whether that is a sum. Matrices and activations are named as they are met: indexed
    where there are several of a kind."""

    def __init__(self, net: Net, lines: Lines) -> None:
        self.lines = lines
        letters = [self._letter(leaf) for leaf in net.leaves if isinstance(leaf, GaussianLayer)]
        self._total = {letter: letters.count(letter) for letter in letters}
        self._seen = dict.fromkeys(letters, 0)
        self.laws: list[Line] = []
        self.activations: list[Pointwise] = []
        self.norms: list[Norm] = []

    @staticmethod
    def _letter(layer: GaussianLayer) -> str:
        return "W" if layer.trained else "V"

    def matrix(self, letter: str) -> tuple[str, str]:
        """The letters of a matrix of a layer, and of its index."""
        self._seen[letter] += 1
        index = f"_{self._seen[letter]}" if self._total[letter] > 1 else ""
        return f"{letter}{index}^l", index.replace("_", ",")

    def gaussian(self, layer: GaussianLayer, state: tuple[str, bool]) -> tuple[str, bool]:
        letter = self._letter(layer)
        matrix, index = self.matrix(letter)
        self.law(f"{letter}_{{ij{index}}}^l", layer.variance / N)
        x, is_sum = state
        product = f"{matrix} ({x})" if is_sum else f"{matrix} {x}"
        if layer.bias_deviation == 0:
            return product, False
        self.law(f"b_{{i{index}}}^l", layer.bias_variance)
        return f"{product} + {matrix.replace(letter, 'b')}", True

    def pointwise(self, activation: Pointwise, state: tuple[str, bool]) -> tuple[str, bool]:
        return f"{self.activation(activation)}({state[0]})", False

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


def _named(norm: Norm) -> str:
    return rf"\mathrm{{{type(norm).__name__}}}"


def net_lines(net: Net, lines: Lines, where: bool = True) -> list[Line]:
    """The map of one block, and with ``where`` the laws of its matrices, the activation, the input's and the output's
    layer."""
    layers = Layers(net, lines)
    text, _ = net.block.apply(layers, ("x^{l-1}", False))
    out = [Line("x^l", "=", text)]
    if not where:
        return out
    for i, block in enumerate(layers.activations):
        phi = r"\phi" if i == 0 else rf"\phi_{i + 1}"
        out.append(Line(rf"{phi}(z)", "=", block.phi(z)))
    for norm in layers.norms:
        x = r"(x - \bar{x})" if norm.centred else "x"
        out.append(Line(rf"{_named(norm)}(x)", "=", rf"\frac{{\sqrt{{N}}\,{x}}}{{\lVert {x.strip('()')}\rVert}}"))
        if norm.centred:
            out.append(Line(r"\bar{x}", "=", r"\frac{1}{N} \sum_i x_i"))
    out += layers.laws
    n = lines.text
    out += [
        Line("x^0", "=", r"P^{\mathrm{in}} x"),
        Line(r"P^{\mathrm{in}}_{ij}", r"\sim", 1 / d, law=True),
        Line("f(x)", "=", rf"P^{{\mathrm{{out}}}} x^{{{n(sp.Symbol('L'))}}}"),
        Line(r"P^{\mathrm{out}}_{ij}", r"\sim", 1 / N, law=True),
    ]
    return out
