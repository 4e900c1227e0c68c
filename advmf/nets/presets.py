"""The preset networks: those of the paper, and common ones of practice."""

from __future__ import annotations

from collections.abc import Sequence

from advmf import symbols
from advmf.boundary import public
from advmf.errors import DeclarationError
from advmf.nets.activations.activation import Pointwise
from advmf.nets.activations.formula import Activation
from advmf.nets.activations.relu_like import ReLULike
from advmf.nets.block import Residual, Serial
from advmf.nets.conv import Conv
from advmf.nets.gaussian import Dense, Mix
from advmf.nets.net import Net, Stage
from advmf.nets.norms import RMSNorm


@public
def vanilla(u: object = symbols.u, v: object = symbols.v, *, phi: object = None) -> Net:
    """``x <- phi(W x + b)``: no shortcut. The activation of all presets is ``ReLULike(u, v)``, or ``phi`` where it is
    given.

    >>> import advmf as mf
    >>> mf.omega(mf.vanilla(u=1, v=0))
    sigma_w**2/2
    """
    return Net(Serial(Dense(), _activation(u, v, phi)), name="vanilla")


@public
def residual(u: object = symbols.u, v: object = symbols.v, *, phi: object = None) -> Net:
    """``x <- x + V phi(W x + b)`` with ``V`` untrained, of entries N(0, 1/N): the residual net that has the paper's
    moments.

    >>> import advmf as mf
    >>> mf.omega(mf.residual())
    sigma_w**2*(u**2 + v**2)/2 + 1
    """
    return Net(Residual(Dense(), _activation(u, v, phi), Mix()), name="residual")


@public
def plain_residual(u: object = symbols.u, v: object = symbols.v, *, phi: object = None) -> Net:
    """``x <- x + phi(W x + b)``: the shortcut of practice; its stream carries a mean where ``u != v``."""
    return Net(Residual(Dense(), _activation(u, v, phi)), name="plain_residual")


@public
def preactivation(u: object = symbols.u, v: object = symbols.v, *, phi: object = None) -> Net:
    """``x <- x + W phi(x) + b``: activation before the weights."""
    return Net(Residual(_activation(u, v, phi), Dense()), name="preactivation")


@public
def pre_norm(u: object = symbols.u, v: object = symbols.v, *, phi: object = None) -> Net:
    """``x <- x + W phi(x/rms(x)) + b``: a norm before the branch, as in deep networks of practice.

    The second moment grows by the same amount in every block, and the Jacobian as a power of L.
    """
    return Net(Residual(RMSNorm(), _activation(u, v, phi), Dense()), name="pre_norm")


@public
def post_norm(u: object = symbols.u, v: object = symbols.v, *, phi: object = None) -> Net:
    """``x <- y/rms(y), y = x + V phi(W x + b)``: a norm after the sum."""
    return Net(Serial(Residual(Dense(), _activation(u, v, phi), Mix()), RMSNorm()), name="post_norm")


@public
def pyramid(
    u: object = symbols.u,
    v: object = symbols.v,
    *,
    phi: object = None,
    widths: Sequence[object] = (2, 1, "1/2"),
    repeat: object = 1,
) -> Net:
    """``x <- phi(W x + b) of widths 2N, N, N/2``, or of other ``widths`` in multiples of N, ``repeat`` blocks each.

    >>> import advmf as mf
    >>> mf.pyramid(1, 0).depth, [stage.width for stage in mf.pyramid(1, 0).stages]
    (3, [2, 1, 1/2])
    """
    block = Serial(Dense(), _activation(u, v, phi))
    return Net(*(Stage(block, repeat, width) for width in widths), name="pyramid")


@public
def conv(
    u: object = symbols.u,
    v: object = symbols.v,
    *,
    phi: object = None,
    image: Sequence[int] = (1, 8, 8),
    kernel: int = 3,
    padding: str = "circular",
    head: str = "flatten",
) -> Net:
    """``x <- phi(W * x + b) on images``: convolutions with ``kernel`` taps along each axis. With ``padding``
    "circular" an image goes on at its other side, with "zero" there are zeros.

    >>> import advmf as mf
    >>> mf.loss_bound(mf.conv(1, 0), p="inf", q=2).formula == mf.loss_bound(mf.vanilla(1, 0), p="inf", q=2).formula
    True
    """
    return Net(Serial(Conv(kernel, padding), _activation(u, v, phi)), name="conv", image=image, head=head)


@public
def conv_residual(
    u: object = symbols.u,
    v: object = symbols.v,
    *,
    phi: object = None,
    image: Sequence[int] = (1, 8, 8),
    kernel: int = 3,
    head: str = "flatten",
) -> Net:
    """``x <- x + V phi(W * x + b) on images``, with an untrained ``V`` at each position: :func:`residual` with
    convolutions.
    """
    return Net(Residual(Conv(kernel), _activation(u, v, phi), Mix()), name="conv_residual", image=image, head=head)


def _activation(u: object, v: object, phi: object) -> Pointwise:
    if phi is None:
        return ReLULike(u, v)
    if (u, v) != (symbols.u, symbols.v):
        raise DeclarationError(f"A net has the slopes u and v, or phi; got u={u}, v={v} and phi={phi!r}.")
    return phi if isinstance(phi, Pointwise) else Activation(phi)


PRESETS = {
    "vanilla": vanilla,
    "residual": residual,
    "plain_residual": plain_residual,
    "preactivation": preactivation,
    "pre_norm": pre_norm,
    "post_norm": post_norm,
    "pyramid": pyramid,
    "conv": conv,
    "conv_residual": conv_residual,
}
"""The preset networks by name."""

STEPS = {
    "vanilla": "x <- phi(W x + b)",
    "residual": "x <- x + V phi(W x + b)",
    "plain_residual": "x <- x + phi(W x + b)",
    "preactivation": "x <- x + W phi(x) + b",
    "pre_norm": "x <- x + W phi(x/rms(x)) + b",
    "post_norm": "x <- y/rms(y), y = x + V phi(W x + b)",
    "pyramid": "x <- phi(W x + b) of widths 2N, N, N/2",
    "conv": "x <- phi(W * x + b) on images",
    "conv_residual": "x <- x + V phi(W * x + b) on images",
}
"""The map of each preset's block, as text."""
