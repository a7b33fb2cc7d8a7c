"""A text that is to be scored, as the tokens of one model."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from gru_complete.arrays import TokenIds
from gru_complete.config import DataConfig
from gru_complete.model.directory import LoadedModel
from gru_complete.text.corpus import read_blocks
from gru_complete.text.shards import ShardHeader, read_shard, write_shard
from gru_complete.training.tokenized_corpus import spooled


def tokenize_sources(
    sources: Sequence[str], model: LoadedModel, directory: Path, *, stdin: BinaryIO | None = None
) -> tuple[TokenIds, ShardHeader]:
    """Read files, directories or ``-`` as `train` reads them, in the model's normal form, and encode them into a shard.

    Args:
        sources: what to read.
        model: will score the text.
        directory: where the shard is written; it holds the text, so remove it when the scoring is done.
        stdin: what ``-`` reads.

    Returns:
        The token ids, documents between document ends, ``(N,)``; and the sizes of the text.

    Raises:
        CorpusError: a source cannot be read, or is not text.
        EnvironmentFailure: there is no room for it.
    """
    path = directory / "text.tokens"
    form = model.manifest.normal_form
    with spooled(sources, directory, DataConfig(), stdin=stdin, normal_form=form) as (spool_path, spool):
        starts = [0, *spool.document_ends[:-1]]
        texts = (read_blocks(spool_path, *part) for part in zip(starts, spool.document_ends, strict=True))
        write_shard(path, texts, model.tokenizer, corpus_sha256=spool.report.sha256)
    return read_shard(path)
