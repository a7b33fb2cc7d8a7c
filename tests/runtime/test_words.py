"""Whole words against the definition: the probability that a text goes on with a word and the word ends there."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gru_complete.model_dir import Architecture
from gru_complete.runtime.predictor import Predictor
from gru_complete.runtime.segmentation import Hypotheses, PieceIndex
from gru_complete.runtime.stepper import Stepper
from gru_complete.runtime.words import likeliest_words

LETTERS = ["a", "b", "é"]
PIECES = [
    b"",
    b"a",
    b"b",
    b" ",
    b"'",
    b"-",
    b".",
    "é".encode()[:1],
    "é".encode()[1:],
    b"ab",
    b" a",
    b"b'",
    b"ba-",
    b"a",
]
PIECES += ["bé".encode(), b"a.", b" ab", b"aba"]


class Float64(Predictor):
    """Steps one at a time and in float64, so that sums can be compared to 1e-9."""

    num_steps = 0

    def step_many(self, readings, tokens):
        self.num_steps += len(tokens)
        return [self.step(reading, token) for reading, token in zip(readings, tokens, strict=True)]

    def log_probabilities(self, readings, overlay=None):
        logits = np.array([self.stepper.logits(reading.hidden) for reading in readings])
        logits -= logits.max(axis=1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


class Toy:
    """A model that knows nothing, of few pieces, and what it says by the definition, sequence by sequence."""

    def __init__(self, pieces, seed=0):
        self.pieces = pieces
        generator = np.random.default_rng(seed)
        arch = Architecture("gru", len(pieces), 6, 8, 1)
        weights = {name: generator.normal(size=shape) for name, shape in arch.tensor_shapes().items()}
        self.predictor = Float64(Stepper(arch, weights, np.float64))
        self.start = self.predictor.start()
        self._rows = {}

    def hypotheses(self, text, width=None):
        return Hypotheses.open(self.predictor, PieceIndex(self.pieces), self.start, text, None, width=width)

    def row(self, tokens):
        if tokens not in self._rows:
            reading = self.predictor.read(self.start, tokens)
            self._rows[tokens] = np.exp(self.predictor.log_probabilities([reading])[0])
        return self._rows[tokens]

    def probability(self, text, tokens=()):
        """That the text goes on with these bytes after these tokens."""
        if not text:
            return 1.0
        whole = 0.0
        for token, piece in enumerate(self.pieces):
            if piece and piece.startswith(text):
                whole += self.row(tokens)[token]
            elif piece and text.startswith(piece):
                whole += self.row(tokens)[token] * self.probability(text[len(piece) :], (*tokens, token))
        return whole

    def word_probability(self, given, completion):
        """That the text goes on so, but not with a letter, nor with a joiner and a letter."""
        text = given + completion.encode()
        ends = self.probability(text)
        for joiner in ("", "'", "-"):
            ends -= sum(self.probability(text + (joiner + letter).encode()) for letter in LETTERS)
        return ends / self.probability(given)

    def words(self, given, most_characters):
        """All words of so many characters that may follow, with their probabilities, the likeliest first."""
        parts = [*LETTERS, "'", "-", " ", "."]
        found = {}
        for size in range(most_characters + 1):
            for characters in product(parts, repeat=size):
                completion = "".join(characters)
                if is_one_word(given.decode(), completion):
                    found[completion] = self.word_probability(given, completion)
        return sorted(found.items(), key=lambda pair: -pair[1])


def is_one_word(given, completion):
    """Say whether, with the letters before it, this is a word, and not more than one."""
    whole = given + completion
    in_word = given[-1:] in LETTERS
    if in_word and completion and not any(letter in completion for letter in LETTERS):
        return False
    if not whole or whole[-1] not in LETTERS or (not in_word and not completion):
        return False
    begun = len(given.rstrip("abé")) if in_word else len(given)
    if not in_word and given[-1:] in ("'", "-") and given[-2:-1] in LETTERS and completion[0] in LETTERS:
        begun = len(given) - 1  # it goes on after the joiner
    text = whole[begun:]
    if not in_word:
        text = text.lstrip(" .'-")
    runs = text.replace("'", "-").split("-")
    return all(runs) and not any(mark in text for mark in " .")


@pytest.fixture(scope="module")
def toy():
    return Toy(PIECES)


GIVEN = ["", "a", "ab", " ", "b'", "a.", "ba-", "b a"]


@pytest.mark.parametrize("given", GIVEN)
def test_with_unlimited_effort_words_are_those_of_the_definition(toy, given):
    found = likeliest_words(toy.hypotheses(given.encode()), 4, max_expansions=None)
    exact = {word.completion.decode(): toy.word_probability(given.encode(), word.completion.decode()) for word in found}
    for word in found:
        assert word.probability == word.upper == pytest.approx(exact[word.completion.decode()], abs=1e-9)
    assert list(exact.values()) == sorted(exact.values(), reverse=True)
    assert all(is_one_word(given, completion) for completion in exact)
    for completion, probability in toy.words(given.encode(), 2):
        assert completion in exact or probability < min(exact.values())


def test_a_character_may_be_begun(toy):
    first, second = "é".encode()[:1], "é".encode()[1:]
    found = {word.completion: word for word in likeliest_words(toy.hypotheses(b"b" + first), 6, max_expansions=None)}
    word = found[second]
    assert word.word == "bé".encode()
    ends = toy.probability("bé".encode())
    for joiner in ("", "'", "-"):
        ends -= sum(toy.probability(("bé" + joiner + letter).encode()) for letter in LETTERS)
    assert word.probability == pytest.approx(ends / toy.probability(b"b" + first), abs=1e-9)


@pytest.mark.parametrize("given", ["a", " "])
def test_bounds_enclose_the_probability_and_shrink_with_effort(toy, given):
    before = {}
    for effort in (1, 2, 3, 5, 8, 13, 21, 34, 55, 89):
        now = {}
        for word in likeliest_words(toy.hypotheses(given.encode()), 3, max_expansions=effort):
            exact = toy.word_probability(given.encode(), word.completion.decode())
            assert word.probability - 1e-12 <= exact <= word.upper + 1e-12
            low, high = before.get(word.completion, (0, 1))
            assert low <= word.probability
            assert word.upper <= high + 1e-12
            now[word.completion] = word.probability, word.upper
        before |= now


def test_when_the_search_ends_by_itself_it_is_right():
    most, ended = 60, 0
    for text, seed in product(GIVEN, range(3)):
        toy = Toy(PIECES, seed)
        hypotheses = toy.hypotheses(text.encode(), 8)
        hypotheses.rows()
        toy.predictor.num_steps = 0
        found = likeliest_words(hypotheses, 2, max_expansions=most)
        if toy.predictor.num_steps < most:
            ended += 1
            exact = likeliest_words(hypotheses, 2, max_expansions=None)
            assert [word.completion for word in found] == [word.completion for word in exact]
    assert ended > 3 * len(GIVEN) / 2


def test_of_a_script_without_spaces_a_piece_is_a_word():
    toy = Toy([b"", *(text.encode() for text in ("東", "京", "東京", "京都", "都", "。", "京。", " "))])
    given = "東".encode()
    after_token, after_row = toy.row((1,)), toy.row(())
    whole = toy.probability(given)
    expected = {
        "京": (after_row[3] + after_row[1] * (after_token[2] + after_token[7])) / whole,
        "京都": after_row[1] * after_token[4] / whole,
        "都": after_row[1] * after_token[5] / whole,
        "東": after_row[1] * after_token[1] / whole,
    }
    found = {word.completion.decode(): word for word in likeliest_words(toy.hypotheses(given), 9, max_expansions=300)}
    for text, probability in expected.items():
        assert found[text].probability == pytest.approx(probability, abs=1e-9)
        assert found[text].word.decode() == text
    assert {text for text in found if "。" not in text and " " not in text} <= {*expected, "東京"}


def test_a_model_that_ends_the_document_has_no_next_word():
    toy = Toy([b"", b"a", b"\x1b"])
    toy.predictor.stepper.output_bias[:] = [100, -100, -100]
    (word,) = likeliest_words(toy.hypotheses(b"a"), 1)
    assert (word.word, word.completion, word.probability) == (b"a", b"", pytest.approx(1))
    toy.predictor.stepper.output_bias[:] = [-100, -100, 100]
    assert [word.probability < 1e-9 for word in likeliest_words(toy.hypotheses(b""), 1)] in ([], [True])


@pytest.fixture(scope="module")
def completer(trained_model):
    from gru_complete.runtime.completer import Completer

    return Completer.load(trained_model)


def test_words_finish_the_word_begun(completer):
    words = likeliest_words(completer.hypotheses(completer.read(b"The old ho")), 3)
    assert len(words) == 3
    assert all(word.word.startswith(b"ho") for word in words)
    assert all(b"ho" + word.completion == word.word for word in words)
    assert 0 < sum(word.probability for word in words) <= 1


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=20), st.integers(0, 60))
def test_after_any_text_words_are_text_that_fits(completer, text, cut):
    given = text.encode()[:cut]
    for word in likeliest_words(completer.hypotheses(completer.read(given)), 3, max_expansions=12):
        assert (given + word.completion).endswith(word.word)
        assert word.word.decode().isprintable() or not word.word.decode().isascii()
        assert 0 < word.probability <= word.upper <= 1 + 1e-6


def test_the_order_of_asking_changes_nothing(completer):
    context = completer.read(b"a small ")
    first = likeliest_words(completer.hypotheses(context), 3)
    likeliest_words(completer.hypotheses(completer.read(b"The bird ")), 3)
    assert likeliest_words(completer.hypotheses(context), 3) == first
