import re

import numpy as np
import pytest

from gru_complete.errors import CorpusError, UsageError
from gru_complete.inspection.features import (
    _token_labels,
    feature_from_name,
    find_feature,
    inside_brackets,
    inside_matches,
    inside_quotes,
    line_lengths,
    unseen_documents,
)
from gru_complete.model.architecture import Architecture
from gru_complete.model.directory import LoadedModel, load_model
from gru_complete.model.manifest import Manifest
from tests.fakes import LongestFirst


def marked(text, labels):
    """The characters after which something holds, the others as dots."""
    return "".join(char if label else "." for char, label in zip(text, labels, strict=True))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('a "bc" d', '.."bc...'),
        ("a “b's” d", "..“b's..."),
        ("„ab“ c »", "„ab....."),
        ('"a\n\nb" c', '"a\n..' + '" c'),
        ("«a “b» c", "«a “b..."),
    ],
)
def test_text_in_quotation_marks_is_labelled(text, found):
    assert marked(text, inside_quotes(text)) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [("f(a[1]) b", ".(a[1]..."), (":) (a", "...(a"), ("(a\n\nb)", "(a\n..."), ("(a] b)", "(a] b.")],
)
def test_text_in_brackets_is_labelled(text, found):
    assert marked(text, inside_brackets(text)) == found


def test_characters_are_numbered_along_their_line():
    assert line_lengths("ab\nc\n\nde").tolist() == [1, 2, 0, 1, 0, 0, 1, 2]


def test_matches_of_a_regular_expression_are_labelled():
    assert marked("a12 b3", inside_matches(re.compile(r"\d+"))("a12 b3")) == ".12..3"


def test_a_regular_expression_sees_the_ends_of_lines():
    assert marked("a:\nb c:\n", feature_from_name("^[a-z]:$")("a:\nb c:\n")) == "a:......"


def test_an_invalid_regular_expression_is_refused():
    with pytest.raises(UsageError, match="not a regular expression: missing"):
        feature_from_name("(a")


def test_a_token_has_a_match_by_any_of_its_characters_and_an_open_quotation_by_its_last():
    pieces = [b' "Th', b"e", b' c"', b"\xc3", b"\xa9"]
    assert _token_labels(pieces, inside_matches(re.compile("[A-Z]|é")), of_any=True).tolist() == [1, 0, 0, 1, 1]
    assert _token_labels(pieces, inside_quotes, of_any=False).tolist() == [1, 1, 0, 0, 0]


def model_that_sees_digits():
    """A gru-simple whose unit 2 is 1 after a digit and 0 after anything else, and whose others are always 0."""
    arch = Architecture("gru-simple", 257, 4, 4, 1)
    weights = {name: np.zeros(shape) for name, shape in arch.tensor_shapes().items()}
    weights["embedding"][:, 0] = [float(chr(token - 1).isdigit()) if 0 < token < 129 else 0.0 for token in range(257)]
    weight_x, bias = weights["cells.0.weight_x"], weights["cells.0.bias"]
    bias[2] = 100  # the update gate of unit 2 is open
    weight_x[6, 0] = 100  # and its candidate is the digit
    return LoadedModel(None, Manifest(arch, {}, {}, {}, {}, "0"), weights, LongestFirst(), "")


def test_the_unit_made_to_follow_digits_is_found():
    text = b"in 1895 a man of 37 had 4 dogs. " * 20
    report = find_feature(model_that_sees_digits(), r"\d", [[1 + value for value in text]])
    best = report.probe.followers[0]
    assert (best.unit.layer, best.unit.unit, best.sign) == (0, 2, 1)
    assert 0 < best.threshold < 1
    assert best.accuracy.value == 1.0
    assert report.share == pytest.approx(7 / 32)
    assert report.probe.majority == pytest.approx(25 / 32, abs=0.02)
    assert report.to_json()["units"][0]["layer"] == 1


def test_line_length_is_split_at_its_median():
    text = b"abcdefgh\n" * 40
    report = find_feature(model_that_sees_digits(), "line-length", [[1 + value for value in text]])
    assert report.feature == "line-length above 4"
    assert report.share == pytest.approx(4 / 9)


@pytest.mark.parametrize(("text", "message"), [(b"abc", "too few"), (b"abc " * 100, "nowhere in the first half")])
def test_a_text_without_both_cases_of_a_feature_is_refused(text, message):
    with pytest.raises(CorpusError, match=message):
        find_feature(model_that_sees_digits(), "quotes", [[1 + value for value in text]])


def test_the_unseen_text_of_a_training_is_read(trained_model, tmp_path):
    model = load_model(trained_model)
    texts = unseen_documents(model)
    assert 0 not in texts[0]
    assert b"cat" in model.tokenizer.decode(texts[0])
    with pytest.raises(UsageError, match="no unseen text was kept"):
        unseen_documents(model._replace(path=tmp_path / "alone"))
