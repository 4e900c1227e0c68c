"""Where a number comes from: the versions, the machine, and the state of the checkout that computed it."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from advmf import __version__

PACKAGES = ("torch", "sympy", "mpmath", "numpy", "scipy")
"""The packages that numbers and formulas pass through."""


def provenance(dtype: str, device: str) -> dict[str, Any]:
    """What a report says of its origin, as JSON-ready values: ``dtype``, ``device``, ``threads``, ``versions`` and ``environment``.

    >>> sorted(provenance("float32", "cpu"))
    ['device', 'dtype', 'environment', 'threads', 'versions']
    """
    import torch

    return {
        "dtype": dtype,
        "device": device,
        "threads": torch.get_num_threads(),
        "versions": {"advmf": __version__, **{name: version(name) for name in PACKAGES}},
        "environment": {
            "python": platform.python_version(),
            "system": platform.platform(),
            "processor": _processor(),
            "accelerator": torch.cuda.get_device_name(device) if device.startswith("cuda") else None,
            "git": git_state(),
        },
    }


@cache
def git_state() -> dict[str, Any] | None:
    """The commit of the checkout that holds the package, and whether tracked files were changed since; None outside a checkout."""
    here = Path(__file__).parent
    if (
        _git(here, "ls-files", "--error-unmatch", Path(__file__).name) is None
    ):  # a package installed inside someone's repository
        return None
    commit, changes = _git(here, "rev-parse", "HEAD"), _git(here, "status", "--porcelain", "--untracked-files=no")
    return None if commit is None else {"commit": commit, "modified": bool(changes)}


def _git(where: Path, *command: str) -> str | None:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        found = subprocess.run(
            ["git", "-C", str(where), *command], capture_output=True, text=True, timeout=10, env=environment
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() if found.returncode == 0 else None


@cache
def _processor() -> str:
    """The model of the processor: on another, sums may be taken in another order."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
