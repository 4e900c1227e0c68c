"""T6 step by step: the tilted bound on the norm factor, and the orders in which the factor grows with d and K.

Run it to read it: ``python derivations/t6_dimensions.py``. Every step that can be verified is, when it is printed. The results are compared
with what the package derives.
"""

import itertools

import numpy as np
import sympy as sp

import advmf as mf
from advmf.symbols import K, d
from advmf.theory.norm_functions import TiltedNorm

m, a, b, s = sp.symbols("m a b s", positive=True)
half = sp.Rational(1, 2)


def verify_covariances() -> None:
    """Slepian's condition: equal variances, and the process of the matrix is correlated at least as much."""
    x1, y1 = sp.symbols("x1 y1", real=True)  # cosines: <x, x'> = a² x1 and <y, y'> = b² y1, at most 1
    matrix = a**2 * x1 * b**2 * y1 + a**2 * b**2  # <y, G x> + a b z
    vectors = b**2 * a**2 * x1 + a**2 * b**2 * y1  # b <g, x> + a <h, y>
    excess = sp.factor(matrix - vectors)
    assert sp.expand(excess - a**2 * b**2 * (1 - x1) * (1 - y1)) == 0
    assert excess.subs({x1: 1, y1: 1}) == 0
    print(f"        covariance of the first less that of the second: {excess} >= 0, and 0 on the diagonal")


def log_moment_of_half_normals(n: sp.Expr, t: sp.Expr) -> sp.Expr:
    """ln E exp(t S) of the sum S of n half-normals, by integration."""
    z = sp.symbols("z", positive=True)
    one = sp.integrate(sp.sqrt(2 / sp.pi) * sp.exp(-(z**2) / 2 + s * z), (z, 0, sp.oo))
    for value in (0.3, 2.0):
        draws = np.abs(np.random.default_rng(0).standard_normal(400_000))
        sample = np.exp(value * draws)
        assert abs(sample.mean() - float(one.subs(s, value))) < 5 * sample.std() / len(draws) ** 0.5
    return n * sp.log(one.subs(s, t))


def tilted() -> sp.Expr:
    """Print the steps; return the bound for p = oo, q = 1 and a free m."""
    print(
        "  1  a maximum of convex functions: ‖G‖_{p -> q} = max <y, G x> over x in the ball of lp, y in that of the dual of lq,"
    )
    print("     attained, for p in {2, oo} and q in {1, 2}, where |x| = a and |y| = b: the radii of the balls")
    print("  2  Slepian: compare <y, G x> + a b z with b <g, x> + a <h, y>, z, g, h standard Gaussian")
    verify_covariances()
    print("     so P(‖G‖ + a b z > t) <= P(b ‖g‖_{p*} + a ‖h‖_q > t) for every t")
    print(
        "  3  exponential moments of both sides, m > 0:  E exp(m ‖G‖) exp(m² a² b²/2) <= E exp(m b ‖g‖_{p*}) E exp(m a ‖h‖_q)"
    )
    print("  4  Jensen: m E‖G‖ <= ln E exp(m ‖G‖), hence for every m")
    print("        E‖G‖ <= (ln E exp(m b ‖g_d‖_{p*}) + ln E exp(m a ‖g_K‖_q))/m - m a² b²/2")
    in_radius, out_radius = sp.sqrt(d), sp.sqrt(K)
    moments = log_moment_of_half_normals(d, m * out_radius) + log_moment_of_half_normals(K, m * in_radius)
    bound = moments / m - m * (in_radius * out_radius) ** 2 * half
    print(f"  5  p = oo, q = 1: a = sqrt(d), b = sqrt(K), and sums of half-normals:\n        E‖G‖ <= {bound}")
    print("  6  m -> 0 is Chevet's inequality (verified); the package takes the best m")
    at = {d: 5, K: 3}
    chevet = mf.beta("oo", 1).subs(at) * sp.sqrt(5)
    assert abs(sp.N(bound.subs(at).subs(m, sp.Rational(1, 10**6)), 30) - chevet.evalf(30)) < 1e-4
    return bound


def verify_simulation(bound: sp.Expr) -> None:
    """‖G‖_{oo -> 1} of 3 x 5 matrices by all signs: below the tilted bound, which is below Chevet's."""
    G = np.random.default_rng(0).standard_normal((4000, 3, 5))
    signs = np.array(list(itertools.product((-1, 1), repeat=3)))
    norms = np.abs(np.einsum("sk,nkd->nsd", signs, G)).sum(-1).max(-1)
    value = sp.lambdify(m, bound.subs({d: 5, K: 3}), "scipy")
    best = min(value(t) for t in np.linspace(0.05, 3, 300))
    chevet = float((mf.beta("oo", 1) * sp.sqrt(d)).subs({d: 5, K: 3}).evalf())
    assert norms.mean() + 5 * norms.std() / len(norms) ** 0.5 < best < chevet
    print(f"        simulated at d = 5, K = 3: {norms.mean():.3f} <= tilted {best:.3f} <= Chevet {chevet:.3f}")


def orders() -> None:
    """The order of growth with either dimension, from the two sides of a bracket."""
    print(
        "  7  beta lies between the larger of Chevet's two terms and their sum: its order of growth is that of the sum"
    )
    for p in (1, sp.Rational(3, 2), 2, 4, sp.oo):
        terms = sp.expand(mf.beta(p, 2, "leading"))
        power = max(sp.limit(d * sp.diff(sp.log(term), d), d, sp.oo) for term in sp.Add.make_args(terms))
        assert power == half - 1 / sp.sympify(p) == mf.growth_order(mf.beta(p, 2), d)[0]
        print(f"        p = {p}: beta grows as d^({power})" + (" sqrt(log d)" if p == 1 else ""))
    for q in (1, sp.Rational(3, 2), 2, 4, sp.oo):
        terms = sp.expand(mf.beta(2, q, "leading"))
        power = max(sp.limit(K * sp.diff(sp.log(term), K), K, sp.oo) for term in sp.Add.make_args(terms))
        assert power == 1 / sp.sympify(q) == mf.growth_order(mf.beta(2, q), K)[0]
        print(f"        q = {q}: beta grows as K^({power})" + (" sqrt(log K)" if q is sp.oo else ""))
    print("     in short: beta ~ d^(1/2 - 1/p) K^(1/q), times sqrt(log d) at p = 1 and sqrt(log K) at q = oo")


def main() -> None:
    """Print the derivation and compare it with the package's functions."""
    print(__doc__.splitlines()[0])
    bound = tilted()
    verify_simulation(bound)
    package = TiltedNorm(K, d, sp.oo, 1).at(m)
    for value in (0.01, 0.1, 1.0):
        at = {d: 7, K: 4, m: value}
        assert abs(float(bound.subs(at)) / float(package.subs(at)) - 1) < 1e-12
    print("     equal to the package's TiltedNorm at every m")
    orders()
    print("\nverified")


if __name__ == "__main__":
    main()
