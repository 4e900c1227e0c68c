"""What a suite checks: the rows that are selected, their scales and effects, and the margins that verdicts state."""

import json
import math
from dataclasses import replace

import pytest
import sympy as sp
import torch
from click.testing import CliRunner
from scipy import optimize

import advmf as mf
from advmf import cli
from advmf.errors import ArgumentError
from advmf.nets.activations.formula import NAMED
from advmf.observables import AdversarialLoss, Expectation, MatrixNorm, Output
from advmf.progress import shown
from advmf.theorems import THEOREMS
from advmf.theorems.selection import ALL, GROWING, IMAGES, PAIRS, POOLED
from advmf.theorems.theorem import MatrixScale, Scale
from advmf.verify import suite
from advmf.verify.judge import numeric
from advmf.verify.runs import run, settings_of
from advmf.verify.sources.limit import has_limit
from advmf.verify.statistics import Rung, combine
from advmf.verify.suite import PAPER, cases

OPTIONS = {"nets": None, "data": None, "device": "cpu", "sampler": "auto", "memory": 2**32}


def rows(found):
    return {(case.theorem, case.name, case.activation): len(case.claims) for case in found}


# -- selection ---------------------------------------------------------------------------------------------------------


def test_the_default_suite_has_the_selected_rows_of_every_theorem():
    found = cases()
    selected = {name: theorem.selected["quick"] for name, theorem in THEOREMS.items() if "quick" in theorem.selected}
    assert set(selected) == {"T1", "T2", "T3", "T5", "F2", "D1"}
    for theorem, wanted in selected.items():
        own = {(c.name, c.activation): c.claims for c in found if c.theorem == theorem}
        assert set(own) <= set(wanted) and (theorem == "T3" or own)
    assert {(c.name, c.activation) for c in found if c.theorem == "T2"} == set(selected["T2"])
    assert {(c.name, c.activation) for c in found if c.theorem == "T5"} == {*ALL, IMAGES[0]}
    assert rows(cases(["T3"])) == {k: v for k, v in rows(found).items() if k[0] == "T3"}


def test_what_is_named_is_checked_in_full():
    residual = rows(cases(nets=["residual"]))
    assert {k[2] for k in residual} == {"relu", "leaky_relu"}
    assert residual["T3", "residual", "leaky_relu"] == 6, "the slope and Euler's identity at p = inf"
    assert residual["T2", "residual", "leaky_relu"] == len(PAIRS)
    tanh = rows(cases(["T2"], activations=["tanh"]))
    assert tanh["T2", "residual", "tanh"] == len(PAIRS) and len(tanh) == 5, "of a mean of zero, plain_residual too"
    assert rows(cases(["T2"], pairs=[("2", "2")]))["T2", "preactivation", "leaky_relu"] == 1
    assert len(cases(["T2"], profile=PAPER)) > len(cases(["T2"], profile=PAPER, nets=["vanilla"])) == 4


def test_brief_is_one_network():
    for chosen in ({"theorems": ["T3"]}, {"nets": ["residual"]}, {"pairs": [("2", "2")]}):
        with pytest.raises(ArgumentError, match=r"The briefest suite has .* [Ll]eave --quick out"):
            cases(brief=True, **chosen)
    assert {case.theorem for case in cases(["T2", "F1"], brief=True)} == {"T2", "F1"}
    found = cases(brief=True)
    assert {case.name for case in found} == {GROWING}
    assert {case.theorem for case in found} == {"T1", "T2", "T5", "F1"}
    assert all(case.scale.widths == "limit" for case in found if case.theorem == "T2")


# -- scales ------------------------------------------------------------------------------------------------------------


def test_bounds_are_judged_at_infinite_width_and_a_part_on_a_ladder():
    found = [case for case in cases() if case.theorem == "T2"]
    finite = {(case.name, case.activation) for case in found if case.scale.widths != "limit"}
    assert finite == {*THEOREMS["T2"].selected["finite"], *POOLED} and len(finite) == 4
    assert all(case.scale.widths != "limit" for case in cases(["T2"], ladder=True))
    assert all(case.scale.widths == "limit" for case in cases(["T2"], nets=["residual"]))


def test_networks_without_a_known_limit_are_judged_on_a_ladder(monkeypatch):
    monkeypatch.setitem(NAMED, "bent", sp.Max(0, sp.tanh(mf.symbols.z)))
    (vanilla, growing) = cases(["T2"], ["vanilla"], ["bent"], [("2", "2")])
    assert not has_limit(vanilla.net) and vanilla.scale.widths == growing.scale.widths == (256, 512, 2048, 8192)
    assert has_limit(mf.residual(1, 0)) and has_limit(mf.pre_norm(phi=mf.Activation("gelu")))


def test_networks_that_scatter_have_the_scale_for_that():
    scale = {case.name: case.scale for case in cases(["T3"])}
    assert scale["residual"] is THEOREMS["T3"].scales["scattered"]
    assert scale[GROWING] is THEOREMS["T3"].scales["quick"]
    (images,) = cases(["T3"], ["conv_residual"], ["relu"])
    assert images.scale is THEOREMS["T3"].scales["scattered images"] and images.at["eps"] == 0.1
    points = {case.name: case.at["K"] for case in cases(["T3"])}
    assert points == {name: each.K for name, each in scale.items()} and len(set(points.values())) == 2
    own = replace(suite.QUICK, scales={**suite.QUICK.scales, "T3": replace(THEOREMS["T3"].scale("quick"), L=1)})
    assert {case.scale.L for case in cases(["T3"], profile=own)} == {1}, "a profile of one's own is heeded"


def test_networks_with_a_smooth_activation_have_the_scale_for_that():
    scale, scales = {(case.name, case.activation): case.scale for case in cases(["T1"])}, THEOREMS["T1"].scales
    assert scale["vanilla", "gelu"] is scale[GROWING, "tanh"] is scales["smooth"]
    assert scale["pre_norm", "relu"] is scale["preactivation", "relu"] is scales["scattered"]
    assert scale[GROWING, "relu"] is scales["quick"]


def test_networks_on_images_have_images_of_their_dimension():
    found = {case.theorem: case for case in cases(["T1", "T2", "T3", "T5"], ["conv"], ["relu"])}
    assert {name: case.net.image for name, case in found.items()} == {
        "T1": (1, 8), "T2": (1, 4, 4), "T3": (1, 4, 4), "T5": (1, 8),
    }  # fmt: skip
    assert all(case.scale is THEOREMS[name].scales["images"] for name, case in found.items())
    assert all(case.at["d"] == case.net.inputs for case in found.values())
    (finite,) = cases(["T2"], ["conv"], ["relu"], ladder=True)
    assert finite.scale is THEOREMS["T2"].scales["finite images"] and finite.net.image == (1, 8, 8)
    both = [case for case in cases(["T2"]) if case.name == "conv"]
    assert [case.scale.widths == "limit" for case in both] == [True, False]
    assert [len(case.claims) for case in both] == [9, 1]
    (larger,) = cases(["T2"], ["conv"], ["relu"], at={"d": 49})
    assert larger.net.image == (1, 7, 7)
    (zero,), (pool,) = (cases([name], [net], ["relu"]) for name, net in (("T1", "conv_zero"), ("T2", "conv_pool")))
    assert zero.scale is THEOREMS["T1"].scales["pixels"] and zero.net.block.blocks[0].padding == "zero"
    assert [claim.name for claim in zero.claims] == ["T1.pixels"] and pool.net.head == "pool"
    (residual,) = cases(["T2"], ["conv_residual_pool"], ["relu"])
    assert residual.net.head == "pool" and residual.scale is pool.scale and len(residual.claims) == 9
    assert not {case.name for case in cases(profile=PAPER)} & {name for name, _ in IMAGES}
    for theorem in ("F1", "F2"):
        with pytest.raises(ArgumentError, match="it is a net on images"):
            cases([theorem], ["conv"])
    with pytest.raises(ArgumentError, match="what a pixel can change depends on the image"):
        cases(["T2"], ["conv"], ["tanh"])


def test_a_case_declares_the_effects_of_its_scale():
    found = cases()
    for case, settings in zip(found, settings_of(found, 0, {})):
        effects = case.scale.effects if isinstance(case.scale, Scale) else {}
        assert all(getattr(settings["design"], name) == size for name, size in effects.items())
    mine = mf.verify.statistics.Design(effect=0.3)
    assert all(each["design"] is mine for each in settings_of(found, 0, {"design": mine}))
    with pytest.raises(ArgumentError, match="There is no effect 'efect'; choose from effect, effect_fourth"):
        Scale(L=1, d=2, K=2, widths=(8,), nets=(4,), effects={"efect": 0.1})
    with pytest.raises(ArgumentError, match="nets has a number of networks for each of the widths limit"):
        Scale(L=1, d=2, K=2, widths="limit", nets=(4, 4))


def test_quick_verdicts_are_begun_first_and_short_cases_last(monkeypatch):
    begun = []

    def watched(packed, **_):
        begun.extend(packed)
        yield from ()

    monkeypatch.setattr("advmf.verify.runs.compute", watched)
    monkeypatch.setattr("advmf.verify.runs.Job.packed", lambda job, parts: job.case)
    found = cases()
    list(run(found, **OPTIONS))
    assert sorted(map(id, begun)) == sorted(map(id, found))
    at_limit = [isinstance(case.scale, Scale) and case.scale.widths == "limit" for case in begun]
    assert at_limit == sorted(at_limit) and any(at_limit)
    for case in begun[:10]:
        assert len(case.claims) == 1 and not case.claims[0].lhs.has(AdversarialLoss)


def test_norms_that_are_searched_for_have_fewer_samples():
    claims = [mf.norm_factor(2, 2), mf.norm_factor("inf", 2)]
    at = {"d": 40, "K": 6}
    few = mf.verify.sources.matrices.check_matrices(claims, at, samples=60, searched=20)
    many = mf.verify.sources.matrices.check_matrices(claims, at, samples=60)
    assert [report.settings["samples"] for report in few] == [60, 20]
    assert [report.settings["samples"] for report in many] == [60, 60]
    assert few[0].estimate == many[0].estimate
    assert few[1].findings[0].rungs[0].nets == 20 and few[1].estimate != many[1].estimate
    with pytest.raises(mf.errors.DomainError, match="searched"):
        MatrixScale(d=2, K=2, samples=4, searched=1)


# -- margins -----------------------------------------------------------------------------------------------------------


def test_a_verdict_states_the_departure_that_it_excludes(tmp_path):
    claim, at = mf.norm_factor(2, 2), {"d": 30, "K": 5}
    report = mf.check(claim, at, samples=400)
    assert report.within == max(f.resolution for f in report.findings) < 0.02
    assert f"SUPPORTED within {100 * report.within:.2g} %" in str(report)
    assert report.to_dict()["within"] == report.within
    for other in (mf.check(claim.scaled("1/2"), at, samples=400), mf.check(claim, at, samples=3)):
        assert other.margin == "" and other.to_dict()["within"] is None and "within" not in str(other)


def test_a_departure_of_the_margin_is_refuted():
    """Of 40 claims that are off by the margin of one check, others of other seeds support two or so."""
    claim, at = mf.norm_factor(2, 2), {"d": 30, "K": 5}
    off = 1 + mf.check(claim, at, samples=500).within
    wrong = [claim.scaled(off), claim.scaled(1 / off)]
    verdicts = [mf.check(c, at, samples=500, seed=seed).verdict for seed in range(1, 21) for c in wrong]
    assert verdicts.count("REFUTED") >= 32 and verdicts.count("SUPPORTED") <= 2


def test_the_command_tells_cases_as_they_finish_and_their_margins(tmp_path):
    words = ["check", "--theorem", "beta", "--p", "1", "--q", "1", "--json", str(tmp_path / "out.json")]
    result = CliRunner().invoke(cli.main, words)
    assert result.exit_code == 0, result.output
    assert "beta matrix: 1 SUPPORTED; controls refuted: 2 of 2" in result.stderr
    (record,) = json.loads((tmp_path / "out.json").read_text())["results"]
    assert 0 < record["within"] < 0.02
    assert f"{100 * record['within']:.2g} %" in result.stdout and "within" in result.stdout
    both = CliRunner().invoke(cli.main, ["check", "--quick", "--full"])
    assert both.exit_code == 2 and "--quick and --full are two scales" in both.output


def test_progress_goes_to_what_is_given_and_nowhere_where_nobody_sees_it():
    def told(share, what):
        pass

    for given, expected in ((told, told), (False, None), (None, None)):
        with shown(given) as found:
            assert found is expected
    seen = []
    mf.check(mf.norm_factor(2, 2), {"d": 30, "K": 5}, samples=50, progress=lambda share, what: seen.append(share))
    assert math.isclose(sum(seen), 1.0)


# -- what is measured --------------------------------------------------------------------------------------------------


def test_coefficients_of_what_is_measured_are_numbers():
    net = mf.vanilla(1, 0)
    at = {"L": 3, "d": 8, "K": 4, "sigma_w": 1.5, "sigma_b": 0.2, "x_sq": 1.0, "u": 1.0, "v": 0.0}
    law, *_ = mf.linear_form(net)
    cumulant = next(e for e in law.implied if e.label == "4th cumulant of J").lhs.args[0]
    found = numeric(cumulant, at, (16, 32))
    s = float(mf.kernel(law.rhs)(L=3, d=8, sigma_w=1.5))
    (J,) = found.atoms(mf.observables.JacobianEntry)
    wanted = J**4 - 6 * s * J**2 + 3 * s**2
    assert sp.Poly(found - wanted, J).max_norm() < 1e-12
    with pytest.raises(ArgumentError, match="depends on N"):
        numeric(Output(0) ** 2 / mf.symbols.N, at, (16, 32))


def test_fourth_order_is_what_variances_do_not_say():
    """Gaussian numbers of another variance s' have the cumulant 0, and the mean 3 (s' - s)² of the polynomial; uniform
    ones of the right variance have -6/5 s²."""
    x, s = sp.Symbol("x", real=True), sp.Rational(7, 5)
    from advmf.theorems.t1_linear_form import _hermite

    he = _hermite(x, 4, s)
    density = sp.exp(-(x**2) / (2 * s)) / sp.sqrt(2 * sp.pi * s)
    assert sp.integrate(he * density, (x, -sp.oo, sp.oo)).equals(0)
    wide = sp.exp(-(x**2) / 4) / sp.sqrt(4 * sp.pi)
    assert sp.integrate(he * wide, (x, -sp.oo, sp.oo)).equals(3 * (2 - s) ** 2)
    edge = sp.sqrt(3 * s)
    assert sp.integrate(he, (x, -edge, edge)).equals(2 * edge * sp.Rational(-6, 5) * s**2)


def test_networks_whose_jacobians_are_not_gaussian_are_told():
    """Of one output and narrow networks, J² scatters with the stream, and E J²J'² is no product: at a single width the
    covariance of squares is seen, as N -> oo it vanishes."""
    net = mf.vanilla(1, 0)
    at = {"L": 3, "d": 8, "K": 64, "sigma_w": 2**0.5, "sigma_b": 0.0}
    law, *_ = mf.linear_form(net)
    exact = replace(law, equations=tuple(replace(e, exact=True) for e in law.equations))
    options = {"widths": (12, 16, 24), "nets": 400}
    found = {f.label: f for f in mf.check(exact, at, **options).findings}
    for label in ("4th cumulant of J", "Cov(J², J'²), one row", "Cov(J², J'²), neither"):
        assert found[label].verdict == "REFUTED" and found[label].departure > 0.1, (label, found[label])
    assert found["E J²"].verdict != "REFUTED"


def test_the_expectation_of_a_sum_is_that_of_its_terms():
    """A polynomial is averaged term by term: the same as at once."""
    net = mf.residual(1, 0)
    at = {"L": 2, "d": 6, "K": 3, "sigma_w": 1.0, "sigma_b": 0.3}
    f, g = Output(0), Output(1)

    def mean(product):
        claim = mf.claim.Claim(
            "mean", Expectation(product), "==", 1, {}, mf.claim.Regime.EXACT, (), "", net
        )  # fmt: skip
        return mf.check(claim, at, widths=(16,), nets=50, dtype="float64").estimate

    parts = 2 * mean(f**2) - 3 * mean(f**2 * g**2) + 5
    assert math.isclose(mean(2 * f**2 - 3 * f**2 * g**2 + 5), parts, rel_tol=1e-12)


def test_matrix_norms_of_a_suite_are_the_pairs_of_both_groups():
    (case,) = cases(["beta"])
    assert case.scale.searched < case.scale.samples and len(case.claims) == 9
    assert {claim.lhs.args[0].func for claim in case.claims} == {MatrixNorm}


def test_orders_of_growth_term_by_term_are_those_of_limits(monkeypatch):
    from advmf.theory import growth

    def orders():
        return [
            growth.growth_order.__wrapped__(mf.beta(p, q), symbol)
            for p, q in ((1, 1), (2, 2), (1, "inf"), ("inf", 2), (3, 4))
            for symbol in (mf.symbols.d, mf.symbols.K)
        ]

    quick = orders()
    monkeypatch.setattr(growth, "_order", lambda expr, symbol: None)
    assert orders() == quick


def test_a_brief_suite_ends_well():
    found = list(run(cases(["T1", "T2"], brief=True), **OPTIONS))
    assert {str(r.verdict) for o in found for r in o.reports} == {"SUPPORTED", "NOT_REFUTED"}
    assert {str(r.verdict) for o in found for r in o.controls} == {"REFUTED"}
    for outcome in found:
        for report in outcome.reports:
            assert all(f.resolution <= 0.9 * f.effect for f in report.findings), report


# -- bad input ---------------------------------------------------------------------------------------------------------


def test_bad_input_is_told_before_any_work():
    claim, at = mf.norm_factor(2, 2), {"d": 30, "K": 5}
    for searched in (1, "x", 2.5):
        with pytest.raises(mf.errors.AdvmfError, match="searched"):
            mf.verify.sources.matrices.check_matrices([claim], at, samples=40, searched=searched)
    with pytest.raises(ArgumentError, match="progress is a function of a share and a text"):
        mf.check(claim, at, samples=40, progress="loud")
    for size in (0, -1, math.inf, "5 %", True):
        with pytest.raises(ArgumentError, match="is a relative departure, positive and finite"):
            Scale(L=1, d=2, K=2, widths=(8,), nets=(4,), effects={"effect": size})
    known = THEOREMS["T5"]
    with pytest.raises(ArgumentError, match="scatters must be a function"):
        replace(known, scatters=True)
    with pytest.raises(ArgumentError, match="There is no selection 'slow'; choose from quick, finite, brief"):
        replace(known, selected={"slow": {}})
    with pytest.raises(ArgumentError, match=r"maps a network and its activation to pairs"):
        replace(known, selected={"quick": {("residual", "relu"): ()}})
    with pytest.raises(ArgumentError, match="is derived step by step for"):
        known.derive(mf.preactivation(1, 0))
    (chunk,) = mf.simulate.sample(mf.vanilla(1, 0), N=8, L=1, d=4, K=2, nets=2, sigma_w=1.0, sigma_b=0.0).chunks()
    trace = chunk.trace(torch.ones(2, 4, 1, 1))
    with pytest.raises(ArgumentError, match="scaling needs a forward trace"):
        trace.shift(0.1 * torch.ones(2, 4, 1, 1)).scaling()


def edge(N, scale, c):
    """‖J‖ over its limit, by the edge of the free product of docs/theory.md's F2: ‖J‖²/ω^L is the least of (1 + 1/z)(1
    + z K/d)(1 + z K/N)(1 + z c K/N)^L."""

    def least(N):
        def log(t):
            z = math.exp(t)
            factors = (1 + 1 / z, 1 + z * scale.K / scale.d, 1 + z * scale.K / N)
            return (sum(map(math.log, factors)) + scale.L * math.log1p(c * z * scale.K / N)) / 2

        return optimize.minimize_scalar(log, bounds=(-9, 9), method="bounded", options={"xatol": 1e-12}).fun

    return math.exp(least(N) - least(1e15))


def left_over(scale, c, order):
    """What a fit to a + b/N + c/N² leaves of higher orders: of the limit, or of the coefficient of 1/N."""
    far = 1e7
    coefficient = far * (edge(far, scale, c) - 1)
    rungs = [
        Rung(N, n, N * (edge(N, scale, c) - 1) / coefficient - 1 if order else edge(N, scale, c) - 1, 1.0)
        for N, n in zip(scale.widths, scale.nets)
    ]
    return abs(combine(rungs, 2, order=order).value)


SHORTCUT = 7 / 9
"""c_off of the suite's residual ReLU network: (g_b² c_b + 2 g_b)/(1 + g_b)² with g_b = 1/2, c_b = 3. Of the vanilla one
it is 2."""


@pytest.mark.parametrize(
    ("theorem", "name", "c"),
    [
        ("F2", "quick", 2),
        ("F2", "sharp", 2),
        ("F2", "paper", 2),
        ("F2", "paper scattered", SHORTCUT),
        ("T2", "finite", 2),
        ("T3", "quick", 2),
        ("T3", "scattered", SHORTCUT),
        ("T2", "paper finite", 2),
        ("T3", "paper", 2),
        ("T3", "paper scattered", SHORTCUT),
    ],
)
def test_ladders_of_norms_are_in_the_regime_of_their_fits(theorem, name, c):
    scale, order = THEOREMS[theorem].scales[name], int(theorem == "F2")
    effect = scale.effects.get("effect_fourth" if order else "effect", 0.15)
    assert left_over(scale, c, order) < effect / 10
    narrow = replace(scale, widths=tuple(width // 16 for width in scale.widths))
    assert left_over(narrow, c, order) > effect / 10, "the control: beyond the regime"


def test_the_suite_at_the_papers_scale_has_every_theorem_on_mnist():
    found = cases(profile=PAPER)
    assert {case.theorem for case in found} == {case.theorem for case in cases()}
    for case in found:
        if case.theorem == "D1":
            assert case.at["L"] * case.at["K"] * case.at["d"] < case.scale.widths[0] / 8, "finite width adds L K d/N"
        elif isinstance(case.scale, Scale):
            assert (case.at["d"], case.at["K"], case.profile.data) == (784, 10, "mnist")
            assert case.at["L"] == 10 or case.name == "pyramid"
        theorem = THEOREMS[case.theorem]
        assert case.net is None or (case.name, case.activation) in theorem.rows("paper")
        if case.net is not None and theorem.scatters(case.net):
            assert case.scale is theorem.scales.get("paper scattered", theorem.scales["paper"])
    ladder = [case for case in found if case.theorem == "T2" and case.scale.widths != "limit"]
    assert {(case.name, case.activation) for case in ladder} == set(THEOREMS["T2"].selected["paper finite"])
    assert all(case.scale.widths[-1] == 10**6 for case in ladder)
    named = cases(["T3"], ["residual"], profile=PAPER)
    assert {len(case.claims) for case in named} == {6} and {case.activation for case in named} == {"relu", "leaky_relu"}
