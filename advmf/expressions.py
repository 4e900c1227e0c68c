"""Parsing strings as expressions, by a small grammar and without evaluating code. Text becomes a formula only here.

SymPy's own ``sympify`` passes strings to ``eval``.
"""

from __future__ import annotations

import difflib
import re
from typing import Any

import sympy as sp

from advmf.errors import ArgumentError
from advmf.quantities import SYMBOLS

LONGEST, DEEPEST = 2_000, 50
"""The most characters of a text, and the most nested brackets."""
LARGEST = 4_000
"""The most digits of a number, since SymPy computes it at once; Python writes at most 4,300."""
FACTORIAL = 1_000
"""The largest number whose factorial or gamma function is computed."""

FUNCTIONS: dict[str, Any] = {
    "ln": sp.log, "sqrt": sp.sqrt, "abs": sp.Abs, "max": sp.Max, "min": sp.Min,
    **{head.__name__: head for head in (
        sp.exp, sp.log, sp.Abs, sp.sign, sp.Max, sp.Min, sp.gamma, sp.loggamma, sp.factorial, sp.erf, sp.erfc, sp.erfinv, sp.floor, sp.ceiling,
        sp.sin, sp.cos, sp.tan, sp.asin, sp.acos, sp.atan, sp.sinh, sp.cosh, sp.tanh, sp.asinh, sp.acosh, sp.atanh,
    )},
}  # fmt: skip
CONSTANTS: dict[str, Any] = {
    "pi": sp.pi,
    "E": sp.E,
    "oo": sp.oo,
    "inf": sp.oo,
    "infinity": sp.oo,
    "EulerGamma": sp.EulerGamma,
}
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_][A-Za-z_0-9]*)|(?P<sign>\*\*|[-+*/^(),]))",
    re.ASCII,
)


def expression(value: object, numbers_only: bool = True) -> Any:
    """A number, a SymPy expression, or a string as a SymPy expression. With ``numbers_only=False`` equations, sets and
    matrices are accepted too.

    A string consists of numbers, the symbols of :data:`advmf.symbols.SYMBOLS`, pi, E, oo, ``+ - * / **`` (or ``^``),
    brackets and SymPy's elementary functions. Decimals are exact: ``"0.1"`` is 1/10. Raises ArgumentError, which names
    the place, for anything else, and for numbers that would keep SymPy busy.

    >>> from advmf.expressions import expression
    >>> expression("sigma_w**2/2 + 0.5"), expression("exp(-eps)"), expression(3)
    (sigma_w**2/2 + 1/2, exp(-eps), 3)
    >>> expression("sigma * 2")
    Traceback (most recent call last):
        ...
    advmf.errors.ArgumentError: 'sigma * 2' is no expression: 'sigma' at 1 is unknown (did you mean 'sigma_w'?).
    """
    if isinstance(value, str):
        with sp.evaluate(True):
            return _Parser(value).whole()
    if isinstance(value, bool):
        raise ArgumentError(f"Expected a number, a SymPy expression or a string; got {value!r}.")
    try:
        if isinstance(value, tuple | dict | set | frozenset):  # SymPy would evaluate strings in them
            raise TypeError
        found = sp.sympify(value, strict=True)
        if numbers_only and (not isinstance(found, sp.Expr) or found.is_Matrix):
            raise TypeError
        return found
    except (sp.SympifyError, TypeError, ValueError, AttributeError, OverflowError):
        kind = type(value).__name__
        raise ArgumentError(
            f"Expected a number, a SymPy expression or a string; got {value!r:.80} of type {kind}."
        ) from None


class _Parser:
    """A recursive-descent parser: sums of products of signed factors, which are powers of atoms."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self.depth = text, 0, 0
        if len(text) > LONGEST:
            raise ArgumentError(f"An expression has at most {LONGEST} signs; got {len(text)}: {text!r:.60}.")
        self.tokens: list[tuple[str, str, int]] = []
        end = len(text.rstrip())
        place = 0
        while place < end:
            found = _TOKEN.match(text, place)
            if found is None:
                raise self._error(f"{text[place:].strip()[:1]!r} at {place + 1} is no sign of one")
            kind = str(found.lastgroup)
            self.tokens.append((kind, found[kind], found.start(kind) + 1))
            place = found.end()

    def _error(self, why: str) -> ArgumentError:
        return ArgumentError(f"'{self.text:.80}' is no expression: {why}.")

    @property
    def next(self) -> tuple[str, str, int]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "", len(self.text) + 1)

    def accept(self, *signs: str) -> str:
        kind, text, _ = self.next
        if kind != "sign" or text not in signs:
            return ""
        self.at += 1
        return text

    def expect(self, sign: str) -> None:
        if not self.accept(sign):
            _, text, place = self.next
            raise self._error(f"expected {sign!r} at {place}" + (f", not {text!r}" if text else ""))

    def whole(self) -> Any:
        found = self.sum()
        kind, text, place = self.next
        if kind != "end":
            raise self._error(f"{text!r} at {place} is left over")
        if found.has(sp.nan, sp.zoo):
            raise self._error("it divides by zero or subtracts infinities")
        return found

    def sum(self) -> Any:
        self.depth += 1
        if self.depth > DEEPEST:
            raise self._error(f"it has more than {DEEPEST} brackets within brackets")
        found = self.product()
        while sign := self.accept("+", "-"):
            term = self.product()
            found = self._sized(found + term if sign == "+" else found - term)
        self.depth -= 1
        return found

    def product(self) -> Any:
        found = self.signed()
        while sign := self.accept("*", "/"):
            factor = self.signed()
            found = self._sized(found * factor if sign == "*" else found / factor)
        return found

    def _sized(self, found: Any) -> Any:
        number = found.as_coeff_Mul()[0]
        if number.is_Rational and max(abs(number.p), number.q).bit_length() > 3.3 * LARGEST:
            raise self._error(f"a number in it has more than {LARGEST} digits")
        return found

    def signed(self) -> Any:
        negative = False
        while sign := self.accept("+", "-"):
            negative ^= sign == "-"
        found = self.power()
        return -found if negative else found

    def power(self) -> Any:
        factors = [self.atom()]
        while self.accept("**", "^"):
            negative = False
            while sign := self.accept("+", "-"):
                negative ^= sign == "-"
            factors.append(-self.atom() if negative else self.atom())
        found = factors.pop()
        while factors:
            found = self._raised(factors.pop(), found)
        return found

    def _raised(self, base: Any, power: Any) -> Any:
        numbers = base.is_number and power.is_number and power.is_finite and base not in (-1, 0, 1)
        if numbers and abs(power) * len(str(base)) > LARGEST:
            raise self._error(f"a number in it has more than {LARGEST} digits")
        return base**power

    def atom(self) -> Any:
        kind, text, place = self.next
        self.at += 1
        if kind == "number":
            if abs(int(re.split("[eE]", text)[1])) > LARGEST if re.search("[eE]", text) else False:
                raise self._error(f"the number at {place} has more than {LARGEST} digits")
            return sp.Rational(text)
        if kind == "sign" and text == "(":
            found = self.sum()
            self.expect(")")
            return found
        if kind != "name":
            raise self._error(f"{text!r} at {place} is out of place" if text else "it ends too soon")
        if text in FUNCTIONS and self.accept("("):
            return self._call(text)
        if text in SYMBOLS:
            return SYMBOLS[text].symbol
        if text in CONSTANTS:
            return CONSTANTS[text]
        near = difflib.get_close_matches(text, [*SYMBOLS, *CONSTANTS, *FUNCTIONS], n=1)
        known = "; known are the symbols of advmf.symbols, pi, E, oo and SymPy's elementary functions"
        raise self._error(f"{text[:40]!r} at {place} is unknown{f' (did you mean {near[0]!r}?)' if near else known}")

    def _call(self, name: str) -> Any:
        args = [self.sum()]
        while self.accept(","):
            args.append(self.sum())
        self.expect(")")
        if name.lower() not in ("max", "min") and len(args) != 1:
            raise self._error(f"{name} takes one argument, not {len(args)}")
        if name in ("gamma", "loggamma", "factorial") and args[0].is_number and not bool(abs(args[0]) <= FACTORIAL):
            raise self._error(f"{name} of a number takes at most {FACTORIAL}")
        return FUNCTIONS[name](*args)
