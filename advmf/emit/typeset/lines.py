"""Statements as lines ``left relation right``: set in one row in a notebook, aligned and broken in a document."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import sympy as sp

from advmf.claim import Claim, Relation
from advmf.emit.typeset.breaking import Breaker, width
from advmf.emit.typeset.printer import Printer, letters, tidy
from advmf.functions import Flow, Recursion
from advmf.theory.propagation import ALPHA, abbreviations

WHERE, FROM = r"\text{where } ", r"\text{ from } "


@dataclass(frozen=True)
class Line:
    """``left relation right``, preceded by ``words`` and, in one row with the previous line, by ``joint``.

    ``law`` sets the right side as the variance of a centred Gaussian. A line without a relation lists ``items``.
    """

    left: str
    relation: str
    right: sp.Basic | str
    law: bool = False
    joint: str = r", \quad "
    words: str = ""
    items: tuple[str, ...] = ()


class Lines:
    """Turns claims into lines, and lines into LaTeX, with the letters of a printer."""

    def __init__(self, names: Mapping[str, str] | None = None) -> None:
        self.printer = Printer(names)
        self.breaker = Breaker(self.printer)

    def text(self, expr: sp.Basic) -> str:
        return self.printer.doprint(expr)

    # In one row

    def inline(self, lines: Iterable[Line]) -> str:
        """All lines in one row."""
        text = ""
        for line in lines:
            body = r",\; ".join(line.items) or f"{line.left} {line.relation} {self._right(line)}"
            text += (line.joint if text else "") + line.words + body
        return text

    def _right(self, line: Line) -> str:
        text = line.right if isinstance(line.right, str) else self.text(line.right)
        return tidy(rf"\mathcal{{N}}\left(0, {text}\right)") if line.law else text

    # Aligned

    def aligned(self, lines: Sequence[Line], limit: float) -> str:
        """The rows of an ``align`` environment, at most ``limit`` ems wide, with commas and a full stop."""
        lefts = [width(line.left) for line in lines if not line.items]
        margin = max((left for left in lefts if left < limit / 3), default=0.0)
        rows: list[str] = []
        for line, last in zip(lines, [False] * (len(lines) - 1) + [True]):
            new = [*self._rows(line, margin, limit)]
            new[-1] += "." if last else ","
            rows += new
        return " \\\\\n".join(rows)

    def _rows(self, line: Line, margin: float, limit: float) -> Iterator[str]:
        if line.items:
            row = "&" + line.words.replace(WHERE, "").replace(FROM, r"\text{from } ")
            for i, item in enumerate(line.items):
                if i and width(row + item) > limit - margin:
                    yield row + ","
                    row = rf"&\qquad {item}"
                else:
                    row += rf",\; {item}" if i else item
            yield row
            return
        alone = width(line.left) > margin
        if alone:
            yield rf"\mathrlap{{{line.left}}} &"
        pieces = self.pieces(line, limit - margin - 2.5)
        yield f"{'' if alone else line.left} &{line.relation} {pieces[0]}"
        yield from (rf"&\qquad {piece}" for piece in pieces[1:])

    def pieces(self, line: Line, limit: float) -> list[str]:
        """The right side in lines of at most ``limit`` ems."""
        if isinstance(line.right, str):
            return [line.right]
        pieces = self.breaker.lines(line.right, limit - 4 * line.law)
        if not line.law:
            return pieces
        if len(pieces) == 1:
            return [self._right(line)]
        return [rf"\mathcal{{N}}\Bigl(0,\; {pieces[0]}", *pieces[1:-1], rf"{pieces[-1]}\Bigr)"]


def claim_lines(claim: Claim, names: Mapping[str, str] | None = None, where: bool = True) -> tuple[Lines, list[Line]]:
    """The lines of a claim (the statement, its abbreviations, the systems behind quantities without a closed form), and
    the :class:`Lines` that sets them."""
    names = letters() if names is None else dict(names)
    pair = ",".join(Printer(names).exponent(r) for r in (claim.p, claim.q) if r is not None)
    lines = Lines({**names, "beta": tidy(f"{names['beta']}_{{{pair}}}") if pair else names["beta"]})
    shown = _Shown(claim)
    formula, meanings, systems = shown.formula, shown.meanings, shown.systems
    marked = lambda expr: marked_systems(expr, systems, lines.printer)  # noqa: E731
    out = [Line(lines.text(claim.lhs), claim.relation.tex, marked(formula), law=claim.relation is Relation.LAW)]
    if where:
        out += [Line(lines.text(symbol), "=", marked(meaning)) for symbol, meaning in meanings.items()]
        out += system_lines(systems, lines)
    return lines, out


class _Shown:
    """A claim's formula and abbreviations as they are shown: written with α, without abbreviations that the formula
    does not use."""

    def __init__(self, claim: Claim) -> None:
        where = dict(claim.where)
        derived = abbreviations(claim.net) if claim.net else {}
        alpha = where.get(ALPHA, derived.get(ALPHA))
        self._squares = None if alpha is None else 2 * alpha
        flows = set().union(*(e.atoms(Flow) for e in (claim.formula, *where.values())))
        clash = {s for s in where for flow in flows if s in flow.args[1]}
        bars = {s: sp.Symbol(rf"\tilde{{{s.name}}}", **s._assumptions_orig) for s in clash}
        show = lambda expr: self.short(expr.subs(bars))  # noqa: E731
        self.formula = show(claim.formula)
        meanings = {bars.get(s, s): meaning if s == ALPHA else show(meaning) for s, meaning in where.items()}
        if alpha is not None:
            meanings.setdefault(ALPHA, alpha)
        self.meanings = _used(self.formula, meanings)
        self.systems = systems_of([self.formula, *self.meanings.values()])

    def short(self, expr: sp.Expr) -> sp.Expr:
        """``expr`` in its most readable form, with α for (u² + v²)/2 where the slopes occur in no other way."""
        return _short(expr, self._squares)


@lru_cache(10_000)
def _short(expr: sp.Expr, squares: sp.Expr | None) -> sp.Expr:
    if isinstance(expr, Recursion | Flow):
        time, variables, changes, start, variable = expr.args
        return expr.func(time, variables, sp.Tuple(*(_short(e, squares) for e in changes)), start, variable)
    if expr.is_Atom or not isinstance(expr, sp.Expr):
        return expr
    if expr.has(Recursion, Flow):
        return expr.func(*(_short(e, squares) for e in expr.args))
    if squares is not None and expr.free_symbols & squares.free_symbols:
        return _plainest([expr, _inside(expr, squares), _reduced(expr, squares)])
    return _plainest([expr])


def _inside(expr: sp.Basic, squares: sp.Expr) -> sp.Basic:
    """``expr`` with α put into each of its parts."""
    if expr.is_Atom:
        return expr
    if isinstance(expr, sp.Add):
        found = _reduced(expr, squares)
        if found.count_ops() < expr.count_ops():
            return found
    return expr.func(*(_inside(e, squares) for e in expr.args))


@lru_cache(10_000)
def _reduced(expr: sp.Expr, squares: sp.Expr) -> sp.Expr:
    """The expanded sum with α in each coefficient that is a polynomial in it."""
    one, other = (term.as_base_exp()[0] for term in sp.expand(squares).args)
    coefficients: dict[sp.Expr, sp.Expr] = {}
    for term in sp.Add.make_args(sp.expand(expr)):
        rest, slopes = term.as_independent(one, other, as_Add=False)
        coefficients[rest] = coefficients.get(rest, sp.S.Zero) + slopes
    for rest, slopes in coefficients.items():
        found = sp.expand(slopes.subs(one**2, 2 * ALPHA - other**2))
        coefficients[rest] = slopes if found.free_symbols & {one, other} else found
    total = sp.Add(*(rest * slopes for rest, slopes in coefficients.items()))
    return sp.collect(total, ALPHA, sp.factor_terms)


_JUDGE = Printer()


@cache
def _unreadable(expr: sp.Expr) -> float:
    """A measure of how hard a formula is to read: its width, its letters, and fractions within fractions."""
    text = _JUDGE.doprint(expr)
    leaves = sum(node.is_Atom for node in sp.preorder_traversal(expr))
    return width(text.replace(r"\frac", r"\tfrac")) + 0.7 * leaves + 8 * len(_NESTED.findall(text))


_NESTED = re.compile(r"\\frac\{(?:[^{}]|\{[^{}]*\})*\\frac")


def _plainest(forms: Sequence[sp.Expr]) -> sp.Expr:
    """The most readable of some equal expressions, their factored forms and their top-level expansions."""
    forms = tuple(dict.fromkeys(forms))
    found = list(forms)
    for form in forms:
        found += [sp.factor_terms(form), sp.expand_mul(form, deep=False)]
        if form.free_symbols and form.is_rational_function(*form.free_symbols):
            found.append(sp.factor(form))
    return min(found, key=_unreadable)


def plain_form(expr: sp.Expr, claim: Claim) -> sp.Expr:
    """An expression about the network of a claim, written like the claim's formula: with α, in its most readable
    form."""
    return _Shown(claim).short(expr)


def _used(formula: sp.Expr, where: Mapping[sp.Symbol, sp.Expr]) -> dict[sp.Symbol, sp.Expr]:
    """The abbreviations that the formula uses, directly or through another (α in ω)."""
    seen = set(formula.free_symbols)
    while more := {x for s in seen & set(where) for x in where[s].free_symbols} - seen:
        seen |= more
    return {s: meaning for s, meaning in where.items() if s in seen}


def systems_of(shown: Sequence[sp.Expr]) -> list[tuple[Any, ...]]:
    """Every recursion and flow behind the shown expressions, as (class, arguments without the component); inner ones
    come last."""
    found: dict[tuple[Any, ...], None] = {}
    for expr in shown:
        for atom in sorted(expr.atoms(Recursion, Flow), key=lambda e: (-len(e.args[1]), sp.default_sort_key(e))):
            found[(atom.func, *atom.args[:4])] = None
    # A smaller system with the same starts and updates is part of a larger one.
    return [s for s in found if not any(_within(s, other) for other in found if other != s)]


def _within(small: tuple[Any, ...], large: tuple[Any, ...]) -> bool:
    rows = set(zip(large[2], large[3], large[4]))
    return small[:2] == large[:2] and len(small[2]) < len(large[2]) and set(zip(small[2], small[3], small[4])) <= rows


def marked_systems(expr: sp.Expr, systems: Sequence[tuple[Any, ...]], printer: Printer) -> sp.Expr:
    """Where there are several systems of one kind, their quantities are numbered by system."""

    def numbered(atom: sp.Expr) -> sp.Expr:
        own = (atom.func, *atom.args[:4])
        kin = [system for system in systems if system[0] is atom.func]
        if len(kin) < 2:
            return atom
        number = next(i for i, system in enumerate(kin, 1) if system == own or _within(own, system))
        text = printer.doprint(atom)
        head, bracket, rest = (
            text.partition(r"\left(" if r"\left(" in text else "(") if atom.func is Flow else (text, "", "")
        )
        return sp.Symbol(f"{head}^{{({number})}}{bracket}{rest}", real=True)

    return expr.replace(lambda e: isinstance(e, Recursion | Flow), numbered)


def system_lines(systems: Sequence[tuple[Any, ...]], lines: Lines) -> list[Line]:
    """The steps or rates of every system, and their starts; systems that differ only in their start share a line."""
    out: list[Line] = []
    for kind in (Recursion, Flow):
        kin = [system for system in systems if system[0] is kind]
        groups: dict[tuple[Any, ...], list[int]] = {}
        for i, system in enumerate(kin):
            groups.setdefault(system[:4], []).append(i)
        for group, members in groups.items():
            mark = f"^{{({members[0] + 1})}}" if len(groups) > 1 and len(members) == 1 else ""
            out += _changes(group, mark, lines)
            for i in members:
                number = rf"\text{{({i + 1})}}\; " if len(members) > 1 else ""
                begins = _begins(group, kin[i][4], mark, lines)
                words = (FROM + number) if kind is Recursion else number
                out.append(Line("", "", "", joint="" if kind is Recursion else r",\; ", words=words, items=begins))
    return out


def _changes(group: tuple[Any, ...], mark: str, lines: Lines) -> list[Line]:
    kind, _, variables, changes = group
    names = {z: sp.Symbol(lines.text(z) + mark, **z._assumptions_orig) if mark else z for z in variables}
    out = []
    for i, (z, change) in enumerate(zip(variables, changes)):
        name = lines.text(names[z])
        left, relation = (name, r"\leftarrow") if kind is Recursion else (rf"\dot{{{name}}}", "=")
        joint, words = (r", \quad ", WHERE) if i == 0 else (r",\; ", "")
        out.append(Line(left, relation, change.xreplace(names), joint=joint, words=words))
    return out


def _begins(group: tuple[Any, ...], start: sp.Tuple, mark: str, lines: Lines) -> tuple[str, ...]:
    """The values of the variables at the start; equal ones are set together."""
    at = "" if group[0] is Recursion else "(0)"
    by_value: dict[sp.Expr, list[str]] = {}
    for z, value in zip(group[2], start):
        by_value.setdefault(value, []).append(lines.text(z) + mark + at)
    return tuple(f"{' = '.join(names)} = {lines.text(value)}" for value, names in by_value.items())
