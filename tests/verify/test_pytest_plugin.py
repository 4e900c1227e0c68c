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
from advmf.verify.report import Finding, Report, Verdict
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


def test_files_of_others_are_left_alone(checks, pytester):
    """Unless they are asked for: to import a stranger's script may do anything."""
    pytester.path.joinpath("check_disk.py").write_text("raise SystemExit('formatted')\n")
    checks(test_own="def test_x(): pass").assert_outcomes(passed=1)


def test_the_example_of_the_docs_runs(checks):
    text = Path(mf.__file__).parents[1].joinpath("docs", "reports.md").read_text()
    example = text.partition("```python\n")[2].partition("```")[0]
    result = checks("-k", "bound", "-v", check_doc=example)
    result.assert_outcomes(passed=1, deselected=2)
