"""Every special function has all columns: numbers in NumPy, torch and native code, a derivative, Python, JSON and
LaTeX, or says why not."""

import inspect
import math
import re
from pathlib import Path

import numpy as np
import pytest
import sympy as sp
import torch

import advmf as mf
from advmf.emit import kernels
from advmf.emit.formats.python_source import python_source
from advmf.errors import UnsupportedFunctionError
from advmf.functions import (
    FUNCTIONS,
    ArcCosine,
    ArcCosineRest,
    ArcCosineRestSlope,
    ArcCosineSlope,
    Conjugate,
    Crest,
    EstimatedNorm,
    EstimatedProfileNorm,
    ExtremeNorm,
    ExtremeNormQuantile,
    Flow,
    GaussianMean,
    GaussianNorm,
    GeometricSum,
    NormalMean,
    NuclearNorm,
    PairMean,
    ProfileExtreme,
    ProfileNorm,
    ProfileRadius,
    ProfileShare,
    ProxNorm,
    ProxSquare,
    QExponential,
    QLogarithm,
    Recursion,
    SpectralNorm,
    SpreadMean,
    Supremum,
    TiltedNorm,
    columns,
)
from advmf.functions.columns import COLUMNS
from advmf.functions.supremum import NODES
from advmf.symbols import z

x, y = sp.symbols("x y", positive=True)
KINKED = sp.Lambda(z, sp.Max(sp.tanh(z), y) ** 2)
CUBE = sp.Lambda(z, sp.tanh(z) ** 3 + sp.cos(z))
CODE = (1, 1, 4, 1, 2, 1, x, 1, 3, 1, -1, 0)
"""Two layers of three taps on four pixels with zeros beyond, each of weight x."""

EXAMPLES = {
    ArcCosine: (ArcCosine(x), {"x": 0.3}),
    ArcCosineSlope: (ArcCosineSlope(x), {"x": 0.3}),
    ArcCosineRest: (ArcCosineRest(x, y), {"x": 0.4, "y": 0.1}),
    ArcCosineRestSlope: (ArcCosineRestSlope(x, y), {"x": 0.4, "y": 0.1}),
    Conjugate: (Conjugate(x), {"x": 3.0}),
    Crest: (Crest(*(3 - (node - x) ** 2 for node in NODES)), {"x": 0.3}),
    EstimatedNorm: (EstimatedNorm(x, y, 3, sp.Rational(3, 2)), {"x": 4.0, "y": 30.0}),
    EstimatedProfileNorm: (EstimatedProfileNorm(y, 3, 1, *CODE), {"x": 0.7, "y": 3.0}),
    ExtremeNorm: (ExtremeNorm(x, 3, 4), {"x": 8.0}),
    ExtremeNormQuantile: (ExtremeNormQuantile(x, 3, 4, sp.Rational(1, 10)), {"x": 8.0}),
    Flow: (Flow(x, (y, z), (-y * z, y), (1, x), y), {"x": 0.7}),
    GaussianMean: (GaussianMean(sp.tanh(x * z) ** 2, z), {"x": 0.7}),
    GaussianNorm: (GaussianNorm(x, y), {"x": 7.0, "y": 3.0}),
    GeometricSum: (GeometricSum(x, y), {"x": 1.2, "y": 4.0}),
    NormalMean: (NormalMean(KINKED, x), {"x": 0.7, "y": 0.4}),
    NuclearNorm: (NuclearNorm(x, 5), {"x": 3.0}),
    PairMean: (PairMean(CUBE, CUBE, x, y, x / 3), {"x": 0.7, "y": 1.1}),
    ProfileExtreme: (ProfileExtreme(y, 1, 2, *CODE), {"x": 0.7, "y": 3.0}),
    ProfileNorm: (ProfileNorm(y, *CODE), {"x": 0.7, "y": 3.0}),
    ProfileRadius: (ProfileRadius(y, *CODE), {"x": 0.7, "y": 3.0}),
    ProfileShare: (ProfileShare(1, *CODE), {"x": 0.7}),
    ProxNorm: (ProxNorm(x, y, 6, 2, 2), {"x": 1.5, "y": 3.0}),
    ProxSquare: (ProxSquare(x, 3, 6, 1, sp.oo), {"x": 1.5}),
    QExponential: (QExponential(-x, y), {"x": 0.4, "y": 1.5}),
    QLogarithm: (QLogarithm(x, y), {"x": 0.4, "y": 1.5}),
    Recursion: (Recursion(mf.symbols.L, (y, z), (x + y * z, z / 2), (x, 1), y), {"L": 4, "x": 0.4}),
    SpectralNorm: (SpectralNorm(x, 5, 1), {"x": 9.0}),
    SpreadMean: (SpreadMean.of(CUBE, x, y, (x + y) / 4), {"x": 0.7, "y": 1.1}),
    Supremum: (Supremum(z**2 * sp.exp(-x * z), z, y, 2 * y), {"x": 0.7, "y": 1.2}),
    TiltedNorm: (TiltedNorm(x, y, 2, 2), {"x": 9.0, "y": 6.0}),
}
NUMERIC = (
    EstimatedNorm, EstimatedProfileNorm, ExtremeNorm, ExtremeNormQuantile, NuclearNorm, ProfileExtreme, ProfileNorm, ProfileRadius, ProfileShare,
    ProxNorm, ProxSquare, SpectralNorm, TiltedNorm,
)  # fmt: skip
REFUSED = {
    "numpy": {GaussianMean: "has no array function for GaussianMean"},
    "derivative": {
        Flow: "by a letter of its own system", **dict.fromkeys((*NUMERIC, Crest, Supremum), "its numbers alone"),
        GaussianNorm: "in the exponent r",
    },
    "python": {GaussianMean: "GaussianMean"},
}  # fmt: skip
"""What has no column, and the words of the refusal."""

LOOPS = dict.fromkeys((Flow, Recursion), "a loop over whole programs, which engines and printers know by themselves")
UNKNOWN = {GaussianMean: "an integral, which doit() does or NormalMean computes"}
SHARED = dict.fromkeys(
    (ArcCosine, GaussianNorm, SpreadMean, *NUMERIC), "whole arrays, for NumPy alone or to share work"
)
FILLED = {
    "numbers": lambda own: own.scaled or own.applied or (own.numpy and own.torch),
    "native": lambda own: own.plain or own.elementwise or own.native,
    "python": lambda own: own.python or own.applied,
    "javascript": lambda own: own.javascript or own.scaled,
    "json": lambda own: own.json,
    "notation": lambda own: own.notation,
    "bracket": lambda own: own.bracket,
}
WITHOUT = {
    "numbers": LOOPS | UNKNOWN,
    "native": LOOPS | UNKNOWN | SHARED | {Supremum: "another expression, that of its values"},
    "python": LOOPS | UNKNOWN,
    "javascript": LOOPS | UNKNOWN | dict.fromkeys(set(NUMERIC) - {SpectralNorm, TiltedNorm}, "long numerical work, for NumPy alone")
    | dict.fromkeys((PairMean, SpreadMean), "a quadrature in the plane, for NumPy alone")
    | {NormalMean: "a quadrature, which is written around its function", Crest: "the values of a Supremum, which JavaScript finds itself"},
    "json": {},
    "notation": LOOPS | dict.fromkeys(
        (Conjugate, Crest, GeometricSum, GaussianMean, NormalMean, PairMean, SpreadMean, ExtremeNormQuantile, Supremum, TiltedNorm),
        "its LaTeX says what it is",
    ),
    "bracket": dict.fromkeys(
        (Conjugate, Crest, GaussianNorm, GeometricSum, Recursion, Supremum, *NUMERIC), "its LaTeX has no bracket around an argument"
    ) | dict.fromkeys((GaussianMean, NormalMean, PairMean, SpreadMean), "its bracket holds a function, not an argument"),
}  # fmt: skip
"""What has no column, and why."""

every_function = pytest.mark.parametrize("head", FUNCTIONS, ids=lambda head: head.__name__)


def test_every_function_has_an_example():
    assert set(EXAMPLES) == set(FUNCTIONS)
    assert all(expr.has(head) for head, (expr, _) in EXAMPLES.items()), "and none that evaluates to something else"


@pytest.mark.parametrize("column", FILLED)
@every_function
def test_every_column_is_filled_or_refused_with_a_reason(head, column):
    """Each of these columns that a function leaves empty has its reason here, and no function that fills it has one."""
    assert bool(FILLED[column](COLUMNS[head])) == (head not in WITHOUT[column])
    assert "_latex" in {name for base in head.__mro__[: head.__mro__.index(sp.Function)] for name in vars(base)}


def test_the_functions_of_the_package_are_registered_as_those_of_users_are():
    """By the same call, each in its own file; what engines and printers know of them is in their columns."""
    assert set(FUNCTIONS) <= set(COLUMNS) and kernels.register is columns.register
    for head in FUNCTIONS:
        source = Path(inspect.getfile(head)).read_text()
        assert re.search(rf"^(register|_known_by_numbers)\(\s*{head.__name__}\b", source, re.MULTILINE), head
    texts = {path.name: path.read_text() for path in Path(mf.emit.__path__[0]).rglob("*.py")}
    names = {head.__name__ for head in FUNCTIONS} - {"Flow", "Recursion"}
    assert not named(texts, names)
    assert named({"x.py": "rules = {QExponential: 1}"}, names) == {("x.py", "QExponential")}, "the control"


def named(texts, names):
    """Which of the names each text holds as words."""
    return {(file, name) for file, text in texts.items() for name in names if re.search(rf"\b{name}\b", text)}


def test_a_function_of_the_package_is_not_replaced():
    before = dict(COLUMNS)
    for head in (QExponential, ArcCosineSlope, NormalMean, Recursion):
        with pytest.raises(mf.errors.ArgumentError, match=f"{head.__name__} is part of the arithmetic"):
            columns.register(head, numpy=np.sin)
    for wrong in ({"numpy": "sin"}, {"json": 1}, {"nump": np.sin}, {"python": "x + 1"}, {"torch": "jax"}):
        with pytest.raises(mf.errors.ArgumentError, match="takes functions as"):
            columns.register(sp.Function("f"), **wrong)
    assert before == COLUMNS


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
