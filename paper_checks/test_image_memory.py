"""Networks of ten convolutions of 4,096 channels on images of 28 x 28 within 16 GiB, without weights.

The estimate of :attr:`bytes_per_network` is printed before anything is sampled, and the peak of the process after one
forward pass and one row of J. The row has the length that T1 says, √(ω^L) here, within what one network scatters.

``python paper_checks/test_image_memory.py`` prints the numbers, in one to two minutes of computing on one core.
``pytest -m paper paper_checks/test_image_memory.py`` runs the test.
"""

import resource
import subprocess
import sys
import time

import pytest
import torch

import advmf as mf

pytestmark = pytest.mark.paper

N, L, SIDE, LIMIT = 4096, 10, 28, 16 * 2**30


def peak():
    """The most memory that this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(N=N, L=L):
    d = SIDE**2
    networks = mf.simulate.sample(
        mf.conv(1, 0, image=(1, SIDE, SIDE)), N=N, L=L, d=d, K=10, sampler="conditioned", queries=2, memory=LIMIT - 2**30,
        keep=False, generator=torch.Generator().manual_seed(0), sigma_w=2**0.5, sigma_b=0.0,
    )  # fmt: skip
    print(f"estimate: {networks.bytes_per_network:,} bytes of answers for one network", flush=True)
    x, start = torch.randn(d, generator=torch.Generator().manual_seed(1)), time.process_time()
    for trace in networks.traces(x * d**0.5 / x.norm()):
        row = trace.pull(torch.eye(10)[:1].mT[None, :, None, :])
    print(f"|row of J|² = {float(row.square().sum()):.3f}, after {time.process_time() - start:.0f} s of computing")
    print(f"peak: {peak():,} bytes")
    return float(row.square().sum())


def test_it_fits():
    """A row of J has mean square ω^L = 1; the control is one that lacks the gates' 1/2 at each layer, 2^10."""
    found = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=True).stdout.split()
    numbers = [float(word.replace(",", "").rstrip(",")) for word in found if word[0].isdigit()]
    estimate, square, most = numbers[0], numbers[1], numbers[-1]
    assert estimate < most < LIMIT and 0.5 < square < 2


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
