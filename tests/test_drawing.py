"""Figures in one style: sizes, fonts, vector formats, and no text that is cut or lies on other text at 80 mm."""

import itertools
import re

import numpy as np
import pytest

import advmf as mf
from advmf import drawing
from advmf.errors import ArgumentError
from advmf.experiments.norm_table import norm_table
from advmf.experiments.training_curve import TrainingCurve
from advmf.experiments.training_figure import TrainingCurves


def phase():
    point = {"d": 784, "K": 10, "eps": 0.1, "m": 0.5, "M": 2.0, "N": 1000.0}
    grids = {"sigma_w_sq": np.geomspace(0.01, 1, 20), "L": np.arange(2.0, 40.0)}
    return mf.phase_diagram(mf.residual(1, 0), 2, 2, ("sigma_w_sq", "L"), **point, **grids)


def swept():
    claims = [mf.norm_factor(p, q) for p, q in ((2, 2), ("inf", "inf"), (1, 2))]
    return mf.sweep(claims, over={"d": [20, 40, 320]}, at={"K": 5}, samples=60)


def trained():
    time = np.linspace(0.1, 2, 8)
    curve = TrainingCurve(64, 0.1, time, -time, 0.1 * time, -1.1 * time, np.exp(-time))
    return TrainingCurves((curve,))


FIGURES = {
    "phase": lambda path, size: phase().plot(path, size=size),
    "norms": lambda path, size: norm_table(12, 4, samples=10).plot(path, size),
    "sweep": lambda path, size: swept().plot(path, size),
    "train": lambda path, size: trained().plot(path, "vanilla", size),
    "report": lambda path, size: mf.check(mf.norm_factor(2, 2), at={"d": 30, "K": 5}, samples=60).plot(path, size),
}


def texts(figure):
    """The boxes of all visible texts of a figure, in pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    canvas = FigureCanvasAgg(figure)
    with drawing.style():
        canvas.draw()
        drawn = canvas.get_renderer()
        outside = set()  # ticks that are kept, and not drawn
        for each in (own for axes in figure.axes for own in (axes.xaxis, axes.yaxis)):
            low, high = sorted(each.get_view_interval())
            room = 1e-9 * (high - low)
            ticks = (*each.get_major_ticks(), *each.get_minor_ticks())
            outside |= {
                label for t in ticks if not low - room <= t.get_loc() <= high + room for label in (t.label1, t.label2)
            }
        found = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip() and t not in outside]
        return [(t.get_text(), t.get_window_extent(drawn)) for t in found]


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_is_cut_or_overlaps_at_80_millimetres(name):
    figure = FIGURES[name](None, 80).figure
    assert figure.get_size_inches()[0] * 25.4 == pytest.approx(80)
    edge = figure.bbox
    boxes = texts(figure)
    within = [(text, box) for text, box in boxes if box.width and box.x1 > 0 and box.x0 < edge.width]
    for text, box in within:
        assert edge.x0 - 1 <= box.x0 and box.x1 <= edge.x1 + 1 and edge.y0 - 1 <= box.y0 and box.y1 <= edge.y1 + 1, text
    # Labels on contours are turned; their boxes are larger than they are.
    level = [(text, box) for text, box in within if "omega^L" not in text]
    for (one, a), (other, b) in itertools.combinations(level, 2):
        wide = min(a.x1, b.x1) - max(a.x0, b.x0)
        high = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert not (wide > 1.5 and high > 1.5), (one, other)


@pytest.mark.parametrize("ending", ["pdf", "svg", "png"])
def test_every_format_twice_the_same(ending, tmp_path):
    first, second = (tmp_path / f"{k}.{ending}" for k in "ab")
    for path in (first, second):
        phase().plot(path)
    assert first.read_bytes() == second.read_bytes() and len(first.read_bytes()) > 1000


def test_vector_files_hold_vectors_and_serif_fonts(tmp_path):
    swept().plot(tmp_path / "a.pdf", "two")
    content = (tmp_path / "a.pdf").read_bytes()
    assert b"STIX" in content and b"/Type3" not in content and not re.search(rb"/Subtype\s*/Image", content)
    box = [float(n) for n in re.search(rb"/MediaBox\s*\[([^\]]*)\]", content)[1].split()]
    assert box[2] / 72 * 25.4 == pytest.approx(174, abs=0.1)


def test_nothing_of_the_style_lasts(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    phase().plot(tmp_path / "a.png")
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("size", ["three", 0, -5, 1e9, None, float("nan"), True, [1]])
def test_sizes_that_are_none(size):
    with pytest.raises(ArgumentError, match="size of a figure"):
        drawing.width_of(size)


def test_an_ending_that_no_figure_has(tmp_path):
    with pytest.raises(ArgumentError, match=r"must end in one of .*pdf.*; got 'a.docx'"):
        drawing.check_target(tmp_path / "a.docx")
    assert not list(tmp_path.iterdir())
