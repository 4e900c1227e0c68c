"""A claim as a Python function that needs no advmf: source text on top of math, NumPy and SciPy."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import sympy as sp
from sympy.core.function import AppliedUndef
from sympy.printing.codeprinter import PrintMethodNotImplementedError
from sympy.printing.numpy import SciPyPrinter
from sympy.printing.precedence import precedence
from sympy.printing.pycode import PythonCodePrinter

from advmf.claim import Claim
from advmf.emit.canonical import canonical, evaluating
from advmf.emit.engine.integrate import integrate
from advmf.emit.formats.bundle import bundled
from advmf.emit.formats.names import python_name, words
from advmf.errors import ArgumentError, UnsupportedFunctionError
from advmf.functions import Flow, OverGaussians, Recursion
from advmf.functions.columns import COLUMNS, NONE
from advmf.functions.curves import kinks, stable
from advmf.symbols import SYMBOLS


@evaluating
def python_source(claim: Claim | sp.Expr, name: str = "") -> str:
    """A Python file with a function for the right-hand side of a claim, or for an expression. It needs math, NumPy and
    SciPy, but no advmf.

    The function takes the symbols as keyword arguments, numbers, and returns a float. Its docstring has the statement,
    the regime, the assumptions and the source. Values beyond the range of a float are inf or an OverflowError, because
    unlike kernels it does not compute in extended range. Raises UnsupportedFunctionError, which names it, for a
    function that has no source here.

    >>> import advmf as mf
    >>> space = {}
    >>> exec(mf.export(mf.loss_bound(mf.vanilla(u=1, v=0), 2, 2, route="leading"), "python"), space)
    >>> space["T2"](L=4, d=100, K=25, sigma_w=2.0, eps=0.5)
    3.0
    """
    if not isinstance(claim, Claim | sp.Expr):
        raise ArgumentError(
            f"python_source takes a Claim or a SymPy expression; got {claim!r} of type {type(claim).__name__}."
        )
    if isinstance(claim, Claim):
        meanings = {symbol: canonical(meaning) for symbol, meaning in claim.where.items()}
        claim = replace(claim, formula=canonical(claim.formula), where=meanings)
    expr = canonical(claim.rhs if isinstance(claim, Claim) else claim)
    name = name or ("".join(c if c.isalnum() else "_" for c in claim.name) if isinstance(claim, Claim) else "f")
    name = f"claim_{name}" if name[:1].isdigit() else name
    if not name.isidentifier():
        raise ArgumentError(f"A function's name is an identifier; got {name!r}.")
    name = python_name(name)
    printer = _Source()
    names = sorted(
        {symbol.name for symbol in expr.free_symbols},
        key=lambda n: (list(SYMBOLS).index(n) if n in SYMBOLS else len(SYMBOLS), n),
    )
    arguments = list(map(python_name, names))
    if len(set(arguments)) != len(expr.free_symbols):
        raise ArgumentError(f"The symbols of {name} have to be different identifiers; got {', '.join(names)}.")
    body = _assignments(claim, printer) if isinstance(claim, Claim) else [f"return float({printer.doprint(expr)})"]
    if isinstance(claim, Claim) and claim.depth and "L" in names:
        body.insert(
            0,
            f'if L < {claim.depth}:\n        raise ValueError(f"L = {{L}}: {claim.name} holds from L = {claim.depth} on")',
        )
    imports, helpers = printer.helpers()
    doc = _docstring(claim, names) if isinstance(claim, Claim) else words(f"{claim}")
    lines = "\n".join(f"    {line}" for line in [f'"""{doc}', '"""', *body])
    signature = f"*, {', '.join(arguments)}, **_" if names else "**_"
    head = '"""Written by advmf; needs NumPy and SciPy only where it imports them."""'
    parts = [part for part in (f"{head}\n\n" + "\n".join(imports), *helpers) if part]
    return "\n\n\n".join([*parts, f"def {_apart(name, parts)}({signature}):\n{lines}"]) + "\n"


def _apart(name: str, parts: Sequence[str]) -> str:
    """The name of the function, with a ``_`` appended where the file already uses that name."""
    tree = ast.parse("\n".join(parts))
    taken = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} | {getattr(n, "name", "") for n in tree.body}
    taken |= {
        alias.asname or alias.name for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom) for alias in n.names
    }
    return f"{name}_" if name in taken else name


def _assignments(claim: Claim, printer: _Source) -> list[str]:
    """Definitions of the abbreviations, each before its uses, and the formula."""
    needed = set(claim.formula.free_symbols)
    while more := {x for s in needed & set(claim.where) for x in claim.where[s].free_symbols} - needed:
        needed |= more
    given = {s for e in (claim.formula, *claim.where.values()) for s in e.free_symbols} - set(claim.where)
    if {python_name(s.name) for s in claim.where} & {python_name(s.name) for s in given}:
        return [f"return float({printer.doprint(claim.rhs)})"]
    out = [
        f"{python_name(s.name)} = {printer.doprint(meaning)}"
        for s, meaning in reversed(list(claim.where.items()))
        if s in needed
    ]
    return [*out, f"return float({printer.doprint(claim.formula)})"]


def _docstring(claim: Claim, names: Sequence[str]) -> str:
    from advmf.emit.typeset.prose import regime

    where = "; ".join(f"{s} = {meaning}" for s, meaning in claim.where.items())
    rows = [f"{claim.lhs} {claim.relation} {claim.formula}", ""]
    rows += [f"where {where}", ""] if where else []
    rows += [f"{name}: {SYMBOLS[name].meaning}, in {SYMBOLS[name].domain}" for name in names if name in SYMBOLS]
    rows += [f"{python_name(name)}: {name}" for name in names if python_name(name) != name]
    rows += ["", f"Regime: {regime(claim)}.", *([f"Heuristic: {claim.heuristic}."] if claim.heuristic else [])]
    rows += [f"Assumes: {words}." for words in claim.assumptions]
    rows += [f"Source: {claim.source}."]
    return words("\n    ".join(rows)).replace("    \n", "\n")


class _Source(PythonCodePrinter):
    """SymPy's printer of Python, extended to record the functions it calls; loops and systems become functions of their
    own."""

    def __init__(self) -> None:
        super().__init__({"fully_qualified_modules": True})
        self._helpers: dict[Any, str] = {}
        self._functions: list[str] = []
        self._bundled: dict[Any, Callable[..., Any]] = {}
        self._libraries: dict[str, None] = {}

    def helpers(self) -> tuple[list[str], list[str]]:
        """The imports and the source of the functions that were called."""
        imports, source = bundled(self._bundled.values()) if self._bundled else (["import math"], "")
        imports += [line for line in ("import numpy as np",) if Flow in self._bundled and line not in imports]
        imports += [line for line in self._libraries if line not in imports]
        return imports, [*([source] if source else []), *self._helpers.values(), *self._functions]

    def _print_Symbol(self, expr: sp.Symbol) -> str:
        return python_name(f"_{expr.name}" if isinstance(expr, sp.Dummy) else expr.name)

    _print_Dummy = _print_Symbol

    def _print_gamma(self, expr: sp.gamma) -> str:
        return f"math.gamma({self._print(expr.args[0])})"

    def _print_Mul(self, expr: sp.Mul) -> str:
        """A quotient of gamma functions by their logarithms, because each may overflow."""
        powers = expr.as_powers_dict()
        over, under = ([g for g, n in powers.items() if isinstance(g, sp.gamma) and n == sign] for sign in (1, -1))
        if not (over and under):
            return str(super()._print_Mul(expr))
        terms = " + ".join(f"math.lgamma({self._print(g.args[0])})" for g in over)
        minus = "".join(f" - math.lgamma({self._print(g.args[0])})" for g in under)
        rest = expr / sp.Mul(*over) * sp.Mul(*under)
        ratio = f"math.exp({terms}{minus})"
        return ratio if rest == 1 else f"{self.parenthesize(rest, precedence(expr))}*{ratio}"

    def _print_Infinity(self, expr: Any) -> str:
        return "math.inf"

    def _print_Function(self, expr: Any) -> str:
        if isinstance(expr, OverGaussians):
            return self._mean(expr)
        head, columns = type(expr), COLUMNS.get(type(expr), NONE)
        call = f"{columns.called}({', '.join(map(self._print, expr.args))})"
        if isinstance(columns.python, str):
            self._helpers[head] = columns.python
            return call
        if columns.python:
            self._bundled[head] = columns.python
            return f"float({call})"
        if columns.applied and not isinstance(other := columns.applied(expr), tuple):
            return str(self._print(other))
        what = "a function of your own" if isinstance(expr, AppliedUndef) else "no source text"
        raise UnsupportedFunctionError(
            f"A Python function cannot be written: {head.__name__} is {what}, and occurs in {expr}."
        )

    def _mean(self, expr: OverGaussians) -> str:
        """The functions and the places of their kinks are written for arrays; their other symbols become arguments."""
        names = [self._print(s) for s in expr.parameters]
        lines, places = [], []
        for f in expr.functions:
            lines.append(
                f"lambda {', '.join(map(self._print, (*f.variables, *expr.parameters)))}: {self._arrays(stable(f.expr, f.variables[0]))}"
            )
            places.append(f"lambda {', '.join(names)}: ({''.join(f'{self._arrays(kink)}, ' for kink in kinks(f))})")
        columns: Any = COLUMNS[type(expr)]
        self._bundled[type(expr)] = columns.python
        kinked = places[0] if len(places) == 1 else f"({', '.join(places)})"
        arguments = [*lines, kinked, *map(self._print, expr.moments), *names]
        return f"float({columns.called}({', '.join(arguments)}))"

    def _arrays(self, expr: sp.Expr) -> str:
        """The expression for NumPy arrays, with full names such as ``numpy.exp``; the source imports these
        libraries."""
        printer = SciPyPrinter({"fully_qualified_modules": True})
        try:
            text = str(printer.doprint(expr))
        except PrintMethodNotImplementedError as error:
            raise UnsupportedFunctionError(
                f"A Python function of arrays cannot be written of {expr}: {str(error).splitlines()[0]}."
            ) from None
        self._libraries.update(dict.fromkeys(f"import {library}" for library in printer.module_imports))
        return text

    def _print_Recursion(self, expr: Recursion) -> str:
        depth, variables, updates, start, variable = expr.args
        state = ", ".join(self._print(z) for z in variables) + ","
        name, fixed = f"recursion_{len(self._functions) + 1}", sorted(self._fixed(expr))
        self._functions.append("")  # reserves its place before the functions that it calls
        place = len(self._functions) - 1
        steps = ", ".join(map(self._print, updates)) + ","
        self._functions[place] = (
            (
                f"def {name}(steps, start{''.join(f', {n}' for n in fixed)}):\n    if steps < 0 or steps != int(steps):\n"
                f'        raise ValueError(f"a recursion takes whole numbers of steps; got {{steps}}")\n    {state} = start\n'
                f"    for _ in range(int(steps)):\n        {state} = {steps}\n    return {self._print(variable)}"
            )
            .replace(",, =", ", =")
            .replace(", =", ", =")
        )
        begin = ", ".join(map(self._print, start)) + ","
        return f"{name}({self._print(depth)}, ({begin}){''.join(f', {n}' for n in fixed)})"

    def _print_Flow(self, expr: Flow) -> str:
        time, variables, rates, start, variable = expr.args
        self._bundled[Flow] = integrate
        name, fixed = f"flow_{len(self._functions) + 1}", sorted(self._fixed(expr))
        self._functions.append("")
        place = len(self._functions) - 1
        positive = tuple(bool(z.is_positive) for z in variables)
        slopes = [rate / z if log else rate for rate, z, log in zip(rates, variables, positive)]
        state = ", ".join(self._print(z) for z in variables)
        body = ", ".join(map(self._print, slopes))
        self._functions[place] = (
            f"def {name}(time, start{''.join(f', {n}' for n in fixed)}):\n    def rates(state, _):\n        {state}, = state[:, 0]\n"
            f"        return np.array([[float(rate)] for rate in ({body},)])\n\n"
            f"    begin = np.array(start, float)[:, None]\n"
            f"    found = integrate(rates, np.array([float(time)]), begin, np.empty((0, 1)), {positive})\n"
            f"    return float(found[{list(variables).index(variable)}, 0])"
        )
        begin = ", ".join(map(self._print, start)) + ","
        return f"{name}({self._print(time)}, ({begin}){''.join(f', {n}' for n in fixed)})"

    def _fixed(self, expr: Recursion | Flow) -> set[str]:
        """The symbols that a step depends on besides the state."""
        return {self._print_Symbol(s) for s in expr.args[2].free_symbols - set(expr.args[1])}
