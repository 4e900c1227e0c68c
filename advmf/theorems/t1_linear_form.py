"""T1: a network is a linear map whose matrix and offset are random, f(x) = J(x)x + a(x).

Source: S. Kumano, H. Kera, T. Yamasaki, Adversarial Training from Mean Field Perspective, NeurIPS 2023,
arXiv:2505.14021.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import sympy as sp

from advmf.boundary import public
from advmf.claim import RHS, Claim, Equation, Regime, Relation
from advmf.nets import Net
from advmf.observables import Expectation, JacobianAlong, JacobianEntry, Observable, Offset
from advmf.symbols import d
from advmf.theorems.mistakes import FirstForGain, SecondForGain, mistaken
from advmf.theorems.scripted import Scripted
from advmf.theorems.theorem import PAPER, Scale, Theorem, random_network
from advmf.theorems.wrong import equality, law, twice_the_variance
from advmf.theory.propagation import START, abbreviations, grows_alike, moments


@public
def linear_form(net: Net) -> tuple[Claim, Claim, Claim]:
    """T1: f(x) = J(x)x + a(x); the law of J(x), the law of a(x), and their joint moments, as three claims.

    For every direction e orthogonal to x, ``J(x)e/|e|`` has independent N(0, ω^L/d) coordinates. If the stream carries
    no mean, the direction x is like any other and a is independent of J, which is the paper's statement. A plain
    shortcut with u != v carries a mean. Then ``J(x)x`` has another variance, and is correlated with a if there are
    biases. Both cases are derived here by propagating the offset a along with the stream.

    The claims carry their testable consequences in ``equations``: second and fourth moments of the entries, products of
    distinct entries in a row, in a column and neither, the Jacobian along x, and cross moments of J and a.

    >>> import advmf as mf
    >>> law_of_J, law_of_a, independence = mf.linear_form(mf.residual(u=1, v=0))
    >>> law_of_J.rhs
    (sigma_w**2/2 + 1)**L/d
    >>> law_of_a.rhs
    sigma_b**2*GeometricSum(sigma_w**2/2 + 1, L)/2
    """
    return _linear_form(net, net)


def _linear_form(net: Net, declared: Net, alike: bool = False) -> tuple[Claim, Claim, Claim]:
    """The claims about a ``declared`` net, computed from the moments of ``net``; with ``alike`` all directions are
    treated as alike."""
    state, where = moments(net, abbreviate=True), abbreviations(net)
    law = _Law(state.j / d, state.along, state.A, state.B - state.A)
    uniform = alike or state.along == state.j * START.Q
    why = "the stream carries a mean" if grows_alike(net) else "the activation stretches along x as it does not across"
    caveat = () if uniform else (f"e is orthogonal to x: {why}, so the direction x has another variance",)
    named: dict[str, Any] = {
        "where": where,
        "net": declared,
        "assumptions": (*random_network(declared), *caveat),
        "source": f"{PAPER}, linear-like form",
    }
    exact = declared.exact
    # In a claim's equations RHS stands for its own variance; J(x)x inherits the law of J(x)e unless the stream carries
    # a mean.
    of_J = replace(law, across=RHS, along=RHS * d * START.Q if uniform else law.along)
    of_a, of_both = replace(law, offset=RHS), replace(law, cross=RHS)
    law_of_J = Claim(
        name="T1.J",
        lhs=JacobianEntry(0, 0),
        relation=Relation.LAW,
        formula=law.across,
        regime=Regime.LARGE_WIDTH,
        equations=tuple(
            of_J.equation(label, product, where, exact=exact and order == 2)
            for label, product, order in (
                ("E J²", JacobianEntry(0, 0) ** 2, 2),
                ("E (Jx)²", JacobianAlong(0) ** 2, 2),
                ("E J⁴", JacobianEntry(0, 0) ** 4, 4),
                ("E (Jx)⁴", JacobianAlong(0) ** 4, 4),
                ("E JJ', one row", JacobianEntry(0, 0) * JacobianEntry(0, 1), 2),
                ("E JJ', one column", JacobianEntry(0, 0) * JacobianEntry(1, 0), 2),
                ("E J²J'², one row", JacobianEntry(0, 0) ** 2 * JacobianEntry(0, 1) ** 2, 4),
                ("E J²J'², one column", JacobianEntry(0, 0) ** 2 * JacobianEntry(1, 0) ** 2, 4),
                ("E J²J'², neither", JacobianEntry(0, 0) ** 2 * JacobianEntry(1, 1) ** 2, 4),
            )
        ),
        **named,
    )
    law_of_a = Claim(
        name="T1.a",
        lhs=Offset(0),
        relation=Relation.LAW,
        formula=law.offset,
        regime=Regime.LARGE_WIDTH,
        equations=(
            of_a.equation("E a²", Offset(0) ** 2, where, exact=exact),
            of_a.equation("E a⁴", Offset(0) ** 4, where),
            of_a.equation("E aa'", Offset(0) * Offset(1), where),
            of_a.equation("E a²a'²", Offset(0) ** 2 * Offset(1) ** 2, where),
        ),
        **named,
    )
    independence = Claim(
        name="T1.Ja",
        lhs=Expectation(JacobianAlong(0) * Offset(0)),
        relation=Relation.EQUAL,
        formula=law.cross,
        regime=Regime.LARGE_WIDTH,
        equations=(
            of_both.equation("E (Jx)a", JacobianAlong(0) * Offset(0), where, exact=exact),
            of_both.equation("E Ja", JacobianEntry(0, 0) * Offset(0), where),
            of_both.equation("E J²a²", JacobianEntry(0, 0) ** 2 * Offset(0) ** 2, where),
            of_both.equation("E (Jx)²a²", JacobianAlong(0) ** 2 * Offset(0) ** 2, where),
            of_both.equation("E (Jx)²a'²", JacobianAlong(0) ** 2 * Offset(1) ** 2, where),
        ),
        **named,
    )
    return law_of_J, law_of_a, independence


@dataclass(frozen=True)
class _Law:
    """The joint Gaussian law of J(x)e, J(x)x and a(x) as N -> oo, given by their variances and the covariance of the
    last two. Its moments follow by Isserlis' theorem."""

    across: sp.Expr
    along: sp.Expr
    offset: sp.Expr
    cross: sp.Expr

    def covariance(self, a: Observable, b: Observable) -> sp.Expr:
        """Cov(a, b): zero for distinct units, or for an entry and anything but itself."""
        if a == b:
            return {JacobianEntry: self.across, JacobianAlong: self.along, Offset: self.offset}[type(a)]
        pair = {type(a), type(b)}
        if pair == {JacobianAlong, Offset} and a.args[0] == b.args[0]:
            return self.cross
        return sp.S.Zero

    def moment(self, product: sp.Expr) -> sp.Expr:
        """E of a product of observables: the sum over all pairings of products of covariances (Isserlis)."""
        factors = [base for base, power in product.as_powers_dict().items() for _ in range(int(power))]
        return self._pairings(factors)

    def _pairings(self, factors: list[Observable]) -> sp.Expr:
        if not factors:
            return sp.S.One
        first, rest = factors[0], factors[1:]
        return sp.Add(
            *(self.covariance(first, rest[i]) * self._pairings(rest[:i] + rest[i + 1 :]) for i in range(len(rest)))
        )

    def equation(
        self, label: str, product: sp.Expr, where: Mapping[sp.Symbol, sp.Expr], exact: bool = False
    ) -> Equation:
        """The equation that E of ``product`` equals its Gaussian value; the scale is its value for independent factors
        of the same variances."""
        scale = sp.Mul(
            *(
                self.moment(base**power) if power % 2 == 0 else self.covariance(base, base) ** (power / 2)
                for base, power in product.as_powers_dict().items()
            )
        )
        value = self.moment(product)
        return Equation(label, Expectation(product), _explicit(value, where), _explicit(scale, where), exact)


def _explicit(expr: sp.Expr, where: Mapping[sp.Symbol, sp.Expr]) -> sp.Expr:
    for symbol, meaning in where.items():
        expr = expr.subs(symbol, meaning)
    return expr


def _wrong(claim: Claim) -> list[Claim]:
    """The wrong versions of a law and, where the network has more than growth, plausible mistakes: all directions
    alike, E φ²/Q for E φ'², the input's variance for that of each layer."""
    if claim.relation is not Relation.LAW:
        return equality(claim)
    if isinstance(claim.lhs, Offset):
        # A stream that saturates has nearly this offset at any depth.
        return law(claim) if grows_alike(claim.net) else [twice_the_variance(claim)]
    net = claim.net
    assert net is not None
    taken = {"all directions alike": _linear_form(net, net, alike=True)[0]}
    if not grows_alike(net):
        taken["E phi^2 for E phi'^2"] = _linear_form(mistaken(net, SecondForGain), net)[0]
        taken["the input's variance for each layer's"] = _linear_form(mistaken(net, FirstForGain), net)[0]
    others = [replace(other, name=f"{claim.name} [{mistake}]") for mistake, other in taken.items()]
    said = (claim.rhs, claim.equations)
    return [*law(claim), *(other for other in others if (other.rhs, other.equations) != said)]


T1 = Theorem(
    name="T1",
    title="linear-like form: f(x) = J(x)x + a(x), laws of J and a",
    source=PAPER,
    tests=lambda net, pairs: list(linear_form(net)),
    wrong=_wrong,
    derive=Scripted("t1_linear_form"),
    scales={
        "quick": Scale(L=4, d=64, K=32, widths=(32, 64, 256, 512), nets=(2400, 3600, 1200, 1800)),
        "sharp": Scale(L=4, d=64, K=32, widths=(32, 64, 128, 512), nets=(3000, 6000, 3000, 6000)),
        "paper": Scale(L=10, d=784, K=10, widths=(128, 256, 512, 1024), nets=(2000,) * 4),
    },
)
