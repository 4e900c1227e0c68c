"""Every code block of every page runs, in order and in one scope for each page, and prints what the page shows.

Printed numbers are compared to the digits that the page shows; where an estimate stands with its standard error, the
two are of independent networks on other processors, and may differ by five of them (a false alarm in two million
comparisons). Times are not compared.
"""

import contextlib
import io
import itertools
import math
import re
import runpy
import shlex
import subprocess
import sys
import types
from pathlib import Path

import pytest
from click.testing import CliRunner
from markdown_it import MarkdownIt

from advmf import __version__, cli
from advmf.theorems import SHIPPED, THEOREMS
from advmf.verify import suite
from advmf.verify.catalogue import CHECKED, choose
from advmf.verify.runs import run

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*|\{[\w-]+\}[^\n]*)\n(.*?)^```\n(\s*)", re.DOTALL | re.MULTILINE)
"""A block with its language; in braces stands a directive of the site, such as a cell that its build executes."""
NUMBER = re.compile(r"(?<![\w.])[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.]\d)")
ESTIMATE = re.compile(
    rf"({NUMBER.pattern}) ± ({NUMBER.pattern})(, predicted {NUMBER.pattern})?(?:, ratio ({NUMBER.pattern}))?"
)
SIGMAS = 5


def blocks(page):
    """The language and the text of each block, and for an output whether code stands right before it, with nothing but
    space between."""
    found, end, before = [], -1, ""
    text = page.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        language, body, _ = match.groups()
        attached = before == "python" and not text[end : match.start()].strip()
        found.append((language or "text", body, attached))
        end, before = match.end(), language
    return found


def digits(text):
    """One unit in the last digit that is shown, or of 12 digits."""
    mantissa, _, power = text.lower().partition("e")
    unit = 10.0 ** (int(power or 0) - len(mantissa.partition(".")[2]))
    return max(unit if "." in mantissa else 0.0, 1e-12 * abs(float(text)))


def same_line(shown, printed):
    """Whether a printed line is the shown one, up to what another processor may change."""
    for ours, theirs in zip(ESTIMATE.finditer(shown), ESTIMATE.finditer(printed)):
        (mean, error, ratio), (other, own, quotient) = ([m[i] for i in (1, 2, 4)] for m in (ours, theirs))
        slack = SIGMAS * math.hypot(float(error), float(own)) + digits(mean)
        if abs(float(mean) - float(other)) > slack:
            return False
        if ratio and not abs(float(ratio) - float(quotient)) <= slack * abs(float(ratio) / float(mean)) + digits(ratio):
            return False
    hidden = [
        ESTIMATE.sub(lambda m: f"ESTIMATE{m[3] or ''}", re.sub(r"within [\d.e-]+ %|\(\d+\.\d s\)", "(VARIES)", x))
        for x in (shown, printed)
    ]
    if NUMBER.sub("#", hidden[0]) != NUMBER.sub("#", hidden[1]):
        return False
    numbers = zip(*(NUMBER.findall(text) for text in hidden))
    return all(abs(float(a) - float(b)) <= digits(a) for a, b in numbers)


def same(shown, printed):
    left, right = (text.strip().splitlines() for text in (shown, printed))
    return len(left) == len(right) and all(map(same_line, left, right))


@pytest.fixture
def at_work(tmp_path, monkeypatch):
    """A folder with what the pages take from earlier commands, and stand-ins for what takes a cluster."""
    monkeypatch.chdir(tmp_path)
    tiny = {"F1": suite.Scale(L=2, d=16, K=2, widths=(8, 16), nets=(9, 9))}
    profile = suite.Profile("tiny", "digits", tiny)
    options = {"nets": None, "data": None, "device": "cpu", "sampler": "auto", "memory": 2**32}
    list(
        run(suite.cases(["F1"], ["vanilla"], profile=profile), store="full.db", command="advmf check --full", **options)
    )

    class SLURMCluster:
        scheduler_address = "tcp://node1:8786"

        def __init__(self, **options):
            assert options["cores"] == options["processes"]

        def adapt(self, maximum_jobs):
            assert maximum_jobs >= 1

    monkeypatch.setitem(sys.modules, "dask_jobqueue", types.SimpleNamespace(SLURMCluster=SLURMCluster))
    others = subprocess.run  # a compiler is started by it, too

    def started(words, **options):
        return accepted(words[1:]) if words[0] == "advmf" else others(words, **options)

    monkeypatch.setattr("subprocess.run", started)


@pytest.mark.parametrize(
    "page", [p for p in PAGES if "```python" in p.read_text(encoding="utf-8")], ids=lambda p: p.stem
)
def test_the_code_of_a_page_runs_and_prints_what_stands_below_it(page, at_work):
    scope, lines = {"__name__": page.stem}, 0
    printed = None
    for number, (language, body, attached) in enumerate(blocks(page)):
        if language == "python":
            assert not (printed or "").strip(), (
                f"{page.name} does not show what the code before block {number} prints: {printed}"
            )
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(body, f"{page.name}, block {number}", "exec"), scope)
            printed = out.getvalue()
            lines += 0 if body.startswith("try:") else sum(bool(line.strip()) for line in body.splitlines())
        elif language == "text" and attached:
            assert same(body, printed), f"{page.name}, block {number} shows\n{body}\nand the code prints\n{printed}"
            printed = None
    assert not (printed or "").strip(), f"{page.name} does not show what its last code prints: {printed}"
    if page.stem == "new_bound":
        assert 10 < lines < 30 and f"in {lines} lines" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_no_line_of_a_paragraph_begins_a_list(page):
    """As a formula does that is broken before a plus, or a sentence that begins with "1." on a new line."""
    assert lists_within_paragraphs(page.read_text(encoding="utf-8")) == []


def test_a_formula_that_became_a_list_is_found():
    assert lists_within_paragraphs("text\n\nThe fit to a\n+ b/N is good.\n") == [4]
    assert lists_within_paragraphs("The fit to a + b/N\n\n+ a list\n") == []


def lists_within_paragraphs(text):
    """The lines at which a list begins in the middle of a paragraph, as no list of these pages does."""
    tokens = MarkdownIt().parse(text)
    starts = {token.map[0] for token in tokens if token.type in ("bullet_list_open", "ordered_list_open")}
    return sorted(token.map[1] + 1 for token in tokens if token.type == "paragraph_open" and token.map[1] in starts)


def accepted(words):
    """Parse a command of advmf without running it, and look up the names that it chooses; usage errors are raised."""
    command = cli.main.get_command(None, words[0])
    assert command is not None, f"advmf has no command {words[0]}"
    given = command.make_context(words[0], list(words[1:])).params
    names = [*given.get("theorems", ()), *filter(None, [given.get("theorem")])]
    choose("theorem", [name for name in names if not name.endswith(".py")], THEOREMS, ())


def commands(page):
    """The commands of advmf in the shell blocks of a page."""
    for language, body, _ in blocks(page):
        for line in body.splitlines() if language == "sh" else ():
            for part in re.split(r"&&|\||>", line.partition("#")[0]):
                if (words := shlex.split(part))[:1] == ["advmf"] and len(words) > 1:
                    yield words[1:]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_the_commands_of_a_page_are_accepted(page):
    for words in commands(page):
        accepted(words)
        if words[0] in ("show", "list"):
            assert CliRunner().invoke(cli.main, words).exit_code == 0, words


LIMITED = " at N = oo"
"""What is added to the name of a theorem that was judged on networks of infinite width."""


def table(text):
    """The verdicts of printed tables: (title, first columns, head) to (numbers, sign)."""
    found, title, spans = {}, "", []
    for line in text.splitlines():
        if re.match(r"^[\w.]+: ", line):
            title, spans = line.partition(":")[0] + (LIMITED if "N = oo" in line else ""), []
        elif re.match(r"^ net\s", line):
            spans = [(m[0], m.start()) for m in re.finditer(r"\S+", line)]
        elif spans and line.startswith(" "):
            cut = [start for _, start in spans] + [None]
            cells = [line[a:b].strip() for a, b in itertools.pairwise(cut)]
            first = 1 + (spans[1][0] == "activation")
            for (head, _), cell in list(zip(spans, cells))[first:-1]:  # the last column is the margin
                if cell:
                    sign, *numbers = cell.split()
                    found[title, *(*cells[:first], "")[:2], head] = (
                        [float(n) for each in numbers for n in each.split("/")],
                        sign,
                    )
    return found


SHOWN = table(next(body for _, body, _ in blocks(ROOT / "docs" / "results.md") if body.startswith("T1: ")))
CHEAP = [("1", "2"), ("inf", "inf")]
"""Pairs whose norms are found without a search."""


def verdicts_and_numbers(name, pairs):
    """A fresh run of cases of the default suite, as the results page shows them, with the numbers' standard errors."""
    suited = suite.cases([name], pairs=pairs)
    options = {"nets": None, "data": None, "device": "cpu", "sampler": "auto", "memory": 2**32}
    for outcome in run(suited, **options):
        for report in outcome.reports:
            title = outcome.case.theorem if report.theorem == "T6" or not report.p else report.theorem
            title += LIMITED if report.given else ""
            head = f"{report.p},{report.q}" if report.p else report.theorem
            yield (title, report.net, outcome.case.activation, head), report


def compared(name, pairs=()):
    """How many verdicts the results page shows as a fresh run has them; raises for one that differs beyond its standard
    error."""
    count = 0
    for where, report in verdicts_and_numbers(name, pairs):
        numbers, _ = SHOWN[where]
        assert report.verdict in ("SUPPORTED", "NOT_REFUTED"), (where, str(report))
        estimate = numbers[0] if numbers else None
        if estimate is not None and len(numbers) == 1:
            error = report.stderr / abs(report.predicted)
            assert abs(estimate - report.ratio) <= SIGMAS * math.sqrt(2) * error + 1e-3, (where, str(report))
        elif numbers:
            assert abs(estimate - report.estimate) <= SIGMAS * math.sqrt(2) * report.stderr + 1e-3, (where, str(report))
            assert numbers[1] == pytest.approx(report.predicted, abs=1e-3)
        count += 1
    return count


def test_the_table_of_results_has_every_claim_of_the_default_suite():
    expected = set()
    for case in suite.cases():
        for claim in case.claims:
            pair = f"{claim.p},{claim.q}".replace("oo", "inf") if claim.p is not None else ""
            title = case.theorem if claim.name.startswith("T6") or not pair else claim.name
            title += LIMITED if getattr(case.scale, "widths", ()) == "limit" else ""
            expected.add((title, case.name, case.activation, pair or claim.name))
    assert set(SHOWN) == expected
    assert {sign for _, sign in SHOWN.values()} == {"✓"}


def test_the_readme_shows_rows_of_the_results():
    """The short table of the README, row by row, and the totals."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| .* \| ([\d.]+)(?: of the bound)? \| (supported|stands) \| [\d.]+ % \|$", readme, re.MULTILINE
    )
    T2 = "T2" + LIMITED
    places = [("T1", "T1.J"), (T2, "inf,2"), ("T3", "inf,inf"), ("T5", "T5"), ("F1", "F1")]
    assert [([float(number)], "✓") for number, _ in rows] == [SHOWN[T, "residual", "relu", head] for T, head in places]
    assert [verdict for _, verdict in rows] == ["stands" if title == T2 else "supported" for title, _ in places]
    results = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    supported, stands, controls = map(
        int, re.search(r"(\d+) SUPPORTED, (\d+) NOT_REFUTED.* of (\d+)$", results, re.M).groups()
    )
    assert f"all {supported + stands} claims and {controls} wrong versions" in readme


@pytest.mark.parametrize("name", ["beta", "T6.K"])
def test_the_results_show_what_a_cheap_check_gives(name):
    assert compared(name, CHEAP) == len(CHEAP)


@pytest.mark.paper
@pytest.mark.parametrize("name", CHECKED)
def test_the_results_show_what_a_check_gives(name):
    assert compared(name) == sum(where[0].startswith(name) for where in SHOWN)


def test_the_citation_is_of_the_software_with_the_paper_as_reference():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert "type: software" in text and f"version: {__version__}" in text
    assert "preferred-citation" not in text, "it would be cited in the place of the software"
    assert text.index("references:") < text.index("Adversarial Training from Mean Field Perspective")
    assert "10.48550/arXiv.2505.14021" in text


@pytest.mark.parametrize(
    ("shown", "printed", "equal"),
    [
        ("2.6089", "2.6093", False),
        ("2.6089", "2.6090", True),
        ("T2: NOT_REFUTED within 4 % (8.1 s)", "T2: NOT_REFUTED within 5.5 % (93.5 s)", True),
        ("T2: NOT_REFUTED (8.1 s)", "T2: REFUTED (8.1 s)", False),
        (
            "E: 2.4151 ± 0.033, predicted 2.6089, ratio 0.926: S",
            "E: 2.4400 ± 0.035, predicted 2.6089, ratio 0.935: S",
            True,
        ),
        (
            "E: 2.4151 ± 0.033, predicted 2.6089, ratio 0.926: S",
            "E: 2.7400 ± 0.035, predicted 2.6089, ratio 1.050: S",
            False,
        ),
        (
            "E: 2.4151 ± 0.033, predicted 2.6089, ratio 0.926: S",
            "E: 2.4151 ± 0.033, predicted 2.5089, ratio 0.926: S",
            False,
        ),
        (
            "E: 2.4151 ± 0.033, predicted 2.6089, ratio 0.926: S",
            "E: 2.4151 ± 0.033, predicted 2.6089, ratio 1.926: S",
            False,
        ),
        ("[0.5876 0.5993]", "[0.5876 0.6993]", False),
        ("beta*eps*omega**(L/2)", "beta*eps*omega**(L/3)", False),
        ("a\nb", "a", False),
    ],
)
def test_the_comparison_tells_apart(shown, printed, equal):
    assert same(shown, printed) is equal


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="b.html#there">b</a><a href="#here">a</a><p id="here">', None),
        ('<a href="https://arxiv.org/abs/2505.14021">a link loads nothing</a>', None),
        ('<a href="c.html">', "is not there"),
        ('<a href="b.html#nowhere">', "has no such place"),
        ('<script src="https://cdn.example/x.js"></script>', "loads https://cdn.example"),
        ('<link rel="stylesheet" href="//fonts.example/x.css">', "loads //fonts.example"),
    ],
)
def test_a_dead_link_of_the_site_is_found(body, fault, tmp_path):
    built = runpy.run_path(str(ROOT / "docs" / "_ext" / "built.py"))
    (tmp_path / "a.html").write_text(body)
    (tmp_path / "b.html").write_text('<p id="there">')
    found = list(built["faults"](tmp_path))
    assert len(found) == (fault is not None) and all(fault in each for each in found)


def test_every_theorem_has_a_page_of_the_site():
    pages = {path.stem for path in (ROOT / "docs" / "theorems").glob("*.md")} - {"index"}
    assert pages == {theorem.name.lower() for theorem in SHIPPED}
