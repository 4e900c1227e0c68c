"""Comparing two expressions: at random points of their symbols' domains in high precision, and by proof that their
difference is zero."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import sympy as sp
from sympy.core.function import AppliedUndef

from advmf.functions import Flow, GaussianMean, GaussianNorm, GeometricSum, NumericNorm, Recursion
from advmf.observables import Expectation, Observable, Probability, Quantile
from advmf.theory.clock import within
from advmf.theory.draws import DIGITS, Draws, Point, rational

POINTS = 24
"""The points at which two expressions are compared."""

RARE = 72
"""The rare places at which they are compared: a random choice if there are more."""

TRIES = 60
"""How many points are drawn, at most, for each point wanted. A point is drawn anew where a side has no number, or both
are zero as in a trivial case of a Piecewise."""

FUNCTIONS = 4
"""How many random functions are tried in place of an undefined one."""

FLOWS = 4
"""The points of a comparison in which a differential equation is integrated; each takes from a tenth of a second to
seconds."""

SECONDS = 4.0
"""The processor time that SymPy gets for one proof."""

_DOUBLE = (GaussianMean, GaussianNorm, NumericNorm, Flow, Recursion, sp.Integral)
"""Functions whose numbers have double precision at most, or take long in more digits."""

BINDING = (GaussianMean, Recursion, Flow, sp.Sum, sp.Product, sp.Integral)
"""Functions with bound letters: values of the same letters outside must not be put into them."""

MOMENT = 2.0
"""The processor time, in seconds, for one number."""

LONG = 10**4
"""The denominator from which on an exponent is long, so that a power by it is a decimal number at once."""

LOCAL = (sp.Derivative, sp.Subs, sp.Limit)
"""Operations that are done before numbers are put in. Sums and products are done afterwards, when their ends are
numbers."""


class Difference(NamedTuple):
    """A point at which a relation between two expressions fails, with their values there."""

    point: Point
    left: sp.Expr
    right: sp.Expr

    def __str__(self) -> str:
        where = ", ".join(f"{symbol} = {_short(value)}" for symbol, value in self.point.items())
        both = self.left.is_finite and self.right.is_finite and self.right != 0
        ratio = f", the left over the right {sp.N(self.left / self.right, 8)}" if both else ""
        return (
            f"at {where or 'every point'} the left is {sp.N(self.left, 12)} and the right {sp.N(self.right, 12)}{ratio}"
        )


class Comparison(NamedTuple):
    """The number of points at which a relation held, and the first point at which it failed."""

    held: int
    difference: Difference | None


def compare(
    left: sp.Expr,
    right: sp.Expr,
    relation: str = "==",
    where: Sequence[sp.Basic] = (),
    *,
    points: int = POINTS,
    digits: int = DIGITS,
    tolerance: float = 0.0,
    seed: int = 0,
) -> Comparison:
    """Evaluate ``left relation right`` at random points of the symbols' domains at which ``where`` holds, until it
    fails.

    The points are ``points`` ordinary ones, and then the rare places of :class:`~advmf.theory.draws.Draws`.
    ``relation`` is one of ``==``, ``<=``, ``>=``, ``<``, ``>``. An observable takes any value of its declared sign, and
    an undefined function is replaced by random ones. Where a side has no number, another point is drawn. ``tolerance``
    is relative. By default it is that of the digits, or 1e-9 where a function has double precision only.

    >>> import sympy as sp
    >>> from advmf.theory.points import compare
    >>> x = sp.Symbol("x", positive=True)
    >>> compare((x + 1) ** 2, x**2 + 2 * x + 1).difference is None
    True
    >>> [compare(x + 1 / x, sp.Integer(least), ">=").difference is None for least in (2, 3)]
    [True, False]
    """
    random_ = random.Random(seed)
    left, right, *where = opaque(left, right, *where)
    inexact = left.has(*_DOUBLE) or right.has(*_DOUBLE)
    rare = RARE if points == POINTS else 2 * points
    if left.has(Flow) or right.has(Flow):
        points, rare, digits = min(points, FLOWS), FLOWS, 12
    allowed = sp.Float(tolerance or (1e-9 if inexact else 10.0 ** (15 - digits)))
    draws = Draws((left, right), where, random_)
    # A condition on symbols that do not occur can be met by a choice of their values.
    where = [condition for condition in where if condition.free_symbols <= set(draws.symbols)]
    drawn = [
        [_apart(evaluated(side, LOCAL)) for side in _with_random_functions((left, right), random_)]
        for _ in range(FUNCTIONS if left.has(AppliedUndef) or right.has(AppliedUndef) else 1)
    ]
    numbers: list[bool] = []  # whether the sides have any

    def tried(point: Point) -> Difference | bool | None:
        """The outcome at a point: a difference, whether it counts as evidence, or None where a condition fails."""
        if any(_false(condition, point) for condition in where):
            return None
        sides = random_.choice(drawn)
        a, b = (_number(side, point, digits) for side in sides)
        if a is None or b is None:
            return False
        numbers.append(True)
        if _fails(a, b, relation, allowed):
            real = _fails_exactly(sides, point, relation, digits, allowed)
            return Difference(point, a, b) if real else False
        return bool(a.is_finite and (a or b)) or 0 in (left, right)

    held = tries = outside = 0
    while held < points and tries < TRIES * (points if numbers else 1) and outside < 100 * TRIES * points:
        found = tried(draws.ordinary())
        outside, tries = outside + (found is None), tries + (found is not None)
        if isinstance(found, Difference):
            return Comparison(held, found)
        held += found is True
        if not draws.symbols:
            return Comparison(held, None)
    for point in draws.rare(rare) if numbers else ():
        if isinstance(found := tried(point), Difference):
            return Comparison(held, found)
    return Comparison(held, None)


def _fails(a: sp.Expr, b: sp.Expr, relation: str, allowed: sp.Expr) -> bool:
    """Whether a relation fails between two numbers, which may be infinite."""
    if not (a.is_finite and b.is_finite):
        return a != b and not (a < b if "<" in relation else a > b if ">" in relation else False)
    if relation in ("<", ">") and a == b:
        return True
    excess = {"=": abs(a - b), "<": a - b, ">": b - a}[relation[0]]
    return bool(excess > allowed * max(abs(a), abs(b)))


def _apart(expr: sp.Expr) -> sp.Expr:
    """The expression with its bound symbols renamed, so that numbers for the same letters outside do not enter."""

    def renamed(e: sp.Expr) -> sp.Expr:
        names = {s: sp.Dummy(s.name, **s.assumptions0) for s in e.bound_symbols}
        if isinstance(e, GaussianMean):
            return e.xreplace(names)
        # In its ends or its start the same letter is a free one, but an end may hold the bound letter of an outer sum.
        if isinstance(e, (Recursion, Flow)):
            first, variables, changes, start, one = e.args
            return e.func(first, variables.xreplace(names), changes.xreplace(names), start, names[one])
        limits = [
            (names[s], *(end.xreplace({other[0]: names[other[0]] for other in e.limits[i + 1 :]}) for end in ends))
            for i, (s, *ends) in enumerate(e.limits)
        ]
        return e.func(e.function.xreplace(names), *limits)

    return expr.replace(lambda e: isinstance(e, BINDING), renamed)


def _false(condition: sp.Basic, point: Point) -> bool:
    """Whether a condition fails at a point, or has no meaning there."""
    try:
        return bool(condition.xreplace(point) == sp.false)
    except TypeError:
        return True


def _fails_exactly(sides: Sequence[sp.Expr], point: Point, relation: str, digits: int, allowed: sp.Expr) -> bool:
    """Whether a failure remains in exact arithmetic, with all the digits asked for, and so is not one of rounding."""
    if any(side.has(*_DOUBLE) for side in sides):
        return True
    exact = {s: sp.Rational(value) if value.is_Float else value for s, value in point.items()}
    a, b = (_number(side, exact, digits, strict=True) for side in sides)
    return a is not None and b is not None and _fails(a, b, relation, allowed)


def observables(*exprs: sp.Basic) -> set[sp.Expr]:
    """The means over networks, probabilities and quantiles in expressions, and the observables that stand outside
    them."""
    found = set().union(*(e.atoms(Expectation, Probability, Quantile) for e in exprs))
    found -= set().union(*(e.args[0].atoms(Expectation) for e in found))
    inside = set().union(*(e.atoms(Observable) for e in found))
    return found | (set().union(*(e.atoms(Observable) for e in exprs)) - inside)


def abstracted(*exprs: sp.Expr) -> list[sp.Expr]:
    """The expressions with a symbol in place of each function of double precision only, outside sums and
    derivatives."""
    heads = tuple(
        head for head in _DOUBLE if not any(act.has(head) for e in exprs for act in e.atoms(*LOCAL, sp.Sum, sp.Product))
    )
    found = set().union(*(e.atoms(*heads) for e in exprs)) if heads else set()
    inside = set().union(*(arg.atoms(*heads) for e in found for arg in e.args)) if heads else set()
    names = {
        e: sp.Dummy(f"f_{i}", **next(({n: True} for n in _SIGNS if getattr(e, f"is_{n}")), {}))
        for i, e in enumerate(sorted(found - inside, key=str))
    }
    return [e.xreplace(names) for e in exprs]


def opaque(*exprs: sp.Basic) -> list[Any]:
    """The expressions with a symbol of the declared sign in place of each mean over networks and each observable
    outside one.

    Inside a derivative, a sum or a substitution the symbol is a function of that operation's letters, because the mean
    may depend on them.
    """
    found = observables(*exprs)
    moving: set[sp.Symbol] = set()
    for act in set().union(*(e.atoms(*LOCAL, *BINDING) for e in exprs)):
        bound = (
            {s for arg in act.args[1:] for s in arg.free_symbols} if isinstance(act, LOCAL) else set(act.bound_symbols)
        )
        moving |= {s for s in bound if isinstance(s, sp.Symbol)}
    names = {}
    for e in sorted(found, key=sp.default_sort_key):
        sign = next(({name: True} for name in _SIGNS if getattr(e, f"is_{name}")), {})
        acted = sorted(moving & e.free_symbols, key=str)
        names[e] = sp.Function(str(e), **sign)(*acted) if acted else sp.Dummy(str(e), **sign)
    return [e.xreplace(names) for e in exprs]


_SIGNS = ("positive", "nonnegative", "extended_nonnegative", "real")
"""The signs that an observable can be declared with, from the strongest statement to the weakest."""


def proves_zero(expr: sp.Expr, seconds: float = SECONDS) -> bool:
    """Whether SymPy proves that an expression is zero, within ``seconds`` of processor time.

    >>> import sympy as sp
    >>> from advmf.theory.points import proves_zero
    >>> x = sp.Symbol("x", positive=True)
    >>> proves_zero(sp.log(x**2) - 2 * sp.log(x)), proves_zero(sp.log(x**2) - sp.log(x))
    (True, False)
    """
    (expr,) = opaque(sp.sympify(expr))

    def attempts() -> Iterator[Callable[[], bool]]:
        yield lambda: sp.expand(expr) == 0
        yield lambda: sp.expand(_peeled(expr)) == 0
        plain = evaluated(expr)
        yield lambda: sp.expand(plain) == 0
        yield partial(_same_factors, plain)
        yield lambda: sp.expand(_with_factored_arguments(plain), deep=False) == 0
        # Integrals are not done again: a Gaussian one was, and for others SymPy would take all of its time.
        yield lambda: sp.simplify(sp.powsimp(sp.expand(plain)), doit=False) == 0
        powers = plain.replace(lambda e: isinstance(e, GeometricSum), lambda e: e.rewrite(sp.Pow))
        yield lambda: powers != plain and sp.simplify(powers, doit=False) == 0

    result = within(seconds, lambda: any(attempt() for attempt in attempts()))
    return bool(result)


def evaluated(expr: sp.Expr, heads: tuple[type, ...] = (*LOCAL, sp.Sum, sp.Product)) -> sp.Expr:
    """The expression with its derivatives, limits and sums done."""
    return expr.replace(lambda e: isinstance(e, heads), lambda e: e.doit())


def _peeled(expr: sp.Expr) -> sp.Expr:
    """Sums and products to n + 1, split into those to n and the last term, for proofs by induction."""

    def split(e: sp.Expr) -> sp.Expr:
        (k, low, high), join = e.args[1], sp.Add if isinstance(e, sp.Sum) else sp.Mul
        return join(e.func(e.args[0], (k, low, high - 1)), e.args[0].xreplace({k: high}))

    def next_one(e: sp.Expr) -> bool:
        return isinstance(e, (sp.Sum, sp.Product)) and len(e.args) == 2 and e.args[1][2].as_coeff_Add()[0] == 1

    return expr.replace(next_one, split)


def _with_factored_arguments(expr: sp.Expr) -> sp.Expr:
    """The expression with the arguments of its elementary functions, and its exponents, factored: then equal arguments
    look alike."""

    def one(argument: sp.Expr) -> sp.Expr:
        return sp.factor(sp.Add(*map(sp.factor, sp.Add.make_args(argument))))

    def factored(e: sp.Expr) -> sp.Expr:
        if isinstance(e, sp.Pow):
            return e if e.exp.is_number else e.base ** one(e.exp)
        return e.func(*map(one, e.args))

    return expr.replace(lambda e: isinstance(e, (sp.Pow, sp.exp, sp.log, sp.gamma)), factored)


def _same_factors(expr: sp.Expr) -> bool:
    """Whether two terms cancel, by the logarithm of their ratio; its factors must be positive."""
    expr = _with_positive_sums(expr)
    terms = sp.Add.make_args(expr)
    if len(terms) != 2:
        terms = sp.Add.make_args(sp.fraction(sp.together(expr))[0])
    if len(terms) != 2 or not all(term.is_nonzero for term in terms):
        return False
    ratio = sp.powsimp(sp.factor(-terms[0]) / sp.factor(terms[1]))
    return ratio == 1 or sp.simplify(sp.expand_log(sp.log(ratio))) == 0


def _with_positive_sums(expr: sp.Expr) -> sp.Expr:
    """The expression with positive symbols for sums that cannot be negative, such as u**2 + v**2. Where such a sum is
    zero, the sides agree by continuity."""
    names: dict[sp.Expr, sp.Symbol] = {}
    bound = {symbol for e in expr.atoms(*BINDING) for symbol in e.bound_symbols}

    def named(total: sp.Expr) -> sp.Expr:
        content, rest = sp.factor_terms(total).as_coeff_Mul()
        return content * names.setdefault(rest, sp.Dummy(positive=True)) if rest.is_Add else total

    return expr.replace(lambda e: e.is_Add and e.is_nonnegative and not e.free_symbols & bound, named)


def _number(expr: sp.Expr, point: Point, digits: int, strict: bool = False) -> sp.Expr | None:
    """The number of an expression at a point, perhaps infinite; None if it has no number there or none is found in
    time."""

    def work() -> sp.Expr:
        at = expr.xreplace({**point, **_long_powers(expr, point)})
        at = evaluated(at) if at.has(sp.Sum, sp.Product) else at
        return sp.N(at, 15 if at.has(GaussianMean) and digits > 15 else digits, strict=strict)

    value = within(MOMENT, work)
    return value if value is not None and value.is_Number and value.is_extended_real else None


def _long_powers(expr: sp.Expr, point: Point) -> dict[sp.Expr, sp.Expr]:
    """The powers in an expression whose base and exponent are fractions at a point, with many digits in the exponent,
    as numbers of twice the digits that SymPy works with at most.

    SymPy would write 12**(m/n) as 2**(2 m/n) 3**(m/n) and so compute 2**m, which has more digits than memory holds.
    """
    found = {}
    for power in expr.atoms(sp.Pow):
        if power.exp.free_symbols:
            base, exponent = (part.xreplace(dict(point)) for part in power.as_base_exp())
            if base.is_Rational and base.is_positive and exponent.is_Rational and exponent.q > LONG:
                found[power] = sp.Float(base, 200) ** exponent
    return found


def _with_random_functions(sides: Sequence[sp.Expr], random_: random.Random) -> list[sp.Expr]:
    """The sides with each undefined function replaced by a random smooth one: a linear function plus waves, squared if
    the function is declared positive."""
    heads = {e.func: e for side in sides for e in side.atoms(AppliedUndef)}
    for head in sorted(heads, key=str):
        one = heads[head]
        weights = [[rational(random_.uniform(0.2, 2) * random_.choice((-1, 1))) for _ in range(4)] for _ in one.args]
        least, sign = rational(random_.uniform(0.2, 2)), one.is_extended_nonnegative

        def drawn(*args: sp.Expr, weights: Any = weights, least: sp.Expr = least, sign: bool = sign) -> sp.Expr:
            value = sum((a * x + b * sp.sin(c * x + e) for x, (a, b, c, e) in zip(args, weights)), least)
            value += sp.Mul(*args) if len(args) > 1 else 0
            return least + value**2 if sign else value

        sides = [side.replace(head, drawn) for side in sides]
    return list(sides)


def _short(value: sp.Expr) -> str:
    return str(value if value.is_Integer or value is sp.oo else sp.N(value, 6))
