"""What the cells did as a PNG picture, drawn by matplotlib: the same panels as those of ``pages.svg``."""

import io
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from gru_complete.errors import UsageError
from gru_complete.inspection.record import Inspection, describe_saturation
from gru_complete.inspection.svg import MAX_DRAWN, split_into_bands, unit_label
from gru_complete.inspection.trace import printable_piece

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DOTS_PER_INCH, _MAX_DOTS = 130, 60_000
_CELL_WIDTH, _CELL_HEIGHT = 0.2, 0.13  # inches, as all sizes here
_BARS_HEIGHT, _MEANS_HEIGHT, _GAP, _LABELS, _HEAD = 0.8, 0.6, 0.45, 1.1, 0.9
_LEFT, _RIGHT = 1.8, 1.0
_LABEL_CHARS = 14
_LINES = ("-", "--", ":")


def check_matplotlib() -> None:
    """Find out before any work whether a PNG can be drawn.

    Raises:
        UsageError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        hint = "pip install matplotlib, or use --svg or --html, which need nothing"
        raise UsageError("--png needs matplotlib, which is not installed", hint=hint)


def png(inspection: Inspection) -> bytes:
    """The picture; of long texts the first ``MAX_DRAWN`` tokens."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    trace = inspection.trace
    number = min(len(trace.pieces), MAX_DRAWN)
    bands = split_into_bands(number)
    maps = [(layer, name) for layer in range(trace.num_layers) for name in trace.panels(layer)]
    map_heights = [len(inspection.units[layer]) * _CELL_HEIGHT for layer, _ in maps]
    band_height = _BARS_HEIGHT + _GAP + sum(map_heights) + len(maps) * _GAP + _LABELS
    band_height += _MEANS_HEIGHT + _GAP if trace.gate_names else 0
    columns = max(len(band) for band in bands)
    size = (max(_LEFT + columns * _CELL_WIDTH + _RIGHT, 6.5), _HEAD + len(bands) * band_height)
    figure = Figure(figsize=size)
    figure.text(0.15 / size[0], 1 - 0.3 / size[1], inspection.title, fontsize=12, weight="bold", parse_math=False)
    part = f"The first {number:,} of {len(trace.pieces):,} tokens. " if number < len(trace.pieces) else ""
    figure.text(0.15 / size[0], 1 - 0.52 / size[1], part + describe_saturation(trace.saturation()), fontsize=8)
    drawing = _Drawing(figure, size)
    top = _HEAD
    for band in bands:
        _band(drawing, inspection, band, top)
        top += band_height
    canvas = FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a script that the font lacks is drawn as boxes
        canvas.print_figure(buffer, dpi=min(_DOTS_PER_INCH, _MAX_DOTS / max(size)), format="png")
    return buffer.getvalue()


class _Drawing:
    """A figure on which panels are placed from the top left, in inches."""

    def __init__(self, figure: "Figure", size: tuple[float, float]) -> None:
        self.figure = figure
        self.size = size

    def panel(self, top: float, height: float, num_columns: int) -> "Axes":
        width, whole = self.size
        place = (_LEFT / width, 1 - (top + height) / whole, num_columns * _CELL_WIDTH / width, height / whole)
        axes: Axes = self.figure.add_axes(place)
        axes.tick_params(labelsize=6, length=2)
        return axes

    def beside(self, top: float, height: float, num_columns: int) -> "Axes":
        width, whole = self.size
        left = _LEFT + num_columns * _CELL_WIDTH + 0.15
        axes: Axes = self.figure.add_axes((left / width, 1 - (top + height) / whole, 0.1 / width, height / whole))
        return axes


def _band(drawing: _Drawing, inspection: Inspection, band: range, top: float) -> None:
    trace = inspection.trace
    number = len(band)
    part = slice(band.start, band.stop)
    bars = drawing.panel(top, _BARS_HEIGHT, number)
    bars.bar(range(number), trace.bits[part], width=0.7, color="0.35")
    bars.set(xlim=(-0.5, number - 0.5), ylim=(0, max(float(trace.bits.max()), 1.0)), xticks=[])
    bars.set_ylabel("bits", fontsize=7)
    bars.set_title("surprisal", fontsize=8, loc="left")
    top += _BARS_HEIGHT + _GAP
    if trace.gate_names:
        means = drawing.panel(top, _MEANS_HEIGHT, number)
        for index, name in enumerate(trace.gate_names):
            values = trace.gates[part, :, index].mean(axis=(1, 2))
            means.plot(range(number), values, _LINES[index], color="black", linewidth=1, label=name)
        means.set(xlim=(-0.5, number - 0.5), ylim=(0, 1), xticks=[])
        means.set_ylabel("mean", fontsize=7)
        means.set_title("mean of each gate", fontsize=8, loc="left")
        means.legend(fontsize=6, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
        top += _MEANS_HEIGHT + _GAP
    last: Any = bars
    for layer, units in enumerate(inspection.units):
        for name, values in trace.panels(layer).items():
            height = len(units) * _CELL_HEIGHT
            last = drawing.panel(top, height, number)
            image = last.imshow(values[part][:, units].T, aspect="auto", cmap="cividis", vmin=0, vmax=1)
            labels = [unit_label(inspection, layer, unit) for unit in units]
            last.set_yticks(range(len(units)), labels, parse_math=False)
            last.set_xticks([])
            last.set_ylabel("unit", fontsize=7)
            last.yaxis.set_label_coords(-1.5 / (number * _CELL_WIDTH), 0.5)
            where = f"layer {layer + 1}, " if trace.num_layers > 1 else ""
            last.set_title(f"{where}{name} gate" if trace.gate_names else f"{where}state", fontsize=8, loc="left")
            scale = drawing.figure.colorbar(image, cax=drawing.beside(top, height, number), ticks=[0, 0.5, 1])
            scale.ax.tick_params(labelsize=6, length=2)
            if not trace.gate_names:
                scale.set_ticks([0, 0.5, 1], labels=["-1", "0", "1"])
            top += height + _GAP
    last.set_xticks(range(number), list(_labels(inspection, band)), rotation=60, ha="right", parse_math=False)
    last.tick_params(axis="x", labelsize=7)
    last.set_xlabel("token", fontsize=7)


def _labels(inspection: Inspection, band: range) -> Iterator[str]:
    for position in band:
        text = printable_piece(inspection.trace.pieces[position])
        yield text if len(text) <= _LABEL_CHARS else text[: _LABEL_CHARS - 1] + "…"
