"""T1 step by step: f(x) = J(x)x + a(x), and the laws of J(x) and a(x) for the vanilla and the residual network.

Run it to read it: ``python derivations/t1_linear_form.py``. Every step is verified as it is taken, and each chain about
J and a ends in exactly the expression that the package derives from the declared blocks.
"""

import sympy as sp

import advmf as mf
from advmf.functions import GaussianMean, GeometricSum, Recursion
from advmf.observables import Expectation, JacobianAlong, JacobianEntry, Offset
from advmf.symbols import L, d, sigma_b, sigma_w
from advmf.theory.lemmas import activation
from advmf.theory.proof import Derivation, algebra, by, gaussian, lemma
from advmf.theory.propagation import ALPHA as alpha
from advmf.theory.propagation import OMEGA as omega
from advmf.theory.propagation import slopes as slopes_of

z, w, x = sp.symbols("z w x", real=True)
h, rho, s, Q, j, A, D = sp.symbols("h rho s Q j A D", positive=True)


def derive(net: mf.Net) -> Derivation:
    """The laws of J(x)e and a(x), and their independence, for the vanilla or the residual network."""
    shortcut = isinstance(net.block, mf.Residual)
    proof = Derivation("T1", f"linear-like form of the {net.name} network")
    u, v = slopes_of(net)
    slopes = proof.define(alpha, (u**2 + v**2) / 2, "mean square of the slopes")
    variance = proof.define(h, sigma_w**2 * Q + sigma_b**2, "variance before the activation, for Q = |x|^2/N")

    proof.begin(GaussianMean((sigma_w * sp.sqrt(Q) * z + sigma_b * w) ** 2, z, w), "a coordinate of W x + b, given x")
    proof.step(sigma_w**2 * Q + sigma_b**2, gaussian, "W_ij ~ N(0, sigma_w^2/N), b_i ~ N(0, sigma_b^2)")
    proof.step(h, by(variance))

    proof.begin(GaussianMean(activation(sp.sqrt(h) * z, u, v) ** 2, z), "the activation on N(0, h)")
    proof.step((u**2 + v**2) / 2 * h, gaussian)
    proof.step(alpha * h, by(slopes))

    slope = sp.Piecewise((u, z >= 0), (v, True))
    proof.begin(
        GaussianMean(slope**2 * (rho * z + s * w) ** 2, z, w),
        "its slope times any other Gaussian, of whatever correlation",
    )
    proof.step((u**2 + v**2) / 2 * (rho**2 + s**2), gaussian)
    proof.step(alpha * (rho**2 + s**2), by(slopes), "so tangents and offsets grow as the stream does")

    if shortcut:
        proof.begin(
            GaussianMean((x + sp.sqrt(alpha * h) * w) ** 2, w), "a coordinate of x + V phi, with V_ij ~ N(0, 1/N)"
        )
        proof.step(x**2 + alpha * h, gaussian, "the branch adds its second moment, and no cross term")

    grown = int(shortcut) * Q + alpha * h
    proof.begin(
        sp.Derivative(grown.subs(h, variance.right), Q),
        "growth of the second moment, and of the squared Jacobian, per block",
    )
    proof.step(int(shortcut) + alpha * sigma_w**2, algebra)
    proof.step(mf.omega(net), by(slopes))
    rate = proof.define(omega, mf.omega(net))

    law_J, law_a, independence = mf.linear_form(net)
    entry = Expectation(JacobianEntry(0, 0) ** 2)
    tangent = proof.assume(
        "tower property: j = E|(dx/dx^0) e|^2/N grows by omega in each block; P_out is Gaussian, so as N -> oo entries are i.i.d. Gaussian",
        entry, "==", Recursion(L, sp.Tuple(j), sp.Tuple(omega * j), sp.Tuple(1), j) / d,
    )  # fmt: skip
    proof.begin(entry, "the law of J")
    proof.step(tangent.right, by(tangent))
    proof.step(
        omega**L / d,
        lemma("induction", depth=L, variables=(j,), updates=(omega * j,), start=(1,), paths=(omega**L,), of=j),
    )
    assert proof.concludes(law_J).right == law_J.formula

    bias = alpha * sigma_b**2
    proof.begin(
        int(shortcut) * A + alpha * (sigma_w**2 * A + sigma_b**2),
        "the offset a = x - Jx passes W and the activation as x does",
    )
    proof.step(omega * A + bias, by(rate, slopes))
    squared = Expectation(Offset(0) ** 2)
    offset = proof.assume(
        "tower property: A = E|a|^2/N starts at 0, for x^0 = P_in x is linear",
        squared, "==", Recursion(L, sp.Tuple(A), sp.Tuple(omega * A + bias), sp.Tuple(0), A),
    )  # fmt: skip
    path = bias * GeometricSum(omega, L)
    proof.begin(squared, "the law of a")
    proof.step(offset.right, by(offset))
    proof.step(
        path, lemma("induction", depth=L, variables=(A,), updates=(omega * A + bias,), start=(0,), paths=(path,), of=A)
    )
    if law_a.formula != path:  # for given slopes it has a number in place of alpha
        proof.step(law_a.formula, by(slopes))
    assert proof.concludes(law_a).right == law_a.formula

    product = Expectation(JacobianAlong(0) * Offset(0))
    cross = proof.assume(
        "tower property: D = E<Jx, a>/N has no bias of its own, and starts at 0",
        product, "==", Recursion(L, sp.Tuple(D), sp.Tuple(omega * D), sp.Tuple(0), D),
    )  # fmt: skip
    proof.begin(product, "J and a are jointly Gaussian and uncorrelated, hence independent")
    proof.step(cross.right, by(cross))
    proof.step(0, lemma("induction", depth=L, variables=(D,), updates=(omega * D,), start=(0,), paths=(0,), of=D))
    assert proof.concludes(independence).right == independence.formula
    return proof


def main() -> None:
    """Print and verify the derivations."""
    for net in (mf.vanilla(), mf.residual()):
        print(derive(net), end="\n\n")


if __name__ == "__main__":
    main()
