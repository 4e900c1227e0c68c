"""Questions to the file system about names that a user gives, and files that are read.

A name can be too long, hold a null byte, be a circle of links, or lie in a folder that may not be entered. Python then
raises errors of several kinds, some of them only where a question is asked for the first time. Every function that
takes a name asks here, and names the error that its own users expect.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import filter as matching
from pathlib import Path
from typing import BinaryIO

from advmf.errors import AdvmfError

Name = Path | str | os.PathLike[str]
ANOTHER = "Give another path"
"""What to do about a name that is no use."""


def status(path: Name, error: type[AdvmfError]) -> os.stat_result | None:
    """What lies at a path, links followed, or None if nothing does. Raises ``error`` for a name about which the system
    tells nothing.

    >>> from advmf.errors import DataError
    >>> status("no such file", DataError)
    >>> status("a" * 9999, DataError)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    advmf.errors.DataError: a...a cannot be reached: File name too long. Give another path.
    """
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as why:
        raise error(f"{path} cannot be reached: {reason(why)}. {ANOTHER}.") from None


def is_file(path: Name, error: type[AdvmfError]) -> bool:
    """Whether a regular file lies at a path; raises as :func:`status`."""
    found = status(path, error)
    return found is not None and stat.S_ISREG(found.st_mode)


def real(path: Name, error: type[AdvmfError]) -> Path:
    """The path without links; raises as :func:`status`."""
    status(path, error)
    try:
        return Path(os.path.realpath(path))
    except OSError as why:  # a relative path, in a folder that was deleted
        raise error(f"{path} cannot be reached: {reason(why)}. {ANOTHER}.") from None


@contextmanager
def reading(path: Name, error: type[AdvmfError], hint: str = ANOTHER) -> Iterator[BinaryIO]:
    """A context with a file to read bytes from. Raises ``error`` where it cannot be opened or read."""
    status(path, error)
    try:
        with open(path, "rb") as file:
            yield file
    except AdvmfError:
        raise
    except OSError as why:
        raise error(f"{path} cannot be read: {reason(why)}. {hint}.") from None


def files(folder: Name, pattern: str, error: type[AdvmfError]) -> list[Path]:
    """The names in a folder that match a pattern, sorted; none where there is no folder. Raises ``error`` for anything
    else that cannot be listed."""
    if status(folder, error) is None:
        return []
    try:
        return sorted(Path(folder, name) for name in matching(os.listdir(folder), pattern))
    except OSError as why:
        raise error(f"{folder} cannot be read as a folder: {reason(why)}. {ANOTHER}.") from None


def reason(error: Exception) -> str:
    """An error of the system in words, without its number."""
    return getattr(error, "strerror", None) or str(error)
