"""Unusual wording against the definition: the ratios by brute force, the slips by hand, the places by looking there."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gru_complete.checking.error_model import ErrorModel
from gru_complete.checking.unusual_words import (
    DEFAULT_THRESHOLD,
    Alternative,
    UnusualWord,
    WordChecker,
    measure_threshold,
    threshold_from_manifest,
)
from gru_complete.errors import ModelError
from gru_complete.model.architecture import Architecture
from gru_complete.model.directory import load_model
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.predictor import Predictor
from gru_complete.runtime.stepper import Stepper
from gru_complete.text.tokenizer import segments

PIECES = (b"a", b"b", b"c", b" ", b",", b" a", b" b", b"ab", b" ab", b" c", b"bc", b" bc", b"a,", b" ca")
ALL_BUT_NOTHING = 1e-6  # a threshold


class ToyTokenizer:
    """Few pieces, the longest taken first."""

    def __init__(self):
        self.pieces = [b"", *PIECES]
        self.vocab_size = len(self.pieces)

    def encode_segment(self, text):
        tokens = []
        while text:
            piece = max((piece for piece in PIECES if text.startswith(piece)), key=len)
            tokens.append(self.pieces.index(piece))
            text = text[len(piece) :]
        return tokens


class Float64(Predictor):
    """Steps one at a time and in float64, so that sums can be compared closely."""

    def step_many(self, readings, tokens):
        return [self.step(reading, token) for reading, token in zip(readings, tokens, strict=True)]

    def log_probabilities(self, readings, overlay=None):
        logits = np.array([self.stepper.logits(reading.hidden) for reading in readings])
        logits -= logits.max(axis=1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


@pytest.fixture(scope="module")
def toy():
    tokenizer = ToyTokenizer()
    arch = Architecture("gru", tokenizer.vocab_size, 6, 8, 1)
    generator = np.random.default_rng(1)
    weights = {name: generator.normal(size=shape) for name, shape in arch.tensor_shapes().items()}
    return Completer(Float64(Stepper(arch, weights, np.float64)), tokenizer, width=None)


def probability_of_beginning(completer, reading, data):
    """Of all token sequences whose bytes begin with the data."""
    if not data:
        return 1.0
    row = np.exp(completer.predictor.log_probabilities([reading])[0])
    total = 0.0
    for token, piece in enumerate(completer.tokenizer.pieces):
        if piece and piece.startswith(data):
            total += row[token]
        elif piece and data.startswith(piece):
            rest = data[len(piece) :]
            total += row[token] * probability_of_beginning(completer, completer.predictor.step(reading, token), rest)
    return total


def probability(completer, reading, segment, following, later):
    """Of a segment and the byte that ends it, over all segmentations, and of what follows, in one."""
    tokens = completer.tokenizer.encode_segment(segment)
    after = completer.predictor.read(reading, tokens)
    result = probability_of_beginning(completer, reading, segment + following)
    result /= probability_of_beginning(completer, after, following)
    for token in later:
        result *= math.exp(completer.predictor.log_probabilities([after])[0, token])
        after = completer.predictor.step(after, token)
    return result


@pytest.mark.parametrize("text", ["ab a b", "a bc, ab c", "b", "a c ca bc b", "ca  ab, b"])
@pytest.mark.parametrize("lookahead", [0, 2, 100])
def test_ratios_are_those_of_the_texts_over_all_segmentations_of_the_word(toy, text, lookahead):
    checker = WordChecker(toy, threshold=ALL_BUT_NOTHING, lookahead=lookahead)
    parts = list(segments(text.encode()))
    found = list(checker.findings([text]))
    assert found
    for finding in found:
        start = index = 0
        while start + len(parts[index]) <= finding.offset:
            start += len(parts[index])
            index += 1
        reading = toy.predictor.read(
            toy.predictor.start(), [token for part in parts[:index] for token in toy.tokenizer.encode_segment(part)]
        )
        following = parts[index + 1][:1] if index + 1 < len(parts) else b""
        later = [token for part in parts[index + 1 :] for token in toy.tokenizer.encode_segment(part)][:lookahead]
        place = finding.offset - start
        for one in finding.alternatives:
            data = parts[index]
            other = data[:place] + one.word.encode() + data[place + len(finding.word) :]
            with_it = probability(toy, reading, other, following, later)
            as_it_stands = probability(toy, reading, data, following, later)
            assert one.ratio == pytest.approx(with_it / as_it_stands, rel=1e-6)


def test_a_threshold_takes_those_with_such_odds_and_odds_are_ratio_times_slip(toy):
    text = "ab a b c ca, bc ab a"
    everything = list(WordChecker(toy, threshold=ALL_BUT_NOTHING, lookahead=0).findings([text]))
    best = sorted(finding.alternatives[0].odds for finding in everything)
    threshold = best[len(best) // 2]
    some = list(WordChecker(toy, threshold=threshold, lookahead=0).findings([text]))
    assert [one.offset for one in some] == [one.offset for one in everything if one.alternatives[0].odds >= threshold]
    for finding in everything:
        odds = [alternative.odds for alternative in finding.alternatives]
        assert odds == sorted(odds, reverse=True)
        assert all(one.odds <= one.ratio * (1 + 1e-9) for one in finding.alternatives)  # a slip is a probability
        assert finding.word not in {one.word for one in finding.alternatives}


def test_a_slip_is_as_likely_as_the_word_is_frequent_and_alike(toy):
    slips = ErrorModel(toy)
    words = slips.words_after(b" ")
    assert words.words == ["a", "ab", "b", "bc", "c", "ca"]
    vectors = toy.predictor.stepper.embedding - toy.predictor.stepper.embedding.mean(axis=0)
    pieces = toy.tokenizer.pieces
    bias = toy.predictor.stepper.output_bias

    def weight(token, meant):
        one, other = vectors[token], vectors[meant]
        cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
        return math.exp(bias[token] + 6 * min(cosine, 0.6))

    tokens = [pieces.index(b" " + word.encode()) for word in words.words]
    for written in ("b", "ca"):
        token = pieces.index(b" " + written.encode())
        got = slips.log_probabilities(written, [token], words)
        for meant, log_probability in zip(tokens, got, strict=True):
            whole = sum(weight(other, meant) for other in tokens)
            assert log_probability == pytest.approx(math.log(weight(token, meant) / whole), abs=1e-4)


@given(st.lists(st.sampled_from(["a", "ab", "b", "bc", "c", "ca"]), min_size=2, max_size=8))
@settings(max_examples=30, deadline=None)
def test_what_is_found_is_what_likelier_findings_do_not_explain(toy, words):
    checker = WordChecker(toy, threshold=0.3, lookahead=100)  # so that all is near

    def found_in(words):
        found = {one.finding.offset: one.finding for one in checker._all_findings([" ".join(words)], None)}
        starts = [sum(len(word) + 1 for word in words[:index]) for index in range(len(words))]
        return {index: found[start] for index, start in enumerate(starts) if start in found}

    expected, corrected = {}, list(words)
    for index, finding in sorted(found_in(words).items(), key=lambda one: -one[1].alternatives[0].odds):
        if index in found_in(corrected):
            expected[index] = finding
            corrected[index] = finding.alternatives[0].word
    assert list(checker.findings([" ".join(words)])) == [finding for _, finding in sorted(expected.items())]


@given(st.text(alphabet="abc ,", max_size=60), st.integers(1, 20))
@settings(max_examples=25, deadline=None)
def test_findings_do_not_depend_on_how_the_text_is_cut(toy, text, size):
    checker = WordChecker(toy, threshold=0.5)
    cut = [text[start : start + size] for start in range(0, len(text), size)]
    assert list(checker.findings(cut)) == list(checker.findings([text]))


@pytest.fixture(scope="module")
def trained(trained_model):
    return WordChecker(Completer.load(trained_model), threshold=1e-3)


@given(st.text(max_size=200) | st.text(alphabet="the cat\n\t,’'ñ字\U0001f9d1-", max_size=200))
@settings(max_examples=60, deadline=None)
def test_any_text_can_be_looked_at_and_words_stand_where_they_are_said_to_stand(trained, text):
    text = text.replace("\0", "").encode("utf-8", "replace").decode()
    for finding in trained.findings([text]):
        assert text[finding.offset :].startswith(finding.word)
        assert text.split("\n")[finding.line - 1][finding.column - 1 :].startswith(finding.word)


def test_a_long_text_is_looked_at_to_its_end_in_windows_that_do_not_show(trained):
    sentence = "The cat saw the old house near the river. "
    seen = []
    found = list(trained.findings([sentence * 40], seen.append))
    assert max(finding.offset for finding in found) > 39 * len(sentence)
    assert 0.5 * 40 * len(sentence) < sum(seen) <= 40 * len(sentence)
    assert len({finding.offset for finding in found}) == len(found)


def shuffled(num_words, seed):
    words = ["the", "a", "cat", "dog", "bird", "house", "river", "ate", "saw", "liked", "old", "red", "green", "small"]
    return " ".join(random.Random(seed).choices(words, k=num_words))


def test_the_threshold_is_five_times_what_one_word_in_fifty_reaches(trained_model, monkeypatch):
    odds = np.random.default_rng(0).pareto(1.0, size=500) + 0.001
    least_asked = []

    def findings(self, texts):
        for one in odds:
            least_asked.append(self.threshold)
            if one >= self.threshold:
                yield UnusualWord(1, 1, 0, "a", (Alternative("b", 1.0, one),))

    monkeypatch.setattr(WordChecker, "findings", findings)
    threshold = measure_threshold(load_model(trained_model), [shuffled(250, seed=1), shuffled(250, seed=2)])
    twice = np.sort([*odds, *odds])
    assert threshold == {"check_threshold": pytest.approx(5 * twice[-10], rel=1e-3)}
    assert least_asked[0] == 0.03
    assert np.all(np.diff(least_asked) >= 0)


def test_a_threshold_that_was_measured_is_the_models(trained_model):
    model = load_model(trained_model)
    metrics = measure_threshold(model, [shuffled(500, seed=1)])
    assert threshold_from_manifest(model.manifest._replace(metrics=metrics)) == metrics["check_threshold"]
    assert metrics["check_threshold"] > 0.15


def test_a_model_that_finds_nothing_unusual_has_the_least_threshold(trained_model, monkeypatch):
    monkeypatch.setattr(WordChecker, "findings", lambda self, texts: iter(()))
    assert measure_threshold(load_model(trained_model), [shuffled(1000, seed=1)]) == {"check_threshold": 0.15}


def test_of_little_text_no_threshold_is_measured(trained_model):
    assert measure_threshold(load_model(trained_model), ["The cat saw. " * 99]) == {}
    assert measure_threshold(load_model(trained_model), []) == {}


@pytest.mark.parametrize(
    ("said", "threshold"),
    [
        (7.5, 7.5),
        (0.2, 0.2),
        *(
            (value, DEFAULT_THRESHOLD)
            for value in (None, "7.5", True, 0.0, -3.0, 1e-7, 1e13, math.inf, math.nan, [7.5])
        ),
    ],
)
def test_the_threshold_is_what_the_model_says_if_that_can_be(trained_model, said, threshold):
    manifest = load_model(trained_model).manifest
    assert threshold_from_manifest(manifest._replace(metrics={"check_threshold": said})) == threshold
    assert threshold_from_manifest(manifest._replace(metrics={})) == DEFAULT_THRESHOLD


def test_scores_that_are_no_numbers_are_a_damaged_model(toy):
    class Damaged(Float64):
        def log_probabilities(self, readings, overlay=None):
            return np.full((len(readings), toy.tokenizer.vocab_size), np.nan)

    completer = Completer(Damaged(toy.predictor.stepper), toy.tokenizer)
    with pytest.raises(ModelError):
        list(WordChecker(completer).findings(["ab a b"]))
