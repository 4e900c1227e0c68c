"""F1 and F2 step by step: the fluctuations of the last stream, exactly at width N, and the first order in 1/N of the
Jacobian's norm.

Run it to read it: ``python derivations/f_finite_width.py``. Every step is verified when it is printed, and the last
lines are compared with what the package derives from the declared blocks.
"""

import itertools
import math

import sympy as sp
from scipy import integrate

import advmf as mf
from advmf.functions import SpectralNorm
from advmf.special import spectral_norm
from advmf.symbols import K, L, N, d, sigma_b, sigma_w, u, v, x_sq

z = sp.Symbol("z", real=True)
h, q, s, t = sp.symbols("h q s t", positive=True)
alpha, y = (u**2 + v**2) / 2, sp.Symbol("y", positive=True)
kappa = sp.Symbol("kappa", positive=True)
kappa_of_slopes = (u**4 + v**4) / 2 / alpha**2


def say(number: str, text: str, left: sp.Expr, right: sp.Expr) -> sp.Expr:
    """Print ``left = right`` under a heading, after verifying that they are equal."""
    assert sp.simplify(sp.expand(left - right)) == 0, f"step {number}: {left} is not {right}"
    print(f"  {number}  {text}\n        {left} = {right}")
    return right


def gaussian(right: sp.Expr, left: sp.Expr) -> sp.Expr:
    """E of a function of z ~ N(0, h) that is ``right`` for z > 0 and ``left`` for z < 0, by integration."""
    density = sp.exp(-(z**2) / (2 * h)) / sp.sqrt(2 * sp.pi * h)
    return sp.simplify(sp.integrate(right * density, (z, 0, sp.oo)) + sp.integrate(left * density, (z, -sp.oo, 0)))


def isserlis(factors: tuple[tuple[object, ...], ...]) -> int:
    """E of a product of standard Gaussians by summing over all pairings; factors with equal labels are the same
    Gaussian."""
    if not factors:
        return 1
    first, rest = factors[0], factors[1:]
    return sum(isserlis(rest[:i] + rest[i + 1 :]) for i, other in enumerate(rest) if other == first)


def mean_of_squares(second: sp.Expr, fourth: sp.Expr) -> sp.Expr:
    """E of (mean of N independent squares)², from their first two moments."""
    return (N * fourth + N * (N - 1) * second**2) / N**2


def fluctuations() -> dict[str, sp.Expr]:
    """Steps 1 to 5: E Q'² after one block, given Q = q."""
    print("\nThe stream: Q = |x|^2/N, block by block, given the Q = q before it")
    say("1", "an activation on N(0, h), by integration: E phi^4 = 3 kappa alpha^2 h^2",
        gaussian(u**4 * z**4, v**4 * z**4), 3 * kappa_of_slopes * alpha**2 * h**2)  # fmt: skip
    active = say("2", "N independent coordinates of second moment alpha h: E Q'^2, with y = alpha h",
                 mean_of_squares(y, 3 * kappa * y**2), y**2 * (1 + (3 * kappa - 1) / N))  # fmt: skip
    layer = say("3", "a Gaussian layer is the case kappa = alpha = 1: E Q'^2 = E h^2 (1 + 2/N), also for x^0 = P_in x",
                mean_of_squares(h, gaussian(z**4, z**4)), h**2 * (1 + 2 / N))  # fmt: skip
    # <x, y>/N for y ~ N(0, g I) is N(0, g |x|²/N²).
    variance = sp.Symbol("g", positive=True)
    cross = say("4", "a branch N(0, g) given x: the cross term 2 s <x, b>/N has mean 0 and mean square",
                (2 * s) ** 2 * variance * N * q / N**2, 4 * s**2 * variance * q / N)  # fmt: skip
    pre = sigma_w**2 * q + sigma_b**2
    vanilla = active.subs(y, alpha * pre)
    residual = q**2 + 2 * q * alpha * pre + cross.subs({s: 1, variance: alpha * pre}) + vanilla * layer.subs(h, 1)
    print(
        "  5  vanilla and residual blocks: E[Q'^2 | q], polynomials of degree two in q; their means are linear in E Q^2, E Q"
    )
    return {"vanilla": vanilla, "residual": residual}


def compare_streams(after: dict[str, sp.Expr]) -> None:
    """Step 6: iterate the polynomials and compare with the package's F1."""
    values = {sigma_w: sp.Rational(6, 5), u: 1, v: sp.Rational(1, 5), x_sq: sp.Rational(3, 4), N: 9}
    for name, square in after.items():
        square = square.subs(kappa, kappa_of_slopes)
        mean = (0 if name == "vanilla" else q) + alpha * (sigma_w**2 * q + sigma_b**2)
        for bias in (0, sp.Rational(1, 3)):
            point = {**values, sigma_b: bias}
            first, second = x_sq.subs(point), (x_sq**2 * (1 + 2 / N)).subs(point)
            claim = mf.stream_fluctuation(mf.PRESETS[name]())
            for depth in range(5):
                assert sp.simplify(claim.rhs.subs(point).subs(L, depth) - second) == 0, (name, bias, depth)
                by_power = sp.Poly(sp.expand(square.subs(point)), q)
                second = sum(c * (sp.S.One, first, second)[k] for (k,), c in by_power.terms())
                first = mean.subs(point).subs(q, first)
        print(
            f"  6  iterated from E Q_0 = x_sq, E Q_0^2 = x_sq^2 (1 + 2/N): equal to the package's F1 for the {name} network"
        )


def slopes_are_independent() -> None:
    """Step 7: the symmetry on which F2 rests."""
    print("\nThe Jacobian: J = P_out (block) ... (block) P_in")
    for power in (2, 4, 6):
        for right, left in ((u, v), (u**2, v**2)):
            assert (
                sp.simplify(
                    gaussian(right * z**power, left * z**power) - (right + left) / 2 * gaussian(z**power, z**power)
                )
                == 0
            )
    print(
        "  7  E[slope(z) g(z)] = (u + v)/2 E g(z) for even g (verified for powers): the sign of z is independent of the rest. A flip"
    )
    print(
        "     of signs of rows of W (and b) is undone by the columns of the next matrix: slopes are independent of all matrices"
    )


def factors() -> dict[str, tuple[sp.Expr, sp.Expr, sp.Expr]]:
    """Steps 8 to 10: gain and N times the variances of E_12 and E_11, of the factor (1 + E) of one block."""
    width = 3
    wishart = {}
    for i, j in ((0, 1), (0, 0)):
        total = sum(isserlis(((i, k), (j, k), (i, l), (j, l))) for k, l in itertools.product(range(width), repeat=2))
        wishart[i, j] = sp.Rational(total - (width**2 if i == j else 0), width)
    say(
        "8",
        "a Gaussian matrix: 1 + E = W W^T of N columns over N; N Var E_12 by pairings",
        wishart[0, 1],
        sp.Integer(1),
    )
    say("", "and N Var E_11", wishart[0, 0], sp.Integer(2))
    spread = sp.expand((u**4 + v**4) / 2 - alpha**2) / alpha**2
    # E_ij = sum_k U_ik U_jk (slope_k²/alpha - 1) with U ~ N(0, 1/N).
    off = say(
        "9",
        "slopes: N Var E_12 = Var(slope^2)/alpha^2",
        isserlis(((0,), (0,), (1,), (1,))) * spread,
        kappa_of_slopes - 1,
    )
    diag = say("", "and N Var E_11, three times that", isserlis(((0,),) * 4) * spread, 3 * kappa_of_slopes - 3)
    vanilla = (alpha * sigma_w**2, 1 + off, 2 + diag)
    gain, branch_off, branch_diag = vanilla[0], vanilla[1] + 1, vanilla[2] + 2
    # X_ij + X_ji with independent entries of variance gain/N.
    cross = {False: sp.Integer(2), True: sp.Integer(4)}
    both = [
        (cross[on_diagonal] * gain + gain**2 * own) / (1 + gain) ** 2
        for on_diagonal, own in ((False, branch_off), (True, branch_diag))
    ]
    print(
        "  10 a shortcut adds X + X^T, of variances 2 gain/N off and 4 gain/N on the diagonal; factors of layers add in variance"
    )
    return {"vanilla": vanilla, "residual": (1 + gain, *both)}


def perturbation() -> sp.Expr:
    """Step 11: the largest singular value of (1 + tE)^{1/2} G to second order, for a general 2 x 2 E."""
    a, b, c = sp.symbols("E_11 E_12 E_22", real=True)
    top, low = sp.symbols("s_1 s_2", positive=True)
    root = sp.diag(top, low)
    matrix = root * (sp.eye(2) + t * sp.Matrix([[a, b], [b, c]])) * root
    gap = top**2 - low**2
    expected = top * (1 + t * a / 2 + t**2 * (low**2 * b**2 / gap / 2 - a**2 / 8))
    residue = sp.expand((matrix - expected**2 * sp.eye(2)).det(method="berkowitz"))
    for k in range(3):
        assert sp.simplify(residue.coeff(t, k)) == 0, f"step 11, order {k}"
    print(
        f"  11 the largest singular value of G changed by 1 + E, verified in its characteristic equation up to E^2:\n        {expected.subs(t, 1)}"
    )
    return expected


def mixing() -> sp.Expr:
    """Step 12: E[s_1 sum_j s_j²/(s_1² - s_j²)] by parts against the joint Wishart density."""
    m = 3
    n = sp.Symbol("n", positive=True)
    lam = sp.symbols(f"lambda_1:{m + 1}", positive=True)
    density = sp.Mul(*(x ** ((n - m - 1) / 2) * sp.exp(-x / 2) for x in lam)) * sp.Mul(
        *(lam[i] - lam[j] for i, j in itertools.combinations(range(m), 2))
    )
    flux = lam[0] ** sp.Rational(3, 2) * density
    sums = sum(lam[j] / (lam[0] - lam[j]) for j in range(1, m))
    top = sp.sqrt(lam[0])
    by_parts = sp.simplify(sp.diff(flux, lam[0]) / density - (top * sums - (top**3 - (n + m) * top) / 2))
    assert by_parts == 0, f"step 12: {by_parts}"
    print(
        "  12 d/d lambda_1 of lambda_1^(3/2) times the joint Wishart density integrates to 0; over the density it is (verified, m = 3)"
    )
    print("        s_1 sum_j s_j^2/(s_1^2 - s_j^2) - (s_1^3 - (n + m) s_1)/2")
    columns = 5

    def joint(low: float, high: float) -> float:
        return (low * high) ** (columns - 2) * math.exp(-(low**2 + high**2) / 2) * (high**2 - low**2)

    def moment(f) -> float:  # type: ignore[no-untyped-def]
        return integrate.dblquad(lambda b, a: f(b, a) * joint(b, a), 0, 15, 0, lambda a: a, epsabs=1e-11)[0]

    found = moment(lambda b, a: a * b**2 / (a**2 - b**2) if a > b else 0.0) / moment(lambda b, a: 1.0)
    one, three = spectral_norm(2, columns, [1, 3])
    assert abs(found - (three - (2 + columns) * one) / 2) < 1e-7 * found
    print(
        f"     by quadrature at K = 2, d = 5: {found:.6f} = (E s_1^3 - (K + d) E s_1)/2 = {(three - (2 + columns) * one) / 2:.6f}"
    )
    one, three = SpectralNorm(K, d, 1), SpectralNorm(K, d, 3)
    return (three / one - K - d) / 2


def main() -> None:
    """Print and verify the derivation."""
    print((__doc__ or "Finite width.").splitlines()[0])  # python -OO has no docstrings
    after = fluctuations()
    compare_streams(after)
    slopes_are_independent()
    blocks = factors()
    expansion = perturbation()
    T = mixing()
    a, b = sp.symbols("E_11 E_12", real=True)
    second = sp.expand(expansion).coeff(t, 2)
    top, low = sp.symbols("s_1 s_2", positive=True)
    on_diagonal, mixed = (
        sp.simplify(second.coeff(a, 2) / top),
        sp.simplify(second.coeff(b, 2) / top * (top**2 - low**2) / low**2),
    )
    for name, (gain, off, diag) in blocks.items():
        print(f"\nThe {name} network: with P_out, N Var E_12 = 1 + L c_off, N Var E_11 = 2 + L c_diag")
        bracket = 1 + (mixed * (1 + L * off) * T + on_diagonal * (2 + L * diag)) / N
        result = gain ** (L / 2) * SpectralNorm(K, d, 1) / sp.sqrt(d) * bracket
        net = mf.PRESETS[name]()
        claim = mf.jacobian_norm(net)
        numbers = {SpectralNorm(K, d, 1): 3, SpectralNorm(K, d, 3): 31}
        point = {K: 2, d: 4, N: 9, sigma_w: sp.Rational(6, 5), u: 1, v: sp.Rational(1, 5)}
        for depth in (0, 2, 6):
            difference = (claim.rhs - result).xreplace(numbers).subs(point).subs(L, depth)
            assert difference == 0, (name, depth, difference)
        print(
            f"     E|J| = omega^(L/2) E s_1/sqrt(d) (1 + ({mixed} (1 + L c_off) T + {on_diagonal} (2 + L c_diag))/N), T = {T}"
        )
        print(f"     equal to the package's F2: {claim.formula}")
        square = after[name].subs({sigma_b: 0, kappa: kappa_of_slopes, q: 1}) / gain**2
        inverse = sp.Dummy("inverse")
        first = sp.diff(square.subs(N, 1 / inverse), inverse).subs(inverse, 0)
        text = "c_diag agrees with F1 without biases: E Q'^2/(E Q')^2 = 1 + c_diag/N + O(1/N^2)"
        say("13", text, sp.factor(first), sp.factor(diag))
    edge = sp.log(1 + 1 / z) + sp.log(1 + z * K / d) + sp.log(1 + t * z * K)
    start = sp.sqrt(d / K)
    slope = sp.diff(edge, t).subs(t, 0).subs(z, start)
    assert sp.simplify(sp.diff(edge.subs(t, 0), z).subs(z, start)) == 0
    say("14", "for large K, d: the edge min_z (1 + 1/z)(1 + zK/d)(1 + t z K), t = (1 + L c_off)/N, starts at z = sqrt(d/K); half its slope",
        sp.simplify(slope / 2), sp.sqrt(K * d) / 2)  # fmt: skip
    print("     which is the bracket's (1 + L c_off) T/2 with T -> sqrt(K d)")
    print("\nverified")


if __name__ == "__main__":
    main()
