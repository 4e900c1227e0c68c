"""Networks on images whose positions are alike: the paper's claims hold word for word; of others they are refused."""

import re

import numpy as np
import pytest
import sympy as sp

import advmf as mf
from advmf.errors import DeclarationError
from advmf.theory.recurrence import Recurrence

RELU = mf.ReLULike(1, 0)
PAIRS = [(p, q) for p in (1, 2, "inf") for q in (1, 2, "inf")]
TWINS = [
    (mf.conv(), mf.vanilla()),
    (mf.conv_residual(), mf.residual()),
    (mf.conv(1, "1/5", image=(3, 7), kernel=5), mf.vanilla(1, "1/5")),
    (mf.Net(mf.Residual(RELU, mf.Conv()), image=(1, 5, 6)), mf.preactivation(1, 0)),
]
"""Networks on images, and what they are without."""


def said(claim):
    return claim.lhs, claim.relation, claim.formula, claim.where, claim.equations, claim.regime


@pytest.mark.parametrize(("net", "dense"), TWINS)
def test_claims_are_those_of_dense_networks_word_for_word(net, dense):
    claims = {
        "T1": mf.linear_form,
        **{f"T2 {p} {q}": lambda n, p=p, q=q: [mf.loss_bound(n, p, q)] for p, q in PAIRS},
        "tail": lambda n: [mf.loss_tail(n, 2, "inf", "1/100")],
        "value": lambda n: [mf.loss_value(n, 2, 2)],
        "T3": lambda n: [mf.variance_slope(n, 2, 2), mf.weight_variance(n, "inf", 1), mf.escape_time(n, 2, 2)],
        "T5": lambda n: [mf.capacity(n)],
    }
    for derive in claims.values():
        assert list(map(said, derive(net))) == list(map(said, derive(dense)))
    assert said(mf.capacity(net)) != said(mf.capacity(mf.Net(mf.Serial(mf.Dense(), RELU, mf.Dense())))), "the control"


def test_dense_layers_on_a_flattened_image_are_those_of_dense_networks():
    """A convolution whose taps meet all positions averages them, as the flattened image's size does."""
    block = mf.Serial(mf.Dense(), RELU)
    dense = mf.Net(*[mf.Stage(block, 2), mf.Stage(block, 1, 2), mf.Stage(block, 3, 2)])
    first, whole = mf.Serial(mf.Conv(3), RELU), mf.Serial(mf.Conv(6, "valid", 6), RELU)
    net = mf.Net(mf.Stage(first, 2), mf.Stage(whole, 1, 2), mf.Stage(block, 3, 2), image=(2, 6, 6))
    for derive in (mf.linear_form, lambda n: [mf.loss_bound(n, 2, 2)], lambda n: [mf.loss_tail(n, 1, 2, "1/100")]):
        assert list(map(said, derive(net))) == list(map(said, derive(dense)))
    overlapping = mf.Net(mf.Stage(first, 2), mf.Stage(mf.Serial(mf.Conv(5, "valid"), RELU), 1, 2), image=(2, 6, 6))
    with pytest.raises(DeclarationError, match=WEIGHTS):
        mf.moments(overlapping)


def test_the_words_speak_of_images():
    (first, *_), (dense, *_) = (mf.linear_form(net)[0].assumptions for net in TWINS[0])
    assert "at each position, with entries N(0, 1/c)" in first and first != dense
    text = mf.latex(mf.conv(1, 0, image=(3, 8, 8)))
    for part in (
        r"\phi(W^l \ast x^{l-1} + b^l)",
        r"\frac{\sigma_w^2}{9 N}",
        r"\frac{1}{3}",
        r"\frac{1}{64 N}",
        r"\mathrm{vec}\, x^{L}",
    ):
        assert part in text, (part, text)
    pooled = mf.latex(mf.conv(1, 0, head="pool"))
    assert r"P^{\mathrm{out}} \bar{x}" in pooled and r"\mathrm{vec}" not in pooled


UNLIKE = "The positions of an image have moments of their own"
UNSCALED = "does not scale with its input, so what a pixel can change depends on the image"
WEIGHTS = "gives the positions of its image different weights"
REFUSED = [
    (lambda: mf.moments(mf.conv(phi="tanh")), UNLIKE),
    (lambda: mf.loss_bound(mf.conv(phi="gelu"), 2, 2), UNSCALED),
    (lambda: mf.linear_form(mf.Net(mf.Residual(mf.Conv(), RELU), image=(1, 6))), UNLIKE),
    (
        lambda: mf.loss_bound(mf.Net(mf.Residual(mf.Conv(), RELU), image=(1, 6)), 2, 2),
        "carries a mean through its sums",
    ),
    (lambda: mf.moments(mf.Net(mf.Residual(mf.RMSNorm(), RELU, mf.Conv()), image=(1, 6))), UNLIKE),
    (lambda: mf.nngp(mf.conv(1, 0)), UNLIKE),
    (lambda: mf.ntk(mf.conv(1, 0)), UNLIKE),
    (lambda: mf.capacity(mf.Net(mf.Serial(mf.Conv(padding="zero"), RELU), image=(1, 6))), WEIGHTS),
    (
        lambda: mf.capacity(mf.Net(mf.Stage(mf.Serial(mf.Conv(), RELU, mf.AvgPool()), 1), image=(1, 6))),
        "averages positions",
    ),
    (lambda: mf.omega(mf.Net(mf.Stage(mf.Serial(mf.Conv(stride=2), RELU), 1), image=(1, 6))), WEIGHTS),
    (lambda: mf.capacity(mf.conv(1, 0, head="pool")), "ends with an average over positions"),
    (lambda: mf.omega(mf.conv(1, 0, head="pool")), "ends with an average over positions"),
    (lambda: mf.stream_fluctuation(mf.conv(1, 0)), "is not known of networks on images"),
    (lambda: mf.correlation_map(mf.conv(1, 0)), "is not known of networks on images"),
]


@pytest.mark.parametrize(("derive", "message"), REFUSED)
def test_what_does_not_follow_from_averages_is_refused_by_name(derive, message):
    with pytest.raises(DeclarationError, match=re.escape(message)):
        derive()


def test_of_linear_activations_the_kernels_follow_from_averages():
    """They are affine in the moments; the kernel by positions agrees."""
    net, rng = mf.conv(1, 1, image=(2, 5)), np.random.default_rng(0)
    x, y = rng.normal(size=(2, 10))
    x_sq, y_sq, values = x @ x / 10, y @ y / 10, {"L": 3, "sigma_w": 1.2, "sigma_b": 0.3}
    at = {"x_sq": x_sq, "y_sq": y_sq, "c": x @ y / 10 / np.sqrt(x_sq * y_sq), **values}
    assert mf.kernel(mf.nngp(net))(**at) == pytest.approx(mf.image_kernel(net, x, y, **values), rel=1e-13)
    assert mf.kernel(mf.ntk(net))(N=1, **at) == pytest.approx(
        mf.image_kernel(net, x, y, kind="ntk", **values), rel=1e-13
    )


def test_a_mean_that_does_not_follow_is_no_number():
    assert mf.moments(mf.conv(1, 0)).mu is sp.nan and mf.moments(mf.conv(1, 1)).mu == 0
    assert mf.moments(mf.vanilla(1, 0)).mu is not sp.nan


def test_an_affine_update_is_told_from_others():
    Q = sp.Symbol("Q", positive=True)
    for update, affine in ((2 * Q + 1, True), (sp.sqrt(Q), False), (Q**2, False), (Q * (Q + 1) - Q**2, True)):
        found = Recurrence.of(mf.conv(1, 0), {Q: sp.Integer(1)}, lambda run, update=update: {Q: update})
        assert found.affine(Q) is affine
