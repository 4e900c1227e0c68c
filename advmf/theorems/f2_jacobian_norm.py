"""F2: the spectral norm of the Jacobian, to first order in 1/N.

Source: derived here from the declared blocks, by :class:`advmf.theory.finite_width.Perturbations`.
"""

from __future__ import annotations

from dataclasses import replace

import sympy as sp

from advmf.boundary import public
from advmf.claim import RHS, Claim, Equation, Regime, Relation
from advmf.functions import SpectralNorm
from advmf.nets import Net, Residual
from advmf.observables import Expectation, OperatorNorm
from advmf.symbols import K, L, N, d
from advmf.theorems.f1_stream_fluctuation import SOURCE
from advmf.theorems.scripted import Scripted
from advmf.theorems.selection import GROWING, PAIRS, rows
from advmf.theorems.theorem import (
    EXACT,
    MASKLESS,
    PAPER_POINT,
    RANDOM_NETWORK,
    REPEATED,
    VECTORS,
    Caption,
    Scale,
    Theorem,
)
from advmf.theorems.wrong import widths
from advmf.theory.finite_width import C_DIAG, C_OFF, perturb, require_exact
from advmf.theory.propagation import OMEGA, omega


@public
def jacobian_norm(net: Net) -> Claim:
    """F2: E‖J(x)‖_{2 -> 2} to first order in 1/N, in the exact moments of the largest singular value s_1 of a Gaussian
    K x d matrix.

    J J^T has the eigenvalues of G^T (1 + E) G ω^L/d, where G is Gaussian and 1 + E the product of the factors of P_out
    and the L blocks. The second-order perturbation of the largest one, s_1²(1 + E_11 + sum_j s_j² E_1j²/(s_1² - s_j²)),
    and its square root have the mean

        E s_1 + (1/N) (1/2 (1 + L c_off) E[s_1 sum_j s_j²/(s_1² - s_j²)] - 1/8 (2 + L c_diag) E s_1);

    integrating by parts against the joint Wishart density, E[s_1 sum_j s_j²/(s_1² - s_j²)] = (E s_1³ - (K + d) E
    s_1)/2.

    The norm grows with L c_off T/2N, where T -> sqrt(K d) for large K, d. There the expansion requires L c_off sqrt(K
    d) << N. Beyond that, for large K and d with K << N, the edge of the free product of the factors is

        min over z > 0 of (1 + 1/z) (1 + z K/d) (1 + z K/N) (1 + z c_off K/N)**L

    for ‖J‖²/ω^L. Its first order is the expansion above, and as d -> oo it is (1 + sqrt((1 + L c_off) K/N))² to leading
    order.

    Raises DeclarationError for a net whose moment rules do not hold at every width, because its ω^L itself has an error
    of order 1/N.

    Source: derived here; see the module.

    >>> import advmf as mf
    >>> claim = mf.jacobian_norm(mf.vanilla(u=1, v=0))
    >>> [claim.where[c] for c in sorted(claim.where, key=str)]
    [5, 2, sigma_w**2/2]
    """
    require_exact(net)
    factor = perturb(net.block)
    if sp.simplify(factor.gain - omega(net)) != 0:
        raise ArithmeticError(f"{net.block!r}: the gain {factor.gain} of the Jacobian is not ω = {omega(net)}.")
    one, three = (SpectralNorm(K, d, r) for r in (1, 3))
    leading = OMEGA ** (L / 2) * one / sp.sqrt(d)
    mixing = (three / one - K - d) / 2
    half = sp.Rational(1, 2)
    coefficient = half * (1 + L * C_OFF) * mixing - (2 + L * C_DIAG) / 8
    lhs = Expectation(OperatorNorm(2, 2))
    claim = Claim(
        name="F2",
        lhs=lhs,
        relation=Relation.EQUAL,
        formula=leading * (1 + coefficient / N),
        where={OMEGA: omega(net), C_OFF: factor.off, C_DIAG: factor.diag},
        regime=Regime.LARGE_WIDTH,
        assumptions=(*RANDOM_NETWORK, "first order in 1/N, for L c_off sqrt(K d) much less than N"),
        source=SOURCE,
        net=net,
        p=sp.Integer(2),
        q=sp.Integer(2),
    )
    scale = replace(claim, formula=leading * sp.Abs(coefficient)).rhs
    # With a wrong limit, N times the difference would grow with N, so the coefficient tests the limit too.
    return replace(claim, equations=(Equation("E‖J‖, 1/N", lhs, RHS, scale=scale, order=1),))


F2 = Theorem(
    name="F2",
    title="finite width: E |J|_{2->2} to first order in 1/N",
    source=SOURCE,
    tests=lambda net, pairs: [jacobian_norm(net)],
    wrong=widths,
    needs=(REPEATED, VECTORS, MASKLESS, EXACT),
    scatters=lambda net: any(isinstance(leaf, Residual) for leaf in net.leaves),  # its coefficient of 1/N is less
    derive=Scripted("f_finite_width", "jacobian"),
    selected={"quick": rows((((GROWING, "relu"),), PAIRS))},
    scales={
        # What the fit to a + b/N + c/N² leaves of higher orders is 2 % of the coefficient here, by the edge of the free
        # product. So it is at the widths of "paper".
        "quick": Scale(
            L=1,
            d=256,
            K=16,
            widths=(440, 880, 1760, 3520),
            nets=(220, 1900, 3700, 120),
            effects={"effect_fourth": 0.3},
        ),
        # Three times as wide: 0.4 % is left, which a resolution of 5 % needs.
        "sharp": Scale(
            L=1,
            d=256,
            K=16,
            widths=(1320, 2640, 5280, 10_560),
            nets=(2000, 17_000, 33_000, 1100),
            effects={"effect_fourth": 0.05},
        ),
        "paper": Scale(
            **PAPER_POINT,
            widths=(8000, 16_000, 32_000, 64_000),
            nets=(400, 1900, 2400, 200),
            effects={"effect_fourth": 0.4},
        ),
        # c_off is less next to a shortcut, and so are the widths from which on the expansion holds.
        "paper scattered": Scale(
            **PAPER_POINT,
            widths=(3200, 6400, 12_800, 25_600),
            nets=(400, 1800, 2200, 200),
            effects={"effect_fourth": 0.4},
        ),
    },
    captions={"F2": Caption("coefficient of 1/N, simulated/predicted", r"Coefficient of $1/N$, simulated/predicted")},
)
