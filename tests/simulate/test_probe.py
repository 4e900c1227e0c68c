"""Observables say how they are measured: the package's by the same means as one's own, and by no more than they
declare."""

import pytest
import sympy as sp
import torch

import advmf as mf
from advmf import observables
from advmf.errors import ArgumentError
from advmf.observables import (
    ATTACK,
    GRADIENTS,
    JACOBIAN,
    OUTPUT_MEANS,
    AdversarialLoss,
    Observable,
    Output,
    UnitObservable,
)
from advmf.simulate import probe as probes
from advmf.simulate.estimate import attacked, measure, queries
from advmf.simulate.probe import AttackSettings, Probe

SETTINGS = AttackSettings(eps=0.5, steps=2, directions=2)
SHIPPED = [
    kind
    for kind in vars(observables).values()
    if isinstance(kind, type) and issubclass(kind, Observable) and kind.measure is not Observable.measure
]
NEEDED = {
    "jacobian": JACOBIAN, "sound": JACOBIAN, "across": JACOBIAN, "along": JACOBIAN, "norm": JACOBIAN,
    "attack": ATTACK, "gradients": GRADIENTS, "pairing": GRADIENTS, "gradient_square": GRADIENTS,
    "mean_capacity_slope": OUTPUT_MEANS,
}  # fmt: skip
"""What each part of a probe costs."""


def made(kind):
    """An observable of a kind: at (2, oo) if it has exponents, of the first unit and direction if it has these."""
    pair = ATTACK in kind.needs or kind.exponents == 2
    for args in ((2, sp.oo),) if pair else ((), (0,), (0, 0)):
        try:
            return kind(*args)
        except ArgumentError:
            continue
    raise AssertionError(kind)


@pytest.fixture
def trace():
    net = mf.residual(1, 0)
    values = {"sigma_w": 1.2, "sigma_b": 0.3, "dtype": torch.float64, "generator": torch.Generator().manual_seed(1)}
    ensemble = mf.simulate.sample(net, N=20, L=2, d=6, K=3, nets=4, sampler="dense", **values)
    (found,) = ensemble.traces(torch.ones(4, 1, 6, dtype=torch.float64))
    return found


def probe(trace, observed, kind=Probe):
    x = torch.ones(4, 6, 1, 1, dtype=torch.float64)
    return kind(trace, x, SETTINGS, torch.Generator().manual_seed(0), attacked(observed))


def watched(allowed):
    """A probe that has nothing but what is declared."""

    class Watched(Probe):
        def __getattribute__(self, name):
            if name in NEEDED and NEEDED[name] not in allowed:
                raise AssertionError(f"{name} is not declared")
            return super().__getattribute__(name)

    return Watched


def test_the_package_has_a_measurement_for_what_checks_speak_of():
    assert len(SHIPPED) == 14 and {UnitObservable} & set(SHIPPED) == set()


@pytest.mark.parametrize("kind", SHIPPED)
def test_observables_use_no_more_than_they_declare(kind, trace):
    o = made(kind)
    value = o.measure(probe(trace, [o], watched(kind.needs)))
    assert value.shape[0] == 4 and (value.ndim == 3) == isinstance(o, UnitObservable)
    if kind.needs:  # the control
        with pytest.raises(AssertionError, match="is not declared"):
            o.measure(probe(trace, [o], watched(())))


class Attacked(Observable):
    """One's own, by the attack that the package's observables share."""

    needs = frozenset({JACOBIAN, ATTACK})

    def measure(self, probe):
        return probe.attack(*self.args).value


def test_an_observable_of_ones_own_shares_the_attack(trace):
    own, shipped = Attacked(2, sp.oo), AdversarialLoss(2, sp.oo)
    x = torch.ones(4, 6, 1, 1, dtype=torch.float64)
    both = measure(trace, x, [own, shipped], SETTINGS, torch.Generator().manual_seed(0))
    assert torch.equal(both[:, 0], both[:, 1]) and (both > 0).all()
    assert queries([own, shipped], SETTINGS, 3, 6) == queries([shipped], SETTINGS, 3, 6)
    assert mf.latex(own) == r"\mathrm{Attacked}(2, \infty)"


def test_an_attack_that_was_not_asked_for_is_refused(trace):
    with pytest.raises(
        ArgumentError, match=r"No attack at \(p, q\) = \(1\.0, 2\.0\) was asked for; an observable whose"
    ):
        probe(trace, [AdversarialLoss(2, 2)]).attack(1, 2)


@pytest.mark.parametrize(
    "net",
    [mf.residual(1, 0), mf.conv(1, 0, image=(2, 3)), mf.Net(mf.Serial(mf.Dense(), mf.Activation("tanh")))],
    ids=["residual", "conv", "tanh"],
)
def test_pairs_share_a_pass_and_each_has_its_own_derivatives(net):
    """Those of all pairs together are those of each pair alone, and their pairings those of the matrices."""
    values = {"sigma_w": 1.2, "sigma_b": 0.3, "dtype": torch.float64, "generator": torch.Generator().manual_seed(1)}
    ensemble = mf.simulate.sample(net, N=20, L=2, d=6, K=3, nets=4, sampler="dense", **values)
    x = torch.arange(1.0, 7.0, dtype=torch.float64)
    (trace,) = ensemble.traces(x.expand(4, 1, 6))
    pairs = [(2.0, 2.0), (float("inf"), 1.0), (1.0, float("inf"))]

    def of(slopes):
        return Probe(trace, x[None, :, None, None], SETTINGS, torch.Generator().manual_seed(0), pairs, slopes)

    def derivatives(probe, pair):
        return [g.delta @ g.x.mT for g in probe.gradients(*pair)]

    together, apart = of(pairs), of([])
    for pair in pairs:
        for one, other in zip(derivatives(together, pair), derivatives(apart, pair)):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
        for g in together.gradients(*pair):
            asked = (g.delta * g.weight.matmul(g.x)).sum((1, 2))
            torch.testing.assert_close(g.pairing(), asked, rtol=1e-10, atol=1e-12)
    first, second = (derivatives(together, pair)[0] for pair in pairs[:2])  # the control
    assert (first - second).norm() > 0.1 * first.norm()


def test_a_trained_matrix_that_is_not_there_is_refused(trace):
    o = observables.WeightNormSlope(2, 2, 3)
    with pytest.raises(ArgumentError, match="Trained matrix 3 of a block is asked for, and there are 1"):
        o.measure(probe(trace, [o]))


def test_a_network_that_overflows_has_no_value_of_what_needs_its_jacobian(trace, monkeypatch):
    x = torch.ones(4, 6, 1, 1, dtype=torch.float64)
    J = trace.jacobian()
    monkeypatch.setattr(type(trace), "jacobian", lambda self: J.index_fill(0, torch.tensor([2]), torch.inf))
    found = measure(trace, x, [Output(0) ** 2, observables.OperatorNorm(2, 2)], SETTINGS, torch.Generator())
    assert found.isfinite().tolist() == [[True, True], [True, True], [True, False], [True, True]]


def test_the_jacobian_is_asked_first(trace, monkeypatch):
    """Networks without weights answer by what was asked before, so that numbers depend on the order."""
    asked = []
    ask, measured = type(trace).jacobian, probes.capacity
    monkeypatch.setattr(type(trace), "jacobian", lambda self: asked.append("jacobian") or ask(self))
    monkeypatch.setattr(probes, "capacity", lambda found: asked.append("capacity") or measured(found))
    products = [observables.Capacity(), observables.OperatorNorm(2, 2)]
    measure(trace, torch.ones(4, 6, 1, 1, dtype=torch.float64), products, SETTINGS, torch.Generator())
    assert asked == ["jacobian", "capacity"]
