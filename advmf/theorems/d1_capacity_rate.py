"""D1: the rate at which adversarial training lowers the capacity, at t = 0.

T5 puts the variances of T3 into the capacity and takes the weights at time t as Gaussian. Gradient flow also aligns the
weights against J(x), and that lowers the capacity at a rate N²/(K d) times as high in the vanilla network. Here the
flow is that of the loss itself. In a ball within one linear region L_adv = ε ‖J(x)‖ = ⟨t, J(x)η⟩, and

    dC/dt = -2 E Σ_k ḟ_k Σ_W ⟨∂ḟ_k/∂W, ∂L_adv/∂W⟩,   ḟ_k = Σ_W ⟨W, ∂f_k/∂W⟩.

As N → ∞ the inner sum is t_k ⟨x, η⟩ Ψ/‖x‖², with Ψ the kernel of ḟ_k and f_k (:mod:`advmf.theory.scaling`). Given J,
the mean of ḟ_k is S (J(x)x)_k, with S the sum of the shares. As signs and orders of J's rows and columns do not change
its law, E Jᵀt ηᵀ = (ε E‖J‖/d) I. The claim is new, and derived here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import sympy as sp

from advmf.boundary import public
from advmf.claim import RHS, Claim, Equation, Regime, Relation
from advmf.nets import GaussianLayer, Net, Residual
from advmf.observables import Capacity, CapacitySlope, Expectation, MeanCapacitySlope
from advmf.symbols import K, L, N, d, eps, exponent, x_sq
from advmf.theorems.scripted import Scripted
from advmf.theorems.selection import DIAGONAL, GROWING, IMAGES, rows
from advmf.theorems.t5_capacity import capacity
from advmf.theorems.theorem import ALIKE, GROWTH, UNIFORM, Need, Scale, Theorem, random_network
from advmf.theorems.wrong import mutant
from advmf.theory.norms import BETA, ESTIMATE_TOLERANCE, beta, closest
from advmf.theory.propagation import OMEGA, abbreviations, grown, grows_uniformly
from advmf.theory.scaling import linear_like, require_linear_like, scaling

SOURCE = "derived here; the kernel of A. Jacot, F. Gabriel and C. Hongler, Neural Tangent Kernel, NeurIPS 2018"
PLAIN = ("vanilla", "residual", "preactivation", "pyramid")
"""The presets that it speaks of besides those on images; vanilla stands at omega = 1 here, and at 1.5 by itself."""
SCALES = Need(linear_like, "it has norms, or activations that do not scale with their input")


@public
def capacity_rate(net: Net, p: object, q: object, route: str = "chevet") -> Claim:
    """D1: d ln C/dt at t = 0 under gradient flow of the adversarial loss on the input x at which C is taken.

    It is -2 (ε β ω^{L/2}/d) S Ψ/C, with S the sum of the shares of all trained matrices and Ψ = Θ + (a/2) ∂Θ/∂a, the
    tangent kernel at (x, x) with all trained weights times a. For the vanilla, residual and pre-activation nets without
    biases it is -2 N L α ε β ω^{L/2 - 1}/(K d); for the vanilla net this is N²/(K d) times the rate of T5.

    It takes nets of activations that scale with their input, without norms and without a carried mean, with biases and
    stages. ``p``, ``q``, ``route`` and the errors of these are those of :func:`advmf.beta`; by the route ``estimate``
    it is claimed up to the stated error of β. Raises ArgumentError for any other net and for one without a trained
    matrix, DeclarationError for a net without ω.

    >>> import advmf as mf
    >>> mf.capacity_rate(mf.Net(mf.Serial(mf.Dense(sigma_b=0), mf.ReLULike())), 2, 2).formula
    -2*L*N*alpha*beta*eps*omega**(L/2 - 1)/(K*d)
    >>> mf.kernel(mf.capacity_rate(mf.residual(1, 0), "inf", 1))(
    ...     L=3, N=1000, d=64, K=10, sigma_w=1.2, sigma_b=[0, 0.5], eps=0.1, x_sq=1).round(2)
    array([-17.31, -16.57])
    """
    require_linear_like(net, "The rate of the capacity")
    p, q = exponent(p, "p"), exponent(q, "q")
    answer, level = scaling(net), capacity(net)
    size = OMEGA**net.depth if grows_uniformly(net) else grown(net)
    drive = 2 * eps * BETA * sp.sqrt(size) * answer.share * answer.kernel_share / d
    if unbiased(net):
        formula = -sp.powsimp(sp.cancel(drive / sp.sqrt(size) / (K * answer.square)) * sp.sqrt(size))
    else:
        formula = -sp.powsimp(drive * x_sq * size / K) / (level.formula / K)
    slope = Expectation(CapacitySlope(p, q))
    estimated = route == "estimate"
    return Claim(
        name="D1",
        lhs=slope / Expectation(Capacity()),
        relation=Relation.APPROX if estimated else Relation.EQUAL,
        tolerance=ESTIMATE_TOLERANCE if estimated else 0.0,
        formula=formula,
        where={**abbreviations(net), BETA: beta(p, q, route)},
        equations=(Equation("E dC/dt", Expectation(MeanCapacitySlope(p, q)), RHS * level.rhs, RHS * level.rhs),),
        regime=Regime.LARGE_WIDTH | Regime.SMALL_BALL,
        assumptions=(
            *random_network(net),
            "gradient flow dW/dt = -dL_adv/dW on the input x alone",
            "the ball lies in one linear region"
            + (", so that without biases no patch of x is empty" if net.image is not None else ""),
        ),
        source=SOURCE,
        net=net,
        p=p,
        q=q,
        depth=1,
    )


def unbiased(net: Net) -> bool:
    """Whether no layer has a bias."""
    return all(leaf.bias_variance == 0 for leaf in net.leaves if isinstance(leaf, GaussianLayer))


def _wrong(claim: Claim) -> list[Claim]:
    assert claim.net is not None
    answer = scaling(claim.net)
    alone = claim.put_in(sp.cancel(answer.kernel * answer.share / answer.kernel_share))
    wrong = [
        mutant(claim, "the variances alone, 1/N for N/(d K)", lambda e: e * K * d / N**2),
        mutant(claim, "d K dropped", lambda e: e * K * d),
        mutant(claim, "depth 2 L", lambda e: e.subs(L, 2 * L)),
        mutant(claim, "twice", lambda e: 2 * e),
    ]
    if alone != 1:
        wrong.append(mutant(claim, "the tangent kernel without its derivative", lambda e: e * alone))
    if OMEGA in claim.where:
        name = f"{claim.name} [omega^L for omega^(L/2)]"
        wrong.append(replace(claim, name=name, formula=claim.formula * OMEGA ** (claim.net.depth / 2)))
    return wrong


def _scatters(net: Net) -> bool:
    """Narrower stages scatter more, and on images nets without shortcuts."""
    if net.image is None:
        return not net.repeated
    return not any(isinstance(leaf, Residual) for leaf in net.leaves)


SMALL: dict[str, Any] = {"d": 4, "K": 2, "at": {"sigma_b": 0.0}}
"""Small dimensions, also at the paper's scale: finite width adds about (L + 1) ((d + K)/2 + 5/2 sqrt(d K))/N to the
rate (:func:`advmf.finite_rates`). At d = 784, K = 10, L = 10 that is 6,400/N, so that it would take networks of a
hundred thousand units."""
QUICK: dict[str, Any] = {**SMALL, "L": 2, "widths": (128, 256, 1024, 4096), "effects": {"effect": 0.2}}
"""Most networks are of the widest and of the narrowest, which tell the law in 1/N from slower ones."""
BIASED: dict[str, Any] = {**SMALL, "at": {"sigma_b": 0.3}}
"""Images have empty patches, where networks without biases stand at a kink: there is no Jacobian, and no one linear
region."""
PATCHES: dict[str, Any] = {**BIASED, "L": 2, "widths": (96, 192, 1024, 2048), "effects": {"effect": 0.2}}

D1 = Theorem(
    name="D1",
    title="rate of the capacity: d ln C/dt at t = 0 under gradient flow of the adversarial loss",
    source=SOURCE,
    states=lambda net, p, q, route: [capacity_rate(net, p, q, route)],
    tests=lambda net, pairs: [capacity_rate(net, p, q, closest(p, q)) for p, q in pairs],
    wrong=_wrong,
    needs=(ALIKE, GROWTH, UNIFORM, SCALES),
    derive=Scripted("d1_capacity_rate"),
    selected={
        "quick": rows(
            (((GROWING, "relu"),), DIAGONAL[1:]),
            ((*((name, "relu") for name in PLAIN), *IMAGES, (GROWING, "leaky_relu")), DIAGONAL[1:2]),
        ),
        "paper": rows(
            (((GROWING, "relu"),), DIAGONAL), ((("residual", "relu"), ("preactivation", "relu")), DIAGONAL[1:2])
        ),
    },
    scatters=_scatters,
    scales={
        "quick": Scale(**QUICK, nets=(440, 76, 24, 260)),
        "scattered": Scale(**QUICK, nets=(760, 120, 24, 330)),
        "images": Scale(**PATCHES, nets=(270, 46, 24, 92)),
        "scattered images": Scale(**PATCHES, nets=(360, 56, 24, 120)),
        "paper": Scale(
            **SMALL, L=4, widths=(512, 1024, 4096, 16384), nets=(1000, 160, 40, 520), effects={"effect": 0.1}
        ),
        "paper images": Scale(
            **BIASED, L=4, widths=(256, 512, 2048, 4096), nets=(700, 120, 30, 280), effects={"effect": 0.15}
        ),
    },
)
