from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gru_complete.runtime import session as session_module
from gru_complete.runtime.completer import Context
from gru_complete.runtime.options import CompletionOptions
from gru_complete.runtime.session import Stale, TypingSession, common_prefix_length, first_word, first_words


class Learnt:
    """An overlay that keeps the text itself."""

    def __init__(self, text):
        self.text = text

    def fork(self):
        return Learnt(self.text)


class Transcript:
    """A completer whose contexts are the texts themselves, and which continues every text the same way."""

    def __init__(self, *pieces, stop_reason="until"):
        self.pieces = [piece if isinstance(piece, bytes) else piece.encode() for piece in pieces]
        self.stop_reason = stop_reason
        self.num_read = 0
        self.num_drawn = 0
        self.options = None

    def read(self, prompt, context=None):
        self.num_read += len(prompt)
        before, overlay = (0, Learnt(b"")) if context is None else (context.reading, context.overlay)
        overlay.text = (overlay.text + prompt)[-100:]  # the overlay is taken over
        return Context(before + len(prompt), b"", overlay, (), "")

    def stream(self, context, options):
        self.options = options
        return Stream(self)


class Stream:
    def __init__(self, completer):
        self.completer = completer
        self.result = None

    def __iter__(self):
        for piece in self.completer.pieces:
            self.completer.num_drawn += 1
            yield piece
        self.result = SimpleNamespace(stop_reason=self.completer.stop_reason)


def read(context):
    """How long the text is that was read, and what the overlay has learnt of it."""
    return context.reading, context.overlay.text


def session(*pieces, **options):
    return TypingSession(Transcript(*pieces, **options), CompletionOptions())


@given(st.lists(st.binary(max_size=12), max_size=12), st.data())
def test_whatever_was_read_before_the_context_is_that_of_the_text(pieces, data):
    typing = session()
    text = b""
    for piece in pieces:
        kept = data.draw(st.integers(0, len(text)))
        text = text[:kept] + piece
        assert read(typing.context(text)) == (len(text), text[-100:])


def test_a_key_reads_one_byte_and_a_backspace_next_to_nothing():
    typing = session()
    text = b"x" * 20_000
    for length in range(19_000, 20_000):
        typing.context(text[:length])
    typing._completer.num_read = 0
    typing.context(text)
    assert typing._completer.num_read == 1
    for length in range(19_999, 19_000, -1):
        typing.context(text[:length])
    assert typing._completer.num_read < 100_000  # 100 bytes each


def test_a_backspace_in_a_text_that_was_pasted_reads_a_few_bytes_again():
    typing = session()
    text = b"x" * 100_000
    typing.context(text)
    typing._completer.num_read = 0
    typing.context(text[:-1])
    assert typing._completer.num_read < session_module._LAST_BLOCK_BYTES


def test_a_long_text_is_read_once_and_leaves_few_contexts():
    typing = session()
    text = b"x" * 1_000_000
    assert read(typing.context(text)) == (len(text), text[-100:])
    assert typing._completer.num_read == len(text)
    assert len(typing._contexts) == len(typing._lengths) <= session_module._MOST_KEPT


def test_what_comes_before_is_read_on():
    completer = Transcript()
    before = completer.read(b"Dear ")
    typing = TypingSession(completer, CompletionOptions(), before)
    assert read(typing.context(b"Jo")) == (7, b"Dear Jo")
    assert read(typing.context(b"")) == read(before) == (5, b"Dear ")


def test_reading_stops_when_the_text_has_changed_and_goes_on_where_it_was():
    typing = session()
    answers = iter([False, False, True])
    with pytest.raises(Stale):
        typing.context(b"x" * 100_000, lambda: next(answers))
    done = typing._completer.num_read
    assert 0 < done < 100_000
    assert read(typing.context(b"x" * 100_000))[0] == 100_000
    assert typing._completer.num_read == 100_000


def test_an_offer_is_greedy_and_short():
    typing = session(" goes")
    assert typing.offer(b"He") == " goes"
    assert typing._completer.options.sampling.temperature == 0
    assert typing._completer.options.max_tokens == session_module.OFFERED_TOKENS


def test_an_offer_ends_after_a_few_words_and_no_more_is_drawn():
    typing = session(*(f" {word}" for word in ("one", "two", "three", "four", "five", "six", "seven", "eight")))
    assert typing.offer(b"") == " one two three four five"
    assert typing._completer.num_drawn == 6


def test_an_offer_ends_with_its_line_but_may_begin_a_new_one():
    assert session(" goes.\n", "She").offer(b"He") == " goes."
    assert session("\n", "\n", "She", " goes.\n", "He").offer(b"He goes.") == "\n\nShe goes."


def test_an_offer_that_had_to_end_leaves_an_unfinished_word_out():
    assert session(" goes", " ho", stop_reason="max_tokens").offer(b"He") == " goes"
    assert session(" goes", " ho", stop_reason="until").offer(b"He") == " goes ho"
    assert session(" ho", stop_reason="max_tokens").offer(b"He") == " ho"


def test_white_space_alone_is_no_offer():
    assert session("\n", stop_reason="document_end").offer(b"He") == ""


def test_an_offer_for_a_broken_character_gives_its_bytes():
    offer = session(b"\xa9", " noir").offer(b"caf\xc3")
    assert b"caf\xc3" + offer.encode("utf-8", "surrogateescape") == "café noir".encode()


def test_an_offer_is_given_up_when_the_text_has_changed():
    with pytest.raises(Stale):
        session(" goes", " home").offer(b"", lambda: True)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (" goes on", " goes"),
        ("es, and", "es,"),
        ("\n\nShe goes", "\n\nShe"),
        (" end", " end"),
        ("", ""),
        ("  ", "  "),
        (" 日本", " 日"),
        ("a日本", "a"),
    ],
)
def test_the_first_word_takes_what_sticks_to_it(text, word):
    assert first_word(text) == word


@given(st.text("ab \n"))
def test_the_first_words_are_a_beginning_of_the_text_and_of_one_line(text):
    words = first_words(text)
    assert text.startswith(words)
    assert "\n" not in words.strip()
    assert len(words.split()) <= session_module.OFFERED_WORDS


@given(st.binary(max_size=20), st.binary(max_size=20), st.binary(max_size=20))
def test_the_common_prefix_is_the_longest(prefix, one, other):
    one, other = prefix + one, prefix + other
    length = common_prefix_length(one, other)
    assert one[:length] == other[:length]
    assert length == min(len(one), len(other)) or one[length] != other[length]
