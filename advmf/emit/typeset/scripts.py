"""The scripts in ``derivations/``, which stand beside the package in a checkout and inside it in a wheel."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType

import advmf
from advmf.errors import ArgumentError
from advmf.net import Net, residual, vanilla
from advmf.theory.proof import Derivation


def derivations(theorem: str, net: Net) -> list[Derivation]:
    """The derivations of a theorem for the vanilla or the residual network, run and so verified; none if no script derives it for the net.

    Raises ArgumentError where the scripts are missing from the installation, StepError for a step that is wrong.

    >>> import advmf as mf
    >>> [found] = mf.derivations("T1", mf.vanilla())
    >>> found.name, found.result.status
    ('T1', <Status.ASSUMED: 'assumed'>)
    >>> mf.derivations("T1", mf.preactivation())
    []
    """
    if net not in (vanilla(), residual()):
        return []
    prefixes = (f"{theorem.lower()}_", f"{theorem.lower()[:1]}_")
    found = []
    for path in sorted(folder().glob("*.py")):
        if path.name.startswith(prefixes):
            derive = getattr(_load(path), "derive", None)
            made = derive(net) if derive else ()
            found += [made] if isinstance(made, Derivation) else list(made)
    return found


def folder() -> Path:
    """Where the scripts lie."""
    package = Path(advmf.__file__).parent
    for candidate in (package / "derivations", package.parent / "derivations"):
        if candidate.is_dir() and any(candidate.glob("t1_*.py")):
            return candidate
    raise ArgumentError(
        f"The derivations are neither in {package / 'derivations'} nor in {package.parent / 'derivations'}; install advmf from its wheel "
        "or its repository, or leave the derivations out."
    )


@cache
def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"advmf_derivations_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
