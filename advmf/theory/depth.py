"""How moments grow with depth, where they grow as a power of it: a norm before each branch makes them.

A moment that every block multiplies by a rational function of how many blocks came before is a product of Gamma
functions. Stirling's formula then gives its law at large depth, rate^L L^power.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import sympy as sp

from advmf.boundary import public
from advmf.errors import DeclarationError, one_of
from advmf.functions import Recursion
from advmf.nets import Net
from advmf.notebook import Shown
from advmf.symbols import L
from advmf.theory.propagation import START, STATE, moments, step

KINDS = ("j", "Q")
"""The moments that have such a law: the Jacobian factor, and the second moment."""

_N = sp.Symbol("n", integer=True, nonnegative=True)
"""How many blocks came before."""


@public
@dataclass(frozen=True)
class DepthLaw(Shown):
    """A moment after L >= 1 blocks is ``exact``, and ``asymptote`` up to a factor that approaches 1 as L → ∞."""

    exact: sp.Expr
    rate: sp.Expr
    power: sp.Expr
    constant: sp.Expr

    @property
    def asymptote(self) -> sp.Expr:
        """constant · rate^L · L^power."""
        return self.constant * self.rate**L * L**self.power


@public
@cache
def depth_law(net: Net, moment: str = "j") -> DepthLaw:
    """How a moment grows with the depth L: as rate^L, as a power of L, or as both.

    ``moment`` is "j", the Jacobian factor (``moments(net).j``), or "Q", the second moment of the stream. In
    ``pre_norm`` Q grows by the same amount in every block. So the factor 1 + σ_w² E φ'²/Q_l of the Jacobian approaches
    1 as 1/l approaches 0, and j_L grows as a power of L. Nothing of this is typed in. Q_l is the solution of the
    block's recursion. The product of the factors is one of Gamma functions, which is put back into the recursion. The
    power follows by Stirling's formula.

    Raises DeclarationError for a net of stages or a block that changes with L, and where the factor is no rational
    function of the number of blocks before; ArgumentError for another ``moment``.

    Source: ours, from the recursion of Q and j; Gamma functions by Γ(x + 1) = xΓ(x).

    >>> import advmf as mf
    >>> law = mf.depth_law(mf.pre_norm(u=1, v=0))
    >>> law.rate, law.power
    (1, sigma_w**2/(2*sigma_b**2 + sigma_w**2))
    >>> mf.depth_law(mf.pre_norm(u=1, v=0), "Q").power, mf.depth_law(mf.residual(u=1, v=0)).rate
    (1, sigma_w**2/2 + 1)
    """
    kind = one_of("moment", moment, KINDS)
    factor, start = _factor(net, kind), START.items()[kind]
    means = {e: sp.Dummy(positive=True) for e in factor.atoms(sp.Function) if not e.has(_N)}
    found = _law(net, kind, factor.xreplace(means), start)
    back = {dummy: e for e, dummy in means.items()}
    return DepthLaw(*(e.xreplace(back) for e in (found.exact, found.rate, found.power, found.constant)))


def _factor(net: Net, kind: str) -> sp.Expr:
    """What block n + 1 multiplies the moment by, as a function of n."""
    after, own = step(net.block).items()[kind], STATE.items()[kind]
    if after.has(L):
        raise _refused(net, kind, f"its block changes with the depth itself: {after!s:.160}")
    factor = sp.cancel(sp.together(after / own))
    solved = moments(net).items()
    for name, symbol in STATE.items().items():
        if not factor.has(symbol):
            continue
        if solved[name].has(Recursion):
            raise _refused(net, kind, f"the factor of a block depends on {name}, which has no closed form in L")
        factor = factor.subs(symbol, solved[name].subs(L, _N))
    return factor


def _law(net: Net, kind: str, factor: sp.Expr, start: sp.Expr) -> DepthLaw:
    """The product of the factors of L blocks, times what they start with."""
    begin = 0
    if factor.has(sp.Piecewise):  # what a block forgets, it forgets at the first: the rest are alike
        start, begin = start * sp.cancel(factor.subs(_N, 0)), 1
        later = sp.Dummy(integer=True, positive=True)
        factor = factor.subs(_N, later).subs(later, _N)
    tops, bottoms = sp.fraction(sp.cancel(sp.together(factor)))
    if not (tops.is_polynomial(_N) and bottoms.is_polynomial(_N)):
        raise _refused(net, kind, f"the factor of block n + 1 is no quotient of polynomials in n, {factor!s:.160}")
    (above, lead), (below, under) = (_shifts(net, kind, e) for e in (tops, bottoms))
    if len(above) != len(below):
        raise _refused(net, kind, f"the factor of block n + 1 becomes zero or infinite, {factor!s:.160}")
    rate, power = sp.simplify(lead / under), sp.factor(sp.simplify(sp.Add(*above) - sp.Add(*below)))
    product = _Product.of(above, below, begin)
    product.verify(factor / rate, power)
    meaning = product.meaning
    exact = start * product.exact.xreplace(meaning) * rate ** (L - begin)
    return DepthLaw(exact, rate, power, start * product.constant.xreplace(meaning) / rate**begin)


def _shifts(net: Net, kind: str, polynomial: sp.Expr) -> tuple[list[sp.Expr], sp.Expr]:
    """The s of the factors n + s of a polynomial in n, and its leading coefficient."""
    poly = sp.Poly(polynomial, _N)
    zeros = sp.roots(poly)
    if sum(zeros.values()) != poly.degree():
        raise _refused(net, kind, f"the zeros of {polynomial!s:.160} in n have no closed form")
    return [sp.factor(-zero) for zero, times in zeros.items() for _ in range(times)], poly.LC()


@dataclass(frozen=True)
class _Product:
    """∏ (n + s)/(n + t) over n = begin .. L - 1, with letters for what is no number in the shifts s and t.

    All shifts are the first of them plus a difference, so that whole differences can be seen.
    """

    above: tuple[sp.Expr, ...]
    below: tuple[sp.Expr, ...]
    begin: int
    meaning: dict[sp.Expr, sp.Expr]

    @classmethod
    def of(cls, above: list[sp.Expr], below: list[sp.Expr], begin: int) -> _Product:
        first, letters = sp.Dummy("s", positive=True), dict[sp.Expr, sp.Expr]()

        def letter(shift: sp.Expr) -> sp.Expr:
            apart = sp.factor(sp.simplify(shift - below[0]))
            return first + (apart if apart.is_number else letters.setdefault(apart, sp.Dummy("r", positive=True)))

        shifts = [[letter(shift) for shift in side] for side in (above, below)]
        meaning = dict(zip([first, *letters.values()], [*below[:1], *letters])) if below else {}
        return cls(tuple(shifts[0]), tuple(shifts[1]), begin, meaning)

    @property
    def exact(self) -> sp.Expr:
        """As Gamma functions of L."""
        return sp.gammasimp(self._gammas(self.above, L) / self._gammas(self.below, L) * self._head)

    @property
    def constant(self) -> sp.Expr:
        """What it approaches over L^(Σs - Σt), by Stirling's formula."""
        _verify_stirling()
        return sp.gammasimp(self._head)

    @property
    def _head(self) -> sp.Expr:
        return self._gammas(self.below, self.begin) / self._gammas(self.above, self.begin)

    @staticmethod
    def _gammas(shifts: tuple[sp.Expr, ...], at: sp.Expr | int) -> sp.Expr:
        return sp.Mul(*(sp.gamma(at + shift) for shift in shifts))

    def verify(self, factor: sp.Expr, power: sp.Expr) -> None:
        """That the product solves the recursion by ``factor``, from where it begins, and that the power is what the
        factor says of it: factor = 1 + power/n + O(1/n²)."""
        exact = self.exact.subs(L, _N)
        own = sp.Mul(*(_N + s for s in self.above)) / sp.Mul(*(_N + s for s in self.below))
        u = sp.Dummy(positive=True)
        slope = sp.diff(sp.cancel(sp.together(factor.subs(_N, 1 / u))), u).subs(u, 0)
        residues = (
            sp.gammasimp(sp.expand_func(exact.subs(_N, _N + 1) / exact)) - own,
            own.xreplace(self.meaning) - factor,
            sp.gammasimp(exact.subs(_N, self.begin)) - 1,
            slope - power,
        )
        if any(sp.simplify(residue) != 0 for residue in residues):
            raise ArithmeticError(
                f"The product of Gamma functions does not solve the recursion by the factor {factor}."
            )


@cache
def _verify_stirling() -> None:
    """Γ(x + a)/Γ(x) is x^a at large x, up to a factor that approaches 1."""
    x, a = sp.symbols("x a", cls=sp.Dummy, positive=True)
    if sp.limit(sp.loggamma(x + a) - sp.loggamma(x) - a * sp.log(x), x, sp.oo) != 0:
        raise ArithmeticError("Stirling's formula does not give the power of a quotient of Gamma functions.")


def _refused(net: Net, kind: str, why: str) -> DeclarationError:
    return DeclarationError(
        f"{net.name}: no law of {kind} at large depth is found, as {why}. Where it grows by one factor per block, growth_rate(net) and omega(net) "
        "have it; kernel(moments(net)) has the numbers of every depth."
    )
