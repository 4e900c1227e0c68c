"""A written module is the sampled network: its outputs, its gradients, its law after a reset."""

import copy
import io

import pytest
import sympy as sp
import torch

import advmf as mf
from advmf.errors import ArgumentError, DomainError
from advmf.simulate import sample

SIZES = {"N": 8, "L": 2, "d": 6, "K": 3, "sigma_w": 1.3, "sigma_b": 0.4}
DENSE, ACT = mf.Dense(), mf.ReLULike(1, 0)
IMAGE = {"N": 6, "L": 1, "K": 3, "sigma_w": 1.3, "sigma_b": 0.4}


def stage(*blocks, repeat=1, width=1):
    return mf.Stage(mf.Serial(*blocks), repeat, width)


NETS = {
    **{name: preset(u=1, v=0) for name, preset in mf.PRESETS.items() if not name.startswith("conv")},
    "abs": mf.vanilla(1, -1),
    "slopes": mf.vanilla("1/2", "1/4"),
    **{
        f"vanilla {name}": mf.vanilla(phi=mf.Activation(name))
        for name in ("erf", "tanh", "gelu", "sin", "silu", "selu")
    },
    "formula": mf.vanilla(phi=mf.Activation(sp.sqrt(1 + mf.symbols.z**2))),
    "dropout": mf.Net(mf.Serial(DENSE, ACT, mf.Dropout("1/4"))),
    "branch": mf.Net(mf.Residual(DENSE, ACT, DENSE, scale="1/3", shortcut=mf.Mix())),
    "layer norm": mf.Net(mf.Residual(mf.LayerNorm(), DENSE, ACT, mf.Mix())),
}
IMAGES = {
    "conv": mf.conv(1, 0, image=(2, 4, 6)),
    "pool": mf.conv_residual(1, 0, image=(1, 5, 4), head="pool"),
    "line": mf.conv(1, 0, image=(2, 7)),
    "zero": mf.Net(mf.Serial(mf.Conv(3, padding="zero"), ACT), image=(1, 6, 6)),
    "stages": mf.Net(
        stage(mf.Conv(3, padding="zero"), ACT),
        stage(mf.Conv(3, padding="zero", stride=2), ACT, mf.Dense(), mf.RMSNorm(), width=2),
        image=(1, 6, 6),
    ),
    "averaged": mf.Net(stage(mf.Conv(3), ACT, mf.AvgPool(2)), stage(mf.Conv(1), ACT), image=(1, 6, 4), head="pool"),
    "averaged line": mf.Net(stage(mf.Conv(3), ACT, mf.AvgPool(3)), image=(2, 6)),
    "strided shortcut": mf.Net(
        mf.Stage(mf.Residual(mf.Conv(3, stride=2), ACT, mf.Mix(), shortcut=mf.Conv(1, stride=2)), 1),
        image=(1, 8, 4),
        head="pool",
    ),
    "even taps": mf.Net(mf.Stage(mf.Serial(mf.Conv(4, 1, 2), ACT), 2), image=(2, 8, 12)),
    "then dense": mf.Net(
        mf.Stage(mf.Serial(mf.Conv(3, "valid"), ACT, mf.AvgPool(2)), 1),
        mf.Stage(mf.Serial(mf.Conv(2, "valid", 2), ACT, mf.Dense(), mf.LayerNorm(), mf.Dropout("1/2")), 1, 2),
        image=(1, 6, 6),
    ),
    "image dropout": mf.Net(mf.Serial(mf.Conv(3), ACT, mf.LayerNorm(), mf.Dropout("1/2")), image=(1, 4, 4)),
}


def sampled(net, nets=2, **more):
    sizes = dict(SIZES) if net.image is None else {**IMAGE, "d": net.inputs}
    if net.depth.is_Integer:
        sizes.pop("L")
    generator = torch.Generator().manual_seed(3)
    return sample(net, nets=nets, sampler="dense", generator=generator, dtype=torch.float64, **{**sizes, **more})


def inputs(net, count=4):
    shape = (count, *(net.image or (SIZES["d"],)))
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("net", [*NETS.values(), *IMAGES.values()], ids=[*NETS, *IMAGES])
def test_the_members_of_an_ensemble_have_its_outputs_and_jacobians(net):
    networks, x = sampled(net), inputs(net)
    outputs, jacobians = networks.forward(x.flatten(1)), networks.jacobian(x.flatten(1))
    assert not torch.allclose(outputs[0], outputs[1])
    for member in range(2):
        module = mf.to_torch(networks, member=member)
        close = {"rtol": 1e-12, "atol": 1e-13}
        torch.testing.assert_close(module(x), outputs[member], **close)
        own = torch.stack(
            [torch.autograd.functional.jacobian(lambda t, module=module: module(t[None])[0], each) for each in x]
        )
        torch.testing.assert_close(own.flatten(2), jacobians[member], **close)


def test_a_module_is_one_that_torch_keeps_and_trains():
    module = mf.to_torch(mf.residual(1, 0), **SIZES, generator=torch.Generator().manual_seed(0))
    x = inputs(mf.residual(1, 0)).float()
    frozen = [name for name, p in module.named_parameters() if not p.requires_grad]
    assert frozen == ["0.weight", "1.branch.2.weight", "2.branch.2.weight", "3.weight"]
    before, copied = module(x).detach(), copy.deepcopy(module)
    optimiser = torch.optim.SGD(module.parameters(), lr=0.01)
    module(x).square().sum().backward()
    optimiser.step()
    assert not torch.equal(module(x), before)
    assert torch.equal(copied(x), before), "a copy is its own"
    assert torch.equal(copied[2:](copied[:2](x)), before) and torch.equal(copied[0].weight, module[0].weight)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    copied.load_state_dict(torch.load(file))
    assert torch.equal(module(x), copied(x))


def test_a_reset_draws_another_network_of_the_law():
    module = mf.to_torch(mf.vanilla(1, 0), **{**SIZES, "N": 300}, generator=torch.Generator().manual_seed(0))
    before = module[1].weight.detach().clone()
    module.reset_parameters(torch.Generator().manual_seed(1))
    after = module[1].weight.detach()
    assert not torch.equal(before, after)
    error = (2 / after.numel()) ** 0.5
    for weight in (before, after):
        assert abs(300 * weight.var().item() / 1.3**2 - 1) < 5 * error
    assert abs(300 * module[3].weight.var().item() / 1.2**2 - 1) > 5 * error, "the control: another deviation"


def test_wrong_calls():
    net = mf.vanilla(1, 0)
    with pytest.raises(ArgumentError, match="needs N, K"):
        mf.to_torch(net, L=2, d=6, sigma_w=1.0, sigma_b=0.0)
    with pytest.raises(ArgumentError, match="takes a Net"):
        mf.to_torch("vanilla", **SIZES)
    with pytest.raises(ArgumentError, match="explicit weights"):
        mf.to_torch(sample(net, **{**SIZES, "N": "inf"}))
    with pytest.raises(ArgumentError, match="explicit weights"):
        mf.to_torch(sample(net, **SIZES, sampler="conditioned"))
    with pytest.raises(ArgumentError, match="sizes and values already; got N"):
        mf.to_torch(sampled(net), N=8)
    with pytest.raises(DomainError, match="has 2 networks; got 2"):
        mf.to_torch(sampled(net), member=2)
    with pytest.raises(ArgumentError, match="sigma_b"):
        mf.to_torch(net, N=8, L=2, d=6, K=3, sigma_w=1.0)
