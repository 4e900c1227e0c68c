"""The mean-field rules: how each primitive block maps the moments of a stream and of its tangents.

Per coordinate a stream x has the second moment Q = E|x|²/N and the mean μ. A tangent is a direction of change ẋ of the
stream, with C = E⟨x, ẋ⟩/N, V = E|ẋ|²/N and a mean τ. Where an activation acts, x and ẋ are jointly Gaussian: ẋ is (C/Q)
x plus a rest that is independent of x. So the five numbers after a map depend on the five before it alone:

=========================== =============== ========================= ================================================
map                         Q, μ            C, τ                      V
=========================== =============== ========================= ================================================
Gaussian layer              σ²Q + σ_b², 0   σ²C, 0                    σ²V
activation φ, on z ~ N(0,Q) E φ², E φ       (C/Q) E zφφ', (C/Q) E zφ' (C/Q)² E z²φ'² + (V - C²/Q) E φ'²
dropout, rate r             Q/(1 - r), μ    C/(1 - r), τ              V/(1 - r)
rms norm                    1, μ/√Q         0, τ/√Q - μC/Q^{3/2}      V/Q - C²/Q²
layer norm                  1, 0            0, 0                      the same, of Q - μ², C - μτ, V - τ²
sum, scale s                Q + s²Q' + 2sμμ' as for Q, with μτ' + τμ' V + s²V' + 2sττ'
=========================== =============== ========================= ================================================

On images the numbers are averages over all positions, and C is an inner product over all of them. A convolution whose
input positions all have the same weight changes an average as a Gaussian layer does. What is not affine in the five
numbers does not pass from positions to their averages; :class:`advmf.theory.recurrence.Recurrence` refuses that.

Several quantities follow from these rules and differ only in the tangent at the input. A direction orthogonal to x (C =
0, V = 1) gives the Jacobian factor, :class:`Offset` the part that is not linear in the input, and :class:`Scaled` the
capacity.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import sympy as sp

from advmf.nets import Algebra, Conv, Dropout, GaussianLayer, Norm, Pointwise, Residual


@dataclass(frozen=True)
class Tangent:
    """A direction of change, by its moments; see the module's table."""

    C: sp.Expr
    V: sp.Expr
    tau: sp.Expr

    def weighted(self, layer: GaussianLayer, Q: sp.Expr) -> Self:
        """After a Gaussian layer."""
        return replace(self, C=layer.variance * self.C, V=layer.variance * self.V, tau=sp.S.Zero)

    def scaled(self, s: sp.Expr) -> Self:
        """The tangent times a number, as after a linear activation."""
        return replace(self, C=s**2 * self.C, V=s**2 * self.V, tau=s * self.tau)

    def activated(self, phi: Pointwise, Q: sp.Expr) -> Self:
        """After an activation on N(0, Q)."""
        gain = phi.gain(Q)
        if self.C == 0:
            return replace(self, V=gain * self.V, tau=sp.S.Zero)
        along = self.C / Q
        if phi.homogeneous:  # φ'(z)z = φ(z), and E φ'(z)²w² = α E w² for all w that are jointly Gaussian with z
            return replace(self, C=gain * self.C, V=gain * self.V, tau=along * phi.tilt(Q))
        rest = self.V - self.C**2 / Q
        C, V = along * phi.overlap(Q), along**2 * phi.stretch(Q) + rest * gain
        return replace(self, C=C, V=V, tau=along * phi.tilt(Q))

    def dropped(self, dropout: Dropout) -> Self:
        """After a mask that is independent of stream and tangent, and multiplies both."""
        return replace(self, C=dropout.gain * self.C, V=dropout.gain * self.V)

    def normalised(self, norm: Norm, Q: sp.Expr, mu: sp.Expr) -> Self:
        """After a norm of a stream with these moments."""
        if not norm.centred:
            root = sp.sqrt(Q)
            V, tau = self.V / Q - (self.C / Q) ** 2, self.tau / root - mu * self.C / (Q * root)
            return replace(self, C=sp.S.Zero, V=V, tau=tau)
        rest, C, V = Q - mu**2, self.C - mu * self.tau, self.V - self.tau**2
        return replace(self, C=sp.S.Zero, V=V / rest - (C / rest) ** 2, tau=sp.S.Zero)


class Offset(Tangent):
    """The part of the stream that is not linear in the input, a = x - (∂x/∂x⁰)x⁰: C = E⟨x, a⟩/N and V = E|a|²/N. The
    rest, x - a, is a tangent."""

    def weighted(self, layer: GaussianLayer, Q: sp.Expr) -> Self:
        bias, after = layer.bias_variance, super().weighted(layer, Q)
        return replace(after, C=after.C + bias, V=after.V + bias)

    def activated(self, phi: Pointwise, Q: sp.Expr) -> Self:
        if phi.homogeneous:
            return super().activated(phi, Q)
        after = self._rest(Q, sp.S.Zero).activated(phi, Q)
        return self._left(phi.second(Q), phi.mean(Q), after)

    def normalised(self, norm: Norm, Q: sp.Expr, mu: sp.Expr) -> Self:
        mean = sp.S.Zero if norm.centred else mu / sp.sqrt(Q)
        return self._left(sp.S.One, mean, self._rest(Q, mu).normalised(norm, Q, mu))

    def _rest(self, Q: sp.Expr, mu: sp.Expr) -> Tangent:
        """The tangent along the input, x - a."""
        return Tangent(Q - self.C, Q - 2 * self.C + self.V, mu - self.tau)

    def _left(self, Q: sp.Expr, mu: sp.Expr, tangent: Tangent) -> Self:
        """The offset of a stream with these moments, given its tangent along the input."""
        return replace(self, C=Q - tangent.C, V=Q - 2 * tangent.C + tangent.V, tau=mu - tangent.tau)


class Scaled(Tangent):
    """The derivative with respect to a common factor of all trained matrices, but not of the biases."""

    def weighted(self, layer: GaussianLayer, Q: sp.Expr) -> Self:
        own = replace(self, C=self.C + Q, V=self.V + 2 * self.C + Q) if layer.trained else self
        return super(Scaled, own).weighted(layer, Q)


@dataclass(frozen=True)
class Stream:
    """The second moment and the mean of a stream, and its tangents."""

    Q: sp.Expr
    mu: sp.Expr
    tangents: tuple[Tangent, ...] = ()


class Streams(Algebra[Stream]):
    """The stream after each primitive."""

    def gaussian(self, layer: GaussianLayer, state: Stream) -> Stream:
        tangents = tuple(each.weighted(layer, state.Q) for each in state.tangents)
        return Stream(layer.variance * state.Q + layer.bias_variance, sp.S.Zero, tangents)

    def convolution(self, layer: Conv, state: Stream) -> Stream:
        return self.gaussian(layer, state)

    def pointwise(self, activation: Pointwise, state: Stream) -> Stream:
        Q = state.Q
        if activation.linear:
            s = activation.phi(sp.S.One)
            return Stream(s**2 * Q, s * state.mu, tuple(each.scaled(s) for each in state.tangents))
        tangents = tuple(each.activated(activation, Q) for each in state.tangents)
        return Stream(activation.second(Q), activation.mean(Q), tangents)

    def dropout(self, dropout: Dropout, state: Stream) -> Stream:
        tangents = tuple(each.dropped(dropout) for each in state.tangents)
        return Stream(dropout.gain * state.Q, state.mu, tangents)

    def norm(self, norm: Norm, state: Stream) -> Stream:
        tangents = tuple(each.normalised(norm, state.Q, state.mu) for each in state.tangents)
        mean = sp.S.Zero if norm.centred else state.mu / sp.sqrt(state.Q)
        return Stream(sp.S.One, mean, tangents)

    def add(self, block: Residual, shortcut: Stream, branch: Stream, before: Stream) -> Stream:
        # The paths are uncorrelated apart from their means (advmf.nets.Coordinates refuses other nets).
        a, b, s = shortcut, branch, block.scale
        tangents = tuple(
            replace(
                p,
                C=p.C + s**2 * q.C + s * (a.mu * q.tau + p.tau * b.mu),
                V=p.V + s**2 * q.V + 2 * s * p.tau * q.tau,
                tau=p.tau + s * q.tau,
            )
            for p, q in zip(a.tangents, b.tangents)
        )
        return Stream(a.Q + s**2 * b.Q + 2 * s * a.mu * b.mu, a.mu + s * b.mu, tangents)
