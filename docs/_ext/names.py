"""The reference: a page for each topic, with every public name from its docstring.

The names are those of ``advmf.__all__`` and of the public modules, so a new name has its entry without a change here.
So have the classes of results, which are found by the annotations of the functions. A topic is chosen by the module
that a name is from; the longest beginning counts.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import get_args, get_type_hints

import sympy as sp
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

import advmf

TOPICS = {
    "networks": ("Networks", "Blocks, presets, and whole networks. All are frozen values.", ["advmf.nets"]),
    "activations": ("Activations", "What acts on each coordinate alone.", ["advmf.nets.activations"]),
    "propagation": (
        "Propagation and kernels",
        "From a network to the laws of its stream, its Jacobian and its outputs.",
        ["advmf.theory", "advmf.experiments.image_kernel"],
    ),
    "norm-factors": (
        "Norm factors",
        "β: the mean norm of a Gaussian matrix, by exact values, bounds and an estimate.",
        ["advmf.theory.norms", "advmf.theorems.norm_factor"],
    ),
    "theorems": (
        "Theorems",
        "From a network to claims. [The theorems](../theorems/index.md) says what each one states.",
        ["advmf.theorems"],
    ),
    "claims": ("Claims", "What a theorem returns.", ["advmf.claim", "advmf.theorems.theorem"]),
    "export": (
        "Typesetting, kernels and export",
        "From a claim to LaTeX, numbers, JSON and Python.",
        ["advmf.emit", "advmf.report"],
    ),
    "checks": (
        "Checks",
        "A claim against sampled networks. [Checks](../checks.md) says how a verdict comes about.",
        ["advmf.verify"],
    ),
    "figures": ("Experiments and figures", "What is measured beside verdicts.", ["advmf.experiments"]),
    "modules": (
        "PyTorch modules",
        "A module of PyTorch from and to a declared network, and its audit.",
        ["advmf.modules", "advmf.auditing"],
    ),
    "other": ("Other names", "Names that belong to no other topic.", ["advmf"]),
}
MODULES = {
    "simulate": ("Simulation", "Sampled networks, attacks and training. Nothing here knows the theory."),
    "observables": ("Observables", "What a claim is about: the left-hand sides, and how each one is measured."),
    "errors": ("Errors", "Every error that a public function raises."),
    "symbols": ("Symbols", "The letters of all formulas, with their domains and meanings."),
}
EXTENDING = {
    "advmf.theory.proof": "Derivation Limit Status algebra by gaussian lemma",
    "advmf.theory.lemmas": "register_lemma",
    "advmf.theory.lemma": "Lemma",
    "advmf.emit.kernels": "register",
    "advmf.emit.engine.native": "native_support",
    "advmf.theorems.wrong": "by_form",
    "advmf.verify.store": "read",
    "advmf.verify.suite": "cases",
}
"""What pages of this site use beside the names of ``advmf`` itself."""


def home(name: str) -> str:
    """The module where a public name is defined, which its topic follows."""
    value = getattr(advmf, name)
    module = getattr(value, "__module__", "") or ""
    return module if module.startswith("advmf.nets") else advmf._NAMES[name]


def topic(name: str) -> str:
    module = home(name)
    fits = [
        (len(start), slug)
        for slug, (_, _, starts) in TOPICS.items()
        for start in starts
        if f"{module}.".startswith(f"{start}.")
    ]
    return max(fits)[1]


def kind(value: object) -> str:
    """The directive that documents a value; a plain value has no docstring of its own (see :func:`data`)."""
    if isinstance(value, type):
        return "autoexception" if issubclass(value, BaseException) else "autoclass"
    return "autofunction" if callable(value) and hasattr(value, "__name__") else "data"


def data(name: str, value: object) -> str:
    """What a plain value is: the meaning of a letter, or the string below an assignment."""
    if isinstance(value, sp.Symbol) and value.name in advmf.symbols.SYMBOLS:
        return f"{value.name}: {advmf.symbols.SYMBOLS[value.name].meaning}."
    for module in [each for each in sys.modules if each.startswith("advmf.")]:
        if vars(sys.modules[module]).get(name) is value:
            found = ModuleAnalyzer.for_module(module).find_attr_docs().get(("", name))
            if found:
                return " ".join(found).strip()
    return f"A value of type {type(value).__name__}."


def readable(app: Sphinx, what: str, name: str, obj: object, options: object, signature: str, returns: str) -> object:
    """A signature that Sphinx can read: defaults that are made anew for each value are shown as dots."""
    return (signature.replace("<factory>", "..."), returns) if signature else None


def unbarred(line: str) -> str:
    """A line with its bars escaped, but for those in literals: they are norms, and no substitutions."""
    return "".join(part if k % 2 else part.replace("|", "\\|") for k, part in enumerate(re.split(r"(``.*?``)", line)))


def finished(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Make the bars of a docstring bars, and name the page of the theorem that a function states."""
    for i, line in enumerate(lines):
        if "|" in line and not line.lstrip().startswith((">>>", "...")):
            lines[i] = unbarred(line)
    stated = re.match(r"advmf\.theorems\.([tfd]\d)_|advmf\.theorems\.norm_factor", getattr(obj, "__module__", "") or "")
    if stated and what == "function":
        lines += ["", f"The statement, its reason and its check: :doc:`/theorems/{stated[1] or 'beta'}`.", ""]


def classes(annotation: object) -> Iterator[type]:
    """The classes in an annotation."""
    if isinstance(annotation, type):
        yield annotation
    for part in get_args(annotation):
        yield from classes(part)


def returned(names: Iterable[str]) -> list[type]:
    """The package's classes that these functions return, where no list of public names has them."""
    listed = [*(getattr(advmf, name) for name in advmf.__all__)]
    listed += [
        getattr(getattr(advmf, module), name) for module in MODULES for name in public(getattr(advmf, module), module)
    ]
    listed += [getattr(import_module(module), name) for module, own in EXTENDING.items() for name in own.split()]
    functions = [each for name in names if isinstance(each := getattr(advmf, name), FunctionType)]
    found = [each for function in functions for each in classes(get_type_hints(function).get("return"))]
    return [each for each in dict.fromkeys(found) if each.__module__.startswith("advmf.") and each not in listed]


def page(title: str, intro: str, module: str, names: Iterable[str], scope: object, results: Iterable[type] = ()) -> str:
    """A page in MyST: what it is about, a table of its names and of the classes of their results, and their entries."""
    names = list(names)
    entries = []
    for name in names:
        value = getattr(scope, name)
        if (how := kind(value)) == "data":
            entries += [f".. py:data:: {module}.{name}", "", f"   {unbarred(data(name, value))}", ""]
        else:
            options = ["   :members:"] if how == "autoclass" else []
            options += ["   :show-inheritance:"] if options and value.__bases__ != (object,) else []
            entries += [f".. {how}:: {module}.{name}", *options, ""]
    own = [f"{each.__module__}.{each.__qualname__}" for each in results]
    entries += [line for name in own for line in (f".. autoclass:: {name}", "   :members:", "")]
    with_docs = [f"{module}.{name}" for name in names if kind(getattr(scope, name)) != "data"] + own
    table = ["", ".. autosummary::", "   :nosignatures:", "", *(f"   ~{name}" for name in with_docs), ""]
    table = table if with_docs else []
    return f"# {title}\n\n{intro}\n\n```{{eval-rst}}\n" + "\n".join(table + entries) + "```\n"


def extending() -> str:
    parts = ["# For extensions\n\nWhat a bound, a lemma or a function of your own is made of.\n"]
    for module, names in EXTENDING.items():
        parts.append(page(f"`{module}`", "", module, names.split(), import_module(module))[1:].replace("#", "##", 1))
    return "\n".join(part if part.startswith("#") else f"## {part.strip()}\n" for part in parts)


def public(module: object, name: str) -> list[str]:
    """The names of a module that its users see: those that it lists, or else its classes."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return [each for each in listed if not each.isupper() or name == "symbols"]
    return [
        each
        for each, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == f"advmf.{name}" and each[0] != "_"
    ]


def write(app: Sphinx) -> None:
    """Write the pages, and leave those that are right as they are, so that only changed ones are read again."""
    folder = Path(app.srcdir) / "reference"
    folder.mkdir(exist_ok=True)
    grouped: dict[str, list[str]] = {slug: [] for slug in TOPICS}
    for name in advmf.__all__:
        if name not in MODULES:
            grouped[topic(name)].append(name)
    pages = {
        slug: page(*TOPICS[slug][:2], "advmf", names, advmf, returned(names))
        for slug, names in grouped.items()
        if names
    }
    for name, (title, intro) in MODULES.items():
        module = getattr(advmf, name)
        pages[name] = page(title, intro, f"advmf.{name}", public(module, name), module)
    pages["extending"] = extending()
    tree = "\n".join(pages)
    pages["index"] = (
        "# Reference\n\nEvery public name, by topic, from its docstring. `help(advmf.omega)` shows the same text in "
        "Python.\n\n:::{toctree}\n:maxdepth: 1\n\n" + tree + "\n:::\n"
    )
    for old in folder.glob("*.md"):
        if old.stem not in pages:
            old.unlink()
    for slug, text in pages.items():
        path = folder / f"{slug}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", write)
    app.connect("autodoc-process-docstring", finished)
    app.connect("autodoc-process-signature", readable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
