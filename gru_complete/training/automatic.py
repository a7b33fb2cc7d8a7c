"""What training chooses where the config leaves a setting open: small functions of what is known before step 1.

The figures come from trainings of 1 to 10 minutes on two CPU cores with English prose and drama of 0.1 to 20 MB.

Letters: B rows of a batch, H hidden_size.
"""

import math
from collections.abc import Callable

import torch

from gru_complete.nn import bfloat16
from gru_complete.training.batches import Batches

WIDTHS = (768, 512, 384, 256, 192, 128, 64)
PROBED_WIDTH = 256
WIDTH_WITHOUT_MINUTES = 256
TOKENS_PER_WEIGHT = 2.0  # read in the given time; a wider network that reads fewer learns less
OFTEN, VERY_OFTEN = 20, 45  # epochs from which a wider network learns more, provided that dropout is high
MAX_EPOCHS = 70  # later epochs teach nothing: training ends before its minutes are over
MAX_EPOCHS_FROM_BASE = 12  # a network that knows the language needs few


def automatic_vocab_size(num_bytes: int) -> int:
    """Number of pieces for a training split of this size; a larger vocabulary has rows that are trained too rarely.

    About one piece per 1.1 kB of text, as a power of two: 1,024 for 1 MB, 2,048 for 2.5 MB, 4,096 from 4 MB on.
    """
    return int(min(4096, max(256, 2 ** round(math.log2(max(1, num_bytes) / 1_100)))))


def widest_hidden_size(num_bytes: int, epochs: float) -> int:
    """The largest H that pays off for a text of this size read ``epochs`` times; the model stays a few MB.

    If there is time for many epochs, a wider network with much dropout learns more (``is_wide``).
    """
    if num_bytes >= 5_000_000 or (num_bytes >= 1_500_000 and epochs >= OFTEN):
        return 768
    if num_bytes >= 1_500_000 or (num_bytes >= 700_000 and epochs >= VERY_OFTEN):
        return 512
    return 384 if num_bytes >= 250_000 else 256 if num_bytes >= 30_000 else 128


def is_wide(hidden_size: int, num_bytes: int) -> bool:
    """Whether a network has enough weights to learn a text of this size by heart."""
    return hidden_size > widest_hidden_size(num_bytes, epochs=0)


def automatic_hidden_size(
    num_bytes: int, num_tokens: int, num_weights: Callable[[int], int], tokens_at_probed: float
) -> int:
    """The largest H that pays off for the text and reads enough tokens in the given time.

    Args:
        num_bytes: bytes of the training split.
        num_tokens: tokens of the training split.
        num_weights: number of weights of the network, by H.
        tokens_at_probed: tokens that a network of width ``PROBED_WIDTH`` would read in the given time. The speed of
            other widths is assumed inversely proportional to their weights, which is pessimistic for wide ones.
    """
    for width in WIDTHS:
        tokens = min(MAX_EPOCHS * num_tokens, tokens_at_probed * num_weights(PROBED_WIDTH) / num_weights(width))
        pays_off = width <= widest_hidden_size(num_bytes, tokens / num_tokens)
        if pays_off and tokens >= TOKENS_PER_WEIGHT * num_weights(width):
            return width
    return WIDTHS[-1]


def automatic_learning_rate(*, has_base: bool) -> float:
    """The peak of the schedule: a network that has learnt already is not to forget it."""
    return 1e-3 if has_base else 4e-3


def automatic_dropout(epochs: float) -> float:
    """Dropout of features: more for more epochs; beyond 0.4 it costs more steps than it saves."""
    shares = ((1.5, 0.0), (4, 0.1), (6, 0.2), (OFTEN, 0.3))
    return next((share for limit, share in shares if epochs < limit), 0.4)


def automatic_weight_dropout(epochs: float, *, wide: bool) -> float:
    """Dropout of recurrent weights, where dropout of features alone does not prevent learning the text by heart."""
    if wide and epochs >= OFTEN:
        return 0.5
    return 0.3 if epochs >= VERY_OFTEN else 0.0


def automatic_batch_size(num_tokens: int, hidden_size: int, device: torch.device) -> int:
    """B: large enough for efficient matrix products, small enough for many updates and for the stream to fill it."""
    wished = 128 if device.type == "cuda" else 32 if hidden_size >= 512 and num_tokens >= 500_000 else 16
    return max(1, min(wished, num_tokens // 256))


def automatic_precision(device: torch.device) -> str:
    """Bfloat16 where it is faster; the loss was the same to 0.0001 bits per byte all the way (docs/decisions.md)."""
    return "bfloat16" if bfloat16.is_available(device) else "float32"


def max_useful_steps(batches: Batches, *, has_base: bool = False) -> int:
    """The number of steps after which nothing new is learned, however much time is left."""
    return (MAX_EPOCHS_FROM_BASE if has_base else MAX_EPOCHS) * batches.steps_per_epoch
