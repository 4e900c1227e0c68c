"""A variant of T2: the mean square of the adversarial loss, for any exponents p and q.

    E L_adv^2 <= eps^2 omega^L (beta^2 + r^2/d),  r = d^max(0, 1/2 - 1/p) K^max(0, 1/q - 1/2)

Run it to read it: ``python derivations/variants/squared_loss.py``. The mean of the squared norm is the square of its
mean plus its variance, which Poincaré's inequality bounds. The library's two lemmas for this step are about means, so a
lemma about squares is registered here.
"""

from dataclasses import replace

import numpy as np
import sympy as sp

import advmf as mf
from advmf.observables import AdversarialLoss, Expectation, LargestOperatorNorm, MatrixNorm, OperatorNorm
from advmf.symbols import L, d, eps, p, q
from advmf.theory.lemma import Case, Lemma
from advmf.theory.lemmas import radius
from advmf.theory.norms import BETA as beta
from advmf.theory.proof import Derivation, by, lemma, register_lemma
from advmf.theory.propagation import OMEGA as omega

NET = mf.residual(u=1, v=0)
SIZES = {"L": 3, "d": 64, "K": 4}
POINT = {"sigma_w": 1.0, "sigma_b": 0.1, "eps": 0.05, "p": sp.oo, "q": 2}


def _squared(p: sp.Expr, q: sp.Expr) -> tuple[sp.Expr, str, sp.Expr]:
    return Expectation(AdversarialLoss(p, q) ** 2), "<=", eps**2 * Expectation(LargestOperatorNorm(p, q) ** 2)


def _squared_case(rng: np.random.Generator) -> Case:
    """A random ReLU network in one dimension: the square of its change, and the bound by its steepest piece."""
    V, W, b = rng.standard_normal((3, 6))
    x, eta = rng.standard_normal(2)
    kinks = np.sort(np.r_[0, [s for s in (-b / W - x) / eta if 0 < s < 1], 1])
    slopes = [V @ ((W * (x + s * eta) + b > 0) * W) for s in (kinks[1:] + kinks[:-1]) / 2]
    change = V @ (np.maximum(W * (x + eta) + b, 0) - np.maximum(W * x + b, 0))
    return Case(float(change**2), float(eta**2 * np.max(np.square(slopes))))


register_lemma(
    Lemma(
        "mean value inequality, squared",
        "f continuous and piecewise linear: E L_adv^2 <= eps^2 E (max over the ball of ‖J‖_{p -> q})^2",
        "the square of the mean value inequality, whose sides are not negative",
        {"p": "exponent of the ball", "q": "exponent of the output's norm"},
        _squared,
        lambda p, q: [("p >= 1", p >= 1), ("q >= 1", q >= 1)],
        _squared_case,
    )
)


def derive(net: mf.Net) -> Derivation:
    """The bound, for symbols p and q."""
    proof = Derivation("squared loss", f"mean square of the adversarial loss of the {net.name} network")
    rate = proof.define(omega, mf.omega(net), "growth per block (T1)")
    factor = proof.define(beta, mf.beta(p, q), "norm factor")
    norm, largest = OperatorNorm(p, q), LargestOperatorNorm(p, q)
    everywhere = proof.assume(
        "the law of J(x), the same at every x, bounds its largest norm over the ball",
        Expectation(largest**2), "<=", Expectation(norm**2),
    )  # fmt: skip
    law = proof.assume(
        "T1, as N -> oo: J(x) has the law of omega^(L/2) G, with G of K x d independent N(0, 1/d) entries",
        Expectation(norm**2), "==", omega**L * Expectation(MatrixNorm(p, q) ** 2),
    )  # fmt: skip
    inner, outer = radius(p, q)
    mean, variance = Expectation(MatrixNorm(p, q)), inner**2 * outer**2 / d
    bound = claim(net)

    proof.begin(Expectation(AdversarialLoss(p, q) ** 2), "the bound")
    proof.step(eps**2 * Expectation(largest**2), lemma("mean value inequality, squared", p=p, q=q))
    proof.step(eps**2 * Expectation(norm**2), by(everywhere))
    proof.step(eps**2 * omega**L * Expectation(MatrixNorm(p, q) ** 2), by(law), "a norm is homogeneous")
    proof.step(
        eps**2 * omega**L * (mean**2 + variance),
        lemma("Gaussian Poincaré", p=p, q=q),
        "‖G‖ is Lipschitz in the entries, with the product of the two radii",
    )
    proof.step(eps**2 * omega**L * (factor.right**2 + variance), lemma("Chevet", p=p, q=q))
    proof.step(eps**2 * omega**L * (beta**2 + variance), by(factor))
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
