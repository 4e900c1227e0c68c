"""A declared network as the formulas of its layers."""

from __future__ import annotations

from functools import singledispatch

import sympy as sp

from advmf.emit.typeset.lines import Line, Lines
from advmf.errors import ArgumentError
from advmf.net import Block, Dense, Mix, Net, ReLULike, Residual, Serial
from advmf.symbols import N, d


class _Layers:
    """The matrices and activations of a block, named as they are met: indexed where there are several of a kind."""

    def __init__(self, block: Block, lines: Lines) -> None:
        self.lines = lines
        self._total: dict[type[Block], int] = {kind: len(_blocks(block, kind)) for kind in (Dense, Mix)}
        self._seen: dict[type[Block], int] = {Dense: 0, Mix: 0}
        self.laws: list[Line] = []
        self.activations: list[ReLULike] = []

    def matrix(self, kind: type[Block], letter: str) -> tuple[str, str]:
        """The letters of a matrix of a layer, and of its index."""
        self._seen[kind] += 1
        index = f"_{self._seen[kind]}" if self._total[kind] > 1 else ""
        return f"{letter}{index}^l", index.replace("_", ",")

    def law(self, left: str, variance: sp.Expr) -> None:
        self.laws.append(Line(left, r"\sim", variance, law=True))

    def activation(self, block: ReLULike) -> str:
        if block not in self.activations:
            self.activations.append(block)
        several = len(self.activations) > 1
        return rf"\phi_{self.activations.index(block) + 1}" if several else r"\phi"


def net_lines(net: Net, lines: Lines, where: bool = True) -> list[Line]:
    """The map of one block, and with ``where`` the laws of its matrices, the activation, the input's and the output's layer."""
    layers = _Layers(net.block, lines)
    text, _ = _apply(net.block, "x^{l-1}", False, layers)
    out = [Line("x^l", "=", text)]
    if not where:
        return out
    for i, block in enumerate(layers.activations):
        phi = r"\phi" if i == 0 else rf"\phi_{i + 1}"
        z = sp.Symbol("z", real=True)
        out.append(Line(rf"{phi}(z)", "=", sp.Piecewise((block.u * z, z >= 0), (block.v * z, True))))
    out += layers.laws
    n = lines.text
    out += [
        Line("x^0", "=", r"P^{\mathrm{in}} x"),
        Line(r"P^{\mathrm{in}}_{ij}", r"\sim", 1 / d, law=True),
        Line("f(x)", "=", rf"P^{{\mathrm{{out}}}} x^{{{n(sp.Symbol('L'))}}}"),
        Line(r"P^{\mathrm{out}}_{ij}", r"\sim", 1 / N, law=True),
    ]
    return out


@singledispatch
def _apply(block: Block, x: str, is_sum: bool, layers: _Layers) -> tuple[str, bool]:
    """The block applied to ``x``, and whether that is a sum."""
    raise ArgumentError(
        f"{type(block).__name__} has no rule in advmf.emit.typeset.networks; register one to typeset it."
    )


def _times(matrix: str, x: str, is_sum: bool) -> str:
    return f"{matrix} ({x})" if is_sum else f"{matrix} {x}"


@_apply.register(Dense)
def _(block: Dense, x: str, is_sum: bool, layers: _Layers) -> tuple[str, bool]:
    matrix, index = layers.matrix(Dense, "W")
    layers.law(f"W_{{ij{index}}}^l", block.sigma_w**2 / N)
    if block.sigma_b == 0:
        return _times(matrix, x, is_sum), False
    layers.law(f"b_{{i{index}}}^l", block.sigma_b**2)
    return f"{_times(matrix, x, is_sum)} + {matrix.replace('W', 'b')}", True


@_apply.register(Mix)
def _(block: Mix, x: str, is_sum: bool, layers: _Layers) -> tuple[str, bool]:
    matrix, index = layers.matrix(Mix, "V")
    layers.law(f"V_{{ij{index}}}^l", 1 / N)
    return _times(matrix, x, is_sum), False


@_apply.register(ReLULike)
def _(block: ReLULike, x: str, is_sum: bool, layers: _Layers) -> tuple[str, bool]:
    return f"{layers.activation(block)}({x})", False


@_apply.register(Serial)
def _(block: Serial, x: str, is_sum: bool, layers: _Layers) -> tuple[str, bool]:
    for inner in block.blocks:
        x, is_sum = _apply(inner, x, is_sum, layers)
    return x, is_sum


@_apply.register(Residual)
def _(block: Residual, x: str, is_sum: bool, layers: _Layers) -> tuple[str, bool]:
    shortcut, _ = _apply(block.shortcut, x, is_sum, layers)
    branch, branch_sum = _apply(block.branch, x, is_sum, layers)
    if block.scale != 1:
        branch = rf"{layers.lines.text(block.scale)}\,{f'({branch})' if branch_sum else branch}"
    return f"{shortcut} + {branch}", True


def _blocks(block: Block, kind: type[Block]) -> list[Block]:
    """All blocks of a kind inside."""
    inner: tuple[Block, ...] = ()
    if isinstance(block, Serial):
        inner = block.blocks
    elif isinstance(block, Residual):
        inner = (block.shortcut, block.branch)
    return [block] * isinstance(block, kind) + [found for b in inner for found in _blocks(b, kind)]
