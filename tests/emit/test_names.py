"""Exported Python: whatever the symbols, the abbreviations and the states of a claim are called, the file runs, and
runs nothing else."""

import builtins
import json
import keyword
import math
from dataclasses import replace

import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import advmf as mf
from advmf.emit.formats.names import _TAKEN, python_name
from advmf.emit.formats.python_source import python_source
from advmf.errors import ArgumentError, DataError
from advmf.functions import Conjugate, GaussianNorm, Recursion

CLAIM = mf.loss_bound(mf.vanilla(u=1, v=0), 2, 2, route="leading")
EVIL = "globals()[__import__('os').system('touch PWN') or 'b']"


def run(source):
    space = {}
    exec(source, space)
    return space


@pytest.mark.parametrize("name", sorted(_TAKEN - {n for n in _TAKEN if n.startswith("__")}))
def test_a_symbol_of_any_name_is_computed_with(name):
    z, w = sp.Symbol(name, positive=True), sp.Symbol("w", positive=True)
    state = sp.Symbol(f"{name}x", positive=True)
    loop = Recursion(3, (state,), (z * state,), (w,), state)
    expr = sp.sqrt(z) * GaussianNorm(w, 3) + Conjugate(z + 1) + loop
    found = run(python_source(expr))["f"](**{python_name(name): 4.0, "w": 5.0})
    assert math.isclose(
        found, float(mf.kernel(expr)(**{name: 4.0, "w": 5.0})) if name not in ("out", "dtype") else found
    )
    assert math.isclose(found, 2 * float(mf.kernel(GaussianNorm(w, 3))(w=5.0)) + 1.25 + 64 * 5, rel_tol=1e-12)


@pytest.mark.parametrize("name", ["lambda", "float", "erfc", "gammaln", "T 2", "2x", "math", "conjugate"])
def test_a_claim_of_any_name_is_a_function(name):
    claim = replace(mf.loss_bound(mf.vanilla(u=1, v=0), 3, 4), name=name)
    space = run(mf.export(claim, "python"))
    (function,) = [f for f in space.values() if getattr(f, "__doc__", None) and "Source:" in (f.__doc__ or "")]
    at = {"L": 4, "d": 20, "K": 4, "sigma_w": 1.1, "eps": 0.3, "sigma_b": 0.1}
    assert math.isclose(function(**at), float(mf.kernel(claim)(**at)), rel_tol=1e-10)


def test_names_that_clash_are_told():
    with pytest.raises(ArgumentError, match="different identifiers"):
        python_source(sp.Symbol("lambda") + sp.Symbol("lambda_"))


BAD = [EVIL, "", "a b", "a.b", "1a", "a\nb", "__import__", "__builtins__", "𝐞val", "ﬁ", "a;b", "a:=b", "a#", "a\\"]


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("place", ["symbol", "abbreviation", "state", "fixed"])
def test_what_is_no_identifier_is_never_printed_into_code(name, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    odd, good = sp.Symbol(name or "''", positive=True), sp.Symbol("z", positive=True)
    claim = {
        "symbol": lambda: replace(CLAIM, formula=odd * good),
        "abbreviation": lambda: replace(CLAIM, formula=odd, where={odd: good}),
        "state": lambda: replace(CLAIM, formula=Recursion(good, (odd,), (odd**2,), (good,), odd)),
        "fixed": lambda: replace(CLAIM, formula=Recursion(good, (good,), (odd * good,), (1,), good)),
    }[place]()
    with pytest.raises(ArgumentError, match="identifier"):
        mf.export(claim, "python")
    assert not list(tmp_path.iterdir())


def test_code_in_the_names_of_a_file_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = mf.to_json(CLAIM).replace('"beta"', json.dumps(EVIL))
    with pytest.raises((ArgumentError, DataError)):
        run(mf.export(mf.from_json(text), "python"))["T2"](L=4, d=100, K=25, sigma_w=2.0, eps=0.5)
    assert not list(tmp_path.iterdir())


@given(st.text(max_size=12))
@settings(max_examples=300, deadline=None)
def test_a_name_is_an_identifier_or_an_error(name):
    try:
        found = python_name(name)
    except ArgumentError:
        return
    assert found.isidentifier() and not keyword.iskeyword(found) and not hasattr(builtins, found)
    assert run(f"{found} = 3")[found] == 3


@given(st.text(max_size=30), st.sampled_from(['"""', "'''", "\\", '"', "\r", "\0", ""]))
@settings(max_examples=200, deadline=None)
def test_no_text_of_a_claim_ends_its_docstring(text, end):
    source = mf.export(replace(CLAIM, source=text + end, assumptions=(end + text, end * 3)), "python")
    space = run(source)
    assert space["T2"](L=4, d=100, K=25, sigma_w=2.0, eps=0.5) == 3.0
    assert {name for name in space if not name.startswith("__")} == {"T2", "math"}
