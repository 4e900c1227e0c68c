"""A variant of T2: leaky ReLU, a two-layer branch scaled by 1/sqrt(L), p = 3 and q = 4.

    x <- x + W' phi(W x + b)/sqrt(L),   phi of slopes 1 and 1/10

Run it to read it: ``python derivations/variants/leaky_two_layer.py``; ``advmf check
derivations/variants/leaky_two_layer.py`` gives the verdict alone. The scale falls with depth, so the bound stays finite
as L -> oo, while T2's grows without limit.
"""

from dataclasses import replace

import sympy as sp

import advmf as mf
from advmf.functions import Conjugate, GaussianMean, GaussianNorm
from advmf.observables import AdversarialLoss, Expectation, FeatureMaximum, FeatureRadius, LimitLoss
from advmf.symbols import K, L, d, eps, sigma_b, sigma_w
from advmf.theory.lemmas import activation, radius
from advmf.theory.norms import BETA as beta
from advmf.theory.proof import Derivation, Limit, algebra, by, gaussian, lemma
from advmf.theory.propagation import ALPHA as alpha
from advmf.theory.propagation import OMEGA as omega

SLOPES = sp.Integer(1), sp.Rational(1, 10)
NET = mf.Net(
    mf.Residual(mf.Dense(), mf.ReLULike(*SLOPES), mf.Dense(sigma_b=0), scale=1 / sp.sqrt(L)), name="leaky two-layer"
)
p, q = sp.Integer(3), sp.Integer(4)
SIZES = {"L": 8, "d": 64, "K": 10}
POINT = {"sigma_w": 1.0, "sigma_b": 0.1, "eps": 0.2}

z, w, x = sp.symbols("z w x", real=True)
h, Q = sp.symbols("h Q", positive=True)


def derive(net: mf.Net) -> Derivation:
    """The growth per block from the slopes and the scale, its limit, and the bound."""
    proof = Derivation("leaky two-layer", "adversarial loss with a leaky two-layer branch scaled by 1/sqrt(L)")
    slopes = proof.define(alpha, (SLOPES[0] ** 2 + SLOPES[1] ** 2) / 2, "mean square of the slopes")
    variance = proof.define(h, sigma_w**2 * Q + sigma_b**2, "variance of W x + b, for Q = |x|^2/N")
    proof.begin(GaussianMean(activation(sp.sqrt(h) * z, *SLOPES) ** 2, z), "the activation on N(0, h)")
    proof.step(slopes.right * h, gaussian)
    proof.step(alpha * h, by(slopes))

    branch = sigma_w * sp.sqrt(alpha * h) * w / sp.sqrt(L)
    proof.begin(GaussianMean((x + branch) ** 2, w), "a coordinate of the block, W'_ij ~ N(0, sigma_w^2/N)")
    proof.step(x**2 + alpha * sigma_w**2 * h / L, gaussian, "no cross term, for W' is independent of x")
    grown = Q + alpha * sigma_w**2 * variance.right / L
    proof.begin(sp.Derivative(grown, Q), "growth of the second moment, and of the squared Jacobian, per block")
    proof.step(1 + alpha * sigma_w**4 / L, algebra, "biases do not matter")
    proof.step(mf.omega(net), by(slopes), "as the package derives it from the blocks")
    rate = proof.define(omega, mf.omega(net), "growth per block")

    proof.begin((1 + alpha * sigma_w**4 / L) ** (L / 2), "what the depth costs, as L -> oo")
    proof.step(sp.exp(alpha * sigma_w**4 / 2), Limit(L, sp.oo), "a constant")

    bound = claim(net)
    proof.assume("as N -> oo the outputs converge in law to independent Gaussian processes on the ball")
    proof.assume("T1: the gradients of an output are N(0, omega^L/d I) at every x")
    (inner, outer), length, scale = radius(p, q), GaussianNorm(K, q), omega**L
    factor = proof.define(beta, mf.beta(p, q), "norm factor")
    proof.begin(Expectation(AdversarialLoss(p, q)), "the bound, as N -> oo")
    proof.step(Expectation(LimitLoss(p, q)), lemma("uniform integrability", p=p, q=q))
    parts = outer * Expectation(FeatureMaximum(p)) + FeatureRadius(p) * length
    proof.step(parts, lemma("Chevet on bounded sets", p=p, q=q))
    first = outer * eps * sp.sqrt(scale / d) * GaussianNorm(d, Conjugate(p))
    proof.step(first + FeatureRadius(p) * length, lemma("Sudakov-Fernique", p=p, scale=scale))
    second = eps * sp.sqrt(scale / d) * inner * length
    proof.step(first + second, lemma("metric domination", p=p, scale=scale))
    proof.step(eps * beta * omega ** (L / 2), by(factor))
    proof.step(bound.rhs, by(factor, rate))
    proof.concludes(bound)
    return proof


def claim(net: mf.Net) -> mf.Claim:
    """The same bound as the package derives it, by code that is not specific to this net."""
    return mf.loss_bound(net, p, q)


def wrong(claim: mf.Claim) -> list[mf.Claim]:
    """Half the bound, and omega without the shortcut."""
    return [
        claim.scaled("1/2"),
        replace(claim, name=f"{claim.name} [no shortcut]", formula=claim.formula.subs(omega, omega - 1)),
    ]


THEOREM = mf.Theorem(
    name="leaky_two_layer",
    title="adversarial loss: a leaky two-layer branch scaled by 1/sqrt(L)",
    source="leaky_two_layer.py, derived there",
    net=NET,
    tests=lambda net, pairs: [claim(net)],
    wrong=wrong,
    derive=derive,
    scales={"quick": mf.Scale(**SIZES, at=POINT, nets=(36,) * 4, widths=(64, 256, 1024, 4096), directions=4, steps=5)},
)


def main() -> None:
    """Print the derivation, the limit in numbers, and the verdicts on the claim and on wrong versions of it."""
    print(derive(NET), end="\n\n")
    bound = claim(NET)
    depths = [2, 8, 32, 128, 10**6]
    print("bound at L =", dict(zip(depths, mf.kernel(bound)(**{**SIZES, **POINT, "L": depths}).round(4).tolist())))
    for report in mf.check_theorem(THEOREM):
        print(report)


if __name__ == "__main__":
    main()
