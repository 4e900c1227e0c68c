"""An activation given by its formula."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from advmf.boundary import public
from advmf.errors import ArgumentError, DeclarationError
from advmf.functions.curves import kinks, slope
from advmf.nets.activations.activation import Pointwise
from advmf.nets.block import number
from advmf.symbols import z as Z


@public
@dataclass(frozen=True)
class Activation(Pointwise):
    """The activation of a formula in :data:`advmf.symbols.z`, Lipschitz and smooth but for kinks:
    ``Activation(sp.tanh(z))``.

    Its means are quadratures, to twelve digits. Raises DeclarationError for what is no real function of z, and for one
    whose slope or kinks SymPy does not find.

    >>> import sympy as sp
    >>> import advmf as mf
    >>> net = mf.vanilla(phi=mf.Activation(sp.tanh(mf.symbols.z)))
    >>> mf.kernel(mf.moments(net).Q)(L=5, x_sq=1.0, sigma_w=1.5, sigma_b=0.3).round(6)
    np.float64(0.391088)
    """

    formula: sp.Expr

    def __post_init__(self) -> None:
        expr = number("Activation", "formula", self.formula)
        if strange := [s for s in expr.free_symbols - {Z} if s.name == Z.name]:
            expr = expr.subs(strange[0], Z)
        try:
            if not expr.has(Z) or expr.has(sp.I):
                raise ArgumentError(
                    "it is not real" if expr.has(Z) else "it does not depend on z, which is advmf.symbols.z"
                )
            kinks(slope(sp.Lambda(Z, expr)))
            kinks(sp.Lambda(Z, expr))
        except ArgumentError as error:
            raise DeclarationError(
                f"Activation takes a function of z, smooth but for kinks; got {expr!s:.80}: {error}"
            ) from None
        object.__setattr__(self, "formula", expr)

    def phi(self, z: sp.Expr) -> sp.Expr:
        return self.formula.subs(Z, z)
