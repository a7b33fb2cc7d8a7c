"""Bits per byte of the text itself, summed over its segmentations, beside those of its one canonical segmentation.

A text is as likely as all token sequences that spell it together; what ``scoring`` reports is the canonical one alone,
an upper bound of the bits. Here every byte is predicted as a completion would: what is before its segment was read in
the canonical segmentation, within the segment the likeliest ones are summed (``runtime/segmentation.py``). So these are
still bounds, and tighter. Each byte is predicted from those before it::

    P(text) = product over the segments of
              P(segment, first byte of the next | before it) / P(first byte of the segment | before it)

because a segment's first byte was already paid for, by the segmentations of the one before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gru_complete.ngrams.overlay import Overlay
from gru_complete.runtime.piece_index import PieceIndex
from gru_complete.runtime.predictor import DecoderState, Predictor
from gru_complete.runtime.segmentation import DEFAULT_WIDTH, Hypotheses
from gru_complete.text.tokenizer import DOCUMENT_END, Tokenizer, segments

SAMPLE_BYTES = 20_000


@dataclass(frozen=True)
class MarginalCost:
    """What a text costs.

    Args:
        num_bytes: of the text.
        nats: summed over segmentations, with the ends of its documents.
        one_segmentation_nats: of the canonical segmentation, likewise.
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
        """What stands under ``marginal`` in ``eval --json``."""
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
    adapts: bool = False,
    width: int | None = DEFAULT_WIDTH,
    progress: Callable[[int], object] | None = None,
) -> MarginalCost:
    """Score the beginning of some documents, each from a fresh state.

    Args:
        predictor: the model.
        tokenizer: its tokenizer.
        documents: the texts, UTF-8.
        max_bytes: where to stop; the document that is cut there has no end.
        adapts: whether counts are learnt from each document, every segment after it was scored.
        width: of ``Hypotheses.open``.
        progress: is told after each segment how many bytes it has.

    Raises:
        ValueError: there is no text.
    """
    pieces = PieceIndex(tokenizer.pieces)
    num_bytes = 0
    nats = one_segmentation_nats = 0.0
    for document in documents:
        text = document[: max_bytes - num_bytes]
        num_bytes += len(text)
        overlay = Overlay() if adapts else None
        if overlay is not None:
            overlay.learn(DOCUMENT_END)
        reading = predictor.start()
        parts = list(segments(text)) or [b""]
        for index, segment in enumerate(parts):
            following = parts[index + 1][:1] if index + 1 < len(parts) else b""
            opened = Hypotheses.open(predictor, pieces, reading, segment[: 1 if index else 0], overlay, width=width)
            after, log_probability = opened.extended(segment[1 if index else 0 :] + following)
            nats -= log_probability
            tokens = tokenizer.encode_segment(segment)
            cost, reading = _cost(predictor, reading, tokens, overlay)
            one_segmentation_nats += cost
            if not following and len(text) == len(document):
                nats -= after.end_log_probability
                one_segmentation_nats += _cost(predictor, reading, [DOCUMENT_END], overlay)[0]
            if overlay is not None:
                for token in tokens:
                    overlay.learn(token)
            if progress is not None:
                progress(len(segment))
        if num_bytes >= max_bytes:
            break
    if not num_bytes:
        raise ValueError("no text to score")
    return MarginalCost(num_bytes, nats, one_segmentation_nats)


def _cost(
    predictor: Predictor, reading: DecoderState, tokens: Iterable[int], overlay: Overlay | None
) -> tuple[float, DecoderState]:
    """What tokens cost one after another, in nats, and where they end."""
    nats = 0.0
    for token in tokens:
        nats -= float(predictor.log_probabilities([reading], overlay)[0, token])
        reading = predictor.step(reading, token)
    return nats, reading
