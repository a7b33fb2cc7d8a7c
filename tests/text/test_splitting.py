import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gru_complete.config import DataConfig
from gru_complete.errors import CorpusError
from gru_complete.text.corpus import Spool, _Counts
from gru_complete.text.decoding import DocumentReader
from gru_complete.text.splitting import split


def split_text(tmp_path, documents, *, held_out=0.1, tuning=0.05, max_held_out_bytes=10**6, max_tuning_bytes=10**6):
    """The three parts as lists of texts."""
    path = tmp_path / "spool"
    with path.open("wb") as stream:
        counts = _Counts()
        for document in documents:
            stream.write(document)
            counts.add(document.decode(), document)
            counts.end_document("-", DocumentReader("-"))
    spool = Spool(counts.report(), counts.document_ends, counts.document_sha256)
    shares = {"held_out": held_out, "tuning": tuning}
    most = {"max_held_out_bytes": max_held_out_bytes, "max_tuning_bytes": max_tuning_bytes}
    parts = split(path, spool, DataConfig(**shares, **most))
    data = path.read_bytes()
    return [[data[start:end] for start, end in part] for part in (parts.training, parts.tuning, parts.held_out)]


def lines(first, last):
    return b"".join(b"line %06d\n" % number for number in range(first, last))


def test_held_out_text_is_the_end_and_one_slice_of_a_small_text_is_its_middle(tmp_path):
    training, tuning, held_out = split_text(tmp_path, [lines(0, 1000)])
    assert training == [lines(0, 425), lines(475, 900)]
    assert tuning == [lines(425, 475)]
    assert held_out == [lines(900, 1000)]


def test_the_tuning_slices_of_a_large_text_are_spread_evenly(tmp_path):
    training, tuning, held_out = split_text(tmp_path, [lines(0, 16_000)], held_out=0)
    assert tuning == [lines(950 + 2000 * index, 1050 + 2000 * index) for index in range(8)]
    assert b"".join(sorted(training + tuning)) == lines(0, 16_000)
    assert held_out == []


def test_parts_are_cut_at_documents_that_are_near(tmp_path):
    documents = [lines(0, 424), lines(424, 476), lines(476, 896), lines(896, 1000)]
    training, tuning, held_out = split_text(tmp_path, documents)
    assert (training, tuning, held_out) == ([documents[0], documents[2]], [documents[1]], [documents[3]])


def test_a_slice_may_span_documents(tmp_path):
    documents = [lines(10 * index, 10 * index + 10) for index in range(100)]
    _, tuning, _ = split_text(tmp_path, documents, held_out=0, tuning=0.08)
    assert len(tuning) == 8
    assert all(document in documents for document in tuning)


def test_held_out_text_may_hold_many_documents_and_a_part_of_one(tmp_path):
    documents = [lines(number, number + 30) for number in range(0, 990, 30)]
    training, tuning, held_out = split_text(tmp_path, documents)
    assert b"".join(sorted(training + tuning + held_out)) == lines(0, 990)
    assert held_out == [lines(891, 900), *documents[-3:]]  # 99 of 990 lines


def test_the_largest_sizes_hold(tmp_path):
    _, tuning, held_out = split_text(tmp_path, [lines(0, 1000)], max_held_out_bytes=105, max_tuning_bytes=60)
    assert held_out == [lines(992, 1000)]
    assert len(tuning) == 1
    assert len(tuning[0]) == 60


def test_a_single_line_is_cut_before_white_space(tmp_path):
    training, tuning, held_out = split_text(tmp_path, [b"word " * 2000])
    assert all(part[0].startswith(b" word") for part in (tuning, held_out))
    assert abs(len(held_out[0]) - 1000) <= 2


def test_a_single_word_is_cut_between_characters(tmp_path):
    parts = split_text(tmp_path, ["字".encode() * 3001])
    assert "".join(text.decode() for part in parts for text in part) == "字" * 3001
    assert abs(len(parts[2][0]) - 900) <= 3


def test_a_repeated_document_stays_with_the_first_one(tmp_path):
    first, middle, last = lines(0, 300), lines(300, 700), lines(2000, 2300)
    training, tuning, held_out = split_text(tmp_path, [first, middle, last, first])
    assert training.count(first) == 2
    assert b"".join([*sorted(training[:-1] + tuning), *held_out]) == first + middle + last


def test_repeats_of_held_out_text_are_left_out(tmp_path):
    document = lines(0, 1000)
    training, tuning, held_out = split_text(tmp_path, [document, document, document])
    assert b"".join(sorted(training + tuning) + held_out) == document


@pytest.mark.parametrize("num_bytes", [1, 41, 1023])
def test_a_small_corpus_is_refused_with_the_size_that_is_needed(num_bytes, tmp_path):
    with pytest.raises(CorpusError, match=rf"{num_bytes} bytes of text; at least 1024 are needed"):
        split_text(tmp_path, [b"x" * num_bytes])
    with pytest.raises(CorpusError, match="not counting repeated documents"):
        split_text(tmp_path, [b"x" * num_bytes] * 2000)


def test_shares_that_leave_nothing_are_refused(tmp_path):
    with pytest.raises(CorpusError, match="leave too little of 12000 bytes"):
        split_text(tmp_path, [lines(0, 1000)], held_out=0.5, tuning=0.5)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    num_documents=st.integers(1, 12),
    alphabet=st.sampled_from(["ab \n", "ab ", "字é", "a\n", "字\u3000\n"]),
    held_out=st.sampled_from([0, 0.01, 0.1, 0.4]),
    tuning=st.sampled_from([0.03, 0.3]),
    most=st.sampled_from([70, 500, 10**6]),
)
def test_parts_are_disjoint_complete_in_order_and_of_the_right_size(
    tmp_path_factory, seed, num_documents, alphabet, held_out, tuning, most
):
    rng = random.Random(seed)
    documents = ["".join(rng.choices(alphabet, k=rng.choice([1, 30, 2000]))).encode() for _ in range(num_documents)]
    documents = list(dict.fromkeys([*documents, "".join(rng.choices(alphabet, k=1500)).encode()]))
    total = sum(map(len, documents))
    parts = split_text(
        tmp_path_factory.mktemp("split"),
        documents,
        held_out=held_out,
        tuning=tuning,
        max_held_out_bytes=most,
        max_tuning_bytes=most,
    )
    assert sorted(b"".join(sum(parts, []))) == sorted(b"".join(documents))
    assert b"".join(documents).endswith(b"".join(parts[2]))
    assert all(text.decode() for part in parts for text in part)
    for part, share in zip(parts[1:], (tuning, held_out), strict=True):
        size = sum(map(len, part))
        wanted = min(max(total * share, 64), most) if share else 0
        assert wanted * 0.5 - 4 <= size <= min(wanted * 1.05 + 1, most)
    assert parts[0]
