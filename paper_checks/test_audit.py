"""The error rate of audits, and what they find: five architectures and seven faults, twenty audits of each.

An audit makes ten modules and draws 24 networks of their law. It has the error rate 1 %, so of 100 audits of sound
modules more than 5 depart with a probability below 0.06 %. Images are digits, ε = 0.1, (p, q) = (2, 2), four images in
each audit.

``python paper_checks/test_audit.py`` prints the tables of docs/audit.md, in half an hour. ``pytest -m paper
paper_checks/test_audit.py`` runs the tests.
"""

import functools
import statistics
import sys
from pathlib import Path

import pytest
import sympy as sp
from torch import nn

import advmf as mf

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "modules"))
import zoo

pytestmark = pytest.mark.paper

RUNS, FEW = 20, {"eps": 0.1, "p": 2, "q": 2, "inputs": 4}
FALSE = 5
"""The most false alarms in all audits of sound modules."""


def he_mlp():
    return zoo.he(zoo.mlp())


def he_residual():
    return zoo.he(zoo.ResidualMLP()).eval()


def conv():
    return zoo.conv_net(C=24)


SOUND = {
    "MLP, He, ReLU": he_mlp,
    "MLP, torch's default, tanh": lambda: zoo.mlp(act=nn.Tanh),
    "residual MLP with batch norms": he_residual,
    "three convolutions, torch's default": conv,
    "blocks with layer norms first, GELU": zoo.PreNorm,
}


def scaled(make, layer, factor):
    def made():
        module = make()
        layer(module).weight.data.mul_(factor)
        return module

    return made


def declared(phi):
    gain = sp.Symbol("gain", positive=True)
    net = mf.Net(mf.Stage(mf.vanilla(phi=phi).block, 5), mf.Stage(mf.ReLULike(gain, gain), 1))
    return {"declared": (net, {"N": 128, "K": 10, "d": 64, "sigma_w": 2**0.5, "sigma_b": 0.0, "gain": 2**0.5})}


FAULTS = {
    "MLP, third layer times 1.3": (scaled(he_mlp, lambda m: m[5], 1.3), {}, "linear_2"),
    "MLP, third layer without He's gain": (scaled(he_mlp, lambda m: m[5], 0.5**0.5), {}, "linear_2"),
    "residual MLP, V of the second block times 1.3": (
        scaled(he_residual, lambda m: m.blocks[1][3], 1.3),
        {},
        "linear_4",
    ),
    "second convolution times 1.3": (scaled(conv, lambda m: m[2], 1.3), {}, "conv2d_1"),
    "MLP of ReLU, tanh declared": (he_mlp, declared(mf.Activation("tanh")), None),
    "MLP of ReLU, GELU declared": (he_mlp, declared(mf.Gelu()), None),
    "MLP of ReLU, leaky ReLU (0.2) declared": (he_mlp, declared(mf.ReLULike(1, "1/5")), None),
}


@functools.cache
def audits(name):
    """The audits of an architecture or a fault."""
    module, more = (SOUND[name], {}) if name in SOUND else FAULTS[name][:2]
    images = mf.simulate.load("digits")
    return [mf.audit(module, images, seed=1000 * run, **FEW, **more) for run in range(RUNS)]


def departing(name, quantity, place=None):
    """In how many audits a quantity departs, at a place or anywhere."""
    return sum(
        any(f.quantity == quantity and (place in (None, f.where.partition(" ")[0])) for f in a.departures)
        for a in audits(name)
    )


def least(name, quantity):
    """The least departure of a quantity that is found with probability 0.95 at any place that is tested: the median
    over the audits."""
    own = [[f.least for f in a.findings if f.quantity == quantity and f.tested] for a in audits(name)]
    return statistics.median(max(values) for values in own)


def test_sound_modules_stand():
    assert sum(audit.verdict == "departs" for name in SOUND for audit in audits(name)) <= FALSE


@pytest.mark.parametrize("name", [name for name, (_, _, place) in FAULTS.items() if place])
def test_a_fault_of_a_layer_is_named_there_and_nowhere_else(name):
    place = FAULTS[name][2]
    assert departing(name, "sigma_w_sq", place) == RUNS
    others = sum(f.where.partition(" ")[0] not in (place, "") for audit in audits(name) for f in audit.departures)
    assert others <= FALSE


@pytest.mark.parametrize("name", [name for name, (_, _, place) in FAULTS.items() if not place])
def test_a_wrong_activation_is_found_by_itself_and_not_by_weights(name):
    assert departing(name, "activation") == RUNS
    assert departing(name, "sigma_w_sq") + departing(name, "edge") + departing(name, "spectrum") <= FALSE


def main():
    print("| modules | tests | stand | depart |\n| --- | --- | --- | --- |")
    for name in SOUND:
        verdicts = [audit.verdict for audit in audits(name)]
        print(
            f"| {name} | {audits(name)[0].tests} | {verdicts.count('stands')} | {verdicts.count('departs')} |",
            flush=True,
        )
    kinds = ("sigma_w_sq", "edge", "spectrum", "activation", "slope", "stream", "jacobian", "norm", "attack")
    print("| fault | departs | " + " | ".join(f"`{kind}`" for kind in kinds) + " |\n|" + " --- |" * (2 + len(kinds)))
    for name in FAULTS:
        found = sum(audit.verdict == "departs" for audit in audits(name))
        print(f"| {name} | {found} | " + " | ".join(str(departing(name, kind)) for kind in kinds) + " |", flush=True)

    kinds = ("sigma_w_sq", "edge", "spectrum", "stream", "jacobian", "norm", "attack")
    print("| least departure | " + " | ".join(f"`{kind}`" for kind in kinds) + " |\n|" + " --- |" * (1 + len(kinds)))
    for name in SOUND:
        print(f"| {name} | " + " | ".join(f"{100 * least(name, kind):.0f} %" for kind in kinds) + " |", flush=True)


if __name__ == "__main__":
    main()
