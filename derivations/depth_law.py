"""The law of large depth step by step: where a norm stands before each branch, the Jacobian grows as a power of L.

    x <- x + W phi(x/rms(x)) + b:   E J_ij^2 = j_L/d,   j_L/L^a -> Gamma(c)/Gamma(c + a) as L -> oo

    a = sigma_w^2 E phi'^2/(sigma_w^2 E phi^2 + sigma_b^2),   c = x_sq/(sigma_w^2 E phi^2 + sigma_b^2)

Run it to read it: ``python derivations/depth_law.py``. Every step is verified as it is taken. The chains end in exactly
the expressions that ``advmf.depth_law`` derives from the declared block.
"""

import sympy as sp

import advmf as mf
from advmf.functions import GaussianMean, Recursion
from advmf.observables import Expectation, JacobianEntry
from advmf.symbols import L, d, sigma_b, sigma_w, x_sq
from advmf.theory.proof import Derivation, Limit, algebra, by, gaussian, lemma

z, w, x = sp.symbols("z w x", real=True)
Q, j, second, gain, g, a, c = sp.symbols("Q j m_2 m_1 g a c", positive=True)


def derive(net: mf.Net) -> Derivation:
    """The Jacobian factor of a :func:`advmf.pre_norm` of any activation, at every depth and at large depth."""
    (phi,), law = net.activations, mf.depth_law(net)
    assert net == mf.pre_norm(phi=phi), "the steps are those of x <- x + W phi(x/rms(x)) + b"
    proof = Derivation("depth law", f"Jacobian of the {net.name} network at large depth")
    proof.begin(GaussianMean(phi.phi(z) ** 2, z), "the activation: after a norm its inputs have a variance of one")
    proof.step(phi.second(sp.S.One), gaussian)
    proof.begin(GaussianMean(phi.phi(z).diff(z) ** 2, z), "its slope")
    proof.step(phi.gain(sp.S.One), gaussian)
    means = [proof.define(second, phi.second(sp.S.One), "E phi^2"), proof.define(gain, phi.gain(sp.S.One), "E phi'^2")]

    added = proof.define(g, sigma_w**2 * second + sigma_b**2, "what a block adds to Q = |x|^2/N")
    proof.begin(
        GaussianMean((x + sigma_w * sp.sqrt(second) * z + sigma_b * w) ** 2, z, w),
        "a coordinate of x + W phi + b, with W_ij ~ N(0, sigma_w^2/N)",
    )
    proof.step(x**2 + sigma_w**2 * second + sigma_b**2, gaussian, "no cross term, for W is independent of x")
    proof.step(x**2 + g, by(added))
    proof.begin(
        GaussianMean((x + sigma_w * sp.sqrt(gain * j / Q) * z) ** 2, z),
        "of a tangent across the input, j = |t|^2/N: the norm divides it by sqrt(Q), phi multiplies it by its slope",
    )
    proof.step(x**2 + sigma_w**2 * gain * j / Q, gaussian)
    proof.begin(sp.Derivative(j + sigma_w**2 * gain * j / Q, j), "growth of j in a block")
    proof.step(1 + sigma_w**2 * gain / Q, algebra)

    power = proof.define(a, sigma_w**2 * gain / g, "the power")
    start = proof.define(c, x_sq / g, "the input's Q in units of g")
    entry, state, begins = Expectation(JacobianEntry(0, 0) ** 2), sp.Tuple(j, Q), sp.Tuple(1, x_sq)
    grown = sp.Tuple(j * (1 + sigma_w**2 * gain / Q), Q + g)
    tower = proof.assume(
        "tower property: j = E|(dx/dx^0) e|^2/N and Q = |x|^2/N grow so in each block, as N -> oo",
        entry, "==", Recursion(L, state, grown, begins, j) / d,
    )  # fmt: skip
    proof.begin(entry, "the Jacobian at every depth")
    proof.step(tower.right, by(tower))
    short, first = sp.Tuple(j * (1 + a * g / Q), Q + g), sp.Tuple(1, c * g)
    proof.step(Recursion(L, state, short, first, j) / d, by(power, start))
    path = sp.gamma(c) * sp.gamma(L + c + a) / (sp.gamma(c + a) * sp.gamma(L + c))
    proof.step(
        path / d,
        lemma("induction", depth=L, variables=state, updates=short, start=first, paths=(path, (c + L) * g), of=j),
        "Gamma(s + 1) = s Gamma(s)",
    )
    letters = (start, power, added, *means)
    proof.step(law.exact / d, by(*letters), "as the package derives it")

    asymptote = sp.gamma(c) / sp.gamma(c + a) * L**a
    proof.begin(sp.log(path / asymptote), "the logarithm of what is left at large depth")
    proof.step(sp.loggamma(L + c + a) - sp.loggamma(L + c) - a * sp.log(L), algebra)
    proof.step(0, Limit(L, sp.oo), "Stirling's formula")
    proof.begin(asymptote, "the power of L and its factor")
    proof.step(law.asymptote, by(*letters), "as the package derives them")
    assert law.rate == 1
    return proof


def main() -> None:
    """Print and verify the derivations."""
    for net in (mf.pre_norm(), mf.pre_norm(phi="tanh")):
        print(derive(net), end="\n\n")


if __name__ == "__main__":
    main()
