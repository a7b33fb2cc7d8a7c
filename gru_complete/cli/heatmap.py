"""The gates of a network drawn on a terminal: a row for each token, a character for each unit.

Without colour a value is a bar, from ``·`` (closed) to ``█`` (open); with colour it is a digit on a background that is
lighter the greater the value (``inspection/colours.py``).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gru_complete.inspection.colours import CIVIDIS, FIRST_LIGHT, palette_step
from gru_complete.inspection.record import NUM_CHANGES_SHOWN
from gru_complete.inspection.trace import CLOSED, OPEN, Trace, printable_piece

BARS = "·▁▂▃▄▅▆▇█"
MAX_UNITS = 40
_TOKEN_COLUMNS = 12
_CHANGES_HEADING = "switched most"
_NUM_LONGEST = 4


class HeatmapStyle(NamedTuple):
    """How to draw.

    Attributes:
        width: columns of the terminal.
        has_color: whether colour may be used.
        has_bars: whether the terminal's encoding has the bars; if not, digits are drawn.
    """

    width: int
    has_color: bool
    has_bars: bool = True

    def cell(self, value: float) -> Text:
        """One value from 0 to 1 as one character."""
        if self.has_color:
            step = palette_step(value)
            ink = "#000000" if step >= FIRST_LIGHT else "#ffffff"
            return Text(str(step), style=f"{ink} on #{CIVIDIS[step]}")
        return Text(bar(value) if self.has_bars else str(palette_step(value)))

    def legend(self) -> Text:
        """A line that says what the characters mean."""
        if self.has_color or not self.has_bars:
            steps = [self.cell((step + 0.5) / 10) for step in range(10)]
            return Text.assemble(*steps, "  the first digit after the point: 0 below 0.1, 9 above 0.9")
        return Text(f"{BARS[0]} below {CLOSED}   {BARS[1:-1]} from {CLOSED} to {OPEN}   {BARS[-1]} above {OPEN}")


def bar(value: float) -> str:
    """A value from 0 to 1 as a bar; the lowest means closed and the highest open."""
    if value < CLOSED:
        return BARS[0]
    if value > OPEN:
        return BARS[-1]
    steps = len(BARS) - 2
    return BARS[1 + min(int((value - CLOSED) / (OPEN - CLOSED) * steps), steps - 1)]


def fitting_units(trace: Trace, style: HeatmapStyle) -> int:
    """How many units fit side by side in the panel of each gate."""
    num_panels = len(trace.panels(0))
    left = style.width - _TOKEN_COLUMNS - 6 - num_panels * 7 - 2 - _switched_columns(trace)
    return max(4, min(MAX_UNITS, left // num_panels))


def draw(trace: Trace, units: Sequence[Sequence[int]], style: HeatmapStyle) -> RenderableType:
    """Draw the whole picture.

    Args:
        trace: what the network did with the text.
        units: the units to show, by layer.
        style: how to draw.
    """
    fitting = fitting_units(trace, style)
    parts: list[RenderableType] = [style.legend()]
    for layer, chosen in enumerate(units):
        if trace.num_layers > 1:
            parts += [Text(), Text(f"layer {layer + 1} of {trace.num_layers}", style="bold")]
        for start in range(0, len(chosen), fitting):
            parts += [Text(), *_layer_map(trace, layer, chosen[start : start + fitting], style)]
    return Group(*parts)


def _layer_map(trace: Trace, layer: int, units: Sequence[int], style: HeatmapStyle) -> Iterator[Text]:
    """The heading and rows of one layer's map: a panel for each gate, side by side."""
    panels = trace.panels(layer)
    digits = len(str(max(units)))
    names = [str(unit).rjust(digits) for unit in units]
    left = " " * _TOKEN_COLUMNS
    head = [f"{left}  bits", *(f"{name:<{5 + len(units)}}"[: 5 + len(units)] for name in panels), _CHANGES_HEADING]
    yield Text("  ".join(head).rstrip(), style="bold", no_wrap=True)
    for row in range(digits):
        last = row == digits - 1
        numbers = "".join(name[row] for name in names)
        columns = [("mean " if last else "     ") + numbers for _ in panels]
        start = f"{'unit':>{_TOKEN_COLUMNS + 6}}" if last else f"{left}      "
        yield Text("  ".join([start, *columns]), style="dim", no_wrap=True)
    for position, piece in enumerate(trace.pieces):
        line = Text(no_wrap=True)
        line.append(_fit_to_column(printable_piece(piece)))
        line.append(f" {trace.bits[position]:5.1f}")
        for values in panels.values():
            line.append(f"  {values[position].mean():4.2f} ")
            for unit in units:
                line.append_text(style.cell(float(values[position, unit])))
        line.append("  " + _changes(trace, position, layer))
        yield line


def _fit_to_column(text: str) -> str:
    """A token cut or padded to the width of its column, whatever the width of its characters."""
    if cell_len(text) > _TOKEN_COLUMNS:
        return set_cell_size(text, _TOKEN_COLUMNS - 1) + "…"
    return set_cell_size(text, _TOKEN_COLUMNS)


def _switched_columns(trace: Trace) -> int:
    return max(len(_CHANGES_HEADING), NUM_CHANGES_SHOWN * (2 + len(str(trace.hidden_size - 1))) - 1)


def _changes(trace: Trace, position: int, layer: int) -> str:
    """The units that a token changed most, with the sign of the change."""
    digits = len(str(trace.hidden_size - 1))
    changes = trace.largest_changes(position, NUM_CHANGES_SHOWN, layer=layer)
    return " ".join(f"{'+' if change.change > 0 else '-'}{change.unit}".rjust(digits + 1) for change in changes)


def saturation_table(trace: Trace) -> Table:
    """The mean of each gate, and the fractions of its values that are closed and open."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("gates")
    for heading in ("mean", f"below {CLOSED}", f"above {OPEN}", "values"):
        table.add_column(heading, justify="right")
    for row in trace.saturation():
        name = f"layer {row.layer + 1}, {row.gate}" if trace.num_layers > 1 else row.gate
        table.add_row(name, f"{row.mean:.2f}", f"{row.below:.1%}", f"{row.above:.1%}", f"{row.num_values:,}")
    return table


def half_life_lines(trace: Trace) -> Iterator[Text]:
    """How long the units of each layer keep their state."""
    import numpy as np

    lives = trace.half_lives()
    if lives is None:
        return
    for layer, values in enumerate(lives):
        which = f" of layer {layer + 1}" if trace.num_layers > 1 else ""
        low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], method="nearest")
        yield Text(
            f"memory half-life{which}, tokens: median {_tokens(middle)}, "
            f"from {_tokens(low)} to {_tokens(high)} for 8 units of 10"
        )
        order = np.argsort(-values, kind="stable")[:_NUM_LONGEST]
        yield Text("  longest: " + ", ".join(f"{_tokens(values[unit])} (unit {unit})" for unit in order))


def _tokens(value: float) -> str:
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}" if value < 1e6 else "for ever"
