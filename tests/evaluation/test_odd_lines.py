"""Odd lines by their costs: figures against the definition, and where the odd part is said to be."""

import math
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gru_complete.evaluation.odd_lines import OddLineFinder, _Line, _oddest, _Part, _Usual
from gru_complete.evaluation.segment_reader import SegmentReader
from gru_complete.runtime.completer import Completer

USUAL = "The cat saw the old house and then the dog ate near the river.\n"
ODD = "The cat saw QZ#9!xX% the old house and then the dog ate near the river.\n"


@pytest.fixture(scope="module")
def completer(trained_model):
    return Completer.load(trained_model)


def test_the_odd_line_and_its_odd_part_are_found_and_nothing_else(completer):
    text = USUAL * 60 + ODD + USUAL * 60
    (found,) = OddLineFinder(completer, threshold=6).findings([text])
    assert (found.line, found.column) == (61, 13)
    assert found.text.startswith("QZ#9!xX%")
    assert found.bits_per_byte > found.usual_bits_per_byte


def test_bits_and_strangeness_are_those_of_the_definition(completer):
    lines = [USUAL, ODD, "a cat\n", "\n", "  \n", "a dog ate the red bird"]
    found = list(OddLineFinder(completer, threshold=1e-9).findings(["".join(lines)]))
    costs = {}
    for batch in SegmentReader(completer).batches(["".join(lines)]):
        for segment in batch:
            if segment.data.strip():
                number = segment.line + segment.data.count(b"\n")
                bits, size = costs.get(number, (0.0, 0))
                costs[number] = bits + sum(segment.costs) / math.log(2), size + len(segment.data)
    assert set(costs) == {1, 2, 3, 6}
    usual = median(bits / size for bits, size in costs.values())
    surplus = {number: (bits / size - usual) * math.sqrt(size) for number, (bits, size) in costs.items()}
    spread = 1.4826 * median(map(abs, surplus.values()))
    assert {one.line: pytest.approx(one.strangeness) for one in found} == {
        number: value / spread for number, value in surplus.items() if value > 0
    }


def test_the_odd_part_is_the_run_that_costs_most_beyond_the_usual():
    costs = [2.0, 40.0, 10.0, 40.0, 3.0, 17.0]
    parts = [_Part(1 + 4 * index, f"w{index}", 4, bits) for index, bits in enumerate(costs)]
    assert _oddest(parts, _Usual(2.0, 8.0, 1.0)) == (5, "w1  w2  w3")
    assert _Line.of(1, parts).bits_per_byte == sum(costs) / 24


@given(st.text(max_size=200) | st.text(alphabet="ab \n\t\u2028é", max_size=300))
@settings(max_examples=40, deadline=None)
def test_any_text_can_be_looked_at_and_parts_begin_where_they_are_said_to(completer, text):
    text = text.encode("utf-8", "replace").decode()
    for one in OddLineFinder(completer, threshold=1e-9).findings([text]):
        rest = text.split("\n")[one.line - 1][one.column - 1 :]
        assert rest.startswith(one.text.split()[0] if one.text.split() else one.text)


def test_a_line_without_end_is_looked_at_in_parts(completer):
    assert len(list(OddLineFinder(completer, threshold=1e-9)._lines(["a b " * 5000], None))) > 1
