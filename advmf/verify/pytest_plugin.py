"""Claims as tests: pytest collects what ``check_*.py`` files check. Loaded with every pytest of an environment, so that nothing heavy is imported
before there is something to collect.

In a ``check_*.py`` file, these are tests:

* a pair of a claim and a point, ``name = claim, {"L": 8, ...}``;
* a claim alone, ``name = claim``, where the file has a point for all of them, ``at = {"L": 8, ...}``;
* a function ``check_*``, with fixtures and parameters as any test, that returns a Report or several.

``options = {"nets": 200, "seed": 1}`` in the file goes to :func:`advmf.check` for the first two.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from advmf.verify.report import Report

_PROPERTY = "advmf"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("advmf", "theorems against simulation").addoption(
        "--advmf-strict",
        action="store_true",
        help="Fail checks that are UNDERPOWERED: the numbers could not have told. They are skipped otherwise.",
    )


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> Generator[None, Any, list[pytest.Collector]]:
    """A check file that no pattern of ``python_files`` has collected."""
    found = yield
    if _is_check(file_path, parent) and not any(isinstance(each, CheckModule) for each in found):
        found.append(CheckModule.from_parent(parent, path=file_path))
    return found


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> CheckModule | None:
    """A check file that was named on the command line, or that ``python_files`` has collected."""
    return CheckModule.from_parent(parent, path=module_path) if _is_check(module_path, parent) else None


def _is_check(path: Path, parent: pytest.Collector) -> bool:
    """A file ``check_*.py`` that was asked for, or that speaks of advmf: others may do anything when they are imported."""
    if not path.match("check_*.py"):
        return False
    return parent.session.isinitpath(path) or b"advmf" in path.read_bytes()


class CheckModule(pytest.Module):
    """A ``check_*.py`` file."""

    def funcnamefilter(self, name: str) -> bool:
        return name.startswith("check_") or super().funcnamefilter(name)

    def collect(self) -> list[pytest.Item | pytest.Collector]:
        items = list(super().collect())
        for item in items:
            if isinstance(item, pytest.Function):
                item.obj = _judging(item.obj, item)
        return [*items, *self._claims(bool(items))]

    def _claims(self, functions: bool) -> list[pytest.Item]:
        from advmf.claim import Claim

        found: list[pytest.Item] = []
        alone = []
        for name, value in vars(self.obj).items():
            match value:
                case Claim() if hasattr(self.obj, "at"):
                    pair = value, self.obj.at
                case (Claim(), Mapping()):
                    pair = value
                case Claim():
                    alone.append(name)
                    continue
                case _:
                    continue
            options = getattr(self.obj, "options", {})
            found.append(ClaimItem.from_parent(self, name=name, claim=pair[0], at=pair[1], options=options))
        if alone and not found and not functions:
            raise self.CollectError(
                f"{self.path.name}: {', '.join(alone)}: a claim is checked at a point. Write {alone[0]} = claim, dict(L=..., ...), or give the "
                "file a point for all its claims, at = dict(L=..., ...)."
            )
        return found


class ClaimItem(pytest.Item):
    """A claim, checked at a point."""

    def __init__(self, *, claim: Any, at: Mapping[str, Any], options: Mapping[str, Any], **own: Any) -> None:
        super().__init__(**own)
        self.claim, self.at, self.options = claim, at, options

    def runtest(self) -> None:
        from advmf.errors import AdvmfError
        from advmf.verify.single import check

        try:
            report = check(self.claim, self.at, **self.options)
        except AdvmfError as error:
            pytest.fail(f"{self.claim.name} cannot be checked: {error}", pytrace=False)
        _judge([report], self)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.name


def _judging(function: Any, item: pytest.Function) -> Any:
    """The function as a test: what it returns is judged. Others than reports are pytest's to complain of."""
    if inspect.iscoroutinefunction(function):
        return function

    @functools.wraps(function)
    def judged(*args: Any, **kwargs: Any) -> Any:
        from advmf.verify.report import Report

        result = function(*args, **kwargs)
        if isinstance(result, Report):
            return _judge([result], item)
        if isinstance(result, list | tuple) and result and all(isinstance(each, Report) for each in result):
            return _judge(result, item)
        if item.originalname.startswith("check_"):
            pytest.fail(f"A check returns a Report or several, such as advmf.check(...) does; got {result!r}.", False)
        return result

    return judged


def _judge(reports: Iterable[Report], item: pytest.Item) -> None:
    """Fail for what is REFUTED, skip for what is UNDERPOWERED, and keep the numbers for the reports of pytest."""
    from advmf.verify.report import Verdict

    reports = list(reports)
    numbers = "\n".join(map(str, reports))
    item.user_properties.append((_PROPERTY, numbers))
    verdict = Verdict.worst([report.verdict for report in reports])
    shown = "\n".join(
        f"{report}\n  at {_point(report)}, seed {report.seed}" for report in reports if report.verdict is verdict
    )
    if verdict is Verdict.REFUTED:
        pytest.fail(shown, pytrace=False)
    if verdict is Verdict.UNDERPOWERED:
        if item.config.getoption("--advmf-strict"):
            pytest.fail(shown, pytrace=False)
        pytest.skip(shown)
    item.add_report_section("call", "advmf", numbers)  # which -rP and -rA show


def _point(report: Report) -> str:
    return ", ".join(f"{name}={value:g}" for name, value in report.at.items())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was UNDERPOWERED: skipped tests are not listed otherwise."""
    skipped = terminalreporter.getreports("skipped")
    told = (pair for report in skipped for pair in getattr(report, "user_properties", ()))  # skipped files have none
    lines = [value for name, value in told if name == _PROPERTY]
    if lines:
        terminalreporter.section("UNDERPOWERED checks: the numbers could not have told (--advmf-strict fails them)")
        for line in lines:
            terminalreporter.line(line)
