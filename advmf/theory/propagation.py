"""Propagation of second moments through a declared network (mean-field recursions and their solutions).

One block maps the state of a stream ``x`` and of its offset ``a = x - (dx/dx^0) x^0``, the part that is not linear in
the input:

====== =======================================================================================================
Q      second moment of the stream, E|x|²/N
mu     mean of a coordinate
j      Jacobian factor: E|(dx/dx^0) e|² grows as j for a direction e orthogonal to the input
A      second moment of the offset, E|a|²/N
B      cross moment E⟨x, a⟩/N
nu     mean of a coordinate of the offset
====== =======================================================================================================

The tangent along the input is x - a. It differs from other tangents only where the stream carries a mean (a plain
shortcut with ``u != v``).

Sources: ω and the solvable cases are the mean-field quantities of Kumano, Kera and Yamasaki (NeurIPS 2023,
arXiv:2505.14021); the carried mean and the offset's moments are derived here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache

import sympy as sp

from advmf import symbols
from advmf.boundary import public
from advmf.errors import ArgumentError, DeclarationError
from advmf.functions import GeometricSum
from advmf.nets import Block, Net, ReLULike
from advmf.notebook import Shown
from advmf.symbols import x_sq
from advmf.theory.recurrence import Recurrence, require_even
from advmf.theory.stream import Offset, Stream, Streams, Tangent


@dataclass(frozen=True)
class Moments(Shown):
    """The state that a block maps; see the module's table."""

    Q: sp.Expr
    mu: sp.Expr
    j: sp.Expr
    A: sp.Expr
    B: sp.Expr
    nu: sp.Expr

    @property
    def along(self) -> sp.Expr:
        """Second moment of the tangent along the input, E|x - a|²/N."""
        plain = self.Q - 2 * self.B + self.A
        if plain.count_ops() > _LONG:
            return plain
        spread = sp.expand(plain)  # within recursions too: quotients of them may grow beyond use
        return spread if spread.count_ops() <= 4 * plain.count_ops() else plain

    def items(self) -> dict[str, sp.Expr]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


_LONG = 500
"""An expression of more operations is not multiplied out: that takes seconds and does not shorten it."""

STATE = Moments(
    Q=sp.Symbol("Q", positive=True),
    mu=sp.Symbol("mu", real=True),
    j=sp.Symbol("j", positive=True),
    A=sp.Symbol("A", nonnegative=True),
    B=sp.Symbol("B", real=True),
    nu=sp.Symbol("nu", real=True),
)
"""The state as symbols."""

START = Moments(Q=x_sq, mu=sp.S.Zero, j=sp.S.One, A=sp.S.Zero, B=sp.S.Zero, nu=sp.S.Zero)
"""The state of x^0 = P_in x: Q = |x|²/d, and no offset."""


def propagate(block: Block, state: Moments) -> Moments:
    """The state after ``block``, by the rules of :class:`~advmf.theory.stream.Streams`."""
    across, offset = Tangent(sp.S.Zero, state.j, sp.S.Zero), Offset(state.B, state.A, state.nu)
    after = block.apply(Streams(), Stream(state.Q, state.mu, (across, offset)))
    across, offset = after.tangents
    return Moments(after.Q, after.mu, across.V, offset.V, offset.C, offset.tau)


@cache
def step(block: Block) -> Moments:
    """The state after one block, in terms of :data:`STATE` before it.

    >>> import advmf as mf
    >>> from advmf.theory.propagation import step
    >>> step(mf.residual(u=1, v=0).block).j
    j*(sigma_w**2 + 2)/2
    """
    after = propagate(block, STATE)
    return Moments(**{name: _tidy(value) for name, value in after.items().items()})


def _tidy(expr: sp.Expr) -> sp.Expr:
    return sp.factor_terms(sp.together(sp.expand(expr))) if expr.is_polynomial(*STATE.items().values()) else expr


@public
@cache
def omega(net: Net) -> sp.Expr:
    """ω, the growth of second moments and of the squared Jacobian per block, derived from the blocks.

    Raises DeclarationError for a block without one such number, and for stages that grow by different ones.

    Source: ω_v = ασ_w² and ω_r = 1 + ασ_w² of the paper; here for any declared block.

    >>> import advmf as mf
    >>> mf.omega(mf.residual())
    sigma_w**2*(u**2 + v**2)/2 + 1
    """
    one, *others = growths(net)
    if any(sp.expand(one - other) != 0 for other in others):
        factors = ", ".join(map(str, dict.fromkeys((one, *others))))
        raise DeclarationError(
            f"The stages of {net.name} grow by different factors, {factors}: there is no omega, one number for all blocks. "
            "Ask for that of each stage, omega(Net(stage.block)); loss_bound and linear_form take their product."
        )
    return one


def growths(net: Net) -> tuple[sp.Expr, ...]:
    """The ω of each block of the net's stages; raises DeclarationError for a block without one, and as
    :func:`~advmf.theory.recurrence.require_even`."""
    require_even(net)
    return tuple(map(block_growth, net.blocks))


@cache
def block_growth(block: Block) -> sp.Expr:
    """The ω of one block; raises DeclarationError for a block without one."""
    growth = sp.diff(propagate(block, STATE).j, STATE.j)
    if growth.is_rational_function():
        growth = sp.expand(sp.cancel(sp.together(growth)))
    if held := growth.free_symbols & set(STATE.items().values()):
        names = ", ".join(sorted(map(str, held)))
        raise DeclarationError(
            f"{block!r}: the Jacobian grows by {growth!s:.160} per block, which depends on the stream's {names}: there is no omega, one number "
            "for all blocks, on which T3, T4, T6, F1 and F2 rest. Nets of activations that scale with their input, as ReLULike does, have one. T1, "
            "T2, the kernels and the capacity hold of all. Where the Jacobian grows as a power of L, depth_law(net) has it."
        )
    constant, rest = (
        growth.as_independent(*growth.free_symbols, as_Add=True) if growth.free_symbols else (growth, sp.S.Zero)
    )
    return constant + sp.factor(rest)


@cache
def grows_alike(net: Net) -> bool:
    """Whether the Jacobian grows by one factor ω in every block of a stage, independent of the stream. Homogeneous
    activations have this property.

    >>> import advmf as mf
    >>> from advmf.theory.propagation import grows_alike
    >>> [grows_alike(mf.Net(mf.Serial(mf.Dense(), phi))) for phi in (mf.ReLULike(1, 0), mf.Erf())]
    [True, False]
    """
    return _has(growths, net)


def grows_uniformly(net: Net) -> bool:
    """Whether the growth factor is the same in all stages, so that the net has one ω."""
    return _has(omega, net)


def _has(growth: Callable[[Net], object], net: Net) -> bool:
    try:
        growth(net)
    except DeclarationError:
        return False
    return True


def grown(net: Net) -> sp.Expr:
    """The Jacobian factor of a net by growth alone: ω^L, written with the letter ω where the net has one ω.

    >>> import advmf as mf
    >>> from advmf.theory.propagation import grown
    >>> grown(mf.vanilla()), grown(mf.pyramid())
    (omega**L, omega**3)
    """
    return OMEGA**net.depth if grows_uniformly(net) else moments(net).j


OMEGA = sp.Symbol("omega", positive=True)
ALPHA = sp.Symbol("alpha", positive=True)


@public
@cache
def moments(net: Net, abbreviate: bool = False) -> Moments:
    """The state after all blocks, from ``|x|²/d = x_sq``: in closed form where there is one, else as an exact
    recursion.

    A component whose recursion is affine in itself alone is solved by a geometric sum. The solution is verified in the
    recursion before it is returned. On images the moments are averages over positions, and a mean that does not follow
    from such averages is nan. Any other component is a :class:`~advmf.functions.Recursion`. ``abbreviate`` writes
    ω and α in the closed forms, which :func:`abbreviations` explains.

    >>> import advmf as mf
    >>> mf.moments(mf.vanilla(u=1, v=0)).Q
    sigma_b**2*GeometricSum(sigma_w**2/2, L)/2 + x_sq*(sigma_w**2/2)**L
    """
    symbols = STATE.items()
    state = Recurrence.of(net, _by_symbol(START), lambda run: _by_symbol(step(run.block)))
    short = net if abbreviate and grows_uniformly(net) else None
    solved = {name: _closed(state, symbol, short) for name, symbol in symbols.items()}
    if net.image is not None:
        solved |= {name: sp.nan for name in ("mu", "nu") if not state.affine(symbols[name])}
    return Moments(**{n: state.recursion(symbols[n]) if value is None else value for n, value in solved.items()})


def averages_follow(net: Net) -> bool:
    """Whether the moments follow from averages over positions, as they always do without images.

    >>> import advmf as mf
    >>> from advmf.theory.propagation import averages_follow
    >>> [averages_follow(net) for net in (mf.vanilla(phi="tanh"), mf.conv(1, 0), mf.conv(phi="tanh"))]
    [True, True, False]
    """
    return net.image is None or _has(moments, net)


def _by_symbol(state: Moments) -> dict[sp.Symbol, sp.Expr]:
    return dict(zip(STATE.items().values(), state.items().values()))


def _closed(state: Recurrence, symbol: sp.Symbol, net: Net | None) -> sp.Expr | None:
    """The last value of a component that every block changes by an affine map of itself, else None. It is written in ω
    if a net is given."""
    if not state.needed(symbol) <= {symbol}:
        return None
    value = state.start[symbol]
    for after, depth in state.course(symbol):
        if symbol not in after.free_symbols:  # the same after every block, but not at depth 0
            same = sp.simplify(after - value) == 0
            value = after if same else sp.Piecewise((value, sp.Eq(depth, 0)), (after, True))
            continue
        rate, shift = _affine(after, symbol)
        if rate is None or shift is None:
            return None
        if net is not None and sp.cancel(rate - omega(net)) == 0:
            rate, shift = OMEGA, with_alpha(shift, net)
        value = _geometric(rate, shift, value, depth)
    return value


def abbreviations(net: Net) -> dict[sp.Symbol, sp.Expr]:
    """The meanings of ω and α in ``net``: α only where the slopes are symbols, ω only where the Jacobian grows as
    ω^L."""
    where = {OMEGA: omega(net)} if grows_uniformly(net) else {}
    for squares in slope_squares(net):
        where[ALPHA] = squares / 2
    return where


def slopes(net: Net) -> tuple[sp.Expr, sp.Expr]:
    """The slopes (u, v) of the activations of a net; raises ArgumentError for a net without slopes or with several
    pairs.

    >>> import advmf as mf
    >>> slopes(mf.residual(1, "1/5"))
    (1, 1/5)
    """
    found = {(b.u, b.v) for b in net.activations if isinstance(b, ReLULike)}
    if len(found) != 1:
        raise ArgumentError(f"A net with one pair of slopes is expected; {net.name} has {len(found)}.")
    return found.pop()


def slope_squares(net: Net) -> list[sp.Expr]:
    """u² + v², if the block has one pair of symbolic slopes."""
    found = {b.u**2 + b.v**2 for b in net.activations if isinstance(b, ReLULike)}
    return [s for s in found if s.is_Add] if len(found) == 1 else []


def with_alpha(expr: sp.Expr, net: Net) -> sp.Expr:
    return expr.xreplace(dict.fromkeys(slope_squares(net), 2 * ALPHA))


def _affine(expr: sp.Expr, symbol: sp.Expr) -> tuple[sp.Expr | None, sp.Expr | None]:
    """``(rate, shift)`` with ``expr = rate*symbol + shift``, or ``(None, None)``."""
    expanded = sp.expand(expr)
    if not expanded.is_polynomial(symbol) or sp.degree(expanded, symbol) > 1:
        return None, None
    rate, shift = expanded.coeff(symbol, 1), expanded.coeff(symbol, 0)
    constant, rest = rate.as_independent(*rate.free_symbols, as_Add=True) if rate.free_symbols else (rate, sp.S.Zero)
    return constant + sp.factor(rest), sp.factor(shift)


def _geometric(rate: sp.Expr, shift: sp.Expr, start: sp.Expr, depth: sp.Expr) -> sp.Expr:
    """The solution of x -> rate*x + shift from ``start``."""
    _verify_geometric()
    return rate**depth * start + shift * GeometricSum(rate, depth)


@cache
def _verify_geometric() -> None:
    """Verify the solution by substitution, at depth 0 and over one step."""
    rate, n = sp.Dummy("z", positive=True), sp.Dummy("n", integer=True, nonnegative=True)
    start, shift = sp.symbols("x s", cls=sp.Dummy)
    general = (rate**n * start + shift * GeometricSum(rate, n)).rewrite(sp.Pow)
    residue = general.subs(n, n + 1) - rate * general - shift
    if sp.simplify(residue) != 0 or sp.simplify(general.subs(n, 0) - start) != 0:
        raise ArithmeticError("The geometric sum does not solve x -> rate*x + shift.")


@public
def growth_rate(net: Net) -> sp.Expr:
    """The factor λ by which the second moment grows per block at large depth: Q_L ~ λ^L up to a constant, as L -> oo.

    For a stream without mean λ = ω. A plain shortcut with ``u != v`` carries a mean ``mu ~ √Q`` that adds to the
    growth. For states so large that biases do not matter, the recursion is a cubic in r = √λ - 1 with one positive
    root.

    Raises DeclarationError if the block leads to an equation that is not of this form.

    >>> import advmf as mf
    >>> mf.growth_rate(mf.plain_residual(u=1, v=0)).subs(mf.symbols.sigma_w, 1).evalf(6)
    2.17191
    """
    after = step(net.block)
    if STATE.mu not in after.Q.free_symbols:
        return omega(net)
    biases = {symbols.sigma_b: 0}
    r, ratio = sp.Symbol("r", positive=True), sp.Symbol("rho", real=True)
    scale = {STATE.Q: sp.S.One, STATE.mu: ratio}
    next_Q, next_mu = (sp.simplify(e.subs(biases).subs(scale)) for e in (after.Q, after.mu))
    ratios = sp.solve(sp.Eq(next_mu, ratio * (1 + r)), ratio)
    if len(ratios) != 1:
        raise DeclarationError(f"{net.block!r}: the mean has no single large-depth ratio to the second moment.")
    cubic = sp.Poly(sp.numer(sp.together(next_Q.subs(ratio, ratios[0]) - (1 + r) ** 2)), r)
    if cubic.degree() != 3:
        raise DeclarationError(
            f"{net.block!r}: the large-depth growth solves {cubic.as_expr()} = 0, which is no cubic."
        )
    return (1 + _largest_root(cubic)) ** 2


def _largest_root(cubic: sp.Poly) -> sp.Expr:
    """The largest root of a cubic with three real roots, by Viète's formula."""
    a, b, c, e = cubic.all_coeffs()
    b, c, e = (sp.factor(k / a) for k in (b, c, e))
    P, R = sp.factor(c - b**2 / 3), sp.factor(2 * b**3 / 27 - b * c / 3 + e)
    return 2 * sp.sqrt(-P / 3) * sp.cos(sp.acos(3 * R / (2 * P) * sp.sqrt(-3 / P)) / 3) - b / 3
