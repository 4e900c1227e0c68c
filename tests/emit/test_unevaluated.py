"""Formulas that SymPy was told not to evaluate: what is printed and what is compiled has the value of the formula as it
stands."""

import re

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import advmf as mf
from advmf.emit.formats.python_source import python_source
from advmf.emit.typeset.breaking import Breaker
from advmf.emit.typeset.printer import Printer

A, B, C = sp.symbols("a b h", positive=True)
AT = {"a": 1.375, "b": 0.8125, "h": 2.625}


def value(expr):
    """The number of a formula, by its tree alone."""
    if expr.is_Symbol:
        return mpmath.mpf(AT[expr.name])
    if expr.is_Number or expr.is_NumberSymbol:
        return mpmath.mpf(sp.N(expr, 40))
    args = [value(arg) for arg in expr.args]
    heads = {
        sp.Add: lambda *x: mpmath.fsum(x),
        sp.Mul: lambda *x: mpmath.fprod(x),
        sp.Pow: lambda x, y: x**y,
        sp.exp: mpmath.exp,
        sp.log: mpmath.log,
        sp.cos: mpmath.cos,
        sp.UnevaluatedExpr: lambda x: x,
    }
    return heads[expr.func](*args)


def leaves():
    numbers = [-3, -1, -1, 0, 1, 1, 2, sp.Rational(1, 2), sp.Rational(-2, 3)]
    return st.sampled_from([A, B, C, A, B, C, *map(sp.sympify, numbers), sp.pi, sp.Float(0.5)])


def larger(inner):
    """Sums, products, powers and functions of parts, each evaluated or not."""
    told = st.booleans()
    some = st.lists(inner, min_size=1, max_size=4)
    powers = st.sampled_from([-2, -1, sp.Rational(-1, 2), sp.Rational(1, 2), 1, 2, A, -B, A + C, -(A + C)])
    return st.one_of(
        st.builds(lambda args, e: sp.Add(*args, evaluate=e), some, told),
        st.builds(lambda args, e: sp.Mul(*args, evaluate=e), some, told),
        st.builds(lambda x: sp.Mul(-1, x, evaluate=False), inner),
        st.builds(lambda x, n, e: sp.Pow(x, n, evaluate=e), inner, powers, told),
        st.builds(lambda x: sp.collect_const(sp.expand(-x)), inner),
        st.builds(sp.UnevaluatedExpr, inner),
        st.builds(lambda head, x: head(x, evaluate=False), st.sampled_from([sp.exp, sp.log, sp.cos]), inner),
    )


FORMULAS = st.recursive(leaves(), larger, max_leaves=9)


def real(expr):
    """Whether all parts of a formula are real numbers of moderate size, none of them lost to cancellation; and its
    value."""
    assume(isinstance(expr, sp.Expr) and expr.free_symbols and not expr.has(sp.nan, sp.zoo, sp.oo, sp.I))
    try:
        parts = [value(part) for part in sp.preorder_traversal(expr)]
    except (ZeroDivisionError, ValueError, KeyError):
        assume(False)
    assume(all(isinstance(p, mpmath.mpf) and mpmath.isfinite(p) and (p == 0 or 1e-4 < abs(p) < 1e4) for p in parts))
    # What is raised to a power may have rounded in the evaluation of a part that is zero.
    assume(not any(p.is_Pow and abs(value(p.base)) < 1e-4 for p in sp.preorder_traversal(expr)))
    return parts[0]


def error(expr):
    """What rounding may change in a value all of whose parts are below 1e4: each of some thousand operations by one
    unit."""
    size = sum(abs(value(part)) for part in sp.preorder_traversal(expr))
    return float(2.0**-52 * 1e4 * (1 + size))


GIVEN = [
    C + sp.collect_const(-A - B),
    sp.Add(A, 1, evaluate=False),
    sp.Add(1, 1, A, evaluate=False),
    sp.Add(A, 1, B, 1, evaluate=False),
    sp.Add(A, -sp.UnevaluatedExpr(B - C), evaluate=False),
    sp.Mul(A, -1, sp.Add(B, C), -1, evaluate=False),
    sp.Mul(-1, sp.Mul(-1, A + 1, evaluate=False), evaluate=False),
    sp.Mul(sp.Mul(A, 2, evaluate=False), sp.Rational(1, 2), evaluate=False),
    A - sp.Mul(sp.Rational(1, 2), sp.Add(B, C), evaluate=False),
    sp.exp(sp.Mul(-1, A + B, evaluate=False)),
    A + sp.Pow(sp.Rational(1, 2), -2, evaluate=False),
    sp.Pow(sp.Add(A, 1, evaluate=False), sp.Add(B, 1, 1, evaluate=False), evaluate=False),
]


@pytest.mark.parametrize("expr", GIVEN, ids=str)
def test_what_is_written_and_compiled_is_what_was_given(expr):
    check(expr)


@given(FORMULAS)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_whatever_is_not_evaluated_keeps_its_value(expr):
    real(expr)
    check(expr)


def check(expr):
    expected, off = value(expr), error(expr)
    assert abs(read(Printer().doprint(expr), **AT) - expected) <= off, Printer().doprint(expr)
    lines = " ".join(line.replace("{}", "").replace(r"\times", "") for line in Breaker(Printer()).lines(expr, 6.0))
    assert abs(read(lines, **AT) - expected) <= off, lines
    at = {name: x for name, x in AT.items() if name in {s.name for s in expr.free_symbols}}
    rows = {name: np.full(300, x) for name, x in at.items()}
    for backend in ("numpy", "torch"):
        assert abs(float(mf.kernel(expr, backend)(**at)) - expected) <= off, backend
        assert (abs(np.asarray(mf.kernel(expr, backend)(**rows)) - float(expected)) <= off).all(), backend
    space = {}
    exec(python_source(expr), space)
    assert abs(space["f"](**at) - expected) <= off


@pytest.mark.parametrize("expr", GIVEN, ids=str)
def test_native_code_and_derivatives_keep_the_value(expr):
    rows = {s.name: np.full(2000, AT[s.name]) for s in expr.free_symbols}
    values, slopes = mf.kernel(expr, "native", grad="a")(**rows)
    assert (abs(values - float(value(expr))) <= error(expr)).all()
    plain = sp.diff(expr.doit(), A)
    assert (abs(slopes["a"] - float(value(plain))) <= error(expr)).all()


def test_sympy_that_evaluates_nothing_changes_no_formula():
    """Under sympy.evaluate(False) what is built here would not be evaluated either."""
    with sp.evaluate(False):
        expr = sp.sqrt(A + 1) / (B - 1 + 1) ** 2
        text, numbers = mf.latex(expr), mf.kernel(expr)(a=AT["a"], b=AT["b"])
        log = mf.kernel(expr).log(a=AT["a"], b=AT["b"])
    expected = mpmath.sqrt(AT["a"] + 1) / mpmath.mpf(AT["b"]) ** 2
    assert abs(read(text, **AT) - expected) < 1e-14
    assert abs(numbers - expected) < 1e-14
    assert abs(log - mpmath.log(expected)) < 1e-14


# What a reader of LaTeX would compute

_TOKENS = re.compile(r"\\(?:[A-Za-z]+|.)|\d+\.?\d*|[A-Za-z]|\S")
_SKIPPED = (r"\,", r"\;", r"\left", r"\right", r"\Bigl", r"\Bigr", r"\displaystyle", r"\quad", r"\qquad")
_FUNCTIONS = {r"\ln": mpmath.log, r"\exp": mpmath.exp, r"\sin": mpmath.sin, r"\cos": mpmath.cos, r"\max": max}


def read(text, **values):
    """The value of a formula of fractions, roots, powers, brackets and elementary functions; fails for what it cannot
    read."""
    return _Reader(text, values).whole()


class _Reader:
    def __init__(self, text, values):
        self.tokens = [t for t in _TOKENS.findall(text) if t not in _SKIPPED]
        self.values, self.at = values, 0

    def whole(self):
        value = self.sum()
        assert self.at == len(self.tokens), f"{self.tokens[self.at :]} is left over of {' '.join(self.tokens)}"
        return value

    @property
    def next(self):
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, *expected):
        token = self.next
        assert token and (not expected or token in expected), f"{token!r} at {self.at} of {' '.join(self.tokens)}"
        self.at += 1
        return token

    def sum(self):
        total = mpmath.mpf(0)
        sign = self.take() if self.next in ("-", "+") else "+"
        while True:
            total += self.product() * (-1 if sign == "-" else 1)
            if self.next not in ("+", "-"):
                return total
            sign = self.take()

    def product(self):
        value = self.power()
        while self.next not in ("", "+", "-", ")", "]", "}", ",", "|"):
            if self.next == "/":
                self.take()
                value /= self.power()
            else:
                if self.next == r"\cdot":
                    self.take()
                value *= self.power()
        return value

    def power(self):
        base = self.atom()
        if self.next == "^":
            self.take()
            return base ** self.group()
        return base

    def group(self):
        if self.next != "{":
            return self.atom()
        self.take()
        value = self.sum()
        self.take("}")
        return value

    def atom(self):
        token = self.take()
        if token == r"\frac":
            return self.group() / self.group()
        if token == r"\sqrt":
            return mpmath.sqrt(self.group())
        if token in _FUNCTIONS:
            power = 1
            if self.next == "^":
                self.take()
                power = self.group()
            if self.next == "{":
                self.take()
                value = _FUNCTIONS[token](*self.bracket()) ** power
                self.take("}")
                return value
            if self.next not in ("(", "["):
                return _FUNCTIONS[token](self.power()) ** power
            return _FUNCTIONS[token](*self.bracket()) ** power
        if token in ("(", "["):
            self.at -= 1
            (value,) = self.bracket()
            return value
        if token == r"\pi":
            return +mpmath.pi
        if token == "e":
            return +mpmath.e
        if token[0].isdigit():
            return mpmath.mpf(token)
        assert token in self.values, f"{token!r} at {self.at} of {' '.join(self.tokens)}"
        return self.values[token]

    def bracket(self):
        self.take("(", "[")
        values = [self.sum()]
        while self.next == ",":
            self.take()
            values.append(self.sum())
        self.take(")", "]")
        return values
