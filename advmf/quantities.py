"""The letters of the theory as records. :mod:`advmf.symbols` is where users find them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import sympy as sp


@dataclass(frozen=True)
class Quantity:
    """One letter of the theory: its SymPy symbol, LaTeX, interval of admissible values and meaning."""

    symbol: sp.Symbol
    latex: str
    low: float
    high: float
    closed: bool
    meaning: str

    @property
    def name(self) -> str:
        return str(self.symbol.name)

    @property
    def integer(self) -> bool:
        """Whether the quantity counts something (a width, a depth, a dimension)."""
        return bool(self.symbol.is_integer)

    @property
    def domain(self) -> str:
        def end(z: float) -> str:
            return ("-oo" if z < 0 else "oo") if math.isinf(z) else f"{z:g}"

        open_left, open_right = not self.closed or math.isinf(self.low), math.isinf(self.high) and self.high_open
        return f"{'(' if open_left else '['}{end(self.low)}, {end(self.high)}{')' if open_right else ']'}"

    def contains(self, value: float) -> bool:
        """Whether ``value`` lies in the domain."""
        return (self.low <= value if self.closed else self.low < value) and value <= self.high

    @property
    def high_open(self) -> bool:
        return self.name not in ("p", "q")


def _quantity(
    name: str, latex: str, low: float, high: float, meaning: str, *, closed: bool = True, **assumptions: bool
) -> Quantity:
    return Quantity(sp.Symbol(name, **assumptions), latex, low, high, closed, meaning)


_INF = math.inf
_QUANTITIES = (
    _quantity("L", "L", 0, _INF, "depth: number of blocks", integer=True, nonnegative=True),
    _quantity("N", "N", 1, _INF, "width of the hidden layers", integer=True, positive=True),
    _quantity("d", "d", 1, _INF, "input dimension", integer=True, positive=True),
    _quantity("K", "K", 1, _INF, "output dimension", integer=True, positive=True),
    _quantity(
        "sigma_w", r"\sigma_w", 0, _INF, "hidden weights have variance sigma_w**2/N", closed=False, positive=True
    ),
    _quantity("sigma_b", r"\sigma_b", 0, _INF, "biases have variance sigma_b**2", nonnegative=True),
    _quantity("u", "u", -_INF, _INF, "slope of the activation for z >= 0", real=True),
    _quantity("v", "v", -_INF, _INF, "slope of the activation for z < 0", real=True),
    _quantity("eps", r"\epsilon", 0, _INF, "radius of the ball of perturbations", closed=False, positive=True),
    _quantity("p", "p", 1, _INF, "lp ball of the perturbation", extended_real=True),
    _quantity("q", "q", 1, _INF, "lq norm of the change of the output", extended_real=True),
    _quantity("t", "t", 0, _INF, "training time", nonnegative=True),
    _quantity("M", "M", 0, _INF, "upper edge of the trainable band", closed=False, positive=True),
    _quantity("m", "m", 0, _INF, "lower edge of the trainable band", closed=False, positive=True),
    _quantity(
        "x_sq",
        r"\tfrac{\lVert x\rVert^2}{d}",
        0,
        _INF,
        "mean square of the input, |x|^2/d",
        closed=False,
        positive=True,
    ),
    _quantity(
        "y_sq",
        r"\tfrac{\lVert x'\rVert^2}{d}",
        0,
        _INF,
        "mean square of a second input, |x'|^2/d",
        closed=False,
        positive=True,
    ),
    _quantity("c", "c", -1, 1, "correlation of two inputs", real=True),
    _quantity("lam", r"\lambda", 0, _INF, "weight of the adversarial loss in training", closed=False, positive=True),
    _quantity(
        "pull", r"\langle\nabla_f\ell, f\rangle", -_INF, _INF, "mean of <dl/df, f>, l the standard loss", real=True
    ),
)

SYMBOLS: dict[str, Quantity] = {quantity.name: quantity for quantity in _QUANTITIES}
"""Every symbol of the theory by name."""

L, N, d, K, sigma_w, sigma_b, u, v, eps, p, q, t, M, m, x_sq, y_sq, c, lam, pull = (
    quantity.symbol for quantity in _QUANTITIES
)

z = sp.Symbol("z", real=True)
"""The argument of an activation. It is bound there, and so is no symbol of a formula."""
