"""SymPy to LaTeX with the order, signs, roots and fractions that a person would write."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import sympy as sp
from sympy.core.function import AppliedUndef
from sympy.printing.latex import LatexPrinter

from advmf.emit.canonical import canonical
from advmf.emit.typeset.inert import inert, literal
from advmf.functions import Flow, Recursion
from advmf.functions.columns import COLUMNS, NONE, having
from advmf.observables import Observable
from advmf.symbols import SYMBOLS

ABBREVIATIONS = {
    "alpha": (r"\alpha", "mean square slope of the activation, (u^2 + v^2)/2"),
    "beta": (
        r"\beta",
        "norm factor: a bound on, or the value of, the mean ‖G‖_{p -> q} of a K x d matrix G of N(0, 1/d) entries",
    ),
    "omega": (r"\omega", "factor by which a block multiplies the second moment of the Jacobian"),
}
"""The letters of the paper that formulas are abbreviated by, with their meanings."""

_ORDER = "N K L d M m alpha lam eps beta omega sigma_w sigma_b u v c pull t".split()
_COUNTS = ("N", "K", "L", "d")


def letters() -> dict[str, str]:
    """The LaTeX of every registered symbol and abbreviation by its name."""
    return {
        **{name: tex for name, (tex, _) in ABBREVIATIONS.items()},
        **{name: quantity.latex for name, quantity in SYMBOLS.items()},
    }


class Printer(LatexPrinter):
    """SymPy's LaTeX printer with the paper's letters, ``names``, and the conventions of written mathematics.

    Factors come as numbers, parameters, states, brackets, functions; square roots of atoms and fractions are put
    together; fractions in exponents are slashed; brackets grow only around what is tall.

    >>> from advmf.emit.typeset.printer import Printer
    >>> from advmf.symbols import L, d, eps, sigma_w
    >>> Printer().doprint(eps * (1 + sigma_w**2 / 2) ** (L / 2) * sp.sqrt(2) / sp.sqrt(sp.pi * d))
    '\\\\epsilon \\\\sqrt{\\\\frac{2}{\\\\pi d}}\\\\,\\\\left(1 + \\\\frac{\\\\sigma_w^2}{2}\\\\right)^{L/2}'
    """

    def __init__(self, names: Mapping[str, str] | None = None) -> None:
        super().__init__({"ln_notation": True})
        self.names = letters() if names is None else dict(names)
        self.inline = False

    def doprint(self, expr: Any) -> str:
        with sp.evaluate(True):
            return tidy(super().doprint(canonical(expr)))

    def exponent(self, expr: sp.Basic) -> str:
        """``expr`` with slashes for fractions."""
        before, self.inline = self.inline, True
        try:
            return self._print(expr)
        finally:
            self.inline = before

    def _print_Symbol(self, expr: sp.Symbol, style: str = "plain") -> str:
        if expr.name in self.names:
            return self.names[expr.name]
        text = self._print_name(expr, style)
        return text if inert(text) else rf"\text{{{literal(expr.name)}}}"

    def _print_name(self, expr: sp.Symbol, style: str) -> str:
        base, _, index = expr.name.partition("_")
        if len(index) > 2 and index.isalpha() and "{" not in expr.name:  # a word, not a row of indices
            return rf"{super()._print_Symbol(sp.Symbol(base), style=style)}_{{\mathrm{{{index}}}}}"
        return super()._print_Symbol(expr, style=style)

    def _print_Integer(self, expr: sp.Integer) -> str:
        return str(expr.p)

    def _print_Rational(self, expr: sp.Rational) -> str:
        return self._fraction(sp.Integer(abs(expr.p)), sp.Integer(expr.q), expr.p < 0)

    def _fraction(self, over: sp.Expr, under: sp.Expr, negative: bool = False) -> str:
        sign = "-" if negative else ""
        if not self.inline:
            return rf"{sign}\frac{{{self._print(over)}}}{{{self._print(under)}}}"
        above, below = self._print(over), self._print(under)
        if over.is_Add:
            above = rf"\left({above}\right)"
        if under.is_Add or under.is_Mul:
            below = rf"\left({below}\right)"
        return f"{sign}{above}/{below}"

    # Sums

    def _print_Add(self, expr: sp.Add, order: Any = None) -> str:
        under = common_denominator(expr)
        if under != 1:
            over = sp.Add(*(term * under for term in expr.args))
            if over.is_Add and not over.has(*having("large_operator")):
                return self._fraction(over, under)
        text = ""
        for term in self.terms(expr):
            printed = self._print(term)
            negative = printed.startswith("-")
            text += (" - " if negative else " + ") + printed.removeprefix("-") if text else printed
        return text

    def terms(self, expr: sp.Expr) -> list[sp.Expr]:
        """The terms in order: a positive constant first unless a count stands beside it, and no minus first if another
        order avoids it."""
        if not expr.is_Add:
            return [expr]
        terms = [term for term in self._as_ordered_terms(expr, None) if not term.is_Number]
        constant = expr.as_coeff_Add()[0]
        counted = all(t.as_coeff_Mul()[1].is_Symbol and t.as_coeff_Mul()[1].name in _COUNTS for t in terms)
        if terms and terms[0].could_extract_minus_sign():
            terms.sort(key=lambda term: bool(term.could_extract_minus_sign()))
        if constant == 0:
            return terms
        last = constant < 0 or (counted and not terms[0].could_extract_minus_sign())
        return [*terms, constant] if last else [constant, *terms]

    # Products

    def _print_Mul(self, expr: sp.Mul) -> str:
        number, over, under, outside = self.split(expr)
        negative, p, q = number < 0, abs(number.p), number.q
        signed = negative and q == 1 and not under  # the minus applies to all terms of a sum
        top, bottom = self._row(p, over, alone=not (outside or signed)), self._row(q, under, alone=True)
        if bottom == "1":
            text = top if over or p != 1 or not outside else ""
        elif self.inline:
            several = len(under) + (q != 1) > 1 or any(factor.is_Add for factor in under)
            top = rf"\left({top}\right)" if p == 1 and len(over) == 1 and over[0].is_Add else top
            text = rf"{top}/\left({bottom}\right)" if several else f"{top}/{bottom}"
        elif not under and r"\frac" in top:
            text = join([rf"\frac{{{p}}}{{{q}}}", self._row(1, over, alone=False)])
        else:
            text = rf"\frac{{{top}}}{{{bottom}}}"
        text = join([*([text] if text else []), *(self._factor(factor, True) for factor in outside)])
        return f"-{text}" if negative else text

    def split(self, expr: sp.Expr) -> tuple[sp.Rational, list[sp.Expr], list[sp.Expr], list[sp.Expr]]:
        """A product split into its number, the ordered factors above and below the fraction bar, and the factors after
        the fraction."""
        number, rest = expr.as_coeff_Mul()
        if not number.is_Rational:
            number, rest = sp.S.One, expr
        over, under, roots = [], [], {1: [], -1: []}  # type: ignore[var-annotated]
        for factor in sp.Mul.make_args(rest):
            base, power = factor.as_base_exp()
            if isinstance(factor, sp.exp):
                over.append(factor)
            elif abs(power) == sp.Rational(1, 2) and _rootable(base):
                roots[int(2 * power)].append(base)
            elif factor.has(*having("large_operator")) or not (
                base.is_Add and power in (1, -1) and common_denominator(base) != 1
            ):
                flipped = power.could_extract_minus_sign() and not power.is_Add
                (under if flipped else over).append(base ** (-power if flipped else power))
            else:
                shared = common_denominator(base)
                whole, rest = shared.as_coeff_Mul()
                above, below = (over, under) if power == 1 else (under, over)
                above.append(sp.Add(*(term * shared for term in base.args)))
                below += _denominator_factors(rest)
                number *= whole**-power
        over = [factor for factor in over if factor != 1]
        under = [factor for factor in under if factor != 1]
        number = _move_root(number, roots)
        outside = [factor for factor in over if factor.is_Piecewise or _operates(factor)]
        over = [factor for factor in over if factor not in outside]
        if roots[1] and roots[-1]:
            over.append(_Root(sp.Mul(*roots[1]) / sp.Mul(*roots[-1])))
        else:
            over += [_Root(sp.Mul(*roots[1]))] if roots[1] else []
            under += [_Root(sp.Mul(*roots[-1]))] if roots[-1] else []
        return number, sorted(over, key=_rank), sorted(under, key=_rank), sorted(outside, key=_rank)

    def _row(self, number: int, factors: list[sp.Expr], alone: bool) -> str:
        texts = [self._factor(factor, number != 1 or len(factors) > 1 or not alone) for factor in factors]
        return join([str(number), *texts] if number != 1 or not texts else texts)

    def _factor(self, factor: sp.Expr, bracket: bool) -> str:
        text = self._print(factor)
        return rf"\left({text}\right)" if bracket and (factor.is_Add or factor.is_Piecewise) else text

    def _print__Root(self, expr: _Root) -> str:
        return rf"\sqrt{{{self._print(expr.args[0])}}}"

    # Powers

    def _print_Pow(self, expr: sp.Pow) -> str:
        base, power = expr.args
        if power.could_extract_minus_sign() and not power.is_Add:
            return self._print_Mul(expr)
        if power == sp.Rational(1, 2):
            return rf"\sqrt{{{self._print(base)}}}"
        raised = self.exponent(power)
        if isinstance(base, Observable) and "^" not in (text := self._print(base)):
            return f"{text}^{{{raised}}}"
        if base.is_Function and hasattr(base, "_latex") and not isinstance(base, Flow | Recursion | sp.exp):
            return str(base._latex(self, exp=raised))
        text = self._print(base)
        plain = base.is_Atom and "^" not in text and not text.startswith((r"\langle", "-", r"\frac"))
        return f"{text}^{{{raised}}}" if plain or isinstance(base, Recursion) else rf"\left({text}\right)^{{{raised}}}"

    def _print_ExpBase(self, expr: sp.exp, exp: Any = None) -> str:
        text = self.exponent(expr.args[0])
        text = f"e^{{{text}}}" if len(text) < 30 else rf"\exp\left({self._print(expr.args[0])}\right)"
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"

    # Functions

    def _call(self, name: str, args: tuple[sp.Basic, ...], exp: Any = None) -> str:
        power = "" if exp is None else f"^{{{exp}}}"
        return rf"{name}{power}\left({', '.join(map(self._print, args))}\right)"

    def _print_log(self, expr: sp.log, exp: Any = None) -> str:
        (argument,) = expr.args
        if (
            exp is None
            and (argument.is_Symbol or argument.is_Integer)
            and not self._print(argument).startswith(r"\tfrac")
        ):
            return rf"\ln {self._print(argument)}"
        return self._call(r"\ln", expr.args, exp)

    def _print_erf(self, expr: sp.erf, exp: Any = None) -> str:
        return self._call(r"\operatorname{erf}", expr.args, exp)

    def _print_acos(self, expr: sp.acos, exp: Any = None) -> str:
        return self._call(r"\arccos", expr.args, exp)

    def _print_Function(self, expr: Any, exp: Any = None) -> str:
        if isinstance(expr, AppliedUndef):
            return self._call(self._print_Symbol(sp.Symbol(str(expr.func))), expr.args, exp)
        return str(super()._print_Function(expr, exp))

    def _print_Recursion(self, expr: Recursion) -> str:
        depth, variable = self._print(expr.args[0]), self._print(expr.args[4])
        return rf"{variable[:-1]},{depth}}}" if variable.endswith("}") else f"{variable}_{{{depth}}}"

    def _print(self, expr: Any, **kwargs: Any) -> str:
        # A function's own LaTeX is independent of how states are numbered.
        if isinstance(expr, Recursion):
            return self._print_Recursion(expr)
        return str(super()._print(expr, **kwargs))

    # Cases

    def _print_Piecewise(self, expr: sp.Piecewise) -> str:
        rows = []
        for value, condition in expr.args:
            text = self._print(value)
            text = rf"\displaystyle {text}" if r"\frac" in text else text
            case = r"\text{otherwise}" if condition == sp.true else rf"\text{{if }} {self._print(condition)}"
            rows.append(f"{text} & {case}")
        body = r" \\ ".join(rows)
        return rf"\begin{{cases}} {body} \end{{cases}}"

    def _print_Or(self, expr: sp.Or, char: Any = None) -> str:
        return r" \text{ or } ".join(map(self._print, sorted(expr.args, key=sp.default_sort_key)))

    def _print_And(self, expr: sp.And, char: Any = None) -> str:
        return r" \text{ and } ".join(map(self._print, sorted(expr.args, key=sp.default_sort_key)))

    def _print_Relational(self, expr: Any) -> str:
        left, right = expr.lhs, expr.rhs
        if left.is_Atom and not right.is_Atom:
            expr = expr.reversed
        sign = {"==": "=", "!=": r"\ne", "<": "<", "<=": r"\le", ">": ">", ">=": r"\ge"}[expr.rel_op]
        return f"{self._print(expr.lhs)} {sign} {self._print(expr.rhs)}"


class _Root(sp.Function):
    """A square root that SymPy does not split again."""

    nargs = 1


def common_denominator(expr: sp.Expr) -> sp.Expr:
    """The common denominator of all terms of a sum; 1 if their denominators differ."""
    unders = {_under(term) for term in sp.Add.make_args(expr)}
    return unders.pop() if len(unders) == 1 else sp.S.One


def _under(term: sp.Expr) -> sp.Expr:
    number, rest = term.as_coeff_Mul()
    factors = [sp.Integer(number.q) if number.is_Rational else sp.S.One]
    for factor in sp.Mul.make_args(rest):
        base, power = factor.as_base_exp()
        if power.is_Rational and power < 0 and not isinstance(factor, sp.exp):
            factors.append(base**-power)
    return sp.Mul(*factors)


def _denominator_factors(expr: sp.Expr) -> list[sp.Expr]:
    """The factors of a denominator, roots kept as they are."""
    return [
        _Root(f.base) if f.is_Pow and f.exp == sp.Rational(1, 2) and _rootable(f.base) else f
        for f in sp.Mul.make_args(expr)
        if f != 1
    ]


def _operates(expr: sp.Expr) -> bool:
    return COLUMNS.get(expr.func, NONE).large_operator


def _rootable(base: sp.Expr) -> bool:
    """Whether the root of ``base`` may share its sign with other roots."""
    return bool(base.is_Atom or isinstance(base, sp.log)) or (base.is_Mul and all(map(_rootable, base.args)))


def _move_root(number: sp.Rational, roots: dict[int, list[sp.Expr]]) -> sp.Rational:
    """``sqrt(2)/2`` is 1/sqrt(2)."""
    for root in [root for root in roots[1] if root.is_Integer and number.q % root == 0]:
        roots[1].remove(root)
        roots[-1].append(root)
        number *= root
    return number


def _rank(factor: sp.Expr) -> tuple[int, int, str]:
    """The sort key of a factor: numbers, parameters in the paper's order, other letters, quotients, brackets,
    functions."""
    base = factor.as_base_exp()[0] if not isinstance(factor, sp.exp) else factor
    if isinstance(base, _Root):
        return (0 if base.args[0].is_number else 4, 1, str(base)) if not base.args[0].is_Symbol else (4, 1, str(base))
    if base.is_number:
        return (0, 0, str(base))
    if base.is_Symbol and base.name in ("x_sq", "y_sq"):
        return (3, 0, base.name)
    if base.is_Symbol:
        known = base.name in _ORDER
        return (1 if known else 2, _ORDER.index(base.name) if known else 0, base.name)
    kind = 5 if base.is_Add else 7 if _operates(base) else 6
    return (kind, 0, str(base))


_SPACED = (
    r"\left", r"\ln", r"\max", r"\min", r"\sum", r"\mathbb", r"\exp", r"\operatorname", r"\widehat", r"\kappa", r"\Gamma", r"\lVert",
    r"\begin",
)  # fmt: skip


def join(factors: list[str]) -> str:
    """Factors in a row: a dot between numbers, a thin space before brackets and functions."""
    text = factors[0]
    for factor in factors[1:]:
        if text[-1].isdigit() and factor[0].isdigit():
            text += rf" \cdot {factor}"
        elif factor.startswith(_SPACED) and not (factor.startswith(r"\left") and text[-1].isdigit()):
            text += rf"\,{factor}"
        else:
            text += f" {factor}"
    return text


_TALL = re.compile(r"\\(frac|tfrac|sum|begin|max_|min_|displaystyle|int)")
_INNERMOST = re.compile(
    r"\\left(\\[lr]?[Vv]ert|\\[{|]|.)((?:(?!\\left|\\right(?!arrow)).)*)\\right(?!arrow)(\\[lr]?[Vv]ert|\\[}|]|.)",
    re.DOTALL,
)

_SCRIPT_FRACTION = re.compile(r"([_^]\{[^{}]*)\\frac\{([^{}]*)\}\{([^{}]*)\}")


def tidy(text: str) -> str:
    """Brackets that grow only around what is tall, and no braces around a single sign of an exponent or index.

    >>> print(tidy(r"\\left(a^{2}\\right) + \\left(\\frac{a}{2}\\right)^{3}"))
    (a^2) + \\left(\\frac{a}{2}\\right)^3
    """

    def sized(match: re.Match[str]) -> str:
        opening, inside, closing = match.groups()
        if _TALL.search(inside):
            return f"\x01{opening}{inside}\x02{closing}"
        return f"{opening}{inside}{closing}"

    while (smaller := _INNERMOST.sub(sized, text)) != text:
        text = smaller
    text = text.replace("\x01", r"\left").replace("\x02", r"\right")
    while (flat := _SCRIPT_FRACTION.sub(r"\1\2/\3", text)) != text:
        text = flat
    return re.sub(r"([\^_])\{([A-Za-z0-9])\}", r"\1\2", text)
