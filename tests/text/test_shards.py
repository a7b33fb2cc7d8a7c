import hashlib
import json

import numpy as np
import pytest

from gru_complete.errors import EnvironmentFailure, ModelError
from gru_complete.storage import os_calls
from gru_complete.text.shards import documents, header_path, read_shard, write_shard
from gru_complete.text.tokenizer import DOCUMENT_END, FIRST_BYTE


class Bytes:
    """A tokenizer whose tokens are the bytes, with as many ids as asked for."""

    def __init__(self, vocab_size=257):
        self.vocab_size = vocab_size
        self.sha256 = "t" * 64

    def encode_blocks(self, blocks):
        for block in blocks:
            yield np.frombuffer(block, np.uint8).astype(np.uint32) + FIRST_BYTE + max(self.vocab_size - 257, 0)


TEXTS = [[b"ab", b"c"], ["é".encode()], []]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "training.tokens"


@pytest.mark.parametrize(("vocab_size", "dtype"), [(257, "uint16"), (65536, "uint16"), (65537, "uint32")])
def test_a_shard_reads_back_as_it_was_written(vocab_size, dtype, path):
    header = write_shard(path, TEXTS, Bytes(vocab_size), corpus_sha256="c" * 64)
    tokens, read = read_shard(path)
    offset = FIRST_BYTE + vocab_size - 257
    text = [offset + value for value in b"abc"], [offset + value for value in "é".encode()]
    assert tokens.tolist() == [0, *text[0], 0, *text[1], 0, 0]
    assert tokens.dtype == np.dtype(dtype)
    assert read == header
    assert (header.dtype, header.num_tokens, header.num_documents) == (dtype, 9, 3)
    assert (header.num_bytes, header.num_chars) == (5, 4)
    assert (header.tokenizer_sha256, header.corpus_sha256) == ("t" * 64, "c" * 64)
    assert path.stat().st_size == 9 * (2 if dtype == "uint16" else 4)


def test_tokens_are_little_endian_and_cannot_be_changed(path):
    write_shard(path, [[b"a"]], Bytes(), corpus_sha256="")
    assert path.read_bytes() == bytes([0, 0, FIRST_BYTE + ord("a"), 0, 0, 0])
    tokens, _ = read_shard(path)
    with pytest.raises(ValueError, match="read-only"):
        tokens[0] = 1


def test_a_shard_without_documents_is_one_document_end(path):
    write_shard(path, [], Bytes(), corpus_sha256="")
    assert read_shard(path)[0].tolist() == [DOCUMENT_END]


def test_documents_share_the_ends_between_them():
    assert [part.tolist() for part in documents(np.array([0, 5, 6, 0, 0, 7, 0]))] == [[0, 5, 6, 0], [0, 0], [0, 7, 0]]
    assert [part.tolist() for part in documents(np.array([0, 5, 0, 7]))] == [[0, 5, 0], [0, 7]]


@pytest.mark.parametrize("damage", ["cut", "longer", "flipped", "missing", "directory"])
def test_damaged_tokens_are_refused(damage, path):
    write_shard(path, TEXTS, Bytes(), corpus_sha256="")
    data = path.read_bytes()
    path.unlink()
    if damage == "directory":
        path.mkdir()
    elif damage != "missing":
        flipped = bytes([data[0], data[1], data[2] ^ 1]) + data[3:]
        path.write_bytes({"cut": data[:-1], "longer": data + b"\0\0", "flipped": flipped}[damage])
    with pytest.raises(ModelError, match=r"training\.tokens"):
        read_shard(path)


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "float32"},
        {"dtype": None},
        {"num_tokens": -1},
        {"num_tokens": True},
        {"num_tokens": 10**30},
        {"num_documents": 9},
        {"num_documents": -1},
        {"num_bytes": "5"},
        {"num_bytes": 4},
        {"num_bytes": 10**400},
        {"num_chars": -1},
        {"num_chars": 6},
        {"sha256": "0" * 64},
        {"more": 1},
    ],
)
def test_a_changed_header_is_refused(change, path):
    write_shard(path, TEXTS, Bytes(), corpus_sha256="")
    header = json.loads(header_path(path).read_text())
    header_path(path).write_text(json.dumps(header | change))
    with pytest.raises(ModelError, match="training"):
        read_shard(path)


@pytest.mark.parametrize("ids", [[], [0, 1], [1, 0], [1, 2], [0, 1, 0, 2], [0, 1, 0, 2, 0], [0, 0, 0], [5]], ids=str)
def test_a_stream_that_is_not_what_its_header_says_is_refused_although_their_checksums_agree(ids, path):
    write_shard(path, [[b"ab"]], Bytes(), corpus_sha256="")
    data = np.array(ids, np.uint16).tobytes()
    path.write_bytes(data)
    header = json.loads(header_path(path).read_text())
    changes = {"num_tokens": len(ids), "sha256": hashlib.sha256(data).hexdigest()}
    header_path(path).write_text(json.dumps(header | changes))
    with pytest.raises(ModelError, match="training"):
        read_shard(path)


@pytest.mark.parametrize("text", [None, "", "[]", "{}", "{", "x" * 100_000])
def test_a_missing_or_broken_header_is_refused(text, path):
    write_shard(path, TEXTS, Bytes(), corpus_sha256="")
    header_path(path).unlink()
    if text is not None:
        header_path(path).write_text(text)
    with pytest.raises(ModelError, match=r"training\.json"):
        read_shard(path)


def test_a_shard_that_could_not_be_finished_is_not_valid(path, monkeypatch):
    write_shard(path, TEXTS, Bytes(), corpus_sha256="")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os_calls.os_calls, "write", full)
    with pytest.raises(EnvironmentFailure, match="no space left"):
        write_shard(path, TEXTS, Bytes(), corpus_sha256="")
    monkeypatch.undo()
    with pytest.raises(ModelError, match=r"training\.json is missing"):
        read_shard(path)
