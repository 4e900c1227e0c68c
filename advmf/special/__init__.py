"""Array versions of special functions that no library provides.

A differentiable function takes its array library as ``ops``, an object with the operations named in
:class:`advmf.special.elementary.Ops`. NumPy and torch differ only in these operations, so torch differentiates through
the same code.
"""

from advmf.special.comparison import estimated_norm, tilted_norm
from advmf.special.elementary import (
    arc_cosine,
    arc_cosine_rest,
    arc_cosine_rest_slope,
    chi_mean,
    log_gamma_ratio,
    numpy_ops,
)
from advmf.special.extremes import extreme_norm, extreme_norm_quantile, norm_law
from advmf.special.gaussian_means import normal_mean, pair_mean, spread_mean
from advmf.special.gaussian_vectors import gaussian_norm, gaussian_norm_of_inverse
from advmf.special.profile_matrices import estimated_profile_norm, profile_extreme
from advmf.special.profiles import profile, profile_norm, profile_radius, profile_share
from advmf.special.proximal import nuclear_norm, prox_norm, prox_square, proximal_map
from advmf.special.spectral import spectral_norm

__all__ = [
    "arc_cosine",
    "arc_cosine_rest",
    "arc_cosine_rest_slope",
    "chi_mean",
    "estimated_norm",
    "estimated_profile_norm",
    "extreme_norm",
    "extreme_norm_quantile",
    "gaussian_norm",
    "gaussian_norm_of_inverse",
    "log_gamma_ratio",
    "norm_law",
    "normal_mean",
    "nuclear_norm",
    "numpy_ops",
    "pair_mean",
    "profile",
    "profile_extreme",
    "profile_norm",
    "profile_radius",
    "profile_share",
    "prox_norm",
    "prox_square",
    "proximal_map",
    "spectral_norm",
    "spread_mean",
    "tilted_norm",
]
