"""Every special function has all columns: numbers in NumPy, torch and native code, a derivative, Python, JSON and
LaTeX, or says why not."""

import math

import numpy as np
import pytest
import sympy as sp
import torch

import advmf as mf
from advmf.emit.formats.python_source import python_source
from advmf.errors import UnsupportedFunctionError
from advmf.functions import (
    FUNCTIONS,
    ArcCosine,
    ArcCosineRest,
    ArcCosineRestSlope,
    ArcCosineSlope,
    Conjugate,
    EstimatedNorm,
    ExtremeNorm,
    ExtremeNormQuantile,
    Flow,
    GaussianMean,
    GaussianNorm,
    GeometricSum,
    NormalMean,
    PairMean,
    QExponential,
    QLogarithm,
    Recursion,
    SpectralNorm,
    Supremum,
    TiltedNorm,
)
from advmf.symbols import z

x, y = sp.symbols("x y", positive=True)
KINKED = sp.Lambda(z, sp.Max(sp.tanh(z), y) ** 2)
CUBE = sp.Lambda(z, sp.tanh(z) ** 3 + sp.cos(z))

EXAMPLES = {
    ArcCosine: (ArcCosine(x), {"x": 0.3}),
    ArcCosineSlope: (ArcCosineSlope(x), {"x": 0.3}),
    ArcCosineRest: (ArcCosineRest(x, y), {"x": 0.4, "y": 0.1}),
    ArcCosineRestSlope: (ArcCosineRestSlope(x, y), {"x": 0.4, "y": 0.1}),
    Conjugate: (Conjugate(x), {"x": 3.0}),
    EstimatedNorm: (EstimatedNorm(x, y, 3, sp.Rational(3, 2)), {"x": 4.0, "y": 30.0}),
    ExtremeNorm: (ExtremeNorm(x, 3, 4), {"x": 8.0}),
    ExtremeNormQuantile: (ExtremeNormQuantile(x, 3, 4, sp.Rational(1, 10)), {"x": 8.0}),
    Flow: (Flow(x, (y, z), (-y * z, y), (1, x), y), {"x": 0.7}),
    GaussianMean: (GaussianMean(sp.tanh(x * z) ** 2, z), {"x": 0.7}),
    GaussianNorm: (GaussianNorm(x, y), {"x": 7.0, "y": 3.0}),
    GeometricSum: (GeometricSum(x, y), {"x": 1.2, "y": 4.0}),
    NormalMean: (NormalMean(KINKED, x), {"x": 0.7, "y": 0.4}),
    PairMean: (PairMean(CUBE, CUBE, x, y, x / 3), {"x": 0.7, "y": 1.1}),
    QExponential: (QExponential(-x, y), {"x": 0.4, "y": 1.5}),
    QLogarithm: (QLogarithm(x, y), {"x": 0.4, "y": 1.5}),
    Recursion: (Recursion(mf.symbols.L, (y, z), (x + y * z, z / 2), (x, 1), y), {"L": 4, "x": 0.4}),
    SpectralNorm: (SpectralNorm(x, 5, 1), {"x": 9.0}),
    Supremum: (Supremum(z**2 * sp.exp(-x * z), z, y, 2 * y), {"x": 0.7, "y": 1.2}),
    TiltedNorm: (TiltedNorm(x, y, 2, 2), {"x": 9.0, "y": 6.0}),
}
NUMERIC = (EstimatedNorm, ExtremeNorm, ExtremeNormQuantile, SpectralNorm, TiltedNorm)
REFUSED = {
    "numpy": {GaussianMean: "has no array function for GaussianMean"},
    "derivative": {
        Flow: "by a letter of its own system", **dict.fromkeys(NUMERIC, "its numbers alone"),
        GaussianNorm: "in the exponent r",
    },
    "python": {GaussianMean: "GaussianMean"},
}  # fmt: skip
"""What has no column, and why."""

every_function = pytest.mark.parametrize("head", FUNCTIONS, ids=lambda head: head.__name__)


def test_every_function_has_an_example():
    assert set(EXAMPLES) == set(FUNCTIONS)
    assert all(expr.has(head) for head, (expr, _) in EXAMPLES.items()), "and none that evaluates to something else"


def refusing(column, head):
    return pytest.raises((UnsupportedFunctionError, mf.errors.ArgumentError), match=REFUSED[column][head])


@every_function
def test_numbers_are_the_same_in_all_libraries(head):
    """And those of SymPy's own evaluation, where that needs no letters."""
    expr, at = EXAMPLES[head]
    if head in REFUSED["numpy"]:
        with refusing("numpy", head):
            mf.kernel(expr)
        return
    values = {
        "numpy": mf.kernel(expr, backend="numpy")(**at),
        "native": mf.kernel(expr, backend="native")(**{k: np.full(2000, v) for k, v in at.items()})[-1],
    }
    tensors = {name: torch.tensor(value, dtype=torch.float64) for name, value in at.items()}
    values["torch"] = mf.kernel(expr, backend="torch")(**tensors)
    exact = expr.subs({s: sp.nsimplify(at[s.name]) for s in expr.free_symbols}).evalf(25)
    assert exact.is_number and math.isfinite(exact)
    for name, value in values.items():
        assert float(value) == pytest.approx(float(exact), rel=1e-9), name


@every_function
def test_the_derivative_is_that_of_differences(head):
    expr, at = EXAMPLES[head]
    if head in REFUSED["numpy"]:
        return
    for symbol in sorted(expr.free_symbols, key=str):
        if symbol.name == "L":
            continue
        try:
            slope = mf.kernel(expr, grad=symbol.name)(**at)[1][symbol.name]
        except UnsupportedFunctionError:
            assert head in REFUSED["derivative"], f"{head.__name__} has no derivative in {symbol}, and no reason"
            continue
        f, h = mf.kernel(expr), 1e-5
        ends = [float(f(**{**at, symbol.name: at[symbol.name] * (1 + sign * h)})) for sign in (1, -1)]
        assert float(slope) == pytest.approx((ends[0] - ends[1]) / (2 * h * at[symbol.name]), rel=1e-6)


@every_function
def test_python_json_and_latex(head):
    expr, at = EXAMPLES[head]
    assert mf.latex(expr).count("{") == mf.latex(expr).count("}")
    claim = mf.Claim(
        name="own", lhs=sp.Symbol("A"), relation="==", formula=expr, where={}, regime=mf.Regime.EXACT, assumptions=(), source="here", net=None
    )  # fmt: skip
    assert mf.from_json(mf.to_json(claim)) == claim
    if head in REFUSED["python"]:
        with refusing("python", head):
            python_source(expr)
        return
    room: dict = {}
    exec(python_source(expr, "own"), room)
    assert room["own"](**at) == pytest.approx(float(mf.kernel(expr)(**at)), rel=1e-9)
