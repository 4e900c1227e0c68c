"""Comparisons of the laws of samples."""

import numpy as np
from scipy import stats

ALPHA = 1e-5
"""The false-fail rate of a comparison."""


def departures(one, two):
    """The comparisons of two samples that fail."""
    return [name for name in one if stats.ks_2samp(one[name], two[name], method="asymp").pvalue < ALPHA]


def mixtures(rows):
    """Each column, each sum and difference of two, and each product: their laws tell the covariance."""
    size = np.array([1, 1, 1, 1.5, 1.5])
    scaled = rows / size
    out = {f"{i}": scaled[:, i] for i in range(5)}
    for i in range(5):
        for j in range(i):
            out[f"{j}*{i}"] = scaled[:, i] * scaled[:, j]
            out[f"{j}-{i}"] = scaled[:, i] - scaled[:, j]
    return out
