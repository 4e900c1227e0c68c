"""The scripts in ``derivations/``, which stand beside the package in a checkout and inside it in a wheel."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType

import advmf
from advmf.boundary import public
from advmf.errors import ArgumentError, one_of
from advmf.nets import Net, residual, vanilla
from advmf.theorems import THEOREMS
from advmf.theory.proof import Derivation
from advmf.theory.propagation import slopes


@public
def derivations(theorem: str, net: Net | None = None) -> list[Derivation]:
    """The derivations of a theorem for the vanilla or the residual network, of any slopes, run and so verified;
    ``beta`` takes no net.

    Raises ArgumentError for an unknown theorem, for one or a net without a derivation, and where the scripts are
    missing from the installation, StepError for a step that is wrong.

    >>> import advmf as mf
    >>> [found] = mf.derivations("T1", mf.vanilla())
    >>> found.name, found.result.status
    ('T1', <Status.ASSUMED: 'assumed'>)
    >>> [proof] = mf.derivations("T2", mf.residual(u=1, v=0))
    >>> proof.result.right
    beta*eps*omega**(L/2)
    """
    name = one_of("theorem", theorem, THEOREMS)
    if own := THEOREMS[name].derive:
        made = own(THEOREMS[name].net if net is None else net)
        return [made] if isinstance(made, Derivation) else list(made)
    script = THEOREMS[name].script
    if THEOREMS[name].steps == "printed":
        raise ArgumentError(
            f"{name} has no Derivation: its steps are verified and printed by 'python {folder() / script}.py'."
        )
    if not script:
        raise ArgumentError(f"{name} has no derivation: its Theorem has no derive(net).")
    if not derived(name, net):
        raise ArgumentError(
            f"{name} is derived step by step for advmf.vanilla(u, v) and advmf.residual(u, v); got {net!r}. Write the steps for another "
            "net as an advmf.theory.proof.Derivation: 'advmf new' begins one."
        )
    made = _load(folder() / f"{script}.py").derive(net)
    return [made] if isinstance(made, Derivation) else list(made)


def derived(theorem: str, net: Net | None) -> bool:
    """Whether :func:`derivations` has steps to a theorem, by its name in the catalogue, for a net.

    >>> import advmf as mf
    >>> derived("T1", mf.vanilla(1, 0)), derived("T1", mf.preactivation()), derived("F1", mf.vanilla())
    (True, False, False)
    """
    steps = THEOREMS[theorem].steps
    if THEOREMS[theorem].derive or not THEOREMS[theorem].script:
        return THEOREMS[theorem].derive is not None
    if steps != "nets":
        return steps == "nothing"
    try:
        own = slopes(net) if isinstance(net, Net) else ()
    except ArgumentError:
        return False
    return bool(own) and net in (vanilla(*own), residual(*own))


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
