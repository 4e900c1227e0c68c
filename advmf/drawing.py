"""The style of all figures: the sizes of a paper's columns, serif mathematics, colours that the colour-blind can tell
apart, vector output. By matplotlib: ``pip install 'advmf[plot]'``."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from advmf.errors import ArgumentError
from advmf.outputs import Output

SIZES = {"one": 84.0, "two": 174.0}
"""The widths of figures over one and over two columns of a paper, in millimetres."""
LEAST, MOST = 40.0, 500.0
"""The least and the largest width of a figure in millimetres."""
INCH = 25.4

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""M. Okabe and K. Ito's colours."""
MARKS = "os^Dv<>"
"""A marker for each of the colours, so that curves are told apart without colours as well."""
BARS = 2.0
"""Half the length of an error bar, in standard errors."""

STYLE: dict[str, Any] = {
    "font.family": "serif",
    "font.serif": ["STIXGeneral"],
    "mathtext.fontset": "stix",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.0,
    "lines.markersize": 3.5,
    "errorbar.capsize": 1.5,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "svg.hashsalt": "advmf",
    "savefig.dpi": 300,
}
"""The settings of matplotlib. The fonts are STIX, which matplotlib brings along and which match a paper set in Times.
PDF files embed them as TrueType, as conferences require."""


def matplotlib_() -> Any:
    """The module matplotlib; raises ArgumentError where it is not installed."""
    try:
        import matplotlib
    except ImportError:
        raise ArgumentError("Figures need matplotlib; install it with: python3 -m pip install 'advmf[plot]'") from None
    return matplotlib


def width_of(size: str | float) -> float:
    """The width of a figure in millimetres: of ``"one"`` or ``"two"`` columns, or a number of millimetres.

    Raises ArgumentError for anything else, and for a width outside 40 to 500 mm.

    >>> width_of("one"), width_of("120"), width_of(90)
    (84.0, 120.0, 90.0)
    """
    try:
        width = SIZES[size] if isinstance(size, str) and size in SIZES else float(size)
    except (TypeError, ValueError):
        width = math.nan
    if isinstance(size, bool) or not LEAST <= width <= MOST:
        raise ArgumentError(
            f"The size of a figure is 'one' or 'two' (columns: {SIZES['one']:g} and {SIZES['two']:g} mm), or its width in mm from "
            f"{LEAST:g} to {MOST:g}; got {size!r:.40}."
        )
    return width


class Drawing:
    """A finished figure. A notebook shows it; :meth:`save` writes it as pdf, svg, png or what else matplotlib knows.
    ``figure`` is matplotlib's own, for changes."""

    def __init__(self, figure: Any) -> None:
        self.figure = figure

    def save(self, path: Path | str | Output) -> None:
        """Write the figure in the form that the ending names, atomically. Raises ArgumentError for another ending, and
        OutputError where the file cannot be written."""
        output = check_target(path)
        output.write(self.content(output.path.suffix.lstrip(".")))

    def content(self, form: str) -> bytes:
        """The figure as a file's bytes. The same figure gives the same bytes."""
        content = io.BytesIO()
        dates = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
        with style():
            self.figure.savefig(content, format=form, metadata=dates.get(form))
        return content.getvalue()

    def _repr_svg_(self) -> str:
        return self.content("svg").decode("utf-8")


@contextmanager
def style() -> Iterator[None]:
    """The style of figures, whatever matplotlib is set to otherwise; nothing of it lasts."""
    matplotlib_()
    import matplotlib.style

    with matplotlib.style.context(["default", STYLE]):
        yield


@contextmanager
def drawing(size: str | float = "one", ratio: float = 0.72, **subplots: Any) -> Iterator[tuple[Drawing, Any]]:
    """A figure in the style, with its axes, to draw on within the block. ``ratio`` is its height over its width, and
    ``subplots`` are the arguments of ``Figure.subplots``. No window is opened, and pyplot is not touched.

    >>> with drawing("one") as (drawn, axis):
    ...     line = axis.plot([1, 2], [3, 4])
    >>> drawn.content("pdf")[:5]
    b'%PDF-'
    """
    matplotlib_()
    width = width_of(size) / INCH
    with style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(width, width * ratio), layout="constrained")
        yield Drawing(figure), figure.subplots(**subplots)


def written(drawn: Drawing, path: Path | str | Output | None) -> Drawing:
    """The drawing, written to the path if one is given."""
    if path is not None:
        drawn.save(path)
    return drawn


def check_target(target: Path | str | Output, size: str | float = "one") -> Output:
    """The output that a figure goes to. Raises ArgumentError or OutputError, before any long work, where matplotlib is
    missing, the ending is none that it writes, or the size is none."""
    matplotlib_()
    from matplotlib.backend_bases import FigureCanvasBase

    width_of(size)
    output = target if isinstance(target, Output) else Output(target)
    known = FigureCanvasBase.get_supported_filetypes()
    if output.path.suffix.lstrip(".") not in known:
        raise ArgumentError(f"A figure's file must end in one of {', '.join(sorted(known))}; got {output.path.name!r}.")
    return output


def note(axis: Any, text: str) -> None:
    """A line below the axes, such as what error bars mean."""
    axis.figure.supxlabel(text, fontsize=6, color="0.35")


def logarithmic(axis: Any, side: str, values: Sequence[float], span: float = 10.0) -> None:
    """Make an axis ("x" or "y") logarithmic if its values are positive, and the largest is ``span`` times the
    smallest."""
    low, high = min(values), max(values)
    if low > 0 and high >= span * low:
        getattr(axis, f"set_{side}scale")("log")


def labelled(axis: Any, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Labels beside the right ends of curves, in place of a legend: (x, y, text, colour) for each. Labels that would
    overlap are moved apart."""
    if not ends:
        return
    axis.figure.draw_without_rendering()  # which lays the axes out
    to_axes = axis.transData + axis.transAxes.inverted()
    spots = sorted(((to_axes.transform((x, y))[1], text, colour) for x, y, text, colour in ends), key=lambda s: s[0])
    height = axis.get_window_extent().height or 1.0
    gap = 1.15 * 7 * axis.figure.dpi / 72 / height
    places = [spot[0] for spot in spots]
    for _ in range(200):  # push neighbours apart, within the panel
        for i in range(len(places) - 1):
            if (lack := gap - (places[i + 1] - places[i])) > 1e-9:
                places[i], places[i + 1] = places[i] - lack / 2, places[i + 1] + lack / 2
        places[0], places[-1] = max(places[0], 0.0), min(places[-1], 1.0) if len(places) > 1 else places[-1]
    for place, (_, text, colour) in zip(places, spots):
        axis.annotate(
            text, (1.0, place), xycoords="axes fraction", xytext=(3, 0), textcoords="offset points", va="center", ha="left",
            color=colour, fontsize=7, annotation_clip=False,
        )  # fmt: skip
