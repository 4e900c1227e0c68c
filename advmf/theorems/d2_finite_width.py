"""Networks of finite width at the start of adversarial training, to first order in 1/N, at p = q = 2.

With W one trained matrix of a linear network, J = A W B: A maps W's output to the network's, and B the input to W's
input. Given A and B, W is Gaussian, so J has the law of (1 + H)^{1/2} X (1 + G)^{1/2}. Here X is Gaussian, 1 + H is A
A^T over its mean, and 1 + G is B^T B over its mean. A holds one Gaussian matrix more than there are layers after W. So
N E H_ab² is their number n_A plus one more for a = b, times n_A, and for G likewise; n_A + n_B = L + 1. W's part of
the flow is dJ/dt = -ε κ' (1 + H) T (1 + G), with T = u v^T of the top singular vectors of J. These depend on H and G
themselves. Second-order perturbation gives, for s_j the singular values of X and S = E[s_1 Σ_j (s_1² + 3 s_j²)/(s_1² -
s_j²)]/E s_1,

    E ⟨J, (1 + H) T (1 + G)⟩ = E s_1 (1 + (n_A/N) (3/8 (K + 1) + 5/8 S) + (n_B/N) (3/8 (d + 1) + 5/8 (S + d - K))),

and similarly ⟨T, (1 + H) T (1 + G)⟩ and E‖J‖. By Stein's lemma for the field X ↦ s_1² ∇s_1 all these sums are moments
of s_1: S = 2 E s_1³/E s_1 - 2d - K - 1. The sum over the layers is done by n_A + n_B = L + 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sympy as sp

from advmf.boundary import public
from advmf.claim import Claim, Regime, Relation
from advmf.errors import ArgumentError
from advmf.functions import SpectralNorm
from advmf.nets import Dense, Net, Pointwise, Serial, require_repeated
from advmf.observables import AdversarialLoss, Expectation, LossDecay
from advmf.symbols import K, L, N, d, eps
from advmf.theorems.d1_capacity_rate import capacity_rate
from advmf.theorems.t2_adversarial_loss import loss_bound
from advmf.theorems.t3_weight_variance import variance_slope
from advmf.theorems.theorem import random_network
from advmf.theory.propagation import OMEGA
from advmf.theory.scaling import scaling


@public
@dataclass(frozen=True)
class FiniteRates:
    """Claims about the start of training at width N: the ``loss``, its ``decay`` -dL_adv/dt, d ln C/dt as ``capacity``,
    and the slope of the weight ``variance``."""

    loss: Claim
    decay: Claim
    capacity: Claim
    variance: Claim

    def __iter__(self) -> Iterator[Claim]:
        return iter((self.loss, self.decay, self.capacity, self.variance))


@public
def finite_rates(net: Net) -> FiniteRates:
    """The start of adversarial training at width N, to first order in 1/N, for p = q = 2 and deep linear nets.

    With s_1 the largest singular value of a K x d standard Gaussian matrix, m_r = E s_1^r, the claims for N → ∞ are
    multiplied by 1 + c (L + 1)/N, where c is

        (m_3/m_1 - d - K - 1)/4        for E L_adv(0) and for the slope of σ_w², which is in proportion to it,
        m_2 - (d + K)/2                for -d E L_adv/dt,
        (5 m_3/m_1 - 3 (d + K) - 1)/4  for d ln C/dt.

    For large d and K these are about sqrt(d K)/2, (d + K)/2 + 2 sqrt(d K) and (d + K)/2 + 5/2 sqrt(d K). Each is right
    where c (L + 1) is well below N. The net is a Serial of one Dense layer without biases and linear activations;
    ArgumentError for any other, DeclarationError for stages.

    >>> import advmf as mf
    >>> rates = mf.finite_rates(mf.Net(mf.Serial(mf.Dense(sigma_b=0), mf.ReLULike(1, 1))))
    >>> f = mf.kernel(rates.capacity)
    >>> at = dict(L=2, d=8, K=4, eps=0.1, sigma_w=1.0)
    >>> round(float(f(N=256, **at) / 256 / (f(N=1e9, **at) / 1e9)), 3)
    1.144
    """
    require_repeated(net)
    block = net.block
    parts = block.blocks if isinstance(block, Serial) else (block,)
    dense = [part for part in parts if isinstance(part, Dense)]
    linear = [part for part in parts if isinstance(part, Pointwise) and part.linear]
    plain = len(dense) == 1 and len(dense) + len(linear) == len(parts) and net.image is None
    if not plain or dense[0].bias_variance != 0:
        raise ArgumentError(
            f"Rates at finite width are known of a Serial of one Dense layer without biases and linear activations; got {net!r}. "
            "For others take a fit, as docs/training.md has it."
        )
    one, two, three = (SpectralNorm(K, d, r) for r in (1, 2, 3))
    start = (three / one - d - K - 1) / 4
    fall = two - (d + K) / 2
    capacity = (5 * three / one - 3 * (d + K) - 1) / 4
    loss, rate, slope = (claim(net, 2, 2, "spectral") for claim in (loss_bound, capacity_rate, variance_slope))
    decay = eps**2 * scaling(net).kernel * OMEGA**net.depth / d
    return FiniteRates(
        loss=_at_width(loss, "loss", Expectation(AdversarialLoss(2, 2)), loss.formula, start),
        decay=_at_width(loss, "decay", Expectation(LossDecay(2, 2)), sp.powsimp(decay), fall),
        capacity=_at_width(rate, "rate", rate.lhs, rate.formula, capacity),
        variance=_at_width(slope, "slope", slope.lhs, slope.formula, start),
    )


def _at_width(limit: Claim, name: str, lhs: sp.Expr, formula: sp.Expr, coefficient: sp.Expr) -> Claim:
    """The claim at width N, from its formula as N → ∞."""
    assert limit.net is not None
    return Claim(
        name=f"D2.{name}.N",
        lhs=lhs,
        relation=Relation.EQUAL,
        formula=formula * (1 + coefficient * (L + 1) / N),
        where=limit.where,
        regime=Regime.LARGE_WIDTH,
        assumptions=(
            *random_network(limit.net),
            "gradient flow dW/dt = -dL_adv/dW on the input x alone",
            "first order in 1/N, for (L + 1) (sqrt d + sqrt K)^2 much less than N",
        ),
        source="derived here",
        net=limit.net,
        p=limit.p,
        q=limit.q,
        depth=1,
    )
