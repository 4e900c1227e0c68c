"""Links to files of the repository, and to names of Python that have no entry in the reference."""

from __future__ import annotations

import importlib
import re
import sys
import warnings
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import advmf

ROOT = Path(__file__).parents[2]
HOME = {f"{module}.{name}": f"advmf.{name}" for name, module in advmf._NAMES.items()}
"""Public names by the module that they are from: a reference to either is to the one entry."""
ROOMS = ("advmf.simulate", "advmf.observables", "advmf.errors", "advmf.symbols", "advmf")


def exists(dotted: str) -> bool:
    """Whether there is such a module, or such a name in one."""
    parts = dotted.split(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that NumPy will have one day
        return _exists(parts)


def _exists(parts: list[str]) -> bool:
    for cut in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        for name in parts[cut:]:
            fields = getattr(found, "__dataclass_fields__", {}) | getattr(found, "__annotations__", {})
            if not hasattr(found, name) and name not in fields:
                return False
            found = getattr(found, name, None)
        return True
    return False


def candidates(node: pending_xref) -> list[str]:
    """The full names that a reference may mean, most likely first."""
    target = node["reftarget"].lstrip("~.")
    module, owner = node.get("py:module") or "", node.get("py:class") or ""
    names = [target, *(f"{prefix}.{target}" for prefix in (module, owner and f"{module}.{owner}") if prefix)]
    origin = origin_of(f"{module}.{owner}" if owner else module)
    names += [f"{origin}.{target}"] if origin else []
    return names + [f"{room}.{target}" for room in ROOMS] + [f"{room}.{target}" for room in SHORT]


SHORT = ("sympy", "numpy", "torch", "collections.abc", "typing", "pathlib", "builtins", "fractions")
"""Where names that annotations use without a module are from."""


def origin_of(dotted: str) -> str:
    """The module in which a documented object is defined."""
    module, _, name = dotted.rpartition(".")
    try:
        return str(getattr(getattr(importlib.import_module(module), name), "__module__", ""))
    except (ImportError, AttributeError, ValueError):
        return ""


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.Element) -> nodes.Element | None:
    """A name that is documented elsewhere in the reference becomes a link, and one that exists becomes plain text.

    A name that does not exist is left to Sphinx, which warns.
    """
    if node.get("refdomain") != "py":
        return None
    documented = env.domains.python_domain.objects
    for name in candidates(node):
        for known in (HOME.get(name, ""), name, *(f"{room}.{name.rpartition('.')[2]}" for room in ROOMS)):
            if known in documented and name.rpartition(".")[2] == known.rpartition(".")[2] and same(name, known):
                entry = documented[known]
                uri = app.builder.get_relative_uri(node["refdoc"], entry.docname)
                return nodes.reference("", "", contnode, internal=True, refuri=f"{uri}#{entry.node_id}")
    names = candidates(node)
    return contnode if is_variable(node["reftarget"]) or any(map(exists, names)) or internal(names[0]) else None


def internal(target: str) -> bool:
    """Whether a module of the package has this name: docstrings of a module refer to its neighbours by it."""
    first, _, rest = target.partition(".")
    loaded = [module for name, module in sys.modules.items() if name.startswith("advmf.")]
    return any(first in vars(module) and (not rest or hasattr(vars(module)[first], rest)) for module in loaded)


def same(name: str, known: str) -> bool:
    """Whether two full names are of one object."""
    return name == known or HOME.get(name) == known or (value(name) is not None and value(name) is value(known))


def value(dotted: str) -> object:
    module, _, name = dotted.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name, None)
    except (ImportError, ValueError):
        return None


def is_variable(target: str) -> bool:
    """Whether it is no name at all, but part of an annotation: a shape, or a letter of jaxtyping."""
    return not target.replace(".", "").replace("_", "").isalnum()


def files(app: Sphinx, docname: str, source: list[str]) -> None:
    """Links from a page to files of the repository that are no pages: they are shown as names, as the site has no copy
    of the repository."""

    def plain(match: re.Match[str]) -> str:
        text, target = match[1], match[2].partition("#")[0]
        here = (Path(app.srcdir) / docname).parent
        if target.startswith(("http", "#", "{")) or not target:
            return match[0]
        path = (here / target).resolve()
        if not path.exists() or (Path(app.srcdir) in path.parents and path.suffix in (".md", ".png", ".svg")):
            return match[0]  # a page, or a mistake that the build reports
        own = path.relative_to(ROOT).as_posix() + ("/" if path.is_dir() else "")
        return f"`{own}`" if text in (own, path.name, own.rstrip("/")) else f"{text} (`{own}`)"

    source[0] = re.sub(r"(?<!!)\[([^\]\[]*)\]\(([^)\s]+)\)", plain, source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("missing-reference", resolve)
    app.connect("source-read", files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
