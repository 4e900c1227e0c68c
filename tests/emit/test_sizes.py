"""What outgrows memory or patience is refused before it begins, by one kind of error that gives the bytes
or seconds."""

import time
import tracemalloc

import numpy as np
import pytest

import advmf as mf
from advmf.errors import ArgumentError, BudgetError, MemoryBudgetError
from advmf.symbols import K, L, d, eps

POINT = {"sigma_w": 1.4, "sigma_b": 0.5, "x_sq": 1.0, "y_sq": 1.0, "c": 0.5}


def long(count):
    """So many numbers in the memory of one."""
    return np.broadcast_to(1.0, (count,))


def phase(net, count):
    at = {"N": 1000, "d": 100, "K": 25, "eps": 0.1, "m": 0.5, "M": 2}
    return mf.phase_diagram(net, 2, 2, ("sigma_w_sq", "L"), sigma_w_sq=long(count), L=long(count), **at)


BOMBS = {
    "a grid": (lambda: mf.kernel(eps * d)(eps=long(10**6)[:, None], d=long(10**6)), "8,000,000,000,000 bytes"),
    "two results": (lambda: mf.kernel([eps, d])(eps=long(10**6)[:, None], d=long(10**6)), "16,000,000,000,000 bytes"),
    "single precision": (
        lambda: mf.kernel(eps * d)(eps=long(10**6)[:, None], d=long(10**6), dtype=np.float32),
        "4,000,000,000,000 bytes",
    ),
    "logs": (lambda: mf.kernel(eps * d).log(eps=long(10**6)[:, None], d=long(10**6)), "8,000,000,000,000 bytes"),
    "tensors": (lambda: mf.kernel(eps * d, "torch")(eps=np.ones((10**6, 1)), d=np.ones(10**6)), "bytes"),
    "masked": (lambda: mf.kernel(eps * d)(eps=np.ma.masked_array([[1.0], [2.0]] * 4), d=long(10**12)), "bytes"),
    "more than an array can have": (
        lambda: mf.kernel(eps * d * K * L)(
            eps=long(10**6)[:, None, None, None], d=long(10**6)[:, None, None], K=long(10**6)[:, None], L=long(10**6)
        ),
        "8,000,000,000,000,000,000,000,000 bytes",
    ),
    "a phase diagram": (lambda: phase(mf.vanilla(1, 0), 10**6), "bytes"),
    "a depth": (lambda: mf.kernel(mf.nngp(mf.vanilla(1, 0)))(L=10**9, **POINT), "seconds"),
    "a depth beyond integers": (lambda: mf.kernel(mf.nngp(mf.vanilla(1, 0)))(L=1e30, **POINT), "seconds"),
    "depths": (lambda: mf.kernel(mf.nngp(mf.vanilla(1, 0)), "torch")(L=[1, 10**9], **POINT), "seconds"),
    "a recursion on a large grid": (
        lambda: mf.kernel(mf.nngp(mf.vanilla(1, 0)))(L=10**6, **POINT | {"c": np.zeros(10**5)}),
        "seconds",
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_sizes_are_refused_before_they_are_taken(bomb):
    call, message = BOMBS[bomb]
    tracemalloc.start()
    begun = time.perf_counter()
    with pytest.raises(BudgetError, match=message) as caught:
        call()
    most, seconds = tracemalloc.get_traced_memory()[1], time.perf_counter() - begun
    tracemalloc.stop()
    assert most < 2**29 and seconds < 60
    assert isinstance(caught.value, MemoryBudgetError) == ("bytes" in str(caught.value))


def test_shapes_that_do_not_broadcast_are_no_question_of_size():
    with pytest.raises(ArgumentError, match="do not broadcast"):
        mf.kernel(eps * d)(eps=[1.0, 2.0], d=[1, 2, 3])


def test_ordinary_recursions_are_not_refused():
    f = mf.kernel(mf.nngp(mf.vanilla(1, 0)))
    assert np.isfinite(f(L=[0, 1, 50], **POINT)).all()


def test_norm_factors_at_dimensions_of_any_size():
    text = mf.document([], dimensions=(10**9, 1))
    assert "$d = 1000000000$, $K = 1$" in text
    for bad in (5, (1,), (1, 2, 3)):
        with pytest.raises(ArgumentError, match="two numbers"):
            mf.document([], dimensions=bad)
