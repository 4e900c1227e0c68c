"""F1: how the second moment of the last stream fluctuates, exactly at every width.

Source: derived here from the declared blocks, by :class:`advmf.theory.finite_width.Fluctuations`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import sympy as sp

from advmf.boundary import public
from advmf.claim import RHS, Claim, Equation, Regime, Relation
from advmf.errors import DeclarationError
from advmf.functions import Recursion
from advmf.nets import Net, Residual
from advmf.observables import Expectation, SecondMoment
from advmf.symbols import L, N, x_sq
from advmf.theorems.scripted import Scripted
from advmf.theorems.selection import GROWING, PAIRS, rows
from advmf.theorems.theorem import EXACT, PAPER_POINT, RANDOM_NETWORK, REPEATED, VECTORS, Need, Scale, Theorem
from advmf.theorems.wrong import widths
from advmf.theory.finite_width import Spread, fluctuate, require_exact
from advmf.theory.propagation import OMEGA, omega

SOURCE = "derived here from the declared blocks; compare B. Hanin and M. Nica, Commun. Math. Phys. 376, 2020"


@public
def stream_fluctuation(net: Net) -> Claim:
    """F1: E Q_L² of the last stream, Q_L = |x^L|²/N, exactly at every width N and depth L.

    Without biases it is an L-th power, with biases a recursion in L that follows from the blocks. Raises
    DeclarationError for a net whose coordinates are not independent Gaussians where an activation acts or paths are
    added.

    Source: derived here; see the module.

    >>> import advmf as mf
    >>> mf.stream_fluctuation(mf.Net(mf.Serial(mf.Dense(sigma_b=0), mf.ReLULike(1, 0)))).formula
    omega**(2*L)*x_sq**2*(1 + 2/N)*(1 + 5/N)**L
    """
    require_exact(net)
    first, second = sp.Symbol("Q", positive=True), sp.Symbol("S", positive=True)
    state, start, factor = _step(net, first, second)
    update = sp.Poly(sp.expand(state[1]), first, second)
    rate, rest = update.coeff_monomial(second), sp.expand(update.as_expr() - update.coeff_monomial(second) * second)
    where = {}
    if rest == 0:
        formula = factor * start * OMEGA ** (2 * L) * _by_width(rate / omega(net) ** 2) ** L
        where = {OMEGA: omega(net)}
    else:
        steps = (sp.expand(state[0]), _by_width(rate) * second + sp.collect(rest, first, sp.factor))
        formula = factor * Recursion(L, (first, second), steps, (x_sq, start), second)
    lhs = Expectation(SecondMoment() ** 2)
    claim = Claim(
        name="F1",
        lhs=lhs,
        relation=Relation.EQUAL,
        formula=formula,
        where=where,
        regime=Regime.EXACT,
        assumptions=RANDOM_NETWORK,
        source=SOURCE,
        net=net,
    )
    return replace(claim, equations=(Equation("E Q_L²", lhs, RHS, scale=RHS, exact=True),))


def _step(net: Net, first: sp.Symbol, second: sp.Symbol) -> tuple[tuple[sp.Expr, sp.Expr], sp.Expr, sp.Expr]:
    """Two moments after a block in terms of those before it, the start of the second moment, and E Q_L² divided by its
    last value.

    x^0 = P_in x is N(0, |x|²/d) in each coordinate. The moments are E h, E h² where every block ends in a Gaussian
    stream, and so begins with one; else they are E Q, E Q².
    """
    after = fluctuate(net.block, Spread.gaussian(first, second))
    if after.variance is not None and after.is_gaussian:
        return after.variance, x_sq**2, 1 + 2 / N
    after = fluctuate(net.block, Spread(first, second))
    return (after.Q, after.square), x_sq**2 * (1 + 2 / N), sp.S.One


def _follows(net: Net) -> bool:
    try:
        _step(net, *sp.symbols("Q S", positive=True))
    except DeclarationError:
        return False
    return True


FOLLOWS = Need(_follows, "a mask acts on coordinates that are not independent given the stream's variance")


def _by_width(expr: sp.Expr) -> sp.Expr:
    """A polynomial in 1/N with factored coefficients."""
    inverse = sp.Dummy("inverse")
    by_power = sp.Poly(sp.together(expr.subs(N, 1 / inverse)), inverse)
    return sp.Add(*(sp.factor(c) / N**k for (k,), c in by_power.terms()))


QUICK: dict[str, Any] = {"L": 4, "d": 8, "K": 2, "effects": {"effect": 0.1, "effect_fourth": 0.1}}
"""What quick checks have in common."""

F1 = Theorem(
    name="F1",
    title="finite width: E Q_L^2 of the last stream, exact at every N",
    source=SOURCE,
    tests=lambda net, pairs: [stream_fluctuation(net)],
    wrong=widths,
    needs=(REPEATED, VECTORS, EXACT, FOLLOWS),
    derive=Scripted("f_finite_width", "stream"),
    scatters=lambda net: not any(isinstance(leaf, Residual) for leaf in net.leaves),  # narrow ones: heavy tails
    selected={"brief": rows((((GROWING, "relu"),), PAIRS))},
    scales={
        "quick": Scale(**QUICK, widths=(24, 96, 192, 384), nets=(1000, 8000, 8000, 6000)),
        "scattered": Scale(**QUICK, widths=(48, 96, 192, 384), nets=(5000, 8000, 8000, 5000)),
        # At L = 10 narrower vanilla networks have heavy tails: at N = 256 networks too rare to be seen carry 3 % of the
        # variance of Q_L², at N = 64 a third.
        "paper": Scale(
            **PAPER_POINT,
            widths=(256, 512, 1024, 2048),
            nets=(10_000,) * 4,
            effects={"effect": 0.1, "effect_fourth": 0.1},
        ),
    },
)
