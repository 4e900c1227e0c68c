"""D2, the course of training: the proximal maps against a flow in small steps, the claims against trained networks."""

import math

import numpy as np
import pytest
import sympy as sp
import torch

import advmf as mf
from advmf.errors import ArgumentError, DeclarationError, DomainError
from advmf.special import extreme_norm, nuclear_norm, prox_norm, prox_square, proximal_map, spectral_norm
from advmf.special.proximal import TRACTABLE
from advmf.symbols import K, L, N, d
from advmf.theorems import THEOREMS

UNBIASED, LINEAR = mf.Dense(sigma_b=0), mf.ReLULike(1, 1)
VANILLA = mf.Net(mf.Serial(UNBIASED, LINEAR), name="vanilla")
RESIDUAL = mf.Net(mf.Residual(UNBIASED, LINEAR, mf.Mix()), name="residual")
POINT = {"N": 256, "L": 3, "d": 8, "K": 3, "eps": 1.0, "sigma_w": 1.2}
pairs = pytest.mark.parametrize(("p", "q"), TRACTABLE)


def operator(J, p, q):
    return float(mf.simulate.operator_norm(torch.as_tensor(J), p, q).value)


def subgradient(J, p, q):
    J = torch.as_tensor(J).requires_grad_()
    mf.simulate.operator_norm(J, p, q).value.backward()
    return J.grad.numpy()


# -- the proximal map --------------------------------------------------------------------------------------------------


@pairs
def test_a_flow_in_small_steps_arrives_at_the_proximal_map(p, q):
    J = start = np.random.default_rng(0).normal(size=(3, 5))
    step, norms = 2e-3, []
    for count in range(1, 801):
        J = J - step * subgradient(J, p, q)
        if count % 400 == 0:
            norms.append(abs(J - proximal_map(start, step * count, p, q)).max())
    assert max(norms) < 5 * step
    without = start - step * 800 * subgradient(start, p, q)
    assert abs(J - without).max() > 0.1, "the control: the first subgradient for ever"


@pairs
def test_it_is_the_least_of_its_function_and_vanishes_at_the_dual_norm(p, q):
    draw = np.random.default_rng(1)
    G, tau = draw.normal(size=(4, 6)), 1.7
    least = proximal_map(G, tau, p, q)

    def value(J):
        return ((J - G) ** 2).sum() / 2 + tau * operator(J, p, q)

    assert all(
        value(least + 10.0**-k * draw.normal(size=G.shape)) > value(least) for k in range(1, 7) for _ in range(9)
    )
    lengths = {(2.0, 2.0): lambda: np.linalg.svd(G, compute_uv=False)}
    vectors, r = (G.T, q) if p == 1 else (G, 1.0 if p == math.inf else p / (p - 1) if p > 1 else math.inf)
    other = math.inf if r == 1 else 1.0 if r == math.inf else r / (r - 1)
    end = lengths.get((p, q), lambda: np.linalg.norm(vectors, other, axis=1))().sum()
    assert abs(proximal_map(G, 0.999 * end, p, q)).max() > 0
    assert abs(proximal_map(G, 1.001 * end, p, q)).max() < 1e-12


@pairs
def test_means_are_those_of_other_samples(p, q):
    draw, tau, nets = np.random.default_rng(2), 4.0, 3000
    J = [proximal_map(G, tau, p, q) for G in draw.normal(size=(nets, 3, 6))]
    for values, mean in (
        (np.array([operator(j, p, q) for j in J]), prox_norm(tau, 3, 6, p, q)),
        (np.array([(j**2).sum() for j in J]), prox_square(tau, 3, 6, p, q)),
    ):
        assert abs(values.mean() - mean) < 6 * values.std() / nets**0.5, (values.mean(), mean)
    assert prox_square(0, 3, 6, p, q) == pytest.approx(18, rel=1e-12)


def test_means_at_the_start_are_exact_ones_of_other_methods():
    assert prox_norm(0, 5, 20, 2, 2) == pytest.approx(float(spectral_norm(5, 20, 1)), rel=3e-3)
    assert prox_norm(0, 4, 30, 1, 2) == pytest.approx(float(extreme_norm(30, 4, 2)), rel=3e-3)
    assert nuclear_norm(1, 9) == pytest.approx(float(spectral_norm(1, 9, 1)), rel=3e-3)


# -- the claims --------------------------------------------------------------------------------------------------------


def number(claim, **at):
    f = mf.kernel(claim)
    return f(**{name: value for name, value in {**POINT, **at}.items() if name in f.arguments})


def test_the_closed_forms():
    flow = mf.training_flow(VANILLA, 2, 2)
    assert sp.simplify(flow.total.formula - (1 - d * K / (L * N**2))) == 0
    for p, q in TRACTABLE:
        for net in (VANILLA, RESIDUAL, mf.vanilla(1, 1), mf.residual("1/2", "1/2"), mf.conv(1, 1)):
            for claim in mf.training_flow(net, p, q):
                assert mf.latex(claim)
                assert mf.from_json(mf.to_json(claim)) == claim


@pytest.mark.parametrize("N", [100, 10_000])
def test_the_variance_moves_by_a_share_of_1_over_N_squared_within_the_life_of_the_loss(N):
    """T3's slope times the life is the total of training, -d K/(L N²): N² times the share is the same at every N, and
    N times the share is not."""
    slope, life = (number(claim(VANILLA, 2, 2), N=N) for claim in (mf.variance_slope, mf.loss_life))
    share = float(slope * life) / POINT["sigma_w"] ** 2
    total = float(number(mf.training_flow(VANILLA, 2, 2).total, N=N)) - 1
    assert share == pytest.approx(-8 * 3 / (3 * N**2), rel=1e-9) and share == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("net", [VANILLA, RESIDUAL])
def test_the_first_slopes_are_those_of_the_other_claims(net):
    """The rate of the capacity, T3's slope of the variance, and the loss at its bound."""
    flow, h = mf.training_flow(net, 1, 2), 1e-6
    start = [float(number(claim, t=0.0)) for claim in (flow.loss, flow.capacity, flow.variance)]
    slope = [(float(number(c, t=h)) - s) / h for c, s in zip((flow.loss, flow.capacity, flow.variance), start)]
    assert start[1:] == pytest.approx([1, 1.44], rel=1e-12)
    beta = mf.kernel(mf.norm_factor(1, 2, "extremal"))(d=8, K=3)
    assert start[0] == pytest.approx(float(beta * number(mf.omega(net)) ** 1.5), rel=5e-3)
    assert slope[1] == pytest.approx(float(number(mf.capacity_rate(net, 1, 2, "extremal"))), rel=5e-3)
    assert slope[2] == pytest.approx(float(number(mf.variance_slope(net, 1, 2, "extremal"))), rel=5e-3)


def test_biases_stay_and_the_rest_of_the_capacity_falls():
    """As in a net without them, for the part of the capacity that they add does not move."""
    biased, plain = mf.residual(1, 1), RESIDUAL
    C = [float(number(mf.capacity(biased), sigma_b=b, x_sq=1.0)) for b in (0.0, 0.6)]
    fall = [
        1 - float(number(mf.training_flow(biased, 2, 2).capacity, sigma_b=b, x_sq=1.0, t=0.004)) for b in (0.0, 0.6)
    ]
    assert fall[0] * C[0] == pytest.approx(fall[1] * C[1], rel=1e-10)
    assert fall[0] == pytest.approx(1 - float(number(mf.training_flow(plain, 2, 2).capacity, t=0.004)), rel=1e-10)


@pytest.mark.parametrize(
    ("net", "p", "q"),
    [(VANILLA, 2, 2), (VANILLA, 1, 2), (VANILLA, "inf", "inf"), (RESIDUAL, 2, 2), (RESIDUAL, 1, "inf")],
)
def test_trained_networks_follow(net, p, q):
    """Wide networks, each beside the proximal map of its own Jacobian, so that no sampling error is left; the same map
    without the threshold is far off, and so is the clock with another power of omega."""
    at = {"N": 400, "L": 2, "d": 6, "K": 3, "eps": 1.0, "sigma_w": 1.5}
    steps, nets, generator = 120, 8, torch.Generator().manual_seed(4)
    flow = mf.training_flow(net, p, q)
    time = 0.5 * float(number(flow.end, **at))
    options = {"loss": "adversarial", "batch": 1, "attack_steps": 0, "log_every": steps}
    ensemble = mf.simulate.sample(
        net, N=400, L=2, d=6, K=3, nets=nets, sigma_w=1.5, keep=True, sampler="dense", generator=generator
    )
    images = mf.simulate.load("digits").resampled(6).scaled(1.0)
    J = ensemble.jacobian(torch.as_tensor(images.x[:1]))[:, 0].double().numpy()
    run = mf.simulate.train(ensemble, images, p=p, q=q, eps=1.0, rate=time / steps, steps=steps, **options)
    omega = float(number(mf.omega(net), **at))
    p, q = float(p), float(q)
    tau = 2 * 400 * omega * time / 6  # eps L N omega^(L - 1) t/d
    start, end = (run.adversarial[i].mean().item() for i in (0, -1))
    assert start == pytest.approx(np.mean([operator(j, p, q) for j in J]), rel=1e-4)

    def fall(time):
        return start - np.mean([operator(proximal_map(j, time, p, q), p, q) for j in J])

    assert start - end == pytest.approx(fall(tau), rel=0.06)
    alone = np.minimum(run.adversarial[0].numpy(), tau).mean()
    assert all(abs(wrong / (start - end) - 1) > 0.2 for wrong in (alone, fall(tau / omega))), "the controls"
    if net is VANILLA:
        left = np.array([(proximal_map(j, tau, p, q) ** 2).sum() / (j**2).sum() for j in J])
        change = run.change[-1].mean(1).numpy() / 1.5**2 * 400**2
        assert change.mean() == pytest.approx(-(6 / 2 / omega**2) * ((1 - left) * (J**2).sum((1, 2))).mean(), rel=0.06)


def test_the_variance_and_the_capacity_fall_together_for_any_pair():
    """Vanilla: C(t)/C(0) = 1 - (L N²/(d K)) (1 - sigma_w²(t)/sigma_w²) in the mean, at (oo, 1) too, whose norm has no
    known proximal map."""
    flow = mf.training_flow(VANILLA, 2, "inf")
    fall = 1 - number(flow.variance, t=0.005) / 1.44
    assert float(number(flow.capacity, t=0.005)) == pytest.approx(float(1 - 3 * 256**2 / 24 * fall), rel=1e-9)


def test_wrong_versions_differ():
    for claim in mf.training_flow(VANILLA, 2, 2):
        true = float(number(claim, t=0.012))
        found = [float(number(wrong, t=0.012)) for wrong in THEOREMS["D2"].wrong(claim)]
        scale = abs(true - {"D2.w": 1.44, "D2.total": 1.0}.get(claim.name, 0.0))
        assert found and all(abs(wrong - true) > 0.05 * scale for wrong in found), (claim.name, true, found)


# -- bad input ---------------------------------------------------------------------------------------------------------


def test_what_is_not_known_is_refused_by_name():
    for p, q in (("inf", 1), (2, 1), ("inf", 2), (1, 4), (3, "inf")):
        with pytest.raises(ArgumentError, match="The course of training is known for"):
            mf.training_flow(VANILLA, p, q)
    with pytest.raises(ArgumentError, match="linear activations"):
        mf.training_flow(mf.vanilla(1, 0), 2, 2)
    with pytest.raises(ArgumentError, match="several trained matrices"):
        mf.training_flow(mf.Net(mf.Serial(UNBIASED, LINEAR, UNBIASED)), 2, 2)
    with pytest.raises(DeclarationError, match="stages"):
        mf.training_flow(mf.pyramid(1, 1), 2, 2)
    with pytest.raises(DomainError, match="NP-hard"):
        proximal_map(np.ones((2, 2)), 1.0, math.inf, 1)
    for bad in ((-1, 3, 4, 2, 2), (1, 2.5, 4, 2, 2), (1, 3, 4, 2, 1)):
        with pytest.raises(DomainError):
            prox_norm(*bad)
    with pytest.raises(DomainError, match="whole K, d"):
        nuclear_norm(0, 3)


@pytest.mark.parametrize(
    ("J", "tau", "message"),
    [
        (np.ones(3), 1.0, r"J must be a matrix \(K, d\) of finite numbers; got shape \(3,\)"),
        (np.full((2, 3), math.nan), 1.0, r"got shape \(2, 3\), 0 finite"),
        (np.ones((2, 3)), -1.0, "takes tau >= 0; got -1"),
        (np.ones((2, 3)), math.nan, "takes tau >= 0; got nan"),
    ],
)
def test_a_proximal_map_of_bad_input_is_refused(J, tau, message):
    with pytest.raises(DomainError, match=message):
        proximal_map(J, tau, 2, 2)
