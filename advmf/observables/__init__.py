"""Observables: the random quantities of one sampled network that claims are about, each with its name, LaTeX and
measurement.

An observable is measured by a :class:`~advmf.simulate.probe.Probe`, which gives access to sampled networks. Nothing
here imports torch.

Each observable is an array over one network's output units and directions. ``unit`` and ``direction`` number
*different* units and directions, so that ``JacobianEntry(0, 0)*JacobianEntry(1, 0)`` is a product of two entries of one
column. A claim's left-hand side is an :class:`Expectation` of a polynomial in observables: the mean over units and
directions of one network, then over networks.
"""

from advmf.observables.law import Expectation, Probability, Quantile, adversarial_loss
from advmf.observables.measured import (
    AdversarialLoss,
    Capacity,
    CapacitySlope,
    EscapeTime,
    FeatureMaximum,
    FeatureRadius,
    HalfLife,
    JacobianAlong,
    JacobianEntry,
    LargestOperatorNorm,
    LimitLoss,
    LossAfter,
    LossDecay,
    LossLife,
    MatrixNorm,
    MeanCapacitySlope,
    Offset,
    OperatorNorm,
    Output,
    PixelSquare,
    SecondMoment,
    TrainedMatrix,
    TrainingEnd,
    WeightNormSlope,
    WeightVariance,
    WeightVarianceSlope,
)
from advmf.observables.observable import (
    ATTACK,
    GRADIENTS,
    JACOBIAN,
    OUTPUT_MEANS,
    SEARCH,
    Observable,
    UnitObservable,
)

__all__ = [
    "ATTACK",
    "AdversarialLoss",
    "Capacity",
    "CapacitySlope",
    "EscapeTime",
    "Expectation",
    "FeatureMaximum",
    "FeatureRadius",
    "GRADIENTS",
    "HalfLife",
    "JACOBIAN",
    "JacobianAlong",
    "JacobianEntry",
    "LargestOperatorNorm",
    "LimitLoss",
    "LossAfter",
    "LossDecay",
    "LossLife",
    "MatrixNorm",
    "MeanCapacitySlope",
    "Observable",
    "Offset",
    "OUTPUT_MEANS",
    "OperatorNorm",
    "Output",
    "PixelSquare",
    "Probability",
    "Quantile",
    "SEARCH",
    "SecondMoment",
    "TrainedMatrix",
    "TrainingEnd",
    "UnitObservable",
    "WeightNormSlope",
    "WeightVariance",
    "WeightVarianceSlope",
    "adversarial_loss",
]
