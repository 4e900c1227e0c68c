"""T2 step by step: the mean adversarial loss is at most eps beta omega^(L/2), for every (p, q), or eps beta
Lambda^(1/2) in networks without a single growth factor omega.

Run it to read it: ``python derivations/t2_adversarial_loss.py``. The proof is metric domination. As N -> oo each output
is a Gaussian process on the ball, f_k(x + eta) - f_k(x) = <g_k, D(eta)> with features D. If no eigenvalue of Sigma is
above Lambda/d in the ball, the features of two points are no further apart than Lambda^(1/2) d^(-1/2) times the
points, and so their Gaussian maxima are no larger than those of the ball itself. On images whose pixels differ, a
profile s takes the place of Lambda.

Every step is verified as it is taken. The one assumption is that outputs converge to that process. The proof ends in
exactly the expression that the package derives from the declared blocks, with p and q as symbols. Its first step needs
a mean square that is bounded in N; ``uniform_integrability.py`` derives that bound.
"""

import sympy as sp

import advmf as mf
from advmf.functions import Conjugate, GaussianNorm
from advmf.nets import Norm
from advmf.observables import AdversarialLoss, Expectation, FeatureMaximum, FeatureRadius, LimitLoss
from advmf.symbols import K, L, d, eps, p, q
from advmf.theory.metric import largest
from advmf.theory.norms import BETA as beta
from advmf.theory.proof import Derivation, algebra, by, lemma
from advmf.theory.propagation import OMEGA as omega
from advmf.theory.propagation import averages_follow
from advmf.theory.spike import LAMBDA

CONVERGENCE = (
    "as N -> oo the outputs converge in law, on the ball, to K independent Gaussian processes of the kernel that advmf.nngp gives, with "
    "Sigma(x) the covariance of a gradient (Hanin, arXiv:2107.01562; Yang, arXiv:1910.12478)"
)


def derive(net: mf.Net) -> Derivation:
    """The bound for any network, and any exponents p and q."""
    claim = mf.loss_bound(net, p, q)
    proof = Derivation("T2", f"adversarial loss of the {net.name} network")
    if not averages_follow(net):
        return derive_by_pixels(net, claim, proof)
    if LAMBDA in claim.where:
        proof.define(LAMBDA, largest(net, p), "a bound on d times the eigenvalues of Sigma at the inputs of the ball")
        scale = LAMBDA
    else:
        proof.define(omega, mf.omega(net), "growth per block: Sigma(x) = omega^L/d times the identity, at every x (T1)")
        scale = omega**L
    half = sp.Rational(1, 2)
    out_radius, in_radius = K ** sp.Max(0, 1 / q - half), d ** sp.Max(0, half - 1 / p)
    factor = proof.define(
        beta,
        (out_radius * GaussianNorm(d, Conjugate(p)) + in_radius * GaussianNorm(K, q)) / sp.sqrt(d),
        "norm factor: the radii of the balls of lp and of the dual of lq, and norms of Gaussian vectors",
    )
    proof.assume(CONVERGENCE)
    if any(isinstance(leaf, Norm) for leaf in net.leaves):
        proof.assume("as N -> oo means converge too: a norm is not Lipschitz where its stream vanishes")

    in_size, out_size = sp.sqrt(scale) / sp.sqrt(d), GaussianNorm(K, q)
    proof.begin(Expectation(AdversarialLoss(p, q)), "the bound, as N -> oo")
    proof.step(Expectation(LimitLoss(p, q)), lemma("uniform integrability", p=p, q=q))
    proof.step(
        out_radius * Expectation(FeatureMaximum(p)) + FeatureRadius(p) * out_size,
        lemma("Chevet on bounded sets", p=p, q=q),
    )
    proof.step(
        out_radius * eps * in_size * GaussianNorm(d, Conjugate(p)) + FeatureRadius(p) * out_size,
        lemma("Sudakov-Fernique", p=p, scale=scale),
    )
    proof.step(
        out_radius * eps * in_size * GaussianNorm(d, Conjugate(p)) + eps * in_size * in_radius * out_size,
        lemma("metric domination", p=p, scale=scale),
    )
    proof.step(eps * beta * sp.sqrt(scale), by(factor))
    assert proof.concludes(claim).right == claim.formula
    return proof


def derive_by_pixels(net: mf.Net, claim: mf.Claim, proof: Derivation) -> Derivation:
    """The bound on images whose pixels differ in what they can change."""
    found, half = mf.profile(net), sp.Rational(1, 2)
    code, out_radius, out_size = sp.Tuple(*found.code), K ** sp.Max(0, 1 / q - half), GaussianNorm(K, q)
    factor = proof.define(beta, found.beta(p, q), "norm factor of a Gaussian matrix with the profile s of pixels")
    proof.assume(CONVERGENCE)
    inside, reach = eps * found.norm(Conjugate(p)) / sp.sqrt(d), eps * found.radius(p) / sp.sqrt(d)
    proof.begin(Expectation(AdversarialLoss(p, q)), "the bound, as N -> oo")
    proof.step(Expectation(LimitLoss(p, q)), lemma("uniform integrability", p=p, q=q))
    proof.step(
        out_radius * Expectation(FeatureMaximum(p)) + FeatureRadius(p) * out_size,
        lemma("Chevet on bounded sets", p=p, q=q),
    )
    proof.step(out_radius * inside + FeatureRadius(p) * out_size, lemma("Sudakov-Fernique by pixels", p=p, code=code))
    proof.step(out_radius * inside + reach * out_size, lemma("domination by pixels", p=p, code=code))
    proof.step(eps * beta, by(factor))
    assert proof.concludes(claim).right == claim.formula
    return proof


def main() -> None:
    """Print and verify the derivations; also verify that the result for symbolic p and q gives that for the nine pairs
    of the paper."""
    nets = (mf.vanilla(), mf.residual(), mf.plain_residual(), mf.vanilla(phi="tanh"), mf.pre_norm())
    for net in (*nets, mf.conv(1, 0, padding="zero"), mf.conv(1, 0, head="pool")):
        proof = derive(net)
        print(proof, end="\n\n")
        if LAMBDA in mf.loss_bound(net, 2, 2).where or not averages_follow(net):
            continue
        explicit = proof.result.right.subs(
            {part.fact.left: part.fact.right for part in proof.parts if part.fact.status == "defined"}
        )
        for a in (1, 2, sp.oo):
            for b in (1, 2, sp.oo):
                algebra.verify(explicit.subs({p: a, q: b}), mf.loss_bound(net, a, b).rhs)
        print("equal to the package's bound for the nine pairs of {1, 2, oo}\n")


if __name__ == "__main__":
    main()
