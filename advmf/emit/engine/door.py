"""The door from the engine to the compiler above it: the derivatives of an integral are kernels of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy as sp

_COMPILERS: list[Callable[..., Any]] = []


def register(compiler: Callable[..., Any]) -> None:
    """Let :func:`compiled` use a compiler, as ``advmf.emit.kernels`` does for its own when it is imported."""
    _COMPILERS[:] = [compiler]


def compiled(expr: sp.Expr, backend: str) -> Any:
    """The kernel of a formula that came up while another kernel was evaluated."""
    (compiler,) = _COMPILERS
    return compiler(expr, backend=backend)
