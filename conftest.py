"""What makes a test run faster and changes no number, set before NumPy, SymPy and torch are imported.

A parallel run has one thread for each worker: more would wait for one another. SymPy remembers 20,000 results of each
function for 1,000. Python looks for garbage once in 10,000 new objects for 700.
"""

import gc
import os
import sys

import pytest

pytest_plugins = ["pytester"]

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("SYMPY_CACHE_SIZE", "20000")
gc.set_threshold(10_000)


@pytest.fixture(autouse=True, scope="module")
def no_theorem_of_a_file_stays():
    """A theorem of one's own is known to the process that loads it: to the tests of one module, and not to those of the
    next."""
    yield
    if theorems := sys.modules.get("advmf.theorems"):
        shipped = {part.name for whole in theorems.SHIPPED for part in (whole, *whole.parts)}
        for name in theorems.THEOREMS.keys() - shipped:
            del theorems.THEOREMS[name]
