"""The mutation score: mutants are what they say, judged by the claim's own numbers, and survivors have a reason."""

import json
from dataclasses import replace

import numpy as np
import pytest
import sympy as sp
from click.testing import CliRunner

from advmf import cli
from advmf.claim import RHS
from advmf.errors import ArgumentError
from advmf.symbols import K, L, d, sigma_w
from advmf.verify import mutation, suite
from advmf.verify.mutation import CHANGE, mutants, mutate, resolving, score
from advmf.verify.statistics import Design
from advmf.verify.tree_changes import mutations

SMALL = replace(
    suite.QUICK,
    scales={
        "T1": suite.Scale(L=4, d=64, K=4, widths=(32, 64, 128, 256), nets=(100,) * 4),
        "T5": suite.Scale(L=2, d=16, K=4, widths=(16, 32, 64, 128), nets=(1000,) * 4, at={"sigma_b": 0.0}),
        "T2": suite.Scale(L=2, d=16, K=4, widths=(32, 64, 128, 256), nets=(150,) * 4, directions=1, steps=2),
        "T3": suite.Scale(2, 16, 8, (32, 64, 128), (100,) * 3, 1, 2, at={"sigma_b": 0.0, "eps": 0.02}),
        "F1": suite.Scale(L=2, d=16, K=2, widths=(16, 32, 64, 128), nets=(2000,) * 4),
        "beta": suite.MatrixScale(d=40, K=4, samples=400),
        "T6.d": suite.MatrixScale(d=1, K=2, samples=64, along="d", ladder=(200, 800, 3200)),
    },
)


def test_the_changes_of_a_formula():
    formula = sp.sqrt(d) * (1 + sigma_w**2 / 2) ** (L / 2) + sp.sqrt(K)
    found = {(kind, wrong) for kind, _, wrong in mutations(formula)}
    shortcut = (1 + sigma_w**2 / 2) ** (L / 2)
    for expected in [
        ("constant", sp.Rational(21, 20) * formula),
        ("dropped term", sp.sqrt(K)),
        ("dropped term", sp.sqrt(d) * (sigma_w**2 / 2) ** (L / 2) + sp.sqrt(K)),
        ("dropped factor", shortcut + sp.sqrt(K)),
        ("exponent", sp.sqrt(d) * (1 + sigma_w**2 / 2) ** (L / 2 + sp.Rational(1, 2)) + sp.sqrt(K)),
        ("exponent", d * shortcut + sp.sqrt(K)),
        ("swapped", sp.sqrt(K) * shortcut + sp.sqrt(d)),
        ("wrong symbol", sp.sqrt(K) * shortcut + sp.sqrt(K)),
        ("wrong sign", sp.sqrt(d) * shortcut - sp.sqrt(K)),
    ]:
        assert expected in found, expected
    formulas = [wrong for _, _, wrong in mutations(formula)]
    assert formula not in formulas and len(set(formulas)) == len(formulas)
    assert all(wrong.free_symbols <= formula.free_symbols for wrong in formulas)


def test_every_claim_of_the_suite_has_mutants_of_its_own():
    for case in suite.cases(["T2", "T3", "T5", "F1"], ["residual"], ["relu"]) + suite.cases(["beta", "T6.d"]):
        for claim in case.claims:
            found = list(mutants(case, claim))
            assert found, claim
            assert all(wrong.relation == claim.relation and wrong.lhs == claim.lhs for *_, wrong in found)
            if claim.p is not None and case.theorem in ("T2", "beta") and claim.p != claim.q:
                assert any(kind == "wrong norm" for _, kind, _, _ in found), claim


def test_a_mutant_of_a_law_changes_all_that_the_law_implies():
    """And what an equation says beside, one at a time."""
    for case in suite.cases(["T1", "T3", "F1"], ["residual"], ["relu"], [("inf", "1")]):
        for claim in case.claims:
            if not claim.equations or claim.rhs == 0:
                continue
            found = list(mutants(case, claim))
            (more,) = (wrong for _, _, what, wrong in found if what == "all x 21/20" and wrong.rhs != claim.rhs)
            assert more.rhs == sp.Rational(21, 20) * claim.rhs
            assert [e.label for e in more.equations] == [e.label for e in claim.equations if e.states]
            own = {e.label: e for e in claim.implied}
            for e in more.implied:
                assert (e.lhs, e.rhs) != (own[e.label].lhs, own[e.label].rhs)
            beside = {label for label, _, _, wrong in found if wrong.rhs == claim.rhs}
            assert beside == {e.label for e in claim.equations if e.rhs != RHS and not e.lhs.has(RHS)}


@pytest.fixture(scope="module")
def judged():
    chosen = suite.cases(["T2", "T3", "T5", "F1"], ["residual"], ["relu"], [("inf", "1")], SMALL)
    chosen += suite.cases(["beta", "T6.d"], pairs=[("2", "2"), ("inf", "1")], profile=SMALL)
    return [mutant for case in mutate(chosen, times=1, design=Design(alpha=1e-4)) for mutant in case]


def test_large_mistakes_are_caught_and_what_cannot_be_says_why(judged):
    assert {m.theorem for m in judged} == {"T2", "T3", "T5", "F1", "beta", "T6.d"}
    for m in judged:
        assert bool(m.reason) != m.caught or (m.caught and not m.reason), m
        assert m.expected == (abs(m.change) >= CHANGE * (1 - 1e-9)) or "bound" in m.reason, m
        if m.mutation.startswith("all x") and m.theorem in ("T3", "T5", "F1"):
            assert m.expected, m
        if m.theorem == "T2" and m.change > CHANGE:
            assert not m.caught and not m.expected and "larger bound" in m.reason
        if m.theorem == "T2" and m.change < -0.5:
            assert m.caught and m.expected, m
        if m.theorem in ("F1", "beta", "T6.d") and m.expected and abs(m.change) > 1:
            assert m.caught or "too high" in m.reason, m
    assert {m.kind for m in judged} >= {"constant", "exponent", "dropped term", "swapped", "wrong norm"}


def test_the_score_is_the_share_caught_of_those_that_should_be(judged):
    result = score(judged)
    expected = [m for m in judged if m.expected]
    assert result["score"] == sum(m.caught for m in expected) / len(expected) > 0.5
    assert sum(row["expected"] for row in result["theorems"].values()) == result["expected"] == len(expected)
    assert sum(row["caught"] for row in result["kinds"].values()) == result["caught"]
    assert score([])["score"] is None
    json.dumps(result, allow_nan=False)


def test_a_check_that_cannot_see_scores_nothing():
    """The negative control: with a false-refute rate of nearly nothing, and few networks, hardly a mutant is caught."""
    chosen = suite.cases(["F1"], ["residual"], ["relu"], profile=SMALL)
    (blind,) = mutate(chosen, nets=10, design=Design(alpha=1e-12))
    (sharp,) = mutate(chosen, times=1, design=Design(alpha=1e-4))
    assert score(blind)["score"] < 0.5 * score(sharp)["score"]


def test_gross_mistakes_are_caught_whatever_their_size():
    """d for the depth L changes second moments by eleven powers of ten: nothing is left of the simulated numbers, or of
    a law in 1/N."""
    (found,) = mutate(suite.cases(["T1"], ["residual"], ["relu"], profile=SMALL), times=1, design=Design(alpha=1e-4))
    gross = [m for m in found if abs(m.change) > 10]
    assert max(m.change for m in gross) > 1e11 and all(m.caught for m in gross), [m for m in gross if not m.caught]


def test_as_many_networks_are_taken_as_resolve_a_twentieth():
    narrow, small = replace(SMALL.scales["F1"], nets=(200,) * 4), replace(SMALL.scales["beta"], samples=20)
    few = replace(SMALL, scales={"F1": narrow, "beta": small})
    design = Design(alpha=1e-4)
    chosen = suite.cases(["F1"], [suite.GROWING], ["relu"], profile=few) + suite.cases(
        ["beta"], [], [], [("2", "2")], few
    )
    options = {"seed": 0, "design": design}
    for case, name, before in zip(chosen, ("nets", "samples"), (200, 20)):
        enough, capped = (resolving(case, options, times)[name] for times in (1000, 2))
        assert resolving(case, options, 1) == options
        assert np.ravel(enough).max() > 2 * before and np.ravel(capped).max() == 2 * before
    (rough, _), (fine, factor) = (list(mutate(chosen, times=times, design=design)) for times in (1, 1000))
    twentieth = [[m.caught for m in found if m.mutation.startswith("all x")] for found in (rough, fine, factor)]
    assert twentieth[0] == [False, False] and twentieth[1] == [True, True] and twentieth[2] == [True, True]


def test_a_claim_that_is_refuted_itself_catches_nothing():
    (case,) = suite.cases(["F1"], [suite.GROWING], ["relu"], profile=SMALL)
    (claim,) = case.claims
    doubled = replace(claim, equations=tuple(replace(e, rhs=2 * e.rhs) for e in claim.equations))
    (found,) = mutate([replace(case, claims=(doubled,))], times=1, design=Design(alpha=1e-4))
    assert found and not any(m.caught for m in found)
    assert all("the claim itself is REFUTED" in m.reason for m in found if m.expected)


def test_what_a_claim_allows_is_the_reason_of_a_survivor():
    (found,) = mutate(suite.cases(["T6.d"], pairs=[("1", "2")], profile=SMALL), times=1, design=Design(alpha=1e-4))
    for m in found:
        if m.mutation == "sqrt(log(d))":  # worth 0.08 of an exponent at these dimensions
            assert m.caught or "beyond the 0.03 allowed is resolved" in m.reason, m
    chosen = suite.cases(["T3"], [suite.GROWING], ["relu"], [("inf", "1")], SMALL)
    claim = replace(chosen[0].claims[1], tolerance=0.5)
    (found,) = mutate([replace(chosen[0], claims=(claim,))], times=1, design=Design(alpha=1e-4))
    (m,) = (m for m in found if m.mutation == "all x 21/20")
    assert m.expected and not m.caught and "within the 0.5 that the claim allows" in m.reason


def test_the_networks_are_others_and_the_points_the_same():
    for theorem, scale in suite.SHARP.scales.items():
        own = suite.QUICK.scales[theorem]
        same = {}
        if not isinstance(own, suite.MatrixScale):
            same = {name: getattr(own, name) for name in ("widths", "nets", "effects", "attacked")}
        assert replace(scale, **same) == own


def test_times_is_validated():
    with pytest.raises(ArgumentError, match="1 or more; got 0"):
        next(mutate([], times=0))
    bad = CliRunner().invoke(cli.main, ["mutate", "--quick", "--times", "4"])
    assert bad.exit_code == 2 and "leave out --times" in " ".join(bad.output.split())


def test_one_simulation_judges_all_mutants(monkeypatch):
    calls = []
    honest = mutation.measured
    monkeypatch.setattr(mutation, "measured", lambda *args, **options: calls.append(1) or honest(*args, **options))
    (found,) = mutate(suite.cases(["F1"], [suite.GROWING], ["relu"], profile=SMALL), nets=100)
    assert len(found) > 20 and calls == [1]


def test_the_command(monkeypatch, tmp_path):
    monkeypatch.setattr(suite, "QUICK", SMALL)
    path = tmp_path / "mutants.json"
    args = [
        "mutate",
        "--quick",
        "--theorem",
        "T2",
        "--net",
        "vanilla_growing",
        "--p",
        "2",
        "--q",
        "2",
        "--survivors",
        "1",
    ]
    result = CliRunner().invoke(cli.main, [*args, "--json", str(path)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    record = json.loads(path.read_text())
    assert {"score", "mutants"} <= set(record)
    assert {"kind", "mutation", "change", "expected", "caught", "reason"} <= set(record["mutants"][0])
    assert f"score {record['score']:.1%}: {record['caught']} of {record['expected']}" in result.output
    assert f"T2 vanilla_growing relu: {record['caught']} of {record['expected']} (1 of 1 cases)" in result.output
    bad = CliRunner().invoke(cli.main, ["mutate", "--theorem", "betta"])
    assert bad.exit_code == 2 and "Did you mean beta?" in " ".join(bad.output.split())
