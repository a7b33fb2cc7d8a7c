"""What xz makes of the same text: how much of the model's figure is due to the text, and how much to the model.

The network alone and the n-gram model alone are scored together with the model (``report.py``). Here is xz, a
general-purpose compressor that has just read the end of the training text, as the model has read all of it::

    bits per byte = 8 * (size of xz(context + text) - size of xz(context)) / bytes of the text

``text/xz.py`` computes this formula from bytes; this module finds the bytes: the context in the model's run directory,
and the text in its tokens.
"""

import numpy as np

from gru_complete.arrays import TokenIds
from gru_complete.model.directory import LoadedModel
from gru_complete.model.run_dir import OtherTrainingError, RunDir
from gru_complete.text.xz import CONTEXT_BYTES, xz_bits_per_byte

MAX_BYTES = 100_000_000
"""The longest text that is compressed: all of it has to be in memory."""


def measure_xz(model: LoadedModel, stream: TokenIds, num_bytes: int) -> float | None:
    """Bits per byte of a text by xz; None if the run directory has no training text, or another training's.

    Args:
        model: whose run directory holds the training text.
        stream: the tokens of the text, ``(N,)``.
        num_bytes: the size of the text.
    """
    run_dir = RunDir.beside(model.path)
    if not run_dir.has_part("training") or not 0 < num_bytes <= MAX_BYTES:
        return None
    try:
        training, _ = run_dir.read_part("training", model.tokenizer)
    except OtherTrainingError:
        return None
    context = b""
    num_tokens = CONTEXT_BYTES // 2  # usually enough
    while len(context) < CONTEXT_BYTES:
        context = model.tokenizer.decode(np.asarray(training[-num_tokens:]).tolist())
        if num_tokens >= len(training):
            break
        num_tokens *= 2
    return xz_bits_per_byte(context, model.tokenizer.decode(np.asarray(stream).tolist()))
