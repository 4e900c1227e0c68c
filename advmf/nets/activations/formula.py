"""An activation given by its formula."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy as sp

from advmf.boundary import public
from advmf.errors import one_of
from advmf.nets.activations.activation import Pointwise
from advmf.nets.activations.erf import Erf
from advmf.nets.activations.gelu import Gelu
from advmf.nets.activations.relu_like import ReLULike
from advmf.nets.activations.sine import Sine
from advmf.nets.block import number
from advmf.symbols import z as Z

_LOGISTIC = (1 + sp.tanh(Z / 2)) / 2
_SELU = (sp.Float("1.0507009873554805"), sp.Float("1.7580993408473766"))
NAMED: dict[str, Any] = {
    "relu": lambda: ReLULike(1, 0),
    "leaky_relu": lambda: ReLULike(1, "1/5"),
    "abs": lambda: ReLULike(1, -1),
    "linear": lambda: ReLULike(1, 1),
    "erf": Erf,
    "tanh": sp.tanh(Z),
    "sigmoid": _LOGISTIC,
    "softplus": sp.log(1 + sp.exp(Z)),
    "gelu": Gelu,
    "silu": Z * _LOGISTIC,
    "elu": sp.Piecewise((Z, Z > 0), (sp.exp(Z) - 1, True)),
    "selu": sp.Piecewise((_SELU[0] * Z, Z > 0), (_SELU[1] * (sp.exp(Z) - 1), True)),
    "sin": Sine,
    "hard_tanh": sp.Max(-1, sp.Min(1, Z)),
}
"""Activations by name: a formula, or a constructor of an activation with closed forms. The constants of selu are those
of G. Klambauer et al., Self-Normalizing Neural Networks, NeurIPS 2017."""


@public
@dataclass(frozen=True)
class Activation(Pointwise):
    """The activation with a given formula in :data:`advmf.symbols.z`, or with a given name. It must be Lipschitz, and
    smooth apart from kinks.

    ``Activation(sp.tanh(z))`` is ``Activation("tanh")``. The names are those of :data:`NAMED`; some of them give a
    :class:`ReLULike`, an :class:`Erf`, a :class:`Gelu` or a :class:`Sine`. The means of a formula are computed by
    quadrature, to twelve digits.

    Raises DeclarationError for a formula that is no real function of z, that jumps, or that grows faster than a
    multiple of z, and where SymPy does not find its slope or kinks. Raises ArgumentError for an unknown name.

    >>> import advmf as mf
    >>> net = mf.vanilla(phi=mf.Activation("tanh"))
    >>> mf.kernel(mf.moments(net).Q)(L=5, x_sq=1.0, sigma_w=1.5, sigma_b=0.3).round(6)
    np.float64(0.391088)
    >>> mf.Activation("relu"), mf.Activation("silu")
    (ReLULike(u=1, v=0), Activation(formula=z*(tanh(z/2)/2 + 1/2)))
    """

    formula: sp.Expr

    def __new__(cls, formula: Any = None) -> Any:
        named = NAMED.get(formula) if isinstance(formula, str) else None
        return named() if callable(named) else object.__new__(cls)

    def __post_init__(self) -> None:
        given = self.formula
        if isinstance(given, str) and given.isidentifier() and given != Z.name:
            given = NAMED[one_of("activation", given, NAMED)]
        expr = number("Activation", "formula", given)
        if strange := [s for s in expr.free_symbols - {Z} if s.name == Z.name]:
            expr = expr.subs(strange[0], Z)
        object.__setattr__(self, "formula", expr)
        self.require()

    def phi(self, z: sp.Expr) -> sp.Expr:
        return self.formula.subs(Z, z)
