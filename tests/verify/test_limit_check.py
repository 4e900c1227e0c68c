"""Claims judged on networks of infinite width: true ones stand, and wrong ones are refuted.

Reports say what is taken for granted. What the limit does not judge is refused by name, before any work."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import sympy as sp
import torch
from click.testing import CliRunner

import advmf as mf
from advmf import cli
from advmf.claim import Claim, Regime
from advmf.errors import AdvmfError, ArgumentError
from advmf.observables import Expectation, Observable, OperatorNorm, Output, Quantile, SecondMoment
from advmf.report.document import of_outcomes
from advmf.report.html import html
from advmf.report.markdown import markdown
from advmf.simulate import data
from advmf.symbols import N
from advmf.verify import suite
from advmf.verify.controls import controls
from advmf.verify.runs import run
from advmf.verify.sources import simulation
from advmf.verify.verdict import Report, Verdict

NET = mf.vanilla(u=1, v=0)
AT = {"L": 2, "d": 8, "K": 4, "sigma_w": 2.0, "sigma_b": 0.3, "eps": 0.1}
S, R, NR, U = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.NOT_REFUTED, Verdict.UNDERPOWERED
BOUND = mf.loss_bound(NET, 2, 2)


def checked(claims, nets, at=AT, **options):
    """The reports of the claims, and those of their wrong versions."""
    wrong = [mutant for claim in claims for mutant in controls(claim)]
    assert len(wrong) >= len(claims)
    reports = mf.check_all([*claims, *wrong], at, widths="limit", nets=nets, seed=1, **options)
    return reports[: len(claims)], reports[len(claims) :]


def claim(lhs, relation, formula, regime=Regime.LARGE_WIDTH):
    return Claim("own", lhs, relation, formula, {}, regime, (), "a test", NET)


@pytest.fixture(scope="module")
def t2():
    return checked([BOUND, mf.loss_bound(NET, "inf", 1), mf.loss_tail(NET, 2, 2, "1/20")], 300)


def test_the_linear_form_is_supported_and_its_controls_refuted():
    true, wrong = checked(mf.linear_form(NET), 3000)
    assert [r.verdict for r in true] == [S] * 3, "\n".join(map(str, true))
    assert {r.verdict for r in wrong} == {R}, "\n".join(map(str, wrong))
    assert {"E (Jx)²", "4th cumulant of J", "Cov(J², J'²), neither"} <= {f.label for f in true[0].findings}


def test_the_bound_and_its_tail_stand_and_their_controls_are_refuted(t2):
    true, wrong = t2
    assert [r.verdict for r in true] == [NR] * 3, "\n".join(map(str, true))
    assert {r.verdict for r in wrong} == {R}, "\n".join(map(str, wrong))
    assert 0.8 < true[0].ratio < 1
    assert {r.theorem.partition(" [")[0] for r in wrong} == {"T2", "T2.tail"}


@pytest.mark.parametrize("phi", ["elu", "selu"])
def test_lines_and_exponentials_are_judged_at_the_limit(phi):
    net = mf.vanilla(phi=phi)
    true, wrong = checked([*mf.linear_form(net), mf.loss_bound(net, 2, 2)], 1000)
    assert [r.verdict for r in true] == [S] * (len(true) - 1) + [NR], "\n".join(map(str, true))
    assert {r.verdict for r in wrong} == {R}, "\n".join(map(str, wrong))


def test_the_value_for_small_balls_is_supported_and_its_controls_refuted():
    true, wrong = checked([mf.loss_value(NET, 2, 2)], 300, {**AT, "eps": 1e-4})
    assert [r.verdict for r in true] == [S], str(true[0])
    assert {r.verdict for r in wrong} == {R} and true[0].ratio == pytest.approx(1, abs=0.05)


def test_a_quantile_is_that_of_gaussian_matrices():
    """J is a Gaussian matrix times omega^(L/2): the oracle draws matrices alone."""
    matrices = np.random.default_rng(3).standard_normal((40_000, 4, 8)) / math.sqrt(8)
    size = (2.0**2 / 2) ** (2 / 2) * np.quantile(np.linalg.norm(matrices, 2, (1, 2)), 0.8)
    own = claim(Quantile(OperatorNorm(2, 2), sp.Rational(1, 5)), "==", sp.Float(size))
    true, high = mf.check_all([own, own.scaled(1.3)], AT, widths="limit", nets=600)
    assert (true.verdict, high.verdict) == (S, R), f"{true}\n{high}"


def test_the_numbers_are_those_of_the_limit_sampler(t2):
    """Networks of other seeds, sampled and attacked by hand."""
    images = data.load("digits").resampled(8).scaled(1.0)
    generator = torch.Generator().manual_seed(9)
    given = {name: value for name, value in AT.items() if name != "eps"}
    networks = mf.simulate.sample(NET, N="inf", nets=300, generator=generator, **given)
    found = mf.simulate.attack(networks, images.draw(300, generator)[:, None], eps=0.1, p=2, q=2).value.double()
    report, error = t2[0][0], float(found.std()) / math.sqrt(300)
    assert abs(float(found.mean()) - report.estimate) < 4 * math.hypot(error, report.stderr)


def test_the_report_says_that_the_limit_is_given(t2):
    report = t2[0][0]
    assert report.settings["given"] == "the limit kernel"
    assert report.settings["widths"] == ["inf"] and report.settings["samplers"] == ["limit"]
    assert report.settings["attack"] == {"steps": 8, "restarts": 1, "directions": 1}
    assert str(report).splitlines()[0].endswith("at N = oo, given the limit kernel")
    record = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert [rung["N"] for rung in record["findings"][0]["rungs"]] == ["inf"]
    assert Report.from_dict(record) == report and report.findings[0].rungs[0].N == math.inf
    finite = mf.check(BOUND, AT, widths=(16, 32, 64), nets=4)
    assert "given" not in finite.settings and finite.given == "" and "limit kernel" not in str(finite)
    assert finite.settings["attack"] == {"steps": 14, "restarts": 1, "directions": 16}


def test_counts_and_strength_are_those_that_are_given():
    report = mf.check(BOUND, AT, widths="limit", nets=5, steps=2, directions=3)
    assert report.settings["attack"] == {"steps": 2, "restarts": 1, "directions": 3}
    assert report.settings["nets"] == [5] and report.verdict is U


def test_pilots_early_stops_and_parts_work():
    parts = {}
    first = mf.check(BOUND, AT, widths="limit", nets="pilot", sequential=True, parts=parts)
    assert first.verdict is NR and first.settings["pilot"]["chosen"] == first.settings["sequential"]["declared"][0]
    seen = []
    again = mf.check(
        BOUND,
        AT,
        widths="limit",
        nets="pilot",
        sequential=True,
        parts=parts,
        progress=lambda _, what: seen.append(what),
    )
    assert again.findings == first.findings and not any(what.startswith("N=") for what in seen)


def test_a_claim_of_growth_is_judged_too():
    at = {"L": 1, "K": 2, "sigma_w": 2**0.5, "sigma_b": 0.0, "eps": 0.1}
    own = mf.growth(BOUND, "d")
    reports = [
        mf.check(each, at, ladder=(256, 1024, 4096), along="d", nets=100, widths="limit")
        for each in (own, own.scaled("d"))
    ]
    assert [r.verdict for r in reports] == [S, R], "\n".join(map(str, reports))
    assert reports[0].given and abs(reports[0].estimate) < 0.05


class Stream(Observable):
    """One that does not say that it looks at the stream."""

    def measure(self, probe):
        return probe.stream.abs().mean(1)


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (mf.stream_fluctuation(NET), "F1 is about SecondMoment"),
        (mf.capacity(NET), "T5 is about Capacity"),
        (mf.variance_slope(NET, 2, 2), "T3 is about WeightVarianceSlope"),
        (mf.jacobian_norm(NET), "coefficient of 1/N"),
        (claim(Expectation(Output(0) ** 2), "==", mf.moments(NET).Q, Regime.EXACT), "its regime is EXACT"),
        (claim(Expectation(Output(0) ** 2), "==", 1 + 1 / N), "depends on N"),
        (claim(Expectation(SecondMoment()), "<=", sp.S.One), "SecondMoment"),
    ],
)
def test_what_the_limit_does_not_judge_is_refused_by_name(refused, message, monkeypatch):
    monkeypatch.setattr(simulation, "sample", lambda *_, **__: pytest.fail("work had started"))
    with pytest.raises(ArgumentError, match=message.replace("(", r"\(")):
        mf.check(refused, AT, widths="limit")


def test_an_observable_that_says_nothing_of_the_stream_is_refused_as_well():
    with pytest.raises(ArgumentError, match="neither weights nor a stream"):
        mf.check(claim(Expectation(Stream()), "<=", sp.S.One), AT, widths="limit", nets=4)


@pytest.mark.parametrize(
    ("options", "at", "message"),
    [
        ({"widths": "inf"}, {}, "widths must be whole numbers"),
        ({"widths": "limit"}, {"N": 64}, "leave N out"),
        ({"widths": "limit", "sampler": "dense"}, {}, "Leave sampler out"),
        ({"widths": "limit", "nets": (4, 4)}, {}, "one for each of the 1 widths"),
        ({"widths": "limit", "memory": 1000}, {}, "memory=1,000"),
    ],
)
def test_wrong_options_are_named(options, at, message):
    with pytest.raises(AdvmfError, match=message):
        mf.check(BOUND, {**AT, **at}, **options)


def test_a_net_without_a_limit_kernel_is_refused():
    bent = mf.Activation(sp.Max(0, sp.tanh(mf.symbols.z)))
    with pytest.raises(AdvmfError, match="covariance at N = inf"):
        mf.check(mf.loss_bound(mf.vanilla(phi=bent), 2, 2), AT, widths="limit", nets=4)


SMALL = replace(
    suite.QUICK, name="small", scales={"T2": suite.Scale(L=2, d=8, K=4, widths=(16, 32), nets=(60, 20), steps=3)}
)


def test_a_suite_takes_the_networks_of_all_widths_and_its_documents_say_so():
    cases = suite.cases(["T2"], ["vanilla"], ["relu"], [(2, 2)], SMALL)
    outcomes = list(run(cases, widths="limit"))
    report = outcomes[0].reports[0]
    assert report.settings["nets"] == [80] and report.settings["attack"]["steps"] == 3
    document = of_outcomes(outcomes, 0, "advmf check --widths limit --theorem T2", complete=True)
    assert "given the limit kernel" in markdown(document) and "infinite, given the limit kernel" in html(document)
    fewer = next(run(cases[:1], widths="limit", nets=30))
    assert fewer.reports[0].settings["nets"] == [30]


def test_a_suite_with_other_claims_is_refused_before_any_work(monkeypatch):
    monkeypatch.setattr(suite, "checked", lambda *_, **__: pytest.fail("work had started"))
    with pytest.raises(ArgumentError, match="Gaussian matrices"):
        next(run([*suite.cases(["T2"], profile=SMALL), *suite.cases(["beta"])], widths="limit"))


def test_the_command_line_judges_at_the_limit():
    small = "--p 2 --q 2 --at L=2 --at d=8 --at K=4 --networks 240 --workers 1 --net vanilla --activation relu"
    result = CliRunner().invoke(cli.main, ["check", "--theorem", "T2", "--widths", "limit", *small.split()])
    assert result.exit_code == 0 and "given the limit kernel" in result.output, result.output
    assert "negative controls refuted: 3 of 3" in result.output
