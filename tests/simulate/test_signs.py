import importlib
import math
from itertools import product

import pytest
import torch

from advmf.errors import ArgumentError, DomainError
from advmf.simulate import operator_norm
from advmf.simulate.geometry import conjugate, norm
from advmf.simulate.signs import LIMIT, SIGNS, best_signs, check

INF = math.inf
ORDERS = (1.0, 1.5, 2.0, 3.0, INF)


def matrices(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def brute(A, r):
    """The largest norm over all signs, from itertools."""
    return norm(A @ torch.tensor(list(product((1.0, -1.0), repeat=A.shape[-1]))).to(A).mT, r, -2).amax(-1)


def attained(A, s, r):
    return norm((A @ s[..., None])[..., 0], r)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("r", ORDERS)
@pytest.mark.parametrize("n", range(1, 9))
def test_all_signs_of_few_coordinates(n, r, dtype):
    A = matrices(2, 3, 5, n, seed=n, dtype=dtype)
    s = best_signs(A, r)
    assert s.shape == (2, 3, n) and s.dtype == dtype and (s.abs() == 1).all() and (s[..., -1] == 1).all()
    torch.testing.assert_close(attained(A, s, r), brute(A, r))


@pytest.mark.parametrize("r", ORDERS)
@pytest.mark.parametrize("rows", [1, 4, 40])
def test_both_tables_at_sixteen_coordinates(r, rows):
    A = matrices(3, rows, 16)
    torch.testing.assert_close(attained(A, best_signs(A, r), r), brute(A, r))


@pytest.mark.parametrize("r", [1.0, 3.0])
def test_tables_and_blocks_of_any_size(r, monkeypatch):
    A = matrices(4, 3, 10)
    whole = best_signs(A, r)
    module = importlib.import_module("advmf.simulate.signs")
    monkeypatch.setattr(module, "_ENTRIES", 1)
    for low in range(1, 10):
        monkeypatch.setattr(module, "_LOW", low)
        assert torch.equal(best_signs(A, r), whole)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("r", [1.0, 1.5, 2.0, 30.0, 1000.0])
def test_no_power_overflows(r, scale):
    A = matrices(6, 4, 9, dtype=torch.float32)
    torch.testing.assert_close(attained(A, best_signs(scale * A, r), r), brute(A, r))
    assert (best_signs(0 * A, r).abs() == 1).all()


def test_one_sign_flipped_is_worse():
    A = matrices(5, 6, 14)
    s = best_signs(A, 1.0)
    for i in range(14):
        flipped = s.clone()
        flipped[:, i] *= -1
        assert (attained(A, flipped, 1.0) < attained(A, s, 1.0)).all()


@pytest.mark.parametrize(
    ("p", "q", "shape"), [(INF, 1, (18, 15)), (INF, 1, (15, 18)), (INF, 3, (20, 15)), (4, 1, (15, 20))]
)
def test_norms_are_exact_where_a_caller_asks_for_it(p, q, shape):
    J = matrices(3, *shape)
    found, cheap = operator_norm(J, p, q, signs=15), operator_norm(J, p, q)
    assert found.exact and not cheap.exact
    best = brute(J, q) if shape[1] == 15 else brute(J.mT, conjugate(p))
    torch.testing.assert_close(found.value, best)
    torch.testing.assert_close(norm(found.vector, p), torch.ones(3, dtype=J.dtype))
    assert (cheap.value <= best * (1 + 1e-12)).all()


def test_errors():
    assert check(0) == 0 and check(LIMIT) == LIMIT and SIGNS <= LIMIT
    with pytest.raises(DomainError, match=r"2\^24 evaluations"):
        operator_norm(torch.ones(2, 3), 3, 3, signs=25)
    for wrong in (12.0, True, "12"):
        with pytest.raises(ArgumentError, match="signs must be an integer"):
            operator_norm(torch.ones(2, 3), 3, 3, signs=wrong)
    with pytest.raises(DomainError, match="signs must be at least 0"):
        operator_norm(torch.ones(2, 3), 3, 3, signs=-1)
