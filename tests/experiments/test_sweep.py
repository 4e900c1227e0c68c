"""A claim along a quantity: points are single checks, the curve is the formula, what is false is refuted."""

import contextlib
import csv
import json
import math

import numpy as np
import pytest
from click.testing import CliRunner

import advmf as mf
from advmf import cli
from advmf.errors import AdvmfError, ArgumentError, DomainError, StoreError
from advmf.experiments import sweep_plot
from advmf.progress import Advance
from advmf.report.document import read
from advmf.verify import suite

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


def test_each_control_belongs_to_its_own_claim():
    """T1.J, T1.Ja and "T1.J x 2" begin alike."""
    laws = mf.linear_form(NET)
    found = mf.sweep([*laws, laws[0].scaled(2)], over={"L": [1, 2]}, at=AT, nets=8, widths=(16, 32, 64), steps=1)
    for place in found.places:
        names = [control.theorem for control in place.controls]
        assert names and all(name.startswith(f"{place.claim.name} [") for name in names)
    own = sum(len(place.controls) for place in found.places)
    assert own == found.document.controls and f"refuted: {own - len(found.document.missed)} of {own}" in str(found)


def test_reports_know_their_claims():
    assert [report.claim for report in over_depth().reports] == [BOUND] * 3
    assert "AdversarialLoss" not in over_depth().reports._repr_html_()


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
        ({"L": "24"}, {}, ArgumentError, "takes different finite numbers"),
        ({"L": [1.5]}, {}, ArgumentError, "must be an integer"),
        ({"L": [2]}, {"sigma_w": -1.0}, DomainError, "sigma_w"),
        ({"t": [1.0]}, {"L": 2}, ArgumentError, "nothing here uses 't'"),
        ({"eps": [0.1]}, {}, ArgumentError, "at lacks L"),
        ({"N": [4, 8]}, {"L": 2}, ArgumentError, "at least three widths"),
        ({"L": [True, 2]}, {}, ArgumentError, "takes different finite numbers"),
        ({"eps": [math.inf]}, {}, ArgumentError, "takes different finite numbers"),
        ({"L": [-1, 2]}, {}, DomainError, "must be at least 0"),
        ({"L": [1, 2]}, {"d": "x"}, ArgumentError, "must be a number"),
        ({"L": [1, 2]}, {"foo": 1}, ArgumentError, "nothing here uses 'foo'"),
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
    with pytest.raises(ArgumentError, match="the values are the widths; leave widths out"):
        mf.sweep(BOUND, over={"N": [16, 32, 64]}, at={**AT, "L": 1}, widths="limit")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers must be at least 1"),
        ({"nets": 1}, "nets must be at least 2"),
        ({"nets": "x"}, "nets must be an integer"),
        ({"widths": "wide"}, "widths must be whole numbers"),
        ({"widths": (16,)}, "at least three widths"),
        ({"samples": 9}, "samples has no effect here: no claim is about matrices"),
        ({"data": "nowhere"}, "nowhere"),
        ({"seed": "x"}, "seed must be an integer"),
        ({"seed": 1.5}, "seed must be an integer"),
        ({"design": 3}, "design is a Design"),
        ({"store": "/no/a.db"}, "folder"),
        ({"resume": True}, "--resume"),
        ({"progress": 3}, "progress is a function"),
        ({"device": "x"}, "no device 'x'"),
        ({"dtype": "x"}, "no dtype 'x'"),
        ({"sampler": "x"}, "sampler must be one of"),
        ({"steps": -1}, "steps must be at least 0"),
        ({"directions": 0}, "directions must be at least 1"),
        ({"memory": 1}, "budget"),
    ],
)
def test_bad_options_come_before_any_simulation(options, message, monkeypatch):
    monkeypatch.setattr("advmf.verify.sources.simulation.Simulation.upto", lambda *_: pytest.fail("work had started"))
    with pytest.raises(AdvmfError, match=message):
        mf.sweep(BOUND, over={"L": [1, 2]}, at=AT, **options)


@pytest.mark.parametrize("option", [{"nets": 8}, {"widths": "limit"}, {"data": "digits"}, {"steps": 3}])
def test_claims_about_matrices_have_no_options_of_networks(option):
    with pytest.raises(ArgumentError, match="has no effect here: no claim is about networks"):
        mf.sweep(mf.norm_factor(2, 2), over={"d": [4, 8]}, at={"K": 3}, **option)


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
        (("T2", "--over", "N=16,32,64", "--widths", "limit"), "leave --widths limit out"),
        (("beta", "--over", "d=4,8", "--networks", "9"), "--networks has no effect here: matrices have no networks"),
        (("beta", "--over", "d=4,8", "--net", "vanilla"), "beta says nothing of vanilla"),
        (("beta", "--over", "d=4,8", "--activation", "relu"), "relu"),
        (("T2", "--over", "L=1:2", "-o", "a.txt"), "must end in .html"),
        (("T2", "--over", "L=1:2", "--p", "0.5"), "p must be a number"),
        (("T2", "--over", "L=1:2", "--net", "no"), "There is no net 'no'"),
        (("T2", "--over", "L=1:2:1"), "2 points or more"),
        (("T2", "--over", "L=1:2", "--data", "nowhere"), "nowhere"),
        (("T2", "--over", "L=1:2", "--resume"), "--store"),
        (("no.py", "--over", "L=1:2"), "There is no file no.py"),
    ],
)
def test_bad_arguments_of_the_command(args, message, monkeypatch):
    monkeypatch.setattr("advmf.verify.runs.compute", lambda *_, **__: pytest.fail("work had started"))
    result = invoke(*args)
    assert result.exit_code == 2 and message in result.output


MATRICES = ("beta", "--over", "d=4,8,16", "--at", "K=3")


@pytest.mark.parametrize(("stop", "code"), [(KeyboardInterrupt, 130), (cli.shared.Terminated, 143)])
def test_how_an_interrupted_command_ends(stop, code, tmp_path, monkeypatch):
    check, done = suite.Case.check, []

    def interrupted(self, *args):
        if done:
            raise stop
        done.append(self)
        return check(self, *args)

    monkeypatch.setattr(suite.Case, "check", interrupted)
    result = invoke(*MATRICES, "--store", str(tmp_path / "s.db"), "--csv", str(tmp_path / "a.csv"))
    assert result.exit_code == code and "interrupted: 1 of 3 points finished; go on with --store" in result.output
    assert "not complete" in result.stdout and len((tmp_path / "a.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize("failing", [1, 3])
def test_points_that_end_in_an_error(failing, monkeypatch):
    """A bug ends the point alone; what is finished is shown, and the exit code is that of a crash."""
    check = suite.Case.check

    def broken(self, *args):
        if failing == 3 or self.at["d"] == 4:
            raise RuntimeError("a bug")
        return check(self, *args)

    monkeypatch.setattr(suite.Case, "check", broken)
    result = invoke(*MATRICES)
    assert result.exit_code == 4 and result.output.count("at d = 4: CaseError: RuntimeError: a bug") == 1
    assert "Traceback" in result.output and ("16  " in result.output) == (failing == 1)


def test_progress_counts_every_case(capsys):
    """Two networks at each point are two pieces of work."""
    counts = []

    def progress(count, unit):
        counts.append((count, unit))
        return contextlib.nullcontext(Advance(lambda share, what: None, print))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("advmf.cli.sweep.progress", progress)
        result = invoke(
            "T1", "--over", "L=1,2", "--net", "vanilla", "--net", "residual", "--networks", "4", "--at", "d=9"
        )
    assert result.exit_code in (0, 1, 3) and counts == [(4, "points")]
