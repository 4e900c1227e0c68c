"""Formulas as JavaScript: source text that needs nothing else, lowered as kernels are."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import sympy as sp

from advmf.boundary import public
from advmf.claim import Claim
from advmf.emit.engine.arrays_javascript import JavaScript, Traced, traced
from advmf.emit.engine.backends import function
from advmf.emit.engine.blocks import STIRLING
from advmf.emit.engine.lower import Program, lower
from advmf.emit.engine.rules import RULES
from advmf.emit.engine.scaled import Value
from advmf.errors import ArgumentError, UnsupportedFunctionError
from advmf.expressions import expression
from advmf.functions import Flow, Recursion
from advmf.functions.columns import COLUMNS, NONE, having
from advmf.functions.curves import kinks
from advmf.functions.normal_mean import Integrand
from advmf.symbols import SYMBOLS


@public
def javascript_source(claim: Claim | sp.Expr, name: str = "") -> str:
    """A JavaScript module with a function for the right-hand side of a claim, or for an expression; it loads nothing.

    The function takes an object with the symbols by name, and returns a number. Its ``log`` takes the same and returns
    the logarithm, also where the value is too large for a number. Raises UnsupportedFunctionError, which names it, for
    a function without a JavaScript form: :func:`advmf.emit.kernels.register` takes one as ``javascript=``.

    >>> import advmf as mf
    >>> source = mf.export(mf.loss_bound(mf.vanilla(u=1, v=0), 2, 2, route="leading"), "javascript")
    >>> source.splitlines()[-1]
    'export const T2 = formula(["L","d","K","sigma_w","eps"], ...);'
    """
    if not isinstance(claim, Claim | sp.Expr):
        raise ArgumentError(
            f"javascript_source takes a Claim or a SymPy expression; got {claim!r} of type {type(claim).__name__}."
        )
    given = name or (claim.name if isinstance(claim, Claim) else "f")
    name = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in given)
    name = f"claim_{name}" if name[:1].isdigit() else name
    script = Script()
    written = script.formula(claim.rhs if isinstance(claim, Claim) else claim)
    return f"{runtime()}\n{script.helpers()}\nexport const {name} = {written};\n"


@cache
def runtime() -> str:
    """The source of the arithmetic, with the numbers that it takes from NumPy and SciPy."""
    from scipy.integrate._ivp import dop853_coefficients as dop
    from scipy.special import erfcx

    def scaled_erfcx(t: Any) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):
            x = 4 * (1 + t) / (1 - t)
            return np.where(t == 1, 2 / math.sqrt(math.pi), erfcx(x) * (1 + 2 * x))

    series = np.polynomial.chebyshev.chebinterpolate(scaled_erfcx, 32)
    table = {"A": dop.A[:12, :12], "B": dop.B, "C": dop.C[:12], "E3": dop.E3, "E5": dop.E5}
    numbers = {
        "STIRLING": STIRLING,
        "ERFCX": series.tolist(),
        "DOP853": {key: array.tolist() for key, array in table.items()},
    }
    nodes, weights = np.polynomial.legendre.leggauss(20)
    numbers["LEGENDRE"] = np.stack([nodes, weights], 1).tolist()
    data = "".join(f"const {key} = {json.dumps(value, separators=(',', ':'))};\n" for key, value in numbers.items())
    return data + (files("advmf.emit.engine") / "runtime.js").read_text(encoding="utf-8")


class Script:
    """Formulas of one page, with the functions that they share."""

    def __init__(self) -> None:
        self._sources: dict[str, None] = {}
        self._bodies: dict[str, str] = {}

    def formula(self, expr: Any) -> str:
        """The source of a formula, a call of ``formula`` in the runtime."""
        expr = expression(expr)
        known = {symbol.name: symbol for symbol in expr.free_symbols}
        if len(known) < len(expr.free_symbols):
            raise ArgumentError(f"The expression holds different symbols of one name: {sorted(known)}.")
        names = _sorted(known)
        return f"formula({json.dumps(names, separators=(',', ':'))}, {self._function(expr, names)})"

    def _function(self, expr: sp.Expr, names: list[str]) -> str:
        """An arrow function of the values of symbols to [m, k]."""
        plain = [name if re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) else f"{i}" for i, name in enumerate(names)]
        arrays, inputs = JavaScript.read({f"${name}": None for name in plain})
        values = dict(zip(names, map(Value, inputs)))
        bound = (
            [a for a in expr.atoms(*having("binds")) if a.free_symbols <= expr.free_symbols] if having("binds") else []
        )
        for i, atom in enumerate(sorted(bound, key=sp.default_sort_key)):
            symbol = sp.Symbol(f"bound {i}", real=True)
            expr, values[symbol.name] = expr.xreplace({atom: symbol}), self._bound(atom, values)
        program = lower([expr], list(values), _check)
        (value,) = run(program, arrays, list(values.values()))
        value = arrays.deep(value)
        return self._written([traced(value.m), traced(value.k)], [traced(x) for x in inputs])

    def _bound(self, atom: Any, values: Mapping[str, Value]) -> Value:
        """A function that binds a variable, as a call with a function of this variable."""
        columns = COLUMNS[atom.func]
        inner, operands = columns.binds(atom)  # type: ignore[misc]
        (variable,), own = inner.variables, _sorted({s.name for s in inner.free_symbols})
        body = self.body(self._function(inner.expr, [variable.name, *own]))
        program = lower(list(operands), list(values), _check)
        given = [traced(JavaScript().linear(x)) for x in run(program, JavaScript(), list(values.values()))]
        fixed = [traced(values[name].m) for name in own]
        return Value(Traced("binds", (*given, *fixed), (columns.javascript, body, len(given))))

    def helpers(self) -> str:
        """The functions that the formulas call."""
        return "\n".join([*self._sources, *(f"const {name} = {body};" for body, name in self._bodies.items())])

    def _written(self, outputs: list[Traced], inputs: list[Traced]) -> str:
        """An arrow function from inputs to a list of outputs."""
        lines, places = _Lines(self).of(outputs)
        given, found = ",".join(x.data for x in inputs), ",".join(places)
        return f"({given}) => {{{_constants(lines)}return [{found}];}}" if lines else f"({given}) => [{found}]"

    def own(self, source: str) -> str:
        """The name of a function that a column gives as source."""
        self._sources[source] = None
        return source.removeprefix("function ").partition("(")[0].strip()

    def body(self, source: str) -> str:
        """The name of a loop or of the rates of a flow."""
        return self._bodies.setdefault(source, f"body_{len(self._bodies)}")

    def loop(self, program: Program, size: int, count: int) -> str:
        """A function of the number of steps and of pairs (m, k), the state and what stays fixed, to the last state."""
        arrays, inputs = JavaScript.read({f"z{i}{part}": None for i in range(count) for part in "mk"})
        values = [Value(m, k) for m, k in zip(inputs[::2], inputs[1::2])]
        found = [arrays.deep(value) for value in run(program, arrays, values)]
        lines, places = _Lines(self).of([traced(part) for value in found for part in value[:2]])
        state = [x.data for x in inputs[: 2 * size]]
        parameters, reached = ",".join(["n", *(x.data for x in inputs)]), f"[{','.join(state)}]"
        step = f"{_constants(lines)}{reached} = [{','.join(places)}];"
        return self.body(
            f"({parameters}) => {{n = steps(n); if (n !== n) return [{','.join(['NaN,0'] * size)}];"
            f"for (; n > 0; n--) {{{step}}}return {reached};}}"
        )

    def rates(self, program: Program, size: int, count: int) -> str:
        """A function of the state and of what stays fixed to the rates."""
        lines, places = self._numbers(program, [f"z{i}" for i in range(count)])
        state, fixed = (",".join(f"z{i}" for i in part) for part in (range(size), range(size, count)))
        given = f"[{state}],{fixed}" if fixed else f"[{state}]"
        return self.body(f"({given}) => {{{lines}return [{','.join(places)}];}}")

    def mean(self, head: Integrand) -> str:
        """A function of the variance and of the parameters to the mean of a function of a Gaussian."""
        (f,), letters = head.functions, [f"p{i}" for i in range(len(head.parameters))]
        names = [symbol.name for symbol in head.parameters]
        given = ",".join(letters)
        lines, (value,) = self._numbers(lower([f.expr], [f.variables[0].name, *names], _check), ["z", *letters])
        curve = self.body(f"({','.join(['z', *letters])}) => {{{lines}return {value};}}")
        lines, places = self._numbers(lower(list(kinks(f)), names, _check), letters)
        inner = f"(z) => {curve}(z,{given})" if letters else curve
        return self.body(
            f"kept(({','.join(['Q', *letters])}) => {{{lines}return normal_mean({inner}, [{','.join(places)}], Q);}})"
        )

    def _numbers(self, program: Program, names: list[str]) -> tuple[str, list[str]]:
        """The lines that compute a program from ordinary numbers, and what to write for its outputs."""
        arrays, inputs = JavaScript.read(dict.fromkeys(names))
        found = [traced(arrays.linear(value)) for value in run(program, arrays, list(map(Value, inputs)))]
        lines, places = _Lines(self).of(found)
        return _constants(lines), places


def run(program: Program, arrays: Any, inputs: list[Any]) -> list[Value]:
    """The outputs of a program, where loops and flows stay as they are."""
    rules: Mapping[Any, Any] = {**RULES, Recursion: _loop, Flow: _flow}
    slots = [*[None] * len(program.instructions), *reversed(inputs)]
    for i, (head, args, data) in enumerate(program.instructions):
        slots[i] = rules[head](arrays, data, *[slots[j] for j in args])
    return [slots[j] for j in program.outputs]


def _loop(arrays: Any, data: tuple[Program, int, str], depth: Value, *operands: Value) -> list[Value]:
    program, size, _ = data
    given = [traced(part) for x in map(arrays.deep, operands) for part in x[:2]]
    whole = Traced("loop", (traced(arrays.linear(depth)), *given), (program, size))
    items = [Traced("item", (whole,), i) for i in range(2 * size)]
    return [Value(m, k) for m, k in zip(items[::2], items[1::2])]


def _flow(arrays: Any, data: tuple[Program, tuple[bool, ...]], time: Value, *operands: Value) -> list[Value]:
    program, positive = data
    given = [traced(arrays.linear(x)) for x in (time, *operands)]
    whole = Traced("flow", tuple(given), (program, positive))
    return [Value(Traced("item", (whole,), i)) for i in range(len(positive))]


def _sorted(names: Iterable[str]) -> list[str]:
    order = list(SYMBOLS)
    return sorted(names, key=lambda n: (order.index(n) if n in order else len(order), n))


def _check(expr: sp.Expr) -> None:
    if COLUMNS.get(expr.func, NONE).scaled is None and function("javascript", expr.func) is None:
        name, why = expr.func.__name__, COLUMNS.get(expr.func, NONE).no_javascript
        raise UnsupportedFunctionError(
            f"{name} has no JavaScript form{why and ': '}{why}. Register one: "
            f"advmf.emit.kernels.register({name}, javascript='function ...')."
        )


_INFIX = {"+", "-", "*", "/", "<", "<=", ">", ">=", "===", "!==", "&&", "||"}


class _Lines:
    """Traced expressions as lines of source: equal ones once, and those that are used once within others."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.numbers: dict[int, int] = {}
        self.keys: dict[Any, int] = {}
        self.nodes: list[tuple[Traced, tuple[int, ...]]] = []

    def of(self, outputs: list[Traced]) -> tuple[list[str], list[str]]:
        """The lines, and what to write for each output."""
        places = [self.number(node) for node in outputs]
        uses = [0] * len(self.nodes)
        for place in places:
            uses[place] += 1
        for _, args in self.nodes:
            for arg in args:
                uses[arg] += 1
        texts: list[str] = []
        lines: list[str] = []
        for i, (node, args) in enumerate(self.nodes):
            text = self.text(node, [texts[arg] for arg in args])
            if node.op not in ("constant", "name") and (uses[i] > 1 or len(text) > 400):
                lines.append(f"v{i}={text}")
                text = f"v{i}"
            texts.append(text)
        return lines, [texts[place] for place in places]

    def number(self, node: Traced) -> int:
        """The number of an expression, after those of its operands."""
        todo = [node]
        while todo:
            now = todo[-1]
            waiting = [arg for arg in now.args if id(arg) not in self.numbers]
            if waiting:
                todo += waiting
                continue
            todo.pop()
            if id(now) in self.numbers:
                continue
            args = tuple(self.numbers[id(arg)] for arg in now.args)
            key = (now.op, args, repr(now.data) if now.op == "constant" else now.data)
            if key not in self.keys:
                self.keys[key] = len(self.nodes)
                self.nodes.append((now, args))
            self.numbers[id(now)] = self.keys[key]
        return self.numbers[id(node)]

    def text(self, node: Traced, args: list[str]) -> str:
        op, data = node.op, node.data
        if op == "constant":
            return _number(data)
        if op == "name":
            return str(data)
        if op in _INFIX:
            return f"({args[0]}{op}{args[1]})"
        if op == "?":
            return f"({args[0]}?{args[1]}:{args[2]})"
        if op == "!":
            return f"!{args[0]}"
        if op == "item":
            return f"{args[0]}[{data}]"
        if op == "own":
            return f"{self.script.own(data)}({','.join(args)})"
        if op == "mean":
            return f"{self.script.mean(data)}({','.join(args)})"
        if op == "binds":
            source, body, count = data
            inner = f"(x) => linear(...{body}({','.join(['x', *args[count:]])}))"
            return f"{self.script.own(source)}({','.join([inner, *args[:count]])})"
        if op == "loop":
            program, size = data
            return f"{self.script.loop(program, size, (len(args) - 1) // 2)}({','.join(args)})"
        if op == "flow":
            program, positive = data
            size, rates = len(positive), self.script.rates(program, len(positive), len(args) - 1)
            start, fixed = args[1 : size + 1], args[size + 1 :]
            right = rates if not fixed else f"(z) => {rates}({','.join(['z', *fixed])})"
            return f"flow({right}, {args[0]}, [{','.join(start)}], {json.dumps(positive)})"
        return f"{op}({','.join(args)})"


def _constants(lines: list[str]) -> str:
    return f"const {','.join(lines)};" if lines else ""


def _number(value: float | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "(-Infinity)"
    text = repr(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
    return f"({text})" if text.startswith("-") else text
