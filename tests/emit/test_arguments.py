"""What users hand to kernels: values beyond an end by rounding, and masked arrays."""

import numpy as np
import pytest
import sympy as sp
import torch

import advmf as mf
from advmf.errors import ArgumentError, DomainError
from advmf.functions import ArcCosine
from advmf.symbols import SYMBOLS

C, D, P = (SYMBOLS[name].symbol for name in ("c", "d", "p"))
CLOSED = [("c", 1.0, 1), ("c", -1.0, -1), ("d", 1.0, -1), ("p", 1.0, -1), ("q", 1.0, -1), ("N", 1.0, -1)]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("size", [None, 5, 300, 2000])
@pytest.mark.parametrize(("name", "end", "outward"), CLOSED)
def test_what_rounding_puts_beyond_a_closed_end_is_that_end(name, end, outward, size, dtype):
    symbol = SYMBOLS[name].symbol
    unit = np.finfo(dtype).eps
    for backend in ("numpy", "native", "torch"):
        f = mf.kernel(ArcCosine(symbol) if name == "c" else symbol**2 + 1 / symbol, backend)
        for units in (1, 4):
            value = np.asarray(end + outward * units * unit, dtype)
            given = value if size is None else np.full(size, value)
            given = torch.as_tensor(given) if backend == "torch" else given
            assert (np.asarray(f(**{name: given})) == np.asarray(f(**{name: given * 0 + end}))).all()
        far = np.full(size or (), end + outward * 40 * unit, dtype)
        with pytest.raises(DomainError):
            f(**{name: torch.as_tensor(far) if backend == "torch" else far})


def test_open_ends_and_zero_stay_as_they_are():
    for name, value in (("sigma_w", -1e-300), ("eps", 0.0), ("sigma_b", -1e-17)):
        with pytest.raises(DomainError):
            mf.kernel(SYMBOLS[name].symbol)(**{name: value})


def test_correlations_of_equal_inputs():
    """A quarter of them is 1 + 2**-52."""
    x = np.random.default_rng(0).standard_normal((500, 7))
    c = np.sum(x * x, 1) / np.sqrt(np.sum(x * x, 1)) / np.sqrt(np.sum(x * x, 1))
    assert (c > 1).any()
    assert (abs(mf.kernel(ArcCosine(C))(c=c) - 1) <= 2.0**-50).all()


def test_a_gradient_passes_an_end():
    c = torch.tensor([1 + 2.0**-52, 0.5], dtype=torch.float64, requires_grad=True)
    mf.kernel(3 * C, "torch")(c=c).sum().backward()
    assert c.grad.tolist() == [3.0, 3.0]


MASK = np.arange(600) % 7 == 2


@pytest.mark.parametrize("backend", ["auto", "numpy", "native"])
@pytest.mark.parametrize("size", [5, 600])
def test_masks_are_kept(backend, size):
    d = np.ma.array(np.linspace(1, 9, size), mask=MASK[:size])
    d.data[MASK[:size]] = np.nan  # what is masked is no number
    x = np.ma.array([[0.5], [0.25]], mask=[[False], [True]])
    t = SYMBOLS["t"].symbol
    f = mf.kernel([t / D, D**2], backend, grad="d")
    (value, square), slopes = f(d=d, t=x)
    plain, _ = f(d=d.data[~MASK[:size]], t=0.5)
    for found in (value, square, *slopes["d"]):
        assert np.ma.isMaskedArray(found) and found.shape == (2, size)
        assert (np.ma.getmaskarray(found) == (MASK[:size] | np.array([[False], [True]]))).all()
    assert (value[0].compressed() == plain[0]).all() and (square[0].compressed() == plain[1]).all()
    logs = mf.kernel(D, backend).log(d=d)
    assert (logs.mask == MASK[:size]).all()


def test_a_mask_that_cannot_be_kept_is_told():
    d = np.ma.array([1.0, 2.0], mask=[True, False])
    with pytest.raises(ArgumentError, match="mask"):
        mf.kernel(D, "torch")(d=d)
    with pytest.raises(ArgumentError, match="mask"):
        mf.kernel(D)(d=d, out=np.empty(2))
    with pytest.raises(DomainError):
        mf.kernel(D)(d=np.ma.array([0.5, 2.0], mask=[False, True]))
    assert mf.kernel(D)(d=np.ma.array([1.0, 2.0])).tolist() == [1.0, 2.0]


@pytest.fixture(scope="module")
def networks():
    generator = torch.Generator().manual_seed(0)
    return mf.simulate.sample(
        mf.vanilla(u=1, v=0), N=20, L=2, d=8, K=2, nets=2, sigma_w=1.4, sigma_b=0.0, generator=generator
    )


@pytest.mark.parametrize("eps", [[0.1, 0.2], (0.1,), np.array([0.1, 0.2]), torch.tensor([0.1])])
def test_one_radius_for_all_inputs(eps, networks):
    with pytest.raises(ArgumentError, match="one number for all inputs"):
        mf.simulate.attack(networks, torch.ones(2, 8), eps=eps, p=2, q=2)


@pytest.mark.parametrize("eps", [1e39, 1e300, 3e38, sp.Integer(10) ** 60])
def test_a_radius_beyond_the_range_of_the_networks(eps, networks):
    for attack in (mf.simulate.attack, mf.simulate.pgd):
        with pytest.raises(DomainError, match="float32"):
            attack(networks, torch.ones(2, 8), eps=eps, p=2, q=2)
