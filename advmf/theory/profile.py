"""The profile of a network on images: how much each pixel can change the outputs.

Let D[a] be the mean square of z_a(x) - z_a(y), the change of a coordinate at position a between two inputs. A Gaussian
layer multiplies D by σ², a convolution averages D over its taps, and an activation of slopes u, v gives at most α D,
α = (u² + v²)/2: with φ(z) = (u + v) z/2 + (u - v)|z|/2 the cross term of both parts has mean zero, because a flip of
all signs changes it, and ||a| - |b|| <= |a - b|. An average over positions gives at most the average of D, by
Jensen's inequality. So, as N → ∞ and for all inputs x and y,

    E (f_k(x) - f_k(y))² <= Σ_i s_i (x_i - y_i)²/d,

where s_i d⁻¹ is the sum over all paths from pixel i to the outputs. Equality holds for y → x where no positions are
averaged: then Σ(x) = diag(s)/d at every x. Where all positions are met equally often s is ω^L at every pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import sympy as sp

from advmf import special
from advmf.boundary import public
from advmf.budget import allow, machine_memory
from advmf.errors import ArgumentError, DeclarationError
from advmf.functions import EstimatedProfileNorm, ProfileExtreme, ProfileNorm, ProfileRadius, ProfileShare
from advmf.nets import (
    Algebra,
    AvgPool,
    Block,
    Conv,
    Dense,
    Dropout,
    GaussianLayer,
    Net,
    Norm,
    Pointwise,
    Rebuilt,
    Residual,
    Serial,
    Windows,
)
from advmf.symbols import K, d, exponent
from advmf.theory.norms import choose, probability, require_upper
from advmf.theory.propagation import STATE
from advmf.theory.spike import carries_mean

HELD = 3
"""Square matrices of the longest axis that the numbers of a profile hold at once."""


@dataclass(frozen=True)
class Term:
    """Paths through a block: what they multiply a mean square by, and the windows over which they average it."""

    weight: sp.Expr
    maps: tuple[Windows, ...]


class Shares(Algebra[tuple[Term, ...]]):
    """The paths through a block, as terms. Raises DeclarationError for what is not a sum of averages."""

    def _times(self, state: tuple[Term, ...], factor: sp.Expr, *maps: Windows) -> tuple[Term, ...]:
        return tuple(Term(sp.expand(term.weight * factor), (*term.maps, *maps)) for term in state)

    def gaussian(self, layer: GaussianLayer, state: tuple[Term, ...]) -> tuple[Term, ...]:
        return self._times(state, layer.variance)

    def convolution(self, layer: Conv, state: tuple[Term, ...]) -> tuple[Term, ...]:
        return self._times(state, layer.variance, layer.windows)

    def average(self, pool: AvgPool, state: tuple[Term, ...]) -> tuple[Term, ...]:
        return self._times(state, sp.S.One, pool.windows)

    def pointwise(self, activation: Pointwise, state: tuple[Term, ...]) -> tuple[Term, ...]:
        gain = activation.gain(STATE.Q)
        if STATE.Q in gain.free_symbols or not (activation.homogeneous or activation.linear):
            raise self._unknown(f"{activation!r} does not scale with its input")
        return self._times(state, gain)

    def norm(self, norm: Norm, state: tuple[Term, ...]) -> tuple[Term, ...]:
        raise self._unknown(f"{norm!r} divides by a size that depends on the image")

    def dropout(self, dropout: Dropout, state: tuple[Term, ...]) -> tuple[Term, ...]:
        return self._times(state, dropout.gain)

    def add(
        self, block: Residual, shortcut: tuple[Term, ...], branch: tuple[Term, ...], before: tuple[Term, ...]
    ) -> tuple[Term, ...]:
        together: dict[tuple[Windows, ...], sp.Expr] = {}
        for term in (*shortcut, *self._times(branch, block.scale**2)):
            together[term.maps] = together.get(term.maps, sp.S.Zero) + term.weight
        return tuple(Term(weight, maps) for maps, weight in together.items())

    @staticmethod
    def _unknown(why: str) -> DeclarationError:
        return DeclarationError(
            f"{why}, so what a pixel can change depends on the image, and no profile holds for all. On images take "
            "activations such as ReLULike, and no norm. advmf.image_kernel(net, x, y) has the kernel of any net on images."
        )


@public
@dataclass(frozen=True)
class Profile:
    """The profile s of a network on images, as a code of numbers and expressions (:mod:`advmf.special.profiles`).

    :meth:`at` gives its numbers, and :meth:`beta` the norm factor of :func:`advmf.loss_bound`. ``exact`` says that Σ(x)
    = diag(s)/d as N → ∞; otherwise s bounds the changes of the outputs.
    """

    net: Net
    code: tuple[sp.Expr, ...]
    exact: bool

    def radius(self, p: sp.Expr) -> sp.Expr:
        """The largest ‖√s ∘ η‖_2 over ‖η‖_p <= 1."""
        return ProfileRadius(p, *self.code)

    def norm(self, r: sp.Expr) -> sp.Expr:
        """E‖√s ∘ g‖_r for a standard Gaussian vector g."""
        return ProfileNorm(r, *self.code)

    def share(self, position: int) -> sp.Expr:
        """s at a position, counted from 0 in row-major order."""
        return ProfileShare(sp.Integer(position), *self.code)

    def extreme(self, p: sp.Expr, q: sp.Expr) -> sp.Expr:
        """E‖G diag(√s)‖_{p -> q} for a standard Gaussian G of K rows, where p = 1 or q = oo."""
        return ProfileExtreme(K, p, q, *self.code)

    def estimated(self, p: sp.Expr, q: sp.Expr) -> sp.Expr:
        """An estimate of E‖G diag(√s)‖_{p -> q} for a standard Gaussian G of K rows."""
        return EstimatedProfileNorm(K, p, q, *self.code)

    @property
    def spread(self) -> sp.Expr:
        """(Σ s)²/Σ s² over all coordinates: how many equal ones would have the same."""
        return (self.radius(sp.oo) / self.radius(sp.Integer(4))) ** 4

    @public
    def beta(self, p: object, q: object, route: str = "chevet") -> sp.Expr:
        """E‖G diag(√s)‖_{p -> q} for a K x d matrix G of entries N(0, 1/d), by a route; by default an upper bound.

        ``chevet`` is Chevet's inequality, and ``lower`` the larger of its two terms:

            K**max(0, 1/q - 1/2) E‖√s ∘ g_d‖_{p*}/sqrt(d) + max_{‖η‖_p <= 1} ‖√s ∘ η‖_2 E‖g_K‖_q/sqrt(d).

        ``extremal`` is exact where p = 1 or q = oo (:func:`advmf.special.profile_extreme`). ``estimate`` is close for
        all (p, q), but no bound (:func:`advmf.special.estimated_profile_norm`). At (2, 2) no exact formula is known for
        columns of different sizes. ``best`` is the sharpest upper route. The other routes of :func:`advmf.beta` are for
        equal pixels.

        Raises DomainError for exponents outside [1, oo], and ArgumentError for an unknown route, or one that does not
        apply.

        >>> import advmf as mf
        >>> at = {"L": 3, "sigma_w": 2, "K": 10, "d": 64}
        >>> even, net = mf.profile(mf.conv(1, 0)), mf.profile(mf.conv(1, 0, padding="zero"))
        >>> [mf.kernel(each.beta(2, 2))(**at).round(3) for each in (even, net)]
        [np.float64(3.908), np.float64(3.385)]
        >>> mf.kernel(mf.loss_bound(mf.vanilla(1, 0), 2, 2))(**at, eps=1).round(3)
        np.float64(3.908)
        >>> [mf.kernel(net.beta(1, 2, route))(**at).round(3) for route in ("lower", "extremal", "chevet")]
        [np.float64(1.09), np.float64(1.551), np.float64(1.884)]
        """
        p, q = exponent(p, "p"), exponent(q, "q")
        chosen = choose(p, q, route, of_profiles=True)
        assert chosen.profile is not None
        return chosen.profile(self, p, q)

    @public
    def beta_quantile(self, p: object, q: object, delta: object, route: str = "chevet") -> sp.Expr:
        """A bound that ‖G diag(√s)‖_{p -> q} exceeds with probability at most ``delta``, in (0, 1) or a symbol.

        G -> ‖G diag(√s)‖ is Lipschitz with the constant K**max(0, 1/q - 1/2) max ‖√s ∘ η‖_2; see
        :func:`advmf.beta_quantile`. Raises DomainError for another ``delta``, ArgumentError for a route that is no
        upper bound, and as :meth:`beta`.

        >>> import advmf as mf
        >>> at = {"L": 3, "sigma_w": 2, "K": 10, "d": 64}
        >>> even = mf.profile(mf.conv(1, 0))
        >>> mf.kernel(even.beta_quantile(2, 2, 0.01))(**at).round(3)
        np.float64(4.981)
        """
        mean, delta = self.beta(p, q, route), probability(delta)
        require_upper(p, q, route, of_profiles=True)
        reach = self.radius(exponent(p, "p")) * K ** sp.Max(0, 1 / exponent(q, "q") - sp.Rational(1, 2))
        return mean + reach * sp.sqrt(2 * sp.log(1 / delta)) / sp.sqrt(d)

    @public
    def at(self, **values: float) -> np.ndarray:
        """s at each position of the image, an array of its sizes, for numbers of the net's symbols. All channels of a
        position have the same. Raises ArgumentError for missing and unknown symbols.

        >>> import advmf as mf
        >>> net = mf.Net(mf.Serial(mf.Conv(padding="zero"), mf.ReLULike(1, 0)), image=(1, 4))
        >>> mf.profile(net).at(L=1, sigma_w=3**0.5).round(3).tolist()
        [1.0, 1.5, 1.5, 1.0]
        """
        names = {s.name: s for number in self.code for s in number.free_symbols}
        if set(values) != set(names):
            raise ArgumentError(
                f"The profile of {self.net.name} takes numbers for {', '.join(sorted(names)) or 'no symbols'}; got "
                f"{', '.join(sorted(values)) or 'none'}."
            )
        numbers = [float(number.subs({names[name]: value for name, value in values.items()})) for number in self.code]
        shares, log = special.profile(*numbers)
        return shares * np.exp(log)


@public
@cache
def profile(net: Net) -> Profile:
    """How much each pixel can change the outputs: s with E (f_k(x) - f_k(y))² <= Σ_i s_i (x_i - y_i)²/d as N → ∞.

    It is for networks on images whose activations scale with their input, with any paddings, strides, averages and
    heads. Raises DeclarationError for other networks, with the reason.

    Source: ours (:mod:`advmf.theory.profile`).

    >>> import advmf as mf
    >>> even, net = mf.conv(1, 0), mf.conv(1, 0, padding="zero")
    >>> mf.profile(even).at(L=3, sigma_w=2).round(9).max(), mf.profile(net).at(L=3, sigma_w=2)[:2, :2].round(2).tolist()
    (np.float64(8.0), [[1.85, 3.14], [3.14, 5.31]])
    """
    if net.image is None:
        raise DeclarationError(
            f"A profile is that of a network on images; {net.name} has vectors. Its Σ(x) is advmf.metric(net)."
        )
    sizes, what = net.image[1:], f"The profile of images of {' x '.join(map(str, net.image[1:]))} positions"
    allow(8 * HELD * max(sizes) ** 2, machine_memory(), what, "Take smaller images")
    if carries_mean(_at_one_position(net)):
        raise DeclarationError(
            f"{net.name} carries a mean through its sums, so what a pixel can change depends on the image. Give the branch a Mix() at its end."
        )
    runs = []
    for run in net.runs:
        terms = run.block.apply(Shares(), (Term(sp.S.One, ()),))
        runs += [run.copies, sp.Integer(len(terms))]
        for term in terms:
            runs += [term.weight, sp.Integer(len(term.maps))]
            for each in term.maps:
                runs += map(sp.Integer, (each.taps, each.stride, each.first, each.circular))
    channels, *sizes = net.image
    code = (*map(sp.Integer, (channels, len(sizes), *sizes, len(net.runs))), *runs)
    return Profile(net, code, not net.averages)


def has_profile(net: Net) -> bool:
    """Whether a network has a profile.

    >>> import advmf as mf
    >>> from advmf.theory.profile import has_profile
    >>> [has_profile(net) for net in (mf.conv(1, 0, head="pool"), mf.conv(phi="tanh"), mf.vanilla(1, 0))]
    [True, False, False]
    """
    try:
        profile(net)
    except DeclarationError:
        return False
    return True


class _OnePosition(Rebuilt):
    def convolution(self, layer: Conv, state: tuple[Block, ...]) -> tuple[Block, ...]:
        return (*state, Dense(layer.sigma_w, layer.sigma_b))

    def average(self, pool: AvgPool, state: tuple[Block, ...]) -> tuple[Block, ...]:
        return state


def _at_one_position(net: Net) -> Net:
    """What the network is for images of one position, on vectors."""
    stages = (replace(stage, block=Serial(*stage.block.apply(_OnePosition(), ()))) for stage in net.stages)
    return Net(*stages, name=net.name)
