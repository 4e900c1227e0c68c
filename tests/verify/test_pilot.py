"""Pilots in suites and on the command line: sizes in the profile's proportions, found by the claims alone, and told in
the report."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

import advmf as mf
from advmf import cli
from advmf.errors import ArgumentError
from advmf.report.document import of_outcomes, reproduction
from advmf.report.html import html
from advmf.simulate import data
from advmf.verify import suite
from advmf.verify.runs import run
from advmf.verify.sources import matrices
from advmf.verify.statistics import Design
from advmf.verify.store import read
from advmf.verify.verdict import Verdict

TINY = replace(
    suite.QUICK,
    scales={
        "F1": suite.Scale(L=1, d=16, K=2, widths=(32, 64), nets=(3000, 1500)),
        "beta": suite.MatrixScale(d=20, K=4, samples=7),
    },
    name="tiny",
)


def chosen(theorem, **options):
    """The outcome of the one case of a theorem."""
    nets, activations = (["vanilla_growing"], ["relu"]) if theorem == "F1" else ((), ())
    (outcome,) = run(suite.cases([theorem], nets, activations, [(2, 2)], TINY), **options)
    return outcome


def test_pilots_size_a_suite_in_the_proportions_of_its_profile(tmp_path):
    outcome = chosen("F1", nets="pilot", store=tmp_path / "run.db")
    (report,) = outcome.reports
    pilot = report.settings["pilot"]
    assert pilot["pilots"][0] == 64 and len(pilot["pilots"]) == len(pilot["resolved"])
    assert pilot["resolved"][0] > 1 >= pilot["resolved"][-1] ** 2 * 0.99
    first, second = report.settings["nets"]
    assert (first, second) == (pilot["chosen"], -(-pilot["chosen"] // 2))
    assert report.verdict is Verdict.SUPPORTED
    same = chosen("F1", nets=pilot["chosen"])
    assert same.reports[0].findings == report.findings and "pilot" not in same.reports[0].settings
    assert read(tmp_path / "run.db").records[0].report == report
    assert list(chosen("F1", nets="pilot", store=tmp_path / "run.db", resume=True).reports) == [report]
    command = "advmf check --theorem T1 --theorem F1"
    (own,), (fixed,) = (of_outcomes([o], 0, command, True).claims for o in (outcome, same))
    assert reproduction(command, own) == command, "its rate, and so its networks, are those of the run"
    assert reproduction(command, fixed) == "advmf check --theorem F1 --net vanilla_growing --activation relu"


def test_pilots_size_matrices_too_and_go_with_early_stops():
    outcome = chosen("beta", nets="pilot", sequential=True)
    (report,) = outcome.reports
    told = report.settings["sequential"]
    assert told["declared"] == report.settings["pilot"]["chosen"] > 7
    assert report.settings["samples"] <= told["declared"] and told["looks"] > 1
    assert report.verdict is Verdict.SUPPORTED
    page = html(of_outcomes([outcome], 0, "", True))
    assert f"at look {told['stopped']} of {told['looks']}" in page
    assert f": {told['declared']:,} chosen" in page
    (alone,) = matrices.check_matrices(
        outcome.case.claims,
        outcome.case.at,
        samples="pilot",
        sequential=True,
        design=Design(**report.settings["design"]),
    )
    shared = {"together"}  # with the claim's controls, of which the suite tells
    assert {**alone.settings, **{name: report.settings[name] for name in shared}} == report.settings
    assert replace(alone, seconds=0.0, settings={}, claim=None) == replace(report, seconds=0.0, settings={}, claim=None)


def test_the_command_line(monkeypatch, tmp_path):
    monkeypatch.setattr(suite, "QUICK", TINY)
    path = tmp_path / "out.json"
    args = ["check", "--theorem", "F1", "--net", "vanilla_growing", "--activation", "relu", "--json", str(path)]
    result = CliRunner().invoke(cli.main, [*args, "--networks", "pilot", "--sequential"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (row,) = json.loads(path.read_text())["results"]
    assert row["settings"]["pilot"]["chosen"] == row["settings"]["sequential"]["declared"][0]
    assert row["settings"]["nets"][0] <= row["settings"]["pilot"]["chosen"]
    result = CliRunner().invoke(cli.main, [*args, "--networks", "300"], catch_exceptions=False)
    (row,) = json.loads(path.read_text())["results"]
    assert row["settings"]["nets"] == [300, 150] and not {"pilot", "sequential"} & set(row["settings"])


@pytest.mark.parametrize("bad", ["many", "1", "-3", "2.5", ""])
def test_a_bad_number_of_networks_is_a_usage_error(bad):
    result = CliRunner().invoke(cli.main, ["check", "--networks", bad])
    assert result.exit_code == 2
    assert f"{bad!r} is neither an integer >= 2 nor 'pilot'" in " ".join(result.output.split())


@pytest.mark.parametrize(("theorem", "options", "message"), [
    ("F1", {"nets": "many"}, "or 'pilot'; got 'many'"),
    ("F1", {"nets": "pilot", "sequential": "yes"}, "sequential must be True"),
    ("beta", {"nets": "pilot", "sequential": 1}, "sequential must be True"),
])  # fmt: skip
def test_bad_values_stop_before_any_work(theorem, options, message, monkeypatch):
    monkeypatch.setattr(data.Images, "draw", lambda *_: pytest.fail("work had started"))
    monkeypatch.setattr(matrices, "gaussian_norms", lambda *_, **__: pytest.fail("work had started"))
    with pytest.raises(ArgumentError, match=message):
        chosen(theorem, **options)


def test_samples_are_a_number_or_pilots():
    with pytest.raises(ArgumentError, match="must be an integer >= 2, for a standard error, or 'pilot'; got 'many'"):
        matrices.check_matrices([mf.norm_factor(2, 2)], {"d": 20, "K": 4}, samples="many")
