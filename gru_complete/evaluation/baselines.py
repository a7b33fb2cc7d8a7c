"""What cheap models make of the same text: how much of the figure is the text's, and how much the model's.

The counts alone and the network alone are scored with the model (``report.py``). Here is xz, a compressor that has just
read the end of the training text, as the model has read all of it::

    bits per byte = 8 * (size of xz(context + text) - size of xz(context)) / bytes of the text
"""

import numpy as np

from gru_complete.arrays import TokenIds
from gru_complete.model.directory import LoadedModel
from gru_complete.model.run_dir import run_dir_of
from gru_complete.text.shards import read_shard
from gru_complete.text.xz import CONTEXT_BYTES, xz_bits_per_byte

MAX_BYTES = 100_000_000
"""Of a text that is compressed; a longer one is not, since it has to be in memory."""


def measure_xz(model: LoadedModel, stream: TokenIds, num_bytes: int) -> float | None:
    """Bits per byte of a text by xz; None where the training text is not kept any more, or is another's.

    Args:
        model: whose run directory holds the training text.
        stream: the text as its tokens, ``(N,)``.
        num_bytes: of the text.
    """
    path = run_dir_of(model.path) / "training.tokens"
    if not path.exists() or not 0 < num_bytes <= MAX_BYTES:
        return None
    training, header = read_shard(path)
    if header.tokenizer_sha256 != model.tokenizer.sha256:
        return None
    context = b""
    size = CONTEXT_BYTES // 2  # tokens that are mostly enough
    while len(context) < CONTEXT_BYTES:
        context = model.tokenizer.decode(np.asarray(training[-size:]).tolist())
        if size >= len(training):
            break
        size *= 2
    return xz_bits_per_byte(context, model.tokenizer.decode(np.asarray(stream).tolist()))
