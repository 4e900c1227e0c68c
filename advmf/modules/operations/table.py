"""Torch's operations and what they do to a path: one table, from the name of an operation to its rule.

A rule gets the node and its arguments, with paths for values that depend on the input and :class:`Values` for
constants, and returns the path after it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy as sp

from advmf.errors import DeclarationError
from advmf.modules.graph import where
from advmf.modules.items import (
    Path,
    Values,
)
from advmf.nets.block import number

Rule = Callable[..., Path]
RULES: dict[str, Rule] = {}
"""The rule of each operation, by its name in torch's aten, without an underscore for the form that works in place."""


def refuse(node: Any, why: str) -> DeclarationError:
    """The error for a node that no declared net has."""
    return DeclarationError(f"{where(node)}: {why}")


def rule(*names: str) -> Callable[[Rule], Rule]:
    """A decorator that registers the rule of some operations."""

    def registered(found: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, found))
        return found

    return registered


def constant_of(node: Any, value: Any) -> sp.Expr:
    """A number as an expression; a constant tensor of one number too."""
    if isinstance(value, Values) and value.tensor.numel() == 1:
        value = value.tensor.item()
    if isinstance(value, sp.Expr):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refuse(node, "a number was expected in a function of each coordinate.")
    return number(str(node.name), "a number", float(value))
