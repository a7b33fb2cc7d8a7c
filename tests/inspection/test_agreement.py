import math

import numpy as np
import pytest

from gru_complete.errors import CorpusError
from gru_complete.evaluation.pairs import Pair
from gru_complete.inspection.agreement import find_agreement
from gru_complete.model.architecture import Architecture
from gru_complete.model.directory import LoadedModel
from gru_complete.model.manifest import Manifest
from tests.fakes import LongestFirst

WORDS = LongestFirst(b" cat", b" cats", b" dog", b" dogs", b" was", b" were")


def model_that_minds_number(cell="gru-simple"):
    """Unit 1 opens at the four nouns only, and then holds 1 for a plural and -1 for a singular."""
    arch = Architecture(cell, WORDS.vocab_size, 3, 3, 1)
    weights = {name: np.zeros(shape) for name, shape in arch.tensor_shapes().items()}
    for token, number in ((257, -1), (258, 1), (259, -1), (260, 1)):
        weights["embedding"][token] = [1, number, 0]
    candidate = 3 * (len(weights["cells.0.bias"]) // 3 - 1)
    weights["cells.0.bias"][1] = -math.log(99)  # the gate is at 0.01 where nothing is to be written
    weights["cells.0.weight_x"][1] = [2 * math.log(99), 0, 0]  # and at 0.99 where something is
    weights["cells.0.weight_x"][candidate + 1] = [0, 10, 0]
    return LoadedModel(None, Manifest(arch, {}, {}, {}, {}, "0"), weights, WORDS, "")


def pairs(number=80, comma=False):
    """Sentences whose verb stands some words after a noun."""
    made = []
    for index in range(number):
        noun, right, wrong = [("cat", "was", "were"), ("dogs", "were", "was"), ("dog", "was", "were")][index % 3]
        filler = " in" * (index % 30 + 1)
        mark = "," if comma else ""
        start = f"The {noun}{mark}{filler}"
        distance = index % 30 + 2 + comma  # as the file has it, where a comma counts as a word
        made.append(Pair(f"{start} {right} here.", f"{start} {wrong} here.", "verb number", distance))
    return made


@pytest.mark.parametrize("comma", [False, True])
def test_the_unit_made_to_mind_the_number_is_found_with_its_gate(comma):
    (found,) = find_agreement(model_that_minds_number(), pairs(comma=comma))
    assert found.feature == "verb number: plural or singular"
    best = found.probe.followers[0]
    assert (best.unit.layer, best.unit.unit, best.sign, best.accuracy.value) == (0, 1, 1, 1.0)
    assert found.probe.num_fit + found.probe.num_tried == 80
    assert found.far[0].value == 1.0
    gate = found.gates[0]
    assert gate.at_cue == pytest.approx(0.99)
    assert [gate.mean, gate.smallest, gate.largest] == pytest.approx([0.01, 0.01, 0.01], rel=1e-4)
    assert gate.closed == 1.0
    record = found.to_json()["units"][0]
    assert record["gate"]["closed"] == 1.0
    assert record["accuracy_far"]["value"] == 1.0


def test_other_units_do_no_better_than_the_majority():
    (found,) = find_agreement(model_that_minds_number(), pairs())
    worse = found.probe.followers[1]
    assert worse.unit.unit != 1
    assert worse.accuracy.value == pytest.approx(found.probe.majority)


def test_a_simple_rnn_has_no_gate_to_show():
    (found,) = find_agreement(model_that_minds_number("rnn"), pairs())
    assert found.gates == (None, None, None)


def test_words_of_no_known_class_are_told_apart():
    made = [
        Pair(f"The {noun} eats {one}.", f"The {noun} eats {other}.", "food", 1)
        for noun, one, other in [("cat", "fish", "hay"), ("dogs", "hay", "fish")]
        for _ in range(15)
    ]
    (found,) = find_agreement(model_that_minds_number(), made)
    assert found.feature == "food: fish or hay"
    assert found.probe.followers[0].accuracy.value == 1.0
    many = [
        Pair(f"The {noun} eats {one}.", f"The {noun} eats {other}.", "food", 1)
        for noun, one, other in [("cat", "fish", "hay"), ("dogs", "hay", "Oats"), ("cat", "Oats", "fish")]
        for _ in range(25)
    ]
    reports = find_agreement(model_that_minds_number(), many)
    assert [report.feature for report in reports] == ["food: fish or another", "food: hay or another"] + [
        "food: Oats or another"
    ]


@pytest.mark.parametrize(
    "made",
    [
        [Pair("Was here", "Were here", "first word", 0)] * 50,
        [Pair("The cat", "The cat sat", "nothing wrong", 1)] * 50,
        pairs(10),
    ],
)
def test_too_few_pairs_are_refused(made):
    with pytest.raises(CorpusError, match="no phenomenon has 20 pairs"):
        find_agreement(model_that_minds_number(), made)
