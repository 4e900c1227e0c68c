"""The native engine: a stage as one fused C loop (:mod:`advmf.emit.engine.c_source`), built by the system's compiler
and called through ctypes.

The compiler is ``$CC``, or the first of cc, gcc and clang on the path. Compiled code is cached in ``$ADVMF_CACHE_DIR``,
else in advmf/ under ``$XDG_CACHE_HOME`` or ~/.cache, by a hash of everything it depends on. The directory may be
deleted at any time. Without a compiler, or where it fails, NumPy does the work; :func:`native_support` says which and
why.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import stat
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from advmf.emit.engine import cores
from advmf.emit.engine.blocks import numpy_engine
from advmf.emit.engine.c_source import operations, source, supported
from advmf.emit.engine.grid import Bounds, Stage

FLAGS = (
    "-std=gnu11",
    "-O3",
    "-march=native",
    "-fopenmp-simd",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=off",
    "-fPIC",
    "-shared",
)
"""The flags exclude -ffast-math, because results may be infinite and it would change their last digits."""
WORTH = 1 << 10
"""Below this many elements NumPy takes no longer."""
REDO = np.uint64(0x7FF80000A11DEAD0)
"""The bits of the NaN that marks an element to compute again."""
_failures: list[str] = []
"""The reasons why native code is not used, the latest last."""


def native_engine(stage: Stage, bounds: Bounds, inputs: list[np.ndarray], outs: list[np.ndarray]) -> np.ndarray | None:
    """Run a stage in native code, or in NumPy where native code is not available."""
    if outs[0].size < WORTH:
        return numpy_engine(stage, bounds, inputs, outs)
    if "native" not in stage.made:
        stage.made |= {"native": _built(stage, bounds), "operations": operations(stage)}
    call = stage.made["native"]
    if call is None:
        return numpy_engine(stage, bounds, inputs, outs)
    return _execute(call, stage.made["operations"], inputs, outs)


def _execute(call: Any, operations: int, inputs: list[np.ndarray], outs: list[np.ndarray]) -> np.ndarray | None:
    shape, size, ndim = outs[0].shape, outs[0].size, outs[0].ndim
    kinds = tuple([_kind(x, shape) for x in inputs])
    strides = None
    if 2 in kinds:
        inputs = [x.copy() if any(step % 8 for step in x.strides) or not x.flags.aligned else x for x in inputs]
        steps = [step // 8 for x in inputs for step in np.broadcast_to(x, shape).strides]
        strides = (ctypes.c_long * len(steps))(*steps)
    pointers = _addresses([*inputs, *outs])
    arguments = (ndim, _longs(shape), pointers, strides, _ints(kinds))
    workers = cores.workers(operations * size)
    if workers == 1:
        redo = call(0, size, *arguments)
    else:
        ends = [size * i // workers // 512 * 512 for i in range(workers)] + [size]
        redo = sum(cores.at_once(lambda i: call(ends[i], ends[i + 1], *arguments), range(workers)))
    return outs[0].view(np.uint64) == REDO if redo else None


def _kind(x: np.ndarray, shape: tuple[int, ...]) -> int:
    """How ``run`` of native.c reads an input."""
    if x.shape == shape:
        flags = x.flags
        return 1 if flags.c_contiguous and flags.aligned else 2
    return 0 if x.size == 1 else 2


def _addresses(arrays: list[np.ndarray]) -> bytes:
    """The addresses of arrays, in sequence."""
    try:
        found = [_addressof(_buffer(x)) for x in arrays]
    except (TypeError, ValueError, BufferError):  # one is read-only, or not in C order
        found = [x.ctypes.data for x in arrays]
    return struct.pack(f"{len(found)}P", *found)


_addressof: Any = ctypes.addressof
_buffer: Any = ctypes.c_char.from_buffer  # a third of the time of x.ctypes.data


@lru_cache(maxsize=1024)
def _longs(values: tuple[int, ...]) -> Any:
    return (ctypes.c_long * len(values))(*values)


@lru_cache(maxsize=1024)
def _ints(values: tuple[int, ...]) -> Any:
    return (ctypes.c_int * (len(values) + 1))(*values)


@cache
def compiler() -> tuple[str, ...]:
    """The command of the C compiler, or nothing."""
    for command in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        try:
            words = shlex.split(command)
        except ValueError as error:
            _failures.append(f"CC = {command!r} is no command: {error}")
            return ()
        found = shutil.which(words[0]) if words else None
        if found:
            return (found, *words[1:])
    return ()


@cache
def _machine() -> str:
    """The things that compiled code depends on besides its source: the compiler's file, the flags and the processor."""
    path = os.path.realpath(compiler()[0])
    status = os.stat(path)
    cpu = platform.processor()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            cpu = "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    return repr((compiler(), path, status.st_size, status.st_mtime_ns, FLAGS, platform.machine(), cpu))


def cache_directory() -> Path:
    """The cache directory of compiled code, which belongs to this user alone."""
    given, shared = os.environ.get("ADVMF_CACHE_DIR"), os.environ.get("XDG_CACHE_HOME", "")
    try:
        # The standard ignores an $XDG_CACHE_HOME that is relative.
        base = Path(shared) if os.path.isabs(shared) else Path("~/.cache")
        path = (Path(given) if given else base / "advmf").expanduser().absolute()
    except RuntimeError:
        raise FileNotFoundError("there is no home directory; set ADVMF_CACHE_DIR") from None
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = path.resolve()
    status = path.stat()
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise PermissionError(f"{path} can be written by others")
    trusted = {0, os.getuid(), Path(path.anchor).stat().st_uid}
    for parent in path.parents:
        status = parent.stat()
        if status.st_uid not in trusted or (status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX):
            raise PermissionError(f"{parent}, above the cache {path}, can be written by others; set ADVMF_CACHE_DIR")
    return path


def native_support() -> str:
    """Which compiler builds native code, or why NumPy does its work.

    >>> from advmf.emit.engine.native import native_support
    >>> isinstance(native_support(), str)
    True
    """
    if command := compiler() if not _failures else ():
        return f"built by {shlex.join(command)}"
    reason = _failures[-1] if _failures else "no C compiler; set CC or install cc, gcc or clang"
    return f"not used: {reason}"


def available() -> bool:
    return not _failures and bool(compiler())


def _built(stage: Stage, bounds: Bounds) -> Any:
    """The function ``run`` of native.c for a stage, or None."""
    if not (available() and supported(stage)):
        return None
    return built(source(stage, bounds), (*[ctypes.c_long] * 2, ctypes.c_int, *[ctypes.c_void_p] * 4))


def built(code: str, argtypes: Sequence[Any]) -> Any:
    """The function ``run`` of C source, which returns a long, or None where it cannot be built."""
    try:
        return _loaded(code, tuple(argtypes))
    except (OSError, subprocess.SubprocessError, AttributeError) as error:
        detail = getattr(error, "stderr", None) or str(error)
        _failures.append(f"{type(error).__name__}: {detail[:400]}")
        return None


@cache
def _loaded(code: str, argtypes: tuple[Any, ...]) -> Any:
    name = hashlib.sha256(f"{_machine()}\n{code}".encode()).hexdigest()[:40]
    library = cache_directory() / f"{name}.so"
    if not _intact(library):
        _compile(code, library)
    run = ctypes.CDLL(str(library)).run
    run.restype = ctypes.c_long
    run.argtypes = argtypes
    return run


def _compile(code: str, library: Path) -> None:
    """Build in a temporary file, then move it into place; another process that builds the same at the same time writes
    the same content."""
    with tempfile.TemporaryDirectory(dir=library.parent) as space:
        built = Path(space) / "kernel.so"
        command = [*compiler(), *FLAGS, "-x", "c", "-", "-o", str(built), "-lm"]
        subprocess.run(
            command, input=code, encoding="utf-8", errors="replace", capture_output=True, check=True, timeout=120
        )
        with open(built, "r+b") as file:
            body = file.read()
            file.write(_seal(library, body))
            file.flush()
            os.fsync(file.fileno())
        os.replace(built, library)


def _seal(library: Path, body: bytes) -> bytes:
    """The seal appended to compiled code in a cache file: loaders ignore it, and a file without it is not loaded."""
    return hashlib.sha256(library.name.encode() + body).digest()


def _intact(library: Path) -> bool:
    """Whether a file exists with the content that was written; a damaged library would crash the process or compute
    wrong numbers."""
    try:
        content = library.read_bytes()
    except OSError:
        return False
    return content[-32:] == _seal(library, content[:-32])
