import numpy as np
import pytest

from gru_complete.errors import CorpusError
from gru_complete.text.tokenizer import DOCUMENT_END
from gru_complete.training.batches import SEARCH_TOKENS, Batches, derived_seed, paragraph_ends
from tests.fakes import LongestFirst

NEWLINE = 5


def batches(length=1000, batch_size=4, seq_len=10, seed=0, ends_paragraph=None):
    """A stream that counts 10, 11, 12, ..., so that each token says where it stands."""
    stream = np.arange(10, 10 + length, dtype=np.uint16)
    ends_paragraph = np.zeros(10 + length, dtype=bool) if ends_paragraph is None else ends_paragraph
    return Batches(stream, ends_paragraph, batch_size, seq_len, seed)


def test_targets_are_the_tokens_one_step_later():
    tokens, targets = batches().chunk(2)
    np.testing.assert_array_equal(tokens[:, 1:], targets[:, :-1])
    assert tokens.shape == targets.shape == (4, 10)
    assert tokens.dtype == targets.dtype == np.int64


def test_a_chunk_goes_on_where_the_one_before_it_stopped():
    data = batches()
    for step in range(1, data.steps_per_epoch):
        _, targets = data.chunk(step)
        tokens, _ = data.chunk(step + 1)
        np.testing.assert_array_equal(targets[:, -1], tokens[:, 0])


def test_every_row_of_an_epoch_begins_with_the_document_end_and_no_later_chunk_does():
    data = batches()
    assert (data.chunk(1)[0][:, 0] == DOCUMENT_END).all()
    assert (data.chunk(1 + data.steps_per_epoch)[0][:, 0] == DOCUMENT_END).all()
    assert not any((data.chunk(step)[0] == DOCUMENT_END).any() for step in range(2, 1 + data.steps_per_epoch))


def test_an_epoch_reads_every_token_once():
    data = batches(length=1000, batch_size=4, seq_len=10)  # 25 chunks of 40 targets
    seen = np.concatenate([data.chunk(step)[1].ravel() for step in range(1, 26)])
    assert data.steps_per_epoch == 25
    np.testing.assert_array_equal(np.sort(seen), np.arange(10, 1010))


def test_epochs_begin_at_different_places():
    data = batches()
    firsts = {tuple(data.chunk(1 + epoch * data.steps_per_epoch)[1][:, 0]) for epoch in range(8)}
    assert len(firsts) == 8


def test_the_same_seed_and_step_give_the_same_chunk_and_another_seed_another():
    np.testing.assert_array_equal(batches(seed=3).chunk(7)[0], batches(seed=3).chunk(7)[0])
    assert (batches(seed=3).chunk(7)[0] != batches(seed=4).chunk(7)[0]).any()


def test_rows_begin_after_the_next_paragraph_end():
    ends_paragraph = np.zeros(1010, dtype=bool)
    ends_paragraph[20::20] = True
    tokens, targets = batches(ends_paragraph=ends_paragraph).chunk(1)
    assert ends_paragraph[targets[:, 0] - 1].all()  # of the tokens before the first targets


def test_a_paragraph_end_too_far_away_is_not_looked_for():
    ends_paragraph = np.zeros(2 * SEARCH_TOKENS + 10, dtype=bool)
    data = batches(length=2 * SEARCH_TOKENS, batch_size=1, ends_paragraph=ends_paragraph)
    plain = data.chunk(1)[1][0, 0]
    ends_paragraph[(plain - 10 + SEARCH_TOKENS + 5) % (2 * SEARCH_TOKENS) + 10] = True
    assert data.chunk(1)[1][0, 0] == plain


def test_now_and_then_a_row_is_interrupted_where_a_paragraph_starts():
    data = batches(length=5000, batch_size=10, seq_len=25, ends_paragraph=np.arange(5010) % 20 == 0)
    interrupted = 0
    for step in range(2, 2 + data.steps_per_epoch - 1):
        tokens, targets = data.chunk(step)
        rows, places = np.nonzero(tokens == DOCUMENT_END)
        assert ((targets[rows, places] - 1) % 20 == 0).all()  # it stands for a token that ends a paragraph
        assert len(set(rows)) == len(rows)
        tokens[rows, places] = targets[rows, places] - 1
        np.testing.assert_array_equal(tokens[:, 1:], targets[:, :-1])  # and nothing else has changed
        interrupted += len(rows)
    assert 4 <= interrupted <= 30  # 190 chunks of rows, 1 of 16


PIECES = LongestFirst(b"a", b"\n", b"b\n", b"\n\n", first=(b"",))


def test_paragraphs_are_parted_by_blank_lines_where_there_are_any_and_by_line_ends_else():
    with_blank_lines = np.array([0, 1, 2, 1, 4, 1, 0], dtype=np.uint16)
    np.testing.assert_array_equal(paragraph_ends(PIECES, with_blank_lines), [True, False, False, False, True])
    lines_only = np.array([0, *[1, 2] * 1500, 0], dtype=np.uint16)
    np.testing.assert_array_equal(paragraph_ends(PIECES, lines_only), [True, False, True, True, True])


def test_a_stream_too_short_for_the_rows_is_refused():
    with pytest.raises(CorpusError, match="7 tokens are too few for batch_size=4"):
        batches(length=7)


def test_a_stream_shorter_than_one_chunk_is_read_round_and_round():
    tokens, targets = batches(length=20, batch_size=4, seq_len=50).chunk(1)
    assert tokens.shape == (4, 50)
    np.testing.assert_array_equal((targets[:, 1:] - targets[:, :-1]) % 20, 1)


def test_derived_seeds_differ_by_purpose_and_are_the_same_everywhere():
    assert derived_seed(0, "dropout", 1) == 8942783098061930404
    assert len({derived_seed(0, "dropout", 1), derived_seed(0, "dropout", 2), derived_seed(1, "dropout", 1)}) == 3
    assert all(0 <= derived_seed(seed, "x") < 2**63 for seed in range(100))
