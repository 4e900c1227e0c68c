"""The statements of the lemmas, ``left relation right``, and their hypotheses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sympy as sp

from advmf.functions import (
    ArcCosine,
    Conjugate,
    Flow,
    GaussianMean,
    GaussianNorm,
    ProfileNorm,
    ProfileRadius,
    Recursion,
)
from advmf.observables import (
    AdversarialLoss,
    Expectation,
    FeatureMaximum,
    FeatureRadius,
    LargestOperatorNorm,
    LimitLoss,
    MatrixNorm,
    Observable,
    Probability,
)
from advmf.symbols import K, d, eps
from advmf.theory.smoothness import continuous, smooth


def activation(x: sp.Expr, u: sp.Expr, v: sp.Expr) -> sp.Expr:
    """The ReLU-like activation: u x for x >= 0 and v x for x < 0."""
    return sp.Piecewise((u * x, x >= 0), (v * x, True))


def radius(p: sp.Expr, q: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """The Euclidean radii of the unit balls of lp in d dimensions and of the dual of lq in K: Lipschitz constants of
    ‖G‖_{p -> q}."""
    half = sp.Rational(1, 2)
    return d ** sp.Max(0, half - 1 / p), K ** sp.Max(0, 1 / q - half)


def moments(u: Any, v: Any, h: Any, k: Any, z: Any) -> tuple[sp.Expr, str, sp.Expr]:
    half = 2 ** (k / 2 - 1) * sp.gamma((k + 1) / 2) / sp.sqrt(sp.pi)
    return GaussianMean(activation(sp.sqrt(h) * z, u, v) ** k, z), "==", (u**k + (-v) ** k) * half * h ** (k / 2)


def gaussian_norm(n: Any, r: Any) -> tuple[sp.Expr, str, sp.Expr]:
    norm = GaussianNorm(n, r)
    return norm, "<=", norm.jensen() if isinstance(norm, GaussianNorm) else norm


def euclidean(n: Any) -> tuple[sp.Expr, str, sp.Expr]:
    return GaussianNorm(n, sp.Integer(2)), "==", sp.sqrt(2) * sp.gamma((n + 1) / 2) / sp.gamma(n / 2)


def chevet(p: Any, q: Any) -> tuple[sp.Expr, str, sp.Expr]:
    inner, outer = radius(p, q)
    right = (outer * GaussianNorm(d, Conjugate(p)) + inner * GaussianNorm(K, q)) / sp.sqrt(d)
    return Expectation(MatrixNorm(p, q)), "<=", right


def poincare(p: Any, q: Any) -> tuple[sp.Expr, str, sp.Expr]:
    inner, outer = radius(p, q)
    norm = MatrixNorm(p, q)
    return Expectation(norm**2), "<=", Expectation(norm) ** 2 + inner**2 * outer**2 / d


def borell_tis(p: Any, q: Any, s: Any) -> tuple[sp.Expr, str, sp.Expr]:
    inner, outer = radius(p, q)
    norm = MatrixNorm(p, q)
    return Probability(norm >= Expectation(norm) + s), "<=", sp.exp(-(s**2) * d / (2 * inner**2 * outer**2))


def euler(f: Any, variables: Any, degree: Any) -> tuple[sp.Expr, str, sp.Expr]:
    return sp.Add(*(x * sp.Derivative(f, x) for x in variables)), "==", degree * f


def homogeneous(f: Any, variables: Any, degree: Any) -> list[tuple[str, Any]]:
    r = sp.Symbol("r", positive=True)
    scaled = f.xreplace({x: r * x for x in variables})
    return [
        ("variables distinct", apart(tuple(variables))),
        ("f homogeneous of the given degree", sp.Eq(scaled, r**degree * f, evaluate=False)),
    ]


def arc_cosine(u: Any, v: Any, c: Any, z: Any, w: Any) -> tuple[sp.Expr, str, sp.Expr]:
    second = c * z + sp.sqrt(1 - c**2) * w
    left = GaussianMean(activation(z, u, v) * activation(second, u, v), z, w)
    return left, "==", u * v * c + (u - v) ** 2 * ArcCosine(c) / 2


def mean_value(p: Any, q: Any) -> tuple[sp.Expr, str, sp.Expr]:
    return Expectation(AdversarialLoss(p, q)), "<=", eps * Expectation(LargestOperatorNorm(p, q))


def uniformly_integrable(p: Any, q: Any) -> tuple[sp.Expr, str, sp.Expr]:
    return Expectation(AdversarialLoss(p, q)), "->", Expectation(LimitLoss(p, q))


def chevet_of_sets(p: Any, q: Any) -> tuple[sp.Expr, str, sp.Expr]:
    _, outer = radius(p, q)
    right = outer * Expectation(FeatureMaximum(p)) + FeatureRadius(p) * GaussianNorm(K, q)
    return Expectation(LimitLoss(p, q)), "<=", right


def dominated(p: Any, scale: Any) -> tuple[sp.Expr, str, sp.Expr]:
    inner, _ = radius(p, sp.oo)
    return FeatureRadius(p), "<=", eps * sp.sqrt(scale / d) * inner


def sudakov_fernique(p: Any, scale: Any) -> tuple[sp.Expr, str, sp.Expr]:
    return Expectation(FeatureMaximum(p)), "<=", eps * sp.sqrt(scale / d) * GaussianNorm(d, Conjugate(p))


def dominated_by_pixels(p: Any, code: Any) -> tuple[sp.Expr, str, sp.Expr]:
    return FeatureRadius(p), "<=", eps * ProfileRadius(p, *code) / sp.sqrt(d)


def sudakov_fernique_by_pixels(p: Any, code: Any) -> tuple[sp.Expr, str, sp.Expr]:
    return Expectation(FeatureMaximum(p)), "<=", eps * ProfileNorm(Conjugate(p), *code) / sp.sqrt(d)


def pixel_hypotheses(p: Any, code: Any) -> list[tuple[str, Any]]:
    return [("p >= 1", p >= 1), ("code no random quantity", fixed(code))]


def jensen(x: Any, m: Any) -> tuple[sp.Expr, str, sp.Expr]:
    return Expectation(x), "<=", sp.log(Expectation(sp.exp(m * x))) / m


def slepian(p: Any, q: Any, m: Any, g: Any, h: Any) -> tuple[sp.Expr, str, sp.Expr]:
    inner, outer = radius(p, q)
    moments = Expectation(sp.exp(m * outer * g)) * Expectation(sp.exp(m * inner * h))
    left = Expectation(sp.exp(m * sp.sqrt(d) * MatrixNorm(p, q)))
    return left, "<=", moments * sp.exp(-((m * inner * outer) ** 2) / 2)


def unique(time: Any, z: Any, rate: Any, start: Any, path: Any) -> tuple[sp.Expr, str, sp.Expr]:
    return Flow(time, sp.Tuple(z), sp.Tuple(rate), sp.Tuple(start), z), "==", path


def apart(bound: Sequence[Any], *others: Any) -> bool:
    """Whether the bound symbols are distinct and none of them occurs in the other letters."""
    inside = set().union(*(e.free_symbols for e in others if isinstance(e, sp.Basic)))
    return all(isinstance(s, sp.Symbol) for s in bound) and len(set(bound)) == len(bound) and not inside & set(bound)


def fixed(*exprs: Any) -> bool:
    """Whether expressions are numbers, not random."""
    return not any(e.atoms(Observable) - {o for m in e.atoms(Expectation) for o in m.atoms(Observable)} for e in exprs)


def whole(n: Any) -> bool:
    return bool(n.is_integer)


def lipschitz(z: Any, rate: Any, start: Any, path: Any) -> bool:
    """Whether the rate allows only one path from a point: it is smooth at all numbers of the path's sign, or continuous
    and falling."""
    positive = start.is_positive and path.is_positive
    sign = (
        "positive" if positive else "nonnegative" if start.is_nonnegative and path.is_extended_nonnegative else "real"
    )
    x, inside = (
        sp.Dummy("x", **{sign: True}),
        sp.Dummy("x", real=True) if sign == "real" else sp.Dummy("x", positive=True),
    )
    along, within = (sp.powsimp(sp.expand(rate.xreplace({z: s}))) for s in (x, inside))
    if smooth(along, x):
        return True
    return continuous(along, x) and bool(sp.simplify(sp.diff(within, inside)).is_nonpositive)


def solves(time: Any, z: Any, rate: Any, start: Any, path: Any) -> list[tuple[str, Any]]:
    return [
        (
            "time and z distinct, the rate free of time and start of both",
            apart((time, z), start) and time not in rate.free_symbols,
        ),
        ("rate Lipschitz in z, or falling, wherever the path is", lipschitz(z, rate, start, path)),
        ("path at time 0 equal to start", sp.Eq(path.xreplace({time: sp.S.Zero}), start, evaluate=False)),
        ("path a solution", sp.Eq(sp.diff(path, time), rate.xreplace({z: path}), evaluate=False)),
    ]


def induction(
    depth: Any, variables: Any, updates: Any, start: Any, paths: Any, of: Any
) -> tuple[sp.Expr, str, sp.Expr]:
    return Recursion(depth, variables, updates, start, of), "==", paths[list(variables).index(of)]


def repeats(depth: Any, variables: Any, updates: Any, start: Any, paths: Any, of: Any) -> list[tuple[str, Any]]:
    if of not in tuple(variables) or len({len(variables), len(updates), len(start), len(paths)}) != 1:
        return [("of among the variables, and one update, start and path for each", False)]
    at = dict(zip(variables, paths))
    begins = [sp.Eq(path.subs(depth, 0), value, evaluate=False) for path, value in zip(paths, start)]
    repeats = [sp.Eq(path.subs(depth, depth + 1), up.xreplace(at), evaluate=False) for path, up in zip(paths, updates)]
    distinct = (
        "variables distinct, and in no path or start",
        apart(tuple(variables), *paths, *start) and depth.is_Symbol and bool(depth.is_integer),
    )
    return [
        distinct,
        *(("paths at 0 equal to start", e) for e in begins),
        *(("paths that obey the updates", e) for e in repeats),
    ]


def norm_hypotheses(p: Any, q: Any, **_: Any) -> list[tuple[str, Any]]:
    return [("p >= 1", p >= 1), ("q >= 1", q >= 1)]
