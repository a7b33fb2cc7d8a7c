"""Sums over segmentations against brute force: every sequence of tokens that spells the text."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gru_complete.errors import ModelError
from gru_complete.model.architecture import Architecture
from gru_complete.ngrams.building import count_ngrams
from gru_complete.ngrams.mixture import NUM_OUTPUTS, NUM_SLOPES, MixingWeights, NGramMixture
from gru_complete.ngrams.overlay import Overlay
from gru_complete.runtime.piece_index import PieceIndex
from gru_complete.runtime.predictor import Predictor
from gru_complete.runtime.repeats import places
from gru_complete.runtime.segmentation import Hypotheses
from gru_complete.runtime.stepper import Stepper
from tests.fakes import OneByOnePredictor

PIECES = [b"", *(bytes([byte]) for byte in b"ab \n\xc3\xa9"), b"a", b" a", b"ab", b"ba", b"aba", b" ab", b"  ", b"bb"]
PIECES += ["é".encode(), "aé".encode(), b"\n "]
ALPHABET = b"ab \n\xc3\xa9"
INDEX = PieceIndex(PIECES)


def predictor(kind):
    generator = np.random.default_rng(2)
    arch = Architecture("gru", len(PIECES), 6, 8, 2)
    weights = {name: generator.normal(size=shape) for name, shape in arch.tensor_shapes().items()}
    mixture = None
    if kind != "network":
        stream = generator.integers(0, len(PIECES), 3000)
        gate = generator.normal(size=(4 + NUM_SLOPES, NUM_OUTPUTS)).astype(np.float32)
        ngrams = count_ngrams(np.append(stream, 0).astype(np.uint16), vocab_size=len(PIECES), order=4)
        mixture = NGramMixture(ngrams, MixingWeights(gate), adapts=True)
    return OneByOnePredictor(Stepper(arch, weights, np.float64), mixture)


class Model:
    """A model, where its text begins, and what that says."""

    def __init__(self, kind):
        self.predictor = predictor(kind)
        self.overlay = None
        self.start = self.predictor.start()
        tokens = [6, 9, 2, 10, 3, 6, 9, 4, 8, 12, 5, 6]
        if kind == "overlay":
            self.overlay = Overlay()
            for token in tokens:
                self.overlay.learn(token)
        self.start = self.predictor.read(self.start, tokens)

    def open(self, segment, width=None):
        return Hypotheses.open(self.predictor, INDEX, self.start, segment, self.overlay, width=width)

    def probability(self, text, decoder_state=None):
        """That the text goes on with these bytes, by the definition."""
        decoder_state = decoder_state or self.start
        if not text:
            return 1.0
        row = np.exp(self.predictor.log_probabilities([decoder_state], self.overlay)[0])
        whole = 0.0
        for token, piece in enumerate(PIECES):
            if piece and piece.startswith(text):
                whole += row[token]
            elif piece and text.startswith(piece):
                whole += row[token] * self.probability(text[len(piece) :], self.predictor.step(decoder_state, token))
        return float(whole)

    def end_probability(self, text, decoder_state=None):
        """That the document is these bytes, by the definition."""
        decoder_state = decoder_state or self.start
        row = np.exp(self.predictor.log_probabilities([decoder_state], self.overlay)[0])
        whole = 0.0 if text else row[0]
        for token, piece in enumerate(PIECES):
            if piece and text.startswith(piece):
                whole += row[token] * self.end_probability(
                    text[len(piece) :], self.predictor.step(decoder_state, token)
                )
        return float(whole)


@pytest.fixture(scope="module", params=["network", "counts", "overlay"])
def model(request):
    return Model(request.param)


# Within a word, in a run of spaces, after a newline, within a character, after something else.
TEXTS = [b"", b"a", b"aba", b" ", b"  ", b"ab  ", b" aba ab", b"\n", b"a\n ", b"\xc3", b"a\xc3", b"\xa9b"]
TEXTS += ["aéab".encode()]


@pytest.mark.parametrize("text", TEXTS)
def test_without_a_width_the_probability_is_the_sum_over_all_segmentations(model, text):
    assert model.open(text).total == pytest.approx(math.log(model.probability(text)), abs=1e-9)


@pytest.mark.parametrize("text", TEXTS)
def test_next_bytes_are_those_of_all_segmentations(model, text):
    expected = np.zeros(257)
    for byte in ALPHABET:
        expected[byte] = model.probability(text + bytes([byte]))
    expected[256] = model.end_probability(text)
    np.testing.assert_allclose(model.open(text).next_bytes(), expected / expected.sum(), rtol=0, atol=1e-9)
    assert expected.sum() == pytest.approx(model.probability(text), rel=1e-5)  # a row's sum is 1 but for rounding


@pytest.mark.parametrize("width", [1, 2, 8, None])
@pytest.mark.parametrize("text", TEXTS)
def test_next_bytes_sum_to_1(model, text, width):
    chances = model.open(text, width).next_bytes()
    assert chances.sum() == pytest.approx(1, abs=1e-12)
    assert (chances >= 0).all()


@pytest.mark.parametrize("width", [1, 3, 8, None])
def test_a_text_cut_anywhere_and_continued_has_the_same_probability(model, width):
    text = " abaé\n ba".encode()
    whole = model.open(text, width)
    for cut in range(len(text) + 1):
        begun = model.open(text[:cut], width)
        after, log_probability = begun.extended(text[cut:])
        assert begun.total + log_probability == pytest.approx(whole.total, abs=1e-12)
        assert after.total == whole.total
        assert after.next_bytes().tolist() == whole.next_bytes().tolist()


def test_without_a_width_next_bytes_agree_with_extending_by_them(model):
    hypotheses = model.open(b" ab")
    chances = hypotheses.next_bytes()
    for byte in ALPHABET:
        log_probability = hypotheses.extended(bytes([byte]))[1]
        assert log_probability == pytest.approx(math.log(chances[byte]), abs=1e-5)  # a row's sum is 1 but for rounding


@given(st.binary(max_size=12).map(lambda data: bytes(ALPHABET[byte % len(ALPHABET)] for byte in data)))
@settings(max_examples=40, deadline=None)
def test_pruning_makes_a_text_less_likely_but_never_impossible(text):
    model = Model("network")
    totals = [model.open(text, width).total for width in (1, 2, 8)]
    assert min(totals) > -math.inf
    assert max(totals) <= model.open(text).total + 1e-9


def test_the_default_width_loses_little(model):
    for text in TEXTS:
        assert model.open(text, 8).total == pytest.approx(model.open(text).total, abs=0.02)


def test_no_more_than_width_hypotheses_count_at_each_boundary():
    class Counting(OneByOnePredictor):
        num_read = 0

        def step_many(self, decoder_states, tokens):
            self.num_read += len(tokens)
            return super().step_many(decoder_states, tokens)

    model = Model("network")
    model.predictor.__class__ = Counting
    text = b" abaabaabaab"
    for width in (1, 2, 5):
        model.predictor.num_read = 0
        rows = model.open(text, width).without_pruning().rows()
        boundaries = [row.remainder for row in rows if row.remainder]
        assert max(map(boundaries.count, boundaries)) <= width
        assert len(model.open(text, width).rows()) <= width
        assert model.predictor.num_read <= 2 * 8 * len(text)  # all that have the same boundary are more than 100


def test_without_pruning_no_byte_is_impossible(scored_model):
    scores = np.where(np.arange(len(PIECES)) == PIECES.index(b"aba"), 50, 0)
    model = Predictor(scored_model(lambda tokens: scores))
    hypotheses = Hypotheses.open(model, INDEX, model.start(), b"a", None)
    assert hypotheses.next_bytes()[ord(" ")] == 0
    assert hypotheses.without_pruning().next_bytes()[ord(" ")] > 0


@pytest.mark.parametrize("text", TEXTS)
def test_the_document_may_end_after_every_segmentation(model, text):
    expected = math.log(model.end_probability(text) / model.probability(text))
    assert model.open(text).end_log_probability == pytest.approx(expected, abs=1e-9)


# ------------------------------------------------------------------------------------------ what comes next


@pytest.mark.parametrize("width", [1, 8, None])
@pytest.mark.parametrize("text", TEXTS)
def test_the_masses_of_the_rows_are_1(model, text, width):
    whole = 0.0
    for row in model.open(text, width).rows():
        assert text.endswith(row.remainder)
        longer = [
            token
            for token, piece in enumerate(PIECES)
            if piece.startswith(row.remainder) and (piece != row.remainder or not row.remainder)
        ]
        whole += math.exp(row.log_weight) * np.exp(row.log_probabilities[longer]).sum()
    assert whole == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("width", [1, 8, None])
@pytest.mark.parametrize("text", TEXTS)
def test_first_tokens_agree_with_the_next_bytes(model, text, width):
    hypotheses = model.open(text, width)
    first_tokens = hypotheses.first_tokens()
    chances = np.zeros(257)
    for first, log_probability in zip(first_tokens.texts, first_tokens.log_probabilities, strict=True):
        chances[first[0] if first else 256] += math.exp(log_probability)
    assert len(set(first_tokens.texts)) == len(first_tokens.texts)
    np.testing.assert_allclose(chances, hypotheses.next_bytes(), rtol=0, atol=1e-12)


def continuations(model, first_tokens, num_bytes):
    """The probability that generation continues with each string of ``num_bytes`` bytes."""
    found = dict.fromkeys(map(bytes, product(ALPHABET, repeat=num_bytes)), 0.0)
    for index, first in enumerate(first_tokens.texts):
        if first_tokens.log_probabilities[index] == -math.inf:
            continue
        chance = math.exp(first_tokens.log_probabilities[index])
        for choice in first_tokens.choices(index):
            decoder_state = model.predictor.step(first_tokens.rows[choice.row].decoder_state, choice.token)
            for text in found:
                if first and (text.startswith(first) or first.startswith(text)):
                    found[text] += chance * choice.share * model.probability(text[len(first) :], decoder_state)
    return found


@pytest.mark.parametrize("text", [b"", b" ab", b"a ", b"a\n", b"a\xc3"])
def test_generation_has_the_distribution_of_all_segmentations(model, text):
    before = model.probability(text)
    found = continuations(model, model.open(text).first_tokens(), 3)
    for continuation, probability in found.items():
        assert probability == pytest.approx(model.probability(text + continuation) / before, abs=1e-6)


@pytest.mark.parametrize("text", [b"", b" ab", b"a ", b"a\xc3"])
def test_choices_are_the_tokens_that_add_the_text(model, text):
    first_tokens = model.open(text).first_tokens()
    for index in np.flatnonzero(first_tokens.log_probabilities > -math.inf):
        choices = first_tokens.choices(index)
        assert sum(choice.share for choice in choices) == pytest.approx(1)
        for row, token, _ in choices:
            assert PIECES[token] == first_tokens.rows[row].remainder + first_tokens.texts[index]


@pytest.mark.parametrize("text", TEXTS)
def test_the_places_of_first_tokens_are_those_of_their_texts(model, text):
    first_tokens = model.open(text, 4).first_tokens()
    assert first_tokens.places == places(first_tokens.texts)


def test_indices_of_tokens_are_those_of_the_texts_they_add(model):
    first_tokens = model.open(b"a").first_tokens()
    remainders = {row.remainder for row in first_tokens.rows}
    assert remainders == {b"", b"a"}
    texts = [
        first_tokens.texts[index]
        for index in first_tokens.indices_of_tokens([PIECES.index(b"ab"), PIECES.index(b"bb")])
    ]
    assert sorted(texts) == [b"ab", b"b", b"bb"]


# ------------------------------------------------------------------------------------------ the index


@given(st.sampled_from([piece[:size] for piece in PIECES for size in range(len(piece) + 1)]) | st.binary(max_size=3))
def test_the_index_finds_what_begins_with_a_prefix(prefix):
    start, longer, stop = INDEX.range(prefix)
    equal = [token for token, piece in enumerate(PIECES) if piece and piece == prefix]
    draw_next = [token for token, piece in enumerate(PIECES) if piece.startswith(prefix) and len(piece) > len(prefix)]
    assert sorted(INDEX.order[start:longer]) == equal == sorted(INDEX.tokens(prefix))
    assert sorted(INDEX.order[longer:stop]) == draw_next
    following = [PIECES[token][len(prefix)] for token in INDEX.order[longer:stop]]
    assert INDEX.next_bytes(prefix).tolist() == following


def test_distinct_pieces_begin_with_the_document_end():
    assert INDEX.distinct[0] == b""
    assert [INDEX.distinct[place] for place in INDEX.place] == PIECES


# ------------------------------------------------------------------------------------------ extreme models


def test_what_the_model_calls_impossible_is_only_unlikely(scored_model):
    scores = np.full(len(PIECES), -np.inf)
    scores[1] = 0
    model = Predictor(scored_model(lambda tokens: scores))
    hypotheses = Hypotheses.open(model, INDEX, model.start(), b"bb", None)
    assert hypotheses.total == pytest.approx(-87)
    assert hypotheses.next_bytes()[ord("a")] == pytest.approx(1)


def test_scores_that_are_not_numbers_give_one_clear_error(scored_model):
    model = Predictor(scored_model(lambda tokens: np.full(len(PIECES), np.nan)))
    with pytest.raises(ModelError, match="not finite"):
        Hypotheses.open(model, INDEX, model.start(), b"a", None).next_bytes()
