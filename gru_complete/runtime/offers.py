"""What to offer unasked: the text that most likely comes next, only as far as it is likely enough.

An offer is greedy and of text: byte by byte the likeliest, summed over all tokens and segmentations that spell it
(``segmentation.py``). So its probability is that of the text itself, at temperature 1, and falls with each byte; where
it would fall below what is asked for, the offer ends. Tokens in its place would often choose another text: three words
that begin alike may be likelier together than one that each of them is less likely than.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from gru_complete.runtime.characters import continues, is_complete, unfinished
from gru_complete.runtime.segmentation import Hypotheses

MAX_OFFER_BYTES = 100
_DOCUMENT_END = 256  # among the next bytes


class Offered(NamedTuple):
    """One more character of an offer.

    Attributes:
        data: its bytes, without those that the text has already.
        probability: that the text goes on with the offer up to here, this character included.
    """

    data: bytes
    probability: float


def offered(hypotheses: Hypotheses, min_confidence: float, *, max_bytes: int = MAX_OFFER_BYTES) -> Iterator[Offered]:
    """Offer the likeliest continuation, character by character.

    An offer for a higher confidence is the beginning of one for a lower one.

    Args:
        hypotheses: the segmentations of the text's end.
        min_confidence: the least probability that the offer may have.
        max_bytes: where it ends in any case.

    Yields:
        Its characters; none if there is nothing to offer. It ends too where the likeliest is that the document ends, or
        what is no text (``characters.py``).
    """
    pending = unfinished(hypotheses.segment)
    data = b""
    probability = 1.0
    for _ in range(max_bytes):
        chances = hypotheses.next_bytes()
        likeliest = int(chances.argmax())
        probability *= float(chances[likeliest])
        if likeliest == _DOCUMENT_END or not probability >= min_confidence:
            return
        byte = bytes([likeliest])
        if not continues(pending, byte):
            return
        pending, data = pending + byte, data + byte
        if is_complete(pending):
            yield Offered(data, probability)
            pending = data = b""
        hypotheses, _ = hypotheses.extended(byte)
