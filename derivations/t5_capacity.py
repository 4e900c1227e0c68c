"""T5 step by step: the capacity E sum_k (sum_l <W^l, df_k/dW^l>)^2 and how adversarial training reduces it.

Run it to read it: ``python derivations/t5_capacity.py``. Every step is verified as it is taken, and the chains about
the capacity end in exactly the expressions that the package derives from the declared blocks.
"""

import sympy as sp

import advmf as mf
from advmf.functions import ArcCosine, GaussianMean, Recursion
from advmf.observables import Capacity, Expectation
from advmf.symbols import K, L, eps, p, q, sigma_b, sigma_w, t, x_sq
from advmf.symbols import N as width
from advmf.theory.lemmas import activation
from advmf.theory.norms import BETA as beta
from advmf.theory.proof import Derivation, Limit, algebra, by, gaussian, lemma
from advmf.theory.propagation import ALPHA as alpha
from advmf.theory.propagation import OMEGA as omega
from advmf.theory.propagation import slopes as slopes_of

r, s, z, w = sp.symbols("r s z w", real=True)
c = sp.Symbol("c", real=True)
delta, gap, y, kappa, k = sp.symbols("delta g y kappa k", positive=True)
Q, Q_r, P_rs = sp.symbols("Q Q_r P_rs", positive=True)
THREE_HALVES = sp.Rational(3, 2)


def derive(net: mf.Net) -> Derivation:
    """The capacity at t = 0 and its first fall, for the vanilla or the residual network."""
    shortcut = int(isinstance(net.block, mf.Residual))
    proof = Derivation("T5", f"capacity of the {net.name} network")
    u, v = slopes_of(net)
    slopes = proof.define(alpha, (u**2 + v**2) / 2, "mean square of the slopes")
    proof.assume(
        "two copies of the network, all hidden weights times 1 + r in one and 1 + s in the other: C = K d^2/(dr ds) of the cross moment "
        "P(r, s) = E<x_r, x_s>/N of their last streams at r = s = 0, P_out being Gaussian"
    )
    _smoothness(proof, u, v)

    jet = Q + Q_r / 2 * (r + s) + P_rs * r * s
    layer = shortcut * jet + alpha * (sigma_w**2 * (1 + r) * (1 + s) * jet + sigma_b**2)
    updates = sp.Tuple(
        shortcut * Q + alpha * (sigma_w**2 * Q + sigma_b**2),
        shortcut * Q_r + alpha * sigma_w**2 * (2 * Q + Q_r),
        shortcut * P_rs + alpha * sigma_w**2 * (P_rs + Q + Q_r),
    )
    titles = (
        "at r = s = 0: P = Q, the second moment",
        "along r = s: dP/dr + dP/ds = Q_r",
        "mixed: d^2P/(dr ds) = P_rs",
    )
    chains = (layer, sp.Derivative(layer, r) + sp.Derivative(layer, s), sp.Derivative(layer, r, s))
    for title, chain, update in zip(titles, chains, updates):
        proof.begin(chain, f"one block, {title}")
        inner = sp.collect(sp.expand(chain.doit().subs(s, 0)), alpha)
        proof.step(inner, Limit(s, sp.S.Zero))
        proof.step(update, Limit(r, sp.S.Zero))

    claim, start = mf.capacity(net), sp.Tuple(x_sq, 0, 0)
    lhs = Expectation(Capacity())
    tower = proof.assume(
        "block by block, from x^0 = P_in x, which no hidden weight moves",
        lhs, "==", K * Recursion(L, sp.Tuple(Q, Q_r, P_rs), updates, start, P_rs),
    )  # fmt: skip
    proof.begin(lhs, "the capacity")
    proof.step(tower.right, by(tower))
    proof.step(claim.formula, by(slopes))
    assert proof.concludes(claim).right == claim.formula
    _without_biases(proof, updates, start, shortcut)
    if not shortcut:
        _fall(proof, net)
    return proof


def _smoothness(proof: Derivation, u: sp.Expr, v: sp.Expr) -> None:
    """Why the activation counts as linear in the cross moment: the rest is of the order (1 - c)^(3/2)."""
    second = c * z + sp.sqrt(1 - c**2) * w
    proof.begin(
        GaussianMean(activation(z, u, v) * activation(second, u, v), z, w),
        "two Gaussians of correlation c through the activation",
    )
    proof.step(u * v * c + (u - v) ** 2 * ArcCosine(c) / 2, gaussian, "the arc-cosine kernel")
    proof.begin(
        (ArcCosine(1 - delta).doit() - (1 - delta)) / delta**THREE_HALVES, "next to c = 1 it is c, and beyond that"
    )
    proof.step(2 * sp.sqrt(2) / (3 * sp.pi), Limit(delta, sp.S.Zero))
    proof.begin(
        -sp.Derivative((k * gap**2) ** THREE_HALVES, (gap, 2)),
        "1 - c = k (s - r)^2: the mixed derivative of that, at a distance s - r",
    )
    proof.step(-6 * k**THREE_HALVES * gap, algebra)
    proof.step(0, Limit(gap, sp.S.Zero), "at r = s only the linear part counts")


def _without_biases(proof: Derivation, updates: sp.Tuple, start: sp.Tuple, shortcut: int) -> None:
    """The closed forms for sigma_b = 0."""
    short = proof.define(y, alpha * sigma_w**2)
    plain = sp.Tuple(*(update.subs(sigma_b, 0) for update in updates))
    grown = shortcut + y
    last = sp.powsimp(x_sq * L * y * grown ** (L - 2) * (shortcut + L * y))
    paths = sp.Tuple(x_sq * grown**L, 2 * L * y * x_sq * grown ** (L - 1), last)
    of_y = sp.Tuple(*(sp.expand(update).subs(alpha, y / sigma_w**2) for update in plain))
    proof.begin(K * Recursion(L, sp.Tuple(Q, Q_r, P_rs), plain, start, P_rs), "without biases, sigma_b = 0")
    proof.step(K * Recursion(L, sp.Tuple(Q, Q_r, P_rs), of_y, start, P_rs), by(short))
    values = {"depth": L, "variables": (Q, Q_r, P_rs), "updates": of_y, "start": start, "paths": paths, "of": P_rs}
    proof.step(K * last, lemma("induction", **values))


def _fall(proof: Derivation, net: mf.Net) -> None:
    """The first-order fall under adversarial training, without biases."""
    bare = mf.Net(mf.Serial(mf.Dense(sigma_b=0), mf.ReLULike(*slopes_of(net))))
    claim = mf.first_order(mf.capacity_ratio(bare, p, q))
    facts = [
        proof.define(omega, mf.omega(net), "growth per block (T1)"),
        proof.define(beta, mf.beta(p, q), "norm factor (T2)"),
    ]
    speed = proof.define(
        kappa, 2 * alpha * eps * beta * omega ** (L / 2 - 1) / width, "relative rate of sigma_w^2 at t = 0 (T3)"
    )
    proof.begin(
        sp.Derivative((1 - kappa * t) ** L, t), "C without biases is proportional to sigma_w^(2L), which starts to fall"
    )
    proof.step(-L * kappa, Limit(t, sp.S.Zero), "at t = 0")
    proof.begin(1 - L * kappa * t, "C(t)/C(0) to first order in t")
    proof.step(claim.rhs, by(speed, *facts, *(part.fact for part in proof.parts[:1])))
    assert proof.concludes(claim.rhs).right == claim.rhs


def main() -> None:
    """Print and verify the derivations."""
    for net in (mf.vanilla(), mf.residual()):
        print(derive(net), end="\n\n")


if __name__ == "__main__":
    main()
