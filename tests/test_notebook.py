"""What values show in a notebook: formulas, tables and figures, in IPython's own shell; bars; interrupts."""

import csv
import sys

import pytest
import sympy as sp

import advmf as mf
from advmf import notebook, progress
from advmf.observables import AdversarialLoss, Expectation
from advmf.symbols import eps, sigma_w
from advmf.tabled import Tabled

NET = mf.residual(1, 0)
BOUND = mf.loss_bound(NET, 3, 4)
AT = {"L": 2, "d": 16, "K": 3, "sigma_w": 0.7, "sigma_b": 0.1, "eps": 0.1}
FEW = {"nets": 12, "widths": "limit", "progress": False}


@pytest.fixture
def formats():
    """What IPython would send to a notebook for a value."""
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    notebook.formulas_in_notebooks()
    yield lambda value: shell.display_formatter.format(value)[0]
    InteractiveShell.clear_instance()


@pytest.mark.parametrize(
    "value",
    [NET, mf.vanilla(), mf.pyramid(1, 0), BOUND, mf.kernel(BOUND), mf.linear_form(NET), mf.moments(NET), mf.metric(mf.vanilla(phi="tanh"))],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_formulas_are_latex_that_matplotlib_or_tex_can_set(value, formats):
    text = formats(value)["text/latex"]
    assert text.startswith("$\\displaystyle") and text.endswith("$") and text.count("{") == text.count("}")
    assert "Recursion" not in text and "sigma_w}" not in text and "eps}" not in text


def test_expressions_in_the_letters_of_the_theory(formats):
    assert r"\epsilon" in formats(BOUND.rhs)["text/latex"] and "eps" not in formats(BOUND.rhs)["text/latex"].replace(
        "epsilon", ""
    )
    assert formats(eps * sigma_w)["text/latex"] == r"$\displaystyle \epsilon \sigma_w$"
    foreign = sp.Symbol("eps_other") ** 2
    assert formats(foreign)["text/latex"] == foreign._repr_latex_()
    assert "text/latex" not in formats([1, "a"])


def test_a_report_shows_formulas_and_no_sympy(formats):
    report = mf.check(BOUND, AT, controls=True, **FEW)
    text = formats(report)["text/html"]
    assert "Expectation" not in text and "AdversarialLoss" not in text and "<math>" in text
    assert f"{report.estimate:.5g}" in text and "negative controls: half the bound" in text
    several = mf.check_all([BOUND, BOUND.scaled("1/2")], AT, **FEW)
    text = formats(several)["text/html"]
    assert isinstance(several, mf.Reports) and isinstance(several, list) and text.count("<tr>") == 3
    assert "T2 x 1/2" in text and "✗ refuted" in text


def test_text_of_a_label_cannot_become_markup():
    from dataclasses import replace

    report = mf.check(mf.norm_factor(2, 2), at={"d": 30, "K": 5}, samples=40)
    bad = replace(report, theorem="<script>", findings=(replace(report.findings[0], label="<b onload=x>"),))
    assert "<script" not in bad._repr_html_() and "<b onload" not in bad._repr_html_()


def test_a_page_and_a_figure_of_reports(tmp_path):
    several = mf.check_all([BOUND, BOUND.scaled("1/2")], AT, **FEW)
    page = several.html(tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text() == page and page.count("<details") >= 2 and "refuted" in page
    several.plot(tmp_path / "a.svg")
    several[0].plot(tmp_path / "b.svg", 80)
    assert all((tmp_path / name).read_bytes().startswith(b"<?xml") for name in ("a.svg", "b.svg"))
    with pytest.raises(mf.errors.ArgumentError, match="finding counts the findings from 0 to 0; got 1"):
        several[0].plot(finding=1)


def test_records_without_pandas(monkeypatch):
    report = mf.check(mf.norm_factor(2, 2), at={"d": 30, "K": 5}, samples=40)
    (row,) = report.records()
    assert (row["estimate"], row["at_d"], row["verdict"]) == (report.estimate, 30, str(report.verdict))
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(mf.errors.ArgumentError, match="pip install pandas"):
        report.frame()


def test_reports_with_other_quantities_are_one_table():
    """A claim about matrices has no L; its cells are empty."""
    several = mf.Reports([mf.check(mf.norm_factor(2, 2), {"d": 30, "K": 5}, samples=40), mf.check(BOUND, AT, **FEW)])
    first, second = csv.DictReader(several.csv().splitlines())
    assert (first["at_d"], first["at_L"], second["at_L"]) == ("30", "", "2")
    assert Tabled._repr_html_(several).count("<td>") == 2 * len(first)
    with pytest.raises(TypeError, match="abstract"):
        Tabled()


def test_a_bar_in_a_notebook_needs_no_widgets(monkeypatch):
    import IPython.display

    shown = []

    class Handle:
        def update(self, value):
            shown.append(value.data)

    monkeypatch.setattr(IPython.display, "display", lambda value, display_id: shown.append(value.data) or Handle())
    monkeypatch.setattr(progress, "_in_notebook", lambda: True)
    monkeypatch.setattr(progress, "_visible", lambda: True)
    monkeypatch.setattr(progress, "OFTEN", 0.0)
    report = mf.check(BOUND, AT, nets=12, widths="limit")
    assert report.verdict and shown[0].startswith("<progress") and shown[-1] == ""
    values = [float(text.split('value="')[1].split('"')[0]) for text in shown if "value=" in text]
    assert values and values == sorted(values) and values[-1] == pytest.approx(1.0)


def test_an_interrupted_check_goes_on_from_its_parts():
    parts = {}

    def stop(share, what):
        if len(parts) == 2:
            raise KeyboardInterrupt

    at, options = {**AT, "L": 1}, {"widths": (16, 32, 64), "nets": 6, "steps": 1, "directions": 1}
    claim = mf.Claim.of(Expectation(AdversarialLoss(2, 2)), "<=", 3 * eps, NET)
    with pytest.raises(KeyboardInterrupt):
        mf.check_all([claim], at, parts=parts, progress=stop, **options)
    assert len(parts) == 2
    again, whole = (mf.check_all([claim], at, parts=p, progress=False, **options) for p in (parts, {}))
    assert again[0].findings == whole[0].findings
