"""Unusual words: the ratios against brute force, the reported positions against the text."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gru_complete.checking.unusual_words import WordChecker
from gru_complete.errors import ModelError
from gru_complete.runtime.completer import Completer
from gru_complete.text.tokenizer import segments

ALL_BUT_NOTHING = 1e-6  # a threshold


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
def test_ratios_match_brute_force_over_all_segmentations_of_the_word(toy, text, lookahead):
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
        for alternative in finding.alternatives:
            data = parts[index]
            other = data[:place] + alternative.word.encode() + data[place + len(finding.word) :]
            with_it = probability(toy, reading, other, following, later)
            unchanged = probability(toy, reading, data, following, later)
            assert alternative.ratio == pytest.approx(with_it / unchanged, rel=1e-6)


def test_a_threshold_selects_by_odds_which_are_at_most_the_ratios(toy):
    text = "ab a b c ca, bc ab a"
    everything = list(WordChecker(toy, threshold=ALL_BUT_NOTHING, lookahead=0).findings([text]))
    best = sorted(finding.alternatives[0].odds for finding in everything)
    threshold = best[len(best) // 2]
    some = list(WordChecker(toy, threshold=threshold, lookahead=0).findings([text]))
    assert [one.offset for one in some] == [one.offset for one in everything if one.alternatives[0].odds >= threshold]
    for finding in everything:
        odds = [alternative.odds for alternative in finding.alternatives]
        assert odds == sorted(odds, reverse=True)
        # The factor between odds and ratio is a probability.
        assert all(one.odds <= one.ratio * (1 + 1e-9) for one in finding.alternatives)
        assert finding.word not in {one.word for one in finding.alternatives}


@given(st.lists(st.sampled_from(["a", "ab", "b", "bc", "c", "ca"]), min_size=2, max_size=8))
@settings(max_examples=30, deadline=None)
def test_findings_are_those_that_corrections_with_greater_odds_do_not_explain(toy, words):
    checker = WordChecker(toy, threshold=0.3, lookahead=100)  # so that all is near

    def found_in(words):
        found = {one.finding.offset: one.finding for one in checker._detections([" ".join(words)], None)}
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
def test_any_text_can_be_checked_and_words_are_at_the_reported_positions(trained, text):
    text = text.replace("\0", "").encode("utf-8", "replace").decode()
    for finding in trained.findings([text]):
        assert text[finding.offset :].startswith(finding.word)
        assert text.split("\n")[finding.line - 1][finding.column - 1 :].startswith(finding.word)


def test_a_long_text_is_checked_to_its_end_without_duplicates(trained):
    sentence = "The cat saw the old house near the river. "
    seen = []
    found = list(trained.findings([sentence * 40], seen.append))
    assert max(finding.offset for finding in found) > 39 * len(sentence)
    assert 0.5 * 40 * len(sentence) < sum(seen) <= 40 * len(sentence)
    assert len({finding.offset for finding in found}) == len(found)


def test_scores_that_are_not_numbers_mean_a_damaged_model(toy):
    class Damaged(type(toy.predictor)):
        def log_probabilities(self, readings, overlay=None):
            return np.full((len(readings), toy.tokenizer.vocab_size), np.nan)

    completer = Completer(Damaged(toy.predictor.stepper), toy.tokenizer)
    with pytest.raises(ModelError):
        list(WordChecker(completer).findings(["ab a b"]))
