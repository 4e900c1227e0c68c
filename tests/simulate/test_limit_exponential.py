"""Activations of lines and exponentials at N = ∞: how they are read, and their covariance to rounding.

The covariance is held against quadrature in the plane: that of the theory for streams apart, and for close streams one
over a and a - b, in which differences of φ are taken before anything is summed. The joint law of networks is tested in
``test_limit.py``, which has nets of these activations.
"""

import math

import numpy as np
import pytest
import sympy as sp
import torch

import advmf as mf
from advmf.errors import AccuracyError, DeclarationError, DomainError
from advmf.functions import NormalMean, PairMean
from advmf.nets.activations.formula import NAMED
from advmf.simulate.limit.exponential import Exponential
from advmf.simulate.limit.jets import Pair
from advmf.simulate.limit.piecewise import Piecewise

Z = mf.symbols.z
ELU, SELU = NAMED["elu"], NAMED["selu"]
PHIS = {
    "elu": ELU,
    "selu": SELU,
    "shifted": SELU.xreplace({Z: Z - sp.Rational(1, 2)}),
    "clipped": sp.Min(1, sp.Max(sp.Piecewise((Z, Z > 0), (2 * (sp.exp(Z / 2) - 1), True)), -sp.Rational(3, 2))),
    "odd": sp.sign(Z) * (1 - sp.exp(-sp.Abs(Z))),
    "falling": sp.Piecewise((sp.exp(-2 * Z) + Z / 3, Z > 0), (sp.exp(Z) - Z / 5, True)),
}


def read(phi):
    return Exponential.of(sp.sympify(phi), float)


def rest(phi, R, gap, D, gain=0.4):
    """E (φ(a) - φ(b))² less ``gain`` D, with its derivatives."""
    Q = R + gap
    sigma, tau = math.sqrt(Q), math.sqrt(R)
    moments = (Q, R, gap, D, sigma, tau, sigma * tau, gap / (sigma + tau))
    pair = Pair(*(torch.tensor([[[value]]], dtype=torch.float64) for value in moments))
    function = read(phi) or Piecewise.of(phi, float)
    return function._rest(pair, torch.tensor(gain, dtype=torch.float64)).stacked[:, 0, 0, 0].numpy()


@pytest.mark.parametrize(
    ("phi", "lines", "curves"),
    [
        (ELU, ((0, -1), (1, 0)), [(0, 1, 1)]),
        (sp.Max(0, Z) + sp.Min(0, sp.exp(Z) - 1), ((0, -1), (1, 0)), [(0, 1, 1)]),
        (sp.Piecewise((2**Z, Z < 1), (2 * Z, True)), ((0, 0), (2, 0)), [(0, math.log(2), 1)]),
        (sp.Abs(Z) + sp.Heaviside(-Z) * (sp.exp(3 * Z) - 1), ((-1, -1), (1, 0)), [(0, 3, 1)]),
        (PHIS["odd"], ((0, -1), (0, 1)), [(0, 1, 1), (1, -1, -1)]),
    ],
)
def test_lines_and_exponentials_are_read_from_a_formula(phi, lines, curves):
    found = read(phi)
    np.testing.assert_allclose(found.lines, lines, atol=1e-15)
    np.testing.assert_allclose(found.curves, curves, rtol=1e-15)


@pytest.mark.parametrize(
    "phi",
    [
        sp.Max(-1, sp.Min(1, Z)),
        sp.tanh(Z),
        sp.Max(0, sp.tanh(Z)),
        sp.Piecewise((Z, Z > 0), (Z * sp.exp(Z), True)),
        sp.Piecewise((Z, Z > 0), (sp.exp(-(Z**2)) - 1, True)),
    ],
)
def test_other_formulas_are_of_another_kind(phi):
    assert read(phi) is None


def test_kinks_between_other_curves_are_refused_by_name():
    net = mf.vanilla(phi=mf.Activation(sp.Max(0, sp.tanh(Z))))
    with pytest.raises(DeclarationError, match="lines and exponentials between their kinks"):
        mf.simulate.sample(net, N="inf", L=2, d=4, K=2, sigma_w=1.0, sigma_b=0.0)


@pytest.mark.parametrize("distance", [0.02, 0.9, 2.9])
@pytest.mark.parametrize("name", PHIS)
def test_the_covariance_is_that_of_the_plane(name, distance):
    """The value and its first derivatives by quadrature, at acute and obtuse angles; second ones by differences of
    these."""
    phi, r, gap, h = PHIS[name], 0.9, 0.2 * math.sqrt(min(1, distance)), 1e-4 * distance
    f, (Q, R, D) = sp.Lambda(Z, phi), sp.symbols("Q R D", positive=True)
    apart = NormalMean(sp.Lambda(Z, phi**2), Q)
    apart = apart + apart.subs(Q, R) - 2 * PairMean(f, f, Q, R, (Q + R - D) / 2)
    value, slopes = mf.kernel(apart - 0.4 * D, grad=["Q", "R", "D"])(Q=r + gap, R=r, D=distance)
    found, theirs = rest(phi, r, gap, distance), np.array([value, *slopes.values()])
    assert (np.abs(found[:4] - theirs) < 1e-11 * (1 + np.abs(theirs))).all(), found[:4] - theirs
    by_r = (rest(phi, r + h, gap - h, distance) - rest(phi, r - h, gap + h, distance)) / (2 * h)
    by_D = (rest(phi, r, gap, distance + h) - rest(phi, r, gap, distance - h)) / (2 * h)
    second = [by_r[1], by_D[1], by_D[2], by_D[3]]
    np.testing.assert_allclose(found[4:], second, rtol=1e-5, atol=1e-8 / distance)


# -- close streams -----------------------------------------------------------------------------------------------------

NODES, WEIGHTS = np.polynomial.legendre.leggauss(80)


def panels(edges):
    """Nodes and weights between edges (..., panels + 1)."""
    edges = np.asarray(edges)
    low, width = edges[..., :-1, None], np.diff(edges, axis=-1)[..., None]
    nodes, weights = low + width * (NODES + 1) / 2, width * WEIGHTS / 2
    return nodes.reshape(*nodes.shape[:-2], -1), weights.reshape(*weights.shape[:-2], -1)


def square_distance(u, m, R, gap, D):
    """E (φ(a) - φ(b))² for φ = u z above zero and m (e^z - 1) below, by integrals over a - b and b."""
    side = 9 / 3.0 ** np.arange(7)
    t, outer = panels(np.concatenate([-side, [0], side[::-1]]))
    delta = math.sqrt(D) * t[:, None]
    share = (gap - D) / (2 * D)
    spread = math.sqrt(R - share**2 * D)
    near = min(8.0, 10 * spread)
    far = [side * k * spread * np.ones_like(delta[:, 0]) for k in (5, 11, 20) for side in (-1, 1)]
    low, high = np.minimum(0, -delta[:, 0]), np.maximum(0, -delta[:, 0])
    fine = near / 4 ** np.arange(3)
    edges = np.sort(np.stack([*far, *(low - x for x in fine), low, high, *(high + x for x in fine)], 1), 1)
    b, inner = panels(edges)
    a = b + delta
    both = np.where(
        a > 0,
        u * delta,
        m
        * np.where(
            np.abs(delta) < 1,
            np.exp(np.minimum(b, 0)) * np.expm1(np.clip(delta, -1, 1)),
            np.exp(np.minimum(a, 0)) - np.exp(np.minimum(b, 0)),
        ),
    )
    mixed = np.where(a > 0, u * a - m * np.expm1(np.minimum(b, 0)), m * np.expm1(np.minimum(a, 0)) - u * b)
    change = np.where((a > 0) == (b > 0), both, mixed)
    density = np.exp(-(((b - share * delta) / spread) ** 2) / 2) / spread * np.exp(-(t[:, None] ** 2) / 2)
    return float((outer[:, None] * inner * density * change**2).sum() / (2 * math.pi))


SIZES = {"elu": (1.0, 1.0), "selu": (float(SELU.args[0][0].coeff(Z)), float(SELU.args[1][0].coeff(sp.exp(Z))))}


@pytest.mark.parametrize("size", [1e-9, 1e-6, 1e-3, 0.3])
@pytest.mark.parametrize("name", SIZES)
def test_close_streams_lose_no_digits(name, size):
    """The value to rounding, and its derivatives by differences of the oracle's. Another α is told."""
    (u, m), R = SIZES[name], 0.8
    gap, D = 0.4 * size, 0.7 * size**2
    value, by_q, by_r, by_D, *second = rest(PHIS[name], R, gap, D, gain=0.0)

    def oracle(i=0.0, j=0.0, k=0.0):
        return square_distance(u, m, R + j * size, gap + (i - j) * size, D * (1 + k))

    def slope(f, h=1e-3):
        return (8 * (f(h) - f(-h)) - f(2 * h) + f(-2 * h)) / (12 * h)

    assert value == pytest.approx(oracle(), rel=3e-13, abs=0)
    assert square_distance(u, 1.001 * m, R, gap, D) != pytest.approx(value, rel=1e-4, abs=0)
    assert by_q == pytest.approx(slope(lambda h: oracle(i=h)) / size, rel=1e-8, abs=1e-9 * size)
    assert by_r == pytest.approx(slope(lambda h: oracle(j=h)) / size, rel=1e-8, abs=1e-9 * size)
    assert by_D == pytest.approx(slope(lambda h: oracle(k=h)) / D, rel=1e-8, abs=0)
    if size >= 1e-3:
        second_by_D = slope(lambda h: rest(PHIS[name], R, gap, D * (1 + h), gain=0.0)[1:4]) / D
        np.testing.assert_allclose(second[1:], second_by_D, rtol=1e-7, atol=1e-9 / size)
    else:  # They tend to a limit, that in D and D of a jump of the slope as 1/size.
        larger = rest(PHIS[name], R, 4e-4, 7e-7, gain=0.0)[4:]
        larger[3] *= 1e-3 / size if name == "selu" else 1
        np.testing.assert_allclose(second, larger, rtol=5e-3)


LINES = {"hard_tanh": NAMED["hard_tanh"], "clamped": sp.Max(0, sp.Min(sp.Rational(3, 2), Z))}


@pytest.mark.parametrize("share", [0.6, -0.6, 1e-9])
@pytest.mark.parametrize("name", [*LINES, *PHIS])
def test_the_covariance_scales_where_deviations_are_the_same_number(name, share):
    """Streams that differ by less than the digits of their deviations: in units of the distance all numbers tend to a
    limit. A larger distance is told."""
    phi = (LINES | PHIS)[name]

    def scaled(size):
        units = np.array([size**2, size, size, 1, 1, 1, 1, 1 / size])
        return rest(phi, 0.8, share * size, 0.7 * size**2, gain=0.0) / units

    limit = scaled(1e-7)
    for size in (1e-14, 1e-16, 1e-18, 1e-22):
        np.testing.assert_allclose(scaled(size), limit, rtol=1e-5, atol=2e-6)
    assert np.abs(scaled(0.1) - limit).max() > 1e-3


@pytest.mark.parametrize("deviation", [5.0, 30.0, 90.0])
def test_large_deviations_keep_the_digits(deviation):
    """Where exponentials reach e^8000 and no series would settle."""
    R = deviation**2
    for gap, D in ((0.005, 1e-4), (0.2, 0.3), (0.1, 2.5)):
        found = rest(ELU, R, gap * R, D * R, gain=0.0)[0]
        assert found == pytest.approx(square_distance(1.0, 1.0, R, gap * R, D * R), rel=1e-11, abs=0)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ([[1.0] * 4, [1.0, -1.0, 1.0, -1.0]], AccuracyError, r"The covariance of Piecewise.* at deviations up to 150"),
        ([[1e5] * 4], AccuracyError, r"up to 1\.5e\+07"),
        ([[0.0] * 4], DomainError, "not finite"),
    ],
)
def test_inputs_beyond_the_digits_are_an_error(x, error, message):
    networks = mf.simulate.sample(mf.vanilla(phi="elu"), N="inf", L=2, d=4, K=1, sigma_w=150.0, sigma_b=0.0)
    with pytest.raises(error, match=message):
        networks.forward(torch.tensor(x))


def test_growing_errors_are_an_error():
    """Where rates of both signs meet."""
    with pytest.raises(AccuracyError, match="Lower sigma_w"):
        rest(PHIS["odd"], 30.0, 0.0, 30.0)
