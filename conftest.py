"""One thread for each worker of a parallel test run, set before NumPy and torch are imported: more would wait for one
another."""

import os
import sys

import pytest

pytest_plugins = ["pytester"]

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
