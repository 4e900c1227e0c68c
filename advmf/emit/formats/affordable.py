"""What SymPy would compute for long, and a file must not ask for."""

from __future__ import annotations

from typing import Any

import sympy as sp

from advmf.errors import DataError
from advmf.functions.columns import having

LARGEST = 4_000
"""The most digits of a number in a file, and the largest argument of a factorial."""
WIDEST = 24
"""The most arguments of a function that SymPy compares with each other."""

_GROWING = (sp.exp, sp.gamma, sp.factorial, sp.zeta)
_COUNTED = ("gamma", "factorial", "loggamma", "zeta")


def require_affordable(head: str, args: list[Any], place: str) -> None:
    """Refuse expressions that SymPy would compute for long: 10**10**10, the factorial of a million, a recursion of
    numbers, the maximum of hundreds of arguments."""
    if head in ("Max", "Min", "Piecewise", "And", "Or") and len(args) > WIDEST:
        raise DataError(f"{place}: {head} of {len(args)} arguments; this reads up to {WIDEST}.")
    counted = head in _COUNTED or any(head == own.__name__ for own in having("grows"))
    numbers = [arg for arg in args if isinstance(arg, sp.Expr) and arg.is_number and arg.is_finite]
    exact = [abs(n) for n in numbers if n.is_Rational]
    towers = (counted or head in ("Pow", "exp")) and any(_tower(n) for n in numbers)
    if head == "Pow":
        base, power = args if len(args) == 2 else (sp.S.Zero, sp.S.Zero)
        whole = base.is_Rational and power.is_Rational and base not in (-1, 0, 1)
        large = whole and digits_of(base) * abs(power) > LARGEST
    elif head == "Recursion":
        large = bool(exact) and args[0] in numbers and args[0] != 0 and _closed(args)
    elif head == "Mul":
        large = sum(map(digits_of, exact)) > LARGEST
    else:
        large = counted and any(n > LARGEST for n in exact)
    if large or towers:
        what = ", ".join(
            f"a number of {digits_of(n)} digits" if n.is_Rational and digits_of(n) > 20 else f"{n!s:.30}"
            for n in numbers
        )
        raise DataError(f"{place}: {head} of {what} is larger than this reads ({LARGEST}).")


def _closed(args: list[Any]) -> bool:
    """Whether a recursion is purely numeric, with no free symbol in its steps and starts, so that SymPy computes it at
    once."""
    if len(args) != 5 or not all(isinstance(arg, sp.Tuple) for arg in args[1:4]):
        return True
    variables, updates, start = args[1:4]
    return not start.free_symbols and updates.free_symbols <= set(variables)


def digits_of(number: sp.Rational) -> int:
    """The digits of the longer part of a fraction, or one more."""
    return int(max(abs(number.p), number.q).bit_length() * 0.30103) + 1


def _tower(number: sp.Expr) -> bool:
    """Whether a number contains exponentials; the exponential of such a number may be too large for any computer."""
    return any(
        isinstance(e, _GROWING) or (e.is_Pow and not (e.exp.is_Rational and abs(e.exp) <= 4))
        for e in sp.preorder_traversal(number)
    )
