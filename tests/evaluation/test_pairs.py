import dataclasses
import json
import random

import pytest
import torch

from gru_complete.errors import CorpusError
from gru_complete.evaluation.pairs import Pair, PairScore, distance_label, evaluate_pairs, read_pairs
from gru_complete.evaluation.report import network_from_model
from gru_complete.model.directory import load_model

BORDERS = [
    (0, "1-5"), (1, "1-5"), (5, "1-5"), (6, "6-10"), (10, "6-10"), (11, "11-20"), (20, "11-20"), (21, "21-40"),
    (40, "21-40"), (41, "41-60"), (60, "41-60"), (61, "61+"), (10**9, "61+"),
]  # fmt: skip


@pytest.mark.parametrize(("distance", "label"), BORDERS)
def test_distances_fall_into_groups_at_these_borders(distance, label):
    assert distance_label(distance) == label


@pytest.fixture(scope="module")
def loaded(trained_model):
    model = load_model(trained_model)
    return network_from_model(model, torch.device("cpu")), model.tokenizer


@pytest.fixture
def uniform(trained_model):
    """A model that finds all tokens equally likely, with its tokenizer."""
    model = load_model(trained_model)
    module = network_from_model(model, torch.device("cpu"))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    return module, model.tokenizer


def test_a_tie_counts_one_half(uniform):
    module, tokenizer = uniform
    right, wrong = "a\x01\x02", "a\x02\x01"  # single bytes: as many tokens each
    assert len(tokenizer.encode(right.encode())) == len(tokenizer.encode(wrong.encode()))
    report = evaluate_pairs(module, tokenizer, [Pair(right, wrong, "order", 1)])
    assert report.overall == PairScore(0.5, 1)


def test_a_uniform_model_prefers_the_shorter_text(uniform):
    report = evaluate_pairs(*uniform, [Pair("\x01", "\x01\x02", "a", 1), Pair("\x01\x02", "\x01", "a", 1)])
    assert report.overall == PairScore(0.5, 2)
    report = evaluate_pairs(*uniform, [Pair("\x01", "\x01\x02", "a", 1)])
    assert report.overall == PairScore(1.0, 1)


def test_groups_are_scored_separately_and_listed_in_order(loaded):
    good, bad = ("The cat ate.", "zqx jvk wq"), ("zqx jvk wq", "The cat ate.")
    pairs = [Pair(*good, "b", 61), Pair(*bad, "a", 6), Pair(*good, "b", 6), Pair(*bad, "b", 5)]
    report = evaluate_pairs(*loaded, pairs)
    assert report.overall == PairScore(0.5, 4)
    assert report.by_phenomenon == {"a": PairScore(0.0, 1), "b": PairScore(2 / 3, 3)}
    assert list(report.by_distance.items()) == [
        ("1-5", PairScore(0.0, 1)),
        ("6-10", PairScore(0.5, 2)),
        ("61+", PairScore(1.0, 1)),
    ]


def test_swapping_right_and_wrong_reverses_every_score(loaded):
    pairs = [Pair("The cat ate.", "The ate cat.", "order", 1), Pair("a dog", "a gdo", "letters", 9)]
    swapped = [Pair(pair.wrong, pair.right, pair.phenomenon, pair.distance) for pair in pairs]
    there, back = (evaluate_pairs(*loaded, each).overall.accuracy for each in (pairs, swapped))
    assert there + back == 1


def test_pairs_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "pairs.jsonl"
    record = {"right": "sie läuft 🏃", "wrong": "sie laufen", "phenomenon": "number", "distance": 0}
    path.write_text(json.dumps(record) + "\n")
    assert read_pairs(path) == [Pair("sie läuft 🏃", "sie laufen", "number", 0)]


@pytest.mark.parametrize("key", ["right", "wrong", "phenomenon"])
def test_half_a_character_is_refused_with_its_line(tmp_path, key):
    path = tmp_path / "pairs.jsonl"
    record = {"right": "a", "wrong": "b", "phenomenon": "c", "distance": 1}
    path.write_text(f"{json.dumps(record)}\n{json.dumps({**record, key: chr(0xD800)})}\n")
    with pytest.raises(CorpusError, match="line 2: not a pair"):
        read_pairs(path)


def test_a_mark_blank_lines_and_equal_texts_are_what_public_files_have(tmp_path, uniform):
    path = tmp_path / "pairs.jsonl"
    rng = random.Random(0)
    for _ in range(100):
        pairs = [
            Pair(rng.choice("ab"), rng.choice("ab"), "letters", rng.randrange(70)) for _ in range(rng.randint(1, 8))
        ]
        lines = [json.dumps(dataclasses.asdict(pair)) for pair in pairs]
        for blank in rng.choices(["", " ", "\t"], k=rng.randrange(4)):
            lines.insert(rng.randrange(len(lines) + 1), blank)
        text = rng.choice(["\n", "\r\n"]).join(lines) + rng.choice(["", "\n", "\n\n"])
        path.write_text(text, newline="", encoding=rng.choice(["utf-8", "utf-8-sig"]))
        assert read_pairs(path) == pairs
    ties = [Pair("a b", "a b", "none", 1), Pair("\x01", "\x01\x02", "length", 1)]
    assert evaluate_pairs(*uniform, ties).by_phenomenon == {"length": PairScore(1.0, 1), "none": PairScore(0.5, 1)}


def test_a_line_is_counted_as_an_editor_counts_it(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n\n" + json.dumps(dataclasses.asdict(Pair("a", "b", "c", 1))) + "\n\nnot a pair\n")
    with pytest.raises(CorpusError, match="line 5: not a pair"):
        read_pairs(path)
    path.write_text("\n \n")
    with pytest.raises(CorpusError, match="holds no pairs"):
        read_pairs(path)
