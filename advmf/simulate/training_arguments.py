"""The arguments of training and of its kernel regime, tested before any work: losses, networks, images and labels."""

from __future__ import annotations

import math
from typing import Any, SupportsFloat

import numpy as np
import torch
from torch import Tensor

from advmf.boundary import whole
from advmf.errors import ArgumentError, DataError, DomainError
from advmf.simulate.attack import MOST
from advmf.simulate.data import Images
from advmf.simulate.descent import LOSSES, Objective
from advmf.simulate.ensemble import Ensemble
from advmf.simulate.geometry import order
from advmf.simulate.state import tensor


def positive(name: str, value: object, least: float = 0.0) -> float:
    """The number; raises DomainError unless it is finite and above ``least``."""
    if isinstance(value, bool) or not isinstance(value, SupportsFloat):
        raise ArgumentError(f"{name} must be a number; got {value!r}.")
    if not (math.isfinite(number := float(value)) and number > least):
        raise DomainError(f"{name} must be positive and finite; got {value!r}.")
    return number


def objective_of(
    loss: str, p: Any, q: Any, eps: object, weight: object, attack_steps: object, directions: object
) -> Objective:
    """The loss to minimise, with the strength of its inner maximum."""
    if loss not in LOSSES:
        raise ArgumentError(f"loss must be one of {', '.join(LOSSES)}; got {loss!r}.")
    return Objective(
        loss=loss,
        p=order(p, "p"),
        q=order(q, "q"),
        eps=positive("eps", eps),
        weight=positive("weight", weight),
        steps=whole("attack_steps", attack_steps, 0, MOST["steps"]),
        directions=whole("directions", directions, 1, MOST["starts"]),
    )


def require_ensemble(ensemble: object) -> None:
    """Raise ArgumentError for what is no Ensemble."""
    if not isinstance(ensemble, Ensemble):
        raise ArgumentError(f"ensemble must be an Ensemble, as advmf.simulate.sample gives; got {ensemble!r:.80}.")


def require_moving(centred: bool, loss: str) -> None:
    """Raise ArgumentError for a loss that f = 0 does not lower."""
    if centred and loss == "adversarial":
        raise ArgumentError(
            'With centred=True and loss="adversarial" nothing moves: the loss of f = 0 is zero already.'
        )


def data_of(
    ensemble: Ensemble, images: Images, held_out: Images | None, objective: Objective
) -> tuple[Tensor, Tensor | None, tuple[Tensor, Tensor] | None]:
    """The images (count, d) and the labels that the loss needs, and held-out images with theirs, as tensors that fit
    the ensemble."""
    x, labels = _inputs("images", images, ensemble, objective.labelled)
    if labels is not None and (classes := int(labels.max()) + 1) != ensemble.K:
        raise DataError(
            f"{images.name} has {classes} classes and the networks K={ensemble.K} outputs; a loss of labels needs as many. Sample networks of "
            f"K={classes}."
        )
    if held_out is None:
        return x, labels, None
    held_x, held_labels = _inputs("held_out", held_out, ensemble, True)
    assert held_labels is not None
    return x, labels, (held_x, held_labels)


def _inputs(name: str, images: object, ensemble: Ensemble, labelled: bool) -> tuple[Tensor, Tensor | None]:
    """Images (count, d) and labels (count,), None unless ``labelled``, as tensors that fit the ensemble."""
    if not isinstance(images, Images):
        raise ArgumentError(f"{name} must be Images, as advmf.simulate.load gives; got {type(images).__name__}.")
    if images.d != ensemble.d or not len(images.x):
        raise DataError(f"{name}: {images.name} has {len(images.x)} images of {images.d} pixels and the networks d={ensemble.d} inputs. "
                        f"Take images.resampled({ensemble.d}), or sample networks of d={images.d}.")  # fmt: skip
    x = tensor(np.ascontiguousarray(images.x), name, dtype=ensemble.dtype, device=ensemble.device)
    if not bool(torch.isfinite(x).all()):
        raise DataError(f"{name}: {images.name} holds NaN or infinite values; training needs finite ones.")
    if not labelled:
        return x, None
    if images.labels is None:
        raise DataError(
            f'{name}: {images.name} has no labels; without them only loss="adversarial" without held_out can be used.'
        )
    labels = tensor(np.ascontiguousarray(images.labels), name, device=ensemble.device)
    if (
        labels.shape != x.shape[:1]
        or labels.is_floating_point()
        or int(labels.min()) < 0
        or int(labels.max()) >= ensemble.K
    ):
        raise DataError(
            f"{name}: labels of {images.name} must be one integer in [0, K) for each image, K={ensemble.K} outputs; "
            f"got shape {tuple(labels.shape)} and values from {labels.min()} to {labels.max()}."
        )
    return x, labels.long()
