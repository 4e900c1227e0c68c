"""One thread for each worker of a parallel test run, set before NumPy and torch are imported: more would wait for one another."""

import os

pytest_plugins = ["pytester"]

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
