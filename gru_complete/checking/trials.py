"""A word under test, and the alternatives that are tried in its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gru_complete.checking.segment_reader import Segment
from gru_complete.runtime.predictor import DecoderState


class Slot(NamedTuple):
    """A word of the text, and its surroundings.

    Attributes:
        segments: the segments in memory, in the order of the text.
        place: the index of the word's segment among them.
        word: the word, as the model reads it.
        written: the word, as the text has it; as long.
        before: the bytes of its segment before the word.
        after: the bytes of its segment after the word.
        line, column, offset: of the word's first character; see ``UnusualWord``.
    """

    segments: Sequence[Segment]
    place: int
    word: str
    written: str
    before: bytes
    after: bytes
    line: int
    column: int
    offset: int

    @property
    def segment(self) -> Segment:
        """The word's segment."""
        return self.segments[self.place]

    @property
    def next_byte(self) -> bytes:
        """The byte after the word's segment; empty at the end of the text."""
        return self.segments[self.place + 1].data[:1] if self.place + 1 < len(self.segments) else b""

    def with_word(self, word: str) -> bytes:
        """The word's segment with another word in the slot."""
        return self.before + word.encode() + self.after


@dataclass(slots=True, eq=False)
class Trial:
    """An alternative word, scored token by token through the text after it.

    Args:
        word: the alternative.
        segment: its segment with the alternative in the slot.
        tokens: from the first one that differs from the text: the rest of the segment, then the tokens after it.
        num_in_segment: how many of these tokens are in the segment.
        decoder_state: the decoder state before the last token that was scored.
        log_error: the log probability that an error turns the alternative into the word in the text.
        gain: how much more likely the text is with the alternative, as far as it is scored, in nats.
        costs_after: what the tokens after the segment cost in the text as it is, in nats.
        position: how many of the tokens are scored.
    """

    word: str
    segment: bytes
    tokens: list[int]
    num_in_segment: int
    decoder_state: DecoderState
    log_error: float
    gain: float
    costs_after: Sequence[float]
    position: int = 0

    def score_next(self, log_probability: float) -> None:
        """Score the next token."""
        self.gain += log_probability
        index_after = self.position - self.num_in_segment
        if index_after >= 0:
            self.gain += self.costs_after[index_after]
        self.position += 1

    @property
    def is_at_end(self) -> bool:
        """Whether every token is scored."""
        return self.position == len(self.tokens)

    @property
    def log_odds(self) -> float:
        """The log odds that the alternative was meant, as far as it is scored."""
        return self.gain + self.log_error
