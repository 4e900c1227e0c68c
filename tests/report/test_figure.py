"""The figures of a page: the fitted curve, round ticks, the overview of a run."""

from dataclasses import replace

import pytest

from advmf.report.document import Checked
from advmf.report.figure import _fit, figure, points
from advmf.report.strip import strip
from advmf.verify.statistics import Rung
from advmf.verify.verdict import Finding, Report, Verdict

WIDTHS = (64, 128, 256, 512)


def finding(law, estimate, verdict=Verdict.SUPPORTED):
    rungs = tuple(Rung(N, 100, law(N), 0.01) for N in WIDTHS)
    return Finding("E x", verdict, estimate, 0.01, 2.0, estimate / 2 - 1, 0.02, rungs)


def report(*findings, net="residual"):
    return Report("T2", net, "2", "2", findings, {"L": 2}, 0, 1.0, {"widths": list(WIDTHS)})


def law(N):
    return 2 + 30 / N - 200 / N**2


def test_the_curve_is_the_law_whose_limit_is_the_estimate():
    f = finding(law, 2.0)
    fitted = _fit(points(report(f), f), f)
    assert [fitted(N) for N in (64, 100, 512)] == pytest.approx([law(N) for N in (64, 100, 512)], rel=1e-9)
    drawn = figure(report(f), f, "a")
    assert any(path.get("class") == "fit" for path in drawn.iter("path"))
    assert any("line: fit" in (text.text or "") for text in drawn.iter("text"))


def test_an_estimate_of_another_kind_has_no_curve():
    f = finding(law, 1.7)
    assert _fit(points(report(f), f), f) is None
    assert not any(path.get("class") == "fit" for path in figure(report(f), f, "a").iter("path"))


def test_ticks_are_round_and_few():
    drawn = figure(report(finding(law, 2.0)), finding(law, 2.0), "a")
    shown = [float(text.text) for text in drawn.iter("text") if text.get("text-anchor") == "end"]
    assert 4 <= len(shown) <= 9 and all(len(f"{abs(value):g}") <= 4 for value in shown)


def test_the_overview_has_a_mark_for_each_claim_that_leads_to_it():
    verdicts = (Verdict.SUPPORTED, Verdict.REFUTED, Verdict.UNDERPOWERED)
    reports = [report(finding(law, 2.0 - i / 10, verdict), net=f"n{i}") for i, verdict in enumerate(verdicts)]
    claims = [Checked("T2", "relu", {}, each) for each in reports]
    names = {id(claim): f"claim-{i}" for i, claim in enumerate(claims)}
    found = strip(claims, names)
    assert [a.get("href") for a in found.iter("a")] == ["#claim-0", "#claim-1", "#claim-2"]
    assert [title.text for a in found.iter("a") for title in a.iter("title")][1] == "T2 n1 relu p=2 q=2: 0.950, refuted"
    assert sorted(e.get("class") for e in found.iter() if e.get("class") in ("dot", "open", "cross")) == [
        "cross",
        "dot",
        "open",
    ]
    assert strip(claims[:1], names) is None
    none = replace(claims[0], report=report(replace(reports[0].findings[0], predicted=0.0)))
    assert strip([none, none], {id(none): "a"}) is None
