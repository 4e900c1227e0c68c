"""my_bound: a bound on the adversarial loss, derived, typeset, compiled and checked.

    python my_bound.py         # the derivation, the formula, its LaTeX, some values, the verdicts
    advmf check my_bound.py    # the verdicts alone

Change the four parts below to what you want to know: the network, the claim, its derivation, and how the theorem is
checked.
"""

import numpy as np
import sympy as sp

import advmf as mf
from advmf.functions import Conjugate, GaussianMean, GaussianNorm
from advmf.observables import AdversarialLoss, Expectation, FeatureMaximum, FeatureRadius, LimitLoss
from advmf.symbols import K, L, d, eps, sigma_b, sigma_w
from advmf.theorems.wrong import by_form
from advmf.theory.lemmas import activation, radius
from advmf.theory.norms import BETA as beta
from advmf.theory.proof import Derivation, algebra, by, gaussian, lemma
from advmf.theory.propagation import ALPHA as alpha
from advmf.theory.propagation import OMEGA as omega

# 1. The network: one block, repeated L times. Blocks are Dense (trained), Mix (not trained), ReLULike, Serial and
# Residual.
SLOPES = sp.Integer(1), sp.Rational(1, 10)
SCALE = sp.Rational(1, 2)
NET = mf.Net(mf.Residual(mf.Dense(), mf.ReLULike(*SLOPES), mf.Mix(), scale=SCALE), name="my_bound")

# 2. The claim: perturbations in the lp ball of radius eps, change of the output in lq.
p, q = sp.oo, sp.Integer(2)


def claim(net: mf.Net) -> mf.Claim:
    """The claim: T2 of the net above. For another left-hand or right-hand side use mf.Claim, or dataclasses.replace."""
    return mf.loss_bound(net, p, q)


# 3. The derivation. Each step is verified when it is taken, and a wrong one is refused. Reasons are algebra, gaussian
# (a mean over Gaussians), Limit(symbol, to), by(facts that were defined, assumed or derived before), and lemma(name,
# letters).
z, w, x = sp.symbols("z w x", real=True)
h, Q = sp.symbols("h Q", positive=True)


def derive(net: mf.Net) -> Derivation:
    """The growth of the Jacobian per block from the network's numbers, then the bound."""
    proof = Derivation("my_bound", "adversarial loss next to a scaled branch")
    slopes = proof.define(alpha, (SLOPES[0] ** 2 + SLOPES[1] ** 2) / 2, "mean square of the slopes")
    proof.begin(GaussianMean(activation(sp.sqrt(h) * z, *SLOPES) ** 2, z), "the activation phi on N(0, h)")
    proof.step(slopes.right * h, gaussian)
    proof.step(alpha * h, by(slopes))
    proof.begin(GaussianMean((x + SCALE * sp.sqrt(alpha * h) * w) ** 2, w), "a coordinate of x + SCALE V phi")
    proof.step(x**2 + SCALE**2 * alpha * h, gaussian, "no cross term, for V is independent of x")
    grown = Q + SCALE**2 * alpha * (sigma_w**2 * Q + sigma_b**2)
    proof.begin(sp.Derivative(grown, Q), "h = sigma_w^2 Q + sigma_b^2: growth of Q = |x|^2/N per block")
    proof.step(1 + SCALE**2 * alpha * sigma_w**2, algebra)
    proof.step(mf.omega(net), by(slopes), "as the package derives it from the blocks")
    rate = proof.define(omega, mf.omega(net), "growth per block")

    # What is not proved is assumed, and listed as such.
    proof.assume("as N -> oo the outputs converge in law to independent Gaussian processes on the ball")
    proof.assume("T1: the gradients of an output are N(0, scale/d I) at every x, with scale = omega^L")
    scale = omega**L
    (inner, outer), length = radius(p, q), GaussianNorm(K, q)
    factor = proof.define(beta, mf.beta(p, q), "norm factor")
    proof.begin(Expectation(AdversarialLoss(p, q)), "the bound, as N -> oo")
    proof.step(Expectation(LimitLoss(p, q)), lemma("uniform integrability", p=p, q=q))
    parts = outer * Expectation(FeatureMaximum(p)) + FeatureRadius(p) * length
    proof.step(parts, lemma("Chevet on bounded sets", p=p, q=q))
    first = outer * eps * sp.sqrt(scale / d) * GaussianNorm(d, Conjugate(p))
    proof.step(first + FeatureRadius(p) * length, lemma("Sudakov-Fernique", p=p, scale=scale))
    second = eps * sp.sqrt(scale / d) * inner * length
    proof.step(first + second, lemma("metric domination", p=p, scale=scale))
    proof.step(eps * sp.sqrt(scale) * beta, by(factor))
    proof.step(claim(net).rhs, by(factor, rate))
    proof.concludes(claim(net))  # the chain starts and ends where the claim does
    return proof


# 4. The theorem, of the same class as the package's: sampled networks of several widths are attacked, and extrapolated
# to N -> oo. The wrong versions must be refuted by the same check; by_form has those common to all bounds, and you may
# list your own.
SIZES = {"L": 4, "d": 64, "K": 4}
POINT = {"sigma_w": 1.5, "sigma_b": 0.1, "eps": 0.1}
THEOREM = mf.Theorem(
    name="my_bound",
    title="adversarial loss: with a scaled branch",
    source="my_bound.py, derived there",
    net=NET,
    tests=lambda net, pairs: [claim(net)],
    wrong=by_form,
    derive=derive,
    scales={"quick": mf.Scale(**SIZES, at=POINT, nets=(24,) * 4, widths=(64, 256, 1024, 4096), directions=2, steps=5)},
)


def main() -> None:
    """Print the derivation, the formula, its LaTeX, some values and the verdicts."""
    bound = claim(NET)
    print(derive(NET), end="\n\n")
    print(bound, bound.where, sep="\n", end="\n\n")
    print(mf.latex(bound), end="\n\n")
    depths = np.array([1, 4, 16, 64])
    values = mf.kernel(bound)(**{**SIZES, **POINT, "L": depths})
    print("bound at depths", depths, ":", values.round(4), end="\n\n")
    for report in mf.check_theorem(THEOREM):  # the claim, then its wrong versions, which must be REFUTED
        print(report)


if __name__ == "__main__":
    main()
