"""The derivations in ``derivations/`` as values of ``Theorem.derive``.

The scripts stand beside the package in a checkout and inside it in a wheel. Each is loaded when it is first called.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import advmf
from advmf.errors import ArgumentError
from advmf.nets import Net, residual, vanilla
from advmf.theory.propagation import slopes


@dataclass(frozen=True)
class Scripted:
    """The ``derive`` of a script, for the vanilla and the residual network of any slopes.

    ``script`` is the name of a file in ``derivations/`` without its ending, and ``function`` the name of a function in
    it, which takes a net. Calling the value loads the file and runs its steps. It raises ArgumentError for any other
    network.

    >>> import advmf as mf
    >>> derive = Scripted("t1_linear_form")
    >>> derive.covers(mf.vanilla(1, 0)), derive.covers(mf.preactivation())
    (True, False)
    >>> derive(mf.vanilla(1, 0)).name
    'T1'
    """

    script: str
    function: str = "derive"

    def covers(self, net: Net | None) -> bool:
        """Whether the script has steps for this network."""
        try:
            own = slopes(net) if isinstance(net, Net) else ()
        except ArgumentError:
            return False
        return bool(own) and net in (vanilla(*own), residual(*own))

    def refusal(self, net: Net | None) -> str:
        """The message for a network without steps: the rest of a sentence that begins with the theorem's name."""
        return (
            f"is derived step by step for advmf.vanilla(u, v) and advmf.residual(u, v); got {net!r}. Write the steps for another "
            "net as an advmf.theory.proof.Derivation: 'advmf new' begins one."
        )

    def __call__(self, net: Net | None) -> Any:
        if not self.covers(net):
            raise ArgumentError(f"{self.script} {self.refusal(net)}")
        return getattr(_load(folder() / f"{self.script}.py"), self.function)(net)


class OfLinear(Scripted):
    """A script about networks with linear activations, u = v."""

    def covers(self, net: Net | None) -> bool:
        """Whether the script has steps for this network."""
        return super().covers(net) and isinstance(net, Net) and all(phi.linear for phi in net.activations)

    def refusal(self, net: Net | None) -> str:
        """The message for a network without steps: the rest of a sentence that begins with the theorem's name."""
        return f"is derived step by step for advmf.vanilla(u, u) and advmf.residual(u, u), linear activations; got {net!r}."


class Netless(Scripted):
    """A script about Gaussian matrices alone: its ``derive`` accepts any network, or None, and does not read it."""

    def covers(self, net: Net | None) -> bool:
        """True: no network matters."""
        return True


def folder() -> Path:
    """The folder of the scripts; raises ArgumentError where the installation lacks them."""
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
