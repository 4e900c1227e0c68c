"""The width of formulas, and breaking them into lines."""

from __future__ import annotations

import re
from functools import cache

import sympy as sp

from advmf.emit.canonical import canonical
from advmf.emit.typeset.printer import Printer, join, tidy
from advmf.functions.columns import COLUMNS, NONE

_TOKEN = re.compile(r"\\begin\{\w+\}|\\end\{\w+\}|\\[A-Za-z]+|\\.|\s+|.", re.DOTALL)
_WIDTHS = {
    **dict.fromkeys("+-=<>", 1.25), **dict.fromkeys("()[]/|!", 0.45), **dict.fromkeys(",;:.", 0.45), "'": 0.3,
    **dict.fromkeys((r"\le", r"\ge", r"\to", r"\approx", r"\asymp", r"\leftarrow", r"\ne", r"\sim"), 1.4),
    r"\,": 0.17, r"\;": 0.28, r"\:": 0.23, r"\ ": 0.33, r"\!": -0.17, r"\quad": 1.0, r"\qquad": 2.0, r"\infty": 1.0,
    r"\lVert": 0.5, r"\rVert": 0.5, r"\ln": 1.0, r"\max": 2.0, r"\min": 1.8, r"\exp": 1.7, r"\sum": 1.6, r"\omega": 0.65,
    r"\left": 0.45, r"\right": 0.45, r"\displaystyle": 0.0, r"\cdot": 0.72, r"\times": 1.22, r"\alpha": 0.65, r"\sqrt": 0.9,
    "w": 0.75, "m": 0.9, **dict.fromkeys("DKNVW", 0.9),
}  # fmt: skip
_WRAPPERS = (
    r"\mathbb",
    r"\mathcal",
    r"\mathrm",
    r"\operatorname",
    r"\dot",
    r"\widehat",
    r"\text",
    r"\overset",
    r"\bigl",
    r"\bigr",
)


def width(text: str) -> float:
    """The approximate width of displayed LaTeX, in ems; rather too large than too small.

    >>> from advmf.emit.typeset.breaking import width
    >>> width("x + y") < width("x + y + z"), width(r"\\frac{x + y}{2}") < width("x + y + 2")
    (True, True)
    """
    tokens = [token for token in _TOKEN.findall(text) if not token.isspace()]
    return _row(tokens, 0, ())[0]


def _row(tokens: list[str], i: int, ends: tuple[str, ...]) -> tuple[float, int]:
    """The width of the tokens from the i-th to one of ``ends``, and the index of that end; for several rows, the
    largest width."""
    columns, column, gap = [0.0], 0, 1.1
    total = 0.0
    while i < len(tokens) and tokens[i] not in ends:
        if tokens[i] in (r"\\", "&"):
            columns[column] = max(columns[column], total)
            column, total, i = (0 if tokens[i] == r"\\" else column + 1), 0.0, i + 1
            columns += [0.0] * (column == len(columns))
            continue
        size, i = _item(tokens, i)
        scripts = 0.0
        while i < len(tokens) and tokens[i] in ("^", "_"):
            script, i = _item(tokens, i + 1)
            scripts = max(scripts, 0.75 * script)
        total += size + scripts
    columns[column] = max(columns[column], total)
    return sum(columns) + gap * (len(columns) - 1), i


def _item(tokens: list[str], i: int) -> tuple[float, int]:
    token = tokens[i]
    if token == "{":
        size, i = _row(tokens, i + 1, ("}",))
        return size, i + 1
    if token in (r"\frac", r"\tfrac"):
        over, i = _item(tokens, i + 1)
        under, i = _item(tokens, i)
        return max(over, under) * (1.0 if token == r"\frac" else 0.75) + 0.25, i
    if token == r"\sqrt" or token in _WRAPPERS:
        size, i = _item(tokens, i + 1)
        return size * (1.1 if token == r"\text" else 1.0) + _WIDTHS.get(token, 0.3 if token == r"\text" else 0.0), i
    if token.startswith(r"\begin"):
        size, i = _row(tokens, i + 1, (token.replace("begin", "end"),))
        return size + 1.5, i + 1
    return _WIDTHS.get(token, 0.75 if token.isupper() else 0.58 if len(token) == 1 else 0.62), i + 1


def _bracket(expr: sp.Basic) -> sp.Expr | None:
    """The expression inside the bracket of a function, if it may be broken there."""
    if isinstance(expr, sp.log | sp.exp):
        return expr.args[0]
    inner = COLUMNS.get(expr.func, NONE).bracket
    return inner(expr) if inner else None


class Breaker:
    """Splits expressions at their top-level sums and products into lines of at most ``limit`` ems."""

    def __init__(self, printer: Printer) -> None:
        self.printer = printer
        self._print = cache(printer.doprint)

    def lines(self, expr: sp.Basic, limit: float) -> list[str]:
        """The lines of ``expr``; one where nothing can be split."""
        expr = canonical(expr)
        text = self._print(expr)
        if width(text) <= limit:
            return [text]
        if isinstance(expr, sp.Add):
            return self._sum(expr, limit)
        if isinstance(expr, sp.Mul):
            return self._product(expr, limit)
        if isinstance(expr, sp.Piecewise):
            return self._cases(expr, limit)
        if isinstance(expr, sp.Max | sp.Min):
            return self._extreme(expr, limit)
        inner = _bracket(expr)
        if inner is not None:
            return self._inside(expr, inner, text, limit)
        return [text]

    def _inside(self, expr: sp.Expr, argument: sp.Expr, text: str, limit: float) -> list[str]:
        """A function broken inside its bracket."""
        if "(" not in text and not isinstance(expr, sp.exp):  # as in \\ln x
            return [text]
        name = r"\exp" if isinstance(expr, sp.exp) else text.partition("(")[0].removesuffix(r"\left")
        lines = self.lines(argument, limit - width(name) - 1)
        if len(lines) == 1:
            return [tidy(rf"{name}\left({lines[0]}\right)")]
        return [rf"{name}\Bigl({lines[0]}", *(rf"\quad {line}" for line in lines[1:-1]), rf"\quad {lines[-1]}\Bigr)"]

    def _sum(self, expr: sp.Add, limit: float) -> list[str]:
        """Lines filled with terms; a term that is too wide for a line gets separate lines."""
        rows = [""]
        for term in self.printer.terms(expr):
            number, rest = term.as_coeff_Mul()
            negative = bool(number.is_extended_negative)
            sign = "" if rows == [""] else " - " if negative else " + "
            body = canonical(sp.Mul(-number, rest, evaluate=False)) if negative else term
            pieces = self._bracketed("", body, limit - 2) if body.is_Add else self.lines(body, limit - 2)
            for i, piece in enumerate(pieces):
                lead = (sign or ("-" if negative else "")) if i == 0 else r"\qquad "
                if i == 0 and width(rows[-1] + lead + piece) <= limit:
                    rows[-1] += lead + piece
                else:
                    rows.append("{}" + lead + piece)
        return [row for row in rows if row]

    def _product(self, expr: sp.Mul, limit: float) -> list[str]:
        """Break inside the widest bracket; without a bracket, break between factors."""
        number, over, under, outside = self.printer.split(expr)
        wide = [
            f
            for f in over
            if (isinstance(f, sp.Add | sp.Piecewise | sp.Max | sp.Min) or _bracket(f) is not None)
            and width(self._print(f)) > limit / 3
        ]
        sums = [factor for factor in wide if _bracket(factor) is None] or wide
        if under and sums and _bracket(sums[0]) is None:
            front = self._print(sp.Mul(number, *(1 / factor for factor in under), evaluate=False))
            if width(front) < limit / 2:
                return self._bracketed("" if front == "1" else front, sp.Mul(*over, *outside), limit)
        if sums:
            widest = max(sums, key=lambda factor: width(self._print(factor)))
            rest = [
                factor
                for factor in (number, *over, *(1 / factor for factor in under))
                if factor != 1 and factor is not widest
            ]
            # Not evaluated: SymPy would multiply a number into a sum.
            front = self._print(sp.Mul(*rest, evaluate=False)) if len(rest) > 1 else self._alone(rest)
            if width(front) < limit / 2:
                return self._bracketed(front, widest, limit)
        return self._factors(expr, limit)

    def _alone(self, factors: list[sp.Expr]) -> str:
        """The factors one after the other; a sum stands in brackets."""
        return "".join(tidy(rf"\left({self._print(f)}\right)") if f.is_Add else self._print(f) for f in factors)

    def _bracketed(self, front: str, inner: sp.Expr, limit: float) -> list[str]:
        lines = self.lines(inner, limit - width(front) - 1)
        if len(lines) == 1:
            space = r"\," if front else ""
            return [tidy(rf"{front}{space}\left({lines[0]}\right)") if inner.is_Add else f"{front}{space}{lines[0]}"]
        opening, closing = (r"\Bigl(", r"\Bigr)") if isinstance(inner, sp.Add | sp.Mul) else ("", "")
        lines[0] = rf"{front}\,{opening}{lines[0]}" if front else f"{opening}{lines[0]}"
        return [lines[0], *(rf"\quad {line}" for line in lines[1:-1]), rf"\quad {lines[-1]}{closing}"]

    def _factors(self, expr: sp.Mul, limit: float) -> list[str]:
        number, over, under, outside = self.printer.split(expr)
        if under and len(over) + len(outside) == 1 and not any(f.is_Add for f in over):  # a fraction stays in one piece
            return [self._print(expr)]
        first = sp.Mul(number, *(1 / factor for factor in under), evaluate=False) if under or number != 1 else None
        texts = [self._print(first)] if first is not None else []
        factors = [*over, *outside]
        texts += [
            tidy(rf"\left({self._print(f)}\right)") if isinstance(f, sp.Add | sp.Piecewise) else self._print(f)
            for f in factors
        ]
        rows = [texts[0]]
        for text, factor in list(zip(reversed(texts), reversed(factors)))[::-1][1 - (first is not None) :]:
            if width(joined := join([rows[-1], text])) <= limit:
                rows[-1] = joined
            else:
                pieces = (
                    [text]
                    if width(text) <= limit - 3 or factor.is_Add or factor.is_Piecewise
                    else self.lines(factor, limit - 3)
                )
                rows += [rf"\quad \times {pieces[0]}", *(rf"\quad \quad {piece}" for piece in pieces[1:])]
        return rows

    def _cases(self, expr: sp.Piecewise, limit: float) -> list[str]:
        """Value and condition side by side or, where that is too wide, the condition below the value."""
        rows: list[tuple[list[str], list[str]]] = []
        for value, condition in expr.args:
            alternatives = (
                sorted(condition.args, key=sp.default_sort_key) if isinstance(condition, sp.Or) else [condition]
            )
            texts = [self._print(c) for c in alternatives]
            words = (
                [r"\text{otherwise}"]
                if condition == sp.true
                else [rf"\text{{{' or' if i else 'if'} }} {t}" for i, t in enumerate(texts)]
            )
            rows.append((self.lines(value, limit - 4), words))
        if all(len(lines) == 1 and width(lines[0] + " ".join(words)) < limit - 4 for lines, words in rows):
            cells = [rf"\displaystyle {lines[0]} & {' '.join(words)}" for lines, words in rows]
            return [r"\begin{cases} " + r" \\ ".join(cells) + r" \end{cases}"]
        body: list[str] = []
        for lines, words in rows:
            body += [f"& {line}" for line in lines[:-1]]
            whole = " ".join(words)
            beside = width(lines[-1] + whole) < limit - 5
            body += (
                [rf"& {lines[-1]} \quad {whole}"]
                if beside
                else [f"& {lines[-1]}", *(rf"& \qquad {word}" for word in words)]
            )
        return [r"\left\{ \begin{aligned}[c] " + r" \\ ".join(body) + r" \end{aligned} \right."]

    def _extreme(self, expr: sp.Expr, limit: float) -> list[str]:
        name = r"\max" if isinstance(expr, sp.Max) else r"\min"
        rows = [rf"{name}\Bigl("]
        for i, arg in enumerate(sorted(expr.args, key=sp.default_sort_key)):
            lines = self.lines(arg, limit - 4)
            comma = "," if i < len(expr.args) - 1 else r"\Bigr)"
            lines[-1] += comma
            if i == 0 or (len(lines) == 1 and width(rows[-1] + lines[0]) <= limit):
                rows[-1] += rf"{'' if i == 0 else ' '}{lines.pop(0)}"
            rows += [rf"\quad {line}" for line in lines]
        return rows
