"""Uniform integrability step by step: the mean square of the adversarial loss is bounded as the width N grows.

    lim sup E L_adv^2 <= eps^2 (beta^2 + r^2/d) lambda^(2L),   r = d^max(0, 1/2 - 1/p) K^max(0, 1/q - 1/2)

Here lambda is 2 ell sigma_w for ``vanilla`` and 1 + 4 ell sigma_w for ``residual``, and ell is the Lipschitz constant
of the activation. A bounded mean square is what T2 needs where it takes the limit of the mean loss from the limit in
law (P. Billingsley, Convergence of Probability Measures, 1999, theorem 3.5). The bound itself is coarse: omega^L stands
in T2 where lambda^(2L) stands here.

Run it to read it: ``python derivations/uniform_integrability.py``. Every step is verified as it is taken. Four lemmas
are registered here, each with its hypotheses, its source and a check by random matrices or networks.

The product of all norms would not do: ‖P_in‖^2 alone grows as N/d. But given the hidden layers the outputs are P_out
times fixed features, so that ‖P_out‖ is replaced by what a Gaussian matrix does to d dimensions, and 1/N is left.
"""

import numpy as np
import sympy as sp

import advmf as mf
from advmf.functions import Conjugate, GaussianNorm
from advmf.observables import AdversarialLoss, Expectation, Observable
from advmf.symbols import K, L, N, d, eps, p, q, sigma_w
from advmf.theory.lemma import Case, Lemma
from advmf.theory.lemma_statements import whole
from advmf.theory.lemmas import radius
from advmf.theory.norms import BETA as beta
from advmf.theory.proof import Derivation, Limit, by, lemma, register_lemma

ell = sp.Symbol("ell", positive=True)
DRAWS = 400


class Stretch(Observable):
    """``sqrt(d/N)`` times the Lipschitz constant of x -> x^L in Euclidean norms: ``Stretch()``."""

    is_nonnegative = True
    tex = r"\Lambda_N"


class SpectralNorm(Observable):
    """The largest singular value of an n x m matrix of independent N(0, 1) entries: ``SpectralNorm(n, m)``."""

    is_nonnegative = True
    letters = frozenset()
    tex = r"\lVert G_{{{} \times {}}}\rVert_2"


# The lemmas. In the cases the left sides are of sampled matrices and networks.


def _compared(left: np.ndarray, right: np.ndarray | float) -> Case:
    return Case(float(left.mean()), float(np.mean(right)), float(np.hypot(left.std(), np.std(right)) / DRAWS**0.5))


def _given(p: sp.Expr, q: sp.Expr) -> tuple[sp.Expr, str, sp.Expr]:
    inner, outer = radius(p, q)
    mean = outer * GaussianNorm(d, Conjugate(p)) + inner * GaussianNorm(K, q)
    square = eps**2 * (mean**2 + inner**2 * outer**2) / d
    return Expectation(AdversarialLoss(p, q) ** 2), "<=", square * Expectation(Stretch() ** 2)


def _given_case(rng: np.random.Generator) -> Case:
    """Networks of one hidden layer and two inputs, on a grid of the ball's border. The Lipschitz constant is at most
    ell times the norm of W P_in."""
    p, q, n, K = (
        rng.choice([1, 2, np.inf]),
        rng.choice([1, 2, np.inf]),
        int(rng.integers(5, 40)),
        int(rng.integers(1, 5)),
    )
    u, v, (eps, sigma) = *rng.uniform(-1, 1, 2), rng.uniform(0.1, 2, 2)
    angle = np.arange(16) * np.pi / 8
    moves = np.stack((np.cos(angle), np.sin(angle)))
    moves = np.c_[np.zeros(2), eps * moves / np.linalg.norm(moves, p, axis=0)]
    first = sigma * rng.standard_normal((DRAWS, n, n)) / n**0.5 @ (rng.standard_normal((DRAWS, n, 2)) / 2**0.5)
    z = first @ (rng.standard_normal((2, 1)) + moves) + rng.standard_normal((DRAWS, n, 1))
    features = np.where(z >= 0, u * z, v * z)
    outputs = rng.standard_normal((DRAWS, K, n)) / n**0.5 @ (features - features[..., :1])
    losses = np.linalg.norm(outputs, q, axis=1).max(1)
    lipschitz = max(abs(u), abs(v)) * np.linalg.norm(first, 2, axis=(1, 2))
    inner, outer = 2 ** max(0.0, 1 / 2 - 1 / p), K ** max(0.0, 1 / q - 1 / 2)
    dual = {1: np.inf, 2: 2, np.inf: 1}[p]
    one, other = (np.linalg.norm(rng.standard_normal((20_000, k)), r, axis=1).mean() for k, r in ((2, dual), (K, q)))
    square = eps**2 * ((outer * one + inner * other) ** 2 + (inner * outer) ** 2) / 2
    return _compared(losses**2, square * 2 / n * lipschitz**2)


def _composed(shortcut: sp.Expr, ell: sp.Expr) -> tuple[sp.Expr, str, sp.Expr]:
    one, first = (Expectation(SpectralNorm(N, m) ** 2) / N for m in (N, d))
    branch = ell * sigma_w * sp.sqrt(one) ** (1 + shortcut)
    return Expectation(Stretch() ** 2), "<=", first * (shortcut + branch) ** (2 * L)


def _composed_case(rng: np.random.Generator) -> Case:
    """Jacobians at a few points of vanilla and residual networks, whose norms are below the Lipschitz constant."""
    shortcut, n, d, depth, sigma = (
        int(rng.integers(2)),
        int(rng.integers(4, 20)),
        3,
        int(rng.integers(3)),
        rng.uniform(0.3, 2),
    )
    u, v = rng.uniform(-1, 1, 2)
    J = rng.standard_normal((DRAWS, 1, n, d)) / d**0.5
    x = J @ rng.standard_normal((4, d, 1))
    J = J.repeat(4, 1)
    for _ in range(depth):
        W, V = rng.standard_normal((2, DRAWS, 1, n, n)) / n**0.5
        h = sigma * W @ x + rng.standard_normal((DRAWS, 1, n, 1))
        slopes = np.where(h >= 0, u, v)
        branch, tangent = slopes * h, slopes * (sigma * W @ J)
        x, J = (x + V @ branch, J + V @ tangent) if shortcut else (branch, tangent)
    left = d / n * np.linalg.norm(J, 2, axis=(2, 3)).max(1) ** 2
    one, first = (np.mean(np.linalg.norm(rng.standard_normal((DRAWS, n, m)), 2, axis=(1, 2)) ** 2) / n for m in (n, d))
    bound = (shortcut + max(abs(u), abs(v)) * sigma * one ** ((1 + shortcut) / 2)) ** (2 * depth)
    return _compared(left, float(first * bound))


def _mean(n: sp.Expr, m: sp.Expr) -> tuple[sp.Expr, str, sp.Expr]:
    return Expectation(SpectralNorm(n, m)), "<=", sp.sqrt(n) + sp.sqrt(m)


def _square(n: sp.Expr, m: sp.Expr) -> tuple[sp.Expr, str, sp.Expr]:
    return Expectation(SpectralNorm(n, m) ** 2), "<=", Expectation(SpectralNorm(n, m)) ** 2 + 1


def _norms(rng: np.random.Generator) -> tuple[np.ndarray, int, int]:
    n, m = (int(size) for size in rng.integers(1, 40, 2))
    return np.linalg.norm(rng.standard_normal((DRAWS, n, m)), 2, axis=(1, 2)), n, m


def _mean_case(rng: np.random.Generator) -> Case:
    norms, n, m = _norms(rng)
    return _compared(norms, n**0.5 + m**0.5)


def _variance_case(rng: np.random.Generator) -> Case:
    """The variance, which is at most 1."""
    norms, _, _ = _norms(rng)
    return _compared((norms - norms.mean()) ** 2, 1.0)


def _sizes(n: sp.Expr, m: sp.Expr) -> list[tuple[str, object]]:
    return [("n >= 1", n >= 1), ("m >= 1", m >= 1), ("n and m whole", whole(n) and whole(m))]


SIZES = {"n": "rows", "m": "columns"}
CONTROLS = {
    "loss given the hidden layers": 0.05,
    "Lipschitz constants of independent layers": 0.2,
    "Davidson-Szarek": 0.5,
    "Poincaré of a spectral norm": 0.05,
}
"""The lemmas of this file, each with a factor of its right side at which its check has to fail."""
for one in (
    Lemma(
        "loss given the hidden layers",
        "E loss^2 <= eps^2 ((K^max(0, 1/q - 1/2) E‖g_d‖_{p*} + d^max(0, 1/2 - 1/p) E‖g_K‖_q)^2 + r^2)/d E Lambda_N^2",
        "given x^L the outputs are P_out x^L: a maximum of Gaussians, to which Chevet on bounded sets, Sudakov-Fernique and Poincaré apply, with "
        "features that are Lipschitz with Lambda_N/sqrt(d)",
        {"p": "exponent of the ball", "q": "exponent of the output's norm"},
        _given,
        lambda p, q: [("p >= 1", p >= 1), ("q >= 1", q >= 1)],
        _given_case,
    ),
    Lemma(
        "Lipschitz constants of independent layers",
        "E Lambda_N^2 <= E‖G_{N x d}‖^2/N (s + ell sigma_w (E‖G_{N x N}‖^2/N)^((1 + s)/2))^(2L), s = 0 for vanilla and 1 for residual",
        "Lipschitz constants multiply, means of independent factors too, and root mean squares of sums add (Minkowski)",
        {"shortcut": "s", "ell": "Lipschitz constant of the activation"},
        _composed,
        lambda shortcut, ell: [("shortcut 0 or 1", shortcut in (0, 1)), ("ell > 0", ell > 0)],
        _composed_case,
    ),
    Lemma(
        "Davidson-Szarek",
        "E‖G‖ <= sqrt(n) + sqrt(m) for n x m independent N(0, 1) entries",
        "Davidson and Szarek, Handbook of the Geometry of Banach Spaces 1, 2001, theorem II.13",
        SIZES,
        _mean,
        _sizes,
        _mean_case,
    ),
    Lemma(
        "Poincaré of a spectral norm",
        "E‖G‖^2 <= (E‖G‖)^2 + 1 for independent N(0, 1) entries",
        "a spectral norm is Lipschitz with 1; Boucheron, Lugosi and Massart, Concentration Inequalities, 2013, theorem 3.20",
        SIZES,
        _square,
        _sizes,
        _variance_case,
    ),
):
    register_lemma(one)


def derive(net: mf.Net) -> Derivation:
    """The bound for the vanilla or the residual network, of any activation with Lipschitz constant ell."""
    shortcut = int(isinstance(net.block, mf.Residual))
    assert net == (mf.residual if shortcut else mf.vanilla)(phi=net.activations[0]), "the steps are those of two nets"
    proof = Derivation("uniform integrability", f"mean square of the loss of the {net.name} network, bounded in N")
    inner, outer = radius(p, q)
    factor = proof.define(
        beta, (outer * GaussianNorm(d, Conjugate(p)) + inner * GaussianNorm(K, q)) / sp.sqrt(d), "norm factor"
    )
    size = eps**2 * (beta**2 + inner**2 * outer**2 / d)

    def product(first: sp.Expr, hidden: sp.Expr) -> sp.Expr:
        """The bound in terms of the mean squares of the norms of P_in and of a hidden matrix, of N(0, 1) entries."""
        branch = ell * sigma_w * sp.sqrt(hidden / N) ** (1 + shortcut)
        return size * first / N * (shortcut + branch) ** (2 * L)

    means = [Expectation(SpectralNorm(N, m)) for m in (d, N)]
    squares = [Expectation(SpectralNorm(N, m) ** 2) for m in (d, N)]
    edges = [sp.sqrt(N) + sp.sqrt(m) for m in (d, N)]
    proof.begin(Expectation(AdversarialLoss(p, q) ** 2), "the mean square, at any width")
    given = eps**2 * (d * factor.right**2 + inner**2 * outer**2) / d
    proof.step(given * Expectation(Stretch() ** 2), lemma("loss given the hidden layers", p=p, q=q))
    proof.step(size * Expectation(Stretch() ** 2), by(factor))
    composed = lemma("Lipschitz constants of independent layers", shortcut=shortcut, ell=ell)
    proof.step(product(*squares), composed, "biases do not matter")
    proof.step(product(means[0] ** 2 + 1, squares[1]), lemma("Poincaré of a spectral norm", n=N, m=d))
    proof.step(product(means[0] ** 2 + 1, means[1] ** 2 + 1), lemma("Poincaré of a spectral norm", n=N, m=N))
    proof.step(product(edges[0] ** 2 + 1, means[1] ** 2 + 1), lemma("Davidson-Szarek", n=N, m=d))
    proof.step(product(edges[0] ** 2 + 1, edges[1] ** 2 + 1), lemma("Davidson-Szarek", n=N, m=N))
    rate = 1 + 4 * ell * sigma_w if shortcut else 2 * ell * sigma_w
    proof.step(size * rate ** (2 * L), Limit(N, sp.oo), "finite: the mean square is bounded in N")
    return proof


def main() -> None:
    """Print and verify the derivations."""
    for net in (mf.vanilla(), mf.residual()):
        print(derive(net), end="\n\n")


if __name__ == "__main__":
    main()
