"""Nets of stages and nets with dropout, against explicit networks of plain torch and autograd: nothing is shared."""

import itertools
import math
import re
from dataclasses import replace

import pytest
import sympy as sp
import torch

import advmf as mf
from advmf.errors import ArgumentError, DeclarationError, DomainError
from advmf.symbols import L
from advmf.theorems import THEOREMS
from advmf.theory.propagation import grown, moments, omega, step
from advmf.theory.recurrence import COUNT
from advmf.theory.spike import LAMBDA
from advmf.verify.statistics import Design
from advmf.verify.verdict import Verdict

SIGMA_W, SIGMA_B, RATE = 1.2, 0.3, 0.25
SIGMA = {"sigma_w": SIGMA_W, "sigma_b": SIGMA_B}
d, K = 6, 3
RELU = mf.Serial(mf.Dense(), mf.ReLULike(1, 0))
RESIDUAL = mf.residual(1, 0).block
MIXED = mf.Residual(mf.Dense(), mf.ReLULike(1, 0), mf.Mix(), shortcut=mf.Mix())
DROPPED = mf.Serial(RELU, mf.Dropout(RATE))


class Explicit:
    """``nets`` networks of tensors at N, built layer by layer; ``trained`` are those of which autograd is asked."""

    def __init__(self, nets, seed):
        self.nets, self.generator, self.trained = nets, torch.Generator().manual_seed(seed), []

    def normal(self, *shape):
        return torch.randn(self.nets, *shape, generator=self.generator, dtype=torch.float64)

    def matrix(self, rows, columns, sigma=1.0, trained=False):
        weight = sigma * self.normal(rows, columns) / math.sqrt(columns)
        if trained:
            self.trained.append(weight.requires_grad_())
        return lambda x: torch.einsum("nij,nj...->ni...", weight, x)

    def dense(self, rows, columns):
        weight, bias = self.matrix(rows, columns, SIGMA_W, trained=True), SIGMA_B * self.normal(rows)
        return lambda x: weight(x) + bias

    def mask(self, size):
        mask = (torch.rand(self.nets, size, generator=self.generator, dtype=torch.float64) >= RATE) / (1 - RATE)
        return lambda x: mask * x


def pyramid(net, N):
    widths = [2 * N, 2 * N, N, N // 2]
    blocks = [net.dense(after, before) for before, after in itertools.pairwise(widths)]
    return widths, [lambda x, dense=dense: dense(x).relu() for dense in blocks]


def widening(net, N):
    """A residual block of width N, one that maps to 2N by a mixed shortcut, and one of width 2N."""

    def residual(n):
        dense, mix = net.dense(n, n), net.matrix(n, n)
        return lambda x: x + mix(dense(x).relu())

    dense, mix, shortcut = net.dense(2 * N, N), net.matrix(2 * N, 2 * N), net.matrix(2 * N, N)
    return [N, 2 * N], [residual(N), lambda x: shortcut(x) + mix(dense(x).relu()), residual(2 * N)]


def dropout(net, N):
    layers = [(net.dense(N, N), net.mask(N)) for _ in range(2)]
    return [N, N], [lambda x, dense=dense, mask=mask: mask(dense(x).relu()) for dense, mask in layers]


CASES = {
    "pyramid": (pyramid, mf.pyramid(1, 0), None),
    "widening": (widening, mf.Net(mf.Stage(RESIDUAL, 1), mf.Stage(MIXED, 1, 2), mf.Stage(RESIDUAL, 1, 2)), None),
    "dropout": (dropout, mf.Net(DROPPED), 2),
}


@pytest.fixture(scope="module", params=CASES, ids=CASES)
def case(request):
    """A net, its depth, N, and what explicit networks say: the means of what theory predicts, with standard errors."""
    build, net, depth = CASES[request.param]
    N, nets = 64, 1500
    explicit = Explicit(nets, 11)
    widths, blocks = build(explicit, N)
    enter, leave = explicit.matrix(widths[0], d), explicit.matrix(K, widths[-1])

    def outputs(x):
        stream = enter(x)
        for block in blocks:
            stream = block(stream)
        return leave(stream)

    x = torch.ones(nets, d, dtype=torch.float64)
    other = torch.tensor([1.0, 1, 1, 1, 1, -1], dtype=torch.float64).expand(nets, d)
    across = torch.tensor([1.0, -1, 0, 0, 0, 0], dtype=torch.float64).expand(nets, d)
    f, g = outputs(x), outputs(other)
    grads = [torch.autograd.grad(h[:, 0].sum(), explicit.trained, retain_graph=True) for h in (f, g)]
    tangent = sum(a.mul(b).sum((1, 2)) for a, b in zip(*grads))
    own = sum((w * a).sum((1, 2)) for w, a in zip(explicit.trained, grads[0]))
    pulled = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(outputs(pulled)[:, 0].sum(), pulled)
    found = {
        "Q": f.square().mean(1),
        "j": (slope * across).sum(1).square() / 2 * d,
        "nngp": (f * g).mean(1),
        "ntk": tangent,
        "capacity": own.square(),
    }
    said = {
        n: (float(v.mean()), float(v.std()) / math.sqrt(nets)) for n, v in ((n, v.detach()) for n, v in found.items())
    }
    return net, depth, N, said


def predicted(net, depth, N):
    formulas = {
        "Q": moments(net).Q,
        "j": moments(net).j,
        "nngp": mf.nngp(net),
        "ntk": mf.ntk(net),
        "capacity": mf.capacity(net).rhs,
    }
    point = {"L": depth, "x_sq": 1.0, "y_sq": 1.0, "c": 4 / 6, "K": 1, "N": N, **SIGMA}
    kernels = {name: mf.kernel(formula) for name, formula in formulas.items()}
    return {name: float(f(**{a: point[a] for a in f.arguments})) for name, f in kernels.items()}


def test_explicit_networks_have_the_moments_and_kernels_of_the_theory(case):
    """In 4.5 standard errors, and 10/N for what holds in the limit alone."""
    net, depth, N, said = case
    for name, value in predicted(net, depth, N).items():
        mean, error = said[name]
        limit = 0 if name in ("Q", "j") else 10 * abs(value) / N
        assert abs(mean - value) < 4.5 * error + limit, (name, mean, value, error)


def test_the_oracle_would_see_one_width_and_no_masks(case):
    """The control: with all matrices of width N, and without dropout, predictions are refused."""
    net, depth, N, said = case
    other = mf.Net(RELU) if depth else mf.Net(*(mf.Stage(stage.block, stage.repeat) for stage in net.stages))
    for name, value in predicted(other, depth, N).items():
        mean, error = said[name]
        far = abs(mean - value) > 4.5 * error + 10 * abs(value) / N
        assert far is (bool(depth) or name == "ntk"), name


def test_a_simulated_pyramid_has_the_widths_of_its_stages():
    ensemble = mf.simulate.sample(mf.pyramid(1, 0), N=32, d=d, K=K, nets=2, **SIGMA)
    assert ensemble.L == 3 and ensemble.trained_rows == [64, 32, 16]
    trace = next(ensemble.traces(torch.ones(d)))
    assert trace.stream().shape[1] == 16
    (chunk,) = ensemble.chunks()
    shapes = [tuple(part.weight.values.shape[1:]) for part in mf.simulate.networks.layers(chunk.map)]
    assert shapes == [(64, d), (64, 64), (32, 64), (16, 32), (K, 16)]


def test_the_loss_of_a_deep_linear_pyramid_decays_by_its_columns():
    """-dL/dt = eps²/d times the number of columns of all matrices, 2N + 2N + N: T3.decay holds of stages."""
    f = mf.kernel(mf.loss_decay(mf.pyramid(1, 1), 2, 2))
    found = float(f(N=100, eps=0.1, d=25, K=10, x_sq=1, sigma_w=1, sigma_b=0))
    assert found == pytest.approx(5 * 100 * 0.1**2 / 25, rel=1e-9)


def test_stages_of_one_block_at_one_width_are_the_block_repeated():
    net, twice = mf.Net(mf.Stage(RESIDUAL, 2), mf.Stage(RESIDUAL, 3)), mf.Net(RESIDUAL)
    assert mf.Net(mf.Stage(RESIDUAL)) == twice and repr(mf.Net(mf.Stage(RESIDUAL))) == repr(twice)
    for of in (
        mf.nngp,
        mf.ntk,
        lambda n: mf.capacity(n).rhs,
        lambda n: moments(n).Q,
        lambda n: mf.loss_bound(n, 2, 2).rhs,
    ):
        assert sp.simplify(of(net) - of(twice).subs(L, 5)) == 0
    assert mf.correlation_map(net) == mf.correlation_map(twice) and grown(net) == grown(twice).subs(L, 5)


def test_unlike_stages_are_one_recursion_that_counts_blocks():
    """Plain blocks, which carry a mean, and leaky ones behind them, by hand."""
    net = mf.Net(mf.Stage(mf.plain_residual(1, 0).block, L), mf.Stage(mf.vanilla(1, "1/2").block, 2, 2))
    Q, mu = 1.3, 0.0
    for _ in range(3):
        h = SIGMA_W**2 * Q + SIGMA_B**2
        Q, mu = Q + h / 2 + 2 * mu * math.sqrt(h / (2 * math.pi)), mu + math.sqrt(h / (2 * math.pi))
    for _ in range(2):
        Q = 5 / 8 * (SIGMA_W**2 * Q + SIGMA_B**2)
    assert COUNT in moments(net).Q.bound_symbols and net.depth == L + 2
    f = mf.kernel(moments(net).Q)
    assert float(f(L=3, x_sq=1.3, **SIGMA)) == pytest.approx(Q, rel=1e-13)
    assert float(f(L=4, x_sq=1.3, **SIGMA)) != pytest.approx(Q, rel=1e-3), "the control"
    j = (1 + SIGMA_W**2 / 2) ** 3 * (5 / 8 * SIGMA_W**2) ** 2
    assert float(mf.kernel(moments(net).j)(L=3, sigma_w=SIGMA_W)) == pytest.approx(j, rel=1e-13)
    claim = mf.loss_bound(net, 2, 2)
    assert LAMBDA in claim.where and mf.from_json(mf.to_json(claim)) == claim
    assert float(mf.kernel(claim.where[LAMBDA])(L=3, sigma_w=SIGMA_W)) > j
    with pytest.raises(DeclarationError, match=r"grow by different factors"):
        omega(net)


def test_theorems_about_one_block_say_why_they_are_silent():
    net = mf.pyramid(1, 0)
    said = {name: theorem.silent(net) for name, theorem in THEOREMS.items() if theorem.silent(net)}
    assert set(said) == {"T3", "T4", "F1", "F2"} and all("made of stages" in why for why in said.values())
    for derive in (mf.variance_slope, mf.weight_variance, mf.escape_time, mf.half_life, mf.capacity_ratio):
        with pytest.raises(DeclarationError, match="made of stages"):
            derive(net, 2, 2)
    for derive in (mf.stream_fluctuation, mf.jacobian_norm, mf.growth_rate, lambda n: n.block):
        with pytest.raises(DeclarationError, match="made of stages"):
            derive(net)
    masks = {name: theorem.silent(mf.Net(DROPPED)) for name, theorem in THEOREMS.items()}
    assert {name for name, why in masks.items() if why} == {"F2"} and "drops coordinates" in masks["F2"]
    on_stream = mf.Net(mf.Serial(mf.residual(1, 0).block, mf.Dropout(RATE)))
    assert on_stream.exact and "not independent given" in THEOREMS["F1"].silent(on_stream)
    for derive, message in (
        (mf.stream_fluctuation, "coordinates are not independent"),
        (mf.jacobian_norm, "drops coord"),
    ):
        with pytest.raises(DeclarationError, match=message):
            derive(on_stream)
    several = mf.Net(mf.Stage(RELU, 1), mf.Stage(mf.vanilla(phi=mf.Erf()).block, 1))
    with pytest.raises(DeclarationError, match="a correlation map of its own"):
        mf.correlation_map(several)
    assert not THEOREMS["T2"].silent(several) and not THEOREMS["T1"].silent(several)


def test_dropout_raises_what_the_weights_would():
    """Masks divide second moments by 1 - rate: as weights of a larger variance do, and no mean."""
    net, rate = mf.Net(mf.Serial(RELU, mf.Dropout(sp.Symbol("rate")))), sp.Symbol("rate")
    assert sp.simplify(omega(net) * (1 - rate) - omega(mf.Net(RELU))) == 0
    assert mf.Net(mf.Serial(mf.Dropout(0), RELU)).exact and mf.Dropout(0).gain == 1
    slope = mf.variance_slope(net, 2, 2).rhs / mf.variance_slope(mf.Net(RELU), 2, 2).rhs
    assert sp.simplify(slope.subs({L: 2, rate: sp.Rational(1, 4)}) - sp.Rational(4, 3)) == 0
    plain, masked = mf.plain_residual(1, 0).block, mf.Residual(mf.Dense(), mf.ReLULike(1, 0), mf.Dropout(RATE))
    assert step(masked).mu == step(plain).mu and step(masked).Q != step(plain).Q
    assert mf.latex(net).count(r"m^l \odot") == 1 and "Bernoulli" in mf.latex(net)


@pytest.mark.parametrize("kind", ["pyramid", "dropout"])
def test_checks_support_the_theorems_and_refute_wrong_ones(kind):
    _, net, depth = CASES[kind]
    at = {"d": 6, "K": 3, "eps": 0.1, **SIGMA, **({"L": depth} if depth else {})}
    law = replace(mf.linear_form(net)[0], equations=mf.linear_form(net)[0].equations[:2])  # E J², E (Jx)²
    claims = [law, law.scaled(2), mf.capacity(net), mf.capacity(net).scaled(2)]
    right, wrong, size, wider = mf.check_all(
        claims, at, nets=3000, widths=(32, 64, 128), seed=2, design=Design(effect=0.4)
    )
    assert right.verdict is Verdict.SUPPORTED and wrong.verdict is Verdict.REFUTED, (right, wrong)
    assert size.verdict is Verdict.SUPPORTED and wider.verdict is Verdict.REFUTED, (size, wider)
    bound = mf.loss_bound(net, 2, 2)
    right, wrong = mf.check_all(
        [bound, bound.scaled("1/2")], at, nets=200, widths=(64, 128, 256, 1024), directions=1, steps=2, seed=2
    )
    assert right.verdict is Verdict.NOT_REFUTED and wrong.verdict is Verdict.REFUTED


@pytest.mark.parametrize("sampler", ["dense", "conditioned"])
@pytest.mark.parametrize("kind", ["pyramid", "dropout"])
def test_stages_and_masks_are_trained(kind, sampler):
    _, net, depth = CASES[kind]
    images = mf.simulate.load("digits").resampled(16)
    ensemble = mf.simulate.sample(
        net, N=64, L=depth, d=16, K=10, nets=2, sampler=sampler, queries=8,
        generator=torch.Generator().manual_seed(0), dtype=torch.float64, sigma_w=2**0.5, sigma_b=0.0,
    )  # fmt: skip
    run = mf.simulate.train(
        ensemble,
        images,
        loss="cross-entropy",
        rate=0.02,
        steps=30,
        batch=100,
        generator=torch.Generator().manual_seed(1),
    )
    rows = torch.tensor(ensemble.trained_rows)
    first = -2 * run.rate * run.pairing[0] + run.rate**2 * run.gradient[0]
    torch.testing.assert_close(rows * run.change[1], first)
    assert run.standard[-1].mean() < run.standard[0].mean()
    assert run.variance[0].mean(0) == pytest.approx(torch.full((len(ensemble.trained_rows),), 2.0), rel=0.2)


WRONG = [
    (lambda: mf.Net(), "one block or several stages; got 0"),
    (lambda: mf.Net(mf.Dense(), mf.Mix()), r"Put blocks that follow one another into a Serial"),
    (lambda: mf.Net(mf.Stage(RELU), RELU), "one block or several stages; got 2"),
    (lambda: mf.Stage(mf.Dense), "an instance is needed"),
    (lambda: mf.Stage(RELU, 0), "a whole number >= 1, or L; got 0"),
    (lambda: mf.Stage(RELU, "3/2"), "a whole number >= 1, or L; got 3/2"),
    (lambda: mf.Stage(RELU, width=0), "a positive fraction; got 0"),
    (lambda: mf.Stage(RELU, width=mf.symbols.N), "a positive fraction; got N"),
    (
        lambda: mf.Net(mf.Stage(RELU, 1), mf.Stage(RESIDUAL, 1, 2)),
        r"Stage 2: Residual\(.*cannot change the width from 1 N to 2 N: its shortcut keeps .*shortcut=Mix\(\)",
    ),
    (
        lambda: mf.Net(mf.Stage(RELU, 1), mf.Stage(mf.Residual(mf.ReLULike(1, 0), shortcut=mf.Mix()), 1, 2)),
        "its branch keeps the coordinates",
    ),
    (lambda: mf.Net(mf.Stage(RELU, 1), mf.Stage(mf.RMSNorm(), 1, 2)), "no Gaussian layer that maps from the width 1 N"),
    (
        lambda: mf.Net(mf.Stage(RELU, 1), mf.Stage(mf.Serial(mf.ReLULike(1, 0), mf.Dense()), 1)),
        r"Stage 2: ReLULike\(u=1, v=0\) acts on a stream whose coordinates are not centred Gaussian",
    ),
    (lambda: mf.Dropout(1), r"must be in \[0, 1\); got 1"),
    (lambda: mf.Dropout(-0.1), r"must be in \[0, 1\); got -1/10"),
    (lambda: mf.Dropout("half"), "a finite real number or a SymPy expression"),
    (
        lambda: mf.Net(mf.Serial(mf.Dense(), mf.Dropout(0.5), mf.ReLULike(1, 0))),
        r"a Dropout\(\), or a residual sum.* Put a Dense\(\) or a Mix\(\) before it",
    ),
    (lambda: mf.Net(mf.Serial(mf.Residual(mf.Dropout(0.5)), mf.Dense())), "both paths keep the coordinates"),
]


@pytest.mark.parametrize(("declare", "message"), WRONG)
def test_what_the_theory_cannot_carry_is_refused(declare, message):
    with pytest.raises(DeclarationError) as error:
        declare()
    assert re.search(message, str(error.value)), error.value


def test_sampling_refuses_depths_and_widths_that_are_not_the_stages():
    net, sizes = mf.pyramid(1, 0), {"d": d, "K": K, **SIGMA}
    for wrong, error, message in (
        ({"N": 63}, ArgumentError, r"the width 1/2 N, which must be whole; got N=63\. Take a multiple of 2"),
        ({"N": 64, "L": 4}, ArgumentError, r"have 3 blocks together.*got L=4\. Leave L out"),
    ):
        with pytest.raises(error, match=message):
            mf.simulate.sample(net, **wrong, **sizes)
    assert mf.simulate.sample(net, N=64, L=3, **sizes).L == 3
    with pytest.raises(ArgumentError, match=r"needs the depth: L"):
        mf.simulate.sample(mf.vanilla(1, 0), N=64, **sizes)
    deep = mf.Net(mf.Stage(RELU, L), mf.Stage(RELU, 1, 2))
    with pytest.raises(DomainError, match=r"at L=0 it is 0"):
        mf.simulate.sample(deep, N=64, L=0, **sizes)
    masked = mf.Net(mf.Serial(RELU, mf.Dropout(sp.Symbol("rate"))))
    with pytest.raises(DomainError, match=r"the rate is a probability.*got 1\.5"):
        mf.simulate.sample(masked, N=64, L=2, rate=1.5, **sizes)


@pytest.mark.parametrize("net", [net for _, net, _ in CASES.values()], ids=CASES)
def test_declarations_go_through_text_and_files(net):
    names = {**vars(mf.nets), **vars(mf.symbols), **vars(sp)}
    again = eval(repr(net), names)
    assert again == net and hash(again) == hash(net) and repr(again) == repr(net)
    claim = mf.linear_form(net)[0]
    assert mf.from_json(mf.to_json(claim)).net == net
    wider = mf.Net(*(mf.Stage(stage.block, stage.repeat, 3 * stage.width) for stage in net.stages))
    assert wider != net and mf.from_json(mf.to_json(mf.linear_form(wider)[0])).net == wider


def test_a_net_of_one_block_is_written_as_before():
    text = mf.to_json(mf.capacity(mf.vanilla(1, 0)))
    assert '"stages"' not in text and '"block"' in text
    broken = mf.to_json(mf.capacity(mf.pyramid(1, 0))).replace('"repeat"', '"repeats"')
    with pytest.raises(mf.errors.DataError, match=r"stages\[0\].*'repeat' is missing"):
        mf.from_json(broken)
