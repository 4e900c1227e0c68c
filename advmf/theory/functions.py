"""The special functions of the theory, as SymPy functions that stay exact until numbers are asked for.

Each knows its closed forms, its LaTeX and how to evaluate itself; :mod:`advmf.special` and ``advmf.emit`` hold the array versions.
"""

from __future__ import annotations

from typing import Any

import sympy as sp
from sympy.core.function import Function

from advmf import special


def _positive_number(expr: sp.Expr) -> bool:
    return bool(expr.is_number and expr.is_extended_positive)


class Conjugate(Function):
    """The Hölder conjugate r* with 1/r + 1/r* = 1; it is its own inverse.

    >>> import sympy as sp
    >>> from advmf.theory.functions import Conjugate
    >>> Conjugate(1), Conjugate(3), Conjugate(sp.oo)
    (oo, 3/2, 1)
    """

    @classmethod
    def eval(cls, r: sp.Expr) -> sp.Expr | None:
        if r == 1:
            return sp.oo
        if r is sp.oo:
            return sp.S.One
        if _positive_number(r):
            return r / (r - 1)
        if isinstance(r, Conjugate):
            return r.args[0]
        return None

    def _eval_is_extended_real(self) -> bool:
        return True  # not extended_positive: SymPy then takes Eq(r*, oo) for true

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return -1 / (self.args[0] - 1) ** 2

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        text = f"{printer._print(self.args[0])}^{{*}}"
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"


class GaussianNorm(Function):
    """E‖g‖_r for ``n`` independent standard Gaussians: ``GaussianNorm(n, r)``, r in [1, oo].

    ``n*sqrt(2/pi)`` at r = 1, ``sqrt(2)*gamma((n+1)/2)/gamma(n/2)`` at r = 2 (by ``doit``), and for every r > 1

        E‖g‖_r = 1/Gamma(1 - 1/r) * Integral_0^oo 1 - F_r(z)**n dz,   F_r(z) = E erf(z*X**(1/r)/sqrt(2)),  X ~ Exp(1),

    which at r = oo is the mean of the largest of n half-normals. (Write S**a = a/Gamma(1-a) * Integral (1 - exp(-s*S)) s**(-a-1) ds
    with a = 1/r, S = sum |g_i|**r; then s = z**-r, and exp(-s*|g|**r) = P(X > s*|g|**r).) ``evalf`` is good to double precision.

    >>> from advmf.theory.functions import GaussianNorm
    >>> GaussianNorm(5, 1), GaussianNorm(3, 2).doit()
    (5*sqrt(2)/sqrt(pi), 2*sqrt(2)/sqrt(pi))
    """

    @classmethod
    def eval(cls, n: sp.Expr, r: sp.Expr) -> sp.Expr | None:
        if r == 1 or n == 1:
            return n * sp.sqrt(2 / sp.pi)
        return None

    def doit(self, **hints: Any) -> sp.Expr:
        n, r = (arg.doit(**hints) if hints.get("deep", True) else arg for arg in self.args)
        if r == 2:
            return sp.sqrt(2) * sp.gamma((n + 1) / 2) / sp.gamma(n / 2)
        return self.func(n, r)

    def bound(self) -> sp.Expr:
        """The leading term, which is an upper bound: Jensen for r < oo, sqrt(2 ln 2n) for r = oo."""
        n, r = self.args
        at_infinity = sp.sqrt(2 * sp.log(2 * n))
        if r is sp.oo:
            return at_infinity
        finite = n ** (1 / r) * sp.sqrt(2) * (sp.gamma((r + 1) / 2) / sp.sqrt(sp.pi)) ** (1 / r)
        return finite if r.is_number else sp.Piecewise((at_infinity, sp.Eq(r, sp.oo)), (finite, True))

    def _eval_is_extended_positive(self) -> bool:
        return True

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        n, r = self.args
        if not (_positive_number(n) and _positive_number(r)):
            return None
        if r == 2:
            return self.doit()._eval_evalf(prec)
        return sp.Float(float(special.gaussian_norm(float(n), float(r))), precision=prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        n, r = map(printer._print, self.args)
        text = rf"\mathbb{{E}}\lVert g_{{{n}}}\rVert_{{{r}}}"
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"


class SpectralNorm(Function):
    """E s_1**r for the largest singular value of a ``K x d`` standard Gaussian matrix: ``SpectralNorm(K, d, r)``, r > 0.

    Symmetric in K and d; a matrix of one row has chi moments. ``evalf`` gives what :func:`advmf.special.spectral_norm` does, for
    whole K and d.

    >>> from advmf.theory.functions import SpectralNorm
    >>> SpectralNorm(3, 1, 1), SpectralNorm(7, 2, 1)
    (2*sqrt(2)/sqrt(pi), SpectralNorm(2, 7, 1))
    """

    @classmethod
    def eval(cls, K: sp.Expr, d: sp.Expr, r: sp.Expr) -> sp.Expr | None:
        if K == 1 or d == 1:
            n = K * d
            return 2 ** (r / 2) * sp.gamma((n + r) / 2) / sp.gamma(n / 2)
        ordered = sorted((K, d), key=sp.default_sort_key)
        return None if ordered == [K, d] else cls(*ordered, r)

    def _eval_is_extended_positive(self) -> bool:
        return True

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        if not all(map(_positive_number, self.args)):
            return None
        return sp.Float(float(special.spectral_norm(*map(float, self.args))), precision=prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        K, d, r = map(printer._print, self.args)
        power = "" if self.args[2] == 1 else f"^{{{r}}}"
        text = rf"\mathbb{{E}}\lVert G_{{{K} \times {d}}}\rVert_{{2 \to 2}}{power}"
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"


class ExtremeNorm(Function):
    """E max_{j<=n} ‖g_m^{(j)}‖_r over ``n`` independent standard Gaussian vectors of length ``m``: ``ExtremeNorm(n, m, r)``, r in [1, oo].

    ``evalf`` gives what :func:`advmf.special.extreme_norm` does, for whole m.

    >>> import sympy as sp
    >>> from advmf.theory.functions import ExtremeNorm
    >>> ExtremeNorm(1, 7, 3), ExtremeNorm(5, 7, sp.oo), ExtremeNorm(5, 1, 3)
    (GaussianNorm(7, 3), GaussianNorm(35, oo), GaussianNorm(5, oo))
    """

    @classmethod
    def eval(cls, n: sp.Expr, m: sp.Expr, r: sp.Expr) -> sp.Expr | None:
        if n == 1:
            return GaussianNorm(m, r)
        return GaussianNorm(n * m, sp.oo) if r is sp.oo or m == 1 else None

    def _eval_is_extended_positive(self) -> bool:
        return True

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        if not all(map(_positive_number, self.args)):
            return None
        return sp.Float(float(special.extreme_norm(*map(float, self.args))), precision=prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        n, m, r = map(printer._print, self.args)
        text = rf"\mathbb{{E}}\max_{{j\le {n}}}\lVert g_{{{m}}}^{{(j)}}\rVert_{{{r}}}"
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"


class ExtremeNormQuantile(Function):
    """The number that max_{j<=n} ‖g_m^{(j)}‖_r exceeds with probability ``delta``: ``ExtremeNormQuantile(n, m, r, delta)``.

    ``evalf`` gives what :func:`advmf.special.extreme_norm_quantile` does.

    >>> from advmf.theory.functions import ExtremeNormQuantile
    >>> ExtremeNormQuantile(1, 2, 2, 0.5).evalf(7)  # sqrt(2 ln 2)
    1.177410
    """

    @classmethod
    def eval(cls, n: sp.Expr, m: sp.Expr, r: sp.Expr, delta: sp.Expr) -> sp.Expr | None:
        return None

    def _eval_is_extended_positive(self) -> bool:
        return True

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        if not all(map(_positive_number, self.args)):
            return None
        return sp.Float(float(special.extreme_norm_quantile(*map(float, self.args))), precision=prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        n, m, r, delta = map(printer._print, self.args)
        text = rf"Q_{{1-{delta}}}\left(\max_{{j\le {n}}}\lVert g_{{{m}}}^{{(j)}}\rVert_{{{r}}}\right)"
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"


class GeometricSum(Function):
    """``1 + z + ... + z**(n-1)`` for real ``n >= 0``: ``(z**n - 1)/(z - 1)``, and ``n`` at ``z = 1``.

    >>> from advmf.theory.functions import GeometricSum
    >>> GeometricSum(2, 5), GeometricSum(1, 7)
    (31, 7)
    """

    @classmethod
    def eval(cls, z: sp.Expr, n: sp.Expr) -> sp.Expr | None:
        if z == 1:
            return n
        if n == 0 or (z == 0 and n.is_positive):
            return sp.S.Zero if n == 0 else sp.S.One
        if z.is_number and n.is_Integer and n < 1000:
            return (z**n - 1) / (z - 1)
        return None

    def _eval_is_extended_nonnegative(self) -> bool | None:
        return True if all(arg.is_nonnegative for arg in self.args) else None

    def _eval_rewrite_as_Pow(self, z: sp.Expr, n: sp.Expr, **hints: Any) -> sp.Expr:
        """The quotient ``(z**n - 1)/(z - 1)``, valid for z != 1."""
        return (z**n - 1) / (z - 1)

    def doit(self, **hints: Any) -> sp.Expr:
        z, n = (arg.doit(**hints) if hints.get("deep", True) else arg for arg in self.args)
        if n.is_Integer and 0 <= n <= 64:
            return sp.Add(*(z**k for k in range(int(n))))
        return sp.Piecewise((n, sp.Eq(z, 1)), ((z**n - 1) / (z - 1), True))

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        z, n = self.args
        if argindex == 2:
            return z**n * sp.log(z) / (z - 1)
        return sp.Piecewise((n * (n - 1) / 2, sp.Eq(z, 1)), ((n * z ** (n - 1) - self) / (z - 1), True))

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        z, n = (arg._eval_evalf(prec) for arg in self.args)
        if z is None or n is None or not (z.is_number and n.is_number):
            return None
        return n if z == 1 else ((z**n - 1) / (z - 1))._eval_evalf(prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        z, n = self.args
        base = printer.parenthesize(z, sp.printing.precedence.PRECEDENCE["Pow"])
        text = rf"\sum_{{k=1}}^{{{printer._print(n)}}} {base}^{{k-1}}"
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"


class ArcCosine(Function):
    """The arc-cosine kernel of degree one, κ₁(c) = (√(1 - c²) + (π - arccos c) c)/π; E ReLU(z)ReLU(z') = κ₁(c)/2.

    Source: Y. Cho and L. Saul, Kernel Methods for Deep Learning, NeurIPS 2009.

    >>> from advmf.theory.functions import ArcCosine
    >>> ArcCosine(1), ArcCosine(0), ArcCosine(-1)
    (1, 1/pi, 0)
    """

    @classmethod
    def eval(cls, c: sp.Expr) -> sp.Expr | None:
        if c in (-1, 0, 1):
            return {-1: sp.S.Zero, 0: 1 / sp.pi, 1: sp.S.One}[int(c)]
        return None

    def doit(self, **hints: Any) -> sp.Expr:
        c = self.args[0].doit(**hints) if hints.get("deep", True) else self.args[0]
        return (sp.sqrt(1 - c**2) + (sp.pi - sp.acos(c)) * c) / sp.pi

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return 1 - sp.acos(self.args[0]) / sp.pi

    def _eval_is_real(self) -> bool:
        return True

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        return self.doit()._eval_evalf(prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        text = rf"\kappa_1\left({printer._print(self.args[0])}\right)"
        return text if exp is None else rf"{text}^{{{exp}}}"


class Recursion(Function):
    """One component of a state after ``L`` steps: ``Recursion(L, variables, updates, start, variable)``.

    ``variables`` are the symbols of the state, ``updates`` their next values in terms of them, ``start`` their values at
    depth 0. It is exact: it stands where the recursion has no elementary solution in symbolic ``L``.

    >>> import sympy as sp
    >>> from advmf.theory.functions import Recursion
    >>> F, G, L = sp.symbols("F G L")
    >>> fibonacci = Recursion(L, (F, G), (G, F + G), (0, 1), F)
    >>> fibonacci.subs(L, 10)
    55
    """

    @classmethod
    def eval(
        cls, depth: sp.Expr, variables: sp.Tuple, updates: sp.Tuple, start: sp.Tuple, variable: sp.Symbol
    ) -> sp.Expr | None:
        if not (depth.is_Integer and depth.is_nonnegative):
            return None
        state = list(start)
        for _ in range(int(depth)):
            if not all(value.is_Rational for value in state):
                return None
            now = dict(zip(variables, state))
            state = [update.xreplace(now) for update in updates]
        value = state[list(variables).index(variable)]
        return value if depth == 0 or value.is_Rational else None

    @property
    def free_symbols(self) -> set[sp.Basic]:
        depth, variables, updates, start, _ = self.args
        return (updates.free_symbols - set(variables)) | start.free_symbols | depth.free_symbols

    @property
    def bound_symbols(self) -> list[sp.Symbol]:
        return list(self.args[1])

    def _eval_subs(self, old: sp.Basic, new: sp.Basic) -> sp.Basic | None:
        depth, variables, updates, start, variable = self.args
        if old in set(variables):
            return self
        return self.func(depth._subs(old, new), variables, updates._subs(old, new), start._subs(old, new), variable)

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        depth, variables, updates, start, variable = self.args
        if self.free_symbols or not depth.is_Integer:
            return None
        digits = max(15, int(prec / 3.3) + 5)
        state = [value.evalf(digits) for value in start]
        for _ in range(int(depth)):
            now = dict(zip(variables, state))
            state = [update.xreplace(now).evalf(digits) for update in updates]
        return state[list(variables).index(variable)]

    def _eval_is_real(self) -> bool:
        return True

    def _eval_is_extended_nonnegative(self) -> bool | None:
        return self.args[4].is_nonnegative

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        depth, _, _, _, variable = self.args
        text = rf"{printer._print(variable)}_{{{printer._print(depth)}}}"
        return text if exp is None else rf"{{{text}}}^{{{exp}}}"
