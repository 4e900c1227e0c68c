"""The life of the loss of ReLU networks: the kernel of f(x + eta) - f(x) on a ball, against its part inside the linear
region of x (docs/training.md)."""

import numpy as np
import pytest

import advmf as mf

RELU = mf.Net(mf.Serial(mf.Dense(sigma_b=0), mf.ReLULike(1, 0)))
LINEAR = mf.Net(mf.Serial(mf.Dense(sigma_b=0), mf.ReLULike(1, 1)))


def shares(net, L, d, eps, count=300, seed=0):
    """What k has at least of a <eta, eta'>, with a = Theta(x, x)/‖x‖², along each direction: the values 1/‖w . eta‖_k²
    over those of the linear kernel, rising, on random points of the ball. The points are finitely many, so that each is
    an upper bound."""
    theta, rng = mf.kernel(mf.ntk(net)), np.random.default_rng(seed)
    sigma_w = 2**0.5 if net is RELU else 1.0
    way = rng.standard_normal((count, d))
    eta = eps * way / np.linalg.norm(way, axis=1, keepdims=True) * rng.uniform(0, 1, (count, 1)) ** (1 / d)
    y = np.vstack([np.eye(1, d), np.eye(1, d) + eta])
    size = np.linalg.norm(y, axis=1)
    cosine = np.clip(y @ y.T / np.outer(size, size), -1, 1)
    point = {"L": L, "N": 1, "sigma_w": sigma_w, "x_sq": size[:, None] ** 2 / d, "y_sq": size**2 / d, "c": cosine}
    gram = theta(**{name: value for name, value in point.items() if name in theta.arguments})
    k, a = gram[1:, 1:] - gram[1:, :1] - gram[:1, 1:] + gram[0, 0], gram[0, 0]
    k += 1e-12 * np.trace(k) / count * np.eye(count)
    return 1 / np.linalg.eigvalsh(a * eta.T @ np.linalg.solve(k, eta))[::-1]


@pytest.mark.parametrize("eps", [0.3, 0.1, 0.03])
@pytest.mark.parametrize("L", [1, 2, 4])
def test_the_kernel_of_a_small_ball_holds_that_of_the_linear_region(L, eps):
    """Along x it falls short by less than eps/‖x‖; across x it is larger by a factor of order ‖x‖/eps."""
    along, *across = shares(RELU, L, 3, eps)
    assert 1 - eps < along < 1
    assert min(across) > 0.3 / eps
    assert not 1 - eps < along / 1.5, "the control: one and a half times the kernel inside the region"


def test_in_a_large_ball_it_does_not():
    assert shares(RELU, 4, 3, 1.0)[0] < 0.5


def test_that_of_linear_networks_is_their_linear_region():
    assert np.allclose(shares(LINEAR, 2, 3, 0.3), 1, rtol=1e-3)
