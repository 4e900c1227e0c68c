"""The special functions of the theory, as SymPy functions that stay exact until numbers are asked for.

Each class has its closed forms, its LaTeX and its numbers. Its file also registers *columns*: how the function is
computed on arrays and in native code, written as source, and so on (:mod:`advmf.functions.columns`).
"""

from advmf.functions.arc_cosine import ArcCosine, ArcCosineRest, ArcCosineRestSlope, ArcCosineSlope
from advmf.functions.conjugate import Conjugate, positive_number
from advmf.functions.flow import Flow, power_law, power_of
from advmf.functions.gaussian_mean import KINKED, GaussianMean
from advmf.functions.gaussian_norm import GaussianNorm
from advmf.functions.geometric_sum import GeometricSum
from advmf.functions.normal_mean import NormalMean, OverGaussians, PairMean
from advmf.functions.numeric_norms import (
    EstimatedNorm,
    ExtremeNorm,
    ExtremeNormQuantile,
    NumericNorm,
    SpectralNorm,
    TiltedNorm,
)
from advmf.functions.profile_norms import EstimatedProfileNorm, ProfileExtreme, ProfileNorm, ProfileRadius, ProfileShare
from advmf.functions.proximal import NuclearNorm, ProxNorm, ProxSquare
from advmf.functions.q_exponential import QExponential, QLogarithm
from advmf.functions.recursion import Recursion
from advmf.functions.spread_mean import SpreadMean
from advmf.functions.supremum import Crest, Supremum

FUNCTIONS = (
    ArcCosine, ArcCosineRest, ArcCosineRestSlope, ArcCosineSlope, Conjugate, Crest, EstimatedNorm, EstimatedProfileNorm, ExtremeNorm,
    ExtremeNormQuantile, Flow, GaussianMean, GaussianNorm, GeometricSum, NormalMean, NuclearNorm, PairMean,
    ProfileExtreme, ProfileNorm, ProfileRadius, ProfileShare, ProxNorm, ProxSquare, QExponential, QLogarithm,
    Recursion, SpectralNorm, SpreadMean, Supremum, TiltedNorm,
)  # fmt: skip
"""The functions."""

__all__ = [
    "FUNCTIONS",
    "KINKED",
    *(head.__name__ for head in FUNCTIONS),
    "NumericNorm",
    "OverGaussians",
    "positive_number",
    "power_law",
    "power_of",
]
