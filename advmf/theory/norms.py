"""The norm factor β_{p,q}: the expected lp -> lq norm of a K x d Gaussian matrix with entries of variance 1/d.

A *route* to β is a way to compute or bound it. Each is a value that says how rigorous it is and for which (p, q) it
holds.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import sympy as sp

from advmf.boundary import public
from advmf.errors import ArgumentError, DomainError
from advmf.expressions import expression
from advmf.functions import (
    Conjugate,
    EstimatedNorm,
    ExtremeNorm,
    ExtremeNormQuantile,
    GaussianNorm,
    SpectralNorm,
    TiltedNorm,
)
from advmf.symbols import K, d, exponent

RIGOURS = ("exact", "upper bound", "lower bound", "estimate")

SIZES = ((40, 7), (7, 40))
"""The (d, K) at which a new route is compared with the known routes."""
EXPONENTS = (sp.S.One, sp.Rational(3, 2), sp.Integer(2), sp.oo)
"""The p and q at which a new route is compared."""


@public
@dataclass(frozen=True)
class Route:
    """A way to β_{p,q}.

    ``rigour`` is "exact", "upper bound", "lower bound" or "estimate". ``pairs`` says in words for which (p, q) the
    route holds, and ``applies(p, q)`` decides it. ``formula(p, q)`` is β in ``d`` and ``K``. ``quantile(p, q, delta)``,
    if given, is the value that ‖G‖/sqrt(d) exceeds with probability ``delta``. ``profile(s, p, q)``, if given, is β of
    a matrix whose columns have the sizes of a profile (:meth:`advmf.Profile.beta`). :func:`register_route` adds a
    route. Raises ArgumentError for another rigour.
    """

    name: str
    rigour: str
    pairs: str
    source: str
    applies: Callable[[sp.Expr, sp.Expr], bool] = field(repr=False)
    formula: Callable[[sp.Expr, sp.Expr], sp.Expr] = field(repr=False)
    quantile: Callable[[sp.Expr, sp.Expr, sp.Expr], sp.Expr] | None = field(default=None, repr=False)
    processes: bool = field(default=False, repr=False)
    """Whether the bound is proved for every Gaussian process whose increments are at most those of a matrix, and so for
    a network over a ball. Otherwise it is about one matrix."""
    profile: Callable[[Any, sp.Expr, sp.Expr], sp.Expr] | None = field(default=None, repr=False)
    """``profile(s, p, q)``, if given: β of a matrix whose columns have the sizes of the profile s, a
    :class:`advmf.Profile`, by the route. It is as rigorous as ``formula``."""

    def __post_init__(self) -> None:
        if self.rigour not in RIGOURS:
            raise ArgumentError(f"A route's rigour is one of {', '.join(RIGOURS)}; got {self.rigour!r}.")

    def check(self) -> None:
        """Compare the route with the known routes at small dimensions; raises ArgumentError where its numbers
        contradict its rigour."""
        for p, q in itertools.product(EXPONENTS, EXPONENTS):
            for size in SIZES if self.applies(p, q) else ():
                value, (low, high) = _value(self, p, q, size), _known(self.name, p, q, size)
                room = 1 + float(ESTIMATE_TOLERANCE.args[-1][0]) if self.rigour == "estimate" else 1 + 1e-6
                above = self.rigour == "lower bound" or low <= value * room
                below = self.rigour == "upper bound" or value <= high * room
                if not (above and below):
                    known = f"{low:.6g}" if low == high else f"between {low:.6g} and {high:.6g}"
                    raise ArgumentError(
                        f"The route {self.name!r} gives {value:.6g} at p = {p}, q = {q}, d = {size[0]}, K = {size[1]}, where beta is {known}: "
                        f"that is not {'an' if self.rigour[0] in 'aeiou' else 'a'} {self.rigour}. Correct its formula, its rigour, or applies(p, q)."
                    )

    @property
    def upper(self) -> bool:
        """Whether the route is exact or an upper bound."""
        return self.rigour in ("exact", "upper bound")


def _known(but: str, p: sp.Expr, q: sp.Expr, size: tuple[int, int]) -> tuple[float, float]:
    """The interval in which the other routes put β; a single value if one of them is exact."""
    exact = next((r for r in ROUTES.values() if r.rigour == "exact" and r.applies(p, q) and r.name != but), None)
    between = (exact, exact) if exact else (ROUTES["lower"], ROUTES["chevet"])
    low, high = (_value(route, p, q, size) for route in between)
    return low, high


@cache
def _value(route: Route, p: sp.Expr, q: sp.Expr, size: tuple[int, int]) -> float:
    value = sp.N(route.formula(p, q).subs({d: size[0], K: size[1]}))
    if not (value.is_real and value.is_finite):
        raise ArgumentError(
            f"The route {route.name!r} must give a number for numbers d, K, p and q; got {value} at p = {p}, q = {q}, d = {size[0]}, K = {size[1]}."
        )
    return float(value)


def _everywhere(p: sp.Expr, q: sp.Expr) -> bool:
    return True


def _in_corners(p: sp.Expr, q: sp.Expr) -> bool:
    return p in (2, sp.oo) and q in (1, 2)


def _on_border(p: sp.Expr, q: sp.Expr) -> bool:
    return p == 1 or q is sp.oo


def _terms(p: sp.Expr, q: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """Chevet's two terms: the input's and the output's."""
    half = sp.Rational(1, 2)
    from_input = K ** sp.Max(0, 1 / q - half) * GaussianNorm(d, Conjugate(p)) / sp.sqrt(d)
    return from_input, d ** sp.Max(0, half - 1 / p) * GaussianNorm(K, q) / sp.sqrt(d)


def _terms_of_profile(s: Any, p: sp.Expr, q: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """The same for a matrix whose columns have the sizes of a profile. Either is a lower bound too, by one vector."""
    from_input = K ** sp.Max(0, 1 / q - sp.Rational(1, 2)) * s.norm(Conjugate(p))
    return from_input / sp.sqrt(d), s.radius(p) * GaussianNorm(K, q) / sp.sqrt(d)


def _leading(p: sp.Expr, q: sp.Expr) -> sp.Expr:
    return sp.Add(*_terms(p, q)).replace(lambda e: isinstance(e, GaussianNorm), lambda e: e.bound())


def _extreme(head: Any, p: sp.Expr, q: sp.Expr, *more: sp.Expr) -> sp.Expr:
    """‖G‖_{1 -> q} is the largest lq norm of d columns, ‖G‖_{p -> oo} the largest lp* norm of K rows."""
    return (head(d, K, q, *more) if p == 1 else head(K, d, Conjugate(p), *more)) / sp.sqrt(d)


def _lower(p: sp.Expr, q: sp.Expr) -> sp.Expr:
    """The largest of the lower bounds by fixed vectors, by smaller balls, and by one step of the power iteration."""
    bounds = [*_terms(p, q)]
    if not _on_border(p, q):
        bounds += [_extreme(ExtremeNorm, sp.S.One, q), _extreme(ExtremeNorm, p, sp.oo)]
    if _in_corners(p, q):
        mirrored = _step(Conjugate(q), Conjugate(p)).subs({d: K, K: d}, simultaneous=True)
        bounds += [_step(p, q) / sp.sqrt(d), mirrored / sp.sqrt(d)]
    return sp.Max(*bounds)


def _step(p: sp.Expr, q: sp.Expr) -> sp.Expr:
    """A lower bound on the mean of ‖G^T y‖_{p*}, where y attains ‖G x‖_q = <y, G x> for x = (1, ..., 1)/sqrt(d).

    For q in {1, 2} y has a fixed Euclidean length b, so G^T y is ‖G x‖_q x plus b times a standard Gaussian vector
    orthogonal to x; the norm is convex in ‖G x‖_q, and in b ‖g_{d-1}‖_2, whose mean is b (d - 1)/E‖g_d‖_2.
    """
    b, along = sp.sqrt(K) if q == 1 else sp.S.One, GaussianNorm(K, q)
    if p == 2:
        return sp.sqrt(along**2 + (b * (d - 1) / GaussianNorm(d, 2)) ** 2)
    mean, spread = along / sp.sqrt(d), b * sp.sqrt(1 - 1 / d)
    folded = spread * sp.sqrt(2 / sp.pi) * sp.exp(-((mean / spread) ** 2) / 2) + mean * sp.erf(
        mean / spread / sp.sqrt(2)
    )
    return sp.Piecewise((d * folded, d > 1), (along, True))


BETA = sp.Symbol("beta", positive=True)
"""The norm factor in formulas; a claim's ``where`` says by which route."""

CHEVET = "S. Chevet, Sem. Maurey-Schwartz 1977-78; Y. Gordon, Israel J. Math. 50, 1985, with constant 1"
SLEPIAN = "Slepian's inequality as in Y. Gordon, Israel J. Math. 50, 1985, and J.-P. Kahane, Israel J. Math. 55, 1986"

ROUTES = {
    route.name: route
    for route in (
        Route(
            "spectral",
            "exact",
            "p = q = 2",
            "N. G. de Bruijn, J. Indian Math. Soc. 19, 1955; M. Chiani, J. Multivariate Anal. 129, 2014",
            lambda p, q: p == 2 and q == 2,
            lambda p, q: SpectralNorm(K, d, 1) / sp.sqrt(d),
        ),
        Route(
            "extremal",
            "exact",
            "p = 1 or q = oo",
            "the columns of G are independent, and so are its rows: the largest of their norms, whose law is found by convolution",
            _on_border,
            lambda p, q: _extreme(ExtremeNorm, p, q),
            lambda p, q, delta: _extreme(ExtremeNormQuantile, p, q, delta),
            profile=lambda s, p, q: s.extreme(p, q) / sp.sqrt(d),
        ),
        Route(
            "tilted",
            "upper bound",
            "p in {2, oo} and q in {1, 2}",
            f"{SLEPIAN}, in exponential moments",
            _in_corners,
            lambda p, q: TiltedNorm(K, d, p, q) / sp.sqrt(d),
        ),
        Route(
            "chevet",
            "upper bound",
            "all",
            CHEVET,
            _everywhere,
            lambda p, q: sp.Add(*_terms(p, q)),
            processes=True,
            profile=lambda s, p, q: sp.Add(*_terms_of_profile(s, p, q)),
        ),
        Route("leading", "upper bound", "all", f"{CHEVET}; Jensen's inequality", _everywhere, _leading, processes=True),
        Route(
            "lower",
            "lower bound",
            "all",
            "one vector fixed (|G s|_q = |s|_2 |g_K|_q in law), smaller balls, one step of the power iteration",
            _everywhere,
            _lower,
            profile=lambda s, p, q: sp.Max(*_terms_of_profile(s, p, q)),
        ),
        Route(
            "estimate",
            "estimate",
            "all",
            f"{SLEPIAN}, at typical vectors, corrected towards the exact routes",
            _everywhere,
            lambda p, q: EstimatedNorm(K, d, p, q) / sp.sqrt(d),
            profile=lambda s, p, q: s.estimated(p, q) / sp.sqrt(d),
        ),
    )
}
"""The routes by name; upper bounds stand from the sharpest to the weakest."""

ESTIMATE_TOLERANCE = sp.Piecewise(
    (sp.Rational(3, 100), sp.And(sp.Min(K, d) >= 10, sp.Max(K, d) >= 50)), (sp.Rational(7, 100), True)
)
"""The relative error of the route ``estimate``: at (oo, 1) it is 5 to 6 % above the mean norm of matrices with two to
five rows or columns."""

BEST = "best"
"""The name under which :func:`beta` takes the sharpest upper route that applies."""


@public
def register_route(new: Route, before: str | None = None) -> Route:
    """Add a route to β after it has passed its own check (:meth:`Route.check`).

    ``before`` names the route that it precedes in the choice of the best.

    From then on ``advmf.beta``, the claims that take a route, ``advmf list`` and ``advmf norms`` know it. Raises
    ArgumentError if the check fails, if another route has the name, and if there is no route ``before``.

    >>> import advmf as mf
    >>> from advmf.symbols import K, d
    >>> from advmf.theory.norms import ROUTES
    >>> everywhere = lambda p, q: True
    >>> double = mf.Route("double", "upper bound", "all", "twice Chevet's", everywhere, lambda p, q: 2 * mf.beta(p, q))
    >>> mf.register_route(double).upper
    True
    >>> mf.beta(2, 2, "double").subs({d: 784, K: 10}).evalf(4)
    2.220
    >>> _ = ROUTES.pop("double")
    >>> mf.register_route(mf.Route("half", "upper bound", "all", "", everywhere, lambda p, q: mf.beta(p, q) / 2))
    Traceback (most recent call last):
        ...
    advmf.errors.ArgumentError: The route 'half' gives ... that is not an upper bound. ...
    """
    if ROUTES.get(new.name, new) != new or new.name == BEST:
        raise ArgumentError(f"There is already a route {new.name!r}; give yours another name.")
    if before is not None and before not in ROUTES:
        raise ArgumentError(f"before must be one of {', '.join(ROUTES)}; got {before!r}.")
    new.check()
    others = {name: route for name, route in ROUTES.items() if name != new.name}
    ROUTES.clear()
    for name, route in others.items():
        if name == before:
            ROUTES[new.name] = new
        ROUTES[name] = route
    ROUTES.setdefault(new.name, new)
    return new


@public
def routes(p: object, q: object) -> tuple[Route, ...]:
    """The routes to β_{p,q} that apply to the pair.

    >>> import advmf as mf
    >>> [(route.name, route.rigour) for route in mf.routes(3, 2)]
    [('chevet', 'upper bound'), ('leading', 'upper bound'), ('lower', 'lower bound'), ('estimate', 'estimate')]
    """
    p, q = exponent(p, "p"), exponent(q, "q")
    return tuple(route for route in ROUTES.values() if route.applies(p, q))


def closest(p: object, q: object) -> str:
    """The name of an exact route to the norm factor, or else of the estimate.

    >>> closest(2, 2), closest("inf", 1)
    ('spectral', 'estimate')
    """
    return next((route.name for route in routes(p, q) if route.rigour == "exact"), "estimate")


@public
def beta(p: object, q: object, route: str = "chevet") -> sp.Expr:
    """β_{p,q} by a route, as an expression in ``d`` and ``K``; by default a rigorous upper bound.

    ``chevet``: for a standard Gaussian G and the unit balls of lp and of the dual of lq, whose Euclidean radii are
    d**max(0, 1/2 - 1/p) and K**max(0, 1/q - 1/2),

        E‖G‖_{p -> q} <= K**max(0, 1/q - 1/2) E‖g_d‖_{p*} + d**max(0, 1/2 - 1/p) E‖g_K‖_q,

    and β_{p,q} divides by sqrt(d). ``leading`` bounds E‖g_n‖_r by its leading term at large n and gives the short table
    of closed forms. The term is Jensen's for r < oo, taken at r' = max(2, 2 ln n) where r is larger, and sqrt(2 ln 2n)
    for r = oo. ``tilted`` sharpens Chevet's for p in {2, oo} and q in {1, 2} (:func:`advmf.special.tilted_norm`).
    ``extremal`` is exact where p = 1 or q = oo, the mean of the largest of d columns or K rows
    (:func:`advmf.special.extreme_norm`). ``spectral`` is exact at (2, 2); its numbers are approximate, to 6e-4, beyond
    min(K, d) = 128 (:func:`advmf.special.spectral_norm`). ``best`` is the sharpest of these that applies. ``lower`` is
    at least the larger of Chevet's two terms, so that chevet is within a factor of two of it. ``estimate`` is no bound
    but the closest to β (:func:`advmf.special.estimated_norm`). :data:`ROUTES` has their sources. The numbers of
    ``tilted``, ``extremal``, ``spectral``, ``lower`` and ``estimate`` come without derivatives; all of these but
    ``tilted`` are for whole d and K only.

    ``p`` and ``q`` are numbers in [1, oo], ``"inf"`` or ``"oo"``, or SymPy expressions. Raises DomainError for another
    value and ArgumentError for an unknown route, or one that does not apply to the pair.

    >>> import advmf as mf
    >>> mf.beta("inf", 2, route="leading")
    sqrt(K) + sqrt(2)*sqrt(d)/sqrt(pi)
    >>> at = {mf.symbols.d: 784, mf.symbols.K: 10}
    >>> [mf.beta(2, 2, route).subs(at).evalf(6) for route in ("lower", "spectral", "chevet")]
    [1.03872, 1.09411, 1.10984]
    >>> [mf.beta(1, 2, route).subs(at).evalf(6) for route in ("lower", "extremal", "chevet")]
    [0.120303, 0.196709, 0.230458]
    """
    p, q = exponent(p, "p"), exponent(q, "q")
    return choose(p, q, route).formula(p, q)


def choose(p: sp.Expr, q: sp.Expr, route: str, of_profiles: bool = False) -> Route:
    """The route of that name; raises ArgumentError if there is no such route, or it does not apply or, if asked for
    ``of_profiles``, does not know them."""
    applicable = [other for other in ROUTES.values() if other.applies(p, q) and (other.profile or not of_profiles)]
    if route == BEST:
        return next(other for other in applicable if other.upper)
    if route not in ROUTES:
        raise ArgumentError(f"route must be {BEST} or one of {', '.join(ROUTES)}; got {route!r}.")
    if ROUTES[route] not in applicable:
        others = ", ".join(other.name for other in applicable)
        only = f"is for {ROUTES[route].pairs}" if ROUTES[route].profile or not of_profiles else "is for equal pixels"
        raise ArgumentError(
            f"The route {route!r} {only}; for p = {p}, q = {q}{' and a profile' if of_profiles else ''} take one of {others}."
        )
    return ROUTES[route]


@public
def beta_quantile(p: object, q: object, delta: object, route: str = "chevet") -> sp.Expr:
    """An upper bound that ‖G‖_{p -> q}/sqrt(d) exceeds with probability at most ``delta``, by an upper route to its
    mean.

    G -> ‖G‖ is Lipschitz with constant s = d**max(0, 1/2 - 1/p) K**max(0, 1/q - 1/2), so the inequality of Borell,
    Tsirelson, Ibragimov and Sudakov gives P(‖G‖ > E‖G‖ + t s) <= exp(-t²/2). The route ``extremal`` gives the quantile
    itself, exceeded with probability exactly ``delta``.

    ``delta`` is a number in (0, 1) or a SymPy expression. Raises DomainError for another value, and ArgumentError as
    :func:`beta` and for a route that is no upper bound.

    >>> import advmf as mf
    >>> mf.beta_quantile(2, 2, 0.01, "leading").subs({mf.symbols.d: 784, mf.symbols.K: 10}).evalf(5)
    1.2213
    >>> at = {mf.symbols.d: 784, mf.symbols.K: 10}
    >>> [mf.beta_quantile(1, 2, 0.01, route).subs(at).evalf(5) for route in ("chevet", "extremal")]
    [0.33885, 0.22781]
    """
    mean = beta(p, q, route)
    require_upper(p, q, route)
    p, q, delta = exponent(p, "p"), exponent(q, "q"), probability(delta)
    if own := choose(p, q, route).quantile:
        return own(p, q, delta)
    half = sp.Rational(1, 2)
    radius = d ** sp.Max(0, half - 1 / p) * K ** sp.Max(0, 1 / q - half)
    return mean + radius * sp.sqrt(2 * sp.log(1 / delta)) / sp.sqrt(d)


def probability(delta: object) -> sp.Expr:
    """``delta`` as an expression; raises DomainError for a number outside (0, 1)."""
    found: sp.Expr = expression(delta)
    if found.is_number and not (found.is_real and 0 < found < 1):
        raise DomainError(f"delta is a probability and must lie in (0, 1); got {found}.")
    return found


def require_upper(p: object, q: object, route: str, of_profiles: bool = False) -> None:
    """Raise ArgumentError for a route that may be below β."""
    chosen = choose(exponent(p, "p"), exponent(q, "q"), route, of_profiles)
    if not chosen.upper:
        names = ", ".join(other.name for other in ROUTES.values() if other.upper and (other.profile or not of_profiles))
        raise ArgumentError(
            f"An upper bound takes an upper route ({names}); {route!r} is {'an' if chosen.name == 'estimate' else 'a'} {chosen.rigour}."
        )
