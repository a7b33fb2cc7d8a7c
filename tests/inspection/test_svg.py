import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from gru_complete.inspection.colours import CIVIDIS, FIRST_LIGHT, colour, palette_step
from gru_complete.inspection.probes import Unit
from gru_complete.inspection.record import Inspection
from gru_complete.inspection.svg import MAX_DRAWN, TOKENS_PER_BAND, page, split_into_bands, svg
from gru_complete.inspection.trace import Trace

SVG = "{http://www.w3.org/2000/svg}"


def inspection_of(pieces, cell="gru", num_layers=1, found=(), size=4):
    generator = np.random.default_rng(0)
    num_gates = {"rnn": 0, "gru-simple": 1, "lstm": 3}.get(cell, 2)
    shape = (len(pieces), num_layers, num_gates, size)
    states = generator.uniform(-1, 1, size=(len(pieces) + 1, num_layers, 2 if cell == "lstm" else 1, size))
    read = Trace(cell, pieces, generator.uniform(0, 9, len(pieces)), generator.uniform(size=shape), states)
    return Inspection.from_trace("small", b"".join(pieces), read, found, 3)


@pytest.mark.parametrize("cell", ["gru", "gru-simple", "lstm", "rnn"])
def test_the_picture_has_a_cell_for_each_token_and_unit_in_its_colour(cell):
    inspection = inspection_of([b"The", b" cat", b" ate"], cell, num_layers=2)
    root = ElementTree.fromstring(svg(inspection))
    fills = [rect.get("fill") for rect in root.iter(f"{SVG}rect") if rect.get("height") == "11"]
    panels = [(layer, values) for layer in range(2) for values in inspection.trace.panels(layer).values()]
    expected = [
        colour(float(values[position, unit]))
        for layer, values in panels
        for unit in inspection.units[layer]
        for position in range(3)
    ]
    assert fills == expected
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert {"bits", "unit", "token", "surprisal", "␣cat"} <= set(texts)
    assert root.find(f"{SVG}title").text == f"small: {cell}, 2 layers of 4 units"


def test_text_stays_text_in_picture_and_page():
    pieces = [b"<script>alert(1)</script>", b"&amp;", b"]]>", b"</style>", b"@DATA@", b"\xff", b"\x00", b"\xe2\x80\xa8"]
    inspection = inspection_of(pieces)
    ElementTree.fromstring(svg(inspection))
    text = page(inspection)
    assert text.count("<script") == 2
    assert "alert(1)</script>" not in text
    data = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1]
    record = json.loads(data)
    assert record["tokens"][0]["text"] == "<script>alert(1)</script>"
    assert [token["shown"] for token in record["tokens"][4:]] == ["@DATA@", "\\xff", "\\x00", "\\u2028"]
    assert not re.search(r"https?://(?!www\.w3\.org/)", text)


def test_what_a_unit_follows_stands_beside_it():
    found = [("pairs: one or <two>", [Unit(0, False, 2), Unit(0, False, 0)]), ("brackets", [Unit(0, False, 2)])]
    inspection = inspection_of([b"a", b"b"], found=found)
    assert inspection.units[0][:2] == [2, 0]
    assert "one or &lt;two&gt;  2<" in svg(inspection)
    assert inspection.to_json()["units"][0]["follows"] == "pairs: one or <two>"


@pytest.mark.parametrize("number", [1, TOKENS_PER_BAND, TOKENS_PER_BAND + 1, 3 * TOKENS_PER_BAND + 7])
def test_bands_hold_all_tokens_and_are_about_as_long(number):
    bands = split_into_bands(number)
    assert [position for band in bands for position in band] == list(range(number))
    assert max(map(len, bands)) <= TOKENS_PER_BAND
    assert len(bands) == -(-number // TOKENS_PER_BAND)


def test_of_a_long_text_the_first_tokens_are_drawn_and_the_title_says_so():
    text = svg(inspection_of([b"x"] * (MAX_DRAWN + 1)))
    assert f"the first {MAX_DRAWN} of {MAX_DRAWN + 1} tokens" in text
    assert text.count('class="column"') == MAX_DRAWN


def lightness(code):
    red, green, blue = (int(code[start : start + 2], 16) / 255 for start in (0, 2, 4))
    return 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2


def test_the_scale_can_be_read_in_black_and_white():
    values = [lightness(code) for code in CIVIDIS]
    assert values == sorted(values)
    contrast = [
        1.05 / (value + 0.05) if step < FIRST_LIGHT else (value + 0.05) / 0.05 for step, value in enumerate(values)
    ]
    assert min(contrast) > 4.5  # WCAG 2, AA
    assert [palette_step(value) for value in (0, 0.0999, 0.1, 0.9, 1)] == [0, 0, 1, 9, 9]
    assert (colour(0), colour(1), colour(1 / 9)) == ("#00224e", "#fee838", "#123570")


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
def test_the_png_is_one_and_not_small(cell):
    pytest.importorskip("matplotlib", reason="PNG pictures need matplotlib")
    from gru_complete.inspection.png import png

    data = png(inspection_of([b"The", b" $x^", b"\xff", "日".encode()] * 15, cell, num_layers=2))
    assert data.startswith(b"\x89PNG\r\n")
    width, height = (int.from_bytes(data[start : start + 4], "big") for start in (16, 20))
    assert width > 600
    assert height > 600
