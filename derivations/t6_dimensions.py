"""T6 step by step: the orders in which the adversarial loss and the slope of the weight variance grow with d and with
K.

Run it to read it: ``python derivations/t6_dimensions.py``. Every step is verified as it is taken, and each exponent
ends in exactly the order that the package derives. ``beta_tilted.py`` derives the sharper bound on the norm factor.
"""

import sympy as sp

import advmf as mf
from advmf.functions import Conjugate, GaussianNorm
from advmf.symbols import K, d
from advmf.theory.proof import Derivation, Limit, lemma

EXPONENTS = tuple(map(sp.sympify, (1, sp.Rational(3, 2), 2, 4, sp.oo)))
half = sp.Rational(1, 2)


def derive(net: mf.Net) -> Derivation:
    """The orders for the vanilla or the residual network: in d for several p, in K for several q."""
    proof = Derivation("T6", f"dimensions, {net.name} network")
    proof.assume(
        "beta is at least the larger of Chevet's two terms, up to a constant, so that its order is that of their sum"
    )
    proof.assume("the loss (T2) and the slope of the variance (T3) are beta times what does not depend on d or K")
    two = sp.Integer(2)
    for p in EXPONENTS:
        _order(proof, net, (p, two), d, Conjugate(p), d ** (half - 1 / p), p == 1)
    for q in EXPONENTS:
        _order(proof, net, (two, q), K, q, K ** (1 / q), q is sp.oo)
    return proof


def _order(
    proof: Derivation,
    net: mf.Net,
    pair: tuple[sp.Expr, sp.Expr],
    size: sp.Symbol,
    r: sp.Expr,
    power: sp.Expr,
    log: bool,
) -> None:
    """Derive that Chevet's bound over ``power``, and over sqrt(log) for a maximum of Gaussians, tends to a constant;
    the package states the same order."""
    order = power * sp.sqrt(sp.log(size)) if log else power
    terms, norm = mf.beta(*pair), GaussianNorm(size, r)
    proof.begin(terms / order, f"p = {pair[0]}, q = {pair[1]}: Chevet's two terms over the order in {size}")
    if isinstance(norm, GaussianNorm):
        terms = terms.subs(norm, norm.jensen())
        proof.step(terms / order, lemma("Gaussian norm", n=size, r=r))
    constant = sp.limit(terms / order, size, sp.oo)
    proof.step(constant, Limit(size, sp.oo), "positive and finite")
    assert constant.is_positive, constant
    assert constant.is_finite is not False, constant
    for claim in (mf.loss_bound(net, *pair), mf.variance_slope(net, *pair)):
        assert mf.growth(claim, size).rhs == order


def main() -> None:
    """Print and verify the derivations."""
    for net in (mf.vanilla(), mf.residual()):
        print(derive(net), end="\n\n")


if __name__ == "__main__":
    main()
