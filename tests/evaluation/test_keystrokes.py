from types import SimpleNamespace

import pytest

from gru_complete.evaluation import keystrokes
from gru_complete.evaluation.keystrokes import TypedWord, count_words, evaluate_keystrokes
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.words import most_likely_words


class Toy:
    """A model that only knows where it is; what it suggests there is asked of a table."""

    def read(self, data, context=None):
        text = (context.text if context else b"") + data
        return SimpleNamespace(text=text, segment=text, decoder_state=text)

    def hypotheses(self, context):
        return SimpleNamespace(text=context.text.decode(), start=None)


SUGGESTED = {
    "": ["A", "The"],
    "T": ["o"],
    "Th": ["e", "at"],
    "The": [" cat"],  # which nobody asks for: the word may go on
    "The ": ["dog", "cow", "cap", "cat"],
    "The c": ["ow", "ap", "at"],
    "The ca": ["t"],
    "The cat,": [" sat"],
    "The cat, ": ["sat"],
}


@pytest.fixture
def asked(monkeypatch):
    """Lets the table answer; returns the texts that were asked about, and for how many words."""
    found = []

    def is_among(hypotheses, completion, counts):
        found.append((hypotheses.text, list(counts)))
        listed = SUGGESTED.get(hypotheses.text, [])
        return [completion.decode() in listed[:count] for count in counts]

    monkeypatch.setattr(keystrokes, "is_among", is_among)
    return found


def test_keys_agree_with_a_count_by_hand(asked):
    told = []
    report = evaluate_keystrokes(Toy(), ["The cat, sat"], progress=told.append)
    # One suggestion: "T", "h", take "The " (which writes the space); its space, "c", "a", take "t"; ",", take " sat".
    # So 3 - 1, 4 and 2 keys. Three: take "The "; the space, "c", take "at"; ",", take " sat": 1 - 1, 3 and 2 keys.
    assert report.savings[1].value == pytest.approx(1 - (2 + 4 + 2) / 12)
    assert report.savings[3].value == pytest.approx(1 - (0 + 3 + 2) / 12)
    # Before their first letters, "The" is second, "cat" is fourth and "sat" is first.
    assert [report.next_word[number].value for number in (1, 3, 5)] == pytest.approx([1 / 3, 2 / 3, 1])
    assert (report.num_words, told) == (3, [1, 1, 1])
    assert asked == [
        ("", [1, 3, 5]), ("T", [1]), ("Th", [1]),
        ("The ", [1, 3, 5]), ("The c", [1, 3]), ("The ca", [1]),
        ("The cat,", [1, 3]), ("The cat, ", [1, 3, 5]),
    ]  # fmt: skip


def test_a_text_without_suggestions_takes_as_many_keys_as_characters(asked):
    report = evaluate_keystrokes(Toy(), ["Xyz uvw.", "", "!", "Ünd"])
    assert report.savings[1] == report.savings[3] == (0, 0, 0)
    assert report.next_word[5].value == 0
    assert count_words(["Xyz uvw.", "", "!", "Ünd"]) == 3
    assert evaluate_keystrokes(Toy(), ["", "..."]) is None


def test_the_words_are_evenly_spaced_over_all_documents(monkeypatch):
    seen = []

    def type_word(completer, sampled):
        seen.append((sampled.prompt_state.text.decode(), sampled.before, sampled.word, sampled.following))
        return TypedWord(1, (1, 1), (False, False, False))

    monkeypatch.setattr(keystrokes, "_type_word", type_word)
    evaluate_keystrokes(Toy(), ["a b c", "- d, e\n", "f"], num_words=3)
    assert seen == [("a", " ", "b", " "), ("", "- ", "d", ","), ("", "", "f", "")]  # the 2nd, 4th and 6th of six


def test_suggestions_are_those_of_complete_words(trained_model, monkeypatch):
    completer = Completer.load(trained_model)
    text = "The old cat saw a small bird near the river."
    quick = evaluate_keystrokes(completer, [text])

    def is_among(hypotheses, completion, counts):
        listed = [word.completion for word in most_likely_words(hypotheses, max(counts))]
        return [completion in listed[:count] for count in counts]

    monkeypatch.setattr(keystrokes, "is_among", is_among)
    assert evaluate_keystrokes(completer, [text]) == quick
    assert quick.savings[3].value >= quick.savings[1].value > 0


def test_json_has_the_documented_keys():
    typed = [TypedWord(4, (4, 2), (False, True, True)), TypedWord(6, (6, 3), (False, False, True))]
    record = keystrokes.KeystrokesReport.from_words(typed).to_json()
    assert record["keystroke_savings"]["1"] == 0
    assert record["keystroke_savings"]["3"] == 0.5
    assert record["keystroke_savings"]["intervals"]["3"] == {"value": 0.5, "low": 0.5, "high": 0.5}
    assert record["next_word"]["top1"] == 0
    assert record["next_word"]["top3"] == 0.5
    assert record["next_word"]["top5"] == 1
    assert record["next_word"]["num_words"] == record["keystroke_savings"]["num_words"] == 2
