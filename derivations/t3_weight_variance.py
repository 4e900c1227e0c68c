"""T3 step by step: the variance of the weights under adversarial training, by gradient flow on the bound of T2.

Run it to read it: ``python derivations/t3_weight_variance.py``. Every step is verified as it is taken, and the chains
about the slope and about the variance over time end in exactly the expressions that the package derives from the
declared blocks.
"""

import sympy as sp

import advmf as mf
from advmf.functions import Flow, QExponential
from advmf.observables import Expectation, WeightVariance, WeightVarianceSlope
from advmf.symbols import L, N, eps, p, q, sigma_w, t
from advmf.theory.norms import BETA as beta
from advmf.theory.proof import Derivation, algebra, by, lemma
from advmf.theory.propagation import ALPHA as alpha
from advmf.theory.propagation import OMEGA as omega
from advmf.theory.propagation import slopes as slopes_of

w, y, z, kappa, other = sp.symbols("w y z kappa omega_0", positive=True)
bound, growth = sp.Function("B"), sp.Function("omega")


def derive(net: mf.Net) -> Derivation:
    """The slope of sigma_w^2 at t = 0, and its path, for the vanilla or the residual network."""
    shortcut = isinstance(net.block, mf.Residual)
    slope_claim, path_claim = mf.variance_slope(net, p, q), mf.weight_variance(net, p, q)
    proof = Derivation("T3", f"weight variance of the {net.name} network under adversarial training")
    u, v = slopes_of(net)
    slopes = proof.define(alpha, (u**2 + v**2) / 2, "mean square of the slopes")
    proof.define(beta, mf.beta(p, q), "norm factor (T2)")
    rate_of_block = proof.define(omega, int(shortcut) + alpha * sigma_w**2, "growth per block at t = 0 (T1)")
    size = proof.define(w, sp.sqrt(N * z), "w = |W|_F of one trained matrix, z = |W|_F^2/N its variance sigma_w^2")
    growing = proof.define(growth(z), int(shortcut) + alpha * z, "growth per block as a function of z (T1)")

    lhs = Expectation(WeightVarianceSlope(p, q))
    flow = proof.assume(
        "gradient flow dW/dt = -dB/dW on the bound B of T2 in place of the loss: d|W|_F^2/dt = -2 <W, dB/dW>, and <W, dB/dW> = w dB/dw",
        lhs, "==", -2 * w / N * sp.Derivative(bound(w**2 / N), w),
    )  # fmt: skip
    alike = proof.assume("all blocks start alike, and stay so", other, "==", growth(z))
    start = proof.assume("the weights start with the variance sigma_w^2", z, "==", sigma_w**2)
    product = proof.define(
        bound(z),
        eps * beta * other ** ((L - 1) / 2) * sp.sqrt(growth(z)),
        "T2, block by block: one factor holds this matrix",
    )

    proof.begin(lhs, "the slope at t = 0")
    proof.step(flow.right, by(flow))
    inner = sp.Subs(sp.Derivative(bound(z), z), z, w**2 / N)
    proof.step(-4 * w**2 / N**2 * inner, algebra, "chain rule")
    proof.step(-4 * z / N * sp.Derivative(bound(z), z), by(size))
    proof.step(-4 * z / N * eps * beta * other ** ((L - 1) / 2) * sp.Derivative(sp.sqrt(growth(z)), z), by(product))
    proof.step(
        -2 / N * eps * beta * z * sp.Derivative(growth(z), z) * growth(z) ** (L / 2 - 1), by(alike), "for any block"
    )
    rate = -2 / N * eps * beta * alpha * z * (int(shortcut) + alpha * z) ** (L / 2 - 1)
    proof.step(rate, by(growing))
    proof.step(slope_claim.formula, by(start, rate_of_block, slopes))
    assert proof.concludes(slope_claim).right == slope_claim.formula

    variance = Expectation(WeightVariance(t))
    ode = proof.assume(
        "the variance moves by that rate from then on, as long as B stands for the loss: early times",
        variance, "==", Flow(t, sp.Tuple(z), sp.Tuple(rate), sp.Tuple(sigma_w**2), z),
    )  # fmt: skip
    proof.begin(variance, "the variance at time t")
    proof.step(ode.right, by(ode))
    if shortcut:
        clock = 2 * eps * beta * t / N
        path = Flow(clock, sp.Tuple(z), sp.Tuple(sp.expand(rate / sp.diff(clock, t))), sp.Tuple(sigma_w**2), z)
        remark = "on the clock 2 eps beta t/N"
    else:
        speed = 2 * alpha * eps * beta * (alpha * sigma_w**2) ** (L / 2 - 1) / N
        path, remark = sigma_w**2 * QExponential(-speed * t, L / 2), "a power law"
    proof.step(path, lemma("uniqueness", time=t, z=z, rate=rate, start=sigma_w**2, path=path), remark)
    if not shortcut:
        proof.step(path_claim.formula, by(rate_of_block, slopes))
    elif alpha not in path_claim.formula.free_symbols:
        proof.step(path_claim.formula, by(slopes), "alpha of the given slopes")
    assert proof.concludes(path_claim).right == path_claim.formula

    if shortcut:
        proof.begin(
            sp.Derivative(sp.log(y / (1 + y)), y) * -y * (1 + y),
            "residual, L = 4: with y = alpha z, dy/ds = -y (1 + y)",
        )
        proof.step(-1, algebra, "so ln(y/(1 + y)) falls at rate 1 on the clock s = 2 alpha eps beta t/N")
        s, y0 = sp.symbols("s y_0", positive=True)
        logistic = y0 * sp.exp(-s) / (1 + y0 - y0 * sp.exp(-s))
        proof.begin(Flow(s, sp.Tuple(y), sp.Tuple(-y * (1 + y)), sp.Tuple(y0), y), "residual, L = 4, in closed form")
        proof.step(logistic, lemma("uniqueness", time=s, z=y, rate=-y * (1 + y), start=y0, path=logistic))
    return proof


def main() -> None:
    """Print and verify the derivations."""
    for net in (mf.vanilla(), mf.residual()):
        print(derive(net), end="\n\n")


if __name__ == "__main__":
    main()
