"""Verdicts on norm factors and on orders of growth: true claims stand, wrong ones are refuted at the declared rates."""

import json
import math
from dataclasses import replace

import pytest
import sympy as sp
from click.testing import CliRunner
from scipy import stats

import advmf as mf
from advmf import cli
from advmf.errors import ArgumentError, DomainError
from advmf.theorems.t6_dimensions import growth
from advmf.verify import runs, suite
from advmf.verify.controls import controls
from advmf.verify.sources import matrices
from advmf.verify.sources.matrices import check_matrices
from advmf.verify.statistics import Design
from advmf.verify.verdict import Verdict

AT = {"d": 20, "K": 4}
LADDER = (100, 400, 1600)
SMALL = suite.Profile(
    "small",
    data="digits",
    scales={
        **suite.QUICK.scales,
        "beta": suite.MatrixScale(d=100, K=10, samples=900),
        "T6.d": suite.MatrixScale(d=1, K=2, samples=64, along="d", ladder=LADDER),
        "T6.K": suite.MatrixScale(d=2, K=1, samples=64, along="K", ladder=LADDER),
    },
)


@pytest.fixture
def unsampled(monkeypatch):
    monkeypatch.setattr(matrices, "gaussian_norms", lambda *_, **__: pytest.fail("work had started"))


@pytest.mark.parametrize(
    ("pair", "route", "verdict"),
    [
        ((1, 2), "extremal", Verdict.SUPPORTED),
        ((2, 2), "spectral", Verdict.SUPPORTED),
        ((3, "inf"), "best", Verdict.SUPPORTED),
        ((3, 1.5), "estimate", Verdict.SUPPORTED),
        (("inf", 1), "tilted", Verdict.NOT_REFUTED),
        ((3, 1.5), "chevet", Verdict.NOT_REFUTED),
        ((1, 2), "leading", Verdict.NOT_REFUTED),
        (("inf", 1), "lower", Verdict.NOT_REFUTED),
        ((3, 1.5), "lower", Verdict.NOT_REFUTED),
    ],
)
def test_true_claims_stand_and_their_controls_are_refuted(pair, route, verdict):
    claim = mf.norm_factor(*pair, route)
    wrong = controls(claim) if claim.relation != ">=" else [claim.scaled(3)]
    reports = check_matrices([claim, *wrong], {"d": 100, "K": 10}, samples=250 if pair[1] in (1, 1.5) else 800)
    assert reports[0].verdict is verdict, reports[0]
    assert [r.verdict for r in reports[1:]] == [Verdict.REFUTED] * len(wrong), "\n".join(map(str, reports))


def test_too_high_and_too_low():
    """Where norms are exact, 5 per cent either way are refuted. Where they are bracketed, what lies inside is left
    open."""
    exact = mf.norm_factor(2, 2)
    reports = check_matrices([exact.scaled(f) for f in (sp.Rational(19, 20), sp.Rational(21, 20))], AT, samples=2000)
    assert [r.verdict for r in reports] == [Verdict.REFUTED] * 2
    assert [r.findings[0].departure > 0 for r in reports] == [True, False]
    estimate = replace(mf.norm_factor("inf", 4, "estimate"), relation="==", tolerance=0.0)
    low, inside, above = (estimate.scaled(sp.S(f)) for f in ("0.8", "1.1", "3"))
    verdicts = [r.verdict for r in check_matrices([low, inside, above], {"d": 100, "K": 10}, samples=100)]
    assert verdicts == [Verdict.REFUTED, Verdict.UNDERPOWERED, Verdict.REFUTED]
    bound = mf.norm_factor("inf", 4, "lower")
    reports = check_matrices([bound, bound.scaled(3)], {"d": 100, "K": 10}, samples=150)
    assert [r.verdict for r in reports] == [Verdict.NOT_REFUTED, Verdict.REFUTED]
    assert not reports[0].settings["exact"]


@pytest.mark.parametrize("theorem", ["beta", "T6.d", "T6.K"])
def test_a_suite_of_matrices(theorem):
    (case,) = suite.cases([theorem], profile=SMALL)
    (outcome,) = runs.run([case])
    wanted = {"==": Verdict.SUPPORTED, "<=": Verdict.NOT_REFUTED, "asymp": Verdict.SUPPORTED}
    for claim, report in zip(case.claims, outcome.reports):
        assert report.verdict is wanted[claim.relation], report
    assert len(outcome.reports) == 9
    assert len(outcome.controls) >= 9
    assert {r.verdict for r in outcome.controls} == {Verdict.REFUTED}, "\n".join(map(str, outcome.controls))
    json.dumps([r.to_dict() for r in (*outcome.reports, *outcome.controls)], allow_nan=False)


@pytest.mark.parametrize(("samples", "verdict"), [(10, Verdict.UNDERPOWERED), (1500, Verdict.SUPPORTED)])
def test_few_samples_are_underpowered(samples, verdict):
    report = mf.check(mf.norm_factor(1, 2), AT, samples=samples)
    assert report.verdict is verdict
    assert (verdict is Verdict.UNDERPOWERED) == ("use more samples" in report.findings[0].reason)


def test_one_sample_decides_nothing():
    with pytest.raises(DomainError, match="samples must be at least 2"):
        mf.check(mf.norm_factor(1, 2), AT, samples=1)


def test_the_rate_of_false_refutations():
    """Declared: 0.05. Of 200 seeds 26 or more refute with a probability below 1e-5; a claim 3 standard errors off more
    often."""
    design, most = Design(alpha=0.05), int(stats.binom.isf(1e-5, 200, 0.05))
    true = mf.norm_factor(1, 2)
    off = true.scaled(sp.Rational(11, 10))
    refuted = [0, 0]
    for seed in range(200):
        reports = check_matrices([true, off], AT, samples=20, seed=seed, design=design)
        for i, report in enumerate(reports):
            refuted[i] += report.verdict is Verdict.REFUTED
    assert refuted[0] <= most < refuted[1]
    assert refuted[0] > 0


@pytest.mark.parametrize(
    ("claim", "at", "options", "message"),
    [
        (growth(mf.norm_factor(2, 2), "d"), AT, {"ladder": (10, 20)}, "three dimensions"),
        (growth(mf.norm_factor(2, 2), "d"), AT, {"ladder": (10, 20, 20)}, "three dimensions"),
        (growth(mf.norm_factor(2, 2), "d"), AT, {}, "take a ladder"),
        (mf.norm_factor(2, 2), AT, {"ladder": (10, 20, 40)}, "take a ladder"),
        (growth(mf.norm_factor(2, 2), "d"), AT, {"ladder": (10, 20, 40), "along": "N"}, "along must be"),
        (growth(mf.norm_factor(2, 2), "d"), {"d": 5}, {"ladder": (10, 20, 40)}, "at lacks K"),
        (growth(mf.norm_factor(2, 2), "d"), AT, {"ladder": (10, 20.5, 40)}, "integer >= 1"),
        (growth(mf.norm_factor(2, 2), "d"), AT, {"ladder": (0, 20, 40)}, "integer >= 1"),
        (growth(mf.norm_factor(3, 2), "d"), AT, {"ladder": (10, 20, 40), "along": "K"}, "the other dimension"),
        (growth(mf.loss_bound(mf.vanilla(1, 0), 2, 2), "d"), AT, {"ladder": (10, 20, 40)}, "MatrixNorm"),
        (mf.loss_bound(mf.vanilla(1, 0), 2, 2), AT, {}, "MatrixNorm"),
        (mf.norm_factor("p", "q", "chevet"), AT, {}, "numbers for p and q"),
        (mf.norm_factor(2, 2), {"K": 4}, {}, "at lacks d"),
        (mf.norm_factor(2, 2), {}, {}, "at lacks K, d"),
        (mf.norm_factor(2, 2), {**AT, "x": 1}, {}, "nothing here uses 'x'"),
        (mf.norm_factor(2, 2), {"d": 2.5, "K": 4}, {}, "integer >= 1"),
        (mf.norm_factor(2, 2), {"d": 0, "K": 4}, {}, "integer >= 1"),
        (mf.norm_factor(2, 2), {"d": math.nan, "K": 4}, {}, "integer >= 1"),
        (mf.norm_factor(2, 2), {"d": math.inf, "K": 4}, {}, "integer >= 1"),
        (mf.norm_factor(2, 2), {"d": "5", "K": 4}, {}, "integer >= 1"),
        (mf.norm_factor(2, 2), {"d": True, "K": 4}, {}, "integer >= 1"),
        (mf.norm_factor(2, 2), AT, {"samples": 2.5}, "samples"),
    ],
)
def test_bad_input_stops_before_any_work(claim, at, options, message, unsampled):
    with pytest.raises(ArgumentError, match=message):
        check_matrices([claim], at, **options)


def test_no_claims(unsampled):
    with pytest.raises(ArgumentError, match="claim"):
        check_matrices([], AT)


def test_same_seed_same_numbers_other_seed_others():
    claim = mf.norm_factor(3, 2, "chevet")
    one, two, three = (mf.check(claim, AT, samples=50, seed=seed) for seed in (0, 0, 1))
    assert one.estimate == two.estimate != three.estimate
    among = check_matrices([mf.norm_factor(1, 2), claim, claim], AT, samples=50, seed=0)
    assert one.estimate == among[1].estimate == among[2].estimate
    assert mf.check(claim, {"d": 20.0, "K": 4}, samples=50).estimate == one.estimate


def test_a_claim_of_ones_own():
    """An exact value found elsewhere: E of the spectral norm of 2 x 2 is sqrt(pi), so 1.2533 over sqrt(2). It names no
    p and q beside."""
    own = replace(mf.norm_factor(2, 2), formula=sp.sqrt(sp.pi / 2), where={}, p=None, q=None)
    report, wrong = check_matrices([own, own.scaled(sp.Rational(9, 10))], {"d": 2, "K": 2}, samples=20_000)
    assert (report.verdict, report.p, report.q) == (Verdict.SUPPORTED, "2", "2")
    assert wrong.verdict is Verdict.REFUTED


def test_a_ladder_in_any_order_and_one_rung_alone():
    claim = growth(mf.norm_factor(2, 1), "d")
    up, down = (mf.check(claim, {"K": 2}, samples=30, ladder=ladder) for ladder in (LADDER, LADDER[::-1]))
    assert up.estimate == down.estimate
    assert [r.N for r in up.findings[0].rungs] == list(LADDER)
    alone = mf.check(mf.norm_factor(2, 1, "chevet"), {"K": 2, "d": LADDER[1]}, samples=30)
    assert alone.estimate == pytest.approx(up.findings[0].rungs[1].mean, rel=1e-12)


def test_progress_adds_up():
    shares = []
    check_matrices(
        [mf.norm_factor(2, 2), mf.norm_factor(1, 2)], AT, samples=70, progress=lambda share, _: shares.append(share)
    )
    assert sum(shares) == pytest.approx(1)
    shares.clear()
    claim = growth(mf.norm_factor(2, 2), "d")
    mf.check(claim, {"K": 2}, samples=33, ladder=LADDER, progress=lambda share, _: shares.append(share))
    assert sum(shares) == pytest.approx(1)


def test_selection():
    assert {case.theorem for case in suite.cases(nets=["vanilla"])} == {"T1", "T2", "T3", "T5", "F1", "F2", "D1"}
    assert {case.theorem for case in suite.cases(activations=["relu"])} == {"T1", "T2", "T3", "T5", "F1", "F2", "D1"}
    assert {"beta", "T6.d", "T6.K"} <= {case.theorem for case in suite.cases()}
    (case,) = suite.cases(["beta"], pairs=[(3, 2)], at={"d": 50})
    assert (case.name, case.at["d"], len(case.claims)) == ("matrix", 50, 1)
    with pytest.raises(ArgumentError, match=r"T6\.d says nothing of vanilla"):
        suite.cases(["T6.d"], nets=["vanilla"])
    with pytest.raises(ArgumentError, match=r"beta says nothing of relu"):
        suite.cases(["beta"], activations=["relu"])


def test_the_command_line(monkeypatch, tmp_path):
    monkeypatch.setattr(suite, "QUICK", SMALL)
    path = tmp_path / "out.json"
    args = ["check", "--theorem", "T6.d", "--p", "2", "--q", "2", "--json", str(path)]
    result = CliRunner().invoke(cli.main, args, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (row,) = json.loads(path.read_text())["results"]
    assert (row["theorem"], row["net"], row["verdict"]) == ("T6", "matrix", "SUPPORTED")
    assert "T6" in result.output
    result = CliRunner().invoke(
        cli.main, ["check", "--theorem", "beta", "--p", "1", "--q", "2"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    assert "negative controls refuted: 2 of 2" in result.output
    result = CliRunner().invoke(cli.main, ["check", "--theorem", "T6.d", "--net", "vanilla"])
    assert result.exit_code == 2


def test_a_norm_is_not_compared_with_zero():
    with pytest.raises(ArgumentError, match="compares a norm with 0"):
        mf.check(mf.norm_factor(2, 2).scaled(0), {"d": 20, "K": 4}, samples=20)
