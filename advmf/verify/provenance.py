"""Where a number comes from: the versions, the machine, and the state of the checkout that computed it."""

from __future__ import annotations

import hashlib
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


VARIABLES = (
    "ATEN_CPU_CAPABILITY", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "OPENBLAS_CORETYPE", "ONEDNN_MAX_CPU_ISA", "CUBLAS_WORKSPACE_CONFIG",
)  # fmt: skip
"""Variables of the environment that choose among ways to compute, and so change last digits."""


def provenance(dtype: str, device: str) -> dict[str, Any]:
    """What a report says of its origin, as JSON-ready values: ``dtype``, ``device``, ``threads``, ``versions`` and
    ``environment``.

    >>> sorted(provenance("float32", "cpu"))
    ['device', 'dtype', 'environment', 'threads', 'versions']
    """
    import torch

    return {
        "dtype": dtype,
        "device": device,
        "threads": torch.get_num_threads(),
        "versions": dict(_versions()),
        "environment": {
            "python": platform.python_version(),
            "system": platform.platform(),
            "processor": _processor(),
            "capability": torch.backends.cpu.get_cpu_capability(),
            "blas": _blas(),
            "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
            "accelerator": torch.cuda.get_device_name(device) if device.startswith("cuda") else None,
            "git": git_state(),
        },
    }


@cache
def _versions() -> dict[str, str]:
    return {"advmf": __version__, **{name: version(name) for name in PACKAGES}}


@cache
def source_sha256() -> str:
    """The hash of what the package's Python files hold.

    >>> len(source_sha256())
    64
    """
    here = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(here.rglob("*.py")):
        for part in (path.relative_to(here).as_posix().encode(), path.read_bytes()):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


@cache
def git_state() -> dict[str, Any] | None:
    """The commit of the checkout that holds the package, and whether tracked files were changed since; None outside a
    checkout."""
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
def _blas() -> str:
    """The libraries of linear algebra under NumPy and torch, with the kernels that each has chosen."""
    from threadpoolctl import threadpool_info

    found = [info for info in threadpool_info() if info["user_api"] == "blas"]
    words = (info.get(name) for info in found for name in ("internal_api", "version", "architecture"))
    texts = [str(word) for word in words]
    return "; ".join(sorted({" ".join(texts[i : i + 3]) for i in range(0, len(texts), 3)}))


@cache
def _processor() -> str:
    """The model of the processor: on another, sums may be taken in another order."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
