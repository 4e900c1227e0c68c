"""Images with empty patches, where a network without biases has no Jacobian."""

import numpy as np
import pytest
import sympy as sp

import advmf as mf
from advmf.errors import ArgumentError
from advmf.observables import Expectation, JacobianEntry
from advmf.verify.verdict import Verdict

EMPTY = mf.simulate.Images("empty", np.array([[1.0, 2.0, 0.0, 0.0, 0.0, 3.0], [1.0, 1.0, 2.0, 1.0, 3.0, 1.0]]))
FULL = mf.simulate.Images("full", np.array([[1.0, 2.0, 0.0, 0.0, 1.0, 3.0], [1.0, 1.0, 2.0, 1.0, 3.0, 1.0]]))
AT = {"L": 1, "d": 6, "K": 2, "sigma_w": 1.2, "eps": 0.1, "sigma_b": 0.0, "N": 64}


def checked(net, claims, data, **at):
    options = {"widths": (16, 32, 64, 128), "nets": 4, "data": data, "progress": False}
    return mf.check_all(list(claims(net)), {**AT, **at}, **options)


def jacobian(net):
    return mf.linear_form(net)


def own(net):
    """A claim of one's own, of any activation."""
    return [mf.Claim("entry", Expectation(JacobianEntry(0, 0) ** 2), "<=", 10, {}, mf.Regime.EXACT, (), "a test", net)]


def rate(net):
    return [mf.capacity_rate(net, 2, 2)]


@pytest.mark.parametrize(
    ("claims", "phi"),
    [(jacobian, "relu"), (rate, "relu"), (jacobian, "abs"), (own, "selu"), (own, mf.symbols.z + sp.Max(mf.symbols.z, 0) / 2)],
    ids=["relu", "rate of relu", "abs", "selu", "formula"],
)  # fmt: skip
def test_a_claim_about_the_jacobian_is_refused_where_there_is_none(claims, phi):
    with pytest.raises(ArgumentError, match="1 of the 2 images have an empty patch"):
        checked(mf.conv(phi=mf.Activation(phi), image=(1, 6)), claims, EMPTY)


@pytest.mark.parametrize(
    ("net", "data", "at"),
    [
        (mf.conv(1, 0, image=(1, 6)), FULL, {}),
        (mf.conv(1, 0, image=(1, 6)), EMPTY, {"sigma_b": 0.2}),
        (mf.conv(1, 1, image=(1, 6)), EMPTY, {}),
        (mf.conv(image=(1, 6)), EMPTY, {"u": 1.0, "v": 1.0}),
        (mf.vanilla(1, 0), EMPTY, {}),
    ],
    ids=["no empty patch", "biases", "linear", "linear by its values", "no image"],
)
def test_where_there_is_one_it_is_checked(net, data, at):
    assert checked(net, rate, data, **at)[0].verdict in Verdict


def test_a_bound_of_the_loss_needs_no_jacobian():
    claims = [mf.loss_bound(mf.conv(1, 0, image=(1, 6)), 2, 2)]
    assert checked(claims[0].net, lambda _: claims, EMPTY)[0].verdict in Verdict


@pytest.mark.parametrize("phi", ["tanh", "gelu", "hard_tanh", "elu"])
def test_activations_that_are_smooth_at_zero_have_one_everywhere(phi):
    assert checked(mf.conv(phi=mf.Activation(phi), image=(1, 6)), own, EMPTY)[0].verdict in Verdict
