"""What the theory has no rule for is refused by name, and what it derives holds at the edges of its letters."""

from dataclasses import dataclass

import numpy as np
import pytest
import sympy as sp

import advmf as mf
from advmf.errors import DeclarationError
from advmf.net import Block
from advmf.net import flow as net_flow
from advmf.theory.propagation import Moments, propagate
from advmf.theory.trained import replace_dense


@dataclass(frozen=True)
class RMSNorm(Block):
    """x over the root of its mean square: the Jacobian's growth is 1/Q."""


@dataclass(frozen=True)
class Square(Block):
    """A block whose Jacobian grows with Q."""


@propagate.register(RMSNorm)
def _(block, state):
    root = sp.sqrt(state.Q)
    return Moments(sp.S.One, state.mu / root, state.j / state.Q, state.A / state.Q, state.B / state.Q, state.nu / root)


@propagate.register(Square)
def _(block, state):
    return Moments(3 * state.Q**2, state.Q, 4 * state.Q * state.j, state.A, state.B, state.nu)


@dataclass(frozen=True)
class Twice(Block):
    """A block of one's own, with a rule for its moments alone."""


@propagate.register(Twice)
def _(block, state):
    return Moments(4 * state.Q, 2 * state.mu, 4 * state.j, 4 * state.A, 4 * state.B, 2 * state.nu)


for block in (RMSNorm, Square, Twice):
    net_flow.register(block)(lambda block, stream: stream)


@pytest.mark.parametrize("own", [RMSNorm(), Square()])
@pytest.mark.parametrize("derive", [mf.omega, mf.growth_rate, lambda net: mf.loss_bound(net, 2, 2), mf.linear_form])
def test_no_growth_that_depends_on_the_stream(own, derive):
    net = mf.Net(mf.Serial(own, mf.Dense(sigma_b=0), mf.ReLULike(1, 0)), name="own")
    with pytest.raises(DeclarationError, match=r"depends on the stream's Q, so it has no growth omega"):
        derive(net)


def test_a_norm_after_which_nothing_depends_on_the_stream_has_a_growth():
    """The Jacobian's growth is what counts, whatever the moments do."""
    net = mf.Net(mf.Serial(Twice(), mf.Dense(sigma_b=0), mf.ReLULike(1, 0)), name="own")
    assert mf.omega(net) == 2 * mf.symbols.sigma_w**2


def test_a_block_that_could_hold_a_trained_matrix_is_not_passed_over():
    net = mf.Net(mf.Serial(Twice(), mf.Dense(sigma_b=0), mf.ReLULike(1, 0)), name="own")
    for derive in (mf.share, mf.capacity, mf.ntk, lambda net: mf.variance_slope(net, 2, 2)):
        with pytest.raises(DeclarationError, match=r"Twice has no rule in advmf\.theory\.trained\.replace_dense"):
            derive(net)
    with pytest.raises(DeclarationError, match="Twice has no rule"):
        replace_dense(Twice(), lambda dense: dense)


@pytest.mark.parametrize("preset", [mf.vanilla, mf.residual])
def test_a_network_without_blocks_leaves_no_band(preset):
    """omega**0 = 1 for all time: outside the band at once, or for ever inside."""
    escape = mf.kernel(mf.escape_time(preset(1, 0), 2, 2, "leading"))
    at = {"N": 100, "sigma_w": 1.4, "M": [2, 2, 2, 0.9], "eps": 0.1, "d": 16, "K": 4}
    assert np.array_equal(escape(L=0, m=[0.5, 1, 1.5, 0.5], **at), [np.inf, np.inf, 0, 0])


@pytest.mark.parametrize("preset", [mf.vanilla, mf.residual])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_first_order_of_a_recursion(preset, depth):
    """With biases the capacity is a Recursion, whose derivative by t is one more variable of it: against a difference quotient."""
    ratio = mf.capacity_ratio(preset(1, 0), 2, 2)
    first = mf.first_order(ratio)
    at = {"L": depth, "N": 100, "d": 16, "K": 4, "sigma_w": 1.2, "sigma_b": 0.3, "eps": 0.1, "x_sq": 1.0}
    step = 1e-3
    ends = mf.kernel(ratio)(t=[0, step, 2 * step], **at)
    quotient = (4 * ends[1] - ends[2] - 3 * ends[0]) / (2 * step)
    # What is left is of the order of the step squared, and of the rounding of the ratio over the step.
    curvature = abs(ends[0] - 2 * ends[1] + ends[2]) / step
    slope = mf.kernel(first)(t=1.0, **at) - mf.kernel(first)(t=0.0, **at)
    assert abs(slope - quotient) <= curvature * step + 8 * np.finfo(float).eps / step
    assert slope < 0
