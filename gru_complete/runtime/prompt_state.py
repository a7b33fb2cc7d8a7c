"""From text to state: read a prompt of any length, and hold what a completion of it needs.

All finished segments of a text (``text/tokenizer.py``) are read in their one canonical segmentation. The last segment
is kept as bytes, because the text may end within a token: ``segmentation.py`` sums over the ways to cut it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import NamedTuple

from gru_complete.ngrams.overlay import Overlay
from gru_complete.runtime.boundaries import CONTEXT_CHARACTERS
from gru_complete.runtime.characters import unfinished
from gru_complete.runtime.predictor import DecoderState, Predictor, overflow_allowed
from gru_complete.runtime.result_iterator import ResultIterator
from gru_complete.runtime.sampling import PENALTY_TOKENS
from gru_complete.text.tokenizer import DOCUMENT_END, Tokenizer

READ_BYTES = 1 << 16
"""The prompt is read in blocks of at most this size, so that memory stays constant."""


class PromptState(NamedTuple):
    """A text that was read: it can be continued any number of times, or read on.

    Attributes:
        decoder_state: where the last segment begins; everything before was read in its canonical segmentation.
        segment: the bytes of the last segment so far; empty only at the start of a prompt.
        overlay: what was learnt from the finished segments; None if nothing is learnt. Completions do not add to it.
        recent: the last tokens of the finished segments, at most ``PENALTY_TOKENS``.
        tail: the last characters of the text, at most ``CONTEXT_CHARACTERS``.
    """

    decoder_state: DecoderState
    segment: bytes
    overlay: Overlay | None
    recent: tuple[int, ...]
    tail: str

    @property
    def pending(self) -> bytes:
        """The first bytes of a character that the text does not finish; mostly b""."""
        return unfinished(self.segment)

    @property
    def whole_tail(self) -> str:
        """``tail`` without the character that the text does not finish."""
        return self.tail[:-1] if self.pending else self.tail


class ReadRequest:
    """Tokens that the model must read before a generator can continue.

    Attributes:
        decoder_state: where the tokens begin. Whoever runs the generator replaces it by where they end.
        tokens: what to read, at least one token.
    """

    __slots__ = ("decoder_state", "tokens")

    def __init__(self, decoder_state: DecoderState, tokens: list[int]) -> None:
        self.decoder_state = decoder_state
        self.tokens = tokens


class PromptReader:
    """Reads texts with one model.

    Args:
        predictor: the model, one step at a time.
        tokenizer: its tokenizer.
        learns: whether the states of new prompts have an overlay that learns from the text.
        start: what stands before a prompt: the white space before a line or a paragraph, if the model's text has few
            documents; else nothing.
    """

    def __init__(self, predictor: Predictor, tokenizer: Tokenizer, *, learns: bool, start: bytes = b"") -> None:
        self._predictor = predictor
        self._tokenizer = tokenizer
        self._learns = learns
        self._start = start

    def prompt_start(self) -> PromptState:
        """Return the state of an empty text."""
        overlay = Overlay() if self._learns else None
        if overlay is not None:
            overlay.learn(DOCUMENT_END)
        return PromptState(self._predictor.prompt_start(), self._start, overlay, (), self._start.decode())

    def read(
        self,
        text: bytes | Iterable[bytes],
        before: PromptState | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> PromptState:
        """Read a text in constant memory; the state does not depend on where the text was cut into blocks.

        Args:
            text: whole or in blocks; it may be empty.
            before: where the text before it ended; the start of a prompt if omitted.
            progress: called after each block with the number of bytes read so far.
        """
        with overflow_allowed():
            requests = ResultIterator(self.read_in_steps(text, before, progress))
            for request in requests:
                request.decoder_state = self._predictor.read(request.decoder_state, request.tokens)
        return requests.result

    def read_in_steps(
        self,
        text: bytes | Iterable[bytes],
        before: PromptState | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Generator[ReadRequest, None, PromptState]:
        """Do what ``read`` does, but leave the model's part to the caller, who may read many texts side by side.

        Args:
            text: as in ``read``.
            before: as in ``read``.
            progress: as in ``read``.

        Yields:
            Requests to be fulfilled before the generator continues.
        """
        decoder_state, segment, overlay, recent, tail = before or self.prompt_start()
        characters = tail[: max(0, len(tail) - len(segment.decode(errors="replace")))]  # the last before the segment
        num_bytes = 0
        for block in _blocks(text):
            data = segment + block
            ids, segment = self._tokenizer.encode_finished(data)
            tokens = ids.tolist()
            if tokens:
                request = ReadRequest(decoder_state, tokens)
                yield request
                decoder_state = request.decoder_state
            recent = (*recent, *tokens[-PENALTY_TOKENS:])[-PENALTY_TOKENS:]
            if overlay is not None and tokens:
                if before is not None and overlay is before.overlay:
                    overlay = overlay.fork()  # the state before stays as it is
                for token in tokens:
                    overlay.learn(token)
            characters = _last_characters(characters, data[: len(data) - len(segment)])
            num_bytes += len(block)
            if progress is not None:
                progress(num_bytes)
        return PromptState(decoder_state, segment, overlay, recent, _last_characters(characters, segment))


def _blocks(text: bytes | Iterable[bytes]) -> Iterator[bytes]:
    """The text in blocks of at most ``READ_BYTES``."""
    for block in [text] if isinstance(text, bytes) else text:
        for start in range(0, len(block), READ_BYTES):
            yield block[start : start + READ_BYTES]


def _last_characters(before: str, text: bytes) -> str:
    """The last characters of two texts in a row; the second begins with a whole character."""
    return (before + text[-4 * CONTEXT_CHARACTERS :].decode(errors="replace"))[-CONTEXT_CHARACTERS:]
