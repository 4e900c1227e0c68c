"""TeX, terminals and Markdown print what files bring along, and do nothing else with it."""

import copy
import json
import re
from dataclasses import replace

import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import advmf as mf
from advmf.emit.typeset.inert import COMMANDS, inert
from advmf.emit.typeset.prose import prose
from advmf.errors import AdvmfError, DataError
from advmf.symbols import SYMBOLS

EVIL = [
    r"\input{secret.txt}",
    r"\input{a_b}",
    r"x^\input{a}",
    r"a_\immediate\write18{touch PWN}",
    r"\newwrite\f\openout\f=PWN",
    "^^5cinput{secret.txt}",
    "x_^^5cinput{secret.txt}",
    "^^^^005cinput",
    r"$\input{a}$",
    r"}\input{a}{",
    r"\catcode`\@=0 @input{a}",
    r"\csname input\endcsname{a}",
    r"%\n\input{a}",
    r"\tilde{\input{a}}",
    r"\alpha\def\alpha{}",
    r"\\input{a}",
    "a\n\n\\input{a}",
    r"E[\input{x}] <= N(0, \openin)",
    r"\verb|x|",
    r"\begin{filecontents}{PWN}",
    r"\end{document}",
    r"\href{file:///etc/passwd}{x}",
    r"\include a",
    r"\@@input a",
    "\\",
    "{",
    "}",
    "$",
    "~",
    "\x1b[2J",
]
PRINTED = {*COMMANDS, "href"}


def commands(tex):
    """The commands of TeX in a text, `\\\\` and escaped signs aside."""
    return set(re.findall(r"\\([A-Za-z@]+)", tex.replace(r"\\", " ")))


def quiet(tex, known=PRINTED):
    assert not commands(tex) - set(known), commands(tex) - set(known)
    assert "^^" not in tex and "\x1b" not in tex
    bare = re.sub(r"\\.", "", tex.replace(r"\\", " "))
    assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0
    assert "%" not in bare and "#" not in bare


LETTERS = {command for quantity in SYMBOLS.values() for command in commands(quantity.latex)}


@pytest.mark.parametrize("text", EVIL)
def test_a_sentence_does_nothing(text):
    for words in (text, f"the limit {text} of N -> oo", f"x_1 {text} <= {text}, {text}", f"({text})"):
        quiet(prose(words), PRINTED | LETTERS)
        quiet(prose(words, {"eps": r"\mfeps"}, link=True), PRINTED | LETTERS | {"mfeps"})


@given(st.text(alphabet="\\{}^_$%&#~ abxNE015<>=|*/()[],.:'‖ω∞√\n", max_size=30) | st.text(max_size=20))
@settings(max_examples=600, deadline=None)
def test_no_sentence_does_anything(text):
    quiet(prose(text), PRINTED | LETTERS)


@pytest.mark.parametrize("name", EVIL)
def test_the_name_of_a_symbol_does_nothing(name):
    symbol = sp.Symbol(name, positive=True)
    quiet(mf.latex(symbol**2 / 3 + sp.sqrt(symbol) + sp.Symbol(f"q_{name}")))
    quiet(mf.latex(sp.Function(name)(symbol)))


def test_names_in_latex_stay_as_they_are():
    """The control: what only prints is not escaped."""
    for name in (r"\tilde{q}", r"\hat{\sigma}_w^2", r"\mathcal{L}_{\mathrm{adv}}"):
        assert inert(name)
    assert mf.latex(sp.Symbol(r"\tilde{q}")) == r"\tilde{q}"
    assert prose("sigma_w -> oo") == r"$\sigma_w \to \infty$"


RECORD = {
    "version": "1",
    "seed": 0,
    "results": [
        {
            "theorem": "T2", "net": "vanilla", "activation": "relu", "verdict": "REFUTED", "ratio": 1.2, "estimate": 1.2, "predicted": 1.0,
            "p": "2", "q": "inf", "at": {}, "settings": {"along": "d"},
            "findings": [{"label": "a", "verdict": "REFUTED", "reason": "because"}],
        }
    ],
    "summary": {"complete": True, "REFUTED": 1, "SUPPORTED": 0, "controls": {"refuted": 1, "total": 1}},
}  # fmt: skip


def leaves(value, path=()):
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*path, key))
    else:
        yield path


def put(record, path, value):
    record = copy.deepcopy(record)
    at = record
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return record


CLAIM = mf.loss_bound(mf.vanilla(u=1, v=0), 2, 2, route="spectral")


def typeset(record=None, claim=CLAIM):
    return mf.document([claim], dimensions=None, results=record)


@pytest.mark.parametrize("path", list(leaves(RECORD)), ids=lambda path: ".".join(map(str, path)))
def test_a_foreign_record_of_results_does_nothing(path):
    known, seen = commands(typeset(RECORD)) | PRINTED | {"paragraph", "mathrm"}, 0
    for text in EVIL[::2] if path[-1] in ("theorem", "p", "seed") else EVIL[:7]:
        try:
            found = typeset(put(RECORD, path, text))
        except DataError:
            continue
        seen += 1
        assert not commands(found) - known and "^^" not in found and "\x1b" not in found
    assert seen or path[-1] in ("verdict", "ratio", "estimate", "predicted", "complete")


@pytest.mark.parametrize("field", ["name", "source", "assumptions", "heuristic", "net", "p", "where"])
def test_a_foreign_claim_does_nothing(field):
    known = commands(typeset()) | PRINTED | {"texorpdfstring", "mathrlap"}
    for text in EVIL[:14]:
        symbol = sp.Symbol(text, positive=True)
        change = {
            "assumptions": (text,), "net": mf.Net(mf.Dense(), name=text), "p": symbol, "where": {sp.Symbol("beta"): symbol},
        }.get(field, text)  # fmt: skip
        found = typeset(claim=replace(CLAIM, **{field: change}))
        assert not commands(found) - known and "^^" not in found, commands(found) - known


def test_errors_command_no_terminal():
    with pytest.raises(AdvmfError) as error:
        mf.from_json(json.dumps({"format": "\x1b]0;owned\x07\x1b[2J"}))
    assert str(error.value).isprintable()
    assert "\x1b" not in str(AdvmfError("a\x1b[31m\x9b")) and "a\nb" in str(AdvmfError("a\nb"))
