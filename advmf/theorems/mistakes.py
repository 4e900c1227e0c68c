"""Plausible mistakes about networks, for wrong versions of claims: activations with some means replaced by wrong ones,
and convolutions with a wrong number of taps."""

from __future__ import annotations

from dataclasses import dataclass, replace

import sympy as sp

from advmf.functions import NormalMean
from advmf.nets import Block, Conv, Net, Pointwise, Rebuilt, rebuilt
from advmf.symbols import x_sq, z


@dataclass(frozen=True)
class Mistaken(Pointwise):
    """An activation with the means of ``inner``, except those that a subclass gets wrong."""

    inner: Pointwise

    def phi(self, z: sp.Expr) -> sp.Expr:
        return self.inner.phi(z)

    @property
    def homogeneous(self) -> bool:
        return self.inner.homogeneous

    def mean(self, Q: sp.Expr) -> sp.Expr:
        return self.inner.mean(Q)

    def second(self, Q: sp.Expr) -> sp.Expr:
        return self.inner.second(Q)

    def gain(self, Q: sp.Expr) -> sp.Expr:
        return self.inner.gain(Q)

    def tilt(self, Q: sp.Expr) -> sp.Expr:
        return self.inner.tilt(Q)

    def overlap(self, Q: sp.Expr) -> sp.Expr:
        return self.inner.overlap(Q)

    def stretch(self, Q: sp.Expr) -> sp.Expr:
        return self.inner.stretch(Q)

    def product(self, Q: sp.Expr, R: sp.Expr, P: sp.Expr) -> sp.Expr:
        return self.inner.product(Q, R, P)


@dataclass(frozen=True)
class SecondForGain(Mistaken):
    """E phi^2/Q in place of E phi'^2, which is right where phi is homogeneous."""

    def gain(self, Q: sp.Expr) -> sp.Expr:
        return self.inner.second(Q) / Q


@dataclass(frozen=True)
class FirstForGain(Mistaken):
    """E phi'^2 at the second moment of the input in place of that of the layer."""

    def gain(self, Q: sp.Expr) -> sp.Expr:
        return self.inner.gain(x_sq)


WITHOUT_TAIL = "the pair kernel without its tail"
"""What a claim is called that comes of :class:`WithoutTail`."""


@dataclass(frozen=True)
class WithoutTail(Mistaken):
    """The Hermite series of the pair kernel E phi(a)phi(b) is cut behind its linear term: what is left is
    E phi(a) E phi(b) + P E phi'(a) E phi'(b).

    The other means follow from the kernel by differentiation, as by Price's theorem, and lose their tails too: E phi'^2
    becomes (E phi')^2. The means of phi itself have none.
    """

    @property
    def homogeneous(self) -> bool:
        return False

    def second(self, Q: sp.Expr) -> sp.Expr:
        return self.product(Q, Q, Q)

    def gain(self, Q: sp.Expr) -> sp.Expr:
        return self._slope(Q) ** 2

    def overlap(self, Q: sp.Expr) -> sp.Expr:
        return self.inner.tilt(Q) * self.inner.mean(Q) + self._bent(Q) * self._slope(Q)

    def stretch(self, Q: sp.Expr) -> sp.Expr:
        return self.inner.tilt(Q) ** 2 + self._bent(Q) ** 2 / Q

    def product(self, Q: sp.Expr, R: sp.Expr, P: sp.Expr) -> sp.Expr:
        return self.inner.mean(Q) * self.inner.mean(R) + P * self._slope(Q) * self._slope(R)

    def _slope(self, Q: sp.Expr) -> sp.Expr:
        """E phi'(a)."""
        return NormalMean(sp.Lambda(z, self.inner.slope), Q)

    def _bent(self, Q: sp.Expr) -> sp.Expr:
        """E a² phi'(a)."""
        return NormalMean(sp.Lambda(z, z**2 * self.inner.slope), Q)


class _Mistakes(Rebuilt):
    def __init__(self, kind: type[Mistaken]) -> None:
        self.kind = kind

    def pointwise(self, activation: Pointwise, state: tuple[Block, ...]) -> tuple[Block, ...]:
        return (*state, self.kind(activation))


def mistaken(net: Net, kind: type[Mistaken]) -> Net:
    """The network with the wrong means in every activation.

    >>> import advmf as mf
    >>> from advmf.theorems.mistakes import SecondForGain, mistaken
    >>> mistaken(mf.vanilla(1, 0), SecondForGain).activations
    (SecondForGain(inner=ReLULike(u=1, v=0)),)
    """
    return rebuilt(net, _Mistakes(kind))


class _TapTooFew(Rebuilt):
    def __init__(self, axes: int) -> None:
        self._axes = axes

    def convolution(self, layer: Conv, state: tuple[Block, ...]) -> tuple[Block, ...]:
        taps = sp.Integer(layer.taps(self._axes))
        return (*state, replace(layer, sigma_w=layer.sigma_w * sp.sqrt(taps / max(taps - 1, 1))))


def tap_too_few(net: Net) -> Net:
    """The network with weights of variance sigma_w**2/((k - 1) N) in place of sigma_w**2/(k N), for k taps.

    >>> import advmf as mf
    >>> from advmf.theorems.mistakes import tap_too_few
    >>> mf.omega(tap_too_few(mf.conv(1, 0)))
    9*sigma_w**2/16
    """
    return rebuilt(net, _TapTooFew(len(net.image or ()) - 1))
