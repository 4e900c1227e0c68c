"""A claim: a statement about random networks with its regime, assumptions and source, ready to be typeset, compiled or
checked."""

from __future__ import annotations

import enum
import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import sympy as sp

from advmf.boundary import all_of, described, fits, public, shown
from advmf.errors import ArgumentError
from advmf.expressions import expression
from advmf.nets import Net
from advmf.notebook import Shown
from advmf.observables import ATTACK, Expectation, Observable, Probability, Quantile
from advmf.symbols import exponent


class Regime(enum.Flag):
    """The regime in which a claim holds.

    ``EXACT``: at every width and dimension. ``LARGE_WIDTH``: as N -> oo. ``LARGE_DIMENSION``: as d or K -> oo.
    ``SMALL_BALL``: as eps -> 0, where the ball of perturbations lies in one linear region of the network.
    ``HEURISTIC``: the claim rests on an unproved step, named in its ``heuristic``. Regimes combine:
    ``Regime.LARGE_WIDTH | Regime.HEURISTIC``.
    """

    EXACT = enum.auto()
    LARGE_WIDTH = enum.auto()
    HEURISTIC = enum.auto()
    LARGE_DIMENSION = enum.auto()
    SMALL_BALL = enum.auto()


class Relation(enum.StrEnum):
    """The relation that a claim states between its two sides.

    ``approx``: they agree up to a relative ``tolerance``. ``asymp``: they are of the same order. ``~``: the left side
    has independent centred Gaussian entries whose variance is the right side. Each member has its LaTeX ``tex``, and
    tells whether a value ``above`` the right-hand side contradicts it, and whether one ``below`` does.

    >>> Relation("<=").above, Relation("<=").below, Relation(">=").bound, Relation.EQUAL.bound
    (True, False, True, False)
    """

    tex: str
    above: bool
    below: bool

    AT_MOST = "<=", r"\le", True, False
    AT_LEAST = ">=", r"\ge", False, True
    EQUAL = "==", "=", True, True
    APPROX = "approx", r"\approx", True, True
    ORDER = "asymp", r"\asymp", True, True
    LAW = "~", r"\overset{\text{i.i.d.}}{\sim}", True, True

    def __new__(cls, value: str, tex: str = "", above: bool = True, below: bool = True) -> Self:
        self = str.__new__(cls, value)
        self._value_, self.tex, self.above, self.below = value, tex, above, below
        return self

    @property
    def bound(self) -> bool:
        """Whether it is contradicted by values on one side only."""
        return self.above != self.below

    def __repr__(self) -> str:
        return repr(str(self))


RHS = sp.Symbol("rhs", real=True)
"""The symbol that stands in an :class:`Equation` for the right-hand side of its claim."""


@public
@dataclass(frozen=True)
class Equation(Shown):
    """A consequence of a claim, tested as ``(lhs - rhs)/scale = 0``; ``exact`` if it holds at every width.

    :data:`RHS` stands for the claim's right-hand side, so that an equation follows every change of the claim. For a
    bound it is tested in the bound's direction: ``(lhs - rhs)/scale <= 0`` for ``<=``. The sides differ by
    o(N**-order). At ``order`` 1 the coefficient of 1/N is tested, and ``scale`` is the scale of that coefficient.
    """

    label: str
    lhs: sp.Expr
    rhs: sp.Expr
    scale: sp.Expr
    exact: bool = False
    order: int = 0

    def __post_init__(self) -> None:
        for name in ("lhs", "rhs", "scale"):
            object.__setattr__(self, name, expression(getattr(self, name)))

    @property
    def states(self) -> bool:
        """Whether it involves the claim's right-hand side."""
        return bool(self.lhs.has(RHS) or self.rhs.has(RHS))

    def of(self, rhs: sp.Expr) -> Equation:
        """The equation with ``rhs`` for :data:`RHS`."""
        return replace(self, **{name: getattr(self, name).xreplace({RHS: rhs}) for name in ("lhs", "rhs", "scale")})


def _is_tolerance(value: object) -> bool:
    if isinstance(value, sp.Expr) and value.free_symbols:
        return bool(value.is_extended_nonnegative)
    return isinstance(value, numbers.Real) and 0 <= float(value) < math.inf


@public
class Claims(Shown, tuple["Claim", ...]):
    """Several claims. It is a tuple, which a notebook shows as formulas.

    >>> import advmf as mf
    >>> laws = mf.linear_form(mf.residual(1, 0))
    >>> type(laws).__name__, laws[0].name, laws._repr_latex_().count("aligned")
    ('Claims', 'T1.J', 2)

    Raises ArgumentError for what is no sequence of claims.
    """

    def __new__(cls, claims: Iterable[Claim] = ()) -> Claims:
        return super().__new__(cls, all_of(Claim, "Claims", claims))


FIELDS: dict[str, Any] = {
    "name": str, "where": Mapping[sp.Symbol, Any], "assumptions": Sequence[str], "source": str, "net": Net | None,
    "heuristic": str, "equations": Sequence[Equation],
}  # fmt: skip
"""The types of a claim's fields that have no message of their own."""
YOURS = "yours"
"""The name and the source of a claim that states none."""


@public
@dataclass(frozen=True)
class Claim(Shown):
    """``lhs relation rhs``.

    ``formula`` is the right-hand side in the paper's abbreviations (``omega``, ``beta``), and ``where`` has their
    meanings; ``rhs`` is the formula with the meanings put in. ``equations`` are the testable consequences of a law
    (relation ``~``) or of an independence. In them :data:`RHS` stands for the right-hand side; ``implied`` has it put
    in. A check of a claim with equations tests only these, so at least one of them must involve the right-hand side. A
    claim about Gaussian matrices has no ``net``. :meth:`of` makes a claim of your own from its two sides and the net.

    ``tolerance`` is an allowed deviation relative to the right-hand side: a number, or an expression in the symbols of
    the point. ``allowed`` is its value at a point.

    A claim holds from the depth L = ``depth`` on. A claim about a trained matrix holds from 1 on, because there is no
    matrix at L = 0. Its kernel, a check and an exported Python function refuse a smaller depth, and a derivation may
    rest on L >= ``depth``.

    >>> import advmf as mf
    >>> claim = mf.loss_bound(mf.vanilla(u=1, v=0), p=2, q=2, route="leading")
    >>> claim.relation, claim.formula
    ('<=', beta*eps*omega**(L/2))
    >>> claim.rhs.free_symbols == set(mf.kernel(claim).expr.free_symbols)
    True
    """

    name: str
    lhs: sp.Expr
    relation: Relation
    formula: sp.Expr
    where: Mapping[sp.Symbol, sp.Expr] = field(default_factory=dict)
    regime: Regime = Regime.LARGE_WIDTH
    assumptions: tuple[str, ...] = ("the network as declared, at initialisation",)
    source: str = YOURS
    net: Net | None = None
    heuristic: str = ""
    p: sp.Expr | None = None
    q: sp.Expr | None = None
    equations: tuple[Equation, ...] = field(default=(), repr=False)
    tolerance: float | sp.Expr = 0.0
    depth: int = 0

    def __post_init__(self) -> None:
        for name in ("lhs", "formula"):  # a plain number is a formula
            object.__setattr__(self, name, expression(getattr(self, name)))
        for name, kind in FIELDS.items():
            if not fits(value := getattr(self, name), kind):
                raise ArgumentError(f"Claim: {name} takes {described(kind)}; got {shown(value)}.")
        for name in ("p", "q"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, exponent(value, name))
        if self.formula is sp.nan:
            raise ArgumentError(f"The right-hand side of claim {self.name} is no number (NaN).")
        if not isinstance(self.relation, str) or self.relation not in list(Relation):
            raise ArgumentError(f"A claim's relation is one of {', '.join(Relation)}; got {self.relation!r}.")
        object.__setattr__(self, "relation", Relation(self.relation))
        if not isinstance(self.regime, Regime):
            raise ArgumentError(
                f"A claim's regime is one of, or several of, Regime.EXACT and its like; got {self.regime!r}."
            )
        if not _is_tolerance(self.tolerance):
            raise ArgumentError(
                f"A claim's tolerance is a finite number from 0 on, or an expression in its letters; got {self.tolerance!r}."
            )
        if type(self.depth) is not int or self.depth < 0:
            raise ArgumentError(
                f"A claim's depth is the least L that it holds at, an integer from 0 on; got {self.depth!r}."
            )
        if (Regime.HEURISTIC in self.regime) != bool(self.heuristic):
            raise ArgumentError(
                f"Claim {self.name}: regime {self.regime} and heuristic {self.heuristic!r} disagree. "
                "A heuristic claim names its unproved step, and no other claim has one."
            )

    @classmethod
    @public
    def of(
        cls, lhs: sp.Expr, relation: str, formula: sp.Expr, net: Net | None, *, name: str = YOURS, **fields: Any
    ) -> Claim:
        """A claim of your own: ``lhs relation formula`` about a network. All other fields have defaults.

        It is named "yours", is about large width (``Regime.LARGE_WIDTH``: a check extrapolates to N → ∞), and assumes
        the network as declared. ``p`` and ``q`` are those of the left-hand side, if it has one pair. Any field of a
        claim may be given instead. Raises ArgumentError for a left-hand side without a mean, a probability or a
        quantile, a relation or a field that there is not, and a net that is none.

        >>> import advmf as mf
        >>> from advmf.observables import AdversarialLoss, Expectation
        >>> from advmf.symbols import L, eps
        >>> mine = mf.Claim.of(Expectation(AdversarialLoss(2, 2)), "<=", 3 * eps * sp.sqrt(L), mf.residual(1, 0))
        >>> print(mine), mine.source, mine.p
        yours: Expectation(AdversarialLoss(2, 2)) <= 3*sqrt(L)*eps
        (None, 'yours', 2)
        """
        if not isinstance(net, Net | None):
            raise ArgumentError(
                f"Claim.of takes a Net, such as advmf.residual(u=1, v=0), or None for matrices; got {net!r:.80}."
            )
        lhs = expression(lhs)
        if not lhs.has(Expectation, Probability, Quantile):
            raise ArgumentError(
                f"The left-hand side of a claim is an Expectation of observables, a Probability or a Quantile, of advmf.observables; "
                f"got {lhs!s:.80}."
            )
        pairs = {o.args[:2] for o in lhs.atoms(Observable) if len(o.args) == 2 and ATTACK in o.needs}
        if len(pairs) == 1:
            p, q = pairs.pop()
            fields = {"p": p, "q": q, **fields}
        return cls(name, lhs, relation, formula, net=net, **fields)  # type: ignore[arg-type]

    def allowed(self, at: Mapping[str, float]) -> float:
        """The tolerance at a point; raises ArgumentError where ``at`` lacks one of its symbols.

        >>> import advmf as mf
        >>> claim = mf.norm_factor("inf", 1, "estimate")
        >>> claim.allowed(dict(d=784, K=10)), claim.allowed(dict(d=8, K=3))
        (0.03, 0.07)
        """
        if not isinstance(self.tolerance, sp.Expr):
            return float(self.tolerance)
        letters = self.tolerance.free_symbols
        if missing := sorted({s.name for s in letters} - set(at)):
            raise ArgumentError(f"The tolerance of {self.name} is {self.tolerance}; give {', '.join(missing)} in at.")
        return float(self.tolerance.subs({s: at[s.name] for s in letters}))

    @property
    def rhs(self) -> sp.Expr:
        """The right-hand side in the registry's symbols."""
        return self.put_in(self.formula)

    @property
    def subject(self) -> sp.Expr:
        """The left-hand side; that of a probability or a quantile is in the registry's symbols."""
        return self.put_in(self.lhs) if isinstance(self.lhs, Probability | Quantile) else self.lhs

    def put_in(self, expr: sp.Expr) -> sp.Expr:
        """An expression with the meanings of its abbreviations put in."""
        for symbol, meaning in self.where.items():
            expr = expr.subs(symbol, meaning)
        return expr

    @property
    def implied(self) -> tuple[Equation, ...]:
        """The equations with the claim's right-hand side put in, as a check tests them.

        >>> import advmf as mf
        >>> law = mf.linear_form(mf.vanilla(u=1, v=0))[0]
        >>> law.equations[2].scale, law.implied[2].scale
        (3*rhs**2, 3*(sigma_w**2/2)**(2*L)/d**2)
        """
        rhs = self.rhs
        return tuple(equation.of(rhs) for equation in self.equations)

    @public
    def scaled(self, factor: object) -> Claim:
        """The same claim with its right-hand side, and so its equations, multiplied by ``factor``: a mutant, for
        negative controls.

        A factor does not change an order of growth, or a right-hand side of zero.
        """
        return replace(self, name=f"{self.name} x {factor}", formula=expression(factor) * self.formula)

    def __str__(self) -> str:
        return f"{self.name}: {self.lhs} {self.relation} {self.formula}"
