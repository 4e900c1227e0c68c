"""Native code: its elementary functions, its cache, and what happens without a compiler."""

from __future__ import annotations

import ctypes
import math
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import mpmath
import numpy as np
import pytest
import sympy as sp

import advmf.emit.engine
from advmf.emit.engine import cores, native
from advmf.emit.engine.blocks import STIRLING
from advmf.emit.kernels import kernel
from advmf.errors import DomainError
from advmf.symbols import K, L, eps, sigma_w

pytestmark = pytest.mark.skipif(not native.available(), reason=native.native_support())

HEADER = (Path(advmf.emit.engine.__file__).parent / "native.h").read_text()
FUNCTIONS = {
    "expo": ("expo(x, &far)", mpmath.exp, (-708, 708)),
    "expo_minus_one": ("expo_minus_one(x, &far)", mpmath.expm1, (-5, 5)),
    "tiny": ("expo_minus_one(x * 0x1p-40, &far)", lambda x: mpmath.expm1(x / 2**40), (-5, 5)),
    "ln": ("ln(x, &far)", mpmath.log, (1e-9, 10)),
    "ln next to 1": ("ln(1.0 + x, &far)", mpmath.log1p, (0, 2.0**-20)),
    "ln1p": ("ln1p(x, &far)", mpmath.log1p, (-0.99, 5)),
    "ln1p of little": ("ln1p(x * 0x1p-20, &far)", lambda x: mpmath.log1p(x / 2**20), (-5, 5)),
    "ln_gamma": ("ln_gamma(x, &far)", mpmath.loggamma, (3, 60)),
    "wide_exp": ("wide_exp(x)", mpmath.exp, (-708, 708)),
    "wide_expm1": ("wide_expm1(x)", mpmath.expm1, (-60, 60)),
    "wide_tanh": ("wide_tanh(x)", mpmath.tanh, (-20, 20)),
    "ln_one_plus_exp": ("ln_one_plus_exp(x)", lambda x: mpmath.log1p(mpmath.exp(x)), (-700, 700)),
}


@pytest.fixture(scope="module")
def functions(tmp_path_factory):
    """Every function of native.h over an array, with whether it took all elements."""
    place = tmp_path_factory.mktemp("functions") / "functions.so"
    code = HEADER + "".join(
        f"\nint f{i}(long n, const double *x_, double *y) {{ unflag(); uint64_t far = 0;"
        f" for (long i = 0; i < n; i++) {{ double x = x_[i]; y[i] = {call}; }} return far <= FAR && !flagged(); }}"
        for i, (call, _, _) in enumerate(FUNCTIONS.values())
    )
    subprocess.run(
        [*native.compiler(), *native.FLAGS, "-x", "c", "-", "-o", place, "-lm"], input=code, text=True, check=True
    )
    library = ctypes.CDLL(str(place))

    def evaluate(name, x):
        x, y = np.array(x, float), np.empty(len(x))
        f = getattr(library, f"f{list(FUNCTIONS).index(name)}")
        f.argtypes = [ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        return y, bool(f(len(x), x.ctypes.data, y.ctypes.data))

    return evaluate


@pytest.mark.parametrize("name", FUNCTIONS)
def test_elementary_functions_to_the_last_digit(functions, name):
    _, reference, (low, high) = FUNCTIONS[name]
    x = np.random.default_rng(0).uniform(low, high, 500)
    if name == "ln next to 1":
        x = np.ldexp(np.round(np.ldexp(x, 52)), -52)
    got, good = functions(name, x)
    assert good
    with mpmath.workdps(40):
        errors = [abs(mpmath.mpf(float(a)) / reference(mpmath.mpf(float(b))) - 1) for a, b in zip(got, x)]
    assert max(errors) < {"ln_gamma": 12, "wide_tanh": 2}.get(name, 1) * 2.0**-52


def test_functions_of_any_argument(functions):
    """At both ends of the line, where others are told to be out of range."""
    ends = [-math.inf, -1e9, 0.0, 1e9, math.inf]
    wanted = {
        "wide_exp": np.exp,
        "wide_expm1": np.expm1,
        "wide_tanh": np.tanh,
        "ln_one_plus_exp": lambda x: np.logaddexp(0, x),
    }
    with np.errstate(over="ignore"):
        for name, reference in wanted.items():
            assert np.allclose(functions(name, ends)[0], reference(np.array(ends)), rtol=1e-15, atol=0), name
            assert np.isnan(functions(name, [math.nan])[0]).all()


@pytest.mark.parametrize(
    ("name", "x"),
    [("expo", 709.0), ("expo", -709.0), ("ln", 0.0), ("ln", -1.0), ("ln", np.inf), ("ln", np.nan), ("ln", 5e-324), ("ln1p", -1.0),
     ("ln_gamma", 0.0), ("ln_gamma", -1.5), ("ln_gamma", np.inf), ("expo_minus_one", np.nan)],
)  # fmt: skip
def test_what_a_function_cannot_take_is_told(functions, name, x):
    assert functions(name, [1.0])[1]
    assert not functions(name, [1.0, x, 1.0])[1]


def constants(start):
    text = HEADER[HEADER.index(start) :]
    return [float.fromhex(word) for word in re.findall(r"-?0x[0-9a-f.]+p[+-]\d+", text[: text.index("\n}")])]


def test_polynomials_are_minimax():
    with mpmath.workdps(40):
        half = mpmath.log(2) / 2
        exp = mpmath.chebyfit(
            lambda r: mpmath.nsum(lambda k: r**k / mpmath.factorial(k + 2), [0, 30]), [-half, half], 10
        )
        z = ((mpmath.sqrt(2) - 1) / (mpmath.sqrt(2) + 1)) ** 2
        log = mpmath.chebyfit(lambda z: mpmath.nsum(lambda k: 2 * z**k / (2 * k + 5), [0, 40]), [0, z], 7)

        def remainder(i):
            if i == 0:
                return mpmath.mpf(1) / 12
            x = 1 / mpmath.sqrt(i)
            return (mpmath.loggamma(x) - ((x - 0.5) * mpmath.log(x) - x + mpmath.log(2 * mpmath.pi) / 2)) * x

        # 1 - t r(t) is a multiple of the third Chebyshev polynomial on m + 1 for the m between the roots of 1/2 and 2.
        ends = [1 + mpmath.sqrt(mpmath.mpf(x)) for x in (0.5, 2)]
        centre, width = sum(ends) / 2, (ends[1] - ends[0]) / 2
        third = mpmath.chebyt(3, -centre / width)
        at = [mpmath.mpf(f) for f in (-0.2, 0.1, 0.3)]
        values = [(1 - mpmath.chebyt(3, (2 + f - centre) / width) / third) / (2 + f) for f in at]
        inverse = mpmath.lu_solve(mpmath.matrix([[f**2, f, 1] for f in at]), mpmath.matrix(values))
        stirling = mpmath.chebyfit(remainder, [0, mpmath.mpf(1) / 36], 7)
    for start, fitted in (
        ("exp_tail(double r) {", exp),
        ("atanh_tail(double z) {", log),
        ("double p = fma(", stirling),
        ("double r = fma(", inverse),
    ):
        given = constants(start)[: len(fitted)]
        assert len(given) >= len(fitted) - 1
        assert np.allclose(given, [float(x) for x in fitted][: len(given)], rtol=1e-3), start
    assert np.allclose(STIRLING, [float(x) for x in stirling], rtol=1e-3)


FORMULA = eps * (1 + sigma_w**2 / 2) ** (L / 2)
AT = {"L": np.linspace(1, 50, 4000), "sigma_w": np.linspace(0.5, 2, 4000), "eps": 0.3}


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """An empty cache and no memory of compiled code."""
    monkeypatch.setenv("ADVMF_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(native, "_failures", [])
    native._loaded.cache_clear()
    yield tmp_path / "cache"
    native._loaded.cache_clear()
    native.compiler.cache_clear()


def evaluate():
    from advmf.emit.kernels import Kernel

    return Kernel(FORMULA, "native")(**AT)


def test_the_cache_is_private_and_used_again(fresh):
    first = evaluate()
    (library,) = fresh.glob("*.so")
    assert stat.S_IMODE(fresh.stat().st_mode) == 0o700
    before = library.stat().st_mtime_ns
    native._loaded.cache_clear()
    assert (evaluate() == first).all()
    assert [path.stat().st_mtime_ns for path in fresh.glob("*")] == [before]


ELSEWHERE = (
    "import numpy as np; from advmf.emit.kernels import kernel; from advmf.symbols import L, eps, sigma_w\n"
    "f = kernel(eps * (1 + sigma_w**2 / 2) ** (L / 2), 'native')\n"
    "print(f(L=np.linspace(1, 50, 4000), sigma_w=np.linspace(0.5, 2, 4000), eps=0.3).sum().hex())"
)


def test_a_damaged_file_is_built_again(fresh):
    subprocess.run([sys.executable, "-c", ELSEWHERE], check=True)
    (library,) = fresh.glob("*.so")
    library.write_bytes(b"no library")
    assert (evaluate() == kernel(FORMULA, "native")(**AT)).all()
    assert library.stat().st_size > 1000


def test_nothing_damaged_is_loaded(fresh):
    """Flips, cuts and exchanges; loaded, a cut file ends the process, and one flip in twenty changes numbers."""
    expected = evaluate()
    (library,) = fresh.glob("*.so")
    whole = library.read_bytes()
    assert native._intact(library)
    draw = np.random.default_rng(0)
    damaged = [whole[: int(n)] for n in draw.integers(0, len(whole), 40)] + [
        b"",
        whole + b"\0",
        whole[32:],
        bytes(len(whole)),
    ]
    for place in draw.integers(0, 8 * len(whole), 300):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        damaged.append(bytes(flipped))
    for content in damaged:
        library.write_bytes(content)
        assert not native._intact(library)
    other = library.with_name("0" * 40 + ".so")
    other.write_bytes(whole)
    assert not native._intact(other)  # another kernel's file
    other.unlink()
    library.write_bytes(whole[: len(whole) // 2])
    found = subprocess.run([sys.executable, "-c", ELSEWHERE], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == expected.sum().hex()
    assert library.read_bytes() == whole or native._intact(library)


def place(environment):
    """Where a process of this environment keeps compiled code, or why it does not."""
    code = "from advmf.emit.engine.native import cache_directory\ntry: print(cache_directory())\nexcept OSError as e: print('no:', e)"
    kept = {
        name: value for name, value in os.environ.items() if name not in ("ADVMF_CACHE_DIR", "XDG_CACHE_HOME", "HOME")
    }
    run = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env={**kept, **environment}
    )
    return run.stdout.strip()


def test_the_place_of_the_cache(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o755)
    home = str(tmp_path.resolve())
    assert place({"HOME": home}) == f"{home}/.cache/advmf"
    assert place({"HOME": home, "ADVMF_CACHE_DIR": "~/mine"}) == f"{home}/mine"
    assert place({"HOME": home, "XDG_CACHE_HOME": f"{home}/xdg"}) == f"{home}/xdg/advmf"
    assert place({"HOME": home, "XDG_CACHE_HOME": "relative"}) == f"{home}/.cache/advmf"
    assert not (tmp_path / "~").exists() and not (tmp_path / "relative").exists()


def test_no_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ADVMF_CACHE_DIR")

    def unknown(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", unknown)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.raises(FileNotFoundError, match="set ADVMF_CACHE_DIR"):
        native.cache_directory()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_a_folder_above_that_others_may_write_is_not_trusted(tmp_path, monkeypatch, mode):
    above = tmp_path / "shared"
    above.mkdir()
    monkeypatch.setenv("ADVMF_CACHE_DIR", str(above / "deep" / "cache"))
    above.chmod(mode)
    with pytest.raises(PermissionError, match=r"shared, above the cache .* can be written by others"):
        native.cache_directory()
    above.chmod(mode | stat.S_ISVTX)  # as /tmp: what is there, others cannot move
    assert native.cache_directory() == (above / "deep" / "cache").resolve()


def test_processes_share_a_cache(fresh):
    several = [subprocess.Popen([sys.executable, "-c", ELSEWHERE], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    sums = {process.communicate()[0].strip() for process in several}
    assert sums == {evaluate().sum().hex()}
    assert len(list(fresh.iterdir())) == 1


@pytest.mark.parametrize(
    ("command", "reason"), [("false", "CalledProcessError"), ("", "no C compiler"), ('gcc "', "No closing quotation")]
)
def test_without_a_compiler_numpy_does_the_work(fresh, monkeypatch, tmp_path, command, reason):
    expected = kernel(FORMULA, "numpy")(**AT)
    monkeypatch.setenv("CC", command)
    if not command:
        monkeypatch.setenv("PATH", str(tmp_path))
    native.compiler.cache_clear()
    assert (evaluate() == expected).all()
    assert native.native_support().startswith("not used")
    assert reason in native.native_support()


def test_the_output_of_a_compiler_may_be_anything(fresh, monkeypatch, tmp_path):
    odd = tmp_path / "odd"
    odd.write_bytes(b"#!/bin/sh\nprintf '\\377\\376 wrong' >&2; exit 1\n")
    odd.chmod(0o755)
    monkeypatch.setenv("CC", str(odd))
    native.compiler.cache_clear()
    assert (evaluate() == kernel(FORMULA, "numpy")(**AT)).all()
    assert "wrong" in native.native_support()


def test_a_directory_that_others_may_write_is_not_trusted(fresh):
    fresh.mkdir()
    fresh.chmod(0o777)
    expected = kernel(FORMULA, "numpy")(**AT)
    assert (evaluate() == expected).all()
    assert "can be written by others" in native.native_support()
    assert list(fresh.iterdir()) == []


def test_cores_share_large_arrays(monkeypatch):
    many = {"L": np.linspace(1, 50, 300_000), "sigma_w": np.linspace(0.5, 2, 300_000), "eps": 0.3}
    f = kernel(FORMULA, "native")
    monkeypatch.setattr(cores, "threads", lambda: 1)
    alone = f(**many)
    monkeypatch.setattr(cores, "threads", lambda: 3)
    assert (f(**many) == alone).all()


def test_domains_are_checked_in_native_code():
    f = kernel(eps * sp.sqrt(K), "native")
    K_ = np.full(5000, 4.0)
    for bad in (0.5, np.nan, np.inf, -1.0):
        values = K_.copy()
        values[4321] = bad
        with pytest.raises(DomainError, match=r"K = .* is outside its domain"):
            f(K=values, eps=1.0)


def test_flags_of_the_process_are_left_alone():
    """Native code clears IEEE's flags, so NumPy must see its own errors as before."""
    evaluate()
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        np.exp(np.full(3, 1000.0))
    with np.errstate(all="raise"):
        evaluate()
    assert os.path.exists(os.environ["ADVMF_CACHE_DIR"])


def test_powers_over_depth_keep_their_last_digits():
    """(1 + w)^(L/2) for w from 1e-6 on, to the largest that a float holds: pairs of numbers carry the logarithm."""
    random = np.random.default_rng(0)
    logs, w = random.uniform(0, 700, 2000), 10 ** random.uniform(-6, 2, 2000)
    widths = np.sqrt(2 * w)
    depths = 2 * logs / np.log1p(w)
    got = kernel((1 + sigma_w**2 / 2) ** (L / 2), "native")(L=depths, sigma_w=widths)
    with mpmath.workdps(40):
        exact = [(1 + mpmath.mpf(s) ** 2 / 2) ** (mpmath.mpf(n) / 2) for s, n in zip(widths.tolist(), depths.tolist())]
        units = np.array([abs(float((mpmath.mpf(float(a)) / b - 1) * 2**52)) for a, b in zip(got, exact)])
    # Plain arithmetic loses half a unit for each unit of the logarithm.
    assert (units < 1 + logs / 15).all()
    assert units.max() < 1e-14 * 2**52
