"""NNGP kernel and correlation map against a quadrature oracle that shares no formula with the package."""

import math

import numpy as np
import pytest

import advmf as mf
from advmf.errors import DeclarationError
from advmf.symbols import SYMBOLS
from advmf.theory.correlation import correlation_slope

GRID = (np.arange(200_000) + 0.5) * 1e-4 - 10
DENSITY = np.exp(-(GRID**2) / 2) / math.sqrt(2 * math.pi) * 1e-4


def bivariate(f, g, q, r, p, angles=4000):
    """E f(z) g(z') for centred Gaussians with variances q, r and covariance p: polar quadrature over the angle.

    f and g are homogeneous of degree one, so the radius gives E rho^2 = 2 and the angle is a periodic mean.
    """
    theta = (np.arange(angles) + 0.5) * 2 * math.pi / angles
    a, b = np.cos(theta), np.sin(theta)
    c = p / math.sqrt(q * r)
    z = math.sqrt(q) * a
    w = math.sqrt(r) * (c * a + math.sqrt(max(0.0, 1 - c * c)) * b)
    return 2 * float(np.mean(f(z) * g(w)))


def oracle(name, L, sigma_w, sigma_b, u, v, x_sq, y_sq, c):
    """The kernel of two inputs, one layer after the other, with expectations by quadrature."""
    phi = lambda z: np.where(z >= 0, u * z, v * z)  # noqa: E731
    Q, R, P, mu, nu = x_sq, y_sq, c * math.sqrt(x_sq * y_sq), 0.0, 0.0
    w, b = sigma_w**2, sigma_b**2
    mean = lambda q: float(DENSITY @ phi(math.sqrt(q) * GRID))  # noqa: E731
    for _ in range(L):
        if name == "preactivation":
            q, r, p = bivariate(phi, phi, Q, Q, Q), bivariate(phi, phi, R, R, R), bivariate(phi, phi, Q, R, P)
            Q, R, P = Q + w * q + b, R + w * r + b, P + w * p + b
            continue
        h, k, l = w * Q + b, w * R + b, w * P + b
        q, r, p = bivariate(phi, phi, h, h, h), bivariate(phi, phi, k, k, k), bivariate(phi, phi, h, k, l)
        if name == "vanilla":
            Q, R, P = q, r, p
        elif name == "residual":
            Q, R, P = Q + q, R + r, P + p
        else:
            m, n = mean(h), mean(k)
            Q, R, P = Q + q + 2 * mu * m, R + r + 2 * nu * n, P + p + mu * n + nu * m
            mu, nu = mu + m, nu + n
    return P


@pytest.mark.parametrize("name", ["vanilla", "residual", "plain_residual", "preactivation"])
@pytest.mark.parametrize("slopes", [(1.0, 0.0), (1.0, 0.2), (1.0, -1.0), (0.5, 1.5)])
@pytest.mark.parametrize("c", [-1.0, -0.6, 0.0, 0.3, 0.95, 1.0])
def test_nngp_against_quadrature(name, slopes, c):
    point = {"L": 3, "sigma_w": 1.2, "sigma_b": 0.4, "x_sq": 0.8, "y_sq": 1.7, "c": c}
    net = mf.PRESETS[name]()
    found = mf.kernel(mf.nngp(net))(**point, u=slopes[0], v=slopes[1])
    # The oracle's midpoint rule over a kink is good to about 1e-6.
    assert found == pytest.approx(oracle(name, **point, u=slopes[0], v=slopes[1]), rel=2e-5)


def test_the_oracle_tells_a_wrong_kernel():
    point = {"L": 3, "sigma_w": 1.2, "sigma_b": 0.4, "x_sq": 0.8, "y_sq": 1.7, "c": 0.3}
    right = mf.kernel(mf.nngp(mf.vanilla(1, 0)))(**point)
    assert abs(oracle("residual", **point, u=1, v=0) / right - 1) > 0.1
    assert abs(oracle("vanilla", **point, u=1, v=0.4) / right - 1) > 0.01


@pytest.mark.parametrize("preset", [mf.vanilla, mf.residual, mf.preactivation])
def test_correlation_map_is_one_step_of_the_kernel(preset):
    net = preset(1, 0.2)
    step, kernel = mf.kernel(mf.correlation_map(net)), mf.kernel(mf.nngp(net))
    at = {"sigma_w": 1.1, "sigma_b": 0.3, "x_sq": 0.9}
    c = np.linspace(-1, 1, 9)
    ratio = kernel(L=1, c=c, y_sq=0.9, **at) / kernel(L=1, c=1.0, y_sq=0.9, **at)
    np.testing.assert_allclose(step(c=c, **at), ratio, rtol=1e-12, atol=1e-12)
    assert step(c=1.0, **at) == pytest.approx(1.0, abs=1e-14)


@pytest.mark.parametrize("preset", [mf.vanilla, mf.residual, mf.preactivation])
def test_slope_and_depth_scale(preset):
    net = preset(1, 0)
    at = {"sigma_w": 1.1, "sigma_b": 0.5, "x_sq": 0.9}
    step = mf.kernel(mf.correlation_map(net))
    slope = float(mf.kernel(correlation_slope(net))(**at))
    # 1 - C(1 - e) = slope*e - O(e^(3/2)): extrapolate the quotient in sqrt(e).
    quotient = lambda e: (1 - float(step(c=1 - e, **at))) / e  # noqa: E731
    assert 2 * quotient(1e-8) - quotient(4e-8) == pytest.approx(slope, rel=1e-4)
    assert float(mf.kernel(mf.depth_scale(net))(**at)) == pytest.approx(-1 / math.log(slope))
    without_bias = correlation_slope(net).subs(SYMBOLS["sigma_b"].symbol, 0)
    assert without_bias.simplify() == 1


def test_no_correlation_map_where_the_mean_matters():
    with pytest.raises(DeclarationError, match="use nngp"):
        mf.correlation_map(mf.plain_residual(1, 0))
