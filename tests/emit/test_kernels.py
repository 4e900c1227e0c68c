"""Kernels against SymPy's own evaluation in 50 digits, finite differences and plain loops."""

from __future__ import annotations

import copy
import inspect
import math
import pickle
import subprocess
import sys
import time
from dataclasses import FrozenInstanceError, dataclass
from typing import ClassVar

import mpmath
import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import advmf as mf
from advmf.emit import kernels
from advmf.emit.kernels import Kernel, kernel, register
from advmf.errors import ArgumentError, DomainError, UnsupportedFunctionError
from advmf.functions import ArcCosine, Conjugate, GaussianNorm, GeometricSum, Recursion
from advmf.functions.columns import COLUMNS
from advmf.special import gaussian_norm
from advmf.symbols import SYMBOLS, K, L, M, N, c, d, eps, m, p, q, sigma_b, sigma_w, t, u, v, x_sq, y_sq

x, y, z = sp.symbols("x y z", real=True)
s = sp.Symbol("s", positive=True)
F, G = sp.symbols("F G", real=True)
alpha = (u**2 + v**2) / 2
omega = 1 + alpha * sigma_w**2
variance = omega**L * x_sq + sigma_b**2 / 2 * GeometricSum(omega, L)
half = sigma_w**2 * F + sigma_b**2
mean_step = (u - v) * sp.sqrt(half / (2 * sp.pi))
plain = Recursion(L, (F, G), (F + alpha * half + 2 * G * mean_step, G + mean_step), (x_sq, 0), F)

BACKENDS = ("numpy", "torch")
SHALLOW, DEEP = 1e-12, 1e-10
RANGES = {
    "L": (0, 60), "N": (1, 1e5), "d": (1, 5000), "K": (1, 300), "sigma_w": (0.05, 3), "sigma_b": (0, 2), "u": (-2, 2),
    "v": (-2, 2), "eps": (1e-4, 1), "p": (1, 20), "q": (1, 20), "t": (0, 50), "M": (1, 10), "m": (0.01, 1),
    "x_sq": (0.01, 4), "y_sq": (0.01, 4), "c": (-1, 1), "x": (-3, 3), "y": (-3, 3), "z": (-3, 3), "s": (0.01, 9),
}  # fmt: skip


def exact(expr, **values):
    """The expression in 50 digits at the very floats given; zero if it is as small as rounding, however many digits the
    floats have. Rationals would not do: SymPy writes 12**(m/n) as 2**(2 m/n) 3**(m/n), by integers that no memory
    holds."""
    found, finer = (
        expr.subs(
            {a: sp.Float(values[a.name], digits) if abs(values[a.name]) < math.inf else sp.oo for a in letters(expr)}
        ).evalf(digits - 10)
        for digits in (60, 300)
    )
    return sp.S.Zero if found.is_real and finer.is_real and abs(finer) < 1e-200 * abs(found) else found


def letters(expr):
    """The symbols of an expression, in an order that is the same in every process."""
    return sorted(expr.free_symbols, key=str)


def error(got, reference):
    """The relative error of a float against SymPy's number; the absolute one at zero."""
    reference = mpmath.mpf(reference._to_mpmath(200))
    return float(abs(mpmath.mpf(float(got)) - reference) / (abs(reference) or 1))


def agree(expr, tolerance, **values):
    values = {symbol.name: values[symbol.name] for symbol in letters(expr)}
    for backend in BACKENDS:
        f = kernel(expr, backend)
        reference = exact(expr, **values)
        with mpmath.workdps(50):
            assert error(f(**values), reference) < tolerance, (backend, values)
            log = sp.log(sp.Abs(reference)).evalf(50)
            if reference != 0:
                assert abs(float(f.log(**values)) - float(log)) < tolerance * max(1, abs(float(log))), (backend, values)


def at_random(expr):
    """A strategy of arguments for an expression."""
    return st.fixed_dictionaries({a.name: st.floats(*RANGES[a.name]).map(lambda r: round(r, 6)) for a in letters(expr)})


FORMULAS = {
    "bound": eps * (sp.sqrt(2 * d / sp.pi) + sp.sqrt(K)) * omega ** (L / 2),
    "variance": variance,
    "norm": sp.sqrt(variance),
    "ratio": variance / omega**L,
    "vanilla": (alpha * sigma_w**2 + sp.Rational(1, 10)) ** L * x_sq + GeometricSum(alpha * sigma_w**2, L + 1),
    "capacity": K * x_sq * L * (omega - 1) * omega ** (L - 2) * (1 + L * (omega - 1)),
    "time": N * (m ** (-(L - 1) / (2 * L + 1)) - 1) / ((L + 1) * 2 * alpha * eps + 1),
    "decay": (1 + (L + 1) * 2 * eps * t / N) ** (-2 / (L + 3)),
    "correlation": (sp.sqrt(1 - c**2) + (sp.pi - sp.acos(c)) * c) / sp.pi * (u - v) ** 2 / 2 + u * v * c,
    "arc-cosine": ArcCosine(c) + x * ArcCosine(c / 3) ** 2,
    "exponents": d ** (1 / p) * K ** (1 - 1 / q) + d ** (1 / Conjugate(p)),
    "chevet": K ** sp.Max(0, 1 / q - sp.Rational(1, 2)) * d ** sp.Min(0, sp.Rational(1, 2) - 1 / p),
    "chi": sp.sqrt(2) * sp.gamma((d + 1) / 2) / sp.gamma(d / 2),
    "moment": (sp.gamma((s + 1) / 2) / sp.sqrt(sp.pi)) ** (1 / s),
    "logs": sp.log(1 + s) + sp.log(d) * sp.log(2 * K) + sp.log(1 + sp.exp(x)),
    "trigonometry": sp.sin(x) * sp.cos(y) + sp.atan(x * y) + sp.asin(c) + sp.tan(c) + sp.atan2(x, s),
    "hyperbolic": sp.sinh(x) + sp.cosh(y) * sp.tanh(x * y) + sp.asinh(x) + sp.acosh(1 + s) + sp.atanh(c / 2),
    "error functions": sp.erf(x) + sp.erfc(y) + sp.erfinv(c / 2),
    "gammas": sp.loggamma(s) + sp.digamma(s) + sp.polygamma(1, s) + sp.gamma(s + 1) + sp.factorial(K) / sp.gamma(K),
    "steps": sp.Abs(x) * sp.sign(y) + sp.floor(x + y) + sp.ceiling(y),
    "powers": x**2 + (x * y) ** 3 / (1 + z**2) + s ** sp.Rational(2, 3) + 1 / s + sp.Integer(2) ** (-x) + s**y,
    "pieces": sp.Piecewise((1 / x, x > sp.S.Half), (sp.log(1 - x), (x < 0) & (y >= 0)), (x**2, sp.Ne(x, 1))),
    "conditions": sp.Piecewise((x, (x <= y) | sp.Not(sp.Eq(z, 0) | (s < 2))), (y, True)),
    "difference": omega**L - (1 + alpha * sigma_w**2 / 2) ** L,
}  # fmt: skip


def test_a_sum_that_cancels_is_zero():
    """At c = -1; the control is the same sum by numbers of 60 digits."""
    expr, at = FORMULAS["correlation"], {"c": -1.0, "u": 1.0, "v": 0.0}
    assert exact(expr, **at) == 0
    numbers = {symbol: sp.Float(at[symbol.name], 60) for symbol in letters(expr)}
    assert 0 < abs(expr.subs(numbers).evalf(50)) < 1e-50


def test_numbers_of_any_size_take_no_time():
    """Of fractions that equal these floats, SymPy would compute 3**(2**45), for hours, and nothing else meanwhile."""
    expr = (12 * s / (1 + x**2)) ** -y
    found = exact(expr, s=1.0987654321, x=-1.7, y=97.123456789)
    with mpmath.workdps(70):
        base = 12 * mpmath.mpf(1.0987654321) / (1 + mpmath.mpf(-1.7) ** 2)
        assert (
            0 < found < 1e-50 and abs(mpmath.mpf(found._to_mpmath(200)) / base ** -mpmath.mpf(97.123456789) - 1) < 1e-48
        )


@pytest.mark.parametrize("name", FORMULAS)
def test_formula_against_sympy(name):
    expr = FORMULAS[name]

    @given(at_random(expr))
    @settings(max_examples=6, deadline=None, derandomize=True)
    def check(values):
        if name == "conditions" and abs(values["x"] - values["y"]) < 1e-9:
            return
        reference = exact(expr, **values)
        if not reference.is_real:
            return
        scale = max(
            1, float(sum(abs(exact(term, **values)) for term in sp.Add.make_args(expr))) / float(abs(reference) or 1)
        )
        for backend in BACKENDS:
            assert error(kernel(expr, backend)(**values), reference) < SHALLOW * scale, (backend, values)

    check()


def test_the_oracle_tells_formulas_apart():
    values = {"L": 7, "sigma_w": 1.1, "u": 1.0, "v": 0.2, "x_sq": 1.0, "sigma_b": 0.3}
    wrong = variance + x_sq * sp.Rational(1, 10**9)
    assert error(kernel(wrong)(**values), exact(variance, **values)) > SHALLOW


class TestDepth:
    """L = 100 000: the right number wherever it is representable."""

    deep: ClassVar = {"sigma_w": 1.3, "u": 1.0, "v": -0.5, "L": 100_000, "x_sq": 1.5, "sigma_b": 2.0}

    @pytest.mark.parametrize(
        ("expr", "values"),
        [
            (eps * omega ** (L / 2), {"eps": 1e-300, "sigma_w": 0.1662, "u": 1.0, "v": 0.0, "L": 100_000}),
            (eps * s**L / s ** (L - 3), {"eps": 0.25, "s": 7.5, "L": 100_000}),
            (sp.exp(x) * sp.exp(-y), {"x": 40_000.0, "y": 40_001.5}),
            (
                omega ** (L / 2) * sp.Symbol("s", positive=True) ** (-L),
                {"sigma_w": 1.0, "u": 1.0, "v": 1.0, "s": 1.4142, "L": 100_000},
            ),
            (sp.sqrt(variance) / omega ** (L / 2), deep),
            (variance / (omega**L + GeometricSum(omega, L)), deep),
            (sp.sqrt(variance) - sp.sqrt(omega**L * x_sq), deep | {"sigma_w": 1e-3}),
            (sp.log(variance), deep),
            (GeometricSum(omega**L, 3) / omega ** (2 * L), deep),
            (sp.Max(omega**L, 2 * omega ** (L + 1)) / omega**L, deep),
            (sp.Piecewise((omega**L, omega ** (2 * L) > omega**L), (0, True)) / omega ** (L - 1), deep),
            (sp.gamma((d + 1) / 2) / sp.gamma(d / 2), {"d": 1e6}),
            (sp.gamma(d) / sp.gamma(d - 1) * K, {"d": 1e6, "K": 3}),
            (sp.log(sp.gamma(d)), {"d": 1e6}),
            (omega**100_000 * eps, {"eps": 1e-300, "sigma_w": 0.1662, "u": 1.0, "v": 0.0}),
            (sp.Integer(10) ** 400 * x / sp.Integer(10) ** 399 + sp.Rational(1, 10**400), {"x": 3.0}),
            (sp.Integer(10) ** 400 * 10 ** (-40 * L), {"L": 10}),
        ],
    )
    def test_against_fifty_digits(self, expr, values):
        agree(expr, DEEP, **values)

    @pytest.mark.parametrize(
        "base", [1 - 1e-4, 1 - 1e-9, 1.0, 1 + 1e-15, 1 + 1e-9, 1 + 1e-6, 1.006, 0.3, 0.500001, 0.0]
    )
    @pytest.mark.parametrize("steps", [0, 1, 2, 17.5, 1000, 100_000])
    def test_geometric_sum(self, base, steps):
        if base == 1 or (base, steps) == (0, 0):
            for backend in BACKENDS:
                assert kernel(GeometricSum(x, L), backend)(x=base, L=steps) == steps
        else:
            agree(GeometricSum(x, L), DEEP, x=base, L=steps)

    def test_small_growth_keeps_its_digits(self):
        values = {"sigma_w": 1e-9, "u": 1.0, "v": 0.0, "L": 100_000}
        agree(sp.log(omega), 1e-15, **values)
        agree(omega**L - 1, SHALLOW, **values)
        agree(1 - omega ** (-L / 2), SHALLOW, **values)
        agree(2 * (sp.sqrt(omega) - 1) / (1 - sp.exp(-alpha * sigma_w**2)), SHALLOW, **values)
        for base in (0.0, 1e-300, 0.5, 1.0, 2.0, 1e300):
            assert kernel(x**y - 1)(x=base, y=2.5) == pytest.approx(
                base**2.5 - 1 if base < 1e300 else math.inf, rel=1e-12
            )
        assert [kernel(x**y - 1)(x=-2.0, y=e) for e in (2.0, 3.0, 0.0)] == pytest.approx([3, -9, 0])
        log = kernel(omega**L).log(**(values | {"sigma_w": 1e-4}))
        assert math.isclose(log, 100_000 * math.log1p(5e-9), rel_tol=1e-12)

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_overflow_is_inf_and_its_logarithm_finite(self, backend):
        f = kernel(variance, backend)
        assert float(f(**self.deep)) == math.inf
        log = float(f.log(**self.deep))
        assert abs(log - float(sp.log(exact(variance, **self.deep)))) < DEEP * log
        assert float(kernel(1 / variance, backend)(**self.deep)) == 0
        assert abs(float(kernel(1 / variance, backend).log(**self.deep)) + log) < DEEP * log

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_shallow_logarithms_do_not_underflow(self, backend):
        assert math.isclose(float(kernel(eps**3, backend).log(eps=1e-200)), 3 * math.log(1e-200), rel_tol=1e-14)
        assert float(kernel(x * y, backend).log(x=0.0, y=-3.0)) == -math.inf
        assert math.isclose(float(kernel(x * y, backend).log(x=2.0, y=-3.0)), math.log(6), rel_tol=1e-14)

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_zeros(self, backend):
        f = kernel(variance, backend)
        at = {"L": 100_000, "sigma_w": 0.01, "u": 1.0, "v": 0.0, "x_sq": 1.0}
        expected = float(exact(omega**L, **at))
        assert math.isclose(float(f(sigma_b=0, **at)), expected, rel_tol=DEEP)
        assert float(f(sigma_b=0.5, **(at | {"u": 0}))) == 1 + 0.125 * 100_000
        assert float(f(sigma_b=0.5, **(at | {"L": 0}))) == 1
        assert float(kernel(1 + v**2 * sp.exp(x), backend)(v=0, x=5000.0)) == 1
        assert float(kernel((alpha * sigma_w**2) ** L, backend)(L=[0, 3], u=0, v=0, sigma_w=1.0)[0]) == 1
        assert float(kernel((alpha * sigma_w**2) ** L, backend)(L=[0, 3], u=0, v=0, sigma_w=1.0)[1]) == 0

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_signs(self, backend):
        assert math.isclose(float(kernel(u * v * 2**L, backend)(u=-1, v=3, L=3)), -24, rel_tol=1e-15)
        assert math.isclose(float(kernel(x**y, backend)(x=-2.0, y=3.0)), -8, rel_tol=1e-15)
        assert math.isclose(float(kernel(x**y, backend)(x=-2.0, y=-2.0)), 0.25, rel_tol=1e-15)
        assert math.isnan(float(kernel(x**y, backend)(x=-2.0, y=0.5)))
        assert [float(kernel(x**y, backend)(x=0.0, y=e)) for e in (0, 1, 2.5, -1)] == [1, 0, 0, math.inf]
        agree(sp.gamma(x), SHALLOW, x=-1.5)
        agree(sp.gamma(x), SHALLOW, x=-0.5)
        agree(GeometricSum(x, y), SHALLOW, x=-2.0, y=5.0)


class TestInfinity:
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_exponents(self, backend):
        f = kernel(d ** (1 / p) * K ** (1 / Conjugate(p)) + sp.Piecewise((1, sp.Eq(p, sp.oo)), (2, True)), backend)
        for infinity in ("inf", "oo", math.inf, sp.oo, np.array(math.inf)):
            assert math.isclose(float(f(d=3, K=5, p=infinity)), 6, rel_tol=1e-15)
            assert math.isclose(float(f.log(d=3, K=5, p=infinity)), math.log(6), rel_tol=1e-15)
        assert np.allclose(np.asarray(f(d=3, K=5, p=[1, 2, math.inf])), [5, 2 + 15**0.5, 6], rtol=1e-15)

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_conjugate(self, backend):
        f = kernel(Conjugate(p), backend)
        assert np.asarray(f(p=[1, 1 + 2**-30, 1.5, 2, 3, math.inf])).tolist() == [math.inf, 2**30 + 1, 3, 2, 1.5, 1]

    def test_gaussian_norm(self):
        values = np.array([1, 1.5, 2, 4, math.inf])
        expected = gaussian_norm(10, 1 / (1 - 1 / np.array([4, 3, 2, 4 / 3]))).tolist()
        assert np.allclose(kernel(GaussianNorm(K, Conjugate(p)))(K=10, p=[4, 3, 2, 4 / 3]), expected, rtol=1e-13)
        assert np.allclose(kernel(GaussianNorm(K, q))(K=10, q=values), gaussian_norm(10, values), rtol=1e-15)
        got = kernel(GaussianNorm(K, Conjugate(p)))(K=10, p=values[[0, 2, 4]])
        assert np.allclose(got, gaussian_norm(10, values[[4, 2, 0]]), rtol=1e-15)
        tensor = kernel(GaussianNorm(K, q), "torch")(K=10, q=torch.tensor(values))
        assert np.allclose(tensor.numpy(), gaussian_norm(10, values), rtol=1e-15)

    def test_bound_with_branches(self):
        f = kernel(GaussianNorm(K, q).bound())
        assert np.allclose(f(K=10, q=[2, math.inf]), [10**0.5, math.sqrt(2 * math.log(20))], rtol=1e-14)


class TestCalling:
    def test_order_repr_and_signature(self):
        f = kernel(y * x * eps * omega**L)
        assert f.arguments == ("L", "sigma_w", "u", "v", "eps", "x", "y")
        assert repr(kernel(eps * L)) == "<numpy kernel f(L, eps) = L*eps>"
        assert list(inspect.signature(f).parameters) == list(f.arguments)
        assert "expr" in inspect.signature(type(f)).parameters, "the class has the signature of its constructor"
        assert "depth: number of blocks" in f.__doc__
        assert len(repr(kernel(sum(sp.symbols("a:90"))))) < 900

    def test_value_object(self):
        f = kernel(eps * L)
        assert f == kernel(eps * L)
        assert f != kernel(eps * L, "torch")
        assert hash(f) == hash(kernel(eps * L))
        with pytest.raises(FrozenInstanceError):
            f.expr = eps
        for twin in (copy.deepcopy(f), pickle.loads(pickle.dumps(f))):
            assert twin == f
            assert twin(L=3, eps=0.5) == 1.5

    def test_claims_strings_and_numbers(self):
        @dataclass
        class Statement:
            rhs: sp.Expr

        assert kernel(Statement(eps * L)) == kernel(eps * L)
        assert kernel("eps*L") == kernel(eps * L)
        assert kernel(3)() == 3.0
        assert isinstance(kernel(sp.pi)(), np.float64)
        assert kernel(x).arguments == ("x",)
        assert kernel(sp.Symbol("self") + 1)(self=2) == 3
        assert math.isclose(kernel(GaussianNorm(10, sp.oo))(), gaussian_norm(10, math.inf), rel_tol=1e-15)

    def test_scalars(self):
        assert isinstance(kernel(eps * L)(L=2, eps=0.5), np.float64)
        assert isinstance(kernel(eps * L).log(L=2, eps=0.5), np.float64)
        assert kernel(eps * L)(L=sp.Rational(3, 2), eps=np.float32(0.5)) == 0.75
        tensor = kernel(eps * L, "torch")(L=2, eps=0.5)
        assert (tensor.shape, tensor.dtype) == ((), torch.float64)

    @pytest.mark.parametrize("backend", BACKENDS)
    @given(data=st.data())
    @settings(max_examples=10, deadline=None, derandomize=True)
    def test_broadcasting(self, backend, data):
        expr = variance + sp.Piecewise((eps, L > 3), (sp.log(eps), True)) * sp.Max(u, v)
        shapes = {
            "L": (4, 1, 1),
            "sigma_w": (3, 1),
            "sigma_b": (),
            "u": (2,),
            "v": (1, 2),
            "eps": (1, 3, 1),
            "x_sq": (1,),
        }
        seed = data.draw(st.integers(0, 10**6))
        random = np.random.default_rng(seed)
        arrays = {name: random.uniform(*RANGES[name], shape) for name, shape in shapes.items()}
        whole = np.asarray(kernel(expr, backend)(**arrays))
        assert whole.shape == (4, 3, 2)
        full = {name: np.broadcast_to(array, whole.shape) for name, array in arrays.items()}
        index = tuple(random.integers(size) for size in whole.shape)
        one = kernel(expr)(**{name: float(array[index]) for name, array in full.items()})
        assert math.isclose(one, whole[index], rel_tol=1e-12)

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_shapes_survive_constants_and_symbols(self, backend):
        assert kernel(x, backend)(x=[1.0, 2.0]).shape == (2,)
        assert kernel(sp.Piecewise((1, x > 0), (2, True)), backend)(x=[[1.0], [-2.0]]).shape == (2, 1)
        assert kernel(x * y, backend)(x=np.zeros((0, 3)), y=1.0).shape == (0, 3)

    def test_the_result_is_no_view_of_the_argument(self):
        values = np.array([1.0, 2.0])
        kernel(x)(x=values)[0] = 7
        assert values.tolist() == [1, 2]
        tensor = torch.tensor([1.0, 2.0], dtype=torch.float64)
        kernel(x, "torch")(x=tensor)[0] = 7
        assert tensor.tolist() == [1, 2]

    def test_integer_symbols_take_reals(self):
        assert math.isclose(kernel(2**L * d)(L=0.5, d=1.5), 1.5 * 2**0.5, rel_tol=1e-15)

    def test_common_subexpressions_are_lowered_once(self):
        program = kernel(variance / omega**L + sp.log(omega)).program
        growth = {i.args[0] for i in program.instructions if i.head in (sp.Pow, sp.log, GeometricSum)}
        assert len(growth) == 1
        assert len(set(program.instructions)) == len(program.instructions)


class TestErrors:
    f = kernel(eps * omega**L)
    good: ClassVar = {"L": 3, "sigma_w": 1.0, "u": 1.0, "v": 0.0, "eps": 0.1}

    def test_one_set_of_values_serves_many_formulas(self):
        point = {"L": 2, "d": 64, "sigma_b": 0.3, "eps": 0.1}
        assert kernel(eps * L)(**point) == 0.2

    def test_arguments(self):
        with pytest.raises(
            ArgumentError, match=r"keyword arguments only, f\(L=..., sigma_w=..., u=..., v=..., eps=...\); got 2"
        ):
            self.f(1, 2)
        with pytest.raises(ArgumentError, match="Missing v, eps: the kernel takes"):
            self.f(L=3, sigma_w=1.0, u=1.0)
        with pytest.raises(ArgumentError, match=r"'sigmaw' is not an argument of this kernel\. Did you mean 'sigma_w'"):
            self.f(sigmaw=1.0, **self.good)
        with pytest.raises(ArgumentError, match=r"'gamma' is not an argument of this kernel. It takes f\(L="):
            self.f(gamma=1, **self.good)
        with pytest.raises(ArgumentError, match="Missing"):
            self.f.log()

    @pytest.mark.parametrize("backend", BACKENDS)
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"eps": -1.0}, r"eps = -1 is outside its domain \(0, oo\) \(radius of the ball of perturbations\)"),
            ({"eps": 0.0}, r"eps = 0 is outside"),
            ({"eps": math.nan}, r"eps = nan is outside"),
            ({"eps": math.inf}, r"eps = inf is outside"),
            ({"eps": "inf"}, r"eps = inf is outside"),
            ({"L": [1, -2, -3]}, r"L = -2, the first of 2 such values, is outside its domain \[0, oo\) \(depth"),
            ({"u": math.inf}, r"u = inf is outside its domain \(-oo, oo\)"),
            ({"eps": "big"}, "eps takes real numbers; got 'big', which is not numeric"),
            ({"eps": None}, "eps takes real numbers; got None"),
            ({"eps": True}, "eps takes real numbers; got True"),
            ({"eps": 1j}, r"eps takes real numbers; got 1j, which is complex"),
            ({"eps": [1.0, [2.0]]}, "eps takes real numbers"),
            ({"eps": ["1", None]}, "eps takes real numbers"),
            ({"eps": 10**400}, "eps takes real numbers"),
        ],
    )
    def test_domain(self, backend, change, message):
        with pytest.raises(DomainError, match=message):
            kernel(self.f.expr, backend)(**(self.good | change))

    @pytest.mark.parametrize("name", SYMBOLS)
    def test_every_domain_of_the_registry(self, name):
        quantity = SYMBOLS[name]
        f = kernel(quantity.symbol + 1)
        ends = {quantity.low: quantity.domain[0] == "[", quantity.high: quantity.domain[-1] == "]"}
        for end, inside in ends.items():
            if inside:
                assert f(**{name: end}) == end + 1
            else:
                with pytest.raises(DomainError, match=f"{name} = .* is outside its domain"):
                    f(**{name: end})
        for end, way in ((quantity.low, -math.inf), (quantity.high, math.inf)):
            near, far = np.nextafter(end, way), end + math.copysign(10 * np.spacing(abs(end)), way)
            if math.isfinite(near):
                if ends[end] and end:  # as far as rounding reaches, the end itself
                    assert f(**{name: near}) == end + 1
                with pytest.raises(DomainError):
                    f(**{name: far if ends[end] and end else near})

    @pytest.mark.parametrize(
        ("assumption", "good", "bad"),
        [
            ({}, (-1, 0, math.inf), (math.nan,)),
            ({"positive": True}, (1e-300,), (0, -1, math.inf)),
            ({"nonnegative": True}, (0, 1), (-1e-300, math.inf)),
            ({"negative": True}, (-1,), (0, 1)),
            ({"nonpositive": True}, (-1, 0), (1,)),
            ({"extended_positive": True}, (1, math.inf), (0, -1)),
        ],
    )
    def test_symbols_outside_the_registry(self, assumption, good, bad):
        f = kernel(sp.Symbol("w", **assumption) + 1)
        for value in good:
            assert f(w=value) == value + 1
        for value in bad:
            with pytest.raises(DomainError, match="w = "):
                f(w=value)

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_shapes(self, backend):
        with pytest.raises(
            ArgumentError, match=r"do not broadcast .* L: \(3,\), sigma_w: \(\), u: \(\), v: \(\), eps: \(2,\)"
        ):
            kernel(self.f.expr, backend)(**(self.good | {"L": [1, 2, 3], "eps": [1, 2]}))

    @pytest.mark.parametrize(
        "thing", [sp.Eq(x, y), x < y, sp.true, sp.Matrix([x]), [x, [y]], None, "2 +* 3", sp.FiniteSet(x), []]
    )
    def test_what_is_no_expression(self, thing):
        with pytest.raises(ArgumentError, match="kernel takes a Claim or a"):
            kernel(thing)

    def test_what_is_not_real(self):
        for expr in (sp.I * x, sp.nan + x, sp.zoo, x + sp.sqrt(-2)):
            with pytest.raises(ArgumentError, match="computes real numbers"):
                kernel(expr)

    def test_backends_and_twins(self):
        with pytest.raises(ArgumentError, match="backends are 'auto', 'numpy', 'native', 'torch'; got 'jax'"):
            kernel(x, "jax")
        with pytest.raises(ArgumentError, match="two different symbols called L"):
            kernel(L * sp.Symbol("L"))

    def test_tensors_belong_to_torch(self):
        with pytest.raises(ArgumentError, match='backend="torch"'):
            kernel(x)(x=torch.tensor(1.0))
        for bad in (torch.tensor(1j), torch.tensor(True)):
            with pytest.raises(DomainError, match="x takes real numbers; got a tensor of dtype"):
                kernel(x, "torch")(x=bad)

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_unsupported_functions(self, backend):
        for expr in (sp.besselj(0, x), sp.Function("f")(x), sp.Integral(sp.Function("f")(y), (y, 0, x))):
            with pytest.raises(
                UnsupportedFunctionError, match=rf"no array function for {expr.func.__name__}.*register\("
            ):
                kernel(x + expr, backend)

    def test_register(self):
        f = sp.Function("hypotenuse")
        try:
            register(f, numpy=np.hypot, torch=torch.hypot)
            assert kernel(f(x, 2**L))(x=3.0, L=2) == 5
            assert float(kernel(f(x, 2**L), "torch")(x=3.0, L=2)) == 5
        finally:
            COLUMNS.pop(f, None)
        with pytest.raises(UnsupportedFunctionError):
            kernel(f(x, y))
        try:
            register(f, torch=torch.hypot)
            assert float(kernel(Recursion(L, (F,), (f(F, x),), (3,), F), "torch")(L=1, x=4.0)) == 5
        finally:
            COLUMNS.pop(f)
        for wrong in ({}, {"numpy": 3}):
            with pytest.raises(ArgumentError, match="takes functions as"):
                register(f, **wrong)
        with pytest.raises(ArgumentError, match="takes a class"):
            register("sin", numpy=np.sin)
        with pytest.raises(ArgumentError, match="part of the arithmetic"):
            register(sp.Mul, numpy=np.multiply)


class TestTorch:
    """Dtypes and gradients."""

    def test_dtype_follows_the_tensors(self):
        f = kernel(eps * omega**L, "torch")
        others = {"L": 3, "sigma_w": 1.0, "u": 1.0, "v": torch.tensor(0)}
        assert f(eps=0.1, **others).dtype == torch.float64
        assert f(eps=torch.tensor([0.1]), **others).dtype == torch.float32
        assert f(eps=torch.tensor([0.1], dtype=torch.float16), **others).dtype == torch.float16
        assert (
            f(eps=torch.tensor(0.1), **(others | {"u": torch.tensor(1.0, dtype=torch.float64)})).dtype == torch.float64
        )

    @pytest.mark.parametrize(
        "expr",
        [
            *(
                FORMULAS[name]
                for name in ("bound", "norm", "ratio", "vanilla", "capacity", "decay", "exponents", "moment")
            ),
            *(FORMULAS[name] for name in ("logs", "gammas", "powers", "difference")),
            sp.Piecewise((sp.log(s), s > 1), (sp.sqrt(1 - s), True)) * x**2
            + sp.Abs(x) ** 3
            + sp.Max(x, s) * sp.Min(x, y),
        ],
    )
    def test_gradients_against_symbolic_derivatives(self, expr):
        random = np.random.default_rng(0)
        values = {a.name: random.uniform(*RANGES[a.name], 3) for a in letters(expr)}
        values = {name: np.abs(value) + 0.01 if name in "uv" else value for name, value in values.items()}
        tensors = {name: torch.tensor(value, requires_grad=True) for name, value in values.items()}
        gradients = torch.autograd.grad(kernel(expr, "torch")(**tensors).sum(), list(tensors.values()))
        for name, gradient in zip(tensors, gradients):
            derivative = expr.diff(next(a for a in expr.free_symbols if a.name == name))
            derivative = derivative.replace(Conjugate, lambda r: r / (r - 1))
            for i in range(3):
                at = {key: float(value[i]) for key, value in values.items()}
                reference = exact(derivative, **at)
                terms = sum(abs(exact(term, **at)) for term in sp.Add.make_args(derivative))
                # torch has nine digits of the derivative of digamma.
                tolerance = 1e-9 if expr.has(sp.polygamma) else 1e-11
                assert abs(float(gradient[i]) - float(reference)) <= tolerance * float(terms), (name, at)

    def test_gradients_at_zeros(self):
        at = {"L": 50.0, "sigma_w": 0.8, "x_sq": 1.5}
        values = at | {"u": 1.0, "v": 0.0, "sigma_b": 0.0}
        tensors = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in values.items()}
        for expr in (sp.sqrt(variance), variance / omega**L, sigma_b * omega**L + v * 2**L, sp.log(variance)):
            used = {a.name: tensors[a.name] for a in expr.free_symbols}
            gradients = torch.autograd.grad(kernel(expr, "torch")(**used), list(used.values()))
            for name, gradient in zip(used, gradients):
                derivative = expr.diff(next(a for a in expr.free_symbols if a.name == name))
                reference = float(exact(derivative.doit(), **values))
                assert math.isclose(float(gradient), reference, rel_tol=1e-11, abs_tol=1e-12), (expr, name)
        for power, slope in ((1.0, 1.0), (2.5, 0.0), (50.0, 0.0)):
            base, exponent = torch.tensor([0.0, power], dtype=torch.float64).requires_grad_().unbind()
            result = kernel(2**L * v**L, "torch")(v=base, L=exponent)
            assert [float(g) for g in torch.autograd.grad(result, (base, exponent))] == [slope * 2**power, 0.0]

    def test_geometric_sum_is_smooth_at_one(self):
        base = torch.tensor([1.0, 1 - 1e-12, 1 + 1e-9], dtype=torch.float64, requires_grad=True)
        steps = torch.tensor(7.0, dtype=torch.float64, requires_grad=True)
        total = kernel(GeometricSum(x, y), "torch")(x=base, y=steps)
        first = torch.autograd.grad(total.sum(), base, create_graph=True)[0]
        second = torch.autograd.grad(first.sum(), base)[0]
        assert torch.allclose(total, torch.tensor(7.0, dtype=torch.float64), rtol=1e-7)
        assert torch.allclose(first, torch.tensor(21.0, dtype=torch.float64), rtol=1e-7)
        assert torch.allclose(second, torch.tensor(70.0, dtype=torch.float64), rtol=1e-6)

    def test_the_arc_cosine_kernel_up_to_its_ends(self):
        ends = torch.tensor([-1.0, -0.3, 1.0], dtype=torch.float64, requires_grad=True)
        f = kernel(ArcCosine(x), "torch")
        (slope,) = torch.autograd.grad(f(x=ends).sum(), ends)
        assert slope.tolist() == pytest.approx([0, 1 - math.acos(-0.3) / math.pi, 1], rel=1e-15)
        (curvature,) = torch.autograd.grad(
            torch.autograd.grad(f(x=ends[1]), ends, create_graph=True)[0].sum(), ends, allow_unused=True
        )
        assert math.isclose(float(curvature[1]), 1 / (math.pi * math.sqrt(1 - 0.09)), rel_tol=1e-14)
        beyond = kernel(ArcCosine(x))(x=[1 + 1e-15, -1 - 1e-15, 1.1])
        assert beyond[:2].tolist() == [1, 0]
        assert math.isnan(beyond[2])

    def test_a_root_at_its_minimum_has_slope_zero(self):
        slopes = [torch.tensor(0.0, dtype=torch.float64, requires_grad=True) for _ in "uv"]
        for expr in (sp.sqrt(u**2 + v**2), sp.sqrt(u**2 * 2**L + v**2)):
            more = {"L": 3} if expr.has(L) else {}
            kernel(expr, "torch")(u=slopes[0], v=slopes[1], **more).backward()
            assert [float(slope.grad) for slope in slopes] == [0, 0]

    def test_gradients_pass_branches_that_do_not_apply(self):
        expr = sp.Piecewise((y, sp.Eq(x, 1)), ((x**y - 1) / (x - 1), True))
        point = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(kernel(expr, "torch")(x=point, y=3.0).sum(), point)
        assert gradient.tolist() == pytest.approx([0, 5], abs=1e-12)

    def test_gradients_of_exponents_at_the_ends(self):
        for expr in (d ** (1 / Conjugate(p)), GaussianNorm(d, Conjugate(p))):
            end = torch.tensor([1.0, 2.0, math.inf], dtype=torch.float64, requires_grad=True)
            (gradient,) = torch.autograd.grad(kernel(expr, "torch")(d=10, p=end).sum(), end)
            assert torch.isfinite(gradient).all()

    def test_deep_gradient(self):
        base = torch.tensor(1.0139, dtype=torch.float64, requires_grad=True)
        result = kernel(eps * s ** (L / 2), "torch")(eps=1e-300, s=base, L=100_000)
        result.backward()
        assert math.isclose(float(base.grad), float(result.detach()) * 50_000 / 1.0139, rel_tol=1e-12)

    def test_no_grad_is_honoured(self):
        width = torch.tensor(1.2, requires_grad=True)
        with torch.no_grad():
            assert not kernel(plain, "torch")(**(TestRecursion.at | {"L": 5, "sigma_w": width})).requires_grad

    def test_domain_errors_of_tensors_with_gradients(self):
        with pytest.raises(DomainError, match=r"eps = -1, the first of 2"):
            kernel(eps * L, "torch")(L=2, eps=torch.tensor([-1.0, 1.0, -3.0], requires_grad=True))


def loop(steps, sigma_w, sigma_b, u, v, x_sq):
    """The recursion ``plain`` in 30 digits."""
    with mpmath.workdps(30):
        second, mean = mpmath.mpf(x_sq), mpmath.mpf(0)
        sigma_w, sigma_b, u, v = map(mpmath.mpf, (sigma_w, sigma_b, u, v))
        for _ in range(steps):
            variance = sigma_w**2 * second + sigma_b**2
            step = (u - v) * mpmath.sqrt(variance / (2 * mpmath.pi))
            second, mean = second + (u**2 + v**2) / 2 * variance + 2 * mean * step, mean + step
        return second


class TestRecursion:
    at: ClassVar = {"sigma_w": 1.2, "sigma_b": 0.3, "u": 1.0, "v": 0.1, "x_sq": 1.5}

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_against_a_loop_and_sympy(self, backend):
        f = kernel(plain, backend)
        for steps in (0, 1, 2, 30):
            assert math.isclose(float(f(L=steps, **self.at)), float(loop(steps, **self.at)), rel_tol=1e-13)
        exactly = plain.subs({L: 4, sigma_w: 1, sigma_b: 0, u: 1, v: 0, x_sq: 1}).evalf(30)
        assert math.isclose(float(f(L=4, sigma_w=1, sigma_b=0, u=1, v=0, x_sq=1)), float(exactly), rel_tol=1e-14)

    def test_fibonacci(self):
        fibonacci = Recursion(L, (F, G), (G, F + G), (0, 1), F)
        assert kernel(fibonacci)(L=[0, 1, 2, 10, 60]).tolist() == [0, 1, 1, 55, 1548008755920]
        assert kernel(fibonacci.subs(L, 60))() == 1548008755920
        assert math.isclose(kernel(fibonacci)(L=1400), float(sp.fibonacci(1400)), rel_tol=1e-12)
        with mpmath.workdps(30):
            assert math.isclose(
                kernel(fibonacci).log(L=100_000), float(mpmath.log(int(sp.fibonacci(100_000)))), rel_tol=1e-12
            )

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_each_element_stops_at_its_own_depth(self, backend):
        depth, width = np.array([[3], [0], [11], [3]]), np.array([0.5, 1.2])
        got = np.asarray(kernel(plain, backend)(**(self.at | {"L": depth, "sigma_w": width})))
        expected = [[float(loop(int(n), **(self.at | {"sigma_w": w}))) for w in width] for n in depth[:, 0]]
        assert np.allclose(got, expected, rtol=1e-13)

    def test_a_hundred_thousand_steps(self):
        start = time.perf_counter()
        linear = Recursion(L, (F,), (omega * F + sigma_b**2 / 2,), (x_sq,), F)
        at = {"L": 100_000, "sigma_w": 1.1, "u": 1.0, "v": 0.0, "x_sq": 1.5, "sigma_b": 0.7}
        for backend in BACKENDS:
            assert math.isclose(float(kernel(linear / variance, backend)(**at)), 1, rel_tol=DEEP)
        assert time.perf_counter() - start < 20

    def test_a_state_beyond_all_floats(self):
        log = kernel(plain).log(L=3000, **self.at)
        assert math.isclose(log, float(mpmath.log(loop(3000, **self.at))), rel_tol=1e-12)
        assert kernel(plain)(L=3000, **self.at) == math.inf

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_constants_are_hoisted_and_results_combine(self, backend):
        linear = Recursion(L, (F,), (omega * F + sigma_b**2 / 2,), (x_sq,), F)
        values = {"L": 500, "sigma_w": 1.1, "u": 1.0, "v": 0.0, "x_sq": 1.5, "sigma_b": 0.7}
        assert math.isclose(float(kernel(linear / variance, backend)(**values)), 1, rel_tol=1e-12)
        assert math.isclose(float(kernel(linear / variance, backend)(**(values | {"sigma_b": 0}))), 1, rel_tol=1e-12)
        body = next(i.data[0] for i in kernel(linear).program.instructions if i.head is Recursion)
        assert [i.head for i in body.instructions] == [sp.Mul, sp.Add]

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_steps_may_hold_any_function(self, backend):
        step = sp.Piecewise((sp.cos(F) / 2, sp.S.Half < F), (F + sp.Max(F, s) * sp.Abs(G), True))
        recursion = Recursion(L, (F, G), (step, -sp.exp(-F) * s), (x, 1), F)
        now, other = 0.3, 1.0
        for _ in range(25):
            now, other = (math.cos(now) / 2 if now > 0.5 else now + max(now, 0.2) * abs(other)), -math.exp(-now) * 0.2
        assert math.isclose(float(kernel(recursion, backend)(L=25, x=0.3, s=0.2)), now, rel_tol=1e-12)

    @pytest.mark.parametrize("depth", [2.5, [1, 1.5]])
    def test_fractional_depth(self, depth):
        with pytest.raises(DomainError, match=r"whole numbers of steps; got L = [12]\.5"):
            kernel(plain)(L=depth, **self.at)

    def test_both_components_share_one_loop(self):
        mean = plain.func(*plain.args[:-1], G)
        heads = [instruction.head for instruction in kernel(plain - mean**2).program.instructions]
        assert heads.count(Recursion) == 1

    def test_gradients(self):
        steps = 12
        tensors = {
            name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in self.at.items()
        }
        gradients = torch.autograd.grad(kernel(plain, "torch")(L=steps, **tensors), list(tensors.values()))
        for name, gradient in zip(tensors, gradients):
            step = 1e-6
            up, down = (loop(steps, **(self.at | {name: mpmath.mpf(self.at[name]) + h})) for h in (step, -step))
            assert math.isclose(float(gradient), float((up - down) / (2 * step)), rel_tol=1e-9), name

    def test_gradients_where_the_state_overflows(self):
        width = torch.tensor(1.2, dtype=torch.float64, requires_grad=True)
        log = kernel(plain, "torch").log(**(self.at | {"L": 1500, "sigma_w": width}))
        log.backward()
        up, down = (mpmath.log(loop(1500, **(self.at | {"sigma_w": 1.2 + h}))) for h in (1e-6, -1e-6))
        assert math.isclose(float(width.grad), float((up - down) / 2e-6), rel_tol=1e-7)


def test_importing_kernels_does_not_import_torch():
    code = (
        "import sys; from advmf.emit.kernels import kernel; from advmf.symbols import L; kernel(2**L)(L=3); "
        "assert 'torch' not in sys.modules; kernel(2**L, 'torch')(L=3); assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names():
    assert kernels.__all__ == ["Kernel", "kernel", "register"]
    assert isinstance(kernel(M * m * y_sq * q * z), Kernel)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_slopes_at_equal_inputs_lose_no_digits(backend):
    """The correlation of an input with itself is 1 but for rounding, where the slope of the arc-cosine
    kernel is steep."""
    claim = mf.loss_decay(mf.residual(1, "1/5"), 2, 2)
    at = {"L": 3, "N": 100, "d": 64, "K": 10, "sigma_w": 1.3, "sigma_b": 0.3, "eps": 0.5, "x_sq": 0.7}
    exact = claim.rhs.subs(
        {SYMBOLS[name].symbol: sp.nsimplify(value, rational=True) for name, value in at.items()}
    ).evalf(30)
    assert abs(float(mf.kernel(claim, backend=backend)(**at)) / float(exact) - 1) < 1e-9


def test_a_depth_that_the_formula_lacks_may_be_a_tensor_with_gradients():
    f = Kernel(1 / d, "torch", (), 1)
    width = torch.tensor(2.0)
    assert f(d=width, L=torch.tensor(3.0, requires_grad=True)) == 0.5
    with pytest.raises(DomainError, match="L = 0 is outside its domain"):
        f(d=width, L=torch.tensor(0.0, requires_grad=True))
