"""The trained matrices of a block, each with a variance of its own, and what each contributes to ω.

ω is affine in the variance z_m of each Dense, ``ω = ω_without + z_m dω/dz_m``, because each path of the Jacobian factor
goes through the matrix or around it. ``z_m dω/dz_m`` is called the *reach* of the matrix, and reach/ω its Euler share:
the part of the Jacobian's variance that runs through it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import sympy as sp

from advmf.errors import ArgumentError
from advmf.nets import Block, Conv, Dense, GaussianLayer, Net, Rebuilt, rebuilt, require_repeated
from advmf.theory.propagation import OMEGA, omega, with_alpha


class Separated(Rebuilt):
    """The block with a symbol for the variance of each trained matrix."""

    def __init__(self, several: bool) -> None:
        self._several = several
        self.variances: dict[sp.Symbol, sp.Expr] = {}
        """The symbols, each with the variance as declared."""

    def gaussian(self, layer: GaussianLayer, state: tuple[Block, ...]) -> tuple[Block, ...]:
        if not layer.trained:
            return super().gaussian(layer, state)
        return (*state, Dense(sp.sqrt(self._symbol(layer)), layer.bias_deviation))

    def convolution(self, layer: Conv, state: tuple[Block, ...]) -> tuple[Block, ...]:
        return (*state, replace(layer, sigma_w=sp.sqrt(self._symbol(layer))))

    def _symbol(self, layer: GaussianLayer) -> sp.Symbol:
        z = sp.Symbol(f"z_{len(self.variances) + 1}" if self._several else "z", positive=True)
        self.variances[z] = layer.variance
        return z


@dataclass(frozen=True)
class Trained:
    """The trained matrices of a net's block: symbols for their variances, the variances as declared, and ω in terms of
    the symbols."""

    net: Net
    variables: tuple[sp.Symbol, ...]
    start: tuple[sp.Expr, ...]
    omega: sp.Expr

    @property
    def reaches(self) -> tuple[sp.Expr, ...]:
        """z_m dω/dz_m of each matrix."""
        return tuple(sp.factor(z * sp.diff(self.omega, z)) for z in self.variables)

    def declared(self, expr: sp.Expr) -> sp.Expr:
        """An expression in the variables at the declared variances."""
        return expr.xreplace(dict(zip(self.variables, self.start)))

    def abbreviated(self, expr: sp.Expr) -> sp.Expr:
        """An expression in the variables at the declared variances, written in ω and α: ω where it equals ω, else α for
        the slopes."""
        value = sp.factor(self.declared(expr))
        return OMEGA if sp.cancel(value - omega(self.net)) == 0 else with_alpha(value, self.net)


@cache
def trained(net: Net) -> Trained:
    """The trained matrices of ``net``; raises ArgumentError if its block has none.

    >>> import advmf as mf
    >>> from advmf.theory.trained import trained
    >>> trained(mf.residual(u=1, v=0)).omega
    z/2 + 1
    """
    require_repeated(net)
    require_trained(net)
    omega(net)  # refuses by the net as it was declared
    separate, found = _separate(net)
    variables = tuple(found)
    return Trained(net, variables, tuple(found.values()), sp.expand(omega(separate)))


def require_trained(net: Net) -> None:
    """Raises ArgumentError for a net without a trained matrix."""
    if not net.trained:
        raise ArgumentError(f"{net!r} has no trained matrix; put a Dense() into it.")


def separated(net: Net) -> Net:
    """The net with standard deviation ``sqrt(z_m)`` in its m-th trained Dense."""
    return _separate(net)[0]


def _separate(net: Net) -> tuple[Net, dict[sp.Symbol, sp.Expr]]:
    separated = Separated(len(net.trained) > 1)
    return rebuilt(net, separated), separated.variances
