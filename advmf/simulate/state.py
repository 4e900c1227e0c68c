"""Isolation from the caller's torch state: default dtype, default device, the precision of products, autocast and
autograd modes do not change results.

A simulation is a function of its arguments. Every tensor is made with an explicit dtype and device (a test reads the
source), so ``torch.set_default_dtype`` and ``torch.set_default_device`` change nothing. The functions below handle the
rest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from advmf.errors import ArgumentError

P = ParamSpec("P")
R = TypeVar("R")
_own: Any = torch.backends
FLAGS = (
    _own, _own.cudnn, _own.mkldnn, _own.cuda.matmul, _own.mkldnn.matmul, _own.mkldnn.conv, _own.cudnn.conv, _own.cudnn.rnn,
)  # fmt: skip
"""Where torch keeps the precision of products of float32: for all of them, for each library, for each operation."""
FULL = ("none", "ieee")


class _Raised:
    """The precision is full while any thread computes: the first one raises it, the last one puts it back."""

    def __init__(self) -> None:
        self._lock, self._threads, self._former = threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            self._threads += 1
            if self._threads == 1:
                _raise(self._former)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._threads -= 1
            if not self._threads:
                self._former.close()


_within, _raised = threading.local(), _Raised()


@contextmanager
def full_precision() -> Iterator[None]:
    """Products of float32 have all their digits, whatever ``torch.set_float32_matmul_precision`` and the flags for
    TensorFloat-32 say, and ``torch.autocast`` is off. Small balls are lost in products of three digits."""
    if getattr(_within, "full", False):
        yield
        return
    with ExitStack() as stack:
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        stack.enter_context(_raised)
        _within.full = True
        stack.callback(setattr, _within, "full", False)
        yield


def _raise(former: ExitStack) -> None:
    """Set the flags to full precision; ``former`` puts back what they were."""
    flags = FLAGS if _own.cuda.is_built() else FLAGS[:-2]  # cuDNN's are lowered by default
    before = [each.fp32_precision for each in flags]
    if set(before) <= set(FULL):
        return
    former.callback(_restore, _former(torch.get_float32_matmul_precision), _former(_tf32), flags, before)
    for each in flags[:3]:
        each.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    _own.cudnn.allow_tf32 = False
    for each in flags[3:]:
        if each.fp32_precision not in FULL:
            each.fp32_precision = "none"


def _tf32() -> bool:
    return _own.cudnn.allow_tf32


def _former(read: Callable[[], R]) -> R | None:
    """What an older flag of torch says; None where it refuses, since a caller has set a newer one to something else."""
    try:
        return read()
    except RuntimeError:
        return None


def _restore(matmul: str | None, tf32: bool | None, flags: Sequence[Any], before: Sequence[str]) -> None:
    if matmul is not None:
        torch.set_float32_matmul_precision(matmul)
    if tf32 is not None:
        _own.cudnn.allow_tf32 = tf32
    for each, precision in zip(flags, before):
        if each.fp32_precision != precision:
            each.fp32_precision = precision


def lasting(function: Callable[P, R]) -> Callable[P, R]:
    """``function`` run outside of ``torch.inference_mode``, so that its results may be changed and differentiated
    later. Gradients are tracked as before."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with full_precision():
            if not torch.is_inference_mode_enabled():
                return function(*args, **kwargs)
            with torch.inference_mode(False), torch.no_grad():
                return function(*args, **kwargs)

    return run


def without_gradients(function: Callable[P, R]) -> Callable[P, R]:
    """``function`` on numbers alone: arguments may require gradients, results carry none."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with full_precision(), torch.inference_mode(False), torch.no_grad():
            return function(*args, **kwargs)

    return run


def differentiating(function: Callable[P, R]) -> Callable[P, R]:
    """``function`` run with autograd, which it needs for itself, also within the caller's ``torch.no_grad``."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with full_precision(), torch.inference_mode(False), torch.enable_grad():
            return function(*args, **kwargs)

    return run


def followed(x: Tensor) -> bool:
    """Whether autograd follows a tensor, backwards or forwards."""
    return (x.requires_grad and torch.is_grad_enabled()) or forward_ad.unpack_dual(x).tangent is not None


def tensor(x: Any, name: str, *, dtype: torch.dtype | None = None, device: torch.device | None = None) -> Tensor:
    """``x`` as a tensor that autograd may keep, on the CPU unless it is a tensor already or ``device`` says otherwise.

    Raises ArgumentError for a value that makes no tensor of real numbers.

    >>> tensor([1, 2], "x", dtype=torch.float32)
    tensor([1., 2.])
    """
    try:
        if x.is_complex() if isinstance(x, Tensor) else np.iscomplexobj(x):
            raise TypeError("its numbers are complex, and would lose their imaginary part")
        found = torch.as_tensor(x, dtype=dtype, device=device or (x.device if isinstance(x, Tensor) else "cpu"))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(
            f"{name} must be a tensor, or what torch makes one of; got {type(x).__name__} ({error})."
        ) from None
    return found.clone() if found.is_inference() and not torch.is_inference_mode_enabled() else found


def source(generator: object, seed: int | None = 0) -> torch.Generator:
    """``generator`` if it is one; if it is None, a new generator with ``seed``, or with a seed from the system if that
    is None too.

    Raises ArgumentError for anything else; in particular for a number, since a seed is no generator.

    >>> source(None, 3).initial_seed()
    3
    """
    if isinstance(generator, torch.Generator):
        return generator
    if generator is not None:
        hint = f": torch.Generator().manual_seed({generator})" if type(generator) is int else ""
        raise ArgumentError(f"generator must be a torch.Generator or None{hint}; got {generator!r}.")
    made = torch.Generator()
    if seed is None:
        made.seed()
        return made
    return made.manual_seed(seed)


def draw_seed(generator: torch.Generator) -> int:
    """A seed drawn from ``generator``."""
    return int(torch.randint(2**63 - 1, (), generator=generator, device=generator.device, dtype=torch.int64))
