import importlib
import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import advmf as mf
from advmf.errors import ArgumentError, DomainError
from advmf.simulate import operator_norm
from advmf.simulate.geometry import conjugate, maximiser, norm

INF = math.inf
exponents = st.sampled_from([1.0, 1.5, 2.0, 3.0, INF])


def matrices(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def signs(n):
    return torch.tensor(list(product((1.0, -1.0), repeat=n)), dtype=torch.float64)


def by_vertices(J, p, q):
    """The norm of one matrix, if the unit ball of p is a polytope: the largest value at a vertex."""
    vertices = torch.eye(J.shape[1], dtype=J.dtype) if p == 1 else signs(J.shape[1])
    return max(torch.linalg.vector_norm(J @ v, q) for v in vertices)


@pytest.mark.parametrize("p", [1, INF])
@pytest.mark.parametrize("q", [1, 1.5, 2, 3, INF])
def test_polytopes_against_all_their_vertices(p, q):
    J = matrices(6, 3, 5)
    found = operator_norm(J, p, q)
    assert found.exact
    torch.testing.assert_close(found.value, torch.stack([by_vertices(j, p, q) for j in J]))


@pytest.mark.parametrize("p", [1, 1.5, 2, 3, INF])
def test_dual_polytopes(p):
    J = matrices(6, 4, 30)
    dual = conjugate(p)
    rows = torch.stack([torch.linalg.vector_norm(j, dual, -1).max() for j in J])
    torch.testing.assert_close(operator_norm(J, p, INF).value, rows)
    best = torch.stack([max(torch.linalg.vector_norm(t @ j, dual) for t in signs(4)) for j in J])
    torch.testing.assert_close(operator_norm(J, p, 1).value, best)
    assert operator_norm(J, p, 1).exact and operator_norm(J, p, INF).exact


@pytest.mark.parametrize("shape", [(3, 30), (30, 3), (8, 8), (1, 5), (5, 1)])
def test_the_spectral_norm(shape):
    J = matrices(4, *shape)
    found = operator_norm(J, 2, 2)
    assert found.exact
    torch.testing.assert_close(found.value, torch.linalg.matrix_norm(J, 2))


@pytest.mark.parametrize(("p", "q"), [(1.5, 2), (3, 1.5), (2, 3), (4, 4), (2, 1.5)])
def test_power_iteration_against_a_fine_grid(p, q):
    J = matrices(10, 3, 2)
    angle = torch.linspace(0, math.pi, 20_001, dtype=torch.float64)
    circle = torch.stack([angle.cos(), angle.sin()])
    grid = norm(J @ (circle / norm(circle, p, 0)), q, -2).amax(-1)
    found = operator_norm(J, p, q)
    assert not found.exact
    torch.testing.assert_close(found.value, grid, rtol=1e-5, atol=0)


@settings(max_examples=40, deadline=None)
@given(exponents, exponents, st.integers(1, 6), st.integers(1, 8), st.integers(0, 2**32))
def test_norm_is_attained_dual_and_beats_random_vectors(p, q, K, d, seed):
    J = matrices(3, K, d, seed=seed)
    found = operator_norm(J, p, q)
    torch.testing.assert_close(norm(found.vector, p), torch.ones(3, dtype=J.dtype))
    torch.testing.assert_close(norm((J @ found.vector[..., None])[..., 0], q), found.value)
    e = maximiser(matrices(d, 200, seed=seed + 1), p, 0)
    assert (norm(J @ e, q, -2).amax(-1) <= found.value * (1 + (1e-9 if found.exact else 1e-3))).all()
    if found.exact:
        transposed = operator_norm(J.mT, conjugate(q), conjugate(p)).value
        assert (transposed <= found.value * (1 + 1e-9)).all()


def test_power_iteration_reaches_what_many_starts_reach():
    J = matrices(8, 10, 100)
    for p, q in ((INF, 2), (3, 1.5), (1.5, 3)):
        few, many = operator_norm(J, p, q), operator_norm(J, p, q, starts=200)
        assert (few.value >= 0.98 * many.value).all()


@pytest.mark.parametrize(("p", "q", "shape"), [(INF, 1, (15, 40)), (4, 1, (15, 40)), (INF, 1.5, (40, 15))])
def test_cooling_finds_the_exact_norm_of_most_matrices(p, q, shape):
    J = matrices(30, *shape)
    exact, found, plain = (operator_norm(J, p, q, **o) for o in ({"signs": 15}, {"cooling": 100}, {}))
    assert exact.exact and not found.exact and not plain.exact
    share = [float((value >= exact.value * (1 - 1e-9)).double().mean()) for value in (plain.value, found.value)]
    assert share[1] > 0.8 and share[1] > share[0] + 0.1
    assert (found.value <= exact.value * (1 + 1e-12)).all()
    torch.testing.assert_close(norm(found.vector, p), torch.ones(30, dtype=J.dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("p", "q"), [(INF, 1), (3, 1.5), (INF, 2), (1.5, 1), (1.5, 3), (3, 4), (40, 1)])
def test_cooling_never_costs(p, q, dtype):
    J = matrices(8, 20, 20, dtype=dtype)
    few, many = operator_norm(J, p, q), operator_norm(J, p, q, cooling=10)
    assert (many.value >= few.value * (1 - 1e-5)).all()
    torch.testing.assert_close(operator_norm(1e-30 * J, p, q, cooling=10).value, 1e-30 * many.value)
    assert (operator_norm(0 * J, p, q, cooling=2).value == 0).all()


def test_cooling_finds_what_annealing_finds_in_a_large_matrix():
    """Simulated annealing of the 60 signs, single flips, 200 sweeps; the plain iteration is some per cent below."""
    J = matrices(1, 60, 600)[0]
    generator = np.random.default_rng(0)
    A, t = J.numpy(), generator.choice([-1.0, 1.0], 60)
    image = A.T @ t
    value = np.abs(image).sum()
    for sweep in range(200):
        for i in range(60):
            other = image - 2 * t[i] * A[i]
            new = np.abs(other).sum()
            if new - value > 25 * (1 - sweep / 200) * np.log(generator.random()):
                image, value, t[i] = other, new, -t[i]
    plain, cooled = (float(operator_norm(J, "inf", 1, cooling=rounds).value) for rounds in (0, 100))
    assert plain < 0.99 * value
    assert cooled > 0.995 * value


def test_a_matrix_is_searched_alone():
    J = matrices(9, 14, 30)
    for p, q in ((INF, 1), (3, 1.5), (INF, 2)):
        whole = operator_norm(J, p, q, cooling=5).value
        one = torch.stack([operator_norm(j, p, q, cooling=5).value for j in J])
        torch.testing.assert_close(one, whole, rtol=1e-10, atol=0)


def test_a_row_is_no_maximiser():
    J = matrices(20, 10, 100)
    row = maximiser(J[:, 0], INF)
    assert (norm((J @ row[..., None])[..., 0], 2) < 0.95 * operator_norm(J, "inf", 2).value).all()


def test_batches_and_blocks_give_the_same_numbers(monkeypatch):
    J = matrices(2, 3, 4, 20, dtype=torch.float64)
    module = importlib.import_module("advmf.simulate.opnorm")
    for p, q in ((1, 2), (2, 1), (2, 2), (INF, 2), (3, INF)):
        monkeypatch.undo()
        whole = operator_norm(J, p, q)
        assert whole.value.shape == (2, 3) and whole.vector.shape == (2, 3, 20)
        monkeypatch.setattr(module, "_ENTRIES", 1)
        blocks = operator_norm(J, p, q)
        torch.testing.assert_close(blocks.value, whole.value)
        torch.testing.assert_close(operator_norm(J[1, 2], p, q).value, whole.value[1, 2])


@pytest.mark.parametrize("scale", [1e-30, 1e30])
@pytest.mark.parametrize(("p", "q"), [(1, 1), (2, 2), (INF, 2), (2, 1), (2, 3)])
def test_extreme_scales_in_single_precision(scale, p, q):
    J = matrices(5, 4, 20, dtype=torch.float32)
    torch.testing.assert_close(operator_norm(scale * J, p, q).value, scale * operator_norm(J, p, q).value)


def test_a_zero_matrix():
    for p, q in product((1, 2, 3, "inf"), repeat=2):
        found = operator_norm(torch.zeros(3, 4), p, q)
        assert found.value == 0
        torch.testing.assert_close(norm(found.vector, mf.simulate.geometry.order(p)), torch.tensor(1.0))


def test_errors():
    J = torch.ones(2, 3)
    for wrong in ([[1.0]], torch.ones(3), torch.ones(2, 3, dtype=torch.int64), torch.ones(0, 3)):
        with pytest.raises(ArgumentError, match="J must be"):
            operator_norm(wrong, 2, 2)
    with pytest.raises(DomainError, match="NaN"):
        operator_norm(torch.full((2, 2), math.nan), 2, 2)
    with pytest.raises(DomainError, match="q must be"):
        operator_norm(J, 2, 0.5)
    with pytest.raises(DomainError, match="symbol p"):
        operator_norm(J, mf.symbols.p, 2)
    for name in ("starts", "cooling", "signs"):
        with pytest.raises(DomainError, match=f"{name} must be at least 0"):
            operator_norm(J, 3, 3, **{name: -1})
