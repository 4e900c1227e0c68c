"""A run of several theorems on small networks, in the forms that a report can be made from."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest

from advmf.report.document import Document, of_outcomes
from advmf.verify import suite
from advmf.verify.runs import family, run
from advmf.verify.verdict import Verdict

SMALL = replace(
    suite.QUICK,
    name="small",
    scales={
        "T2": suite.Scale(L=2, d=16, K=4, widths=(16, 32, 64, 128), nets=(60,) * 4, directions=1, steps=2),
        "F1": suite.Scale(L=2, d=16, K=2, widths=(8, 16, 32), nets=(200,) * 3),
        "beta": suite.MatrixScale(d=40, K=4, samples=40),
        "T6.d": suite.MatrixScale(d=1, K=2, samples=40, along="d", ladder=(50, 200, 800)),
    },
)
COMMAND = "advmf check --theorem F1 --theorem T2 --seed 3 --store results.db --workers 1"


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """A store and a JSON file of the same run."""
    folder = tmp_path_factory.mktemp("results")
    pairs = [("2", "2"), ("inf", "1")]
    cases = suite.cases(["F1", "T2"], ["residual"], ["relu"], pairs, SMALL)
    cases += suite.cases(["beta", "T6.d"], pairs=pairs, profile=SMALL)
    found = list(run(cases, seed=3, store=folder / "results.db", command=COMMAND))
    outcomes = family(found, sum(len(case.claims) for case in cases))
    record = of_outcomes(outcomes, 3, COMMAND, complete=True).to_dict()
    (folder / "results.json").write_text(json.dumps(record))
    return folder


@pytest.fixture(scope="session")
def document(files) -> Document:
    from advmf.report.document import read

    return read(files / "results.db")


@pytest.fixture(scope="session")
def hostile(document) -> Document:
    """The document as somebody who wants to do harm would write it; one claim of it is REFUTED."""
    mark = "<script>alert(1)</script>\"'><img src=http://evil.example/x onerror=alert(2)>|`@all` \x00\x0b&amp;"
    claim = document.claims[0]
    finding = replace(claim.report.findings[0], label=mark, reason=mark, verdict=Verdict.REFUTED)
    settings = {**claim.report.settings, "data": mark, "environment": {mark: mark}}
    report = replace(claim.report, theorem=mark, net=mark, p=mark, findings=(finding,), settings=settings)
    latex = r"\text{<script>alert(3)</script>} \href{javascript:alert(4)}{x}, \quad \text{<b>}, \quad \frac{"
    said = {**claim.statement, "latex": latex, "source": mark, "heuristic": mark, "assumptions": [mark]}
    bad = replace(claim, case=mark, activation=mark, statement=said, report=report)
    return replace(
        document, version=mark, command=f"advmf check {mark}", claims=(bad, *document.claims), missed=(mark,)
    )


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium (browser.py)."""
    spec = importlib.util.spec_from_file_location("browser", Path(__file__).with_name("browser.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.Browser() as found:
        yield found
