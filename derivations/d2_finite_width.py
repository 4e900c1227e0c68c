"""The start of training at width N, step by step: the loss, its decay, and the rates of the capacity and the variance.

To first order in 1/N, at p = q = 2, for the vanilla network with linear activations and without biases. Run it to read
it: ``python derivations/d2_finite_width.py``. Every step is verified as it is taken, and the chains end in exactly the
four claims of ``advmf.finite_rates``.
"""

import itertools

import sympy as sp

import advmf as mf
from advmf.functions import GaussianMean, SpectralNorm
from advmf.observables import Capacity, CapacitySlope, Expectation
from advmf.symbols import K, L, N, d, eps, sigma_w, x_sq
from advmf.theory.norms import BETA as beta
from advmf.theory.proof import Derivation, Fact, Limit, algebra, by, gaussian
from advmf.theory.propagation import ALPHA as alpha
from advmf.theory.propagation import OMEGA as omega
from advmf.theory.propagation import slopes as slopes_of

z, w = sp.symbols("z w", real=True)
a, b, c, t, rho = sp.symbols("H_11 H_12 H_22 t rho", real=True)
top, low = sp.symbols("lambda_1 lambda_2", positive=True)
ratio, product = sp.symbols("M_0 M_1", real=True)
layer = sp.Symbol("l", integer=True, positive=True)

Shift = tuple[sp.Expr, sp.Expr, sp.Expr]
"""What one Gaussian matrix adds to a mean over its limit, times N: by H_11, by each H_1j, and by each rho_j H_1j."""
LENGTH: Shift = (-sp.Rational(1, 4), sp.S.Zero, sp.Rational(1, 2))
SHARE: Shift = (sp.S.Zero, sp.S.One, sp.S(2))
PULL: Shift = (sp.Rational(3, 4), sp.S.One, sp.Rational(5, 2))


def derive(net: mf.Net) -> Derivation:
    """The four rates, for the vanilla network of linear activations without biases."""
    proof = Derivation("D2.N", f"start of training of the linear {net.name} network, to first order in 1/N")
    u, _ = slopes_of(net)
    slope = proof.define(alpha, u**2, "square of the slope")
    growth = proof.define(omega, alpha * sigma_w**2, "growth per block (T1)")
    factor = proof.define(beta, mf.beta(2, 2, "spectral"), "mean of the largest singular value (T2)")
    proof.assume(
        "J = A W_l B for each trained W_l, which is Gaussian given A and B: J has the law of omega^(L/2)/sqrt(d) (1 + H)^(1/2) X (1 + G)^(1/2) "
        "with X Gaussian, A A^T = alpha omega^(L - l) (1 + H) and B^T B = (N/d) omega^(l - 1) (1 + G)"
    )
    proof.begin(
        alpha * omega ** (L - layer) * N / d * omega ** (layer - 1), "the factor of W_l in dJ/dt = -eps A A^T T B^T B"
    )
    pace = N * alpha * omega ** (L - 1) / d
    proof.step(pace, algebra, "it is the same for all l")
    _entries(proof)
    value = _eigenvalue(proof)
    share = _eigenvector(proof, value)
    gap = proof.define(rho, low / (top - low), "s_j^2/(s_1^2 - s_j^2)")
    _second_order(proof, sp.sqrt(value), LENGTH, gap, "s_1 = |J|")
    _second_order(proof, share, SHARE, gap, "u^T (1 + t H) u")
    _second_order(proof, sp.sqrt(value) * share, PULL, gap, "u^T (1 + t H) J v = s_1 u^T (1 + t H) u")
    _by_parts(proof)
    one, *_ = moments = [SpectralNorm(K, d, k) for k in (1, 2, 3)]
    means = [
        proof.assume(
            f"{letter} = E s_1^{k} sum_j rho_j, and the integral of the derivative above vanishes",
            letter, "==", (upper - (d + K - 1 + k) * lower) / 2,
        )
        for k, letter, upper, lower in ((0, ratio, moments[1], sp.S.One), (1, product, moments[2], one))
    ]  # fmt: skip
    _conclude(proof, net, pace, (slope, growth, factor, *means))
    return proof


def _entries(proof: Derivation) -> None:
    """N times the variances of the entries of 1 + H, for one Gaussian matrix of A."""
    off = (N * GaussianMean((z * w) ** 2, z, w) + N * (N - 1) * GaussianMean(z * w, z, w) ** 2) / N**2
    proof.begin(N * off, "one Gaussian matrix, 1 + H = A A^T of N columns over N: N Var H_12")
    proof.step(1, gaussian)
    on = (N * GaussianMean(z**4, z) + N * (N - 1) * GaussianMean(z**2, z) ** 2) / N**2 - 1
    proof.begin(N * on, "and N Var H_11")
    proof.step(2, gaussian)


def _eigenvalue(proof: Derivation) -> sp.Expr:
    """The largest eigenvalue of J J^T = (1 + tH)^{1/2} X X^T (1 + tH)^{1/2} to second order, for a general 2 x 2 H."""
    value = top * (1 + t * a + t**2 * b**2 * low / (top - low))
    residue = (top * (1 + t * a) - value) * (low * (1 + t * c) - value) - (t * b) ** 2 * top * low
    for k in range(3):
        proof.begin(
            sp.Derivative(residue, (t, k)) if k else residue,
            f"the eigenvalue lambda_1 of X X^T, changed by (1 + t H)^(1/2), in its characteristic equation: order {k} in t",
        )
        proof.step(0, Limit(t, sp.S.Zero))
    return value


def _eigenvector(proof: Derivation, value: sp.Expr) -> sp.Expr:
    """u^T (1 + tH) u for the top left singular vector u of J: |y|² of y = (1 + tH)^{1/2} u, where (1 + tH) X X^T y =
    value y, scaled so that y^T X X^T y = value |u|²."""
    y = value - low * (1 + t * c), t * b * top
    for k in range(3):
        residue = top * (1 + t * a) * y[0] + t * b * low * y[1] - value * y[0]
        proof.begin(
            sp.Derivative(residue, (t, k)) if k else residue,
            f"its eigenvector (lambda - lambda_2 (1 + t H_22), t H_12 lambda_1), in the first row: order {k} in t",
        )
        proof.step(0, Limit(t, sp.S.Zero))
    return value * (y[0] ** 2 + y[1] ** 2) / (top * y[0] ** 2 + low * y[1] ** 2)


def _second_order(proof: Derivation, changed: sp.Expr, shift: Shift, gap: Fact, text: str) -> None:
    """The second order in t of a function of H, over its value at t = 0, where N E H_11² = 2 and N E H_12² = 1."""
    on, each, gaps = shift
    start = sp.simplify(changed.subs(t, 0))
    proof.begin(sp.Derivative(changed, (t, 2)) / 2 / start, f"{text}: its second order in t, over its start")
    proof.step(on / 2 * a**2 + (each + gaps * low / (top - low)) * b**2, Limit(t, sp.S.Zero))
    proof.step(on / 2 * a**2 + (each + gaps * rho) * b**2, by(gap))


def _by_parts(proof: Derivation) -> None:
    """The divergence of lambda_1^{1 + k/2} times the joint Wishart density, over the density, at three eigenvalues."""
    m = 3
    n = sp.Symbol("n", positive=True)
    lam = sp.symbols(f"lambda_1:{m + 1}", positive=True)
    density = sp.Mul(*(x ** ((n - m - 1) / 2) * sp.exp(-x / 2) for x in lam)) * sp.Mul(
        *(lam[i] - lam[j] for i, j in itertools.combinations(range(m), 2))
    )
    for k in (0, 1):
        power = lam[0] ** sp.Rational(k, 2)
        proof.begin(
            sp.Derivative(lam[0] * power * density, lam[0]) / density,
            f"d/d lambda_1 of lambda_1^{1 + sp.Rational(k, 2)} times the joint Wishart density, over the density, at m = 3",
        )
        proof.step(
            power * (sum(lam[j] / (lam[0] - lam[j]) for j in range(1, m)) - (lam[0] - (n + m - 1 + k)) / 2),
            algebra,
            f"s_1^{k} sum_j rho_j - (s_1^{2 + k} - (n + m - 1 + {k}) s_1^{k})/2",
        )


def _mean(shift: Shift, whole: sp.Expr, gaps: sp.Expr) -> sp.Expr:
    """A mean to first order in 1/N: H is K x K and G d x d, and the variances of A's and B's matrices add."""
    on, each, times = shift
    above, below = ((on + (side - 1) * each) * whole + times * gaps for side in (K, d))
    return whole + ((L + 1 - layer) * above + layer * below) / N


def _conclude(proof: Derivation, net: mf.Net, pace: sp.Expr, facts: tuple[Fact, ...]) -> None:
    """The chains that end in the claims; L + 1 - l Gaussian matrices stand above W_l, and l below it."""
    rates, one, size = mf.finite_rates(net), SpectralNorm(K, d, 1), omega ** (L / 2) / sp.sqrt(d)
    slope, growth, factor, of_ratio, of_product = facts
    text = "to the second order above, with rho_j for every j; terms beyond 1/N are left out"
    loss = proof.assume(f"L_adv = eps |J|, {text}", rates.loss.lhs, "==", eps * size * _mean(LENGTH, one, product))
    level = _chain(proof, rates.loss, "the loss", loss, [of_product, factor])

    euler = proof.assume("Euler's identity (T3)", rates.variance.lhs, "==", -2 / N * rates.loss.lhs)
    _chain(proof, rates.variance, "the slope of the variance", euler, [level])

    decay = eps**2 * pace * sp.Sum(_mean(SHARE, sp.S.One, ratio), (layer, 1, L))
    fall = proof.assume(f"sum_l |dL_adv/dW_l|^2, {text}", rates.decay.lhs, "==", decay)
    _chain(proof, rates.decay, "the decay of the loss", fall, [of_ratio, slope, growth])

    moved = -2 * eps * L**2 * x_sq * pace * size * sp.Sum(_mean(PULL, one, product), (layer, 1, L))
    start = proof.assume("T5", Expectation(Capacity()), "==", mf.capacity(net).formula)
    rate = proof.assume(
        f"C = L^2 |J x|^2, and signs and orders of J's columns do not change its law: dC/dt = 2 L^2 x_sq <J, dJ/dt>, {text}",
        Expectation(CapacitySlope(2, 2)), "==", moved,
    )  # fmt: skip
    _chain(proof, rates.capacity, "the rate of the capacity", rate, [start, of_product, slope, growth, factor])


def _chain(proof: Derivation, claim: mf.Claim, text: str, first: Fact, then: list[Fact]) -> Fact:
    """From a claim's left side by the expansion to its formula."""
    proof.begin(claim.lhs, text)
    proof.step(claim.lhs.subs(first.left, first.right), by(first))
    proof.step(claim.formula, by(*then))
    assert proof.concludes(claim).right == claim.formula
    return proof.result


def main() -> None:
    """Print and verify the derivation."""
    print(derive(mf.Net(mf.Serial(mf.Dense(sigma_b=0), mf.ReLULike(1, 1)), name="vanilla")))


if __name__ == "__main__":
    main()
