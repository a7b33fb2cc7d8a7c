"""Bits per byte summed over all segmentations of the text, and those of the one canonical segmentation.

The probability of a text is the sum over all token sequences that spell it. The headline figure of ``eval`` counts only
the canonical sequence, so it is an upper bound of the bits. Here every byte is predicted as a completion would predict
it: the segments before the current one were read in their canonical segmentation, and within the current segment the
most likely segmentations are summed (``runtime/segmentation.py``). So the result is still an upper bound, but a tighter
one. Each byte is predicted from those before it::

    P(text) = product over the segments of
              P(segment, first byte of the next | before it) / P(first byte of the segment | before it)

because the first byte of a segment was already paid for by the segmentations of the segment before it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from gru_complete.evaluation.progress import Progress
from gru_complete.runtime.piece_index import PieceIndex
from gru_complete.runtime.predictor import DecoderState, Predictor
from gru_complete.runtime.segmentation import DEFAULT_WIDTH, Hypotheses
from gru_complete.text.tokenizer import DOCUMENT_END, Tokenizer, segments

SAMPLE_BYTES = 20_000
"""How much of a text is scored."""


@dataclass(frozen=True)
class MarginalCost:
    """What a text costs.

    Args:
        num_bytes: of the text.
        nats: summed over segmentations, document ends included.
        one_segmentation_nats: of the canonical segmentation, document ends included.
    """

    num_bytes: int
    nats: float
    one_segmentation_nats: float

    @property
    def bits_per_byte(self) -> float:
        """Summed over segmentations."""
        return self.nats / math.log(2) / self.num_bytes

    @property
    def one_segmentation_bits_per_byte(self) -> float:
        """Of the canonical segmentation, on the same bytes."""
        return self.one_segmentation_nats / math.log(2) / self.num_bytes

    def to_json(self) -> dict[str, float]:
        """The value of ``marginal`` in ``eval --json``."""
        return {
            "bits_per_byte": self.bits_per_byte,
            "one_segmentation_bits_per_byte": self.one_segmentation_bits_per_byte,
            "num_bytes": self.num_bytes,
        }


def score_marginal(
    predictor: Predictor,
    tokenizer: Tokenizer,
    documents: Iterable[bytes],
    *,
    max_bytes: int = SAMPLE_BYTES,
    width: int | None = DEFAULT_WIDTH,
    progress: Progress | None = None,
) -> MarginalCost:
    """Score the beginning of some documents, each from a fresh state.

    Args:
        predictor: the model.
        tokenizer: the model's tokenizer.
        documents: the texts, UTF-8.
        max_bytes: where to stop; the document that is cut there has no end.
        width: how many segmentations are kept; see ``Hypotheses.open``.
        progress: called after each segment with its number of bytes.

    Raises:
        ValueError: there is no text.
    """
    pieces = PieceIndex(tokenizer.pieces)
    num_bytes = 0
    nats = one_segmentation_nats = 0.0
    for document in documents:
        text = document[: max_bytes - num_bytes]
        num_bytes += len(text)
        state = predictor.start()
        parts = list(segments(text)) or [b""]
        for index, segment in enumerate(parts):
            num_paid = 1 if index else 0  # bytes that the segment before has paid for
            next_byte = parts[index + 1][:1] if index + 1 < len(parts) else b""
            opened = Hypotheses.open(predictor, pieces, state, segment[:num_paid], None, width=width)
            after, log_probability = opened.extended(segment[num_paid:] + next_byte)
            nats -= log_probability
            cost, state = _read(predictor, state, tokenizer.encode_segment(segment))
            one_segmentation_nats += cost
            if not next_byte and len(text) == len(document):
                nats -= after.end_log_probability
                one_segmentation_nats += _read(predictor, state, [DOCUMENT_END])[0]
            if progress is not None:
                progress(len(segment))
        if num_bytes >= max_bytes:
            break
    if not num_bytes:
        raise ValueError("no text to score")
    return MarginalCost(num_bytes, nats, one_segmentation_nats)


def _read(predictor: Predictor, state: DecoderState, tokens: Iterable[int]) -> tuple[float, DecoderState]:
    """Read tokens one by one; return what they cost together, in nats, and the state after the last."""
    nats = 0.0
    for token in tokens:
        nats -= float(predictor.log_probabilities([state])[0, token])
        state = predictor.step(state, token)
    return nats, state
