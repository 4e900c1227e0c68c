"""Passes through networks on images against torch's own convolutions on the same weights, in the same run, on one
thread.

A pass is f at several images, and J(x)ᵀc there. The peer is ``F.conv2d`` with autograd, which stores nothing for
differences and attacks.
"""

import time

import pytest
import torch
import torch.nn.functional as F

import advmf as mf
from advmf.simulate.networks import layers

L, SIDE, K, IMAGES = 4, 8, 10, 20

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("N", [64, 256])
def test_forward_and_pull(benchmark, N):
    ensemble = mf.simulate.sample(
        mf.conv(1, 0, image=(1, SIDE, SIDE)), N=N, L=L, d=SIDE**2, K=K, nets=1, sigma_w=2**0.5, sigma_b=0.0,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    x = torch.randn(IMAGES, SIDE**2, generator=torch.Generator().manual_seed(1))
    cotangent = torch.randn(1, K, IMAGES, 1, generator=torch.Generator().manual_seed(2))
    (networks,) = ensemble.chunks()
    first, *taps, last = (layer.weight.values[0] for layer in layers(networks.map))

    def own():
        trace = networks.trace(ensemble.inputs(x))
        return trace.output, trace.pull(cotangent)

    def peer():
        inputs = x.unflatten(1, (1, SIDE, SIDE)).requires_grad_()
        h = F.conv2d(inputs, first[..., None, None])
        for w in taps:
            h = F.conv2d(F.pad(h, (1, 1, 1, 1), mode="circular"), w.unflatten(1, (N, 3, 3))).relu()
        f = h.flatten(1) @ last.mT
        return f, torch.autograd.grad((f * cotangent[0, ..., 0].mT).sum(), inputs)[0]

    (f, slope), (other, gradient) = own(), peer()
    torch.testing.assert_close(f[0, ..., 0].mT, other, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(slope[0, ..., 0].mT, gradient.flatten(1), rtol=1e-3, atol=1e-3)
    benchmark.pedantic(own, rounds=5, warmup_rounds=1)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        peer()
        times.append(time.perf_counter() - start)
    benchmark.extra_info["speed over torch's convolutions"] = round(min(times) / benchmark.stats.stats.min, 2)
