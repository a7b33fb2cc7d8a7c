import random

import numpy as np
import pytest

from gru_complete.text.tokenizer import DOCUMENT_END
from gru_complete.training.beginnings import MAX_BEGINNINGS, first_tokens
from tests.fakes import LongestFirst


@pytest.fixture(scope="module")
def tokenizer():
    return LongestFirst(b"\n\n", b"ab", b" cd")


def stream_of(tokenizer, *texts):
    return np.array([DOCUMENT_END, *(token for text in texts for token in (*tokenizer.encode(text), DOCUMENT_END))])


def test_lines_paragraphs_and_documents_begin_as_prompts_do(tokenizer):
    stream = stream_of(tokenizer, b"ab cd\nxy\n\nab ab\n", b"zz")

    def texts(start, number=3):
        return [tokenizer.decode(tokens) for tokens in first_tokens(tokenizer, stream, start, number=number)]

    assert texts("\n") == [b"\nab cd", b"\nxy", b"\nab ", b"\nzz"]
    assert texts("\n\n") == [b"\n\nab cd", b"\n\nab ", b"\n\nzz"]
    assert texts("") == [b"ab cd\n", b"zz"]


@pytest.mark.parametrize("seed", range(5))
def test_of_many_some_are_taken_evenly(tokenizer, seed):
    lines = [b"ab" * random.Random(seed + place).randint(1, 9) for place in range(3000)]
    found = first_tokens(tokenizer, stream_of(tokenizer, b"\n".join(lines)), "\n", number=2)
    assert MAX_BEGINNINGS / 2 < len(found) <= MAX_BEGINNINGS
    assert all(len(tokens) <= 2 and tokenizer.decode(tokens).startswith(b"\n") for tokens in found)


def test_a_text_without_words_has_no_beginnings(tokenizer):
    assert first_tokens(tokenizer, stream_of(tokenizer, b"\n\n\n \n"), "\n", number=4) == []
