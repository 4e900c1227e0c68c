import json
import subprocess
import sys

import pytest
import sympy as sp
from click.testing import CliRunner

import advmf as mf
from advmf import cli
from advmf.emit.export import FORMATS
from advmf.emit.formats.python_source import python_source
from advmf.errors import ArgumentError, DataError, UnsupportedFunctionError
from advmf.symbols import SYMBOLS
from advmf.theorems import THEOREMS

AT = {
    "L": 4, "N": 50, "d": 20, "K": 4, "sigma_w": 1.1, "sigma_b": 0.3, "u": 1.0, "v": 0.2, "eps": 0.3, "p": 2.0, "q": 2.0, "t": 3.0, "M": 5.0,
    "m": 0.4, "x_sq": 1.2, "y_sq": 0.9, "lam": 1.0,
}  # fmt: skip
NETS = (mf.vanilla(), mf.residual())
PAIRS = (("inf", "1"), ("3", "4"))


def shipped(nets=NETS, pairs=PAIRS, routes=("chevet",)):
    for theorem, statement in ((name, each.stated) for name, each in THEOREMS.items()):
        for net in nets:
            for p, q in pairs:
                for route in routes:
                    yield from (
                        (f"{theorem} {net.name} {p} {q} {route}", claim) for claim in statement(net, p, q, route)
                    )


def test_every_claim_reads_back_equal():
    seen = 0
    for name, claim in [*shipped(pairs=PAIRS[:1]), *shipped(NETS[:1], PAIRS[1:])]:
        text = mf.to_json(claim)
        found = mf.from_json(text)
        assert found == claim, name
        assert list(found.where) == list(claim.where) and found.equations == claim.equations
        assert (found.net.name if found.net else "") == (claim.net.name if claim.net else "")
        seen += 1
    assert seen > 50
    own = mf.Net(
        mf.Residual(mf.Dense(), mf.ReLULike(1, "1/10"), mf.Dense(sigma_b=0), scale=1 / sp.sqrt(SYMBOLS["L"].symbol))
    )
    for claim in (
        mf.loss_bound(own, 3, 4),
        mf.loss_bound(own, "p", "q").scaled(0.3),
        mf.loss_bound(mf.plain_residual(), 2, 2, "best"),
    ):
        assert mf.from_json(mf.to_json(claim)) == claim


def test_another_claim_is_not_equal():
    """The control: a changed factor, assumption or block is seen."""
    record = json.loads(mf.to_json(mf.loss_bound(mf.residual(), 2, 2)))
    assert mf.from_json(json.dumps(record)) == mf.loss_bound(mf.residual(), 2, 2)
    for change in (
        {"formula": ["Mul", ["Integer", "2"], record["formula"]]},
        {"tolerance": 0.5},
        {"net": {"name": "residual", "block": ["Mix"]}},
        {"formula": json.loads(json.dumps(record["formula"]).replace('"positive": true', '"real": true'))},
    ):
        assert mf.from_json(json.dumps({**record, **change})) != mf.loss_bound(mf.residual(), 2, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "recipe"}, "reads the format 'advmf claim'; got 'recipe'"),
        ({"version": 3}, "version 3 of the format"),
        ({"formula": ["system", ["Symbol", "x", {}]]}, "claim.formula: 'system' is no head of an expression"),
        ({"formula": ["Mul", ["__import__", "os"]]}, r"claim.formula.Mul\[0\]: '__import__' is no head"),
        ({"formula": "eps*2"}, r"claim.formula: expected an expression, \[head, ...\]"),
        ({"formula": ["Symbol", "x", {"nice": True}]}, "are no assumptions of a symbol"),
        ({"formula": ["Integer", "1+1"]}, "claim.formula: Integer"),
        ({"formula": ["Rational", "1", "0"]}, "expected whole numbers"),
        ({"formula": ["Pow", ["Integer", "10"], ["Integer", "10000000000"]]}, "Pow of 10, 10000000000 is larger than this reads"),
        ({"formula": ["factorial", ["Integer", "1000000"]]}, "factorial of 1000000 is larger"),
        ({"formula": ["GaussianNorm", ["Integer", "2"]]}, "claim.formula: GaussianNorm"),
        ({"relation": "<"}, "A claim's relation is one of"),
        ({"regime": ["SMALL"]}, "'SMALL' is unknown; expected EXACT"),
        ({"heuristic": "a step"}, "disagree"),
        ({"net": {"name": "x", "block": ["Convolve", 3]}}, "'Convolve' with 1 arguments is no block"),
        ({"net": {"name": "x", "block": ["Serial", ["ReLULike", ["Integer", "1"], ["Integer", "0"]]]}}, "claim.net: The block cannot be repeated"),
        ({"net": {"name": "x", "block": ["Dense", ["Integer", "-1"], ["Integer", "0"]]}}, "must be >= 0"),
        ({"where": [["Integer", "1"]]}, r"claim.where\[0\]"),
        ({"tolerance": "0"}, "claim.tolerance: expected a number"),
        ({"equations": [{"label": "x"}]}, r"claim.equations\[0\]: 'lhs' is missing"),
    ],
)  # fmt: skip
def test_json_that_is_no_claim_is_refused_with_the_place(change, message):
    record = {**json.loads(mf.to_json(mf.loss_bound(mf.residual(), 2, 2))), **change}
    with pytest.raises(DataError, match=message):
        mf.from_json(json.dumps(record))


def test_a_missing_field_no_json_and_deep_nesting_are_refused():
    record = json.loads(mf.to_json(mf.loss_bound(mf.residual(), 2, 2)))
    for key in set(record) - {"format", "version"}:
        with pytest.raises(DataError, match=f"claim: '{key}' is missing"):
            mf.from_json(json.dumps({k: v for k, v in record.items() if k != key}))
    for text in ("", "{", "[" * 100_000, None):
        with pytest.raises(DataError, match="this is no JSON"):
            mf.from_json(text)


def test_what_json_has_no_name_for():
    claim = mf.loss_bound(mf.residual(), 2, 2)
    with pytest.raises(ArgumentError, match="JSON has no name for Dummy"):
        mf.to_json(claim.scaled(sp.Dummy("z")))
    with pytest.raises(ArgumentError, match="JSON has no name for f, which occurs in"):
        mf.to_json(claim.scaled(sp.Function("f")(2)))
    with pytest.raises(ArgumentError, match="to_json takes a Claim"):
        mf.to_json(claim.formula)


PROBE = """
import importlib, json, sys
sys.modules.update(advmf=None, sympy=None, torch=None, mpmath=None)
sys.path.insert(0, sys.argv[1])
jobs, at = json.load(open(sys.argv[1] + "/jobs.json"))
print(json.dumps([getattr(importlib.import_module(module), name)(**at) for module, name in jobs]))
"""


def test_python_functions_give_the_kernels_values_without_advmf(tmp_path):
    """Every shipped claim, by routes that take each of the special functions, in a process that cannot import advmf or
    SymPy."""
    found = {}
    cases = [
        *shipped(),
        *shipped(NETS[:1], (("inf", "1"),), ("best",)),
        *shipped((mf.plain_residual(),), PAIRS[:1]),
    ]
    cases += [
        (f"beta {route}", mf.norm_factor(p, 2, route)) for p in (2, "inf") for route in ("lower", "estimate", "leading")
    ]
    for name, claim in cases:
        found.setdefault(mf.export(claim, "python"), (name, claim))
    jobs = []
    for i, (source, (_, claim)) in enumerate(found.items()):
        assert "advmf." not in source.replace("Written by advmf", "") and "import advmf" not in source
        (tmp_path / f"m{i}.py").write_text(source)
        jobs.append((f"m{i}", "".join(c if c.isalnum() else "_" for c in claim.name)))
    (tmp_path / "jobs.json").write_text(json.dumps([jobs, AT]))
    run = subprocess.run([sys.executable, "-I", "-c", PROBE, str(tmp_path)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    for value, (name, claim) in zip(json.loads(run.stdout), found.values()):
        assert value == pytest.approx(float(mf.kernel(claim)(**AT)), rel=1e-10), (name, claim.name)
    assert len(found) > 40


def test_the_decay_of_the_loss_in_python_is_right_to_many_digits():
    space = {}
    claim = mf.loss_decay(mf.residual(), 2, 2)
    exec(mf.export(claim, "python"), space)
    exact = claim.rhs.subs({SYMBOLS[name].symbol: sp.Rational(str(value)) for name, value in AT.items()}).evalf(30)
    assert space["T3_decay"](**AT) == pytest.approx(float(exact), rel=1e-11)


def test_the_docstring_says_what_the_function_is():
    space = {}
    exec(mf.export(mf.loss_bound(mf.plain_residual(), "inf", 2, paper=True), "python"), space)
    text = space["T2"].__doc__
    for words in (
        "<= beta*eps*omega**(L/2)",
        "where beta = ",
        "Regime: large width",
        "Heuristic: ",
        "Assumes: ",
        "arXiv:2505.14021",
        "sigma_w: ",
    ):
        assert words in text
    with pytest.raises(TypeError, match="missing"):
        space["T2"](L=3)


def test_gamma_functions_do_not_overflow():
    n = SYMBOLS["d"].symbol
    space = {}
    exec(python_source(sp.sqrt(2) * sp.gamma((n + 1) / 2) / sp.gamma(n / 2), "chi"), space)
    assert space["chi"](d=10_000) == pytest.approx(
        mf.kernel(sp.sqrt(2) * sp.gamma((n + 1) / 2) / sp.gamma(n / 2))(d=10_000), rel=1e-11
    )


def test_what_cannot_be_written():
    with pytest.raises(UnsupportedFunctionError, match="f is a function of your own"):
        python_source(sp.Function("f")(2))
    with pytest.raises(UnsupportedFunctionError, match="zeta"):
        python_source(sp.zeta(SYMBOLS["d"].symbol))
    with pytest.raises(ArgumentError, match="name is an identifier"):
        python_source(sp.S.One, "a b")
    with pytest.raises(ArgumentError, match="named by an identifier"):
        python_source(sp.Symbol("x y"))
    with pytest.raises(ArgumentError, match="export writes text, latex"):
        mf.export(mf.loss_bound(mf.residual(), 2, 2), "word")
    with pytest.raises(ArgumentError, match="export takes a Claim"):
        mf.export(sp.S.One, "text")


def test_srepr_is_read_by_sympy():
    claim = mf.loss_bound(mf.residual(), "inf", 2, "leading")
    assert sp.sympify(mf.export(claim, "srepr")) == claim.rhs


@pytest.mark.parametrize("form", FORMATS)
def test_the_command_shows_every_form(form):
    result = CliRunner().invoke(cli.main, ["show", "T2", "--net", "vanilla", "--format", form], catch_exceptions=False)
    assert result.exit_code == 0
    assert result.output.rstrip("\n") == mf.export(mf.loss_bound(mf.vanilla(), 2, 2), form).rstrip("\n")
