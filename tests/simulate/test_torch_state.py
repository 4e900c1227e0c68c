"""Numbers are functions of the arguments: what the caller has set in torch, or wants gradients of, changes none of
them."""

import ast
import contextlib
import dataclasses
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import advmf as mf
from advmf import simulate
from advmf.errors import ArgumentError, DomainError, MemoryBudgetError
from advmf.simulate.state import source

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
"""What torch itself warns of where forward mode is used first."""

SAMPLERS = {"dense": {"N": 20}, "conditioned": {"N": 200, "queries": 4}}
SIDE = 9
ROOT = Path(simulate.__file__).parents[1]


def sample(sampler="dense", **more):
    settings = {"L": 2, "d": SIDE, "K": 4, "nets": 2, "sigma_w": 1.2, "sigma_b": 0.3, **SAMPLERS[sampler], **more}
    return simulate.sample(mf.residual(1, 0), sampler=sampler, generator=source(None, 3), **settings)


def points(*shape):
    return torch.randn(*shape, generator=source(None, 1), dtype=torch.float32, device="cpu").requires_grad_(GRADIENTS)


GRADIENTS = False
"""Whether inputs and matrices require gradients."""


def x():
    return points(2, SIDE)


@cache
def images():
    pictures = simulate.load("digits").resampled(SIDE).scaled(1.0)
    return dataclasses.replace(pictures, x=pictures.x[:50], labels=pictures.labels[:50] % 4)


def traced(sampler):
    networks = sample(sampler)
    (trace,) = networks.traces(x())
    return trace, networks.inputs(points(2, SIDE) / 10).expand(2, -1, -1, -1)


def shifted(sampler):
    trace, columns = traced(sampler)
    moved = trace.shift(columns)
    return moved.output, trace.push(columns), trace.pull(trace.output), moved.pull(moved.output), trace.stream()


def descended(sampler):
    networks = sample(sampler)
    (trace,) = networks.traces(x())
    gradients = [(delta, inputs) for _, delta, inputs in trace.gradients(trace.output)]
    trace.descend(trace.output, 1e-3)
    return gradients, networks.forward(x()), [w.squared_norm() for w, *_ in trace.gradients(trace.output)]


def products(sampler):
    networks = sample(sampler)
    t, c = points(SIDE), points(4)
    return networks.forward(x()), networks.jvp(x(), t), networks.vjp(x(), c), networks.jacobian(x())


def attacked(sampler, method):
    pairs = {"p": [1, 1.5, 2, 3, "inf"], "q": [1, 3, 2, 1.5, "inf"]}
    found = method(sample(sampler), x(), eps=0.5, steps=3, restarts=2, **pairs)
    return found.eta, found.value


def attacked_trace(sampler):
    trace, _ = traced(sampler)
    J = trace.jacobian()
    found = simulate.attack_trace(trace, eps=0.5, pairs=[(2.0, 1.0)], steps=2, generator=source(None), jacobian=J)
    return found.eta, found.value


def attacked_loss(sampler):
    trace, _ = traced(sampler)
    found = simulate.attack_loss(trace, lambda f, change: (f * change).sum(-1), eps=0.5, p=2.0, generator=source(None))
    return found.eta, found.value


def trained(sampler):
    settings = {"loss": "both", "batch": 2, "held_out": images().split(3, source(None))[1], "capacity": True}
    run = simulate.train(sample(sampler), images(), rate=1e-3, steps=2, p=1.5, q=2, directions=2, **settings)
    return [getattr(run, field.name) for field in dataclasses.fields(run)]


def checked():
    claims = [mf.loss_bound(mf.vanilla(1, 0), p=2, q=2), mf.capacity(mf.vanilla(1, 0))]
    at = {"L": 2, "d": 8, "K": 3, "sigma_w": 1.0, "sigma_b": 0.0, "eps": 0.1}
    return [f.estimate for c in claims for f in mf.check(c, at=at, nets=8, widths=(16, 24, 32)).findings]


ENTRIES = {
    "images": lambda: (images().resampled(7).x, images().split(9, source(None))[1].x, images().draw(3, source(None))),
    "norms": lambda: [
        (found.value, found.vector)
        for p in (1, 1.5, 3, "inf")
        for q in (1, 1.5, 3, "inf")
        for found in [simulate.operator_norm(points(2, 3, 4), p, q, starts=2, cooling=3, signs=3)]
    ],
    "many signs": lambda: [simulate.operator_norm(points(2, 9, 13), p, 1, signs=13).value for p in (2, "inf")],
    "bracket": lambda: [dataclasses.astuple(simulate.bracket(points(3, 4), p, q)) for p, q in ((3, 3), (3, 1), (2, 2))],
    "upper_bound": lambda: [simulate.upper_bound(points(3, 4), p, q) for p, q in ((1.5, 1.5), (3, 1), (1.5, 4))],
    "gaussian_norms": lambda: [
        (n.lower, n.upper) for n in simulate.gaussian_norms(5, 3, [(2, 2), (3, 3)], samples=3, certify=True).values()
    ],
    "check": checked,
    **{
        f"{name} {sampler}": lambda function=function, sampler=sampler: function(sampler)
        for sampler in SAMPLERS
        for name, function in {
            "products": products, "shift": shifted, "descend": descended, "attack_trace": attacked_trace,
            "attack_loss": attacked_loss, "train": trained,
            "suggest_rate": lambda sampler: simulate.suggest_rate(sample(sampler), images(), resolution=0.1),
            "attack": lambda sampler: attacked(sampler, simulate.attack),
            "pgd": lambda sampler: attacked(sampler, simulate.pgd),
        }.items()
    },
}  # fmt: skip


@contextlib.contextmanager
def other_defaults():
    """The defaults of dtype and device are others, and put back in the end."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(before)


@contextlib.contextmanager
def inputs_that_require_gradients():
    global GRADIENTS
    GRADIENTS = True
    try:
        yield
    finally:
        GRADIENTS = False


STATES = {
    "inference": torch.inference_mode,
    "requires_grad": inputs_that_require_gradients,
    "defaults": other_defaults,
}


def leaves(found):
    """All tensors and numbers of nested results, as NumPy arrays."""
    if isinstance(found, (list, tuple)):
        return [leaf for each in found for leaf in leaves(each)]
    return [] if found is None else [found.detach().numpy() if isinstance(found, torch.Tensor) else np.asarray(found)]


BASE = {}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("entry", ENTRIES)
def test_the_callers_state_changes_no_number(entry, state):
    if entry not in BASE:
        BASE[entry] = leaves(ENTRIES[entry]())
    with STATES[state]():
        found = leaves(ENTRIES[entry]())
    assert len(found) == len(BASE[entry]) > 0
    for one, other in zip(found, BASE[entry]):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_networks_of_inference_mode_are_like_others(sampler):
    with torch.inference_mode():
        inside = sample(sampler)
        inside.forward(x())
    outside = sample(sampler)
    outside.forward(x())
    one, other = (simulate.train(e, images(), loss="adversarial", rate=1e-3, steps=2) for e in (inside, outside))
    assert torch.equal(one.change, other.change)
    z = points(SIDE).requires_grad_()
    assert torch.equal(*(torch.autograd.grad(e.forward(z).sum(), z)[0] for e in (inside, outside)))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_outputs_are_differentiated_and_numbers_are_not(sampler):
    networks, z = sample(sampler), points(SIDE).requires_grad_()
    cotangent = points(4)
    (gradient,) = torch.autograd.grad((networks.forward(z) * cotangent).sum(), z)
    torch.testing.assert_close(gradient, networks.vjp(z, cotangent).detach().sum(0), rtol=1e-4, atol=1e-5)
    with torch.autograd.forward_ad.dual_level():
        dual = networks.forward(torch.autograd.forward_ad.make_dual(z.detach(), cotangent.new_ones(SIDE)))
        tangent = torch.autograd.forward_ad.unpack_dual(dual).tangent
    torch.testing.assert_close(tangent, networks.jvp(z, torch.ones(SIDE)).detach(), rtol=1e-4, atol=1e-5)
    (trace,) = networks.traces(z.detach())
    eta = networks.inputs(points(SIDE) / 10).repeat(2, 1, 1, 1).requires_grad_()
    (slope,) = torch.autograd.grad(trace.shift(eta).output.sum(), eta)
    pulled = trace.shift(eta.detach())
    torch.testing.assert_close(slope, pulled.pull(torch.ones_like(pulled.output)), rtol=1e-4, atol=1e-5)
    assert not simulate.attack(networks, z, eps=0.1, p=2, q=2).value.requires_grad


@pytest.mark.parametrize("q", [1, 1.5, 2, 3, "inf"])
@pytest.mark.parametrize("p", [1, 1.5, 2, 3, "inf"])
def test_an_operator_norm_has_the_gradient_of_its_maximiser(p, q):
    J = points(3, 4).double().requires_grad_()
    found = simulate.operator_norm(J, p, q, starts=2)
    (gradient,) = torch.autograd.grad(found.value, J)
    assert torch.isclose((gradient * J).sum(), found.value)  # Euler's identity
    step = 1e-6 * points(3, 4).double()
    moved = simulate.operator_norm(J + step, p, q).value - simulate.operator_norm(J - step, p, q).value
    assert torch.isclose((gradient * step).sum() * 2, moved, rtol=1e-4)


@pytest.mark.parametrize("q", [1, 1.5, 2, 3, "inf"])
@pytest.mark.parametrize("p", [1, 1.5, 2, 3, "inf"])
def test_matrices_of_few_digits_have_the_norms_of_their_values(p, q):
    for dtype, shape in ((torch.float16, (3, 4)), (torch.bfloat16, (2, 5, 4))):
        J = points(*shape).to(dtype)
        one, other = (simulate.operator_norm(z, p, q, starts=2, cooling=2, signs=3) for z in (J, J.float()))
        assert one.value.dtype == torch.float32 and torch.equal(one.value, other.value)
        assert torch.equal(simulate.upper_bound(J, p, q), simulate.upper_bound(J.float(), p, q))


FACTORIES = {
    "empty", "zeros", "ones", "full", "tensor", "as_tensor", "arange", "linspace", "logspace", "eye", "rand", "randn", "randint", "randperm",
    "scalar_tensor",
}  # fmt: skip
FILES = [
    *sorted((ROOT / "simulate").glob("*.py")),
    *(ROOT / "emit" / "engine" / name for name in ("tensors.py", "arrays_torch.py")),
    *(
        ROOT / "verify" / name
        for name in ("sources/simulation.py", "sources/parts.py", "sources/matrices.py", "runs.py")
    ),
    ROOT / "experiments" / "training_curve.py",
    ROOT / "nets" / "activations" / "relu_like.py",
]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_tensor_is_made_with_a_dtype_and_a_device(file):
    """torch's defaults are the caller's; generators are the CPU's whatever they are."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, (ast.Attribute, ast.Name)):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            of_torch = isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "torch"
            partial = name == "partial" and ast.unparse(node.args[0]).startswith("torch.")
            if (of_torch and name in FACTORIES) or partial:
                given = {keyword.arg for keyword in node.keywords}
                assert {"dtype", "device"} <= given, f"{file.name}:{node.lineno}: {ast.unparse(node)}"


NO_GENERATORS = {
    "sample": lambda g: simulate.sample(mf.vanilla(1, 0), N=4, L=1, d=2, K=2, sigma_w=1.0, sigma_b=0.0, generator=g),
    "attack": lambda g: simulate.attack(sample(), x(), eps=0.1, p=2, q=2, generator=g),
    "pgd": lambda g: simulate.pgd(sample(), x(), eps=0.1, p=2, q=2, generator=g),
    "operator_norm": lambda g: simulate.operator_norm(points(2, 3), 2, 2, generator=g),
    "bracket": lambda g: simulate.bracket(points(2, 3), 3, 3, generator=g),
    "gaussian_norms": lambda g: simulate.gaussian_norms(3, 2, [(2, 2)], samples=1, generator=g),
    "train": lambda g: simulate.train(sample(), images(), loss="adversarial", rate=0.1, steps=1, generator=g),
    "suggest_rate": lambda g: simulate.suggest_rate(sample(), images(), resolution=0.1, generator=g),
    "split": lambda g: images().split(3, g),
    "draw": lambda g: images().draw(3, g),
}


@pytest.mark.parametrize(
    "wrong", [0, 7, 0.0, "0", False, np.random.default_rng(0)], ids=lambda wrong: type(wrong).__name__ + str(wrong)[:1]
)
@pytest.mark.parametrize("name", NO_GENERATORS)
def test_what_is_no_generator_is_no_seed(name, wrong):
    with pytest.raises(ArgumentError, match=r"generator must be a torch\.Generator"):
        NO_GENERATORS[name](wrong)


HUGE = {
    "nets": lambda: sample(nets=10**9),
    "more nets": lambda: sample(nets=10**18),
    "L": lambda: sample(L=10**12, N=1),
    "L of few bytes": lambda: sample(L=10**7, N=1),
    "N": lambda: sample(N=10**9),
    "d": lambda: sample(d=10**12),
    "queries": lambda: sample("conditioned", N=10**6, queries=10**9),
    "attack directions": lambda: simulate.attack(sample(), x(), eps=0.1, p=2, q=2, directions=10**9),
    "attack restarts": lambda: simulate.attack(sample(), x(), eps=0.1, p=2, q=2, restarts=10**9),
    "pgd restarts": lambda: simulate.pgd(sample(), x(), eps=0.1, p=2, q=2, restarts=10**9),
    "batch": lambda: simulate.train(sample(), images(), loss="cross-entropy", rate=0.1, steps=1, batch=10**9),
    "rate's batch": lambda: simulate.suggest_rate(sample(), images(), resolution=0.1, batch=10**9),
    "steps": lambda: simulate.train(sample(), images(), loss="adversarial", rate=0.1, steps=10**12),
    "training directions": lambda: simulate.train(
        sample(), images(), loss="adversarial", rate=0.1, steps=1, directions=10**9
    ),
    "gaussian d": lambda: simulate.gaussian_norms(10**9, 3, [(2, 2)], samples=1),
    "gaussian K": lambda: simulate.gaussian_norms(3, 10**9, [(3, 3)], samples=1),
    "gaussian samples": lambda: simulate.gaussian_norms(3, 3, [(2, 2)], samples=10**20),
    "gaussian starts": lambda: simulate.gaussian_norms(3, 3, [(3, 3)], samples=1, starts=10**9),
    "starts": lambda: simulate.operator_norm(points(2, 3), 3, 3, starts=10**9),
    "cooling": lambda: simulate.bracket(points(2, 3), 3, 3, cooling=10**9),
    "resampled": lambda: images().resampled(10**9),
    "draw": lambda: images().draw(10**10, source(None)),
}


@pytest.mark.parametrize("name", HUGE)
def test_sizes_are_refused_with_bytes_before_anything_is_allocated(name, monkeypatch):
    def refuse(*_, **__):
        pytest.fail("something was allocated")

    sample(), x(), images()  # what a request is about
    for module, function in ((torch.Tensor, "normal_"), (torch, "randn"), (torch, "bmm"), (np, "linspace")):
        if not (module is torch and function == "randn" and name in ("starts", "cooling")):
            monkeypatch.setattr(module, function, refuse)
    inputs = points_before(monkeypatch)
    with pytest.raises(MemoryBudgetError, match=r"\d{1,3}(,\d{3})+ bytes"):
        HUGE[name]()
    del inputs


def points_before(monkeypatch):
    made = torch.ones(2, SIDE), torch.ones(2, 3)
    monkeypatch.setattr(f"{__name__}.points", lambda *shape: made[shape == (2, 3)])
    return made


def test_deep_networks_are_sampled_in_linear_time():
    """A quadratic bookkeeping of the layers took two minutes for 4,000 of them."""
    networks = simulate.sample(mf.vanilla(1, 0), N=2, L=3000, d=2, K=2, sigma_w=1.4, sigma_b=0.1, sampler="dense")
    assert networks.forward(torch.ones(2)).shape == (1, 2)


@pytest.mark.parametrize(
    ("eps", "error", "match"),
    [
        (1e39, DomainError, "squares of steps are numbers of torch.float32"),
        (10**400, DomainError, "eps must be positive and finite"),
        (1e-46, DomainError, "squares of steps are numbers of torch.float32"),
        (math.nan, DomainError, "eps must be positive and finite"),
        (3e38, DomainError, "squares of steps are numbers of torch.float32"),
        (torch.tensor([0.1, 0.2]), ArgumentError, "one number for all inputs"),
        (np.array([0.1, 0.2]), ArgumentError, "one number for all inputs"),
        ([0.1, 0.2], ArgumentError, "one number for all inputs"),
        (1j, ArgumentError, "eps must be a number"),
    ],
)
@pytest.mark.parametrize("method", [simulate.attack, simulate.pgd])
def test_an_eps_that_is_no_number_of_the_networks(method, eps, error, match):
    with pytest.raises(error, match=match):
        method(sample(), x(), eps=eps, p=2, q=2, steps=2)


def test_an_eps_of_any_form_is_its_number():
    found = [
        simulate.attack(sample(), x(), eps=eps, p=2, q=2, steps=1, directions=1).value
        for eps in (0.5, np.float32(0.5), torch.tensor(0.5))
    ]
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
