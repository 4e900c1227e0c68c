"""One thread for each worker of a parallel test run, set before NumPy and torch are imported: more would wait for one
another."""

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

pytest_plugins = ["pytester"]
NOBODY = 65534
"""The user without rights, by number."""

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True, scope="module")
def no_theorem_of_a_file_stays():
    """A theorem of one's own is known to the process that loads it: to the tests of one module, and not to those of the
    next."""
    yield
    if theorems := sys.modules.get("advmf.theorems"):
        shipped = {part.name for whole in theorems.SHIPPED for part in (whole, *whole.parts)}
        for name in theorems.THEOREMS.keys() - shipped:
            del theorems.THEOREMS[name]


@pytest.fixture
def folder_of_a_user():
    """A folder of a user whom permissions bind: root, who may write everything, is nobody for the time of the test."""
    with TemporaryDirectory() as name:
        root = os.geteuid() == 0
        if root:
            os.chown(name, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, 0)
        try:
            yield Path(name)
        finally:
            if root:
                os.setresuid(0, 0, 0)
