"""Small files that would keep SymPy, Python's stack or the memory busy: each is refused at once, and names
the place."""

import json
import time

import pytest
import sympy as sp

import advmf as mf
from advmf.errors import DataError

RECORD = json.loads(mf.to_json(mf.loss_bound(mf.vanilla(u=1, v=0), 2, 2, route="leading")))
X = ["Symbol", "x", {"real": True}]


def number(n):
    return ["Integer", str(n)]


def nested(head, depth, core, *others):
    for _ in range(depth):
        core = [head, core, *others]
    return core


def tower(depth):
    return nested("exp", depth, number(100))


def symbols(n):
    return [["Symbol", f"a{i}", {"real": True}] for i in range(n)]


BOMBS = {
    "a recursion of squares": [
        "Recursion",
        number(60),
        ["Tuple", X],
        ["Tuple", ["Pow", X, number(2)]],
        ["Tuple", number(3)],
        X,
    ],
    "a short recursion of high powers": [
        "Recursion",
        number(2),
        ["Tuple", X],
        ["Tuple", ["Pow", X, number(3999)]],
        ["Tuple", number(3)],
        X,
    ],
    "a long sum of powers": ["GeometricSum", number(3), number(10**9)],
    "a maximum of hundreds": ["Max", *symbols(400)],
    "a minimum of hundreds": ["Min", *[["Mul", number(i), s] for i, s in enumerate(symbols(400))]],
    "cases": ["Piecewise", *[["ExprCondPair", X, ["Lt", X, number(i)]] for i in range(400)]],
    "conditions": ["Piecewise", ["ExprCondPair", X, ["And", *[["Lt", s, number(1)] for s in symbols(400)]]]],
    "deep": nested("exp", 500, X),
    "deeper": nested("sin", 900, X),
    "a power of powers": nested("Pow", 5, number(9), number(3000)),
    "powers of powers": ["Pow", number(9), ["Pow", number(9), ["Pow", number(9), number(9)]]],
    "a tower": tower(5),
    "a tower as exponent": ["Pow", X, tower(4)],
    "a maximum of towers": ["Max", tower(4), number(1)],
    "a factorial": ["factorial", number(10**8)],
    "a gamma function": ["gamma", number(10**9)],
    "digits": number("9" * 5000),
    "a product of long numbers": ["Mul", *[number("9" * 3999)] * 300],
    "an exponent of a float": ["Float", "0", "1", 10**12, 1, 53],
    "the precision of a float": ["Float", "0", "1", 1, 1, 10**12],
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("key", ["formula", "lhs", "where"])
def test_no_expression_of_a_file_takes_long(name, key):
    bomb = BOMBS[name]
    text = json.dumps({**RECORD, key: [[X, bomb]] if key == "where" else bomb})
    start = time.process_time()
    with pytest.raises(DataError, match=rf"claim\.{key}"):
        mf.from_json(text)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 50_000,
        json.dumps(RECORD) + " " * 3_000_000,
        json.dumps({**RECORD, "net": {"name": "n", "block": nested("Serial", 400, ["Mix"])}}),
        json.dumps({**RECORD, "net": {"name": "n", "block": ["Dense", nested("exp", 400, X), number(0)]}}),
        json.dumps({**RECORD, "tolerance": 1}).replace('"tolerance": 1', '"tolerance": 1e400'),
        json.dumps({**RECORD, "tolerance": 1}).replace('"tolerance": 1', '"tolerance": NaN'),
        json.dumps({**RECORD, "tolerance": 1}).replace('"tolerance": 1', '"tolerance": ' + "9" * 5000),
        json.dumps({**RECORD, "version": 2}).replace('"version": 2', '"version": ' + "9" * 4000),
    ],
    ids=range(9),
)
def test_no_file_takes_long(text):
    start = time.process_time()
    with pytest.raises(DataError):
        mf.from_json(text)
    assert time.process_time() - start < 5


def test_what_is_moderate_is_read():
    """The control."""
    for formula in (
        ["Max", *symbols(12)],
        nested("sin", 30, X),
        ["Pow", number(3), number(100)],
        ["factorial", number(50)],
        ["exp", ["Mul", number(-2), ["Pow", number(2), ["Rational", "1", "2"]]]],
    ):
        assert isinstance(mf.from_json(json.dumps({**RECORD, "formula": formula})).formula, sp.Expr)
