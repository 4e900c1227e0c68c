"""Results files in; Markdown, JUnit XML and JSON out; and the command."""

import json
import re
import sqlite3
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from click.testing import CliRunner

from advmf import cli
from advmf.errors import StoreError
from advmf.report.document import of_outcomes, read, reproduction
from advmf.report.junit import junit
from advmf.report.markdown import markdown
from advmf.verify import runs, suite
from advmf.verify.runs import run
from advmf.verify.verdict import Verdict


def advmf(*args):
    return CliRunner().invoke(cli.main, ["report", *map(str, args)])


def test_store_and_json_say_the_same(files, document):
    there = read(files / "results.json")
    assert replace(there, version=document.version, seconds=0) == replace(document, seconds=0)
    again = json.loads(json.dumps(document.to_dict()))
    assert again["results"][0]["statement"]["latex"].startswith(r"\mathbb{E}")
    assert [row["case"] for row in again["results"]] == [claim.case for claim in document.claims]


def test_a_store_has_the_verdicts_of_holms_rule(files, monkeypatch):
    monkeypatch.setattr("advmf.verify.runs.holm", lambda p_values, rate: [p == min(p_values) for p in p_values])
    claims = read(files / "results.db").claims
    assert [c for c in claims if c.report.verdict is Verdict.REFUTED] == [min(claims, key=lambda c: c.report.p_value)]


def test_junit_has_a_case_for_each_claim(document, hostile):
    root = ET.fromstring(junit(document))
    (tests,) = root
    assert len(tests.findall("testcase")) == len(document.claims) == int(tests.get("tests"))
    assert len(tests.findall("testcase/skipped")) == document.counts["UNDERPOWERED"] == int(tests.get("skipped"))
    assert [c.get("name") for c in tests.findall("testcase")] == [claim.title for claim in document.claims]
    (bad,) = ET.fromstring(junit(hostile)).iter("failure")
    estimate = hostile.claims[0].report.estimate
    assert f"{estimate:.5g}" in bad.text and "<script>" in bad.get("message")


def test_markdown_lists_what_is_to_be_looked_at(document, hostile):
    text = markdown(document)
    weak = [c for c in document.claims if c.report.verdict == "UNDERPOWERED"]
    assert weak and all(f"| {c.title} |" in text for c in weak)
    assert "use more" in text and reproduction(document.command) in text
    bad = markdown(hostile)
    fenced = re.search("^(`{3,})sh\n.*?^\\1$", bad, re.M | re.S)
    outside = bad.replace(fenced[0], "") if fenced else bad
    assert "<script" not in outside and "<img" not in outside
    lines = [line for line in outside.splitlines() if line.startswith("|")]
    heads = [line for line in lines if re.fullmatch(r"\|( --- \|)+", line)]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {len(re.findall(r"\|", line)) for line in heads}


@pytest.mark.parametrize(
    "case", ["T2\n\n![x](https://a.example/p.png)", "T2\r\n\r\n# owned", "T2\u2028\u2028<img src=x>"]
)
def test_no_name_of_a_case_begins_markdown(document, case):
    """An empty line would end the HTML around a table's title, and what follows would be Markdown."""
    text = markdown(replace(document, claims=tuple(replace(claim, case=case) for claim in document.claims)))
    assert text.count("<details>") == len(re.findall(r"<details><summary>[^\r\n\u2028]*</summary>\n\n", text))
    for line in text.splitlines():
        assert not line.lstrip().startswith(("![", "# ", "<img"))


def test_no_text_of_a_file_commands_a_terminal(document, tmp_path):
    record = document.to_dict()
    record["command"] = "advmf check \x1b]0;owned\x07\x1b[2J"
    path = tmp_path / "foreign.json"
    path.write_text(json.dumps(record))
    found = CliRunner().invoke(cli.main, ["report", str(path), "--markdown"])
    assert "\x1b" not in found.output and "\x07" not in found.output
    assert found.exit_code == 0, found.output


def test_no_two_claims_or_controls_of_a_run_have_one_name(document, monkeypatch, tmp_path):
    """Not those of two activations, nor those of T6.d and T6.K; and the console shows the mistake, though it is in
    brackets."""
    scale, along = suite.Scale(2, 16, 2, (8, 16), (9, 9)), {"samples": 20, "ladder": (50, 100, 200)}
    matrices = {
        "T6.d": suite.MatrixScale(1, 2, along="d", **along),
        "T6.K": suite.MatrixScale(2, 1, along="K", **along),
    }
    monkeypatch.setattr(suite, "QUICK", replace(suite.QUICK, scales={"F1": scale, **matrices}))
    monkeypatch.setattr(runs, "controls", lambda claim: [replace(claim, name=f"{claim.name} [twice]")])
    monkeypatch.setattr(runs, "differs", lambda *_: True)
    chosen = [word for name in ("F1", "T6.d", "T6.K") for word in ("--theorem", name)]
    paths = tmp_path / "results.db", tmp_path / "results.json"
    words = [*chosen, "--p", "2", "--q", "2", "--workers", "1", "--store", paths[0], "--json", paths[1]]
    shown = CliRunner().invoke(cli.main, ["check", *map(str, words)]).output
    for path in paths:
        found = read(path)
        assert sorted({claim.title for claim in found.claims}) == sorted(claim.title for claim in found.claims)
        names = [
            f"F1 [twice] {net} {of}" for of in ("relu", "leaky_relu") for net in ("vanilla", suite.GROWING, "residual")
        ]
        names += [f"T6.{size} [twice] matrix p=2 q=2" for size in "dK"]
        assert sorted(found.missed) == sorted(names)
        for text in (shown, junit(found), markdown(found).replace("\\", "")):
            assert sorted(re.findall("negative control not refuted: ([^<\n]*)", text)) == sorted(names)


@pytest.mark.parametrize("brief", [False, True])
def test_the_command_of_a_claim_repeats_its_numbers(brief, monkeypatch, tmp_path):
    """Alone, and not among the claims of the run; the networks of --quick are its own, and none is named."""
    small = replace(suite.QUICK, scales={"F1": suite.Scale(2, 16, 2, (8, 16), (40, 40))})
    monkeypatch.setattr(suite, "QUICK", small)
    cases = suite.cases(["F1"], profile=small, at={"sigma_b": 0.5}, brief=brief)
    command = "advmf check --theorem F1 --at sigma_b=0.5 --seed 7 --networks 50 --json=old.json" + " --quick" * brief
    whole = of_outcomes(list(run(cases, seed=7, nets=50, device="cpu", sampler="auto")), 7, command, True)
    claim = whole.claims[0 if brief else 2]
    words = reproduction(command, claim).split()
    assert words[0] == "advmf" and ("--net" in words) is not brief
    CliRunner().invoke(cli.main, [*words[1:], "--json", str(tmp_path / "new.json")])
    (again,) = read(tmp_path / "new.json").claims
    assert (again.title, again.report.findings[0].rungs) == (claim.title, claim.report.findings[0].rungs)


@pytest.mark.parametrize("command", ["", "python suite.py", "advmf check 'unclosed"])
def test_no_command_is_made_up(command):
    assert reproduction(command) == ""


def test_the_ending_says_what_is_written(files, document, tmp_path):
    outputs = [tmp_path / f"out{ending}" for ending in (".html", ".md", ".xml", ".json")]
    result = advmf(files / "results.db", *(word for path in outputs for word in ("-o", path)))
    assert (result.exit_code, result.output) == (0, "")
    page, text, xml, record = (path.read_text() for path in outputs)
    assert page.startswith("<!DOCTYPE html>") and text == markdown(document) and xml == junit(document)
    assert json.loads(record) == json.loads(json.dumps(document.to_dict()))
    assert advmf(outputs[3], "--markdown").output == text


def test_the_store_of_this_folder_is_found(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "this folder has none" in advmf("out.html").output
    content = (files / "results.db").read_bytes()
    tmp_path.joinpath("results.db").write_bytes(content)
    assert advmf("out.html").exit_code == 0
    assert tmp_path.joinpath("out.html").exists()
    tmp_path.joinpath("second.db").write_bytes(content)
    assert "this folder has results.db, second.db" in advmf("out.html").output


def foreign(path):
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE t (x)")


def changed(change):
    def make(path, record):
        change(record)
        path.write_text(json.dumps(record))

    return make


MADE = {
    "no file": lambda path, record: None,
    "folder": lambda path, record: path.mkdir(),
    "text": lambda path, record: path.write_text("hello"),
    "binary": lambda path, record: path.write_bytes(bytes(range(256))),
    "list": lambda path, record: path.write_text("[1, 2]"),
    "other JSON": lambda path, record: path.write_text('{"version": "1", "results": []}'),
    "other database": lambda path, record: foreign(path),
    "no number": changed(lambda record: record["results"][0]["findings"][0].update(p_value="<b>")),
    "no verdict": changed(lambda record: record["results"][0]["findings"][0].update(verdict="FINE")),
    "no findings": changed(lambda record: record["results"][0].update(findings=[])),
    "no text": changed(lambda record: record["results"][0]["statement"].update(latex=3)),
}


@pytest.mark.parametrize("made", MADE)
def test_what_is_no_results_file_is_refused_in_a_line(made, files, tmp_path):
    path = tmp_path / "in"
    MADE[made](path, json.loads((files / "results.json").read_text()))
    result = advmf(path, "-o", tmp_path / "out.html")
    assert result.exit_code == 2
    assert "Error:" in result.output and str(path) in result.output.replace("\n", "")
    assert not tmp_path.joinpath("out.html").exists()
    if made != "folder":
        with pytest.raises(StoreError):
            read(path)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("results.json",), "Say what to write"),
        (("results.json", "-o", "out.pdf"), "must end in one of .html, .md, .xml, .json; got 'out.pdf'"),
        (("results.json", "-o", "no/such/out.html"), "no folder 'no/such'"),
        (("results.json", "-o", "results.json"), "also what is read"),
    ],
)
def test_bad_requests_are_refused_before_any_work(args, message, files, monkeypatch):
    monkeypatch.chdir(files)
    monkeypatch.setattr("advmf.report.document.read", lambda path: pytest.fail("work had started"))
    result = advmf(*args)
    assert result.exit_code == 2 and message in result.output


def test_the_summary_of_a_github_job(monkeypatch, tmp_path):
    monkeypatch.setattr(
        suite, "QUICK", replace(suite.QUICK, scales={**suite.QUICK.scales, "beta": suite.MatrixScale(20, 3, 40)})
    )
    path = tmp_path / "summary.md"
    path.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    check = ["check", "--theorem", "beta", "--p", "2", "--q", "2", "--workers", "1"]
    CliRunner().invoke(cli.main, check)
    assert path.read_text().startswith("before\n### advmf: 1 UNDERPOWERED".replace("_", r"\_"))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    result = CliRunner().invoke(cli.main, check)
    assert "$GITHUB_STEP_SUMMARY cannot be written" in result.output and "beta" in result.output
