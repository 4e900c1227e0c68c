import math

import pytest
import sympy as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from advmf.errors import DomainError
from advmf.simulate.geometry import conjugate, maximiser, norm, order, project, uniform

EXPONENTS = [1.0, 1.001, 1.2, 1.5, 2.0, 3.0, 10.0, 50.0, 1000.0, math.inf]
exponents = st.sampled_from(EXPONENTS) | st.floats(1, 60)
seeds = st.integers(0, 2**32)
sizes = st.integers(1, 40)
scales = st.sampled_from([1e-3, 0.3, 0.999, 1.0001, 2.0, 1e3, 1e9])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def gaussian(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def violation(z, point, r, radius):
    """max <z - P, y - P> over the ball, relative to |z - P|: a projection P has none, and no other point of the ball
    has none."""
    gap = z - point
    worst = (gap * (radius * maximiser(gap, r) - point)).sum(-1)
    return worst / gap.norm(dim=-1).clamp(min=1e-300)


def test_orders():
    assert [order(r) for r in (1, 2.5, "inf", "3/2", sp.oo, math.inf)] == [1, 2.5, math.inf, 1.5, math.inf, math.inf]
    for value in (0.5, "x", None, True, math.nan, sp.Symbol("p"), "p"):
        with pytest.raises(DomainError, match=r"^q "):
            order(value, "q")
    assert [conjugate(r) for r in (1.0, 4.0, math.inf)] == [math.inf, 4 / 3, 1.0]


@pytest.mark.parametrize("r", EXPONENTS)
def test_norms_without_overflow(r):
    z = gaussian(7, 20)
    by_logarithms = z.abs().amax(-1) if r == math.inf else (torch.logsumexp(r * z.abs().log(), -1) / r).exp()
    torch.testing.assert_close(norm(z, r), by_logarithms)
    torch.testing.assert_close(norm(1e-300 * z, r), 1e-300 * norm(z, r))
    torch.testing.assert_close(norm(1e300 * z, r), 1e300 * norm(z, r))
    assert norm(torch.zeros(3), r) == 0


@pytest.mark.parametrize("function", [norm, maximiser, lambda z, r, dim: project(z, r, 0.7, dim)])
@pytest.mark.parametrize("r", EXPONENTS)
def test_any_axis(function, r):
    z = gaussian(3, 6, 4)
    columns, rows = function(z, r, 1), function(z.mT, r, -1)
    torch.testing.assert_close(columns, rows.mT if rows.ndim == 3 else rows)


@settings(max_examples=100, deadline=None)
@given(exponents, sizes, seeds, st.sampled_from([1e-30, 1.0, 1e30]))
def test_maximisers_attain_the_dual_norm(r, n, seed, scale):
    z = scale * gaussian(5, n, seed=seed)
    e = maximiser(z, r)
    torch.testing.assert_close(norm(e, r), torch.ones(5, dtype=z.dtype), rtol=1e-11, atol=0)
    torch.testing.assert_close((z * e).sum(-1), norm(z, conjugate(r)), rtol=1e-11, atol=0)


@pytest.mark.parametrize("r", EXPONENTS)
def test_the_maximiser_of_a_zero_vector_is_on_the_sphere(r):
    torch.testing.assert_close(norm(maximiser(torch.zeros(2, 5), r), r), torch.ones(2))
    assert torch.isfinite(maximiser(torch.tensor([0.0, 1.0, 0.0]), r)).all()


@settings(max_examples=60, deadline=None)
@given(exponents, sizes, seeds, scales, st.floats(1e-3, 1e3))
def test_projections_satisfy_the_variational_inequality(r, n, seed, scale, radius):
    z = gaussian(4, n, seed=seed)
    z = z / norm(z, r, keepdim=True) * scale * radius
    point = project(z, r, radius)
    assert (norm(point, r) <= radius * (1 + 1e-14)).all()
    if scale < 1:
        assert torch.equal(point, z)
    # Both points carry rounding errors, which the division by a small |z - P| magnifies.
    slack = 1e-13 * n * radius * (1 + (norm(z, 2) + radius) / (z - point).norm(dim=-1).clamp(min=1e-300))
    assert (violation(z, point, r, radius) <= slack).all()
    others = radius * uniform((50, 1, n), r, generator(seed))
    inner = ((z - point) * (others - point)).sum(-1) / (z - point).norm(dim=-1).clamp(min=1e-300)
    assert (inner <= slack).all()


@pytest.mark.parametrize("r", [1.5, 3.0, 50.0])
def test_no_other_map_satisfies_the_variational_inequality(r):
    z = 3 * gaussian(10, 30)
    right, radial, wrong = (
        project(z, r, 1.0),
        z / norm(z, r, keepdim=True),
        project(z, 1 + 1.05 * (r - 1), 1.0),
    )
    wrong = wrong / norm(wrong, r, keepdim=True)
    assert (violation(z, right, r, 1.0) < 1e-13).all()
    assert (violation(z, radial, r, 1.0) > 1e-3).all()
    assert (violation(z, wrong, r, 1.0) > 1e-5).all()


@pytest.mark.parametrize("r", EXPONENTS)
def test_projections_in_single_precision(r):
    z = 3 * gaussian(10, 30).float()
    point = project(z, r, 0.5)
    assert point.dtype == torch.float32
    torch.testing.assert_close(point, project(z.double(), r, 0.5).float())


def test_projections_mix_inside_and_outside_and_keep_zero():
    z = torch.stack([torch.zeros(4), torch.full((4,), 0.1), torch.full((4,), 5.0)]).double()
    for r in EXPONENTS:
        point = project(z, r, 1.0)
        assert torch.equal(point[:2], z[:2])
        torch.testing.assert_close(point[2], torch.full((4,), 4 ** (-1 / r)).double())


@pytest.mark.parametrize("radius", [0.0, -1.0, math.inf, math.nan])
def test_radius_is_checked(radius):
    with pytest.raises(DomainError, match="radius"):
        project(torch.ones(3), 2, radius)


@pytest.mark.parametrize("r", EXPONENTS)
def test_uniform_points(r):
    n, d = 20_000, 3
    points = uniform((n, d), r, generator())
    radial = norm(points, r) ** d  # uniform on [0, 1]
    assert (radial <= 1).all()
    assert abs(radial.mean() - 0.5) < 5 / math.sqrt(12 * n)
    assert torch.equal(points, uniform((n, d), r, generator()))
    second = {2.0: 1 / (d + 2), math.inf: 1 / 3, 1.0: 2 / ((d + 1) * (d + 2))}
    if r in second:
        square = points[:, 0] ** 2
        assert abs(square.mean() - second[r]) < 5 * square.std() / math.sqrt(n)
        # Scaled Gaussian directions have the right radii, and fail outside r = 2.
        z = gaussian(n, d)
        square = ((z / norm(z, r, keepdim=True))[:, 0] * radial ** (1 / d)) ** 2
        assert (abs(square.mean() - second[r]) < 5 * square.std() / math.sqrt(n)) == (r == 2)
