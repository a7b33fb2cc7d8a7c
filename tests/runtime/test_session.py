from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gru_complete.ngrams.building import count_ngrams
from gru_complete.ngrams.mixture import NUM_OUTPUTS, NUM_SLOPES, MixingWeights, NGramMixture
from gru_complete.runtime import session as session_module
from gru_complete.runtime.completer import Completer
from gru_complete.runtime.options import CompletionOptions
from gru_complete.runtime.predictor import Predictor
from gru_complete.runtime.prompt_state import PromptState
from gru_complete.runtime.session import Stale, TypingSession, common_prefix_length, first_word, first_words
from gru_complete.runtime.stepper import Stepper
from gru_complete.text.prompts import read_typed
from gru_complete.text.tokenizer import segments


class Learnt:
    """An overlay that keeps the text itself."""

    def __init__(self, text):
        self.text = text


class Transcript:
    """A completer whose contexts are the texts themselves, and which continues every text the same way."""

    normal_form = None

    def __init__(self, *pieces, stop_reason="until"):
        self.predictor = SimpleNamespace(stepper=None, mixture=None)
        self.pieces = [piece if isinstance(piece, bytes) else piece.encode() for piece in pieces]
        self.stop_reason = stop_reason
        self.num_read = 0
        self.num_drawn = 0
        self.options = None

    def with_predictor(self, predictor):
        return self

    def read(self, prompt, prompt_state=None):
        self.num_read += len(prompt)
        before, learnt = (0, b"") if prompt_state is None else (prompt_state.decoder_state, prompt_state.overlay.text)
        return PromptState(before + len(prompt), b"", Learnt((learnt + prompt)[-100:]), (), "")

    def hypotheses(self, prompt_state):
        return SimpleNamespace(start=None)

    def stream(self, prompt_state, options, hypotheses):
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


def read(prompt_state):
    """How long the text is that was read, and what the overlay has learnt of it."""
    return prompt_state.decoder_state, prompt_state.overlay.text


def session(*pieces, **options):
    return TypingSession(Transcript(*pieces, **options), CompletionOptions())


@given(st.lists(st.binary(max_size=12), max_size=12), st.data())
def test_the_state_is_that_of_the_text_whatever_was_read_before(pieces, data):
    typing = session()
    text = b""
    for piece in pieces:
        kept = data.draw(st.integers(0, len(text)))
        text = text[:kept] + piece
        clean = read_typed(text, None)
        assert read(typing.read(text)) == (len(clean), clean[-100:])


def num_read(typing, text):
    """How many bytes are read for the next text."""
    before = typing._completer.num_read
    typing.read(text)
    return typing._completer.num_read - before


@pytest.mark.parametrize("pasted", [0, 19_000, 20_000])
def test_a_key_reads_one_byte_and_a_backspace_few_wherever_it_is(pasted):
    typing = session()
    text = b"x" * 20_000
    typing.read(text[:pasted])
    assert all(num_read(typing, text[:length]) == 1 for length in range(pasted + 1, 20_001))
    backspaces = [num_read(typing, text[:length]) for length in range(19_999, 15_000, -1)]
    assert max(backspaces) < session_module._BLOCK_BYTES
    assert sum(backspaces) < 10 * len(backspaces)


def test_deleting_many_characters_at_once_costs_as_much_as_one_backspace():
    typing = session()
    text = b"x" * 20_000
    typing.read(text)
    assert all(num_read(typing, text[:length]) < session_module._BLOCK_BYTES for length in range(19_000, 0, -997))


def test_a_long_text_is_read_once_and_leaves_few_states():
    typing = session()
    text = b"x" * 1_000_000
    assert read(typing.read(text)) == (len(text), text[-100:])
    assert typing._completer.num_read == len(text)
    assert len(typing._states) == len(typing._lengths) <= session_module._MAX_PLACES + 2 * session_module._NEAR_BYTES


def test_a_text_before_the_typed_one_is_continued():
    completer = Transcript()
    before = completer.read(b"Dear ")
    typing = TypingSession(completer, CompletionOptions(), before)
    assert read(typing.read(b"Jo")) == (7, b"Dear Jo")
    assert read(typing.read(b"")) == read(before) == (5, b"Dear ")


def test_reading_stops_when_the_text_has_changed_and_resumes_where_it_stopped():
    typing = session()
    answers = iter([False, False, True])
    with pytest.raises(Stale):
        typing.read(b"x" * 100_000, lambda: next(answers))
    done = typing._completer.num_read
    assert 0 < done < 100_000
    assert read(typing.read(b"x" * 100_000))[0] == 100_000
    assert typing._completer.num_read == 100_000


def test_a_suggestion_is_greedy_and_short():
    typing = session(" goes")
    assert typing.suggest(b"He") == " goes"
    assert typing._completer.options.sampling.temperature == 0
    assert typing._completer.options.max_tokens == session_module.SUGGESTED_TOKENS


def test_a_suggestion_ends_after_a_few_words_and_no_more_tokens_are_drawn():
    typing = session(*(f" {word}" for word in ("one", "two", "three", "four", "five", "six", "seven", "eight")))
    assert typing.suggest(b"") == " one two three four five"
    assert typing._completer.num_drawn == 6


def test_a_suggestion_ends_with_its_line_but_may_begin_a_new_one():
    assert session(" goes.\n", "She").suggest(b"He") == " goes."
    assert session("\n", "\n", "She", " goes.\n", "He").suggest(b"He goes.") == "\n\nShe goes."


def test_a_suggestion_cut_by_max_tokens_omits_its_unfinished_word():
    assert session(" goes", " ho", stop_reason="max_tokens").suggest(b"He") == " goes"
    assert session(" goes", " ho", stop_reason="until").suggest(b"He") == " goes ho"
    assert session(" ho", stop_reason="max_tokens").suggest(b"He") == " ho"


def test_white_space_alone_is_not_suggested():
    assert session("\n", stop_reason="document_end").suggest(b"He") == ""


def test_a_suggestion_for_an_unfinished_character_gives_its_bytes():
    offer = session(b"\xa9", " noir").suggest(b"caf\xc3")
    assert b"caf\xc3" + offer.encode("utf-8", "surrogateescape") == "café noir".encode()


TYPED = b"Mr Watson goes to Rome and Mrs Wat"


def adapting(tokenizer, random_model):
    """A completer that learns from what is typed."""
    arch, weights = random_model
    stream = [0, *(token for segment in segments(TYPED * 3) for token in tokenizer.encode_segment(segment)), 0]
    ngrams = count_ngrams(np.array(stream, np.uint16), vocab_size=tokenizer.vocab_size, order=2)
    gate = np.random.default_rng(1).normal(size=(2 + NUM_SLOPES, NUM_OUTPUTS)).astype(np.float32)
    mixture = NGramMixture(ngrams, MixingWeights(gate), adapts=True)
    return Completer(Predictor(Stepper(arch, weights), mixture), tokenizer)


def test_a_text_typed_key_by_key_gets_the_same_answers_as_the_whole_text(tokenizer, random_model):
    completer = adapting(tokenizer, random_model)
    typing = TypingSession(completer, CompletionOptions(until="line"))
    texts = [TYPED[:length] for length in [*range(len(TYPED) + 1), *range(len(TYPED) - 1, 0, -3)]]
    for text in texts:
        anew = TypingSession(completer, CompletionOptions(until="line"))
        assert typing.suggest(text) == anew.suggest(text)
        found, expected = typing.candidates(text), anew.candidates(text)
        assert [one.word for one in found] == [one.word for one in expected]
        assert [one.probability for one in found] == pytest.approx([one.probability for one in expected], rel=1e-4)


MARKS = (*".?,:;-।۔。፤'", "!)", ".”", "--", "...", "\u200d", " \u0301", "❤\ufe0f", "")


@pytest.mark.parametrize("mark", MARKS, ids=ascii)
def test_a_word_is_listed_once_whatever_the_text_ends_with(says, mark):
    for before, word in (("Mr Watson", "goes"), ("वह", "लड़की"), ("我", "пошёл"), ("7", "學校")):
        text = (before + mark).encode()
        typing = TypingSession(says(f" {word}", prompt=text), CompletionOptions())
        assert [one.rest for one in typing.candidates(text)] == [f" {word}"]


def test_a_key_within_a_word_needs_fewer_predictions(tokenizer, random_model):
    def cost(typing, text):
        asked = 0

        def count():
            nonlocal asked
            asked += 1
            return False

        typing.candidates(text, count)
        return asked

    completer = adapting(tokenizer, random_model)
    typing = TypingSession(completer, CompletionOptions())
    typing.candidates(TYPED[:-1])
    assert cost(typing, TYPED) < cost(TypingSession(completer, CompletionOptions()), TYPED)
    assert len(typing._opened) <= session_module._MAX_OPENED


@pytest.mark.parametrize("question", ["suggest", "candidates"])
def test_every_question_is_given_up_as_soon_as_its_answer_is_stale(tokenizer, random_model, question):
    completer = adapting(tokenizer, random_model)
    number = 0
    while True:
        typing = TypingSession(completer, CompletionOptions())
        answers = iter([False] * number)
        try:
            getattr(typing, question)(TYPED, lambda answers=answers: next(answers, True))
        except Stale:
            number += 1
            anew = TypingSession(completer, CompletionOptions())
            assert getattr(typing, question)(TYPED) == getattr(anew, question)(TYPED)
        else:
            break
    assert number > 5


def test_a_suggestion_is_given_up_when_the_text_has_changed():
    with pytest.raises(Stale):
        session(" goes", " home").suggest(b"", lambda: True)


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
        (" नमस्ते दुनिया", " नमस्ते"),
        ("มี่นี", "มี่"),
    ],
)
def test_the_first_word_includes_the_marks_next_to_it(text, word):
    assert first_word(text) == word


@given(st.text("ab \n"))
def test_the_first_words_are_a_beginning_of_the_text_and_of_one_line(text):
    words = first_words(text)
    assert text.startswith(words)
    assert "\n" not in words.strip()
    assert len(words.split()) <= session_module.SUGGESTED_WORDS


@given(st.binary(max_size=20), st.binary(max_size=20), st.binary(max_size=20))
def test_the_common_prefix_is_the_longest(prefix, one, other):
    one, other = prefix + one, prefix + other
    length = common_prefix_length(one, other)
    assert one[:length] == other[:length]
    assert length == min(len(one), len(other)) or one[length] != other[length]
