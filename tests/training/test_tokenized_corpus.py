import io
import time

import pytest

from gru_complete.config import Config, load_config
from gru_complete.errors import CorpusError
from gru_complete.model.directory import load_model
from gru_complete.model.run_dir import RunDir
from gru_complete.text import splitting, tokenizer_child
from gru_complete.text.corpus import MIN_CORPUS_BYTES
from gru_complete.training import tokenized_corpus
from gru_complete.training.run import TrainingRequest
from gru_complete.training.tokenized_corpus import (
    MIN_TOKENS,
    growing_shares,
    read_tokenized_corpus,
    spooled,
    tokenize_corpus,
)
from tests.kinds import KINDS
from tests.training.runs import train


@pytest.fixture
def in_process(monkeypatch):
    """Tokenizers are trained in this process, which saves the time that a child takes to start."""

    def train_here(sample, *, vocab_size):
        return tokenizer_child.train(b"".join(sample), vocab_size)

    monkeypatch.setattr(tokenized_corpus, "train_tokenizer", train_here)


def tokenized(directory, documents, *overrides):
    """The token streams of a text, and the split that the config asks for."""
    directory.mkdir()
    paths = [directory / f"{index:03}.txt" for index in range(len(documents))]
    for path, document in zip(paths, documents, strict=True):
        path.write_bytes(document)
    config = load_config(None, overrides)
    run_dir = RunDir(directory / "run")
    run_dir.path.mkdir()
    with spooled([str(path) for path in paths], run_dir.path, config.data, stdin=io.BytesIO()) as (spool_path, spool):
        for _ in tokenize_corpus(run_dir, spool_path, spool, config.data, config.tokenizer):
            pass
        asked_for = splitting.split(spool_path, spool, config.data)
    return read_tokenized_corpus(run_dir), asked_for


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_bytes", [MIN_CORPUS_BYTES, 3_006])
def test_the_least_that_is_asked_for_is_enough_and_so_is_more(tmp_path, in_process, kind, num_bytes):
    corpus, _ = tokenized(tmp_path / "c", [KINDS[kind](num_bytes)])
    assert corpus.headers["tuning"].num_tokens >= MIN_TOKENS
    assert corpus.headers["training"].num_tokens >= MIN_TOKENS
    assert sum(header.num_bytes for header in corpus.headers.values()) == num_bytes


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_size_from_the_least_on_is_enough(tmp_path, in_process, kind):
    for seed, num_bytes in enumerate([1_024, 1_025, 1_100, 1_300, 1_700, 2_133, 2_500, 4_000, 6_266, 9_000]):
        corpus, _ = tokenized(tmp_path / str(num_bytes), [KINDS[kind](num_bytes, seed)])
        assert corpus.headers["tuning"].num_tokens >= MIN_TOKENS
        assert corpus.headers["training"].num_tokens >= MIN_TOKENS


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_text_of_the_least_size_trains_to_a_model(tmp_path, kind):
    path = tmp_path / "corpus.txt"
    path.write_bytes(KINDS[kind](MIN_CORPUS_BYTES, seed=1))
    config = load_config(None, ["training.steps=5", "model.hidden_size=16", "training.threads=1"])
    train(TrainingRequest([str(path)], tmp_path / "model", config, started=time.monotonic()))
    assert load_model(tmp_path / "model").manifest.training["steps"] == 5


def test_thirty_copies_are_one_text(tmp_path, in_process):
    corpus, _ = tokenized(tmp_path / "c", [KINDS["prose"](MIN_CORPUS_BYTES)] * 30)
    assert sum(header.num_bytes for header in corpus.headers.values()) == MIN_CORPUS_BYTES
    message = f"has {MIN_CORPUS_BYTES - 1} bytes of text, not counting repeated documents; at least {MIN_CORPUS_BYTES}"
    with pytest.raises(CorpusError, match=message):
        tokenized(tmp_path / "d", [KINDS["prose"](MIN_CORPUS_BYTES - 1)] * 30)


def test_a_share_that_is_enough_is_taken_as_it_is(tmp_path, in_process):
    for kind, num_bytes in (("prose", 12_000), ("chinese", 9_000), ("digits", 2_200), ("csv", 3_000)):
        corpus, asked_for = tokenized(tmp_path / kind, [KINDS[kind](num_bytes)])
        for part, ranges in vars(asked_for).items():
            assert corpus.headers[part].num_bytes == sum(end - start for start, end in ranges)


def test_shares_grow_and_leave_a_quarter_to_learn_from():
    assert list(growing_shares(0.03, rest=0.1)) == pytest.approx([0.03, 0.06, 0.12, 0.24, 0.48])
    assert list(growing_shares(0.5, rest=0.5)) == [0.5]
    assert list(growing_shares(Config().data.held_out, rest=1e-6)) == pytest.approx([0.1, 0.2, 0.4])


def test_a_text_of_too_few_tokens_is_refused_with_their_number(tmp_path, in_process):
    with pytest.raises(
        CorpusError, match=r"bytes of its tuning split are \d+ tokens, and at least 64 are needed"
    ) as caught:
        tokenized(tmp_path / "c", [b"a" * 1500])
    assert caught.value.hint == "give more text; a text that repeats itself has few tokens"
    with pytest.raises(CorpusError) as caught:
        tokenized(tmp_path / "d", [KINDS["prose"](20_000)], "data.max_tuning_bytes=100")
    assert caught.value.hint == "raise data.max_tuning_bytes"
