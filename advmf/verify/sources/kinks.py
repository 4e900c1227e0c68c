"""Points at which networks on images have no Jacobian.

Where a position of the first activation meets pixels that are all zero, and no bias, its input is zero in every channel
and in every network. An activation with a kink has no slope there. Positions further on are never all at a kink.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sympy as sp
import torch

from advmf.errors import ArgumentError
from advmf.nets import Net
from advmf.observables import ATTACK, JACOBIAN, OUTPUT_MEANS, SEARCH, Observable
from advmf.simulate.data import Images
from advmf.simulate.ensemble import Ensemble
from advmf.simulate.networks import Activation, leaves
from advmf.simulate.pointwise import Function
from advmf.simulate.sampling import sample
from advmf.simulate.tapes import ForwardTape

BATCH = 256
"""Images that go through one small network at once."""
STEP = 1e-6
"""The distance from zero at which an activation's slopes are taken."""


def require_slopes(products: Sequence[sp.Expr], net: Net, given: Mapping[str, Any], images: Images) -> None:
    """Raise ArgumentError if ``products`` are about the Jacobian at images where a network of ``net`` has none.

    ``given`` are the values that :func:`~advmf.simulate.sampling.sample` takes but for N and nets.
    """
    observables = {o for product in products for o in product.atoms(Observable)}
    about = [o for o in observables if o.needs & {JACOBIAN, OUTPUT_MEANS} and not o.needs & {ATTACK, SEARCH}]
    if net.image is None or not about:
        return
    one = {"L": 1} if net.repeated else {}
    N = 8 * sp.ilcm(1, *(sp.Rational(run.after).q for run in net.runs))
    small = sample(net, N=int(N), nets=1, generator=torch.Generator().manual_seed(0), **{**given, **one})
    (chunk,) = small.chunks()
    if not any(_bends(part.function) for part in leaves(chunk.map) if isinstance(part, Activation)):
        return
    if not _empty(small, np.zeros((1, small.d))):
        return  # biases
    if empty := sum(_empty(small, images.x[i : i + BATCH]) for i in range(0, len(images.x), BATCH)):
        raise ArgumentError(
            f"{empty} of the {len(images.x)} images have an empty patch, where a network without biases stands at the kink of its activations. "
            f"So it has no Jacobian, and {min(map(str, about))} is not defined. Give sigma_b above 0, a larger d, or other images."
        )


def _bends(function: Function) -> bool:
    """Whether an activation has another slope on either side of zero, by more than a ten-thousandth of its secants to
    -1 and 1."""
    steps = torch.tensor([-1.0, -STEP, STEP, 1.0], dtype=torch.float64, device="cpu")
    changes, _ = function.difference(function.prepared(torch.zeros_like(steps)), steps)
    before, left, right, after = (changes / steps).tolist()
    return abs(right - left) > 1e-4 * max(abs(before), abs(after))


def _empty(networks: Ensemble, x: np.ndarray) -> int:
    """How many inputs (inputs, d) leave the first activation without an input at a position."""
    (trace,) = networks.traces(torch.as_tensor(x, dtype=torch.float64, device="cpu"))
    assert isinstance(trace.tape, ForwardTape)
    met = trace.tape.kept[0].unflatten(2, (len(x), -1))
    return int((met == 0).all(1).any(2).sum())
