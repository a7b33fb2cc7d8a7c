"""How lines or paragraphs begin: the prompts on which the mixing weights of beginnings are fitted."""

from collections.abc import Sequence

import numpy as np

from gru_complete.arrays import TokenIds
from gru_complete.text.shards import documents
from gru_complete.text.tokenizer import Tokenizer

MAX_BEGINNINGS = 400
MAX_SCORES = 1 << 22  # tokens times vocabulary, an eighth of what the other mixing weights are fitted on


def first_tokens(tokenizer: Tokenizer, stream: TokenIds, start: str, *, number: int) -> list[Sequence[int]]:
    """The first tokens of evenly spaced lines, paragraphs or documents of a stream, as a prompt is read.

    Args:
        tokenizer: what cut the text into tokens.
        stream: token ids, ``(N,)``.
        start: what stands before a prompt; it parts the units of which the beginnings are taken.
        number: how many tokens of each; with ``start``, which counts.
    """
    texts = [tokenizer.decode(document.tolist()) for document in documents(np.asarray(stream))]
    if start:
        texts = [unit for text in texts for unit in text.split(start.encode())]
    units = [unit for unit in texts if unit.strip()]
    most = max(1, min(MAX_BEGINNINGS, MAX_SCORES // (number * tokenizer.vocab_size)))
    chosen = units[:: -(-len(units) // most)] if units else []
    longest = 16 * number  # bytes
    return [tokenizer.encode(start.encode() + unit[:longest])[:number] for unit in chosen]
