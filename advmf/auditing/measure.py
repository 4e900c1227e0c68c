"""The quantities of one network: its weights, its stream, its Jacobian, its attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from advmf.auditing.law import LEAST, Moments, predicted
from advmf.auditing.spectrum import departures
from advmf.modules.follow import Functions, Step, steps_along, tensors, within
from advmf.modules.items import Path, Pointwise, Weights, walk
from advmf.modules.measure import Layer, measured
from advmf.modules.tidy import function
from advmf.simulate import attack_trace, operator_norm
from advmf.simulate.module import ModuleNetwork

DIRECTIONS = 4
"""The directions of the attack: fewer than by default, as modules and networks of the law are attacked alike."""
Key = tuple[str, str]
"""A quantity and where it is."""
Law = Mapping[str, tuple[float, float]]
"""The declared variances of each layer's weights and biases, by its node."""


@dataclass(frozen=True)
class Settings:
    """What a network is asked: its inputs, a direction for each, the radius and the norms, and a seed."""

    x: Tensor
    direction: Tensor
    eps: float
    p: float
    q: float
    seed: int


@dataclass(frozen=True)
class Measured:
    """The values of one network, by quantity: a number for each image, or a single one."""

    layers: tuple[Layer, ...]
    values: Mapping[Key, np.ndarray]

    def mean(self, key: Key) -> float:
        return float(self.values[key].mean())

    def error(self, key: Key) -> float | None:
        """The standard error over images."""
        own = self.values[key]
        return float(own.std(ddof=1) / len(own) ** 0.5) if len(own) > 1 else None


@dataclass(frozen=True)
class Network:
    """A network as a ``module`` and as its ``path``, with the activations that it has and those that are declared in
    place of the items' own."""

    module: nn.Module
    path: Path
    has: Functions
    declared: Functions


def measure(network: Network, law: Law, flat: bool, asked: Settings) -> Measured:
    """The quantities of a network: of its path those of weights and steps, of its module the rest."""
    path = network.path
    weights = [item for item in walk(path) if isinstance(item, Weights)]
    layers = tuple(map(measured, weights))
    found = dict[Key, np.ndarray]()
    for layer in layers:
        squares = layer.singular.numpy() ** 2 * layer.rows / layer.variance
        edge, distance = departures(squares, layer.rows, layer.fan_in)
        found["edge", layer.node], found["spectrum", layer.node] = np.array([edge]), np.array([distance])
    found |= _steps(network, law, flat, asked)
    found |= _ends(network.module, asked)
    return Measured(layers, found)


def _steps(network: Network, law: Law, flat: bool, asked: Settings) -> dict[Key, np.ndarray]:
    """The growth of the stream's second moment, and of a tangent's, in each step, over what the law predicts from the
    moments before it; for each image."""
    x, direction = (each.flatten(1) if flat else each for each in (asked.x, asked.direction))
    own = {id(item): law[item.node] for item in walk(network.path) if isinstance(item, Weights)}
    found = dict[Key, np.ndarray]()
    steps, tangents = steps_along(network.path, network.has, x, direction)
    for step, tangent in zip(steps, tangents):
        before = [Moments.of(a, b) for a, b in zip(step.before, tangent.before)]
        after, law_after = Moments.of(step.after, tangent.after), predicted(step, before, own, network.declared)
        found["stream", step.name] = after.mean("Q") / law_after.mean("Q")
        found["jacobian", step.name] = after.mean("V") / law_after.mean("V")
    return found | (_activations(network, steps) if network.has is not network.declared else {})


def _activations(network: Network, steps: Sequence[Step]) -> dict[Key, np.ndarray]:
    """Each activation beside the declared one, at the values before it that the network itself has, for each image.

    ``activation`` is the root mean square of their difference over that of the declared one, ``slope`` the mean square
    of the slope over that of the declared one's. No chance is in them: they are 0 and 1 for the same function.
    """
    found = dict[Key, np.ndarray]()
    for step in steps:
        for item, x in within(step, network.has):
            if not isinstance(item, Pointwise):
                continue
            z = x.double().flatten(1)
            own, law = (
                tensors(each) for each in (network.has.get(id(item)) or function(item), network.declared[id(item)])
            )
            a, b = own.value(z), law.value(z)
            slope, expected = ((each.tangent(z, torch.ones_like(z)) ** 2).mean(1) for each in (own, law))
            apart = ((a - b) ** 2).mean(1) / (b**2).mean(1).clamp(min=LEAST)
            found["activation", item.node] = apart.sqrt().cpu().numpy()
            found["slope", item.node] = (slope / expected.clamp(min=LEAST)).cpu().numpy()
    return found


def _ends(module: nn.Module, asked: Settings) -> dict[Key, np.ndarray]:
    """The norm of the Jacobian, and the attacked loss, for each image."""
    generator = torch.Generator().manual_seed(asked.seed)
    (trace,) = ModuleNetwork.at(module, asked.x).traces(asked.x)
    J = trace.jacobian()
    norm = operator_norm(J[0], asked.p, asked.q, generator=generator).value
    found = attack_trace(
        trace, eps=asked.eps, pairs=[(asked.p, asked.q)], generator=generator, directions=DIRECTIONS, jacobian=J
    )
    values = {"norm": norm, "attack": found.value[0, :, 0]}
    return {(quantity, ""): value.double().cpu().numpy() for quantity, value in values.items()}
