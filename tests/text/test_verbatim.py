import random
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gru_complete.text import verbatim
from gru_complete.text.verbatim import (
    BETWEEN_DOCUMENTS,
    CorpusWords,
    FollowingWords,
    copied_runs,
    decode_streams,
    longest_runs,
    word_hashes,
)

TEXTS = st.lists(st.sampled_from([b"a", b"b", b"ab", b" ", b"\n", b"\t  ", b"c.", "é".encode()]), max_size=60).map(
    b"".join
)


def runs_of(words, num_words):
    return [tuple(words[start : start + num_words]) for start in range(len(words) - num_words + 1)]


@given(TEXTS, TEXTS, st.integers(1, 12))
def test_copied_runs_are_those_that_a_search_finds(corpus, text, num_words):
    known = set(runs_of(corpus.split(), num_words))
    expected = [run in known for run in runs_of(text.split(), num_words)]
    assert copied_runs(CorpusWords.from_text(corpus), word_hashes(text), num_words).tolist() == expected


@given(TEXTS, TEXTS)
def test_the_longest_run_from_each_word_is_what_a_search_finds(corpus, text):
    words, known = text.split(), corpus.split()
    expected = []
    for start in range(len(words)):
        lengths = range(len(words) - start + 1)
        expected.append(
            max(length for length in lengths if tuple(words[start : start + length]) in [(), *runs_of(known, length)])
        )
    assert longest_runs(CorpusWords.from_text(corpus), word_hashes(text)).tolist() == expected


def test_the_example_of_the_docstring():
    corpus, query = CorpusWords.from_text(b"a b c d"), word_hashes(b"b c x a b c d")
    assert longest_runs(corpus, query).tolist() == [2, 1, 0, 4, 3, 2, 1]


def test_a_run_of_any_length_is_measured_whole():
    words = [f"w{index}".encode() for index in range(500)]
    corpus = CorpusWords.from_text(b" ".join(words))
    lengths = longest_runs(corpus, word_hashes(b"no " + b"\n".join(words[100:400]) + b" no w499"))
    assert lengths.tolist() == [0, *range(300, 0, -1), 0, 1]


@given(TEXTS, TEXTS, st.integers(1, 4))
def test_followers_are_the_words_that_a_search_finds(corpus, text, num_words):
    words, known = text.split()[:num_words], corpus.split()
    if len(words) < num_words:
        return
    expected = {
        known[start + num_words] for start in range(len(known) - num_words) if known[start : start + num_words] == words
    }
    assert set(FollowingWords(CorpusWords.from_text(corpus), num_words).after(b" ".join(words))) == expected


def test_blocks_cut_no_word(monkeypatch):
    text = b" ".join(random.Random(0).choices([b"a", b"bc", b"def" * 9, b"\n\n", b"g" * 70], k=400))
    whole = CorpusWords.from_text(text)
    assert [whole.word(index) for index in range(len(whole.starts))] == text.split()
    for size in (1, 7, 64):
        monkeypatch.setattr(verbatim, "_BLOCK_BYTES", size)
        parted = CorpusWords.from_text(text)
        np.testing.assert_array_equal(parted.starts, whole.starts)
        np.testing.assert_array_equal(parted.hashes, whole.hashes)


def test_words_that_differ_have_different_hashes():
    words = [b"a", b"b", b"ab", b"ba", b"aa", b"aaa", b"a\0", b"\0", b"\0\0", b"b" * 64, b"b" * 65]
    words += [bytes([one, other]) for one in range(33, 256) for other in range(33, 256)]
    assert len(set(word_hashes(b" ".join(words)).tolist())) == len(set(words))


def test_no_run_continues_over_a_document_end():
    pieces = [b"", b"one two", b" three", b"four five"]
    text = decode_streams([np.array([0, 1, 2, 0, 3, 0]), np.array([0, 3, 0])], pieces)
    assert text == BETWEEN_DOCUMENTS.join([b"", b"one two three", b"four five", b"", b"four five", b""])
    corpus = CorpusWords.from_text(text)
    assert copied_runs(corpus, word_hashes(b"one two three four five four"), 2).tolist() == [
        True,
        True,
        False,
        True,
        False,
    ]
    assert FollowingWords(corpus, 1).after(b"three") == []
    assert FollowingWords(corpus, 1).after(b"four") == [b"five"]


@pytest.mark.slow
def test_twenty_megabytes_take_seconds():
    rng = np.random.default_rng(0)
    vocabulary = np.array([f"w{index:05}" for index in range(30_000)])
    text = " ".join(vocabulary[(30_000 * rng.random(2_900_000) ** 3).astype(int)]).encode()
    start = time.process_time()
    corpus = CorpusWords.from_text(text)
    indexed = time.process_time()
    FollowingWords(corpus, 7).after(b"w1 w2 w3 w4 w5 w6 w7")
    looked_up = time.process_time()
    longest_runs(corpus, word_hashes(text[5000:30_000]))
    assert len(text) > 20e6
    assert indexed - start < 10
    assert looked_up - indexed < 10
    assert time.process_time() - looked_up < 20
