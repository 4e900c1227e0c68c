"""torch.compile on torch kernels: one graph without breaks, with the values and gradients of the kernel itself."""

from __future__ import annotations

import shutil

import pytest
import sympy as sp
import torch

import advmf as mf
from advmf.emit.kernels import Kernel
from advmf.functions import ArcCosine
from advmf.symbols import L, eps, p, q, sigma_w, t, u, v

# Torch's own tracer warns, of itself, about how it looks at the functions with derivatives.
pytestmark = pytest.mark.filterwarnings("ignore")

omega = 1 + (u**2 + v**2) / 2 * sigma_w**2
FORMULAS = {
    "loss bound": mf.loss_bound(mf.residual(1, 0), "inf", 2).rhs,
    "norm factor": mf.beta(p, q, "leading"),
    "pieces": sp.Piecewise((omega ** (L / 2), L > 6), (eps * t, True)) + ArcCosine(sp.cos(t)),
}
RANGES = {"L": (2, 12), "d": (10, 90), "K": (2, 20), "p": (1.1, 6), "q": (1.1, 6), "t": (0.1, 3)}


def both_ways(name, compiler):
    kernel = Kernel(FORMULAS[name], "torch")
    torch.manual_seed(0)
    at = {
        a: torch.empty(300, dtype=torch.float64).uniform_(*RANGES.get(a, (0.2, 2))).requires_grad_()
        for a in kernel.arguments
    }
    torch.compiler.reset()
    compiled = torch.compile(kernel, backend=compiler, fullgraph=True)
    for f in (kernel, compiled):
        value = f(**at)
        yield value.detach(), torch.autograd.grad(value.sum(), list(at.values()))


@pytest.mark.parametrize("name", FORMULAS)
def test_a_kernel_is_one_graph(name):
    (value, slopes), (compiled, compiled_slopes) = both_ways(name, "aot_eager")
    torch.testing.assert_close(compiled, value, rtol=1e-13, atol=0)
    for slope, other in zip(compiled_slopes, slopes, strict=True):
        torch.testing.assert_close(slope, other, rtol=1e-11, atol=1e-13)


@pytest.mark.skipif(not shutil.which("g++"), reason="torch's compiler for the CPU needs g++")
def test_a_kernel_becomes_machine_code():
    (value, slopes), (compiled, compiled_slopes) = both_ways("loss bound", "inductor")
    torch.testing.assert_close(compiled, value, rtol=1e-13, atol=0)
    for slope, other in zip(compiled_slopes, slopes, strict=True):
        torch.testing.assert_close(slope, other, rtol=1e-11, atol=1e-13)
