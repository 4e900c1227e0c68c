"""The fluctuations of a network at finite width N: of its last stream, and of the norm of its Jacobian.

There are two readings of the blocks. :class:`Fluctuations` carries the first two moments of Q = |x|²/N, exactly at
every width. :class:`Perturbations` carries the variances of the random factor by which a block multiplies the output's
Gram matrix, to first order in 1/N.

Both rest on one symmetry, in networks whose moment rules hold at every width (``net.exact``). The signs of the
pre-activations are independent of the absolute values. Every matrix that reads the activations, or is added to them,
has a law that a flip of signs does not change. So J(x) has exactly the law of a product in which each activation is a
diagonal matrix of slopes, u or v with probability 1/2, independent of each other and of all weights. Biases do not
matter, and x is a direction like any other.

Sources: products of random matrices of finite width, B. Hanin and M. Nica, Commun. Math. Phys. 376, 2020 (log-normal
norms of ReLU Jacobians); the laws are derived here.
"""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from advmf.errors import DeclarationError
from advmf.nets import (
    Block,
    Dropout,
    GaussianLayer,
    Net,
    Pointwise,
    ReLULike,
    Residual,
    require_repeated,
    require_vectors,
)
from advmf.nets.algebra import Algebra
from advmf.symbols import N
from advmf.theory.propagation import STATE

C_OFF, C_DIAG = sp.symbols("c_off c_diag", nonnegative=True)


@dataclass(frozen=True)
class Spread:
    """What is known of a stream of width N: E Q and E Q² of Q = |.|²/N.

    ``law`` holds E h² and the fourth moment over h² if the coordinates are independent given their second moment h.
    ``variance`` holds E h and E h² if their law is also symmetric: N(0, h), or N(0, h) behind a mask.
    """

    Q: sp.Expr
    square: sp.Expr
    variance: tuple[sp.Expr, sp.Expr] | None = None
    law: tuple[sp.Expr, sp.Expr] | None = None

    @staticmethod
    def independent(h: sp.Expr, square: sp.Expr, fourth: sp.Expr, symmetric: bool = False) -> Spread:
        """Independent coordinates: given h, Q has the mean h and the variance (fourth - 1) h²/N."""
        variance = (h, square) if symmetric else None
        return Spread(h, square * (1 + (fourth - 1) / N), variance, (square, fourth))

    @property
    def is_gaussian(self) -> bool:
        """Whether the coordinates are independent N(0, h) given h."""
        return self.variance is not None and self.law == (self.variance[1], 3)

    @staticmethod
    def gaussian(h: sp.Expr, square: sp.Expr) -> Spread:
        """Independent N(0, h) coordinates: Q/h is chi-squared over N, so E Q² = E h² (1 + 2/N)."""
        return Spread.independent(h, square, sp.Integer(3), symmetric=True)

    def mean(self, polynomial: sp.Expr) -> sp.Expr:
        """E of a polynomial of degree two in Q, given in ``STATE.Q``."""
        by_power = sp.Poly(polynomial, STATE.Q)
        powers = (sp.S.One, self.Q, self.square)
        return sum((c * powers[k] for (k,), c in by_power.terms()), sp.S.Zero)


GIVEN = Spread(STATE.Q, STATE.Q**2)
"""A stream of which only Q is known, exactly."""


def kurtosis(block: ReLULike) -> sp.Expr:
    """E φ'(z)⁴ / (E φ'(z)²)², at least 1: the fourth moment of a slope that is u or v with probability 1/2.

    >>> import advmf as mf
    >>> from advmf.theory.finite_width import kurtosis
    >>> kurtosis(mf.ReLULike(1, 0)), kurtosis(mf.ReLULike(1, -1))
    (2, 1)
    """
    return sp.factor((block.u**4 + block.v**4) / 2 / block.alpha**2)


def _relu_like(activation: Pointwise) -> ReLULike:
    """The activation as a ReLULike, whose slopes are independent of the absolute values of its argument; raises
    DeclarationError for any other activation."""
    if not isinstance(activation, ReLULike):
        raise DeclarationError(
            f"F1 and F2 hold of activations of two slopes, ReLULike(u, v), whose slopes are random signs; {activation!r} is of another kind."
        )
    return activation


class Fluctuations(Algebra[Spread]):
    """The stream after each primitive; raises DeclarationError where its law is not exact at every width."""

    def gaussian(self, layer: GaussianLayer, state: Spread) -> Spread:
        h = layer.variance * STATE.Q + layer.bias_variance
        return Spread.gaussian(state.mean(h), state.mean(sp.expand(h**2)))

    def pointwise(self, activation: Pointwise, state: Spread) -> Spread:
        relu = _relu_like(activation)
        gain = relu.alpha
        if activation.linear:
            return self._scaled(state, gain)
        if state.variance is None or not state.is_gaussian:
            raise DeclarationError(
                f"{activation!r} acts on a stream whose coordinates are not Gaussian given its variance, so the fluctuations after it have "
                "no exact law. Put a Dense() or a Mix() before it, within the residual branch."
            )
        h, square = state.variance
        # Independent coordinates of second moment αh and fourth moment 3κα²h².
        return Spread.independent(gain * h, gain**2 * square, 3 * kurtosis(relu))

    def dropout(self, dropout: Dropout, state: Spread) -> Spread:
        if dropout.rate == 0:
            return state
        if state.law is None:
            raise DeclarationError(
                f"{dropout!r} acts on a stream whose coordinates are not independent given its variance, so the fluctuations after it have "
                "no exact law. Put it behind a layer or an activation of the residual branch."
            )
        # The mask has the second moment 1/(1 - rate) and the fourth moment 1/(1 - rate)³.
        square, fourth = state.law
        gain = dropout.gain
        return Spread.independent(gain * state.Q, gain**2 * square, gain * fourth, state.variance is not None)

    @staticmethod
    def _scaled(state: Spread, gain: sp.Expr) -> Spread:
        variance = state.variance and (gain * state.variance[0], gain**2 * state.variance[1])
        return Spread(
            gain * state.Q, gain**2 * state.square, variance, state.law and (gain**2 * state.law[0], state.law[1])
        )

    def fork(self, state: Spread) -> Spread:
        return GIVEN

    def add(self, block: Residual, shortcut: Spread, branch: Spread, before: Spread) -> Spread:
        a, b, s = shortcut, branch, block.scale
        centred, other = (b, a) if b.variance else (a, b)
        if centred.variance is None:
            raise DeclarationError(
                f"In {block!r} neither path is centred Gaussian given the stream, so the fluctuations of the sum have no exact law. "
                "End the branch or the shortcut in a Dense() or a Mix()."
            )
        # Given x the paths are independent and one is N(0, h). So ⟨x, y⟩/N has the mean 0 and the mean square hQ/N.
        cross = 4 * s**2 * centred.variance[0] * other.Q / N
        square = a.square + 2 * s**2 * a.Q * b.Q + s**4 * b.square + cross
        Q, Q2 = before.mean(sp.expand(a.Q + s**2 * b.Q)), before.mean(sp.expand(square))
        if a.variance is None or b.variance is None:
            return Spread(Q, Q2)
        h = a.variance[0] + s**2 * b.variance[0]
        h2 = a.variance[1] + 2 * s**2 * a.variance[0] * b.variance[0] + s**4 * b.variance[1]
        variance = before.mean(sp.expand(h)), before.mean(sp.expand(h2))
        law = (variance[1], sp.Integer(3)) if a.is_gaussian and b.is_gaussian else None
        return Spread(Q, Q2, variance, law)


def fluctuate(block: Block, stream: Spread) -> Spread:
    """The stream after ``block``."""
    return block.apply(Fluctuations(), stream)


@dataclass(frozen=True)
class Perturbation:
    """A block's random factor: it changes S = A A^T of the output Jacobian A to gain * S^{1/2} (1 + E) S^{1/2}.

    E is symmetric, of mean zero and invariant under rotations; to first order Var E_ij = off/N for i != j, Var E_ii =
    diag/N.
    """

    gain: sp.Expr
    off: sp.Expr
    diag: sp.Expr

    @staticmethod
    def product(factors: tuple[Perturbation, ...]) -> Perturbation:
        """The factor of blocks in series."""
        gain = sp.Mul(*(f.gain for f in factors))
        return Perturbation(gain, sp.Add(*(f.off for f in factors)), sp.Add(*(f.diag for f in factors)))


class Perturbations(Algebra[tuple[Perturbation, ...]]):
    """The random factors of the primitives so far."""

    def gaussian(self, layer: GaussianLayer, state: tuple[Perturbation, ...]) -> tuple[Perturbation, ...]:
        # A V with A A^T = S is S^{1/2} times a Gaussian matrix: 1 + E is a Wishart matrix over its N degrees of
        # freedom.
        return (*state, Perturbation(layer.variance, sp.S.One, sp.Integer(2)))

    def pointwise(self, activation: Pointwise, state: tuple[Perturbation, ...]) -> tuple[Perturbation, ...]:
        # A = S^{1/2} U, U with entries N(0, 1/N): E_ij = sum_k U_ik U_jk (φ'_k²/α - 1), and E U_ik⁴ = 3/N².
        relu = _relu_like(activation)
        spread = kurtosis(relu) - 1
        return (*state, Perturbation(relu.alpha, spread, 3 * spread))

    def dropout(self, dropout: Dropout, state: tuple[Perturbation, ...]) -> tuple[Perturbation, ...]:
        # A mask and an activation next to each other act on the same coordinates: their variances do not add.
        raise DeclarationError(
            f"{dropout!r} drops coordinates, and what a mask adds to the fluctuations of J(x) is not carried. F2 is about nets without it."
        )

    def fork(self, state: tuple[Perturbation, ...]) -> tuple[Perturbation, ...]:
        return ()

    def add(
        self,
        block: Residual,
        shortcut: tuple[Perturbation, ...],
        branch: tuple[Perturbation, ...],
        before: tuple[Perturbation, ...],
    ) -> tuple[Perturbation, ...]:
        a, b, s2 = Perturbation.product(shortcut), Perturbation.product(branch), block.scale**2
        gain = a.gain + s2 * b.gain
        # The cross term X + X^T of the independent paths has Var X_ij = s² a b/N.
        off, diag = (
            a.gain**2 * of_a + s2**2 * b.gain**2 * of_b + cross * s2 * a.gain * b.gain
            for of_a, of_b, cross in ((a.off, b.off, 2), (a.diag, b.diag, 4))
        )
        return (*before, Perturbation(gain, sp.factor(off / gain**2), sp.factor(diag / gain**2)))


def perturb(block: Block) -> Perturbation:
    """The random factor of ``block``."""
    return Perturbation.product(block.apply(Perturbations(), ()))


def drops(net: Net) -> bool:
    """Whether the net drops coordinates; F2 does not cover the fluctuations that masks add."""
    return any(isinstance(leaf, Dropout) for leaf in net.leaves)


def require_exact(net: Net) -> None:
    """Raise DeclarationError for a net whose moment rules hold only as N -> oo, for stages and for nets on images."""
    require_repeated(net)
    require_vectors(net, "How networks of a finite width N fluctuate")
    if not net.exact:
        raise DeclarationError(
            f"{net.block!r}: its second moments already have an error of order 1/N (net.exact is False: an activation acts on a "
            "stream that is not symmetric, or a residual branch has a mean), so the fluctuations at width N do not follow. End each "
            "residual branch in a Dense() or a Mix(), and begin it with one, as mf.residual() does."
        )
