"""Means over Gaussians in native code against NumPy, one thread each, at the same moments in the same run.

``ratio`` is NumPy's time over that of native code. Moments are spread from e^-3 to e^3 and correlations evenly; numbers
agree to 1e-12, or the benchmark fails.
"""

import time

import numpy as np
import pytest
import sympy as sp

import advmf as mf
from advmf.emit.engine.native import native_support
from advmf.functions import NormalMean, PairMean
from advmf.nets.activations.formula import NAMED
from advmf.symbols import z

Q, R = sp.symbols("Q R", positive=True)
P = sp.Symbol("P", real=True)
SIZE = {"one": 2000, "pair": 300}


def points(size):
    random = np.random.default_rng(0)
    q, r = (np.exp(random.uniform(-3, 3, size)) for _ in range(2))
    return {"Q": q, "R": r, "P": random.uniform(-1, 1, size) * np.sqrt(q * r)}


@pytest.mark.parametrize("name", ["tanh", "silu", "softplus", "elu", "hard_tanh"])
@pytest.mark.parametrize("kind", SIZE)
def test_native_against_numpy(benchmark, monkeypatch, name, kind):
    if native_support().startswith("not used"):
        pytest.skip(native_support())
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    f = sp.Lambda(z, NAMED[name])
    mean = NormalMean(sp.Lambda(z, NAMED[name] ** 2), Q) if kind == "one" else PairMean(f, f, Q, R, P)
    at = {symbol.name: points(SIZE[kind])[symbol.name] for symbol in mean.free_symbols}
    ours, theirs = (mf.kernel(mean, backend) for backend in ("native", "numpy"))
    found = benchmark.pedantic(lambda: ours(**at), rounds=3, warmup_rounds=1)
    start = time.perf_counter()
    wanted = theirs(**at)
    seconds = time.perf_counter() - start
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12 * np.abs(wanted).max())
    benchmark.extra_info["ratio"] = round(seconds / benchmark.stats.stats.min, 1)
    benchmark.extra_info["microseconds per mean"] = round(benchmark.stats.stats.min / SIZE[kind] * 1e6, 1)
