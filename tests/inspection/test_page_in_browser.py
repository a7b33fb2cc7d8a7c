"""The page of `inspect`, opened in a browser that is installed on the machine."""

import html
import re
import shutil
import subprocess

import numpy as np
import pytest

from gru_complete.inspection.html_page import render_page
from gru_complete.inspection.record import Inspection
from gru_complete.inspection.trace import GATE_NAMES, Trace, trace_text
from gru_complete.model.directory import load_model

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")

TEXT = b"The cat ate <script>document.title='taken'</script>"


@pytest.fixture
def inspection(trained_model):
    read = trace_text(load_model(trained_model), TEXT)
    return Inspection.from_trace("tiny", TEXT, read, [], 5)


@pytest.fixture
def opened(tmp_path):
    """Open a page, run a script in it, and return what is then on it, as HTML."""

    def run_script(inspection, script):
        path = tmp_path / "page.html"
        path.write_text(render_page(inspection).replace("</body>", f"<script>{script}</script></body>"), "utf-8")
        options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
        command = [BROWSER, *options, "--virtual-time-budget=2000", "--dump-dom", path.as_uri()]
        return subprocess.run(command, check=True, capture_output=True, timeout=120).stdout.decode()

    return run_script


def mean_shown(dom, gate, layer=1):
    return float(re.search(rf'data-mean="{layer} {gate}">([0-9.]+)<', dom)[1])


def token_shown(dom):
    return html.unescape(re.search(r'<span id="token">(.*?)</span>', dom)[1])


def values_shown(dom):
    """The gates of the units in the table: ``[[update, reset], ...]``."""
    rows = re.search(r'<tbody id="unitrows">(.*?)</tbody>', dom, re.DOTALL)[1]
    cells = [re.findall(r"<td>(-?\d\.\d\d)<", row)[:2] for row in rows.split("</tr>")[:-1]]
    return [[float(value) for value in row] for row in cells]


def test_a_token_that_is_hovered_shows_its_gates(inspection, opened):
    dom = opened(
        inspection,
        """document.querySelector('button[data-token="2"]').dispatchEvent(new PointerEvent("pointerenter"));""",
    )
    read = inspection.trace
    assert token_shown(dom).startswith(f"3 of {len(read.pieces)}: ")
    for index, gate in enumerate(read.gate_names):
        assert mean_shown(dom, gate) == pytest.approx(read.gates[2, 0, index].mean(), abs=0.0072)
    expected = [[read.gates[2, 0, index, unit] for index in range(2)] for unit in inspection.units[0]]
    for found, wanted in zip(values_shown(dom), expected, strict=True):
        assert found == pytest.approx(wanted, abs=0.0052)
    assert f"{read.bits[2]:.1f} bits" in dom
    switched = re.search(r'<tbody id="switched">(.*?)</tbody>', dom, re.DOTALL)[1]
    assert re.findall(r"unit (\d+)", switched) == [str(switch.unit) for switch in read.largest_changes(2, 3)]


def test_the_arrow_keys_move_from_token_to_token(inspection, opened):
    dom = opened(
        inspection,
        """const first = document.querySelector('button[data-token="0"]'); first.focus();
        for (const key of ["ArrowRight", "ArrowRight", "ArrowLeft", "End", "ArrowRight"])
          document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));""",
    )
    number = len(inspection.trace.pieces)
    assert token_shown(dom).startswith(f"{number} of {number}: ")
    assert dom.count('aria-current="true"') == 2  # the token and its column in the picture


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_every_layer_of_a_cell_shows_its_gates(opened, cell):
    generator = np.random.default_rng(0)
    names = GATE_NAMES[cell]
    gates = generator.uniform(size=(3, 2, len(names), 6))
    read = Trace(cell, [b"a", b"\n", b"c"], np.ones(3), gates, generator.uniform(-1, 1, size=(4, 2, 2, 6)))
    dom = opened(
        Inspection.from_trace("small", b"a\nc", read, [], 2), 'document.querySelector("rect[data-token]").focus();'
    )
    assert token_shown(dom) == "1 of 3: a"
    for index, gate in enumerate(names):
        for layer in range(2):
            assert mean_shown(dom, gate, layer + 1) == pytest.approx(gates[0, layer, index].mean(), abs=0.0072)
    rows = re.search(r'<tbody id="unitrows">(.*?)</tbody>', dom, re.DOTALL)[1]
    assert rows.count("<tr>") == 4
    assert rows.count('class="bar"') == 4 * (len(names) + 1)


def test_the_text_cannot_become_a_script(inspection, opened):
    dom = opened(inspection, "")
    assert "<title>tiny: gru, 24 units</title>" in dom
    assert "taken" not in re.search(r"<title>(.*?)</title>", dom)[1]
    shown = re.search(r'<div id="text">(.*?)</div>', dom, re.DOTALL)[1]
    text = html.unescape(re.sub(r"<[^>]*>", "", shown))
    assert text == TEXT.decode().replace(" ", "␣")
