"""Declaring a random network: frozen blocks that compose, checked when they are declared.

A network is ``x^0 = P_in x``, then ``L`` copies of one block of width ``N``, then ``f(x) = P_out x^L``; ``P_in`` has
entries N(0, 1/d), ``P_out`` entries N(0, 1/N), and neither is trained. The block is built from :class:`Dense`,
:class:`ReLULike`, :class:`Mix`, :class:`Serial` and :class:`Residual`. A net with several blocks or widths has a
:class:`Stage` for each.

The same value gives the theory, the formulas, the kernels and the simulated network. A network that the theory cannot
carry is refused when it is declared, with the reason:

>>> import advmf as mf
>>> mf.Net(mf.Serial(mf.ReLULike(1, 0), mf.ReLULike(1, 0)))
Traceback (most recent call last):
    ...
advmf.errors.DeclarationError: ReLULike(u=1, v=0) acts on a stream whose coordinates are not centred Gaussian ...
"""

from advmf.nets.activations.activation import ClosedForm, Pointwise
from advmf.nets.activations.erf import Erf
from advmf.nets.activations.formula import Activation
from advmf.nets.activations.gelu import Gelu
from advmf.nets.activations.relu_like import ReLULike
from advmf.nets.activations.sine import Sine
from advmf.nets.algebra import Algebra
from advmf.nets.block import Block, Residual, Serial
from advmf.nets.conv import Conv
from advmf.nets.dropout import Dropout
from advmf.nets.gaussian import Dense, GaussianLayer, Mix
from advmf.nets.net import Net, Run, Stage, rebuilt, require_repeated, require_vectors
from advmf.nets.norms import LayerNorm, Norm, RMSNorm
from advmf.nets.pooling import AvgPool
from advmf.nets.presets import (
    PRESETS,
    STEPS,
    conv,
    conv_residual,
    plain_residual,
    post_norm,
    pre_norm,
    preactivation,
    pyramid,
    residual,
    vanilla,
)
from advmf.nets.readings import Coordinates, Grid, InTurn, Leaves, Rebuilt, Stream, Widths
from advmf.nets.windows import Sizes, Windows

__all__ = [
    "PRESETS",
    "STEPS",
    "Activation",
    "Algebra",
    "AvgPool",
    "Block",
    "ClosedForm",
    "Conv",
    "Coordinates",
    "Dense",
    "Dropout",
    "Erf",
    "GaussianLayer",
    "Gelu",
    "Grid",
    "InTurn",
    "Leaves",
    "LayerNorm",
    "Mix",
    "Net",
    "Norm",
    "Pointwise",
    "RMSNorm",
    "ReLULike",
    "Rebuilt",
    "Residual",
    "Run",
    "Serial",
    "Sizes",
    "Sine",
    "Stage",
    "Stream",
    "Widths",
    "Windows",
    "conv",
    "conv_residual",
    "plain_residual",
    "post_norm",
    "pre_norm",
    "preactivation",
    "pyramid",
    "rebuilt",
    "require_repeated",
    "require_vectors",
    "residual",
    "vanilla",
]
