"""The array libraries behind kernels, each imported at first use, and the functions that users registered for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from advmf.emit.engine.scaled import Arrays
from advmf.functions.columns import COLUMNS, NONE


def _numpy() -> type[Arrays]:
    from advmf.emit.engine.arrays_numpy import NumPy

    return NumPy


def _torch() -> type[Arrays]:
    from advmf.emit.engine.arrays_torch import Torch

    return Torch


def _javascript() -> type[Arrays]:
    from advmf.emit.engine.arrays_javascript import JavaScript

    return JavaScript


BACKENDS: dict[str, Callable[[], type[Arrays]]] = {"numpy": _numpy, "torch": _torch, "javascript": _javascript}
"""The array libraries by name."""


def function(backend: str, head: Any) -> Any:
    """The array function of a SymPy head, or None."""
    library, columns = BACKENDS[backend](), COLUMNS.get(head, NONE)
    own = getattr(columns, backend)
    if own == "numpy":
        return library.borrowed(head.__name__, columns.numpy)
    if isinstance(own, str):
        return library.written(own)
    return own or library.functions.get(head) or library.integral(head)
