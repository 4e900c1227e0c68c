"""Phase diagrams as arrays and as figures, also where nothing has a finite escape time."""

import numpy as np
import pytest

import advmf as mf
from advmf.errors import ArgumentError, DomainError

VALUES = {"N": 1000.0, "d": 100, "K": 25, "eps": 0.1, "m": 0.5, "M": 2.0}
AXES = ("sigma_w_sq", "L")
GRID = {"sigma_w_sq": [0.01, 0.1, 1.0, 4.0], "L": [2.0, 8.0, 32.0]}


def residual(**values):
    return mf.phase_diagram(mf.residual(1, 0), 2, 2, AXES, **{**VALUES, **GRID, **values})


@pytest.fixture
def drawn(tmp_path):
    """Draws a diagram; gives the axes, the number of colour bars and the legend."""

    def draw(diagram):
        path = tmp_path / "phase.png"
        figure = diagram.plot(path, "title").figure
        assert path.read_bytes().startswith(b"\x89PNG")
        labels = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
        return figure.axes[0], len(figure.axes) - 1, labels

    return draw


def test_a_shortcut_starts_outside_or_stays_for_ever(drawn):
    """omega = 1 + sigma_w²/2 never falls below one, so that the lower edge m < 1 is out of reach."""
    found = residual()
    omega = 1 + np.array(GRID["sigma_w_sq"])[:, None] / 2
    inside = omega ** np.array(GRID["L"]) <= 2
    assert inside.any() and not inside.all()
    assert np.array_equal(found.trainable, inside)
    assert np.array_equal(found.escape, np.where(inside, np.inf, 0.0))
    axis, bars, labels = drawn(found)
    assert bars == 0
    assert labels == ["starts outside the band", "never leaves it"]
    assert (axis.get_ylabel(), axis.get_xlabel()) == (r"$\sigma_w^2$", "depth $L$")
    title, *point = axis.get_title().split("\n")
    assert title == "title" and "$N$ = 1000" in point[0] and "$M$ = 2" in " ".join(point)
    assert r"$\omega^L=10$" in [text.get_text() for text in axis.texts]


def test_all_infinite_and_all_outside(drawn):
    stays = residual(sigma_w_sq=[1e-4, 2e-4])
    assert stays.trainable.all() and np.isinf(stays.escape).all()
    assert drawn(stays)[1:] == (0, ["never leaves it"])
    outside = residual(sigma_w_sq=[8.0, 9.0])
    assert not outside.trainable.any() and not outside.escape.any()
    assert drawn(outside)[1:] == (0, ["starts outside the band"])


def test_an_edge_above_one_is_left_in_finite_time(drawn):
    """With m > 1 a residual network does leave: all three regions but the infinite one."""
    found = residual(m=1.05, M=1.5)
    inside = found.trainable
    assert inside.any() and not inside.all()
    assert (found.escape[inside] > 0).all() and np.isfinite(found.escape).all() and not found.escape[~inside].any()
    axis, bars, labels = drawn(found)
    assert (bars, labels) == (1, ["starts outside the band"])
    image = axis.collections[0].get_array()
    assert np.array_equal(np.ma.getmaskarray(image).reshape(inside.shape), ~inside)


def test_a_single_escape_time_can_be_drawn(drawn):
    point = {**VALUES, "sigma_w": 2**0.5}
    found = mf.phase_diagram(mf.vanilla(1, 0), 2, 2, ("L", "N"), **{**point, "L": [4.0], "N": [100.0]})
    assert found.trainable.all() and np.isfinite(found.escape).all()
    assert drawn(found)[1:] == (1, [])


def test_time_grows_with_the_width_and_shrinks_with_the_depth():
    grid = {"L": [4.0, 16.0, 64.0], "N": [100.0, 200.0, 1000.0]}
    found = mf.phase_diagram(mf.vanilla(1, 0), "inf", 2, ("L", "N"), **{**VALUES, "sigma_w": 2**0.5, **grid})
    assert found.escape.shape == (3, 3)
    np.testing.assert_allclose(found.escape / found.escape[:, :1], np.tile([1.0, 2.0, 10.0], (3, 1)), rtol=1e-9)
    assert (np.diff(found.escape, axis=0) < 0).all()


def test_the_loss_is_gone_before_wide_networks_leave_the_band():
    """The life of the loss falls as 1/N and the escape time grows as N: their ratio is of the order of N²/(K d)."""
    grid = {"L": [4.0, 16.0], "N": [4.0, 100.0, 1000.0]}
    found = mf.phase_diagram(mf.vanilla(1, 0), 2, 2, ("L", "N"), **{**VALUES, "sigma_w": 2**0.5, **grid})
    assert found.lasting.tolist() == [[True, False, False]] * 2
    life = mf.kernel(mf.loss_life(mf.vanilla(1, 0), 2, 2))(L=4, N=1000, d=100, K=25, eps=0.1, sigma_w=2**0.5)
    T4 = 0.5 ** (-1 / 4) - 1  # (m^(-(L/2 - 1)/L) - 1)/(L/2 - 1)
    assert found.escape[0, 2] / life == pytest.approx(1000**2 * 4 * T4 / (25 * 100), rel=1e-9)


def test_the_grid_as_records():
    rows = residual().records()
    assert len(rows) == 12 and rows[0]["omega_to_L"] == pytest.approx((1 + 0.01 / 2) ** 2, rel=1e-12)
    assert [row["trainable"] for row in rows] == residual().trainable.ravel().tolist()
    assert residual().csv().splitlines()[0] == "sigma_w_sq,L,omega_to_L,trainable,escape_time,loss_lasts"


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"L": 3.0}, ArgumentError, "axes names two quantities"),
        ({"nonsense": 1.0}, ArgumentError, "'nonsense' is no quantity"),
        ({"eps": -1.0}, DomainError, "eps"),
        ({"L": [2.0, -1.0]}, DomainError, "L"),
    ],
)
def test_bad_values(values, error, message):
    with pytest.raises(error, match=message):
        residual(**values)
