"""Whole words against the definition: the probability that a text goes on with a word and the word ends there."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gru_complete.model.architecture import Architecture
from gru_complete.runtime import words
from gru_complete.runtime.piece_index import PieceIndex
from gru_complete.runtime.segmentation import Hypotheses
from gru_complete.runtime.stepper import Stepper
from gru_complete.runtime.wordbreaks import word_at_end
from gru_complete.runtime.words import EFFORT, MIN_EFFORT, NEGLIGIBLE, is_among, most_likely_words
from tests.fakes import Float64Predictor

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


class Toy:
    """A model that knows nothing, of few pieces, and what it says by the definition, sequence by sequence."""

    def __init__(self, pieces, seed=0):
        self.pieces = pieces
        generator = np.random.default_rng(seed)
        arch = Architecture("gru", len(pieces), 6, 8, 1)
        weights = {name: generator.normal(size=shape) for name, shape in arch.tensor_shapes().items()}
        self.predictor = Float64Predictor(Stepper(arch, weights, np.float64))
        self.start = self.predictor.start()
        self._rows = {}

    def never(self, *pieces):
        """Let some pieces never come: after a word, others of them may come before the next for ever."""
        places = [place for place, piece in enumerate(self.pieces) if piece in pieces]
        self.predictor.stepper.output_bias[places] = -100
        return self

    def hypotheses(self, text, width=None):
        return Hypotheses.open(self.predictor, PieceIndex(self.pieces), self.start, text, None, width=width)

    def row(self, tokens):
        if tokens not in self._rows:
            decoder_state = self.predictor.read(self.start, tokens)
            self._rows[tokens] = np.exp(self.predictor.log_probabilities([decoder_state])[0])
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

    def whole_word_probability(self, given, word):
        """That a text goes on with a word in any way, where nothing but one space comes before it."""
        in_word = given[len(given.rstrip("abé'-")) :]
        ways = {word, " " + word, *([word.removeprefix(in_word)] if word.startswith(in_word) else [])}
        ways = [
            way for way in ways if is_one_word(given, way) and word_at_end((given + way).encode(), 0) == word.encode()
        ]
        return sum(self.word_probability(given.encode(), way) for way in ways)

    def words(self, given, most_characters):
        """All words of at most some characters that may follow, with their probabilities, the most likely first."""
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
    word_prefix = len(given.rstrip("abé")) if in_word else len(given)
    if not in_word and given[-1:] in ("'", "-") and given[-2:-1] in LETTERS and completion[0] in LETTERS:
        word_prefix = len(given) - 1  # it goes on after the joiner
    text = whole[word_prefix:]
    if not in_word:
        text = text.lstrip(" .'-")
    runs = text.replace("'", "-").split("-")
    return all(runs) and not any(mark in text for mark in " .")


@pytest.fixture
def lists_everything(monkeypatch):
    """Words are listed however unlikely they are."""
    monkeypatch.setattr(words, "NEGLIGIBLE", 0.0)


BEFORE_WORDS = b" ", b".", b"'", b"-"


@pytest.fixture(scope="module")
def toy():
    return Toy(PIECES).never(*BEFORE_WORDS)


GIVEN = ["", "a", "ab", " ", "b'", "a.", "ba-", "b a"]


@pytest.mark.parametrize("given", GIVEN)
def test_with_unlimited_effort_words_are_those_of_the_definition(toy, given):
    found = most_likely_words(toy.hypotheses(given.encode()), 4, max_expansions=math.inf)
    exact = {word.word.decode(): toy.whole_word_probability(given, word.word.decode()) for word in found}
    assert len(exact) == 4
    for word in found:
        assert word.probability == word.upper == pytest.approx(exact[word.word.decode()], abs=1e-9)
        assert is_one_word(given, word.completion.decode())
    assert list(exact.values()) == sorted(exact.values(), reverse=True)
    for completion, probability in toy.words(given.encode(), 2):
        assert word_at_end((given + completion).encode(), 0).decode() in exact or probability < min(exact.values())


@pytest.mark.parametrize("seed", range(4))
def test_a_word_that_may_follow_in_several_ways_is_listed_once_with_the_most_likely(seed, lists_everything):
    toy = Toy([b"", b"a", b" a", b"\na", b"."], seed).never(b".")
    found = {word.word: word for word in most_likely_words(toy.hypotheses(b"."), 5, max_expansions=100)}
    assert {b"a", b"aa"} <= set(found)
    for word in (b"a", b"aa"):
        ways = {
            before + word: toy.probability(b"." + before + word) - toy.probability(b"." + before + word + b"a")
            for before in (b"", b" ", b"\n")
        }
        assert found[word].completion == max(ways, key=ways.get)
        assert found[word].probability == pytest.approx(sum(ways.values()) / toy.probability(b"."), abs=1e-9)


def test_the_text_may_end_within_a_character(toy):
    first, second = "é".encode()[:1], "é".encode()[1:]
    found = {
        word.completion: word for word in most_likely_words(toy.hypotheses(b"b" + first), 6, max_expansions=math.inf)
    }
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
        for word in most_likely_words(toy.hypotheses(given.encode()), 3, max_expansions=effort):
            exact = toy.whole_word_probability(given, word.word.decode())
            assert word.probability - 1e-12 <= exact <= word.upper + 1e-12
            low, high = before.get(word.word, (0, 1))
            assert low <= word.probability
            assert word.upper <= high + 1e-12
            now[word.word] = word.probability, word.upper
        before |= now


def test_a_search_that_ends_by_itself_is_right():
    most, ended = 60, 0
    for text, seed in product(GIVEN, range(3)):
        toy = Toy(PIECES, seed).never(*BEFORE_WORDS)
        hypotheses = toy.hypotheses(text.encode(), 8)
        hypotheses.rows()
        toy.predictor.num_steps = 0
        found = most_likely_words(hypotheses, 2, max_expansions=most)
        if toy.predictor.num_steps < most:
            ended += 1
            exact = most_likely_words(hypotheses, 2, max_expansions=math.inf)
            assert [word.word for word in found] == [word.word for word in exact]
    assert ended > 3 * len(GIVEN) / 2


def test_in_a_script_without_spaces_a_piece_is_a_word(lists_everything):
    toy = Toy([b"", *(text.encode() for text in ("東", "京", "東京", "京都", "都", "。", "京。", " "))]).never(
        "。".encode(), b" "
    )
    given = "東".encode()
    after_token, after_row = toy.row((1,)), toy.row(())
    whole = toy.probability(given)
    expected = {
        "京": (after_row[3] + after_row[1] * (after_token[2] + after_token[7])) / whole,
        "京都": after_row[1] * after_token[4] / whole,
        "都": after_row[1] * after_token[5] / whole,
        "東": after_row[1] * after_token[1] / whole,
    }
    found = {word.completion.decode(): word for word in most_likely_words(toy.hypotheses(given), 9, max_expansions=300)}
    for text, probability in expected.items():
        assert found[text].probability == pytest.approx(probability, abs=1e-9)
        assert found[text].word.decode() == text
    assert {text for text in found if "。" not in text and " " not in text} <= {*expected, "東京"}


def test_a_piece_ends_after_its_marks_and_marks_alone_are_no_word(lists_everything):
    first, mark, marked, other = pieces = "ก", "ั", "ัน", "น"
    toy = Toy([b"", *(text.encode() for text in pieces)])
    toy.predictor.stepper.output_bias[:] = [15, 15, 5, 5, 15]  # marks in a row are rare
    given = first.encode()

    def ends(*tokens):
        return math.prod(toy.row((1, *tokens[:place]))[token] for place, token in enumerate(tokens)) * (
            1 - toy.row((1, *tokens))[2] - toy.row((1, *tokens))[3]
        )

    expected = {  # by what follows the text: the whole word, and its probability
        first: (first, ends(1)),
        other: (other, ends(4)),
        other + mark: (other + mark, ends(4, 2)),
        marked: (first + marked, ends(3) + ends(2, 4)),
        first + marked: (first + marked, ends(1, 3)),
        mark + marked: (first + mark + marked, ends(2, 3) + ends(2, 2, 4)),
    }
    found = {
        word.completion.decode(): word for word in most_likely_words(toy.hypotheses(given), 60, max_expansions=3000)
    }
    assert mark not in found
    for completion, (word, probability) in expected.items():
        assert found[completion].probability == pytest.approx(probability, abs=1e-9)
        assert found[completion].word.decode() == word


def test_a_model_that_ends_the_document_has_no_next_word():
    toy = Toy([b"", b"a", b"\x1b"])
    toy.predictor.stepper.output_bias[:] = [100, -100, -100]
    (word,) = most_likely_words(toy.hypotheses(b"a"), 1)
    assert (word.word, word.completion, word.probability) == (b"a", b"", pytest.approx(1))
    toy.predictor.stepper.output_bias[:] = [-100, -100, 100]
    assert [word.probability < 1e-9 for word in most_likely_words(toy.hypotheses(b""), 1)] in ([], [True])


@pytest.fixture(scope="module")
def completer(trained_model):
    from gru_complete.runtime.completer import Completer

    return Completer.load(trained_model)


def test_words_finish_the_word_begun(completer):
    found = most_likely_words(completer.hypotheses(completer.read(b"The old ho")), 3)
    assert found[0].word == b"house"
    assert all(word.word.startswith(b"ho") for word in found)
    assert all(b"ho" + word.completion == word.word for word in found)
    assert 0 < sum(word.probability for word in found) <= 1


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=20), st.integers(0, 60))
def test_after_any_text_words_are_text_that_fits(completer, text, cut):
    given = text.encode()[:cut]
    for word in most_likely_words(completer.hypotheses(completer.read(given)), 3, max_expansions=12):
        assert (given + word.completion).endswith(word.word)
        assert word.word.decode().isprintable() or not word.word.decode().isascii()
        assert 0 < word.probability <= word.upper <= 1 + 1e-6


@pytest.mark.parametrize("text", ["", "The ", "The old ho", "The old'", "The house, "])
def test_each_word_is_listed_once_and_none_is_negligible(completer, text):
    found = most_likely_words(completer.hypotheses(completer.read(text.encode())), 50)
    assert len({word.word for word in found}) == len(found) >= 1
    assert found[-1].probability >= NEGLIGIBLE * found[0].probability


@pytest.mark.parametrize("text", ["", "The ", "The old ho", "The old'", "The house, ", "The r", "The old cat saw"])
def test_is_among_agrees_with_the_list_of_words(completer, text):
    hypotheses = completer.hypotheses(completer.read(text.encode()))
    listed = [word.completion for word in most_likely_words(hypotheses, 5)]
    assert listed
    for completion in {*listed, b"x", b" cat", b"cat", b"use", b"iver", b"\nThe", b" zzz"}:
        for counts in ([1, 3, 5], [3, 1], [2]):
            expected = [word.completion for word in most_likely_words(hypotheses, max(counts))]
            answers = is_among(hypotheses, completion, counts)
            assert answers == [completion in expected[:count] for count in counts], (completion, expected)


def test_is_among_needs_less_work_than_the_list_of_words():
    toy = Toy(PIECES)
    spent = []
    for ask in (lambda asked: most_likely_words(asked, 5), lambda asked: is_among(asked, b"bbbbbb", [1, 3])):
        hypotheses = toy.hypotheses(b"a", 8)
        hypotheses.rows()
        toy.predictor.num_steps = 0
        ask(hypotheses)
        spent.append(toy.predictor.num_steps)
    assert spent[1] < spent[0]


def test_long_lists_are_searched_longer():
    toy = Toy(PIECES)
    hypotheses = toy.hypotheses(b"a", 8)
    spent = []
    for count in (1, 100):
        hypotheses.rows()
        toy.predictor.num_steps = 0
        most_likely_words(hypotheses, count)
        spent.append(toy.predictor.num_steps)
    assert spent[0] <= MIN_EFFORT < spent[1] <= 100 * EFFORT


def test_the_order_of_questions_changes_nothing(completer):
    prompt_state = completer.read(b"a small ")
    first = most_likely_words(completer.hypotheses(prompt_state), 3)
    most_likely_words(completer.hypotheses(completer.read(b"The bird ")), 3)
    assert most_likely_words(completer.hypotheses(prompt_state), 3) == first
