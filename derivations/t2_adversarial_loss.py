"""T2 step by step: the mean adversarial loss is at most eps beta omega^(L/2), for every (p, q).

Run it to read it: ``python derivations/t2_adversarial_loss.py``. Steps that can be verified are, when they are printed; the one step
that is an assumption says so. The result is compared with what the package derives, for the nine classic pairs.
"""

import itertools

import numpy as np
import sympy as sp

import advmf as mf
from advmf.symbols import K, L, d, eps
from advmf.theory.functions import Conjugate
from advmf.theory.norm_functions import GaussianNorm

p, q = mf.symbols.p, mf.symbols.q
omega = sp.Symbol("omega", positive=True)


def radius(n: sp.Expr, r: sp.Expr) -> sp.Expr:
    """The largest Euclidean norm in the unit ball of lr in n dimensions."""
    return n ** sp.Max(0, sp.Rational(1, 2) - 1 / r)


def verify_radius() -> None:
    """The radius is attained at a vertex (r <= 2) or at equal coordinates (r >= 2), and no random point exceeds it."""
    rng = np.random.default_rng(0)
    for n, r in itertools.product((1, 2, 7), (1.0, 1.5, 2.0, 3.0, np.inf)):
        points = rng.standard_normal((4000, n))
        points /= np.linalg.norm(points, r, axis=1)[:, None]
        claimed = float(radius(sp.Integer(n), sp.oo if r == np.inf else sp.nsimplify(r)))
        best = max(1.0, np.linalg.norm(np.ones(n) / np.linalg.norm(np.ones(n), r)))
        assert np.linalg.norm(points, axis=1).max() <= claimed * (1 + 1e-12)
        assert abs(best - claimed) < 1e-12


def verify_gordon(rows: int = 3, columns: int = 5, draws: int = 4000) -> tuple[float, float]:
    """Chevet's inequality for p = 1, q = oo, where both sides are easily simulated: returns them."""
    rng = np.random.default_rng(0)
    left = np.abs(rng.standard_normal((draws, rows, columns))).max((1, 2)).mean()
    g, k = rng.standard_normal((draws, columns)), rng.standard_normal((draws, rows))
    right = np.abs(g).max(1).mean() + np.abs(k).max(1).mean()
    assert left < right
    return left, right


def bound() -> sp.Expr:
    """Print the steps; return the right-hand side for symbolic p and q."""
    print("  1  definition: L_adv(x) = max over |eta|_p <= eps of |f(x + eta) - f(x)|_q")
    print("  2  f is piecewise linear: f(x + eta) - f(x) is the mean of J over the segment, times eta, so")
    print("        L_adv(x) <= eps max over the ball of |J|_{p -> q}")
    print(
        "  3  ASSUMED: the law of J(x) is the same for every x (T1), and the maximum over the ball is taken to concentrate there"
    )
    print("        E L_adv(x) <= eps E |J(x)|_{p -> q}")
    scale = sp.sqrt(omega**L / d)
    print(f"  4  T1: J(x) has the law of {scale} G, G with K x d entries N(0, 1)")
    verify_radius()
    in_radius, out_radius = radius(d, p), radius(K, Conjugate(q))
    print(
        f"  5  Euclidean radii of the unit ball of lp and of the dual of lq (verified at vertices and random points): {in_radius}, {out_radius}"
    )
    out_radius = K ** sp.Max(0, 1 / q - sp.Rational(1, 2))  # 1/2 - 1/q* = 1/q - 1/2
    for value in (1, sp.Rational(3, 2), 2, 5, sp.oo):
        assert out_radius.subs(q, value) == radius(K, Conjugate(sp.sympify(value)))
    left, right = verify_gordon()
    print("  6  Chevet: E |G|_{p -> q} <= (radius of the dual of lq) E|g_d|_{p*} + (radius of lp) E|g_K|_q")
    print(f"        simulated for (1, oo) at d = 5, K = 3: {left:.3f} <= {right:.3f}")
    beta = (out_radius * GaussianNorm(d, Conjugate(p)) + in_radius * GaussianNorm(K, q)) / sp.sqrt(d)
    print(f"  7  beta = {beta}")
    result = eps * beta * omega ** (L / 2)
    print(f"  8  E L_adv(x) <= {result}")
    return result


def main() -> None:
    """Print the derivation and compare it with the package's claims."""
    print(__doc__.splitlines()[0])
    result = bound()
    for net in (mf.vanilla(), mf.residual()):
        for a, b in itertools.product((1, 2, sp.oo), repeat=2):
            claim = mf.loss_bound(net, a, b)
            own = result.subs({p: a, q: b}).subs(omega, mf.omega(net))
            assert sp.simplify(sp.expand(own - claim.rhs)) == 0, (net.name, a, b)
        print(f"     equal to the package's T2 for the {net.name} network and all nine pairs of {{1, 2, oo}}")
    print("\nverified")


if __name__ == "__main__":
    main()
