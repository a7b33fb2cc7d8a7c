import math
import unicodedata

import numpy as np
import pytest

from gru_complete.checking.error_model import WORD, ErrorModel


def test_an_error_is_as_likely_as_the_word_is_frequent_and_similar(toy):
    error_model = ErrorModel(toy)
    candidates = error_model.candidates_after(b" ")
    assert candidates.words == ["a", "ab", "b", "bc", "c", "ca"]
    vectors = toy.predictor.stepper.embedding - toy.predictor.stepper.embedding.mean(axis=0)
    pieces = toy.tokenizer.pieces
    bias = toy.predictor.stepper.output_bias

    def weight(token, meant):
        left, right = vectors[token], vectors[meant]
        cosine = left @ right / np.linalg.norm(left) / np.linalg.norm(right)
        return math.exp(bias[token] + 6 * min(cosine, 0.6))

    tokens = [pieces.index(b" " + word.encode()) for word in candidates.words]
    for written in ("b", "ca"):
        token = pieces.index(b" " + written.encode())
        computed = error_model.log_probabilities(written, [token], candidates)
        for meant, log_probability in zip(tokens, computed, strict=True):
            whole = sum(weight(other, meant) for other in tokens)
            assert log_probability == pytest.approx(math.log(weight(token, meant) / whole), abs=1e-4)


def test_only_whole_words_after_the_prefix_are_candidates(toy):
    assert ErrorModel(toy).candidates_after(b"").words == ["a", "ab", "b", "bc", "c"]
    assert ErrorModel(toy).candidates_after(b"x").words == []


@pytest.mark.parametrize(
    "word", ["हिन्दी", "தமிழ்", "שָׁלוֹם", "caf\u0065\u0301", "ভাষা", "tout\u2019e\u0301te\u0301", "ქართული"], ids=ascii
)
def test_a_word_has_its_marks(word):
    assert WORD.findall(f" {word}, 7{word} {word}.") == [word] * 3
    assert WORD.fullmatch(word)


def test_every_mark_belongs_to_the_letter_before_it_and_is_no_word_alone():
    for code in range(0x300, 0x1E00):
        if unicodedata.category(chr(code)).startswith("M"):
            assert WORD.findall(f"{chr(code)} ab{chr(code)}c, {chr(code)}d") == [f"ab{chr(code)}c", "d"]
