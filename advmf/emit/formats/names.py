"""Names of symbols as names in Python source. Text from a formula gets into generated code only through this module."""

from __future__ import annotations

import builtins
import keyword
import re
import unicodedata

from advmf.errors import ArgumentError
from advmf.functions.columns import COLUMNS

_OWN = {
    "math", "np", "integrate", "time", "steps", "start", "state", "rates", "rate", "begin", "found", "_",
}  # fmt: skip
"""Names that the generated functions use themselves."""
_TAKEN = {*keyword.kwlist, *keyword.softkwlist, *dir(builtins), *_OWN}


def python_name(name: str) -> str:
    """The name of a symbol in Python: its own, with a ``_`` appended where Python or the source uses that name
    otherwise.

    Raises ArgumentError for a name that is no identifier, that Python reads as another one, or that begins with two
    underscores.

    >>> python_name("sigma_w"), python_name("lambda"), python_name("math")
    ('sigma_w', 'lambda_', 'math_')
    """
    if not name.isidentifier() or unicodedata.normalize("NFKC", name) != name or name.startswith("__"):
        raise ArgumentError(
            f"A symbol in Python source is named by an identifier that does not begin with two underscores; got {name!r:.80}. "
            "Rename the symbol: expr.subs(symbol, sympy.Symbol('another_name', real=True))."
        )
    helpers = (columns.called for columns in COLUMNS.values())
    taken = name in _TAKEN or name in helpers or re.fullmatch(r"(recursion|flow)_\d+", name)
    return f"{name}_" if taken else name


def words(text: str) -> str:
    """Text for a docstring: without quotes that would end it, and without characters that source must not contain."""
    shown = "".join(c if c.isprintable() or c == "\n" else f"\\u{ord(c):04x}" for c in text)
    return shown.replace("\\", "\\\\").replace('"""', "'''")
