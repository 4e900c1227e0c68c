"""Text becomes a formula without being run, wherever advmf takes one."""

import time
from contextlib import suppress

import numpy as np
import pytest
import sympy as sp
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import advmf as mf
from advmf import cli
from advmf.errors import AdvmfError, ArgumentError
from advmf.expressions import expression
from advmf.symbols import SYMBOLS, L, c, d, eps, q, sigma_w, t

READ = {
    "sigma_w**2/2 + 0.5": sigma_w**2 / 2 + sp.Rational(1, 2),
    "-d^2^t": -(d ** (2**t)),
    "2**-1*d": d / 2,
    "--d - -(+d)": 2 * d,
    "a" * 0 + "exp(-eps)*sqrt(L)/ln(d)": sp.exp(-eps) * sp.sqrt(L) / sp.log(d),
    "Max(d, L, 1)": sp.Max(d, L, 1),
    " 1e-3 * .5e1 ": sp.Rational(1, 200),
    "3/2": sp.Rational(3, 2),
    "oo": sp.oo,
    "pi*E": sp.pi * sp.E,
    "abs(c)": sp.Abs(c),
}


@pytest.mark.parametrize("text", READ)
def test_what_is_read(text):
    assert expression(text) == READ[text]


@pytest.mark.parametrize("value", [3, 1.5, np.float64(0.5), np.int64(3), sp.Rational(1, 3), sigma_w])
def test_numbers_and_expressions_stay(value):
    assert expression(value) == value


RUN = "__import__('os').system('touch PWN')"
EVIL = [
    RUN,
    f"[{RUN}]",
    f"d + {RUN}",
    f"d*(lambda: {RUN})()",
    "().__class__.__base__.__subclasses__()",
    "d.__class__",
    f"S('{RUN}')",
    f"sympify('{RUN}')",
    f"f'{{{RUN}}}'",
    "exec('open(1)')",
    "Symbol('d')",
    "open('PWN', 'w')",
    f"exp({RUN})",
    "d if 1 else 2",
    "d; d",
    "d\nimport os",
    "d#",
    "d\\",
    "d''",
    "ｅval",
    "d,",
    "(d",
    "d)",
    "",
    "   ",
    "*",
    "d**",
    "exp",
    "exp()",
    "exp(d, d)",
    "1/0",
    "oo-oo",
    "0x1",
    "1_000",
    "nan",
    "I",
]
"""Code, attributes, calls, and what is no expression."""
BOMBS = [
    "9**9**9**9",
    "*".join(["9**3000"] * 200),
    "+".join([f"9**{n}" for n in range(3000, 4200)])[:2000],
    "2**(2**1000)",
    "factorial(1000000)",
    "gamma(10**9)",
    "1e999999999",
    "1e-999999999",
    "(" * 2000,
    "(" * 900 + "1" + ")" * 900,
    "-" * 1999,
    "1" * 100_000,
    "exp(" * 400 + "1" + ")" * 400,
    "+".join(["d"] * 5000),
]
"""What would keep SymPy busy, or Python's stack."""


PLACES = {
    "kernel": mf.kernel,
    "latex": mf.latex,
    "scaled": mf.loss_bound(mf.vanilla(u=1, v=0), 2, 2).scaled,
    "sigma_w": lambda x: mf.Dense(sigma_w=x),
    "sigma_b": lambda x: mf.Dense(sigma_b=x),
    "slope": lambda x: mf.ReLULike(1, x),
    "scale": lambda x: mf.Residual(mf.Dense(), scale=x),
    "net": lambda x: mf.vanilla(u=x, v=0),
    "weight": lambda x: mf.variance_slope(mf.vanilla(u=1, v=0), 2, 2, weight=x),
    "pull": lambda x: mf.variance_slope(mf.vanilla(u=1, v=0), 2, 2, pull=x),
    "delta": lambda x: mf.beta_quantile(2, 2, x, "leading"),
    "growth": lambda x: mf.growth_order(mf.beta(2, 2, "leading"), x),
    "p": lambda x: mf.beta(x, 2),
    "q": lambda x: mf.loss_bound(mf.vanilla(u=1, v=0), 2, x),
}


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.iterdir()), "the text was run"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.usefixtures("elsewhere")
def test_no_text_is_run_and_every_other_is_named(place):
    for text in [*EVIL, *BOMBS]:
        start = time.process_time()
        with pytest.raises(AdvmfError) as error:
            PLACES[place](text)
        assert time.process_time() - start < 5, text
        assert len(str(error.value)) < 1000


def test_places_take_what_they_took():
    """The control."""
    assert mf.kernel("eps*L")(eps=2.0, L=3) == 6
    assert mf.Dense(sigma_w="7/10").sigma_w == sp.Rational(7, 10)
    assert mf.growth_order(mf.beta(2, 2, "leading"), "d") == mf.growth_order(mf.beta(2, 2, "leading"), d)
    assert mf.loss_bound(mf.vanilla(u=1, v=0), "3/2", "q").q == q


@pytest.mark.parametrize("option", ["--p", "--q"])
@pytest.mark.usefixtures("elsewhere")
def test_options_of_the_command_line(option):
    for text in [RUN, "1e999999999", "9**9**9", "1e5000", "sigma_w", "1/0"]:
        found = CliRunner().invoke(cli.main, ["show", "T2", option, text])
        assert found.exit_code == 2 and not isinstance(found.exception, AdvmfError), (text, found.output)


@given(st.text(alphabet="dL0123456789.+-*/^(), epsxqrt_e'\"[]\\{}\n", max_size=25) | st.text(max_size=15))
@settings(max_examples=400, deadline=None)
def test_any_text_is_an_expression_or_an_error(text):
    try:
        found = expression(text)
    except ArgumentError:
        return
    assert isinstance(found, sp.Basic) and {s.name for s in found.free_symbols} <= set(SYMBOLS)


@pytest.mark.parametrize("value", [None, True, [1], (RUN,), {"a": RUN}, {RUN}, object(), b"d", lambda: 1])
@pytest.mark.usefixtures("elsewhere")
def test_other_things_are_named(value):
    with pytest.raises(ArgumentError, match=type(value).__name__ if value is not True else "True"):
        expression(value)


def test_the_exponents_of_a_foreign_claim_are_not_read_as_text(elsewhere):
    """Mutants of a claim take its exponents as they are."""
    from dataclasses import replace

    from advmf.verify.mutation import _duals

    odd = sp.Symbol(RUN, positive=True)
    claim = replace(mf.loss_bound(mf.vanilla(u=1, v=0), 2, 2), p=odd)
    case = type("Case", (), {"theorem": "T2", "net": claim.net})()
    with suppress(AdvmfError, AttributeError, TypeError):
        list(_duals(case, claim))


def test_sympify_is_given_no_text():
    """In the package itself nothing but this module turns text into formulas."""
    import ast
    from pathlib import Path

    allowed = {
        "expressions.py",
        "proof.py",
        "lemma.py",
        "lemma_cases.py",
        "points.py",
    }  # the latter four: scripts of one's own
    for path in Path(mf.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(getattr(node, "func", None), "attr", "") if isinstance(node, ast.Call) else ""
            assert name not in ("sympify", "parse_expr") or path.name in allowed, f"{path}: {name}"
