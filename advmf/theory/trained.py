"""The trained matrices of a block, each with a variance of its own, and what each contributes to ω.

ω is affine in the variance z_m of each Dense, ``ω = ω_without + z_m dω/dz_m``, since the propagated Jacobian factor goes through the
matrix or around it. ``z_m dω/dz_m`` is called the *reach* of the matrix, and reach/ω its Euler share: the part of the Jacobian's variance
that runs through it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, singledispatch

import sympy as sp

from advmf.errors import ArgumentError, DeclarationError
from advmf.net import Block, Dense, Mix, Net, ReLULike, Residual, Serial
from advmf.theory.propagation import OMEGA, _with_alpha, omega


@singledispatch
def replace_dense(block: Block, change: Callable[[Dense], Block]) -> Block:
    """The block with every Dense put through ``change``, in the order in which they act.

    Raises DeclarationError for a block of one's own without a rule here: it could hold a trained matrix.
    """
    raise DeclarationError(
        f"{type(block).__name__} has no rule in advmf.theory.trained.replace_dense; register one, which returns the block if it has no "
        "trained matrix."
    )


@replace_dense.register(ReLULike)
@replace_dense.register(Mix)
def _(block: Block, change: Callable[[Dense], Block]) -> Block:
    return block


@replace_dense.register(Dense)
def _(block: Dense, change: Callable[[Dense], Block]) -> Block:
    return change(block)


@replace_dense.register(Serial)
def _(block: Serial, change: Callable[[Dense], Block]) -> Block:
    return Serial(*(replace_dense(inner, change) for inner in block.blocks))


@replace_dense.register(Residual)
def _(block: Residual, change: Callable[[Dense], Block]) -> Block:
    shortcut, branch = (replace_dense(path, change) for path in (block.shortcut, block.branch))
    return Residual(branch, scale=block.scale, shortcut=shortcut)


@dataclass(frozen=True)
class Trained:
    """The trained matrices of a net's block: symbols for their variances, the variances as declared, and ω in terms of the symbols."""

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
        """An expression in the variables at the declared variances, in ω and α: equal to ω, or with α for the slopes."""
        value = sp.factor(self.declared(expr))
        return OMEGA if sp.expand(value - omega(self.net)) == 0 else _with_alpha(value, self.net)


@cache
def trained(net: Net) -> Trained:
    """The trained matrices of ``net``; raises ArgumentError if its block has none.

    >>> import advmf as mf
    >>> from advmf.theory.trained import trained
    >>> trained(mf.residual(u=1, v=0)).omega
    z/2 + 1
    """
    separate, found = _separate(net)
    if not found:
        raise ArgumentError(f"{net.block!r} has no trained matrix; put a Dense() into it.")
    variables = tuple(found)
    return Trained(net, variables, tuple(found.values()), sp.expand(omega(separate)))


def separated(net: Net) -> Net:
    """The net whose Dense have the standard deviations ``sqrt(z_m)``."""
    return _separate(net)[0]


def _separate(net: Net) -> tuple[Net, dict[sp.Symbol, sp.Expr]]:
    found: dict[sp.Symbol, sp.Expr] = {}
    count: list[Dense] = []
    replace_dense(net.block, lambda dense: count.append(dense) or dense)  # type: ignore[func-returns-value]

    def name(dense: Dense) -> Dense:
        z = sp.Symbol(f"z_{len(found) + 1}" if len(count) > 1 else "z", positive=True)
        found[z] = dense.sigma_w**2
        return Dense(sp.sqrt(z), dense.sigma_b)

    return Net(replace_dense(net.block, name), name=net.name), found
