"""Writes neural_tangents.json: NNGP and tangent kernels of networks on images by the package `neural-tangents`.

It pins an old jax and NumPy 1, so it is run in an environment of its own, and the tests read its numbers:

    python -m venv oracle
    oracle/bin/pip install neural-tangents==0.6.5 jax==0.4.25 jaxlib==0.4.25 "numpy<2" "scipy<1.13"
    oracle/bin/python paper_checks/neural_tangents_kernels.py tests/experiments/neural_tangents.json

Weights have variance W_std² over their fan-in, and biases b_std². The layer of the input has one tap and no bias, with
entries of variance one over the channels; the layer of the output has no bias either. Tangent kernels are not compared:
the package counts all layers, and these two are not trained here.
"""

import json
import sys

import jax
import numpy as np
from neural_tangents import stax

jax.config.update("jax_enable_x64", True)

SIGMA_W, SIGMA_B = 1.5, 0.3
IMAGE = (6, 6, 2)
PADDING = {"circular": "CIRCULAR", "zero": "SAME"}
PHI = {"relu": stax.Relu(), "erf": stax.Erf()}


def network(padding, head, phi, shortcut):
    """Two convolutions of 3 x 3 taps behind a layer at each position; with a shortcut, x + W φ(x) + b."""
    block = [stax.Conv(1, (3, 3), padding=PADDING[padding], W_std=SIGMA_W, b_std=SIGMA_B)]
    block = [PHI[phi], *block] if shortcut else [*block, PHI[phi]]
    inner = stax.serial(*block)
    if shortcut:
        inner = stax.serial(stax.FanOut(2), stax.parallel(stax.Identity(), inner), stax.FanInSum())
    end = stax.Flatten() if head == "flatten" else stax.GlobalAvgPool()
    first = stax.Conv(1, (1, 1), padding="VALID", W_std=1.0, b_std=None)
    return stax.serial(first, inner, inner, end, stax.Dense(1, W_std=1.0, b_std=None))[2]


def main(path):
    images = np.random.default_rng(0).normal(size=(3, *IMAGE)).round(3)
    found = []
    for padding in PADDING:
        for head in ("flatten", "pool"):
            for phi in PHI:
                for shortcut in (False, True):
                    kernel = network(padding, head, phi, shortcut)(images, None, "nngp")
                    found.append(
                        {
                            "padding": padding,
                            "head": head,
                            "phi": phi,
                            "shortcut": shortcut,
                            "nngp": np.asarray(kernel).tolist(),
                        }
                    )
    images = np.moveaxis(images, -1, 1).tolist()
    with open(path, "w") as file:
        json.dump({"sigma_w": SIGMA_W, "sigma_b": SIGMA_B, "images": images, "kernels": found}, file, indent=1)


if __name__ == "__main__":
    main(sys.argv[1])
