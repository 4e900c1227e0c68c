"""Attacks on modules: the race of ensembles on any function, against networks whose answers are known."""

import math

import pytest
import torch
from torch import nn

import advmf as mf
from advmf.errors import ArgumentError, DomainError
from advmf.simulate import attack, pgd, sample

PAIRS = [(p, q) for p in (1, 2, 3, math.inf) for q in (1, 2, 3, math.inf)]


def net():
    return mf.vanilla(1, 0)


def ensemble(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return sample(
        net(), N=20, L=2, d=6, K=3, sigma_w=1.4, sigma_b=0.1, sampler="dense", dtype=dtype, generator=generator
    )


def points(count=3, dtype=torch.float64):
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(1), dtype=dtype)


@pytest.mark.parametrize("method", [attack, pgd])
def test_a_module_is_attacked_as_its_ensemble_is(method):
    networks, x = ensemble(), points()
    ps, qs = zip(*PAIRS)
    few = {"steps": 4} if method is attack else {"steps": 4, "restarts": 2}
    module = mf.to_torch(networks)
    ours = method(module, x, eps=0.3, p=ps, q=qs, **few)
    theirs = method(networks, x, eps=0.3, p=ps, q=qs, **few)
    assert ours.eta.shape == (3, 16, 6) and ours.value.shape == (3, 16)
    torch.testing.assert_close(ours.value, theirs.value[0], rtol=1e-9, atol=0)
    changed = module(x[:, None] + ours.eta) - module(x)[:, None]
    for i, (p, q) in enumerate(PAIRS):
        assert (torch.linalg.vector_norm(ours.eta[:, i], p, -1) <= 0.3).all()
        torch.testing.assert_close(torch.linalg.vector_norm(changed[:, i], q, -1), ours.value[:, i], rtol=1e-9, atol=0)


def test_images_keep_their_shape_and_the_module_its_weights_and_gradients():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2), nn.Tanh(), nn.Flatten(), nn.Linear(64, 5)
    ).eval()
    before = {name: values.clone() for name, values in module.state_dict().items()}
    x = torch.rand(2, 1, 8, 8)
    found = attack(module, x, eps=0.1, p="inf", q=2, steps=3)
    assert found.eta.shape == x.shape and found.value.shape == (2,)
    torch.testing.assert_close((module(x + found.eta) - module(x)).norm(dim=1), found.value)
    assert all(torch.equal(values, before[name]) for name, values in module.state_dict().items())
    assert all(p.grad is None for p in module.parameters())
    assert (found.value > (module(x + 0.1 * torch.randn_like(x).sign()) - module(x)).norm(dim=1)).all(), "the control"


def test_a_linear_module_reaches_its_norm():
    module = nn.Linear(6, 4, bias=False).double()
    found = attack(module, points(1), eps=2.0, p=2, q=2).value
    torch.testing.assert_close(found[0], 2 * torch.linalg.matrix_norm(module.weight, 2), rtol=1e-9, atol=0)


class Noisy(nn.Linear):
    def forward(self, x):
        return super().forward(x + torch.randn_like(x))


class Image(nn.Linear):
    def forward(self, x):
        return super().forward(x)[:, None]


class Steps(nn.Linear):
    def forward(self, x):
        return super().forward(x.sign().detach())


def shared_nan():
    module = nn.Linear(6, 3)
    nn.init.constant_(module.weight, math.nan)
    return module


def mixed():
    return nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 3).double())


def loud(x):
    raise KeyError("inside")


def failing():
    module = nn.Linear(6, 3)
    module.forward = loud
    return module


@pytest.mark.parametrize(
    ("module", "x", "error", "match"),
    [
        (lambda: 3, None, ArgumentError, "Ensemble, as advmf.simulate.sample gives, or an nn.Module"),
        (lambda: nn.Linear(6, 3).half(), None, ArgumentError, "weight is of torch.float16; convert"),
        (lambda: nn.LazyLinear(3), None, ArgumentError, "no values yet"),
        (mixed, None, ArgumentError, "0.weight is of torch.float32 and 1.weight of torch.float64"),
        (shared_nan, None, DomainError, "weight holds NaN"),
        (lambda: nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4)), None, ArgumentError, r"1 \(BatchNorm1d\) is in the mode of training"),
        (lambda: nn.Sequential(nn.Linear(6, 4), nn.Dropout()), None, ArgumentError, r"1 \(Dropout\) is in the mode of training"),
        (lambda: nn.Linear(6, 3, device="meta"), None, ArgumentError, "weight is on the device meta and has no values"),
        (lambda: nn.Linear(5, 3), None, ArgumentError, "fails on inputs of shape"),
        (lambda: Noisy(6, 3), None, ArgumentError, "two outputs for one input"),
        (lambda: Image(6, 3), None, ArgumentError, r"\(B, K\)"),
        (lambda: Steps(6, 3), None, ArgumentError, "does not depend on its input"),
        (failing, None, ArgumentError, "KeyError"),
        (nn.ReLU, None, ArgumentError, "no parameters"),
        (lambda: nn.Linear(6, 3), torch.ones(6), ArgumentError, r"x\[None\]"),
        (lambda: nn.Linear(6, 3), torch.ones(2, 6) * math.inf, DomainError, "NaN or infinite"),
        (lambda: nn.Linear(6, 3), torch.ones(2, 6).half(), ArgumentError, "torch.float16"),
        (lambda: nn.Linear(6, 3), torch.ones(2, 6, dtype=torch.complex64), ArgumentError, "complex64"),
    ],
)  # fmt: skip
def test_what_cannot_be_attacked_is_refused(module, x, error, match):
    with pytest.raises(error, match=match):
        attack(module(), torch.ones(2, 6) if x is None else x, eps=0.1, p=2, q=2)
