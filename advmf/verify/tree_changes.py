"""The mistakes that a derivation may make, as changes of a formula's tree.

They are: a constant off by 5 %, an exponent by one half, a term or factor dropped, a wrong sign, two symbols exchanged,
one symbol taken for another.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import sympy as sp

HALF = sp.Rational(1, 2)
LOCAL = 60
"""The most changes at single nodes of one formula. A recursion over many quantities would have a thousand."""


def mutations(expr: sp.Expr) -> Iterator[tuple[str, str, sp.Expr]]:
    """The systematic changes of a formula, each as the kind of mistake, the mistake itself, and the wrong formula. Each
    wrong formula comes once.

    >>> from advmf.symbols import K, d
    >>> [what for kind, what, wrong in mutations(sp.sqrt(d) + K) if kind == "dropped term"]
    ['K', 'sqrt(d)']
    """
    seen = {expr}
    for kind, what, wrong in itertools.chain(_overall(expr), _local(expr), _symbols(expr)):
        if wrong not in seen and not wrong.has(sp.nan, sp.zoo) and wrong.free_symbols <= expr.free_symbols:
            seen.add(wrong)
            yield kind, what, wrong


def _overall(expr: sp.Expr) -> Iterator[tuple[str, str, sp.Expr]]:
    for factor in (sp.Rational(21, 20), sp.Rational(19, 20)):
        yield "constant", f"all x {factor}", factor * expr


def _local(expr: sp.Expr) -> Iterator[tuple[str, str, sp.Expr]]:
    """Changes at one node of the tree. A large tree has LOCAL of them, evenly spread over it."""
    free = expr.free_symbols
    changes = [(path, *change) for path, node in _nodes(expr, ()) for change in _at_node(node, free)]
    count = min(len(changes), LOCAL)
    for path, kind, what, wrong in (changes[i * len(changes) // count] for i in range(count)):
        try:
            yield kind, what, _put(expr, path, wrong)
        except (TypeError, ValueError, AttributeError, ZeroDivisionError):  # what the function there cannot take
            continue


def _nodes(node: sp.Basic, path: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], sp.Basic]]:
    yield path, node
    for i, arg in enumerate(node.args):
        yield from _nodes(arg, (*path, i))


def _put(expr: sp.Basic, path: tuple[int, ...], new: sp.Basic) -> sp.Basic:
    if not path:
        return new
    i, *rest = path
    args = list(expr.args)
    args[i] = _put(args[i], tuple(rest), new)
    return expr.func(*args)


def _at_node(node: sp.Basic, free: set[sp.Basic]) -> Iterator[tuple[str, str, sp.Basic]]:
    if isinstance(node, sp.Rational | sp.Float) and node != 0:
        for factor in (sp.Rational(21, 20), sp.Rational(19, 20)):
            yield "constant", f"{node} x {factor}", factor * node
    if isinstance(node, sp.Symbol) and node in free:
        for shift in (HALF, -HALF):
            yield "exponent", f"{node}**({1 + shift})", node ** (1 + shift)
    if isinstance(node, sp.Pow):
        for shift in (HALF, -HALF):
            yield (
                "exponent",
                f"{node.exp} {'+' if shift > 0 else '-'} 1/2 of {node.base}",
                node.base ** (node.exp + shift),
            )
    if isinstance(node, sp.Add | sp.Mul):
        kind = "dropped term" if isinstance(node, sp.Add) else "dropped factor"
        for i, arg in enumerate(node.args):
            if not (isinstance(node, sp.Mul) and arg == -1):
                yield kind, str(arg), node.func(*node.args[:i], *node.args[i + 1 :])
    if isinstance(node, sp.Add):
        for arg in node.args:
            yield "wrong sign", str(arg), node - 2 * arg


def _symbols(expr: sp.Expr) -> Iterator[tuple[str, str, sp.Expr]]:
    """One symbol for another of its kind: counts among counts, reals among reals."""
    symbols = sorted((s for s in expr.free_symbols if isinstance(s, sp.Symbol)), key=str)
    for a, b in itertools.combinations(symbols, 2):
        if a.is_integer == b.is_integer:
            yield "swapped", f"{a} and {b}", expr.subs({a: b, b: a}, simultaneous=True)
            yield "wrong symbol", f"{b} for {a}", expr.subs(a, b)
            yield "wrong symbol", f"{a} for {b}", expr.subs(b, a)
