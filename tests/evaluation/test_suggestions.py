import pytest

from gru_complete.evaluation import suggestions
from gru_complete.evaluation.suggestions import evaluate_suggestions
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.suggestions import SuggestedCharacter


class Parrot:
    """Reads, and knows only where it is."""

    def read(self, data, context=""):
        return context + data.decode()

    def hypotheses(self, context):
        return context


def test_suggestions_are_compared_with_the_text_that_follows(monkeypatch):
    answers = {"": [("a", 0.9), ("b", 0.5)], "ab": [("c", 0.6), ("x", 0.5)], "abcd": [], "x": [("y", 0.4)]}

    def suggest(text, least):
        return [SuggestedCharacter(data.encode(), chance) for data, chance in answers.get(text, []) if chance >= least]

    monkeypatch.setattr(suggestions, "suggest", suggest)
    monkeypatch.setattr(
        suggestions, "_sample_places", lambda *_: [("", "abcdef"), ("ab", "cdef"), ("abcd", "ef"), ("x", "yz")]
    )
    told = []
    report = evaluate_suggestions(Parrot(), [""], confidences=(0.5, 0.55, 0.95), progress=told.append)
    low, middle, high = report.tradeoffs
    assert report.num_positions == sum(told) == 4
    assert (low.suggested.value, low.accepted.value, low.mean_length, low.saved.value) == (0.5, 0.5, 2, 0.25)
    assert (middle.suggested.value, middle.accepted.value, middle.mean_length, middle.saved.value) == (0.5, 1, 1, 0)
    assert (high.suggested.value, high.accepted.value, high.mean_length, high.saved.value) == (0, 0, 0, 0)
    assert low.to_json()["offered"]["value"] == 0.5


@pytest.mark.parametrize("number", [1, 3, 8, 100])
def test_places_are_evenly_spaced_and_their_texts_are_read_from_the_start(number):
    documents = ["abc", "", "défgh"]
    places = list(suggestions._sample_places(Parrot(), documents, number))
    assert len(places) == min(number, 8)
    found = [before + following for before, following in places]
    assert all(text in documents for text in found)
    starts = [len(before) + (3 if text == "défgh" else 0) for (before, _), text in zip(places, found, strict=True)]
    assert len({b - a for a, b in zip(starts, starts[1:], strict=False)}) <= 2
    assert starts == sorted(set(starts))


def test_a_higher_confidence_gives_fewer_suggestions(trained_model):
    report = evaluate_suggestions(Completer.load(trained_model), ["The old house saw a cat. The dog liked the river."])
    assert report.num_positions == 49
    shares = [tradeoff.suggested.value for tradeoff in report.tradeoffs]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0
