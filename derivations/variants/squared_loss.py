"""A variant of T2: the mean square of the adversarial loss, for any exponents p and q.

    E L_adv^2 <= eps^2 omega^L (beta^2 + r^2/d),  r = d^max(0, 1/2 - 1/p) K^max(0, 1/q - 1/2)

Run it to read it: ``python derivations/variants/squared_loss.py``. As N -> oo the loss is a maximum of Gaussians. The
mean of its square is the square of its mean, which metric domination bounds as in T2, plus its variance, which
Poincaré's inequality bounds. The library's lemmas are about means of losses and norms of matrices, so two lemmas about
squares of losses are registered here.
"""

from dataclasses import replace

import numpy as np
import sympy as sp

import advmf as mf
from advmf.functions import Conjugate, GaussianNorm
from advmf.observables import AdversarialLoss, Expectation, FeatureMaximum, FeatureRadius, LimitLoss
from advmf.symbols import K, L, d, eps, p, q
from advmf.theory.lemma import Case, Lemma
from advmf.theory.lemmas import radius
from advmf.theory.norms import BETA as beta
from advmf.theory.proof import Derivation, by, lemma, register_lemma
from advmf.theory.propagation import OMEGA as omega

NET = mf.residual(u=1, v=0)
SIZES = {"L": 3, "d": 64, "K": 4}
POINT = {"sigma_w": 1.0, "sigma_b": 0.1, "eps": 0.05, "p": sp.oo, "q": 2}


LETTERS = {"p": "exponent of the ball", "q": "exponent of the output's norm"}
DRAWS, WIDTH = 2500, 150


def _limit(p: sp.Expr, q: sp.Expr) -> tuple[sp.Expr, str, sp.Expr]:
    return Expectation(AdversarialLoss(p, q) ** 2), "->", Expectation(LimitLoss(p, q) ** 2)


def _limit_case(rng: np.random.Generator) -> Case:
    """ReLU networks of one hidden layer and one input, on a grid of an interval, and their limit by the arc-cosine
    kernel."""
    K, q, s = int(rng.integers(1, 4)), rng.choice([1, 2, np.inf]), 1 + np.linspace(-1, 1, 21) * rng.uniform(0.05, 1)
    s = np.r_[1.0, s]
    hidden = rng.standard_normal((DRAWS, WIDTH, 1)) * s + rng.standard_normal((DRAWS, WIDTH, 1))
    outputs = rng.standard_normal((DRAWS, K, WIDTH)) / WIDTH**0.5 @ np.maximum(hidden, 0)
    root, cosine = np.sqrt(np.outer(1 + s**2, 1 + s**2)), (1 + np.outer(s, s)) / np.sqrt(np.outer(1 + s**2, 1 + s**2))
    angle = np.arccos(np.clip(cosine, -1, 1))
    kernel = root * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
    values, vectors = np.linalg.eigh(kernel)
    process = rng.standard_normal((DRAWS, K, len(s))) @ (vectors * np.sqrt(np.maximum(values, 0))).T
    left, right = (np.square(np.linalg.norm(f - f[..., :1], q, axis=1).max(1)) for f in (outputs, process))
    return Case(float(left.mean()), float(right.mean()), float(np.hypot(left.std(), right.std()) / DRAWS**0.5))


def _variance(p: sp.Expr, q: sp.Expr) -> tuple[sp.Expr, str, sp.Expr]:
    loss, (_, outer) = LimitLoss(p, q), radius(p, q)
    return Expectation(loss**2), "<=", Expectation(loss) ** 2 + outer**2 * FeatureRadius(p) ** 2


def _variance_case(rng: np.random.Generator) -> Case:
    """A random set of a few vectors, of any size and shape."""
    K, q = int(rng.integers(1, 5)), rng.choice([1, 1.5, 2, 4, np.inf])
    D = rng.standard_normal((int(rng.integers(1, 9)), int(rng.integers(1, 6)))) * rng.exponential()
    losses = np.linalg.norm(rng.standard_normal((DRAWS, K, D.shape[1])) @ D.T, q, axis=1).max(1)
    spread = np.square(losses - losses.mean())
    outer = K ** max(0.0, 1 / q - 1 / 2)
    square = losses.mean() ** 2
    bound = square + outer**2 * np.square(D).sum(1).max()
    return Case(float(square + spread.mean()), float(bound), float(spread.std() / DRAWS**0.5))


register_lemma(
    Lemma(
        "uniform integrability, squared",
        "as N -> oo the mean square of the loss is that of the limit, for activations that are Lipschitz and outputs that converge in law on "
        "the ball",
        "as for the mean, by the fourth moments of the norms of the weights, which are bounded in N",
        LETTERS,
        _limit,
        lambda p, q: [("p >= 1", p >= 1), ("q >= 1", q >= 1)],
        _limit_case,
        equality=True,
    )
)
register_lemma(
    Lemma(
        "Gaussian Poincaré on bounded sets",
        "E (max over D in a bounded set of ‖G D‖_q)^2 <= (E max ‖G D‖_q)^2 + K^(2 max(0, 1/q - 1/2)) max |D|^2, G of entries N(0, 1)",
        "the maximum is Lipschitz in the entries of G; Boucheron, Lugosi and Massart, Concentration Inequalities, 2013, theorem 3.20",
        LETTERS,
        _variance,
        lambda p, q: [("p >= 1", p >= 1), ("q >= 1", q >= 1)],
        _variance_case,
    )
)


def derive(net: mf.Net) -> Derivation:
    """The bound, for symbols p and q."""
    proof = Derivation("squared loss", f"mean square of the adversarial loss of the {net.name} network")
    rate = proof.define(omega, mf.omega(net), "growth per block (T1)")
    factor = proof.define(beta, mf.beta(p, q), "norm factor")
    proof.assume("as N -> oo the outputs converge in law to independent Gaussian processes on the ball")
    proof.assume("T1: the gradients of an output are N(0, omega^L/d I) at every x")
    (inner, outer), length, scale, widest = radius(p, q), GaussianNorm(K, q), omega**L, FeatureRadius(p)
    bound = claim(net)

    proof.begin(Expectation(AdversarialLoss(p, q) ** 2), "the bound, as N -> oo")
    proof.step(Expectation(LimitLoss(p, q) ** 2), lemma("uniform integrability, squared", p=p, q=q))
    variance = outer**2 * widest**2
    proof.step(Expectation(LimitLoss(p, q)) ** 2 + variance, lemma("Gaussian Poincaré on bounded sets", p=p, q=q))
    mean = outer * Expectation(FeatureMaximum(p)) + widest * length
    proof.step(mean**2 + variance, lemma("Chevet on bounded sets", p=p, q=q))
    first = outer * eps * sp.sqrt(scale / d) * GaussianNorm(d, Conjugate(p))
    proof.step((first + widest * length) ** 2 + variance, lemma("Sudakov-Fernique", p=p, scale=scale))
    farthest = eps * sp.sqrt(scale / d) * inner
    proof.step((first + farthest * length) ** 2 + outer**2 * farthest**2, lemma("metric domination", p=p, scale=scale))
    proof.step(eps**2 * omega**L * (beta**2 + inner**2 * outer**2 / d), by(factor))
    proof.step(bound.rhs, by(factor, rate))
    proof.concludes(bound)
    return proof


def claim(net: mf.Net) -> mf.Claim:
    """The claim, with the abbreviations, regime and assumptions of T2."""
    inner, outer = radius(p, q)
    return replace(
        mf.loss_bound(net, p, q),
        name="squared_loss",
        lhs=Expectation(AdversarialLoss(p, q) ** 2),
        formula=eps**2 * omega**L * (beta**2 + (inner * outer) ** 2 / d),
        source="T2 with the Gaussian Poincaré inequality",
    )


def wrong(claim: mf.Claim) -> list[mf.Claim]:
    """Half the bound, and omega to the power of T2."""
    forgotten = replace(claim, name=f"{claim.name} [omega^(L/2)]", formula=claim.formula.subs(L, L / 2))
    return [claim.scaled("1/2"), forgotten]


THEOREM = mf.Theorem(
    name="squared_loss",
    title="squared loss: its mean",
    source="T2 with the Gaussian Poincaré inequality",
    net=NET,
    tests=lambda net, pairs: [claim(net)],
    wrong=wrong,
    derive=derive,
    scales={"quick": mf.Scale(**SIZES, at=POINT, nets=(80,) * 4, widths=(128, 512, 2048, 8192), directions=2, steps=5)},
)


def main() -> None:
    """Print the derivation, and the verdicts on the claim and on wrong versions of it."""
    print(derive(NET), end="\n\n")
    for report in mf.check_theorem(THEOREM):
        print(report)


if __name__ == "__main__":
    main()
