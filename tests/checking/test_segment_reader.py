import numpy as np
import pytest

from gru_complete.checking.segment_reader import MAX_ROWS, SegmentReader
from gru_complete.runtime.completer import Completer

TEXT = "ab a b c ca, bc ab a"


def read(toy, texts):
    return [segment for batch in SegmentReader(toy).batches(texts) for segment in batch]


def test_segments_make_up_the_text_and_say_where_they_are(trained_reader):
    text = "The cat\nsaw a\n\n  dog."
    segments = [segment for batch in trained_reader.batches([text]) for segment in batch]
    assert b"".join(segment.data for segment in segments).decode() == text
    for number, segment in enumerate(segments):
        assert segment.number == number
        assert text[segment.offset :].startswith(segment.data.decode())
        rest = text[segment.offset :].split("\n")[0]
        assert text.split("\n")[segment.line - 1][segment.column - 1 :] == rest


def test_costs_are_those_of_reading_the_whole_text(toy):
    decoder_state = toy.predictor.start()
    for segment in read(toy, [TEXT]):
        for token, cost, row in zip(segment.tokens, segment.costs, segment.rows, strict=True):
            expected = toy.predictor.log_probabilities([decoder_state])[0]
            np.testing.assert_allclose(row, expected)
            assert cost == pytest.approx(-expected[token])
            decoder_state = toy.predictor.step(decoder_state, token)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_segments_do_not_depend_on_how_the_text_is_cut(toy, size):
    cut = read(toy, [TEXT[start : start + size] for start in range(0, len(TEXT), size)])
    whole = read(toy, [TEXT])
    assert [segment.data for segment in cut] == [segment.data for segment in whole]
    assert [segment.costs for segment in cut] == [segment.costs for segment in whole]


def test_a_long_text_comes_in_batches(toy):
    batches = list(SegmentReader(toy).batches(["a b " * MAX_ROWS]))
    assert [len(batch) for batch in batches][:2] == [MAX_ROWS, MAX_ROWS]


@pytest.fixture(scope="module")
def trained_reader(trained_model):
    return SegmentReader(Completer.load(trained_model))
