import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gru_complete.text import tokenizer as tokenizer_module
from gru_complete.text.sentencepiece_model import FIRST_PIECE
from gru_complete.text.tokenizer import DOCUMENT_END, Tokenizer, segments
from tests.text.samples import SAMPLE, TEXTS


def test_ids_are_the_document_end_then_bytes_then_pieces(tokenizer):
    assert tokenizer.vocab_size == len(tokenizer.pieces) == FIRST_PIECE + 40
    assert tokenizer.pieces[DOCUMENT_END] == b""
    assert tokenizer.pieces[1:FIRST_PIECE] == [bytes([value]) for value in range(256)]
    assert b" Watson" in tokenizer.pieces[FIRST_PIECE:]


@pytest.mark.parametrize("piece", [b" Watson", b"\n\n", b"\t\t", b"goes", b" "])
def test_pieces_hold_spaces_newlines_and_tabs(piece, tokenizer):
    assert any(piece in learnt for learnt in tokenizer.pieces[FIRST_PIECE:])


def test_frequent_words_are_one_token_and_digits_are_single(tokenizer):
    assert [tokenizer.pieces[token] for token in tokenizer.encode(b"Mr Watson\n\nThe 1895")][1:3] == [
        b" Watson",
        b"\n\n",
    ]
    assert all(len(re.findall(rb"\d", piece)) <= 1 for piece in tokenizer.pieces)


@pytest.mark.parametrize("text", TEXTS)
def test_decoding_gives_back_what_was_encoded(text, tokenizer):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert DOCUMENT_END not in ids


@settings(max_examples=300, deadline=None)
@given(
    text=st.one_of(
        st.binary(max_size=300), st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
    )
)
def test_any_bytes_come_back_and_are_never_a_document_end(text, tokenizer):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert DOCUMENT_END not in ids


@settings(max_examples=300, deadline=None)
@given(
    words=st.lists(
        st.sampled_from([b" ", b"\n", b"Watson", b"\xff", "字".encode(), b"x" * 63, b" " * 40, b"\x80"]), max_size=30
    ),
    cuts=st.lists(st.integers(1, 90), min_size=1, max_size=20),
)
def test_ids_do_not_depend_on_how_the_text_is_cut_into_blocks(words, cuts, tokenizer):
    text = b"".join(words)
    blocks, start = [b""], 0
    while start < len(text):
        size = cuts[len(blocks) % len(cuts)]
        blocks.append(text[start : start + size])
        start += size
    in_blocks = [token for ids in tokenizer.encode_blocks(blocks) for token in ids.tolist()]
    assert in_blocks == tokenizer.encode(text)
    assert in_blocks == [token for segment in segments(text) for token in tokenizer.encode_segment(segment)]


def test_a_long_text_is_encoded_in_blocks(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer_module, "_BLOCK_BYTES", 10)
    assert tokenizer.decode(tokenizer.encode(SAMPLE[:300])) == SAMPLE[:300]


def test_what_is_remembered_of_a_text_is_bounded(model_bytes, monkeypatch):
    monkeypatch.setattr(tokenizer_module, "_CACHED_SEGMENTS", 5)
    forgetful = Tokenizer(model_bytes)
    assert forgetful.encode(SAMPLE) == Tokenizer(model_bytes).encode(SAMPLE)
    assert len(forgetful._packed_ids) <= 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", []),
        (b"Mr Watson  goes\n\nThe end. ", [b"Mr", b" Watson", b"  goes", b"\n\nThe", b" end.", b" "]),
        (b" \t\r\n", [b" \t\r\n"]),
        (b"a" * 130, [b"a" * 64, b"a" * 64, b"aa"]),
        (b"x" + "字".encode() * 22, [b"x" + "字".encode() * 21, "字".encode()]),
        (b"\x80" * 65, [b"\x80" * 64, b"\x80"]),
        (" a\u3000b".encode(), [" a\u3000b".encode()]),
    ],
)
def test_segments_are_white_space_and_the_word_after_it(text, expected):
    assert list(segments(text)) == expected
