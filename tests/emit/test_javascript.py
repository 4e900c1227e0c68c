"""Formulas as JavaScript, as text; tests/report/test_explorer_browser.py runs them."""

import pytest
import sympy as sp

import advmf as mf
from advmf.emit.engine.arrays_javascript import Traced, constant, make
from advmf.emit.formats.javascript import Script, javascript_source, runtime
from advmf.emit.kernels import register
from advmf.errors import ArgumentError, UnsupportedFunctionError
from advmf.functions import PairMean
from advmf.functions.columns import COLUMNS
from advmf.symbols import L, eps, sigma_w
from advmf.symbols import z as Z

TANH = sp.Lambda(Z, sp.tanh(Z))
CLAIM = mf.loss_bound(mf.vanilla(u=1, v=0), 2, 2, route="leading")


def test_equal_parts_are_computed_once():
    growth = (1 + sigma_w**2 / 2) ** (L / 2)
    source = Script().formula(growth / (1 + growth))
    assert source.count("exp_exponent(") == 1
    assert source.startswith('formula(["L","sigma_w"], ($L,$sigma_w) => {const ')


def test_formulas_share_their_functions():
    """Two formulas with the same recursion have one loop."""
    script = Script()
    capacity = mf.capacity(mf.residual(u=1, v=0)).rhs
    script.formula(capacity), script.formula(eps * capacity)
    assert script.helpers().count("for (; n > 0; n--)") == 1


def test_constants_are_computed_at_once():
    assert make("+", 1.0, make("*", 2.0, 3.0)).data == 7.0
    x = Traced("name", data="x")
    assert make("*", 1.0, x) is x and make("+", x, 0.0) is x and make("?", constant(True), x, 2.0) is x


def test_a_function_of_a_user_has_the_same_columns():
    class Dawson(sp.Function):
        pass

    with pytest.raises(UnsupportedFunctionError, match="Dawson has no JavaScript form"):
        Script().formula(Dawson(eps))
    register(Dawson, javascript="function dawson(x) { return x; }")
    try:
        source = javascript_source(eps + Dawson(2 * eps))
        assert "function dawson(x) { return x; }" in source and "dawson(($eps*2))" in source.replace(" ", "")
    finally:
        COLUMNS.pop(Dawson)
    for wrong in ("dawson", 1, "def dawson(x):"):
        with pytest.raises(ArgumentError, match="takes functions as"):
            register(Dawson, javascript=wrong)


@pytest.mark.parametrize(
    ("claim", "name"),
    [(mf.norm_factor(1, 1, "extremal"), "ExtremeNorm"), (PairMean(TANH, TANH, eps, eps, eps / 2), "PairMean")],
)
def test_a_function_without_a_form_is_named(claim, name):
    with pytest.raises(UnsupportedFunctionError, match=f"{name} has no JavaScript form"):
        javascript_source(claim)


def test_a_function_that_decides_by_its_numbers_needs_a_form_of_its_own():
    class Steps(sp.Function):
        pass

    register(Steps, scaled=lambda a, x: x if a.linear(x) > 1 else a.one_plus(x))
    try:
        with pytest.raises(UnsupportedFunctionError, match="Register javascript="):
            Script().formula(Steps(eps))
    finally:
        COLUMNS.pop(Steps)


def test_names_are_those_of_claims():
    assert mf.export(CLAIM, "javascript").splitlines()[-1].startswith("export const T2 = formula(")
    assert "export const T1_J = " in mf.export(mf.linear_form(mf.vanilla(1, 0))[0], "javascript")
    with pytest.raises(ArgumentError, match="takes a Claim"):
        javascript_source("eps")
    same = sp.Symbol("eps") * eps
    with pytest.raises(ArgumentError, match="different symbols of one name"):
        javascript_source(same)


def test_any_name_of_a_symbol_is_safe():
    """Names become strings, and names of variables only where JavaScript has such names."""
    source = Script().formula(sp.Symbol("x; alert(1)", positive=True) + sp.Symbol("σ", positive=True) + eps)
    assert source == 'formula(["eps","x; alert(1)","\\u03c3"], ($eps,$1,$2) => {' + source.partition("=> {")[2]
    assert "alert" not in source.partition("=> {")[2]


def test_the_arithmetic_is_ascii_and_loads_nothing():
    assert runtime().isascii() and not {"import", "require", "fetch"} & set(runtime().split())
