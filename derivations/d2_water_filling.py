"""D2 step by step: the course of adversarial training of a wide network with linear activations, at p = q = 2.

Run it to read it: ``python derivations/d2_water_filling.py``. Every step is verified as it is taken, and the chains
about the loss and the capacity end in exactly the expressions that the package derives from the declared blocks.
"""

import sympy as sp

import advmf as mf
from advmf.functions import ProxNorm, ProxSquare
from advmf.observables import Capacity, Expectation, LossAfter
from advmf.symbols import K, L, N, d, eps, sigma_w, t, x_sq
from advmf.theory.proof import Derivation, algebra, by
from advmf.theory.propagation import OMEGA as omega
from advmf.theory.propagation import slopes as slopes_of

z, s, share, turn, kappa = sp.symbols("z s S rho kappa", positive=True)
inner, apart = sp.symbols("I A", nonnegative=True)


def derive(net: mf.Net) -> Derivation:
    """The loss and the capacity at time t, for the vanilla or the residual network of linear activations."""
    shortcut = int(isinstance(net.block, mf.Residual))
    flow = mf.training_flow(net, 2, 2)
    proof = Derivation("D2", f"course of training of the {net.name} network with linear activations")
    u, _ = slopes_of(net)
    alpha = u**2
    growth = proof.define(omega, shortcut + alpha * sigma_w**2, "growth per block (T1)")
    start = proof.assume("all trained matrices have the variance sigma_w^2", z, "==", sigma_w**2)
    size = x_sq * (shortcut + alpha * z) ** L

    proof.begin(N * sp.Derivative(size, z) / size, "the tangent kernel over E (J x)_k^2: sum_W of N d/dz_W")
    proof.step(N * L * alpha / (shortcut + alpha * z), algebra)
    proof.step(N * L * alpha / omega, by(start, growth))
    kernel = proof.define(kappa, N * L * alpha / omega)
    overlap = z * sp.Derivative(size, z)
    proof.begin(overlap / size, "that of J x and its derivative along the weights (D1)")
    proof.step(L * alpha * z / (shortcut + alpha * z), algebra)
    part = proof.define(share, L * alpha * z / (shortcut + alpha * z))
    proof.begin(
        N * sp.Derivative(overlap.doit(), z) / (N * sp.Derivative(size, z)), "the kernel of f' and f over that of f"
    )
    proof.step((shortcut + L * alpha * z) / (shortcut + alpha * z), algebra)
    along = proof.define(turn, (shortcut + L * alpha * z) / (shortcut + alpha * z))

    level, square = ProxNorm(s, K, d, 2, 2), ProxSquare(s, K, d, 2, 2)
    proof.begin(sp.Derivative(square, s), "G moves along minus a subgradient T, and <T, G_s> = |G_s|")
    proof.step(-2 * level, algebra, "so that |G_s|_F^2 falls at twice the level")
    clock = proof.assume(
        "as N -> oo the kernel stays: dJ/dt = -eps (kappa omega^L/d) T; the flow arrives at the proximal map, J(t) = omega^(L/2) G_s/sqrt(d)",
        s, "==", eps * kappa * omega ** (L / 2) * t / sp.sqrt(d),
    )  # fmt: skip

    lhs = Expectation(LossAfter(2, 2, t))
    loss = proof.assume("f is linear in eta: L_adv = eps |J|", lhs, "==", eps * omega ** (L / 2) * level / sp.sqrt(d))
    proof.begin(lhs, "the loss")
    proof.step(loss.right, by(loss))
    proof.step(flow.loss.formula, by(clock, kernel))
    assert proof.concludes(flow.loss).right == flow.loss.formula

    after = proof.assume(
        "f' moves along with J, f'(t) = f'(0) - rho (J(0) - J(t)) x, and E[f'(0) | J(0)] = S J(0) x; with I = E <G, G - G_s> and A = E |G - G_s|^2",
        Expectation(Capacity(t)),
        "==",
        Expectation(Capacity()) - x_sq * omega**L / d * (2 * turn * share * inner - turn**2 * apart),
    )  # fmt: skip
    level_at = proof.assume("T5", Expectation(Capacity()), "==", mf.capacity(net).formula)
    product = proof.assume("G - G_s = s T, E |G|^2 = K d", inner, "==", K * d - square - s * level)
    distance = proof.assume("the same", apart, "==", K * d - square - 2 * s * level)
    proof.begin(flow.capacity.lhs, "the capacity")
    left = 1 - x_sq * omega**L / d * (2 * turn * share * inner - turn**2 * apart) / Expectation(Capacity())
    proof.step(left, by(after))
    left = left.subs({inner: product.right, apart: distance.right})
    proof.step(left, by(product, distance))
    left = left.subs({turn: along.right, share: part.right})
    proof.step(left, by(along, part))
    facts = [clock, kernel, level_at, *([start, growth] if left.has(z) else [])]
    proof.step(flow.capacity.formula, by(*facts))
    assert proof.concludes(flow.capacity).right == flow.capacity.formula
    return proof


def main() -> None:
    """Print and verify the derivations."""
    for net in (mf.vanilla(1, 1), mf.residual(1, 1)):
        print(derive(net), end="\n\n")


if __name__ == "__main__":
    main()
