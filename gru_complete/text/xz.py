"""Bits per byte of a text by xz, a general-purpose compressor: the cheapest model to compare with.

Training measures it on its held-out split; ``evaluation/baselines.py`` finds the text and the context for ``eval``.
"""

import lzma

CONTEXT_BYTES = 2_000_000


def xz_bits_per_byte(context: bytes, text: bytes) -> float:
    """Bits per byte that xz needs for ``text`` when it has just read ``context``.

    This is the difference of two compressed sizes, so the container's overhead cancels out. Only the last
    ``CONTEXT_BYTES`` of the context are used: the compressor's time grows faster than what it learns.

    Raises:
        ValueError: ``text`` is empty.
    """
    if not text:
        raise ValueError("no text to compress")
    context = context[-CONTEXT_BYTES:]
    return 8 * (_xz_size(context + text) - _xz_size(context)) / len(text)


def _xz_size(data: bytes) -> int:
    return len(lzma.compress(data, preset=6))
