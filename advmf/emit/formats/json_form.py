"""Claims as JSON that reads back to an equal claim, and is read without evaluating any text.

An expression is a nested list ``[head, argument, ...]``: numbers as ``["Integer", "3"]`` and ``["Rational", "1",
"2"]``, a symbol by its name and its assumptions, everything else by the name of its head. Only heads in :func:`heads`
are accepted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from inspect import isabstract
from typing import Any, cast

import sympy as sp
from sympy.core.assumptions import _assume_defined
from sympy.external.gmpy import MPZ

from advmf import observables
from advmf.boundary import public
from advmf.claim import Claim, Equation, Regime, Relation
from advmf.emit.formats.affordable import LARGEST, digits_of, require_affordable
from advmf.errors import AdvmfError, ArgumentError, DataError
from advmf.functions.columns import COLUMNS, having
from advmf.nets import Block, Net, Stage

FORMAT, VERSION = "advmf claim", 2
"""The format's name and version. Version 1 had no depth; its claims are read as holding at every depth."""

LONGEST, DEEPEST = 2_000_000, 60
"""The most characters of a file, and of nested brackets."""

_BASICS = (
    sp.Add, sp.Mul, sp.Pow, sp.exp, sp.log, sp.Abs, sp.sign, sp.Max, sp.Min, sp.gamma, sp.loggamma, sp.factorial, sp.erf, sp.erfc, sp.erfinv,
    sp.acos, sp.asin, sp.atan, sp.sin, sp.cos, sp.tanh, sp.zeta, sp.Heaviside, sp.Tuple, sp.Lambda, sp.Piecewise,
    sp.functions.elementary.piecewise.ExprCondPair,
    sp.Eq, sp.Ne, sp.Lt, sp.Le, sp.Gt, sp.Ge, sp.And, sp.Or, sp.Not,
)  # fmt: skip
_CONSTANTS = {
    "pi": sp.pi, "E": sp.E, "oo": sp.oo, "-oo": -sp.oo, "I": sp.I, "nan": sp.nan, "EulerGamma": sp.EulerGamma, "True": sp.true, "False": sp.false,
}  # fmt: skip


def heads() -> dict[str, Any]:
    """The heads that JSON may hold, by name: SymPy's elementary ones, the special functions with the column ``json``,
    and the observables of the theory."""
    return _heads(tuple(COLUMNS.values()))


@lru_cache(maxsize=8)
def _heads(_: Any) -> dict[str, Any]:
    own = [
        value
        for value in vars(observables).values()
        if isinstance(value, type)
        and issubclass(value, sp.Function)
        and value.__module__.startswith(observables.__name__)
    ]
    functions = sorted(having("json"), key=lambda head: head.__name__)
    return {head.__name__: head for head in (*_BASICS, *functions, *own)}


@public
def to_json(claim: Claim) -> str:
    """A claim as JSON, from which :func:`from_json` makes an equal claim.

    Raises ArgumentError for anything but a claim, and for a claim with parts that JSON has no name for, such as a dummy
    symbol or a user's function.

    >>> import advmf as mf
    >>> claim = mf.loss_bound(mf.residual(), "inf", 2)
    >>> mf.from_json(mf.to_json(claim)) == claim
    True
    """
    if not isinstance(claim, Claim):
        raise ArgumentError(f"to_json takes a Claim; got {claim!r} of type {type(claim).__name__}.")
    record = {
        "format": FORMAT,
        "version": VERSION,
        "name": claim.name,
        "lhs": _expr(claim.lhs),
        "relation": claim.relation,
        "formula": _expr(claim.formula),
        "where": [[_expr(symbol), _expr(meaning)] for symbol, meaning in claim.where.items()],
        "regime": [flag.name for flag in Regime if flag in claim.regime],
        "assumptions": list(claim.assumptions),
        "source": claim.source,
        "net": claim.net and _stages(claim.net),
        "heuristic": claim.heuristic,
        "p": None if claim.p is None else _expr(claim.p),
        "q": None if claim.q is None else _expr(claim.q),
        "equations": [
            {
                "label": e.label,
                "lhs": _expr(e.lhs),
                "rhs": _expr(e.rhs),
                "scale": _expr(e.scale),
                "exact": e.exact,
                "order": e.order,
            }
            for e in claim.equations
        ],
        "tolerance": _expr(claim.tolerance) if isinstance(claim.tolerance, sp.Expr) else claim.tolerance,
        "depth": claim.depth,
    }
    text = json.dumps(record, ensure_ascii=False, indent=1)
    if from_json(text) != claim:
        raise ArgumentError(
            f"{claim.name} does not read back as it is: it holds an expression that SymPy evaluates further. Call doit() on it."
        )
    return text


@public
def from_json(text: str) -> Claim:
    """The claim in a JSON text of :func:`to_json`; nothing in the text is evaluated.

    Raises DataError, which names the place, for text that is no JSON, for another format or version, and for a head, a
    block or a field that is unknown, missing or of the wrong kind.

    >>> import advmf as mf
    >>> mf.from_json('{"format": "advmf claim", "version": 9}')
    Traceback (most recent call last):
        ...
    advmf.errors.DataError: version 9 of the format 'advmf claim' is unknown; this advmf reads versions 1 and 2.
    """
    if isinstance(text, str | bytes) and len(text) > LONGEST:
        raise DataError(
            f"from_json takes at most {LONGEST:,} signs, a hundred times what a claim has; got {len(text):,}."
        )
    try:
        record = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"from_json takes the text that to_json gives; this is no JSON ({error}).") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        found = record.get("format") if isinstance(record, dict) else type(record).__name__
        raise DataError(f"from_json reads the format {FORMAT!r}; got {found!r}.")
    if record.get("version") not in (1, VERSION):
        raise DataError(
            f"version {record.get('version')!r} of the format {FORMAT!r} is unknown; this advmf reads versions 1 and {VERSION}."
        )
    return _claim(_Reader(record, "claim"))


class _Reader:
    """A JSON object and its place in the file, for error messages."""

    def __init__(self, record: Any, place: str) -> None:
        if not isinstance(record, Mapping):
            raise DataError(f"{place}: expected an object; got {record!r:.60}.")
        self.record, self.place = record, place

    def get(self, key: str, kind: Any, words: str) -> Any:
        if key not in self.record:
            raise DataError(f"{self.place}: {key!r} is missing.")
        value = self.record[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise DataError(f"{self.place}.{key}: expected {words}; got {value!r:.60}.")
        return value

    def text(self, key: str) -> str:
        return str(self.get(key, str, "a string"))

    def expr(self, key: str) -> Any:
        return _parse(self.get(key, list, "an expression, [head, ...]"), f"{self.place}.{key}")

    def optional(self, key: str) -> Any:
        return None if self.get(key, (list, type(None)), "an expression or null") is None else self.expr(key)


def _claim(r: _Reader) -> Claim:
    flags = r.get("regime", list, "a list of names")
    known = {flag.name: flag for flag in Regime}
    if unknown := [name for name in flags if not isinstance(name, str) or name not in known]:
        raise DataError(f"{r.place}.regime: {unknown[0]!r} is unknown; expected {', '.join(map(str, known))}.")
    where = {}
    for i, pair in enumerate(r.get("where", list, "a list of pairs")):
        if not isinstance(pair, list) or len(pair) != 2:
            raise DataError(f"{r.place}.where[{i}]: expected [symbol, meaning]; got {pair!r:.60}.")
        symbol, meaning = (_parse(side, f"{r.place}.where[{i}]") for side in pair)
        where[symbol] = meaning
    assumptions = r.get("assumptions", list, "a list of strings")
    if not all(isinstance(words, str) for words in assumptions):
        raise DataError(f"{r.place}.assumptions: expected a list of strings.")
    regime = Regime(0)
    for name in flags:
        regime |= known[name]
    net = r.get("net", (dict, type(None)), "an object or null")
    rows = [_Reader(e, f"{r.place}.equations[{i}]") for i, e in enumerate(r.get("equations", list, "a list"))]
    return _built(r.place, lambda: Claim(
        name=r.text("name"), lhs=r.expr("lhs"), relation=cast(Relation, r.text("relation")), formula=r.expr("formula"), where=where, regime=regime,
        assumptions=tuple(assumptions), source=r.text("source"), net=None if net is None else _net(_Reader(net, f"{r.place}.net")),
        heuristic=r.text("heuristic"), p=r.optional("p"), q=r.optional("q"), equations=tuple(map(_equation, rows)),
        tolerance=_tolerance(r), depth=0 if r.record["version"] == 1 else r.get("depth", int, "an integer"),
    ))  # fmt: skip


def _tolerance(r: _Reader) -> float | sp.Expr:
    value = r.get("tolerance", (int, float, list), "a number, or an expression")
    if isinstance(value, list):
        return r.expr("tolerance")
    if not math.isfinite(float(value)):
        raise ValueError(f"a tolerance is a finite number; got {value}")
    return float(value)


def _equation(r: _Reader) -> Equation:
    lhs, rhs, scale = (r.expr(key) for key in ("lhs", "rhs", "scale"))
    exact, order = r.get("exact", bool, "true or false"), r.get("order", int, "a whole number")
    return Equation(r.text("label"), lhs, rhs, scale, exact=exact, order=order)


def _net(r: _Reader) -> Net:
    if "stages" in r.record:
        rows = [_Reader(s, f"{r.place}.stages[{i}]") for i, s in enumerate(r.get("stages", list, "a list of stages"))]
        return _built(r.place, lambda: Net(*map(_stage, rows), name=r.text("name"), **_image(r)))
    block = _parse_block(r.get("block", list, "a block, [name, ...]"), f"{r.place}.block")
    return _built(r.place, lambda: Net(block, name=r.text("name"), **_image(r)))


def _image(r: _Reader) -> dict[str, Any]:
    """The image and the head of a net, if it has them."""
    if "image" not in r.record:
        return {}
    return {"image": r.get("image", list, "channels and sizes, [1, 28, 28]"), "head": r.text("head")}


def _stage(r: _Reader) -> Stage:
    block = _parse_block(r.get("block", list, "a block, [name, ...]"), f"{r.place}.block")
    return _built(r.place, lambda: Stage(block, r.expr("repeat"), r.expr("width")))


def _built(place: str, make: Callable[[], Any]) -> Any:
    """The result of ``make``; its errors are raised again with the place in the file."""
    try:
        return make()
    except DataError:
        raise
    except (AdvmfError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, IndexError) as error:
        raise DataError(f"{place}: {error}") from None


# Expressions


def _expr(expr: Any) -> list[Any]:
    for name, value in _CONSTANTS.items():
        if expr is value or expr == value:
            return [name]
    if isinstance(expr, sp.Integer):
        return ["Integer", str(expr.p)]
    if isinstance(expr, sp.Rational):
        return ["Rational", str(expr.p), str(expr.q)]
    if isinstance(expr, sp.Float):
        return ["Float", str(expr._mpf_[0]), str(expr._mpf_[1]), expr._mpf_[2], expr._mpf_[3], expr._prec]
    if type(expr) is sp.Symbol:
        return ["Symbol", expr.name, dict(sorted(expr._assumptions_orig.items()))]
    name = type(expr).__name__
    if heads().get(name) is not type(expr):
        raise ArgumentError(
            f"JSON has no name for {name}, which occurs in {expr}; it takes symbols, numbers and {', '.join(heads())}."
        )
    return [name, *map(_expr, expr.args)]


def _parse(node: Any, place: str, depth: int = 0) -> Any:
    if depth > DEEPEST:
        raise DataError(f"{place[:80]}...: more than {DEEPEST} expressions within expressions.")
    if not isinstance(node, list) or not node or not isinstance(node[0], str):
        raise DataError(f"{place}: expected an expression, [head, ...]; got {node!r:.60}.")
    head, *given = node
    if head in _CONSTANTS and not given:
        return _CONSTANTS[head]
    if head in ("Integer", "Rational", "Float", "Symbol"):
        return _built(f"{place}: {head}", lambda: _leaf(head, given))
    if head not in heads():
        raise DataError(f"{place}: {head!r:.60} is no head of an expression; known are {', '.join(heads())}.")
    args = [_parse(arg, f"{place}.{head}[{i}]", depth + 1) for i, arg in enumerate(given)]
    require_affordable(head, args, place)
    return _built(f"{place}: {head}", lambda: _applied(heads()[head], args))


def _applied(head: Any, args: list[Any]) -> Any:
    """The head applied to its arguments. Sums, products and powers stay as written, even where SymPy would evaluate
    further, as in 2*(x + 1)."""
    found = head(*args)
    if found.is_Rational and digits_of(found) > LARGEST:
        raise ValueError(f"a number has more than {LARGEST} digits")
    if head in (sp.Add, sp.Mul, sp.Pow) and not (found.func is head and found.args == tuple(args)):
        return head(*args, evaluate=False)
    return found


def _leaf(head: str, given: list[Any]) -> Any:
    if head == "Symbol":
        name, assumptions = given
        if not isinstance(name, str) or not name or not isinstance(assumptions, dict):
            raise ValueError("expected a name and its assumptions")
        if not all(isinstance(value, bool) for value in assumptions.values()) or not set(assumptions) <= _ASSUMPTIONS:
            raise ValueError(f"{assumptions!r:.80} are no assumptions of a symbol")
        return sp.Symbol(name, **assumptions)
    if head == "Float":
        sign, mantissa, exponent, bits, precision = given
        number = (int(sign), int(mantissa), int(exponent), int(bits))
        if max(abs(number[2]), int(precision)) > LARGEST:
            raise ValueError("its exponent or precision is too large")
        return sp.Float._new(tuple(map(MPZ, number[:2])) + number[2:], int(precision))
    numbers = [int(digits) for digits in given if isinstance(digits, str) and len(digits) <= LARGEST]
    if len(numbers) != len(given) or len(given) != {"Integer": 1, "Rational": 2}[head] or numbers[1:] == [0]:
        raise ValueError(f"expected whole numbers as strings; got {given!r:.60}")
    return sp.Rational(*numbers)


_ASSUMPTIONS = set(_assume_defined)


# Networks


def _stages(net: Net) -> dict[str, Any]:
    """A net as JSON: its block if it repeats one, else its stages."""
    image = {} if net.image is None else {"image": list(net.image), "head": net.head}
    if net.repeated:
        return {"name": net.name, "block": _block(net.block), **image}
    stages = [{"block": _block(s.block), "repeat": _expr(s.repeat), "width": _expr(s.width)} for s in net.stages]
    return {"name": net.name, "stages": stages, **image}


def _block(block: Block) -> list[Any]:
    if Block.kinds.get(type(block).__name__) is not type(block):
        raise ArgumentError(
            f"JSON has the name {type(block).__name__} for another kind of block than {block!r}; call yours otherwise."
        )
    return [type(block).__name__, *(_block(part) if isinstance(part, Block) else _expr(part) for part in block.parts)]


def _parse_block(node: Any, place: str, depth: int = 0) -> Block:
    if depth > DEEPEST:
        raise DataError(f"{place}: more than {DEEPEST} blocks within blocks.")
    if not isinstance(node, list) or not node or not isinstance(node[0], str):
        raise DataError(f"{place}: expected a block, [name, ...]; got {node!r:.60}.")
    head, *given = node
    kind = Block.kinds.get(head)
    if kind is None or isabstract(kind):
        known = ", ".join(name for name, each in Block.kinds.items() if not isabstract(each))
        raise DataError(f"{place}: {head!r:.60} with {len(given)} arguments is no block; known are {known}.")
    parts = [
        _parse_block(part, f"{place}.{head}[{i}]", depth + 1)
        if isinstance(part, list) and part and part[0] in Block.kinds
        else _parse(part, f"{place}.{head}")
        for i, part in enumerate(given)
    ]
    found: Block = _built(place, lambda: kind.of(*parts))
    return found
