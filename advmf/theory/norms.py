"""The norm factor β_{p,q}: the expected lp -> lq norm of a K x d Gaussian matrix with entries of variance 1/d.

One general expression, Chevet's inequality, gives every (p, q); the routes differ in how they write E‖g_n‖_r.
"""

from __future__ import annotations

import sympy as sp

from advmf.errors import ArgumentError
from advmf.symbols import K, d, exponent
from advmf.theory.functions import Conjugate, GaussianNorm

ROUTES = ("chevet", "leading")
"""How E‖g_n‖_r is written: ``chevet`` exactly, ``leading`` by its leading term, an upper bound in elementary functions."""


def beta(p: object, q: object, route: str = "chevet") -> sp.Expr:
    """A rigorous upper bound on β_{p,q}, as an expression in ``d`` and ``K``.

    Chevet's inequality (S. Chevet, Sém. Maurey-Schwartz 1977-78; Y. Gordon, Israel J. Math. 50, 1985, with constant 1) for a
    standard Gaussian G and the unit balls of lp and of the dual of lq, whose Euclidean radii are d**max(0, 1/2 - 1/p) and
    K**max(0, 1/q - 1/2):

        E‖G‖_{p -> q} <= K**max(0, 1/q - 1/2) E‖g_d‖_{p*} + d**max(0, 1/2 - 1/p) E‖g_K‖_q,

    and β_{p,q} divides by sqrt(d). ``route="leading"`` bounds E‖g_n‖_r by its leading term at large n (Jensen's inequality for
    r < oo, sqrt(2 ln 2n) for r = oo) and gives the short table of closed forms.

    ``p`` and ``q`` are numbers in [1, oo], ``"inf"`` or ``"oo"``, or SymPy expressions. Raises DomainError for another value
    and ArgumentError for an unknown route.

    >>> import advmf as mf
    >>> mf.beta("inf", 2, route="leading")
    sqrt(K) + sqrt(2)*sqrt(d)/sqrt(pi)
    >>> mf.beta(2, 2).subs({mf.symbols.d: 784, mf.symbols.K: 10}).evalf(6)
    1.10984
    """
    p, q = exponent(p, "p"), exponent(q, "q")
    if route not in ROUTES:
        raise ArgumentError(f"route must be one of {', '.join(ROUTES)}; got {route!r}.")
    from_input, from_output = GaussianNorm(d, Conjugate(p)), GaussianNorm(K, q)
    if route == "leading":
        from_input, from_output = (_leading(norm) for norm in (from_input, from_output))
    half = sp.Rational(1, 2)
    return K ** sp.Max(0, 1 / q - half) * from_input / sp.sqrt(d) + d ** sp.Max(
        0, half - 1 / p
    ) * from_output / sp.sqrt(d)


def _leading(norm: sp.Expr) -> sp.Expr:
    return norm.bound() if isinstance(norm, GaussianNorm) else norm
