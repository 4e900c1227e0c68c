import importlib
import math
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import advmf as mf
from advmf.errors import ArgumentError, DomainError
from advmf.simulate import Bracket, bracket, operator_norm, upper_bound
from advmf.simulate.geometry import conjugate, maximiser, norm

certify = importlib.import_module("advmf.simulate.certify")

INF = math.inf
ORDERS = (1.0, 1.5, 2.0, 3.0, 4.0, INF)
PAIRS = tuple(product(ORDERS, repeat=2))
ROUNDING = 1e-9


def matrices(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def hadamard(n):
    H = torch.ones(1, 1, dtype=torch.float64)
    while len(H) < n:
        H = torch.cat([torch.cat([H, H], 1), torch.cat([H, -H], 1)])
    return H


def batches():
    """Random matrices, and some at which a bound may be wrong: flat, sparse, orthogonal, of one direction
    or one entry."""
    eye, spike = torch.eye(8, dtype=torch.float64), 1e-3 * matrices(8, 8)
    spike[3, 5] = 100
    special = [eye, torch.ones(8, 8, dtype=torch.float64), hadamard(8), torch.outer(*matrices(2, 8)), spike, 0 * eye]
    yield torch.stack([*special, eye * torch.linspace(0.1, 1, 8), matrices(8, 8)])
    yield matrices(3, 3, 11, seed=1)
    yield matrices(3, 13, 14, seed=2)
    yield matrices(3, 12, 2, seed=3)


@pytest.fixture(scope="module")
def lower():
    """Strong lower bounds of all batches at all pairs."""
    return [(J, {o: operator_norm(J, *o, starts=40, cooling=20, signs=14).value for o in PAIRS}) for J in batches()]


def violations(lower):
    """The pairs, one after the other, at which the upper bound is below a norm that is attained."""
    return (o for J, found in lower for o in PAIRS if (upper_bound(J, *o) < found[o] * (1 - 1e-12)).any())


def test_no_bound_is_below_a_norm_that_is_attained(lower):
    assert set(violations(lower)) == set()


WRONG = {
    "weights with the exponents swapped": ("_weighted", lambda right: lambda J, a, b: right(J, 1 - b, 1 - a)),
    "weights of too small an exponent": ("_weighted", lambda right: lambda J, a, b: right(J, 0.5 - 0.9 * (0.5 - a), b)),
    "weights that are normalised in another norm": ("_weighted", lambda right: lambda J, a, b: right(J, a, b) * 0.97),
    "rows in the norm of p itself": ("_rows", lambda right: lambda J, a, b: right(J, 1 - a, b)),
    "the second singular value": (
        "_spectral",
        lambda right: lambda J: torch.linalg.svdvals(J)[:, min(1, min(J.shape[1:]) - 1)],
    ),
    "interpolation at a smaller p": ("_interpolated", lambda right: lambda nodes, a, b: right(nodes, 0.7 * a + 0.3, b)),
    "interpolation between two norms too small": (
        "_interpolated",
        lambda right: lambda nodes, a, b: right([(x, y, v - 0.3 * (x < 1) * (y > 0)) for x, y, v in nodes], a, b),
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_certificate_is_found_out(what, lower, monkeypatch):
    name, wrong = WRONG[what]
    monkeypatch.setattr(certify, name, wrong(getattr(certify, name)))
    assert next(violations(lower), None)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 6),
    st.integers(1, 6),
    st.one_of(st.sampled_from(ORDERS), st.floats(1, 20)),
    st.one_of(st.sampled_from(ORDERS), st.floats(1, 20)),
    st.integers(0, 2**32),
)
def test_brackets_hold(K, d, p, q, seed):
    J = matrices(2, K, d, seed=seed)
    found = bracket(J, p, q)
    assert (found.lower <= found.upper).all()
    best = operator_norm(J, p, q, starts=200, cooling=5, generator=torch.Generator().manual_seed(1))
    assert (best.value <= found.upper).all()
    torch.testing.assert_close(norm(found.vector, p), torch.ones(2, dtype=J.dtype))
    torch.testing.assert_close(norm((J @ found.vector[..., None])[..., 0], q), found.lower)
    assert found.exact == best.exact
    if found.exact:
        torch.testing.assert_close(found.lower, found.upper, rtol=ROUNDING, atol=0)
        torch.testing.assert_close(found.lower, best.value, rtol=ROUNDING, atol=0)
    else:
        e = maximiser(matrices(d, 2000, seed=seed + 1), p, 0)
        assert (norm(J @ e, q, -2).amax(-1) <= found.upper).all()


@settings(max_examples=30, deadline=None)
@given(st.floats(1, 20), st.floats(1, 20), st.integers(0, 2**32))
def test_the_bounds_hold_over_the_complex_numbers(p, q, seed):
    J = matrices(4, 5, seed=seed)
    z = torch.complex(matrices(5, 64, seed=seed + 1), matrices(5, 64, seed=seed + 2))
    for _ in range(50):
        image = J.to(z.dtype) @ z
        t = J.mT.to(z.dtype) @ (maximiser(image.abs(), conjugate(q), 0) * torch.sgn(image))
        z = maximiser(t.abs(), p, 0) * torch.sgn(t)
    assert norm((J.to(z.dtype) @ z).abs(), q, 0).max() <= upper_bound(J, p, q) * norm(z.abs(), p, 0).max()


def test_the_gap_of_the_relaxation_is_that_of_the_complex_norm():
    H = hadamard(2)
    assert float(operator_norm(H, "inf", 1).value) == 2
    torch.testing.assert_close(upper_bound(H, "inf", 1), torch.tensor(math.sqrt(8), dtype=torch.float64))


@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_norms_of_simple_matrices_are_found(p, q):
    n, a, b = 8, 1 / p, 1 / q
    x, y = matrices(2, n)
    eye = torch.eye(n, dtype=torch.float64)
    exact = torch.stack([eye[0, 0] * n ** max(0.0, b - a), norm(x, q) * norm(y, conjugate(p)), 0 * eye[0, 0]])
    bound = upper_bound(torch.stack([eye, torch.outer(x, y), 0 * eye]), p, q)
    torch.testing.assert_close(bound, exact, rtol=ROUNDING, atol=0)


@pytest.mark.parametrize(("p", "q"), [(INF, 1), (4, 4 / 3), (INF, 2), (2, 1.5), (3, 1)])
def test_the_best_weights_of_a_diagonal_matrix(p, q):
    size = torch.linspace(0.02, 1, 12, dtype=torch.float64)
    exact = norm(size, 1 / (1 / q - 1 / p), -1)
    ratio = float(upper_bound(torch.diag(size), p, q) / exact)
    assert 1 <= ratio < 1.02
    uniform = len(size) ** (1 / q - 1 / p)
    assert ratio * exact < 0.95 * uniform


@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_duality_and_scale(p, q):
    J = matrices(4, 5, 9)
    bound = upper_bound(J, p, q)
    torch.testing.assert_close(upper_bound(J.mT, conjugate(q), conjugate(p)), bound, rtol=1e-3, atol=0)
    for scale in (1e-200, 1e200):
        torch.testing.assert_close(upper_bound(scale * J, p, q) / scale, bound)


def test_more_input_or_less_output_never_costs():
    J = matrices(6, 7, 7)
    for p, q in product((1.5, 3.0, INF), (1.0, 1.5, 3.0)):
        assert (operator_norm(J[:, :5, :4], p, q).value <= upper_bound(J, p, q)).all()


@pytest.mark.parametrize(("p", "q"), [(INF, 1), (4, 1.5), (3, 3), (1.5, 1.2), (1.5, 3)])
def test_gaussian_matrices_are_bracketed_closely(p, q):
    found = bracket(matrices(3, 30, 30), p, q)
    assert not found.exact and (found.upper < 1.45 * found.lower).all()


def test_batches_blocks_and_precisions(monkeypatch):
    J = matrices(2, 3, 4, 6, dtype=torch.float32)
    for p, q in ((INF, 1), (3, 3), (1.5, 2), (1.5, 1)):
        monkeypatch.undo()
        whole = bracket(J, p, q)
        assert isinstance(whole, Bracket) and whole.lower.shape == whole.upper.shape == (2, 3)
        assert whole.vector.shape == (2, 3, 6) and whole.upper.dtype == whole.vector.dtype == torch.float64
        monkeypatch.setattr(certify, "_ENTRIES", 1)
        torch.testing.assert_close(bracket(J, p, q).upper, whole.upper)
        torch.testing.assert_close(upper_bound(J[1, 2].double(), p, q), upper_bound(J, p, q)[1, 2])


def test_signs_make_a_bracket_exact():
    J = matrices(2, 20, 15)
    loose, tight = bracket(J, "inf", 1), bracket(J, "inf", 1, signs=15)
    assert tight.exact and not loose.exact
    assert (loose.lower <= tight.upper).all() and (tight.lower <= loose.upper).all()


def test_errors():
    J = torch.ones(2, 3)
    for function in (upper_bound, bracket):
        for wrong in ([[1.0]], torch.ones(3), torch.ones(2, 3, dtype=torch.int64), torch.ones(0, 3)):
            with pytest.raises(ArgumentError, match="J must be"):
                function(wrong, 2, 2)
        with pytest.raises(DomainError, match="NaN"):
            function(torch.full((2, 2), math.nan), 2, 2)
        with pytest.raises(DomainError, match="q must be"):
            function(J, 2, 0.5)
        with pytest.raises(DomainError, match="symbol p"):
            function(J, mf.symbols.p, 2)
    for name in ("starts", "cooling", "signs"):
        with pytest.raises(DomainError, match=f"{name} must be at least 0"):
            bracket(J, 3, 3, **{name: -1})
