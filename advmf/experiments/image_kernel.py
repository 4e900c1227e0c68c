"""Kernels of networks on images, as N -> oo, for given images.

The positions of an image have moments of their own: Q[a], the second moment at position a, and P[a, a'], the cross
moment of one image at a and another at a'. A convolution averages them over its taps, and all else acts at each
position, or pair of positions, by the rules of :mod:`advmf.theory.stream` and :mod:`advmf.theory.pair`. With the head
"flatten" only P[a, a] matters, because each position has output weights of its own; "pool" needs all pairs.

Source: R. Novak et al., Bayesian Deep Convolutional Networks with Many Channels are Gaussian Processes, ICLR 2019, and
A. Garriga-Alonso, C. E. Rasmussen and L. Aitchison, Deep Convolutional Networks as shallow Gaussian Processes, ICLR
2019, for the kernel; S. Arora et al., On Exact Computation with an Infinitely Wide Neural Net, NeurIPS 2019, for the
tangent kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from typing import Any

import numpy as np
import sympy as sp

from advmf.boundary import public, shown
from advmf.budget import allow, machine_memory
from advmf.emit.kernels import Kernel, kernel
from advmf.errors import ArgumentError, DomainError, one_of
from advmf.nets import Algebra, AvgPool, Conv, Dropout, GaussianLayer, Net, Norm, Pointwise, Residual, Sizes
from advmf.simulate.values import depth_of, values_of

KINDS = ("nngp", "ntk")
"""The kernels: of the outputs, and the tangent kernel of the trained layers."""

_HELD = 24
"""Arrays of all pairs that are held at once."""
_Q, _R = sp.symbols("Q R", positive=True)
_P = sp.Symbol("P", real=True)


@public
def image_kernel(net: Net, x: Any, y: Any = None, *, kind: str = "nngp", L: int | None = None, **values: Any) -> Any:
    """The kernel of a net on images, as N → ∞: an array (a, b) for ``x`` (a, d) and ``y`` (b, d), by default ``x``.

    Images may also have the shape of ``net.image``, with or without an axis of their own for several; an axis that
    ``x`` or ``y`` lacks is left out of the result. ``kind`` "nngp" is E f_k(x) f_k(y), and "ntk" Σ_W E⟨∂f_k(x)/∂W,
    ∂f_k(y)/∂W⟩ over the trained layers, divided by N. ``L`` is the depth, and ``values`` are those of the net's
    symbols. All blocks, paddings, strides and heads are covered.

    Raises ArgumentError for a net without images, images of another shape, and missing or unknown values; DomainError
    for images that are not finite and values outside their domain; MemoryBudgetError where the pairs take more than
    the machine has, all before any work.

    >>> import numpy as np, advmf as mf
    >>> x = np.eye(3, 64) * 8  # three images of one bright pixel
    >>> mf.image_kernel(mf.conv(1, 0), x, L=2, sigma_w=2**0.5, sigma_b=0.0).round(3)
    array([[1.   , 0.388, 0.249],
           [0.388, 1.   , 0.388],
           [0.249, 0.388, 1.   ]])
    """
    if not isinstance(net, Net) or net.image is None:
        raise ArgumentError(
            f"image_kernel takes a Net on images, such as advmf.conv(1, 0); got {net!r}. Other nets have advmf.nngp and advmf.ntk."
        )
    one_of("kind", kind, KINDS)
    depth = depth_of(net, L)
    number = Numbers({**values_of(net, {**values, "L": depth}, set(values)), "L": depth})
    (first, one), (second, other) = images_of(net, x, "x"), images_of(net, x if y is None else y, "y")
    averaged, count = any(isinstance(leaf, AvgPool) for leaf in net.leaves), len(first)
    if averaged:
        first = second = np.concatenate((first, second))
    every = averaged or net.head == "pool"
    pairs = len(first) * len(second) * prod(net.image[1:]) ** (2 if every else 1)
    what = f"The kernel of {len(first)} and {len(second)} images"
    allow(8 * _HELD * pairs, machine_memory(), what, "Take fewer at a time")
    state = _start(net, first, second, every)
    for run in net.runs:
        reading = Images(number, run.after)
        for _ in range(round(number(run.copies))):
            state = run.block.apply(reading, state)
    found = state.P if kind == "nngp" else state.T
    if every and net.head == "flatten":
        found = found.diagonal(axis1=2, axis2=3)
    found = found.reshape(len(first), len(second), -1).mean(-1)  # by the head
    if averaged:
        found = found[:count, count:]
    return found[(0 if one else slice(None), 0 if other else slice(None))]


class Numbers:
    """The values of a net's expressions, and its activations as functions of arrays."""

    def __init__(self, values: Mapping[str, float]) -> None:
        self._values = dict(values)

    def __call__(self, expr: sp.Expr) -> float:
        return float(self._put_in(expr))

    def _put_in(self, expr: sp.Expr) -> sp.Expr:
        return expr.subs({s: self._values[s.name] for s in expr.free_symbols - {_Q, _R, _P}})

    @cache  # noqa: B019
    def activation(self, phi: Pointwise) -> Activated:
        """The means of an activation."""
        product = self._put_in(phi.product(_Q, _R, _P))
        second, mean = self._put_in(phi.second(_Q)), self._put_in(phi.mean(_Q))
        return Activated(
            kernel([product, sp.diff(product, _P)], "native"), kernel([second, mean]), self(phi.phi(sp.S.Zero))
        )

    @cache  # noqa: B019
    def slopes(self, phi: Pointwise) -> tuple[Kernel, Kernel]:
        """Means of an activation and its slopes as kernels: of a pair Eφφ, Eφ'φ', Eφ''φ, Eφ''φ'' and Eφ'''φ'; of one
        Eφ² and Eφ."""
        product = self._put_in(phi.product(_Q, _R, _P))
        both = sp.diff(product, _P)
        pair = [product, both, 2 * sp.diff(product, _Q), sp.diff(both, _P), 2 * sp.diff(both, _Q)]
        return kernel(pair), kernel([self._put_in(phi.second(_Q)), self._put_in(phi.mean(_Q))])


@dataclass(frozen=True)
class Activated:
    """The means of an activation as kernels: E φ(a)φ(b) and E φ'(a)φ'(b); E φ(a)² and E φ(a); and φ(0)."""

    pair: Kernel
    single: Kernel
    at_zero: float

    def moments(self, Q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """E φ(a)² and E φ(a) of a ~ N(0, Q)."""
        second, mean = (np.broadcast_to(each, Q.shape) for each in self.single(Q=np.where(Q > 0, Q, 1.0)))
        return np.where(Q > 0, second, self.at_zero**2), np.where(Q > 0, mean, self.at_zero)

    def products(self, Q: np.ndarray, R: np.ndarray, P: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """E φ(a)φ(b) and E φ'(a)φ'(b). A position of zeros has no variance, and no tangent to change it by."""
        there = (Q > 0) & (R > 0) & np.ones(P.shape, bool)
        found = self.pair(Q=np.where(Q > 0, Q, 1.0), R=np.where(R > 0, R, 1.0), P=np.where(there, P, 0.0))
        product, slopes = (np.broadcast_to(each, P.shape) for each in found)
        apart = self.moments(Q)[1] * self.moments(R)[1]
        return np.where(there, product, apart), np.where(there, slopes, 0.0)


@dataclass(frozen=True)
class Positions:
    """Two sets of images within a network: the second moments Q (a, 1, n) and R (1, b, n) and the means at each
    position, the cross moment P and the tangent kernel T at each position, (a, b, n), or at each pair of positions,
    (a, b, n, n)."""

    Q: np.ndarray
    R: np.ndarray
    mu: np.ndarray
    nu: np.ndarray
    P: np.ndarray
    T: np.ndarray
    sizes: Sizes
    width: sp.Expr

    def outer(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Numbers at each position as they meet in P."""
        return (first, second) if self.P.ndim == 3 else (first[..., :, None], second[..., None, :])

    def times(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Products of numbers at each position, as P has them."""
        one, other = self.outer(first, second)
        return one * other


class Images(Algebra[Positions]):
    """The positions after each primitive. Gaussian layers map to the width ``after``, as a multiple of N."""

    def __init__(self, numbers: Numbers, after: sp.Expr) -> None:
        self._numbers, self._after = numbers, after

    def gaussian(self, layer: GaussianLayer, state: Positions) -> Positions:
        return self._weighted(layer, state, 1)

    def convolution(self, layer: Conv, state: Positions) -> Positions:
        sources = np.array(layer.sources(state.sizes))
        taps = sources.shape[1]

        def averaged(values: np.ndarray, axes: int) -> np.ndarray:
            padded = np.pad(values, [(0, 0)] * (values.ndim - axes) + [(0, 1)] * axes)
            if axes == 1:
                return padded[..., sources].mean(-1)
            return sum(padded[..., tap[:, None], tap[None, :]] for tap in sources.T) / taps

        axes = state.P.ndim - 2
        Q, R, P, T = averaged(state.Q, 1), averaged(state.R, 1), averaged(state.P, axes), averaged(state.T, axes)
        return self._weighted(layer, replace(state, Q=Q, R=R, P=P, T=T, sizes=layer.sizes(state.sizes)), taps)

    def _weighted(self, layer: GaussianLayer, state: Positions, taps: int) -> Positions:
        """After a layer, from the moments of what its rows meet."""
        gain, bias = self._numbers(layer.variance), self._numbers(layer.bias_variance)
        own = float(state.width) * taps * state.P if layer.trained else 0.0
        Q, R, P = (gain * each + bias for each in (state.Q, state.R, state.P))
        mu, nu, T = np.zeros_like(Q), np.zeros_like(R), gain * state.T + own
        return replace(state, Q=Q, R=R, mu=mu, nu=nu, P=P, T=T, width=self._after)

    def average(self, pool: AvgPool, state: Positions) -> Positions:
        sources = np.array(pool.windows.sources(state.sizes))
        P, T = (sum(e[..., s[:, None], t[None, :]] for s in sources.T for t in sources.T) for e in (state.P, state.T))
        P, T = P / sources.shape[1] ** 2, T / sources.shape[1] ** 2
        Q = np.einsum("aapp->ap", P)  # the images are one set
        mu = state.mu[..., sources].mean(-1)
        nu = state.nu[..., sources].mean(-1)
        return replace(state, Q=Q[:, None], R=Q[None], mu=mu, nu=nu, P=P, T=T, sizes=pool.sizes(state.sizes))

    def pointwise(self, activation: Pointwise, state: Positions) -> Positions:
        if activation.linear:
            s = self._numbers(activation.phi(sp.S.One))
            squared = {name: s**2 * getattr(state, name) for name in ("Q", "R", "P", "T")}
            return replace(state, **squared, mu=s * state.mu, nu=s * state.nu)
        phi = self._numbers.activation(activation)
        P, slopes = phi.products(*state.outer(state.Q, state.R), state.P)
        (Q, mu), (R, nu) = phi.moments(state.Q), phi.moments(state.R)
        return replace(state, Q=Q, R=R, mu=mu, nu=nu, P=P, T=slopes * state.T)

    def dropout(self, dropout: Dropout, state: Positions) -> Positions:
        gain = self._numbers(dropout.gain)
        return replace(state, **{name: gain * getattr(state, name) for name in ("Q", "R", "P", "T")})

    def norm(self, norm: Norm, state: Positions) -> Positions:
        mu, nu = (state.mu, state.nu) if norm.centred else (np.zeros_like(state.mu), np.zeros_like(state.nu))
        Q, R, P = state.Q - mu**2, state.R - nu**2, state.P - state.times(mu, nu)
        if not (Q.min() > 0 and R.min() > 0):
            raise DomainError(
                f"{norm!r} divides by the size of the stream, which is zero at a position of the images. Give the layers before it "
                "biases, or images without positions of zeros."
            )
        root, other = np.sqrt(Q), np.sqrt(R)
        size = state.times(root, other)
        means = {"mu": (state.mu - mu) / root, "nu": (state.nu - nu) / other}
        return replace(state, Q=np.ones_like(Q), R=np.ones_like(R), P=P / size, T=state.T / size, **means)

    def add(self, block: Residual, shortcut: Positions, branch: Positions, before: Positions) -> Positions:
        a, b, s = shortcut, branch, self._numbers(block.scale)
        return replace(
            a,
            Q=a.Q + s**2 * b.Q + 2 * s * a.mu * b.mu,
            R=a.R + s**2 * b.R + 2 * s * a.nu * b.nu,
            mu=a.mu + s * b.mu,
            nu=a.nu + s * b.nu,
            P=a.P + s**2 * b.P + s * (a.times(a.mu, b.nu) + a.times(b.mu, a.nu)),
            T=a.T + s**2 * b.T,
        )


def images_of(net: Net, given: Any, name: str) -> tuple[np.ndarray, bool]:
    """Images as (images, channels, positions), and whether a single one was given; ArgumentError for other shapes."""
    assert net.image is not None
    try:
        x = np.asarray(given, float)
    except (TypeError, ValueError):
        raise ArgumentError(f"{name} must be an array of real numbers; got {shown(given)}.") from None
    flat, one = (net.inputs,), x.shape in ((net.inputs,), net.image)
    if not one and x.shape[1:] not in (flat, net.image):
        raise ArgumentError(
            f"{name} must have images of shape {net.image}, or of {net.inputs} numbers, one or several; got shape {x.shape}."
        )
    if not np.isfinite(x).all():
        raise DomainError(f"{name} holds NaN or infinite values; images must be finite.")
    return x.reshape(-1, net.image[0], prod(net.image[1:])), one


def _start(net: Net, x: np.ndarray, y: np.ndarray, every: bool) -> Positions:
    """The moments of x^0 = P_in x at each position, with cross moments at each one or at every two."""
    assert net.image is not None
    channels, sizes = net.image[0], net.image[1:]
    Q, R = ((images**2).mean(1) for images in (x, y))
    to = "abpq" if every else "abp"
    P = np.einsum(f"acp,bc{to[-1]}->{to}", x, y, optimize=True) / channels
    Q, R = Q[:, None], R[None]
    return Positions(Q, R, np.zeros_like(Q), np.zeros_like(R), P, np.zeros_like(P), sizes, net.stages[0].width)
