"""The engines agree with scaled arithmetic element by element, on scattered points and on grids; outputs, derivatives,
memory."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
import sympy as sp
import torch

import advmf as mf
from advmf.emit import kernels
from advmf.emit.engine import blocks, c_source, cores, grid, native, tensors
from advmf.emit.engine.grid import scaled
from advmf.emit.kernels import Kernel, kernel, register
from advmf.errors import ArgumentError, DomainError, UnsupportedFunctionError
from advmf.functions import ArcCosine, Flow, GaussianNorm, GeometricSum, Recursion
from advmf.functions.columns import COLUMNS
from advmf.symbols import K, L, d, eps, p, q, sigma_b, sigma_w, u, v, x_sq

x, y, z = sp.symbols("x y z", real=True)
s = sp.Symbol("s", positive=True)
F = sp.Symbol("F", real=True)
omega = 1 + (u**2 + v**2) / 2 * sigma_w**2
variance = omega**L * x_sq + sigma_b**2 / 2 * GeometricSum(omega, L)
bound = eps * (sp.sqrt(2 * d / sp.pi) + sp.sqrt(K)) * omega ** (L / 2)
ENGINES = ("numpy", "native")
RANGES = {
    "L": (0, 30), "d": (1, 1e4), "K": (1, 300), "sigma_w": (0.3, 3), "sigma_b": (0, 2), "u": (-2, 2), "v": (-2, 2), "eps": (1e-3, 1),
    "p": (1.01, 20), "q": (1, 20), "x_sq": (0.1, 4), "x": (-3, 3), "y": (-3, 3), "z": (-3, 3), "s": (0.1, 9),
}  # fmt: skip
FORMULAS = {
    "variance": variance,
    "bound": bound,
    "ratio": variance / omega**L,
    "norm factor": mf.beta(p, q, "leading"),
    "gamma": (sp.gamma((s + 1) / 2) / sp.sqrt(sp.pi)) ** (1 / s) + sp.gamma((d + 1) / 2) / sp.gamma(d / 2),
    "negative bases": x**3 * y**2 / (1 + z**2) + (x * y) ** 2 + sp.Abs(x) ** s,
    "a power of either sign": x**y,
    "pieces": sp.Piecewise((1 / x, x > sp.S.Half), (sp.log(1 - x), (x < 0) & (y >= 0)), (x**2, sp.Ne(x, 1))),
    "conditions": sp.Piecewise((x, (x <= y) | sp.Not(sp.Eq(z, 0) | (s < 2))), (sp.Max(x, y, s) * sp.sign(z), True)),
    "library functions": sp.sin(x) * sp.atan(y) + sp.erf(x) * ArcCosine(sp.cos(y)) + sp.floor(z),
    "recursion": Recursion(3, (F,), (F * sigma_w + sp.sqrt(F),), (x_sq,), F) * eps,
    "flow": Flow(s, (F,), (-F * eps,), (x_sq,), F) + d,
    "gaussian norm": GaussianNorm(10, 3) * eps * GaussianNorm(K, 1),
    "small differences": omega**L - 1 + sp.log(omega) + (1 - sp.exp(-x)),
    "constants": sp.Integer(10) ** 400 * x / sp.Integer(10) ** 399,
}  # fmt: skip


def at_random(expr, shapes):
    random = np.random.default_rng(3)
    return {
        a.name: random.uniform(*RANGES[a.name], shape) for a, shape in zip(sorted(expr.free_symbols, key=str), shapes)
    }


def reference(f, values):
    shape = np.broadcast_shapes(*(np.shape(values[a]) for a in f.arguments))
    full = [np.broadcast_to(values[a], shape).ravel() for a in f.arguments]
    return [np.broadcast_to(r, full[0].shape).reshape(shape) for r in scaled(f.program, full)]


def assert_same(got, expected, rtol=1e-12):
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=1e-13)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", FORMULAS)
def test_engines_agree_with_scaled_arithmetic(name, engine):
    expr = FORMULAS[name]
    f = kernel(expr, engine)
    scattered = [(1500,)] * 9
    axes = [(7, 1, 1, 1), (11, 1, 1), (23, 1), (5,), (), (1, 11, 1, 1), (7, 1, 1, 5)]
    strided = at_random(expr, [(3000,)] * 9)
    for values in (at_random(expr, scattered), at_random(expr, axes), {a: r[::2] for a, r in strided.items()}):
        if np.broadcast_shapes(*map(np.shape, values.values())) != ():
            assert_same(np.asarray(f(**values)), reference(f, values)[0])


@pytest.mark.parametrize("engine", ENGINES)
def test_overflow_within_is_no_overflow_of_the_result(engine):
    """A few elements whose intermediates leave the floats, among many whose do not."""
    deep = np.full(2000, 10.0)
    deep[[3, 700, 1999]] = 100_000.0
    f = kernel(omega**L / omega ** (L - 1) * eps, engine)
    at = {"sigma_w": 1.2, "u": 1.0, "v": 0.5, "eps": 0.25}
    assert np.allclose(f(L=deep, **at), 0.25 * (1 + 0.625 * 1.44), rtol=1e-13)
    nested = kernel(sp.Piecewise((5, omega ** (2 * L) > omega**L), (1, True)), engine)
    assert (nested(L=deep, **at) == 5).all()
    tiny = kernel(sp.exp(-x) * sp.exp(y) + sp.log(sp.exp(-x)), engine)
    assert np.allclose(tiny(x=deep[:1000] * 80, y=deep[:1000] * 80), 1 - 80 * deep[:1000], rtol=1e-13)
    assert np.isinf(kernel(variance, engine)(L=deep, sigma_b=0.1, x_sq=1.0, **{k: at[k] for k in "uv"}, sigma_w=1.2)[3])


@pytest.mark.parametrize("engine", ENGINES)
def test_zeros_of_the_domain_cost_no_scaled_arithmetic(engine, monkeypatch):
    monkeypatch.setattr(grid, "redo", lambda *_: pytest.fail("scaled arithmetic where none is needed"))
    at = at_random(variance, [(2000,)] * 9) | {"sigma_b": 0.0, "u": 0.0}
    assert_same(kernel(variance, engine)(**at), reference(kernel(variance, engine), at)[0])


def test_a_subexpression_is_computed_at_the_size_of_its_axes(monkeypatch):
    """With two axes for the base and the depth and three for the factors, only products are taken on the whole grid."""
    sizes = {}
    real = blocks.numpy_engine

    def engine(stage, bounds, inputs, outs):
        for i in stage.order:
            sizes.setdefault(stage.ops[i].name, []).append(outs[0].size)
        return real(stage, bounds, inputs, outs)

    monkeypatch.setattr(kernels, "numpy_engine", engine)
    shapes = {"K": (3, 1, 1, 1, 1), "d": (4, 1, 1, 1), "eps": (5, 1, 1), "L": (6, 1), "sigma_w": (7,)}
    values = {a: np.linspace(1, 2, math.prod(shape)).reshape(shape) for a, shape in shapes.items()} | {
        "u": 1.0,
        "v": 0.5,
    }
    got = kernel(bound, "numpy")(**values)
    assert got.shape == (3, 4, 5, 6, 7)
    assert sorted(sizes["sqrt"]) == [3, 4]
    assert sizes["exp"] == [42]
    assert sizes["ln1p"] == [7]
    assert [name for name, where in sizes.items() if 2520 in where] == ["mul"]
    assert sizes["mul"].count(2520) == 1


@pytest.mark.parametrize("engine", ENGINES)
def test_a_large_grid_needs_the_memory_of_its_result(engine):
    values = {
        "eps": np.linspace(1, 2, 200)[:, None, None],
        "L": np.linspace(1, 9, 200)[:, None],
        "sigma_w": np.linspace(1, 2, 200),
    }
    f = kernel(eps * (1 + sigma_w**2 / 2) ** (L / 2), engine)
    f(**values)
    tracemalloc.start()
    f(**values)
    _, peak = tracemalloc.get_traced_memory()
    assert peak < 8 * 200**3 + 8 * 2 * grid.CHUNK
    tracemalloc.clear_traces()
    out = np.empty((200, 200, 200), np.float32)
    f(out=out, **values)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < out.nbytes + 8 * 3 * grid.CHUNK


@pytest.mark.parametrize("engine", ENGINES)
def test_chunks_of_every_shape_agree(engine, monkeypatch):
    values = at_random(variance, [(7, 1, 1, 1), (11, 1, 1), (23, 1), (5,), (), (1, 11, 1, 1), (7, 1, 1, 5)])
    f = Kernel(variance, engine)
    expected = f(**values)
    for chunk in (1, 100, 333, 5000):
        monkeypatch.setattr(grid, "CHUNK", chunk)
        assert_same(f(**values), expected, rtol=1e-13)


class TestOutputs:
    values = at_random(variance + bound, [(2000,)] * 9)

    @pytest.mark.parametrize("backend", [*ENGINES, "auto", "torch"])
    def test_several_formulas_at_once(self, backend):
        both = kernel([variance, bound, L, sp.Integer(3)], backend)
        got = both(**self.values)
        assert isinstance(got, tuple)
        for one, expr in zip(got, (variance, bound, L, sp.Integer(3))):
            assert one.shape == (2000,)
            assert np.allclose(np.asarray(one), np.asarray(kernel(expr, backend)(**self.values)), rtol=1e-14)
        assert np.allclose(np.asarray(both.log(**self.values)[1]), np.log(np.asarray(got[1])), rtol=1e-13)
        assert [float(n) for n in both(**{a: float(r[0]) for a, r in self.values.items()})] == pytest.approx(
            [float(g[0]) for g in got], rel=1e-13
        )

    def test_common_subexpressions_of_all_formulas_are_one(self):
        alone, twice = kernel(bound).program, kernel([bound, 2 * bound, sp.sqrt(K) * omega ** (L / 2)]).program
        assert len(twice.instructions) < len(alone.instructions) + 5

    @pytest.mark.parametrize("backend", [*ENGINES, "torch"])
    @pytest.mark.parametrize("size", [5, 2000])
    def test_derivatives_against_autograd(self, backend, size):
        names = ("sigma_w", "eps", "L", "K")
        values = {a: r[:size] for a, r in at_random(bound, [(2000,)] * 9).items()}
        value, slopes = kernel(bound, backend, grad=names)(**values)
        tensors_ = {a: torch.tensor(r, requires_grad=True) for a, r in values.items()}
        total = kernel(bound, "torch")(**tensors_)
        gradients = torch.autograd.grad(total.sum(), [tensors_[name] for name in names])
        assert np.allclose(np.asarray(value), total.detach().numpy(), rtol=1e-13)
        assert list(slopes) == list(names)
        for name, gradient in zip(names, gradients):
            assert np.allclose(np.asarray(slopes[name]), gradient.numpy(), rtol=1e-12), name

    @pytest.mark.parametrize("engine", ENGINES)
    def test_derivatives_against_finite_differences(self, engine):
        expr = mf.beta(p, q, "leading") + variance
        values = at_random(expr, [(400,)] * 12)
        _, slopes = kernel(expr, engine, grad=("p", "q", "L", "sigma_w"))(**values)
        plain = kernel(expr, engine)
        for name, slope in slopes.items():
            h = 1e-5 * values[name]
            difference = (
                plain(**(values | {name: values[name] + h})) - plain(**(values | {name: values[name] - h}))
            ) / (2 * h)
            kink = np.abs(values[name] - 2) < 1e-3  # of Max(0, 1/2 - 1/p)
            scale = np.abs(difference) + np.abs(plain(**values)) / values[name]
            assert (np.abs(slope - difference) < 1e-6 * scale)[~kink].all(), name

    def test_derivatives_of_several_formulas(self):
        (first, second), slopes = kernel([eps * L, eps**2], grad=("eps", "L"))(L=3.0, eps=2.0)
        assert (first, second) == (6, 4)
        assert slopes == {"eps": (3, 4), "L": (2, 0)}
        assert kernel(eps * L, grad="L")(L=3.0, eps=2.0) == (6, {"L": 2})
        assert kernel([eps * L, eps], grad="L").log(L=3.0, eps=2.0) == pytest.approx((math.log(6), math.log(2)))

    def test_what_has_no_derivative(self):
        with pytest.raises(UnsupportedFunctionError, match=r"no symbolic form.*torch"):
            kernel(Recursion(L, (F,), (F * sigma_w,), (1,), F), grad="L")
        with pytest.raises(ArgumentError, match="grad names symbols of the formula, L, eps; got 'd'"):
            kernel(eps * L, grad="d")

    @pytest.mark.parametrize("backend", [*ENGINES, "auto"])
    @pytest.mark.parametrize("size", [4, 3000])
    def test_out_and_dtype(self, backend, size):
        f, values = (
            kernel(bound, backend),
            {a: r[:size] if size < 2000 else np.resize(r, size) for a, r in at_random(bound, [(2000,)] * 9).items()},
        )
        expected = f(**values)
        single = f(dtype=np.float32, **values)
        assert single.dtype == np.float32
        assert np.array_equal(single, expected.astype(np.float32))
        for out in (np.empty(size), np.empty(size, np.float32), np.empty(2 * size)[::2]):
            assert f(out=out, **values) is out
            assert np.array_equal(out, expected.astype(out.dtype))
        over = values["eps"].copy()
        assert np.array_equal(f(out=over, **(values | {"eps": over})), expected)
        pair = [np.empty(size), np.empty(size)]
        value, slopes = kernel(bound, backend, grad="eps")(out=pair, **values)
        assert value is pair[0]
        assert slopes["eps"] is pair[1]
        assert np.array_equal(f.log(out=pair[0], **values), f.log(**values))

    def test_what_out_and_dtype_do_not_take(self):
        f = kernel(eps * L)
        for wrong in (np.empty(4), np.empty(3, int), [1, 2, 3]):
            with pytest.raises(ArgumentError, match=r"out takes writable floating arrays of shape \(3,\)"):
                f(L=[1, 2, 3], eps=1.0, out=wrong)
        with pytest.raises(ArgumentError, match=r"out takes 1 array\(s\)"):
            f(L=[1, 2, 3], eps=1.0, out=[np.empty(3), np.empty(3)])
        with pytest.raises(ArgumentError, match="dtype is a floating NumPy type"):
            f(L=1, eps=1.0, dtype=int)
        with pytest.raises(ArgumentError, match="float64, but dtype=float32"):
            f(L=[1.0, 2.0], eps=1.0, out=np.empty(2), dtype=np.float32)
        with pytest.raises(ArgumentError, match="own keyword is out="):
            kernel(sp.Symbol("out") + 1)

    def test_tensors_to_write_to(self):
        f = kernel(eps * L, "torch")
        out = torch.empty(3)
        assert f(L=torch.tensor([1.0, 2.0, 3.0]), eps=2.0, out=out) is out
        assert out.tolist() == [2, 4, 6]
        assert f(L=2, eps=1.0, dtype=torch.float16).dtype == torch.float16
        with pytest.raises(ArgumentError, match="tensor"):
            f(L=[1, 2], eps=1.0, out=out)


class TestTensors:
    def test_gradients_of_any_order_by_formulas(self, monkeypatch):
        """Large tensors: native code with SymPy's derivatives; its own derivatives by the graph."""
        values = at_random(bound, [(600, 1), (600, 1), (1,), (2,), (600, 2), (1, 2), ()])
        results = []
        for threshold in (1, 1 << 60):
            monkeypatch.setattr(tensors, "GRADIENTS", threshold)
            leaves = {a: torch.tensor(r, requires_grad=True) for a, r in values.items()}
            total = kernel(bound, "torch")(**leaves)
            first = torch.autograd.grad(total.square().sum(), list(leaves.values()), retain_graph=True)
            (slope,) = torch.autograd.grad(total.sum(), leaves["sigma_w"], create_graph=True)
            (second,) = torch.autograd.grad(slope.square().sum(), leaves["sigma_w"])
            results.append([total.detach(), *first, second])
        for one, other in zip(*results):
            torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)

    def test_where_a_formula_has_no_finite_derivative_the_graph_has(self, monkeypatch):
        monkeypatch.setattr(tensors, "GRADIENTS", 1)
        steps, base = (
            torch.full((500,), 7.0, dtype=torch.float64, requires_grad=True),
            torch.ones(500, dtype=torch.float64),
        )
        total = kernel(GeometricSum(x, y), "torch")(x=base, y=steps)
        (slope,) = torch.autograd.grad(total.sum(), steps)
        assert torch.allclose(slope, torch.ones(500, dtype=torch.float64))

    def test_memory_is_shared_not_copied(self, monkeypatch):
        seen = []
        monkeypatch.setattr(
            kernels, "numpy_engine", lambda stage, bounds, inputs, outs: seen.extend(x.ctypes.data for x in inputs)
        )
        monkeypatch.setattr(kernels, "available", lambda: False)
        tensor = torch.rand(1000, dtype=torch.float64)
        kernel(eps * 2, "torch")(eps=tensor)
        assert seen == [tensor.data_ptr()]


@pytest.mark.parametrize("engine", ENGINES)
def test_domains_of_large_arrays(engine):
    f = kernel(bound + mf.beta(p, q, "leading"), engine)
    good = at_random(f.expr, [(3000,)] * 12)
    for name, bad in (
        ("eps", 0.0),
        ("eps", math.inf),
        ("L", -1.0),
        ("K", math.nan),
        ("p", 0.5),
        ("u", -math.inf),
        ("d", 1 - 1e-14),
    ):
        values = {a: r.copy() for a, r in good.items()}
        values[name][[17, 2999]] = bad
        with pytest.raises(DomainError, match=f"{name} = .*the first of 2 such values"):
            f(**values)
        with pytest.raises(DomainError, match=f"{name} = "):
            f(**(good | {name: bad}))


def test_a_registered_function_is_called_on_whole_arrays():
    f, sizes = sp.Function("cumulative"), []
    try:
        register(f, numpy=lambda a: sizes.append(a.size) or np.cumsum(a, axis=-1))
        got = kernel(f(x) * eps, "native")(x=np.ones(50_000), eps=2.0)
        assert got[-1] == 100_000
        assert sizes == [50_000]
    finally:
        COLUMNS.pop(f, None)


@pytest.mark.parametrize("engine", ENGINES)
def test_arrays_of_any_layout(engine):
    f, plain = kernel(bound, engine), at_random(bound, [(40, 50)] * 9)
    expected = f(**plain)
    record = np.zeros(2000, dtype=[("flag", "i4"), ("value", "f8")])
    record["value"] = plain["eps"].ravel()
    layouts = {
        "eps": record["value"].reshape(40, 50), "L": np.asfortranarray(plain["L"]), "K": plain["K"].astype(">f8"),
        "d": plain["d"][::-1][::-1], "sigma_w": np.repeat(plain["sigma_w"], 2, axis=1)[:, ::2],
    }  # fmt: skip
    layouts["eps"].setflags(write=False)
    assert np.array_equal(f(**(plain | layouts)), expected)


def test_only_the_branch_needed_is_computed():
    calls, f = [], sp.Function("costly")
    try:
        register(f, numpy=lambda a: calls.append(1) or a)
        k = kernel(sp.Piecewise((f(x), p > 2), (x**2, True)), "numpy")
        values = np.linspace(0, 1, 1000)
        assert np.allclose(k(x=values, p=1.5), values**2)
        assert calls == []
        assert np.allclose(k(x=values, p=3), values)
        assert calls
    finally:
        COLUMNS.pop(f, None)


def test_which_engine_runs():
    assert repr(kernel(eps, "native")).startswith("<native kernel")
    assert native.native_support().startswith("built by" if native.available() else "not used")


def test_kernels_are_made_once():
    assert kernel(bound) is kernel(bound)
    assert kernel(bound) is not kernel(bound, grad="eps")


@pytest.mark.skipif(not native.available(), reason=native.native_support())
@pytest.mark.parametrize("name", FORMULAS)
def test_how_native_code_is_cut_into_loops_changes_no_bit(name, monkeypatch):
    """A loop of every operation passes on numbers, pairs of numbers and conditions."""
    expr = FORMULAS[name]
    at, found, loops = at_random(expr, [5000] * 9), [], []
    monkeypatch.setattr(native, "source", lambda *a: loops.append(text := c_source.source(*a)) or text)
    for length in (1, 10**9):
        monkeypatch.setattr(c_source, "LOOP", length)
        found.append(Kernel(expr, "native")(**at))
    np.testing.assert_array_equal(*found)
    if name in ("gamma", "bound", "conditions"):
        assert loops[0].count("#pragma omp simd") > 1 == loops[1].count("#pragma omp simd")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_repeated_call_goes_straight_to_its_engine(engine, monkeypatch):
    f = Kernel(sp.Tuple(bound, variance), engine)
    at = at_random(sp.Tuple(bound, variance), [3000] * 9)
    before = f(**at)
    with monkeypatch.context() as patch:
        patch.setattr(Kernel, "_evaluate", None)
        for a, b in zip(before, f(**at), strict=True):
            np.testing.assert_array_equal(a, b)
        shaped = f(**{name: array.reshape(50, 60) for name, array in at.items()})
        np.testing.assert_array_equal(shaped[0].ravel(), before[0])
    # All else goes the long way round.
    np.testing.assert_array_equal(f(**at | {"d": at["d"].tolist()}, N=3)[0], before[0])
    np.testing.assert_array_equal(f(**{name: array[::2] for name, array in at.items()})[1], before[1][::2])
    at["d"][17] = 0.5
    with pytest.raises(DomainError, match=r"d = 0.5"):
        f(**at)
    with pytest.raises(ArgumentError, match="Missing d"):
        f(**{name: array for name, array in at.items() if name != "d"}, N=at["L"])


@pytest.mark.skipif(not native.available(), reason=native.native_support())
def test_cores_share_large_arrays_bit_by_bit(monkeypatch):
    """Also the elements that are to compute again."""
    at = at_random(bound, [200_000] * 9)
    at["L"][[7, 150_000]] = 1e5
    at["sigma_w"][[7, 150_000]] = 2.0
    shared, found = [], []
    monkeypatch.setattr(cores, "SHARED", 1 << 20)
    monkeypatch.setattr(cores, "at_once", lambda *a, at_once=cores.at_once: shared.append(a) or at_once(*a))
    for count in (1, 3):
        monkeypatch.setattr(cores, "threads", lambda count=count: count)
        found.append(Kernel(bound, "native").log(**at))
    np.testing.assert_array_equal(*found)
    assert found[0][7] > 1e4
    assert len(shared) == 1
