"""T2 step by step: the mean adversarial loss is at most eps beta omega^(L/2), for every (p, q), or eps beta
Lambda^(1/2) where a mean is carried.

Run it to read it: ``python derivations/t2_adversarial_loss.py``. Every step is verified as it is taken; the one that is
an assumption says so. It ends in exactly the expression that the package derives from the declared blocks, with p and q
as symbols.
"""

import sympy as sp

import advmf as mf
from advmf.functions import Conjugate, GaussianNorm
from advmf.observables import AdversarialLoss, Expectation, LargestOperatorNorm, MatrixNorm, OperatorNorm
from advmf.symbols import K, L, d, eps, p, q
from advmf.theory.norms import BETA as beta
from advmf.theory.proof import Derivation, algebra, by, lemma
from advmf.theory.propagation import OMEGA as omega
from advmf.theory.spike import LAMBDA, carries_mean, spike


def derive(net: mf.Net) -> Derivation:
    """The bound for any network, and any exponents p and q."""
    proof = Derivation("T2", f"adversarial loss of the {net.name} network")
    spiked = carries_mean(net)
    if spiked:
        proof.define(LAMBDA, spike(net), "the largest variance of a direction of J(x), times d, over all x")
    else:
        proof.define(omega, mf.omega(net), "growth per block (T1)")
    scale = sp.sqrt(LAMBDA) if spiked else omega ** (L / 2)
    half = sp.Rational(1, 2)
    out_radius, in_radius = K ** sp.Max(0, 1 / q - half), d ** sp.Max(0, half - 1 / p)
    factor = proof.define(
        beta,
        (out_radius * GaussianNorm(d, Conjugate(p)) + in_radius * GaussianNorm(K, q)) / sp.sqrt(d),
        "norm factor: the radii of the balls of lp and of the dual of lq, and norms of Gaussian vectors",
    )
    norm, largest = Expectation(OperatorNorm(p, q)), Expectation(LargestOperatorNorm(p, q))
    everywhere = proof.assume(
        f"the law of J(x) {'has one bound' if spiked else 'is the same'} for every x, and so is taken to bound the largest norm over the ball; "
        "unproved where the ball holds very many linear regions",
        largest, "<=", norm,
    )  # fmt: skip
    if spiked:
        # J(x) + R has the law of Lambda^(1/2) G for an independent Gaussian R of rows N(0, (Lambda/d) 1 - Sigma(x)),
        # and |J| <= E|J + R| given J.
        law = proof.assume(
            "as N -> oo: the rows of J(x) are N(0, Sigma(x)) with Sigma(x) <= (Lambda/d) 1, so that Lambda^(1/2) G, with G of K x d independent "
            "N(0, 1/d) entries, is J(x) and what is independent of it, of mean zero",
            norm, "<=", scale * Expectation(MatrixNorm(p, q)),
        )  # fmt: skip
    else:
        law = proof.assume(
            "T1, as N -> oo: J(x) has the law of omega^(L/2) G, with G of K x d independent N(0, 1/d) entries",
            norm, "==", scale * Expectation(MatrixNorm(p, q)),
        )  # fmt: skip

    proof.begin(Expectation(AdversarialLoss(p, q)), "the bound")
    proof.step(eps * largest, lemma("mean value inequality", p=p, q=q))
    proof.step(eps * norm, by(everywhere))
    proof.step(eps * scale * Expectation(MatrixNorm(p, q)), by(law), "a norm is homogeneous")
    proof.step(eps * scale * factor.right, lemma("Chevet", p=p, q=q))
    proof.step(eps * beta * scale, by(factor))
    claim = mf.loss_bound(net, p, q)
    assert proof.concludes(claim).right == claim.formula
    return proof


def main() -> None:
    """Print and verify the derivations, and that the result for symbols is that for the nine pairs of the paper."""
    for net in (mf.vanilla(), mf.residual(), mf.plain_residual()):
        proof = derive(net)
        print(proof, end="\n\n")
        explicit = proof.result.right.subs(
            {part.fact.left: part.fact.right for part in proof.parts if part.fact.status == "defined"}
        )
        for a in (1, 2, sp.oo):
            for b in (1, 2, sp.oo):
                algebra.verify(explicit.subs({p: a, q: b}), mf.loss_bound(net, a, b).rhs)
        print("equal to the package's bound for the nine pairs of {1, 2, oo}\n")


if __name__ == "__main__":
    main()
