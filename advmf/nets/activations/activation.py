"""The base of activations. An activation must define phi(z); everything else has a default, overridden by closed
forms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import sympy as sp

from advmf.errors import ArgumentError, DeclarationError
from advmf.functions import NormalMean, PairMean, SpreadMean
from advmf.functions.curves import require_lipschitz, smooth
from advmf.nets.algebra import Algebra, S
from advmf.nets.block import Block
from advmf.symbols import z


@lru_cache(maxsize=256)
def _constant(slope: sp.Expr) -> bool:
    """Whether a slope is the same at every z. It is not where two of its numbers differ; else SymPy decides."""
    letters = {s: sp.Rational(9 + k, 7) for k, s in enumerate(sorted(slope.free_symbols - {z}, key=str))}
    one, other = (sp.N(slope.subs({**letters, z: at})) for at in (sp.Rational(1, 3), sp.Rational(-5, 7)))
    if one.is_Float and other.is_Float and abs(one - other) > 1e-6 * max(1, abs(one)):
        return False
    return not sp.simplify(slope).has(z)


class Pointwise(Block, ABC):
    """An activation: the same function phi of each coordinate of the stream, Lipschitz, and smooth apart from kinks.

    A user's activation defines :meth:`phi`. The theory uses means over a ~ N(0, Q) and over Gaussian pairs (a, b) of
    variances Q, R and covariance P. By default these are computed by quadrature, :class:`~advmf.functions.NormalMean`
    and :class:`~advmf.functions.PairMean`.

    >>> import sympy as sp
    >>> import advmf as mf
    >>> class Root(mf.Pointwise):
    ...     def phi(self, z): return sp.sqrt(1 + z**2)
    >>> mf.latex(mf.Net(mf.Serial(mf.Dense(), Root()))).partition(", ")[2][:25]
    '\\\\quad \\\\phi(z) = \\\\sqrt{1 +'
    >>> Root().second(sp.Integer(1))
    2
    """

    @abstractmethod
    def phi(self, z: sp.Expr) -> sp.Expr:
        """phi(z), a SymPy expression."""

    def apply(self, algebra: Algebra[S], state: S) -> S:
        return algebra.pointwise(self, state)

    def require(self) -> None:
        """Raise DeclarationError, with the reason, unless :meth:`phi` is Lipschitz and smooth apart from kinks. A
        network calls this when it is declared."""
        try:
            found = self.phi(z)
        except Exception as error:
            raise DeclarationError(f"phi(z) of {self!r} fails: {type(error).__name__}: {error}") from error
        if not isinstance(found, sp.Expr):
            raise DeclarationError(f"phi(z) of {self!r} must be a SymPy expression; got {found!r:.80}.")
        try:
            require_lipschitz(sp.Lambda(z, found))
        except ArgumentError as error:
            raise DeclarationError(
                f"An activation is a Lipschitz function of z, smooth but for kinks; {self!r} has {found!s:.80}: {error}"
            ) from None

    @property
    def linear(self) -> bool:
        """Whether phi(z) is a multiple of z."""
        return bool(self.phi(sp.S.Zero) == 0 and _constant(self.slope))

    @property
    def homogeneous(self) -> bool:
        """Whether phi(cz) = c phi(z) for c > 0: then moments scale with their input, and phi'(z)z = phi(z)."""
        return self.linear

    @property
    def slope(self) -> sp.Expr:
        """phi'(z)."""
        return sp.diff(self.phi(z), z)

    def mean(self, Q: sp.Expr) -> sp.Expr:
        """E phi(a)."""
        return self._mean(self.phi(z), Q)

    def second(self, Q: sp.Expr) -> sp.Expr:
        """E phi(a)²."""
        return self._mean(self.phi(z) ** 2, Q)

    def gain(self, Q: sp.Expr) -> sp.Expr:
        """E phi'(a)²: the growth of a tangent that is uncorrelated with the stream."""
        return self._mean(self.slope**2, Q)

    def tilt(self, Q: sp.Expr) -> sp.Expr:
        """E a phi'(a)."""
        return self._mean(z * self.slope, Q)

    def overlap(self, Q: sp.Expr) -> sp.Expr:
        """E a phi(a) phi'(a)."""
        return self._mean(z * self.phi(z) * self.slope, Q)

    def stretch(self, Q: sp.Expr) -> sp.Expr:
        """E a² phi'(a)²."""
        return self._mean(z**2 * self.slope**2, Q)

    def product(self, Q: sp.Expr, R: sp.Expr, P: sp.Expr) -> sp.Expr:
        """E phi(a) phi(b)."""
        phi = sp.Lambda(z, self.phi(z))
        return PairMean(phi, phi, Q, R, P)

    def close_product(self, Q: sp.Expr, R: sp.Expr, P: sp.Expr, D: sp.Expr, gap: sp.Expr) -> sp.Expr:
        """E phi(a) phi(b), where needed in terms of D = Q + R - 2P and the gap Q - R, which keep their digits where a
        and b are close."""
        return self.product(Q, R, P)

    def spread_product(self, Q: sp.Expr, R: sp.Expr, P: sp.Expr, D: sp.Expr, gap: sp.Expr) -> sp.Expr:
        """The same in terms of E (phi(a) - phi(b))² where phi is smooth, for differences of kernels. It keeps the
        digits of the difference from E phi(a)² and E phi(b)², and takes a quadrature."""
        phi = sp.Lambda(z, self.phi(z))
        if not smooth(phi):
            return self.close_product(Q, R, P, D, gap)
        return (self.second(Q) + self.second(R) - SpreadMean.of(phi, Q, R, D)) / 2

    def tensors(self, number: Callable[[sp.Expr], float]) -> Any:
        """The :class:`advmf.simulate.pointwise.Function` for a simulation; None to derive it from the formula.

        ``number`` gives the value of an expression.
        """
        return None

    @staticmethod
    def _mean(f: sp.Expr, Q: sp.Expr) -> sp.Expr:
        return NormalMean(sp.Lambda(z, f), Q)


class ClosedForm(Pointwise):
    """A smooth activation whose mean and pair kernel have closed forms; all other means follow by differentiation.

    By Price's theorem E phi'(a)phi'(b) is the derivative of E phi(a)phi(b) in P, and the means with a phi'(a) are
    derivatives in the deviation.
    """

    @abstractmethod
    def mean(self, Q: sp.Expr) -> sp.Expr: ...

    @abstractmethod
    def product(self, Q: sp.Expr, R: sp.Expr, P: sp.Expr) -> sp.Expr: ...

    def second(self, Q: sp.Expr) -> sp.Expr:
        return self.product(Q, Q, Q)

    def gain(self, Q: sp.Expr) -> sp.Expr:
        return _gain(self).subs(_Q, Q)

    def tilt(self, Q: sp.Expr) -> sp.Expr:
        return _tilt(self).subs(_Q, Q)

    def overlap(self, Q: sp.Expr) -> sp.Expr:
        return _overlap(self).subs(_Q, Q)

    def stretch(self, Q: sp.Expr) -> sp.Expr:
        return _stretch(self).subs(_Q, Q)


_Q, _R, _P = sp.symbols("Q R P", positive=True)


@lru_cache(maxsize=256)
def _gain(phi: ClosedForm) -> sp.Expr:
    return _collected(sp.diff(phi.product(_Q, _R, _P), _P).subs({_R: _Q, _P: _Q}))


@lru_cache(maxsize=256)
def _tilt(phi: ClosedForm) -> sp.Expr:
    return _collected(2 * _Q * sp.diff(phi.mean(_Q), _Q))


@lru_cache(maxsize=256)
def _overlap(phi: ClosedForm) -> sp.Expr:
    return _collected(_Q * sp.diff(phi.second(_Q), _Q))


@lru_cache(maxsize=256)
def _stretch(phi: ClosedForm) -> sp.Expr:
    # a = s z and b = t z' of correlation c: E (z phi'(a)) (z' phi'(b)) is the mixed derivative in s and t.
    s, t, c = sp.symbols("s t c", positive=True)
    mixed = s * t * sp.diff(phi.product(s**2, t**2, c * s * t), s, t)
    return _collected(mixed.subs({c: 1, t: s}).subs(s, sp.sqrt(_Q)))


def _collected(expr: sp.Expr) -> sp.Expr:
    """A sum over the functions in an expression, each with one fraction as its factor."""
    return sp.collect(sp.expand(sp.factor(expr)), [*expr.atoms(sp.Function), sp.pi], sp.factor)


def times_inputs(kernel: sp.Expr, Q: sp.Symbol, R: sp.Symbol, P: sp.Symbol) -> sp.Expr:
    """E a b f(a) g(b) from the kernel E f(a)g(b), an expression M in the variances Q, R and the covariance P: ``P M +
    2QP M_Q + (QR + P²) M_P + 2PR M_R``.

    Stein's identity is E a h(a, b) = Q E h_a + P E h_b. Once for a and once for b it gives P E fg + QP E f''g + (QR +
    P²) E f'g' + PR E fg''. By Price's theorem E f'g' = M_P, E f''g = 2 M_Q and E fg'' = 2 M_R.

    >>> import sympy as sp
    >>> from advmf.nets.activations.activation import times_inputs
    >>> Q, R, P = sp.symbols("Q R P")
    >>> times_inputs(P, Q, R, P)  # E a² b²
    2*P**2 + Q*R
    """
    by_q, by_r, by_p = (kernel.diff(moment) for moment in (Q, R, P))
    return P * kernel + 2 * Q * P * by_q + 2 * P * R * by_r + (Q * R + P**2) * by_p
