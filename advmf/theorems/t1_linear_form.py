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
from advmf.claim import RHS, Claim, Claims, Equation, Regime, Relation
from advmf.nets import Conv, Net
from advmf.observables import Expectation, JacobianAlong, JacobianEntry, Observable, Offset, PixelSquare
from advmf.symbols import d
from advmf.theorems.mistakes import WITHOUT_TAIL, FirstForGain, SecondForGain, WithoutTail, mistaken, tap_too_few
from advmf.theorems.scripted import Scripted
from advmf.theorems.selection import ALL, EXTRA, GROWING, IMAGES, PAIRS, PIXELS, POOLED, RELU, rows
from advmf.theorems.t1_pixels import flattened, of_flatten, of_independent, pixel_law
from advmf.theorems.theorem import BOUNDED, PAPER, PAPER_POINT, Scale, Theorem, random_network
from advmf.theorems.wrong import equality, law, twice_the_variance
from advmf.theory.propagation import START, abbreviations, averages_follow, grows_alike, moments


@public
def linear_form(net: Net) -> Claims:
    """T1: f(x) = J(x)x + a(x); the law of J(x), the law of a(x), and their joint moments, as three claims.

    For every direction e orthogonal to x, ``J(x)e/|e|`` has independent N(0, ω^L/d) coordinates. If the stream carries
    no mean, the direction x is like any other and a is independent of J, which is the paper's statement. A plain
    shortcut with u != v carries a mean. Then ``J(x)x`` has another variance, and is correlated with a if there are
    biases. Both cases are derived here by propagating the offset a along with the stream.

    The claims carry their testable consequences in ``equations``: second moments and fourth cumulants of the entries,
    products of distinct entries in a row, in a column and neither, the Jacobian along x, and the covariances of J and a
    and of their squares. Of fourth order is what variances do not say already: the fourth cumulant of J is E J⁴ - 6 s
    E J² + 3 s² for the variance s that is claimed, and the covariance of squares E (J² - s)(J'² - s).

    >>> import advmf as mf
    >>> law_of_J, law_of_a, independence = mf.linear_form(mf.residual(u=1, v=0))
    >>> law_of_J.rhs
    (sigma_w**2/2 + 1)**L/d
    >>> law_of_a.rhs
    sigma_b**2*GeometricSum(sigma_w**2/2 + 1, L)/2
    """
    return Claims(_linear_form(net, net))


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
                ("4th cumulant of J", JacobianEntry(0, 0) ** 4, 4),
                ("4th cumulant of Jx", JacobianAlong(0) ** 4, 4),
                ("E JJ', one row", JacobianEntry(0, 0) * JacobianEntry(0, 1), 2),
                ("E JJ', one column", JacobianEntry(0, 0) * JacobianEntry(1, 0), 2),
                ("Cov(J², J'²), one row", JacobianEntry(0, 0) ** 2 * JacobianEntry(0, 1) ** 2, 4),
                ("Cov(J², J'²), one column", JacobianEntry(0, 0) ** 2 * JacobianEntry(1, 0) ** 2, 4),
                ("Cov(J², J'²), neither", JacobianEntry(0, 0) ** 2 * JacobianEntry(1, 1) ** 2, 4),
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
            of_a.equation("4th cumulant of a", Offset(0) ** 4, where),
            of_a.equation("E aa'", Offset(0) * Offset(1), where),
            of_a.equation("Cov(a², a'²)", Offset(0) ** 2 * Offset(1) ** 2, where),
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
            of_both.equation("Cov(J², a²)", JacobianEntry(0, 0) ** 2 * Offset(0) ** 2, where),
            of_both.equation("Cov((Jx)², a²)", JacobianAlong(0) ** 2 * Offset(0) ** 2, where),
            of_both.equation("Cov((Jx)², a'²)", JacobianAlong(0) ** 2 * Offset(1) ** 2, where),
        ),
        **named,
    )
    return law_of_J, law_of_a, independence


ACROSS, ALONG, OFFSET, CROSS = sp.symbols("across along offset cross", real=True)
"""Letters of the covariances of a law, which may be long expressions."""


@dataclass(frozen=True)
class _Law:
    """The joint Gaussian law of J(x)e, J(x)x and a(x) as N -> oo, given by their variances and the covariance of the
    last two. Its moments follow by Isserlis' theorem."""

    across: sp.Expr
    along: sp.Expr
    offset: sp.Expr
    cross: sp.Expr

    def covariance(self, a: Observable, b: Observable) -> sp.Expr:
        """Cov(a, b), as a letter: zero for distinct units, or for an entry and anything but itself."""
        if a == b:
            return {JacobianEntry: ACROSS, JacobianAlong: ALONG, Offset: OFFSET}[type(a)]
        pair = {type(a), type(b)}
        if pair == {JacobianAlong, Offset} and a.args[0] == b.args[0]:
            return CROSS if self.cross != 0 else sp.S.Zero
        return sp.S.Zero

    def explicit(self, expr: sp.Expr) -> sp.Expr:
        """An expression with the covariances for their letters."""
        found: sp.Expr = expr.xreplace({ACROSS: self.across, ALONG: self.along, OFFSET: self.offset, CROSS: self.cross})
        return found

    def moment(self, polynomial: sp.Expr) -> sp.Expr:
        """E of a polynomial in observables: of each product the sum over all pairings of products of covariances
        (Isserlis)."""
        observables = sorted(polynomial.atoms(Observable), key=sp.default_sort_key)
        terms = sp.Poly(polynomial, *observables).terms()
        return sp.Add(
            *(coefficient * self._pairings([o for o, n in zip(observables, powers) for _ in range(n)])
              for powers, coefficient in terms)
        )  # fmt: skip

    def beyond(self, product: sp.Expr) -> sp.Expr:
        """What a product of fourth order says beyond the variances: each power of an observable becomes the Hermite
        polynomial of that degree for its variance, so that its mean is a cumulant or a covariance of squares."""
        return sp.Mul(*(_hermite(base, int(power), self.covariance(base, base))
                        for base, power in product.as_powers_dict().items()))  # fmt: skip

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
        of the same variances.

        A product of fourth order is taken :meth:`beyond` the variances, which are tested by themselves. So the size of
        a network's stream, by which its squares scatter, enters in second order only.
        """
        scale = sp.Mul(
            *(
                self.moment(base**power) if power % 2 == 0 else self.covariance(base, base) ** (power / 2)
                for base, power in product.as_powers_dict().items()
            )
        )
        tested = product if sum(product.as_powers_dict().values()) < 4 else self.beyond(product)
        value = self.moment(tested)
        lhs, rhs, unit = (_explicit(self.explicit(side), where) for side in (tested, value, scale))
        return Equation(label, Expectation(lhs), rhs, unit, exact)


def _hermite(x: sp.Expr, degree: int, variance: sp.Expr) -> sp.Expr:
    """The polynomial in x of this degree and leading coefficient 1 that is orthogonal to all of lower degree where x is
    Gaussian of this variance."""
    lower, found = sp.S.Zero, sp.S.One
    for k in range(degree):
        lower, found = found, sp.expand(x * found - k * variance * lower)
    return found


def _explicit(expr: sp.Expr, where: Mapping[sp.Symbol, sp.Expr]) -> sp.Expr:
    for symbol, meaning in where.items():
        expr = expr.subs(symbol, meaning)
    return expr


def _tests(net: Net) -> list[Claim]:
    """The laws of J and a; where pixels differ, how large J(x) is at each of them."""
    return list(linear_form(net)) if averages_follow(net) else [pixel_law(net)]


def _wrong(claim: Claim) -> list[Claim]:
    """The wrong versions of a law and, where the network has more than growth, plausible mistakes: all directions
    alike, E φ²/Q for E φ'², the input's variance for that of each layer, the pair kernel without the tail of its
    series, and a tap too few in convolutions."""
    if claim.lhs.has(PixelSquare):
        if claim.relation is Relation.AT_MOST:
            return [of_independent(claim), of_flatten(claim)]
        return [*equality(claim), flattened(claim)]
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
        taken[WITHOUT_TAIL] = _linear_form(mistaken(net, WithoutTail), net)[0]
    if any(isinstance(leaf, Conv) for leaf in net.leaves):
        taken["a tap too few"] = _linear_form(tap_too_few(net), net)[0]
    others = [replace(other, name=f"{claim.name} [{mistake}]") for mistake, other in taken.items()]
    # Claims that come from another process have letters of their own in their recursions, and equal none made here.
    right = _linear_form(net, net)[0]
    said = (right.rhs, right.equations)
    return [*law(claim), *(other for other in others if (other.rhs, other.equations) != said)]


EFFECTS = {"effect": 0.05, "effect_fourth": 0.1}
"""What a suite resolves of second moments, and of what fourth moments say beyond them."""

T1 = Theorem(
    name="T1",
    title="linear-like form: f(x) = J(x)x + a(x), laws of J and a",
    source=PAPER,
    tests=lambda net, pairs: _tests(net),
    wrong=_wrong,
    selected={
        "quick": rows(((*ALL, *EXTRA, *IMAGES[:1], *PIXELS, *POOLED), PAIRS)),
        "brief": rows((((GROWING, "relu"),), PAIRS)),
        "paper": rows(((*RELU, EXTRA[0]), PAIRS)),
    },
    scatters=lambda net: not net.exact,  # its second moments are extrapolated, too
    needs=(BOUNDED,),
    derive=Scripted("t1_linear_form"),
    scales={
        "quick": Scale(L=3, d=8, K=512, widths=(256, 512, 1024, 2048), nets=(300, 500, 345, 345), effects=EFFECTS),
        "scattered": Scale(L=3, d=8, K=512, widths=(128, 256, 1024, 2048), nets=(140, 390, 75, 700), effects=EFFECTS),
        "smooth": Scale(L=3, d=8, K=512, widths=(128, 256, 2048, 4096), nets=(480, 720, 220, 400), effects=EFFECTS),
        "images": Scale(L=2, d=8, K=256, widths=(64, 128, 256, 512), nets=(1150, 1150, 520, 345), effects=EFFECTS),
        "averaged": Scale(L=2, d=16, K=8, widths=(16,), nets=(400,), effects=EFFECTS),
        "pixels": Scale(L=2, d=16, K=8, widths=(16,), nets=(11_000,), effects=EFFECTS),
        # E Q_L², over the square of E Q_L, has a term of 17,000/N³ here (F1). What a fit to a + b/N + c/N² leaves of it
        # is 0.03 %.
        "paper": Scale(**PAPER_POINT, widths=(128, 256, 2048, 8192), nets=(2000, 2800, 6000, 200), effects=EFFECTS),
        "paper scattered": Scale(
            **PAPER_POINT,
            widths=(128, 256, 2048, 8192),
            nets=(3000, 8000, 10_000, 200),
            effects={"effect": 0.05, "effect_fourth": 0.2},
        ),
    },
)
