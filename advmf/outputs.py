"""Output files: tested before the work that fills them, then replaced atomically.

Every command and every function that writes a file uses this module, so that links, modes, pipes, devices and ``-`` are
treated alike.
"""

from __future__ import annotations

import io
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from advmf.errors import OutputError
from advmf.inputs import ANOTHER, real, reason, status

STANDARD = "-"
"""The name of standard output."""


class Output:
    """A file or stream to write to; whether it can be written is tested when the object is made.

    A regular file is replaced atomically, so that a reader never sees half of it. A link is followed, and the file
    keeps its mode and its owner. A file that cannot be replaced in this way (one with several names, or in a folder
    without write permission) is written in place, and so are pipes and devices. ``-`` is standard output, and so is any
    other name of it. Text is UTF-8.

    Raises OutputError.

    >>> Output("no/such/folder/a.json")
    Traceback (most recent call last):
        ...
    advmf.errors.OutputError: There is no folder 'no/such/folder' to put a.json into; make it, or give another path.
    """

    def __init__(self, path: Path | str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.standard = str(path) == STANDARD or _is_standard(self.path)
        self._real = self.path
        self.replaced = False
        """Whether a later text replaces an earlier one; otherwise it is appended."""
        if self.standard:
            if _closed():
                raise OutputError("Standard output is closed; give the path of a file.")
            return
        found = status(self.path, OutputError)
        self.replaced = found is None or stat.S_ISREG(found.st_mode)
        if self.replaced:
            self._real = real(self.path, OutputError)  # for a special name such as /dev/fd/3 this may be no path
        self._test(found)

    def __str__(self) -> str:
        return "standard output" if self.standard else str(self.path)

    def same(self, other: Output | Path) -> bool:
        """Whether it is the same regular file as another output, or both are standard output."""
        if isinstance(other, Output):
            if self.standard or other.standard:
                return self.standard and other.standard
            other = other.path
        with suppress(OSError, ValueError):  # a name that leads nowhere, which its reader tells
            return self.replaced and Path(os.path.realpath(other)) == self._real
        return False

    def write(self, content: str | bytes) -> None:
        """Write the whole content; raises OutputError."""
        with self.open() as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """A context with a binary file; its content becomes the output when the block ends without an error, and is
        dropped otherwise. Raises OutputError."""
        try:
            if self.standard:
                with _standard() as file:
                    yield file
            elif (part := self._part()) is None:
                with self._real.open("wb") as file:
                    yield file
            else:
                with _replacing(part, self._real) as file:
                    yield file
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _refused(self, error) from None

    def _test(self, found: os.stat_result | None) -> None:
        if found is not None and stat.S_ISDIR(found.st_mode):
            raise OutputError(f"{self.path} is a folder; give the path of a file.")
        folder = self._real.parent
        if found is None and not folder.is_dir():
            raise OutputError(
                f"There is no folder {str(folder if self.path.is_symlink() else self.path.parent)!r} to put {self._real.name} into; "
                "make it, or give another path."
            )
        if found is not None and not os.access(
            self.path, os.W_OK, effective_ids=os.access in os.supports_effective_ids
        ):
            raise OutputError(f"{self.path} is write-protected; give another path.")
        try:
            if (part := self._part()) is not None:
                os.close(part[1])
                part[0].unlink()
            elif found is None:
                raise PermissionError(f"the folder {str(folder)!r} cannot be written to")
        except OSError as error:
            raise _refused(self.path, error) from None

    def _part(self) -> tuple[Path, int] | None:
        """A new file beside a regular one, with its mode and owner, to replace it; None where that is impossible."""
        if not self.replaced:
            return None
        try:
            found = self._real.stat()
        except FileNotFoundError:
            found = None
        if found is not None and found.st_nlink > 1:  # its other names would keep the old content
            return None
        part = self._real.with_name(f".advmf-{secrets.token_hex(8)}.part")
        mode = 0o666 if found is None else found.st_mode & 0o666
        try:
            number = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), mode)
        except PermissionError:
            return None
        if found is not None:
            try:
                if (found.st_uid, found.st_gid) != (os.fstat(number).st_uid, os.fstat(number).st_gid):
                    os.fchown(number, found.st_uid, found.st_gid)
                shutil.copystat(self._real, part)
            except OSError:
                os.close(number)
                part.unlink(missing_ok=True)
                return None
        return part, number


def folder(path: Path) -> Path:
    """A folder to write files into, which is made if it is not there. Raises OutputError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise _refused(path, error) from None
    return path


def put(text: str, path: Path | str | Output | None) -> str:
    """The text, also written to ``path`` if one is given. Raises OutputError."""
    if path is not None:
        (path if isinstance(path, Output) else Output(path)).write(text)
    return text


def apart(outputs: Iterable[Output], inputs: Iterable[Path] = ()) -> None:
    """Raise OutputError where two outputs are the same file, or an output is also an input.

    >>> apart([Output("a.json"), Output("./a.json")])
    Traceback (most recent call last):
        ...
    advmf.errors.OutputError: a.json is given for two outputs; give each a file of its own.
    """
    seen: list[Output] = []
    inputs = list(inputs)
    for output in outputs:
        if any(output.same(other) for other in seen):
            raise OutputError(f"{output} is given for two outputs; give each a file of its own.")
        if any(output.same(path) for path in inputs):
            raise OutputError(f"{output} is also what is read, or the store; give the output another file.")
        seen.append(output)


@contextmanager
def _replacing(part: tuple[Path, int], path: Path) -> Iterator[BinaryIO]:
    name, number = part
    try:
        with os.fdopen(number, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    finally:
        name.unlink(missing_ok=True)


@contextmanager
def _standard() -> Iterator[BinaryIO]:
    """Standard output, as UTF-8 in every locale; raises OutputError for bytes where it takes only text."""
    own: Any = sys.stdout
    own.flush()
    if hasattr(own, "buffer"):
        yield own.buffer
    else:
        content = io.BytesIO()
        yield content
        try:
            own.write(content.getvalue().decode("utf-8"))
        except UnicodeDecodeError:
            raise OSError("it takes text alone") from None
    own.flush()


def _closed() -> bool:
    return sys.stdout is None or sys.stdout.closed or getattr(sys.stdout, "nowhere", False)


def _is_standard(path: Path) -> bool:
    """Whether a path is another name of the target of standard output, such as /dev/stdout."""
    with suppress(OSError, ValueError, AttributeError):
        return os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno()))
    return False


def _refused(where: object, error: Exception) -> OutputError:
    return OutputError(f"{where} cannot be written: {reason(error)}. {ANOTHER}, or make room.")
