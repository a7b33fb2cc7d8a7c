"""From the corpus to token streams in the run directory: read, split, tokenized, once per run.

The normalised text is spooled to a temporary file in the run directory, so that the corpus may be a pipe, may change
meanwhile and is never held in memory; the spool is deleted when the token streams are written.

Shapes: N tokens of a stream.
"""

import json
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gru_complete.arrays import TokenIds
from gru_complete.config import DataConfig, TokenizerConfig
from gru_complete.errors import CorpusError, ModelError, UsageError, printable
from gru_complete.model.manifest import DEFAULT_ENDS, STARTS, TextFacts, check_abbreviations
from gru_complete.model.run_dir import PARTS, TEXT_FACTS_FILE, Part, RunDir
from gru_complete.ngrams.counts import MANY_DOCUMENTS
from gru_complete.storage import atomic, untrusted
from gru_complete.text import abbreviations, corpus, splitting, units
from gru_complete.text.corpus import Range
from gru_complete.text.normal_form import NormalForm, known_form
from gru_complete.text.secrets import SecretScanner
from gru_complete.text.shards import ShardHeader, header_path, read_shard, write_shard
from gru_complete.text.tokenizer import DOCUMENT_END, Tokenizer
from gru_complete.text.tokenizer_training import sample_blocks, train_tokenizer
from gru_complete.text.units import Units
from gru_complete.training.automatic import automatic_vocab_size
from gru_complete.training.events import Event, Working

SPOOL_FILE = ".tmp-corpus.txt"  # a name that is swept after a kill, and that no corpus includes
MIN_TOKENS = 64
TOO_SMALL_HINT = "give more text; a text that repeats itself has few tokens"
MAX_CUTS = 100
MAX_TOKENIZER_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class TokenizedCorpus:
    """The text as the run directory holds it.

    Args:
        tokenizer: what cut the text into tokens.
        text: what the text is like.
        beginning: how a line or sentence of it begins most often.
        streams: token ids of the splits "training", "tuning" (the validation split) and, if there is one, "held_out"
            (the test split), ``(N,)`` each.
        headers: their sizes.
        normal_form: in which all of the text is, if it is in one.
    """

    tokenizer: Tokenizer
    text: TextFacts
    beginning: str
    streams: dict[Part, TokenIds]
    headers: dict[Part, ShardHeader]
    normal_form: NormalForm | None = None


@contextmanager
def spooled(
    sources: Sequence[str],
    directory: Path,
    data: DataConfig,
    *,
    stdin: BinaryIO | None,
    spare_bytes: int = 0,
    scanner: SecretScanner | None = None,
    normal_form: NormalForm | None = None,
) -> Iterator[tuple[Path, corpus.Spool]]:
    """The corpus as one normalised UTF-8 file in ``directory``, removed when the block ends.

    Args:
        sources: files, directories or "-".
        directory: where the file goes.
        data: which files of a directory are read.
        stdin: what "-" reads.
        spare_bytes: bytes that must be free besides what the text and its tokens take.
        scanner: sees the text first, so that what it replaces is never written.
        normal_form: to which the text is brought; it keeps the one that it has if omitted.

    Raises:
        CorpusError: a source cannot be read, or is not text.
        EnvironmentFailure: there is not enough room.
    """
    atomic.check_writable(directory, needed_bytes=spare_bytes + _needed_bytes(sources, data.extensions))
    path = directory / SPOOL_FILE
    try:
        with atomic.open_stream(path) as stream:
            spool = corpus.spool(
                sources, stream, extensions=data.extensions, stdin=stdin, scanner=scanner, normal_form=normal_form
            )
        yield path, spool
    finally:
        atomic.remove_file(path)


def tokenize_corpus(
    run_dir: RunDir,
    spool_path: Path,
    spool: corpus.Spool,
    data: DataConfig,
    settings: TokenizerConfig,
    *,
    tokenizer: Tokenizer | None = None,
) -> Iterator[Event]:
    """Split the spooled text, train the tokenizer on the training split and write the token streams.

    Of a small text, the share of ``data.tuning`` may be too few tokens: then the tuning split takes a larger share.

    Args:
        run_dir: where they go.
        spool_path: the text.
        spool: its report and its documents.
        data: how to split it.
        settings: of the tokenizer that is trained.
        tokenizer: is taken instead of training one.

    Yields:
        Events: the stages of the work.

    Raises:
        CorpusError: the text is too small to be split or trained on.
        EnvironmentFailure: the tokenizer's training was killed, or the disk is full.
    """
    for share in growing_shares(data.tuning, rest=data.held_out):
        split = splitting.split(spool_path, spool, data.model_copy(update={"tuning": share}))
        read_sample = partial(sample_blocks, spool_path, split.training, max_bytes=settings.sample_bytes)
        cutter = tokenizer
        if cutter is None:
            yield Working("training the tokenizer")
            num_bytes = sum(end - start for start, end in split.training)
            vocab_size = settings.vocab_size or automatic_vocab_size(num_bytes)
            cutter = Tokenizer(train_tokenizer(read_sample(), vocab_size=vocab_size))
        atomic.write_file(run_dir.tokenizer_path, cutter.model_bytes)

        yield Working("cutting the text into tokens")
        parts: dict[Part, list[Range]] = {
            "training": split.training,
            "tuning": split.tuning,
            "held_out": split.held_out,
        }
        headers: dict[Part, ShardHeader] = {}
        for part, ranges in parts.items():
            if ranges:
                documents: Iterable[Iterable[bytes]] = (corpus.read_blocks(spool_path, *place) for place in ranges)
                path = run_dir.part_path(part)
                headers[part] = write_shard(path, documents, cutter, corpus_sha256=spool.report.sha256)
        if headers["tuning"].num_tokens >= MIN_TOKENS:
            break
    is_capped = 2 * headers["tuning"].num_bytes > data.max_tuning_bytes
    hint = "raise data.max_tuning_bytes" if is_capped else TOO_SMALL_HINT
    refuse_short_part("tuning", headers["tuning"], what="corpus", hint=hint)
    refuse_short_part("training", headers["training"], what="corpus")
    evenly_spaced = sample_blocks(spool_path, split.training, max_bytes=units.READ_BYTES)
    facts: dict[str, Any] = {
        "abbreviations": abbreviations.find_abbreviations(read_sample()),
        "units": units.find_units(evenly_spaced)._asdict(),
        "normal_form": spool.report.normal_form,
    }
    facts["cuts"] = _find_cuts(run_dir, parts, spool.document_ends)
    atomic.write_file(run_dir.text_facts_path, json.dumps(facts).encode())


def growing_shares(share: float, *, rest: float) -> Iterator[float]:
    """The share of a text that a split takes, and larger ones, to be taken if that is too few tokens.

    Args:
        share: the first one.
        rest: the share of another split, which stays as it is; a quarter of the text is left to learn from.
    """
    yield share
    while (share := 2 * share) + rest <= 0.75:
        yield share


def refuse_short_part(part: Part, header: ShardHeader, *, what: str, hint: str = TOO_SMALL_HINT) -> None:
    """Refuse a split of a text with too few tokens to learn from, or to choose by.

    Args:
        part: which split.
        header: its size.
        what: the text, for the message.
        hint: what to do about it.

    Raises:
        CorpusError: the split has fewer than ``MIN_TOKENS``.
    """
    if header.num_tokens < MIN_TOKENS:
        size = f"the {header.num_bytes} bytes of its {part} split are {header.num_tokens} tokens"
        message = f"the {what} is too small: {size}, and at least {MIN_TOKENS} are needed"
        raise CorpusError(message, hint=hint)


def read_tokenized_corpus(run_dir: RunDir) -> TokenizedCorpus:
    """Read what ``tokenize_corpus`` left in a run directory.

    Raises:
        ModelError: something is missing or damaged.
    """
    tokenizer = Tokenizer(untrusted.read_regular_file(run_dir.tokenizer_path, max_bytes=MAX_TOKENIZER_BYTES))
    facts = run_dir.text_facts()
    streams, headers = {}, {}
    for part in PARTS:
        if part != "held_out" or run_dir.has_part(part):
            streams[part], headers[part] = run_dir.read_part(part, tokenizer)
            if part != "held_out" and headers[part].num_tokens < MIN_TOKENS:
                raise ModelError(f"{printable(run_dir.part_path(part))} has fewer than {MIN_TOKENS} tokens")
    normal_form = known_form(facts.get("normal_form"))
    words = check_abbreviations(facts.get("abbreviations", []), f"abbreviations in {TEXT_FACTS_FILE}")
    units = _checked_units(facts)
    has_few_documents = np.count_nonzero(streams["training"] == DOCUMENT_END) - 1 < MANY_DOCUMENTS
    text = TextFacts(tuple(words), units.until, units.start if has_few_documents else "")
    return TokenizedCorpus(tokenizer, text, units.beginning, streams, headers, normal_form)


def _checked_units(facts: Mapping[str, Any]) -> Units:
    """What the text is made of; run directories of older versions do not say it.

    Raises:
        ModelError: it is damaged.
    """
    if "units" not in facts:
        return Units(DEFAULT_ENDS[0], STARTS[0], "")
    units = Units(**untrusted.json_object(facts["units"], "units", required=list(Units._fields)))
    if units.until not in DEFAULT_ENDS or units.start not in STARTS or not isinstance(units.beginning, str):
        raise ModelError(f"{TEXT_FACTS_FILE} says that the text is made of {untrusted.short_repr(units)}")
    return units


def copy_tokenized_corpus(source: RunDir, run_dir: RunDir, *, corpus_sha256: str) -> None:
    """Copy what ``tokenize_corpus`` left in ``source``, for another training on the same text.

    Args:
        source: where it is.
        run_dir: where it goes.
        corpus_sha256: identifies the text that is expected.

    Raises:
        ModelError: something is missing or damaged.
        UsageError: it comes from another text.
        EnvironmentFailure: the disk is full.
    """
    tokenized = read_tokenized_corpus(source)
    if any(header.corpus_sha256 != corpus_sha256 for header in tokenized.headers.values()):
        raise UsageError("the corpus has changed", hint="start anew with --replace")
    shards = [source.part_path(part) for part in tokenized.streams]
    for path in (source.tokenizer_path, source.text_facts_path, *shards, *map(header_path, shards)):
        with (
            untrusted.opened_regular_file(path) as descriptor,
            open(descriptor, "rb", closefd=False) as old,
            atomic.open_stream(run_dir.path / path.name) as new,
        ):
            shutil.copyfileobj(old, new)


def _find_cuts(
    run_dir: RunDir, parts: Mapping[Part, Sequence[Range]], document_ends: Sequence[int]
) -> list[tuple[Part, Part, int, int]]:
    """Where documents were cut in two, so that text on both sides of a cut can be recognised.

    There are few: the held-out split is cut off once, and the tuning split comes in slices.

    Returns:
        For each cut the split that ends there and the one that continues, and the token index in each stream at which
        the one ends and the other begins.
    """
    ranges_by_start = {
        start: (part, index) for part, ranges in parts.items() for index, (start, _) in enumerate(ranges)
    }
    ends_of_documents = set(document_ends)
    document_end_tokens = {
        part: np.flatnonzero(read_shard(run_dir.part_path(part))[0] == DOCUMENT_END)
        for part, ranges in parts.items()
        if ranges
    }
    cuts: list[tuple[Part, Part, int, int]] = []
    for part, ranges in parts.items():
        for index, (_, end) in enumerate(ranges):
            if end in ranges_by_start and end not in ends_of_documents:
                next_part, next_index = ranges_by_start[end]
                ends_at = int(document_end_tokens[part][index + 1])
                begins_at = int(document_end_tokens[next_part][next_index]) + 1
                cuts.append((part, next_part, ends_at, begins_at))
    return cuts[:MAX_CUTS]


def _needed_bytes(sources: Sequence[str], extensions: Sequence[str]) -> int:
    """Room for the spool and for two bytes per token; a file that cannot be examined is reported when it is read."""
    size = 0
    for name in corpus.document_names(sources, extensions):
        with suppress(OSError, ValueError):
            status = os.stat(name)
            size += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return 2 * size
