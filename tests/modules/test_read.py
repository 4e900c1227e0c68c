"""A module is read as the net that it is: by its values, by its law, and by what it is refused for."""

import copy
import math

import pytest
import sympy as sp
import torch
import torch.nn.functional as F
import zoo
from torch import nn

import advmf as mf
from advmf.errors import AdvmfError, ArgumentError, DeclarationError, DomainError
from advmf.modules import items, operations
from advmf.modules.measure import common
from advmf.modules.tidy import function
from advmf.simulate.pointwise import Smooth
from advmf.symbols import z

RELU, D = mf.ReLULike(1, 0), mf.Dense()
ROUND = {
    **{name: preset(u=1, v=0) for name, preset in mf.PRESETS.items()},
    **{f"vanilla {name}": mf.vanilla(phi=mf.Activation(name)) for name in ("leaky_relu", "abs", "erf", "tanh", "gelu", "sin", "silu", "hard_tanh")},
    "slopes": mf.residual("1/2", "1/4"),
    "formula": mf.vanilla(phi=mf.Activation(sp.sqrt(1 + z**2))),
    "cases": mf.vanilla(phi=mf.Activation(sp.Piecewise((z, z > 1), (sp.exp(z - 1), True)))),
    "dropout": mf.Net(mf.Serial(D, RELU, mf.Dropout("1/5"))),
    "branch": mf.Net(mf.Residual(D, RELU, D, scale="1/3", shortcut=mf.Mix())),
    "nested": mf.Net(mf.Residual(mf.Residual(RELU, D), mf.LayerNorm(), RELU, D, scale=-1)),
    "activation first": mf.Net(mf.Serial(RELU, D)),
    "pool": mf.conv_residual(1, 0, image=(1, 5, 4), head="pool"),
    "line": mf.conv(1, 0, image=(2, 7)),
    "zero": mf.Net(mf.Serial(mf.Conv(3, padding="zero"), RELU), image=(1, 6, 6)),
    "norms": mf.Net(mf.Serial(mf.Conv(3), RELU, mf.LayerNorm(), mf.Dropout("1/2")), image=(1, 4, 4)),
    "averaged": mf.Net(
        mf.Stage(mf.Serial(mf.Conv(3, "zero"), RELU, mf.AvgPool(2)), 2), mf.Stage(mf.Serial(D, RELU), 1), image=(2, 8, 12)
    ),
    "stride": mf.Net(mf.Stage(mf.Residual(mf.Conv(3, stride=2), RELU, mf.Mix(), shortcut=mf.Conv(1, stride=2)), 2), image=(1, 8, 8), head="pool"),
    "even taps": mf.Net(mf.Stage(mf.Serial(mf.Conv(4, 1, 2), RELU), 2), image=(2, 8, 12)),
    "lenet": mf.Net(
        mf.Stage(mf.Serial(mf.Conv(3, "zero"), RELU, mf.AvgPool(2), mf.Conv(3, "valid"), RELU), 1),
        mf.Stage(mf.Serial(mf.Conv(2, "valid", 2), RELU), 1, 3), mf.Stage(mf.Serial(D, RELU), 2, 2), image=(1, 8, 8),
    ),
    "averaged, then dense": mf.Net(
        mf.Stage(mf.Serial(mf.Conv(3), RELU, mf.AvgPool(6)), 1), mf.Stage(mf.Residual(D, RELU, D), 2), image=(1, 6, 6)
    ),
    "widths": mf.Net(
        mf.Stage(mf.Serial(mf.Conv(3), RELU), 1), mf.Stage(mf.Serial(mf.Conv(3, "zero", 2), RELU, D, mf.RMSNorm()), 1, 2), image=(1, 6, 6)
    ),
}  # fmt: skip


def written(net, **more):
    sizes = {"N": 64, "L": 3, "d": 16, "K": 5} if net.image is None else {"N": 24, "L": 2, "K": 5}
    if net.depth.is_Integer:
        sizes.pop("L")
    own = {**sizes, "sigma_w": 1.2, "sigma_b": 0.3, **more}
    return mf.to_torch(net, **own, generator=torch.Generator().manual_seed(0)), own


def batch(net_or_shape, count=2):
    shape = net_or_shape if isinstance(net_or_shape, tuple) else net_or_shape.image or (16,)
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rate", ["1/10", "1/3", "2/7"])
def test_the_rate_of_a_mask_is_read_from_every_dtype(rate, dtype):
    net = mf.Net(mf.Serial(D, RELU, mf.Dropout(rate)))
    module, _ = written(net, dtype=dtype)
    assert mf.from_torch(module, batch(net).to(dtype)).net == net


@pytest.mark.parametrize("net", ROUND.values(), ids=ROUND)
def test_what_is_written_is_read_again(net):
    module, sizes = written(net)
    found = mf.from_torch(module, batch(net), N=sizes["N"])
    assert found.net == net
    assert found.notes == ()
    assert {name: found.at[name] for name in sizes if not name.startswith("sigma")} == {
        name: value for name, value in sizes.items() if not name.startswith("sigma")
    }
    assert abs(found.at["sigma_w"] / 1.2 - 1) < 0.05 and abs(found.at["sigma_b"] / 0.3 - 1) < 0.4
    again, at = found
    assert again == net and at is found.at


def test_a_net_without_biases_keeps_the_symbol_of_its_preset():
    module, _ = written(mf.vanilla(1, 0), sigma_b=0.0)
    found = mf.from_torch(module, batch(mf.vanilla(1, 0)))
    assert found.net == mf.vanilla(1, 0) and found.at["sigma_b"] == 0


# The values of what was read, computed item by item.


def value(path, x):
    for item in path:
        x = step(item, x)
    return x


def step(item, x):
    match item:
        case items.Weights():
            weight, bias = item.matrix, item.bias
            if not item.axes:
                return F.linear(x, weight, bias)
            half = item.kernel // 2
            around = {"zero": half, "circular": half, "valid": 0}.get(item.padding, item.padding)
            x = F.pad(x, [around] * 2 * item.axes, "circular" if item.padding == "circular" else "constant")
            convolve = (F.conv1d, F.conv2d)[item.axes - 1]
            return convolve(x, weight.reshape(len(weight), -1, *[item.kernel] * item.axes), bias, item.stride)
        case items.Pointwise():
            return Smooth.of(function(item).phi(z), float).value(x)
        case items.Normed():
            x = x - x.mean(1, keepdim=True) if item.centred else x
            return x / (x**2).mean(1, keepdim=True).sqrt()
        case items.Added():
            return value(item.shortcut, x) + float(item.scale) * value(item.branch, x)
        case items.Averaged():
            return x.unflatten(-1, (-1, item.size)).mean(-1).unflatten(2, (-1, item.size)).mean(3)
        case items.Flat():
            return x.flatten(1)
        case items.Pooled():
            return x.flatten(2).mean(2)
    raise AssertionError(item)


class Forms(nn.Module):
    """Activations as functions, methods, in place, and by their formulas."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(24, 24) for _ in range(8))
        self.first, self.last, self.scale = (
            nn.Linear(16, 24),
            nn.Linear(24, 3),
            nn.Parameter(torch.tensor(0.3), requires_grad=False),
        )

    def forward(self, x):
        a, b, c, e, g, h, i, j = self.layers
        x = a(F.relu_(self.first(x)))
        x = b(x.tanh())
        x = c(x * torch.sigmoid(x))
        x = e(0.5 * x * (1 + torch.erf(x / 2**0.5)))
        x = g(torch.maximum(x, 0.1 * x))
        x = h(torch.where(x > 0, x, 0.2 * x) - 0.5 * x)
        x = x + self.scale * i(torch.relu(x))
        x = 0.7 * x - j(x.clamp(-1, 1)) / 2
        return self.last(F.dropout(x, 0.5, self.training))


def statistics(module):
    """Batch norms with statistics of their own, as after training."""
    generator = torch.Generator().manual_seed(5)
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            for values in (part.running_mean, part.weight.data, part.bias.data):
                values.copy_(torch.randn(values.shape, generator=generator))
            part.running_var.copy_(torch.rand(part.running_var.shape, generator=generator) + 0.5)
    return module.eval()


SEMANTICS = {
    "forms": (Forms, (16,)),
    "mlp": (lambda: zoo.mlp(N=32, act=nn.SELU), (1, 8, 8)),
    "batch norms": (lambda: statistics(zoo.mlp(N=32, norm=nn.BatchNorm1d)), (1, 8, 8)),
    "residual": (lambda: statistics(zoo.ResidualMLP(N=32)), (1, 8, 8)),
    "conv": (lambda: zoo.conv_net(C=8, act=nn.ELU), (1, 8, 8)),
    "pool": (lambda: zoo.conv_net(C=8, head="pool", act=nn.Softplus), (1, 8, 8)),
    "resnet": (lambda: zoo.resnet20(True, C=4), (3, 16, 16)),
    "pre norm": (lambda: zoo.PreNorm(N=32), (1, 8, 8)),
    "lenet": (zoo.LeNet5, (1, 28, 28)),
    "wong and kolter": (lambda: zoo.strided_net(C=4), (1, 28, 28)),
    "averaged, then dense": (lambda: statistics(zoo.dense_head(C=6)), (3, 13, 13)),
    "blocks on a flattened image": (lambda: statistics(zoo.blocks_on_an_image()), (1, 6, 6)),
    "resnet with projections": (lambda: zoo.resnet20(False, C=4, project=True), (3, 16, 16)),
}


@pytest.mark.parametrize(("make", "shape"), SEMANTICS.values(), ids=SEMANTICS)
def test_what_was_read_has_the_values_of_the_module(make, shape):
    torch.manual_seed(0)
    module = make().double().eval()
    x = batch(shape, 3).double()
    found = mf.from_torch(module, x)
    given = x.flatten(1) if found.net.image is None else x
    torch.testing.assert_close(value(found.path, given), module(x), rtol=1e-4, atol=1e-4)  # a norm's eps is left out
    wrong = [items.Pointwise(e.node, 2 * e.formula) if isinstance(e, items.Pointwise) else e for e in found.path]
    changed = [item for item in wrong if item not in found.path]
    assert not changed or not torch.allclose(value(wrong, given), module(x), rtol=1e-2, atol=1e-2), "the control"


BY_HAND = {
    "mask": (lambda x: x * (x > 0), RELU),
    "mask of numbers": (lambda x: (x > 0).float() * x, RELU),
    "both sides": (lambda x: (x > 0) * x + (x <= 0) * 0.2 * x, mf.ReLULike(1, "1/5")),
    "chosen by numbers": (lambda x: torch.where((x > 0).float() > 0.5, x, 0.1 * x), mf.ReLULike(1, "1/10")),
    "threshold": (lambda x: F.threshold(x, 0.0, 0.0), RELU),
    "largest": (lambda x: x.clamp_max(0.0), mf.ReLULike(0, 1)),
    "cast": (lambda x: F.relu(x.float().to("cpu")), RELU),
    "expit": (lambda x: x * torch.special.expit(x), mf.Activation("silu")),
}


@pytest.mark.parametrize(("own", "phi"), BY_HAND.values(), ids=BY_HAND)
def test_activations_are_read_from_comparisons_and_casts(own, phi):
    module = Two(lambda s, x: s.c(own(s.b(own(s.a(x)))))).eval()
    assert mf.from_torch(module, batch((16,))).net.activations[0] == phi


def test_a_module_of_he_is_vanilla_and_a_gain():
    torch.manual_seed(0)
    found = mf.from_torch(zoo.he(zoo.mlp()), batch((1, 8, 8)))
    block = mf.vanilla(1, 0).block
    gain = mf.ReLULike(*2 * [sp.Symbol("gain", positive=True)])
    assert found.net == mf.Net(mf.Stage(block, 5), mf.Stage(gain, 1))
    assert {name: found.at[name] for name in ("N", "d", "K", "sigma_b")} == {"N": 128, "d": 64, "K": 10, "sigma_b": 0}
    assert abs(found.at["sigma_w"] / 2**0.5 - 1) < 0.02 and abs(found.at["gain"] / 2**0.5 - 1) < 0.1
    assert [(layer.rows, layer.fan_in) for layer in found.layers] == [(128, 64), *[(128, 128)] * 4, (10, 128)]
    assert len(found.notes) == 1 and "P_in" in found.notes[0]
    T2 = mf.kernel(mf.loss_bound(found.net, 2, 2))(**found.at, eps=0.1)
    paper = mf.kernel(mf.loss_bound(mf.vanilla(1, 0), 2, 2))(
        L=5, d=64, K=10, sigma_w=found.at["sigma_w"], sigma_b=0, eps=0.1
    )
    assert T2 == pytest.approx(found.at["gain"] * paper)


@pytest.mark.parametrize(
    "make", [lambda: zoo.he(zoo.mlp(depth=3, N=160)), lambda: zoo.he(zoo.ResidualMLP(N=160)).eval(), zoo.PreNorm]
)
def test_the_declared_metric_is_that_of_plain_torch(make):
    """E |J|² = K d mean(Sigma) as N -> oo, against torch's own gradients of modules that torch initialised."""
    x, values = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(2)), []
    for seed in range(40):
        torch.manual_seed(seed)
        module = make()
        jacobian = torch.autograd.functional.jacobian(module, x)
        values.append(float((jacobian**2).sum()) / 10)
    net, at = mf.from_torch(module, x)
    law = mf.metric(net)
    across, along = (float(mf.kernel(e)(**{**at, "x_sq": float((x**2).mean())})) for e in (law.across, law.along))
    expected = (63 * across + along) / 64
    mean, error = sum(values) / 40, torch.tensor(values).std().item() / 40**0.5
    measured = 0.03 * expected  # the point is measured from one module
    assert abs(mean - expected) < 4.5 * error + measured
    assert abs(mean - 2 * expected) > 4.5 * error + 2 * measured, "the control: a factor of He"


def test_lenet_is_declared_with_its_dense_layers():
    torch.manual_seed(0)
    found = mf.from_torch(zoo.LeNet5(), batch((1, 28, 28)))
    layers = [leaf for leaf in found.net.leaves if isinstance(leaf, mf.nets.GaussianLayer)]
    assert [(type(e).__name__, getattr(e, "kernel", 1), getattr(e, "padding", "")) for e in layers] == [
        ("Conv", 5, "zero"), ("Conv", 5, "valid"), ("Conv", 5, "valid"), ("Dense", 1, "")
    ]  # fmt: skip
    assert [stage.width * found.at["N"] for stage in found.net.stages] == [6, 16, 120, 84, 84]
    assert [(layer.rows, layer.fan_in) for layer in found.layers] == [
        (6, 25), (16, 150), (120, 400), (84, 120), (10, 84)
    ]  # fmt: skip
    assert (found.net.sizes, found.net.head) == ((1, 1), "flatten")
    assert any("linear (in f1, a Linear) acts on a flattened image" in note for note in found.notes)


def test_a_layer_of_another_variance_has_a_symbol_of_its_own():
    torch.manual_seed(0)
    module = zoo.he(zoo.mlp(N=100))
    module[5].weight.data *= 1.3
    found = mf.from_torch(module, batch((1, 8, 8)))
    assert [stage.repeat for stage in found.net.stages] == [2, 1, 2, 1]
    assert found.at["sigma_w_3"] == pytest.approx(1.3 * 2**0.5, rel=0.03)
    assert found.at["sigma_w"] == pytest.approx(2**0.5, rel=0.02)


def test_a_small_layer_in_the_middle_does_not_make_a_large_one_depart():
    value, near = common([1.08, 1.0, 1.69], [0.03, 0.003, 0.003])
    assert near == [True, True, False] and value == pytest.approx(1.0, abs=0.003)


def test_a_moved_model_and_unused_parts_make_no_difference():
    torch.manual_seed(0)
    module = zoo.mlp(N=32)
    twin = nn.Sequential(nn.Identity(), *copy.deepcopy(module), nn.Identity())
    a, b = (mf.from_torch(each, batch((1, 8, 8))) for each in (module, twin))
    assert a.net == b.net and a.at == b.at


class Two(nn.Module):
    def __init__(self, forward):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(16, 32), nn.Linear(32, 32), nn.Linear(32, 3)
        self.norm, self.law = nn.BatchNorm1d(16), forward

    def forward(self, x):
        return self.law(self, x)


def two(forward):
    return lambda: Two(forward).eval()


def head(*layers):
    return lambda: nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


def tied():
    module = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
    module[2].weight = module[0].weight
    return module


def poisoned():
    module = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
    module[2].bias.data[1] = math.nan
    return module


def jump(x):
    return torch.where(x > 0, 1.0, 0.0 * x)


REFUSED = {
    "half": (lambda: nn.Linear(16, 3).half(), None, ArgumentError, "torch.float16; convert the module"),
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.Linear(8, 3)), None, ArgumentError, "no values yet"),
    "shared": (tied, None, DeclarationError, r"linear_1 \(in 2, a Linear\): it shares .*weight with linear"),
    "train": (lambda: zoo.mlp(d=16, norm=nn.BatchNorm1d), None, ArgumentError, r"2 \(BatchNorm1d\) is in the mode of training"),
    "dropout": (lambda: nn.Sequential(nn.Linear(16, 8), nn.Dropout(), nn.Linear(8, 3)), None, ArgumentError, r"1 \(Dropout\)"),
    "device": (lambda: nn.Linear(16, 3, device="meta"), None, ArgumentError, "device meta"),
    "nan": (poisoned, None, DomainError, "2.bias holds NaN"),
    "size": (lambda: zoo.mlp(), (1, 7, 7), ArgumentError, r"fails on inputs of shape \(1, 1, 7, 7\)"),
    "no module": (lambda: "module", None, ArgumentError, "nn.Module"),
    "volumes": (lambda: zoo.mlp(), (1, 4, 4, 4), ArgumentError, "one or two sizes"),
    "much padding": (head(nn.Conv2d(1, 4, 3, padding=3)), (1, 8, 8), DeclarationError, r"conv2d \(in 0, a Conv2d\).*less zeros than taps"),
    "even and circular": (head(nn.Conv2d(1, 4, 4, padding=2, padding_mode="circular")), (1, 8, 8), DeclarationError, "of an odd kernel"),
    "norm of all positions": (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.LayerNorm(144), nn.Linear(144, 5), nn.ReLU(), nn.Linear(5, 3)),
        (1, 8, 8), DeclarationError, r"layer_norm \(in 2, a LayerNorm\): it follows an image that is flattened",
    ),
    "oblong": (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(96, 5), nn.ReLU(), nn.Linear(5, 3)),
        (1, 8, 6), DeclarationError, "several layers follow an image of 6 x 4 positions",
    ),
    "max pool": (head(nn.Conv2d(1, 4, 3, 1, 1), nn.MaxPool2d(2)), (1, 8, 8), DeclarationError, r"max_pool2d \(in 1, a MaxPool2d\).*Supported are"),
    "groups": (head(nn.Conv2d(2, 4, 3, padding=1, groups=2)), (2, 8, 8), DeclarationError, "groups 2"),
    "softmax": (lambda: nn.Sequential(zoo.mlp(), nn.Softmax(1)), (1, 8, 8), DeclarationError, "softmax"),
    "tanh at the end": (lambda: nn.Sequential(zoo.mlp(), nn.Tanh()), (1, 8, 8), DeclarationError, "must end with a Linear"),
    "one layer": (lambda: nn.Linear(16, 3), None, DeclarationError, "nothing between"),
    "inputs": (two(lambda s, x: s.c(F.relu(s.b(s.a(s.norm(x)))))), None, DeclarationError, "acts on the inputs before any"),
    "shifted inputs": (two(lambda s, x: s.c(F.relu(s.b(s.a(x - 0.5))))), None, DeclarationError, "acts on the inputs before any"),
    "twice": (two(lambda s, x: s.c(s.b(F.relu(s.b(s.a(x)))))), None, DeclarationError, "shares b.weight"),
    "dense": (two(lambda s, x: s.c((lambda y: (y + s.b(y)) + (y + s.b(y)))(s.a(x)))), None, DeclarationError, "shares b.weight"),
    "one branch, two sums": (two(lambda s, x: (lambda y, w: s.c((y + w) + w))(s.a(x), s.b(s.a(x)))), None, DeclarationError, "shares a.weight"),
    "a shared part": (two(lambda s, x: (lambda y: (lambda w: s.c((y + w) + F.relu(w)))(s.b(y)))(s.a(x))), None, DeclarationError, "used by two sums"),
    "gate": (two(lambda s, x: (lambda y: s.c(y * s.b(y)))(s.a(x))), None, DeclarationError, "joins two values"),
    "jump": (two(lambda s, x: s.c(jump(s.b(s.a(x))))), None, DeclarationError, "no activation of a declared net"),
    "a step": (two(lambda s, x: s.c(torch.heaviside(s.b(s.a(x)), torch.tensor(0.0)))), None, ArgumentError, "cannot differentiate the module"),
    "threshold with a jump": (two(lambda s, x: s.c(F.threshold(s.b(s.a(x)), 0.5, 0.0))), None, DeclarationError, "jumps at z = 0.5"),
    "half inside": (two(lambda s, x: s.c(F.relu(s.b(s.a(x)).half()).float())), None, DeclarationError, "float32 into torch.float16"),
    "square": (two(lambda s, x: s.c(s.b(s.a(x)) ** 2)), None, DeclarationError, "no activation of a declared net"),
    "activation of a sum": (two(lambda s, x: (lambda y: s.c(F.relu(y + s.b(y))))(F.relu(s.a(x)))), None, DeclarationError, "not centred Gaussian"),
    "control flow": (two(lambda s, x: s.c(s.a(x)) if x.sum() > 0 else s.c(s.b(s.a(x)))), None, ArgumentError, "decide by the values"),
    "computed weights": (two(lambda s, x: (lambda y: s.c(F.linear(y, y.mT @ y)))(s.a(x))), None, DeclarationError, "numpy_T|matmul|mT"),
    "zeros": (two(lambda s, x: s.c(F.relu(s.a(x)))), "zeros", DeclarationError, "all its weights are zero"),
    "overlap": (head(nn.Conv2d(1, 4, 1), nn.AvgPool2d(3, 1)), (1, 8, 8), DeclarationError, r"windows of \[3, 3\] positions with stride \[1, 1\]"),
    "padded windows": (head(nn.Conv2d(1, 4, 1), nn.AvgPool2d(3, padding=1)), (1, 9, 9), DeclarationError, "without padding"),
    "a rest": (head(nn.Conv2d(1, 4, 1), nn.AvgPool2d(3)), (1, 8, 8), DeclarationError, r"from \(8, 8\) to \(2, 2\)"),
    "wide windows": (head(nn.Conv2d(1, 4, 1), nn.AvgPool2d((1, 2))), (1, 8, 8), DeclarationError, "the same size along all axes"),
    "resnet": (lambda: zoo.resnet20(False), (3, 16, 16), DeclarationError, r"relu_2 \(in 3, a BasicBlock\): ReLULike.* not centred Gaussian"),
    "mixer": (zoo.Mixer, (3, 4, 4), DeclarationError, r"flatten: it turns \(32, 4, 4\) into \(32, 16\).*MLP-Mixer.*kernel stays random"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "shape", "error", "match"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_declared_form_is_refused_by_its_name(make, shape, error, match):
    torch.manual_seed(0)
    module = make()
    if shape == "zeros":
        nn.init.zeros_(module.a.weight)
    x = batch(shape if isinstance(shape, tuple) else (16,), 1)
    with pytest.raises(error, match=match):
        mf.from_torch(module, x)


def test_no_wrong_input_ends_in_a_traceback_from_inside():
    module = zoo.mlp(N=16)
    for x in (
        None,
        "x",
        torch.zeros(1, 64).half(),
        torch.zeros(64),
        torch.zeros(0, 64),
        torch.full((1, 64), math.nan),
        torch.zeros(1, 64, device="meta"),
    ):
        with pytest.raises(AdvmfError):
            mf.from_torch(module, x)
    for N in (0, -1, 2.5, "wide"):
        with pytest.raises(AdvmfError):
            mf.from_torch(module, batch((64,)), N=N)


def test_an_operation_of_ones_own_is_read_by_a_rule_of_ones_own():
    @torch.library.custom_op("advmf_tests::root", mutates_args=())
    def root(x: torch.Tensor) -> torch.Tensor:
        return torch.sqrt(1 + x**2)

    root.register_fake(torch.empty_like)
    root.register_autograd(lambda ctx, g: g * ctx.saved_tensors[0] / torch.sqrt(1 + ctx.saved_tensors[0] ** 2),
                           setup_context=lambda ctx, inputs, output: ctx.save_for_backward(inputs[0]))  # fmt: skip

    module = Two(lambda s, x: s.c(root(s.b(root(s.a(x)))))).eval()
    with pytest.raises(DeclarationError, match=r"advmf_tests.root.default has no declared form"):
        mf.from_torch(module, batch((16,)))
    operations.rule("advmf_tests.root")(lambda node, x: operations.with_function(node, x, sp.sqrt(1 + z**2)))
    try:
        block = mf.from_torch(module, batch((16,))).net.stages[0].block
    finally:
        del operations.RULES["advmf_tests.root"]
    assert mf.Activation(sp.sqrt(1 + z**2)) in block.parts
