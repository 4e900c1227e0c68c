"""The arc-cosine kernels of ReLU-like activations.

Source: Y. Cho and L. Saul, Kernel Methods for Deep Learning, NeurIPS 2009.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import sympy as sp
from sympy.core.function import Function

from advmf import special
from advmf.functions.columns import register

SNAP = 1 + 2.0**-51
"""Correlations within rounding of 1 count as 1. For two equal inputs, one missing ulp would cost the slope eight
digits."""


class CosineKernel(Function):
    """Base of the kernels κ of a correlation."""

    degree: ClassVar[int]

    @property
    def correlation(self) -> sp.Expr:
        """The argument of κ."""
        return self.args[0]

    def _eval_is_real(self) -> bool:
        return True

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        return self.doit()._eval_evalf(prec)

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        text = rf"\kappa_{self.degree}\left({printer._print(self.correlation)}\right)"
        return text if exp is None else rf"{text}^{{{exp}}}"


class ArcCosine(CosineKernel):
    """The arc-cosine kernel of degree one, κ₁(c) = (√(1 - c²) + (π - arccos c) c)/π; E ReLU(z)ReLU(z') = κ₁(c)/2.

    Source: Y. Cho and L. Saul, Kernel Methods for Deep Learning, NeurIPS 2009.

    >>> from advmf.functions import ArcCosine
    >>> ArcCosine(1), ArcCosine(0), ArcCosine(-1)
    (1, 1/pi, 0)
    """

    degree = 1

    @classmethod
    def eval(cls, c: sp.Expr) -> sp.Expr | None:
        if c in (-1, 0, 1):
            return {-1: sp.S.Zero, 0: 1 / sp.pi, 1: sp.S.One}[int(c)]
        return None

    def doit(self, **hints: Any) -> sp.Expr:
        c = self.args[0].doit(**hints) if hints.get("deep", True) else self.args[0]
        return (sp.sqrt(1 - c**2) + (sp.pi - sp.acos(c)) * c) / sp.pi

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return ArcCosineSlope(self.args[0])


class ArcCosineSlope(CosineKernel):
    """The arc-cosine kernel of degree zero, κ₀(c) = κ₁'(c) = 1 - arccos(c)/π: the probability that units at correlation
    c are both on or off.

    >>> from advmf.functions import ArcCosineSlope
    >>> ArcCosineSlope(1), ArcCosineSlope(0), ArcCosineSlope(-1)
    (1, 1/2, 0)
    """

    degree = 0

    @classmethod
    def eval(cls, c: sp.Expr) -> sp.Expr | None:
        if c in (-1, 0, 1):
            return sp.Rational(1 + int(c), 2)
        return None

    def doit(self, **hints: Any) -> sp.Expr:
        c = self.args[0].doit(**hints) if hints.get("deep", True) else self.args[0]
        return 1 - sp.acos(c) / sp.pi

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return 1 / (sp.pi * sp.sqrt(1 - self.args[0] ** 2))


class ArcCosineRest(CosineKernel):
    """The difference of :class:`ArcCosine` and its tangent at c = 1: ``ArcCosineRest(a, b)`` = κ₁(c) - c, with 1 - c =
    a - b and a ≥ b ≥ 0.

    It equals κ₁(a - b - 1). Next to c = 1 it falls as (1 - c)^{3/2}, and 1 - c keeps digits that rounding takes from c.
    A difference a - b within rounding of b counts as 0.

    >>> from advmf.functions import ArcCosineRest
    >>> ArcCosineRest(0, 0), ArcCosineRest(1, 0), ArcCosineRest(2, 0)
    (0, 1/pi, 1)
    """

    degree = 1

    @classmethod
    def eval(cls, a: sp.Expr, b: sp.Expr) -> sp.Expr | None:
        return ArcCosine.eval(a - b - 1)

    def doit(self, **hints: Any) -> sp.Expr:
        a, b = (arg.doit(**hints) if hints.get("deep", True) else arg for arg in self.args)
        return ArcCosine(a - b - 1).doit()

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return (3 - 2 * argindex) * ArcCosineRestSlope(*self.args)

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        return _within(self, prec).doit()._eval_evalf(prec)

    @property
    def correlation(self) -> sp.Expr:
        return self.args[0] - self.args[1] - 1


class ArcCosineRestSlope(CosineKernel):
    """The slope of :class:`ArcCosineRest`, ``ArcCosineRestSlope(a, b)`` = arccos(1 - a + b)/π.

    It is the probability that a unit is on for one of two inputs and off for the other.

    >>> from advmf.functions import ArcCosineRestSlope
    >>> ArcCosineRestSlope(0, 0), ArcCosineRestSlope(1, 0), ArcCosineRestSlope(2, 0)
    (0, 1/2, 1)
    """

    degree = 0

    @classmethod
    def eval(cls, a: sp.Expr, b: sp.Expr) -> sp.Expr | None:
        return ArcCosineSlope.eval(a - b - 1)

    def doit(self, **hints: Any) -> sp.Expr:
        a, b = (arg.doit(**hints) if hints.get("deep", True) else arg for arg in self.args)
        return sp.acos(1 - a + b) / sp.pi

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        a, b = self.args
        return (3 - 2 * argindex) / (sp.pi * sp.sqrt((a - b) * (2 - a + b)))

    def _eval_evalf(self, prec: int) -> sp.Expr | None:
        return _within(self, prec).doit()._eval_evalf(prec)

    @property
    def correlation(self) -> sp.Expr:
        return self.args[0] - self.args[1] - 1


def _within(expr: sp.Expr, prec: int) -> sp.Expr:
    """A function of a - b, with a difference of numbers that rounding has put outside [0, 2] moved back to that
    interval."""
    a, b = (arg._eval_evalf(prec) for arg in expr.args)
    return expr.func(sp.Min(2, sp.Max(0, a - b)), 0) if a.is_Float or b.is_Float else expr


_WRITTEN = {"json": True, "notation": lambda e: e.doit(), "bracket": lambda e: e.correlation}

register(
    ArcCosine,
    # The slope is finite at c = 1, where the formula's slope would be a difference of infinities.
    scaled=lambda a, c: a.value(
        a.sloped(special.arc_cosine, lambda c, ops: (1 - ops.acos(ops.clip(c, -1.0, 1.0)) / math.pi,), a.linear(c))
    ),
    python=(
        "def arc_cosine(c):\n    c = min(1.0, max(-1.0, c * (1 + 2**-51)))\n"
        "    return (c*(math.pi - math.acos(c)) + math.sqrt(1 - c**2))/math.pi"
    ),
    **_WRITTEN,
)
register(
    ArcCosineSlope,
    numpy=lambda c: 1 - np.arccos(np.clip(c * SNAP, -1.0, 1.0)) / math.pi,
    torch=lambda c: 1 - (c * SNAP).clamp(-1.0, 1.0).acos() / math.pi,
    elementwise=True,
    python=(
        "def arc_cosine_slope(c):\n    c = min(1.0, max(-1.0, c * (1 + 2**-51)))\n    return -math.acos(c)/math.pi + 1"
    ),
    javascript="function arc_cosine_slope(c) { return 1 - acos(clip(c * (1 + 2 ** -51), -1, 1)) / PI; }",
    **_WRITTEN,
)


def _rest_slopes(a: Any, b: Any, ops: Any) -> tuple[Any, Any]:
    slope = special.arc_cosine_rest_slope(a, b, ops)
    return slope, -slope


register(
    ArcCosineRest,
    numpy=special.arc_cosine_rest,
    elementwise=True,
    scaled=lambda a, x, y: a.value(a.sloped(special.arc_cosine_rest, _rest_slopes, a.linear(x), a.linear(y))),
    python=special.arc_cosine_rest,
    **_WRITTEN,
)
register(
    ArcCosineRestSlope,
    numpy=special.arc_cosine_rest_slope,
    elementwise=True,
    scaled=lambda a, x, y: a.value(special.arc_cosine_rest_slope(a.linear(x), a.linear(y), a)),
    python=special.arc_cosine_rest_slope,
    **_WRITTEN,
)
