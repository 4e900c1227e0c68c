"""F1 and F2 step by step: the fluctuations of the last stream, exactly at width N, and the first order in 1/N of the
Jacobian's norm.

Run it to read it: ``python derivations/f_finite_width.py``. Every step is verified as it is taken, and both derivations
end in exactly the expressions that the package derives from the declared blocks.
"""

import itertools
import math

import sympy as sp
from scipy import integrate

import advmf as mf
from advmf.functions import GaussianMean, Recursion, SpectralNorm
from advmf.observables import Expectation, OperatorNorm, SecondMoment
from advmf.special import spectral_norm
from advmf.symbols import K, L, N, d, sigma_b, sigma_w, x_sq
from advmf.theory.finite_width import C_DIAG, C_OFF
from advmf.theory.lemmas import activation
from advmf.theory.proof import Derivation, Fact, Limit, algebra, by, gaussian
from advmf.theory.propagation import ALPHA as alpha
from advmf.theory.propagation import OMEGA as omega
from advmf.theory.propagation import slopes as slopes_of

z, w, t = sp.symbols("z w t", real=True)
h, q, s, g, r, y, kappa = sp.symbols("h q s g r y kappa", positive=True)
Q, S = sp.symbols("Q S", positive=True)
mixing = sp.Symbol("M", positive=True)


def derive(net: mf.Net) -> list[Derivation]:
    """F1 and F2 for the vanilla or the residual network, of any slopes."""
    return [stream(net), jacobian(net)]


def _slopes(proof: Derivation, net: mf.Net) -> tuple[Fact, Fact]:
    """The definitions of the mean square and the kurtosis of the slopes."""
    u, v = slopes_of(net)
    slopes = proof.define(alpha, (u**2 + v**2) / 2, "mean square of the slopes")
    return slopes, proof.define(kappa, (u**4 + v**4) / 2 / alpha**2, "their fourth moment over the square of that")


def mean_of_squares(second: sp.Expr, fourth: sp.Expr) -> sp.Expr:
    """E of (mean of N independent squares)², from their first two moments."""
    return (N * fourth + N * (N - 1) * second**2) / N**2


def square_after(shortcut: bool) -> sp.Expr:
    """E[Q'² | q] after a block, by steps 1 to 4 of F1: a polynomial of degree two in q."""
    pre = sigma_w**2 * q + sigma_b**2
    active = (alpha * pre) ** 2 * (1 + (3 * kappa - 1) / N)
    if not shortcut:
        return active
    return q**2 + 2 * q * alpha * pre + 4 * q * alpha * pre / N + active * (1 + 2 / N)


def stream(net: mf.Net) -> Derivation:
    """F1: E Q'² after one block, given Q = q, and its iteration over the blocks."""
    shortcut = isinstance(net.block, mf.Residual)
    proof = Derivation("F1", f"second moment of Q_L = |x^L|^2/N of the {net.name} network, at every width N")
    slopes, kurtosis = _slopes(proof, net)
    u, v = slopes_of(net)
    proof.begin(GaussianMean(activation(sp.sqrt(h) * z, u, v) ** 4, z), "the activation on N(0, h), fourth moment")
    proof.step(3 * (u**4 + v**4) / 2 * h**2, gaussian)
    proof.step(3 * kappa * alpha**2 * h**2, by(kurtosis))
    proof.begin(mean_of_squares(y, 3 * kappa * y**2), "E Q^2 of N independent coordinates of second moment y = alpha h")
    proof.step(y**2 * (1 + (3 * kappa - 1) / N), algebra)
    proof.begin(
        mean_of_squares(h, GaussianMean((sp.sqrt(h) * z) ** 4, z)), "E Q^2 after a Gaussian layer, also x^0 = P_in x"
    )
    proof.step(mean_of_squares(h, 3 * h**2), gaussian)
    proof.step(h**2 * (1 + 2 / N), algebra)
    if shortcut:
        proof.begin(
            GaussianMean((2 * s * sp.sqrt(g * N * q) * z / N) ** 2, z),
            "mean square of the cross term 2 s <x, b>/N, for b of N(0, g) coordinates given x",
        )
        proof.step(4 * s**2 * g * q / N, gaussian)

    square = sp.Poly(sp.expand(square_after(shortcut)), q)
    after = sum(c * (sp.S.One, Q, S)[k] for (k,), c in square.terms())
    mean = int(shortcut) * Q + alpha * (sigma_w**2 * Q + sigma_b**2)
    claim = mf.stream_fluctuation(net)
    lhs = Expectation(SecondMoment() ** 2)
    tower = proof.assume(
        "block by block: given the block before, the coordinates are independent, so that E Q and S = E Q^2 follow these steps",
        lhs, "==", Recursion(L, sp.Tuple(Q, S), sp.Tuple(mean, after), sp.Tuple(x_sq, x_sq**2 * (1 + 2 / N)), S),
    )  # fmt: skip
    proof.begin(lhs, "the second moment of Q_L")
    proof.step(tower.right, by(tower))
    proof.step(claim.formula, by(kurtosis, slopes))
    assert proof.concludes(claim).right == claim.formula
    return proof


def jacobian(net: mf.Net) -> Derivation:
    """F2: the random factors 1 + E of the blocks, and the largest singular value of G changed by them."""
    shortcut = isinstance(net.block, mf.Residual)
    proof = Derivation("F2", f"spectral norm of the Jacobian of the {net.name} network, to first order in 1/N")
    slopes, kurtosis = _slopes(proof, net)
    gain = alpha * sigma_w**2
    off, diag = block_factor(gain, shortcut)
    growing = proof.define(omega, int(shortcut) + gain, "gain of a block")
    letters = [
        proof.define(
            letter, sp.factor(value.subs(kappa, kurtosis.right).subs(alpha, slopes.right)), f"{title} of a block"
        )
        for letter, value, title in ((C_OFF, off, "N Var E_12"), (C_DIAG, diag, "N Var E_11"))
    ]
    _symmetry(proof, net)
    _factors(proof, net, kurtosis, slopes)
    if shortcut:
        _cross_terms(proof, gain)
    for value, letter in zip((off, diag), letters):
        proof.begin(value, "the factors of a block together")
        proof.step(letter.left, by(letter, kurtosis, slopes))
    proof.begin(
        N * (square_after(shortcut).subs({sigma_b: 0, q: 1}) - growing.right**2) / growing.right**2,
        "without biases, N times the relative variance of Q' after a block (F1)",
    )
    proof.step(diag, Limit(N, sp.oo), "it is c_diag")
    expected = _perturbation(proof)
    _edge(proof)
    _by_parts(proof)

    one, three = SpectralNorm(K, d, 1), SpectralNorm(K, d, 3)
    a, b = sp.symbols("E_11 E_12", real=True)
    top, low = sp.symbols("s_1 s_2", positive=True)
    second = sp.expand(expected).coeff(t, 2)
    on_diagonal, of_mixing = (
        sp.simplify(second.coeff(a, 2) / top),
        sp.simplify(second.coeff(b, 2) / top * (top**2 - low**2) / low**2),
    )
    bracket = one + (of_mixing * (1 + L * C_OFF) * mixing + on_diagonal * (2 + L * C_DIAG) * one) / N
    claim, lhs = mf.jacobian_norm(net), Expectation(OperatorNorm(2, 2))
    proof.begin(lhs, "the norm of the Jacobian")
    mixed = proof.assume(
        "M is the mean of s_1 sum_j s_j^2/(s_1^2 - s_j^2), s_j the singular values of a Gaussian K x d matrix, and the integral of the "
        "derivative above vanishes",
        mixing, "==", (three - (K + d) * one) / 2,
    )  # fmt: skip
    expansion = proof.assume(
        "the E of layers add in variance, so that with P_out N Var E_1j is 1 + L c_off and N Var E_11 is 2 + L c_diag; they do not depend "
        "on the Gaussian matrix, and terms beyond 1/N are left out",
        lhs, "==", omega ** (L / 2) / sp.sqrt(d) * bracket,
    )  # fmt: skip
    proof.step(expansion.right, by(expansion))
    proof.step(claim.formula, by(mixed))
    assert proof.concludes(claim).right == claim.formula
    return proof


def block_factor(gain: sp.Expr, shortcut: bool) -> tuple[sp.Expr, sp.Expr]:
    """N times the variances of E_12 and E_11 of a block: those of its layers, and of the cross term of a shortcut."""
    off, diag = 1 + (kappa - 1), 2 + 3 * (kappa - 1)
    if not shortcut:
        return off, diag
    return tuple((c * gain + gain**2 * own) / (1 + gain) ** 2 for c, own in ((2, off + 1), (4, diag + 2)))  # type: ignore[return-value]


def _symmetry(proof: Derivation, net: mf.Net) -> None:
    """E[slope(z) g(z)] = (u + v)/2 E g(z) for even g: the sign of z is independent of the rest."""
    u, v = slopes_of(net)
    for power in (2, 4, 6):
        for right, left in ((u, v), (u**2, v**2)):
            slope = sp.Piecewise((right, z >= 0), (left, True))
            proof.begin(GaussianMean(slope * z**power, z), "a slope, or its square, times an even power of z")
            proof.step((right + left) / 2 * sp.factorial2(power - 1), gaussian, "it is independent of |z|")


def _factors(proof: Derivation, net: mf.Net, kurtosis: Fact, slopes: Fact) -> None:
    """N times the variances of E_12 and E_11 of the factor 1 + E of a Gaussian layer and an activation."""
    u, v = slopes_of(net)
    proof.begin(
        N * (N * GaussianMean((z * w) ** 2, z, w) + N * (N - 1) * GaussianMean(z * w, z, w) ** 2) / N**2,
        "a Gaussian matrix, 1 + E = W W^T of N columns over N: N Var E_12",
    )
    proof.step(1, gaussian)
    proof.begin(
        N * ((N * GaussianMean(z**4, z) + N * (N - 1) * GaussianMean(z**2, z) ** 2) / N**2 - 1), "and N Var E_11"
    )
    proof.step(2, gaussian)
    spread = ((u**2 / alpha - 1) ** 2 + (v**2 / alpha - 1) ** 2) / 2
    proof.begin(GaussianMean(z**2 * w**2, z, w) * spread, "slopes, for a Gaussian matrix U over sqrt(N): N Var E_12")
    proof.assume(
        "a flip of signs of rows of W and b is undone by the columns of the next matrix, so that slopes are independent of all matrices"
    )
    proof.step(spread, gaussian)
    proof.step(kappa - 1, by(kurtosis, slopes))
    proof.begin(GaussianMean(z**4, z) * spread, "and N Var E_11")
    proof.step(3 * spread, gaussian)
    proof.step(3 * (kappa - 1), by(kurtosis, slopes))


def _cross_terms(proof: Derivation, gain: sp.Expr) -> None:
    """The cross term X + X^T of a shortcut and its branch, X of independent entries of variance gain/N."""
    for title, entry, cross in (("off", z + w, 2), ("on", 2 * z, 4)):
        variables = [x for x in (z, w) if entry.has(x)]
        proof.begin(
            GaussianMean(gain * entry**2, *variables),
            f"a shortcut adds X + X^T: N times its variance {title} the diagonal",
        )
        proof.step(cross * gain, gaussian)


def _perturbation(proof: Derivation) -> sp.Expr:
    """The largest singular value of (1 + tE)^{1/2} G to second order, for a general 2 x 2 E."""
    a, b, c = sp.symbols("E_11 E_12 E_22", real=True)
    top, low = sp.symbols("s_1 s_2", positive=True)
    expected = top * (1 + t * a / 2 + t**2 * (low**2 * b**2 / (top**2 - low**2) / 2 - a**2 / 8))
    size = expected**2
    residue = (top**2 * (1 + t * a) - size) * (low**2 * (1 + t * c) - size) - (t * b * top * low) ** 2
    for k in range(3):
        proof.begin(
            sp.Derivative(residue, (t, k)) if k else residue,
            f"the singular value s_1 of G, changed by (1 + t E)^(1/2), in its characteristic equation: order {k} in t",
        )
        proof.step(0, Limit(t, sp.S.Zero))
    return expected


def _by_parts(proof: Derivation) -> None:
    """The divergence of lambda_1^{3/2} times the joint Wishart density, over the density, for three eigenvalues."""
    m = 3
    n = sp.Symbol("n", positive=True)
    lam = sp.symbols(f"lambda_1:{m + 1}", positive=True)
    density = sp.Mul(*(x ** ((n - m - 1) / 2) * sp.exp(-x / 2) for x in lam)) * sp.Mul(
        *(lam[i] - lam[j] for i, j in itertools.combinations(range(m), 2))
    )
    sums = sum(lam[j] / (lam[0] - lam[j]) for j in range(1, m))
    top = sp.sqrt(lam[0])
    proof.begin(
        sp.Derivative(lam[0] ** sp.Rational(3, 2) * density, lam[0]) / density,
        "d/d lambda_1 of lambda_1^(3/2) times the joint Wishart density, over the density, at m = 3",
    )
    proof.step(
        top * sums - (top**3 - (n + m) * top) / 2, algebra, "s_1 sum_j s_j^2/(s_1^2 - s_j^2) - (s_1^3 - (n + m) s_1)/2"
    )


def _edge(proof: Derivation) -> None:
    """For large K and d: the edge min_z (1 + 1/z)(1 + z K/d)(1 + t z K), t = (1 + L c_off)/N, to first order in t."""
    start = sp.sqrt(d / K)
    proof.begin(
        sp.Derivative(sp.log(1 + 1 / r) + sp.log(1 + r * K / d), r), "for large K, d: the edge of the spectrum at t = 0"
    )
    proof.step(0, Limit(r, start), "its minimum is at sqrt(d/K)")
    proof.begin(sp.Derivative(sp.log(1 + t * r * K), t) / 2, "half its slope in t = (1 + L c_off)/N")
    proof.step(r * K / 2, Limit(t, sp.S.Zero))
    proof.step(sp.sqrt(K * d) / 2, Limit(r, start), "which is T/2 in the bracket, with T -> sqrt(K d)")


def quadrature() -> None:
    """The mean of the by-parts identity for two eigenvalues, by quadrature at K = 2, d = 5."""
    columns = 5

    def joint(low: float, high: float) -> float:
        return (low * high) ** (columns - 2) * math.exp(-(low**2 + high**2) / 2) * (high**2 - low**2)

    def moment(f) -> float:  # type: ignore[no-untyped-def]
        return integrate.dblquad(lambda b, a: f(b, a) * joint(b, a), 0, 15, 0, lambda a: a, epsabs=1e-11)[0]

    found = moment(lambda b, a: a * b**2 / (a**2 - b**2) if a > b else 0.0) / moment(lambda b, a: 1.0)
    one, three = spectral_norm(2, columns, [1, 3])
    wanted = (three - (2 + columns) * one) / 2
    assert abs(found - wanted) < 1e-7 * found
    print(f"M by quadrature at K = 2, d = 5: {found:.6f} = (E s_1^3 - (K + d) E s_1)/2 = {wanted:.6f}")


def main() -> None:
    """Print and verify the derivations, and check the mean of singular values by quadrature."""
    for net in (mf.vanilla(), mf.residual()):
        print(*derive(net), sep="\n\n", end="\n\n")
    quadrature()
    print("\nverified")


if __name__ == "__main__":
    main()
