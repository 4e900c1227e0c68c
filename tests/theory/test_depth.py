"""The law of large depth: powers of L that are derived, against recursions that NumPy runs to L = 200,000."""

import math

import numpy as np
import pytest
import sympy as sp

import advmf as mf
from advmf.errors import ArgumentError, DeclarationError
from advmf.symbols import L, sigma_b, sigma_w, x_sq
from advmf.theory import depth

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(120)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
NORMAL = np.exp(-(NODES**2) / 2) / math.sqrt(2 * math.pi)
BELOW = (1 + np.vectorize(math.erf)(NODES / math.sqrt(2))) / 2


def means(phi, slope):
    """E phi² and E phi'² at a variance of one, by a rule of NumPy's."""
    return float(WEIGHTS @ phi**2), float(WEIGHTS @ slope**2)


MEANS = {
    "relu": (0.5, 0.5),
    "leaky_relu": ((1 + 0.2**2) / 2, (1 + 0.2**2) / 2),
    "tanh": means(np.tanh(NODES), 1 / np.cosh(NODES) ** 2),
    "gelu": means(NODES * BELOW, BELOW + NODES * NORMAL),
}
"""E phi² and E phi'² of activations, without the package."""
POINT = {sigma_w: 1.3, x_sq: 0.8}
DEEP = (10**3, 10**5)


def recursion(phi, b, w=1.3, start=0.8):
    """ln j_L of pre-norm networks for L = 0 .. 200,000: Q and j block by block."""
    second, gain = MEANS[phi]
    Q = start + np.arange(2 * DEEP[-1]) * (w**2 * second + b**2)
    return np.concatenate([[0.0], np.cumsum(np.log1p(w**2 * gain / Q))])


def number(expr, b, size=1):
    return float(expr.subs({**POINT, sigma_b: b, L: size}).evalf())


@pytest.mark.parametrize("b", [0.0, 0.3, 1.1])
@pytest.mark.parametrize("phi", MEANS)
def test_the_jacobian_of_pre_norm_networks_grows_as_a_power_of_depth(phi, b):
    """The slope of ln j over ln L, and j itself over the asymptote: both are off by something of order 1/L alone. The
    controls are off by more: the power of E phi² for E phi'², and that without biases."""
    law, log = mf.depth_law(mf.pre_norm(phi=phi)), recursion(phi, b)
    power, (second, gain) = number(law.power, b), MEANS[phi]
    assert law.rate == 1
    wrong = [1.02 * power]
    if second != gain:
        wrong.append(1.3**2 * second / (1.3**2 * second + b**2))
    if b:
        wrong.append(gain / second)
    for size in DEEP:
        slope, left = (log[2 * size] - log[size]) / math.log(2), log[size] - math.log(number(law.constant, b))
        assert slope == pytest.approx(power, abs=5 / size)
        assert left == pytest.approx(power * math.log(size), abs=10 / size)
        assert all(slope != pytest.approx(other, abs=5 / size) for other in wrong)
        assert left != pytest.approx(1.02 * power * math.log(size), abs=10 / size)


@pytest.mark.parametrize("phi", MEANS)
def test_the_law_is_exact_at_every_depth(phi):
    """To the digits that the rule has for E tanh², nine."""
    law, log = mf.depth_law(mf.pre_norm(phi=phi)), recursion(phi, 0.3)
    for size in (0, 1, 2, 7, 60):
        assert number(law.exact, 0.3, size) == pytest.approx(math.exp(log[size]), rel=1e-8)
    assert number(law.exact, 0.3, 7) != pytest.approx(math.exp(log[8]), rel=1e-3)


def test_the_power_of_a_relu_is_that_of_the_variances():
    law = mf.depth_law(mf.pre_norm(1, 0))
    assert sp.simplify(law.power - sigma_w**2 / (sigma_w**2 + 2 * sigma_b**2)) == 0
    assert law.power.subs(sigma_b, 0) == 1
    assert law.asymptote == law.constant * L**law.power
    alone = mf.depth_law(mf.Net(mf.Residual(mf.RMSNorm(), mf.ReLULike(1, 0), mf.Dense(sigma_b=0))))
    assert sp.simplify(alone.exact - (1 + L * sigma_w**2 / (2 * x_sq))) == 0


def test_the_second_moment_grows_linearly():
    law = mf.depth_law(mf.pre_norm(1, 0), "Q")
    assert (law.rate, law.power) == (1, 1)
    assert sp.simplify(law.exact - x_sq - L * (sigma_w**2 / 2 + sigma_b**2)) == 0
    assert sp.simplify(law.constant - sigma_w**2 / 2 - sigma_b**2) == 0


BLOCKS = {
    "two branches": mf.Serial(*[mf.Residual(mf.RMSNorm(), mf.ReLULike(1, 0), mf.Dense())] * 2),
    "two layers": mf.Residual(mf.RMSNorm(), mf.Dense(), mf.ReLULike(1, 0), mf.Dense(sigma_b=0), scale=2),
    "layer norm": mf.Residual(mf.LayerNorm(), mf.Activation("tanh"), mf.Dense()),
    "dropout": mf.Residual(mf.RMSNorm(), mf.ReLULike(1, 0), mf.Dropout("1/10"), mf.Mix()),
    "post-norm": mf.post_norm(1, 0).block,
    "no norm": mf.residual(1, 0).block,
}


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_any_block_with_such_a_law(block):
    """Against the recursion of :func:`advmf.moments`, which is another way to the same number."""
    net = mf.Net(block)
    law, j = mf.depth_law(net), mf.kernel(mf.moments(net).j)
    at = {"sigma_w": 1.3, "sigma_b": 0.3, "x_sq": 0.8}
    for size in (1, 2, 9, 40):
        expected = float(j(**{n: {**at, "L": size}[n] for n in j.arguments}))
        assert number(law.exact, 0.3, size) == pytest.approx(expected, rel=1e-9)
    far = (4000, 8000)
    low, high = (float(j.log(**{n: {**at, "L": size}[n] for n in j.arguments})) for size in far)
    rate, power = number(law.rate, 0.3), number(law.power, 0.3)
    assert high - low == pytest.approx(4000 * math.log(rate) + power * math.log(2), abs=2e-3)


@pytest.mark.parametrize(
    ("net", "moment", "why"),
    [
        (mf.vanilla(phi="tanh"), "j", "depends on Q, which has no closed form"),
        (mf.plain_residual(1, 0), "Q", "depends on Q, which has no closed form"),
        (mf.residual(1, 0), "Q", "no quotient of polynomials in n"),
        (mf.Net(mf.Residual(mf.Dense(), mf.ReLULike(1, 0), mf.Mix(), scale=1 / sp.sqrt(L))), "j", "changes with the depth"),
        (mf.pyramid(1, 0), "j", "is made of stages"),
    ],
)  # fmt: skip
def test_where_there_is_none_the_reason_is_named(net, moment, why):
    with pytest.raises(DeclarationError, match=why):
        mf.depth_law(net, moment)


def test_bad_arguments():
    with pytest.raises(ArgumentError, match="moment"):
        mf.depth_law(mf.pre_norm(1, 0), "A")
    with pytest.raises(ArgumentError):
        mf.depth_law("pre_norm")
    with pytest.raises(DeclarationError, match=r"depth_law\(net\) has it"):
        mf.omega(mf.pre_norm(1, 0))


def test_a_product_that_does_not_solve_the_recursion_is_no_answer():
    """The control of what verifies it."""
    n = depth._N
    product = depth._Product.of([sp.S(2)], [sp.Rational(1, 2)], 0)
    product.verify((n + 2) / (n + sp.Rational(1, 2)), sp.Rational(3, 2))
    for factor, power in (((n + 3) / (n + sp.Rational(1, 2)), 2.5), ((n + 2) / (n + sp.Rational(1, 2)), 1)):
        with pytest.raises(ArithmeticError, match="does not solve"):
            product.verify(factor, sp.nsimplify(power))
