"""The declared law of one step of a stream, as numbers: the rules of the theory, at measured moments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import sympy as sp
import torch
from torch import Tensor

from advmf.emit.kernels import kernel
from advmf.expressions import expression
from advmf.modules.follow import Functions, Step, linear
from advmf.modules.items import Added, Item, Masked, Normed, Pointwise, Weights
from advmf.modules.tidy import function
from advmf.nets import Block, Dense, Dropout, LayerNorm, Residual, RMSNorm, Serial
from advmf.theory.stream import Stream, Streams, Tangent

NAMES = ("Q", "mu", "C", "V", "tau")
"""The moments of a stream and of a tangent (:mod:`advmf.theory.stream`)."""

LEAST = 1e-30
"""A second moment at a position where an image is zero; the rules divide by it."""


@dataclass(frozen=True)
class Moments:
    """The moments of streams at each input and position, (inputs, positions), by their names."""

    values: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, x: Tensor, tangent: Tensor) -> Moments:
        """The moments of a value (inputs, channels, positions) and a tangent of it."""
        a, b = (each.double().flatten(2) if each.ndim > 2 else each.double()[..., None] for each in (x, tangent))
        found = {
            "Q": (a**2).mean(1).clamp(min=LEAST),
            "mu": a.mean(1),
            "C": (a * b).mean(1),
            "V": (b**2).mean(1).clamp(min=LEAST),
            "tau": b.mean(1),
        }
        return cls({name: value.cpu().numpy() for name, value in found.items()})

    def mean(self, name: str) -> np.ndarray:
        """The average of a moment over the positions, (inputs,)."""
        found: np.ndarray = self.values[name].mean(1)
        return found


def predicted(
    step: Step, before: list[Moments], law: Mapping[int, tuple[float, float]], functions: Functions
) -> Moments:
    """The moments after a step, from those before it; ``law`` has the variances of each layer's weights and biases."""
    first, *rest = step.items
    if isinstance(first, Added):
        state = _summed(first, *before)
    elif isinstance(first, Weights):
        state = _layered(first, step.before[0], before[0], *law[id(first)])
    else:
        state, rest = before[0], [first, *rest]
    for item in rest:
        state = _evaluated(_block(item, functions), (state,))
    return state


def _block(item: Item, functions: Functions) -> Block:
    match item:
        case Pointwise():
            return functions.get(id(item)) or function(item)
        case Normed(centred=centred):
            return LayerNorm() if centred else RMSNorm()
        case Masked(rate=rate):
            return Dropout(rate)
    raise AssertionError(f"{item!r} is followed by no other item")


def _layered(item: Weights, x: Tensor, before: Moments, variance: float, shift: float) -> Moments:
    """After a layer with weights of ``variance``/fan_in and biases of variance ``shift``. A convolution averages
    moments over the taps that meet a position, and zeros beyond an edge."""
    own = before
    if item.axes:
        taps = torch.full((1, item.kernel**item.axes), 1 / item.kernel**item.axes, dtype=torch.float64, device="cpu")
        shape = (len(x), 1, *x.shape[2:])
        own = Moments(
            {
                name: linear(item, torch.as_tensor(value, dtype=torch.float64, device="cpu").reshape(shape), taps, None)
                .flatten(1)
                .numpy()
                for name, value in before.values.items()
            }
        )
    return _evaluated(Dense(), (own,), {"sigma_w": variance**0.5, "sigma_b": shift**0.5})


def _summed(item: Added, shortcut: Moments, branch: Moments) -> Moments:
    block = Residual(Serial(Dense()), scale=item.scale)
    return _evaluated(block, (shortcut, branch))


def _evaluated(block: Block, states: tuple[Moments, ...], more: Mapping[str, float] | None = None) -> Moments:
    values: dict[str, Any] = dict(more or {})
    for number, state in enumerate(states):
        values |= {f"{name}_{number}": value for name, value in state.values.items()}
    found = {}
    for name, (expr, rule) in _rules(block).items():
        shape = states[0].values["Q"].shape
        own = {str(s): values[str(s)] for s in expr.free_symbols}
        found[name] = np.broadcast_to(rule(**own) if own else float(expr), shape)
    return Moments(found)


@cache
def _rules(block: Block) -> dict[str, tuple[sp.Expr, Any]]:
    """The moments after a block as formulas and functions of those before it."""
    one, other = _symbols(0), _symbols(1)
    after = Streams().add(block, one, other, one) if isinstance(block, Residual) else block.apply(Streams(), one)
    (tangent,) = after.tangents
    found = dict(zip(NAMES, (after.Q, after.mu, tangent.C, tangent.V, tangent.tau)))
    return {name: (expr, kernel(expr)) for name, expr in ((name, expression(e)) for name, e in found.items())}


def _symbols(number: int) -> Stream:
    Q, V = sp.symbols(f"Q_{number} V_{number}", positive=True)
    mu, C, tau = sp.symbols(f"mu_{number} C_{number} tau_{number}", real=True)
    return Stream(Q, mu, (Tangent(C, V, tau),))
