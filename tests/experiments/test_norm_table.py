"""The table of simulated norm factors over the routes, its command and its figure; the growth of the loss on attacked
networks."""

import json
import math
import re
import sys

import pytest
import sympy as sp
from click.testing import CliRunner

import advmf as mf
from advmf.cli import main
from advmf.errors import ArgumentError, DomainError
from advmf.experiments import figures
from advmf.experiments.norm_table import norm_table
from advmf.verify.sources.ladder import check_growth
from advmf.verify.verdict import Verdict


def test_cells_are_means_over_the_routes():
    table = norm_table(12, 5, exponents=(1, 2, "inf"), routes_=("chevet", "best", "tilted"), samples=300)
    for i, p in enumerate((1, 2, "inf")):
        for j, q in enumerate((1, 2, "inf")):
            cell = table.cells[i][j]
            norms = mf.simulate.gaussian_norms(12, 5, [(p, q)], samples=300, signs=16)[p, q].lower
            assert cell.mean == pytest.approx(float(norms.mean()), rel=1e-12)
            assert cell.stderr == pytest.approx(float(norms.std()) / math.sqrt(300), rel=1e-12)
            assert cell.upper >= cell.mean * (1 - 1e-12)
            assert cell.ratio("chevet") == pytest.approx(cell.mean / float(mf.kernel(mf.beta(p, q))(d=12, K=5)))
            assert (cell.ratio("tilted") is None) == (p == 1 or q == "inf")
            assert cell.ratio("chevet") < cell.ratio("best") + 1e-12
            assert cell.mean - 5 * cell.stderr < cell.beta["best"]


def test_the_command_writes_table_json_and_figure(tmp_path):
    drawn, written = tmp_path / "norms.png", tmp_path / "norms.json"
    arguments = ["--d", "9", "--K", "4", "--exponent", "1", "--exponent", "inf", "--samples", "20", "--seed", "3"]
    result = CliRunner().invoke(main, ["norms", *arguments, "--plot", str(drawn), "--json", str(written)])
    assert result.exit_code == 0, result.output
    assert drawn.read_bytes().startswith(b"\x89PNG")
    data = json.loads(written.read_text())
    assert (data["d"], data["K"], data["samples"], data["seed"]) == (9, 4, 20, 3)
    assert [(pair["p"], pair["q"]) for pair in data["pairs"]] == [(a, b) for a in ("1", "inf") for b in ("1", "inf")]
    for pair in data["pairs"]:
        assert f"{pair['mean'] / pair['beta']['estimate']:.3f}" in result.output
    again = CliRunner().invoke(main, ["norms", *arguments, "--json", str(written)])
    assert again.output == result.output
    assert json.loads(written.read_text()) == data


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--d", "0", "--K", "4"], "0 is not in the range"),
        (["--d", "4"], "Missing option '--K'"),
        (["--d", "4", "--K", "4", "--exponent", "0.5"], "got 1/2"),
        (["--d", "4", "--K", "4", "--exponent", "x"], "symbol|number"),
        (["--d", "4", "--K", "4", "--route", "gauss"], "route must be best or one of"),
        (["--d", "4", "--K", "4", "--plot", "out.txt"], "must end in one of"),
        (["--d", "4", "--K", "4", "--plot", "no/such/folder/out.png"], "no folder"),
    ],
)
def test_bad_input_is_one_line_before_any_work(arguments, reason, monkeypatch):
    monkeypatch.setattr("advmf.experiments.norm_table.gaussian_norms", lambda *_, **__: pytest.fail("work has begun"))
    result = CliRunner().invoke(main, ["norms", *arguments])
    assert result.exit_code == 2
    assert re.search(reason, result.output), result.output
    assert "Traceback" not in result.output


def test_bad_input_from_python():
    with pytest.raises(ArgumentError, match="route must be"):
        norm_table(4, 4, routes_=("gauss",))
    with pytest.raises(DomainError):
        norm_table(4, 4, exponents=(0.5,))
    with pytest.raises(ArgumentError, match="at least one"):
        norm_table(4, 4, exponents=())


def test_figures_say_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ArgumentError, match=r"pip install 'advmf\[plot\]'"):
        figures.check_target(tmp_path / "a.png")


def test_lines_are_drawn_with_their_errors(tmp_path):
    path = tmp_path / "lines.png"
    curves = {"one": ([1.0, 2.0], [0.1, 0.1]), "two": ([2.0, 1.0], [0.0, 0.3])}
    figures.lines((10, 1000), curves, path, "width $N$", "value")
    assert path.read_bytes().startswith(b"\x89PNG")


AT = {"L": 1, "K": 2, "sigma_w": 2**0.5, "sigma_b": 0.0, "eps": 0.1}
SMALL = {
    "ladder": (64, 256, 1024),
    "along": "d",
    "widths": (16, 32, 64),
    "nets": (2, 2, 120),
    "directions": 1,
    "steps": 3,
}


def test_the_growth_of_the_loss_and_its_mutants():
    """p = oo grows as sqrt(d) and p = 1 falls; half a power more, or the other's power, is refuted on the same
    networks."""
    grows, falls = (mf.growth(mf.loss_bound(mf.vanilla(u=1, v=0), p, 2), "d") for p in ("inf", 1))
    wrong = grows.scaled(sp.sqrt(mf.symbols.d))
    reports = check_growth([grows, falls, wrong], AT, seed=1, **SMALL)
    assert [r.verdict for r in reports[:2]] == [Verdict.SUPPORTED] * 2, "\n".join(map(str, reports))
    assert reports[0].estimate > 0.4 > -0.3 > reports[1].estimate
    assert reports[2].verdict is Verdict.REFUTED


def test_the_slope_of_the_weight_variance_inherits_the_growth():
    net = mf.vanilla(u=1, v=0)
    claim = mf.growth(mf.variance_slope(net, "inf", 2), "d")
    report, wrong = check_growth([claim, claim.scaled(1 / mf.symbols.d)], AT, seed=1, **SMALL)
    assert report.verdict is Verdict.SUPPORTED, str(report)
    assert all(rung.mean < 0 for rung in report.findings[0].rungs)
    assert wrong.verdict is Verdict.REFUTED


def test_growth_of_the_loss_refuses_bad_input():
    claim = mf.growth(mf.loss_bound(mf.vanilla(u=1, v=0), 2, 2), "d")
    with pytest.raises(ArgumentError, match="three dimensions"):
        check_growth([claim], AT, **{**SMALL, "ladder": (64, 256)})
    with pytest.raises(ArgumentError, match="along='d' or 'K'"):
        check_growth([claim], AT, **{**SMALL, "along": "L"})
    with pytest.raises(ArgumentError, match="lacks"):
        check_growth([claim], {"L": 1}, **SMALL)
