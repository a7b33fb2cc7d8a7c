import xml.etree.ElementTree as ElementTree

import pytest

from gru_complete.inspection.colours import colour
from gru_complete.inspection.picture import MAX_DRAWN
from gru_complete.inspection.probes import Unit
from gru_complete.inspection.svg import render_svg

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("cell", ["gru", "gru-simple", "lstm", "rnn"])
def test_the_picture_has_a_cell_for_each_token_and_unit_in_its_colour(inspection_of, cell):
    inspection = inspection_of([b"The", b" cat", b" ate"], cell, num_layers=2)
    root = ElementTree.fromstring(render_svg(inspection))
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


def test_the_feature_that_a_unit_follows_is_beside_it(inspection_of):
    found = [("pairs: one or <two>", [Unit(0, False, 2), Unit(0, False, 0)]), ("brackets", [Unit(0, False, 2)])]
    inspection = inspection_of([b"a", b"b"], found=found)
    assert inspection.units[0][:2] == [2, 0]
    assert "one or &lt;two&gt;  2<" in render_svg(inspection)
    assert inspection.to_json()["units"][0]["follows"] == "pairs: one or <two>"


def test_only_the_first_tokens_of_a_long_text_are_drawn_and_the_title_says_so(inspection_of):
    text = render_svg(inspection_of([b"x"] * (MAX_DRAWN + 1)))
    assert f"the first {MAX_DRAWN} of {MAX_DRAWN + 1} tokens" in text
    assert text.count('class="column"') == MAX_DRAWN
