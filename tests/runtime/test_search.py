import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gru_complete.errors import ModelError
from gru_complete.runtime.boundaries import TextCutter, boundary
from gru_complete.runtime.options import CompletionOptions
from gru_complete.runtime.search import TRIES, SearchStart, beam_search, distinct
from gru_complete.runtime.vocabulary import Vocabulary


class WrittenDown:
    """A model whose probabilities are a function of the tokens read so far; a decoder state is those tokens."""

    def __init__(self, chances):
        self.chances = chances

    def step_many(self, decoder_states, tokens):
        return [(*decoder_state, token) for decoder_state, token in zip(decoder_states, tokens, strict=True)]

    def log_probabilities(self, decoder_states, overlay=None):
        with np.errstate(divide="ignore"):
            return np.log(np.array([self.chances(decoder_state) for decoder_state in decoder_states], np.float32))


def search(pieces, chances, *, before="", pending=b"", beam=4, until="none", **options):
    """The best texts after nothing."""
    options = CompletionOptions(beam=beam, until=until, **options)
    model, vocabulary = WrittenDown(chances), Vocabulary(pieces)
    first = model.log_probabilities([()])[0] + vocabulary.masks.after(pending)
    start = SearchStart(pieces, first, lambda token: ((), token), pending, before)
    cutter = TextCutter(boundary(until, before=before, abbreviations=()), [stop.decode() for stop in options.stop])
    return beam_search(model, vocabulary, start, cutter=cutter, options=options)


def by_name(pieces, table, default=b""):
    """Chances written down as {tokens so far, joined by |: {piece: probability}}; else the document ends."""

    def chances(decoder_state):
        row = np.zeros(len(pieces))
        for piece, chance in table.get(b"|".join(pieces[token] for token in decoder_state), {default: 1}).items():
            row[pieces.index(piece)] = chance
        return row

    return chances


PIECES = [b"", b"a", b"b", b"c", b"ab", b".", b" d", b" e", b" "]


def test_a_likely_text_with_an_unlikely_beginning_is_found():
    third = {b"b": 1 / 3, b"c": 1 / 3, b"ab": 1 / 3}
    found = search(PIECES, by_name(PIECES, {b"": {b"a": 0.6, b"b": 0.4}, b"a": third}), beam=2)
    assert found[0].data == b"b"
    assert found[0].log_probability == pytest.approx(math.log(0.4))
    assert found[0].stop_reason == "document_end"


def test_a_text_of_several_segmentations_has_their_probabilities_together():
    table = {b"": {b"a": 0.3, b"ab": 0.3, b"c": 0.4}, b"a": {b"b": 1}}
    found = search(PIECES, by_name(PIECES, table), beam=3)
    assert [(text.data, round(math.exp(text.log_probability), 6)) for text in found] == [(b"ab", 0.6), (b"c", 0.4)]


def test_equal_texts_of_a_beam_are_merged_before_they_are_continued():
    table = {b"": {b"a": 0.4, b"ab": 0.6}, b"a": {b"b": 0.5, b"c": 0.5}, b"ab": {b"c": 0.9, b".": 0.1}}
    table |= {b"a|b": {b"c": 1}, b"a|c": {b"": 1}, b"ab|c": {b"c": 1}, b"a|b|c": {b"c": 1}}
    found = {text.data: math.exp(text.log_probability) for text in search(PIECES, by_name(PIECES, table), beam=9)}
    assert found[b"abcc"] == pytest.approx(0.6 * 0.9 + 0.4 * 0.5)


def test_a_beam_that_holds_everything_finds_every_text_with_its_probability():
    pieces = [b"", b"a", b"b", b"ab", b"ba"]

    def chances(decoder_state):  # of the text alone, so that a segmentation tells nothing of what follows
        text = b"".join(pieces[token] for token in decoder_state)
        row = np.array([2 + len(text), 1 + text.count(b"a"), 2, 1 + text.endswith(b"b"), 1.5])
        return row / row.sum()

    expected = {}
    for size in range(4):
        for tokens in itertools.product(range(1, len(pieces)), repeat=size):
            chance = chances(tokens)[0]
            for place, token in enumerate(tokens):
                chance *= chances(tokens[:place])[token]
            text = b"".join(pieces[token] for token in tokens)
            expected[text] = expected.get(text, 0) + chance
    found = search(pieces, chances, beam=100, max_tokens=4, no_repeat=0)
    ended = {text.data: text for text in found if text.stop_reason == "document_end"}
    short = [text for text in expected if len(text) < 4]  # longer ones may also be cut off by max_tokens
    assert len(short) > 10
    for text in short:
        assert math.exp(ended[text].log_probability) == pytest.approx(expected[text], rel=1e-5)


def test_the_end_of_a_text_is_as_likely_as_all_tokens_together_that_show_it():
    table = {b"": {b"a": 0.5, b"b": 0.5}, b"a": {b" d": 0.3, b" e": 0.3, b" ": 0.1, b"": 0.2, b"b": 0.1}}
    found = search(PIECES, by_name(PIECES, table), until="word")
    chances = {text.data: math.exp(text.log_probability) for text in found}
    assert chances[b"a"] == pytest.approx(0.5 * 0.9)
    assert [text.stop_reason for text in found if text.data == b"a"] == ["until"]


def test_an_end_of_many_unlikely_tokens_is_likely():
    next_words = [b" " + str(number).encode() for number in range(500)]
    table = {b"": {b"a": 1}, b"a": {b"b": 0.5, **dict.fromkeys(next_words, 0.5 / 500)}}
    pieces = [b"", b"a", b"b", *next_words]
    found = {text.data: math.exp(text.log_probability) for text in search(pieces, by_name(pieces, table), until="word")}
    assert found[b"a"] == pytest.approx(0.5)


def test_an_end_within_a_token_is_cut_off():
    pieces = [b"", b"a.", b" d", b"b c"]
    found = search(pieces, by_name(pieces, {b"": {b"a.": 0.6, b"b c": 0.4}, b"a.": {b" d": 1}}), until="word")
    assert [(text.data, round(math.exp(text.log_probability), 6)) for text in found] == [(b"a", 0.6), (b"b", 0.4)]


def test_stop_strings_are_honoured_across_tokens():
    table = {b"": {b"a": 1}, b"a": {b"b": 1}, b"a|b": {b"c": 1}, b"a|b|c": {b"c": 1}}
    found = search(PIECES, by_name(PIECES, table), stop=(b"bc",))
    assert [(text.data, text.stop_reason) for text in found] == [(b"a", "stop")]


def test_what_was_held_back_for_a_stop_string_belongs_to_the_text_when_it_ends():
    found = search(PIECES, by_name(PIECES, {b"": {b"a": 1}, b"a": {b"b": 1}}), stop=(b"bc",))
    assert [(text.data, text.stop_reason) for text in found] == [(b"ab", "document_end")]


@pytest.mark.parametrize("max_tokens", [1, 3])
def test_a_text_without_end_ends_after_max_tokens(max_tokens):
    chances = by_name(PIECES, {}, default=b"a")
    found = search(PIECES, chances, max_tokens=max_tokens, no_repeat=0)
    assert [(text.data, text.tokens, text.stop_reason) for text in found] == [
        (b"a" * max_tokens, max_tokens, "max_tokens")
    ]


WORDS = [b"", *(" " + word for word in ["state", "of", "the", "union", "nation"])]
WORDS = [word if isinstance(word, bytes) else word.encode() for word in WORDS]


def round_and_round(decoder_state):
    """After "of the state" comes "of the state"; now and then something else."""
    row = np.full(len(WORDS), 0.01)
    row[{WORDS.index(b" state"): 2, 2: 3, 3: 1}.get(decoder_state[-1] if decoder_state else 1, 2)] = 1
    return row / row.sum()


@pytest.mark.parametrize("beam", [1, 4])
def test_by_default_no_words_are_repeated(beam):
    looping = search(WORDS, round_and_round, beam=beam, max_tokens=12, no_repeat=0)[0].data
    assert looping == b" of the state" * 4
    text = search(WORDS, round_and_round, beam=beam, max_tokens=12)[0].data
    assert text.count(b" of the state") <= 2


def test_the_end_of_the_prompt_counts_as_if_it_were_written():
    before = "the state of the state of the state"
    assert search(WORDS, round_and_round, before=before, max_tokens=1, beam=1, no_repeat=0)[0].data == b" of"
    assert search(WORDS, round_and_round, before=before, max_tokens=1, beam=1)[0].data != b" of"


def test_a_word_without_spaces_is_a_whole_piece_and_not_its_first_character():
    pieces = [b"", "京都".encode(), "京".encode(), "。".encode(), b" a"]
    table = {b"": {pieces[1]: 0.6, pieces[2]: 0.3, b" a": 0.1}, b" a": {pieces[3]: 1}}
    found = search(pieces, by_name(pieces, table), until="word")
    assert [text.data.decode() for text in found][:2] == ["京都", "京"]


def test_the_end_of_a_text_does_not_count_as_a_repetition():
    pieces = [b"", b"a great word", b" ", b" and"]
    table = {b"": {b"a great word": 1}, b"a great word": {b" ": 0.9, b" and": 0.1}}
    assert search(pieces, by_name(pieces, table), before="a great word and ", until="word", no_repeat=2)[0].data == b"a"


@settings(deadline=None)  # the first call may be a slow one
@given(st.integers(0, 2**32 - 1), st.sampled_from([b"", b"\xc3", b"\xe2\x82", b"\xf0"]), st.integers(1, 5))
def test_only_valid_text_is_found_and_no_text_twice(byte_pieces, seed, pending, beam):
    pieces = byte_pieces("é€".encode(), b"\x1b[", b"ab").pieces
    generator = np.random.default_rng(seed)
    rows = generator.dirichlet(np.full(len(pieces), 0.05), 8)

    def chances(decoder_state):
        return rows[len(decoder_state)]

    found = search(pieces, chances, pending=pending, beam=beam, max_tokens=6)
    assert 1 <= len(found) <= beam
    assert len({text.data for text in found}) == len(found)
    assert [text.score for text in found] == sorted((text.score for text in found), reverse=True)
    for text in found:
        whole = (pending + text.data).decode() if text.data else ""
        assert all(character.isprintable() or character in "\t\n\xad" or ord(character) > 0x9F for character in whole)
    assert found == search(pieces, chances, pending=pending, beam=beam, max_tokens=6)


def test_scores_that_are_not_numbers_are_refused():
    with pytest.raises(ModelError, match="not finite"):
        search(PIECES, lambda decoder_state: np.full(len(PIECES), np.nan))


@dataclass
class Written:
    data: bytes


def test_distinct_completions_are_the_first_of_each_text():
    drawn = map(Written, [b"a", b"b", b"a", b"c", b"d"])
    assert [completion.data for completion in distinct(drawn, 3)] == [b"a", b"b", b"c"]
    assert next(drawn).data == b"d"


def test_the_search_for_distinct_completions_gives_up():
    drawn = map(Written, itertools.repeat(b"a"))
    assert [completion.data for completion in distinct(drawn, 3)] == [b"a"]
    assert TRIES >= 2
