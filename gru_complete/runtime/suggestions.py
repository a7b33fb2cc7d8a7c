"""What to offer unasked: the text that most likely comes next, only as far as it is likely enough.

An offer is greedy and of text: byte by byte the likeliest, summed over all tokens and segmentations that spell it
(``segmentation.py``). So its probability is that of the text itself, at temperature 1, and falls with each byte; where
it would fall below what is asked for, the offer ends. Tokens in its place would often choose another text: three words
that begin alike may be likelier together than one that each of them is less likely than.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Generator, Iterator
from typing import NamedTuple

from gru_complete.runtime.boundaries import TextCutter
from gru_complete.runtime.characters import continues, is_complete, unfinished
from gru_complete.runtime.draft import Completion
from gru_complete.runtime.options import CompletionOptions
from gru_complete.runtime.piece_index import PieceIndex
from gru_complete.runtime.segmentation import Hypotheses

MAX_SUGGESTION_BYTES = 100
_MIN_PROBABILITY = sys.float_info.min  # below it a product of probabilities is no longer exact, and at last 0
_DOCUMENT_END = 256  # among the next bytes


class SuggestedCharacter(NamedTuple):
    """One more character of an offer.

    Attributes:
        data: its bytes, without those that the text has already.
        probability: that the text goes on with the offer up to here, this character included.
    """

    data: bytes
    probability: float


def suggest(
    hypotheses: Hypotheses, min_confidence: float, *, max_bytes: int = MAX_SUGGESTION_BYTES
) -> Generator[SuggestedCharacter, None, str]:
    """Offer the likeliest continuation, character by character.

    An offer for a higher confidence is the beginning of one for a lower one.

    Args:
        hypotheses: the segmentations of the text's end.
        min_confidence: the least probability that the offer may have.
        max_bytes: where it ends in any case.

    Yields:
        Its characters; none if there is nothing to offer. It ends too where the likeliest is that the document ends, or
        what is no text (``characters.py``).

    Returns:
        Why it ends: "document_end" if the document's end is likely enough, else "confidence", or "max_bytes".
    """
    least = max(min_confidence, _MIN_PROBABILITY)
    pending = unfinished(hypotheses.segment)
    data = b""
    probability = 1.0
    for _ in range(max_bytes):
        chances = hypotheses.next_bytes()
        likeliest = int(chances.argmax())
        probability *= float(chances[likeliest])
        if not probability >= least:
            return "confidence"
        if likeliest == _DOCUMENT_END:
            return "document_end"
        byte = bytes([likeliest])
        if not continues(pending, byte):
            return "confidence"
        pending, data = pending + byte, data + byte
        if is_complete(pending):
            yield SuggestedCharacter(data, probability)
            pending = data = b""
        hypotheses, _ = hypotheses.extended(byte)
    return "max_bytes"


class SuggestionStream:
    """The pieces of an offer that ends, besides, where the options say: as ``CompletionStream`` gives a completion's.

    An offer of less confidence begins with this one, whatever ends it: what may turn out to be past the end, as the
    first characters of a stop string, is left out where the confidence ends.

    Args:
        prompt: the text continued.
        hypotheses: the segmentations of its end.
        cutter: finds the end.
        options: of these, ``min_confidence`` and ``max_tokens`` count: the offer ends before it takes more tokens.

    Attributes:
        result: the finished offer; None until the last piece was taken. Its ``logprob`` is that of the text, and
            ``tokens`` the fewest that can write it.
    """

    def __init__(self, prompt: bytes, hypotheses: Hypotheses, cutter: TextCutter, options: CompletionOptions) -> None:
        self.result: Completion | None = None
        self._prompt = prompt
        self._hypotheses = hypotheses
        self._cutter = cutter
        self._options = options

    def __iter__(self) -> Iterator[bytes]:
        """Find the offer, from its start each time."""
        options, cutter = self._options, self._cutter.copy()
        pending = unfinished(self._hypotheses.segment)
        of_prompt = len(pending)  # so many bytes of the first character are the prompt's
        size = 0  # bytes of the offer so far
        known = {0: (0.0, 0)}  # log probability and tokens of it, by its size
        pieces: list[bytes] = []  # what is certain to belong to it
        count = _TokenCount(self._hypotheses.pieces, self._hypotheses.segment)
        characters = suggest(self._hypotheses, options.min_confidence or 0.0, max_bytes=sys.maxsize)
        reason: str | None = None
        while reason is None:
            try:
                data, probability = next(characters)
            except StopIteration as end:
                reason = end.value
                text = cutter.finish() if reason == "document_end" else ""
            else:
                if (tokens := count.add(data)) > options.max_tokens:
                    reason, text = "max_tokens", cutter.finish()
                else:
                    size += len(data)
                    known[size] = math.log(probability), tokens
                    text = cutter.feed((pending + data).decode())
                    pending = b""
            reason = cutter.reason or reason
            if text:
                pieces.append(text.encode()[of_prompt:])
                of_prompt = 0
                yield pieces[-1]
        written = b"".join(pieces)
        log_probability, tokens = known[len(written)]
        self.result = Completion(self._prompt, written, tokens, log_probability, reason, options.seed)


class _TokenCount:
    """Counts the fewest tokens that can write what follows a text.

    The first may begin within the text, and the last may go on: so more text never needs fewer.

    Args:
        pieces: the vocabulary.
        segment: the text's last segment.
    """

    def __init__(self, pieces: PieceIndex, segment: bytes) -> None:
        self._pieces = pieces
        self._text = segment
        self._before: list[float] = [0] * (len(segment) + 1)  # tokens that end exactly there, by place

    def add(self, data: bytes) -> int:
        """Take more text; return the number with it."""
        fewest = 0.0
        for byte in data:
            self._text += bytes([byte])
            end = len(self._text)
            fewest = exact = math.inf
            for start in range(max(0, end - self._pieces.longest), end):
                first, longer, stop = self._pieces.range(self._text[start:])
                if first < stop:
                    fewest = min(fewest, self._before[start] + 1)
                if first < longer:
                    exact = min(exact, self._before[start] + 1)
            self._before.append(exact)
        return int(fewest)
