"""A claim along a quantity: points are single checks, the curve is the formula, what is false is refuted."""

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner

import advmf as mf
from advmf import cli
from advmf.errors import ArgumentError, DomainError, StoreError
from advmf.experiments import sweep_plot
from advmf.report.document import read

NET = mf.residual(u=1, v=0)
BOUND = mf.loss_bound(NET, 2, 2)
AT = {"d": 16, "K": 3, "sigma_w": 0.7, "sigma_b": 0.3, "eps": 0.1}
FEW = {"nets": 60, "widths": "limit"}


def over_depth(claims=BOUND, **options):
    return mf.sweep(claims, over={"L": [1, 2, 4]}, at=AT, **{**FEW, **options})


def test_each_point_is_a_check_of_its_own():
    found = over_depth()
    assert found.complete and [place.values["L"] for place in found.places] == [1, 2, 4]
    for place in found.places:
        alone = mf.check(BOUND, at={**AT, "L": place.values["L"]}, **FEW)
        assert (place.report.estimate, place.report.predicted) == (alone.estimate, alone.predicted)
        assert place.report.findings[0].alpha == pytest.approx(0.01 / 3)
        assert place.controls and all(control.verdict == "REFUTED" for control in place.controls)
    expected = mf.kernel(BOUND)(**{**AT, "L": np.array([1, 2, 4])})
    np.testing.assert_allclose([report.predicted for report in found.reports], expected, rtol=1e-12)


def test_half_the_bound_is_refuted_at_every_point():
    found = over_depth([BOUND, BOUND.scaled("1/2")])
    verdicts = {place.claim.name: set() for place in found.places}
    for place in found.places:
        verdicts[place.claim.name].add(str(place.report.verdict))
    assert verdicts == {"T2": {"NOT_REFUTED"}, "T2 x 1/2": {"REFUTED"}}
    figure = found.plot().figure
    assert any(line.get_marker() == "X" for axis in figure.axes for line in axis.lines)


def test_the_curve_is_the_formula_between_the_points():
    (curve,) = sweep_plot._curves(mf.sweep(BOUND, over={"eps": [0.1, 0.2, 0.9]}, at={**AT, "L": 2}, **FEW))
    x, y = sweep_plot.theory(curve, "eps")
    assert len(x) > 50
    np.testing.assert_allclose(y, mf.kernel(BOUND)(**{**AT, "L": 2, "eps": x}), rtol=1e-12)


def test_widths_are_the_rungs_of_one_check():
    found = mf.sweep(BOUND, over={"N": [32, 64, 128]}, at={**AT, "L": 2}, nets=20, steps=2, directions=1)
    (place,) = found.places
    alone = mf.check(BOUND, at={**AT, "L": 2}, widths=(32, 64, 128), nets=20, steps=2, directions=1)
    rungs = alone.findings[0].rungs
    assert [(row["N"], row["estimate"]) for row in found.records()] == [(r.N, r.mean) for r in rungs]
    assert place.report.estimate == alone.estimate


def test_two_quantities_are_curves():
    found = mf.sweep(mf.norm_factor(2, 2), over={"d": [20, 40], "K": [2, 5, 9]}, samples=30)
    curves = sweep_plot._curves(found)
    assert [curve.label for curve in curves] == [f"$K = {k}$" for k in (2, 5, 9)]
    assert all(curve.x.tolist() == [20, 40] for curve in curves)


class Stop:
    """Progress that interrupts after some points."""

    def __init__(self, points):
        self.left = points

    def __call__(self, share, what):
        self.left -= share
        if self.left < 1e-9:
            raise KeyboardInterrupt


def test_an_interrupted_sweep_keeps_what_is_finished_and_goes_on(tmp_path):
    store = tmp_path / "s.db"
    with pytest.warns(UserWarning, match=r"interrupted: 1 of 3 points are finished, and .*s.db keeps them"):
        part = over_depth(store=store, progress=Stop(2))
    assert not part.complete and len(part.places) == 1 and "not complete" in str(part)
    with pytest.raises(StoreError, match="--resume"):
        over_depth(store=store)
    whole, again = over_depth(), over_depth(store=store, resume=True)
    assert again.csv() == whole.csv()


def test_csv_json_page_and_frame(tmp_path):
    pandas = pytest.importorskip("pandas")
    found = over_depth()
    found.csv(tmp_path / "a.csv")
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert [float(row["estimate"]) for row in rows] == [report.estimate for report in found.reports]
    assert isinstance(found.frame(), pandas.DataFrame) and len(found.frame()) == 3
    found.json(tmp_path / "a.json")
    document = read(tmp_path / "a.json")
    assert [claim.place for claim in document.claims] == ["L=1", "L=2", "L=4"]
    page = found.html(tmp_path / "a.html")
    assert all(f"<mi>L</mi><mo>=</mo><mn>{depth}</mn>" in page for depth in (1, 2, 4))
    assert "<table>" in found._repr_html_()


@pytest.mark.parametrize(
    ("over", "at", "error", "message"),
    [
        ({}, {}, ArgumentError, "over has the values of one quantity"),
        ({"L": [1], "d": [16], "K": [3]}, {}, ArgumentError, "of one quantity, or of two"),
        ({"depth": [1, 2]}, {}, ArgumentError, "'depth' is no quantity"),
        ({"L": []}, {}, ArgumentError, "takes different finite numbers"),
        ({"L": [2, 2]}, {}, ArgumentError, "takes different finite numbers"),
        ({"L": 3}, {}, ArgumentError, "takes different finite numbers"),
        ({"L": [1.5]}, {}, ArgumentError, "must be an integer"),
        ({"L": [2]}, {"sigma_w": -1.0}, DomainError, "sigma_w"),
        ({"t": [1.0]}, {"L": 2}, ArgumentError, "nothing here uses 't'"),
        ({"eps": [0.1]}, {}, ArgumentError, "at lacks L"),
        ({"N": [4, 8]}, {"L": 2}, ArgumentError, "at least three widths"),
    ],
)
def test_bad_input_comes_before_any_work(over, at, error, message, monkeypatch):
    monkeypatch.setattr("advmf.verify.runs.compute", lambda *_, **__: pytest.fail("work had started"))
    with pytest.raises(error, match=message):
        mf.sweep(BOUND, over=over, at={**AT, **at})


def test_claims_that_cannot_be_swept():
    with pytest.raises(ArgumentError, match="order of growth"):
        mf.sweep(mf.growth(BOUND, "d"), over={"L": [1, 2]}, at=AT)
    with pytest.raises(ArgumentError, match="sweep takes a Claim"):
        mf.sweep("T2", over={"L": [1, 2]}, at=AT)
    with pytest.raises(ArgumentError, match="no argument net; "):
        mf.sweep(BOUND, over={"L": [1, 2]}, at=AT, net=3)


def invoke(*args):
    return CliRunner().invoke(cli.main, ["sweep", *args], catch_exceptions=False)


def test_the_command_writes_everything(tmp_path):
    names = {kind: str(tmp_path / f"a.{kind}") for kind in ("pdf", "csv", "json", "html", "db")}
    outputs = (
        "--plot",
        names["pdf"],
        "--size",
        "80",
        "--csv",
        names["csv"],
        "--json",
        names["json"],
        "-o",
        names["html"],
    )
    words = ("T2", "--over", "L=1:2", "--at", "d=16", "--at", "K=3", "--networks", "60", "--store", names["db"])
    result = invoke(*words, *outputs)
    assert result.exit_code in (0, 3), result.output
    assert "T2 residual relu (2, 2)" in result.output and max(map(len, result.output.splitlines()[:3])) <= 80
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    assert json.loads((tmp_path / "a.json").read_text())["results"][1]["at"]["L"] == 2
    again = invoke(*words, "--resume")
    assert again.exit_code == result.exit_code and again.output.splitlines()[:3] == result.output.splitlines()[:3]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("T2", "--over", "L=1:2", "--at", "L=3"), "L is swept and cannot be set by --at"),
        (("T2", "--over", "L=1:2", "--over", "L=3"), "--over gives L twice"),
        (("T2", "--over", "L"), "--over takes NAME=LOW:HIGH"),
        (("T2", "--over", "L=1:2", "--size", "two"), "give its file with --plot"),
        (("T2", "--over", "L=1:2", "--plot", "a.docx"), "must end in one of"),
        (("T4", "--over", "L=1:2"), "T4 is not checked"),
        (("T9", "--over", "L=1:2"), "T9"),
        (("T2", "--over", "t=1:2"), "nothing here uses 't'"),
    ],
)
def test_bad_arguments_of_the_command(args, message, monkeypatch):
    monkeypatch.setattr("advmf.verify.runs.compute", lambda *_, **__: pytest.fail("work had started"))
    result = invoke(*args)
    assert result.exit_code == 2 and message in result.output
