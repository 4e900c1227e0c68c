"""Kernels against other ways to evaluate a formula: lambdify, numexpr, numba, torch.compile, jax.jit, and handwritten C
as the limit.

Three formulas, each at 10⁴ and 10⁶ scattered points and on an open grid of 10⁶; the peers of a group do the same work
in the same run. Numbers agree to 1e-12, or the benchmark fails. Numba and numexpr come with ``pip install -e
'.[bench]'``; OMP_NUM_THREADS=1 times one core.
"""

import ctypes
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import sympy as sp

import advmf as mf
from advmf.emit.engine import cores
from advmf.emit.engine.cores import threads
from advmf.emit.engine.native import native_support
from advmf.functions import Conjugate, QExponential
from advmf.symbols import p, q


def elementary(expr):
    """The formula in functions that every peer has, for generic exponents."""
    expr = expr.replace(Conjugate, lambda r: r / (r - 1)).replace(
        QExponential, lambda x, r: (1 + (1 - r) * x) ** (1 / (1 - r))
    )
    return expr.replace(sp.Piecewise, lambda *branches: branches[-1][0])


FORMULAS = {
    "E1": mf.loss_bound(mf.residual(1, 0), "inf", 2, "leading").rhs,
    "E2": elementary(mf.weight_variance(mf.vanilla(1, 0), 2, 2, "leading").rhs) / 2,
    "E3": elementary(mf.beta(p, q, "leading")),
}
"""The (oo, 2) bound for residual networks, vanilla networks' omega(t), and the norm factor at general p and q."""
RANGES = {
    "L": (3, 60), "N": (100, 1e4), "d": (10, 1000), "K": (2, 100), "sigma_w": (0.5, 2), "eps": (0.01, 1), "t": (0, 10),
    "p": (1.1, 8), "q": (1.1, 8),
}  # fmt: skip
SHAPES = {"10^4": 10**4, "10^6": 10**6, "grid": None}


@cache
def points(name, shape):
    """Arguments by name: scattered points, or a grid with one axis per argument and 10⁶ points in total."""
    random, names = np.random.default_rng(0), sorted(s.name for s in FORMULAS[name].free_symbols)
    if SHAPES[shape]:
        return {a: random.uniform(*RANGES[a], SHAPES[shape]) for a in names}
    n = round(10 ** (6 / len(names)))
    return {a: random.uniform(*RANGES[a], n).reshape((-1,) + (1,) * i) for i, a in enumerate(reversed(names))}


def symbols(name):
    """The arguments' plain symbols, and the formula in them."""
    plain = {s: sp.Symbol(s.name) for s in FORMULAS[name].free_symbols}
    return sorted(plain.values(), key=str), FORMULAS[name].subs(plain)


def native(name, at):
    if native_support().startswith("not used"):
        pytest.skip(native_support())
    f = mf.kernel(FORMULAS[name], "native")
    return lambda: f(**at)


def numpy(name, at):
    f = mf.kernel(FORMULAS[name], "numpy")
    return lambda: f(**at)


def elementwise(name, at):
    """The native kernel on the grid written out, to measure what broadcasting saves."""
    f, full = (
        mf.kernel(FORMULAS[name], "native"),
        dict(zip(at, map(np.ascontiguousarray, np.broadcast_arrays(*at.values())))),
    )
    return lambda: f(**full)


def elementwise_lambdify(name, at):
    full = dict(zip(at, map(np.ascontiguousarray, np.broadcast_arrays(*at.values()))))
    return lambdify(name, full)


def lambdify(name, at):
    names, expr = symbols(name)
    f, values = sp.lambdify(names, expr, "scipy", cse=True), [at[s.name] for s in names]
    return lambda: f(*values)


def numexpr(name, at):
    peer = pytest.importorskip("numexpr", reason="numexpr is not installed: pip install -e '.[bench]'")
    if name == "E3":
        pytest.skip("numexpr has no gamma function")
    peer.set_num_threads(threads())
    text = sp.printing.pycode(symbols(name)[1], fully_qualified_modules=False)
    return lambda: peer.evaluate(text, local_dict=at | {"pi": np.pi})


def numba(name, at):
    peer = pytest.importorskip("numba", reason="numba is not installed: pip install -e '.[bench]'")
    names, expr = symbols(name)
    shared, (value,) = sp.cse(expr)
    items = ", ".join(f"{s}_" for s in names)
    lines = [f"        {s} = {s}_[i]" for s in names]
    lines += [f"        {s} = {sp.pycode(e)}" for s, e in shared]
    body = "\n".join(
        [f"def loop(y, {items}):", "    for i in prange(y.size):", *lines, f"        y[i] = {sp.pycode(value)}"]
    )
    scope = {"math": __import__("math"), "prange": peer.prange}
    exec(body, scope)
    peer.set_num_threads(threads())
    loop = peer.njit(scope["loop"], parallel=True)
    full = [np.ascontiguousarray(x).ravel() for x in np.broadcast_arrays(*(at[s.name] for s in names))]

    def run():
        y = np.empty(full[0].size)
        loop(y, *full)
        return y.reshape(np.broadcast_shapes(*(x.shape for x in at.values())))

    return run


def torch_compile(name, at):
    torch = pytest.importorskip("torch")
    torch.set_num_threads(threads())
    names, expr = symbols(name)
    # With torch's functions, and with numbers for constants.
    expr = expr.replace(sp.Max, lambda x, y: (x + y + sp.Abs(x - y)) / 2).replace(
        sp.gamma, lambda x: sp.exp(sp.loggamma(x))
    )
    f = torch.compile(sp.lambdify(names, expr.evalf(17), [{"loggamma": torch.lgamma}, torch], cse=True))
    tensors = [torch.from_numpy(at[s.name]) for s in names]
    try:
        f(*tensors)
    except Exception as error:
        pytest.skip(f"torch.compile cannot compile here: {type(error).__name__}")
    return lambda: f(*tensors).numpy()


def jax(name, at):
    peer = pytest.importorskip("jax", reason="jax is not installed: pip install -e '.[bench]'")
    peer.config.update("jax_enable_x64", True)
    names, expr = symbols(name)
    scope = [{"loggamma": peer.scipy.special.gammaln}, "jax"]
    f = peer.jit(sp.lambdify(names, expr.replace(sp.gamma, lambda x: sp.exp(sp.loggamma(x))), scope, cse=True))
    values = [peer.numpy.asarray(at[s.name]) for s in names]
    return lambda: np.asarray(f(*values))


@cache
def by_hand():
    with tempfile.TemporaryDirectory() as space:
        library = Path(space) / "limit.so"
        flags, part = ["-O3", "-march=native", "-ffast-math", "-fopenmp", "-fPIC"], Path(space) / "limit.o"
        subprocess.run(["cc", *flags, "-c", Path(__file__).parent / "limit.c", "-o", part], check=True)
        # Linked without -ffast-math, which would make this whole process flush small numbers to zero.
        subprocess.run(["cc", "-shared", "-fopenmp", part, "-o", library, "-lm"], check=True)
        return ctypes.CDLL(str(library))


def limit(name, at):
    f = getattr(by_hand(), name)
    full = [np.ascontiguousarray(x).ravel() for x in np.broadcast_arrays(*(at[s.name] for s in symbols(name)[0]))]
    shape = np.broadcast_shapes(*(x.shape for x in at.values()))

    def run():
        y = np.empty(full[0].size)
        f(ctypes.c_long(y.size), *(ctypes.c_void_p(x.ctypes.data) for x in [y, *full]))
        return y.reshape(shape)

    return run


PEERS = (native, numpy, lambdify, numexpr, numba, torch_compile, jax, limit)
CASES = [(name, shape, peer) for name in FORMULAS for shape in SHAPES for peer in PEERS]
CASES += [(name, "grid", peer) for name in FORMULAS for peer in (elementwise, elementwise_lambdify)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "shape", "peer"), CASES, ids=lambda x: getattr(x, "__name__", x))
def test_formula(benchmark, name, shape, peer):
    benchmark.group = f"{name} at {shape}"
    at = points(name, shape)
    run = peer(name, at)
    reference = lambdify(name, at)()
    np.testing.assert_allclose(run(), reference, rtol=1e-12)
    benchmark.extra_info["threads"] = os.environ.get("OMP_NUM_THREADS") or os.cpu_count()
    benchmark.pedantic(run, rounds=15, iterations=max(1, 10**5 // reference.size), warmup_rounds=2)
    benchmark.extra_info["ns per element"] = round(benchmark.stats.stats.median / reference.size * 1e9, 2)


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize("cached", [False, True])
def test_first_call(benchmark, name, backend, cached, tmp_path, monkeypatch):
    """The time from a claim to its first numbers: with nothing compiled, and with everything compiled before."""
    from advmf.emit import kernels
    from advmf.emit.engine.native import _loaded

    at = {a: x[:2000] for a, x in points(name, "10^4").items()}
    benchmark.group = f"first call, {'cached' if cached else 'nothing compiled'}"
    places = (str(tmp_path / str(i)) for i in range(100))
    monkeypatch.setenv("ADVMF_CACHE_DIR", next(places))

    def forget():
        if not cached:
            monkeypatch.setenv("ADVMF_CACHE_DIR", next(places))
            kernels._kernel.cache_clear()
            _loaded.cache_clear()

    benchmark.pedantic(
        lambda: mf.kernel(FORMULAS[name], backend)(**at), setup=forget, rounds=5, warmup_rounds=int(cached)
    )


@pytest.mark.parametrize("size", [2**15, 2**16, 2**17, 2**18, 2**19])
@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("count", [1, threads()])
def test_cores(benchmark, monkeypatch, name, size, count):
    """The number of elements from which on all cores together are faster than one, to set SHARED of engine/cores.py."""
    benchmark.group = f"{name} on {size} points"
    monkeypatch.setattr(cores, "SHARED", 0)
    monkeypatch.setattr(cores, "threads", lambda: count)
    run = native(name, {a: x[:size] for a, x in points(name, "10^6").items()})
    run()
    benchmark.pedantic(run, rounds=50, iterations=5, warmup_rounds=2)
