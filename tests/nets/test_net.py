import pytest
import sympy as sp

import advmf as mf
from advmf.errors import DeclarationError


def relu():
    return mf.ReLULike(1, 0)


def test_networks_are_values():
    assert mf.residual() == mf.Net(mf.Residual(mf.Dense(), mf.ReLULike(), mf.Mix()))
    assert hash(mf.residual(u=1, v=0)) == hash(mf.residual(u=1, v=0))
    assert mf.residual() != mf.plain_residual()
    with pytest.raises(AttributeError):
        mf.Dense().sigma_w = 2


@pytest.mark.parametrize(
    "block",
    [
        mf.Dense(),
        mf.Serial(mf.Dense(), relu(), mf.Dense(), relu()),
        mf.Residual(mf.Dense(), relu(), mf.Dense(sigma_b=0), scale=sp.Symbol("s", real=True)),
        mf.Residual(mf.Dense(), relu(), shortcut=mf.Mix()),
        mf.Residual(mf.Residual(mf.Dense(), relu()), mf.Dense(), relu()),
        mf.Residual(relu(), mf.Dense(), relu(), mf.Mix()),
        mf.Serial(mf.Mix(), relu(), mf.ReLULike(1, 1)),
        mf.Residual(mf.Dense(), shortcut=relu()),
    ],
)
def test_composition_is_closed(block):
    if block == mf.Residual(mf.Dense(), shortcut=relu()):
        with pytest.raises(DeclarationError, match="cannot be repeated"):
            mf.Net(block)
    else:
        mf.Net(block)


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (mf.Serial(relu(), relu()), "not centred Gaussian"),
        (mf.Residual(relu(), mf.Dense(), relu()), "cannot be repeated"),
        (mf.Residual(mf.Residual(mf.Dense(), relu()), relu()), "not centred Gaussian"),
        (mf.Residual(relu()), "both paths keep the coordinates"),
        (mf.Residual(mf.Serial()), "both paths keep the coordinates"),
        (mf.Residual(mf.Residual(mf.Dense())), "both paths keep the coordinates"),
    ],
)
def test_what_the_theory_cannot_carry_is_refused(block, reason):
    with pytest.raises(DeclarationError, match=reason):
        mf.Net(block)


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: mf.Dense(-1), "must be >= 0"),
        (lambda: mf.Dense("x+"), "finite real number"),
        (lambda: mf.ReLULike(float("nan"), 0), "finite real number"),
        (lambda: mf.ReLULike(0, 0), "non-zero slope"),
        (lambda: mf.Serial(mf.Dense), "write Dense"),
        (lambda: mf.Residual(), "at least one block"),
        (lambda: mf.Residual(mf.Dense(), scale=float("inf")), "finite real number"),
        (lambda: mf.Residual(mf.Dense(), shortcut=1), "takes blocks"),
        (lambda: mf.Net(3), "takes blocks"),
    ],
)
def test_bad_declarations(declare, message):
    with pytest.raises(DeclarationError, match=message):
        declare()


def test_exactness_at_finite_width_is_derived():
    assert mf.vanilla().exact
    assert mf.residual().exact
    assert not mf.plain_residual().exact  # the shortcut's mean
    assert not mf.preactivation().exact  # the activation acts on the stream itself
