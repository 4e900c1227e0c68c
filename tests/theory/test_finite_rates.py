"""The start of training at finite width, against explicit deep linear networks in plain NumPy."""

import math

import numpy as np
import pytest
from scipy import integrate

import advmf as mf
from advmf.errors import ArgumentError, DeclarationError
from advmf.special import spectral_norm

NET = mf.Net(mf.Serial(mf.Dense(sigma_b=0), mf.ReLULike(1, 1)), name="vanilla")
SIGMA, EPS = 1.3, 0.4


def explicit(L, d, K, N, nets, seed):
    """E L_adv, -dL_adv/dt, dC/dt over E C, dσ_w²/dt of explicit networks, each with its standard error: the gradient of
    ε s_1 by hand, averaged over inputs of length sqrt d."""
    draw, rows = np.random.default_rng(seed), []
    for _ in range(nets):
        W = [SIGMA * draw.normal(size=(N, N)) / N**0.5 for _ in range(L)]
        below, above = [draw.normal(size=(N, d)) / d**0.5], [draw.normal(size=(K, N)) / N**0.5]
        for w in W:
            below.append(w @ below[-1])
        for w in reversed(W):
            above.append(above[-1] @ w)
        above.reverse()
        J = above[-1] @ below[-1]
        u, s, v = np.linalg.svd(J, full_matrices=False)
        slopes = [EPS * np.outer(A.T @ u[:, 0], B @ v[0]) for A, B in zip(above[1:], below)]
        change = sum(A @ g @ B for A, g, B in zip(above[1:], slopes, below))  # -dJ/dt
        pairing = np.mean([(g * w).sum() for g, w in zip(slopes, W)])
        rows.append(
            [
                EPS * s[0],
                sum((g**2).sum() for g in slopes),
                -2 * L**2 * (J * change).sum(),
                L**2 * (J**2).sum(),
                -2 * pairing / N,
            ]
        )
    loss, decay, moved, level, variance = np.array(rows).T
    ratio = moved.mean() / level.mean()
    values = [loss.mean(), decay.mean(), ratio, variance.mean()]
    errors = [loss.std(), decay.std(), (moved - ratio * level).std() / level.mean(), variance.std()]
    return np.array(values), np.array(errors) / nets**0.5


def claimed(rates, **at):
    return np.array([float(mf.kernel(claim)(eps=EPS, sigma_w=SIGMA, **at)) for claim in rates])


@pytest.mark.parametrize(
    ("L", "d", "K", "N", "nets"), [(1, 6, 3, 100, 3000), (3, 8, 4, 300, 700), (2, 12, 2, 160, 1500)]
)
def test_explicit_networks_have_these_rates(L, d, K, N, nets):
    """Within 4.5 standard errors and a fifth of the correction's square, the next order; the limit is refuted for both
    rates, and so is the correction at twice the depth."""
    found, error = explicit(L, d, K, N, nets, 5)
    at = {"L": L, "d": d, "K": K}
    own, limit = (claimed(mf.finite_rates(NET), N=n, **at) for n in (N, 10**9))
    limit = limit * np.array([1, N / 10**9, N / 10**9, 10**9 / N])
    share = own / limit - 1
    slack = 4.5 * error + 0.2 * share**2 * abs(limit)
    assert (abs(found - own) < slack).all(), (found / limit, own / limit, error / limit)
    assert (abs(found - limit)[1:3] > slack[1:3]).all(), "the limit"
    assert (abs(found - limit * (1 + 2 * share))[1:3] > slack[1:3]).all(), "twice the correction"


@pytest.mark.parametrize("k", [0, 1])
def test_sums_over_singular_values_are_moments_of_the_largest(k):
    """E s_1^k Σ_j s_j²/(s_1² - s_j²) = (m_{k+2} - (d + K - 1 + k) m_k)/2, which the derivation assumes, by quadrature
    over both singular values at K = 2, d = 5; with d + K in place of d + K - 1 it is off by half of m_k."""
    d = 5

    def mean(f):
        def density(low, high):
            return (low * high) ** (d - 2) * math.exp(-(low**2 + high**2) / 2) * (high**2 - low**2)

        def integral(g):
            return integrate.dblquad(lambda b, a: g(b, a) * density(a, b), 0, 15, lambda a: a, 15, epsabs=1e-11)[0]

        return integral(f) / integral(lambda b, a: 1.0)

    found = mean(lambda b, a: b**k * a**2 / (b**2 - a**2) if b > a else 0.0)
    upper, lower = (float(spectral_norm(2, d, r)) if r else 1.0 for r in (k + 2, k))
    assert found == pytest.approx((upper - (d + 1 + k) * lower) / 2, rel=1e-7)
    assert abs(found - (upper - (d + 2 + k) * lower) / 2) > 0.4 * lower


def test_one_input_and_output_is_a_chain():
    """At d = K = 1 E|J| is that of a product of L + 1 lengths of Gaussian vectors, 1 - 1/(4 N) each."""
    loss = mf.finite_rates(NET).loss
    f = mf.kernel(loss)
    ratio = f(N=1000.0, L=3, d=1, K=1, eps=EPS, sigma_w=SIGMA) / f(N=1e12, L=3, d=1, K=1, eps=EPS, sigma_w=SIGMA)
    assert float(ratio) == pytest.approx(1 - 4 / 4000, rel=1e-9)


def test_the_loss_is_that_of_f2():
    point = {"N": 400, "L": 3, "d": 8, "K": 4, "sigma_w": SIGMA}
    norm = mf.kernel(mf.jacobian_norm(NET))(**point)
    assert float(mf.kernel(mf.finite_rates(NET).loss)(eps=EPS, **point)) == pytest.approx(EPS * float(norm), rel=1e-9)


@pytest.mark.parametrize("net", [mf.vanilla(1, 0), mf.vanilla(1, 1), mf.residual(1, 1), mf.conv(1, 1)])
def test_other_nets_are_refused(net):
    with pytest.raises(
        ArgumentError, match="Rates at finite width are known of a Serial of one Dense layer without biases"
    ):
        mf.finite_rates(net)
    with pytest.raises(DeclarationError, match="stages"):
        mf.finite_rates(mf.pyramid(1, 1))
