"""What to suggest unasked: the most likely continuation, only as far as it is likely enough.

A suggestion is greedy, and it is chosen as text: byte by byte the most likely one, summed over all tokens and
segmentations that spell it (``segmentation.py``). So its probability is that of the text itself, at temperature 1, and
falls with each byte; the suggestion ends where it would fall below the confidence required. Greedy *tokens* would often
choose another text: three words that begin alike may together be more likely than a single word that is more likely
than each of them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Generator, Iterator
from typing import NamedTuple

from gru_complete.runtime.boundaries import TextCutter
from gru_complete.runtime.characters import CompletionEncoder, continues, is_complete, unfinished
from gru_complete.runtime.draft import Completion
from gru_complete.runtime.options import CompletionOptions
from gru_complete.runtime.piece_index import END_BYTE, PieceIndex
from gru_complete.runtime.result_iterator import ResultIterator
from gru_complete.runtime.segmentation import Hypotheses

MAX_SUGGESTION_BYTES = 100
_MIN_PROBABILITY = sys.float_info.min  # below it a product of probabilities is no longer exact, and in the end 0


class SuggestedCharacter(NamedTuple):
    """One more character of a suggestion.

    Attributes:
        data: its bytes, without those that the text already has.
        probability: that the text continues with the suggestion up to here, this character included.
    """

    data: bytes
    probability: float


def suggest(
    hypotheses: Hypotheses, min_confidence: float, *, max_bytes: int = MAX_SUGGESTION_BYTES
) -> Generator[SuggestedCharacter, None, str]:
    """Suggest the most likely continuation, character by character.

    A suggestion for a higher confidence is a beginning of the suggestion for a lower one.

    Args:
        hypotheses: the segmentations of the text's end.
        min_confidence: the least probability that the suggestion may have.
        max_bytes: where it ends in any case.

    Yields:
        Its characters, perhaps none. It also ends where the document end is most likely, or something that is not text
        (``characters.py``).

    Returns:
        Why it ends: "document_end" if the document end is likely enough, else "confidence" or "max_bytes".

    Raises:
        ModelError: the model's scores are not finite.
    """
    threshold = max(min_confidence, _MIN_PROBABILITY)
    pending = unfinished(hypotheses.segment)
    data = b""
    probability = 1.0
    for _ in range(max_bytes):
        chances = hypotheses.next_bytes()
        most_likely = int(chances.argmax())
        probability *= float(chances[most_likely])
        if not probability >= threshold:
            return "confidence"
        if most_likely == END_BYTE:
            return "document_end"
        byte = bytes([most_likely])
        if not continues(pending, byte):
            return "confidence"
        pending, data = pending + byte, data + byte
        if is_complete(pending):
            yield SuggestedCharacter(data, probability)
            pending = data = b""
        hypotheses, _ = hypotheses.extended(byte)
    return "max_bytes"


class SuggestionStream:
    """The pieces of a suggestion: a ``TextStream``. It also ends where the options say.

    A suggestion of less confidence begins with this one, whatever ends it: text that may turn out to be past the end,
    such as the first characters of a stop string, is left out where the confidence ends.

    Args:
        hypotheses: the segmentations of the prompt's end.
        cutter: finds the end; not changed.
        options: only ``min_confidence`` and ``max_tokens`` count: the suggestion ends before it takes more tokens.

    Attributes:
        result: the finished suggestion; None until the last piece was taken. Its ``logprob`` is that of the text, and
            ``tokens`` the fewest that can write it.
    """

    def __init__(self, hypotheses: Hypotheses, cutter: TextCutter, options: CompletionOptions) -> None:
        self.result: Completion | None = None
        self._hypotheses = hypotheses
        self._cutter = cutter
        self._options = options

    def __iter__(self) -> Iterator[bytes]:
        """Find the suggestion, from its start each time."""
        options, cutter = self._options, self._cutter.copy()
        pending = unfinished(self._hypotheses.segment)  # the prompt's part of the first character
        encoder = CompletionEncoder(pending)
        pieces: list[bytes] = []  # of the text, as far as it is certain
        num_bytes = 0  # of the suggestion, certain or not
        scores = {0: (0.0, 0)}  # its log probability and number of tokens, by its number of bytes
        counter = _TokenCounter(self._hypotheses.pieces, self._hypotheses.segment)
        characters = ResultIterator(suggest(self._hypotheses, options.min_confidence or 0.0, max_bytes=sys.maxsize))
        reason = ""
        for data, probability in characters:
            tokens = counter.add(data)
            if tokens > options.max_tokens:
                reason = "max_tokens"
                break
            num_bytes += len(data)
            scores[num_bytes] = math.log(probability), tokens
            if piece := encoder.encode(cutter.feed((pending + data).decode())):
                pieces.append(piece)
                yield piece
            pending = b""
            if cutter.reason:
                break
        else:
            reason = characters.result
        # Text that was held back belongs to the suggestion only if its last characters are likely enough together.
        if reason in ("max_tokens", "document_end") and (piece := encoder.encode(cutter.finish())):
            pieces.append(piece)
            yield piece
        data = b"".join(pieces)
        log_probability, tokens = scores[len(data)]
        self.result = Completion(b"", data, tokens, log_probability, cutter.reason or reason, options.seed)


class _TokenCounter:
    """Counts the fewest tokens that can write what follows a text.

    The first token may begin within the text, and the last may continue beyond its end: so more text never needs fewer.

    Args:
        pieces: the vocabulary.
        segment: the text's last segment.
    """

    def __init__(self, pieces: PieceIndex, segment: bytes) -> None:
        self._pieces = pieces
        self._text = segment
        self._fewest_to: list[float] = [0] * (len(segment) + 1)  # the fewest tokens that end exactly there, by place

    def add(self, data: bytes) -> int:
        """Add text; return the number of tokens for all of it."""
        fewest = 0.0
        for byte in data:
            self._text += bytes([byte])
            end = len(self._text)
            fewest = exact = math.inf
            for start in range(max(0, end - self._pieces.longest), end):
                first, longer, stop = self._pieces.range(self._text[start:])
                if first < stop:
                    fewest = min(fewest, self._fewest_to[start] + 1)
                if first < longer:
                    exact = min(exact, self._fewest_to[start] + 1)
            self._fewest_to.append(exact)
        return int(fewest)
