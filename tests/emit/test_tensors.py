"""Kernels on tensors under what torch can do to functions: transforms, gradients, outputs to write to, defaults of its
own."""

from __future__ import annotations

import math
from contextlib import nullcontext

import pytest
import sympy as sp
import torch

from advmf.emit.engine.grid import FEW
from advmf.emit.engine.tensors import GRADIENTS
from advmf.emit.kernels import kernel
from advmf.errors import ArgumentError, DomainError, UnsupportedFunctionError
from advmf.functions import ArcCosine, Flow, SpectralNorm
from advmf.symbols import K, L, d, eps, sigma_w

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
"""What torch itself warns of where forward mode is used first."""

AT = {"L": 7.0}
THRESHOLDS = (1, FEW - 1, FEW, 1000)
F = sp.Symbol("F", real=True)
TRANSFORMED = {
    "power": (eps * (1 + sigma_w**2 / 2) ** (L / 2), lambda e, s: e * (1 + s**2 / 2) ** 3.5),
    "steps": (eps * sp.Max(sigma_w, 1) ** L, lambda e, s: e * torch.where(s > 1, s, 1.0) ** 7),
    "arc cosine": (
        eps * ArcCosine(sp.tanh(sigma_w)),
        lambda e, s: e * (torch.tanh(s) + (torch.sqrt(1 - torch.tanh(s) ** 2) - torch.tanh(s) * torch.acos(torch.tanh(s))) / math.pi),
    ),
}  # fmt: skip


def kernel_and_peer(name):
    expr, peer = TRANSFORMED[name]
    f = kernel(expr, "torch")
    at = {symbol: value for symbol, value in AT.items() if symbol in f.arguments}
    return lambda e, s: f(eps=e, sigma_w=s, **at), peer


def inputs(size):
    generator = torch.Generator().manual_seed(size)
    return [0.2 + torch.rand(size, generator=generator, dtype=torch.float64) for _ in range(2)]


@pytest.mark.parametrize("size", THRESHOLDS)
@pytest.mark.parametrize("name", TRANSFORMED)
class TestTransforms:
    """torch.func and forward-mode differentiation on kernels, as on the same formula written in torch, at
    every size."""

    def close(self, transform, name, size):
        f, peer = kernel_and_peer(name)
        torch.testing.assert_close(transform(f, *inputs(size)), transform(peer, *inputs(size)), rtol=1e-10, atol=1e-12)

    def test_forward_mode(self, name, size):
        def dual(f, e, s):
            with torch.autograd.forward_ad.dual_level():
                moved = f(e, torch.autograd.forward_ad.make_dual(s, torch.cos(s)))
                tangent = torch.autograd.forward_ad.unpack_dual(moved).tangent
            assert tangent is not None
            return tangent

        self.close(dual, name, size)

    def test_gradients_of_forward_mode(self, name, size):
        def mixed(f, e, s):
            s = s.clone().requires_grad_()
            with torch.autograd.forward_ad.dual_level():
                moved = f(e, torch.autograd.forward_ad.make_dual(s, torch.ones_like(s)))
                (slope,) = torch.autograd.grad(torch.autograd.forward_ad.unpack_dual(moved).tangent.sum(), s)
            return slope

        self.close(mixed, name, size)

    def test_jvp_vjp_and_grad(self, name, size):
        self.close(lambda f, e, s: torch.func.jvp(f, (e, s), (s, e)), name, size)
        self.close(lambda f, e, s: torch.func.vjp(f, e, s)[1](e), name, size)
        self.close(lambda f, *x: torch.func.grad(lambda *x: f(*x).sum(), argnums=(0, 1))(*x), name, size)
        self.close(lambda f, e, s: torch.func.grad(lambda e: f(e[0], s).sum())(e), name, size)

    def test_vmap(self, name, size):
        self.close(lambda f, e, s: torch.vmap(f)(e, s), name, size)
        self.close(lambda f, e, s: torch.vmap(f, in_dims=(0, None))(e, s), name, min(size, 300))
        self.close(lambda f, e, s: torch.vmap(torch.func.grad(f, argnums=1))(e, s), name, size)
        self.close(lambda f, e, s: torch.vmap(torch.func.hessian(f, argnums=(0, 1)))(e, s), name, size)
        self.close(
            lambda f, e, s: torch.vmap(torch.vmap(f, in_dims=(None, 0)), in_dims=(0, None))(e[:20], s[:20]), name, size
        )

    def test_jacobians(self, name, size):
        for jacobian in (torch.func.jacfwd, torch.func.jacrev):
            self.close(lambda f, e, s, jacobian=jacobian: jacobian(f, argnums=1)(e[:5], s), name, 1)
            self.close(lambda f, e, s, jacobian=jacobian: jacobian(lambda s: f(e[:, None], s), 0)(s[:3]), name, size)


def test_transforms_check_domains():
    f = kernel(eps * L, "torch")
    for size in (3, 1000):
        with pytest.raises(DomainError, match=r"eps = -1"):
            torch.vmap(lambda e: f(eps=e, L=2))(torch.full((size,), -1.0))


def test_kernels_do_not_depend_on_torchs_defaults():
    f = kernel([eps * (1 + sigma_w) ** L, ArcCosine(sp.tanh(sigma_w))], "torch")
    expected = {}
    for state in ("plain", "meta", "bfloat16", "double", "inference"):
        before = torch.get_default_dtype()
        context = torch.inference_mode() if state == "inference" else nullcontext()
        torch.set_default_device("meta" if state == "meta" else None)
        torch.set_default_dtype({"bfloat16": torch.bfloat16, "double": torch.float64}.get(state, before))
        try:
            with context:
                for size in (1, 300, 1000):
                    e = torch.linspace(0.1, 1, size, dtype=torch.float32, device="cpu").requires_grad_(
                        state != "inference"
                    )
                    found = [*f(eps=e, sigma_w=0.5, L=3.0), *f(eps=e.tolist(), sigma_w=e, L=3.0)]
                    if state != "inference":
                        found.append(torch.autograd.grad(found[0].sum(), e)[0])
                    wanted = expected.setdefault(size, found)
                    assert all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(found, wanted))
        finally:
            torch.set_default_device(None)
            torch.set_default_dtype(before)


@pytest.mark.parametrize("size", [3, 300, GRADIENTS])
def test_tensors_to_write_to_and_gradients(size):
    f = kernel(eps * L, "torch")
    e = torch.full((size,), 0.5, dtype=torch.float64, requires_grad=True)
    out = torch.empty(size, dtype=torch.float64)
    assert f(eps=e, L=3, out=out) is out
    assert torch.equal(torch.autograd.grad(out.sum(), e)[0], torch.full_like(e, 3))
    leaf = torch.empty(size, dtype=torch.float64, requires_grad=True)
    with pytest.raises(ArgumentError, match="out is a leaf that requires gradients"):
        f(eps=e, L=3, out=leaf)
    with torch.no_grad():
        f(eps=e, L=3, out=leaf)
    assert torch.equal(leaf, torch.full_like(leaf, 1.5))
    for wrong in (torch.empty(size, dtype=torch.int64), torch.empty(size + 1), 3.0, [out, out]):
        with pytest.raises(ArgumentError, match="out takes 1 floating tensor"):
            f(eps=e, L=3, out=wrong)
    with pytest.raises(ArgumentError, match="cannot be written to"):
        f(eps=e, L=3, out=torch.empty(1, dtype=torch.float64).expand(size))
    with pytest.raises(ArgumentError, match="cannot be written to"):
        torch.vmap(lambda e: f(eps=e, L=3, out=torch.empty((), dtype=torch.float64)))(e.detach())


@pytest.mark.parametrize("size", [3, 300])
def test_what_numpy_evaluates_refuses_derivatives(size):
    """A derivative that is not known is an error, not zero."""
    f = kernel(eps * SpectralNorm(K, d, 1), "torch")
    at = {"d": torch.full((size,), 5.0, dtype=torch.float64), "K": 3.0}
    e = torch.ones(size, dtype=torch.float64, requires_grad=True)
    assert torch.equal(torch.autograd.grad(f(eps=e, **at).sum(), e)[0], f(eps=1.0, **at))
    at["d"].requires_grad_()
    with pytest.raises(UnsupportedFunctionError, match="no derivative in torch"):
        torch.autograd.grad(f(eps=1.0, **at).sum(), at["d"])


def test_a_flow_refuses_derivatives():
    f = kernel(Flow(eps, (F,), (-F * sigma_w,), (2,), F), "torch")
    at = {name: torch.tensor(0.5, dtype=torch.float64, requires_grad=True) for name in f.arguments}
    with pytest.raises(UnsupportedFunctionError, match="no derivative in torch"):
        f(**at).backward()
