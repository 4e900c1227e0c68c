import gzip
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch

from advmf.errors import ArgumentError, DataError, MemoryBudgetError
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


def npz(path, **arrays):
    np.savez_compressed(path, **arrays)
    return path.read_bytes()


def idx(path, **_):
    write_idx(path, np.arange(2 * 5 * 5, dtype=np.uint8).reshape(2, 5, 5))
    return path.read_bytes()


@pytest.mark.parametrize(("name", "make"), [("a.npz", npz), ("a.idx", idx), ("a.idx.gz", idx)])
def test_every_damaged_file_is_an_error_of_the_data(name, make, tmp_path):
    """Cut at every length, and a bit flipped in every byte: a DataError, or the images as they were."""
    path = tmp_path / name
    content = make(path, x=np.arange(50.0).reshape(2, 5, 5), y=np.array([1, 2]))
    whole = load(str(path))
    chance = np.random.default_rng(0)
    cuts = [content[:count] for count in range(0, len(content), 3)]
    flips = [
        content[:i] + bytes([content[i] ^ 1 << chance.integers(8)]) + content[i + 1 :] for i in range(len(content))
    ]
    longer = [content + b"\0", content + content]
    refused = 0
    for damaged in (*cuts, *flips, *longer):
        path.write_bytes(damaged)
        try:
            found = load(str(path))
        except DataError:
            refused += 1
            continue
        if name != "a.idx":  # which has no checksum: another pixel is another file
            np.testing.assert_array_equal(found.x, whole.x)
            assert found.labels is None or found.labels.tolist() == [1, 2]
    assert refused > len(cuts)


def header(shape, descr="'<f8'"):
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize(
    "head",
    [
        header((10**12, 10)), header((-1, 3)), header((2**70, 2)), header((3, 4), "'|O'"), header((3, 4), "'<c16'"), header((3, 4), "'<U900000'"),
        header((3, 4), "'M8[s]'"), header("(3, 4", "'<f8'"), header("().__class__"), header((3, 4), "[('a', '<f8')]"), b"", b"\x93NUMPY\x07\x00",
    ],
)  # fmt: skip
def test_what_an_array_says_of_itself_is_not_believed(head, tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", head + bytes(96))
    with pytest.raises(DataError):
        load(str(path))


@pytest.mark.parametrize("name", ["a.npz", "a.idx.gz"])
def test_a_bomb_is_not_unpacked(name, tmp_path):
    """A gigabyte in a megabyte; what a header does not announce is not read, and what it announces is bounded."""
    path, zeros = tmp_path / name, bytes(2**20)
    if name == "a.npz":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
            member.write(header((3, 4)))
            for _ in range(300):
                member.write(zeros)
    else:
        with gzip.open(path, "wb", compresslevel=1) as file:
            file.write(struct.pack(">HBBII", 0, 8, 2, 3, 4))
            for _ in range(300):
                file.write(zeros)
    tracemalloc.start()
    with pytest.raises(DataError, match="longer"):
        load(str(path))
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()
    if name != "a.npz":
        with gzip.open(path, "wb") as file:
            file.write(struct.pack(">HBBIII", 0, 8, 3, 2**31, 2**31, 2))
        with pytest.raises(DataError, match="bytes as float64"):
            load(str(path))


@pytest.mark.parametrize(
    "labels",
    [np.zeros(2, int), np.zeros((3, 1), int), np.zeros((3, 10), int), np.zeros(3), np.array(1), np.zeros(3, complex)],
)
def test_labels_are_one_integer_for_each_image(labels, tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones((3, 4)), y=labels)
    with pytest.raises(DataError, match="labels"):
        load(str(tmp_path / "a.npz"))
    if labels.shape != (3,):
        with pytest.raises(DataError, match="labels"):
            Images("own", np.ones((3, 4)), labels)


def test_labels_of_idx_files_are_counted(tmp_path):
    write_idx(tmp_path / "train-images-idx3-ubyte", np.ones((3, 2, 2), dtype=np.uint8))
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.array([3, 7], dtype=np.uint8))
    with pytest.raises(DataError, match="each of 3 images"):
        load(str(tmp_path / "train-images-idx3-ubyte"))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.uint16, np.int64, np.longdouble])
def test_any_real_dtype_is_scaled_in_float64(dtype, tmp_path):
    """Also where squares leave the dtype."""
    info = np.finfo(dtype) if np.dtype(dtype).kind == "f" else np.iinfo(dtype)
    peak = min(float(info.max), 1e300) if info.bits != 64 or np.dtype(dtype).kind == "f" else 2.0**62
    images = np.array([[peak, peak / 2, 0, 0], [peak / 4, 0, 0, peak]]).astype(dtype)
    np.savez(tmp_path / "a.npz", x=images)
    for found in (load(str(tmp_path / "a.npz")), Images("own", images)):
        scaled = found.scaled(2.0)
        assert scaled.x.dtype == np.float64
        np.testing.assert_allclose((scaled.x**2).mean(1), 2.0, rtol=1e-14)
        np.testing.assert_allclose(
            scaled.x[0, 1] / scaled.x[0, 0], float(images[0, 1]) / float(images[0, 0]), rtol=1e-15
        )


def test_scaling_is_the_plain_formula_to_the_last_bit():
    x = load("digits").x
    plain = x * np.sqrt(1.7 / (x**2).mean(1))[:, None]
    np.testing.assert_array_equal(load("digits").scaled(1.7).x, plain)


def test_small_images_are_scaled_too():
    x = Images("own", np.array([[1e-300, 2e-300], [5e-324, 0.0], [0.0, 0.0]])).scaled(1.0).x
    np.testing.assert_allclose((x**2).mean(1), 1.0, rtol=1e-14)
    assert len(x) == 2


@pytest.mark.parametrize("dtype", [complex, bool, object, "U3", "datetime64[s]"])
def test_images_are_real_numbers(dtype, tmp_path):
    x = np.ones((3, 4)).astype(int).astype(dtype)
    if dtype is not object:
        np.savez(tmp_path / "a.npz", x=x)
        with pytest.raises(DataError, match="numbers"):
            load(str(tmp_path / "a.npz"))
    with pytest.raises(DataError, match="real numbers"):
        Images("own", x)


def test_resampling_is_refused_with_bytes():
    with pytest.raises(MemoryBudgetError, match="14,376,000,000,000 bytes"):
        load("digits").resampled(10**9)
    with pytest.raises(ArgumentError, match="a name or a path"):
        load(3)
