"""Claims as tests: pytest collects what ``check_*.py`` files check. Every pytest of the environment loads this file. So
nothing heavy is imported before there is something to collect.

In a ``check_*.py`` file, these are tests:

* a pair of a claim and a point, ``name = claim, {"L": 8, ...}``;
* a claim alone, ``name = claim``, where the file has a point for all of them, ``at = {"L": 8, ...}``;
* lists, tuples and dictionaries of these, ``name[0]``, ``name[1]``, …;
* a Report, ``name = mf.check(...)``;
* a function ``check_*`` that the file defines, with fixtures and parameters as any test, that returns a Report or
  several;
* a method ``check_*`` of a class ``Check*`` or ``Test*``.

A name that begins with ``control`` holds negative controls, in any of these forms: wrong claims, whose tests pass where
the claims are REFUTED, and fail otherwise.

A name that looks like a check, but is none of these, is an error. ``options = {"nets": 200, "seed": 1}`` in the file
goes to :func:`advmf.check` for claims.
"""

from __future__ import annotations

import ast
import functools
import inspect
import os
import re
import sys
import warnings
from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from advmf.verify.verdict import Report

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
    """A file ``check_*.py`` that was asked for, or that speaks of advmf: others may do anything when they
    are imported."""
    if not path.match("check_*.py"):
        return False
    return parent.session.isinitpath(path) or b"advmf" in path.read_bytes()


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, pytest.CollectReport]:
    """A check file that exits while it is imported is an error of that file, not the end of all."""
    try:
        return (yield)
    except SystemExit as end:
        if not collector.path.match("check_*.py"):
            raise
        words = f"{collector.path.name} calls sys.exit({end.code!r}) when it is imported; put that under if __name__ == '__main__'."
        return pytest.CollectReport(collector.nodeid, "failed", words, [])


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Collector, name: str, obj: object) -> Any:
    """Check functions that were imported are run where they are defined; classes Check* and Test* have
    check methods."""
    if not isinstance(collector, CheckModule | CheckClass):
        return None
    if name.startswith(("check_", "Check")) and callable(obj) and isinstance(collector, CheckModule):
        if name in collector.imported:
            return []
        if not (inspect.isroutine(obj) or inspect.isclass(obj) or isinstance(obj, functools.partial) or _is_aside(obj)):
            raise collector.CollectError(_unlike(collector, name, obj))
    if inspect.isclass(obj) and (name.startswith("Check") or collector.istestclass(obj, name)):
        if "unittest" in sys.modules and issubclass(obj, sys.modules["unittest"].TestCase):
            raise collector.CollectError(
                f"{collector.path.name}: {name}: a unittest.TestCase drops what its methods return; write a plain class."
            )
        return CheckClass.from_parent(collector, name=name, obj=obj)
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """The value that a test of a check file returns is judged, also that of a method. Coroutines are left to other
    plugins."""
    if pyfuncitem.getparent(CheckModule) is None or inspect.iscoroutinefunction(inspect.unwrap(pyfuncitem.obj)):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    fixtures = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames if name in names}
    result = pyfuncitem.obj(**fixtures)
    reports = _reports(result)
    if reports is not None:
        _judge(reports, pyfuncitem)
    elif pyfuncitem.originalname.startswith(("check_", "control_")):
        pytest.fail(f"A check returns a Report or several, such as advmf.check(...) does; got {result!r}.", False)
    elif result is not None:
        warnings.warn(pytest.PytestReturnNotNoneWarning(f"{pyfuncitem.nodeid} returned {result!r}."), stacklevel=1)
    return True


def _reports(result: Any) -> list[Report] | None:
    """The reports that a check returned: one report, or several in any container. None for anything else."""
    from advmf.verify.verdict import Report

    if isinstance(result, Report):
        return [result]
    if isinstance(result, str | bytes) or not isinstance(result, Iterable):
        return None
    found = list(_values(result))
    return found if found and all(isinstance(each, Report) for each in found) else None


class CheckClass(pytest.Class):
    """A class of checks: ``check_*`` methods are tests, as ``test_*`` are."""

    def funcnamefilter(self, name: str) -> bool:
        return name.startswith(("check_", "control_")) or super().funcnamefilter(name)

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        if self.obj.__init__ is not object.__init__ or self.obj.__new__ is not object.__new__:
            raise self.CollectError(
                f"{self.path.name}: {self.name} has a constructor, and pytest makes no such class; use fixtures."
            )
        return super().collect()


class CheckModule(pytest.Module):
    """A ``check_*.py`` file."""

    def funcnamefilter(self, name: str) -> bool:
        return name.startswith(("check_", "control_")) or super().funcnamefilter(name)

    @functools.cached_property
    def imported(self) -> set[str]:
        """The names that the file imports from others."""
        found = set[str]()
        for node in ast.walk(ast.parse(self.path.read_bytes())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                found |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        if "*" in found:
            found |= {
                name
                for name, value in vars(self.obj).items()
                if getattr(value, "__module__", None) != self.obj.__name__
            }
        return found

    def collect(self) -> list[pytest.Item | pytest.Collector]:
        items = list(super().collect())
        run = {item.originalname for item in items if isinstance(item, pytest.Function)} | {item.name for item in items}
        claims = self._claims(bool(items))
        run |= {item.name.partition("[")[0] for item in claims}
        for name, value in vars(self.obj).items():
            if name.startswith("check_") and name not in run | self.imported and not _is_aside(value):
                raise self.CollectError(_unlike(self, name, value))
        return [*items, *claims]

    def _claims(self, others: bool) -> list[pytest.Item]:
        """The claims, pairs and reports of the file; raises CollectError for what belongs to none of these."""
        from advmf.claim import Claim
        from advmf.verify.verdict import Report

        found: list[pytest.Item] = []
        alone: dict[str, Any] = {}
        options = getattr(self.obj, "options", {})

        def claim(name: str, of: Any, at: Any) -> None:
            found.append(ClaimItem.from_parent(self, name=name, claim=of, at=at, options=options))

        def look(name: str, value: Any) -> None:
            match value:
                case Report():
                    found.append(ReportItem.from_parent(self, name=name, report=value))
                case Claim() if hasattr(self.obj, "at"):
                    claim(name, value, self.obj.at)
                case Claim():
                    alone[name] = value
                case (Claim(), Mapping()):
                    claim(name, *value)
                case Mapping() if _holds(value.values(), Claim, Report):
                    for key, each in value.items():
                        look(f"{name}[{key}]", each)
                case list() | tuple() | set() | frozenset() if _holds(value, Claim, Report):
                    for i, each in enumerate(value):
                        look(f"{name}[{i}]", each)
                case _ if "[" in name:
                    raise self.CollectError(
                        f"{self.path.name}: {name} is no claim, and stands among claims: {value!r}. A pair is a claim and a point, dict(L=..., ...)."
                    )

        for name, value in vars(self.obj).items():
            if not name.startswith("__"):  # Python's own, such as all of its builtins
                look(name, value)
        used = [id(item.claim) for item in found if isinstance(item, ClaimItem)]
        alone = {name: value for name, value in alone.items() if id(value) not in used}
        if alone and not others:
            first = next(iter(alone))
            raise self.CollectError(
                f"{self.path.name}: {', '.join(alone)}: a claim is checked at a point. Write {first} = claim, dict(L=..., ...), or give the "
                "file a point for all its claims, at = dict(L=..., ...)."
            )
        return found


def _holds(values: Iterable[Any], *kinds: type, within: frozenset[int] = frozenset()) -> bool:
    """Whether there is a claim or a report among some values, at any depth. A container that holds itself is looked
    into once."""
    return any(
        isinstance(value, kinds)
        or (
            _is_plain(value) and id(value) not in within and _holds(_values(value), *kinds, within=within | {id(value)})
        )
        for value in values
    )


def _values(container: Any) -> Iterable[Any]:
    return container.values() if isinstance(container, Mapping) else container


def _is_plain(value: Any) -> bool:
    return isinstance(value, list | tuple | set | frozenset | dict)


def _unlike(collector: pytest.Collector, name: str, value: object) -> str:
    return f"{collector.path.name}: {name} looks like a check and is none: it is {value!r}. Make it a function."


def _is_aside(value: Any) -> bool:
    """Whether a value is meant as something else than a check, though its name begins like one: a fixture, a module, a
    class."""
    return (
        type(value).__name__ == "FixtureFunctionDefinition"
        or hasattr(value, "_pytestfixturefunction")
        or inspect.ismodule(value)
    )


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


class ReportItem(pytest.Item):
    """A report that the file made when it was imported."""

    def __init__(self, *, report: Report, **own: Any) -> None:
        super().__init__(**own)
        self.report = report

    def runtest(self) -> None:
        _judge([self.report], self)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.name


def _judge(reports: Iterable[Report], item: pytest.Item) -> None:
    """Fail for what is REFUTED, skip for what is UNDERPOWERED, and keep the numbers for the reports of pytest. Negative
    controls fail unless all are REFUTED."""
    from advmf.verify.verdict import Verdict

    reports = list(reports)
    numbers = "\n".join(map(str, reports))
    item.user_properties.append((_PROPERTY, numbers))
    if _is_control(item):
        if standing := [report for report in reports if report.verdict is not Verdict.REFUTED]:
            told = "\n".join(f"{report}\n  at {_point(report)}, seed {report.seed}" for report in standing)
            pytest.fail(f"a negative control was not refuted:\n{told}", pytrace=False)
        item.add_report_section("call", "advmf", numbers)
        return
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


def _is_control(item: pytest.Item) -> bool:
    """Whether an item's name says that it holds negative controls."""
    return str(getattr(item, "originalname", item.name)).startswith("control")


def _point(report: Report) -> str:
    return ", ".join(f"{name}={value:g}" for name, value in report.at.items())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was UNDERPOWERED, as skipped tests are not listed otherwise; and the summary of a GitHub job."""
    skipped = terminalreporter.getreports("skipped")
    told = (pair for report in skipped for pair in getattr(report, "user_properties", ()))  # skipped files have none
    lines = [value for name, value in told if name == _PROPERTY]
    _summarise(terminalreporter)
    if lines:
        terminalreporter.section("UNDERPOWERED checks: the numbers could not have told (--advmf-strict fails them)")
        for line in lines:
            terminalreporter.line(line)


def _markdown(rows: Sequence[tuple[str, str, str]]) -> str:
    """The outcomes of checks, their names and numbers, in Markdown."""
    counts = Counter(outcome for _, outcome, _ in rows)
    told = ", ".join(f"{n} {'check' if n == 1 else 'checks'} {outcome}" for outcome, n in counts.items())
    text = "\n".join(f"{outcome}: {name}\n{numbers}" for name, outcome, numbers in rows)
    fence = "`" * max([3, *(len(ticks) + 1 for ticks in re.findall("`+", text))])
    return f"### advmf: {told}\n\n{fence}text\n{text}\n{fence}\n\n"


def _summarise(terminalreporter: pytest.TerminalReporter) -> None:
    """Append the checks to the job summary if this runs as a GitHub job."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    rows = [
        (report.nodeid, outcome, dict(report.user_properties)[_PROPERTY])
        for outcome in ("passed", "failed", "skipped")
        for report in terminalreporter.getreports(outcome)
        if _PROPERTY in dict(getattr(report, "user_properties", ())) and report.when == "call"
    ]
    if not path or not rows:
        return
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(_markdown(rows))
    except OSError as error:
        terminalreporter.line(f"$GITHUB_STEP_SUMMARY cannot be written: {error}")
