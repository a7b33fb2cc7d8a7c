"""Anomalous lines: the figures against the definition, and the reported positions against the text."""

import math
import re
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gru_complete.checking.anomalous_lines import AnomalousLineFinder, _Line, _most_anomalous_run, _Part, _Usual
from gru_complete.checking.segment_reader import SegmentReader
from gru_complete.runtime.completer import Completer

USUAL = "The cat saw the old house and then the dog ate near the river.\n"
ODD = "The cat saw QZ#9!xX% the old house and then the dog ate near the river.\n"


@pytest.fixture(scope="module")
def completer(trained_model):
    return Completer.load(trained_model)


def test_only_the_odd_line_is_found_with_its_odd_part(completer):
    text = USUAL * 60 + ODD + USUAL * 60
    (found,) = AnomalousLineFinder(completer, threshold=6).findings([text])
    assert (found.line, found.column) == (61, 13)
    assert found.text.startswith("QZ#9!xX%")
    assert found.bits_per_byte > found.usual_bits_per_byte


def percentile(costs, share):
    return sorted(costs)[int(share * (len(costs) - 1))]


def test_bits_and_anomaly_scores_match_the_definition(completer):
    lines = [*[USUAL, "a cat 17 ate\n"] * 12, ODD, "\n", "  \n", "a cat 4 ate", " QZ#9!xX%"]
    segments = [segment for batch in SegmentReader(completer).batches(["".join(lines)]) for segment in batch]
    costs, places, sizes, before = {}, {}, {}, b""
    for segment in segments:
        newlines = segment.data.count(b"\n")
        number = segment.line + newlines
        place = b"" if newlines else re.sub(rb"\d+", b"0", before.strip())
        bits = sum(segment.costs) / math.log(2)
        costs.setdefault(number, []).append((place, bits))
        places.setdefault(place, []).append(bits)
        sizes[number] = sizes.get(number, 0) + len(segment.data)
        before = segment.data
    assert set(costs) == {*range(1, 26), 28}
    assert {len(places[b"a"]), len(places[b"0"]), len(places[b"ate"])} == {13, 14}
    assert len(places[b"QZ#0!xX%"]) == 1
    anywhere = [bits for others in places.values() for bits in others]
    scores = {}
    for number, parts in costs.items():
        scores[number] = 0.0
        for place, bits in parts:
            others = places[place] if len(places[place]) >= 10 else anywhere
            middle, high = percentile(others, 0.5), percentile(others, 0.9)
            scores[number] += max(0.0, (bits - middle) / (high - middle + 4) - 1)
    per_byte = {number: sum(bits for _, bits in parts) / sizes[number] for number, parts in costs.items()}
    findings = AnomalousLineFinder(completer, threshold=1e-9).findings(["".join(lines)])
    found = {finding.line: finding for finding in findings}
    assert {25, 28} <= set(found)
    expected = {line: pytest.approx(score) for line, score in scores.items() if score >= 1e-9}
    assert {line: finding.anomaly_score for line, finding in found.items()} == expected
    assert found[25].bits_per_byte == pytest.approx(per_byte[25])
    assert found[25].usual_bits_per_byte == pytest.approx(median(per_byte.values()))


def test_what_is_expensive_in_every_line_is_usual_and_in_one_line_anomalous(completer):
    """A word that the model does not know, in all lines but one; and a usual word in its place."""
    text = "".join(f"the cat Xq{number % 7}%Z ate\n" for number in range(150))
    assert list(AnomalousLineFinder(completer).findings([text])) == []
    (finding,) = AnomalousLineFinder(completer).findings([text + "the Xq9%Z cat ate\n" + text])
    assert (finding.line, finding.column) == (151, 5)


def test_the_reported_part_is_the_run_with_the_greatest_sum_of_excesses():
    parts = [_Part(1 + 4 * index, f"w{index}", 4, 1.0, b"") for index in range(6)]
    assert _most_anomalous_run(parts, [-1.0, 3.0, -0.5, 2.0, -2.0, 1.0]) == (5, "w1  w2  w3")


def test_the_number_of_places_and_costs_in_memory_is_bounded():
    usual = _Usual()
    for number in range(2500):
        usual.add(_Line(number, [_Part(1, "x", 1, 2.0, b"every line"), _Part(2, "y", 1, 2.0, b"%d" % number)]))
    assert len(usual._places) == 2000
    assert len(usual._places[b"every line"]) == 200


@given(st.text(max_size=200) | st.text(alphabet="ab \n\t\u2028é", max_size=300))
@settings(max_examples=40, deadline=None)
def test_any_text_can_be_checked_and_parts_begin_at_the_reported_positions(completer, text):
    text = text.encode("utf-8", "replace").decode()
    for finding in AnomalousLineFinder(completer, threshold=1e-9).findings([text]):
        rest = text.split("\n")[finding.line - 1][finding.column - 1 :]
        assert rest.startswith(finding.text.split()[0] if finding.text.split() else finding.text)


def test_a_very_long_line_is_checked_in_parts(completer):
    assert len(list(AnomalousLineFinder(completer, threshold=1e-9)._lines(["a b " * 5000], None))) > 1
