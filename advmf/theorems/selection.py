"""The networks of a suite by name, and which of them say most about a theorem.

A row is a network with its activation. Unless networks, activations or pairs are named, a suite checks a theorem for
the rows that the theorem selects.
"""

from __future__ import annotations

from collections.abc import Mapping

PAIRS = tuple((p, q) for p in ("1", "2", "inf") for q in ("1", "2", "inf"))
"""The paper's (p, q)."""

DIAGONAL = (("1", "1"), ("2", "2"), ("inf", "inf"))
"""The pairs (p, q) with p = q: a ball and a norm of the same kind."""

GROWING = "vanilla_growing"
"""The vanilla network off its critical point. At that point omega = 1, and any power of omega, with any depth in it,
would pass."""

DEFAULT_NETS = ("vanilla", GROWING, "residual", "plain_residual", "preactivation")
"""The networks that are meant where none is named."""

DEFAULT_ACTIVATIONS = ("relu", "leaky_relu")
"""The activations that are meant where none is named."""

ALL = tuple((name, activation) for activation in DEFAULT_ACTIVATIONS for name in DEFAULT_NETS)
"""Every default network with every default activation."""

RELU = tuple((name, "relu") for name in DEFAULT_NETS[1:])
"""Every default network off the critical point, with ReLU."""

EXTRA = (
    (GROWING, "tanh"),
    ("vanilla", "gelu"),
    (GROWING, "gelu"),
    ("pre_norm", "relu"),
    ("pyramid", "relu"),
)
"""Networks with another growth, and their activations, for theorems that hold for them. GELU is checked at two points,
for a mistake may be too small to be seen at one."""

IMAGES = (("conv", "relu"), ("conv_residual", "relu"))
"""Networks on images, with their activations."""

PIXELS = (("conv_zero", "relu"),)
"""Networks whose pixels differ in what they can change."""

POOLED = (("conv_pool", "relu"),)
"""Networks that end with an average over positions."""

Rows = Mapping[tuple[str, str], tuple[tuple[str, str], ...]]
"""Networks with their activations, and the pairs (p, q) at which a theorem is checked for each."""


def rows(*groups: tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]) -> Rows:
    """The rows of several groups. A group has networks with their activations, and the pairs that all of them have.

    >>> rows(((("residual", "relu"),), DIAGONAL[1:]))
    {('residual', 'relu'): (('2', '2'), ('inf', 'inf'))}
    """
    return {network: pairs for networks, pairs in groups for network in networks}
