"""Readers of IDX and npz files of images. The files may be damaged or untrusted, so sizes are bounded before anything
is unpacked."""

from __future__ import annotations

import gzip
import math
import struct
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from advmf.errors import DataError
from advmf.inputs import reading

MOST = 2**29
"""The most numbers in one array: 4 GiB as float64."""


def read_idx(path: Path) -> np.ndarray:
    """The array in an IDX file of unsigned bytes, ``.gz`` or not; raises DataError where it is damaged.

    The format is two zero bytes, a type code, the number of axes, their lengths, the data."""
    with _damage(path, "IDX file"), _unzipped(path) as file:
        head = file.read(4)
        zero, code, axes = struct.unpack(">HBB", head)
        if zero != 0 or code != 8 or axes == 0:
            raise DataError(f"{path} is no IDX file of unsigned bytes (header {head.hex()}).")
        shape = struct.unpack(f">{axes}I", file.read(4 * axes))
        return _array(path, file, shape, np.dtype(np.uint8), False)


def read_npz(path: Path, wanted: tuple[tuple[str, ...], ...]) -> tuple[list[np.ndarray | None], list[str]]:
    """For each group of names, the first array that an npz file has, or None; and the names of all arrays. Raises
    DataError where the file is damaged."""
    with _damage(path, "readable npz file"), reading(path, DataError) as file, zipfile.ZipFile(file) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if len(set(names)) < len(names):
            raise DataError(f"{path} is no readable npz file: it has two arrays of one name.")
        found: list[np.ndarray | None] = []
        for group in wanted:
            name = next((name for name in group if name in names), None)
            if name is None:
                found.append(None)
                continue
            with archive.open(archive.namelist()[names.index(name)]) as member:
                version = np.lib.format.read_magic(member)
                read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
                shape, fortran, dtype = read[version](member)
                found.append(_array(path, member, shape, dtype, fortran))
    return found, names


def _array(path: Path, file: Any, shape: tuple[int, ...], dtype: np.dtype, fortran: bool) -> np.ndarray:
    """The rest of a file as an array; raises DataError unless it has exactly the size in its header. No more than that
    is unpacked."""
    size = math.prod(shape)
    if size > MOST or min(shape, default=1) < 0 or len(shape) > 32:
        raise DataError(
            f"{path} says that it holds an array of shape {shape}, {8 * size:,} bytes as float64; at most {8 * MOST:,} are read. Give a "
            "part of it, unless the file is damaged."
        )
    if dtype.hasobject or dtype.itemsize > 32:
        raise DataError(f"{path} holds {dtype}, and images and labels are numbers.")
    data = file.read(size * dtype.itemsize)
    if len(data) < size * dtype.itemsize or file.read(1):  # the checksum is compared at the end of the file
        raise DataError(
            f"{path} is cut short, or longer than its header says: {len(data)} bytes for an array of shape {shape}."
        )
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


@contextmanager
def _unzipped(path: Path) -> Iterator[BinaryIO]:
    with reading(path, DataError) as file:
        if path.suffix == ".gz":
            with gzip.open(file) as inner:
                yield inner  # type: ignore[misc]
        else:
            yield file


@contextmanager
def _damage(path: Path, kind: str) -> Iterator[None]:
    """Turn the errors that a damaged file causes in zipfile, zlib, gzip and NumPy's reader of headers, which evaluates
    Python literals, into DataError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path} is no {kind}: {error or type(error).__name__}.") from None
