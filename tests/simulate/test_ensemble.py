import math

import pytest
import torch

import advmf as mf
from advmf.errors import ArgumentError, DomainError, MemoryBudgetError

SIZES = {"N": 16, "L": 2, "d": 5, "K": 3}
SIGMA = {"sigma_w": 1.0, "sigma_b": 0.2}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_shapes():
    e = mf.simulate.sample(mf.vanilla(1, 0), **SIZES, nets=4, generator=generator(), **SIGMA)
    assert e.forward(torch.ones(5)).shape == (4, 3)
    assert e(torch.ones(2, 5)).shape == (4, 2, 3)
    assert e.forward(torch.ones(4, 2, 5)).shape == (4, 2, 3)
    assert e.jacobian(torch.ones(5)).shape == (4, 3, 5)
    assert e.jacobian(torch.ones(4, 2, 5)).shape == (4, 2, 3, 5)
    assert e.jvp(torch.ones(2, 5), torch.ones(5)).shape == (4, 2, 3)
    assert e.vjp(torch.ones(5), torch.ones(3)).shape == (4, 5)


def test_weights_have_the_declared_law():
    net = mf.Net(mf.Serial(mf.Dense(sigma_w=3, sigma_b=0.5), mf.ReLULike(1, 0), mf.Mix()))
    e = mf.simulate.sample(net, N=300, L=1, d=40, K=20, nets=4, generator=generator())
    first, block, last = next(e.chunks()).map.parts
    dense, _, mix = block.parts
    expected = [
        (first.weight.values, 1 / math.sqrt(40)),
        (dense.weight.values, 3 / math.sqrt(300)),
        (dense.bias, 0.5),
        (mix.weight.values, 1 / math.sqrt(300)),
        (last.weight.values, 1 / math.sqrt(300)),
    ]
    for values, std in expected:
        count = values.numel()
        assert abs(float(values.mean())) < 5 * std / math.sqrt(count)
        assert float(values.double().var()) == pytest.approx(std**2, rel=5 * math.sqrt(2 / count))
    assert first.bias is None and mix.bias is None and last.bias is None
    # Matrices and networks are independent of each other.
    flat = torch.stack(
        [dense.weight.values[0].flatten(), dense.weight.values[1].flatten(), mix.weight.values[0].flatten()]
    )
    assert (torch.corrcoef(flat).fill_diagonal_(0).abs() < 5 / 300).all()


def test_same_seed_same_numbers_on_any_number_of_threads():
    def values(seed, threads=None):
        before = torch.get_num_threads()
        torch.set_num_threads(threads or before)
        try:
            e = mf.simulate.sample(
                mf.residual(1, 0), **SIZES, nets=3, generator=generator(seed), dtype=torch.float64, **SIGMA
            )
            return e.forward(torch.ones(5))
        finally:
            torch.set_num_threads(before)

    torch.testing.assert_close(values(0), values(0, threads=1), rtol=1e-13, atol=0)
    assert not torch.equal(values(0), values(1))


def test_a_net_keeps_its_weights_between_calls():
    for memory in (10**9, 6_000):
        e = mf.simulate.sample(mf.vanilla(1, 0), **SIZES, nets=3, generator=generator(), memory=memory, **SIGMA)
        assert torch.equal(e.forward(torch.ones(5)), e.forward(torch.ones(5)))


def test_expressions_are_evaluated_at_the_network():
    net = mf.Net(mf.Residual(mf.Dense(), mf.ReLULike(), scale=1 / mf.symbols.L))
    e = mf.simulate.sample(net, N=8, L=4, d=3, K=2, generator=generator(), sigma_w=1.0, sigma_b=0.0, u=1.0, v=0.5)
    block = next(e.chunks()).map.parts[1]
    assert block.scale == 0.25
    assert (block.branch.parts[1].function.u, block.branch.parts[1].function.v) == (1.0, 0.5)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"N": 0}, DomainError, "N must be at least 1; got 0"),
        ({"L": -1}, DomainError, "L must be at least 0"),
        ({"d": 2.5}, ArgumentError, "d must be an integer; got 2.5"),
        ({"nets": 0}, DomainError, "nets must be at least 1"),
        ({"sigma_w": -1.0}, DomainError, r"sigma_w must be in \(0, oo\)"),
        ({"sigma_w": math.nan}, DomainError, "sigma_w must be in"),
        ({"sigma_w": "x"}, ArgumentError, "sigma_w must be a number"),
        ({"sigma": 1.0}, ArgumentError, "sigma, which this net does not use"),
        ({"dtype": torch.float16}, ArgumentError, "float32 or torch.float64"),
        ({"memory": 1000}, MemoryBudgetError, "bytes, and the budget is memory=1,000"),
    ],
)
def test_bad_requests_are_refused_before_anything_is_sampled(change, error, message):
    with pytest.raises(error, match=message):
        mf.simulate.sample(mf.vanilla(1, 0), **{**SIZES, **SIGMA, "generator": generator(), **change})


def test_missing_values_and_wrong_nets():
    with pytest.raises(ArgumentError, match="needs a value for sigma_b, u, v"):
        mf.simulate.sample(mf.vanilla(), **SIZES, sigma_w=1.0)
    with pytest.raises(ArgumentError, match="takes a Net"):
        mf.simulate.sample(mf.Dense(), **SIZES, **SIGMA)


@pytest.mark.parametrize("x", [torch.ones(4), torch.ones(2, 3, 5), torch.ones(1, 1, 1, 5)])
def test_inputs_of_the_wrong_shape(x):
    e = mf.simulate.sample(mf.vanilla(1, 0), **SIZES, nets=4, generator=generator(), **SIGMA)
    with pytest.raises(ArgumentError, match="x must have shape"):
        e.forward(x)


def test_inputs_that_are_no_numbers():
    e = mf.simulate.sample(mf.vanilla(1, 0), **SIZES, generator=generator(), **SIGMA)
    with pytest.raises(DomainError, match="NaN"):
        e.forward(torch.tensor([1.0, math.nan, 0, 0, 0]))
    with pytest.raises(ArgumentError, match="cotangent must have a last axis of length 3"):
        e.vjp(torch.ones(5), torch.ones(5))


@pytest.mark.parametrize("N", [30, "inf"])
def test_a_trace_has_its_inputs(N):
    networks = mf.simulate.sample(
        mf.vanilla(1, 0), N=N, L=2, d=6, K=3, nets=4, sigma_w=1.4, sigma_b=0.1, dtype=torch.float64
    )
    x = torch.randn(2, 6, dtype=torch.float64)
    (trace,) = networks.traces(x)
    assert torch.equal(trace.inputs[..., 0].mT, x.expand(4, 2, 6))
    with pytest.raises(mf.errors.ArgumentError, match="inputs needs a forward trace"):
        _ = trace.shift(torch.full((4, 6, 2, 1), 0.1, dtype=torch.float64)).inputs
