"""T5 step by step: the capacity E sum_k (sum_l <W^l, df_k/dW^l>)^2 and how adversarial training reduces it.

Run it to read it: ``python derivations/t5_capacity.py``. Every step is verified when it is printed, and the last lines are compared
with what the package derives from the declared blocks.
"""

import itertools

import sympy as sp

import advmf as mf
from advmf.symbols import K, L, N, eps, sigma_w, t, u, v, x_sq
from advmf.theory.functions import ArcCosine

alpha, y, omega, kappa = sp.symbols("alpha y omega kappa", positive=True)
slopes = (u**2 + v**2) / 2


def say(number: str, text: str, left: sp.Expr, right: sp.Expr) -> sp.Expr:
    """Print ``left = right`` under a heading; they have to be equal."""
    assert sp.simplify(sp.powsimp(sp.expand(left - right), force=True)) == 0, f"step {number}: {left} is not {right}"
    print(f"  {number}  {text}\n        {left} = {right}")
    return right


def kernel_of_two() -> None:
    """Steps 1 to 3: why the activation may be taken as linear in the cross moment."""
    print("\nTwo networks, the weights of layer l times a_l in one and b_l in the other")
    print("  1  C = sum over l, m of d/da_l d/db_m of E f_a . f_b, at a = b = 1")
    c, s, width = sp.Symbol("c"), sp.Symbol("s", positive=True), sp.Symbol("k", positive=True)
    say("2", "at equal streams the kernel of two Gaussians through an activation has the value and the slope",
        ArcCosine(c).subs(c, 1) + sp.Symbol("dc") * ArcCosine(c).diff(c).subs(c, 1), 1 + sp.Symbol("dc"))  # fmt: skip
    rest = ArcCosine(1 - s).doit() - (1 - s)
    cube = say("3", "what is beyond is of order (1 - c)^(3/2)",
               sp.limit(rest / s ** sp.Rational(3, 2), s, 0), 2 * sp.sqrt(2) / (3 * sp.pi))  # fmt: skip
    r = sp.Symbol("r", real=True)
    beyond = cube * (width * (r - s) ** 2) ** sp.Rational(3, 2)
    say("4", "1 - c = k (a - b)^2, so its mixed derivative vanishes at a = b, here at distance s -> 0",
        sp.limit(sp.diff(beyond, r, s).subs(r, 0), s, 0), sp.S.Zero)  # fmt: skip


def capacities() -> dict[str, sp.Expr]:
    """Steps 5 to 7: the kernels to the order that counts, summed layer by layer at several depths."""
    print(
        "\nWithout biases: each layer multiplies the cross moment by a_l b_l y, or by 1 + a_l b_l y next to a shortcut"
    )
    closed = {
        "vanilla": x_sq * K * L**2 * y**L,
        "residual": x_sq * K * L * y * (1 + y) ** (L - 2) * (1 + L * y),
    }
    for depth in (1, 2, 3, 5):
        a, b = sp.symbols(f"a:{depth}"), sp.symbols(f"b:{depth}")
        for around, (name, form) in enumerate(closed.items()):
            kernel = K * x_sq * sp.prod([around + a_l * b_l * y for a_l, b_l in zip(a, b)])
            total = sum(sp.diff(kernel, a_l, b_m) for a_l, b_m in itertools.product(a, b))
            total = total.subs(dict.fromkeys((*a, *b), 1))
            assert sp.cancel(total / form.subs(L, depth)) == 1, (name, depth)
    for name, form in closed.items():
        print(f"  5  {name}, verified at L = 1, 2, 3, 5: C = {form}")
    print(
        "  6  the carried mean of a plain shortcut and biases add to it, and leave a recursion in the same derivatives"
    )
    return closed


def reduction(closed: dict[str, sp.Expr]) -> sp.Expr:
    """Step 7: the first-order fall of the vanilla network's capacity."""
    print("\nUnder adversarial training")
    fall = closed["vanilla"].subs(y, y * (1 - kappa * t)) / closed["vanilla"]
    slope = sp.simplify(sp.diff(fall, t).subs(t, 0))
    return say(
        "7", "sigma_w^2 falls at the relative rate k = (2 alpha eps beta/N) omega^(L/2-1), so C at", slope, -L * kappa
    )


def compare(closed: dict[str, sp.Expr], slope: sp.Expr) -> None:
    """Compare with the package's capacities."""
    dense = mf.Dense(sigma_b=0)
    nets = {
        "vanilla": mf.Net(mf.Serial(dense, mf.ReLULike())),
        "residual": mf.Net(mf.Residual(dense, mf.ReLULike(), mf.Mix())),
    }
    for name, net in nets.items():
        ratio = sp.log(sp.simplify(mf.capacity(net).rhs / closed[name].subs(y, slopes * sigma_w**2)))
        assert sp.simplify(sp.expand_log(ratio, force=True)) == 0, name
        print(f"     C is the package's for the {name} network")
    line = mf.first_order(mf.capacity_ratio(nets["vanilla"], 2, 2)).rhs
    rate = 2 * slopes * eps * mf.beta(2, 2) / N * (slopes * sigma_w**2) ** (L / 2 - 1)
    values = {sigma_w: 1.3, u: 1, v: 0.2, eps: 0.5, N: 50, t: 2, mf.symbols.d: 30, mf.symbols.K: 4, L: 7}
    own = 1 + slope.subs(kappa, rate) * t
    assert abs(float(line.subs(values).evalf()) - float(own.subs(values).evalf())) < 1e-12
    print("     and so is its first order under adversarial training")


def main() -> None:
    """Print the derivation and compare it with the package's claims."""
    print(__doc__.splitlines()[0])
    kernel_of_two()
    closed = capacities()
    compare(closed, reduction(closed))
    print("\nverified")


if __name__ == "__main__":
    main()
