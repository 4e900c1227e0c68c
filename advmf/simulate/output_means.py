"""Means over the output layer of a network, given all its other weights.

The last stream and its derivatives do not depend on P_out, whose entries are independent N(0, 1/n) for a stream of
length n. So networks that differ in P_out alone cost little more than one of them. What they need of the other weights
is the same: the tangents of the stream, and a quadratic form in the rows of P_out. Nothing here knows the theory, or
supposes that n is large. The mean over P_out is that of networks of this very width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from advmf.errors import ArgumentError
from advmf.simulate.geometry import conjugate, maximiser
from advmf.simulate.networks import Chain, Trace
from advmf.simulate.opnorm import operator_norm
from advmf.simulate.tapes import GradientTape, ScalingGradientTape, ScalingTape, TangentTape

PROBES = 2
"""Random vectors that estimate the trace of the form over all directions that no tangent of the stream has."""
LAYERS = 64
"""Output layers of each network, over d; each is turned in 2 d ways."""
STREAM = 1
"""Keeps the random numbers drawn here apart from those of the weights, which have the same seeds."""


def vectors(d: int) -> int:
    """The number of vectors that an :class:`OutputMeans` sends through each matrix, beyond the trace."""
    return 1 + d + 2 * (d + 1 + PROBES)


@dataclass(frozen=True)
class OutputMeans:
    """Networks given all weights but the output layer P, each at one input.

    Let A be the tangents of the last stream in all d directions, and g its change as all trained matrices grow in
    proportion to themselves. So J(x) = P A, and ḟ = P g. For vectors u, v of the stream and a direction e let b(u, v;
    e) be the sum over the trained matrices W of ⟨∂⟨u, A e⟩/∂W, ∂⟨v, g⟩/∂W⟩. The ``frame`` is orthonormal and spans A
    and g, which are the columns of frame · ``stream`` (nets, d + 1, d + 1). ``within`` (nets, d, d + 1, d + 1) is b in
    the frame for each direction of ``basis`` (nets, d, d), whose first vector lies along x. ``across`` (nets, d) is an
    unbiased estimate of the trace of b outside of the frame. All are zero for a network that is not ``sound``: whose
    numbers are not finite.
    """

    K: int
    n: int
    seeds: Tensor
    sound: Tensor
    basis: Tensor
    stream: Tensor
    within: Tensor
    across: Tensor

    @classmethod
    def of(cls, trace: Trace) -> OutputMeans:
        """From a forward trace of one input for each network. Raises ArgumentError for more inputs."""
        forward, x, networks = trace._forward("a mean over output layers"), trace.inputs, trace.networks
        nets, d, inputs, _ = x.shape
        if inputs != 1:
            raise ArgumentError(f"A mean over output layers takes one input for each network; got {inputs}.")
        n, trunk = trace.stream().shape[1], Chain(networks.map.parts[:-1])
        eye = torch.eye(d, dtype=torch.float64, device=x.device).expand(nets, -1, -1)
        basis = torch.linalg.qr(torch.cat((x[:, :, 0].double(), eye), -1)).Q
        scaled, moved = ScalingTape(forward), TangentTape(forward)
        growth = trunk.push(torch.zeros_like(x), scaled)
        tangents = trunk.push(basis.to(x)[:, :, None], moved)
        met = torch.cat((tangents, growth), -1)[:, :, 0]
        sound = met.isfinite().flatten(1).all(1)[:, None, None]
        frame, stream = torch.linalg.qr(met.where(sound, torch.zeros_like(met)))
        others = _normal(networks.seeds, 0, n, PROBES).to(x)
        others = others - frame @ (frame.mT @ others)
        rows, own = torch.cat((frame, others), -1)[:, :, None], GradientTape(forward)
        pulled = trunk.pull(rows, own)
        changed = ScalingGradientTape(forward, own)
        trunk.pull(torch.zeros_like(rows), changed)
        rank = frame.shape[2]  # less than d + 1 in a stream of fewer numbers
        form = torch.zeros(nets, d, *2 * (rank + PROBES,), dtype=torch.float64, device=x.device)
        inputs_met = [z for layer, z in forward.met if layer.trained]
        for z, grown, a, (_, c), (_, dc) in zip(
            reversed(inputs_met), reversed(scaled.met), reversed(moved.met), own.met, changed.met
        ):
            form += _form(c, dc, a, grown, z)
        sound = sound[:, 0, 0] & pulled.isfinite().flatten(1).all(1) & form.isfinite().flatten(1).all(1)
        form = form.where(sound[:, None, None, None], torch.zeros_like(form))
        within, across = form[..., :rank, :rank], form[..., rank:, rank:].diagonal(dim1=-2, dim2=-1).mean(-1)
        return cls(networks.K, n, networks.seeds, sound, basis, stream.double(), within, across)

    def capacity_slope(self, p: float, q: float) -> Float[Tensor, " nets"]:
        """The mean of :func:`~advmf.simulate.descent.capacity_slope` at the e and t of ‖J(x)‖_{p -> q} of each output
        layer, in float64; NaN for a network that is not sound.

        The slope of one layer is -2 b(Pᵀt, Pᵀḟ; e). Of the rows of P, the part within the frame decides on J, e, t and
        ḟ. The mean over the rest is b within the frame, plus ⟨t, ḟ⟩/n times its trace outside.
        """
        layers = self.layers()
        stream = layers @ self.stream[:, None]
        J, change = stream[..., :-1] @ self.basis.mT[:, None], stream[..., -1]
        e = operator_norm(J, p, q).vector
        t = maximiser((J @ e[..., None])[..., 0], conjugate(q))
        along = (e[..., None, :] @ self.basis[:, None])[..., 0, :]
        within = (along @ self.within.flatten(2)).unflatten(2, self.within.shape[2:])
        left, right = (t[..., None, :] @ layers), (change[..., None, :] @ layers)
        values = (left @ within @ right.mT)[..., 0, 0] + (t * change).sum(-1) * (along @ self.across[..., None])[..., 0]
        mean = -2 * values.mean(1) / self.n**1.5
        return mean.where(self.sound, torch.full_like(mean, torch.nan))

    def layers(self) -> Float[Tensor, "nets draws K _"]:
        """√n times output layers in coordinates of the frame: independent N(0, 1) draws, each turned in 2 d ways, which
        do not change its law.

        The coordinates along the tangents are shifted, and the last one changes its sign. As the squares of a unit
        vector's coordinates add up to 1, the shifts take out most of the scatter of ⟨x, e⟩².
        """
        d, rank = self.basis.shape[1], self.within.shape[2]
        drawn = _normal(self.seeds, 1, -(-LAYERS // d), self.K, rank).to(self.basis)
        tangents, growth = drawn[..., :d], drawn[..., d:]
        return torch.cat([torch.cat((tangents.roll(i, -1), s * growth), -1) for i in range(d) for s in (1, -1)], 1)


def _normal(seeds: Tensor, number: int, *shape: int) -> Tensor:
    """Independent N(0, 1) numbers for each network, from its own seed."""
    found = [np.random.default_rng([seed, STREAM, number]).standard_normal(shape) for seed in seeds.tolist()]
    return torch.from_numpy(np.stack(found))


def _form(c: Tensor, dc: Tensor, a: Tensor, grown: Tensor, z: Tensor) -> Float[Tensor, "nets directions left right"]:
    """The part of one matrix, ⟨c aᵀ, c grownᵀ + dc zᵀ⟩ for every two columns of c and one of a, with sums over
    positions, in float64.

    c (nets, rows, positions, columns) are the cotangents of its output, dc their changes as all trained matrices grow,
    a (nets, inputs, positions, d) the tangents of its input z, and grown is z with its change.
    """
    positions, columns = c.shape[2:]
    left, change = c.flatten(2).double(), dc.flatten(2).double()
    one = torch.bmm(left.mT, torch.cat((left, change), 2))
    other = torch.bmm(a.flatten(2).double().mT, torch.cat((grown, z), 3).flatten(2).double())
    one = one.unflatten(1, (positions, columns)).unflatten(3, (2, positions, columns))
    other = other.unflatten(1, (positions, -1)).unflatten(3, (positions, 2))
    return torch.einsum("nslktr,nsjtk->njlr", one, other)
