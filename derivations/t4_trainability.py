"""T4 step by step: the time for which a network stays (M, m)-trainable under adversarial training.

Run it to read it: ``python derivations/t4_trainability.py``. Every step is verified as it is taken, and the chain about
the escape time ends in exactly the expression that the package derives from the declared blocks.
"""

import sympy as sp

import advmf as mf
from advmf.functions import QExponential, QLogarithm
from advmf.observables import EscapeTime
from advmf.symbols import L, M, N, eps, m, p, q
from advmf.theory.norms import BETA as beta
from advmf.theory.proof import Derivation, Fact, Limit, algebra, by
from advmf.theory.propagation import ALPHA as alpha
from advmf.theory.propagation import OMEGA as omega
from advmf.theory.propagation import slopes as slopes_of

w, y, kappa = sp.symbols("w y kappa", positive=True)
outside = sp.Or(omega**L < m, omega**L > M)


def derive(net: mf.Net) -> Derivation:
    """The escape time of the vanilla or the residual network."""
    proof = Derivation("T4", f"trainability of the {net.name} network")
    u, v = slopes_of(net)
    slopes = proof.define(alpha, (u**2 + v**2) / 2, "mean square of the slopes")
    proof.define(beta, mf.beta(p, q), "norm factor (T2)")
    growing = proof.define(omega, mf.omega(net), "growth per block at t = 0 (T1)")
    proof.assume("gradients scale as omega^L, so a network is trainable while m <= omega(t)^L <= M")
    claim = mf.escape_time(net, p, q)
    if isinstance(net.block, mf.Residual):
        _residual(proof, net, claim, growing, slopes)
    else:
        _vanilla(proof, claim, slopes)
    return proof


def _vanilla(proof: Derivation, claim: mf.Claim, slopes: Fact) -> None:
    speed = proof.define(
        kappa, 2 * alpha * eps * beta * omega ** (L / 2 - 1) / N, "relative rate of sigma_w^2 at t = 0 (T3)"
    )
    proof.assume("T3: omega(t) = omega QExponential(-kappa t, L/2), which falls")
    time = -QLogarithm(m ** (1 / L) / omega, L / 2) / kappa
    proof.begin(omega * QExponential(-kappa * time, L / 2), "omega at the time t*")
    proof.step(m ** (1 / L), algebra, "the lower edge of the band")
    escape = proof.assume(
        "omega(t) falls and so leaves the band at its lower edge, at once if it starts outside; without blocks nothing moves",
        EscapeTime(), "==", sp.Piecewise((0, outside), (sp.oo, sp.Eq(L, 0)), (time, True)),
    )  # fmt: skip
    proof.begin(EscapeTime(), "the escape time")
    proof.step(escape.right, by(escape))
    proof.step(claim.formula, by(speed, slopes))
    assert proof.concludes(claim).right == claim.formula
    critical = -QLogarithm(m ** (1 / L), L / 2) / kappa
    proof.begin(L * critical.rewrite(sp.Pow), "deep networks that start at omega = 1, in units of 1/kappa: L t*")
    proof.step(2 * (1 / sp.sqrt(m) - 1) / kappa, Limit(L, sp.oo))


def _residual(proof: Derivation, net: mf.Net, claim: mf.Claim, growing: Fact, slopes: Fact) -> None:
    rate = proof.define(kappa, 2 * alpha * eps * beta / N, "scale of the rate (T3)")
    proof.assume("T3: d omega/dt = -kappa (omega-1) omega^(L/2-1), so that omega(t) falls and stays above 1")
    short = proof.define(w, 1 + y, "y = alpha sigma_w^2(t)")
    proof.begin(sp.Derivative(1 + y, y) * -kappa * y * (1 + y) ** (L / 2 - 1), "the rate of omega")
    proof.step(-kappa * (w - 1) * w ** (L / 2 - 1), by(short))
    time = sp.Integral(1 / (kappa * (w - 1) * w ** (L / 2 - 1)), (w, m ** (1 / L), omega))
    ((clock, elapsed), *_) = claim.where.items()
    log_time = proof.define(clock, elapsed, "ln of omega over its value at the edge, inside the band")
    own = claim.formula.args[-1].expr
    inside = (m ** (1 / L) > 1, omega**L >= m, omega**L <= M)
    proof.begin(time, "from omega down to m^(1/L), inside the band", where=inside)
    proof.step(own, by(log_time, rate, growing, slopes), "the package integrates along the flow of ln omega")
    passage = proof.result
    escape = proof.assume(
        "that time if m > 1, for ever if m <= 1 or without blocks, none if it starts outside",
        EscapeTime(), "==", sp.Piecewise((0, outside), (sp.oo, sp.Or(sp.Eq(L, 0), m ** (1 / L) <= 1)), (time, True)),
    )  # fmt: skip
    proof.begin(EscapeTime(), "the escape time")
    proof.step(escape.right, by(escape))
    proof.step(escape.right.subs(time, own), by(passage))
    assert proof.concludes(claim).right == claim.formula


def main() -> None:
    """Print and verify the derivations."""
    for net in (mf.vanilla(), mf.residual()):
        print(derive(net), end="\n\n")


if __name__ == "__main__":
    main()
