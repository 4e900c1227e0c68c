"""On a GPU: the same numbers as on the CPU where weights are the same, the same law where they are drawn there.

Run by ``pytest -m cuda``, where a GPU is. A comparison of samples fails by chance once in 10⁵; seeds are fixed.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

import advmf as mf
from advmf import simulate
from advmf.cli import main
from advmf.emit.kernels import kernel
from advmf.simulate.dense import DenseMatrix
from advmf.simulate.networks import Mask, layers, leaves
from advmf.theorems import THEOREMS

pytestmark = pytest.mark.cuda

DEVICE = "cuda:0"
ALPHA = 1e-5
VALUES = {"sigma_w": 1.3, "sigma_b": 0.4}
NETS = {
    "vanilla": mf.vanilla(1, 0),
    "residual": mf.residual(1, 0),
    "plain gelu": mf.plain_residual(phi="gelu"),
    "pre_norm": mf.pre_norm(1, 0),
    "dropped": mf.Net(mf.Residual(mf.Dense(), mf.ReLULike(1, 0), mf.Dropout("1/5"))),
    "conv_zero": mf.conv(1, 0, image=(1, 4, 4), padding="zero"),
    "conv_pool": mf.conv(1, 0, image=(1, 4, 4), head="pool"),
}
PAIRS = {"p": [1, 1.5, 2, "inf"], "q": [1, 3, 2, "inf"]}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def sampled(net, sampler="dense", device=DEVICE, N=32, nets=4, dtype=torch.float64, seed=0, **values):
    return simulate.sample(
        net, N=N, L=2, d=net.inputs or 9, K=4, nets=nets, sampler=sampler, dtype=dtype, device=device,
        generator=generator(seed), **(VALUES | values),
    )  # fmt: skip


def points(*shape, seed=1):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def twin(networks):
    """Networks on the CPU with the weights of those on the GPU."""
    own = replace(networks, device=torch.device("cpu"), _kept=[])
    for there, here in zip(networks.chunks(), own.chunks()):
        for one, other in zip(leaves(there.map), leaves(here.map)):
            if isinstance(one, Mask):
                other.values.copy_(one.values)
        for one, other in zip(layers(there.map), layers(here.map)):
            assert isinstance(one.weight, DenseMatrix)
            other.weight.values.copy_(one.weight.values)
            if one.bias is not None:
                other.bias.copy_(one.bias)
    return own


def agree(there, here, **tolerance):
    assert there.device.type == torch.device(DEVICE).type
    torch.testing.assert_close(there.cpu(), here.cpu(), **tolerance)


@pytest.mark.parametrize("name", NETS)
def test_maps_of_the_same_weights_are_the_same(name):
    networks = sampled(NETS[name])
    own, x = twin(networks), points(3, networks.d)
    agree(networks.forward(x.to(DEVICE)), own.forward(x))
    agree(networks.jacobian(x.to(DEVICE)), own.jacobian(x))
    t, c = points(networks.d, seed=2), points(4, seed=3)
    agree(networks.jvp(x.to(DEVICE), t.to(DEVICE)), own.jvp(x, t))
    agree(networks.vjp(x.to(DEVICE), c.to(DEVICE)), own.vjp(x, c))


@pytest.mark.parametrize("method", [simulate.attack, simulate.pgd])
@pytest.mark.parametrize("name", NETS)
def test_attacks_find_what_they_say_and_as_much_as_on_the_cpu(name, method):
    networks = sampled(NETS[name], nets=8)
    own, x = twin(networks), points(2, networks.d)
    settings = {"eps": 0.3, "steps": 6, "generator": generator(), **PAIRS}
    there, here = method(networks, x.to(DEVICE), **settings), method(own, x, **settings)
    moved = own.forward((x[None, :, None] + there.eta.cpu()).flatten(0, 2))  # each change, by every network
    change = moved.unflatten(1, there.value.shape) - own.forward(x)[:, None, :, None]
    for i, (p, q) in enumerate(zip(map(float, PAIRS["p"]), map(float, PAIRS["q"]))):
        assert bool((torch.linalg.vector_norm(there.eta[..., i, :], p, -1) <= 0.3 * (1 + 1e-9)).all())
        each = torch.linalg.vector_norm(change[..., i, :], q, -1)
        agree(there.value[..., i], torch.stack([each[n, n] for n in range(8)]))
    ratio = there.value.cpu().double().mean() / here.value.double().mean()
    assert abs(float(ratio) - 1) < 0.02


def samples(networks, x):
    """Outputs, an entry of the Jacobian and attacks: a column for each network."""
    J = networks.jacobian(x)
    found = simulate.attack(networks, x, eps=0.3, p=2, q="inf", steps=3, directions=1, generator=generator())
    columns = networks.forward(x)[:, 0], networks.forward(2 * x)[:, 0], J[:, 0, 0], J[:, 1, 2], found.value.reshape(-1)
    return [column.double().cpu().numpy() for column in columns]


@pytest.mark.parametrize("sampler", ["dense", "conditioned"])
@pytest.mark.parametrize("name", ["vanilla", "residual", "plain gelu"])
def test_laws_are_those_of_the_cpu(name, sampler):
    settings = {"nets": 3000, "N": 64, "dtype": torch.float32}
    x = points(9).float()
    there = samples(sampled(NETS[name], sampler, **settings), x.to(DEVICE))
    here = samples(sampled(NETS[name], "dense", "cpu", seed=1, **settings), x)
    wrong = samples(sampled(NETS[name], "dense", "cpu", seed=1, **settings, sigma_w=1.5), x)
    assert all(stats.ks_2samp(one, other).pvalue > ALPHA for one, other in zip(there, here))
    assert any(stats.ks_2samp(one, other).pvalue < ALPHA for one, other in zip(there, wrong))


@pytest.mark.parametrize("name", NETS)
def test_networks_of_infinite_width_are_the_same_on_each_device(name):
    """Their numbers are drawn on the CPU, from each network's seed."""
    net = NETS[name]
    there, here = (sampled(net, "auto", device, N="inf", nets=3) for device in (DEVICE, "cpu"))
    x = points(there.d)
    for moved in (x, 2 * x, x + 1e-6 * points(there.d, seed=5)):
        agree(there.forward(moved.to(DEVICE)), here.forward(moved), rtol=1e-6, atol=1e-8)
    agree(there.jacobian(x.to(DEVICE)), here.jacobian(x), rtol=1e-6, atol=1e-8)
    settings = {"eps": 0.3, "p": 2, "q": "inf", "steps": 3, "generator": generator()}
    one, other = simulate.attack(there, x.to(DEVICE), **settings), simulate.attack(here, x, **settings)
    agree(one.value, other.value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("p", [1, 1.5, 2, 3, "inf"])
@pytest.mark.parametrize("q", [1, 1.5, 2, 3, "inf"])
def test_norms_and_their_bounds(p, q):
    J = points(5, 4, 7)
    there, here = simulate.operator_norm(J.to(DEVICE), p, q), simulate.operator_norm(J, p, q)
    agree(there.value, here.value, rtol=1e-9, atol=0)
    agree(simulate.upper_bound(J.to(DEVICE), p, q), simulate.upper_bound(J, p, q), rtol=1e-9, atol=0)


@pytest.mark.parametrize("pair", [(3, 3), (3, 1), (2, 2)])
def test_brackets(pair):
    J = points(2, 3, 4)
    there, here = (simulate.bracket(matrix, *pair) for matrix in (J.to(DEVICE), J))
    agree(there.lower, here.lower, rtol=1e-6, atol=0)
    agree(there.upper, here.upper, rtol=1e-6, atol=0)


@pytest.mark.parametrize("loss", ["adversarial", "cross-entropy", "both"])
def test_training_of_the_same_weights_is_the_same(loss):
    pictures = simulate.load("digits").resampled(9).scaled(1.0)
    pictures = replace(pictures, x=pictures.x[:40], labels=pictures.labels[:40] % 4)
    settings = {"loss": loss, "rate": 1e-3, "steps": 4, "batch": 2, "p": 2, "q": 2, "capacity": True}
    networks = sampled(NETS["residual"])
    own = twin(networks)
    there, here = (simulate.train(each, pictures, generator=generator(), **settings) for each in (networks, own))
    agree_on_cpu = {name: (getattr(there, name), getattr(here, name)) for name in ("change", "capacity")}
    for one, other in agree_on_cpu.values():
        torch.testing.assert_close(one.cpu(), other, rtol=1e-5, atol=1e-9)
    assert float(there.change.abs().max()) > 0


AT = {
    "L": 4, "N": 50, "d": 20, "K": 4, "sigma_w": 1.1, "sigma_b": 0.3, "eps": 0.3, "p": 3.0, "q": 1.5, "t": 3.0, "M": 5.0, "m": 0.4, "x_sq": 1.2,
    "y_sq": 0.9, "lam": 1.0,
}  # fmt: skip
SIZES = {"L", "N", "d", "K"}
STATEMENTS = {
    f"{name} {i}": claim.rhs
    for name, theorem in THEOREMS.items()
    for i, claim in enumerate(theorem.stated(mf.residual(1, "1/5"), "inf", "2", "chevet"))
    if claim.rhs.free_symbols and {symbol.name for symbol in claim.rhs.free_symbols} <= set(AT)
}


@pytest.mark.parametrize("label", STATEMENTS)
def test_kernels_of_tensors_there(label):
    f, g = (kernel(STATEMENTS[label], backend) for backend in ("torch", "numpy"))
    steps = np.arange(5.0)
    grid = {name: AT[name] + (steps if name in SIZES else AT[name] * steps / 20) for name in f.arguments}
    there = f(**{name: torch.tensor(values, device=DEVICE) for name, values in grid.items()})
    agree(there, torch.as_tensor(g(**grid)), rtol=1e-11, atol=0)


def test_a_kernel_has_gradients_there():
    f = kernel(STATEMENTS["T2 0"], "torch")
    at = [
        {name: torch.tensor(AT[name], device=device, dtype=torch.float64).requires_grad_() for name in f.arguments}
        for device in (DEVICE, "cpu")
    ]
    for values in at:
        f(**values).backward()
    for name in f.arguments:
        agree(at[0][name].grad, at[1][name].grad)


@pytest.mark.parametrize("name", ["vanilla", "conv_zero"])
def test_the_digits_of_float32_are_kept_whatever_torch_is_told(name):
    """TensorFloat-32 has three digits. A ball of radius 1e-4 is lost in them."""
    module = mf.to_torch(
        NETS[name], N=64, L=2, d=NETS[name].inputs or 9, K=4, device=DEVICE, generator=generator(), **VALUES
    )
    x = points(2, *(NETS[name].image or (9,))).float()
    found = []
    for precision in ("highest", "high"):
        torch.set_float32_matmul_precision(precision)
        found.append(simulate.attack(module.to(DEVICE), x.to(DEVICE), eps=1e-4, p=2, q=2).value)
    torch.set_float32_matmul_precision("highest")
    here = simulate.attack(module.cpu(), x, eps=1e-4, p=2, q=2).value
    agree(*found, rtol=1e-3, atol=0)
    agree(found[0], here, rtol=2e-2, atol=0)


def test_a_module_there_is_read_attacked_and_audited():
    settings = {"N": 64, "L": 2, "d": 16, "K": 4, **VALUES}
    module = mf.to_torch(NETS["vanilla"], device=DEVICE, generator=generator(), **settings)
    x = points(3, 16).float()
    agree(module(x.to(DEVICE)), module.cpu()(x))
    found = mf.from_torch(module.to(DEVICE), x.to(DEVICE))
    assert found.net == NETS["vanilla"]
    values = [simulate.attack(module.to(there), x.to(there), eps=0.3, p=2, q=2).value for there in (DEVICE, "cpu")]
    agree(*values, rtol=1e-3, atol=0)
    images = simulate.load("digits").resampled(16)
    options = {"eps": 0.1, "initialisations": 4, "twins": 8, "inputs": 2}
    for sigma_w, verdict in ((VALUES["sigma_w"], "stands"), (1.7, "departs")):
        law = NETS["vanilla"], VALUES | {"sigma_w": sigma_w, "L": 2}
        audit = mf.audit(
            lambda: mf.to_torch(NETS["vanilla"], device=DEVICE, **settings), images, declared=law, **options
        )
        assert audit.verdict == verdict


@pytest.mark.parametrize("theorem", ["T1", "T2", "T3", "T5", "F1", "F2", "D1"])
def test_the_default_check_stands(theorem, tmp_path, capsys):
    file = tmp_path / "results.json"
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "check",
                "--theorem",
                theorem,
                "--net",
                "residual",
                "--activation",
                "relu",
                "--device",
                DEVICE,
                "--json",
                str(file),
            ]
        )
    assert ended.value.code in (0, None), capsys.readouterr().out
    record = json.loads(file.read_text())
    assert record["summary"]["controls"]["total"] > 0
    assert {r["settings"]["environment"]["accelerator"] for r in record["results"]} == {torch.cuda.get_device_name()}
