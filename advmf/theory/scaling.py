"""How the output, and the tangent kernel, answer to a common factor of all trained weights.

Take a net of homogeneous activations whose stream carries no mean. Every mean of a product of two of its tangents is
that of a linear net whose activations have the slope √α. So G = E(J(x)x)_k² is a product of factors ω, and of degree
one in the variance z_W of each trained matrix W. With D = Σ_W z_W ∂/∂z_W, and n_W the columns of W:

* E f_k ḟ_k = D G, where ḟ_k = Σ_W ⟨W, ∂f_k/∂W⟩ is the derivative of f_k along its own weights;
* E ḟ_k² = D² G, which is the capacity over K;
* Θ(x, x) = Σ_W n_W ∂G/∂z_W, the tangent kernel, because z_W/n_W is the variance of an entry;
* Σ_W E⟨∂ḟ_k/∂W, ∂f_k/∂W⟩ = Θ + (a/2) ∂Θ/∂a = Σ_W n_W ∂(D G)/∂z_W, with all trained weights times a.

Biases add to f and ḟ parts that are uncorrelated with J(x). The four means above are those without biases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import sympy as sp

from advmf.errors import ArgumentError
from advmf.nets import Conv, GaussianLayer, Net, Norm, Run, Serial, Widths
from advmf.symbols import K, N, d, eps
from advmf.theory.norms import BETA
from advmf.theory.propagation import OMEGA, block_growth, grown, grows_alike, grows_uniformly, growths, with_alpha
from advmf.theory.spike import carries_mean
from advmf.theory.trained import Separated, require_trained


@dataclass(frozen=True)
class Scaling:
    """The four means of the module over G: D G/G, D² G/G, Θ/G and that of the derivatives of ḟ_k and f_k. They are
    written in ω and α where the net has them."""

    share: sp.Expr
    square: sp.Expr
    kernel: sp.Expr
    kernel_share: sp.Expr


def linear_like(net: Net) -> bool:
    """Whether products of two tangents have the means of a linear net: homogeneous activations, no norms, no carried
    mean.

    >>> import advmf as mf
    >>> from advmf.theory.scaling import linear_like
    >>> [linear_like(net) for net in (mf.residual(), mf.plain_residual(), mf.vanilla(phi="tanh"), mf.pre_norm())]
    [True, False, False, False]
    """
    plain = all(phi.homogeneous for phi in net.activations) and not any(isinstance(b, Norm) for b in net.leaves)
    return plain and grows_alike(net) and not carries_mean(net)


def require_linear_like(net: Net, what: str) -> None:
    """Raise ArgumentError for a net that is not :func:`linear_like`, and for one without a trained matrix."""
    require_trained(net)
    growths(net)  # refuses by name a net without omega
    if not linear_like(net):
        blocks = ", ".join(map(repr, net.blocks))
        raise ArgumentError(
            f"{what} takes a net of activations that scale with their input, as ReLULike does, without norms and without a carried mean: J(x) then "
            f"has one law in all directions. {blocks} is none. Put a Mix() behind the activation of a plain residual branch, or take "
            "advmf.capacity and advmf.loss_bound, which hold of all nets."
        )


@cache
def scaling(net: Net) -> Scaling:
    """The answers of ``net`` to a factor of its weights.

    >>> import advmf as mf
    >>> from advmf.theory.scaling import scaling
    >>> scaling(mf.vanilla())
    Scaling(share=L, square=L**2, kernel=L*N*alpha/omega, kernel_share=L**2*N*alpha/omega)
    """
    require_linear_like(net, "The answer to a factor of all weights")
    runs = [(run.copies, _Answer.of(net, run)) for run in net.runs]
    share = sp.Add(*(copies * own.share for copies, own in runs))
    return Scaling(
        share=share,
        square=sp.factor(share**2 + sp.Add(*(copies * own.square for copies, own in runs))),
        kernel=sp.factor(N * sp.Add(*(copies * own.kernel for copies, own in runs))),
        kernel_share=sp.factor(N * sp.Add(*(copies * (own.kernel * share + own.mixed) for copies, own in runs))),
    )


@dataclass(frozen=True)
class _Answer:
    """What one block adds, with ω its growth and S = Σ z ∂ln ω/∂z: S, Σ z ∂S/∂z, Σ n ∂ln ω/∂z and Σ n ∂S/∂z. The
    columns n are in units of N."""

    share: sp.Expr
    square: sp.Expr
    kernel: sp.Expr
    mixed: sp.Expr

    @classmethod
    def of(cls, net: Net, run: Run) -> _Answer:
        separate, columns = Separated(several=True), _Columns(run.after, len(net.image or (1,)) - 1)
        growth = sp.expand(block_growth(Serial(*run.block.apply(separate, ()))))
        run.block.apply(columns, run.before)
        variances = list(separate.variances)

        def along(weights: Sequence[sp.Expr], of: sp.Expr) -> sp.Expr:
            return sp.expand(sum((w * sp.diff(of, z) for w, z in zip(weights, variances)), sp.S.Zero))

        def over(numerator: sp.Expr, power: int) -> sp.Expr:
            """A polynomial in the variances over ω to a power, in ω and α where the net has them."""
            ratio = sp.cancel(numerator / growth)
            if not ratio.free_symbols & set(variances):
                return over(sp.expand(ratio), power - 1) if power else ratio
            value = numerator.xreplace(separate.variances)
            short = OMEGA if grows_uniformly(net) else growth.xreplace(separate.variances)
            return with_alpha(sp.factor(value), net) / short**power

        reach = along(variances, growth)
        turned = [sp.expand(along(w, reach) * growth - reach * along(w, growth)) for w in (variances, columns.met)]
        return cls(over(reach, 1), over(turned[0], 2), over(along(columns.met, growth), 1), over(turned[1], 2))


class _Columns(Widths):
    """The widths of a block, with the columns of each trained matrix in ``met``."""

    def __init__(self, after: sp.Expr, axes: int) -> None:
        super().__init__(after)
        self._axes = axes
        self.met: list[sp.Expr] = []

    def gaussian(self, layer: GaussianLayer, state: sp.Expr) -> sp.Expr:
        self.met += [state] if layer.trained else []
        return super().gaussian(layer, state)

    def convolution(self, layer: Conv, state: sp.Expr) -> sp.Expr:
        self.met.append(layer.taps(self._axes) * state)
        return super().convolution(layer, state)


def loss_life_of(net: Net) -> sp.Expr:
    """∫ L_adv dt/L_adv(0) under gradient flow of the adversarial loss of one input, with β for the norm factor: K d/(2
    ε β κ ω^{L/2}), with κ = Θ(x, x)/E(J x)_k².

    >>> import advmf as mf
    >>> from advmf.theory.scaling import loss_life_of
    >>> loss_life_of(mf.vanilla())
    K*d*omega**(1 - L/2)/(2*L*N*alpha*beta*eps)
    """
    size = OMEGA**net.depth if grows_uniformly(net) else grown(net)
    return sp.powsimp(K * d / (2 * eps * BETA * scaling(net).kernel * sp.sqrt(size)))


def window(net: Net) -> str:
    """How long the adversarial loss lasts, in words, for the assumptions of claims about early times."""
    if not linear_like(net):
        return "a time well within the life of the loss, of order K d/N"
    found = str(loss_life_of(net)).replace("**", "^").replace("*", " ")
    return f"a time t well below the life of the loss (loss_life), {found}"
