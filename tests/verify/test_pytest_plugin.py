"""Checks as tests of somebody else's project."""

from importlib.metadata import entry_points
from pathlib import Path

import pytest

import advmf as mf
from advmf.verify import pytest_plugin

mf.check(mf.norm_factor(2, 2), at={"d": 30, "K": 5}, samples=40)  # imports here what the tests below import

HEAD = """
import pytest
import advmf as mf
from advmf.verify.verdict import Finding, Report, Verdict
from advmf.verify.statistics import Rung

def report(verdict, ratio=1.0):
    rungs = (Rung(64, 100, ratio, 0.01), Rung(128, 100, ratio, 0.01))
    finding = Finding("E x", Verdict(verdict), ratio, 0.01, 1.0, ratio - 1, 0.04, rungs, "because")
    return Report("MINE", "residual", "2", "2", (finding,), {"L": 3, "d": 64}, 5, 0.1)
"""


@pytest.fixture
def checks(pytester):
    """Run pytest on files of the given text, with the plugin as its entry point loads it."""
    loaded = [] if entry_points(group="pytest11", name="advmf") else ["-p", pytest_plugin.__name__]

    def run(*args, ini="", **files):
        pytester.makefile(".ini", pytest=f"[pytest]\n{ini}\n")
        pytester.makepyfile(**{name: HEAD + text for name, text in files.items()})
        return pytester.runpytest_inprocess(*loaded, "-p", "no:cacheprovider", "-p", "no:randomly", *args)

    return run


def test_claims_and_functions_are_tests_with_the_numbers_in_what_fails(checks):
    result = checks(
        check_mine="""
        def check_good(): return report("SUPPORTED")
        def check_bound(): return [report("NOT_REFUTED", 0.9), report("NOT_REFUTED", 0.8)]
        def check_bad(): return [report("SUPPORTED"), report("REFUTED", 1.5)]
        """.replace("\n        ", "\n")
    )
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*check_bad*",
            "MINE residual p=2 q=2: REFUTED*",
            "  E x: 1.5 ± 0.01, predicted 1, ratio 1.500: REFUTED (because)",
            "  at L=3, d=64, seed 5",
        ]
    )
    assert result.ret == 1
    assert "Traceback" not in result.stdout.str() and "SUPPORTED: SUPPORTED" not in result.stdout.str()


CLAIMS = """
beta = mf.norm_factor(2, 2)
at = dict(d=30, K=5)
options = dict(samples=4000)
wrong = beta.scaled("1/2")
elsewhere = mf.norm_factor(1, "inf"), dict(d=20, K=4)
"""


def test_claims_are_checked_at_their_point(checks):
    result = checks("-v", check_claims=CLAIMS)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "check_claims.py::beta PASSED*",
            "check_claims.py::wrong FAILED*",
            "check_claims.py::elsewhere PASSED*",
            "*x 1/2 matrix p=2 q=2: REFUTED*",
            "*ratio 1.9*",
            "  at d=30, K=5, seed 0",
        ]
    )


def test_a_claim_without_a_point_is_not_passed_over(checks):
    result = checks(check_alone="bound = mf.norm_factor(2, 2)")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*check_alone.py: bound: a claim is checked at a point*"])
    helper = "bound = mf.norm_factor(2, 2)\ndef check_it(): return mf.check(bound, dict(d=30, K=5), samples=2000)"
    checks("check_helper.py", check_helper=helper).assert_outcomes(passed=1)


def test_a_point_that_does_not_do_is_told_in_a_line(checks):
    result = checks(check_point="bound = mf.loss_bound(mf.vanilla(u=1, v=0), 2, 2), dict(L=2, d=16)")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["T2 cannot be checked: at lacks K, eps*"])
    assert "Error" not in result.stdout.str()


def test_underpowered_is_skipped_and_told_and_fails_when_strict(checks):
    text = "def check_weak(): return report('UNDERPOWERED')\ndef check_good(): return report('SUPPORTED')"
    result = checks(check_weak=text, test_skipped="pytest.skip('not here', allow_module_level=True)")
    result.assert_outcomes(passed=1, skipped=2)
    result.stdout.fnmatch_lines(["*UNDERPOWERED checks*", "MINE residual p=2 q=2: UNDERPOWERED*"])
    assert result.ret == 0
    strict = checks("--advmf-strict", "check_weak.py", check_weak=text)
    strict.assert_outcomes(passed=1, failed=1)
    assert strict.ret == 1


@pytest.mark.parametrize(
    ("ini", "args"),
    [
        ("", ("check_once.py",)),
        ("python_files = test_*.py check_*.py", ("--doctest-modules",)),
        ("python_functions = test_* check_*", ()),
    ],
)
def test_nothing_is_collected_twice(ini, args, checks):
    text = "def check_one(): return report('SUPPORTED')\ndef test_two(): pass\nthree = mf.norm_factor(2, 2), dict(d=9, K=2)"
    result = checks("--collect-only", "-q", *args, ini=ini, check_once=text)
    lines = [line for line in result.outlines if "::" in line]
    assert sorted(lines) == ["check_once.py::check_one", "check_once.py::test_two", "check_once.py::three"]


def test_fixtures_parameters_and_marks_are_pytests(checks):
    text = """
@pytest.fixture
def level(): return 0.9

@pytest.mark.parametrize("p", [1, 2])
def check_each(p, level): return report("NOT_REFUTED", level)

@pytest.mark.skip(reason="later")
def check_later(): return report("REFUTED")

def check_nothing(): return None

class Helper: pass
"""
    result = checks(check_them=text)
    result.assert_outcomes(passed=2, skipped=1, failed=1)
    result.stdout.fnmatch_lines(["*A check returns a Report or several*got None."])


def names(result):
    return [line.partition("::")[2] for line in result.outlines if "::" in line and not line.startswith("ERROR")]


def test_only_what_a_file_defines_is_collected(checks):
    text = """
from advmf import check, check_all
from advmf.verify.sources.simulation import check_all as check_everything
from common import *
from common import check_shared as check_theirs, CheckBase
def check_own(): return report("SUPPORTED")
"""
    common = "def check_shared(): return report('REFUTED')\nclass CheckBase:\n    def check_it(self): return report('REFUTED')"
    result = checks("check_mine.py", check_mine=text, common=common)
    result.assert_outcomes(passed=1)
    inherited = "from common import CheckBase\nclass CheckMine(CheckBase): pass"
    checks("check_mine.py", check_mine=inherited, common=common).assert_outcomes(failed=1)


@pytest.mark.parametrize("name", ["CheckAll", "TestAll"])
def test_methods_are_judged_as_functions_are(name, checks):
    text = f"""
class {name}:
    def check_bad(self): return report("REFUTED", 1.5)
    def check_good(self, request): return (report("SUPPORTED") for _ in range(2))
    @pytest.mark.parametrize("i", [0, 1])
    def check_weak(self, i): return {{i: report("UNDERPOWERED")}}
    def test_bad(self): return report("REFUTED")
    def test_plain(self): pass
    @staticmethod
    def check_static(): return [report("SUPPORTED")]
    def check_nothing(self): return []
    def helper(self): return report("REFUTED")
    class TestInner:
        def check_inner(self): return report("REFUTED")
"""
    checks(check_mine=text).assert_outcomes(passed=3, failed=4, skipped=2)


MANY = """
wrong, right = mf.norm_factor(2, 2).scaled("1/2"), mf.norm_factor(2, 2)
point = dict(d=30, K=5)
options = dict(samples=1000)
listed = [(wrong, point), (right, point)]
named = {"a": (right, point), "b": [(wrong, point)]}
ready = report("REFUTED")
readies = report("SUPPORTED"), report("REFUTED")
"""


def test_claims_in_containers_and_reports_are_tests(checks):
    result = checks("-v", check_many=MANY)
    result.assert_outcomes(passed=3, failed=4)
    shown = result.stdout.str()
    assert all(
        name in shown
        for name in (
            "listed[0] FAILED",
            "listed[1] PASSED",
            "named[a] PASSED",
            "named[b][0] FAILED",
            "readies[1] FAILED",
        )
    )
    with_a_point = "at = dict(d=30, K=5)\noptions = dict(samples=1000)\nboth = [mf.norm_factor(2, 2), mf.norm_factor(2, 2).scaled(3)]"
    checks("check_two.py", check_two=with_a_point).assert_outcomes(passed=1, failed=1)
    endless = "endless = []\nendless.append({'again': endless})\npair = mf.norm_factor(2, 2), dict(d=30, K=5)\noptions = dict(samples=1000)"
    checks("check_loop.py", check_loop=endless).assert_outcomes(passed=1)


UNRUN = [
    ("bounds = [mf.norm_factor(2, 2)]", "a claim is checked at a point"),
    (
        "pair = mf.norm_factor(2, 2), dict(d=9, K=2)\nalone = mf.norm_factor(1, 2)",
        "alone: a claim is checked at a point",
    ),
    ("pair = mf.norm_factor(2, 2), 3", "is no claim, and stands among claims: 3"),
    ("triple = mf.norm_factor(2, 2), dict(d=9, K=2), dict(samples=3)", "triple"),
    (
        "class Callable:\n    def __call__(self): return report('REFUTED')\ncheck_it = Callable()",
        "check_it looks like a check",
    ),
    ("check_it = 3", "check_it looks like a check"),
    ("class CheckMine:\n    def __init__(self): pass\n    def check_it(self): pass", "CheckMine has a constructor"),
    (
        "import unittest\nclass TestMine(unittest.TestCase):\n    def test_it(self): return report('REFUTED')",
        "write a plain class",
    ),
    ("raise SystemExit", "calls sys.exit(None)"),
    ("import sys; sys.exit(0)", "calls sys.exit(0)"),
    ("import argparse; argparse.ArgumentParser().parse_args(['--no'])", "calls sys.exit(2)"),
]


@pytest.mark.parametrize("args", [(), ("--doctest-modules",)])
def test_what_looks_like_a_check_and_is_not_run_is_an_error(args, checks):
    """And an error of that file alone."""
    files = {f"check_{i}": text for i, (text, _) in enumerate(UNRUN)}
    result = checks(
        *args, "--continue-on-collection-errors", **files, check_other="def check_ok(): return report('SUPPORTED')"
    )
    sections = "\n".join(result.outlines).split("ERROR collecting ")
    for i, (_, message) in enumerate(UNRUN):
        assert any(section.startswith(f"check_{i}.py") and message in section for section in sections), (i, message)
    assert result.parseoutcomes()["errors"] >= len(UNRUN) and result.parseoutcomes()["passed"] >= 1


def test_a_fixture_may_be_called_as_a_check_is(checks):
    text = "@pytest.fixture\ndef check_tool(): return report\ndef check_it(check_tool): return check_tool('SUPPORTED')"
    checks(check_mine=text).assert_outcomes(passed=1)


def test_files_of_others_are_left_alone(checks, pytester):
    """Unless they are asked for: to import a stranger's script may do anything."""
    pytester.path.joinpath("check_disk.py").write_text("raise SystemExit('formatted')\n")
    checks(test_own="def test_x(): pass").assert_outcomes(passed=1)


def test_the_example_of_the_docs_runs(checks):
    text = Path(mf.__file__).parents[1].joinpath("docs", "reports.md").read_text()
    example = text.partition("## Checks as tests")[2].partition("```python\n")[2].partition("```")[0]
    result = checks("-k", "bound or controls", "-v", check_doc=example)
    result.assert_outcomes(passed=2, deselected=2)


def test_negative_controls_pass_where_they_are_refuted(checks):
    result = checks(
        check_mine="""
        bound = report("SUPPORTED")
        controls = [report("REFUTED", 2.0), report("SUPPORTED")]
        control_alone = report("UNDERPOWERED")
        def control_twice(): return [report("REFUTED", 2.0), report("REFUTED", 3.0)]
        """.replace("\n        ", "\n")
    )
    result.assert_outcomes(passed=3, failed=2)
    result.stdout.fnmatch_lines(["*negative control was not refuted:*", "*FAILED*controls[[]1]*"])


def test_the_job_summary_has_every_check(checks, monkeypatch, tmp_path):
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    checks(check_mine='good = report("SUPPORTED")\nbad = report("REFUTED", 1.5)\nopen_ = report("UNDERPOWERED")\n')
    text = summary.read_text()
    assert text.startswith("before\n### advmf: 1 check passed, 1 check failed, 1 check skipped")
    assert all(name in text for name in ("good", "bad", "open_")) and "ratio 1.500" in text
    summary.unlink()
    checks("test_other.py", test_other="def test_nothing(): pass\n")
    assert not summary.exists()
