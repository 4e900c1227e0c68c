"""The metric of a network: how a small change of the input changes the outputs, and its largest value over a ball.

As N -> oo the outputs are independent Gaussian processes with one kernel 𝒦(x, x') (B. Hanin, arXiv:2107.01562; for
general architectures G. Yang, Tensor Programs I, arXiv:1910.12478). The rows of J(x) are then N(0, Σ(x)) with Σ(x) =
∂_x ∂_x' 𝒦 at x' = x. All nets here are isotropic apart from the direction of x itself, so that

    Σ(x) = [across (I - x̂x̂ᵀ) + along x̂x̂ᵀ]/d:

Here across is the second moment V of the tangent that starts orthogonal to the input, with unit second moment and C =
0. Along is that of x̂, with C = |x|/√d (:mod:`advmf.theory.stream` defines V and C).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import sympy as sp

from advmf.boundary import public
from advmf.functions import Supremum
from advmf.nets import Net, Run
from advmf.notebook import Shown
from advmf.symbols import d, eps, x_sq
from advmf.theory.propagation import STATE, grows_alike, moments
from advmf.theory.recurrence import Recurrence
from advmf.theory.spike import carries_mean, spike
from advmf.theory.stream import Stream, Streams, Tangent

LEAST = sp.Rational(1, 10**6)
"""The shortest input, relative to x, at which the metric counts if the ball holds zero. At zero itself x has no
direction."""

RADIUS = sp.Symbol("r", positive=True)
"""The size |x + η|/√d of the inputs in a ball."""


@public
@dataclass(frozen=True)
class Metric(Shown):
    """The eigenvalues of Σ(x) times d: ``across`` the input (d - 1 of them) and ``along`` it (one), as functions of
    ``x_sq`` and the net's letters."""

    across: sp.Expr
    along: sp.Expr

    @property
    def isotropic(self) -> bool:
        """Whether both eigenvalues are equal."""
        return bool(self.across == self.along)

    @property
    def largest(self) -> sp.Expr:
        """The larger eigenvalue times d."""
        return self.across if self.isotropic else sp.Max(self.across, self.along, evaluate=False)


@public
@cache
def metric(net: Net) -> Metric:
    """Σ(x), the covariance of a row of J(x) as N -> oo, at an input with |x|²/d = ``x_sq``.

    A closed form where one is known, else an exact recursion. Source: ours, from the tangents of the stream.

    >>> import advmf as mf
    >>> mf.metric(mf.residual(u=1, v=0))
    Metric(across=(sigma_w**2/2 + 1)**L, along=(sigma_w**2/2 + 1)**L)
    >>> at = dict(L=10, sigma_w=1, sigma_b=0, x_sq=1)
    >>> along, across = (mf.kernel(e)(**at) for e in (mf.metric(mf.plain_residual(1, 0)).along,
    ...                                               mf.metric(mf.plain_residual(1, 0)).across))
    >>> round(float(along)), round(float(across), 1)
    (1024, 57.7)
    """
    across = moments(net).j
    if grows_alike(net) and not carries_mean(net):
        return Metric(across, across)
    start = {STATE.Q: x_sq, STATE.mu: sp.S.Zero, _C: sp.sqrt(x_sq), _V: sp.S.One, _TAU: sp.S.Zero}

    def updates(run: Run) -> dict[sp.Symbol, sp.Expr]:
        after = run.block.apply(Streams(), Stream(STATE.Q, STATE.mu, (Tangent(_C, _V, _TAU),)))
        (tangent,) = after.tangents
        return dict(zip(start, (after.Q, after.mu, tangent.C, tangent.V, tangent.tau)))

    return Metric(across, Recurrence.of(net, start, updates).recursion(_V))


_C, _V, _TAU = sp.Symbol("C", real=True), sp.Symbol("V", positive=True), sp.Symbol("tau", real=True)


@cache
def largest(net: Net, p: sp.Expr) -> sp.Expr:
    """Λ, d times a bound on the eigenvalues of Σ(x + η) over the ball ‖η‖_p <= eps.

    It is ω^L where d Σ = ω^L at every input. Where activations are homogeneous and a mean is carried, it is the bound
    for all inputs (:func:`~advmf.theory.spike.spike`). Else it is the supremum over the sizes of the inputs that the
    ball reaches, from |x| - ε d^{(1/2 - 1/p)₊} to |x| + ε d^{(1/2 - 1/p)₊}.

    >>> import advmf as mf
    >>> from advmf.theory.metric import largest
    >>> f = mf.kernel(largest(mf.vanilla(phi="tanh"), 2))
    >>> f(L=5, sigma_w=1.5, sigma_b=0.3, x_sq=1, d=64, eps=[0.001, 0.1, 2]).round(4)
    array([0.7591, 0.7706, 1.0751])
    """
    if grows_alike(net):
        return spike(net) if carries_mean(net) else moments(net).j
    size, reach = sp.sqrt(x_sq), eps * d ** sp.Max(0, sp.Rational(1, 2) - 1 / p) / sp.sqrt(d)
    ends = (sp.Max(size - reach, LEAST * size), size + reach)
    found = metric(net)
    over_ball = [Supremum(e.subs(x_sq, RADIUS**2), RADIUS, *ends) for e in (found.across, found.along)]
    return over_ball[0] if found.isotropic else sp.Max(*over_ball, evaluate=False)
