import io

import pytest
from rich.console import Console as RichConsole

from gru_complete.cli import heatmap
from gru_complete.cli.heatmap import HeatmapStyle, bar
from gru_complete.inspection.trace import trace_text
from gru_complete.model.architecture import CELLS
from gru_complete.model.directory import load_model


@pytest.mark.parametrize("width", [80, 100, 200])
def test_lines_fit_the_width(model_of, width):

    for cell in CELLS:
        read = trace_text(load_model(model_of(cell)), "The 日本語 cat ate a \u200b\x1b[31m".encode())
        style = HeatmapStyle(width, has_color=False)
        units = [read.most_varied(0, 24)]
        rich = RichConsole(width=10_000, record=True, file=io.StringIO())
        rich.print(heatmap.draw(read, units, style))
        lines = rich.export_text().splitlines()
        assert max(heatmap.cell_len(line) for line in lines) <= width


def test_values_are_bars_whose_ends_mean_closed_and_open():
    assert [bar(value) for value in (0, 0.099, 0.1, 0.5, 0.9, 0.901, 1)] == ["·", "·", "▁", "▄", "▇", "█", "█"]


def test_without_bars_or_with_colour_values_are_digits():
    assert str(HeatmapStyle(80, has_color=False, has_bars=False).cell(0.55)) == "5"
    cell = HeatmapStyle(80, has_color=True).cell(0.55)
    assert (str(cell), " on #" in str(cell.style)) == ("5", True)
    for style in (HeatmapStyle(80, has_color=False, has_bars=False), HeatmapStyle(80, has_color=True)):
        assert str(style.legend()).startswith("0123456789  the first digit")
