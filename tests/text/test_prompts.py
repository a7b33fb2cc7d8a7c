import gzip
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gru_complete.errors import CorpusError
from gru_complete.text.prompts import prompt_source, read_prompt, read_typed, read_whole_prompt
from tests.dresses import DRESSES, FORMS, dressed
from tests.text.spooling import outcome

TEXT = "Žlutý kůň\nà côté\nde l'église: 字 한글 कि"


def blocks_of(data, size):
    return [data[start : start + size] for start in range(0, len(data), size)]


def read(*sources, form=None, unfinished=b""):
    return b"".join(read_prompt([prompt_source("-", blocks) for blocks in sources], form, unfinished=unfinished))


def test_a_prompt_is_the_same_in_all_dresses_and_in_any_blocks():
    for form in FORMS:
        expected = unicodedata.normalize(form, TEXT).encode()
        for number, dress in enumerate(DRESSES):
            data = dressed(TEXT, *dress)
            size = 4 if dress[0] == "utf-32-be" else 1  # its mark begins with NUL, which may end a prompt
            assert read(blocks_of(data, size + number % 23), form=form) == expected
            assert outcome(data)[0] == unicodedata.normalize(dress[2], TEXT).encode()


def test_what_is_typed_is_the_same_in_all_dresses_of_characters():
    for encoding, *dress in DRESSES:
        if encoding == "utf-8":
            assert read_typed(dressed(TEXT, encoding, *dress), "NFC") == unicodedata.normalize("NFC", TEXT).encode()


def test_without_a_form_letters_stay_as_they_were_typed():
    text = "é e\u0301".encode()
    assert read([text]) == read_typed(text, None) == text


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=40), st.sampled_from(["", "é", "字", "🧑"]), st.integers(0, 3), st.integers(1, 9))
def test_a_prompt_is_read_or_refused_as_a_corpus_is_but_may_end_within_a_character(data, last, num_bytes, size):
    data, rest = b"x" + data, last.encode()[:num_bytes]
    corpus = outcome(data)
    if isinstance(corpus, str):
        with pytest.raises(CorpusError) as caught:
            read(blocks_of(data + b"x", size))
        assert str(caught.value).partition(": ")[2] == outcome(data + b"x").partition(": ")[2]
    else:
        assert read(blocks_of(data + rest, size)) == corpus[0] + rest


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029\ufeff")), st.data())
def test_a_character_may_be_in_two_sources_or_begin_in_the_text_before(text, data):
    encoded = text.encode()
    cut = data.draw(st.integers(0, len(encoded)))
    assert read([encoded[:cut]], [encoded[cut:]]) == encoded
    begun = encoded[:cut].decode(errors="ignore").encode()
    unfinished = encoded[len(begun) : cut]
    assert read([encoded[cut:]], unfinished=unfinished) == encoded[cut:]


def test_refusals_name_the_prompt_or_its_source():
    with pytest.raises(CorpusError, match="^the prompt: not valid UTF-8 at byte 1") as caught:
        read_whole_prompt(b"a\xffb", None, what="the prompt")
    assert caught.value.hint is None
    with pytest.raises(CorpusError, match="^text 'standard input' is gzip data, not text") as caught:
        read(blocks_of(gzip.compress(b"text", mtime=0), 1))
    assert caught.value.hint == "gzip -dc | gru-complete complete"
    with pytest.raises(CorpusError, match="looks binary"):
        read([b"a\0"])


@pytest.mark.parametrize("first", [b"a\n", b"\n", b"ab\0", b"\0", "é\n".encode("utf-16")])
def test_a_first_line_is_not_kept_waiting_for_more(first):
    def blocks():
        yield first
        raise AssertionError("read on")

    source = prompt_source("-", blocks())
    assert next(block for block in source.blocks if block) in (first, "é\n".encode())
