"""The symbolic derivatives of formulas, in a form that compiles."""

from __future__ import annotations

from functools import lru_cache

import sympy as sp

from advmf.emit.canonical import canonical
from advmf.errors import UnsupportedFunctionError
from advmf.functions.columns import COLUMNS, having


@lru_cache(maxsize=256)
def derivatives(expr: sp.Basic, names: tuple[str, ...]) -> tuple[sp.Expr, ...]:
    """The derivatives of a formula, or of several in a tuple, with respect to the symbols of these names, symbol by
    symbol."""
    symbols = {symbol.name: symbol for symbol in expr.free_symbols}
    values = tuple(expr) if isinstance(expr, sp.Tuple) else (expr,)
    with sp.evaluate(True):
        return tuple(derivative(e, symbols[name]) for name in names for e in map(canonical, values))


def derivative(expr: sp.Expr, symbol: sp.Symbol) -> sp.Expr:
    """The symbolic derivative; raises UnsupportedFunctionError where SymPy has none."""
    closed = expr
    for head in having("differentiated"):
        closed = closed.replace(lambda e, head=head: isinstance(e, head), COLUMNS[head].differentiated)
    try:
        slope = closed.diff(symbol)
    except (sp.core.function.ArgumentIndexError, AttributeError):  # the latter from functions of tuples
        slope = sp.Derivative(closed, symbol, evaluate=False)
    slope = slope.replace(sp.Heaviside, lambda x, *_: (1 + sp.sign(x)) / 2).replace(sp.DiracDelta, lambda *_: sp.S.Zero)
    left = slope.atoms(sp.Derivative, sp.Subs)
    if left:
        raise UnsupportedFunctionError(
            f"{min(map(str, left), key=len)} has no symbolic form. Differentiate the torch kernel instead: "
            f'kernel(..., backend="torch") and torch.autograd.grad.'
        )
    return slope
