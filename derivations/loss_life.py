"""The life of the adversarial loss step by step, in the kernel regime, for ReLU-like activations too.

    E int_0^T L_adv dt <= (rho + c r) life E L_adv(0)   for T = c life,   life = K d/(2 eps beta kappa omega^(L/2))

As N -> oo at fixed N t, g(eta) = f(x + eta) - f(x) obeys dg/dt = -k(., eta) u at a maximum L_adv = <u, g(eta)>, where
k(eta, eta') is the tangent kernel of g. That is a gradient flow of L_adv in the Hilbert space of k, and there L_adv is
convex and homogeneous in g: kinks of the network are none of the loss. Two numbers remain, and tend to 1 and 0 as eps
-> 0. rho compares k with its part inside the linear region of x, (kappa omega^L/d) <eta, eta'>. r is the loss of
f_0(x + eta) - f_0(x) - J(x) eta over that of f_0. docs/training.md says why they do.

Run it to read it: ``python derivations/loss_life.py``. Every step is verified as it is taken. The lemma is registered
here, with a check by gradient descent on random kernels.
"""

import numpy as np
import sympy as sp

import advmf as mf
from advmf.observables import AdversarialLoss, Expectation, Observable
from advmf.symbols import K, L, d, eps, p, q
from advmf.theory.lemma import Case, Lemma
from advmf.theory.norms import BETA as beta
from advmf.theory.proof import Derivation, Limit, algebra, by, lemma, register_lemma
from advmf.theory.propagation import OMEGA as omega
from advmf.theory.scaling import loss_life_of, scaling

T, a, c, kappa, rho, r = sp.symbols("T a c kappa rho r", positive=True)


class LossIntegral(Observable):
    """The integral of the adversarial loss up to a training time: ``LossIntegral(p, q, T)``."""

    is_nonnegative = True
    exponents = 2
    tex = r"\int_0^{{{2}}} \mathcal{{L}}_{{\mathrm{{adv}}}}^{{{0},{1}}}\,dt"


class StartNorm(Observable):
    """``‖J(x) eta‖_k^2``, the squared norm of the linear part of g at the start in the Hilbert space of k:
    ``StartNorm()``."""

    is_nonnegative = True
    tex = r"\lVert J(x)\,\cdot\rVert_k^2"


class RestLoss(Observable):
    """``max ‖f(x + eta) - f(x) - J(x) eta‖_q`` over ``‖eta‖_p <= eps`` at the start: ``RestLoss(p, q)``."""

    is_nonnegative = True
    exponents = 2
    tex = r"\mathcal{{R}}^{{{},{}}}"


class JacobianSquare(Observable):
    """``‖J(x)‖_F^2``: ``JacobianSquare()``."""

    is_nonnegative = True
    tex = r"\lVert J(x)\rVert_F^2"


def _descent(p: sp.Expr, q: sp.Expr, T: sp.Expr) -> tuple[sp.Expr, str, sp.Expr]:
    return Expectation(LossIntegral(p, q, T)), "<=", Expectation(StartNorm()) / 2 + T * Expectation(RestLoss(p, q))


def _descent_case(rng: np.random.Generator) -> Case:
    """Gradient descent of max_i ‖g_i‖ for values g (points, outputs) under a random kernel of features A, from A W plus
    a rest; a step tau adds T tau max_i k_ii/2 to the right side."""
    m, n, outputs = (int(size) for size in (rng.integers(8, 30), rng.integers(2, 6), rng.integers(1, 4)))
    A, W = rng.standard_normal((m, n)), rng.standard_normal((n, outputs))
    rest = 0.02 * rng.standard_normal((m, outputs))
    k, g, steps = A @ A.T, A @ W + rest, 400
    span = rng.uniform(0.5, 2) * np.square(W).sum() / np.linalg.norm(g, axis=1).max()
    tau, total = span / steps, 0.0
    for _ in range(steps):
        sizes = np.linalg.norm(g, axis=1)
        i = int(sizes.argmax())
        total += tau * sizes[i]
        g = g - tau * np.outer(k[:, i], g[i] / sizes[i])
    bound = np.square(W).sum() / 2 + span * np.linalg.norm(rest, axis=1).max()
    return Case(total, bound + span * tau * k.diagonal().max() / 2)


CONTROLS = {"gradient flow of a homogeneous convex loss": 0.8}
"""The factor of the lemma's right side at which its check has to fail."""
register_lemma(
    Lemma(
        "gradient flow of a homogeneous convex loss",
        "E int_0^T loss dt <= E ‖g_0 - h‖^2/2 + T E loss(h), with h the rest of g_0 beside its linear part",
        "d‖g - h‖^2/dt = -2 <g - h, slope> <= -2 (loss(g) - loss(h)): N. Z. Shor, Minimization Methods for Non-Differentiable Functions, 1985",
        {"p": "exponent of the ball", "q": "exponent of the output's norm", "T": "time"},
        _descent,
        lambda p, q, T: [("p >= 1", p >= 1), ("q >= 1", q >= 1), ("T > 0", T > 0)],
        _descent_case,
    )
)


def derive(net: mf.Net) -> Derivation:
    """The integral of the loss up to c lives, for the vanilla or the residual network."""
    proof = Derivation("loss life", f"integral of the adversarial loss of the {net.name} network in the kernel regime")
    proof.assume("as N -> oo at fixed N t the tangent kernel stays as it is, and all means below those of the limit")
    pace = proof.define(kappa, scaling(net).kernel, "the tangent kernel over E (J x)_k^2")
    inside = proof.define(a, kappa * omega**L / d, "k inside the linear region of x is a <eta, eta'>")
    size = proof.assume("T1: d K entries of J of variance omega^L/d", Expectation(JacobianSquare()), "==", K * omega**L)
    least = proof.assume(
        "k is at least 1/rho times a <eta, eta'> on the ball (N. Aronszajn, 1950): rho -> 1 as eps -> 0",
        Expectation(StartNorm()),
        "<=",
        rho * Expectation(JacobianSquare()) / a,
    )
    smooth = proof.assume(
        "f_0 is differentiable at x in the mean: r -> 0 as eps -> 0",
        Expectation(RestLoss(p, q)),
        "<=",
        r * Expectation(AdversarialLoss(p, q)),
    )
    bound = proof.assume("T2", Expectation(AdversarialLoss(p, q)), "<=", eps * beta * omega ** (L / 2))
    life = K * d / (2 * eps * beta * kappa * omega ** (L / 2))
    until = proof.define(T, c * life, "c lives")

    proof.begin(Expectation(LossIntegral(p, q, T)), "the integral of the loss, as N -> oo")
    flow = lemma("gradient flow of a homogeneous convex loss", p=p, q=q, T=T)
    proof.step(Expectation(StartNorm()) / 2 + T * Expectation(RestLoss(p, q)), flow)
    proof.step(rho * Expectation(JacobianSquare()) / a / 2 + T * Expectation(RestLoss(p, q)), by(least))
    proof.step(rho * K * omega**L / a / 2 + T * Expectation(RestLoss(p, q)), by(size))
    proof.step(rho * K * omega**L / a / 2 + T * r * Expectation(AdversarialLoss(p, q)), by(smooth))
    proof.step(rho * K * omega**L / a / 2 + T * r * eps * beta * omega ** (L / 2), by(bound))
    proof.step((rho + c * r) * K * d / (2 * kappa), by(inside, until))
    proof.step((1 + c * r) * K * d / (2 * kappa), Limit(rho, 1), "as eps -> 0")
    proof.step(K * d / (2 * kappa), Limit(r, 0), "as eps -> 0")
    proof.step(eps * beta * omega ** (L / 2) * life, algebra, "the life times E L_adv(0)")
    proof.step(eps * beta * omega ** (L / 2) * loss_life_of(net), by(pace), "that of advmf.loss_life")
    return proof


def main() -> None:
    """Print and verify the derivations."""
    for net in (mf.vanilla(), mf.residual()):
        print(derive(net), end="\n\n")


if __name__ == "__main__":
    main()
