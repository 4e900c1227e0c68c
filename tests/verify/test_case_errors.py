"""An error within one case is that case's alone: the others are checked, every form of the results tells it, and a
later run tries it again."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from advmf import cli
from advmf.cli.exits import Exit
from advmf.errors import AccuracyError, ArgumentError, CaseError, WorkerError
from advmf.report.document import of_outcomes, read
from advmf.report.html import html
from advmf.report.junit import junit
from advmf.report.markdown import markdown
from advmf.report.paper import document as paper
from advmf.report.results import about, read_results
from advmf.verify import suite, workers
from advmf.verify.own import load
from advmf.verify.runs import run

SERIES = "the series does not settle after 4096 terms <here>"
THEOREM = """
from pathlib import Path
import sympy as sp
import advmf as mf
from advmf.errors import AccuracyError
from advmf.observables import Expectation, Observable

class Share(Observable):
    needs = frozenset()

    def measure(self, probe):
        if not Path({ready!r}).exists():
            raise {error}({text!r})
        return (probe.output > 0).double().mean((1, 2))

def half(net, pairs):
    return [
        mf.Claim(
            name="half", lhs=Expectation(Share()), relation="==", formula=sp.S.Half, where={{}}, regime=mf.Regime.EXACT,
            assumptions=(), source="symmetry", net=net,
        )
    ]

THEOREM = mf.Theorem(
    name="half", title="half of the outputs", source="symmetry", net=mf.vanilla(u=1, v=0), tests=half,
    wrong=lambda claim: [claim.scaled(1.5)],
    scales={{"quick": mf.Scale(L=2, d=8, K=4, at={{"sigma_w": 1.0, "sigma_b": 0.1}}, nets=(6000,), widths=(16,))}},
)
"""
SMALL = replace(
    suite.QUICK,
    name="small",
    scales={
        "F1": suite.Scale(L=2, d=16, K=2, widths=(8, 16, 32), nets=(200,) * 3),
        "beta": suite.MatrixScale(d=40, K=4, samples=400),
    },
)


@pytest.fixture
def theorem(tmp_path) -> Path:
    """A theorem of one's own that raises AccuracyError until a file "ready" is there."""
    path = tmp_path / "half.py"
    path.write_text(THEOREM.format(ready=str(tmp_path / "ready"), error="AccuracyError", text=SERIES))
    return path


def whole(path: Path) -> list[suite.Case]:
    """The theorem of the file between others."""
    first = suite.cases(["F1"], ["residual"], ["relu"], profile=SMALL)
    return [*first, load(path).case({}), *suite.cases(["beta"], pairs=[("2", "2")], profile=SMALL)]


def test_the_other_cases_are_checked_and_resume_tries_it_again(theorem, tmp_path):
    cases, store = whole(theorem), tmp_path / "a.db"
    found = {o.case.theorem: o for o in run(cases, store=store, workers=2)}
    assert isinstance(found["half"].error, AccuracyError) and not found["half"].reports
    assert found["F1"].reports and found["F1"].controls and found["beta"].reports and not found["beta"].error

    kept = read(store)
    assert kept.complete and kept.told == "1 case ended in an error"
    (failed,) = kept.errors
    assert (failed.title, failed.kind, failed.text) == ("half vanilla", "AccuracyError", SERIES)

    again = list(run(cases, store=store, resume=True))
    assert [o.case.theorem for o in again] == ["F1", "beta", "half"] and again[-1].error

    (tmp_path / "ready").touch()
    again = list(run(cases, store=store, resume=True))
    assert str(again[-1].reports[0].verdict) == "SUPPORTED" and not any(o.error for o in again)
    assert not read(store).errors and len(read(store).claims) == 3


def test_every_form_tells_it(theorem, tmp_path):
    cases = whole(theorem)
    outcomes = sorted(run(cases), key=lambda o: o.position)
    document = of_outcomes(outcomes, 0, "advmf check", complete=True)
    path = tmp_path / "out.json"
    path.write_text(json.dumps(document.to_dict()))
    assert read(path).errors == document.errors and len(document.errors) == 1

    page = html(document)
    assert page.count("AccuracyError") == 2 and "&lt;here&gt;" in page and "1 case ended in an error" in page
    text = markdown(document)
    assert "1 case ended in an error" in text and "half vanilla: AccuracyError: the series" in text
    assert "| vanilla |  | AccuracyError |" in text
    tests = ElementTree.fromstring(junit(document))[0]
    assert (tests.get("errors"), tests.get("tests")) == ("1", "3")
    (error,) = tests.iter("error")
    assert (error.get("type"), error.get("message")) == ("AccuracyError", SERIES)
    record = read_results(path)
    assert "AccuracyError" in paper([], results=record)
    assert about(record, ["half"], "vanilla")["errors"] and not about(record, ["beta"], "vanilla")["errors"]


def check(*args: object):
    return CliRunner().invoke(cli.main, ["check", *map(str, args)])


def test_the_exit_code_tells_it(theorem, tmp_path):
    result = check(theorem, "--json", tmp_path / "out.json", "--store", tmp_path / "a.db")
    assert result.exit_code == Exit.FAILED and f"half vanilla: AccuracyError: {SERIES}" in result.output
    assert "1 case ended in an error" in result.output
    assert read(tmp_path / "out.json").errors == read(tmp_path / "a.db").errors

    (tmp_path / "ready").touch()
    again = check(theorem, "--store", tmp_path / "a.db", "--resume")
    assert again.exit_code == Exit.NOTHING_REFUTED, again.output


def test_an_unexpected_error_is_told_as_a_crash_with_its_traceback(tmp_path):
    path = tmp_path / "half.py"
    path.write_text(THEOREM.format(ready=str(tmp_path / "ready"), error="ZeroDivisionError", text="by nought"))
    found = {o.case.theorem: o for o in run(whole(path))}
    assert isinstance(found["half"].error, CaseError) and found["beta"].reports
    result = check(path)
    assert result.exit_code == Exit.CRASHED and "Traceback" in result.output
    assert "half vanilla: CaseError: ZeroDivisionError: by nought" in result.output


def test_bad_input_comes_before_the_work():
    cases = suite.cases(["F1"], ["residual"], ["relu"], profile=SMALL)
    lacking = replace(cases[0], at={name: value for name, value in cases[0].at.items() if name != "sigma_w"})
    begun = []
    with pytest.raises(ArgumentError, match="at lacks sigma_w"):
        list(run([*cases, lacking], progress=lambda share, what: begun.append(what)))
    assert not begun


def test_a_case_that_kills_its_worker_is_told_as_well(theorem, monkeypatch):
    monkeypatch.setattr(workers, "DEATHS", 2)  # one, and one alone; test_workers.py has three
    text = theorem.read_text().replace("raise AccuracyError(", "import os; os._exit(1) or (")
    theorem.write_text(text)
    found = {o.case.theorem: o for o in run(whole(theorem), workers=2)}
    error = found["half"].error
    assert isinstance(error, WorkerError) and "died at each of 2 attempts at half" in str(error)
    assert found["F1"].reports and found["beta"].reports


def test_what_cannot_be_sent_to_a_worker_is_told_by_name(tmp_path):
    """A function in functools.cache is found by the name of its module, which a file of one's own is none of."""
    text = THEOREM.format(ready=str(tmp_path), error="ValueError", text="")
    text = text.replace("    needs = frozenset()", "    needs = frozenset()\n    number = functools.cache(lambda: 1)")
    path = tmp_path / "half_cached.py"
    path.write_text("import functools\n" + text)
    with pytest.raises(ArgumentError, match=r"half vanilla cannot be sent to a worker: .* keep functools\.cache"):
        list(run([load(path).case({})], workers=1))
