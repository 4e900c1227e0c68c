"""Kernels in forked children."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
import torch
import advmf as mf
torch.set_num_threads(2)
f = mf.kernel(mf.omega(mf.residual(1, 0)) ** mf.symbols.L, backend=sys.argv[1])
at = torch.rand(300_000, dtype=torch.float64)
at = at if sys.argv[1] == "torch" else at.numpy()
one = f(sigma_w=at, L=3)
(child := os.fork()) or os._exit(0 if (f(sigma_w=at, L=3) == one).all() else 3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("backend", ["torch", "numpy", "native"])
def test_a_forked_child_computes_the_same_and_does_not_hang(backend):
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", PROGRAM, backend], env=environment, timeout=120)
    assert done.returncode == 0
