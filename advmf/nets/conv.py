"""Convolutions: Gaussian layers on the positions of an image."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from advmf import symbols
from advmf.boundary import public
from advmf.errors import DeclarationError
from advmf.nets.algebra import Algebra, S
from advmf.nets.gaussian import TrainedLayer
from advmf.nets.windows import Sizes, Windows

PADDINGS = ("circular", "zero", "valid")
"""What a convolution finds beyond the edge of an image: its other side, zeros, or nothing, so that it stays within."""


@public
@dataclass(frozen=True)
class Conv(TrainedLayer):
    """A trained convolution ``x -> W * x + b`` on images, with ``kernel`` taps along each axis.

    With C channels before it and k taps in all, the entries of ``W`` are from N(0, sigma_w**2/(k C)). The channel's
    bias, from N(0, sigma_b**2), is the same at all positions. With ``stride`` s only every s-th position along each
    axis has an output.

    ``padding`` is "circular" (an image goes on at its other side) or "zero"; the taps are then around every position,
    and ``kernel`` is odd. With "valid" all taps are within the image; one of stride ``kernel`` on as many positions is
    a dense layer on the flattened image. A whole number below ``kernel`` is that of zeros at each side.

    Raises DeclarationError for an even kernel around positions, another padding, a kernel or a stride below one, and
    as :class:`Dense`.

    >>> import advmf as mf
    >>> net = mf.Net(mf.Serial(mf.Conv(kernel=3), mf.ReLULike(1, 0)), image=(1, 8, 8))
    >>> mf.omega(net)
    sigma_w**2/2
    """

    kernel: int = 3
    padding: str | int = "circular"
    stride: int = 1
    sigma_w: sp.Expr = symbols.sigma_w
    sigma_b: sp.Expr = symbols.sigma_b

    def __post_init__(self) -> None:
        for name in ("kernel", "stride"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | sp.Integer) or value < 1:
                raise DeclarationError(f"Conv: {name} counts positions and must be a whole number >= 1; got {value!r}.")
            object.__setattr__(self, name, int(value))
        object.__setattr__(self, "padding", _padding(self.padding, self.kernel))
        if self.kernel % 2 == 0 and self.padding in PADDINGS[:2]:
            raise DeclarationError(
                f"Conv: with padding={self.padding!r} a kernel is centred at a position, so it is odd; got kernel={self.kernel}. Other paddings "
                "are 'valid', and a number of zeros at each side."
            )
        super().__post_init__()

    @property
    def parts(self) -> tuple[sp.Expr, ...]:
        return (
            sp.Integer(self.kernel),
            sp.Symbol(self.padding) if isinstance(self.padding, str) else sp.Integer(self.padding),
            sp.Integer(self.stride),
            self.sigma_w,
            self.sigma_b,
        )

    @property
    def windows(self) -> Windows:
        """The positions that the taps meet."""
        zeros = {"valid": 0}.get(self.padding, self.kernel // 2) if isinstance(self.padding, str) else self.padding
        return Windows(self.kernel, self.stride, -zeros, self.padding == "circular")

    @property
    def even(self) -> bool:
        """Whether all positions of the input have the same weight in the sum over outputs."""
        return self.windows.even

    def apply(self, algebra: Algebra[S], state: S) -> S:
        return algebra.convolution(self, state)

    def sizes(self, before: Sizes) -> Sizes:
        """The sizes of the image after the layer. Raises DeclarationError for an image that it cannot take."""
        return self.windows.sizes(before, self)

    def taps(self, axes: int) -> int:
        """The number k of taps on an image of this many axes."""
        return self.kernel**axes

    def sources(self, before: Sizes) -> list[list[int]]:
        """For each position after the layer, the positions before it that its taps meet, both in row-major order. A tap
        beyond an edge that is padded with zeros has the number of positions."""
        return self.windows.sources(before)


def _padding(given: object, kernel: int) -> str | int:
    """A padding, by its name if it has one. DeclarationError for anything else."""
    if isinstance(given, int | sp.Integer) and not isinstance(given, bool) and 0 <= given < kernel:
        number = int(given)
        return "zero" if 2 * number + 1 == kernel else number or "valid"
    if str(given) not in PADDINGS:
        raise DeclarationError(
            f"Conv: padding is one of {', '.join(PADDINGS)}, or a number of zeros at each side, below kernel={kernel}; got {given!r:.80}."
        )
    return str(given)
