"""Names of symbols as names in Python source: nothing that comes from a formula is printed into code in any
other way."""

from __future__ import annotations

import builtins
import keyword
import re
import unicodedata

from advmf.errors import ArgumentError
from advmf.functions import NumericNorm

_OWN = {
    "math", "np", "conjugate", "geometric_sum", "q_exponential", "q_logarithm", "arc_cosine", "arc_cosine_slope", "arc_cosine_rest",
    "arc_cosine_rest_slope", "gaussian_norm", "integrate",
    "time", "steps", "start", "state", "rates", "rate", "begin", "found", "_", *(head.numbers.__name__ for head in NumericNorm.__subclasses__()),
}  # fmt: skip
"""What the written functions use themselves."""
_TAKEN = {*keyword.kwlist, *keyword.softkwlist, *dir(builtins), *_OWN}


def python_name(name: str) -> str:
    """The name of a symbol in Python: its own, or with a ``_`` behind it where Python or the source has another use for
    that.

    Raises ArgumentError for what is no identifier, is read by Python as another one, or begins with two underscores.

    >>> python_name("sigma_w"), python_name("lambda"), python_name("math")
    ('sigma_w', 'lambda_', 'math_')
    """
    if not name.isidentifier() or unicodedata.normalize("NFKC", name) != name or name.startswith("__"):
        raise ArgumentError(
            f"A symbol in Python source is named by an identifier that does not begin with two underscores; got {name!r:.80}. "
            "Rename the symbol: expr.subs(symbol, sympy.Symbol('another_name', real=True))."
        )
    return f"{name}_" if name in _TAKEN or re.fullmatch(r"(recursion|flow)_\d+", name) else name


def words(text: str) -> str:
    """Text for a docstring: without quotes that would end it, and without signs that no source may hold."""
    shown = "".join(c if c.isprintable() or c == "\n" else f"\\u{ord(c):04x}" for c in text)
    return shown.replace("\\", "\\\\").replace('"""', "'''")
