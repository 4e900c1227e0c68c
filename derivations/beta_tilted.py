"""The tilted bound on the norm factor, step by step: Slepian's comparison in exponential moments, for p = oo and q = 1.

Run it to read it: ``python derivations/beta_tilted.py``. Every step is verified as it is taken. It ends in exactly the
expression that the package's route ``tilted`` minimises over m.
"""

import itertools

import numpy as np
import sympy as sp

import advmf as mf
from advmf.functions import GaussianMean, TiltedNorm
from advmf.observables import Expectation, MatrixNorm
from advmf.symbols import K, d
from advmf.theory.proof import Derivation, Limit, algebra, by, gaussian, lemma

m, a, b, s = sp.symbols("m a b s", positive=True)
z = sp.Symbol("z", real=True)
g, h = sp.Symbol("g", positive=True), sp.Symbol("h", positive=True)


def derive(net: mf.Net | None = None) -> Derivation:
    """The bound at any m. It is about Gaussian matrices alone: ``net`` is not used, and may be None."""
    proof = Derivation("beta", "tilted bound on the norm factor, p = oo and q = 1")
    proof.assume("the norm is the maximum of <y, G x> over sign vectors x, y: |x| = a = sqrt(d), |y| = b = sqrt(K)")
    x1, y1 = sp.symbols("x_1 y_1", real=True)
    matrix, vectors = a**2 * x1 * b**2 * y1 + a**2 * b**2, a**2 * b**2 * x1 + a**2 * b**2 * y1
    proof.begin(
        matrix - vectors,
        "covariance of <y, G x> + a b z less that of b <g, x> + a <h, y>, x_1 and y_1 cosines of two points",
    )
    proof.step(a**2 * b**2 * (1 - x1) * (1 - y1), algebra, "never negative, and 0 on the diagonal: Slepian's condition")

    one = 2 * sp.exp(s**2 / 2) * (1 + sp.erf(s / sp.sqrt(2))) / 2
    proof.begin(GaussianMean(sp.exp(s * sp.Abs(z)), z), "exponential moment of a half-normal")
    proof.step(one, gaussian)

    norm = sp.sqrt(d) * MatrixNorm(sp.oo, 1)
    moments = Expectation(sp.exp(m * sp.sqrt(K) * g)) * Expectation(sp.exp(m * sp.sqrt(d) * h))
    sums = [
        proof.assume(f"{letter} = ‖g_{n}‖_1 is a sum of {n} independent half-normals", Expectation(sp.exp(m * sp.sqrt(other) * letter)), "==",
                     one.subs(s, m * sp.sqrt(other)) ** n)
        for letter, n, other in ((g, d, K), (h, K, d))
    ]  # fmt: skip
    proof.begin(Expectation(norm) / sp.sqrt(d), "the bound, ‖G‖ having N(0, 1/d) entries")
    proof.step(sp.log(Expectation(sp.exp(m * norm))) / m / sp.sqrt(d), lemma("Jensen", x=norm, m=m))
    compared = sp.log(moments * sp.exp(-(m**2) * d * K / 2)) / m / sp.sqrt(d)
    proof.step(compared, lemma("Slepian", p=sp.oo, q=1, m=m, g=g, h=h))
    proof.step(compared.subs({fact.left: fact.right for fact in sums}), by(*sums))
    proof.concludes(TiltedNorm(K, d, sp.oo, 1).at(m) / sp.sqrt(d))
    proof.begin(TiltedNorm(3, 5, sp.oo, 1).at(m) / sp.sqrt(5), "as m -> 0, here at d = 5, K = 3")
    proof.step(mf.beta("oo", 1).subs({d: 5, K: 3}), Limit(m, sp.S.Zero), "Chevet's inequality")
    return proof


def simulate() -> None:
    """Check that ‖G‖_{oo -> 1} of 3 x 5 matrices, by all signs, is below the tilted bound at its best m, and that below
    Chevet's."""
    G = np.random.default_rng(0).standard_normal((4000, 3, 5))
    signs = np.array(list(itertools.product((-1, 1), repeat=3)))
    norms = np.abs(np.einsum("sk,nkd->nsd", signs, G)).sum(-1).max(-1)
    value = sp.lambdify(m, TiltedNorm(3, 5, sp.oo, 1).at(m), "scipy")
    best = min(value(t) for t in np.linspace(0.05, 3, 300))
    chevet = float((mf.beta("oo", 1) * sp.sqrt(d)).subs({d: 5, K: 3}).evalf())
    assert norms.mean() + 5 * norms.std() / len(norms) ** 0.5 < best < chevet
    print(f"simulated at d = 5, K = 3: {norms.mean():.3f} <= tilted {best:.3f} <= Chevet {chevet:.3f}")


def main() -> None:
    """Print and verify the derivation, and compare it with simulation."""
    print(derive())
    simulate()


if __name__ == "__main__":
    main()
