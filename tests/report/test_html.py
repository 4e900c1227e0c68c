"""The page, as a parser reads it and as Chromium shows it."""

import re
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files as resources
from itertools import pairwise

import pytest

from advmf.report.figure import figure
from advmf.report.html import html
from advmf.report.mathml import formula, words
from advmf.report.tree import node
from advmf.verify import suite
from advmf.verify.verdict import Verdict

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """The elements of a page, with their attributes, the tags that they are in, and the text that they begin with."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text, self.sentences = [], [], "", ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), tuple(self.open)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if not {"code", "style", "svg"} & set(self.open):
            self.sentences += data

    def all(self, tag):
        return [attributes for name, attributes, _ in self.elements if name == tag]


@pytest.fixture(scope="module")
def page(document):
    return Page(html(document))


def test_a_screen_reader_finds_its_way(page):
    assert page.all("html") == [{"lang": "en"}]
    for landmark in ("header", "main", "nav", "footer", "h1"):
        assert len(page.all(landmark)) == 1, landmark
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for attributes in page.all("a")]
    assert links[0] == "#results"  # skips what is before it
    assert {link.removeprefix("#") for link in links} <= set(ids)
    named = [each for _, a, _ in page.elements for each in a.get("aria-labelledby", "").split()]
    assert named and set(named) <= set(ids)
    levels = [int(tag[1]) for tag, _, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and all(after <= before + 1 for before, after in pairwise(levels))
    assert len(page.all("table")) == len(page.all("caption")) > 5
    assert all(attributes.get("scope") in ("col", "row") for attributes in page.all("th"))
    drawings = page.all("svg")
    assert drawings and all(attributes["role"] == "img" for attributes in drawings)
    assert len(page.all("desc")) == len(drawings)


def test_tables_and_formulas_scroll_in_a_box_that_the_keyboard_reaches(page):
    inside = [parents for tag, _, parents in page.elements if tag == "table"]
    boxes = [a for a in page.all("div") if a.get("class") == "scroll"]
    assert len(boxes) == len(inside) and all(box["tabindex"] == "0" and box["aria-label"] for box in boxes)


def said(text):
    """What a reader sees of a sentence that has formulas in it."""
    return "".join(node("p", *words(text)).itertext())


def test_it_says_all_that_was_found_out(page, document):
    for claim in document.claims:
        name, _, pair = claim.title.partition(" p=")
        shown = f"{said(name)}, p=2, q=2" if pair == "2 q=2" else f"{said(name)}, p=∞, q=1" if pair else said(name)
        assert shown in page.text
        for sentence in (claim.statement["source"], *claim.statement["assumptions"]):
            assert said(sentence) in page.text
        for f in claim.report.findings:
            assert f"{f.estimate:.5g} ± {f.stderr:.2g}, predicted {f.predicted:.5g}" in page.text
            for rung in f.rungs:
                assert f"{rung.mean:.5g}" in page.text
    origin = document.claims[0].report.settings
    assert origin["versions"]["torch"] in page.text and origin["environment"]["processor"] in page.text
    assert "advmf check --theorem F1 --theorem T2 --seed 3 --store results.db --workers 1" in page.text
    assert "advmf check --seed 3 --theorem T2" in page.text
    assert len(page.all("math")) >= len(document.claims)


def test_nothing_is_loaded_and_nothing_runs(page, hostile, document):
    for each in (page, Page(html(hostile))):
        tags = {tag for tag, _, _ in each.elements}
        assert not tags & {"script", "img", "iframe", "object", "embed", "form", "base", "b"}
        for tag, attributes, _ in each.elements:
            assert not [name for name in attributes if name.startswith("on") or name in ("src", "style", "srcdoc")]
            assert attributes.get("href", "#").startswith("#" if tag != "link" else "data:,")
    assert not re.search(r"https?:|url\(|@import", html(document))
    assert "<script>alert(1)</script>" in Page(html(hostile)).text  # shown, and not run
    assert "alert(3)" in Page(html(hostile)).text


def test_what_is_a_formula_is_set_as_one(page, hostile):
    """No sentence holds mathematics in ASCII: not a title, a caption, a label, an assumption, a point."""
    ascii_ = r"[<>]=|->|\^|\|\||\boo\b|\binf\b|Expectation|\b(?:sigma|omega|beta|eps|alpha)\b|\b\w_\w"
    assert not re.findall(rf".{{,20}}(?:{ascii_}).{{,20}}", page.sentences)
    inside = {parents[-1] for tag, _, parents in page.elements if tag == "math"}
    assert {"span", "h4"} <= inside
    assert "<script>alert(1)</script>" in Page(html(hostile)).sentences


@pytest.mark.parametrize(
    ("sentence", "shown", "formulas"),
    [
        ("entries N(0, omega^L/d), as N -> oo", "entries N(0,ωL/d), as N→∞", 2),
        ("E JJ', one row", "𝔼JJ′, one row", 1),
        ("plain & simple words, by Y. Gordon", "plain & simple words, by Y. Gordon", 0),
        ("", "", 0),
        ("x^2 " * 500, "x^2 " * 500, 0),
    ],
)
def test_sentences_keep_their_words(sentence, shown, formulas):
    paragraph = node("p", *words(sentence))
    assert "".join(paragraph.itertext()).replace(" ", "") == shown.replace(" ", "")
    assert len(list(paragraph.iter("math"))) == formulas


def test_unfinished_and_empty_runs_say_so(document):
    assert "not all cases of the run are finished" in Page(html(replace(document, complete=False))).text
    assert "no case is finished" in Page(html(replace(document, claims=(), complete=False))).text


def test_every_formula_is_set():
    cases = [
        *suite.cases(["T1", "T2", "F1", "F2", "T5"], ["plain_residual", "vanilla"], ["leaky_relu"], [("3", "inf")]),
        *suite.cases(["beta", "T6.K"]),
    ]
    for latex in (each[name] for case in cases for each in case.statements for name in ("latex", "subject")):
        set_ = formula(latex)
        assert not list(set_.iter("code")), latex
        texts = [element.text or "" for element in set_.iter()]
        assert not [text for text in texts if "\\" in text or "Expectation" in text], latex


def test_what_is_no_latex_is_shown_as_it_is():
    assert [code.text for code in formula(r"\frac{, \quad x").iter("code")] == [r"\frac{"]


def test_the_figure_is_to_scale(document):
    (claim,) = [c for c in document.claims if c.case == "F1"]
    finding = claim.report.findings[0]
    rungs = tuple(replace(r, mean=m, stderr=0.1) for r, m in zip(finding.rungs, (1.0, 2.0, 3.0)))
    drawn = figure(claim.report, replace(finding, rungs=rungs, estimate=2.0, stderr=0.1, predicted=2.0), "f")
    marks = [e.get("d") for e in drawn.iter("path") if e.get("class") == "mark"]
    upper = [float(re.match(r"M\S+ ([\d.]+)", d)[1]) for d in marks[::2]]
    assert upper[0] - upper[1] == pytest.approx(upper[1] - upper[2], abs=0.2) and upper[0] > upper[1] > upper[2]
    dashed = [e.get("d") for e in drawn.iter("path") if e.get("class") == "prediction"]
    assert f" {upper[1]:g}" in dashed[1] and upper[3] == upper[1]
    nan = replace(finding, rungs=tuple(replace(r, mean=float("nan")) for r in rungs))
    assert figure(claim.report, replace(nan, estimate=float("nan")), "f") is None


def luminance(colour):
    if len(colour) == 4:
        colour = "#" + "".join(2 * digit for digit in colour[1:])
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_contrast_is_enough_by_day_and_by_night():
    """WCAG 2.2, 1.4.3: 4.5 for text."""
    style = resources("advmf.report").joinpath("style.css").read_text()
    palettes = [dict(re.findall(r"--(\w+): (#\w+)", block)) for block in re.findall(r":root \{([^}]*)\}", style)]
    assert len(palettes) == 2
    for palette in palettes:
        for text in ("ink", "soft", "link", "good", "bad", "open"):
            for ground in ("paper", "shade"):
                low, high = sorted(luminance(palette[name]) for name in (text, ground))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (text, ground)


def chromium(*args, limit=120):
    """What Chromium prints of a page, and what it logs; without a network."""
    command = [
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0", "--virtual-time-budget=5000",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--allow-file-access-from-files", *args,
    ]  # fmt: skip
    found = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    assert found.returncode == 0, found.stderr
    return found.stdout, [line for line in found.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.browser
def test_chromium_has_nothing_to_complain_of_and_loads_nothing(document, hostile, tmp_path):
    """A request would be refused by the page's own policy, and be on the console."""
    path = tmp_path / "page.html"
    for each in (document, hostile):
        path.write_text(html(each))
        shown, complaints = chromium("--dump-dom", path.as_uri())
        assert "Theorems against simulation" in shown
        assert complaints == []
    path.write_text(html(document).replace("</main>", '<img src="http://evil.example/x.png" alt=""></main>'))
    assert any("evil.example" in line for line in chromium("--dump-dom", path.as_uri())[1])
    path.write_text(html(document).replace("</main>", "<script>alert(1)</script></main>"))
    assert any("Content Security Policy" in line for line in chromium("--dump-dom", path.as_uri())[1])


FRAME = """<!DOCTYPE html><body><iframe id="f" src="{}" style="width:{}px;height:800px"></iframe><script>
onload = () => setTimeout(() => {{
  const page = document.getElementById("f").contentDocument, all = [...page.querySelectorAll("details")];
  all.forEach(each => each.open = true);
  const root = page.documentElement, dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const drawn = [...page.querySelectorAll("svg, math")].filter(each => each.getBoundingClientRect().height > 5).length;
  const cut = [...page.querySelectorAll("svg text")].filter(each => {{
    const own = each.getBoundingClientRect(), svg = each.closest("svg").getBoundingClientRect();
    return own.left < svg.left || own.right > svg.right;
  }}).length;
  const ground = getComputedStyle(page.body).backgroundColor;
  document.title = JSON.stringify([root.scrollWidth, root.clientWidth, ground, drawn, cut]);
}}, 300)</script>"""


@pytest.mark.browser
def test_a_phone_shows_it_without_scrolling_sideways(document, tmp_path):
    """With every part open; and in the dark."""
    worst = replace(document.claims[0].report.findings[0], verdict=Verdict.REFUTED, reason="x" * 300)
    rungs = tuple(replace(r, mean=-1.2345e-5 * (i + 1), stderr=1e-6) for i, r in enumerate(worst.rungs))
    # The longest numbers on an axis.
    worst = replace(worst, rungs=rungs, estimate=-1e-5, predicted=-2.3456e-5, stderr=1e-6)
    report = replace(document.claims[0].report, findings=(worst,))
    claims = (replace(document.claims[0], report=report), *document.claims[1:])
    path, frame = tmp_path / "page.html", tmp_path / "frame.html"
    path.write_text(html(replace(document, claims=claims)))
    drawn = path.read_text().count("<svg") + path.read_text().count("<math")
    seen = []
    for width, scheme in ((320, 1), (390, 0), (1200, 1)):
        frame.write_text(FRAME.format(path.as_uri(), width))
        shown, _ = chromium(f"--blink-settings=preferredColorScheme={scheme}", "--dump-dom", frame.as_uri())
        across, room, ground, count, cut = re.search(r"<title>\[(\d+),(\d+),\"(.*?)\",(\d+),(\d+)\]", shown).groups()
        assert int(across) <= int(room) <= width
        assert (int(count), int(cut)) == (drawn, 0)
        seen.append(ground)
    assert seen == ["rgb(255, 255, 255)", "rgb(13, 17, 23)", "rgb(255, 255, 255)"]
    path.write_text(path.read_text().replace("overflow-x: auto;", "").replace("'sha256", "'unsafe-inline' 'x"))
    frame.write_text(FRAME.format(path.as_uri(), 320))
    across, room = re.search(r"<title>\[(\d+),(\d+)", chromium("--dump-dom", frame.as_uri())[0]).groups()
    assert int(across) > int(room)
