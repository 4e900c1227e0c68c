import importlib
import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import advmf as mf
from advmf.errors import ArgumentError, DomainError
from advmf.simulate import Trace, attack, attack_trace, operator_norm, pgd
from advmf.simulate.geometry import maximiser, norm

INF = math.inf
PAIRS = list(product((1.0, 2.0, INF), repeat=2))
MODULE = importlib.import_module("advmf.simulate.race")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Matrices this small are multiplied faster than threads meet."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def sample(net=None, *, N=40, L=3, d=12, K=4, nets=3, dtype=torch.float64, **values):
    net = mf.vanilla(1, 0) if net is None else net
    values = {"sigma_w": 2**0.5, "sigma_b": 0.0} | values
    return mf.simulate.sample(net, N=N, L=L, d=d, K=K, nets=nets, generator=generator(), dtype=dtype, **values)


def point(d, *shape, seed=1):
    x = torch.randn(*shape, d, generator=generator(seed), dtype=torch.float64)
    return x / x.norm(dim=-1, keepdim=True) * d**0.5


def radius(p, d, size=1.0):
    """The eps whose ball holds perturbations of Euclidean norm ``size``."""
    return size * d ** -(max(0.0, 0.5 - 1 / p))


NETWORKS = sample()
SINGLE = sample(dtype=torch.float32, nets=2)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([1.0, 1.01, 1.5, 2.0, 3.0, 50.0, INF]) | st.floats(1, 40),
    st.sampled_from([1.0, 1.5, 2.0, 7.0, INF]),
    st.floats(1e-6, 1e3),
    st.sampled_from([attack, pgd]),
    st.sampled_from([NETWORKS, SINGLE]),
)
def test_perturbations_stay_in_the_ball_and_values_are_theirs(p, q, eps, method, networks):
    x = point(12)
    found = method(networks, x, eps=eps, p=p, q=q, steps=6, restarts=2)
    assert (norm(found.eta.double(), p) <= eps * (1 + 1e-15)).all()
    moved = torch.stack([networks.forward(x + eta)[i] for i, eta in enumerate(found.eta.double())])
    rounding = 100 * torch.finfo(networks.dtype).eps * (1 + eps)
    torch.testing.assert_close(found.value, norm(moved - networks.forward(x), q), rtol=1e-5, atol=rounding)


@pytest.mark.parametrize(("p", "q"), PAIRS)
@pytest.mark.parametrize("x", [point(12), point(12, 2), point(12, 3, 2)], ids=["d", "inputs", "nets"])
def test_shapes_and_values(p, q, x):
    found = attack(NETWORKS, x, eps=0.3, p=p, q=q)
    axes = (3, *x.shape[-2:-1])
    assert found.eta.shape == (*axes, 12) and found.value.shape == axes
    inputs = x.reshape(-1, 1, 12) if x.ndim == 1 else x.expand(3, -1, 12)
    etas = found.eta.reshape(3, -1, 12)
    moved = NETWORKS.forward(inputs.expand(3, -1, 12) + etas) - NETWORKS.forward(inputs.expand(3, -1, 12))
    torch.testing.assert_close(found.value.reshape(3, -1), norm(moved, q))


@pytest.mark.parametrize("net", [mf.vanilla(1, 1), mf.residual(1, 1)], ids=["vanilla", "residual"])
def test_linear_networks_are_attacked_to_the_operator_norm(net):
    d = 7
    networks = sample(net, d=d, nets=4)
    x, J = point(d), networks.jacobian(point(d))
    signs = {n: torch.tensor(list(product((1.0, -1.0), repeat=n)), dtype=torch.float64) for n in (4, d)}
    oracle = {(2.0, 2.0): torch.linalg.matrix_norm(J, 2)}
    for q in (1.0, 2.0, INF):
        oracle[1.0, q] = torch.linalg.vector_norm(J, q, -2).amax(-1)
        oracle[INF, q] = torch.linalg.vector_norm(signs[d] @ J.mT, q, -1).amax(-1)
    oracle[2.0, 1.0] = torch.linalg.vector_norm(signs[4] @ J, 2, -1).amax(-1)
    oracle[2.0, INF] = torch.linalg.vector_norm(J, 2, -1).amax(-1)
    (ps, qs), values = zip(*oracle), 0.3 * torch.stack(list(oracle.values()), -1)
    torch.testing.assert_close(attack(networks, x, eps=0.3, p=ps, q=qs).value, values)
    plain = pgd(networks, x, eps=0.3, p=ps, q=qs).value / values
    assert (plain <= 1 + 1e-9).all() and (plain.mean(0) > 0.97).all()
    wrong = attack(networks, x, eps=0.3, p=2, q=1).value
    assert (wrong > 1.05 * 0.3 * oracle[2.0, 2.0]).all()


@pytest.mark.parametrize("net", [mf.vanilla(1, 0), mf.residual(1, 0)], ids=["vanilla", "residual"])
@pytest.mark.parametrize("size", [0.1, 1.0])
def test_attack_reaches_long_projected_gradient_ascent(net, size):
    d = 30
    options = {"sigma_w": 2**0.5 if net.name == "vanilla" else 1.0, "dtype": torch.float32, "keep": True}
    networks, x = sample(net, N=100, L=5, d=d, nets=6, **options), point(d).float()
    for p in (1.0, 2.0, INF):
        settings = {"eps": radius(p, d, size), "p": [p] * 3, "q": [1, 2, INF]}
        found, long = attack(networks, x, **settings).value, pgd(networks, x, **settings).value
        assert (found.mean(0) >= 0.98 * long.mean(0)).all(), p


def test_a_scrambled_gradient_is_found_out(monkeypatch):
    d = 30
    networks = sample(N=100, L=5, d=d, nets=6)
    x = point(d)
    settings = {"eps": 1.0, "p": 2, "q": 2}
    right, start = attack(networks, x, **settings).value, attack(networks, x, **settings, steps=0).value
    traces, pull = list(networks.traces(x)), Trace.pull
    jacobians = [trace.jacobian() for trace in traces]
    monkeypatch.setattr(Trace, "pull", lambda self, c: pull(self, c).roll(1, 1))
    scrambled = torch.cat(
        [
            attack_trace(t, eps=1.0, pairs=[(2.0, 2.0)], generator=generator(), jacobian=J).value[:, 0, 0]
            for t, J in zip(traces, jacobians)
        ]
    )
    assert (right >= start).all()
    assert right.mean() > 1.05 * scrambled.mean()
    assert right.mean() > 1.05 * start.mean()
    assert pgd(networks, x, **settings).value.mean() < 0.9 * right.mean()


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("count", [4, 2])
def test_the_gradient_is_that_of_automatic_differentiation(count, together, monkeypatch):
    """Of all starts, or of the best two, which are those of the values or of what was seen before."""
    if not together:
        monkeypatch.setattr(MODULE, "TAPE", 1)
    trace = next(NETWORKS.traces(point(12)))
    eta = 0.5 * torch.randn(3, 1, 2, 4, 12, generator=generator(), dtype=torch.float64)
    seen = torch.full((3, 1, 2, 4), -math.inf, dtype=torch.float64)
    seen[1, 0, 1, 3] = 1e9
    value, kept, gradient = MODULE.passes(trace, eta, MODULE.norms((1.0, 3.0)), seen, count)
    assert (kept is None) == (count == 4)
    places = torch.arange(4).expand(3, 1, 2, 4) if kept is None else kept
    assert torch.equal(places.sort(-1).values, torch.maximum(seen, value).topk(count, -1).indices.sort(-1).values)
    base = NETWORKS.forward(point(12))
    for pair, q in enumerate((1.0, 3.0)):
        for net, start in product(range(3), range(4)):
            z = eta[net, 0, pair, start].clone().requires_grad_(True)
            expected = torch.linalg.vector_norm(NETWORKS.forward(point(12) + z)[net] - base[net], q)
            torch.testing.assert_close(value[net, 0, pair, start], expected.detach())
            for at in (places[net, 0, pair] == start).nonzero()[:, 0]:
                torch.testing.assert_close(gradient[net, 0, pair, at], torch.autograd.grad(expected, z)[0])


def test_more_starts_and_steps_do_no_harm():
    x, settings = point(12), {"eps": 1.0, "p": "inf", "q": 2}
    J = NETWORKS.jacobian(x)
    start = attack(NETWORKS, x, **settings, steps=0).value
    linear = operator_norm(J, "inf", 2).vector
    moved = torch.stack([NETWORKS.forward(x + e)[i] for i, e in enumerate(linear)]) - NETWORKS.forward(x)
    assert (start >= norm(moved, 2) * (1 - 1e-9)).all()
    assert (attack(NETWORKS, x, **settings).value >= start).all()
    assert (
        attack(NETWORKS, x, **settings, restarts=4).value.mean() >= 0.99 * attack(NETWORKS, x, **settings).value.mean()
    )


@pytest.mark.parametrize("method", [attack, pgd])
def test_same_seed_same_numbers(method):
    settings = {"eps": 1.0, "p": 1.5, "q": 1, "steps": 4}
    x = point(12)
    first, second = (method(NETWORKS, x, **settings, generator=generator(3)) for _ in range(2))
    assert torch.equal(first.eta, second.eta) and torch.equal(first.value, second.value)
    assert torch.equal(method(NETWORKS, x, **settings).eta, method(NETWORKS, x, **settings, generator=generator(0)).eta)
    assert not torch.equal(first.eta, method(NETWORKS, x, **settings, generator=generator(4)).eta)


@pytest.mark.parametrize("method", [attack, pgd])
def test_pairs_and_inputs_together_or_alone(method):
    x = point(12, 2)
    ps, qs = zip(*PAIRS, (1.5, 3.0))
    together = method(NETWORKS, x, eps=0.5, p=ps, q=qs, steps=5)
    assert together.eta.shape == (3, 2, 10, 12) and together.value.shape == (3, 2, 10)
    for i, (p, q) in enumerate(zip(ps, qs)):
        for j in range(2):
            alone = method(NETWORKS, x[j], eps=0.5, p=p, q=q, steps=5)
            torch.testing.assert_close(together.value[:, j, i], alone.value)
            torch.testing.assert_close(together.eta[:, j, i], alone.eta)


@pytest.mark.parametrize("method", [attack, pgd])
def test_chunks_and_blocks_of_columns_do_not_change_the_numbers(method, monkeypatch):
    x, settings = point(12, 2), {"eps": 0.5, "p": [2, "inf"], "q": [2, 1], "steps": 5}
    whole = method(NETWORKS, x, **settings)
    chunked = sample(memory=NETWORKS.bytes_per_network)
    assert len(list(chunked.chunks())) == 3 and len(list(NETWORKS.chunks())) == 1
    parts = method(chunked, x, **settings)
    monkeypatch.setattr(MODULE, "TAPE", 1)
    blocks = method(NETWORKS, x, **settings)
    for other in (parts, blocks):
        torch.testing.assert_close(other.value, whole.value)
        torch.testing.assert_close(other.eta, whole.eta)


@pytest.mark.parametrize("sizes", [{"N": 1, "K": 1, "d": 3}, {"K": 1}, {"d": 1}, {"L": 0}, {"K": 14, "d": 20}])
def test_small_networks_and_dead_ones(sizes):
    networks = sample(nets=20, **sizes)
    for p, q in [*PAIRS, (1.5, 3.0)]:
        for method in (attack, pgd):
            found = method(networks, point(networks.d), eps=0.5, p=p, q=q, steps=5)
            assert torch.isfinite(found.value).all() and (found.value >= 0).all()
            assert (norm(found.eta, p) <= 0.5).all()


def test_exponents_are_taken_in_every_form():
    x = point(12)
    number = attack(NETWORKS, x, eps=0.5, p=INF, q=2.0).value
    for p in ("inf", "oo", np.inf, mf.symbols.exponent("inf")):
        assert torch.equal(attack(NETWORKS, x.numpy(), eps=np.float64(0.5), p=p, q=2, steps=np.int64(14)).value, number)


@pytest.mark.parametrize("method", [attack, pgd])
@pytest.mark.parametrize(
    ("wrong", "error", "match"),
    [
        ({"eps": 0.0}, DomainError, "eps"),
        ({"eps": INF}, DomainError, "eps"),
        ({"eps": "much"}, ArgumentError, "eps"),
        ({"eps": True}, ArgumentError, "eps"),
        ({"p": 0.5}, DomainError, "p must be"),
        ({"q": mf.symbols.q}, DomainError, "symbol q"),
        ({"p": [1, 2]}, ArgumentError, "p and q"),
        ({"p": [1, 2], "q": [1]}, ArgumentError, "p and q"),
        ({"p": [], "q": []}, ArgumentError, "p and q"),
        ({"steps": -1}, DomainError, "steps"),
        ({"steps": 1.5}, ArgumentError, "steps"),
        ({"restarts": 0}, DomainError, "restarts"),
        ({"generator": 3}, ArgumentError, "generator"),
        ({"x": torch.ones(11)}, ArgumentError, "x must have shape"),
        ({"networks": None}, ArgumentError, "networks"),
    ],
)
def test_errors_come_before_any_work(method, wrong, error, match, monkeypatch):
    monkeypatch.setattr(mf.simulate.Networks, "trace", None)
    arguments = {"networks": NETWORKS, "x": point(12), "eps": 0.5, "p": 2, "q": 2} | wrong
    networks, x = arguments.pop("networks"), arguments.pop("x")
    with pytest.raises(error, match=match):
        method(networks, x, **arguments)


def test_starts_are_maximisers_of_the_linearised_network():
    x = point(12)
    found = attack(NETWORKS, x, eps=1e-9, p="inf", q="inf")
    J = NETWORKS.jacobian(x)
    row = J.abs().sum(-1).argmax(-1)
    expected = 1e-9 * maximiser(J[torch.arange(3), row], INF)
    signs = torch.sign((expected * found.eta).sum(-1, keepdim=True))
    torch.testing.assert_close(found.eta, signs * expected, atol=0, rtol=1e-6)
