"""T1 step by step: f(x) = J(x)x + a(x), and the laws of J(x) and a(x) for the vanilla and the residual network.

Run it to read it: ``python derivations/t1_linear_form.py``. Every step is verified when it is printed, and the last line of each
network is compared with what the package derives from the declared blocks.
"""

import sympy as sp

import advmf as mf
from advmf.symbols import L, d, sigma_b, sigma_w, u, v, x_sq
from advmf.theory.functions import GeometricSum

z, g = sp.symbols("z g", real=True)
h, rho, s = sp.symbols("h rho s", positive=True)
phi = {1: u * z, -1: v * z}
slope = {1: u, -1: v}


def gaussian(expr_by_sign: dict[int, sp.Expr], variance: sp.Expr) -> sp.Expr:
    """E of a function of z ~ N(0, variance) that is given for z > 0 and for z < 0, by integration."""
    density = sp.exp(-(z**2) / (2 * variance)) / sp.sqrt(2 * sp.pi * variance)
    right = sp.integrate(expr_by_sign[1] * density, (z, 0, sp.oo))
    left = sp.integrate(expr_by_sign[-1] * density, (z, -sp.oo, 0))
    return sp.simplify(right + left)


def say(number: str, text: str, left: object, right: sp.Expr) -> sp.Expr:
    """Print ``left = right`` under a heading; if ``left`` is an expression, it has to be equal."""
    if isinstance(left, sp.Expr):
        assert sp.simplify(sp.expand(left - right)) == 0, f"step {number}: {left} is not {right}"
    print(f"  {number}  {text}\n        {left} = {right}")
    return right


def activation_moments() -> tuple[sp.Expr, sp.Expr]:
    """Steps 1 to 3: what a ReLU-like activation does to a centred Gaussian of variance h."""
    print("\nThe activation phi(z) = u z for z >= 0, v z for z < 0, on z ~ N(0, h)")
    alpha = (u**2 + v**2) / 2
    say(
        "1",
        "second moment, by integration: E phi(z)^2 = alpha h",
        gaussian({k: e**2 for k, e in phi.items()}, h),
        alpha * h,
    )
    mean = say("2", "mean, by integration", gaussian(phi, h), (u - v) * sp.sqrt(h / (2 * sp.pi)))
    # w = rho z + s g is the general variable that is jointly Gaussian with z; E g = 0, E g^2 = 1.
    second = gaussian({k: slope[k] ** 2 * (rho**2 * z**2 + s**2) for k in slope}, h)
    say("3", "E phi'(z)^2 w^2 = alpha E w^2 for w jointly Gaussian with z, whatever their correlation",
        second, alpha * (rho**2 * h + s**2))  # fmt: skip
    return alpha, mean


def moments_of(name: str, alpha: sp.Expr) -> None:
    """Steps 4 to 8: one block, the recursion, its solution, the law."""
    net = mf.PRESETS[name]()
    print(f"\nThe {name} network: {str(mf.PRESETS[name].__doc__).split('``')[1]}")
    Q, A = sp.symbols("Q A", positive=True)
    pre_activation, offset = sigma_w**2 * Q + sigma_b**2, sigma_w**2 * A + sigma_b**2
    print("  4  W x + b given x has independent coordinates N(0, h), h = sigma_w^2 Q + sigma_b^2, Q = |x|^2/N")
    keep = 0 if name == "vanilla" else 1
    step_Q, step_A = keep * Q + alpha * pre_activation, keep * A + alpha * offset
    if keep:
        print("     V is independent of the stream and centred: V phi adds its second moment, and no cross term")
    omega = say(
        "5",
        "the Jacobian grows by the part that multiplies Q: omega, as the package has it",
        sp.diff(step_Q, Q),
        mf.omega(net),
    )
    bias = sp.expand(step_A - omega * A)
    say(
        "6",
        "the offset a = x - Jx obeys A -> omega A + alpha sigma_b^2, from A = 0",
        bias,
        sp.expand(alpha * sigma_b**2),
    )
    growth = sp.Symbol("omega", positive=True)
    law_J, law_a = growth**L / d, alpha * sigma_b**2 * GeometricSum(growth, L)
    residue = (law_a.subs(L, L + 1) - growth * law_a - alpha * sigma_b**2).rewrite(sp.Pow)
    assert sp.simplify(residue) == 0
    assert law_a.subs(L, 0) == 0
    print(f"  7  solved: Var a_i = {law_a}; put back into the recursion, the residue is 0")
    total = growth**L * x_sq + law_a
    print(f"  8  as N -> oo the coordinates of P_out(...) are i.i.d. Gaussian: Var J_ij = {law_J}, E f_i^2 = {total}")
    claims = mf.linear_form(net)
    values = {sigma_w: sp.Rational(6, 5), sigma_b: sp.Rational(1, 3), u: 1, v: sp.Rational(1, 5), L: 7, d: 10, x_sq: 1}
    for claim, derived in zip(claims, (law_J, law_a)):
        difference = (claim.rhs - derived.subs(growth, mf.omega(net))).subs(values)
        assert sp.simplify(difference.doit()) == 0, claim.name
        print(f"     the package's {claim.name}: {claim.lhs} {claim.relation} {claim.formula}")
    assert claims[2].rhs == 0
    print("     the package's T1.Ja: E (Jx)_i a_i = 0, so that J and a, jointly Gaussian, are independent")


def main() -> None:
    """Print and verify the derivation."""
    print(__doc__.splitlines()[0])
    alpha, _ = activation_moments()
    for name in ("vanilla", "residual"):
        moments_of(name, alpha)
    print("\nverified")


if __name__ == "__main__":
    main()
