"""How a small change of a given image changes the outputs: Σ(x), the covariance of a row of J(x) as N -> oo.

Let ż_i[a] be the derivative by pixel i of a coordinate at position a. As N -> oo all z[a] and ż_i[a] of a layer are
jointly Gaussian, with P[a, b] = E z[a] z[b], C_i[a, b] = E ż_i[a] z[b] and V_ij[a, b] = E ż_i[a] ż_j[b]. A convolution
averages all three over its taps. After an activation, with D_i[a] = C_i[a, a] and by Gaussian integration by parts,

    C_i[a, b] -> D_i[a] E φ''(a)φ(b) + C_i[a, b] E φ'(a)φ'(b),
    V_ij[a, b] -> V_ij[a, b] E φ'(a)φ'(b) + D_i[a] C_j[b, a] E φ'''(a)φ'(b) + C_i[a, b] D_j[b] E φ'(a)φ'''(b)
                  + (D_i[a] D_j[b] + C_i[a, b] C_j[b, a]) E φ''(a)φ''(b).

Where two positions carry multiples of one number z, as z and ρz, the last four terms are D_i[a] C_j[b, a] E h''(z) for
h(z) = φ'(z)φ'(ρz). For an activation that scales with its input they are infinite one by one, but zero together, as h
is constant on either side of zero and E h(z) is the same for all variances.

Σ_ij is a weighted sum of V_ij[a, b] over the positions at the end: only those with a = b for the head "flatten", and
all for "pool". V itself would have d² numbers for each pair of positions. So the weights are carried back instead, as V
is linear in itself, and what each activation adds to Σ is a product of small matrices.

Source: ours; Σ(x) = ∂_x ∂_y 𝒦(x, y) at y = x (:mod:`advmf.theory.metric`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sympy as sp

from advmf.boundary import public
from advmf.budget import allow, machine_memory
from advmf.errors import ArgumentError, DeclarationError, DomainError
from advmf.experiments.image_kernel import Numbers, images_of
from advmf.experiments.image_norms import ImageMetric
from advmf.functions import PairMean
from advmf.functions.curves import smooth
from advmf.nets import Algebra, AvgPool, Conv, Dropout, GaussianLayer, Net, Norm, Pointwise, Residual, Sizes
from advmf.simulate.values import depth_of, values_of
from advmf.symbols import z
from advmf.theory.profile import has_profile, profile

_HELD, _KEPT = 6, 4
"""Arrays of d numbers for each pair of positions that an activation holds, and that a block keeps for the way back."""
SAME = 1e-10
"""Two positions carry multiples of one number where 1 - c² is smaller, for their correlation c."""


Back = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From the weights of V[a, b] after a block: those before it, and what the block adds to Σ."""


def _nothing(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return weights, np.zeros(())


@dataclass(frozen=True)
class Joint:
    """The moments P (n, n) and C (d, n, n), and the means mu (n,), of an image's positions, of which there are
    ``sizes``; and the weights' way ``back`` to the start of the block."""

    P: np.ndarray
    C: np.ndarray
    mu: np.ndarray
    sizes: Sizes
    back: Back

    @property
    def own(self) -> np.ndarray:
        """D_i[a] = C_i[a, a], (d, n)."""
        return self.C.diagonal(axis1=1, axis2=2)

    def then(self, factor: Any, adds: Callable[[np.ndarray], np.ndarray] | None = None, **new: Any) -> Joint:
        """The moments ``new`` after a map that multiplies V by ``factor`` and ``adds`` to Σ for given weights."""

        def back(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            before, more = self.back(weights * factor)
            return before, more if adds is None else more + adds(weights)

        return replace(self, back=back, **new)


class Tangents(Algebra[Joint]):
    """The moments after each primitive."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers

    def gaussian(self, layer: GaussianLayer, state: Joint) -> Joint:
        gain, bias = self._numbers(layer.variance), self._numbers(layer.bias_variance)
        return state.then(gain, P=gain * state.P + bias, C=gain * state.C, mu=np.zeros_like(state.mu))

    def convolution(self, layer: Conv, state: Joint) -> Joint:
        sources = np.array(layer.sources(state.sizes))
        met = [(tap, tap) for tap in sources.T]
        return self.gaussian(layer, _averaged(state, met, layer.sizes(state.sizes), np.zeros(len(sources))))

    def average(self, pool: AvgPool, state: Joint) -> Joint:
        sources = np.array(pool.windows.sources(state.sizes))
        met = [(s, t) for s in sources.T for t in sources.T]
        return _averaged(state, met, pool.sizes(state.sizes), state.mu[sources].mean(1))

    def pointwise(self, activation: Pointwise, state: Joint) -> Joint:
        if activation.linear:
            s = self._numbers(activation.phi(sp.S.One))
            return state.then(s**2, P=s**2 * state.P, C=s**2 * state.C, mu=s * state.mu)
        _require_slopes(activation)
        Q, D, C = _sizes_of(state, activation), state.own, state.C
        size = np.sqrt(np.outer(Q, Q))
        P = np.clip(state.P, -size, size)
        pair, single = self._numbers.slopes(activation)
        found = pair(Q=Q[:, None], R=Q[None, :], P=P)
        product, slopes, left, kinks, ends = (np.broadcast_to(e, size.shape) for e in found)
        if activation.homogeneous:
            apart = 1 - (P / size) ** 2 >= SAME
            kinks, ends = np.where(apart, kinks, 0.0), np.where(apart, ends, 0.0)

        def adds(weights: np.ndarray) -> np.ndarray:
            one = D @ np.einsum("ab,jba->aj", weights * ends, C, optimize=True)
            crossed = (C * (weights * kinks)).reshape(len(C), -1) @ C.swapaxes(1, 2).reshape(len(C), -1).T
            return one + one.T + D @ (weights * kinks) @ D.T + crossed

        mean = np.broadcast_to(single(Q=Q)[1], Q.shape)
        return state.then(slopes, adds, P=product, C=D[:, :, None] * left + C * slopes, mu=mean)

    def dropout(self, dropout: Dropout, state: Joint) -> Joint:
        gain = self._numbers(dropout.gain)
        return state.then(gain, P=gain * state.P, C=gain * state.C)

    def norm(self, norm: Norm, state: Joint) -> Joint:
        if norm.centred and np.abs(state.mu).max() > 0:
            raise DeclarationError(f"The metric of an image is not known after {norm!r} of a stream that has a mean.")
        Q, D, C = _sizes_of(state, norm), state.own, state.C
        size = np.sqrt(np.outer(Q, Q))

        def adds(weights: np.ndarray) -> np.ndarray:
            scaled = weights / size
            one = D @ np.einsum("ab,jba->aj", scaled / Q[:, None], C, optimize=True)
            return D @ (scaled * state.P / np.outer(Q, Q)) @ D.T - one - one.T

        moved = (C - state.P * (D / Q)[:, :, None]) / size
        return state.then(1 / size, adds, P=state.P / size, C=moved, mu=state.mu / np.sqrt(Q))

    def add(self, block: Residual, shortcut: Joint, branch: Joint, before: Joint) -> Joint:
        s = self._numbers(block.scale)
        if np.abs(shortcut.mu * branch.mu).max() > 0:
            raise DeclarationError(
                f"{block!r} carries a mean through its sum, and the metric of an image is not known for it. Give the branch a Mix() at its end."
            )

        def back(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            (one, first), (other, second) = shortcut.back(weights), branch.back(s**2 * weights)
            return one + other, first + second

        P, C = shortcut.P + s**2 * branch.P, shortcut.C + s**2 * branch.C
        return replace(shortcut, P=P, C=C, mu=shortcut.mu + s * branch.mu, back=back)


def _require_slopes(activation: Pointwise) -> None:
    """Raise DeclarationError for a kink, unless the activation scales with its input and its pair kernel is known in
    closed form. Otherwise φ'' has parts that no quadrature finds."""
    if smooth(sp.Lambda(z, activation.phi(z))):
        return
    if not activation.homogeneous or activation.product(*sp.symbols("Q R P", positive=True)).has(PairMean):
        raise DeclarationError(
            f"The metric of an image is not known for {activation!r}, which has kinks. Take ReLULike, or an activation that is smooth."
        )


def _sizes_of(state: Joint, owner: object) -> np.ndarray:
    """Q at each position; raises DomainError where the stream is zero."""
    if not (Q := state.P.diagonal()).min() > 0:
        raise DomainError(
            f"The stream is zero at a position of the image, where {owner!r} has no slope. Give the layers biases, or take an image without "
            "such patches of zeros."
        )
    return Q


def _averaged(state: Joint, met: list[tuple[np.ndarray, np.ndarray]], sizes: Sizes, mu: np.ndarray) -> Joint:
    """Moments of the positions after a map, averaged over the pairs of positions that it meets; the number of positions
    stands for one beyond an edge."""
    n, share = len(state.P), 1 / len(met)

    def over(values: np.ndarray) -> np.ndarray:
        padded = np.pad(values, [(0, 0)] * (values.ndim - 2) + [(0, 1)] * 2)
        total = np.zeros((*values.shape[:-2], len(mu), len(mu)))
        for s, t in met:
            total += padded[..., s[:, None], t[None, :]]
        return share * total

    def back(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        before = np.zeros((n + 1, n + 1))
        for s, t in met:
            np.add.at(before, (s[:, None], t[None, :]), share * weights)
        return state.back(before[:n, :n])

    return Joint(over(state.P), over(state.C), mu, sizes, back)


@public
def image_metric(net: Net, x: Any, *, L: int | None = None, **values: Any) -> ImageMetric:
    """Σ(x), the covariance of a row of J(x) as N -> oo, at a given image: ∂_x ∂_y of the kernel at y = x.

    ``x`` has the shape of ``net.image``, or d numbers. ``L`` is the depth, and ``values`` are those of the net's
    symbols. As ε -> 0 the adversarial loss at x is ε‖J(x)‖_{p -> q}, whose rows are independent N(0, Σ(x)): see
    :meth:`ImageMetric.beta` and :meth:`ImageMetric.sampled`. All this is at x, to leading order in ε; for a finite ball
    it is no bound.

    Where every pixel has the same Σ at all images, or one given by :func:`advmf.profile`, no matrix is computed.
    Otherwise it takes memory in proportion to L d positions².

    Raises ArgumentError for a net without images, an image of another shape, and missing or unknown values;
    DeclarationError for a net that carries a mean through its sums, and for an activation with kinks other than
    ReLULike, such as hard_tanh; DomainError for an image that is not finite, and for one with a position at which the
    stream is zero, where an activation has no slope; MemoryBudgetError where the numbers take more than the machine
    has.

    >>> import numpy as np, advmf as mf
    >>> x = np.random.default_rng(0).normal(size=(1, 6))
    >>> net = mf.conv(1, 0, image=(1, 6), head="pool")
    >>> found = mf.image_metric(net, x, L=1, sigma_w=2**0.5, sigma_b=0.3)
    >>> found.kind, bool((np.linalg.eigvalsh(found.matrix) <= 1 / 6 + 1e-12).all())  # at most omega^L/d
    ('dense', True)
    """
    if not isinstance(net, Net) or net.image is None:
        raise ArgumentError(
            f"image_metric takes a Net on images, such as advmf.conv(1, 0); got {net!r}. Other nets have advmf.metric."
        )
    depth = depth_of(net, L)
    given = {**values_of(net, {**values, "L": depth}, set(values)), "L": depth}
    number = Numbers(given)
    images, one = images_of(net, x, "x")
    if not one and len(images) != 1:
        raise ArgumentError(f"image_metric takes one image; got {len(images)}. Call it for each.")
    if has_profile(net) and (found := profile(net)).exact:
        names = {s.name for part in found.code for s in part.free_symbols}
        shares = found.at(**{name: float(given[name]) for name in names})
        return ImageMetric(np.tile(shares.ravel(), net.image[0]) / net.inputs)
    return computed(net, images[0], number)


def computed(net: Net, x: np.ndarray, number: Numbers) -> ImageMetric:
    """By the rules of the module; x is (channels, positions)."""
    assert net.image is not None
    (channels, n), d = x.shape, x.size
    blocks = sum(round(number(run.copies)) for run in net.runs)
    what = f"The metric of an image of {d} numbers at {n} positions, of {blocks} blocks,"
    allow(8 * (_HELD + _KEPT * blocks) * d * n * n, machine_memory(), what, "Take smaller images, or lower L")
    P = x.T @ x / channels
    at = np.repeat(np.eye(n)[None], channels, 0)  # ż_i[a] of the pixel (c, m) is at position m
    C = np.einsum("cma,cb->cmab", at, x).reshape(d, n, n) / channels
    state, backs = Joint(P, C, np.zeros(n), net.image[1:], _nothing), []
    for run in net.runs:
        for _ in range(round(number(run.copies))):
            state = run.block.apply(Tangents(number), replace(state, back=_nothing))
            backs.append(state.back)
    n_end = len(state.P)
    weights = np.eye(n_end) / n_end if net.head == "flatten" else np.full((n_end, n_end), 1 / n_end**2)
    total = np.zeros((d, d))
    for back in reversed(backs):
        weights, more = back(weights)
        total += more
    total = total.reshape(channels, n, channels, n)
    for c in range(channels):
        total[c, :, c] += weights / channels
    matrix = total.reshape(d, d)
    return ImageMetric(matrix.diagonal().copy(), (matrix + matrix.T) / 2)
