"""From the corpus to token streams in the run directory: read, split, cut into tokens, once per run.

The normalised text is spooled to a temporary file in the run directory, so that the corpus may be a pipe, may change
meanwhile and is never held in memory; the spool goes away when the shards are written.
"""

import json
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gru_complete.arrays import TokenIds
from gru_complete.config import DataConfig, TokenizerConfig
from gru_complete.errors import CorpusError, UsageError
from gru_complete.model.run_dir import PARTS, Part, RunDir
from gru_complete.storage import atomic, untrusted
from gru_complete.text import abbreviations, corpus, splitting
from gru_complete.text.secrets import SecretScanner
from gru_complete.text.shards import ShardHeader, header_path, read_shard, write_shard
from gru_complete.text.tokenizer import DOCUMENT_END, Tokenizer
from gru_complete.text.tokenizer_training import sample_blocks, train_tokenizer
from gru_complete.training.automatic import automatic_vocab_size
from gru_complete.training.events import Event, Working

SPOOL_FILE = ".tmp-corpus.txt"  # by its name it is swept after a kill, and no part of a corpus
MIN_TOKENS = 64
MAX_CUTS = 100
MAX_TOKENIZER_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class TokenizedCorpus:
    """The text as the run directory holds it.

    Args:
        tokenizer: what cut the text.
        abbreviations: short words that a period follows inside sentences.
        streams: token ids of the parts "training", "tuning" and, where there is one, "held_out", ``(N,)`` each.
        headers: sizes of the parts.
    """

    tokenizer: Tokenizer
    abbreviations: tuple[str, ...]
    streams: dict[Part, TokenIds]
    headers: dict[Part, ShardHeader]


@contextmanager
def spooled(
    sources: Sequence[str],
    directory: Path,
    data: DataConfig,
    *,
    stdin: BinaryIO | None,
    spare_bytes: int = 0,
    scanner: SecretScanner | None = None,
) -> Iterator[tuple[Path, corpus.Spool]]:
    """The corpus as one normalised UTF-8 file in ``directory``, removed when the block ends.

    Args:
        sources: files, directories or "-".
        directory: where the file is written.
        data: which files of a directory are read.
        stdin: what "-" reads.
        spare_bytes: must be free there besides what the text and its tokens take.
        scanner: sees the text first, so that what it replaces is never written.

    Yields:
        The file, and what is known of its text.

    Raises:
        CorpusError: a source cannot be read, or is not text.
        EnvironmentFailure: there is no room for it.
    """
    atomic.check_writable(directory, needed_bytes=spare_bytes + _needed_bytes(sources, data.extensions))
    path = directory / SPOOL_FILE
    try:
        with atomic.open_stream(path) as stream:
            spool = corpus.spool(sources, stream, extensions=data.extensions, stdin=stdin, scanner=scanner)
        yield path, spool
    finally:
        atomic.remove_file(path)


def tokenize_corpus(
    run_dir: RunDir, spool_path: Path, spool: corpus.Spool, data: DataConfig, settings: TokenizerConfig
) -> Iterator[Event]:
    """Split the spooled text, train the tokenizer on the training part and write the shards.

    Args:
        run_dir: where they are written.
        spool_path: the text.
        spool: where its documents end.
        data: how it is split.
        settings: of the tokenizer.

    Yields:
        Events: the stages of the work.

    Raises:
        CorpusError: the text is too small to be split or trained on.
        EnvironmentFailure: the tokenizer's training was killed, or the disk is full.
    """
    split = splitting.split(
        spool_path,
        spool.document_ends,
        held_out=data.held_out,
        max_held_out_bytes=data.max_held_out_bytes,
        tuning=data.tuning,
        max_tuning_bytes=data.max_tuning_bytes,
    )
    yield Working("training the tokenizer")
    num_bytes = sum(end - start for start, end in split.training)

    def sample() -> Iterator[bytes]:
        return sample_blocks(spool_path, split.training, max_bytes=settings.sample_bytes)

    model_bytes = train_tokenizer(
        sample(),
        vocab_size=settings.vocab_size or automatic_vocab_size(num_bytes),
        work_dir=run_dir.path,
    )
    tokenizer = Tokenizer(model_bytes)
    atomic.write_file(run_dir.tokenizer_path, model_bytes)
    facts: dict[str, Any] = {"abbreviations": abbreviations.find_abbreviations(sample())}

    yield Working("cutting the text into tokens")
    parts: dict[Part, list[corpus.Range]] = {
        "training": split.training,
        "tuning": split.tuning,
        "held_out": split.held_out,
    }
    for name, ranges in parts.items():
        if ranges:
            documents: Iterable[Iterable[bytes]] = (corpus.read_blocks(spool_path, *part) for part in ranges)
            header = write_shard(run_dir.part_path(name), documents, tokenizer, corpus_sha256=spool.report.sha256)
            if name != "held_out" and header.num_tokens < MIN_TOKENS:
                message = f"the corpus is too small: its {name} part has {header.num_tokens} tokens, needs {MIN_TOKENS}"
                raise CorpusError(message, hint="give a larger corpus; a few thousand characters are the least")
    facts["cuts"] = _cuts(run_dir, parts, spool.document_ends)
    atomic.write_file(run_dir.text_facts_path, json.dumps(facts).encode())


def read_tokenized_corpus(run_dir: RunDir) -> TokenizedCorpus:
    """What ``prepare`` left in a run directory.

    Raises:
        ModelError: something is missing or damaged.
    """
    tokenizer = Tokenizer(untrusted.read_regular_file(run_dir.tokenizer_path, max_bytes=MAX_TOKENIZER_BYTES))
    facts = run_dir.text_facts()
    streams, headers = {}, {}
    for part in PARTS:
        if part != "held_out" or run_dir.has_part(part):
            streams[part], headers[part] = run_dir.read_part(part, tokenizer)
    return TokenizedCorpus(tokenizer, tuple(facts.get("abbreviations", ())), streams, headers)


def copy_tokenized_corpus(source: RunDir, run_dir: RunDir, *, corpus_sha256: str) -> None:
    """Copy what ``prepare`` left in ``source``, for another training on the same text.

    Raises:
        ModelError: something is missing or damaged.
        UsageError: it is of another text.
        EnvironmentFailure: the disk is full.
    """
    prepared = read_tokenized_corpus(source)
    if any(header.corpus_sha256 != corpus_sha256 for header in prepared.headers.values()):
        raise UsageError("the corpus has changed", hint="begin anew with --replace")
    shards = [source.part_path(part) for part in prepared.streams]
    for path in (source.tokenizer_path, source.text_facts_path, *shards, *map(header_path, shards)):
        with path.open("rb") as old, atomic.open_stream(run_dir.path / path.name) as new:
            shutil.copyfileobj(old, new)


def _cuts(
    run_dir: RunDir, parts: Mapping[Part, Sequence[corpus.Range]], document_ends: Sequence[int]
) -> list[tuple[Part, Part, int, int]]:
    """Where documents were cut apart, so that what stood there in a row can be known.

    Returns:
        For each place the part that ends there and the one that goes on, and which token of each part's stream is the
        end of the one and the beginning of the other. There are few: the held-out part is cut off once, and the tuning
        part comes in slices.
    """
    begins = {start: (name, index) for name, ranges in parts.items() for index, (start, _) in enumerate(ranges)}
    ends_of_documents = set(document_ends)
    places = {
        name: np.flatnonzero(read_shard(run_dir.part_path(name))[0] == DOCUMENT_END)
        for name, ranges in parts.items()
        if ranges
    }
    return [
        (name, other, int(places[name][index + 1]), int(places[other][number]) + 1)
        for name, ranges in parts.items()
        for index, (_, end) in enumerate(ranges)
        if end in begins and end not in ends_of_documents
        for other, number in [begins[end]]
    ][:MAX_CUTS]


def _needed_bytes(sources: Sequence[str], extensions: Sequence[str]) -> int:
    """Room for the spool and for two bytes a token; what cannot be looked at now is reported when it is read."""
    size = 0
    for name in corpus.document_names(sources, extensions):
        with suppress(OSError, ValueError):
            status = os.stat(name)
            size += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return 2 * size
