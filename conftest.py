"""What makes a test run faster and changes no number, set before NumPy, SymPy and torch are imported.

A parallel run has one thread for each worker: more would wait for one another. SymPy remembers 20,000 results of each
function for 1,000. Python looks for garbage once in 10,000 new objects for 700.
"""

import ctypes
import gc
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

pytest_plugins = ["pytester"]
PERMISSIONS_ASIDE = 0b110
"""Linux's capabilities 1 and 2, CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: to read and write what permissions deny."""

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("SYMPY_CACHE_SIZE", "20000")
gc.set_threshold(10_000)


@pytest.fixture(autouse=True, scope="session")
def compiled_code_stays_with_the_tests(tmp_path_factory):
    """What a user's machine has compiled before is not used, so that a run is like that on a new machine. Workers of a
    parallel run share what they compile."""
    with pytest.MonkeyPatch.context() as patch:
        # A worker's folder lies in that of the run.
        base = tmp_path_factory.getbasetemp()
        folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "advmf"
        folder.mkdir(mode=0o700, exist_ok=True)
        patch.setenv("ADVMF_CACHE_DIR", str(folder))
        yield


@pytest.fixture(autouse=True, scope="module")
def no_theorem_of_a_file_stays():
    """A theorem of one's own is known to the process that loads it: to the tests of one module, and not to those of the
    next."""
    yield
    if theorems := sys.modules.get("advmf.theorems"):
        shipped = {part.name for whole in theorems.SHIPPED for part in (whole, *whole.parts)}
        for name in theorems.THEOREMS.keys() - shipped:
            del theorems.THEOREMS[name]


@contextmanager
def bound_by_permissions():
    """This thread, bound by permissions as its user: root, too, though still the owner of root's files."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    head = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, the calling thread
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: capabilities 0 to 31, then 32 to 63

    def call(function):
        if function(head, sets):
            raise OSError(ctypes.get_errno(), f"{function.__name__} failed")

    call(libc.capget)
    effective = sets[0]
    sets[0] = effective & ~PERMISSIONS_ASIDE
    call(libc.capset)
    try:
        yield
    finally:
        sets[0] = effective
        call(libc.capset)


@pytest.fixture
def folder_of_a_user():
    """A folder in which permissions bind, whoever runs the tests."""
    with TemporaryDirectory() as name, bound_by_permissions():
        yield Path(name)
