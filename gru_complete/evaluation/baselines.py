"""What cheap models make of the same text: how much of the figure is the text's, and how much the model's.

The counts alone and the network alone are scored with the model (``report.py``). Here is xz, a compressor that has just
read the end of the training text, as the model has read all of it::

    bits per byte = 8 * (size of xz(context + text) - size of xz(context)) / bytes of the text
"""

import numpy as np

from gru_complete.arrays import TokenIds
from gru_complete.model.directory import LoadedModel
from gru_complete.model.run_dir import OtherTrainingError, RunDir
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
    run_dir = RunDir.beside(model.path)
    if not run_dir.has_part("training") or not 0 < num_bytes <= MAX_BYTES:
        return None
    try:
        training, _ = run_dir.read_part("training", model.tokenizer)
    except OtherTrainingError:
        return None
    context = b""
    size = CONTEXT_BYTES // 2  # tokens that are mostly enough
    while len(context) < CONTEXT_BYTES:
        context = model.tokenizer.decode(np.asarray(training[-size:]).tolist())
        if size >= len(training):
            break
        size *= 2
    return xz_bits_per_byte(context, model.tokenizer.decode(np.asarray(stream).tolist()))
