"""An audit stands on what has the declared law, and names the quantity and the place of what has not."""

import json
import math

import numpy as np
import pytest
import sympy as sp
import torch
import zoo
from scipy.stats import kstest, norm
from torch import nn

import advmf as mf
from advmf.auditing.judge import POWER, Difference, Sample, find
from advmf.auditing.law import Moments, predicted
from advmf.auditing.spectrum import departures, distribution
from advmf.errors import ArgumentError, DeclarationError, DomainError
from advmf.modules.follow import steps_along
from advmf.modules.items import Weights, walk

FEW = {"eps": 0.1, "initialisations": 6, "twins": 12, "inputs": 3}


def digits():
    return mf.simulate.load("digits")


def he(**sizes):
    return lambda: zoo.he(zoo.mlp(**{"depth": 4, "N": 96, **sizes}))


def faulty(change):
    def make():
        module = he()()
        change(module)
        return module

    return make


def test_an_initialisation_of_the_law_stands():
    found = mf.audit(he(), digits(), **FEW)
    assert found.verdict == "stands" and found.departures == () and not found.single
    assert found.net.stages[0] == mf.Stage(mf.vanilla(1, 0).block, 4)
    assert found.at["sigma_w"] == pytest.approx(2**0.5, rel=0.01) and found.at["gain"] == pytest.approx(
        2**0.5, rel=0.05
    )
    quantities = [finding.quantity for finding in found.findings]
    assert quantities.count("sigma_w_sq") == quantities.count("stream") == quantities.count("jacobian") == 5
    assert quantities[-2:] == ["norm", "attack"]
    assert found.bounds["attack"] == pytest.approx(0.1 * found.bounds["norm"])
    tail = [f for f in found.findings if f.quantity == "kurtosis"]
    assert all(abs(f.value - 3) < 6 * f.error and not f.tested for f in tail)


@pytest.mark.parametrize("factor", [1.3, 0.5**0.5])
def test_a_layer_of_another_variance_is_found_where_it_is(factor):
    found = mf.audit(faulty(lambda m: m[5].weight.data.mul_(factor)), digits(), **FEW)
    assert found.verdict == "departs"
    first = found.first("sigma_w_sq")
    assert first.where == "linear_2 (in 5, a Linear)" and first.ratio == pytest.approx(factor**2, rel=0.05)
    assert [f.where for f in found.departures if f.quantity == "sigma_w_sq"] == [first.where]
    assert {f.where for f in found.departures if f.quantity in ("stream", "jacobian")} <= {first.where}
    assert "sigma_w_sq at linear_2 (in 5, a Linear)" in found.summary


def test_a_wrong_activation_declared_is_found():
    read = mf.from_torch(he()(), torch.zeros(1, 64))
    at = {**read.at, "sigma_w": 2**0.5, "gain": 2**0.5}
    images = digits().scaled(4.0)  # where tanh saturates
    right = mf.audit(he(), images, declared=(read.net, at), **FEW)
    assert right.verdict == "stands"
    block = mf.vanilla(phi=mf.Activation("tanh")).block
    wrong = mf.audit(he(), images, declared=(mf.Net(mf.Stage(block, 4), read.net.stages[1]), at), **FEW)
    assert {"stream", "jacobian"} <= {finding.quantity for finding in wrong.departures}
    assert not [finding for finding in wrong.departures if finding.quantity in ("sigma_w_sq", "edge", "spectrum")]


@pytest.mark.parametrize(
    ("phi", "distance", "slope"),
    [(mf.ReLULike(1, "1/5"), (0.15, 0.25), (0.9, 0.99)), (mf.ReLULike(1, "1/50"), (0.01, 0.03), (0.999, 1.0))],
)
def test_a_close_activation_declared_is_found_by_itself(phi, distance, slope):
    """Slopes of 0.2 and 0.02 in place of 0: their growth departs by 4 % and by 0.04 %."""
    gain = mf.ReLULike(*2 * [sp.Symbol("gain", positive=True)])
    at = {"N": 96, "K": 10, "d": 64, "sigma_w": 2**0.5, "sigma_b": 0.0, "gain": 2**0.5}

    def audited(declared):
        net = mf.Net(mf.Stage(mf.vanilla(phi=declared).block, 4), mf.Stage(gain, 1))
        found = mf.audit(he(), digits(), declared=(net, at), **{**FEW, "initialisations": 3, "twins": 4})
        return found, {kind: [f for f in found.findings if f.quantity == kind] for kind in ("activation", "slope")}

    found, own = audited(phi)
    for kind, (low, high) in (("activation", distance), ("slope", slope)):
        assert len(own[kind]) == 4 and all(f.departs and low < f.value < high for f in own[kind])
    where = [f.where for f in own["activation"]]
    assert found.verdict == "departs" and where[1] == "relu_1 (in 4, a ReLU)"
    assert f"activation at {where[0]}" in found.summary and "certain" in str(found) and "nan" not in str(found)
    assert json.loads(found.to_json())["findings"][-3]["score"] is not None
    right, own = audited(mf.ReLULike(1, 0))
    assert right.verdict == "stands", "the control"
    assert {f.value for f in own["activation"]} == {0.0} and {f.value for f in own["slope"]} == {1.0}


def test_an_activation_that_is_written_in_another_way_is_the_same():
    """GELU by its formula, beside torch's own."""
    block = mf.vanilla(phi=mf.Activation(mf.symbols.z * (1 + sp.erf(mf.symbols.z / sp.sqrt(2))) / 2)).block
    gain = mf.ReLULike(*2 * [sp.Symbol("gain", positive=True)])
    at = {"N": 96, "K": 10, "d": 64, "sigma_w": 2**0.5, "sigma_b": 0.0, "gain": 2**0.5}
    net = mf.Net(mf.Stage(block, 4), mf.Stage(gain, 1))
    few = {**FEW, "initialisations": 3, "twins": 4}
    found = mf.audit(he(act=nn.GELU), digits(), declared=(net, at), **few)
    assert not [f for f in found.departures if f.quantity in ("activation", "slope")]
    close = mf.audit(he(act=lambda: nn.GELU(approximate="tanh")), digits(), declared=(net, at), **few)
    assert {"activation", "slope"} <= {f.quantity for f in close.departures}, "the control: torch's other GELU"


def test_lenet_and_a_strided_network_are_audited():
    images = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    for make, layers in ((zoo.LeNet5, 5), (lambda: zoo.strided_net(C=8), 4)):
        found = mf.audit(make, images, **{**FEW, "initialisations": 4, "twins": 6})
        assert found.verdict == "stands"
        assert len([f for f in found.findings if f.quantity == "stream"]) == layers

    def fault():
        module = zoo.LeNet5()
        module.f2.weight.data.mul_(1.3)
        return module

    found = mf.audit(fault, images, **{**FEW, "initialisations": 4, "twins": 6})
    assert found.first("sigma_w_sq").where == "linear_1 (in f2, a Linear)"


def test_orthogonal_weights_depart_in_their_spectrum_alone():
    def orthogonal(module):
        for layer in module[3:9:2]:
            nn.init.orthogonal_(layer.weight, 2**0.5)

    found = mf.audit(faulty(orthogonal), digits(), **FEW)
    kinds = {(finding.quantity, finding.where) for finding in found.departures}
    assert {("spectrum", f"linear_{i} (in {2 * i + 1}, a Linear)") for i in (1, 2, 3)} <= kinds
    assert {quantity for quantity, _ in kinds} <= {"spectrum", "edge"}


def test_weights_with_a_mean_depart_from_networks_of_the_law():
    """Their variance is the law's. Networks of the law have the sizes of these weights, and no mean."""
    found = mf.audit(faulty(lambda m: m[5].weight.data.abs_()), digits(), **FEW)
    assert not [f for f in found.departures if f.quantity == "sigma_w_sq"]
    where = "linear_2 (in 5, a Linear)"
    assert found.first("edge").where == found.first("spectrum").where == where
    (edge,) = (f for f in found.findings if f.quantity == "edge" and f.where == where)
    assert edge.value > 10 and edge.expected == pytest.approx(1, abs=0.1)
    sound = mf.audit(he(), digits(), **FEW)
    for quantity in ("attack", "norm"):
        assert found.reference[quantity] == pytest.approx(sound.reference[quantity], rel=0.1)


def test_a_trained_module_departs_where_it_was_trained():
    torch.manual_seed(0)
    module, images = he()(), digits()
    before = mf.audit(module, images, **FEW)
    assert before.single and before.verdict == "measured" and before.departures == ()
    x, y = torch.as_tensor(images.x[:500], dtype=torch.float32), torch.as_tensor(images.labels[:500], dtype=torch.int64)
    optimiser = torch.optim.Adam(module.parameters(), 3e-3)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(module(x), y).backward()
        optimiser.step()
    after = mf.audit(module, images, **FEW)
    assert after.verdict == "measured" and after.departures
    assert "attack" in {finding.quantity for finding in after.departures}


def test_reset_parameters_draws_the_initialisations():
    found = mf.audit(zoo.mlp(depth=3, N=64, act=nn.Tanh), digits(), reset=True, **FEW)
    assert found.verdict == "stands" and found.at["sigma_w"] == pytest.approx(3**-0.5, rel=0.02)
    declared = mf.to_torch(mf.vanilla(1, 0), N=64, L=2, d=64, K=3, sigma_w=1.4, sigma_b=0.2)
    assert mf.audit(declared, digits(), reset=True, **FEW).verdict == "stands"


def test_an_audit_says_everything_as_text_and_json():
    found = mf.audit(he(depth=2, N=32), digits(), **{**FEW, "p": "inf", "q": 1})
    text = str(found)
    assert found.summary in text and "attack/bound" in text and len(text.splitlines()) > len(found.findings)
    record = json.loads(found.to_json())
    assert record["verdict"] == found.verdict and record["p"] == "inf" and record["q"] == 1.0
    assert len(record["findings"]) == len(found.findings) and record["power"] == 0.95
    assert [f["least"] for f in record["findings"]] == [f.least for f in found.findings]
    assert found.resolution in text and "sigma_w_sq" in found.resolution
    assert max(map(len, (line for line, _ in found.table()))) <= 80
    rows = found.records()
    assert [row["value"] for row in rows] == [f.value for f in found.findings] and rows[-1]["where"] == "output"
    assert "<table>" in found._repr_html_() and len(found.csv().splitlines()) == len(rows) + 1
    again = mf.audit(he(depth=2, N=32), digits(), **{**FEW, "p": "inf", "q": 1})
    assert [f.value for f in again.findings] == [f.value for f in found.findings], "same seed, same numbers"
    other = mf.audit(he(depth=2, N=32), digits(), **{**FEW, "p": "inf", "q": 1, "seed": 9})
    assert [f.value for f in other.findings] != [f.value for f in found.findings], "the control"


def test_images_without_a_bound_say_so():
    found = mf.audit(lambda: zoo.conv_net(C=12, act=nn.Tanh), digits(), **FEW)
    assert found.bounds == {} and found.verdict == "stands"
    assert any("T2 has no bound for this net" in note for note in found.notes)
    pooled = mf.audit(lambda: zoo.conv_net(C=12, head="pool"), digits(), **FEW)
    assert set(pooled.bounds) == {"attack", "norm"} and pooled.verdict == "stands"


# The parts.


def test_the_law_of_a_step_is_that_of_many_networks():
    """Predicted moments against the mean over explicit networks: every kind of step."""
    x = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    direction = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ratios = {}
    for seed in range(60):
        torch.manual_seed(seed)
        module = nn.Sequential(
            nn.Conv2d(1, 24, 3, padding=1, bias=False), nn.Tanh(),
            nn.Conv2d(24, 24, 3, padding=1, stride=2, bias=False), nn.LeakyReLU(0.3),
            nn.Flatten(), nn.Linear(24 * 16, 32),
        ).double()  # fmt: skip
        read = mf.from_torch(module, x)
        law = {
            id(item): (1 / 3, 1 / 1152 if item.bias is not None else 0.0)
            for item in walk(read.path)
            if isinstance(item, Weights)
        }
        for step, tangent in zip(*steps_along(read.path, {}, x, direction)):
            before = [Moments.of(a, b) for a, b in zip(step.before, tangent.before)]
            after, expected = Moments.of(step.after, tangent.after), predicted(step, before, law, {})
            for name in ("Q", "V", "C"):
                ratios.setdefault((step.name, name), []).append(after.mean(name)[0] / expected.mean(name)[0])
    assert len(ratios) == 9
    for key, values in ratios.items():
        mean, error = np.mean(values), np.std(values) / len(values) ** 0.5
        assert abs(mean - 1) < 4.5 * error + 0.01, key  # an activation on fields of 24 channels is exact on average
    wide = [
        (np.mean(values) * 1.3 - 1) / (np.std(values) / len(values) ** 0.5)
        for key, values in ratios.items()
        if key[1] == "Q"
    ]
    assert min(wide) > 4.5, "the control: a variance 1.3 times as large"


@pytest.mark.parametrize("shape", [(300, 400), (400, 300), (256, 256), (50, 400)])
def test_the_spectrum_of_a_gaussian_matrix_has_the_law_of_marchenko_and_pastur(shape):
    rows, columns = shape
    generator = np.random.default_rng(1)
    squares = np.linalg.svd(generator.normal(size=shape) / columns**0.5, compute_uv=False) ** 2
    edge, distance = departures(squares, rows, columns)
    assert abs(edge - 1) < 0.1 and distance < 4 / min(shape)
    grid, share = distribution(rows, columns)
    mean = np.trapezoid(grid, share)
    assert mean == pytest.approx(max(1, rows / columns), rel=1e-3), "the mean square of singular values"
    orthogonal = np.full(min(shape), max(1.0, rows / columns))
    assert departures(orthogonal, rows, columns)[1] > 0.3, "the control"


def test_the_level_of_the_tests_is_the_declared_one():
    """False alarms of 200 audits of 40 sound quantities at 5 %: their number is binomial."""
    generator, alarms = np.random.default_rng(0), 0
    for _ in range(200):
        samples = [Sample("stream", str(i), generator.normal(1, 0.1, 10), 1.0, exact=True) for i in range(20)]
        samples += [
            Sample("norm", str(i), generator.normal(2, 0.1, 10), 2.0, generator.normal(2, 0.1, 24)) for i in range(20)
        ]
        alarms += any(finding.departs for finding in find(samples, 0.05))
    assert 2 <= alarms <= 22, alarms
    shifted = [Sample("stream", "", generator.normal(1.3, 0.1, 10), 1.0, exact=True)]
    assert find(shifted, 0.05)[0].departs, "the control"


def test_scores_are_normal_for_sound_quantities():
    generator = np.random.default_rng(0)
    cases = {
        "exact": lambda: Sample("a", "", generator.normal(1, 0.1, 5), 1.0, exact=True),
        "known": lambda: Sample("a", "", generator.normal(1, 0.1, 5), 1.0, known=0.1),
        "single": lambda: Sample("a", "", [generator.normal(1, 0.1)], 1.0, generator.normal(1, 0.1, 12)),
        "two": lambda: Sample("a", "", generator.normal(1, 0.2, 8), 1.0, generator.normal(1, 0.1, 12)),
    }
    for name, draw in cases.items():
        scores = [find([draw()], 0.01)[0].score for _ in range(1500)]
        assert kstest(scores, norm.cdf).pvalue > 1e-4, name
        assert kstest(1.3 * np.asarray(scores), norm.cdf).pvalue < 1e-4, f"the control of {name}"


def test_the_least_detectable_departure_is_found_as_often_as_it_says():
    """True departures of the least detectable size, in 400 audits of 10 quantities, are found in 95 % of them."""
    generator, runs, tests = np.random.default_rng(1), 400, 10
    cases = {
        "known": (lambda shift: Sample("a", "", generator.normal(1 + shift, 0.1, 5), 1.0, known=0.1), 0.1 / 5**0.5, math.inf),
        "exact": (lambda shift: Sample("a", "", generator.normal(1 + shift, 0.1, 10), 1.0, exact=True), 0.1 / 10**0.5, 9),
        "single": (
            lambda shift: Sample("a", "", [generator.normal(1 + shift, 0.1)], 1.0, generator.normal(1, 0.1, 24)),
            0.1 * (1 + 1 / 24) ** 0.5,
            23,
        ),
        "two": (
            lambda shift: Sample("a", "", generator.normal(1 + shift, 0.1, 15), 1.0, generator.normal(1, 0.1, 15)),
            0.1 * (2 / 15) ** 0.5,
            28,
        ),
    }  # fmt: skip
    sound = [Sample("b", "", [1.0], 1.0, known=0.1)] * (tests - 1)
    for name, (draw, error, freedom) in cases.items():
        shift = Difference(0.0, error, freedom).least(0.01 / tests)
        found = [sum(find([draw(size), *sound], 0.01)[0].departs for _ in range(runs)) for size in (shift, shift / 2)]
        assert abs(found[0] / runs - POWER) < 4 * (POWER * (1 - POWER) / runs) ** 0.5 + 0.01, name
        assert found[1] / runs < 0.6, f"the control of {name}: half of it"
    least = [find([cases["exact"][0](0.0), *sound], 0.01)[0].least for _ in range(200)]
    shift = Difference(0.0, 0.1 / 10**0.5, 9).least(0.01 / tests)
    assert np.mean(least) == pytest.approx(shift, rel=0.1), "each audit says so from its own spread"


def gone():
    raise RuntimeError("no disk")


REFUSED = {
    "no module": (lambda: "module", {}, ArgumentError, "nn.Module"),
    "neither": (3, {}, ArgumentError, "makes one"),
    "failing": (gone, {}, ArgumentError, "no disk"),
    "eps": (he(), {"eps": 0}, DomainError, "eps"),
    "alpha": (he(), {"alpha": 1.5}, DomainError, "alpha"),
    "initialisations": (he(), {"initialisations": 1}, DomainError, "initialisations"),
    "twins": (he(), {"twins": 2}, DomainError, "twins"),
    "p": (he(), {"p": 0.5}, DomainError, "p"),
    "declared": (he(), {"declared": mf.vanilla(1, 0)}, ArgumentError, "a net and a point"),
    "another depth": (
        he(),
        {"declared": (mf.vanilla(1, 0), {"L": 2, "sigma_w": 1.0, "sigma_b": 0.0})},
        DeclarationError,
        "layers with weights",
    ),
    "no value": (he(), {"declared": (mf.vanilla(1, 0), {"L": 4, "sigma_w": 1.0})}, ArgumentError, "has no sigma_b"),
    "outside": (
        he(),
        {"declared": (mf.vanilla(1, 0), {"L": 4, "d": 64, "K": 10, "N": 96, "sigma_w": -1.0, "sigma_b": 0.0})},
        DomainError,
        "sigma_w = -1 is outside its domain",
    ),
    "inputs": (he(), {"inputs": 2.5}, ArgumentError, "inputs must be an integer"),
    "progress": (he(), {"progress": 3}, ArgumentError, "progress is a function"),
    "no reset": (nn.ReLU(), {"reset": True}, ArgumentError, "no reset_parameters"),
    "reset of a function": (he(), {"reset": True}, ArgumentError, "reset is for a module"),
    "lenet": (zoo.LeNet5, {}, ArgumentError, "takes no inputs of"),
    "training": (lambda: zoo.ResidualMLP(N=16), {}, ArgumentError, "mode of training"),
}


@pytest.mark.parametrize(("module", "more", "error", "match"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_audited_is_refused(module, more, error, match, monkeypatch):
    monkeypatch.setattr("advmf.auditing.audit.measure", lambda *_: pytest.fail("work had started"))
    with pytest.raises(error, match=match):
        mf.audit(module, digits(), **{**FEW, **more})


def test_wrong_images_are_refused():
    for images, match in (
        (torch.zeros(2, 64), "all zero"),
        (torch.ones(2, 63), "fails on inputs"),
        (torch.full((2, 64), math.nan), "NaN"),
        (np.ones((2, 64), complex), "complex"),
    ):
        with pytest.raises((ArgumentError, DomainError), match=match):
            mf.audit(he()(), images, **FEW)


def test_a_factory_of_several_shapes_is_refused():
    widths = iter((32, 32, 48))
    with pytest.raises(ArgumentError, match="one shape"):
        mf.audit(lambda: zoo.mlp(N=next(widths)), digits(), **{**FEW, "initialisations": 3})


def test_initialisations_that_are_not_drawn_anew_are_refused():
    module = he()()

    def seeded():
        torch.manual_seed(0)
        return he()()

    def drawn_again():
        return zoo.he(module)

    def half_fixed():
        made = he()()
        made[3].weight.data.copy_(module[3].weight)
        return made

    for factory, node in (
        (seeded, "linear "),
        (lambda: module, "linear "),
        (drawn_again, "linear "),
        (half_fixed, "linear_1 "),
    ):
        with pytest.raises(ArgumentError, match=f"^{node}.*has the same weights in two initialisations"):
            mf.audit(factory, digits(), **FEW)


def test_the_state_of_the_generator_and_of_the_module_are_kept():
    module = he()()
    state, weights = torch.get_rng_state(), module[1].weight.clone()
    mf.audit(he(), digits(), **FEW)
    mf.audit(module, digits(), **FEW)
    assert torch.equal(torch.get_rng_state(), state) and torch.equal(module[1].weight, weights)
    assert sp.Symbol("gain", positive=True) in mf.from_torch(module, torch.zeros(1, 64)).net.stages[-1].block.parts


def test_a_declared_point_needs_no_sizes_of_the_module():
    net = mf.vanilla(1, 0)
    at = {"sigma_w": 1.3, "sigma_b": 0.4, "L": 2}

    def factory():
        return mf.to_torch(net, N=64, d=16, K=4, **at)

    images = mf.simulate.load("digits").resampled(16)
    found = [mf.audit(factory(), images, declared=(net, at | sizes), **FEW) for sizes in ({}, {"d": 16, "K": 4})]
    assert found[0].bounds == found[1].bounds and found[0].bounds.keys() == {"attack", "norm"}
    with pytest.raises(ArgumentError, match="has d = 64, and the module d = 16; leave d out"):
        mf.audit(factory(), images, declared=(net, at | {"d": 64}), **FEW)
    with pytest.raises(ArgumentError, match="has no L; give it in at"):
        mf.audit(factory(), images, declared=(net, {"sigma_w": 1.3, "sigma_b": 0.4}), **FEW)
