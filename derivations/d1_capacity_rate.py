"""D1 step by step: the rate at which adversarial training lowers the capacity, at t = 0.

Run it to read it: ``python derivations/d1_capacity_rate.py``. Every step is verified as it is taken, and the last chain
ends in exactly the expression that the package derives from the declared blocks.
"""

import sympy as sp

import advmf as mf
from advmf.observables import Capacity, CapacitySlope, Expectation
from advmf.symbols import L, N, d, eps, p, q, sigma_w, x_sq
from advmf.theory.norms import BETA as beta
from advmf.theory.proof import Derivation, Limit, algebra, by
from advmf.theory.propagation import ALPHA as alpha
from advmf.theory.propagation import OMEGA as omega
from advmf.theory.propagation import slopes as slopes_of

z, s, G, overlap, _, mixed, pull = sp.symbols("z s G A Theta Psi pi", positive=True)


def derive(net: mf.Net) -> Derivation:
    """The rate of the capacity, for the vanilla or the residual network."""
    shortcut = int(isinstance(net.block, mf.Residual))
    claim = mf.capacity_rate(net, p, q)
    proof = Derivation("D1", f"rate of the capacity of the {net.name} network under adversarial training")
    u, v = slopes_of(net)
    slopes = proof.define(alpha, (u**2 + v**2) / 2, "mean square of the slopes")
    proof.define(beta, mf.beta(p, q), "norm factor (T2)")
    growth = proof.define(omega, shortcut + alpha * sigma_w**2, "growth per block (T1)")
    start = proof.assume("all trained matrices have the variance sigma_w^2", z, "==", sigma_w**2)
    of_z = x_sq * (shortcut + alpha * z) ** L
    size = proof.define(G, of_z, "E (J x)_k^2, with z/N the variance of every trained entry (T1)")

    grown = of_z.subs(z, z * (1 + s) ** 2)
    proof.begin(
        sp.Derivative(grown, s) / 2, "A = E (J x)_k f'_k: half the slope of G in a common factor 1 + s of the weights"
    )
    share = L * alpha * z * x_sq * (shortcut + alpha * z) ** (L - 1)
    proof.step(share, Limit(s, sp.S.Zero), "f' = sum_W <W, df/dW>, and f' - (J x)' is uncorrelated with J")
    share_fact = proof.define(overlap, share)

    proof.begin(
        N * sp.Derivative(of_z, z), "the tangent kernel: sum_W of N dG/dz_W, as z_W/N is the variance of an entry"
    )
    proof.step(N * L * alpha * x_sq * (shortcut + alpha * z) ** (L - 1), algebra)
    proof.begin(N * sp.Derivative(share, z), "that of f'_k and f_k: its scaling derivative, sum_W of N dA/dz_W")
    inner = N * L * alpha * x_sq * (shortcut + alpha * z) ** (L - 2) * (shortcut + L * alpha * z)
    proof.step(inner, algebra)
    mixed_fact = proof.define(mixed, inner)

    lhs = Expectation(CapacitySlope(p, q))
    flow = proof.assume(
        "as N -> oo, in one linear region, with pi = E <t, J x><x, eta>: sum_W <df'_k/dW, dL_adv/dW> = t_k <x, eta> Psi/|x|^2, and E[f'_k | J] = "
        "(A/G) (J x)_k",
        lhs, "==", -2 * mixed / (d * x_sq) * overlap / G * pull,
    )  # fmt: skip
    symmetry = proof.assume(
        "the law of J does not change with signs and orders of its rows and columns, so that E J^T t eta^T = (eps E|J|/d) I, and E|J| = beta "
        "omega^(L/2)",
        pull, "==", eps * beta * omega ** (L / 2) * x_sq,
    )  # fmt: skip
    level = proof.assume("T5", Expectation(Capacity()), "==", mf.capacity(net).formula)

    proof.begin(claim.lhs, "the rate")
    proof.step(flow.right / Expectation(Capacity()), by(flow))
    proof.step(-2 * mixed / d * overlap / G * eps * beta * omega ** (L / 2) / Expectation(Capacity()), by(symmetry))
    proof.step(-2 * mixed / d * L * alpha * z / (shortcut + alpha * z) * eps * beta * omega ** (L / 2) / Expectation(Capacity()),
               by(share_fact, size))  # fmt: skip
    written = (
        -2
        * N
        * L**2
        * alpha**2
        * z
        * eps
        * beta
        * x_sq
        / d
        * (shortcut + alpha * z) ** (L - 3)
        * (shortcut + L * alpha * z)
    )
    proof.step(written * omega ** (L / 2) / Expectation(Capacity()), by(mixed_fact))
    proof.step(claim.formula, by(start, growth, slopes, level))
    assert proof.concludes(claim).right == claim.formula
    return proof


def main() -> None:
    """Print and verify the derivations."""
    for net in (mf.vanilla(), mf.residual()):
        print(derive(net), end="\n\n")


if __name__ == "__main__":
    main()
