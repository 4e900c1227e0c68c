import gzip
import struct

import numpy as np
import pytest
import torch

from advmf.errors import DataError
from advmf.simulate import data
from advmf.simulate.data import Images, load


def write_idx(path, array, code=8):
    raw = struct.pack(">HBB", 0, code, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


def test_digits_and_mnist():
    digits, mnist = load("digits"), load("mnist")
    assert digits.x.shape == (1797, 64)
    assert mnist.x.shape == (5000, 784)
    for images in (digits, mnist):
        assert images.x.min() == 0
        assert images.x.max() == 1
        assert set(images.labels) == set(range(10))
    assert digits.sha256 != mnist.sha256


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "train-images-idx3-ubyte.gz"])
def test_idx_files_with_labels(tmp_path, name):
    pixels = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    write_idx(tmp_path / name, pixels)
    write_idx(tmp_path / name.replace("images-idx3", "labels-idx1"), np.array([3, 7], dtype=np.uint8))
    images = load(str(tmp_path / name))
    np.testing.assert_allclose(images.x, pixels.reshape(2, 12) / 255)
    assert images.labels.tolist() == [3, 7]


def test_fashion_mnist_is_read_where_debian_puts_it(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "FASHION_MNIST", tmp_path / "train-images-idx3-ubyte.gz")
    with pytest.raises(DataError, match="apt-get install dataset-fashion-mnist"):
        load("fashion-mnist")
    write_idx(data.FASHION_MNIST, np.full((5, 28, 28), 255, dtype=np.uint8))
    assert load("fashion-mnist").x.shape == (5, 784)


def test_npz_files(tmp_path):
    path = tmp_path / "own.npz"
    np.savez(path, x=np.ones((3, 2, 2), dtype=np.float32), y=np.array([0, 1, 2]))
    images = load(str(path))
    assert images.d == 4
    assert images.labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no IDX file"),
        (struct.pack(">HBBI", 0, 8, 1, 10) + b"123", "cut short"),
        (struct.pack(">HBBI", 0, 13, 1, 1) + b"1234", "unsigned bytes"),
        (struct.pack(">HBBI", 0, 8, 1, 3) + b"123", "at least two axes"),
    ],
)
def test_bad_idx_files(tmp_path, content, message):
    (tmp_path / "bad.idx").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(str(tmp_path / "bad.idx"))


def test_bad_npz_files_and_names(tmp_path):
    np.savez(tmp_path / "names.npz", z=np.ones(3))
    np.savez(tmp_path / "nan.npz", x=np.full((2, 2), np.nan))
    (tmp_path / "broken.npz").write_bytes(b"no zip")
    for name, message in (("names", "holds z"), ("nan", "NaN"), ("broken", "no readable npz")):
        with pytest.raises(DataError, match=message):
            load(str(tmp_path / f"{name}.npz"))
    with pytest.raises(DataError, match="digits, mnist, fashion-mnist"):
        load("nonsense")


def test_what_was_done_to_the_images_is_in_their_name():
    images = load("digits")
    assert images.resampled(64) is images
    small = images.resampled(20).scaled(2.0)
    assert small.name == "digits (scikit-learn, 8x8), resampled from 64 to 20 pixels, scaled to x_sq=2"
    np.testing.assert_allclose((small.x**2).mean(1), 2.0)
    np.testing.assert_allclose(images.resampled(127).x[:, ::2], images.x)
    assert images.resampled(1).x.shape == (1797, 1)


def test_zero_images_are_left_out_and_none_left_is_an_error():
    images = Images("own", np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([4, 5]))
    assert images.scaled(1.0).labels.tolist() == [5]
    with pytest.raises(DataError, match="Every image"):
        Images("own", np.zeros((2, 2))).scaled(1.0)


def test_draws_are_images_and_repeat_with_the_seed():
    images = load("digits")
    one, two = (images.draw(50, torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(one, two)
    rows = {row.tobytes() for row in images.x}
    assert all(row.numpy().tobytes() in rows for row in one)


def test_a_split_leaves_every_image_on_one_side():
    images = Images("own", np.arange(20.0)[:, None], np.arange(20))
    one, other = images.split(5, torch.Generator().manual_seed(0))
    assert sorted([*one.labels, *other.labels]) == list(range(20))
    np.testing.assert_array_equal(other.x[:, 0], other.labels)
    assert other.name == "own, 5 held out" and len(one.x) == 15
    assert Images("own", images.x).split(5, torch.Generator().manual_seed(0))[1].labels is None
    for held_out in (0, 20):
        with pytest.raises(DataError, match="between 1 and 19"):
            images.split(held_out, torch.Generator())
