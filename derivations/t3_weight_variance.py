"""T3 step by step: the variance of the weights under adversarial training, by gradient flow on the bound of T2.

Run it to read it: ``python derivations/t3_weight_variance.py``. Every step is verified when it is printed, and the last lines are compared
with what the package derives from the declared blocks.
"""

import sympy as sp

import advmf as mf
from advmf.symbols import L, N, eps, sigma_w, t, u, v
from advmf.theory.flow_functions import Flow, QExponential

B_, beta, z, y, s, c = sp.symbols("B beta z y s c", positive=True)
alpha, kappa = sp.symbols("alpha kappa", positive=True)
slopes = (u**2 + v**2) / 2


def say(number: str, text: str, left: sp.Expr, right: sp.Expr) -> sp.Expr:
    """Print ``left = right`` under a heading; they have to be equal."""
    assert sp.simplify(sp.powsimp(sp.expand(left - right), force=True)) == 0, f"step {number}: {left} is not {right}"
    print(f"  {number}  {text}\n        {left} = {right}")
    return right


def slope() -> sp.Expr:
    """Steps 1 to 4: d sigma^2/dt for any growth omega(z) of a block, z = sigma^2 of one of its matrices."""
    print("\nThe flow of one matrix")
    w, bound = sp.Symbol("w", positive=True), sp.Function("B")
    # |W|_F^2 = w^2 along W = w W/|W|, so that z = w^2/N.
    gradient = say("1", "z = |W|_F^2/N: the gradient of B(z) along W, for |W|_F = w",
                   sp.diff(w**2 / N, w) * sp.Derivative(bound(z), z), 2 * w / N * sp.Derivative(bound(z), z))  # fmt: skip
    norm = -2 * w * gradient  # d(w^2)/dt = 2 w dw/dt = -2 w dB/dw
    of_z = say("2", "gradient flow dW/dt = -dB/dW moves z by", (norm / N).subs(w, sp.sqrt(N * z)),
               -4 * z / N * sp.Derivative(bound(z), z))  # fmt: skip
    growth = sp.Function("omega")
    others = sp.Symbol("omega_0", positive=True)
    product = eps * beta * others ** ((L - 1) / 2) * sp.sqrt(growth(z))
    rate = of_z.subs(bound(z), product).doit()
    print("  3  B = eps beta prod over l of omega_l^(1/2), of which one factor holds this matrix")
    reach = z * sp.diff(growth(z), z)
    return say("4", "with all blocks alike", rate.subs(others, growth(z)), -2 / N * eps * beta * reach * growth(z) ** (L / 2 - 1))  # fmt: skip


def rates(general: sp.Expr) -> dict[str, sp.Expr]:
    """Step 5: the blocks of the paper, and the two-layer branch, whose two matrices are alike."""
    print("\nBlocks")
    scale, other = sp.symbols("scale z_2", positive=True)
    growths = {"vanilla": alpha * z, "residual": 1 + alpha * z, "two layers": 1 + scale**2 * alpha * z * other}
    out = {}
    for name, growth in growths.items():
        out[name] = general.subs(sp.Function("omega")(z), growth).doit().subs(other, z)
        print(f"  5  {name}: dz/dt = {sp.powsimp(out[name])}")
    return out


def solutions(found: dict[str, sp.Expr]) -> dict[str, sp.Expr]:
    """Steps 6 to 8: the vanilla net in closed form, the residual one as an implicit integral."""
    print("\nSolutions")
    z0, r = sp.symbols("z0 r", positive=True)
    power = say("6", "vanilla: dz/dt is a power of z, with the exponent",
                sp.simplify(z * sp.diff(found["vanilla"], z) / found["vanilla"]), L / 2)  # fmt: skip
    k = sp.simplify(-found["vanilla"].subs(z, z0) / z0)
    path = z0 * (1 + (r - 1) * kappa * t) ** (-1 / (r - 1))
    law = -kappa * z0 * (path / z0) ** r
    say("7", "z0 (1 + (r-1) k t)^(-1/(r-1)) solves dz/dt = -k z0 (z/z0)^r: dz/dt over the right-hand side is",
        sp.exp(sp.simplify(sp.expand_log(sp.log(sp.simplify(sp.diff(path, t) / law)), force=True))), sp.S.One)  # fmt: skip
    limit = sp.limit(path.subs(r, 1 + s), s, 0)
    say("8", "as r -> 1, that is at L = 2", limit, z0 * sp.exp(-kappa * t))
    closed = z0 * QExponential(-kappa * t, r).subs(r, power).subs(kappa, k)
    print(f"  9  so that sigma_w^2(t) = {closed}")
    integrand = 1 / (y * (1 + y) ** (L / 2 - 1))
    # y = alpha z
    speed = sp.powsimp(alpha * found["residual"].subs(z, y / alpha) * integrand, force=True)
    say("10", "residual, y = alpha z: integral dy/(y (1+y)^(L/2-1)) changes at the rate",
        sp.simplify(speed), -2 * alpha * eps * beta / N)  # fmt: skip
    logistic = y * sp.exp(-c) / (1 + y - y * sp.exp(-c))
    say("11", "at L = 4 that is ln(y/(1+y)), so that after a change of -c",
        sp.simplify(logistic / (1 + logistic)), y * sp.exp(-c) / (1 + y))  # fmt: skip
    return {"vanilla": closed.subs(z0, sigma_w**2), "logistic": logistic}


def compare(found: dict[str, sp.Expr], solved: dict[str, sp.Expr]) -> None:
    """Compare slopes and solutions with the package's claims."""
    norm = mf.beta(2, 2)
    two = mf.Net(mf.Residual(mf.Dense(), mf.ReLULike(), mf.Dense(sigma_b=0), scale=sp.Symbol("scale", positive=True)))
    for name, net in {"vanilla": mf.vanilla(), "residual": mf.residual(), "two layers": two}.items():
        own = found[name].subs(z, sigma_w**2).subs({alpha: slopes, beta: norm})
        ratio = sp.log(sp.simplify(mf.variance_slope(net, 2, 2).rhs / own))
        assert sp.simplify(sp.expand_log(ratio, force=True)) == 0, name
        print(f"     the slope is the package's for the {name} network")
    own = solved["vanilla"].subs({alpha: slopes, beta: norm})
    theirs = mf.weight_variance(mf.vanilla(), 2, 2).rhs
    values = {sigma_w: 1.3, u: 1, v: 0.2, eps: 0.5, N: 50, t: 9, mf.symbols.d: 30, mf.symbols.K: 4}
    for depth in (1, 2, 3, 8):
        left, right = (float(expr.subs(L, depth).subs(values).evalf()) for expr in (own, theirs))
        assert abs(left - right) < 1e-12, depth
    print("     sigma_w^2(t) is the package's for the vanilla network")
    (flow,) = mf.weight_variance(mf.residual(1, 0), 2, 2).formula.atoms(Flow)
    change, start = sp.Rational(3, 2), sp.Integer(2)
    # alpha = 1/2: y = z/2, and the flow's own clock is 2 eps beta t/N.
    numeric = flow.func(change, *flow.args[1:]).subs({L: 4, sigma_w: sp.sqrt(start)}).evalf()
    own = 2 * solved["logistic"].subs({y: start / 2, c: change / 2})
    assert abs(float(numeric) - float(own)) < 1e-12
    print("     and so is the flow of the residual network at L = 4, integrated")


def main() -> None:
    """Print the derivation and compare it with the package's claims."""
    print(__doc__.splitlines()[0])
    found = rates(slope())
    compare(found, solutions(found))
    print("\nverified")


if __name__ == "__main__":
    main()
