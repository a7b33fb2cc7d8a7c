"""Token ids on disk: one stream per split of the corpus, mapped into memory, with a small JSON header beside it.

The stream is ``DE doc1 DE doc2 ... DE``, DE being the document end: each one ends a document and starts the next.

Shapes: N tokens of a stream.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

from gru_complete.arrays import TokenIds, token_dtype
from gru_complete.errors import ModelError, printable
from gru_complete.storage import atomic, untrusted
from gru_complete.text.tokenizer import DOCUMENT_END, Tokenizer

_MAX_HEADER_BYTES = 1 << 16
_MAX_TEXT_BYTES = 1 << 50
_CHECK_TOKENS = 1 << 22
_DISK_DTYPES: dict[str, np.dtype[np.unsignedinteger[Any]]] = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}


@dataclass(frozen=True)
class ShardHeader:
    """What is in a shard; the fields are those of the header file.

    Attributes:
        dtype: "uint16" or "uint32".
        num_tokens: document ends included, of which there are ``num_documents + 1``.
        num_documents: documents.
        num_bytes: UTF-8 bytes of the text.
        num_chars: characters of the text.
        tokenizer_sha256: identifies the tokenizer.
        corpus_sha256: identifies the corpus.
        sha256: hash of the ids as stored, little-endian.
    """

    dtype: str
    num_tokens: int
    num_documents: int
    num_bytes: int
    num_chars: int
    tokenizer_sha256: str
    corpus_sha256: str
    sha256: str


def header_path(path: Path) -> Path:
    """The path of a shard's header: ``training.tokens`` has ``training.json``."""
    return path.with_suffix(".json")


def write_shard(
    path: Path, documents: Iterable[Iterable[bytes]], tokenizer: Tokenizer, *, corpus_sha256: str
) -> ShardHeader:
    """Encode documents into a shard; its header is written last and makes it valid.

    Args:
        path: the shard.
        documents: each given in blocks of bytes.
        tokenizer: what cuts them into tokens.
        corpus_sha256: identifies the corpus.

    Args:
        path: where the token ids go.
        documents: the blocks of each document, UTF-8.
        tokenizer: encodes them.
        corpus_sha256: of the corpus they come from, for the header.

    Raises:
        EnvironmentFailure: the disk or a permission refused.
    """
    atomic.remove_file(header_path(path))  # the old one would not fit the new ids
    dtype = token_dtype(tokenizer.vocab_size).name
    document_end = np.array([DOCUMENT_END], _DISK_DTYPES[dtype]).tobytes()
    text = _TextCount()
    digest = hashlib.sha256(document_end)
    num_tokens, num_documents = 1, 0
    with atomic.open_stream(path) as stream:
        stream.write(document_end)
        for document in documents:
            for ids in tokenizer.encode_blocks(text.counted(document)):
                data = ids.astype(_DISK_DTYPES[dtype], copy=False).tobytes()
                stream.write(data)
                digest.update(data)
                num_tokens += len(ids)
            stream.write(document_end)
            digest.update(document_end)
            num_tokens += 1
            num_documents += 1
    header = ShardHeader(
        dtype=dtype,
        num_tokens=num_tokens,
        num_documents=num_documents,
        num_bytes=text.num_bytes,
        num_chars=text.num_chars,
        tokenizer_sha256=tokenizer.sha256,
        corpus_sha256=corpus_sha256,
        sha256=digest.hexdigest(),
    )
    atomic.write_file(header_path(path), json.dumps(asdict(header), indent=1).encode("ascii") + b"\n")
    return header


def read_shard(path: Path) -> tuple[TokenIds, ShardHeader]:
    """Map a shard into memory, after comparing all of it with its header.

    Returns:
        Token ids, ``(N,)``, read-only and on disk until they are used; and the header.

    Raises:
        ModelError: the shard or its header is missing, cut off or changed.
    """
    header = _read_header(header_path(path))
    dtype = _DISK_DTYPES[header.dtype]
    with untrusted.opened_regular_file(path) as descriptor, open(descriptor, "rb", closefd=False) as file:
        size = os.fstat(descriptor).st_size
        if size != header.num_tokens * dtype.itemsize:
            expected = header.num_tokens * dtype.itemsize
            raise ModelError(f"{printable(path)} is damaged: {size} bytes instead of {expected}", hint=_HINT)
        tokens = np.memmap(file, dtype=dtype, mode="r", shape=(header.num_tokens,))
    digest = hashlib.sha256()
    num_ends = 0
    for start in range(0, len(tokens), _CHECK_TOKENS):
        block = tokens[start : start + _CHECK_TOKENS]
        digest.update(block.data)
        num_ends += int(np.count_nonzero(block == DOCUMENT_END))
    if digest.hexdigest() != header.sha256:
        raise ModelError(f"{printable(path)} is damaged: its sha256 is not that of its header", hint=_HINT)
    if num_ends != header.num_documents + 1 or tokens[0] != DOCUMENT_END or tokens[-1] != DOCUMENT_END:
        raise ModelError(f"{printable(path)} is damaged: its documents are not those of its header", hint=_HINT)
    return tokens, header


def documents(stream: TokenIds) -> list[TokenIds]:
    """The documents of a stream as views, each with the document ends before and after it.

    A last document that was cut off, without a document end after it, is included.
    """
    ends = np.flatnonzero(stream == DOCUMENT_END)
    if ends[-1] != len(stream) - 1:
        ends = np.append(ends, len(stream) - 1)
    return [stream[start : stop + 1] for start, stop in zip(ends[:-1], ends[1:], strict=True)]


_HINT = "remove the run directory and train again"


def _read_header(path: Path) -> ShardHeader:
    """A header, after checking that it has all fields and that their values are possible."""
    data = untrusted.read_regular_file(path, max_bytes=_MAX_HEADER_BYTES)
    values = untrusted.strict_json(data, name=str(path))
    kinds = get_type_hints(ShardHeader)
    if values.keys() != kinds.keys() or any(type(value) is not kinds[name] for name, value in values.items()):
        raise ModelError(f"{printable(path)} does not have the fields of a shard's header", hint=_HINT)
    header = ShardHeader(**values)
    num_text_tokens = header.num_tokens - header.num_documents - 1  # of at least a byte each
    if (
        header.dtype not in _DISK_DTYPES
        or not 0 <= header.num_documents < header.num_tokens
        or not num_text_tokens <= header.num_bytes <= _MAX_TEXT_BYTES
        or not 0 <= header.num_chars <= header.num_bytes
    ):
        raise ModelError(f"{printable(path)} is damaged: a value is not possible", hint=_HINT)
    return header


class _TextCount:
    """Counts bytes and characters as they pass."""

    def __init__(self) -> None:
        self.num_bytes = 0
        self.num_chars = 0

    def counted(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """The same blocks, counted one by one."""
        for block in blocks:
            self.num_bytes += len(block)
            codes = np.frombuffer(block, np.uint8)
            self.num_chars += int(np.count_nonzero(codes & 0xC0 != 0x80))  # bytes that begin a character
            yield block
