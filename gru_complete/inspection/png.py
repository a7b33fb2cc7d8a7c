"""The picture of an inspection as PNG: the shapes of ``picture.py``, drawn by matplotlib."""

import io
import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING

from gru_complete.errors import UsageError
from gru_complete.evaluation.plots import picture_settings
from gru_complete.inspection.picture import (
    FONT_SIZE,
    INK,
    Box,
    Bracket,
    Label,
    LineSample,
    Picture,
    Polyline,
    ScaleEnds,
    draw_picture,
)
from gru_complete.inspection.record import Inspection

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PIXELS_PER_INCH = 100  # of the picture's own pixels
_DOTS_PER_INCH, _MAX_DOTS = 130, 60_000
_POINTS_PER_PIXEL = 72 / _PIXELS_PER_INCH
_ALIGNMENTS = {"start": "left", "middle": "center", "end": "right"}
_LINE_WIDTH = 1.5


def check_matplotlib() -> None:
    """Find out before any work whether a PNG can be drawn.

    Raises:
        UsageError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        hint = "pip install matplotlib, or use --svg or --html, which need nothing"
        raise UsageError("--png needs matplotlib, which is not installed", hint=hint)


def render_png(inspection: Inspection) -> bytes:
    """The picture of an inspection, as the bytes of a PNG file."""
    with picture_settings({}):
        return _render(draw_picture(inspection))


def _render(picture: Picture) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size = (picture.width / _PIXELS_PER_INCH, picture.height / _PIXELS_PER_INCH)
    figure = Figure(figsize=size)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, picture.width), ylim=(picture.height, 0))  # pixels, from the top left
    axes.axis("off")
    _draw_boxes(axes, picture)
    _draw_lines(axes, picture)
    for shape in picture.shapes:
        for label in shape if isinstance(shape, ScaleEnds) else [shape]:
            if isinstance(label, Label):
                _draw_label(axes, label)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # characters that the font lacks are drawn as boxes
        FigureCanvasAgg(figure).print_figure(buffer, dpi=min(_DOTS_PER_INCH, _MAX_DOTS / max(size)), format="png")
    return buffer.getvalue()


def _draw_boxes(axes: "Axes", picture: Picture) -> None:
    """All boxes at once: a long text has tens of thousands."""
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import to_rgba

    boxes = [shape for shape in picture.shapes if isinstance(shape, Box)]
    corners = [[(x, y), (x + width, y), (x + width, y + height), (x, y + height)] for x, y, width, height, *_ in boxes]
    colours = [to_rgba("black" if box.fill == INK else box.fill, box.opacity) for box in boxes]
    axes.add_collection(PolyCollection(corners, facecolors=colours, linewidths=0, antialiaseds=False))


def _draw_lines(axes: "Axes", picture: Picture) -> None:
    """The means of gates, their samples in the legend, and the axes beside bars and lines."""
    for shape in picture.shapes:
        match shape:
            case Polyline(points, dashes):
                xs, ys = zip(*points, strict=True)
                _draw_line(axes, xs, ys, dashes)
            case LineSample(x, y, length, dashes):
                _draw_line(axes, (x, x + length), (y, y), dashes)
            case Bracket(x, top, bottom):
                xs, ys = (x - 3, x, x, x - 3), (top, top, bottom, bottom)
                axes.plot(xs, ys, color="black", alpha=0.6, linewidth=_POINTS_PER_PIXEL)


def _draw_line(axes: "Axes", xs: tuple[float, ...], ys: tuple[float, ...], dashes: str) -> None:
    """A line; matplotlib counts the lengths of its dashes in widths of the line."""
    pattern = tuple(float(length) / _LINE_WIDTH for length in dashes.split())
    style = (0, pattern) if pattern else "solid"
    axes.plot(xs, ys, color="black", linewidth=_LINE_WIDTH * _POINTS_PER_PIXEL, linestyle=style)


def _draw_label(axes: "Axes", label: Label) -> None:
    """A line of text, turned about the point that it is anchored to."""
    axes.text(
        label.x,
        label.y,
        label.text,
        fontsize=(label.size or FONT_SIZE) * _POINTS_PER_PIXEL,
        fontweight="bold" if label.is_bold else "normal",
        horizontalalignment=_ALIGNMENTS[label.anchor],
        verticalalignment="baseline",
        rotation=-label.angle,
        rotation_mode="anchor",
        parse_math=False,
    )
