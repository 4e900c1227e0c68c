"""No verdict from numbers that say nothing: what is not finite, and what is below what its type of number carries, on
every path."""

import json
import math
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sympy as sp
import torch
from click.testing import CliRunner

import advmf as mf
from advmf import cli
from advmf.claim import Claim, Regime
from advmf.experiments.training_curve import TrainingCurve
from advmf.observables import Expectation, Observable
from advmf.simulate.matrices import GaussianNorms
from advmf.verify import suite
from advmf.verify.controls import controls
from advmf.verify.moments import Running
from advmf.verify.mutation import mutate, score
from advmf.verify.runs import run
from advmf.verify.sources import matrices
from advmf.verify.statistics import Estimate, Rung, combine
from advmf.verify.store import read
from advmf.verify.verdict import Report, Verdict, jsonable

AT = {"L": 2, "d": 8, "K": 2, "sigma_w": 1.0, "sigma_b": 0.3, "eps": 0.1}
FEW = {"widths": (8, 16, 32), "nets": 64}
SMALL = runpy.run_path(str(Path(__file__).parent / "held.py"))["SMALL"]


class Odd(Observable):
    """A number of which the network at ``place`` has ``value`` instead."""

    place, value, rest, seen = 40, math.nan, 1.0, {}

    def measure(self, probe):
        found = torch.full((probe.nets,), self.rest, dtype=torch.float64)
        first = self.seen.get(probe.width, 0) % FEW["nets"]
        self.seen[probe.width] = first + len(found)
        if 0 <= self.place - first < len(found):
            found[self.place - first] = self.value
        return found


@pytest.fixture
def odd(monkeypatch):
    """A claim about Odd, by its relation and right-hand side."""

    def claim(relation, value, rhs=1, place=40, regime=Regime.EXACT):
        for name, new in {"place": place, "value": value, "seen": {}}.items():
            monkeypatch.setattr(Odd, name, new)
        return Claim(
            name="odd", lhs=Expectation(Odd()), relation=relation, formula=sp.sympify(rhs), where={}, regime=regime,
            assumptions=(), source="nowhere", net=mf.vanilla(1, 0), heuristic="" if regime is Regime.EXACT else "a test",
        )  # fmt: skip

    return claim


def says_nothing(report, *words):
    assert report.verdict is Verdict.UNDERPOWERED, str(report)
    assert all(f.verdict is Verdict.UNDERPOWERED and f.p_value == 1 for f in report.findings)
    for word in words:
        assert word in report.findings[0].reason, report.findings[0].reason
    record = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    again = Report.from_dict(record)
    assert str(again) == str(report) and again.to_dict() == report.to_dict()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("relation", "rhs"), [("<=", 2), ("<=", sp.Rational(1, 2)), ("==", 1), ("==", 5), ("approx", 1)]
)
def test_one_number_that_is_not_finite_is_enough(odd, value, relation, rhs):
    """Whatever is claimed: bounds that would stand and fall, equalities that would hold and not."""
    claim = odd(relation, value, rhs)
    if relation == "approx":
        claim = replace(claim, tolerance=0.1)
    says_nothing(mf.check(claim, AT, **FEW), "1 of 64 at 8", "overflow", 'dtype="float64"')


@pytest.mark.parametrize(
    "options", [{"sequential": True}, {"nets": "pilot"}, {"nets": "pilot", "sequential": True}, {"dtype": "float64"}]
)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_by_every_way_to_size_a_check(odd, value, options):
    """Also where the number comes within a look or a pilot, and where float64 is no advice."""
    monkey = odd("<=", value, 2, place=3)
    report = mf.check(monkey, AT, **{**FEW, **options})
    says_nothing(report, "overflow", "smaller L")
    assert ("dtype" in report.findings[0].reason) == (options.get("dtype") != "float64")


def test_a_look_that_is_decided_before_the_number_comes_stays_decided(odd):
    """The later networks were not asked."""
    report = mf.check(odd("<=", math.nan, 2, place=40), AT, **FEW, sequential=True)
    assert report.verdict is Verdict.NOT_REFUTED and report.settings["nets"] == [32] * 3


OVERFLOWS = {"L": 8, "d": 8, "K": 3, "sigma_w": 1e8, "sigma_b": 0.3, "eps": 0.1}
NET = mf.residual(1, 0)
CLAIMS = [
    *mf.linear_form(NET), mf.capacity(NET), mf.stream_fluctuation(NET), mf.jacobian_norm(NET), mf.loss_bound(NET, 2, 2),
    mf.loss_bound(NET, 1.5, 3), mf.euler_identity(NET, "inf", 1), mf.variance_slope(NET, 2, 2),
]  # fmt: skip


def test_overflow_of_the_networks_gives_no_verdict_on_any_claim_nor_on_its_controls():
    """Some networks overflow at width 8, all at 32. In float64 the same claims have numbers."""
    wrong = [m for claim in CLAIMS for m in controls(claim)]
    for report in mf.check_all([*CLAIMS, *wrong], OVERFLOWS, widths=(8, 16, 32), nets=8, sampler="dense"):
        says_nothing(report, "overflow", "float64")
    wide = mf.check(mf.capacity(NET), OVERFLOWS, widths=(8, 16, 32), nets=8, sampler="dense", dtype="float64")
    assert all(math.isfinite(r.mean) for f in wide.findings for r in f.rungs)


def test_underflow_gives_no_verdict_on_what_is_true_and_what_is_not():
    """The Jacobian is 1e-40; the offset and the second moment are of order one, and are judged."""
    net, at = mf.vanilla(1, 0), {**AT, "L": 3, "sigma_w": 1e-13}
    bound = mf.loss_bound(net, 2, 2)
    law = mf.linear_form(net)
    claims = [
        law[0],
        law[2],
        bound,
        bound.scaled(sp.Rational(1, 1000)),
        mf.jacobian_norm(net),
        mf.variance_slope(net, 2, 2),
    ]
    for report in mf.check_all(claims, at, widths=(8, 16, 32), nets=40):
        says_nothing(report, "underflow", "float32", "float64")
    fine = mf.check(law[1], at, widths=(8, 16, 32), nets=40)
    assert all("underflow" not in f.reason for f in fine.findings)
    double = mf.check(bound.scaled(sp.Rational(1, 1000)), at, widths=(32, 64, 128), nets=100, dtype="float64")
    assert double.verdict is Verdict.REFUTED, str(double)


def test_an_offset_that_cancels_gives_no_verdict():
    law = mf.linear_form(mf.vanilla(1, 0))[1]
    at = {**AT, "L": 1, "sigma_w": 2.0, "sigma_b": 1e-7}
    says_nothing(mf.check(law, at, widths=(8, 16, 32), nets=40), "cancellation", "float64")
    double = mf.check(law, at, widths=(8, 16, 32), nets=40, dtype="float64")
    assert all("cancel" not in f.reason for f in double.findings)


def test_zeros_of_ones_own_are_numbers(odd, monkeypatch):
    """An observable may count what never happens; only where next to nothing is claimed too may it have underflown."""
    claim = odd("<=", 0.0, sp.Rational(1, 10))
    monkeypatch.setattr(Odd, "rest", 0.0)
    assert mf.check(claim, AT, **FEW).verdict is Verdict.NOT_REFUTED
    says_nothing(mf.check(claim.scaled(sp.Float(1e-40)), AT, **FEW), "underflow")


def test_growth_needs_finite_numbers_at_every_rung():
    claim = mf.growth(mf.loss_bound(NET, 2, 2), "d")
    at = {name: value for name, value in OVERFLOWS.items() if name != "d"}
    report = mf.check(claim, at=at, ladder=(8, 16, 32), along="d", nets=3, widths=(4, 8, 16), sampler="dense")
    says_nothing(report, "overflow", "d = 8")


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("end", ["lower", "upper"])
def test_matrices_need_finite_norms(value, end, monkeypatch):
    found = matrices.gaussian_norms

    def spoilt(*args, **options):
        def spoil(norms):
            ends = {
                "lower": norms.lower.clone(),
                "upper": (norms.lower if norms.upper is None else norms.upper).clone(),
            }
            ends[end][3] = value
            return GaussianNorms(ends["lower"], ends["upper"], norms.exact)

        return {pair: spoil(norms) for pair, norms in found(*args, **options).items()}

    monkeypatch.setattr(matrices, "gaussian_norms", spoilt)
    for relation in ("<=", ">=", "approx"):
        claim = replace(mf.norm_factor(2, 2), relation=relation)
        says_nothing(mf.check(claim, {"d": 20, "K": 4}, samples=40), "matrices")
    says_nothing(mf.check(mf.growth(mf.norm_factor(2, 2), "d"), {"K": 2}, ladder=(8, 16, 32), samples=40), "overflow")


def test_suites_stores_and_json_have_no_verdict_and_no_nan(tmp_path, monkeypatch):
    """No control counts as refuted, the store is read again and resumed, and the JSON is JSON."""
    monkeypatch.setattr(suite, "QUICK", SMALL)
    chosen = suite.cases(["F1"], ["residual"], ["relu"], profile=SMALL, at={"L": 8, "sigma_w": 1e8})
    (outcome,) = run(chosen, store=tmp_path / "run.db")
    for report in (*outcome.reports, *outcome.controls):
        says_nothing(report, "overflow")
    kept = [record.report for record in read(tmp_path / "run.db").records]
    assert [r.to_dict() for r in kept] == [r.to_dict() for r in (*outcome.reports, *outcome.controls)]
    (again,) = run(chosen, store=tmp_path / "run.db", resume=True)
    assert [str(r) for r in again.reports] == [str(r) for r in outcome.reports]
    for options in ([], ["--networks", "pilot"], ["--sequential"]):
        args = ["check", "--theorem", "F1", "--net", "residual", "--at", "L=8", "--at", "sigma_w=1e8", "--workers", "1"]
        args += [
            *options,
            "--json",
            str(tmp_path / "run.json"),
            "--store",
            str(tmp_path / f"{len(options)}{options[-1:]}.db"),
        ]
        result = CliRunner().invoke(cli.main, args)
        assert result.exit_code == 3, result.output
        text = (tmp_path / "run.json").read_text()
        record = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert record["summary"]["controls"]["refuted"] == 0 and record["summary"]["UNDERPOWERED"] == 2
    wide = CliRunner().invoke(cli.main, [*args[:-4], "--dtype", "float64", "--json", str(tmp_path / "wide.json")])
    assert "overflow" not in wide.output and "overflow" not in (tmp_path / "wide.json").read_text()


def test_no_mutant_is_caught_by_numbers_that_say_nothing():
    chosen = suite.cases(["F1"], ["residual"], ["relu"], profile=SMALL, at={"L": 8, "sigma_w": 1e8})
    (found,) = mutate(chosen, nets=10)
    assert found and not any(m.caught for m in found)
    json.dumps(score(found), allow_nan=False)


@pytest.mark.parametrize("size", [1e300, 1e-300, 1.0])
def test_moments_overflow_and_vanish_no_sooner_than_the_numbers(size):
    rng = np.random.default_rng(0)
    numbers = rng.lognormal(size=(60, 3)) * [1.0, -1.0, 0.0]
    whole, parts = Running(3), Running(3)
    whole.add(numbers)
    parts.add(0 * numbers[:1])
    for block in (numbers[:7], numbers[7:8], numbers[8:]):
        parts.add(block * size)
    one, other = whole.rung(8), parts.rung(8)
    assert other.mean / size == pytest.approx(one.mean * 60 / 61) and other.finite
    assert other.skew == pytest.approx(Running.of(json.loads(json.dumps(parts.state))).rung(8).skew, rel=0)
    assert 0.8 < other.stderr / size / one.stderr < 1.2 and 0.8 < other.skew / one.skew < 1.2
    assert parts.rung(8, 2) == Rung(8, 61, 0.0, 0.0)
    rungs = [replace(other, N=N, mean=other.mean * (1 + 1 / N)) for N in (8, 16, 32, 64)]
    plain = [r.scaled(1 / size) for r in rungs]
    for degree in (0, 1, 2):
        a, b = combine(rungs, degree), combine(plain, degree)
        assert (a.value / size, a.stderr / size, a.dof, a.fit_p, a.skew) == pytest.approx(
            (b.value, b.stderr, b.dof, b.fit_p, b.skew)
        )


@pytest.mark.parametrize(
    "bad",
    [(math.nan, 1.0, 0.0), (math.inf, 1.0, 0.0), (1.0, math.nan, 0.0), (1.0, math.inf, 0.0), (1.0, 1.0, math.nan)],
)
def test_no_p_value_of_what_is_no_number(bad):
    value, stderr, skew = bad
    estimate = Estimate(value, stderr, 10, skew=skew)
    for answer in (estimate.p_above, estimate.p_below):
        with pytest.raises(ArithmeticError, match="no number"):
            answer(0.0)
    assert Estimate(1e308, 1e-10, 10).p_above(-1e308) == 0, "a distance may be infinite"
    assert Estimate(-1e308, 1e-10, 10).p_above(1e308) == 1


def test_a_training_curve_without_numbers_holds_nowhere():
    nothing = np.array([math.nan, math.nan])
    curve = TrainingCurve(8, 0.1, np.array([1.0, 2.0]), nothing, nothing, np.array([-1.0, -2.0]), nothing)
    assert curve.holds_until() == 0
    assert jsonable({"a": (math.inf, [math.nan, 1.5, "x"])}) == {"a": [None, [None, 1.5, "x"]]}
