"""Whether a text is better learnt from a base than from nothing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gru_complete.arrays import TokenIds
from gru_complete.model.directory import LoadedModel
from gru_complete.ngrams.building import count_ngrams
from gru_complete.ngrams.evidence import total_nats
from gru_complete.nn.language_model import LanguageModel, load_weights
from gru_complete.text import corpus
from gru_complete.text.tokenizer import DOCUMENT_END, Tokenizer
from gru_complete.training.scoring import score_tokens

SAMPLES = 16
SCORED_BYTES = 1_000  # of each sample, or an eighth of it
COUNTED_BYTES = 60_000  # of each sample, after those that are scored
SCORED_TOKENS, COUNTED_TOKENS = 400, 20_000  # at most: text in another script has a token for each byte
MAX_RATIO = 1.0  # measured: docs/base.md


class BaseChoice(NamedTuple):
    """What a text costs under a base that has not read it, and under the n-gram counts of the text alone.

    Attributes:
        base_bits: bits per byte of the samples under the base.
        counts_bits: the same under the counts of the text around them, in the tokens of the base.
    """

    base_bits: float
    counts_bits: float

    @property
    def takes_base(self) -> bool:
        """Whether to start from the base."""
        return self.base_bits < MAX_RATIO * self.counts_bits


def choose_base(base: LoadedModel, spool_path: Path, num_bytes: int) -> BaseChoice:
    """Compare a base with what the text says about itself, on samples of the text.

    Args:
        base: a model.
        spool_path: the clean text.
        num_bytes: its size.
    """
    scored, counted = [], []
    every = max(1, -(-num_bytes // SAMPLES))
    for start in range(0, num_bytes, every):
        next_start = min(start + every, num_bytes)
        end = min(start + min(SCORED_BYTES, -(-every // 8)), next_start)
        rest = min(end + COUNTED_BYTES, next_start)
        scored.append(_read_tokens(spool_path, start, end, base.tokenizer)[:SCORED_TOKENS])
        counted.append(_read_tokens(spool_path, end, rest, base.tokenizer)[:COUNTED_TOKENS])
    num_scored = max(1, sum(len(base.tokenizer.decode(tokens.tolist())) for tokens in scored))
    counts = count_ngrams(*counted, vocab_size=base.tokenizer.vocab_size)
    network = LanguageModel(**base.manifest.arch._asdict())
    load_weights(network, base.weights)
    base_nats = score_tokens(network, scored, mixture=base.mixture).total_nats
    counts_nats = sum(total_nats(counts, tokens) for tokens in scored)
    return BaseChoice(*(nats / math.log(2) / num_scored for nats in (base_nats, counts_nats)))


def _read_tokens(spool_path: Path, start: int, end: int, tokenizer: Tokenizer) -> TokenIds:
    """A stretch of the text as a document of its own; characters at its ends may be cut."""
    data = b"".join(corpus.read_blocks(spool_path, start, max(start, end)))
    text = data.decode(errors="ignore").encode()
    return np.array([DOCUMENT_END, *tokenizer.encode(text), DOCUMENT_END])
