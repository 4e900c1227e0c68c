"""Random cases of the lemmas: both sides as numbers, the left one by simulation where it is a mean.

Each is a function of a NumPy generator; :meth:`advmf.theory.lemma.Lemma.check` compares the sides.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from advmf.functions import Conjugate
from advmf.symbols import K, d
from advmf.theory import lemma_statements as state
from advmf.theory.lemma import Case

DRAWS = 20_000
"""Random draws behind one simulated side of a case."""

_Z, _W = sp.symbols("z w", real=True)


def moments_case(rng: np.random.Generator) -> Case:
    u, v, h, k = (*rng.uniform(-2, 2, 2), rng.uniform(0.2, 3), int(rng.integers(1, 5)))
    z = rng.standard_normal(DRAWS) * np.sqrt(h)
    sample = np.where(z >= 0, u * z, v * z) ** k
    return _sampled(sample, state.moments(u, v, h, sp.Integer(k), _Z)[2])


def norm_case(
    of: Callable[..., tuple[sp.Expr, str, sp.Expr]], *exponents: Any
) -> Callable[[np.random.Generator], Case]:
    def case(rng: np.random.Generator) -> Case:
        n, r = int(rng.integers(2, 40)), exponents[int(rng.integers(len(exponents)))]
        sample = np.linalg.norm(rng.standard_normal((DRAWS, n)), float(r), axis=1)
        values = (n, sp.sympify(r)) if len(exponents) > 1 else (n,)
        return _sampled(sample, of(*map(sp.sympify, values))[2])

    return case


def _norms_of_matrices(rng: np.random.Generator) -> tuple[dict[sp.Symbol, sp.Expr], Any, Any, np.ndarray]:
    """Exact norms ‖G‖_{p -> q} of random K x d matrices: columns for p = 1, rows for q = oo, singular values, or all
    signs."""
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


def chevet_case(rng: np.random.Generator) -> Case:
    at, p, q, norms = _norms_of_matrices(rng)
    return _sampled(norms, state.chevet(p, q)[2].subs(at))


def poincare_case(rng: np.random.Generator) -> Case:
    """Compare the variance with the square of the Lipschitz constant."""
    at, p, q, norms = _norms_of_matrices(rng)
    inner, outer = state.radius(p, q)
    return _sampled((norms - norms.mean()) ** 2, (inner**2 * outer**2 / d).subs(at))


def borell_tis_case(rng: np.random.Generator) -> Case:
    at, p, q, norms = _norms_of_matrices(rng)
    s = sp.Float(rng.uniform(0.2, 1.5) * norms.std())
    return _sampled(norms >= norms.mean() + float(s), state.borell_tis(p, q, s)[2].subs(at))


def euler_case(rng: np.random.Generator) -> Case:
    """A random two-layer ReLU network without biases, as a function of all its weights: <W, df/dW> by central
    differences along W."""
    V, W, x = rng.standard_normal((4, 5)), rng.standard_normal((5, 3)), rng.standard_normal(3)

    def value(r: float) -> float:
        return float((V * r @ np.maximum(W * r @ x, 0)).sum())

    step = 1e-4
    return Case((value(1 + step) - value(1 - step)) / (2 * step), 2 * value(1.0))


def arc_cosine_case(rng: np.random.Generator) -> Case:
    u, v, c = *rng.uniform(-2, 2, 2), rng.uniform(-1, 1)
    z, w = rng.standard_normal((2, DRAWS))
    w = c * z + np.sqrt(1 - c**2) * w
    sample = np.where(z >= 0, u, v) * z * np.where(w >= 0, u, v) * w
    return _sampled(sample, state.arc_cosine(u, v, sp.Float(c), _Z, _W)[2].doit())


def mean_value_case(rng: np.random.Generator) -> Case:
    """A random ReLU network along a segment: its change, and the largest Jacobian on the linear pieces that the segment
    crosses."""
    V, W, b = rng.standard_normal((2, 6)), rng.standard_normal((6, 3)), rng.standard_normal(6)
    x, eta = rng.standard_normal(3), rng.standard_normal(3)
    start, slope = W @ x + b, W @ eta
    crossings = -start / slope
    ends = np.sort(np.r_[0, crossings[(crossings > 0) & (crossings < 1)], 1])
    middles = (ends[1:] + ends[:-1]) / 2
    largest = max(np.linalg.norm(V @ ((start + s * slope > 0)[:, None] * W), 2) for s in middles)
    change = V @ (np.maximum(start + slope, 0) - np.maximum(start, 0))
    return Case(float(np.linalg.norm(change)), float(np.linalg.norm(eta) * largest))


def jensen_case(rng: np.random.Generator) -> Case:
    x, m = np.abs(rng.standard_normal(DRAWS)) ** rng.uniform(0.5, 1.5), rng.uniform(0.1, 1)
    return Case(float(x.mean()), float(np.log(np.exp(m * x).mean()) / m))


def slepian_case(rng: np.random.Generator) -> Case:
    """p = oo, q = 1: half-normal sums, all signs."""
    columns, rows, m = int(rng.integers(1, 6)), int(rng.integers(1, 5)), rng.uniform(0.05, 0.4)
    G = rng.standard_normal((DRAWS, rows, columns))
    signs = np.array(list(itertools.product((-1, 1), repeat=columns))).T
    norms = np.abs(G @ signs).sum(1).max(1)
    one = lambda t: np.exp(t**2 / 2) * 2 * float(sp.erfc(-t / sp.sqrt(2)) / 2)  # noqa: E731 - E exp(t|z|)
    a, b = columns**0.5, rows**0.5
    return _sampled(np.exp(m * norms), one(m * b) ** columns * one(m * a) ** rows * np.exp(-((m * a * b) ** 2) / 2))


def unique_case(rng: np.random.Generator) -> Case:
    """The solution of dz/dt = -k z^2 from 1, by the package's integrator."""
    t, k = (sp.Float(x) for x in rng.uniform(0.1, 2, 2))
    z = sp.Symbol("z", positive=True)
    return Case(float(state.unique(t, z, -k * z**2, sp.S.One, 0)[0].evalf()), float(1 / (1 + k * t)))


def induction_case(rng: np.random.Generator) -> Case:
    """The recursion x -> 2 x + k, y -> x + y by a loop, and its closed forms."""
    k, steps = int(rng.integers(1, 9)), int(rng.integers(0, 8))
    x, y = sp.symbols("x y")
    depth = sp.Symbol("n", integer=True, nonnegative=True)
    path = (2**depth * (1 + k) - k, (2**depth - 1) * (1 + k) - k * depth)
    made = state.induction(depth, sp.Tuple(x, y), sp.Tuple(2 * x + k, x + y), sp.Tuple(1, 0), path, y)
    return Case(float(made[0].subs(depth, steps).evalf()), float(made[2].subs(depth, steps)))


def _sampled(sample: np.ndarray, right: Any) -> Case:
    return Case(float(sample.mean()), float(right), float(sample.std() / len(sample) ** 0.5))
