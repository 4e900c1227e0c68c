"""A variant of T2: every layer l has its own weight variance sigma_l^2.

    x <- phi(W^l x + b^l),  W^l of entries N(0, sigma_l^2/N),  l = 1, ..., n

    E L_adv <= eps beta prod_l omega_l^(1/2),  omega_l = alpha sigma_l^2

Run it to read it: ``python derivations/variants/per_layer_variances.py``. The product is derived for any number of
layers, by induction, and the bound by metric domination, as T2's. The network that is checked has four layers, declared
as one block (L = 1).
"""

from dataclasses import replace

import sympy as sp

import advmf as mf
from advmf.functions import Conjugate, GaussianMean, GaussianNorm, Recursion
from advmf.observables import AdversarialLoss, Expectation, FeatureMaximum, FeatureRadius, JacobianEntry, LimitLoss
from advmf.symbols import K, L, d, eps, sigma_b
from advmf.theory.lemmas import activation, radius
from advmf.theory.norms import BETA as beta
from advmf.theory.proof import Derivation, algebra, by, gaussian, lemma
from advmf.theory.propagation import ALPHA as alpha
from advmf.theory.propagation import OMEGA as omega

SIGMAS = sp.symbols("sigma_1:5", positive=True)
LAYERS = [block for sigma in SIGMAS for block in (mf.Dense(sigma_w=sigma), mf.ReLULike(1, 0))]
NET = mf.Net(mf.Serial(*LAYERS), name="per-layer variances")
p, q = sp.oo, sp.Integer(2)
SIZES = {"L": 1, "d": 64, "K": 4}
POINT = {
    "sigma_1": 0.9,
    "sigma_2": 2.0,
    "sigma_3": 1.2,
    "sigma_4": 1.6,
    "sigma_b": 0.1,
    "eps": 0.05,
}

z = sp.Symbol("z", real=True)
h, Q, j = sp.symbols("h Q j", positive=True)
l = sp.Symbol("l", integer=True, positive=True)
n = sp.Symbol("n", integer=True, nonnegative=True)
sigma = sp.Function("sigma", positive=True)


def derive(net: mf.Net) -> Derivation:
    """The growth of one layer, the product over n layers by induction, and the bound, finally for the four layers of
    ``net``."""
    proof = Derivation("per-layer variances", "adversarial loss where every layer has a variance of its own")
    slopes = proof.define(alpha, sp.Rational(1, 2), "mean square of the slopes of ReLU")
    proof.begin(GaussianMean(activation(sp.sqrt(h) * z, 1, 0) ** 2, z), "the activation on N(0, h)")
    proof.step(h / 2, gaussian)
    proof.step(alpha * h, by(slopes))
    proof.begin(
        sp.Derivative(alpha * (sigma(l) ** 2 * Q + sigma_b**2), Q), "h = sigma_l^2 Q + sigma_b^2: growth in layer l"
    )
    proof.step(alpha * sigma(l) ** 2, algebra)

    entry, grown = Expectation(JacobianEntry(0, 0) ** 2), alpha * sigma(l) ** 2 * j
    state, updates, start = (j, l), (grown, l + 1), (1, 1)
    tower = proof.assume(
        "tower property: j = E|(dx/dx^0) e|^2/N grows so in layer l, then comes layer l + 1",
        entry, "==", Recursion(n, sp.Tuple(*state), sp.Tuple(*updates), sp.Tuple(*start), j) / d,
    )  # fmt: skip
    product = sp.Product(alpha * sigma(l) ** 2, (l, 1, n))
    proof.begin(entry, "the law of J after n layers")
    proof.step(tower.right, by(tower))
    proof.step(
        product / d,
        lemma("induction", depth=n, variables=state, updates=updates, start=start, paths=(product, n + 1), of=j),
    )
    rate = proof.define(omega, product, "growth of the whole network")

    bound = claim(net)
    proof.assume("as N -> oo the outputs converge in law to independent Gaussian processes on the ball")
    proof.assume("T1: the gradients of an output are N(0, omega/d I) at every x")
    (inner, outer), length = radius(p, q), GaussianNorm(K, q)
    factor = proof.define(beta, mf.beta(p, q), "norm factor")
    layers = [proof.define(n, len(SIGMAS), "the layers of the network that is checked")]
    layers += [proof.define(sigma(k + 1), symbol) for k, symbol in enumerate(SIGMAS)]
    proof.begin(Expectation(AdversarialLoss(p, q)), "the bound, as N -> oo")
    proof.step(Expectation(LimitLoss(p, q)), lemma("uniform integrability", p=p, q=q))
    parts = outer * Expectation(FeatureMaximum(p)) + FeatureRadius(p) * length
    proof.step(parts, lemma("Chevet on bounded sets", p=p, q=q))
    first = outer * eps * sp.sqrt(omega / d) * GaussianNorm(d, Conjugate(p))
    proof.step(first + FeatureRadius(p) * length, lemma("Sudakov-Fernique", p=p, scale=omega))
    second = eps * sp.sqrt(omega / d) * inner * length
    proof.step(first + second, lemma("metric domination", p=p, scale=omega))
    proof.step(eps * beta * sp.sqrt(omega), by(factor))
    proof.step(eps * beta * sp.sqrt(product), by(rate), "for any number of layers")
    proof.step(bound.rhs, by(factor, slopes, *layers), "for four")
    proof.concludes(bound)
    return proof


def claim(net: mf.Net) -> mf.Claim:
    """T2 for a block that is not repeated: the package finds the same omega from the declared layers."""
    bound = mf.loss_bound(net, p, q)
    return replace(bound, formula=bound.formula.subs(L, 1))


def wrong(claim: mf.Claim) -> list[mf.Claim]:
    """Half the bound, and the bound with the first layer's variance in every layer."""
    alike = dict.fromkeys(SIGMAS, SIGMAS[0])
    same = {letter: meaning.subs(alike) for letter, meaning in claim.where.items()}
    return [claim.scaled("1/2"), replace(claim, name=f"{claim.name} [all as the first]", where=same)]


THEOREM = mf.Theorem(
    name="per_layer_variances",
    title="adversarial loss: a weight variance for each layer",
    source="per_layer_variances.py, derived there",
    net=NET,
    tests=lambda net, pairs: [claim(net)],
    wrong=wrong,
    derive=derive,
    scales={"quick": mf.Scale(**SIZES, at=POINT, nets=(48,) * 4, widths=(128, 512, 2048, 8192), directions=2, steps=5)},
)


def main() -> None:
    """Print the derivation, and the verdicts on the claim and on wrong versions of it."""
    print(derive(NET), end="\n\n")
    for report in mf.check_theorem(THEOREM):
        print(report)


if __name__ == "__main__":
    main()
