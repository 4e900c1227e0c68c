"""Comparing two expressions: at random points of their symbols' domains in high precision, and by proof that their difference is zero."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import sympy as sp
from sympy.core.function import AppliedUndef

from advmf.observables import Expectation, Observable, Probability
from advmf.symbols import SYMBOLS
from advmf.theory.flow_functions import Flow
from advmf.theory.functions import GeometricSum, Recursion
from advmf.theory.gaussian_functions import GaussianMean
from advmf.theory.norm_functions import GaussianNorm, NumericNorm

POINTS = 24
"""The points at which two expressions are compared."""

TRIES = 60
"""The points drawn for each one wanted, where sides have no numbers or both are zero, as in a trivial case of a Piecewise."""

FLOWS = 4
"""The same where a differential equation has to be integrated, which takes a tenth of a second to seconds."""

DIGITS = 50
"""The decimal digits of a comparison."""

SECONDS = 4.0
"""The processor time that SymPy gets for one proof."""

_DOUBLE = (GaussianMean, GaussianNorm, NumericNorm, Flow, Recursion)
"""Functions whose numbers are good to double precision, or a little less."""

_BINDING = (GaussianMean, Recursion, Flow, sp.Sum, sp.Product, sp.Integral)
"""Functions with letters of their own, which values of the same letters outside must not enter."""

_LOCAL = (sp.Derivative, sp.Subs, sp.Limit)
"""What has to be done before numbers are put in; sums and products are done after that, when their ends are numbers."""

Point = Mapping[sp.Symbol, sp.Expr]


class Difference(NamedTuple):
    """A point at which a relation between two expressions fails, with their values there."""

    point: Point
    left: sp.Expr
    right: sp.Expr

    def __str__(self) -> str:
        where = ", ".join(f"{symbol} = {_short(value)}" for symbol, value in self.point.items())
        ratio = f", the left over the right {sp.N(self.left / self.right, 8)}" if self.right != 0 else ""
        return (
            f"at {where or 'every point'} the left is {sp.N(self.left, 12)} and the right {sp.N(self.right, 12)}{ratio}"
        )


class Comparison(NamedTuple):
    """At how many points a relation held, and the first at which it did not."""

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
    """Evaluate ``left relation right`` at random points of the symbols' domains at which ``where`` holds, until it fails.

    Observables stand for any positive number, undefined functions for random ones that are positive for positive arguments. Sides that
    have no number at a point are drawn anew. ``tolerance`` is relative; by default that of the digits, or 1e-9 where the numbers of a
    function are good to double precision only.

    >>> import sympy as sp
    >>> from advmf.theory.points import compare
    >>> x = sp.Symbol("x", positive=True)
    >>> compare((x + 1) ** 2, x**2 + 2 * x + 1)
    Comparison(held=24, difference=None)
    >>> compare(x + 1 / x, sp.Integer(2), ">=").held, compare(x + 1 / x, sp.Integer(3), ">=").difference is None
    (24, False)
    """
    random_ = random.Random(seed)
    left, right = opaque(left, right)
    inexact = left.has(*_DOUBLE) or right.has(*_DOUBLE)
    if left.has(Flow) or right.has(Flow):
        points, digits = min(points, FLOWS), 12
    allowed = sp.Float(tolerance or (1e-9 if inexact else 10.0 ** (15 - digits)))
    held = 0
    zero = left == 0 or right == 0
    tries = outside = 0
    while tries < TRIES * points and outside < 100 * TRIES * points:
        point, sides = _evaluated((left, right), where, random_, digits)
        if point is None:
            outside += 1
            continue
        tries += 1
        if sides is None:
            continue
        a, b = sides
        slack = allowed * max(abs(a), abs(b))
        excess = {"==": abs(a - b), "<=": a - b, ">=": b - a}[relation]
        if excess > slack:
            return Comparison(held, Difference(point, a, b))
        held += bool(a or b or zero)
        if held == points or not point:
            break
    return Comparison(held, None)


def opaque(*exprs: sp.Expr) -> list[sp.Expr]:
    """The expressions with each mean over networks, and each observable outside one, as a positive symbol of its own."""
    found = set().union(*(e.atoms(Expectation, Probability) for e in exprs))
    found -= set().union(*(e.args[0].atoms(Expectation) for e in found))
    inside = set().union(*(e.atoms(Observable) for e in found))
    found |= set().union(*(e.atoms(Observable) for e in exprs)) - inside
    names = {e: sp.Symbol(str(e), positive=True) for e in sorted(found, key=sp.default_sort_key)}
    return [e.xreplace(names) for e in exprs]


def draw(symbol: sp.Symbol, random_: random.Random) -> sp.Expr:
    """A random value of a symbol's domain: that of the registry, or of its assumptions, where numbers are of ordinary size."""
    quantity = SYMBOLS.get(symbol.name)
    low, high = (quantity.low, quantity.high) if quantity and quantity.symbol == symbol else (None, None)
    if symbol.is_integer:
        least = 1 if symbol.is_positive else 0 if symbol.is_nonnegative else -6
        return sp.Integer(random_.randint(least, 12))
    if low == 1:
        return sp.sympify(random_.choice([1, sp.Rational(4, 3), 2, 3, sp.oo, _rational(random_.uniform(1, 6))]))
    if high is not None and high < float("inf"):
        return _rational(random_.uniform(float(low or 0), high))
    if symbol.is_extended_nonnegative:
        return _rational(2 ** random_.uniform(-2.5, 2.5))
    if symbol.is_extended_nonpositive:
        return -_rational(2 ** random_.uniform(-2.5, 2.5))
    return _rational(random_.uniform(-3, 3))


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
        yield lambda: sp.simplify(sp.powsimp(sp.expand(plain))) == 0
        yield (
            lambda: sp.simplify(plain.replace(lambda e: isinstance(e, GeometricSum), lambda e: e.rewrite(sp.Pow))) == 0
        )

    result = within(seconds, lambda: any(attempt() for attempt in attempts()))
    return bool(result)


def within(seconds: float, work: Callable[[], Any]) -> Any:
    """What ``work`` returns, or None if it takes more than ``seconds`` of processor time or SymPy has no answer."""
    try:
        with _limit(seconds):
            return work()
    except (_OutOfTime, NotImplementedError, ValueError, TypeError, AttributeError, RecursionError):
        return None


def evaluated(expr: sp.Expr, heads: tuple[type, ...] = (*_LOCAL, sp.Sum, sp.Product)) -> sp.Expr:
    """The expression with its derivatives, limits and sums done."""
    return expr.replace(lambda e: isinstance(e, heads), lambda e: e.doit())


def _peeled(expr: sp.Expr) -> sp.Expr:
    """Sums and products to n + 1 as those to n and the last term, for proofs by induction."""

    def split(e: sp.Expr) -> sp.Expr:
        (k, low, high), join = e.args[1], sp.Add if isinstance(e, sp.Sum) else sp.Mul
        return join(e.func(e.args[0], (k, low, high - 1)), e.args[0].xreplace({k: high}))

    def next_one(e: sp.Expr) -> bool:
        return isinstance(e, (sp.Sum, sp.Product)) and len(e.args) == 2 and e.args[1][2].as_coeff_Add()[0] == 1

    return expr.replace(next_one, split)


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
    """Sums that cannot be negative, such as u**2 + v**2, as positive symbols; where they vanish, the sides agree by continuity."""
    names: dict[sp.Expr, sp.Symbol] = {}
    bound = {symbol for e in expr.atoms(*_BINDING) for symbol in e.bound_symbols}

    def named(total: sp.Expr) -> sp.Expr:
        content, rest = sp.factor_terms(total).as_coeff_Mul()
        return content * names.setdefault(rest, sp.Dummy(positive=True)) if rest.is_Add else total

    return expr.replace(lambda e: e.is_Add and e.is_nonnegative and not e.free_symbols & bound, named)


def _evaluated(
    sides: Sequence[sp.Expr], where: Sequence[sp.Basic], random_: random.Random, digits: int
) -> tuple[Point | None, list[sp.Expr] | None]:
    """A random point and the sides' numbers there: no point if ``where`` fails, no sides if they have no numbers.

    A condition on symbols that do not occur can be met by a choice of theirs.
    """
    sides = [evaluated(side, _LOCAL) for side in _with_random_functions(sides, random_)]
    free = set().union(*(e.free_symbols for e in sides))
    point = {s: draw(s, random_) for s in sorted(free, key=lambda s: s.name)}
    if any(condition.xreplace(point) == sp.false for condition in where):
        return None, None
    values = [_number(side, point, digits) for side in sides]
    return point, None if None in values else values


def _number(expr: sp.Expr, point: Point, digits: int) -> sp.Expr | None:
    try:
        at = expr.subs(point) if expr.has(*_BINDING) else expr.xreplace(dict(point))
        at = evaluated(at) if at.has(sp.Sum, sp.Product) else at
        value = sp.N(at, 15 if at.has(GaussianMean) and digits > 15 else digits)
    except (TypeError, ValueError, ZeroDivisionError, NotImplementedError, AttributeError):
        return None
    return value if value.is_number and value.is_real and value.is_finite else None


def _with_random_functions(sides: Sequence[sp.Expr], random_: random.Random) -> list[sp.Expr]:
    """The sides with each undefined function replaced by a polynomial of degree two with random positive coefficients."""
    heads = {e.func for side in sides for e in side.atoms(AppliedUndef)}
    for head in sorted(heads, key=str):
        a, b, c = (_rational(random_.uniform(0.2, 2)) for _ in range(3))
        sides = [
            side.replace(head, lambda *args, a=a, b=b, c=c: a + b * sum(args) + c * sum(x**2 for x in args))
            for side in sides
        ]
    return list(sides)


def _rational(value: float) -> sp.Rational:
    return sp.Rational(round(value * 64), 64)


def _short(value: sp.Expr) -> str:
    return str(value if value.is_Integer or value is sp.oo else sp.N(value, 6))


class _OutOfTime(BaseException):
    """The processor time is spent; no ordinary exception, so that nothing on the way catches it."""


AGAIN = 0.25
"""Seconds of processor time between two tries to stop what takes too long."""


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """Stop what is inside after ``seconds`` of processor time, where the system can: in the main thread, on POSIX."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    running = [True]

    def stop(*_: object) -> None:
        if running:
            raise _OutOfTime

    before = signal.signal(signal.SIGVTALRM, stop)
    # Again and again: what is raised while Python frees an object, or under a bare except, is lost.
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds, AGAIN)
    try:
        yield
    finally:
        try:
            running.clear()
        finally:  # also if it was interrupted once more
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)
