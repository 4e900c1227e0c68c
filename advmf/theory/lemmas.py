"""The lemmas that derivations rest on, and a check of each by numbers.

``find_lemma(name).at(...)`` states one for given values of its letters, after verifying the hypotheses; ``check`` draws random
cases and compares the two sides. :func:`register_lemma` adds one.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from advmf.errors import StepError
from advmf.observables import AdversarialLoss, Expectation, LargestOperatorNorm, MatrixNorm, Probability
from advmf.symbols import K, d, eps
from advmf.theory.flow_functions import Flow
from advmf.theory.functions import ArcCosine, Conjugate, Recursion
from advmf.theory.gaussian_functions import GaussianMean
from advmf.theory.lemma import Case, Lemma
from advmf.theory.norm_functions import GaussianNorm

DRAWS = 20_000
"""Random draws behind one simulated side of a case."""


def find_lemma(name: str) -> Lemma:
    """The lemma of that name; raises StepError for an unknown one, with what is near it."""
    if name not in LEMMAS:
        close = difflib.get_close_matches(name.lower(), [known.lower() for known in LEMMAS], n=1, cutoff=0.4)
        hint = "".join(f"; did you mean {known!r}?" for known in LEMMAS if known.lower() in close) or "."
        raise StepError(
            f"There is no lemma {name!r}{hint} The library has {', '.join(LEMMAS)}; register_lemma adds another."
        )
    return LEMMAS[name]


def register_lemma(new: Lemma) -> Lemma:
    """Add a lemma, after it has passed its own check; raises StepError if it does not, or if its name is taken by another."""
    if LEMMAS.get(new.name, new) != new:
        raise StepError(f"There is already a lemma {new.name!r}, from {LEMMAS[new.name].source}.")
    new.check()
    LEMMAS[new.name] = new
    return new


def activation(x: sp.Expr, u: sp.Expr, v: sp.Expr) -> sp.Expr:
    """The ReLU-like activation: u x for x >= 0 and v x for x < 0."""
    return sp.Piecewise((u * x, x >= 0), (v * x, True))


def radius(p: sp.Expr, q: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """The Euclidean radii of the unit balls of lp in d dimensions and of the dual of lq in K: Lipschitz constants of ‖G‖_{p -> q}."""
    half = sp.Rational(1, 2)
    return d ** sp.Max(0, half - 1 / p), K ** sp.Max(0, 1 / q - half)


# The statements.

_Z, _W = sp.symbols("z w", real=True)


def _moments(u: Any, v: Any, h: Any, k: Any, z: Any) -> tuple[sp.Expr, str, sp.Expr]:
    half = 2 ** (k / 2 - 1) * sp.gamma((k + 1) / 2) / sp.sqrt(sp.pi)
    return GaussianMean(activation(sp.sqrt(h) * z, u, v) ** k, z), "==", (u**k + (-v) ** k) * half * h ** (k / 2)


def _moments_case(rng: np.random.Generator) -> Case:
    u, v, h, k = (*rng.uniform(-2, 2, 2), rng.uniform(0.2, 3), int(rng.integers(1, 5)))
    z = rng.standard_normal(DRAWS) * np.sqrt(h)
    sample = np.where(z >= 0, u * z, v * z) ** k
    return _sampled(sample, _moments(u, v, h, sp.Integer(k), _Z)[2])


def _gaussian_norm(n: Any, r: Any) -> tuple[sp.Expr, str, sp.Expr]:
    norm = GaussianNorm(n, r)
    return norm, "<=", norm.bound() if isinstance(norm, GaussianNorm) else norm


def _euclidean(n: Any) -> tuple[sp.Expr, str, sp.Expr]:
    return GaussianNorm(n, sp.Integer(2)), "==", sp.sqrt(2) * sp.gamma((n + 1) / 2) / sp.gamma(n / 2)


def _norm_case(
    state: Callable[..., tuple[sp.Expr, str, sp.Expr]], *exponents: Any
) -> Callable[[np.random.Generator], Case]:
    def case(rng: np.random.Generator) -> Case:
        n, r = int(rng.integers(2, 40)), exponents[int(rng.integers(len(exponents)))]
        sample = np.linalg.norm(rng.standard_normal((DRAWS, n)), float(r), axis=1)
        values = (n, sp.sympify(r)) if len(exponents) > 1 else (n,)
        return _sampled(sample, state(*map(sp.sympify, values))[2])

    return case


def _chevet(p: Any, q: Any) -> tuple[sp.Expr, str, sp.Expr]:
    inner, outer = radius(p, q)
    right = (outer * GaussianNorm(d, Conjugate(p)) + inner * GaussianNorm(K, q)) / sp.sqrt(d)
    return Expectation(MatrixNorm(p, q)), "<=", right


def _poincare(p: Any, q: Any) -> tuple[sp.Expr, str, sp.Expr]:
    inner, outer = radius(p, q)
    norm = MatrixNorm(p, q)
    return Expectation(norm**2), "<=", Expectation(norm) ** 2 + inner**2 * outer**2 / d


def _borell_tis(p: Any, q: Any, s: Any) -> tuple[sp.Expr, str, sp.Expr]:
    inner, outer = radius(p, q)
    norm = MatrixNorm(p, q)
    return Probability(norm >= Expectation(norm) + s), "<=", sp.exp(-(s**2) * d / (2 * inner**2 * outer**2))


def _norms_of_matrices(rng: np.random.Generator) -> tuple[dict[sp.Symbol, sp.Expr], Any, Any, np.ndarray]:
    """Exact norms ‖G‖_{p -> q} of random K x d matrices: columns for p = 1, rows for q = oo, singular values, or all signs."""
    columns, rows = int(rng.integers(1, 7)), int(rng.integers(1, 6))
    pair = [(1, 1), (1, 2), (1, sp.oo), (2, sp.oo), (3, sp.oo), (2, 2), (sp.oo, 1), (sp.oo, 2)][int(rng.integers(8))]
    p, q = map(sp.sympify, pair)
    G = rng.standard_normal((DRAWS // 5, rows, columns)) / np.sqrt(columns)
    if p == 1:
        norms = np.linalg.norm(G, float(q), axis=1).max(1)
    elif q is sp.oo:
        norms = np.linalg.norm(G, float(Conjugate(p)), axis=2).max(1)
    elif p is sp.oo:
        signs = np.array(list(itertools.product((-1, 1), repeat=columns))).T
        norms = np.linalg.norm(G @ signs, float(q), axis=1).max(1)
    else:
        norms = np.linalg.norm(G, 2, axis=(1, 2))
    return {d: sp.Integer(columns), K: sp.Integer(rows)}, p, q, norms


def _chevet_case(rng: np.random.Generator) -> Case:
    at, p, q, norms = _norms_of_matrices(rng)
    return _sampled(norms, _chevet(p, q)[2].subs(at))


def _poincare_case(rng: np.random.Generator) -> Case:
    """The variance against the square of the Lipschitz constant."""
    at, p, q, norms = _norms_of_matrices(rng)
    inner, outer = radius(p, q)
    return _sampled((norms - norms.mean()) ** 2, (inner**2 * outer**2 / d).subs(at))


def _borell_tis_case(rng: np.random.Generator) -> Case:
    at, p, q, norms = _norms_of_matrices(rng)
    s = sp.Float(rng.uniform(0.2, 1.5) * norms.std())
    return _sampled(norms >= norms.mean() + float(s), _borell_tis(p, q, s)[2].subs(at))


def _euler(f: Any, variables: Any, degree: Any) -> tuple[sp.Expr, str, sp.Expr]:
    return sp.Add(*(x * sp.Derivative(f, x) for x in variables)), "==", degree * f


def _homogeneous(f: Any, variables: Any, degree: Any) -> list[tuple[str, Any]]:
    r = sp.Symbol("r", positive=True)
    scaled = f.xreplace({x: r * x for x in variables})
    return [("f homogeneous of the given degree", sp.Eq(scaled, r**degree * f, evaluate=False))]


def _euler_case(rng: np.random.Generator) -> Case:
    """A random two-layer ReLU network without biases, as a function of all its weights: <W, df/dW> by central differences along W."""
    V, W, x = rng.standard_normal((4, 5)), rng.standard_normal((5, 3)), rng.standard_normal(3)

    def value(r: float) -> float:
        return float((V * r @ np.maximum(W * r @ x, 0)).sum())

    step = 1e-4
    return Case((value(1 + step) - value(1 - step)) / (2 * step), 2 * value(1.0))


def _arc_cosine(u: Any, v: Any, c: Any, z: Any, w: Any) -> tuple[sp.Expr, str, sp.Expr]:
    second = c * z + sp.sqrt(1 - c**2) * w
    left = GaussianMean(activation(z, u, v) * activation(second, u, v), z, w)
    return left, "==", u * v * c + (u - v) ** 2 * ArcCosine(c) / 2


def _arc_cosine_case(rng: np.random.Generator) -> Case:
    u, v, c = *rng.uniform(-2, 2, 2), rng.uniform(-1, 1)
    z, w = rng.standard_normal((2, DRAWS))
    w = c * z + np.sqrt(1 - c**2) * w
    sample = np.where(z >= 0, u, v) * z * np.where(w >= 0, u, v) * w
    return _sampled(sample, _arc_cosine(u, v, sp.Float(c), _Z, _W)[2].doit())


def _mean_value(p: Any, q: Any) -> tuple[sp.Expr, str, sp.Expr]:
    return Expectation(AdversarialLoss(p, q)), "<=", eps * Expectation(LargestOperatorNorm(p, q))


def _mean_value_case(rng: np.random.Generator) -> Case:
    """A random ReLU network along a segment: its change against the largest Jacobian on the pieces that the segment crosses."""
    V, W, b = rng.standard_normal((2, 6)), rng.standard_normal((6, 3)), rng.standard_normal(6)
    x, eta = rng.standard_normal(3), rng.standard_normal(3)
    start, slope = W @ x + b, W @ eta
    crossings = -start / slope
    ends = np.sort(np.r_[0, crossings[(crossings > 0) & (crossings < 1)], 1])
    middles = (ends[1:] + ends[:-1]) / 2
    largest = max(np.linalg.norm(V @ ((start + s * slope > 0)[:, None] * W), 2) for s in middles)
    change = V @ (np.maximum(start + slope, 0) - np.maximum(start, 0))
    return Case(float(np.linalg.norm(change)), float(np.linalg.norm(eta) * largest))


def _jensen(x: Any, m: Any) -> tuple[sp.Expr, str, sp.Expr]:
    return Expectation(x), "<=", sp.log(Expectation(sp.exp(m * x))) / m


def _jensen_case(rng: np.random.Generator) -> Case:
    x, m = np.abs(rng.standard_normal(DRAWS)) ** rng.uniform(0.5, 1.5), rng.uniform(0.1, 1)
    return Case(float(x.mean()), float(np.log(np.exp(m * x).mean()) / m))


def _slepian(p: Any, q: Any, m: Any, g: Any, h: Any) -> tuple[sp.Expr, str, sp.Expr]:
    inner, outer = radius(p, q)
    moments = Expectation(sp.exp(m * outer * g)) * Expectation(sp.exp(m * inner * h))
    left = Expectation(sp.exp(m * sp.sqrt(d) * MatrixNorm(p, q)))
    return left, "<=", moments * sp.exp(-((m * inner * outer) ** 2) / 2)


def _slepian_case(rng: np.random.Generator) -> Case:
    """p = oo, q = 1: half-normal sums, all signs."""
    columns, rows, m = int(rng.integers(1, 6)), int(rng.integers(1, 5)), rng.uniform(0.05, 0.4)
    G = rng.standard_normal((DRAWS, rows, columns))
    signs = np.array(list(itertools.product((-1, 1), repeat=columns))).T
    norms = np.abs(G @ signs).sum(1).max(1)
    one = lambda t: np.exp(t**2 / 2) * 2 * float(sp.erfc(-t / sp.sqrt(2)) / 2)  # noqa: E731 - E exp(t|z|)
    a, b = columns**0.5, rows**0.5
    return _sampled(np.exp(m * norms), one(m * b) ** columns * one(m * a) ** rows * np.exp(-((m * a * b) ** 2) / 2))


def _unique(time: Any, z: Any, rate: Any, start: Any, path: Any) -> tuple[sp.Expr, str, sp.Expr]:
    return Flow(time, sp.Tuple(z), sp.Tuple(rate), sp.Tuple(start), z), "==", path


def _solves(time: Any, z: Any, rate: Any, start: Any, path: Any) -> list[tuple[str, Any]]:
    return [
        ("path at time 0 equal to start", sp.Eq(path.xreplace({time: sp.S.Zero}), start, evaluate=False)),
        ("path a solution", sp.Eq(sp.diff(path, time), rate.xreplace({z: path}), evaluate=False)),
    ]


def _unique_case(rng: np.random.Generator) -> Case:
    """dz/dt = -k z^2 from 1, by the package's integrator."""
    t, k = (sp.Float(x) for x in rng.uniform(0.1, 2, 2))
    z = sp.Symbol("z", positive=True)
    return Case(float(_unique(t, z, -k * z**2, sp.S.One, 0)[0].evalf()), float(1 / (1 + k * t)))


def _induction(
    depth: Any, variables: Any, updates: Any, start: Any, paths: Any, of: Any
) -> tuple[sp.Expr, str, sp.Expr]:
    return Recursion(depth, variables, updates, start, of), "==", paths[list(variables).index(of)]


def _repeats(depth: Any, variables: Any, updates: Any, start: Any, paths: Any, of: Any) -> list[tuple[str, Any]]:
    at = dict(zip(variables, paths))
    begins = [sp.Eq(path.subs(depth, 0), value, evaluate=False) for path, value in zip(paths, start)]
    repeats = [sp.Eq(path.subs(depth, depth + 1), up.xreplace(at), evaluate=False) for path, up in zip(paths, updates)]
    return [*(("paths at 0 equal to start", e) for e in begins), *(("paths that obey the updates", e) for e in repeats)]


def _induction_case(rng: np.random.Generator) -> Case:
    """x -> 2 x + k, y -> x + y by a loop, against the closed forms."""
    k, steps = int(rng.integers(1, 9)), int(rng.integers(0, 8))
    x, y = sp.symbols("x y")
    depth = sp.Symbol("n", integer=True, nonnegative=True)
    path = (2**depth * (1 + k) - k, (2**depth - 1) * (1 + k) - k * depth)
    made = _induction(depth, sp.Tuple(x, y), sp.Tuple(2 * x + k, x + y), sp.Tuple(1, 0), path, y)
    return Case(float(made[0].subs(depth, steps).evalf()), float(made[2].subs(depth, steps)))


def _sampled(sample: np.ndarray, right: Any) -> Case:
    return Case(float(sample.mean()), float(right), float(sample.std() / len(sample) ** 0.5))


def _norm_hypotheses(p: Any, q: Any, **_: Any) -> list[tuple[str, Any]]:
    return [("p >= 1", p >= 1), ("q >= 1", q >= 1)]


_PAIR = {"p": "exponent of the ball", "q": "exponent of the output's norm"}
_TIS = "Borell, Invent. Math. 30, 1975; Tsirelson, Ibragimov and Sudakov 1976; Boucheron, Lugosi and Massart, Concentration Inequalities, 2013"

LEMMAS: dict[str, Lemma] = {
    one.name: one
    for one in (
        Lemma(
            "ReLU-like moments",
            "E phi(z)^k for z ~ N(0, h) and phi of slopes u, v is (u^k + (-v)^k) h^(k/2) times a half moment",
            "the Gaussian half moments, by substitution in the gamma integral",
            {"u": "slope for z >= 0", "v": "slope for z < 0", "h": "variance", "k": "power", "z": "symbol of the Gaussian"},
            _moments,
            lambda u, v, h, k, z: [("h > 0", h > 0), ("k >= 0", k >= 0), ("k whole", bool(k.is_integer))],
            _moments_case,
            equality=True,
        ),
        Lemma(
            "Gaussian norm",
            "E‖g_n‖_r is at most (n E|z|^r)^(1/r), and sqrt(2 ln 2n) at r = oo",
            "Jensen's inequality; Boucheron, Lugosi and Massart, Concentration Inequalities, 2013, section 2.5",
            {"n": "dimension", "r": "exponent"},
            _gaussian_norm,
            lambda n, r: [("n >= 1", n >= 1), ("r >= 1", r >= 1)],
            _norm_case(_gaussian_norm, 1, 1.5, 2, 3, sp.oo),
        ),
        Lemma(
            "Euclidean norm",
            "E‖g_n‖_2 is the mean of a chi variable of n degrees of freedom",
            "the density of the chi distribution",
            {"n": "dimension"},
            _euclidean,
            lambda n: [("n >= 1", n >= 1)],
            _norm_case(_euclidean, 2),
            equality=True,
        ),
        Lemma(
            "Chevet",
            "E‖G‖_{p -> q} <= (K^max(0, 1/q - 1/2) E‖g_d‖_{p*} + d^max(0, 1/2 - 1/p) E‖g_K‖_q)/sqrt(d), entries N(0, 1/d)",
            "Chevet 1978 with Gordon's constant; Vershynin, High-Dimensional Probability, 2018, exercise 8.7.4",
            _PAIR,
            _chevet,
            _norm_hypotheses,
            _chevet_case,
        ),
        Lemma(
            "Gaussian Poincaré",
            "the variance of ‖G‖_{p -> q} is at most the square of its Lipschitz constant",
            "Boucheron, Lugosi and Massart, Concentration Inequalities, 2013, theorem 3.20",
            _PAIR,
            _poincare,
            _norm_hypotheses,
            _poincare_case,
        ),
        Lemma(
            "Borell-TIS",
            "‖G‖_{p -> q} exceeds its mean by s with a probability of at most exp(-s^2/(2 Lipschitz^2))",
            _TIS,
            {**_PAIR, "s": "excess"},
            _borell_tis,
            lambda p, q, s: [*_norm_hypotheses(p, q), ("s > 0", s > 0)],
            _borell_tis_case,
        ),
        Lemma(
            "Euler",
            "<w, df/dw> = k f for f positively homogeneous of degree k in w",
            "Euler's theorem on homogeneous functions",
            {"f": "function", "variables": "tuple of its variables w", "degree": "k"},
            _euler,
            _homogeneous,
            _euler_case,
            equality=True,
        ),
        Lemma(
            "arc-cosine kernel",
            "E phi(z) phi(z') for standard Gaussians of correlation c is u v c + (u - v)^2 kappa_1(c)/2",
            "Cho and Saul, Kernel Methods for Deep Learning, NeurIPS 2009",
            {"u": "slope for z >= 0", "v": "slope for z < 0", "c": "correlation", "z": "first Gaussian", "w": "second Gaussian"},
            _arc_cosine,
            lambda u, v, c, z, w: [("c >= -1", c >= -1), ("c <= 1", c <= 1)],
            _arc_cosine_case,
            equality=True,
        ),
        Lemma(
            "mean value inequality",
            "f continuous and piecewise linear: ‖f(x + eta) - f(x)‖_q <= eps max over the ball of ‖J‖_{p -> q}",
            "f(x + eta) - f(x) is the mean of J over the segment, times eta",
            _PAIR,
            _mean_value,
            _norm_hypotheses,
            _mean_value_case,
        ),
        Lemma(
            "Jensen",
            "E X <= ln E exp(m X)/m",
            "Jensen's inequality for the exponential",
            {"x": "random quantity", "m": "positive number"},
            _jensen,
            lambda x, m: [("m > 0", m > 0)],
            _jensen_case,
        ),
        Lemma(
            "Slepian",
            "E exp(m ‖G‖) exp(m^2 a^2 b^2/2) <= E exp(m b ‖g‖_{p*}) E exp(m a ‖h‖_q), a and b the radii of the two balls",
            "Slepian's inequality, for p in {2, oo} and q in {1, 2}; Gordon 1985",
            {**_PAIR, "m": "positive number", "g": "‖g_d‖_{p*}", "h": "‖g_K‖_q"},
            _slepian,
            lambda p, q, m, g, h: [("p in {2, oo}", p in (2, sp.oo)), ("q in {1, 2}", q in (1, 2)), ("m > 0", m > 0)],
            _slepian_case,
        ),
        Lemma(
            "uniqueness",
            "a path that starts at z_0 and has dz/dt = rate(z), smooth, is the only one",
            "the theorem of Picard and Lindelöf",
            {"time": "t", "z": "the variable", "rate": "rate(z)", "start": "z_0", "path": "the solution as a function of t"},
            _unique,
            _solves,
            _unique_case,
            equality=True,
        ),
        Lemma(
            "induction",
            "paths that start as a recursion does, and obey its updates from one depth to the next, are the recursion",
            "induction over the depth",
            {
                "depth": "symbol of the depth",
                "variables": "tuple of variables",
                "updates": "their next values",
                "start": "their values at depth 0",
                "paths": "closed forms in the depth",
                "of": "the variable asked for",
            },
            _induction,
            _repeats,
            _induction_case,
            equality=True,
        ),
    )
}  # fmt: skip
"""The library, by name."""
