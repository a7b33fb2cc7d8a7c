"""The picture of what the cells did with a text, as a list of shapes that ``svg.py`` and ``png.py`` draw.

A long text is cut into bands of tokens. Each band shows, from top to bottom, the surprisal of each token as bars, the
mean of each gate as lines, and for each gate a map: one row per unit, one column per token. Lengths are in pixels, with
the origin at the top left.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gru_complete.arrays import FloatArray
from gru_complete.inspection.colours import colour
from gru_complete.inspection.record import Inspection, describe_saturation
from gru_complete.inspection.trace import printable_piece

MAX_DRAWN = 480
"""How many tokens a picture shows; a page lists all of them."""

TOKENS_PER_BAND = 40
INK = "currentColor"
"""The fill of what is drawn in the colour of the text."""

FONT_SIZE = 11

_CELL_WIDTH, _CELL_HEIGHT = 20, 11
_LEFT, _RIGHT, _TOP = 190, 24, 112
_BARS_HEIGHT, _MEANS_HEIGHT, _GAP = 60, 48, 26
_LABEL_CHARS, _LABEL_HEIGHT = 12, 78
_FOLLOWS_CHARS = 22
_MIN_WIDTH = 560
_LEGEND_STEPS = 50
_DASHES = ("", "5 3", "1.5 3")  # of the first, second and third gate


class Box(NamedTuple):
    """A filled rectangle."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    opacity: float | None = None


class Label(NamedTuple):
    """A line of text.

    Attributes:
        text: what it says.
        x, y: the point of its baseline that ``anchor`` names.
        size: of the font; None: ``FONT_SIZE``.
        is_bold: whether it is bold.
        anchor: "start", "middle" or "end".
        angle: clockwise, in degrees.
    """

    text: str
    x: float
    y: float
    size: int | None = None
    is_bold: bool = False
    anchor: str = "start"
    angle: int = 0


class ScaleEnds(NamedTuple):
    """The values at the left and the right end of the scale of colours."""

    left: Label
    right: Label


class Polyline(NamedTuple):
    """A line through points; ``dashes`` are the lengths of strokes and gaps, "" for a solid line."""

    points: Sequence[tuple[float, float]]
    dashes: str


class LineSample(NamedTuple):
    """A horizontal line in the legend, drawn like a ``Polyline`` with these dashes."""

    x: float
    y: float
    length: int
    dashes: str


class Bracket(NamedTuple):
    """The axis of bars and lines: a vertical line at x with a short stroke to the left at either end."""

    x: int
    top: int
    bottom: int


class TokenColumn(NamedTuple):
    """The area of one token, which a page makes sensitive; it is not drawn."""

    token: int
    x: float
    y: float
    width: float
    height: float
    description: str


Shape = Box | Label | ScaleEnds | Polyline | LineSample | Bracket | TokenColumn


class Picture(NamedTuple):
    """A picture to draw.

    Attributes:
        title: what it is called.
        width: in pixels.
        height: in pixels.
        shapes: in the order in which they are drawn.
    """

    title: str
    width: int
    height: int
    shapes: list[Shape]


def draw_picture(inspection: Inspection) -> Picture:
    """The picture of an inspection; of a long text, its first ``MAX_DRAWN`` tokens."""
    trace = inspection.trace
    number = min(len(trace.pieces), MAX_DRAWN)
    bands = split_into_bands(number)
    part = f", the first {number:,} of {len(trace.pieces):,} tokens" if number < len(trace.pieces) else ""
    title = inspection.title + part
    shapes: list[Shape] = [
        Label(title, 16, 26, size=16, is_bold=True),
        Label(describe_saturation(trace.saturation()), 16, 46),
        *_legend(inspection),
    ]
    top = _TOP
    for band in bands:
        band_shapes, top = _draw_band(inspection, band, top)
        shapes += band_shapes
    width = max(_LEFT + max(map(len, bands)) * _CELL_WIDTH + _RIGHT, _MIN_WIDTH)
    return Picture(title, width, top, shapes)


def split_into_bands(number: int) -> list[range]:
    """The tokens of each band: at most ``TOKENS_PER_BAND``, and about as many in each."""
    per_band = math.ceil(number / math.ceil(number / TOKENS_PER_BAND))
    return [range(start, min(start + per_band, number)) for start in range(0, number, per_band)]


def unit_label(inspection: Inspection, layer: int, unit: int) -> str:
    """A unit's number, after the feature that it follows, if one is known."""
    follows = inspection.follows.get((layer, unit), "")
    name = printable_piece(follows.encode()).replace("␣", " ").split(": ")[-1]
    return f"{_shorten(name, _FOLLOWS_CHARS)}  {unit}" if follows else str(unit)


def _legend(inspection: Inspection) -> Iterator[Shape]:
    """The scale of the maps, and which line is the mean of which gate."""
    for index in range(_LEGEND_STEPS):
        yield Box(16 + 2 * index, 58, 2.2, 10, colour((index + 0.5) / _LEGEND_STEPS))
    low, high, what = ("0", "1", "gate") if inspection.trace.gate_names else ("-1", "1", "state")
    yield ScaleEnds(Label(low, 16, 80), Label(high, 116, 80, anchor="end"))
    yield Label(what, 66, 80, anchor="middle")
    x = 150
    for name, dashes in zip(inspection.trace.gate_names, _DASHES, strict=False):
        yield LineSample(x, 64, 26, dashes)
        yield Label(f"mean {name} gate", x + 32, 68)
        x += 160


def _draw_band(inspection: Inspection, band: range, top: int) -> tuple[list[Shape], int]:
    """One band of tokens from ``top`` on, and where it ends."""
    trace = inspection.trace
    shapes: list[Shape] = []
    start = top
    shapes += _surprisal_bars(trace.bits[band.start : band.stop], float(max(trace.bits.max(), 1.0)), top)
    top += _BARS_HEIGHT + _GAP // 2
    if trace.gate_names:
        means = trace.gates[band.start : band.stop].mean(axis=(1, 3))  # over layers and units
        shapes += _mean_lines(means, top)
        top += _MEANS_HEIGHT + _GAP
    else:
        top += _GAP // 2
    for layer, units in enumerate(inspection.units):
        where = f"layer {layer + 1}, " if trace.num_layers > 1 else ""
        for gate, values in trace.panels(layer).items():
            name = f"{where}{gate} gate, by unit" if trace.gate_names else f"{where}state, by unit"
            shapes.append(Label(name, _LEFT, top - 5, is_bold=True))
            labels = [unit_label(inspection, layer, unit) for unit in units]
            shapes += _map(values[band.start : band.stop, units], labels, top)
            top += len(units) * _CELL_HEIGHT + _GAP
    top -= _GAP - 4
    shapes += _token_columns(inspection, band, start, top)
    shapes.append(Label("token", _LEFT + len(band) * _CELL_WIDTH / 2, top + _LABEL_HEIGHT, anchor="middle"))
    return shapes, top + _LABEL_HEIGHT + _GAP


def _surprisal_bars(bits: FloatArray, largest: float, top: int) -> Iterator[Shape]:
    """The surprisal of some tokens, with an axis up to the largest of all."""
    bottom = top + _BARS_HEIGHT
    yield _upright("bits", _LEFT - 34, top + _BARS_HEIGHT / 2)
    yield from _axis(top, bottom, "0", f"{largest:.0f}")
    yield Label("surprisal", _LEFT, top - 5, is_bold=True)
    for column, value in enumerate(bits):
        height = _BARS_HEIGHT * float(value) / largest
        x = _LEFT + column * _CELL_WIDTH + 3
        yield Box(x, round(bottom - height, 1), _CELL_WIDTH - 6, round(height, 1), INK, opacity=0.65)


def _mean_lines(means: FloatArray, top: int) -> Iterator[Shape]:
    """The mean of each gate at each token, from ``(T, G)``, as lines with an axis."""
    bottom = top + _MEANS_HEIGHT
    yield _upright("mean", _LEFT - 34, top + _MEANS_HEIGHT / 2)
    yield from _axis(top, bottom, "0", "1")
    for values, dashes in zip(means.T, _DASHES, strict=False):
        points = [
            (_LEFT + (column + 0.5) * _CELL_WIDTH, bottom - _MEANS_HEIGHT * float(value))
            for column, value in enumerate(values)
        ]
        yield Polyline(points, dashes)


def _map(values: FloatArray, labels: Sequence[str], top: int) -> Iterator[Shape]:
    """One gate of some units, from ``(T, U)``: a row for each unit, with its label."""
    for row, label in enumerate(labels):
        y = top + row * _CELL_HEIGHT
        yield Label(label, _LEFT - 6, y + 9, size=9, anchor="end")
        for column, value in enumerate(values[:, row]):
            yield Box(_LEFT + column * _CELL_WIDTH, y, _CELL_WIDTH, _CELL_HEIGHT, colour(float(value)))
    yield _upright("unit", 20, top + len(labels) * _CELL_HEIGHT / 2)


def _token_columns(inspection: Inspection, band: range, top: int, bottom: int) -> Iterator[Shape]:
    """The names of a band's tokens below it, and the area of each token."""
    for column, position in enumerate(band):
        middle = _LEFT + (column + 0.5) * _CELL_WIDTH
        name = _shorten(printable_piece(inspection.trace.pieces[position]))
        yield Label(name, middle + 4, bottom + 4, anchor="end", angle=-60)
        x = _LEFT + column * _CELL_WIDTH
        yield TokenColumn(position, x, top, _CELL_WIDTH, bottom - top, _describe_token(inspection, position))


def _axis(top: int, bottom: int, low: str, high: str) -> Iterator[Shape]:
    yield Bracket(_LEFT, top, bottom)
    for y, text in ((top, high), (bottom, low)):
        yield Label(text, _LEFT - 6, y + 4, size=9, anchor="end")


def _upright(text: str, x: float, y: float) -> Label:
    return Label(text, x, y, anchor="middle", angle=-90)


def _shorten(text: str, length: int = _LABEL_CHARS) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _describe_token(inspection: Inspection, position: int) -> str:
    """A token in one line: its cost, the means of its gates, and the units that it changed most."""
    trace = inspection.trace
    means = trace.gates[position].mean(axis=(0, 2))
    facts = [f"{trace.bits[position]:.1f} bits"]
    facts += [f"{name} {mean:.2f}" for name, mean in zip(trace.gate_names, means, strict=True)]
    facts += [f"{'+' if change.change > 0 else '-'}{change.unit}" for change in trace.largest_changes(position, 3)]
    return f"{printable_piece(trace.pieces[position])}: {', '.join(facts)}"
