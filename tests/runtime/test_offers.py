import math

import numpy as np
import pytest

from gru_complete.runtime.completer import Completer
from gru_complete.runtime.offers import offered


class Texts:
    """Stands in for ``Hypotheses``: the document goes on with one of a few texts, each with its chance, and ends."""

    def __init__(self, chances, segment=b""):
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


def offer(chances, min_confidence, segment=b"", **options):
    characters = list(offered(Texts(chances, segment), min_confidence, **options))
    return b"".join(character.data for character in characters).decode(), [chance for _, chance in characters]


TEXTS = {"the cat": 0.2, "the dog": 0.3, "then": 0.1, "a bird": 0.4}


@pytest.mark.parametrize(
    ("min_confidence", "expected"), [(0.61, ""), (0.6, "the"), (0.5, "the "), (0.3, "the dog"), (0.01, "the dog")]
)
def test_an_offer_goes_as_far_as_its_text_is_likely_enough(min_confidence, expected):
    assert offer(TEXTS, min_confidence - 1e-12)[0] == expected


def test_its_probability_is_that_of_the_text():
    assert offer(TEXTS, 0.01)[1] == pytest.approx([0.6, 0.6, 0.6, 0.5, 0.3, 0.3, 0.3])


def test_it_takes_what_is_likeliest_together():
    assert offer({"one": 0.25, "once": 0.25, "only": 0.1, "all": 0.4}, 0.5)[0] == "on"


def test_it_ends_with_the_document():
    assert offer({"": 0.6, "more": 0.4}, 0.1)[0] == ""
    assert offer({"go": 0.9, "gone": 0.1}, 0.1)[0] == "go"


def test_it_is_whole_characters():
    assert offer({"né": 0.5, "nê": 0.5}, 0.6)[0] == "n"
    text, chances = offer({"né": 0.5, "nê": 0.5}, 0.4)
    assert (text, len(chances)) == ("né", 2)


def test_a_character_that_was_begun_is_finished():
    (character,) = offered(Texts({b"\xa9": 1.0}, b"caf\xc3"), 0.5)
    assert (character.data, character.probability) == (b"\xa9", pytest.approx(1))


@pytest.mark.parametrize("following", [b"a\x1b[1m", b"a\xff", b"a\xc2\x85", b"a\x80"])
def test_what_is_no_text_ends_it(following):
    assert offer({following: 1.0}, 0.5)[0] == "a"


def test_it_is_bounded():
    assert offer({"a" * 1000: 1.0}, 0.5, max_bytes=7)[0] == "a" * 7


def test_of_a_model_it_is_as_likely_as_its_text(trained_model):
    completer = Completer.load(trained_model)
    hypotheses = completer.hypotheses(completer.read(b"The old ho"))
    characters = list(offered(hypotheses, 0.01))
    assert characters
    data = b"".join(character.data for character in characters)
    assert math.log(characters[-1].probability) == pytest.approx(hypotheses.extended(data)[1], abs=0.02)
    shorter = list(offered(hypotheses, characters[0].probability))
    assert shorter == characters[: len(shorter)]
