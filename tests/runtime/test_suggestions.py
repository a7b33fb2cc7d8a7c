import math

import numpy as np
import pytest

from gru_complete.errors import UsageError
from gru_complete.runtime.boundaries import TextCutter, boundary
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.options import CompletionOptions
from gru_complete.runtime.piece_index import PieceIndex
from gru_complete.runtime.suggestions import SuggestionStream, suggest


class Texts:
    """Stands in for ``Hypotheses``: the document goes on with one of a few texts, each with its chance, and ends."""

    def __init__(self, chances, segment=b"", pieces=()):
        self.pieces = PieceIndex([b"", *(bytes([byte]) for byte in range(256)), *pieces])
        self.chances = {
            (text if isinstance(text, bytes) else text.encode()): chance for text, chance in chances.items()
        }
        self.segment = segment

    def next_bytes(self):
        found = np.zeros(257)
        for text, chance in self.chances.items():
            found[text[0] if text else 256] += chance
        return found / found.sum()

    def extended(self, data):
        (byte,) = data
        left = {text[1:]: chance for text, chance in self.chances.items() if text[:1] == data}
        return Texts(left, self.segment + bytes([byte])), 0.0


def suggestion(chances, min_confidence, segment=b"", **options):
    characters = list(suggest(Texts(chances, segment), min_confidence, **options))
    return b"".join(character.data for character in characters).decode(), [chance for _, chance in characters]


TEXTS = {"the cat": 0.2, "the dog": 0.3, "then": 0.1, "a bird": 0.4}


@pytest.mark.parametrize(
    ("min_confidence", "expected"), [(0.61, ""), (0.6, "the"), (0.5, "the "), (0.3, "the dog"), (0.01, "the dog")]
)
def test_a_suggestion_extends_as_far_as_its_text_is_likely_enough(min_confidence, expected):
    assert suggestion(TEXTS, min_confidence - 1e-12)[0] == expected


def test_its_probability_is_that_of_the_text():
    assert suggestion(TEXTS, 0.01)[1] == pytest.approx([0.6, 0.6, 0.6, 0.5, 0.3, 0.3, 0.3])


def test_it_takes_what_is_most_likely_together():
    assert suggestion({"one": 0.25, "once": 0.25, "only": 0.1, "all": 0.4}, 0.5)[0] == "on"


def test_it_ends_with_the_document():
    assert suggestion({"": 0.6, "more": 0.4}, 0.1)[0] == ""
    assert suggestion({"go": 0.9, "gone": 0.1}, 0.1)[0] == "go"


def test_it_is_whole_characters():
    assert suggestion({"né": 0.5, "nê": 0.5}, 0.6)[0] == "n"
    text, chances = suggestion({"né": 0.5, "nê": 0.5}, 0.4)
    assert (text, len(chances)) == ("né", 2)


def test_an_unfinished_character_is_finished():
    (character,) = suggest(Texts({b"\xa9": 1.0}, b"caf\xc3"), 0.5)
    assert (character.data, character.probability) == (b"\xa9", pytest.approx(1))


@pytest.mark.parametrize("following", [b"a\x1b[1m", b"a\xff", b"a\xc2\x85", b"a\x80"])
def test_bytes_that_are_not_text_end_it(following):
    assert suggestion({following: 1.0}, 0.5)[0] == "a"


def test_it_is_bounded():
    assert suggestion({"a" * 1000: 1.0}, 0.5, max_bytes=7)[0] == "a" * 7


def test_with_a_model_it_is_as_likely_as_its_text(trained_model):
    completer = Completer.load(trained_model)
    hypotheses = completer.hypotheses(completer.read(b"The old ho"))
    characters = list(suggest(hypotheses, 0.01))
    assert characters
    data = b"".join(character.data for character in characters)
    assert math.log(characters[-1].probability) == pytest.approx(hypotheses.extended(data)[1], abs=0.02)
    shorter = list(suggest(hypotheses, characters[0].probability))
    assert shorter == characters[: len(shorter)]


# ------------------------------------------------------------------------------------------------- as a completion


def completion(chances, min_confidence, *, segment=b"", pieces=(), until="none", stop=(), max_tokens=100):
    options = CompletionOptions(max_tokens, until, min_confidence=min_confidence)
    cutter = TextCutter(boundary(until, before=segment.decode(errors="ignore"), abbreviations=()), stop)
    stream = SuggestionStream(Texts(chances, segment, pieces), cutter, options)
    written = list(stream)
    assert all(written)
    assert b"".join(written) == stream.result.data
    assert list(stream) == written
    return stream.result


def test_a_suggestion_says_how_likely_its_text_is_and_why_it_ends():
    assert completion(TEXTS, 0.61)[1:5] == (b"", 0, 0.0, "confidence")
    done = completion(TEXTS, 0.5 - 1e-12)
    assert (done.data, done.stop_reason) == (b"the ", "confidence")
    assert done.logprob == pytest.approx(math.log(0.5))
    done = completion(TEXTS, 0.0)
    assert (done.data, done.stop_reason) == (b"the dog", "document_end")
    assert completion(TEXTS, 0.5 - 1e-12, until="word").stop_reason == "until"


def test_its_probability_is_that_of_the_text_that_is_kept():
    done = completion(TEXTS, 0.1, until="word")
    assert (done.data, done.stop_reason) == (b"the", "until")
    assert done.logprob == pytest.approx(math.log(0.6))
    done = completion(TEXTS, 0.1, stop=("dog",))
    assert (done.data, done.stop_reason) == (b"the ", "stop")
    assert done.logprob == pytest.approx(math.log(0.5))


@pytest.mark.parametrize("until", ["word", "sentence", "paragraph", "none"])
@pytest.mark.parametrize("stop", [(), ("he d",), (" and",), ("\n\n",)])
def test_a_suggestion_with_more_confidence_begins_the_one_with_less(until, stop):
    texts = {"the dogs.\n\nThen": 0.2, "the dogs. And": 0.1, "the dogs and": 0.2, "the dogs": 0.1, "they": 0.4}
    found = [completion(texts, percent / 100, until=until, stop=stop) for percent in range(101)]
    assert found[0].data
    for less, more in zip(found, found[1:], strict=False):
        assert less.data.startswith(more.data)
        assert less.logprob <= more.logprob


def test_the_first_character_of_a_suggestion_may_begin_in_the_prompt():
    done = completion({b"\xa9 noir": 0.9, b"\xa8": 0.1}, 0.5, segment=b"caf\xc3", until="word")
    assert (done.data, done.logprob) == (b"\xa9", pytest.approx(math.log(0.9)))


@pytest.mark.parametrize(
    ("max_tokens", "text"), [(1, b"anese"), (2, b"anese food"), (3, b"anese food "), (4, b"anese food i")]
)
def test_a_suggestion_ends_before_it_takes_more_tokens_than_allowed(max_tokens, text):
    pieces = (b" Japanese", b" Japan", b"ese", b" food")
    done = completion({"anese food in": 1.0}, 0.5, segment=b" Jap", pieces=pieces, max_tokens=max_tokens)
    assert (done.data, done.tokens, done.stop_reason) == (text, max_tokens, "max_tokens")


def test_without_a_confidence_a_suggestion_ends_before_its_probability_underflows():
    texts = {"".join("b" if index == place else "a" for index in range(place + 1)): 0.4 for place in range(1500)}
    texts = {text: 0.6 ** len(text) for text in texts} | {"a" * 1501: 0.6**1501}
    done = completion(texts, 0.0, max_tokens=10_000)
    assert math.isfinite(done.logprob)


def test_suggestions_do_not_go_with_options_that_have_no_meaning_for_them():
    for options in ({"beam": 2}, {"logprobs": 2}):
        with pytest.raises(UsageError, match="min-confidence does not go with"):
            CompletionOptions(min_confidence=0.5, **options)
