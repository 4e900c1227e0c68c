"""Comparisons of the laws of samples."""

import numpy as np
import torch
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


def block(value, x, y):
    """By autograd of a covariance ``value``: Cov((f, grad f)(x), (f, grad f)(y)), (1 + d, 1 + d)."""
    x, y = x.clone().requires_grad_(), y.clone().requires_grad_()
    k = value(x, y)
    by_x, by_y = torch.autograd.grad(k, (x, y), create_graph=True)
    both = torch.stack([torch.autograd.grad(g, y, retain_graph=True)[0] for g in by_x])
    top = torch.cat((k.detach().reshape(1, 1), by_y.detach()[None]), 1)
    return torch.cat((top, torch.cat((by_x.detach()[:, None], both), 1)), 0)


def maps_agree(networks, inputs, moves):
    """Assert that f(x + eta) by a pass of its own, and push, pull and Jacobian, are those of one another.

    Gives the trace at ``inputs`` (inputs, d), that at points close to them, and columns to pull. ``moves`` is
    eta (nets, d, inputs, 2).
    """
    (chunk,) = networks.chunks()
    trace, d = chunk.trace(networks.inputs(inputs)), inputs.shape[1]
    moved = networks.forward((inputs[0] + moves[:, :, 0, 1])[:, None])[:, 0]
    shifted = trace.shift(moves)
    torch.testing.assert_close(moved, (trace.output[..., 0] + shifted.output[..., 1])[:, :, 0], rtol=1e-6, atol=1e-6)
    J = trace.jacobian()
    t, c = torch.randn(3, d, 2, 1, dtype=torch.float64), torch.randn(3, 2, 2, 1, dtype=torch.float64)
    torch.testing.assert_close(trace.push(t), torch.einsum("bikd,bdic->bkic", J, t))
    torch.testing.assert_close(trace.pull(c), torch.einsum("bikd,bkic->bdic", J, c))
    linear = torch.einsum("bikd,bdic->bkic", J, 1e-4 * moves)
    near = trace.shift(1e-4 * moves)
    assert 0 < float((near.output - linear).abs().max()) < 0.05 * float(linear.abs().max())
    return trace, near, c
