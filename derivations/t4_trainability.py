"""T4 step by step: the time for which a network stays (M, m)-trainable under adversarial training.

Run it to read it: ``python derivations/t4_trainability.py``. Every step is verified when it is printed, and the last lines are compared
with what the package derives from the declared blocks.
"""

import sympy as sp

import advmf as mf
from advmf.symbols import L, M, N, eps, m, t

alpha, beta, omega, omega_0, h, rate = sp.symbols("alpha beta omega omega_0 h k", positive=True)


def say(number: str, text: str, left: sp.Expr, right: sp.Expr) -> sp.Expr:
    """Print ``left = right`` under a heading; they have to be equal."""
    assert sp.simplify(sp.powsimp(sp.expand(left - right), force=True)) == 0, f"step {number}: {left} is not {right}"
    print(f"  {number}  {text}\n        {left} = {right}")
    return right


def escape() -> sp.Expr:
    """Steps 1 to 5: the vanilla network's escape time, for any omega at t = 0 and for omega = 1."""
    print("\nVanilla")
    print("  1  gradients scale as omega^L per network, so trainable is m <= omega(t)^L <= M; h = L/2 - 1")
    path = (omega_0**-h + h * rate * t) ** (-1 / h)
    ratio = sp.simplify(sp.expand_log(sp.log(-sp.diff(path, t) / (rate * path ** (h + 1))), force=True))
    say("2", "T3: omega(t) = (omega_0^-h + h k t)^(-1/h) solves d omega/dt = -k omega^(h+1): ln of the ratio of the sides",
        ratio, sp.S.Zero)  # fmt: skip
    found = (m ** (-h / L) - omega_0**-h) / (h * rate)
    say("3", "at this time omega^L is m: ln of omega(t)^L/m",
        sp.simplify(sp.expand_log(L * sp.log(path.subs(t, found)) - sp.log(m), force=True)), sp.S.Zero)  # fmt: skip
    print(f"        t* = {found}, with k = 2 alpha eps beta/N")
    say("4", "omega = 1 at t = 0", found.subs(omega_0, 1), (m ** (-h / L) - 1) / (h * rate))
    say("5", "and L = 2, h -> 0", sp.limit(found.subs({omega_0: 1, L: 2}), h, 0), -sp.log(m) / (2 * rate))
    deep = found.subs(omega_0, 1).subs(h, L / 2 - 1)
    say("6", "deep networks: L t* tends to", sp.limit(L * deep.subs(m, sp.Rational(1, 4)), L, sp.oo), 2 / rate)
    return found.subs(h, L / 2 - 1).subs(rate, 2 * alpha * eps * beta / N)


def shortcut() -> None:
    """Steps 7 and 8: an identity shortcut."""
    print("\nResidual, y = alpha sigma_w^2")
    y = sp.Symbol("y", positive=True)
    assert (1 + y).is_positive and sp.ask(sp.Q.positive((1 + y) - 1), sp.Q.positive(y))
    print("  7  omega(t)^L = (1 + y(t))^L > 1 for all t: the lower edge is never reached if m <= 1")
    limit = M ** (1 / L) - 1
    say("8", f"omega^L = M at t = 0 for y = {limit}: ln omega^L",
        sp.expand_log(sp.expand(L * sp.log(1 + limit)), force=True), sp.log(M))  # fmt: skip
    say("9", "about (ln M)/L in deep networks: the limit of L y", sp.limit(L * limit.subs(M, 4), L, sp.oo), sp.log(4))


def compare(own: sp.Expr) -> None:
    """Compare with the package's escape times, closed or integrated."""
    values = {"N": 200, "d": 60, "K": 9, "eps": 0.3, "m": 0.2, "M": 3.0}
    norm = mf.kernel(mf.beta(2, 2))(**values)
    theirs = mf.kernel(mf.escape_time(mf.vanilla(1, 0), 2, 2))
    for depth in (1, 3, 10, 64):
        for growth in (0.99, 1.0, 1.01):
            point = {
                N: values["N"],
                eps: values["eps"],
                m: values["m"],
                alpha: 0.5,
                beta: norm,
                omega_0: growth,
                L: depth,
            }
            expected = float(own.subs(point)) if growth**depth >= values["m"] else 0.0
            found = theirs(L=depth, sigma_w=(2 * growth) ** 0.5, **values)
            assert abs(found - expected) <= 1e-10 * expected, (depth, growth, found, expected)
    print("     the escape time is the package's for the vanilla network")
    edge = mf.kernel(mf.escape_time(mf.residual(1, 0), 2, 2))
    limit = 2 * (values["M"] ** 0.1 - 1)
    found = edge(L=10, sigma_w=[(0.999 * limit) ** 0.5, (1.001 * limit) ** 0.5], **values)
    assert found[0] == float("inf") and found[1] == 0
    print("     and so are the verdicts on the residual network")


def main() -> None:
    """Print the derivation and compare it with the package's claims."""
    print(__doc__.splitlines()[0])
    own = escape()
    shortcut()
    compare(own)
    print("\nverified")


if __name__ == "__main__":
    main()
