"""What training changes: slopes and the capacity as measured, their checks with mutants, and trained networks beside
T3.

``ROUNDING`` bounds float64 rounding in sums of some thousand terms of size one, with a margin of a hundred.
"""

import numpy as np
import pytest
import torch

import advmf as mf
from advmf.errors import ArgumentError, DataError, DomainError
from advmf.experiments import training_curve as module
from advmf.experiments.predictions import Predictions, predictions
from advmf.experiments.training_curve import TrainingCurve, training_curve
from advmf.observables import AdversarialLoss, Capacity, WeightNormSlope, WeightVarianceSlope
from advmf.simulate import probe as probes
from advmf.simulate.estimate import measure, queries
from advmf.simulate.geometry import norm
from advmf.simulate.networks import layers
from advmf.simulate.probe import AttackSettings
from advmf.verify.controls import controls, differs
from advmf.verify.judge import Consequence, decide_equality, judge, lasting
from advmf.verify.statistics import Design, Estimate, Rung, quantile
from advmf.verify.verdict import Verdict

ROUNDING = 100 * 1000**0.5 * torch.finfo(torch.float64).eps
N, NETS, SETTINGS = 40, 3, AttackSettings(eps=0.5, steps=3, directions=2)


def sampled(net, *, L=2, sigma_b=0.3):
    generator = torch.Generator().manual_seed(1)
    values = {"sigma_w": 1.2, "sigma_b": sigma_b, "dtype": torch.float64, "sampler": "dense", "generator": generator}
    ensemble = mf.simulate.sample(net, N=N, L=L, d=12, K=5, nets=NETS, **values)
    x = ensemble.inputs(torch.randn(NETS, 1, 12, generator=generator))
    (chunk,) = ensemble.chunks()
    return chunk, x


def measured(chunk, x, *observables, settings=SETTINGS):
    found = measure(chunk.trace(x), x, observables, settings, torch.Generator().manual_seed(2))
    return found.unbind(1)


@pytest.fixture
def attacks(monkeypatch):
    """The perturbations that the measurements find."""
    found, attack = [], probes.attack_trace

    def watched(*args, **options):
        found.append(attack(*args, **options))
        return found[-1]

    monkeypatch.setattr(probes, "attack_trace", watched)
    return found


def slopes(chunk, x, eta, q, h=1e-6):
    """dL/dh for every trained matrix W (1 + h) by central differences at a fixed eta, (matrices, nets)."""
    found = []
    for layer in (m for m in layers(chunk.map) if m.trained):
        eye = torch.eye(N, dtype=torch.float64).expand(NETS, N, N)
        start, losses = layer.weight.matmul(eye).clone(), []
        for scale in (h, -2 * h, h):  # the last one takes the first two back
            layer.weight.add(scale * start, eye)
            moved = chunk.trace(x + eta[..., None, None]).output - chunk.trace(x).output
            losses.append(norm(moved, q, 1)[:, 0, 0])
        found.append((losses[0] - losses[1]) / (2 * h))
    return torch.stack(found)


# -- measurements ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("net", [mf.vanilla(1, 0), mf.residual(1, 0), mf.preactivation(1, -0.5)])
@pytest.mark.parametrize(("p", "q"), [(2, 2), ("inf", 1), (1.5, 3)])
def test_slopes_are_those_of_scaled_weights(net, p, q, attacks):
    chunk, x = sampled(net)
    exponents = mf.symbols.exponent(p, "p"), mf.symbols.exponent(q, "q")
    own = [WeightNormSlope(*exponents), WeightVarianceSlope(*exponents)]
    slope, variance = measured(chunk, x, *own)
    expected = -2 * slopes(chunk, x, attacks[0].eta[:, 0, 0], float(q)).mean(0)
    torch.testing.assert_close(slope, expected, rtol=1e-7, atol=0)
    torch.testing.assert_close(variance, expected / N, rtol=1e-7, atol=0)


def test_matrices_of_a_block_are_told_apart_by_number(attacks):
    """In the order in which they act, the shortcut's first; the loss is of one pair and the slopes of another."""
    dense, relu = mf.Dense(), mf.ReLULike(1, 0)
    net = mf.Net(mf.Residual(dense, relu, dense, shortcut=dense))
    chunk, x = sampled(net)
    found = measured(chunk, x, AdversarialLoss(1, 2), *(WeightNormSlope(2, 2, number) for number in (1, 2, 3)))
    expected = slopes(chunk, x, attacks[0].eta[:, 0, 1], 2.0)
    for number in range(3):
        torch.testing.assert_close(found[1 + number], -2 * expected[number::3].mean(0), rtol=1e-7, atol=0)
    apart = torch.stack(found[1:]).diff(dim=0) / found[1]
    assert float(apart.abs().min()) > 1e-3
    assert torch.equal(measured(chunk, x, WeightNormSlope(2, 2))[0], measured(chunk, x, WeightNormSlope(2, 2, 1))[0])
    with pytest.raises(ArgumentError, match="Trained matrix 4 of a block is asked for, and there are 3"):
        measured(chunk, x, WeightNormSlope(2, 2, 4))


@pytest.mark.parametrize(
    ("net", "sigma_b", "eps", "exact"),
    [
        (mf.vanilla(1, 0), 0.0, 5.0, True),
        (mf.vanilla(1, 0), 0.5, 5.0, False),
        (mf.residual(1, 0), 0.0, 0.01, False),
    ],
)
def test_euler_identity_of_each_network(net, sigma_b, eps, exact):
    """Exact without biases in any ball; not with biases in a large one, nor where a shortcut leads around
    the matrix."""
    chunk, x = sampled(net, sigma_b=sigma_b)
    settings = AttackSettings(eps=eps, steps=3, directions=2)
    slope, loss = measured(chunk, x, WeightNormSlope(2, 2), AdversarialLoss(2, 2), settings=settings)
    off = (slope / (2 * loss) + 1).abs()
    assert float(off.max()) < 1e4 * ROUNDING if exact else float(off.min()) > 0.01


def test_capacity_is_that_of_autograd():
    chunk, x = sampled(mf.residual(1, 0), L=3)
    maps = list(layers(chunk.map))
    eyes = (torch.eye(n, dtype=torch.float64).expand(NETS, n, n) for n in [12] + 7 * [N])
    W = [m.weight.matmul(eye) for m, eye in zip(maps, eyes)]

    def f(scale):
        stream = W[0] @ x[..., 0]
        for i in (1, 3, 5):
            inner = scale[(i - 1) // 2] * W[i] @ stream + maps[i].bias[..., None]
            stream = stream + W[i + 1] @ torch.relu(inner)
        return W[7] @ stream

    by_layer = torch.autograd.functional.jacobian(f, torch.ones(3, dtype=torch.float64))  # (nets, K, 1, layers)
    expected = by_layer.sum(3).square().sum((1, 2))
    torch.testing.assert_close(measured(chunk, x, Capacity())[0], expected, rtol=1e3 * ROUNDING, atol=0)


def test_an_attack_is_not_asked_for_where_there_is_none():
    chunk, x = sampled(mf.vanilla(1, 0))
    with pytest.raises(ArgumentError, match="needs eps"):
        measured(chunk, x, WeightNormSlope(2, 2), settings=AttackSettings())
    with pytest.raises(ArgumentError, match=r"WeightVarianceSlope\(\) is not measured without p and q"):
        measured(chunk, x, WeightVarianceSlope())
    only, both = ([Capacity()], [Capacity(), WeightNormSlope(2, 2)])
    assert queries(only, SETTINGS, 5, 12) < queries(both, SETTINGS, 5, 12)


# -- checks ------------------------------------------------------------------------------------------------------------

AT = {"d": 16, "K": 8, "sigma_w": 2**0.5, "sigma_b": 0.0, "eps": 0.02}
DESIGN = Design(alpha=1e-4, effect=0.3, effect_fourth=1.0)


def judged(claims, at, **options):
    point = {"x_sq": 1.0, **at, "N": options["widths"][0]}
    mutants = [m for claim in claims for m in controls(claim) if differs(claim, m, point)]
    reports = mf.check_all([*claims, *mutants], at, seed=0, design=DESIGN, **options)
    return reports[: len(claims)], reports[len(claims) :]


@pytest.mark.parametrize(("net", "gain", "count"), [(mf.vanilla(1, 0), 2.0, 5), (mf.residual(1, 0), 1.0, 7)])
def test_slopes_are_supported_and_their_mutants_refuted(net, gain, count):
    """A false alarm has probability 1e-4 for each claim."""
    claims = [mf.variance_slope(net, "inf", 2, "estimate"), mf.euler_identity(net, "inf", 2)]
    options = {"widths": (32, 128, 512, 2048), "nets": 400, "directions": 1, "steps": 2}
    true, wrong = judged(claims, {**AT, "L": 2, "sigma_w": gain**0.5}, **options)
    assert [r.verdict for r in true] == [Verdict.SUPPORTED] * 2, "\n".join(map(str, true))
    assert [r.verdict for r in wrong] == [Verdict.REFUTED] * count, "\n".join(map(str, wrong))


def test_simulated_over_predicted_is_that_where_the_prediction_is_negative():
    """Half the slope is exceeded twofold, the slope of the wrong sign -1-fold, to the 5 % that 400 networks resolve
    four times."""
    claim = mf.variance_slope(mf.vanilla(1, 0), 2, 2, "estimate")
    claims = [claim, claim.scaled("1/2"), claim.scaled(-1), claim.scaled(2)]
    options = {"widths": (32, 64, 128, 256), "nets": 400, "directions": 1, "steps": 2, "design": DESIGN}
    reports = mf.check_all(claims, {**AT, "L": 1}, **options)
    for report, ratio in zip(reports, (1, 2, -1, 0.5)):
        assert report.ratio == pytest.approx(ratio, rel=0.05)
        assert report.findings[0].rungs[-1].mean == pytest.approx(ratio, rel=0.1)


def test_the_coefficient_of_a_negative_correction_keeps_its_sign():
    """1 - 3/N against 1 - 2/N: simulated over predicted is 3/2."""
    widths = (16, 32, 64)
    test = Consequence("", Capacity(), {n: 1 - 2 / n for n in widths}, dict.fromkeys(widths, 2.0), False, 1, False)
    rungs = tuple(Rung(n, 100, 1 - 3 / n, 1e-4) for n in widths)
    finding = judge(test, rungs, 1e-3, Design(), decide_equality, 0.0)
    assert finding.ratio == pytest.approx(1.5)
    assert finding.verdict is Verdict.REFUTED


def test_the_capacity_is_supported_and_its_mutants_refuted():
    at = {k: v for k, v in AT.items() if k != "eps"}
    true, wrong = judged([mf.capacity(mf.vanilla(1, 0))], {**at, "L": 2}, widths=(16, 32, 64, 128), nets=3000)
    assert true[0].verdict is Verdict.SUPPORTED, str(true[0])
    assert [r.verdict for r in wrong] == [Verdict.REFUTED] * 2, "\n".join(map(str, wrong))


def departures(*means, stderr=0.01):
    return [Rung(32 * 2**i, 400, mean, stderr) for i, mean in enumerate(means)]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_departure_that_lasts_is_told_from_one_that_falls(sign):
    grows, falls = ([sign * mean for mean in means] for means in ((0.4, 0.9, 1.9, 3.9), (3.9, 1.9, 0.9, 0.4)))
    stays = [sign * (2 + 1 / 2 ** (i / 2)) for i in range(4)]  # 2 is left by a law in 1/sqrt(N)
    for means in (grows, stays):
        assert "lasts" in lasting(departures(*means), 1e-3, 0.15)
        assert not lasting(departures(*(0.02 * mean for mean in means)), 1e-3, 0.15)  # within the effect
        assert not lasting(departures(*means, stderr=3.0), 1e-3, 0.15)  # within the noise
    assert not lasting(departures(*falls), 1e-3, 0.15)
    assert not lasting(departures(*(mean - sign * 2 for mean in stays)), 1e-3, 0.15)
    widths = {r.N: 1.0 for r in departures(*grows)}
    test = Consequence("", Capacity(), widths, widths, False, 0, False)
    for means, verdict in ((grows, Verdict.REFUTED), ((0.0, sign, 0.0, sign), Verdict.UNDERPOWERED)):
        rungs = tuple(Rung(r.N, r.nets, 1 + r.mean, r.stderr) for r in departures(*means, stderr=1e-3))
        effect = Design(effect=2.0)
        assert judge(test, rungs, 1e-3, effect, decide_equality, 0.0).verdict is verdict


def test_a_tolerance_is_granted_and_no_more():
    reach = quantile(5e-4, 100.0) * 0.01
    for sign in (1, -1):
        for value, verdict in ((0.03 + 0.999 * reach, "SUPPORTED"), (0.03 + 1.001 * reach, "REFUTED")):
            found, reason, *_ = decide_equality(Estimate(sign * value, 0.01, 100.0), 1e-3, 0.05, 0.15, 0.03)
            assert found == verdict and ("off by" in reason) == (verdict == "REFUTED")
    inside, outside = Estimate(0.03, 0.0, np.inf), Estimate(0.0300001, 0.0, np.inf)
    assert decide_equality(inside, 1e-3, 0.05, 0.15, 0.03)[0] is Verdict.SUPPORTED
    assert decide_equality(outside, 1e-3, 0.05, 0.15, 0.03)[0] is Verdict.REFUTED
    assert decide_equality(inside, 1e-3, 0.05, 0.15)[0] is Verdict.REFUTED


# -- trained networks --------------------------------------------------------------------------------------------------

POINT = {"L": 2, "d": 16, "K": 4, "sigma_w": 2**0.5, "sigma_b": 0.0, "eps": 0.05}
VANILLA = mf.vanilla(1, 0)


def test_the_first_steps_follow_the_theory():
    """Within five standard errors of 16 networks (false alarm 2e-4 by Student's t) and the 3 % that beta is estimated
    to."""
    curve = training_curve(VANILLA, 2, 2, POINT, N=800, nets=16, steps=4, seed=5)
    error = np.abs(curve.stderr / curve.predicted)
    assert (np.abs(curve.ratio - 1) < 5 * error + 0.03).all()
    assert (error < 0.05).all()
    assert (np.diff(curve.change) < 0).all() and (curve.change < 0).all()
    assert curve.time == pytest.approx(curve.rate * np.arange(1, 5))


def test_same_seed_same_curve_other_seed_another():
    few = {"N": 40, "nets": 2, "steps": 3}
    one, two, three = (training_curve(VANILLA, 2, 2, POINT, seed=s, **few) for s in (0, 0, 1))
    for name in ("time", "change", "stderr", "predicted", "loss"):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name
    assert not np.array_equal(one.change, three.change)
    given = training_curve(VANILLA, 2, 2, POINT, rate=2 * one.rate, **few)
    assert given.time == pytest.approx(2 * one.time) and given.predicted == pytest.approx(2 * one.predicted, rel=1e-3)


LINEAR = mf.Net(mf.Serial(mf.Dense(sigma_b=0), mf.ReLULike(1, 1)), name="vanilla")


def test_one_image_has_the_course_of_training_beside_it():
    """Within five standard errors and the 8 % by which N = 600 is finite; the paper's T5 is far off, and so is the loss
    if it fell at its first slope."""
    point = {"L": 2, "d": 9, "K": 3, "sigma_w": 1.0, "eps": 0.1}
    steps, nets = 40, 12
    end = float(mf.kernel(mf.training_flow(LINEAR, 2, 2).end)(N=600, **point))
    curve = training_curve(LINEAR, 2, 2, point, N=600, nets=nets, steps=steps, rate=0.6 * end / steps, images=1)
    claim = curve.theory
    for found, error, expected in (
        (curve.loss, curve.loss_stderr, claim.loss),
        (curve.capacity, curve.capacity_stderr, claim.capacity),
        (curve.change / curve.change[-1], abs(curve.stderr / curve.change[-1]), claim.change / curve.change[-1]),
    ):
        assert (np.abs(found - expected) < 5 * error + 0.08).all()
    assert abs(curve.decay[0] / claim.decay - 1) < 5 * curve.decay[1] / claim.decay + 0.08
    assert curve.life < claim.life == pytest.approx(-1 / claim.rate)
    assert 1 + claim.paper * curve.time[-1] - curve.capacity[-1] > 0.4
    assert abs(1 - claim.decay * curve.time[-1] - curve.loss[-1]) > 0.4
    assert curve.images == 1 and not claim.bound
    several = training_curve(LINEAR, 2, 2, point, N=40, nets=2, steps=1, images=2)
    assert several.images == 2 and several.theory == Predictions()


def test_claims_that_do_not_exist_are_left_out():
    time = np.array([0.0, 0.1])
    point = {**POINT, "N": 100, "x_sq": 1.0}
    relu = predictions(VANILLA, 3, "inf", point, time)
    assert relu.decay is None and relu.loss is None and relu.end is None
    assert relu.bound and relu.rate * relu.life == pytest.approx(-1, rel=1e-6)
    tanh = predictions(mf.vanilla(phi=mf.Activation("tanh")), 2, 2, point, time)
    assert tanh.rate is None and tanh.life is None and not tanh.bound


def test_a_net_may_declare_its_variance_by_a_number():
    declared = mf.Net(mf.Serial(mf.Dense(2, 0), mf.ReLULike(1, 0)))
    few = {"N": 40, "nets": 2, "steps": 2, "rate": 1e-3}
    point = {k: v for k, v in POINT.items() if not k.startswith("sigma")}
    found = training_curve(declared, 2, 2, point, **few)
    same = training_curve(VANILLA, 2, 2, {**POINT, "sigma_w": 2.0}, **few)
    np.testing.assert_allclose(found.predicted, same.predicted, rtol=1e-6)
    np.testing.assert_allclose(found.change, same.change, rtol=1e-3)


def curve_of(ratios, error=0.0):
    ratios = np.asarray(ratios, float)
    predicted = -np.arange(1.0, len(ratios) + 1)
    stderr = error * np.abs(predicted)
    time = 0.5 * np.arange(1, len(ratios) + 1)
    return TrainingCurve(100, 0.5, time, ratios * predicted, stderr, predicted, np.ones(len(ratios)))


@pytest.mark.parametrize(
    ("ratios", "error", "until"),
    [
        ([1.0, 1.05, 0.95, 1.09], 0.0, 2.0),
        ([1.0, 1.05, 1.2, 1.0], 0.0, 1.0),  # the last time before the first departure, not the last good time
        ([1.0, 1.05, 0.8], 0.0, 1.0),
        ([1.2, 1.0, 1.0], 0.0, 0.0),
        ([1.2, 1.0, 1.0], 0.06, 0.0),  # an error is no excuse
    ],
)
def test_holds_until(ratios, error, until):
    assert curve_of(ratios, error).holds_until() == until


def test_holds_until_takes_a_tolerance():
    assert curve_of([1.0, 1.2, 1.4]).holds_until(0.3) == 1.0


@pytest.mark.parametrize(
    ("at", "options", "error", "message"),
    [
        ({"eps": None}, {}, ArgumentError, "at lacks eps; training needs K, L, d, eps, sigma_b, sigma_w"),
        ({"sigma_w": None}, {}, ArgumentError, "at lacks sigma_w"),
        ({"N": 64}, {}, ArgumentError, "nothing here uses 'N'"),
        ({"x_sq": 2.0}, {}, ArgumentError, "nothing here uses 'x_sq'"),
        ({"L": 2.5}, {}, ArgumentError, "L must be an integer; got 2.5"),
        ({"L": float("nan")}, {}, ArgumentError, "L must be an integer"),
        ({"d": 0.0}, {}, DomainError, "d must be at least 1"),
        ({"sigma_w": -1.0}, {}, DomainError, "sigma_w must be in"),
        ({"eps": 0.0}, {}, DomainError, "eps must be positive"),
        ({}, {"rate": 0.0}, DomainError, "rate is a step size"),
        ({}, {"rate": -1.0}, DomainError, "rate is a step size"),
        ({}, {"rate": float("nan")}, DomainError, "rate is a step size"),
        ({}, {"data": "nope"}, DataError, "'nope' is neither"),
        ({}, {"N": 0}, DomainError, "N must be at least 1"),
        ({}, {"nets": 1}, DomainError, "nets must be at least 2"),
        ({}, {"steps": 0}, DomainError, "steps must be at least 1"),
    ],
)
def test_bad_input_is_refused_before_training(at, options, error, message, monkeypatch):
    if "steps" not in options:
        monkeypatch.setattr(module, "train", lambda *_, **__: pytest.fail("work had started"))
    point = {k: v for k, v in {**POINT, **at}.items() if v is not None}
    with pytest.raises(error, match=message):
        training_curve(VANILLA, 2, 2, point, **{"N": 32, "nets": 2, "steps": 1, **options})
