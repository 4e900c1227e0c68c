"""The source of special functions with everything that they use, and nothing else, for files that run without advmf."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any


def bundled(functions: Iterable[Callable[..., Any]]) -> tuple[list[str], str]:
    """The imports and definitions behind some functions of advmf; each definition stands before its uses.

    Definitions that the functions need from the package are copied; other modules are imported. Docstrings are cut to
    their first paragraph. A name that two modules define gets its module's name added.

    >>> from advmf import special
    >>> from advmf.emit.formats.bundle import bundled
    >>> imports, source = bundled([special.chi_mean])
    >>> "from functools import cache" in imports, "def log_gamma_ratio(" in source, "def gaussian_norm(" in source
    (True, True, False)
    """
    order: dict[tuple[str, str], ast.stmt] = {}
    imports: dict[str, None] = {"import math": None}

    def visit(module: str, name: str) -> None:
        home = _Home.of(module)
        if name in home.imported:
            source, original = home.imported[name]
            if source.startswith("advmf"):
                visit(*_origin(source, original))
            else:
                line = f"from {source} import {original}" if source else f"import {original}"
                imports[line if original == name or not source else f"{line} as {name}"] = None
                if not source and original != name:
                    imports.pop(f"import {original}")
                    imports[f"import {original} as {name}"] = None
        elif name in home.defined and (module, name) not in order:
            node = home.defined[name]
            order[module, name] = node
            for used in _names(node):
                visit(module, used)
            order[module, name] = order.pop((module, name))  # after what it uses

    for function in functions:
        visit(*_origin(function.__module__, function.__name__))
    clashes = {name for _, name in order if sum(name == other for _, other in order) > 1}
    parts: dict[int, str] = {}
    for (module, _), node in order.items():
        rename = {n: f"{n}_{module.rpartition('.')[2]}" for n in clashes if (module, n) in order}
        parts.setdefault(id(node), ast.unparse(_Plain(rename).visit(ast.parse(ast.unparse(node)))))
    return list(imports), "\n\n\n".join(parts.values())


def _names(node: ast.AST) -> list[str]:
    """The names that a definition uses, in order, except those in annotations, which stay strings."""
    found: dict[str, None] = {}
    for inner in ast.walk(_Plain({}).visit(ast.parse(ast.unparse(node)))):
        if isinstance(inner, ast.Name):
            found[inner.id] = None
    return list(found)


def _origin(module: str, name: str) -> tuple[str, str]:
    """The module that defines a name, if the given module only imports it."""
    while name not in _Home.of(module).defined:
        module, name = _Home.of(module).imported[name]
    return module, name


class _Home:
    """The top-level definitions and imports of a module."""

    def __init__(self, module: ModuleType) -> None:
        self.defined: dict[str, ast.stmt] = {}
        self.imported: dict[str, tuple[str, str]] = {}
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.ImportFrom) and node.module != "__future__":
                self.imported |= {alias.asname or alias.name: (str(node.module), alias.name) for alias in node.names}
            elif isinstance(node, ast.Import):
                self.imported |= {alias.asname or alias.name: ("", alias.name) for alias in node.names}
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                self.defined[node.name] = node
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                self.defined |= {n.id: node for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)}

    @staticmethod
    @cache
    def of(module: str) -> _Home:
        return _Home(import_module(module))


class _Plain(ast.NodeTransformer):
    """Drops annotations, cuts docstrings to their first paragraph, and renames."""

    def __init__(self, rename: dict[str, str]) -> None:
        self.rename = rename

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.copy_location(ast.Name(self.rename.get(node.id, node.id), node.ctx), node)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        return node if node.value is None else ast.Assign([node.target], self.visit(node.value), lineno=node.lineno)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.name = self.rename.get(node.name, node.name)
        node.returns = None
        return self._documented(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        fields = [inner for inner in node.body if isinstance(inner, ast.AnnAssign) and inner.value is None]
        found = self._documented(node)
        assert isinstance(found, ast.ClassDef)
        for inner in fields:
            inner.annotation = ast.Constant("float")  # a dataclass needs an annotation, and evaluates it
        return found

    def _documented(self, node: Any) -> ast.AST:
        text = ast.get_docstring(node)
        if text:
            node.body[0] = ast.Expr(ast.Constant(" ".join(text.partition("\n\n")[0].split())))
        self.generic_visit(node)
        return node
